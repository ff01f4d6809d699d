/* SPDX-License-Identifier: MIT */
/*
 * around.c - the pages that are mapped together with one that is touched: read ahead, or there already for another mapping
 */
#include "fault/around.h"

#include "cache/policy.h"
#include "object/private.h"
#include "sys/page_size.h"

#define AROUND_PAGES 128 /* pages read ahead that one fault maps together */
#define ALONG_PAGES  16  /* pages that others have mapped, which one fault maps together */

/* Whether page i, at addr, may be mapped along: read ahead, not touched, in the same view and chunk. Then it is held. */
static bool hold_ahead(struct area *area, struct chunk *chunk, unsigned i, char *addr)
{
	uint32_t word = page_load(&chunk->page[i]);

	if (page_state(word) != PAGE_RESIDENT || !(word & PAGE_AHEAD) || (word & (PAGE_MARK | PAGE_MAPPED | PAGE_DIRTY)))
		return false;
	if (!page_swap(&chunk->page[i], &word, (word & ~PAGE_STATE) | PAGE_HELD))
		return false;
	/* Asked with the object's page held, so that the answer stays true. */
	if (area->shared || private_is_absent(area->view.private_pages, addr))
		return true;
	page_settle(&chunk->page[i], PAGE_RESIDENT, 0, 0);
	return false;
}

static char *held_addr(const struct held *held, unsigned i)
{
	return held->addr + ((ptrdiff_t)i - (ptrdiff_t)held->page) * (ptrdiff_t)page_size();
}

/* What was read ahead adjoins the page above it or, where the reader goes backward, below. */
void around_hold(struct held *held)
{
	const struct view *view = &held->area->view;
	uint64_t before = (uint64_t)(held->addr - view->addr) >> page_shift, after = view->pages - before;

	while (held->end - held->first < AROUND_PAGES && held->end - held->page < after && held->end < CHUNK_PAGES &&
	       hold_ahead(held->area, held->chunk, held->end, held_addr(held, held->end)))
		held->end++;
	while (held->end - held->first < AROUND_PAGES && held->page - held->first < before && held->first > 0 &&
	       hold_ahead(held->area, held->chunk, held->first - 1, held_addr(held, held->first - 1)))
		held->first--;
}

static void release_around(struct held *held)
{
	for (unsigned i = held->first; i < held->end; i++)
		if (i != held->page)
			page_settle(&held->chunk->page[i], PAGE_RESIDENT, PAGE_AHEAD, PAGE_MAPPED);
	held->first = held->page;
	held->end = held->page + 1;
}

int around_enter(struct held *held, bool caught)
{
	struct view *view = &held->area->view;
	bool tracked = view_asks_to_track(view);
	int r = pmap_enter(view->pmap, held_addr(held, held->first), held->end - held->first, tracked);

	/* A run may span what is one area to us and two mappings to the kernel: then the page alone, the others later. */
	if (r < 0 && held->end - held->first > 1) {
		release_around(held);
		r = pmap_enter(view->pmap, held->addr, 1, tracked);
	}
	return r == 0 && caught ? pmap_unprotect(view->pmap, held->addr, 1, tracked) : r;
}

void around_settle(const struct held *held)
{
	const struct area *area = held->area;
	bool tracked = view_asks_to_track(&area->view);

	for (unsigned i = held->first; i < held->end; i++) {
		uint32_t old = page_load(&held->chunk->page[i]);
		bool again = i == held->page && !area->once && !(old & (PAGE_AHEAD | PAGE_MAPPED));
		uint32_t useful = again ? policy_touched(old) : old & PAGE_USE;

		page_settle(&held->chunk->page[i], PAGE_RESIDENT, PAGE_AHEAD | PAGE_MARK | PAGE_USE | (area->once ? 0 : PAGE_ONCE),
			    useful | PAGE_MAPPED);
	}
	/* Only now, since the words tell of it only now; the page of this fault later still, when it has been counted. */
	if (held->end - held->page > 1)
		pmap_wake(area->view.pmap, held_addr(held, held->page + 1), held->end - held->page - 1, tracked);
	if (held->page > held->first)
		pmap_wake(area->view.pmap, held_addr(held, held->first), held->page - held->first, tracked);
}

void around_map_along(struct area *area, struct chunk *chunk, unsigned i, char *addr)
{
	const struct view *view = &area->view;
	uint64_t before = (uint64_t)(addr - view->addr) >> page_shift;
	uint64_t pages = atomic_load(&view->object->pages);
	unsigned first = i + 1, end = first;

	while (end < CHUNK_PAGES && end - i < ALONG_PAGES && before + (end - i) < view->pages && chunk->first + end < pages) {
		uint32_t word = page_load(&chunk->page[end]);

		if (page_state(word) != PAGE_RESIDENT || !(word & PAGE_MAPPED) || (word & (PAGE_FILLED | PAGE_ONCE)) ||
		    !page_swap(&chunk->page[end], &word, (word & ~PAGE_STATE) | PAGE_HELD))
			break;
		end++;
	}
	if (end > first)
		(void)pmap_enter_some(view->pmap, addr + page_size(), end - first, view_asks_to_track(view));
	for (; first < end; first++)
		page_settle(&chunk->page[first], PAGE_RESIDENT, 0, 0);
}
