/* SPDX-License-Identifier: MIT */
/*
 * rollback.c - taking back what is not committed
 *
 * A version of a page that is not committed is in its frame, spilled in the journal, or both. A page is taken back under the map lock,
 * for writing: out of every mapping, so that a store either was made before, or meets a fault and comes after it; then its word is
 * held while frame and spilled version go, so that nobody loads what is about to be forgotten.
 */
#include <errno.h>

#include "journal/journal.h"
#include "object/commit.h"
#include "object/epoch.h"
#include "object/object.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

/* Forgets a page whose word is HELD or BARRED by us. 0 or -errno: its frame stays. */
static int forget_held(struct object *object, struct chunk *chunk, unsigned i)
{
	page_word *page = &chunk->page[i];
	bool has_frame = page_state(page_load(page)) == PAGE_HELD;
	int r = has_frame ? frames_free(&object->frames, chunk->first + i, 1) : 0;

	if (r < 0) {
		page_settle(page, PAGE_RESIDENT, 0, 0);
		return r;
	}
	journal_forget(object->journal, chunk->first + i, chunk->first + i + 1);
	writeback_note_clean(chunk, page);
	page_settle(page, PAGE_ABSENT, PAGE_USE | PAGE_AHEAD | PAGE_MARK | PAGE_ONCE | PAGE_FILLED | PAGE_BEYOND, 0);
	if (has_frame) {
		atomic_fetch_sub(&chunk->resident, 1);
		budget_release(object->cache, 1);
	}
	return 0;
}

/* One page, if nobody else has it. Map lock held for writing. 1: somebody has. */
static int try_page(struct object *object, struct chunk *chunk, unsigned i)
{
	page_word *page = &chunk->page[i];
	uint32_t word;

	if (page_load(page) & PAGE_MAPPED)
		object_unmap(object, chunk, i, i + 1, true);
	word = page_load(page);
	/* The kernel does not unmap it. */
	if (word & PAGE_MAPPED)
		return page_is_busy(word) ? 1 : -EBUSY;
	if (page_is_busy(word) || (word & PAGE_WRITING))
		return 1;
	if (!page_swap(page, &word, (word & ~PAGE_STATE) | (page_has_frame(word) ? PAGE_HELD : PAGE_BARRED)))
		return 1;
	return forget_held(object, chunk, i);
}

static int roll_back_page(struct object *object, struct chunk *chunk, unsigned i)
{
	int r;

	do {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_is_busy(word) || (word & PAGE_WRITING)) {
			page_wait(&chunk->page[i], word);
			r = 1;
			continue;
		}
		rwlock_write_acquire(&object->cache->map_lock);
		r = try_page(object, chunk, i);
		rwlock_write_release(&object->cache->map_lock);
	} while (r > 0);
	return r;
}

/* Pages of a chunk that differ from what is committed, as far as their words tell. */
static int roll_back_dirty(struct object *object, struct chunk *chunk, unsigned i, unsigned end)
{
	int r = 0;

	while (i < end && r == 0) {
		uint32_t word = page_load(&chunk->page[i]);

		/* A write that is under way, or whoever has the page, leaves it dirty, or spilled. */
		if ((word & PAGE_WRITING) || (page_is_busy(word) && (word & PAGE_DIRTY))) {
			page_wait(&chunk->page[i], word);
			continue;
		}
		if (word & PAGE_DIRTY)
			r = roll_back_page(object, chunk, i);
		i++;
	}
	return r;
}

static int roll_back_spilled(struct object *object, uint64_t first, uint64_t end)
{
	uint64_t from, to;
	int r = 0;

	while (r == 0 && first < end && journal_next_spilled(object->journal, first, end, &from, &to)) {
		for (first = from; first < to && r == 0; first++) {
			struct chunk *chunk;

			/* What was spilled had a word. */
			if (object_page(object, first, &chunk))
				r = roll_back_page(object, chunk, (unsigned)(first % CHUNK_PAGES));
			else
				r = -ENOMEM;
		}
	}
	return r;
}

/* size_lock held. */
static int roll_back(struct object *object, uint64_t first, uint64_t end)
{
	int r = 0;

	/* Their pages are committed, or not, when this returns. */
	commit_wait_all(object);
	for (struct chunk *chunk = table_next(&object->table, first); r == 0 && chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;

		/* All at once first, which is cheaper than page by page. */
		if (chunk_dirty(chunk) > 0) {
			rwlock_read_acquire(&object->cache->map_lock);
			object_unmap(object, chunk, from, to, true);
			rwlock_read_release(&object->cache->map_lock);
		}
		r = roll_back_dirty(object, chunk, from, to);
	}
	return r == 0 ? roll_back_spilled(object, first, end) : r;
}

/* Frames of pages that a cut has taken the bytes of, though they are clean. size_lock held. */
static int drop_from(struct object *object, uint64_t first)
{
	int r = 0;

	for (struct chunk *chunk = table_next(&object->table, first); r == 0 && chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = first > chunk->first ? (unsigned)(first - chunk->first) : 0; i < CHUNK_PAGES && r == 0; i++)
			if (page_state(page_load(&chunk->page[i])) != PAGE_ABSENT)
				r = roll_back_page(object, chunk, i);
	return r;
}

/* size_lock held. */
static int roll_back_size(struct object *object)
{
	uint64_t cut = atomic_load(&object->cut_bytes);
	int r = 0;

	journal_forget_size(object->journal);
	if (cut != UINT64_MAX)
		r = drop_from(object, cut >> page_shift);
	return r == 0 ? object_revert_size_locked(object) : r;
}

int object_roll_back(struct object *object, uint64_t first, uint64_t end)
{
	uint64_t cut;
	int r;

	lock_acquire(&object->size_lock);
	r = roll_back(object, first, end);
	cut = atomic_load(&object->cut_bytes);
	/* What a cut has taken comes back with the size: all of it has to be in the range. */
	if (r == 0 && end >= atomic_load(&object->pages) && (cut == UINT64_MAX || first <= cut >> page_shift))
		r = roll_back_size(object);
	lock_release(&object->size_lock);
	epoch_stamp_range(object, first, end);
	return r;
}
