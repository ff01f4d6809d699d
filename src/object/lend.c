/* SPDX-License-Identifier: MIT */
/*
 * lend.c - private pages that a child of a fork has not touched yet: they are lent to it
 *
 * A page that is RESIDENT in the engine's own process is LENT in the child, and write-protected where it is. A touch by the child copies
 * it; before the lender changes, moves or discards it, or pages it out, a copy in the swap object takes its place for all borrowers.
 * Only the engine's own process lends, since the memory of another may vanish at any time: what a child has is paged out when it forks.
 */
#include "object/lend.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define SPARE_PAGES 16 /* of the buffer for who may not wait for one */

bool lend_is_lent(struct private_pages *pages, const void *addr)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct chunk *chunk = table_find(&pages->object->table, page);

	return chunk && page_state(page_load(&chunk->page[page % CHUNK_PAGES])) == PAGE_LENT;
}

bool lend_is_needed(const struct private_pages *lender, uint64_t page)
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

void lend_hand_over(struct private_pages *lender, uint64_t page, uint64_t slot)
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
			ASSERT(slot_share(b->slots, slot) == 0);
			if (page_swap(borrowed, &word, PAGE_OUT | (uint32_t)slot << PAGE_OUT_BIT)) {
				atomic_fetch_add(&b->out, 1);
				break;
			}
			slot_free(b->slots, slot);
		}
	}
}

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

int lend_begin(struct private_pages *to, struct private_pages *from)
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

void lend_end(struct private_pages *pages)
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
	EXPENSIVE(lend_borrowed(pages) == 0);
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
			    (only && !lend_is_needed(pages, chunk->first + i + n)))
				break;
			if (page_swap(&chunk->page[i + n], &word, (word & ~PAGE_STATE) | PAGE_HELD))
				n++;
		}
		if (n > 0)
			result = private_page_out_held(pages, chunk, i, n, &slots->spare);
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
				 (only && !lend_is_needed(pages, chunk->first + i)))
				i++;
		}
	}
	lock_release(&slots->spare_lock);
	return result == -EAGAIN ? -ENOMEM : result;
}

int lend_call_in(struct private_pages *pages, char *addr, size_t n, bool borrowed)
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
		r = slot_share(from->slots, slot_of(word));
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

int lend_fork(struct private_pages *from, struct private_pages *to, char *addr, size_t n)
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
	EXPENSIVE(lend_holds(to));
	return 0;
}

static bool is_lent_word(const struct private_pages *lender, uint64_t page)
{
	struct chunk *chunk = table_find(&lender->object->table, page);
	uint32_t word = chunk ? page_load(&chunk->page[page % CHUNK_PAGES]) : PAGE_ABSENT;

	return page_has_frame(word) && (word & PAGE_LENDS);
}

bool lend_holds(const struct private_pages *pages)
{
	for (struct chunk *chunk = table_next(&pages->object->table, 0); chunk;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			if (page_state(page_load(&chunk->page[i])) == PAGE_LENT &&
			    (!pages->lender || !is_lent_word(pages->lender, chunk->first + i)))
				return false;
	return true;
}

uint64_t lend_borrowed(const struct private_pages *pages)
{
	uint64_t found = 0;

	for (struct chunk *chunk = table_next(&pages->object->table, 0); chunk;
	     chunk = table_next(&pages->object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			found += page_state(page_load(&chunk->page[i])) == PAGE_LENT;
	return found;
}

int lend_copy(struct private_pages *pages, char *addr, struct buffer *buffer, page_word **ret_wait, uint32_t *ret_seen)
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
		private_count_in(pages, chunk);
	page_settle(own, r == 0 ? PAGE_RESIDENT : PAGE_LENT, PAGE_STAMP, r == 0 ? PAGE_MAPPED : 0);
	page_settle(lent, PAGE_RESIDENT, 0, 0);
	return r;
}

int lend_stop(struct private_pages *pages, char *addr, struct buffer *buffer, bool *ret_used)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct chunk *chunk, *swap_chunk;
	page_word *word = private_word(pages, addr, &chunk);
	unsigned i = (unsigned)(page % CHUNK_PAGES);
	bool filled;
	int r;

	*ret_used = false;
	if (!lend_is_needed(pages, page)) {
		page_flags(word, PAGE_LENDS, 0);
		return 0;
	}
	if (!buffer)
		return -EAGAIN;
	if (slots_claim(pages->slots, chunk, i, 1, &swap_chunk) == 0)
		return -ENOMEM;
	r = slots_shares(swap_chunk) ? pmap_copy_out(pages->pmap, addr, 1, buffer->data) : -ENOMEM;
	if (r == 0)
		r = frames_write(&pages->swap->frames, swap_chunk->first + i, 1, buffer->data);
	filled = r == 0;
	slots_settle(pages->slots, swap_chunk, i, 1, filled);
	if (!filled)
		return r;
	*ret_used = true;
	lend_hand_over(pages, page, swap_chunk->first + i);
	/* The reference that was ours. */
	slot_free(pages->slots, swap_chunk->first + i);
	page_flags(word, PAGE_LENDS, 0);
	return 0;
}
