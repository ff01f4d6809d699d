/* SPDX-License-Identifier: MIT */
/*
 * map.c - making, removing and protecting mappings
 *
 * Silent zeros are the enemy: a page of a memfd touched before its range is registered is born there as zeros, for everyone. So
 * a mapping is made inaccessible, registered, and only then opened: another thread may know the address already, and under
 * mlockall the kernel itself touches what it maps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "object/lend.h"
#include "object/writeback.h"
#include "space/edit.h"
#include "sys/huge.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define GUARD_PAGES ((size_t)256) /* what Linux keeps below a stack: stack_guard_gap */

int edit_protect(struct space *space, void *addr, size_t len, int prot)
{
	return fail_now(FAIL_MAP) ? -ENOMEM : pmap_allow(&space->pmap, addr, len, prot);
}

void edit_restore_protection(struct space *space, char *addr, char *end)
{
	for (size_t i = area_set_search(&space->areas, addr); i < space->areas.count && area_addr(space->areas.all[i]) < end; i++) {
		struct area *area = space->areas.all[i];
		char *from = area_addr(area) > addr ? area_addr(area) : addr;
		char *to = area_end(area) < end ? area_end(area) : end;

		(void)pmap_allow(&space->pmap, from, (size_t)(to - from), area->prot);
	}
}

int edit_quiesce(struct space *space, char *addr, char *end)
{
	for (size_t i = area_set_search(&space->areas, addr); i < space->areas.count && area_addr(space->areas.all[i]) < end; i++) {
		struct area *area = space->areas.all[i];
		char *from = area_addr(area) > addr ? area_addr(area) : addr;
		char *to = area_end(area) < end ? area_end(area) : end;
		uint64_t first;
		int r;

		r = area->shared ? 0 : lend_call_in(space->private_pages, from, (size_t)(to - from) >> page_shift, false);
		if (r < 0) {
			edit_restore_protection(space, addr, end);
			return message_set(-r, "children's copies of the pages in %p…%p cannot be made", (void *)from, (void *)to);
		}
		if (!area->view.tracked || !object_was_touched(area->view.object))
			continue;
		r = edit_protect(space, from, (size_t)(to - from), PROT_NONE);
		if (r < 0) {
			edit_restore_protection(space, addr, end);
			return r;
		}
		first = area_page(area, from);
		r = view_harvest(&area->view, first, first + ((uint64_t)(to - from) >> page_shift));
		if (r < 0) {
			edit_restore_protection(space, addr, end);
			return message_set(-r, "the kernel does not tell what was stored to in %p…%p", (void *)from, (void *)to);
		}
	}
	return 0;
}

/* What begins at addr goes, and its guard with it. Where the kernel cannot take it away it stays, and stays known. */
static void drop_guard(struct edit *edit, const char *addr)
{
	struct area_set *set = &edit->space->areas;
	size_t i = area_set_search(set, addr - 1);

	if (i >= set->count || !set->all[i]->guard || area_end(set->all[i]) != addr)
		return;
	if (pmap_unmap(&edit->space->pmap, area_addr(set->all[i]), set->all[i]->view.pages << page_shift) == 0)
		edit_remove(edit, i);
}

void edit_forget(struct edit *edit, char *addr, char *end)
{
	struct space *space = edit->space;
	size_t i;

	if (space_find(space, addr) && area_addr(space_find(space, addr)) == addr)
		drop_guard(edit, addr);
	edit_split(edit, addr);
	edit_split(edit, end);
	i = area_set_search(&space->areas, addr);
	while (i < space->areas.count && area_addr(space->areas.all[i]) < end) {
		struct area *area = space->areas.all[i];

		if (!area->shared)
			private_discard(space->private_pages, area_addr(area), area->view.pages, false);
		edit_remove(edit, i);
	}
}

/* Huge pages cannot be cut. The kernel would refuse as well, but does not say why. */
static int check_cut(struct space *space, const char *at)
{
	struct area *area = space_find(space, at);
	size_t bytes = area && area->huge ? huge_bytes(area->huge) : 1;

	if (((uintptr_t)at & (bytes - 1)) == 0)
		return 0;
	return message_set(EINVAL, "the address %p lies inside of a huge page of %zu bytes", (const void *)at, bytes);
}

static int check_cuts(struct space *space, const char *addr, size_t len)
{
	int r = check_cut(space, addr);

	return r < 0 ? r : check_cut(space, addr + len);
}

/* ---- map ---- */

