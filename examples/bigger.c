/* SPDX-License-Identifier: MIT */
/*
 * bigger.c - more anonymous memory than there is: bigger [MIB] fills it, verifies all of it, and says what it took
 *
 * Without MIB it takes four times the budget (QUIRE_MEMORY). What does not fit goes out to a swap file and comes back when
 * it is touched; the program only loads and stores.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef WITH_KERNEL_MMAP
#include <sys/mman.h>
#define map_error() strerror(errno)
#else
#include <quire/mman.h>
#define map_error() quire_errormsg()
#endif

#define MIB ((uint64_t)1 << 20)

static int complain(const char *reason)
{
	fprintf(stderr, "bigger: %s\n", reason);
	return 1;
}

/* A number that tells its place: no two places hold the same, and none holds zero. */
static uint64_t value_at(size_t i)
{
	return ((uint64_t)i + 1) * 0x9e3779b97f4a7c15;
}

/* => the MiB that the budget holds */
static uint64_t budget_mib(void)
{
#ifdef WITH_KERNEL_MMAP
	return 64; /* the kernel has no budget for one program */
#else
	struct quire_stats stats;

	return quire_stats_get(&stats, sizeof(stats)) == 0 && stats.budget_bytes >= MIB ? stats.budget_bytes / MIB : 64;
#endif
}

static void report(void)
{
#ifndef WITH_KERNEL_MMAP
	struct quire_stats stats;

	if (quire_stats_get(&stats, sizeof(stats)) < 0)
		return;
	printf("budget %.1f MiB, resident at the peak %.1f MiB\n", (double)stats.budget_bytes / (double)MIB,
	       (double)stats.resident_peak_bytes / (double)MIB);
	printf("%" PRIu64 " pages went out to swap, %" PRIu64 " came back\n", stats.swap_out_pages, stats.swap_in_pages);
#endif
}

int main(int argc, char **argv)
{
	uint64_t mib = argc == 2 ? strtoull(argv[1], NULL, 10) : 4 * budget_mib();
	size_t size, count, wrong = 0;
	uint64_t *memory;

	if (argc > 2 || mib == 0 || mib > SIZE_MAX / MIB) {
		fprintf(stderr, "usage: bigger [MIB]\n");
		return 2;
	}
	size = mib * MIB;
	count = size / sizeof(*memory);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return complain(map_error());
	for (size_t i = 0; i < count; i++)
		memory[i] = value_at(i);
	for (size_t i = 0; i < count; i++)
		wrong += memory[i] != value_at(i);
	printf("%" PRIu64 " MiB filled, %zu numbers verified, %zu wrong\n", mib, count, wrong);
	report();
	if (munmap(memory, size) < 0)
		return complain(map_error());
	return wrong ? 1 : 0;
}
