/* SPDX-License-Identifier: MIT */
/*
 * slots.c - places in the swap object
 *
 * Swap is handed out by chunk: a chunk of private pages that pages out first gets an extent of the swap object, 512 pages
 * long, and page i of the chunk goes to page i of the extent. So neighbours in memory are neighbours in swap. An OUT word says
 * where its bytes are all the same, so that it can be moved to another address; an extent is free again when no chunk has it
 * and no word refers to it.
 *
 * A page of an extent to which no OUT word refers is stale: it is freed where that is possible at once, and overwritten by the
 * next page-out otherwise.
 */
#include "object/slots.h"

#include <errno.h>
#include <stdlib.h>

#include "cache/policy.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "util/fail.h"

struct extent {
	struct extent *next;
	uint32_t number;
};

int slots_create(struct object *swap, struct slots **ret)
{
	struct slots *slots = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*slots));

	if (!slots) {
		object_unuse(swap);
		return -ENOMEM;
	}
	slots->swap = swap;
	slots->users = 1;
	*ret = slots;
	return 0;
}

void slots_unuse(struct slots *slots)
{
	if (!slots || atomic_fetch_sub(&slots->users, 1) > 1)
		return;
	object_unuse(slots->swap);
	free(slots->spare.data);
	free(slots);
}

/* ---- extents ---- */

#define EXTENT_OWNED 1u
#define EXTENT_USE   2u
#define EXTENTS_MAX  (1u << (32 - PAGE_OUT_BIT - CHUNK_SHIFT))

/* Nobody has the extent and nothing is in it: it may be handed out again. */
static void extent_free(struct slots *slots, struct chunk *swap_chunk)
{
	struct extent *extent = arena_alloc(&slots->swap->cache->arena, sizeof(*extent));

	/* Without memory for the note, the extent is lost until the engine ends: address space of a sparse file. */
	if (!extent)
		return;
	lock_acquire(&slots->lock);
	extent->number = (uint32_t)(swap_chunk->first >> CHUNK_SHIFT);
	extent->next = slots->free_extents;
	slots->free_extents = extent;
	lock_release(&slots->lock);
}

static void extent_leave(struct slots *slots, struct chunk *swap_chunk, uint32_t part)
{
	if (atomic_fetch_sub(&swap_chunk->extent, part) == part)
		extent_free(slots, swap_chunk);
}

/* Gives a chunk an extent instead of the one it has. Extents are counted from one here; 0: none. */
static void extent_give(struct slots *slots, struct chunk *chunk, uint32_t extent)
{
	uint32_t old = atomic_exchange(&chunk->extent, extent);

	if (old)
		extent_leave(slots, table_find(&slots->swap->table, (uint64_t)(old - 1) << CHUNK_SHIFT), EXTENT_OWNED);
}

/* Which extent a chunk is to page out to. */
enum which_extent {
	EXTENT_OWN,  /* the one that it has, if it has one */
	EXTENT_FREE, /* another */
	EXTENT_NEW,  /* one that nobody ever had: nothing stale is in it */
};

/* The chunk of the swap object that a chunk pages out to. NULL: no memory, or swap is exhausted. */
static struct chunk *extent_get(struct slots *slots, struct chunk *chunk, enum which_extent which)
{
	struct arena *arena = &slots->swap->cache->arena;
	uint32_t number = atomic_load(&chunk->extent);
	struct chunk *swap_chunk;
	struct extent *extent;

	if (number && which == EXTENT_OWN)
		return table_find(&slots->swap->table, (uint64_t)(number - 1) << CHUNK_SHIFT);
	lock_acquire(&slots->lock);
	extent = which == EXTENT_NEW ? NULL : slots->free_extents;
	if (extent) {
		slots->free_extents = extent->next;
		number = extent->number;
		arena_free(arena, extent, sizeof(*extent));
	} else {
		number = slots->next_extent < EXTENTS_MAX ? slots->next_extent++ : UINT32_MAX;
	}
	lock_release(&slots->lock);
	if (number == UINT32_MAX || !object_page(slots->swap, (uint64_t)number << CHUNK_SHIFT, &swap_chunk))
		return NULL;
	atomic_fetch_add(&swap_chunk->extent, EXTENT_OWNED);
	extent_give(slots, chunk, number + 1);
	return swap_chunk;
}

