/* SPDX-License-Identifier: MIT */
/*
 * test-journal.c - commits, spills, checkpoints and snapshots on disks that are memory
 */
#include "journal-rig.h"
#include "util/fail.h"

static struct rig rig;

static int set_up(void **state)
{
	(void)state;
	disk_fail_left = 0;
	disk_fails_for = 1;
	rig_create(&rig, "a", 8, 16);
	rig_open(&rig);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	disk_fail_left = 0;
	rig_destroy(&rig);
	return 0;
}

static void reopen(void)
{
	rig_close(&rig, false);
	rig_open(&rig);
}

static void what_was_committed_is_read_after_opening_anew(void **state)
{
	(void)state;
	assert_true(rig.report.fresh);
	assert_int_equal(rig_commit(&rig, 3, 5, 1), 0);
	assert_int_equal(rig_commit(&rig, 4, 5, 2), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rig_read(&rig, 2), 0);
		assert_int_equal(rig_read(&rig, 3), 1);
		assert_int_equal(rig_read(&rig, 4), 2);
		assert_int_equal(rig_file_value(&rig, 3), 0);
		reopen();
		assert_false(rig.report.fresh);
		assert_int_equal(rig.report.last, 2);
	}
}

static struct journal_stats stats(void)
{
	struct journal_stats stats;

	journal_stats_get(rig.journal, &stats);
	return stats;
}

static unsigned spilled_pages(void)
{
	uint64_t first, end;
	unsigned n = 0;

	for (uint64_t at = 0; journal_next_spilled(rig.journal, at, UINT64_MAX, &first, &end); at = end)
		n += (unsigned)(end - first);
	return n;
}

/* ---- spills ---- */

static void what_was_spilled_is_read_and_gone_after_opening_anew(void **state)
{
	(void)state;
	assert_int_equal(rig_commit(&rig, 3, 4, 1), 0);
	assert_int_equal(rig_spill(&rig, 2, 3, 5), 0);
	assert_int_equal(rig_read(&rig, 2), 5);
	assert_int_equal(rig_read(&rig, 3), 5);
	assert_int_equal(spilled_pages(), 3);
	reopen();
	assert_int_equal(spilled_pages(), 0);
	assert_int_equal(rig_read(&rig, 2), 0);
	assert_int_equal(rig_read(&rig, 3), 1);
}

static void a_commit_names_what_was_spilled(void **state)
{
	(void)state;
	assert_int_equal(rig_spill(&rig, 2, 4, 5), 0);
	assert_int_equal(rig_commit(&rig, 3, 4, 6), 0);
	assert_int_equal(spilled_pages(), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rig_read(&rig, 2), 5);
		assert_int_equal(rig_read(&rig, 3), 6);
		assert_int_equal(rig_read(&rig, 5), 5);
		reopen();
	}
}

static void a_failed_spill_leaves_the_older_one(void **state)
{
	(void)state;
	assert_int_equal(rig_spill(&rig, 2, 1, 5), 0);
	disk_fail_left = 1;
	assert_int_equal(rig_spill(&rig, 2, 1, 6), -EIO);
	assert_int_equal(rig_read(&rig, 2), 5);
}

static void rollback_forgets_pages_and_size(void **state)
{
	uint64_t bytes;

	(void)state;
	assert_int_equal(rig_commit(&rig, 2, 6, 1), 0);
	assert_int_equal(rig_spill(&rig, 2, 4, 5), 0);
	rig_resize(&rig, 20);
	journal_forget(rig.journal, 3, 5);
	assert_int_equal(rig_read(&rig, 2), 5);
	assert_int_equal(rig_read(&rig, 3), 1);
	assert_int_equal(rig_read(&rig, 4), 1);
	assert_int_equal(rig_read(&rig, 5), 5);
	journal_forget_size(rig.journal);
	assert_int_equal(journal_pager(rig.journal)->ops->size(journal_pager(rig.journal), &bytes), 0);
	assert_int_equal(bytes, 16 * page_size());
}

