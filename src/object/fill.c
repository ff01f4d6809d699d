/* SPDX-License-Identifier: MIT */
/*
 * fill.c - pages of zeros in the place of pages that cannot be had
 *
 * Zeros that nobody asked for are the worst an error can become. So:
 *
 *   The frame of an object is there for every mapping of it, but only the mapping whose callback has answered ZERO gets to see the
 *   zeros: any other touch of a page that is FILLED gives it up and asks the storage again (object_unfill). The same goes for the
 *   mapping itself when the page was unmapped meanwhile: zeros do not outlive the error for longer than until then.
 *
 *   A FILLED page is clean: nothing writes it. With the first store it is DIRTY and FILLED no more: the program has made it data.
 *
 *   Past the end there is no page of the file, and never one to be written: what is stored to a page that is BEYOND is kept as long as
 *   the page is, and goes with it. The memfd is made long enough for it, which the size of the object does not follow. When the file
 *   comes to reach so far, BEYOND pages go first (size.c, grow).
 *
 *   While a file is being cut, what lies between the new end and the old one is neither: the cut may be refused, and the bytes are there.
 *
 *   A private mapping gets a private page, which is the program's own from then on.
 */
#include "object/fill.h"

#include <errno.h>

#include "cache/policy.h"
#include "object/epoch.h"
#include "object/private.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"

static int reach_beyond(struct object *object, uint64_t page)
{
	int r;

	/* One at a time: who is later must not make it shorter. */
	lock_acquire(&object->lock);
	r = frames_reach(&object->frames, page + 1);
	if (r == 0)
		atomic_store(&object->beyond, true);
	lock_release(&object->lock);
	return r;
}

/* Where stores are caught by faults, the one that this is for is caught here. The page is in busy hands: ours. */
static int let_store(struct filling *f, struct chunk *chunk, page_word *page)
{
	if (!f->write || view_tracks(f->view))
		return 0;
	writeback_note_dirty(chunk, page);
	epoch_stamp(chunk, (unsigned)(page - chunk->page), 1);
	return pmap_unprotect(f->view->pmap, f->addr, 1, view_asks_to_track(f->view));
}

/* The object's word is BARRED by us, or HELD: what shows there cannot change meanwhile. */
static int fill_private(struct filling *f)
{
	int r = private_enter(f->view->private_pages, f->addr, page_of_zeros);

	f->ret_used = r == 0;
	return r == -EEXIST ? -EAGAIN : r;
}

/*
 * Where another mapping was refused the page, the entry that raises SIGBUS there looks like one that was stored to, and would make data
 * of the zeros. The page is in our hands, and has no frame: nothing else is in any entry of it.
 */
static int forget_refusals(const struct filling *f, uint64_t number)
{
	int r = 0;

	for (struct view *view = f->view->object->views; view && r == 0; view = view->next)
		if (view != f->view && !view->private_pages && number >= view->first && number - view->first < view->pages)
			r = pmap_remove(view->pmap, view->addr + ((number - view->first) << page_shift), 1);
	return r;
}

/* The word is LOADING by us, with the flag in it. */
static int fill_shared(struct filling *f, struct chunk *chunk, page_word *page, uint64_t number)
{
	int r = forget_refusals(f, number);

	if (r == 0)
		r = pmap_enter_fresh(f->view->pmap, f->addr, page_of_zeros, view_asks_to_track(f->view));
	if (r < 0) {
		page_settle(page, PAGE_ABSENT, PAGE_FILLED | PAGE_BEYOND, 0);
		return r == -EEXIST ? -EAGAIN : r;
	}
	f->ret_used = true;
	/* It is there; what its protection makes of it is another matter. */
	r = let_store(f, chunk, page);
	if (atomic_fetch_add(&chunk->resident, 1) == 0)
		policy_insert(f->view->object->cache, chunk);
	page_settle(page, PAGE_RESIDENT, PAGE_STAMP, PAGE_MAPPED);
	return r;
}

/* Zeros that another has put there. HELD by us. */
static int share_zeros(struct filling *f, struct chunk *chunk, page_word *page)
{
	int r = pmap_enter(f->view->pmap, f->addr, 1, view_asks_to_track(f->view));

	if (r == 0)
		r = let_store(f, chunk, page);
	page_settle(page, PAGE_RESIDENT, 0, PAGE_MAPPED);
	return r;
}

int object_fill(struct filling *f)
{
	struct view *view = f->view;
	struct object *object = view->object;
	uint64_t number = view->first + ((uint64_t)(f->addr - view->addr) >> page_shift);
	bool beyond = number >= atomic_load(&object->pages);
	uint32_t flag = beyond ? PAGE_BEYOND : PAGE_FILLED;
	struct chunk *chunk;
	page_word *page = object_page(object, number, &chunk);
	uint32_t seen = page ? page_load(page) : 0;
	int r = page ? 0 : -ENOMEM;

	f->ret_used = false;
	f->wait = NULL;
	if (beyond && number < pages_of(atomic_load(&object->bytes)))
		return -EAGAIN;
	if (r == 0 && beyond)
		r = reach_beyond(object, number);
	if (r < 0)
		return r;
	if (page_state(seen) == PAGE_ABSENT && view->private_pages) {
		if (!page_swap(page, &seen, (seen & ~PAGE_STATE) | PAGE_BARRED))
			return -EAGAIN;
		r = fill_private(f);
		page_settle(page, PAGE_ABSENT, 0, 0);
		return r;
	}
	if (page_state(seen) == PAGE_ABSENT)
		return page_swap(page, &seen, (seen & ~PAGE_STATE) | PAGE_LOADING | flag) ? fill_shared(f, chunk, page, number)
											  : -EAGAIN;
	if (page_state(seen) == PAGE_RESIDENT && (seen & (PAGE_FILLED | PAGE_BEYOND))) {
		if (!page_swap(page, &seen, (seen & ~PAGE_STATE) | PAGE_HELD))
			return -EAGAIN;
		if (!view->private_pages)
			return share_zeros(f, chunk, page);
		r = fill_private(f);
		page_settle(page, PAGE_RESIDENT, 0, 0);
		return r;
	}
	/* It has come meanwhile, or is in other hands. */
	if (page_is_busy(seen)) {
		f->wait = page;
		f->seen = seen;
	}
	return -EAGAIN;
}

void object_unfill(struct object *object, uint64_t page)
{
	struct chunk *chunk = table_find(&object->table, page);
	unsigned i = (unsigned)(page % CHUNK_PAGES);
	struct chunk_set set = {{0}};

	rwlock_read_acquire(&object->cache->map_lock);
	object_unmap(object, chunk, i, i + 1, true);
	rwlock_read_release(&object->cache->map_lock);
	/* A store may have made it data at the last moment: then the unmapping has found it DIRTY, and it is not evicted. */
	chunk_set_add(&set, i);
	object_evict(chunk, &set);
}

int object_forget_beyond(struct object *object)
{
	uint64_t pages = pages_of(atomic_load(&object->bytes));

	if (!atomic_load(&object->beyond))
		return 0;
	object_forget(object, pages);
	atomic_store(&object->beyond, false);
	return frames_resize(&object->frames, pages);
}
