/* SPDX-License-Identifier: MIT */
/*
 * object.c - the life of objects, their views, their size
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/policy.h"
#include "object/collapse.h"
#include "object/epoch.h"
#include "object/fill.h"
#include "object/hooks.h"
#include "object/private.h"
#include "object/writeback.h"
#include "sys/claim.h"
#include "sys/frames.h"
#include "sys/lease.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* How long a fault waits for others before it makes do with the size that is known. */
#define REFRESH_PATIENCE_MS 1000

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
			r = frames_create(object->pages, &object->frames);
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
		if (dead->pager)
			dead->pager->ops->close(dead->pager);
		identity_close(dead->lease, &(struct identity){dead->dev, dead->ino});
		if (object_has_own_buffers(dead))
			object_buffers_free(dead->cache, dead->buffers);
		hooks_release(dead);
		if (atomic_load(&dead->claimed))
			claim_drop(dead->dev, dead->ino);
		free(atomic_load(&dead->trace));
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
	struct chunk *chunk = table_get(&object->table, &object->cache->arena, object, page);

	if (!chunk)
		return NULL;
	if (ret_chunk)
		*ret_chunk = chunk;
	return &chunk->page[page % CHUNK_PAGES];
}

/* ---- size ---- */

/* A page at or after first that somebody is loading or writing; NULL: none. Map lock held for writing, so none is held. */
static page_word *find_busy(struct object *object, uint64_t first, uint32_t *ret_word)
{
	for (struct chunk *chunk = table_next(&object->table, first); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = first > chunk->first ? (unsigned)(first - chunk->first) : 0; i < CHUNK_PAGES; i++) {
			uint32_t word = page_load(&chunk->page[i]);

			if (page_is_busy(word) || (word & PAGE_WRITING)) {
				*ret_word = word;
				return &chunk->page[i];
			}
		}
	return NULL;
}

/*
 * Takes the map lock for writing at a moment when no page at or after first is busy.
 * => object->pages was lowered before where the object shrinks, so that nobody begins with another.
 * => patience_ms: how long to wait for one page; 0: for ever. False: it was longer, and the lock is not taken.
 */
static bool lock_when_quiet(struct object *object, uint64_t first, unsigned patience_ms)
{
	uint32_t word, start = cache_clock_ms();
	page_word *busy;

	for (;;) {
		rwlock_write_acquire(&object->cache->map_lock);
		busy = find_busy(object, first, &word);
		if (!busy)
			return true;
		rwlock_write_release(&object->cache->map_lock);
		if (patience_ms && cache_clock_ms() - start > patience_ms)
			return false;
		page_wait_ms(busy, word, patience_ms);
	}
}

/* Forgets the frames from page first on; the memfd is about to lose them. */
static void forget_frames(struct object *object, uint64_t first)
{
	for (struct chunk *chunk = table_next(&object->table, first); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		unsigned freed = 0;

		/*
		 * Where the kernel has no mapping left to cut this one at, it stays huge: nothing can be stored through it, what goes leaves every
		 * mapping with the memfd, and what is missing is caught.
		 */
		if (chunk_is_huge(chunk))
			object_unmap(object, chunk, 0, CHUNK_PAGES, true);
		for (unsigned i = first > chunk->first ? (unsigned)(first - chunk->first) : 0; i < CHUNK_PAGES; i++) {
			uint32_t word = page_load(&chunk->page[i]);

			/* One who was late with a claim takes it back by himself, at once (load.c, claim). */
			while (page_is_busy(word) || !page_swap(&chunk->page[i], &word, (word & PAGE_WAITED) | PAGE_ABSENT)) {
				if (page_is_busy(word))
					page_wait(&chunk->page[i], word);
				word = page_load(&chunk->page[i]);
			}
			if (word & PAGE_DIRTY)
				writeback_count_clean(chunk);
			freed += page_state(word) == PAGE_RESIDENT;
		}
		atomic_fetch_sub(&chunk->resident, freed);
		budget_release(object->cache, freed);
	}
}

/*
 * Private copies past the new end are gone, as the kernel would have it. borrowers: those of processes that borrow; they come first, so
 * that nobody borrows what the lender loses: a page that is LENT is one of the same object in both.
 */
