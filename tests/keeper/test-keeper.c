/* SPDX-License-Identifier: MIT */
/*
 * test-keeper.c - when there is a keeper, what of it can be seen, and what it writes
 *
 * This process never has an engine: each test's program is a child, which comes with its keeper to its end under this process's eyes, since
 * orphans are given to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <quire/quire.h>
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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE  ((size_t)4096)
#define PAGES 64
#define RW    (PROT_READ | PROT_WRITE)

static char path[4096];
static int fd; /* of the file, zeros, opened anew for each test */

/* In the child. */
#define MUST(condition)                                                                                                            \
	do {                                                                                                                       \
		if (!(condition)) {                                                                                                \
			fprintf(stderr, "# %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno));                    \
			_exit(99);                                                                                                 \
		}                                                                                                                  \
	} while (0)

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(path, sizeof(path), "%s/quire-keeper-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	fd = mkstemp(path);
	return fd >= 0 && ftruncate(fd, (off_t)(PAGES * PAGE)) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	close(fd);
	unlink(path);
	unsetenv("QUIRE_KEEPER");
	return 0;
}

static char *map(int prot, int flags)
{
	char *p = quire_mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);

	MUST(p != MAP_FAILED);
	return p;
}

static void store_all(char *p, char value)
{
	for (size_t i = 0; i < PAGES; i++)
		p[i * PAGE] = value;
}

static void assert_all(char value)
{
	for (size_t i = 0; i < PAGES; i++) {
		char byte;

		assert_int_equal(pread(fd, &byte, 1, (off_t)(i * PAGE)), 1);
		assert_int_equal(byte, value);
	}
}

/* The parent of a process, if that is a keeper; else 0. */
static pid_t keeper_of(pid_t pid)
{
	char name[64], text[512];
	FILE *file;
	int parent = 0;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	file = fopen(name, "re");
	if (file && fgets(text, sizeof(text), file) && strstr(text, "(quire-keeper)"))
		sscanf(strrchr(text, ')') + 2, "%*c %d", &parent);
	if (file)
		fclose(file);
	return parent;
}

/* The keeper of a process; 0: none. Processes that are numbered soon after it are looked at, and then all. */
static pid_t find_keeper(pid_t pid)
{
	for (pid_t other = pid + 1; other < pid + 200; other++)
		if (keeper_of(other) == pid)
			return other;
	for (pid_t other = 1; other < 70000; other++)
		if (kill(other, 0) == 0 && keeper_of(other) == pid)
			return other;
	return 0;
}

/* A child, which runs what follows and ends by status 0 if it comes to the end of that. */
#define CHILD(pid) for (pid = fork(); pid == 0; _exit(0), pid++) /* which clang wants to see change */

static int status_of(pid_t pid)
{
	int status = -1;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void ends_well(pid_t pid)
{
	int status = status_of(pid);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Keepers that have lost their process are this one's children. */
static void wait_for_keepers(void)
{
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		;
}

static void is_ended_by(pid_t pid, int number)
{
	int status = status_of(pid);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), number);
	wait_for_keepers();
}

/* ---- when there is one ---- */

static void it_comes_with_the_first_mapping_that_can_be_stored_to(void **state)
{
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		char *p = map(PROT_READ, MAP_SHARED), *q = map(RW, MAP_PRIVATE);

		q[0] = p[0];
		MUST(quire_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
		MUST(find_keeper(getpid()) == 0);
		(void)map(RW, MAP_SHARED);
		MUST(find_keeper(getpid()) > 0);
	}
	ends_well(pid);
	wait_for_keepers();
}

static void it_comes_when_a_mapping_is_made_writable(void **state)
{
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		char *p = map(PROT_READ, MAP_SHARED);

		MUST(find_keeper(getpid()) == 0);
		MUST(quire_mprotect(p, PAGES * PAGE, RW) == 0);
		MUST(find_keeper(getpid()) > 0);
		store_all(p, 1);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	assert_all(1);
}

static void it_does_not_come_where_it_is_not_wanted(void **state)
{
	pid_t pid;

	(void)state;
	setenv("QUIRE_KEEPER", "off", 1);
	CHILD(pid)
	{
		struct quire_config config = {.size = sizeof(config), .keeper = QUIRE_KEEPER_ON};

		(void)map(RW, MAP_SHARED);
		MUST(find_keeper(getpid()) == 0);
		/* The program's word is before the environment's. */
		if (fork() == 0) {
			MUST(quire_configure(&config) < 0 && errno == EBUSY);
			_exit(0);
		}
	}
	ends_well(pid);
	CHILD(pid)
	{
		struct quire_config config = {.size = sizeof(config), .keeper = QUIRE_KEEPER_ON};

		MUST(quire_configure(&config) == 0);
		(void)map(RW, MAP_SHARED);
		MUST(find_keeper(getpid()) > 0);
	}
	ends_well(pid);
	wait_for_keepers();
}

static void a_setting_that_is_none_is_refused(void **state)
{
	pid_t pid;

	(void)state;
	setenv("QUIRE_KEEPER", "perhaps", 1);
	CHILD(pid)
	{
		MUST(quire_mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
		MUST(strstr(quire_errormsg(), "QUIRE_KEEPER is «perhaps»; it can be on or off"));
	}
	ends_well(pid);
	unsetenv("QUIRE_KEEPER");
	CHILD(pid)
	{
		struct quire_config config = {.size = sizeof(config), .keeper = 3};

		MUST(quire_configure(&config) < 0 && errno == EINVAL);
	}
	ends_well(pid);
}

/* A clone that no debugger is to see is refused: nothing else of this process asks for that. */
static void refuse_keepers(void)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
	    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_UNTRACED, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void one_that_cannot_be_started_is_done_without_and_that_is_said_once(void **state)
{
	char text[1000] = "";
	int pipes[2];
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	CHILD(pid)
	{
		char *p;

		dup2(pipes[1], STDERR_FILENO);
		refuse_keepers();
		p = map(RW, MAP_SHARED);
		(void)map(RW, MAP_SHARED);
		store_all(p, 1);
		MUST(quire_msync(p, PAGES * PAGE, MS_SYNC) == 0);
		exit(0);
	}
	close(pipes[1]);
	ends_well(pid);
	n = read(pipes[0], text, sizeof(text) - 1);
	close(pipes[0]);
	assert_true(n > 0);
	assert_non_null(strstr(text, "quire: no keeper could be started: Operation not permitted"));
	assert_null(strstr(strchr(text, '\n') + 1, "keeper"));
	assert_all(1);
}

/* ---- what is seen of it ---- */

static void no_wait_of_the_program_sees_it(void **state)
{
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		(void)map(RW, MAP_SHARED);
		MUST(wait(NULL) < 0 && errno == ECHILD);
		MUST(find_keeper(getpid()) > 0);
		exit(0);
	}
	ends_well(pid);
	wait_for_keepers();
}

static void the_program_can_be_stopped_and_continued(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 3);
		raise(SIGSTOP);
		raise(SIGKILL);
	}
	/* Where a thread of it could not be stopped this would wait for ever. */
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	is_ended_by(pid, SIGKILL);
	assert_all(3);
}

