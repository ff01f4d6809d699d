/* SPDX-License-Identifier: MIT */
/*
 * test-atomic-failures.c - atomic files while memory, the kernel or the storage fail
 *
 * A short history of a file (mapping, stores, a commit, page-out, a cut, rollback, a second commit, unmapping) is run again and again, and
 * each time one thing more goes well before the next one fails; once for each kind of failure, and once with all of a kind failing from
 * there on. Whatever the calls answer, the file has to be what they said: after a crash of the program and another mapping it has the last
 * commit that succeeded, or, where one failed, perhaps that one (a failed sync tells nothing of what storage has); never a part.
 */
#include "../conformance/support.h"
#include "util/fail.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define FILE_PAGES 24
#define VALUE(n)   (100 + (n)) /* what commit n has: no byte that the file begins a page with */
#define ENOUGH     1200        /* failing things in one history: more are taken for an endless loop */

static char path[FILE_PATH_MAX];

/* ---- the history ---- */

/* What a history says of itself, in memory that outlives its process. */
struct told {
	int succeeded; /* number of the last commit that did; 0: none */
	int tried;     /* … that was begun */
	bool met;      /* the failure */
	bool ended;
};

static int commit(char *p)
{
	return quire_commit(&(struct iovec){p, PAGES(FILE_PAGES)}, 1, 0);
}

/* Commit n has the same byte at the start of every page. Page 5 was cut, in the second, behind its first 100 bytes. */
static bool store_all(char *p, int n)
{
	for (size_t i = 0; i < FILE_PAGES; i++)
		if (store(p + PAGES(i), VALUE(n)) < 0)
			return false;
	return true;
}

static void try_commit(char *p, struct told *told, int n)
{
	if (!store_all(p, n))
		return;
	told->tried = n;
	if (commit(p) == 0) {
		told->succeeded = n;
		return;
	}
	/* Nothing of it was lost. Once more, which may fail for the same reason. */
	for (size_t i = 0; i < FILE_PAGES; i++) {
		int value = load(p + PAGES(i));

		if (value >= 0)
			assert_int_equal(value, VALUE(n));
	}
	if (commit(p) == 0)
		told->succeeded = n;
}

static void live(int fd, struct told *told)
{
	char *p = quire_mmap(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0), *snapshot;
	int first;

	if (p == MAP_FAILED)
		return;
	try_commit(p, told, 1);
	(void)quire_madvise(p, PAGES(FILE_PAGES), MADV_PAGEOUT);
	/* What is taken back is as committed. */
	if (told->succeeded == 1 && store_all(p, 9) && quire_madvise(p, PAGES(FILE_PAGES), MADV_PAGEOUT) == 0 &&
	    quire_rollback(p, PAGES(FILE_PAGES)) == 0)
		for (size_t i = 0; i < FILE_PAGES; i++) {
			int value = load(p + PAGES(i));

			if (value >= 0)
				assert_int_equal(value, VALUE(1));
		}
	first = told->succeeded;
	snapshot = quire_mmap(NULL, PAGES(FILE_PAGES), PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, fd, 0);
	if (quire_ftruncate(fd, (off_t)PAGES(5) + 100) == 0 && quire_ftruncate(fd, (off_t)PAGES(FILE_PAGES)) == 0)
		try_commit(p, told, 2);
	if (snapshot != MAP_FAILED && first == 1) {
		int value = load(snapshot + PAGES(7));

		if (value >= 0)
			assert_int_equal(value, VALUE(1));
	}
	if (snapshot != MAP_FAILED)
		(void)quire_munmap(snapshot, PAGES(FILE_PAGES));
	(void)quire_checkpoint(fd);
	(void)store_all(p, 9);
	(void)quire_munmap(p, PAGES(FILE_PAGES));
}

/* ---- afterwards ---- */

static void check(int fd, const struct told *told)
{
	unsigned char first;
	char *p = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);

	first = (unsigned char)load(p);
	for (size_t i = 0; i < FILE_PAGES; i++) {
		int value = load(p + PAGES(i));

		/* No commit: as it was made. */
		if (first == pattern(0))
			assert_int_equal(value, pattern((off_t)PAGES(i)));
		else
			assert_int_equal(value, first);
	}
	assert_true(first == (told->succeeded ? VALUE(told->succeeded) : pattern(0)) || first == VALUE(told->tried));
	if (first == VALUE(2)) {
		assert_loads(p + PAGES(5) + 99, pattern((off_t)PAGES(5) + 99));
		assert_zeros(p + PAGES(5) + 100, PAGES(1) - 100);
		assert_zeros(p + PAGES(6) + 1, PAGES(1) - 1);
	} else {
		assert_loads(p + PAGES(6) + 1, pattern((off_t)PAGES(6) + 1));
	}
	unmap(p, FILE_PAGES);
}

static void make_file(int fd)
{
	unsigned char bytes[PAGES(1)];

	for (size_t i = 0; i < FILE_PAGES; i++) {
		for (size_t k = 0; k < PAGES(1); k++)
			bytes[k] = pattern((off_t)(PAGES(i) + k));
		assert_int_equal(pwrite(fd, bytes, PAGES(1), (off_t)PAGES(i)), PAGES(1));
	}
	assert_int_equal(ftruncate(fd, (off_t)PAGES(FILE_PAGES)), 0);
}

