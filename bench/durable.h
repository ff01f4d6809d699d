/* SPDX-License-Identifier: MIT */
/*
 * durable.h - ways of keeping records of a page each, of which some are changed and made durable together
 *
 * A record is its number and a first word; what follows the word is not looked at. At the beginning the word of record r is
 * bench_word(r, 0). One thread.
 */
#ifndef BENCH_DURABLE_H
#define BENCH_DURABLE_H

#include "bench.h"

struct durable {
	const char *name;
	/* Makes `records` of them. most: that are changed before a commit. settled: settle is called after each one. */
	void *(*open)(const struct bench *b, uint64_t records, unsigned most, bool settled);
	void (*change)(void *state, uint64_t record, uint64_t word);
	/* On return all changes are on stable storage: what is measured. */
	void (*commit)(void *state);
	/* What was left for later is done; not measured. NULL: nothing is left. */
	void (*settle)(void *state);
	/* The word as it is stored, not as this side has it in memory. */
	uint64_t (*stored)(void *state, uint64_t record);
	/* Ends it, and takes its files away. */
	void (*close)(void *state);
};

extern const struct durable durable_quire;
/* The kernel's msync, which promises no atomicity: what it costs under MADV_RANDOM, and as it comes, by large folios. */
extern const struct durable durable_kernel, durable_kernel_default;
/* The limit: the changed pages with O_DIRECT, in one piece, into a file whose blocks were written before, and fdatasync. */
extern const struct durable durable_raw;

#ifdef BENCH_SQLITE
/* A table of blobs in a WAL database, synchronous=FULL. Settled, its checkpoint is not part of a commit; else it comes when it does by default. */
extern const struct durable durable_sqlite;
#endif
#ifdef BENCH_LMDB
/* As it is opened by default: copy on write, fdatasync, and a synchronous write of the meta page. */
extern const struct durable durable_lmdb;
#endif

#endif
