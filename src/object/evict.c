/* SPDX-License-Identifier: MIT */
/*
 * evict.c - unmapping pages and giving frames back
 *
 * Unmapping a shared page that the kernel tracks has to tell whether a store came in between the last look and the unmapping,
 * since afterwards nobody knows. The kernel leaves the mark of write protection in an entry that it empties, and a store removes the
 * protection: so an entry that was present before and carries no mark after was stored to. Nothing may be mapped anew in
 * between: every page of the span is held, or barred where it has no frame.
 *
 *   hold what is mapped, hold or bar what lies between │ present? │ unmap │ marked? │ settle the words
 */
#include <errno.h>
#include <time.h>

#include "cache/policy.h"
#include "object/collapse.h"
#include "object/epoch.h"
#include "object/object.h"
#include "object/private.h"
#include "object/rescue.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

/* What is known of the pages of one chunk while it is unmapped. */
struct unmapping {
	struct object *object;
	struct chunk *chunk;
	struct chunk_set mapped; /* held by us, and mapped before */
	struct chunk_set idle;   /* held by us, not mapped */
	struct chunk_set barred; /* no frame, kept so by us */
	struct chunk_set span;   /* all three */
	struct chunk_set dirty;  /* found to have been stored to */
	struct chunk_set stay;   /* could not be unmapped */
	struct leaving leaving;  /* what the keeper has to know, should this thread not come to the end */
};

/* Intersects a view with a chunk: pages of the chunk, end exclusive. False: they do not meet. */
static bool view_in_chunk(const struct view *view, const struct chunk *chunk, unsigned *ret_from, unsigned *ret_end)
{
	uint64_t from = view->first > chunk->first ? view->first : chunk->first;
	uint64_t view_end = view->first + view->pages, chunk_end = chunk->first + CHUNK_PAGES;
	uint64_t end = view_end < chunk_end ? view_end : chunk_end;

	if (from >= end)
		return false;
	*ret_from = (unsigned)(from - chunk->first);
	*ret_end = (unsigned)(end - chunk->first);
	return true;
}

static char *view_addr(const struct view *view, const struct chunk *chunk, unsigned i)
{
	return view->addr + ((chunk->first + i - view->first) << page_shift);
}

static void add_run(struct chunk_set *set, unsigned from, unsigned end)
{
	for (unsigned i = from; i < end; i++)
		chunk_set_add(set, i);
}

static void hold_span(struct unmapping *u, const struct chunk_set *locked, unsigned from, unsigned to)
{
	unsigned low = CHUNK_PAGES, high = 0;

	for (unsigned i = from; i < to; i++) {
		uint32_t word = page_load(&u->chunk->page[i]);

		while (page_state(word) == PAGE_RESIDENT && (word & PAGE_MAPPED) && !chunk_set_has(locked, i))
			if (page_swap(&u->chunk->page[i], &word, (word & ~PAGE_STATE) | PAGE_HELD)) {
				chunk_set_add(&u->mapped, i);
				low = low < i ? low : i;
				high = i + 1;
				break;
			}
	}
	for (unsigned i = low; i < high; i++) {
		uint32_t word = page_load(&u->chunk->page[i]);

		while (!chunk_set_has(&u->mapped, i) &&
		       (page_state(word) == PAGE_ABSENT || (page_state(word) == PAGE_RESIDENT && !(word & PAGE_MAPPED)))) {
			bool absent = page_state(word) == PAGE_ABSENT;

			if (page_swap(&u->chunk->page[i], &word, (word & ~PAGE_STATE) | (absent ? PAGE_BARRED : PAGE_HELD))) {
				chunk_set_add(absent ? &u->barred : &u->idle, i);
				break;
			}
		}
	}
	for (unsigned w = 0; w < CHUNK_PAGES / 64; w++)
		u->span.bits[w] = u->mapped.bits[w] | u->idle.bits[w] | u->barred.bits[w];
}

/*
 * Of a chunk with a huge frame all goes, since its entry cannot be taken out page by page, and faults are caught again before. What another
 * thread holds may keep an entry: ret_all. False: faults are not caught, and all stays as it is.
 */
static bool make_small(struct unmapping *u, const struct chunk_set *locked, bool *ret_all)
{
	unsigned from, end;

	hold_span(u, locked, 0, CHUNK_PAGES);
	*ret_all = true;
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		if (!chunk_set_has(&u->span, i) && page_has_frame(page_load(&u->chunk->page[i])))
			*ret_all = false;
	for (struct view *view = u->object->views; view; view = view->next)
		if (!view->private_pages && !view->pmap->far && view_in_chunk(view, u->chunk, &from, &end) &&
		    collapse_catch(view, view_addr(view, u->chunk, from), end - from) < 0) {
			u->stay = u->span;
			return false;
		}
	return true;
}

