/* SPDX-License-Identifier: MIT */
/*
 * fault.c - resolving faults
 *
 *   private word       object's word          action
 *   ────────────────────────────────────────────────────────────────────────────────────────────
 *   (shared area)      RESIDENT               hold, map, release
 *                      ABSENT                 load, with readahead; look again
 *                      LOADING HELD BARRED    wait; look again
 *                      FILLED                 give the zeros up, ask the storage again; look again
 *   RESIDENT           –                      lift write protection
 *   RESIDENT, lends    –                      promise a frame; give the borrowers a copy; lift write protection
 *   LENT               –                      promise a frame; copy the lender's page
 *   OUT                –                      bring in from the swap object; look again
 *   HELD               –                      wait; look again
 *   ABSENT, no object  –                      promise a frame; a page of zeros
 *   ABSENT, read       as a shared area       the object's page shows, protected against stores
 *   ABSENT, write      RESIDENT               promise a frame; hold the object's page, copy it
 *
 * Each look is made afresh under the map lock (read), which is given up before anything is waited for: the area may be another
 * one at the next look. That is simpler than to lock, release and verify by version numbers, and a second look costs 50 ns.
 * What a look finds to be done without the lock is a step.
 */
#include "fault/fault.h"

#include <errno.h>
#include <sys/mman.h>

#include "fault/around.h"
#include "fault/reading.h"
#include "object/epoch.h"
#include "object/fill.h"
#include "object/lend.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/duty.h"

#define LENT_AROUND 16 /* pages that are copied together when a child touches one that it has borrowed */

#define HELD_OFF_MS   50 /* at once, and … */
#define HELD_OFF_MOST 40 /* … so often: who holds stores off may wait for a lock of the kernel's that this thread holds */

enum step_kind {
	STEP_DONE,
	STEP_NONE,
	STEP_WAIT,
	STEP_LOAD,
	STEP_PROMISE,
	STEP_BRING_IN,
	STEP_REFRESH,
	STEP_UNFILL,
	STEP_HELD_OFF,
	STEP_ERROR
};

struct step {
	enum step_kind kind;
	page_word *word; /* WAIT */
	uint32_t seen;
	struct object *object;  /* LOAD, REFRESH, UNFILL, and DONE with pages to read on: referenced */
	uint64_t page;          /* LOAD, REFRESH, UNFILL */
	struct reading reading; /* LOAD, DONE */
	int error;              /* ERROR: errno */
};

/* What one fault holds from look to look. */
struct holding {
	bool promised;         /* a frame */
	struct buffer *buffer; /* of one page */
	bool major, refreshed;
	bool placed;       /* the page is in place: nothing is left to look at */
	bool tracked;      /* … and how it is mapped there */
	unsigned held_off; /* how often it has waited for stores to be let on */
};

static struct step step_wait(page_word *word, uint32_t seen)
{
	return (struct step){.kind = STEP_WAIT, .word = word, .seen = seen};
}

static struct step step_error(int error)
{
	return (struct step){.kind = STEP_ERROR, .error = error};
}

static struct step step_object(enum step_kind kind, struct object *object, uint64_t page)
{
	object_ref(object);
	return (struct step){.kind = kind, .object = object, .page = page};
}

/* ---- mapping what is resident ---- */

/* The page at addr is HELD by us: maps it and what was read ahead around it. */
static struct step map_held(struct fault *fault, struct area *area, struct chunk *chunk, unsigned i, struct holding *holding)
{
	struct view *view = &area->view;
	struct held held = {area, chunk, fault->addr, i, i, i + 1};
	uint32_t word = page_load(&chunk->page[i]);
	bool caught = fault->write && area->shared && !view_tracks(view), touched_first = !holding->major && (word & PAGE_AHEAD);
	struct step step = {.kind = STEP_DONE};
	int r;

	around_hold(&held);
	if (caught) {
		writeback_note_dirty(chunk, &chunk->page[i]);
		epoch_stamp(chunk, i, 1);
	}
	r = around_enter(&held, caught);
	if (r == 0 && (word & PAGE_MAPPED) && area->shared)
		around_map_along(area, chunk, i, fault->addr);
	around_settle(&held);
	if (r < 0)
		return step_error(-r);
	if (caught)
		count(&view->object->cache->counters.write_faults, 1);
	count(&view->object->cache->counters.readahead_hits, held.end - held.first - (touched_first ? 0 : 1));
	if (word & PAGE_MARK) {
		step = step_object(STEP_DONE, view->object, chunk->first + i);
		reading_goes_on(area, chunk->first + i, &step.reading);
	}
	return step;
}

