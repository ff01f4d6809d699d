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
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys/bare.h"
#include "sys/thread.h"

#define STACK_BYTES ((size_t)64 << 10)
#define GRACE_MS    1000      /* that threads of a dying process may take for what they are at in the kernel */
#define MOST_FDS    (1 << 20) /* that are closed where there is no list of them: fs.nr_open is as much, as a rule */

enum { KEEPER_STARTING, KEEPER_THERE, KEEPER_GONE };

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
	(void)BARE(SYS_prctl, PR_SET_NAME, "quire-keeper");
	(void)BARE(SYS_setsid, 0);
	/* From here on it is safe from what the program's kin is sent. */
	atomic_store(&keeper->pid, (pid_t)BARE(SYS_getpid, 0));
	tell(keeper, KEEPER_THERE);
	/* Not private: the kernel does not wake those. */
	while (!((alive = atomic_load(&keeper->alive)) & FUTEX_OWNER_DIED))
		(void)BARE(SYS_futex, &keeper->alive, FUTEX_WAIT, alive, NULL);
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
		atomic_store(&keeper->state, KEEPER_STARTING);
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

bool keeper_stop(struct keeper *keeper)
{
	bool there;

	/* In the child of a vfork, which has this memory, it is the parent's. */
	if (!atomic_load(&keeper->there) || keeper->process != getpid())
		return false;
	lock_acquire(&keeper->lock);
	there = atomic_load(&keeper->there);
	if (there) {
		/* It has nothing in hand: it only sleeps. */
		if (atomic_load(&keeper->state) == KEEPER_THERE)
			(void)BARE(SYS_kill, keeper->pid, SIGKILL);
		pthread_join(keeper->thread, NULL);
		atomic_store(&keeper->there, false);
	}
	lock_release(&keeper->lock);
	return there;
}

/* ---- for its work ---- */

static void close_stream(int fd, void *except)
{
	struct stat st;

	if (fd == *(int *)except || BARE(SYS_fstat, fd, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ||
	    S_ISBLK(st.st_mode))
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

void keeper_close_streams(int except)
{
	struct rlimit limit = {0};

	if (for_each("/proc/self/fd", close_stream, &except))
		return;
	(void)BARE(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	for (rlim_t fd = 0; fd < limit.rlim_cur && fd < MOST_FDS; fd++)
		close_stream((int)fd, &except);
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