/*
 * Takes the object's pages out of a view. In another process that does not answer, stopped perhaps, they are protected against stores
 * instead: what it may read there is right until the frame is given back, which takes it out of every mapping.
 */
static int take_out(const struct view *view, char *addr, unsigned n)
{
	int r = pmap_remove(view->pmap, addr, n);

	if (r == -EAGAIN && view->pmap->far)
		r = view->private_pages ? 0 : pmap_protect(view->pmap, addr, n, view_asks_to_track(view));
	return r;
}

/* The same of the pages of the span from … end, which are in pieces where some are left out. */
static int take_out_span(struct unmapping *u, const struct view *view, unsigned from, unsigned end)
{
	struct iovec pieces[64];
	unsigned n = 0;
	int r = 0;

	for (unsigned i = from, run; r == 0 && i < end; i = chunk_set_next(&u->span, run)) {
		run = chunk_set_run(&u->span, i);
		if (run > end)
			run = end;
		if (view->pmap->far) {
			r = take_out(view, view_addr(view, u->chunk, i), run - i);
			continue;
		}
		if (n == sizeof(pieces) / sizeof(pieces[0])) {
			r = pmap_remove_pieces(view->pmap, pieces, n);
			n = 0;
		}
		pieces[n++] = (struct iovec){view_addr(view, u->chunk, i), (size_t)(run - i) << page_shift};
	}
	return r == 0 && n > 0 ? pmap_remove_pieces(view->pmap, pieces, n) : r;
}

/* Unmaps the pages of the span that lie in from … end of the chunk, both ends among them, from a shared view. */
static void unmap_shared(struct unmapping *u, struct view *view, unsigned from, unsigned end)
{
	struct leaving *leaving = &u->leaving;
	uint64_t *present = leaving->present, marked[PAGEMAP_WORDS] = {0};
	char *addr = view_addr(view, u->chunk, from);
	bool ask = view->tracked && view_tracks(view);
	int r;

	if (ask && pagemap_there(view->pmap->pagemap, addr, end - from, present) < 0) {
		add_run(&u->stay, from, end);
		return;
	}
	leaving->pagemap = view->pmap->pagemap;
	leaving->addr = addr;
	leaving->from = from;
	leaving->end = end;
	atomic_store_explicit(&leaving->unmaps, ask, memory_order_release);
	r = take_out_span(u, view, from, end);
	if (r < 0)
		add_run(&u->stay, from, end);
	if (!ask)
		return;
	/* Some may be out where not all are: what is there still has told nothing. Where the answer is not to be had, all counts as stored to. */
	if ((r < 0 ? pagemap_there(view->pmap->pagemap, addr, end - from, marked)
		   : pagemap_marked(view->pmap->pagemap, addr, end - from, marked)) < 0)
		for (unsigned w = 0; w < PAGEMAP_WORDS; w++)
			marked[w] = 0;
	for (unsigned i = from; i < end; i++) {
		unsigned bit = i - from;

		if (((present[bit / 64] & ~marked[bit / 64]) >> (bit % 64) & 1) && chunk_set_has(&u->mapped, i))
			chunk_set_add(&u->dirty, i);
	}
	atomic_store_explicit(&leaving->unmaps, false, memory_order_release);
}

/* Likewise from a private view: only where no private page lies over the object's. */
static void unmap_private(struct unmapping *u, struct view *view, unsigned from, unsigned end)
{
	for (unsigned i = from; i < end;) {
		unsigned run = i;

		while (run < end && private_is_absent(view->private_pages, view_addr(view, u->chunk, run)))
			run++;
		if (run > i && take_out(view, view_addr(view, u->chunk, i), run - i) < 0)
			add_run(&u->stay, i, run);
		i = run > i ? run : i + 1;
	}
}

static void settle_span(struct unmapping *u)
{
	for (unsigned i = chunk_set_next(&u->span, 0); i < CHUNK_PAGES; i = chunk_set_next(&u->span, i + 1)) {
		page_word *page = &u->chunk->page[i];

		if (chunk_set_has(&u->barred, i)) {
			page_settle(page, PAGE_ABSENT, 0, 0);
			continue;
		}
		if (chunk_set_has(&u->dirty, i)) {
			writeback_note_dirty(u->chunk, page);
			epoch_stamp(u->chunk, i, 1);
		}
		page_settle(page, PAGE_RESIDENT, chunk_set_has(&u->stay, i) ? 0 : PAGE_MAPPED, 0);
	}
}

