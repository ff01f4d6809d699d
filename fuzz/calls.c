/* SPDX-License-Identifier: MIT */
/*
 * calls.c - every call of quire.h with wild arguments, beside the kernel
 *
 * A program lays a ground of mappings on both sides and makes a few calls on it. After each call: both answered the same, but for the
 * documented differences (known.h); a call that failed on Quire's side has changed nothing there, as quire_maps, the bytes, the sizes
 * of the files and the counters tell; and where both succeeded the same is mapped. A crash or a hang tells its seed and number.
 *
 * Exit: 0 no difference, 1 some, 2 wrong usage or surroundings, 77 not possible here.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <quire/quire.h>

#include "../tests/oracle/guard.h"
#include "known.h"

enum { CALLS_MAX = 4, LIMIT_SECONDS = 60 };

static struct {
	uint64_t seed;
	int64_t first, programs;
	int seconds, differences_max;
	bool verbose;
	const char *directory, *broken;
} options = {.seed = 1, .programs = 20000, .differences_max = 1};

static struct world world;
static volatile int64_t running = -1; /* the program */
static struct call current;
static volatile bool calling;
static uint64_t calls_made, calls_compared, calls_failed, known_differences;

static void usage(FILE *out)
{
	fputs("usage: calls [options]\n"
	      "Makes random calls of quire.h with wild arguments, and compares what they answer with the kernel.\n"
	      "  --programs N     how many grounds with a few calls on each (20000)\n"
	      "  --seconds T      end after T seconds instead\n"
	      "  --seed S         which programs (1)\n"
	      "  --first N        number of the first one (0)\n"
	      "  --differences N  end after so many (1)\n"
	      "  --dir DIRECTORY  for the files (TMPDIR, else /var/tmp)\n"
	      "  --break KIND     put a fault into Quire's side, which has to be found: errno, success, half-done\n"
	      "  --verbose        print each call with its answers\n"
	      "QUIRE_TRAP chooses the trap.\n",
	      out);
}

