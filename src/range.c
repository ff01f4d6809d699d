/* SPDX-License-Identifier: MIT */
/*
 * range.c - a range as most public calls take it
 */
#include "range.h"

#include <errno.h>
#include <string.h>

#include "entry.h"

int range_refuse_unaligned(const void *addr)
{
	return message_set(EINVAL, "the address %p is not a multiple of the page size, %zu", addr, page_size());
}

int range_begin(void *addr, size_t len, int overflow, struct range *ret)
{
	*ret = (struct range){.addr = addr};
	if (!range_is_aligned(addr))
		return range_refuse_unaligned(addr);
	if (!entry_round(addr, len, &ret->len))
		return message_set(overflow, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	if (len == 0)
		return 0;
	if (entry_is_ours(addr, ret->len)) {
		int r = entry_engine(&ret->engine);

		return r < 0 ? r : 1;
	}
	return 1;
}

int range_refuse_locked(void *arg, const struct part *part)
{
	const char *why = arg;

	if (!part->locked || part->huge)
		return 0;
	return message_set(strcmp(why, "MS_INVALIDATE") == 0 ? EBUSY : EINVAL, "%s: the mapping at %p is locked", why,
			   (void *)part->addr);
}
