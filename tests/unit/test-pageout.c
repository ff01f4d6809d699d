/* SPDX-License-Identifier: MIT */
/*
 * test-pageout.c - the budget, and the daemon that keeps some of it free
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/policy.h"

#define LIMIT      2048
#define CHUNKS     4
#define DEADLOCK_S 30
#define SLOW_MS    3500 /* longer than a promise waits where nothing is under way */

struct object {
	unsigned refs;
};

static struct cache *cache;
static struct object object;
static struct chunk *chunks;
static bool writes_fail;
static bool write_is_slow; /* until SLOW_MS after it began */
static struct buffer *slow_buffer;
static uint32_t slow_since_ms;
static _Atomic bool in_step;
static bool step_meets_stop;

/* ---- objects whose pages are never mapped ---- */

static void fake_unmap(struct chunk *chunk, const struct chunk_set *spared)
{
	(void)chunk;
	(void)spared;
}

static unsigned fake_evict(struct chunk *chunk, const struct chunk_set *set)
{
	unsigned freed = 0;

	for (unsigned i = chunk_set_next(set, 0); i < CHUNK_PAGES; i = chunk_set_next(set, i + 1)) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) == PAGE_RESIDENT && !(word & PAGE_DIRTY) && page_swap(&chunk->page[i], &word, PAGE_ABSENT))
			freed++;
	}
	atomic_fetch_sub(&chunk->resident, freed);
	budget_release(cache, freed);
	count(&cache->counters.evicted_pages, freed);
	return freed;
}

/* The first call takes a buffer, as a write does, and whichever comes when the time is over puts it back. */
static bool is_under_way(void)
{
	if (!slow_buffer) {
		slow_buffer = buffer_try_run(&cache->buffers);
		slow_since_ms = cache_clock_ms();
	}
	if (cache_clock_ms() - slow_since_ms < SLOW_MS)
		return true;
	count(&cache->counters.write_calls, 1);
	buffer_put(&cache->buffers, slow_buffer);
	write_is_slow = false;
	return false;
}

/* Comes back when the daemon has been told to stop, which it then finds out in the middle of its work. */
static void meet_stop(void)
{
	atomic_store(&in_step, true);
	while (!atomic_load(&cache->stopping) || !atomic_load(&cache->pageout_word))
		usleep(100);
}

static unsigned fake_clean(struct chunk *chunk, bool wait)
{
	(void)wait;
	if (step_meets_stop)
		meet_stop();
	if (write_is_slow && is_under_way())
		return 0;
	if (writes_fail) {
		count(&cache->counters.writeback_errors, 1);
		return 0;
	}
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		page_flags(&chunk->page[i], PAGE_DIRTY, 0);
	return 0;
}

static bool fake_ref(struct object *of)
{
	of->refs++;
	return true;
}

static void fake_unref(struct object *of)
{
	of->refs--;
}

static const struct cache_ops fake_ops = {
    .unmap = fake_unmap,
    .evict = fake_evict,
    .clean = fake_clean,
    .ref = fake_ref,
    .unref = fake_unref,
};

static int make(void **state)
{
	(void)state;
	writes_fail = write_is_slow = step_meets_stop = false;
	slow_buffer = NULL;
	chunks = calloc(CHUNKS, sizeof(*chunks));
	for (unsigned i = 0; chunks && i < CHUNKS; i++)
		chunks[i].object = &object;
	alarm(DEADLOCK_S);
	return chunks ? cache_create(LIMIT, &fake_ops, NULL, &cache) : -1;
}

static int destroy(void **state)
{
	(void)state;
	pageout_stop(cache);
	for (unsigned i = 0; i < CHUNKS; i++) {
		policy_remove(cache, &chunks[i]);
		budget_release(cache, chunks[i].resident);
	}
	cache_destroy(cache);
	free(chunks);
	alarm(0);
	return 0;
}

static uint64_t used(void)
{
	return atomic_load(&cache->used) - cache->buffers.total_pages;
}

static uint64_t room(void)
{
	return LIMIT - cache->buffers.total_pages;
}

/* Frames that can be paged out, or not before they are written. */
static void fill(unsigned pages, uint32_t flags)
{
	for (unsigned i = 0; i < pages; i++) {
		struct chunk *chunk = &chunks[i / CHUNK_PAGES];

		assert_true(budget_try(cache, 1));
		atomic_store(&chunk->page[i % CHUNK_PAGES], PAGE_RESIDENT | flags);
		if (atomic_fetch_add(&chunk->resident, 1) == 0)
			policy_insert(cache, chunk);
	}
}

/* ---- promises ---- */

static void the_buffers_are_part_of_the_budget_from_the_start(void **state)
{
	(void)state;
	assert_true(cache->buffers.total_pages > 0);
	assert_int_equal(cache->used, cache->buffers.total_pages);
	assert_int_equal(cache->used_peak, cache->buffers.total_pages);
}

