/* SPDX-License-Identifier: MIT */
/*
 * random.c - numbers that follow from a seed (SplitMix64)
 */
#include "random.h"

uint64_t bench_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t bench_random_below(uint64_t *state, uint64_t bound)
{
	return (uint64_t)(((__uint128_t)bench_random(state) * bound) >> 64);
}
