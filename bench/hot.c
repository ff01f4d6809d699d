/* SPDX-License-Identifier: MIT */
/*
 * hot.c - access to resident pages
 *
 * Both mappings are of the same file, wholly resident, each as its side maps it at best: the kernel by the 2 MiB entries that it
 * gives a file which was read in order; Quire by those that it makes of what has been read as a whole and stays, for which it is given
 * time. And once more, where neither may. The two sides take turns many times within a run, so that a change in the machine's speed
 * meets both.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURNS 16

/* The loads do not wait for each other: this counts what the memory and the page tables can deliver, as a scan of an index does. */
static __attribute__((noinline)) uint64_t load_random(const uint64_t *p, uint64_t words, uint64_t count, uint64_t seed)
{
	uint64_t sum = 0;

	while (count--)
		sum += p[bench_random_below(&seed, words)];
	return sum;
}

static __attribute__((noinline)) uint64_t load_sequential(const uint64_t *p, uint64_t first, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = first; i < first + count; i++)
		sum += p[i];
	return sum;
}

/* The turns of one side in one run. */
struct turn {
	const uint64_t *p;
	struct bench_samples random_ns, sequential_ns;
	uint64_t sum;
};

static void take_turn(struct turn *turn, uint64_t words, uint64_t loads, uint64_t number)
{
	double start = bench_now(), middle;
	uint64_t part = words / TURNS;

	turn->sum += load_random(turn->p, words, loads, number);
	middle = bench_now();
	turn->sum += load_sequential(turn->p, number % TURNS * part, part);
	bench_sample(&turn->sequential_ns, (bench_now() - middle) * 1e9 / (double)part);
	bench_sample(&turn->random_ns, (middle - start) * 1e9 / (double)loads);
}

/* Twice: the first pass reads, the second meets the last entries that were not yet there. */
static void touch_all(const struct bench *b, const struct bench_side *side, void *p, uint64_t size)
{
	for (int i = 0; i < 2; i++)
		bench_expect(b, side->name, bench_touch(p, size), bench_touch_sum(0, size / BENCH_PAGE));
	if (bench_resident_pages(b, side, p, size) != size / BENCH_PAGE)
		bench_stop(b, "%s: the mapping is not wholly resident after every page was touched", side->name);
}

/* In order, as one reads a file: the kernel then has large folios where the filesystem can. */
static void cache_in_order(const struct bench *b, int fd, uint64_t size)
{
	void *buffer = bench_buffer(b, MIB);

	bench_drop(b, fd, size);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (uint64_t offset = 0; offset < size; offset += MIB)
		if (pread(fd, buffer, MIB, (off_t)offset) < 0)
			bench_stop(b, "reading a file in %s: %s", b->dir, strerror(errno));
	posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
	free(buffer);
}

static void *prepare(const struct bench *b, const struct bench_side *side, int fd, uint64_t size, bool huge)
{
	void *p = bench_map(b, side, size, PROT_READ, MAP_SHARED, fd);
	double until = bench_now() + 240;

	if (side == &bench_kernel && !huge)
		bench_advise(b, side, p, size, MADV_RANDOM);
	if (side == &bench_quire && !huge)
		bench_advise(b, side, p, size, MADV_NOHUGEPAGE);
	touch_all(b, side, p, size);
	while (side == &bench_quire && huge && bench_stats(b).huge_bytes < size / (2 * MIB) * (2 * MIB) && bench_now() < until)
		usleep(100000);
	touch_all(b, side, p, size);
	return p;
}

static void measure(const struct bench *b, int fd, uint64_t size, bool huge, const char *what_random, const char *what_sequential)
{
	uint64_t words = size / sizeof(uint64_t), loads = b->quick ? 50000 : 1500000, faults;
	struct bench_row *random = bench_row(b, what_random, "ns", false);
	struct bench_row *sequential = bench_row(b, what_sequential, "ns", false);
	struct turn kernel = {0}, quire = {0};
	struct quire_stats stats;

	if (huge)
		cache_in_order(b, fd, size);
	else
		bench_cache(b, fd, size);
	kernel.p = prepare(b, &bench_kernel, fd, size, huge);
	quire.p = prepare(b, &bench_quire, fd, size, huge);
	stats = bench_stats(b);
	faults = stats.major_faults + stats.minor_faults;

	for (unsigned run = 0; run < b->runs; run++) {
		kernel.random_ns.count = kernel.sequential_ns.count = quire.random_ns.count = quire.sequential_ns.count = 0;
		for (uint64_t i = 0; i < TURNS; i++) {
			uint64_t number = run * TURNS + i;

			take_turn(number % 2 ? &kernel : &quire, words, loads, number);
			take_turn(number % 2 ? &quire : &kernel, words, loads, number);
		}
		bench_expect(b, "Quire", quire.sum, kernel.sum);
		/* The median of the turns: one that was disturbed from outside does not count. */
		bench_sample(&random->kernel, bench_median(&kernel.random_ns));
		bench_sample(&random->quire, bench_median(&quire.random_ns));
		bench_sample(&sequential->kernel, bench_median(&kernel.sequential_ns));
		bench_sample(&sequential->quire, bench_median(&quire.sequential_ns));
	}

	stats = bench_stats(b);
	bench_goal(random, BENCH_AT_LEAST, 0.98, false);
	bench_goal(sequential, BENCH_AT_LEAST, 0.98, false);
	bench_note(random,
		   "%" PRIu64 " MiB file; the kernel maps %" PRIu64 " MiB of it by 2 MiB entries, Quire %" PRIu64 "; %" PRIu64
		   " faults while timed",
		   size / MIB, bench_huge_bytes(b, kernel.p, size) / MIB, bench_huge_bytes(b, quire.p, size) / MIB,
		   stats.major_faults + stats.minor_faults - faults);
	bench_unmap(b, &bench_kernel, (void *)kernel.p, size);
	bench_unmap(b, &bench_quire, (void *)quire.p, size);
	bench_drop(b, fd, size);
}

/* Both sides have it all in memory. */
static bool has_memory(uint64_t size)
{
	return (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) > 2 * size + size / 4;
}

void bench_hot(const struct bench *b)
{
	uint64_t size = bench_size(b, GIB, 16 * MIB), large = bench_size(b, 8 * GIB, 32 * MIB);
	bool fits = has_memory(large);
	int fd = bench_data(b, fits ? large : size, O_RDONLY);

	bench_engine(b, (fits ? large : size) + size / 4 + 64 * MIB);
	measure(b, fd, size, true, "hot random 8-byte loads", "hot sequential 8-byte loads");
	measure(b, fd, size, false, "hot random 8-byte loads, 4 KiB entries", "hot sequential 8-byte loads, 4 KiB entries");
	if (fits)
		measure(b, fd, large, true, "hot random 8-byte loads, 8 GiB", "hot sequential 8-byte loads, 8 GiB");
	else
		fprintf(stderr, "hot: the 8 GiB rows are left out: both sides together need more memory than is free\n");
	close(fd);
}
