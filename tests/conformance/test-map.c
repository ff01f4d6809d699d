/* SPDX-License-Identifier: MIT */
/*
 * test-map.c - how mmap takes its arguments: rows M01-M05, M08, M10, M13, M14, M17 and M24
 */
#include "support.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

/* ---- M01: where ---- */

static void M01_null_address_gets_an_aligned_start(void **state)
{
	char *p = map_anonymous(3);

	(void)state;
	assert_non_null(p);
	assert_int_equal((uintptr_t)p % page_size, 0);
	unmap(p, 3);
}

static void M01_free_hint_is_taken(void **state)
{
	char *hint = quiet();
	char *p = map(hint, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_ptr_equal(p, hint);
	unmap(p, 2);
}

static void M01_taken_hint_gives_another_address(void **state)
{
	char *taken = map_anonymous(2);
	char *p;

	(void)state;
	taken[0] = 7;
	p = map(taken, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
	assert_true(p + PAGES(2) <= taken || p >= taken + PAGES(2));
	assert_loads(taken, 7);
	unmap(p, 2);
	unmap(taken, 2);
}

static void M01_unaligned_hint_is_no_error(void **state)
{
	char *p = map(quiet() + 1, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_int_equal((uintptr_t)p % page_size, 0);
	unmap(p, 1);
}

/* ---- M02: lengths that are no multiple of a page ---- */

static void M02_region_reaches_to_the_end_of_its_last_page(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map(quiet(), PAGES(1) + 1, RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	assert_pattern(p, PAGES(2), 0);
	assert_unmapped(p + PAGES(2));
	assert_ok(quire_munmap(p, PAGES(1) + 1));
	assert_unmapped(p + PAGES(1));
}

static void M02_bytes_past_the_end_of_the_file_read_zero(void **state)
{
	int fd = file_new(100);
	char *p = map(NULL, 100, RW, MAP_SHARED, fd, 0);

	(void)state;
	assert_pattern(p, 100, 0);
	assert_zeros(p + 100, page_size - 100);
	assert_ok(quire_munmap(p, 100));
}

static void M02_stores_past_the_end_of_the_file_never_reach_it(void **state)
{
	int fd = file_new(100);
	char *p = map(NULL, 100, RW, MAP_SHARED, fd, 0);

	(void)state;
	p[99] = 'a';
	p[100] = 'b';
	p[page_size - 1] = 'c';
	assert_ok(quire_msync(p, 100, MS_SYNC));
	assert_int_equal(file_size(fd), 100);
	assert_ok(quire_munmap(p, 100));
	assert_int_equal(file_size(fd), 100);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(1)), 0);
	assert_int_equal(file_byte(fd, 99), 'a');
	assert_int_equal(file_byte(fd, 100), 0);
	assert_int_equal(file_byte(fd, (off_t)page_size - 1), 0);
}

/* ---- M03: alignment and overflow ---- */

static void M03_unaligned_offset_is_EINVAL(void **state)
{
	int fd = file_new(PAGES(2));

	(void)state;
	assert_fails(quire_mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 1), EINVAL);
	assert_fails(quire_mmap(NULL, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 512), EINVAL);
}

static void M03_unaligned_fixed_address_is_EINVAL(void **state)
{
	char *p = quiet();

	(void)state;
	assert_fails(quire_mmap(p + 1, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), EINVAL);
	assert_fails(quire_mmap(p + 1, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), EINVAL);
	assert_unmapped(p);
}

static void M03_length_zero_is_EINVAL(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_mmap(NULL, 0, RW, MAP_SHARED, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), EINVAL);
}

static void M03_length_that_no_address_space_holds_is_ENOMEM(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_mmap(NULL, SIZE_MAX, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), ENOMEM);
	assert_fails(quire_mmap(NULL, SIZE_MAX - PAGES(2) + 1, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), ENOMEM);
	assert_fails(quire_mmap(NULL, (size_t)1 << 62, PROT_READ, MAP_SHARED, fd, 0), ENOMEM);
}

static void M03_fixed_address_out_of_the_address_space_is_ENOMEM(void **state)
{
	char *high = (char *)(-(uintptr_t)PAGES(16));

	(void)state;
	assert_fails(quire_mmap(high, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), ENOMEM);
	assert_fails(quire_mmap(high, PAGES(16), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), ENOMEM);
}

