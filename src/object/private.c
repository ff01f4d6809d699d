/* SPDX-License-Identifier: MIT */
/*
 * private.c - the private pages of a space
 *
 * Swap is handed out by chunk: a chunk of private pages that pages out first gets an extent of the swap object, 512 pages
 * long, and page i of the chunk goes to page i of the extent. So neighbours in memory are neighbours in swap. An OUT word says
 * where its bytes are all the same, so that it can be moved to another address; an extent is free again when no chunk has it
 * and no word refers to it.
 *
 * The swap object is at once the swap cache: paging out moves a page's bytes from the program's mapping into a frame of the
 * swap object (one frame is freed, one is made), where it is idle and dirty like any page of an object. If it is touched soon,
 * no storage was involved; if not, the policy has it written and evicted.
 *
 * A page of an extent whose private page is not OUT is stale: it is freed where that is possible at once, and overwritten by the
 * next page-out otherwise.
 */
#include "object/private.h"

#include <errno.h>
#include <stdlib.h>

#include "cache/policy.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

#define SWAP_CLUSTER 8 /* pages read together when one comes back */

struct extent {
	struct extent *next;
	uint32_t number;
};

int private_create(struct registry *registry, struct cache *cache, struct pmap *pmap, struct object *swap,
		   struct private_pages **ret)
{
	struct private_pages *pages = calloc(1, sizeof(*pages));
	int r = pages ? 0 : -ENOMEM;

	if (r == 0)
		r = object_create(registry, cache, OBJECT_PRIVATE, NULL, 0, NULL, &pages->object);
	if (r < 0) {
		object_unuse(swap);
		free(pages);
		return r;
	}
	pages->object->private_pages = pages;
	pages->swap = swap;
	pages->pmap = pmap;
	*ret = pages;
	return 0;
}

void private_destroy(struct private_pages *pages)
{
	if (!pages)
		return;
	object_unuse(pages->object);
	object_unuse(pages->swap);
	free(pages);
}

page_word *private_word(struct private_pages *pages, const void *addr, struct chunk **ret_chunk)
{
	return object_page(pages->object, (uintptr_t)addr >> page_shift, ret_chunk);
}

bool private_is_absent(struct private_pages *pages, const void *addr)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct chunk *chunk = table_find(&pages->object->table, page);

	return !chunk || page_state(page_load(&chunk->page[page % CHUNK_PAGES])) == PAGE_ABSENT;
}

/* ---- swap slots ---- */

#define EXTENT_OWNED 1u
#define EXTENT_USE   2u
#define EXTENTS_MAX  (1u << (32 - PAGE_OUT_BIT - CHUNK_SHIFT))

static uint64_t slot_of(uint32_t out_word)
{
	INVARIANT(page_state(out_word) == PAGE_OUT);
	return out_word >> PAGE_OUT_BIT;
}

/* Nobody has the extent and nothing is in it: it may be handed out again. */
static void extent_free(struct private_pages *pages, struct chunk *swap_chunk)
{
	struct extent *extent = arena_alloc(&pages->object->cache->arena, sizeof(*extent));

	/* Without memory for the note, the extent is lost until the engine ends: address space of a sparse file. */
	if (!extent)
		return;
	lock_acquire(&pages->lock);
	extent->number = (uint32_t)(swap_chunk->first >> CHUNK_SHIFT);
	extent->next = pages->free_extents;
	pages->free_extents = extent;
	lock_release(&pages->lock);
}

static void extent_leave(struct private_pages *pages, struct chunk *swap_chunk, uint32_t part)
{
	if (atomic_fetch_sub(&swap_chunk->extent, part) == part)
		extent_free(pages, swap_chunk);
}

/* Gives a chunk an extent instead of the one it has. Extents are counted from one here; 0: none. */
static void extent_give(struct private_pages *pages, struct chunk *chunk, uint32_t extent)
{
	uint32_t old = atomic_exchange(&chunk->extent, extent);

	if (old)
		extent_leave(pages, table_find(&pages->swap->table, (uint64_t)(old - 1) << CHUNK_SHIFT), EXTENT_OWNED);
}

