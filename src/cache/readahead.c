/* SPDX-License-Identifier: MIT */
/*
 * readahead.c - what to read at a missed page, and when to read on
 *
 *          page                      mark                              next
 *   ────────┼─────────────────────────┼─────────────────────────────────┼──────────
 *           └──────── window ─────────┴───── twice as long, up to most ──┘
 *           waited for                 read while the first is used; touching the mark reads the one after
 *
 * A stream goes on by a step: 1 forward, -1 backward, more where only every so many-th page is read. An area has some of them, found by
 * the page that each expects next. A miss there makes its window longer. One that continues nothing is random: after a few of those in
 * a row only the page itself is read, since what lies around it would push useful pages out of the budget.
 *
 * How a stream begins among random misses: with the third page in a row, or the fourth at equal distances of more than a page. They are
 * looked for among the last misses, whichever others came between, which is what takes apart streams that are interleaved. Two would
 * not do, since of 32 random pages many a pair are near to each other; and where the area is small it takes a page or two more.
 *
 *      recent   7 900 32 40 8 901 48 …      9 is missed:  8, 7      →  step 1
 *                                          56 is missed: 48, 40, 32 →  step 8
 *
 * A page that directly follows the one missed before is a record of several pages, more often than not: a little is read then, and
 * no more, unless the page behind that is missed next.
 *
 * A miss on a page that was asked for already means that it was evicted before its first touch: the reader is slow, and more than
 * fits was read ahead of him. Then the window is halved, and grows by an eighth with each one that is used up.
 */
#include "cache/readahead.h"

#include "cache/chunk.h"

#define FIRST_NORMAL     4
#define FIRST_SEQUENTIAL 64
#define LEAST_LIMITED    8
#define RANDOM_ENOUGH    3
#define STEP_MOST        512  /* pages */
#define SMALL            256  /* pages of an area where chance puts four in a row, now and then */
#define MIDDLING         8192 /* … where it puts three */
/* A miss continues a stream for as many plans as a fourth of its window; its mark does, however long ago that was. */
#define STALE 4

/* A stream as it was found, or the place for a new one. */
struct match {
	struct readahead_stream *stream; /* NULL: none */
	uint64_t next;
	struct readahead_shape shape;
};

static unsigned at_most(unsigned pages, unsigned most)
{
	return pages > most ? most ? most : 1 : pages;
}

static uint64_t distance(struct readahead_shape shape)
{
	return (uint64_t)(shape.step < 0 ? -shape.step : shape.step);
}

static bool adjoins(struct readahead_shape shape)
{
	return shape.step == 1 || shape.step == -1;
}

/* The longest window that the budget bears, and the longest of this stream. */
static unsigned bears(struct readahead_shape shape, const struct readahead_touch *touch)
{
	return adjoins(shape) || touch->most < touch->most_apart ? touch->most : touch->most_apart;
}

static unsigned limit(struct readahead_shape shape, const struct readahead_touch *touch)
{
	unsigned most = bears(shape, touch);

	return shape.most && shape.most < most ? shape.most : most;
}

static void shorten(struct readahead_shape *shape)
{
	shape->most = shape->window / 2 > LEAST_LIMITED ? shape->window / 2 : LEAST_LIMITED;
}

static void lengthen(struct readahead_shape *shape, unsigned most)
{
	unsigned longer = shape->most + shape->most / 8u + 1;

	if (shape->most)
		shape->most = longer >= most ? 0 : (uint16_t)longer;
}

/* ---- plans ---- */

static struct readahead_plan nothing(void)
{
	return (struct readahead_plan){.step = 1, .mark = UINT64_MAX};
}

static struct readahead_plan alone(uint64_t page)
{
	return (struct readahead_plan){.first = page, .pages = 1, .step = 1, .mark = UINT64_MAX};
}

static bool is_within(const struct readahead_touch *touch, uint64_t page)
{
	return page >= touch->begin && page < touch->end;
}

