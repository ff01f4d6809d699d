/* SPDX-License-Identifier: MIT */
/*
 * fork.c - the space of a child: made as its parent's is, mapped when the child is there, and given up when it has ended
 */
#include <errno.h>
#include <stdlib.h>

#include "object/flusher.h"
#include "object/lend.h"
#include "space/edit.h"
#include "space/inherit.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* One area of the parent's, repeated. Map lock held for writing. */
static int repeat(struct edit *edit, struct space *from, const struct area *area)
{
	struct space *to = edit->space;
	struct mapping m;
	struct area *copy;
	enum inherited inherited = inherit_area(area, &m);
	int r = 0;

	/* Huge pages are the kernel's, which repeats them by itself. */
	if (inherited == INHERITED_NOTHING || area->huge)
		return 0;
	/* Locks are the parent's alone, and so are its functions. */
	m.locked = false;
	m.lock_on_fault = false;
	m.on_error = (struct error_callback){0};
	copy = edit_spare(edit);
	edit_fill(copy, &m, to, area_addr(area));
	edit_add(edit, copy);
	if (inherited == INHERITED_COPY && !area->shared)
		r = lend_fork(from->private_pages, to->private_pages, area_addr(area), area->view.pages);
	return r;
}

int space_fork(struct space *from, struct far *far, struct space **ret)
{
	struct space *space = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*space));
	struct edit edit;
	int r = space ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	pmap_create_far(far, &space->pmap);
	r = space_init(space, from->registry, from->cache, from->private_pages->slots);
	if (r < 0) {
		free(space);
		return r;
	}
	rwlock_write_acquire(&from->cache->map_lock);
	r = lend_begin(space->private_pages, from->private_pages);
	if (r == 0)
		r = edit_begin(&edit, space, (unsigned)from->areas.count);
	if (r == 0) {
		for (size_t i = 0; i < from->areas.count && r == 0; i++)
			r = repeat(&edit, from, from->areas.all[i]);
		edit_end(&edit);
	}
	rwlock_write_release(&from->cache->map_lock);
	if (r < 0)
		space_vanish(space);
	else
		*ret = space;
	return r;
}

int space_attach(struct space *space)
{
	int r = 0;

	rwlock_write_acquire(&space->cache->map_lock);
	for (size_t i = 0; i < space->areas.count && r == 0; i += FAR_OPS)
		r = edit_map_again(space, space->areas.all + i,
				   space->areas.count - i < FAR_OPS ? space->areas.count - i : FAR_OPS);
	space->edits++;
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

/* Takes the last area out; its object in *ret, with a use, if it is of a file. False: there is none. */
static bool drop_last(struct space *space, struct object **ret)
{
	struct edit edit = {.space = space};
	struct area *area;

	*ret = NULL;
	if (space->areas.count == 0)
		return false;
	area = space->areas.all[space->areas.count - 1];
	if (area->view.object && area->view.object->kind == OBJECT_FILE) {
		*ret = area->view.object;
		object_use(*ret);
	}
	if (!area->shared)
		private_discard(space->private_pages, area_addr(area), area->view.pages, false);
	edit_remove(&edit, space->areas.count - 1);
	return true;
}

void space_vanish(struct space *space)
{
	struct object *object;
	bool more, orphan = false;

	do {
		rwlock_write_acquire(&space->cache->map_lock);
		more = drop_last(space, &object);
		if (object)
			orphan = !object->views;
		rwlock_write_release(&space->cache->map_lock);
		/* What it has stored reaches the file, though it is not there to be told of a failure. */
		if (object && (!orphan || object->journal || object_flush(object, 0, UINT64_MAX) == 0))
			object_unuse(object);
		else if (object)
			writeback_adopt(object);
	} while (more);
	rwlock_write_acquire(&space->cache->map_lock);
	lend_end(space->private_pages);
	rwlock_write_release(&space->cache->map_lock);
	space_release(space);
}
