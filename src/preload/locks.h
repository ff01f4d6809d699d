/* SPDX-License-Identifier: MIT */
/*
 * locks.h - the program's record locks, which the engine must not lose
 *
 * POSIX takes all record locks that a process has on a file when it closes any descriptor of the file; and the engine has descriptors of
 * files that are mapped, which it closes with the last mapping. So as long as the program may have such locks on a file, the engine's
 * descriptors of it are parked instead.
 */
#ifndef QUIRE_PRELOAD_LOCKS_H
#define QUIRE_PRELOAD_LOCKS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "vfork.h"

extern _Atomic unsigned locks_files; /* on how many files there may be some */

/* The program has got one. */
void locks_note(int fd);
/* It is about to close a descriptor, or has given up all of them on the file. */
void locks_lost(int fd);

static inline void locks_lose(int fd)
{
	if (__builtin_expect(atomic_load_explicit(&locks_files, memory_order_relaxed) != 0, 0) && !vfork_is_child())
		locks_lost(fd);
}

/* Whether closing a descriptor would take some. */
bool locks_depend_on(int fd);
/* Closes a descriptor of the engine's, now or when it does no harm. As close(2). */
int locks_close(int fd);

#endif
