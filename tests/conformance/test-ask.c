/* SPDX-License-Identifier: MIT */
/*
 * test-ask.c - asking ahead of a touch: row B02
 */
#include "support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/uio.h>

static int eventfd_new(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Waits until a list has told that it is done, and closes. */
static void wait_told(int fd)
{
	uint64_t value = 0;

	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 1);
	close(fd);
}

static uint64_t major_faults(void)
{
	struct quire_stats stats;

	assert_ok(quire_stats_get(&stats, sizeof(stats)));
	return stats.major_faults;
}

static void B02_prefetch_brings_in_a_list_of_scattered_pages(void **state)
{
	int fd = file_new(PAGES(4000)), told = eventfd_new();
	char *p = map_shared(fd, 4000);
	struct iovec ranges[64];
	uint64_t before;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(4000), MADV_RANDOM));
	for (unsigned i = 0; i < 64; i++)
		ranges[i] = (struct iovec){p + PAGES(61 * i) + 5, 1};
	assert_ok(quire_prefetch(ranges, 64, told));
	wait_told(told);
	before = major_faults();
	for (unsigned i = 0; i < 64; i++) {
		assert_true(quire_resident(p + PAGES(61 * i), page_size));
		assert_false(quire_resident(p + PAGES(61 * i + 30), page_size));
		assert_pattern(p + PAGES(61 * i), page_size, PAGES(61 * i));
	}
	assert_int_equal(major_faults(), before);
	unmap(p, 4000);
}

static void B02_prefetch_spans_mappings_and_overlaps(void **state)
{
	int first = file_new(PAGES(40)), second = file_new(PAGES(40)), told = eventfd_new();
	char *p = map_shared(first, 40), *q = map_private(second, 40);
	struct iovec ranges[] = {
	    {p + PAGES(3) + 100, PAGES(10)}, {p + PAGES(8), PAGES(20)}, {q + PAGES(1), PAGES(30)}, {q, 0}, {p + PAGES(8), 1}};

	(void)state;
	assert_ok(quire_prefetch(ranges, 5, told));
	wait_told(told);
	assert_true(quire_resident(p + PAGES(3), PAGES(25)));
	assert_true(quire_resident(q + PAGES(1), PAGES(30)));
	assert_pattern(p, PAGES(40), 0);
	assert_pattern(q, PAGES(40), 0);
	unmap(p, 40);
	unmap(q, 40);
}

static void B02_prefetch_shows_what_was_stored(void **state)
{
	int fd = file_new(PAGES(8)), told = eventfd_new();
	char *p = map_shared(fd, 8), *copy = map_private(fd, 8);

	(void)state;
	p[PAGES(2)] = 'x';
	copy[PAGES(3)] = 'y';
	assert_ok(quire_madvise(p, PAGES(8), MADV_PAGEOUT));
	assert_ok(quire_madvise(copy, PAGES(8), MADV_PAGEOUT));
	assert_ok(quire_prefetch((struct iovec[]){{p, PAGES(8)}, {copy, PAGES(8)}}, 2, told));
	wait_told(told);
	assert_true(quire_resident(p, PAGES(8)));
	assert_int_equal(p[PAGES(2)], 'x');
	assert_int_equal(copy[PAGES(3)], 'y');
	assert_int_equal((unsigned char)copy[PAGES(3) + 1], pattern((off_t)PAGES(3) + 1));
	assert_int_equal((unsigned char)p[PAGES(3)], pattern((off_t)PAGES(3)));
	unmap(p, 8);
	unmap(copy, 8);
}

/* Stores into pages that were prefetched are noticed, as all are. */
static void B02_stores_into_prefetched_pages_reach_the_file(void **state)
{
	int fd = file_new(PAGES(300)), told = eventfd_new();
	char *p = map_shared(fd, 300);
	struct iovec ranges[30];

	(void)state;
	for (unsigned i = 0; i < 30; i++)
		ranges[i] = (struct iovec){p + PAGES(10 * i), PAGES(1 + i % 3)};
	assert_ok(quire_prefetch(ranges, 30, told));
	wait_told(told);
	for (unsigned i = 0; i < 30; i++)
		p[PAGES(10 * i) + 7] = (char)(i + 1);
	assert_ok(quire_msync(p, PAGES(300), MS_SYNC));
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(10 * i) + 7), i + 1);
	unmap(p, 300);
}

static void B02_prefetch_of_more_than_the_budget_comes_to_an_end(void **state)
{
	int fd = file_new(PAGES(6000)), told = eventfd_new();
	char *p = map_shared(fd, 6000);

	(void)state;
	assert_ok(quire_prefetch(&(struct iovec){p, PAGES(6000)}, 1, told));
	wait_told(told);
	assert_pattern(p, PAGES(6000), 0);
	unmap(p, 6000);
}

static void B02_prefetch_past_the_end_of_the_file_comes_to_an_end(void **state)
{
	int fd = file_new(PAGES(4) + 10), told = eventfd_new();
	char *p = map_shared(fd, 10);

	(void)state;
	assert_ok(quire_prefetch(&(struct iovec){p, PAGES(10)}, 1, told));
	wait_told(told);
	assert_true(quire_resident(p, PAGES(5)));
	assert_past_the_end(p + PAGES(5));
	unmap(p, 10);
}