static uint16_t count16(uint64_t n)
{
	return n < UINT16_MAX ? (uint16_t)n : UINT16_MAX;
}

/* The stream goes on from page at, which is within the bounds. False: another thread has moved it. */
static bool advance(struct readahead *readahead, struct match *match, const struct readahead_touch *touch, uint64_t at,
		    unsigned window, struct readahead_plan *ret)
{
	uint64_t step = distance(match->shape), next;
	bool backward = match->shape.step < 0;
	uint64_t room = (backward ? at - touch->begin : touch->end - 1 - at) / step + 1;
	unsigned pages = window < room ? window : (unsigned)room;

	/* A long one ends where a chunk does, so that the next begins with a whole one: it may come in as one frame. */
	if (step == 1 && !backward && pages >= CHUNK_PAGES)
		pages -= (unsigned)((at + pages) % CHUNK_PAGES);
	/* Below page 0 it wraps, and counts on from there all the same. */
	next = backward ? at - pages * step : at + pages * step;
	if (!atomic_compare_exchange_strong_explicit(&match->stream->next, &match->next, next, memory_order_relaxed,
						     memory_order_relaxed))
		return false;
	match->shape.window = count16(window);
	match->shape.behind = count16((backward ? touch->page - next : next - touch->page) / step);
	atomic_store_explicit(&match->stream->shape, match->shape, memory_order_relaxed);
	atomic_store_explicit(&match->stream->used, atomic_load_explicit(&readahead->time, memory_order_relaxed),
			      memory_order_relaxed);
	*ret = (struct readahead_plan){
	    .first = backward ? at - (pages - 1) * step : at,
	    .pages = pages,
	    .step = (unsigned)step,
	    .backward = backward,
	    .mark = pages == room ? UINT64_MAX
		    : backward    ? at - pages / 2 * step
				  : at + pages / 2 * step,
	};
	return true;
}

/* ---- streams ---- */

static struct match look_at(struct readahead_stream *stream)
{
	return (struct match){
	    .stream = stream,
	    .next = atomic_load_explicit(&stream->next, memory_order_relaxed),
	    .shape = atomic_load_explicit(&stream->shape, memory_order_relaxed),
	};
}

static uint32_t age(struct readahead *readahead, const struct readahead_stream *stream)
{
	return atomic_load_explicit(&readahead->time, memory_order_relaxed) -
	       atomic_load_explicit(&stream->used, memory_order_relaxed);
}

static bool is_stale(struct readahead *readahead, const struct match *match)
{
	return age(readahead, match->stream) > match->shape.window / STALE + 1u;
}

/* Whether the page is one of those that were asked for last. */
static bool was_asked_for(const struct match *match, uint64_t page)
{
	uint64_t step = distance(match->shape), left;

	if (match->shape.window == 0)
		return false;
	left = match->shape.step < 0 ? page - match->next : match->next - page;
	return left > 0 && left <= match->shape.behind * step && left % step == 0;
}

/* A stream that asked for the page; marked: however long ago. */
static struct match find_asked(struct readahead *readahead, uint64_t page, bool marked)
{
	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct match match = look_at(&readahead->stream[i]);

		if (was_asked_for(&match, page) && (marked || !is_stale(readahead, &match)))
			return match;
	}
	return (struct match){0};
}

/* The stream that expects the page. Or, where pages before it are resident that did not come through the stream, a page before it. */
static struct match find_expecting(struct readahead *readahead, uint64_t page, bool resident_before)
{
	struct match near = {0};

	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct match match = look_at(&readahead->stream[i]);

		if (match.shape.window == 0 || is_stale(readahead, &match))
			continue;
		if (match.next == page)
			return match;
		if (resident_before && match.shape.step == 1 && page - match.next <= match.shape.window)
			near = match;
	}
	return near;
}

