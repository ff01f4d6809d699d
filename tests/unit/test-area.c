/* SPDX-License-Identifier: MIT */
/*
 * test-area.c - areas in order of address
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "space/area.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define MANY 500

struct fixture {
	struct area_set set;
	struct area areas[MANY];
	unsigned used;
};

static int make(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int destroy(void **state)
{
	struct fixture *fixture = *state;

	fail_arm(FAIL_ALLOC, 0, false);
	free(fixture->set.all);
	free(fixture);
	return 0;
}

/* The address of a page; nothing is there. */
static char *at(uint64_t page)
{
	return (char *)(uintptr_t)(page << page_shift);
}

static struct area *insert(struct fixture *fixture, uint64_t page, uint64_t pages)
{
	struct area *area = &fixture->areas[fixture->used++];

	area->view.addr = at(page);
	area->view.pages = pages;
	assert_int_equal(area_set_prepare(&fixture->set, 1), 0);
	area_set_insert(&fixture->set, area);
	return area;
}

/* ---- the set ---- */

static void an_empty_set_finds_nothing(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(area_set_search(&fixture->set, at(0)), 0);
	assert_null(area_set_find(&fixture->set, at(100)));
	assert_true(area_set_check(&fixture->set));
}

static void an_area_is_found_from_its_first_byte_to_its_last(void **state)
{
	struct fixture *fixture = *state;
	struct area *area = insert(fixture, 100, 3);

	assert_null(area_set_find(&fixture->set, at(100) - 1));
	assert_ptr_equal(area_set_find(&fixture->set, at(100)), area);
	assert_ptr_equal(area_set_find(&fixture->set, at(103) - 1), area);
	assert_null(area_set_find(&fixture->set, at(103)));
	assert_ptr_equal(area_end(area), at(103));
}

static void of_two_areas_that_touch_each_is_found_on_its_own_side(void **state)
{
	struct fixture *fixture = *state;
	struct area *right = insert(fixture, 103, 2), *left = insert(fixture, 100, 3);

	assert_ptr_equal(area_set_find(&fixture->set, at(103) - 1), left);
	assert_ptr_equal(area_set_find(&fixture->set, at(103)), right);
}

static void a_search_from_a_gap_answers_the_next_area(void **state)
{
	struct fixture *fixture = *state;

	insert(fixture, 100, 3);
	insert(fixture, 200, 1);
	assert_int_equal(area_set_search(&fixture->set, at(0)), 0);
	assert_int_equal(area_set_search(&fixture->set, at(103) - 1), 0);
	assert_int_equal(area_set_search(&fixture->set, at(103)), 1);
	assert_int_equal(area_set_search(&fixture->set, at(150)), 1);
	assert_int_equal(area_set_search(&fixture->set, at(201)), 2);
}

static void areas_are_in_order_however_they_were_inserted(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 0; i < MANY; i++)
		insert(fixture, 10 + 3 * (uint64_t)(i * 271 % MANY), 2);
	assert_int_equal(fixture->set.count, MANY);
	assert_true(area_set_check(&fixture->set));
	for (unsigned i = 0; i < MANY; i++)
		assert_ptr_equal(area_addr(fixture->set.all[i]), at(10 + 3 * (uint64_t)i));
}

static void what_was_removed_is_not_found_and_the_rest_is(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned i = 0; i < 10; i++)
		insert(fixture, 10 * i + 1, 1);
	area_set_remove(&fixture->set, 9);
	area_set_remove(&fixture->set, 4);
	area_set_remove(&fixture->set, 0);
	assert_int_equal(fixture->set.count, 7);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(!area_set_find(&fixture->set, at(10 * i + 1)), i == 0 || i == 4 || i == 9);
	assert_true(area_set_check(&fixture->set));
}

static void without_memory_for_more_the_set_is_as_it_was(void **state)
{
	struct fixture *fixture = *state;
	struct area *area = insert(fixture, 5, 1);

	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(area_set_prepare(&fixture->set, 1000), -ENOMEM);
	assert_int_equal(fixture->set.count, 1);
	assert_ptr_equal(area_set_find(&fixture->set, at(5)), area);
	assert_int_equal(area_set_prepare(&fixture->set, 1000), 0);
	assert_ptr_equal(area_set_find(&fixture->set, at(5)), area);
}

static void room_that_is_there_is_not_asked_for_again(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(area_set_prepare(&fixture->set, 3), 0);
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(area_set_prepare(&fixture->set, 3), 0);
}

