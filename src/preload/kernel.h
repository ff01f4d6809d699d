/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - how the engine inside of the preload calls the kernel, and which descriptors are its own
 *
 * The linker's --wrap turns the engine's calls of what the preload interposes into calls of __wrap_…, which are made of the bare system
 * call. So no call of the engine's comes back to it, on whichever thread, in a signal handler or not, and with no flag that says so.
 *
 * The engine's descriptors are moved out of the program's way: programs expect the lowest numbers to be theirs, close ranges of what they
 * did not open, and put their own in place of others.
 */
#ifndef QUIRE_PRELOAD_KERNEL_H
#define QUIRE_PRELOAD_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* For the program. */
void *kernel_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int kernel_munmap(void *addr, size_t len);
/* Memory of the engine's and of this library's own, apart from where the program's lies: no hole that the program makes is taken by it. */
void *kernel_own_mmap(size_t len, int prot, int flags, int fd, off_t offset);
int kernel_open(const char *path, int flags, mode_t mode);
int kernel_close(int fd);
/* A descriptor that somebody has just made is the engine's from now on: out of the program's way, under another number as a rule. */
int kernel_keep(int fd);
/* One of the engine's, of the same description. -1 and errno. */
int kernel_duplicate(int fd);
/* As ioctl-like calls of the C library: -1 and errno. */
long kernel_call(long number, long a, long b, long c, long d, long e, long f);

/* Whether a descriptor is the engine's. */
bool kernel_is_own(int fd);
/* The engine's first descriptor from fd on; -1: none. */
int kernel_next_own(int fd);

#endif
