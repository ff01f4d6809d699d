/* SPDX-License-Identifier: MIT */
/*
 * space.h - an address space: one process's areas, and what is done to ranges of them
 *
 * Functions return 0 or -errno and set the thread's message where a caller would want more than the errno. Addresses are
 * aligned and lengths whole pages; the public entry points have checked that. None holds a lock on return. A call that fails has
 * changed nothing (I6), with one exception that docs/compatibility.md names: MAP_FIXED over a mapping when the kernel
 * runs out of memory in the middle.
 */
#ifndef QUIRE_SPACE_SPACE_H
#define QUIRE_SPACE_SPACE_H

#include "object/private.h"
#include "space/area.h"
#include "sys/pmap.h"

struct space {
	struct cache *cache;
	struct registry *registry;
	struct pmap pmap;
	struct private_pages *private_pages;
	struct area_set areas;           /* [map_lock] */
	_Atomic uint64_t edits;          /* changed under map_lock: how often areas were changed, or nearly */
	const char *_Atomic own_process; /* 0 there: this is the child of a fork, which has none of it. NULL: not known yet */
	int lock_future;                 /* [map_lock] MCL_FUTURE, MCL_ONFAULT */
	_Atomic uint32_t leaving;        /* how many hold stores off: who finds something inaccessible waits (leave.c) */
	_Atomic unsigned uses;           /* its owner's, and one for each list that is being fetched into it */
};

int space_create(struct registry *registry, struct cache *cache, enum uffd_source source, bool sigbus, bool allow_tracking,
		 struct object *swap, struct space **ret);

/* ---- fork.c ---- */

/*
 * A space for a child of the process that from is of: what it inherits, with nothing mapped yet. 0 or -errno. No lock held.
 */
int space_fork(struct space *from, struct far *far, struct space **ret);
/* Maps all of it; the pmap has been attached. 0 or -errno: some may be mapped. */
int space_attach(struct space *space);
/* Gives a child's space up, whose process has ended: what was stored to files is kept. NULL is not fine. */
void space_vanish(struct space *space);

/* ---- */

/* Unmaps everything. */
void space_destroy(struct space *space);

/* A space that has been given up stays, with nothing mapped, until the last that uses it has released it. No lock held. */
void space_use(struct space *space);
void space_release(struct space *space);

/* The area that holds addr; map lock held. */
static inline struct area *space_find(struct space *space, const void *addr)
{
	return area_set_find(&space->areas, addr);
}

/* Whether any area meets the range. Takes the map lock. */
bool space_touches(struct space *space, const char *addr, size_t len);
/* From addr on, up to where it changes: how many of len bytes are of areas, or are not. Likewise. */
size_t space_extent(struct space *space, const char *addr, size_t len, bool *ret_managed);

struct mapping {
	char *addr;
	size_t len;
	int prot, max_prot;
	bool shared, fixed, noreplace, noreserve, locked, lock_on_fault, nodump, small, nosync, denies;
	bool stack; /* a guard is kept below it, where the place is free */
	bool guard; /* is one */
	unsigned
	    huge;    /* MAP_HUGETLB, its size, MAP_SHARED or MAP_PRIVATE: the kernel's huge pages. Locked; promised by the caller */
	int huge_fd; /* of hugetlbfs; -1: none */
	bool tracked;          /* as the area that it continues; a shared one that may be stored to is tracked anyhow */
	struct object *object; /* the caller's reference stays his; NULL: private memory without a file */
	bool anonymous;
	uint64_t first; /* page of the object */
	enum readahead_advice advice;
	bool once;
	unsigned inherit; /* enum inherit */
	struct error_callback on_error;
};

int space_map(struct space *space, const struct mapping *mapping, char **ret_addr);
int space_unmap(struct space *space, char *addr, size_t len);
int space_protect(struct space *space, char *addr, size_t len, int prot);

/*
 * Leaves to the kernel, where it is, what is mapped of an object, which is of a file; fd: of it, open for as much. 0; -EBUSY: another process has
 * it mapped, or there are private mappings; or -errno. Of an error in the middle, some of it may have been left.
 * => The object is used by the caller, who gives it up and does not write it.
 */
int space_leave(struct space *space, struct object *object, int fd);

/*
 * Holds off all stores to what is mapped of an object, all of which are in its file on return, until space_go_on. 0; -EBUSY, as for space_leave, or
 * -errno: nothing is held off.
 */
int space_still(struct space *space, struct object *object);
void space_go_on(struct space *space, struct object *object);

enum { SPACE_MAYMOVE = 1, SPACE_FIXED = 2, SPACE_DONTUNMAP = 4 };
/* ret_locked: the result is locked memory that has to be brought in. */
int space_remap(struct space *space, char *addr, size_t old_len, size_t new_len, int flags, char *new_addr, char **ret_addr,
		bool *ret_locked);

/* -ENOMEM unless areas cover the whole range. */
int space_check(struct space *space, const char *addr, size_t len);

/* Calls visit for every area's part of the range, map lock not held, the object (if any) referenced meanwhile. Stops at an error. */
struct part {
	char *addr;
	size_t pages;
	struct object *object;
	uint64_t first; /* page of the object at addr */
	bool shared, locked, anonymous, huge;
	int prot, max_prot;
};
int space_visit(struct space *space, char *addr, size_t len, int (*visit)(void *arg, const struct part *part), void *arg);

int space_set_advice(struct space *space, char *addr, size_t len, enum readahead_advice advice);
/* Pages that come in through the range are used once, or not. */
int space_set_once(struct space *space, char *addr, size_t len, bool once);
/* Who is asked about errors of a range. When it returns, one who was asked before about write-back is not any more. */
int space_set_on_error(struct space *space, char *addr, size_t len, struct error_callback callback);
/* Leaves a range out of core files, or takes it in again. */
int space_set_nodump(struct space *space, char *addr, size_t len, bool nodump);
/* Whether chunks are mapped by entries of a page each, and never by one. */
int space_set_small(struct space *space, char *addr, size_t len, bool small);
/* Marks a range locked or not; the budget was asked. What was locked before is not counted again. */
int space_set_locked(struct space *space, char *addr, size_t len, bool locked, bool on_fault);
/* Pages of a range that are mapped and not locked. */
uint64_t space_unlocked_pages(struct space *space, char *addr, size_t len);
/* All that are locked. */
uint64_t space_locked_pages(struct space *space);
bool space_is_locked(struct space *space, char *addr);
/* Forgets private pages of a range, so that the object or zeros show again. */
int space_discard_private(struct space *space, char *addr, size_t len);

#endif
