/* SPDX-License-Identifier: MIT */
/*
 * recovery.c - mapping an atomic file again after a program was killed, with a journal full of what is not in the file yet
 *
 * One process commits and is killed; another maps the file. Each is a child of its own, since an engine ends with its process. The limit is
 * reading the journal from its beginning to its end.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char file_name[] = "recovery.bin", journal_name[] = "recovery.bin-quire";

struct recovery {
	const struct bench *b;
	int fd;
	uint64_t size;   /* of the file; all of it is committed */
	double *seconds; /* that the last recovery has taken; shared with the children */
};

static uint64_t word_of(unsigned run, uint64_t page)
{
	return bench_word(page, 1 + run);
}

static volatile uint64_t *map_file(const struct recovery *r)
{
	return bench_map(r->b, &bench_quire, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | QUIRE_MAP_ATOMIC, r->fd);
}

/* Commits every page, and ends without a chance to copy any into the file. */
static void commit_and_die(const struct recovery *r, unsigned run)
{
	volatile uint64_t *p;

	bench_engine(r->b, 2 * r->size);
	p = map_file(r);
	for (uint64_t page = 0; page < r->size / BENCH_PAGE; page++)
		p[page * BENCH_WORDS] = word_of(run, page);
	bench_sync(r->b, &bench_quire, (void *)p, r->size);
	raise(SIGKILL);
}

static void recover(const struct recovery *r, unsigned run)
{
	volatile uint64_t *p;
	double start;
	void *other;

	bench_engine(r->b, 2 * r->size);
	/* The engine starts with the first mapping of all. */
	other = bench_map(r->b, &bench_quire, BENCH_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	start = bench_now();
	p = map_file(r);
	*r->seconds = bench_now() - start;
	for (uint64_t page = 0; page < r->size / BENCH_PAGE; page++)
		bench_expect(r->b, "Quire", p[page * BENCH_WORDS], word_of(run, page));
	bench_unmap(r->b, &bench_quire, (void *)p, r->size);
	bench_unmap(r->b, &bench_quire, other, BENCH_PAGE);
}

/* Runs step in a child, which has to end by that signal; 0: by itself, well. */
static void in_child(const struct recovery *r, unsigned run, void (*step)(const struct recovery *r, unsigned run), int signal)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		step(r, run);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		bench_stop(r->b, "no process: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		_exit(WEXITSTATUS(status)); /* it has said why */
	if ((WIFSIGNALED(status) ? WTERMSIG(status) : 0) != signal)
		bench_stop(r->b, "a child ended with status %x", status);
}

/* GB/s of reading the journal as it lies there, and its size. */
static double read_journal(const struct recovery *r, uint64_t *ret_bytes)
{
	char *path = bench_path(r->b, journal_name);
	int fd = open(path, O_RDONLY | O_CLOEXEC), direct;
	struct stat st;
	uint64_t sum;
	double speed;
	bool uring;

	if (fd < 0 || fstat(fd, &st) != 0)
		bench_stop(r->b, "%s: %s", path, strerror(errno));
	*ret_bytes = (uint64_t)st.st_size;
	direct = bench_direct(r->b, fd, O_RDONLY);
	speed = bench_read_speed(r->b, direct, *ret_bytes / MIB * MIB, &sum, &uring);
	close(direct);
	close(fd);
	free(path);
	return speed;
}

void bench_recovery(const struct bench *b)
{
	struct recovery r = {.b = b, .size = bench_size(b, 64 * MIB, 4 * MIB)};
	struct bench_row *row = bench_row(b, "recovery, bytes of the journal", "GB/s", true);
	uint64_t bytes = 0;

	bench_goal(row, BENCH_INFORM, 0, true);
	r.seconds = mmap(NULL, sizeof(*r.seconds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.seconds == MAP_FAILED)
		bench_stop(b, "no memory: %s", strerror(errno));
	r.fd = bench_named(b, file_name, r.size);
	for (unsigned run = 0; run < b->runs; run++) {
		in_child(&r, run, commit_and_die, SIGKILL);
		bench_sample(&row->limit, read_journal(&r, &bytes));
		in_child(&r, run, recover, 0);
		bench_sample(&row->quire, (double)bytes / *r.seconds / 1e9);
	}
	bench_note(row, "%" PRIu64 " MiB of journal; limit: reading it with O_DIRECT", bytes / MIB);
	close(r.fd);
	bench_remove(b, file_name);
}
