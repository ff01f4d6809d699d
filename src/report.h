/* SPDX-License-Identifier: MIT */
/*
 * report.h - what the engine tells about itself
 */
#ifndef QUIRE_REPORT_H
#define QUIRE_REPORT_H

#include <stdio.h>

#include "engine.h"

/* The summary of QUIRE_STATS=1. */
void report_stats(FILE *out, struct engine *engine);

#endif
