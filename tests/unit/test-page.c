/* SPDX-License-Identifier: MIT */
/*
 * test-page.c - the states of a page, and who waits for them
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/chunk.h"
#include "cache/page.h"

#define THREADS    4
#define ROUNDS     2000
#define DEADLOCK_S 30
#define FLAGS      (PAGE_DIRTY | PAGE_WRITING | PAGE_MAPPED | PAGE_STORED | PAGE_AHEAD | PAGE_MARK | PAGE_REF | PAGE_SLOT | PAGE_STAMP)

static const enum page_state states[] = {PAGE_ABSENT, PAGE_LOADING, PAGE_RESIDENT, PAGE_HELD, PAGE_BARRED, PAGE_OUT};
#define STATES (sizeof(states) / sizeof(states[0]))

/* The arrows of the diagram that begin with a claim. */
static const struct {
	enum page_state from, to;
} claims[] = {
    {PAGE_ABSENT, PAGE_LOADING}, {PAGE_ABSENT, PAGE_BARRED}, {PAGE_ABSENT, PAGE_HELD},
    {PAGE_RESIDENT, PAGE_HELD},  {PAGE_OUT, PAGE_HELD},
};

/* And those that end one. */
static const struct {
	enum page_state from, to;
} ends[] = {
    {PAGE_LOADING, PAGE_RESIDENT}, {PAGE_LOADING, PAGE_ABSENT}, {PAGE_HELD, PAGE_RESIDENT},
    {PAGE_HELD, PAGE_ABSENT},      {PAGE_HELD, PAGE_OUT},       {PAGE_BARRED, PAGE_ABSENT},
};

static void every_claim_of_the_diagram_changes_the_state_and_keeps_the_flags(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		page_word page = FLAGS | claims[i].from;

		assert_true(page_take(&page, claims[i].from, claims[i].to));
		assert_int_equal(page_load(&page), FLAGS | claims[i].to);
	}
}

static void every_end_of_the_diagram_changes_the_state_and_keeps_the_flags(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		page_word page = FLAGS | ends[i].from;

		page_settle(&page, ends[i].to, 0, 0);
		assert_int_equal(page_load(&page), FLAGS | ends[i].to);
	}
}

static void a_page_in_another_state_is_not_taken_and_not_changed(void **state)
{
	(void)state;
	for (unsigned from = 0; from < STATES; from++)
		for (unsigned is = 0; is < STATES; is++) {
			page_word page = FLAGS | states[is];

			assert_int_equal(page_take(&page, states[from], PAGE_HELD), from == is);
			assert_int_equal(page_load(&page), FLAGS | (from == is ? PAGE_HELD : states[is]));
		}
}

static void settling_clears_first_and_then_sets(void **state)
{
	page_word page = PAGE_LOADING | PAGE_REF | PAGE_STORED | PAGE_STAMP;

	(void)state;
	page_settle(&page, PAGE_RESIDENT, PAGE_REF | PAGE_STAMP, PAGE_REF_ONE | PAGE_MAPPED);
	assert_int_equal(page_load(&page), PAGE_RESIDENT | PAGE_STORED | PAGE_REF_ONE | PAGE_MAPPED);
}

static void settling_never_lets_the_flags_that_are_set_reach_the_state(void **state)
{
	uint32_t number = (1u << (32 - PAGE_OUT_BIT)) - 1;
	page_word page = PAGE_HELD | FLAGS;

	(void)state;
	page_settle(&page, PAGE_OUT, ~0u, number << PAGE_OUT_BIT | PAGE_STATE);
	assert_int_equal(page_state(page_load(&page)), PAGE_OUT);
	assert_int_equal(page_load(&page) >> PAGE_OUT_BIT, number);
}

static void busy_states_are_those_that_somebody_owns(void **state)
{
	(void)state;
	for (unsigned i = 0; i < STATES; i++) {
		bool owned = states[i] == PAGE_LOADING || states[i] == PAGE_HELD || states[i] == PAGE_BARRED;
		bool frame = states[i] == PAGE_RESIDENT || states[i] == PAGE_HELD;

		assert_int_equal(page_is_busy(FLAGS | states[i]), owned);
		assert_int_equal(page_has_frame(FLAGS | states[i]), frame);
	}
}

static void no_two_flags_share_a_bit(void **state)
{
	const uint32_t all[] = {PAGE_STATE, PAGE_DIRTY, PAGE_WRITING, PAGE_MAPPED, PAGE_WAITED, PAGE_STORED,
				PAGE_AHEAD, PAGE_MARK,  PAGE_REF,     PAGE_SLOT,   PAGE_STAMP};
	uint32_t seen = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_int_equal(seen & all[i], 0);
		seen |= all[i];
	}
	assert_int_equal(PAGE_REF / PAGE_REF_ONE, 7);
	assert_int_equal(PAGE_PASSES / PAGE_PASS, 31);
	assert_int_equal(PAGE_PASSES & ~PAGE_STAMP, 0);
}

static void changing_flags_answers_the_word_before_and_leaves_the_state(void **state)
{
	page_word page = PAGE_HELD | PAGE_DIRTY;

	(void)state;
	assert_int_equal(page_flags(&page, PAGE_DIRTY, PAGE_WRITING), PAGE_HELD | PAGE_DIRTY);
	assert_int_equal(page_load(&page), PAGE_HELD | PAGE_WRITING);
}

