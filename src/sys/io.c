/* SPDX-License-Identifier: MIT */
/*
 * io.c - asynchronous transfers: io_uring and the threads that reap it, or plain threads where io_uring is refused
 *
 * There are four lanes, two for reads, one for writes and one for writes that keep the file's lock, that share nothing but this
 * file:
 *
 *      io_start ──> queue ──> ring + 1 thread ─────> done        with io_uring
 *      io_start ──> queue ──> 4 threads in pread ──> done        without; 8 for writes that keep the lock
 *
 * Why the lane's thread, and not the caller, puts transfers on the ring. io_uring reports a completion by work that must run
 * on the task that submitted the transfer. Were that an application's thread,
 *  - a thread that sleeps in the kernel where signals do not wake it (vfork, a fault inside write(2)) would hold the
 *    completion back: measured, 500 ms behind a vfork whose child slept as long. A thread that prefetches a page and then
 *    faults on it inside write(2) would wait for itself;
 *  - the completion would interrupt system calls of the program's own: epoll_wait fails with EINTR, and no signal came;
 *  - a thread that ends would cancel the transfers it started.
 * So the ring has a single issuer, which io_uring is also fastest with (SINGLE_ISSUER, DEFER_TASKRUN: 6.1). io_start costs its
 * caller a queue insertion and the wake-up of a thread that sleeps: 1 to 3 µs, where submitting a direct read of 4 KiB took 22.
 * The hop adds 7 µs to a read of 65 µs (30 on a busy machine); throughput at depth 32 is that of a program that does nothing else.
 *
 * Why reads and writes do not share one. A direct write waits for the inode's lock. The program may hold it inside write(2) while it faults on a page
 * that a queued read is to bring: such a read must never wait behind writes, neither in our queue nor for one of the threads
 * that the kernel runs blocking transfers on, which are counted per submitting task. It also keeps a read's completion from
 * waiting behind the work of a write's.
 *
 * Why two for reads, by turns. Submitting a direct read and making its page's frame take a thread 16 µs, where storage does with 12: one thread
 * brought in lists of 256 random pages at 61 thousand pages a second, two do at 73. Where reads have plain threads, one lane has them all.
 *
 * Why writes that keep the lock have their own. A direct write on a ring has given the inode's lock up when it is under way. A write(2) of the program to a part of the
 * same page then reads the page into the kernel's cache with what the storage still has, and the kernel, which drops its cache behind
 * a direct write, cannot drop a page that is dirty by now: its old bytes come back over ours. pwrite(2) keeps the lock to the end.
 *
 * IOSQE_ASYNC is not set: io_uring tries each transfer without blocking first and hands it to its own workers only where it
 * would block. Always taking the detour costs a thread switch a transfer. What does run inline (a copy out of the kernel's
 * page cache, as on tmpfs) delays its own lane only, and holds no lock.
 *
 * Invariants
 *  1. A transfer is in exactly one place: a queue, in flight, or done. `outstanding` counts the first two and the running of done.
 *  2. No lock is held across a system call, or while done runs.
 *  3. A ring's thread never goes to sleep with a transfer in the queue and room for it in flight: it looks at the queue and
 *     announces its sleep under one hold of the lock, and always has a read of its eventfd in flight.
 *
 * A program that closes what it does not know closes eventfds, too. Nobody can wake the thread of the ring then, and the number may be any
 * file's: the lane is lost, and who starts a transfer makes it by himself.
 */
#include "sys/io.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/identity.h"
#include "sys/page_size.h"
#include "sys/polled.h"
#include "sys/thread.h"
#include "util/duty.h"
#include "util/fail.h"
#include "util/lock.h"

#define LANES          4 /* one for each enum io_op, and: */
#define LANE_LOCKED    2 /* writes that keep the file's lock, where the others go on a ring */
#define LANE_READ_TOO  3 /* every other read, where it goes on a ring */
#define LANE_THREADS   4 /* without a ring */
#define LOCKED_THREADS 8 /* of that lane. Scattered pages of a checkpoint: 4 write 40 k/s, 8 55 k/s, 16 75 k/s, on two processors */
#define BATCH          32 /* completions taken off the ring at once */
#define PLUG_MOST      32
#define SUBMIT_BYTES   (64u << 10) /* of completions, between which what was queued meanwhile is started */
#define DEPTH_MAX      4096u
#define TRANSFER_MAX   ((size_t)1 << 30) /* what a system call takes; the rest follows as after any short transfer */

