/* SPDX-License-Identifier: MIT */
/*
 * model.c - the rules of coherence, as sets of possible worlds; see model.h
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

/* ---- sets of worlds ---- */

static unsigned char *memory_of(struct world *w)
{
	return w->bytes;
}

static unsigned char *file_of(const struct model_file *f, struct world *w)
{
	return w->bytes + f->page_bytes;
}

static unsigned char *flight_of(const struct model_file *f, struct world *w)
{
	return w->bytes + 2 * f->page_bytes;
}

static struct world *world_new(const struct model_file *f)
{
	struct world *w = calloc(1, sizeof(*w) + 3 * (size_t)f->page_bytes);

	if (w == NULL)
		abort();
	return w;
}

static bool same(const struct model_file *f, const struct world *a, const struct world *b)
{
	return a->dirty == b->dirty && a->flies == b->flies &&
	       memcmp(a->bytes, b->bytes, (a->flies ? 3 : 2) * (size_t)f->page_bytes) == 0;
}

/* Takes the world over. */
static void add(const struct model_file *f, struct model_page *p, struct world *w)
{
	for (int i = 0; i < p->count; i++) {
		if (same(f, p->worlds[i], w)) {
			free(w);
			return;
		}
	}
	if (p->count == MODEL_WORLDS)
		abort();
	p->worlds[p->count++] = w;
}

static struct world *copy_of(const struct model_file *f, const struct world *w)
{
	struct world *copy = world_new(f);

	memcpy(copy, w, sizeof(*w) + (w->flies ? 3 : 2) * (size_t)f->page_bytes);
	return copy;
}

static void drop(struct model_page *p, int i)
{
	free(p->worlds[i]);
	p->worlds[i] = p->worlds[--p->count];
}

/* Worlds that have become equal are one. */
static void join(const struct model_file *f, struct model_page *p)
{
	for (int i = 0; i < p->count; i++) {
		for (int j = p->count - 1; j > i; j--) {
			if (same(f, p->worlds[i], p->worlds[j]))
				drop(p, j);
		}
	}
}

static bool stays(const struct model_file *f, const struct model_page *p)
{
	return p->locks > 0 && p->there && !f->coherent;
}

/* Adds what the worlds may have become by themselves. */
static void close_set(const struct model_file *f, struct model_page *p)
{
	size_t n = (size_t)f->page_bytes;

	for (int i = 0; i < p->count; i++) {
		struct world *w = p->worlds[i], *next;

		if (!w->flies && !w->dirty && (stays(f, p) || memcmp(memory_of(w), file_of(f, w), n) == 0))
			continue;
		next = copy_of(f, w);
		if (w->flies) {
			next->flies = memcmp(file_of(f, w), flight_of(f, w), n) != 0;
			memcpy(file_of(f, next), flight_of(f, w), n);
		} else if (w->dirty) {
			memcpy(flight_of(f, next), memory_of(w), n);
			next->flies = true;
			next->dirty = false;
		} else {
			memcpy(memory_of(next), file_of(f, w), n);
		}
		add(f, p, next);
	}
}

static void clear(struct model_page *p)
{
	while (p->count > 0)
		drop(p, 0);
}

static void make_zero(const struct model_file *f, struct model_page *p)
{
	clear(p);
	add(f, p, world_new(f));
	p->there = false;
}

/* ---- files ---- */

void model_file_init(struct model_file *f, int64_t page_bytes, bool coherent)
{
	*f = (struct model_file){.page_bytes = page_bytes, .coherent = coherent};
	f->pages = calloc(MODEL_PAGES, sizeof(*f->pages));
	f->stored = calloc(2, (size_t)page_bytes);
	if (f->pages == NULL || f->stored == NULL)
		abort();
	f->is_stored = f->stored + page_bytes;
}

void model_file_free(struct model_file *f)
{
	for (int64_t i = 0; i < MODEL_PAGES; i++)
		clear(&f->pages[i]);
	free(f->pages);
	free(f->stored);
}

static void forget_stored(struct model_file *f)
{
	memset(f->is_stored, 0, (size_t)f->page_bytes);
	f->stored_page = -1;
}