static void discard_copies(struct object *object, uint64_t first, bool borrowers)
{
	for (struct view *view = object->views; view; view = view->next) {
		uint64_t skip = first > view->first ? first - view->first : 0;

		if (view->private_pages && skip < view->pages && (view->private_pages->lender != NULL) == borrowers)
			private_discard(view->private_pages, view->addr + (skip << page_shift), view->pages - skip, true);
	}
}

void object_forget(struct object *object, uint64_t first)
{
	discard_copies(object, first, true);
	discard_copies(object, first, false);
	forget_frames(object, first);
}

/* Map lock held for writing. */
static void set_size(struct object *object, uint64_t bytes)
{
	atomic_store(&object->bytes, bytes);
	atomic_store(&object->pages, pages_of(bytes));
	atomic_store(&object->writable_end, pages_of(bytes));
}

/*
 * Whether the page that holds the new end is cut in memory, since no file is cut that has it: in memory without a file, and in an
 * atomic file, where that is part of the next commit. One whose size is as it was committed has been cut by that.
 */
static bool cuts_in_memory(const struct object *object, bool reverts)
{
	return object->kind == OBJECT_ANON || (object->journal && !reverts);
}

/* From here on nobody begins to load past a size that is less, nor to write what reaches past it. */
static void lower_ends(struct object *object, uint64_t bytes)
{
	rwlock_write_acquire(&object->cache->map_lock);
	atomic_store(&object->pages, pages_of(bytes));
	atomic_store(&object->writable_end, bytes >> page_shift);
	atomic_thread_fence(memory_order_seq_cst);
	rwlock_write_release(&object->cache->map_lock);
}

/*
 * What lies past the new end in its page is gone for good: where it is cut in memory the page comes in first, if the pager has it. Zeros in
 * its place are not what would be left of it. Map lock held for writing, and it is not busy.
 */
static bool is_tail_missing(struct object *object, uint64_t bytes)
{
	uint64_t last = bytes >> page_shift;
	struct chunk *chunk = table_find(&object->table, last);
	uint32_t word = chunk ? page_load(&chunk->page[last % CHUNK_PAGES]) : 0;

	if (pages_of(bytes) == last)
		return false;
	return page_state(word) == PAGE_ABSENT ? object->kind != OBJECT_ANON || (word & PAGE_STORED) : word & PAGE_FILLED;
}

static int bring_tail_in(struct object *object, uint64_t page)
{
	page_word *word = object_page(object, page, NULL);
	int r;

	if (word && (page_load(word) & PAGE_FILLED))
		object_unfill(object, page);
	/* The kernel does not unmap it. */
	if (word && (page_load(word) & PAGE_FILLED))
		return -EBUSY;
	r = object_load(object, page, 1, 0, UINT64_MAX, true, NULL);
	return r == -EAGAIN ? 0 : r;
}

/* As lock_when_quiet, with the ends lowered. 0; 1: patience is at an end; -errno: the tail cannot be had. The lock is taken with 0 only. */
static int lock_to_cut(struct object *object, uint64_t bytes, unsigned patience_ms, bool in_memory)
{
	int r;

	for (;;) {
		lower_ends(object, bytes);
		if (!lock_when_quiet(object, bytes >> page_shift, patience_ms))
			return 1;
		if (!in_memory || !is_tail_missing(object, bytes))
			return 0;
		/* As before meanwhile: there may be room for it only when pages past the new end are written. */
		set_size(object, atomic_load(&object->bytes));
		rwlock_write_release(&object->cache->map_lock);
		r = bring_tail_in(object, bytes >> page_shift);
		if (r < 0)
			return r;
	}
}

/* Map lock held for writing. For the next commit, and for a rollback, also where no page was cut: what comes behind it is zeros from here on. */
static void note_cut(struct object *object, uint64_t bytes)
{
	if (object->journal && bytes < atomic_load(&object->cut_bytes))
		atomic_store(&object->cut_bytes, bytes);
}

/*
 * Shrinks: the ends are lowered first; when all who had begun past them are done, the file is cut, by storage, and the frames are given
 * up. Where storage fails, the ends are as before. Meanwhile the size itself is the old one: who loads a page that the cut has not reached
 * shows all of it.
 * => What is cut in memory, memory and the journal of an atomic file, which forgets what was spilled behind the cut, comes last, when the page
 *    that is cut is there; and under the lock, since storage is then memory, too.
 * => storage NULL: it has been cut already. patience_ms: as for lock_when_quiet; then the old size stands, and 0 is the answer.
 */
