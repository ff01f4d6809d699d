/* SPDX-License-Identifier: MIT */
/*
 * test-query.c - what mincore, the lock calls and the page size promise: row Q01
 */
#include "support.h"

#include <pthread.h>

/* ---- the page size ---- */

static void Q01_page_size_is_answered_the_same_way_everywhere(void **state)
{
	(void)state;
	assert_int_equal(quire_pagesize(), sysconf(_SC_PAGESIZE));
	assert_int_equal(quire_pagesize(), getpagesize());
}

/* ---- mincore ---- */

static void Q01_touched_pages_are_resident(void **state)
{
	unsigned char vec[4] = {0};
	char *p = map_anonymous(4);

	(void)state;
	p[PAGES(1)] = 1;
	p[PAGES(2)] = 1;
	assert_ok(quire_mincore(p, PAGES(4), vec));
	assert_int_equal(vec[0] & 1, 0);
	assert_int_equal(vec[1] & 1, 1);
	assert_int_equal(vec[2] & 1, 1);
	assert_int_equal(vec[3] & 1, 0);
	unmap(p, 4);
}

static void Q01_mincore_rounds_its_length_up(void **state)
{
	unsigned char vec[3] = {0x55, 0x55, 0x55};
	char *p = map_anonymous(3);

	(void)state;
	p[PAGES(1)] = 1;
	assert_ok(quire_mincore(p, PAGES(1) + 1, vec));
	assert_int_equal(vec[1] & 1, 1);
	assert_int_equal(vec[2], 0x55);
	assert_ok(quire_mincore(p, 0, vec));
	unmap(p, 3);
}

static void Q01_mincore_reaches_over_several_mappings(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(quiet(), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	map(p + PAGES(1), PAGES(1), PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	p[0] = 1;
	assert_loads(p + PAGES(1), pattern(0));
	assert_int_equal(resident_pages(p, 2), 2);
	unmap(p, 2);
}

static void Q01_mincore_of_an_unaligned_address_is_EINVAL(void **state)
{
	unsigned char vec[2] = {0x55, 0x55};
	char *p = map_anonymous(1);

	(void)state;
	assert_fails(quire_mincore(p + 1, PAGES(1), vec), EINVAL);
	assert_int_equal(vec[0], 0x55);
	unmap(p, 1);
}

static void Q01_mincore_of_a_hole_is_ENOMEM(void **state)
{
	unsigned char vec[4];
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	unmap(p + PAGES(1), 1);
	assert_fails(quire_mincore(p, PAGES(3), vec), ENOMEM);
	assert_fails(quire_mincore(p + PAGES(2), PAGES(2), vec), ENOMEM);
	assert_fails(quire_mincore(p, SIZE_MAX - PAGES(1), vec), ENOMEM);
	unmap(p, 3);
}

/* ---- locks ---- */

static void Q01_mlock_makes_resident(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	char *q = map_private(fd, 4);
	char *r = map_anonymous(4);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(4)));
	assert_ok(quire_mlock(q, PAGES(4)));
	assert_ok(quire_mlock(r, PAGES(4)));
	assert_int_equal(resident_pages(p, 4), 4);
	assert_int_equal(resident_pages(q, 4), 4);
	assert_int_equal(resident_pages(r, 4), 4);
	assert_pattern(p, PAGES(4), 0);
	assert_pattern(q, PAGES(4), 0);
	assert_zeros(r, PAGES(4));
	assert_ok(quire_munlock(p, PAGES(4)));
	unmap(p, 4);
	unmap(q, 4);
	unmap(r, 4);
}

static void Q01_locked_pages_are_stored_to_as_others(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	char *q = map_private(fd, 2);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(2)));
	assert_ok(quire_mlock(q, PAGES(2)));
	p[0] = 's';
	q[1] = 'p';
	assert_loads(q + 1, 'p');
	assert_loads(p + 1, pattern(1));
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 's');
	unmap(p, 2);
	unmap(q, 2);
	assert_int_equal(file_byte(fd, 1), pattern(1));
}

static void Q01_mlock_takes_the_pages_that_the_range_touches(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	assert_ok(quire_mlock(p + PAGES(1) + 10, PAGES(1)));
	assert_int_equal(resident_pages(p + PAGES(1), 2), 2);
	assert_int_equal(resident_pages(p, 4), 2);
	assert_ok(quire_munlock(p + PAGES(1) + 10, PAGES(1)));
	/* Also the one that an empty range lies in. */
	assert_ok(quire_mlock(p + PAGES(3) + 10, 0));
	assert_int_equal(resident_pages(p, 4), 3);
	assert_ok(quire_munlock(p + PAGES(3) + 10, 0));
	unmap(p, 4);
	assert_fails(quire_mlock(p + 10, 0), ENOMEM);
}

