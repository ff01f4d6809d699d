/* SPDX-License-Identifier: MIT */
/*
 * test-table.c - finds the chunk of a page
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "object/table.h"
#include "util/fail.h"

#define THREADS 4
#define CHUNKS  600

/* From next to each other to as far as page numbers go; ascending, one for each chunk. */
static const uint64_t sparse[] = {
    1, 512, 1023 + 1, 64 * 512 - 1, 64 * 512, 1ull << 20, 1ull << 40, (1ull << 40) + 512, 1ull << 52, 1ull << 63, UINT64_MAX - 512,
};
#define SPARSE (sizeof(sparse) / sizeof(sparse[0]))

struct fixture {
	struct table table;
	struct arena arena;
};

static struct object *const owner = (struct object *)0x1000;

static int make(void **state)
{
	static struct fixture fixture;

	*state = &fixture;
	return 0;
}

static int destroy(void **state)
{
	struct fixture *fixture = *state;

	fail_arm(FAIL_ALLOC, 0, false);
	table_done(&fixture->table, &fixture->arena, sizeof(struct stamps));
	arena_done(&fixture->arena);
	return 0;
}

static struct chunk *get(struct fixture *fixture, uint64_t page)
{
	return table_get(&fixture->table, &fixture->arena, owner, page);
}

static void an_untouched_table_finds_nothing(void **state)
{
	struct fixture *fixture = *state;

	assert_null(table_find(&fixture->table, 0));
	assert_null(table_find(&fixture->table, 1ull << 40));
	assert_null(table_next(&fixture->table, 0));
	assert_null(table_next(&fixture->table, UINT64_MAX));
}

static void a_chunk_knows_its_object_and_first_page_and_its_pages_are_absent(void **state)
{
	for (unsigned i = 0; i < SPARSE; i++) {
		struct chunk *chunk = get(*state, sparse[i]);

		assert_non_null(chunk);
		assert_ptr_equal(chunk->object, owner);
		assert_int_equal(chunk->first, sparse[i] / CHUNK_PAGES * CHUNK_PAGES);
		for (unsigned k = 0; k < CHUNK_PAGES; k++)
			assert_int_equal(page_load(&chunk->page[k]), PAGE_ABSENT);
	}
}

static void pages_of_one_chunk_find_the_same_one_and_others_do_not(void **state)
{
	struct chunk *chunk = get(*state, 0);
	struct fixture *fixture = *state;

	assert_ptr_equal(get(fixture, 511), chunk);
	assert_ptr_equal(table_find(&fixture->table, 511), chunk);
	assert_null(table_find(&fixture->table, 512));
	assert_ptr_not_equal(get(fixture, 512), chunk);
	assert_ptr_equal(table_find(&fixture->table, 0), chunk);
}

static void check_sparse(struct fixture *fixture, struct chunk *const *chunks)
{
	struct chunk *at = table_next(&fixture->table, 0);

	for (unsigned i = 0; i < SPARSE; i++) {
		assert_ptr_equal(table_find(&fixture->table, sparse[i]), chunks[i]);
		assert_ptr_equal(at, chunks[i]);
		at = at->first + CHUNK_PAGES ? table_next(&fixture->table, at->first + CHUNK_PAGES) : NULL;
	}
	assert_null(at);
}

static void sparse_chunks_made_upwards_are_found_and_met_in_order(void **state)
{
	struct chunk *chunks[SPARSE];

	for (unsigned i = 0; i < SPARSE; i++)
		chunks[i] = get(*state, sparse[i]);
	check_sparse(*state, chunks);
}

static void sparse_chunks_made_downwards_are_found_and_met_in_order(void **state)
{
	struct chunk *chunks[SPARSE];

	for (unsigned i = SPARSE; i-- > 0;)
		chunks[i] = get(*state, sparse[i]);
	check_sparse(*state, chunks);
}

