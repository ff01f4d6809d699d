/* SPDX-License-Identifier: MIT */
/*
 * test-flags.c - rows M11, M12, M15 and M16: huge pages, DENYWRITE, semaphores in shared mappings, stacks
 */
#include "support.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <ucontext.h>

/* ---- M11: huge pages ---- */

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE   (MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB)
#define HUGE_2 (HUGE | 21 << MAP_HUGE_SHIFT)
#define MIB(n) ((size_t)(n) << 20)

/* n huge pages of 2 MiB, or the test is skipped. */
static char *map_huge_or_skip(size_t n, int prot, int flags)
{
	char *p = mmap(NULL, MIB(2 * n), PROT_NONE, HUGE_2, -1, 0);

	if (p == MAP_FAILED)
		skip_because("the kernel has not enough free huge pages of 2 MiB: vm.nr_hugepages");
	munmap(p, MIB(2 * n));
	return map(NULL, MIB(2 * n), prot, HUGE_2 | flags, ANON, 0);
}

static void M11_huge_pages_of_a_plain_file_are_EINVAL(void **state)
{
	int fd = file_new(MIB(2)), zero = open("/dev/zero", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_fails(quire_mmap(NULL, MIB(2), RW, MAP_SHARED | MAP_HUGETLB, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, MIB(2), RW, MAP_PRIVATE | MAP_HUGETLB, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, MIB(2), RW, MAP_PRIVATE | MAP_HUGETLB, zero, 0), EINVAL);
	close(zero);
}

static void M11_huge_pages_of_no_known_size_are_EINVAL(void **state)
{
	(void)state;
	assert_fails(quire_mmap(NULL, MIB(2), RW, HUGE | 20 << MAP_HUGE_SHIFT, ANON, 0), EINVAL);
	assert_fails(quire_mmap(NULL, 0, RW, HUGE, ANON, 0), EINVAL);
}

static void M11_huge_pages_at_an_odd_address_are_EINVAL(void **state)
{
	char *at = quiet();

	(void)state;
	assert_fails(quire_mmap(at + PAGES(1), MIB(2), RW, HUGE_2 | MAP_FIXED, ANON, 0), EINVAL);
	assert_fails(quire_mmap(at + PAGES(1), MIB(2), RW, HUGE_2 | MAP_FIXED_NOREPLACE, ANON, 0), EINVAL);
}

/* Takes what there is, so that no more is to be had. */
static void M11_refused_huge_pages_are_ENOMEM(void **state)
{
	char *taken[256], *p = map_anonymous(4);
	size_t n = 0;

	(void)state;
	while (n < 256 && (taken[n] = mmap(NULL, MIB(2), PROT_NONE, HUGE_2, -1, 0)) != MAP_FAILED)
		n++;
	if (n == 256) {
		while (n > 0)
			munmap(taken[--n], MIB(2));
		skip_because("there are more free huge pages than are to be taken for a test");
	}
	memset(p, 'k', PAGES(4));
	for (int i = 0; i < 4; i++)
		assert_fails(quire_mmap(NULL, MIB(2), RW, HUGE_2, ANON, 0), ENOMEM);
	assert_fails(quire_mmap(NULL, MIB(2), RW, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT, ANON, 0),
		     ENOMEM);
#ifndef KERNEL_ORACLE
	assert_message("quire_mmap", "vm.nr_hugepages");
	assert_int_equal(stats().locked_bytes, 0);
#endif
	assert_filled(p, PAGES(4), 'k');
	unmap(p, 4);
	while (n > 0)
		munmap(taken[--n], MIB(2));
}

static void M11_granted_huge_pages_are_huge(void **state)
{
	char *p = map_huge_or_skip(1, RW, 0), line[512];
	unsigned long start, end, kib = 0;
	bool here = false;
	FILE *smaps;

	(void)state;
	assert_int_equal((uintptr_t)p % MIB(2), 0);
	assert_zeros(p, MIB(2));
	memset(p, 'h', MIB(2));
	smaps = fopen("/proc/self/smaps", "r");
	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start == (uintptr_t)p;
		else if (here)
			sscanf(line, "KernelPageSize: %lu kB", &kib);
	}
	fclose(smaps);
	assert_int_equal(kib, 2048);
	assert_filled(p, MIB(2), 'h');
	assert_ok(quire_munmap(p, MIB(2)));
	assert_unmapped(p);
}

static void M11_length_is_rounded_up_to_huge_pages(void **state)
{
	char *p;

	(void)state;
	unmap(map_huge_or_skip(1, RW, 0), MIB(2) / page_size);
	p = map(NULL, PAGES(1), RW, HUGE_2, ANON, 0);
	assert_stores(p + MIB(2) - 1, 'e');
	assert_ok(quire_munmap(p, MIB(2)));
}

