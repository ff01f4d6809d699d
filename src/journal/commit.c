/* SPDX-License-Identifier: MIT */
/*
 * commit.c - a commit from begin to wait
 *
 * While it is put together its pages go into groups, which are written as they fill up. What it takes from the index it keeps in a
 * list of blocks: pages in the log, spilled ones that it names, and spilled ones for which it has newer bytes. All of these change
 * together when it counts, or go back when it does not.
 *
 * A commit counts in memory in this order: its versions are entered, `last` is raised, what they supersede is taken out. A snapshot that
 * is made between any two of these finds all that it reads.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/internal.h"
#include "util/fail.h"
#include "util/message.h"

#define PIECE 128 /* versions at a time with the lock held */

/* ---- beginning ---- */

static struct journal_commit *commit_new(struct journal *journal)
{
	struct journal_commit *commit = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*commit));

	if (!commit)
		return NULL;
	commit->journal = journal;
	commit->cut = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*commit->cut));
	if (!commit->cut) {
		free(commit);
		return NULL;
	}
	return commit;
}

void commit_free(struct journal_commit *commit)
{
	if (!commit->is_cut)
		free(commit->cut);
	free(commit);
}

enum room {
	ROOM_ENOUGH,
	ROOM_PENDING,    /* commits have to be durable first */
	ROOM_CHECKPOINT, /* … and copied */
	ROOM_NOTE,       /* other journals have to note what was decided here */
	ROOM_SOON,       /* readers hold it, or it is being made, or a checkpoint is under way */
	ROOM_NONE,
};

static bool comes_soon(const struct journal *journal)
{
	for (uint32_t i = 0; i < journal->made; i++) {
		const struct segment *segment = &journal->segments[i];

		if (segment->kind == SEGMENT_MAKING ||
		    (segment->kind != SEGMENT_FREE && segment->live == 0 && segment->readers > 0))
			return true;
	}
	return false;
}

/* lock held. Reserves it if there is enough. */
static enum room look_for_room(struct journal *journal, uint64_t pages)
{
	uint32_t left = space_left(journal);
	uint32_t need = space_need(journal, pages + journal->n_suspect, journal->n_spilled - journal->n_suspect, left);
	uint32_t least = space_need(journal, pages, journal->n_spilled, left);

	/* What is suspect has to be written anew, if it is to be in the commit at all. */
	if (journal->n_free >= need || journal->n_free >= least) {
		journal->reserved = journal->n_free >= need ? need : least;
		return ROOM_ENOUGH;
	}
	if (least > journal->n_segments)
		return ROOM_NONE;
	if (journal->pending)
		return ROOM_PENDING;
	/* That one may make room enough, and it wakes who waits. */
	if (journal->checkpoint != UINT64_MAX)
		return ROOM_SOON;
	if (checkpoint_target(journal) > journal->complete)
		return ROOM_CHECKPOINT;
	if (journal->decisions)
		return ROOM_NOTE;
	return comes_soon(journal) ? ROOM_SOON : ROOM_NONE;
}

/* building held. */
static int make_room(struct journal *journal, uint64_t pages)
{
	bool asked = false;
	int r = 0;

	while (r == 0) {
		uint32_t seen = atomic_load(&journal->changed);
		enum room room;

		append_restart(journal);
		lock_acquire(&journal->lock);
		room = look_for_room(journal, pages);
		lock_release(&journal->lock);
		if (room == ROOM_ENOUGH)
			return 0;
		if (room == ROOM_PENDING)
			append_settle(journal, NULL);
		else if (room == ROOM_CHECKPOINT)
			r = journal_checkpoint(journal);
		else if (room == ROOM_NOTE && !asked)
			unit_ask_noted(journal);
		else if (room == ROOM_SOON)
			futex_wait(&journal->changed, seen, NULL);
		else
			r = message_set(ENOSPC, "the journal has no room for a commit of %llu pages", (unsigned long long)pages);
		asked |= room == ROOM_NOTE;
	}
	return r;
}

