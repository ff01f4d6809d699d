/* SPDX-License-Identifier: MIT */
/*
 * contest.h - a range that one thread maps over, moves, protects and unmaps while others use it
 */
#ifndef ORACLE_CONTEST_H
#define ORACLE_CONTEST_H

#include "side.h"

struct contest;

/* => NULL: said on standard error */
struct contest *contest_start(const struct calls *calls, const char *directory, uint64_t seed);

/* Whether something went wrong; then the first thing is in message. */
bool contest_failed(struct contest *c, char *message, size_t size);

/* Ends the threads, removes the range, and says how much was done. => false: something went wrong, message says what */
bool contest_end(struct contest *c, char *message, size_t size);

#endif
