/* SPDX-License-Identifier: MIT */
/*
 * victim.c - a program that knows nothing of Quire, and does what is hard on whoever stands between it and the kernel
 *
 *      victim WHAT FILE
 *
 * FILE is 4 MiB of zeros. Each of these maps it, stores into it, and has to see what the kernel would have it see: exit status 0. What is
 * in the file afterwards is for the test to look at.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BYTES ((size_t)4 << 20)
#define PAGE  4096

extern char **environ;
static const char *self, *path;

#define MUST(condition)                                                                                                            \
	do {                                                                                                                       \
		if (!(condition)) {                                                                                                \
			fprintf(stderr, "%s:%d: %s (errno: %s)\n", __FILE__, __LINE__, #condition, strerror(errno));               \
			fflush(stderr);                                                                                            \
			_exit(1);                                                                                                  \
		}                                                                                                                  \
	} while (0)

static int open_file(void)
{
	int fd = open(path, O_RDWR);

	MUST(fd >= 0);
	return fd;
}

static char *map_file(int fd)
{
	char *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	MUST(map != MAP_FAILED);
	return map;
}

static void store_all(char *map)
{
	for (size_t i = 0; i < BYTES; i += PAGE)
		map[i] = (char)(i / PAGE + 1);
}

static bool has_all(const char *map)
{
	for (size_t i = 0; i < BYTES; i += PAGE)
		if (map[i] != (char)(i / PAGE + 1))
			return false;
	return true;
}

/* ---- descriptors ---- */

static int closes_everything(void)
{
	char *map = map_file(open_file());

	store_all(map);
	for (int fd = 3; fd < 70000; fd++)
		close(fd);
	MUST(close_range(3, ~0u, 0) == 0);
	closefrom(3);
	MUST(has_all(map));
	store_all(map);
	/* The lowest numbers are the program's. */
	MUST(open_file() == 3 && dup(3) == 4);
	MUST(msync(map, BYTES, MS_SYNC) == 0);
	return 0;
}

static int few_descriptors(void)
{
	struct rlimit limit = {64, 64};
	char *map;

	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	map = map_file(open_file());
	store_all(map);
	MUST(has_all(map) && open_file() == 4);
	return 0;
}

static int keeps_locks(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};
	int fd = open_file(), status;
	char *map;
	pid_t pid;

	MUST(fcntl(fd, F_SETLK, &lock) == 0);
	for (unsigned i = 0; i < 5; i++) {
		map = map_file(fd);
		store_all(map);
		MUST(munmap(map, BYTES) == 0);
	}
	MUST(truncate(path, (off_t)BYTES) == 0);
	pid = fork();
	if (pid == 0) {
		lock.l_pid = 0;
		_exit(fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK ? 0 : 1);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	return 0;
}

/* What the child of a vfork does with its descriptors is its own affair, though it has the parent's memory. */
static int vforks_and_closes(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 1};
	int fd = open_file(), status;
	char *map = map_file(fd);
	pid_t pid;

	store_all(map);
	MUST(pread(fd, map + PAGE, 1, 0) == 1);
	MUST(fcntl(fd, F_SETLK, &lock) == 0);
	pid = vfork();
	if (pid == 0) {
		close(fd);
		if (open("/dev/null", O_RDWR) != fd || write(fd, "away", 4) != 4 || dup2(fd, 100) != 100)
			_exit(1);
		closefrom(3);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	MUST(pwrite(fd, "here", 4, PAGE) == 4 && memcmp(map + PAGE, "here", 4) == 0);
	MUST(munmap(map, BYTES) == 0);
	pid = fork();
	if (pid == 0)
		_exit(fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK ? 0 : 1);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	return 0;
}

/* ---- writes that say by themselves where they go ---- */

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

static int writes_at_the_end(void)
{
	static char buf[BYTES];
	int fd = open_file(), appends = open(path, O_RDWR | O_APPEND);
	char *map = map_file(fd);
	struct iovec iov = {(char *)(uintptr_t) "abc", 3};
	off_t end = (off_t)(BYTES / 2) + 100;

	MUST(ftruncate(fd, end) == 0);
	store_all((char *)memset(buf, 0, BYTES));
	memset(map, 'x', (size_t)end);
	MUST(pwritev2(fd, &iov, 1, 0, RWF_APPEND) == 3);
	MUST(map[0] == 'x' && memcmp(map + end, "abc", 3) == 0);
	MUST(lseek(fd, 5, SEEK_SET) == 5 && pwritev2(fd, &iov, 1, -1, RWF_APPEND) == 3);
	MUST(lseek(fd, 0, SEEK_CUR) == end + 6 && memcmp(map + end, "abcabc", 6) == 0 && map[5] == 'x' && map[2] == 'x');
	/* At its end whatever the offset. */
	MUST(pwrite(appends, "def", 3, 7) == 3 && memcmp(map + end, "abcabcdef", 9) == 0 && map[7] == 'x');
	if (pwritev2(appends, &iov, 1, 7, RWF_NOAPPEND) == 3)
		MUST(memcmp(map + 7, "abcx", 4) == 0 && map[end + 9] == 0);
	else
		MUST(errno == EOPNOTSUPP || errno == EINVAL);
	MUST(pread(fd, buf, BYTES, 0) == end + 9 && memcmp(buf, map, (size_t)end + 9) == 0);
	return 0;
}

/* ---- streams, and calls by their numbers ---- */

static void fill_pipe(const int pipes[2], const char *text)
{
	MUST(write(pipes[1], text, strlen(text)) == (ssize_t)strlen(text));
}

static FILE *open_stream(const char *mode)
{
	FILE *file = fopen(path, mode);

	MUST(file);
	return file;
}