/* A page of the object has to be loaded. */
static struct step plan_load(struct area *area, struct chunk *chunk, uint64_t page)
{
	struct step step = step_object(STEP_LOAD, area->view.object, page);
	unsigned i = (unsigned)(page % CHUNK_PAGES);

	reading_begins(area, page, i > 0 && page_has_frame(page_load(&chunk->page[i - 1])), &step.reading);
	return step;
}

/*
 * The object's page behind addr, HELD by us on STEP_DONE.
 */
static struct step hold_object_page(struct fault *fault, struct area *area, struct chunk **ret_chunk, unsigned *ret_i,
				    struct holding *holding)
{
	struct object *object = area->view.object;
	uint64_t page = area_page(area, fault->addr);
	page_word *word;
	uint32_t seen;

	if (page >= atomic_load(&object->pages))
		return holding->refreshed ? step_error(ENODATA) : step_object(STEP_REFRESH, object, page);
	word = object_page(object, page, ret_chunk);
	if (!word)
		return step_error(ENOMEM);
	*ret_i = (unsigned)(page % CHUNK_PAGES);
	seen = page_load(word);
	while (page_state(seen) == PAGE_RESIDENT && !(seen & PAGE_FILLED))
		if (page_swap(word, &seen, (seen & ~PAGE_STATE) | PAGE_HELD))
			return (struct step){.kind = STEP_DONE};
	if (page_state(seen) == PAGE_RESIDENT)
		return step_object(STEP_UNFILL, object, page);
	return page_is_busy(seen) ? step_wait(word, seen) : plan_load(area, *ret_chunk, page);
}

static struct step look_at_object(struct fault *fault, struct area *area, struct holding *holding)
{
	struct chunk *chunk;
	unsigned i;
	struct step step = hold_object_page(fault, area, &chunk, &i, holding);

	if (step.kind != STEP_DONE)
		return step;
	/* Asked with the object's page held, so that the answer stays true: it may have been copied, and paged out, since the look. */
	if (!area->shared && !private_is_absent(area->view.private_pages, fault->addr)) {
		page_settle(&chunk->page[i], PAGE_RESIDENT, 0, 0);
		return (struct step){.kind = STEP_WAIT};
	}
	return map_held(fault, area, chunk, i, holding);
}

/* ---- private pages ---- */

static struct step zero_page(struct fault *fault, struct area *area, struct holding *holding)
{
	struct cache *cache = fault->space->cache;
	int r;

	if (!holding->promised)
		return (struct step){.kind = STEP_PROMISE};
	r = private_enter(area->view.private_pages, fault->addr, page_of_zeros);
	if (r == -EAGAIN)
		return (struct step){.kind = STEP_WAIT};
	if (r < 0)
		return step_error(-r);
	holding->promised = false;
	count(&cache->counters.zero_faults, 1);
	return (struct step){.kind = STEP_DONE};
}

/* Copy on write: the object's page stays held until the copy is in place, so it cannot be unmapped from under it. */
static struct step copy_page(struct fault *fault, struct area *area, struct holding *holding)
{
	struct object *object = area->view.object;
	struct step step;
	struct chunk *chunk;
	unsigned i;
	int r;

	if (!holding->promised || !holding->buffer)
		return (struct step){.kind = STEP_PROMISE};
	step = hold_object_page(fault, area, &chunk, &i, holding);
	if (step.kind != STEP_DONE)
		return step;
	r = frames_read(&object->frames, chunk->first + i, 1, holding->buffer->data);
	/* The object's page may show here; under its hold, nothing private can. */
	if (r == 0 && private_is_absent(area->view.private_pages, fault->addr))
		r = pmap_remove(area->view.pmap, fault->addr, 1);
	if (r == 0)
		r = private_enter(area->view.private_pages, fault->addr, holding->buffer->data);
	page_settle(&chunk->page[i], PAGE_RESIDENT, PAGE_AHEAD, 0);
	if (r == -EAGAIN)
		return (struct step){.kind = STEP_WAIT};
	if (r < 0)
		return step_error(-r);
	holding->promised = false;
	count(&object->cache->counters.copy_faults, 1);
	return (struct step){.kind = STEP_DONE};
}

