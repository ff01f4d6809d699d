/* SPDX-License-Identifier: MIT */
/*
 * worker.c - a program that stores at random, through many mappings and from many threads, until it is killed
 *
 *      writers 0, 1   stores all over three files, six times as much as the budget, through one mapping of each
 *      writer 2       the same through mappings that come and go: windows, cut in pieces, made writable late, moved, replaced
 *      writer 3       children of forks, one after another
 *      writer 4       the second mapping of each file, in runs of neighbours, so that pages go in and out in order
 *      writer 5       write(2), under `quire run`; stores where there is none
 *      cutter         a file of its own, cut and lengthened
 *      syncer         msync and advice that empties
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kept.h"

#ifndef PLAIN
#include <quire/quire.h>
#define mmap      quire_mmap
#define munmap    quire_munmap
#define mremap    quire_mremap
#define mprotect  quire_mprotect
#define msync     quire_msync
#define madvise   quire_madvise
#define ftruncate quire_ftruncate
#endif

#define BYTES ((size_t)PAGES * PAGE)

static struct log *shared_log;
static int fds[FILES], cut_fd;
static char *maps[FILES], *second[FILES], *cut_map;
static uint64_t seed_of_all;

#define MUST(condition)                                                                                                            \
	do {                                                                                                                       \
		if (!(condition)) {                                                                                                \
			fprintf(stderr, "worker: %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno));              \
			_exit(3);                                                                                                  \
		}                                                                                                                  \
	} while (0)

static uint32_t draw(uint64_t *state, uint32_t n)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*state >> 33) % n);
}

/* Values rise, so that an old one is known for what it is. */
static void store(char *page, unsigned file, unsigned number, unsigned writer)
{
	struct slot *slot = &shared_log->slot[file][number][writer];
	uint32_t value = atomic_load(&slot->done) + 1;

	atomic_store(&slot->intent, value);
	*(volatile uint64_t *)(page + SLOT(writer)) = (uint64_t)value << 32 | value;
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store(&slot->done, value);
}

static void *scattered(void *arg)
{
	unsigned writer = (unsigned)(uintptr_t)arg;
	uint64_t state = seed_of_all + writer * 977;

	for (;;) {
		unsigned file = draw(&state, FILES), page = draw(&state, PAGES);

		store(maps[file] + (size_t)page * PAGE, file, page, writer);
		/* Some are hot. */
		for (unsigned i = draw(&state, 4); i > 0; i--)
			store(maps[file] + (size_t)(page % 64) * PAGE, file, page % 64, writer);
	}
	return NULL;
}

static void *in_runs(void *arg)
{
	uint64_t state = seed_of_all + 4 * 977;

	(void)arg;
	for (;;) {
		unsigned file = draw(&state, FILES), page = draw(&state, PAGES), n = draw(&state, 300);

		for (; n > 0 && page < PAGES; n--, page++)
			store(second[file] + (size_t)page * PAGE, file, page, 4);
	}
	return NULL;
}

