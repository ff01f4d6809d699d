/* SPDX-License-Identifier: MIT */
/*
 * model.c - the rules of coherence, as sets of possible worlds; see model.h
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

/* ---- one world ---- */

static unsigned char *side_of(const struct model_file *f, struct world *w, enum world_side side)
{
	return w->bytes + side * f->page_bytes;
}

static unsigned char *file_of(const struct model_file *f, struct world *w)
{
	return side_of(f, w, SIDE_FILE);
}

/* => Only of a world with open bytes. */
static unsigned char *open_of(const struct model_file *f, struct world *w, enum world_side side)
{
	return w->bytes + (SIDES + side) * f->page_bytes;
}

/* => Likewise: number k of those that an open byte may be. */
static unsigned char *choice_of(const struct model_file *f, struct world *w, int k)
{
	return w->bytes + (2 * SIDES + k) * f->page_bytes;
}

static size_t size_of_world(const struct model_file *f, int mixed)
{
	return sizeof(struct world) + (size_t)((mixed > 0 ? 2 * SIDES + mixed : SIDES) * f->page_bytes);
}

static struct world *world_new(const struct model_file *f, int mixed)
{
	struct world *w = calloc(1, size_of_world(f, mixed));

	if (w == NULL)
		abort();
	w->mixed = mixed;
	return w;
}

static bool same(const struct model_file *f, const struct world *a, const struct world *b)
{
	return a->dirty == b->dirty && a->flies == b->flies && a->arrives == b->arrives && a->mixed == b->mixed &&
	       memcmp(a->bytes, b->bytes, size_of_world(f, a->mixed) - sizeof(*a)) == 0;
}

static bool same_sides(const struct model_file *f, struct world *w, enum world_side a, enum world_side b)
{
	size_t n = (size_t)f->page_bytes;

	return memcmp(side_of(f, w, a), side_of(f, w, b), n) == 0 &&
	       (w->mixed == 0 || memcmp(open_of(f, w, a), open_of(f, w, b), n) == 0);
}

static void copy_side(const struct model_file *f, struct world *w, enum world_side to, enum world_side from)
{
	memcpy(side_of(f, w, to), side_of(f, w, from), (size_t)f->page_bytes);
	if (w->mixed > 0)
		memcpy(open_of(f, w, to), open_of(f, w, from), (size_t)f->page_bytes);
	w->untidy = w->mixed > 0;
}

/* bytes NULL: zeros. */
static void set_side(const struct model_file *f, struct world *w, enum world_side side, int64_t from, int64_t n,
		     const unsigned char *bytes)
{
	if (bytes != NULL)
		memcpy(side_of(f, w, side) + from, bytes, (size_t)n);
	else
		memset(side_of(f, w, side) + from, 0, (size_t)n);
	if (w->mixed > 0 && memchr(open_of(f, w, side) + from, 1, (size_t)n) != NULL) {
		memset(open_of(f, w, side) + from, 0, (size_t)n);
		w->untidy = true;
	}
}

/* ---- open bytes ---- */

static bool is_open(const struct model_file *f, struct world *w, enum world_side side, int64_t at)
{
	return w->mixed > 0 && open_of(f, w, side)[at];
}

static bool may_be(const struct model_file *f, struct world *w, enum world_side side, int64_t at, unsigned char seen)
{
	if (!is_open(f, w, side, at))
		return side_of(f, w, side)[at] == seen;
	for (int k = 0; k < w->mixed; k++) {
		if (choice_of(f, w, k)[at] == seen)
			return true;
	}
	return false;
}

/* How many of the bytes the side has, from the first on. */
static int64_t matches(const struct model_file *f, struct world *w, enum world_side side, int64_t from, int64_t n,
		       const unsigned char *seen)
{
	int64_t i = 0;

	if (w->mixed == 0 && memcmp(side_of(f, w, side) + from, seen, (size_t)n) == 0)
		return n;
	while (i < n && may_be(f, w, side, from + i, seen[i]))
		i++;
	return i;
}

/* Of a side these bytes were seen: where one is open, it is so on every side. */
static void learn(const struct model_file *f, struct world *w, enum world_side side, int64_t from, int64_t n,
		  const unsigned char *seen)
{
	for (int64_t i = from; w->mixed > 0 && i < from + n; i++) {
		if (!open_of(f, w, side)[i])
			continue;
		for (int k = 0; k < SIDES; k++) {
			if (open_of(f, w, k)[i])
				set_side(f, w, k, i, 1, seen + (i - from));
		}
	}
}

