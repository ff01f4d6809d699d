/* SPDX-License-Identifier: MIT */
/*
 * epoch.c - in which epoch a page was stored to last
 *
 * A chunk gets its stamps when a page of it is found stored to while epochs are counted: a byte a page.
 *
 *     0        not stored to since epochs are counted, or the object was made
 *     1…255    stored to in epoch base + stamp, or in one before it that was moved up
 *
 * When the count is out of the bytes' reach, the base moves up, to half of the reach below it, and what lies under the base is moved
 * up to the first epoch above it. So a page may be told for too young an epoch, never for too old a one: who asks about one of the last
 * 127 is told exactly, who asks about an older one is told too much.
 *
 * Rejected: a set of stored pages for each client, taken and cleared by him, as the kernel's soft-dirty bit and KVM's log have it. It
 * takes clients that are known and say good-bye, and a bit a page for each of them.
 */
#include "object/epoch.h"

#include <string.h>

#include "util/lock.h"

#define STAMP_MOST UINT8_MAX
#define STAMP_KEEP 128 /* how far the count is above the base when that has moved */

/* Chunks that are made to be stamped; more pages are not worth the memory. */
#define RANGE_CHUNKS 64

uint64_t epoch_begin(struct cache *cache)
{
	uint64_t none = 0;

	atomic_compare_exchange_strong(&cache->epoch, &none, 1);
	return atomic_fetch_add(&cache->epoch, 1);
}

static void move_base_locked(struct stamps *stamps, uint64_t now)
{
	uint64_t base = now - STAMP_KEEP;

	if (now - stamps->base <= STAMP_MOST)
		return;
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint64_t epoch = stamps->base + stamps->page[i];

		if (stamps->page[i])
			stamps->page[i] = epoch > base ? (uint8_t)(epoch - base) : 1;
	}
	stamps->base = base;
}

/* The stamps of a chunk; NULL: there is no memory for them. */
static struct stamps *stamps_get(struct chunk *chunk, uint64_t now)
{
	struct stamps *stamps = atomic_load_explicit(&chunk->stamps, memory_order_acquire), *made;

	/* Of the swap object it is the counts of references that are kept there. */
	ASSERT(chunk->object->kind != OBJECT_SWAP);
	if (stamps)
		return stamps;
	made = arena_alloc(&chunk->object->cache->arena, sizeof(*made));
	if (!made)
		return NULL;
	made->base = now - 1;
	if (atomic_compare_exchange_strong_explicit(&chunk->stamps, &stamps, made, memory_order_acq_rel, memory_order_acquire))
		return made;
	arena_free(&chunk->object->cache->arena, made, sizeof(*made));
	return stamps;
}

/* All of the object counts as stored to in this epoch. */
static void lose(struct object *object, uint64_t now)
{
	uint64_t lost = atomic_load(&object->epoch_lost);

	while (lost < now && !atomic_compare_exchange_weak(&object->epoch_lost, &lost, now))
		;
}

void epoch_stamp(struct chunk *chunk, unsigned i, unsigned n)
{
	uint64_t now = atomic_load(&chunk->object->cache->epoch);
	struct stamps *stamps;

	if (now == 0 || n == 0)
		return;
	stamps = stamps_get(chunk, now);
	if (!stamps) {
		lose(chunk->object, now);
		return;
	}
	lock_acquire(&stamps->lock);
	/* Another may have come with a later one meanwhile. */
	now = atomic_load(&chunk->object->cache->epoch);
	move_base_locked(stamps, now);
	memset(&stamps->page[i], (int)(now - stamps->base), n);
	lock_release(&stamps->lock);
}

void epoch_stamp_range(struct object *object, uint64_t first, uint64_t end)
{
	uint64_t now = atomic_load(&object->cache->epoch);

	if (now == 0 || first >= end)
		return;
	if ((end - first) >> CHUNK_SHIFT > RANGE_CHUNKS) {
		lose(object, now);
		return;
	}
	while (first < end) {
		unsigned i = (unsigned)(first % CHUNK_PAGES);
		unsigned n = end - first < CHUNK_PAGES - i ? (unsigned)(end - first) : CHUNK_PAGES - i;
		struct chunk *chunk;

		if (object_page(object, first, &chunk))
			epoch_stamp(chunk, i, n);
		else
			lose(object, now);
		first += n;
	}
}

void epoch_written(struct chunk *chunk, uint64_t since, struct chunk_set *ret)
{
	struct stamps *stamps = atomic_load_explicit(&chunk->stamps, memory_order_acquire);

	memset(ret, 0, sizeof(*ret));
	if (!stamps)
		return;
	lock_acquire(&stamps->lock);
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		if (stamps->page[i] && stamps->base + stamps->page[i] > since)
			chunk_set_add(ret, i);
	lock_release(&stamps->lock);
}

bool epoch_is_lost(const struct object *object, uint64_t since)
{
	return since < atomic_load(&object->epoch_lost);
}
