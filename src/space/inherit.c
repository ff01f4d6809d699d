/* SPDX-License-Identifier: MIT */
/*
 * inherit.c - how areas are repeated in the child of a fork
 *
 * Linux and FreeBSD say it in words of their own, which all come to one field of the area (enum inherit). Linux's two pieces of advice
 * are two bits, FreeBSD's inheritance is one value: so NONE is a bit, and what it hides is set by the other words of both.
 */
#include "space/inherit.h"

#include <errno.h>
#include <sys/mman.h>

#include "space/edit.h"
#include "sys/page_size.h"
#include "util/message.h"

/* The kernel's huge pages are an area without an object, which is neither shared nor private to us. */
static bool is_shared(const struct area *area)
{
	return area->huge ? (area->huge & MAP_TYPE) == MAP_SHARED : area->shared;
}

/* What the area has after a word of either family; -errno with a message: it may not be said of such an area. */
typedef int inherit_rule(const struct area *area, int word);

static int advised(const struct area *area, int advice)
{
	switch (advice) {
	case MADV_DONTFORK:
		return (int)(area->inherit | INHERIT_NONE);
	case MADV_DOFORK:
		return (int)(area->inherit & ~(unsigned)INHERIT_NONE);
	case MADV_WIPEONFORK:
		if (area->shared || area->view.object || area->huge)
			return message_set(EINVAL, "MADV_WIPEONFORK: the mapping at %p is not private memory without a file",
					   (void *)area_addr(area));
		return (int)((area->inherit & INHERIT_NONE) | INHERIT_ZERO);
	default: /* MADV_KEEPONFORK */
		return (int)(area->inherit & INHERIT_ZERO ? area->inherit & INHERIT_NONE : area->inherit);
	}
}

/* Private memory that is to be shared is so already, but for what has no pages. */
static int chosen(const struct area *area, int inherit)
{
	switch (inherit) {
	case QUIRE_INHERIT_SHARE:
		if (area->huge && !is_shared(area))
			return message_set(EINVAL, "QUIRE_INHERIT_SHARE: the mapping at %p is of huge pages and private",
					   (void *)area_addr(area));
		return INHERIT_AS_IT_IS;
	case QUIRE_INHERIT_COPY:
		if (area->huge && is_shared(area))
			return message_set(EINVAL, "QUIRE_INHERIT_COPY: the mapping at %p is of huge pages and shared",
					   (void *)area_addr(area));
		return is_shared(area) ? INHERIT_COPY : INHERIT_AS_IT_IS;
	case QUIRE_INHERIT_ZERO:
		return INHERIT_ZERO;
	default: /* QUIRE_INHERIT_NONE */
		return (int)(area->inherit | INHERIT_NONE);
	}
}

/* The guard below a stack is inherited where the lowest page of the stack is. */
static void take_guard_along(struct area_set *set, size_t i)
{
	struct area *guard = i > 0 ? set->all[i - 1] : NULL;

	if (guard && guard->guard && area_end(guard) == area_addr(set->all[i]))
		guard->inherit = set->all[i]->inherit & INHERIT_NONE;
}

/* Whether the rule allows the word for all areas of a range. Map lock held. */
static int check(struct space *space, const char *addr, const char *end, inherit_rule *rule, int word)
{
	struct area_set *set = &space->areas;
	int r = 0;

	for (size_t i = area_set_search(set, addr); r >= 0 && i < set->count && area_addr(set->all[i]) < end; i++)
		r = set->all[i]->guard ? 0 : rule(set->all[i], word);
	return r < 0 ? r : 0;
}

/* Splits at the ends of a range, sets what the rule says for each area in it, and joins what can be joined. */
static int change(struct space *space, char *addr, char *end, inherit_rule *rule, int word)
{
	struct area_set *set = &space->areas;
	struct edit edit;
	int r = check(space, addr, end, rule, word);

	if (r == 0)
		r = edit_begin(&edit, space, 2);
	if (r < 0)
		return r;
	edit_split(&edit, addr);
	edit_split(&edit, end);
	for (size_t i = area_set_search(set, addr); i < set->count && area_addr(set->all[i]) < end; i++) {
		if (set->all[i]->guard)
			continue;
		set->all[i]->inherit = (unsigned)rule(set->all[i], word);
		take_guard_along(set, i);
	}
	edit_join(&edit, addr, end);
	edit_end(&edit);
	return 0;
}

int inherit_advise(struct space *space, char *addr, size_t len, int advice)
{
	int r;

	rwlock_write_acquire(&space->cache->map_lock);
	r = change(space, addr, addr + len, advised, advice);
	if (r == 0)
		r = space_check_locked(space, addr, len);
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

int inherit_check(struct space *space, const char *addr, size_t len, int inherit)
{
	int r;

	rwlock_read_acquire(&space->cache->map_lock);
	r = space_check_locked(space, addr, len);
	if (r == 0)
		r = check(space, addr, addr + len, chosen, inherit);
	rwlock_read_release(&space->cache->map_lock);
	return r;
}

int inherit_set(struct space *space, char *addr, size_t len, int inherit)
{
	int r;

	rwlock_write_acquire(&space->cache->map_lock);
	r = space_check_locked(space, addr, len);
	if (r == 0)
		r = change(space, addr, addr + len, chosen, inherit);
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

enum inherited inherit_area(const struct area *area, struct mapping *ret)
{
	if (area->inherit & INHERIT_NONE)
		return INHERITED_NOTHING;
	*ret = mapping_like(area, area_addr(area), area->view.pages << page_shift, area->view.first);
	ret->locked = ret->lock_on_fault = false;
	ret->guard = area->guard;
	ret->huge = area->huge;
	ret->huge_fd = -1;
	switch (area->inherit) {
	case INHERIT_ZERO:
		/* The child passes it on as it has got it. */
		ret->object = NULL;
		ret->first = 0;
		ret->shared = ret->nosync = ret->denies = ret->tracked = false;
		ret->huge = 0;
		ret->anonymous = true;
		return INHERITED_ZEROS;
	case INHERIT_COPY:
		ret->shared = ret->tracked = false;
		ret->inherit = INHERIT_AS_IT_IS;
		return INHERITED_COPY;
	default:
		return is_shared(area) ? INHERITED_SHARED : INHERITED_COPY;
	}
}
