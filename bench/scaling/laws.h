/* SPDX-License-Identifier: MIT */
/*
 * laws.h - what the simulator has to find, since it is known without
 */
#ifndef BENCH_SCALING_LAWS_H
#define BENCH_SCALING_LAWS_H

/* NULL, or the law that it breaks. */
const char *laws_broken(void);

#endif