static void nothing_is_left_of_it_when_a_program_exits(void **state)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		MUST(fcntl(fd, F_SETLK, &lock) == 0);
		store_all(map(RW, MAP_SHARED), 4);
		exit(0);
	}
	ends_well(pid);
	assert_int_equal(waitpid(-1, NULL, __WALL), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(fcntl(fd, F_SETLK, &lock), 0);
	assert_all(4);
}

static void a_program_whose_keeper_is_killed_goes_on(void **state)
{
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		char *p = map(RW, MAP_SHARED);

		MUST(kill(find_keeper(getpid()), SIGKILL) == 0);
		store_all(p, 5);
		MUST(quire_msync(p, PAGES * PAGE, MS_SYNC) == 0);
		store_all(p, 6);
		exit(0);
	}
	ends_well(pid);
	assert_all(6);
}

static void a_kill_of_the_group_does_not_reach_it(void **state)
{
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		setpgid(0, 0);
		store_all(map(RW, MAP_SHARED), 7);
		kill(0, SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	assert_all(7);
}

static void record_locks_are_held_until_all_is_written(void **state)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int status, ready[2];
	pid_t pid, waiter;
	char byte;

	(void)state;
	for (int round = 1; round <= 20; round++) {
		assert_int_equal(pipe(ready), 0);
		CHILD(pid)
		{
			MUST(fcntl(fd, F_SETLK, &lock) == 0);
			store_all(map(RW, MAP_SHARED), (char)round);
			MUST(write(ready[1], "", 1) == 1);
			pause();
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		CHILD(waiter)
		{
			int own = open(path, O_RDWR);

			MUST(write(ready[1], "", 1) == 1);
			MUST(fcntl(own, F_SETLKW, &lock) == 0);
			for (size_t i = 0; i < PAGES; i++)
				MUST(pread(own, &byte, 1, (off_t)(i * PAGE)) == 1 && byte == round);
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(waiter, &status, 0), waiter);
		assert_int_equal(status, 0);
		is_ended_by(pid, SIGKILL);
		close(ready[0]);
		close(ready[1]);
	}
}

static void pipes_end_with_the_program(void **state)
{
	int pipes[2];
	pid_t pid;
	char byte;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 8);
		raise(SIGKILL);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	is_ended_by(pid, SIGKILL);
	assert_all(8);
}

