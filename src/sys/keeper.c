/* SPDX-License-Identifier: MIT */
/*
 * keeper.c - a process that shares memory and descriptors with this one, and is there when this one has died
 *
 * A thread of the engine is its parent:
 *
 *      thread    clone(CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_UNTRACED) ─── waits until the keeper has ended
 *      keeper                                                              └── sleeps until the thread has died ── works ── exits
 *
 * The two share thread-local data, which is why the thread does nothing meanwhile. What kills the process kills the thread, and not the
 * keeper, which is a process of its own: page tables, memory and descriptors stay as they were for as long as it lives. Its exit signal is 0,
 * so that no wait of the program's sees it, but for one with __WALL. A debugger does not get hold of it. In a session of its own, with all
 * signals blocked, it is hit by nothing that is sent to the program and its kin.
 *
 * How it learns of the death: the thread owns a word in a robust list, which the kernel marks when the thread has gone. Then no other
 * thread of the process will execute a single instruction of the program any more, but for those that do so at this very moment, on other
 * processors. They are waited for: the kernel gives the keeper another parent when all have gone. After exec it does not, but there the
 * memory of the process is another one: its thread alone is left.
 *
 * Rejected: CLONE_VFORK, which makes the kernel park the thread. Nothing but death wakes it there, so that a process with such a thread can be
 * neither stopped (a shell waits for ever after Ctrl-Z) nor attached to by a debugger. A pidfd and an eventfd: descriptors that the
 * program can close. PR_SET_PDEATHSIG: anyone may send that signal.
 */
#include "sys/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys/bare.h"
#include "sys/thread.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#define STACK_BYTES  ((size_t)64 << 10)
#define NAME         "quire-keeper"
#define SIGN_BACKLOG 4096      /* nobody is taken: who finds no room does not wait */
#define PATIENCE_S   60        /* of who waits for one */
#define GRACE_MS     1000      /* that threads of a dying process may take for what they are at in the kernel */
#define MOST_FDS     (1 << 20) /* that are closed where there is no list of them: fs.nr_open is as much, as a rule */

enum { KEEPER_STARTING, KEEPER_THERE, KEEPER_GONE };

/* ---- how it is found ---- */

/*
 * By an abstract name that tells the program's number, and in which namespace that is one. Who connects learns from the kernel which process
 * listens: the keeper, whoever else has the descriptor.
 */
static socklen_t name_sign(pid_t program, struct sockaddr_un *ret)
{
	struct stat st = {0};

	(void)BARE(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/pid", &st, 0);
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "quire-keeper-%lx-%d",
					    (unsigned long)st.st_ino, (int)program));
}

static bool has_sign(const struct keeper *keeper)
{
	struct stat st;

	return keeper->sign >= 0 && BARE(SYS_fstat, keeper->sign, &st) == 0 && st.st_ino == keeper->sign_inode &&
	       S_ISSOCK(st.st_mode);
}

/* Without one it is not waited for. */
static void make_sign(struct keeper *keeper)
{
	struct sockaddr_un name;
	socklen_t len = name_sign(getpid(), &name);
	struct stat st;

	if (keeper->sign_inode && has_sign(keeper))
		return;
	keeper->sign = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	keeper->sign_inode = 0;
	if (keeper->sign >= 0 && bind(keeper->sign, (struct sockaddr *)&name, len) == 0 && fstat(keeper->sign, &st) == 0) {
		keeper->sign_inode = st.st_ino;
		return;
	}
	if (keeper->sign >= 0)
		close(keeper->sign);
	keeper->sign = -1;
}