static struct memory_op map_op(const struct space *space, const struct mapping *m)
{
	bool shared = m->shared && !area_is_readers(&space->pmap, m->shared, m->max_prot);
	int flags = (m->huge  ? (int)m->huge | (m->huge_fd < 0 ? MAP_ANONYMOUS : 0)
		     : shared ? MAP_SHARED | MAP_NORESERVE
			      : MAP_PRIVATE | MAP_NORESERVE) |
		    (m->object || m->huge ? 0 : MAP_ANONYMOUS) | (m->fixed ? MAP_FIXED : 0) |
		    (m->noreplace ? MAP_FIXED_NOREPLACE : 0);
	int fd = m->huge ? m->huge_fd : m->object ? m->object->frames.fd : -1;

	return (struct memory_op){
	    .kind = MEMORY_MAP,
	    .addr = m->addr,
	    .len = m->len,
	    .arg = PROT_NONE,
	    .flags = flags,
	    .fd = fd,
	    .offset = fd >= 0 ? (off_t)(m->first << page_shift) : 0,
	    /* A child gets it from the engine: it must not find pages that nobody fills. */
	    .ours = !m->huge,
	    .nodump = m->nodump,
	};
}

/*
 * Reserves addresses for a mapping that may be anywhere, so that its chunks can be mapped by an entry each: they begin at multiples of their
 * size. NULL: it may not, or there are none.
 */
static char *reserve_aligned(struct space *space, const struct mapping *m)
{
	const size_t chunk = (size_t)CHUNK_PAGES << page_shift;
	struct memory_op op = {
	    .kind = MEMORY_MAP,
	    .len = m->len + chunk,
	    .arg = PROT_NONE,
	    .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	    .fd = -1,
	};
	size_t before, after;
	char *addr;

	if (m->addr || !m->object || !m->shared || m->len < chunk || m->len > SIZE_MAX - chunk || space->pmap.far ||
	    pmap_map(&space->pmap, &op, &addr) < 0)
		return NULL;
	before = ((size_t)(m->first << page_shift) - (uintptr_t)addr) & (chunk - 1);
	after = chunk - before;
	if (before > 0)
		(void)pmap_unmap(&space->pmap, addr, before);
	if (after > 0)
		(void)pmap_unmap(&space->pmap, addr + before + m->len, after);
	return addr + before;
}

int edit_place(struct space *space, const struct mapping *m, char **ret_addr)
{
	struct memory_op op = map_op(space, m);
	char *reserved = reserve_aligned(space, m);
	int r;

	if (reserved) {
		op.addr = reserved;
		op.flags |= MAP_FIXED;
	}
	r = m->object && !m->huge ? frames_check(&m->object->frames) : 0;
	if (r == 0)
		r = fail_now(FAIL_MAP) ? -ENOMEM : pmap_map(&space->pmap, &op, ret_addr);
	if (r < 0 && reserved)
		(void)pmap_unmap(&space->pmap, reserved, m->len);

	if (r == 0 && m->noreplace && *ret_addr != m->addr) {
		(void)pmap_unmap(&space->pmap, *ret_addr, m->len);
		r = -EEXIST;
	}
	return r;
}

int edit_open(struct space *space, const struct mapping *m, char *addr)
{
	int r = fail_now(FAIL_MAP) ? -ENOMEM
		: m->huge          ? 0
			  : pmap_register(&space->pmap, addr, m->len, object_tracks(m->object, m->shared), m->object != NULL);

	if (r == 0 && m->prot != PROT_NONE)
		r = edit_protect(space, addr, m->len, m->prot);
	if (r < 0)
		(void)pmap_unmap(&space->pmap, addr, m->len);
	return r;
}

void edit_fill(struct area *area, const struct mapping *m, struct space *space, char *addr)
{
	area->view.addr = addr;
	area->view.pages = m->len >> page_shift;
	area->view.object = m->object;
	area->view.first = m->first;
	area->view.pmap = &space->pmap;
	area->view.private_pages = m->shared ? NULL : space->private_pages;
	area->view.locked = m->locked;
	area->view.tracked = m->tracked || (m->shared && (m->prot & PROT_WRITE));
	area->view.small = m->small;
	area->view.nosync = m->nosync;
	area->view.denies = m->denies;
	area->view.on_error = m->on_error;
	area->prot = m->prot;
	area->max_prot = m->max_prot;
	area->shared = m->shared;
	area->anonymous = m->anonymous;
	area->noreserve = m->noreserve;
	area->nodump = m->nodump;
	area->inherit = m->inherit;
	area->guard = m->guard;
	area->huge = m->huge;
	area->lock_on_fault = m->lock_on_fault;
	area->advice = m->advice;
	area->once = m->once;
}

