/* SPDX-License-Identifier: MIT */
/*
 * writeback.c - dirty pages: learning of them, writing them; flusher.c does both in time
 *
 * What makes it safe to write a page while the program stores to it:
 *
 *   A store makes the page "written" in the kernel's eyes (or, where it does not track them, DIRTY through a fault). A
 *   harvest turns "written" into DIRTY and protects the page again in the same step. A write claims the page, DIRTY becoming
 *   WRITING, and only then copies the frame. So a store is either in the copy, or after the page was protected and so makes it
 *   "written" again, or both; none is in neither.
 *
 *   Harvesting and unmapping both move knowledge from the kernel's entries to the words; object->lock keeps one from acting
 *   between the halves of the other. A page that is dirty in either place is therefore never taken for clean by the evictor.
 *
 *   A failed write makes the page DIRTY again (I3) and leaves an error for the next msync (I1).
 */
#include <errno.h>
#include <string.h>

#include "object/epoch.h"
#include "object/hooks.h"
#include "object/rescue.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define WRITE_TRIES 16  /* of one run, when the program wants it tried again */
#define PROTECT_GAP 128 /* pages between two that are protected in one call: each costs 1/300 of a call */

/* Raised before a flag is set, and lowered after it was cleared; for WRITING before it is lowered for DIRTY: no page is ever in between. */
void writeback_note_dirty(struct chunk *chunk, page_word *page)
{
	if (page_load(page) & (PAGE_DIRTY | PAGE_BEYOND))
		return;
	if (atomic_fetch_add(&chunk->unsaved, 1) % CHUNK_WRITING == 0)
		atomic_store(&chunk->dirty_since, cache_clock_ms());
	atomic_fetch_add_explicit(&chunk->object->cache->dirty_pages, 1, memory_order_relaxed);
	/* Before the flag as well: a commit looks at marked chunks only. */
	if (chunk->object->journal)
		table_mark(&chunk->object->table, chunk->first);
	if (page_flags(page, PAGE_FILLED, PAGE_DIRTY) & PAGE_DIRTY)
		writeback_count_clean(chunk);
}

void writeback_count_clean(struct chunk *chunk)
{
	/* A page that becomes dirty in between loses its time; the flusher gives it another. */
	if (atomic_fetch_sub(&chunk->unsaved, 1) % CHUNK_WRITING == 1)
		atomic_store(&chunk->dirty_since, 0);
	atomic_fetch_sub_explicit(&chunk->object->cache->dirty_pages, 1, memory_order_relaxed);
}

void writeback_note_clean(struct chunk *chunk, page_word *page)
{
	if (page_flags(page, PAGE_DIRTY, 0) & PAGE_DIRTY)
		writeback_count_clean(chunk);
}

/* ---- harvest ---- */

static void found_written(void *arg, void *addr, size_t pages)
{
	struct view *view = arg;
	uint64_t page = view->first + (((uint64_t)((char *)addr - view->addr)) >> page_shift);

	for (size_t i = 0; i < pages; i++) {
		struct chunk *chunk = table_find(&view->object->table, page + i);
		uint32_t word = chunk ? page_load(&chunk->page[(page + i) % CHUNK_PAGES]) : 0;

		/*
		 * What is mapped has a frame; only its word may still say LOADING, where it was mapped with the frame's making. An
		 * entry that was made to raise SIGBUS is there without a frame.
		 */
		if (!page_has_frame(word) && page_state(word) != PAGE_LOADING)
			continue;
		writeback_note_dirty(chunk, &chunk->page[(page + i) % CHUNK_PAGES]);
		epoch_stamp(chunk, (unsigned)((page + i) % CHUNK_PAGES), 1);
	}
}

/* The object's lock is held. */
static int harvest(struct view *view, uint64_t first, uint64_t end)
{
	uint64_t from = view->first > first ? view->first : first;
	uint64_t to = view->first + view->pages < end ? view->first + view->pages : end;

	struct taking taking = {.view = view};
	int r;

	if (!view->tracked || !view_tracks(view) || from >= to)
		return 0;
	atomic_store_explicit(&view->object->taking, &taking, memory_order_release);
	r = pagemap_take_written(view->pmap->pagemap, view->addr + ((from - view->first) << page_shift), to - from, &taking.taken,
				 found_written, view);
	atomic_store_explicit(&view->object->taking, NULL, memory_order_release);
	return r;
}

int view_harvest(struct view *view, uint64_t first, uint64_t end)
{
	int r;

	lock_acquire(&view->object->lock);
	r = harvest(view, first, end);
	lock_release(&view->object->lock);
	return r;
}