void model_file_reset(struct model_file *f, int64_t bytes, void (*fill)(void *arg, int64_t page, unsigned char *bytes), void *arg)
{
	f->bytes = bytes;
	f->size = SIZE_KNOWN;
	f->mappings = 0;
	forget_stored(f);
	for (int64_t i = 0; i < MODEL_PAGES; i++) {
		struct model_page *p = &f->pages[i];
		int64_t inside = bytes - i * f->page_bytes;

		make_zero(f, p);
		p->locks = 0;
		if (inside <= 0)
			continue;
		fill(arg, i, file_of(f, p->worlds[0]));
		if (inside < f->page_bytes)
			memset(file_of(f, p->worlds[0]) + inside, 0, (size_t)(f->page_bytes - inside));
		memcpy(memory_of(p->worlds[0]), file_of(f, p->worlds[0]), (size_t)f->page_bytes);
	}
}

static int64_t pages_of_bytes(const struct model_file *f, int64_t bytes)
{
	return (bytes + f->page_bytes - 1) / f->page_bytes;
}

int64_t model_file_pages(const struct model_file *f)
{
	return pages_of_bytes(f, f->bytes);
}

bool model_may_bus(const struct model_file *f, int64_t page)
{
	return page >= model_file_pages(f);
}

bool model_must_bus(const struct model_file *f, int64_t page)
{
	return model_may_bus(f, page) && !(f->size == SIZE_CUT && page < pages_of_bytes(f, f->old_bytes));
}

bool model_is_vague(const struct model_file *f, int64_t page)
{
	return f->pages[page].count >= MODEL_WORLDS_MANY;
}

/* ---- bytes about which the size leaves more than one possibility ---- */

/* The first one of the page, f->page_bytes for none. */
static int64_t loose_from(const struct model_file *f, int64_t page)
{
	int64_t end = f->bytes;

	if (f->size == SIZE_GREW && page == f->old_bytes / f->page_bytes)
		end = f->old_bytes;
	end -= page * f->page_bytes;
	return end < 0 ? 0 : end < f->page_bytes ? end : f->page_bytes;
}

static bool loose_allows(const struct model_file *f, struct world *w, int64_t page, int64_t at, unsigned char seen)
{
	if (seen == 0 || seen == memory_of(w)[at])
		return true;
	return f->stored_page == page && f->is_stored[at] && f->stored[at] == seen;
}

static void store_loose(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *bytes)
{
	if (f->stored_page != page)
		forget_stored(f);
	f->stored_page = page;
	memcpy(f->stored + from, bytes, (size_t)n);
	memset(f->is_stored + from, 1, (size_t)n);
}

/* ---- loads and stores ---- */

/*
 * How many of the bytes the world explains, from the first on. *ret_dropped: only if the page was dropped in the middle of them.
 */
static int64_t explains_load(struct model_file *f, struct model_page *p, struct world *w, int64_t page, int64_t from, int64_t n,
			     const unsigned char *seen, bool *ret_dropped)
{
	int64_t loose = loose_from(f, page), at;
	const unsigned char *bytes = memory_of(w);

	*ret_dropped = false;
	for (at = 0; at < n; at++) {
		if (from + at >= loose ? loose_allows(f, w, page, from + at, seen[at]) : bytes[from + at] == seen[at])
			continue;
		if (*ret_dropped || w->dirty || w->flies || stays(f, p) || from + at >= loose ||
		    file_of(f, w)[from + at] != seen[at])
			break;
		*ret_dropped = true;
		bytes = file_of(f, w);
	}
	return at;
}

bool model_load(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *seen, int64_t *ret_at)
{
	struct model_page *p = &f->pages[page];
	struct world *torn = NULL;
	int kept = 0;

	*ret_at = 0;
	close_set(f, p);
	for (int i = 0; i < p->count; i++) {
		struct world *w = p->worlds[i];
		bool dropped;
		int64_t at = explains_load(f, p, w, page, from, n, seen, &dropped);

		*ret_at = at > *ret_at ? at : *ret_at;
		if (at == n && dropped)
			torn = w;
		if (at < n || dropped)
			continue;
		p->worlds[i] = p->worlds[kept];
		p->worlds[kept++] = w;
	}
	if (kept == 0 && torn != NULL) {
		torn = copy_of(f, torn);
		memcpy(memory_of(torn), file_of(f, torn), (size_t)f->page_bytes);
		clear(p);
		add(f, p, torn);
		kept = 1;
		f->torn_loads++;
	}
	if (kept == 0)
		return false;
	while (p->count > kept)
		drop(p, p->count - 1);
	p->there = true;
	return true;
}

