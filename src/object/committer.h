/* SPDX-License-Identifier: MIT */
/*
 * committer.h - the thread that ends commits nobody waits for, and looks after the journals
 */
#ifndef QUIRE_OBJECT_COMMITTER_H
#define QUIRE_OBJECT_COMMITTER_H

#include <pthread.h>

#include "object/atomic.h"
#include "object/commit.h"

#define FAILURES_KEPT 1024

/* A ticket whose commit has failed. */
struct failure {
	uint64_t ticket;
	int error;
};

/* (l) lock. (a) atomic. Zero bytes are one that was not started. */
struct committer {
	struct atomics *atomics;
	struct lock lock;
	struct commit *head, *tail;           /* (l) on their way, by ticket */
	uint64_t last;                        /* (l) ticket that was given */
	uint64_t done;                        /* (l) all up to this one have ended */
	struct failure failed[FAILURES_KEPT]; /* (l) the last ones, a ring */
	uint64_t failures;                    /* (l) how many there were */
	_Atomic uint32_t word;                /* futex: changes when there is something to do */
	_Atomic uint32_t ended;               /* futex: changes when one has ended */
	_Atomic bool stopping;
	bool started; /* (l) */
	pthread_t thread;
};

/* From the first atomic file on. 0 or -errno. */
int committer_start(struct committer *committer, struct atomics *atomics);
/* Ends what is on its way, and the thread. */
void committer_stop(struct committer *committer);

/* Takes a commit over; event_fd, too: 1 is written to it at the end. -1: none. Its ticket. */
uint64_t committer_add(struct committer *committer, struct commit *commit, int event_fd);
/* 0 or -errno of the commit; -EINVAL no such ticket was given; -ESTALE: long ago, and its end is not known any more. No lock held. */
int committer_wait(struct committer *committer, uint64_t ticket);
/* Waits until nothing is on its way. */
void committer_drain(struct committer *committer);
/* A journal may have become full. */
void committer_poke(struct committer *committer);

#endif