static void M03_offset_and_length_that_overflow_are_EOVERFLOW(void **state)
{
	int fd = file_new(PAGES(1));
	off_t last = (off_t)(INT64_MAX - (int64_t)page_size + 1);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, last), EOVERFLOW);
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, -(off_t)PAGES(1)), EOVERFLOW);
}

/* ---- M04: protection ---- */

static void check_open_mode(int fd, int oflags, int prot, int flags)
{
	bool refused = (oflags == O_WRONLY) || (flags == MAP_SHARED && (prot & PROT_WRITE) && oflags != O_RDWR);
	void *p;

	if (refused) {
		assert_fails(quire_mmap(NULL, page_size, prot, flags, fd, 0), EACCES);
		return;
	}
	p = map(NULL, page_size, prot, flags, fd, 0);
	if (prot & PROT_READ)
		assert_loads(p, pattern(0));
	if (prot & PROT_WRITE)
		assert_stores(p, pattern(0));
	else
		assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	if (!prot)
		assert_load_raises(p, SIGSEGV, SEGV_ACCERR);
	unmap(p, 1);
}

static void M04_protection_is_limited_by_the_open_mode(void **state)
{
	const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR};
	int fd = file_new(PAGES(1));

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		int again = file_reopen(fd, modes[i]);

		for (int prot = 0; prot <= (PROT_READ | PROT_WRITE | PROT_EXEC); prot++) {
			check_open_mode(again, modes[i], prot, MAP_SHARED);
			check_open_mode(again, modes[i], prot, MAP_PRIVATE);
		}
	}
}

/* A function that answers 42. */
#if defined(__x86_64__)
static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
#elif defined(__aarch64__)
static const unsigned char code[] = {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6};
#else
static const unsigned char code[] = {0};
#endif

static int run_code(char *p)
{
	int (*function)(void);

	if (sizeof(code) == 1)
		skip_because("no machine code for this processor");
	__builtin___clear_cache(p, p + sizeof(code));
	memcpy(&function, &p, sizeof(function));
	return function();
}

static void M04_code_of_a_file_runs(void **state)
{
	int fd = file_new(PAGES(1));
	char *p;

	(void)state;
	assert_int_equal(pwrite(fd, code, sizeof(code), 0), sizeof(code));
	p = map(NULL, PAGES(1), PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	assert_int_equal(run_code(p), 42);
	unmap(p, 1);
}

static void M04_code_stored_through_another_mapping_runs(void **state)
{
	int fd = file_new(PAGES(1));
	char *writer = map_shared(fd, 1);
	char *p = map(NULL, PAGES(1), PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);

	(void)state;
	memcpy(writer, code, sizeof(code));
	assert_int_equal(run_code(p), 42);
	unmap(p, 1);
	unmap(writer, 1);
}

static void M04_code_in_anonymous_memory_runs(void **state)
{
	char *p = map(NULL, PAGES(1), RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	memcpy(p, code, sizeof(code));
	evict(p, 1);
	assert_int_equal(run_code(p), 42);
	unmap(p, 1);
}

static void M04_execution_from_a_noexec_mount_is_EPERM(void **state)
{
	char path[FILE_PATH_MAX + 16], dir[FILE_PATH_MAX];
	char *p;
	int fd;

	(void)state;
	mount_or_skip("noexec", dir);
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(1)), 0);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0), EPERM);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_EXEC, MAP_PRIVATE, fd, 0), EPERM);
	p = map_shared(fd, 1);
	assert_fails(quire_mprotect(p, PAGES(1), PROT_READ | PROT_EXEC), EACCES);
	assert_loads(p, 0);
	unmap(p, 1);
	close(fd);
}

/* ---- M05: flags ---- */

static void M05_one_of_shared_and_private_is_needed(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, 0, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_ANONYMOUS, ANON, 0), EINVAL);
	for (int type = 4; type < 16; type++)
		assert_fails(quire_mmap(NULL, PAGES(1), RW, type, fd, 0), EINVAL);
}

static void M05_shared_validate_is_shared(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE, fd, 0);

	(void)state;
	p[1] = 'v';
	unmap(p, 1);
	assert_int_equal(file_byte(fd, 1), 'v');
}

static void M05_shared_validate_rejects_unknown_flags(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE | 0x400, fd, 0), EOPNOTSUPP);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, ANON, 0), EINVAL);
}