void model_store(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *bytes)
{
	struct model_page *p = &f->pages[page];
	int64_t loose = loose_from(f, page), firm = loose - from, end = f->bytes - page * f->page_bytes - from;
	int count;

	close_set(f, p);
	firm = firm < 0 ? 0 : firm < n ? firm : n;
	/* What may be stored for good: in a file that was cut, up to the end of the page, for it may be there still. */
	if (f->size == SIZE_CUT)
		end = n;
	end = end < firm ? firm : end < n ? end : n;
	count = p->count;
	for (int i = 0; i < count; i++) {
		struct world *w = p->worlds[i];

		w->dirty = true;
		memcpy(memory_of(w) + from, bytes, (size_t)firm);
		if (firm < end) {
			struct world *learnt = copy_of(f, w);

			memcpy(memory_of(learnt) + from, bytes, (size_t)end);
			add(f, p, learnt);
		}
	}
	if (firm < n)
		store_loose(f, page, from + firm, n - firm, bytes + firm);
	join(f, p);
	p->there = true;
}

void model_may_be_dirty(struct model_file *f, int64_t page)
{
	struct model_page *p = &f->pages[page];
	int count;

	close_set(f, p);
	count = p->count;
	for (int i = 0; i < count; i++) {
		struct world *w = copy_of(f, p->worlds[i]);

		w->dirty = true;
		add(f, p, w);
	}
}

bool model_copied(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *stored,
		  const unsigned char *seen, int64_t *ret_at)
{
	/* Around the store, as one load of what the page held; the store itself reads as it was. */
	if (memcmp(seen + from, stored, (size_t)n) != 0) {
		*ret_at = from;
		return false;
	}
	if (from > 0 && !model_load(f, page, 0, from, seen, ret_at))
		return false;
	if (from + n == f->page_bytes || model_load(f, page, from + n, f->page_bytes - from - n, seen + from + n, ret_at))
		return true;
	*ret_at += from + n;
	return false;
}

/* ---- read(2) and write(2) ---- */

/* Whether a write-back, seen half done, explains it: each byte is on one of the sides. */
static bool explains_torn_read(struct model_file *f, struct world *w, int64_t from, int64_t n, const unsigned char *seen)
{
	for (int64_t i = from; i < from + n; i++) {
		if (seen[i - from] != file_of(f, w)[i] && !(w->dirty && seen[i - from] == memory_of(w)[i]) &&
		    !(w->flies && seen[i - from] == flight_of(f, w)[i]))
			return false;
	}
	return w->dirty || w->flies;
}

static int64_t common(const unsigned char *a, const unsigned char *b, int64_t n)
{
	int64_t i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i;
}

bool model_read(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *seen, int64_t *ret_at)
{
	struct model_page *p = &f->pages[page];
	bool exact = false;

	*ret_at = 0;
	close_set(f, p);
	for (int i = 0; i < p->count; i++) {
		int64_t at = common(file_of(f, p->worlds[i]) + from, seen, n);

		exact |= at == n;
		*ret_at = at > *ret_at ? at : *ret_at;
	}
	f->torn_reads += !exact;
	for (int i = p->count - 1; i >= 0; i--) {
		struct world *w = p->worlds[i];

		if (exact ? memcmp(file_of(f, w) + from, seen, (size_t)n) != 0 : !explains_torn_read(f, w, from, n, seen))
			drop(p, i);
		else if (!exact)
			memcpy(file_of(f, w) + from, seen, (size_t)n);
	}
	join(f, p);
	return p->count > 0;
}

void model_write(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *bytes)
{
	struct model_page *p = &f->pages[page];

	int64_t learnt = f->size == SIZE_GREW ? f->old_bytes - page * f->page_bytes - from : n;

	close_set(f, p);
	/* Bytes that made the file longer are taken over into the page that held the old end. */
	learnt = learnt < 0 ? 0 : learnt < n ? learnt : n;
	for (int i = 0; i < p->count; i++) {
		struct world *w = p->worlds[i];

		memcpy(file_of(f, w) + from, bytes, (size_t)n);
		memcpy(memory_of(w) + from + learnt, bytes + learnt, (size_t)(n - learnt));
		memcpy(flight_of(f, w) + from + learnt, bytes + learnt, (size_t)(n - learnt));
	}
	join(f, p);
}

/* ---- calls ---- */