/* ---- what it writes ---- */

static void ends_by(void (*end)(void), int number)
{
	pid_t pid;

	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 9);
		end();
	}
	if (number) {
		is_ended_by(pid, number);
	} else {
		ends_well(pid);
		wait_for_keepers();
	}
	assert_all(9);
}

static void by_fault(void)
{
	volatile char *volatile nowhere = NULL;

	/* The test's own handler would catch it. */
	signal(SIGSEGV, SIG_DFL);
	*nowhere = 1;
}

static void by__exit(void)
{
	_exit(0);
}

static void by_exec(void)
{
	execl("/bin/true", "true", NULL);
}

static void stores_survive_a_fault(void **state)
{
	(void)state;
	ends_by(by_fault, SIGSEGV);
}

static void stores_survive_abort(void **state)
{
	(void)state;
	ends_by(abort, SIGABRT);
}

static void stores_survive__exit(void **state)
{
	(void)state;
	ends_by(by__exit, 0);
}

static void stores_survive_exec(void **state)
{
	(void)state;
	ends_by(by_exec, 0);
}

/* The keeper does not wait for the end of what was executed. */
static void by_exec_of_what_waits(void)
{
	execl("/bin/sleep", "sleep", "1000", NULL);
}

static void stores_before_exec_are_written_while_the_program_runs(void **state)
{
	struct timespec moment = {.tv_nsec = 1000000};
	char byte = 0;
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 9);
		by_exec_of_what_waits();
	}
	while (pread(fd, &byte, 1, (off_t)((PAGES - 1) * PAGE)) == 1 && byte != 9)
		nanosleep(&moment, NULL);
	kill(pid, SIGKILL);
	is_ended_by(pid, SIGKILL);
	assert_all(9);
}

static void private_stores_are_nobodys_business(void **state)
{
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		char *p = map(RW, MAP_SHARED), *q = map(RW, MAP_PRIVATE);

		store_all(p, 1);
		store_all(q, 2);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	assert_all(1);
}

static void a_file_that_was_cut_by_another_is_not_made_longer(void **state)
{
	struct stat st;
	int ready[2];
	pid_t pid;
	char byte;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 1);
		MUST(write(ready[1], "", 1) == 1);
		pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(ftruncate(fd, (off_t)(10 * PAGE + 1)), 0);
	kill(pid, SIGKILL);
	is_ended_by(pid, SIGKILL);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 10 * PAGE + 1);
	close(ready[0]);
	close(ready[1]);
}

static void what_another_has_written_to_a_page_that_was_only_read_stays(void **state)
{
	char byte = 'x', read_back[2];
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		volatile char *p = map(RW, MAP_SHARED);

		for (size_t i = 0; i < PAGES; i++)
			(void)p[i * PAGE];
		p[3 * PAGE] = 'p';
		MUST(pwrite(fd, &byte, 1, (off_t)(7 * PAGE)) == 1);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	assert_int_equal(pread(fd, read_back, 1, (off_t)(7 * PAGE)), 1);
	assert_int_equal(read_back[0], 'x');
	assert_int_equal(pread(fd, read_back, 1, (off_t)(3 * PAGE)), 1);
	assert_int_equal(read_back[0], 'p');
}

/* The entries of a huge frame look like those of pages that were stored to. */
static void what_another_has_written_under_a_huge_frame_stays(void **state)
{
	const size_t huge = (size_t)2 << 20;
	char byte = 'x';
	pid_t pid;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)(2 * huge)), 0);
	CHILD(pid)
	{
		char *p, *q;

		MUST(quire_set_memory(8 * huge) == 0);
		p = quire_mmap(NULL, huge, PROT_READ, MAP_SHARED, fd, 0);
		q = quire_mmap(NULL, PAGE, RW, MAP_SHARED, fd, (off_t)huge);
		MUST(p != MAP_FAILED && q != MAP_FAILED);
		*q = 'q';
		/* EINVAL: the kernel has none. */
		MUST(quire_madvise(p, huge, 25 /* MADV_COLLAPSE */) == 0 || errno == EINVAL);
		MUST(pwrite(fd, &byte, 1, (off_t)(7 * PAGE)) == 1);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	assert_int_equal(pread(fd, &byte, 1, (off_t)(7 * PAGE)), 1);
	assert_int_equal(byte, 'x');
	assert_int_equal(pread(fd, &byte, 1, (off_t)huge), 1);
	assert_int_equal(byte, 'q');
}

