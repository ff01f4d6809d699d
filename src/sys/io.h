/* SPDX-License-Identifier: MIT */
/*
 * io.h - asynchronous transfers: io_uring and the threads that reap it, or plain threads where io_uring is refused
 */
#ifndef QUIRE_SYS_IO_H
#define QUIRE_SYS_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct identity;
struct io;

enum io_op { IO_READ, IO_WRITE };

/*
 * One transfer. The caller owns it (it is embedded in his own structure) until done is called, exactly once, on a thread of
 * the I/O layer that has all signals blocked.
 * => done must not wait for storage: the transfers behind it in the same direction would wait too. It may start transfers,
 *    and may free this one.
 * => Reads and writes are reported by different threads: two done may run at the same time.
 */
struct io_transfer {
	enum io_op op;
	int fd;
	const struct identity *identity; /* what fd has to be when the transfer is made, or it ends with -EBADF; NULL: anything */
	void *buf;
	size_t len;
	uint64_t offset;
	bool nowait; /* a read that ends with -EAGAIN where it would wait for a lock or, buffered, for storage */
	bool mapped; /* for io_perform only: a read through a mapping, which takes no lock of the file */
	bool locked; /* a write that keeps the file's lock until it is over: never on a ring, which gives it up at the start */
	void (*done)(struct io_transfer *transfer);
	ssize_t ret;              /* bytes, or -errno; may be short */
	struct io_transfer *next; /* the I/O layer's own */
};

/*
 * => depth: transfers in flight, in each direction, before io_start queues them itself (it never blocks on storage and never
 *    fails). Reads and writes do not compete: no number of writes that wait for a lock can hold up a read.
 * => use_uring false, or io_uring refused by the kernel (seccomp, sysctl kernel.io_uring_disabled): threads that block in
 *    preadv/pwritev. io_is_uring says which. 0 or -errno (ENOMEM, EAGAIN no more threads).
 */
int io_create(unsigned depth, bool use_uring, struct io **ret);
bool io_is_uring(const struct io *io);

/*
 * Starts a transfer. Any thread, also inside a signal handler; allocates nothing.
 * => Takes a lock of its own, never held while waiting for storage: outside of the fault path the caller has signals blocked.
 * => The system calls of the transfer are made by the I/O layer's threads, never by the caller. errno may change.
 */
void io_start(struct io *io, struct io_transfer *transfer);

/*
 * Between begin and end, reads that this thread starts are kept back and started together, as soon as there are a few dozens of them:
 * the kernel takes many at once for the price of few, above all in a virtual machine.
 * => Before it waits for anything that may depend on one of them, the thread calls io_plug_flush; which does nothing elsewhere.
 */
struct io_plug {
	struct io *io;
	struct io_transfer *head, *tail;
	unsigned count;
};
void io_plug_begin(struct io *io, struct io_plug *plug);
void io_plug_flush(void);
void io_plug_end(void);

/*
 * Does a transfer on this thread, with one plain system call: bytes, or -errno. done is not called.
 * => Async-signal-safe, and not a cancellation point: a thread may be cancelled while it resolves a fault. errno may change.
 */
ssize_t io_perform(const struct io_transfer *transfer);

/*
 * Likewise, of a read: watched for its end by this thread, awake, where that is asked for and can be had (sys/polled.h), for which it
 * keeps its duty (util/duty.h). It is left before the thread sleeps.
 * => io: NULL is fine.
 */
ssize_t io_await(struct io *io, const struct io_transfer *transfer);
/* From now on so many threads at a time may watch. Before any transfer. 0 or -errno. */
int io_watch_reads(struct io *io, unsigned threads);
/* Whether any may (NULL is fine); how many reads were done so. */
bool io_watches(const struct io *io);
uint64_t io_watched(const struct io *io);

/*
 * What these descriptors are of stays open as long as io does, also when the program has closed them: a userfaultfd that is closed lets
 * missing pages be born as zeros. With io_uring only. Once.
 */
#define IO_HOLD_MOST 4
void io_hold(struct io *io, const int *fds, unsigned n);

/* Waits for all transfers, and those that their done starts; ends the threads, frees io. NULL is fine. */
void io_destroy(struct io *io);

/*
 * The same, without the freeing; until it is resumed, here or in the child of a fork, nothing is to be started. False: a thread could not be ended,
 * since the program has closed its descriptor. 0 or -errno.
 */
bool io_suspend(struct io *io);
int io_resume(struct io *io);

#endif
