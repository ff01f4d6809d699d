/* SPDX-License-Identifier: MIT */
/*
 * test-huge.c - what is asked about huge pages
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/huge.h"

#define OF(shift) (MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (unsigned)(shift) << HUGE_SHIFT_BIT)

/* What /proc/meminfo calls the default; 0: this kernel has no huge pages. */
static size_t default_bytes(void)
{
	FILE *meminfo = fopen("/proc/meminfo", "r");
	unsigned long kib = 0;
	char line[256];

	assert_non_null(meminfo);
	while (fgets(line, sizeof(line), meminfo))
		sscanf(line, "Hugepagesize: %lu kB", &kib);
	fclose(meminfo);
	return (size_t)kib << 10;
}

static void flags_without_a_size_mean_the_default(void **state)
{
	(void)state;
	assert_int_equal(huge_bytes_of_flags(OF(0)), default_bytes());
}

static void a_size_that_the_kernel_has_is_that_size(void **state)
{
	size_t bytes = default_bytes();

	(void)state;
	if (!bytes)
		skip();
	assert_int_equal(huge_bytes_of_flags(OF(__builtin_ctzll(bytes))), bytes);
	assert_int_equal(huge_bytes(OF(__builtin_ctzll(bytes))), bytes);
	assert_int_equal(huge_bytes(OF(34)), (size_t)1 << 34);
}

static void a_size_that_no_kernel_has_is_none(void **state)
{
	(void)state;
	assert_int_equal(huge_bytes_of_flags(OF(13)), 0);
	assert_int_equal(huge_bytes_of_flags(OF(63)), 0);
}

static size_t bytes_of(int fd)
{
	struct statfs fs;

	assert_int_equal(fstatfs(fd, &fs), 0);
	return huge_bytes_of_file(&fs);
}

static void a_file_of_hugetlbfs_is_told_from_others(void **state)
{
	int plain = memfd_create("plain", MFD_CLOEXEC), huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);

	(void)state;
	assert_int_equal(bytes_of(plain), 0);
	if (huge >= 0)
		assert_int_equal(bytes_of(huge), default_bytes());
	close(plain);
	close(huge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(flags_without_a_size_mean_the_default),
	    cmocka_unit_test(a_size_that_the_kernel_has_is_that_size),
	    cmocka_unit_test(a_size_that_no_kernel_has_is_none),
	    cmocka_unit_test(a_file_of_hugetlbfs_is_told_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
