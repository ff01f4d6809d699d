/* SPDX-License-Identifier: MIT */
/*
 * prefetch.c - lists of ranges that are to be brought in, and the thread of the engine that begins it
 *
 * The caller turns his ranges into spans, each of one object and referenced, walks them, and begins a transfer for each run of absent
 * pages, without waiting for any; so all of a list is under way at once, as far as there are frames and buffers. When these run out,
 * or there is anything else to wait for, he leaves the rest to a thread of the engine, which waits for room and walks on. Who ends the
 * last transfer tells the eventfd.
 *
 *      caller ── first walk ── begins ──▶ transfers ──▶ the last one: eventfd
 *         │ no room                ▲          ▲
 *         └──▶ queue ──▶ thread ───┘          │
 *                          │ some pages were in other hands
 *                          └─▶ second walk ───┘ waits for them
 *
 * A page that comes alone is mapped as it comes, where it shows through a shared mapping: its first touch costs nothing. Others
 * are mapped together at the first touch of one (PAGE_AHEAD).
 *
 * Private pages that are out are read into the swap object in the first walk, and moved in in the second.
 *
 * Rejected: leaving all of it to the thread. Waking one more thread costs a list of 256 pages as much as a tenth of its reading.
 */
#include "fault/prefetch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault/fault.h"
#include "sys/io.h"
#include "sys/page_size.h"
#include "sys/thread.h"
#include "util/fail.h"
#include "util/message.h"

/* A list brings in this part of the budget at most: more would push out its own beginning. */
#define BUDGET_DIVISOR 2
/* How often a private page that is out is looked at again. */
#define BRING_IN_TRIES 64

/* Part of one area, as it was when it was asked for. */
struct span {
	struct placement placement;
	struct prefetch *prefetch;
	char *addr;
	uint64_t pages;
	struct object *object; /* referenced; NULL: private memory without a file */
	uint64_t first;        /* page of the object at addr */
	bool shared;
};

struct prefetch {
	struct prefetch *next;
	struct prefetcher *prefetcher;
	struct space *space;
	struct batch batch; /* the walk, and the transfers */
	int eventfd;
	struct identity identity; /* of it */
	uint64_t left;            /* pages that it may still bring in */
	bool patient;             /* who walks may wait */
	bool again;               /* some pages were in other hands: a second walk waits for them */
	size_t at;                /* where the first walk goes on: a span … */
	uint64_t at_page;         /* … and a page of it */
	char *covered;            /* up to here a range was found mapped, while the list is made */
	size_t count, capacity;
	struct span *spans;
};

/* ---- a list ---- */

static void prefetch_free(struct prefetch *prefetch)
{
	if (!prefetch)
		return;
	/* A child's may have been given up since. */
	space_release(prefetch->space);
	free(prefetch->spans);
	free(prefetch);
}

static void unref_objects(struct prefetch *prefetch)
{
	for (size_t i = 0; i < prefetch->count; i++)
		object_unref(prefetch->spans[i].object);
}

/* Not write(2), a cancellation point. A counter that is full has been told enough. */
static void tell(int eventfd, const struct identity *identity)
{
	struct pollfd poll = {.fd = eventfd, .events = POLLOUT};
	struct timespec at_once = {0};
	uint64_t one = 1;

	if (eventfd < 0 || identity_check(eventfd, identity) < 0)
		return;
	if (syscall(SYS_ppoll, &poll, 1L, &at_once, NULL, 0L) == 1 && (poll.revents & POLLOUT))
		(void)syscall(SYS_write, eventfd, &one, sizeof(one));
	/* Who was told may have closed it since, with all others. */
	identity_close(eventfd, identity);
}