void commit_enter(struct journal *journal)
{
	struct unit *unit;

	for (;;) {
		lock_acquire(&journal->lock);
		unit = journal->unit;
		if (unit)
			unit_ref(unit);
		lock_release(&journal->lock);
		if (!unit)
			break;
		(void)unit_drive(unit);
		unit_unref(unit);
	}
	lock_acquire(&journal->building);
}

int journal_commit_begin(struct journal *journal, uint64_t most_pages, struct journal_commit **ret)
{
	struct journal_commit *commit = commit_new(journal);
	int r;

	if (!commit)
		return -ENOMEM;
	commit_enter(journal);
	append_restart(journal);
	if (journal->owes && append_cut_durably(journal) == 0)
		journal->owes = false;
	r = unit_settle_uncertain(journal);
	if (r == 0)
		r = make_room(journal, most_pages);
	if (r < 0) {
		lock_release(&journal->building);
		commit_free(commit);
		return r;
	}
	append_note(journal);
	lock_acquire(&journal->lock);
	/* What comes later must not lie before it in the log. */
	if (journal->note.commit && !journal->note.ticket)
		commit->error = journal->error ? journal->error : -ENOSPC;
	commit->number = journal->handed + 1;
	commit->failures = journal->failures;
	commit->start = commit->end = journal->end;
	journal->builder = commit;
	lock_release(&journal->lock);
	*ret = commit;
	return 0;
}

/* ---- pages ---- */

/* Of a group that is not the last: the size is settled only at the end, but no page lies behind it. */
static void say_some_size(const struct journal_commit *commit, struct group_says *says)
{
	struct journal *journal = commit->journal;
	uint64_t reach = commit->end_page << page_shift;

	lock_acquire(&journal->lock);
	says->file_bytes = journal->size_bytes > journal->handed_bytes ? journal->size_bytes : journal->handed_bytes;
	lock_release(&journal->lock);
	if (says->file_bytes < reach)
		says->file_bytes = reach;
	says->least_bytes = says->file_bytes;
}

static void send_group(struct journal_commit *commit, uint32_t flags, const uint64_t unit[2])
{
	struct journal *journal = commit->journal;
	struct group_says says = {
	    .flags = flags,
	    .commit = commit->number,
	    .file_bytes = commit->file_bytes,
	    .least_bytes = commit->least_bytes,
	};

	if (unit) {
		says.unit[0] = unit[0];
		says.unit[1] = unit[1];
	}
	if (!(flags & (GROUP_COMMIT | GROUP_PREPARED)))
		say_some_size(commit, &says);
	if (flags & GROUP_COMMIT)
		append_ready(commit->group, &says);
	else
		append_submit(commit->group, &says);
	lock_acquire(&journal->lock);
	if (!commit->group->dead) {
		commit->wrote = true;
		commit->ticket = journal->last_ticket;
		commit->end = journal->end;
	} else if (!commit->error) {
		commit->error = journal->error ? journal->error : -EIO;
	}
	lock_release(&journal->lock);
	commit->group = NULL;
}

/* A group with place for one more entry, and for the bytes of a page with it. */
static struct group *group_for_more(struct journal_commit *commit)
{
	struct group *group = commit->group;

	if (group && (group->pages == group->capacity || group->entries == group_most((uint32_t)commit->journal->block_bytes)))
		send_group(commit, 0, NULL);
	if (!commit->group)
		commit->group = append_open(commit->journal, commit);
	return commit->group;
}

void *journal_commit_room(struct journal_commit *commit, unsigned *pages)
{
	struct group *group = group_for_more(commit);
	unsigned room = group->capacity - group->pages;
	unsigned entries = group_most((uint32_t)commit->journal->block_bytes) - group->entries;

	ASSERT(*pages > 0);
	room = room < entries ? room : entries;
	if (*pages > room)
		*pages = room;
	return group_page(group, group->pages);
}

static void commit_link(struct journal_commit *commit, uint32_t block, enum version_state state)
{
	struct version *version = &commit->journal->versions[block];

	version->state = (uint8_t)state;
	version->commit = commit->number;
	version->left = commit->versions;
	commit->versions = block;
}

