/* SPDX-License-Identifier: MIT */
/*
 * rescue.h - what was stored and is not in its file, written by who comes after a process that has died at any instant
 *
 * Whose threads are gone, and have left locks held and lists half changed. So nothing of theirs is waited for: no lock is taken, nothing is
 * allocated, and what is read is right at every instant: the registry, the lists of views, tables and words. What a thread has in hand
 * while it moves knowledge of stores from the kernel's entries to the words, it has in one of these, and the object points to it.
 */
#ifndef QUIRE_OBJECT_RESCUE_H
#define QUIRE_OBJECT_RESCUE_H

#include "object/object.h"

/* A harvest (writeback.c). */
struct taking {
	struct view *view;
	struct pagemap_taken taken;
};

/* An unmapping (evict.c). */
struct leaving {
	struct chunk *chunk;
	const struct chunk_set *mapped; /* held for it */
	const struct chunk_set *dirty;  /* found to have been stored to */
	_Atomic bool unmaps;            /* a view is under way, and this is what it had: */
	int pagemap;
	char *addr; /* of page from of the chunk */
	unsigned from, end;
	uint64_t present[PAGEMAP_WORDS];
};

/* Before its first page: how its file is found again, should the program close the engine's descriptors. Async-signal-safe. */
void rescue_note(struct object *object);
void rescue_forget(struct object *object);

/* Told of what is lost. object: which; fd: its file, or -1; error: errno, EOPNOTSUPP where only the program could have written it. */
struct rescue {
	void *buffer; /* of whole pages */
	unsigned pages;
	void (*lost)(const struct rescue *rescue, const struct object *object, int fd, int error);
	int pagemap; /* of this memory, for where the program has closed the engine's; -1: none */
	/* Another descriptor of a file, for writing at offsets, where the program has closed the engine's; or -1. NULL: there is none. */
	int (*find)(const struct rescue *rescue, const struct trace *trace);
};

/*
 * Writes what is not in the files of a registry, up to the end of each file only. What is not committed to an atomic file is left out. => No
 * thread of the process is there any more.
 */
void rescue_all(const struct rescue *rescue, struct registry *registry);

#endif
