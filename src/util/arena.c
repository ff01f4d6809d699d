/* SPDX-License-Identifier: MIT */
/*
 * arena.c - memory for what is made while a fault is resolved
 */
#include <string.h>
#include <sys/mman.h>

#include "util/arena.h"
#include "util/assert.h"
#include "util/fail.h"

#define MAP_BYTES (1u << 20)

static unsigned class_of(size_t size)
{
	unsigned class = (unsigned)((size + ARENA_GRAIN - 1) / ARENA_GRAIN) - 1;

	ASSERT(size > 0 && class < ARENA_CLASSES);
	return class;
}

static void *carve_locked(struct arena *arena, size_t bytes)
{
	void *block;

	if ((size_t)(arena->bump_end - arena->bump) < bytes) {
		char *map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (map == MAP_FAILED)
			return NULL;
		*(void **)map = arena->maps;
		arena->maps = map;
		arena->bump = map + ARENA_GRAIN;
		arena->bump_end = map + MAP_BYTES;
	}
	block = arena->bump;
	arena->bump += bytes;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	unsigned class = class_of(size);
	void *block;

	if (fail_now(FAIL_ALLOC))
		return NULL;
	lock_acquire(&arena->lock);
	block = arena->free[class];
	if (block)
		arena->free[class] = *(void **)block;
	else
		block = carve_locked(arena, (class + 1) * (size_t)ARENA_GRAIN);
	lock_release(&arena->lock);
	if (!block)
		return NULL;
	atomic_fetch_add_explicit(&arena->used_bytes, (class + 1) * ARENA_GRAIN, memory_order_relaxed);
	return memset(block, 0, size);
}

void arena_free(struct arena *arena, void *block, size_t size)
{
	unsigned class = class_of(size);

	if (!block)
		return;
	lock_acquire(&arena->lock);
	*(void **)block = arena->free[class];
	arena->free[class] = block;
	lock_release(&arena->lock);
	atomic_fetch_sub_explicit(&arena->used_bytes, (class + 1) * ARENA_GRAIN, memory_order_relaxed);
}

void arena_done(struct arena *arena)
{
	while (arena->maps) {
		void *map = arena->maps;

		arena->maps = *(void **)map;
		munmap(map, MAP_BYTES);
	}
	memset(arena, 0, sizeof(*arena));
}
