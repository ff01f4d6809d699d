/* SPDX-License-Identifier: MIT */
/*
 * main.c - quire-bench: runs the benchmarks, each in a process of its own, and reports
 *
 * This process calls nothing of the library but its version, so that each child starts without an engine.
 */
#include "bench.h"
#include "trend.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bench_entry entries[] = {
    {.name = "hot", .run = bench_hot, .summary = "loads from resident pages"},
    {.name = "cold", .run = bench_cold, .summary = "faults on random pages that are on storage"},
    {.name = "pressure", .run = bench_pressure, .summary = "random loads when every fault must put a page out"},
    {.name = "load-uniform", .run = bench_load_uniform, .summary = "four times the memory, uniform keys, for long"},
    {.name = "load-zipf", .run = bench_load_zipf, .summary = "the same with popular keys, zipf(0.99)"},
    {.name = "load-scan", .run = bench_load_scan, .summary = "the same, disturbed by a scan"},
    {.name = "prefetch", .run = bench_prefetch, .summary = "lists of random pages, asked for together"},
    {.name = "scan", .run = bench_scan, .summary = "a cold file from its first page to its last"},
    {.name = "store", .run = bench_store, .summary = "first stores to clean resident pages"},
    {.name = "resident", .run = bench_resident, .summary = "is the memory budget kept"},
    {.name = "metadata", .run = bench_metadata, .summary = "memory for tables, of pages that were touched"},
    {.name = "sparse", .run = bench_sparse, .summary = "memory for tables, of 64 TiB mapped"},
    {.name = "mapping", .run = bench_mapping, .summary = "mmap and munmap of one page"},
    {.name = "areas", .run = bench_areas, .summary = "calls that change mappings, beside 1 area and 10,000"},
    {.name = "fault-signal", .run = bench_fault_signal, .summary = "faults without I/O, signal trap"},
    {.name = "fault-thread", .run = bench_fault_thread, .summary = "faults without I/O, thread trap"},
    {.name = "anon", .run = bench_anon, .summary = "anonymous memory, within the budget and beyond"},
    {.name = "fork", .run = bench_fork, .summary = "a fork, and what the child touches"},
    {.name = "msync", .run = bench_msync, .summary = "making scattered dirty pages durable"},
    {.name = "commit", .run = bench_commit, .summary = "commits of scattered pages, beside SQLite and LMDB"},
    {.name = "committers", .run = bench_committers, .summary = "small commits by several threads"},
    {.name = "recovery", .run = bench_recovery, .summary = "opening an atomic file after a crash"},
    {.name = "talk", .run = bench_talk, .summary = "messages between two clients of a server"},
    {.name = "served", .run = bench_served, .summary = "faults of a client of a server, and its beginning"},
    {.name = "policy", .run = bench_policy, .summary = "hit ratios of replacement policies on made traces"},
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static void usage(FILE *f)
{
	fprintf(f,
		"usage: quire-bench [--quick] [--only NAME]... [--size BYTES[K|M|G]] [--runs N] [--trap signal|thread|auto]\n"
		"                   [--seconds S] [--threads N] [--dir DIR] [--json FILE]\n"
		"Runs the benchmarks of Quire beside the kernel's mmap, on the same files.\n\n"
		"  --quick      a smoke test: every benchmark on small files, in seconds; the figures mean nothing\n"
		"  --only NAME  only this benchmark; may be given several times\n"
		"  --size BYTES of the file each benchmark works over, in place of its own choice\n"
		"  --runs N     repetitions, 1 to %d (default 5)\n"
		"  --seconds S  how long each side of the loads is measured, over all repetitions (default 60)\n"
		"  --threads N  how many threads at most the loads have (default 8)\n"
		"  --trap TRAP  how faults are caught, where a benchmark does not choose (default signal)\n"
		"  --dir DIR    where the files are made, up to 4 GiB, one of which is kept (default build/bench)\n"
		"  --json FILE  where the results go (default DIR/result.json)\n\n",
		BENCH_RUNS_MAX);
	for (unsigned i = 0; i < ENTRIES; i++)
		fprintf(f, "  %-12s %s\n", entries[i].name, entries[i].summary);
}

__attribute__((noreturn)) static void fail_usage(const char *option, const char *value, const char *why)
{
	fprintf(stderr, "quire-bench: %s %s: %s; see quire-bench --help\n", option, value, why);
	exit(2);
}

static uint64_t parse_size(const char *text)
{
	char *end;
	unsigned long long value;
	unsigned shift = 0;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end == 'K')
		shift = 10;
	else if (*end == 'M')
		shift = 20;
	else if (*end == 'G')
		shift = 30;
	end += shift > 0;
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || value == 0 || value > (TIB >> shift))
		fail_usage("--size", text, "not a size between 1 byte and 1 TiB");
	return (uint64_t)value << shift;
}

static unsigned parse_runs(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (end == text || *end != '\0' || value < 1 || value > BENCH_RUNS_MAX)
		fail_usage("--runs", text, "out of range");
	return (unsigned)value;
}

static double parse_seconds(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0.1 && value <= 86400))
		fail_usage("--seconds", text, "not between 0.1 and 86400");
	return value;
}

static unsigned parse_threads(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (end == text || *end != '\0' || value < 1 || value > 256)
		fail_usage("--threads", text, "not between 1 and 256");
	return (unsigned)value;
}

