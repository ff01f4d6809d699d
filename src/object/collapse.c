/* SPDX-License-Identifier: MIT */
/*
 * collapse.c - chunks whose frames are one huge one
 *
 * The processor finds the frame of a page in half the time where one entry maps 2 MiB. The kernel makes one folio of 512 frames
 * (MADV_COLLAPSE), and maps it by one entry where minor faults are not asked for. So for a chunk that is HUGE we do not ask:
 *
 *               every page there and mapped,
 *               at two looks in a row                          anybody takes a page of it out of a mapping
 *      small ───────────────────────────────▶ HUGE ─────────────────────────────────────────────────────────▶ small
 *                                              │ ▲
 *                                              └─┘ the kernel maps it again by itself, unseen
 *
 * What is unseen must not matter. A store would: an entry of 2 MiB cannot be write-protected. So only chunks are collapsed that are shown by
 * shared mappings for reading alone. So would an entry that the words do not know of, when the frame goes: every word of a chunk that becomes
 * HUGE says MAPPED, and who takes one page out of the mappings (object_unmap) has minor faults caught again first, and takes all of them
 * out; HUGE stays as long as an entry may be left. So would a missing page, which would be born as zeros: while nothing is registered all
 * words are HELD, and none goes.
 *
 * Under pressure the policy takes every chunk out of its mappings by turns, and so makes all small: pages prove their worth one by one, and what
 * is hot as a whole is mapped by its faults and collapsed again, which is cheap, since the frames still are one.
 *
 * That they are (LARGE) must not matter either. Where a page of such a frame is given back, or when the kernel sees fit, it cuts the frame, and for
 * that takes all pages of it out of their mappings, without leaving a mark where one was stored to: the store would be forgotten, and lost. So
 * a chunk is dissolved before a mapping of it lets stores through, or is locked: its frames go, all at once, and come back one by one.
 */
#include "object/collapse.h"

#include <errno.h>
#include <stdio.h>

#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define HUGE_BYTES ((uintptr_t)CHUNK_PAGES << page_shift)

#define PAUSE_MS 10000u /* after the kernel had no memory of that size */

/* Chunks between which there are others need two mappings of the kernel each, of which a process has 65530. */
#define HUGE_MOST 16384u

#define SWEEP_CHUNKS 8192 /* looked at in one sweep */

bool collapse_is_possible(void)
{
	unsigned long long bytes = 0;
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");

	if (file && fscanf(file, "%llu", &bytes) != 1)
		bytes = 0;
	if (file)
		fclose(file);
	return bytes == HUGE_BYTES;
}

bool collapse_set_large(struct object *object, struct chunk *chunk)
{
	bool fresh = !(atomic_fetch_or(&chunk->frames, CHUNK_LARGE) & CHUNK_LARGE);

	atomic_fetch_add(&object->large, fresh);
	return fresh;
}

void collapse_clear_large(struct object *object, struct chunk *chunk)
{
	if (atomic_fetch_and(&chunk->frames, (uint8_t)~CHUNK_LARGE) & CHUNK_LARGE)
		atomic_fetch_sub(&object->large, 1);
}

/* Of chunks by their first page: */

static bool shows(const struct view *view, uint64_t first)
{
	return view->first < first + CHUNK_PAGES && first < view->first + view->pages;
}

static char *address(const struct view *view, uint64_t first)
{
	return view->addr + ((first - view->first) << page_shift);
}

/* Whether the view can map it by one entry. */
static bool fits(const struct view *view, uint64_t first)
{
	return !view->private_pages && !view->small && !view->pmap->far && view->first <= first &&
	       first + CHUNK_PAGES <= view->first + view->pages && ((uintptr_t)address(view, first) & (HUGE_BYTES - 1)) == 0;
}

/* Of an object of which they may be at all. An atomic file has dirty pages that nobody may write who wants to dissolve a chunk. */
static bool may_have_large(const struct object *object)
{
	return object->kind == OBJECT_FILE && !object->journal && !atomic_load(&object->hooks);
}

bool collapse_may_be_large(struct object *object, uint64_t first)
{
	bool may = may_have_large(object);

	rwlock_read_acquire(&object->cache->map_lock);
	for (struct view *view = object->views; view && may; view = view->next)
		may = !shows(view, first) || !view_wants_small(view);
	rwlock_read_release(&object->cache->map_lock);
	return may;
}

bool collapse_is_allowed(const struct object *object, uint64_t first)
{
	bool some = false;

	for (struct view *view = object->views; view; view = view->next) {
		if (!shows(view, first))
			continue;
		/* It would lose what only its entries know: stores, and that it is locked. */
		if (view_wants_small(view))
			return false;
		some |= fits(view, first);
	}
	return some && may_have_large(object) && object->cache->collapses;
}

