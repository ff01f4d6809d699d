/* SPDX-License-Identifier: MIT */
/*
 * rng.h - a small seeded source of numbers: the same seed gives the same program on every machine
 */
#ifndef ORACLE_RNG_H
#define ORACLE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

/* The next 64 bits: a Weyl sequence, mixed (the construction known as SplitMix64). */
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0 … n-1; 0 when n is 0. The bias of the remainder does not matter here. */
static inline int64_t rng_below(struct rng *r, int64_t n)
{
	return n > 0 ? (int64_t)(rng_next(r) % (uint64_t)n) : 0;
}

static inline bool rng_percent(struct rng *r, int percent)
{
	return rng_below(r, 100) < percent;
}

/* A stream of its own for each (seed, number). */
static inline struct rng rng_stream(uint64_t seed, uint64_t number)
{
	struct rng r = {seed * 0xd1342543de82ef95u + 1};

	r.state ^= rng_next(&r) + number * 0x9e3779b97f4a7c15u;
	rng_next(&r);
	return r;
}

#endif
