/* SPDX-License-Identifier: MIT */
/*
 * arena.h - memory for what is made while a fault is resolved, where malloc may not be called
 *
 * Blocks of few sizes, carved from maps of the kernel, kept on a free list for each size and never given back before the arena
 * ends. Async-signal-safe.
 */
#ifndef QUIRE_ARENA_H
#define QUIRE_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "util/lock.h"

#define ARENA_GRAIN   64
#define ARENA_CLASSES 66 /* up to 4096 + 128 bytes, in grains */

struct arena {
	struct lock lock;
	void *free[ARENA_CLASSES]; /* lists of freed blocks [lock] */
	char *bump, *bump_end;     /* what is left of the newest map [lock] */
	void *maps;                /* all maps, chained through their first word [lock] */
	_Atomic uint64_t used_bytes;
};

/* Zeroed memory, aligned to 64 bytes, or NULL. size: 1 … 4224 bytes. */
void *arena_alloc(struct arena *arena, size_t size);
/* block may be NULL; size as when it was made. */
void arena_free(struct arena *arena, void *block, size_t size);
/* Everything at once. */
void arena_done(struct arena *arena);

#endif
