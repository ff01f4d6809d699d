/* SPDX-License-Identifier: MIT */
/*
 * test-shared.c - processes that wait for and wake each other in the memory that they share: row M15
 *
 * Under the signal trap a system call cannot bring a page in, and what has to wait is a system call: who uses a lock has locked its
 * page, parent and child each for itself.
 */
#include "children.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

static char *shared_anonymous(size_t n)
{
	return map(NULL, PAGES(n), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
}

/* ---- semaphores ---- */

#define ROUNDS 20000

/* In each process that waits, or wakes who waits. */
static void hold(char *p)
{
	assert_ok(quire_mlock(p, PAGES(1)));
}

/* A page of zeros that is shared, and held: without a file, and of one. */
static void with_each_memory(void (*check)(char *p))
{
	int fd = file_new(0);
	char *p = shared_anonymous(1);

	hold(p);
	check(p);
	unmap(p, 1);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(1)), 0);
	p = map(NULL, PAGES(1), RW, MAP_SHARED | QUIRE_MAP_HASSEMAPHORE, fd, 0);
	hold(p);
	check(p);
	unmap(p, 1);
}

struct guarded {
	pthread_mutex_t mutex;
	volatile unsigned count;
};

static void init_mutex(pthread_mutex_t *mutex, int robust)
{
	pthread_mutexattr_t shared;

	pthread_mutexattr_init(&shared);
	assert_int_equal(pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED), 0);
	assert_int_equal(pthread_mutexattr_setrobust(&shared, robust), 0);
	assert_int_equal(pthread_mutex_init(mutex, &shared), 0);
	pthread_mutexattr_destroy(&shared);
}

static void count_guarded(struct guarded *guarded)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		assert_int_equal(pthread_mutex_lock(&guarded->mutex), 0);
		guarded->count++;
		assert_int_equal(pthread_mutex_unlock(&guarded->mutex), 0);
	}
}

static void check_mutex(char *p)
{
	struct guarded *guarded = (struct guarded *)p;
	struct child children[2];

	init_mutex(&guarded->mutex, PTHREAD_MUTEX_STALLED);
	for (int i = 0; i < 2; i++)
		CHILD(&children[i])
		{
			hold(p);
			count_guarded(guarded);
		}
	count_guarded(guarded);
	for (int i = 0; i < 2; i++)
		ends_well(&children[i]);
	assert_int_equal(guarded->count, 3 * ROUNDS);
}

static void M15_mutex_excludes_between_processes(void **state)
{
	(void)state;
	with_each_memory(check_mutex);
}

/* One process dies with the mutex, by a signal or by itself, and another, which waits for it by then or soon, is told. */
static void check_robust_mutex(char *p, bool killed, bool consistent)
{
	struct guarded *guarded = (struct guarded *)p;
	struct child owner, heir;

	memset(p, 0, PAGES(1));
	init_mutex(&guarded->mutex, PTHREAD_MUTEX_ROBUST);
	CHILD(&owner)
	{
		hold(p);
		assert_int_equal(pthread_mutex_lock(&guarded->mutex), 0);
		guarded->count = 1;
		pause_here();
	}
	until_it_pauses(&owner);
	CHILD(&heir)
	{
		hold(p);
		assert_int_equal(pthread_mutex_trylock(&guarded->mutex), EBUSY);
		pause_here();
		assert_int_equal(pthread_mutex_lock(&guarded->mutex), EOWNERDEAD);
		assert_int_equal(guarded->count, 1);
		guarded->count = 2;
		if (consistent)
			assert_int_equal(pthread_mutex_consistent(&guarded->mutex), 0);
		assert_int_equal(pthread_mutex_unlock(&guarded->mutex), 0);
	}
	until_it_pauses(&heir);
	go_on(&heir);
	if (killed) {
		is_killed(&owner);
	} else {
		go_on(&owner);
		ends_well(&owner);
	}
	ends_well(&heir);
	assert_int_equal(guarded->count, 2);
	assert_int_equal(pthread_mutex_lock(&guarded->mutex), consistent ? 0 : ENOTRECOVERABLE);
}

