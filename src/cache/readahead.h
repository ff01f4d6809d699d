/* SPDX-License-Identifier: MIT */
/*
 * readahead.h - how much to read at a missed page, and when to read on
 */
#ifndef QUIRE_CACHE_READAHEAD_H
#define QUIRE_CACHE_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "util/lock.h"

enum readahead_advice { READAHEAD_NORMAL, READAHEAD_RANDOM, READAHEAD_SEQUENTIAL };

/* One stream, kept with each area. Zero bytes are a fresh one. */
struct readahead {
	struct lock lock;     /* only ever tried: a loser reads its page alone */
	uint64_t first, next; /* pages first … next - 1 were asked for last, from where the reader was then */
	unsigned window;      /* pages, of the last plan */
	unsigned most;        /* pages, that a window may have since some were evicted before their first touch; 0: no such limit */
	unsigned random;      /* misses in a row that continued nothing */
	bool started;
};

struct readahead_plan {
	uint64_t first;
	unsigned pages; /* 0: nothing to read */
	uint64_t mark;  /* the page whose first touch reads on; UINT64_MAX: none */
};

/*
 * A miss on a page.
 * => most: the largest window that the budget bears, in pages. end: of the area or object, exclusive.
 * => resident_before: the page before is resident, so a stream may have come from there.
 */
struct readahead_plan readahead_miss(struct readahead *stream, enum readahead_advice advice, uint64_t page, uint64_t end,
				     unsigned most, bool resident_before);

/* The marked page was touched: the next window, to be read without waiting. */
struct readahead_plan readahead_marked(struct readahead *stream, enum readahead_advice advice, uint64_t page, uint64_t end,
				       unsigned most);

#endif