static void put_at(FILE *file, long at, const char *text)
{
	MUST(fseek(file, at, SEEK_SET) == 0 && fputs(text, file) >= 0);
}

static int writes_by_streams(void)
{
	int fd = open_file();
	char *map = map_file(fd);
	FILE *file, *another;

	store_all(map);
	file = open_stream("r+");
	another = open_stream("r+");
	put_at(file, 10, "one");
	put_at(another, PAGE + 10, "two");
	/* In memory, and one of them stored to. */
	map[100] = 'x';
	MUST(map[10] == 0 && map[PAGE + 10] == 0);
	MUST(fflush(NULL) == 0 && memcmp(map + 10, "one", 4) == 0 && memcmp(map + PAGE + 10, "two", 4) == 0);
	MUST(has_all(map));
	put_at(file, 20, "three");
	MUST(fflush_unlocked(file) == 0 && memcmp(map + 20, "three", 6) == 0);
	put_at(file, 30, "four");
	MUST((file = freopen("/dev/null", "r+", file)) && memcmp(map + 30, "four", 5) == 0);
	put_at(another, 40, "five");
	MUST((another = freopen(NULL, "r+", another)) && memcmp(map + 40, "five", 5) == 0);
	put_at(another, 50, "six");
	MUST(fclose(another) == 0 && memcmp(map + 50, "six", 4) == 0 && has_all(map));
	/* Cut, and nothing of what was there comes back. */
	MUST((another = freopen(path, "w", file)) && fputs("cut", another) >= 0 && fflush(another) == 0);
	MUST(memcmp(map, "cut", 4) == 0 && map[10] == 0 && ftruncate(fd, (off_t)BYTES) == 0 && map[PAGE] == 0);
	MUST((another = freopen(NULL, "w", another)) && ftruncate(fd, (off_t)BYTES) == 0 && map[0] == 0);
	store_all(map);
	put_at(another, 60, "seven");
	fcloseall();
	MUST(memcmp(map + 60, "seven", 6) == 0 && has_all(map));
	return 0;
}

static int calls_by_number(void)
{
	char buf[100];
	struct iovec in = {buf, 5}, out = {(char *)(uintptr_t) "12345", 5};
	int fd = open_file(), pipes[2], other;
	char *map = map_file(fd);
	off_t at;

	store_all(map);
	MUST(syscall(SYS_write, fd, "abc", 3) == 3 && memcmp(map, "abc", 4) == 0);
	MUST(syscall(SYS_pwrite64, fd, "def", 3, 1) == 3 && memcmp(map, "adef", 5) == 0);
	MUST(syscall(SYS_writev, fd, &out, 1) == 5 && memcmp(map + 3, "12345", 6) == 0);
	MUST(syscall(SYS_pwritev, fd, &out, 1, 10, 0) == 5 && memcmp(map + 10, "12345", 6) == 0);
	MUST(syscall(SYS_pwritev2, fd, &out, 1, 20, 0, 0) == 5 && memcmp(map + 20, "12345", 6) == 0);
	map[11] = 'x';
	MUST(syscall(SYS_preadv, fd, &in, 1, 10, 0) == 5 && memcmp(buf, "1x345", 5) == 0);
	map[12] = 'x';
	MUST(syscall(SYS_preadv2, fd, &in, 1, 10, 0, 0) == 5 && memcmp(buf, "1xx45", 5) == 0);
	MUST(pipe(pipes) == 0);
	map[13] = 'x';
	at = 10;
	MUST(syscall(SYS_sendfile, pipes[1], fd, &at, 5) == 5 && read(pipes[0], buf, 100) == 5 && memcmp(buf, "1xxx5", 5) == 0);
	fill_pipe(pipes, "piped");
	at = 30;
	MUST(syscall(SYS_splice, pipes[0], NULL, fd, &at, 5, 0) == 5 && memcmp(map + 30, "piped", 6) == 0);
	other = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
	MUST(other >= 0 && write(other, "a", 1) == 1 && syscall(SYS_dup3, fd, other, 0) == other);
	MUST(pwrite(other, "here", 4, 40) == 4 && memcmp(map + 40, "here", 5) == 0);
	other = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_TRUNC);
	MUST(other >= 0 && ftruncate(fd, (off_t)BYTES) == 0 && map[0] == 0 && map[BYTES - PAGE] == 0);
	store_all(map);
	syscall(SYS_exit_group, 0);
	return 1;
}

/* ---- pipes ---- */

