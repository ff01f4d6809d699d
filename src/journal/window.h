/* SPDX-License-Identifier: MIT */
/*
 * window.h - the blocks of a journal that are looked at, with reads of those that come next under way
 */
#ifndef QUIRE_JOURNAL_WINDOW_H
#define QUIRE_JOURNAL_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pager/pager.h"

#define WINDOW_READS 8 /* under way at once */

/* Blocks that follow each other. */
struct window_range {
	uint64_t first, end;
};

/* One read, and what it has brought. */
struct window_read {
	struct pager_request request;
	char *memory;
	uint64_t first;
	_Atomic uint32_t pending; /* futex */
};

struct window {
	struct pager *pager;
	size_t block_bytes;
	uint64_t blocks;      /* that the file has */
	uint64_t read_blocks; /* of a read, at most */
	char *memory;
	struct window_read reads[WINDOW_READS];
	unsigned head, n; /* the one that is looked at, and those after it, in the order of the plan */
	unsigned room;    /* of reads */

	const struct window_range *plan; /* what will be asked for, in this order; the caller's */
	size_t n_plan, at;               /* the range that `next` is in */
	uint64_t next, end;              /* what is left of it */
};

/* 0 or -ENOMEM. */
int window_open(struct window *window, struct pager *pager, size_t block_bytes, uint64_t blocks);
/* What has been opened, or is zero. */
void window_done(struct window *window);

/* From here on blocks are asked for in this order, as a rule, and none of it twice. n 0: nothing is known of that. */
void window_plan(struct window *window, const struct window_range *plan, size_t n);

/*
 * A block, in memory until the next call. want: how many from there on will be asked for next, if it is not in the plan.
 * => NULL and 0: the file ends before it. -errno of the transfer.
 */
int window_block(struct window *window, uint64_t block, uint64_t want, const void **ret);
/* How many follow each other in memory from that block on. */
uint64_t window_ready(const struct window *window, uint64_t block);

#endif