int object_harvest(struct object *object, uint64_t first, uint64_t end)
{
	int result = 0;

	lock_acquire(&object->lock);
	for (struct view *view = object->views; view; view = view->next) {
		int r = harvest(view, first, end);

		if (r < 0 && result == 0)
			result = r;
	}
	lock_release(&object->lock);
	return result;
}

/* ---- write ---- */

/* Of a page in the swap that no private page refers to any more, the bytes are of no use. */
static bool is_stale(const struct chunk *chunk, uint32_t word)
{
	return chunk->object->kind == OBJECT_SWAP && !(word & PAGE_SLOT);
}

void writeback_end(struct chunk *chunk, page_word *page, bool dirty)
{
	uint32_t before;

	if (dirty && !is_stale(chunk, page_load(page)))
		writeback_note_dirty(chunk, page);
	before = page_flags(page, PAGE_WRITING | PAGE_WAITED, dirty ? 0 : PAGE_STORED);
	atomic_fetch_sub(&chunk->unsaved, CHUNK_WRITING);
	if (before & PAGE_WAITED)
		futex_wake_all(page);
}

/* The part of a run that a view shows, as the program is told of it. False: none, or nobody asks. */
static bool describe_failure(const struct view *view, const struct buffer *buffer, struct quire_error *error)
{
	uint64_t first = view->first > buffer->first ? view->first : buffer->first;
	uint64_t end = view->first + view->pages, run_end = buffer->first + buffer->count;

	end = end < run_end ? end : run_end;
	if (!view->on_error.call || view->private_pages || first >= end)
		return false;
	error->addr = view->addr + ((first - view->first) << page_shift);
	error->offset = (off_t)(first << page_shift);
	error->len = (size_t)(end - first) << page_shift;
	return true;
}

/*
 * Asks the first mapping that wants to be asked whether to write a run again. Under the map lock, so that who takes the callback away
 * knows that it is not running any more (locking.md).
 */
static bool is_to_be_written_again(struct object *object, const struct buffer *buffer, int failure)
{
	struct quire_error error = {.error = failure, .during = QUIRE_DURING_WRITEBACK, .tries = buffer->tries};
	enum quire_error_answer answer = QUIRE_ANSWER_FAIL;

	rwlock_read_acquire(&object->cache->map_lock);
	for (struct view *view = object->views; view; view = view->next)
		if (describe_failure(view, buffer, &error)) {
			answer = view->on_error.call(view->on_error.arg, &error);
			break;
		}
	rwlock_read_release(&object->cache->map_lock);
	return answer == QUIRE_ANSWER_RETRY && buffer->tries < WRITE_TRIES;
}

static void write_done(struct pager_request *request)
{
	struct buffer *buffer = request->owner;
	struct object *object = buffer->object;
	struct cache *cache = object->cache;
	struct batch *batch = buffer->batch;
	struct chunk *chunk = table_find(&object->table, buffer->first);
	int error = request->ret_error;

	if (error && is_to_be_written_again(object, buffer, error)) {
		buffer->tries++;
		request->ret_error = 0;
		object->pager->ops->submit(object->pager, request);
		return;
	}
	if (error) {
		atomic_store(&cache->write_errno, error);
		count(&cache->counters.writeback_errors, 1);
		/* Of an atomic file nothing is promised of what is not committed: a commit that is asked for tells by itself. */
		if (!object->journal)
			atomic_store(&object->write_error, error);
	} else {
		count(&cache->counters.write_calls, 1);
		count(&cache->counters.write_bytes, request->ret_bytes);
	}
	/* Before the pages may go: who finds one gone looks at it. */
	if (object->kind == OBJECT_FILE)
		atomic_fetch_add(&cache->written_back, 1);
	for (unsigned i = 0; i < buffer->count; i++)
		writeback_end(chunk, &chunk->page[buffer->first % CHUNK_PAGES + i], error != 0);
	buffer_put(object->buffers, buffer);
	if (batch)
		batch_done(batch, error);
	object_unref(object);
}

/*
 * Where stores are caught by faults, the page is protected again before it counts as clean; a fault meanwhile waits on HELD.
 * Map lock held for reading.
 */
