/* SPDX-License-Identifier: MIT */
/*
 * readahead.h - what to read at a missed page, and when to read on
 */
#ifndef QUIRE_CACHE_READAHEAD_H
#define QUIRE_CACHE_READAHEAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define READAHEAD_STREAMS 8
#define READAHEAD_RECENT  32 /* of which the last four of eight streams are */

enum readahead_advice { READAHEAD_NORMAL, READAHEAD_RANDOM, READAHEAD_SEQUENTIAL };

/* In steps, each of so many pages. */
struct readahead_shape {
	int16_t step;    /* forward or, negative, backward; 1 and -1: every page */
	uint16_t window; /* of the last plan; 0: there is no stream */
	uint16_t most;   /* that a window may have since some pages were evicted before their first touch; 0: no such limit */
	uint16_t behind; /* asked for, from where the reader was at the last plan */
};

_Static_assert(sizeof(struct readahead_shape) == sizeof(uint64_t), "loaded and stored at once, in signal handlers too");

/* Who moves next by compare-and-swap has made the plan, and stores the rest. */
struct readahead_stream {
	_Atomic uint64_t next; /* the first page that was not asked for */
	_Atomic struct readahead_shape shape;
	_Atomic uint32_t used; /* the time of the last plan */
};

/*
 * The streams of an area. Zero bytes are none yet. Nothing is locked: of two threads that meet in here one may go by what the other has
 * changed half, and then reads too little, or what nobody wants. What is planned is within the bounds of the touch in any case.
 */
struct readahead {
	struct readahead_stream stream[READAHEAD_STREAMS];
	_Atomic uint32_t recent[READAHEAD_RECENT]; /* a ring: the pages missed last that no stream expected, plus 1; 0: none */
	_Atomic uint32_t missed;                   /* how many were put in */
	_Atomic uint32_t time;                     /* counted in plans */
	_Atomic uint32_t random;                   /* misses in a row that continued nothing */
};

/* A page is touched. */
struct readahead_touch {
	enum readahead_advice advice;
	uint64_t page;
	uint64_t begin, end;  /* of the area, no further than the object: what may be read, end exclusive */
	unsigned most;        /* pages, the largest window that the budget bears … */
	unsigned most_apart;  /* … where pages do not adjoin: each is a read of its own */
	bool resident_before; /* of a miss: the page before is resident, so a stream may have come from there */
};

/* pages first, first + step, …. That of a miss is among them: the first, or, backward, the last. */
struct readahead_plan {
	uint64_t first;
	unsigned pages; /* 0: nothing to read */
	unsigned step;
	bool backward;
	uint64_t mark; /* the page whose first touch reads on; UINT64_MAX: none */
};

struct readahead_plan readahead_miss(struct readahead *readahead, const struct readahead_touch *touch);

/* The marked page was touched: the next window, to be read without waiting. */
struct readahead_plan readahead_marked(struct readahead *readahead, const struct readahead_touch *touch);

/*
 * An area is split in two at a page, or two are one again: each stream is where its next page is. right is fresh for a split. Nobody
 * else has either.
 */
void readahead_split(struct readahead *left, struct readahead *right, uint64_t page);
void readahead_join(struct readahead *left, struct readahead *right);

#endif
