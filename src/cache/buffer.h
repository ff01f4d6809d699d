/* SPDX-License-Identifier: MIT */
/*
 * buffer.h - the engine's buffers, through which every transfer between storage and frames goes
 *
 * A fixed number, counted in the budget. Whoever holds one waits for nothing but his transfer, so waiting for one cannot
 * deadlock. The request of the transfer lives in the buffer: a transfer allocates nothing.
 */
#ifndef QUIRE_CACHE_BUFFER_H
#define QUIRE_CACHE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pager/pager.h"
#include "util/lock.h"

struct object;
struct batch;
struct placement;

struct buffer {
	char *data;       /* page-aligned */
	unsigned pages;   /* it has room for */
	bool is_run;      /* one of the long ones, where it belongs when free */
	bool writes;      /* taken for writing */
	bool is_aperture; /* its memory are the frames themselves: aperture.h */
	bool is_open;     /* … and there are some */
	struct pager_request request;
	/* Of the transfer under way. */
	struct object *object;       /* referenced */
	struct batch *batch;         /* told when done; may be NULL */
	struct placement *placement; /* of a page that comes alone, on whatever thread; may be NULL */
	uint64_t first;              /* page */
	unsigned count;              /* pages */
	uint32_t flags;              /* for the words when it is done */
	bool zeros;                  /* nothing was read: the pages are born */
	unsigned tries;              /* of a write: how often it was sent again */
	struct buffer *next;
};

/* Buffers of one page for single faults and copies, and longer ones for runs. */
struct buffers {
	struct lock lock;
	struct buffer *single, *run;      /* free ones [lock] */
	unsigned runs, singles;           /* how many there are */
	unsigned writing;                 /* long ones that are taken for writing [lock] */
	unsigned free_runs, free_singles; /* [lock] */
	_Atomic uint32_t freed;           /* futex: changes whenever one is freed */
	_Atomic uint32_t waiters;
	_Atomic uint32_t spared;  /* futex: changes when enough are free for who takes his in bulk */
	_Atomic uint32_t patient; /* waiters for it */
	_Atomic uint32_t taken;   /* how many are in use, most of them by transfers under way */
	unsigned run_pages;
	uint64_t total_pages;
	struct buffer *all;
	void *map;
	size_t map_bytes;
};

/* 0 or -errno. Sizes follow from the budget. */
int buffers_create(struct buffers *buffers, uint64_t budget_pages);
/* Likewise, so many: runs long ones of run_pages each, and singles. */
int buffers_create_some(struct buffers *buffers, unsigned run_pages, unsigned runs, unsigned singles);
void buffers_done(struct buffers *buffers);

/* How many pages of a budget the buffers take. */
uint64_t buffers_pages(uint64_t budget_pages, unsigned *ret_run_pages, unsigned *ret_runs, unsigned *ret_singles);

/* One with room for pages (at most run_pages). Waits, holding no lock. Never NULL. */
struct buffer *buffer_get(struct buffers *buffers, unsigned pages);
/* NULL when none is free. */
struct buffer *buffer_try(struct buffers *buffers, unsigned pages);
/*
 * Likewise for who brings in what nobody waits for yet: a part of each kind is left to faults. Waits until a fair number are free, so
 * that he is not woken for each.
 */
struct buffer *buffer_get_spare(struct buffers *buffers, unsigned pages);
/* NULL when there is none to spare. */
struct buffer *buffer_try_spare(struct buffers *buffers, unsigned pages);
/*
 * One of the long ones, for writing: writes may be stuck behind a lock of the kernel's that a reader's thread holds, so they never
 * take one for single pages, nor the last of the long ones.
 */
struct buffer *buffer_try_run(struct buffers *buffers);
struct buffer *buffer_get_run(struct buffers *buffers);
/* Sleeps until one is freed that was not when freed had the value seen. */
void buffer_wait(struct buffers *buffers, uint32_t seen);
void buffer_put(struct buffers *buffers, struct buffer *buffer);

/*
 * Transfers that are waited for together. Lives on the waiter's stack; or nobody waits, and finished is called by who ends the last.
 */
struct batch {
	_Atomic uint32_t pending;              /* futex */
	_Atomic int error;                     /* the first errno, 0 */
	void (*finished)(struct batch *batch); /* may free it; not allowed to wait. NULL: batch_wait is called */
};

void batch_add(struct batch *batch);
void batch_done(struct batch *batch, int error);
/* 0 or -errno, when all that was added is done. */
int batch_wait(struct batch *batch);

#endif
