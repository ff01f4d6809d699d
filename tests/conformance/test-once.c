/* SPDX-License-Identifier: MIT */
/*
 * test-once.c - reading once without displacing what others use: row B04
 *
 * Each test reads a file several times as large as the budget through one mapping, and then looks at what another has in memory.
 */
#include "support.h"

#include <pthread.h>

enum { COLD_PAGES = 6000 };

/* Two fifths of the budget, and so little that all of it stays beside a sixteenth. */
static size_t hot_pages(void)
{
	return stats().budget_bytes / page_size * 2 / 5;
}

static char *map_hot(size_t n)
{
	char *hot = map_shared(file_new(PAGES(n)), n);

	for (int pass = 0; pass < 2; pass++)
		assert_pattern(hot, PAGES(n), 0);
	assert_int_equal(resident_pages(hot, n), n);
	return hot;
}

static char *map_cold(int flags, int advice, bool once)
{
	char *cold = map(NULL, PAGES(COLD_PAGES), PROT_READ | (flags == MAP_PRIVATE ? PROT_WRITE : 0), flags,
			 file_new(PAGES(COLD_PAGES)), 0);

	assert_ok(quire_madvise(cold, PAGES(COLD_PAGES), advice));
	if (once)
		assert_ok(quire_madvise(cold, PAGES(COLD_PAGES), QUIRE_MADV_ONCE));
	return cold;
}

static void read_page(const char *cold, size_t page)
{
	assert_pattern(cold + PAGES(page), 16, PAGES(page));
}

/* The hot pages are all there, and using them reads nothing. */
static void check_hot(char *hot, size_t n)
{
	uint64_t before = stats().major_faults;

	assert_int_equal(resident_pages(hot, n), n);
	assert_pattern(hot, PAGES(n), 0);
	assert_int_equal(stats().major_faults, before);
}

enum order { FORWARD, BACKWARD, STRIDED };

static size_t ordered(enum order order, size_t i)
{
	if (order == STRIDED)
		return i * 8 % COLD_PAGES + i * 8 / COLD_PAGES;
	return order == FORWARD ? i : COLD_PAGES - 1 - i;
}

static void scan_beside_hot_pages(int flags, int advice, enum order order)
{
	size_t n = hot_pages();
	char *hot = map_hot(n), *cold = map_cold(flags, advice, true);

	for (size_t i = 0; i < COLD_PAGES; i++)
		read_page(cold, ordered(order, i));
	check_hot(hot, n);
	unmap(cold, COLD_PAGES);
	unmap(hot, n);
}

static void B04_scan_of_what_is_used_once_displaces_nothing(void **state)
{
	(void)state;
	scan_beside_hot_pages(MAP_SHARED, MADV_NORMAL, FORWARD);
}

static void B04_sequential_scan_of_what_is_used_once_displaces_nothing(void **state)
{
	(void)state;
	scan_beside_hot_pages(MAP_SHARED, MADV_SEQUENTIAL, FORWARD);
}

static void B04_scan_of_a_private_mapping_used_once_displaces_nothing(void **state)
{
	(void)state;
	scan_beside_hot_pages(MAP_PRIVATE, MADV_NORMAL, FORWARD);
}

static void B04_backward_scan_of_what_is_used_once_displaces_nothing(void **state)
{
	(void)state;
	scan_beside_hot_pages(MAP_SHARED, MADV_NORMAL, BACKWARD);
}

static void B04_strided_scan_of_what_is_used_once_displaces_nothing(void **state)
{
	(void)state;
	scan_beside_hot_pages(MAP_SHARED, MADV_NORMAL, STRIDED);
}

/* Otherwise the other tests would prove nothing. */
static void B04_scan_displaces_what_is_not_used_meanwhile(void **state)
{
	size_t n = hot_pages();
	char *hot = map_hot(n), *cold = map_cold(MAP_SHARED, MADV_NORMAL, false);

	(void)state;
	for (size_t i = 0; i < COLD_PAGES; i++)
		read_page(cold, i);
	assert_true(resident_pages(hot, n) < n / 2);
	unmap(cold, COLD_PAGES);
	unmap(hot, n);
}

static size_t shuffled(size_t i)
{
	/* 4999 is a prime, and none of COLD_PAGES' factors. */
	return i * 4999 % COLD_PAGES;
}

struct reader {
	pthread_t thread;
	const char *cold;
	size_t first;
	size_t wrong;
};

enum { READERS = 4 };

static void *read_shuffled(void *arg)
{
	struct reader *reader = arg;

	for (size_t i = reader->first; i < COLD_PAGES; i += READERS)
		reader->wrong += (unsigned char)reader->cold[PAGES(shuffled(i))] != pattern((off_t)PAGES(shuffled(i)));
	return NULL;
}

static void B04_random_readers_of_what_is_used_once_displace_nothing(void **state)
{
	size_t n = hot_pages();
	char *hot = map_hot(n), *cold = map_cold(MAP_SHARED, MADV_RANDOM, true);
	struct reader readers[READERS];

	(void)state;
	for (size_t i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.cold = cold, .first = i};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_shuffled, &readers[i]), 0);
	}
	for (size_t i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_int_equal(readers[i].wrong, 0);
	}
	check_hot(hot, n);
	unmap(cold, COLD_PAGES);
	unmap(hot, n);
}

