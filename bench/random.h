/* SPDX-License-Identifier: MIT */
/*
 * random.h - numbers that follow from a seed (SplitMix64)
 */
#ifndef BENCH_RANDOM_H
#define BENCH_RANDOM_H

#include <stdint.h>

/* The next number of a sequence, and one below a bound. */
uint64_t bench_random(uint64_t *state);
uint64_t bench_random_below(uint64_t *state, uint64_t bound);

#endif