/* lane.started */
#define START_PENDING 0u
#define START_OK      1u
#define START_FAILED  2u

/* (l) guarded by lock; (t) of the lane's thread alone; the rest is set before the threads start */
struct lane {
	struct io *io;
	unsigned depth;
	pthread_t threads[LOCKED_THREADS];
	unsigned n_threads;

	struct lock lock;
	struct io_transfer *head; /* (l) to be started, oldest first */
	struct io_transfer *tail; /* (l) */
	unsigned sleepers;        /* (l) threads that a new transfer must wake */
	bool stopping;            /* (l) nothing is outstanding, and nothing more will come */
	bool lost;                /* (l) its eventfd was closed by the program: the thread of the ring cannot be woken */
	_Atomic uint32_t wake;    /* futex of the threads without a ring; raised under lock */

	int hold[IO_HOLD_MOST];   /* (l) files that the ring is to hold */
	_Atomic uint32_t to_hold; /* futex: so many; raised under lock, and lowered by the thread */
	struct io_uring ring;     /* (t) */
	unsigned in_flight;       /* (t) transfers in the ring, submitted or about to be */
	int wake_fd;              /* eventfd that wakes the thread of a ring; -1 without */
	struct identity wake_identity;
	bool wake_armed;          /* (t) a read of wake_fd is in the ring */
	uint64_t wake_count;      /* where that read goes */
	_Atomic uint32_t started; /* futex: START_* */
};

struct io {
	bool uring;
	/* Who ends the last transfer lowers outstanding, then reads closing; io_destroy sets closing, then reads outstanding. */
	_Atomic uint32_t outstanding; /* futex of io_destroy */
	_Atomic bool closing;
	_Atomic uint32_t reads; /* that were started, or lots of them */
	struct polled *polled;  /* NULL: no thread watches its reads */
	unsigned watchers;
	struct lane lanes[LANES];
};

/* Of this thread; NULL: none. */
static __thread struct io_plug *plug;

/* ---- one transfer ---- */

/* Whether its descriptor still is what it was. */
static bool is_as_it_was(const struct io_transfer *transfer)
{
	return !transfer->identity || identity_check(transfer->fd, transfer->identity) == 0;
}

static size_t io_len(const struct io_transfer *transfer)
{
	return transfer->len < TRANSFER_MAX ? transfer->len : TRANSFER_MAX;
}

/*
 * What the kernel shows of a mapping of the file, asked for by a call that fails where a load would raise SIGBUS. Bytes, fewer at the
 * end of the file, or -errno.
 */
