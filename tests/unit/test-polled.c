/* SPDX-License-Identifier: MIT */
/*
 * test-polled.c - reads that a thread watches for, and the duty that it keeps or leaves meanwhile
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
// clang-format on

#include "sys/io.h"
#include "sys/page_size.h"
#include "sys/polled.h"
#include "util/duty.h"

#define PAGES 64

static struct io *io;
static int fd;
static char *buf; /* of PAGES */
static int poller_ring;

static char byte_of(uint64_t offset)
{
	return (char)(offset / page_size() * 7 + offset % 251);
}

/* A bit for each descriptor that is a ring's. They are not in order: a thread that is started is named through a descriptor, too. */
static uint64_t find_rings(void)
{
	uint64_t rings = 0;

	for (int i = 0; i < 64; i++) {
		char path[64], target[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
		if (readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "io_uring"))
			rings |= 1ULL << i;
	}
	return rings;
}

static int setup(void **state)
{
	uint64_t lanes;
	char name[] = "/var/tmp/quire-test-polled-XXXXXX";

	(void)state;
	fd = mkstemp(name);
	if (fd < 0 || unlink(name) < 0 || posix_memalign((void **)&buf, page_size(), PAGES * page_size()) != 0)
		return -1;
	for (size_t i = 0; i < PAGES * page_size() - 100; i++)
		buf[i] = byte_of(i);
	if (pwrite(fd, buf, PAGES * page_size() - 100, 0) < 0 || fsync(fd) < 0)
		return -1;
	memset(buf, 0, PAGES * page_size());
	if (io_create(8, true, &io) < 0)
		return -1;
	lanes = find_rings();
	if (io_watch_reads(io, 1) < 0)
		return -1;
	poller_ring = ffsll((long long)(find_rings() & ~lanes)) - 1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	io_destroy(io);
	close(fd);
	free(buf);
	duty_now = NULL;
	return 0;
}

static struct io_transfer reading(int from, uint64_t offset, size_t len)
{
	memset(buf, 0xee, PAGES * page_size());
	return (struct io_transfer){.op = IO_READ, .fd = from, .buf = buf, .len = len, .offset = offset};
}

static ssize_t await(int from, uint64_t offset, size_t len)
{
	struct io_transfer transfer = reading(from, offset, len);

	return io_await(io, &transfer);
}

static void assert_bytes(uint64_t offset, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], byte_of(offset + i));
	assert_int_equal((unsigned char)buf[len], 0xee);
}

/* Of the file, as often as page: each of them is in the kernel's cache. */
static void a_page_is_read_and_counted(void **state)
{
	(void)state;
	for (unsigned page = 0; page < 10; page++) {
		assert_int_equal(await(fd, page * page_size(), page_size()), page_size());
		assert_bytes(page * page_size(), page_size());
		assert_int_equal(io_watched(io), page + 1);
	}
}

static void a_direct_read_is_watched_where_there_are_any(void **state)
{
	char path[64];
	int direct;

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, O_RDONLY | O_DIRECT);
	if (direct < 0) /* a tmpfs of an older kernel */
		skip();
	assert_int_equal(await(direct, 3 * page_size(), page_size()), page_size());
	assert_bytes(3 * page_size(), page_size());
	close(direct);
}

static void a_read_ends_with_the_file(void **state)
{
	(void)state;
	assert_int_equal(await(fd, (PAGES - 1) * page_size(), page_size()), page_size() - 100);
	assert_bytes((PAGES - 1) * page_size(), page_size() - 100);
	assert_int_equal(await(fd, PAGES * page_size(), page_size()), 0);
}

static void a_long_read_is_not_watched(void **state)
{
	struct io_transfer transfer = reading(fd, 0, PAGES * page_size() - 200);

	(void)state;
	assert_int_equal(io_await(io, &transfer), PAGES * page_size() - 200);
	assert_bytes(0, PAGES * page_size() - 200);
	assert_int_equal(io_watched(io), 0);
}

