/* SPDX-License-Identifier: MIT */
/*
 * commit.c - commits of pages of atomic files, of one or several as one unit
 *
 *      lock the sizes │ claim the pages │ begin in the journals │ copy │ hand over │ unlock ···· wait │ settle the pages
 *
 * Each object's size_lock is held until the commit is handed over: the size that is committed is that with which the pages were copied,
 * and no two captures of an object have to wait for each other's pages while one has the journal. The locks of several objects are
 * taken in the order of their addresses, and so are their journals.
 *
 * A commit has the size of the file, whichever pages it is of. So it also has the page that a cut has left a part of: otherwise what was
 * cut off would be there again when the file grows.
 */
#include "object/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/capture.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

/* One object of it. */
struct commit_part {
	struct capture capture;
	struct journal_commit *journal_commit; /* NULL: it has none (yet) */
	uint64_t cut_bytes;                    /* of the object, as this commit found it */
};

/* ---- ranges ---- */

static int compare(const void *left, const void *right)
{
	const struct commit_range *a = left, *b = right;

	if (a->object != b->object)
		return (uintptr_t)a->object < (uintptr_t)b->object ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

/* Sorts, and joins those that overlap or touch. How many are left. */
static size_t tidy(struct commit_range *ranges, size_t n)
{
	size_t kept = 0;

	if (n > 1)
		qsort(ranges, n, sizeof(*ranges), compare);
	for (size_t i = 0; i < n; i++) {
		struct commit_range *last = kept ? &ranges[kept - 1] : NULL;

		if (last && last->object == ranges[i].object && ranges[i].first <= last->end)
			last->end = ranges[i].end > last->end ? ranges[i].end : last->end;
		else
			ranges[kept++] = ranges[i];
	}
	return kept;
}

/* The index after the last range of the object that the one at i is of. */
static size_t next_object(const struct commit_range *ranges, size_t n, size_t i)
{
	struct object *object = ranges[i].object;

	while (i < n && ranges[i].object == object)
		i++;
	return i;
}

/* The page that a cut has left a part of, as a range. False: none. */
static bool cut_page(struct object *object, struct commit_range *ret)
{
	uint64_t bytes = atomic_load(&object->cut_bytes);

	if (bytes == UINT64_MAX || (bytes & (page_size() - 1)) == 0)
		return false;
	*ret = (struct commit_range){object, bytes >> page_shift, (bytes >> page_shift) + 1};
	return true;
}

/* ---- putting it together ---- */

static void note_cut_again(struct object *object, uint64_t bytes)
{
	uint64_t now = atomic_load(&object->cut_bytes);

	while (bytes < now && !atomic_compare_exchange_weak(&object->cut_bytes, &now, bytes))
		;
}

static bool has_spilled(const struct commit_range *ranges, size_t n)
{
	uint64_t first, end;

	for (size_t i = 0; i < n; i++)
		if (journal_next_spilled(ranges[i].object->journal, ranges[i].first, ranges[i].end, &first, &end))
			return true;
	return false;
}

/* Whether an object takes part: it has pages, or another size, or a commit on its way whose end the caller has to be told of. */
static bool takes_part(const struct capture *capture, const struct commit_range *ranges, size_t n)
{
	struct object *object = capture->object;

	return capture->pages > 0 || atomic_load(&object->cut_bytes) != UINT64_MAX || atomic_load(&object->commits) > 0 ||
	       atomic_load(&object->bytes) != journal_committed_bytes(object->journal) || has_spilled(ranges, n);
}

static int claim(struct commit_part *part, const struct commit_range *ranges, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = capture_claim(&part->capture, ranges[i].first, ranges[i].end);
	return r;
}

static int copy(struct commit_part *part, const struct commit_range *ranges, size_t n)
{
	int r = capture_copy(&part->capture, part->journal_commit);

	for (size_t i = 0; i < n && r == 0; i++)
		r = journal_commit_spilled(part->journal_commit, ranges[i].first, ranges[i].end);
	return r;
}

static void give_up(struct commit *commit)
{
	for (size_t i = 0; i < commit->n; i++) {
		if (commit->parts[i].journal_commit)
			journal_commit_give_up(commit->parts[i].journal_commit);
		capture_end(&commit->parts[i].capture, true);
	}
}

/* All parts of it; ranges are tidy. Those without anything to commit get no journal_commit. */
static int put_together(struct commit *commit, const struct commit_range *ranges, size_t n)
{
	size_t at = 0, end;
	int r = 0;

	for (size_t i = 0; i < commit->n && r == 0; i++, at = end) {
		end = next_object(ranges, n, at);
		r = claim(&commit->parts[i], ranges + at, end - at);
	}
	at = 0;
	for (size_t i = 0; i < commit->n && r == 0; i++, at = end) {
		struct commit_part *part = &commit->parts[i];

		end = next_object(ranges, n, at);
		if (takes_part(&part->capture, ranges + at, end - at))
			r = journal_commit_begin(part->capture.object->journal, part->capture.pages, &part->journal_commit);
	}
	at = 0;
	for (size_t i = 0; i < commit->n && r == 0; i++, at = end) {
		end = next_object(ranges, n, at);
		if (commit->parts[i].journal_commit)
			r = copy(&commit->parts[i], ranges + at, end - at);
	}
	return r;
}

/* Drops the parts that have nothing to commit; what is left is on its way from here on. */
static void hand_over(struct commit *commit)
{
	size_t kept = 0;

	for (size_t i = 0; i < commit->n; i++) {
		struct commit_part *part = &commit->parts[i];
		struct object *object = part->capture.object;

		if (!part->journal_commit) {
			capture_end(&part->capture, false);
			continue;
		}
		part->cut_bytes = atomic_exchange(&object->cut_bytes, UINT64_MAX);
		atomic_fetch_add(&object->commits, 1);
		object_ref(object);
		commit->journals[kept] = part->journal_commit;
		commit->parts[kept++] = *part;
	}
	commit->n = kept;
	if (kept > 0)
		journal_commit_hand_over(commit->journals, (unsigned)kept, true);
}

static void free_commit(struct commit *commit)
{
	if (!commit)
		return;
	free(commit->journals);
	free(commit->parts);
	free(commit);
}

/* A commit with a part for each object of the ranges. NULL: no memory. */
static struct commit *make_commit(const struct commit_range *ranges, size_t n)
{
	struct commit *commit = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*commit));
	size_t objects = 0;

	if (!commit)
		return NULL;
	commit->event_fd = -1;
	for (size_t i = 0; i < n; i = next_object(ranges, n, i))
		objects++;
	commit->parts = calloc(objects + 1, sizeof(*commit->parts));
	commit->journals = calloc(objects + 1, sizeof(*commit->journals));
	if (!commit->parts || !commit->journals) {
		free_commit(commit);
		return NULL;
	}
	for (size_t i = 0; i < n; i = next_object(ranges, n, i))
		commit->parts[commit->n++].capture.object = ranges[i].object;
	return commit;
}

