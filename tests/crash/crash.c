/* SPDX-License-Identifier: MIT */
/*
 * crash.c - commits on disks that lose, reorder and tear what was not synced: after each crash a file is its last commit
 *
 * Programs made from a seed, each on fresh disks in memory: world.h says how they are done, judge.h how each crash is judged. They run in
 * a child of this process, so that one which dies or hangs is told and shrunk as one that goes wrong is.
 *
 * Exit: 0 all right, 1 something is wrong, 2 wrong usage or surroundings.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shrink.h"
#include "world.h"

struct options {
	int64_t programs, crashes, first;
	uint64_t seed;
	int seconds, limit_seconds;
	const char *replay, *broken;
	bool self, verbose, quiet, no_shrink;
	struct program_limits program;
	struct judge_only only;
	bool at;
};

static struct options options = {
    .programs = -1,
    .crashes = -1,
    .seed = 1,
    .limit_seconds = 60,
    .program = {.steps = 40, .pages = 40, .faults = true},
};

static struct world_options world = {
    .ops = &journal_store,
    .limits = {.images = 12, .again = 3, .recovery = 4},
};

/* What the child tells. */
struct progress {
	int64_t number; /* of the program that runs */
	time_t begun;
	struct judge_counts counts;
};

static struct progress *progress;

/* ---- faults that are put in ---- */

static const struct broken {
	const char *name, *what;
	bool self; /* of the simple store */
	enum disk_lie file_lie, log_lie;
	const char *store;
	bool unnoticed;
} broken_kinds[] = {
    {"no-sync", "a sync of the journal does nothing", false, LIE_NONE, LIE_NO_SYNC, NULL, false},
    {"late-sync", "… is done at the next write: commits are acknowledged before", false, LIE_NONE, LIE_LATE_SYNC, NULL, false},
    {"swallowed-sync", "… each seventh does nothing", false, LIE_NONE, LIE_SWALLOW, NULL, false},
    {"deaf", "… that fails is not noticed", false, LIE_NONE, LIE_DEAF, NULL, false},
    {"lost-write", "each seventh write to the journal is not made", false, LIE_NONE, LIE_LOST_WRITE, NULL, false},
    {"no-file-sync", "a checkpoint does not sync the file", false, LIE_NO_SYNC, LIE_NONE, NULL, false},
    {"early-header", "… syncs it after the header", false, LIE_LATER_SYNC, LIE_NONE, NULL, false},
    {"deaf-file", "… does not notice that this fails", false, LIE_DEAF, LIE_NONE, NULL, false},
    {"lost-length", "the file's size is never on storage", false, LIE_KEEPS_LENGTH, LIE_NONE, NULL, false},
    {"torn", "checksums are not compared", false, LIE_NONE, LIE_NONE, NULL, true},
    {"one-by-one", "files that commit as one do so one by one", false, LIE_NONE, LIE_NONE, "one-by-one", false},
    {"lost-size", "commits are without the size", false, LIE_NONE, LIE_NONE, "lost-size", false},
    {"leak", "spilled pages are written to the file", false, LIE_NONE, LIE_NONE, "leak", false},
    {"early-copy", "a commit is copied into the file before it is synced", false, LIE_NONE, LIE_NONE, "early-copy", false},
    {"self-no-sync", "the simple store does not sync", true, LIE_NONE, LIE_NONE, "no-sync", false},
    {"self-one-slot", "… has one slot, which it overwrites", true, LIE_NONE, LIE_NONE, "one-slot", false},
    {"self-no-checksum", "… does not compare checksums", true, LIE_NONE, LIE_NONE, "no-checksum", false},
    {"self-one-by-one", "… commits files one by one", true, LIE_NONE, LIE_NONE, "one-by-one", false},
    {"self-lost-size", "… forgets sizes", true, LIE_NONE, LIE_NONE, "lost-size", false},
    {"self-late-sync", "… is on a disk that syncs late", true, LIE_NONE, LIE_LATE_SYNC, NULL, false},
    {"self-deaf", "… is on one that does not tell of a sync that fails", true, LIE_NONE, LIE_DEAF, NULL, false},
};

