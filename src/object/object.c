/* SPDX-License-Identifier: MIT */
/*
 * object.c - the life of objects, their views, who is held off
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/policy.h"
#include "object/collapse.h"
#include "object/hooks.h"
#include "object/object.h"
#include "object/rescue.h"
#include "sys/claim.h"
#include "sys/frames.h"
#include "sys/lease.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* ---- life ---- */

/* What buffers of an object's own may take of the budget. */
#define OWN_SHARE 16

int object_buffers(struct cache *cache, unsigned run_pages, unsigned depth, struct buffers **ret, unsigned *ret_most)
{
	uint64_t share = atomic_load(&cache->limit) / OWN_SHARE;
	struct buffers *buffers = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*buffers));
	unsigned singles;
	int r = buffers ? 0 : -ENOMEM;

	/* Writes leave one of the long ones to reads, so there are two at least. */
	depth = depth < 2 ? 2 : depth;
	while (run_pages > 1 && (uint64_t)depth * (run_pages + 1) > share)
		run_pages /= 2;
	while (depth > 2 && (uint64_t)depth * (run_pages + 1) > share)
		depth /= 2;
	singles = depth;
	if (r == 0)
		r = budget_reserve(cache, (uint64_t)depth * run_pages + singles);
	if (r < 0) {
		free(buffers);
		return r;
	}
	r = buffers_create_some(buffers, run_pages, depth, singles);
	if (r < 0) {
		budget_release(cache, (uint64_t)depth * run_pages + singles);
		free(buffers);
		return r;
	}
	atomic_fetch_add(&cache->own_buffer_pages, buffers->total_pages);
	*ret = buffers;
	*ret_most = depth + singles;
	return 0;
}

void object_buffers_free(struct cache *cache, struct buffers *buffers)
{
	if (!buffers)
		return;
	atomic_fetch_sub(&cache->own_buffer_pages, buffers->total_pages);
	budget_release(cache, buffers->total_pages);
	buffers_done(buffers);
	free(buffers);
}

int object_create(struct registry *registry, struct cache *cache, enum object_kind kind, struct pager *pager, uint64_t bytes,
		  const struct object_file *file, struct object **ret)
{
	struct object *object = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*object));
	int r = object ? 0 : -ENOMEM;

	if (r == 0) {
		object->kind = kind;
		object->cache = cache;
		object->pager = pager;
		object->buffers = file && file->buffers ? file->buffers : &cache->buffers;
		object->frames.fd = -1;
		object->lease = -1;
		object->refs = 1;
		object->uses = 1;
		object->bytes = bytes;
		object->pages = object->writable_end = pages_of(bytes);
		object->registry = registry;
		object->epoch_lost = atomic_load(&cache->epoch);
		object->cut_bytes = UINT64_MAX;
		object->growing_from = UINT64_MAX;
		if (file) {
			object->dev = file->dev;
			object->ino = file->ino;
			object->writable = file->writable;
			object->journal = file->journal;
		}
		if (kind != OBJECT_PRIVATE)
			r = frames_create(&cache->frames, object->pages, &object->frames);
	}
	if (r < 0) {
		if (pager)
			pager->ops->close(pager);
		if (file)
			object_buffers_free(cache, file->buffers);
		free(object);
		return r;
	}
	lock_acquire(&registry->lock);
	object->next = registry->head;
	/* Who comes after this process finds the list whole at any instant; so it does those of views. */
	atomic_signal_fence(memory_order_seq_cst);
	registry->head = object;
	registry->count++;
	lock_release(&registry->lock);
	*ret = object;
	return 0;
}

struct object *object_find(struct registry *registry, dev_t dev, ino_t ino)
{
	struct object *object;

	lock_acquire(&registry->lock);
	for (object = registry->head; object; object = object->next)
		if (object->kind == OBJECT_FILE && object->dev == dev && object->ino == ino && object->uses > 0)
			break;
	if (object) {
		object->uses++;
		object_ref(object);
	}
	lock_release(&registry->lock);
	return object;
}

bool object_try_use(struct object *object)
{
	bool used;

	lock_acquire(&object->registry->lock);
	used = object->uses > 0;
	if (used) {
		object->uses++;
		object_ref(object);
	}
	lock_release(&object->registry->lock);
	return used;
}

void object_use(struct object *object)
{
	bool used = object_try_use(object);

	ASSERT(used);
}

void object_unuse(struct object *object)
{
	if (!object)
		return;
	lock_acquire(&object->registry->lock);
	ASSERT(object->uses > 0);
	object->uses--;
	lock_release(&object->registry->lock);
	object_unref(object);
}

void object_ref(struct object *object)
{
	uint32_t before = atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed);

	ASSERT(before > 0);
}

bool object_try_ref(struct object *object)
{
	uint32_t refs = atomic_load_explicit(&object->refs, memory_order_relaxed);

	do {
		if (refs == 0)
			return false;
	} while (
	    !atomic_compare_exchange_weak_explicit(&object->refs, &refs, refs + 1, memory_order_acquire, memory_order_relaxed));
	return true;
}

/* Takes all chunks off the queues and gives their frames back. */
static void free_pages(struct object *object)
{
	uint64_t frames = 0;

	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		policy_remove(object->cache, chunk);
		frames += atomic_load(&chunk->resident);
		if (chunk_is_huge(chunk))
			atomic_fetch_sub(&object->cache->huge_chunks, 1);
		atomic_fetch_sub(&object->cache->dirty_pages, chunk_dirty(chunk));
	}
	if (object->frames.fd >= 0)
		frames_close(&object->frames);
	budget_release(object->cache, frames);
	table_done(&object->table, &object->cache->arena,
		   object->kind == OBJECT_SWAP ? sizeof(struct shares) : sizeof(struct stamps));
}