static void M11_huge_pages_are_not_cut(void **state)
{
	char *p = map_huge_or_skip(2, RW, 0);

	(void)state;
	memset(p, 'c', MIB(4));
	assert_fails(quire_munmap(p, PAGES(1)), EINVAL);
	assert_fails(quire_munmap(p + PAGES(1), MIB(2)), EINVAL);
	assert_fails(quire_munmap(p, MIB(2) + PAGES(1)), EINVAL);
	assert_fails(quire_mprotect(p, PAGES(1), PROT_READ), EINVAL);
	assert_fails(quire_mprotect(p + PAGES(1), MIB(2), PROT_READ), EINVAL);
	assert_fails(quire_mmap(p, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), EINVAL);
	assert_filled(p, MIB(4), 'c');
	assert_ok(quire_mprotect(p, MIB(2), PROT_READ));
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_stores(p + MIB(2), 'c');
	assert_ok(quire_munmap(p, MIB(2)));
	assert_unmapped(p);
	assert_filled(p + MIB(2), MIB(2), 'c');
	assert_ptr_equal(map(p + MIB(2), MIB(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), p + MIB(2));
	assert_zeros(p + MIB(2), MIB(2));
	assert_ok(quire_munmap(p + MIB(2), MIB(2)));
}

static void M11_advice_for_huge_pages_is_the_kernels(void **state)
{
	char *p = map_huge_or_skip(1, RW, 0);

	(void)state;
	memset(p, 'a', MIB(2));
	assert_fails(quire_madvise(p, MIB(2), MADV_FREE), EINVAL);
	assert_ok(quire_madvise(p, MIB(2), MADV_WILLNEED));
	assert_ok(quire_madvise(p, MIB(2), MADV_HUGEPAGE));
	assert_ok(quire_madvise(p, MIB(2), MADV_POPULATE_WRITE));
	assert_ok(quire_mlock(p, PAGES(1)));
	assert_ok(quire_munlock(p, PAGES(1)));
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC | MS_INVALIDATE));
	assert_filled(p, MIB(2), 'a');
	assert_ok(quire_madvise(p, MIB(2), MADV_DONTNEED));
	assert_zeros(p, MIB(2));
	assert_ok(quire_munmap(p, MIB(2)));
}

static void M11_file_of_hugetlbfs_is_mapped_by_its_pages(void **state)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | 21 << MAP_HUGE_SHIFT);
	char *p, *q;

	(void)state;
	if (fd < 0)
		skip_because("the kernel has no huge pages of 2 MiB");
	unmap(map_huge_or_skip(2, RW, 0), MIB(4) / page_size);
	assert_int_equal(ftruncate(fd, (off_t)MIB(4)), 0);
	p = map(NULL, MIB(4), RW, MAP_SHARED, fd, 0);
	q = map(NULL, MIB(2), PROT_READ, MAP_SHARED | MAP_HUGETLB, fd, (off_t)MIB(2));
	assert_stores(p + MIB(2), 'f');
	assert_loads(q, 'f');
	assert_fails(quire_mmap(NULL, MIB(2), RW, MAP_SHARED, fd, (off_t)PAGES(1)), EINVAL);
	close(fd);
	assert_loads(q, 'f');
	assert_ok(quire_munmap(p, MIB(4)));
	assert_ok(quire_munmap(q, MIB(2)));
}

static void M11_hints_change_nothing(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_anonymous(4), *q = map_shared(fd, 4);
	const int advice[] = {MADV_HUGEPAGE, MADV_NOHUGEPAGE};

	(void)state;
	memset(p, 'h', PAGES(4));
	for (size_t i = 0; i < 2; i++) {
		assert_ok(quire_madvise(p, PAGES(4), advice[i]));
		assert_filled(p, PAGES(4), 'h');
#ifndef KERNEL_ORACLE
		assert_ok(quire_madvise(q, PAGES(4), advice[i]));
		assert_pattern(q, PAGES(4), 0);
#endif
	}
	unmap(p, 4);
	unmap(q, 4);
}

static void M11_collapse_that_cannot_be_is_EINVAL(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	memset(p, 'c', PAGES(4));
	assert_fails(quire_madvise(p, PAGES(4), MADV_COLLAPSE), EINVAL);
	assert_filled(p, PAGES(4), 'c');
	unmap(p, 4);
}

#ifndef KERNEL_ORACLE
static void M11_huge_pages_count_against_the_budget(void **state)
{
	char *p = map_huge_or_skip(1, RW, 0), *text = NULL;
	struct quire_stats before = stats();
	struct quire_area_stats area = area_stats(p + PAGES(5));
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(before.locked_bytes, MIB(2));
	assert_in_range(before.resident_bytes, MIB(2), MIB(4));
	assert_int_equal(area.len, MIB(2));
	assert_int_equal(area.resident_bytes, MIB(2));
	assert_int_equal(area.flags, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_HUGETLB);
	assert_ok(quire_maps(out));
	fclose(out);
	assert_non_null(strstr(text, " huge"));
	free(text);
	assert_int_equal(resident_pages(p, MIB(2) / page_size), MIB(2) / page_size);
	assert_int_equal(quire_resident(p, MIB(2)), 1);
	/* What the budget keeps free to be paged out is less than another one. */
	assert_fails(quire_mmap(NULL, MIB(2), RW, HUGE_2, ANON, 0), ENOMEM);
	assert_message("quire_mmap", "budget");
	memset(p, 'b', MIB(2));
	pressure();
	assert_filled(p, MIB(2), 'b');
	assert_in_range(stats().resident_peak_bytes, MIB(2), MIB(4));
	assert_ok(quire_munmap(p, MIB(2)));
	assert_int_equal(stats().locked_bytes, 0);
	assert_true(stats().resident_bytes <= before.resident_bytes);
	p = map_huge_or_skip(1, RW, 0);
	assert_ok(quire_munmap(p, MIB(2)));
}

static void M11_huge_pages_shrink_and_do_not_grow_or_move(void **state)
{
	char *p, *q = quiet();

	(void)state;
	assert_ok(quire_set_memory(MIB(16)));
	p = map_huge_or_skip(2, RW, MAP_POPULATE);
	memset(p, 's', MIB(4));
	assert_fails(quire_mremap(p, MIB(4), MIB(6), MREMAP_MAYMOVE), EINVAL);
	assert_message("quire_mremap", "huge pages");
	assert_fails(quire_mremap(p, MIB(4), MIB(4), MREMAP_MAYMOVE | MREMAP_FIXED, q), EINVAL);
	assert_fails(quire_mremap(p, MIB(4), MIB(2) + PAGES(1), 0), EINVAL);
	assert_int_equal(stats().locked_bytes, MIB(4));
	assert_ptr_equal(quire_mremap(p, MIB(4), MIB(2), 0), p);
	assert_int_equal(stats().locked_bytes, MIB(2));
	assert_filled(p, MIB(2), 's');
	assert_unmapped(p + MIB(2));
	assert_ok(quire_munmap(p, MIB(2)));
	assert_int_equal(stats().locked_bytes, 0);
}

