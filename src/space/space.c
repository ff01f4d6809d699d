/* SPDX-License-Identifier: MIT */
/*
 * space.c - an address space: making, splitting and joining areas
 *
 * Areas change only with the map lock held for writing. Every operation has the same order: check; allocate all that could be
 * needed; ask the kernel; change the areas, which cannot fail.
 */
#include "space/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "object/collapse.h"
#include "object/lend.h"
#include "space/edit.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static bool still_private(void *arg, const void *addr)
{
	struct area *area = space_find(arg, addr);

	return area && !area->shared;
}

static bool is_locked(void *arg, const void *addr)
{
	struct area *area = space_find(arg, addr);

	return !area || area->view.locked;
}

int space_init(struct space *space, struct registry *registry, struct cache *cache, struct slots *slots)
{
	int r = private_create(registry, cache, &space->pmap, slots, &space->private_pages);

	if (r < 0)
		return r;
	space->private_pages->is_locked = is_locked;
	space->private_pages->still_private = still_private;
	space->private_pages->space = space;
	space->cache = cache;
	space->registry = registry;
	space->uses = 1;
	return 0;
}

int space_create(struct registry *registry, struct cache *cache, enum uffd_source source, bool sigbus, bool allow_tracking,
		 struct object *swap, struct space **ret)
{
	struct slots *slots = NULL;
	struct space *space = NULL;
	int r = slots_create(swap, &slots);

	if (r == 0)
		space = calloc(1, sizeof(*space));
	if (r == 0)
		r = space ? pmap_create(source, sigbus, allow_tracking, &space->pmap) : -ENOMEM;
	if (r == 0) {
		r = space_init(space, registry, cache, slots);
		if (r < 0)
			pmap_destroy(&space->pmap);
	}
	slots_unuse(slots);
	if (r < 0)
		free(space);
	else
		*ret = space;
	return r;
}

void space_destroy(struct space *space)
{
	if (!space)
		return;
	while (space->areas.count > 0) {
		struct area *area = space->areas.all[space->areas.count - 1];

		if (space_unmap(space, area_addr(area), area->view.pages << page_shift) < 0)
			break;
	}
	space_release(space);
}

void space_use(struct space *space)
{
	atomic_fetch_add(&space->uses, 1);
}

void space_release(struct space *space)
{
	if (atomic_fetch_sub(&space->uses, 1) > 1)
		return;
	private_destroy(space->private_pages);
	pmap_destroy(&space->pmap);
	free(space->areas.all);
	free(space);
}

bool space_touches(struct space *space, const char *addr, size_t len)
{
	size_t i;
	bool found;

	rwlock_read_acquire(&space->cache->map_lock);
	i = area_set_search(&space->areas, addr);
	found = i < space->areas.count && area_addr(space->areas.all[i]) < addr + len;
	rwlock_read_release(&space->cache->map_lock);
	return found;
}

size_t space_extent(struct space *space, const char *addr, size_t len, bool *ret_managed)
{
	const char *at = addr, *end = addr + len;
	size_t i;

	rwlock_read_acquire(&space->cache->map_lock);
	i = area_set_search(&space->areas, addr);
	*ret_managed = i < space->areas.count && area_addr(space->areas.all[i]) <= addr;
	if (!*ret_managed)
		at = i < space->areas.count ? area_addr(space->areas.all[i]) : end;
	else
		for (; i < space->areas.count && area_addr(space->areas.all[i]) <= at && at < end; i++)
			at = area_end(space->areas.all[i]);
	rwlock_read_release(&space->cache->map_lock);
	return at < end ? (size_t)(at - addr) : len;
}

int space_check_locked(struct space *space, const char *addr, size_t len)
{
	const char *end = addr + len;

	while (addr < end) {
		struct area *area = space_find(space, addr);

		if (!area || area->guard)
			return message_set(ENOMEM, "nothing is mapped at %p, in the range %p…%p", (const void *)addr,
					   (const void *)(end - len), (const void *)end);
		addr = area_end(area);
	}
	return 0;
}

