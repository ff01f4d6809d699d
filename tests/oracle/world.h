/* SPDX-License-Identifier: MIT */
/*
 * world.h - the two sides in step, and the first difference between them
 */
#ifndef ORACLE_WORLD_H
#define ORACLE_WORLD_H

#include "family.h"
#include "rules.h"

enum { ORACLE = 0, SUBJECT = 1, SIDES = 2 };

/* In memory that all processes of a program share, but for what sides points to: that each has for itself. */
struct world {
	struct side *sides; /* SIDES of them */
	struct family family;
	struct model model;
	const struct program *program;
	volatile size_t at;                            /* the operation that runs; op_count: the end checks */
	struct result results[SIDES][PROGRAM_OPS_MAX]; /* of the program that runs */
	char difference[512];                          /* empty: none yet */
	char message[256];                             /* the subject's own, then */
	bool unsettled;                                /* an ended process may be served still: rule 15 */
	uint64_t compared_bytes, skipped_ops, run_ops;
};

/* => NULL: said on standard error. pressure_bytes 0: no pressure. */
struct world *world_open(const struct calls *subject, const char *directory, size_t pressure_bytes);
void world_close(struct world *w);

/* Runs a program on both sides. => false: w->difference tells what differs, w->at where. Both windows are empty again. */
bool world_run(struct world *w, const struct program *p);

/* The operations up to the difference, with both results. */
void world_print_log(const struct world *w, FILE *out);

#endif
