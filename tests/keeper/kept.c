/* SPDX-License-Identifier: MIT */
/*
 * kept.c - a program is killed while it stores, and what it had stored is in its files
 *
 *      kept [--kills N] [--seed S] [--first N] [--under QUIRE] [--lossy]
 *
 * Again and again: files of a known pattern, a worker that stores at random (worker.c) and tells of each store before and after it in memory
 * that it shares with this process, and its death at a random instant: SIGKILL from outside, a fault, abort, _exit. When the keeper has ended,
 * too, each store that was told of as done has to be in the file, or the one that was under way; every other byte as it was; and the file that
 * was being cut has to be what its steps make. --lossy: some store must be lost, or the test would find nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kept.h"

#define MOST_TOLD 5 /* mistakes of one kill */

static struct {
	unsigned kills, first;
	uint64_t seed;
	const char *under;
	bool lossy;
} options = {.kills = 20, .seed = 1};

static struct log *told;
static char dir[4096];
static unsigned mistakes, unsaved_kills;

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, ": %s\n", strerror(errno));
	exit(2);
}

static uint32_t draw(uint64_t *state, uint32_t n)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*state >> 33) % n);
}

static void name_of(char name[4200], unsigned file)
{
	if (file < FILES)
		snprintf(name, 4200, "%s/file%u", dir, file);
	else
		snprintf(name, 4200, "%s/cut", dir);
}

static void make_file(unsigned file)
{
	static unsigned char page[PAGE];
	char name[4200];
	int fd;

	name_of(name, file);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		give_up("%s", name);
	for (unsigned i = 0; i < PAGES && file < FILES; i++) {
		for (unsigned j = 0; j < PAGE; j++)
			page[j] = pattern(file, i, j);
		for (unsigned w = 0; w < WRITERS; w++)
			memset(page + SLOT(w), 0, 8);
		if (write(fd, page, PAGE) != PAGE)
			give_up("%s", name);
	}
	if (file == FILES && ftruncate(fd, (off_t)CUT_PAGES * PAGE) < 0)
		give_up("%s", name);
	close(fd);
}

/* ---- checks ---- */

__attribute__((format(printf, 1, 2))) static void wrong(const char *format, ...)
{
	va_list list;

	if (mistakes++ >= MOST_TOLD || options.lossy)
		return;
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

static void check_page(unsigned file, unsigned number, unsigned char *page)
{
	for (unsigned w = 0; w < WRITERS; w++) {
		const struct slot *slot = &told->slot[file][number][w];
		uint32_t done = atomic_load(&slot->done), intent = atomic_load(&slot->intent);
		uint64_t value;

		memcpy(&value, page + SLOT(w), 8);
		if (value != ((uint64_t)done << 32 | done) && value != ((uint64_t)intent << 32 | intent))
			wrong("file %u, page %u, writer %u: %#llx; %u was stored, and %u begun", file, number, w,
			      (unsigned long long)value, done, intent);
	}
	for (unsigned i = 0; i < PAGE; i++)
		if ((i < SLOT(0) || i >= SLOT(WRITERS)) && page[i] != pattern(file, number, i)) {
			wrong("file %u, page %u: byte %u is %#x, and nobody has stored it", file, number, i, page[i]);
			break;
		}
}

static void check_file(unsigned file)
{
	static unsigned char page[PAGE];
	char name[4200];
	struct stat st;
	int fd;

	name_of(name, file);
	fd = open(name, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0)
		give_up("%s", name);
	if (st.st_size != (off_t)PAGES * PAGE)
		wrong("file %u is %lld bytes long", file, (long long)st.st_size);
	for (unsigned i = 0; i < PAGES; i++) {
		if (pread(fd, page, PAGE, (off_t)i * PAGE) != PAGE)
			give_up("%s", name);
		check_page(file, i, page);
	}
	close(fd);
}

/* What a step of the cutter leaves: the size before or after it, and in that what was there before, but for a store that is under way. */
static void check_cut(void)
{
	const struct cut_log *log = &told->cut;
	uint32_t store = atomic_load(&log->store);
	char name[4200];
	struct stat st;
	int fd;

	name_of(name, FILES);
	fd = open(name, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0)
		give_up("%s", name);
	if ((uint64_t)st.st_size != atomic_load(&log->size) && (uint64_t)st.st_size != atomic_load(&log->next_size))
		wrong("the file that is cut is %lld bytes long, and not %llu or %llu", (long long)st.st_size,
		      (unsigned long long)atomic_load(&log->size), (unsigned long long)atomic_load(&log->next_size));
	for (unsigned page = 0; page < CUT_PAGES; page++)
		for (unsigned high = 0; high < 2; high++) {
			off_t at = (off_t)page * PAGE + (high ? SLOT_HIGH : SLOT_LOW);
			uint32_t expected = atomic_load(&log->value[page][high]);
			uint64_t value = 0;

			if (at >= st.st_size || pread(fd, &value, 8, at) != 8 || value == ((uint64_t)expected << 32 | expected))
				continue;
			if (store && atomic_load(&log->page) == page && atomic_load(&log->high) == high &&
			    value == ((uint64_t)store << 32 | store))
				continue;
			wrong("the file that is cut, page %u, %s: %#llx, and not %u (size %lld, %llu, %llu)", page,
			      high ? "high" : "low", (unsigned long long)value, expected, (long long)st.st_size,
			      (unsigned long long)atomic_load(&log->size), (unsigned long long)atomic_load(&log->next_size));
		}
	close(fd);
}

/* ---- one life ---- */

static pid_t start_worker(int log_fd, uint64_t seed, const char *self)
{
	char fd[16], number[32];
	const char *plain[] = {self, "--worker", fd, dir, number, NULL};
	const char *run[] = {options.under, "run", "--", self, "--worker", fd, dir, number, NULL};
	pid_t pid;

	snprintf(fd, sizeof(fd), "%d", log_fd);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)seed);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		give_up("fork");
	if (pid == 0) {
		/* Not to store for ever if this process is killed. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(options.under ? options.under : self, (char *const *)(uintptr_t)(options.under ? run : plain));
		_exit(127);
	}
	return pid;
}

static void sleep_us(uint32_t us)
{
	struct timespec moment = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

	nanosleep(&moment, NULL);
}

/* The keeper, and children of the worker, come to this process when the worker has died. */
static int wait_for_all(pid_t worker)
{
	int status, end = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR)
		if (pid == worker)
			end = status;
	return end;
}

