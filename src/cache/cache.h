/* SPDX-License-Identifier: MIT */
/*
 * cache.h - what all objects of an engine share: the budget, the buffers, the queues of the policy, the counters
 */
#ifndef QUIRE_CACHE_CACHE_H
#define QUIRE_CACHE_CACHE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/aperture.h"
#include "cache/buffer.h"
#include "cache/chunk.h"
#include "util/arena.h"
#include "util/lock.h"

struct cache;
struct io;

/* Counters that only grow, read by quire_stats_get. */
struct counters {
	_Atomic uint64_t major_faults, minor_faults, write_faults, copy_faults, zero_faults, error_faults;
	_Atomic uint64_t read_calls, read_bytes, write_calls, write_bytes, copied_bytes;
	_Atomic uint64_t readahead_pages, readahead_hits;
	_Atomic uint64_t evicted_pages, refaulted_pages;
	_Atomic uint64_t swap_in_pages, swap_out_pages;
	_Atomic uint64_t writeback_errors, filled_pages;
};

static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/*
 * What the cache asks of the objects, which know mappings and pagers and stand above it. The chunk is in the sweeper's hands and
 * its object referenced; no lock is held.
 */
struct cache_ops {
	/*
	 * Takes every page of the chunk that is mapped and not locked out of all mappings, so that its next touch is a fault;
	 * learns which were stored to. Those that are spared need not be. Private pages leave for the swap object instead.
	 */
	void (*unmap)(struct chunk *chunk, const struct chunk_set *spared);
	/* Gives back those frames of the set that are neither mapped nor dirty nor busy; how many. */
	unsigned (*evict)(struct chunk *chunk, const struct chunk_set *set);
	/* Starts writing the chunk's dirty pages that are not mapped; wait: for a moment of progress. How many were begun. */
	unsigned (*clean)(struct chunk *chunk, bool wait);
	/* False: the object is being destroyed; the chunk is not touched any more. */
	bool (*ref)(struct object *object);
	void (*unref)(struct object *object);
};

/* A FIFO of chunks. */
struct chunk_list {
	struct chunk *head, *tail;
};

/*
 * Locks: map_lock => object.lock => queue_lock, buffers.lock, arena.lock. docs/locking.md.
 * (q) queue_lock. (p) set at start, then constant. (a) atomic.
 */
struct cache {
	struct rwlock map_lock; /* areas, and the views that objects have of them */

	/* Budget, in pages. */
	struct lock limit_lock;     /* one at a time changes the limit, and waits until it is kept */
	_Atomic uint64_t limit;     /* (a) frames and buffers together */
	_Atomic uint64_t used;      /* (a) frames that are there or promised, and buffers */
	_Atomic uint64_t used_peak; /* (a) */
	_Atomic uint64_t locked;    /* (a) pages that may not be paged out */
	struct buffers buffers;
	_Atomic uint64_t own_buffer_pages; /* (a) of objects that have buffers of their own, part of used */

	/* Policy. */
	struct lock queue_lock;
	struct chunk_list active, idle; /* (q) */
	_Atomic bool stalled;           /* (a) the idle chunk last looked at had dirty pages only */
	_Atomic uint32_t queued;        /* (a) chunks on both, and in sweepers' hands */
	_Atomic uint32_t barren;        /* (a) idle chunks looked at since a frame was given back */
	_Atomic uint64_t idle_pages;    /* (a) about: frames in chunks on the idle queue */
	_Atomic uint32_t time;          /* (a) evictions, in units of time_unit */
	_Atomic uint32_t time_left;     /* (a) evictions until time moves on */

	/* Page-out daemon. */
	pthread_t pageout_thread;
	_Atomic uint32_t pageout_word; /* (a) futex: 1 asked to run, 0 asleep */
	_Atomic bool stopping;         /* (a) */
	bool pageout_started;          /* (p) */

	const struct cache_ops *ops; /* (p) */
	struct io *io;               /* (p) */
	struct frames_source frames; /* (p) */
	struct apertures apertures;  /* for frames of 2 MiB */
	struct arena arena;
	struct counters counters;
	_Atomic uint64_t dirty_pages;  /* (a) about */
	_Atomic uint32_t huge_chunks;  /* (a) with a huge frame */
	_Atomic bool collapses;        /* (a) they are made; false: the kernel cannot, or is not to */
	uint32_t collapse_after_ms;    /* the flusher's: not before, since there was no memory */
	_Atomic uint64_t epoch;        /* (a) that is now; 0: nobody has asked what was stored to since one */
	_Atomic uint64_t written_back; /* (a) how many runs of files' pages have come back from being written, plus one */
	_Atomic int write_errno;       /* (a) of the last write-back that failed, set before it is counted */
};

/* ---- budget ---- */

/* Starts with the frames of the buffers taken from the budget. 0 or -errno. */
int cache_create(uint64_t limit_pages, const struct cache_ops *ops, struct io *io, struct cache **ret);
void cache_destroy(struct cache *cache);

/*
 * Promises n frames, paging out others when there is no room.
 * => 0; -ENOMEM nothing can be paged out. No lock held; may write to storage and wait. Async-signal-safe.
 */
int budget_reserve(struct cache *cache, uint64_t n);
/* As budget_reserve, but only what is free right now: false. */
bool budget_try(struct cache *cache, uint64_t n);
/* Gives back promises or frames. */
void budget_release(struct cache *cache, uint64_t n);
/* The least budget that works, in pages. */
uint64_t budget_minimum(void);
/* 0; -ENOMEM: cannot page out enough; then the old limit stands. */
int budget_set(struct cache *cache, uint64_t limit_pages);
/* Whether such a limit leaves enough beside what is locked. */
bool budget_bears(struct cache *cache, uint64_t limit);
/* Promises that n more pages may be locked. -ENOMEM: too little would be left. */
int budget_lock(struct cache *cache, uint64_t n);
void budget_unlock(struct cache *cache, uint64_t n);

/* ---- page-out ---- */

int pageout_start(struct cache *cache);
void pageout_stop(struct cache *cache);
/* Wakes the daemon when free frames run low. */
void pageout_poke(struct cache *cache);
/* Pages out on this thread until want frames are free or nothing moves any more; whether anything was freed. */
bool pageout_reclaim(struct cache *cache, uint64_t want);

/* ms since some start, never 0. */
uint32_t cache_clock_ms(void);

#endif