/* lock held. A spilled version is in the hands of the commit from here on. */
static void take_spilled(struct journal_commit *commit, uint32_t block, enum version_state state)
{
	struct segment *segment = segment_of(commit->journal, block);

	spilled_leave(commit->journal, block);
	commit_link(commit, block, state);
	if (state == VERSION_NAMED && segment->last_commit < commit->number)
		segment->last_commit = commit->number;
}

static void count_page(struct journal_commit *commit, uint64_t page)
{
	commit->pages++;
	if (commit->end_page < page + 1)
		commit->end_page = page + 1;
}

static void add_page(struct journal_commit *commit, struct group *group, uint64_t page)
{
	struct journal *journal = commit->journal;
	uint32_t block = group_block(group), spilled;
	uint64_t checksum =
	    journal_page_checksum(journal->header.salt, page, group_page(group, group->pages), journal->block_bytes);

	lock_acquire(&journal->lock);
	version_take(journal, block, page, VERSION_PENDING);
	journal->versions[block].checksum = checksum;
	commit_link(commit, block, VERSION_PENDING);
	spilled = spilled_next(journal, page);
	if (spilled && journal->versions[spilled].page == page)
		take_spilled(commit, spilled, VERSION_OVER);
	lock_release(&journal->lock);
	group_add(group, page, 0, checksum);
	count_page(commit, page);
}

void journal_commit_add(struct journal_commit *commit, uint64_t first, unsigned pages)
{
	struct group *group = commit->group;

	for (unsigned i = 0; i < pages && !group->dead; i++)
		add_page(commit, group, first + i);
}

/* What was spilled before a failure is read, and written as a page of the commit. */
static int add_suspect(struct journal_commit *commit, struct group *group, uint32_t block)
{
	struct journal *journal = commit->journal;
	uint64_t page = journal->versions[block].page, checksum = journal->versions[block].checksum;
	char *bytes = group_page(group, group->pages);
	int64_t n = journal_read(journal->log, block * (uint64_t)journal->block_bytes, bytes, journal->block_bytes);
	bool same;

	if (n < 0 || n != (int64_t)journal->block_bytes ||
	    journal_page_checksum(journal->header.salt, page, bytes, journal->block_bytes) != checksum) {
		version_unpin(journal, block, 1);
		return n < 0 ? (int)n
			     : message_set(EIO, "page %llu was spilled before the journal failed, and has not come to storage",
					   (unsigned long long)page);
	}
	/* It may have been spilled anew meanwhile: then that one is looked at next. */
	lock_acquire(&journal->lock);
	same = journal->versions[block].state == VERSION_SPILLED;
	lock_release(&journal->lock);
	version_unpin(journal, block, 1);
	if (same)
		add_page(commit, group, page);
	return 0;
}

/* The first of a range: *ret_first is behind it. 0 or -errno; 1: there is none. */
static int add_spilled(struct journal_commit *commit, uint64_t *first, uint64_t end)
{
	struct journal *journal = commit->journal;
	struct group *group = group_for_more(commit);
	struct version *version;
	bool suspect;
	uint32_t block;

	if (group->dead)
		return commit->error ? commit->error : -EIO;
	lock_acquire(&journal->lock);
	block = spilled_next(journal, *first);
	version = &journal->versions[block];
	if (!block || version->page >= end) {
		lock_release(&journal->lock);
		return 1;
	}
	suspect = version_is_suspect(journal, version);
	if (suspect)
		version_pin(journal, block, 1);
	else
		take_spilled(commit, block, VERSION_NAMED);
	lock_release(&journal->lock);
	*first = version->page;
	if (suspect)
		return add_suspect(commit, group, block);
	group_add(group, version->page, block, version->checksum);
	count_page(commit, version->page);
	return 0;
}

int journal_commit_spilled(struct journal_commit *commit, uint64_t first, uint64_t end)
{
	struct journal *journal = commit->journal;
	bool any;
	int r;

	lock_acquire(&journal->lock);
	any = spilled_next(journal, first) != 0;
	lock_release(&journal->lock);
	if (!any)
		return 0;
	do
		r = add_spilled(commit, &first, end);
	while (r == 0);
	return r == 1 ? 0 : r;
}

