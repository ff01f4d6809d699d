/* SPDX-License-Identifier: MIT */
/*
 * place.h - mmap, for what the program gets
 */
#ifndef QUIRE_SYS_PLACE_H
#define QUIRE_SYS_PLACE_H

#include <stddef.h>
#include <sys/types.h>

/* As mmap(2). */
void *place_map(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

#endif
