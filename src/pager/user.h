/* SPDX-License-Identifier: MIT */
/*
 * user.h - the pager of the program's own: its operations run on threads that are made for it
 */
#ifndef QUIRE_PAGER_USER_H
#define QUIRE_PAGER_USER_H

#include <quire/pager.h>

#include "pager/pager.h"
#include "util/lock.h"

struct user_pager;

/* All of an engine, by whose numbers a request is found. Zero bytes are an empty list. */
struct user_pagers {
	struct lock lock;
	struct user_pager *head; /* [lock] */
	uint32_t last_number;    /* [lock] */
};

/*
 * Makes a pager of a table that user_pager_check found good, and starts its threads.
 * => transfers: how many may be submitted and run at once, all told.
 * => below: with `populate`, the memory that holds what was filled in; the pager's from here on, also when this fails. Else NULL.
 * => 0 or -errno. Where it fails, `close` is not called.
 */
int user_pager_open(struct user_pagers *all, const struct quire_pager_ops *ops, void *arg, unsigned transfers, struct pager *below,
		    struct pager **ret);

/* From here on `close` will be called. */
void user_pager_opened(struct pager *pager);

/* 0, or -EINVAL with a message. ret: a copy with the defaults filled in. */
int user_pager_check(const struct quire_pager_ops *ops, struct quire_pager_ops *ret);

/* Asks the program, on the pager's thread, and waits. The size that the pager itself then tells. 0 or -errno. */
int user_pager_ask_size(struct pager *pager, uint64_t *ret_bytes);

/* Lets the program fill its object, through a mapping of it. 0 or -errno. */
int user_pager_populate(struct pager *pager, void *memory, size_t len);

/* 0; -ESTALE, -EINVAL with a message. Signals are blocked. */
int user_pager_complete(struct user_pagers *all, uint64_t id, int error, size_t bytes);

#endif