/* ---- the end of putting it together ---- */

/* lock held. The size that the commit has. 1: that differs from that of the one before; 0; -EINVAL: it has a page behind its end. */
static int settle_size(struct journal_commit *commit, bool with_size)
{
	struct journal *journal = commit->journal;
	uint64_t before = journal->handed_bytes;
	uint64_t least = journal->least_bytes < before ? journal->least_bytes : before;

	/* Without the size, pages behind it would be lost to the commit that brings it. */
	if (commit->end_page > 0 && (commit->end_page - 1) << page_shift >= least)
		with_size = true;
	commit->file_bytes = commit->least_bytes = before;
	if (with_size && (journal->size_bytes != before || least != before)) {
		commit->with_size = true;
		commit->file_bytes = journal->size_bytes;
		commit->least_bytes = least < journal->size_bytes ? least : journal->size_bytes;
	}
	return commit->end_page > pages_of(commit->file_bytes) ? -EINVAL : commit->with_size;
}

/* lock held. Reads of what is newer than this commit know its size from here on. */
static void hand_size(struct journal_commit *commit)
{
	struct journal *journal = commit->journal;

	if (commit->with_size) {
		if (commit->least_bytes < journal->handed_bytes) {
			*commit->cut = (struct cut){commit->number, commit->least_bytes, journal->cuts};
			journal->cuts = commit->cut;
			commit->is_cut = true;
			commit->cut = NULL;
		}
		journal->handed_bytes = commit->file_bytes;
		journal->least_bytes = journal->size_bytes;
	}
}

void commit_leave(struct journal_commit *commit)
{
	struct journal *journal = commit->journal;

	lock_acquire(&journal->lock);
	journal->builder = NULL;
	journal->reserved = 0;
	lock_release(&journal->lock);
	lock_release(&journal->building);
}

/* It is not to be, and was not handed over: everything goes back. building held. */
void commit_abandon(struct journal_commit *commit)
{
	struct journal *journal = commit->journal;

	if (commit->group)
		append_drop(commit->group);
	commit->group = NULL;
	if (commit->wrote)
		append_wait(journal, UINT64_MAX);
	lock_acquire(&journal->lock);
	commit_revert(commit, false);
	if (commit->wrote && !journal->error)
		append_cut(journal, commit->start);
	lock_release(&journal->lock);
}

void journal_commit_give_up(struct journal_commit *commit)
{
	commit_abandon(commit);
	commit_leave(commit);
	commit_free(commit);
}

/* A group for the last of the commit; with the block of the parties, one without anything else. */
static struct group *last_group(struct journal_commit *commit, const void *parties)
{
	struct journal *journal = commit->journal;
	struct group *group;

	if (parties && commit->group)
		send_group(commit, 0, NULL);
	if (!commit->group)
		commit->group = append_open(journal, commit);
	group = commit->group;
	if (parties && !group->dead) {
		memcpy(group_page(group, 0), parties, journal->block_bytes);
		group_add(group, PARTIES_PAGE, 0,
			  journal_page_checksum(journal->header.salt, PARTIES_PAGE, parties, journal->block_bytes));
	}
	return group;
}

int commit_send(struct journal_commit *commit, uint32_t flags, const void *parties, const uint64_t unit[2])
{
	struct journal *journal = commit->journal;

	if (last_group(commit, parties)->dead) {
		lock_acquire(&journal->lock);
		if (!commit->error)
			commit->error = journal->error ? journal->error : -EIO;
		lock_release(&journal->lock);
		commit_abandon(commit);
		return commit->error;
	}
	lock_acquire(&journal->lock);
	hand_size(commit);
	lock_release(&journal->lock);
	/* If it turns out now that the log has failed, so has this commit, as one that is pending. */
	send_group(commit, flags, unit);
	lock_acquire(&journal->lock);
	commit->state = COMMIT_HANDED;
	commit->prepared = flags & GROUP_PREPARED;
	commit->next = NULL;
	if (journal->pending)
		journal->pending_tail->next = commit;
	else
		journal->pending = commit;
	journal->pending_tail = commit;
	journal->handed = commit->number;
	lock_release(&journal->lock);
	return 0;
}

