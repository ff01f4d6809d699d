/* SPDX-License-Identifier: MIT */
/*
 * test-sync.c - what msync promises: rows S01 and S02
 */
#include "support.h"

static void S01_sync_writes_what_was_stored(void **state)
{
	int fd = file_new(PAGES(32));
	char *p = map_shared(fd, 32);

	(void)state;
	for (size_t i = 0; i < 32; i += 2)
		p[PAGES(i)] = (char)(i + 1);
	assert_ok(quire_msync(p, PAGES(32), MS_SYNC));
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), i % 2 ? pattern((off_t)PAGES(i)) : (int)i + 1);
	unmap(p, 32);
}

static void S01_sync_of_a_range_writes_the_range(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	p[PAGES(1)] = 'r';
	p[PAGES(2)] = 's';
	assert_ok(quire_msync(p + PAGES(1), 1, MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'r');
	unmap(p, 4);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 's');
}

static void S01_what_is_stored_after_a_sync_is_written_by_the_next(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	for (int i = 1; i < 5; i++) {
		p[0] = (char)i;
		assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
		assert_int_equal(file_byte(fd, 0), i);
	}
	unmap(p, 1);
}

static void S01_sync_through_one_mapping_writes_stores_through_another(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	char *q = map_shared(fd, 1);

	(void)state;
	p[0] = 'o';
	assert_ok(quire_msync(q, PAGES(1), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 'o');
	unmap(p, 1);
	unmap(q, 1);
}

static void S01_sync_writes_the_last_part_of_a_page(void **state)
{
	int fd = file_new(PAGES(1) + 10);
	char *p = map_shared(fd, 2);

	(void)state;
	p[PAGES(1) + 9] = 'e';
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1) + 9), 'e');
	assert_int_equal(file_size(fd), PAGES(1) + 10);
	unmap(p, 2);
}

static void S01_async_is_accepted(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	p[0] = 'a';
	assert_ok(quire_msync(p, PAGES(1), MS_ASYNC));
	assert_ok(quire_msync(p, PAGES(1), 0));
	assert_loads(p, 'a');
	unmap(p, 1);
	assert_int_equal(file_byte(fd, 0), 'a');
}

static void S01_memory_without_a_file_is_no_error(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_anonymous(1);
	char *q = map(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
	char *r = map_private(fd, 1);

	(void)state;
	*p = *q = *r = 's';
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_ok(quire_msync(q, PAGES(1), MS_SYNC));
	assert_ok(quire_msync(r, PAGES(1), MS_SYNC));
	assert_loads(p, 's');
	assert_loads(q, 's');
	assert_loads(r, 's');
	unmap(p, 1);
	unmap(q, 1);
	unmap(r, 1);
}

static void S01_a_mapping_for_reading_is_no_error(void **state)
{
	int fd = file_reopen(file_new(PAGES(1)), O_RDONLY);
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	unmap(p, 1);
}

static void S01_length_zero_is_no_error(void **state)
{
	(void)state;
	assert_ok(quire_msync(quiet(), 0, MS_SYNC));
}

static void S01_bad_arguments_are_EINVAL(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	assert_fails(quire_msync(p, PAGES(1), MS_SYNC | MS_ASYNC), EINVAL);
	assert_fails(quire_msync(p, PAGES(1), MS_SYNC | 0x100), EINVAL);
	assert_fails(quire_msync(p + 1, PAGES(1), MS_SYNC), EINVAL);
	unmap(p, 1);
}

static void S01_hole_is_ENOMEM(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map(quiet(), PAGES(3), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	p[PAGES(2)] = 'h';
	unmap(p + PAGES(1), 1);
	assert_fails(quire_msync(p, PAGES(3), MS_SYNC), ENOMEM);
	assert_fails(quire_msync(p + PAGES(1), PAGES(1), MS_SYNC), ENOMEM);
	assert_fails(quire_msync(p, SIZE_MAX - PAGES(2), MS_SYNC), ENOMEM);
	assert_loads(p + PAGES(2), 'h');
	unmap(p, 3);
}

static void S02_invalidate_lets_the_mapping_see_the_storage(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	assert_pattern(p, PAGES(2), 0);
	assert_int_equal(pwrite(fd, "new", 3, 0), 3);
	assert_int_equal(pwrite(fd, "new", 3, (off_t)PAGES(1)), 3);
	assert_ok(quire_msync(p, PAGES(2), MS_INVALIDATE));
	assert_memory_equal(p, "new", 3);
	assert_memory_equal(p + PAGES(1), "new", 3);
	assert_loads(p + 3, pattern(3));
	unmap(p, 2);
}

static void S02_invalidate_reaches_every_mapping(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	char *q = map_shared(fd, 1);
	char *r = map_private(fd, 1);

	(void)state;
	assert_loads(p, pattern(0));
	assert_loads(q, pattern(0));
	assert_loads(r, pattern(0));
	assert_int_equal(pwrite(fd, "n", 1, 0), 1);
	assert_ok(quire_msync(p, PAGES(1), MS_INVALIDATE));
	assert_loads(q, 'n');
	assert_loads(r, 'n');
	unmap(p, 1);
	unmap(q, 1);
	unmap(r, 1);
}

static void S02_invalidate_keeps_what_was_stored(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	p[0] = 's';
	assert_ok(quire_msync(p, PAGES(1), MS_INVALIDATE));
	assert_loads(p, 's');
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC | MS_INVALIDATE));
	assert_loads(p, 's');
	assert_int_equal(file_byte(fd, 0), 's');
	p[0] = 't';
	unmap(p, 1);
	assert_int_equal(file_byte(fd, 0), 't');
}

