/* SPDX-License-Identifier: MIT */
/*
 * test-faults.c - signals, and the end of the file: rows M20-M23
 */
#include "support.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#ifndef KERNEL_ORACLE
#include "util/fail.h"
#endif

/* What case 1 and 2 of the literature say of pages of 4096 bytes, on this machine's pages. */
#define SCALED(n) ((size_t)(n)*page_size / 4096)

/* ---- M20: signals ---- */

static void M20_unmapped_address_is_SIGSEGV_MAPERR(void **state)
{
	char *p = quiet();

	(void)state;
	assert_load_raises(p + 13, SIGSEGV, SEGV_MAPERR);
	assert_store_raises(p + 13, SIGSEGV, SEGV_MAPERR);
	map(p, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	unmap(p, 1);
	assert_load_raises(p + 13, SIGSEGV, SEGV_MAPERR);
	assert_store_raises(p + 13, SIGSEGV, SEGV_MAPERR);
}

static void M20_forbidden_access_is_SIGSEGV_ACCERR(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0);
	char *q = map(NULL, PAGES(1), PROT_NONE, MAP_PRIVATE, fd, 0);

	(void)state;
	assert_store_raises(p + 21, SIGSEGV, SEGV_ACCERR);
	assert_loads(p + 21, pattern(21));
	assert_store_raises(p + 21, SIGSEGV, SEGV_ACCERR);
	assert_load_raises(q + 21, SIGSEGV, SEGV_ACCERR);
	assert_store_raises(q + 21, SIGSEGV, SEGV_ACCERR);
	unmap(p, 1);
	unmap(q, 1);
}

static void M20_page_past_the_end_is_SIGBUS_ADRERR(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 3);
	char *q = map_private(fd, 3);

	(void)state;
	assert_load_raises(p + PAGES(1), SIGBUS, BUS_ADRERR);
	assert_store_raises(p + PAGES(2) + 9, SIGBUS, BUS_ADRERR);
	assert_load_raises(q + PAGES(1) + 9, SIGBUS, BUS_ADRERR);
	assert_store_raises(q + PAGES(2), SIGBUS, BUS_ADRERR);
	unmap(p, 3);
	unmap(q, 3);
}

static void M20_page_lost_to_truncation_is_SIGBUS_ADRERR(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_shared(fd, 3);

	(void)state;
	assert_pattern(p, PAGES(3), 0);
	p[PAGES(2)] = 1;
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
	assert_loads(p, pattern(0));
	assert_load_raises(p + PAGES(1) + 5, SIGBUS, BUS_ADRERR);
	assert_store_raises(p + PAGES(2) + 5, SIGBUS, BUS_ADRERR);
	unmap(p, 3);
	assert_int_equal(file_size(fd), PAGES(1));
}

static void M20_forbidden_access_past_the_end_is_SIGSEGV(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	assert_store_raises(p + PAGES(1), SIGSEGV, SEGV_ACCERR);
	assert_load_raises(p + PAGES(1), SIGBUS, BUS_ADRERR);
	unmap(p, 2);
}

/* Whether the page was touched before or not, and to the byte. */
static void M20_address_of_the_signal_is_the_byte_that_was_touched(void **state)
{
	const size_t offsets[] = {0, 1, 7, 2048, page_size - 1};
	int fd = file_new(PAGES(2));
	char *file = map_shared(fd, 4), *anonymous = map_anonymous(2), *private_file = map_private(fd, 4);

	(void)state;
	assert_stores(anonymous, 1);
	assert_stores(file, 1);
	assert_stores(private_file, 1);
	assert_ok(quire_mprotect(file, PAGES(2), PROT_NONE));
	assert_ok(quire_mprotect(private_file, PAGES(2), PROT_READ));
	assert_ok(quire_mprotect(anonymous, PAGES(2), PROT_READ));
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		for (size_t n = 0; n < 2; n++) {
			assert_load_raises(file + PAGES(n) + offsets[i], SIGSEGV, SEGV_ACCERR);
			assert_store_raises(private_file + PAGES(n) + offsets[i], SIGSEGV, SEGV_ACCERR);
			assert_store_raises(anonymous + PAGES(n) + offsets[i], SIGSEGV, SEGV_ACCERR);
			assert_load_raises(file + PAGES(2 + n) + offsets[i], SIGBUS, BUS_ADRERR);
			assert_store_raises(private_file + PAGES(2 + n) + offsets[i], SIGBUS, BUS_ADRERR);
		}
	}
	unmap(file, 4);
	unmap(private_file, 4);
	unmap(anonymous, 2);
}

