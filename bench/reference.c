/* SPDX-License-Identifier: MIT */
/*
 * reference.c - replacement policies from the books, simulated, to hold the engine's own against
 *
 * FIFO and LRU are one list each, differing in what a hit does. CLOCK is FIFO with a second chance. 2Q is the full version of
 * Johnson and Shasha (1994): a quarter of the cache for pages seen once, and a memory of half a cache's worth of pages that were
 * put out of it. S3-FIFO (Yang and others, 2023): a tenth of the cache for newcomers, and a memory of as many pages as the rest holds. W-TinyLFU
 * (Einziger and others, 2017): a hundredth is an LRU; what leaves it has to have been asked for more often than what it would displace. Its counts
 * are exact here, a nibble a page, in place of a sketch, so that it is as good as it can be. MIN (Belady 1966) puts out the page whose
 * next use is the furthest away.
 */
#include "reference.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define NONE UINT32_MAX

/* ---- lists of pages, by number; a page is on one list of a simulation at most ---- */

struct list {
	uint32_t first, last, count;
};

struct links {
	uint32_t *next, *previous;
	unsigned char *where; /* the list a page is on, in the simulation's own numbers; 0 none */
};

static void links_free(struct links *l)
{
	free(l->next);
	free(l->previous);
	free(l->where);
}