void model_sync(struct model_file *f, int64_t page)
{
	struct model_page *p = &f->pages[page];

	close_set(f, p);
	for (int i = p->count - 1; i >= 0; i--) {
		if (p->worlds[i]->dirty || p->worlds[i]->flies)
			drop(p, i);
	}
}

void model_invalidate(struct model_file *f, int64_t page)
{
	struct model_page *p = &f->pages[page];

	close_set(f, p);
	/* One that is locked stays, and whether it was there is not known where a call may have touched it (MADV_POPULATE_READ). */
	if (p->locks > 0 && !f->coherent)
		return;
	for (int i = p->count - 1; i >= 0; i--) {
		struct world *w = p->worlds[i];

		if (!w->dirty && !w->flies && memcmp(memory_of(w), file_of(f, w), (size_t)f->page_bytes) != 0)
			drop(p, i);
	}
}

void model_remove(struct model_file *f, int64_t page)
{
	make_zero(f, &f->pages[page]);
	if (f->stored_page == page)
		forget_stored(f);
}

void model_lock(struct model_file *f, int64_t page, bool locked)
{
	struct model_page *p = &f->pages[page];

	close_set(f, p);
	if (p->locks == 0)
		p->there = false;
	p->locks += locked ? 1 : -1;
}

void model_unmapped(struct model_file *f)
{
	model_settle(f);
	for (int64_t i = 0; i < MODEL_PAGES; i++) {
		struct model_page *p = &f->pages[i];

		p->there = false;
		model_sync(f, i);
		for (int j = 0; j < p->count; j++)
			memcpy(memory_of(p->worlds[j]), file_of(f, p->worlds[j]), (size_t)f->page_bytes);
		join(f, p);
	}
	/* The kernel has the same page for the next mapping. */
	if (!f->coherent)
		forget_stored(f);
}

/* ---- sizes ---- */

/* Both sides are zeros from here on, and nothing is resident behind the page. */
static void cut(struct model_file *f, int64_t bytes)
{
	int64_t page = bytes / f->page_bytes, inside = bytes % f->page_bytes, first = pages_of_bytes(f, bytes);

	if (inside != 0) {
		struct model_page *p = &f->pages[page];

		close_set(f, p);
		for (int i = 0; i < p->count; i++) {
			memset(memory_of(p->worlds[i]) + inside, 0, (size_t)(f->page_bytes - inside));
			memset(file_of(f, p->worlds[i]) + inside, 0, (size_t)(f->page_bytes - inside));
			memset(flight_of(f, p->worlds[i]) + inside, 0, (size_t)(f->page_bytes - inside));
		}
		join(f, p);
	}
	for (int64_t i = first; i < MODEL_PAGES; i++)
		make_zero(f, &f->pages[i]);
}

void model_settle(struct model_file *f)
{
	int64_t page = f->bytes / f->page_bytes, inside = f->bytes % f->page_bytes;

	if (f->size == SIZE_CUT)
		cut(f, f->bytes);
	/* What was stored behind the end, and is within it now, was dropped; or it was stored for good, and is in a world. */
	if (f->size == SIZE_GREW && (f->stored_page != page || inside == 0))
		forget_stored(f);
	else if (f->size == SIZE_GREW)
		memset(f->is_stored, 0, (size_t)inside);
	f->size = SIZE_KNOWN;
}

void model_resize(struct model_file *f, int64_t bytes)
{
	model_settle(f);
	if (bytes == f->bytes)
		return;
	if (bytes < f->bytes)
		cut(f, bytes);
	forget_stored(f);
	f->bytes = bytes;
}

/* What was stored behind the old end is part of what may be there behind the new one. */
static void keep_stored(struct model_file *f)
{
	struct model_page *p = f->stored_page < 0 ? NULL : &f->pages[f->stored_page];

	for (int i = 0; p != NULL && i < p->count; i++) {
		for (int64_t at = 0; at < f->page_bytes; at++) {
			if (f->is_stored[at])
				memory_of(p->worlds[i])[at] = f->stored[at];
		}
	}
	forget_stored(f);
}

void model_resize_behind(struct model_file *f, int64_t bytes)
{
	if (bytes == f->bytes)
		return;
	if (f->mappings == 0) {
		model_resize(f, bytes);
		return;
	}
	f->size = bytes < f->bytes ? SIZE_CUT : SIZE_GREW;
	f->old_bytes = f->bytes;
	f->bytes = bytes;
	if (f->size == SIZE_CUT)
		keep_stored(f);
}
