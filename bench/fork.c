/* SPDX-License-Identifier: MIT */
/*
 * fork.c - what a fork costs, and what the child's touches cost
 *
 * Each sample is taken in a process of its own, which uses one side only: the kernel's figures are those of a program without Quire.
 */
#include "bench.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 20

struct shape {
	unsigned areas;
	uint64_t area_bytes;
};

/* What a sample's process hands over. */
struct answer {
	bool done;
	double forked, ended; /* us: until fork has returned in the parent, and until the child has ended */
	double loads, stores; /* us for each page that the child touches */
};

static void expect_child(const struct bench *b, pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		bench_stop(b, "a child of the fork benchmark did not end well");
}

/* Every other area may only be read, so that the kernel cannot join them. */
static uint64_t **make_areas(const struct bench *b, const struct bench_side *side, const struct shape *shape)
{
	uint64_t **areas = bench_alloc(b, shape->areas, sizeof(*areas));

	for (unsigned i = 0; i < shape->areas; i++) {
		areas[i] = bench_map(b, side, shape->area_bytes, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1);
		if (side == &bench_kernel)
			side->advise(areas[i], shape->area_bytes, MADV_NOHUGEPAGE);
		for (uint64_t at = 0; i % 2 == 0 && at < shape->area_bytes / sizeof(uint64_t); at += BENCH_WORDS)
			areas[i][at] = at + 1;
	}
	return areas;
}

static void measure_forks(const struct bench *b, struct answer *answer)
{
	for (unsigned i = 0; i < FORKS; i++) {
		double start = bench_now();
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		answer->forked += (bench_now() - start) * 1e6 / FORKS;
		expect_child(b, pid);
		answer->ended += (bench_now() - start) * 1e6 / FORKS;
	}
}

/* In the child: one load, and then one store, for every page of the first area. */
static void touch(const struct bench *b, const struct bench_side *side, volatile uint64_t *p, uint64_t bytes, struct answer *answer)
{
	uint64_t words = bytes / sizeof(*p), pages = bytes / BENCH_PAGE;
	double start = bench_now(), middle;

	for (uint64_t at = 0; at < words; at += BENCH_WORDS)
		if (p[at] != at + 1)
			bench_expect(b, side->name, p[at], at + 1);
	middle = bench_now();
	for (uint64_t at = 0; at < words; at += BENCH_WORDS)
		p[at] = at + 2;
	answer->loads = (middle - start) * 1e6 / (double)pages;
	answer->stores = (bench_now() - middle) * 1e6 / (double)pages;
}

static void take(const struct bench *b, const struct bench_side *side, const struct shape *shape, struct answer *answer)
{
	uint64_t **areas;
	pid_t pid;

	if (side == &bench_quire)
		bench_engine(b, 4 * shape->areas * shape->area_bytes + 64 * MIB);
	areas = make_areas(b, side, shape);
	measure_forks(b, answer);
	pid = fork();
	if (pid == 0) {
		touch(b, side, areas[0], shape->area_bytes, answer);
		_exit(0);
	}
	expect_child(b, pid);
	for (uint64_t at = 0; at < shape->area_bytes / sizeof(uint64_t); at += BENCH_WORDS)
		bench_expect(b, side->name, areas[0][at], at + 1);
	answer->done = true;
}

static struct answer sample(const struct bench *b, const struct bench_side *side, const struct shape *shape)
{
	struct answer *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct answer answer;
	int status;
	pid_t pid;

	if (shared == MAP_FAILED)
		bench_stop(b, "no memory for a sample");
	pid = fork();
	if (pid == 0) {
		take(b, side, shape, shared);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		bench_stop(b, "no process for a sample");
	answer = *shared;
	munmap(shared, sizeof(*shared));
	/* What it has said of itself is in the result already. */
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		_exit(WEXITSTATUS(status));
	if (!answer.done)
		bench_stop(b, "a sample of the fork benchmark ended with status %#x", status);
	return answer;
}

static void add(struct bench_samples *forked, struct bench_samples *ended, const struct answer *answer)
{
	bench_sample(forked, answer->forked);
	bench_sample(ended, answer->ended);
}

void bench_fork(const struct bench *b)
{
	const struct shape one = {1, MIB}, big = {1, b->quick ? 4 * MIB : 256 * MIB}, many = {b->quick ? 50 : 1000, BENCH_PAGE};
	struct bench_row *small_row = bench_row(b, "fork, 1 MiB of private memory", "us", false);
	struct bench_row *small_end = bench_row(b, "... and the child's end, which touches nothing", "us", false);
	struct bench_row *big_row = bench_row(b, "fork, 256 MiB of private memory", "us", false);
	struct bench_row *big_end = bench_row(b, "... and the child's end, which touches nothing", "us", false);
	struct bench_row *many_row = bench_row(b, "fork, 1000 mappings", "us", false);
	struct bench_row *many_end = bench_row(b, "... and the child's end, which touches nothing", "us", false);
	struct bench_row *loads = bench_row(b, "the child's first load from each private page", "us", false);
	struct bench_row *stores = bench_row(b, "... and its first store after that", "us", false);

	for (unsigned run = 0; run < b->runs; run++)
		for (unsigned side = 0; side < 2; side++) {
			const struct bench_side *which = side ? &bench_quire : &bench_kernel;
			struct answer s = sample(b, which, &one), g = sample(b, which, &big), m = sample(b, which, &many);

			add(side ? &small_row->quire : &small_row->kernel, side ? &small_end->quire : &small_end->kernel, &s);
			add(side ? &big_row->quire : &big_row->kernel, side ? &big_end->quire : &big_end->kernel, &g);
			add(side ? &many_row->quire : &many_row->kernel, side ? &many_end->quire : &many_end->kernel, &m);
			bench_sample(side ? &loads->quire : &loads->kernel, g.loads);
			bench_sample(side ? &stores->quire : &stores->kernel, g.stores);
		}
	bench_note(loads, "the kernel has copied its tables in the fork, and copies a page at its first store");
}