static ssize_t read_mapped(const struct io_transfer *transfer) /* -EOPNOTSUPP: it cannot be done in this way */
{
	uint64_t inside = transfer->offset & (page_size() - 1);
	size_t len = io_len(transfer);
	struct iovec local = {transfer->buf, len}, remote = {NULL, len};
	struct stat st;
	ssize_t n;
	void *map;

	if (fstat(transfer->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size <= transfer->offset)
		return 0;
	if (len > (uint64_t)st.st_size - transfer->offset)
		local.iov_len = remote.iov_len = len = (size_t)((uint64_t)st.st_size - transfer->offset);
	map = mmap(NULL, inside + len, PROT_READ, MAP_SHARED, transfer->fd, (off_t)(transfer->offset - inside));
	if (map == MAP_FAILED)
		return -EOPNOTSUPP;
	remote.iov_base = (char *)map + inside;
	n = process_vm_readv((pid_t)syscall(SYS_gettid), &local, 1, &remote, 1, 0);
	if (n < 0 && errno != EFAULT)
		n = -EOPNOTSUPP;
	else if (n < 0) /* the storage failed, or the file was cut just now */
		n = fstat(transfer->fd, &st) == 0 && (uint64_t)st.st_size <= transfer->offset ? 0 : -EIO;
	munmap(map, inside + len);
	return n;
}

/* Raw system calls: glibc's wrappers are cancellation points. 64-bit arguments go in one register on x86-64 and arm64. */
ssize_t io_perform(const struct io_transfer *transfer)
{
	struct iovec iov = {.iov_base = transfer->buf, .iov_len = io_len(transfer)};
	long ret;

	_Static_assert(sizeof(long) == sizeof(uint64_t), "offsets are passed in one register");
	if (!is_as_it_was(transfer))
		return -EBADF;
	if (transfer->mapped) {
		ssize_t n = read_mapped(transfer);

		/* Where that is not allowed, a read that may wait for the lock is better than none. */
		if (n != -EOPNOTSUPP)
			return n;
	}
	if (transfer->op == IO_WRITE)
		ret = syscall(SYS_pwrite64, transfer->fd, iov.iov_base, iov.iov_len, transfer->offset);
	else if (!transfer->nowait)
		ret = syscall(SYS_pread64, transfer->fd, iov.iov_base, iov.iov_len, transfer->offset);
	else /* the offset's upper half is an argument of its own, and ignored where a register holds both */
		ret = syscall(SYS_preadv2, transfer->fd, &iov, 1L, transfer->offset, 0L, (long)RWF_NOWAIT);
	return ret < 0 ? -errno : ret;
}

ssize_t io_await(struct io *io, const struct io_transfer *transfer)
{
	ssize_t bytes;

	if (io_watches(io) && is_as_it_was(transfer) && polled_read(io->polled, transfer, &bytes))
		return bytes;
	duty_leave();
	return io_perform(transfer);
}

int io_watch_reads(struct io *io, unsigned threads)
{
	int r = polled_create(threads, &io->polled);

	io->watchers = r < 0 ? 0 : threads;
	return r;
}

bool io_watches(const struct io *io)
{
	return io && io->polled;
}

uint64_t io_watched(const struct io *io)
{
	return io->polled ? polled_reads(io->polled) : 0;
}

static void io_finish(struct io *io, struct io_transfer *transfer)
{
	transfer->done(transfer); /* may free it */
	if (atomic_fetch_sub(&io->outstanding, 1) == 1 && atomic_load(&io->closing))
		futex_wake_all(&io->outstanding);
}

/* ---- a lane's queue ---- */

static struct io_transfer *lane_pop_locked(struct lane *lane)
{
	struct io_transfer *transfer = lane->head;

	if (transfer != NULL) {
		lane->head = transfer->next;
		if (lane->head == NULL)
			lane->tail = NULL;
		transfer->next = NULL;
	}
	return transfer;
}

static void lane_push_locked(struct lane *lane, struct io_transfer *transfer)
{
	transfer->next = NULL;
	if (lane->tail != NULL)
		lane->tail->next = transfer;
	else
		lane->head = transfer;
	lane->tail = transfer;
}

/* Not write(2), a cancellation point. It cannot block: the counter never comes near its limit. False: the eventfd is gone. */
static bool lane_wake(struct lane *lane, int n)
{
	uint64_t one = 1;

	if (lane->wake_fd < 0)
		futex_wake(&lane->wake, n);
	else if (identity_check(lane->wake_fd, &lane->wake_identity) < 0)
		return false;
	else
		(void)syscall(SYS_write, lane->wake_fd, &one, sizeof(one));
	return true;
}

/* On this thread, whatever is in the queue: nobody else can be got to do it. From now on it is always so. */
static void lane_serve(struct lane *lane)
{
	struct io_transfer *transfer;

	lock_acquire(&lane->lock);
	lane->lost = true;
	while ((transfer = lane_pop_locked(lane)) != NULL) {
		lock_release(&lane->lock);
		transfer->ret = io_perform(transfer);
		io_finish(lane->io, transfer);
		lock_acquire(&lane->lock);
	}
	lock_release(&lane->lock);
}

/* Queues a chain of n transfers. */
static void lane_start(struct lane *lane, struct io_transfer *transfer, unsigned n)
{
	bool wake, lost;

	lock_acquire(&lane->lock);
	lost = lane->lost;
	while (transfer) {
		struct io_transfer *next = transfer->next;

		lane_push_locked(lane, transfer);
		transfer = next;
	}
	wake = lane->sleepers > 0;
	if (wake) {
		atomic_fetch_add_explicit(&lane->wake, 1, memory_order_relaxed);
		if (lane->wake_fd >= 0)
			lane->sleepers = 0; /* one write of the eventfd is enough until it goes to sleep again */
	}
	lock_release(&lane->lock);
	if (lost || (wake && !lane_wake(lane, (int)n)))
		lane_serve(lane);
}

static struct lane *next_read_lane(struct io *io)
{
	bool first = !io->uring || atomic_fetch_add_explicit(&io->reads, 1, memory_order_relaxed) % 2 == 0;

	return &io->lanes[first ? IO_READ : LANE_READ_TOO];
}

void io_start(struct io *io, struct io_transfer *transfer)
{
	atomic_fetch_add(&io->outstanding, 1);
	transfer->next = NULL;
	if (!plug || plug->io != io || transfer->op != IO_READ) {
		lane_start(transfer->op == IO_READ         ? next_read_lane(io)
			   : io->uring && transfer->locked ? &io->lanes[LANE_LOCKED]
							   : &io->lanes[IO_WRITE],
			   transfer, 1);
		return;
	}
	if (plug->tail)
		plug->tail->next = transfer;
	else
		plug->head = transfer;
	plug->tail = transfer;
	if (++plug->count == PLUG_MOST)
		io_plug_flush();
}

void io_plug_begin(struct io *io, struct io_plug *ret_plug)
{
	*ret_plug = (struct io_plug){.io = io};
	plug = ret_plug;
}

void io_plug_flush(void)
{
	if (!plug || plug->count == 0)
		return;
	lane_start(next_read_lane(plug->io), plug->head, plug->count);
	*plug = (struct io_plug){.io = plug->io};
}

void io_plug_end(void)
{
	io_plug_flush();
	plug = NULL;
}

/* ---- with a ring ---- */

static void ring_prepare(struct lane *lane, struct io_transfer *transfer)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&lane->ring); /* there is one: the ring has depth + 1 */
	unsigned len = (unsigned)io_len(transfer);

	int fd = is_as_it_was(transfer) ? transfer->fd : -1; /* for which the kernel has EBADF, too */

	if (transfer->op == IO_WRITE)
		io_uring_prep_write(sqe, fd, transfer->buf, len, transfer->offset);
	else
		io_uring_prep_read(sqe, fd, transfer->buf, len, transfer->offset);
	if (transfer->nowait)
		sqe->rw_flags = RWF_NOWAIT;
	io_uring_sqe_set_data(sqe, transfer);
	lane->in_flight++;
}

