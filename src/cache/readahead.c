/* SPDX-License-Identifier: MIT */
/*
 * readahead.c - how much to read at a missed page, and when to read on
 *
 *          page                      mark                              next
 *   ────────┼─────────────────────────┼─────────────────────────────────┼──────────
 *           └──────── window ─────────┴───── twice as long, up to most ──┘
 *           waited for                 read while the first is used; touching the mark reads the one after
 *
 * A miss that continues the stream makes its window longer. One that does not is random: after a few of those in a row only the
 * page itself is read, since what lies around it would push useful pages out of the budget.
 *
 * A miss on a page that was asked for already means that it was evicted before its first touch: the reader is slow, and more than
 * fits was read ahead of him. Then the window is halved, and grows by an eighth with each one that is used up.
 */
#include "cache/readahead.h"

#define FIRST_NORMAL     4
#define FIRST_SEQUENTIAL 64
#define LEAST_LIMITED    8
#define RANDOM_ENOUGH    3

/* reader: the page that is touched now. */
static struct readahead_plan plan(struct readahead *stream, uint64_t reader, uint64_t first, unsigned pages, uint64_t end,
				  bool mark)
{
	struct readahead_plan result = {.first = first, .pages = pages, .mark = UINT64_MAX};

	if (pages >= end - first)
		result.pages = (unsigned)(end - first);
	else if (mark)
		result.mark = first + pages / 2;
	stream->first = reader;
	stream->next = first + result.pages;
	stream->window = pages;
	return result;
}

static unsigned at_most(unsigned pages, unsigned most)
{
	return pages > most ? most ? most : 1 : pages;
}

/* The longest window of this stream, where the budget bears most. */
static unsigned limit(const struct readahead *stream, unsigned most)
{
	return stream->most && stream->most < most ? stream->most : most;
}

static void shorten(struct readahead *stream)
{
	stream->most = stream->window / 2 > LEAST_LIMITED ? stream->window / 2 : LEAST_LIMITED;
}

static void lengthen(struct readahead *stream, unsigned most)
{
	if (stream->most)
		stream->most += stream->most / 8 + 1;
	if (stream->most >= most)
		stream->most = 0;
}

struct readahead_plan readahead_miss(struct readahead *stream, enum readahead_advice advice, uint64_t page, uint64_t end,
				     unsigned most, bool resident_before)
{
	struct readahead_plan alone = {.first = page, .pages = 1, .mark = UINT64_MAX};
	struct readahead_plan result;
	bool continues;

	if (advice == READAHEAD_RANDOM || !lock_try(&stream->lock))
		return alone;
	continues = stream->started ? page == stream->next || (resident_before && stream->random < RANDOM_ENOUGH) : page == 0;
	if (stream->started && page >= stream->first && page < stream->next && stream->window > 1) {
		shorten(stream);
		continues = true;
	}
	most = limit(stream, most);
	stream->started = true;
	if (advice == READAHEAD_SEQUENTIAL) {
		result = plan(stream, page, page,
			      at_most(continues && stream->window ? stream->window * 2 : FIRST_SEQUENTIAL, most), end, true);
	} else if (continues) {
		stream->random = 0;
		result = plan(stream, page, page, at_most(stream->window ? stream->window * 4 : FIRST_NORMAL * 4, most), end, true);
	} else if (++stream->random < RANDOM_ENOUGH) {
		result = plan(stream, page, page, at_most(FIRST_NORMAL, most), end, false);
	} else {
		result = alone;
		stream->random = RANDOM_ENOUGH;
		stream->first = page;
		stream->next = page + 1;
		stream->window = 1;
	}
	lock_release(&stream->lock);
	return result;
}

struct readahead_plan readahead_marked(struct readahead *stream, enum readahead_advice advice, uint64_t page, uint64_t end,
				       unsigned most)
{
	struct readahead_plan result = {.mark = UINT64_MAX};
	unsigned window;

	if (advice == READAHEAD_RANDOM || !lock_try(&stream->lock))
		return result;
	/* Another stream of the same area may have moved on: then this one goes on from its mark. */
	if (stream->next <= page || stream->next - page > 2 * (uint64_t)most)
		stream->next = page + 1;
	lengthen(stream, most);
	window = at_most(stream->window ? stream->window * 2 : FIRST_NORMAL, limit(stream, most));
	if (stream->next < end) {
		result = plan(stream, page, stream->next, window, end, true);
		/* The next is read on as soon as this one begins to be used. */
		if (result.mark != UINT64_MAX)
			result.mark = result.first;
	}
	lock_release(&stream->lock);
	return result;
}