/* A place for a new stream: a free one, or that of the stream that was used the longest ago. */
static struct match find_place(struct readahead *readahead, int step)
{
	struct match place = {0};
	uint32_t oldest = 0;

	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct match match = look_at(&readahead->stream[i]);
		uint32_t old = match.shape.window == 0 ? UINT32_MAX : age(readahead, match.stream);

		if (!place.stream || old > oldest) {
			place = match;
			oldest = old;
		}
	}
	place.shape = (struct readahead_shape){.step = (int16_t)step};
	return place;
}

/* ---- what was missed last ---- */

/* The page that was missed so many random misses ago, in 32 bits. */
static uint32_t recent(const struct readahead *readahead, uint32_t missed, unsigned ago)
{
	return atomic_load_explicit(&readahead->recent[(missed - 1 - ago) % READAHEAD_RECENT], memory_order_relaxed);
}

static void remember(struct readahead *readahead, uint64_t page)
{
	uint32_t at = atomic_fetch_add_explicit(&readahead->missed, 1, memory_order_relaxed);

	atomic_store_explicit(&readahead->recent[at % READAHEAD_RECENT], (uint32_t)(page + 1), memory_order_relaxed);
}

/* Whether so many pages were missed, each a step before the one after it, the last of them at most ago misses ago. */
static bool follows(const struct readahead *readahead, uint32_t missed, unsigned ago, uint32_t page, uint32_t step, unsigned pages)
{
	for (; ago < READAHEAD_RECENT && pages > 0; ago++) {
		if (recent(readahead, missed, ago) == page - step) {
			page -= step;
			pages--;
		}
	}
	return pages == 0;
}

/* By how many pages more than two before it, or three, the next of a stream is known. */
static unsigned more_evidence(const struct readahead_touch *touch)
{
	uint64_t room = touch->end - touch->begin;

	return room < SMALL ? 2 : room < MIDDLING ? 1 : 0;
}

/* The step of a stream that the missed page is part of; 0: none is seen. */
static int recognise(const struct readahead *readahead, const struct readahead_touch *touch, uint32_t missed)
{
	uint32_t this = (uint32_t)(touch->page + 1);
	unsigned more = more_evidence(touch);

	for (unsigned ago = 0; ago < READAHEAD_RECENT; ago++) {
		uint32_t before = recent(readahead, missed, ago);
		int step = (int)(this - before);
		bool near = step == 1 || step == -1;

		if (before == 0 || step == 0 || step > STEP_MOST || step < -STEP_MOST)
			continue;
		if (follows(readahead, missed, ago + 1, before, (uint32_t)step, more + (near ? 1 : 2)))
			return step;
	}
	return 0;
}

/* ---- the two questions ---- */

static unsigned first_window(const struct readahead_touch *touch, struct readahead_shape shape)
{
	return touch->advice == READAHEAD_SEQUENTIAL && adjoins(shape) ? FIRST_SEQUENTIAL : FIRST_NORMAL;
}

static struct readahead_plan begin_stream(struct readahead *readahead, const struct readahead_touch *touch, int step,
					  unsigned window)
{
	struct match place = find_place(readahead, step);
	struct readahead_plan result;

	if (window == 0)
		window = first_window(touch, place.shape);
	if (!advance(readahead, &place, touch, touch->page, at_most(window, limit(place.shape, touch)), &result))
		return alone(touch->page);
	return result;
}

/* A miss that continues nothing. */
static struct readahead_plan miss_at_random(struct readahead *readahead, const struct readahead_touch *touch, unsigned random)
{
	struct readahead_plan result;

	if (random + 1 >= RANDOM_ENOUGH) {
		atomic_store_explicit(&readahead->random, RANDOM_ENOUGH, memory_order_relaxed);
		return alone(touch->page);
	}
	atomic_store_explicit(&readahead->random, random + 1, memory_order_relaxed);
	result = begin_stream(readahead, touch, 1, FIRST_NORMAL);
	result.mark = UINT64_MAX;
	return result;
}

