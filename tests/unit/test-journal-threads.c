/* SPDX-License-Identifier: MIT */
/*
 * test-journal-threads.c - committers, spillers, readers, checkpoints and snapshots on one journal at the same time
 *
 * Each writer has pages of its own, all of which always have the same value in a commit: whoever sees two values in a snapshot, or a value
 * that is older than one that was acknowledged, has seen what never was.
 */
#include <pthread.h>
#include <sched.h>

#include "journal-rig.h"
#include "pager/filter.h"

#define WRITERS 3
#define PAGES   5 /* of each */
#define ROUNDS  120

static struct rig rig;
static _Atomic uint64_t acknowledged[WRITERS]; /* the value of the last commit */
static _Atomic bool stopping, failing;
static _Atomic uint64_t snapshots, checkpoints, full, failed;

static int fail_in_thread(const char *what, uint64_t a, uint64_t b)
{
	print_message("%s: %llu %llu\n", what, (unsigned long long)a, (unsigned long long)b);
	abort();
}

#define EXPECT(cond, a, b) ((cond) ? 0 : fail_in_thread(#cond, a, b))

/* Whether it came to nothing because an operation of a disk was made to fail, or there was no room: then it is tried again. */
static bool comes_to_nothing(int r)
{
	if (r == 0)
		return false;
	EXPECT(r == -ENOSPC || (r == -EIO && atomic_load(&failing)), (uint64_t)-r, 0);
	atomic_fetch_add(r == -ENOSPC ? &full : &failed, 1);
	if (r == -ENOSPC)
		(void)journal_checkpoint(rig.journal);
	return true;
}

/* What the test is about has happened often enough, however the threads were scheduled. */
static bool was_all_there(void)
{
	return atomic_load(&snapshots) >= 3 && atomic_load(&checkpoints) >= 3 &&
	       (!atomic_load(&failing) || atomic_load(&failed) >= 5);
}

/* Half of its pages are spilled before. */
static void *write_pages(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t first = me * PAGES;

	for (uint64_t value = 1; value <= ROUNDS || !was_all_there();) {
		struct journal_commit *commit;
		int r = rig_spill(&rig, first + 3, 2, value);

		if (comes_to_nothing(r) || comes_to_nothing(journal_commit_begin(rig.journal, 3, &commit)))
			continue;
		rig_add(commit, first, first + 3, value);
		r = journal_commit_spilled(commit, first + 3, first + 5);
		if (comes_to_nothing(r)) {
			journal_commit_give_up(commit);
			continue;
		}
		journal_commit_hand_over(&commit, 1, true);
		if (!comes_to_nothing(journal_commit_wait(&commit, 1)))
			atomic_store(&acknowledged[me], value++);
	}
	return NULL;
}

static uint64_t value_by(struct pager *pager, uint64_t page)
{
	uint64_t value;
	int r;

	do
		r = rig_transfer(pager, PAGER_READ, page, 1);
	while (r == -EIO && atomic_load(&failing));
	value = rig_value(rig_buf, page);
	EXPECT(r == 0 && value != UINT64_MAX, (uint64_t)-r, page);
	return value;
}

static void *read_snapshots(void *arg)
{
	(void)arg;
	while (!atomic_load(&stopping)) {
		uint64_t before[WRITERS];
		struct pager *pager;
		int r;

		for (unsigned i = 0; i < WRITERS; i++)
			before[i] = atomic_load(&acknowledged[i]);
		r = journal_snapshot(rig.journal, &pager);
		EXPECT(r == 0, (uint64_t)-r, 0);
		for (unsigned pass = 0; pass < 2; pass++)
			for (unsigned i = 0; i < WRITERS; i++) {
				uint64_t value = value_by(pager, i * PAGES);

				EXPECT(value >= before[i], value, before[i]);
				for (unsigned j = 1; j < PAGES; j++)
					EXPECT(value_by(pager, i * PAGES + j) == value, value, j);
				before[i] = value;
			}
		pager->ops->close(pager);
		atomic_fetch_add(&snapshots, 1);
	}
	return NULL;
}

/* What the writers do not spill is never older than what was acknowledged. */
static void *read_newest(void *arg)
{
	(void)arg;
	while (!atomic_load(&stopping))
		for (unsigned i = 0; i < WRITERS; i++) {
			uint64_t before = atomic_load(&acknowledged[i]);

			EXPECT(value_by(journal_pager(rig.journal), i * PAGES + 1) >= before, i, before);
			EXPECT(value_by(journal_pager(rig.journal), i * PAGES + 4) >= before, i, before);
		}
	return NULL;
}

