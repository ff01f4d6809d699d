/* SPDX-License-Identifier: MIT */
/*
 * oracle.c - the kernel as the oracle: random programs run on the kernel and on Quire in step
 *
 * All programs run in this process, one after the other. A difference is printed and shrunk, each attempt in a process of its
 * own. A crash and a hang end this process: the handler then replaces it by one that shrinks the program (execve may be called
 * in a signal handler).
 *
 * Exit: 0 all equal, 1 a difference, 2 wrong usage or surroundings, 77 not possible here.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shrink.h"
#include "subjects.h"
#include "world.h"

struct options {
	int64_t programs, first, passed;
	uint64_t seed;
	size_t ops, memory_bytes;
	int seconds, limit_seconds, repeat;
	const char *trap, *broken, *replay, *directory, *save;
	bool forks, self, strict, verbose, quiet, no_pressure, no_shrink, shrink_only;
};

static struct options options = {
    .programs = -1,
    .seed = 1,
    .ops = 60,
    .memory_bytes = 512 << 10,
    .limit_seconds = 30,
    .repeat = 1,
};

/* What a crash handler needs to know, and the process that shrinks. */
static struct world *world;
static char *shrink_argv[32];
static char shrink_number[32], shrink_passed[32];
static volatile int64_t passed;
static volatile sig_atomic_t running;

static void usage(FILE *out)
{
	fputs("usage: oracle [options]\n"
	      "Runs random programs of memory operations on the kernel and on Quire in step, and compares everything.\n"
	      "  --programs N     how many (1000)\n"
	      "  --seconds T      end after T seconds\n"
	      "  --seed S         which programs (1)\n"
	      "  --first N        number of the first one (0)\n"
	      "  --ops K          operations in a program, at most (60)\n"
	      "  --forks          programs that fork\n"
	      "  --memory BYTES   the budget, with K, M or G (512K)\n"
	      "  --trap NAME      signal, thread or auto (QUIRE_TRAP, else auto)\n"
	      "  --dir DIRECTORY  for the files (TMPDIR, else /var/tmp)\n"
	      "  --no-pressure    no memory beside the window\n"
	      "  --replay FILE    run the programs of a file\n"
	      "  --repeat N       run them so many times\n"
	      "  --shrink         with --replay: shrink the file's programs\n"
	      "  --no-shrink      print a difference, and end\n"
	      "  --save FILE      where a shrunk program goes (oracle-SEED-NUMBER.program)\n"
	      "  --limit T        seconds that one program may take (30)\n"
	      "  --verbose        print each program with its results\n"
	      "  --quiet          print nothing\n"
	      "  --self           compare the kernel with itself\n"
	      "  --strict         compare it with itself where failed calls change nothing\n"
	      "  --break KIND     compare it with itself with one fault:\n",
	      out);
	broken_list(out);
}

/* ---- crashes and hangs ---- */

