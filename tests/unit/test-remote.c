/* SPDX-License-Identifier: MIT */
/*
 * test-remote.c - children that misbehave, end or stop at the wrong moment: what they must not do to the process whose engine serves them
 *
 * Each test is the engine's process, and its children are made by fork. Nothing is timed; a test that hangs has failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

/* The lender asserts what it cannot do to a process of its own: an end of another must not be taken for that. */
static void child_may_be_killed_while_it_moves_its_memory(void **state)
{
	char *addr;

	begin(state);
	addr = map_pages(NULL, 8, 1);
	for (int round = 0; round < 100; round++) {
		int ends[2];
		char byte;
		pid_t child;

		assert_int_equal(pipe(ends), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			char *at = addr;

			EXPECT(write(ends[1], "b", 1) == 1);
			for (int i = 0;; i++) {
				at[0] = (char)i;
				at = quire_mremap(at, 8 * page, 8 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
				EXPECT(at != MAP_FAILED && at[7 * page] == 8);
			}
		}
		close(ends[1]);
		assert_int_equal(read(ends[0], &byte, 1), 1);
		for (int i = 0; i < round % 10; i++)
			sched_yield();
		kill(child, SIGKILL);
		assert_int_equal(end_of(child), -SIGKILL);
		close(ends[0]);
		check_pages(addr, 8, 1);
	}
	assert_int_equal(quire_munmap(addr, 8 * page), 0);
}

/* ---- a child that is stopped ---- */

#define HELD 256 /* pages, of a budget of 1024 */

static void child_that_is_stopped_keeps_its_pages_and_nobody_waiting(void **state)
{
	char *addr, *other;
	int turn[2];
	char byte;
	pid_t child;

	begin(state);
	addr = map_pages(NULL, 2 * HELD, 0);
	assert_int_equal(pipe(turn), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		/* Every other, so that no two leave together. */
		for (size_t i = 0; i < 2 * HELD; i += 2)
			addr[i * page] = (char)~i;
		EXPECT(write(turn[1], "b", 1) == 1);
		raise(SIGSTOP);
		for (size_t i = 0; i < 2 * HELD; i++)
			EXPECT(addr[i * page] == (i % 2 ? (char)i : (char)~i) && addr[i * page + 1] == (char)i);
		_exit(0);
	}
	assert_int_equal(read(turn[0], &byte, 1), 1);
	assert_int_equal(waitpid(child, NULL, WUNTRACED), child);
	for (int pass = 0; pass < 2; pass++) {
		other = map_pages(NULL, 2000, pass);
		for (size_t i = 0; i < 2000; i++)
			assert_int_equal(other[i * page], (char)(pass + (int)i));
		assert_int_equal(quire_munmap(other, 2000 * page), 0);
	}
	assert_int_equal(kill(child, SIGCONT), 0);
	assert_int_equal(end_of(child), 0);
	assert_int_equal(quire_munmap(addr, 2 * HELD * page), 0);
	close(turn[0]);
	close(turn[1]);
}

/* ---- who is who ---- */

/* What a child makes by another call than fork has none of the mappings, and must not change those of the child. */
static void process_that_a_child_makes_by_clone_is_not_taken_for_the_child(void **state)
{
	char *addr;
	pid_t child;

	begin(state);
	addr = map_pages(NULL, 4, 1);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		pid_t inner;

		EXPECT(addr[page] == 2);
		inner = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
		EXPECT(inner >= 0);
		if (inner == 0) {
			pid_t innermost;

			EXPECT(quire_mprotect(addr, 4 * page, PROT_NONE) < 0);
			EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EOPNOTSUPP);
			innermost = fork();
			if (innermost == 0)
				_exit(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
					      errno == EOPNOTSUPP
					  ? 0
					  : 1);
			_exit(end_of(innermost));
		}
		EXPECT(end_of(inner) == 0);
		for (size_t i = 0; i < 4 * page; i++)
			EXPECT(addr[i] == (char)(1 + i / page));
		_exit(0);
	}
	assert_int_equal(end_of(child), 0);
	assert_int_equal(quire_munmap(addr, 4 * page), 0);
}

