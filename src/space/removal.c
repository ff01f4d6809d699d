/* SPDX-License-Identifier: MIT */
/*
 * removal.c - what has to be done before mappings are removed, and after: nothing dirty is left without a mapping
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/commit.h"
#include "object/flusher.h"
#include "space/edit.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

/*
 * Objects that have no view outside of the range are written before it goes: a failure then changes nothing, and nobody could
 * report it later.
 */
struct last_views {
	struct space *space;
	char *addr, *end;
};

/* One of a process that has ended does not count: it goes as soon as the engine comes to it, and whoever has waited for the process knows of none. */
static bool has_view_outside(const struct object *object, const struct last_views *last)
{
	for (struct view *view = object->views; view; view = view->next)
		if (view->pmap == &last->space->pmap
			? view->addr < last->addr || view->addr + (view->pages << page_shift) > last->end
			: !pmap_is_gone(view->pmap))
			return true;
	return false;
}

static int flush_if_last(void *arg, const struct part *part)
{
	struct last_views *last = arg;
	bool goes;
	int r;

	if (!part->object || part->object->kind != OBJECT_FILE)
		return 0;
	rwlock_read_acquire(&last->space->cache->map_lock);
	goes = !has_view_outside(part->object, last);
	rwlock_read_release(&last->space->cache->map_lock);
	/* What is not committed is forgotten with an atomic file's last mapping. */
	if (!goes || !part->object->writable || part->object->journal || !object_was_touched(part->object))
		return 0;
	r = object_flush(part->object, 0, UINT64_MAX);
	if (r < 0)
		message_set(-r,
			    "the dirty pages of the mapping at %p could not be written to the file: %s. The mapping is still there",
			    (void *)part->addr, strerrordesc_np(-r));
	return r;
}

static int keep(void *arg, const struct part *part)
{
	struct removal *removal = arg;

	if (!part->object || part->object->kind != OBJECT_FILE)
		return 0;
	for (size_t i = 0; i < removal->count; i++)
		if (removal->all[i] == part->object)
			return 0;
	if (removal->count == removal->capacity) {
		size_t capacity = removal->capacity ? 2 * removal->capacity : 8;
		struct object **all = fail_now(FAIL_ALLOC) ? NULL : realloc(removal->all, capacity * sizeof(struct object *));

		if (!all)
			return message_set(ENOMEM, "no memory for the list of objects");
		removal->all = all;
		removal->capacity = capacity;
	}
	/* Another thread may have removed its last view meanwhile. */
	if (object_try_use(part->object))
		removal->all[removal->count++] = part->object;
	return 0;
}

void removal_end(struct space *space, struct removal *removal)
{
	for (size_t i = 0; i < removal->count; i++) {
		struct object *object = removal->all[i];
		bool orphan;

		rwlock_read_acquire(&space->cache->map_lock);
		orphan = !object->views;
		rwlock_read_release(&space->cache->map_lock);
		/* Where that fails it is done when the file is mapped the next time. */
		if (orphan && object->journal)
			(void)commit_complete(object);
		if (!orphan || object->journal || object_flush(object, 0, UINT64_MAX) == 0)
			object_unuse(object);
		else
			writeback_adopt(object);
	}
	free(removal->all);
}

int removal_begin(struct space *space, char *addr, size_t len, struct removal *ret)
{
	struct last_views last = {space, addr, addr + len};
	int r;

	*ret = (struct removal){0};
	r = space_visit(space, addr, len, flush_if_last, &last);
	if (r == 0)
		r = space_visit(space, addr, len, keep, ret);
	if (r < 0)
		removal_end(space, ret);
	return r;
}
