/* SPDX-License-Identifier: MIT */
/*
 * pressure.c - random loads from a file many times the budget, when the cache is full: every fault must put a page out
 *
 * A sample is what one second brought, so the least of them is the worst second, which is what the steady rate of a mapping
 * hides. Seconds of raw reads by as many threads lie between them. The kernel has no row here: without a memory cgroup it would
 * have all the memory there is.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 8

struct slice {
	const struct bench *b;
	const volatile uint64_t *p; /* NULL: raw reads */
	int direct;
	uint64_t pages;
	atomic_bool stop;
};

struct loader {
	pthread_t thread;
	struct slice *slice;
	uint64_t seed, loads;
};

static void *load(void *arg)
{
	struct loader *l = arg;
	const struct slice *s = l->slice;
	uint64_t *buf = bench_buffer(s->b, BENCH_PAGE);

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		uint64_t page = bench_random_below(&l->seed, s->pages);

		if (s->p)
			buf[0] = s->p[page * BENCH_WORDS];
		else if (pread(s->direct, buf, BENCH_PAGE, (off_t)(page * BENCH_PAGE)) != BENCH_PAGE)
			bench_stop(s->b, "raw pread of page %" PRIu64 ": %s", page, strerror(errno));
		bench_expect(s->b, s->p ? "Quire" : "raw pread", buf[0], bench_word(page, 0));
		l->loads++;
	}
	free(buf);
	return NULL;
}

/* Thousands of loads a second. */
static double run_slice(struct slice *s, unsigned threads, uint64_t seed)
{
	struct loader loaders[THREADS_MAX];
	uint64_t loads = 0;
	double start = bench_now(), seconds;

	atomic_store(&s->stop, false);
	for (unsigned i = 0; i < threads; i++) {
		loaders[i] = (struct loader){.slice = s, .seed = seed * THREADS_MAX + i};
		if (pthread_create(&loaders[i].thread, NULL, load, &loaders[i]) != 0)
			bench_stop(s->b, "no thread to load with");
	}
	usleep(s->b->quick ? 100000 : 1000000);
	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(loaders[i].thread, NULL);
		loads += loaders[i].loads;
	}
	seconds = bench_now() - start;
	return (double)loads / seconds / 1e3;
}

static void measure(const struct bench *b, struct slice *quire, struct slice *raw, unsigned threads)
{
	struct bench_row *row;
	struct quire_stats before, after;
	char what[64];

	snprintf(what, sizeof(what), "random loads, cache full, %u thread%s (limit: pread)", threads, threads == 1 ? "" : "s");
	row = bench_row(b, what, "k/s", true);
	row->against_limit = true;
	before = bench_stats(b);
	for (unsigned run = 0; run < b->runs; run++) {
		bench_sample(&row->limit, run_slice(raw, threads, 2 * run));
		bench_sample(&row->quire, run_slice(quire, threads, 2 * run + 1));
	}
	after = bench_stats(b);
	bench_note(row,
		   "a sample is a second: the least is the worst; %" PRIu64 " major faults, %" PRIu64 " minor, %" PRIu64
		   " pages put out, %.2f pages read a major fault",
		   after.major_faults - before.major_faults, after.minor_faults - before.minor_faults,
		   after.evicted_pages - before.evicted_pages,
		   (double)(after.read_bytes - before.read_bytes) / BENCH_PAGE /
		       (double)(after.major_faults - before.major_faults + 1));
}

void bench_pressure(const struct bench *b)
{
	uint64_t size = bench_size(b, 4 * GIB, 64 * MIB), budget = size / 16 > 16 * MIB ? size / 16 : 16 * MIB;
	int fd = bench_data(b, size, O_RDONLY);
	struct slice quire = {.b = b, .pages = size / BENCH_PAGE}, raw = {.b = b, .pages = size / BENCH_PAGE};

	bench_engine(b, budget);
	bench_drop(b, fd, size);
	raw.direct = bench_direct(b, fd, O_RDONLY);
	quire.p = bench_map(b, &bench_quire, size, PROT_READ, MAP_SHARED, fd);
	bench_touch((const void *)quire.p, size < 2 * budget ? size : 2 * budget);
	bench_advise(b, &bench_quire, (void *)quire.p, size, MADV_RANDOM);
	measure(b, &quire, &raw, 1);
	measure(b, &quire, &raw, THREADS_MAX);
	bench_unmap(b, &bench_quire, (void *)quire.p, size);
	close(raw.direct);
	close(fd);
}
