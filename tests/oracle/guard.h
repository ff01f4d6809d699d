/* SPDX-License-Identifier: MIT */
/*
 * guard.h - loads and stores that survive their signals
 */
#ifndef ORACLE_GUARD_H
#define ORACLE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a refused access raised. sig 0: nothing. */
struct trap {
	int sig, code;
	uintptr_t addr;
};

/*
 * Installs the handlers of SIGSEGV and SIGBUS. Must come before the first call of the library, which passes on what is not
 * its own to the handler it found.
 * => crashed is called, in the signal handler, for a signal outside guarded accesses.
 */
void guard_install(void (*crashed)(int sig));

/*
 * Copies between managed memory and a buffer, by the widest aligned units that n allows; one page at most.
 * => false the access raised a signal; ret tells which.
 */
bool guard_load(void *buffer, const void *memory, size_t n, struct trap *ret);
bool guard_store(void *memory, const void *buffer, size_t n, struct trap *ret);

#endif