static bool break_it(const char *name)
{
	for (size_t i = 0; i < sizeof(broken_kinds) / sizeof(broken_kinds[0]); i++) {
		const struct broken *kind = &broken_kinds[i];

		if (strcmp(kind->name, name) != 0)
			continue;
		options.self = kind->self;
		world.file_lie = kind->file_lie;
		world.log_lie = kind->log_lie;
		world.broken = kind->store;
		world.limits.unnoticed = kind->unnoticed;
		return true;
	}
	fprintf(stderr, "crash: no such kind: %s\n", name);
	return false;
}

/* ---- usage ---- */

static void usage(FILE *out)
{
	fputs("usage: crash [options]\n"
	      "Commits on disks in memory that lose, reorder and tear what was not synced, and crashes them at every operation.\n"
	      "  --programs N     how many (100)\n"
	      "  --crashes N      end when so many were tried\n"
	      "  --seconds T      end after T seconds\n"
	      "  --seed S         which programs (1)\n"
	      "  --first N        number of the first one (0)\n"
	      "  --steps K        steps in a program, at most (40)\n"
	      "  --pages P        pages of a file, at most (40)\n"
	      "  --images N       that are tried of each crash point, at most (12)\n"
	      "  --again PERCENT  of the crashes: their recovery is crashed at each of its operations (3)\n"
	      "  --recovery N     images of each crash point of a recovery (4)\n"
	      "  --no-faults      no disk fails\n"
	      "  --replay FILE    run the program of a file\n"
	      "  --at H:P:I       judge no crash but that of history H at event P by image I\n"
	      "  --no-shrink      print a failure, and end\n"
	      "  --limit T        seconds that one program may take (60)\n"
	      "  --verbose        print each step\n"
	      "  --quiet          print nothing\n"
	      "  --self           the simple store, to prove the test\n"
	      "  --break KIND     with one fault:\n",
	      out);
	for (size_t i = 0; i < sizeof(broken_kinds) / sizeof(broken_kinds[0]); i++)
		fprintf(out, "    %-17s %s\n", broken_kinds[i].name, broken_kinds[i].what);
}

static bool parse_at(const char *text)
{
	options.at = true;
	return sscanf(text, "%u:%" SCNu32 ":%" SCNu64, &options.only.history, &options.only.point, &options.only.number) == 3;
}

static bool take_option(int option)
{
	switch (option) {
	case 'p':
		options.programs = atoll(optarg);
		return true;
	case 'c':
		options.crashes = atoll(optarg);
		return true;
	case 't':
		options.seconds = atoi(optarg);
		return true;
	case 's':
		options.seed = strtoull(optarg, NULL, 0);
		return true;
	case 'f':
		options.first = atoll(optarg);
		return true;
	case 'k':
		options.program.steps = (unsigned)atoi(optarg);
		return options.program.steps > 0 && options.program.steps <= STEPS_MAX;
	case 'P':
		options.program.pages = (unsigned)atoi(optarg);
		return options.program.pages >= 4 && options.program.pages <= PAGES_MAX - 2;
	case 'i':
		world.limits.images = (unsigned)atoi(optarg);
		return true;
	case 'a':
		world.limits.again = (unsigned)atoi(optarg);
		return true;
	case 'r':
		world.limits.recovery = (unsigned)atoi(optarg);
		return true;
	case 'n':
		options.program.faults = false;
		return true;
	case 'R':
		options.replay = optarg;
		return true;
	case 'A':
		return parse_at(optarg);
	case 'N':
		options.no_shrink = true;
		return true;
	case 'l':
		options.limit_seconds = atoi(optarg);
		return true;
	case 'v':
		world.verbose = true;
		return true;
	case 'q':
		options.quiet = true;
		return true;
	case 'S':
		options.self = true;
		return true;
	case 'b':
		options.broken = optarg;
		return break_it(optarg);
	default:
		return false;
	}
}