static void an_atomic_file_is_left_at_its_last_commit(void **state)
{
	char other[4200];
	pid_t pid;

	(void)state;
	snprintf(other, sizeof(other), "%s-plain", path);
	CHILD(pid)
	{
		int plain = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
		char *p = map(RW, MAP_SHARED | QUIRE_MAP_ATOMIC), *q;

		MUST(ftruncate(plain, (off_t)PAGE) == 0);
		q = quire_mmap(NULL, PAGE, RW, MAP_SHARED, plain, 0);
		MUST(q != MAP_FAILED);
		store_all(p, 1);
		MUST(quire_msync(p, PAGES * PAGE, MS_SYNC) == 0);
		store_all(p, 2);
		q[0] = 3;
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	CHILD(pid)
	{
		char *p = map(PROT_READ, MAP_SHARED | QUIRE_MAP_ATOMIC), byte;
		int plain = open(other, O_RDONLY);

		for (size_t i = 0; i < PAGES; i++)
			MUST(p[i * PAGE] == 1);
		MUST(read(plain, &byte, 1) == 1 && byte == 3);
		MUST(quire_munmap(p, PAGES * PAGE) == 0);
	}
	ends_well(pid);
	unlink(other);
}

static int page_out(void *arg, off_t offset, void *bytes, size_t len)
{
	(void)arg;
	(void)offset;
	for (size_t i = 0; i < len; i++)
		((char *)bytes)[i] ^= 0x55;
	return 0;
}

static void what_only_the_program_can_write_is_lost_and_that_is_said(void **state)
{
	char text[1000] = "";
	int pipes[2];
	ssize_t n = 0, got;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	CHILD(pid)
	{
		struct quire_page_hooks hooks = {.size = sizeof(hooks), .page_in = page_out, .page_out = page_out};
		char *p;

		dup2(pipes[1], STDERR_FILENO);
		close(pipes[1]);
		p = map(RW, MAP_SHARED);
		MUST(quire_set_page_hooks(p, &hooks) == 0);
		store_all(p, 1);
		raise(SIGKILL);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], text + n, sizeof(text) - 1 - (size_t)n)) > 0)
		n += got;
	close(pipes[0]);
	is_ended_by(pid, SIGKILL);
	assert_non_null(strstr(text, "functions of its own"));
	assert_all(0);
}

/* ---- a program that closes what it does not know ---- */

#define FOREIGN 200

/* All numbers that the engine's descriptors have had are of another file, which has no byte that is not 'f'. */
static void take_all_numbers(const char *other)
{
	int first = open(other, O_RDWR);

	MUST(first >= 0);
	while (dup(first) < FOREIGN)
		;
}

static int make_other(char *name)
{
	char bytes[PAGES * PAGE];
	int other;

	snprintf(name, 4200, "%s-other", path);
	other = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	memset(bytes, 'f', sizeof(bytes));
	assert_int_equal(write(other, bytes, sizeof(bytes)), sizeof(bytes));
	return other;
}

static void is_all_foreign(int other)
{
	char bytes[PAGES * PAGE + 1];

	assert_int_equal(pread(other, bytes, sizeof(bytes), 0), PAGES * PAGE);
	for (size_t i = 0; i < PAGES * PAGE; i++)
		assert_int_equal(bytes[i], 'f');
	close(other);
}

static void stores_survive_closefrom_and_go_to_no_other_file(void **state)
{
	char name[4200];
	int other = make_other(name);
	pid_t pid;

	(void)state;
	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 13);
		closefrom(3);
		take_all_numbers(name);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	is_all_foreign(other);
	unlink(name);
	assert_all(13);
}