static void memory_that_knows_no_such_read_is_read_all_the_same(void **state)
{
	int memory = memfd_create("polled", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(await(fd, 0, page_size()), page_size());
	assert_int_equal(pwrite(memory, buf, page_size(), 0), page_size());
	assert_int_equal(await(memory, 0, page_size()), page_size());
	assert_bytes(0, page_size());
	close(memory);
}

static void an_error_is_that_of_the_plain_read(void **state)
{
	int writer = open("/dev/null", O_WRONLY);

	(void)state;
	assert_int_equal(await(-1, 0, page_size()), -EBADF);
	assert_int_equal(await(writer, 0, page_size()), -EBADF);
	assert_int_equal(io_watched(io), 0);
	close(writer);
}

static void after_one_that_was_not_worth_it_the_next_is_watched_again_some_time(void **state)
{
	unsigned tries = 0;

	(void)state;
	assert_int_equal(await(-1, 0, page_size()), -EBADF);
	while (io_watched(io) == 0) {
		assert_int_equal(await(fd, 0, page_size()), page_size());
		assert_true(++tries < 1000);
	}
	assert_true(tries > 1);
}

static void without_asking_none_is_watched(void **state)
{
	struct io_transfer transfer = reading(fd, 0, page_size());
	struct io *plain;

	(void)state;
	assert_int_equal(io_create(8, true, &plain), 0);
	assert_false(io_watches(plain));
	assert_true(io_watches(io));
	assert_int_equal(io_await(plain, &transfer), page_size());
	assert_int_equal(io_watched(plain), 0);
	io_destroy(plain);
}

/* The program closes what it does not know, and opens others. */
static void whoever_closes_its_descriptor_goes_on_reading(void **state)
{
	int ring = poller_ring;

	(void)state;
	assert_true(ring >= 0);
	close(ring);
	assert_int_equal(await(fd, page_size(), page_size()), page_size());
	assert_bytes(page_size(), page_size());
	assert_int_equal(io_watched(io), 0);
	assert_int_equal(dup2(fd, ring), ring);
	assert_int_equal(await(fd, 0, page_size()), page_size());
	assert_bytes(0, page_size());
	assert_int_equal(io_watched(io), 0);
	close(ring);
}

#define READERS 4

static void *read_often(void *arg)
{
	char *own = aligned_alloc(page_size(), page_size());
	uintptr_t wrong = 0;

	for (unsigned i = 0; i < 2000; i++) {
		uint64_t offset = (i * 13 + (uintptr_t)arg) % (PAGES - 1) * page_size();
		struct io_transfer transfer = {.op = IO_READ, .fd = fd, .buf = own, .len = page_size(), .offset = offset};

		wrong += io_await(io, &transfer) != (ssize_t)page_size();
		for (size_t k = 0; k < page_size(); k++)
			wrong += own[k] != byte_of(offset + k);
	}
	free(own);
	return (void *)wrong;
}

static void threads_that_read_at_once_get_each_its_own(void **state)
{
	pthread_t threads[READERS];

	(void)state;
	for (uintptr_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_often, (void *)i), 0);
	for (unsigned i = 0; i < READERS; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	assert_true(io_watched(io) > 0);
}

/* ---- the duty ---- */

struct known_duty {
	struct duty duty;
	bool work;
	unsigned asked, left;
};

static bool known_has_work(struct duty *duty)
{
	struct known_duty *known = (struct known_duty *)duty;

	known->asked++;
	return known->work;
}

static void known_leave(struct duty *duty)
{
	((struct known_duty *)duty)->left++;
}

static void the_duty_is_left_once(void **state)
{
	struct known_duty known = {.duty = {known_has_work, known_leave}};

	(void)state;
	assert_false(duty_look());
	duty_now = &known.duty;
	assert_true(duty_look());
	assert_int_equal(known.left, 0);
	known.work = true;
	assert_false(duty_look());
	duty_leave();
	assert_false(duty_look());
	assert_int_equal(known.left, 1);
	assert_int_equal(known.asked, 2);
}

static void a_read_that_is_watched_keeps_it(void **state)
{
	struct known_duty known = {.duty = {known_has_work, known_leave}};

	(void)state;
	duty_now = &known.duty;
	assert_int_equal(await(fd, 0, page_size()), page_size());
	assert_int_equal(io_watched(io), 1);
	assert_int_equal(known.left, 0);
}

static void a_plain_read_leaves_it(void **state)
{
	struct known_duty known = {.duty = {known_has_work, known_leave}};

	(void)state;
	duty_now = &known.duty;
	assert_int_equal(await(fd, 0, 20 * page_size()), 20 * page_size());
	assert_int_equal(io_watched(io), 0);
	assert_int_equal(known.left, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_page_is_read_and_counted),
	    TEST(a_direct_read_is_watched_where_there_are_any),
	    TEST(a_read_ends_with_the_file),
	    TEST(a_long_read_is_not_watched),
	    TEST(memory_that_knows_no_such_read_is_read_all_the_same),
	    TEST(an_error_is_that_of_the_plain_read),
	    TEST(after_one_that_was_not_worth_it_the_next_is_watched_again_some_time),
	    TEST(without_asking_none_is_watched),
	    TEST(whoever_closes_its_descriptor_goes_on_reading),
	    TEST(threads_that_read_at_once_get_each_its_own),
	    TEST(the_duty_is_left_once),
	    TEST(a_read_that_is_watched_keeps_it),
	    TEST(a_plain_read_leaves_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
