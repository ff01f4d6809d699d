/* SPDX-License-Identifier: MIT */
/*
 * test-clock.c - the replacement policy, over objects that are nothing but words
 *
 * A simulation of a program: a page is touched; a hit on a mapped page is not seen, one on an unmapped page is a minor fault, any
 * other a load. The traces are also given to a FIFO and to an LRU of as many frames, and it is those that the policy is
 * compared with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/policy.h"

#define CHUNKS 64
#define PAGES  (CHUNKS * CHUNK_PAGES)

/* What the policy knows of an object is that it can be referenced. */
struct object {
	unsigned refs;
	bool dying;
};

/* There is one at a time: the policy's callbacks have no argument. */
static struct {
	struct cache *cache;
	struct object object;
	struct chunk *chunks;
	bool locked;     /* nothing can be unmapped */
	bool unwritable; /* nothing gets clean */
	unsigned unmaps, cleans, evictions;
	unsigned bad_victims;
} sim;

/* ---- what objects do for the policy ---- */

static void sim_unmap(struct chunk *chunk, const struct chunk_set *spared)
{
	sim.unmaps++;
	for (unsigned i = 0; i < CHUNK_PAGES && !sim.locked; i++)
		if (!chunk_set_has(spared, i))
			page_flags(&chunk->page[i], PAGE_MAPPED, 0);
}

static unsigned sim_evict(struct chunk *chunk, const struct chunk_set *set)
{
	unsigned freed = 0;

	for (unsigned i = chunk_set_next(set, 0); i < CHUNK_PAGES; i = chunk_set_next(set, i + 1)) {
		uint32_t word = page_load(&chunk->page[i]);

		if (page_state(word) != PAGE_RESIDENT || (word & (PAGE_MAPPED | PAGE_DIRTY | PAGE_WRITING))) {
			sim.bad_victims++;
			continue;
		}
		atomic_store(&chunk->page[i], PAGE_ABSENT | (word & PAGE_REF) | policy_stamp(sim.cache));
		freed++;
	}
	atomic_fetch_sub(&chunk->resident, freed);
	budget_release(sim.cache, freed);
	count(&sim.cache->counters.evicted_pages, freed);
	sim.evictions += freed;
	return freed;
}

static unsigned sim_clean(struct chunk *chunk, bool wait)
{
	unsigned cleaned = 0;

	(void)wait;
	sim.cleans++;
	for (unsigned i = 0; i < CHUNK_PAGES && !sim.unwritable; i++)
		cleaned += (page_flags(&chunk->page[i], PAGE_DIRTY, 0) & PAGE_DIRTY) != 0;
	count(&sim.cache->counters.write_calls, cleaned > 0);
	return cleaned;
}

static bool sim_ref(struct object *object)
{
	if (object->dying)
		return false;
	object->refs++;
	return true;
}

static void sim_unref(struct object *object)
{
	object->refs--;
}

static const struct cache_ops sim_ops = {
    .unmap = sim_unmap,
    .evict = sim_evict,
    .clean = sim_clean,
    .ref = sim_ref,
    .unref = sim_unref,
};

static int make_with(uint64_t limit)
{
	memset(&sim, 0, sizeof(sim));
	sim.chunks = calloc(CHUNKS, sizeof(*sim.chunks));
	for (unsigned i = 0; sim.chunks && i < CHUNKS; i++) {
		sim.chunks[i].object = &sim.object;
		sim.chunks[i].first = i * CHUNK_PAGES;
	}
	return sim.chunks ? cache_create(limit, &sim_ops, NULL, &sim.cache) : -1;
}

static int make(void **state)
{
	(void)state;
	return make_with(PAGES / 4);
}

static int destroy(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CHUNKS; i++) {
		policy_remove(sim.cache, &sim.chunks[i]);
		budget_release(sim.cache, sim.chunks[i].resident);
	}
	cache_destroy(sim.cache);
	free(sim.chunks);
	return 0;
}

/* ---- the program ---- */

static unsigned frames(void)
{
	return (unsigned)(sim.cache->limit - sim.cache->buffers.total_pages);
}

static page_word *word_of(unsigned page)
{
	return &sim.chunks[page / CHUNK_PAGES].page[page % CHUNK_PAGES];
}

