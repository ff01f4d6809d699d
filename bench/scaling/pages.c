/* SPDX-License-Identifier: MIT */
/*
 * pages.c - the engine's page-out policy at the ratios of large storage
 *
 * What decides how the policy fares, and what it works, is not how much storage there is, but how much of it is in memory: how many
 * pages of a chunk are. So storage and memory are divided by the same number, and the code in src/cache/clock.c runs over the rest.
 * That the number does not matter is to be seen by trying two; with zipf keys it does a little, since the fewer there are the more the
 * first are asked for.
 */
#include "pages.h"

#include <errno.h>

#include "../reference.h"
#include "../simulated.h"
#include "../trace.h"

#define PAGE_BYTES 4096

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static struct simulated_counts since(const struct simulated_counts *now, const struct simulated_counts *before)
{
	return (struct simulated_counts){
	    .hits = now->hits - before->hits,
	    .misses = now->misses - before->misses,
	    .minor_faults = now->minor_faults - before->minor_faults,
	    .unmaps = now->unmaps - before->unmaps,
	    .unmapped_pages = now->unmapped_pages - before->unmapped_pages,
	    .decisions = now->decisions - before->decisions,
	    .evicted_pages = now->evicted_pages - before->evicted_pages,
	    .evicted_runs = now->evicted_runs - before->evicted_runs,
	};
}

static int run(const struct trace *trace, struct pages_result *ret)
{
	struct simulated_counts before = {0}, c;
	struct simulated *s;
	int r = simulated_create(trace->pages, trace->capacity, &s);

	for (uint32_t i = 0; r == 0 && i < trace->length; i++) {
		if (i == trace->warm)
			before = s->counts;
		if (!simulated_touch(s, trace->page[i]))
			r = -EIO;
	}
	if (r == 0) {
		c = since(&s->counts, &before);
		ret->hit_ratio = share(c.hits, c.hits + c.misses);
		ret->minor_share = share(c.minor_faults, c.hits + c.misses);
		ret->unmaps = share(c.unmaps, c.evicted_pages);
		ret->mapped = share(c.unmapped_pages, c.unmaps);
		ret->decisions = share(c.decisions, c.evicted_pages);
		ret->runs = share(c.evicted_runs, c.evicted_pages);
		simulated_destroy(s);
	}
	return r;
}

int pages_simulate(double memory_bytes, double scale, bool zipf, uint32_t touches, struct pages_result *ret)
{
	struct trace trace;
	uint32_t hits;
	int r = trace_make(zipf ? TRACE_ZIPF : TRACE_UNIFORM, (uint32_t)(PAGES_STORAGE / PAGE_BYTES / scale), touches, 1, &trace);

	if (r < 0)
		return r;
	trace.capacity = (uint32_t)(memory_bytes / PAGE_BYTES / scale);
	trace.warm = touches / 2;
	*ret = (struct pages_result){.resident = CHUNK_PAGES * (double)trace.capacity / trace.pages};
	r = run(&trace, ret);
	if (r == 0)
		r = references[REFERENCE_LRU].run(&trace, &hits);
	if (r == 0)
		ret->lru_ratio = share(hits, trace.length - trace.warm);
	trace_free(&trace);
	return r;
}
