/* SPDX-License-Identifier: MIT */
/*
 * test-malloc.c - a program whose malloc has fork handlers of its own, as jemalloc and tcmalloc have
 *
 * Such a malloc takes its lock before a fork and gives it back after it, in the child too. Handlers run in the reverse order of their
 * registration before a fork, and in the order after it: so the engine's, which allocate and start threads, have to come outside of
 * it, whoever of both was there first. A test that hangs has failed.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <quire/quire.h>

/* ---- a malloc: one lock, blocks of powers of two, lists of free ones ---- */

#define POOL_BYTES ((size_t)1 << 30)
#define HEADER     16
#define CLASSES    31

struct block {
	size_t class;
	struct block *next;
};

_Static_assert(sizeof(struct block) == HEADER, "what follows is aligned");

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *pool_free[CLASSES];
static char *pool, *pool_end;
static size_t pool_calls;

static void before_fork(void)
{
	pthread_mutex_lock(&pool_lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&pool_lock);
}

/* As such libraries do it: when the program starts. */
__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

static size_t class_of(size_t bytes)
{
	size_t class = 5;

	while (((size_t)1 << class) < bytes)
		class ++;
	return class;
}

static struct block *take(size_t class)
{
	struct block *block = pool_free[class];

	if (block) {
		pool_free[class] = block->next;
		return block;
	}
	if (!pool) {
		void *p = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (p == MAP_FAILED)
			return NULL;
		pool = p;
		pool_end = pool + POOL_BYTES;
	}
	if ((size_t)(pool_end - pool) < (size_t)1 << class)
		return NULL;
	block = (struct block *)pool;
	pool += (size_t)1 << class;
	return block;
}

/* Not inlined: the compiler knows better than to look before a block of malloc's. */
#if defined(__clang__)
#define KEPT_APART __attribute__((noinline))
#else
#define KEPT_APART __attribute__((noipa))
#endif

KEPT_APART void *malloc(size_t size)
{
	size_t class = class_of(size + HEADER);
	struct block *block;

	if (size > POOL_BYTES)
		return NULL;
	pthread_mutex_lock(&pool_lock);
	pool_calls++;
	block = take(class);
	pthread_mutex_unlock(&pool_lock);
	if (!block)
		return NULL;
	block->class = class;
	return (char *)block + HEADER;
}

KEPT_APART void free(void *p)
{
	struct block *block = p ? (struct block *)((char *)p - HEADER) : NULL;

	if (!block)
		return;
	pthread_mutex_lock(&pool_lock);
	/* Where it was aligned by more than 16 the block begins before; what lies between is never used again. */
	block->next = pool_free[block->class];
	pool_free[block->class] = block;
	pthread_mutex_unlock(&pool_lock);
}

void *calloc(size_t n, size_t size)
{
	void *p = size && n > SIZE_MAX / size ? NULL : malloc(n * size);

	return p ? memset(p, 0, n * size) : NULL;
}

void *realloc(void *p, size_t size)
{
	void *q = malloc(size);
	size_t old = p ? ((size_t)1 << ((struct block *)((char *)p - HEADER))->class) - HEADER : 0;

	if (q && p) {
		memcpy(q, p, old < size ? old : size);
		free(p);
	}
	return q;
}

/* A block of its own class, so that free finds it; it is not used again as a larger one. */
static void *aligned(size_t alignment, size_t size)
{
	char *p = malloc(size + alignment + HEADER), *at;

	if (!p)
		return NULL;
	at = (char *)(((uintptr_t)p + HEADER + alignment - 1) & ~(uintptr_t)(alignment - 1));
	((struct block *)(at - HEADER))->class = class_of(size + HEADER) - 1 > 5 ? class_of(size + HEADER) - 1 : 5;
	return at;
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
	return aligned(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return aligned(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	*ret = aligned(alignment, size);
	return *ret ? 0 : 12 /* ENOMEM */;
}

/* ---- the tests ---- */

#define PAGES 8

static _Atomic bool stop;

static void *allocate_all_the_time(void *arg)
{
	(void)arg;
	while (!stop)
		free(malloc(100));
	return NULL;
}

static bool is_marked(const char *p, char mark)
{
	for (size_t i = 0; i < PAGES; i++)
		if (p[i * quire_pagesize()] != mark)
			return false;
	return true;
}

static void mark(char *p, char mark)
{
	for (size_t i = 0; i < PAGES; i++)
		p[i * quire_pagesize()] = mark;
}

static int status_of(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* In a child: maps, allocates, and has a child of its own. */
static int live(char *p, unsigned generation)
{
	char *q;
	pid_t pid;
	int status = 1;

	alarm(60);
	if (!is_marked(p, 'a'))
		return 1;
	free(malloc(1000));
	q = quire_mmap(NULL, quire_pagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED || q[0] != 0)
		return 2;
	q[0] = 'x';
	if (generation == 0)
		return 0;
	pid = fork();
	if (pid == 0)
		_exit(live(p, generation - 1));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 3;
	mark(p, 'b');
	return status;
}

static void forks_beside_threads_that_allocate(void **state)
{
	char *p = quire_mmap(NULL, PAGES * quire_pagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t threads[2];
	size_t before = pool_calls;

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	mark(p, 'a');
	stop = false;
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_all_the_time, NULL), 0);
	for (int n = 0; n < 40; n++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(live(p, 1));
		assert_true(pid > 0);
		assert_int_equal(status_of(pid), 0);
	}
	stop = true;
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(is_marked(p, 'a'));
	/* It is this one that was called. */
	assert_true(pool_calls > before);
	assert_int_equal(quire_munmap(p, PAGES * quire_pagesize()), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(forks_beside_threads_that_allocate)};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
