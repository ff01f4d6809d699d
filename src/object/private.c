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
#include "util/fail.h"

#define SWAP_CLUSTER 8  /* pages read together when one comes back */
#define SPARE_PAGES  16 /* of the buffer for who may not wait for one */

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

int private_create(struct registry *registry, struct cache *cache, struct pmap *pmap, struct slots *slots,
		   struct private_pages **ret)
{
	struct private_pages *pages = calloc(1, sizeof(*pages));
	int r = pages ? 0 : -ENOMEM;

	if (r == 0)
		r = object_create(registry, cache, OBJECT_PRIVATE, NULL, 0, NULL, &pages->object);
	if (r < 0) {
		free(pages);
		return r;
	}
	atomic_fetch_add(&slots->users, 1);
	pages->object->private_pages = pages;
	pages->slots = slots;
	pages->swap = slots->swap;
	pages->pmap = pmap;
	*ret = pages;
	return 0;
}

void private_destroy(struct private_pages *pages)
{
	if (!pages)
		return;
	ASSERT(!pages->lender && !pages->borrowers);
	slots_unuse(pages->slots);
	/* It goes with the object: the policy may be about to look at one of the chunks. */
	object_unuse(pages->object);
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

size_t private_absent(struct private_pages *pages, const char *addr, size_t n)
{
	uint64_t first = (uintptr_t)addr >> page_shift, end = first + n;

	for (struct chunk *chunk = table_next(&pages->object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		     i < CHUNK_PAGES && chunk->first + i < end; i++)
			if (page_state(page_load(&chunk->page[i])) != PAGE_ABSENT)
				return chunk->first + i - first;
	return n;
}

size_t private_own(struct private_pages *pages, const char *addr, size_t n)
{
	uint64_t first = (uintptr_t)addr >> page_shift;
	size_t i;

	for (i = 0; i < n; i++) {
		struct chunk *chunk = table_find(&pages->object->table, first + i);
		uint32_t word = chunk ? page_load(&chunk->page[(first + i) % CHUNK_PAGES]) : PAGE_ABSENT;

		if (page_state(word) != PAGE_RESIDENT || (word & PAGE_LENDS))
			break;
	}
	return i;
}

bool private_is_lent(struct private_pages *pages, const void *addr)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct chunk *chunk = table_find(&pages->object->table, page);

	return chunk && page_state(page_load(&chunk->page[page % CHUNK_PAGES])) == PAGE_LENT;
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
	lock_acquire(&pages->slots->lock);
	extent->number = (uint32_t)(swap_chunk->first >> CHUNK_SHIFT);
	extent->next = pages->slots->free_extents;
	pages->slots->free_extents = extent;
	lock_release(&pages->slots->lock);
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

/* Which extent a chunk is to page out to. */
enum which_extent {
	EXTENT_OWN,  /* the one that it has, if it has one */
	EXTENT_FREE, /* another */
	EXTENT_NEW,  /* one that nobody ever had: nothing stale is in it */
};

/* The chunk of the swap object that a chunk pages out to. NULL: no memory, or swap is exhausted. */
static struct chunk *extent_get(struct private_pages *pages, struct chunk *chunk, enum which_extent which)
{
	struct arena *arena = &pages->object->cache->arena;
	uint32_t number = atomic_load(&chunk->extent);
	struct chunk *swap_chunk;
	struct extent *extent;

	if (number && which == EXTENT_OWN)
		return table_find(&pages->swap->table, (uint64_t)(number - 1) << CHUNK_SHIFT);
	lock_acquire(&pages->slots->lock);
	extent = which == EXTENT_NEW ? NULL : pages->slots->free_extents;
	if (extent) {
		pages->slots->free_extents = extent->next;
		number = extent->number;
		arena_free(arena, extent, sizeof(*extent));
	} else {
		number = pages->slots->next_extent < EXTENTS_MAX ? pages->slots->next_extent++ : UINT32_MAX;
	}
	lock_release(&pages->slots->lock);
	if (number == UINT32_MAX || !object_page(pages->swap, (uint64_t)number << CHUNK_SHIFT, &swap_chunk))
		return NULL;
	atomic_fetch_add(&swap_chunk->extent, EXTENT_OWNED);
	extent_give(pages, chunk, number + 1);
	return swap_chunk;
}

/* The counts beside a chunk of the swap object; NULL: no memory. */
static struct shares *shares_get(struct chunk *swap_chunk)
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

/* One more OUT word refers to a slot to which one does that stays meanwhile. 0; -ENOMEM. */
static int slot_share(struct private_pages *pages, uint64_t slot)
{
	struct chunk *chunk = table_find(&pages->swap->table, slot);
	struct shares *shares = shares_get(chunk);

	if (!shares)
		return -ENOMEM;
	ASSERT(atomic_fetch_add(&shares->more[slot % CHUNK_PAGES], 1) < UINT16_MAX);
	atomic_fetch_add(&chunk->extent, EXTENT_USE);
	return 0;
}

/* One word less refers to a slot. False: it was the last. */
static bool slot_is_left(struct private_pages *pages, struct chunk *chunk, uint64_t slot)
{
	struct shares *shares = atomic_load_explicit(&chunk->shares, memory_order_acquire);
	_Atomic uint16_t *more = shares ? &shares->more[slot % CHUNK_PAGES] : NULL;
	uint16_t n = more ? atomic_load(more) : 0;

	while (n > 0)
		if (atomic_compare_exchange_weak(more, &n, (uint16_t)(n - 1))) {
			extent_leave(pages, chunk, EXTENT_USE);
			return true;
		}
	return false;
}

/* An OUT word refers to the slot no more. If it was the last, its frame is freed, unless it is busy: then it stays, stale, and the policy evicts it. */
static void slot_free(struct private_pages *pages, uint64_t slot)
{
	struct object *swap = pages->swap;
	struct chunk *chunk = table_find(&swap->table, slot);
	page_word *page = &chunk->page[slot % CHUNK_PAGES];
	uint32_t word;

	ASSERT(chunk);
	if (slot_is_left(pages, chunk, slot))
		return;
	word = page_flags(page, PAGE_SLOT | PAGE_STORED, 0) & ~(PAGE_SLOT | PAGE_STORED);
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

/* Moves a held run of private pages out. The words are held and the slots claimed. lends: of some, borrowers have no copy yet. */
static int move_out(struct private_pages *pages, struct chunk *swap_chunk, char *addr, unsigned i, unsigned n, bool lends,
		    struct buffer *buffer)
{
	int (*enter)(struct pmap * pmap, void *addr, const void *source, size_t pages) =
	    lends ? pmap_enter_protected : pmap_enter_private;
	struct object *swap = pages->swap;
	int r;

	/* The stores of other threads wait from here on; the pages can be read all the same. */
	r = pmap_protect(pages->pmap, addr, n, false);
	if (r == 0)
		r = pmap_copy_out(pages->pmap, addr, n, buffer->data);
	if (r == 0)
		r = pmap_remove(pages->pmap, addr, n);
	/* They stay protected: a store finds out that nothing is in its way. */
	if (r < 0)
		return r;
	r = frames_write(swap->frames, swap_chunk->first + i, n, buffer->data);
	if (r < 0) {
		/* No memory for the frames, but there was for the pages a moment ago: they go back where they were. */
		int back = frames_free(swap->frames, swap_chunk->first + i, n);

		/* One by one: a run may span several mappings of the kernel's, over which one call does not reach. */
		for (size_t k = 0; k < n && back == 0; k++)
			back = enter(pages->pmap, addr + (k << page_shift), buffer->data + (k << page_shift), 1);
		/* The memory of another process may be gone meanwhile, and the pages with it. */
		ASSERT(back == 0 || pages->pmap->far);
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

/*
 * Slots for a run of pages of a chunk, claimed; how many. A slot may be taken by a page that has moved away or that others have
 * copies of, or be stale and busy; in an extent that is new none is.
 */
static unsigned find_slots(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned n, struct chunk **ret_swap_chunk)
{
	unsigned claimed = 0;

	for (enum which_extent which = EXTENT_OWN; claimed == 0 && which <= EXTENT_NEW; which++) {
		*ret_swap_chunk = extent_get(pages, chunk, which);
		if (*ret_swap_chunk)
			claimed = claim_slots(*ret_swap_chunk, i, n);
	}
	return claimed;
}

/*
 * The lender's page is held by the caller, and its bytes are in the slot, to which a word of his refers: the borrowers' words refer to
 * it as well from now on. The slot's chunk has its shares.
 */
static void hand_over(struct private_pages *lender, uint64_t page, uint64_t slot)
{
	for (struct private_pages *b = lender->borrowers; b; b = b->next) {
		struct chunk *chunk = table_find(&b->object->table, page);
		page_word *borrowed = chunk ? &chunk->page[page % CHUNK_PAGES] : NULL;
		uint32_t word = borrowed ? page_load(borrowed) : PAGE_ABSENT;

		while (page_state(word) == PAGE_LENT || page_state(word) == PAGE_HELD) {
			if (page_state(word) == PAGE_HELD) {
				/* By one who waits for nothing; what was LENT may be so again. */
				page_wait(borrowed, word);
				word = page_load(borrowed);
				continue;
			}
			ASSERT(slot_share(b, slot) == 0);
			if (page_swap(borrowed, &word, PAGE_OUT | (uint32_t)slot << PAGE_OUT_BIT)) {
				atomic_fetch_add(&b->out, 1);
				break;
			}
			slot_free(b, slot);
		}
	}
}

/*
 * Whether a borrower's word is LENT. No word comes to be so meanwhile: that takes a fork. Waits for those that are HELD, by who waits
 * for nothing; no borrower's word is held by the caller.
 */
static bool is_lent(const struct private_pages *lender, uint64_t page)
{
	for (const struct private_pages *b = lender->borrowers; b; b = b->next) {
		struct chunk *chunk = table_find(&b->object->table, page);
		page_word *borrowed = chunk ? &chunk->page[page % CHUNK_PAGES] : NULL;
		uint32_t word = borrowed ? page_load(borrowed) : PAGE_ABSENT;

		for (; page_state(word) == PAGE_HELD; word = page_load(borrowed))
			page_wait(borrowed, word);
		if (page_state(word) == PAGE_LENT)
			return true;
	}
	return false;
}

/* Moves a run that is HELD by the caller to the swap object. -errno: what could not be is RESIDENT again. */
static int page_out_held(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned n, struct buffer *buffer)
{
	char *addr = (char *)(uintptr_t)((chunk->first + i) << page_shift);
	struct chunk *swap_chunk;
	unsigned claimed = find_slots(pages, chunk, i, n, &swap_chunk);
	bool lends = false;
	int r = claimed ? 0 : -EAGAIN;

	for (unsigned k = 0; k < claimed; k++)
		lends |= page_load(&chunk->page[i + k]) & PAGE_LENDS;
	if (r == 0 && lends && !shares_get(swap_chunk))
		r = -ENOMEM;
	if (r == 0)
		r = move_out(pages, swap_chunk, addr, i, claimed, lends, buffer);
	if (claimed)
		settle_slots(pages, swap_chunk, i, claimed, r == 0);
	for (unsigned k = 0; k < n; k++) {
		bool out = r == 0 && k < claimed;

		if (!out) {
			page_settle(&chunk->page[i + k], PAGE_RESIDENT, 0, 0);
			continue;
		}
		if (page_load(&chunk->page[i + k]) & PAGE_LENDS)
			hand_over(pages, chunk->first + i + k, swap_chunk->first + i + k);
		atomic_fetch_sub(&chunk->resident, 1);
		atomic_fetch_add(&pages->out, 1);
		page_settle(&chunk->page[i + k], PAGE_OUT, ~0u, (uint32_t)(swap_chunk->first + i + k) << PAGE_OUT_BIT);
	}
	if (r == 0)
		count(&pages->object->cache->counters.swap_out_pages, claimed);
	return r < 0 ? r : claimed == n ? 0 : -EAGAIN;
}

/* Pages out one run that begins at i. Map lock held for reading. The page after what was looked at. */
static unsigned page_out_run(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned end, struct buffer *buffer)
{
	unsigned n = 0;

	while (i + n < end && n < buffer->pages && may_leave(pages, chunk, i + n) &&
	       page_take(&chunk->page[i + n], PAGE_RESIDENT, PAGE_HELD))
		n++;
	if (n == 0)
		return i + 1;
	(void)page_out_held(pages, chunk, i, n, buffer);
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
		if (state == PAGE_LENT) {
			if (page_swap(page, &word, PAGE_ABSENT))
				return;
			continue;
		}
		if (state == PAGE_HELD) {
			/* Held under the map lock, as this is: by a thread that waits for nothing. */
			page_wait(page, word);
			continue;
		}
		ASSERT(state == PAGE_RESIDENT || state == PAGE_OUT);
		/* It was called in, or the borrowers have lost it before. */
		ASSERT(state != PAGE_RESIDENT || !(word & PAGE_LENDS) || !is_lent(pages, chunk->first + i));
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
			ASSERT(page_state(old) != PAGE_RESIDENT || !(old & PAGE_LENDS) || !is_lent(pages, page));
			word = object_page(pages->object, target + (page - first), &other);
			ASSERT(word && page_state(page_load(word)) == PAGE_ABSENT);
			/* That it lends is said of the address. */
			atomic_store(word, page_state(old) == PAGE_RESIDENT ? old & ~PAGE_LENDS : old);
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

/* ---- fork ---- */

/* What may be paged out with the map lock held for writing is, through this buffer. */
static int prepare_spare(struct slots *slots)
{
	int r = 0;

	lock_acquire(&slots->spare_lock);
	if (!slots->spare.data) {
		void *data = NULL;

		r = fail_now(FAIL_ALLOC) ? ENOMEM : posix_memalign(&data, page_size(), SPARE_PAGES * page_size());
		slots->spare.data = r == 0 ? data : NULL;
		slots->spare.pages = SPARE_PAGES;
	}
	lock_release(&slots->spare_lock);
	return -r;
}

int private_begin_borrowing(struct private_pages *to, struct private_pages *from)
{
	struct private_pages *lender = from->lender ? from->lender : from;
	int r = prepare_spare(lender->slots);

	ASSERT(rwlock_is_written(&lender->object->cache->map_lock));
	/* As many words refer to one slot at most as there are spaces, and they are counted in 16 bits. */
	if (atomic_load(&lender->slots->users) > UINT16_MAX)
		return -EAGAIN;
	if (r < 0)
		return r;
	to->lender = lender;
	to->next = lender->borrowers;
	lender->borrowers = to;
	return 0;
}

/* One by one where it has to be: a run may span several mappings of the kernel's, over which one call does not reach everywhere. */
static int protect_run(struct pmap *pmap, const struct chunk *chunk, unsigned i, unsigned n, bool protect)
{
	int (*call)(struct pmap * pmap, void *addr, size_t pages, bool shared) = protect ? pmap_protect : pmap_unprotect;
	char *addr = (char *)(uintptr_t)((chunk->first + i) << page_shift);
	int r = call(pmap, addr, n, false);

	if (r < 0 && n > 1) {
		r = 0;
		for (unsigned k = 0; k < n && r == 0; k++)
			r = call(pmap, addr + ((size_t)k << page_shift), 1, false);
	}
	return r;
}

/* Nobody borrows from the lender any more: its pages may be stored to. Only what private words say is lifted. */
static void free_loans(struct private_pages *lender)
{
	for (struct chunk *chunk = table_next(&lender->object->table, 0); chunk;
	     chunk = table_next(&lender->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			unsigned run = i;

			while (run < CHUNK_PAGES && page_state(page_load(&chunk->page[run])) == PAGE_RESIDENT &&
			       (page_load(&chunk->page[run]) & PAGE_LENDS))
				page_flags(&chunk->page[run++], PAGE_LENDS, 0);
			if (run == i)
				continue;
			/* Where it stays protected, a store finds out. */
			(void)protect_run(lender->pmap, chunk, i, run - i, false);
			i = run - 1;
		}
}

void private_end_borrowing(struct private_pages *pages)
{
	struct private_pages *lender = pages->lender;

	ASSERT(rwlock_is_written(&pages->object->cache->map_lock));
	if (!lender)
		return;
	for (struct private_pages **at = &lender->borrowers; *at; at = &(*at)->next)
		if (*at == pages) {
			*at = pages->next;
			break;
		}
	pages->lender = NULL;
	EXPENSIVE(private_borrowed(pages) == 0);
	if (!lender->borrowers)
		free_loans(lender);
}

/* Pages out pages i … to of a chunk that are RESIDENT, and, if only, have that flag. Some words may be in other hands. */
static int force_out(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned to, uint32_t only)
{
	struct slots *slots = pages->slots;
	int result = 0;

	lock_acquire(&slots->spare_lock);
	while (i < to && result == 0) {
		unsigned n = 0;
		uint32_t word;

		while (i + n < to && n < slots->spare.pages) {
			word = page_load(&chunk->page[i + n]);
			if (page_state(word) != PAGE_RESIDENT || (word & only) != only ||
			    (only && !is_lent(pages, chunk->first + i + n)))
				break;
			if (page_swap(&chunk->page[i + n], &word, (word & ~PAGE_STATE) | PAGE_HELD))
				n++;
		}
		if (n > 0)
			result = page_out_held(pages, chunk, i, n, &slots->spare);
		/* A slot in the middle may be taken: what is left of the run gets other slots. */
		if (result == -EAGAIN && page_state(page_load(&chunk->page[i])) == PAGE_OUT)
			result = 0;
		while (n > 0 && page_state(page_load(&chunk->page[i])) == PAGE_OUT) {
			i++;
			n--;
		}
		if (n == 0 && i < to) {
			word = page_load(&chunk->page[i]);
			if (page_state(word) == PAGE_HELD)
				page_wait(&chunk->page[i], word);
			else if (page_state(word) != PAGE_RESIDENT || (word & only) != only ||
				 (only && !is_lent(pages, chunk->first + i)))
				i++;
		}
	}
	lock_release(&slots->spare_lock);
	return result == -EAGAIN ? -ENOMEM : result;
}

/* The chunk of the lender's at each chunk of the range, which may be of a borrower. */
int private_call_in(struct private_pages *pages, char *addr, size_t n, bool borrowed)
{
	struct private_pages *lender = pages->lender && borrowed ? pages->lender : pages;
	uint64_t first = (uintptr_t)addr >> page_shift, end = first + n;
	int r = 0;

	if (!lender->borrowers)
		return 0;
	for (struct chunk *chunk = table_next(&lender->object->table, first); chunk && chunk->first < end && r == 0;
	     chunk = table_next(&lender->object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;

		r = force_out(lender, chunk, from, to, PAGE_LENDS);
	}
	return r;
}

/* The word of one page in the child. */
static int repeat_page(struct private_pages *from, struct private_pages *to, struct chunk *chunk, unsigned i)
{
	page_word *page = &chunk->page[i], *copy;
	uint32_t word = page_load(page);
	int r;

	if (page_state(word) == PAGE_ABSENT)
		return 0;
	copy = object_page(to->object, chunk->first + i, NULL);
	if (!copy)
		return -ENOMEM;
	ASSERT(page_state(page_load(copy)) == PAGE_ABSENT);
	switch (page_state(word)) {
	case PAGE_RESIDENT:
		ASSERT(!from->lender);
		page_flags(page, 0, PAGE_LENDS);
		atomic_store(copy, PAGE_LENT);
		return 0;
	case PAGE_LENT:
		atomic_store(copy, PAGE_LENT);
		return 0;
	default:
		ASSERT(page_state(word) == PAGE_OUT);
		r = slot_share(from, slot_of(word));
		if (r < 0)
			return r;
		atomic_store(copy, word);
		atomic_fetch_add(&to->out, 1);
		return 0;
	}
}

/* Protects the pages from … to of the lender's chunk that lend. In runs: what is not there must not be marked. */
static int protect_loans(struct private_pages *lender, struct chunk *chunk, unsigned from, unsigned to)
{
	int r = 0;

	for (unsigned i = from; i < to && r == 0; i++) {
		unsigned run = i;

		while (run < to && page_state(page_load(&chunk->page[run])) == PAGE_RESIDENT)
			run++;
		if (run > i)
			r = protect_run(lender->pmap, chunk, i, run - i, true);
		i = run;
	}
	return r;
}

int private_fork(struct private_pages *from, struct private_pages *to, char *addr, size_t n)
{
	uint64_t first = (uintptr_t)addr >> page_shift, end = first + n;

	ASSERT(rwlock_is_written(&from->object->cache->map_lock));
	for (struct chunk *chunk = table_next(&from->object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&from->object->table, chunk->first + CHUNK_PAGES)) {
		unsigned i = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned stop = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;
		int r = from->lender ? force_out(from, chunk, i, stop, 0) : 0;

		for (unsigned k = i; k < stop && r == 0; k++)
			r = repeat_page(from, to, chunk, k);
		if (r == 0 && !from->lender)
			r = protect_loans(from, chunk, i, stop);
		if (r < 0)
			return r;
	}
	EXPENSIVE(private_loans_hold(to));
	return 0;
}

static bool is_lent_word(const struct private_pages *lender, uint64_t page)
{
	struct chunk *chunk = table_find(&lender->object->table, page);
	uint32_t word = chunk ? page_load(&chunk->page[page % CHUNK_PAGES]) : PAGE_ABSENT;

	return page_has_frame(word) && (word & PAGE_LENDS);
}

bool private_loans_hold(const struct private_pages *pages)
{
	for (struct chunk *chunk = table_next(&pages->object->table, 0); chunk;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			if (page_state(page_load(&chunk->page[i])) == PAGE_LENT &&
			    (!pages->lender || !is_lent_word(pages->lender, chunk->first + i)))
				return false;
	return true;
}

uint64_t private_borrowed(const struct private_pages *pages)
{
	uint64_t found = 0;

	for (struct chunk *chunk = table_next(&pages->object->table, 0); chunk;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			found += page_state(page_load(&chunk->page[i])) == PAGE_LENT;
	return found;
}

int private_copy_lent(struct private_pages *pages, char *addr, struct buffer *buffer, page_word **ret_wait, uint32_t *ret_seen)
{
	struct private_pages *lender = pages->lender;
	struct chunk *chunk;
	page_word *own = private_word(pages, addr, &chunk), *lent = private_word(lender, addr, NULL);
	uint32_t seen;
	int r;

	*ret_wait = NULL;
	if (!own || !lent)
		return -ENOMEM;
	seen = page_load(lent);
	/* The lender's word is moved on only when ours has been. */
	ASSERT(page_has_frame(seen) || page_state(page_load(own)) != PAGE_LENT);
	if (page_state(seen) != PAGE_RESIDENT || !page_swap(lent, &seen, (seen & ~PAGE_STATE) | PAGE_HELD)) {
		*ret_wait = page_state(seen) == PAGE_HELD ? lent : NULL;
		*ret_seen = seen;
		return -EAGAIN;
	}
	if (!page_take(own, PAGE_LENT, PAGE_HELD)) {
		page_settle(lent, PAGE_RESIDENT, 0, 0);
		return -EAGAIN;
	}
	ASSERT(seen & PAGE_LENDS);
	r = pmap_copy_out(lender->pmap, addr, 1, buffer->data);
	if (r == 0)
		r = pmap_enter_private(pages->pmap, addr, buffer->data, 1);
	if (r == 0)
		count_in(pages, chunk);
	page_settle(own, r == 0 ? PAGE_RESIDENT : PAGE_LENT, PAGE_STAMP, r == 0 ? PAGE_MAPPED : 0);
	page_settle(lent, PAGE_RESIDENT, 0, 0);
	return r;
}

int private_stop_lending(struct private_pages *pages, char *addr, struct buffer *buffer, bool *ret_used)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct chunk *chunk, *swap_chunk;
	page_word *word = private_word(pages, addr, &chunk);
	unsigned i = (unsigned)(page % CHUNK_PAGES);
	bool filled;
	int r;

	*ret_used = false;
	if (!is_lent(pages, page)) {
		page_flags(word, PAGE_LENDS, 0);
		return 0;
	}
	if (!buffer)
		return -EAGAIN;
	if (find_slots(pages, chunk, i, 1, &swap_chunk) == 0)
		return -ENOMEM;
	r = shares_get(swap_chunk) ? pmap_copy_out(pages->pmap, addr, 1, buffer->data) : -ENOMEM;
	if (r == 0)
		r = frames_write(pages->swap->frames, swap_chunk->first + i, 1, buffer->data);
	filled = r == 0;
	settle_slots(pages, swap_chunk, i, 1, filled);
	if (!filled)
		return r;
	*ret_used = true;
	hand_over(pages, page, swap_chunk->first + i);
	/* The reference that was ours. */
	slot_free(pages, swap_chunk->first + i);
	page_flags(word, PAGE_LENDS, 0);
	return 0;
}
