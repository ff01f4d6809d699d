/* SPDX-License-Identifier: MIT */
/*
 * counts.h - how many calls were served by Quire, and how many by the kernel
 *
 * Kept in a file that `quire run --stats` has made, so that those of all processes are one sum, whatever ends them.
 */
#ifndef QUIRE_PRELOAD_COUNTS_H
#define QUIRE_PRELOAD_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

#define COUNTS_VARIABLE "QUIRE_RUN_COUNTS" /* names the file */

#define COUNTS_CALLS(X)                                                                                                            \
	X(mmap)                                                                                                                    \
	X(munmap)                                                                                                                  \
	X(mremap)                                                                                                                  \
	X(mprotect)                                                                                                                \
	X(msync)                                                                                                                   \
	X(madvise)                                                                                                                 \
	X(mincore) X(mlock) X(munlock) X(mlockall) X(munlockall) X(read) X(write) X(truncate) X(fallocate) X(sync) X(transfer)

enum counts_call {
#define COUNTS_NAME(name) COUNT_##name,
	COUNTS_CALLS(COUNTS_NAME)
#undef COUNTS_NAME
	    COUNT_CALLS
};

struct counts {
	_Atomic uint64_t processes; /* in which an engine was started */
	_Atomic uint64_t quire[COUNT_CALLS];
	_Atomic uint64_t kernel[COUNT_CALLS]; /* of file calls: not counted, since they are not looked at */
	_Atomic uint64_t major_faults, read_bytes, write_bytes, peak_bytes; /* as processes have told at their end */
};

/* Never NULL; somebody's own where nobody wants to know. */
extern struct counts *counts;

static inline void counts_add(enum counts_call call, int by_quire)
{
	atomic_fetch_add_explicit(by_quire ? &counts->quire[call] : &counts->kernel[call], 1, memory_order_relaxed);
}

void counts_start(void);
/* At the end of a process. */
void counts_tell(void);

#endif