/* Makes a page resident with these flags. */
static void bring_in(unsigned page, uint32_t flags)
{
	struct chunk *chunk = &sim.chunks[page / CHUNK_PAGES];

	assert_int_equal(budget_reserve(sim.cache, 1), 0);
	atomic_store(word_of(page), PAGE_RESIDENT | flags);
	if (atomic_fetch_add(&chunk->resident, 1) == 0)
		policy_insert(sim.cache, chunk);
}

/* Whether it was a hit. */
static bool touch(unsigned page)
{
	uint32_t word = page_load(word_of(page));

	if (page_state(word) == PAGE_ABSENT) {
		bring_in(page, PAGE_MAPPED | policy_born(sim.cache, word));
		return false;
	}
	if (!(word & PAGE_MAPPED))
		page_flags(word_of(page), PAGE_USE | PAGE_AHEAD,
			   PAGE_MAPPED | (word & PAGE_AHEAD ? word & PAGE_USE : policy_touched(word)));
	return true;
}

/* ---- what it is compared with ---- */

/* A queue of pages; LRU: a hit moves the page to its end. */
struct queue {
	bool lru;
	unsigned capacity, count;
	unsigned head, tail; /* PAGES: none */
	unsigned next[PAGES], previous[PAGES];
	bool in[PAGES];
};

static struct queue *queue_new(bool lru)
{
	struct queue *queue = calloc(1, sizeof(*queue));

	assert_non_null(queue);
	queue->lru = lru;
	queue->capacity = frames();
	queue->head = queue->tail = PAGES;
	return queue;
}

static void queue_remove(struct queue *queue, unsigned page)
{
	if (queue->previous[page] < PAGES)
		queue->next[queue->previous[page]] = queue->next[page];
	else
		queue->head = queue->next[page];
	if (queue->next[page] < PAGES)
		queue->previous[queue->next[page]] = queue->previous[page];
	else
		queue->tail = queue->previous[page];
	queue->in[page] = false;
	queue->count--;
}

static void queue_push(struct queue *queue, unsigned page)
{
	queue->next[page] = PAGES;
	queue->previous[page] = queue->tail;
	if (queue->tail < PAGES)
		queue->next[queue->tail] = page;
	else
		queue->head = page;
	queue->tail = page;
	queue->in[page] = true;
	queue->count++;
}

static bool queue_touch(struct queue *queue, unsigned page)
{
	bool hit = queue->in[page];

	if (hit && !queue->lru)
		return true;
	if (hit)
		queue_remove(queue, page);
	else if (queue->count == queue->capacity)
		queue_remove(queue, queue->head);
	queue_push(queue, page);
	return hit;
}

/* ---- numbers that are the same each time ---- */

static uint64_t seed;

static uint32_t number(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 32);
}

static unsigned order[PAGES]; /* pages, the most popular first */
static double share[PAGES];   /* of all touches, of those up to here */

static void make_zipf(void)
{
	double sum = 0;

	seed = 1;
	for (unsigned i = 0; i < PAGES; i++) {
		order[i] = i;
		sum += 1.0 / (i + 1);
		share[i] = sum;
	}
	for (unsigned i = PAGES - 1; i > 0; i--) {
		unsigned k = number() % (i + 1), swapped = order[i];

		order[i] = order[k];
		order[k] = swapped;
	}
	for (unsigned i = 0; i < PAGES; i++)
		share[i] /= sum;
}

