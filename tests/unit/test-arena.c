/* SPDX-License-Identifier: MIT */
/*
 * test-arena.c - memory for what is made while a fault is resolved
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "sys/page_size.h"
#include "util/arena.h"
#include "util/fail.h"

#define LARGEST ((size_t)ARENA_GRAIN * ARENA_CLASSES)
#define THREADS 4
#define ROUNDS  5000

static int make(void **state)
{
	static struct arena arena;

	*state = &arena;
	return 0;
}

static int destroy(void **state)
{
	fail_arm(FAIL_ALLOC, 0, false);
	arena_done(*state);
	return 0;
}

static bool all_are(const void *block, size_t size, unsigned char value)
{
	const unsigned char *bytes = block;

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

static void a_block_of_every_size_is_aligned_and_zeroed(void **state)
{
	for (size_t size = 1; size <= LARGEST; size++) {
		void *block = arena_alloc(*state, size);

		assert_non_null(block);
		assert_int_equal((uintptr_t)block % ARENA_GRAIN, 0);
		assert_true(all_are(block, size, 0));
		memset(block, 0xff, size);
	}
}

static void a_freed_block_is_used_again_and_zeroed_again(void **state)
{
	char *block = arena_alloc(*state, 1000);

	memset(block, 0xff, 1000);
	arena_free(*state, block, 1000);
	assert_ptr_equal(arena_alloc(*state, 1000), block);
	assert_true(all_are(block, 1000, 0));
}

static void a_freed_block_serves_sizes_of_the_same_grains_only(void **state)
{
	void *block = arena_alloc(*state, 2 * ARENA_GRAIN);

	arena_free(*state, block, 2 * ARENA_GRAIN);
	assert_ptr_not_equal(arena_alloc(*state, ARENA_GRAIN), block);
	assert_ptr_not_equal(arena_alloc(*state, 2 * ARENA_GRAIN + 1), block);
	assert_ptr_equal(arena_alloc(*state, ARENA_GRAIN + 1), block);
}

static void used_bytes_counts_whole_grains_of_what_is_not_freed(void **state)
{
	struct arena *arena = *state;
	void *one = arena_alloc(arena, 1), *two = arena_alloc(arena, ARENA_GRAIN + 1);

	assert_int_equal(arena->used_bytes, 3 * ARENA_GRAIN);
	arena_free(arena, one, 1);
	assert_int_equal(arena->used_bytes, 2 * ARENA_GRAIN);
	arena_free(arena, two, ARENA_GRAIN + 1);
	assert_int_equal(arena->used_bytes, 0);
}

static void freeing_null_does_nothing(void **state)
{
	struct arena *arena = *state;

	arena_free(arena, NULL, 100);
	assert_int_equal(arena->used_bytes, 0);
}

static void blocks_do_not_overlap_however_many_maps_they_fill(void **state)
{
	enum { BLOCKS = 1000 }; /* 4 MiB of them */
	static unsigned char *blocks[BLOCKS];

	for (unsigned i = 0; i < BLOCKS; i++) {
		blocks[i] = arena_alloc(*state, LARGEST - i % 7 * ARENA_GRAIN);
		assert_non_null(blocks[i]);
		memset(blocks[i], (int)(i % 251), LARGEST - i % 7 * ARENA_GRAIN);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_true(all_are(blocks[i], LARGEST - i % 7 * ARENA_GRAIN, (unsigned char)(i % 251)));
}

static void without_memory_it_answers_null_and_counts_nothing(void **state)
{
	struct arena *arena = *state;

	fail_arm(FAIL_ALLOC, 2, false);
	assert_non_null(arena_alloc(arena, 64));
	assert_null(arena_alloc(arena, 64));
	assert_int_equal(arena->used_bytes, 64);
	assert_non_null(arena_alloc(arena, 64));
}

static void the_end_gives_everything_back_to_the_kernel(void **state)
{
	struct arena *arena = *state;
	char *block = arena_alloc(arena, 4000), *page = (char *)((uintptr_t)block & ~(uintptr_t)(page_size() - 1));

	assert_int_equal(msync(page, page_size(), MS_ASYNC), 0);
	arena_done(arena);
	assert_int_equal(msync(page, page_size(), MS_ASYNC), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(arena->used_bytes, 0);
	assert_non_null(arena_alloc(arena, 4000));
}

struct churn {
	struct arena *arena;
	unsigned char id;
	bool damaged;
};

static void *churn_main(void *arg)
{
	struct churn *churn = arg;
	void *blocks[8] = {0};
	size_t sizes[8] = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned k = i % 8;

		if (blocks[k] && !all_are(blocks[k], sizes[k], churn->id))
			churn->damaged = true;
		arena_free(churn->arena, blocks[k], sizes[k] ? sizes[k] : 1);
		sizes[k] = 1 + (i * 37) % 512;
		blocks[k] = arena_alloc(churn->arena, sizes[k]);
		if (!blocks[k] || !all_are(blocks[k], sizes[k], 0))
			churn->damaged = true;
		else
			memset(blocks[k], churn->id, sizes[k]);
	}
	for (unsigned k = 0; k < 8; k++)
		arena_free(churn->arena, blocks[k], sizes[k]);
	return NULL;
}

static void no_two_threads_are_given_the_same_block(void **state)
{
	struct arena *arena = *state;
	struct churn churns[THREADS];
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		churns[i] = (struct churn){arena, (unsigned char)(i + 1), false};
		assert_int_equal(pthread_create(&threads[i], NULL, churn_main, &churns[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_false(churns[i].damaged);
	assert_int_equal(arena->used_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_block_of_every_size_is_aligned_and_zeroed),
	    TEST(a_freed_block_is_used_again_and_zeroed_again),
	    TEST(a_freed_block_serves_sizes_of_the_same_grains_only),
	    TEST(used_bytes_counts_whole_grains_of_what_is_not_freed),
	    TEST(freeing_null_does_nothing),
	    TEST(blocks_do_not_overlap_however_many_maps_they_fill),
	    TEST(without_memory_it_answers_null_and_counts_nothing),
	    TEST(the_end_gives_everything_back_to_the_kernel),
	    TEST(no_two_threads_are_given_the_same_block),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
