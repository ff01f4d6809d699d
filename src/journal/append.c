/* SPDX-License-Identifier: MIT */
/*
 * append.c - the log: groups are written one behind the other, several at once, and become durable together
 *
 * Who builds a commit is alone in choosing places; writes end in any order; who waits for a commit becomes the one that syncs, and makes
 * durable whatever was handed over when it began. Those who come meanwhile wait for their turn to sync, and mostly find it done.
 *
 * The last group of a commit is READY: whoever waits for it first writes it, as a rule the thread that has made it, which has nothing else
 * to do, and so saves two changes of threads. Those before it are written by the I/O layer, while the next is filled.
 *
 * A group says how far the log was known to be durable when it was made, so that damage further back can be told from what a crash left.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/internal.h"
#include "util/fail.h"

static void group_done(struct pager_request *request)
{
	struct group *group = request->owner;
	struct journal *journal = group->journal;

	lock_acquire(&journal->lock);
	group->state = GROUP_FREE;
	if (request->ret_error)
		append_fail(journal, -request->ret_error);
	/* Who waited for the last group may be closing the journal by now: nothing of it is touched without the lock. */
	atomic_fetch_add(&journal->changed, 1);
	lock_release(&journal->lock);
	futex_wake_all(&journal->changed);
}

int append_create(struct journal *journal)
{
	size_t bytes = (2 + (size_t)journal->settings.group_pages) * journal->block_bytes;

	journal->groups = fail_now(FAIL_ALLOC) ? NULL : calloc(journal->settings.groups, sizeof(*journal->groups));
	journal->group_memory = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(journal->block_bytes, bytes * journal->settings.groups);
	if (!journal->groups || !journal->group_memory)
		return -ENOMEM;
	for (unsigned i = 0; i < journal->settings.groups; i++) {
		journal->groups[i].journal = journal;
		journal->groups[i].memory = journal->group_memory + i * bytes;
	}
	return 0;
}

void append_destroy(struct journal *journal)
{
	free(journal->groups);
	free(journal->group_memory);
}

/* ---- groups ---- */

/* Writes what is ready to be written, up to the ticket. */
static void write_ready(struct journal *journal, uint64_t ticket)
{
	struct group *found;

	do {
		found = NULL;
		lock_acquire(&journal->lock);
		for (unsigned i = 0; i < journal->settings.groups && !found; i++)
			if (journal->groups[i].state == GROUP_READY && journal->groups[i].ticket <= ticket)
				found = &journal->groups[i];
		if (found)
			found->state = GROUP_WRITING;
		lock_release(&journal->lock);
		if (found)
			journal->log->ops->run(journal->log, &found->request);
	} while (found);
}

static struct group *group_try(struct journal *journal)
{
	struct group *found = NULL;

	lock_acquire(&journal->lock);
	for (unsigned i = 0; i < journal->settings.groups && !found; i++)
		if (journal->groups[i].state == GROUP_FREE)
			found = &journal->groups[i];
	if (found)
		found->state = GROUP_FILLING;
	lock_release(&journal->lock);
	return found;
}

/* Puts the end of the log into a new segment. 0 or -ENOSPC. */
static int go_on(struct journal *journal, struct group *group)
{
	int64_t index = space_take(journal, SEGMENT_LOG);
	struct segment *segment;

	if (index < 0)
		return -ENOSPC;
	segment = &journal->segments[index];
	segment->seq = journal->next_seq++;
	if (journal->reserved > 0)
		journal->reserved--;
	group->first = true;
	group->previous = journal->end;
	if (journal->end.seq)
		journal->segments[journal->end.segment].needed_till = journal->end.commit;
	journal->end = (struct place){.seq = segment->seq, .commit = journal->end.commit, .segment = (uint32_t)index, .block = 1};
	journal->is_cut = false;
	if (group->previous.seq)
		space_try_free(journal, group->previous.segment);
	return 0;
}

struct group *append_open(struct journal *journal, struct journal_commit *commit)
{
	struct group *group;
	int r = 0;

	for (;;) {
		uint32_t seen = atomic_load(&journal->changed);

		group = group_try(journal);
		if (group)
			break;
		write_ready(journal, UINT64_MAX);
		futex_wait(&journal->changed, seen, NULL);
	}
	group->pages = group->entries = 0;
	group->first = false;
	memset(group->memory, 0, 2 * journal->block_bytes);
	lock_acquire(&journal->lock);
	if (journal->error || (commit && commit->error))
		r = -EIO;
	else if (space_left(journal) < 2)
		r = go_on(journal, group);
	if (r == -ENOSPC && commit)
		commit->error = r;
	group->dead = r < 0;
	group->at = journal->end;
	group->capacity = group->dead ? journal->settings.group_pages : space_left(journal) - 1;
	if (group->capacity > journal->settings.group_pages)
		group->capacity = journal->settings.group_pages;
	lock_release(&journal->lock);
	return group;
}