static int splices(void)
{
	struct rlimit limit = {BYTES, RLIM_INFINITY};
	char buf[100];
	int fd = open_file(), pipes[2], copies[2];
	char *map = map_file(fd);
	off_t at = PAGE + 10;

	store_all(map);
	MUST(pipe(pipes) == 0 && pipe(copies) == 0);
	/* Into the file: as much as there is, although more may come. */
	fill_pipe(pipes, "spliced");
	MUST(splice(pipes[0], NULL, fd, &at, 1000, 0) == 7 && at == PAGE + 17 && memcmp(map + PAGE + 10, "spliced", 8) == 0);
	fill_pipe(pipes, "again");
	MUST(lseek(fd, 20, SEEK_SET) == 20 && splice(pipes[0], NULL, fd, NULL, 3, 0) == 3 && lseek(fd, 0, SEEK_CUR) == 23);
	MUST(memcmp(map + 20, "aga", 4) == 0 && read(pipes[0], buf, 100) == 2 && memcmp(buf, "in", 2) == 0);
	MUST(splice(pipes[0], NULL, fd, NULL, 100, SPLICE_F_NONBLOCK) < 0 && errno == EAGAIN);
	MUST(splice(pipes[0], &at, fd, NULL, 100, 0) < 0 && errno == ESPIPE);
	/* What does not find room stays in the pipe. */
	signal(SIGXFSZ, SIG_IGN);
	MUST(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	fill_pipe(pipes, "no room");
	at = (off_t)BYTES;
	MUST(splice(pipes[0], NULL, fd, &at, 100, 0) < 0 && errno == EFBIG && at == (off_t)BYTES);
	at = (off_t)BYTES - 3;
	MUST(splice(pipes[0], NULL, fd, &at, 100, 0) == 3 && memcmp(map + BYTES - 3, "no ", 3) == 0);
	MUST(read(pipes[0], buf, 100) == 4 && memcmp(buf, "room", 4) == 0);
	/* Out of it: what is stored, and not what the file has had. */
	memcpy(map + 3 * PAGE, "stored", 6);
	at = 3 * PAGE;
	MUST(splice(fd, &at, pipes[1], NULL, 6, 0) == 6 && at == 3 * PAGE + 6);
	MUST(tee(pipes[0], copies[1], 100, 0) == 6);
	MUST(read(pipes[0], buf, 100) == 6 && memcmp(buf, "stored", 6) == 0);
	MUST(splice(copies[0], NULL, fd, &(off_t){4 * PAGE}, 100, 0) == 6 && memcmp(map + 4 * PAGE, "stored", 6) == 0);
	close(pipes[1]);
	MUST(splice(pipes[0], NULL, fd, NULL, 100, 0) == 0);
	return 0;
}

static int hands_memory_to_pipes(void)
{
	static char buf[2 * PAGE];
	int fd = open_file(), pipes[2];
	char *map = map_file(fd);
	struct iovec iov[2];

	store_all(map);
	for (size_t i = 0; i < BYTES; i += PAGE)
		map[i + 1] = 'a';
	MUST(pipe(pipes) == 0);
	iov[0] = (struct iovec){map, PAGE};
	iov[1] = (struct iovec){map + BYTES / 2, 100};
	MUST(vmsplice(pipes[1], iov, 2, 0) == PAGE + 100);
	MUST(read(pipes[0], buf, sizeof(buf)) == PAGE + 100 && memcmp(buf, map, PAGE) == 0);
	MUST(memcmp(buf + PAGE, map + BYTES / 2, 100) == 0);
	/* The budget is half of the file: neither is there. */
	fill_pipe(pipes, "0123456789");
	iov[0] = (struct iovec){map + BYTES / 2 + PAGE, 3};
	iov[1] = (struct iovec){map + 7, 100};
	MUST(vmsplice(pipes[0], iov, 2, 0) == 10);
	MUST(memcmp(map + BYTES / 2 + PAGE, "012", 3) == 0 && map[BYTES / 2 + PAGE + 3] == 0 && memcmp(map + 7, "3456789", 8) == 0);
	return 0;
}

/* ---- processes ---- */

#define RECORD  100
#define RECORDS 4000

/* Each of two processes writes so many records, at an offset that is both's; none may be lost or be there twice, by whatever way it is read. */
static void write_records(int fd, char who)
{
	char record[RECORD];

	for (int i = 0; i < RECORDS; i++) {
		memset(record, who, sizeof(record));
		memcpy(record, &i, sizeof(i));
		MUST(write(fd, record, sizeof(record)) == (ssize_t)sizeof(record));
	}
}

static void find_records(const char *bytes)
{
	int next[2] = {0, 0};

	for (int i = 0; i < 2 * RECORDS; i++, bytes += RECORD) {
		bool child = bytes[RECORD - 1] == 'c';
		int number;

		memcpy(&number, bytes, sizeof(number));
		MUST(bytes[RECORD - 1] == (child ? 'c' : 'p') && bytes[sizeof(number)] == bytes[RECORD - 1]);
		MUST(number == next[child]++);
	}
}

static void share_an_offset(int fd, char *map)
{
	static char buf[2 * RECORDS * RECORD];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		write_records(fd, 'c');
		_exit(0);
	}
	write_records(fd, 'p');
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	find_records(map);
	MUST(pread(fd, buf, sizeof(buf), 0) == (ssize_t)sizeof(buf));
	find_records(buf);
	MUST(msync(map, BYTES, MS_SYNC) == 0 && lseek(fd, 0, SEEK_CUR) == (off_t)sizeof(buf));
}

static int shares_an_offset(void)
{
	int fd = open_file(), appends = open(path, O_RDWR | O_APPEND);
	char *map = map_file(fd);

	memset(map, 'x', BYTES);
	share_an_offset(fd, map);
	MUST(ftruncate(fd, 0) == 0);
	share_an_offset(appends, map);
	return 0;
}

static int execs_itself(void)
{
	char *map = map_file(open_file());

	store_all(map);
	execl(self, self, "has", path, (char *)NULL);
	return 1;
}

static int has(void)
{
	char *map = map_file(open_file());
	static char buf[BYTES];
	int fd = open_file();

	MUST(has_all(map));
	MUST(read(fd, buf, BYTES) == (ssize_t)BYTES && has_all(buf));
	return 0;
}

