/* SPDX-License-Identifier: MIT */
/*
 * known.h - the differences from the kernel that are documented; all others are mistakes
 *
 * Numbers are those of docs/compatibility.md.
 */
#ifndef FUZZ_KNOWN_H
#define FUZZ_KNOWN_H

#include "world.h"

/* Whether the answers may differ as they do. before: what Quire's side was. */
bool known_difference(const struct call *call, const struct state *before, const struct answer *kernel, const struct answer *quire);

/* Whether the call may have failed and yet have changed how the range is mapped (9). */
bool known_half_done(const struct call *call, const struct answer *quire);

#endif
