/* SPDX-License-Identifier: MIT */
/*
 * swap.h - the pager of memory that has no file: an unlinked file in the swap directory, made at the first page-out
 */
#ifndef QUIRE_PAGER_SWAP_H
#define QUIRE_PAGER_SWAP_H

#include "pager/pager.h"

/*
 * => dir must live as long as the pager. Nothing is created before the first write. A read of what was never written gives
 *    zeros. size is unbounded (UINT64_MAX rounded down to a page); sync does nothing, since nothing outlives the process.
 * => write errors: ENOSPC no space in dir, or what creating the file said (EACCES, ENOENT …).
 * => 0 or -errno.
 */
int swap_pager_open(struct io *io, const char *dir, bool allow_direct, struct pager **ret);

#endif
