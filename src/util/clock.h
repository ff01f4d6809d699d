/* SPDX-License-Identifier: MIT */
/*
 * clock.h - time since some start, that only goes forward
 */
#ifndef QUIRE_CLOCK_H
#define QUIRE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000ull

/* Async-signal-safe. */
static inline uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