static void the_tail_of_a_page_is_filled_up_with_zeros(void **state)
{
	_Atomic uint32_t done = 0;
	struct pager_request request = {.op = PAGER_WRITE,
					.offset = page_size(),
					.len = page_size() + 100,
					.buf = rig_buf,
					.done = rig_done,
					.owner = (void *)&done};

	(void)state;
	memset(rig_buf, 7, 2 * page_size());
	journal_pager(rig.journal)->ops->run(journal_pager(rig.journal), &request);
	assert_int_equal(done, 1);
	assert_int_equal(request.ret_error, 0);
	assert_int_equal(request.ret_bytes, page_size() + 100);
	assert_int_equal(rig_transfer(journal_pager(rig.journal), PAGER_READ, 1, 2), 0);
	for (size_t i = 0; i < 2 * page_size(); i++)
		assert_int_equal(rig_buf[i], i < page_size() + 100 ? 7 : 0);
}

/* ---- what is read is compared ---- */

static void a_page_that_storage_has_changed_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(rig_commit(&rig, 3, 4, 1), 0);
	assert_int_equal(rig_spill(&rig, 5, 1, 2), 0);
	for (size_t at = 2 * page_size(); at < rig.log.size; at += page_size())
		rig.log.bytes[at + 1000] ^= 1;
	assert_int_equal(rig_transfer(journal_pager(rig.journal), PAGER_READ, 3, 1), -EIO);
	assert_int_equal(rig_transfer(journal_pager(rig.journal), PAGER_READ, 5, 1), -EIO);
	assert_int_equal(rig_transfer(journal_pager(rig.journal), PAGER_READ, 2, 3), -EIO);
	assert_int_equal(journal_checkpoint(rig.journal), -EIO);
	assert_int_equal(rig_file_value(&rig, 3), 0);
	for (size_t at = 2 * page_size(); at < rig.log.size; at += page_size())
		rig.log.bytes[at + 1000] ^= 1;
}

/* After a failed sync the disk has nothing of what was written since the one before. */
static void what_was_spilled_before_a_failed_sync_is_not_believed(void **state)
{
	struct journal_commit *commit;

	(void)state;
	assert_int_equal(rig_commit(&rig, 3, 4, 1), 0);
	assert_int_equal(rig_spill(&rig, 5, 2, 2), 0);
	assert_int_equal(journal_commit_begin(rig.journal, 1, &commit), 0);
	rig_add(commit, 7, 8, 3);
	journal_commit_hand_over(&commit, 1, true);
	disk_fail_left = 1;
	assert_int_equal(journal_commit_wait(&commit, 1), -EIO);
	memcpy(rig.log.bytes, rig.log.stable, DISK_BYTES);
	assert_int_equal(rig_commit(&rig, 0, 0, 0), -EIO);
	assert_int_equal(rig_transfer(journal_pager(rig.journal), PAGER_READ, 5, 1), -EIO);
	journal_forget(rig.journal, 0, UINT64_MAX);
	assert_int_equal(rig_commit(&rig, 7, 8, 4), 0);
	reopen();
	assert_int_equal(rig_read(&rig, 3), 1);
	assert_int_equal(rig_read(&rig, 5), 0);
	assert_int_equal(rig_read(&rig, 7), 4);
}

static void what_was_spilled_before_a_failed_sync_is_written_anew(void **state)
{
	struct journal_commit *commit;

	(void)state;
	assert_int_equal(rig_spill(&rig, 5, 2, 2), 0);
	assert_int_equal(journal_commit_begin(rig.journal, 1, &commit), 0);
	assert_int_equal(journal_commit_spilled(commit, 0, UINT64_MAX), 0);
	journal_commit_hand_over(&commit, 1, true);
	disk_fail_left = 1;
	assert_int_equal(journal_commit_wait(&commit, 1), -EIO);
	assert_int_equal(spilled_pages(), 2);
	assert_int_equal(rig_commit(&rig, 0, 0, 0), 0);
	/* Wherever it was before: it is not read from there any more. */
	for (size_t i = 0; i < rig.log.size; i += page_size())
		if (rig_value(rig.log.bytes + i, 5) == 2) {
			memset(rig.log.bytes + i, 0, page_size());
			break;
		}
	assert_int_equal(rig_read(&rig, 5), 2);
	assert_int_equal(rig_read(&rig, 6), 2);
}

