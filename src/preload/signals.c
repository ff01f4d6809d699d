/* SPDX-License-Identifier: MIT */
/*
 * signals.c - handlers and masks, in front of the C library's
 *
 * SIGBUS and SIGSEGV are the engine's from the first mapping on. A handler that the program installs then stands behind: it gets what is
 * not the engine's, and sigaction() tells of it as if nobody stood before it.
 *
 * Under the signal trap a thread that blocks SIGBUS is killed by its first fault. The program does not know that there are any: so the
 * two are never blocked, neither by a thread nor while a handler runs. What a program would have held back is a SIGBUS or SIGSEGV that somebody
 * has sent; one that its own access raises kills a thread that blocks it anyhow.
 */
#include <errno.h>
#include <signal.h>

#include "ends.h"
#include "fault/traps/trap.h"
#include "next.h"
#include "start.h"

static bool is_engines(int number)
{
	return number == SIGBUS || number == SIGSEGV;
}

/* As the kernel is to have it. */
static const struct sigaction *translate(int number, const struct sigaction *action, struct sigaction *room)
{
	if (!action || is_engines(number))
		return action;
	*room = *action;
	sigdelset(&room->sa_mask, SIGBUS);
	sigdelset(&room->sa_mask, SIGSEGV);
	if (start_is_running() && ends_by(number) && !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_DFL)
		ends_set(room);
	return room;
}

INTERPOSED int sigaction(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction room;
	int r;

	if (is_engines(number) && start_is_running() && signal_trap_chain(number, action, ret_old))
		return 0;
	r = NEXT(sigaction)(number, translate(number, action, &room), ret_old);
	if (r == 0 && ret_old && ends_is_ours(ret_old))
		*ret_old = (struct sigaction){.sa_handler = SIG_DFL};
	return r;
}

static sighandler_t set(int number, sighandler_t handler, int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;

	sigemptyset(&action.sa_mask);
	return sigaction(number, &action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

INTERPOSED sighandler_t signal(int number, sighandler_t handler)
{
	return set(number, handler, SA_RESTART);
}

INTERPOSED sighandler_t bsd_signal(int number, sighandler_t handler);
INTERPOSED sighandler_t bsd_signal(int number, sighandler_t handler)
{
	return set(number, handler, SA_RESTART);
}

INTERPOSED sighandler_t sysv_signal(int number, sighandler_t handler)
{
	return set(number, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

INTERPOSED sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	return sysv_signal(number, handler);
}

/* ---- masks ---- */

/* Which of the two this thread would have blocked: it is told so. */
static __thread bool blocks[2];
static const int held[2] = {SIGBUS, SIGSEGV};

/* set without them. */
static const sigset_t *without(const sigset_t *set, sigset_t *room)
{
	if (!set)
		return set;
	*room = *set;
	sigdelset(room, SIGBUS);
	sigdelset(room, SIGSEGV);
	return room;
}

static void note(int how, const sigset_t *set, const sigset_t *asked, sigset_t *ret_old)
{
	for (unsigned i = 0; i < 2; i++) {
		bool in = set && sigismember(asked, held[i]) == 1;

		if (ret_old && blocks[i])
			sigaddset(ret_old, held[i]);
		if (set)
			blocks[i] = how == SIG_SETMASK ? in : how == SIG_BLOCK ? blocks[i] || in : blocks[i] && !in;
	}
}

static int mask(__typeof__(&sigprocmask) call, int how, const sigset_t *set, sigset_t *ret_old)
{
	sigset_t room, asked;
	int r;

	sigemptyset(&asked);
	if (set)
		asked = *set;
	r = call(how, how == SIG_UNBLOCK ? set : without(set, &room), ret_old);
	if (r == 0)
		note(how, set, &asked, ret_old);
	return r;
}

INTERPOSED int sigprocmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return mask(NEXT(sigprocmask), how, set, ret_old);
}

INTERPOSED int pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return mask(NEXT(pthread_sigmask), how, set, ret_old);
}