/* False: there is no eventfd any more. */
static bool ring_arm(struct lane *lane)
{
	struct io_uring_sqe *sqe;

	if (identity_check(lane->wake_fd, &lane->wake_identity) < 0)
		return false;
	sqe = io_uring_get_sqe(&lane->ring);
	io_uring_prep_read(sqe, lane->wake_fd, &lane->wake_count, sizeof(lane->wake_count), 0);
	io_uring_sqe_set_data(sqe, NULL);
	lane->wake_armed = true;
	return true;
}

static void ring_hold(struct lane *lane);

/*
 * Moves what there is room for from the queue into the ring; the caller submits.
 * => sleeping: the thread is going to wait for completions. Returns false when the lane is to end.
 */
static bool ring_fill(struct lane *lane, bool sleeping)
{
	struct io_transfer *transfer, *next, *first = NULL, **last = &first;
	unsigned room = lane->depth - lane->in_flight;
	bool stopping;

	lock_acquire(&lane->lock);
	for (; room > 0 && (transfer = lane_pop_locked(lane)) != NULL; room--) {
		*last = transfer;
		last = &transfer->next;
	}
	stopping = lane->stopping;
	/* When the ring is full a completion comes before there is room for more. */
	lane->sleepers = sleeping && room > 0;
	lock_release(&lane->lock);
	ring_hold(lane);
	for (transfer = first; transfer; transfer = next) {
		next = transfer->next;
		ring_prepare(lane, transfer);
	}
	return !stopping;
}

/* The ring's own table of files, of which nothing is ever transferred. It lives as long as the ring's memory, whatever becomes of numbers. */
static void ring_hold(struct lane *lane)
{
	uint32_t n = atomic_load(&lane->to_hold);

	if (n == 0)
		return;
	(void)io_uring_register_files(&lane->ring, lane->hold, n);
	atomic_store(&lane->to_hold, 0);
	futex_wake_all(&lane->to_hold);
}

void io_hold(struct io *io, const int *fds, unsigned n)
{
	struct lane *lane = &io->lanes[IO_READ];
	uint32_t left;
	bool wake;

	if (!io->uring || n == 0)
		return;
	lock_acquire(&lane->lock);
	for (unsigned i = 0; i < n; i++)
		lane->hold[i] = fds[i];
	atomic_store(&lane->to_hold, n);
	wake = lane->sleepers > 0;
	lane->sleepers = 0;
	lock_release(&lane->lock);
	if (wake && !lane_wake(lane, 1))
		return;
	while ((left = atomic_load(&lane->to_hold)) > 0)
		futex_wait(&lane->to_hold, left, NULL);
}

