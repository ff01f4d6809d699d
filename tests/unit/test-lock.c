/* SPDX-License-Identifier: MIT */
/*
 * test-lock.c - the mutex and the reader-writer lock
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/lock.h"

#define THREADS    4
#define ROUNDS     20000
#define DEADLOCK_S 30

static void pause_ms(long ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static void wait_until(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) != value)
		pause_ms(1);
}

/* A deadlock ends the program, which is a failure too. */
static int set_alarm(void **state)
{
	(void)state;
	alarm(DEADLOCK_S);
	return 0;
}

static int clear_alarm(void **state)
{
	(void)state;
	alarm(0);
	return 0;
}

/* ---- the mutex ---- */

struct counted {
	struct lock lock;
	volatile unsigned value; /* not atomic: only the lock keeps it right */
};

static void *count_up(void *arg)
{
	struct counted *counted = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		lock_acquire(&counted->lock);
		counted->value++;
		lock_release(&counted->lock);
	}
	return NULL;
}

static void one_thread_at_a_time_holds_the_lock(void **state)
{
	struct counted counted = {0};
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, &counted), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counted.value, THREADS * ROUNDS);
	assert_false(lock_is_held(&counted.lock));
}

static void trying_a_held_lock_fails_and_a_free_one_succeeds(void **state)
{
	struct lock lock = {0};

	(void)state;
	assert_true(lock_try(&lock));
	assert_true(lock_is_held(&lock));
	assert_false(lock_try(&lock));
	lock_release(&lock);
	assert_false(lock_is_held(&lock));
	assert_true(lock_try(&lock));
}

struct sleeper {
	struct lock lock;
	_Atomic bool through;
};

static void *acquire_once(void *arg)
{
	struct sleeper *sleeper = arg;

	lock_acquire(&sleeper->lock);
	atomic_store(&sleeper->through, true);
	lock_release(&sleeper->lock);
	return NULL;
}

static void whoever_sleeps_on_the_lock_is_woken_when_it_is_released(void **state)
{
	struct sleeper sleeper = {0};
	pthread_t thread;

	(void)state;
	lock_acquire(&sleeper.lock);
	assert_int_equal(pthread_create(&thread, NULL, acquire_once, &sleeper), 0);
	wait_until(&sleeper.lock.word, 2);
	pause_ms(5);
	assert_false(atomic_load(&sleeper.through));
	lock_release(&sleeper.lock);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&sleeper.through));
}

/* ---- readers and writers ---- */

struct shared {
	struct rwlock lock;
	volatile unsigned left, right; /* equal whenever nobody writes */
	_Atomic unsigned torn;
	_Atomic bool stop;
	_Atomic bool through;
};

static void *write_both(void *arg)
{
	struct shared *shared = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		rwlock_write_acquire(&shared->lock);
		shared->left++;
		shared->right++;
		rwlock_write_release(&shared->lock);
	}
	return NULL;
}

static void *compare_both(void *arg)
{
	struct shared *shared = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		rwlock_read_acquire(&shared->lock);
		if (shared->left != shared->right)
			atomic_fetch_add(&shared->torn, 1);
		rwlock_read_release(&shared->lock);
	}
	return NULL;
}

static unsigned readers_of(struct rwlock *lock)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < RWLOCK_SLOTS; i++)
		sum += atomic_load(&lock->slot[i].readers);
	return sum;
}

static void a_reader_never_sees_a_write_half_done_and_no_write_is_lost(void **state)
{
	struct shared shared = {0};
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i % 2 ? write_both : compare_both, &shared), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared.left, THREADS / 2 * ROUNDS);
	assert_int_equal(shared.right, shared.left);
	assert_int_equal(shared.torn, 0);
	assert_int_equal(atomic_load(&shared.lock.state), RWLOCK_OPEN);
	assert_int_equal(readers_of(&shared.lock), 0);
}

static void *read_once(void *arg)
{
	struct shared *shared = arg;

	rwlock_read_acquire(&shared->lock);
	atomic_store(&shared->through, true);
	rwlock_read_release(&shared->lock);
	return NULL;
}

static void *write_once(void *arg)
{
	struct shared *shared = arg;

	rwlock_write_acquire(&shared->lock);
	atomic_store(&shared->through, true);
	rwlock_write_release(&shared->lock);
	return NULL;
}

static void readers_share_the_lock(void **state)
{
	struct shared shared = {0};
	pthread_t thread;

	(void)state;
	rwlock_read_acquire(&shared.lock);
	assert_int_equal(pthread_create(&thread, NULL, read_once, &shared), 0);
	pthread_join(thread, NULL);
	assert_true(shared.through);
	assert_false(rwlock_is_written(&shared.lock));
	rwlock_read_release(&shared.lock);
}