/* Whether every page is there and mapped. */
static bool is_whole(struct chunk *chunk)
{
	if (atomic_load_explicit(&chunk->resident, memory_order_relaxed) < CHUNK_PAGES)
		return false;
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) != PAGE_RESIDENT || !(word & PAGE_MAPPED) || (word & (PAGE_FILLED | PAGE_BEYOND)))
			return false;
	}
	return true;
}

static void release(struct chunk *chunk, unsigned end)
{
	for (unsigned i = 0; i < end; i++)
		page_settle(&chunk->page[i], PAGE_RESIDENT, 0, 0);
}

static bool hold_whole(struct chunk *chunk)
{
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		while (page_state(word) == PAGE_RESIDENT && (word & PAGE_MAPPED) && !(word & (PAGE_FILLED | PAGE_BEYOND)) &&
		       !page_swap(&chunk->page[i], &word, (word & ~PAGE_STATE) | PAGE_HELD))
			;
		if (page_state(word) != PAGE_RESIDENT || !(word & PAGE_MAPPED) || (word & (PAGE_FILLED | PAGE_BEYOND))) {
			release(chunk, i);
			return false;
		}
	}
	return true;
}

/* All words are HELD. Where one view has it, another that fails is served by small entries. */
static int collapse_held(struct object *object, struct chunk *chunk)
{
	int done = -EINVAL;

	for (struct view *view = object->views; view; view = view->next) {
		bool tracks = view_asks_to_track(view);
		int r;

		if (!fits(view, chunk->first))
			continue;
		r = pmap_collapse(view->pmap, address(view, chunk->first), HUGE_BYTES, tracks);
		/* Entries that were there before have lost their protection, with the registration. */
		if (r < 0)
			pmap_must(view->pmap, pmap_remove(view->pmap, address(view, chunk->first), CHUNK_PAGES));
		done = done == 0 ? 0 : r;
	}
	return done;
}

int collapse_chunk(struct object *object, struct chunk *chunk)
{
	struct cache *cache = object->cache;
	int r;

	if (chunk_is_huge(chunk))
		return 0;
	if (!collapse_is_allowed(object, chunk->first))
		return -EINVAL;
	/* The kernel copies the frames into the new one before it frees them. */
	if (atomic_load(&cache->huge_chunks) >= HUGE_MOST || !budget_try(cache, CHUNK_PAGES))
		return -ENOMEM;
	r = hold_whole(chunk) ? 0 : -EAGAIN;
	if (r == 0) {
		/* Before the first entry without a mark, and until the last has gone. */
		(void)collapse_set_large(object, chunk);
		atomic_store(&chunk->frames, CHUNK_HUGE | CHUNK_LARGE);
		r = collapse_held(object, chunk);
		if (r == 0)
			atomic_fetch_add(&cache->huge_chunks, 1);
		else
			atomic_fetch_and(&chunk->frames, (uint8_t)~CHUNK_HUGE);
		release(chunk, CHUNK_PAGES);
	}
	budget_release(cache, CHUNK_PAGES);
	return r;
}

/* A chunk at which a sweep has come. False: there is no memory for more. */
static bool sweep_chunk(struct object *object, struct chunk *chunk)
{
	int r = 0;

	rwlock_read_acquire(&object->cache->map_lock);
	if (!chunk_is_huge(chunk) && collapse_is_allowed(object, chunk->first) && is_whole(chunk)) {
		if (atomic_fetch_or(&chunk->frames, CHUNK_CANDIDATE) & CHUNK_CANDIDATE)
			r = collapse_chunk(object, chunk);
	} else {
		atomic_fetch_and(&chunk->frames, (uint8_t)~CHUNK_CANDIDATE);
	}
	rwlock_read_release(&object->cache->map_lock);
	if (r == -ENOMEM)
		object->cache->collapse_after_ms = cache_clock_ms() + PAUSE_MS;
	else if (r < 0 && r != -EAGAIN)
		object->cache->collapses = false;
	return r == 0 || r == -EAGAIN;
}

/* From page first on, the first page that a mapping shows which could be of huge frames; UINT64_MAX: none. Map lock not held. */
static uint64_t next_shown(struct object *object, uint64_t first)
{
	uint64_t found = UINT64_MAX;

	rwlock_read_acquire(&object->cache->map_lock);
	for (struct view *view = object->views; view; view = view->next) {
		uint64_t from = view->first > first ? view->first : first;

		if (!view->private_pages && !view->tracked && !view->small && !view->pmap->far && view->pages >= CHUNK_PAGES &&
		    from < view->first + view->pages && from < found)
			found = from;
	}
	rwlock_read_release(&object->cache->map_lock);
	return found;
}

