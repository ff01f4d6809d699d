/* SPDX-License-Identifier: MIT */
/*
 * ranges.h - a set of addresses, as ranges in order
 */
#ifndef QUIRE_REMOTE_RANGES_H
#define QUIRE_REMOTE_RANGES_H

#include <stdbool.h>
#include <stddef.h>

struct address_range {
	char *addr, *end;
};

/* Zero bytes are an empty set. */
struct ranges {
	struct address_range *all;
	size_t count, capacity;
};

/* Room for so many. 0 or -ENOMEM. */
int ranges_reserve(struct ranges *ranges, size_t capacity);
void ranges_free(struct ranges *ranges);
/* Room for one more change, so that the next of the following cannot fail. 0 or -ENOMEM. */
int ranges_prepare(struct ranges *ranges);
void ranges_add(struct ranges *ranges, char *addr, size_t len);
void ranges_remove(struct ranges *ranges, char *addr, size_t len);
/* Whether any address of the range, or its first, is in it. */
bool ranges_meet(const struct ranges *ranges, const char *addr, size_t len);

/* From addr on, up to where it changes: how many of len bytes are in the set, or are not. */
size_t ranges_extent(const struct ranges *ranges, const char *addr, size_t len, bool *ret_in);

#endif
