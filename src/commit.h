/* SPDX-License-Identifier: MIT */
/*
 * commit.h - commits of ranges, for the public calls that make some
 */
#ifndef QUIRE_COMMIT_H
#define QUIRE_COMMIT_H

#include "engine.h"

/* Ranges of atomic files, each with a reference to its object. Zero bytes are an empty list. */
struct commit_list {
	struct commit_range *all;
	size_t count, capacity;
};

/* A part of an atomic file's shared mapping. 0 or -ENOMEM. */
int commit_list_add(struct commit_list *list, const struct part *part);
void commit_list_done(struct commit_list *list);

/* Commits them as one, and tells what an earlier one of the same files has met. 0 or -errno, with a message. No lock held. */
int commit_now(struct engine *engine, struct commit_list *list);
/*
 * Captures them now. tells: a failure is told by the next call about one of the files. event_fd is the commit's from here on, if this does
 * not fail. The ticket, or -errno with a message.
 */
int64_t commit_later(struct engine *engine, struct commit_list *list, int event_fd, bool tells);

#endif
