/* SPDX-License-Identifier: MIT */
/*
 * areas.c - calls that change mappings, in a process that has one of them and in one that has ten thousand
 *
 * What is measured is done to an area that is made for it, is read from once, and goes again: mmap of a page, mprotect, mremap to two
 * pages, munmap. The areas beside it stay: each maps a page of the same file, which has more pages between them, so that no side can make
 * one area of neighbours; which of them is read in between changes, so that no call finds the last one again.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY  10000
#define APART 3 /* pages from one area of the file to the next */

enum call { CALL_MAP, CALL_PROTECT, CALL_REMAP, CALL_UNMAP, CALLS };

/* A side and the areas that it has. */
struct crowd {
	const struct bench *b;
	const struct bench_side *side;
	int fd;
	unsigned count;
	volatile uint64_t *area[MANY];
	uint64_t seed;
};

static volatile uint64_t *map_page(const struct crowd *c, uint64_t page)
{
	void *p = c->side->map(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, (off_t)(page * BENCH_PAGE));

	if (p == MAP_FAILED && c->side == &bench_quire && errno == EPERM)
		bench_stop_refused(c->b, "%s", quire_errormsg());
	if (p == MAP_FAILED)
		bench_stop(c->b, "%s: mmap of a page beside %u areas: %s", c->side->name, c->count, strerror(errno));
	return p;
}

static void crowd_grow(struct crowd *c, unsigned count)
{
	for (; c->count < count; c->count++)
		c->area[c->count] = map_page(c, c->count * APART);
}

static void crowd_empty(struct crowd *c)
{
	while (c->count > 0)
		bench_unmap(c->b, c->side, (void *)c->area[--c->count], BENCH_PAGE);
}

/* Reads the first word of a mapped page. */
static void look(const struct crowd *c, const volatile uint64_t *p, uint64_t page)
{
	bench_expect(c->b, c->side->name, *p, bench_word(page, 0));
}

/* Adds the seconds that each call took. */
static void once(struct crowd *c, double seconds[CALLS])
{
	double start = bench_now(), mapped, protecting, protected, remapped;
	void *p = (void *)map_page(c, MANY * APART), *moved;
	unsigned other;

	mapped = bench_now();
	look(c, p, MANY * APART);
	other = (unsigned)bench_random_below(&c->seed, c->count);
	look(c, c->area[other], other * APART);
	protecting = bench_now();
	if (c->side->protect(p, BENCH_PAGE, PROT_READ) != 0)
		bench_stop(c->b, "%s: mprotect: %s", c->side->name, strerror(errno));
	protected = bench_now();
	moved = c->side->remap(p, BENCH_PAGE, 2 * BENCH_PAGE, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		bench_stop(c->b, "%s: mremap: %s", c->side->name, strerror(errno));
	remapped = bench_now();
	bench_unmap(c->b, c->side, moved, 2 * BENCH_PAGE);
	seconds[CALL_MAP] += mapped - start;
	seconds[CALL_PROTECT] += protected - protecting;
	seconds[CALL_REMAP] += remapped - protected;
	seconds[CALL_UNMAP] += bench_now() - remapped;
}

/* Thousands a second, of each call. */
static void take_samples(struct crowd *c, struct bench_samples *samples[CALLS])
{
	unsigned rounds = c->b->quick ? 100 : 2000;
	double seconds[CALLS] = {0};

	/* Whoever goes first after a pause is not slower for it. */
	for (unsigned i = 0; i < rounds / 10; i++)
		once(c, seconds);
	memset(seconds, 0, sizeof(seconds));
	for (unsigned i = 0; i < rounds; i++)
		once(c, seconds);
	for (unsigned i = 0; i < CALLS; i++)
		bench_sample(samples[i], rounds / seconds[i] / 1e3);
}

static void measure(const struct bench *b, struct crowd crowds[2], unsigned count)
{
	static const char *const names[CALLS] = {"mmap of a page", "mprotect of a page", "mremap from one page to two",
						 "munmap of two pages"};
	struct bench_samples *samples[2][CALLS];

	for (unsigned i = 0; i < CALLS; i++) {
		char what[64];
		struct bench_row *row;

		snprintf(what, sizeof(what), "%s, beside %u area%s", names[i], count, count == 1 ? "" : "s");
		row = bench_row(b, what, "k/s", true);
		samples[0][i] = &row->quire;
		samples[1][i] = &row->kernel;
	}
	for (unsigned side = 0; side < 2; side++)
		crowd_grow(&crowds[side], count);
	for (unsigned run = 0; run < b->runs; run++)
		for (unsigned i = 0; i < 2; i++)
			take_samples(&crowds[(run + i) % 2], samples[(run + i) % 2]);
}

void bench_areas(const struct bench *b)
{
	struct crowd *crowds = bench_alloc(b, 2, sizeof(*crowds));
	int fd = bench_scratch(b, 128 * MIB);

	bench_engine(b, 64 * MIB);
	crowds[0] = (struct crowd){.b = b, .side = &bench_quire, .fd = fd, .seed = 1};
	crowds[1] = (struct crowd){.b = b, .side = &bench_kernel, .fd = fd, .seed = 1};
	measure(b, crowds, 1);
	measure(b, crowds, MANY);
	for (unsigned side = 0; side < 2; side++)
		crowd_empty(&crowds[side]);
	free(crowds);
	close(fd);
}
