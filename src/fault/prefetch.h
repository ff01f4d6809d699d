/* SPDX-License-Identifier: MIT */
/*
 * prefetch.h - lists of ranges that are to be brought in, and the thread of the engine that begins it
 */
#ifndef QUIRE_FAULT_PREFETCH_H
#define QUIRE_FAULT_PREFETCH_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "space/space.h"

/* Ranges that may wait, beside one list of any length. */
#define PREFETCH_WAITING_MOST 65536

struct prefetch;

/*
 * Zero bytes are one without a thread. (l) lock.
 */
struct prefetcher {
	struct lock lock;
	struct prefetch *head, *tail; /* (l) lists that wait for their turn */
	uint64_t waiting;             /* (l) how many ranges they have */
	struct prefetch *done;        /* (l) to be freed */
	bool started;                 /* (l) */
	pthread_t thread;
	_Atomic uint32_t word; /* futex: 1 there is something to do, 0 asleep */
	_Atomic bool stopping;
	_Atomic uint32_t outstanding; /* futex: lists that wait or are under way */
};

/*
 * Begins a list, or hands it over. The ranges are whole pages.
 * => eventfd: gets 1 added, and is closed, when all that is to be fetched is in or has failed; the prefetcher's from here on if this
 *    succeeds. -1: none.
 * => 0; -ENOMEM, also where no area covers a part of a range; -EAGAIN: too much is waiting, or there can be no thread. With a message. Waits for nothing.
 */
int prefetch_start(struct prefetcher *prefetcher, struct space *space, const struct iovec *ranges, size_t n, int eventfd);

/* What waits is given up, what is under way is waited for. */
void prefetch_stop(struct prefetcher *prefetcher);

#endif