int space_check(struct space *space, const char *addr, size_t len)
{
	int r;

	rwlock_read_acquire(&space->cache->map_lock);
	r = space_check_locked(space, addr, len);
	rwlock_read_release(&space->cache->map_lock);
	return r;
}

/* ---- what a stranger may have ---- */

static uint64_t count_locked(const struct space *space)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < space->areas.count; i++)
		pages += space->areas.all[i]->view.locked ? space->areas.all[i]->view.pages : 0;
	return pages;
}

int space_check_limits(const struct space *space, const struct object *object, uint64_t locked_pages, int error)
{
	const struct far *far = space->pmap.far;

	if (!pmap_is_strange(&space->pmap))
		return 0;
	if (locked_pages > 0) {
		uint64_t pages = count_locked(space) + locked_pages;

		if (far->limits->locked_pages && pages > far->limits->locked_pages)
			return message_set(error,
					   "%llu bytes would be locked for this process, and the server allows %llu: quire serve "
					   "--client-locked raises it",
					   (unsigned long long)(pages << page_shift),
					   (unsigned long long)(far->limits->locked_pages << page_shift));
	}
	if (object && far->limits->objects && far->objects >= far->limits->objects && !object_is_seen(object, &space->pmap))
		return message_set(
		    EMFILE,
		    "this process has %u files and pieces of shared memory mapped, and the server serves no more: quire "
		    "serve --client-files raises it",
		    far->objects);
	return 0;
}

/* ---- editing the set of areas ---- */

int edit_begin(struct edit *edit, struct space *space, unsigned areas)
{
	edit->space = space;
	edit->spares = NULL;
	if (pmap_is_strange(&space->pmap) && space->pmap.far->limits->areas &&
	    space->areas.count + areas > space->pmap.far->limits->areas)
		return message_set(
		    ENOMEM,
		    "this process has %zu mappings, and the server serves %zu at most: quire serve --client-areas raises it",
		    space->areas.count, space->pmap.far->limits->areas);
	if (area_set_prepare(&space->areas, areas) < 0)
		return message_set(ENOMEM, "no memory for the list of areas");
	for (unsigned i = 0; i < areas; i++) {
		struct area *spare = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*spare));

		if (!spare) {
			edit_end(edit);
			return message_set(ENOMEM, "no memory for an area");
		}
		spare->view.next = (struct view *)edit->spares;
		edit->spares = spare;
	}
	return 0;
}

struct area *edit_spare(struct edit *edit)
{
	struct area *area = edit->spares;

	ASSERT(area);
	edit->spares = (struct area *)area->view.next;
	area->view.next = NULL;
	return area;
}

void edit_end(struct edit *edit)
{
	edit->space->edits++;
	while (edit->spares)
		free(edit_spare(edit));
}

void edit_add(struct edit *edit, struct area *area)
{
	struct space *space = edit->space;

	area_set_insert(&space->areas, area);
	if (area->view.object) {
		object_use(area->view.object);
		object_add_view(area->view.object, &area->view);
	}
}

void edit_remove(struct edit *edit, size_t index)
{
	struct space *space = edit->space;
	struct area *area = space->areas.all[index];
	struct object *object = area->view.object;

	area_set_remove(&space->areas, index);
	if (object) {
		object_remove_view(object, &area->view);
		object_unuse(object);
	}
	if (area->view.locked)
		budget_unlock(space->cache, area->view.pages);
	if (area->huge)
		budget_release(space->cache, area->view.pages);
	arena_free(&space->cache->arena, atomic_load(&area->recent), sizeof(struct once));
	free(area);
}

/* Copies what all parts of an area have in common. */
static void copy_properties(struct area *to, const struct area *from)
{
	to->view = from->view;
	to->view.next = NULL;
	to->prot = from->prot;
	to->max_prot = from->max_prot;
	to->shared = from->shared;
	to->anonymous = from->anonymous;
	to->lock_on_fault = from->lock_on_fault;
	to->noreserve = from->noreserve;
	to->nodump = from->nodump;
	to->inherit = from->inherit;
	to->guard = from->guard;
	to->huge = from->huge;
	to->advice = from->advice;
	to->once = from->once;
}