/* All that was begun has ended, and nothing more is: on the thread of the last transfer, which may not free. */
static void prefetch_finished(struct batch *batch)
{
	struct prefetch *prefetch = (struct prefetch *)((char *)batch - offsetof(struct prefetch, batch));
	struct prefetcher *prefetcher = prefetch->prefetcher;

	unref_objects(prefetch);
	tell(prefetch->eventfd, &prefetch->identity);
	lock_acquire(&prefetcher->lock);
	prefetch->next = prefetcher->done;
	prefetcher->done = prefetch;
	lock_release(&prefetcher->lock);
	if (atomic_fetch_sub(&prefetcher->outstanding, 1) == 1)
		futex_wake_all(&prefetcher->outstanding);
}

static void free_done(struct prefetcher *prefetcher)
{
	struct prefetch *done, *next;

	lock_acquire(&prefetcher->lock);
	done = prefetcher->done;
	prefetcher->done = NULL;
	lock_release(&prefetcher->lock);
	for (; done; done = next) {
		next = done->next;
		prefetch_free(done);
	}
}

/* ---- walking ---- */

/* A page that came alone: where it shows in the span still, it is mapped. */
static bool place_in_span(struct placement *placement, struct object *object, uint64_t page, const void *bytes)
{
	struct span *span = (struct span *)placement;
	struct space *space = span->prefetch->space;
	bool placed;

	rwlock_read_acquire(&space->cache->map_lock);
	placed = fault_place_locked(space, span->addr + ((page - span->first) << page_shift), object, page, bytes);
	rwlock_read_release(&space->cache->map_lock);
	return placed;
}

/*
 * Begins to load from page at of the span's object on. How far it came, and whether the first is in other hands. 0: there is no room
 * for it, and who walks does not wait.
 */
static uint64_t begin_run(struct prefetch *prefetch, struct span *span, uint64_t at, uint64_t end, bool *ret_busy)
{
	uint64_t most = end - at < CHUNK_PAGES ? end - at : CHUNK_PAGES;
	page_word *page = object_page(span->object, at, NULL);
	unsigned done;
	int r;

	*ret_busy = false;
	if (!page) {
		prefetch->left = 0;
		return end - at;
	}
	if (page_has_frame(page_load(page)))
		return 1;
	r = object_load_begin(span->object, at, (unsigned)(most < prefetch->left ? most : prefetch->left), PAGE_AHEAD,
			      prefetch->patient, span->shared ? &span->placement : NULL, &prefetch->batch, &done);
	/* One whose pager may be stuck is not waited for, and keeps nothing behind it. */
	if (r == -ENOMEM && object_has_own_buffers(span->object))
		return end - at;
	if (r == -ENOMEM && !prefetch->patient)
		return 0;
	if (r == -ENOMEM)
		prefetch->left = 0;
	if (r == -ENODATA)
		return end - at;
	*ret_busy = r == -EAGAIN;
	prefetch->left -= done < prefetch->left ? done : prefetch->left;
	return done ? done : 1;
}

/* How many pages from i on of a private span show the object, or are copies, the first deciding which. */
static uint64_t same_kind(const struct span *span, uint64_t i, bool *ret_out, bool *ret_absent)
{
	struct private_pages *pages = span->prefetch->space->private_pages;
	uint64_t page = ((uintptr_t)span->addr >> page_shift) + i, n = 0;
	enum page_state first = PAGE_ABSENT;

	rwlock_read_acquire(&span->prefetch->space->cache->map_lock);
	for (; i + n < span->pages && n < CHUNK_PAGES; n++) {
		struct chunk *chunk = table_find(&pages->object->table, page + n);
		enum page_state state = chunk ? page_state(page_load(&chunk->page[(page + n) % CHUNK_PAGES])) : PAGE_ABSENT;

		if (n > 0 && state != first)
			break;
		first = state;
	}
	rwlock_read_release(&span->prefetch->space->cache->map_lock);
	*ret_absent = first == PAGE_ABSENT;
	*ret_out = first == PAGE_OUT;
	return n;
}

