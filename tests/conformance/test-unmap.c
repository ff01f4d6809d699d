/* SPDX-License-Identifier: MIT */
/*
 * test-unmap.c - what munmap promises: row U01
 */
#include "support.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

static void U01_later_access_is_SIGSEGV(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	p[0] = 1;
	unmap(p, 2);
	assert_load_raises(p, SIGSEGV, SEGV_MAPERR);
	assert_store_raises(p + PAGES(1), SIGSEGV, SEGV_MAPERR);
}

static void U01_middle_of_a_mapping_is_split_out(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_shared(fd, 3);

	(void)state;
	unmap(p + PAGES(1), 1);
	assert_pattern(p, PAGES(1), 0);
	assert_unmapped(p + PAGES(1));
	assert_pattern(p + PAGES(2), PAGES(1), PAGES(2));
	unmap(p, 1);
	unmap(p + PAGES(2), 1);
}

static void U01_head_and_tail_are_cut_off(void **state)
{
	char *p = map(quiet(), PAGES(5), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	for (size_t i = 0; i < 5; i++)
		p[PAGES(i)] = (char)('a' + i);
	unmap(p, 1);
	unmap(p + PAGES(4), 1);
	assert_unmapped(p);
	for (size_t i = 1; i < 4; i++)
		assert_loads(p + PAGES(i), 'a' + (int)i);
	assert_unmapped(p + PAGES(4));
	unmap(p + PAGES(1), 3);
}

static void U01_one_call_removes_several_mappings_and_holes(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	map(p + PAGES(3), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	map(p + PAGES(4), PAGES(2), PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
	unmap(p + PAGES(1), 4);
	assert_pattern(p, PAGES(1), 0);
	for (size_t i = 1; i < 5; i++)
		assert_unmapped(p + PAGES(i));
	assert_pattern(p + PAGES(5), PAGES(1), PAGES(1));
	unmap(p, 6);
}

static void U01_range_with_nothing_in_it_is_no_error(void **state)
{
	(void)state;
	unmap(quiet(), 8);
}

static void U01_length_is_rounded_up_to_pages(void **state)
{
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	assert_ok(quire_munmap(p, PAGES(1) + 1));
	assert_unmapped(p + PAGES(1));
	assert_loads(p + PAGES(2), 0);
	unmap(p + PAGES(2), 1);
}

static void U01_bad_ranges_are_EINVAL(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	p[0] = 'k';
	assert_fails(quire_munmap(p + 1, PAGES(1)), EINVAL);
	assert_fails(quire_munmap(p, 0), EINVAL);
	assert_fails(quire_munmap(p, SIZE_MAX), EINVAL);
	assert_fails(quire_munmap(p, SIZE_MAX - PAGES(1)), EINVAL);
	assert_loads(p, 'k');
	unmap(p, 2);
}

static void U01_dirty_shared_pages_are_not_lost(void **state)
{
	int fd = file_new(PAGES(64));
	char *p = map_shared(fd, 64);

	(void)state;
	for (size_t i = 0; i < 64; i += 3)
		memset(p + PAGES(i), (int)i + 1, page_size);
	unmap(p, 64);
	for (size_t i = 0; i < 64; i++) {
		off_t last = (off_t)PAGES(i + 1) - 1;

		assert_int_equal(file_byte(fd, last), i % 3 ? pattern(last) : (int)i + 1);
	}
}

static void U01_pages_unmapped_one_by_one_are_not_lost(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_shared(fd, 3);

	(void)state;
	for (size_t i = 0; i < 3; i++)
		p[PAGES(i)] = (char)('a' + i);
	unmap(p + PAGES(1), 1);
	unmap(p, 1);
	unmap(p + PAGES(2), 1);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 'a' + (int)i);
}

static void U01_what_was_stored_is_there_in_the_next_mapping(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	p[0] = 'n';
	unmap(p, 1);
	p = map_shared(fd, 1);
	assert_loads(p, 'n');
	assert_loads(p + 1, pattern(1));
	unmap(p, 1);
}

static void U01_other_mappings_of_the_file_stay(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	char *q = map_shared(fd, 1);

	(void)state;
	p[0] = 's';
	unmap(p, 1);
	assert_loads(q, 's');
	q[1] = 't';
	unmap(q, 1);
	assert_int_equal(file_byte(fd, 0), 's');
	assert_int_equal(file_byte(fd, 1), 't');
}

/* ---- two threads ---- */

#define REMOVALS 1000

static struct removal {
	pthread_barrier_t meeting;
	char *addr;
	_Atomic unsigned failures;
} removal;

static void remove_together(void)
{
	removal.failures += quire_munmap(removal.addr, PAGES(2)) != 0;
	pthread_barrier_wait(&removal.meeting);
}

/* Comes later by some microseconds more each time, and by its waking up, so that the other is interrupted wherever he is. */
static void *remove_main(void *unused)
{
	(void)unused;
	prctl(PR_SET_TIMERSLACK, 1);
	for (int round = 0; round < REMOVALS; round++) {
		const struct timespec later = {.tv_nsec = round % 60 * 1000};

		pthread_barrier_wait(&removal.meeting);
		nanosleep(&later, NULL);
		remove_together();
	}
	return NULL;
}

static void U01_two_threads_may_unmap_the_same_at_once(void **state)
{
	int fd = file_new(PAGES(2));
	pthread_t other;

	(void)state;
	removal.failures = 0;
	removal.addr = quiet();
	pthread_barrier_init(&removal.meeting, NULL, 2);
	assert_int_equal(pthread_create(&other, NULL, remove_main, NULL), 0);
	for (int round = 0; round < REMOVALS; round++) {
		map(removal.addr, PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, 0);
		if (round % 10 == 9)
			removal.addr[PAGES(1)] = (char)round;
		pthread_barrier_wait(&removal.meeting);
		remove_together();
	}
	pthread_join(other, NULL);
	pthread_barrier_destroy(&removal.meeting);
	assert_int_equal(removal.failures, 0);
	assert_unmapped(removal.addr);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), (REMOVALS - 1) & 0xff);
	assert_int_equal(file_byte(fd, 0), pattern(0));
}