void slots_disown(struct slots *slots, struct chunk *chunk)
{
	if (atomic_load(&chunk->extent))
		extent_give(slots, chunk, 0);
}

/* ---- slots ---- */

uint64_t slot_of(uint32_t out_word)
{
	INVARIANT(page_state(out_word) == PAGE_OUT);
	return out_word >> PAGE_OUT_BIT;
}

struct shares *slots_shares(struct chunk *swap_chunk)
{
	struct arena *arena = &swap_chunk->object->cache->arena;
	struct shares *shares = atomic_load_explicit(&swap_chunk->shares, memory_order_acquire), *made;

	if (shares)
		return shares;
	made = arena_alloc(arena, sizeof(*made));
	if (!made)
		return NULL;
	if (atomic_compare_exchange_strong(&swap_chunk->shares, &shares, made))
		return made;
	arena_free(arena, made, sizeof(*made));
	return shares;
}

int slot_share(struct slots *slots, uint64_t slot)
{
	struct chunk *chunk = table_find(&slots->swap->table, slot);
	struct shares *shares = slots_shares(chunk);

	if (!shares)
		return -ENOMEM;
	ASSERT(atomic_fetch_add(&shares->more[slot % CHUNK_PAGES], 1) < UINT16_MAX);
	atomic_fetch_add(&chunk->extent, EXTENT_USE);
	return 0;
}

/* One word less refers to a slot. False: it was the last. */
static bool slot_is_left(struct slots *slots, struct chunk *chunk, uint64_t slot)
{
	struct shares *shares = atomic_load_explicit(&chunk->shares, memory_order_acquire);
	_Atomic uint16_t *more = shares ? &shares->more[slot % CHUNK_PAGES] : NULL;
	uint16_t n = more ? atomic_load(more) : 0;

	while (n > 0)
		if (atomic_compare_exchange_weak(more, &n, (uint16_t)(n - 1))) {
			extent_leave(slots, chunk, EXTENT_USE);
			return true;
		}
	return false;
}

void slot_free(struct slots *slots, uint64_t slot)
{
	struct object *swap = slots->swap;
	struct chunk *chunk = table_find(&swap->table, slot);
	page_word *page = &chunk->page[slot % CHUNK_PAGES];
	uint32_t word;

	ASSERT(chunk);
	if (slot_is_left(slots, chunk, slot))
		return;
	word = page_flags(page, PAGE_SLOT | PAGE_STORED, 0) & ~(PAGE_SLOT | PAGE_STORED);
	if (page_state(word) == PAGE_RESIDENT && !(word & PAGE_WRITING) &&
	    page_swap(page, &word, (word & ~PAGE_STATE) | PAGE_HELD)) {
		if (frames_free(&swap->frames, slot, 1) == 0) {
			writeback_note_clean(chunk, page);
			atomic_fetch_sub(&chunk->resident, 1);
			page_settle(page, PAGE_ABSENT, ~0u, 0);
			budget_release(swap->cache, 1);
		} else {
			page_settle(page, PAGE_RESIDENT, 0, 0);
		}
	}
	extent_leave(slots, chunk, EXTENT_USE);
}

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

unsigned slots_claim(struct slots *slots, struct chunk *chunk, unsigned i, unsigned n, struct chunk **ret_swap_chunk)
{
	unsigned claimed = 0;

	for (enum which_extent which = EXTENT_OWN; claimed == 0 && which <= EXTENT_NEW; which++) {
		*ret_swap_chunk = extent_get(slots, chunk, which);
		if (*ret_swap_chunk)
			claimed = claim_slots(*ret_swap_chunk, i, n);
	}
	return claimed;
}

void slots_settle(struct slots *slots, struct chunk *swap_chunk, unsigned i, unsigned n, bool filled)
{
	if (filled && atomic_fetch_add(&swap_chunk->resident, n) == 0)
		policy_insert(slots->swap->cache, swap_chunk);
	for (unsigned k = i; k < i + n; k++) {
		if (filled)
			writeback_note_dirty(swap_chunk, &swap_chunk->page[k]);
		page_settle(&swap_chunk->page[k], filled ? PAGE_RESIDENT : PAGE_ABSENT, filled ? 0 : PAGE_SLOT, 0);
	}
	if (filled)
		atomic_fetch_add(&swap_chunk->extent, n * EXTENT_USE);
}