void edit_split(struct edit *edit, char *addr)
{
	struct area *area = space_find(edit->space, addr), *right;
	uint64_t left_pages;

	if (!area || area_addr(area) == addr)
		return;
	right = edit_spare(edit);
	left_pages = (uint64_t)(addr - area_addr(area)) >> page_shift;
	copy_properties(right, area);
	right->view.addr = addr;
	right->view.first = area->view.first + left_pages;
	right->view.pages = area->view.pages - left_pages;
	readahead_split(&area->readahead, &right->readahead, right->view.first);
	/* The view first: at no instant is a page in none, and its stores unknown to who comes after this process. */
	if (right->view.object) {
		object_use(right->view.object);
		object_add_view(right->view.object, &right->view);
	}
	area->view.pages = left_pages;
	area_set_insert(&edit->space->areas, right);
}

/* Joins the area at index with the one before it, where they can be one. */
static bool join_before(struct edit *edit, size_t index)
{
	struct area_set *set = &edit->space->areas;
	struct area *left, *right;

	if (index == 0 || index >= set->count)
		return false;
	left = set->all[index - 1];
	right = set->all[index];
	if (!area_joins(left, right))
		return false;
	left->view.pages += right->view.pages;
	readahead_join(&left->readahead, &right->readahead);
	atomic_fetch_add(&left->major_faults, atomic_load(&right->major_faults));
	atomic_fetch_add(&left->minor_faults, atomic_load(&right->minor_faults));
	/* The pages are the left area's now, and stay locked, and promised, if they were. */
	right->view.locked = false;
	right->huge = 0;
	edit_remove(edit, index);
	return true;
}

void edit_join(struct edit *edit, const char *addr, const char *end)
{
	size_t i = area_set_search(&edit->space->areas, addr);

	while (i < edit->space->areas.count && area_addr(edit->space->areas.all[i]) <= end)
		if (!join_before(edit, i))
			i++;
	EXPENSIVE(area_set_check(&edit->space->areas));
}

/* ---- what is asked of parts of a range ---- */

/* The part of the range at or after *addr, its object referenced; moves *addr behind it. False: no more. */
static bool next_part(struct space *space, char **addr, char *end, struct part *ret)
{
	struct area *area;
	size_t i;

	if (*addr >= end)
		return false;
	rwlock_read_acquire(&space->cache->map_lock);
	i = area_set_search(&space->areas, *addr);
	area = i < space->areas.count ? space->areas.all[i] : NULL;
	if (!area || area_addr(area) >= end) {
		rwlock_read_release(&space->cache->map_lock);
		return false;
	}
	ret->addr = area_addr(area) > *addr ? area_addr(area) : *addr;
	*addr = area_end(area) < end ? area_end(area) : end;
	ret->pages = (size_t)(*addr - ret->addr) >> page_shift;
	ret->object = area->view.object;
	ret->first = area->view.object ? area_page(area, ret->addr) : 0;
	ret->shared = area->shared;
	ret->locked = area->view.locked;
	ret->anonymous = area->anonymous;
	ret->huge = area->huge;
	ret->prot = area->prot;
	ret->max_prot = area->max_prot;
	if (ret->object)
		object_ref(ret->object);
	rwlock_read_release(&space->cache->map_lock);
	return true;
}

int space_visit(struct space *space, char *addr, size_t len, int (*visit)(void *arg, const struct part *part), void *arg)
{
	char *end = addr + len;
	struct part part;
	int r = 0;

	while (r == 0 && next_part(space, &addr, end, &part)) {
		r = visit(arg, &part);
		object_unref(part.object);
	}
	return r;
}

struct chunk *edit_find_large(struct space *space, const char *addr, size_t len, bool shared)
{
	struct chunk *chunk = NULL;

