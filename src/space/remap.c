/* SPDX-License-Identifier: MIT */
/*
 * remap.c - mappings that grow, shrink and move
 */
#include <errno.h>
#include <sys/mman.h>

#include "object/collapse.h"
#include "object/lend.h"
#include "space/edit.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

/* The old range, checked: inside one area. Map lock held. */
static int remap_source(struct space *space, char *addr, size_t len, struct area **ret)
{
	struct area *area = space_find(space, addr);

	if (!area || area->guard)
		return message_set(EFAULT, "nothing is mapped at %p", (void *)addr);
	if (len > (size_t)(area_end(area) - addr))
		return message_set(EFAULT, "the old range %p…%p is not inside one mapping, which ends at %p", (void *)addr,
				   (void *)(addr + len), (void *)area_end(area));
	*ret = area;
	return 0;
}

static int lock_more(struct space *space, const struct area *area, size_t len)
{
	int r = area->view.locked ? space_check_limits(space, NULL, len >> page_shift, EAGAIN) : 0;

	if (r < 0 || !area->view.locked || budget_lock(space->cache, len >> page_shift) == 0)
		return r;
	return message_set(EAGAIN, "the mapping is locked, and %zu bytes more would not fit into the memory budget", len);
}

/*
 * Grows an area at its end, where the addresses behind it are free. -EEXIST: they are not.
 * => Shared memory is continued by a mapping of the pages that follow. Private memory is extended by the kernel, which keeps it
 *    one mapping to the kernel also where its pages have moved before; the registration extends with it.
 */
static int grow_in_place(struct space *space, struct area *area, char *addr, size_t old_len, size_t new_len)
{
	struct mapping m = mapping_like(area, addr + old_len, new_len - old_len, area_page(area, addr + old_len));
	char *placed;
	int r = lock_more(space, area, m.len);

	if (r < 0)
		return r;
	m.noreplace = true;
	if (area->shared) {
		r = space_map_locked(space, &m, &placed);
		/* Also where the end would lie past the last address there is: then it can move. */
		r = r == -ENOMEM ? -EEXIST : r;
	} else if (fail_now(FAIL_MAP)) {
		r = -ENOMEM;
	} else {
		/* The last page alone: what is one area to us may be several mappings to the kernel. */
		r = pmap_move(&space->pmap, addr + old_len - page_size(), page_size(), page_size() + m.len, 0, NULL, &placed);
		r = r == -ENOMEM ? -EEXIST : r;
		if (r == 0) {
			struct edit edit = {.space = space};

			area->view.pages += m.len >> page_shift;
			edit_join(&edit, addr, addr + new_len);
		}
	}
	if (r < 0 && m.locked)
		budget_unlock(space->cache, m.len >> page_shift);
	return r;
}

/*
 * The part of an area that has moved is not locked any more (or is again): what it counts for goes along with its pages. Two
 * spares.
 */
static void move_lock(struct edit *edit, const struct mapping *m, char *addr, size_t len, bool back)
{
	if (!m->locked || len == 0)
		return;
	edit_split(edit, addr);
	edit_split(edit, addr + len);
	space_find(edit->space, addr)->view.locked = back;
}

/*
 * Shared memory: mapped anew at the new place, where its pages are found by minor faults; then the old place goes. No page is
 * copied, and what was stored is harvested with the old mapping.
 */
