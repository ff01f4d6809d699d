/* SPDX-License-Identifier: MIT */
/*
 * test-readahead.c - how much to read at a missed page, and when to read on
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "cache/readahead.h"

#define MOST  256
#define APART 32
#define END   100000
#define NONE  UINT64_MAX

static struct readahead_plan miss_of(struct readahead *stream, enum readahead_advice advice, uint64_t page, uint64_t end,
				     unsigned most, bool resident_before)
{
	struct readahead_touch touch = {advice, page, 0, end, most, APART, resident_before};

	return readahead_miss(stream, &touch);
}

static struct readahead_plan marked_of(struct readahead *stream, enum readahead_advice advice, uint64_t page, uint64_t end,
				       unsigned most)
{
	struct readahead_touch touch = {.advice = advice, .page = page, .end = end, .most = most, .most_apart = APART};

	return readahead_marked(stream, &touch);
}

static struct readahead_plan miss(struct readahead *stream, uint64_t page)
{
	return miss_of(stream, READAHEAD_NORMAL, page, END, MOST, false);
}

static struct readahead_plan marked(struct readahead *stream, uint64_t page)
{
	return marked_of(stream, READAHEAD_NORMAL, page, END, MOST);
}

/* Misses that continue nothing, until they are taken for random. */
static void scatter(struct readahead *stream)
{
	for (unsigned i = 1; i <= 10; i++)
		miss(stream, 1000 * i * i);
}

/* ---- a stream ---- */

static void a_first_miss_at_the_start_begins_a_stream(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss(&stream, 0);

	(void)state;
	assert_int_equal(plan.first, 0);
	assert_true(plan.pages > 1);
	assert_true(plan.mark > 0 && plan.mark < plan.pages);
}

static void a_miss_that_continues_the_stream_at_least_doubles_its_window(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss(&stream, 0);

	(void)state;
	for (uint64_t next = plan.pages; plan.pages < MOST; next += plan.pages) {
		unsigned before = plan.pages;

		plan = miss(&stream, next);
		assert_int_equal(plan.first, next);
		assert_true(plan.pages >= 2 * before || plan.pages == MOST);
	}
}

static void touching_a_mark_doubles_the_window_and_goes_on_where_it_ended(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss(&stream, 0);

	(void)state;
	while (plan.pages < MOST) {
		struct readahead_plan on = marked(&stream, plan.mark);

		assert_int_equal(on.first, plan.first + plan.pages);
		assert_true(on.pages == 2 * plan.pages || on.pages == MOST);
		assert_true(on.mark >= on.first && on.mark < on.first + on.pages);
		plan = on;
	}
}

static void no_window_is_longer_than_the_most(void **state)
{
	const unsigned mosts[] = {0, 1, 2, 3, 7, 100};

	(void)state;
	for (unsigned i = 0; i < sizeof(mosts) / sizeof(mosts[0]); i++) {
		unsigned most = mosts[i] ? mosts[i] : 1;
		struct readahead stream = {0};
		uint64_t next = 0;

		for (unsigned k = 0; k < 10; k++) {
			struct readahead_plan plan = miss_of(&stream, READAHEAD_NORMAL, next, END, mosts[i], true);

			assert_int_equal(plan.first, next);
			assert_true(plan.pages >= 1 && plan.pages <= most);
			next += plan.pages;
			plan = marked_of(&stream, READAHEAD_NORMAL, next - 1, END, mosts[i]);
			assert_true(plan.pages <= most);
			next += plan.pages;
		}
	}
}

static void a_window_that_reaches_the_end_stops_there_and_has_no_mark(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss_of(&stream, READAHEAD_NORMAL, 0, 5, MOST, false);

	(void)state;
	assert_int_equal(plan.pages, 5);
	assert_int_equal(plan.mark, NONE);
	plan = marked_of(&stream, READAHEAD_NORMAL, 4, 5, MOST);
	assert_int_equal(plan.pages, 0);
	assert_int_equal(plan.mark, NONE);
}

static void the_last_page_of_all_is_read_alone(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss(&stream, END - 1);

	(void)state;
	assert_int_equal(plan.first, END - 1);
	assert_int_equal(plan.pages, 1);
	assert_int_equal(plan.mark, NONE);
}