static void M20_access_over_the_edge_of_a_page_names_the_page_that_is_missing(void **state)
{
	char *p = map_shared(file_new(PAGES(1)), 2);
	char *q = map(quiet(), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	check_raised(load_word(p + PAGES(1) - 3), p + PAGES(1), SIGBUS, BUS_ADRERR, __FILE__, __LINE__);
	check_raised(load_word(q + PAGES(1) - 1), q + PAGES(1), SIGSEGV, SEGV_MAPERR, __FILE__, __LINE__);
	assert_int_equal(load_word(p + PAGES(1) - 8), pattern((off_t)PAGES(1) - 8));
	unmap(p, 2);
	unmap(q, 1);
}

static void M20_execution_of_what_may_not_be_executed_is_SIGSEGV_ACCERR(void **state)
{
	int fd = file_new(PAGES(2));
	char *file = map_shared(fd, 2), *private_file = map_private(fd, 2), *anonymous = map_anonymous(2);
	char *all[] = {file, private_file, anonymous};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_stores(all[i], 0xc3);
		/* One that is there, and one that is not. */
		check_raised(execute(all[i] + 64), all[i] + 64, SIGSEGV, SEGV_ACCERR, __FILE__, __LINE__);
		check_raised(execute(all[i] + PAGES(1) + 16), all[i] + PAGES(1) + 16, SIGSEGV, SEGV_ACCERR, __FILE__, __LINE__);
		unmap(all[i], 2);
	}
	check_raised(execute(file), file, SIGSEGV, SEGV_MAPERR, __FILE__, __LINE__);
}

static void M20_execution_past_the_end_is_SIGBUS_ADRERR(void **state)
{
	char *p = map(NULL, PAGES(2), PROT_READ | PROT_EXEC, MAP_SHARED, file_new(PAGES(1)), 0);

	(void)state;
	check_raised(execute(p + PAGES(1) + 32), p + PAGES(1) + 32, SIGBUS, BUS_ADRERR, __FILE__, __LINE__);
	unmap(p, 2);
}

#ifndef KERNEL_ORACLE
/* The next touch asks the disk again. */
static void M20_page_that_cannot_be_read_is_SIGBUS_ADRERR(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2), *q = map_private(fd, 2);

	(void)state;
	fail_arm(FAIL_READ, 1, true);
	for (int round = 0; round < 2; round++) {
		assert_load_raises(p + 77, SIGBUS, BUS_ADRERR);
		assert_store_raises(p + PAGES(1) + 77, SIGBUS, BUS_ADRERR);
		assert_load_raises(q + 77, SIGBUS, BUS_ADRERR);
		assert_store_raises(q + PAGES(1) + 77, SIGBUS, BUS_ADRERR);
	}
	fail_arm(FAIL_READ, 0, false);
	assert_pattern(p, PAGES(2), 0);
	assert_pattern(q, PAGES(2), 0);
	unmap(p, 2);
	unmap(q, 2);
}
#endif

static struct ground {
	char *addr;
	int flags, fd;
	_Atomic bool done;
	_Atomic unsigned failures;
} ground;

static void *map_and_unmap_main(void *unused)
{
	(void)unused;
	for (int round = 0; round < 300; round++) {
		ground.failures += quire_mmap(ground.addr, PAGES(2), RW, ground.flags | MAP_FIXED, ground.fd, 0) == MAP_FAILED;
		ground.failures += quire_munmap(ground.addr, PAGES(2)) != 0;
	}
	ground.done = true;
	return NULL;
}

/* Whatever is met, it is the mapping or SIGSEGV. */
static void touch_while_another_unmaps(int flags, int fd)
{
	unsigned strange = 0;
	pthread_t thread;

	ground.addr = quiet();
	ground.flags = flags;
	ground.fd = fd;
	ground.failures = 0;
	ground.done = false;
	assert_int_equal(pthread_create(&thread, NULL, map_and_unmap_main, NULL), 0);
	while (!ground.done) {
		int loaded = load(ground.addr), stored = store(ground.addr + PAGES(1), 's');

		strange += (loaded < 0 && loaded != -SIGSEGV) || (stored && stored != -SIGSEGV);
	}
	pthread_join(thread, NULL);
	assert_int_equal(strange, 0);
	assert_int_equal(ground.failures, 0);
	assert_unmapped(ground.addr);
}