static int protect_pages(struct object *object, uint64_t page, uint64_t pages)
{
	int result = 0;

	for (struct view *view = object->views; view; view = view->next) {
		uint64_t from = page > view->first ? page : view->first;
		uint64_t end = page + pages < view->first + view->pages ? page + pages : view->first + view->pages;
		int r;

		if (!view->tracked || view->private_pages || view_tracks(view) || from >= end)
			continue;
		r = fail_now(FAIL_MAP) ? -ENOMEM
				       : pmap_protect(view->pmap, view->addr + ((from - view->first) << page_shift), end - from,
						      view_asks_to_track(view));
		if (r < 0 && result == 0)
			result = r;
	}
	return result;
}

/* One page that may have an entry which lets stores pass: only a dirty one has. */
static int watch_page(struct object *object, struct chunk *chunk, unsigned i)
{
	page_word *page = &chunk->page[i];
	bool done = false;
	int r = 0;

	while (!done) {
		uint32_t word;

		rwlock_read_acquire(&object->cache->map_lock);
		word = page_load(page);
		done = page_state(word) != PAGE_HELD && !(page_state(word) == PAGE_RESIDENT && (word & PAGE_DIRTY));
		if (!done && page_state(word) == PAGE_RESIDENT && page_swap(page, &word, (word & ~PAGE_STATE) | PAGE_HELD)) {
			r = protect_pages(object, chunk->first + i, 1);
			page_settle(page, PAGE_RESIDENT, 0, 0);
			done = true;
		}
		rwlock_read_release(&object->cache->map_lock);
		if (!done && page_state(word) == PAGE_HELD)
			page_wait(page, word);
	}
	return r;
}

static bool catches_stores(struct object *object)
{
	bool catches = false;

	rwlock_read_acquire(&object->cache->map_lock);
	for (struct view *view = object->views; view; view = view->next)
		catches |= view->tracked && !view->private_pages && !view_tracks(view);
	rwlock_read_release(&object->cache->map_lock);
	return catches;
}

int object_watch(struct object *object, uint64_t first, uint64_t end)
{
	int result = 0;

	if (!catches_stores(object))
		return 0;
	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			int r = chunk->first + i < first || chunk->first + i >= end ? 0 : watch_page(object, chunk, i);

			if (r < 0 && result == 0)
				result = r;
		}
	return result;
}

enum claim writeback_hold(struct object *object, struct chunk *chunk, unsigned i, bool idle_only)
{
	page_word *page = &chunk->page[i];
	uint32_t word = page_load(page);

	/* Past the end: the file is being cut. Who has to be sure looks again when that is over (object_flush). */
	if (object->kind != OBJECT_SWAP && chunk->first + i >= atomic_load(&object->writable_end))
		return CLAIM_CLEAN;
	while ((word & PAGE_DIRTY) && !(idle_only && (word & PAGE_MAPPED))) {
		/* Without a frame: a mark that was made to raise SIGBUS was taken for a store. Cleared only if the word still is so. */
		if (page_state(word) == PAGE_ABSENT || is_stale(chunk, word)) {
			if (!page_swap(page, &word, word & ~PAGE_DIRTY))
				continue;
			writeback_count_clean(chunk);
			return CLAIM_CLEAN;
		}
		if ((word & PAGE_WRITING) || page_state(word) != PAGE_RESIDENT)
			return CLAIM_BUSY;
		if (page_swap(page, &word, (word & ~PAGE_STATE) | PAGE_HELD))
			return CLAIM_HELD;
	}
	return CLAIM_CLEAN;
}

/* What could not be protected may be stored to unnoticed: it stays dirty. */
static void settle_taken(struct chunk *chunk, unsigned i, bool is_protected)
{
	atomic_fetch_add(&chunk->unsaved, CHUNK_WRITING);
	page_settle(&chunk->page[i], PAGE_RESIDENT, is_protected ? PAGE_DIRTY : 0, PAGE_WRITING);
	if (is_protected)
		writeback_count_clean(chunk);
}

void writeback_take(struct object *object, struct chunk *chunk, const struct chunk_set *held)
{
	for (unsigned i = chunk_set_next(held, 0), end, next; i < CHUNK_PAGES; i = next) {
		bool is_protected;

		/* What lies between may be protected as well: it is clean, or protected once more than it need be. */
		end = next = chunk_set_run(held, i);
		while ((next = chunk_set_next(held, next)) < CHUNK_PAGES && next - end <= PROTECT_GAP)
			end = next = chunk_set_run(held, next);
		is_protected = protect_pages(object, chunk->first + i, end - i) == 0;
		for (; i < end; i = chunk_set_next(held, i + 1))
			settle_taken(chunk, i, is_protected);
	}
}

