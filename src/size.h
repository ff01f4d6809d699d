/* SPDX-License-Identifier: MIT */
/*
 * size.h - the size of atomic files
 */
#ifndef QUIRE_SIZE_H
#define QUIRE_SIZE_H

#include "object/object.h"

/* Sets the size that the next commit has; the file follows. extend: never makes it less. 0 or -errno. No lock held. */
int size_of_atomic(struct object *object, uint64_t bytes, bool extend);

#endif
