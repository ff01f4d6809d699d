/* SPDX-License-Identifier: MIT */
/*
 * simulated.c - the engine's replacement policy as it is, over pages that are words without frames
 *
 * The policy runs behind its header (cache/policy.h): what the objects do for it is done here in a few lines, at once and without faults,
 * so that millions of accesses take seconds. A hit on a mapped page is not shown to the policy, just as the hardware does not show it; a
 * touch of a page that the policy had unmapped is, and is counted, since it is the price of knowing. What is not modelled is the daemon
 * that keeps a few pages free.
 */
#include "simulated.h"

#include <errno.h>
#include <stdlib.h>

static struct simulated *simulated_of(const struct chunk *chunk)
{
	return (struct simulated *)chunk->object;
}

/* A page that is mapped and spared ends a piece. */
static void sim_unmap(struct chunk *chunk, const struct chunk_set *spared)
{
	struct simulated_counts *counts = &simulated_of(chunk)->counts;
	bool piece = false;

	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		if (!(page_load(&chunk->page[i]) & PAGE_MAPPED))
			continue;
		if (chunk_set_has(spared, i)) {
			piece = false;
			continue;
		}
		page_flags(&chunk->page[i], PAGE_MAPPED, 0);
		counts->unmapped_pages++;
		counts->unmapped_pieces += !piece;
		piece = true;
	}
	counts->unmaps++;
}

static unsigned sim_evict(struct chunk *chunk, const struct chunk_set *set)
{
	struct simulated *s = simulated_of(chunk);
	unsigned freed = 0;

	for (unsigned i = chunk_set_next(set, 0); i < CHUNK_PAGES; i = chunk_set_next(set, i + 1)) {
		s->counts.evicted_runs += i == 0 || !chunk_set_has(set, i - 1);
		atomic_store(&chunk->page[i], PAGE_ABSENT | (page_load(&chunk->page[i]) & PAGE_REF) | policy_stamp(&s->cache));
		freed++;
	}
	atomic_fetch_sub(&chunk->resident, freed);
	atomic_fetch_sub(&s->cache.used, freed);
	s->counts.decisions++;
	s->counts.evicted_pages += freed;
	return freed;
}

static unsigned sim_clean(struct chunk *chunk, bool wait)
{
	(void)chunk;
	(void)wait;
	return 0;
}

static bool sim_ref(struct object *object)
{
	(void)object;
	return true;
}

static void sim_unref(struct object *object)
{
	(void)object;
}

static const struct cache_ops sim_ops = {
    .unmap = sim_unmap,
    .evict = sim_evict,
    .clean = sim_clean,
    .ref = sim_ref,
    .unref = sim_unref,
};

int simulated_create(uint32_t pages, uint32_t capacity, struct simulated **ret)
{
	uint32_t count = (uint32_t)(((uint64_t)pages + CHUNK_PAGES - 1) / CHUNK_PAGES);
	struct simulated *s = calloc(1, sizeof(*s));

	if (s)
		s->chunks = calloc(count, sizeof(*s->chunks));
	if (!s || !s->chunks) {
		free(s);
		return -ENOMEM;
	}
	s->cache.limit = capacity;
	s->cache.time = 1;
	s->cache.ops = &sim_ops;
	for (uint32_t i = 0; i < count; i++) {
		s->chunks[i].object = (struct object *)s;
		s->chunks[i].first = (uint64_t)i * CHUNK_PAGES;
	}
	*ret = s;
	return 0;
}

void simulated_destroy(struct simulated *s)
{
	if (!s)
		return;
	free(s->chunks);
	free(s);
}

bool simulated_touch(struct simulated *s, uint32_t page)
{
	struct chunk *chunk = &s->chunks[page >> CHUNK_SHIFT];
	page_word *word = &chunk->page[page % CHUNK_PAGES];
	uint32_t was = page_load(word);

	if (page_state(was) == PAGE_RESIDENT) {
		s->counts.hits++;
		if (!(was & PAGE_MAPPED)) {
			s->counts.minor_faults++;
			atomic_store(word, (was & ~PAGE_USE) | policy_touched(was) | PAGE_MAPPED);
		}
		return true;
	}
	s->counts.misses++;
	for (uint64_t barren = 0; s->cache.used >= s->cache.limit; barren++)
		if (policy_step(&s->cache, false) == POLICY_NOTHING || barren > 100000000)
			return false;
	atomic_store(word, PAGE_RESIDENT | PAGE_MAPPED | policy_born(&s->cache, was));
	s->cache.used++;
	chunk->resident++;
	policy_insert(&s->cache, chunk);
	return true;
}
