/* SPDX-License-Identifier: MIT */
/*
 * find.h - the object of a file: the one there is, or one that is made
 */
#ifndef QUIRE_FIND_H
#define QUIRE_FIND_H

#include <sys/stat.h>

#include "engine.h"

enum find_kind {
	FIND_ANY,      /* as the file is mapped already; else as a plain file */
	FIND_ATOMIC,   /* QUIRE_MAP_ATOMIC */
	FIND_SNAPSHOT, /* QUIRE_MAP_SNAPSHOT */
};

/* mode: F_GETFL of fd. *ret with a use. 0 or -errno, with a message where a caller would want one. No lock held. */
int find_file_object(struct engine *engine, int fd, int mode, const struct stat *st, enum find_kind kind, struct object **ret);

/* What atomic_open needs of an engine. */
struct atomic_settings find_atomic_settings(const struct engine *engine);

/*
 * Before the file of an object can be stored to through a shared mapping: 0, or -EBUSY with a message, since another process has it in a
 * cache of its own.
 */
int find_claim(const struct engine *engine, struct object *object);

#endif
