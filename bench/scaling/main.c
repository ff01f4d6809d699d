/* SPDX-License-Identifier: MIT */
/*
 * main.c - quire-scaling: what is to be expected past this machine, up to 64 cores and 10 TB of storage
 *
 * Unit costs are measured here; the policy is run at the ratios of the large machine; and a simulator of cores and queues puts the
 * two together. What it says of 1 and 2 cores is held against what was measured. docs/scaling.md explains the tables.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/chunk.h"
#include "costs.h"
#include "laws.h"
#include "model.h"
#include "pages.h"

#define GIB (1024.0 * 1024 * 1024)

/* Assumed of the large machine. */
#define FAR_NS      110  /* a cache line's way between cores that share no cache */
#define DOMAIN      8    /* cores that share one */
#define READ_NS     3000 /* of the processor, for a direct read of a page */
#define DEVICES     5e6  /* reads a second, of some drives together … */
#define TRANSFER_NS 80000
#define TOUCH_NS    100 /* a load that misses the processor's caches, and what is done with it */
#define PER_CORE    8   /* threads, so that cores have something to do while others wait */

/* The engine's: cache/buffer.c. */
#define BUFFERS 368
/* Measured beside the read, one fault at a time: docs/performance.md, "What stands in the way of the cold fault". */
#define MAJOR_NS 17700

/* docs/performance.md, "Figures so far": random loads with the cache full, by 1 and by 8 threads, and what the device gave. */
#define CHECK_LOADS_1  10500.0
#define CHECK_LOADS_8  34300.0
#define CHECK_DEVICE_1 11900.0
#define CHECK_DEVICE_8 41900.0

static const unsigned core_counts[] = {1, 2, 4, 8, 16, 32, 64};
static const double memories[] = {64, 512, 2048};
#define CORE_COUNTS (sizeof(core_counts) / sizeof(core_counts[0]))
#define MEMORIES    (sizeof(memories) / sizeof(memories[0]))

struct options {
	bool quick;
	const char *dir;
};

static void stop(const char *what, int r)
{
	fprintf(stderr, "quire-scaling: %s: %s\n", what, strerror(-r));
	exit(1);
}

static double near_ns(const struct costs *costs)
{
	double ns = costs->cost[COST_LINE].ns[COST_THREADS];

	return ns > 0 && ns < FAR_NS ? ns : FAR_NS;
}

/*
 * What a flush costs who asks for it, and who is asked: of two threads that unmap, each does both. Where that could not be seen here, about
 * what is said of processors that are not virtual.
 */
static double flush_ns(const struct costs *costs)
{
	const struct cost *calls = &costs->cost[COST_SWEEP_KERNEL];
	double both = calls->ns[COST_THREADS] - calls->ns[COST_ALONE];

	return calls->crowded[COST_THREADS] || calls->crowded[COST_ALONE] || both < 2000 ? 1000 : both / 2;
}

/* ---- what is measured ---- */

static void print_cost(const struct cost *cost, enum setting setting)
{
	if (cost->slots[setting] == 0)
		printf(" |");
	else
		printf(" %.*f (%s%u) |", cost->ns[setting] < 100 ? 1 : 0, cost->ns[setting], cost->crowded[setting] ? "~" : "",
		       cost->slots[setting]);
}

static void print_costs(const struct costs *costs)
{
	printf("\n## Unit costs, measured here\n\nns an operation and thread; in brackets: milliseconds that it is the median of, "
	       "~: in which not all threads had a "
	       "processor of their own, since others were busy.\n\n"
	       "| operation | alone | 2 threads | 2 processes |\n|---|---|---|---|\n");
	for (unsigned i = 0; i < COST_KINDS; i++) {
		const struct cost *cost = &costs->cost[i];

		printf("| %s |", cost_names[i]);
		for (enum setting k = 0; k < COST_SETTINGS; k++)
			print_cost(cost, k);
		printf("\n");
	}
	printf("\nThe simulator goes by %.0f ns for a cache line's way, and by %.0f ns of a flush for each of both sides.\n",
	       near_ns(costs), flush_ns(costs));
}

/* ---- the policy ---- */

static struct pages_result simulate_pages(double memory_bytes, double scale, bool zipf, uint32_t touches)
{
	struct pages_result pages;
	int r = pages_simulate(memory_bytes, scale, zipf, touches, &pages);

	if (r < 0)
		stop("simulating the policy", r);
	return pages;
}

