/* SPDX-License-Identifier: MIT */
/*
 * policy.c - hit ratios: the engine's replacement policy against those from the books, on the same traces
 *
 * The engine's policy is run as it is, behind its header (cache/policy.h), over pages that are words without frames: what
 * the objects do for it is done here in a few lines, at once and without faults, so that millions of accesses take seconds. A hit
 * on a mapped page is not shown to the policy, just as the hardware does not show it; a touch of a page that the policy had
 * unmapped is, and is counted, since it is the price of knowing. What is not modelled is the daemon that keeps a few pages free.
 */
#include "cache/policy.h"
#include "bench.h"
#include "reference.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the engine's policy ---- */

struct simulation {
	struct cache cache;
	struct chunk *chunks;
	uint64_t unmaps, minor_faults;
};

/* The cache is the first member; a chunk's object is the simulation itself, which is all that the policy passes through. */
static struct simulation *simulation_of(const struct chunk *chunk)
{
	return (struct simulation *)chunk->object;
}

static void sim_unmap(struct chunk *chunk)
{
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		page_flags(&chunk->page[i], PAGE_MAPPED, 0);
	simulation_of(chunk)->unmaps++;
}

static unsigned sim_evict(struct chunk *chunk, const struct chunk_set *set)
{
	struct cache *cache = &simulation_of(chunk)->cache;
	unsigned freed = 0;

	for (unsigned i = chunk_set_next(set, 0); i < CHUNK_PAGES; i = chunk_set_next(set, i + 1)) {
		atomic_store(&chunk->page[i], PAGE_ABSENT | policy_stamp(cache));
		freed++;
	}
	atomic_fetch_sub(&chunk->resident, freed);
	atomic_fetch_sub(&cache->used, freed);
	return freed;
}

static unsigned sim_clean(struct chunk *chunk, bool wait)
{
	(void)chunk;
	(void)wait;
	return 0;
}

static bool sim_ref(struct object *object)
{
	(void)object;
	return true;
}

static void sim_unref(struct object *object)
{
	(void)object;
}

static const struct cache_ops sim_ops = {
    .unmap = sim_unmap,
    .evict = sim_evict,
    .clean = sim_clean,
    .ref = sim_ref,
    .unref = sim_unref,
};

/* Returns whether it was a hit. */
static bool sim_access(const struct bench *b, struct simulation *s, uint32_t page)
{
	struct chunk *chunk = &s->chunks[page >> CHUNK_SHIFT];
	page_word *word = &chunk->page[page % CHUNK_PAGES];
	uint32_t was = page_load(word);

	if (page_state(was) == PAGE_RESIDENT) {
		if (!(was & PAGE_MAPPED)) {
			s->minor_faults++;
			atomic_store(word, (was & ~PAGE_REF) | policy_touched(was) | PAGE_MAPPED);
		}
		return true;
	}
	for (unsigned barren = 0; s->cache.used >= s->cache.limit; barren++)
		if (policy_step(&s->cache, false) == POLICY_NOTHING || barren > 1000000)
			bench_stop(b, "the engine's policy finds nothing to evict");
	atomic_store(word, PAGE_RESIDENT | PAGE_MAPPED | policy_born(&s->cache, was));
	s->cache.used++;
	chunk->resident++;
	policy_insert(&s->cache, chunk);
	return false;
}

/* Percent of hits after the warm-up; the row's note says what they cost. */
static double run_engine(const struct bench *b, const struct trace *trace, struct bench_row *row)
{
	uint32_t count = (trace->pages + CHUNK_PAGES - 1) / CHUNK_PAGES, hits = 0;
	struct simulation s = {.chunks = bench_alloc(b, count, sizeof(*s.chunks))};

	s.cache.limit = trace->capacity;
	s.cache.time = 1;
	s.cache.ops = &sim_ops;
	for (uint32_t i = 0; i < count; i++)
		s.chunks[i] = (struct chunk){.object = (struct object *)&s, .first = (uint64_t)i * CHUNK_PAGES};
	for (uint32_t i = 0; i < trace->length; i++)
		if (sim_access(b, &s, trace->page[i]))
			hits += i >= trace->warm;
	bench_note(row, "Quire: %.1f minor faults and %.2f sweeps of a chunk a 1000 accesses",
		   1000.0 * s.minor_faults / trace->length, 1000.0 * s.unmaps / trace->length);
	free(s.chunks);
	return 100.0 * hits / (trace->length - trace->warm);
}

/* ---- the comparison ---- */

/* A simulation that breaks a law is wrong, and with it every comparison. */
static void check_laws(const struct bench *b, enum trace_kind kind, const struct trace *trace, const double ratio[REFERENCES])
{
	double share = 100.0 * trace->capacity / trace->pages;

	for (unsigned i = 0; i < REFERENCE_MIN; i++) {
		if (ratio[i] > ratio[REFERENCE_MIN])
			bench_stop(b, "%s: %s has more hits than MIN", trace->name, references[i].name);
		if (kind == TRACE_UNIFORM && (ratio[i] < share - 1 || ratio[i] > share + 1))
			bench_stop(b, "%s: %s has %.1f %% hits, chance gives %.1f", trace->name, references[i].name, ratio[i],
				   share);
	}
	if (kind == TRACE_LOOP && (ratio[REFERENCE_LRU] > 0 || ratio[REFERENCE_FIFO] > 0))
		bench_stop(b, "%s: LRU or FIFO has hits", trace->name);
}

static void measure(const struct bench *b, enum trace_kind kind, const struct trace *trace)
{
	double ratio[REFERENCES], engine;
	struct bench_row *row;
	char what[64];

	for (unsigned i = 0; i < REFERENCES; i++) {
		uint32_t hits;

		if (references[i].run(trace, &hits) < 0)
			bench_stop(b, "no memory to simulate %s", references[i].name);
		ratio[i] = 100.0 * hits / (trace->length - trace->warm);
	}
	check_laws(b, kind, trace, ratio);

	snprintf(what, sizeof(what), "hit ratio, %s (limit: LRU)", trace->name);
	row = bench_row(b, what, "%", true);
	row->against_limit = true;
	bench_sample(&row->limit, ratio[REFERENCE_LRU]);
	for (unsigned i = 0; i < REFERENCES; i++)
		bench_note(row, "%s %.2f", references[i].name, ratio[i]);
	engine = run_engine(b, trace, row);
	bench_sample(&row->quire, engine);
	if (engine > ratio[REFERENCE_MIN])
		bench_stop(b, "%s: the engine's policy has more hits than MIN", trace->name);
	if (kind != TRACE_ZIPF)
		return;
	row = bench_row(b, "hit ratio, zipf(0.99) (limit: FIFO)", "%", true);
	bench_sample(&row->limit, ratio[REFERENCE_FIFO]);
	bench_sample(&row->quire, engine);
	bench_goal(row, BENCH_AT_LEAST, 1.0, true);
}

void bench_policy(const struct bench *b)
{
	uint32_t pages = b->quick ? 20000 : 100000, length = b->quick ? 200000 : 3000000;

	for (enum trace_kind kind = 0; kind < TRACE_KINDS; kind++) {
		struct trace trace;

		if (trace_make(kind, pages, length, 1, &trace) < 0)
			bench_stop(b, "no memory for a trace");
		measure(b, kind, &trace);
		trace_free(&trace);
	}
}