/* The object's pages that a locked view shows: under a private page of its own it shows none. */
static void add_locked(struct chunk_set *set, const struct view *view, const struct chunk *chunk, unsigned from, unsigned end)
{
	for (unsigned i = from; i < end; i++)
		if (!view->private_pages || private_is_absent(view->private_pages, view_addr(view, chunk, i)))
			chunk_set_add(set, i);
}

/* The last page of the set before end, which is behind one; plus one. */
static unsigned set_end(const struct chunk_set *set, unsigned end)
{
	while (!chunk_set_has(set, end - 1))
		end--;
	return end;
}

/* Pages in locked stay, and come to be there those of locked views. */
static void unmap(struct object *object, struct chunk *chunk, unsigned from, unsigned to, bool locked_too, struct chunk_set locked)
{
	struct unmapping u = {.object = object, .chunk = chunk};
	unsigned a, b;
	bool huge, all = false;

	for (struct view *view = object->views; view; view = view->next)
		if (view->locked && !locked_too && view_in_chunk(view, chunk, &a, &b))
			add_locked(&locked, view, chunk, a, b);
	lock_acquire(&object->lock);
	hold_span(&u, &locked, from, to);
	/* It does not become so any more: for that all words are held. */
	huge = chunk_is_huge(chunk) && chunk_set_next(&u.span, 0) < CHUNK_PAGES;
	if (huge && !make_small(&u, &locked, &all))
		goto settle;
	u.leaving.chunk = chunk;
	u.leaving.mapped = &u.mapped;
	u.leaving.dirty = &u.dirty;
	atomic_store_explicit(&object->leaving, &u.leaving, memory_order_release);
	for (struct view *view = object->views; view; view = view->next) {
		if (!view_in_chunk(view, chunk, &a, &b) || (a = chunk_set_next(&u.span, a)) >= b)
			continue;
		if (!view->private_pages) {
			unmap_shared(&u, view, a, set_end(&u.span, b));
			continue;
		}
		for (unsigned i = a, end; i < b; i = chunk_set_next(&u.span, end)) {
			end = chunk_set_run(&u.span, i);
			unmap_private(&u, view, i, end < b ? end : b);
		}
	}
	/* Where an entry is left it is one without protection, and has to go before a store may come. */
	if (huge && all && chunk_set_next(&u.stay, 0) == CHUNK_PAGES) {
		atomic_fetch_and(&chunk->frames, (uint8_t)~CHUNK_HUGE);
		atomic_fetch_sub(&object->cache->huge_chunks, 1);
	}
settle:
	settle_span(&u);
	atomic_store_explicit(&object->leaving, NULL, memory_order_release);
	lock_release(&object->lock);
}

void object_unmap(struct object *object, struct chunk *chunk, unsigned from, unsigned to, bool locked_too)
{
	unmap(object, chunk, from, to, locked_too, (struct chunk_set){{0}});
}

/* Moves the pages of the set that can go to HELD. */
static void hold_victims(struct chunk *chunk, const struct chunk_set *set, struct chunk_set *ret_held)
{
	for (unsigned i = chunk_set_next(set, 0); i < CHUNK_PAGES; i = chunk_set_next(set, i + 1)) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) == PAGE_RESIDENT && !(word & (PAGE_MAPPED | PAGE_DIRTY | PAGE_WRITING)) &&
		    page_swap(&chunk->page[i], &word, (word & ~PAGE_STATE) | PAGE_HELD))
			chunk_set_add(ret_held, i);
	}
}

void object_settle_evicted(struct cache *cache, page_word *page)
{
	bool once = page_load(page) & PAGE_ONCE;

	page_settle(page, PAGE_ABSENT,
		    (once ? PAGE_USE : PAGE_PASSES) | PAGE_AHEAD | PAGE_MARK | PAGE_ONCE | PAGE_FILLED | PAGE_BEYOND,
		    once ? 0 : policy_stamp(cache));
}

