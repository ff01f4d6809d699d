/* SPDX-License-Identifier: MIT */
/*
 * subjects.h - what is compared with the kernel
 */
#ifndef ORACLE_SUBJECTS_H
#define ORACLE_SUBJECTS_H

#include "side.h"

/*
 * Quire, with this budget and trap: "signal", "thread", "auto", NULL as the environment says. The handlers of guard.h are installed
 * already.
 * => 0, 77 not possible here (said on standard error), 2 wrong (said too)
 */
int quire_make(struct calls *ret, size_t memory_bytes, const char *trap);

/* The kernel again, whose failed calls change nothing. */
void strict_make(struct calls *ret);

/*
 * The kernel with one fault of this kind: proves that the harness finds it, and shrinks what it found.
 * => false: no such kind. broken_list prints those there are.
 */
bool broken_make(struct calls *ret, const char *kind);
void broken_list(FILE *out);

#endif
