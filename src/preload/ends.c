/* SPDX-License-Identifier: MIT */
/*
 * ends.c - signals that end a program which has no handler for them
 *
 * What it has stored is in the kernel's pages and outlives it, where the kernel serves its mappings. Here it has to be written first: by a
 * handler that the program does not see (signals.c), for signals that are sent, so that it is there when the program has ended. After SIGKILL, and
 * after a fault that nobody catches, the keeper does it, a moment later.
 */
#include "ends.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "next.h"
#include "processes.h"

static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGVTALRM, SIGPROF};

/* The engine blocks signals while it holds anything, and the program's handlers run on what they interrupt: here, nothing is held. */
static void on_end(int number)
{
	struct sigaction fallback = {.sa_handler = SIG_DFL};
	sigset_t only;

	processes_end();
	NEXT(sigaction)(number, &fallback, NULL);
	sigemptyset(&only);
	sigaddset(&only, number);
	NEXT(pthread_sigmask)(SIG_UNBLOCK, &only, NULL);
	raise(number);
}

bool ends_by(int number)
{
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		if (ending[i] == number)
			return true;
	return false;
}

bool ends_is_ours(const struct sigaction *action)
{
	return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == on_end;
}

void ends_set(struct sigaction *action)
{
	memset(action, 0, sizeof(*action));
	action->sa_handler = on_end;
	action->sa_flags = SA_RESTART;
	sigfillset(&action->sa_mask);
	sigdelset(&action->sa_mask, SIGBUS);
	sigdelset(&action->sa_mask, SIGSEGV);
}

void ends_start(void)
{
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++) {
		struct sigaction now, ours;

		if (NEXT(sigaction)(ending[i], NULL, &now) < 0 || (now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_DFL)
			continue;
		ends_set(&ours);
		NEXT(sigaction)(ending[i], &ours, NULL);
	}
}
