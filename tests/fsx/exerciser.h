/* SPDX-License-Identifier: MIT */
/*
 * exerciser.h - one thread that reaches the same files by loads and stores, by read(2) and write(2), and by calls, in programs made
 * from a seed; every byte that it sees is checked against the model. Its children, if it has any, do so for it with what they inherit and
 * map.
 */
#ifndef FSX_EXERCISER_H
#define FSX_EXERCISER_H

#include <stdio.h>

#include "../oracle/rng.h"
#include "../oracle/side.h"
#include "far.h"
#include "model.h"

enum { FSX_FILES = 2, FSX_MAPS = 7, FSX_MAPS_ALL = FSX_MAPS * FAR_PROCESSES, FSX_FDS = 4, FSX_LOG = 2048 };

/* A mapping of consecutive pages of a file. NULL: none. */
struct fsx_map {
	unsigned char *addr;
	int file;
	int64_t first, pages;
	bool shared, locked;
	bool split;             /* it may be several mappings by now */
	int *prot;              /* of each page */
	unsigned char **copies; /* private: of each page, NULL while the file's shows */
};

/* What was done, for the report of a failure. */
struct fsx_note {
	int64_t at;
	int file;            /* -1: all */
	int64_t first, last; /* pages it may concern, last included */
	char text[120];
};

struct fsx {
	const struct calls *calls;
	const char *directory;
	uint64_t seed;
	int64_t number;       /* of the program */
	int64_t at;           /* the operation */
	bool coherent;        /* the kernel's mmap */
	bool first_touch;     /* stores are caught by faults: what is locked or populated for writing counts as stored to */
	bool forks;           /* calls are far_open()'s */
	bool stores_past_end; /* also behind the end of a file */
	bool verbose;
	int64_t page_bytes;
	struct rng rng;
	int fds[FSX_FILES][FSX_FDS];
	struct model_file files[FSX_FILES];
	struct fsx_map maps[FSX_MAPS_ALL]; /* those of process 0, then of its children */
	unsigned char *buffer, *before;    /* of BUFFER_PAGES pages */
	struct fsx_note log[FSX_LOG];
	int64_t noted;
	char failure[400];
	int failed_file;
	int64_t failed_page;
	uint64_t operations, loads, stores, reads, writes, calls_made, bus, denied;
};

/* => false: said on standard error */
bool fsx_open(struct fsx *x);
void fsx_close(struct fsx *x);

/* Runs a program of so many operations. => false: x->failure says what is wrong. Nothing is mapped after true. */
bool fsx_run(struct fsx *x, int64_t number, int64_t operations);

/* What was done to the page that is wrong, the last of it. */
void fsx_print_log(const struct fsx *x, FILE *out);

#endif
