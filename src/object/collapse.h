/* SPDX-License-Identifier: MIT */
/*
 * collapse.h - chunks whose frames are one huge one
 */
#ifndef QUIRE_OBJECT_COLLAPSE_H
#define QUIRE_OBJECT_COLLAPSE_H

#include "object/object.h"

/* Whether the kernel has huge frames, of the size of a chunk. */
bool collapse_is_possible(void);

/*
 * The flusher's: collapses what can be, from where it stopped the last time on: chunks of which every page was there and mapped at two calls in a row. No
 * lock held; ends soon after until_ms (cache_clock_ms).
 */
void collapse_sweep(struct object *object, uint32_t until_ms);

/* Whether the frames of the chunk that begins at page first may be larger than a page, for all that its mappings say. Map lock not held. */
bool collapse_may_be_large(struct object *object, uint64_t first);

/* Whether the mappings allow it of the chunk that begins at page first: collapse.c. Map lock held for reading. */
bool collapse_is_allowed(const struct object *object, uint64_t first);

/*
 * Collapses a chunk now. Map lock held for reading.
 * => 0, also where it is already; -EAGAIN: not all of it is there and mapped, or a page of it is busy; -EINVAL: its mappings do not allow it;
 *    -ENOMEM: no room in the budget, or the kernel has no memory of that size; else what the kernel says.
 */
int collapse_chunk(struct object *object, struct chunk *chunk);

/*
 * Its frames may be larger than a page, whether that is new; or the whole chunk has been given back to the kernel at once. By who has all
 * of its words busy.
 */
bool collapse_set_large(struct object *object, struct chunk *chunk);
void collapse_clear_large(struct object *object, struct chunk *chunk);

/* The first chunk that has pages of the range, and frames that may be larger than a page; NULL: none. */
struct chunk *collapse_find_large(struct object *object, uint64_t first, uint64_t pages);

/*
 * Gives the frames of a chunk back, so that those that come are of a page each. Writes what is dirty, and waits. No lock held.
 * => 0; -ENOMEM: the kernel has no memory to take all out of the mappings; else what the write failed with.
 */
int collapse_dissolve(struct object *object, struct chunk *chunk);

/*
 * Minor faults of pages from … end of a chunk that is collapsed are caught again in a view. All pages of the chunk that are not busy are HELD.
 * 0 or -errno.
 */
int collapse_catch(struct view *view, char *addr, unsigned pages);

#endif