/* A neighbour that moves away and back must not be taken for one of them. */
static void M11_huge_pages_lie_beside_others(void **state)
{
	char *at = quiet(), *p, *q;

	(void)state;
	assert_ok(quire_set_memory(MIB(16)));
	unmap(map_huge_or_skip(1, RW, 0), MIB(2) / page_size);
	p = map(at, MIB(2), PROT_NONE, HUGE_2 | MAP_FIXED, ANON, 0);
	q = map(at + MIB(4), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	memset(q, 'q', PAGES(2));
	assert_ok(quire_mprotect(q, PAGES(2), PROT_NONE));
	assert_ptr_equal(quire_mremap(q, PAGES(2), PAGES(2), MREMAP_MAYMOVE | MREMAP_FIXED, at + MIB(2)), at + MIB(2));
	q = at + MIB(2);
	assert_ok(quire_mprotect(p, MIB(2) + PAGES(2), RW));
	assert_zeros(p, MIB(2));
	assert_filled(q, PAGES(2), 'q');
	assert_fails(quire_madvise(p, MIB(2) + PAGES(1), MADV_DONTNEED), EINVAL);
	assert_fails(quire_munmap(p + PAGES(1), MIB(2)), EINVAL);
	assert_filled(q, PAGES(2), 'q');
	assert_ok(quire_munmap(p, MIB(2) + PAGES(2)));
	assert_int_equal(stats().locked_bytes, 0);
}

static void M11_stack_of_huge_pages_is_EINVAL(void **state)
{
	(void)state;
	assert_fails(quire_mmap(NULL, MIB(2), RW, HUGE_2 | MAP_GROWSDOWN, ANON, 0), EINVAL);
}
#endif

/* ---- M15: semaphores ---- */

/* Two mappings of one page of one file, locked: under the signal trap a system call cannot bring a page in. */
struct twins {
	int fd;
	char *left, *right;
};

static struct twins twins_new(void)
{
	struct twins twins = {.fd = file_new(PAGES(1))};

	twins.left = map_shared(twins.fd, 1);
	twins.right = map_shared(twins.fd, 1);
	memset(twins.left, 0, PAGES(1));
	assert_ok(quire_mlock(twins.left, PAGES(1)));
	assert_ok(quire_mlock(twins.right, PAGES(1)));
	return twins;
}

static void twins_done(struct twins *twins)
{
	unmap(twins->left, 1);
	unmap(twins->right, 1);
}

#define ROUNDS 20000

struct guarded {
	pthread_mutex_t mutex;
	volatile unsigned count;
};

static void *count_guarded(void *arg)
{
	struct guarded *guarded = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (pthread_mutex_lock(&guarded->mutex) != 0)
			return NULL;
		guarded->count++;
		if (pthread_mutex_unlock(&guarded->mutex) != 0)
			return NULL;
	}
	return arg;
}

static void M15_shared_mutex_works_through_two_mappings(void **state)
{
	struct twins twins = twins_new();
	struct guarded *left = (struct guarded *)twins.left, *right = (struct guarded *)twins.right;
	pthread_mutexattr_t shared;
	pthread_t thread;
	void *done;

	(void)state;
	pthread_mutexattr_init(&shared);
	assert_int_equal(pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED), 0);
	assert_int_equal(pthread_mutex_init(&left->mutex, &shared), 0);
	assert_int_equal(pthread_create(&thread, NULL, count_guarded, right), 0);
	assert_non_null(count_guarded(left));
	assert_int_equal(pthread_join(thread, &done), 0);
	assert_non_null(done);
	assert_int_equal(left->count, 2 * ROUNDS);
	pthread_mutexattr_destroy(&shared);
	twins_done(&twins);
}

struct pingpong {
	sem_t ping, pong;
};

static void *answer(void *arg)
{
	struct pingpong *game = arg;

	for (unsigned i = 0; i < ROUNDS / 4; i++)
		if (sem_wait(&game->ping) != 0 || sem_post(&game->pong) != 0)
			return NULL;
	return arg;
}

static void M15_shared_semaphores_work_through_two_mappings(void **state)
{
	struct twins twins = twins_new();
	struct pingpong *left = (struct pingpong *)twins.left;
	pthread_t thread;
	void *done;
	int value;

	(void)state;
	assert_int_equal(sem_init(&left->ping, 1, 0), 0);
	assert_int_equal(sem_init(&left->pong, 1, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, answer, twins.right), 0);
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		assert_int_equal(sem_post(&left->ping), 0);
		assert_int_equal(sem_wait(&left->pong), 0);
	}
	assert_int_equal(pthread_join(thread, &done), 0);
	assert_non_null(done);
	assert_int_equal(sem_getvalue(&left->ping, &value), 0);
	assert_int_equal(value, 0);
	twins_done(&twins);
}

static long futex(void *word, int op, unsigned value, long count, void *other)
{
	return syscall(SYS_futex, word, op, value, count, other, 0);
}

static void *wait_on_word(void *word)
{
	return (void *)futex(word, FUTEX_WAIT, 0, 0, NULL);
}

/* The waiter sleeps on the second word when it could be moved there. */
static void await_sleeper(char *page)
{
	while (futex(page, FUTEX_REQUEUE, 0, 1, page + 64) != 1)
		sched_yield();
}

