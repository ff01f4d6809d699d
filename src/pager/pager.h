/* SPDX-License-Identifier: MIT */
/*
 * pager.h - where the bytes of an object come from and go to
 *
 * A pager knows bytes, offsets and storage; it knows nothing of pages' states, mappings or faults. What stacks on another pager
 * (a journal, an injected error) is a pager itself.
 */
#ifndef QUIRE_PAGER_H
#define QUIRE_PAGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/io.h"

struct pager;

enum pager_op { PAGER_READ, PAGER_WRITE };

/*
 * One contiguous transfer between storage and a buffer of the engine.
 * => The caller owns the request and the buffer until done is called, which happens exactly once. done may run on another
 *    thread, and before submit has returned; it must not wait for storage.
 * => offset is a multiple of the page size. buf is aligned to a page. A read's len is a multiple of the page size; a write's
 *    may end anywhere, since it must not reach past the end of the object.
 */
struct pager_request {
	enum pager_op op;
	uint64_t offset; /* bytes */
	size_t len;      /* bytes */
	void *buf;
	void (*done)(struct pager_request *request);
	void *owner; /* for done */

	int ret_error;    /* 0, or an errno (positive): nothing of the transfer can be relied on */
	size_t ret_bytes; /* bytes transferred. A read that ends early met the end of the object; a write never ends early */

	/* Below: the pager's and the I/O layer's own, while the request is under way. Need not be initialised. */
	struct pager *pager;
	size_t progress; /* bytes done so far, after a short transfer */
	bool buffered;   /* the rest goes through the kernel's page cache */
	struct io_transfer transfer;
};

struct pager_ops {
	const char *name;

	/* Bytes in the object now, asked of the storage itself. 0 or -errno. */
	int (*size)(struct pager *pager, uint64_t *ret_bytes);

	/* Does the transfer on this thread and calls done before it returns. Async-signal-safe, allocates nothing. */
	void (*run)(struct pager *pager, struct pager_request *request);

	/* Starts the transfer; done comes later, on the I/O thread as a rule. Async-signal-safe, allocates nothing. */
	void (*submit)(struct pager *pager, struct pager_request *request);

	/* On return all that was written before is on stable storage. 0 or -errno; after a failure nothing is known to be. */
	int (*sync)(struct pager *pager);

	/* Sets the size in bytes. 0 or -errno. */
	int (*resize)(struct pager *pager, uint64_t bytes);

	/* Gives the storage of a page range back; it reads as zeros afterwards. 0 or -errno (EOPNOTSUPP: it cannot). */
	int (*discard)(struct pager *pager, uint64_t offset, uint64_t len);

	/* No request is under way any more. Frees the pager. */
	void (*close)(struct pager *pager);
};

/* The part that every pager begins with. */
struct pager {
	const struct pager_ops *ops;
	_Atomic bool direct; /* transfers bypass the kernel's page cache */
	size_t align_bytes;  /* alignment of offset, len and buf that a direct transfer needs; at most a page */
	bool steady;         /* the size changes by resize only, so that it need not be asked for */
	bool watched;        /* a read on the caller's thread keeps its duty (util/duty.h) as long as the thread is awake */
	bool on_demand;      /* a page is asked for when it is needed, and not before */
};

#endif
