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
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* ---- processes ---- */

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

static const struct {
	const char *name;
	int (*run)(void);
} victims[] = {
    {"closes-everything", closes_everything},
    {"few-descriptors", few_descriptors},
    {"keeps-locks", keeps_locks},
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