int edit_map_again(struct space *space, struct area *const *areas, size_t n)
{
	struct memory_op ops[FAR_OPS] = {{0}};
	size_t opened = 0;
	int r;

	ASSERT(n <= FAR_OPS);
	for (size_t i = 0; i < n; i++) {
		struct mapping m =
		    mapping_like(areas[i], area_addr(areas[i]), areas[i]->view.pages << page_shift, areas[i]->view.first);

		m.fixed = true;
		ops[i] = map_op(space, &m);
	}
	r = fail_now(FAIL_MAP) ? -ENOMEM : pmap_ops(&space->pmap, ops, n);
	for (size_t i = 0; i < n && r == 0; i++) {
		size_t len = areas[i]->view.pages << page_shift;

		r = pmap_register(&space->pmap, area_addr(areas[i]), len, view_asks_to_track(&areas[i]->view),
				  areas[i]->view.object != NULL);
		if (areas[i]->prot != PROT_NONE)
			ops[opened++] = (struct memory_op){
			    .kind = MEMORY_PROTECT, .addr = area_addr(areas[i]), .len = len, .arg = areas[i]->prot, .fd = -1};
	}
	return r == 0 ? pmap_ops(&space->pmap, ops, opened) : r;
}

static int map_locked(struct space *space, const struct mapping *m, char **ret_addr)
{
	struct edit edit;
	struct area *area;
	char *addr = NULL;
	int r = edit_begin(&edit, space, 3);

	if (r < 0)
		return r;
	if (m->fixed)
		r = check_cuts(space, m->addr, m->len);
	if (r == 0 && m->fixed)
		r = edit_quiesce(space, m->addr, m->addr + m->len);
	if (r == 0) {
		r = edit_place(space, m, &addr);
		if (r < 0 && m->fixed)
			edit_restore_protection(space, m->addr, m->addr + m->len);
	}
	if (r < 0)
		goto out;
	if (m->fixed)
		edit_forget(&edit, addr, addr + m->len);
	r = edit_open(space, m, addr);
	if (r < 0)
		goto out;
	area = edit_spare(&edit);
	edit_fill(area, m, space, addr);
	edit_add(&edit, area);
	edit_join(&edit, addr, addr + m->len);
	*ret_addr = addr;
out:
	edit_end(&edit);
	return r;
}

/*
 * A stack, and below it addresses that stay inaccessible, as the gap does that the kernel keeps below one of its own. With a fixed
 * address there is a guard only where nothing is in its place.
 */
static int map_stack_locked(struct space *space, const struct mapping *m, char **ret_addr)
{
	struct mapping stack = *m, guard = {.len = GUARD_PAGES << page_shift, .noreserve = true, .anonymous = true, .guard = true};
	struct edit edit;
	char *placed;
	int r;

	if (m->fixed || m->noreplace) {
		r = map_locked(space, m, ret_addr);
		guard.noreplace = true;
		guard.addr = m->addr - guard.len;
		if (r == 0 && (uintptr_t)m->addr > guard.len)
			(void)map_locked(space, &guard, &placed);
		return r;
	}
	/* One guard for both at first, of which the stack replaces the upper part. */
	guard.addr = (uintptr_t)m->addr > guard.len ? m->addr - guard.len : NULL;
	guard.len += m->len;
	r = edit_begin(&edit, space, 2);
	if (r < 0)
		return r;
	r = map_locked(space, &guard, &placed);
	if (r < 0)
		goto out;
	stack.addr = placed + guard.len - m->len;
	stack.fixed = true;
	r = map_locked(space, &stack, ret_addr);
	if (r < 0 && pmap_unmap(&space->pmap, placed, guard.len) == 0)
		edit_forget(&edit, placed, placed + guard.len);
out:
	edit_end(&edit);
	return r;
}

/* ---- unmap ---- */

static int unmap_locked(struct space *space, char *addr, size_t len)
{
	struct edit edit;
	int r = check_cuts(space, addr, len);

	if (r == 0)
		r = edit_begin(&edit, space, 2);
	if (r < 0)
		return r;
	r = edit_quiesce(space, addr, addr + len);
	if (r == 0) {
		r = fail_now(FAIL_MAP) ? -ENOMEM : pmap_unmap(&space->pmap, addr, len);
		if (r < 0)
			edit_restore_protection(space, addr, addr + len);
		else
			edit_forget(&edit, addr, addr + len);
	}
	edit_end(&edit);
	return r;
}

int space_unmap(struct space *space, char *addr, size_t len)
{
	struct removal removal;
	int r = removal_begin(space, addr, len, &removal);

	if (r < 0)
		return r;
	rwlock_write_acquire(&space->cache->map_lock);
	r = unmap_locked(space, addr, len);
	rwlock_write_release(&space->cache->map_lock);
	removal_end(space, &removal);
	return r;
}

