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

#include "cache/readahead.h"

#define MOST 256
#define END  100000
#define NONE UINT64_MAX

static struct readahead_plan miss(struct readahead *stream, uint64_t page)
{
	return readahead_miss(stream, READAHEAD_NORMAL, page, END, MOST, false);
}

static struct readahead_plan marked(struct readahead *stream, uint64_t page)
{
	return readahead_marked(stream, READAHEAD_NORMAL, page, END, MOST);
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
			struct readahead_plan plan = readahead_miss(&stream, READAHEAD_NORMAL, next, END, mosts[i], true);

			assert_int_equal(plan.first, next);
			assert_true(plan.pages >= 1 && plan.pages <= most);
			next += plan.pages;
			plan = readahead_marked(&stream, READAHEAD_NORMAL, next - 1, END, mosts[i]);
			assert_true(plan.pages <= most);
			next += plan.pages;
		}
	}
}

static void a_window_that_reaches_the_end_stops_there_and_has_no_mark(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = readahead_miss(&stream, READAHEAD_NORMAL, 0, 5, MOST, false);

	(void)state;
	assert_int_equal(plan.pages, 5);
	assert_int_equal(plan.mark, NONE);
	plan = readahead_marked(&stream, READAHEAD_NORMAL, 4, 5, MOST);
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
			plan = readahead_miss(&stream, READAHEAD_NORMAL, page, sizeof(read), MOST, page > 0);
			misses++;
			/* The mark may be the very page that is touched now. */
			mark = plan.mark == page;
			for (unsigned i = 0; i < plan.pages; i++)
				read[plan.first + i]++;
			if (plan.mark != NONE)
				marks[nmarks++] = plan.mark;
		}
		if (mark) {
			plan = readahead_marked(&stream, READAHEAD_NORMAL, page, sizeof(read), MOST);
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
	behind = readahead_miss(&stream, READAHEAD_NORMAL, 20000, END, MOST, true);
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
		plan = readahead_miss(stream, advice, plan.first + plan.pages, END, MOST, false);
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

			plan = readahead_miss(&stream, window_advice[i], page, END, MOST, false);
			assert_int_equal(plan.first, page);
			assert_int_equal(plan.pages, half);
			assert_true(plan.mark >= page && plan.mark < page + half);
		}
		/* Shorter than that no window gets. */
		assert_int_equal(readahead_miss(&stream, window_advice[i], plan.first + 1, END, MOST, false).pages, 8);
	}
}

static void a_window_that_was_halved_grows_by_an_eighth_with_each_mark(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct readahead stream;
		struct readahead_plan plan = longest(&stream, window_advice[i]);
		unsigned steps = 0;

		plan = readahead_miss(&stream, window_advice[i], plan.first + 1, END, MOST, false);
		for (unsigned before = plan.pages; before < MOST; before = plan.pages, steps++) {
			plan = readahead_marked(&stream, window_advice[i], plan.mark, END, MOST);
			if (plan.pages < MOST)
				assert_in_range(plan.pages, before + before / 8, before + before / 8 + 1);
		}
		assert_true(steps >= 4);
		assert_int_equal(readahead_marked(&stream, window_advice[i], plan.mark, END, MOST).pages, MOST);
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
	assert_int_equal(readahead_miss(&stream, READAHEAD_NORMAL, 80000, END, MOST, true).pages, 1);
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
		plan = readahead_miss(&stream, READAHEAD_RANDOM, page, END, MOST, true);
		assert_int_equal(plan.first, page);
		assert_int_equal(plan.pages, 1);
		assert_int_equal(plan.mark, NONE);
	}
	assert_int_equal(readahead_marked(&stream, READAHEAD_RANDOM, 5, END, MOST).pages, 0);
	assert_memory_equal(&stream, &before, sizeof(before));
}

static void sequential_advice_reads_more_from_the_first_miss_on(void **state)
{
	struct readahead normal = {0}, sequential = {0};
	struct readahead_plan plan = readahead_miss(&sequential, READAHEAD_SEQUENTIAL, 0, END, MOST, false), next;

	(void)state;
	assert_true(plan.pages > miss(&normal, 0).pages);
	assert_int_not_equal(plan.mark, NONE);
	next = readahead_miss(&sequential, READAHEAD_SEQUENTIAL, plan.pages, END, MOST, false);
	assert_int_equal(next.pages, 2 * plan.pages);
}

static void sequential_advice_is_believed_after_a_jump_too(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan = {0};

	(void)state;
	for (unsigned i = 1; i < 10; i++) {
		plan = readahead_miss(&stream, READAHEAD_SEQUENTIAL, 1000 * i * i, END, MOST, false);
		assert_int_equal(plan.first, 1000 * i * i);
		assert_true(plan.pages > 1);
		assert_int_not_equal(plan.mark, NONE);
	}
}

/* ---- two threads ---- */

static void whoever_finds_the_stream_in_use_reads_his_page_alone(void **state)
{
	struct readahead stream = {0};
	struct readahead_plan plan;

	(void)state;
	assert_true(lock_try(&stream.lock));
	plan = miss(&stream, 0);
	assert_int_equal(plan.pages, 1);
	assert_int_equal(plan.mark, NONE);
	assert_int_equal(marked(&stream, 0).pages, 0);
	lock_release(&stream.lock);
	assert_true(miss(&stream, 0).pages > 1);
	assert_false(lock_is_held(&stream.lock));
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
	    cmocka_unit_test(whoever_finds_the_stream_in_use_reads_his_page_alone),
	};

	return cmocka_run_group_tests_name("readahead", tests, NULL, NULL);
}
