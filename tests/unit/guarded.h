/* SPDX-License-Identifier: MIT */
/*
 * guarded.h - touching memory that may raise a signal, and finding a userfaultfd
 *
 * Not for tests in which the engine's own handler has to run: cmocka puts its handlers in place before every test, and
 * guard() replaces those until the end of the test.
 */
#ifndef QUIRE_UNIT_GUARDED_H
#define QUIRE_UNIT_GUARDED_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "sys/uffd.h"

static sigjmp_buf *volatile landing;

static void on_guarded(int signo)
{
	if (landing)
		siglongjmp(*landing, signo);
	signal(signo, SIG_DFL);
}

static inline void guard(void)
{
	signal(SIGBUS, on_guarded);
	signal(SIGSEGV, on_guarded);
}

/* The byte at addr; -SIGBUS or -SIGSEGV where the access raised one. */
static inline int load_byte(const void *addr)
{
	sigjmp_buf here;
	int value, signo = sigsetjmp(here, 1);

	if (signo) {
		landing = NULL;
		return -signo;
	}
	landing = &here;
	value = *(const volatile unsigned char *)addr;
	landing = NULL;
	return value;
}

/* 0, or minus the signal. */
static inline int store_byte(void *addr, int value)
{
	sigjmp_buf here;
	int signo = sigsetjmp(here, 1);

	if (signo) {
		landing = NULL;
		return -signo;
	}
	landing = &here;
	*(volatile unsigned char *)addr = (unsigned char)value;
	landing = NULL;
	return 0;
}

/* Leaves the test as skipped where userfaultfd is refused, or where it lacks one of these features. */
static inline enum uffd_source source_or_skip(uint64_t features)
{
	enum uffd_source source = uffd_find(false);
	uint64_t has = 0;

	if (source == UFFD_NONE || uffd_probe(source, &has) < 0 || (has & features) != features) {
		print_message("userfaultfd, or what is needed of it, is not to be had here\n");
		skip();
	}
	return source;
}

#endif
