/* SPDX-License-Identifier: MIT */
/*
 * size.h - the size of atomic files
 */
#ifndef QUIRE_SIZE_H
#define QUIRE_SIZE_H

#include "object/object.h"

/* Sets the size that the next commit has; the file follows. extend: never makes it less. 0 or -errno. No lock held. */
int size_of_atomic(struct object *object, uint64_t bytes, bool extend);

/*
 * In a process that is served: whether the kernel would let it make the file so long, by RLIMIT_FSIZE. 0; -EFBIG with a message, and SIGXFSZ
 * comes when signals are no longer blocked, as from the kernel.
 */
int size_check_limit(int fd, off_t size);

#endif
