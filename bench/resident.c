/* SPDX-License-Identifier: MIT */
/*
 * resident.c - is the memory budget kept, at every moment of a run that needs far more
 *
 * Two threads read and write a file and anonymous memory, each several times the budget, sequentially and at random, and check
 * every word they load. Meanwhile a third asks the library each millisecond how much is resident, and every 20 ms does not believe
 * it: it asks the kernel how many blocks the engine's memfds hold (mapped or not) and how much anonymous memory the process
 * gained. The library's tables are not part of the budget and are taken off; the rest is held against it.
 *
 * RssShmem is shown but not judged: it counts entries, so a frame that is mapped twice is in it twice, and one that is not
 * mapped is not in it.
 */
#include "bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 2
/* Stacks and heaps of the threads that start after the baseline was taken, the engine's among them. */
#define SLACK MIB

/* A range that the workers share, page by page: page i belongs to worker i % WORKERS. */
struct range {
	volatile uint64_t *p;
	uint64_t pages;
	uint32_t *version; /* of every page: 0 as it was in the beginning, else the number last stored */
	bool anonymous;
};

struct worker {
	pthread_t thread;
	const struct bench *b;
	struct range *ranges;
	unsigned number;
	uint64_t random_count; /* of pages visited at random in each range */
	uint64_t visits;
};

struct sampler {
	pthread_t thread;
	const struct bench *b;
	atomic_bool stop;
	uint64_t baseline_anon;
	uint64_t resident_peak, memfd_peak, anon_peak, kernel_peak, shmem_peak, samples, kernel_samples;
};

static uint64_t expected_word(const struct range *range, uint64_t page)
{
	if (range->version[page] > 0)
		return ((uint64_t)range->version[page] << 32 | (uint32_t)page) * 0x9e3779b97f4a7c15;
	return range->anonymous ? 0 : bench_word(page, 0);
}

static void visit(struct worker *w, struct range *range, uint64_t page, bool store)
{
	uint64_t word = range->p[page * BENCH_WORDS];

	bench_expect(w->b, range->anonymous ? "Quire, anonymous," : "Quire, file,", word, expected_word(range, page));
	if (store) {
		range->version[page]++;
		range->p[page * BENCH_WORDS] = expected_word(range, page);
	}
	w->visits++;
}

static void sweep(struct worker *w, struct range *range, bool store)
{
	for (uint64_t page = w->number; page < range->pages; page += WORKERS)
		visit(w, range, page, store);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t state = w->number;

	for (unsigned i = 0; i < 2; i++) {
		sweep(w, &w->ranges[i], false);
		sweep(w, &w->ranges[i], true);
	}
	for (uint64_t i = 0; i < w->random_count; i++) {
		struct range *range = &w->ranges[bench_random(&state) % 2];
		uint64_t page = bench_random_below(&state, range->pages / WORKERS) * WORKERS + w->number;

		visit(w, range, page, bench_random(&state) % 2);
	}
	for (unsigned i = 0; i < 2; i++)
		sweep(w, &w->ranges[i], false);
	return NULL;
}

static void keep_max(uint64_t *most, uint64_t value)
{
	if (value > *most)
		*most = value;
}

/* What the kernel says of this process. The two numbers are not of the same instant; each can only be late. */
static void sample_kernel(struct sampler *s)
{
	uint64_t metadata = bench_stats(s->b).metadata_bytes, memfd = bench_memfd_bytes(s->b);
	struct bench_memory memory = bench_memory(s->b);
	uint64_t apart = s->baseline_anon + metadata, anon = memory.anon > apart ? memory.anon - apart : 0;

	keep_max(&s->memfd_peak, memfd);
	keep_max(&s->anon_peak, anon);
	keep_max(&s->kernel_peak, memfd + anon);
	keep_max(&s->shmem_peak, memory.shmem);
	s->kernel_samples++;
}