static void next_from_inside_a_chunk_is_that_chunk_and_from_a_gap_the_one_behind(void **state)
{
	struct fixture *fixture = *state;
	struct chunk *near = get(fixture, 1024), *far = get(fixture, 1ull << 30);

	assert_ptr_equal(table_next(&fixture->table, 0), near);
	assert_ptr_equal(table_next(&fixture->table, 1024), near);
	assert_ptr_equal(table_next(&fixture->table, 1535), near);
	assert_ptr_equal(table_next(&fixture->table, 1536), far);
	assert_ptr_equal(table_next(&fixture->table, 1ull << 29), far);
	assert_null(table_next(&fixture->table, (1ull << 30) + 512));
	assert_null(table_next(&fixture->table, 1ull << 60));
}

static void marked_chunks_are_met_in_order_and_no_others(void **state)
{
	struct fixture *fixture = *state;
	struct chunk *chunks[SPARSE];

	for (unsigned i = 0; i < SPARSE; i++)
		chunks[i] = get(fixture, sparse[i]);
	/* A root that was put on top of others takes them for marked; that is gone once they were unmarked. */
	for (unsigned i = 0; i < SPARSE; i++)
		table_unmark(&fixture->table, sparse[i]);
	assert_null(table_next_marked(&fixture->table, 0));
	for (unsigned set = 1; set < 1u << SPARSE; set++) {
		struct chunk *at;

		for (unsigned i = 0; i < SPARSE; i++)
			if (set >> i & 1)
				table_mark(&fixture->table, sparse[i]);
		at = table_next_marked(&fixture->table, 0);
		for (unsigned i = 0; i < SPARSE; i++) {
			if (!(set >> i & 1))
				continue;
			assert_ptr_equal(at, chunks[i]);
			at = at->first + CHUNK_PAGES ? table_next_marked(&fixture->table, at->first + CHUNK_PAGES) : NULL;
			table_unmark(&fixture->table, sparse[i]);
		}
		assert_null(at);
		assert_null(table_next_marked(&fixture->table, 0));
	}
}

static void what_is_marked_stays_so_when_the_table_grows(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 0; i < SPARSE; i++) {
		struct chunk *chunk = get(fixture, sparse[i]);

		table_mark(&fixture->table, sparse[i]);
		for (unsigned k = 0; k <= i; k++)
			assert_ptr_equal(table_next_marked(&fixture->table, sparse[k]), table_find(&fixture->table, sparse[k]));
		assert_ptr_equal(table_next_marked(&fixture->table, sparse[i]), chunk);
	}
}

static void a_touch_far_from_all_others_costs_less_than_three_chunks(void **state)
{
	struct fixture *fixture = *state;

	get(fixture, 1ull << 40);
	assert_true(fixture->arena.used_bytes < 3 * sizeof(struct chunk));
}

static void the_end_gives_all_memory_back(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 0; i < SPARSE; i++)
		get(fixture, sparse[i]);
	table_done(&fixture->table, &fixture->arena, sizeof(struct stamps));
	assert_int_equal(fixture->arena.used_bytes, 0);
	assert_null(table_find(&fixture->table, sparse[0]));
}

static void without_memory_it_answers_null_and_finds_all_it_had(void **state)
{
	struct fixture *fixture = *state;
	unsigned failures = 0;
	bool failed = true;

	get(fixture, 3);
	for (unsigned i = 0; i < SPARSE; i++) {
		for (int64_t n = 1; failed; n++) {
			fail_arm(FAIL_ALLOC, n, false);
			failed = !get(fixture, sparse[i]);
			failures += failed;
			assert_int_equal(failed, atomic_load(&fail_count[FAIL_ALLOC]));
			fail_arm(FAIL_ALLOC, 0, false);
			assert_non_null(table_find(&fixture->table, 3));
			assert_int_equal(!table_find(&fixture->table, sparse[i]), failed);
		}
		failed = true;
	}
	assert_true(failures > SPARSE);
	for (unsigned i = 0; i < SPARSE; i++)
		assert_int_equal(table_find(&fixture->table, sparse[i])->first, sparse[i] / CHUNK_PAGES * CHUNK_PAGES);
}

/* ---- threads ---- */

static uint64_t scattered(unsigned i)
{
	return ((uint64_t)i * 0x9e3779b97f4a7c15u) >> (10 + i % 40);
}

struct grower {
	struct fixture *fixture;
	unsigned start;
	struct chunk *got[CHUNKS];
};

