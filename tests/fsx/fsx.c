/* SPDX-License-Identifier: MIT */
/*
 * fsx.c - the same files by loads and stores, and by read(2) and write(2), with a model of what each may see
 *
 * Programs of random operations, one after the other, each on fresh files (exerciser.c), or threads that own the bytes of one
 * file by stripes (stripes.c). The rules are docs/compatibility.md's, as model.h draws them.
 *
 * Exit: 0 all right, 1 something is wrong, 2 wrong usage or surroundings, 77 not possible here.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../oracle/subjects.h"
#include "exerciser.h"
#include "stripes.h"

struct options {
	int64_t operations, each, first;
	uint64_t seed;
	size_t memory_bytes, threads;
	int seconds, limit_seconds;
	const char *trap, *broken, *directory;
	bool forks, self, verbose;
};

static struct options options = {
    .operations = -1,
    .each = 2000,
    .seed = 1,
    .memory_bytes = 512 << 10,
    .limit_seconds = 60,
};

static struct fsx *running;

static void usage(FILE *out)
{
	fputs("usage: fsx [options]\n"
	      "Reaches the same files by mappings and by read and write, and checks every byte against a model.\n"
	      "  --operations N   how many (100000)\n"
	      "  --seconds T      end after T seconds\n"
	      "  --seed S         which programs (1)\n"
	      "  --first N        number of the first one (0)\n"
	      "  --each K         operations in a program (2000)\n"
	      "  --threads N      threads that own stripes of one file, instead of programs\n"
	      "  --forks          with children, which map and touch the files as well\n"
	      "  --memory BYTES   the budget, with K, M or G (512K)\n"
	      "  --trap NAME      signal, thread or auto (QUIRE_TRAP, else auto)\n"
	      "  --dir DIRECTORY  for the files (TMPDIR, else /var/tmp)\n"
	      "  --limit T        seconds that one program may take (60)\n"
	      "  --verbose        print each operation\n"
	      "  --self           on the kernel's mmap, to prove the model\n"
	      "  --break KIND     with one fault; one of the engine's calls:\n"
	      "    no-sync           MS_SYNC does nothing\n"
	      "    no-invalidate     MS_INVALIDATE does nothing\n"
	      "    early-invalidate  MS_INVALIDATE also drops what is dirty\n"
	      "    no-lock           mlock does nothing\n"
	      "    deaf              ftruncate tells the mappings nothing\n"
	      "   or of the kernel's:\n",
	      out);
	broken_list(out);
}

/* ---- faults ---- */

static struct calls sound;

static int no_sync(void *addr, size_t len, int flags)
{
	return sound.msync(addr, len, flags & ~MS_SYNC);
}

static int no_invalidate(void *addr, size_t len, int flags)
{
	/* It still refuses what is locked, as this advice does, which changes no byte. */
	if ((flags & MS_INVALIDATE) && sound.madvise(addr, len, MADV_COLD) != 0) {
		errno = EBUSY;
		return -1;
	}
	return sound.msync(addr, len, flags & ~MS_INVALIDATE);
}

/* Other bytes come back, as if a store had been dropped. */
static int early_invalidate(void *addr, size_t len, int flags)
{
	unsigned char byte;
	struct trap trap;
	int rc = sound.msync(addr, len, flags);

	if (rc == 0 && (flags & MS_INVALIDATE) && guard_load(&byte, addr, 1, &trap)) {
		byte ^= 2;
		guard_store(addr, &byte, 1, &trap);
	}
	return rc;
}

static int no_lock(const void *addr, size_t len)
{
	(void)addr;
	(void)len;
	return 0;
}

static bool break_calls(struct calls *calls, const char *kind)
{
	sound = *calls;
	if (strcmp(kind, "no-sync") == 0)
		calls->msync = no_sync;
	else if (strcmp(kind, "no-invalidate") == 0)
		calls->msync = no_invalidate;
	else if (strcmp(kind, "early-invalidate") == 0)
		calls->msync = early_invalidate;
	else if (strcmp(kind, "no-lock") == 0)
		calls->mlock = no_lock;
	else if (strcmp(kind, "deaf") == 0)
		calls->ftruncate = ftruncate;
	else
		return false;
	return true;
}

/* => 0, 2, 77 */
static int open_subject(struct calls *ret, bool *ret_kernel)
{
	int rc;

	*ret_kernel = true;
	*ret = calls_kernel;
	if (options.self)
		return 0;
	if (options.broken != NULL && broken_make(ret, options.broken))
		return 0;
	*ret_kernel = false;
	rc = quire_make(ret, options.memory_bytes, options.trap);
	if (rc == 0 && options.broken != NULL && !break_calls(ret, options.broken)) {
		fprintf(stderr, "fsx: no such kind: %s\n", options.broken);
		return 2;
	}
	return rc;
}

/* ---- running ---- */