static void check_robust_mutexes(char *p)
{
	check_robust_mutex(p, true, true);
	check_robust_mutex(p, false, true);
	check_robust_mutex(p, true, false);
}

static void M15_robust_mutex_tells_another_process_that_its_owner_has_died(void **state)
{
	(void)state;
	with_each_memory(check_robust_mutexes);
}

struct pingpong {
	sem_t ping, pong;
	volatile unsigned ball;
};

static void play(struct pingpong *game, bool serves)
{
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		assert_int_equal(sem_wait(serves ? &game->pong : &game->ping), 0);
		assert_int_equal(game->ball, 2 * i + !serves);
		game->ball++;
		assert_int_equal(sem_post(serves ? &game->ping : &game->pong), 0);
	}
}

static void begin_game(struct pingpong *game)
{
	game->ball = 0;
	assert_int_equal(sem_init(&game->ping, 1, 0), 0);
	assert_int_equal(sem_init(&game->pong, 1, 1), 0);
}

static void check_semaphores(char *p)
{
	struct pingpong *game = (struct pingpong *)p;
	struct child child, other;
	int value;

	for (int childs = 0; childs < 2; childs++) {
		begin_game(game);
		CHILD(&child)
		{
			hold(p);
			play(game, childs);
		}
		play(game, !childs);
		ends_well(&child);
		assert_int_equal(sem_getvalue(&game->pong, &value), 0);
		assert_int_equal(value, 1);
	}
	/* And between two children. */
	begin_game(game);
	CHILD(&child)
	{
		hold(p);
		play(game, true);
	}
	CHILD(&other)
	{
		hold(p);
		play(game, false);
	}
	ends_well(&child);
	ends_well(&other);
	assert_int_equal(game->ball, ROUNDS / 2);
}

static void M15_semaphores_are_posted_and_waited_for_between_processes(void **state)
{
	(void)state;
	with_each_memory(check_semaphores);
}

struct mailbox {
	pthread_mutex_t mutex;
	pthread_cond_t filled, emptied;
	unsigned letter; /* 0: none */
};

static void send_letters(struct mailbox *box)
{
	for (unsigned i = 1; i <= ROUNDS / 4; i++) {
		assert_int_equal(pthread_mutex_lock(&box->mutex), 0);
		while (box->letter)
			assert_int_equal(pthread_cond_wait(&box->emptied, &box->mutex), 0);
		box->letter = i;
		assert_int_equal(pthread_cond_signal(&box->filled), 0);
		assert_int_equal(pthread_mutex_unlock(&box->mutex), 0);
	}
}

static void take_letters(struct mailbox *box)
{
	for (unsigned i = 1; i <= ROUNDS / 4; i++) {
		assert_int_equal(pthread_mutex_lock(&box->mutex), 0);
		while (!box->letter)
			assert_int_equal(pthread_cond_wait(&box->filled, &box->mutex), 0);
		assert_int_equal(box->letter, i);
		box->letter = 0;
		assert_int_equal(pthread_cond_signal(&box->emptied), 0);
		assert_int_equal(pthread_mutex_unlock(&box->mutex), 0);
	}
}

static void check_conditions(char *p)
{
	struct mailbox *box = (struct mailbox *)p;
	pthread_condattr_t shared;
	struct child child;

	init_mutex(&box->mutex, PTHREAD_MUTEX_STALLED);
	pthread_condattr_init(&shared);
	assert_int_equal(pthread_condattr_setpshared(&shared, PTHREAD_PROCESS_SHARED), 0);
	assert_int_equal(pthread_cond_init(&box->filled, &shared), 0);
	assert_int_equal(pthread_cond_init(&box->emptied, &shared), 0);
	pthread_condattr_destroy(&shared);
	for (int childs = 0; childs < 2; childs++) {
		CHILD(&child)
		{
			hold(p);
			(childs ? send_letters : take_letters)(box);
		}
		(childs ? take_letters : send_letters)(box);
		ends_well(&child);
		assert_int_equal(box->letter, 0);
	}
}