/* A reader of every page, whose reads are all done by the time he touches the next. */
static void a_sequential_reader_misses_once_and_each_page_is_read_once(void **state)
{
	static unsigned char read[5000];
	static uint64_t marks[5000];
	struct readahead stream = {0};
	unsigned misses = 0, nmarks = 0;

	(void)state;
	memset(read, 0, sizeof(read));
	for (uint64_t page = 0; page < sizeof(read); page++) {
		struct readahead_plan plan = {0};
		bool mark = false;

		for (unsigned i = 0; i < nmarks; i++)
			mark |= marks[i] == page;
		if (!read[page]) {
			plan = miss_of(&stream, READAHEAD_NORMAL, page, sizeof(read), MOST, page > 0);
			misses++;
			/* The mark may be the very page that is touched now. */
			mark = plan.mark == page;
			for (unsigned i = 0; i < plan.pages; i++)
				read[plan.first + i]++;
			if (plan.mark != NONE)
				marks[nmarks++] = plan.mark;
		}
		if (mark) {
			plan = marked_of(&stream, READAHEAD_NORMAL, page, sizeof(read), MOST);
			for (unsigned i = 0; i < plan.pages; i++)
				read[plan.first + i]++;
			if (plan.mark != NONE)
				marks[nmarks++] = plan.mark;
		}
	}
	assert_int_equal(misses, 1);
	for (unsigned i = 0; i < sizeof(read); i++)
		assert_int_equal(read[i], 1);
}

static void a_miss_behind_a_resident_page_continues_a_stream(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan random, behind;

	(void)state;
	miss(&stream, 500);
	random = miss(&stream, 9000);
	behind = miss_of(&stream, READAHEAD_NORMAL, 20000, END, MOST, true);
	assert_true(behind.pages > random.pages);
	assert_int_not_equal(behind.mark, NONE);
}

static void a_mark_behind_which_another_stream_has_moved_on_goes_on_from_itself(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss(&stream, 0);

	(void)state;
	miss(&stream, 50000);
	plan = marked(&stream, plan.mark);
	assert_true(plan.first < 1000);
	assert_true(plan.pages > 0);
}

/* ---- a slow reader ---- */

static const enum readahead_advice window_advice[] = {READAHEAD_NORMAL, READAHEAD_SEQUENTIAL};

/* A stream whose windows are as long as they get; its last plan. */
static struct readahead_plan longest(struct readahead *stream, enum readahead_advice advice)
{
	struct readahead_plan plan = {0};

	*stream = (struct readahead){0};
	while (plan.pages < MOST)
		plan = miss_of(stream, advice, plan.first + plan.pages, END, MOST, false);
	return plan;
}

/* He comes to a page that was read for him, and is gone again. */
static void a_miss_on_a_page_that_was_asked_for_already_halves_the_window(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct readahead stream;
		struct readahead_plan plan = longest(&stream, window_advice[i]);

		for (unsigned half = MOST / 2; half >= 8; half /= 2) {
			uint64_t page = plan.first + plan.pages - 1;

			plan = miss_of(&stream, window_advice[i], page, END, MOST, false);
			assert_int_equal(plan.first, page);
			assert_int_equal(plan.pages, half);
			assert_true(plan.mark >= page && plan.mark < page + half);
		}
		/* Shorter than that no window gets. */
		assert_int_equal(miss_of(&stream, window_advice[i], plan.first + 1, END, MOST, false).pages, 8);
	}
}

static void a_window_that_was_halved_grows_by_an_eighth_with_each_mark(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct readahead stream;
		struct readahead_plan plan = longest(&stream, window_advice[i]);
		unsigned steps = 0;

		plan = miss_of(&stream, window_advice[i], plan.first + 1, END, MOST, false);
		for (unsigned before = plan.pages; before < MOST; before = plan.pages, steps++) {
			plan = marked_of(&stream, window_advice[i], plan.mark, END, MOST);
			if (plan.pages < MOST)
				assert_in_range(plan.pages, before + before / 8, before + before / 8 + 1);
		}
		assert_true(steps >= 4);
		assert_int_equal(marked_of(&stream, window_advice[i], plan.mark, END, MOST).pages, MOST);
	}
}

/* ---- random access ---- */

static void a_miss_that_continues_nothing_reads_little_and_sets_no_mark(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan start = miss(&stream, 0), jump = miss(&stream, 9000);

	(void)state;
	assert_int_equal(jump.first, 9000);
	assert_true(jump.pages < start.pages);
	assert_int_equal(jump.mark, NONE);
}

