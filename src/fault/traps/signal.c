/* SPDX-License-Identifier: MIT */
/*
 * signal.c - the signal handlers: SIGBUS, which is the trap on the faulting thread, and SIGSEGV
 *
 * The handlers may call what is async-signal-safe only, and take locks of the engine. That cannot deadlock: they run because
 * the program touched managed memory, which the engine never does with a lock held (I5); and a signal handler of the program
 * that touches managed memory cannot have interrupted the engine, whose calls block signals.
 *
 * SIGSEGV is caught for one reason: while a mapping is replaced or moved it is inaccessible for a moment (space/map.c, remap.c). A thread
 * that touches it just then waits until that is over and tries again, as it would have waited in the kernel.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "fault/fault.h"
#include "fault/guard.h"
#include "fault/traps/trap.h"
#include "remote/client.h"
#include "sys/page_size.h"

/* A signal handler has no argument of ours: these are the only file-scope variables of the engine. */
static struct space *_Atomic trapped_space;
static struct sigaction previous_bus, previous_segv;

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* Where the processor's answer cannot be read, any access counts as a store. */
static enum access access_of(const void *context)
{
#if defined(__x86_64__)
	greg_t error = ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR];

	return error & 16 ? ACCESS_FETCH : error & 2 ? ACCESS_WRITE : ACCESS_READ;
#elif defined(__aarch64__)
	/* Records follow one another in the reserved space; the syndrome's class tells a fetch, and its WnR bit a store. */
	const struct _aarch64_ctx *record = (const void *)((const ucontext_t *)context)->uc_mcontext.__reserved;

	for (; record->magic; record = (const void *)((const char *)record + record->size))
		if (record->magic == ESR_MAGIC) {
			uint64_t esr = ((const struct esr_context *)record)->esr;

			return esr >> 26 == 0x20 ? ACCESS_FETCH : esr & (1u << 6) ? ACCESS_WRITE : ACCESS_READ;
		}
	return ACCESS_WRITE;
#else
	(void)context;
	return ACCESS_WRITE;
#endif
}

/* As the kernel would have called it: with what the thread had blocked, what the handler wants blocked, and the signal itself. */
static void call_previous(struct sigaction *previous, int number, siginfo_t *info, ucontext_t *context)
{
	struct sigaction action = *previous;
	sigset_t mask;

	sigorset(&mask, &context->uc_sigmask, &action.sa_mask);
	if (!(action.sa_flags & SA_NODEFER))
		sigaddset(&mask, number);
	if (action.sa_flags & SA_RESETHAND)
		*previous = (struct sigaction){.sa_handler = SIG_DFL};
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(number, info, context);
	else
		action.sa_handler(number);
}