static void grandchild_closes_no_descriptor_that_its_parent_has_opened_in_the_place_of_the_engines(void **state)
{
	char *addr;
	pid_t child;

	begin(state);
	addr = map_pages(NULL, 4, 1);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		pid_t inner;

		EXPECT(addr[page] == 2);
		for (int fd = 3; fd < 1000; fd++)
			close(fd);
		for (int fd = 3; fd < 64; fd++)
			EXPECT(open("/dev/null", O_RDONLY) == fd);
		inner = fork();
		EXPECT(inner >= 0);
		if (inner == 0) {
			for (int fd = 3; fd < 64; fd++)
				EXPECT(fcntl(fd, F_GETFD) >= 0);
			_exit(0);
		}
		EXPECT(end_of(inner) == 0);
		_exit(0);
	}
	assert_int_equal(end_of(child), 0);
	assert_int_equal(quire_munmap(addr, 4 * page), 0);
}

/* ---- what comes to lie in the place of a mapping, just before the fork ---- */

/*
 * What another thread may do between the making of a child's space and the fork: a handler that was registered before the library's runs
 * after it.
 */
static char *to_exchange; /* a page of ours; NULL: leave it */

static void exchange(void)
{
	if (!to_exchange)
		return;
	assert_int_equal(quire_munmap(to_exchange, page), 0);
	assert_ptr_equal(mmap(to_exchange, page, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), to_exchange);
	memset(to_exchange, 'k', page);
}

