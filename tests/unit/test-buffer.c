/* SPDX-License-Identifier: MIT */
/*
 * test-buffer.c - the engine's buffers, and waiting for transfers
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/buffer.h"
#include "sys/page_size.h"

#define BUDGET     8192
#define DEADLOCK_S 30
#define ENOUGH     128

static int make(void **state)
{
	static struct buffers buffers;

	memset(&buffers, 0, sizeof(buffers));
	*state = &buffers;
	alarm(DEADLOCK_S);
	return buffers_create(&buffers, BUDGET);
}

static int destroy(void **state)
{
	buffers_done(*state);
	alarm(0);
	return 0;
}

static void buffers_take_at_most_a_quarter_of_a_budget_of_some_size(void **state)
{
	(void)state;
	for (uint64_t budget = 256; budget < 1ull << 40; budget += budget / 3) {
		unsigned run_pages, runs, singles;
		uint64_t total = buffers_pages(budget, &run_pages, &runs, &singles);

		assert_int_equal(total, singles + (uint64_t)runs * run_pages);
		assert_true(total <= budget / 4);
		assert_true(run_pages >= 1 && runs >= 1 && singles >= 1);
	}
}

static void a_larger_budget_never_has_shorter_runs_of_the_same_number(void **state)
{
	unsigned before_pages, before_runs, run_pages, runs, singles;

	(void)state;
	buffers_pages(0, &before_pages, &before_runs, &singles);
	for (uint64_t budget = 64; budget < 1ull << 30; budget *= 2) {
		buffers_pages(budget, &run_pages, &runs, &singles);
		assert_true((uint64_t)run_pages * runs >= (uint64_t)before_pages * before_runs);
		before_pages = run_pages;
		before_runs = runs;
	}
}

static void every_buffer_is_aligned_and_has_room_of_its_own(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *all[ENOUGH];
	unsigned n = 0;

	while ((all[n] = buffer_try(buffers, n % 2 ? 1 : buffers->run_pages)) || (all[n] = buffer_try(buffers, 1))) {
		assert_int_equal((uintptr_t)all[n]->data % page_size(), 0);
		memset(all[n]->data, (int)n, all[n]->pages << page_shift);
		n++;
		assert_true(n < ENOUGH);
	}
	for (unsigned i = 0; i < n; i++)
		for (size_t k = 0; k < (size_t)all[i]->pages << page_shift; k += page_size() / 4)
			assert_int_equal(all[i]->data[k], i);
	for (unsigned i = 0; i < n; i++)
		buffer_put(buffers, all[i]);
}

static void a_buffer_has_room_for_what_was_asked(void **state)
{
	struct buffers *buffers = *state;

	for (unsigned pages = 1; pages <= buffers->run_pages; pages++) {
		struct buffer *buffer = buffer_try(buffers, pages);

		assert_true(buffer->pages >= pages);
		buffer_put(buffers, buffer);
	}
}

static void single_pages_do_not_use_up_runs_while_there_are_singles(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *buffer = buffer_try(buffers, 1);

	assert_int_equal(buffer->pages, 1);
	buffer_put(buffers, buffer);
}

static void when_singles_are_gone_a_run_serves_and_when_all_are_gone_none(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *all[ENOUGH];
	unsigned n = 0, runs = 0;

	while ((all[n] = buffer_try(buffers, 1)))
		runs += all[n++]->pages > 1;
	assert_true(runs > 0 && runs < n);
	assert_null(buffer_try(buffers, buffers->run_pages));
	buffer_put(buffers, all[0]);
	assert_int_equal(all[0]->pages, 1);
	assert_null(buffer_try(buffers, 2));
	assert_ptr_equal(buffer_try(buffers, 1), all[0]);
	for (unsigned i = 0; i < n; i++)
		buffer_put(buffers, all[i]);
}

static void a_buffer_comes_without_the_last_transfer(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *buffer = buffer_try(buffers, 1);
	struct batch batch = {0};

	buffer->object = (struct object *)&batch;
	buffer->batch = &batch;
	buffer->flags = 5;
	buffer_put(buffers, buffer);
	buffer = buffer_try(buffers, 1);
	assert_null(buffer->object);
	assert_null(buffer->batch);
	assert_int_equal(buffer->flags, 0);
	buffer_put(buffers, buffer);
}

static void *get_main(void *arg)
{
	struct buffer *buffer = buffer_get(arg, 1);

	buffer_put(arg, buffer);
	return buffer;
}

static void whoever_waits_for_a_buffer_gets_the_one_that_is_put_back(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *all[ENOUGH];
	unsigned n = 0;
	pthread_t thread;
	void *got;

	while ((all[n] = buffer_try(buffers, 1)))
		n++;
	assert_int_equal(pthread_create(&thread, NULL, get_main, buffers), 0);
	while (atomic_load(&buffers->waiters) == 0)
		usleep(1000);
	buffer_put(buffers, all[n - 1]);
	pthread_join(thread, &got);
	assert_ptr_equal(got, all[n - 1]);
	assert_int_equal(buffers->waiters, 0);
	for (unsigned i = 0; i + 1 < n; i++)
		buffer_put(buffers, all[i]);
}

static void the_least_budget_has_buffers_of_a_page_that_all_come_back(void **state)
{
	struct buffers buffers = {0};
	struct buffer *all[ENOUGH];
	unsigned n = 0, again = 0;

	(void)state;
	assert_int_equal(buffers_create(&buffers, 1), 0);
	assert_int_equal(buffers.run_pages, 1);
	while ((all[n] = buffer_try(&buffers, 1)))
		n++;
	assert_int_equal(n, buffers.total_pages);
	for (unsigned i = 0; i < n; i++)
		buffer_put(&buffers, all[i]);
	while (buffer_try(&buffers, 1))
		again++;
	assert_int_equal(again, n);
	buffers_done(&buffers);
}

/* ---- batches ---- */

