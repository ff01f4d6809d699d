/* SPDX-License-Identifier: MIT */
/*
 * memory.h - what only a process itself can do with its mappings
 *
 * Each is one value, so that it can be done here or be sent to where it has to be done.
 */
#ifndef QUIRE_SYS_MEMORY_H
#define QUIRE_SYS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

enum memory_kind {
	MEMORY_MAP,     /* mmap: addr, len, arg the protection, flags, fd, offset; and then what ours says. The address */
	MEMORY_UNMAP,   /* munmap: addr, len */
	MEMORY_PROTECT, /* mprotect: addr, len, arg */
	MEMORY_MOVE,    /* mremap: addr, len, flags, to, to_len. The address */
	MEMORY_ADVISE,  /* madvise: addr, len, arg */
	MEMORY_DROP,    /* takes pages out of a mapping, also where the program has called the kernel's own mlockall: addr, len */
};

struct memory_op {
	enum memory_kind kind;
	char *addr;
	size_t len;
	int arg, flags, fd;
	off_t offset;
	char *to;
	size_t to_len;
	bool
	    ours; /* of MEMORY_MAP: not inherited by the kernel, nor brought in by its own mlockall, if the program has called it */
	bool nodump; /* … and not in core files */
};

/* What the kind gives, or 0; -errno. Async-signal-safe. */
long memory_do(const struct memory_op *op);

/*
 * Takes several pieces out of the mappings of this process, as MEMORY_DROP one, with one flush of the other processors' translations where
 * the kernel can (Linux 6.16). 0 or -errno: some were taken out. Async-signal-safe.
 */
int memory_drop(const struct iovec *pieces, unsigned n);

/* Copies pages out, whatever their protection. 0 or -errno. Async-signal-safe. */
int memory_read(const void *addr, size_t len, void *ret);

#endif