/* A store to a page that is there. A page-out that was given up, a move, or a loan may have left it protected. HELD by us. */
static struct step allow_stores(struct fault *fault, struct area *area, page_word *word, struct holding *holding)
{
	bool used = false;
	int r = 0;

	if (page_load(word) & PAGE_LENDS)
		r = lend_stop(area->view.private_pages, fault->addr, holding->promised ? holding->buffer : NULL, &used);
	if (used)
		holding->promised = false;
	if (r == 0)
		r = pmap_unprotect(area->view.pmap, fault->addr, 1, false);
	page_settle(word, PAGE_RESIDENT, 0, 0);
	if (r == -EAGAIN)
		return (struct step){.kind = STEP_PROMISE};
	if (r < 0)
		return step_error(-r);
	count(&fault->space->cache->counters.write_faults, 1);
	return (struct step){.kind = STEP_DONE};
}

/* The pages behind one that was lent come along while there is room: most of what a fault costs a child is the message. */
static void copy_around(struct fault *fault, struct area *area, struct holding *holding)
{
	struct private_pages *pages = area->view.private_pages;
	struct cache *cache = fault->space->cache;
	page_word *wait;
	uint32_t seen;

	for (char *addr = fault->addr + page_size();
	     addr < fault->addr + ((size_t)LENT_AROUND << page_shift) && addr < area_end(area); addr += page_size()) {
		if (!lend_is_lent(pages, addr) || !budget_try(cache, 1))
			return;
		if (lend_copy(pages, addr, holding->buffer, &wait, &seen) < 0) {
			budget_release(cache, 1);
			return;
		}
	}
}

static struct step copy_lent(struct fault *fault, struct area *area, struct holding *holding)
{
	page_word *wait;
	uint32_t seen;
	int r;

	if (!holding->promised || !holding->buffer)
		return (struct step){.kind = STEP_PROMISE};
	r = lend_copy(area->view.private_pages, fault->addr, holding->buffer, &wait, &seen);
	if (r == -EAGAIN)
		return wait ? step_wait(wait, seen) : (struct step){.kind = STEP_WAIT};
	if (r < 0)
		return step_error(-r);
	holding->promised = false;
	copy_around(fault, area, holding);
	count(&fault->space->cache->counters.copy_faults, 1);
	return (struct step){.kind = STEP_DONE};
}

static struct step look_at_private(struct fault *fault, struct area *area, struct holding *holding)
{
	page_word *word = private_word(area->view.private_pages, fault->addr, NULL);
	uint32_t seen;

	if (!word)
		return step_error(ENOMEM);
	seen = page_load(word);
	switch (page_state(seen)) {
	case PAGE_ABSENT:
		if (!area->view.object)
			return zero_page(fault, area, holding);
		return fault->write ? copy_page(fault, area, holding) : look_at_object(fault, area, holding);
	case PAGE_OUT:
		return (struct step){.kind = STEP_BRING_IN};
	case PAGE_RESIDENT:
		if (!fault->write)
			return (struct step){.kind = STEP_DONE};
		if (page_take(word, PAGE_RESIDENT, PAGE_HELD))
			return allow_stores(fault, area, word, holding);
		return (struct step){.kind = STEP_WAIT};
	case PAGE_LENT:
		return copy_lent(fault, area, holding);
	default:
		return step_wait(word, seen);
	}
}

/*
 * Whether nothing is to be mapped there that may be stored to (space/leave.c): what a store has asked for counts as stored to, with the bytes that
 * the file had when it came in. Map lock held.
 */
static bool are_stores_held_off(const struct space *space, const struct area *area)
{
	return area->shared && area->view.tracked && atomic_load(&space->leaving) > 0;
}

static void wait_for_stores(struct space *space)
{
	struct timespec timeout = {.tv_nsec = HELD_OFF_MS * 1000000L};
	uint32_t n = atomic_load(&space->leaving);

	if (n > 0)
		futex_wait(&space->leaving, n, &timeout);
}

/* ---- one look, one step ---- */

static struct step look(struct fault *fault, struct holding *holding)
{
	struct space *space = fault->space;
	struct step step = {.kind = STEP_NONE};
	struct area *area;