/* The process that listens at a program's sign, which it may be given by somebody else; 0: none. */
static pid_t find_listener(pid_t program)
{
	struct sockaddr_un name;
	socklen_t len = name_sign(program, &name), peer_len = sizeof(struct ucred);
	struct ucred peer = {0};
	int fd = (int)BARE(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return 0;
	if (BARE(SYS_connect, fd, &name, len) < 0 || BARE(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) < 0 ||
	    (peer.uid != geteuid() && geteuid() != 0))
		peer.pid = 0;
	(void)BARE(SYS_close, fd);
	return peer.pid;
}

/* Whether a process is a keeper, and no more of a program that lives: another may have come to the program's number. */
static bool is_left_keeper(pid_t pid, pid_t program)
{
	char path[64], text[256] = "";
	const char *end;
	long n, fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = BARE(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = BARE(SYS_read, fd, text, sizeof(text) - 1);
	(void)BARE(SYS_close, fd);
	text[n > 0 ? n : 0] = '\0';
	end = strstr(text, " (" NAME ") ");
	return end && strtol(end + sizeof(" (" NAME ") X") - 1, NULL, 10) != program;
}

void keeper_wait_for(pid_t program)
{
	pid_t pid = program > 0 ? find_listener(program) : 0;
	struct timespec patience = {.tv_sec = PATIENCE_S};
	struct pollfd end = {.fd = pid > 0 ? (int)BARE(SYS_pidfd_open, pid, 0) : -1, .events = POLLIN};

	if (end.fd < 0)
		return;
	/* The kernel counts the patience down. The keeper may be writing to a file that this very process has to serve. */
	if (is_left_keeper(pid, program))
		while (BARE(SYS_ppoll, &end, 1, &patience, NULL, 0) == -EINTR)
			;
	(void)BARE(SYS_close, end.fd);
}

/* The program that a line of /proc/net/unix is about, if that has ended; else 0. */
static pid_t ended_program(const char *line, const char *prefix)
{
	const char *name = strchr(line, '@');
	pid_t program;

	if (!name || strncmp(name + 1, prefix, strlen(prefix)) != 0)
		return 0;
	program = (pid_t)strtol(name + 1 + strlen(prefix), NULL, 10);
	return program > 0 && BARE(SYS_kill, program, 0) == -ESRCH ? program : 0;
}

void keeper_wait_for_all(void)
{
	int fd = (int)BARE(SYS_openat, AT_FDCWD, "/proc/self/net/unix", O_RDONLY | O_CLOEXEC);
	char text[4096], prefix[sizeof(((struct sockaddr_un *)0)->sun_path)], *line, *end;
	struct sockaddr_un name;
	size_t have = 0;
	long n;

	(void)name_sign(0, &name);
	snprintf(prefix, sizeof(prefix), "%s", name.sun_path + 1);
	*(strrchr(prefix, '-') + 1) = '\0';
	while (fd >= 0 && (n = BARE(SYS_read, fd, text + have, sizeof(text) - 1 - have)) > 0) {
		text[have += (size_t)n] = '\0';
		for (line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			*end = '\0';
			keeper_wait_for(ended_program(line, prefix));
		}
		have -= (size_t)(line - text);
		memmove(text, line, have);
	}
	if (fd >= 0)
		(void)BARE(SYS_close, fd);
}

/* ---- its own side ---- */

static void sleep_us(long us)
{
	struct timespec moment = {.tv_nsec = us * 1000};

	(void)BARE(SYS_nanosleep, &moment, NULL);
}

/* Whether the process has other memory than this by now. */
static bool has_become_another(const struct keeper *keeper)
{
	uint64_t seen = 0;
	struct iovec here = {&seen, sizeof(seen)}, there = {(void *)(uintptr_t)&keeper->nonce, sizeof(keeper->nonce)};
	long r = BARE(SYS_process_vm_readv, keeper->process, &here, 1, &there, 1, 0);

	return r == -EFAULT || (r == sizeof(seen) && seen != keeper->nonce);
}

static void wait_for_threads(const struct keeper *keeper, long parent)
{
	for (long us = 50, waited = 0; waited < GRACE_MS * 1000L; waited += us) {
		if (BARE(SYS_getppid, 0) != parent || has_become_another(keeper))
			return;
		us = us < 1000 ? us : 1000;
		sleep_us(us);
		us += us / 2;
	}
}

static void tell(struct keeper *keeper, uint32_t state)
{
	atomic_store(&keeper->state, state);
	(void)BARE(SYS_futex, &keeper->state, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

static int keeper_main(void *arg)
{
	struct keeper *keeper = arg;
	long parent = BARE(SYS_getppid, 0);
	uint64_t all = ~(uint64_t)0;
	uint32_t alive;

	/* The first process of a namespace that the program has made for another one: it is no process to be it. */
	if (BARE(SYS_getpid, 0) == 1)
		(void)BARE(SYS_exit_group, 0);
	(void)BARE(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	(void)BARE(SYS_prctl, PR_SET_NAME, NAME);
	(void)BARE(SYS_setsid, 0);
	if (has_sign(keeper))
		(void)BARE(SYS_listen, keeper->sign, SIGN_BACKLOG);
	/* From here on it is safe from what the program's kin is sent. */
	atomic_store(&keeper->pid, (pid_t)BARE(SYS_getpid, 0));
	tell(keeper, KEEPER_THERE);
	/* Not private: the kernel does not wake those. */
	while (!((alive = atomic_load(&keeper->alive)) & FUTEX_OWNER_DIED))
		(void)BARE(SYS_futex, &keeper->alive, FUTEX_WAIT, alive, NULL);
	if (atomic_load(&keeper->leaves))
		(void)BARE(SYS_exit_group, 0);
	wait_for_threads(keeper, parent);
	keeper->work(keeper);
	(void)BARE(SYS_exit_group, 0);
	__builtin_unreachable();
}

/* ---- its parent ---- */

static void own_word(struct keeper *keeper)
{
	keeper->list.list.next = &keeper->entry;
	keeper->list.futex_offset = (char *)&keeper->alive - (char *)&keeper->entry;
	keeper->list.list_op_pending = NULL;
	keeper->entry.next = &keeper->list.list;
	atomic_store(&keeper->alive, (uint32_t)BARE(SYS_gettid, 0) | FUTEX_WAITERS);
	(void)BARE(SYS_set_robust_list, &keeper->list, sizeof(keeper->list));
}

static void disown_word(struct keeper *keeper)
{
	keeper->list.list.next = &keeper->list.list;
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store(&keeper->alive, 0);
}

static void *parent_main(void *arg)
{
	const int flags = CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_UNTRACED;
	struct keeper *keeper = arg;
	pid_t pid;

	own_word(keeper);
#ifdef __SANITIZE_ADDRESS__
	/* The keeper before it has left in the middle of its functions, whose variables the sanitizer takes for gone. */
	__asan_unpoison_memory_region(keeper->memory, KEEPER_BUFFER + STACK_BYTES);
#endif
	pid = clone(keeper_main, keeper->memory + KEEPER_BUFFER + STACK_BYTES, flags, keeper);
	keeper->error = pid < 0 ? errno : ECHILD;
	/* Stopped and continued, it waits again. */
	while (pid > 0 && BARE(SYS_wait4, pid, NULL, __WCLONE, NULL) == -EINTR)
		;
	disown_word(keeper);
	tell(keeper, KEEPER_GONE);
	return NULL;
}

static int make_memory(struct keeper *keeper)
{
	char *memory = keeper->memory;

	if (memory)
		return 0;
	memory =
	    mmap(NULL, KEEPER_BUFFER + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	keeper->memory = memory;
	return 0;
}

int keeper_start(struct keeper *keeper)
{
	struct timespec now;
	int r;

	if (atomic_load_explicit(&keeper->there, memory_order_relaxed))
		return 0;
	lock_acquire(&keeper->lock);
	r = atomic_load(&keeper->there) ? 1 : make_memory(keeper);
	if (r == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		keeper->nonce = (uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)keeper;
		keeper->process = getpid();
		make_sign(keeper);
		atomic_store(&keeper->state, KEEPER_STARTING);
		atomic_store(&keeper->leaves, false);
		r = thread_start(&keeper->thread, "quire-keep", parent_main, keeper);
	}
	while (r == 0 && atomic_load(&keeper->state) == KEEPER_STARTING)
		futex_wait(&keeper->state, KEEPER_STARTING, NULL);
	if (r == 0 && atomic_load(&keeper->state) != KEEPER_THERE) {
		pthread_join(keeper->thread, NULL);
		r = -keeper->error;
	}
	if (r == 0)
		atomic_store(&keeper->there, true);
	lock_release(&keeper->lock);
	return r < 0 ? r : 0;
}

/*
 * It has nothing in hand: it only sleeps. It is asked, since it stays the user that the program was, whom this one may have no right to send a
 * signal; and killed where that can be, since somebody may have stopped it.
 */
static void dismiss(struct keeper *keeper)
{
	atomic_store(&keeper->leaves, true);
	atomic_fetch_or(&keeper->alive, FUTEX_OWNER_DIED);
	(void)BARE(SYS_futex, &keeper->alive, FUTEX_WAKE, INT32_MAX);
	(void)BARE(SYS_kill, keeper->pid, SIGKILL);
}

bool keeper_stop(struct keeper *keeper)
{
	bool there;

	/* In the child of a vfork, which has this memory, it is the parent's. */
	if (!atomic_load(&keeper->there) || keeper->process != getpid())
		return false;
	lock_acquire(&keeper->lock);
	there = atomic_load(&keeper->there);
	if (there) {
		if (atomic_load(&keeper->state) == KEEPER_THERE)
			dismiss(keeper);
		pthread_join(keeper->thread, NULL);
		atomic_store(&keeper->there, false);
	}
	lock_release(&keeper->lock);
	return there;
}

/* ---- for its work ---- */

struct streams {
	const struct keeper *keeper;
	int except;
};

/*
 * What has no kind is no stream either: a userfaultfd, an eventfd and the like, whose end nobody waits for. With its userfaultfd the marks would go by
 * which the kernel tells what was stored to.
 */
static void close_stream(int fd, void *arg)
{
	const struct streams *streams = arg;
	struct stat st;

	if (fd == streams->except || (fd == streams->keeper->sign && has_sign(streams->keeper)) || BARE(SYS_fstat, fd, &st) < 0 ||
	    S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) || (st.st_mode & S_IFMT) == 0)
		return;
	(void)BARE(SYS_close, fd);
}

/* What getdents64 gives. */
struct entry {
	uint64_t ino;
	int64_t offset;
	uint16_t len;
	uint8_t type;
	char name[];
};

static int number_of(const char *name)
{
	int number = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		number = number * 10 + (*name - '0');
	return *name ? -1 : number;
}

/* Calls for each entry of a folder of /proc whose name is a number. False: there is no such folder. */
static bool for_each(const char *folder, void (*call)(int number, void *arg), void *arg)
{
	int list = (int)BARE(SYS_openat, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_Alignas(struct entry) char entries[4096];
	long n;

	if (list < 0)
		return false;
	while ((n = BARE(SYS_getdents64, list, entries, sizeof(entries))) > 0)
		for (long at = 0; at < n;) {
			const struct entry *entry = (const struct entry *)(entries + at);

			if (number_of(entry->name) >= 0)
				call(number_of(entry->name), arg);
			at += entry->len;
		}
	(void)BARE(SYS_close, list);
	return n == 0;
}

void keeper_close_streams(const struct keeper *keeper, int except)
{
	struct streams streams = {keeper, except};
	struct rlimit limit = {0};

	if (for_each("/proc/self/fd", close_stream, &streams))
		return;
	(void)BARE(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	for (rlim_t fd = 0; fd < limit.rlim_cur && fd < MOST_FDS; fd++)
		close_stream((int)fd, &streams);
}

struct wanted {
	dev_t dev;
	ino_t ino;
	int found;
};

static void look_at_file(int fd, void *arg)
{
	struct wanted *wanted = arg;
	struct stat st;
	long flags;

	if (wanted->found >= 0 || BARE(SYS_fstat, fd, &st) < 0 || st.st_dev != wanted->dev || st.st_ino != wanted->ino)
		return;
	flags = BARE(SYS_fcntl, fd, F_GETFL);
	if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && !(flags & (O_APPEND | O_DIRECT | O_PATH)))
		wanted->found = fd;
}

int keeper_find_file(dev_t dev, ino_t ino)
{
	struct wanted wanted = {dev, ino, -1};

	(void)for_each("/proc/self/fd", look_at_file, &wanted);
	return wanted.found;
}

/* ---- threads ---- */

/* The first thread of a process stays in the list until the others have ended. */
static bool has_ended(int tid)
{
	char path[64], line[128] = "";
	const char *name_ends;
	int fd;

	if (tid != BARE(SYS_getpid, 0))
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = (int)BARE(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	(void)BARE(SYS_read, fd, line, sizeof(line) - 1);
	(void)BARE(SYS_close, fd);
	name_ends = strrchr(line, ')');
	return name_ends && (name_ends[1] == ' ' && (name_ends[2] == 'Z' || name_ends[2] == 'X'));
}

/* The engine's have names, and so have the kernel's that work for a ring. */
static void count_strange(int tid, void *arg)
{
	char path[64], name[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	fd = (int)BARE(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)BARE(SYS_read, fd, name, sizeof(name) - 1);
	(void)BARE(SYS_close, fd);
	if (tid != BARE(SYS_gettid, 0) && strncmp(name, "quire-", 6) != 0 && strncmp(name, "iou-", 4) != 0 && !has_ended(tid))
		++*(unsigned *)arg;
}

bool keeper_is_alone(void)
{
	unsigned strange = 0;

	return for_each("/proc/self/task", count_strange, &strange) && strange == 0;
}