static void M20_touch_of_what_another_thread_unmaps_is_SIGSEGV(void **state)
{
	(void)state;
	touch_while_another_unmaps(MAP_PRIVATE | MAP_ANONYMOUS, ANON);
	touch_while_another_unmaps(MAP_SHARED, file_new(PAGES(2)));
	touch_while_another_unmaps(MAP_PRIVATE, file_new(PAGES(2)));
}

/* ---- M21, M22, M23: the three cases of the literature ---- */

static void M21_file_and_mapping_of_5000_bytes(void **state)
{
	int fd = file_new(SCALED(5000));
	char *p = map(quiet(), SCALED(5000), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	assert_pattern(p, SCALED(5000), 0);
	assert_zeros(p + SCALED(5000), SCALED(8192) - SCALED(5000));
	assert_load_raises(p + SCALED(8192), SIGSEGV, SEGV_MAPERR);
	p[SCALED(4999)] = 'i';
	p[SCALED(5000)] = 'o';
	p[SCALED(8191)] = 'o';
	assert_ok(quire_munmap(p, SCALED(5000)));
	assert_int_equal(file_size(fd), SCALED(5000));
	assert_int_equal(file_byte(fd, (off_t)SCALED(4999)), 'i');
	assert_int_equal(file_byte(fd, (off_t)SCALED(5000)), -1);
}

static void M22_mapping_of_15000_bytes_over_a_file_of_5000(void **state)
{
	int fd = file_new(SCALED(5000));
	char *p = map(quiet(), SCALED(15000), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	assert_pattern(p, SCALED(5000), 0);
	assert_zeros(p + SCALED(5000), SCALED(8192) - SCALED(5000));
	assert_stores(p + SCALED(8191), 'o');
	assert_load_raises(p + SCALED(8192), SIGBUS, BUS_ADRERR);
	assert_store_raises(p + SCALED(8192), SIGBUS, BUS_ADRERR);
	assert_load_raises(p + SCALED(14999), SIGBUS, BUS_ADRERR);
	assert_load_raises(p + SCALED(16383), SIGBUS, BUS_ADRERR);
	assert_load_raises(p + SCALED(16384), SIGSEGV, SEGV_MAPERR);
	assert_ok(quire_munmap(p, SCALED(15000)));
	assert_int_equal(file_size(fd), SCALED(5000));
}

static void check_first_pages_work(char *p, size_t works, size_t n)
{
	for (size_t i = 0; i < works; i++)
		assert_loads(p + PAGES(i), 0);
	assert_past_the_end(p + PAGES(works));
	assert_past_the_end(p + PAGES(works + 5));
	assert_past_the_end(p + PAGES(n - 1));
}

/* Through which call the file's size changes: the engine's own, or the kernel's, which the engine must notice. */
static void check_growth(int (*set_size)(int fd, off_t size))
{
	int fd = file_new(0);
	char *p = map_shared(fd, 1000);

	check_first_pages_work(p, 0, 1000);
	assert_int_equal(set_size(fd, (off_t)PAGES(10)), 0);
	check_first_pages_work(p, 10, 1000);
	assert_stores(p + PAGES(9), 'g');
	assert_int_equal(set_size(fd, (off_t)PAGES(50) + 1), 0);
	assert_loads(p + PAGES(9), 'g');
	assert_loads(p + PAGES(10), 0);
	assert_loads(p + PAGES(50), 0);
	assert_past_the_end(p + PAGES(51));
	unmap(p, 1000);
	assert_int_equal(file_size(fd), PAGES(50) + 1);
	assert_int_equal(file_byte(fd, (off_t)PAGES(9)), 'g');
}

static void M23_growth_makes_pages_work_without_a_new_mapping(void **state)
{
	(void)state;
	check_growth(quire_ftruncate);
}

static void M23_growth_by_plain_ftruncate_makes_pages_work(void **state)
{
	(void)state;
	check_growth(ftruncate);
}

static void M23_growth_by_write_makes_pages_work(void **state)
{
	int fd = file_new(0);
	char *p = map_shared(fd, 4);

	(void)state;
	assert_past_the_end(p);
	assert_int_equal(pwrite(fd, "grown", 5, (off_t)PAGES(1)), 5);
	assert_loads(p, 0);
	assert_memory_equal(p + PAGES(1), "grown", 5);
	assert_past_the_end(p + PAGES(2));
	unmap(p, 4);
}

static void M23_shrinking_makes_pages_SIGBUS_again(void **state)
{
	int fd = file_new(PAGES(20));
	char *p = map_shared(fd, 1000);

	(void)state;
	assert_pattern(p, PAGES(20), 0);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(5)));
	assert_pattern(p, PAGES(5), 0);
	for (size_t i = 5; i < 20; i++)
		assert_past_the_end(p + PAGES(i));
	unmap(p, 1000);
	assert_int_equal(file_size(fd), PAGES(5));
}