/* The chunk of the swap object that a chunk pages out to; fresh: not the one it has. NULL: no memory, or swap is exhausted. */
static struct chunk *extent_get(struct private_pages *pages, struct chunk *chunk, bool fresh)
{
	struct arena *arena = &pages->object->cache->arena;
	uint32_t number = atomic_load(&chunk->extent);
	struct chunk *swap_chunk;
	struct extent *extent;

	if (number && !fresh)
		return table_find(&pages->swap->table, (uint64_t)(number - 1) << CHUNK_SHIFT);
	lock_acquire(&pages->lock);
	extent = pages->free_extents;
	if (extent) {
		pages->free_extents = extent->next;
		number = extent->number;
		arena_free(arena, extent, sizeof(*extent));
	} else {
		number = pages->next_extent < EXTENTS_MAX ? pages->next_extent++ : UINT32_MAX;
	}
	lock_release(&pages->lock);
	if (number == UINT32_MAX || !object_page(pages->swap, (uint64_t)number << CHUNK_SHIFT, &swap_chunk))
		return NULL;
	atomic_fetch_add(&swap_chunk->extent, EXTENT_OWNED);
	extent_give(pages, chunk, number + 1);
	return swap_chunk;
}

/* No OUT word refers to the slot any more. Its frame is freed, unless it is busy: then it stays, stale, and the policy evicts it. */
static void slot_free(struct private_pages *pages, uint64_t slot)
{
	struct object *swap = pages->swap;
	struct chunk *chunk = table_find(&swap->table, slot);
	page_word *page = &chunk->page[slot % CHUNK_PAGES];
	uint32_t word = page_flags(page, PAGE_SLOT | PAGE_STORED, 0) & ~(PAGE_SLOT | PAGE_STORED);

	ASSERT(chunk);
	if (page_state(word) == PAGE_RESIDENT && !(word & PAGE_WRITING) &&
	    page_swap(page, &word, (word & ~PAGE_STATE) | PAGE_HELD)) {
		if (frames_free(swap->frames, slot, 1) == 0) {
			writeback_note_clean(chunk, page);
			atomic_fetch_sub(&chunk->resident, 1);
			page_settle(page, PAGE_ABSENT, ~0u, 0);
			budget_release(swap->cache, 1);
		} else {
			page_settle(page, PAGE_RESIDENT, 0, 0);
		}
	}
	extent_leave(pages, chunk, EXTENT_USE);
}

/* ---- in ---- */

/* A word has become RESIDENT; tells the policy. */
static void count_in(struct private_pages *pages, struct chunk *chunk)
{
	if (atomic_fetch_add(&chunk->resident, 1) == 0)
		policy_insert(pages->object->cache, chunk);
}

int private_enter(struct private_pages *pages, char *addr, const void *source)
{
	struct chunk *chunk;
	page_word *page = private_word(pages, addr, &chunk);
	int r;

	if (!page)
		return -ENOMEM;
	if (!page_take(page, PAGE_ABSENT, PAGE_HELD))
		return -EAGAIN;
	r = pmap_enter_private(pages->pmap, addr, source, 1);
	if (r < 0) {
		page_settle(page, PAGE_ABSENT, 0, 0);
		return r;
	}
	count_in(pages, chunk);
	page_settle(page, PAGE_RESIDENT, PAGE_STAMP, PAGE_MAPPED);
	return 0;
}

/*
 * The swap page is resident: moves it into the program's mapping. buffer: of one page. A frame was promised for the copy; the
 * swap page's is given back.
 * => -EAGAIN: something moved meanwhile.
 */
static int move_in(struct private_pages *pages, char *addr, struct chunk *chunk, page_word *page, struct buffer *buffer)
{
	uint32_t out = page_load(page), word;
	struct chunk *swap_chunk;
	page_word *swap_page;
	uint64_t slot;
	int r;

	if (page_state(out) != PAGE_OUT || !page_swap(page, &out, PAGE_HELD))
		return -EAGAIN;
	slot = slot_of(out);
	swap_page = object_page(pages->swap, slot, &swap_chunk);
	word = swap_page ? page_load(swap_page) : 0;
	if (page_state(word) != PAGE_RESIDENT || (word & PAGE_WRITING) ||
	    !page_swap(swap_page, &word, (word & ~PAGE_STATE) | PAGE_HELD)) {
		page_settle(page, PAGE_OUT, ~0u, out & ~PAGE_STATE);
		return -EAGAIN;
	}
	r = frames_read(pages->swap->frames, slot, 1, buffer->data);
	if (r == 0)
		r = pmap_enter_private(pages->pmap, addr, buffer->data, 1);
	page_settle(swap_page, PAGE_RESIDENT, 0, 0);
	if (r < 0) {
		page_settle(page, PAGE_OUT, ~0u, out & ~PAGE_STATE);
		return r;
	}
	atomic_fetch_sub(&pages->out, 1);
	count(&pages->object->cache->counters.swap_in_pages, 1);
	count_in(pages, chunk);
	slot_free(pages, slot);
	/* It was out and was wanted: it stays for a pass. */
	page_settle(page, PAGE_RESIDENT, PAGE_STAMP, PAGE_MAPPED | PAGE_REF_ONE);
	return 0;
}