static void *checkpoint(void *arg)
{
	(void)arg;
	while (!atomic_load(&stopping)) {
		(void)(comes_to_nothing(journal_checkpoint(rig.journal)) || comes_to_nothing(journal_prepare(rig.journal)));
		atomic_fetch_add(&checkpoints, 1);
	}
	return NULL;
}

static void *fail_now_and_then(void *arg)
{
	uint64_t random = 5;

	(void)arg;
	while (!atomic_load(&stopping)) {
		atomic_store(&disk_fail_left, 1 + rig_random(&random) % 60);
		while (atomic_load(&disk_fail_left) != 0 && !atomic_load(&stopping))
			sched_yield();
	}
	return NULL;
}

/* delay: transfers that are submitted end later, on another thread. fails: one of a few dozens of operations fails. */
static void run_threads(bool delay, bool fails)
{
	struct delay_settings settings = {.us = 30, .ops = FILTER_TRANSFERS};
	struct pager *log = &rig.log.pager;
	pthread_t writers[WRITERS], others[4];
	unsigned n_others = 3;
	bool empty;

	atomic_store(&stopping, false);
	atomic_store(&failing, fails);
	atomic_store(&failed, 0);
	atomic_store(&snapshots, 0);
	atomic_store(&checkpoints, 0);
	atomic_store(&disk_fails_for, 1);
	for (unsigned i = 0; i < WRITERS; i++)
		atomic_store(&acknowledged[i], 0);
	rig_create(&rig, "a", 12, WRITERS * PAGES);
	rig.settings.group_pages = 2;
	if (delay)
		assert_int_equal(delay_pager_open(&settings, &rig.log.pager, &log), 0);
	assert_int_equal(journal_open(&rig.file.pager, log, &rig.settings, NULL, NULL, &rig.report, &rig.journal), 0);
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_pages, (void *)i), 0);
	assert_int_equal(pthread_create(&others[0], NULL, read_snapshots, NULL), 0);
	assert_int_equal(pthread_create(&others[1], NULL, read_newest, NULL), 0);
	assert_int_equal(pthread_create(&others[2], NULL, checkpoint, NULL), 0);
	if (fails)
		assert_int_equal(pthread_create(&others[n_others++], NULL, fail_now_and_then, NULL), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	atomic_store(&stopping, true);
	for (unsigned i = 0; i < n_others; i++)
		pthread_join(others[i], NULL);
	atomic_store(&disk_fail_left, 0);
	assert_int_equal(journal_close(rig.journal, true, &empty), 0);
	assert_true(empty);
	rig.journal = NULL;
	for (unsigned i = 0; i < WRITERS * PAGES; i++)
		assert_int_equal(rig_file_value(&rig, i), acknowledged[i / PAGES]);
	if (delay)
		log->ops->close(log);
	rig_destroy(&rig);
}

static void everything_at_once(void **state)
{
	(void)state;
	run_threads(false, false);
}

static void everything_at_once_on_a_disk_that_takes_its_time(void **state)
{
	(void)state;
	run_threads(true, false);
}

static void everything_at_once_on_a_disk_that_fails(void **state)
{
	(void)state;
	run_threads(false, true);
	run_threads(true, true);
}

/* ---- the end of a checkpoint ---- */

#define MANY_SEGMENTS 200000 /* each is looked at when a checkpoint is done: long enough for reads in between */

static _Atomic uint64_t passes;

/* Pages 0 to 3 have what the last commit has brought, and 4 to 7, which it has only cut off, zeros. */
static void *read_what_was_cut(void *arg)
{
	uint64_t value = (uintptr_t)arg;

	while (!atomic_load(&stopping)) {
		for (uint64_t page = 0; page < 8; page++) {
			uint64_t seen = value_by(journal_pager(rig.journal), page);

			EXPECT(seen == (page < 4 ? value : 0), seen, page);
		}
		atomic_fetch_add(&passes, 1);
	}
	return NULL;
}