static void S02_invalidate_keeps_private_copies(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_private(fd, 1);
	char *q = map_anonymous(1);

	(void)state;
	*p = *q = 'p';
	assert_ok(quire_msync(p, PAGES(1), MS_INVALIDATE));
	assert_ok(quire_msync(q, PAGES(1), MS_INVALIDATE));
	assert_loads(p, 'p');
	assert_loads(q, 'p');
	unmap(p, 1);
	unmap(q, 1);
}

static void S02_invalidate_of_locked_pages_is_EBUSY(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(1)));
	p[0] = 'l';
	assert_fails(quire_msync(p, PAGES(2), MS_INVALIDATE), EBUSY);
	assert_fails(quire_msync(p, PAGES(2), MS_SYNC | MS_INVALIDATE), EBUSY);
	assert_loads(p, 'l');
	assert_ok(quire_munlock(p, PAGES(1)));
	assert_ok(quire_msync(p, PAGES(2), MS_INVALIDATE));
	unmap(p, 2);
}

#ifndef KERNEL_ORACLE
static void S01_full_disk_is_ENOSPC_and_nothing_is_lost(void **state)
{
	int filler;
	int fd = file_on_full_disk(32, &filler);
	char *p = map_shared(fd, 32);
	struct quire_stats before = stats();

	(void)state;
	for (size_t i = 0; i < 32; i++)
		p[PAGES(i)] = (char)(i + 1);
	assert_fails(quire_msync(p, PAGES(32), MS_SYNC), ENOSPC);
	assert_true(grown(before, writeback_errors) > 0);
	for (size_t i = 0; i < 32; i++)
		assert_loads(p + PAGES(i), (int)i + 1);
	assert_int_equal(ftruncate(filler, 0), 0);
	assert_ok(quire_msync(p, PAGES(32), MS_SYNC));
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), (int)i + 1);
	unmap(p, 32);
}

