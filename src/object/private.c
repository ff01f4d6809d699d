/* SPDX-License-Identifier: MIT */
/*
 * private.c - the private pages of a space
 *
 * The swap object is at once the swap cache: paging out moves a page's bytes from the program's mapping into a frame of the
 * swap object (one frame is freed, one is made), where it is idle and dirty like any page of an object. If it is touched soon,
 * no storage was involved; if not, the policy has it written and evicted.
 */
#include "object/private.h"

#include <errno.h>
#include <stdlib.h>

#include "cache/policy.h"
#include "object/lend.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

#define SWAP_CLUSTER 8 /* pages read together when one comes back */

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

/* ---- in ---- */

/* A word has become RESIDENT; tells the policy. */
void private_count_in(struct private_pages *pages, struct chunk *chunk)
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
	private_count_in(pages, chunk);
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
	r = frames_read(&pages->swap->frames, slot, 1, buffer->data);
	if (r == 0)
		r = pmap_enter_private(pages->pmap, addr, buffer->data, 1);
	page_settle(swap_page, PAGE_RESIDENT, 0, 0);
	if (r < 0) {
		page_settle(page, PAGE_OUT, ~0u, out & ~PAGE_STATE);
		return r;
	}
	atomic_fetch_sub(&pages->out, 1);
	count(&pages->object->cache->counters.swap_in_pages, 1);
	private_count_in(pages, chunk);
	slot_free(pages->slots, slot);
	/* It was out and was wanted: it stays for a pass. */
	page_settle(page, PAGE_RESIDENT, PAGE_STAMP, PAGE_MAPPED | PAGE_PASS);
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
	r = frames_write(&swap->frames, swap_chunk->first + i, n, buffer->data);
	if (r < 0) {
		/* No memory for the frames, but there was for the pages a moment ago: they go back where they were. */
		int back = frames_free(&swap->frames, swap_chunk->first + i, n);

		/* One by one: a run may span several mappings of the kernel's, over which one call does not reach. */
		for (size_t k = 0; k < n && back == 0; k++)
			back = enter(pages->pmap, addr + (k << page_shift), buffer->data + (k << page_shift), 1);
		/* The memory of another process may be gone meanwhile, and the pages with it. */
		ASSERT(back == 0 || pages->pmap->far);
		return r;
	}
	return 0;
}

/* Whether the back hand of the policy would let the page go: PASSES is lowered otherwise. */
static bool may_leave(struct private_pages *pages, struct chunk *chunk, unsigned i)
{
	uint32_t word = page_load(&chunk->page[i]);

	if (page_state(word) != PAGE_RESIDENT)
		return false;
	if ((word & PAGE_PASSES) && page_swap(&chunk->page[i], &word, word - PAGE_PASS))
		return false;
	return !pages->is_locked(pages->space, (void *)(uintptr_t)((chunk->first + i) << page_shift));
}

/* Moves a run that is HELD by the caller to the swap object. -errno: what could not be is RESIDENT again. */
int private_page_out_held(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned n, struct buffer *buffer)
{
	char *addr = (char *)(uintptr_t)((chunk->first + i) << page_shift);
	struct chunk *swap_chunk;
	unsigned claimed = slots_claim(pages->slots, chunk, i, n, &swap_chunk);
	bool lends = false;
	int r = claimed ? 0 : -EAGAIN;

	for (unsigned k = 0; k < claimed; k++)
		lends |= page_load(&chunk->page[i + k]) & PAGE_LENDS;
	if (r == 0 && lends && !slots_shares(swap_chunk))
		r = -ENOMEM;
	if (r == 0)
		r = move_out(pages, swap_chunk, addr, i, claimed, lends, buffer);
	if (claimed)
		slots_settle(pages->slots, swap_chunk, i, claimed, r == 0);
	for (unsigned k = 0; k < n; k++) {
		bool out = r == 0 && k < claimed;

		if (!out) {
			page_settle(&chunk->page[i + k], PAGE_RESIDENT, 0, 0);
			continue;
		}
		if (page_load(&chunk->page[i + k]) & PAGE_LENDS)
			lend_hand_over(pages, chunk->first + i + k, swap_chunk->first + i + k);
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
	(void)private_page_out_held(pages, chunk, i, n, buffer);
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
		ASSERT(state != PAGE_RESIDENT || !(word & PAGE_LENDS) || !lend_is_needed(pages, chunk->first + i));
		if (!page_swap(page, &word, PAGE_HELD | (state == PAGE_OUT ? 0 : word & ~PAGE_STATE)))
			continue;
		if (state == PAGE_OUT) {
			atomic_fetch_sub(&pages->out, 1);
			slot_free(pages->slots, slot_of(word));
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
	slots_disown(pages->slots, chunk);
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
			ASSERT(page_state(old) != PAGE_RESIDENT || !(old & PAGE_LENDS) || !lend_is_needed(pages, page));
			word = object_page(pages->object, target + (page - first), &other);
			ASSERT(word && page_state(page_load(word)) == PAGE_ABSENT);
			/* That it lends is said of the address. */
			atomic_store(word, page_state(old) == PAGE_RESIDENT ? old & ~PAGE_LENDS : old);
			atomic_store(&chunk->page[i], PAGE_ABSENT);
			if (page_state(old) == PAGE_RESIDENT) {
				atomic_fetch_sub(&chunk->resident, 1);
				private_count_in(pages, other);
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