void object_unref(struct object *object)
{
	struct object **at;

	if (!object || atomic_fetch_sub_explicit(&object->refs, 1, memory_order_acq_rel) != 1)
		return;
	ASSERT(!object->views);
	lock_acquire(&object->registry->lock);
	for (at = &object->registry->head; *at != object; at = &(*at)->next)
		;
	*at = object->next;
	atomic_signal_fence(memory_order_seq_cst);
	lock_release(&object->registry->lock);
	free_pages(object);
	lock_acquire(&object->registry->lock);
	object->next = object->registry->dead;
	object->registry->dead = object;
	lock_release(&object->registry->lock);
}

void registry_bury(struct registry *registry)
{
	struct object *dead, *next;

	lock_acquire(&registry->lock);
	dead = registry->dead;
	registry->dead = NULL;
	lock_release(&registry->lock);
	for (; dead; dead = next) {
		next = dead->next;
		/* As long as the file is there, whose number may be another's the moment that it is not. */
		if (atomic_load(&dead->claimed))
			claim_drop(dead->dev, dead->ino);
		if (dead->pager)
			dead->pager->ops->close(dead->pager);
		identity_close(dead->lease, &(struct identity){dead->dev, dead->ino});
		if (object_has_own_buffers(dead))
			object_buffers_free(dead->cache, dead->buffers);
		hooks_release(dead);
		rescue_forget(dead);
		free(dead->private_pages);
		free(dead);
		lock_acquire(&registry->lock);
		registry->count--;
		lock_release(&registry->lock);
	}
}

/* ---- views ---- */

bool object_is_seen(const struct object *object, const struct pmap *pmap)
{
	const struct view *view = object->views;

	while (view && view->pmap != pmap)
		view = view->next;
	return view;
}

/* Of a stranger it is counted, at its first view and its last. */
static void count_seen(const struct object *object, const struct view *view, int by)
{
	if (view->pmap && pmap_is_strange(view->pmap) && !object_is_seen(object, view->pmap))
		view->pmap->far->objects += (unsigned)by;
}

void object_add_view(struct object *object, struct view *view)
{
	INVARIANT(rwlock_is_written(&object->cache->map_lock));
	INVARIANT(!view_wants_small(view) || !collapse_find_large(object, view->first, view->pages));
	count_seen(object, view, 1);
	view->object = object;
	view->next = object->views;
	atomic_signal_fence(memory_order_seq_cst);
	object->views = view;
	atomic_signal_fence(memory_order_seq_cst);
	if (view->denies)
		object_repeat_denial(object);
}

void object_remove_view(struct object *object, struct view *view)
{
	struct view **at = &object->views;

	INVARIANT(rwlock_is_written(&object->cache->map_lock));
	while (*at != view)
		at = &(*at)->next;
	atomic_signal_fence(memory_order_seq_cst);
	*at = view->next;
	atomic_signal_fence(memory_order_seq_cst);
	view->next = NULL;
	count_seen(object, view, -1);
	if (view->denies)
		object_allow_writes(object);
}

/* ---- writers held off ---- */

/* Whether there is a descriptor of it, which the program has not closed. deny_lock held. */
static bool has_lease(const struct object *object)
{
	return identity_check(object->lease, &(struct identity){object->dev, object->ino}) == 0;
}

int object_deny_writes(struct object *object, int fd)
{
	int fresh = -1, r;
	bool none;

	lock_acquire(&object->deny_lock);
	none = object->lease < 0;
	lock_release(&object->deny_lock);
	/* Opening may wait, which is not done under the lock. */
	if (none && (r = lease_open(fd, &fresh)) < 0)
		return r;
	lock_acquire(&object->deny_lock);
	if (object->lease < 0) {
		object->lease = fresh;
		fresh = -1;
	}
	r = has_lease(object) ? lease_take(object->lease) : -EBADF;
	if (r == 0)
		object->denials++;
	lock_release(&object->deny_lock);
	if (fresh >= 0)
		close(fresh);
	return r;
}

void object_repeat_denial(struct object *object)
{
	lock_acquire(&object->deny_lock);
	ASSERT(object->denials > 0);
	object->denials++;
	lock_release(&object->deny_lock);
}

void object_allow_writes(struct object *object)
{
	lock_acquire(&object->deny_lock);
	ASSERT(object->denials > 0);
	if (--object->denials == 0 && has_lease(object))
		lease_drop(object->lease);
	lock_release(&object->deny_lock);
}

void object_admit_writer(struct object *object)
{
	lock_acquire(&object->deny_lock);
	if (has_lease(object))
		lease_drop(object->lease);
	lock_release(&object->deny_lock);
}

bool registry_has_dying(struct registry *registry, dev_t dev, ino_t ino)
{
	const struct object *object;

	lock_acquire(&registry->lock);
	for (object = registry->head; object; object = object->next)
		if (object->kind == OBJECT_FILE && object->dev == dev && object->ino == ino && object->uses == 0)
			break;
	lock_release(&registry->lock);
	return object;
}

page_word *object_page(struct object *object, uint64_t page, struct chunk **ret_chunk)
{
	struct chunk *chunk = table_find(&object->table, page);

	if (!chunk) {
		rescue_note(object);
		chunk = table_get(&object->table, &object->cache->arena, object, page);
	}
	if (!chunk)
		return NULL;
	if (ret_chunk)
		*ret_chunk = chunk;
	return &chunk->page[page % CHUNK_PAGES];
}
