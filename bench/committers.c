/* SPDX-License-Identifier: MIT */
/*
 * committers.c - commits of one 8-byte change each, by threads that all want theirs to be durable before they go on
 *
 * What commits at the same time can share a sync, so several threads may have more than one alone. Beside it, for one thread: SQLite and
 * LMDB, which have one writer at a time; and, as the limit, a page written and synced.
 */
#include "durable.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const unsigned thread_counts[] = {1, 2, 4, 8};
#define COUNTS      (sizeof(thread_counts) / sizeof(thread_counts[0]))
#define THREADS_MAX 8
/* Each thread has pages of its own, so that no store is beside the commit of its page by another. */
#define THREAD_PAGES 256

struct field {
	const struct bench *b;
	const struct bench_side *side;
	volatile uint64_t *p;
	double seconds;
	pthread_barrier_t begin;
};

struct committer {
	struct field *field;
	unsigned number;
	pthread_t thread;
	uint64_t commits;
	double seconds;
	uint64_t last[THREAD_PAGES]; /* what is in its pages */
};

static void commit_page(const struct field *field, volatile uint64_t *page)
{
	bench_sync(field->b, field->side, (void *)page, BENCH_PAGE);
}

static void *committer_run(void *arg)
{
	struct committer *c = arg;
	struct field *field = c->field;
	double start;

	pthread_barrier_wait(&field->begin);
	start = bench_now();
	do {
		unsigned at = (unsigned)(c->commits % THREAD_PAGES);
		volatile uint64_t *page = field->p + (c->number * THREAD_PAGES + at) * BENCH_WORDS;

		*page = c->last[at] = (uint64_t)c->number << 56 | ++c->commits;
		commit_page(field, page);
		c->seconds = bench_now() - start;
	} while (c->seconds < field->seconds);
	return NULL;
}

/* Commits a second of n threads. */
static double run_threads(struct field *field, struct committer *committers, unsigned n)
{
	double rate = 0;

	pthread_barrier_init(&field->begin, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		committers[i] = (struct committer){.field = field, .number = i};
		if (pthread_create(&committers[i].thread, NULL, committer_run, &committers[i]) != 0)
			bench_stop(field->b, "a thread cannot be started");
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(committers[i].thread, NULL);
		rate += (double)committers[i].commits / committers[i].seconds;
	}
	pthread_barrier_destroy(&field->begin);
	return rate;
}

static void check(const struct bench *b, const struct bench_side *side, const struct committer *committers, unsigned n, int direct)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned at = 0; at < THREAD_PAGES && at < committers[i].commits; at++)
			bench_expect_stored(b, side->name, direct, i * THREAD_PAGES + at, committers[i].last[at]);
	}
}

/* One side, with all counts of threads. */
static void measure_side(const struct bench *b, const struct bench_side *side, struct bench_row *rows[COUNTS])
{
	static const char name[] = "committers.bin";
	uint64_t size = THREADS_MAX * THREAD_PAGES * BENCH_PAGE;
	int fd = bench_named(b, name, size), direct = bench_direct(b, fd, 0);
	struct committer *committers = bench_alloc(b, THREADS_MAX, sizeof(*committers));
	struct field field = {.b = b, .side = side, .seconds = b->quick ? 0.05 : 1};

	field.p = bench_map(b, side, size, PROT_READ | PROT_WRITE, MAP_SHARED | (side == &bench_quire ? QUIRE_MAP_ATOMIC : 0), fd);
	bench_touch((const void *)field.p, size);
	for (unsigned c = 0; c < COUNTS; c++) {
		double rate = run_threads(&field, committers, thread_counts[c]);

		bench_sample(side == &bench_quire ? &rows[c]->quire : &rows[c]->kernel, rate);
	}
	bench_unmap(b, side, (void *)field.p, size);
	check(b, side, committers, THREADS_MAX, direct);
	free(committers);
	close(direct);
	close(fd);
	bench_remove(b, name);
}

/* Commits a second of one record, one after the other; a checkpoint comes when it does by default. */
static double measure_alone(const struct bench *b, const struct durable *side)
{
	uint64_t records = THREADS_MAX * THREAD_PAGES, commits = 0;
	void *state = side->open(b, records, 1, false);
	double start = bench_now(), seconds;

	do {
		side->change(state, commits % THREAD_PAGES, commits + 1);
		side->commit(state);
		commits++;
		seconds = bench_now() - start;
	} while (seconds < (b->quick ? 0.05 : 1));
	bench_expect(b, side->name, side->stored(state, (commits - 1) % THREAD_PAGES), commits);
	side->close(state);
	return (double)commits / seconds;
}

static void measure_rivals(const struct bench *b, struct bench_row *row)
{
	bench_sample(&row->limit, measure_alone(b, &durable_raw));
#ifdef BENCH_SQLITE
	bench_sample(bench_other(b, row, durable_sqlite.name), measure_alone(b, &durable_sqlite));
#endif
#ifdef BENCH_LMDB
	bench_sample(bench_other(b, row, durable_lmdb.name), measure_alone(b, &durable_lmdb));
#endif
}

void bench_committers(const struct bench *b)
{
	struct bench_row *rows[COUNTS];

	for (unsigned c = 0; c < COUNTS; c++) {
		char what[64];

		snprintf(what, sizeof(what), "commits of 8 bytes, %u thread%s", thread_counts[c], thread_counts[c] == 1 ? "" : "s");
		rows[c] = bench_row(b, what, "/s", true);
	}
	bench_engine(b, 64 * MIB);
	for (unsigned run = 0; run < b->runs; run++) {
		measure_side(b, run % 2 ? &bench_quire : &bench_kernel, rows);
		measure_rivals(b, rows[0]);
		measure_side(b, run % 2 ? &bench_kernel : &bench_quire, rows);
	}
	bench_note(
	    rows[0],
	    "each thread changes pages of its own; kernel: msync of the page; limit: pwrite of a page, O_DIRECT, and fdatasync");
}