static void print_page_row(const char *keys, double gib, double scale, const struct pages_result *p, const struct costs *costs)
{
	double unmap = p->unmaps * model_unmap_ns(costs, p->mapped), free = p->runs * costs->cost[COST_FREE].ns[COST_ALONE];

	printf("| %s | %.0f GiB | 1/%.0f | %.1f %% | %.1f %% | %.1f %% | %.1f | %.3f | %.1f | %.2f | %.1f + %.1f |\n", keys, gib,
	       scale, 100 * p->hit_ratio, 100 * p->lru_ratio, 100 * p->minor_share, p->resident, p->unmaps, p->mapped, p->runs,
	       unmap / 1000, free / 1000);
}

static void simulate_policy(const struct options *o, const struct costs *costs, struct pages_result zipf[MEMORIES])
{
	double scale = o->quick ? 100000 : 1000;
	uint32_t touches = o->quick ? 100000 : 6000000;

	printf("\n## The policy at the ratios of 10 TB, simulated with the engine's code\n\n"
	       "| keys | memory | scale | hits | LRU | touches that find a page unmapped | resident pages a chunk | chunks "
	       "unmapped an eviction | "
	       "pages mapped in one | calls that free an eviction | page-out, us a page: unmap + free "
	       "|\n|---|---|---|---|---|---|---|---|---|---|---|\n");
	for (unsigned i = 0; i < MEMORIES; i++) {
		struct pages_result uniform = simulate_pages(memories[i] * GIB, scale, false, touches);

		print_page_row("uniform", memories[i], scale, &uniform, costs);
	}
	for (unsigned i = 0; i < MEMORIES; i++) {
		struct pages_result other = simulate_pages(memories[i] * GIB, scale * 4, true, touches / 4);

		zipf[i] = simulate_pages(memories[i] * GIB, scale, true, touches);
		print_page_row("zipf(0.99)", memories[i], scale * 4, &other, costs);
		print_page_row("zipf(0.99)", memories[i], scale, &zipf[i], costs);
	}
}

/* ---- the simulator ---- */

static struct model_result run(const struct model_setup *setup)
{
	struct model_result result;
	int r = model_run(setup, &result);

	if (r < 0)
		stop("simulating", r);
	return result;
}

static struct model_setup faults_only(const struct options *o, const struct costs *costs, unsigned cores)
{
	return (struct model_setup){
	    .cores = cores,
	    .threads = cores,
	    .ways = {near_ns(costs), FAR_NS, DOMAIN},
	    .costs = costs,
	    .minor = 1,
	    .transfers_per_second = 1,
	    .transfer_ns = 1,
	    .buffers = 1,
	    .flush_ns = flush_ns(costs),
	    .interrupted_ns = flush_ns(costs),
	    .run_ns = o->quick ? 4e6 : 2e7,
	};
}

static struct model_setup loads(const struct options *o, const struct costs *costs, const struct pages_result *pages,
				unsigned cores)
{
	struct model_setup setup = faults_only(o, costs, cores);

	setup.threads = cores * PER_CORE;
	setup.touch_ns = TOUCH_NS;
	setup.miss = 1 - pages->hit_ratio;
	setup.minor = pages->minor_share;
	setup.major_ns = MAJOR_NS + READ_NS;
	setup.pages = *pages;
	setup.transfers_per_second = DEVICES;
	setup.transfer_ns = TRANSFER_NS;
	setup.buffers = BUFFERS;
	return setup;
}

static void print_check_row(const char *what, double simulated, double measured)
{
	printf("| %s | %.1f | %.1f | %+.0f %% |\n", what, simulated / 1000, measured / 1000, 100 * (simulated / measured - 1));
}

static void check(const struct options *o, const struct costs *costs)
{
	const struct cost *fault = &costs->cost[COST_FAULT];
	struct pages_result pages =
	    simulate_pages(PAGES_STORAGE / 16, PAGES_STORAGE / (4 * GIB), false, o->quick ? 100000 : 2000000);
	struct model_setup setup;

	printf("\n## Check: simulated against measured, on 2 cores\n\n| thousands a second | simulated | measured | error "
	       "|\n|---|---|---|---|\n");
	for (unsigned threads = 1; threads <= 2; threads++) {
		setup = faults_only(o, costs, threads);
		print_check_row(threads == 1                   ? "faults without I/O, 1 thread (by construction)"
				: fault->crowded[COST_THREADS] ? "faults without I/O, 2 threads (others were busy: not comparable)"
							       : "faults without I/O, 2 threads",
				run(&setup).faults_per_second, threads * 1e9 / fault->ns[threads == 1 ? COST_ALONE : COST_THREADS]);
	}
	for (unsigned threads = 1; threads <= 8; threads += 7) {
		setup = loads(o, costs, &pages, 2);
		setup.threads = threads;
		setup.major_ns = MAJOR_NS + costs->cost[COST_READ].ns[COST_ALONE];
		setup.transfer_ns = 1e9 / CHECK_DEVICE_1 - costs->cost[COST_READ].ns[COST_ALONE];
		setup.transfers_per_second = CHECK_DEVICE_8;
		setup.run_ns *= 50;
		print_check_row(threads == 1 ? "random loads, cache full, 1 thread" : "random loads, cache full, 8 threads",
				run(&setup).touches_per_second, threads == 1 ? CHECK_LOADS_1 : CHECK_LOADS_8);
	}
}

