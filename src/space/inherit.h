/* SPDX-License-Identifier: MIT */
/*
 * inherit.h - how areas are repeated in the child of a fork
 */
#ifndef QUIRE_SPACE_INHERIT_H
#define QUIRE_SPACE_INHERIT_H

#include "space/space.h"

/*
 * MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK.
 * => -EINVAL: WIPEONFORK of what is not private memory without a file, and nothing was changed. -ENOMEM: a hole, and what lies around it
 *    was changed, as Linux does it; or no memory, and nothing was. No lock held.
 */
int inherit_advise(struct space *space, char *addr, size_t len, int advice);

/* Whether QUIRE_INHERIT_* can be said of a range. 0 or -errno with a message. No lock held. */
int inherit_check(struct space *space, const char *addr, size_t len, int inherit);
/* QUIRE_INHERIT_*; SHARE makes nothing shared that is not (share.h). 0 or -errno with a message, and nothing was changed. No lock held. */
int inherit_set(struct space *space, char *addr, size_t len, int inherit);

/* What a child has in the place of an area. */
enum inherited {
	INHERITED_NOTHING,
	INHERITED_ZEROS,  /* fresh private memory without a file: no private page goes along */
	INHERITED_SHARED, /* the same pages of the same object */
	INHERITED_COPY,   /* the private pages that there are, and behind them the object, if there is one: all copied on write */
};

/* ret: the child's area, not locked, where there is one; it has no reference to the object yet. Map lock held. */
enum inherited inherit_area(const struct area *area, struct mapping *ret);

#endif