/*
 * Sees what there is to be handed over. 0: a commit. 1: nothing, and it ends as those before it. -errno: it cannot be one, and everything
 * went back.
 */
static int conclude(struct journal_commit *commit, bool with_size)
{
	struct journal *journal = commit->journal;
	bool alone;
	int r;

	lock_acquire(&journal->lock);
	r = settle_size(commit, with_size);
	if (r >= 0 && commit->pages == 0 && r == 0) {
		commit->follows = true;
		commit->number = journal->handed;
	}
	if (journal->error && !commit->error)
		commit->error = journal->error;
	alone = commit->follows && !journal->pending;
	lock_release(&journal->lock);
	if (r < 0 && !commit->error)
		commit->error = message_set(-r, "a page behind the end of the file cannot be committed");
	if (!commit->error && !commit->follows)
		return 0;
	commit_abandon(commit);
	/* Nothing to be written; but what has failed before must not show any more, once this one is said to count. */
	if (alone && !commit->error)
		commit->error = append_cut_durably(journal);
	commit->state = commit->error ? COMMIT_FAILED : alone ? COMMIT_DONE : COMMIT_HANDED;
	return commit->error ? commit->error : 1;
}

/* What has nothing of its own ends as those before it. */
static void wait_follower(struct journal_commit *commit)
{
	struct journal *journal = commit->journal;

	if (commit->state != COMMIT_HANDED)
		return;
	append_settle(journal, NULL);
	lock_acquire(&journal->lock);
	if (journal->last < commit->number || journal->failures != commit->failures)
		commit->error = journal->error ? journal->error : -EIO;
	lock_release(&journal->lock);
	commit->state = commit->error ? COMMIT_FAILED : COMMIT_DONE;
}

static void hand_over_one(struct journal_commit *commit)
{
	(void)commit_send(commit, GROUP_COMMIT, NULL, NULL);
	commit_leave(commit);
}

/* Those that are left of several as one unit. All fail where one cannot be, or there is no memory. */
static void hand_over_some(struct journal_commit **commits, unsigned n, int error)
{
	struct unit *unit = error ? NULL : unit_new(commits, n, &error);

	if (unit) {
		unit_hand_over(unit);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		commits[i]->error = error;
		commit_abandon(commits[i]);
		commits[i]->state = COMMIT_FAILED;
		commit_leave(commits[i]);
	}
}

static void hand_over_several(struct journal_commit **commits, struct journal_commit **some, unsigned n, bool with_size)
{
	unsigned n_some = 0;
	int error = 0;

	for (unsigned i = 0; i < n; i++) {
		int r = conclude(commits[i], with_size);

		if (r == 0) {
			some[n_some++] = commits[i];
		} else {
			/* Known before the others are handed over: none of them is to count if this one does not. */
			if (n > 1)
				wait_follower(commits[i]);
			r = commits[i]->error;
			commit_leave(commits[i]);
		}
		if (r < 0 && !error)
			error = r;
	}
	if (n_some == 1 && !error)
		hand_over_one(some[0]);
	else if (n_some > 0)
		hand_over_some(some, n_some, error);
}

void journal_commit_hand_over(struct journal_commit **commits, unsigned n, bool with_size)
{
	struct journal_commit *one;
	struct journal_commit **some = &one;

	if (n > 1)
		some = fail_now(FAIL_ALLOC) ? NULL : malloc(n * sizeof(struct journal_commit *));
	if (!some) {
		hand_over_some(commits, n, -ENOMEM);
		return;
	}
	hand_over_several(commits, some, n, with_size);
	if (some != &one)
		free(some);
}

/* ---- the end ---- */

int journal_commit_wait(struct journal_commit **commits, unsigned n)
{
	int result = 0;

	for (unsigned i = 0; i < n; i++) {
		struct journal_commit *commit = commits[i];

		if (commit->unit) {
			commit->error = unit_drive(commit->unit);
			unit_unref(commit->unit);
		} else if (commit->follows) {
			wait_follower(commit);
		} else {
			append_settle(commit->journal, commit);
		}
		if (commit->error && result == 0)
			result = commit->error;
		commit_free(commit);
	}
	return result;
}