/* One history, in a process that ends as if it were killed. Whether it has met the failure. */
static bool run_one(int fd, enum fail_kind kind, int64_t nth, bool every, struct told *told)
{
	int status;
	pid_t pid;

	make_file(fd);
	*told = (struct told){0};
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		uint64_t before = atomic_load(&fail_count[kind]);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* The engine starts without a failure. */
		quire_munmap(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), PAGES(1));
		fail_arm(kind, nth, every);
		live(fd, told);
		told->met = atomic_load(&fail_count[kind]) != before;
		told->ended = true;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status || !told->ended)
		print_error("kind %d, the %lld. %s: the process ended with %#x\n", kind, (long long)nth,
			    every ? "and all after" : "", status);
	assert_int_equal(status, 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		check(fd, told);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		print_error("kind %d, the %lld. %s: commit %d succeeded, %d was tried\n", kind, (long long)nth,
			    every ? "and all after" : "", told->succeeded, told->tried);
	assert_int_equal(status, 0);
	return told->met;
}

static void fail_each(enum fail_kind kind)
{
	struct told *told = mmap(NULL, sizeof(*told), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = file_named(PAGES(FILE_PAGES), path);
	int64_t nth;

	assert_true(told != MAP_FAILED);
	for (int every = 0; every < 2; every++) {
		for (nth = 1; nth < ENOUGH; nth += every ? 3 : 1)
			if (!run_one(fd, kind, nth, every, told))
				break;
		assert_true(nth > 1 && nth < ENOUGH);
		/* And without any. */
		assert_int_equal(told->succeeded, 2);
	}
	munmap(told, sizeof(*told));
}

static void commits_are_whole_while_memory_fails(void **state)
{
	(void)state;
	fail_each(FAIL_ALLOC);
}

static void commits_are_whole_while_mappings_fail(void **state)
{
	(void)state;
	fail_each(FAIL_MAP);
}

static void commits_are_whole_while_reads_fail(void **state)
{
	(void)state;
	fail_each(FAIL_READ);
}

static void commits_are_whole_while_writes_fail(void **state)
{
	(void)state;
	fail_each(FAIL_WRITE);
}

static void commits_are_whole_while_syncs_fail(void **state)
{
	(void)state;
	fail_each(FAIL_SYNC);
}

static void commits_are_whole_while_frames_cannot_be_made(void **state)
{
	(void)state;
	fail_each(FAIL_FRAME);
}

/* A store that nothing has caught is in the next commit all the same. */
static void stores_that_could_not_be_caught_are_committed(void **state)
{
	int fd = file_named(PAGES(4), path);
	char *p = map(NULL, PAGES(4), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_stores(p + PAGES(i), 1);
	fail_arm(FAIL_MAP, 1, true);
	assert_ok(quire_commit(&(struct iovec){p, PAGES(4)}, 1, 0));
	assert_true(atomic_load(&fail_count[FAIL_MAP]) > 0);
	fail_arm(FAIL_MAP, 0, false);
	for (size_t i = 0; i < 4; i++)
		assert_stores(p + PAGES(i), 2);
	assert_ok(quire_commit(&(struct iovec){p, PAGES(4)}, 1, 0));
	unmap(p, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 2);
}

/* The page that is cut is in the journal, spilled, and so are those that would go: all of it stays where that one cannot be read. */
static void a_cut_that_cannot_be_made_loses_nothing(void **state)
{
	int fd = file_named(PAGES(8), path);
	char *p = map(NULL, PAGES(8), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_stores(p + PAGES(i) + 200, 1);
	assert_ok(quire_madvise(p, PAGES(8), MADV_PAGEOUT));
	assert_int_equal(resident_pages(p, 8), 0);
	fail_arm(FAIL_READ, 1, true);
	assert_fails(quire_ftruncate(fd, (off_t)PAGES(3) + 100), EIO);
	fail_arm(FAIL_READ, 0, false);
	assert_int_equal(quire_dirty(p, PAGES(8), NULL, 0), 1);
	for (size_t i = 0; i < 8; i++)
		assert_loads(p + PAGES(i) + 200, 1);
	assert_ok(quire_commit(&(struct iovec){p, PAGES(8)}, 1, 0));
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(8));
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 200), 1);
}

/* … nor does one that cannot be made longer get longer by the next commit. */
static void a_growth_that_cannot_be_made_is_not_committed(void **state)
{
	int fd = file_named(PAGES(8), path);
	char *p = map(NULL, PAGES(8), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);
	struct rlimit limit, before;

	(void)state;
	assert_stores(p, 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = (struct rlimit){.rlim_cur = PAGES(12), .rlim_max = before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	/* Of the frames: the file itself is not touched. */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_fails(quire_ftruncate(fd, (off_t)PAGES(64)), EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_ok(quire_commit(&(struct iovec){p, PAGES(8)}, 1, 0));
	assert_ok(quire_checkpoint(fd));
	assert_int_equal(file_size(fd), PAGES(8));
	assert_int_equal(file_byte(fd, 0), 1);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(64)));
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(8));
}

static const struct conformance_test tests[] = {
    TEST_BEFORE_START(commits_are_whole_while_memory_fails, ""),
    TEST_BEFORE_START(commits_are_whole_while_mappings_fail, ""),
    TEST_BEFORE_START(commits_are_whole_while_reads_fail, ""),
    TEST_BEFORE_START(commits_are_whole_while_writes_fail, ""),
    TEST_BEFORE_START(commits_are_whole_while_syncs_fail, ""),
    TEST_BEFORE_START(commits_are_whole_while_frames_cannot_be_made, ""),
    TEST_BEFORE_START(stores_that_could_not_be_caught_are_committed, ""),
    TEST_BEFORE_START(a_cut_that_cannot_be_made_loses_nothing, ""),
    TEST_BEFORE_START(a_growth_that_cannot_be_made_is_not_committed, ""),
};

CONFORMANCE_MAIN(tests)