int private_bring_in(struct private_pages *pages, char *addr, bool *ret_waited)
{
	struct cache *cache = pages->object->cache;
	struct object *swap = pages->swap;
	struct chunk *chunk, *swap_chunk;
	page_word *page, *swap_page;
	struct buffer *buffer;
	uint64_t slot;
	uint32_t word;
	int r;

	rwlock_read_acquire(&cache->map_lock);
	page = private_word(pages, addr, &chunk);
	word = page ? page_load(page) : 0;
	rwlock_read_release(&cache->map_lock);
	if (page_state(word) != PAGE_OUT)
		return page ? 0 : -ENOMEM;
	slot = slot_of(word);
	swap_page = object_page(swap, slot, &swap_chunk);
	if (!swap_page)
		return -ENOMEM;
	word = page_load(swap_page);
	if (page_state(word) == PAGE_ABSENT) {
		*ret_waited = true;
		r = object_load(swap, slot, SWAP_CLUSTER, PAGE_AHEAD, UINT64_MAX, true, NULL);
		if (r < 0 && r != -EAGAIN)
			return r;
		word = page_load(swap_page);
	}
	if (page_is_busy(word) || (word & PAGE_WRITING)) {
		*ret_waited = true;
		page_wait(swap_page, word);
		return 0;
	}
	r = budget_reserve(cache, 1);
	if (r < 0)
		return r;
	buffer = buffer_get(&cache->buffers, 1);
	rwlock_read_acquire(&cache->map_lock);
	r = pages->still_private(pages->space, addr) ? move_in(pages, addr, chunk, page, buffer) : -EAGAIN;
	rwlock_read_release(&cache->map_lock);
	buffer_put(&cache->buffers, buffer);
	if (r < 0)
		budget_release(cache, 1);
	return r == -EAGAIN ? 0 : r;
}

void private_begin_in(struct private_pages *pages, const char *addr)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct chunk *chunk = table_find(&pages->object->table, page);
	uint32_t word = chunk ? page_load(&chunk->page[page % CHUNK_PAGES]) : PAGE_ABSENT;

	if (page_state(word) == PAGE_OUT)
		(void)object_load(pages->swap, slot_of(word), SWAP_CLUSTER, PAGE_AHEAD, UINT64_MAX, false, NULL);
}

/* ---- out ---- */

/* Claims slots for n pages from i on, while they are free. How many. */
static unsigned claim_slots(struct chunk *swap_chunk, unsigned i, unsigned n)
{
	unsigned k;

	for (k = 0; k < n; k++) {
		uint32_t word = page_load(&swap_chunk->page[i + k]);

		if (page_state(word) != PAGE_ABSENT || (word & (PAGE_SLOT | PAGE_WRITING)) ||
		    !page_swap(&swap_chunk->page[i + k], &word, PAGE_LOADING | PAGE_SLOT))
			break;
	}
	return k;
}

/* Moves a held run of private pages out. The words are held and the slots claimed. */
static int move_out(struct private_pages *pages, struct chunk *swap_chunk, char *addr, unsigned i, unsigned n,
		    struct buffer *buffer)
{
	struct object *swap = pages->swap;
	int r;

