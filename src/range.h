/* SPDX-License-Identifier: MIT */
/*
 * range.h - a range as most public calls take it: an aligned address, and a length that is rounded up
 */
#ifndef QUIRE_RANGE_H
#define QUIRE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "sys/page_size.h"

/* Where it lies, and whose it is. */
struct range {
	char *addr;
	size_t len;
	struct engine *engine; /* NULL: nothing of ours is in it */
};

/*
 * Checks what all calls have in common. overflow: the errno for a range that leaves the address space.
 * => 1: go on; 0: empty, done; -errno with a message.
 */
int range_begin(void *addr, size_t len, int overflow, struct range *ret);

static inline bool range_is_aligned(const void *addr)
{
	return ((uintptr_t)addr & (page_size() - 1)) == 0;
}

/* Says that it is not. -EINVAL. */
int range_refuse_unaligned(const void *addr);

/* For space_visit: refuses what is locked. arg: the name of what cannot be done then. */
int range_refuse_locked(void *arg, const struct part *part);

#endif
