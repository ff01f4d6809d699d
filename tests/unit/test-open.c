/* SPDX-License-Identifier: MIT */
/*
 * test-open.c - calls that make descriptors and segments, while memory, threads and the kernel fail
 *
 * The first thing that can fail in a call fails, then the second, and so on until the call has met no failure. A call that fails leaves
 * nothing behind: no descriptor, no object, no name, and no pager that would be closed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <quire/pager.h>
#include <quire/shm.h>

#include "util/fail.h"

#define ENOUGH 200

static struct sigaction engine_bus, engine_segv;
static _Atomic unsigned closes;
static char path[] = "/tmp/quire-open-XXXXXX";

static int size_of_one(void *arg, uint64_t *ret_bytes)
{
	(void)arg;
	*ret_bytes = quire_pagesize();
	return 0;
}

static int fill(void *arg, uint64_t offset, void *page)
{
	(void)arg;
	(void)offset;
	memset(page, 1, quire_pagesize());
	return 0;
}

static int fill_all(void *arg, void *memory, size_t len)
{
	(void)arg;
	memset(memory, 1, len);
	return 0;
}

static void count_close(void *arg)
{
	(void)arg;
	closes++;
}

static int open_faulting(void)
{
	struct quire_pager_ops ops = {
	    .ops_size = sizeof(ops), .size = size_of_one, .fault = fill, .close = count_close, .threads = 3};

	return quire_open_pager(&ops, NULL, O_RDONLY);
}

static int open_populating(void)
{
	struct quire_pager_ops ops = {.ops_size = sizeof(ops), .size = size_of_one, .populate = fill_all, .close = count_close};

	return quire_open_pager(&ops, NULL, O_RDWR);
}

static int open_filtered(void)
{
	char name[128];

	snprintf(name, sizeof(name), "trace:file=/dev/null:delay:us=1:error:rate=0:file:%s", path);
	return quire_open(name, O_RDWR, 0);
}

static int open_named(void)
{
	return quire_shm_open("/test-open", O_RDWR | O_CREAT | O_EXCL, 0600);
}

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static uint64_t objects(void)
{
	struct quire_stats stats;

	assert_int_equal(quire_stats_get(&stats, sizeof(stats)), 0);
	return stats.objects;
}

static uint64_t resident(void)
{
	struct quire_stats stats;

	assert_int_equal(quire_stats_get(&stats, sizeof(stats)), 0);
	return stats.resident_bytes;
}

/* Objects die a moment after they were given up. */
static void settle(uint64_t want)
{
	while (objects() != want)
		sched_yield();
}

/* Whether what was opened can be mapped and shows byte. */
static void check_mapping(int fd, int byte)
{
	char *p = quire_mmap(NULL, quire_pagesize(), PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(*p, byte);
	assert_int_equal(quire_munmap(p, quire_pagesize()), 0);
}

/* byte: what a mapping shows; -1: nothing is mapped. closing: it is a pager with a `close`. */
static void try_all(int (*call)(void), int byte, bool closing)
{
	static const enum fail_kind kinds[] = {FAIL_ALLOC, FAIL_MAP, FAIL_FRAME};
	uint64_t objects_before = objects(), resident_before = resident();
	unsigned descriptors = count_descriptors(), failures = 0;

	/* cmocka has put its own in their place. */
	sigaction(SIGBUS, &engine_bus, NULL);
	sigaction(SIGSEGV, &engine_segv, NULL);

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int nth = 1;; nth++) {
			uint64_t failed;
			int fd;

			assert_true(nth < ENOUGH);
			closes = 0;
			fail_arm(kinds[k], nth, false);
			fd = call();
			failed = atomic_load(&fail_count[kinds[k]]);
			fail_arm(kinds[k], 0, false);
			if (fd < 0) {
				assert_true(failed > 0);
				assert_true(errno == ENOMEM || errno == EAGAIN);
				assert_true(strlen(quire_errormsg()) > 10);
				settle(objects_before);
				assert_int_equal(count_descriptors(), descriptors);
				assert_int_equal(closes, 0);
				failures++;
				continue;
			}
			if (byte >= 0)
				check_mapping(fd, byte);
			assert_int_equal(close(fd), 0);
			(void)quire_shm_unlink("/test-open");
			settle(objects_before);
			while (closing && closes == 0)
				sched_yield();
			if (!failed)
				break;
		}
	assert_true(failures > 1);
	/* The pagers' threads go in their own time. */
	while (resident() > resident_before || count_descriptors() != descriptors)
		sched_yield();
}

static void a_pager_that_cannot_be_opened_leaves_nothing(void **state)
{
	(void)state;
	try_all(open_faulting, 1, true);
}

static void a_populating_pager_that_cannot_be_opened_leaves_nothing(void **state)
{
	(void)state;
	try_all(open_populating, 1, true);
}

static void filters_that_cannot_be_opened_leave_nothing(void **state)
{
	(void)state;
	try_all(open_filtered, 'x', false);
}

static void a_name_that_cannot_be_made_leaves_nothing(void **state)
{
	(void)state;
	try_all(open_named, -1, false);
}

static void segments_that_cannot_be_made_leave_nothing(void **state)
{
	uint64_t before = objects();
	unsigned failures = 0;

	(void)state;
	for (enum fail_kind kind = 0; kind < FAIL_KINDS; kind++)
		for (int nth = 1;; nth++) {
			char *p = MAP_FAILED;
			uint64_t failed;
			int id;

			assert_true(nth < ENOUGH);
			fail_arm(kind, nth, false);
			id = quire_shmget(0x7e57, 1, IPC_CREAT | IPC_EXCL | 0600);
			if (id >= 0)
				p = quire_shmat(id, NULL, 0);
			failed = atomic_load(&fail_count[kind]);
			fail_arm(kind, 0, false);
			failures += failed > 0;
			if (id < 0)
				assert_int_equal(quire_shmget(0x7e57, 1, 0), -1);
			else if (p == MAP_FAILED)
				assert_true(failed > 0);
			else
				assert_int_equal(quire_shmdt(p), 0);
			if (id >= 0)
				assert_int_equal(quire_shmctl(id, IPC_RMID, NULL), 0);
			settle(before);
			if (!failed)
				break;
		}
	assert_true(failures > 2);
}

static int start(void **state)
{
	int fd = mkstemp(path);
	uint64_t before;

	(void)state;
	if (fd < 0 || write(fd, "x", 1) != 1 || close(fd) < 0)
		return -1;
	/* What is made once stays. */
	if (quire_mmap(NULL, quire_pagesize(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
		fprintf(stderr, "%s\n", quire_errormsg());
		unlink(path);
		exit(errno == EPERM ? 77 : 1);
	}
	sigaction(SIGBUS, NULL, &engine_bus);
	sigaction(SIGSEGV, NULL, &engine_segv);
	before = objects();
	fd = open_filtered();
	if (fd < 0 || close(fd) < 0)
		return -1;
	settle(before);
	return 0;
}

static int end(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_pager_that_cannot_be_opened_leaves_nothing),
	    cmocka_unit_test(a_populating_pager_that_cannot_be_opened_leaves_nothing),
	    cmocka_unit_test(filters_that_cannot_be_opened_leave_nothing),
	    cmocka_unit_test(a_name_that_cannot_be_made_leaves_nothing),
	    cmocka_unit_test(segments_that_cannot_be_made_leave_nothing),
	};

	return cmocka_run_group_tests_name("open", tests, start, end);
}