static bool parse(int argc, char **argv)
{
	static const struct option known[] = {
	    {"programs", required_argument, NULL, 'p'},
	    {"crashes", required_argument, NULL, 'c'},
	    {"seconds", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 's'},
	    {"first", required_argument, NULL, 'f'},
	    {"steps", required_argument, NULL, 'k'},
	    {"pages", required_argument, NULL, 'P'},
	    {"images", required_argument, NULL, 'i'},
	    {"again", required_argument, NULL, 'a'},
	    {"recovery", required_argument, NULL, 'r'},
	    {"no-faults", no_argument, NULL, 'n'},
	    {"replay", required_argument, NULL, 'R'},
	    {"at", required_argument, NULL, 'A'},
	    {"no-shrink", no_argument, NULL, 'N'},
	    {"limit", required_argument, NULL, 'l'},
	    {"verbose", no_argument, NULL, 'v'},
	    {"quiet", no_argument, NULL, 'q'},
	    {"self", no_argument, NULL, 'S'},
	    {"break", required_argument, NULL, 'b'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'h') {
			usage(stdout);
			exit(0);
		}
		if (!take_option(option)) {
			usage(stderr);
			return false;
		}
	}
	if (options.self)
		world.ops = &simple_store;
	if (options.at)
		world.only = &options.only;
	return true;
}

/* ---- one program ---- */

static int run_one(const struct program *program)
{
	return world_run(program, &world, &progress->counts, options.quiet ? NULL : stdout) ? 0 : 1;
}

/* Prints it, shrunk if it can be, and what goes wrong in it. */
static void report(struct program *program, const char *name)
{
	FILE *out;

	printf("%s goes wrong. Again: --seed %" PRIu64 " --first %" PRId64 " --programs 1%s%s\n", name, options.seed,
	       progress->number, options.broken ? " --break " : "", options.broken ? options.broken : "");
	if (options.no_shrink)
		return;
	if (!shrink(program, &world, 120)) {
		puts("It goes right in a process of its own.");
		return;
	}
	puts("Shrunk:");
	program_print(program, stdout);
	fflush(stdout);
	if (fork() == 0) {
		alarm(60);
		run_one(program);
		fflush(NULL);
		_exit(1);
	}
	wait(NULL);
	out = options.replay ? NULL : fopen("crash.program", "we");
	if (out != NULL) {
		program_print(program, out);
		fclose(out);
		puts("Saved: --replay crash.program");
	}
}

/* ---- all programs: in a child ---- */

static bool is_over(int64_t number)
{
	if (options.seconds && time(NULL) >= progress->begun + options.seconds)
		return true;
	if (options.crashes >= 0)
		return (int64_t)progress->counts.crashes >= options.crashes;
	if (options.programs < 0 && options.seconds)
		return false;
	return number - options.first >= (options.programs < 0 ? 100 : options.programs);
}

static int run_all(void)
{
	struct program program;

	for (int64_t number = options.first; !is_over(number); number++) {
		progress->number = number;
		alarm((unsigned)options.limit_seconds);
		program_generate(&program, options.seed, (uint64_t)number, &options.program);
		if (run_one(&program) != 0)
			return 1;
	}
	alarm(0);
	return 0;
}

static bool read_program(struct program *program)
{
	FILE *in = fopen(options.replay, "re");

	if (in == NULL || !program_read(program, in)) {
		fprintf(stderr, "crash: %s: %s\n", options.replay, in ? "no program" : strerror(errno));
		return false;
	}
	fclose(in);
	return true;
}

static void tell_counts(int64_t programs)
{
	const struct judge_counts *counts = &progress->counts;

	printf("%" PRId64 " programs, %" PRIu64 " crash points, %" PRIu64 " crashes recovered (and %" PRIu64
	       " of the same), %" PRIu64 " crashes of recoveries\n",
	       programs, counts->points, counts->crashes, counts->same, counts->again);
}

int main(int argc, char **argv)
{
	struct program program;
	int status;
	pid_t child;

	if (!parse(argc, argv) || (options.replay && !read_program(&program)))
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		return 2;
	progress->number = options.first;
	progress->begun = time(NULL);
	fflush(NULL);
	child = fork();
	if (child == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
		exit(options.replay ? run_one(&program) : run_all());
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 2;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		if (!options.quiet)
			tell_counts(options.replay ? 1 : progress->number - options.first + 1);
		return 0;
	}
	if (!options.quiet) {
		char name[64];

		snprintf(name, sizeof(name), "Program %" PRIu64 "-%" PRId64, options.seed, progress->number);
		if (WIFSIGNALED(status))
			printf("The program ended by signal %d (%s).\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
		if (!options.replay)
			program_generate(&program, options.seed, (uint64_t)progress->number, &options.program);
		report(&program, name);
	}
	return 1;
}