static void M05_shared_and_private_ignore_unknown_flags(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	unmap(map(NULL, PAGES(1), RW, MAP_SHARED | 0x400, fd, 0), 1);
	unmap(map(NULL, PAGES(1), RW, MAP_PRIVATE | 0x400, fd, 0), 1);
}

/* ---- M08: fixed ---- */

static void M08_fixed_replaces_and_splits_its_neighbours(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_anonymous(3);
	char *q;

	(void)state;
	memset(p, 'n', PAGES(3));
	q = map(p + PAGES(1), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, (off_t)PAGES(2));
	assert_ptr_equal(q, p + PAGES(1));
	assert_filled(p, PAGES(1), 'n');
	assert_pattern(q, PAGES(1), PAGES(2));
	assert_filled(p + PAGES(2), PAGES(1), 'n');
	unmap(p, 3);
}

static void M08_what_fixed_replaces_reaches_its_file(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	p[0] = 'a';
	p[PAGES(1)] = 'b';
	map(p, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	assert_zeros(p, PAGES(2));
	assert_int_equal(file_byte(fd, 0), 'a');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'b');
	unmap(p, 2);
}

static void M08_fixed_replaces_several_mappings(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map(quiet(), PAGES(4), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	map(p + PAGES(1), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	unmap(p + PAGES(2), 1);
	map(p, PAGES(4), PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
}

static void M08_fixed_replaces_what_the_kernel_has_mapped(void **state)
{
	char *p = mmap(NULL, PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = file_new(PAGES(1));

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	memset(p, 'k', PAGES(3));
	map(p + PAGES(1), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0);
	assert_filled(p, PAGES(1), 'k');
	assert_pattern(p + PAGES(1), PAGES(1), 0);
	assert_filled(p + PAGES(2), PAGES(1), 'k');
	unmap(p + PAGES(1), 1);
	assert_unmapped(p + PAGES(1));
	assert_int_equal(munmap(p, PAGES(1)), 0);
	assert_int_equal(munmap(p + PAGES(2), PAGES(1)), 0);
}

static void M08_fixed_noreplace_is_EEXIST_over_a_mapping(void **state)
{
	char *p = map(quiet(), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	memset(p, 'o', PAGES(2));
	assert_fails(quire_mmap(p, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), EEXIST);
	assert_fails(quire_mmap(p + PAGES(1), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), EEXIST);
	assert_filled(p, PAGES(2), 'o');
	assert_unmapped(p + PAGES(2));
	unmap(p, 2);
}

static void M08_fixed_noreplace_is_EEXIST_over_the_kernels_mapping(void **state)
{
	char *p = mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	p[0] = 'k';
	assert_fails(quire_mmap(p, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), EEXIST);
	assert_loads(p, 'k');
	assert_int_equal(munmap(p, PAGES(1)), 0);
}

static void M08_fixed_noreplace_takes_a_free_range(void **state)
{
	char *p = quiet();

	(void)state;
	assert_ptr_equal(map(p, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), p);
	assert_zeros(p, PAGES(2));
	unmap(p, 2);
}

/*
 * Adds to a number on each of two pages, again and again. Its naps are short and irregular: waking up, it interrupts the other
 * thread wherever he is. A signal ends the program.
 */
static struct storer {
	char *addr;
	_Atomic bool stop;
	_Atomic uint64_t passes;
} storer;

static void *store_main(void *unused)
{
	(void)unused;
	prctl(PR_SET_TIMERSLACK, 1);
	while (!storer.stop) {
		const struct timespec nap = {.tv_nsec = (long)(storer.passes % 60) * 1000};

		for (size_t i = 0; i < 2; i++)
			++*(volatile uint64_t *)(storer.addr + PAGES(i));
		storer.passes++;
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static void replace_while_another_stores(int flags, int fd)
{
	pthread_t thread;

	storer.stop = false;
	storer.passes = 0;
	assert_int_equal(pthread_create(&thread, NULL, store_main, NULL), 0);
	for (int round = 0; round < 500; round++) {
		uint64_t seen = storer.passes;

		map(storer.addr, PAGES(2), RW, flags | MAP_FIXED, fd, 0);
		while (storer.passes == seen)
			usleep(10);
	}
	storer.stop = true;
	pthread_join(thread, NULL);
}

static void M08_who_stores_while_anonymous_memory_is_replaced_meets_no_signal(void **state)
{
	(void)state;
	storer.addr = map_anonymous(2);
	replace_while_another_stores(MAP_PRIVATE | MAP_ANONYMOUS, ANON);
	unmap(storer.addr, 2);
}

static void M08_who_stores_while_a_file_is_replaced_by_itself_loses_nothing(void **state)
{
	int fd = file_new(PAGES(2));
	uint64_t before;

	(void)state;
	storer.addr = map_shared(fd, 2);
	before = *(uint64_t *)storer.addr;
	replace_while_another_stores(MAP_SHARED, fd);
	assert_int_equal(*(uint64_t *)storer.addr - before, storer.passes);
	unmap(storer.addr, 2);
	assert_int_equal(pread(fd, &before, sizeof(before), 0), sizeof(before));
	assert_int_equal((unsigned char)before, file_byte(fd, 0));
}

/* ---- M10: locked, populated ---- */

static void M10_locked_is_resident_from_the_start(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map(NULL, PAGES(8), RW, MAP_SHARED | MAP_LOCKED, fd, 0);
	char *q = map(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0);

	(void)state;
	assert_int_equal(resident_pages(p, 8), 8);
	assert_int_equal(resident_pages(q, 8), 8);
	assert_pattern(p, PAGES(8), 0);
	assert_zeros(q, PAGES(8));
	unmap(p, 8);
	unmap(q, 8);
}

static void M10_populated_is_resident_from_the_start(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map(NULL, PAGES(8), RW, MAP_SHARED | MAP_POPULATE, fd, 0);
	char *q = map(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	char *r = map(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, ANON, 0);

	(void)state;
	assert_int_equal(resident_pages(p, 8), 8);
	assert_int_equal(resident_pages(q, 8), 8);
	assert_int_equal(resident_pages(r, 8), 8);
	assert_pattern(p, PAGES(8), 0);
	assert_pattern(q, PAGES(8), 0);
	unmap(p, 8);
	unmap(q, 8);
	unmap(r, 8);
}

static void M10_populate_past_the_end_of_the_file_is_no_error(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(3), PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);

	(void)state;
	assert_pattern(p, PAGES(1), 0);
	assert_past_the_end(p + PAGES(1));
	unmap(p, 3);
}

static void M10_noreserve_is_accepted(void **state)
{
	char *p = map(NULL, PAGES(4), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, ANON, 0);

	(void)state;
	p[PAGES(3)] = 1;
	assert_loads(p + PAGES(3), 1);
	unmap(p, 4);
}

static void M10_locked_over_the_lock_limit_is_EAGAIN(void **state)
{
	(void)state;
	limit_locked_memory(PAGES(16));
	assert_fails(quire_mmap(NULL, PAGES(17), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), EAGAIN);
	unmap(map(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), 8);
}

/* ---- M17: what happens to the file's names ---- */

static void M17_closing_the_descriptor_disturbs_nothing(void **state)
{
	int fd = file_new(PAGES(2));
	int again = file_reopen(fd, O_RDONLY);
	char *p = map_shared(fd, 2);

	(void)state;
	file_close(fd);
	assert_loads(p, pattern(0));
	p[PAGES(1)] = 'c';
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(again, (off_t)PAGES(1)), 'c');
	unmap(p, 2);
}

static void M17_unlinking_the_file_disturbs_nothing(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path);
	char *p = map_shared(fd, 2);

	(void)state;
	assert_int_equal(unlink(path), 0);
	file_close(fd);
	p[0] = 'u';
	evict(p, 2);
	assert_loads(p, 'u');
	assert_pattern(p + PAGES(1), PAGES(1), PAGES(1));
	unmap(p, 2);
}

static void M17_renaming_the_file_disturbs_nothing(void **state)
{
	char path[FILE_PATH_MAX], other[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path);
	char *p = map_shared(fd, 2);

	(void)state;
	file_named(0, other);
	assert_int_equal(rename(path, other), 0);
	file_close(fd);
	p[PAGES(1)] = 'r';
	assert_pattern(p, PAGES(1), 0);
	unmap(p, 2);
	fd = open(other, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'r');
	close(fd);
}

/* ---- M13: core files ---- */

/* Whether the kernel leaves the page at addr out of a core file. */
static bool left_out(const void *addr)
{
	FILE *maps = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool here = false, found = false;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)addr >= start && (uintptr_t)addr < end;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, " dd") != NULL;
	}
	fclose(maps);
	return found;
}

static void M13_advice_leaves_out_of_core_files_and_takes_in_again(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	assert_ok(quire_madvise(p + PAGES(1), PAGES(2), MADV_DONTDUMP));
	assert_false(left_out(p));
	assert_true(left_out(p + PAGES(1)));
	assert_true(left_out(p + PAGES(2)));
	assert_false(left_out(p + PAGES(3)));
	assert_pattern(p, PAGES(4), 0);
	assert_stores(p + PAGES(2), 'd');
	assert_ok(quire_madvise(p, PAGES(4), MADV_DODUMP));
	assert_false(left_out(p + PAGES(1)));
	assert_loads(p + PAGES(2), 'd');
	unmap(p, 4);
	assert_fails(quire_madvise(p, PAGES(4), MADV_DONTDUMP), ENOMEM);
}

#ifndef KERNEL_ORACLE
/* ---- what only the engine has ---- */

static void M13_nocore_leaves_out_of_core_files(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(NULL, PAGES(2), RW, MAP_SHARED | QUIRE_MAP_NOCORE, fd, 0);
	char *q = map(NULL, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | QUIRE_MAP_NOCORE, ANON, 0);

	(void)state;
	assert_true(left_out(p));
	assert_true(left_out(q));
	assert_pattern(p, PAGES(2), 0);
	assert_stores(q, 1);
	unmap(p, 2);
	unmap(q, 2);
}

static void M13_what_is_left_out_stays_so_when_it_grows_and_moves(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED | QUIRE_MAP_NOCORE, fd, 0);
	char *q;

	(void)state;
	assert_ptr_equal(quire_mremap(p, PAGES(2), PAGES(4), 0), p);
	assert_true(left_out(p + PAGES(3)));
	q = quire_mremap(p, PAGES(4), PAGES(8), MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGES(64));
	assert_ptr_equal(q, p + PAGES(64));
	assert_true(left_out(q));
	assert_true(left_out(q + PAGES(7)));
	assert_pattern(q, PAGES(8), 0);
	unmap(q, 8);
}

/* In a process where pages expire after 50 ms. */
static void M14_nosync_is_not_written_by_its_age(void **state)
{
	int fd = file_new(PAGES(1)), other = file_new(PAGES(1));
	char *p = map(NULL, PAGES(1), RW, MAP_SHARED | QUIRE_MAP_NOSYNC, fd, 0);
	char *q = map_shared(other, 1);

	(void)state;
	assert_stores(p, 'n');
	assert_stores(q, 's');
	/* The other one has been written, and then there were some times more in which it would have been. */
	while (file_byte(other, 0) != 's')
		usleep(1000);
	usleep(400000);
	assert_int_equal(file_byte(fd, 0), pattern(0));
	assert_loads(p, 'n');
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 'n');
	assert_stores(p, 'u');
	unmap(p, 1);
	assert_int_equal(file_byte(fd, 0), 'u');
	unmap(q, 1);
}