/* ---- sizes ---- */

static void what_was_cut_off_is_zeros_when_the_file_grows_again(void **state)
{
	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 16, 1), 0);
	assert_int_equal(journal_checkpoint(rig.journal), 0);
	rig_resize(&rig, 4);
	rig_resize(&rig, 12);
	assert_int_equal(rig_read(&rig, 3), 1);
	assert_int_equal(rig_read(&rig, 4), 0);
	assert_int_equal(rig_spill(&rig, 6, 1, 2), 0);
	assert_int_equal(rig_commit(&rig, 0, 0, 0), 0);
	assert_int_equal(journal_committed_bytes(rig.journal), 12 * page_size());
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rig_read(&rig, 3), 1);
		assert_int_equal(rig_read(&rig, 4), 0);
		assert_int_equal(rig_read(&rig, 6), 2);
		assert_int_equal(rig_read(&rig, 11), 0);
		if (i == 0)
			assert_int_equal(rig_file_value(&rig, 4), 1);
		if (i == 1)
			assert_int_equal(journal_checkpoint(rig.journal), 0);
		reopen();
		assert_int_equal(journal_committed_bytes(rig.journal), 12 * page_size());
	}
	assert_int_equal(rig.file.size, 12 * page_size());
	assert_int_equal(rig_file_value(&rig, 4), 0);
}

static void a_size_that_is_not_committed_is_forgotten(void **state)
{
	struct journal_commit *commit;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 16, 1), 0);
	rig_resize(&rig, 8);
	assert_int_equal(journal_commit_begin(rig.journal, 1, &commit), 0);
	rig_add(commit, 2, 3, 2);
	journal_commit_hand_over(&commit, 1, false);
	assert_int_equal(journal_commit_wait(&commit, 1), 0);
	assert_int_equal(journal_committed_bytes(rig.journal), 16 * page_size());
	reopen();
	assert_int_equal(rig_read(&rig, 2), 2);
	assert_int_equal(rig_read(&rig, 9), 1);
}

static void a_page_behind_the_committed_end_brings_the_size_along(void **state)
{
	struct journal_commit *commit;

	(void)state;
	rig_resize(&rig, 24);
	assert_int_equal(journal_commit_begin(rig.journal, 1, &commit), 0);
	rig_add(commit, 20, 21, 2);
	journal_commit_hand_over(&commit, 1, false);
	assert_int_equal(journal_commit_wait(&commit, 1), 0);
	reopen();
	assert_int_equal(journal_committed_bytes(rig.journal), 24 * page_size());
	assert_int_equal(rig_read(&rig, 20), 2);
}

static void a_page_behind_the_end_cannot_be_committed(void **state)
{
	(void)state;
	assert_int_equal(rig_commit(&rig, 14, 17, 2), -EINVAL);
	assert_int_equal(rig_commit(&rig, 14, 16, 2), 0);
	reopen();
	assert_int_equal(rig_read(&rig, 15), 2);
}

static void a_file_that_ends_inside_a_page_keeps_its_length(void **state)
{
	struct pager *pager = journal_pager(rig.journal);

	(void)state;
	assert_int_equal(pager->ops->resize(pager, 3 * page_size() + 10), 0);
	assert_int_equal(rig_commit(&rig, 2, 4, 1), 0);
	assert_int_equal(journal_checkpoint(rig.journal), 0);
	assert_int_equal(rig.file.size, 3 * page_size() + 10);
	assert_int_equal(rig_file_value(&rig, 2), 1);
	assert_memory_equal(rig.file.bytes + 3 * page_size(), "\0\0\3\0\1", 5);
}

