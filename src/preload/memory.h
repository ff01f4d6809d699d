/* SPDX-License-Identifier: MIT */
/*
 * memory.h - what syscall() has of the mmap family, where its arguments are another way
 */
#ifndef QUIRE_PRELOAD_MEMORY_H
#define QUIRE_PRELOAD_MEMORY_H

#include <stddef.h>
#include <sys/types.h>

void *memory_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *memory_mremap(void *old_addr, size_t old_len, size_t new_len, int flags, void *new_addr);

#endif