static void M14_nosync_is_written_by_its_age_where_another_mapping_shows_it(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(1), RW, MAP_SHARED | QUIRE_MAP_NOSYNC, fd, 0);
	char *q = map_shared(fd, 1);

	(void)state;
	assert_stores(p, 'b');
	for (int waited_ms = 0; file_byte(fd, 0) != 'b' && waited_ms < 20000; waited_ms++)
		usleep(1000);
	assert_int_equal(file_byte(fd, 0), 'b');
	unmap(p, 1);
	unmap(q, 1);
}

static void M14_nosync_is_paged_out_as_everything(void **state)
{
	size_t n = 2 * stats().budget_bytes / page_size;
	int fd = file_new(PAGES(n));
	char *p = map(NULL, PAGES(n), RW, MAP_SHARED | QUIRE_MAP_NOSYNC, fd, 0);

	(void)state;
	for (size_t i = 0; i < n; i++)
		assert_stores(p + PAGES(i), (int)(i % 100));
	for (size_t i = 0; i < n; i++)
		assert_loads(p + PAGES(i), (int)(i % 100));
	unmap(p, n);
	for (size_t i = 0; i < n; i += 7)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), (int)(i % 100));
}

static void M24_extend_makes_the_file_as_long_as_the_mapping(void **state)
{
	int fd = file_new(100);
	size_t len = PAGES(3) + 17;
	char *p = map(NULL, len, RW, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0);

	(void)state;
	assert_int_equal(file_size(fd), len);
	assert_pattern(p, 100, 0);
	assert_zeros(p + 100, len - 100);
	assert_stores(p + len - 1, 'e');
	unmap(p, 4);
	assert_int_equal(file_size(fd), len);
	assert_int_equal(file_byte(fd, (off_t)len - 1), 'e');
	assert_int_equal(file_byte(fd, 99), pattern(99));
}

