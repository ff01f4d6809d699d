/* SPDX-License-Identifier: MIT */
/*
 * reference.h - replacement policies from the books, simulated, to hold the engine's own against
 */
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include "trace.h"

/* Runs the trace through a cache of trace->capacity pages and counts the hits after the warm-up. 0 or -ENOMEM. */
typedef int reference_function(const struct trace *trace, uint32_t *ret_hits);

struct reference {
	const char *name;
	reference_function *run;
};

enum {
	REFERENCE_FIFO,
	REFERENCE_LRU,
	REFERENCE_CLOCK,
	REFERENCE_2Q,
	REFERENCE_S3_FIFO,
	REFERENCE_TINY_LFU,
	REFERENCE_MIN,
	REFERENCES
};

/* MIN is the last: it knows the future, and no policy can have more hits than it. */
extern const struct reference references[REFERENCES];

#endif