	/* The stores of other threads wait from here on; the pages can be read all the same. */
	r = pmap_protect(pages->pmap, addr, n, false);
	if (r == 0)
		r = pmap_copy_out(pages->pmap, addr, n, buffer->data);
	if (r == 0)
		r = pmap_remove(pages->pmap, addr, n);
	if (r < 0) {
		pmap_unprotect(pages->pmap, addr, n, false);
		return r;
	}
	r = frames_write(swap->frames, swap_chunk->first + i, n, buffer->data);
	if (r < 0) {
		/* No memory for the frames, but there was for the pages a moment ago: they go back where they were. */
		int back = frames_free(swap->frames, swap_chunk->first + i, n);

		/* One by one: a run may span several mappings of the kernel's, over which one call does not reach. */
		for (size_t k = 0; k < n && back == 0; k++)
			back = pmap_enter_private(pages->pmap, addr + (k << page_shift), buffer->data + (k << page_shift), 1);
		ASSERT(back == 0);
		return r;
	}
	return 0;
}

static void settle_slots(struct private_pages *pages, struct chunk *swap_chunk, unsigned i, unsigned n, bool filled)
{
	if (filled && atomic_fetch_add(&swap_chunk->resident, n) == 0)
		policy_insert(pages->object->cache, swap_chunk);
	for (unsigned k = i; k < i + n; k++) {
		if (filled)
			writeback_note_dirty(swap_chunk, &swap_chunk->page[k]);
		page_settle(&swap_chunk->page[k], filled ? PAGE_RESIDENT : PAGE_ABSENT, filled ? 0 : PAGE_SLOT, 0);
	}
	if (filled)
		atomic_fetch_add(&swap_chunk->extent, n * EXTENT_USE);
}

/* Whether the back hand of the policy would let the page go: REF is lowered otherwise. */
static bool may_leave(struct private_pages *pages, struct chunk *chunk, unsigned i)
{
	uint32_t word = page_load(&chunk->page[i]);

	if (page_state(word) != PAGE_RESIDENT)
		return false;
	if ((word & PAGE_REF) && page_swap(&chunk->page[i], &word, word - PAGE_REF_ONE))
		return false;
	return !pages->is_locked(pages->space, (void *)(uintptr_t)((chunk->first + i) << page_shift));
}

/* Pages out one run that begins at i. Map lock held for reading. The page after what was looked at. */
static unsigned page_out_run(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned end, struct buffer *buffer)
{
	char *addr = (char *)(uintptr_t)((chunk->first + i) << page_shift);
	struct chunk *swap_chunk;
	unsigned n = 0, claimed = 0;
	int r;

	while (i + n < end && n < buffer->pages && may_leave(pages, chunk, i + n) &&
	       page_take(&chunk->page[i + n], PAGE_RESIDENT, PAGE_HELD))
		n++;
	if (n == 0)
		return i + 1;
	swap_chunk = extent_get(pages, chunk, false);
	if (swap_chunk)
		claimed = claim_slots(swap_chunk, i, n);
	/* A slot may be taken by a page that has moved away from here, or be stale and busy. */
	if (claimed == 0 && (swap_chunk = extent_get(pages, chunk, true)) != NULL)
		claimed = claim_slots(swap_chunk, i, n);
	r = claimed ? move_out(pages, swap_chunk, addr, i, claimed, buffer) : -EAGAIN;
	if (claimed)
		settle_slots(pages, swap_chunk, i, claimed, r == 0);
	for (unsigned k = 0; k < n; k++) {
		bool out = r == 0 && k < claimed;

		if (!out) {
			page_settle(&chunk->page[i + k], PAGE_RESIDENT, 0, 0);
			continue;
		}
		atomic_fetch_sub(&chunk->resident, 1);
		atomic_fetch_add(&pages->out, 1);
		page_settle(&chunk->page[i + k], PAGE_OUT, ~0u, (uint32_t)(swap_chunk->first + i + k) << PAGE_OUT_BIT);
	}
	if (r == 0)
		count(&pages->object->cache->counters.swap_out_pages, claimed);
	return i + n;
}

void private_page_out(struct private_pages *pages, struct chunk *chunk, unsigned from, unsigned to)
{
	struct cache *cache = pages->object->cache;
	struct buffer *buffer = buffer_get(&cache->buffers, cache->buffers.run_pages);

	while (from < to) {
		rwlock_read_acquire(&cache->map_lock);
		from = page_out_run(pages, chunk, from, to, buffer);
		rwlock_read_release(&cache->map_lock);
	}
	buffer_put(&cache->buffers, buffer);
}

/* ---- range ---- */

