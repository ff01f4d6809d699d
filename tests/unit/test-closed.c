/* SPDX-License-Identifier: MIT */
/*
 * test-closed.c - a program that closes every descriptor from 3 on, and opens files of its own, while the engine is alive
 *
 * The numbers that were the engine's are those of other files then. What the engine cannot write any more is an error, and stays as it is;
 * but not a byte of the others changes, nor their sizes, nor where they are read and written next; and none of them is closed.
 */
#include "../conformance/support.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <quire/shm.h>

#define FILE_PAGES     8
#define STRANGERS      60 /* more than an engine has descriptors */
#define STRANGER_PAGES 12
#define AT             123 /* where a stranger is read and written next */
#define MADV_OUT       21  /* MADV_PAGEOUT */

static char paths[STRANGERS][FILE_PATH_MAX];
static int strangers[STRANGERS]; /* as the test itself has them */

/* How a child ends. */
enum end { BY_EXIT, BY_KILL };

static void make_strangers(void)
{
	for (int i = 0; i < STRANGERS; i++)
		strangers[i] = file_named(PAGES(STRANGER_PAGES), paths[i]);
}

/* In the child: all numbers that the engine had are those of others. */
static void lose_descriptors(int own[STRANGERS])
{
	closefrom(3);
	for (int i = 0; i < STRANGERS; i++) {
		own[i] = open(paths[i], O_RDWR | O_CLOEXEC);
		assert_int_equal(own[i], i + 3);
		assert_int_equal(lseek(own[i], AT, SEEK_SET), AT);
	}
}

static void check_own(const int own[STRANGERS])
{
	for (int i = 0; i < STRANGERS; i++)
		assert_int_equal(lseek(own[i], 0, SEEK_CUR), AT);
}

static void check_strangers(void)
{
	for (int i = 0; i < STRANGERS; i++) {
		assert_int_equal(file_size(strangers[i]), PAGES(STRANGER_PAGES));
		for (size_t at = 0; at < PAGES(STRANGER_PAGES); at++) {
			unsigned char bytes[4096];
			size_t inside = at % sizeof(bytes);

			if (inside == 0)
				assert_int_equal(pread(strangers[i], bytes, sizeof(bytes), (off_t)at), sizeof(bytes));
			if (bytes[inside] != pattern((off_t)at))
				print_error("byte %zu of %s\n", at, paths[i]);
			assert_int_equal(bytes[inside], pattern((off_t)at));
		}
	}
}

/* Runs it in a process of its own, and waits for all that comes of that: for the keeper, too. */
static void in_child(void (*live)(int fd, const char *path), int fd, const char *path, enum end end)
{
	int status;
	pid_t pid;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* The engine's come next. */
		assert_int_equal(dup2(fd, 3), 3);
		closefrom(4);
		live(3, path);
		if (end == BY_KILL)
			raise(SIGKILL);
		exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (end == BY_KILL)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	else
		assert_int_equal(status, 0);
	while (waitpid(-1, &status, __WALL) > 0)
		;
	check_strangers();
}

/* ---- a file ---- */

static void store_all(char *p, int value)
{
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_stores(p + PAGES(i), value);
}

static void map_and_store(int fd, char **ret_p, char **ret_private, char **ret_memory)
{
	*ret_p = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED, fd, 0);
	*ret_private = map_private(fd, FILE_PAGES);
	*ret_memory = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
	/* With the file and the swap open. */
	for (int value = 1; value < 3; value++) {
		store_all(*ret_p, value);
		store_all(*ret_private, value);
		store_all(*ret_memory, value);
		if (value == 1) {
			assert_ok(quire_msync(*ret_p, PAGES(FILE_PAGES), MS_SYNC));
			assert_ok(quire_madvise(*ret_private, PAGES(FILE_PAGES), MADV_OUT));
			assert_ok(quire_madvise(*ret_memory, PAGES(FILE_PAGES), MADV_OUT));
		}
	}
}