unsigned object_evict(struct chunk *chunk, const struct chunk_set *set)
{
	struct object *object = chunk->object;
	struct chunk_set held = {{0}};
	unsigned freed = 0;

	if (object->kind == OBJECT_PRIVATE)
		return 0;
	/* Who has the map lock for writing meets no held page: see size.c, shrink. */
	rwlock_read_acquire(&object->cache->map_lock);
	hold_victims(chunk, set, &held);
	for (unsigned i = chunk_set_next(&held, 0); i < CHUNK_PAGES; i = chunk_set_next(&held, i)) {
		unsigned end = chunk_set_run(&held, i);
		bool gone = frames_free(&object->frames, chunk->first + i, end - i) == 0;

		if (gone && end - i == CHUNK_PAGES)
			collapse_clear_large(object, chunk);
		for (unsigned j = i; j < end; j++) {
			/* I3: a page that is dropped is neither dirty nor on its way. */
			ASSERT(!(page_load(&chunk->page[j]) & (PAGE_DIRTY | PAGE_WRITING | PAGE_MAPPED)));
			if (gone)
				object_settle_evicted(object->cache, &chunk->page[j]);
			else
				page_settle(&chunk->page[j], PAGE_RESIDENT, 0, 0);
		}
		if (gone) {
			freed += end - i;
			atomic_fetch_sub(&chunk->resident, end - i);
			budget_release(object->cache, end - i);
		}
		i = end;
	}
	rwlock_read_release(&object->cache->map_lock);
	count(&object->cache->counters.evicted_pages, freed);
	return freed;
}

void object_drop(struct object *object, uint64_t first, uint64_t end, bool write)
{
	if (write)
		object_flush(object, first, end);
	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;
		struct chunk_set set = {{0}};

		rwlock_read_acquire(&object->cache->map_lock);
		object_unmap(object, chunk, from, to, false);
		rwlock_read_release(&object->cache->map_lock);
		add_run(&set, from, to);
		object_evict(chunk, &set);
	}
}

/* Pages from … to of a chunk that came in to be used once, and that nobody else has used. */
static struct chunk_set find_once(struct chunk *chunk, unsigned from, unsigned to)
{
	struct chunk_set set = {{0}};

	for (unsigned i = from; i < to; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) == PAGE_RESIDENT && (word & PAGE_ONCE))
			chunk_set_add(&set, i);
	}
	return set;
}

void object_drop_once(struct object *object, uint64_t first, uint64_t end)
{
	bool dirty = false;

	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;
		struct chunk_set set = find_once(chunk, from, to);

		for (unsigned i = chunk_set_next(&set, from), run; i < CHUNK_PAGES; i = chunk_set_next(&set, run)) {
			run = chunk_set_run(&set, i);
			rwlock_read_acquire(&object->cache->map_lock);
			object_unmap(object, chunk, i, run, false);
			rwlock_read_release(&object->cache->map_lock);
			if (run == CHUNK_PAGES)
				break;
		}
		object_evict(chunk, &set);
		dirty |= chunk_dirty(chunk) > 0;
	}
	/* What was stored to goes as soon as it is written, when the policy comes by. */
	if (dirty && object->kind == OBJECT_FILE)
		object_write(object, first, end, true, NULL);
}

void object_invalidate(struct object *object, uint64_t first, uint64_t end)
{
	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first < end;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			uint32_t word;

			if (chunk->first + i < first || chunk->first + i >= end)
				continue;
			while (page_state(word = page_load(&chunk->page[i])) == PAGE_LOADING || page_state(word) == PAGE_HELD)
				page_wait(&chunk->page[i], word);
		}
	object_drop(object, first, end, false);
}

/* ---- what the cache asks for ---- */

/* A huge entry goes as a whole, and to another process each piece is a message. */
static bool can_spare(const struct object *object, const struct chunk *chunk)
{
	for (const struct view *view = object->views; view; view = view->next)
		if (view->pmap->far)
			return false;
	return !chunk_is_huge(chunk);
}

static void unmap_chunk(struct chunk *chunk, const struct chunk_set *spared)
{
	struct object *object = chunk->object;

	if (object->kind == OBJECT_PRIVATE) {
		private_page_out(object->private_pages, chunk, 0, CHUNK_PAGES);
		return;
	}
	rwlock_read_acquire(&object->cache->map_lock);
	unmap(object, chunk, 0, CHUNK_PAGES, false, can_spare(object, chunk) ? *spared : (struct chunk_set){{0}});
	rwlock_read_release(&object->cache->map_lock);
}

static unsigned clean_chunk(struct chunk *chunk, bool wait)
{
	struct object *object = chunk->object;
	static const struct timespec moment = {.tv_nsec = 500000};
	unsigned begun;

	if (object->kind == OBJECT_PRIVATE)
		return 0;
	begun = object_write(object, chunk->first, chunk->first + CHUNK_PAGES, true, NULL);
	/*
	 * For a moment, not to the end: the write may wait for a thread that waits for this very fault (inside write(2) to the
	 * same file). A failure leaves the pages dirty; the next msync tells it.
	 */
	if (wait)
		nanosleep(&moment, NULL);
	return begun;
}

const struct cache_ops object_cache_ops = {
    .unmap = unmap_chunk,
    .evict = object_evict,
    .clean = clean_chunk,
    .ref = object_try_ref,
    .unref = object_unref,
};
