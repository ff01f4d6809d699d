/* SPDX-License-Identifier: MIT */
/*
 * commit.c - what it takes to make n scattered pages durable, all or none of them, and what it takes others
 *
 * The commit alone is measured: the changes are made before, and what a side leaves for later (a checkpoint) is done after, for all in
 * the same way. The sides take turns within a run, each run beginning with another. The kernel's msync promises less: it is there to be
 * compared.
 */
#include "durable.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned page_counts[] = {1, 10, 100, 1000, 10000};
#define COUNTS  (sizeof(page_counts) / sizeof(page_counts[0]))
#define MOST    10000
#define CHECKED 64 /* records that are looked at after each commit */

static const struct durable *const sides[] = {
    &durable_quire,  &durable_kernel, &durable_raw, &durable_kernel_default,
#ifdef BENCH_SQLITE
    &durable_sqlite,
#endif
#ifdef BENCH_LMDB
    &durable_lmdb,
#endif
};
#define SIDES (sizeof(sides) / sizeof(sides[0]))

struct work {
	const struct bench *b;
	uint32_t *order; /* all records, shuffled: the next ones are changed */
	uint64_t records;
	struct place {
		uint64_t next, seed;
	} place;
};

/* Milliseconds of the commit of the next count records. */
static double commit_once(struct work *w, const struct durable *side, void *state, unsigned count)
{
	struct place begin = w->place;
	double start, seconds;

	for (unsigned i = 0; i < count; i++)
		side->change(state, w->order[w->place.next++ % w->records], bench_random(&w->place.seed));
	start = bench_now();
	side->commit(state);
	seconds = bench_now() - start;
	if (side->settle)
		side->settle(state);
	for (unsigned i = 0; i < count; i++) {
		uint32_t record = w->order[begin.next++ % w->records];
		uint64_t word = bench_random(&begin.seed);

		if (i % (1 + count / CHECKED) == 0)
			bench_expect(w->b, side->name, side->stored(state, record), word);
	}
	return seconds * 1e3;
}

static struct bench_samples *samples_of(const struct bench *b, struct bench_row *row, const struct durable *side)
{
	if (side == &durable_quire)
		return &row->quire;
	if (side == &durable_kernel)
		return &row->kernel;
	return side == &durable_raw ? &row->limit : bench_other(b, row, side->name);
}

/* Every side makes the same changes: a sample is the mean of a few commits. */
static void take_samples(struct work *w, unsigned run, void *state[SIDES], struct bench_row *row, unsigned count)
{
	unsigned rounds = w->b->quick ? 1 : count <= 10 ? 20 : count <= 100 ? 10 : count <= 1000 ? 4 : 2;
	struct place begin = w->place;

	for (unsigned i = 0; i < SIDES; i++) {
		unsigned at = (unsigned)((run + i) % SIDES);
		double sum = 0;

		w->place = begin;
		for (unsigned round = 0; round < rounds; round++)
			sum += commit_once(w, sides[at], state[at], count);
		bench_sample(samples_of(w->b, row, sides[at]), sum / rounds);
	}
}

/* Columns for a plot: pages, and of each side its median, least and most. */
static void write_columns(const struct bench *b, struct bench_row *const rows[COUNTS])
{
	char *path = bench_path(b, "commit.dat");
	FILE *f = fopen(path, "we");

	if (!f)
		bench_stop(b, "%s: %s", path, strerror(errno));
	fprintf(f, "pages");
	for (unsigned i = 0; i < SIDES; i++)
		fprintf(f, "\t\"%s\"\tleast\tmost", sides[i]->name);
	for (unsigned c = 0; c < COUNTS; c++) {
		fprintf(f, "\n%u", page_counts[c]);
		for (unsigned i = 0; i < SIDES; i++) {
			const struct bench_samples *s = samples_of(b, rows[c], sides[i]);

			fprintf(f, "\t%.6g\t%.6g\t%.6g", bench_median(s), bench_min(s), bench_max(s));
		}
	}
	fprintf(f, "\n");
	if (fclose(f) != 0)
		bench_stop(b, "%s: %s", path, strerror(errno));
	free(path);
}

static void note_missing(struct bench_row *row)
{
#ifndef BENCH_SQLITE
	bench_note(row, "SQLite was not there when this was built (libsqlite3-dev)");
#endif
#ifndef BENCH_LMDB
	bench_note(row, "LMDB was not there when this was built (liblmdb-dev)");
#endif
	(void)row;
}

void bench_commit(const struct bench *b)
{
	struct work w = {.b = b, .records = bench_size(b, GIB, 64 * MIB) / BENCH_PAGE, .place.seed = 11};
	struct bench_row *rows[COUNTS];
	void *state[SIDES];

	if (w.records < MOST)
		bench_stop(b, "--size: %d pages of a file are committed, it has to have them", MOST);
	for (unsigned c = 0; c < COUNTS; c++) {
		char what[64];

		snprintf(what, sizeof(what), "commit of %u scattered page%s", page_counts[c], page_counts[c] == 1 ? "" : "s");
		rows[c] = bench_row(b, what, "ms", false);
		bench_goal(rows[c], BENCH_INFORM, 0, true);
	}
	bench_engine(b, b->quick ? 64 * MIB : 256 * MIB);
	w.order = bench_permutation(b, (uint32_t)w.records, 12);
	for (unsigned i = 0; i < SIDES; i++)
		state[i] = sides[i]->open(b, w.records, MOST, true);
	for (unsigned run = 0; run < b->runs; run++) {
		for (unsigned c = 0; c < COUNTS; c++)
			take_samples(&w, run, state, rows[c], page_counts[c]);
	}
	for (unsigned i = 0; i < SIDES; i++)
		sides[i]->close(state[i]);
	bench_note(rows[0],
		   "%" PRIu64 " MiB file; kernel: msync, MADV_RANDOM, which is not atomic; limit: the same bytes in one piece, "
		   "O_DIRECT, and fdatasync",
		   w.records * BENCH_PAGE / MIB);
	note_missing(rows[0]);
	write_columns(b, rows);
	free(w.order);
}