static void after_some_random_misses_only_the_page_itself_is_read(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan;

	(void)state;
	scatter(&stream);
	plan = miss(&stream, 70000);
	assert_int_equal(plan.first, 70000);
	assert_int_equal(plan.pages, 1);
	assert_int_equal(plan.mark, NONE);
	/* That a neighbour happens to be there says nothing any more. */
	assert_int_equal(miss_of(&stream, READAHEAD_NORMAL, 80000, END, MOST, true).pages, 1);
}

static void a_stream_that_begins_after_random_misses_is_recognized(void **state)
{
	struct readahead stream = {0};
	uint64_t next = 30000;
	unsigned alone = 0;

	(void)state;
	scatter(&stream);
	for (unsigned i = 0; i < 10; i++) {
		struct readahead_plan plan = miss(&stream, next);

		alone += plan.pages == 1;
		next += plan.pages;
	}
	assert_true(alone <= 2);
	assert_int_equal(miss(&stream, next).pages, MOST);
}

/* ---- advice ---- */

static void random_advice_reads_single_pages_only_and_forgets_nothing(void **state)
{
	struct readahead stream = {0}, before;
	struct readahead_plan plan;

	(void)state;
	miss(&stream, 0);
	before = stream;
	for (uint64_t page = 0; page < 10; page++) {
		plan = miss_of(&stream, READAHEAD_RANDOM, page, END, MOST, true);
		assert_int_equal(plan.first, page);
		assert_int_equal(plan.pages, 1);
		assert_int_equal(plan.mark, NONE);
	}
	assert_int_equal(marked_of(&stream, READAHEAD_RANDOM, 5, END, MOST).pages, 0);
	assert_memory_equal(&stream, &before, sizeof(before));
}

static void sequential_advice_reads_more_from_the_first_miss_on(void **state)
{
	struct readahead normal = {0}, sequential = {0};
	struct readahead_plan plan = miss_of(&sequential, READAHEAD_SEQUENTIAL, 0, END, MOST, false), next;

	(void)state;
	assert_true(plan.pages > miss(&normal, 0).pages);
	assert_int_not_equal(plan.mark, NONE);
	next = miss_of(&sequential, READAHEAD_SEQUENTIAL, plan.pages, END, MOST, false);
	assert_int_equal(next.pages, 2 * plan.pages);
}

static void sequential_advice_is_believed_after_a_jump_too(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = {0};

	(void)state;
	for (unsigned i = 1; i < 10; i++) {
		plan = miss_of(&stream, READAHEAD_SEQUENTIAL, 1000 * i * i, END, MOST, false);
		assert_int_equal(plan.first, 1000 * i * i);
		assert_true(plan.pages > 1);
		assert_int_not_equal(plan.mark, NONE);
	}
}

/* ---- traces ---- */

#define TRACE_PAGES 65536

/* A reader of an area, all of whose reads are done by the time he touches the next page, and nothing is evicted. */
struct trace {
	struct readahead readahead;
	enum readahead_advice advice;
	uint64_t begin, end; /* of the area */
	bool resident[TRACE_PAGES], marked[TRACE_PAGES];
	unsigned misses, read;
};

static struct trace trace;

static void trace_begin(uint64_t begin, uint64_t end)
{
	trace = (struct trace){.begin = begin, .end = end};
}

static void read_plan(struct readahead_plan plan)
{
	for (uint64_t page = plan.first; plan.pages > 0; plan.pages--, page += plan.step) {
		assert_in_range(page, trace.begin, trace.end - 1);
		if (trace.resident[page])
			continue;
		trace.resident[page] = true;
		trace.marked[page] = page == plan.mark;
		trace.read++;
	}
}

static void touch(uint64_t page)
{
	struct readahead_touch touched = {
	    trace.advice, page, trace.begin, trace.end, MOST, APART, page > 0 && trace.resident[page - 1]};

	if (!trace.resident[page]) {
		struct readahead_plan plan = readahead_miss(&trace.readahead, &touched);

		assert_true(plan.pages > 0);
		assert_int_equal(page, plan.backward ? plan.first + (plan.pages - 1) * plan.step : plan.first);
		trace.misses++;
		read_plan(plan);
	}
	if (trace.marked[page]) {
		trace.marked[page] = false;
		read_plan(readahead_marked(&trace.readahead, &touched));
	}
}