/* Pages *i … end of the span that show the object. False: there is no room to go on. */
static bool walk_object(struct prefetch *prefetch, struct span *span, uint64_t *i, uint64_t end)
{
	while (*i < end && prefetch->left > 0) {
		bool busy;
		uint64_t n = begin_run(prefetch, span, span->first + *i, span->first + end, &busy);

		if (n == 0)
			return false;
		*i += n;
		prefetch->again |= busy;
	}
	return true;
}

static void walk_private(struct prefetch *prefetch, struct span *span)
{
	bool out, absent;
	uint64_t n;

	for (uint64_t i = 0; i < span->pages && prefetch->left > 0; i += n) {
		uint64_t at = i;

		n = same_kind(span, i, &out, &absent);
		if (absent && span->object)
			(void)walk_object(prefetch, span, &at, i + n);
		for (uint64_t k = 0; out && k < n && prefetch->left > 0; k++, prefetch->left--)
			private_begin_in(prefetch->space->private_pages, span->addr + ((i + k) << page_shift));
		prefetch->again |= out;
	}
}

static bool is_past_the_end(const struct span *span)
{
	return span->object && span->first + span->pages > atomic_load(&span->object->pages);
}

/*
 * Begins what can be begun, from where the last walk has stopped. False: for the rest it takes one who waits, be it for room, for the
 * size of a file or for the words of private pages.
 */
static bool walk(struct prefetch *prefetch)
{
	for (; prefetch->at < prefetch->count && prefetch->left > 0; prefetch->at++, prefetch->at_page = 0) {
		struct span *span = &prefetch->spans[prefetch->at];

		if (!prefetch->patient && (!span->shared || is_past_the_end(span)))
			return false;
		/* The file may have grown. Pages of ours that are being loaded may be waited for. */
		if (is_past_the_end(span)) {
			io_plug_flush();
			(void)object_refresh_size(span->object);
		}
		if (!span->shared)
			walk_private(prefetch, span);
		else if (!walk_object(prefetch, span, &prefetch->at_page, span->pages))
			return false;
	}
	return true;
}

/* ---- the second walk ---- */

/* Waits while the page is in other hands, and begins it if that has left it absent. */
static void wait_page(struct prefetch *prefetch, struct span *span, uint64_t page)
{
	page_word *at = object_page(span->object, page, NULL);
	bool busy = true;

	/* One whose pager may be stuck keeps the lists of nobody else. */
	if (object_has_own_buffers(span->object))
		return;
	for (uint32_t word; busy && at && page < atomic_load(&span->object->pages);) {
		while (page_is_busy(word = page_load(at)) && page_state(word) != PAGE_HELD)
			page_wait(at, word);
		if (page_state(word) != PAGE_ABSENT || prefetch->left == 0)
			break;
		begin_run(prefetch, span, page, page + 1, &busy);
	}
}

static void bring_in(struct prefetch *prefetch, char *addr)
{
	struct private_pages *pages = prefetch->space->private_pages;
	uint64_t page = (uintptr_t)addr >> page_shift;
	bool waited;

	for (unsigned i = 0; i < BRING_IN_TRIES; i++) {
		struct chunk *chunk = table_find(&pages->object->table, page);

		if (!chunk || page_state(page_load(&chunk->page[page % CHUNK_PAGES])) != PAGE_OUT ||
		    private_bring_in(pages, addr, &waited) < 0)
			break;
	}
}

static void walk_again(struct prefetch *prefetch, struct span *span)
{
	bool out = false, absent = span->shared;
	uint64_t n = span->pages;

	for (uint64_t i = 0; i < span->pages; i += n) {
		if (!span->shared)
			n = same_kind(span, i, &out, &absent);
		for (uint64_t k = i; absent && span->object && k < i + n; k++)
			wait_page(prefetch, span, span->first + k);
		for (uint64_t k = i; out && k < i + n; k++)
			bring_in(prefetch, span->addr + (k << page_shift));
	}
}