static void B02_prefetch_tells_nobody_when_not_asked_to(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	assert_ok(quire_prefetch(&(struct iovec){p, PAGES(4)}, 1, -1));
	assert_ok(quire_prefetch(NULL, 0, -1));
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
}

/* What a list names may be unmapped, moved or stored to before its turn comes. */
static void B02_prefetch_of_what_goes_meanwhile_harms_nobody(void **state)
{
	int fd = file_new(PAGES(1500));

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		int told = eventfd_new();
		char *p = map_shared(fd, 1500), *copy = map_private(fd, 300), *other;

		for (unsigned k = 0; k < 300; k += 3)
			copy[PAGES(k)] = (char)i;
		assert_ok(quire_madvise(copy, PAGES(300), MADV_PAGEOUT));
		assert_ok(quire_prefetch((struct iovec[]){{p, PAGES(1500)}, {copy, PAGES(300)}, {p + PAGES(7), 1}}, 3, told));
		for (unsigned k = 0; k < 300; k += 3)
			assert_int_equal(copy[PAGES(k)], (char)i);
		p[PAGES(11) + i] = (char)(i + 1);
		other = map(p, PAGES(700), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
		assert_zeros(other, PAGES(700));
		unmap(copy, 300);
		unmap(p, 1500);
		wait_told(told);
		assert_int_equal(file_byte(fd, (off_t)PAGES(11) + i), i + 1);
	}
}

static void B02_prefetch_refuses_what_is_wrong(void **state)
{
	int fd = file_new(PAGES(4)), told = eventfd_new();
	char *p = map_shared(fd, 4);
	struct iovec good = {p, PAGES(4)};
	uint64_t value;

	(void)state;
	unmap(p + PAGES(2), 1);
	assert_fails(quire_prefetch(&good, 1, told), ENOMEM);
	good.iov_len = PAGES(2);
	assert_fails(quire_prefetch(&good, 1, 9999), EBADF);
	assert_fails(quire_prefetch(&good, 1, fd), EINVAL);
	assert_fails(quire_prefetch(&good, -1, told), EINVAL);
	assert_fails(quire_prefetch(NULL, 1, told), EINVAL);
	assert_fails(quire_prefetch(&(struct iovec){p, SIZE_MAX}, 1, told), EINVAL);
	/* None of them has told anybody, nor begun anything. */
	assert_int_equal(fcntl(told, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(told, &value, sizeof(value)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_false(quire_resident(p, page_size));
	close(told);
	unmap(p, 4);
}

/* ---- without a system call ---- */

static volatile sig_atomic_t system_calls;

static void on_system_call(int signo)
{
	(void)signo;
	system_calls++;
}

/* From here on each system call of this thread but the two is a SIGSYS instead. */
static int catch_system_calls(void)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

struct asked {
	const char *p;
	bool refused;
	int before, during; /* system calls that were caught */
	int whole, hole, none;
};

static void *ask_without_system_calls(void *arg)
{
	struct asked *asked = arg;

	asked->refused = catch_system_calls() != 0;
	if (asked->refused)
		return NULL;
	syscall(SYS_getppid);
	asked->before = system_calls;
	for (int i = 0; i < 1000; i++) {
		asked->whole += quire_resident(asked->p, PAGES(600));
		asked->hole += quire_resident(asked->p, PAGES(700));
		asked->none += quire_resident(asked->p + PAGES(700), PAGES(1));
	}
	asked->during = system_calls - asked->before;
	/* What ends a thread otherwise makes others. */
	syscall(SYS_exit, 0);
	return NULL;
}

static void B02_resident_makes_no_system_call(void **state)
{
	struct sigaction action = {.sa_handler = on_system_call};
	char *p = map_shared(file_new(PAGES(800)), 800);
	struct asked asked = {.p = p};
	pthread_t thread;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(800), MADV_RANDOM));
	for (size_t i = 0; i < 600; i++)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	assert_int_equal(sigaction(SIGSYS, &action, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, ask_without_system_calls, &asked), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (asked.refused)
		skip_because("seccomp is refused here");
	assert_int_equal(asked.before, 1);
	assert_int_equal(asked.during, 0);
	assert_int_equal(asked.whole, 1000);
	assert_int_equal(asked.hole, 0);
	assert_int_equal(asked.none, 0);
	unmap(p, 800);
}

static const struct conformance_test tests[] = {
    TEST(B02_prefetch_brings_in_a_list_of_scattered_pages),
    TEST(B02_prefetch_spans_mappings_and_overlaps),
    TEST(B02_prefetch_shows_what_was_stored),
    TEST(B02_stores_into_prefetched_pages_reach_the_file),
    TEST(B02_prefetch_of_more_than_the_budget_comes_to_an_end),
    TEST(B02_prefetch_past_the_end_of_the_file_comes_to_an_end),
    TEST(B02_prefetch_tells_nobody_when_not_asked_to),
    TEST(B02_prefetch_of_what_goes_meanwhile_harms_nobody),
    TEST(B02_prefetch_refuses_what_is_wrong),
    TEST_IN_OWN_PROCESS(B02_resident_makes_no_system_call, ""),
};

CONFORMANCE_MAIN(tests)