static void M24_extend_counts_from_the_offset_and_is_seen_by_other_mappings(void **state)
{
	int fd = file_new(PAGES(1));
	char *before = map_shared(fd, 4);
	char *p;

	(void)state;
	assert_past_the_end(before + PAGES(2));
	p = map(NULL, PAGES(2), RW, MAP_SHARED_VALIDATE | QUIRE_MAP_EXTEND, fd, (off_t)PAGES(2));
	assert_int_equal(file_size(fd), PAGES(4));
	assert_stores(p, 'o');
	assert_loads(before + PAGES(2), 'o');
	unmap(before, 4);
	unmap(p, 2);
}

static void M24_extend_leaves_a_longer_file_as_it_is(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map(NULL, PAGES(2), RW, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0);

	(void)state;
	assert_int_equal(file_size(fd), PAGES(4));
	assert_pattern(p, PAGES(2), 0);
	unmap(p, 2);
	assert_int_equal(file_byte(fd, (off_t)PAGES(4) - 1), pattern((off_t)PAGES(4) - 1));
}

static void M24_extend_of_what_is_not_to_be_written_is_EINVAL(void **state)
{
	int fd = file_new(PAGES(1));
	int reading = file_reopen(fd, O_RDONLY);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_PRIVATE | QUIRE_MAP_EXTEND, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED | MAP_ANONYMOUS | QUIRE_MAP_EXTEND, ANON, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED | QUIRE_MAP_EXTEND, reading, 0), EACCES);
	assert_message("quire_mmap", "");
	assert_int_equal(file_size(fd), PAGES(1));
}