static void Q01_mlock_onfault_waits_for_the_touch(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	assert_ok(quire_mlock2(p, PAGES(4), MLOCK_ONFAULT));
	assert_int_equal(resident_pages(p, 4), 0);
	p[PAGES(2)] = 1;
	pressure();
	assert_int_equal(resident_pages(p, 4), 1);
	assert_loads(p + PAGES(2), 1);
	unmap(p, 4);
}

static void Q01_mlock2_without_flags_is_mlock(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	assert_ok(quire_mlock2(p, PAGES(2), 0));
	assert_int_equal(resident_pages(p, 2), 2);
	assert_fails(quire_mlock2(p, PAGES(2), 0x40), EINVAL);
	unmap(p, 2);
}

static void Q01_locking_a_hole_is_ENOMEM(void **state)
{
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	unmap(p + PAGES(1), 1);
	assert_fails(quire_mlock(p, PAGES(3)), ENOMEM);
	assert_fails(quire_mlock2(p + PAGES(1), PAGES(1), MLOCK_ONFAULT), ENOMEM);
	assert_fails(quire_munlock(p, PAGES(3)), ENOMEM);
	unmap(p, 3);
}

static void Q01_unlocking_a_length_that_overflows_is_EINVAL(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_fails(quire_munlock(p, SIZE_MAX - PAGES(1)), EINVAL);
	assert_ok(quire_munlock(p, 0));
	assert_ok(quire_mlock(p, 0));
	unmap(p, 1);
}

static void Q01_locking_over_the_limit_is_ENOMEM(void **state)
{
	char *p = map_anonymous(32);

	(void)state;
	limit_locked_memory(PAGES(16));
	assert_fails(quire_mlock(p, PAGES(17)), ENOMEM);
	assert_ok(quire_mlock(p, PAGES(16)));
	assert_fails(quire_mlock(p + PAGES(16), PAGES(1)), ENOMEM);
	/* What is locked already is not counted twice. */
	assert_ok(quire_mlock(p, PAGES(16)));
	assert_ok(quire_munlock(p, PAGES(8)));
	assert_ok(quire_mlock(p + PAGES(16), PAGES(8)));
	unmap(p, 32);
}

static void Q01_locking_without_any_limit_to_lock_in_is_EPERM(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	limit_locked_memory(0);
	assert_fails(quire_mlock(p, PAGES(1)), EPERM);
	assert_fails(quire_mlock2(p, PAGES(1), MLOCK_ONFAULT), EPERM);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), EPERM);
	assert_ok(quire_munlock(p, PAGES(1)));
	unmap(p, 1);
}

/* Half of the budget. Of each page there is the file's, which was read, and then the copy: the two together do not fit. */
static void Q01_private_pages_that_were_read_before_can_be_locked(void **state)
{
	const size_t n = ((size_t)2 << 20) / page_size;
	int fd = file_new(PAGES(n));
	char *p = map_private(fd, n);

	(void)state;
	assert_pattern(p, PAGES(n), 0);
	assert_ok(quire_mlock(p, PAGES(n)));
	assert_int_equal(resident_pages(p, n), n);
	assert_pattern(p, PAGES(n), 0);
	assert_ok(quire_munlock(p, PAGES(n)));
	unmap(p, n);
}

static void Q01_a_locked_range_can_be_given_to_a_system_call(void **state)
{
	int fd = file_new(PAGES(2)), source = file_new(PAGES(8)), sink = file_new(0);
	char *p = map_shared(fd, 2);
	char *q = map_anonymous(2);
	char *r = map_private(fd, 2);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(2)));
	assert_ok(quire_mlock(q, PAGES(2)));
	assert_ok(quire_mlock(r, PAGES(2)));
	assert_int_equal(write(sink, p, PAGES(2)), PAGES(2));
	assert_int_equal(pread(source, p, PAGES(2), (off_t)PAGES(2)), PAGES(2));
	assert_int_equal(pread(source, q, PAGES(2), (off_t)PAGES(4)), PAGES(2));
	assert_int_equal(pread(source, r, PAGES(2), (off_t)PAGES(6)), PAGES(2));
	assert_pattern(p, PAGES(2), PAGES(2));
	assert_pattern(q, PAGES(2), PAGES(4));
	assert_pattern(r, PAGES(2), PAGES(6));
	unmap(p, 2);
	unmap(q, 2);
	unmap(r, 2);
	assert_int_equal(file_byte(sink, 0), pattern(0));
	assert_int_equal(file_byte(fd, 0), pattern((off_t)PAGES(2)));
}

