/* SPDX-License-Identifier: MIT */
/*
 * simulated.h - the engine's replacement policy as it is, over pages that are words without frames
 */
#ifndef BENCH_SIMULATED_H
#define BENCH_SIMULATED_H

#include "cache/policy.h"

/* Counts since the start; who wants those of a part subtracts. */
struct simulated_counts {
	uint64_t hits, misses;
	uint64_t minor_faults;    /* touches of pages that the policy had unmapped */
	uint64_t unmaps;          /* chunks */
	uint64_t unmapped_pages;  /* that were mapped */
	uint64_t unmapped_pieces; /* of chunks, between pages that stay mapped */
	uint64_t decisions;       /* chunks */
	uint64_t evicted_pages;
	uint64_t evicted_runs; /* of adjacent pages: a system call each */
};

/* The cache is the first member; a chunk's object is the simulation itself, which is all that the policy passes through. */
struct simulated {
	struct cache cache;
	struct chunk *chunks;
	struct simulated_counts counts;
};

/* So many pages, of which so many may be resident. 0 or -ENOMEM. */
int simulated_create(uint32_t pages, uint32_t capacity, struct simulated **ret);
void simulated_destroy(struct simulated *simulated);

/* Touches a page. False: the policy finds nothing to evict, which is a bug. */
bool simulated_touch(struct simulated *simulated, uint32_t page);

#endif
