/* SPDX-License-Identifier: MIT */
/*
 * test-once.c - what came in last through a mapping whose pages are used once
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/once.h"

static void single_pages_fall_out_in_their_order_when_it_is_full(void **state)
{
	struct once once = {0};
	struct once_out out;

	(void)state;
	for (uint64_t i = 0; i < 5 * ONCE_RUNS; i++) {
		once_put(&once, (struct once_run){1000 - i, 1, 1}, 10000, &out);
		assert_int_equal(out.n, i < ONCE_RUNS ? 0 : 1);
		if (out.n == 0)
			continue;
		assert_int_equal(out.run[0].first, 1000 - (i - ONCE_RUNS));
		assert_int_equal(out.run[0].pages, 1);
	}
}

static void long_runs_fall_out_when_there_are_too_many_pages(void **state)
{
	struct once once = {0};
	struct once_out out;

	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		once_put(&once, (struct once_run){16 * i, 16, 1}, 64, &out);
		assert_int_equal(out.n, i < 4 ? 0 : 1);
		if (out.n)
			assert_int_equal(out.run[0].first, 16 * (i - 4));
	}
	assert_int_equal(once.pages, 64);
}

/* The run before may still be in use, however little room there is. */
static void the_run_before_never_falls_out(void **state)
{
	struct once once = {0};
	struct once_out out;

	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		once_put(&once, (struct once_run){100 * i, 100, 1}, 1, &out);
		assert_int_equal(out.n, i < 2 ? 0 : 1);
		assert_int_equal(once.count, i < 2 ? i + 1 : 2);
	}
}

static void a_long_run_drives_single_pages_out_a_few_at_a_time(void **state)
{
	struct once once = {0};
	struct once_out out;
	uint64_t fallen = 0;

	(void)state;
	for (uint64_t i = 0; i < 60; i++)
		once_put(&once, (struct once_run){i, 1, 1}, 64, &out);
	for (uint64_t i = 0; i < 30; i++) {
		once_put(&once, (struct once_run){1000 + i, 32, 1}, 64, &out);
		assert_true(out.n <= ONCE_OUT);
		fallen += out.n;
	}
	assert_int_equal(once.count, 60 + 30 - fallen);
	assert_true(once.pages <= 96);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(single_pages_fall_out_in_their_order_when_it_is_full),
	    cmocka_unit_test(long_runs_fall_out_when_there_are_too_many_pages),
	    cmocka_unit_test(the_run_before_never_falls_out),
	    cmocka_unit_test(a_long_run_drives_single_pages_out_a_few_at_a_time),
	};

	return cmocka_run_group_tests_name("once", tests, NULL, NULL);
}
