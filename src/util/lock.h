/* SPDX-License-Identifier: MIT */
/*
 * lock.h - a mutex and a reader-writer lock on futexes
 *
 * The pthread locks may not be taken in a signal handler by the letter of POSIX; faults are resolved in one. These may, under
 * one rule that docs/locking.md states: whoever takes one outside of the fault path has signals blocked (quire_enter), so that
 * no handler can find its own thread holding the lock. Zero bytes are an unlocked lock.
 */
#ifndef QUIRE_LOCK_H
#define QUIRE_LOCK_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word == value, at most timeout (NULL: for ever). Returns early at will: look again. Keeps errno to the caller. */
static inline void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
}

static inline void futex_wake(_Atomic uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void futex_wake_all(_Atomic uint32_t *word)
{
	futex_wake(word, INT_MAX);
}

/* 0 free, 1 held, 2 held and somebody sleeps. */
struct lock {
	_Atomic uint32_t word;
};

static inline void lock_acquire(struct lock *lock)
{
	uint32_t free_word = 0;

	if (atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire, memory_order_relaxed))
		return;
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		futex_wait(&lock->word, 2, NULL);
}

static inline bool lock_try(struct lock *lock)
{
	uint32_t free_word = 0;

	return atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void lock_release(struct lock *lock)
{
	if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
		futex_wake(&lock->word, 1);
}

static inline bool lock_is_held(struct lock *lock)
{
	return atomic_load_explicit(&lock->word, memory_order_relaxed) != 0;
}

/*
 * A reader counts itself in a slot of its thread's, each in a cache line of its own, so that threads that resolve faults on different
 * pages share nothing. A writer says in state that he is coming, which holds new readers off, and waits until every slot is empty.
 */
#define RWLOCK_SLOTS 64

enum rwlock_state {
	RWLOCK_OPEN = 0,
	RWLOCK_CLOSED = 1, /* by a writer, who waits for readers or writes */
	RWLOCK_SLEPT = 2,  /* likewise, and readers sleep on it */
};

struct rwlock_slot {
	_Alignas(64) _Atomic uint32_t readers; /* futex of the writer */
};

struct rwlock {
	struct rwlock_slot slot[RWLOCK_SLOTS];
	struct lock turn;       /* of writers; and of readers who have lost to one too often */
	_Atomic uint32_t state; /* enum rwlock_state: futex */
	_Atomic bool written;   /* no reader is left */
};

/* How often this thread holds one. There is one such lock in a process that matters: who holds it for reading may do so once more. */
extern __thread unsigned rwlock_held;

void rwlock_read_acquire(struct rwlock *lock);
void rwlock_read_release(struct rwlock *lock);
void rwlock_write_acquire(struct rwlock *lock);
void rwlock_write_release(struct rwlock *lock);

static inline bool rwlock_is_written(struct rwlock *lock)
{
	return atomic_load_explicit(&lock->written, memory_order_relaxed);
}

#endif
