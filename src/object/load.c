/* SPDX-License-Identifier: MIT */
/*
 * load.c - page-in: from the pager through a buffer into frames
 *
 * Order of events, which the error paths undo backwards: promise frames; take a buffer; claim the words (ABSENT → LOADING);
 * transfer; write the frames; settle the words (I2: not before all bytes are right).
 */
#include <errno.h>
#include <string.h>

#include "cache/policy.h"
#include "object/collapse.h"
#include "object/hooks.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/duty.h"

/* The part of the budget that one run of pages may take. */
#define RUN_SHARE 32

/* Whether the pager never had the page and it is therefore zeros. */
static bool is_zero(const struct object *object, uint32_t word)
{
	return object->kind != OBJECT_FILE && !(word & PAGE_STORED);
}

/* Gives up the claimed words of n pages. */
static void unclaim(struct chunk *chunk, uint64_t first, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		page_settle(&chunk->page[first % CHUNK_PAGES + i], PAGE_ABSENT, PAGE_USE | PAGE_AHEAD | PAGE_MARK, 0);
}

/*
 * The frames have their bytes. The page that somebody waits for is the last: he then maps the others along, instead of waiting for each.
 * So is, where nobody waits yet, the first.
 */
static void publish(struct object *object, struct chunk *chunk, unsigned base, unsigned n, uint32_t flags)
{
	unsigned waited = CHUNK_PAGES;

	if (n == 0)
		return;
	if (atomic_fetch_add(&chunk->resident, n) == 0)
		policy_insert(object->cache, chunk);
	for (unsigned i = base + n; i-- > base;) {
		if (waited == CHUNK_PAGES && (page_load(&chunk->page[i]) & PAGE_WAITED))
			waited = i;
		else
			page_settle(&chunk->page[i], PAGE_RESIDENT, 0, flags);
	}
	if (waited < CHUNK_PAGES)
		page_settle(&chunk->page[waited], PAGE_RESIDENT, 0, flags);
}

static void put_buffer(struct object *object, struct buffer *buffer)
{
	if (buffer->is_aperture)
		aperture_put(&object->cache->apertures, buffer);
	else
		buffer_put(object->buffers, buffer);
}

/* The bytes are in the buffer, or the transfer failed: makes the frames and ends LOADING. errno or 0. */
static int finish(struct buffer *buffer, struct placement *placement)
{
	struct pager_request *request = &buffer->request;
	struct object *object = buffer->object;
	struct cache *cache = object->cache;
	struct chunk *chunk = table_find(&object->table, buffer->first);
	unsigned whole = (unsigned)pages_of(request->ret_bytes);
	struct batch *batch = buffer->batch;
	uint32_t flags = buffer->flags;
	bool cut = false;
	int error = request->ret_error;

	/* What was appended since the size was asked comes with the growth (size.c, grow), not by chance with this page. */
	if (error == 0 && object->kind != OBJECT_SWAP) {
		uint64_t bytes = atomic_load(&object->bytes), left = bytes > request->offset ? bytes - request->offset : 0;

		cut = request->ret_bytes > left;
		if (cut)
			request->ret_bytes = (size_t)left;
		whole = (unsigned)pages_of(request->ret_bytes);
	}
	if (error == 0) {
		memset(buffer->data + request->ret_bytes, 0, ((size_t)buffer->count << page_shift) - request->ret_bytes);
		if (buffer->zeros)
			count(&cache->counters.zero_faults, whole);
		else
			count(&cache->counters.read_calls, 1);
		count(&cache->counters.read_bytes, buffer->zeros ? 0 : request->ret_bytes);
		/* None: the object has become shorter than its words say, and the caller looks again. */
		if (whole == 0)
			error = ENODATA;
		else if (!buffer->zeros)
			whole = hooks_in(object, buffer->first, buffer->data, request->ret_bytes, &error);
		/* Refused for want of what the file has got since: as above, when the size is known. */
		if (error && cut)
			error = ENODATA;
	}
	if (error == 0) {
		if (placement && buffer->count == 1 && placement->place(placement, object, buffer->first, buffer->data))
			flags = PAGE_MAPPED | (flags & PAGE_ONCE);
		else if (!buffer->is_aperture)
			error = -frames_write(&object->frames, buffer->first, whole, buffer->data);
	}
	if (error && whole > 0)
		frames_free(&object->frames, buffer->first, whole);
	if (error)
		whole = 0;
	if (buffer->is_aperture && whole < buffer->count)
		frames_free(&object->frames, buffer->first + whole, buffer->count - whole);
	if (!buffer->zeros && !buffer->is_aperture)
		count(&cache->counters.copied_bytes, (uint64_t)whole << page_shift);
	publish(object, chunk, (unsigned)(buffer->first % CHUNK_PAGES), whole, flags);
	unclaim(chunk, buffer->first + whole, buffer->count - whole);
	budget_release(cache, buffer->count - whole);
	put_buffer(object, buffer);
	object_unref(object);
	if (batch)
		batch_done(batch, error);
	return error;
}