static int spawns(void)
{
	char *args[] = {(char *)(uintptr_t)self, (char *)(uintptr_t) "has", (char *)(uintptr_t)path, NULL};
	char command[4096];
	char *map = map_file(open_file());
	int status;
	pid_t pid;

	store_all(map);
	MUST(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	pid = vfork();
	if (pid == 0) {
		execv(self, args);
		_exit(1);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	snprintf(command, sizeof(command), "printf changed | dd of='%s' conv=notrunc 2>/dev/null", path);
	MUST(system(command) == 0);
	MUST(memcmp(map, "changed", 7) == 0 && map[PAGE] == 2);
	return 0;
}

static int forks_and_leaves(void)
{
	char *map = map_file(open_file());
	int pipes[2];
	char byte;

	store_all(map);
	MUST(pipe(pipes) == 0);
	if (fork() > 0)
		_exit(0);
	close(pipes[1]);
	/* When the parent has ended. The file has what was stored; the mapping is another matter. */
	MUST(read(pipes[0], &byte, 1) == 0);
	close(open_file());
	_exit(0);
}

/* Another program sees what was stored before the fork, and by the child. */
static int forks_and_execs(void)
{
	char *map = map_file(open_file());
	int status;
	pid_t pid;

	store_all(map);
	map[5 * PAGE] = 0;
	pid = fork();
	if (pid == 0) {
		map[5 * PAGE] = 6;
		execl(self, self, "has", path, (char *)NULL);
		_exit(1);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	return 0;
}

/* ---- the parent ends, and the child goes on with what was mapped before ---- */

static void store_private(char *map)
{
	for (size_t i = 0; i < BYTES; i += 3 * PAGE)
		map[i + 1] = (char)(i / PAGE + 7);
}

static bool has_private(const char *map)
{
	for (size_t i = 0; i < BYTES; i += PAGE)
		if (map[i + 1] != (char)(i / PAGE % 3 == 0 ? i / PAGE + 7 : 0))
			return false;
	return true;
}

/* In a child of its own, too. What has come to its end well says so. */
static int goes_on(char *map, char *copy)
{
	static char buf[BYTES];
	int fd, status;
	pid_t pid;

	/* As a daemon does. */
	closefrom(3);
	fd = open_file();
	MUST(has_all(map) && has_private(copy));
	memset(map, 0, BYTES);
	MUST(pread(fd, buf, BYTES, 0) == (ssize_t)BYTES && memcmp(map, buf, BYTES) == 0);
	MUST(pwrite(fd, "written", 7, 100) == 7 && memcmp(map + 100, "written", 7) == 0);
	pid = fork();
	if (pid == 0) {
		MUST(has_private(copy) && memcmp(map + 100, "written", 7) == 0);
		store_all(map);
		store_private(copy);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	MUST(has_all(map) && has_private(copy));
	MUST(munmap(copy, BYTES) == 0);
	copy = map_file(open_file());
	MUST(has_all(copy) && memcmp(copy + 100, "written", 7) == 0);
	memcpy(copy + 100, "\0\0\0\0\0\0\0", 7);
	MUST(map[100] == 0 && msync(map, BYTES, MS_SYNC) == 0 && msync(copy, BYTES, MS_SYNC) == 0);
	copy[PAGE + 100] = 1;
	map[PAGE + 100] = 0;
	printf("right\n");
	return 0;
}

/* leave: becomes another process, and ends this one. */
static int leaves(void (*leave)(void))
{
	int fd = open_file(), pipes[2];
	char *map = map_file(fd), *copy = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char byte;

	MUST(copy != MAP_FAILED && pipe(pipes) == 0);
	store_private(copy);
	store_all(map);
	leave();
	close(pipes[1]);
	MUST(read(pipes[0], &byte, 1) == 0);
	return goes_on(map, copy);
}

static void by_daemon(void)
{
	MUST(daemon(1, 1) == 0);
}

static void by_two_forks(void)
{
	if (fork() > 0)
		exit(0);
	MUST(setsid() >= 0);
	if (fork() > 0)
		_exit(0);
}

static void by_bare_exit(void)
{
	if (fork() > 0)
		syscall(SYS_exit_group, 0);
}

static void by_quick_exit(void)
{
	if (fork() > 0)
		quick_exit(0);
}

static int is_a_daemon(void)
{
	return leaves(by_daemon);
}

static int forks_twice(void)
{
	return leaves(by_two_forks);
}

static int leaves_by_bare_exit(void)
{
	return leaves(by_bare_exit);
}

static void by_signal(void)
{
	if (fork() > 0)
		raise(SIGTERM);
}

static int leaves_by_signal(void)
{
	return leaves(by_signal);
}

/* In a handler, while the C library's malloc may be at anything. */
static void leave_now(int number)
{
	(void)number;
	_exit(0);
}

static void by_handler(void)
{
	if (fork() > 0) {
		signal(SIGUSR1, leave_now);
		raise(SIGUSR1);
	}
}

static int leaves_by_handler(void)
{
	return leaves(by_handler);
}

static int leaves_by_quick_exit(void)
{
	return leaves(by_quick_exit);
}

static int is_killed(void)
{
	char *map = map_file(open_file());

	store_all(map);
	MUST(pwrite(open_file(), "written", 7, 100) == 7);
	MUST(msync(map, BYTES / 2, MS_SYNC) == 0);
	raise(SIGKILL);
	return 1;
}

/* It has nothing mapped itself. What it has seen die is in the file when it looks. */
static int waits_for_the_killed(void)
{
	char *args[] = {(char *)(uintptr_t)self, (char *)(uintptr_t) "stores-and-is-killed", (char *)(uintptr_t)path, NULL};
	static char buf[BYTES];
	int status;
	pid_t pid;

	for (unsigned round = 0; round < 10; round++) {
		int fd = open_file();

		MUST(ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)BYTES) == 0);
		MUST(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
		MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		MUST(read(fd, buf, BYTES) == (ssize_t)BYTES && has_all(buf));
		close(fd);
	}
	return 0;
}

/* Likewise, by calls that do not tell whom they have waited for. */
static int calls_the_killed(void)
{
	static char buf[BYTES];
	char command[4096];

	snprintf(command, sizeof(command), "exec '%s' stores-and-is-killed '%s'", self, path);
	for (unsigned round = 0; round < 10; round++) {
		int fd = open_file();
		FILE *pipe;

		MUST(ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)BYTES) == 0);
		if (round % 2)
			MUST((pipe = popen(command, "r")) && WIFSIGNALED(pclose(pipe)));
		else
			MUST(WIFSIGNALED(system(command)));
		MUST(read(fd, buf, BYTES) == (ssize_t)BYTES && has_all(buf));
		close(fd);
	}
	return 0;
}

static int stores_and_is_killed(void)
{
	store_all(map_file(open_file()));
	raise(SIGKILL);
	return 1;
}

static int has_a_fault(void)
{
	volatile char *volatile nowhere = NULL;

	store_all(map_file(open_file()));
	*nowhere = 1;
	return 1;
}

static int aborts(void)
{
	store_all(map_file(open_file()));
	abort();
}

static int execs_in_vain(void)
{
	char *map = map_file(open_file());

	MUST(execl("/no/such/program", "none", (char *)NULL) < 0 && errno == ENOENT);
	store_all(map);
	raise(SIGKILL);
	return 1;
}

static int is_terminated(void)
{
	store_all(map_file(open_file()));
	raise(SIGTERM);
	return 1;
}

static int ends_at_once(void)
{
	store_all(map_file(open_file()));
	_exit(0);
}

/* ---- signals ---- */

static sigjmp_buf out;
static volatile sig_atomic_t caught;
static void *volatile caught_at;
static char *volatile from_handler;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	caught = number;
	caught_at = info->si_addr;
	siglongjmp(out, 1);
}

