/* SPDX-License-Identifier: MIT */
/*
 * costs.h - what the parts of a fault cost on this machine, alone and beside another processor
 */
#ifndef BENCH_SCALING_COSTS_H
#define BENCH_SCALING_COSTS_H

#include <stdbool.h>

/*
 * How many do it at once. Two threads share what a process has; two processes share the machine only, so what they lose is not to be
 * blamed on a lock.
 */
enum setting { COST_ALONE, COST_THREADS, COST_PROCESSES, COST_SETTINGS };

enum cost_kind {
	COST_ATOMIC,   /* one atomic addition to a counter */
	COST_MAP_LOCK, /* taking and giving up the map lock for reading */
	COST_LINE,     /* handing a cache line over to the other core, which waits for it; two threads only */
	COST_SIGNAL,   /* a load that is refused, with a handler of SIGSEGV that does nothing but step over it */
	COST_ENTER,    /* UFFDIO_CONTINUE of one page */
	COST_PLACE,    /* UFFDIO_COPY of one page that had no frame */
	COST_FREE,     /* punching the frame of one page out */
	COST_READ,     /* the processor's part of a direct read of a page */
	COST_FAULT, /* a touch of a page that is resident and not mapped, by the signal trap: all of the above but PLACE and FREE */
	COST_SWEEP_3,      /* unmapping a chunk of which so many pages, evenly apart, are mapped */
	COST_SWEEP_26,     /* … */
	COST_SWEEP_105,    /* … */
	COST_SWEEP_512,    /* … */
	COST_SWEEP_KERNEL, /* of COST_SWEEP_3, the three system calls */
	COST_HARVEST_3,    /* asking the kernel what was stored to in a chunk with so many pages mapped, of which none was */
	COST_HARVEST_512,
	COST_KINDS,
};

struct cost {
	double ns[COST_SETTINGS];      /* for each thread, and operation */
	unsigned slots[COST_SETTINGS]; /* of a millisecond, that it is the median of; 0: not measured */
	bool crowded[COST_SETTINGS];   /* … in which not all threads had a processor of their own: others were busy */
};

struct costs {
	struct cost cost[COST_KINDS];
};

extern const char *const cost_names[COST_KINDS];

/* Takes some seconds; quick: hardly any, and the figures mean nothing. 0 or -errno: what is missing is not granted here. */
int costs_measure(const char *dir, bool quick, struct costs *ret);

#endif
