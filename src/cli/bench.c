/* SPDX-License-Identifier: MIT */
/*
 * bench.c - quire bench: how fast would mapped access be on this machine and this file, against the best asynchronous I/O?
 *
 * Every line of the table is measured in three turns, and the lines take turns with each other, so that what else happens on the machine
 * happens to all. A turn is a process of its own (readers.c) which begins with nothing in memory; this one never calls the library.
 * The file is opened for reading only.
 */
#include "bench.h"
#include "cgroup.h"
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAST_MEMORY ((uint64_t)4 << 20)
#define MIB          ((uint64_t)1 << 20)
/* What Quire takes beside its budget, tables and buffers and stacks: as much more is the kernel's mapping given. */
#define BESIDE (16 * MIB)

enum { MEMORY, THREADS, SECONDS, JSON };

static struct verb_option options[] = {
    [MEMORY] = {.name = "--memory", .takes_value = true},
    [THREADS] = {.name = "--threads", .takes_value = true},
    [SECONDS] = {.name = "--seconds", .takes_value = true},
    [JSON] = {.name = "--json"},
    {0},
};

__attribute__((format(printf, 2, 3))) static void add_note(struct bench_job *job, const char *format, ...)
{
	va_list args;

	if (job->notes == BENCH_NOTES)
		return;
	va_start(args, format);
	vsnprintf(job->note[job->notes], sizeof(job->note[0]), format, args);
	va_end(args);
	job->notes++;
}

/* ---- what is asked for ---- */

/* A number of bytes as QUIRE_MEMORY has it. => false: it is none */
static bool parse_bytes(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	char *end;
	const char *unit;
	unsigned shift = 0;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end && (unit = strchr(units, *end))) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (errno || end == text || *end || *text == '-' || value > (UINT64_MAX >> shift))
		return false;
	*ret = (uint64_t)value << shift;
	return true;
}

static int parse_options(struct bench_job *job)
{
	const char *memory = options[MEMORY].value ? options[MEMORY].value : getenv("QUIRE_MEMORY");
	const char *threads_text = options[THREADS].value, *seconds_text = options[SECONDS].value;
	char *end;

	if (memory && *memory && (!parse_bytes(memory, &job->memory) || job->memory < LEAST_MEMORY))
		return cli_usage(&bench_verb, "%s '%s': it is a number of bytes of 4M at least, like 256M or 2G",
				 options[MEMORY].value ? "--memory" : "QUIRE_MEMORY", memory);
	job->threads = 8;
	if (threads_text) {
		long threads = strtol(threads_text, &end, 10);

		if (end == threads_text || *end || threads < 1 || threads > READER_THREADS)
			return cli_usage(&bench_verb, "--threads '%s': it is a number from 1 to %d", threads_text, READER_THREADS);
		job->threads = (unsigned)threads;
	}
	job->seconds = 6;
	if (seconds_text) {
		job->seconds = strtod(seconds_text, &end);
		if (end == seconds_text || *end || !(job->seconds >= 0.1 && job->seconds <= 3600))
			return cli_usage(&bench_verb, "--seconds '%s': it is a number from 0.1 to 3600", seconds_text);
	}
	return CLI_OK;
}

/* ---- the file, and what can be done with it ---- */

