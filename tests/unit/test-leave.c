/* SPDX-License-Identifier: MIT */
/*
 * test-leave.c - space/leave.c: what is mapped of a file is left to the kernel, while threads use it
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <quire/quire.h>

#include "coherent.h"
#include "entry.h"

#define BYTES   ((size_t)8 << 20) /* twice the budget */
#define PAGE    4096
#define THREADS 4
#define WORDS   (BYTES / THREADS / sizeof(uint64_t))

static struct sigaction engines[2];

/* The engine's handlers, which cmocka's take the place of at each test. */
static int start_engine(void **state)
{
	void *p = quire_mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	sigaction(SIGBUS, NULL, &engines[0]);
	sigaction(SIGSEGV, NULL, &engines[1]);
	return p == MAP_FAILED ? -1 : quire_munmap(p, PAGE);
}

static int make_file(void)
{
	const char *dir = getenv("TMPDIR");
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/quire-leave-XXXXXX", dir ? dir : "/var/tmp");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)BYTES), 0);
	sigaction(SIGBUS, &engines[0], NULL);
	sigaction(SIGSEGV, &engines[1], NULL);
	return fd;
}

static void *map(int fd, int prot, int flags)
{
	void *p = quire_mmap(NULL, BYTES, prot, flags, fd, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static int leave(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return coherent_leave(&st, fd);
}

static void pause_ms(long ms)
{
	struct timespec moment = {.tv_nsec = ms * 1000000};

	nanosleep(&moment, NULL);
}

struct storer {
	pthread_t thread;
	volatile uint64_t *words;
	uint64_t *model; /* what it has stored */
	unsigned seed;
	size_t few; /* words that it stores to; 0: all */
	uint64_t stores, wrong;
	_Atomic bool *stop;
};

static void *store(void *arg)
{
	struct storer *s = arg;

	while (!atomic_load(s->stop)) {
		size_t n = s->few ? s->few : WORDS, i = (size_t)rand_r(&s->seed) % n, k = (size_t)rand_r(&s->seed) % n;

		s->words[i] = s->model[i] = ++s->stores;
		s->wrong += s->words[k] != s->model[k];
	}
	return NULL;
}

/* Every store is seen by who has made it, and in the file afterwards; the mapping is the kernel's. */
static void stores_beside_it_are_not_lost(void **state)
{
	int fd = make_file();
	uint64_t *words = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *seen = malloc(BYTES);
	struct storer storers[THREADS];
	_Atomic bool stop = false;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		storers[i] = (struct storer){
		    .words = words + i * WORDS, .model = calloc(WORDS, sizeof(uint64_t)), .seed = i + 1, .stop = &stop};
		assert_int_equal(pthread_create(&storers[i].thread, NULL, store, &storers[i]), 0);
	}
	pause_ms(50);
	assert_int_equal(leave(fd), 0);
	assert_false(entry_is_ours(words, BYTES));
	pause_ms(50);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(storers[i].thread, NULL);
	assert_int_equal(pread(fd, seen, BYTES, 0), BYTES);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(storers[i].wrong, 0);
		assert_true(storers[i].stores > 0);
		assert_memory_equal(seen + i * WORDS, storers[i].model, WORDS * sizeof(uint64_t));
		free(storers[i].model);
	}
	/* Nothing comes later from the engine. */
	memset(words, 7, BYTES);
	pause_ms(700);
	assert_int_equal(pread(fd, seen, BYTES, 0), BYTES);
	assert_memory_equal(seen, words, BYTES);
	free(seen);
	munmap(words, BYTES);
	close(fd);
}

/* Of a page that is refused again and again the same thread is let on each time. */
static void stores_are_held_off_many_times(void **state)
{
	int fd = make_file();
	uint64_t *words = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *seen = malloc(BYTES);
	struct storer storers[THREADS];
	_Atomic bool stop = false;

	(void)state;
	/* Few words: so that the same is touched in every round. */
	for (unsigned i = 0; i < THREADS; i++) {
		storers[i] = (struct storer){
		    .words = words + i * WORDS, .model = calloc(WORDS, sizeof(uint64_t)), .few = 3, .seed = i + 1, .stop = &stop};
		assert_int_equal(pthread_create(&storers[i].thread, NULL, store, &storers[i]), 0);
	}
	for (unsigned round = 0; round < 300; round++) {
		struct object *object = coherent_still(fd);
		uint64_t word[2];

		assert_non_null(object);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(pread(fd, &word[k], sizeof(word[k]), 0), sizeof(word[k]));
		assert_int_equal(word[0], word[1]);
		coherent_go_on(object);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(storers[i].thread, NULL);
		assert_int_equal(storers[i].wrong, 0);
	}
	assert_int_equal(quire_msync(words, BYTES, MS_SYNC), 0);
	assert_int_equal(pread(fd, seen, BYTES, 0), BYTES);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_memory_equal(seen + i * WORDS, storers[i].model, WORDS * sizeof(uint64_t));
		free(storers[i].model);
	}
	free(seen);
	assert_int_equal(quire_munmap(words, BYTES), 0);
	close(fd);
}

static void several_mappings_are_left_with_their_protection(void **state)
{
	int fd = make_file();
	char *all = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *loads = map(fd, PROT_READ, MAP_SHARED);
	char *part = quire_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 5 * PAGE);

	(void)state;
	assert_true(part != MAP_FAILED);
	assert_int_equal(quire_mprotect(all + PAGE, PAGE, PROT_READ), 0);
	part[1] = 'a';
	all[0] = 'b';
	assert_int_equal(leave(fd), 0);
	assert_int_equal(loads[5 * PAGE + 1], 'a');
	assert_int_equal(loads[0], 'b');
	assert_int_equal(pwrite(fd, "c", 1, 7 * PAGE), 1);
	assert_int_equal(all[7 * PAGE], 'c');
	/* The kernel refuses what was refused. */
	assert_true(pread(fd, all + PAGE, 1, 0) < 0);
	assert_int_equal(errno, EFAULT);
	assert_true(pread(fd, loads, 1, 0) < 0);
	munmap(all, BYTES);
	munmap(loads, BYTES);
	munmap(part, PAGE);
	close(fd);
}

static void what_others_have_is_not_left(void **state)
{
	int fd = make_file(), status, pipes[2];
	char *all = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *copy = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE), byte;
	pid_t pid;

	(void)state;
	all[0] = 'a';
	assert_int_equal(leave(fd), -EBUSY);
	assert_true(entry_is_ours(all, BYTES));
	all[1] = 'b';
	assert_int_equal(quire_munmap(copy, BYTES), 0);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) == 0 && all[2] == 'c' ? 0 : 1);
	}
	assert_int_equal(leave(fd), -EBUSY);
	all[2] = 'c';
	close(pipes[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* When the engine has come to its end. */
	for (unsigned i = 0; i < 500 && leave(fd) < 0; i++)
		pause_ms(10);
	assert_false(entry_is_ours(all, BYTES));
	assert_memory_equal(all, "abc", 3);
	munmap(all, BYTES);
	close(pipes[0]);
	close(fd);
}

static void a_file_that_is_not_mapped_is_left_already(void **state)
{
	int fd = make_file();

	(void)state;
	assert_int_equal(leave(fd), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stores_beside_it_are_not_lost),
	    cmocka_unit_test(stores_are_held_off_many_times),
	    cmocka_unit_test(several_mappings_are_left_with_their_protection),
	    cmocka_unit_test(what_others_have_is_not_left),
	    cmocka_unit_test(a_file_that_is_not_mapped_is_left_already),
	};

	return cmocka_run_group_tests_name("leave", tests, start_engine, NULL);
}
