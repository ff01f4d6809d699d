/* SPDX-License-Identifier: MIT */
/*
 * filter.h - pagers over pagers: what they have in common, and the three there are
 *
 * A filter owns the pager below it: it is closed with the filter. What a filter does not change it passes on.
 */
#ifndef QUIRE_PAGER_FILTER_H
#define QUIRE_PAGER_FILTER_H

#include "pager/pager.h"

/* Operations that a filter can be told to act upon, as a set. */
enum filter_op {
	FILTER_READ = 1,
	FILTER_WRITE = 2,
	FILTER_SYNC = 4,
	FILTER_RESIZE = 8,
	FILTER_DISCARD = 16,
};
#define FILTER_TRANSFERS (FILTER_READ | FILTER_WRITE)
#define FILTER_ALL       (FILTER_TRANSFERS | FILTER_SYNC | FILTER_RESIZE | FILTER_DISCARD)

/* The part that every filter begins with. */
struct filter {
	struct pager base;
	struct pager *below;
};

static inline struct pager *below_of(struct pager *pager)
{
	return ((struct filter *)pager)->below;
}

static inline enum filter_op filter_op_of(const struct pager_request *request)
{
	return request->op == PAGER_READ ? FILTER_READ : FILTER_WRITE;
}

/* A filter's own structure, zeroed, of so many bytes, with its first part set. NULL: no memory. */
void *filter_new(size_t bytes, const struct pager_ops *ops, struct pager *below);

/* For the operations that are passed on. */
int filter_size(struct pager *pager, uint64_t *ret_bytes);
int filter_sync(struct pager *pager);
int filter_resize(struct pager *pager, uint64_t bytes);
int filter_discard(struct pager *pager, uint64_t offset, uint64_t len);
/* Closes what is below, and frees. */
void filter_close(struct pager *pager);

/* ---- error.c ---- */

/* Operations fail by chance, but the same ones each time, by their order. */
struct error_settings {
	double rate; /* 0…1: which part of them */
	int error;   /* errno */
	unsigned ops;
	uint64_t seed;
	uint64_t after; /* so many succeed first */
	uint64_t most;  /* and so many fail at most; 0: no limit */
};

/* Each of these: below is the filter's from here on, also when this fails. 0 or -errno. */
int error_pager_open(const struct error_settings *settings, struct pager *below, struct pager **ret);

/* ---- delay.c ---- */

struct delay_settings {
	uint64_t us;
	unsigned ops; /* of READ, WRITE, SYNC */
};

/* Operations begin later. Transfers that are submitted wait side by side, as on a disk that is far away. */
int delay_pager_open(const struct delay_settings *settings, struct pager *below, struct pager **ret);

/* ---- trace.c ---- */

/*
 * Writes a line to fd, which is the filter's, for each operation that has ended:
 *
 *      seconds.micros  operation  offset  length  bytes  error  duration in µs
 *
 * with one blank between, seconds of the clock on the wall, and as the error a name, or 0.
 */
int trace_pager_open(int fd, struct pager *below, struct pager **ret);

#endif