static int move_shared(struct space *space, struct area *area, char *addr, size_t old_len, size_t new_len, int flags,
		       char *new_addr, char **ret_addr)
{
	struct mapping m = mapping_like(area, new_addr, new_len, area_page(area, addr));
	struct edit edit;
	/* Room for the areas that space_map_locked makes, too. */
	int r = edit_begin(&edit, space, 5);

	if (r == 0)
		r = lock_more(space, area, new_len - old_len);
	if (r < 0)
		goto out;
	m.fixed = flags & SPACE_FIXED;
	r = space_map_locked(space, &m, ret_addr);
	if (r == 0) {
		move_lock(&edit, &m, addr, old_len, false);
		if (!(flags & SPACE_DONTUNMAP) && old_len > 0)
			r = space_unmap_locked(space, addr, old_len);
		if (r < 0) {
			move_lock(&edit, &m, addr, old_len, true);
			move_lock(&edit, &m, *ret_addr, new_len, false);
			space_unmap_locked(space, *ret_addr, new_len);
		}
	}
	if (r < 0 && m.locked)
		budget_unlock(space->cache, (new_len - old_len) >> page_shift);
out:
	edit_end(&edit);
	return r;
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* Moves the kernel's side of private memory. The new place is inaccessible and unregistered when this returns 0. */
static int kernel_move(struct space *space, struct edit *edit, int prot, char *addr, size_t old_len, size_t new_len, int flags,
		       char *new_addr, char **ret_addr)
{
	int kernel_flags =
	    MREMAP_MAYMOVE | (flags & SPACE_FIXED ? MREMAP_FIXED : 0) | (flags & SPACE_DONTUNMAP ? MREMAP_DONTUNMAP : 0);
	int r = 0;

	if (flags & SPACE_FIXED)
		r = edit_quiesce(space, new_addr, new_addr + new_len);
	/* Nobody must touch the pages while their registration is lost on the way. */
	if (r < 0)
		return r;
	r = edit_protect(space, addr, old_len, PROT_NONE);
	if (r == 0)
		r = fail_now(FAIL_MAP) ? -ENOMEM
				       : pmap_move(&space->pmap, addr, old_len, new_len, kernel_flags, new_addr, ret_addr);
	if (r < 0) {
		(void)pmap_allow(&space->pmap, addr, old_len, prot);
		if (flags & SPACE_FIXED)
			edit_restore_protection(space, new_addr, new_addr + new_len);
		return r;
	}
	if (flags & SPACE_FIXED)
		edit_forget(edit, *ret_addr, *ret_addr + new_len);
	return 0;
}

static bool is_closed(const struct area *area)
{
	return !area->shared && area->prot == PROT_NONE && !area->huge;
}

static void reregister(struct space *space, struct area *area)
{
	pmap_must(&space->pmap,
		  pmap_register(&space->pmap, area_addr(area), area->view.pages << page_shift, false, area->view.object != NULL));
}

/*
 * Registers what was moved, inaccessible as it still is. Where the kernel has joined it with inaccessible neighbours, these
 * have lost their registration with it: the kernel joins first and unregisters the whole.
 */
static void register_moved(struct space *space, const struct mapping *m, char *addr, size_t len)
{
	struct area_set *set = &space->areas;
	size_t right = area_set_search(set, addr + len), left = area_set_search(set, addr);
	char *edge;

	pmap_must(&space->pmap, pmap_register(&space->pmap, addr, len, false, m->object != NULL));
	if (m->object)
		pmap_must(&space->pmap, pmap_protect(&space->pmap, addr, len >> page_shift, false));
	for (edge = addr + len; right < set->count && area_addr(set->all[right]) == edge && is_closed(set->all[right]); right++) {
		reregister(space, set->all[right]);
		edge = area_end(set->all[right]);
	}
	for (edge = addr; left > 0 && area_end(set->all[left - 1]) == edge && is_closed(set->all[left - 1]); left--) {
		reregister(space, set->all[left - 1]);
		edge = area_addr(set->all[left - 1]);
	}
}

/* Private memory: the kernel moves the pages; their words, registration and protection follow. */
static int move_private(struct space *space, struct area *area, char *addr, size_t old_len, size_t new_len, int flags,
			char *new_addr, char **ret_addr)
{
	struct private_pages *pages = space->private_pages;
	struct mapping m = mapping_like(area, NULL, new_len, area_page(area, addr));
	struct area *moved_area;
	struct edit edit;
	char *moved = NULL, *place = NULL;
	int r;

	r = edit_begin(&edit, space, 7);
	if (r < 0)
		return r;
	/* Where the kernel will put it is not known yet: ask it for a place, near the hint if there is one, so that the words can be made first. */
	if (!(flags & SPACE_FIXED)) {
		struct memory_op op = {.kind = MEMORY_MAP,
				       .addr = new_addr,
				       .len = new_len,
				       .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				       .fd = -1};

		r = pmap_map(&space->pmap, &op, &place);
		if (r < 0)
			goto out;
		new_addr = place;
		flags |= SPACE_FIXED;
	}
	r = private_prepare(pages, addr, new_addr, old_len >> page_shift);
	if (r == 0 && (r = lend_call_in(pages, addr, old_len >> page_shift, true)) < 0)
		(void)message_set(-r, "copies of the pages at %p, which processes share since a fork, cannot be made",
				  (void *)addr);
	if (r == 0)
		r = lock_more(space, area, new_len - old_len);
	if (r == 0) {
		r = kernel_move(space, &edit, m.prot, addr, old_len, new_len, flags, new_addr, &moved);
		if (r < 0 && m.locked)
			budget_unlock(space->cache, (new_len - old_len) >> page_shift);
	}
	if (r < 0) {
		if (place)
			(void)pmap_unmap(&space->pmap, place, new_len);
		goto out;
	}
	/* From here on there is no way back: the pages are at the new place. */
	private_move(pages, addr, moved, old_len >> page_shift);
	move_lock(&edit, &m, addr, old_len, false);
	if (flags & SPACE_DONTUNMAP) {
		/* It is empty, and has lost its registration too. */
		pmap_must(&space->pmap, pmap_register(&space->pmap, addr, old_len, false, m.object != NULL));
		pmap_must(&space->pmap, pmap_allow(&space->pmap, addr, old_len, m.prot));
	} else {
		edit_forget(&edit, addr, addr + old_len);
	}
	register_moved(space, &m, moved, new_len);
	pmap_must(&space->pmap, pmap_allow(&space->pmap, moved, new_len, m.prot));
	moved_area = edit_spare(&edit);
	edit_fill(moved_area, &m, space, moved);
	edit_add(&edit, moved_area);
	edit_join(&edit, moved, moved + new_len);
	*ret_addr = moved;
out:
	edit_end(&edit);
	return r;
}

static int remap_locked(struct space *space, char *addr, size_t old_len, size_t new_len, int flags, char *new_addr, char **ret_addr,
			bool *ret_locked)
{
	struct area *area;
	struct object *object;
	bool denies;
	int r = remap_source(space, addr, old_len ? old_len : page_size(), &area);

	if (r < 0)
		return r;
	if (area->huge)
		return message_set(EINVAL,
				   "the mapping at %p is of huge pages, which can be cut off at its end, but not grow or move",
				   (void *)addr);
	if (flags & SPACE_FIXED && (r = space_check_cuts(space, new_addr, new_len)) < 0)
		return r;
	if (old_len == 0 && !area->shared)
		return message_set(EINVAL, "old length 0 duplicates shared mappings only, and the one at %p is private",
				   (void *)addr);
	if (old_len == 0 && !(flags & SPACE_MAYMOVE))
		return message_set(ENOMEM, "the mapping at %p cannot be duplicated in its own place, and MREMAP_MAYMOVE is not set",
				   (void *)addr);
	*ret_locked = area->view.locked && !area->lock_on_fault;
	if (new_len > old_len && !(flags & (SPACE_FIXED | SPACE_DONTUNMAP)) && old_len > 0) {
		r = addr + old_len == area_end(area) ? grow_in_place(space, area, addr, old_len, new_len) : -EEXIST;
		*ret_addr = addr;
		if (r != -EEXIST)
			return r;
		if (!(flags & SPACE_MAYMOVE))
			return message_set(ENOMEM, "the addresses behind %p are in use, and MREMAP_MAYMOVE is not set",
					   (void *)(addr + old_len));
	}
	/* The area goes with its last page: the object must outlive the move, and writers stay held off. */
	object = area->view.object;
	denies = area->view.denies;
	if (object)
		object_use(object);
	if (denies)
		object_repeat_denial(object);
	if (area->shared)
		r = move_shared(space, area, addr, old_len, new_len, flags, new_addr, ret_addr);
	else
		r = move_private(space, area, addr, old_len, new_len, flags, new_addr, ret_addr);
	if (denies)
		object_allow_writes(object);
	object_unuse(object);
	return r;
}

/* Takes what is behind the new length away. What had to be written was. */
static int cut_tail(struct space *space, char *addr, size_t len)
{
	int r;

	if (len == 0)
		return 0;
	rwlock_write_acquire(&space->cache->map_lock);
	r = space_unmap_locked(space, addr, len);
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

/* What shows more of an object than before. Map lock held. NULL: nothing is in the way. */
static struct chunk *find_large(struct space *space, char *addr, size_t len)
{
	struct area *area = space_find(space, addr);

	return area && area->view.object && view_wants_small(&area->view)
		   ? collapse_find_large(area->view.object, area_page(area, addr), len >> page_shift)
		   : NULL;
}

static int check_source(struct space *space, char *addr, size_t len)
{
	struct area *area;
	int r;

	rwlock_read_acquire(&space->cache->map_lock);
	r = remap_source(space, addr, len, &area);
	rwlock_read_release(&space->cache->map_lock);
	return r;
}

int space_remap(struct space *space, char *addr, size_t old_len, size_t new_len, int flags, char *new_addr, char **ret_addr,
		bool *ret_locked)
{
	size_t tail = new_len < old_len ? old_len - new_len : 0;
	struct removal removal = {0}, tail_removal = {0};
	bool moves = flags & (SPACE_FIXED | SPACE_DONTUNMAP);
	/* What neither grows nor moves may be several mappings, and have holes. */
	int r = check_source(space, addr, (new_len <= old_len && !moves) || old_len == 0 ? page_size() : old_len - tail);

	*ret_locked = false;
	*ret_addr = addr;
	old_len -= tail;
	if (r == 0 && tail)
		r = removal_begin(space, addr + old_len, tail, &tail_removal);
	if (r == 0 && (flags & SPACE_FIXED)) {
		r = removal_begin(space, new_addr, new_len, &removal);
		if (r < 0 && tail)
			removal_end(space, &tail_removal);
	}
	if (r < 0)
		return r;
	/* The tail goes last, so that a move that fails has changed nothing. */
	if (new_len != old_len || moves) {
		struct chunk *large;

		do {
			rwlock_write_acquire(&space->cache->map_lock);
			large = find_large(space, addr, new_len);
		} while (large && (r = edit_dissolve(space, large)) == 0);
		if (r == 0) {
			r = remap_locked(space, addr, old_len, new_len, flags, new_addr, ret_addr, ret_locked);
			rwlock_write_release(&space->cache->map_lock);
		}
	}
	if (r == 0)
		r = cut_tail(space, addr + old_len, tail);
	removal_end(space, &removal);
	removal_end(space, &tail_removal);
	return r;
}