static void M15_futex_wakes_through_another_mapping_after_page_out(void **state)
{
	struct twins twins = twins_new();
	pthread_t thread;
	void *answered;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wait_on_word, twins.left), 0);
	await_sleeper(twins.right);
	assert_ok(quire_munlock(twins.left, PAGES(1)));
	assert_ok(quire_munlock(twins.right, PAGES(1)));
	evict(twins.right, 1);
	assert_ok(quire_mlock(twins.right, PAGES(1)));
	/* One whose sleep is interrupted, by a signal or for nothing, sleeps again on the word that he came to. */
	while (futex(twins.right + 64, FUTEX_WAKE, 1, 0, NULL) + futex(twins.right, FUTEX_WAKE, 1, 0, NULL) != 1)
		sched_yield();
	assert_int_equal(pthread_join(thread, &answered), 0);
	assert_null(answered);
	twins_done(&twins);
}

#ifndef KERNEL_ORACLE
/* ---- M12: DENYWRITE ---- */

static char *map_denying(int fd, size_t n)
{
	return map(NULL, PAGES(n), PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, fd, 0);
}

/* Whether who opens the file for writing, and does not wait, gets it. It is closed at once. */
static bool opens_for_writing(const char *path)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		assert_int_equal(errno, EWOULDBLOCK);
		return false;
	}
	close(fd);
	return true;
}

/* A file that nobody has open for writing. */
static int file_read_only(size_t size, char path[FILE_PATH_MAX])
{
	int fd = file_named(size, path), again = file_reopen(fd, O_RDONLY);

	file_close(fd);
	return again;
}

static void M12_file_open_for_writing_elsewhere_is_ETXTBSY(void **state)
{
	char path[FILE_PATH_MAX];
	int writer = file_named(PAGES(1), path), fd = file_reopen(writer, O_RDONLY);
	char *p;

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, fd, 0), ETXTBSY);
	assert_message("quire_mmap", "MAP_DENYWRITE");
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED | MAP_DENYWRITE, fd, 0), ETXTBSY);
	assert_true(opens_for_writing(path));
	file_close(writer);
	p = map_denying(fd, 1);
	assert_pattern(p, PAGES(1), 0);
	unmap(p, 1);
}

static void M12_descriptor_that_is_itself_open_for_writing_is_ETXTBSY(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(1), path), memory = memfd_create("memory", MFD_CLOEXEC);
	off_t size = file_size(fd);

	(void)state;
	assert_int_equal(ftruncate(memory, (off_t)PAGES(1)), 0);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED | MAP_DENYWRITE, fd, 0), ETXTBSY);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_DENYWRITE, fd, 0), ETXTBSY);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_DENYWRITE, memory, 0), ETXTBSY);
	assert_fails(quire_mmap(NULL, PAGES(4), RW, MAP_SHARED | MAP_DENYWRITE | QUIRE_MAP_EXTEND, fd, 0), ETXTBSY);
	assert_int_equal(file_size(fd), size);
	close(memory);
}

static void M12_file_mapped_to_be_written_is_ETXTBSY_until_it_is_unmapped(void **state)
{
	char path[FILE_PATH_MAX];
	int writer = file_named(PAGES(4), path), fd = file_reopen(writer, O_RDONLY);

	(void)state;
	for (int i = 0; i < 20; i++) {
		int again = file_reopen(fd, O_RDWR);
		char *w = map_shared(again, 4), *p;

		file_close(again);
		if (i == 0)
			file_close(writer);
		assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, fd, 0), ETXTBSY);
		w[PAGES(3)] = (char)i;
		unmap(w, 4);
		p = map_denying(fd, 4);
		assert_loads(p + PAGES(3), i);
		unmap(p, 4);
	}
}

static void M12_later_opens_for_writing_are_held_off(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_read_only(PAGES(4), path);
	char *p = map_denying(fd, 4);

	(void)state;
	file_close(fd);
	assert_pattern(p, PAGES(4), 0);
	assert_false(opens_for_writing(path));
	assert_false(opens_for_writing(path));
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	assert_true(opens_for_writing(path));
}

static void M12_denial_lasts_until_the_last_part_is_unmapped(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_read_only(PAGES(8), path);
	char *p = map_denying(fd, 4), *q = map_denying(fd, 2), *plain = map(NULL, PAGES(1), PROT_READ, MAP_PRIVATE, fd, 0), *moved;

	(void)state;
	unmap(q, 2);
	unmap(p + PAGES(1), 1);
	assert_ok(quire_mprotect(p + PAGES(2), PAGES(1), PROT_NONE));
	assert_ok(quire_mprotect(p + PAGES(2), PAGES(1), PROT_READ));
	assert_false(opens_for_writing(path));
	unmap(p, 1);
	moved = quire_mremap(p + PAGES(2), PAGES(2), PAGES(6), MREMAP_MAYMOVE | MREMAP_FIXED, quiet());
	assert_ok(moved);
	assert_false(opens_for_writing(path));
	assert_ptr_equal(map(moved, PAGES(5), PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), moved);
	assert_false(opens_for_writing(path));
	unmap(moved + PAGES(5), 1);
	/* What is left does not deny. */
	assert_true(opens_for_writing(path));
	assert_pattern(moved, PAGES(5), 0);
	unmap(moved, 5);
	unmap(plain, 1);
}

static void M12_failed_mapping_denies_nothing(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_read_only(PAGES(1), path);
	char *p = map_anonymous(1);

	(void)state;
	limit_locked_memory(0);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_PRIVATE | MAP_DENYWRITE | MAP_LOCKED, fd, 0), EPERM);
	assert_fails(quire_mmap(p, PAGES(1), PROT_READ, MAP_PRIVATE | MAP_DENYWRITE | MAP_FIXED_NOREPLACE, fd, 0), EEXIST);
	assert_true(opens_for_writing(path));
	unmap(p, 1);
}