static unsigned zipf(void)
{
	double x = number() / 4294967296.0;
	unsigned low = 0, high = PAGES - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (share[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return order[low];
}

/* ---- hit ratios ---- */

static void on_a_skewed_trace_it_beats_fifo_and_lru(void **state)
{
	enum { TOUCHES = 400000 };
	struct queue *fifo = queue_new(false), *lru = queue_new(true);
	unsigned hits = 0, fifo_hits = 0, lru_hits = 0;

	(void)state;
	make_zipf();
	for (unsigned i = 0; i < TOUCHES; i++) {
		unsigned page = zipf();
		bool counted = i >= TOUCHES / 4;

		hits += touch(page) & counted;
		fifo_hits += queue_touch(fifo, page) & counted;
		lru_hits += queue_touch(lru, page) & counted;
	}
	free(fifo);
	free(lru);
	print_message("hits: clock %u, FIFO %u, LRU %u\n", hits, fifo_hits, lru_hits);
	assert_true(hits > fifo_hits);
	assert_true(hits > lru_hits);
}

static void a_scan_displaces_less_of_what_is_used_than_under_lru(void **state)
{
	struct queue *lru = queue_new(true);
	unsigned hot = frames() / 2, left = 0, lru_left = 0;

	(void)state;
	/* A working set of half the memory, used several times while other pages come and go. */
	for (unsigned round = 0; round < 8; round++)
		for (unsigned page = 0; page < hot; page++) {
			unsigned other = PAGES / 2 + (round * hot + page) % (PAGES / 2);

			touch(page);
			queue_touch(lru, page);
			touch(other);
			queue_touch(lru, other);
		}
	/* Then a scan as long as memory, and nothing else. */
	for (unsigned page = hot; page < hot + frames(); page++) {
		touch(page);
		queue_touch(lru, page);
	}
	for (unsigned page = 0; page < hot; page++) {
		left += page_state(page_load(word_of(page))) == PAGE_RESIDENT;
		lru_left += lru->in[page];
	}
	free(lru);
	print_message("left of %u: clock %u, LRU %u\n", hot, left, lru_left);
	assert_true(left > lru_left);
}

static void a_working_set_that_fits_beside_a_scan_is_missed_less_than_under_fifo(void **state)
{
	struct queue *fifo = queue_new(false);
	unsigned hot = frames() / 2, misses = 0, fifo_misses = 0, scanned = hot;

	(void)state;
	seed = 1;
	for (unsigned i = 0; i < 400000; i++) {
		unsigned page = number() % hot;

		misses += !touch(page);
		fifo_misses += !queue_touch(fifo, page);
		if (i % 4 == 0) {
			scanned = scanned + 1 < PAGES ? scanned + 1 : hot;
			touch(scanned);
			queue_touch(fifo, scanned);
		}
	}
	free(fifo);
	print_message("misses: clock %u, FIFO %u\n", misses, fifo_misses);
	assert_true(misses < fifo_misses);
}

/* ---- frequencies and ghosts ---- */

static void a_page_that_comes_for_the_first_time_has_proved_nothing(void **state)
{
	(void)state;
	assert_int_equal(policy_born(sim.cache, PAGE_ABSENT), 0);
	assert_int_equal(policy_born(sim.cache, PAGE_ABSENT | PAGE_STORED), 0);
	assert_int_equal(sim.cache->counters.refaulted_pages, 0);
}

/* The flags of a page with so many uses, and so many passes yet. */
static uint32_t use(uint32_t uses, uint32_t passes)
{
	return uses * PAGE_REF_ONE | passes * PAGE_PASS;
}

static void that_a_page_comes_back_soon_after_its_eviction_is_one_use_more(void **state)
{
	uint32_t ghost;

	(void)state;
	ghost = policy_stamp(sim.cache);
	assert_int_equal(ghost & ~PAGE_STAMP, 0);
	for (uint32_t uses = 0; uses <= 4; uses++) {
		uint32_t more = uses < 4 ? uses + 1 : 4;

		assert_int_equal(policy_born(sim.cache, PAGE_ABSENT | ghost | use(uses, 0)), use(more, more));
	}
	assert_int_equal(sim.cache->counters.refaulted_pages, 5);
}

static void half_of_its_uses_is_forgotten_with_each_memory_of_evictions(void **state)
{
	uint32_t ghost = policy_stamp(sim.cache) | use(3, 0), known = 4;
	uint64_t n = 0;

	(void)state;
	while (known > 0) {
		uint32_t uses = policy_born(sim.cache, PAGE_ABSENT | ghost) / PAGE_REF_ONE % 8;

		if (uses != known) {
			assert_int_equal(uses, known / 2);
			assert_in_range(n, sim.cache->limit / 2, 2 * sim.cache->limit);
			known = uses;
			n = 0;
		}
		policy_stamp(sim.cache);
		n++;
	}
}

static void a_stamp_is_never_none_while_the_clock_goes_around(void **state)
{
	uint32_t before = policy_stamp(sim.cache), changes = 0;

	(void)state;
	for (uint64_t i = 0; i < 32768 * (sim.cache->limit / 256 + 1) * 2; i++) {
		uint32_t stamp = policy_stamp(sim.cache);

		assert_int_not_equal(stamp, 0);
		changes += stamp != before;
		before = stamp;
	}
	assert_true(changes > 32768);
}

static void each_time_that_a_page_is_useful_it_stays_twice_as_long_up_to_four(void **state)
{
	static const uint32_t passes[] = {4, 6, 10, 18, 18, 18};
	uint32_t word = PAGE_RESIDENT | PAGE_DIRTY;

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		word = (word & ~PAGE_USE) | policy_touched(word);
		assert_int_equal(word, PAGE_RESIDENT | PAGE_DIRTY | use(i < 4 ? i + 1 : 4, passes[i]));
	}
}

/* Both hands once around; a page beside, which nobody uses, goes by it. */
static void go_round(unsigned page)
{
	unsigned evictions = sim.evictions;

	bring_in(page, PAGE_MAPPED);
	while (sim.evictions == evictions)
		policy_step(sim.cache, false);
}

static uint32_t passes_left(unsigned page)
{
	return (page_load(word_of(page)) & PAGE_PASSES) / PAGE_PASS;
}

static void a_page_stays_for_its_passes_and_is_unmapped_for_the_last_of_them(void **state)
{
	(void)state;
	bring_in(0, PAGE_MAPPED | use(2, 6));
	for (uint32_t left = 6; left > 3; left--) {
		assert_int_equal(passes_left(0), left);
		assert_true(page_load(word_of(0)) & PAGE_MAPPED);
		go_round(1);
	}
	for (uint32_t left = 3; left > 0; left--) {
		assert_int_equal(passes_left(0), left);
		go_round(1);
		assert_false(page_load(word_of(0)) & PAGE_MAPPED);
	}
	assert_int_equal(page_state(page_load(word_of(0))), PAGE_RESIDENT);
	go_round(1);
	assert_int_equal(page_state(page_load(word_of(0))), PAGE_ABSENT);
	assert_int_equal(page_load(word_of(0)) & PAGE_REF, use(2, 0));
}

static void what_need_not_prove_anything_yet_is_not_unmapped(void **state)
{
	(void)state;
	for (unsigned page = 0; page < CHUNK_PAGES; page++)
		bring_in(page, PAGE_MAPPED | use(4, 18));
	policy_step(sim.cache, false);
	assert_int_equal(sim.unmaps, 0);
	for (unsigned page = 0; page < CHUNK_PAGES; page++)
		assert_true(page_load(word_of(page)) & PAGE_MAPPED);
}

/* Pages that stay, by their number from, with those that go on both sides. */
static void bring_in_between(unsigned from, unsigned stay)
{
	bring_in(from - 1, PAGE_MAPPED);
	for (unsigned i = 0; i < stay; i++)
		bring_in(from + 2 * i, PAGE_MAPPED | use(4, 18));
	bring_in(from + 2 * stay, PAGE_MAPPED);
}

static unsigned count_mapped(unsigned from, unsigned stay)
{
	unsigned mapped = 0;

	for (unsigned i = 0; i < stay; i++)
		mapped += (page_load(word_of(from + 2 * i)) & PAGE_MAPPED) != 0;
	return mapped;
}

static void few_that_would_stay_between_two_that_go_go_too(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		bring_in(i, PAGE_MAPPED | use(4, 18)); /* none goes before them */
	bring_in_between(100, 4);
	bring_in_between(200, 5);
	bring_in_between(300, 1);
	for (unsigned i = CHUNK_PAGES - 4; i < CHUNK_PAGES; i++)
		bring_in(i, PAGE_MAPPED | use(4, 18)); /* and none behind */
	policy_step(sim.cache, false);
	assert_int_equal(sim.unmaps, 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(page_load(word_of(i)) & PAGE_MAPPED);
		assert_true(page_load(word_of(CHUNK_PAGES - 1 - i)) & PAGE_MAPPED);
	}
	assert_int_equal(count_mapped(100, 4), 0);
	assert_int_equal(count_mapped(200, 5), 5);
	assert_int_equal(count_mapped(300, 1), 0);
	/* They keep what they have proved. */
	assert_int_equal(passes_left(100), 18);
}

static void hot_pages_cost_a_minor_fault_in_fewer_and_fewer_rounds(void **state)
{
	unsigned faults = 0;

	(void)state;
	bring_in(0, PAGE_MAPPED);
	for (unsigned round = 0; round < 64; round++) {
		faults += !(page_load(word_of(0)) & PAGE_MAPPED);
		touch(0);
		go_round(1);
	}
	/* Of 64 rounds: after 1, 1, 3, 7, and then 15 each. */
	assert_in_range(faults, 4, 9);
}

static void where_all_is_useful_the_passes_count_for_more_and_more(void **state)
{
	unsigned steps = 0;

	(void)state;
	for (unsigned page = 0; page < 8 * CHUNK_PAGES; page++)
		bring_in(page, PAGE_MAPPED | use(4, 18));
	while (sim.evictions == 0) {
		policy_step(sim.cache, false);
		steps++;
	}
	/* In two steps a chunk and round: 19 rounds without. */
	assert_in_range(steps, 8 * 2 * 4, 8 * 2 * 8);
}

static void advice_that_a_page_is_cold_forgets_its_uses_unless_it_is_mapped(void **state)
{
	(void)state;
	bring_in(0, use(4, 18));
	bring_in(1, use(4, 18) | PAGE_MAPPED);
	policy_cold(word_of(0));
	policy_cold(word_of(1));
	policy_cold(word_of(2));
	assert_int_equal(page_load(word_of(0)), PAGE_RESIDENT);
	assert_int_equal(page_load(word_of(1)), PAGE_RESIDENT | PAGE_MAPPED | use(4, 18));
	assert_int_equal(page_load(word_of(2)), PAGE_ABSENT);
}

static void what_was_read_ahead_has_one_pass_to_be_touched_in(void **state)
{
	uint32_t word;

	(void)state;
	bring_in(0, PAGE_AHEAD);
	while ((word = page_load(word_of(0))) & PAGE_AHEAD)
		policy_step(sim.cache, false);
	assert_int_equal(page_state(word), PAGE_RESIDENT);
	for (unsigned i = 0; i < 10; i++)
		policy_step(sim.cache, false);
	assert_int_equal(page_state(page_load(word_of(0))), PAGE_ABSENT);
}

/* ---- what must not go ---- */

static void sweep(void)
{
	for (unsigned i = 0; i < 20 * CHUNKS; i++)
		policy_step(sim.cache, i % 2);
}

static void nothing_that_is_mapped_dirty_or_busy_is_evicted(void **state)
{
	static const uint32_t flags[] = {PAGE_MAPPED, PAGE_DIRTY, PAGE_WRITING, PAGE_MAPPED | PAGE_DIRTY, 0};

	(void)state;
	for (unsigned page = 0; page < 2000; page++) {
		bring_in(page, flags[page % 5]);
		if (page % 7 == 0)
			atomic_store(word_of(page), PAGE_HELD | flags[page % 5]);
	}
	sim.locked = sim.unwritable = true;
	sweep();
	assert_int_equal(sim.bad_victims, 0);
	assert_true(sim.evictions > 0);
	for (unsigned page = 0; page < 2000; page++)
		if (page % 7 == 0)
			atomic_store(word_of(page), PAGE_RESIDENT | flags[page % 5]);
}

/* A file on a full disk must not make faults on all others fail. */
static void pages_that_cannot_be_written_do_not_protect_clean_ones(void **state)
{
	unsigned half = CHUNK_PAGES * (frames() / CHUNK_PAGES / 2);

	(void)state;
	sim.unwritable = true;
	for (unsigned page = 0; page < 2 * half; page++)
		bring_in(page, PAGE_MAPPED | (page < half ? PAGE_DIRTY : 0));
	sweep();
	assert_int_equal(sim.evictions, half);
}

static void dirty_pages_are_evicted_once_they_are_written(void **state)
{
	(void)state;
	for (unsigned page = 0; page < 1000; page++)
		bring_in(page, PAGE_MAPPED | PAGE_DIRTY);
	sweep();
	assert_true(sim.cleans > 0);
	assert_int_equal(sim.bad_victims, 0);
	assert_int_equal(sim.evictions, 1000);
}

static void it_stays_within_the_budget(void **state)
{
	(void)state;
	for (unsigned page = 0; page < PAGES; page++) {
		touch(page);
		assert_true(sim.cache->used <= sim.cache->limit);
	}
	assert_int_equal(sim.evictions, PAGES - (sim.cache->used - sim.cache->buffers.total_pages));
}

/* ---- the queues ---- */

static void without_chunks_there_is_nothing_to_do(void **state)
{
	(void)state;
	assert_int_equal(policy_step(sim.cache, false), POLICY_NOTHING);
	assert_int_equal(policy_step(sim.cache, true), POLICY_NOTHING);
}

static void a_chunk_is_queued_once_and_leaves_with_its_last_page(void **state)
{
	(void)state;
	bring_in(0, 0);
	policy_insert(sim.cache, &sim.chunks[0]);
	bring_in(1, 0);
	assert_int_equal(sim.cache->queued, 1);
	sweep();
	assert_int_equal(sim.evictions, 2);
	assert_int_equal(sim.cache->queued, 0);
	assert_int_equal(sim.cache->idle_pages, 0);
	assert_int_equal(policy_step(sim.cache, false), POLICY_NOTHING);
	bring_in(2, 0);
	assert_int_equal(sim.cache->queued, 1);
}

static void a_removed_chunk_is_not_looked_at(void **state)
{
	(void)state;
	bring_in(0, PAGE_MAPPED);
	policy_remove(sim.cache, &sim.chunks[0]);
	assert_int_equal(policy_step(sim.cache, false), POLICY_NOTHING);
	assert_int_equal(sim.unmaps, 0);
	/* Neither when it was idle. */
	policy_insert(sim.cache, &sim.chunks[0]);
	atomic_store(word_of(0), PAGE_RESIDENT | PAGE_DIRTY);
	sim.unwritable = true;
	policy_step(sim.cache, false);
	policy_step(sim.cache, false);
	policy_remove(sim.cache, &sim.chunks[0]);
	assert_int_equal(sim.cache->idle_pages, 0);
	assert_int_equal(policy_step(sim.cache, false), POLICY_NOTHING);
}

static void chunks_of_a_dying_object_are_left_alone(void **state)
{
	(void)state;
	bring_in(0, PAGE_MAPPED);
	sim.object.dying = true;
	assert_int_equal(policy_step(sim.cache, false), POLICY_NOTHING);
	assert_int_equal(sim.unmaps, 0);
	assert_int_equal(sim.object.refs, 0);
	assert_int_equal(sim.cache->queued, 0);
}

static void every_reference_is_given_back(void **state)
{
	(void)state;
	for (unsigned page = 0; page < PAGES; page += 3)
		touch(page);
	sweep();
	assert_int_equal(sim.object.refs, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(on_a_skewed_trace_it_beats_fifo_and_lru),
	    TEST(a_scan_displaces_less_of_what_is_used_than_under_lru),
	    TEST(a_working_set_that_fits_beside_a_scan_is_missed_less_than_under_fifo),
	    TEST(a_page_that_comes_for_the_first_time_has_proved_nothing),
	    TEST(that_a_page_comes_back_soon_after_its_eviction_is_one_use_more),
	    TEST(half_of_its_uses_is_forgotten_with_each_memory_of_evictions),
	    TEST(a_stamp_is_never_none_while_the_clock_goes_around),
	    TEST(each_time_that_a_page_is_useful_it_stays_twice_as_long_up_to_four),
	    TEST(a_page_stays_for_its_passes_and_is_unmapped_for_the_last_of_them),
	    TEST(what_need_not_prove_anything_yet_is_not_unmapped),
	    TEST(few_that_would_stay_between_two_that_go_go_too),
	    TEST(hot_pages_cost_a_minor_fault_in_fewer_and_fewer_rounds),
	    TEST(where_all_is_useful_the_passes_count_for_more_and_more),
	    TEST(advice_that_a_page_is_cold_forgets_its_uses_unless_it_is_mapped),
	    TEST(what_was_read_ahead_has_one_pass_to_be_touched_in),
	    TEST(nothing_that_is_mapped_dirty_or_busy_is_evicted),
	    TEST(pages_that_cannot_be_written_do_not_protect_clean_ones),
	    TEST(dirty_pages_are_evicted_once_they_are_written),
	    TEST(it_stays_within_the_budget),
	    TEST(without_chunks_there_is_nothing_to_do),
	    TEST(a_chunk_is_queued_once_and_leaves_with_its_last_page),
	    TEST(a_removed_chunk_is_not_looked_at),
	    TEST(chunks_of_a_dying_object_are_left_alone),
	    TEST(every_reference_is_given_back),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
