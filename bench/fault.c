/* SPDX-License-Identifier: MIT */
/*
 * fault.c - a fault on a page that is resident but not mapped
 *
 * MADV_DONTNEED takes the entries away and leaves the pages; what a touch costs then is the way of the fault alone. One page in
 * every 64 KiB is touched, in random order, because the kernel maps that much around a fault.
 */
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define STRIDE 16 /* pages */

struct work {
	const struct bench_side *side;
	const volatile uint64_t *p;
	uint64_t size, expected;
	const uint32_t *order;
	uint32_t count;
};

static double measure(const struct bench *b, const struct work *w)
{
	uint64_t sum = 0;
	double start, seconds;

	bench_advise(b, w->side, (void *)w->p, w->size, MADV_DONTNEED);
	start = bench_now();
	for (uint32_t i = 0; i < w->count; i++)
		sum += w->p[(uint64_t)w->order[i] * STRIDE * BENCH_WORDS];
	seconds = bench_now() - start;
	bench_expect(b, w->side->name, sum, w->expected);
	return seconds * 1e6 / w->count;
}

static void measure_trap(const struct bench *b, enum quire_trap trap, const char *what)
{
	struct bench with_trap = *b;
	uint64_t size = bench_size(b, 512 * MIB, 16 * MIB);
	struct bench_row *row = bench_row(b, what, "us", false);
	int fd = bench_data(b, size, O_RDONLY);
	struct work kernel = {.side = &bench_kernel, .size = size, .count = (uint32_t)(size / BENCH_PAGE / STRIDE)}, quire;
	uint32_t *order = bench_permutation(b, kernel.count, 3);
	struct quire_stats before, after;

	for (uint32_t i = 0; i < kernel.count; i++)
		kernel.expected += bench_word((uint64_t)i * STRIDE, 0);
	kernel.order = order;
	quire = kernel;
	quire.side = &bench_quire;

	with_trap.trap = trap;
	bench_engine(&with_trap, size + size / 4 + 64 * MIB);
	bench_cache(b, fd, size);
	kernel.p = bench_map(b, &bench_kernel, size, PROT_READ, MAP_SHARED, fd);
	quire.p = bench_map(b, &bench_quire, size, PROT_READ, MAP_SHARED, fd);
	bench_touch((const void *)kernel.p, size);
	bench_touch((const void *)quire.p, size);

	before = bench_stats(b);
	for (unsigned run = 0; run < b->runs; run++) {
		bench_sample(&row->kernel, measure(b, &kernel));
		bench_sample(&row->quire, measure(b, &quire));
	}
	after = bench_stats(b);
	if (after.trap != trap)
		bench_stop_refused(b, "the %s trap is not to be had here: %s was chosen", bench_trap_name(trap),
				   bench_trap_name(after.trap));
	bench_note(row, "%.0f faults a second; for %" PRIu64 " touches %" PRIu64 " minor and %" PRIu64 " major faults were counted",
		   1e6 / bench_median(&row->quire), (uint64_t)quire.count * b->runs, after.minor_faults - before.minor_faults,
		   after.major_faults - before.major_faults);
	bench_unmap(b, &bench_kernel, (void *)kernel.p, size);
	bench_unmap(b, &bench_quire, (void *)quire.p, size);
	bench_drop(b, fd, size);
	free(order);
	close(fd);
}

void bench_fault_signal(const struct bench *b)
{
	measure_trap(b, QUIRE_TRAP_SIGNAL, "fault without I/O, signal trap");
}

void bench_fault_thread(const struct bench *b)
{
	measure_trap(b, QUIRE_TRAP_THREAD, "fault without I/O, thread trap");
}
