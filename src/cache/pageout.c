/* SPDX-License-Identifier: MIT */
/*
 * pageout.c - the budget, and the daemon that keeps some of it free
 *
 * I4: used never exceeds limit. A frame is promised before it is allocated (budget_reserve), and the promise is given back
 * after the frame was freed. The daemon keeps a little free, so that a fault seldom has to page out by itself.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/policy.h"
#include "sys/page_size.h"
#include "sys/thread.h"

#define FRAMES_MINIMUM 32 /* beside the buffers */
#define PATIENCE_MS    3000
#define BUSY_MS        30000 /* likewise while transfers are under way: the storage may be slow */
#define LOW_DIVISOR    32    /* free below limit / this: the daemon wakes … */
#define HIGH_DIVISOR   16    /* … and frees until limit / this */

uint32_t cache_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000) | 1;
}

uint64_t budget_minimum(void)
{
	unsigned run_pages, runs, singles;

	return buffers_pages(0, &run_pages, &runs, &singles) + FRAMES_MINIMUM;
}

int cache_create(uint64_t limit_pages, const struct cache_ops *ops, struct io *io, struct cache **ret)
{
	struct cache *cache = aligned_alloc(_Alignof(struct cache), sizeof(*cache));
	int r;

	if (!cache)
		return -ENOMEM;
	memset(cache, 0, sizeof(*cache));
	r = buffers_create(&cache->buffers, limit_pages);
	if (r < 0) {
		free(cache);
		return r;
	}
	ASSERT(limit_pages >= cache->buffers.total_pages + FRAMES_MINIMUM);
	cache->limit = limit_pages;
	cache->used = cache->used_peak = cache->buffers.total_pages;
	cache->time = 1;
	cache->written_back = 1;
	cache->ops = ops;
	cache->io = io;
	cache->frames.mount = -1;
	*ret = cache;
	return 0;
}

void cache_destroy(struct cache *cache)
{
	if (!cache)
		return;
	ASSERT(atomic_load(&cache->used) == cache->buffers.total_pages);
	buffers_done(&cache->buffers);
	apertures_done(&cache->apertures);
	frames_source_close(&cache->frames);
	arena_done(&cache->arena);
	free(cache);
}

/* ---- budget ---- */

static uint64_t free_pages(struct cache *cache)
{
	uint64_t used = atomic_load(&cache->used), limit = atomic_load(&cache->limit);

	return limit > used ? limit - used : 0;
}

