/* SPDX-License-Identifier: MIT */
/*
 * test-inherit.c - what a child has in the place of an area
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "space/inherit.h"
#include "sys/page_size.h"
#include "util/fail.h"

static struct object object;
static struct error_callback callback = {.arg = &object};

static char *at(uint64_t page)
{
	return (char *)(uintptr_t)(page << page_shift);
}

static struct area file_area(bool shared, unsigned inherit)
{
	return (struct area){
	    .view = {.object = &object,
		     .addr = at(100),
		     .first = 7,
		     .pages = 3,
		     .locked = true,
		     .tracked = shared,
		     .on_error = callback},
	    .prot = PROT_READ | PROT_WRITE,
	    .max_prot = PROT_READ | PROT_WRITE | PROT_EXEC,
	    .shared = shared,
	    .lock_on_fault = true,
	    .noreserve = true,
	    .nodump = true,
	    .inherit = inherit,
	    .advice = READAHEAD_RANDOM,
	    .once = true,
	};
}

static struct area anonymous_area(unsigned inherit)
{
	struct area area = file_area(false, inherit);

	area.view.object = NULL;
	area.view.first = 0;
	area.anonymous = true;
	return area;
}

/* What every child's area has of its parent's. */
static void check_like(const struct area *area, const struct mapping *m)
{
	assert_ptr_equal(m->addr, area_addr(area));
	assert_int_equal(m->len, area->view.pages << page_shift);
	assert_int_equal(m->prot, area->prot);
	assert_int_equal(m->max_prot, area->max_prot);
	assert_int_equal(m->advice, area->advice);
	assert_true(m->nodump && m->once && m->noreserve);
	assert_ptr_equal(m->on_error.arg, callback.arg);
	assert_false(m->fixed || m->noreplace || m->stack);
	assert_false(m->locked || m->lock_on_fault);
	assert_int_equal(m->huge_fd, -1);
}

static void a_shared_area_stays_shared(void **state)
{
	struct area area = file_area(true, INHERIT_AS_IT_IS);
	struct mapping m;

	(void)state;
	assert_int_equal(inherit_area(&area, &m), INHERITED_SHARED);
	check_like(&area, &m);
	assert_ptr_equal(m.object, &object);
	assert_int_equal(m.first, 7);
	assert_true(m.shared && m.tracked);
	assert_int_equal(m.inherit, INHERIT_AS_IT_IS);
}

static void a_private_area_is_copied(void **state)
{
	struct area file = file_area(false, INHERIT_AS_IT_IS), anonymous = anonymous_area(INHERIT_AS_IT_IS);
	struct mapping m;

	(void)state;
	assert_int_equal(inherit_area(&file, &m), INHERITED_COPY);
	check_like(&file, &m);
	assert_ptr_equal(m.object, &object);
	assert_int_equal(m.first, 7);
	assert_false(m.shared);
	assert_int_equal(inherit_area(&anonymous, &m), INHERITED_COPY);
	check_like(&anonymous, &m);
	assert_null(m.object);
	assert_true(m.anonymous);
}

static void of_a_shared_area_that_is_to_be_copied_the_child_has_a_private_one(void **state)
{
	struct area area = file_area(true, INHERIT_COPY);
	struct mapping m;

	(void)state;
	assert_int_equal(inherit_area(&area, &m), INHERITED_COPY);
	check_like(&area, &m);
	assert_ptr_equal(m.object, &object);
	assert_int_equal(m.first, 7);
	assert_false(m.shared || m.tracked);
	/* Its own children have what any private area gives. */
	assert_int_equal(m.inherit, INHERIT_AS_IT_IS);
}

