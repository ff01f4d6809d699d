/* SPDX-License-Identifier: MIT */
/*
 * mapping.c - making and removing a mapping of one page that is never touched
 *
 * The file is mapped nowhere else, so that the library must find and forget it each time; then once more while another mapping
 * of it lives; then anonymous memory.
 */
#include "bench.h"

#include <fcntl.h>
#include <unistd.h>

static double measure(const struct bench *b, const struct bench_side *side, int flags, int fd, unsigned count)
{
	double start = bench_now();

	for (unsigned i = 0; i < count; i++) {
		void *p = bench_map(b, side, BENCH_PAGE, PROT_READ | PROT_WRITE, flags, fd);

		bench_unmap(b, side, p, BENCH_PAGE);
	}
	return (bench_now() - start) * 1e6 / count;
}

static void measure_both(const struct bench *b, struct bench_row *row, int flags, int fd)
{
	unsigned count = b->quick ? 200 : 2000;

	/* Whoever goes first after a pause is not slower for it. */
	measure(b, &bench_kernel, flags, fd, count / 10);
	measure(b, &bench_quire, flags, fd, count / 10);
	for (unsigned run = 0; run < b->runs; run++) {
		bench_sample(&row->kernel, measure(b, &bench_kernel, flags, fd, count));
		bench_sample(&row->quire, measure(b, &bench_quire, flags, fd, count));
	}
	bench_goal(row, BENCH_AT_MOST, 10, false);
}

void bench_mapping(const struct bench *b)
{
	int fd = bench_scratch(b, MIB);
	void *p;

	bench_engine(b, 64 * MIB);
	measure_both(b, bench_row(b, "mmap + munmap of one page, shared file", "us", false), MAP_SHARED, fd);
	p = bench_map(b, &bench_quire, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	measure_both(b, bench_row(b, "mmap + munmap of one page, file mapped elsewhere too", "us", false), MAP_SHARED, fd);
	bench_unmap(b, &bench_quire, p, BENCH_PAGE);
	measure_both(b, bench_row(b, "mmap + munmap of one page, anonymous", "us", false), MAP_PRIVATE | MAP_ANONYMOUS, -1);
	close(fd);
}