/* The three that are busiest. */
static void print_points(const struct model_result *result)
{
	bool told[POINTS] = {false};

	for (unsigned n = 0; n < 3; n++) {
		unsigned most = POINTS;

		for (unsigned i = 0; i < POINTS; i++)
			if (!told[i] && (most == POINTS || result->utilization[i] > result->utilization[most]))
				most = i;
		told[most] = true;
		printf("%s%s %.0f %%", n ? ", " : "", point_names[most], 100 * result->utilization[most]);
	}
}

struct variant {
	const char *name;
	struct changes changes; /* with those before it */
};

static const struct variant fault_variants[] = {
    {"as it is", {0}},
    {"counters per processor", {.own_counters = true}},
    {"map lock per processor", {.own_counters = true, .own_map_lock = true}},
    {"a kernel without its lock of signals", {.own_counters = true, .own_map_lock = true, .no_signals = true}},
    {"… and without references for each page",
     {.own_counters = true, .own_map_lock = true, .no_signals = true, .cheap_kernel = true}},
};
#define FAULT_VARIANTS (sizeof(fault_variants) / sizeof(fault_variants[0]))

#define SPLIT .own_counters = true, .own_map_lock = true, .parts = 64
static const struct variant load_variants[] = {
    {"as it is", {0}},
    {"frames freed by the batch", {.batched_free = true}},
    {"unmapping only what is mapped, flushing by the batch", {.batched_free = true, .sparse_unmap = true}},
    {"an object in 64 parts", {.batched_free = true, .sparse_unmap = true, .parts = 64}},
    {"8 sweepers", {.batched_free = true, .sparse_unmap = true, .parts = 64, .sweepers = 8}},
    {"counters and map lock per processor", {.batched_free = true, .sparse_unmap = true, SPLIT, .sweepers = 8}},
    {"a kernel without its lock of signals",
     {.batched_free = true, .sparse_unmap = true, SPLIT, .sweepers = 8, .no_signals = true}},
};
#define LOAD_VARIANTS (sizeof(load_variants) / sizeof(load_variants[0]))

static void print_head(const char *first)
{
	printf("| %s |", first);
	for (unsigned c = 0; c < CORE_COUNTS; c++)
		printf(" %u |", core_counts[c]);
	printf(" busiest at %u |\n|---|", core_counts[CORE_COUNTS - 1]);
	for (unsigned c = 0; c <= CORE_COUNTS; c++)
		printf("---|");
	printf("\n");
}

/* Thousands of a line's results by cores, into the table and the columns. */
struct curve {
	const char *name;
	double thousands[CORE_COUNTS];
};

static void columns(FILE *f, const char *title, const struct curve *curves, unsigned n)
{
	fprintf(f, "\"%s\"", title);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "\t\"%s\"", curves[i].name);
	fprintf(f, "\n");
	for (unsigned c = 0; c < CORE_COUNTS; c++) {
		fprintf(f, "%u", core_counts[c]);
		for (unsigned i = 0; i < n; i++)
			fprintf(f, "\t%.1f", curves[i].thousands[c]);
		fprintf(f, "\n");
	}
	fprintf(f, "\n\n");
}

/* pages: NULL for faults without I/O. */
static void by_cores(const struct options *o, const struct costs *costs, const struct pages_result *pages,
		     const struct variant *variants, unsigned n, struct curve *ret)
{
	print_head("thousands a second, cores:");
	for (unsigned v = 0; v < n; v++) {
		struct model_result result = {0};

		ret[v].name = variants[v].name;
		printf("| %s%s |", v ? "+ " : "", variants[v].name);
		for (unsigned c = 0; c < CORE_COUNTS; c++) {
			struct model_setup setup =
			    pages ? loads(o, costs, pages, core_counts[c]) : faults_only(o, costs, core_counts[c]);

			setup.changes = variants[v].changes;
			result = run(&setup);
			ret[v].thousands[c] = (pages ? result.touches_per_second : result.faults_per_second) / 1000;
			printf(" %.0f |", ret[v].thousands[c]);
		}
		printf(" ");
		print_points(&result);
		printf(" |\n");
	}
}