/* ---- checkpoints ---- */

static void a_checkpoint_brings_the_file_up_and_frees_the_journal(void **state)
{
	uint64_t free_blocks = stats().free_blocks;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 12, 1), 0);
	assert_int_equal(rig_commit(&rig, 5, 6, 2), 0);
	assert_int_equal(rig_spill(&rig, 9, 1, 3), 0);
	assert_true(stats().free_blocks < free_blocks);
	assert_int_equal(journal_checkpoint(rig.journal), 0);
	assert_int_equal(rig_file_value(&rig, 4), 1);
	assert_int_equal(rig_file_value(&rig, 5), 2);
	assert_int_equal(rig_file_value(&rig, 9), 1);
	assert_int_equal(stats().complete, 2);
	assert_int_equal(stats().checkpointed_pages, 12);
	/* One that the log is in, one that is spilled to. */
	assert_int_equal(stats().free_blocks, free_blocks - 2 * RIG_SEGMENT_BLOCKS);
	assert_int_equal(rig_read(&rig, 9), 3);
	reopen();
	assert_int_equal(rig.report.pages, 0);
	assert_int_equal(rig_read(&rig, 5), 2);
}

static void what_is_closed_as_complete_is_not_needed_any_more(void **state)
{
	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 12, 1), 0);
	assert_false(rig_close(&rig, false));
	rig_open(&rig);
	assert_true(rig_close(&rig, true));
	assert_int_equal(rig_file_value(&rig, 11), 1);
	rig_open(&rig);
}

/* Each time all of it is read from where it is, and after the failure a checkpoint does what is left. */
static void a_checkpoint_fails_at_every_operation(void **state)
{
	int64_t n = 0;
	int r = -EIO;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 16, 1), 0);
	rig_resize(&rig, 6);
	rig_resize(&rig, 20);
	assert_int_equal(rig_commit(&rig, 4, 5, 2), 0);
	assert_int_equal(rig_commit(&rig, 18, 19, 3), 0);
	for (n = 1; r != 0; n++) {
		disk_fail_left = n;
		r = journal_checkpoint(rig.journal);
		assert_true(r == 0 || r == -EIO);
		disk_fail_left = 0;
		for (unsigned page = 0; page < 20; page++)
			assert_int_equal(rig_read(&rig, page), page == 18 ? 3 : page > 5 ? 0 : page == 4 ? 2 : 1);
		reopen();
		for (unsigned page = 0; page < 20; page++)
			assert_int_equal(rig_read(&rig, page), page == 18 ? 3 : page > 5 ? 0 : page == 4 ? 2 : 1);
	}
	assert_true(n > 6);
	for (unsigned page = 0; page < 20; page++)
		assert_int_equal(rig_file_value(&rig, page), page == 18 ? 3 : page > 5 ? 0 : page == 4 ? 2 : 1);
}

/* ---- room ---- */

static void a_full_journal_makes_room_by_a_checkpoint(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 60; i++)
		assert_int_equal(rig_commit(&rig, i % 12, i % 12 + 4, i), 0);
	assert_true(stats().checkpoints > 3);
	assert_int_equal(rig_read(&rig, 0), 60);
	reopen();
	assert_int_equal(rig_read(&rig, 0), 60);
	assert_int_equal(rig_read(&rig, 14), 59);
}