static int shrink(struct object *object, uint64_t bytes, unsigned patience_ms, int (*storage)(void *), void *arg)
{
	uint64_t pages = pages_of(bytes), quiet = bytes >> page_shift, old = atomic_load(&object->bytes);
	bool in_memory = cuts_in_memory(object, !storage);
	struct chunk *chunk;
	int r = frames_check(&object->frames), quieted;

	/* Before anything is cut: afterwards there is no way back. */
	if (r < 0)
		return r;
	atomic_fetch_add(&object->cuts, 1);
	if (storage && !in_memory) {
		lower_ends(object, bytes);
		(void)lock_when_quiet(object, quiet, 0);
		rwlock_write_release(&object->cache->map_lock);
		r = storage(arg);
	}
	quieted = lock_to_cut(object, bytes, patience_ms, in_memory);
	if (quieted == 0 && storage && in_memory)
		r = storage(arg);
	if (quieted != 0) {
		/* Not yet: the size is followed the next time. */
		rwlock_write_acquire(&object->cache->map_lock);
		set_size(object, atomic_load(&object->bytes));
		r = quieted < 0 ? quieted : 0;
	} else if (r < 0) {
		set_size(object, atomic_load(&object->bytes));
	} else {
		chunk = table_find(&object->table, quiet);
		set_size(object, bytes);
		epoch_stamp_range(object, quiet, pages_of(old));
		object_forget(object, pages);
		atomic_store(&object->beyond, false);
		if (in_memory)
			note_cut(object, bytes);
		r = frames_resize(&object->frames, pages);
		if (r == 0 && pages > quiet && chunk && page_has_frame(page_load(&chunk->page[quiet % CHUNK_PAGES])))
			r = frames_zero_tail(&object->frames, bytes);
		/* What is gone from a frame and from no file has to be written anew. */
		if (r == 0 && in_memory && pages > quiet && chunk && page_has_frame(page_load(&chunk->page[quiet % CHUNK_PAGES])))
			writeback_note_dirty(chunk, &chunk->page[quiet % CHUNK_PAGES]);
	}
	atomic_fetch_add(&object->cuts, 1);
	rwlock_write_release(&object->cache->map_lock);
	/* Their place in the swap; size_lock is held, so that nothing can have been written there again. */
	if (object->kind == OBJECT_ANON && quieted == 0 && r == 0)
		(void)object->pager->ops->discard(object->pager, pages << page_shift, (pages_of(old) - pages) << page_shift);
	return r;
}

static void tail_read(struct pager_request *request)
{
	(void)request;
}

/*
 * The bytes of the page that holds the old end, as the file has them now, in a buffer of one page. NULL: they cannot be read, or are not
 * to be shown: *ret_error.
 */
static struct buffer *read_tail(struct object *object, uint64_t page, bool zeros, int *ret_error)
{
	struct buffer *buffer = buffer_get(object->buffers, 1);

	/* What was cut in memory is in no storage yet. */
	if (zeros) {
		memset(buffer->data, 0, page_size());
		return buffer;
	}
	buffer->request = (struct pager_request){
	    .op = PAGER_READ,
	    .offset = page << page_shift,
	    .len = page_size(),
	    .buf = buffer->data,
	    .done = tail_read,
	};
	object->pager->ops->run(object->pager, &buffer->request);
	*ret_error = buffer->request.ret_error ? EIO : 0;
	if (*ret_error == 0)
		(void)hooks_in(object, page, buffer->data, buffer->request.ret_bytes, ret_error);
	if (*ret_error) {
		buffer_put(object->buffers, buffer);
		return NULL;
	}
	memset(buffer->data + buffer->request.ret_bytes, 0, page_size() - buffer->request.ret_bytes);
	return buffer;
}

/*
 * Grows. In the page that holds the old end, what was stored past it never was in the file; what is there now, be it zeros or bytes
 * that another has appended, is taken over before anything is written with the new size.
 * => patience_ms: as for lock_when_quiet; then nothing has changed, and 0 is the answer all the same.
 */