static enum quire_trap parse_trap(const char *text)
{
	for (enum quire_trap trap = QUIRE_TRAP_AUTO; trap <= QUIRE_TRAP_THREAD; trap++)
		if (strcmp(text, bench_trap_name(trap)) == 0)
			return trap;
	fail_usage("--trap", text, "there is no trap of this name");
}

static void choose(const char *name)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		if (strcmp(entries[i].name, name) == 0) {
			entries[i].chosen = true;
			return;
		}
	}
	fail_usage("--only", name, "there is no benchmark of this name");
}

static void parse(int argc, char **argv, struct bench *b, const char **ret_json)
{
	static const struct option options[] = {
	    {"quick", no_argument, NULL, 'q'},
	    {"only", required_argument, NULL, 'o'},
	    {"size", required_argument, NULL, 's'},
	    {"runs", required_argument, NULL, 'r'},
	    {"trap", required_argument, NULL, 't'},
	    {"dir", required_argument, NULL, 'd'},
	    {"seconds", required_argument, NULL, 'S'},
	    {"threads", required_argument, NULL, 'T'},
	    {"json", required_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	bool only = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'q':
			b->quick = true;
			break;
		case 'o':
			choose(optarg);
			only = true;
			break;
		case 's':
			b->size_bytes = parse_size(optarg);
			break;
		case 'r':
			b->runs = parse_runs(optarg);
			break;
		case 'S':
			b->seconds = parse_seconds(optarg);
			break;
		case 'T':
			b->threads = parse_threads(optarg);
			break;
		case 't':
			b->trap = parse_trap(optarg);
			break;
		case 'd':
			b->dir = optarg;
			break;
		case 'j':
			*ret_json = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			exit(2);
		}
	}
	if (optind < argc)
		fail_usage("argument", argv[optind], "not an option");
	for (unsigned i = 0; i < ENTRIES && !only; i++)
		entries[i].chosen = true;
	if (b->runs == 0)
		b->runs = b->quick ? 2 : 5;
	if (b->seconds == 0)
		b->seconds = b->quick ? 0.3 : 60;
}

static void make_dir(const char *dir)
{
	char *path = strdup(dir);

	for (char *p = path ? path + 1 : NULL; p && (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		mkdir(path, 0755);
	}
	free(path);
	if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
		fprintf(stderr, "quire-bench: %s: %s\n", dir, strerror(errno));
		exit(1);
	}
}

/* Runs one benchmark in a child. Its rows, or its reason, are in the entry's result afterwards. */
static void run_entry(struct bench *b, struct bench_entry *e)
{
	unsigned seconds = (b->quick ? 60 : 900) + (unsigned)(20 * b->seconds);
	int status;
	pid_t child;

	b->result = e->result;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(seconds);
		e->run(b);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		snprintf(e->result->error, sizeof(e->result->error), "no process for it: %s", strerror(errno));
		e->exit_status = EXIT_FAILURE;
	} else if (WIFSIGNALED(status)) {
		int signal = WTERMSIG(status);

		if (signal == SIGALRM)
			snprintf(e->result->error, sizeof(e->result->error), "did not end within %u seconds", seconds);
		else
			snprintf(e->result->error, sizeof(e->result->error), "ended by signal %d (%s)", signal, strsignal(signal));
		e->exit_status = EXIT_FAILURE;
	} else {
		e->exit_status = WEXITSTATUS(status);
	}
}

/* 0: whatever was measured. 77: none could run here. 1: one failed. */
static int run_all(struct bench *b)
{
	unsigned ran = 0, failed = 0;

	bench_report_head(b);
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct bench_entry *e = &entries[i];

		if (!e->chosen)
			continue;
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "%s: %s ...\r", e->name, e->summary);
		run_entry(b, e);
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\033[K");
		bench_report_result(b, e->name, e->result, e->exit_status);
		ran += e->exit_status == 0;
		failed += e->exit_status != 0 && e->exit_status != BENCH_EXIT_SKIP;
	}
	if (failed > 0)
		return EXIT_FAILURE;
	return ran > 0 ? EXIT_SUCCESS : BENCH_EXIT_SKIP;
}

int main(int argc, char **argv)
{
	struct bench b = {.trap = QUIRE_TRAP_SIGNAL, .dir = "build/bench"};
	struct bench_result *results;
	const char *json = NULL;
	char path[4096];
	int ret, err;

	parse(argc, argv, &b, &json);
	make_dir(b.dir);
	results = mmap(NULL, ENTRIES * sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED) {
		fprintf(stderr, "quire-bench: no memory for the results: %s\n", strerror(errno));
		return 1;
	}
	b.trends = mmap(NULL, BENCH_TRENDS_MAX * sizeof(*b.trends), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b.trends == MAP_FAILED) {
		fprintf(stderr, "quire-bench: no memory for the trends: %s\n", strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < ENTRIES; i++)
		entries[i].result = &results[i];
	ret = run_all(&b);

	if (!json) {
		snprintf(path, sizeof(path), "%s/result.json", b.dir);
		json = path;
	}
	err = trend_columns(&b, entries, ENTRIES);
	if (err < 0)
		fprintf(stderr, "quire-bench: %s: columns for the plots: %s\n", b.dir, strerror(-err));
	err = bench_report_json(&b, entries, ENTRIES, json);
	if (err < 0) {
		fprintf(stderr, "quire-bench: %s: %s\n", json, strerror(-err));
		return 1;
	}
	printf("\nresults as JSON: %s\n", json);
	return ret;
}
