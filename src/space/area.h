/* SPDX-License-Identifier: MIT */
/*
 * area.h - an area: contiguous addresses with one protection over one object
 */
#ifndef QUIRE_SPACE_AREA_H
#define QUIRE_SPACE_AREA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "cache/once.h"
#include "cache/readahead.h"
#include "object/object.h"

/*
 * How a fork repeats an area: one of the first three. NONE stands beside them and hides them, so that what MADV_DONTFORK has hidden is
 * there again after MADV_DOFORK. What other words say comes to one of these: INHERIT_SHARE of a shared area and INHERIT_COPY of a private
 * one are AS_IT_IS.
 */
enum inherit {
	INHERIT_AS_IT_IS, /* shared stays shared, private is copied on write */
	INHERIT_COPY,     /* of a shared area: the child's is a private one of the same object */
	INHERIT_ZERO,     /* the child has fresh memory there, without a file */
	INHERIT_NONE = 4, /* the child has nothing there */
};

/* Guarded by the map lock, as the view in it is, except the counters and the streams of readahead. */
struct area {
	struct view view; /* addr and pages always; object NULL for private memory without a file */
	int prot;
	int max_prot; /* what the descriptor allows */
	bool shared;
	bool anonymous;
	bool lock_on_fault; /* with view.locked: nothing was brought in beforehand */
	bool noreserve;
	bool nodump;      /* left out of core files */
	unsigned inherit; /* enum inherit */
	unsigned
	    huge;   /* the flags that the kernel was asked with for huge pages, which it serves by itself: see space_map. 0: none */
	bool guard; /* kept free below a stack: a hole to all but what maps and unmaps. It goes with what lies above it */
	enum readahead_advice advice;
	bool once; /* pages that come in through it are used once */
	struct readahead readahead;
	struct once *_Atomic recent; /* with once: what came in last; made at the first, in the arena */
	_Atomic uint64_t major_faults, minor_faults;
};

static inline char *area_addr(const struct area *area)
{
	return area->view.addr;
}

char *area_end(const struct area *area);

/*
 * Whether the kernel's mapping is a private one though the area is shared: that of a stranger who may read only. The frames come to him
 * by a descriptor that is not for writing, and the kernel registers no shared mapping of such a one. Nothing is ever stored to it, so
 * that it shows what is shared; and what a stranger stores after having changed its protection by himself is his own copy.
 */
static inline bool area_is_readers(const struct pmap *pmap, bool shared, int max_prot)
{
	return pmap_is_strange(pmap) && shared && !(max_prot & PROT_WRITE);
}

/* The page of the object at addr. */
uint64_t area_page(const struct area *area, const char *addr);

/* Areas in order of address. Map lock. */
struct area_set {
	struct area **all;
	size_t count, capacity;
};

/* Index of the first area that ends after addr; count: none. */
size_t area_set_search(const struct area_set *set, const char *addr);
/* The area that holds addr, or NULL. */
struct area *area_set_find(const struct area_set *set, const char *addr);
/* Room for more areas, so that area_set_insert cannot fail. 0 or -ENOMEM. */
int area_set_prepare(struct area_set *set, size_t more);
void area_set_insert(struct area_set *set, struct area *area);
void area_set_remove(struct area_set *set, size_t index);
/* Asserts order, size and overlap. */
bool area_set_check(const struct area_set *set);

/* Whether two areas, the first ending where the second begins, can be one. */
bool area_joins(const struct area *left, const struct area *right);

#endif
