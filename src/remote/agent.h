/* SPDX-License-Identifier: MIT */
/*
 * agent.h - the thread of a served process that does what only the process can do
 */
#ifndef QUIRE_REMOTE_AGENT_H
#define QUIRE_REMOTE_AGENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "remote/ranges.h"
#include "remote/wire.h"
#include "util/lock.h"

struct agent {
	int socket, uffd; /* in the agent's own table of descriptors, once it runs */
	int empty;        /* a file without pages: touching it is SIGBUS */
	struct agent_line *line;
	struct lock *lock;      /* of ranges */
	struct ranges *ranges;  /* what is managed */
	struct ranges *lost;    /* what was, by engines that have ended: less, where something new comes to lie */
	_Atomic uint32_t *over; /* 1 once the engine is gone, and SIGBUS lies over all; a futex */
	_Atomic uint32_t state; /* 0 until it runs; then 1 */
	int error;
};

/*
 * Starts it, and waits until it has its own table of descriptors: those that were given may be closed then. The agent's memory is its
 * own from then on. 0 or -errno.
 */
int agent_start(struct agent *agent);

/* Lays a mapping of the empty file over all ranges. Lock held. False: not over all, for want of memory. */
bool ranges_lay_over(const struct ranges *ranges, int empty);

#endif