/* There is no way to it any more but the program's own descriptor. */
static void stores_survive_closefrom_where_the_file_has_no_name(void **state)
{
	char name[4200];
	int other = make_other(name), own;
	pid_t pid;

	(void)state;
	own = open(path, O_RDWR);
	unlink(path);
	CHILD(pid)
	{
		store_all(map(RW, MAP_SHARED), 14);
		MUST(dup2(own, 250) == 250);
		close_range(3, 249, 0);
		take_all_numbers(name);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	is_all_foreign(other);
	unlink(name);
	assert_all(14);
	close(own);
}

static void stores_that_cannot_be_written_after_closefrom_are_lost_and_that_is_said(void **state)
{
	char name[4200], text[1000] = "";
	int other = make_other(name), pipes[2];
	ssize_t n = 0, got;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	unlink(path);
	CHILD(pid)
	{
		dup2(pipes[1], STDERR_FILENO);
		store_all(map(RW, MAP_SHARED), 15);
		closefrom(3);
		take_all_numbers(name);
		raise(SIGKILL);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], text + n, sizeof(text) - 1 - (size_t)n)) > 0)
		n += got;
	close(pipes[0]);
	is_ended_by(pid, SIGKILL);
	assert_non_null(strstr(text, "cannot be written: Bad file descriptor"));
	is_all_foreign(other);
	unlink(name);
	assert_all(0);
}

/* ---- a program that becomes another user ---- */

#define ANOTHER 65534

/* Its keeper stays who the program was: another user, whom it may not send a signal. */
static void need_rights(void)
{
	if (geteuid() != 0) {
		print_message("# only root may become another user\n");
		skip();
	}
}

static void become_another(void)
{
	MUST(setgid(ANOTHER) == 0 && setuid(ANOTHER) == 0 && geteuid() == ANOTHER);
}

static void stores_of_another_user_than_the_mappings_survive(void **state)
{
	pid_t pid;

	(void)state;
	need_rights();
	CHILD(pid)
	{
		char *p = map(RW, MAP_SHARED);

		p[0] = 1;
		become_another();
		store_all(p, 10);
		raise(SIGKILL);
	}
	is_ended_by(pid, SIGKILL);
	assert_all(10);
}

static void a_program_that_has_become_another_user_exits(void **state)
{
	pid_t pid;

	(void)state;
	need_rights();
	CHILD(pid)
	{
		char *p = map(RW, MAP_SHARED);

		become_another();
		store_all(p, 11);
		exit(0);
	}
	ends_well(pid);
	assert_int_equal(waitpid(-1, NULL, __WALL), -1);
	assert_int_equal(errno, ECHILD);
	assert_all(11);
}

static void a_program_that_has_become_another_user_executes(void **state)
{
	pid_t pid;

	(void)state;
	need_rights();
	CHILD(pid)
	{
		char *p = map(RW, MAP_SHARED);

		become_another();
		store_all(p, 12);
		execl("/bin/true", "true", NULL);
	}
	ends_well(pid);
	wait_for_keepers();
	assert_all(12);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(it_comes_with_the_first_mapping_that_can_be_stored_to),
	    TEST(it_comes_when_a_mapping_is_made_writable),
	    TEST(it_does_not_come_where_it_is_not_wanted),
	    TEST(a_setting_that_is_none_is_refused),
	    TEST(one_that_cannot_be_started_is_done_without_and_that_is_said_once),
	    TEST(no_wait_of_the_program_sees_it),
	    TEST(the_program_can_be_stopped_and_continued),
	    TEST(nothing_is_left_of_it_when_a_program_exits),
	    TEST(a_program_whose_keeper_is_killed_goes_on),
	    TEST(a_kill_of_the_group_does_not_reach_it),
	    TEST(record_locks_are_held_until_all_is_written),
	    TEST(pipes_end_with_the_program),
	    TEST(stores_survive_a_fault),
	    TEST(stores_survive_abort),
	    TEST(stores_survive__exit),
	    TEST(stores_survive_exec),
	    TEST(stores_before_exec_are_written_while_the_program_runs),
	    TEST(stores_survive_closefrom_and_go_to_no_other_file),
	    TEST(stores_survive_closefrom_where_the_file_has_no_name),
	    TEST(stores_that_cannot_be_written_after_closefrom_are_lost_and_that_is_said),
	    TEST(stores_of_another_user_than_the_mappings_survive),
	    TEST(a_program_that_has_become_another_user_exits),
	    TEST(a_program_that_has_become_another_user_executes),
	    TEST(private_stores_are_nobodys_business),
	    TEST(a_file_that_was_cut_by_another_is_not_made_longer),
	    TEST(what_another_has_written_to_a_page_that_was_only_read_stays),
	    TEST(what_another_has_written_under_a_huge_frame_stays),
	    TEST(an_atomic_file_is_left_at_its_last_commit),
	    TEST(what_only_the_program_can_write_is_lost_and_that_is_said),
	};

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
