/* SPDX-License-Identifier: MIT */
/*
 * around.h - the pages that are mapped together with one that is touched
 */
#ifndef QUIRE_FAULT_AROUND_H
#define QUIRE_FAULT_AROUND_H

#include "space/area.h"

/* Pages first … end - 1 of a chunk, all HELD by us. page, at addr, is the one that is touched. */
struct held {
	struct area *area;
	struct chunk *chunk;
	char *addr;
	unsigned page, first, end;
};

/* Holds what was read ahead around the page. Map lock, as for all. Async-signal-safe. */
void around_hold(struct held *held);
/* Maps what is held, or the page alone. caught: a store to it was caught, and its protection goes. 0 or -errno. */
int around_enter(struct held *held, bool caught);
/* They are mapped: they are nobody's any more. */
void around_settle(const struct held *held);

/*
 * Pages behind one that another mapping shows, and which it shows as well: that they are mapped here too hides nothing from the policy, and
 * each would cost a fault. Up to the first that has an entry here already, and not past the end: what others have there are zeros that they
 * have asked for. Not where private pages may lie over them.
 */
void around_map_along(struct area *area, struct chunk *chunk, unsigned i, char *addr);

#endif