static void the_least_budget_can_be_created_and_has_room_for_frames(void **state)
{
	struct cache *least;

	(void)state;
	assert_int_equal(cache_create(budget_minimum(), &fake_ops, NULL, &least), 0);
	assert_true(budget_try(least, 16));
	budget_release(least, 16);
	cache_destroy(least);
	cache_destroy(NULL);
}

static void promises_are_made_up_to_the_limit_and_not_beyond(void **state)
{
	(void)state;
	assert_true(budget_try(cache, room() - 1));
	assert_false(budget_try(cache, 2));
	assert_int_equal(used(), room() - 1);
	assert_true(budget_try(cache, 1));
	assert_false(budget_try(cache, 1));
	budget_release(cache, room());
	assert_int_equal(used(), 0);
	assert_true(budget_try(cache, 1));
	budget_release(cache, 1);
}

static void the_peak_is_the_most_there_ever_was(void **state)
{
	(void)state;
	assert_true(budget_try(cache, 100));
	budget_release(cache, 100);
	assert_true(budget_try(cache, 50));
	assert_int_equal(cache->used_peak, cache->buffers.total_pages + 100);
	budget_release(cache, 50);
}

static void a_promise_pages_out_what_it_needs(void **state)
{
	(void)state;
	fill((unsigned)room(), 0);
	assert_int_equal(budget_reserve(cache, 10), 0);
	assert_true(atomic_load(&cache->used) <= LIMIT);
	assert_true(cache->counters.evicted_pages >= 10);
	budget_release(cache, 10);
}

static void a_promise_waits_for_writes_where_all_is_dirty(void **state)
{
	(void)state;
	fill((unsigned)room(), PAGE_DIRTY);
	assert_int_equal(budget_reserve(cache, 1), 0);
	budget_release(cache, 1);
}

static void a_promise_waits_longer_while_transfers_are_under_way(void **state)
{
	(void)state;
	write_is_slow = true;
	fill((unsigned)room(), PAGE_DIRTY);
	assert_int_equal(budget_reserve(cache, 1), 0);
	assert_false(write_is_slow);
	assert_int_equal(cache->buffers.taken, 0);
	budget_release(cache, 1);
}

static void a_promise_is_refused_where_nothing_can_be_written(void **state)
{
	(void)state;
	writes_fail = true;
	fill((unsigned)room(), PAGE_DIRTY);
	assert_int_equal(budget_reserve(cache, 1), -ENOMEM);
	assert_int_equal(used(), room());
	writes_fail = false;
	assert_int_equal(budget_reserve(cache, 1), 0);
	budget_release(cache, 1);
}

static void a_promise_is_refused_in_the_end_where_there_is_nothing_to_page_out(void **state)
{
	(void)state;
	assert_true(budget_try(cache, room()));
	assert_int_equal(budget_reserve(cache, 1), -ENOMEM);
	assert_int_equal(used(), room());
	budget_release(cache, room());
}

struct demand {
	_Atomic bool exceeded;
	_Atomic unsigned refused;
};

static void *demand_main(void *arg)
{
	struct demand *demand = arg;

	for (unsigned i = 0; i < 2000; i++) {
		unsigned n = 1 + i % 60;

		if (!budget_try(cache, n)) {
			atomic_fetch_add(&demand->refused, 1);
			continue;
		}
		if (atomic_load(&cache->used) > LIMIT)
			atomic_store(&demand->exceeded, true);
		budget_release(cache, n);
	}
	return NULL;
}

static void threads_that_ask_at_once_never_exceed_the_limit(void **state)
{
	struct demand demand = {0};
	pthread_t threads[4];

	(void)state;
	assert_true(budget_try(cache, room() - 100));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, demand_main, &demand), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_false(demand.exceeded);
	assert_true(cache->used_peak <= LIMIT);
	assert_int_equal(used(), room() - 100);
	budget_release(cache, room() - 100);
}

/* ---- the limit ---- */

static void a_lower_limit_pages_out_until_it_is_kept(void **state)
{
	(void)state;
	fill((unsigned)room(), 0);
	assert_int_equal(budget_set(cache, LIMIT / 2), 0);
	assert_true(atomic_load(&cache->used) <= LIMIT / 2);
	assert_int_equal(cache->limit, LIMIT / 2);
}

static void a_limit_that_cannot_be_kept_is_refused_and_the_old_one_stands(void **state)
{
	(void)state;
	writes_fail = true;
	fill((unsigned)room(), PAGE_DIRTY);
	assert_int_equal(budget_set(cache, LIMIT / 2), -ENOMEM);
	assert_int_equal(cache->limit, LIMIT);
	assert_int_equal(used(), room());
}

static void a_higher_limit_has_room_at_once(void **state)
{
	(void)state;
	assert_true(budget_try(cache, room()));
	assert_int_equal(budget_set(cache, LIMIT + 10), 0);
	assert_true(budget_try(cache, 10));
	budget_release(cache, room() + 10);
}

/* ---- locked pages ---- */

