/* SPDX-License-Identifier: MIT */
/*
 * lock.c - the reader-writer lock
 *
 * A reader counts itself, then looks at state; a writer sets state, then looks at the counts. Of two that come at once at least one sees
 * the other (all of these are sequentially consistent), and then the reader gives way.
 */
#include "util/lock.h"

#define LOSSES 2 /* to writers, before a reader takes his turn with them */

static const struct timespec patience = {.tv_nsec = 10000000}; /* of a writer with readers */

__thread unsigned rwlock_held;

/* The thread's slot, and one: threads take them by turns. */
static __thread unsigned own_slot;
static _Atomic unsigned next_slot;

static struct rwlock_slot *slot_of(struct rwlock *lock)
{
	if (own_slot == 0)
		own_slot = atomic_fetch_add_explicit(&next_slot, 1, memory_order_relaxed) % RWLOCK_SLOTS + 1;
	return &lock->slot[own_slot - 1];
}

/* A reader fewer. A writer may wait for it. */
static void leave(struct rwlock *lock, struct rwlock_slot *slot)
{
	if (atomic_fetch_sub(&slot->readers, 1) == 1 && atomic_load(&lock->state) != RWLOCK_OPEN)
		futex_wake(&slot->readers, 1);
}

static void sleep_until_open(struct rwlock *lock)
{
	uint32_t seen = RWLOCK_CLOSED;

	if (atomic_compare_exchange_strong(&lock->state, &seen, RWLOCK_SLEPT) || seen == RWLOCK_SLEPT)
		futex_wait(&lock->state, RWLOCK_SLEPT, NULL);
}

/*
 * One who holds it already gets in past a writer, who waits for him: he may be a signal handler whose own thread holds the lock
 * underneath. He counts in the same slot, and is gone before it is empty. rwlock_held says so only as long as it is sure: a handler that
 * comes in between sleeps until the writer opens again.
 */
void rwlock_read_acquire(struct rwlock *lock)
{
	struct rwlock_slot *slot = slot_of(lock);

	for (unsigned losses = 0;; losses++) {
		bool turn = losses == LOSSES;

		if (turn)
			lock_acquire(&lock->turn);
		atomic_fetch_add(&slot->readers, 1);
		if (turn)
			lock_release(&lock->turn);
		if (turn || rwlock_held > 0 || atomic_load(&lock->state) == RWLOCK_OPEN)
			break;
		leave(lock, slot);
		sleep_until_open(lock);
	}
	atomic_signal_fence(memory_order_seq_cst);
	rwlock_held++;
}

void rwlock_read_release(struct rwlock *lock)
{
	rwlock_held--;
	atomic_signal_fence(memory_order_seq_cst);
	leave(lock, slot_of(lock));
}

/* Lets readers in, and whoever takes turns. */
static void reopen(struct rwlock *lock)
{
	if (atomic_exchange(&lock->state, RWLOCK_OPEN) == RWLOCK_SLEPT)
		futex_wake_all(&lock->state);
	lock_release(&lock->turn);
}

/* Waits until no reader is left. A slot that was not empty within patience, or NULL. */
static struct rwlock_slot *wait_for_readers(struct rwlock *lock)
{
	for (unsigned i = 0; i < RWLOCK_SLOTS; i++) {
		struct rwlock_slot *slot = &lock->slot[i];
		uint32_t readers;

		while ((readers = atomic_load(&slot->readers)) != 0) {
			futex_wait(&slot->readers, readers, &patience);
			if (atomic_load(&slot->readers) == readers)
				return slot;
		}
	}
	return NULL;
}

/* A reader who does not go may wait for us himself: then all are let in for a moment. */
void rwlock_write_acquire(struct rwlock *lock)
{
	for (;;) {
		struct rwlock_slot *slot;
		uint32_t readers;

		lock_acquire(&lock->turn);
		atomic_store(&lock->state, RWLOCK_CLOSED);
		slot = wait_for_readers(lock);
		if (!slot)
			break;
		readers = atomic_load(&slot->readers);
		reopen(lock);
		if (readers != 0)
			futex_wait(&slot->readers, readers, &patience);
	}
	atomic_store_explicit(&lock->written, true, memory_order_relaxed);
	rwlock_held++;
}

void rwlock_write_release(struct rwlock *lock)
{
	atomic_store_explicit(&lock->written, false, memory_order_relaxed);
	reopen(lock);
	rwlock_held--;
}