static void *grow_main(void *arg)
{
	struct grower *grower = arg;

	for (unsigned n = 0; n < CHUNKS; n++) {
		unsigned i = (grower->start + n) % CHUNKS;

		grower->got[i] = get(grower->fixture, scattered(i));
	}
	return NULL;
}

static void threads_that_grow_it_at_once_agree_on_every_chunk(void **state)
{
	static struct grower growers[THREADS];
	struct fixture *fixture = *state, alone = {0};
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		growers[i].fixture = fixture;
		growers[i].start = i % 2 ? 0 : i * 100;
		assert_int_equal(pthread_create(&threads[i], NULL, grow_main, &growers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < CHUNKS; i++) {
		assert_non_null(growers[0].got[i]);
		assert_int_equal(growers[0].got[i]->first, scattered(i) / CHUNK_PAGES * CHUNK_PAGES);
		for (unsigned t = 1; t < THREADS; t++)
			assert_ptr_equal(growers[t].got[i], growers[0].got[i]);
		get(&alone, scattered(i));
	}
	/* What the losers of a race had made was freed again. */
	assert_int_equal(fixture->arena.used_bytes, alone.arena.used_bytes);
	arena_done(&alone.arena);
}

#define ROUNDS 40

static _Atomic unsigned markers;

/* Puts a thing to each chunk, again and again, and makes the chunks meanwhile. */
static void *mark_main(void *arg)
{
	struct grower *grower = arg;

	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned n = 0; n < CHUNKS; n++) {
			unsigned i = (grower->start + n) % CHUNKS;
			struct chunk *chunk = get(grower->fixture, scattered(i));

			atomic_fetch_add(&chunk->unsaved, 1);
			table_mark(&grower->fixture->table, scattered(i));
		}
	atomic_fetch_sub(&markers, 1);
	return NULL;
}

/* How many things are there at marked chunks. */
static unsigned take_marked(struct fixture *fixture)
{
	unsigned taken = 0;

	for (struct chunk *chunk = table_next_marked(&fixture->table, 0); chunk;
	     chunk = chunk->first + CHUNK_PAGES ? table_next_marked(&fixture->table, chunk->first + CHUNK_PAGES) : NULL) {
		unsigned here = atomic_exchange(&chunk->unsaved, 0);

		taken += here;
		if (here > 0)
			continue;
		table_unmark(&fixture->table, chunk->first);
		if (atomic_load(&chunk->unsaved) > 0)
			table_mark(&fixture->table, chunk->first);
	}
	return taken;
}

static void no_mark_is_lost_among_threads(void **state)
{
	static struct grower growers[THREADS];
	struct fixture *fixture = *state;
	pthread_t threads[THREADS];
	unsigned taken = 0;

	atomic_store(&markers, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		growers[i].fixture = fixture;
		growers[i].start = i * 100;
		assert_int_equal(pthread_create(&threads[i], NULL, mark_main, &growers[i]), 0);
	}
	while (atomic_load(&markers) > 0)
		taken += take_marked(fixture);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	taken += take_marked(fixture);
	assert_int_equal(taken, THREADS * ROUNDS * CHUNKS);
	assert_int_equal(take_marked(fixture), 0);
	assert_null(table_next_marked(&fixture->table, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_untouched_table_finds_nothing),
	    TEST(a_chunk_knows_its_object_and_first_page_and_its_pages_are_absent),
	    TEST(pages_of_one_chunk_find_the_same_one_and_others_do_not),
	    TEST(sparse_chunks_made_upwards_are_found_and_met_in_order),
	    TEST(sparse_chunks_made_downwards_are_found_and_met_in_order),
	    TEST(next_from_inside_a_chunk_is_that_chunk_and_from_a_gap_the_one_behind),
	    TEST(marked_chunks_are_met_in_order_and_no_others),
	    TEST(what_is_marked_stays_so_when_the_table_grows),
	    TEST(a_touch_far_from_all_others_costs_less_than_three_chunks),
	    TEST(the_end_gives_all_memory_back),
	    TEST(without_memory_it_answers_null_and_finds_all_it_had),
	    TEST(threads_that_grow_it_at_once_agree_on_every_chunk),
	    TEST(no_mark_is_lost_among_threads),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