static void a_backward_reader_misses_three_times_and_each_page_is_read_once(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		trace_begin(1000, 21000);
		trace.advice = window_advice[i];
		for (uint64_t page = 21000; page-- > 1000;)
			touch(page);
		assert_int_equal(trace.misses, 3);
		assert_int_equal(trace.read, 20000);
	}
}

/* He is taken for random at first. */
static void a_backward_window_is_marked_and_lies_below_the_page(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan, on;

	(void)state;
	scatter(&stream);
	assert_int_equal(miss(&stream, 50000).pages, 1);
	assert_int_equal(miss(&stream, 49999).pages, 1);
	plan = miss(&stream, 49998);
	assert_true(plan.backward && plan.pages > 1);
	assert_int_equal(plan.step, 1);
	assert_int_equal(plan.first + plan.pages - 1, 49998);
	assert_in_range(plan.mark, plan.first, 49998);
	on = marked(&stream, plan.mark);
	assert_true(on.backward);
	assert_int_equal(on.pages, 2 * plan.pages);
	assert_int_equal(on.first + on.pages, plan.first);
	assert_int_equal(on.mark, plan.first - 1);
}

static void a_backward_window_stops_where_the_area_begins_and_has_no_mark(void **state)
{
	struct readahead stream = {0};
	struct readahead_touch at = {READAHEAD_NORMAL, 0, 300, END, MOST, APART, false};
	struct readahead_plan plan = {0};

	(void)state;
	for (at.page = 304; at.page > 301; at.page--)
		plan = readahead_miss(&stream, &at);
	assert_true(plan.backward);
	assert_int_equal(plan.first, 300);
	assert_int_equal(plan.pages, 3);
	assert_int_equal(plan.mark, NONE);
	/* There is nothing below, not even where the mark of another was there before. */
	assert_int_equal(
	    readahead_marked(&stream, &(struct readahead_touch){READAHEAD_NORMAL, 301, 300, END, MOST, APART, false}).pages, 0);
}

static void a_backward_window_stops_at_the_first_page_of_all(void **state)
{
	(void)state;
	trace_begin(0, 100);
	for (uint64_t page = 100; page-- > 0;)
		touch(page);
	assert_int_equal(trace.misses, 5);
	assert_int_equal(trace.read, 100);
	/* And what counts on below it finds no page at the other end. */
	assert_int_equal(miss_of(&trace.readahead, READAHEAD_NORMAL, 99, 100, MOST, false).pages, 1);
}

static void a_miss_on_a_page_that_a_backward_reader_was_promised_halves_the_window(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = {0};

	(void)state;
	for (uint64_t page = 50000; page > 49997; page--)
		plan = miss(&stream, page);
	while (plan.pages < MOST)
		plan = marked(&stream, plan.mark);
	plan = miss(&stream, plan.first + 7);
	assert_true(plan.backward);
	assert_int_equal(plan.pages, MOST / 2);
}

/* Each of n readers goes through a part of his own, in turns; some of them backward. */
static void interleave(unsigned n, unsigned backward)
{
	uint64_t pages = 16384 / n;

	trace_begin(0, 16384);
	/* Not from page 0 on, where each scan is believed at once. */
	for (uint64_t i = 1; i < pages; i++)
		for (unsigned reader = 0; reader < n; reader++)
			touch(reader * pages + (reader < backward ? pages - i : i));
}

static void interleaved_readers_miss_seldom(void **state)
{
	(void)state;
	for (unsigned n = 2; n <= READAHEAD_STREAMS; n++) {
		for (unsigned backward = 0; backward <= n; backward++) {
			interleave(n, backward);
			assert_true(trace.misses <= 6 * n);
		}
	}
}

static void more_readers_than_streams_miss_a_small_part_all_the_same(void **state)
{
	(void)state;
	for (unsigned n = READAHEAD_STREAMS + 1; n <= 10; n++) {
		interleave(n, 0);
		assert_true(trace.misses <= 16384 / 16);
	}
}

