/* SPDX-License-Identifier: MIT */
/*
 * guard.h - guarded access: where a thread goes on instead of dying of SIGBUS
 */
#ifndef QUIRE_FAULT_GUARD_H
#define QUIRE_FAULT_GUARD_H

#include <stdbool.h>

struct quire_error;
struct quire_guard;

/* All are async-signal-safe. */
void guard_enter(struct quire_guard *guard);
void guard_leave(struct quire_guard *guard);

/* Puts the thread's guards out of force while it is inside a call, and back. */
struct quire_guard *guard_suspend(void);
void guard_resume(struct quire_guard *guard);

/*
 * For the handler of SIGBUS, which has given up all it held: lets the thread go on, when the handler returns, behind the innermost
 * scope that it is in. False: it is in none.
 */
bool guard_catch(void *context, const struct quire_error *error);

#endif
