/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - copies what is committed into the file
 *
 *      1. the file is cut to the least size that it had meanwhile, so that what grows again is zeros
 *      2. pages are written, in the order of the file, many at once; adjacent ones together
 *      3. the size is set, and the file synced
 *      4. the header says up to which commit this goes, and the journal is synced
 *      5. in memory, `complete` is raised: from here on all of it is read from the file, what was cut and what was written after the cut at
 *         the same moment. Then the versions and the cuts are taken out
 *
 * If it ends at any point before 5, by a failure or a crash, nothing is lost: all that it has written into the file is written there
 * again. A page that it copies is read from the journal until the end, and never from the file.
 */
#include <errno.h>
#include <stdlib.h>

#include "journal/copy.h"
#include "journal/internal.h"
#include "util/fail.h"
#include "util/message.h"

struct checkpoint {
	struct journal *journal;
	uint64_t commit, bytes; /* where it goes */
	uint64_t least_bytes;
	struct copy *copies; /* by page */
	size_t n, room;
};

uint64_t checkpoint_target(const struct journal *journal)
{
	uint64_t target = journal->last;

	for (const struct snapshot *snapshot = journal->snapshots; snapshot; snapshot = snapshot->next)
		if (snapshot->commit < target)
			target = snapshot->commit;
	return target;
}

/* Whether there is anything to do; if so, versions stay from here on. */
static bool begin(struct journal *journal, struct checkpoint *ret)
{
	struct checkpoint checkpoint = {.journal = journal, .least_bytes = UINT64_MAX};

	lock_acquire(&journal->lock);
	checkpoint.commit = checkpoint_target(journal);
	checkpoint.bytes = journal->bytes;
	for (struct snapshot *snapshot = journal->snapshots; snapshot; snapshot = snapshot->next)
		if (snapshot->commit == checkpoint.commit)
			checkpoint.bytes = snapshot->bytes;
	for (struct cut *cut = journal->cuts; cut; cut = cut->next)
		if (cut->commit <= checkpoint.commit && cut->least_bytes < checkpoint.least_bytes)
			checkpoint.least_bytes = cut->least_bytes;
	if (checkpoint.commit > journal->complete)
		journal->checkpoint = checkpoint.commit;
	lock_release(&journal->lock);
	*ret = checkpoint;
	return checkpoint.commit > journal->complete;
}

/* ---- what there is to be copied ---- */

static bool is_to_be_copied(struct checkpoint *checkpoint, uint32_t block)
{
	struct journal *journal = checkpoint->journal;
	const struct version *version = &journal->versions[block];

	return version->state == VERSION_COMMITTED && version->commit <= checkpoint->commit &&
	       version->page << page_shift < checkpoint->bytes && index_find(journal, version->page, checkpoint->commit) == block &&
	       !index_is_cut(journal, version->page, version->commit, checkpoint->commit);
}

static int make_copies(struct checkpoint *checkpoint, size_t more)
{
	size_t room = checkpoint->room * 2 + more;
	struct copy *grown;

	if (checkpoint->n + more <= checkpoint->room)
		return 0;
	grown = fail_now(FAIL_ALLOC) ? NULL : realloc(checkpoint->copies, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	checkpoint->copies = grown;
	checkpoint->room = room;
	return 0;
}

static int compare_pages(const void *a, const void *b)
{
	uint64_t x = ((const struct copy *)a)->page, y = ((const struct copy *)b)->page;

	return x < y ? -1 : x > y;
}

static int gather(struct checkpoint *checkpoint)
{
	struct journal *journal = checkpoint->journal;
	uint32_t blocks = journal->settings.segment_blocks;

	for (uint32_t i = 0; i < journal->n_segments; i++) {
		int r = make_copies(checkpoint, blocks);

		if (r < 0)
			return r;
		lock_acquire(&journal->lock);
		for (uint32_t block = segment_first(journal, i);
		     journal->segments[i].live > 0 && block < segment_first(journal, i + 1); block++)
			if (is_to_be_copied(checkpoint, block))
				checkpoint->copies[checkpoint->n++] = (struct copy){journal->versions[block].page, block};
		lock_release(&journal->lock);
	}
	if (checkpoint->n > 0)
		qsort(checkpoint->copies, checkpoint->n, sizeof(*checkpoint->copies), compare_pages);
	return 0;
}

/* ---- copying ---- */

/* Not longer than most, and if exactly so long at least. */
static int set_size(struct journal *journal, uint64_t bytes, bool longer)
{
	uint64_t now;
	int r = journal->settings.file.is_device ? 1 : journal->file->ops->size(journal->file, &now);

	if (r != 0)
		return r < 0 ? r : 0;
	return now > bytes || (longer && now < bytes) ? journal->file->ops->resize(journal->file, bytes) : 0;
}

static int bring_file_up(struct checkpoint *checkpoint)
{
	struct journal *journal = checkpoint->journal;
	int r;

	if (!journal->copier)
		journal->copier = copier_new(journal);
	if (!journal->copier)
		return -ENOMEM;
	/* What an earlier one has brought into the file, and a crash might find complete, is not to be cut off meanwhile. */
	r = header_settle(journal);
	if (r == 0)
		r = gather(checkpoint);
	if (r == 0 && checkpoint->least_bytes != UINT64_MAX)
		r = set_size(journal, checkpoint->least_bytes, false);
	if (r == 0)
		r = copier_run(journal->copier, checkpoint->copies, checkpoint->n, checkpoint->bytes);
	if (r == 0)
		r = set_size(journal, checkpoint->bytes, true);
	if (r == 0)
		r = journal->file->ops->sync(journal->file);
	return r == 0 ? header_write(journal, checkpoint->commit, checkpoint->bytes, journal->settings.owner, true) : r;
}

/* ---- afterwards ---- */

static void finish(struct checkpoint *checkpoint, bool done)
{
	struct journal *journal = checkpoint->journal;
	struct cut *cuts = NULL;
	bool noted = false;

	if (done) {
		lock_acquire(&journal->lock);
		journal->complete = checkpoint->commit;
		journal->stats.checkpoints++;
		journal->stats.checkpointed_pages += checkpoint->n;
		lock_release(&journal->lock);
		index_complete(journal, checkpoint->commit);
	}
	lock_acquire(&journal->lock);
	journal->checkpoint = UINT64_MAX;
	if (done) {
		cuts = cuts_take(journal, checkpoint->commit);
		journal->hungry = false;
		noted = journal->note.commit && journal->note.commit <= journal->complete;
		space_try_free_all(journal);
	}
	lock_release(&journal->lock);
	cuts_free(cuts);
	if (noted)
		unit_noted(journal);
	journal_wake(journal);
}

int journal_checkpoint(struct journal *journal)
{
	struct checkpoint checkpoint;
	int r = 0;

	lock_acquire(&journal->checkpointing);
	if (begin(journal, &checkpoint)) {
		r = bring_file_up(&checkpoint);
		finish(&checkpoint, r == 0);
	}
	free(checkpoint.copies);
	lock_release(&journal->checkpointing);
	/* What others have to note keeps segments, too. */
	if (r == 0)
		unit_ask_noted(journal);
	return r;
}

bool journal_wants_checkpoint(struct journal *journal)
{
	bool wants;

	lock_acquire(&journal->lock);
	wants = checkpoint_target(journal) > journal->complete &&
		(journal->hungry || (journal->n_segments - journal->n_free) * 2 > journal->n_segments);
	lock_release(&journal->lock);
	return wants;
}
