/* SPDX-License-Identifier: MIT */
/*
 * judge.h - whether what a crash has left is recovered as it must be
 *
 * The images of a crash are put on disks, and the store is opened on them, in one order of the files or another. What it then gives
 * has to be, of all files together, one of the contents that are allowed; and from then on that one: after more opening and closing, and
 * in the files themselves when it was closed with everything complete. A refusal is a failure.
 *
 * Recovery is crashed at each of its own operations as well, and what that leaves judged in the same way.
 */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include "image.h"
#include "store.h"

enum { WHY_MAX = 2048 };

/* How much is tried. */
struct judge_limits {
	unsigned images;   /* of each crash point, at most */
	unsigned again;    /* percent of crashes whose recovery is crashed */
	unsigned recovery; /* images of each crash point of a recovery */
	bool unnoticed;    /* a tear is not noticed: the log's checksums are made to fit */
};

struct judge_counts {
	uint64_t points, crashes, same,
	    again; /* crash points; images tried, left out since they were tried before; of recoveries */
};

struct judge {
	struct judge_limits limits;
	struct judge_counts *counts;
	const struct store_ops *ops;
	unsigned n_files;
	struct store_settings settings;
	const char *broken;
	/* A fault of the store that opens, too. */
	struct judge *next; /* judges crashes of recoveries */

	struct history history;
	struct disk disks[DISKS_MAX];
	struct image images[DISKS_MAX];
	unsigned char *bytes[FILES_MAX];
	struct timeline timeline;
	uint64_t *seen; /* hashes of what was tried */
	size_t seen_room, n_seen;
	char why[WHY_MAX];
	bool in_recovery; /* the failure is of a recovery that was crashed: at next->point, of history */
	uint32_t point;   /* of the failure */
	uint64_t number;
};

void judge_make(struct judge *judge, const struct store *like, const struct judge_limits *limits, struct judge_counts *counts,
		bool with_next);
void judge_done(struct judge *judge);

/* All crash points of a history, from point from on. False: why, point and number tell. only: that point and image, if not NULL. */
struct judge_only {
	unsigned history; /* of those of a program: the first is 0 */
	uint32_t point;
	uint64_t number;
};
bool judge_history(struct judge *judge, const struct history *history, const struct timeline *timeline, uint64_t seed,
		   const struct judge_only *only);

/* ---- for whoever opens a store after a crash ---- */

/* PAGES_MAX pages for the bytes of a file. */
unsigned char *file_buffer(void);
/* Reads all of a file through pager, in pieces. 0, -errno; *ret_bytes is the size. Otherwise why says what is wrong with it: 1. */
int read_file(struct pager *pager, struct rng *rng, unsigned char *bytes, uint64_t *ret_bytes, char *why);
/* Whether these bytes are the content. why (or NULL) says what is not. */
bool is_content(const struct content *content, const unsigned char *bytes, uint64_t size, char *why);
/*
 * The allowed contents of which this file is: the others are taken out of allowed. False: there are none, and why says what each would
 * have had otherwise.
 */
bool narrow(struct allowed *allowed, unsigned file, const unsigned char *bytes, uint64_t size, char *why);
struct allowed allowed_copy(const struct allowed *allowed);

#endif
