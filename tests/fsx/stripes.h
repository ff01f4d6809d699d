/* SPDX-License-Identifier: MIT */
/*
 * stripes.h - threads that each own some of the bytes of one file, so that every page belongs to all of them
 */
#ifndef FSX_STRIPES_H
#define FSX_STRIPES_H

#include "../oracle/side.h"

enum { STRIPES_THREADS_MAX = 16 };

struct stripes {
	const struct calls *calls;
	const char *directory;
	uint64_t seed;
	size_t threads, file_bytes;
	uint64_t operations; /* altogether; with seconds, none counts */
	int seconds;
};

/* => 0 all right, 1 something is wrong, 2 it could not begin */
int stripes_run(const struct stripes *s);

#endif
