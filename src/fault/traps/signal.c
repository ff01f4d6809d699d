/* SPDX-License-Identifier: MIT */
/*
 * signal.c - the trap on the faulting thread: a SIGBUS handler
 *
 * The handler may call what is async-signal-safe only, and takes locks of the engine. That cannot deadlock: it runs because
 * the program touched managed memory, which the engine never does with a lock held (I5); and a signal handler of the program
 * that touches managed memory cannot have interrupted the engine, whose calls block signals.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "fault/fault.h"
#include "fault/traps/trap.h"

/* A signal handler has no argument of ours: these are the only file-scope variables of the engine. */
static struct space *_Atomic trapped_space;
static struct sigaction previous;

/* Whether the access was a store. Where the processor's answer cannot be read, any access counts as one. */
static bool was_write(const void *context)
{
#if defined(__x86_64__)
	return ((const ucontext_t *) context)->uc_mcontext.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
	/* Records follow one another in the reserved space; the syndrome's WnR bit tells. */
	const struct _aarch64_ctx *record = (const void *) ((const ucontext_t *) context)->uc_mcontext.__reserved;

	for (; record->magic; record = (const void *) ((const char *) record + record->size))
		if (record->magic == ESR_MAGIC)
			return ((const struct esr_context *) record)->esr & (1u << 6);
	return true;
#else
	(void) context;
	return true;
#endif
}

/* Not ours, or not to be resolved: to the handler that was there before, or the default, which is to die here with a core. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	/* Sent by somebody, and to be ignored: so be it. A fault that is ignored kills all the same. */
	if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
	} else {
		struct sigaction fallback = {.sa_handler = SIG_DFL};

		/* A fault is raised again when the instruction is; a signal that was sent has to be sent again. */
		sigaction(SIGBUS, &fallback, NULL);
		if (info->si_code <= 0)
			raise(number);
	}
}

static bool is_own(struct space *space)
{
	const char *mark = atomic_load_explicit(&space->own_process, memory_order_relaxed);

	return !mark || *mark;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	struct space *space = atomic_load_explicit(&trapped_space, memory_order_acquire);
	int saved_errno = errno;

	if (space && info->si_code == BUS_ADRERR && is_own(space)) {
		struct fault fault = {.space = space, .addr = info->si_addr, .write = was_write(context)};

		enum fault_result result;
		int cancel_state;

		/* A cancellation must not act on what the engine's system calls would make of it: the thread's, not the access's, end. */
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
		result = fault_resolve(&fault);
		pthread_setcancelstate(cancel_state, NULL);
		if (result == FAULT_DONE) {
			errno = saved_errno;
			return;
		}
	}
	errno = saved_errno;
	pass_on(number, info, context);
}

int signal_trap_start(struct space *space)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	/* Everything is blocked meanwhile, so that no handler of the program runs on top of ours. */
	sigfillset(&action.sa_mask);
	sigdelset(&action.sa_mask, SIGSEGV);
	atomic_store(&trapped_space, space);
	if (sigaction(SIGBUS, &action, &previous) < 0) {
		atomic_store(&trapped_space, NULL);
		return -errno;
	}
	return 0;
}

void signal_trap_stop(void)
{
	sigaction(SIGBUS, &previous, NULL);
	atomic_store(&trapped_space, NULL);
}