static void a_writer_waits_for_the_reader_and_is_woken_by_him(void **state)
{
	struct shared shared = {0};
	pthread_t thread;

	(void)state;
	rwlock_read_acquire(&shared.lock);
	assert_int_equal(pthread_create(&thread, NULL, write_once, &shared), 0);
	wait_until(&shared.lock.state, RWLOCK_CLOSED);
	pause_ms(5);
	assert_false(atomic_load(&shared.through));
	rwlock_read_release(&shared.lock);
	pthread_join(thread, NULL);
	assert_true(shared.through);
}

static void readers_and_writers_wait_for_the_writer_and_are_woken_by_him(void **state)
{
	void *(*const mains[])(void *) = {read_once, write_once};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct shared shared = {0};
		pthread_t thread;

		rwlock_write_acquire(&shared.lock);
		assert_true(rwlock_is_written(&shared.lock));
		assert_int_equal(pthread_create(&thread, NULL, mains[i], &shared), 0);
		/* A reader says that he sleeps; a writer waits for his turn. */
		wait_until(mains[i] == read_once ? &shared.lock.state : &shared.lock.turn.word,
			   mains[i] == read_once ? (uint32_t)RWLOCK_SLEPT : 2u);
		assert_false(atomic_load(&shared.through));
		rwlock_write_release(&shared.lock);
		pthread_join(thread, NULL);
		assert_true(shared.through);
	}
}

/* As a signal handler does that touches managed memory while its thread is inside the engine's fault path. */
static void a_nested_reader_gets_in_while_a_writer_waits(void **state)
{
	struct shared shared = {0};
	pthread_t thread;

	(void)state;
	rwlock_read_acquire(&shared.lock);
	assert_int_equal(pthread_create(&thread, NULL, write_once, &shared), 0);
	wait_until(&shared.lock.state, RWLOCK_CLOSED);
	for (unsigned i = 0; i < 20; i++) {
		rwlock_read_acquire(&shared.lock);
		rwlock_read_release(&shared.lock);
	}
	assert_false(atomic_load(&shared.through));
	rwlock_read_release(&shared.lock);
	pthread_join(thread, NULL);
	assert_true(shared.through);
}

/* The same before the thread knows that it holds the lock, or when it does no more: the writer waits for it, and has to let it in. */
static void a_nested_reader_gets_in_that_is_not_known_as_one(void **state)
{
	struct shared shared = {0};
	pthread_t thread;

	(void)state;
	rwlock_read_acquire(&shared.lock);
	assert_int_equal(pthread_create(&thread, NULL, write_once, &shared), 0);
	wait_until(&shared.lock.state, RWLOCK_CLOSED);
	rwlock_held--;
	rwlock_read_acquire(&shared.lock);
	assert_false(atomic_load(&shared.through));
	rwlock_read_release(&shared.lock);
	rwlock_held++;
	rwlock_read_release(&shared.lock);
	pthread_join(thread, NULL);
	assert_true(shared.through);
}

static void *read_all_the_time(void *arg)
{
	struct shared *shared = arg;

	while (!atomic_load(&shared->stop)) {
		rwlock_read_acquire(&shared->lock);
		pause_ms(1);
		rwlock_read_release(&shared->lock);
	}
	return NULL;
}

static void a_writer_is_not_starved_by_readers_that_overlap(void **state)
{
	struct shared shared = {0};
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &shared), 0);
	for (unsigned i = 0; i < 50; i++) {
		rwlock_write_acquire(&shared.lock);
		rwlock_write_release(&shared.lock);
	}
	atomic_store(&shared.stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&shared.lock.state), RWLOCK_OPEN);
	assert_int_equal(readers_of(&shared.lock), 0);
}

static void *write_all_the_time(void *arg)
{
	struct shared *shared = arg;

	while (!atomic_load(&shared->stop)) {
		rwlock_write_acquire(&shared->lock);
		pause_ms(1);
		rwlock_write_release(&shared->lock);
	}
	return NULL;
}

static void a_reader_is_not_starved_by_writers_that_follow_each_other(void **state)
{
	struct shared shared = {0};
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_all_the_time, &shared), 0);
	for (unsigned i = 0; i < 50; i++) {
		rwlock_read_acquire(&shared.lock);
		assert_false(rwlock_is_written(&shared.lock));
		rwlock_read_release(&shared.lock);
	}
	atomic_store(&shared.stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&shared.lock.state), RWLOCK_OPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(one_thread_at_a_time_holds_the_lock, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(trying_a_held_lock_fails_and_a_free_one_succeeds, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(whoever_sleeps_on_the_lock_is_woken_when_it_is_released, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(a_reader_never_sees_a_write_half_done_and_no_write_is_lost, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(readers_share_the_lock, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(a_writer_waits_for_the_reader_and_is_woken_by_him, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(readers_and_writers_wait_for_the_writer_and_are_woken_by_him, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(a_nested_reader_gets_in_while_a_writer_waits, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(a_nested_reader_gets_in_that_is_not_known_as_one, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(a_writer_is_not_starved_by_readers_that_overlap, set_alarm, clear_alarm),
	    cmocka_unit_test_setup_teardown(a_reader_is_not_starved_by_writers_that_follow_each_other, set_alarm, clear_alarm),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