static void B04_what_others_use_stays_with_them(void **state)
{
	int fd = file_new(PAGES(1000));
	char *mine = map(NULL, PAGES(1000), PROT_READ, MAP_SHARED, fd, 0), *theirs;

	(void)state;
	theirs = map(NULL, PAGES(1000), PROT_READ, MAP_SHARED, fd, 0);
	assert_ok(quire_madvise(theirs, PAGES(1000), MADV_RANDOM));
	assert_ok(quire_madvise(theirs, PAGES(1000), QUIRE_MADV_ONCE));
	assert_ok(quire_madvise(mine, PAGES(1000), MADV_RANDOM));
	/* Some were there before, some came in through the other, and were used by me then. */
	for (size_t i = 0; i < 8; i++)
		assert_loads(mine + PAGES(i), pattern((off_t)PAGES(i)));
	for (size_t i = 0; i < 16; i++)
		assert_loads(theirs + PAGES(i), pattern((off_t)PAGES(i)));
	for (size_t i = 8; i < 16; i++)
		assert_loads(mine + PAGES(i), pattern((off_t)PAGES(i)));
	for (size_t i = 16; i < 1000; i++)
		assert_loads(theirs + PAGES(i), pattern((off_t)PAGES(i)));
	assert_int_equal(resident_pages(mine, 16), 16);
	assert_true(resident_pages(mine, 1000) < 300);
	unmap(mine, 1000);
	unmap(theirs, 1000);
}

static void B04_reuse_takes_it_back(void **state)
{
	int fd = file_new(PAGES(600));
	char *p = map_shared(fd, 600);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(600), MADV_RANDOM));
	assert_ok(quire_madvise(p, PAGES(600), QUIRE_MADV_ONCE));
	for (size_t i = 0; i < 300; i++)
		read_page(p, i);
	assert_true(resident_pages(p, 300) <= 130);
	/* Not before they can have been used. */
	assert_true(resident_pages(p + PAGES(268), 32) == 32);
	assert_ok(quire_madvise(p, PAGES(600), QUIRE_MADV_REUSE));
	for (size_t i = 300; i < 600; i++)
		read_page(p, i);
	assert_int_equal(resident_pages(p + PAGES(300), 300), 300);
	unmap(p, 600);
}

static void B04_stores_into_what_is_used_once_are_not_lost(void **state)
{
	int fd = file_new(PAGES(3000));
	char *p = map_shared(fd, 3000);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(3000), QUIRE_MADV_ONCE));
	for (size_t i = 0; i < 3000; i++)
		p[PAGES(i) + 5] = (char)('a' + i % 20);
	for (size_t i = 0; i < 3000; i++)
		assert_loads(p + PAGES(i) + 5, 'a' + i % 20);
	unmap(p, 3000);
	for (size_t i = 0; i < 3000; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 5), 'a' + i % 20);
}

static void B04_parts_of_a_mapping_that_is_used_once(void **state)
{
	int fd = file_new(PAGES(400));
	uint64_t bytes = stats().metadata_bytes;
	char *p = map_shared(fd, 400);

	(void)state;
	assert_ok(quire_madvise(p + PAGES(100), PAGES(200), QUIRE_MADV_ONCE));
	for (size_t i = 0; i < 400; i++)
		read_page(p, i);
	assert_ok(quire_mprotect(p + PAGES(150), PAGES(100), PROT_READ));
	for (size_t i = 0; i < 400; i++)
		read_page(p, i);
	assert_ok(quire_mprotect(p + PAGES(150), PAGES(100), RW));
	for (size_t i = 0; i < 400; i++)
		read_page(p, i);
	assert_int_equal(resident_pages(p, 100), 100);
	assert_int_equal(resident_pages(p + PAGES(300), 100), 100);
	unmap(p, 400);
	settle();
	assert_int_equal(stats().metadata_bytes, bytes);
}

static void B04_advice_of_ours_is_checked_as_others(void **state)
{
	char *p = map(quiet(), PAGES(4), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(4), QUIRE_MADV_ONCE));
	memset(p, 'a', PAGES(4));
	assert_ok(quire_madvise(p, PAGES(4), QUIRE_MADV_REUSE));
	assert_fails(quire_madvise(p + 1, PAGES(1), QUIRE_MADV_ONCE), EINVAL);
	assert_fails(quire_madvise(p, PAGES(1), QUIRE_MADV_REUSE + 1), EINVAL);
	unmap(p + PAGES(1), 1);
	assert_fails(quire_madvise(p, PAGES(4), QUIRE_MADV_ONCE), ENOMEM);
	assert_filled(p + PAGES(2), PAGES(2), 'a');
	unmap(p, 4);
}

static const struct conformance_test tests[] = {
    TEST(B04_scan_of_what_is_used_once_displaces_nothing),
    TEST(B04_sequential_scan_of_what_is_used_once_displaces_nothing),
    TEST(B04_scan_of_a_private_mapping_used_once_displaces_nothing),
    TEST(B04_backward_scan_of_what_is_used_once_displaces_nothing),
    TEST(B04_strided_scan_of_what_is_used_once_displaces_nothing),
    TEST(B04_scan_displaces_what_is_not_used_meanwhile),
    TEST(B04_random_readers_of_what_is_used_once_displace_nothing),
    TEST(B04_what_others_use_stays_with_them),
    TEST(B04_reuse_takes_it_back),
    TEST(B04_stores_into_what_is_used_once_are_not_lost),
    TEST(B04_parts_of_a_mapping_that_is_used_once),
    TEST(B04_advice_of_ours_is_checked_as_others),
};

CONFORMANCE_MAIN(tests)
