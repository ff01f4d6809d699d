/* SPDX-License-Identifier: MIT */
/*
 * place.c - mmap, for what the program gets
 *
 * By a name of its own, and in a file of its own, so that `quire run` can tell it from the engine's memory, which it puts apart
 * (preload/kernel.c).
 */
#include "sys/place.h"

#include <sys/mman.h>

void *place_map(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return mmap(addr, len, prot, flags, fd, offset);
}
