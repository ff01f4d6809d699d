/* SPDX-License-Identifier: MIT */
/*
 * test-contents.c - what a mapping shows, and to whom: rows M06, M07, M09 and M18
 */
#include "support.h"

#include <sys/wait.h>

/* ---- M06: shared ---- */

static void M06_store_is_seen_through_every_mapping_at_once(void **state)
{
	int fd = file_new(PAGES(2));
	int again = file_reopen(fd, O_RDONLY);
	char *p = map_shared(fd, 2);
	char *q = map_shared(fd, 2);
	char *r = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, again, 0);

	(void)state;
	assert_loads(q, pattern(0));
	p[0] = 1;
	assert_loads(q, 1);
	assert_loads(r, 1);
	q[page_size] = 2;
	assert_loads(p + page_size, 2);
	assert_loads(r + page_size, 2);
	unmap(p, 2);
	unmap(q, 2);
	unmap(r, 2);
}

static void M06_mappings_at_different_offsets_share_their_pages(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	char *q = map(NULL, PAGES(2), RW, MAP_SHARED, fd, (off_t)PAGES(2));

	(void)state;
	assert_pattern(q, PAGES(2), PAGES(2));
	q[5] = 0;
	assert_loads(p + PAGES(2) + 5, 0);
	p[PAGES(3)] = 0;
	assert_loads(q + PAGES(1), 0);
	unmap(p, 4);
	unmap(q, 2);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) + 5), 0);
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), 0);
}

static void M06_store_reaches_the_file_by_msync(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	p[3] = 'x';
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(fd, 3), 'x');
	assert_int_equal(file_byte(fd, 4), pattern(4));
	unmap(p, 2);
}

static void M06_store_reaches_the_file_without_msync(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	memset(p + page_size, 'y', page_size);
	unmap(p, 2);
	assert_int_equal(file_byte(fd, (off_t)page_size - 1), pattern((off_t)page_size - 1));
	assert_int_equal(file_byte(fd, (off_t)page_size), 'y');
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) - 1), 'y');
}

static void M06_store_survives_eviction(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);

	(void)state;
	for (size_t i = 0; i < 8; i++)
		p[PAGES(i)] = (char)(100 + i);
	evict(p, 8);
	for (size_t i = 0; i < 8; i++)
		assert_loads(p + PAGES(i), 100 + (int)i);
	assert_loads(p + 1, pattern(1));
	unmap(p, 8);
}

static void M06_what_was_written_before_the_first_touch_is_seen(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	assert_int_equal(pwrite(fd, "new", 3, 10), 3);
	assert_memory_equal(p + 10, "new", 3);
	unmap(p, 1);
}

/* A write(2) to another part of a page that is just then on its way to the file. */
static void M06_store_survives_a_write_beside_it(void **state)
{
	int fd = file_new(PAGES(64));

	(void)state;
	for (int round = 1; round < 100; round++) {
		char *p = map_shared(fd, 64);

		for (size_t i = 0; i < 64; i++) {
			p[PAGES(i)] = (char)round;
			assert_ok(quire_msync(p + PAGES(i), PAGES(1), MS_ASYNC));
			/* A moment of another length for each. */
			for (volatile size_t wait = 0; wait < i * 300; wait++)
				;
			(void)file_byte(fd, (off_t)PAGES(i) + 200);
			assert_int_equal(pwrite(fd, "beside", 6, (off_t)PAGES(i) + 100), 6);
		}
		unmap(p, 64);
		for (size_t i = 0; i < 64; i++)
			assert_int_equal(file_byte(fd, (off_t)PAGES(i)), round);
	}
}

/* ---- M07: private ---- */

static void M07_private_is_never_written_back(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_private(fd, 2);

	(void)state;
	p[0] = 0;
	p[PAGES(1)] = 0;
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	evict(p, 2);
	assert_loads(p, 0);
	unmap(p, 2);
	assert_int_equal(file_byte(fd, 0), pattern(0));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), pattern((off_t)PAGES(1)));
}

static void M07_private_store_is_not_seen_elsewhere(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_private(fd, 1);
	char *other = map_private(fd, 1);
	char *shared = map_shared(fd, 1);

	(void)state;
	p[0] = 0;
	assert_loads(p, 0);
	assert_loads(other, pattern(0));
	assert_loads(shared, pattern(0));
	unmap(p, 1);
	unmap(other, 1);
	unmap(shared, 1);
}

static void M07_private_store_is_discarded_at_unmap(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_private(fd, 1);

	(void)state;
	p[0] = 0;
	unmap(p, 1);
	p = map_private(fd, 1);
	assert_pattern(p, PAGES(1), 0);
	unmap(p, 1);
}

static void M07_unwritten_pages_show_the_object(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_private(fd, 2);
	char *shared = map_shared(fd, 2);

	(void)state;
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	p[0] = 1;
	shared[0] = 2;
	shared[PAGES(1)] = 3;
	assert_loads(p, 1);
	assert_loads(p + PAGES(1), 3);
	unmap(p, 2);
	unmap(shared, 2);
}