/*
 * Submits, and waits until there is a completion. Returns early at will.
 * => Submitting fails when the kernel is short of memory, or when completions have to be taken first. What was not taken
 *    stays in the ring; the next call offers it again.
 */
static void ring_wait(struct lane *lane)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	int r = io_uring_submit_and_wait(&lane->ring, 1);

	if (r >= 0 || r == -EINTR)
		return;
	(void)io_uring_get_events(&lane->ring); /* a failed submission ran no deferred completions */
	if (io_uring_cq_ready(&lane->ring) == 0)
		nanosleep(&pause, NULL);
}

/*
 * Takes completions off the ring and calls done; in between starts what was queued meanwhile, before any that takes long, and of short
 * ones not before each, so that what they make room for is submitted together.
 */
static void ring_reap(struct lane *lane)
{
	size_t bytes = SUBMIT_BYTES;

	struct io_uring_cqe *cqes[BATCH];
	struct io_transfer *done[BATCH];
	unsigned n = io_uring_peek_batch_cqe(&lane->ring, cqes, BATCH);
	unsigned n_done = 0;

	for (unsigned i = 0; i < n; i++) {
		struct io_transfer *transfer = io_uring_cqe_get_data(cqes[i]);

		if (transfer == NULL) {
			lane->wake_armed = false;
			continue;
		}
		transfer->ret = cqes[i]->res;
		done[n_done++] = transfer;
	}
	io_uring_cq_advance(&lane->ring, n);
	lane->in_flight -= n_done;

	for (unsigned i = 0; i < n_done; i++) {
		bytes += done[i]->ret > 0 ? (size_t)done[i]->ret : 0;
		if (bytes >= SUBMIT_BYTES) {
			ring_fill(lane, false);
			if (io_uring_sq_ready(&lane->ring) != 0)
				io_uring_submit(&lane->ring); /* after a failure ring_wait tries again */
			bytes = 0;
		}
		io_finish(lane->io, done[i]);
	}
}

/*
 * Sets the ring up, on the thread that will use it. 0 or -errno.
 * => The first submission is made here, so that a kernel which grants the ring but not its use is found out in io_create.
 * => Nothing is registered or pinned: the limit on locked memory plays no part (kernels before 5.12 charge the ring itself
 *    to it; where that fails there are the threads).
 */
static int ring_open(struct lane *lane)
{
	static const unsigned tries[] = {
	    IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* 6.1 */
	    IORING_SETUP_CLAMP,                                                           /* 5.6, as the operations used */
	};
	int r = -EINVAL;

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]) && r == -EINVAL; i++)
		r = io_uring_queue_init(lane->depth + 1, &lane->ring, tries[i]);
	if (r < 0)
		return r;
	/* The child of a fork has no use for the ring, and none for a copy of it. */
	(void)io_uring_ring_dontfork(&lane->ring);
	/* Cheaper system calls, and a program that closes all the descriptors it does not know hurts less. 5.18. */
	(void)io_uring_register_ring_fd(&lane->ring);

	r = ring_arm(lane) ? io_uring_submit(&lane->ring) : -EBADF;
	if (r == 1)
		return 0;
	io_uring_queue_exit(&lane->ring);
	return r < 0 ? r : -EIO;
}

static void *ring_main(void *arg)
{
	struct lane *lane = arg;
	int r = ring_open(lane);

	atomic_store(&lane->started, r < 0 ? START_FAILED : START_OK);
	futex_wake_all(&lane->started);
	if (r < 0)
		return NULL;

	while (ring_fill(lane, true)) {
		if (!lane->wake_armed && !ring_arm(lane))
			lane_serve(lane);
		ring_wait(lane);
		ring_reap(lane);
	}
	/* Stopping wrote the eventfd, so the read of it ends: it must not be left to write into memory that is freed. */
	while (lane->wake_armed) {
		ring_wait(lane);
		ring_reap(lane);
	}
	io_uring_queue_exit(&lane->ring);
	return NULL;
}

/* ---- without ---- */

static void *pool_main(void *arg)
{
	struct lane *lane = arg;
	struct io_transfer *transfer;

	lock_acquire(&lane->lock);
	while ((transfer = lane_pop_locked(lane)) != NULL || !lane->stopping) {
		if (transfer == NULL) {
			uint32_t wake = atomic_load_explicit(&lane->wake, memory_order_relaxed);

			lane->sleepers++;
			lock_release(&lane->lock);
			futex_wait(&lane->wake, wake, NULL);
			lock_acquire(&lane->lock);
			lane->sleepers--;
			continue;
		}
		lock_release(&lane->lock);
		transfer->ret = io_perform(transfer);
		io_finish(lane->io, transfer);
		lock_acquire(&lane->lock);
	}
	lock_release(&lane->lock);
	return NULL;
}