static struct readahead_plan miss_of_no_stream(struct readahead *readahead, const struct readahead_touch *touch, unsigned random)
{
	uint32_t missed = atomic_load_explicit(&readahead->missed, memory_order_relaxed);
	bool adjacent = recent(readahead, missed, 0) == (uint32_t)touch->page;
	int step = recognise(readahead, touch, missed);

	remember(readahead, touch->page);
	if (step != 0)
		return begin_stream(readahead, touch, step, 0);
	if (touch->advice == READAHEAD_SEQUENTIAL)
		return begin_stream(readahead, touch, 1, 0);
	if (missed > 0 ? touch->resident_before && random < RANDOM_ENOUGH : touch->page == 0) {
		atomic_store_explicit(&readahead->random, 0, memory_order_relaxed);
		return begin_stream(readahead, touch, 1, 4 * FIRST_NORMAL);
	}
	return miss_at_random(readahead, touch, adjacent ? 0 : random);
}

struct readahead_plan readahead_miss(struct readahead *readahead, const struct readahead_touch *touch)
{
	unsigned random = atomic_load_explicit(&readahead->random, memory_order_relaxed);
	struct readahead_plan result;
	unsigned growth, window;
	struct match match;

	if (touch->advice == READAHEAD_RANDOM || !is_within(touch, touch->page))
		return alone(touch->page);
	atomic_fetch_add_explicit(&readahead->time, 1, memory_order_relaxed);
	match = find_asked(readahead, touch->page, false);
	if (match.stream)
		shorten(&match.shape);
	else
		match = find_expecting(readahead, touch->page, touch->resident_before && random < RANDOM_ENOUGH);
	if (!match.stream)
		return miss_of_no_stream(readahead, touch, random);
	atomic_store_explicit(&readahead->random, 0, memory_order_relaxed);
	growth = touch->advice == READAHEAD_SEQUENTIAL || !adjoins(match.shape) ? 2 : 4;
	window = at_most(match.shape.window * growth, limit(match.shape, touch));
	if (!advance(readahead, &match, touch, touch->page, window, &result))
		return alone(touch->page);
	return result;
}

struct readahead_plan readahead_marked(struct readahead *readahead, const struct readahead_touch *touch)
{
	struct readahead_plan result;
	struct match match;
	uint64_t at;

	if (touch->advice == READAHEAD_RANDOM)
		return nothing();
	atomic_fetch_add_explicit(&readahead->time, 1, memory_order_relaxed);
	match = find_asked(readahead, touch->page, true);
	if (!match.stream || !is_within(touch, match.next))
		return nothing();
	at = match.next;
	lengthen(&match.shape, bears(match.shape, touch));
	if (!advance(readahead, &match, touch, at, at_most(match.shape.window * 2u, limit(match.shape, touch)), &result))
		return nothing();
	/* The next is read on as soon as this one begins to be used. */
	if (result.mark != UINT64_MAX)
		result.mark = at;
	return result;
}

/* ---- parts of an area ---- */

static void forget(struct readahead *readahead, bool above, uint64_t page)
{
	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct match match = look_at(&readahead->stream[i]);

		if ((match.next >= page) == above)
			atomic_store_explicit(&match.stream->shape, (struct readahead_shape){0}, memory_order_relaxed);
	}
}

void readahead_split(struct readahead *left, struct readahead *right, uint64_t page)
{
	*right = *left;
	forget(left, true, page);
	forget(right, false, page);
}

void readahead_join(struct readahead *left, struct readahead *right)
{
	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct match match = look_at(&right->stream[i]), place = find_place(left, 0);

		if (match.shape.window == 0)
			continue;
		atomic_store_explicit(&place.stream->next, match.next, memory_order_relaxed);
		atomic_store_explicit(&place.stream->shape, match.shape, memory_order_relaxed);
		atomic_store_explicit(&place.stream->used,
				      atomic_load_explicit(&left->time, memory_order_relaxed) - age(right, match.stream),
				      memory_order_relaxed);
	}
}
