/* SPDX-License-Identifier: MIT */
/*
 * family.c - the processes of a program
 */
#include "family.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What only this module says. */
enum { COMMAND_END = -1 };

static int self;

int family_self(void)
{
	return self;
}

void family_begin(struct family *f)
{
	for (int i = 0; i < PROCESSES; i++) {
		f->pids[i] = 0;
		f->pidfds[i] = -1;
	}
	f->pids[0] = getpid();
	/* Those whose parent has ended come to us. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void pass_turn(struct family *f, int to)
{
	atomic_store(&f->turn, (uint32_t)to);
	syscall(SYS_futex, &f->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Returns now and then, so that who waits can see whether he whom he waits for is still there. */
static void await_turn(struct family *f, long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	uint32_t turn = atomic_load(&f->turn);

	if (turn != (uint32_t)self)
		syscall(SYS_futex, &f->turn, FUTEX_WAIT, turn, &t, NULL, 0);
}

/* ---- a child ---- */

__attribute__((noreturn)) static void end(enum exit_way how)
{
	if (how == EXIT_KILL)
		kill(getpid(), SIGKILL);
	if (how == EXIT_EXEC)
		execl("/bin/true", "true", (char *)NULL);
	_exit(0);
}

__attribute__((noreturn)) static void serve(struct family *f, family_work *work, void *arg)
{
	for (;;) {
		while (atomic_load(&f->turn) != (uint32_t)self) {
			await_turn(f, 1000);
			if (kill(f->pids[0], 0) != 0 && errno == ESRCH)
				_exit(1);
		}
		if (f->command == COMMAND_END)
			end(f->way);
		f->answer = work(arg, f->command);
		pass_turn(f, 0);
	}
}

bool family_fork(struct family *f, int child, family_work *work, void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		self = child;
		/* Its own children are the kernel's to bury, or process 0's. */
		signal(SIGCHLD, SIG_IGN);
		serve(f, work, arg);
	}
	if (pid > 0)
		f->pids[child] = pid;
	return pid > 0;
}

/* ---- process 0 ---- */

bool family_meet(struct family *f, int process)
{
	f->pidfds[process] = (int)syscall(SYS_pidfd_open, f->pids[process], 0);
	return f->pidfds[process] >= 0;
}

static bool has_died(const struct family *f, int process, int ms)
{
	struct pollfd p = {.fd = f->pidfds[process], .events = POLLIN};

	return p.fd < 0 || poll(&p, 1, ms) > 0;
}

enum family_answer family_ask(struct family *f, int process, int command, family_work *work, void *arg)
{
	if (process == 0)
		return work(arg, command) ? FAMILY_YES : FAMILY_NO;
	f->command = command;
	pass_turn(f, process);
	while (atomic_load(&f->turn) != 0) {
		await_turn(f, 50);
		if (atomic_load(&f->turn) != 0 && has_died(f, process, 0))
			return FAMILY_DIED;
	}
	return f->answer ? FAMILY_YES : FAMILY_NO;
}

int family_bury(struct family *f, int process)
{
	int status = 0;

	while (!has_died(f, process, -1))
		;
	/* It may be another's child, which the kernel has buried. */
	if (waitpid(f->pids[process], &status, 0) < 0)
		status = 0;
	if (f->pidfds[process] >= 0)
		close(f->pidfds[process]);
	f->pidfds[process] = -1;
	f->pids[process] = 0;
	atomic_store(&f->turn, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void family_end(struct family *f, int process, enum exit_way how)
{
	f->command = COMMAND_END;
	f->way = how;
	pass_turn(f, process);
	family_bury(f, process);
}

void family_kill(struct family *f)
{
	for (int i = 1; i < PROCESSES; i++) {
		if (f->pids[i] > 0)
			kill(f->pids[i], SIGKILL);
	}
}
