/* SPDX-License-Identifier: MIT */
/*
 * keep.h - the keeper of an engine: what was stored survives the program
 */
#ifndef QUIRE_KEEP_H
#define QUIRE_KEEP_H

#include <stdbool.h>
#include <stddef.h>

#include "engine.h"

/* Before an object is mapped so that it can be stored to: starts the keeper, if it is wanted, and can do anything for it. */
void keep_begin(struct engine *engine, struct object *object);
/* Before a range of mappings is made writable: likewise. */
void keep_begin_at(struct engine *engine, char *addr, size_t len);

/*
 * At the end of the process, when all was written: the keeper goes, so that the locks and sockets of the program end with it and not a moment
 * later. Where there are other threads of the program, which may store until the very end, it stays. failed: what could not be written will not be by the keeper.
 */
void keep_end(struct engine *engine, bool failed);

/*
 * Before the process executes another program, and when that has failed. With the keeper, descriptors would be shared by two processes, and
 * record locks are lost when one of them goes on by itself. Whether there was one to leave.
 */
bool keep_leave(struct engine *engine);
void keep_return(struct engine *engine);

#endif