static void simulate_cores(const struct options *o, const struct costs *costs, const struct pages_result zipf[MEMORIES], FILE *f)
{
	struct curve curves[LOAD_VARIANTS];
	char title[128];

	printf("\n## Faults without I/O, simulated\n\n");
	by_cores(o, costs, NULL, fault_variants, FAULT_VARIANTS, curves);
	columns(f, "faults without I/O, thousands a second", curves, FAULT_VARIANTS);
	for (unsigned i = 0; i < MEMORIES; i++) {
		snprintf(title, sizeof(title), "zipf(0.99) loads, 10 TB with %.0f GiB of memory", memories[i]);
		printf("\n## %s, simulated\n\n", title);
		by_cores(o, costs, &zipf[i], load_variants, LOAD_VARIANTS, curves);
		columns(f, title, curves, LOAD_VARIANTS);
	}
}

/* ---- on paper ---- */

static double rounded(double bytes)
{
	return ceil(bytes / 64) * 64;
}

/* Of the leaves of a tree with 64 slots each, those with a page, for each page; pages lie anywhere. */
static double leaves_a_page(double share)
{
	return (1 - pow(1 - share, 64)) / (64 * share);
}

static void print_memory(const struct costs *costs)
{
	double chunks = PAGES_STORAGE / (CHUNK_PAGES * 4096.0), chunk = rounded(sizeof(struct chunk)) + rounded(8 + 64 * 8) / 64;

	printf("\n## On paper: 10 TB, of which every chunk was touched (%.2f million chunks)\n\n"
	       "| memory | chunks' words and table | page tables | memfd's tree | all of these / memory | bytes a resident page | "
	       "full sweep, 1 "
	       "thread | harvest of all |\n|---|---|---|---|---|---|---|---|\n",
	       chunks / 1e6);
	for (unsigned i = 0; i < MEMORIES; i++) {
		double pages = memories[i] * GIB / 4096, share = pages / (PAGES_STORAGE / 4096), resident = share * CHUNK_PAGES;
		double words = chunks * chunk, tables = chunks * 4096, tree = pages * leaves_a_page(share) * 576;
		double all = words + tables + tree;
		const struct cost *cost = costs->cost;
		double harvest =
		    cost[COST_HARVEST_3].ns[0] + (cost[COST_HARVEST_512].ns[0] - cost[COST_HARVEST_3].ns[0]) / 509 * resident;

		printf("| %.0f GiB | %.1f GB | %.1f GB | %.1f GB | %.0f %% | %.0f | %.0f s | %.1f s |\n", memories[i], words / 1e9,
		       tables / 1e9, tree / 1e9, 100 * all / (memories[i] * GIB), all / pages,
		       chunks * model_unmap_ns(costs, resident) / 1e9, chunks * harvest / 1e9);
	}
}

static int parse(int argc, char **argv, struct options *ret)
{
	*ret = (struct options){.dir = "build/scaling"};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0)
			ret->quick = true;
		else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
			ret->dir = argv[++i];
		else
			return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct pages_result zipf[MEMORIES];
	struct options options;
	struct costs costs;
	char path[4096];
	FILE *f;
	int r;

	if (parse(argc, argv, &options) < 0) {
		fprintf(stderr,
			"usage: quire-scaling [--quick] [--dir DIR]\n"
			"Measures unit costs and simulates 1 to 64 cores and 10 TB; tables as Markdown, DIR/cores.dat to draw.\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (laws_broken()) {
		fprintf(stderr, "quire-scaling: the simulator does not find that %s\n", laws_broken());
		return 1;
	}
	if (mkdir(options.dir, 0755) < 0 && errno != EEXIST)
		stop(options.dir, -errno);
	snprintf(path, sizeof(path), "%s/cores.dat", options.dir);
	f = fopen(path, "w");
	if (!f)
		stop(path, -errno);
	r = costs_measure(options.dir, options.quick, &costs);
	/* On another processor there is no load that a handler could step over; without userfaultfd there is nothing. */
	if (r == -EPERM || r == -EOPNOTSUPP || r == -ENOTTY) {
		printf("quire-scaling: what has to be measured is not granted here: %s\n", strerror(-r));
		return 77;
	}
	if (r < 0)
		stop("measuring", r);
	print_costs(&costs);
	check(&options, &costs);
	print_memory(&costs);
	simulate_policy(&options, &costs, zipf);
	simulate_cores(&options, &costs, zipf, f);
	if (fclose(f) != 0)
		stop(path, -errno);
	return 0;
}