static void Q01_a_populated_range_can_be_given_to_a_system_call(void **state)
{
	int fd = file_new(PAGES(2)), source = file_new(PAGES(4));
	char *p = map(NULL, PAGES(2), RW, MAP_SHARED | MAP_POPULATE, fd, 0);

	(void)state;
	assert_int_equal(pread(source, p, PAGES(2), (off_t)PAGES(2)), PAGES(2));
	assert_pattern(p, PAGES(2), PAGES(2));
	unmap(p, 2);
	assert_int_equal(file_byte(fd, 5), pattern((off_t)PAGES(2) + 5));
}

/* A sanitizer's own memory is terabytes of address space, which the kernel would make resident. */
static void skip_under_a_sanitizer(void)
{
#if defined(KERNEL_ORACLE) && defined(SANITIZED)
	skip_because("the kernel cannot lock all memory under a sanitizer");
#endif
}

static void Q01_mlockall_current_locks_what_is_there(void **state)
{
	char *p = map_anonymous(4);
	char *q;

	(void)state;
	skip_under_a_sanitizer();
	assert_ok(quire_mlockall(MCL_CURRENT));
	assert_int_equal(resident_pages(p, 4), 4);
	q = map_anonymous(4);
	assert_int_equal(resident_pages(q, 4), 0);
	assert_ok(quire_munlockall());
	unmap(p, 4);
	unmap(q, 4);
}

static void Q01_mlockall_passes_over_what_cannot_be_touched(void **state)
{
	char *p = map(NULL, PAGES(4), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
	char *q = map_anonymous(4);

	(void)state;
	skip_under_a_sanitizer();
	assert_ok(quire_mlockall(MCL_CURRENT));
	assert_int_equal(resident_pages(q, 4), 4);
	assert_int_equal(resident_pages(p, 4), 0);
	assert_ok(quire_munlockall());
	unmap(p, 4);
	unmap(q, 4);
}

static void Q01_mlockall_future_locks_what_comes(void **state)
{
	char *p = map_anonymous(4);
	char *q, *r;

	(void)state;
	skip_under_a_sanitizer();
	assert_ok(quire_mlockall(MCL_FUTURE));
	assert_int_equal(resident_pages(p, 4), 0);
	q = map_anonymous(4);
	assert_int_equal(resident_pages(q, 4), 4);
	assert_ok(quire_munlockall());
	r = map_anonymous(4);
	assert_int_equal(resident_pages(r, 4), 0);
	unmap(p, 4);
	unmap(q, 4);
	unmap(r, 4);
}

static void Q01_mlockall_onfault_waits_for_the_touch(void **state)
{
	char *p = map_anonymous(4);
	char *q;

	(void)state;
	skip_under_a_sanitizer();
	assert_ok(quire_mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
	q = map_anonymous(4);
	assert_int_equal(resident_pages(p, 4), 0);
	assert_int_equal(resident_pages(q, 4), 0);
	p[0] = q[0] = 1;
	/* What comes later is locked too, and would not fit into the budget: only these stay locked. */
	assert_ok(quire_munlockall());
	assert_ok(quire_mlock2(p, PAGES(4), MLOCK_ONFAULT));
	assert_ok(quire_mlock2(q, PAGES(4), MLOCK_ONFAULT));
	pressure();
	assert_int_equal(resident_pages(p, 4), 1);
	assert_int_equal(resident_pages(q, 4), 1);
	unmap(p, 4);
	unmap(q, 4);
}

static void Q01_mlockall_without_current_or_future_is_EINVAL(void **state)
{
	(void)state;
	assert_fails(quire_mlockall(0), EINVAL);
	assert_fails(quire_mlockall(MCL_ONFAULT), EINVAL);
	assert_fails(quire_mlockall(0x100), EINVAL);
}

#ifndef KERNEL_ORACLE
static void Q01_mincore_answers_for_the_engines_pages(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);

	(void)state;
	/* All of it is in the kernel's page cache, none of it in the engine. */
	assert_int_equal(resident_pages(p, 8), 0);
	assert_ok(quire_madvise(p, PAGES(8), MADV_RANDOM));
	assert_loads(p + PAGES(5), pattern((off_t)PAGES(5)));
	assert_int_equal(resident_pages(p, 8), 1);
	assert_int_equal(resident_pages(p + PAGES(5), 1), 1);
	evict(p, 8);
	unmap(p, 8);
}

static void Q01_mlock_keeps_resident_until_munlock(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	size_t before = stats().locked_bytes;

	(void)state;
	assert_ok(quire_mlock(p, PAGES(4)));
	assert_int_equal(stats().locked_bytes, before + PAGES(4));
	pressure();
	assert_int_equal(resident_pages(p, 4), 4);
	assert_ok(quire_munlock(p, PAGES(4)));
	assert_int_equal(stats().locked_bytes, before);
	evict(p, 4);
	unmap(p, 4);
}

static void Q01_locking_more_than_the_budget_is_ENOMEM(void **state)
{
	size_t n = stats().budget_bytes / page_size + 1;
	size_t before = stats().locked_bytes;
	char *p = map_anonymous(n);

	(void)state;
	assert_fails(quire_mlock(p, PAGES(n)), ENOMEM);
	assert_int_equal(stats().locked_bytes, before);
	assert_stores(p, 1);
	unmap(p, n);
}

/* How many calls have failed. */
static void *lock_and_unlock_main(void *p)
{
	uintptr_t failed = 0;

	for (int round = 0; round < 10000; round++) {
		failed += quire_mlock(p, PAGES(1)) != 0;
		failed += quire_munlock(p, PAGES(1)) != 0;
	}
	return (void *)failed;
}

static void Q01_threads_that_lock_the_same_at_once_leave_the_count_right(void **state)
{
	size_t before = stats().locked_bytes;
	char *p = map_anonymous(1);
	pthread_t threads[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, lock_and_unlock_main, p), 0);
	for (int i = 0; i < 3; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(stats().locked_bytes, before);
	unmap(p, 1);
	assert_int_equal(stats().locked_bytes, before);
}

static void Q01_mlockall_that_fails_locks_nothing_that_comes(void **state)
{
	char *large = map_anonymous(stats().budget_bytes / page_size + 1), *p;

	(void)state;
	assert_non_null(large);
	assert_fails(quire_mlockall(MCL_CURRENT | MCL_FUTURE), ENOMEM);
	p = map_anonymous(1);
	assert_false(area_stats(p).flags & MAP_LOCKED);
	unmap(p, 1);
}

static void Q01_munmap_unlocks(void **state)
{
	size_t before = stats().locked_bytes;
	char *p = map_anonymous(4);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(4)));
	unmap(p + PAGES(1), 1);
	assert_int_equal(stats().locked_bytes, before + PAGES(3));
	unmap(p, 4);
	assert_int_equal(stats().locked_bytes, before);
}
#endif