static int grow(struct object *object, uint64_t bytes, unsigned patience_ms, bool reverts)
{
	uint64_t old = atomic_load(&object->bytes), last = old >> page_shift;
	size_t inside = old & (page_size() - 1);
	int r = 0, error = 0;
	struct buffer *tail = inside ? read_tail(object, last, cuts_in_memory(object, reverts), &error) : NULL;

	if (error)
		return -error;
	while (lock_when_quiet(object, last, patience_ms)) {
		struct chunk *chunk = inside ? table_find(&object->table, last) : NULL;
		page_word *page = chunk ? &chunk->page[last % CHUNK_PAGES] : NULL;
		uint32_t word;

		r = object_forget_beyond(object);
		if (r == 0)
			r = frames_resize(&object->frames, pages_of(bytes));
		atomic_store(&object->growing_from, old);
		if (r == 0)
			set_size(object, bytes);
		/* Pairs with the fence in load.c, claim: he who loads the last page from here on sees the new size, or is seen. */
		atomic_thread_fence(memory_order_seq_cst);
		word = page ? page_load(page) : PAGE_ABSENT;
		if (r == 0 && page_has_frame(word))
			r = frames_patch(&object->frames, old, page_size() - inside, tail->data + inside);
		if (r == 0 && page_has_frame(word) && object->kind == OBJECT_ANON && !(word & PAGE_FILLED))
			writeback_note_dirty(chunk, page);
		if (r < 0 || page_state(word) == PAGE_LOADING)
			set_size(object, old);
		atomic_store(&object->growing_from, UINT64_MAX);
		rwlock_write_release(&object->cache->map_lock);
		if (r < 0 || page_state(word) != PAGE_LOADING)
			break;
		page_wait(page, word);
	}
	if (tail)
		buffer_put(object->buffers, tail);
	return r;
}

/* reverts: to the size that is committed. */
static int follow_size_locked(struct object *object, uint64_t bytes, unsigned patience_ms, bool reverts)
{
	uint64_t old = atomic_load(&object->bytes);

	if (bytes == old)
		return 0;
	return bytes < old ? shrink(object, bytes, patience_ms, NULL, NULL) : grow(object, bytes, patience_ms, reverts);
}

int object_refresh_size(struct object *object)
{
	static const struct timespec moment = {.tv_nsec = 50000};
	uint32_t start = cache_clock_ms();
	uint64_t bytes;
	int r;

	if (!object->pager || object->pager->steady)
		return 0;
	/*
	 * Who has it is about to know the size, and is waited for; but not for long one who is setting it: he may wait for a lock of
	 * the kernel's that this thread holds, inside write(2). Until he is done, the end is where he has put it. For the same reason
	 * one does not wait for ever for a write that is under way.
	 */
	while (!lock_try(&object->size_lock)) {
		if (atomic_load(&object->truncating) && cache_clock_ms() - start > REFRESH_PATIENCE_MS)
			return 0;
		nanosleep(&moment, NULL);
	}
	r = object->pager->ops->size(object->pager, &bytes);
	if (r == 0)
		r = follow_size_locked(object, bytes, REFRESH_PATIENCE_MS, false);
	lock_release(&object->size_lock);
	return r;
}

/* The page would go by a cut that is under way, and may be refused. */
static bool is_being_cut(const struct object *object, uint64_t page)
{
	return page >= atomic_load(&object->pages) && page < pages_of(atomic_load(&object->bytes));
}

int object_seek_end(struct object *object, uint64_t page)
{
	static const struct timespec moment = {.tv_nsec = 50000};
	uint32_t start = cache_clock_ms();

	if (object->pager && !object->pager->steady)
		return object_refresh_size(object);
	while (is_being_cut(object, page) && cache_clock_ms() - start <= REFRESH_PATIENCE_MS)
		nanosleep(&moment, NULL);
	return 0;
}

static int set_file_size(struct object *object, uint64_t bytes, bool may_cut, int (*storage)(void *arg), void *arg)
{
	uint64_t now;
	int r;

	atomic_store(&object->truncating, true);
	lock_acquire(&object->size_lock);
	atomic_store(&object->truncating, true);
	r = object->pager->ops->size(object->pager, &now);
	if (r == 0)
		r = follow_size_locked(object, now, 0, false);
	if (r == 0 && bytes < now) {
		r = may_cut ? shrink(object, bytes, 0, storage, arg) : 0;
	} else if (r == 0) {
		r = storage(arg);
		if (r == 0)
			r = follow_size_locked(object, bytes, 0, false);
		/* The next commit has the size that the journal was told. */
		if (r < 0 && object->journal)
			(void)object->pager->ops->resize(object->pager, now);
	}
	atomic_store(&object->truncating, false);
	lock_release(&object->size_lock);
	return r;
}

