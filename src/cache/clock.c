/* SPDX-License-Identifier: MIT */
/*
 * clock.c - the replacement policy: a two-handed clock with frequencies and ghosts
 *
 * A hit on a mapped page costs nothing and tells nothing, and the kernel shows a process no reference bits. So use is probed, as
 * the VAX did it without reference bits (Turner and Levy, "Segmented FIFO page replacement", 1981) and 4.3BSD with two hands:
 *
 *       first touch                      front hand: unmap                      back hand: decide
 *      ────────────▶  ACTIVE queue  ───────────────────────▶  IDLE queue  ───────────────────────▶ evicted, leaves a ghost
 *                         ▲                                       │
 *                         └───────────────────────────────────────┘ pages that were touched meanwhile, or have REF left
 *
 * The queues hold chunks: unmapping 512 neighbours costs one system call and one flush of the other processors, where 512
 * scattered pages cost 512. Decisions are by page. While a page is idle its frame is still there, and a touch costs a minor
 * fault, which raises REF (0…3, as in GCLOCK). The back hand evicts a page that is idle with REF 0, lowers REF otherwise. So
 * one pass of the hands is survived for each time that a page proved useful, up to three.
 *
 * Ghosts: an evicted page's word keeps the time of its eviction, counted in evictions. A page that comes back within one
 * memory's worth of evictions was evicted too early, and comes in with REF 2, as the second-chance queues of 2Q and S3-FIFO
 * would have it; one that comes for the first time has REF 0, so that a scan passes through without displacing what is used.
 *
 * Rejected: LRU and its kin need a list operation at each hit. CLOCK-Pro and ARC keep ghosts in lists of their own, which cost
 * memory for pages that are not there; the word of an absent page is free to hold one.
 */
#include "cache/policy.h"

/* The part of the resident pages that should be idle: a longer probe is more exact and costs more minor faults. */
#define IDLE_NUMERATOR   1
#define IDLE_DENOMINATOR 3

/* One memory's worth of evictions is this many ticks of the policy's clock. */
#define TICKS_PER_MEMORY 1024u

static void list_push_locked(struct chunk_list *list, struct chunk *chunk)
{
	chunk->next = NULL;
	chunk->previous = list->tail;
	if (list->tail)
		list->tail->next = chunk;
	else
		list->head = chunk;
	list->tail = chunk;
}

static void list_remove_locked(struct chunk_list *list, struct chunk *chunk)
{
	if (chunk->previous)
		chunk->previous->next = chunk->next;
	else
		list->head = chunk->next;
	if (chunk->next)
		chunk->next->previous = chunk->previous;
	else
		list->tail = chunk->previous;
}

static void enqueue_locked(struct cache *cache, struct chunk *chunk, enum chunk_queue queue)
{
	INVARIANT(lock_is_held(&cache->queue_lock));
	chunk->queue = (uint8_t)queue;
	if (queue == CHUNK_ACTIVE) {
		list_push_locked(&cache->active, chunk);
	} else if (queue == CHUNK_IDLE) {
		chunk->idle_count = (uint16_t)atomic_load(&chunk->resident);
		atomic_fetch_add(&cache->idle_pages, chunk->idle_count);
		list_push_locked(&cache->idle, chunk);
	} else {
		atomic_fetch_sub(&cache->queued, 1);
	}
}

static void dequeue_locked(struct cache *cache, struct chunk *chunk)
{
	INVARIANT(lock_is_held(&cache->queue_lock));
	if (chunk->queue == CHUNK_ACTIVE) {
		list_remove_locked(&cache->active, chunk);
	} else if (chunk->queue == CHUNK_IDLE) {
		list_remove_locked(&cache->idle, chunk);
		atomic_fetch_sub(&cache->idle_pages, chunk->idle_count);
	}
	chunk->queue = CHUNK_TAKEN;
}

void policy_insert(struct cache *cache, struct chunk *chunk)
{
	lock_acquire(&cache->queue_lock);
	if (chunk->queue == CHUNK_NOWHERE) {
		atomic_fetch_add(&cache->queued, 1);
		enqueue_locked(cache, chunk, CHUNK_ACTIVE);
	}
	lock_release(&cache->queue_lock);
}

void policy_remove(struct cache *cache, struct chunk *chunk)
{
	lock_acquire(&cache->queue_lock);
	if (chunk->queue != CHUNK_NOWHERE) {
		ASSERT(chunk->queue != CHUNK_TAKEN);
		dequeue_locked(cache, chunk);
		enqueue_locked(cache, chunk, CHUNK_NOWHERE);
	}
	lock_release(&cache->queue_lock);
}

static uint32_t time_unit(struct cache *cache)
{
	uint64_t unit = atomic_load_explicit(&cache->limit, memory_order_relaxed) / TICKS_PER_MEMORY;

	return unit ? (uint32_t)unit : 1;
}

