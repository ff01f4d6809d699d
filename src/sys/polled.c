/* SPDX-License-Identifier: MIT */
/*
 * polled.c - reads whose end a thread watches for by itself, awake
 *
 * A poller is a ring of io_uring with room for one read. A thread takes one that is free, submits its read, and looks at the ring
 * until the read is there; it takes nothing back and leaves nothing behind, so a ring has one user at a time, and its completions
 * come to the task that waits for them. Who finds none free, or finds that the storage is slow, is told to read in the plain way.
 *
 * The completion is posted by the task itself, whenever it leaves the kernel (IORING_SETUP_COOP_TASKRUN): each look is a system call
 * that does next to nothing.
 *
 * The descriptors may be closed by a program that closes all it does not know. A number that is another file's now is refused by the
 * kernel; were it another ring, then our entry would stay where it is, which is seen: either way the poller is given up.
 */
#include "sys/polled.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sys/identity.h"
#include "util/clock.h"
#include "util/duty.h"
#include "util/fail.h"
#include "util/lock.h"

#define MOST_BYTES (32u << 10) /* of a read that is watched: a longer one takes long enough for sleeping to pay */
#define MOST_NS    250000      /* that a thread watches before it sleeps after all */
#define PRICE      8           /* a read that was watched in vain costs what so many others have gained */
#define DEBT_MOST  (3 * PRICE)
#define REST       32 /* reads that are done in the plain way when too many were not worth it, before the next is tried */

struct poller {
	_Alignas(64) struct lock busy; /* only ever tried */
	bool gone;                     /* [busy] */
	unsigned debt, rest;           /* [busy] what is still to be gained; reads to come that are not tried */
	_Atomic uint64_t reads;
	struct io_uring ring;     /* [busy] */
	struct identity identity; /* of its descriptor */
};

struct polled {
	unsigned n;
	struct poller pollers[];
};

/* ---- one read ---- */

/* False: the ring has not taken it, and will not. */
static bool submit(struct poller *poller, const struct io_transfer *transfer)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&poller->ring);

	if (!sqe)
		return false;
	io_uring_prep_read(sqe, transfer->fd, transfer->buf, (unsigned)transfer->len, transfer->offset);
	/* It would be a worker of the kernel's that waits otherwise, and we for that. */
	sqe->rw_flags = RWF_NOWAIT;
	return io_uring_submit(&poller->ring) == 1 && io_uring_sq_ready(&poller->ring) == 0;
}

/* Looks until the read has ended; sleeps when that takes too long, of which it returns false. */
static bool watch(struct poller *poller)
{
	uint64_t end = clock_ns() + MOST_NS;

	while (io_uring_cq_ready(&poller->ring) == 0) {
		if (clock_ns() > end)
			return false;
		if (!duty_look())
			(void)syscall(SYS_sched_yield);
	}
	return true;
}

/* One slow read among many is the way of storage, and is borne; of storage that is slow one in REST is tried. */
static void lose(struct poller *poller, unsigned price)
{
	poller->debt += price;
	if (poller->debt < DEBT_MOST)
		return;
	poller->debt = DEBT_MOST - PRICE;
	poller->rest = REST;
}

static bool read_by(struct poller *poller, const struct io_transfer *transfer, ssize_t *ret_bytes)
{
	struct io_uring_cqe *cqe;

	if (poller->gone)
		return false;
	if (poller->rest > 0) {
		poller->rest--;
		return false;
	}
	if (!submit(poller, transfer)) {
		poller->gone = true;
		return false;
	}
	if (watch(poller)) {
		poller->debt -= poller->debt > 0;
	} else {
		lose(poller, PRICE);
		duty_leave();
		/* Not given up before its end, since the buffer is under way to be written to. */
		while (io_uring_wait_cqe(&poller->ring, &cqe) < 0)
			;
	}
	(void)io_uring_peek_cqe(&poller->ring, &cqe);
	*ret_bytes = cqe->res;
	io_uring_cqe_seen(&poller->ring, cqe);
	/* It would wait for a lock, the file knows no RWF_NOWAIT, or it is an error, which the plain read tells of. */
	if (*ret_bytes < 0) {
		lose(poller, DEBT_MOST);
		return false;
	}
	atomic_fetch_add_explicit(&poller->reads, 1, memory_order_relaxed);
	return true;
}

bool polled_read(struct polled *polled, const struct io_transfer *transfer, ssize_t *ret_bytes)
{
	if (transfer->len > MOST_BYTES || transfer->mapped)
		return false;
	for (unsigned i = 0; i < polled->n; i++) {
		struct poller *poller = &polled->pollers[i];
		bool done;

		if (!lock_try(&poller->busy))
			continue;
		done = read_by(poller, transfer, ret_bytes);
		lock_release(&poller->busy);
		return done;
	}
	return false;
}

uint64_t polled_reads(const struct polled *polled)
{
	uint64_t reads = 0;

	for (unsigned i = 0; i < polled->n; i++)
		reads += atomic_load_explicit(&polled->pollers[i].reads, memory_order_relaxed);
	return reads;
}

/* ---- start and end ---- */

static int open_poller(struct poller *poller)
{
	static const unsigned tries[] = {
	    IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN, /* 5.19 */
	    IORING_SETUP_CLAMP,
	};
	int r = fail_now(FAIL_ALLOC) ? -ENOMEM : -EINVAL;

	for (unsigned i = 0; i < 2 && r == -EINVAL; i++)
		r = io_uring_queue_init(1, &poller->ring, tries[i]);
	if (r < 0)
		return r;
	/* The child of a fork has no use for it. */
	(void)io_uring_ring_dontfork(&poller->ring);
	return identity_get(poller->ring.ring_fd, &poller->identity);
}

/* A read of nothing, so that a kernel which grants the ring but not its use is found out, and nothing is left to the dynamic linker later. */
static int try_poller(struct poller *poller)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&poller->ring);
	struct io_uring_cqe *cqe;
	int r;

	io_uring_prep_nop(sqe);
	r = io_uring_submit(&poller->ring);
	if (r != 1)
		return r < 0 ? r : -EIO;
	do
		r = io_uring_wait_cqe(&poller->ring, &cqe);
	while (r == -EINTR);
	if (r < 0)
		return r;
	(void)io_uring_peek_cqe(&poller->ring, &cqe);
	io_uring_cqe_seen(&poller->ring, cqe);
	return 0;
}

int polled_create(unsigned n, struct polled **ret)
{
	size_t size = sizeof(struct polled) + n * sizeof(struct poller);
	struct polled *polled = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(_Alignof(struct polled), size);
	int r = 0;

	if (!polled)
		return -ENOMEM;
	polled->n = 0;
	while (r == 0 && polled->n < n) {
		struct poller *poller = &polled->pollers[polled->n];

		*poller = (struct poller){.gone = false};
		r = open_poller(poller);
		if (r == 0)
			polled->n++;
		if (r == 0)
			r = try_poller(poller);
	}
	if (r < 0) {
		polled_destroy(polled);
		return r;
	}
	*ret = polled;
	return 0;
}

void polled_destroy(struct polled *polled)
{
	if (!polled)
		return;
	for (unsigned i = 0; i < polled->n; i++) {
		struct poller *poller = &polled->pollers[i];

		/* Another file's number is not to be closed. */
		if (identity_check(poller->ring.ring_fd, &poller->identity) < 0)
			poller->ring.ring_fd = -1;
		io_uring_queue_exit(&poller->ring);
	}
	free(polled);
}