/* What no open byte asks for any more is zeros, or gone, so that equal worlds have equal bytes. */
static void tidy(const struct model_file *f, struct world *w)
{
	bool any = false;

	if (!w->untidy)
		return;
	w->untidy = false;
	for (int k = 0; k < SIDES; k++)
		any |= memchr(open_of(f, w, k), 1, (size_t)f->page_bytes) != NULL;
	if (!any) {
		w->mixed = 0;
		w->arrives = false;
		return;
	}
	for (int64_t i = 0; i < f->page_bytes; i++) {
		bool open = open_of(f, w, SIDE_MEMORY)[i] | open_of(f, w, SIDE_FILE)[i] | open_of(f, w, SIDE_FLIGHT)[i];

		for (int k = 0; !open && k < w->mixed; k++)
			choice_of(f, w, k)[i] = 0;
	}
}

static struct world *copy_of(const struct model_file *f, struct world *w)
{
	struct world *copy = world_new(f, w->mixed);

	memcpy(copy, w, size_of_world(f, w->mixed));
	return copy;
}

/* The page was being read in while these bytes were written to the file: each came from before or from after. */
static struct world *mix(const struct model_file *f, struct world *w, int64_t from, int64_t n, const unsigned char *bytes)
{
	int choices = w->mixed > 0 ? w->mixed : 1;
	struct world *mixed = world_new(f, choices + 1);
	unsigned char *memory = side_of(f, mixed, SIDE_MEMORY), *open;

	memcpy(mixed, w, size_of_world(f, w->mixed));
	mixed->mixed = choices + 1;
	mixed->arrives = mixed->untidy = true;
	open = open_of(f, mixed, SIDE_MEMORY);
	memcpy(choice_of(f, mixed, choices), choice_of(f, mixed, 0), (size_t)f->page_bytes);
	for (int64_t i = from; i < from + n; i++) {
		if (!open[i] && memory[i] == bytes[i - from])
			continue;
		for (int k = 0; !open[i] && k < choices; k++)
			choice_of(f, mixed, k)[i] = memory[i];
		choice_of(f, mixed, choices)[i] = bytes[i - from];
		memory[i] = 0;
		open[i] = 1;
	}
	return mixed;
}

/* ---- sets of worlds ---- */

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

static void drop(struct model_page *p, int i)
{
	free(p->worlds[i]);
	p->worlds[i] = p->worlds[--p->count];
}

/* Worlds that have become equal are one. */
static void join(const struct model_file *f, struct model_page *p)
{
	for (int i = 0; i < p->count; i++)
		tidy(f, p->worlds[i]);
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
	for (int i = 0; i < p->count; i++) {
		struct world *w = p->worlds[i], *next;

		if (!w->flies && !w->dirty && (stays(f, p) || same_sides(f, w, SIDE_MEMORY, SIDE_FILE)))
			continue;
		next = copy_of(f, w);
		if (w->flies) {
			next->flies = !same_sides(f, w, SIDE_FILE, SIDE_FLIGHT);
			copy_side(f, next, SIDE_FILE, SIDE_FLIGHT);
			if (!next->flies)
				set_side(f, next, SIDE_FLIGHT, 0, f->page_bytes, NULL);
		} else if (w->dirty) {
			copy_side(f, next, SIDE_FLIGHT, SIDE_MEMORY);
			next->flies = true;
			next->dirty = false;
		} else {
			copy_side(f, next, SIDE_MEMORY, SIDE_FILE);
			next->arrives = false;
		}
		tidy(f, next);
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
	add(f, p, world_new(f, 0));
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
		copy_side(f, p->worlds[0], SIDE_MEMORY, SIDE_FILE);
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
	int n = 0;

	for (int i = 0; i < f->pages[page].count; i++)
		n += f->pages[page].worlds[i]->mixed == 0;
	return n >= MODEL_WORLDS_MANY;
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
	if (seen == 0 || may_be(f, w, SIDE_MEMORY, at, seen))
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
	enum world_side side = SIDE_MEMORY;

	*ret_dropped = false;
	at = matches(f, w, SIDE_MEMORY, from, from + n <= loose ? n : loose > from ? loose - from : 0, seen);
	for (; at < n; at++) {
		if (from + at >= loose ? loose_allows(f, w, page, from + at, seen[at]) : may_be(f, w, side, from + at, seen[at]))
			continue;
		if (*ret_dropped || w->dirty || w->flies || stays(f, p) || from + at >= loose ||
		    !may_be(f, w, SIDE_FILE, from + at, seen[at]))
			break;
		*ret_dropped = true;
		side = SIDE_FILE;
	}
	return at;
}

bool model_load(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *seen, int64_t *ret_at)
{
	struct model_page *p = &f->pages[page];
	int64_t firm = loose_from(f, page) - from;
	struct world *torn = NULL;
	bool exact = false;
	int kept = 0;

	*ret_at = 0;
	close_set(f, p);
	firm = firm < 0 ? 0 : firm < n ? firm : n;
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
		exact |= w->mixed == 0;
	}
	if (kept == 0 && torn != NULL) {
		torn = copy_of(f, torn);
		copy_side(f, torn, SIDE_MEMORY, SIDE_FILE);
		clear(p);
		add(f, p, torn);
		kept = 1;
		f->torn_loads++;
	} else if (kept > 0) {
		f->torn_loads += !exact;
		for (int i = 0; i < kept; i++)
			learn(f, p->worlds[i], SIDE_MEMORY, from, firm, seen);
	}
	if (kept == 0)
		return false;
	while (p->count > kept)
		drop(p, p->count - 1);
	for (int i = 0; i < kept; i++)
		p->worlds[i]->arrives = false;
	join(f, p);
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
		w->arrives = false;
		set_side(f, w, SIDE_MEMORY, from, firm, bytes);
		if (firm < end) {
			struct world *learnt = copy_of(f, w);

			set_side(f, learnt, SIDE_MEMORY, from, end, bytes);
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
		w->arrives = false;
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
		if (!may_be(f, w, SIDE_FILE, i, seen[i - from]) && !(w->dirty && may_be(f, w, SIDE_MEMORY, i, seen[i - from])) &&
		    !(w->flies && may_be(f, w, SIDE_FLIGHT, i, seen[i - from])))
			return false;
	}
	return w->dirty || w->flies;
}