static void M24_extend_on_a_full_disk_is_ENOSPC_and_changes_nothing(void **state)
{
	int filler, fd = file_on_full_disk(1, &filler);
	off_t size = file_size(fd);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(64), RW, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0), ENOSPC);
	assert_message("quire_mmap", "could not be made");
	assert_int_equal(file_size(fd), size);
}

#ifdef MAP_32BIT
static void M05_flags_that_are_not_served_are_EOPNOTSUPP(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED | MAP_32BIT, fd, 0), EOPNOTSUPP);
	assert_message("quire_mmap", "MAP_32BIT");
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, ANON, 0), EOPNOTSUPP);
}
#endif

static void M10_locked_pages_are_touched_without_waiting(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map(NULL, PAGES(8), RW, MAP_SHARED | MAP_LOCKED, fd, 0);
	struct quire_stats before = stats();

	(void)state;
	for (size_t i = 0; i < 8; i++)
		p[PAGES(i)] = 1;
	assert_int_equal(grown(before, major_faults), 0);
	assert_int_equal(grown(before, read_bytes), 0);
	unmap(p, 8);
}

static void M10_locked_pages_are_never_evicted(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map(NULL, PAGES(8), RW, MAP_SHARED | MAP_LOCKED, fd, 0);
	char *q = map(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0);
	size_t locked = stats().locked_bytes;

	(void)state;
	pressure();
	assert_int_equal(resident_pages(p, 8), 8);
	assert_int_equal(resident_pages(q, 8), 8);
	unmap(p, 8);
	unmap(q, 8);
	assert_int_equal(stats().locked_bytes, locked - PAGES(16));
}

static void M10_locked_over_the_budget_is_EAGAIN(void **state)
{
	size_t len = stats().budget_bytes + PAGES(1);
	struct quire_stats before = stats();
	struct rlimit limit, old;

	(void)state;
	getrlimit(RLIMIT_MEMLOCK, &old);
	limit = (struct rlimit){.rlim_cur = old.rlim_max, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_MEMLOCK, &limit);
	errno = 0;
	assert_ptr_equal(quire_mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), MAP_FAILED);
	assert_int_equal(errno, EAGAIN);
	setrlimit(RLIMIT_MEMLOCK, &old);
	assert_int_equal(grown(before, areas), 0);
	assert_int_equal(grown(before, locked_bytes), 0);
}