static void a_reader_by_steps_misses_four_times_and_each_page_is_read_once(void **state)
{
	const int steps[] = {3, 7, 16, 100, 512, -3, -16, -512};

	(void)state;
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint64_t distance = (uint64_t)(steps[i] < 0 ? -steps[i] : steps[i]), n = 60000 / distance;

		n = n < 2000 ? n : 2000;
		trace_begin(0, TRACE_PAGES);
		/* Three touches beforehand, so that what lies around is not read for its own sake. */
		for (uint64_t far = 0; far < 3; far++)
			touch(64000 + 600 * far);
		trace.misses = trace.read = 0;
		for (uint64_t k = 0; k < n; k++)
			touch(steps[i] < 0 ? 60001 - k * distance : 1 + k * distance);
		assert_int_equal(trace.misses, 4);
		assert_in_range(trace.read, n, n + 2 * APART);
	}
}

static void steps_of_more_than_most_are_random(void **state)
{
	(void)state;
	trace_begin(0, TRACE_PAGES);
	for (uint64_t k = 1; k < 100; k++)
		touch(k * 513);
	assert_int_equal(trace.misses, 99);
	assert_true(trace.read <= 99 + 6);
}

static void interleaved_readers_by_steps_miss_seldom(void **state)
{
	(void)state;
	trace_begin(0, TRACE_PAGES);
	for (uint64_t k = 0; k < 1000; k++) {
		touch(1 + 16 * k);
		touch(30000 + 7 * k);
		touch(60000 - 9 * k);
		touch(9 + 16 * k);
	}
	assert_true(trace.misses <= 6 * 4);
	assert_true(trace.read <= 4000 + 4 * 2 * APART + 6);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void a_reader_beside_random_touches_misses_seldom(void **state)
{
	uint64_t seed = 1;
	unsigned before;

	(void)state;
	for (unsigned others = 1; others <= 8; others++) {
		unsigned missed = 0;

		trace_begin(0, TRACE_PAGES);
		for (uint64_t page = 1; page < 4000; page++) {
			before = trace.misses;
			touch(page);
			missed += trace.misses - before;
			for (unsigned i = 0; i < others; i++)
				touch(10000 + next_random(&seed) % 50000);
		}
		assert_true(missed <= 10);
	}
}

/* Six pages that lie around the first two, and what chance puts in a row: a page for 100 touches. */
static void random_touches_read_hardly_more_than_themselves(void **state)
{
	uint64_t seed = 7;

	(void)state;
	for (uint64_t pages = 4096; pages <= TRACE_PAGES; pages *= 2) {
		unsigned allowed = 6 + (unsigned)(pages / 4) / 100;

		trace_begin(0, pages);
		for (uint64_t i = 0; i < pages / 4; i++)
			touch(next_random(&seed) % pages);
		assert_true(trace.read <= trace.misses + allowed);
	}
}

static void two_touches_in_a_window_begin_no_stream(void **state)
{
	(void)state;
	for (int step = -20; step <= 20; step++) {
		struct readahead stream = {0};
		struct readahead_plan plan;

		if (step == 0)
			continue;
		scatter(&stream);
		miss(&stream, 50000);
		plan = miss(&stream, 50000 + (uint64_t)step);
		/* But what directly follows may be of one record with it. */
		assert_int_equal(plan.pages, step == 1 ? 4 : 1);
		assert_int_equal(plan.mark, NONE);
	}
}

static void a_short_window_is_soon_stale(void **state)
{
	struct readahead stream = {0};

	(void)state;
	assert_int_equal(miss(&stream, 1000).pages, 4);
	for (uint64_t page = 20000; page < 60000; page += 10000)
		miss(&stream, page);
	assert_int_equal(miss(&stream, 1004).pages, 1);
}

static void a_long_window_outlasts_some_misses_of_others(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = miss(&stream, 0);

	(void)state;
	while (plan.pages < MOST)
		plan = marked(&stream, plan.mark);
	for (uint64_t page = 20000; page < 60000; page += 1000)
		miss(&stream, page);
	assert_int_equal(miss(&stream, plan.first + plan.pages).pages, MOST);
	/* And a mark says for certain that there is a stream. */
	for (uint64_t i = 1; i < 500; i++)
		miss(&stream, 20000 + i * i % 50000);
	assert_int_equal(marked(&stream, plan.first + plan.pages).pages, MOST);
}

static void what_lies_between_the_steps_of_a_stream_is_not_its_own(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = {0};

	(void)state;
	scatter(&stream);
	for (uint64_t page = 50000; page <= 50030; page += 10)
		plan = miss(&stream, page);
	assert_int_equal(plan.step, 10);
	assert_int_equal(miss(&stream, 50045).pages, 1);
	assert_int_equal(miss(&stream, plan.first + plan.pages * 10).pages, 2 * plan.pages);
	assert_int_equal(marked(&stream, 50085).pages, 0);
	assert_true(marked(&stream, 50090).pages > 0);
}

static void what_chance_puts_in_a_row_is_believed_later_in_a_small_area(void **state)
{
	const struct {
		uint64_t pages;
		unsigned misses;
	} areas[] = {{200, 5}, {1000, 4}, {TRACE_PAGES, 3}};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		trace_begin(0, areas[i].pages);
		for (uint64_t k = 1; k < 100; k++)
			touch(areas[i].pages - k);
		assert_int_equal(trace.misses, areas[i].misses);
	}
}