static bool is_expected(int status, unsigned end)
{
	if (end == 255)
		return WIFEXITED(status) && WEXITSTATUS(status) == 0;
	return WIFSIGNALED(status) && WTERMSIG(status) == (end ? (int)end : SIGKILL);
}

static void one_kill(unsigned number, int log_fd, const char *self)
{
	static const unsigned ends[] = {0, 0, 0, 0, 0, SIGSEGV, SIGABRT, 255, SIGKILL, SIGTERM};
	uint64_t state = options.seed * 1000003 + number;
	unsigned end, us;
	pid_t worker;
	int status;

	draw(&state, 3);
	end = ends[draw(&state, sizeof(ends) / sizeof(ends[0]))];
	us = draw(&state, 4) ? draw(&state, 150000) : draw(&state, 3000);
#ifndef PLAIN
	/* Of these the library knows nothing. */
	end = end == SIGTERM ? 0 : end;
#endif
	memset(told, 0, sizeof(*told));
	atomic_store(&told->cut.size, (uint64_t)CUT_PAGES * PAGE);
	atomic_store(&told->cut.next_size, (uint64_t)CUT_PAGES * PAGE);
	atomic_store(&told->end, end);
	atomic_store(&told->end_at_us, us);
	for (unsigned file = 0; file <= FILES; file++)
		make_file(file);
	mistakes = 0;
	worker = start_worker(log_fd, state, self);
	while (!atomic_load(&told->ready) && waitpid(worker, &status, WNOHANG) == 0)
		sleep_us(200);
	if (end == 0) {
		sleep_us(us);
		kill(worker, SIGKILL);
	}
	status = wait_for_all(worker);
	if (!is_expected(status, end)) {
		fprintf(stderr, "the worker ended with status %#x, and not by %u\n", status, end ? end : SIGKILL);
		exit(1);
	}
	for (unsigned file = 0; file < FILES; file++)
		check_file(file);
	check_cut();
	if (mistakes) {
		unsaved_kills++;
		if (!options.lossy)
			fprintf(stderr, "%u mistakes; again: --seed %llu --first %u --kills 1 (end %u after %u us)\n", mistakes,
				(unsigned long long)options.seed, number, end, us);
	}
}

static void parse(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"kills", required_argument, NULL, 'k'}, {"seed", required_argument, NULL, 's'},
	    {"first", required_argument, NULL, 'f'}, {"under", required_argument, NULL, 'u'},
	    {"lossy", no_argument, NULL, 'l'},       {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		switch (option) {
		case 'k':
			options.kills = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			options.first = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'u':
			options.under = optarg;
			break;
		case 'l':
			options.lossy = true;
			break;
		default:
			exit(2);
		}
}

static void remove_files(void)
{
	char name[4200];

	for (unsigned file = 0; file <= FILES; file++) {
		name_of(name, file);
		unlink(name);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	unsigned done;
	int log_fd;

	if (argc == 5 && strcmp(argv[1], "--worker") == 0)
		return worker_main(atoi(argv[2]), argv[3], strtoull(argv[4], NULL, 10));
	parse(argc, argv);
	self[n > 0 ? n : 0] = '\0';
	snprintf(dir, sizeof(dir), "%s/quire-kept-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	if (!mkdtemp(dir))
		give_up("%s", dir);
	log_fd = memfd_create("told", 0);
	if (log_fd < 0 || ftruncate(log_fd, sizeof(*told)) < 0)
		give_up("memory");
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	if (told == MAP_FAILED)
		give_up("memory");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (done = options.first; done < options.first + options.kills && (!unsaved_kills || options.lossy); done++)
		one_kill(done, log_fd, self);
	if (!unsaved_kills || options.lossy)
		remove_files();
	printf("%u kills, after %u of them something was lost or invented\n", done - options.first, unsaved_kills);
	return options.lossy ? unsaved_kills == 0 : unsaved_kills != 0;
}