/* One page: frame and swap given back. remove: a page that is held by a page-out for the moment is waited for. */
static void discard_page(struct private_pages *pages, struct chunk *chunk, unsigned i, bool remove)
{
	page_word *page = &chunk->page[i];
	char *addr = (char *)(uintptr_t)((chunk->first + i) << page_shift);

	for (;;) {
		uint32_t word = page_load(page);
		enum page_state state = page_state(word);

		if (state == PAGE_ABSENT)
			return;
		if (state == PAGE_HELD) {
			/* Held under the map lock, as this is: by a thread that waits for nothing. */
			page_wait(page, word);
			continue;
		}
		ASSERT(state == PAGE_RESIDENT || state == PAGE_OUT);
		if (!page_swap(page, &word, PAGE_HELD | (state == PAGE_OUT ? 0 : word & ~PAGE_STATE)))
			continue;
		if (state == PAGE_OUT) {
			atomic_fetch_sub(&pages->out, 1);
			slot_free(pages, slot_of(word));
		} else {
			if (remove && pmap_remove(pages->pmap, addr, 1) < 0) {
				page_settle(page, PAGE_RESIDENT, 0, 0);
				return;
			}
			atomic_fetch_sub(&chunk->resident, 1);
			budget_release(pages->object->cache, 1);
		}
		page_settle(page, PAGE_ABSENT, ~0u, 0);
		return;
	}
}

/* A chunk of which nothing is left gives its extent back. Map lock held for writing, so nobody pages out. */
static void disown_if_empty(struct private_pages *pages, struct chunk *chunk)
{
	if (atomic_load(&chunk->extent) == 0)
		return;
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		if (page_state(page_load(&chunk->page[i])) != PAGE_ABSENT)
			return;
	extent_give(pages, chunk, 0);
}

void private_discard(struct private_pages *pages, char *addr, size_t n, bool remove)
{
	uint64_t first = (uintptr_t)addr >> page_shift, end = first + n;

	for (struct chunk *chunk = table_next(&pages->object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;

		for (unsigned i = from; i < to; i++)
			discard_page(pages, chunk, i, remove);
		if (rwlock_is_written(&pages->object->cache->map_lock))
			disown_if_empty(pages, chunk);
	}
}

int private_prepare(struct private_pages *pages, char *from, char *to, size_t n)
{
	uint64_t first = (uintptr_t)from >> page_shift, end = first + n;
	uint64_t target = (uintptr_t)to >> page_shift;

	for (struct chunk *chunk = table_next(&pages->object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES)) {
		uint64_t begins = first > chunk->first ? first : chunk->first;
		uint64_t ends = end < chunk->first + CHUNK_PAGES ? end : chunk->first + CHUNK_PAGES;

		if (!object_page(pages->object, target + (begins - first), NULL) ||
		    !object_page(pages->object, target + (ends - 1 - first), NULL))
			return -ENOMEM;
	}
	return 0;
}

void private_move(struct private_pages *pages, char *from, char *to, size_t n)
{
	uint64_t first = (uintptr_t)from >> page_shift, end = first + n;
	uint64_t target = (uintptr_t)to >> page_shift;

	ASSERT(rwlock_is_written(&pages->object->cache->map_lock));
	for (struct chunk *chunk = table_next(&pages->object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			uint64_t page = chunk->first + i;
			uint32_t old = page_load(&chunk->page[i]);
			struct chunk *other;
			page_word *word;

			if (page < first || page >= end || page_state(old) == PAGE_ABSENT)
				continue;
			ASSERT(page_state(old) == PAGE_RESIDENT || page_state(old) == PAGE_OUT);
			word = object_page(pages->object, target + (page - first), &other);
			ASSERT(word && page_state(page_load(word)) == PAGE_ABSENT);
			atomic_store(word, old);
			atomic_store(&chunk->page[i], PAGE_ABSENT);
			if (page_state(old) == PAGE_RESIDENT) {
				atomic_fetch_sub(&chunk->resident, 1);
				count_in(pages, other);
			}
		}
}

uint64_t private_resident(struct private_pages *pages, const char *addr, size_t n)
{
	uint64_t first = (uintptr_t)addr >> page_shift, end = first + n, found = 0;

	for (struct chunk *chunk = table_next(&pages->object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			found += chunk->first + i >= first && chunk->first + i < end && page_has_frame(page_load(&chunk->page[i]));
	return found;
}