/* Where two readers are in the same window, in whichever order. */
static void readers_that_meet_read_each_page_once(void **state)
{
	(void)state;
	trace_begin(0, 8192);
	for (uint64_t i = 0; i < 4096; i++) {
		touch(i);
		touch(8191 - i);
	}
	assert_true(trace.misses <= 8);
	assert_int_equal(trace.read, 8192);
}

static void the_page_of_a_plan_is_within_the_area(void **state)
{
	uint64_t seed = 3;

	(void)state;
	/* read_plan asserts it. */
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t begin = next_random(&seed) % 100, pages = 1 + next_random(&seed) % 60;
		int step = (int)(next_random(&seed) % 9) - 4;

		trace_begin(begin, begin + pages);
		trace.advice = next_random(&seed) % 2 ? READAHEAD_SEQUENTIAL : READAHEAD_NORMAL;
		for (uint64_t k = 0, page = next_random(&seed) % pages; k < 60; k++) {
			touch(begin + page);
			page = next_random(&seed) % 8 ? (page + pages * 4 + (uint64_t)step) % pages : next_random(&seed) % pages;
		}
	}
}

/* ---- parts of an area ---- */

static void an_area_that_is_split_keeps_each_stream_where_its_next_page_is(void **state)
{
	struct readahead left = {0}, right = {0};
	struct readahead_plan low = miss(&left, 0), high;

	(void)state;
	miss(&left, 50000);
	high = miss(&left, 50004);
	assert_true(high.mark != NONE);
	readahead_split(&left, &right, 40000);
	assert_int_equal(marked(&right, low.mark).pages, 0);
	assert_int_equal(marked(&left, high.mark).pages, 0);
	assert_int_equal(marked(&left, low.mark).first, low.pages);
	assert_int_equal(marked(&right, high.mark).first, high.first + high.pages);
}

static void areas_that_are_joined_keep_the_streams_of_both(void **state)
{
	struct readahead left = {0}, right = {0};
	struct readahead_plan low = miss(&left, 0), high;

	(void)state;
	miss(&left, 50000);
	high = miss(&left, 50004);
	readahead_split(&left, &right, 40000);
	low = marked(&left, low.mark);
	high = marked(&right, high.mark);
	readahead_join(&left, &right);
	assert_int_equal(marked(&left, low.mark).first, low.first + low.pages);
	assert_int_equal(marked(&left, high.mark).first, high.first + high.pages);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 200000 };

struct reader {
	pthread_t thread;
	struct readahead *readahead;
	uint64_t seed, wrong;
};

static bool is_sound(const struct readahead_touch *touched, const struct readahead_plan *plan, bool miss)
{
	uint64_t last = plan->first + (uint64_t)(plan->pages - (plan->pages > 0)) * plan->step;

	if (plan->pages == 0)
		return !miss;
	return plan->pages <= MOST && plan->first >= touched->begin && last < touched->end &&
	       (!miss || touched->page == (plan->backward ? last : plan->first));
}

static void *read_by_steps(void *arg)
{
	struct reader *reader = arg;
	struct readahead_touch touched = {READAHEAD_NORMAL, 0, 100, 1100, MOST, APART, false};
	uint64_t page = 0, step = 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct readahead_plan plan;

		if (next_random(&reader->seed) % 16 == 0) {
			page = next_random(&reader->seed) % 1000;
			step = next_random(&reader->seed) % 1000;
		}
		touched.page = 100 + page;
		plan = readahead_miss(reader->readahead, &touched);
		reader->wrong += !is_sound(&touched, &plan, true);
		if (plan.mark != NONE) {
			touched.page = plan.mark;
			plan = readahead_marked(reader->readahead, &touched);
			reader->wrong += !is_sound(&touched, &plan, false);
		}
		page = (page + step) % 1000;
	}
	return NULL;
}

