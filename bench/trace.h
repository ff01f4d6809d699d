/* SPDX-License-Identifier: MIT */
/*
 * trace.h - sequences of page numbers to try replacement policies on
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdint.h>

/* Pages are numbered from 0 to pages-1. Hits are counted from access number warm on, when every policy has a full cache. */
struct trace {
	const char *name;
	uint32_t *page;
	uint32_t length;
	uint32_t warm;
	uint32_t pages;
	uint32_t capacity; /* of the cache this trace is meant for, in pages */
};

enum trace_kind {
	TRACE_ZIPF,       /* popularity falls as 1/rank^0.99; the popular pages lie anywhere */
	TRACE_ZIPF_SCAN,  /* the same, with now and then a scan over cold pages taking every other access */
	TRACE_ZIPF_DRIFT, /* the same, while which pages are popular changes slowly */
	TRACE_LOOP,       /* round and round a range a tenth larger than the cache */
	TRACE_UNIFORM,    /* every page as likely as every other */
	TRACE_KINDS,
};

/*
 * Makes the trace of this kind over so many pages, with a cache of a tenth of them in mind. The same arguments give the same
 * trace. 0 or -ENOMEM.
 */
int trace_make(enum trace_kind kind, uint32_t pages, uint32_t length, uint64_t seed, struct trace *ret);
void trace_free(struct trace *trace);

#endif
