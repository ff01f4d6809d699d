/* SPDX-License-Identifier: MIT */
/*
 * map.c - making, removing and protecting mappings
 *
 * Silent zeros are the enemy: a page of a memfd touched before its range is registered is born there as zeros, for everyone. So
 * a mapping is made inaccessible, registered, and only then opened: another thread may know the address already, and under
 * mlockall the kernel itself touches what it maps.
 */
#include <errno.h>
#include <sys/mman.h>

#include "object/collapse.h"
#include "object/lend.h"
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

int space_check_cuts(struct space *space, const char *addr, size_t len)
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

int space_map_locked(struct space *space, const struct mapping *m, char **ret_addr)
{
	struct edit edit;
	struct area *area;
	char *addr = NULL;
	int r = edit_begin(&edit, space, 3);

	if (r < 0)
		return r;
	if (m->fixed)
		r = space_check_cuts(space, m->addr, m->len);
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
		r = space_map_locked(space, m, ret_addr);
		guard.noreplace = true;
		guard.addr = m->addr - guard.len;
		if (r == 0 && (uintptr_t)m->addr > guard.len)
			(void)space_map_locked(space, &guard, &placed);
		return r;
	}
	/* One guard for both at first, of which the stack replaces the upper part. */
	guard.addr = (uintptr_t)m->addr > guard.len ? m->addr - guard.len : NULL;
	guard.len += m->len;
	r = edit_begin(&edit, space, 2);
	if (r < 0)
		return r;
	r = space_map_locked(space, &guard, &placed);
	if (r < 0)
		goto out;
	stack.addr = placed + guard.len - m->len;
	stack.fixed = true;
	r = space_map_locked(space, &stack, ret_addr);
	if (r < 0 && pmap_unmap(&space->pmap, placed, guard.len) == 0)
		edit_forget(&edit, placed, placed + guard.len);
out:
	edit_end(&edit);
	return r;
}

/* ---- unmap ---- */

int space_unmap_locked(struct space *space, char *addr, size_t len)
{
	struct edit edit;
	int r = space_check_cuts(space, addr, len);

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
	r = space_unmap_locked(space, addr, len);
	rwlock_write_release(&space->cache->map_lock);
	removal_end(space, &removal);
	return r;
}

/* As view_wants_small. */
static bool wants_small(const struct mapping *m)
{
	return m->object && (m->locked || (m->shared && (m->tracked || (m->prot & PROT_WRITE))));
}

int space_map(struct space *space, const struct mapping *mapping, char **ret_addr)
{
	struct mapping m = *mapping;
	struct removal removal = {0};
	struct chunk *large;
	int r = 0;

	if (m.fixed)
		r = removal_begin(space, m.addr, m.len, &removal);
	if (r < 0)
		return r;
	do {
		rwlock_write_acquire(&space->cache->map_lock);
		large = wants_small(&m) ? collapse_find_large(m.object, m.first, m.len >> page_shift) : NULL;
	} while (large && (r = edit_dissolve(space, large)) == 0);
	if (r < 0)
		goto out;
	r = space_check_limits(space, m.object, m.locked ? m.len >> page_shift : 0, EAGAIN);
	if (r == 0)
		r = m.stack ? map_stack_locked(space, &m, ret_addr) : space_map_locked(space, &m, ret_addr);
	rwlock_write_release(&space->cache->map_lock);
out:
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
	struct chunk *large;
	struct edit edit;
	int r = 0;

	do {
		rwlock_write_acquire(&space->cache->map_lock);
		large = prot & PROT_WRITE ? edit_find_large(space, addr, len, true) : NULL;
	} while (large && (r = edit_dissolve(space, large)) == 0);
	if (r < 0)
		return r;
	r = may_protect(space, addr, len, prot);
	if (r == 0)
		r = space_check_cuts(space, addr, len);
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