static void a_journal_full_of_spilled_pages_can_still_commit_them(void **state)
{
	unsigned pages = 0;
	int r = 0;

	(void)state;
	rig_resize(&rig, 64);
	while (r == 0)
		r = rig_spill(&rig, pages++, 1, 1);
	pages--;
	assert_int_equal(r, -ENOSPC);
	assert_true(pages >= 6 * RIG_SEGMENT_BLOCKS);
	assert_true(pages < 64);
	assert_int_equal(rig_commit(&rig, 0, 12, 2), -ENOSPC);
	assert_int_equal(spilled_pages(), pages);
	/* None of it is committed, so that a checkpoint cannot help. */
	assert_false(journal_wants_checkpoint(rig.journal));
	assert_int_equal(rig_commit(&rig, 0, 0, 0), 0);
	assert_true(journal_wants_checkpoint(rig.journal));
	assert_int_equal(journal_checkpoint(rig.journal), 0);
	assert_int_equal(rig_spill(&rig, 0, 12, 3), 0);
	for (unsigned i = 0; i < pages; i++)
		assert_int_equal(rig_read(&rig, i), i < 12 ? 3 : 1);
}

static void a_commit_that_no_journal_of_this_size_can_hold_is_refused(void **state)
{
	struct journal_commit *commit;

	(void)state;
	rig_resize(&rig, 100);
	assert_int_equal(journal_commit_begin(rig.journal, 80, &commit), -ENOSPC);
	assert_int_equal(journal_commit_begin(rig.journal, UINT64_MAX, &commit), -ENOSPC);
	assert_int_equal(rig_commit(&rig, 0, 40, 1), 0);
	assert_int_equal(rig_read(&rig, 39), 1);
}

static void the_same_pages_can_be_spilled_without_end(void **state)
{
	(void)state;
	for (unsigned i = 1; i < 400; i++)
		assert_int_equal(rig_spill(&rig, i * 5 % 15, 1, i), 0);
	assert_int_equal(rig_commit(&rig, 0, 10, 1000), 0);
	assert_int_equal(rig_read(&rig, 9), 1000);
}

static void segments_made_ahead_are_used(void **state)
{
	uint64_t bytes = rig.log.size;

	(void)state;
	/* A new journal has the first. */
	assert_int_equal(rig.log.size % (RIG_SEGMENT_BLOCKS * page_size()), 2 * page_size());
	assert_int_equal(journal_prepare(rig.journal), 0);
	assert_int_equal(rig.log.size, bytes + RIG_SEGMENT_BLOCKS * page_size());
	assert_int_equal(journal_prepare(rig.journal), 0);
	assert_int_equal(rig.log.size, bytes + RIG_SEGMENT_BLOCKS * page_size());
	assert_int_equal(rig_commit(&rig, 0, 10, 1), 0);
	assert_int_equal(rig.log.size, bytes + RIG_SEGMENT_BLOCKS * page_size());
	reopen();
	assert_int_equal(rig_read(&rig, 9), 1);
}

/* ---- snapshots ---- */

static void a_snapshot_reads_what_was_there_beside_commits_and_checkpoints(void **state)
{
	struct pager *first, *second;
	uint64_t bytes;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 8, 1), 0);
	assert_int_equal(journal_snapshot(rig.journal, &first), 0);
	assert_int_equal(rig_spill(&rig, 3, 1, 9), 0);
	assert_int_equal(rig_read_by(first, 3), 1);
	rig_resize(&rig, 6);
	assert_int_equal(rig_commit(&rig, 2, 4, 2), 0);
	assert_int_equal(journal_snapshot(rig.journal, &second), 0);
	assert_int_equal(rig_commit(&rig, 2, 3, 3), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rig_read_by(first, 2), 1);
		assert_int_equal(rig_read_by(first, 7), 1);
		assert_int_equal(rig_read_by(second, 2), 2);
		assert_int_equal(rig_read_by(second, 3), 2);
		assert_int_equal(rig_read_by(second, 7), 0);
		assert_int_equal(rig_read(&rig, 2), 3);
		assert_int_equal(first->ops->size(first, &bytes), 0);
		assert_int_equal(bytes, 16 * page_size());
		assert_int_equal(second->ops->size(second, &bytes), 0);
		assert_int_equal(bytes, 6 * page_size());
		assert_int_equal(journal_checkpoint(rig.journal), 0);
		assert_int_equal(stats().complete, 1);
	}
	assert_int_equal(rig_transfer(first, PAGER_WRITE, 0, 1), -EBADF);
	first->ops->close(first);
	assert_int_equal(journal_checkpoint(rig.journal), 0);
	assert_int_equal(stats().complete, 2);
	assert_int_equal(rig_read_by(second, 2), 2);
	second->ops->close(second);
	assert_int_equal(journal_checkpoint(rig.journal), 0);
	assert_int_equal(rig_file_value(&rig, 2), 3);
}