static void *sample(void *arg)
{
	struct sampler *s = arg;
	struct timespec pause = {.tv_nsec = 1000000};

	while (!atomic_load(&s->stop)) {
		keep_max(&s->resident_peak, bench_stats(s->b).resident_bytes);
		if (s->samples++ % 20 == 0)
			sample_kernel(s);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static struct range make_range(const struct bench *b, uint64_t size, int fd)
{
	struct range range = {.pages = size / BENCH_PAGE, .anonymous = fd < 0};

	range.version = bench_alloc(b, range.pages, sizeof(*range.version));
	/* Resident before the baseline is taken. */
	memset(range.version, 1, range.pages * sizeof(*range.version));
	memset(range.version, 0, range.pages * sizeof(*range.version));
	return range;
}

static void check_stored(const struct bench *b, const struct range *range, int fd)
{
	int direct = bench_direct(b, fd, 0);

	for (uint64_t page = 0; page < range->pages; page += 1 + range->pages / 200)
		bench_expect_stored(b, "Quire", direct, page, expected_word(range, page));
	close(direct);
}

static void run_threads(const struct bench *b, struct range ranges[2], struct sampler *s, uint64_t *ret_visits)
{
	struct worker workers[WORKERS];

	*ret_visits = 0;
	if (pthread_create(&s->thread, NULL, sample, s) != 0)
		bench_stop(b, "no thread for sampling");
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.b = b, .ranges = ranges, .number = i, .random_count = b->quick ? 1000 : 20000};
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			bench_stop(b, "no thread for work");
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		*ret_visits += workers[i].visits;
	}
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
}

static void report(const struct bench *b, const struct sampler *s, uint64_t budget, uint64_t visits)
{
	struct bench_row *own = bench_row(b, "resident, peak, by Quire's count (limit: budget)", "MiB", false);
	struct bench_row *kernel = bench_row(b, "resident, peak, by the kernel (limit: budget + 1 MiB)", "MiB", false);
	struct quire_stats stats = bench_stats(b);
	uint64_t peak = stats.resident_peak_bytes;

	keep_max(&peak, s->resident_peak);
	bench_sample(&own->quire, (double)peak / MIB);
	bench_sample(&own->limit, (double)budget / MIB);
	bench_goal(own, BENCH_AT_MOST, 1.0, true);
	bench_note(own, "%" PRIu64 " samples, %" PRIu64 " pages visited, %" PRIu64 " evicted, %s trap", s->samples, visits,
		   stats.evicted_pages, bench_trap_name(stats.trap));

	bench_sample(&kernel->quire, (double)s->kernel_peak / MIB);
	bench_sample(&kernel->limit, (double)(budget + SLACK) / MIB);
	bench_goal(kernel, BENCH_AT_MOST, 1.0, true);
	bench_note(kernel,
		   "%" PRIu64 " samples; peaks in KiB: memfd blocks %" PRIu64 ", anonymous growth without tables %" PRIu64
		   " (1024 of it may be stacks and heaps), RssShmem %" PRIu64,
		   s->kernel_samples, s->memfd_peak / KIB, s->anon_peak / KIB, s->shmem_peak / KIB);
}

void bench_resident(const struct bench *b)
{
	uint64_t size = bench_size(b, 512 * MIB, 48 * MIB), budget = b->quick ? 16 * MIB : 64 * MIB, visits;
	int fd = bench_scratch(b, size);
	struct range ranges[2] = {make_range(b, size, fd), make_range(b, size / 2, -1)};
	struct sampler s = {.b = b};

	bench_drop(b, fd, size);
	s.baseline_anon = bench_memory(b).anon;
	bench_engine(b, budget);
	ranges[0].p = bench_map(b, &bench_quire, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ranges[1].p = bench_map(b, &bench_quire, size / 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	run_threads(b, ranges, &s, &visits);
	report(b, &s, budget, visits);
	bench_sync(b, &bench_quire, (void *)ranges[0].p, size);
	check_stored(b, &ranges[0], fd);
	bench_unmap(b, &bench_quire, (void *)ranges[0].p, size);
	bench_unmap(b, &bench_quire, (void *)ranges[1].p, size / 2);
	free(ranges[0].version);
	free(ranges[1].version);
	close(fd);
}
