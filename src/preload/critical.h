/* SPDX-License-Identifier: MIT */
/*
 * critical.h - critical sections of what handlers of the program may come to as well: signals are blocked while the lock is held
 */
#ifndef QUIRE_PRELOAD_CRITICAL_H
#define QUIRE_PRELOAD_CRITICAL_H

#include <signal.h>

#include "next.h"
#include "util/lock.h"

static inline void critical_begin(struct lock *lock, sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, before);
	lock_acquire(lock);
}

static inline void critical_end(struct lock *lock, const sigset_t *before)
{
	lock_release(lock);
	NEXT(pthread_sigmask)(SIG_SETMASK, before, NULL);
}

#endif