static void catch (int number)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, now;

	sigemptyset(&action.sa_mask);
	MUST(sigaction(number, &action, NULL) == 0);
	MUST(sigaction(number, NULL, &now) == 0 && now.sa_sigaction == on_fault);
}

static void fault_at(volatile char *at, int number)
{
	caught = 0;
	if (sigsetjmp(out, 1) == 0)
		*at = 1;
	MUST(caught == number && caught_at == (void *)(uintptr_t)at);
}

static int has_handlers(void)
{
	struct sigaction old;
	int fd = open_file();
	char *nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *map;

	catch (SIGSEGV);
	map = map_file(fd);
	catch (SIGBUS);
	store_all(map);
	MUST(has_all(map));
	fault_at(nowhere, SIGSEGV);
	MUST(mprotect(map + PAGE, PAGE, PROT_READ) == 0);
	fault_at(map + PAGE, SIGSEGV);
	MUST(ftruncate(fd, (off_t)BYTES / 2) == 0);
	fault_at(map + BYTES - PAGE, SIGBUS);
	MUST(ftruncate(fd, (off_t)BYTES) == 0);
	MUST(map[BYTES - PAGE] == 0);
	MUST(signal(SIGBUS, SIG_DFL) != SIG_ERR && sigaction(SIGBUS, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	mprotect(map + PAGE, PAGE, PROT_READ | PROT_WRITE);
	store_all(map);
	return 0;
}

/* ---- ranges of which a part is a file's, and a part memory, or nothing ---- */

/* 2 pages of memory, 2 of the file, 2 of memory, 2 of a private mapping of the file, a hole, 2 of the file. */
static char *map_mixed(int fd)
{
	char *at = mmap(NULL, 11 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(at != MAP_FAILED);
	MUST(mmap(at + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == at + 2 * PAGE);
	MUST(mmap(at + 6 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 8 * PAGE) == at + 6 * PAGE);
	MUST(mmap(at + 9 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 4 * PAGE) == at + 9 * PAGE);
	MUST(munmap(at + 8 * PAGE, PAGE) == 0);
	return at;
}

#define FAILS(call) MUST((call) < 0 && errno == ENOMEM)

static void fill_mixed(char *at)
{
	for (size_t i = 0; i < 11; i++)
		if (i != 8)
			at[i * PAGE] = (char)(i + 1);
}

static int calls_over_mixed_ranges(void)
{
	const size_t whole = 8 * PAGE, with_hole = 11 * PAGE;
	int fd = open_file();
	char *at = map_mixed(fd), *other;
	unsigned char vec[11];
	char byte;

	catch (SIGSEGV);
	fill_mixed(at);
	/* All of it; up to the hole. */
	MUST(mprotect(at, whole, PROT_READ) == 0);
	for (size_t i = 0; i < 8; i++)
		fault_at(at + i * PAGE, SIGSEGV);
	MUST(mprotect(at, whole, PROT_READ | PROT_WRITE) == 0);
	fill_mixed(at);
	FAILS(mprotect(at, with_hole, PROT_READ));
	fault_at(at, SIGSEGV);
	fault_at(at + 2 * PAGE, SIGSEGV);
	at[9 * PAGE] = 10;
	MUST(mprotect(at, whole, PROT_READ | PROT_WRITE) == 0);
	/* Over the hole. */
	memset(vec, 0, sizeof(vec));
	MUST(mincore(at, whole, vec) == 0);
	for (size_t i = 0; i < 8; i++)
		MUST(vec[i] & 1);
	FAILS(mincore(at, with_hole, vec));
	MUST(msync(at, whole, MS_SYNC) == 0 && pread(fd, &byte, 1, PAGE) == 1 && byte == 4);
	FAILS(msync(at, with_hole, MS_SYNC));
	FAILS(msync(at, with_hole, MS_ASYNC));
	MUST(msync(at, whole, MS_ASYNC) == 0);
	MUST(pread(fd, &byte, 1, 5 * PAGE) == 1 && byte == 11);
	MUST(mlock(at + 1, whole - PAGE) == 0 && munlock(at + 1, whole - PAGE) == 0);
	FAILS(mlock(at, with_hole));
	FAILS(munlock(at, with_hole));
	MUST(munlock(at, whole) == 0);
	/* Memory is zeros, a private page the file's, the file as it was; beyond the hole, too. */
	MUST(mmap(at + 9 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at + 9 * PAGE);
	fill_mixed(at);
	MUST(madvise(at, whole, MADV_NORMAL) == 0 && posix_madvise(at, whole, POSIX_MADV_WILLNEED) == 0);
	FAILS(madvise(at, with_hole, MADV_DONTNEED));
	MUST(at[0] == 0 && at[PAGE] == 0 && at[2 * PAGE] == 3 && at[3 * PAGE] == 4 && at[4 * PAGE] == 0 && at[6 * PAGE] == 0);
	MUST(at[9 * PAGE] == 0 && at[10 * PAGE] == 11);
	MUST(posix_madvise(at, with_hole, POSIX_MADV_NORMAL) == ENOMEM);
	MUST(posix_madvise(at, with_hole, POSIX_MADV_DONTNEED) == 0 && at[2 * PAGE] == 3);
	/* Several mappings are not moved at once. */
	MUST(mremap(at, 4 * PAGE, 20 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	/* Nor is a part that begins and ends in the middle of two more than unmapped. */
	MUST(munmap(at + PAGE, 6 * PAGE) == 0);
	FAILS(mincore(at + PAGE, PAGE, vec));
	FAILS(mincore(at + 6 * PAGE, PAGE, vec));
	at[0] = 1;
	at[7 * PAGE] = 1;
	MUST(munmap(at, with_hole) == 0);
	/* What is wrong is wrong for both. */
	other = map_mixed(fd);
	MUST(mprotect(other + 1, whole, PROT_READ) < 0 && errno == EINVAL);
	MUST(madvise(other, whole, 12345) < 0 && errno == EINVAL);
	MUST(msync(other, whole, MS_SYNC | MS_ASYNC) < 0 && errno == EINVAL);
	MUST(mprotect(other, 0, PROT_READ) == 0 && madvise(other, 0, MADV_NORMAL) == 0 && msync(other, 0, MS_SYNC) == 0);
	other = map_file(fd);
	memset(other, 0, BYTES);
	store_all(other);
	return 0;
}

static int calls_over_mixed_ranges_in_a_child(void)
{
	int status;
	char *map = map_file(open_file());
	pid_t pid = fork();

	map[0] = 0;
	if (pid == 0)
		_exit(calls_over_mixed_ranges());
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	return 0;
}

static int blocks_signals(void)
{
	char *map = map_file(open_file());
	sigset_t all, now;

	sigfillset(&all);
	MUST(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
	store_all(map);
	MUST(has_all(map));
	MUST(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGBUS) && sigismember(&now, SIGSEGV));
	MUST(raise(SIGUSR1) == 0);
	return 0;
}

static void map_in_handler(int number)
{
	(void)number;
	from_handler = map_file(open_file());
	store_all(from_handler);
}

static int maps_in_handler(void)
{
	signal(SIGUSR1, map_in_handler);
	raise(SIGUSR1);
	MUST(from_handler && has_all(from_handler));
	return 0;
}

static char *early;

/* Before main, and before the preload's own constructor if it comes to that. */
__attribute__((constructor(101))) static void map_early(int argc, char **argv)
{
	if (argc < 3 || strcmp(argv[1], "maps-before-main") != 0)
		return;
	path = argv[2];
	early = map_file(open_file());
	store_all(early);
}

static int maps_before_main(void)
{
	MUST(early && has_all(early));
	return 0;
}

/* ---- the kernel and memory ---- */

static int hands_memory_over(void)
{
	static char buf[BYTES];
	int fd = open_file(), pipes[2];
	char *map = map_file(fd), *other;
	char name[4096];
	struct stat st;

	store_all(map);
	MUST(madvise(map, BYTES, MADV_PAGEOUT) == 0 || errno == EINVAL);
	/* A file is written from a mapping of it. */
	MUST(pwrite(fd, map + BYTES / 2, BYTES / 2, 0) == (ssize_t)BYTES / 2);
	MUST(memcmp(map, map + BYTES / 2, BYTES / 2) == 0);
	MUST(pread(fd, buf, BYTES, 0) == (ssize_t)BYTES && memcmp(buf, map, BYTES) == 0);
	snprintf(name, sizeof(name), "%s.other", path);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0 && write(fd, map, BYTES) == (ssize_t)BYTES && fstat(fd, &st) == 0 && st.st_size == (off_t)BYTES);
	other = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	MUST(other != MAP_FAILED && memcmp(other, map, BYTES) == 0);
	MUST(pipe(pipes) == 0 && write(pipes[1], map + PAGE * 3, 10000) == 10000);
	MUST(read(pipes[0], map + PAGE * 300, 10000) == 10000 && memcmp(map + PAGE * 3, map + PAGE * 300, 10000) == 0);
	store_all(map);
	return 0;
}

static void *thread_main(void *arg)
{
	char *map = arg;

	for (unsigned round = 0; round < 3; round++)
		store_all(map);
	return NULL;
}

static int has_threads(void)
{
	char *map = map_file(open_file());
	pthread_t threads[8];

	for (unsigned i = 0; i < 8; i++)
		MUST(pthread_create(&threads[i], NULL, thread_main, map) == 0);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	MUST(has_all(map));
	return 0;
}

/* What a program has unmapped stays free until it maps something: it has no thread that would. */
static int keeps_holes(void)
{
	static const struct hole_kind {
		size_t bytes;
		unsigned count;
	} kinds[] = {{PAGE, 100}, {64 * PAGE, 20}, {512 * PAGE, 5}};
	char *holes[125], *at;
	int fd = open_file(), status;
	char *map = map_file(fd);
	unsigned n = 0;
	pid_t pid;

	/* Each with something above and below it. */
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < kinds[k].count; i++, n++) {
			at = mmap(NULL, kinds[k].bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			MUST(at != MAP_FAILED && munmap(at + PAGE, kinds[k].bytes) == 0);
			holes[n] = at + PAGE;
		}
	store_all(map);
	pid = fork();
	if (pid == 0)
		_exit(has_all(map) ? 0 : 1);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	MUST(pwrite(fd, map + PAGE, 100 * PAGE, PAGE) == 100 * PAGE && pread(fd, map + PAGE, 100 * PAGE, PAGE) == 100 * PAGE);
	MUST(msync(map, BYTES, MS_SYNC) == 0 && has_all(map));
	n = 0;
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < kinds[k].count; i++, n++)
			MUST(mmap(holes[n], kinds[k].bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
			     holes[n]);
	return 0;
}

static _Atomic bool stops;

static void *keeps_storing(void *arg)
{
	char *map = arg;

	for (char n = 1; !stops; n++)
		for (size_t i = 0; i < 64 * PAGE; i += PAGE)
			map[i] = n;
	return NULL;
}

/* Of pages to which another thread stores all the time, all other bytes are zeros when the call returns. */
static int makes_holes_beside_stores(void)
{
	static const int modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
	int fd = open_file();
	char *map = map_file(fd);
	pthread_t thread;
	char byte;

	MUST(pthread_create(&thread, NULL, keeps_storing, map) == 0);
	for (unsigned round = 0; round < 100; round++) {
		for (size_t i = 0; i < 64 * PAGE; i += PAGE)
			map[i + 2000] = 'a';
		MUST(fallocate(fd, modes[round % 2], 0, 64 * PAGE) == 0);
		for (size_t i = 0; i < 64 * PAGE; i += PAGE)
			MUST(map[i + 2000] == 0 && pread(fd, &byte, 1, (off_t)i + 2000) == 1 && byte == 0);
	}
	stops = true;
	pthread_join(thread, NULL);
	store_all(map);
	return 0;
}

/* Where every page lies is in it, and stays so, whatever else is stored to it. */
static int moves_pages_beside_stores(void)
{
	const size_t middle = BYTES / 2 / PAGE;
	int fd = open_file();
	char *map = map_file(fd);
	pthread_t thread;
	char byte;

	for (size_t i = 0; i < BYTES / PAGE; i++)
		map[i * PAGE + 2000] = (char)(i % 100 + 1);
	MUST(pthread_create(&thread, NULL, keeps_storing, map + BYTES / 2) == 0);
	for (unsigned round = 0; round < 60; round++) {
		bool moved = round % 2 == 0;

		/* A filesystem that cannot is asked for nothing more. */
		if (fallocate(fd, moved ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE, PAGE, PAGE) < 0) {
			MUST(errno == EOPNOTSUPP && round == 0);
			break;
		}
		for (size_t i = middle; i < middle + 64; i++) {
			off_t at = (off_t)(i - moved) * PAGE + 2000;
			char expected = (char)(i % 100 + 1);

			MUST(map[at] == expected && pread(fd, &byte, 1, at) == 1 && byte == expected);
		}
	}
	stops = true;
	pthread_join(thread, NULL);
	memset(map, 0, BYTES);
	store_all(map);
	return 0;
}

static void *outlives_main(void *arg)
{
	struct timespec moment = {.tv_nsec = 50000000};
	char *map = arg;

	nanosleep(&moment, NULL);
	if (!map)
		map = map_file(open_file());
	store_all(map);
	return NULL;
}

/* The last thread to end ends the process, with the status 0. */
static int main_leaves(char *map)
{
	pthread_t thread;

	MUST(pthread_create(&thread, NULL, outlives_main, map) == 0 && pthread_detach(thread) == 0);
	pthread_exit(&thread);
}

static int leaves_threads(void)
{
	return main_leaves(map_file(open_file()));
}

static int leaves_threads_that_map(void)
{
	return main_leaves(NULL);
}

static int leaves_threads_in_a_child(void)
{
	char *map = map_file(open_file());
	int status;
	pid_t pid = fork();

	if (pid == 0)
		return main_leaves(map);
	MUST(waitpid(pid, &status, 0) == pid && status == 0 && has_all(map));
	return 0;
}

static int replaces_by_fixed(void)
{
	char *map = map_file(open_file());

	store_all(map);
	MUST(mmap(map + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == map + PAGE);
	MUST(map[PAGE] == 0 && map[0] == 1 && map[2 * PAGE] == 3);
	map[PAGE] = 9;
	MUST(munmap(map, BYTES) == 0);
	MUST(mmap(map, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == map);
	return 0;
}

static struct shmid_ds segment_status(int id)
{
	struct shmid_ds ds;

	MUST(shmctl(id, IPC_STAT, &ds) == 0);
	return ds;
}

/* Segments are the kernel's, also those that are attached in the place of what is mapped. */
static int attaches_segments(void)
{
	char *map = map_file(open_file()), *place = map + 4 * PAGE, *other;
	int id = shmget(IPC_PRIVATE, 2 * PAGE - 100, IPC_CREAT | 0600), status;
	pid_t pid;

	store_all(map);
	MUST(id >= 0 && shmat(id, place, 0) == (void *)-1 && errno == EINVAL && shmat(-1, place, SHM_REMAP) == (void *)-1);
	MUST(place[0] == 5 && shmat(id, place + 7, SHM_REMAP) == (void *)-1 && errno == EINVAL && place[0] == 5);
	MUST(shmat(id, place + 7, SHM_REMAP | SHM_RND) == place && segment_status(id).shm_nattch == 1);
	other = shmat(id, NULL, SHM_RDONLY);
	MUST(other != (void *)-1 && segment_status(id).shm_nattch == 2 && segment_status(id).shm_lpid == getpid());
	place[0] = place[2 * PAGE - 1] = 's';
	MUST(other[0] == 's' && other[2 * PAGE - 1] == 's' && map[3 * PAGE] == 4 && map[6 * PAGE] == 7);
	pid = fork();
	if (pid == 0) {
		place[1] = 'c';
		_exit(segment_status(id).shm_nattch == 4 ? 0 : 1);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0 && other[1] == 'c' && segment_status(id).shm_nattch == 2);
	MUST(shmdt(place) == 0 && segment_status(id).shm_nattch == 1);
	/* What lies there now is nobody else's, either. */
	MUST(mmap(place, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == place);
	place[0] = 'm';
	/* Calls over ranges of several kinds are another matter. */
	MUST(map[3 * PAGE] == 4 && map[6 * PAGE] == 7);
	MUST(msync(map, BYTES, MS_SYNC | MS_INVALIDATE) == 0 || errno == ENOMEM);
	for (size_t i = 6 * PAGE; i < BYTES; i += PAGE)
		MUST(map[i] == (char)(i / PAGE + 1));
	MUST(place[0] == 'm' && place[PAGE] == 0);
	MUST(shmdt(other) == 0 && segment_status(id).shm_nattch == 0 && shmctl(id, IPC_RMID, NULL) == 0);
	return 0;
}

/* Reserved as the memory of a program, and then replaced: --anonymous. */
static int attaches_segments_over_memory(void)
{
	char *map = map_file(open_file());
	char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);

	MUST(memory != MAP_FAILED && id >= 0);
	store_all(memory);
	store_all(map);
	MUST(shmat(id, memory + PAGE, SHM_REMAP) == memory + PAGE && memory[PAGE] == 0);
	memory[PAGE] = 's';
	MUST(madvise(memory, BYTES, MADV_PAGEOUT) == 0 || errno == EINVAL || errno == ENOMEM);
	for (size_t i = 2 * PAGE; i < BYTES; i += PAGE)
		MUST(memory[i] == (char)(i / PAGE + 1) && map[i] == memory[i]);
	MUST(memory[PAGE] == 's' && memory[0] == 1 && segment_status(id).shm_nattch == 1);
	MUST(munmap(memory, BYTES) == 0 && segment_status(id).shm_nattch == 0 && shmctl(id, IPC_RMID, NULL) == 0);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} victims[] = {
    {"closes-everything", closes_everything},
    {"few-descriptors", few_descriptors},
    {"keeps-locks", keeps_locks},
    {"vforks-and-closes", vforks_and_closes},
    {"writes-at-the-end", writes_at_the_end},
    {"writes-by-streams", writes_by_streams},
    {"calls-by-number", calls_by_number},
    {"splices", splices},
    {"hands-memory-to-pipes", hands_memory_to_pipes},
    {"shares-an-offset", shares_an_offset},
    {"execs-itself", execs_itself},
    {"has", has},
    {"spawns", spawns},
    {"forks-and-leaves", forks_and_leaves},
    {"is-a-daemon", is_a_daemon},
    {"forks-twice", forks_twice},
    {"leaves-by-bare-exit", leaves_by_bare_exit},
    {"leaves-by-quick-exit", leaves_by_quick_exit},
    {"leaves-by-handler", leaves_by_handler},
    {"leaves-by-signal", leaves_by_signal},
    {"forks-and-execs", forks_and_execs},
    {"is-killed", is_killed},
    {"waits-for-the-killed", waits_for_the_killed},
    {"calls-the-killed", calls_the_killed},
    {"stores-and-is-killed", stores_and_is_killed},
    {"has-a-fault", has_a_fault},
    {"aborts", aborts},
    {"execs-in-vain", execs_in_vain},
    {"is-terminated", is_terminated},
    {"ends-at-once", ends_at_once},
    {"has-handlers", has_handlers},
    {"blocks-signals", blocks_signals},
    {"maps-in-handler", maps_in_handler},
    {"maps-before-main", maps_before_main},
    {"hands-memory-over", hands_memory_over},
    {"has-threads", has_threads},
    {"replaces-by-fixed", replaces_by_fixed},
    {"attaches-segments", attaches_segments},
    {"attaches-segments-over-memory", attaches_segments_over_memory},
    {"makes-holes-beside-stores", makes_holes_beside_stores},
    {"moves-pages-beside-stores", moves_pages_beside_stores},
    {"keeps-holes", keeps_holes},
    {"calls-over-mixed-ranges", calls_over_mixed_ranges},
    {"calls-over-mixed-ranges-in-a-child", calls_over_mixed_ranges_in_a_child},
    {"leaves-threads", leaves_threads},
    {"leaves-threads-that-map", leaves_threads_that_map},
    {"leaves-threads-in-a-child", leaves_threads_in_a_child},
};

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	self = argv[0];
	path = argv[2];
	for (size_t i = 0; i < sizeof(victims) / sizeof(victims[0]); i++)
		if (strcmp(victims[i].name, argv[1]) == 0)
			return victims[i].run();
	return 2;
}
