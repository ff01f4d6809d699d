/* SPDX-License-Identifier: MIT */
/*
 * store.c - the first store to a page that is resident and clean
 *
 * What a store costs beyond a store when somebody must learn that the page is dirty now. Each side maps, works and unmaps in
 * turn, so that the file is never cached on both sides at once.
 *
 * The kernel's cost depends on the folios its cache has: a first store concerns the whole folio, so in a file that was read in
 * order, where folios are large, a store here and there is dear and a store to every page is cheap. All three cases are
 * shown: one page in 64, every page, and every page with folios of 4 KiB, as MADV_RANDOM leaves them.
 */
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t value_of(unsigned run, const struct bench_side *side, uint32_t page)
{
	return ((uint64_t)run << 40 | (uint64_t)(side == &bench_quire) << 32 | page) * 0x9e3779b97f4a7c15;
}

struct variant {
	const char *what;
	uint64_t size;
	uint32_t stride; /* one page in so many is stored to */
	bool small;      /* MADV_RANDOM, and folios of 4 KiB in the kernel's cache */
};

struct work {
	const struct variant *variant;
	const struct bench_side *side;
	int fd, direct;
	const uint32_t *pages; /* to store to, in this order */
	uint32_t count;
};

/* Microseconds a store. On return the file has this run's values. */
static double measure(const struct bench *b, const struct work *w, unsigned run)
{
	uint64_t size = w->variant->size;
	volatile uint64_t *p = bench_map(b, w->side, size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd);
	double start, seconds;

	if (w->variant->small)
		bench_advise(b, w->side, (void *)p, size, MADV_RANDOM);
	bench_touch((const void *)p, size);
	for (uint32_t i = 0; i < w->count; i++)
		p[w->pages[i] * BENCH_WORDS] = i;
	bench_sync(b, w->side, (void *)p, size);
	bench_touch((const void *)p, size);

	start = bench_now();
	for (uint32_t i = 0; i < w->count; i++)
		p[w->pages[i] * BENCH_WORDS] = value_of(run, w->side, w->pages[i]);
	seconds = bench_now() - start;
	bench_sync(b, w->side, (void *)p, size);
	bench_unmap(b, w->side, (void *)p, size);
	return seconds * 1e6 / w->count;
}

/* From a cold file to one that has been checked. */
static void take_sample(const struct bench *b, const struct work *w, unsigned run, struct bench_samples *samples)
{
	bench_drop(b, w->fd, w->variant->size);
	if (w->side == &bench_kernel && w->variant->small)
		bench_cache(b, w->fd, w->variant->size);
	bench_sample(samples, measure(b, w, run));
	bench_drop(b, w->fd, w->variant->size);
	for (uint32_t i = 0; i < w->count; i += 1 + w->count / 100)
		bench_expect_stored(b, w->side->name, w->direct, w->pages[i], value_of(run, w->side, w->pages[i]));
}

static void measure_variant(const struct bench *b, const struct variant *v, int fd, int direct)
{
	struct bench_row *row = bench_row(b, v->what, "us", false);
	uint32_t count = (uint32_t)(v->size / BENCH_PAGE / v->stride), *pages = bench_permutation(b, count, 7);
	struct work w = {.variant = v, .fd = fd, .direct = direct, .pages = pages, .count = count};

	for (uint32_t i = 0; i < count; i++)
		pages[i] *= v->stride;
	for (unsigned run = 0; run < b->runs; run++) {
		for (unsigned i = 0; i < 2; i++) {
			bool quire = (run + i) % 2;

			w.side = quire ? &bench_quire : &bench_kernel;
			take_sample(b, &w, run, quire ? &row->quire : &row->kernel);
		}
	}
	bench_goal(row, BENCH_AT_MOST, 0.5, false);
	bench_note(row, "%u pages in random order, after msync; %s trap", count, bench_trap_name(bench_stats(b).trap));
	free(pages);
}

void bench_store(const struct bench *b)
{
	uint64_t large = bench_size(b, 256 * MIB, 8 * MIB), size = large > 128 * MIB ? 128 * MIB : large;
	const struct variant variants[] = {
	    {"first store to a clean resident page, one in 64", large, 64, false},
	    {"first store to a clean resident page, every page", size, 1, false},
	    {"first store to a clean resident page, every, MADV_RANDOM", size, 1, true},
	};
	int fd = bench_scratch(b, large), direct = bench_direct(b, fd, O_RDONLY);

	bench_engine(b, large + large / 4 + 64 * MIB);
	for (unsigned i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		measure_variant(b, &variants[i], fd, direct);
	close(direct);
	close(fd);
}
