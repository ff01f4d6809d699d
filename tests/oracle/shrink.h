/* SPDX-License-Identifier: MIT */
/*
 * shrink.h - the smallest program that still fails
 */
#ifndef ORACLE_SHRINK_H
#define ORACLE_SHRINK_H

#include "program.h"

struct shrink {
	char *const *arguments; /* how to run this program again: argv without --replay, ended by NULL */
	const char *directory;  /* for scratch files */
	const char *save;       /* where the result goes */
	int seconds;            /* at most, altogether */
	size_t ops_max;         /* what the programs were generated with */
	bool forks;
};

/*
 * Shrinks program number of the seed, together with programs that ran before it when it does not fail alone, and writes the
 * result to save. Each attempt is a process of its own. Tells on standard output what came out.
 * => programs first … number-1 ran before in the same process
 */
void shrink(const struct shrink *how, uint64_t seed, int64_t first, int64_t number);

/* The same for the programs of a replay file. */
void shrink_programs(const struct shrink *how, struct program *programs, size_t count);

#endif