/* The transfer ran on another thread: nobody waits for it but those who wait for the words, and its batch. */
static void load_done(struct pager_request *request)
{
	struct buffer *buffer = request->owner;

	finish(buffer, buffer->placement);
}

/* The transfer ran on this thread, which goes on by itself. */
static void load_ran(struct pager_request *request)
{
	(void)request;
}

/*
 * Claims pages from first on while they are absent, and all with the pager or all zeros.
 * => How many. The words carry their REF and PASSES.
 */
static unsigned claim(struct object *object, struct chunk *chunk, uint64_t first, unsigned n, bool *ret_zero)
{
	unsigned base = (unsigned)(first % CHUNK_PAGES), i;

	for (i = 0; i < n; i++) {
		page_word *page = &chunk->page[base + i];
		uint32_t word = page_load(page);

		if (page_state(word) != PAGE_ABSENT || (i > 0 && is_zero(object, word) != *ret_zero))
			break;
		/* What nobody has paged out is no page: it would only be in the way of one that is going to be. */
		if (object->kind == OBJECT_SWAP && is_zero(object, word))
			break;
		*ret_zero = is_zero(object, word);
		if (!page_swap(page, &word,
			       (word & ~(PAGE_STATE | PAGE_STAMP | PAGE_REF)) | PAGE_LOADING | policy_born(object->cache, word)))
			break;
		/* Pairs with the fences in size.c, shrink and grow: either he sees the claim or we see the new size. */
		atomic_thread_fence(memory_order_seq_cst);
		if (first + i >= atomic_load(&object->pages)) {
			page_settle(page, PAGE_ABSENT, PAGE_USE, 0);
			break;
		}
	}
	return i;
}

/* What a load may wait for. */
enum patience {
	PATIENCE_NONE,  /* nothing: it is begun where there is room */
	PATIENCE_SPARE, /* nothing: likewise, and some room is left to others */
	PATIENCE_ROOM,  /* frames and a buffer, to begin it */
	PATIENCE_ALL,   /* its end, too: it runs on this thread */
};

static int promise(struct cache *cache, unsigned *n, bool wait)
{
	uint64_t most = atomic_load(&cache->limit) / RUN_SHARE;

	if (*n > most)
		*n = most ? (unsigned)most : 1;
	if (budget_try(cache, *n))
		return 0;
	if (!wait)
		return -ENOMEM;
	io_plug_flush();
	duty_leave();
	if (budget_reserve(cache, *n) == 0)
		return 0;
	*n = 1;
	return budget_reserve(cache, 1);
}

/*
 * Frames, and a buffer. Where the object has buffers of its own, they may be free again only after long, and what is promised is wanted
 * by others meanwhile.
 */
static struct buffer *get_own_buffer(struct object *object, unsigned *n, enum patience patience, int *ret_error)
{
	unsigned most = *n;

	for (;;) {
		uint32_t seen = atomic_load(&object->buffers->freed);
		struct buffer *buffer;

		*n = most;
		*ret_error = promise(object->cache, n, patience == PATIENCE_ALL);
		if (*ret_error < 0)
			return NULL;
		buffer = buffer_try(object->buffers, *n);
		if (buffer)
			return buffer;
		budget_release(object->cache, *n);
		*ret_error = -ENOMEM;
		if (patience != PATIENCE_ALL)
			return NULL;
		duty_leave();
		buffer_wait(object->buffers, seen);
	}
}

static struct buffer *get_buffer(struct buffers *buffers, unsigned n, enum patience patience)
{
	struct buffer *buffer;

	switch (patience) {
	case PATIENCE_ALL:
		buffer = buffer_try(buffers, n);
		if (buffer)
			return buffer;
		duty_leave();
		return buffer_get(buffers, n);
	case PATIENCE_SPARE:
		return buffer_try_spare(buffers, n);
	case PATIENCE_ROOM:
		buffer = buffer_try_spare(buffers, n);
		if (buffer)
			return buffer;
		io_plug_flush();
		return buffer_get_spare(buffers, n);
	default:
		return buffer_try(buffers, n);
	}
}