static void S01_full_disk_fails_every_sync_until_there_is_room(void **state)
{
	int filler;
	int fd = file_on_full_disk(16, &filler);
	char *p = map_shared(fd, 16);

	(void)state;
	memset(p, 'f', PAGES(16));
	for (int i = 0; i < 3; i++)
		assert_fails(quire_msync(p, PAGES(16), MS_SYNC), ENOSPC);
	pressure();
	assert_filled(p, PAGES(16), 'f');
	assert_int_equal(ftruncate(filler, 0), 0);
	/* Also a failure that nobody has been told of yet is reported once. */
	if (quire_msync(p, PAGES(16), MS_SYNC))
		assert_ok(quire_msync(p, PAGES(16), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(16) - 1), 'f');
	unmap(p, 16);
}

static void S02_invalidate_drops_clean_pages_only(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	assert_pattern(p, PAGES(4), 0);
	p[PAGES(2)] = 'd';
	assert_ok(quire_msync(p, PAGES(4), MS_INVALIDATE));
	assert_int_equal(resident_pages(p, 2), 0);
	assert_int_equal(resident_pages(p + PAGES(2), 1), 1);
	assert_int_equal(resident_pages(p + PAGES(3), 1), 0);
	unmap(p, 4);
}

static void S01_clean_pages_are_not_written_again(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);
	struct quire_stats before;

	(void)state;
	p[PAGES(3)] = 'x';
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	/* What other tests have left in the swap may still be on its way. */
	do {
		before = stats();
		usleep(50000);
	} while (grown(before, write_bytes) > 0);
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	assert_int_equal(grown(before, write_bytes), 0);
	p[PAGES(5)] = 'y';
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	assert_int_equal(grown(before, write_bytes), PAGES(1));
	unmap(p, 8);
}
#endif

/* What was being read when the file was written to is what the file was. */
static void S02_invalidate_reaches_pages_that_are_being_read(void **state)
{
	int fd = file_new(PAGES(64));
	char *p = map_shared(fd, 64);

	(void)state;
	for (int round = 1; round < 400; round++) {
		size_t page = (size_t)round * 7 % 64;
		char byte = (char)round;

		assert_ok(quire_msync(p, PAGES(64), MS_SYNC | MS_INVALIDATE));
		assert_ok(quire_madvise(p + PAGES(page & ~7ul), PAGES(8), MADV_WILLNEED));
		/* A moment of another length for each. */
		for (volatile int wait = 0; wait < round % 50 * 400; wait++)
			;
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)PAGES(page)), 1);
		assert_ok(quire_msync(p, PAGES(64), MS_INVALIDATE));
		assert_int_equal(p[PAGES(page)], byte);
	}
	unmap(p, 64);
}

static const struct conformance_test tests[] = {
    TEST(S01_sync_writes_what_was_stored),
    TEST(S01_sync_of_a_range_writes_the_range),
    TEST(S01_what_is_stored_after_a_sync_is_written_by_the_next),
    TEST(S01_sync_through_one_mapping_writes_stores_through_another),
    TEST(S01_sync_writes_the_last_part_of_a_page),
    TEST(S01_async_is_accepted),
    TEST(S01_memory_without_a_file_is_no_error),
    TEST(S01_a_mapping_for_reading_is_no_error),
    TEST(S01_length_zero_is_no_error),
    TEST(S01_bad_arguments_are_EINVAL),
    TEST(S01_hole_is_ENOMEM),
    TEST(S02_invalidate_lets_the_mapping_see_the_storage),
    TEST(S02_invalidate_reaches_every_mapping),
    TEST(S02_invalidate_keeps_what_was_stored),
    TEST(S02_invalidate_keeps_private_copies),
    TEST(S02_invalidate_of_locked_pages_is_EBUSY),
    TEST(S02_invalidate_reaches_pages_that_are_being_read),
#ifndef KERNEL_ORACLE
    TEST(S01_full_disk_is_ENOSPC_and_nothing_is_lost),
    TEST(S01_full_disk_fails_every_sync_until_there_is_room),
    TEST(S01_clean_pages_are_not_written_again),
    TEST(S02_invalidate_drops_clean_pages_only),
#endif
};

CONFORMANCE_MAIN(tests)