static bool walk_together(struct prefetch *prefetch)
{
	struct io_plug plug;
	bool done;

	io_plug_begin(prefetch->space->cache->io, &plug);
	done = walk(prefetch);
	io_plug_end();
	return done;
}

static void work(struct prefetch *prefetch)
{
	prefetch->patient = true;
	(void)walk_together(prefetch);
	for (size_t i = 0; i < prefetch->count && prefetch->again; i++)
		walk_again(prefetch, &prefetch->spans[i]);
	batch_done(&prefetch->batch, 0);
}

/* ---- the thread ---- */

static struct prefetch *pop(struct prefetcher *prefetcher)
{
	struct prefetch *prefetch;

	lock_acquire(&prefetcher->lock);
	prefetch = prefetcher->head;
	if (prefetch) {
		prefetcher->head = prefetch->next;
		if (!prefetcher->head)
			prefetcher->tail = NULL;
		prefetcher->waiting -= prefetch->count;
	}
	lock_release(&prefetcher->lock);
	return prefetch;
}

static void *prefetch_main(void *arg)
{
	struct prefetcher *prefetcher = arg;
	struct prefetch *prefetch;

	while (!atomic_load(&prefetcher->stopping)) {
		atomic_store(&prefetcher->word, 0);
		while ((prefetch = pop(prefetcher)) != NULL) {
			if (atomic_load(&prefetcher->stopping))
				batch_done(&prefetch->batch, 0);
			else
				work(prefetch);
			free_done(prefetcher);
		}
		if (!atomic_load(&prefetcher->stopping))
			futex_wait(&prefetcher->word, 0, NULL);
	}
	while ((prefetch = pop(prefetcher)) != NULL)
		batch_done(&prefetch->batch, 0);
	return NULL;
}

static void wake(struct prefetcher *prefetcher)
{
	if (atomic_exchange(&prefetcher->word, 1) == 0)
		futex_wake_all(&prefetcher->word);
}

/* ---- handing over ---- */

static int add_span(void *arg, const struct part *part)
{
	struct prefetch *prefetch = arg;
	struct span *last = prefetch->count ? &prefetch->spans[prefetch->count - 1] : NULL;

	if (part->addr != prefetch->covered)
		return message_set(ENOMEM, "nothing is mapped at %p", (void *)prefetch->covered);
	prefetch->covered = part->addr + (part->pages << page_shift);

	/* Goes on where the last one ends: one transfer for both. */
	if (last && last->object == part->object && last->shared == part->shared &&
	    last->addr + (last->pages << page_shift) == part->addr && (!part->object || last->first + last->pages == part->first)) {
		last->pages += part->pages;
		return 0;
	}
	if (prefetch->count == prefetch->capacity) {
		size_t capacity = 2 * prefetch->capacity + 8;
		struct span *spans = fail_now(FAIL_ALLOC) ? NULL : realloc(prefetch->spans, capacity * sizeof(*spans));

		if (!spans)
			return message_set(ENOMEM, "no memory for a list of %zu ranges", capacity);
		prefetch->spans = spans;
		prefetch->capacity = capacity;
	}
	if (part->object)
		object_ref(part->object);
	prefetch->spans[prefetch->count++] = (struct span){
	    .placement.place = place_in_span,
	    .prefetch = prefetch,
	    .addr = part->addr,
	    .pages = part->pages,
	    .object = part->object,
	    .first = part->first,
	    .shared = part->shared,
	};
	return 0;
}

static int make(struct space *space, const struct iovec *ranges, size_t n, struct prefetch **ret)
{
	struct prefetch *prefetch = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*prefetch));
	int r = prefetch ? 0 : message_set(ENOMEM, "no memory for the list");

	if (r == 0) {
		space_use(space);
		prefetch->space = space;
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		prefetch->covered = ranges[i].iov_base;
		if (ranges[i].iov_len > 0)
			r = space_visit(space, ranges[i].iov_base, ranges[i].iov_len, add_span, prefetch);
		if (r == 0 && prefetch->covered != (char *)ranges[i].iov_base + ranges[i].iov_len)
			r = message_set(ENOMEM, "nothing is mapped at %p", (void *)prefetch->covered);
	}
	if (r < 0 && prefetch)
		unref_objects(prefetch);
	if (r < 0)
		prefetch_free(prefetch);
	else
		*ret = prefetch;
	return r;
}

