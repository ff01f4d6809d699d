/* SPDX-License-Identifier: MIT */
/*
 * histogram.c - how long single accesses took: counts in buckets that grow with what they hold
 */
#include "histogram.h"

/* The least time that is in the bucket after this one. */
static double bucket_end(unsigned bucket)
{
	unsigned next = bucket + 1, power = next >> HISTOGRAM_SHIFT;

	if (power == 0)
		return next;
	return (double)(((uint64_t)HISTOGRAM_FINE + next % HISTOGRAM_FINE) << (power - 1));
}

void histogram_add(struct histogram *h, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->count[i] += from->count[i];
	if (from->max > h->max)
		h->max = from->max;
}

uint64_t histogram_count(const struct histogram *h, uint64_t from_ns)
{
	uint64_t count = 0;

	for (unsigned i = histogram_bucket(from_ns); i < HISTOGRAM_BUCKETS; i++)
		count += h->count[i];
	return count;
}

double histogram_percentile(const struct histogram *h, uint64_t from_ns, double share)
{
	uint64_t all = histogram_count(h, from_ns), below = 0;

	for (unsigned i = histogram_bucket(from_ns); all > 0 && i < HISTOGRAM_BUCKETS; i++) {
		below += h->count[i];
		if ((double)below >= share * (double)all)
			return bucket_end(i) < (double)h->max ? bucket_end(i) : (double)h->max;
	}
	return 0;
}
