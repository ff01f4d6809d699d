/* SPDX-License-Identifier: MIT */
/*
 * mend.h - makes the checksums of a torn log fit, as if nobody had compared them
 */
#ifndef CRASH_MEND_H
#define CRASH_MEND_H

#include "image.h"

/* Of the logs: every second image. */
void mend_checksums(struct image images[], unsigned n_files);

#endif
