/* SPDX-License-Identifier: MIT */
/*
 * writer.h - a writer of journals that keeps to the format's rules, and knows what each of its commits makes of the file
 *
 * It is not the engine's: made for the scan alone, small, and with all that the format allows: segments that are used again, spills, cuts
 * after failures, commits that others decide, crashes after which another writer goes on. Everything comes from a stream of numbers.
 */
#ifndef FUZZ_WRITER_H
#define FUZZ_WRITER_H

#include "../tests/oracle/rng.h"
#include "../tests/unit/made-journal.h"

enum { WRITER_PAGES = 24, WRITER_COMMITS = 160, WRITER_SEGMENTS = 8, WRITER_CUTS = 4, WRITER_BURIED = 32 };

/* Whose bytes each page has, as made_fill() was told; 0: what was there at first, UINT64_MAX: zeros. */
struct file_state {
	uint64_t whose[WRITER_PAGES];
	uint64_t bytes;
};

/* After each commit, by its number. */
struct history {
	struct file_state after[WRITER_COMMITS];
	bool given_up[WRITER_COMMITS]; /* has a number, and is no commit */
	uint64_t last;
};

enum writer_kind { WRITER_FREE, WRITER_LOG, WRITER_SPILL };

struct writer {
	struct rng rng;
	struct made made;
	char *stable; /* what is on stable storage */
	struct made_log log;
	bool go_on; /* in another segment, before anything else */
	struct {
		enum writer_kind kind;
		uint64_t seq, needed_till;
	} segments[WRITER_SEGMENTS];
	uint64_t spill_segment; /* index + 1 */
	uint32_t spill_next;

	struct history history;
	struct history cut[WRITER_CUTS]; /* that a crash may yet show, since the cut is not on stable storage */
	unsigned cuts;
	struct history buried[WRITER_BURIED]; /* … and that show again if what has cut them is damaged */
	unsigned n_buried;
	struct file_state file; /* in the file itself … */
	uint64_t file_last;     /* … with commits up to this one */
	uint64_t acked, complete, pending_complete, next_seq, generation, next_whose;
	uint64_t highest, durable_highest;    /* number of a commit that has anything in the log */
	unsigned header_good, header_pending; /* block of the last that is on stable storage, and of the last that was written */
	bool decided[4096];                   /* by unit */
	bool full;
	uint64_t *proof; /* by block: the last commit that what lies there says is on stable storage */
};

void writer_start(struct writer *writer, struct rng rng);
void writer_done(struct writer *writer);

/* One step of some kind. False: there is no room for more. */
bool writer_step(struct writer *writer);

/* The machine stops: of each block that was not synced the old or the new is there, or the beginning of the new. */
void writer_crash(struct writer *writer);

/* Another writer goes on with what a scan has found; last: that counts; spilled: by segment, whether a page lies there. */
void writer_reopen(struct writer *writer, const struct scan_result *found, uint64_t last, const bool *spilled);

/* The last commit up to a number that is one: not only the number of one that was given up. */
uint64_t writer_counting(const struct writer *writer, uint64_t number);

int writer_resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret);

#endif