int space_map(struct space *space, const struct mapping *mapping, char **ret_addr)
{
	struct mapping m = *mapping;
	struct removal removal = {0};
	int r = 0;

	if (m.fixed)
		r = removal_begin(space, m.addr, m.len, &removal);
	if (r < 0)
		return r;
	rwlock_write_acquire(&space->cache->map_lock);
	r = space_check_limits(space, m.object, m.locked ? m.len >> page_shift : 0, EAGAIN);
	if (r == 0)
		r = m.stack ? map_stack_locked(space, &m, ret_addr) : map_locked(space, &m, ret_addr);
	rwlock_write_release(&space->cache->map_lock);
	if (m.fixed)
		removal_end(space, &removal);
	return r;
}

/* ---- protect ---- */

/* Area by area, as the kernel goes, so that of two errors it is the same. */
static int may_protect(struct space *space, char *addr, size_t len, int prot)
{
	for (char *at = addr; at < addr + len;) {
		struct area *area = space_find(space, at);

		if (!area || area->guard)
			return space_check_locked(space, at, (size_t)(addr + len - at));
		if (prot & ~area->max_prot)
			return message_set(
			    EACCES, "protection %#x of the mapping at %p is more than its descriptor's open mode allows (%#x)",
			    prot, (void *)area_addr(area), area->max_prot);
		at = area_end(area);
	}
	return 0;
}

int space_protect(struct space *space, char *addr, size_t len, int prot)
{
	struct edit edit;
	int r;

	rwlock_write_acquire(&space->cache->map_lock);
	r = may_protect(space, addr, len, prot);
	if (r == 0)
		r = check_cuts(space, addr, len);
	if (r == 0 && (prot & PROT_WRITE))
		r = edit_undo_collapses(space, addr, len);
	if (r == 0)
		r = edit_begin(&edit, space, 2);
	if (r == 0) {
		r = edit_protect(space, addr, len, prot);
		if (r < 0) {
			edit_restore_protection(space, addr, addr + len);
		} else {
			edit_split(&edit, addr);
			edit_split(&edit, addr + len);
			for (size_t i = area_set_search(&space->areas, addr);
			     i < space->areas.count && area_addr(space->areas.all[i]) < addr + len; i++) {
				space->areas.all[i]->prot = prot;
				space->areas.all[i]->view.tracked |= space->areas.all[i]->shared && (prot & PROT_WRITE);
			}
			edit_join(&edit, addr, addr + len);
		}
		edit_end(&edit);
	}
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

/* ---- remap ---- */

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

struct mapping mapping_like(const struct area *area, char *addr, size_t len, uint64_t first)
{
	return (struct mapping){
	    .addr = addr,
	    .len = len,
	    .prot = area->prot,
	    .max_prot = area->max_prot,
	    .shared = area->shared,
	    .noreserve = area->noreserve,
	    .nodump = area->nodump,
	    .inherit = area->inherit,
	    .small = area->view.small,
	    .nosync = area->view.nosync,
	    .denies = area->view.denies,
	    .on_error = area->view.on_error,
	    .locked = area->view.locked,
	    .lock_on_fault = area->lock_on_fault,
	    .object = area->view.object,
	    .anonymous = area->anonymous,
	    .first = area->view.object ? first : 0,
	    .advice = area->advice,
	    .once = area->once,
	    .tracked = area->view.tracked,
	};
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
		r = map_locked(space, &m, &placed);
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
	/* Room for the areas that map_locked makes, too. */
	int r = edit_begin(&edit, space, 5);

	if (r == 0)
		r = lock_more(space, area, new_len - old_len);
	if (r < 0)
		goto out;
	m.fixed = flags & SPACE_FIXED;
	r = map_locked(space, &m, ret_addr);
	if (r == 0) {
		move_lock(&edit, &m, addr, old_len, false);
		if (!(flags & SPACE_DONTUNMAP) && old_len > 0)
			r = unmap_locked(space, addr, old_len);
		if (r < 0) {
			move_lock(&edit, &m, addr, old_len, true);
			move_lock(&edit, &m, *ret_addr, new_len, false);
			unmap_locked(space, *ret_addr, new_len);
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
	if (flags & SPACE_FIXED && (r = check_cuts(space, new_addr, new_len)) < 0)
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
	r = unmap_locked(space, addr, len);
	rwlock_write_release(&space->cache->map_lock);
	return r;
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
		rwlock_write_acquire(&space->cache->map_lock);
		r = remap_locked(space, addr, old_len, new_len, flags, new_addr, ret_addr, ret_locked);
		rwlock_write_release(&space->cache->map_lock);
	}
	if (r == 0)
		r = cut_tail(space, addr + old_len, tail);
	removal_end(space, &removal);
	removal_end(space, &tail_removal);
	return r;
}
