/* SPDX-License-Identifier: MIT */
/*
 * mman.h - the mmap family by its plain names
 *
 * Include this instead of <sys/mman.h>, link with -lquire, and the calls of this source file are served by Quire. It must come
 * after every system header that declares these names, since it defines macros.
 */
#ifndef QUIRE_MMAN_H
#define QUIRE_MMAN_H

#include <quire/quire.h>

#ifndef MAP_NOCORE
#define MAP_NOCORE QUIRE_MAP_NOCORE
#endif
#ifndef MAP_NOSYNC
#define MAP_NOSYNC QUIRE_MAP_NOSYNC
#endif
#ifndef MAP_HASSEMAPHORE
#define MAP_HASSEMAPHORE QUIRE_MAP_HASSEMAPHORE
#endif
#ifndef MAP_INHERIT
#define MAP_INHERIT QUIRE_MAP_INHERIT
#endif
/* Linux's, which a strict standard hides: accepted, and means nothing. FreeBSD's meaning is MAP_GROWSDOWN's here. */
#ifndef MAP_STACK
#define MAP_STACK 0x20000
#endif
#ifndef INHERIT_SHARE
#define INHERIT_SHARE QUIRE_INHERIT_SHARE
#define INHERIT_COPY  QUIRE_INHERIT_COPY
#define INHERIT_NONE  QUIRE_INHERIT_NONE
#define INHERIT_ZERO  QUIRE_INHERIT_ZERO
#endif

#define mmap(addr, len, prot, flags, fd, offset) quire_mmap(addr, len, prot, flags, fd, offset)
#define munmap(addr, len)                        quire_munmap(addr, len)
#define mremap(addr, old_len, new_len, ...)      quire_mremap(addr, old_len, new_len, __VA_ARGS__)
#define mprotect(addr, len, prot)                quire_mprotect(addr, len, prot)
#define msync(addr, len, flags)                  quire_msync(addr, len, flags)
#define madvise(addr, len, advice)               quire_madvise(addr, len, advice)
#define posix_madvise(addr, len, advice)         quire_posix_madvise(addr, len, advice)
#define minherit(addr, len, inherit)             quire_minherit(addr, len, inherit)
#define mincore(addr, len, vec)                  quire_mincore(addr, len, vec)
#define mlock(addr, len)                         quire_mlock(addr, len)
#define mlock2(addr, len, flags)                 quire_mlock2(addr, len, flags)
#define munlock(addr, len)                       quire_munlock(addr, len)
#define mlockall(flags)                          quire_mlockall(flags)
#define munlockall()                             quire_munlockall()
#define ftruncate(fd, size)                      quire_ftruncate(fd, size)

#endif
