/* SPDX-License-Identifier: MIT */
/*
 * test-claim.c - two processes with an engine each, and one file: the second that would store to it is told who has it
 *
 * The test itself has no engine, so that each child has its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <quire/quire.h>

#define RW   (PROT_READ | PROT_WRITE)
#define PAGE 4096

#define EXPECT(what)                                                                                                               \
	do {                                                                                                                       \
		if (!(what)) {                                                                                                     \
			fprintf(stderr, "# %s:%d: %s (%s)\n", __func__, __LINE__, #what, quire_errormsg());                        \
			_exit(1);                                                                                                  \
		}                                                                                                                  \
	} while (0)

static int file;
static _Atomic unsigned *turn; /* how far they are */

static int begin(void **state)
{
	(void)state;
	file = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, 4 * PAGE) < 0)
		return -1;
	turn = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return turn == MAP_FAILED ? -1 : 0;
}

static int finish(void **state)
{
	(void)state;
	munmap((void *)turn, PAGE);
	return close(file);
}

static void await(unsigned least)
{
	while (atomic_load(turn) < least)
		usleep(500);
}

static pid_t run(int (*main)(void))
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	_exit(main());
}

static int end_of(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static char *map(int prot, int flags)
{
	return quire_mmap(NULL, 4 * PAGE, prot, flags, file, 0);
}

/* ---- those who have it ---- */

static int have_it(void)
{
	char *p = map(RW, MAP_SHARED);

	EXPECT(p != MAP_FAILED);
	p[0] = 1;
	atomic_store(turn, 1);
	await(2);
	EXPECT(quire_munmap(p, 4 * PAGE) == 0);
	/* It may be told to end at once. */
	atomic_compare_exchange_strong(turn, &(unsigned){2}, 3);
	await(4);
	return 0;
}

/* Descriptors of the same number that are something else must not be locked, nor the claim be given up by a child. */
static int have_it_with_a_child(void)
{
	char *p = map(RW, MAP_SHARED);
	pid_t child;

	EXPECT(p != MAP_FAILED);
	child = fork();
	EXPECT(child >= 0);
	if (child == 0) {
		char *q = map(RW, MAP_SHARED);

		EXPECT(q != MAP_FAILED);
		q[1] = 7;
		_exit(0);
	}
	EXPECT(end_of(child) == 0 && p[1] == 7);
	child = vfork();
	if (child == 0)
		execl("/bin/true", "true", NULL);
	EXPECT(end_of(child) == 0);
	atomic_store(turn, 1);
	await(2);
	return 0;
}

static int become_another_program(void)
{
	EXPECT(map(RW, MAP_SHARED) != MAP_FAILED);
	execl("/bin/sleep", "sleep", "600", NULL);
	return 1;
}

/* ---- those who want it ---- */

static int refused(void)
{
	EXPECT(map(RW, MAP_SHARED) == MAP_FAILED && errno == EBUSY);
	return 0;
}

static int granted(void)
{
	char *p = map(RW, MAP_SHARED);

	EXPECT(p != MAP_FAILED);
	p[2] = 1;
	return 0;
}

static pid_t owner;

static int told_who_has_it(void)
{
	char number[32];

	snprintf(number, sizeof(number), "process %d (", (int)owner);
	EXPECT(map(RW, MAP_SHARED) == MAP_FAILED && errno == EBUSY);
	EXPECT(strstr(quire_errormsg(), number) && strstr(quire_errormsg(), "(test-claim)"));
	EXPECT(strstr(quire_errormsg(), "QUIRE_SERVER") && strstr(quire_errormsg(), "QUIRE_SHARE_FILES"));
	return 0;
}

static int read_it(void)
{
	char *p = map(PROT_READ, MAP_SHARED), *q = map(RW, MAP_PRIVATE);

	EXPECT(p != MAP_FAILED && q != MAP_FAILED);
	q[0] = 5;
	EXPECT(quire_mprotect(p, 4 * PAGE, RW) < 0 && errno == EBUSY);
	EXPECT(p[2] == 0);
	/* Nothing has come of it. */
	EXPECT(quire_mprotect(p, 4 * PAGE, PROT_READ) == 0 && quire_mprotect(q, 4 * PAGE, RW) == 0);
	return 0;
}

static int store_by_protection(void)
{
	char *p = map(PROT_READ, MAP_SHARED);

	EXPECT(p != MAP_FAILED && quire_mprotect(p, 4 * PAGE, RW) == 0);
	p[3] = 1;
	atomic_store(turn, 1);
	await(2);
	return 0;
}

/* ---- tests ---- */

static void second_engine_that_would_store_is_told_who_has_the_file(void **state)
{
	(void)state;
	owner = run(have_it);
	await(1);
	assert_int_equal(end_of(run(told_who_has_it)), 0);
	assert_int_equal(end_of(run(read_it)), 0);
	atomic_store(turn, 2);
	await(3);
	/* It has unmapped it, and lives. */
	assert_int_equal(end_of(run(granted)), 0);
	atomic_store(turn, 4);
	assert_int_equal(end_of(owner), 0);
}

static void mapping_that_is_made_writable_later_counts_from_then_on(void **state)
{
	(void)state;
	owner = run(store_by_protection);
	await(1);
	assert_int_equal(end_of(run(refused)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(owner), 0);
	assert_int_equal(end_of(run(granted)), 0);
}

static void file_of_a_process_that_is_killed_is_free(void **state)
{
	(void)state;
	owner = run(have_it);
	await(1);
	assert_int_equal(end_of(run(refused)), 0);
	kill(owner, SIGKILL);
	assert_int_equal(end_of(owner), -SIGKILL);
	assert_int_equal(end_of(run(granted)), 0);
}

static void children_of_its_process_have_the_file_and_do_not_give_it_up(void **state)
{
	(void)state;
	owner = run(have_it_with_a_child);
	await(1);
	assert_int_equal(end_of(run(refused)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(owner), 0);
}

static void file_of_a_process_that_has_called_exec_is_free(void **state)
{
	char name[64], comm[32] = "";
	int fd;

	(void)state;
	owner = run(become_another_program);
	snprintf(name, sizeof(name), "/proc/%d/comm", (int)owner);
	while (strcmp(comm, "sleep\n") != 0) {
		ssize_t n;

		usleep(1000);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		n = read(fd, comm, sizeof(comm) - 1);
		comm[n > 0 ? n : 0] = '\0';
		close(fd);
	}
	assert_int_equal(end_of(run(granted)), 0);
	kill(owner, SIGKILL);
	assert_int_equal(end_of(owner), -SIGKILL);
}

static void processes_that_share_files_do_so_with_one_another(void **state)
{
	(void)state;
	setenv("QUIRE_SHARE_FILES", "1", 1);
	owner = run(have_it);
	await(1);
	assert_int_equal(end_of(run(granted)), 0);
	unsetenv("QUIRE_SHARE_FILES");
	assert_int_equal(end_of(run(refused)), 0);
	atomic_store(turn, 4);
	assert_int_equal(end_of(owner), 0);
	/* One that does not share is not to be shared with. */
	atomic_store(turn, 0);
	owner = run(have_it);
	await(1);
	setenv("QUIRE_SHARE_FILES", "1", 1);
	assert_int_equal(end_of(run(refused)), 0);
	unsetenv("QUIRE_SHARE_FILES");
	atomic_store(turn, 4);
	assert_int_equal(end_of(owner), 0);
}

/* The number of the file of claims becomes another's: that is not locked, and claims go on. */
static int close_all_and_map(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int again = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), other;
	char *p;

	EXPECT(map(RW, MAP_SHARED) != MAP_FAILED);
	for (int fd = 3; fd < 64; fd++) {
		char name[64], target[64];
		ssize_t n;

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		n = readlink(name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (strncmp(target, "/dev/shm/quire-claims", 21) == 0)
			EXPECT(dup3(again, fd, O_CLOEXEC) == fd);
	}
	other = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	EXPECT(other >= 0 && ftruncate(other, PAGE) == 0);
	p = quire_mmap(NULL, PAGE, RW, MAP_SHARED, other, 0);
	EXPECT(p != MAP_FAILED);
	if (fork() == 0)
		_exit(fcntl(again, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK ? 0 : 1);
	EXPECT(end_of(-1) == 0);
	return 0;
}

static void descriptor_that_the_program_has_replaced_is_not_locked(void **state)
{
	(void)state;
	assert_int_equal(end_of(run(close_all_and_map)), 0);
}

/* Each file is gone with its mapping, which is the last that has it, and the next one has its number, whoever makes it. */
static int map_many(void)
{
	for (unsigned i = 0; i < 3000; i++) {
		int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		char *p;

		EXPECT(fd >= 0 && ftruncate(fd, PAGE) == 0);
		p = quire_mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
		EXPECT(p != MAP_FAILED);
		close(fd);
		p[0] = 1;
		EXPECT(quire_munmap(p, PAGE) == 0);
	}
	return 0;
}

static void number_of_a_file_that_is_gone_is_free(void **state)
{
	pid_t others[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		others[i] = run(map_many);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(end_of(others[i]), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(second_engine_that_would_store_is_told_who_has_the_file),
	    TEST(mapping_that_is_made_writable_later_counts_from_then_on),
	    TEST(file_of_a_process_that_is_killed_is_free),
	    TEST(children_of_its_process_have_the_file_and_do_not_give_it_up),
	    TEST(file_of_a_process_that_has_called_exec_is_free),
	    TEST(processes_that_share_files_do_so_with_one_another),
	    TEST(descriptor_that_the_program_has_replaced_is_not_locked),
	    TEST(number_of_a_file_that_is_gone_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
