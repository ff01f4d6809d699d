/* SPDX-License-Identifier: MIT */
/*
 * failure.c - what becomes of a fault for which there is no page: the program is told, and has zeros in its place, or SIGBUS
 */
#include <errno.h>

#include "fault/fault.h"
#include "object/fill.h"
#include "sys/page_size.h"

void fault_describe(const struct fault *fault, void *touched, unsigned tries, struct quire_error *ret_error,
		    struct error_callback *ret_callback)
{
	struct area *area;

	*ret_error = (struct quire_error){
	    .error = fault->ret_cause,
	    .during = fault->write ? QUIRE_DURING_STORE : QUIRE_DURING_LOAD,
	    .tries = tries,
	    .addr = touched,
	    .offset = -1,
	    .len = 1,
	};
	*ret_callback = (struct error_callback){0};
	rwlock_read_acquire(&fault->space->cache->map_lock);
	area = space_find(fault->space, fault->addr);
	if (area) {
		*ret_callback = area->view.on_error;
		if (area->view.object)
			ret_error->offset =
			    (off_t)((area->view.first << page_shift) + (uint64_t)((char *)touched - area_addr(area)));
	}
	rwlock_read_release(&fault->space->cache->map_lock);
}

/* Whether a page of the area at addr can be zeros: what is out has been stored to by the program, and would be lost. */
static bool may_fill(const struct area *area, const char *addr)
{
	return area && area->view.on_error.call && area->view.object &&
	       (area->shared || private_is_absent(area->view.private_pages, addr));
}

int fault_fill(struct fault *fault)
{
	struct space *space = fault->space;
	struct filling filling = {.addr = fault->addr, .write = fault->write};
	struct area *area;
	int r = budget_reserve(space->cache, 1);

	if (r < 0)
		return r;
	rwlock_read_acquire(&space->cache->map_lock);
	area = space_find(space, fault->addr);
	r = -EOPNOTSUPP;
	if (may_fill(area, fault->addr)) {
		filling.view = &area->view;
		r = object_fill(&filling);
		if (r == 0)
			pmap_wake(&space->pmap, fault->addr, 1, view_asks_to_track(&area->view));
	}
	rwlock_read_release(&space->cache->map_lock);
	if (!filling.ret_used)
		budget_release(space->cache, 1);
	if (filling.wait)
		page_wait(filling.wait, filling.seen);
	if (r == 0)
		count(&space->cache->counters.filled_pages, 1);
	return r;
}

/*
 * The word that a fault at addr would have to move, so that nothing is mapped there while it is held. NULL: a page past the end, which
 * none comes to as long as the map lock is held. False: the page is there, or in other hands.
 */
static bool find_absent(struct area *area, char *addr, page_word **ret_word, uint32_t *ret_seen, enum page_state *ret_hold)
{
	page_word *word = NULL;

	*ret_hold = PAGE_HELD;

	if (!area->shared) {
		word = private_word(area->view.private_pages, addr, NULL);
		if (!word)
			return false;
		/* Of one that is ABSENT, and has an object behind it, the object's page decides. */
		if (page_state(page_load(word)) == PAGE_ABSENT && area->view.object)
			word = NULL;
	}
	if (!word && area_page(area, addr) < atomic_load(&area->view.object->pages)) {
		word = object_page(area->view.object, area_page(area, addr), NULL);
		if (!word)
			return false;
		*ret_hold = PAGE_BARRED;
	}
	*ret_word = word;
	*ret_seen = word ? page_load(word) : PAGE_ABSENT;
	return page_state(*ret_seen) == PAGE_ABSENT || page_state(*ret_seen) == PAGE_OUT || page_state(*ret_seen) == PAGE_LENT;
}

void fault_refuse(struct space *space, char *addr)
{
	struct area *area;
	page_word *word;
	uint32_t seen;
	enum page_state hold;

	rwlock_read_acquire(&space->cache->map_lock);
	area = space_find(space, addr);
	if (area && find_absent(area, addr, &word, &seen, &hold) && (!word || page_swap(word, &seen, hold))) {
		(void)pmap_refuse(&space->pmap, addr, view_asks_to_track(&area->view));
		if (word)
			page_settle(word, page_state(seen), ~0u, seen & ~PAGE_STATE);
	}
	if (area)
		pmap_wake(&space->pmap, addr, 1, view_asks_to_track(&area->view));
	rwlock_read_release(&space->cache->map_lock);
}
