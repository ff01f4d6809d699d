/* SPDX-License-Identifier: MIT */
/*
 * fail.h - makes the Nth call of a kind fail, for the tests of every error path
 *
 * One relaxed load and a branch when nothing is armed. Armed by tests that link the static library; QUIRE_DEBUG cannot reach it.
 */
#ifndef QUIRE_FAIL_H
#define QUIRE_FAIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum fail_kind {
	FAIL_ALLOC, /* malloc and the arena: ENOMEM */
	FAIL_MAP,   /* the kernel's mmap, mprotect, register: ENOMEM */
	FAIL_READ,  /* a transfer from storage: EIO */
	FAIL_WRITE, /* a transfer to storage: EIO */
	FAIL_SYNC,  /* fdatasync: EIO */
	FAIL_FRAME, /* a write into a memfd: ENOMEM */
	FAIL_KINDS,
};

/* Counts down to the failing call, 0: not armed. every: fails each Nth call from then on, otherwise once. */
extern _Atomic int64_t fail_left[FAIL_KINDS];
extern _Atomic int64_t fail_every[FAIL_KINDS];
extern _Atomic uint64_t fail_count[FAIL_KINDS]; /* calls that were made to fail */

void fail_arm(enum fail_kind kind, int64_t nth, bool every);

/* What failing transfers fail with instead of EIO: the storage is full, or gone. 0: EIO. */
extern _Atomic int fail_errno;
bool fail_slow(enum fail_kind kind);

static inline bool fail_now(enum fail_kind kind)
{
	return atomic_load_explicit(&fail_left[kind], memory_order_relaxed) != 0 && fail_slow(kind);
}

#endif