void group_add(struct group *group, uint64_t page, uint64_t place, uint64_t checksum)
{
	struct group_entry entry = {.page = page, .place = place, .checksum = checksum};

	ASSERT(group->entries < group_most((uint32_t)group->journal->block_bytes) && (place || group->pages < group->capacity));
	memcpy(group->memory + group->journal->block_bytes + sizeof(struct group_header) + group->entries * sizeof(entry), &entry,
	       sizeof(entry));
	group->entries++;
	group->pages += place == 0;
}

void append_drop(struct group *group)
{
	struct journal *journal = group->journal;

	lock_acquire(&journal->lock);
	group->state = GROUP_FREE;
	if (group->first && !journal->error)
		append_cut(journal, group->previous);
	lock_release(&journal->lock);
	journal_wake(journal);
}

static void compose_segment(struct group *group, uint64_t durable)
{
	struct journal *journal = group->journal;
	struct segment_header header = {
	    .magic = SEGMENT_MAGIC,
	    .salt = journal->header.salt,
	    .seq = group->at.seq,
	    .previous = group->previous.seq,
	    .previous_end = group->previous.block,
	    .last = group->previous.commit,
	    .durable = durable,
	};

	memcpy(group->memory, &header, sizeof(header));
	header.checksum =
	    journal_block_checksum(header.salt, group->memory, journal->block_bytes, offsetof(struct segment_header, checksum));
	memcpy(group->memory, &header, sizeof(header));
}

static void compose_group(struct group *group, const struct group_says *says, struct place durable)
{
	struct journal *journal = group->journal;
	char *descriptor = group->memory + journal->block_bytes;
	struct group_header header = {
	    .magic = GROUP_MAGIC,
	    .salt = journal->header.salt,
	    .seq = group->at.seq,
	    .block = group->at.block,
	    .flags = says->flags,
	    .commit = says->commit,
	    .file_bytes = says->file_bytes,
	    .least_bytes = says->least_bytes,
	    .unit = {says->unit[0], says->unit[1]},
	    .durable_seq = durable.seq,
	    .durable_block = durable.block,
	    .entries = group->entries,
	};

	ASSERT(says->least_bytes <= says->file_bytes);
	memcpy(descriptor, &header, sizeof(header));
	header.checksum =
	    journal_block_checksum(header.salt, descriptor, journal->block_bytes, offsetof(struct group_header, checksum));
	memcpy(descriptor, &header, sizeof(header));
}

/* Of both: whether there is something to be written, and if so what is behind it from here on. */
static bool claim_place(struct group *group, const struct group_says *says, struct place *ret_durable, uint64_t *ret_last)
{
	struct journal *journal = group->journal;

	lock_acquire(&journal->lock);
	if (journal->error)
		group->dead = true;
	group->state = group->dead ? GROUP_FREE : GROUP_WRITING;
	if (!group->dead) {
		ASSERT(group->at.seq == journal->end.seq && group->at.block == journal->end.block && !journal->is_cut);
		group->ticket = ++journal->last_ticket;
		if (says) {
			journal->end.block += 1 + group->pages;
			journal->end.commit = says->commit;
		}
		*ret_durable = journal->durable;
		*ret_last = journal->last;
	}
	lock_release(&journal->lock);
	return !group->dead;
}

/* Claims its place, and makes it what is to be written. False: there is no place, and it is dead. */
static bool compose(struct group *group, const struct group_says *says)
{
	struct journal *journal = group->journal;
	size_t block_bytes = journal->block_bytes, blocks = (group->first ? 1 : 0) + (says ? 1 + group->pages : 0);
	struct place durable = {0};
	uint64_t last = 0;

	if (!claim_place(group, says, &durable, &last)) {
		journal_wake(journal);
		return false;
	}
	if (group->first)
		compose_segment(group, last);
	if (says)
		compose_group(group, says, durable);
	group->request = (struct pager_request){
	    .op = PAGER_WRITE,
	    .offset = (segment_first(journal, group->at.segment) + (group->first ? 0 : group->at.block)) * (uint64_t)block_bytes,
	    .len = blocks * block_bytes,
	    .buf = group->memory + (group->first ? 0 : block_bytes),
	    .done = group_done,
	    .owner = group,
	};
	return true;
}

void append_submit(struct group *group, const struct group_says *says)
{
	struct pager *log = group->journal->log;

	if (compose(group, says))
		log->ops->submit(log, &group->request);
}

void append_ready(struct group *group, const struct group_says *says)
{
	struct journal *journal = group->journal;

	if (!compose(group, says))
		return;
	lock_acquire(&journal->lock);
	group->state = GROUP_READY;
	lock_release(&journal->lock);
	journal_wake(journal);
}

