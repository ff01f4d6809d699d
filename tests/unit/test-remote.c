/* SPDX-License-Identifier: MIT */
/*
 * test-remote.c - children that misbehave, end or stop at the wrong moment: what they must not do to the process whose engine serves them
 *
 * Each test is the engine's process, and its children are made by fork. Nothing is timed; a test that hangs has failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <quire/quire.h>

#define RW (PROT_READ | PROT_WRITE)

static size_t page;
static struct sigaction engine_bus, engine_segv;

static int at_start(void **state)
{
	(void)state;
	page = quire_pagesize();
	/* The first mapping, which stays. */
	if (quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		return -1;
	sigaction(SIGBUS, NULL, &engine_bus);
	sigaction(SIGSEGV, NULL, &engine_segv);
	return 0;
}

/* At the beginning of each test: cmocka has put handlers of its own in the place of the engine's. */
static void begin(void **state)
{
	(void)state;
	sigaction(SIGBUS, &engine_bus, NULL);
	sigaction(SIGSEGV, &engine_segv, NULL);
}

/* n pages of private memory of ours, each full of its number and base. */
static char *map_pages(char *at, size_t n, int base)
{
	char *addr = quire_mmap(at, n * page, RW, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	for (size_t i = 0; i < n; i++)
		memset(addr + i * page, base + (int)i, page);
	return addr;
}

static void check_pages(const char *addr, size_t n, int base)
{
	for (size_t i = 0; i < n * page; i++)
		assert_int_equal((unsigned char)addr[i], base + (int)(i / page));
}

/* The exit status of a child; what it was killed by, as -signal. */
static int end_of(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#define EXPECT(what)                                                                                                               \
	do {                                                                                                                       \
		if (!(what))                                                                                                       \
			_exit(__LINE__ % 250 + 1);                                                                                 \
	} while (0)

/* ---- whose memory it is ---- */

/* Memory of the kernel, of ours behind it, and of the kernel behind that: three pages each. */
static char *make_neighbours(void)
{
	char *addr = mmap(NULL, 9 * page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	memset(addr, 'k', 3 * page);
	memset(addr + 6 * page, 'k', 3 * page);
	map_pages(addr + 3 * page, 3, 1);
	return addr;
}

static void what_a_child_does_to_memory_of_the_kernel_happens_in_the_child(void **state)
{
	char *addr;
	unsigned char resident;
	pid_t child;

	begin(state);
	addr = make_neighbours();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		for (char *at = addr; at < addr + 9 * page; at += page) {
			if (at >= addr + 3 * page && at < addr + 6 * page)
				continue;
			EXPECT(quire_mincore(at, page, &resident) == 0);
			EXPECT(quire_msync(at, page, MS_SYNC) == 0);
			EXPECT(quire_madvise(at, page, MADV_DONTNEED) == 0 && *at == 0);
			EXPECT(quire_mprotect(at, page, PROT_READ) == 0 && quire_mprotect(at, page, RW) == 0);
			*at = 'c';
			EXPECT(quire_munmap(at, page) == 0);
			EXPECT(mincore(at, page, &resident) < 0 && errno == ENOMEM);
		}
		for (size_t i = 0; i < 3 * page; i++)
			EXPECT(addr[3 * page + i] == (char)(1 + i / page));
		_exit(0);
	}
	assert_int_equal(end_of(child), 0);
	for (size_t i = 0; i < 3 * page; i++) {
		assert_int_equal(addr[i], 'k');
		assert_int_equal(addr[6 * page + i], 'k');
	}
	check_pages(addr + 3 * page, 3, 1);
	assert_int_equal(quire_munmap(addr + 3 * page, 3 * page), 0);
	munmap(addr, 9 * page);
}

static void memory_of_the_kernel_that_a_child_moves_moves_in_the_child(void **state)
{
	char *addr;
	pid_t child;

	begin(state);
	addr = make_neighbours();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char *moved = quire_mremap(addr + 2 * page, page, 2 * page, MREMAP_MAYMOVE);

		EXPECT(moved != MAP_FAILED && moved[0] == 'k' && moved[page] == 0);
		_exit(0);
	}
	assert_int_equal(end_of(child), 0);
	assert_int_equal(addr[2 * page], 'k');
	check_pages(addr + 3 * page, 3, 1);
	assert_int_equal(quire_munmap(addr + 3 * page, 3 * page), 0);
	munmap(addr, 9 * page);
}

/* ---- the end of a child ---- */

#define FETCHED 512

/* Under the sanitizers, a list that outlives its child is found when it is looked at. */
static void child_may_end_before_what_it_has_asked_for_is_fetched(void **state)
{
	char path[] = "/tmp/quire-remote-XXXXXX", *addr, *bytes = malloc(page);
	int file = mkstemp(path);

	begin(state);
	assert_true(file >= 0 && bytes);
	unlink(path);
	memset(bytes, 'f', page);
	for (size_t i = 0; i < FETCHED; i++)
		assert_int_equal(pwrite(file, bytes, page, (off_t)(i * page)), (ssize_t)page);
	addr = quire_mmap(NULL, FETCHED * page, PROT_READ, MAP_SHARED, file, 0);
	assert_ptr_not_equal(addr, MAP_FAILED);
	for (int round = 0; round < 20; round++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			struct iovec ranges[FETCHED];

			/* From the end, so that each is a span of its own. */
			for (size_t i = 0; i < FETCHED; i++)
				ranges[i] = (struct iovec){addr + (FETCHED - 1 - i) * page, page};
			for (int n = 0; n < 4; n++)
				EXPECT(quire_prefetch(ranges, FETCHED, -1) == 0 || errno == EAGAIN);
			_exit(0);
		}
		assert_int_equal(end_of(child), 0);
		assert_int_equal(quire_madvise(addr, FETCHED * page, MADV_PAGEOUT), 0);
	}
	for (size_t i = 0; i < FETCHED; i++)
		assert_int_equal(addr[i * page], 'f');
	assert_int_equal(quire_munmap(addr, FETCHED * page), 0);
	close(file);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_a_child_does_to_memory_of_the_kernel_happens_in_the_child),
	    cmocka_unit_test(memory_of_the_kernel_that_a_child_moves_moves_in_the_child),
	    cmocka_unit_test(child_may_end_before_what_it_has_asked_for_is_fetched),
	};

	return cmocka_run_group_tests(tests, at_start, NULL);
}
