/* SPDX-License-Identifier: MIT */
/*
 * size.c - the size of an object: asked for, followed, set
 *
 * One at a time moves it, with size_lock: because its file has become shorter or longer, or because the program wants it so. Either way
 * who is at work at the end that moves is waited for, and the size changes with the map lock held for writing.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "object/epoch.h"
#include "object/fill.h"
#include "object/hooks.h"
#include "object/private.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

/* How long a fault waits for others before it makes do with the size that is known. */
#define REFRESH_PATIENCE_MS 1000

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