static void where_zeros_are_wanted_there_is_no_object_and_grandchildren_have_them_too(void **state)
{
	struct area areas[] = {file_area(true, INHERIT_ZERO), file_area(false, INHERIT_ZERO), anonymous_area(INHERIT_ZERO)};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct mapping m;

		areas[i].view.nosync = areas[i].view.denies = i == 0;
		assert_int_equal(inherit_area(&areas[i], &m), INHERITED_ZEROS);
		check_like(&areas[i], &m);
		assert_null(m.object);
		assert_int_equal(m.first, 0);
		assert_true(m.anonymous);
		assert_false(m.shared || m.tracked || m.nosync || m.denies);
		assert_int_equal(m.inherit, INHERIT_ZERO);
	}
}

static void nothing_hides_all_else(void **state)
{
	const unsigned others[] = {INHERIT_AS_IT_IS, INHERIT_COPY, INHERIT_ZERO};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct area shared = file_area(true, INHERIT_NONE | others[i]);
		struct area private = anonymous_area(INHERIT_NONE | others[i]);
		struct mapping m;

		assert_int_equal(inherit_area(&shared, &m), INHERITED_NOTHING);
		assert_int_equal(inherit_area(&private, &m), INHERITED_NOTHING);
	}
}

static void huge_pages_are_shared_or_private_by_the_kernels_flags(void **state)
{
	struct area area = anonymous_area(INHERIT_AS_IT_IS);
	struct mapping m;

	(void)state;
	area.huge = MAP_HUGETLB | MAP_SHARED;
	assert_int_equal(inherit_area(&area, &m), INHERITED_SHARED);
	assert_int_equal(m.huge, MAP_HUGETLB | MAP_SHARED);
	area.huge = MAP_HUGETLB | MAP_PRIVATE;
	assert_int_equal(inherit_area(&area, &m), INHERITED_COPY);
	area.inherit = INHERIT_ZERO;
	assert_int_equal(inherit_area(&area, &m), INHERITED_ZEROS);
	assert_int_equal(m.huge, 0);
}

/* ---- setting it ---- */

#define PAGES 12

static struct cache cache;
static struct space space;
static struct area *stored[PAGES];

/* Pages 100…103 a stack with its guard at 99, 104…105 a shared file, 107 private memory: all apart. */
static int make(void **state)
{
	struct area *guard = calloc(1, sizeof(*guard)), *stack = calloc(1, sizeof(*stack)), *file = calloc(1, sizeof(*file)),
		    *memory = calloc(1, sizeof(*memory));

	(void)state;
	if (!guard || !stack || !file || !memory)
		return -1;
	memset(&space, 0, sizeof(space));
	space.cache = &cache;
	*guard = (struct area){.view = {.addr = at(99), .pages = 1}, .guard = true, .anonymous = true};
	*stack = (struct area){.view = {.addr = at(100), .pages = 4}, .anonymous = true};
	*file = (struct area){.view = {.addr = at(104), .pages = 2}, .huge = MAP_HUGETLB | MAP_SHARED};
	*memory = (struct area){.view = {.addr = at(107), .pages = 1}, .anonymous = true};
	stored[0] = guard, stored[1] = stack, stored[2] = file, stored[3] = memory;
	if (area_set_prepare(&space.areas, PAGES) < 0)
		return -1;
	for (unsigned i = 0; i < 4; i++)
		area_set_insert(&space.areas, stored[i]);
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	fail_arm(FAIL_ALLOC, 0, false);
	for (size_t i = 0; i < space.areas.count; i++)
		free(space.areas.all[i]);
	free(space.areas.all);
	return 0;
}

static unsigned inherited_at(uint64_t page)
{
	struct area *area = area_set_find(&space.areas, at(page));

	assert_non_null(area);
	return area->inherit;
}

static size_t bytes_of(uint64_t pages)
{
	return pages << page_shift;
}

static void the_guard_of_a_stack_is_inherited_where_the_stack_is(void **state)
{
	(void)state;
	assert_int_equal(inherit_advise(&space, at(102), bytes_of(2), MADV_DONTFORK), 0);
	assert_int_equal(inherited_at(99), INHERIT_AS_IT_IS);
	assert_int_equal(inherit_advise(&space, at(100), bytes_of(1), MADV_DONTFORK), 0);
	assert_int_equal(inherited_at(99), INHERIT_NONE);
	assert_int_equal(inherit_set(&space, at(100), bytes_of(4), QUIRE_INHERIT_ZERO), 0);
	assert_int_equal(inherited_at(99), INHERIT_AS_IT_IS);
	assert_int_equal(space.areas.count, 4);
}