static void a_check_finds_overlap_disorder_and_emptiness(void **state)
{
	struct fixture *fixture = *state;
	struct area *left = insert(fixture, 10, 5), *right = insert(fixture, 15, 5);

	assert_true(area_set_check(&fixture->set));
	left->view.pages = 6;
	assert_false(area_set_check(&fixture->set));
	left->view.pages = 0;
	assert_false(area_set_check(&fixture->set));
	left->view.pages = 5;
	right->view.addr = at(1);
	assert_false(area_set_check(&fixture->set));
}

static void a_page_of_the_object_is_counted_from_the_areas_first(void **state)
{
	struct fixture *fixture = *state;
	struct area *area = insert(fixture, 100, 10);

	area->view.first = 7;
	assert_int_equal(area_page(area, at(100)), 7);
	assert_int_equal(area_page(area, at(104) + 1), 11);
}

/* ---- joining ---- */

static struct object object, other;

/* Two areas that can be one. */
static void two_halves(struct area *ret_left, struct area *ret_right)
{
	*ret_left = (struct area){.view = {.object = &object, .addr = at(100), .first = 7, .pages = 3}};
	*ret_right = (struct area){.view = {.object = &object, .addr = at(103), .first = 10, .pages = 2}};
}

static void halves_of_one_mapping_join(void **state)
{
	struct area left, right;

	(void)state;
	two_halves(&left, &right);
	assert_true(area_joins(&left, &right));
	assert_false(area_joins(&right, &left));
}

static void differ_in_object(struct area *area)
{
	area->view.object = &other;
}

static void differ_in_having_an_object(struct area *area)
{
	area->view.object = NULL;
}

static void differ_in_page(struct area *area)
{
	area->view.first++;
}

static void differ_in_address(struct area *area)
{
	area->view.addr = at(104);
}

static void differ_in_sharing(struct area *area)
{
	area->shared = true;
}

static void differ_in_protection(struct area *area)
{
	area->prot = 1;
}

static void differ_in_allowed_protection(struct area *area)
{
	area->max_prot = 1;
}

static void differ_in_kind(struct area *area)
{
	area->anonymous = true;
}

static void differ_in_advice(struct area *area)
{
	area->advice = READAHEAD_RANDOM;
}

static void differ_in_locking(struct area *area)
{
	area->view.locked = true;
}

static void differ_in_locking_on_fault(struct area *area)
{
	area->lock_on_fault = true;
}

static void differ_in_tracking(struct area *area)
{
	area->view.tracked = true;
}

static void differ_in_reservation(struct area *area)
{
	area->noreserve = true;
}

static void differ_in_inheritance(struct area *area)
{
	area->inherit = INHERIT_ZERO;
}

static void areas_that_differ_in_anything_do_not_join(void **state)
{
	static void (*const changes[])(struct area *) = {
	    differ_in_object,
	    differ_in_having_an_object,
	    differ_in_page,
	    differ_in_address,
	    differ_in_sharing,
	    differ_in_protection,
	    differ_in_allowed_protection,
	    differ_in_kind,
	    differ_in_advice,
	    differ_in_locking,
	    differ_in_locking_on_fault,
	    differ_in_tracking,
	    differ_in_reservation,
	    differ_in_inheritance,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct area left, right;

		two_halves(&left, &right);
		changes[i](&right);
		if (area_joins(&left, &right))
			fail_msg("change %u made no difference", i);
	}
}

static void memory_without_an_object_joins_whatever_its_pages_are_numbered(void **state)
{
	struct area left, right;

	(void)state;
	two_halves(&left, &right);
	left.view.object = right.view.object = NULL;
	right.view.first = 0;
	assert_true(area_joins(&left, &right));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_empty_set_finds_nothing),
	    TEST(an_area_is_found_from_its_first_byte_to_its_last),
	    TEST(of_two_areas_that_touch_each_is_found_on_its_own_side),
	    TEST(a_search_from_a_gap_answers_the_next_area),
	    TEST(areas_are_in_order_however_they_were_inserted),
	    TEST(what_was_removed_is_not_found_and_the_rest_is),
	    TEST(without_memory_for_more_the_set_is_as_it_was),
	    TEST(room_that_is_there_is_not_asked_for_again),
	    TEST(a_check_finds_overlap_disorder_and_emptiness),
	    TEST(a_page_of_the_object_is_counted_from_the_areas_first),
	    TEST(halves_of_one_mapping_join),
	    TEST(areas_that_differ_in_anything_do_not_join),
	    TEST(memory_without_an_object_joins_whatever_its_pages_are_numbered),
	};

	return cmocka_run_group_tests_name("area", tests, NULL, NULL);
}