static void register_early(void)
{
	pthread_atfork(exchange, NULL, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = register_early;

/* The byte at addr as the kernel has it, without a fault; -1: there is none. */
static int peek(const char *addr)
{
	unsigned char byte;
	struct iovec local = {&byte, 1}, remote = {(void *)(uintptr_t)addr, 1};

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 ? byte : -1;
}

static void memory_of_the_kernel_in_the_place_of_a_mapping_is_not_mapped_over(void **state)
{
	char *addr;
	pid_t child;

	begin(state);
	/* Far from where the kernel puts what may lie anywhere, or that comes to lie in the gap. */
	addr = map_pages((char *)((uintptr_t)1 << 45), 3, 1);
	to_exchange = addr + page;
	child = fork();
	to_exchange = NULL;
	assert_true(child >= 0);
	if (child == 0) {
		EXPECT(peek(addr + page) == 'k');
		EXPECT(addr[0] == 1 && addr[2 * page] == 3);
		EXPECT(peek(addr + page) == 'k');
		addr[page] = 'c';
		EXPECT(quire_munmap(addr, page) == 0 && quire_munmap(addr + 2 * page, page) == 0);
		EXPECT(peek(addr + page) == 'c');
		_exit(0);
	}
	assert_int_equal(end_of(child), 0);
	assert_int_equal(peek(addr + page), 'k');
	check_pages(addr, 1, 1);
	check_pages(addr + 2 * page, 1, 3);
	assert_int_equal(quire_munmap(addr, page), 0);
	assert_int_equal(quire_munmap(addr + 2 * page, page), 0);
	munmap(addr + page, page);
}

/* ---- the end of the engine ---- */

/* What the other program does: it ends while its child stores to a file, and tells by memory of the kernel's how far it is. */
static int leave(int file, int log, int pipe_end)
{
	volatile uint64_t *stored = quire_mmap(NULL, quire_pagesize(), RW, MAP_SHARED, file, 0);
	volatile uint64_t *told = mmap(NULL, quire_pagesize(), RW, MAP_SHARED, log, 0);
	int ready[2];
	char byte;

	if (stored == MAP_FAILED || told == MAP_FAILED || pipe(ready) < 0)
		return 1;
	switch (fork()) {
	case -1:
		return 1;
	case 0:
		for (uint64_t i = 1;; i++) {
			*stored = i;
			*told = i;
			if (i == 1 && write(ready[1], "b", 1) != 1)
				_exit(1);
		}
	default:
		/* So that the child alone has the other end. */
		close(pipe_end);
		return read(ready[0], &byte, 1) == 1 ? 0 : 1;
	}
}

static int scratch(off_t bytes)
{
	char path[] = "/tmp/quire-remote-XXXXXX";
	int file = mkstemp(path);

	assert_true(file >= 0);
	unlink(path);
	assert_int_equal(ftruncate(file, bytes), 0);
	return file;
}

static void what_a_child_has_stored_when_its_engine_ends_is_in_the_file(void **state)
{
	begin(state);
	for (int round = 0; round < 10; round++) {
		int file = scratch((off_t)page), log = scratch((off_t)page), ends[2];
		uint64_t in_file, told;
		char numbers[3][12], byte;
		pid_t program;

		assert_int_equal(pipe(ends), 0);
		program = fork();
		assert_true(program >= 0);
		if (program == 0) {
			int fds[3] = {file, log, ends[1]};

			for (int i = 0; i < 3; i++)
				snprintf(numbers[i], sizeof(numbers[i]), "%d", fds[i]);
			close(ends[0]);
			execl("/proc/self/exe", "test-remote", "leave", numbers[0], numbers[1], numbers[2], NULL);
			_exit(127);
		}
		close(ends[1]);
		assert_int_equal(end_of(program), 0);
		/* Until its child has ended. */
		assert_int_equal(read(ends[0], &byte, 1), 0);
		assert_int_equal(pread(file, &in_file, sizeof(in_file), 0), sizeof(in_file));
		assert_int_equal(pread(log, &told, sizeof(told), 0), sizeof(told));
		assert_true(told > 0 && in_file >= told);
		close(ends[0]);
		close(file);
		close(log);
	}
}

#define MAPPINGS 64

/* Whatever is allocated on the way must not come to lie in the place of a mapping, of which the kernel has inherited none. */
static void all_mappings_are_there_in_children_and_theirs(void **state)
{
	char *addr[MAPPINGS];
	pid_t child;

	begin(state);
	/* The kernel's next place is below, and every other stays free. */
	for (size_t i = 0; i < MAPPINGS; i++)
		addr[i] = map_pages(NULL, 1, (int)i);
	for (size_t i = 1; i < MAPPINGS; i += 2)
		assert_int_equal(quire_munmap(addr[i], page), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		pid_t inner = fork();

		EXPECT(inner >= 0);
		for (size_t i = 0; i < MAPPINGS; i += 2)
			EXPECT(addr[i][0] == (char)i && addr[i][page - 1] == (char)i);
		_exit(inner == 0 ? 0 : end_of(inner));
	}
	assert_int_equal(end_of(child), 0);
	for (size_t i = 0; i < MAPPINGS; i += 2)
		assert_int_equal(quire_munmap(addr[i], page), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_a_child_does_to_memory_of_the_kernel_happens_in_the_child),
	    cmocka_unit_test(memory_of_the_kernel_that_a_child_moves_moves_in_the_child),
	    cmocka_unit_test(child_may_be_killed_while_it_moves_its_memory),
	    cmocka_unit_test(child_that_is_stopped_keeps_its_pages_and_nobody_waiting),
	    cmocka_unit_test(process_that_a_child_makes_by_clone_is_not_taken_for_the_child),
	    cmocka_unit_test(grandchild_closes_no_descriptor_that_its_parent_has_opened_in_the_place_of_the_engines),
	    cmocka_unit_test(memory_of_the_kernel_in_the_place_of_a_mapping_is_not_mapped_over),
	    cmocka_unit_test(what_a_child_has_stored_when_its_engine_ends_is_in_the_file),
	    cmocka_unit_test(all_mappings_are_there_in_children_and_theirs),
	    cmocka_unit_test(child_may_end_before_what_it_has_asked_for_is_fetched),
	};

	if (argc == 5)
		return leave(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	return cmocka_run_group_tests(tests, at_start, NULL);
}
