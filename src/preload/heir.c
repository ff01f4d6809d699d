/* SPDX-License-Identifier: MIT */
/*
 * heir.c - the engine of a program that ends goes on, for the children that live on
 *
 * A program that forks and exits in the parent leaves a child whose mappings the parent's engine serves. With the kernel's mmap they
 * would not end with the parent. So the process that ends stops its engine, and forks it off:
 *
 *      the program   exit ── writes back ── unmaps its own ── ends its threads ── forks ── ends
 *      the heir                                                                 └── starts the threads ── waits for the last child ── writes back ── ends
 *      a child                            (its faults and calls wait in sockets) ──────────┴── goes on
 *
 * All that the engine has is copied by the fork, but for its threads: frames, swap, the children's userfaultfds and sockets are descriptors.
 * So that no lock, page word or transfer is caught in other hands, each of its threads has ended, with nothing in hand, before; and the
 * program has no other thread than the one that ends: which lock of the C library another one holds could not be known. Where it has
 * more, or is killed, the children lose their mappings, as with the library. So they do where a signal's handler ends a program
 * in the middle of malloc, whose lock is never given up then: the heir tries, and a timer ends it if it does not come back.
 *
 * What the program has opened is closed in the heir: others wait for the end of pipes and sockets. It is in a session of its own, all
 * signals blocked, and nobody's child when the program has ended.
 *
 * Rejected: a child that takes over what it has mapped by itself, from the files: of several children each would have a cache of its own. A
 * process that shares the program's memory, as the keeper does: the program's other threads would be stopped in it just as well, and with
 * it stays whatever they hold. To delay the program's end: who waits for it waits for the daemon.
 */
#include "heir.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "counts.h"
#include "entry.h"
#include "files.h"
#include "keep.h"
#include "kernel.h"
#include "next.h"
#include "start.h"
#include "sys/claim.h"

#define MALLOC_BYTES 5000
#define MALLOC_S     5

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
/* Without the handlers of pthread_atfork, which are the program's, and the engine's for a child that is served. */
#define FORK() _Fork()
#else
#define FORK() (-1)
#endif

/* Memory without a file may be what the C library needs to the very end, to write what is left in streams. */
bool heir_is_wanted(struct engine *engine)
{
	return !start.rules.anonymous && !engine->atomics.head && !engine->user_pagers.head && remotes_any(&engine->remotes) &&
	       keeper_is_alone();
}

static void close_others(void)
{
	unsigned first = 0;

	for (int own; (own = kernel_next_own((int)first)) >= 0; first = (unsigned)own + 1)
		if ((unsigned)own > first)
			(void)kernel_call(SYS_close_range, first, own - 1, 0, 0, 0, 0);
	(void)kernel_call(SYS_close_range, first, ~0u, 0, 0, 0, 0);
}

/* Of a size for which malloc takes its lock. */
static void try_malloc(void)
{
	struct sigaction fallback = {.sa_handler = SIG_DFL};
	sigset_t timer;

	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	NEXT(sigaction)(SIGALRM, &fallback, NULL);
	NEXT(pthread_sigmask)(SIG_UNBLOCK, &timer, NULL);
	alarm(MALLOC_S);
	free(malloc(MALLOC_BYTES));
	alarm(0);
	NEXT(pthread_sigmask)(SIG_BLOCK, &timer, NULL);
}

static _Noreturn void heir_main(struct engine *engine)
{
	entry_take_over();
	start.pid = getpid();
	(void)prctl(PR_SET_NAME, "quire-heir");
	(void)setsid();
	close_others();
	try_malloc();
	claims_repeat();
	if (engine_resume(engine) == 0) {
		if (engine->config.keeper)
			keep_return(engine);
		remotes_wait_for_all(&engine->remotes);
		(void)entry_write_back(engine);
		keep_end(engine, false);
	}
	NEXT(_exit)(0);
	__builtin_unreachable();
}

bool heir_start(struct engine *engine)
{
	struct entry entry;
	sigset_t all, before;
	pid_t pid = -1;

	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, &before);
	entry_begin(&entry, "exit");
	files_orphan();
	if (writeback_all(&engine->registry) == 0 && engine_suspend(engine) == 0) {
		pid = FORK();
		if (pid == 0)
			heir_main(engine);
		if (pid < 0)
			(void)engine_resume(engine);
		else
			entry_hand_over();
	}
	entry_end(&entry, 0);
	if (pid < 0)
		NEXT(pthread_sigmask)(SIG_SETMASK, &before, NULL);
	return pid > 0;
}
