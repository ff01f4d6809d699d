/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what `quire bench` measures, and what came of it
 *
 *	bench.c     the verb: options, the file, turns          => decides
 *	readers.c   a turn: one way of reading, for a time      => measures, in a process of its own
 *	findings.c  the table, its summary in words, the JSON   => tells
 */
#ifndef QUIRE_CLI_BENCH_H
#define QUIRE_CLI_BENCH_H

#include "histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define READER_BYTES   4096 /* of a random read */
#define READER_LIST    128  /* pages that are asked for together */
#define READER_SCAN    (1U << 20)
#define READER_SAMPLES 64 /* pages that all lines read, to be compared */
#define READER_THREADS 256
#define BENCH_TURNS    3
#define BENCH_LINES    16
#define BENCH_NOTES    6

enum reader_side { READER_QUIRE, READER_PREFETCH, READER_KERNEL, READER_URING };

/* A line of the table, and what its turns brought. */
struct bench_line {
	enum reader_side side;
	bool scan;
	unsigned threads, depth; /* depth: of an io_uring */
	char what[64];
	unsigned turns;
	double bytes_per_s[BENCH_TURNS];
	struct histogram times; /* of single reads; of scans and lists there are none */
	char error[320];        /* why it was not measured */
};

/* What all lines have in common. */
struct bench_job {
	const char *name;
	int fd, direct_fd; /* direct_fd: the file past the page cache, or as fd */
	uint64_t size;
	uint64_t memory;       /* the budget of a mapping */
	uint64_t kernel_limit; /* that the kernel's mapping is held to; 0: no memory cgroup can be made here */
	unsigned threads;
	double seconds; /* of a line, in BENCH_TURNS turns */
	bool direct, uring;
	uint64_t contents; /* of the pages that were compared */
	struct bench_line line[BENCH_LINES];
	unsigned lines;
	char note[BENCH_NOTES][320];
	unsigned notes;
};

/* What one turn brought, in memory that both processes share. */
struct reader_turn {
	uint64_t bytes, contents;
	double seconds;
	bool done;
	char error[320];
	_Alignas(64) struct histogram times[READER_THREADS];
};

/* Reads for so many seconds in the line's way. number: of the turn, so that no two read the same pages in the same order. */
void reader_run(const struct bench_job *job, const struct bench_line *line, unsigned number, double seconds,
		struct reader_turn *ret);

void findings_print(const struct bench_job *job);
void findings_json(const struct bench_job *job, FILE *f);

#endif