bool model_read(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *seen, int64_t *ret_at)
{
	struct model_page *p = &f->pages[page];
	bool exact = false;

	*ret_at = 0;
	close_set(f, p);
	for (int i = 0; i < p->count; i++) {
		int64_t at = matches(f, p->worlds[i], SIDE_FILE, from, n, seen);

		exact |= at == n;
		*ret_at = at > *ret_at ? at : *ret_at;
	}
	f->torn_reads += !exact;
	for (int i = p->count - 1; i >= 0; i--) {
		struct world *w = p->worlds[i];

		if (exact ? matches(f, w, SIDE_FILE, from, n, seen) < n : !explains_torn_read(f, w, from, n, seen))
			drop(p, i);
		else if (exact)
			learn(f, w, SIDE_FILE, from, n, seen);
		else
			set_side(f, w, SIDE_FILE, from, n, seen);
	}
	join(f, p);
	return p->count > 0;
}

/* A page that is read in has no frame until it is there: nobody has stored to it, and it was not there before. */
static bool may_arrive(const struct model_file *f, const struct model_page *p, struct world *w)
{
	return !f->coherent && f->mappings > 0 && !w->dirty && !w->flies && !stays(f, p) && w->mixed < MODEL_MIXED &&
	       (w->arrives || same_sides(f, w, SIDE_MEMORY, SIDE_FILE));
}

void model_write(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *bytes)
{
	struct model_page *p = &f->pages[page];
	int64_t learnt = f->size == SIZE_GREW ? f->old_bytes - page * f->page_bytes - from : n;
	int count;

	close_set(f, p);
	/* Bytes that made the file longer are taken over into the page that held the old end. */
	learnt = learnt < 0 ? 0 : learnt < n ? learnt : n;
	count = p->count;
	for (int i = 0; i < count; i++) {
		if (learnt > 0 && may_arrive(f, p, p->worlds[i]))
			add(f, p, mix(f, p->worlds[i], from, learnt, bytes));
	}
	for (int i = 0; i < p->count; i++) {
		struct world *w = p->worlds[i];

		set_side(f, w, SIDE_FILE, from, n, bytes);
		set_side(f, w, SIDE_MEMORY, from + learnt, n - learnt, bytes + learnt);
		if (w->flies)
			set_side(f, w, SIDE_FLIGHT, from + learnt, n - learnt, bytes + learnt);
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

		if (!w->dirty && !w->flies && !same_sides(f, w, SIDE_MEMORY, SIDE_FILE))
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
			copy_side(f, p->worlds[j], SIDE_MEMORY, SIDE_FILE);
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
			for (int side = 0; side < SIDES; side++)
				set_side(f, p->worlds[i], side, inside, f->page_bytes - inside, NULL);
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
				set_side(f, p->worlds[i], SIDE_MEMORY, at, 1, f->stored + at);
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
