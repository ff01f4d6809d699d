/* SPDX-License-Identifier: MIT */
/*
 * pager.h - map anything: a pager is a table of operations that a program fills in
 *
 * What a driver is to the mmap of a kernel, a pager is to quire_mmap(): it says where the bytes of a page come from, and where they
 * go. quire_open_pager() makes a descriptor of it, which is mapped as that of a file is.
 *
 * A pager brings its bytes in one of three ways, of which it has exactly one:
 *
 *   read      transfers of one or more pages, which may end later, on any thread
 *   fault     one page, on demand; as the nopage or fault operation of a driver
 *   populate  all of it at once, when it is first mapped; as remap_pfn_range
 *
 * Where operations run: on threads that the engine keeps for this pager alone (`threads` of them), with no lock held. They may take
 * their time, call malloc(), block, and make any call of Quire about other objects. They run on no thread of the program's and in no
 * signal handler; a touch that needs one waits for it. Signals that are sent to the process are not delivered to these threads.
 *
 * What an operation must not do is touch, or wait for somebody who touches, memory that is mapped from the pager itself: that waits
 * for this operation. One that touches memory that is mapped from others should have a second thread: room for it may have to be made
 * by writing pages of this very pager.
 *
 * What can go wrong is kept to the pager. A transfer that fails, ends early or claims more than was asked for is an error: SIGBUS at
 * the touch, or the errno of quire_msync() or quire_munmap(); the next touch or call tries again. One that never ends keeps those who
 * wait for it, and nobody else: there is no time limit, but any thread may end it with ETIMEDOUT. The transfers of a pager go through
 * buffers that are taken from the budget when it is opened, and belong to it alone.
 *
 * Operations that return an int return 0, or an errno, whose sign does not matter: EIO and -EIO are the same.
 */
#ifndef QUIRE_QUIRE_PAGER_H
#define QUIRE_QUIRE_PAGER_H

#include <quire/quire.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

enum quire_pager_op { QUIRE_PAGER_READ = 0, QUIRE_PAGER_WRITE = 1 };

/*
 * One transfer. It is the pager's from the call of its operation until quire_pager_complete(); afterwards nothing of it may be touched.
 * => offset is a multiple of the page size. A read is of whole pages, and may reach past the end: then up to the end is enough. A
 *    write ends no later than the end of the object, rounded up to `align`.
 */
struct quire_pager_request {
	uint64_t id; /* what quire_pager_complete() wants; never used twice */
	enum quire_pager_op op;
	uint64_t offset; /* bytes, in the object */
	size_t len;      /* bytes */
	void *buf;       /* to be filled, or to be written; aligned to a page */
};

struct quire_pager_ops {
	size_t ops_size;  /* sizeof(struct quire_pager_ops), for versions to come */
	const char *name; /* for messages. NULL: "pager" */

	/* ---- what it can do ---- */

	size_t align;     /* a write's length is a multiple of it, filled up with zeros: a power of two, at most a page. 0: 1 */
	size_t best_size; /* bytes that a transfer should have, if it can. 0: 65536. At most 524288; less under a small budget */
	unsigned depth;   /* transfers that it takes at once. 0: 4, or `threads` if that is more. At most 64 */
	unsigned threads; /* threads that call operations. 0: 1, so that no two operations run at the same time. At most 64 */

	/* ---- operations; arg is that of quire_open_pager() ---- */

	/*
	 * How long the object is, in bytes. Must be there. Asked by quire_open_pager(); and where there is a `resize`, by each
	 * quire_mmap() too. A touch does not ask: past the size that is known it is SIGBUS.
	 */
	int (*size)(void *arg, uint64_t *ret_bytes);

	/* Begins a transfer, which ends with quire_pager_complete(): from inside of the operation, or later, from any thread. */
	void (*read)(void *arg, const struct quire_pager_request *request);
	/* Likewise. NULL: the object is read-only, and quire_open_pager() with O_RDWR fails with EROFS. */
	void (*write)(void *arg, const struct quire_pager_request *request);

	/* Fills the page of quire_pagesize() bytes at offset, which is touched for the first time or again. Nothing is read ahead. */
	int (*fault)(void *arg, uint64_t offset, void *page);

	/*
	 * Fills all of the object, once: when it is mapped for the first time, before that call returns. memory is a mapping of it,
	 * for as long as the operation runs. Afterwards the object is memory, as that of quire_shm_open(): stores stay in it, and what
	 * does not fit into the budget is swapped. A pager with `populate` has neither `write` nor `resize`, `sync` nor `discard`.
	 */
	int (*populate)(void *arg, void *memory, size_t len);

	/* Puts what was written on stable storage. NULL: a write that has ended is there already. */
	int (*sync)(void *arg);

	/* Sets the size, for quire_ftruncate(); runs while no transfer near the end is under way. NULL: the size is fixed. */
	int (*resize)(void *arg, uint64_t bytes);

	/* Makes a range of whole pages read as zeros and gives its storage back, for MADV_REMOVE. NULL: EOPNOTSUPP. */
	int (*discard)(void *arg, uint64_t offset, uint64_t len);

	/*
	 * The last mapping and the last descriptor are gone, and no transfer is under way. Called once, within a second or so; not
	 * where quire_open_pager() failed, nor at the end of the process. NULL: nothing to do.
	 */
	void (*close)(void *arg);
};

/*
 * Makes a descriptor that stands for a pager, for quire_mmap(), quire_ftruncate(), fstat() (st_size), dup() and close().
 * => oflags: O_RDONLY or O_RDWR, which limits mappings as the open mode of a file does, and O_CLOEXEC. ops is copied.
 * => read(2) and write(2) on the descriptor fail, and so does the kernel's mmap(2). Its own flags (F_GETFL) say nothing of oflags.
 *    Setting its size by the kernel's ftruncate(2) fails or is undone.
 * => The descriptor may be closed while mappings live; it counts as open while a duplicate is, in whichever process. That is told
 *    by a lock on its description (F_OFD_SETLK): a program that removes it has closed the pager.
 * => EINVAL the table lacks an operation, or has two of the same purpose, or a value out of range: the message says which; EROFS
 *    O_RDWR without `write` or `populate`; EFBIG the size is more than a file can have; ENOMEM no room in the budget, or no
 *    memory; EMFILE, ENFILE; EAGAIN no thread; and what `size` returned.
 */
int quire_open_pager(const struct quire_pager_ops *ops, void *arg, int oflags);

/*
 * Ends a transfer. Any thread, also that of the operation; not from a signal handler.
 * => error: 0, or an errno of either sign: then nothing of the transfer counts. bytes: how many were transferred.
 * => ESTALE there is no such transfer under way: it was ended already, or its pager is closed. EINVAL bytes is more than was asked
 *    for, or less than the object has there: the transfer has ended with EIO.
 */
int quire_pager_complete(uint64_t id, int error, size_t bytes);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