/*
 * Claims a run of dirty pages at or after i into the buffer: buffer->count pages from buffer->first on.
 * => The page after the run; with patient, the page that is busy, and *ret_busy, when the run would begin with one.
 */
static unsigned claim_run(struct object *object, struct chunk *chunk, unsigned i, unsigned end, struct buffer *buffer, bool patient,
			  bool idle_only, bool *ret_busy)
{
	struct chunk_set held = {{0}};
	unsigned most = buffer->pages;
	enum claim claim = CLAIM_CLEAN;

	buffer->count = 0;
	*ret_busy = false;
	rwlock_read_acquire(&object->cache->map_lock);
	for (; i < end; i++) {
		claim = writeback_hold(object, chunk, i, idle_only);
		if (claim == CLAIM_HELD || (claim == CLAIM_BUSY && patient))
			break;
	}
	buffer->first = chunk->first + i;
	*ret_busy = i < end && claim == CLAIM_BUSY;
	while (i < end && claim == CLAIM_HELD) {
		chunk_set_add(&held, i);
		buffer->count++;
		i++;
		claim = i < end && buffer->count < most ? writeback_hold(object, chunk, i, idle_only) : CLAIM_CLEAN;
	}
	writeback_take(object, chunk, &held);
	rwlock_read_release(&object->cache->map_lock);
	return i;
}

/* Sends a claimed run off. here: on this thread. */
static void send_run(struct object *object, struct buffer *buffer, struct batch *batch, bool here)
{
	uint64_t offset = buffer->first << page_shift, bytes = atomic_load(&object->bytes);
	size_t len = (size_t)buffer->count << page_shift;
	int r = frames_read(&object->frames, buffer->first, buffer->count, buffer->data);

	if (object->kind == OBJECT_FILE && offset + len > bytes)
		len = offset < bytes ? (size_t)(bytes - offset) : 0;
	if (r == 0)
		r = hooks_out(object, buffer->first, buffer->data, len);
	/* A journal keeps whole pages, and what was stored past the end is in none. */
	if (object->journal) {
		memset(buffer->data + len, 0, pages_of(len) * page_size() - len);
		len = pages_of(len) * page_size();
	}
	object_ref(object);
	buffer->object = object;
	buffer->batch = batch;
	/* Without the bytes as they are to be it cannot be sent at all. */
	buffer->tries = r < 0 ? WRITE_TRIES : 0;
	buffer->request = (struct pager_request){
	    .op = PAGER_WRITE,
	    .offset = offset,
	    .len = len,
	    .buf = buffer->data,
	    .done = write_done,
	    .owner = buffer,
	    .ret_error = -r,
	};
	if (batch)
		batch_add(batch);
	if (r < 0 || len == 0)
		write_done(&buffer->request);
	else if (here)
		object->pager->ops->run(object->pager, &buffer->request);
	else
		object->pager->ops->submit(object->pager, &buffer->request);
}

/*
 * One run is kept back until the next is found: if it stays the only one, this thread writes it, which saves two wake-ups. It
 * is sent before anything is waited for, so that nobody waits for a page of ours while we wait for one of his.
 */
struct writer {
	struct object *object;
	bool idle_only;
	struct batch *batch;
	struct buffer *kept;
};

static void send_kept(struct writer *writer, bool here)
{
	if (writer->kept)
		send_run(writer->object, writer->kept, writer->batch, here);
	writer->kept = NULL;
}

static unsigned write_chunk(struct writer *writer, struct chunk *chunk, unsigned i, unsigned end)
{
	struct buffers *buffers = writer->object->buffers;
	unsigned begun = 0;
	bool busy;

	while (chunk_dirty(chunk) > 0 && i < end) {
		struct buffer *buffer = buffer_try_run(buffers);

		/* All are on their way, perhaps for long: who does not wait comes again later. */
		if (!buffer && !writer->batch)
			break;
		if (!buffer) {
			send_kept(writer, true);
			buffer = buffer_get_run(buffers);
		}
		i = claim_run(writer->object, chunk, i, end, buffer, writer->batch != NULL, writer->idle_only, &busy);
		if (buffer->count > 0) {
			begun += buffer->count;
			send_kept(writer, false);
			writer->kept = buffer;
			if (!writer->batch)
				send_kept(writer, false);
			continue;
		}
		buffer_put(buffers, buffer);
		if (busy) {
			uint32_t word = page_load(&chunk->page[i]);

			send_kept(writer, false);
			if (page_is_busy(word) || (word & PAGE_WRITING))
				page_wait(&chunk->page[i], word);
		}
	}
	return begun;
}

