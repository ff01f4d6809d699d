/* SPDX-License-Identifier: MIT */
/*
 * test-epoch.c - in which epoch a page was stored to last
 */
#include "object/epoch.h"
#include "rig.h"

#define LIMIT 4096
#define PAGES 200000

static int make(void **state)
{
	(void)state;
	return rig_make(LIMIT, OBJECT_FILE, (uint64_t)PAGES << page_shift);
}

static int destroy(void **state)
{
	(void)state;
	return rig_end();
}

static bool was_written(uint64_t page, uint64_t since)
{
	struct chunk_set set;

	epoch_written(chunk_of(rig.object, page), since, &set);
	return chunk_set_has(&set, (unsigned)(page % CHUNK_PAGES));
}

static void stamp(uint64_t page)
{
	epoch_stamp(chunk_of(rig.object, page), (unsigned)(page % CHUNK_PAGES), 1);
}

static void nothing_is_kept_before_anybody_asks(void **state)
{
	(void)state;
	stamp(3);
	epoch_stamp_range(rig.object, 0, PAGES);
	assert_null(atomic_load(&chunk_of(rig.object, 3)->stamps));
	assert_int_equal(epoch_begin(rig.cache), 1);
	assert_false(epoch_is_lost(rig.object, 1));
	assert_false(was_written(3, 1));
}

static void a_page_counts_from_its_last_store(void **state)
{
	uint64_t first = epoch_begin(rig.cache), second;

	(void)state;
	stamp(3);
	second = epoch_begin(rig.cache);
	assert_int_equal(second, first + 1);
	stamp(4);
	assert_true(was_written(3, first));
	assert_false(was_written(3, second));
	assert_true(was_written(4, first) && was_written(4, second));
	assert_false(was_written(5, first));
	stamp(3);
	assert_true(was_written(3, second));
}

/* Whatever the distance, and whether or not the chunk was touched in between. */
static void a_page_is_never_taken_for_older_than_it_is(void **state)
{
	static const unsigned distances[] = {1, 100, 127, 128, 200, 254, 255, 256, 300, 1000, 70000};

	(void)state;
	for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
		uint64_t since = epoch_begin(rig.cache);

		stamp(i);
		for (unsigned k = 0; k < distances[i]; k++)
			epoch_begin(rig.cache);
		stamp(500);
		assert_true(was_written(i, since));
		/* And not for ever. */
		assert_false(was_written(i, epoch_begin(rig.cache)));
		assert_false(was_written(400, since));
	}
}

static void a_range_is_stamped_whether_its_chunks_are_there_or_not(void **state)
{
	uint64_t since = epoch_begin(rig.cache);

	(void)state;
	epoch_stamp_range(rig.object, 500, 1030);
	assert_false(was_written(499, since));
	assert_true(was_written(500, since) && was_written(800, since) && was_written(1029, since));
	assert_false(was_written(1030, since));
	assert_false(epoch_is_lost(rig.object, since));
}

static void a_range_that_would_take_much_memory_is_all_of_the_object(void **state)
{
	uint64_t since = epoch_begin(rig.cache), bytes = atomic_load(&rig.cache->arena.used_bytes);

	(void)state;
	epoch_stamp_range(rig.object, 0, PAGES);
	assert_int_equal(atomic_load(&rig.cache->arena.used_bytes), bytes);
	assert_true(epoch_is_lost(rig.object, since));
	assert_false(epoch_is_lost(rig.object, epoch_begin(rig.cache)));
}

static void a_store_that_there_is_no_memory_for_is_not_forgotten(void **state)
{
	uint64_t since = epoch_begin(rig.cache);
	struct chunk *chunk = chunk_of(rig.object, 3);

	(void)state;
	fail_arm(FAIL_ALLOC, 1, true);
	epoch_stamp(chunk, 3, 1);
	fail_arm(FAIL_ALLOC, 0, false);
	assert_true(epoch_is_lost(rig.object, since));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(nothing_is_kept_before_anybody_asks),
	    TEST(a_page_counts_from_its_last_store),
	    TEST(a_page_is_never_taken_for_older_than_it_is),
	    TEST(a_range_is_stamped_whether_its_chunks_are_there_or_not),
	    TEST(a_range_that_would_take_much_memory_is_all_of_the_object),
	    TEST(a_store_that_there_is_no_memory_for_is_not_forgotten),
	};

	return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}