/* Loads one run inside one chunk. batch: told of the end, unless nothing was claimed. ret_done: pages that were claimed. */
static int load_run(struct object *object, uint64_t first, unsigned n, uint32_t flags, enum patience patience,
		    struct placement *placement, struct batch *batch, unsigned *ret_done)
{
	bool wait = patience == PATIENCE_ALL;
	struct cache *cache = object->cache;
	struct buffer *buffer;
	struct chunk *chunk;
	unsigned claimed;
	bool zero = false;
	int r;

	*ret_done = 0;
	if (!object_page(object, first, &chunk))
		return -ENOMEM;
	if (object_has_own_buffers(object)) {
		buffer = get_own_buffer(object, &n, patience, &r);
	} else {
		r = promise(cache, &n, patience >= PATIENCE_ROOM);
		buffer = r == 0 ? get_buffer(object->buffers, n, patience) : NULL;
		if (r == 0 && !buffer) {
			budget_release(cache, n);
			r = -ENOMEM;
		}
	}
	if (!buffer)
		return r;
	claimed = claim(object, chunk, first, n, &zero);
	budget_release(cache, n - claimed);
	*ret_done = claimed;
	if (claimed == 0) {
		buffer_put(object->buffers, buffer);
		return -EAGAIN;
	}
	object_ref(object);
	buffer->object = object;
	buffer->first = first;
	buffer->count = claimed;
	buffer->flags = flags;
	buffer->zeros = zero;
	buffer->batch = batch;
	buffer->placement = placement;
	if (batch)
		batch_add(batch);
	buffer->request = (struct pager_request){
	    .op = PAGER_READ,
	    .offset = first << page_shift,
	    .len = (size_t)claimed << page_shift,
	    .buf = buffer->data,
	    .done = wait ? load_ran : load_done,
	    .owner = buffer,
	};
	if (zero) {
		memset(buffer->data, 0, buffer->request.len);
		buffer->request.ret_bytes = buffer->request.len;
	} else if (wait) {
		object->pager->ops->run(object->pager, &buffer->request);
	} else {
		object->pager->ops->submit(object->pager, &buffer->request);
		return 0;
	}
	return -finish(buffer, placement);
}

/*
 * Begins to load a whole chunk into one frame, where all of it is absent, it may be LARGE, and there is room. batch: told of the end; may be NULL.
 * False: it is to be loaded run by run.
 */
static bool load_chunk(struct object *object, uint64_t first, uint32_t flags, struct batch *batch)
{
	struct cache *cache = object->cache;
	struct buffer *aperture;
	struct chunk *chunk;
	unsigned claimed;
	bool zero, fresh, fits;

	if (!object->frames.large || object_has_own_buffers(object) || !object_page(object, first, &chunk) ||
	    atomic_load(&chunk->resident) > 0 || (first + CHUNK_PAGES) << page_shift > atomic_load(&object->bytes) ||
	    CHUNK_PAGES > atomic_load(&cache->limit) / RUN_SHARE || !budget_try(cache, CHUNK_PAGES))
		return false;
	aperture = aperture_try(&cache->apertures);
	if (!aperture) {
		budget_release(cache, CHUNK_PAGES);
		return false;
	}
	claimed = claim(object, chunk, first, CHUNK_PAGES, &zero);
	/* Whoever has mapped it for stores is seen; who is about to do so sees that it is LARGE, and waits. */
	fresh = claimed == CHUNK_PAGES && collapse_set_large(object, chunk);
	fits = claimed == CHUNK_PAGES && collapse_may_be_large(object, first);
	if (!fits || aperture_open(&cache->apertures, aperture, &object->frames, first) < 0) {
		if (fresh)
			collapse_clear_large(object, chunk);
		unclaim(chunk, first, claimed);
		budget_release(cache, CHUNK_PAGES);
		if (!fits)
			aperture_put(&cache->apertures, aperture);
		return false;
	}
	object_ref(object);
	if (batch)
		batch_add(batch);
	aperture->object = object;
	aperture->first = first;
	aperture->count = claimed;
	aperture->flags = flags;
	aperture->zeros = false;
	aperture->batch = batch;
	aperture->placement = NULL;
	aperture->request = (struct pager_request){
	    .op = PAGER_READ,
	    .offset = first << page_shift,
	    .len = (size_t)CHUNK_PAGES << page_shift,
	    .buf = aperture->data,
	    .done = load_done,
	    .owner = aperture,
	};
	object->pager->ops->submit(object->pager, &aperture->request);
	return true;
}