static void a_journal_that_a_snapshot_fills_is_full_until_that_ends(void **state)
{
	struct pager *snapshot;
	unsigned i = 0;
	int r = 0;

	(void)state;
	assert_int_equal(journal_snapshot(rig.journal, &snapshot), 0);
	while (r == 0)
		r = rig_commit(&rig, 0, 4, ++i);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(rig_read(&rig, 0), i - 1);
	assert_int_equal(rig_read_by(snapshot, 0), 0);
	snapshot->ops->close(snapshot);
	assert_int_equal(rig_commit(&rig, 0, 4, i), 0);
	assert_int_equal(rig_read(&rig, 0), i);
}

/* ---- failure ---- */

/* Two commits, one handed over before the other is waited for, with spills; at the nth operation the disk fails. */
static bool commit_with_failure(int64_t nth, bool *ret_second)
{
	struct journal_commit *first, *second;
	int r, spilled;

	disk_fail_left = nth;
	spilled = rig_spill(&rig, 1, 2, 5);
	r = journal_commit_begin(rig.journal, 6, &first);
	assert_int_equal(r, 0);
	rig_add(first, 4, 10, 6);
	r = journal_commit_spilled(first, 0, UINT64_MAX);
	assert_true(r == 0 || r == -EIO);
	journal_commit_hand_over(&first, 1, true);
	r = journal_commit_begin(rig.journal, 1, &second);
	assert_int_equal(r, 0);
	rig_add(second, 9, 10, 7);
	journal_commit_hand_over(&second, 1, true);
	r = journal_commit_wait(&first, 1);
	assert_true(r == 0 || r == -EIO);
	*ret_second = journal_commit_wait(&second, 1) == 0;
	disk_fail_left = 0;
	assert_int_equal(rig_read(&rig, 4), r == 0 ? 6 : 1);
	assert_int_equal(rig_read(&rig, 9), *ret_second ? 7 : r == 0 ? 6 : 1);
	assert_int_equal(rig_read(&rig, 1), spilled == 0 ? 5 : 1);
	return r == 0;
}

static void a_commit_fails_at_every_operation_and_the_next_is_right(void **state)
{
	uint64_t failures;
	int64_t nth = 0;

	(void)state;
	rig.settings.group_pages = 2;
	reopen();
	do {
		bool first, second;

		failures = disk_failures;
		nth++;
		assert_int_equal(rig_commit(&rig, 0, 16, 1), 0);
		first = commit_with_failure(nth, &second);
		assert_int_equal(rig_commit(&rig, 12, 13, 8), 0);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(rig_read(&rig, 0), 1);
			assert_int_equal(rig_read(&rig, 4), first ? 6 : 1);
			assert_int_equal(rig_read(&rig, 9), second ? 7 : first ? 6 : 1);
			assert_int_equal(rig_read(&rig, 12), 8);
			reopen();
		}
	} while (disk_failures > failures);
	assert_true(nth > 7);
}

