/* SPDX-License-Identifier: MIT */
/*
 * discard.c - a hole in an object: pages are forgotten, frames and storage
 */
#include <errno.h>

#include "object/epoch.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

/* Gives a frame up, if the word still is what was seen. Map lock held for writing. 0; 1: it is not; -errno: the frame stays. */
static int give_up(struct object *object, struct chunk *chunk, unsigned i, uint32_t word)
{
	page_word *page = &chunk->page[i];
	int r;

	if (!page_swap(page, &word, (word & ~PAGE_STATE) | PAGE_HELD))
		return 1;
	r = frames_free(&object->frames, chunk->first + i, 1);
	if (r < 0) {
		page_settle(page, PAGE_RESIDENT, 0, 0);
		return r;
	}
	writeback_note_clean(chunk, page);
	atomic_fetch_sub(&chunk->resident, 1);
	page_settle(page, PAGE_ABSENT, ~0u, 0);
	budget_release(object->cache, 1);
	return 0;
}

/* One page: waits until it is nobody's, and gives its frame up. Map lock not held. 0; -errno: it stays as it is. */
static int discard_page(struct object *object, struct chunk *chunk, unsigned i)
{
	page_word *page = &chunk->page[i];
	int r;

	for (;;) {
		uint32_t word = page_load(page);

		if (page_is_busy(word) || (word & PAGE_WRITING)) {
			page_wait(page, word);
			continue;
		}
		if (page_state(word) == PAGE_ABSENT) {
			if (page_swap(page, &word, word & PAGE_SLOT))
				return 0;
			continue;
		}
		/* Touched again at once: for writing, so that no fault can map it between the two steps. */
		rwlock_write_acquire(&object->cache->map_lock);
		if (word & PAGE_MAPPED)
			object_unmap(object, chunk, i, i + 1, true);
		word = page_load(page);
		/* One that the kernel does not unmap stays as it is. */
		r = 1;
		if (word & PAGE_MAPPED)
			r = -EBUSY;
		else if (page_state(word) == PAGE_RESIDENT && !(word & PAGE_WRITING))
			r = give_up(object, chunk, i, word);
		rwlock_write_release(&object->cache->map_lock);
		if (r <= 0)
			return r;
	}
}

/* All that go; 0, or the -errno of the first that does not. */
static int discard_frames(struct object *object, uint64_t first, uint64_t end)
{
	int result = 0;

	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;

		/* All at once first, which is cheaper than page by page. */
		rwlock_read_acquire(&object->cache->map_lock);
		object_unmap(object, chunk, from, to, true);
		rwlock_read_release(&object->cache->map_lock);
		for (unsigned i = from; i < to; i++) {
			int r = discard_page(object, chunk, i);

			result = result == 0 ? r : result;
		}
	}
	return result;
}

int object_discard(struct object *object, uint64_t first, uint64_t end)
{
	int r, kept;

	uint64_t offset = first << page_shift, len = (end - first) << page_shift;

	/* First the storage, which may refuse: then nothing was lost. */
	r = object->pager->ops->discard(object->pager, offset, len);
	if (r < 0)
		return r;
	/* Then the frames; and once more both, for writes that were under way and pages that were loaded before the hole was there. */
	(void)discard_frames(object, first, end);
	r = object->pager->ops->discard(object->pager, offset, len);
	kept = discard_frames(object, first, end);
	epoch_stamp_range(object, first, end);
	/* What stays has its bytes, which are written to the file again. */
	return r < 0 ? r : kept;
}