static void a_guard_is_a_hole_to_advice(void **state)
{
	(void)state;
	assert_int_equal(inherit_advise(&space, at(99), bytes_of(5), MADV_WIPEONFORK), -ENOMEM);
	assert_int_equal(inherited_at(99), INHERIT_AS_IT_IS);
	assert_int_equal(inherited_at(103), INHERIT_ZERO);
	assert_int_equal(inherit_set(&space, at(99), bytes_of(5), QUIRE_INHERIT_NONE), -ENOMEM);
	assert_int_equal(inherited_at(103), INHERIT_ZERO);
}

static void what_comes_behind_a_hole_is_advised_too(void **state)
{
	(void)state;
	assert_int_equal(inherit_advise(&space, at(105), bytes_of(6), MADV_DONTFORK), -ENOMEM);
	assert_int_equal(inherited_at(104), INHERIT_AS_IT_IS);
	assert_int_equal(inherited_at(105), INHERIT_NONE);
	assert_int_equal(inherited_at(107), INHERIT_NONE);
}

static void huge_pages_are_not_wiped_nor_copied_when_they_are_shared(void **state)
{
	(void)state;
	assert_int_equal(inherit_advise(&space, at(102), bytes_of(4), MADV_WIPEONFORK), -EINVAL);
	assert_int_equal(inherit_set(&space, at(102), bytes_of(4), QUIRE_INHERIT_COPY), -EINVAL);
	assert_int_equal(inherited_at(102), INHERIT_AS_IT_IS);
	assert_int_equal(space.areas.count, 4);
	assert_int_equal(inherit_set(&space, at(104), bytes_of(2), QUIRE_INHERIT_SHARE), 0);
	stored[2]->huge = MAP_HUGETLB | MAP_PRIVATE;
	assert_int_equal(inherit_set(&space, at(104), bytes_of(2), QUIRE_INHERIT_COPY), 0);
	assert_int_equal(inherit_set(&space, at(104), bytes_of(2), QUIRE_INHERIT_SHARE), -EINVAL);
	stored[2]->huge = 0;
}

static void without_memory_nothing_is_set(void **state)
{
	(void)state;
	for (unsigned nth = 1; nth <= 2; nth++) {
		fail_arm(FAIL_ALLOC, nth, false);
		assert_int_equal(inherit_advise(&space, at(101), bytes_of(2), MADV_DONTFORK), -ENOMEM);
		fail_arm(FAIL_ALLOC, nth, false);
		assert_int_equal(inherit_set(&space, at(101), bytes_of(2), QUIRE_INHERIT_NONE), -ENOMEM);
	}
	assert_int_equal(space.areas.count, 4);
	assert_int_equal(inherited_at(101), INHERIT_AS_IT_IS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_shared_area_stays_shared),
	    cmocka_unit_test(a_private_area_is_copied),
	    cmocka_unit_test(of_a_shared_area_that_is_to_be_copied_the_child_has_a_private_one),
	    cmocka_unit_test(where_zeros_are_wanted_there_is_no_object_and_grandchildren_have_them_too),
	    cmocka_unit_test(nothing_hides_all_else),
	    cmocka_unit_test(huge_pages_are_shared_or_private_by_the_kernels_flags),
	    TEST(the_guard_of_a_stack_is_inherited_where_the_stack_is),
	    TEST(a_guard_is_a_hole_to_advice),
	    TEST(what_comes_behind_a_hole_is_advised_too),
	    TEST(huge_pages_are_not_wiped_nor_copied_when_they_are_shared),
	    TEST(without_memory_nothing_is_set),
	};

	return cmocka_run_group_tests_name("inherit", tests, NULL, NULL);
}