static void M15_condition_variables_pass_letters_between_processes(void **state)
{
	(void)state;
	with_each_memory(check_conditions);
}

#define RUNNERS 3

struct race {
	pthread_barrier_t barrier;
	volatile unsigned lap[RUNNERS];
};

static void run_laps(struct race *race, unsigned self)
{
	for (unsigned lap = 1; lap <= ROUNDS / 10; lap++) {
		int r;

		race->lap[self] = lap;
		r = pthread_barrier_wait(&race->barrier);
		assert_true(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
		/* Nobody is behind, and nobody more than one ahead. */
		for (unsigned i = 0; i < RUNNERS; i++)
			assert_true(race->lap[i] - lap <= 1);
	}
}

static void check_barrier(char *p)
{
	struct race *race = (struct race *)p;
	pthread_barrierattr_t shared;
	struct child children[RUNNERS - 1];

	pthread_barrierattr_init(&shared);
	assert_int_equal(pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED), 0);
	assert_int_equal(pthread_barrier_init(&race->barrier, &shared, RUNNERS), 0);
	pthread_barrierattr_destroy(&shared);
	for (unsigned i = 1; i < RUNNERS; i++)
		CHILD(&children[i - 1])
		{
			hold(p);
			run_laps(race, i);
		}
	run_laps(race, 0);
	for (unsigned i = 1; i < RUNNERS; i++)
		ends_well(&children[i - 1]);
}

static void M15_barrier_holds_processes_together(void **state)
{
	(void)state;
	with_each_memory(check_barrier);
}

/* ---- futexes ---- */

#define OTHER 64 /* a second word of the page */

static long futex(void *word, int op, unsigned value, long count, void *other)
{
	return syscall(SYS_futex, word, op, value, count, other, 0);
}

static void *wait_on_word(void *word)
{
	return (void *)futex(word, FUTEX_WAIT, 0, 0, NULL);
}

/* Who waits on the word sleeps on the other when he could be moved there. */
static void await_sleeper(char *page)
{
	while (futex(page, FUTEX_REQUEUE, 0, 1, page + OTHER) != 1)
		sched_yield();
}

/* One whom the kernel wakes for nothing meanwhile sleeps again on the word that he came to. Lost, he would be waited for in vain. */
static void wake_sleeper(char *page)
{
	hold(page);
	while (futex(page + OTHER, FUTEX_WAKE, 1, 0, NULL) + futex(page, FUTEX_WAKE, 1, 0, NULL) != 1)
		sched_yield();
}

/* While one sleeps, the page leaves memory. The turns are the child's. */
static void sleep_in_child(char *p)
{
	pthread_t thread;
	void *answered;

	hold(p);
	assert_int_equal(pthread_create(&thread, NULL, wait_on_word, p), 0);
	pause_here();
	assert_ok(quire_munlock(p, PAGES(1)));
	pause_here();
	assert_int_equal(pthread_join(thread, &answered), 0);
	assert_null(answered);
}

static void check_futex_of_child(char *p)
{
	struct child child;

	CHILD(&child)
	sleep_in_child(p);
	until_it_pauses(&child);
	await_sleeper(p);
	step(&child);
	assert_ok(quire_munlock(p, PAGES(1)));
	evict(p, 1);
	wake_sleeper(p);
	go_on(&child);
	ends_well(&child);
}

static void check_futex_of_parent(char *p)
{
	struct child child;
	pthread_t thread;
	void *answered;

	CHILD(&child)
	{
		hold(p);
		pause_here();
		await_sleeper(p);
		assert_ok(quire_munlock(p, PAGES(1)));
		pause_here();
		evict(p, 1);
		wake_sleeper(p);
	}
	until_it_pauses(&child);
	assert_int_equal(pthread_create(&thread, NULL, wait_on_word, p), 0);
	step(&child);
	assert_ok(quire_munlock(p, PAGES(1)));
	go_on(&child);
	ends_well(&child);
	assert_int_equal(pthread_join(thread, &answered), 0);
	assert_null(answered);
}