static int open_file(struct bench_job *job)
{
	struct stat st;
	off_t size;

	/* Without waiting for the other end of a pipe. */
	job->fd = open(job->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (job->fd < 0 || fstat(job->fd, &st) != 0)
		return cli_error(&bench_verb, "%s: %s", job->name, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return cli_error(&bench_verb, "%s: it is neither a regular file nor a block device; name one of these", job->name);
	size = S_ISREG(st.st_mode) ? st.st_size : lseek(job->fd, 0, SEEK_END);
	if (size <= 0)
		return cli_error(&bench_verb,
				 "%s: it is empty, so there is nothing to read; name a file with data in it, at best several times "
				 "as large as the memory it may take",
				 job->name);
	job->size = (uint64_t)size;
	return CLI_OK;
}

/* Opens the file past the page cache, and tries a read: some filesystems take the flag and refuse the reads. */
static void open_direct(struct bench_job *job)
{
	void *buf;
	ssize_t n;

	job->direct_fd = open(job->name, O_RDONLY | O_DIRECT | O_NONBLOCK | O_CLOEXEC);
	if (job->direct_fd >= 0 && posix_memalign(&buf, 4096, READER_BYTES) == 0) {
		n = pread(job->direct_fd, buf, READER_BYTES, 0);
		free(buf);
		job->direct = n > 0;
	}
	if (job->direct)
		return;
	add_note(job,
		 "NO O_DIRECT: %s; the lines of io_uring go through the kernel's page cache, so they measure copying from memory "
		 "where the "
		 "page is there, not the device. Put the file on a filesystem that has it (ext4, XFS, btrfs) to measure that.",
		 job->direct_fd < 0 ? "this filesystem refuses it" : "this filesystem refuses reads of 4 KiB with it");
	if (job->direct_fd >= 0)
		close(job->direct_fd);
	job->direct_fd = job->fd;
}

static void try_uring(struct bench_job *job)
{
	struct io_uring uring;
	int r = io_uring_queue_init(128, &uring, 0);

	job->uring = r >= 0;
	if (job->uring)
		io_uring_queue_exit(&uring);
	else
		add_note(job,
			 "NO io_uring here (%s; see kernel.io_uring_disabled, and seccomp): depth 1 is pread, one after the other, "
			 "and greater "
			 "depths are not measured.",
			 strerror(-r));
}

static void try_cgroup(struct bench_job *job)
{
	if (cgroup_usable()) {
		job->kernel_limit = job->memory + BESIDE;
	} else {
		add_note(job, "THE KERNEL IS NOT LIMITED in its memory: no memory cgroup can be made here (it takes root), so its "
			      "mapping may keep "
			      "all the pages that it reads.");
	}
}

/* Lets the kernel forget the file, and says what it would not forget. */
static void drop_cache(struct bench_job *job, bool say)
{
	uint64_t pages = (job->size + 4095) / 4096, kept = 0;
	unsigned char *vec = say ? malloc(pages) : NULL;
	void *p;

	posix_fadvise(job->fd, 0, 0, POSIX_FADV_DONTNEED);
	p = vec ? mmap(NULL, job->size, PROT_READ, MAP_SHARED, job->fd, 0) : MAP_FAILED;
	if (p != MAP_FAILED) {
		if (mincore(p, job->size, vec) == 0)
			for (uint64_t i = 0; i < pages; i++)
				kept += vec[i] & 1;
		munmap(p, job->size);
	}
	free(vec);
	if (kept > pages / 100)
		add_note(job,
			 "NOT COLD: %.0f %% of the file stay in the kernel's page cache, because another program has them mapped, "
			 "or they are not "
			 "written yet, or the filesystem lives in memory; what reads them there is faster than the device.",
			 100.0 * (double)kept / (double)pages);
}

/* ---- the lines ---- */

__attribute__((format(printf, 6, 7))) static void add_line(struct bench_job *job, enum reader_side side, bool scan,
							   unsigned threads, unsigned depth, const char *format, ...)
{
	struct bench_line *line = &job->line[job->lines++];
	va_list args;

	*line = (struct bench_line){.side = side, .scan = scan, .threads = threads, .depth = depth};
	va_start(args, format);
	vsnprintf(line->what, sizeof(line->what), format, args);
	va_end(args);
}

static void choose_lines(struct bench_job *job)
{
	static const unsigned depths[] = {1, 8, 32, 128};
	static const enum reader_side mapped[] = {READER_QUIRE, READER_KERNEL};

	for (unsigned i = 0; i < 2; i++) {
		const char *name = mapped[i] == READER_QUIRE ? "mapped by Quire" : "mapped by the kernel";

		add_line(job, mapped[i], false, 1, 0, "%s, 1 thread", name);
		if (job->threads > 1)
			add_line(job, mapped[i], false, job->threads, 0, "%s, %u threads", name, job->threads);
		if (mapped[i] == READER_QUIRE)
			add_line(job, READER_PREFETCH, false, 1, 0, "quire_prefetch, lists of %d, 1 thread", READER_LIST);
	}
	for (unsigned i = 0; i < (job->uring ? 4 : 1); i++)
		add_line(job, READER_URING, false, 1, depths[i], "%s, %u in flight", job->uring ? "io_uring" : "pread", depths[i]);
	add_line(job, READER_QUIRE, true, 1, 0, "mapped by Quire, MADV_SEQUENTIAL");
	add_line(job, READER_KERNEL, true, 1, 0, "mapped by the kernel, MADV_SEQUENTIAL");
	add_line(job, READER_URING, true, 1, 8, job->uring ? "io_uring, 8 of 1 MiB in flight" : "pread of 1 MiB");
}

/* ---- turns ---- */

/* In the process of a turn. */
__attribute__((noreturn)) static void turn_run(const struct bench_job *job, const struct bench_line *line, unsigned number,
					       const struct cgroup *group, struct reader_turn *turn)
{
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (group->dir && (r = cgroup_enter(group)) < 0) {
		snprintf(turn->error, sizeof(turn->error), "its process cannot be moved into a memory cgroup: %s", strerror(-r));
		_exit(1);
	}
	reader_run(job, line, number, job->seconds / BENCH_TURNS, turn);
	_exit(0);
}

static void explain(const struct bench_job *job, struct bench_line *line, const struct reader_turn *turn, int status)
{
	if (turn->error[0])
		snprintf(line->error, sizeof(line->error), "%s", turn->error);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		snprintf(line->error, sizeof(line->error),
			 "a page of %s could not be read: an I/O error, or the file became shorter", job->name);
	else if (WIFSIGNALED(status))
		snprintf(line->error, sizeof(line->error), "its process was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(line->error, sizeof(line->error), "its process ended with status %d", WEXITSTATUS(status));
}

static void keep(struct bench_job *job, struct bench_line *line, const struct reader_turn *turn)
{
	if (job->contents == 0)
		job->contents = turn->contents;
	if (turn->contents != job->contents) {
		snprintf(line->error, sizeof(line->error), "it read other bytes than the lines before: is %s being written to?",
			 job->name);
		return;
	}
	line->bytes_per_s[line->turns++] = (double)turn->bytes / turn->seconds;
	for (unsigned i = 0; i < line->threads; i++)
		histogram_add(&line->times, &turn->times[i]);
}

/* The group that holds the kernel's mapping, where there is one. => 0 or -errno */
static int make_group(const struct bench_job *job, const struct bench_line *line, struct cgroup *ret)
{
	int r;

	*ret = (struct cgroup){0};
	if (line->side != READER_KERNEL || job->kernel_limit == 0)
		return 0;
	r = cgroup_make(ret);
	if (r == 0)
		r = cgroup_limit(ret, job->kernel_limit);
	if (r < 0)
		cgroup_remove(ret);
	return r;
}

static void take_turn(struct bench_job *job, struct bench_line *line, unsigned number, struct reader_turn *turn)
{
	struct cgroup group;
	int status = 0, r = make_group(job, line, &group);
	pid_t child;

	if (r < 0) {
		snprintf(line->error, sizeof(line->error), "a memory cgroup cannot be limited to %llu bytes: %s",
			 (unsigned long long)job->kernel_limit, strerror(-r));
		return;
	}
	memset(turn, 0, sizeof(*turn));
	drop_cache(job, false);
	fflush(NULL);
	child = fork();
	if (child == 0)
		turn_run(job, line, number, &group, turn);
	if (child < 0)
		snprintf(line->error, sizeof(line->error), "no process for it: %s", strerror(errno));
	while (child > 0 && waitpid(child, &status, 0) != child)
		;
	cgroup_remove(&group);
	if (child > 0 && !turn->done)
		explain(job, line, turn, status);
	else if (child > 0)
		keep(job, line, turn);
}

static int take_turns(struct bench_job *job)
{
	struct reader_turn *turn = mmap(NULL, sizeof(*turn), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (turn == MAP_FAILED)
		return cli_error(&bench_verb, "no memory: %s", strerror(errno));
	for (unsigned n = 0; n < BENCH_TURNS * job->lines; n++) {
		/* Each round begins with another line. */
		struct bench_line *line = &job->line[(n + n / job->lines) % job->lines];

		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[K%u of %u: %s ...", n + 1, BENCH_TURNS * job->lines, line->what);
		if (!line->error[0])
			take_turn(job, line, n, turn);
	}
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	munmap(turn, sizeof(*turn));
	return CLI_OK;
}

/* ---- the verb ---- */

static int measure(struct bench_job *job)
{
	int status = open_file(job);

	if (status != CLI_OK)
		return status;
	if (job->memory == 0)
		job->memory = job->size / 4 / MIB * MIB;
	if (job->memory < LEAST_MEMORY)
		job->memory = LEAST_MEMORY;
	open_direct(job);
	try_uring(job);
	try_cgroup(job);
	drop_cache(job, true);
	if (job->size < 4 * job->memory)
		add_note(job, "The file is less than four times as large as the memory; no page is read twice in a turn, so it is "
			      "the reading "
			      "that is measured, and not what it is to have no room.");
	choose_lines(job);
	status = take_turns(job);
	if (status != CLI_OK)
		return status;
	if (options[JSON].value)
		findings_json(job, stdout);
	else
		findings_print(job);
	for (unsigned i = 0; i < job->lines; i++)
		if (job->line[i].error[0])
			status = cli_error(&bench_verb, "%s: not measured: %s", job->line[i].what, job->line[i].error);
	return status;
}

static int bench_run(int n, char **args)
{
	static struct bench_job job;
	int status;

	if (n != 1)
		return n == 0 ? cli_usage(&bench_verb, "needs a file") : cli_usage(&bench_verb, "takes one file, %d were given", n);
	job.name = args[0];
	job.fd = job.direct_fd = -1;
	status = parse_options(&job);
	if (status == CLI_OK)
		status = measure(&job);
	if (job.direct_fd >= 0 && job.direct_fd != job.fd)
		close(job.direct_fd);
	if (job.fd >= 0)
		close(job.fd);
	return status;
}

const struct verb bench_verb = {
    .name = "bench",
    .arguments = "[OPTION...] FILE",
    .summary = "how fast mapped access to a file is here",
    .text = "Reads FILE in several ways, in turns, and prints how fast each was: pages of 4 KiB at random and the file in order, "
	    "mapped by\n"
	    "Quire, mapped by the kernel, and by io_uring past the kernel's page cache. FILE is a regular file or a block device; "
	    "it is opened\n"
	    "for reading only. What the kernel has of it in its page cache is dropped.\n\n"
	    "  --memory BYTES  how much a mapping may keep of it, like 256M (default: QUIRE_MEMORY, or a quarter of the file)\n"
	    "  --threads N     how many threads read a mapping at random, beside one alone (default: 8)\n"
	    "  --seconds S     how long each line of the table is measured (default: 6)\n"
	    "  --json          the answer as JSON\n",
    .options = options,
    .run = bench_run,
};