/* In a signal handler; the process ends here, so that it may print as it likes. */
static void crashed(int sig)
{
	fprintf(stderr, "\ncalls: %s, signal %d, in seed %" PRIu64 " program %" PRId64 "%s", sig == SIGALRM ? "hang" : "crash", sig,
		options.seed, running, calling ? ": " : "\n");
	if (calling) {
		call_print(&current, stderr);
		fputc('\n', stderr);
	}
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* There only where a sanitizer is linked in. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void died(void)
{
	if (running >= 0)
		crashed(0);
}

static void print_answer(const struct call *c, const struct answer *a)
{
	if (a->value == -1)
		printf("%s", a->err ? strerrorname_np(a->err) : "-1");
	else if (a->value == ELSEWHERE)
		printf("elsewhere");
	else if (c->kind == CALL_MMAP || c->kind == CALL_MREMAP)
		printf("window%+" PRId64, a->value);
	else
		printf("%" PRId64, a->value);
}

static void print_call(const struct call *c, bool compared, const struct answer *kernel, const struct answer *quire)
{
	printf("  ");
	call_print(c, stdout);
	printf(" -> ");
	if (compared) {
		print_answer(c, kernel);
		printf(" | ");
	}
	print_answer(c, quire);
	if (quire->value == -1 && quire_errormsg()[0])
		printf("  «%s»", quire_errormsg());
	printf("\n");
}

static void print_ground(const struct state *s)
{
	for (int i = 0; i < WINDOW_PAGES; i++) {
		int first = i;

		if (!s->page[i].how[0])
			continue;
		while (i + 1 < WINDOW_PAGES && s->mapping[i + 1] == s->mapping[first])
			i++;
		printf("  pages %d-%d %s%s %#" PRIx64 "%s\n", first, i, s->page[first].how, s->page[first].file ? " file" : "",
		       s->page[first].offset, s->locked[first] ? " locked" : "");
	}
}

static bool differ(int64_t number, const struct call *c, bool compared, const struct answer answers[SIDES], const char *what)
{
	printf("difference in seed %" PRIu64 " program %" PRId64 ": %s\n", options.seed, number, what);
	print_ground(&world.before);
	print_call(c, compared, &answers[KERNEL], &answers[QUIRE]);
	return false;
}

/* Whether a call that failed may have left something on the kernel's side that /proc/self/maps does not show. */
static bool leaves_traces(const struct call *c)
{
	return c->kind == CALL_MADVISE || c->kind == CALL_POSIX_MADVISE || c->kind == CALL_MLOCK || c->kind == CALL_MLOCK2 ||
	       c->kind == CALL_MUNLOCK;
}

/* What the engine has, and nothing of the kernel's is compared with. */
static void put_back(const struct call *c)
{
	if (c->kind == CALL_SET_MEMORY && quire_set_memory(world.before.budget_bytes) != 0)
		printf("set_memory: %s\n", quire_errormsg());
}

/* The fault that was asked for, in every 16th call that fails. */
static void break_answer(const struct call *c, struct answer *answer)
{
	if (!options.broken || answer->value != -1 || !call_is_the_kernels(c) || calls_failed % 16)
		return;
	if (!strcmp(options.broken, "errno"))
		answer->err = answer->err == EINVAL ? ENOMEM : EINVAL;
	else if (!strcmp(options.broken, "success"))
		*answer = (struct answer){0};
	else
		quire_munmap(world.sides[QUIRE].window, (size_t)(WINDOW_PAGES / 2 * page_bytes()));
}

/* => false: a difference, which was printed. ret_go_on: both sides are still the same */
static bool run_call(int64_t number, const struct call *c, bool *ret_go_on)
{
	bool compared = call_is_the_kernels(c), known = false;
	struct answer answers[SIDES] = {{0}};
	char what[256];

	current = *c;
	world_note(&world, &world.before);
	calling = true;
	world_call(&world, QUIRE, c, &answers[QUIRE]);
	calling = false;
	calls_failed += answers[QUIRE].value == -1;
	break_answer(c, &answers[QUIRE]);
	if (options.verbose)
		print_call(c, false, &answers[KERNEL], &answers[QUIRE]);
	calls_made++;
	if (answers[QUIRE].value == -1) {
		world_note(&world, &world.after);
		if (known_half_done(c, &answers[QUIRE]))
			world.after.areas = world.before.areas;
		if (world_differs(&world.before, &world.after, what, sizeof(what)))
			return differ(number, c, false, answers, what);
	}
	world_forget_elsewhere(&world, QUIRE);
	put_back(c);
	*ret_go_on = false;
	if (!compared) {
		*ret_go_on = answers[QUIRE].value == -1;
		return true;
	}
	world_call(&world, KERNEL, c, &answers[KERNEL]);
	world_forget_elsewhere(&world, KERNEL);
	calls_compared++;
	if (answers[KERNEL].value != answers[QUIRE].value || answers[KERNEL].err != answers[QUIRE].err) {
		known = known_difference(c, &world.before, &answers[KERNEL], &answers[QUIRE]);
		known_differences += known;
		return known || differ(number, c, true, answers, "the answers");
	}
	/* A call that failed on the kernel may have done part of its work there: the program ends if so. */
	world_note_kernel(&world, &world.kernel_after);
	if (answers[KERNEL].value != -1)
		world_note(&world, &world.after);
	*ret_go_on = !world_sides_differ(&world.kernel_after, &world.after, what, sizeof(what));
	if (answers[KERNEL].value == -1) {
		*ret_go_on = *ret_go_on && !leaves_traces(c);
		return true;
	}
	return *ret_go_on || differ(number, c, true, answers, what);
}

static bool run_program(int64_t number)
{
	struct rng r = rng_stream(options.seed, (uint64_t)number);
	int64_t calls = 1 + rng_below(&r, CALLS_MAX);
	bool same, go_on = true;

	running = number;
	alarm(LIMIT_SECONDS);
	if (options.verbose)
		printf("seed %" PRIu64 " program %" PRId64 "\n", options.seed, number);
	same = world_lay(&world, &r);
	if (same && options.verbose) {
		world_note(&world, &world.before);
		print_ground(&world.before);
	}
	for (int64_t i = 0; i < calls && same && go_on; i++) {
		struct call c;

		call_generate(&c, &r);
		same = run_call(number, &c, &go_on);
	}
	same = world_clear(&world) && same;
	alarm(0);
	running = -1;
	return same;
}

static int64_t seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static int run(void)
{
	int64_t start = seconds_now(), last = options.seconds ? INT64_MAX : options.first + options.programs, number;
	int differences = 0;

	for (number = options.first; number < last && differences < options.differences_max; number++) {
		if (options.seconds && seconds_now() - start >= options.seconds)
			break;
		differences += !run_program(number);
		fflush(stdout);
	}
	printf("%" PRId64 " programs, %" PRIu64 " calls, of which %" PRIu64 " failed; %" PRIu64
	       " compared with the kernel, %" PRIu64 " known differences, %d others\n",
	       number - options.first, calls_made, calls_failed, calls_compared, known_differences, differences);
	return differences ? 1 : 0;
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {
	    {"programs", required_argument, NULL, 'p'},
	    {"seconds", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 's'},
	    {"first", required_argument, NULL, 'f'},
	    {"differences", required_argument, NULL, 'n'},
	    {"dir", required_argument, NULL, 'd'},
	    {"break", required_argument, NULL, 'b'},
	    {"verbose", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'p':
			options.programs = atoll(optarg);
			break;
		case 't':
			options.seconds = atoi(optarg);
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			options.first = atoll(optarg);
			break;
		case 'n':
			options.differences_max = atoi(optarg);
			break;
		case 'd':
			options.directory = optarg;
			break;
		case 'b':
			options.broken = optarg;
			break;
		case 'v':
			options.verbose = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (!options.directory)
		options.directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
}

int main(int argc, char **argv)
{
	const struct rlimit files = {512, 512};

	take_options(argc, argv);
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGALRM, crashed);
	signal(SIGABRT, crashed);
	signal(SIGXFSZ, SIG_IGN);
	guard_install(crashed);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(died);
	if (!world_open(&world, options.directory, 16 << 20))
		return 2;
	return run();
}