static void check_futex_between_children(char *p)
{
	struct child sleeper, waker;

	CHILD(&sleeper)
	sleep_in_child(p);
	until_it_pauses(&sleeper);
	CHILD(&waker)
	{
		hold(p);
		await_sleeper(p);
		assert_ok(quire_munlock(p, PAGES(1)));
		pause_here();
		evict(p, 1);
		wake_sleeper(p);
	}
	until_it_pauses(&waker);
	step(&sleeper);
	assert_ok(quire_munlock(p, PAGES(1)));
	go_on(&waker);
	ends_well(&waker);
	go_on(&sleeper);
	ends_well(&sleeper);
}

static void check_futexes(char *p)
{
	check_futex_of_child(p);
	hold(p);
	check_futex_of_parent(p);
	hold(p);
	check_futex_between_children(p);
}

static void M15_sleeper_is_woken_by_another_process_when_the_page_was_out(void **state)
{
	(void)state;
	with_each_memory(check_futexes);
}

static void M15_futex_is_that_of_the_page_wherever_it_is_mapped(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	struct child child;
	pthread_t thread;
	void *answered;

	(void)state;
	memset(p, 0, PAGES(2));
	hold(p + PAGES(1));
	CHILD(&child)
	{
		char *q = map(NULL, PAGES(1), RW, MAP_SHARED, fd, (off_t)PAGES(1));

		hold(q);
		await_sleeper(q);
		wake_sleeper(q);
		hold(p);
		/* The word beside it is another. */
		assert_int_equal(futex(p, FUTEX_WAKE, 1, 0, NULL), 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, wait_on_word, p + PAGES(1)), 0);
	ends_well(&child);
	assert_int_equal(pthread_join(thread, &answered), 0);
	assert_null(answered);
	unmap(p, 2);
}

/* Whether a system call of a child brings in a page that the child has not touched. */
static void check_calls_of_children(char *p, int *ret_error)
{
	struct child child;
	int pipes[2], status;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	CHILD(&child)
	{
		assert_loads(p, 0);
		_exit(write(pipes[1], p + PAGES(63), 1) == 1 ? 0 : errno);
	}
	status = status_of(&child);
	assert_true(WIFEXITED(status));
	*ret_error = WEXITSTATUS(status);
	close(pipes[0]);
	close(pipes[1]);
}

static void M15_semaphores_of_children_work_while_their_page_comes_and_goes(void **state)
{
	char *p = shared_anonymous(64);
	struct pingpong *game = (struct pingpong *)p;
	struct child child, other;
	int error;

	(void)state;
	check_calls_of_children(p, &error);
	if (error) {
		assert_int_equal(error, EFAULT);
		skip_because("the kernel lets no process catch what its system calls touch: see difference 21");
	}
	begin_game(game);
	CHILD(&child)
	play(game, true);
	CHILD(&other)
	play(game, false);
	for (unsigned i = 0; i < ROUNDS / 10; i++)
		assert_ok(quire_madvise(p, PAGES(1), MADV_PAGEOUT));
	ends_well(&child);
	ends_well(&other);
	assert_int_equal(game->ball, ROUNDS / 2);
	unmap(p, 64);
}

static const struct conformance_test tests[] = {
    TEST(M15_mutex_excludes_between_processes),
    TEST(M15_robust_mutex_tells_another_process_that_its_owner_has_died),
    TEST(M15_semaphores_are_posted_and_waited_for_between_processes),
    TEST(M15_condition_variables_pass_letters_between_processes),
    TEST(M15_barrier_holds_processes_together),
    TEST(M15_sleeper_is_woken_by_another_process_when_the_page_was_out),
    TEST(M15_futex_is_that_of_the_page_wherever_it_is_mapped),
    TEST(M15_semaphores_of_children_work_while_their_page_comes_and_goes),
};

CONFORMANCE_MAIN(tests)
