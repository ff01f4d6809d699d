/* SPDX-License-Identifier: MIT */
/*
 * once.h - what came in last through a mapping whose pages are used once
 *
 * A queue of the runs of pages that were read through an area: of a few, and of a small part of the budget. What falls out of it is to
 * be given back, so that a reader who does not come again never displaces what others use, in whichever order he reads.
 */
#ifndef QUIRE_CACHE_ONCE_H
#define QUIRE_CACHE_ONCE_H

#include <stdint.h>

#include "util/lock.h"

#define ONCE_RUNS 128 /* of single pages, so many are kept behind all readers of an area together */
#define ONCE_OUT  4

/* Pages first, first + step, …. */
struct once_run {
	uint64_t first;
	uint32_t pages;
	uint32_t step;
};

/* Zero bytes are an empty one. */
struct once {
	struct lock lock;
	unsigned head, count; /* [lock] */
	uint64_t pages;       /* [lock] */
	struct once_run run[ONCE_RUNS];
};

/* What fell out. */
struct once_out {
	unsigned n;
	struct once_run run[ONCE_OUT];
};

/* Puts a run in. most: pages that should be in it, at least those of the run and of the one before. Async-signal-safe. */
void once_put(struct once *once, struct once_run run, uint64_t most, struct once_out *ret);

#endif
