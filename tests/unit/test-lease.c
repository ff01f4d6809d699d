/* SPDX-License-Identifier: MIT */
/*
 * test-lease.c - read leases
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/lease.h"

static char path[256];

static int make_file(void **state)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/quire-lease-XXXXXX", dir && *dir ? dir : "/var/tmp");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int open_lease(int flags)
{
	int fd = open(path, flags | O_CLOEXEC), lease = -1;

	assert_true(fd >= 0);
	assert_int_equal(lease_open(fd, &lease), 0);
	close(fd);
	return lease;
}

static void who_opens_for_writing_is_held_off_until_the_lease_is_dropped(void **state)
{
	int lease = open_lease(O_RDONLY), fd;

	(void)state;
	assert_int_equal(lease_take(lease), 0);
	assert_int_equal(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	lease_drop(lease);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(lease_take(lease), -EAGAIN);
	close(fd);
	assert_int_equal(lease_take(lease), 0);
	assert_int_equal(lease_take(lease), 0);
	close(lease);
}

static void a_lease_is_its_own_also_of_a_descriptor_that_is_open_for_writing(void **state)
{
	int lease = open_lease(O_RDWR);

	(void)state;
	assert_int_equal(fcntl(lease, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(lease_take(lease), 0);
	close(lease);
}

static void nobody_is_told_of_a_break(void **state)
{
	int lease = open_lease(O_RDONLY);

	(void)state;
	assert_int_equal(lease_take(lease), 0);
	assert_int_equal(fcntl(lease, F_GETOWN), 0);
	assert_int_equal(lease_take(lease), 0);
	assert_int_equal(fcntl(lease, F_GETOWN), 0);
	close(lease);
}

static void what_has_no_leases_says_so(void **state)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), lease = -1;

	(void)state;
	assert_int_equal(lease_open(zero, &lease), 0);
	assert_int_equal(lease_take(lease), -EINVAL);
	close(lease);
	close(zero);
	assert_int_equal(lease_open(zero, &lease), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(who_opens_for_writing_is_held_off_until_the_lease_is_dropped),
	    cmocka_unit_test(a_lease_is_its_own_also_of_a_descriptor_that_is_open_for_writing),
	    cmocka_unit_test(nobody_is_told_of_a_break),
	    cmocka_unit_test(what_has_no_leases_says_so),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