static void try_everything(int fd, const char *path)
{
	char *p, *private, *memory;
	int own[STRANGERS];

	(void)path;
	map_and_store(fd, &p, &private, &memory);
	lose_descriptors(own);
	assert_fails(quire_msync(p, PAGES(FILE_PAGES), MS_SYNC), EBADF);
	assert_fails(quire_msync(p, PAGES(FILE_PAGES), MS_SYNC), EBADF);
	(void)quire_msync(p, PAGES(FILE_PAGES), MS_ASYNC);
	(void)quire_madvise(p, PAGES(FILE_PAGES), MADV_OUT);
	(void)quire_madvise(private, PAGES(FILE_PAGES), MADV_OUT);
	(void)quire_madvise(memory, PAGES(FILE_PAGES), MADV_OUT);
	(void)quire_madvise(p, PAGES(2), MADV_REMOVE);
	(void)quire_madvise(memory, PAGES(2), MADV_REMOVE);
	(void)quire_madvise(private, PAGES(2), MADV_DONTNEED);
	(void)quire_msync(p, PAGES(FILE_PAGES), MS_INVALIDATE);
	/* The flusher, which comes round each half second. */
	usleep(1200000);
	check_own(own);
	(void)quire_munmap(private, PAGES(FILE_PAGES));
	(void)quire_munmap(memory, PAGES(FILE_PAGES));
	(void)quire_munmap(p, PAGES(FILE_PAGES));
	check_own(own);
}

static void other_files_are_not_touched(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(FILE_PAGES), path);

	(void)state;
	make_strangers();
	in_child(try_everything, fd, path, BY_EXIT);
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 1);
}

/* Nothing is called: there is the end of the program, which cannot write what was stored; and the keeper, which finds the file again and does. */
static void store_and_lose(int fd, const char *path)
{
	char *p, *private, *memory;
	int own[STRANGERS];

	(void)path;
	map_and_store(fd, &p, &private, &memory);
	lose_descriptors(own);
}

static void other_files_are_not_touched_by_the_end_of_the_program(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(FILE_PAGES), path);

	(void)state;
	make_strangers();
	in_child(store_and_lose, fd, path, BY_EXIT);
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 1);
	in_child(store_and_lose, fd, path, BY_KILL);
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 2);
}

/* The file was mapped and stored to, but never read or written: its descriptors are still to be opened. */
static void lose_before_the_first_transfer(int fd, const char *path)
{
	char *p = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED, fd, 0);
	int own[STRANGERS];

	(void)path;
	lose_descriptors(own);
	assert_true(quire_madvise(p, PAGES(FILE_PAGES), MADV_POPULATE_WRITE) < 0);
	assert_true(quire_msync(p, PAGES(FILE_PAGES), MS_SYNC) < 0);
	check_own(own);
}

static void other_files_are_not_opened_in_the_place_of_the_file(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(FILE_PAGES), path);

	(void)state;
	make_strangers();
	in_child(lose_before_the_first_transfer, fd, path, BY_EXIT);
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), pattern((off_t)PAGES(i)));
}

/* ---- what is not in memory ---- */

/*
 * The userfaultfd is closed as well, but held by a ring: a page that is missing is SIGBUS or, under the thread trap, whose messages nobody can
 * read any more, waited for until a signal comes. It is not born as zeros.
 */
static void missing_pages_are_not_born_as_zeros(void **state)
{
	int fd = file_new(PAGES(FILE_PAGES)), status;
	const char *debug = getenv("QUIRE_DEBUG");
	pid_t pid;

	(void)state;
	if (debug && strstr(debug, "no-uring"))
		skip_because("without io_uring nothing holds a userfaultfd that is closed");
	make_strangers();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int own[STRANGERS];
		char *p;

		assert_int_equal(dup2(fd, 3), 3);
		closefrom(4);
		p = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED, 3, 0);
		assert_ok(quire_madvise(p, PAGES(FILE_PAGES), MADV_RANDOM));
		assert_loads(p, pattern(0));
		lose_descriptors(own);
		signal(SIGALRM, SIG_DFL);
		alarm(2);
		_exit(load(p + PAGES(5)) == -SIGBUS ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM));
	check_strangers();
}

/* ---- a journal, memory under a name, a trace, eventfds ---- */

