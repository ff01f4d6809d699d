/* SPDX-License-Identifier: MIT */
/*
 * slots.h - places in the swap object, one a page; those of all spaces of an engine
 *
 * Map lock held for reading at least, unless said otherwise.
 */
#ifndef QUIRE_OBJECT_SLOTS_H
#define QUIRE_OBJECT_SLOTS_H

#include "object/object.h"

struct extent;

/* The swap object and what is free of it. */
struct slots {
	struct object *swap;
	struct lock lock;            /* extents */
	struct extent *free_extents; /* [lock] */
	uint32_t next_extent;        /* [lock] */
	/* For who has to page out and may not wait for a buffer. */
	struct lock spare_lock; /* may be taken with the map lock held */
	struct buffer spare;    /* [spare_lock] its data and pages, from the first borrower on */
	_Atomic unsigned users;
};

/* swap: the caller's reference goes over, also when this fails. The caller has the one use. 0 or -errno. No lock held. */
int slots_create(struct object *swap, struct slots **ret);
/* NULL is fine. No lock held. */
void slots_unuse(struct slots *slots);

/*
 * Slots for a run of pages of a chunk, claimed; how many. A slot may be taken by a page that has moved away or that others have
 * copies of, or be stale and busy; in an extent that is new none is. ret_swap_chunk: the chunk of the swap object that page i goes to
 * page i of. 0: no memory, or swap is exhausted.
 */
unsigned slots_claim(struct slots *slots, struct chunk *chunk, unsigned i, unsigned n, struct chunk **ret_swap_chunk);
/* What was claimed has its bytes, or has not. An OUT word refers to each that has. */
void slots_settle(struct slots *slots, struct chunk *swap_chunk, unsigned i, unsigned n, bool filled);

/* The slot that an OUT word refers to. */
uint64_t slot_of(uint32_t out_word);
/* One more OUT word refers to a slot to which one does that stays meanwhile. 0; -ENOMEM. */
int slot_share(struct slots *slots, uint64_t slot);
/* An OUT word refers to the slot no more. If it was the last, its frame is freed, unless it is busy: then it stays, stale, and the policy evicts it. */
void slot_free(struct slots *slots, uint64_t slot);

/* The counts beside a chunk of the swap object, so that slot_share cannot fail; NULL: no memory. */
struct shares *slots_shares(struct chunk *swap_chunk);
/* A chunk of which nothing is left gives its extent back. Nobody pages it out. */
void slots_disown(struct slots *slots, struct chunk *chunk);

#endif