/* Sees to it that a list may be begun here, or wait, and that there is a thread for it. */
static int admit(struct prefetcher *prefetcher, const struct prefetch *prefetch, bool *ret_here)
{
	int r = 0;

	lock_acquire(&prefetcher->lock);
	if (prefetcher->waiting > 0 && prefetcher->waiting + prefetch->count > PREFETCH_WAITING_MOST)
		r = message_set(EAGAIN, "%llu ranges wait to be fetched, and %d may; wait for the eventfd of an earlier list",
				(unsigned long long)prefetcher->waiting, PREFETCH_WAITING_MOST);
	if (r == 0 && !prefetcher->started) {
		atomic_store(&prefetcher->stopping, false);
		r = thread_start(&prefetcher->thread, "quire-prefetch", prefetch_main, prefetcher);
		prefetcher->started = r == 0;
		if (r < 0)
			r = message_set(EAGAIN, "the thread that fetches cannot be started: %s", strerrordesc_np(-r));
	}
	*ret_here = prefetcher->waiting == 0;
	if (r == 0) {
		prefetcher->waiting += prefetch->count;
		atomic_fetch_add(&prefetcher->outstanding, 1);
	}
	lock_release(&prefetcher->lock);
	return r;
}

static void leave_to_thread(struct prefetcher *prefetcher, struct prefetch *prefetch)
{
	lock_acquire(&prefetcher->lock);
	if (prefetcher->tail)
		prefetcher->tail->next = prefetch;
	else
		prefetcher->head = prefetch;
	prefetcher->tail = prefetch;
	lock_release(&prefetcher->lock);
	wake(prefetcher);
}

static void begin(struct prefetcher *prefetcher, struct prefetch *prefetch, bool here)
{
	size_t count = prefetch->count;

	if (!here || !walk_together(prefetch) || prefetch->again) {
		leave_to_thread(prefetcher, prefetch);
		return;
	}
	lock_acquire(&prefetcher->lock);
	prefetcher->waiting -= count;
	lock_release(&prefetcher->lock);
	batch_done(&prefetch->batch, 0);
}

int prefetch_start(struct prefetcher *prefetcher, struct space *space, const struct iovec *ranges, size_t n, int eventfd)
{
	struct prefetch *prefetch;
	bool here;
	int r = make(space, ranges, n, &prefetch);

	if (r < 0)
		return r;
	prefetch->prefetcher = prefetcher;
	prefetch->eventfd = eventfd;
	if (eventfd >= 0)
		(void)identity_get(eventfd, &prefetch->identity);
	prefetch->batch = (struct batch){.pending = 1, .finished = prefetch_finished};
	prefetch->left = atomic_load(&space->cache->limit) / BUDGET_DIVISOR;
	r = admit(prefetcher, prefetch, &here);
	if (r == 0) {
		begin(prefetcher, prefetch, here);
	} else {
		unref_objects(prefetch);
		prefetch_free(prefetch);
	}
	free_done(prefetcher);
	return r;
}

void prefetch_stop(struct prefetcher *prefetcher)
{
	uint32_t outstanding;

	if (prefetcher->started) {
		atomic_store(&prefetcher->stopping, true);
		wake(prefetcher);
		pthread_join(prefetcher->thread, NULL);
		prefetcher->started = false;
	}
	while ((outstanding = atomic_load(&prefetcher->outstanding)) != 0)
		futex_wait(&prefetcher->outstanding, outstanding, NULL);
	free_done(prefetcher);
}