static void a_commit_that_was_given_up_leaves_nothing(void **state)
{
	struct journal_commit *commit;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 4, 1), 0);
	for (unsigned pages = 1; pages < 30; pages += 3) {
		rig_resize(&rig, 40);
		assert_int_equal(rig_spill(&rig, 2, 3, pages + 100), 0);
		assert_int_equal(journal_commit_begin(rig.journal, pages, &commit), 0);
		rig_add(commit, 5, 5 + pages, pages);
		assert_int_equal(journal_commit_spilled(commit, 0, UINT64_MAX), 0);
		journal_commit_give_up(commit);
		assert_int_equal(spilled_pages(), 3);
		assert_int_equal(rig_read(&rig, 3), pages + 100);
		assert_int_equal(rig_read(&rig, 5), 0);
		if (pages % 2)
			assert_int_equal(rig_commit(&rig, 0, 1, pages), 0);
		reopen();
		assert_int_equal(rig_read(&rig, 5), 0);
		assert_int_equal(rig_read(&rig, 3), pages % 2 ? pages + 100 : pages > 3 ? pages + 97 : 1);
	}
}

/* What it has named is in its hands, until it has failed. */
static void a_rollback_beside_a_commit_that_fails_is_not_undone(void **state)
{
	for (int cut = 0; cut < 2; cut++)
		for (int fails = 0; fails < 2; fails++) {
			struct journal_commit *commit;
			int r;

			assert_int_equal(rig_spill(&rig, 3, 2, 3), 0);
			assert_int_equal(journal_commit_begin(rig.journal, 1, &commit), 0);
			assert_int_equal(journal_commit_spilled(commit, 0, UINT64_MAX), 0);
			journal_commit_hand_over(&commit, 1, true);
			if (cut)
				rig_resize(&rig, 4);
			else
				journal_forget(rig.journal, 4, UINT64_MAX);
			disk_fail_left = fails;
			r = journal_commit_wait(&commit, 1);
			assert_int_equal(r, fails ? -EIO : 0);
			if (cut)
				rig_resize(&rig, 16);
			assert_int_equal(rig_read(&rig, 3), 3);
			assert_int_equal(rig_read(&rig, 4), fails || cut ? 0 : 3);
			assert_int_equal(spilled_pages(), fails);
			tear_down(state);
			set_up(state);
		}
}

static void what_a_failed_commit_left_does_not_count_after_closing_in_order(void **state)
{
	struct journal_commit *commit;

	(void)state;
	assert_int_equal(journal_commit_begin(rig.journal, 1, &commit), 0);
	rig_add(commit, 3, 4, 3);
	journal_commit_hand_over(&commit, 1, true);
	disk_fail_left = 1;
	assert_int_equal(journal_commit_wait(&commit, 1), -EIO);
	reopen();
	assert_int_equal(rig.report.last, 0);
	assert_int_equal(rig_read(&rig, 3), 0);
}

static void a_commit_of_nothing_writes_nothing(void **state)
{
	uint64_t syncs = stats().syncs;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 0, 0), 0);
	assert_int_equal(stats().syncs, syncs);
	assert_int_equal(stats().last, 0);
}

static void opening_fails_at_every_allocation_and_is_repeatable(void **state)
{
	int r = -ENOMEM;

	(void)state;
	assert_int_equal(rig_commit(&rig, 0, 4, 1), 0);
	rig_close(&rig, false);
	for (int kind = FAIL_ALLOC; kind <= FAIL_MAP; kind++) {
		int nth = 0;

		for (r = -ENOMEM; r < 0;) {
			fail_arm(kind, ++nth, false);
			r = rig_try_open(&rig, NULL, NULL);
			fail_arm(kind, 0, false);
			assert_true(r == 0 || r == -ENOMEM);
		}
		assert_true(nth > 2);
		assert_int_equal(rig_read(&rig, 3), 1);
		if (kind != FAIL_MAP)
			rig_close(&rig, false);
	}
}