static void *open_and_wait(void *path)
{
	return (void *)(intptr_t)open(path, O_RDWR | O_CLOEXEC);
}

/* Whether the kernel says that somebody waits for this file's lease. */
static bool is_breaking(int fd)
{
	FILE *locks = fopen("/proc/locks", "r");
	char line[256], inode[32];
	struct stat st;
	bool waits = false;

	assert_non_null(locks);
	assert_int_equal(fstat(fd, &st), 0);
	snprintf(inode, sizeof(inode), ":%llu ", (unsigned long long)st.st_ino);
	while (fgets(line, sizeof(line), locks))
		waits |= strstr(line, "LEASE") && strstr(line, "BREAKING") && strstr(line, inode);
	fclose(locks);
	return waits;
}

static void M12_who_waits_goes_on_when_the_mapping_is_gone(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_read_only(PAGES(1), path);
	char *p = map_denying(fd, 1);
	pthread_t thread;
	void *opened;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, open_and_wait, path), 0);
	while (!is_breaking(fd))
		sched_yield();
	unmap(p, 1);
	assert_int_equal(pthread_join(thread, &opened), 0);
	assert_true((intptr_t)opened >= 0);
	/* It is open for writing now. */
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, fd, 0), ETXTBSY);
	close((int)(intptr_t)opened);
	unmap(map_denying(fd, 1), 1);
}

static volatile sig_atomic_t told;

static void note_told(int signo)
{
	told = signo;
}

static void M12_program_is_told_of_no_break(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_read_only(PAGES(1), path);
	char *p = map_denying(fd, 1);
	const int signals[] = {SIGIO, SIGURG};

	(void)state;
	for (size_t i = 0; i < 2; i++)
		signal(signals[i], note_told);
	assert_false(opens_for_writing(path));
	unmap(map_denying(fd, 1), 1);
	assert_false(opens_for_writing(path));
	unmap(p, 1);
	assert_int_equal(told, 0);
}

/* Of a file that is another user's no lease is given to one without CAP_LEASE. */
static int file_of_another_user(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
	int fd = file_reopen(file_new(PAGES(1)), O_RDONLY);

	if (fchown(fd, getuid() + 1, (gid_t)-1) < 0)
		skip_because("only root can make a file another user's");
	assert_int_equal(syscall(SYS_capget, &header, caps), 0);
	caps[CAP_TO_INDEX(CAP_LEASE)].effective &= ~CAP_TO_MASK(CAP_LEASE);
	assert_int_equal(syscall(SYS_capset, &header, caps), 0);
	return fd;
}

static void M12_means_nothing_where_no_lease_is_given(void **state)
{
	int fd = file_of_another_user(), zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	char *p = map_denying(fd, 1), *q = map(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_DENYWRITE, ANON, 0);
	char *r = map(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_DENYWRITE, zero, 0);

	(void)state;
	assert_pattern(p, PAGES(1), 0);
	assert_zeros(q, PAGES(1));
	assert_zeros(r, PAGES(1));
	unmap(p, 1);
	unmap(q, 1);
	unmap(r, 1);
	close(zero);
}

static void M12_shared_validate_wants_the_lease(void **state)
{
	int fd = file_of_another_user();

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED_VALIDATE | MAP_DENYWRITE, fd, 0), EOPNOTSUPP);
	assert_message("quire_mmap", "CAP_LEASE");
}

struct watch {
	int fd;
	atomic_bool stop, broken;
};

static void *watch_lease(void *arg)
{
	struct watch *watch = arg;

	while (!watch->stop && !watch->broken) {
		watch->broken = is_breaking(watch->fd);
		sched_yield();
	}
	return NULL;
}

/* A memfd has no count of its writers: the engine, which opens it for writing, must not wait for its own lease, as it would for long. */
static void M12_writable_mapping_of_a_memfd_ends_the_denial(void **state)
{
	int memory = memfd_create("memory", MFD_CLOEXEC);
	struct watch watch = {.fd = memory};
	pthread_t thread;
	char *p, *w;
	int fd;

	(void)state;
	assert_int_equal(ftruncate(memory, (off_t)PAGES(1)), 0);
	fd = file_reopen(memory, O_RDONLY);
	p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED | MAP_DENYWRITE, fd, 0);
	assert_loads(p, 0);
	assert_int_equal(pthread_create(&thread, NULL, watch_lease, &watch), 0);
	w = map_shared(memory, 1);
	assert_stores(w, 'w');
	assert_ok(quire_msync(w, PAGES(1), MS_SYNC));
	watch.stop = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(watch.broken);
	assert_loads(p, 'w');
	unmap(w, 1);
	unmap(p, 1);
	close(memory);
}

static void M12_denial_is_not_that_of_neighbours(void **state)
{
	char path[FILE_PATH_MAX], *at = quiet();
	int fd = file_read_only(PAGES(3), path);

	(void)state;
	for (size_t denying = 0; denying < 3; denying++) {
		for (size_t i = 0; i < 3; i++)
			assert_ptr_equal(map(at + PAGES(i), PAGES(1), PROT_READ,
					     MAP_PRIVATE | MAP_FIXED | (i == denying ? MAP_DENYWRITE : 0), fd, (off_t)PAGES(i)),
					 at + PAGES(i));
		assert_pattern(at, PAGES(3), 0);
		assert_false(opens_for_writing(path));
		unmap(at + PAGES(denying), 1);
		assert_true(opens_for_writing(path));
	}
	unmap(at, 3);
}

/* ---- M15, where the engine alone is asked ---- */