static const struct conformance_test tests[] = {
    TEST(Q01_page_size_is_answered_the_same_way_everywhere),
    TEST(Q01_touched_pages_are_resident),
    TEST(Q01_mincore_rounds_its_length_up),
    TEST(Q01_mincore_reaches_over_several_mappings),
    TEST(Q01_mincore_of_an_unaligned_address_is_EINVAL),
    TEST(Q01_mincore_of_a_hole_is_ENOMEM),
    TEST(Q01_mlock_makes_resident),
    TEST(Q01_locked_pages_are_stored_to_as_others),
    TEST(Q01_mlock_takes_the_pages_that_the_range_touches),
    TEST(Q01_mlock_onfault_waits_for_the_touch),
    TEST(Q01_mlock2_without_flags_is_mlock),
    TEST(Q01_locking_a_hole_is_ENOMEM),
    TEST(Q01_unlocking_a_length_that_overflows_is_EINVAL),
    TEST(Q01_locking_over_the_limit_is_ENOMEM),
    TEST(Q01_locking_without_any_limit_to_lock_in_is_EPERM),
    TEST(Q01_private_pages_that_were_read_before_can_be_locked),
    TEST(Q01_a_locked_range_can_be_given_to_a_system_call),
    TEST(Q01_a_populated_range_can_be_given_to_a_system_call),
    TEST_IN_OWN_PROCESS(Q01_mlockall_current_locks_what_is_there, ""),
    TEST_IN_OWN_PROCESS(Q01_mlockall_passes_over_what_cannot_be_touched, ""),
    TEST_IN_OWN_PROCESS(Q01_mlockall_future_locks_what_comes, ""),
    TEST_IN_OWN_PROCESS(Q01_mlockall_onfault_waits_for_the_touch, ""),
    TEST(Q01_mlockall_without_current_or_future_is_EINVAL),
#ifndef KERNEL_ORACLE
    TEST(Q01_mincore_answers_for_the_engines_pages),
    TEST(Q01_mlock_keeps_resident_until_munlock),
    TEST(Q01_locking_more_than_the_budget_is_ENOMEM),
    TEST(Q01_threads_that_lock_the_same_at_once_leave_the_count_right),
    TEST_IN_OWN_PROCESS(Q01_mlockall_that_fails_locks_nothing_that_comes, ""),
    TEST(Q01_munmap_unlocks),
#endif
};

CONFORMANCE_MAIN(tests)
