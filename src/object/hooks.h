/* SPDX-License-Identifier: MIT */
/*
 * hooks.h - what the program does to the bytes of each page on their way
 */
#ifndef QUIRE_OBJECT_HOOKS_H
#define QUIRE_OBJECT_HOOKS_H

#include "object/object.h"

/*
 * From now on every page of the object that comes in or is written passes the hooks.
 * => 0; -EBUSY: it has some already, or has a page; -ENOMEM. No lock held.
 */
int object_set_hooks(struct object *object, const struct quire_page_hooks *hooks);

/* What was read, len bytes from page first on, in a buffer. How many pages may be shown; if none, the errno. Async-signal-safe. */
unsigned hooks_in(struct object *object, uint64_t first, char *bytes, size_t len, int *ret_error);

/* What is about to be written: likewise. 0 or -errno: then nothing of it may be. Async-signal-safe. */
int hooks_out(struct object *object, uint64_t first, char *bytes, size_t len);

/* The object is dead: nobody calls its hooks any more. */
void hooks_release(struct object *object);

#endif