/* ---- waiting ---- */

struct waiters {
	page_word page;
	_Atomic unsigned through;
};

static void *wait_main(void *arg)
{
	struct waiters *waiters = arg;
	uint32_t word;

	while (page_is_busy(word = page_load(&waiters->page)))
		page_wait(&waiters->page, word);
	atomic_fetch_add(&waiters->through, 1);
	return NULL;
}

static void settling_wakes_all_who_wait_and_forgets_that_they_did(void **state)
{
	struct waiters waiters = {.page = PAGE_LOADING | PAGE_STORED};
	pthread_t threads[THREADS];

	(void)state;
	alarm(DEADLOCK_S);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_main, &waiters), 0);
	while (!(page_load(&waiters.page) & PAGE_WAITED))
		usleep(1000);
	assert_int_equal(waiters.through, 0);
	page_settle(&waiters.page, PAGE_RESIDENT, 0, 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(page_load(&waiters.page), PAGE_RESIDENT | PAGE_STORED);
	alarm(0);
}

static void waiting_for_what_has_changed_already_returns_at_once(void **state)
{
	page_word page = PAGE_RESIDENT;

	(void)state;
	alarm(DEADLOCK_S);
	page_wait(&page, PAGE_LOADING);
	page_wait(&page, PAGE_LOADING | PAGE_WAITED);
	assert_int_equal(page_load(&page), PAGE_RESIDENT);
	alarm(0);
}

struct contest {
	page_word page;
	_Atomic unsigned inside, wins;
	_Atomic bool crowded;
};

static void *contest_main(void *arg)
{
	struct contest *contest = arg;

	for (unsigned won = 0; won < ROUNDS;) {
		if (!page_take(&contest->page, PAGE_RESIDENT, PAGE_HELD)) {
			uint32_t word = page_load(&contest->page);

			if (page_is_busy(word))
				page_wait(&contest->page, word);
			continue;
		}
		if (atomic_fetch_add(&contest->inside, 1) != 0)
			atomic_store(&contest->crowded, true);
		atomic_fetch_sub(&contest->inside, 1);
		page_settle(&contest->page, PAGE_RESIDENT, 0, 0);
		won++;
	}
	atomic_fetch_add(&contest->wins, ROUNDS);
	return NULL;
}

static void a_busy_page_has_one_owner_and_no_waiter_is_forgotten(void **state)
{
	struct contest contest = {.page = PAGE_RESIDENT | PAGE_DIRTY};
	pthread_t threads[THREADS];

	(void)state;
	alarm(DEADLOCK_S);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, contest_main, &contest), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_false(contest.crowded);
	assert_int_equal(contest.wins, THREADS * ROUNDS);
	assert_int_equal(page_load(&contest.page), PAGE_RESIDENT | PAGE_DIRTY);
	alarm(0);
}

/* ---- sets of the pages of a chunk ---- */

static void a_set_finds_its_members_and_runs_across_words(void **state)
{
	struct chunk_set set = {{0}};

	(void)state;
	assert_int_equal(chunk_set_next(&set, 0), CHUNK_PAGES);
	for (unsigned i = 60; i < 130; i++)
		chunk_set_add(&set, i);
	chunk_set_add(&set, CHUNK_PAGES - 1);
	assert_int_equal(chunk_set_next(&set, 0), 60);
	assert_int_equal(chunk_set_run(&set, 60), 130);
	assert_int_equal(chunk_set_next(&set, 130), CHUNK_PAGES - 1);
	assert_int_equal(chunk_set_run(&set, CHUNK_PAGES - 1), CHUNK_PAGES);
	assert_int_equal(chunk_set_next(&set, CHUNK_PAGES), CHUNK_PAGES);
	chunk_set_remove(&set, 64);
	assert_false(chunk_set_has(&set, 64));
	assert_int_equal(chunk_set_run(&set, 60), 64);
	assert_int_equal(chunk_set_next(&set, 64), 65);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_claim_of_the_diagram_changes_the_state_and_keeps_the_flags),
	    cmocka_unit_test(every_end_of_the_diagram_changes_the_state_and_keeps_the_flags),
	    cmocka_unit_test(a_page_in_another_state_is_not_taken_and_not_changed),
	    cmocka_unit_test(settling_clears_first_and_then_sets),
	    cmocka_unit_test(settling_never_lets_the_flags_that_are_set_reach_the_state),
	    cmocka_unit_test(busy_states_are_those_that_somebody_owns),
	    cmocka_unit_test(no_two_flags_share_a_bit),
	    cmocka_unit_test(changing_flags_answers_the_word_before_and_leaves_the_state),
	    cmocka_unit_test(settling_wakes_all_who_wait_and_forgets_that_they_did),
	    cmocka_unit_test(waiting_for_what_has_changed_already_returns_at_once),
	    cmocka_unit_test(a_busy_page_has_one_owner_and_no_waiter_is_forgotten),
	    cmocka_unit_test(a_set_finds_its_members_and_runs_across_words),
	};

	return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
