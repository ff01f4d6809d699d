/* SPDX-License-Identifier: MIT */
/*
 * world.h - a program is done: on a store over disks, beside the model, and every read is compared
 *
 * For each file there is what an object over the journal would have: pages that were stored to and are in memory, pages that were spilled,
 * and a size that is not committed.
 */
#ifndef CRASH_WORLD_H
#define CRASH_WORLD_H

#include "judge.h"
#include "program.h"

enum { PENDING_MAX = 4, SNAPSHOTS_MAX = 3 };

struct sheet {
	bool dirty; /* in memory only, or newer there */
	struct leaf memory;
	bool spilled; /* uncommitted in the journal */
	struct leaf out;
	bool unsure; /* the journal may have an uncommitted version or not, below one in memory */
};

struct actor {
	struct sheet pages[PAGES_MAX];
	uint64_t bytes, least; /* the size, and the least that it was since the last commit of it */
	bool sized;            /* it was set since then */
};

/* Handed over, and not waited for. */
struct pending {
	void *commits[FILES_MAX];
	unsigned files[FILES_MAX], n;
	uint32_t begun; /* of the record in the model */
	uint64_t fired; /* failures before it */
};

struct snapshot {
	struct pager *pager;
	unsigned file;
	struct content content;
};

struct world_options {
	const struct store_ops *ops;
	const char *broken; /* of the store */
	enum disk_lie file_lie, log_lie;
	struct judge_limits limits;
	const struct judge_only *only;
	bool verbose;
};

struct world {
	const struct world_options *options;
	const struct program *program;
	struct history history;
	struct disk disks[DISKS_MAX];
	struct store store;
	struct model model;
	struct timeline timeline;
	struct judge judge;
	struct actor actors[FILES_MAX];
	struct pending pending[PENDING_MAX];
	unsigned n_pending;
	struct snapshot snapshots[SNAPSHOTS_MAX];
	unsigned n_snapshots;
	struct rng rng;
	uint64_t tags;
	unsigned char *bytes; /* a file's */
	uint64_t full;        /* calls that found no room */
	unsigned step;
	bool faulty;      /* something may fail in this step */
	unsigned crashes; /* histories that are over */
	char why[2 * WHY_MAX];
	bool judged_wrong; /* a crash was recovered wrongly; else something was wrong while the program ran */
};

/* False: why says what is wrong, and everything that is known of it is printed to out (or NULL). */
bool world_run(const struct program *program, const struct world_options *options, struct judge_counts *counts, FILE *out);

/* ---- between the parts of the world ---- */

__attribute__((format(printf, 2, 3))) bool world_wrong(struct world *w, const char *format, ...);
uint64_t world_fired(const struct world *w);
/* An error of a call: right, where something was made to fail since `fired`, or there may be no room. */
bool world_may_fail(struct world *w, int r, uint64_t fired, bool room, const char *what);
/* … of what needs pages that were spilled: they may be gone with the cache of their disk, since nothing has said that they are stable. */
bool world_may_be_gone(struct world *w, unsigned file, int r, uint64_t fired, const char *what);
/* What the object has of the page. */
struct leaf world_leaf(const struct world *w, unsigned file, unsigned page);
/* What a read of the journal gives; false: it may give one or another. */
bool world_reads(const struct world *w, unsigned file, unsigned page, struct leaf *ret);
/* The allowed contents have changed: more of them from the next event on; or fewer, from now on. */
void world_loosen(struct world *w);
void world_tighten(struct world *w);

/* commits.c */
bool world_commit(struct world *w, const unsigned files[], unsigned n, unsigned first, unsigned count, bool wait);
bool world_wait(struct world *w, unsigned which);
bool world_give_up(struct world *w, unsigned file, unsigned first, unsigned count);

/* reopen.c */
bool world_reopen(struct world *w, const struct step *step);
bool world_kill(struct world *w, unsigned first);
bool world_crash(struct world *w, const struct step *step);
bool world_open(struct world *w, unsigned first);
bool world_end(struct world *w);

#endif