static void M15_hassemaphore_and_inherit_are_accepted(void **state)
{
	const int flags[] = {QUIRE_MAP_HASSEMAPHORE, QUIRE_MAP_INHERIT, QUIRE_MAP_HASSEMAPHORE | QUIRE_MAP_INHERIT};
	int fd = file_new(PAGES(1));

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		char *p = map(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE | flags[i], fd, 0);
		char *q = map(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | flags[i], ANON, 0);

		assert_pattern(p, PAGES(1), 0);
		assert_zeros(q, PAGES(1));
		unmap(p, 1);
		unmap(q, 1);
	}
}
#endif

/* ---- M16: stacks ---- */

static void M16_map_stack_alone_means_nothing(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(NULL, PAGES(4), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, ANON, 0);
	char *q = map(NULL, PAGES(2), RW, MAP_SHARED_VALIDATE | MAP_STACK, fd, 0);

	(void)state;
	assert_load_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(3), RW));
	assert_zeros(p + PAGES(1), PAGES(3));
	assert_pattern(q, PAGES(2), 0);
	unmap(p, 4);
	unmap(q, 2);
}

static void M16_stack_that_is_shared_or_of_a_file_is_EINVAL(void **state)
{
	int fd = file_new(PAGES(1)), zero = open("/dev/zero", O_RDWR);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, ANON, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED | MAP_GROWSDOWN, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_GROWSDOWN, zero, 0), EINVAL);
	close(zero);
}

#ifndef KERNEL_ORACLE
#define STACK (MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN)

static char *map_stack(size_t n)
{
	return map(NULL, PAGES(n), RW, STACK, ANON, 0);
}