/* Pages that were cut off, and those that were written again since, are what they are at every instant of it. */
static void a_checkpoint_of_a_cut_shows_at_once(void **state)
{
	(void)state;
	atomic_store(&failing, false);
	rig_create(&rig, "a", MANY_SEGMENTS, 0);
	rig_open(&rig);
	for (uintptr_t value = 2; value < 40; value += 2) {
		pthread_t reader;

		rig_resize(&rig, 8);
		assert_int_equal(rig_commit(&rig, 0, 8, value - 1), 0);
		rig_resize(&rig, 0);
		assert_int_equal(rig_commit(&rig, 0, 0, 0), 0);
		rig_resize(&rig, 8);
		assert_int_equal(rig_commit(&rig, 0, 4, value), 0);
		atomic_store(&stopping, false);
		atomic_store(&passes, 0);
		assert_int_equal(pthread_create(&reader, NULL, read_what_was_cut, (void *)value), 0);
		while (atomic_load(&passes) == 0)
			sched_yield();
		assert_int_equal(journal_checkpoint(rig.journal), 0);
		atomic_store(&stopping, true);
		pthread_join(reader, NULL);
		for (uint64_t page = 0; page < 8; page++)
			assert_int_equal(rig_file_value(&rig, page), page < 4 ? value : 0);
	}
	rig_destroy(&rig);
}

/* ---- group commit ---- */

static struct {
	struct pager pager;
	struct pager *below;
	_Atomic uint32_t syncs, gate; /* gate: syncs wait while it is 0 */
} slow;

static void slow_run(struct pager *pager, struct pager_request *request)
{
	(void)pager;
	slow.below->ops->run(slow.below, request);
}

static int slow_size(struct pager *pager, uint64_t *ret_bytes)
{
	(void)pager;
	return slow.below->ops->size(slow.below, ret_bytes);
}

static int slow_sync(struct pager *pager)
{
	(void)pager;
	atomic_fetch_add(&slow.syncs, 1);
	futex_wake_all(&slow.syncs);
	while (atomic_load(&slow.gate) == 0)
		futex_wait(&slow.gate, 0, NULL);
	return slow.below->ops->sync(slow.below);
}

static const struct pager_ops slow_ops = {
    .name = "slow", .size = slow_size, .run = slow_run, .submit = slow_run, .sync = slow_sync};

static void *commit_one(void *arg)
{
	uint64_t page = (uintptr_t)arg;
	int r = rig_commit(&rig, page, page + 1, 7);

	EXPECT(r == 0, (uint64_t)-r, page);
	return NULL;
}

static void those_who_come_during_a_sync_share_the_next(void **state)
{
	pthread_t threads[6];

	(void)state;
	rig_create(&rig, "a", 12, 16);
	slow.pager.ops = &slow_ops;
	slow.below = &rig.log.pager;
	atomic_store(&slow.gate, 1);
	assert_int_equal(journal_open(&rig.file.pager, &slow.pager, &rig.settings, NULL, NULL, &rig.report, &rig.journal), 0);
	atomic_store(&slow.gate, 0);
	atomic_store(&slow.syncs, 0);
	assert_int_equal(pthread_create(&threads[0], NULL, commit_one, (void *)0), 0);
	while (atomic_load(&slow.syncs) == 0)
		futex_wait(&slow.syncs, 0, NULL);
	for (uintptr_t i = 1; i < 6; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, commit_one, (void *)i), 0);
	/* All have been handed over when their pages are in the log. */
	for (;;) {
		unsigned n = 0;

		lock_acquire(&rig.log.lock);
		for (size_t at = 2 * page_size(); at < rig.log.size; at += page_size())
			for (uint64_t page = 0; page < 6; page++)
				n += rig_value(rig.log.bytes + at, page) == 7;
		lock_release(&rig.log.lock);
		if (n == 6)
			break;
		sched_yield();
	}
	/* The last may be between its write and its hand-over: nothing begins after it before that is done. */
	atomic_store(&slow.gate, 1);
	futex_wake_all(&slow.gate);
	for (unsigned i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(slow.syncs, 2, 3);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rig_read(&rig, i), 7);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(everything_at_once),
	    cmocka_unit_test(everything_at_once_on_a_disk_that_takes_its_time),
	    cmocka_unit_test(everything_at_once_on_a_disk_that_fails),
	    cmocka_unit_test(a_checkpoint_of_a_cut_shows_at_once),
	    cmocka_unit_test(those_who_come_during_a_sync_share_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