static void lose_a_journal(int fd, const char *path)
{
	char *p = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0), *snapshot;
	struct iovec all = {p, PAGES(FILE_PAGES)};
	int own[STRANGERS], event = eventfd(0, EFD_CLOEXEC);

	(void)path;
	store_all(p, 2);
	assert_ok(quire_commit(&all, 1, 0));
	snapshot = map(NULL, PAGES(FILE_PAGES), PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, fd, 0);
	assert_loads(snapshot, 2);
	store_all(p, 3);
	assert_ok(quire_madvise(p, PAGES(4), MADV_OUT));
	assert_true(quire_commit_begin(&all, 1, event) > 0);
	assert_int_equal(read(event, &(uint64_t){0}, sizeof(uint64_t)), sizeof(uint64_t));
	store_all(p, 4);
	lose_descriptors(own);
	assert_true(quire_commit(&all, 1, 0) < 0);
	assert_true(quire_commit(&all, 1, 0) < 0);
	(void)quire_madvise(p, PAGES(FILE_PAGES), MADV_OUT);
	(void)quire_rollback(p, PAGES(FILE_PAGES));
	(void)quire_prefetch(&all, 1, -1);
	usleep(600000);
	check_own(own);
	(void)quire_munmap(snapshot, PAGES(FILE_PAGES));
	(void)quire_munmap(p, PAGES(FILE_PAGES));
	check_own(own);
}

static void check_commit(int fd, const char *path)
{
	char *p = map(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);

	(void)path;
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_loads(p + PAGES(i), 3);
	unmap(p, FILE_PAGES);
}

static void other_files_are_no_journals(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(FILE_PAGES), path);

	(void)state;
	make_strangers();
	in_child(lose_a_journal, fd, path, BY_EXIT);
	in_child(check_commit, fd, path, BY_EXIT);
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 3);
}

static void lose_memory(int fd, const char *path)
{
	char name[2 * FILE_PATH_MAX + 64];
	int own[STRANGERS], memory, traced;
	char *p, *q;

	snprintf(name, sizeof(name), "trace:file=%s.trace:file:%s", path, path);
	traced = quire_open(name, O_RDWR, 0);
	if (traced < 0)
		print_error("%s\n", quire_errormsg());
	assert_true(traced >= 0);
	memory = quire_shm_open("/closed", O_RDWR | O_CREAT, 0600);
	assert_true(memory >= 0);
	assert_ok(quire_ftruncate(memory, (off_t)PAGES(FILE_PAGES)));
	p = map_shared(memory, FILE_PAGES);
	q = map_shared(traced, FILE_PAGES);
	store_all(p, 2);
	store_all(q, 1);
	assert_ok(quire_msync(q, PAGES(FILE_PAGES), MS_SYNC));
	store_all(q, 2);
	(void)fd;
	lose_descriptors(own);
	assert_true(quire_msync(q, PAGES(FILE_PAGES), MS_SYNC) < 0);
	assert_true(quire_shm_open("/closed", O_RDWR | O_TRUNC, 0) < 0);
	(void)quire_madvise(p, PAGES(FILE_PAGES), MADV_OUT);
	(void)quire_madvise(p, PAGES(1), MADV_REMOVE);
	usleep(600000);
	check_own(own);
	(void)quire_shm_unlink("/closed");
	(void)quire_munmap(q, PAGES(FILE_PAGES));
	(void)quire_munmap(p, PAGES(FILE_PAGES));
	usleep(600000);
	check_own(own);
}

static void other_files_are_not_cut_as_memory_is(void **state)
{
	char path[FILE_PATH_MAX], trace[FILE_PATH_MAX + 16];
	int fd = file_named(PAGES(FILE_PAGES), path);

	(void)state;
	make_strangers();
	in_child(lose_memory, fd, path, BY_EXIT);
	snprintf(trace, sizeof(trace), "%s.trace", path);
	unlink(trace);
	for (size_t i = 0; i < FILE_PAGES; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 1);
}

static const struct conformance_test tests[] = {
    TEST_BEFORE_START(other_files_are_not_touched, ""),
    TEST_BEFORE_START(other_files_are_not_touched_by_the_end_of_the_program, ""),
    TEST_BEFORE_START(missing_pages_are_not_born_as_zeros, ""),
    TEST_BEFORE_START(other_files_are_no_journals, ""),
    TEST_BEFORE_START(other_files_are_not_cut_as_memory_is, ""),
    TEST_BEFORE_START(other_files_are_not_opened_in_the_place_of_the_file, ""),
};

CONFORMANCE_MAIN(tests)