/* Not ours, or not to be resolved: to the handler that was there before, or the default, which is to die here with a core. */
static void pass_on(struct sigaction *previous, int number, siginfo_t *info, void *context)
{
	struct sigaction fallback = {.sa_handler = SIG_DFL};

	/* Sent by somebody, and to be ignored: so be it. A fault that is ignored kills all the same. */
	if (!(previous->sa_flags & SA_SIGINFO) && previous->sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if ((previous->sa_flags & SA_SIGINFO) || (previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN)) {
		call_previous(previous, number, info, context);
		return;
	}
	/* A fault is raised again when the instruction is; a signal that was sent has to be sent again. */
	sigaction(number, &fallback, NULL);
	if (info->si_code <= 0)
		raise(number);
}

static bool is_own(struct space *space)
{
	const char *mark = atomic_load_explicit(&space->own_process, memory_order_relaxed);

	return !mark || *mark;
}

/* Whether the kernel has nothing at addr: unmapped since the fault, whose repetition is then SIGSEGV. */
static bool is_unmapped(const void *addr)
{
	unsigned char resident;
	uintptr_t page = (uintptr_t)addr & ~(uintptr_t)(page_size() - 1);

	return syscall(SYS_mincore, page, page_size(), &resident) < 0 && errno == ENOMEM;
}

/* Areas were changed since there were so many edits, or are being changed: the lock is had when that is over. */
static bool is_changed(struct space *space, uint64_t edits)
{
	bool changed;

	rwlock_read_acquire(&space->cache->map_lock);
	changed = atomic_load_explicit(&space->edits, memory_order_relaxed) != edits;
	rwlock_read_release(&space->cache->map_lock);
	return changed;
}

/* Asks the program, if it wants to be asked, until the page is there or it has nothing more to say. */
static enum fault_result ask(struct fault *fault, void *touched, struct quire_error *ret_error)
{
	enum fault_result result = FAULT_BUS;

	for (unsigned tries = 0; result == FAULT_BUS; tries++) {
		enum quire_error_answer answer = QUIRE_ANSWER_FAIL;
		struct error_callback callback;
		int r = 0;

		fault_describe(fault, touched, tries, ret_error, &callback);
		if (callback.call)
			answer = callback.call(callback.arg, ret_error);
		if (answer == QUIRE_ANSWER_ZERO)
			r = fault_fill(fault);
		if (answer == QUIRE_ANSWER_ZERO && r == 0)
			return FAULT_DONE;
		if (answer != QUIRE_ANSWER_RETRY && r != -EAGAIN)
			break;
		result = fault_resolve(fault);
	}
	return result;
}

static enum fault_result resolve(struct fault *fault, void *touched, struct quire_error *ret_error)
{
	enum fault_result result;
	int cancel_state;

	/* A cancellation must not act on what the engine's system calls would make of it: the thread's, not the access's, end. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	result = fault_resolve(fault);
	if (result == FAULT_BUS)
		result = ask(fault, touched, ret_error);
	pthread_setcancelstate(cancel_state, NULL);
	return result;
}

/*
 * A page that the thread trap has refused raises SIGBUS at its next touch, by UFFDIO_POISON: with BUS_ADRERR, or, where the kernel
 * can handle memory failures, BUS_MCEERR_AR, which memory that has really failed raises as well. That is told apart by the second
 * SIGBUS at a page that was in place after the first, with nothing changed in between.
 */
struct placed {
	const void *addr;
	uint64_t edits, evicted_pages;
};

static struct placed placed_at(struct space *space, const void *addr)
{
	return (struct placed){addr, atomic_load_explicit(&space->edits, memory_order_relaxed),
			       atomic_load_explicit(&space->cache->counters.evicted_pages, memory_order_relaxed)};
}

/* SIGBUS in a process that another's engine serves. False: not ours. */
static bool serve_client(siginfo_t *info, void *context)
{
	struct quire_error error;
	int saved_errno = errno;
	enum client_fault result;

	if (!client_is() || (info->si_code != BUS_ADRERR && info->si_code != BUS_MCEERR_AR))
		return false;
	result = client_fault(info->si_addr, access_of(context) == ACCESS_WRITE, &error);
	errno = saved_errno;
	if (result == CLIENT_ERROR)
		info->si_code = BUS_ADRERR;
	return result == CLIENT_AGAIN || (result == CLIENT_ERROR && guard_catch(context, &error));
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	static __thread struct placed last;
	struct space *space = atomic_load_explicit(&trapped_space, memory_order_acquire);
	bool failure = info->si_code == BUS_MCEERR_AR;
	int saved_errno = errno;

	if (serve_client(info, context))
		return;
	if (space && is_own(space) && (info->si_code == BUS_ADRERR || (failure && !space->pmap.sigbus))) {
		struct placed now = placed_at(space, info->si_addr);
		bool failed =
		    failure && last.addr == now.addr && last.edits == now.edits && last.evicted_pages == now.evicted_pages;
		struct fault fault = {.space = space, .addr = info->si_addr, .write = access_of(context) == ACCESS_WRITE};
		struct quire_error error;
		enum fault_result result = failed ? FAULT_NONE : resolve(&fault, info->si_addr, &error);
		/* Unmapped since the fault, and perhaps mapped again since the look. */
		bool again = result == FAULT_NONE && !failed && (is_unmapped(info->si_addr) || is_changed(space, now.edits));

		last = failure && result == FAULT_DONE ? placed_at(space, info->si_addr) : (struct placed){0};
		errno = saved_errno;
		if (result == FAULT_DONE || again)
			return;
		if (result == FAULT_BUS) {
			if (guard_catch(context, &error))
				return;
			info->si_code = BUS_ADRERR;
		}
	}
	pass_on(&previous_bus, number, info, context);
}

/* Whether the mapping at addr allows the access; how often areas were changed before. */
static bool allows(struct space *space, const void *addr, enum access access, uint64_t *ret_edits)
{
	static const int needs[] = {
	    [ACCESS_READ] = PROT_READ | PROT_WRITE | PROT_EXEC, [ACCESS_WRITE] = PROT_WRITE, [ACCESS_FETCH] = PROT_EXEC};
	struct area *area;
	bool allowed;

	if (client_is())
		return client_allows((void *)(uintptr_t)addr, needs[access], ret_edits);
	rwlock_read_acquire(&space->cache->map_lock);
	area = space_find(space, addr);
	allowed = area && (area->prot & needs[access]);
	*ret_edits = atomic_load_explicit(&space->edits, memory_order_relaxed);
	rwlock_read_release(&space->cache->map_lock);
	return allowed;
}

/* Whether something was just being left to the kernel, or stores held off: that is over on return. */
static bool is_left(struct space *space)
{
	bool left = false;
	uint32_t n;

	while (!client_is() && (n = atomic_load(&space->leaving)) > 0) {
		futex_wait(&space->leaving, n, NULL);
		left = true;
	}
	return left;
}

/*
 * The kernel has refused the access. Where the mapping allows it, it is tried again, once for each change of the areas: when nothing
 * was changed since, the kernel and we disagree about the protection, and no repetition will help. Where it does not, it may have been
 * another mapping, about to be replaced, whose inaccessible moment was met: SEGV_ACCERR has to be true of what is there now.
 */
static bool is_to_be_tried_again(struct space *space, const siginfo_t *info, enum access access)
{
	static __thread struct tried {
		const void *addr;
		uint64_t edits;
	} allowed, refused;
	struct tried *last = &allowed;
	const void *addr = info->si_addr;
	uint64_t edits, later;

	if (is_left(space))
		return true;
	if (!allows(space, addr, access, &edits)) {
		if (info->si_code != SEGV_ACCERR)
			return false;
		if (is_unmapped(addr))
			return true;
		(void)allows(space, addr, access, &later);
		/* What is there now may be the kernel's, and accessible: once. */
		if (later != edits)
			return true;
		last = &refused;
	}
	if (last->addr == addr && last->edits == edits)
		return false;
	last->addr = addr;
	last->edits = edits;
	return true;
}

static void on_sigsegv(int number, siginfo_t *info, void *context)
{
	struct space *space = atomic_load_explicit(&trapped_space, memory_order_acquire);

	/* A thread that holds the map lock is inside of the engine. */
	if ((client_is() || (space && is_own(space))) && rwlock_held == 0 &&
	    (info->si_code == SEGV_ACCERR || info->si_code == SEGV_MAPERR)) {
		int saved_errno = errno;
		bool again = is_to_be_tried_again(space, info, access_of(context));

		errno = saved_errno;
		if (again)
			return;
	}
	pass_on(&previous_segv, number, info, context);
}

int signal_trap_start(struct space *space)
{
	struct sigaction bus = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	struct sigaction segv = {.sa_sigaction = on_sigsegv, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	/* Everything is blocked meanwhile, so that no handler of the program runs on top of ours. */
	sigfillset(&bus.sa_mask);
	sigdelset(&bus.sa_mask, SIGSEGV);
	sigfillset(&segv.sa_mask);
	atomic_store(&trapped_space, space);
	if (sigaction(SIGBUS, &bus, &previous_bus) < 0 || sigaction(SIGSEGV, &segv, &previous_segv) < 0) {
		atomic_store(&trapped_space, NULL);
		return -errno;
	}
	return 0;
}

bool signal_trap_chain(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction *previous = number == SIGBUS ? &previous_bus : number == SIGSEGV ? &previous_segv : NULL;
	struct sigaction before;
	sigset_t all, mask;

	if (!previous || !atomic_load(&trapped_space))
		return false;
	/* On this thread no fault is met in the middle; another's may meet a half of each, as it may with a handler that is being changed. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &mask);
	before = *previous;
	if (action)
		*previous = *action;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (ret_old)
		*ret_old = before;
	return true;
}

void signal_trap_stop(void)
{
	sigaction(SIGSEGV, &previous_segv, NULL);
	sigaction(SIGBUS, &previous_bus, NULL);
	atomic_store(&trapped_space, NULL);
}