	for (size_t i = area_set_search(&space->areas, addr);
	     !chunk && i < space->areas.count && area_addr(space->areas.all[i]) < addr + len; i++) {
		struct area *area = space->areas.all[i];
		const char *from = area_addr(area) > addr ? area_addr(area) : addr;
		const char *to = area_end(area) < addr + len ? area_end(area) : addr + len;

		if (area->view.object && (area->shared || !shared))
			chunk = collapse_find_large(area->view.object, area_page(area, from), (uint64_t)(to - from) >> page_shift);
	}
	return chunk;
}

int edit_dissolve(struct space *space, struct chunk *chunk)
{
	struct object *object = chunk->object;
	int r;

	object_ref(object);
	rwlock_write_release(&space->cache->map_lock);
	r = collapse_dissolve(object, chunk);
	object_unref(object);
	return r == 0 ? 0 : message_set(-r, "a file's pages cannot be taken out of frames of 2 MiB: %s", strerrordesc_np(-r));
}

/*
 * Splits at both ends of a range that is covered, calls change for each area in it, and joins what can be joined. small: the frames of the range
 * are of a page each then. may, which may be NULL, is asked before that, when nothing else can fail any more.
 */
static int change_areas(struct space *space, char *addr, size_t len, bool small,
			int (*may)(struct space *space, char *addr, size_t len, const void *arg),
			void (*change)(struct area *area, const void *arg), const void *arg)
{
	struct chunk *large;
	struct edit edit;
	int r = 0;

	do {
		rwlock_write_acquire(&space->cache->map_lock);
		large = small ? edit_find_large(space, addr, len, false) : NULL;
	} while (large && (r = edit_dissolve(space, large)) == 0);
	if (r < 0)
		return r;
	r = space_check_locked(space, addr, len);
	if (r == 0)
		r = edit_begin(&edit, space, 2);
	if (r == 0) {
		r = may ? may(space, addr, len, arg) : 0;
		if (r == 0) {
			edit_split(&edit, addr);
			edit_split(&edit, addr + len);
			for (size_t i = area_set_search(&space->areas, addr);
			     i < space->areas.count && area_addr(space->areas.all[i]) < addr + len; i++)
				change(space->areas.all[i], arg);
			edit_join(&edit, addr, addr + len);
		}
		edit_end(&edit);
	}
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

static void change_advice(struct area *area, const void *arg)
{
	area->advice = *(const enum readahead_advice *)arg;
}

int space_set_advice(struct space *space, char *addr, size_t len, enum readahead_advice advice)
{
	return change_areas(space, addr, len, false, NULL, change_advice, &advice);
}

static void change_once(struct area *area, const void *arg)
{
	area->once = *(const bool *)arg;
}

int space_set_once(struct space *space, char *addr, size_t len, bool once)
{
	return change_areas(space, addr, len, false, NULL, change_once, &once);
}

static void change_on_error(struct area *area, const void *arg)
{
	area->view.on_error = *(const struct error_callback *)arg;
}

int space_set_on_error(struct space *space, char *addr, size_t len, struct error_callback callback)
{
	return change_areas(space, addr, len, false, NULL, change_on_error, &callback);
}

static int ask_nodump(struct space *space, char *addr, size_t len, const void *arg)
{
	int r =
	    fail_now(FAIL_MAP) ? -ENOMEM : pmap_advise(&space->pmap, addr, len, *(const bool *)arg ? MADV_DONTDUMP : MADV_DODUMP);

	if (r == 0)
		return 0;
	/* What was done of it is undone. */
	for (size_t i = area_set_search(&space->areas, addr); i < space->areas.count && area_addr(space->areas.all[i]) < addr + len;
	     i++) {
		struct area *area = space->areas.all[i];
		char *from = area_addr(area) > addr ? area_addr(area) : addr;
		char *to = area_end(area) < addr + len ? area_end(area) : addr + len;

		(void)pmap_advise(&space->pmap, from, (size_t)(to - from), area->nodump ? MADV_DONTDUMP : MADV_DODUMP);
	}
	return message_set(-r, "the kernel refuses to change what goes into core files of the range at %p: %s", (void *)addr,
			   strerrordesc_np(-r));
}

static void change_nodump(struct area *area, const void *arg)
{
	area->nodump = *(const bool *)arg;
}

int space_set_nodump(struct space *space, char *addr, size_t len, bool nodump)
{
	return change_areas(space, addr, len, false, ask_nodump, change_nodump, &nodump);
}

static void change_small(struct area *area, const void *arg)
{
	area->view.small = *(const bool *)arg;
}

int space_set_small(struct space *space, char *addr, size_t len, bool small)
{
	return change_areas(space, addr, len, small, NULL, change_small, &small);
}

struct locking {
	struct cache *cache;
	bool locked, on_fault;
};

static void change_locked(struct area *area, const void *arg)
{
	const struct locking *locking = arg;

	/* Those are locked by what they are. */
	if (area->huge)
		return;
	if (area->view.locked && !locking->locked)
		budget_unlock(locking->cache, area->view.pages);
	area->view.locked = locking->locked;
	area->lock_on_fault = locking->locked && locking->on_fault;
}

/* What locking adds to what counts as locked; asked and promised under one hold of the map lock, so that the count stays right. */
static int promise_locked(struct space *space, char *addr, size_t len, const void *arg)
{
	const struct locking *locking = arg;
	uint64_t fresh = 0;

	for (size_t i = area_set_search(&space->areas, addr);
	     locking->locked && i < space->areas.count && area_addr(space->areas.all[i]) < addr + len; i++) {
		struct area *area = space->areas.all[i];
		char *from = area_addr(area) > addr ? area_addr(area) : addr;
		char *to = area_end(area) < addr + len ? area_end(area) : addr + len;

		if (!area->view.locked)
			fresh += (uint64_t)(to - from) >> page_shift;
	}
	if (space_check_limits(space, NULL, fresh, ENOMEM) < 0)
		return -ENOMEM;
	if (budget_lock(space->cache, fresh) == 0)
		return 0;
	return message_set(
	    ENOMEM,
	    "%zu bytes cannot be locked: the memory budget of %llu bytes must keep a part that can be paged out; raise it "
	    "with QUIRE_MEMORY or quire_set_memory",
	    len, (unsigned long long)(atomic_load(&space->cache->limit) << page_shift));
}

static int count_unlocked(void *arg, const struct part *part)
{
	if (!part->locked)
		*(uint64_t *)arg += part->pages;
	return 0;
}

uint64_t space_unlocked_pages(struct space *space, char *addr, size_t len)
{
	uint64_t pages = 0;

	space_visit(space, addr, len, count_unlocked, &pages);
	return pages;
}

uint64_t space_locked_pages(struct space *space)
{
	uint64_t pages = 0;

	rwlock_read_acquire(&space->cache->map_lock);
	for (size_t i = 0; i < space->areas.count; i++)
		pages += space->areas.all[i]->view.locked ? space->areas.all[i]->view.pages : 0;
	rwlock_read_release(&space->cache->map_lock);
	return pages;
}

bool space_is_locked(struct space *space, char *addr)
{
	return space_unlocked_pages(space, addr, page_size()) == 0 && space_check(space, addr, page_size()) == 0;
}

int space_set_locked(struct space *space, char *addr, size_t len, bool locked, bool on_fault)
{
	struct locking locking = {space->cache, locked, on_fault};

	return change_areas(space, addr, len, locked, promise_locked, change_locked, &locking);
}

static int discard_part(void *arg, const struct part *part)
{
	struct space *space = arg;
	int r;

	if (part->shared)
		return 0;
	rwlock_read_acquire(&space->cache->map_lock);
	r = lend_call_in(space->private_pages, part->addr, part->pages, false);
	if (r == 0)
		private_discard(space->private_pages, part->addr, part->pages, true);
	rwlock_read_release(&space->cache->map_lock);
	return r == 0 ? 0 : message_set(-r, "children's copies of the pages at %p cannot be made", (void *)part->addr);
}

int space_discard_private(struct space *space, char *addr, size_t len)
{
	return space_visit(space, addr, len, discard_part, space);
}
