/* SPDX-License-Identifier: MIT */
/*
 * anon.c - anonymous memory: its first touch, and more of it than the budget
 */
#include "bench.h"

#include <inttypes.h>

/* Microseconds a page for storing to every page of fresh memory, in order. */
static double first_touch(const struct bench *b, const struct bench_side *side, uint64_t size)
{
	volatile uint64_t *p = bench_map(b, side, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	double start, seconds;

	/* Pages of 4 KiB on both sides. Kernels without huge pages answer EINVAL, which is as good. */
	if (side == &bench_kernel)
		side->advise((void *)p, size, MADV_NOHUGEPAGE);
	start = bench_now();
	for (uint64_t i = 0; i < size / sizeof(*p); i += BENCH_WORDS)
		p[i] = i + 1;
	seconds = bench_now() - start;
	for (uint64_t i = 0; i < size / sizeof(*p); i += BENCH_WORDS)
		if (p[i] != i + 1 || p[i + 1] != 0)
			bench_stop(b, "WRONG BYTES: %s, anonymous page %" PRIu64, side->name, i / BENCH_WORDS);
	bench_unmap(b, side, (void *)p, size);
	return seconds * 1e6 / ((double)size / BENCH_PAGE);
}

static void fill(const struct bench *b, uint64_t size, double *ret_fill, double *ret_verify)
{
	uint64_t *p = bench_map(b, &bench_quire, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	double start = bench_now(), middle;

	for (uint64_t i = 0; i < size / sizeof(*p); i++)
		p[i] = i * 0x9e3779b97f4a7c15;
	middle = bench_now();
	for (uint64_t i = 0; i < size / sizeof(*p); i++)
		if (p[i] != i * 0x9e3779b97f4a7c15)
			bench_expect(b, "Quire, swapped memory,", p[i], i * 0x9e3779b97f4a7c15);
	*ret_fill = (double)size / (middle - start) / 1e6;
	*ret_verify = (double)size / (bench_now() - middle) / 1e6;
	bench_unmap(b, &bench_quire, p, size);
}

void bench_anon(const struct bench *b)
{
	uint64_t budget = b->quick ? 16 * MIB : 256 * MIB, size = bench_size(b, 512 * MIB, 32 * MIB);
	struct bench_row *touch = bench_row(b, "anonymous first touch, within the budget", "us", false);
	struct bench_row *filling = bench_row(b, "anonymous memory larger than the budget: fill", "MB/s", true);
	struct bench_row *verifying = bench_row(b, "... and read again", "MB/s", true);
	struct quire_stats stats;

	bench_engine(b, budget);
	for (unsigned run = 0; run < b->runs; run++) {
		bench_sample(&touch->kernel, first_touch(b, &bench_kernel, budget / 2));
		bench_sample(&touch->quire, first_touch(b, &bench_quire, budget / 2));
	}
	bench_note(touch, "%.0f pages a second", 1e6 / bench_median(&touch->quire));
	for (unsigned run = 0; run < (b->runs + 1) / 2; run++) {
		double fill_rate, verify_rate;

		fill(b, size, &fill_rate, &verify_rate);
		bench_sample(&filling->quire, fill_rate);
		bench_sample(&verifying->quire, verify_rate);
	}
	stats = bench_stats(b);
	bench_note(filling, "%" PRIu64 " MiB within a budget of %" PRIu64 " MiB; %" PRIu64 " pages swapped out, %" PRIu64 " in",
		   size / MIB, budget / MIB, stats.swap_out_pages, stats.swap_in_pages);
}
