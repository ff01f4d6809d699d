/* SPDX-License-Identifier: MIT */
/*
 * shrink.h - the smallest program that still fails
 */
#ifndef CRASH_SHRINK_H
#define CRASH_SHRINK_H

#include "world.h"

/*
 * Takes away of program what is not needed for a failure, by attempts in processes of their own: a failure, a death and a hang all count.
 * False: it does not fail at all.
 */
bool shrink(struct program *program, const struct world_options *options, int seconds);

#endif
