/* SPDX-License-Identifier: MIT */
/*
 * share.c - private memory that is made shared where it is
 *
 * Piece by piece: some pages that are in memory, or a run of any length that was never touched. The bytes of a piece go into frames of
 * the object, for which as many were promised, and a shared mapping takes the place of the private one. Meanwhile the piece is
 * inaccessible, and a thread that touches it waits, as with all mappings that take another's place.
 */
#include "space/share.h"

#include <errno.h>
#include <sys/mman.h>

#include "cache/policy.h"
#include "space/edit.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/message.h"

#define PIECE_PAGES 16

struct piece {
	struct space *space;
	struct area *area; /* a private one */
	char *addr;
	size_t pages;
	bool in_memory; /* else never touched */
	struct object *object;
	uint64_t first;        /* page of the object */
	struct buffer *buffer; /* the bytes, when in_memory */
};

/* The private mapping again, after the shared one could not be opened in its place. 0 or -errno. */
static int put_back(const struct piece *p)
{
	struct mapping m = mapping_like(p->area, p->addr, p->pages << page_shift, 0);
	char *placed;
	int r;

	m.first = p->area->view.object ? area_page(p->area, p->addr) : 0;
	m.fixed = true;
	r = edit_place(p->space, &m, &placed);
	if (r == 0)
		r = edit_open(p->space, &m, placed);
	return r == 0 && p->in_memory ? pmap_enter_private(&p->space->pmap, p->addr, p->buffer->data, p->pages) : r;
}

/* What is known of the piece, after the kernel has a shared mapping there. gone: or nothing. */
static void replace_area(struct edit *edit, const struct piece *p, const struct mapping *m, bool gone)
{
	struct area_set *set = &edit->space->areas;
	struct area *area;
	size_t i;

	edit_split(edit, p->addr);
	edit_split(edit, p->addr + m->len);
	private_discard(edit->space->private_pages, p->addr, p->pages, false);
	i = area_set_search(set, p->addr);
	/* The same pages are locked in it. */
	if (!gone)
		set->all[i]->view.locked = false;
	edit_remove(edit, i);
	if (gone)
		return;
	area = edit_spare(edit);
	edit_fill(area, m, edit->space, p->addr);
	edit_add(edit, area);
	edit_join(edit, p->addr, p->addr + m->len);
}

/* The frames of the object have the bytes of the piece. -errno: none were made. */
static int copy_piece(const struct piece *p)
{
	int r = pmap_copy_out(&p->space->pmap, p->addr, p->pages, p->buffer->data);

	if (r == 0)
		r = object_prepare(p->object, p->first, (unsigned)p->pages);
	if (r == 0)
		r = frames_write(&p->object->frames, p->first, p->pages, p->buffer->data);
	return r;
}

/* ret_used: as many promised frames are the object's. */
static int share_piece(const struct piece *p, unsigned *ret_used)
{
	size_t len = p->pages << page_shift;
	struct mapping m = mapping_like(p->area, p->addr, len, 0);
	struct edit edit;
	bool gone = false;
	char *placed;
	int r = edit_begin(&edit, p->space, 3);

	*ret_used = 0;
	if (r < 0)
		return r;
	m.object = p->object;
	m.first = p->first;
	m.shared = m.anonymous = m.fixed = true;
	m.denies = false;
	m.inherit = INHERIT_AS_IT_IS;
	r = edit_protect(p->space, p->addr, len, PROT_NONE);
	if (r == 0 && p->in_memory)
		r = copy_piece(p);
	if (r == 0)
		r = edit_place(p->space, &m, &placed);
	if (r < 0) {
		edit_restore_protection(p->space, p->addr, p->addr + len);
	} else {
		r = edit_open(p->space, &m, p->addr);
		gone = r < 0 && put_back(p) < 0;
	}
	if (r == 0 && p->in_memory) {
		bool mapped = m.prot != PROT_NONE;

		/* What is locked has to be mapped at once, and the rest is touched soon. Where that fails some of it may be mapped. */
		if (mapped)
			(void)pmap_enter(&p->space->pmap, p->addr, p->pages, true);
		object_adopt(p->object, p->first, (unsigned)p->pages, mapped);
		*ret_used = (unsigned)p->pages;
	}
	if (r == 0 || gone)
		replace_area(&edit, p, &m, gone);
	if (r < 0 && p->in_memory)
		(void)frames_free(&p->object->frames, p->first, p->pages);
	edit_end(&edit);
	return gone    ? message_set(-r, "the kernel has no memory for the mapping at %p, which is lost", (void *)p->addr)
	       : r < 0 ? message_set(-r, "the mapping at %p cannot be made shared", (void *)p->addr)
		       : 0;
}

/* The area that holds a piece, as far as it can be shared; false: *end of what cannot. */
static bool can_share(const struct area *area, const char *addr, char **end)
{
	struct object *object = area->view.object;
	uint64_t page = object ? area_page(area, addr) : 0, pages = object ? atomic_load(&object->pages) : UINT64_MAX;

	if (*end > area_end(area))
		*end = area_end(area);
	if (area->shared || area->huge || page >= pages)
		return false;
	if (object && ((uint64_t)(*end - addr) >> page_shift) > pages - page)
		*end = (char *)(uintptr_t)((uintptr_t)addr + ((pages - page) << page_shift));
	return true;
}

/* The piece at *at, and *at goes behind it. Map lock held for writing. */
static int share_next(struct piece *p, const char *start, char **at, char *end, unsigned *ret_used)
{
	struct private_pages *pages = p->space->private_pages;
	size_t n;
	int r;

	*ret_used = 0;
	p->area = space_find(p->space, *at);
	p->addr = *at;
	if (!p->area || p->area->guard)
		return space_check_locked(p->space, *at, (size_t)(end - *at));
	if (!can_share(p->area, *at, &end)) {
		*at = end;
		return 0;
	}
	n = (size_t)(end - *at) >> page_shift;
	p->pages = private_absent(pages, *at, n);
	/* Behind a page that was never copied is the file's. */
	if (p->pages > 0 && p->area->view.object)
		return -EAGAIN;
	p->in_memory = p->pages == 0;
	if (p->in_memory)
		p->pages = private_own(pages, *at, n < p->buffer->pages ? n : p->buffer->pages);
	if (p->pages == 0)
		return -EAGAIN;
	p->first = (uint64_t)(*at - start) >> page_shift;
	r = share_piece(p, ret_used);
	if (r == 0)
		*at += p->pages << page_shift;
	return r;
}

int space_share(struct space *space, struct object *object, char *start, char **at, char *end)
{
	struct cache *cache = space->cache;
	struct piece p = {.space = space, .object = object};
	unsigned most = cache->buffers.run_pages < PIECE_PAGES ? cache->buffers.run_pages : PIECE_PAGES, promised = 0, used;
	struct removal removal;
	int r = removal_begin(space, *at, (size_t)(end - *at), &removal);

	if (r < 0)
		return r;
	while (r == 0 && *at < end) {
		r = budget_reserve(cache, most - promised);
		if (r < 0)
			break;
		promised = most;
		p.buffer = buffer_get(&cache->buffers, most);
		rwlock_write_acquire(&cache->map_lock);
		r = share_next(&p, start, at, end, &used);
		rwlock_write_release(&cache->map_lock);
		buffer_put(&cache->buffers, p.buffer);
		promised -= used;
	}
	budget_release(cache, promised);
	removal_end(space, &removal);
	return r;
}