uint32_t policy_stamp(struct cache *cache)
{
	uint32_t time = atomic_load_explicit(&cache->time, memory_order_relaxed);

	/* Lost updates between threads only make the clock a little slow. */
	if (atomic_fetch_sub_explicit(&cache->time_left, 1, memory_order_relaxed) <= 1) {
		atomic_store_explicit(&cache->time_left, time_unit(cache), memory_order_relaxed);
		atomic_store_explicit(&cache->time, ++time, memory_order_relaxed);
	}
	time &= PAGE_STAMP >> PAGE_STAMP_BIT;
	return (time ? time : 1) << PAGE_STAMP_BIT;
}

uint32_t policy_born(struct cache *cache, uint32_t absent)
{
	uint32_t stamp = absent >> PAGE_STAMP_BIT;
	uint64_t limit = atomic_load_explicit(&cache->limit, memory_order_relaxed);
	uint32_t memory = limit < TICKS_PER_MEMORY ? (uint32_t)limit : TICKS_PER_MEMORY;
	uint32_t age;

	if (!stamp)
		return 0;
	age = (atomic_load_explicit(&cache->time, memory_order_relaxed) - stamp) & (PAGE_STAMP >> PAGE_STAMP_BIT);
	if (age > memory)
		return 0;
	count(&cache->counters.refaulted_pages, 1);
	return 2 * PAGE_REF_ONE;
}

uint32_t policy_touched(uint32_t word)
{
	uint32_t ref = word & PAGE_REF;

	return ref == PAGE_REF ? ref : ref + PAGE_REF_ONE;
}

/* The next chunk for a hand, its object referenced; NULL: none. */
static struct chunk *take(struct cache *cache, struct chunk_list *list)
{
	struct chunk *chunk;

	lock_acquire(&cache->queue_lock);
	while ((chunk = list->head) != NULL) {
		dequeue_locked(cache, chunk);
		if (cache->ops->ref(chunk->object))
			break;
		enqueue_locked(cache, chunk, CHUNK_NOWHERE);
	}
	lock_release(&cache->queue_lock);
	return chunk;
}

static void put_back(struct cache *cache, struct chunk *chunk, enum chunk_queue queue)
{
	struct object *object = chunk->object;

	lock_acquire(&cache->queue_lock);
	if (atomic_load(&chunk->resident) == 0)
		queue = CHUNK_NOWHERE;
	enqueue_locked(cache, chunk, queue);
	lock_release(&cache->queue_lock);
	cache->ops->unref(object);
}

/* The back hand's decisions: lowers REF and collects what goes. */
static void decide(struct chunk *chunk, struct chunk_set *ret_victims, bool *ret_dirty, bool *ret_used)
{
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) != PAGE_RESIDENT) {
			*ret_used |= page_is_busy(word);
		} else if (word & PAGE_MAPPED) {
			*ret_used = true;
		} else if (word & PAGE_AHEAD) {
			/* Read ahead of its first touch: one pass to be touched in. */
			page_flags(&chunk->page[i], PAGE_AHEAD, 0);
		} else if (word & PAGE_REF) {
			if (page_swap(&chunk->page[i], &word, word - PAGE_REF_ONE))
				*ret_used = true;
		} else if (word & (PAGE_DIRTY | PAGE_WRITING)) {
			*ret_dirty = true;
		} else {
			chunk_set_add(ret_victims, i);
		}
	}
}

/* Also where what is idle cannot go, being dirty, perhaps for good: clean pages elsewhere must not be kept by it. */
static bool wants_more_idle(struct cache *cache)
{
	uint64_t frames = atomic_load(&cache->used) - cache->buffers.total_pages;

	return atomic_exchange(&cache->stalled, false) ||
	       atomic_load(&cache->idle_pages) < frames * IDLE_NUMERATOR / IDLE_DENOMINATOR;
}

enum policy_result policy_step(struct cache *cache, bool wait)
{
	struct chunk_set victims = {{0}};
	bool dirty = false, used = false;
	unsigned freed;
	struct chunk *chunk = wants_more_idle(cache) ? take(cache, &cache->active) : NULL;

	if (chunk) {
		cache->ops->unmap(chunk);
		put_back(cache, chunk, CHUNK_IDLE);
		return POLICY_KEPT;
	}
	chunk = take(cache, &cache->idle);
	if (!chunk) {
		chunk = take(cache, &cache->active);
		if (!chunk)
			return POLICY_NOTHING;
		cache->ops->unmap(chunk);
	} else {
		decide(chunk, &victims, &dirty, &used);
	}
	freed = cache->ops->evict(chunk, &victims);
	if (dirty)
		cache->ops->clean(chunk, wait);
	atomic_store(&cache->stalled, dirty && freed == 0);
	put_back(cache, chunk, dirty || !used ? CHUNK_IDLE : CHUNK_ACTIVE);
	return freed ? POLICY_FREED : POLICY_KEPT;
}
