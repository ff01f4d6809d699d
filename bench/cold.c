/* SPDX-License-Identifier: MIT */
/*
 * cold.c - a fault on a random page that nobody has in memory
 *
 * The three sides take turns in small blocks, each on pages of its own that no side touches again, so that all of them meet the
 * same device in the same state and none profits from what another has read.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reader {
	const struct bench *b;
	const char *name;
	const volatile uint64_t *p; /* NULL: preads from the descriptor */
	int fd;
	uint64_t *buf;
	double *latency; /* of every page, in microseconds */
	uint64_t count;
	double seconds;
};

static uint64_t read_page(const struct reader *r, uint64_t page)
{
	if (r->p)
		return r->p[page * BENCH_WORDS];
	if (pread(r->fd, r->buf, BENCH_PAGE, (off_t)(page * BENCH_PAGE)) != BENCH_PAGE)
		bench_stop(r->b, "raw pread of page %" PRIu64 ": %s", page, strerror(errno));
	return r->buf[0];
}

static void read_block(struct reader *r, const uint32_t *pages, uint64_t count)
{
	double last = bench_now(), start = last;
	uint64_t sum = 0, expected = 0;

	for (uint64_t i = 0; i < count; i++) {
		double now;

		sum += read_page(r, pages[i]);
		now = bench_now();
		r->latency[r->count++] = (now - last) * 1e6;
		last = now;
	}
	r->seconds += last - start;
	for (uint64_t i = 0; i < count; i++)
		expected += bench_word(pages[i], 0);
	bench_expect(r->b, r->name, sum, expected);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The latency that this share of the faults stays below. */
static double percentile(const struct reader *r, double share)
{
	qsort(r->latency, r->count, sizeof(*r->latency), compare);
	return r->latency[(uint64_t)((double)(r->count - 1) * share)];
}

/* Blocks of a run, and the pages in one. */
struct plan {
	uint64_t size, blocks, block_pages;
};

static void measure(const struct bench *b, const struct plan *plan, struct reader readers[3], struct bench_row *row)
{
	struct bench_samples *samples[3] = {&row->limit, &row->quire, &row->kernel};
	uint64_t per_run = plan->blocks * plan->block_pages, next = 0;
	uint32_t *pages = bench_permutation(b, (uint32_t)(plan->size / BENCH_PAGE), 42);

	for (int i = 0; i < 3; i++)
		readers[i].latency = bench_alloc(b, per_run * b->runs, sizeof(double));
	for (unsigned run = 0; run < b->runs; run++) {
		for (int i = 0; i < 3; i++)
			readers[i].seconds = 0;
		for (uint64_t block = 0; block < plan->blocks; block++)
			for (uint64_t i = 0; i < 3; i++, next += plan->block_pages)
				read_block(&readers[(block + i) % 3], pages + next, plan->block_pages);
		for (int i = 0; i < 3; i++)
			bench_sample(samples[i], readers[i].seconds * 1e6 / (double)per_run);
	}
	bench_note(row, "p50/p99/p99.9 us: raw %.0f/%.0f/%.0f, Quire %.0f/%.0f/%.0f, kernel %.0f/%.0f/%.0f",
		   percentile(&readers[0], 0.5), percentile(&readers[0], 0.99), percentile(&readers[0], 0.999),
		   percentile(&readers[1], 0.5), percentile(&readers[1], 0.99), percentile(&readers[1], 0.999),
		   percentile(&readers[2], 0.5), percentile(&readers[2], 0.99), percentile(&readers[2], 0.999));
	free(pages);
	for (int i = 0; i < 3; i++)
		free(readers[i].latency);
}

void bench_cold(const struct bench *b)
{
	struct plan plan = {bench_size(b, 4 * GIB, 64 * MIB), b->quick ? 2 : 20, b->quick ? 50 : 200};
	struct bench_row *row = bench_row(b, "cold random 4 KiB fault (limit: O_DIRECT pread)", "us", false);
	struct reader readers[3] = {{b, .name = "raw pread"}, {b, .name = "Quire"}, {b, .name = "kernel"}};
	uint64_t needed = plan.blocks * plan.block_pages * b->runs * 3;
	int fd = bench_data(b, plan.size, O_RDONLY);
	struct quire_stats stats;

	if (needed > plan.size / BENCH_PAGE)
		bench_stop(b, "%u runs need %" PRIu64 " different pages, the file has %" PRIu64, b->runs, needed,
			   plan.size / BENCH_PAGE);
	bench_engine(b, 256 * MIB);
	bench_drop(b, fd, plan.size);
	readers[0].fd = bench_direct(b, fd, O_RDONLY);
	readers[0].buf = bench_buffer(b, BENCH_PAGE);
	readers[1].p = bench_map(b, &bench_quire, plan.size, PROT_READ, MAP_SHARED, fd);
	readers[2].p = bench_map(b, &bench_kernel, plan.size, PROT_READ, MAP_SHARED, fd);
	bench_advise(b, &bench_quire, (void *)readers[1].p, plan.size, MADV_RANDOM);
	bench_advise(b, &bench_kernel, (void *)readers[2].p, plan.size, MADV_RANDOM);
	stats = bench_stats(b);
	if (bench_resident_pages(b, &bench_quire, (void *)readers[1].p, plan.size) != 0)
		bench_stop(b, "Quire: pages are resident before the first touch");

	measure(b, &plan, readers, row);
	bench_goal(row, BENCH_AT_MOST, 1.05, true);
	bench_note(row, "%s trap, %.2f pages read a fault", bench_trap_name(bench_stats(b).trap),
		   (double)(bench_stats(b).read_bytes - stats.read_bytes) / BENCH_PAGE / (double)(needed / 3));
	bench_unmap(b, &bench_quire, (void *)readers[1].p, plan.size);
	bench_unmap(b, &bench_kernel, (void *)readers[2].p, plan.size);
	bench_drop(b, fd, plan.size);
	close(readers[0].fd);
	close(fd);
}
