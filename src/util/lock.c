/* SPDX-License-Identifier: MIT */
/*
 * lock.c - the slow halves of the reader-writer lock
 */
#include "util/lock.h"

__thread unsigned rwlock_held;

/* Marks the word as slept on and sleeps, if it still is what the caller saw. */
static void rwlock_sleep(struct rwlock *lock, uint32_t seen, const struct timespec *timeout)
{
	if (!(seen & RWLOCK_WAITING) && !atomic_compare_exchange_strong_explicit(&lock->word, &seen, seen | RWLOCK_WAITING,
										 memory_order_relaxed, memory_order_relaxed))
		return;
	futex_wait(&lock->word, seen | RWLOCK_WAITING, timeout);
}

/*
 * A waiting writer is let before new readers, but for a moment only: the reader may be a signal handler whose own thread
 * holds the lock for reading underneath, and then the writer waits for him.
 */
void rwlock_read_acquire(struct rwlock *lock)
{
	static const struct timespec courtesy = {.tv_nsec = 1000000};
	bool polite = true;

	for (;;) {
		uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);

		if (seen & RWLOCK_WRITER) {
			rwlock_sleep(lock, seen, NULL);
			continue;
		}
		if (polite && atomic_load_explicit(&lock->writers, memory_order_relaxed) && (seen & ~RWLOCK_WAITING)) {
			rwlock_sleep(lock, seen, &courtesy);
			polite = false;
			continue;
		}
		if (atomic_compare_exchange_weak_explicit(&lock->word, &seen, seen + 1, memory_order_acquire, memory_order_relaxed))
			break;
	}
	rwlock_held++;
}

void rwlock_read_release(struct rwlock *lock)
{
	uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
	uint32_t next;

	do {
		next = seen - 1;
		if (next == RWLOCK_WAITING)
			next = 0;
	} while (!atomic_compare_exchange_weak_explicit(&lock->word, &seen, next, memory_order_release, memory_order_relaxed));
	if (next == 0 && (seen & RWLOCK_WAITING))
		futex_wake_all(&lock->word);
	rwlock_held--;
}

void rwlock_write_acquire(struct rwlock *lock)
{
	atomic_fetch_add_explicit(&lock->writers, 1, memory_order_relaxed);
	for (;;) {
		uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);

		if (seen & ~RWLOCK_WAITING) {
			rwlock_sleep(lock, seen, NULL);
			continue;
		}
		if (atomic_compare_exchange_weak_explicit(&lock->word, &seen, seen | RWLOCK_WRITER, memory_order_acquire,
							  memory_order_relaxed))
			break;
	}
	atomic_fetch_sub_explicit(&lock->writers, 1, memory_order_relaxed);
	rwlock_held++;
}

void rwlock_write_release(struct rwlock *lock)
{
	uint32_t seen = atomic_exchange_explicit(&lock->word, 0, memory_order_release);

	if (seen & RWLOCK_WAITING)
		futex_wake_all(&lock->word);
	rwlock_held--;
}
