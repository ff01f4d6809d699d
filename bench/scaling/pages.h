/* SPDX-License-Identifier: MIT */
/*
 * pages.h - the engine's page-out policy at the ratios of large storage
 */
#ifndef BENCH_SCALING_PAGES_H
#define BENCH_SCALING_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGES_STORAGE 10e12 /* bytes */

/* For each page that is evicted, unless it says otherwise. */
struct pages_result {
	double hit_ratio, lru_ratio;
	double minor_share; /* of all touches: pages that were there, unmapped by the policy */
	double resident;    /* pages of a chunk, on average over all chunks */
	double unmaps;      /* of chunks */
	double mapped;      /* pages that were mapped, of a chunk that was unmapped */
	double decisions;   /* chunks looked at */
	double runs;        /* system calls that give frames back */
};

/*
 * Storage of 10 TB and so much memory, both divided by scale, touched by zipf(0.99) or uniform keys that lie anywhere; counted over the
 * latter half of so many touches. 0; -ENOMEM; -EIO: the policy is broken.
 */
int pages_simulate(double memory_bytes, double scale, bool zipf, uint32_t touches, struct pages_result *ret);

#endif