unsigned object_write(struct object *object, uint64_t first, uint64_t end, bool idle_only, struct batch *batch)
{
	struct writer writer = {.object = object, .idle_only = idle_only, .batch = batch};
	unsigned begun = 0;
	bool asked = false;

	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		if (chunk_dirty(chunk) == 0)
			continue;
		/*
		 * A file that was cut off meanwhile must not be made longer again. Memory cannot be, and who has its size in his hands may be
		 * the one who needs room here, for the page that a cut goes through.
		 */
		if (!asked && object->kind == OBJECT_FILE)
			object_refresh_size(object);
		asked = true;
		begun += write_chunk(&writer, chunk, first > chunk->first ? (unsigned)(first - chunk->first) : 0,
				     end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES);
	}
	/* Here, unless nobody waits: then this thread must not either. */
	send_kept(&writer, batch != NULL);
	return begun;
}

bool object_wait_written(struct object *object, uint64_t first, uint64_t end)
{
	bool dirty = false;

	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES && atomic_load(&chunk->unsaved) > 0; i++) {
			uint32_t word;

			if (chunk->first + i < first || chunk->first + i >= end)
				continue;
			while (((word = page_load(&chunk->page[i])) & PAGE_WRITING) || (page_is_busy(word) && (word & PAGE_DIRTY)))
				page_wait(&chunk->page[i], word);
			dirty |= word & PAGE_DIRTY;
		}
	return dirty;
}

int object_flush(struct object *object, uint64_t first, uint64_t end)
{
	int r;

	rwlock_read_acquire(&object->cache->map_lock);
	r = object_harvest(object, first, end);
	rwlock_read_release(&object->cache->map_lock);
	/* A second pass where another's write of a page failed meanwhile: ours then tells the error. */
	for (unsigned pass = 0; pass < 2 && r == 0;) {
		uint32_t cuts = atomic_load(&object->cuts);
		struct batch batch = {0};

		object_write(object, first, end, false, &batch);
		r = batch_wait(&batch);
		if (!object_wait_written(object, first, end))
			break;
		/* While the file is being cut, pages at the end are left out; whether they are to be written is known afterwards. */
		lock_acquire(&object->size_lock);
		lock_release(&object->size_lock);
		pass += cuts % 2 == 0 && cuts == atomic_load(&object->cuts);
	}
	return r;
}

/*
 * After a failed sync nothing that was written since the last good one can be relied on: the kernel tells the error once and
 * counts the pages as clean. What is still resident is dirty again. False: some of it is not, and so may be lost.
 */
static bool redirty(struct object *object)
{
	bool complete = true;

	/* Pages are held under it, by us and by those we wait for; nobody of them waits for its writer. */
	rwlock_read_acquire(&object->cache->map_lock);
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			uint32_t word = page_load(&chunk->page[i]);

			if (!(word & PAGE_STORED))
				continue;
			/* Held for the moment: it stays, or if it is being evicted, it is gone. Zeros in its place are not what it was. */
			while (page_has_frame(word) && !(word & PAGE_FILLED)) {
				if (page_state(word) == PAGE_HELD)
					page_wait(&chunk->page[i], word);
				else if (page_swap(&chunk->page[i], &word, (word & ~PAGE_STATE) | PAGE_HELD))
					break;
				word = page_load(&chunk->page[i]);
			}
			if (page_state(word) == PAGE_RESIDENT && !(word & PAGE_FILLED)) {
				writeback_note_dirty(chunk, &chunk->page[i]);
				page_settle(&chunk->page[i], PAGE_RESIDENT, 0, 0);
			} else {
				complete = false;
			}
		}
	rwlock_read_release(&object->cache->map_lock);
	return complete;
}

/*
 * The kernel also fails a sync when a direct write met a page that somebody read through its cache at that moment: then
 * writing once more, everything, is all that is needed.
 */
static int sync_storage(struct object *object)
{
	int r = object->pager->ops->sync(object->pager);

	if (r == 0 || !redirty(object) || r != -EIO)
		return r;
	r = object_flush(object, 0, UINT64_MAX);
	if (r == 0)
		r = object->pager->ops->sync(object->pager);
	if (r < 0)
		(void)redirty(object);
	return r;
}

int object_sync(struct object *object, uint64_t first, uint64_t end)
{
	int flushed = object_flush(object, first, end);
	int synced = sync_storage(object);
	int missed = -atomic_exchange(&object->write_error, 0);

	return flushed < 0 ? flushed : synced < 0 ? synced : missed;
}
