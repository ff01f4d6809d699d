/* SPDX-License-Identifier: MIT */
/*
 * fill.h - pages of zeros in the place of pages that cannot be had
 */
#ifndef QUIRE_OBJECT_FILL_H
#define QUIRE_OBJECT_FILL_H

#include "object/object.h"

/* One page, at addr of a view that has an object. */
struct filling {
	struct view *view;
	char *addr;
	bool write;      /* what touches it is a store */
	bool ret_used;   /* the promised frame was used up */
	page_word *wait; /* -EAGAIN: for what to wait before the next look; NULL: nothing */
	uint32_t seen;
};

/*
 * Puts a page of zeros there, if the object still has none. A frame was promised.
 * => 0; -EAGAIN: look again; -errno. Map lock held for reading. Async-signal-safe.
 */
int object_fill(struct filling *filling);

/*
 * Gives a page of zeros up, so that the storage is asked again; one that was stored to since is data, and stays. No lock held.
 * Async-signal-safe.
 */
void object_unfill(struct object *object, uint64_t page);

/* Forgets the pages of zeros past the end, which the file is about to reach. Map lock held for writing. 0 or -errno. */
int object_forget_beyond(struct object *object);

#endif
