/* SPDX-License-Identifier: MIT */
/*
 * filter.c - what filters pass on
 */
#include "pager/filter.h"

#include <stdlib.h>

#include "util/fail.h"

void *filter_new(size_t bytes, const struct pager_ops *ops, struct pager *below)
{
	struct filter *filter = fail_now(FAIL_ALLOC) ? NULL : calloc(1, bytes);

	if (!filter)
		return NULL;
	filter->base.ops = ops;
	filter->base.direct = atomic_load(&below->direct);
	filter->base.align_bytes = below->align_bytes;
	filter->base.steady = below->steady;
	filter->base.on_demand = below->on_demand;
	filter->below = below;
	return filter;
}

int filter_size(struct pager *pager, uint64_t *ret_bytes)
{
	return below_of(pager)->ops->size(below_of(pager), ret_bytes);
}

int filter_sync(struct pager *pager)
{
	return below_of(pager)->ops->sync(below_of(pager));
}

int filter_resize(struct pager *pager, uint64_t bytes)
{
	return below_of(pager)->ops->resize(below_of(pager), bytes);
}

int filter_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	return below_of(pager)->ops->discard(below_of(pager), offset, len);
}

void filter_close(struct pager *pager)
{
	below_of(pager)->ops->close(below_of(pager));
	free(pager);
}
