/* SPDX-License-Identifier: MIT */
/*
 * reading.c - what is read for a fault, and what goes for it
 *
 * cache/readahead.c says which pages; here is what the area and the budget have to say to it, how they are read, and what is given back
 * behind a reader who has said that he will not come again.
 *
 * Going forward, the missed page and what follows it up to the mark are one read, which is waited for. A reader who goes backward, or
 * by steps, does not come next to where that read would go on: what he comes to is on its way first, and then his page alone is
 * waited for.
 */
#include "fault/reading.h"

#include "sys/page_size.h"

#define READAHEAD_SHARE 32                /* the part of the budget that a window may be of; half of it where pages are used once */
#define WINDOW_MOST     (2 * CHUNK_PAGES) /* of which storage reads the one while the other is used */
#define BEHIND          (4 * (uint64_t)CHUNK_PAGES) /* from a sequential reader's back on, what is looked at for what can go */
#define APART_MOST      32 /* pages of a window that do not adjoin: storage has enough to do at once with these */
#define ONCE_SHARE      16 /* … that the last pages that came in to be used once may be of: four such windows */

/* ---- what is planned ---- */

/* The largest window: a small part of the budget, so that several streams fit. */
static unsigned most_readahead(const struct area *area)
{
	struct cache *cache = area->view.object->cache;
	uint64_t most =
	    atomic_load_explicit(&cache->limit, memory_order_relaxed) / (area->once ? 2 * READAHEAD_SHARE : READAHEAD_SHARE);

	return (unsigned)(most < WINDOW_MOST ? most : WINDOW_MOST);
}

/* Of pages that do not adjoin: each takes a buffer, of which half are left to faults and other streams. */
static unsigned most_apart(const struct area *area)
{
	unsigned most = area->view.object->buffers->singles / 2;

	return most < APART_MOST ? most : APART_MOST;
}

static struct readahead_touch touch_of(const struct area *area, uint64_t page)
{
	uint64_t end = area->view.first + area->view.pages, pages = atomic_load(&area->view.object->pages);

	return (struct readahead_touch){
	    .advice = area->view.object->pager->on_demand ? READAHEAD_RANDOM : area->advice,
	    .page = page,
	    .begin = area->view.first,
	    .end = end < pages ? end : pages,
	    .most = most_readahead(area),
	    .most_apart = most_apart(area),
	};
}

/* Pages are going to be read through an area: how they are marked, and what of those before them goes. */
static void note(struct area *area, struct reading *reading)
{
	struct cache *cache = area->view.object->cache;
	struct once *once = atomic_load_explicit(&area->recent, memory_order_acquire), *made;
	struct once_run run = {reading->plan.first, reading->plan.pages, reading->plan.step};

	reading->flags = PAGE_AHEAD;
	reading->used.n = 0;
	if (!area->once || run.pages == 0)
		return;
	reading->flags |= PAGE_ONCE;
	if (!once) {
		made = arena_alloc(&cache->arena, sizeof(*made));
		if (!made)
			return;
		if (atomic_compare_exchange_strong(&area->recent, &once, made))
			once = made;
		else
			arena_free(&cache->arena, made, sizeof(*made));
	}
	once_put(once, run, atomic_load(&cache->limit) / ONCE_SHARE, &reading->used);
}

void reading_begins(struct area *area, uint64_t page, bool resident_before, struct reading *ret)
{
	struct readahead_touch touch = touch_of(area, page);

	touch.resident_before = resident_before;
	ret->advice = touch.advice;
	ret->plan = readahead_miss(&area->readahead, &touch);
	ret->page = page;
	note(area, ret);
}

void reading_goes_on(struct area *area, uint64_t page, struct reading *ret)
{
	struct readahead_touch touch = touch_of(area, page);

	ret->advice = touch.advice;
	ret->plan = readahead_marked(&area->readahead, &touch);
	ret->page = page;
	note(area, ret);
}

/* ---- what goes ---- */

static void drop_used(const struct reading *reading, struct object *object)
{
	for (unsigned i = 0; i < reading->used.n; i++) {
		const struct once_run *run = &reading->used.run[i];

		if (run->step == 1)
			object_drop_once(object, run->first, run->first + run->pages);
		for (uint64_t k = 0; run->step != 1 && k < run->pages; k++)
			object_drop_once(object, run->first + k * run->step, run->first + k * run->step + 1);
	}
}

/*
 * Pages behind a sequential reader, who has come to a page, are given back: he will not come again. As far from him as the next window is long,
 * and from there on as far as all that was asked for since the last time may reach; by whole chunks where the window is one, which may be one
 * frame.
 */
static void drop_behind(struct object *object, const struct readahead_plan *plan, uint64_t page)
{
	uint64_t span = (uint64_t)plan->pages * plan->step, from = page + 1 + span, end = page > span ? page - span : 0;
	uint64_t reach = 2 * span > BEHIND ? 2 * span : BEHIND;

	if (plan->pages >= CHUNK_PAGES)
		end -= end % CHUNK_PAGES;
	if (plan->backward)
		object_drop(object, from, from + reach, false);
	else
		object_drop(object, end > reach ? end - reach : 0, end, false);
}

/* ---- reading ---- */

static uint64_t last(const struct readahead_plan *plan)
{
	return plan->first + (uint64_t)(plan->pages - 1) * plan->step;
}

static void begin(const struct readahead_plan *plan, uint32_t flags, struct object *object)
{
	if (plan->pages == 0)
		return;
	if (plan->step == 1)
		object_load(object, plan->first, plan->pages, flags, plan->mark, false, NULL);
	else if (plan->backward)
		object_load_apart(object, last(plan), plan->pages, -(int)plan->step, flags, plan->mark);
	else
		object_load_apart(object, plan->first, plan->pages, (int)plan->step, flags, plan->mark);
}

int reading_wait(const struct reading *reading, struct object *object, struct placement *placement)
{
	struct readahead_plan rest = reading->plan;
	uint64_t page = rest.backward ? last(&rest) : rest.first;

	drop_used(reading, object);
	if (rest.step == 1 && !rest.backward)
		return object_load(object, page, rest.pages, reading->flags, rest.mark, true, placement);
	rest.pages--;
	if (!rest.backward)
		rest.first += rest.step;
	begin(&rest, reading->flags, object);
	return object_load(object, page, 1, reading->flags, rest.mark, true, placement);
}

void reading_ahead(const struct reading *reading, struct object *object)
{
	begin(&reading->plan, reading->flags, object);
	drop_used(reading, object);
	if (reading->advice == READAHEAD_SEQUENTIAL && reading->plan.pages > 0)
		drop_behind(object, &reading->plan, reading->page);
}