static void M23_what_was_cut_off_comes_back_as_zeros(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	memset(p, 'd', PAGES(2));
	assert_ok(quire_ftruncate(fd, 100));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
	assert_filled(p, 100, 'd');
	assert_zeros(p + 100, PAGES(2) - 100);
	unmap(p, 2);
	assert_int_equal(file_byte(fd, 99), 'd');
	assert_int_equal(file_byte(fd, 100), 0);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) - 1), 0);
}

static void M23_growth_inside_a_page_keeps_the_page(void **state)
{
	int fd = file_new(100);
	char *p = map_shared(fd, 1);

	(void)state;
	p[99] = 'k';
	assert_ok(quire_ftruncate(fd, 200));
	p[150] = 'n';
	unmap(p, 1);
	assert_int_equal(file_size(fd), 200);
	assert_int_equal(file_byte(fd, 98), pattern(98));
	assert_int_equal(file_byte(fd, 99), 'k');
	assert_int_equal(file_byte(fd, 100), 0);
	assert_int_equal(file_byte(fd, 150), 'n');
}

static void M23_private_pages_past_the_end_SIGBUS_after_truncation(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_private(fd, 3);

	(void)state;
	assert_pattern(p, PAGES(3), 0);
	p[0] = 1;
	p[PAGES(2)] = 2;
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
	assert_loads(p, 1);
	assert_past_the_end(p + PAGES(1));
	assert_past_the_end(p + PAGES(2));
	unmap(p, 3);
}

static void M23_quire_ftruncate_answers_as_ftruncate(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_ftruncate(fd, -1), EINVAL);
	assert_fails(quire_ftruncate(file_reopen(fd, O_RDONLY), 0), EINVAL);
	assert_fails(quire_ftruncate(-1, 0), EBADF);
	assert_ok(quire_ftruncate(fd, 10));
	assert_int_equal(file_size(fd), 10);
}

/* Loads from one page after the other, and wakes up at irregular times. A signal ends the program. */
static struct loader {
	const char *addr;
	_Atomic bool stop;
	_Atomic unsigned loads;
} loader;

#define LOADED 16

