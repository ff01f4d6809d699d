/* SPDX-License-Identifier: MIT */
/*
 * commit.h - commits of pages of atomic files, of one or several as one unit
 */
#ifndef QUIRE_OBJECT_COMMIT_H
#define QUIRE_OBJECT_COMMIT_H

#include "object/object.h"

struct commit_range {
	struct object *object; /* atomic, referenced by the caller */
	uint64_t first, end;
};

/* A commit that is on its way. */
struct commit {
	struct commit *next; /* of who queues it */
	uint64_t ticket;     /* likewise */
	int event_fd;        /* likewise; -1: none */
	struct identity event;
	bool tells; /* a failure is left for the next call about one of the files */
	size_t n;
	struct commit_part *parts;
	struct journal_commit **journals; /* n: what the journals know it by */
};

/*
 * Captures all that was stored to in the ranges before the call, and the sizes of their files, and hands it to the journals: stores that
 * come later are of the next commit. Ranges may overlap; they are sorted in place.
 * => ret: what commit_end has to be called with, and soon: the next commit of these files may have to wait for it.
 * => 0; -errno, with a message: nothing has happened. No lock held.
 */
int commit_begin(struct commit_range *ranges, size_t n, struct commit **ret);

/*
 * Waits until it counts, and frees it. 0; -errno: none of it does, as far as is known, and all of it is dirty again. Any thread.
 */
int commit_end(struct commit *commit);

/* Whether a journal of it has become so full that a checkpoint is due. */
bool commit_fills(const struct commit *commit);

/* All that is committed, or on its way to be, is copied into the file. No lock held. 0 or -errno: then the journal still has it. */
int commit_complete(struct object *object);

/* Waits until no commit of the object is on its way. size_lock held, so that none begins. */
void commit_wait_all(struct object *object);

#endif