static void M07_a_private_copy_holds_the_rest_of_its_page(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_private(fd, 1);

	(void)state;
	p[7] = 0;
	assert_pattern(p, 7, 0);
	assert_loads(p + 7, 0);
	assert_pattern(p + 8, page_size - 8, 8);
	evict(p, 1);
	assert_loads(p + 7, 0);
	assert_pattern(p + 8, page_size - 8, 8);
	unmap(p, 1);
}

static void M07_a_file_open_for_reading_can_be_stored_to_in_private(void **state)
{
	int fd = file_reopen(file_new(PAGES(1)), O_RDONLY);
	char *p = map_private(fd, 1);

	(void)state;
	assert_stores(p, 0);
	assert_loads(p, 0);
	assert_loads(p + 1, pattern(1));
	unmap(p, 1);
}

/* ---- M09: anonymous ---- */

static void check_zero_filled(int flags, int fd)
{
	char *p = map(NULL, PAGES(3), RW, flags, fd, 0);

	assert_zeros(p, PAGES(3));
	p[PAGES(1)] = 5;
	evict(p, 3);
	assert_loads(p, 0);
	assert_loads(p + PAGES(1), 5);
	unmap(p, 3);
}

static void M09_anonymous_memory_is_zero_filled(void **state)
{
	(void)state;
	check_zero_filled(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	check_zero_filled(MAP_SHARED | MAP_ANONYMOUS, -1);
}

static void M09_dev_zero_is_anonymous_memory(void **state)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	check_zero_filled(MAP_PRIVATE, fd);
	check_zero_filled(MAP_SHARED, fd);
	close(fd);
}

static void M09_dev_zero_is_limited_by_its_open_mode(void **state)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char *p;

	(void)state;
	assert_true(fd >= 0);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, fd, 0), EACCES);
	p = map_private(fd, 1);
	assert_stores(p, 1);
	unmap(p, 1);
	close(fd);
}

static void M09_each_anonymous_mapping_has_its_own_memory(void **state)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	char *p = map(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
	char *q = map(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
	char *r = map_shared(fd, 1);
	char *s = map_shared(fd, 1);

	(void)state;
	*p = *r = 1;
	assert_loads(q, 0);
	assert_loads(s, 0);
	unmap(p, 1);
	unmap(q, 1);
	unmap(r, 1);
	unmap(s, 1);
	close(fd);
}

static void M09_anonymous_ignores_its_descriptor(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
	char *q = map(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, 1 << 20, (off_t)PAGES(7));

	(void)state;
	assert_zeros(p, PAGES(1));
	assert_zeros(q, PAGES(1));
	unmap(p, 1);
	unmap(q, 1);
}

#ifndef KERNEL_ORACLE
/* ---- what only the engine has ---- */

static void M18_child_that_was_not_made_by_fork_has_none_of_the_mappings(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	char *q = map_anonymous(1);
	int status;
	pid_t pid;

	(void)state;
	p[0] = 'p';
	q[0] = 'q';
	pid = _Fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* A page that was touched, one that never was, and private memory. */
		bool right =
		    load(p) == -SIGSEGV && load(p + PAGES(1)) == -SIGSEGV && store(p, 1) == -SIGSEGV && load(q) == -SIGSEGV;

		_exit(right ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_loads(p, 'p');
	assert_pattern(p + PAGES(1), PAGES(1), PAGES(1));
	assert_loads(q, 'q');
	unmap(p, 2);
	unmap(q, 1);
	assert_int_equal(file_byte(fd, 0), 'p');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), pattern((off_t)PAGES(1)));
}
#endif

static const struct conformance_test tests[] = {
    TEST(M06_store_is_seen_through_every_mapping_at_once),
    TEST(M06_mappings_at_different_offsets_share_their_pages),
    TEST(M06_store_reaches_the_file_by_msync),
    TEST(M06_store_reaches_the_file_without_msync),
    TEST(M06_store_survives_eviction),
    TEST(M06_what_was_written_before_the_first_touch_is_seen),
    TEST(M06_store_survives_a_write_beside_it),
    TEST(M07_private_is_never_written_back),
    TEST(M07_private_store_is_not_seen_elsewhere),
    TEST(M07_private_store_is_discarded_at_unmap),
    TEST(M07_unwritten_pages_show_the_object),
    TEST(M07_a_private_copy_holds_the_rest_of_its_page),
    TEST(M07_a_file_open_for_reading_can_be_stored_to_in_private),
    TEST(M09_anonymous_memory_is_zero_filled),
    TEST(M09_dev_zero_is_anonymous_memory),
    TEST(M09_dev_zero_is_limited_by_its_open_mode),
    TEST(M09_each_anonymous_mapping_has_its_own_memory),
    TEST(M09_anonymous_ignores_its_descriptor),
#ifndef KERNEL_ORACLE
    TEST(M18_child_that_was_not_made_by_fork_has_none_of_the_mappings),
#endif
};

CONFORMANCE_MAIN(tests)