static void crashed(int sig)
{
	static const char hang[] = "fsx: hang\n", crash[] = "fsx: crash\n";

	if (write(STDERR_FILENO, sig == SIGALRM ? hang : crash, sig == SIGALRM ? sizeof(hang) - 1 : sizeof(crash) - 1) < 0)
		_exit(1);
	/* What was done before is worth more than a handler that only does what it may. */
	if (running != NULL) {
		fprintf(stderr, "seed %" PRIu64 " program %" PRId64 " operation %" PRId64 "\n", running->seed, running->number,
			running->at);
	}
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void print_failure(const struct fsx *x)
{
	printf("\nseed %" PRIu64 " program %" PRId64 " operation %" PRId64 ": file %d page %" PRId64 "\n  %s\n", x->seed, x->number,
	       x->at, x->failed_file, x->failed_page, x->failure);
	fsx_print_log(x, stdout);
	printf("again: --seed %" PRIu64 " --first %" PRId64 " --each %" PRId64 " --operations %" PRId64 " --memory %zu%s\n",
	       x->seed, x->number, options.each, options.each, options.memory_bytes, options.forks ? " --forks" : "");
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Every minute, so that a long run can be followed, and its count is known if it is ended by hand. */
static void tell_progress(const struct fsx *x, double elapsed)
{
	static double told;

	if (elapsed < told + 60)
		return;
	told = elapsed;
	fprintf(stderr, "fsx: %" PRIu64 " operations clean in %.0f s\n", x->operations, elapsed);
}

static bool run_programs(struct fsx *x)
{
	struct timespec start;
	bool right = true;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int64_t number = options.first; right; number++) {
		double elapsed = seconds_since(&start);

		if (options.seconds != 0 ? elapsed >= options.seconds : x->operations >= (uint64_t)options.operations)
			break;
		tell_progress(x, elapsed);
		alarm((unsigned)options.limit_seconds);
		right = fsx_run(x, number, options.each);
		alarm(0);
	}
	if (!right)
		print_failure(x);
	printf("%" PRIu64 " operations (%" PRIu64 " loads, %" PRIu64 " stores, %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64
	       " calls), %" PRIu64 " SIGBUS, %" PRIu64 " SIGSEGV, %" PRIu64 " reads and %" PRIu64
	       " loads seen half done, %.0f operations/s\n",
	       x->operations, x->loads, x->stores, x->reads, x->writes, x->calls_made, x->bus, x->denied,
	       x->files[0].torn_reads + x->files[1].torn_reads, x->files[0].torn_loads + x->files[1].torn_loads,
	       (double)x->operations / seconds_since(&start));
	return right;
}

static int run(const struct calls *calls, bool kernel)
{
	const char *words = getenv("QUIRE_DEBUG");
	struct fsx *x = calloc(1, sizeof(*x));
	bool right;

	if (x == NULL)
		return 2;
	x->calls = options.forks ? far_open(calls) : calls;
	x->forks = options.forks;
	if (x->calls == NULL)
		return 2;
	x->directory = options.directory;
	x->seed = options.seed;
	x->coherent = kernel;
	x->first_touch = words != NULL && strstr(words, "no-tracking") != NULL;
	/* What the kernel keeps behind the end may come to light when the file grows, by filesystem and by how it grows. */
	x->stores_past_end = !kernel;
	x->verbose = options.verbose;
	if (!fsx_open(x))
		return 2;
	printf("%s, memory %zu, files in %s, seed %" PRIu64 "\n", calls->name, options.memory_bytes, options.directory,
	       options.seed);
	running = x;
	right = run_programs(x);
	if (right)
		fsx_close(x);
	free(x);
	return right ? 0 : 1;
}

/* ---- options ---- */

static bool parse_bytes(const char *text, size_t *ret)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);
	int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;

	if (end == text || (*end != '\0' && (shift == 0 || end[1] != '\0')) || n > SIZE_MAX >> shift)
		return false;
	*ret = (size_t)n << shift;
	return true;
}

static bool take_option(int option)
{
	switch (option) {
	case 'o':
		options.operations = atoll(optarg);
		return options.operations > 0;
	case 't':
		options.seconds = atoi(optarg);
		return true;
	case 's':
		options.seed = strtoull(optarg, NULL, 0);
		return true;
	case 'f':
		options.first = atoll(optarg);
		return true;
	case 'e':
		options.each = atoll(optarg);
		return options.each > 0;
	case 'n':
		options.threads = strtoul(optarg, NULL, 0);
		return options.threads > 0 && options.threads <= STRIPES_THREADS_MAX;
	case 'm':
		return parse_bytes(optarg, &options.memory_bytes);
	case 'p':
		options.trap = optarg;
		return true;
	case 'd':
		options.directory = optarg;
		return true;
	case 'l':
		options.limit_seconds = atoi(optarg);
		return true;
	case 'F':
		options.forks = true;
		return true;
	case 'v':
		options.verbose = true;
		return true;
	case 'k':
		options.self = true;
		return true;
	case 'b':
		options.broken = optarg;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"operations", required_argument, NULL, 'o'},
	    {"seconds", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 's'},
	    {"first", required_argument, NULL, 'f'},
	    {"each", required_argument, NULL, 'e'},
	    {"threads", required_argument, NULL, 'n'},
	    {"memory", required_argument, NULL, 'm'},
	    {"trap", required_argument, NULL, 'p'},
	    {"dir", required_argument, NULL, 'd'},
	    {"limit", required_argument, NULL, 'l'},
	    {"forks", no_argument, NULL, 'F'},
	    {"verbose", no_argument, NULL, 'v'},
	    {"self", no_argument, NULL, 'k'},
	    {"break", required_argument, NULL, 'b'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	static struct calls calls;
	bool kernel;
	int option, rc;

	options.directory = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 'h') {
			usage(stdout);
			return 0;
		}
		if (!take_option(option)) {
			usage(stderr);
			return 2;
		}
	}
	if (options.operations < 0)
		options.operations = 100000;
	setvbuf(stdout, NULL, _IOLBF, 0);
	guard_install(crashed);
	signal(SIGALRM, crashed);
	rc = open_subject(&calls, &kernel);
	if (rc != 0)
		return rc;
	if (options.threads > 0) {
		struct stripes s = {.calls = &calls,
				    .directory = options.directory,
				    .seed = options.seed,
				    .threads = options.threads,
				    .operations = (uint64_t)options.operations,
				    .seconds = options.seconds,
				    .file_bytes = 2 * options.memory_bytes};

		rc = stripes_run(&s);
	} else {
		rc = run(&calls, kernel);
	}
	printf("%d passed, %d failed\n", rc == 0, rc != 0);
	return rc;
}
