/* SPDX-License-Identifier: MIT */
/*
 * world.h - the two sides in step, and the first difference between them
 */
#ifndef ORACLE_WORLD_H
#define ORACLE_WORLD_H

#include "rules.h"

enum { ORACLE = 0, SUBJECT = 1, SIDES = 2 };

struct world {
	struct side sides[SIDES];
	struct model model;
	const struct program *program;
	volatile size_t at;                            /* the operation that runs; op_count: the end checks */
	struct result results[SIDES][PROGRAM_OPS_MAX]; /* of the program that runs */
	char difference[512];                          /* empty: none yet */
	uint64_t compared_bytes, skipped_ops, run_ops;
};

/* => false: said on standard error. pressure_bytes 0: no pressure. */
bool world_open(struct world *w, const struct calls *subject, const char *directory, size_t pressure_bytes);
void world_close(struct world *w);

/* Runs a program on both sides. => false: w->difference tells what differs, w->at where. Both windows are empty again. */
bool world_run(struct world *w, const struct program *p);

/* The operations up to the difference, with both results. */
void world_print_log(const struct world *w, FILE *out);

#endif