	rwlock_read_acquire(&space->cache->map_lock);
	area = space_find(space, fault->addr);
	if (area && area->huge) {
		/* The kernel's own page, and it could not give it: the file was cut, say. */
		step = step_error(EFAULT);
	} else if (area && are_stores_held_off(space, area) && holding->held_off < HELD_OFF_MOST) {
		step = (struct step){.kind = STEP_HELD_OFF};
	} else if (area) {
		step = area->shared ? look_at_object(fault, area, holding) : look_at_private(fault, area, holding);
		if (step.kind == STEP_DONE) {
			atomic_fetch_add_explicit(holding->major ? &area->major_faults : &area->minor_faults, 1,
						  memory_order_relaxed);
			count(holding->major ? &space->cache->counters.major_faults : &space->cache->counters.minor_faults, 1);
			/* A reader whose page starts a readahead goes on when that is under way, or he would overtake it. */
			if (!step.object)
				pmap_wake(&space->pmap, fault->addr, 1, view_asks_to_track(&area->view));
		}
	}
	rwlock_read_release(&space->cache->map_lock);
	return step;
}

bool fault_place_locked(struct space *space, char *addr, struct object *object, uint64_t page, const void *bytes)
{
	struct area *area = space_find(space, addr);

	/* In a reader's mapping it would be a private page. */
	return area && area->shared && !are_stores_held_off(space, area) && !area_is_readers(&space->pmap, true, area->max_prot) &&
	       area->view.object == object && area_page(area, addr) == page &&
	       pmap_enter_fresh(&space->pmap, addr, bytes, view_asks_to_track(&area->view)) == 0;
}

/* A fault's own way to place the page that it waits for. */
struct fault_placement {
	struct placement placement;
	struct fault *fault;
	bool ret_placed;
};

/*
 * Where the mapping is still as it was, and shared. A store that is caught by faults has to go the longer way, which marks the page
 * dirty.
 */
static bool place_here(struct placement *placement, struct object *object, uint64_t page, const void *bytes)
{
	struct fault_placement *here = (struct fault_placement *)placement;
	struct fault *fault = here->fault;
	struct space *space = fault->space;

	if (fault->write && !(space->pmap.tracks && object_tracks(object, true)))
		return false;
	rwlock_read_acquire(&space->cache->map_lock);
	here->ret_placed = fault_place_locked(space, fault->addr, object, page, bytes);
	if (here->ret_placed)
		atomic_fetch_add_explicit(&space_find(space, fault->addr)->major_faults, 1, memory_order_relaxed);
	rwlock_read_release(&space->cache->map_lock);
	return here->ret_placed;
}

static int load(struct fault *fault, struct step *step, struct holding *holding)
{
	struct fault_placement here = {.placement.place = place_here, .fault = fault};
	int r;

	holding->major = true;
	r = reading_wait(&step->reading, step->object, &here.placement);
	holding->placed = r == 0 && here.ret_placed;
	holding->tracked = object_tracks(step->object, true);
	if (r == -ENODATA && !holding->refreshed) {
		holding->refreshed = true;
		return object_seek_end(step->object, step->page);
	}
	return r == -EAGAIN ? 0 : r;
}

static int promise(struct fault *fault, struct holding *holding)
{
	int r = 0;

	if (!holding->promised)
		r = budget_reserve(fault->space->cache, 1);
	if (r == 0)
		holding->promised = true;
	if (r == 0 && !holding->buffer)
		holding->buffer = buffer_get(&fault->space->cache->buffers, 1);
	return r;
}

/* What is held is given back before anything is waited for, so that no one waits for us in turn. */
static void let_go(struct cache *cache, struct holding *holding)
{
	if (holding->buffer)
		buffer_put(&cache->buffers, holding->buffer);
	if (holding->promised)
		budget_release(cache, 1);
	holding->buffer = NULL;
	holding->promised = false;
}

/* Does what a look found to be done. 0: look again. */
static int take_step(struct fault *fault, struct step *step, struct holding *holding)
{
	int r = 0;

	if (step->kind != STEP_PROMISE)
		let_go(fault->space->cache, holding);
	switch (step->kind) {
	case STEP_WAIT:
		if (step->word && (page_state(step->seen) == PAGE_LOADING))
			holding->major = true;
		if (step->word)
			page_wait(step->word, step->seen);
		break;
	case STEP_HELD_OFF:
		holding->held_off++;
		wait_for_stores(fault->space);
		break;
	case STEP_LOAD:
		r = load(fault, step, holding);
		break;
	case STEP_PROMISE:
		r = promise(fault, holding);
		break;
	case STEP_BRING_IN:
		r = private_bring_in(fault->space->private_pages, fault->addr, &holding->major);
		break;
	case STEP_REFRESH:
		holding->refreshed = true;
		r = object_seek_end(step->object, step->page);
		break;
	case STEP_UNFILL:
		object_unfill(step->object, step->page);
		break;
	default:
		r = -step->error;
		break;
	}
	return r;
}