/* Whatever they see of each other's changes. */
static void plans_are_sound_while_threads_meet_in_the_same_streams(void **state)
{
	struct readahead readahead = {0};
	struct reader readers[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){.readahead = &readahead, .seed = i};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_by_steps, &readers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_int_equal(readers[i].wrong, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_first_miss_at_the_start_begins_a_stream),
	    cmocka_unit_test(a_miss_that_continues_the_stream_at_least_doubles_its_window),
	    cmocka_unit_test(touching_a_mark_doubles_the_window_and_goes_on_where_it_ended),
	    cmocka_unit_test(no_window_is_longer_than_the_most),
	    cmocka_unit_test(a_window_that_reaches_the_end_stops_there_and_has_no_mark),
	    cmocka_unit_test(the_last_page_of_all_is_read_alone),
	    cmocka_unit_test(a_sequential_reader_misses_once_and_each_page_is_read_once),
	    cmocka_unit_test(a_miss_behind_a_resident_page_continues_a_stream),
	    cmocka_unit_test(a_mark_behind_which_another_stream_has_moved_on_goes_on_from_itself),
	    cmocka_unit_test(a_miss_on_a_page_that_was_asked_for_already_halves_the_window),
	    cmocka_unit_test(a_window_that_was_halved_grows_by_an_eighth_with_each_mark),
	    cmocka_unit_test(a_miss_that_continues_nothing_reads_little_and_sets_no_mark),
	    cmocka_unit_test(after_some_random_misses_only_the_page_itself_is_read),
	    cmocka_unit_test(a_stream_that_begins_after_random_misses_is_recognized),
	    cmocka_unit_test(random_advice_reads_single_pages_only_and_forgets_nothing),
	    cmocka_unit_test(sequential_advice_reads_more_from_the_first_miss_on),
	    cmocka_unit_test(sequential_advice_is_believed_after_a_jump_too),
	    cmocka_unit_test(a_backward_reader_misses_three_times_and_each_page_is_read_once),
	    cmocka_unit_test(a_backward_window_is_marked_and_lies_below_the_page),
	    cmocka_unit_test(a_backward_window_stops_where_the_area_begins_and_has_no_mark),
	    cmocka_unit_test(a_backward_window_stops_at_the_first_page_of_all),
	    cmocka_unit_test(a_miss_on_a_page_that_a_backward_reader_was_promised_halves_the_window),
	    cmocka_unit_test(interleaved_readers_miss_seldom),
	    cmocka_unit_test(more_readers_than_streams_miss_a_small_part_all_the_same),
	    cmocka_unit_test(a_reader_by_steps_misses_four_times_and_each_page_is_read_once),
	    cmocka_unit_test(steps_of_more_than_most_are_random),
	    cmocka_unit_test(interleaved_readers_by_steps_miss_seldom),
	    cmocka_unit_test(a_reader_beside_random_touches_misses_seldom),
	    cmocka_unit_test(random_touches_read_hardly_more_than_themselves),
	    cmocka_unit_test(two_touches_in_a_window_begin_no_stream),
	    cmocka_unit_test(a_short_window_is_soon_stale),
	    cmocka_unit_test(a_long_window_outlasts_some_misses_of_others),
	    cmocka_unit_test(what_lies_between_the_steps_of_a_stream_is_not_its_own),
	    cmocka_unit_test(what_chance_puts_in_a_row_is_believed_later_in_a_small_area),
	    cmocka_unit_test(readers_that_meet_read_each_page_once),
	    cmocka_unit_test(the_page_of_a_plan_is_within_the_area),
	    cmocka_unit_test(an_area_that_is_split_keeps_each_stream_where_its_next_page_is),
	    cmocka_unit_test(areas_that_are_joined_keep_the_streams_of_both),
	    cmocka_unit_test(plans_are_sound_while_threads_meet_in_the_same_streams),
	};

	return cmocka_run_group_tests_name("readahead", tests, NULL, NULL);
}
