/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - the file as of a commit
 *
 * It is the number of that commit, and being in the list is all that keeps what it reads: versions that are superseded stay while a
 * snapshot lies between, and checkpoints do not go past the oldest.
 */
#include <errno.h>
#include <stdlib.h>

#include "journal/internal.h"
#include "util/fail.h"

static struct snapshot *snapshot_of(struct pager *pager)
{
	return (struct snapshot *)pager;
}

static void snapshot_transfer(struct pager *pager, struct pager_request *request, bool here)
{
	struct snapshot *snapshot = snapshot_of(pager);

	if (request->op == PAGER_READ) {
		pager_read(snapshot->journal, request, here, snapshot->commit, snapshot->bytes);
		return;
	}
	request->ret_error = EBADF;
	request->ret_bytes = 0;
	request->done(request);
}

static void snapshot_run(struct pager *pager, struct pager_request *request)
{
	snapshot_transfer(pager, request, true);
}

static void snapshot_submit(struct pager *pager, struct pager_request *request)
{
	snapshot_transfer(pager, request, false);
}

static int snapshot_size(struct pager *pager, uint64_t *ret_bytes)
{
	*ret_bytes = snapshot_of(pager)->bytes;
	return 0;
}

static int snapshot_sync(struct pager *pager)
{
	(void)pager;
	return 0;
}

static int snapshot_resize(struct pager *pager, uint64_t bytes)
{
	(void)pager;
	(void)bytes;
	return -EBADF;
}

static int snapshot_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	(void)pager;
	(void)offset;
	(void)len;
	return -EBADF;
}

static void snapshot_close(struct pager *pager)
{
	struct snapshot *snapshot = snapshot_of(pager);
	struct journal *journal = snapshot->journal;

	lock_acquire(&journal->lock);
	for (struct snapshot **link = &journal->snapshots; *link; link = &(*link)->next)
		if (*link == snapshot) {
			*link = snapshot->next;
			break;
		}
	journal->stats.snapshots--;
	lock_release(&journal->lock);
	index_sweep(journal);
	free(snapshot);
}

static const struct pager_ops snapshot_ops = {
    .name = "snapshot",
    .size = snapshot_size,
    .run = snapshot_run,
    .submit = snapshot_submit,
    .sync = snapshot_sync,
    .resize = snapshot_resize,
    .discard = snapshot_discard,
    .close = snapshot_close,
};

int journal_snapshot(struct journal *journal, struct pager **ret)
{
	struct snapshot *snapshot = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*snapshot));

	if (!snapshot)
		return -ENOMEM;
	snapshot->base.ops = &snapshot_ops;
	snapshot->base.align_bytes = journal->block_bytes;
	snapshot->base.steady = true;
	atomic_store(&snapshot->base.direct, atomic_load(&journal->file->direct));
	snapshot->journal = journal;
	lock_acquire(&journal->lock);
	snapshot->commit = journal->last;
	snapshot->bytes = journal->bytes;
	snapshot->next = journal->snapshots;
	journal->snapshots = snapshot;
	journal->stats.snapshots++;
	lock_release(&journal->lock);
	*ret = &snapshot->base;
	return 0;
}
