/* SPDX-License-Identifier: MIT */
/*
 * memory.h - the pager of memory that has a size of its own: pages go to the swap, and the size is that of a memfd
 */
#ifndef QUIRE_PAGER_MEMORY_H
#define QUIRE_PAGER_MEMORY_H

#include "pager/pager.h"

/*
 * size_fd: whose size it is, whoever sets it; the caller's still. swap: the pager's from here on, also when this fails.
 * => 0 or -errno.
 */
int memory_pager_open(struct pager *swap, int size_fd, struct pager **ret);

#endif
