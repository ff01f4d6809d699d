/* SPDX-License-Identifier: MIT */
/*
 * policy.h - which pages stay
 *
 * Everything that the rest knows of the replacement policy. Another policy is another .c file behind this header.
 */
#ifndef QUIRE_CACHE_POLICY_H
#define QUIRE_CACHE_POLICY_H

#include "cache/cache.h"

/* A chunk has got its first resident page. Queues it unless it is queued. Async-signal-safe, as all of these. */
void policy_insert(struct cache *cache, struct chunk *chunk);

/* Takes a chunk off the queues for good; its object is unreferenced, so no sweeper has it. */
void policy_remove(struct cache *cache, struct chunk *chunk);

/* The USE flags of a page that comes in; absent is its word before. Counts a page that was missed. */
uint32_t policy_born(struct cache *cache, uint32_t absent);

/* The USE flags of a resident page that was found useful, after a fault on it; word is its word before. */
uint32_t policy_touched(uint32_t word);

/* A page is not going to be used: if it is resident, and nobody maps it, it goes at the next pass. */
void policy_cold(page_word *page);

/* The STAMP of a page that is evicted now. Moves the policy's clock. */
uint32_t policy_stamp(struct cache *cache);

enum policy_result {
	POLICY_FREED,   /* frames were given back */
	POLICY_KEPT,    /* a chunk was looked at; nothing was freed */
	POLICY_NOTHING, /* no chunk to look at */
};

/* Looks at one chunk. wait: until its dirty pages are written. No lock held. */
enum policy_result policy_step(struct cache *cache, bool wait);

#endif