#ifndef KERNEL_ORACLE
static void U01_what_cannot_be_written_stays_mapped(void **state)
{
	int filler;
	int fd = file_on_full_disk(16, &filler);
	char *p = map_shared(fd, 16);

	(void)state;
	for (size_t i = 0; i < 16; i++)
		p[PAGES(i)] = (char)('a' + i);
	assert_fails(quire_munmap(p, PAGES(16)), ENOSPC);
	for (size_t i = 0; i < 16; i++)
		assert_loads(p + PAGES(i), 'a' + (int)i);
	assert_int_equal(ftruncate(filler, 0), 0);
	unmap(p, 16);
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 'a' + (int)i);
}

static void U01_everything_is_given_back(void **state)
{
	struct quire_stats before = stats();
	int fd = file_new(PAGES(16));
	char *p = map_shared(fd, 16);
	char *q = map_private(fd, 16);
	char *r = map_anonymous(16);

	(void)state;
	memset(p, 1, PAGES(16));
	memset(q, 2, PAGES(16));
	memset(r, 3, PAGES(16));
	assert_int_equal(grown(before, areas), 3);
	unmap(p, 16);
	unmap(q, 16);
	unmap(r, 16);
	assert_int_equal(grown(before, areas), 0);
	assert_int_equal(stats().dirty_bytes, before.dirty_bytes);
	assert_int_equal(stats().swapped_bytes, before.swapped_bytes);
}
#endif

static const struct conformance_test tests[] = {
    TEST(U01_later_access_is_SIGSEGV),
    TEST(U01_middle_of_a_mapping_is_split_out),
    TEST(U01_head_and_tail_are_cut_off),
    TEST(U01_one_call_removes_several_mappings_and_holes),
    TEST(U01_range_with_nothing_in_it_is_no_error),
    TEST(U01_length_is_rounded_up_to_pages),
    TEST(U01_bad_ranges_are_EINVAL),
    TEST(U01_dirty_shared_pages_are_not_lost),
    TEST(U01_pages_unmapped_one_by_one_are_not_lost),
    TEST(U01_what_was_stored_is_there_in_the_next_mapping),
    TEST(U01_other_mappings_of_the_file_stay),
    TEST(U01_two_threads_may_unmap_the_same_at_once),
#ifndef KERNEL_ORACLE
    TEST(U01_what_cannot_be_written_stays_mapped),
    TEST(U01_everything_is_given_back),
#endif
};

CONFORMANCE_MAIN(tests)
