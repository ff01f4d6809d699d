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

/*
 * For who changes the file by itself: the object of a file that is mapped, or whose journal is open here, with a use; *ret NULL: it is
 * neither. A journal that is being closed is waited for. *ret_made: nobody maps it, so that what is not committed at once is forgotten.
 * 0 or -errno. No lock held.
 */
int find_known_object(struct engine *engine, const struct stat *st, struct object **ret, bool *ret_made);

/* What atomic_open needs of an engine. */
struct atomic_settings find_atomic_settings(const struct engine *engine);

/*
 * Before the file of an object can be stored to through a shared mapping: 0, or -EBUSY with a message, since another process has it in a
 * cache of its own.
 */
int find_claim(const struct engine *engine, struct object *object);

#endif
