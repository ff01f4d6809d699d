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
 * fault: it has proved useful.
 *
 * A page that proves useful for the n-th time stays for 2^n passes of the hands and two more, and is unmapped for the last four of them
 * only, or when its neighbours are (n is REF, up to 4; the passes left are PASSES). The back hand takes one off each, and evicts what is idle and has none left. So
 * to know that a page is still hot costs a minor fault the more rarely the longer it has been, and one that has grown cold leaves no later
 * than it would have to be asked for again.
 *
 * Ghosts: an evicted page's word keeps REF, and the time of its eviction, counted in evictions. That it comes back is one use more, and for
 * each memory's worth of evictions that it was away half of all is forgotten. It comes in with as many passes as uses are left: one that
 * comes for the first time has none, so that a scan passes through without displacing what is used.
 *
 * Where everything has proved useful the hands would go around many times before anything went, while somebody waits. So a pass counts for
 * one more after each round that has brought nothing.
 *
 * Rejected: LRU and its kin need a list operation at each hit. CLOCK-Pro and ARC keep ghosts in lists of their own, which cost
 * memory for pages that are not there; the word of an absent page is free to hold one. More in docs/performance.md.
 */
#include "cache/policy.h"

/* The part of the resident pages that should be idle: a longer probe is more exact and costs more minor faults. */
#define IDLE_NUMERATOR   1
#define IDLE_DENOMINATOR 5

/* One memory's worth of evictions is this many ticks of the policy's clock. */
#define TICKS_PER_MEMORY 256u

#define USES_MOST    4u
#define PROBE_PASSES 3u /* with no more than these left a page is unmapped, so that its next use shows */
#define SPARED_LEAST 5u /* pages that need not prove anything yet between two that do; if there are fewer, they have to as well */

_Static_assert((1u << USES_MOST) - 1 + PROBE_PASSES <= PAGE_PASSES / PAGE_PASS, "the passes of what is used most fit in the word");
_Static_assert(USES_MOST <= PAGE_REF / PAGE_REF_ONE, "and so do its uses");

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

static uint32_t uses_of(uint32_t word)
{
	return (word & PAGE_REF) / PAGE_REF_ONE;
}

static uint32_t passes_of(uint32_t word)
{
	return (word & PAGE_PASSES) / PAGE_PASS;
}

uint32_t policy_born(struct cache *cache, uint32_t absent)
{
	uint32_t stamp = absent >> PAGE_STAMP_BIT;
	uint64_t limit = atomic_load_explicit(&cache->limit, memory_order_relaxed);
	uint32_t memory = limit < TICKS_PER_MEMORY ? (uint32_t)limit : TICKS_PER_MEMORY;
	uint32_t away, uses = uses_of(absent) + 1;

	if (!stamp)
		return 0;
	away = ((atomic_load_explicit(&cache->time, memory_order_relaxed) - stamp) & (PAGE_STAMP >> PAGE_STAMP_BIT)) / memory;
	if (away == 0)
		count(&cache->counters.refaulted_pages, 1);
	uses = away < 32 ? uses >> away : 0;
	if (uses > USES_MOST)
		uses = USES_MOST;
	return uses * (PAGE_REF_ONE | PAGE_PASS);
}

uint32_t policy_touched(uint32_t word)
{
	uint32_t uses = uses_of(word) < USES_MOST ? uses_of(word) + 1 : USES_MOST;

	return uses * PAGE_REF_ONE | ((1u << uses) - 1 + PROBE_PASSES) * PAGE_PASS;
}