static void a_batch_of_nothing_is_done(void **state)
{
	struct batch batch = {0};

	(void)state;
	assert_int_equal(batch_wait(&batch), 0);
}

static void a_batch_tells_its_first_error(void **state)
{
	struct batch batch = {0};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		batch_add(&batch);
	batch_done(&batch, 0);
	batch_done(&batch, ENOSPC);
	batch_done(&batch, EIO);
	batch_done(&batch, 0);
	assert_int_equal(batch_wait(&batch), -ENOSPC);
}

static void *done_main(void *arg)
{
	usleep(10000);
	batch_done(arg, 0);
	usleep(10000);
	batch_done(arg, EIO);
	return NULL;
}

static void waiting_for_a_batch_ends_with_its_last_transfer(void **state)
{
	struct batch batch = {0};
	pthread_t thread;

	(void)state;
	batch_add(&batch);
	batch_add(&batch);
	assert_int_equal(pthread_create(&thread, NULL, done_main, &batch), 0);
	assert_int_equal(batch_wait(&batch), -EIO);
	pthread_join(thread, NULL);
}

static void a_part_of_each_kind_is_left_to_faults(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *all[ENOUGH];
	unsigned n = 0, singles, runs;

	while ((all[n] = buffer_try_spare(buffers, 1)))
		n++;
	singles = n;
	while ((all[n] = buffer_try_spare(buffers, buffers->run_pages)))
		n++;
	runs = n - singles;
	assert_int_equal(singles, buffers->singles - buffers->singles / 4);
	assert_int_equal(runs, buffers->runs - buffers->runs / 4);
	/* Which a fault gets. */
	assert_non_null(all[n] = buffer_try(buffers, 1));
	assert_false(all[n]->is_run);
	n++;
	while (n > 0)
		buffer_put(buffers, all[--n]);
}

struct put {
	struct buffers *buffers;
	struct buffer *all[ENOUGH];
};

static void *put_main(void *arg)
{
	struct put *put = arg;

	for (unsigned i = 0; put->all[i]; i++)
		buffer_put(put->buffers, put->all[i]);
	return NULL;
}

static void whoever_waits_for_spare_ones_is_woken(void **state)
{
	struct buffers *buffers = *state;
	struct buffer *buffer;
	struct put put = {.buffers = buffers};
	pthread_t thread;

	for (int round = 0; round < 20; round++) {
		unsigned n = 0;

		while ((put.all[n] = buffer_try_spare(buffers, 1)))
			n++;
		assert_int_equal(pthread_create(&thread, NULL, put_main, &put), 0);
		assert_non_null(buffer = buffer_get_spare(buffers, 1));
		pthread_join(thread, NULL);
		buffer_put(buffers, buffer);
	}
}

static unsigned finished;

static void finish_batch(struct batch *batch)
{
	(void)batch;
	finished++;
}

static void a_batch_that_nobody_waits_for_tells_when_the_last_is_done(void **state)
{
	struct batch batch = {.finished = finish_batch};

	(void)state;
	finished = 0;
	batch_add(&batch);
	batch_add(&batch);
	batch_done(&batch, 0);
	assert_int_equal(finished, 0);
	batch_done(&batch, EIO);
	assert_int_equal(finished, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(buffers_take_at_most_a_quarter_of_a_budget_of_some_size),
	    cmocka_unit_test(a_larger_budget_never_has_shorter_runs_of_the_same_number),
	    TEST(every_buffer_is_aligned_and_has_room_of_its_own),
	    TEST(a_buffer_has_room_for_what_was_asked),
	    TEST(single_pages_do_not_use_up_runs_while_there_are_singles),
	    TEST(when_singles_are_gone_a_run_serves_and_when_all_are_gone_none),
	    TEST(a_buffer_comes_without_the_last_transfer),
	    TEST(whoever_waits_for_a_buffer_gets_the_one_that_is_put_back),
	    TEST(the_least_budget_has_buffers_of_a_page_that_all_come_back),
	    TEST(a_batch_of_nothing_is_done),
	    TEST(a_batch_tells_its_first_error),
	    TEST(waiting_for_a_batch_ends_with_its_last_transfer),
	    TEST(a_part_of_each_kind_is_left_to_faults),
	    TEST(whoever_waits_for_spare_ones_is_woken),
	    TEST(a_batch_that_nobody_waits_for_tells_when_the_last_is_done),
	};

	return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