static bool is_free(char *addr)
{
	char *p = quire_mmap(addr, PAGES(1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0);

	if (p == MAP_FAILED) {
		assert_int_equal(errno, EEXIST);
		return false;
	}
	unmap(p, 1);
	return true;
}

static void M16_stack_needs_read_and_write(void **state)
{
	const int prots[] = {PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_EXEC};

	(void)state;
	for (size_t i = 0; i < sizeof(prots) / sizeof(prots[0]); i++) {
		assert_fails(quire_mmap(NULL, PAGES(4), prots[i], STACK, ANON, 0), EINVAL);
		assert_message("quire_mmap", "PROT_READ and PROT_WRITE");
	}
}

static void M16_stack_implies_anonymous(void **state)
{
	char *p = map(NULL, PAGES(4), RW, MAP_PRIVATE | MAP_GROWSDOWN, ANON, 0);

	(void)state;
	assert_zeros(p, PAGES(4));
	unmap(p, 4);
}

static void M16_stack_grows_down_on_touch(void **state)
{
	char *p = map_stack(64);
	struct quire_stats before = stats();

	(void)state;
	assert_int_equal(resident_pages(p, 64), 0);
	for (size_t i = 64; i-- > 0;) {
		assert_stores(p + PAGES(i + 1) - 1, 's');
		assert_int_equal(resident_pages(p + PAGES(i), 64 - i), 64 - i);
		assert_int_equal(grown(before, zero_faults), 64 - i);
	}
	unmap(p, 64);
}

static void M16_running_past_the_end_is_SIGSEGV(void **state)
{
	char *p = map_stack(4);
	char *near = quire_mmap(p - PAGES(1), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
	char *kernels = mmap(p - PAGES(2), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(near != MAP_FAILED && kernels != MAP_FAILED);
	assert_stores(p, 's');
	assert_store_raises(p - 1, SIGSEGV, SEGV_ACCERR);
	for (size_t i = 1; i <= 256; i++) {
		assert_load_raises(p - PAGES(i), SIGSEGV, SEGV_ACCERR);
		assert_false(is_free(p - PAGES(i)));
	}
	unmap(near, 1);
	munmap(kernels, PAGES(1));
	unmap(p, 4);
}

static void M16_guard_goes_with_the_stack(void **state)
{
	uint64_t areas = stats().areas;
	char *p = map_stack(4);

	(void)state;
	assert_int_equal(stats().areas, areas + 2);
	unmap(p, 4);
	assert_int_equal(stats().areas, areas);
	for (size_t i = 1; i <= 256; i++)
		assert_true(is_free(p - PAGES(i)));
}

static void M16_guard_goes_with_the_lower_end_of_the_stack(void **state)
{
	char *p = map_stack(4);

	(void)state;
	p[PAGES(2)] = 'u';
	unmap(p + PAGES(3), 1);
	assert_false(is_free(p - PAGES(1)));
	unmap(p, 1);
	assert_true(is_free(p - PAGES(1)));
	assert_true(is_free(p));
	assert_loads(p + PAGES(2), 'u');
	unmap(p + PAGES(1), 2);
}

static void M16_guard_is_a_hole_to_other_calls(void **state)
{
	char *p = map_stack(2), *below = p - PAGES(1);
	unsigned char vec[3];

	(void)state;
	memset(p, 'g', PAGES(2));
	assert_fails(quire_mprotect(below, PAGES(3), PROT_READ), ENOMEM);
	assert_fails(quire_madvise(below, PAGES(3), MADV_DONTNEED), ENOMEM);
	assert_fails(quire_madvise(below, PAGES(3), MADV_DODUMP), ENOMEM);
	assert_fails(quire_msync(below, PAGES(3), MS_SYNC), ENOMEM);
	assert_fails(quire_mincore(below, PAGES(3), vec), ENOMEM);
	assert_fails(quire_mlock(below, PAGES(3)), ENOMEM);
	assert_fails(quire_mremap(below, PAGES(1), PAGES(2), MREMAP_MAYMOVE), EFAULT);
	assert_int_equal(quire_resident(below, PAGES(1)), 0);
	assert_ok(quire_mlockall(MCL_CURRENT));
	assert_ok(quire_munlockall());
	assert_filled(p, PAGES(2), 'g');
	assert_load_raises(below, SIGSEGV, SEGV_ACCERR);
	unmap(p, 2);
}

static void M16_fixed_mapping_takes_the_place_of_the_guard(void **state)
{
	char *p = map_stack(2);
	char *q = map(p - PAGES(1), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	assert_ptr_equal(q, p - PAGES(1));
	assert_stores(q, 'q');
	assert_stores(p, 'p');
	unmap(p, 2);
	assert_loads(q, 'q');
	/* What is left of the guard lies below it now, and goes with it. */
	assert_false(is_free(q - PAGES(1)));
	unmap(q, 1);
	assert_true(is_free(q - PAGES(1)));
	assert_true(is_free(q - PAGES(255)));
}

static void M16_fixed_stack_has_a_guard_where_there_is_room(void **state)
{
	char *at = quiet();
	char *p = map(at, PAGES(4), RW, STACK | MAP_FIXED, ANON, 0), *q;

	(void)state;
	assert_false(is_free(p - PAGES(256)));
	assert_true(is_free(p - PAGES(257)));
	/* Over itself: one guard again. */
	assert_ptr_equal(map(at, PAGES(4), RW, STACK | MAP_FIXED, ANON, 0), at);
	assert_false(is_free(p - PAGES(256)));
	unmap(p, 4);
	assert_true(is_free(p - PAGES(256)));
	q = map(at - PAGES(1), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	q[0] = 'n';
	assert_ptr_equal(map(at, PAGES(4), RW, STACK | MAP_FIXED_NOREPLACE, ANON, 0), at);
	assert_fails(quire_mmap(at, PAGES(4), RW, STACK | MAP_FIXED_NOREPLACE, ANON, 0), EEXIST);
	assert_loads(q, 'n');
	unmap(at, 4);
	assert_loads(q, 'n');
	unmap(q, 1);
}

static void M16_what_replaces_a_stack_has_no_guard(void **state)
{
	char *p = map_stack(4);

	(void)state;
	assert_ptr_equal(map(p + PAGES(2), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), p + PAGES(2));
	assert_false(is_free(p - PAGES(1)));
	assert_ptr_equal(map(p, PAGES(4), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), p);
	assert_true(is_free(p - PAGES(1)));
	unmap(p, 4);
}

static void M16_moved_stack_is_plain_memory(void **state)
{
	char *p = map_stack(4), *to = quiet(), *q;

	(void)state;
	memset(p, 'm', PAGES(4));
	q = quire_mremap(p, PAGES(4), PAGES(8), MREMAP_MAYMOVE | MREMAP_FIXED, to);
	assert_ptr_equal(q, to);
	assert_filled(q, PAGES(4), 'm');
	assert_zeros(q + PAGES(4), PAGES(4));
	assert_true(is_free(p - PAGES(1)));
	assert_true(is_free(q - PAGES(1)));
	unmap(q, 8);
}

static void M16_maps_shows_the_guard(void **state)
{
	char *p = map_stack(4), *text = NULL, start[32];
	struct quire_area_stats guard = area_stats(p - 1);
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(guard.prot, PROT_NONE);
	assert_int_equal(guard.flags, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN);
	assert_int_equal(guard.len, PAGES(256));
	assert_ok(quire_maps(out));
	fclose(out);
	snprintf(start, sizeof(start), "-%012" PRIxPTR " ---p", (uintptr_t)p);
	assert_non_null(strstr(text, start));
	assert_non_null(strstr(strstr(text, start), "guard"));
	free(text);
	unmap(p, 4);
}

/* ---- M16: run on one ---- */

#define DEPTH 800

/* A frame of a page and more, written before the next is entered and read after it is left. */
__attribute__((noinline)) static unsigned descend(unsigned depth)
{
	volatile unsigned frame[700];
	unsigned sum = 0;

	for (size_t i = 0; i < 700; i++)
		frame[i] = depth + (unsigned)i;
	if (depth > 0)
		sum = descend(depth - 1);
	for (size_t i = 0; i < 700; i++)
		sum = sum * 31 + (frame[i] ^ depth);
	return sum;
}

/* The handler of SIGBUS cannot run on the stack whose page is missing. What there was before. */
static stack_t use_other_stack_for_signals(char *memory, size_t len)
{
	stack_t stack = {.ss_sp = memory, .ss_size = len}, before;

	if (sigaltstack(&stack, &before) != 0)
		abort();
	return before;
}

static char signal_stack[65536];
static ucontext_t outside, inside;
static unsigned sum_inside;

static void run_inside(void)
{
	sum_inside = descend(DEPTH);
}

static void M16_context_runs_on_a_stack(void **state)
{
	size_t len = 8u << 20;
	char *p = map(NULL, len, RW, STACK, ANON, 0);
	unsigned expected = descend(DEPTH);
	struct quire_stats before = stats();

	(void)state;
	(void)use_other_stack_for_signals(signal_stack, sizeof(signal_stack));
	for (int i = 0; i < 3; i++) {
		sum_inside = 0;
		assert_int_equal(getcontext(&inside), 0);
		inside.uc_stack.ss_sp = p;
		inside.uc_stack.ss_size = len;
		inside.uc_link = &outside;
		makecontext(&inside, run_inside, 0);
		evict(p, len / page_size);
		assert_int_equal(swapcontext(&outside, &inside), 0);
		assert_int_equal(sum_inside, expected);
	}
	assert_true(grown(before, swap_in_pages) > 0);
	unmap(p, len / page_size);
}

struct runner {
	char *signals;
	unsigned sum;
};

static void *run_thread(void *arg)
{
	struct runner *runner = arg;

	if (runner->signals) {
		stack_t before = use_other_stack_for_signals(runner->signals, sizeof(signal_stack));

		runner->sum = descend(DEPTH);
		sigaltstack(&before, NULL);
	} else {
		runner->sum = descend(DEPTH);
	}
	return NULL;
}

/* A thread that makes no call of Quire's. What it uses before it has a stack for signals, and at its end, is locked under the signal trap. */
static void M16_thread_runs_on_a_stack(void **state)
{
	size_t len = 8u << 20, top = PAGES(16);
	char *p = map(NULL, len, RW, STACK, ANON, 0);
	bool by_signal = stats().trap == QUIRE_TRAP_SIGNAL;
	struct runner runner = {.signals = by_signal ? malloc(sizeof(signal_stack)) : NULL};
	unsigned expected = descend(DEPTH);
	pthread_attr_t attr;
	pthread_t thread;

	(void)state;
	if (by_signal)
		assert_ok(quire_mlock(p + len - top, top));
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, p, len), 0);
	assert_int_equal(pthread_create(&thread, &attr, run_thread, &runner), 0);
	pressure();
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(runner.sum, expected);
	pthread_attr_destroy(&attr);
	free(runner.signals);
	unmap(p, len / page_size);
}

static void *map_inside(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);

	*(int *)arg = p == MAP_FAILED ? errno : 0;
	return NULL;
}

static void M16_calls_on_a_stack_are_EDEADLK(void **state)
{
	size_t len = 1u << 20;
	char *p = map(NULL, len, RW, STACK, ANON, 0);
	pthread_attr_t attr;
	pthread_t thread;
	int error = 0;

	(void)state;
	assert_ok(quire_mlock(p, len));
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, p, len), 0);
	assert_int_equal(pthread_create(&thread, &attr, map_inside, &error), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(error, EDEADLK);
	pthread_attr_destroy(&attr);
	unmap(p, len / page_size);
}
#endif

static const struct conformance_test tests[] = {
    TEST(M11_huge_pages_of_a_plain_file_are_EINVAL),
    TEST(M11_huge_pages_of_no_known_size_are_EINVAL),
    TEST(M11_huge_pages_at_an_odd_address_are_EINVAL),
    TEST(M11_refused_huge_pages_are_ENOMEM),
    TEST(M11_granted_huge_pages_are_huge),
    TEST(M11_length_is_rounded_up_to_huge_pages),
    TEST_IN_OWN_PROCESS(M11_huge_pages_are_not_cut, "QUIRE_MEMORY=16M"),
    TEST(M11_advice_for_huge_pages_is_the_kernels),
    TEST_IN_OWN_PROCESS(M11_file_of_hugetlbfs_is_mapped_by_its_pages, "QUIRE_MEMORY=16M"),
    TEST(M11_hints_change_nothing),
    TEST(M11_collapse_that_cannot_be_is_EINVAL),
    TEST(M15_shared_mutex_works_through_two_mappings),
    TEST(M15_shared_semaphores_work_through_two_mappings),
    TEST(M15_futex_wakes_through_another_mapping_after_page_out),
    TEST(M16_map_stack_alone_means_nothing),
    TEST(M16_stack_that_is_shared_or_of_a_file_is_EINVAL),
#ifndef KERNEL_ORACLE
    TEST(M15_hassemaphore_and_inherit_are_accepted),
    TEST(M11_huge_pages_count_against_the_budget),
    TEST_IN_OWN_PROCESS(M11_huge_pages_shrink_and_do_not_grow_or_move, ""),
    TEST_IN_OWN_PROCESS(M11_huge_pages_lie_beside_others, ""),
    TEST(M11_stack_of_huge_pages_is_EINVAL),
    TEST(M12_file_open_for_writing_elsewhere_is_ETXTBSY),
    TEST(M12_descriptor_that_is_itself_open_for_writing_is_ETXTBSY),
    TEST(M12_file_mapped_to_be_written_is_ETXTBSY_until_it_is_unmapped),
    TEST(M12_later_opens_for_writing_are_held_off),
    TEST(M12_denial_lasts_until_the_last_part_is_unmapped),
    TEST(M12_denial_is_not_that_of_neighbours),
    TEST(M12_failed_mapping_denies_nothing),
    TEST(M12_who_waits_goes_on_when_the_mapping_is_gone),
    TEST_IN_OWN_PROCESS(M12_program_is_told_of_no_break, ""),
    TEST_IN_OWN_PROCESS(M12_means_nothing_where_no_lease_is_given, ""),
    TEST_IN_OWN_PROCESS(M12_shared_validate_wants_the_lease, ""),
    TEST(M12_writable_mapping_of_a_memfd_ends_the_denial),
    TEST(M16_stack_needs_read_and_write),
    TEST(M16_stack_implies_anonymous),
    TEST(M16_stack_grows_down_on_touch),
    TEST(M16_running_past_the_end_is_SIGSEGV),
    TEST(M16_guard_goes_with_the_stack),
    TEST(M16_guard_goes_with_the_lower_end_of_the_stack),
    TEST(M16_guard_is_a_hole_to_other_calls),
    TEST(M16_fixed_mapping_takes_the_place_of_the_guard),
    TEST(M16_fixed_stack_has_a_guard_where_there_is_room),
    TEST(M16_what_replaces_a_stack_has_no_guard),
    TEST(M16_moved_stack_is_plain_memory),
    TEST(M16_maps_shows_the_guard),
    TEST_IN_OWN_PROCESS(M16_context_runs_on_a_stack, ""),
    TEST_IN_OWN_PROCESS(M16_thread_runs_on_a_stack, ""),
    TEST_IN_OWN_PROCESS(M16_calls_on_a_stack_are_EDEADLK, ""),
#endif
};

CONFORMANCE_MAIN(tests)