/* ---- start and end ---- */

/* 0 or -errno: n_threads says how many there are. */
static int lane_spawn(struct lane *lane, void *(*thread_main)(void *), unsigned n)
{
	int r = 0;

	while (r == 0 && lane->n_threads < n) {
		r = thread_start(&lane->threads[lane->n_threads], "quire-io", thread_main, lane);
		if (r == 0)
			lane->n_threads++;
	}
	return r;
}

/* Ends the threads of a lane that nothing is outstanding on. False: the thread of its ring sleeps for ever, and the lane has to stay. */
static bool lane_close(struct lane *lane)
{
	lock_acquire(&lane->lock);
	lane->stopping = true;
	atomic_fetch_add_explicit(&lane->wake, 1, memory_order_relaxed);
	lock_release(&lane->lock);
	if (lane->n_threads > 0 && !lane_wake(lane, (int)lane->n_threads))
		return false;
	for (unsigned i = 0; i < lane->n_threads; i++)
		pthread_join(lane->threads[i], NULL);
	lane->n_threads = 0;
	if (lane->wake_fd >= 0)
		close(lane->wake_fd);
	lane->wake_fd = -1;
	lane->stopping = false;
	return true;
}

static int lane_open_ring(struct lane *lane)
{
	int r;

	lane->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (lane->wake_fd < 0)
		return -errno;
	r = identity_get(lane->wake_fd, &lane->wake_identity);
	if (r < 0)
		return r;
	atomic_store(&lane->started, START_PENDING);
	r = lane_spawn(lane, ring_main, 1);
	if (r < 0)
		return r;
	while (atomic_load(&lane->started) == START_PENDING)
		futex_wait(&lane->started, START_PENDING, NULL);
	return atomic_load(&lane->started) == START_OK ? 0 : -ENOSYS;
}

/* Opens every lane in one way, or none. */
static int io_open(struct io *io, bool uring)
{
	int r = 0;

	io->uring = uring;
	for (unsigned i = 0; i < LANES && r == 0; i++)
		if (uring && i != LANE_LOCKED)
			r = lane_open_ring(&io->lanes[i]);
		else if (uring || i < LANE_LOCKED)
			r = lane_spawn(&io->lanes[i], pool_main, i == LANE_LOCKED ? LOCKED_THREADS : LANE_THREADS);
	for (unsigned i = 0; i < LANES && r < 0; i++)
		(void)lane_close(&io->lanes[i]);
	return r;
}

int io_create(unsigned depth, bool use_uring, struct io **ret)
{
	struct io *io = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*io));
	int r = -ENOSYS;

	if (io == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < LANES; i++) {
		io->lanes[i].io = io;
		io->lanes[i].wake_fd = -1;
		io->lanes[i].depth = depth == 0 ? 1 : depth < DEPTH_MAX ? depth : DEPTH_MAX;
	}
	/* Whatever the reason that there can be no ring, the threads can do its work; what stops them too is worth reporting. */
	if (use_uring)
		r = io_open(io, true);
	if (r < 0)
		r = io_open(io, false);
	if (r < 0) {
		free(io);
		return r;
	}
	*ret = io;
	return 0;
}

bool io_is_uring(const struct io *io)
{
	return io->uring;
}

bool io_suspend(struct io *io)
{
	uint32_t outstanding;
	bool closed = true;

	atomic_store(&io->closing, true);
	while ((outstanding = atomic_load(&io->outstanding)) != 0)
		futex_wait(&io->outstanding, outstanding, NULL);
	for (unsigned i = 0; i < LANES; i++)
		closed &= lane_close(&io->lanes[i]);
	polled_destroy(io->polled);
	io->polled = NULL;
	atomic_store(&io->closing, false);
	return closed;
}

int io_resume(struct io *io)
{
	int r = io->uring ? io_open(io, true) : -ENOSYS;

	if (r < 0)
		r = io_open(io, false);
	if (r == 0 && io->watchers > 0)
		(void)polled_create(io->watchers, &io->polled);
	return r;
}

void io_destroy(struct io *io)
{
	if (io == NULL)
		return;
	if (io_suspend(io))
		free(io);
}
