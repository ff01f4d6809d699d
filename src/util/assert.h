/* SPDX-License-Identifier: MIT */
/*
 * assert.h - three grades of assertion
 *
 * ASSERT stays in every build: what it guards would lose or invent a byte. INVARIANT is for debug builds, EXPENSIVE for those that may
 * walk whole structures. None of them guards against a caller's or a disk's mistake: those are errors, not assertions.
 */
#ifndef QUIRE_ASSERT_H
#define QUIRE_ASSERT_H

#ifndef QUIRE_DEBUG_LEVEL
#define QUIRE_DEBUG_LEVEL 0
#endif

/* Says where and aborts. Async-signal-safe. */
__attribute__((noreturn, cold)) void assert_failed(const char *what, const char *file, int line);

#define ASSERT(cond) (__builtin_expect(!!(cond), 1) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__))

#if QUIRE_DEBUG_LEVEL >= 1
#define INVARIANT(cond) ASSERT(cond)
#else
#define INVARIANT(cond) ((void)sizeof(!!(cond)))
#endif

#if QUIRE_DEBUG_LEVEL >= 2
#define EXPENSIVE(cond) ASSERT(cond)
#else
#define EXPENSIVE(cond) ((void)sizeof(!!(cond)))
#endif

#endif