static void locking_leaves_a_part_that_can_be_paged_out(void **state)
{
	uint64_t most = LIMIT;

	(void)state;
	while (budget_lock(cache, most) < 0)
		most--;
	assert_true(most > room() / 2 && most < room());
	assert_int_equal(budget_lock(cache, 1), -ENOMEM);
	assert_int_equal(cache->locked, most);
	assert_int_equal(budget_lock(cache, 0), 0);
	budget_unlock(cache, 1);
	assert_int_equal(budget_lock(cache, 1), 0);
	budget_unlock(cache, most);
	assert_int_equal(cache->locked, 0);
}

static void locking_more_than_can_be_counted_is_refused(void **state)
{
	(void)state;
	assert_int_equal(budget_lock(cache, UINT64_MAX), -ENOMEM);
	assert_int_equal(budget_lock(cache, UINT64_MAX - 100), -ENOMEM);
	assert_int_equal(cache->locked, 0);
}

static void a_limit_is_borne_when_a_part_is_left_beside_what_is_locked(void **state)
{
	uint64_t most = LIMIT;

	(void)state;
	assert_true(budget_bears(cache, LIMIT / 2));
	assert_false(budget_bears(cache, cache->buffers.total_pages));
	while (budget_lock(cache, most) < 0)
		most--;
	assert_true(budget_bears(cache, LIMIT));
	/* A page less may leave an eighth, rounded down, all the same; two do not. */
	assert_false(budget_bears(cache, LIMIT - 2));
	assert_false(budget_bears(cache, cache->locked + cache->buffers.total_pages));
	assert_false(budget_bears(cache, 0));
	budget_unlock(cache, most);
	assert_true(budget_bears(cache, LIMIT - 2));
}

/* ---- the daemon ---- */

static void the_daemon_keeps_some_of_the_budget_free(void **state)
{
	(void)state;
	fill((unsigned)room(), 0);
	assert_int_equal(pageout_start(cache), 0);
	for (unsigned i = 0; i < 2000 && LIMIT - atomic_load(&cache->used) < LIMIT / 32; i++)
		usleep(1000);
	assert_true(LIMIT - atomic_load(&cache->used) >= LIMIT / 32);
}

static void the_daemon_can_be_stopped_while_it_cannot_free_anything(void **state)
{
	(void)state;
	writes_fail = true;
	fill((unsigned)room(), PAGE_DIRTY);
	assert_int_equal(pageout_start(cache), 0);
	usleep(5000);
	pageout_stop(cache);
	pageout_stop(cache);
	assert_int_equal(used(), room());
}

static void start_again(void)
{
	atomic_store(&cache->stopping, false);
	atomic_store(&in_step, false);
	assert_int_equal(pageout_start(cache), 0);
}

static void the_daemon_can_be_started_and_stopped_many_times(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		start_again();
		if (round % 2)
			usleep(round);
		pageout_stop(cache);
	}
}

static void the_daemon_can_be_stopped_many_times_in_the_middle_of_a_step(void **state)
{
	(void)state;
	writes_fail = step_meets_stop = true;
	fill((unsigned)room(), PAGE_DIRTY);
	for (unsigned round = 0; round < 200; round++) {
		start_again();
		while (!atomic_load(&in_step))
			usleep(100);
		pageout_stop(cache);
	}
	assert_int_equal(used(), room());
}

static void the_clock_is_never_zero_and_does_not_go_back(void **state)
{
	uint32_t before = cache_clock_ms(), now;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		usleep(1000);
		now = cache_clock_ms();
		assert_int_not_equal(now, 0);
		assert_true((int32_t)(now - before) >= 0);
		before = now;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_buffers_are_part_of_the_budget_from_the_start),
	    TEST(the_least_budget_can_be_created_and_has_room_for_frames),
	    TEST(promises_are_made_up_to_the_limit_and_not_beyond),
	    TEST(the_peak_is_the_most_there_ever_was),
	    TEST(a_promise_pages_out_what_it_needs),
	    TEST(a_promise_waits_for_writes_where_all_is_dirty),
	    TEST(a_promise_waits_longer_while_transfers_are_under_way),
	    TEST(a_promise_is_refused_where_nothing_can_be_written),
	    TEST(a_promise_is_refused_in_the_end_where_there_is_nothing_to_page_out),
	    TEST(threads_that_ask_at_once_never_exceed_the_limit),
	    TEST(a_lower_limit_pages_out_until_it_is_kept),
	    TEST(a_limit_that_cannot_be_kept_is_refused_and_the_old_one_stands),
	    TEST(a_higher_limit_has_room_at_once),
	    TEST(locking_leaves_a_part_that_can_be_paged_out),
	    TEST(locking_more_than_can_be_counted_is_refused),
	    TEST(a_limit_is_borne_when_a_part_is_left_beside_what_is_locked),
	    TEST(the_daemon_keeps_some_of_the_budget_free),
	    TEST(the_daemon_can_be_stopped_while_it_cannot_free_anything),
	    TEST(the_daemon_can_be_started_and_stopped_many_times),
	    TEST(the_daemon_can_be_stopped_many_times_in_the_middle_of_a_step),
	    TEST(the_clock_is_never_zero_and_does_not_go_back),
	};

	return cmocka_run_group_tests_name("pageout", tests, NULL, NULL);
}