#endif

static const struct conformance_test tests[] = {
    TEST(M01_null_address_gets_an_aligned_start),
    TEST(M01_free_hint_is_taken),
    TEST(M01_taken_hint_gives_another_address),
    TEST(M01_unaligned_hint_is_no_error),
    TEST(M02_region_reaches_to_the_end_of_its_last_page),
    TEST(M02_bytes_past_the_end_of_the_file_read_zero),
    TEST(M02_stores_past_the_end_of_the_file_never_reach_it),
    TEST(M03_unaligned_offset_is_EINVAL),
    TEST(M03_unaligned_fixed_address_is_EINVAL),
    TEST(M03_length_zero_is_EINVAL),
    TEST(M03_length_that_no_address_space_holds_is_ENOMEM),
    TEST(M03_fixed_address_out_of_the_address_space_is_ENOMEM),
    TEST(M03_offset_and_length_that_overflow_are_EOVERFLOW),
    TEST(M04_protection_is_limited_by_the_open_mode),
    TEST(M04_code_of_a_file_runs),
    TEST(M04_code_stored_through_another_mapping_runs),
    TEST(M04_code_in_anonymous_memory_runs),
    TEST(M04_execution_from_a_noexec_mount_is_EPERM),
    TEST(M05_one_of_shared_and_private_is_needed),
    TEST(M05_shared_validate_is_shared),
    TEST(M05_shared_validate_rejects_unknown_flags),
    TEST(M05_shared_and_private_ignore_unknown_flags),
    TEST(M08_fixed_replaces_and_splits_its_neighbours),
    TEST(M08_what_fixed_replaces_reaches_its_file),
    TEST(M08_fixed_replaces_several_mappings),
    TEST(M08_fixed_replaces_what_the_kernel_has_mapped),
    TEST(M08_fixed_noreplace_is_EEXIST_over_a_mapping),
    TEST(M08_fixed_noreplace_is_EEXIST_over_the_kernels_mapping),
    TEST(M08_fixed_noreplace_takes_a_free_range),
    TEST(M08_who_stores_while_anonymous_memory_is_replaced_meets_no_signal),
    TEST(M08_who_stores_while_a_file_is_replaced_by_itself_loses_nothing),
    TEST(M10_locked_is_resident_from_the_start),
    TEST(M10_populated_is_resident_from_the_start),
    TEST(M10_populate_past_the_end_of_the_file_is_no_error),
    TEST(M10_noreserve_is_accepted),
    TEST(M10_locked_over_the_lock_limit_is_EAGAIN),
    TEST(M17_closing_the_descriptor_disturbs_nothing),
    TEST(M17_unlinking_the_file_disturbs_nothing),
    TEST(M17_renaming_the_file_disturbs_nothing),
    TEST(M13_advice_leaves_out_of_core_files_and_takes_in_again),
#ifndef KERNEL_ORACLE
    TEST(M13_nocore_leaves_out_of_core_files),
    TEST(M13_what_is_left_out_stays_so_when_it_grows_and_moves),
    TEST_IN_OWN_PROCESS(M14_nosync_is_not_written_by_its_age, "QUIRE_EXPIRE_MS=50"),
    TEST_IN_OWN_PROCESS(M14_nosync_is_written_by_its_age_where_another_mapping_shows_it, "QUIRE_EXPIRE_MS=50"),
    TEST(M14_nosync_is_paged_out_as_everything),
    TEST(M24_extend_makes_the_file_as_long_as_the_mapping),
    TEST(M24_extend_counts_from_the_offset_and_is_seen_by_other_mappings),
    TEST(M24_extend_leaves_a_longer_file_as_it_is),
    TEST(M24_extend_of_what_is_not_to_be_written_is_EINVAL),
    TEST(M24_extend_on_a_full_disk_is_ENOSPC_and_changes_nothing),
#ifdef MAP_32BIT
    TEST(M05_flags_that_are_not_served_are_EOPNOTSUPP),
#endif
    TEST(M10_locked_pages_are_touched_without_waiting),
    TEST(M10_locked_pages_are_never_evicted),
    TEST(M10_locked_over_the_budget_is_EAGAIN),
#endif
};

CONFORMANCE_MAIN(tests)