/* ---- what becomes of its versions ---- */

/* Calls something for all of its versions, with the lock held for some at a time. */
static void for_each_version(struct journal_commit *commit, void (*call)(struct journal_commit *commit, uint32_t block))
{
	struct journal *journal = commit->journal;
	uint32_t block = commit->versions;

	while (block) {
		lock_acquire(&journal->lock);
		for (unsigned i = 0; i < PIECE && block; i++) {
			uint32_t next = journal->versions[block].left;

			call(commit, block);
			block = next;
		}
		lock_release(&journal->lock);
	}
}

static void enter_version(struct journal_commit *commit, uint32_t block)
{
	struct version *version = &commit->journal->versions[block];

	if (version->state == VERSION_OVER)
		return;
	if (version->state == VERSION_PENDING)
		index_insert(commit->journal, block);
	version->state = VERSION_COMMITTED;
	version->forgotten = false;
}

static void supersede(struct journal_commit *commit, uint32_t block)
{
	struct journal *journal = commit->journal;
	struct version *version = &journal->versions[block];

	if (version->state == VERSION_OVER) {
		index_remove(journal, block);
		version_free(journal, block, version->named ? commit->number : 0);
	} else {
		index_prune(journal, version->page);
	}
}

void commit_publish(struct journal_commit *commit)
{
	struct journal *journal = commit->journal;

	for_each_version(commit, enter_version);
	lock_acquire(&journal->lock);
	ASSERT(journal->pending == commit && journal->last + 1 == commit->number);
	journal->pending = commit->next;
	if (!journal->pending)
		journal->pending_tail = NULL;
	journal->last = commit->number;
	journal->bytes = commit->file_bytes;
	journal->stats.commits++;
	journal->stats.committed_pages += commit->pages;
	lock_release(&journal->lock);
	for_each_version(commit, supersede);
	lock_acquire(&journal->lock);
	commit->state = COMMIT_DONE;
	lock_release(&journal->lock);
}

static void revert_version(struct journal_commit *commit, uint32_t block, bool named)
{
	struct journal *journal = commit->journal;
	struct version *version = &journal->versions[block];
	uint32_t newer;

	if (version->state == VERSION_PENDING) {
		version_free(journal, block, 0);
		return;
	}
	version->named |= named && version->state == VERSION_NAMED;
	newer = spilled_next(journal, version->page);
	if (version->forgotten || (newer && journal->versions[newer].page == version->page)) {
		index_remove(journal, block);
		version_free(journal, block, version->named ? commit->number : 0);
		return;
	}
	version->commit = version->state == VERSION_OVER ? SUSPECT : COMMIT_NONE | commit->failures;
	version->state = VERSION_SPILLED;
	spilled_enter(journal, block);
}

void commit_revert(struct journal_commit *commit, bool named)
{
	struct journal *journal = commit->journal;
	uint32_t block = commit->versions, next;

	INVARIANT(lock_is_held(&journal->lock));
	for (; block; block = next) {
		next = journal->versions[block].left;
		revert_version(commit, block, named);
	}
	commit->versions = 0;
	if (commit->is_cut) {
		commit->cut = cut_take(journal, commit->number);
		commit->is_cut = false;
	}
	if (commit->with_size && commit->least_bytes < journal->least_bytes)
		journal->least_bytes = commit->least_bytes;
	commit->state = COMMIT_FAILED;
}

void commits_forget(struct journal *journal, uint64_t first, uint64_t end)
{
	struct journal_commit *commit = journal->pending ? journal->pending : journal->builder;

	for (; commit; commit = commit->next ? commit->next : commit == journal->builder ? NULL : journal->builder)
		for (uint32_t block = commit->versions; block; block = journal->versions[block].left) {
			struct version *version = &journal->versions[block];

			if (version->state != VERSION_PENDING && version->page >= first && version->page < end)
				version->forgotten = true;
		}
}