/* One life of a window. */
static void live_in_window(uint64_t *state)
{
	unsigned file = draw(state, FILES), first = draw(state, PAGES - 64), n = 8 + draw(state, 56), cut = 1 + draw(state, 6);
	bool late = draw(state, 2), moves = draw(state, 2);
	char *at =
	    mmap(NULL, (size_t)n * PAGE, late ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fds[file], (off_t)first * PAGE);

	MUST(at != MAP_FAILED);
	if (late) {
		for (unsigned i = 0; i < n; i++)
			(void)*(volatile char *)(at + (size_t)i * PAGE);
		MUST(mprotect(at, (size_t)n * PAGE, PROT_READ | PROT_WRITE) == 0);
	}
	for (unsigned i = 0; i < n; i++)
		store(at + (size_t)i * PAGE, file, first + i, 2);
	/* In two. */
	MUST(mprotect(at + (size_t)cut * PAGE, PAGE, PROT_READ) == 0);
	store(at, file, first, 2);
	MUST(munmap(at + (size_t)cut * PAGE, PAGE) == 0);
	store(at + (size_t)(n - 1) * PAGE, file, first + n - 1, 2);
	if (moves) {
		char *moved = mremap(at, (size_t)cut * PAGE, (size_t)cut * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     mmap(NULL, (size_t)cut * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

		MUST(moved != MAP_FAILED);
		store(moved, file, first, 2);
		MUST(munmap(moved, (size_t)cut * PAGE) == 0);
	} else {
		MUST(mmap(at, (size_t)cut * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fds[file],
			  (off_t)(first + 1) * PAGE) == at);
		store(at, file, first + 1, 2);
		MUST(munmap(at, (size_t)cut * PAGE) == 0);
	}
	MUST(munmap(at + (size_t)(cut + 1) * PAGE, (size_t)(n - cut - 1) * PAGE) == 0);
}

static void *in_windows(void *arg)
{
	uint64_t state = seed_of_all + 2 * 977;

	(void)arg;
	for (;;)
		live_in_window(&state);
	return NULL;
}

/* A store counts if the parent was alive after it: getppid tells. What is stored later may be kept or not. */
static void be_child(pid_t parent, uint64_t state)
{
	for (unsigned n = 20 + draw(&state, 200); n > 0; n--) {
		unsigned file = draw(&state, FILES), page = draw(&state, PAGES);
		struct slot *slot = &shared_log->slot[file][page][3];
		uint32_t value = atomic_load(&slot->done) + 1;

		atomic_store(&slot->intent, value);
		*(volatile uint64_t *)(maps[file] + (size_t)page * PAGE + SLOT(3)) = (uint64_t)value << 32 | value;
		if (getppid() != parent)
			_exit(0);
		atomic_store(&slot->done, value);
		atomic_fetch_add(&shared_log->children, 1);
	}
	_exit(0);
}

static void *by_children(void *arg)
{
	uint64_t state = seed_of_all + 3 * 977;

	(void)arg;
	for (;;) {
		pid_t parent = getpid(), pid = fork();

		MUST(pid >= 0);
		if (pid == 0)
			be_child(parent, state);
		MUST(waitpid(pid, NULL, 0) == pid);
		draw(&state, 7);
	}
	return NULL;
}

static void *by_write(void *arg)
{
	uint64_t state = seed_of_all + 5 * 977;

	(void)arg;
	for (;;) {
		unsigned file = draw(&state, FILES), page = draw(&state, PAGES);
#ifdef PLAIN
		struct slot *slot = &shared_log->slot[file][page][5];
		uint32_t value = atomic_load(&slot->done) + 1;
		uint64_t both = (uint64_t)value << 32 | value;

		atomic_store(&slot->intent, value);
		MUST(pwrite(fds[file], &both, 8, (off_t)page * PAGE + SLOT(5)) == 8);
		atomic_store(&slot->done, value);
#else
		store(maps[file] + (size_t)page * PAGE, file, page, 5);
#endif
	}
	return NULL;
}

static void cut_store(struct cut_log *log, unsigned page, unsigned high, uint32_t value)
{
	atomic_store(&log->page, page);
	atomic_store(&log->high, high);
	atomic_store(&log->store, value);
	*(volatile uint64_t *)(cut_map + (size_t)page * PAGE + (high ? SLOT_HIGH : SLOT_LOW)) = (uint64_t)value << 32 | value;
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store(&log->value[page][high], value);
	atomic_store(&log->store, 0);
}

static void cut_size(struct cut_log *log, uint64_t size)
{
	atomic_store(&log->next_size, size);
	MUST(ftruncate(cut_fd, (off_t)size) == 0);
	for (unsigned page = (unsigned)(size / PAGE); page < CUT_PAGES; page++)
		for (unsigned high = 0; high < 2; high++)
			if ((uint64_t)page * PAGE + (high ? SLOT_HIGH : SLOT_LOW) >= size)
				atomic_store(&log->value[page][high], 0);
	atomic_store(&log->size, size);
}

static void *cutter(void *arg)
{
	struct cut_log *log = &shared_log->cut;
	uint64_t state = seed_of_all + 6 * 977;
	uint32_t value = 0;

	(void)arg;
	for (;;) {
		uint64_t size = atomic_load(&log->size);
		unsigned pages = (unsigned)(size / PAGE);

		for (unsigned i = draw(&state, 40); i > 0 && pages > 0; i--)
			cut_store(log, draw(&state, pages), draw(&state, 2), ++value);
		/* In the last page, past the end: it never is in the file. */
		if (size % PAGE)
			*(volatile uint64_t *)(cut_map + (size_t)pages * PAGE + SLOT_HIGH) = ~(uint64_t)0;
		pages = draw(&state, CUT_PAGES - 1);
		cut_size(log, (uint64_t)pages * PAGE + (draw(&state, 2) ? CUT_INSIDE : 0));
	}
	return NULL;
}

static void *syncer(void *arg)
{
	uint64_t state = seed_of_all + 7 * 977;

	(void)arg;
	for (;;) {
		unsigned file = draw(&state, FILES), first = draw(&state, PAGES - 256);
		struct timespec moment = {.tv_nsec = (long)draw(&state, 3000) * 1000};

		switch (draw(&state, 4)) {
		case 0:
			MUST(msync(maps[file], BYTES, MS_ASYNC) == 0);
			break;
		case 1:
			MUST(msync(maps[file] + (size_t)first * PAGE, (size_t)64 * PAGE, MS_SYNC) == 0);
			break;
		case 2:
			(void)madvise(maps[file] + (size_t)first * PAGE, (size_t)256 * PAGE, MADV_PAGEOUT);
			break;
		default:
			break;
		}
		nanosleep(&moment, NULL);
	}
	return NULL;
}

/* ---- the end ---- */

static void end_by_itself(unsigned how)
{
	volatile char *volatile nowhere = NULL;

	if (how == 255)
		_exit(0);
	if (how == SIGSEGV)
		*nowhere = 1;
	if (how == SIGABRT)
		abort();
	raise((int)how);
	_exit(4);
}

static void open_all(const char *dir)
{
	char name[4096];

	for (unsigned file = 0; file < FILES; file++) {
		snprintf(name, sizeof(name), "%s/file%u", dir, file);
		fds[file] = open(name, O_RDWR);
		MUST(fds[file] >= 0);
		maps[file] = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[file], 0);
		second[file] = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[file], 0);
		MUST(maps[file] != MAP_FAILED && second[file] != MAP_FAILED);
	}
	snprintf(name, sizeof(name), "%s/cut", dir);
	cut_fd = open(name, O_RDWR);
	MUST(cut_fd >= 0);
	cut_map = mmap(NULL, (size_t)CUT_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cut_fd, 0);
	MUST(cut_map != MAP_FAILED);
}

#undef mmap

int worker_main(int log_fd, const char *dir, uint64_t seed)
{
	static void *(*const mains[])(void *) = {scattered, scattered, in_windows, by_children, in_runs, by_write, cutter, syncer};
	const size_t n = sizeof(mains) / sizeof(mains[0]);
	struct timespec moment;
	pthread_t thread;

	shared_log = mmap(NULL, sizeof(*shared_log), PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	MUST(shared_log != MAP_FAILED);
	seed_of_all = seed;
	open_all(dir);
	for (size_t i = 0; i < n; i++)
		MUST(pthread_create(&thread, NULL, mains[i], (void *)i) == 0);
	atomic_store(&shared_log->ready, 1);
	moment.tv_sec = atomic_load(&shared_log->end) ? 0 : 3600;
	moment.tv_nsec = (long)atomic_load(&shared_log->end_at_us) * 1000;
	nanosleep(&moment, NULL);
	end_by_itself(atomic_load(&shared_log->end));
	return 4;
}
