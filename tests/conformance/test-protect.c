/* SPDX-License-Identifier: MIT */
/*
 * test-protect.c - what mprotect promises: row P01
 */
#include "support.h"

static void P01_protection_of_one_page_splits_the_mapping(void **state)
{
	char *p = map_anonymous(3);

	(void)state;
	memset(p, 'w', PAGES(3));
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(1), PROT_READ));
	assert_stores(p, 1);
	assert_store_raises(p + PAGES(1), SIGSEGV, SEGV_ACCERR);
	assert_loads(p + PAGES(1), 'w');
	assert_stores(p + PAGES(2), 1);
	unmap(p, 3);
}

static void P01_protection_none_keeps_what_is_there(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	p[0] = 'a';
	p[PAGES(1)] = 'b';
	assert_ok(quire_mprotect(p, PAGES(2), PROT_NONE));
	assert_load_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_store_raises(p + PAGES(1), SIGSEGV, SEGV_ACCERR);
	evict(p, 2);
	assert_load_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_mprotect(p, PAGES(2), RW));
	assert_loads(p, 'a');
	assert_loads(p + PAGES(1), 'b');
	assert_stores(p, 'c');
	unmap(p, 2);
}

static void P01_untouched_pages_follow_too(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(NULL, PAGES(2), PROT_NONE, MAP_SHARED, fd, 0);

	(void)state;
	assert_ok(quire_mprotect(p, PAGES(2), PROT_READ));
	assert_pattern(p, PAGES(2), 0);
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	unmap(p, 2);
}

static void P01_store_after_it_was_allowed_reaches_the_file(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	assert_loads(p, pattern(0));
	assert_ok(quire_mprotect(p, PAGES(2), RW));
	p[0] = 'x';
	p[PAGES(1)] = 'y';
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 'x');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'y');
	unmap(p, 2);
}

static void P01_what_was_stored_before_reaches_the_file(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	p[0] = 'x';
	assert_ok(quire_mprotect(p, PAGES(1), PROT_NONE));
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 'x');
	unmap(p, 1);
}

static void P01_more_than_the_open_mode_is_EACCES(void **state)
{
	int fd = file_reopen(file_new(PAGES(1)), O_RDONLY);
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	assert_fails(quire_mprotect(p, PAGES(1), RW), EACCES);
	assert_fails(quire_mprotect(p, PAGES(1), PROT_WRITE), EACCES);
	assert_loads(p, pattern(0));
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	unmap(p, 1);
}

static void P01_more_than_a_seal_allows_is_EACCES(void **state)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *p;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(1)), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	assert_fails(quire_mprotect(p, PAGES(1), PROT_WRITE), EACCES);
	assert_fails(quire_mprotect(p, PAGES(1), RW), EACCES);
	assert_loads(p, 0);
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	unmap(p, 1);
}

static void P01_private_pages_of_a_file_open_for_reading_may_be_written(void **state)
{
	int fd = file_reopen(file_new(PAGES(1)), O_RDONLY);
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_PRIVATE, fd, 0);

	(void)state;
	assert_ok(quire_mprotect(p, PAGES(1), RW));
	assert_stores(p, 'x');
	assert_loads(p, 'x');
	unmap(p, 1);
	assert_int_equal(file_byte(fd, 0), pattern(0));
}

static void P01_private_copies_stay_private(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_private(fd, 2);

	(void)state;
	p[0] = 'x';
	assert_ok(quire_mprotect(p, PAGES(2), PROT_READ));
	assert_loads(p, 'x');
	assert_ok(quire_mprotect(p, PAGES(2), RW));
	p[0] = 'y';
	p[PAGES(1)] = 'z';
	unmap(p, 2);
	assert_int_equal(file_byte(fd, 0), pattern(0));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), pattern((off_t)PAGES(1)));
}

static void P01_shared_and_anonymous_memory_alike(void **state)
{
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_loads(p, 0);
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_mprotect(p, PAGES(1), RW));
	assert_stores(p, 3);
	assert_loads(p, 3);
	unmap(p, 1);
}

static void P01_bad_arguments_are_EINVAL(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_fails(quire_mprotect(p + 1, PAGES(1), PROT_READ), EINVAL);
	assert_fails(quire_mprotect(p, PAGES(1), 0x800), EINVAL);
	assert_stores(p, 1);
	unmap(p, 1);
}

static void P01_length_zero_is_no_error(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_ok(quire_mprotect(p, 0, PROT_NONE));
	assert_ok(quire_mprotect(p, 0, 0x800));
	assert_stores(p, 1);
	unmap(p, 1);
}

static void P01_length_that_overflows_is_ENOMEM(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_fails(quire_mprotect(p, SIZE_MAX - PAGES(2), PROT_READ), ENOMEM);
	unmap(p, 1);
}

static void P01_hole_is_ENOMEM(void **state)
{
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	unmap(p + PAGES(1), 1);
	assert_fails(quire_mprotect(p, PAGES(3), PROT_READ), ENOMEM);
	assert_fails(quire_mprotect(p + PAGES(1), PAGES(2), PROT_READ), ENOMEM);
	assert_fails(quire_mprotect(p + PAGES(2), PAGES(2), RW), ENOMEM);
#ifndef KERNEL_ORACLE
	/* The kernel has changed what lies before the hole. */
	assert_stores(p, 1);
	assert_stores(p + PAGES(2), 1);
#endif
	unmap(p, 3);
}

static const struct conformance_test tests[] = {
    TEST(P01_protection_of_one_page_splits_the_mapping),
    TEST(P01_protection_none_keeps_what_is_there),
    TEST(P01_untouched_pages_follow_too),
    TEST(P01_store_after_it_was_allowed_reaches_the_file),
    TEST(P01_what_was_stored_before_reaches_the_file),
    TEST(P01_more_than_the_open_mode_is_EACCES),
    TEST(P01_more_than_a_seal_allows_is_EACCES),
    TEST(P01_private_pages_of_a_file_open_for_reading_may_be_written),
    TEST(P01_private_copies_stay_private),
    TEST(P01_shared_and_anonymous_memory_alike),
    TEST(P01_bad_arguments_are_EINVAL),
    TEST(P01_length_zero_is_no_error),
    TEST(P01_length_that_overflows_is_ENOMEM),
    TEST(P01_hole_is_ENOMEM),
};

CONFORMANCE_MAIN(tests)
