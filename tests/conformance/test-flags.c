/* SPDX-License-Identifier: MIT */
/*
 * test-flags.c - rows M11, M12, M15 and M16: huge pages, DENYWRITE, semaphores in shared mappings, stacks
 */
#include "support.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

/* ---- M15: semaphores ---- */

/* Two mappings of one page of one file, locked: under the signal trap a system call cannot bring a page in. */
struct twins {
	int fd;
	char *left, *right;
};

static struct twins twins_new(void)
{
	struct twins twins = {.fd = file_new(PAGES(1))};

	twins.left = map_shared(twins.fd, 1);
	twins.right = map_shared(twins.fd, 1);
	memset(twins.left, 0, PAGES(1));
	assert_ok(quire_mlock(twins.left, PAGES(1)));
	assert_ok(quire_mlock(twins.right, PAGES(1)));
	return twins;
}

static void twins_done(struct twins *twins)
{
	unmap(twins->left, 1);
	unmap(twins->right, 1);
}

#define ROUNDS 20000

struct guarded {
	pthread_mutex_t mutex;
	volatile unsigned count;
};

static void *count_guarded(void *arg)
{
	struct guarded *guarded = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (pthread_mutex_lock(&guarded->mutex) != 0)
			return NULL;
		guarded->count++;
		if (pthread_mutex_unlock(&guarded->mutex) != 0)
			return NULL;
	}
	return arg;
}

static void M15_shared_mutex_works_through_two_mappings(void **state)
{
	struct twins twins = twins_new();
	struct guarded *left = (struct guarded *)twins.left, *right = (struct guarded *)twins.right;
	pthread_mutexattr_t shared;
	pthread_t thread;
	void *done;

	(void)state;
	pthread_mutexattr_init(&shared);
	assert_int_equal(pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED), 0);
	assert_int_equal(pthread_mutex_init(&left->mutex, &shared), 0);
	assert_int_equal(pthread_create(&thread, NULL, count_guarded, right), 0);
	assert_non_null(count_guarded(left));
	assert_int_equal(pthread_join(thread, &done), 0);
	assert_non_null(done);
	assert_int_equal(left->count, 2 * ROUNDS);
	pthread_mutexattr_destroy(&shared);
	twins_done(&twins);
}

struct pingpong {
	sem_t ping, pong;
};

static void *answer(void *arg)
{
	struct pingpong *game = arg;

	for (unsigned i = 0; i < ROUNDS / 4; i++)
		if (sem_wait(&game->ping) != 0 || sem_post(&game->pong) != 0)
			return NULL;
	return arg;
}

static void M15_shared_semaphores_work_through_two_mappings(void **state)
{
	struct twins twins = twins_new();
	struct pingpong *left = (struct pingpong *)twins.left;
	pthread_t thread;
	void *done;
	int value;

	(void)state;
	assert_int_equal(sem_init(&left->ping, 1, 0), 0);
	assert_int_equal(sem_init(&left->pong, 1, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, answer, twins.right), 0);
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		assert_int_equal(sem_post(&left->ping), 0);
		assert_int_equal(sem_wait(&left->pong), 0);
	}
	assert_int_equal(pthread_join(thread, &done), 0);
	assert_non_null(done);
	assert_int_equal(sem_getvalue(&left->ping, &value), 0);
	assert_int_equal(value, 0);
	twins_done(&twins);
}

static long futex(void *word, int op, unsigned value, long count, void *other)
{
	return syscall(SYS_futex, word, op, value, count, other, 0);
}

static void *wait_on_word(void *word)
{
	return (void *)futex(word, FUTEX_WAIT, 0, 0, NULL);
}

/* The waiter sleeps on the second word when it could be moved there. */
static void await_sleeper(char *page)
{
	while (futex(page, FUTEX_REQUEUE, 0, 1, page + 64) != 1)
		sched_yield();
}

static void M15_futex_wakes_through_another_mapping_after_page_out(void **state)
{
	struct twins twins = twins_new();
	pthread_t thread;
	void *answered;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wait_on_word, twins.left), 0);
	await_sleeper(twins.right);
	assert_ok(quire_munlock(twins.left, PAGES(1)));
	assert_ok(quire_munlock(twins.right, PAGES(1)));
	evict(twins.right, 1);
	assert_ok(quire_mlock(twins.right, PAGES(1)));
	assert_int_equal(futex(twins.right + 64, FUTEX_WAKE, 1, 0, NULL), 1);
	assert_int_equal(pthread_join(thread, &answered), 0);
	assert_null(answered);
	twins_done(&twins);
}

#ifndef KERNEL_ORACLE
static void M15_hassemaphore_and_inherit_are_accepted(void **state)
{
	const int flags[] = {QUIRE_MAP_HASSEMAPHORE, QUIRE_MAP_INHERIT, QUIRE_MAP_HASSEMAPHORE | QUIRE_MAP_INHERIT};
	int fd = file_new(PAGES(1));

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		char *p = map(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE | flags[i], fd, 0);
		char *q = map(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | flags[i], ANON, 0);

		assert_pattern(p, PAGES(1), 0);
		assert_zeros(q, PAGES(1));
		unmap(p, 1);
		unmap(q, 1);
	}
}
#endif

static const struct conformance_test tests[] = {
    TEST(M15_shared_mutex_works_through_two_mappings),
    TEST(M15_shared_semaphores_work_through_two_mappings),
    TEST(M15_futex_wakes_through_another_mapping_after_page_out),
#ifndef KERNEL_ORACLE
    TEST(M15_hassemaphore_and_inherit_are_accepted),
#endif
};

CONFORMANCE_MAIN(tests)