int object_truncate(struct object *object, uint64_t bytes, int (*storage)(void *arg), void *arg)
{
	return set_file_size(object, bytes, true, storage, arg);
}

int object_extend(struct object *object, uint64_t bytes, int (*storage)(void *arg), void *arg)
{
	return set_file_size(object, bytes, false, storage, arg);
}

int object_revert_size_locked(struct object *object)
{
	uint64_t bytes;
	int r = object->pager->ops->size(object->pager, &bytes);

	ASSERT(lock_is_held(&object->size_lock));
	atomic_store(&object->cut_bytes, UINT64_MAX);
	return r == 0 ? follow_size_locked(object, bytes, 0, true) : r;
}

/* ---- discard ---- */

/* Gives a frame up, if the word still is what was seen. Map lock held for writing. 0; 1: it is not; -errno: the frame stays. */
static int give_up(struct object *object, struct chunk *chunk, unsigned i, uint32_t word)
{
	page_word *page = &chunk->page[i];
	int r;

	if (!page_swap(page, &word, (word & ~PAGE_STATE) | PAGE_HELD))
		return 1;
	r = frames_free(&object->frames, chunk->first + i, 1);
	if (r < 0) {
		page_settle(page, PAGE_RESIDENT, 0, 0);
		return r;
	}
	writeback_note_clean(chunk, page);
	atomic_fetch_sub(&chunk->resident, 1);
	page_settle(page, PAGE_ABSENT, ~0u, 0);
	budget_release(object->cache, 1);
	return 0;
}

/* One page: waits until it is nobody's, and gives its frame up. Map lock not held. 0; -errno: it stays as it is. */
static int discard_page(struct object *object, struct chunk *chunk, unsigned i)
{
	page_word *page = &chunk->page[i];
	int r;

	for (;;) {
		uint32_t word = page_load(page);

		if (page_is_busy(word) || (word & PAGE_WRITING)) {
			page_wait(page, word);
			continue;
		}
		if (page_state(word) == PAGE_ABSENT) {
			if (page_swap(page, &word, word & PAGE_SLOT))
				return 0;
			continue;
		}
		/* Touched again at once: for writing, so that no fault can map it between the two steps. */
		rwlock_write_acquire(&object->cache->map_lock);
		if (word & PAGE_MAPPED)
			object_unmap(object, chunk, i, i + 1, true);
		word = page_load(page);
		/* One that the kernel does not unmap stays as it is. */
		r = 1;
		if (word & PAGE_MAPPED)
			r = -EBUSY;
		else if (page_state(word) == PAGE_RESIDENT && !(word & PAGE_WRITING))
			r = give_up(object, chunk, i, word);
		rwlock_write_release(&object->cache->map_lock);
		if (r <= 0)
			return r;
	}
}

/* All that go; 0, or the -errno of the first that does not. */
static int discard_frames(struct object *object, uint64_t first, uint64_t end)
{
	int result = 0;

	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;

		/* All at once first, which is cheaper than page by page. */
		rwlock_read_acquire(&object->cache->map_lock);
		object_unmap(object, chunk, from, to, true);
		rwlock_read_release(&object->cache->map_lock);
		for (unsigned i = from; i < to; i++) {
			int r = discard_page(object, chunk, i);

			result = result == 0 ? r : result;
		}
	}
	return result;
}

int object_discard(struct object *object, uint64_t first, uint64_t end)
{
	int r, kept;

	uint64_t offset = first << page_shift, len = (end - first) << page_shift;

	/* First the storage, which may refuse: then nothing was lost. */
	r = object->pager->ops->discard(object->pager, offset, len);
	if (r < 0)
		return r;
	/* Then the frames; and once more both, for writes that were under way and pages that were loaded before the hole was there. */
	(void)discard_frames(object, first, end);
	r = object->pager->ops->discard(object->pager, offset, len);
	kept = discard_frames(object, first, end);
	epoch_stamp_range(object, first, end);
	/* What stays has its bytes, which are written to the file again. */
	return r < 0 ? r : kept;
}
