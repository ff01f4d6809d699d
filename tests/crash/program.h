/* SPDX-License-Identifier: MIT */
/*
 * program.h - what is done to the files of a journal: a list of steps, made from a seed, printed and read again
 *
 * A step's numbers are taken modulo what there is when it is done, so that a program is one whatever is taken away of it.
 */
#ifndef CRASH_PROGRAM_H
#define CRASH_PROGRAM_H

#include <stdio.h>

#include "store.h"

enum step_kind {
	STEP_STORE,      /* file, page, count: stored to in memory */
	STEP_SPILL,      /* file, page, count: what is stored there is written, uncommitted */
	STEP_COMMIT,     /* file, page, count (0: all), and waited for */
	STEP_UNIT,       /* first file, how many, as COMMIT's count: as one */
	STEP_HAND,       /* as COMMIT, but not waited for */
	STEP_HAND_UNIT,  /* as UNIT, but not waited for */
	STEP_WAIT,       /* which of those that are not waited for */
	STEP_GIVE_UP,    /* file, page, count: begun, and given up */
	STEP_ROLLBACK,   /* file, page, count (0: all, and the size) */
	STEP_RESIZE,     /* file, bytes */
	STEP_CHECKPOINT, /* file */
	STEP_PREPARE,    /* file */
	STEP_SNAPSHOT,   /* file */
	STEP_LOOK,       /* which snapshot: it is read */
	STEP_DROP,       /* which snapshot: it is closed */
	STEP_READ,       /* file, page, count */
	STEP_REOPEN,     /* complete or not, an empty journal is removed or not; which is opened first; all, or that one alone */
	STEP_KILL,       /* the process dies, the machine lives: opened again, which first */
	STEP_CRASH,      /* the machine dies as well: image, which first */
	STEP_KINDS,
};

struct step {
	enum step_kind kind;
	uint32_t a, b, c;
	bool faulty; /* the nth operation of that kind on that disk fails while the step is done */
	enum fault_kind fault;
	uint32_t disk, nth, every;
	int error;
};

enum { STEPS_MAX = 400 };

struct program {
	uint64_t seed; /* of what is left to chance while it runs */
	unsigned n_files;
	uint64_t bytes[FILES_MAX]; /* of the files at first */
	struct store_settings settings;
	struct step steps[STEPS_MAX];
	unsigned n_steps;
};

struct program_limits {
	unsigned steps, pages;
	bool faults;
};

void program_generate(struct program *program, uint64_t seed, uint64_t number, const struct program_limits *limits);
void step_print(const struct step *step, FILE *out);
void program_print(const struct program *program, FILE *out);
/* False: the text is none. */
bool program_read(struct program *program, FILE *in);

#endif