/* Blocks that an opening writes into the log, after a process that died when its commit of six pages had returned. */
static uint64_t blocks_written_again(void)
{
	struct rig after;
	uint64_t blocks;

	assert_int_equal(rig_commit(&rig, 0, 6, 1), 0);
	rig_create(&after, "b", 8, 16);
	memcpy(after.log.bytes, rig.log.bytes, DISK_BYTES);
	memcpy(after.log.stable, rig.log.stable, DISK_BYTES);
	after.log.size = after.log.stable_size = rig.log.size;
	rig_open(&after);
	blocks = after.log.written / page_size();
	for (unsigned page = 0; page < 6; page++)
		assert_int_equal(rig_read(&after, page), 1);
	rig_destroy(&after);
	return blocks;
}

static void what_a_large_commit_left_is_not_written_again(void **state)
{
	(void)state;
	/* Nothing says that it was on stable storage: a segment's header, a group of six, and the header twice. */
	assert_int_equal(blocks_written_again(), 1 + 7 + 2);
	rig_close(&rig, true);
	rig.settings.note_pages = 6;
	rig_open(&rig);
	assert_int_equal(blocks_written_again(), 2);
}

static void settings_that_cannot_be_are_refused(void **state)
{
	(void)state;
	rig_close(&rig, true);
	rig.log.size = 0;
	memset(rig.log.bytes, 0, DISK_BYTES);
	rig.settings.segment_blocks = 3;
	assert_int_equal(rig_try_open(&rig, NULL, NULL), -EINVAL);
	rig.settings.segment_blocks = 8;
	rig.settings.max_bytes = 3 * 8 * page_size();
	assert_int_equal(rig_try_open(&rig, NULL, NULL), -EINVAL);
	rig.settings.max_bytes = (2 + 4 * 8) * page_size();
	rig_open(&rig);
	assert_int_equal(rig_commit(&rig, 0, 4, 1), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_was_committed_is_read_after_opening_anew),
	    TEST(what_was_spilled_is_read_and_gone_after_opening_anew),
	    TEST(a_commit_names_what_was_spilled),
	    TEST(a_failed_spill_leaves_the_older_one),
	    TEST(rollback_forgets_pages_and_size),
	    TEST(the_tail_of_a_page_is_filled_up_with_zeros),
	    TEST(a_page_that_storage_has_changed_is_an_error),
	    TEST(what_was_spilled_before_a_failed_sync_is_not_believed),
	    TEST(what_was_spilled_before_a_failed_sync_is_written_anew),
	    TEST(what_was_cut_off_is_zeros_when_the_file_grows_again),
	    TEST(a_size_that_is_not_committed_is_forgotten),
	    TEST(a_page_behind_the_committed_end_brings_the_size_along),
	    TEST(a_page_behind_the_end_cannot_be_committed),
	    TEST(a_file_that_ends_inside_a_page_keeps_its_length),
	    TEST(a_checkpoint_brings_the_file_up_and_frees_the_journal),
	    TEST(what_is_closed_as_complete_is_not_needed_any_more),
	    TEST(a_checkpoint_fails_at_every_operation),
	    TEST(a_full_journal_makes_room_by_a_checkpoint),
	    TEST(a_journal_full_of_spilled_pages_can_still_commit_them),
	    TEST(a_commit_that_no_journal_of_this_size_can_hold_is_refused),
	    TEST(the_same_pages_can_be_spilled_without_end),
	    TEST(segments_made_ahead_are_used),
	    TEST(a_snapshot_reads_what_was_there_beside_commits_and_checkpoints),
	    TEST(a_journal_that_a_snapshot_fills_is_full_until_that_ends),
	    TEST(a_commit_fails_at_every_operation_and_the_next_is_right),
	    TEST(a_commit_that_was_given_up_leaves_nothing),
	    TEST(a_rollback_beside_a_commit_that_fails_is_not_undone),
	    TEST(what_a_failed_commit_left_does_not_count_after_closing_in_order),
	    TEST(a_commit_of_nothing_writes_nothing),
	    TEST(opening_fails_at_every_allocation_and_is_repeatable),
	    TEST(what_a_large_commit_left_is_not_written_again),
	    TEST(settings_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
