/* SPDX-License-Identifier: MIT */
/*
 * leave.c - what is mapped of a file is left to the kernel, where it is; or is not stored to for a moment
 *
 * For files that other programs are about to change, of which nobody would tell. The mappings become the kernel's own at the same addresses,
 * while the program uses them:
 *
 *   1. Views that may be stored to are made inaccessible, and what was stored is harvested. Who touches them waits in the handler of
 *      SIGSEGV (space.leaving), a system call has EFAULT.
 *   2. What is dirty is written, with no lock held.
 *   3. With nothing dirty any more, the kernel's mapping is laid over: one system call, before which a load sees the frame, and after which
 *      it sees the file, with the same bytes.
 *
 * What writes by calls put into frames meanwhile is in the file already (coherent.c), and is dropped with the object.
 */
#include <errno.h>
#include <sys/mman.h>

#include "object/writeback.h"
#include "space/edit.h"
#include "sys/page_size.h"

#define TRIES 100 /* to find nothing dirty: all that can make anything so is a write by a call */

/* Map lock held for writing, as in all of these. */
static bool is_only_ours(const struct space *space, const struct object *object)
{
	for (const struct view *view = object->views; view; view = view->next)
		if (view->pmap != &space->pmap || view->private_pages)
			return false;
	return true;
}

static int hold_off(struct space *space, const struct object *object)
{
	int r = 0;

	for (size_t i = 0; i < space->areas.count && r == 0; i++) {
		struct area *area = space->areas.all[i];

		if (area->view.object == object)
			r = edit_quiesce(space, area_addr(area), area_end(area));
	}
	return r;
}

static void let_on(struct space *space, const struct object *object)
{
	for (size_t i = 0; i < space->areas.count; i++) {
		struct area *area = space->areas.all[i];

		if (area->view.object == object)
			edit_restore_protection(space, area_addr(area), area_end(area));
	}
}

static bool is_clean(const struct object *object)
{
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		if (atomic_load(&chunk->unsaved) > 0)
			return false;
	return true;
}

static int lay_over(const struct area *area, int fd)
{
	struct memory_op op = {.kind = MEMORY_MAP,
			       .addr = area_addr(area),
			       .len = area->view.pages << page_shift,
			       .arg = area->prot,
			       .flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
			       .fd = fd,
			       .offset = (off_t)(area->view.first << page_shift)};
	long r = memory_do(&op);

	return r < 0 ? (int)r : 0;
}

/* All that is mapped of it. A failure leaves the rest as it is. */
static int replace(struct space *space, const struct object *object, int fd)
{
	struct edit edit;
	int r = edit_begin(&edit, space, 0);

	if (r < 0)
		return r;
	for (size_t i = 0; i < space->areas.count && r == 0;) {
		struct area *area = space->areas.all[i];

		if (area->view.object != object) {
			i++;
			continue;
		}
		r = lay_over(area, fd);
		if (r == 0)
			edit_forget(&edit, area_addr(area), area_end(area));
	}
	edit_end(&edit);
	return r;
}

/* -EAGAIN: something is dirty. */
static int try(struct space *space, struct object *object, int fd)
{
	int r;

	rwlock_write_acquire(&space->cache->map_lock);
	r = is_only_ours(space, object) ? hold_off(space, object) : -EBUSY;
	if (r == 0)
		r = is_clean(object) ? replace(space, object, fd) : -EAGAIN;
	rwlock_write_release(&space->cache->map_lock);
	return r;
}

static void begin(struct space *space, struct object *object)
{
	/* Most of it, before anybody has to wait. */
	(void)object_flush(object, 0, UINT64_MAX);
	atomic_fetch_add(&space->leaving, 1);
}

static void end(struct space *space, struct object *object, bool lets_on)
{
	if (lets_on) {
		rwlock_write_acquire(&space->cache->map_lock);
		let_on(space, object);
		/* Who was refused and asks only now finds that something has changed, and tries again, as often as this happens. */
		space->edits++;
		rwlock_write_release(&space->cache->map_lock);
	}
	atomic_fetch_sub(&space->leaving, 1);
	futex_wake_all(&space->leaving);
}

int space_leave(struct space *space, struct object *object, int fd)
{
	int r = -EAGAIN;

	begin(space, object);
	for (unsigned tries = 0; tries < TRIES && r == -EAGAIN; tries++) {
		r = try(space, object, fd);
		if (r == -EAGAIN && object_flush(object, 0, UINT64_MAX) < 0)
			r = -EIO;
	}
	end(space, object, r < 0);
	return r;
}

int space_still(struct space *space, struct object *object)
{
	int r;

	begin(space, object);
	rwlock_write_acquire(&space->cache->map_lock);
	r = is_only_ours(space, object) ? hold_off(space, object) : -EBUSY;
	rwlock_write_release(&space->cache->map_lock);
	if (r == 0)
		r = object_flush(object, 0, UINT64_MAX);
	if (r < 0)
		end(space, object, true);
	return r;
}

void space_go_on(struct space *space, struct object *object)
{
	end(space, object, true);
}
