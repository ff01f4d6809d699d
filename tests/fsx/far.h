/* SPDX-License-Identifier: MIT */
/*
 * far.h - the calls and accesses of the exerciser, made in this process or in one of its children
 *
 * All is decided here: a child does what it is told, and answers.
 */
#ifndef FSX_FAR_H
#define FSX_FAR_H

#include "../oracle/family.h"
#include "../oracle/side.h"

enum { FAR_PROCESSES = 3, FAR_BYTES = 65536 };

/* Makes ready for children, which call what calls has. => the table of calls that are made where far_in() says; NULL: errno */
const struct calls *far_open(const struct calls *calls);

/* From now on, calls and accesses are made in this process. 0 is this one. */
void far_in(int process);
bool far_lives(int process);

/* The process that far_in() said forks. => false: errno */
bool far_fork(int child);

/* Ends a child, and waits until it is not served any more. This process is meant from now on. */
void far_exit(int process, enum exit_way how);

/* At most FAR_BYTES. => as guard_load() and guard_store() */
bool far_load(void *buffer, const void *memory, size_t n, struct trap *ret);
bool far_store(void *memory, const void *buffer, size_t n, struct trap *ret);

/* The kernel's mmap and munmap, there. */
void *far_kernel_mmap(size_t len);
void far_kernel_munmap(void *addr, size_t len);

#endif