/* Pages have begun to come in, so many of them ahead; the one with the mark gets it. */
static void note_begun(struct object *object, uint64_t first, unsigned n, uint64_t mark, unsigned ahead)
{
	if (mark >= first && mark - first < n)
		page_flags(object_page(object, mark, NULL), 0, PAGE_MARK);
	count(&object->cache->counters.readahead_pages, ahead);
}

int object_load(struct object *object, uint64_t first, unsigned pages, uint32_t flags, uint64_t mark, bool wait,
		struct placement *placement)
{
	uint64_t end = atomic_load(&object->pages);
	int result = 0;

	if (first >= end)
		return -ENODATA;
	if (pages < end - first)
		end = first + pages;
	for (uint64_t at = first; at < end;) {
		unsigned n = CHUNK_PAGES - (unsigned)(at % CHUNK_PAGES), done;
		bool now = wait && at == first;
		int r;

		if (n > end - at)
			n = (unsigned)(end - at);
		if (n == CHUNK_PAGES && !now && load_chunk(object, at, flags, NULL)) {
			note_begun(object, at, n, mark, flags & PAGE_AHEAD ? n : 0);
			at += n;
			continue;
		}
		if (n > object->buffers->run_pages)
			n = object->buffers->run_pages;
		/* What lies before the mark is waited for; what lies behind it is read meanwhile. */
		if (wait && mark > at && mark < at + n)
			n = (unsigned)(mark - at);
		r = load_run(object, at, n, flags, now ? PATIENCE_ALL : PATIENCE_NONE, now ? placement : NULL, NULL, &done);
		if (now) {
			result = r;
			/* A neighbour must not fail the page that was asked for. */
			if (r < 0 && r != -EAGAIN && r != -ENOMEM && done > 1)
				result = load_run(object, at, 1, flags & PAGE_ONCE, PATIENCE_ALL, placement, NULL, &done);
			if (result < 0)
				return result;
		} else if (r == -ENOMEM) {
			break;
		}
		note_begun(object, at, done, mark, !(flags & PAGE_AHEAD) ? 0 : now ? done - 1 : done);
		at += done ? done : 1;
	}
	return result;
}

void object_load_apart(struct object *object, uint64_t nearest, unsigned pages, int step, uint32_t flags, uint64_t mark)
{
	uint64_t page = nearest;
	struct io_plug plug;

	io_plug_begin(object->cache->io, &plug);
	for (; pages > 0; pages--, page += (uint64_t)step) {
		unsigned done;

		if (page >= atomic_load(&object->pages))
			continue;
		if (load_run(object, page, 1, flags, PATIENCE_SPARE, NULL, NULL, &done) == -ENOMEM)
			break;
		if (page == mark && done > 0)
			page_flags(object_page(object, page, NULL), 0, PAGE_MARK);
		count(&object->cache->counters.readahead_pages, done);
	}
	io_plug_end();
}

int object_load_begin(struct object *object, uint64_t first, unsigned pages, uint32_t flags, bool wait, struct placement *placement,
		      struct batch *batch, unsigned *ret_done)
{
	uint64_t end = atomic_load(&object->pages);
	unsigned n = CHUNK_PAGES - (unsigned)(first % CHUNK_PAGES);

	*ret_done = 0;
	if (first >= end)
		return -ENODATA;
	if (pages > end - first)
		pages = (unsigned)(end - first);
	if (n > pages)
		n = pages;
	if (n == CHUNK_PAGES && load_chunk(object, first, flags, batch)) {
		*ret_done = n;
		return 0;
	}
	if (n > object->buffers->run_pages)
		n = object->buffers->run_pages;
	return load_run(object, first, n, flags, wait ? PATIENCE_ROOM : PATIENCE_SPARE, placement, batch, ret_done);
}

/* ---- frames that another has made ---- */

int object_prepare(struct object *object, uint64_t first, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		if (!object_page(object, first + i, NULL))
			return -ENOMEM;
	return 0;
}

void object_adopt(struct object *object, uint64_t first, unsigned pages, bool mapped)
{
	for (unsigned i = 0; i < pages; i++) {
		struct chunk *chunk;
		page_word *word = object_page(object, first + i, &chunk);
		bool taken = page_take(word, PAGE_ABSENT, PAGE_LOADING);

		ASSERT(taken);
		writeback_note_dirty(chunk, word);
		publish(object, chunk, (unsigned)((first + i) % CHUNK_PAGES), 1, mapped ? PAGE_MAPPED : 0);
	}
}