bool budget_try(struct cache *cache, uint64_t n)
{
	uint64_t used = atomic_load_explicit(&cache->used, memory_order_relaxed);
	uint64_t limit = atomic_load_explicit(&cache->limit, memory_order_relaxed);
	uint64_t peak;

	do {
		if (used + n > limit) {
			pageout_poke(cache);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(&cache->used, &used, used + n, memory_order_acq_rel, memory_order_relaxed));
	used += n;
	peak = atomic_load_explicit(&cache->used_peak, memory_order_relaxed);
	while (used > peak &&
	       !atomic_compare_exchange_weak_explicit(&cache->used_peak, &peak, used, memory_order_relaxed, memory_order_relaxed))
		;
	if (limit - used < limit / LOW_DIVISOR)
		pageout_poke(cache);
	return true;
}

int budget_reserve(struct cache *cache, uint64_t n)
{
	while (!budget_try(cache, n))
		if (!pageout_reclaim(cache, n))
			return budget_try(cache, n) ? 0 : -ENOMEM;
	return 0;
}

void budget_release(struct cache *cache, uint64_t n)
{
	uint64_t before = atomic_fetch_sub_explicit(&cache->used, n, memory_order_acq_rel);

	ASSERT(before >= n + cache->buffers.total_pages);
}

int budget_set(struct cache *cache, uint64_t limit_pages)
{
	uint64_t old;
	int r = 0;

	lock_acquire(&cache->limit_lock);
	old = atomic_exchange(&cache->limit, limit_pages);
	if (atomic_load(&cache->used) > limit_pages && !pageout_reclaim(cache, 0)) {
		atomic_store(&cache->limit, old);
		r = -ENOMEM;
	} else {
		atomic_store(&cache->used_peak, atomic_load(&cache->used));
	}
	lock_release(&cache->limit_lock);
	return r;
}

/* What has to stay free of locked pages, buffers included. */
static uint64_t budget_kept(const struct cache *cache, uint64_t limit)
{
	return (limit / 8 > FRAMES_MINIMUM / 2 ? limit / 8 : FRAMES_MINIMUM / 2) + cache->buffers.total_pages;
}

bool budget_bears(struct cache *cache, uint64_t limit)
{
	return atomic_load(&cache->locked) + budget_kept(cache, limit) <= limit;
}

int budget_lock(struct cache *cache, uint64_t n)
{
	uint64_t limit = atomic_load(&cache->limit);
	uint64_t kept = budget_kept(cache, limit);
	uint64_t locked = atomic_load(&cache->locked);

	if (n == 0)
		return 0;
	do {
		if (n > limit || locked + n + kept > limit)
			return -ENOMEM;
	} while (!atomic_compare_exchange_weak(&cache->locked, &locked, locked + n));
	return 0;
}

void budget_unlock(struct cache *cache, uint64_t n)
{
	atomic_fetch_sub(&cache->locked, n);
}

/* ---- page-out ---- */

/* Moves whenever a frame was freed, or a page written so that it can be. */
static uint64_t progress(struct cache *cache)
{
	return atomic_load(&cache->counters.evicted_pages) + atomic_load(&cache->counters.write_calls) +
	       atomic_load(&cache->counters.swap_out_pages);
}

/*
 * Nothing can be paged out when many steps brought nothing, and either writes fail or nobody, not this thread nor another, has
 * come forward for a while: a chunk may be in another's hands. While transfers are under way they are waited for, but not for ever:
 * they may wait for a lock of the kernel's that this thread holds (docs/locking.md).
 */
struct patience {
	uint64_t seen, errors;
	uint64_t barren; /* steps since the last progress */
	uint32_t since_ms;
};

static bool gives_up(struct cache *cache, struct patience *patience)
{
	uint64_t now = progress(cache);

	if (now != patience->seen) {
		patience->seen = now;
		patience->barren = 0;
		patience->since_ms = cache_clock_ms();
		return false;
	}
	/* A page with the most passes that is dirty goes in the eighth round at the latest, and a round is two steps a chunk. */
	if (++patience->barren <= 24 * (uint64_t)atomic_load(&cache->queued) + 64)
		return false;
	return atomic_load(&cache->counters.writeback_errors) != patience->errors ||
	       cache_clock_ms() - patience->since_ms > (atomic_load(&cache->buffers.taken) ? BUSY_MS : PATIENCE_MS);
}

bool pageout_reclaim(struct cache *cache, uint64_t want)
{
	static const struct timespec pause = {.tv_nsec = 500000};
	struct patience patience = {
	    .seen = progress(cache),
	    .errors = atomic_load(&cache->counters.writeback_errors),
	    .since_ms = cache_clock_ms(),
	};

	while (atomic_load(&cache->used) + want > atomic_load(&cache->limit)) {
		if (gives_up(cache, &patience))
			return false;
		if (policy_step(cache, patience.barren > atomic_load(&cache->queued)) == POLICY_NOTHING)
			nanosleep(&pause, NULL);
	}
	return true;
}

void pageout_poke(struct cache *cache)
{
	uint32_t asleep = 0;

	if (atomic_compare_exchange_strong(&cache->pageout_word, &asleep, 1))
		futex_wake(&cache->pageout_word, 1);
}

static void *pageout_main(void *arg)
{
	struct cache *cache = arg;

	while (!atomic_load(&cache->stopping)) {
		uint64_t limit = atomic_load(&cache->limit);
		uint64_t barren = 0;

		while (!atomic_load(&cache->stopping) && free_pages(cache) < limit / HIGH_DIVISOR) {
			enum policy_result result = policy_step(cache, false);

			if (result == POLICY_FREED)
				barren = 0;
			else if (++barren > 8ull * atomic_load(&cache->queued) + 8 || result == POLICY_NOTHING)
				break;
		}
		atomic_store(&cache->pageout_word, 0);
		/* pageout_stop sets both, the word last: it may just have been overwritten. */
		if (atomic_load(&cache->stopping))
			break;
		if (free_pages(cache) < limit / LOW_DIVISOR && barren == 0)
			continue;
		futex_wait(&cache->pageout_word, 0, NULL);
	}
	return NULL;
}

int pageout_start(struct cache *cache)
{
	int r;

	atomic_store(&cache->stopping, false);
	r = thread_start(&cache->pageout_thread, "quire-pageout", pageout_main, cache);

	cache->pageout_started = r == 0;
	return r;
}

void pageout_stop(struct cache *cache)
{
	if (!cache->pageout_started)
		return;
	atomic_store(&cache->stopping, true);
	atomic_store(&cache->pageout_word, 1);
	futex_wake_all(&cache->pageout_word);
	pthread_join(cache->pageout_thread, NULL);
	cache->pageout_started = false;
}