static int links_make(uint32_t pages, struct links *ret)
{
	struct links l = {malloc(pages * sizeof(*l.next)), malloc(pages * sizeof(*l.previous)), calloc(pages, 1)};

	if (!l.next || !l.previous || !l.where) {
		links_free(&l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

static void list_push(struct links *l, struct list *list, uint32_t page, unsigned char where)
{
	l->next[page] = list->first;
	l->previous[page] = NONE;
	if (list->first != NONE)
		l->previous[list->first] = page;
	else
		list->last = page;
	list->first = page;
	list->count++;
	l->where[page] = where;
}

static void list_remove(struct links *l, struct list *list, uint32_t page)
{
	uint32_t next = l->next[page], previous = l->previous[page];

	if (previous != NONE)
		l->next[previous] = next;
	else
		list->first = next;
	if (next != NONE)
		l->previous[next] = previous;
	else
		list->last = previous;
	list->count--;
	l->where[page] = 0;
}

static uint32_t list_pop(struct links *l, struct list *list)
{
	uint32_t page = list->last;

	list_remove(l, list, page);
	return page;
}

/* ---- FIFO, LRU ---- */

static int run_list(const struct trace *trace, bool move_on_hit, uint32_t *ret_hits)
{
	struct list list = {NONE, NONE, 0};
	struct links l;
	uint32_t hits = 0;
	int err = links_make(trace->pages, &l);

	if (err < 0)
		return err;
	for (uint32_t i = 0; i < trace->length; i++) {
		uint32_t page = trace->page[i];

		if (l.where[page]) {
			hits += i >= trace->warm;
			if (!move_on_hit)
				continue;
			list_remove(&l, &list, page);
		} else if (list.count == trace->capacity) {
			list_pop(&l, &list);
		}
		list_push(&l, &list, page, 1);
	}
	links_free(&l);
	*ret_hits = hits;
	return 0;
}

static int run_fifo(const struct trace *trace, uint32_t *ret_hits)
{
	return run_list(trace, false, ret_hits);
}

static int run_lru(const struct trace *trace, uint32_t *ret_hits)
{
	return run_list(trace, true, ret_hits);
}

/* ---- CLOCK ---- */

static int run_clock(const struct trace *trace, uint32_t *ret_hits)
{
	enum { ABSENT, OLD, USED };
	unsigned char *state = calloc(trace->pages, 1);
	uint32_t *ring = malloc(trace->capacity * sizeof(*ring)), count = 0, hand = 0, hits = 0;

	if (!state || !ring) {
		free(state);
		free(ring);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < trace->length; i++) {
		uint32_t page = trace->page[i];

		if (state[page] != ABSENT) {
			hits += i >= trace->warm;
			state[page] = USED;
			continue;
		}
		state[page] = OLD;
		if (count < trace->capacity) {
			ring[count++] = page;
			continue;
		}
		while (state[ring[hand]] == USED) {
			state[ring[hand]] = OLD;
			hand = (hand + 1) % count;
		}
		state[ring[hand]] = ABSENT;
		ring[hand] = page;
		hand = (hand + 1) % count;
	}
	free(state);
	free(ring);
	*ret_hits = hits;
	return 0;
}

/* ---- 2Q ---- */

struct two_queues {
	struct links links;
	struct list in, out, main; /* seen once; put out of in, remembered; seen again */
	uint32_t capacity;
};

enum { TWO_IN = 1, TWO_OUT, TWO_MAIN };

static void two_make_room(struct two_queues *q)
{
	if (q->in.count + q->main.count < q->capacity)
		return;
	if (q->in.count > q->capacity / 4 || q->main.count == 0) {
		list_push(&q->links, &q->out, list_pop(&q->links, &q->in), TWO_OUT);
		if (q->out.count > q->capacity / 2)
			list_pop(&q->links, &q->out);
	} else {
		list_pop(&q->links, &q->main);
	}
}

/* Returns whether it was a hit. */
static bool two_access(struct two_queues *q, uint32_t page)
{
	switch (q->links.where[page]) {
	case TWO_MAIN:
		list_remove(&q->links, &q->main, page);
		list_push(&q->links, &q->main, page, TWO_MAIN);
		return true;
	case TWO_IN:
		return true;
	case TWO_OUT:
		/* Off the list first: making room may forget the oldest of it. */
		list_remove(&q->links, &q->out, page);
		two_make_room(q);
		list_push(&q->links, &q->main, page, TWO_MAIN);
		return false;
	default:
		two_make_room(q);
		list_push(&q->links, &q->in, page, TWO_IN);
		return false;
	}
}

static int run_2q(const struct trace *trace, uint32_t *ret_hits)
{
	struct list empty = {NONE, NONE, 0};
	struct two_queues q = {.in = empty, .out = empty, .main = empty, .capacity = trace->capacity};
	uint32_t hits = 0;
	int err = links_make(trace->pages, &q.links);

	if (err < 0)
		return err;
	for (uint32_t i = 0; i < trace->length; i++)
		if (two_access(&q, trace->page[i]))
			hits += i >= trace->warm;
	links_free(&q.links);
	*ret_hits = hits;
	return 0;
}

/* ---- S3-FIFO ---- */

struct three_queues {
	struct links links;
	struct list small, main, ghosts;
	unsigned char *uses; /* of a resident page, beside the first; 3: or more */
	uint32_t capacity, small_capacity;
};

enum { THREE_SMALL = 1, THREE_MAIN, THREE_GHOST };

static void three_evict(struct three_queues *q)
{
	uint32_t page;

	if (q->small.count >= q->small_capacity || q->main.count == 0) {
		page = list_pop(&q->links, &q->small);
		if (q->uses[page] > 1) {
			list_push(&q->links, &q->main, page, THREE_MAIN);
			q->uses[page] = 0;
			return;
		}
		list_push(&q->links, &q->ghosts, page, THREE_GHOST);
		if (q->ghosts.count > q->capacity - q->small_capacity)
			list_pop(&q->links, &q->ghosts);
	} else {
		page = list_pop(&q->links, &q->main);
		if (q->uses[page]) {
			q->uses[page]--;
			list_push(&q->links, &q->main, page, THREE_MAIN);
		}
	}
}

/* Returns whether it was a hit. */
static bool three_access(struct three_queues *q, uint32_t page)
{
	bool ghost = q->links.where[page] == THREE_GHOST;

	if (q->links.where[page] && !ghost) {
		q->uses[page] += q->uses[page] < 3;
		return true;
	}
	if (ghost)
		list_remove(&q->links, &q->ghosts, page);
	while (q->small.count + q->main.count >= q->capacity)
		three_evict(q);
	q->uses[page] = 0;
	if (ghost)
		list_push(&q->links, &q->main, page, THREE_MAIN);
	else
		list_push(&q->links, &q->small, page, THREE_SMALL);
	return false;
}

static int run_s3(const struct trace *trace, uint32_t *ret_hits)
{
	struct list empty = {NONE, NONE, 0};
	struct three_queues q = {
	    .small = empty,
	    .main = empty,
	    .ghosts = empty,
	    .capacity = trace->capacity,
	    .small_capacity = trace->capacity / 10,
	};
	uint32_t hits = 0;
	int err = links_make(trace->pages, &q.links);

	if (err < 0)
		return err;
	q.uses = calloc(trace->pages, 1);
	if (q.uses) {
		for (uint32_t i = 0; i < trace->length; i++)
			if (three_access(&q, trace->page[i]))
				hits += i >= trace->warm;
		*ret_hits = hits;
	}
	err = q.uses ? 0 : -ENOMEM;
	free(q.uses);
	links_free(&q.links);
	return err;
}

/* ---- W-TinyLFU ---- */

struct tiny_lfu {
	struct links links;
	struct list window, trial, kept; /* what leaves the window is on trial, and is kept when it is used again */
	unsigned char *uses;
	uint64_t sum; /* of uses: halved when it is ten to a frame */
	uint32_t pages, window_capacity, kept_capacity, main_capacity;
};

enum { TINY_WINDOW = 1, TINY_TRIAL, TINY_KEPT };

static void tiny_count(struct tiny_lfu *t, uint32_t page)
{
	if (t->uses[page] == 15)
		return;
	t->uses[page]++;
	if (++t->sum < 10ull * (t->window_capacity + t->main_capacity))
		return;
	t->sum = 0;
	for (uint32_t i = 0; i < t->pages; i++)
		t->sum += t->uses[i] /= 2;
}

static void tiny_admit(struct tiny_lfu *t, uint32_t page)
{
	struct list *from = t->trial.count ? &t->trial : &t->kept;

	if (t->trial.count + t->kept.count >= t->main_capacity) {
		if (t->uses[page] <= t->uses[from->last])
			return;
		list_pop(&t->links, from);
	}
	list_push(&t->links, &t->trial, page, TINY_TRIAL);
}

/* Returns whether it was a hit. */
static bool tiny_access(struct tiny_lfu *t, uint32_t page)
{
	tiny_count(t, page);
	switch (t->links.where[page]) {
	case TINY_WINDOW:
		list_remove(&t->links, &t->window, page);
		list_push(&t->links, &t->window, page, TINY_WINDOW);
		return true;
	case TINY_TRIAL:
	case TINY_KEPT:
		list_remove(&t->links, t->links.where[page] == TINY_TRIAL ? &t->trial : &t->kept, page);
		list_push(&t->links, &t->kept, page, TINY_KEPT);
		if (t->kept.count > t->kept_capacity)
			list_push(&t->links, &t->trial, list_pop(&t->links, &t->kept), TINY_TRIAL);
		return true;
	default:
		list_push(&t->links, &t->window, page, TINY_WINDOW);
		if (t->window.count > t->window_capacity)
			tiny_admit(t, list_pop(&t->links, &t->window));
		return false;
	}
}

static int run_tiny_lfu(const struct trace *trace, uint32_t *ret_hits)
{
	struct list empty = {NONE, NONE, 0};
	struct tiny_lfu t = {.window = empty, .trial = empty, .kept = empty, .pages = trace->pages};
	uint32_t hits = 0;
	int err = links_make(trace->pages, &t.links);

	if (err < 0)
		return err;
	t.window_capacity = trace->capacity >= 100 ? trace->capacity / 100 : 1;
	t.main_capacity = trace->capacity - t.window_capacity;
	t.kept_capacity = t.main_capacity / 10 * 8;
	t.uses = calloc(trace->pages, 1);
	if (t.uses) {
		for (uint32_t i = 0; i < trace->length; i++)
			if (tiny_access(&t, trace->page[i]))
				hits += i >= trace->warm;
		*ret_hits = hits;
	}
	err = t.uses ? 0 : -ENOMEM;
	free(t.uses);
	links_free(&t.links);
	return err;
}

/* ---- MIN ---- */

/*
 * A heap of (next use, page) with the furthest use on top. An entry is never taken out when its page is used again: it is then out
 * of date, which shows when it comes to the top and the page has another next use. One entry is pushed an access.
 */
struct use {
	uint32_t next, page;
};

static void heap_push(struct use *heap, uint32_t *count, struct use use)
{
	uint32_t i = (*count)++;

	while (i > 0 && heap[(i - 1) / 2].next < use.next) {
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = use;
}

static struct use heap_pop(struct use *heap, uint32_t *count)
{
	struct use top = heap[0], last = heap[--*count];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= *count)
			break;
		if (child + 1 < *count && heap[child + 1].next > heap[child].next)
			child++;
		if (heap[child].next <= last.next)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return top;
}

/* next_use[i]: the access after i that is to the same page, NONE if there is none. of_page is left with each page's first. */
static void find_next_uses(const struct trace *trace, uint32_t *next_use, uint32_t *of_page)
{
	for (uint32_t i = 0; i < trace->pages; i++)
		of_page[i] = NONE;
	for (uint32_t i = trace->length; i-- > 0;) {
		next_use[i] = of_page[trace->page[i]];
		of_page[trace->page[i]] = i;
	}
}

static uint32_t count_min(const struct trace *trace, const uint32_t *next_use, uint32_t *of_page, bool *resident, struct use *heap)
{
	uint32_t held = 0, heap_count = 0, hits = 0;

	for (uint32_t i = 0; i < trace->length; i++) {
		uint32_t page = trace->page[i];

		of_page[page] = next_use[i];
		if (resident[page]) {
			hits += i >= trace->warm;
		} else if (held < trace->capacity) {
			held++;
		} else {
			struct use victim;

			do
				victim = heap_pop(heap, &heap_count);
			while (!resident[victim.page] || of_page[victim.page] != victim.next);
			resident[victim.page] = false;
		}
		resident[page] = true;
		heap_push(heap, &heap_count, (struct use){next_use[i], page});
	}
	return hits;
}

static int run_min(const struct trace *trace, uint32_t *ret_hits)
{
	uint32_t *next_use = malloc(trace->length * sizeof(*next_use)), *of_page = malloc(trace->pages * sizeof(*of_page));
	struct use *heap = malloc(trace->length * sizeof(*heap));
	bool *resident = calloc(trace->pages, sizeof(*resident));
	int err = -ENOMEM;

	if (next_use && of_page && heap && resident) {
		find_next_uses(trace, next_use, of_page);
		*ret_hits = count_min(trace, next_use, of_page, resident, heap);
		err = 0;
	}
	free(next_use);
	free(of_page);
	free(heap);
	free(resident);
	return err;
}

const struct reference references[REFERENCES] = {
    [REFERENCE_FIFO] = {"FIFO", run_fifo},     [REFERENCE_LRU] = {"LRU", run_lru},
    [REFERENCE_CLOCK] = {"CLOCK", run_clock},  [REFERENCE_2Q] = {"2Q", run_2q},
    [REFERENCE_S3_FIFO] = {"S3-FIFO", run_s3}, [REFERENCE_TINY_LFU] = {"W-TinyLFU", run_tiny_lfu},
    [REFERENCE_MIN] = {"MIN", run_min},
};
