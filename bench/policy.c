/* SPDX-License-Identifier: MIT */
/*
 * policy.c - hit ratios: the engine's replacement policy against those from the books, on the same traces
 *
 * The engine's policy is run as it is, over pages without frames: simulated.c.
 */
#include "bench.h"
#include "reference.h"
#include "simulated.h"
#include "trace.h"

#include <stdio.h>

/* ---- the engine's policy ---- */

/* Percent of hits after the warm-up; the row's note says what they cost. */
static double run_engine(const struct bench *b, const struct trace *trace, struct bench_row *row)
{
	uint64_t warm_hits = 0, hits;
	struct simulated *s;

	if (simulated_create(trace->pages, trace->capacity, &s) < 0)
		bench_stop(b, "no memory to simulate the engine's policy");
	for (uint32_t i = 0; i < trace->length; i++) {
		if (i == trace->warm)
			warm_hits = s->counts.hits;
		if (!simulated_touch(s, trace->page[i]))
			bench_stop(b, "the engine's policy finds nothing to evict");
	}
	hits = s->counts.hits - warm_hits;
	bench_note(row, "Quire: %.1f minor faults and %.2f sweeps of a chunk a 1000 accesses",
		   1000.0 * (double)s->counts.minor_faults / trace->length, 1000.0 * (double)s->counts.unmaps / trace->length);
	simulated_destroy(s);
	return 100.0 * (double)hits / (trace->length - trace->warm);
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

/* Within three points of the best policy that does not know the future. */
static void against_best(const struct bench *b, const struct trace *trace, const double ratio[REFERENCES], double engine)
{
	unsigned best = 0;
	struct bench_row *row;
	char what[64];

	for (unsigned i = 1; i < REFERENCE_MIN; i++)
		if (ratio[i] > ratio[best])
			best = i;
	snprintf(what, sizeof(what), "hit ratio, %s (limit: %s - 3)", trace->name, references[best].name);
	row = bench_row(b, what, "%", true);
	bench_sample(&row->limit, ratio[best] - 3);
	bench_sample(&row->quire, engine);
	bench_goal(row, BENCH_AT_LEAST, 1.0, true);
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
	/* Of the others one gives LRU no hit at all, and one is chance. */
	if (kind == TRACE_LOOP || kind == TRACE_UNIFORM)
		return;
	bench_goal(row, BENCH_AT_LEAST, 1.0, true);
	against_best(b, trace, ratio, engine);
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