void collapse_sweep(struct object *object, uint32_t until_ms)
{
	struct cache *cache = object->cache;
	bool pauses = !cache->collapses || (int32_t)(cache_clock_ms() - cache->collapse_after_ms) < 0;
	uint64_t at = pauses ? UINT64_MAX : next_shown(object, object->sweep_from);
	unsigned looked = 0;

	for (; at != UINT64_MAX && looked < SWEEP_CHUNKS; looked++) {
		struct chunk *chunk = table_next(&object->table, at);

		if (!chunk || !sweep_chunk(object, chunk) || (int32_t)(cache_clock_ms() - until_ms) >= 0)
			break;
		at = next_shown(object, chunk->first + CHUNK_PAGES);
	}
	object->sweep_from = at == UINT64_MAX || looked == 0 ? 0 : at;
}

int collapse_catch(struct view *view, char *addr, unsigned pages)
{
	bool tracks = view_asks_to_track(view);
	int r = fail_now(FAIL_MAP) ? -ENOMEM : pmap_register(view->pmap, addr, (size_t)pages << page_shift, tracks, true);

	if (r < 0 && fail_now(FAIL_MAP))
		return r;
	/* Cutting a mapping of the kernel's takes memory; making all of them alike does not, but for the pieces next to it. */
	return r < 0 ? pmap_register(view->pmap, view->addr, view->pages << page_shift, tracks, true) : 0;
}

/* ---- dissolving ---- */

struct chunk *collapse_find_large(struct object *object, uint64_t first, uint64_t pages)
{
	struct chunk *chunk = atomic_load(&object->large) > 0 ? table_next(&object->table, first) : NULL;

	while (chunk && chunk->first < first + pages && !chunk_is_large(chunk))
		chunk = table_next(&object->table, chunk->first + CHUNK_PAGES);
	return chunk && chunk->first < first + pages ? chunk : NULL;
}

/* Settles what hold_clean has held, of the first n pages. gone: their frames have been given back. */
static void let_go(struct object *object, struct chunk *chunk, unsigned n, bool gone)
{
	unsigned freed = 0;

	for (unsigned i = 0; i < n; i++) {
		bool had = page_state(page_load(&chunk->page[i])) == PAGE_HELD;

		if (had && gone)
			object_settle_evicted(object->cache, &chunk->page[i]);
		else
			page_settle(&chunk->page[i], had ? PAGE_RESIDENT : PAGE_ABSENT, 0, 0);
		freed += had && gone;
	}
	atomic_fetch_sub(&chunk->resident, freed);
	budget_release(object->cache, freed);
}

/*
 * Holds or bars every page of a chunk. Map lock held for writing. False: one is on its way in or out, or is dirty: *ret_page, *ret_word, and none is
 * held.
 */
static bool hold_clean(struct object *object, struct chunk *chunk, page_word **ret_page, uint32_t *ret_word)
{
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		page_word *page = &chunk->page[i];
		uint32_t word = page_load(page);
		bool absent;

		do
			absent = page_state(word) == PAGE_ABSENT;
		while ((absent || (page_state(word) == PAGE_RESIDENT && !(word & (PAGE_DIRTY | PAGE_WRITING)))) &&
		       !page_swap(page, &word, (word & ~PAGE_STATE) | (absent ? PAGE_BARRED : PAGE_HELD)));
		if (!absent && (page_state(word) != PAGE_RESIDENT || (word & (PAGE_DIRTY | PAGE_WRITING)))) {
			let_go(object, chunk, i, false);
			*ret_page = page;
			*ret_word = word;
			return false;
		}
	}
	return true;
}

int collapse_dissolve(struct object *object, struct chunk *chunk)
{
	for (;;) {
		page_word *page = NULL;
		uint32_t word;
		int r = 0;

		rwlock_write_acquire(&object->cache->map_lock);
		object_unmap(object, chunk, 0, CHUNK_PAGES, true);
		/* Nothing is mapped anew while the lock is held for writing. */
		for (unsigned i = 0; i < CHUNK_PAGES && r == 0; i++)
			r = page_load(&chunk->page[i]) & PAGE_MAPPED ? -ENOMEM : 0;
		if (r == 0 && hold_clean(object, chunk, &page, &word)) {
			/* As a whole, which needs no cut. */
			r = frames_free(&object->frames, chunk->first, CHUNK_PAGES);
			if (r == 0)
				collapse_clear_large(object, chunk);
			let_go(object, chunk, CHUNK_PAGES, r == 0);
		}
		rwlock_write_release(&object->cache->map_lock);
		if (r < 0 || !page)
			return r;
		if (page_is_busy(word) || (word & PAGE_WRITING))
			page_wait(page, word);
		else if ((r = object_flush(object, chunk->first, chunk->first + CHUNK_PAGES)) < 0)
			return r;
	}
}
