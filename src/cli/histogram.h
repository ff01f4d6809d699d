/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - how long single accesses took: counts in buckets that grow with what they hold
 *
 * A time t >= 32 ns is in a bucket as wide as the 32nd part of the power of two below it, so a percentile is right to 3 %, whether it is
 * of nanoseconds or of seconds, and every bucket has the same place in every histogram: they can be added.
 *
 *	bucket of t = 32 * (log2(t) - 4) + the five bits of t below its highest
 */
#ifndef QUIRE_CLI_HISTOGRAM_H
#define QUIRE_CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SHIFT   5
#define HISTOGRAM_FINE    (1U << HISTOGRAM_SHIFT)
#define HISTOGRAM_BUCKETS (HISTOGRAM_FINE * 36) /* up to 2^40 ns, a quarter of an hour; what is longer is in the last */

struct histogram {
	uint64_t max;
	uint64_t count[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t ns)
{
	unsigned bits, bucket;

	if (ns < HISTOGRAM_FINE)
		return (unsigned)ns;
	bits = 63U - (unsigned)__builtin_clzll(ns);
	bucket =
	    (bits - HISTOGRAM_SHIFT + 1) * HISTOGRAM_FINE + (unsigned)((ns >> (bits - HISTOGRAM_SHIFT)) & (HISTOGRAM_FINE - 1));
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_note(struct histogram *h, uint64_t ns)
{
	h->count[histogram_bucket(ns)]++;
	if (ns > h->max)
		h->max = ns;
}

/* Adds what from holds. */
void histogram_add(struct histogram *h, const struct histogram *from);

/* Times of at least so many nanoseconds. */
uint64_t histogram_count(const struct histogram *h, uint64_t from_ns);

/* Of the times of at least from_ns, the nanoseconds that this share of them stays below; 0 when there are none. */
double histogram_percentile(const struct histogram *h, uint64_t from_ns, double share);

#endif
