/* SPDX-License-Identifier: MIT */
/*
 * transfer.h - reads and writes of a program that need a second look
 */
#ifndef QUIRE_PRELOAD_TRANSFER_H
#define QUIRE_PRELOAD_TRANSFER_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "files.h"
#include "start.h"

#define TRANSFER_HERE (-1) /* in place of an offset: at the descriptor's own, which moves on */

/* Whether a read or write may be more than the kernel's own: the descriptor's file is mapped, or the memory may not be handed over. */
static inline bool transfer_is_special(int fd)
{
	return files_is_mapped(fd) || __builtin_expect(start.copies, 0);
}

/* As preadv2 and pwritev2. */
ssize_t transfer_read(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t transfer_write(int fd, const struct iovec *iov, int count, off_t offset, int flags);

/* As vmsplice, where managed memory is not to be handed over: a pipe gets the pages of a copy. */
ssize_t transfer_vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags);

/* From a pipe to a mapped file, as splice does it. */
ssize_t transfer_splice(int in, int out, off_t *out_offset, size_t n, unsigned flags);

/* From one descriptor to another, one of which is mapped, as sendfile and its like do it. NULL: at the descriptor's own offset. */
ssize_t transfer_copy(int in, off_t *in_offset, int out, off_t *out_offset, size_t n);

/* Memory that is not managed, for as long as a call lasts. NULL and errno. */
void *transfer_memory(size_t n);
void transfer_free(void *memory, size_t n);

#endif
