/* SPDX-License-Identifier: MIT */
/*
 * guard.h - guarded access: an error under a mapping ends a scope, not the program
 *
 *	struct quire_guard guard;
 *
 *	QUIRE_GUARD(&guard) {
 *		sum += table[i];
 *	} QUIRE_ERROR(&guard) {
 *		warnx("offset %lld: %s", (long long)guard.offset, strerror(guard.error));
 *	}
 *
 * Where a load or a store inside of the scope would raise SIGBUS, since its page cannot be had, the scope ends there and the
 * QUIRE_ERROR block runs instead, with what has happened in the guard. QUIRE_ERROR may be left out. To copy bytes, quire_load() and
 * quire_store() are simpler.
 *
 * => What is caught: errors of memory that Quire manages. SIGBUS of other memory, SIGSEGV (forbidden or unmapped addresses: an error of
 *    the program), and memory of the machine that has failed go their usual ways.
 * => error: EIO, or what else the storage said; ENODATA the page lies past the end of its object; ENOMEM no frame can be had; ENOSPC,
 *    EIO … likewise, since what is dirty cannot be written; what a page hook has answered.
 * => It is a sigsetjmp(3): local variables that are changed inside of the scope and read after an error have to be volatile, what was
 *    acquired inside is not released, and C++ objects that would have to be destroyed must not be made there.
 * => The scope is left by its end, by break and continue (which belong to it, not to a loop around it), return, goto, or an error; not
 *    by a longjmp of the program's own past it.
 * => Scopes nest, also across functions: the innermost catches. Each thread has its own. A signal handler that interrupts a scope and
 *    meets an error ends the scope, and itself with it; unless it has one of its own. Inside a call of Quire no scope is in force: a
 *    page that a call itself touches and cannot have raises SIGBUS.
 * => SIGBUS is let through inside of a scope, for a thread that has it blocked, and the signal mask after an error is that from before
 *    the scope. Entering costs one system call, leaving none (one where SIGBUS was blocked), an error one fault.
 * => Async-signal-safe.
 */
#ifndef QUIRE_GUARD_H
#define QUIRE_GUARD_H

#include <setjmp.h>
#include <signal.h>

#include <quire/quire.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

struct quire_guard {
	int error;    /* errno of the error that has ended the scope; 0: none */
	void *addr;   /* what was touched */
	off_t offset; /* where in the object that is, in bytes; -1: it has none */

	/* Below: of no interest to the program. */
	struct quire_guard *outer;
	sigset_t mask;
	sigjmp_buf jump;
};

#define QUIRE_GUARD(guard)              QUIRE_GUARD_AT_(guard, __LINE__)
#define QUIRE_GUARD_AT_(guard, line)    QUIRE_GUARD_NAMED_(guard, line)
#define QUIRE_GUARD_NAMED_(guard, line) QUIRE_GUARD_IN_(guard, quire_scope_##line)
#define QUIRE_GUARD_IN_(guard, scope)                                                                                              \
	if (sigsetjmp((guard)->jump, 0) == 0)                                                                                      \
		for (struct quire_guard * scope __attribute__((__cleanup__(quire_guard_leave))) = quire_guard_enter(guard); scope; \
		     quire_guard_leave(&scope))
#define QUIRE_ERROR(guard) else if ((guard)->error != 0)

/* What the macros are made of. enter returns guard; leave sets *scope to NULL, and does nothing where it is. */
struct quire_guard *quire_guard_enter(struct quire_guard *guard);
void quire_guard_leave(struct quire_guard **scope);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
