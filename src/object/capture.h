/* SPDX-License-Identifier: MIT */
/*
 * capture.h - the pages of one object that a commit has
 *
 * In two steps, so that the journal can be asked for room for exactly as many as there are: first all are claimed, DIRTY becoming
 * WRITING as for a write (writeback.c); then they are copied. They stay WRITING, and so in memory, until it is known whether the
 * commit counts.
 */
#ifndef QUIRE_OBJECT_CAPTURE_H
#define QUIRE_OBJECT_CAPTURE_H

#include "journal/journal.h"
#include "object/object.h"

/* Pages of one chunk that are WRITING through a capture. */
struct captured {
	struct chunk *chunk;
	struct chunk_set set;
};

/* Zero bytes, and its object, are an empty one. */
struct capture {
	struct object *object; /* referenced by who has the capture */
	struct captured *all;  /* by rising page */
	size_t count, capacity;
	uint64_t pages;
};

/*
 * Claims every page of a range that was stored to before the call. Ranges come in rising order, and do not overlap.
 * => Pages in other hands are waited for, and so are writes that are under way: what they wrote is then in the journal.
 * => No lock held but size_lock, which keeps the end of the object where it is. 0 or -errno: some may be claimed.
 */
int capture_claim(struct capture *capture, uint64_t first, uint64_t end);

/* Copies what was claimed into a commit. Hooks have seen the copies. 0 or -errno: the commit is to be given up. size_lock held. */
int capture_copy(const struct capture *capture, struct journal_commit *commit);

/* It is known what has become of the commit. failed: the pages are dirty again. Frees what the capture has. */
void capture_end(struct capture *capture, bool failed);

#endif
