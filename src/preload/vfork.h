/* SPDX-License-Identifier: MIT */
/*
 * vfork.h - the child of a vfork, which has this process's memory, and descriptors and record locks of its own
 */
#ifndef QUIRE_PRELOAD_VFORK_H
#define QUIRE_PRELOAD_VFORK_H

#include <stdbool.h>
#include <sys/types.h>

extern __thread pid_t vfork_parent; /* that this thread has called vfork in, not long ago; 0: none */

bool vfork_look(void);

/* Whether this is such a child. What is known of the parent's descriptors and locks says nothing of its own, and is to stay as it is. */
static inline bool vfork_is_child(void)
{
	return __builtin_expect(vfork_parent != 0, 0) && vfork_look();
}

/* In the child of a fork. */
void vfork_begin_child(void);

#endif
