/* SPDX-License-Identifier: MIT */
/*
 * call.h - a call of quire.h with arguments as wild as they can be, and what it answered
 */
#ifndef FUZZ_CALL_H
#define FUZZ_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "../tests/oracle/rng.h"

static inline int64_t page_bytes(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* The window that the mappings of a program lie in, and the free addresses on both sides of it. */
enum { WINDOW_PAGES = 48, ROOM_PAGES = 1024 };

enum call_kind {
	CALL_MMAP,
	CALL_MUNMAP,
	CALL_MREMAP,
	CALL_MPROTECT,
	CALL_MSYNC,
	CALL_MADVISE,
	CALL_POSIX_MADVISE,
	CALL_MINCORE,
	CALL_MLOCK,
	CALL_MLOCK2,
	CALL_MUNLOCK,
	CALL_MLOCKALL,
	CALL_MUNLOCKALL,
	CALL_FTRUNCATE,
	/* The kernel has no such calls. */
	CALL_RESIDENT,
	CALL_PREFETCH,
	CALL_DIRTY,
	CALL_EPOCH,
	CALL_WRITTEN,
	CALL_AREA_STATS,
	CALL_STATS,
	CALL_SET_MEMORY,
	CALL_CONFIGURE,
	CALL_MAPS,
	CALL_MINHERIT,
	CALL_KINDS
};

/* What a descriptor is open on. */
enum fd_kind {
	FD_FILE,
	FD_FILE_READ_ONLY,
	FD_FILE_WRITE_ONLY,
	FD_FILE_APPEND,
	FD_FILE_PATH,
	FD_EMPTY,
	FD_MEMORY,
	FD_MEMORY_SEALED_WRITE,
	FD_MEMORY_SEALED_FUTURE_WRITE,
	FD_MEMORY_SEALED_SIZE,
	FD_ZERO,
	FD_ZERO_READ_ONLY,
	FD_NULL,
	FD_FULL,
	FD_RANDOM,
	FD_DIRECTORY,
	FD_PIPE_READ,
	FD_PIPE_WRITE,
	FD_SOCKET,
	FD_EVENTFD,
	FD_EPOLL,
	FD_PROC_MAPS,
	FD_PROC_MEM,
	FD_OPEN_KINDS, /* those before are open */
	FD_CLOSED = FD_OPEN_KINDS,
	FD_MINUS_ONE,
	FD_MOST,
	FD_LEAST,
	FD_KINDS
};
extern const char *const fd_names[FD_KINDS];

/* An address: in the side's own window and around it, or the same for both sides. */
struct place {
	bool relative;
	uint64_t at; /* relative: to the window's start, and may lie before it */
};

struct call {
	int kind, fd, prot, flags, advice;
	struct place addr, to;
	uint64_t len, new_len; /* written: since */
	int64_t offset;        /* ftruncate: the size */
};

/* Makes a call that harms neither the process nor the machine, whether it succeeds or not. */
void call_generate(struct call *ret, struct rng *r);

/* Whether the kernel is asked too: not where it would lock the process, poison memory, or mean something else by a flag. */
bool call_is_the_kernels(const struct call *call);

void call_print(const struct call *call, FILE *out);

#endif