static void *load_main(void *unused)
{
	(void)unused;
	prctl(PR_SET_TIMERSLACK, 1);
	while (!loader.stop) {
		const struct timespec nap = {.tv_nsec = (long)(loader.loads % 60) * 1000};

		(void)*(const volatile char *)(loader.addr + PAGES(loader.loads % LOADED));
		loader.loads++;
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static void M23_truncation_that_fails_disturbs_nobody(void **state)
{
	int fd = file_new(PAGES(LOADED));
	int reader = file_reopen(fd, O_RDONLY);
	char *p = map_shared(fd, LOADED);
	pthread_t thread;

	(void)state;
	loader.addr = p;
	loader.stop = false;
	loader.loads = 0;
	assert_int_equal(pthread_create(&thread, NULL, load_main, NULL), 0);
	for (int round = 0; round < 1000; round++) {
		unsigned seen = loader.loads;

		/* So that each load is a fault. */
		assert_ok(quire_madvise(p, PAGES(LOADED), MADV_DONTNEED));
		assert_fails(quire_ftruncate(reader, 0), EINVAL);
		while (loader.loads == seen)
			usleep(10);
	}
	loader.stop = true;
	pthread_join(thread, NULL);
	assert_pattern(p, PAGES(LOADED), 0);
	unmap(p, LOADED);
}

static void M23_a_file_cut_by_another_is_never_extended(void **state)
{
	int fd = file_new(PAGES(4));
	int other = file_reopen(fd, O_RDWR);
	char *p = map_shared(fd, 4);

	(void)state;
	memset(p, 'd', PAGES(4));
	assert_int_equal(ftruncate(other, 10), 0);
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(file_size(fd), 10);
	unmap(p, 4);
	assert_int_equal(file_size(fd), 10);
}

static void M23_unmapping_does_not_extend_a_file_cut_by_another(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	memset(p, 'd', PAGES(4));
	assert_int_equal(ftruncate(fd, 10), 0);
	unmap(p, 4);
	assert_int_equal(file_size(fd), 10);
}

#ifndef KERNEL_ORACLE
/* ---- what only the engine has ---- */

/* The engine notices at the next fault, at msync, or within a second. */
static void M23_plain_ftruncate_is_noticed_at_msync(void **state)
{
	int fd = file_new(PAGES(4));
	int other = file_reopen(fd, O_RDWR);
	char *p = map_shared(fd, 4);

	(void)state;
	p[0] = 'a';
	p[PAGES(3)] = 'z';
	assert_int_equal(ftruncate(other, (off_t)PAGES(1)), 0);
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(file_size(fd), PAGES(1));
	assert_loads(p, 'a');
	assert_past_the_end(p + PAGES(1));
	assert_past_the_end(p + PAGES(3));
	unmap(p, 4);
	assert_int_equal(file_size(fd), PAGES(1));
	assert_int_equal(file_byte(fd, 0), 'a');
}

static void M23_plain_ftruncate_is_noticed_by_itself(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	int waited_ms = 0;

	(void)state;
	assert_pattern(p, PAGES(4), 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(1)), 0);
	while (load(p + PAGES(3)) >= 0 && waited_ms++ < 10000)
		usleep(1000);
	assert_past_the_end(p + PAGES(3));
	assert_loads(p, pattern(0));
	unmap(p, 4);
}
#endif

static const struct conformance_test tests[] = {
    TEST(M20_unmapped_address_is_SIGSEGV_MAPERR),
    TEST(M20_forbidden_access_is_SIGSEGV_ACCERR),
    TEST(M20_page_past_the_end_is_SIGBUS_ADRERR),
    TEST(M20_page_lost_to_truncation_is_SIGBUS_ADRERR),
    TEST(M20_forbidden_access_past_the_end_is_SIGSEGV),
    TEST(M20_address_of_the_signal_is_the_byte_that_was_touched),
    TEST(M20_access_over_the_edge_of_a_page_names_the_page_that_is_missing),
    TEST(M20_execution_of_what_may_not_be_executed_is_SIGSEGV_ACCERR),
    TEST(M20_execution_past_the_end_is_SIGBUS_ADRERR),
    TEST(M20_touch_of_what_another_thread_unmaps_is_SIGSEGV),
    TEST(M21_file_and_mapping_of_5000_bytes),
    TEST(M22_mapping_of_15000_bytes_over_a_file_of_5000),
    TEST(M23_growth_makes_pages_work_without_a_new_mapping),
    TEST(M23_growth_by_plain_ftruncate_makes_pages_work),
    TEST(M23_growth_by_write_makes_pages_work),
    TEST(M23_shrinking_makes_pages_SIGBUS_again),
    TEST(M23_what_was_cut_off_comes_back_as_zeros),
    TEST(M23_growth_inside_a_page_keeps_the_page),
    TEST(M23_private_pages_past_the_end_SIGBUS_after_truncation),
    TEST(M23_quire_ftruncate_answers_as_ftruncate),
    TEST(M23_truncation_that_fails_disturbs_nobody),
    TEST(M23_a_file_cut_by_another_is_never_extended),
    TEST(M23_unmapping_does_not_extend_a_file_cut_by_another),
#ifndef KERNEL_ORACLE
    TEST(M20_page_that_cannot_be_read_is_SIGBUS_ADRERR),
    TEST(M23_plain_ftruncate_is_noticed_at_msync),
    TEST(M23_plain_ftruncate_is_noticed_by_itself),
#endif
};

CONFORMANCE_MAIN(tests)
