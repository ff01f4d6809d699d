/* SPDX-License-Identifier: MIT */
/*
 * msync.c - making n scattered stores durable: msync of a whole mapping in which n pages are dirty
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static const unsigned dirty_counts[] = {1, 100, 1000};
#define COUNTS (sizeof(dirty_counts) / sizeof(dirty_counts[0]))

/* Milliseconds for one msync with count dirty pages, the mean of a few. */
static double measure(const struct bench *b, const struct bench_side *side, int direct, volatile uint64_t *p, uint64_t size,
		      unsigned count, uint64_t *state)
{
	unsigned rounds = b->quick ? 1 : count >= 1000 ? 2 : 10;
	double seconds = 0;

	for (unsigned round = 0; round < rounds; round++) {
		uint64_t page = 0, value = 0;
		double start;

		for (unsigned i = 0; i < count; i++) {
			page = bench_random_below(state, size / BENCH_PAGE);
			value = bench_random(state);
			p[page * BENCH_WORDS] = value;
		}
		start = bench_now();
		bench_sync(b, side, (void *)p, size);
		seconds += bench_now() - start;
		bench_expect_stored(b, side->name, direct, page, value);
	}
	return seconds * 1e3 / rounds;
}

static void measure_side(const struct bench *b, const struct bench_side *side, int fd, int direct, uint64_t size,
			 struct bench_row *rows[COUNTS], uint64_t *state)
{
	volatile uint64_t *p;

	bench_drop(b, fd, size);
	p = bench_map(b, side, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	/* Otherwise the kernel reads large folios and writes them whole for one dirty page. */
	bench_advise(b, side, (void *)p, size, MADV_RANDOM);
	for (unsigned i = 0; i < COUNTS; i++)
		bench_sample(side == &bench_quire ? &rows[i]->quire : &rows[i]->kernel,
			     measure(b, side, direct, p, size, dirty_counts[i], state));
	bench_unmap(b, side, (void *)p, size);
	bench_drop(b, fd, size);
}

void bench_msync(const struct bench *b)
{
	uint64_t size = bench_size(b, GIB, 64 * MIB), state = 5;
	int fd = bench_scratch(b, size), direct = bench_direct(b, fd, 0);
	struct bench_row *rows[COUNTS];

	for (unsigned i = 0; i < COUNTS; i++) {
		char what[64];

		snprintf(what, sizeof(what), "msync, %u scattered dirty page%s", dirty_counts[i], dirty_counts[i] == 1 ? "" : "s");
		rows[i] = bench_row(b, what, "ms", false);
	}
	bench_engine(b, b->quick ? 16 * MIB : 256 * MIB);
	for (unsigned run = 0; run < b->runs; run++) {
		measure_side(b, run % 2 ? &bench_quire : &bench_kernel, fd, direct, size, rows, &state);
		measure_side(b, run % 2 ? &bench_kernel : &bench_quire, fd, direct, size, rows, &state);
	}
	bench_note(rows[0], "%" PRIu64 " MiB file, both under MADV_RANDOM", size / MIB);
	close(direct);
	close(fd);
}