/* ---- waiting, syncing ---- */

static bool is_writing(struct journal *journal, uint64_t ticket)
{
	bool writing = false;

	lock_acquire(&journal->lock);
	for (unsigned i = 0; i < journal->settings.groups; i++)
		writing |= journal->groups[i].state >= GROUP_WRITING && journal->groups[i].ticket <= ticket;
	lock_release(&journal->lock);
	return writing;
}

void append_wait(struct journal *journal, uint64_t ticket)
{
	for (;;) {
		uint32_t seen = atomic_load(&journal->changed);

		write_ready(journal, ticket);
		if (!is_writing(journal, ticket))
			return;
		futex_wait(&journal->changed, seen, NULL);
	}
}

int append_sync(struct journal *journal)
{
	int r = journal->log->ops->sync(journal->log);

	lock_acquire(&journal->lock);
	journal->stats.syncs++;
	if (r < 0)
		append_fail(journal, r);
	lock_release(&journal->lock);
	return r;
}

/* The last one handed over that is to be made durable, and the group up to which all has to be written. NULL: none. */
static struct journal_commit *settle_target(struct journal *journal, struct journal_commit *commit, uint64_t *ret_ticket)
{
	struct journal_commit *target = journal->pending_tail;

	*ret_ticket = 0;
	if ((commit && commit->state != COMMIT_HANDED) || !target || target->state != COMMIT_HANDED)
		return NULL;
	*ret_ticket = target->ticket;
	return target;
}

/* Those handed over later go first: what one has cut off is not brought back by those before it. */
static void fail_pending(struct journal *journal)
{
	struct journal_commit *prepared = NULL, *reversed = NULL, *next;

	for (struct journal_commit *commit = journal->pending; commit; commit = next) {
		next = commit->next;
		if (commit->state == COMMIT_PREPARED) {
			ASSERT(commit == journal->pending);
			prepared = commit;
			continue;
		}
		commit->next = reversed;
		reversed = commit;
	}
	for (; reversed; reversed = next) {
		next = reversed->next;
		reversed->error = journal->error;
		commit_revert(reversed, false);
	}
	journal->pending = journal->pending_tail = prepared;
	if (prepared)
		prepared->next = NULL;
	journal->handed = prepared ? prepared->number : journal->last;
	journal->handed_bytes = prepared ? prepared->file_bytes : journal->bytes;
}

static bool is_before(struct place a, struct place b)
{
	return a.seq < b.seq || (a.seq == b.seq && a.block < b.block);
}

/* lock held. What lies in older segments may not be needed any more. */
static void set_durable(struct journal *journal, struct place place)
{
	bool further = place.seq != journal->durable.seq;

	journal->durable = place;
	if (further)
		space_try_free_all(journal);
}

/* syncing held. The commits up to target, and the note if its group is not newer, are on stable storage. Pages that they have. */
static uint64_t made_durable(struct journal *journal, struct journal_commit *target, uint64_t ticket)
{
	uint64_t pages = 0;
	bool noted;

	for (bool more = target != NULL; more;) {
		struct journal_commit *commit;

		lock_acquire(&journal->lock);
		commit = journal->pending;
		more = commit != target;
		pages += commit->pages;
		set_durable(journal, commit->end);
		if (commit->prepared)
			commit->state = COMMIT_PREPARED;
		lock_release(&journal->lock);
		if (!commit->prepared)
			commit_publish(commit);
		ASSERT(!commit->prepared || !more);
	}
	lock_acquire(&journal->lock);
	noted = journal->note.ticket != 0 && journal->note.ticket <= ticket;
	/* A cut has to leave it where it is. */
	if (noted && is_before(journal->durable, journal->note.end))
		set_durable(journal, journal->note.end);
	lock_release(&journal->lock);
	if (noted)
		unit_noted(journal);
	return pages;
}

void append_settle(struct journal *journal, struct journal_commit *commit)
{
	struct journal_commit *target;
	uint64_t ticket, pages = 0;
	int r;

	/* Before the turn to sync comes, so that several are written at once. */
	if (commit)
		write_ready(journal, commit->ticket);
	lock_acquire(&journal->syncing);
	lock_acquire(&journal->lock);
	target = settle_target(journal, commit, &ticket);
	if (!commit && journal->note.ticket > ticket)
		ticket = journal->note.ticket;
	lock_release(&journal->lock);
	if (ticket != 0) {
		append_wait(journal, ticket);
		lock_acquire(&journal->lock);
		r = journal->error;
		lock_release(&journal->lock);
		if (r == 0)
			r = append_sync(journal);
		if (r == 0) {
			pages = made_durable(journal, target, ticket);
		} else {
			lock_acquire(&journal->lock);
			fail_pending(journal);
			lock_release(&journal->lock);
		}
	}
	lock_release(&journal->syncing);
	journal_wake(journal);
	/*
	 * The next group would say it as well; if that does not come, an opening writes all of it again. Of so many pages this is a hundredth
	 * of the time that they took.
	 */
	if (pages >= journal->settings.note_pages)
		header_note(journal);
}