static void put(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

static void put_number(int64_t n)
{
	char text[24], *at = text + sizeof(text);

	*--at = '\0';
	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	put(at);
}

static void copy_number(char *to, int64_t n)
{
	char text[24], *at = text + sizeof(text);

	*--at = '\0';
	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	memcpy(to, at, (size_t)(text + sizeof(text) - at));
}

/* A child of a program: process 0 sees that it has died. */
__attribute__((noreturn)) static void die_of(int sig)
{
	sigset_t none;

	signal(sig != 0 ? sig : SIGABRT, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	kill(getpid(), sig != 0 ? sig : SIGABRT);
	_exit(1);
}

/* A signal handler, also called by guard.c's: only functions that may be called there. 0: a sanitizer ends the process. */
static void crashed(int sig)
{
	sigset_t none;

	if (!options.quiet) {
		put(sig == SIGALRM ? "\noracle: hang" : sig == 0 ? "\noracle: ended by a sanitizer" : "\noracle: crash, signal ");
		if (sig != SIGALRM && sig != 0)
			put_number(sig);
		if (world != NULL && world->program != NULL) {
			put(" in seed ");
			put_number((int64_t)world->program->seed);
			put(" program ");
			put_number(world->program->number);
			put(" operation ");
			put_number((int64_t)world->at);
			put(" process ");
			put_number(family_self());
		}
		put("\n");
	}
	if (family_self() != 0)
		die_of(sig);
	if (world != NULL)
		family_kill(&world->family);
	if (options.replay == NULL && !options.no_shrink && world != NULL && world->program != NULL) {
		copy_number(shrink_number, world->program->number);
		copy_number(shrink_passed, passed);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execv("/proc/self/exe", shrink_argv);
	}
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* There only where a sanitizer is linked in. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* Leaks are found when no program runs any more, and are left to the sanitizer. */
static void died(void)
{
	if (running)
		crashed(0);
}

static void install_handlers(void)
{
	if (__sanitizer_set_death_callback != NULL)
		__sanitizer_set_death_callback(died);
	guard_install(crashed);
	signal(SIGALRM, crashed);
	signal(SIGABRT, crashed);
}

/* ---- arguments for other processes of this program ---- */

static char *text_of(const char *format, uint64_t n)
{
	char *text;

	if (asprintf(&text, format, n) < 0)
		abort();
	return text;
}

/* What a replay needs to see the same. */
static size_t common_arguments(char **argv)
{
	size_t n = 0;

	argv[n++] = (char *)"--memory";
	argv[n++] = text_of("%" PRIu64, options.memory_bytes);
	argv[n++] = (char *)"--dir";
	argv[n++] = (char *)options.directory;
	argv[n++] = (char *)"--limit";
	argv[n++] = text_of("%" PRIu64, (uint64_t)(options.limit_seconds < 10 ? options.limit_seconds : 10));
	if (options.forks)
		argv[n++] = (char *)"--forks";
	if (options.self)
		argv[n++] = (char *)"--self";
	if (options.strict)
		argv[n++] = (char *)"--strict";
	if (options.no_pressure)
		argv[n++] = (char *)"--no-pressure";
	if (options.trap != NULL) {
		argv[n++] = (char *)"--trap";
		argv[n++] = (char *)options.trap;
	}
	if (options.broken != NULL) {
		argv[n++] = (char *)"--break";
		argv[n++] = (char *)options.broken;
	}
	argv[n] = NULL;
	return n;
}

/* For the process that shrinks after a crash. The two numbers are filled in when it comes to that. */
static void prepare_shrink_argv(void)
{
	size_t n = 1 + common_arguments(shrink_argv + 1);

	shrink_argv[0] = (char *)"oracle";
	shrink_argv[n++] = (char *)"--seed";
	shrink_argv[n++] = text_of("%" PRIu64, options.seed);
	shrink_argv[n++] = (char *)"--ops";
	shrink_argv[n++] = text_of("%" PRIu64, options.ops);
	shrink_argv[n++] = (char *)"--first";
	shrink_argv[n++] = shrink_number;
	shrink_argv[n++] = (char *)"--passed";
	shrink_argv[n++] = shrink_passed;
	shrink_argv[n++] = (char *)"--shrink";
	if (options.save != NULL) {
		shrink_argv[n++] = (char *)"--save";
		shrink_argv[n++] = (char *)options.save;
	}
	shrink_argv[n] = NULL;
}

static struct shrink shrink_options(int64_t number)
{
	static char *argv[32];
	static char save[128];

	common_arguments(argv);
	snprintf(save, sizeof(save), "oracle-%" PRIu64 "-%" PRId64 ".program", options.seed, number);
	return (struct shrink){
	    .arguments = argv,
	    .directory = options.directory,
	    .save = options.save != NULL ? options.save : save,
	    .seconds = 120,
	    .ops_max = options.ops,
	    .forks = options.forks,
	};
}

/* ---- running ---- */

static int open_subject(struct calls *ret)
{
	*ret = calls_kernel;
	if (options.self) {
		ret->name = "kernel again";
	} else if (options.strict) {
		strict_make(ret);
	} else if (options.broken != NULL) {
		if (!broken_make(ret, options.broken)) {
			fprintf(stderr, "oracle: no such kind: %s\n", options.broken);
			return 2;
		}
	} else {
		return quire_make(ret, options.memory_bytes, options.trap);
	}
	return 0;
}

static void print_difference(const struct program *p)
{
	const struct calls *subject = world->sides[SUBJECT].calls;
	const char *at = world->at < p->op_count ? "" : " (the end checks)";

	printf("\ndifference in seed %" PRIu64 " program %" PRId64 " operation %zu%s\n  %s\n", p->seed, p->number, world->at, at,
	       world->difference);
	if (world->message[0] != '\0')
		printf("  last message of %s: %s\n", subject->name, world->message);
	printf("  file sizes %" PRId64 " %" PRId64 " %" PRId64 "\n", p->file_bytes[0], p->file_bytes[1], p->file_bytes[2]);
	world_print_log(world, stdout);
}

/* => whether both sides were equal */
static bool run_program(const struct program *p)
{
	bool same;

	alarm((unsigned)options.limit_seconds);
	running = 1;
	same = world_run(world, p);
	running = 0;
	alarm(0);
	if (same && options.verbose) {
		printf("seed %" PRIu64 " program %" PRId64 "\n", p->seed, p->number);
		world_print_log(world, stdout);
	}
	if (!same && !options.quiet)
		print_difference(p);
	passed += same;
	return same;
}

static int close_line(int64_t failed)
{
	if (!options.quiet)
		printf("%" PRId64 " passed, %" PRId64 " failed\n", passed, failed);
	return failed != 0;
}

/* Every minute, so that a long run can be followed, and its count is known if it is ended by hand. */
static void tell_progress(time_t elapsed)
{
	static time_t told;

	if (options.quiet || elapsed < told + 60)
		return;
	told = elapsed;
	fprintf(stderr, "oracle: %" PRId64 " passed in %lld min\n", passed, (long long)elapsed / 60);
}

static int run_random(void)
{
	struct program *p = malloc(sizeof(*p));
	struct timespec start, now;
	int64_t last = options.programs < 0 ? INT64_MAX : options.first + options.programs;

	if (p == NULL)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int64_t number = options.first; number < last; number++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (options.seconds != 0 && now.tv_sec - start.tv_sec >= options.seconds)
			break;
		tell_progress(now.tv_sec - start.tv_sec);
		program_generate(p, options.seed, number, options.ops, options.forks);
		if (run_program(p))
			continue;
		if (!options.no_shrink) {
			struct shrink how = shrink_options(number);

			shrink(&how, options.seed, options.first, number);
		}
		free(p);
		return close_line(1);
	}
	free(p);
	if (!options.quiet)
		printf("%" PRIu64 " operations run, %" PRIu64 " not run, %" PRIu64 " MiB compared\n", world->run_ops,
		       world->skipped_ops, world->compared_bytes >> 20);
	return close_line(0);
}

/* => the programs of the replay file, NULL when it cannot be read */
static struct program *read_replay(size_t *ret_count)
{
	FILE *in = fopen(options.replay, "re");
	struct program *programs = NULL;
	size_t count = 0;
	int line = 0, rc = 1;

	if (in == NULL) {
		fprintf(stderr, "oracle: %s: %s\n", options.replay, strerror(errno));
		return NULL;
	}
	while (rc == 1) {
		struct program *more = realloc(programs, (count + 1) * sizeof(*programs));

		if (more == NULL)
			break;
		programs = more;
		rc = program_parse(&programs[count], in, &line);
		count += rc == 1;
	}
	fclose(in);
	if (rc != 0) {
		free(programs);
		return NULL;
	}
	*ret_count = count;
	return programs;
}

static int run_replay(struct program *programs, size_t count)
{
	for (int i = 0; i < options.repeat; i++) {
		for (size_t j = 0; j < count; j++) {
			if (!run_program(&programs[j]))
				return close_line(1);
		}
	}
	return close_line(0);
}

static int run(void)
{
	struct program *programs;
	size_t count;
	int rc;

	if (options.replay == NULL)
		return run_random();
	programs = read_replay(&count);
	if (programs == NULL)
		return 2;
	rc = run_replay(programs, count);
	free(programs);
	return rc;
}

static int shrink_only(void)
{
	struct shrink how = shrink_options(options.first);
	struct program *programs;
	size_t count;

	if (options.replay == NULL) {
		/* The programs before it passed in the process that crashed. */
		shrink(&how, options.seed, options.first - options.passed, options.first);
		passed = options.passed;
		return close_line(1);
	}
	programs = read_replay(&count);
	if (programs == NULL)
		return 2;
	shrink_programs(&how, programs, count);
	free(programs);
	return 0;
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

enum {
	OPT_PROGRAMS = 1,
	OPT_SEED,
	OPT_OPS,
	OPT_MEMORY,
	OPT_TRAP,
	OPT_REPLAY,
	OPT_VERBOSE,
	OPT_FORKS,
	OPT_SELF,
	OPT_STRICT,
	OPT_BREAK,
	OPT_SECONDS,
	OPT_DIR,
	OPT_SAVE,
	OPT_QUIET,
	OPT_NO_PRESSURE,
	OPT_NO_SHRINK,
	OPT_SHRINK,
	OPT_FIRST,
	OPT_PASSED,
	OPT_LIMIT,
	OPT_REPEAT,
	OPT_HELP
};

static const struct option long_options[] = {
    {"programs", required_argument, NULL, OPT_PROGRAMS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"ops", required_argument, NULL, OPT_OPS},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"trap", required_argument, NULL, OPT_TRAP},
    {"replay", required_argument, NULL, OPT_REPLAY},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"forks", no_argument, NULL, OPT_FORKS},
    {"self", no_argument, NULL, OPT_SELF},
    {"strict", no_argument, NULL, OPT_STRICT},
    {"break", required_argument, NULL, OPT_BREAK},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"dir", required_argument, NULL, OPT_DIR},
    {"save", required_argument, NULL, OPT_SAVE},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"no-pressure", no_argument, NULL, OPT_NO_PRESSURE},
    {"no-shrink", no_argument, NULL, OPT_NO_SHRINK},
    {"shrink", no_argument, NULL, OPT_SHRINK},
    {"first", required_argument, NULL, OPT_FIRST},
    {"passed", required_argument, NULL, OPT_PASSED},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"repeat", required_argument, NULL, OPT_REPEAT},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static bool take_option(int option)
{
	switch (option) {
	case OPT_PROGRAMS:
		options.programs = atoll(optarg);
		return true;
	case OPT_SEED:
		options.seed = strtoull(optarg, NULL, 0);
		return true;
	case OPT_OPS:
		options.ops = strtoul(optarg, NULL, 0);
		return options.ops > 0 && options.ops <= PROGRAM_OPS_MAX;
	case OPT_MEMORY:
		return parse_bytes(optarg, &options.memory_bytes);
	case OPT_TRAP:
		options.trap = optarg;
		return true;
	case OPT_REPLAY:
		options.replay = optarg;
		return true;
	case OPT_VERBOSE:
		options.verbose = true;
		return true;
	case OPT_FORKS:
		options.forks = true;
		return true;
	case OPT_SELF:
		options.self = true;
		return true;
	case OPT_STRICT:
		options.strict = true;
		return true;
	case OPT_BREAK:
		options.broken = optarg;
		return true;
	case OPT_SECONDS:
		options.seconds = atoi(optarg);
		return true;
	case OPT_DIR:
		options.directory = optarg;
		return true;
	case OPT_SAVE:
		options.save = optarg;
		return true;
	case OPT_QUIET:
		options.quiet = true;
		return true;
	case OPT_NO_PRESSURE:
		options.no_pressure = true;
		return true;
	case OPT_NO_SHRINK:
		options.no_shrink = true;
		return true;
	case OPT_SHRINK:
		options.shrink_only = true;
		return true;
	case OPT_FIRST:
		options.first = atoll(optarg);
		return true;
	case OPT_PASSED:
		options.passed = atoll(optarg);
		return true;
	case OPT_LIMIT:
		options.limit_seconds = atoi(optarg);
		return true;
	case OPT_REPEAT:
		options.repeat = atoi(optarg);
		return true;
	default:
		return false;
	}
}

static void take_options(int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			usage(stdout);
			exit(0);
		}
		if (!take_option(option)) {
			usage(stderr);
			exit(2);
		}
	}
	if (options.directory == NULL)
		options.directory = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
	if (options.programs < 0 && options.seconds == 0)
		options.programs = 1000;
}

int main(int argc, char **argv)
{
	struct calls subject;
	int rc;

	take_options(argc, argv);
	if (options.shrink_only)
		return shrink_only();
	prepare_shrink_argv();
	install_handlers();
	rc = open_subject(&subject);
	if (rc != 0)
		return rc;
	world = world_open(&subject, options.directory, options.no_pressure ? 0 : 4 * options.memory_bytes);
	if (world == NULL)
		return 2;
	if (!options.quiet)
		printf("%s against %s, memory %zu, files in %s%s, seed %" PRIu64 "\n", world->sides[ORACLE].calls->name,
		       subject.name, options.memory_bytes, options.directory,
		       world->model.growth_zeroes ? "" : " (growth keeps what lay behind the end)", options.seed);
	rc = run();
	if (rc == 0)
		world_close(world);
	return rc;
}