/* Whether the thread is going to sleep, or to be busy for long. */
static bool waits(const struct step *step)
{
	bool watches = step->kind == STEP_LOAD && step->object->pager->watched; /* … and leaves its duty when it has to */

	return (step->kind == STEP_LOAD && !watches) || step->kind == STEP_PROMISE || step->kind == STEP_BRING_IN ||
	       step->kind == STEP_WAIT || step->kind == STEP_REFRESH || step->kind == STEP_UNFILL || step->kind == STEP_HELD_OFF ||
	       (step->kind == STEP_DONE && step->reading.plan.pages > 0);
}

/* No frame can be had where writes fail meanwhile: then it is their error that matters. */
static int cause_of(struct cache *cache, int error, uint64_t writeback_errors)
{
	if (error != ENOMEM || atomic_load(&cache->counters.writeback_errors) == writeback_errors)
		return error;
	return atomic_load(&cache->write_errno);
}

enum fault_result fault_resolve(struct fault *fault)
{
	struct cache *cache = fault->space->cache;
	uint64_t writeback_errors = atomic_load_explicit(&cache->counters.writeback_errors, memory_order_relaxed);
	struct holding holding = {0};
	enum fault_result result;
	int r = 0;

	fault->addr = (char *)((uintptr_t)fault->addr & ~(uintptr_t)(page_size() - 1));
	for (;;) {
		struct step step = look(fault, &holding);

		/* A promise on a budget that has room waits for nothing. */
		if (step.kind == STEP_PROMISE && !holding.promised && budget_try(cache, 1)) {
			holding.promised = true;
			if (!holding.buffer)
				holding.buffer = buffer_try(&cache->buffers, 1);
			if (holding.buffer)
				continue;
		}
		if (waits(&step))
			duty_leave();
		if (step.kind == STEP_DONE) {
			if (step.object)
				reading_ahead(&step.reading, step.object);
			object_unref(step.object);
			result = FAULT_DONE;
			break;
		}
		if (step.kind == STEP_NONE) {
			result = FAULT_NONE;
			break;
		}
		r = take_step(fault, &step, &holding);
		object_unref(step.object);
		if (holding.placed) {
			/* Only now, since the page's word tells of it only now. */
			count(&cache->counters.major_faults, 1);
			pmap_wake(&fault->space->pmap, fault->addr, 1, holding.tracked);
			result = FAULT_DONE;
			break;
		}
		if (r < 0) {
			fault->ret_error = -r;
			fault->ret_cause = cause_of(cache, -r, writeback_errors);
			count(&cache->counters.error_faults, 1);
			result = FAULT_BUS;
			break;
		}
	}
	let_go(cache, &holding);
	return result;
}

struct population {
	struct space *space;
	enum fault_access access;
};

static int populate_part(void *arg, const struct part *part)
{
	const struct population *population = arg;
	bool write = population->access == FAULT_WRITE;

	if (part->huge)
		return 0;
	if (population->access == FAULT_AS_LOCKED) {
		if (!(part->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
			return -EFAULT;
		/* Where stores are caught by faults, a system call could not store: the page counts as stored to. */
		write = (part->prot & PROT_WRITE) && (!part->shared || !population->space->pmap.tracks);
	}
	for (size_t i = 0; i < part->pages; i++) {
		struct fault fault = {.space = population->space, .addr = part->addr + (i << page_shift), .write = write};

		switch (fault_resolve(&fault)) {
		case FAULT_DONE:
			break;
		case FAULT_NONE:
			return -ENOMEM;
		case FAULT_BUS:
			return fault.ret_error == ENODATA ? -EFAULT : -fault.ret_error;
		}
	}
	return 0;
}

int fault_populate(struct space *space, char *addr, size_t len, enum fault_access access)
{
	struct population population = {space, access};

	return space_visit(space, addr, len, populate_part, &population);
}