/* ---- failure ---- */

void append_fail(struct journal *journal, int error)
{
	INVARIANT(lock_is_held(&journal->lock));
	ASSERT(error < 0);
	if (!journal->error)
		journal->error = error;
	journal->failures++;
	journal->n_suspect = journal->n_spilled;
}

void append_cut(struct journal *journal, struct place place)
{
	for (uint32_t i = 0; i < journal->made; i++) {
		struct segment *segment = &journal->segments[i];

		if (segment->kind != SEGMENT_LOG || segment->seq <= place.seq)
			continue;
		segment->cut_off = true;
		space_try_free(journal, i);
	}
	if (place.seq && journal->segments[place.segment].seq != place.seq) {
		/* What was prepared behind it was durable, so that it was free when all in it was complete: the log begins anew. */
		ASSERT(journal->complete >= place.commit);
		place = (struct place){0};
	}
	if (place.seq)
		journal->segments[place.segment].needed_till = NEEDED_ALWAYS;
	journal->end = place;
	journal->is_cut = true;
	journal->stale_seq = journal->next_seq;
	if (is_before(place, journal->durable))
		journal->durable = place;
	if (journal->note.commit)
		journal->note.ticket = 0;
}

void append_restart(struct journal *journal)
{
	bool failed;

	lock_acquire(&journal->lock);
	failed = journal->error != 0;
	lock_release(&journal->lock);
	if (!failed)
		return;
	lock_acquire(&journal->syncing);
	append_wait(journal, UINT64_MAX);
	lock_acquire(&journal->lock);
	fail_pending(journal);
	append_cut(journal, journal->durable);
	journal->error = 0;
	lock_release(&journal->lock);
	lock_release(&journal->syncing);
	journal_wake(journal);
}

/* The header of a segment, alone. 0 or -errno. */
static int submit_segment(struct journal *journal)
{
	struct group *group = append_open(journal, NULL);
	bool full;

	if (!group->dead) {
		append_submit(group, NULL);
		return 0;
	}
	append_drop(group);
	lock_acquire(&journal->lock);
	full = !journal->error;
	lock_release(&journal->lock);
	return full ? -ENOSPC : -EIO;
}

/* syncing held. What was written is durable, and so is that the log has left the segments before. */
static int settle_segment(struct journal *journal)
{
	int r;

	append_wait(journal, UINT64_MAX);
	lock_acquire(&journal->lock);
	r = journal->error;
	lock_release(&journal->lock);
	if (r == 0)
		r = append_sync(journal);
	if (r < 0)
		return r;
	lock_acquire(&journal->lock);
	if (journal->durable.seq < journal->end.seq)
		set_durable(journal, (struct place){journal->end.seq, journal->last, journal->end.segment, 1});
	lock_release(&journal->lock);
	return 0;
}

int append_cut_durably(struct journal *journal)
{
	bool is_stale, is_cut;
	int r = 0;

	append_restart(journal);
	lock_acquire(&journal->lock);
	is_stale = journal->durable.seq < journal->stale_seq;
	is_cut = journal->is_cut;
	lock_release(&journal->lock);
	if (!is_stale)
		return 0;
	if (is_cut)
		r = submit_segment(journal);
	if (r == -ENOSPC && journal_checkpoint(journal) == 0)
		r = submit_segment(journal);
	if (r < 0)
		return r;
	lock_acquire(&journal->syncing);
	r = settle_segment(journal);
	lock_release(&journal->syncing);
	return r;
}

void append_note(struct journal *journal)
{
	struct group_says says = {.flags = GROUP_DECIDED};
	struct group *group;
	bool due;

	lock_acquire(&journal->lock);
	due = journal->note.commit && !journal->note.ticket;
	says.commit = journal->note.commit;
	says.unit[0] = journal->note.unit[0];
	says.unit[1] = journal->note.unit[1];
	says.file_bytes = says.least_bytes = journal->bytes;
	lock_release(&journal->lock);
	if (!due)
		return;
	group = append_open(journal, NULL);
	if (group->dead) {
		append_drop(group);
		return;
	}
	append_submit(group, &says);
	lock_acquire(&journal->lock);
	if (!group->dead) {
		journal->note.ticket = group->ticket;
		journal->note.end = journal->end;
	}
	lock_release(&journal->lock);
}
