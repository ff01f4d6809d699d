/* SPDX-License-Identifier: MIT */
/*
 * heir.h - the engine of a program that ends goes on, for the children that live on
 */
#ifndef QUIRE_PRELOAD_HEIR_H
#define QUIRE_PRELOAD_HEIR_H

#include <stdbool.h>

#include "engine.h"

/* Whether there is anybody to go on for, and it can be done. */
bool heir_is_wanted(struct engine *engine);

/*
 * At the very end of the process, whose memory nobody touches any more: what was stored is in the files, and another process serves the
 * children. False: it does not, and this process has its engine, as if nothing had been asked, but for mappings that may be gone.
 */
bool heir_start(struct engine *engine);

#endif