void policy_cold(page_word *page)
{
	uint32_t word = page_load(page);

	while (page_state(word) == PAGE_RESIDENT && !(word & PAGE_MAPPED) && (word & PAGE_USE) &&
	       !page_swap(page, &word, word & ~PAGE_USE))
		;
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

/* Takes the last n pages out of the set. */
static void unspare(struct chunk_set *spared, unsigned end, unsigned n)
{
	while (n > 0 && end-- > 0)
		if (chunk_set_has(spared, end)) {
			chunk_set_remove(spared, end);
			n--;
		}
}

/*
 * The front hand: what is mapped and need not prove anything yet stays so, but for the few between two that go: each piece of a chunk is a
 * flush of the other processors' translations of its own.
 */
static void probe(struct cache *cache, struct chunk *chunk)
{
	struct chunk_set spared = {{0}};
	unsigned between = SPARED_LEAST; /* spared since the last that goes */
	bool others = false;

	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) == PAGE_RESIDENT && passes_of(word) > PROBE_PASSES) {
			chunk_set_add(&spared, i);
			between++;
			continue;
		}
		others |= page_state(word) != PAGE_ABSENT;
		if (word & PAGE_MAPPED) {
			if (between < SPARED_LEAST)
				unspare(&spared, i, between);
			between = 0;
		}
	}
	if (others)
		cache->ops->unmap(chunk, &spared);
}

/* Takes passes off a page, but leaves it so many. */
static void pass(page_word *page, uint32_t word, uint32_t pace, uint32_t least)
{
	uint32_t passes = passes_of(word);
	uint32_t left = passes > least + pace ? passes - pace : least;

	/* If it has just been touched, it has proved more. */
	(void)page_swap(page, &word, (word & ~PAGE_PASSES) | left * PAGE_PASS);
}

/* The back hand's decisions: lowers PASSES and collects what goes. */
static void decide(struct chunk *chunk, uint32_t pace, struct chunk_set *ret_victims, bool *ret_dirty, bool *ret_used)
{
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) != PAGE_RESIDENT) {
			*ret_used |= page_is_busy(word);
		} else if (word & PAGE_MAPPED) {
			*ret_used = true;
			if (passes_of(word) > PROBE_PASSES)
				pass(&chunk->page[i], word, pace, PROBE_PASSES);
		} else if (word & PAGE_AHEAD) {
			/* Read ahead of its first touch: one pass to be touched in. */
			page_flags(&chunk->page[i], PAGE_AHEAD, 0);
		} else if (passes_of(word)) {
			*ret_used = true;
			pass(&chunk->page[i], word, pace, 0);
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

/* How much a pass counts for. */
static uint32_t pace(struct cache *cache)
{
	uint32_t queued = atomic_load(&cache->queued), barren = atomic_load_explicit(&cache->barren, memory_order_relaxed);
	uint32_t rounds = queued ? barren / queued : 0;

	return 1 + (rounds < PAGE_PASSES / PAGE_PASS ? rounds : PAGE_PASSES / PAGE_PASS);
}

enum policy_result policy_step(struct cache *cache, bool wait)
{
	struct chunk_set victims = {{0}};
	bool dirty = false, used = false, decided;
	unsigned freed;
	struct chunk *chunk = wants_more_idle(cache) ? take(cache, &cache->active) : NULL;

	if (chunk) {
		probe(cache, chunk);
		put_back(cache, chunk, CHUNK_IDLE);
		return POLICY_KEPT;
	}
	chunk = take(cache, &cache->idle);
	decided = chunk != NULL;
	if (!decided) {
		chunk = take(cache, &cache->active);
		if (!chunk)
			return POLICY_NOTHING;
		probe(cache, chunk);
	} else {
		decide(chunk, pace(cache), &victims, &dirty, &used);
	}
	freed = cache->ops->evict(chunk, &victims);
	if (freed)
		atomic_store_explicit(&cache->barren, 0, memory_order_relaxed);
	else if (decided)
		atomic_fetch_add_explicit(&cache->barren, 1, memory_order_relaxed);
	if (dirty)
		cache->ops->clean(chunk, wait);
	atomic_store(&cache->stalled, dirty && freed == 0);
	put_back(cache, chunk, dirty || !used ? CHUNK_IDLE : CHUNK_ACTIVE);
	return freed ? POLICY_FREED : POLICY_KEPT;
}
