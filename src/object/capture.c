/* SPDX-License-Identifier: MIT */
/*
 * capture.c - the pages of one object that a commit has
 *
 * Why a store that came before the call is in the commit, and none is in half:
 *
 *   A store to an atomic file is caught, and its page is DIRTY before it goes on. One that is DIRTY is claimed: protected, and WRITING from then on.
 *   One that page-out is just spilling is waited for: then it is in the journal, or DIRTY again. One that an earlier commit has, and
 *   that was not stored to since, is waited for too: who is told that his stores are on storage must not be told before they are.
 *   After the claim the frame is copied; a store beside that is in the copy, or remembered again for the next commit, or both.
 *
 * Who holds pages here waits for other captures only in rising order of the pages, and for no commit that could wait for him: a commit
 * is handed over before anybody waits for it.
 */
#include "object/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/hooks.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* ---- claim ---- */

/* The entry of a chunk, which is the last one or comes after it. NULL: no memory. */
static struct captured *entry_of(struct capture *capture, struct chunk *chunk)
{
	if (capture->count > 0 && capture->all[capture->count - 1].chunk == chunk)
		return &capture->all[capture->count - 1];
	if (capture->count == capture->capacity) {
		size_t capacity = capture->capacity ? 2 * capture->capacity : 8;
		struct captured *all = fail_now(FAIL_ALLOC) ? NULL : realloc(capture->all, capacity * sizeof(struct captured));

		if (!all)
			return NULL;
		capture->all = all;
		capture->capacity = capacity;
	}
	capture->all[capture->count] = (struct captured){.chunk = chunk};
	return &capture->all[capture->count++];
}

/* Claims pages from i on until one is in other hands: it, or the end. */
static unsigned claim_some(struct capture *capture, struct captured *entry, unsigned i, unsigned end)
{
	struct chunk *chunk = entry->chunk;
	struct chunk_set held = {{0}};

	rwlock_read_acquire(&capture->object->cache->map_lock);
	for (; i < end; i++) {
		uint32_t word = page_load(&chunk->page[i]);
		enum claim claim = word & PAGE_WRITING ? CLAIM_BUSY : writeback_hold(capture->object, chunk, i, false);

		if (claim == CLAIM_BUSY)
			break;
		if (claim == CLAIM_HELD) {
			chunk_set_add(&held, i);
			chunk_set_add(&entry->set, i);
			capture->pages++;
		}
	}
	writeback_take(capture->object, chunk, &held);
	rwlock_read_release(&capture->object->cache->map_lock);
	return i;
}

static int claim_chunk(struct capture *capture, struct chunk *chunk, unsigned i, unsigned end)
{
	while (i < end) {
		uint32_t word = page_load(&chunk->page[i]);
		struct captured *entry;

		if (!(word & (PAGE_DIRTY | PAGE_WRITING))) {
			i++;
			continue;
		}
		/* Its own of an earlier range of this capture are behind i, so what is WRITING here is another's. */
		if ((word & PAGE_WRITING) || page_is_busy(word)) {
			page_wait(&chunk->page[i], word);
			continue;
		}
		entry = entry_of(capture, chunk);
		if (!entry)
			return -ENOMEM;
		i = claim_some(capture, entry, i, end);
	}
	return 0;
}

/* size_lock is held, so that one at a time takes marks away. */
static bool has_unsaved(struct object *object, struct chunk *chunk)
{
	if (atomic_load(&chunk->unsaved) > 0)
		return true;
	table_unmark(&object->table, chunk->first);
	if (atomic_load(&chunk->unsaved) == 0)
		return false;
	table_mark(&object->table, chunk->first);
	return true;
}

int capture_claim(struct capture *capture, uint64_t first, uint64_t end)
{
	struct object *object = capture->object;
	int r = 0;

	ASSERT(lock_is_held(&object->size_lock));
	for (struct chunk *chunk = table_next_marked(&object->table, first); r == 0 && chunk && chunk->first < end;
	     chunk = table_next_marked(&object->table, chunk->first + CHUNK_PAGES))
		if (has_unsaved(object, chunk))
			r = claim_chunk(capture, chunk, first > chunk->first ? (unsigned)(first - chunk->first) : 0,
					end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES);
	return r;
}

/* ---- copy ---- */

/* One run of frames, as it is to be in the file: what lies past the end is zeros. */
static int copy_run(struct object *object, uint64_t first, unsigned pages, char *bytes)
{
	uint64_t offset = first << page_shift, size = atomic_load(&object->bytes);
	size_t room = (size_t)pages << page_shift, len = room;
	int r = frames_read(&object->frames, first, pages, bytes);

	/* size_lock is held, and what lies past the end cannot be claimed. */
	ASSERT(offset < size);
	if (size - offset < len)
		len = (size_t)(size - offset);
	if (r == 0)
		r = hooks_out(object, first, bytes, len);
	memset(bytes + len, 0, room - len);
	return r;
}

static int copy_entry(struct object *object, const struct captured *entry, struct journal_commit *commit)
{
	for (unsigned i = chunk_set_next(&entry->set, 0), end; i < CHUNK_PAGES; i = chunk_set_next(&entry->set, end)) {
		unsigned pages;
		char *room;
		int r;

		end = chunk_set_run(&entry->set, i);
		pages = end - i;
		room = journal_commit_room(commit, &pages);
		r = copy_run(object, entry->chunk->first + i, pages, room);
		if (r < 0)
			return r;
		journal_commit_add(commit, entry->chunk->first + i, pages);
		end = i + pages;
	}
	return 0;
}

int capture_copy(const struct capture *capture, struct journal_commit *commit)
{
	int r = 0;

	for (size_t i = 0; i < capture->count && r == 0; i++)
		r = copy_entry(capture->object, &capture->all[i], commit);
	return r;
}

void capture_end(struct capture *capture, bool failed)
{
	for (size_t k = 0; k < capture->count; k++) {
		struct captured *entry = &capture->all[k];

		for (unsigned i = chunk_set_next(&entry->set, 0); i < CHUNK_PAGES; i = chunk_set_next(&entry->set, i + 1))
			writeback_end(entry->chunk, &entry->chunk->page[i], failed);
	}
	free(capture->all);
	*capture = (struct capture){.object = capture->object};
}