/* With the size locks held. all: the ranges, and room for one more of each object. */
static int begin_locked(struct commit *commit, struct commit_range *all, size_t n)
{
	int r;

	for (size_t i = 0; i < commit->n; i++)
		n += cut_page(commit->parts[i].capture.object, &all[n]);
	r = put_together(commit, all, tidy(all, n));
	if (r < 0)
		give_up(commit);
	else
		hand_over(commit);
	return r;
}

int commit_begin(struct commit_range *ranges, size_t n, struct commit **ret)
{
	size_t kept = tidy(ranges, n);
	struct commit *commit = make_commit(ranges, kept);
	struct commit_range *all = commit && !fail_now(FAIL_ALLOC) ? calloc(kept + commit->n + 1, sizeof(*all)) : NULL;
	int r;

	if (!all) {
		free_commit(commit);
		return message_set(ENOMEM, "no memory for a commit of %zu ranges", n);
	}
	for (size_t i = 0; i < kept; i++)
		all[i] = ranges[i];
	for (size_t i = 0; i < kept; i = next_object(ranges, kept, i))
		lock_acquire(&ranges[i].object->size_lock);
	r = begin_locked(commit, all, kept);
	for (size_t i = 0; i < kept; i = next_object(ranges, kept, i))
		lock_release(&ranges[i].object->size_lock);
	free(all);
	if (r < 0)
		free_commit(commit);
	else
		*ret = commit;
	return r;
}

/* ---- its end ---- */

int commit_end(struct commit *commit)
{
	int r = commit->n ? journal_commit_wait(commit->journals, (unsigned)commit->n) : 0;

	for (size_t i = 0; i < commit->n; i++) {
		struct commit_part *part = &commit->parts[i];
		struct object *object = part->capture.object;

		if (r < 0)
			note_cut_again(object, part->cut_bytes);
		capture_end(&part->capture, r < 0);
		if (r < 0 && commit->tells)
			atomic_store(&object->write_error, -r);
		atomic_fetch_sub(&object->commits, 1);
		futex_wake_all(&object->commits);
		object_unref(object);
	}
	free_commit(commit);
	return r;
}

bool commit_fills(const struct commit *commit)
{
	for (size_t i = 0; i < commit->n; i++)
		if (journal_wants_checkpoint(commit->parts[i].capture.object->journal))
			return true;
	return false;
}

void commit_wait_all(struct object *object)
{
	uint32_t left;

	ASSERT(lock_is_held(&object->size_lock));
	while ((left = atomic_load(&object->commits)) > 0)
		futex_wait(&object->commits, left, NULL);
}

int commit_complete(struct object *object)
{
	lock_acquire(&object->size_lock);
	commit_wait_all(object);
	lock_release(&object->size_lock);
	return journal_checkpoint(object->journal);
}
