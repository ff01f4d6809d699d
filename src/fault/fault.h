/* SPDX-License-Identifier: MIT */
/*
 * fault.h - a fault is resolved here, whoever caught it
 */
#ifndef QUIRE_FAULT_FAULT_H
#define QUIRE_FAULT_FAULT_H

#include <stdbool.h>

#include "space/space.h"

enum fault_result {
	FAULT_DONE, /* the access can be tried again: who sleeps on the page is to be woken, if that has not been done */
	FAULT_BUS,  /* there is no page: SIGBUS */
	FAULT_NONE, /* no area holds the address */
};

struct fault {
	struct space *space;
	char *addr; /* anywhere in the page */
	bool write;
	int ret_error; /* FAULT_BUS: the errno behind it; ENODATA: past the end of the object */
	int ret_cause; /* … and what the program is to be told: of ENOMEM, why nothing can be paged out */
};

/* Async-signal-safe. No lock held. The thread's duty (util/duty.h) is left before it sleeps. */
enum fault_result fault_resolve(struct fault *fault);

/* ---- what becomes of a fault that has failed (failure.c) ---- */

/* What the program is told of it, and whom to ask. All are async-signal-safe, and called with no lock held. */
void fault_describe(const struct fault *fault, void *touched, unsigned tries, struct quire_error *ret_error,
		    struct error_callback *ret_callback);

/* Puts zeros where a fault has failed. 0; -EAGAIN: something has changed, to be resolved again; -errno. */
int fault_fill(struct fault *fault);

/*
 * Lets every touch of the page at addr raise SIGBUS, until it is brought in after all, and wakes who sleeps on it. uffd's trap only.
 * => Where the page is not absent any more, wakes only. Async-signal-safe. No lock held.
 */
void fault_refuse(struct space *space, char *addr);

/* ---- bringing in without a touch ---- */

/*
 * Makes the frame of an object's page, with these bytes, and maps it at addr, if the page shows there through a shared mapping still.
 * => The page is LOADING through the caller. Map lock held for reading. Async-signal-safe.
 */
bool fault_place_locked(struct space *space, char *addr, struct object *object, uint64_t page, const void *bytes);

/* As what the pages are touched. AS_LOCKED: as mlock does it, private pages that may be written get their copies. */
enum fault_access { FAULT_READ, FAULT_WRITE, FAULT_AS_LOCKED };

/* Brings every page of a range in and maps it. 0; -ENOMEM: not mapped, no frame to be had; -EFAULT: past the end; -errno. */
int fault_populate(struct space *space, char *addr, size_t len, enum fault_access access);

#endif
