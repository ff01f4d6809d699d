/* SPDX-License-Identifier: MIT */
/*
 * file.c - the pager of a regular file or a block device
 *
 * A pager holds two descriptions of its file, its own and not the program's:
 *
 *      direct     O_DIRECT: whole blocks, past the kernel's page cache. Pages are cached once, by the engine.
 *      buffered   through the kernel's page cache: what is not a whole block (the tail of a file; when it is written, with the rest
 *                 of its page), all of it where the filesystem has no direct I/O, and what the next paragraph says.
 *
 * nowait. A direct read takes the inode's lock. Under the thread trap a thread of the program may hold that lock inside
 * write(2) while it waits for this very page. So a read is tried with RWF_NOWAIT, which gives up where it would wait, and is
 * then repeated on the buffered description: on ext4 and what else reads through filemap_read, that takes no inode lock. What such a
 * read left in the kernel's cache is dropped afterwards. The first read of a run of blocks whose place on disk the kernel does not
 * know yet goes this way as well. Two filesystems want another way (enum lockless): btrfs waits for the lock in direct reads in
 * spite of RWF_NOWAIT; XFS and NFS take it in buffered reads, too, but not where the file is mapped. Writes cannot avoid the lock:
 * they wait on threads that no read needs (sys/io.c).
 *
 * One transfer is a chain of steps, since any of them may come up short or need the other description:
 *
 *      begin ──> prepare ──> transfer ──> advance ──> done
 *                   ^                        │
 *                   └────── once more ───────┘
 *
 * run goes round the loop on its own thread, submit on the I/O layer's: a step is asynchronous there, and the loop's turn is
 * the completion of the step before. Nothing else differs.
 *
 * Both are opened at the first transfer only, from a duplicate of the program's descriptor: many a mapping is made and removed
 * without one, and opening costs more than all the rest of it.
 *
 * Before each transfer, and before anything else is done to the file, the number of the descriptor is compared with the file that it was
 * opened on (sys/identity.h): where the program has closed it the answer is EBADF, and nothing is read from or written to what has the
 * number now.
 *
 * A scratch pager (for swap) begins without a file. What it never wrote reads as zeros.
 */
#include "pager/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pager/description.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/lock.h"

/* 6.5; the number is the same everywhere. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* The descriptors are set before `ready`, and keep their numbers until the pager is closed. */
struct file_pager {
	struct pager base; /* direct only ever goes from true to false */
	struct io *io;
	int direct_fd; /* -1: none */
	int buffered_fd;
	struct identity identity; /* of both */
	int named_fd;             /* the duplicate that both are opened from; -1: scratch */
	struct identity named;
	bool nowait;
	enum lockless lockless; /* with nowait */
	bool allow_direct;
	bool scratch;
	_Atomic bool writable;
	_Atomic bool ready;     /* the descriptors are there: set last, read first */
	struct lock adopt_lock; /* who sets them */
};

static struct file_pager *file_of(struct pager *pager)
{
	return (struct file_pager *)pager;
}

/* ---- opening ---- */

/* => The pager has no file yet, and no other thread is giving it one. */
static void file_attach(struct file_pager *file, const struct descriptions *opened, bool writable)
{
	file->buffered_fd = opened->buffered_fd;
	file->direct_fd = opened->direct_fd < 0 ? -1 : opened->direct_fd;
	file->identity = opened->identity;
	file->lockless = opened->lockless;
	if (file->direct_fd >= 0)
		file->base.align_bytes = opened->align_bytes;
	atomic_store_explicit(&file->base.direct, file->direct_fd >= 0, memory_order_relaxed);
	atomic_store_explicit(&file->writable, writable, memory_order_relaxed);
	atomic_store_explicit(&file->ready, true, memory_order_release);
}

static bool file_is_ready(struct file_pager *file)
{
	return atomic_load_explicit(&file->ready, memory_order_acquire);
}

static bool file_is_writable(struct file_pager *file)
{
	return atomic_load_explicit(&file->writable, memory_order_acquire);
}

/* A descriptor to ask and to change the file by; -1: there is no file. */
static int file_fd(struct file_pager *file)
{
	return file_is_ready(file) ? file->buffered_fd : file->named_fd;
}

/* Whether that still is the file, and what it is. 0 or -EBADF. */
static int file_stat(struct file_pager *file, struct stat *ret)
{
	return file_is_ready(file) ? identity_stat(file->buffered_fd, &file->identity, ret)
				   : identity_stat(file->named_fd, &file->named, ret);
}

static int file_check(struct file_pager *file)
{
	struct stat st;

	return file_stat(file, &st);
}

/* What is behind the duplicate's number. 0 or -errno. Where it cannot be opened again the duplicate serves, buffered. */
static int open_named(struct file_pager *file, bool writable, struct descriptions *ret)
{
	struct descriptions opened;
	int r = descriptions_open(file->named_fd, writable, file->allow_direct, &opened);

	if (r < 0) {
		opened = (struct descriptions){
		    .direct_fd = -1, .buffered_fd = description_duplicate(file->named_fd), .identity = file->named};
		if (opened.buffered_fd < 0)
			return r;
	}
	/* It may have been closed at this very moment, and what was opened is another file's. */
	r = identity_check(opened.buffered_fd, &file->named);
	if (r == 0 && opened.direct_fd >= 0)
		r = identity_check(opened.direct_fd, &file->named);
	if (r < 0)
		descriptions_close(&opened);
	else
		*ret = opened;
	return r;
}

/* Opens the descriptions if they are not: 0 or -errno. */
static int file_get_ready(struct file_pager *file)
{
	struct descriptions opened;
	int r = 0;

	if (file_is_ready(file) || file->named_fd < 0)
		return 0;
	lock_acquire(&file->adopt_lock);
	if (!file_is_ready(file)) {
		bool writable = file_is_writable(file);

		r = open_named(file, writable, &opened);
		if (r == 0)
			file_attach(file, &opened, writable);
	}
	lock_release(&file->adopt_lock);
	return r;
}

/* ---- transfers ---- */

static struct pager_request *request_of(struct io_transfer *transfer)
{
	return (struct pager_request *)((char *)transfer - offsetof(struct pager_request, transfer));
}

static void read_zeros(struct pager_request *request)
{
	memset((char *)request->buf + request->progress, 0, request->len - request->progress);
	request->progress = request->len;
}

/* Starts a request's account. Returns whether there is anything to transfer; if not, it only has to be reported done. */
static bool file_begin(struct file_pager *file, struct pager_request *request)
{
	bool write = request->op == PAGER_WRITE;

	request->pager = &file->base;
	request->progress = 0;
	request->buffered = false;
	request->ret_bytes = 0;
	request->ret_error = 0;
	if (fail_now(write ? FAIL_WRITE : FAIL_READ))
		request->ret_error = fail_errno ? fail_errno : EIO;
	else if (request->len > INT64_MAX || request->offset > INT64_MAX - (uint64_t)request->len)
		request->ret_error = EINVAL;
	else if (write && !file_is_writable(file))
		request->ret_error = EBADF;
	else
		request->ret_error = -file_get_ready(file);
	if (request->ret_error != 0 || request->len == 0)
		return false;
	if (file_is_ready(file))
		return true;
	read_zeros(request);
	request->ret_bytes = request->len;
	return false;
}

/*
 * How many of the bytes that are left can go directly, as one transfer. Of a page that ends within a block nothing is written so: in two
 * transfers, with a write(2) of the program's between them, a part of the page would be from before it and a part from after.
 */
static size_t direct_bytes(struct file_pager *file, const struct pager_request *request)
{
	size_t align = file->base.align_bytes, left = request->len - request->progress;

	if (request->buffered || !atomic_load_explicit(&file->base.direct, memory_order_relaxed))
		return 0;
	/* offset and buf are aligned to a page: only what was done before can be in the way. */
	if (request->progress % align != 0)
		return 0;
	if (request->op == PAGER_WRITE && left % align != 0)
		align = page_size();
	return left / align * align;
}

/* Says in request->transfer what to transfer next. */
static void file_prepare(struct file_pager *file, struct pager_request *request)
{
	struct io_transfer *transfer = &request->transfer;
	bool lockless = file->nowait && request->op == PAGER_READ;
	size_t direct;

	if (lockless && file->lockless == LOCKLESS_BUFFERED && file->direct_fd >= 0)
		request->buffered = true;
	direct = direct_bytes(file, request);
	transfer->op = request->op == PAGER_READ ? IO_READ : IO_WRITE;
	transfer->fd = direct > 0 ? file->direct_fd : file->buffered_fd;
	transfer->identity = &file->identity;
	transfer->buf = (char *)request->buf + request->progress;
	transfer->len = direct > 0 ? direct : request->len - request->progress;
	transfer->offset = request->offset + request->progress;
	transfer->nowait = lockless && direct > 0;
	transfer->locked = request->op == PAGER_WRITE && !file->scratch;
	transfer->mapped = lockless && direct == 0 && file->lockless == LOCKLESS_MAPPED;
}

/*
 * Whether the kernel's page cache may hold something of what was transferred. Where the kernel cannot be asked (before 6.5), it is told
 * to drop it, which it does but for pages in use.
 */
static bool may_be_cached(const struct io_transfer *transfer, size_t bytes)
{
	struct {
		uint64_t offset, len;
	} range = {transfer->offset, bytes};
	struct {
		uint64_t cached, dirty, writeback, evicted, recently_evicted;
	} pages = {0};

	if (syscall(SYS_cachestat, transfer->fd, &range, &pages, 0) == 0)
		return pages.cached > 0;
	(void)posix_fadvise(transfer->fd, (off_t)transfer->offset, (off_t)bytes, POSIX_FADV_DONTNEED);
	return false;
}

/* Accounts for a transfer that ended with ret. Returns whether the request needs another one. */
static bool file_advance(struct file_pager *file, struct pager_request *request, ssize_t ret)
{
	struct io_transfer *transfer = &request->transfer;
	bool direct = transfer->fd == file->direct_fd;

	if (ret > 0) {
		/*
		 * Behind a direct write nothing old may stay in the kernel's cache: the kernel drops it as part of the write, but
		 * gives up on pages that a reader has in hand just then. What is there is overwritten.
		 */
		if (direct && request->op == PAGER_WRITE && !file->scratch && may_be_cached(transfer, (size_t)ret)) {
			request->buffered = true;
			return true;
		}
		/*
		 * Of what went this way only because a direct transfer would have waited, or was not enough, nothing is to stay in
		 * the kernel's cache.
		 */
		if (request->buffered)
			(void)posix_fadvise(transfer->fd, (off_t)transfer->offset, (off_t)ret, POSIX_FADV_DONTNEED);
		request->progress += (size_t)ret;
		if (request->progress < request->len)
			return true;
	} else if (ret == 0 && request->op == PAGER_READ) {
		if (file->scratch)
			read_zeros(request);
	} else if (ret == -EINTR) {
		return true;
	} else if (transfer->nowait && (ret == -EAGAIN || ret == -EOPNOTSUPP)) {
		request->buffered = true;
		return true;
	} else if (direct && ret == -EINVAL) {
		/* It was opened with O_DIRECT and refuses the transfer all the same. */
		atomic_store_explicit(&file->base.direct, false, memory_order_relaxed);
		return true;
	} else {
		request->ret_error = ret == 0 ? EIO : (int)-ret;
		return false;
	}
	request->ret_bytes = request->progress;
	return false;
}

/*
 * A write past RLIMIT_FSIZE fails with EFBIG and sends SIGXFSZ to the thread. Signals are blocked here, so it is pending; it
 * would kill a program that only stored to memory. The error is reported, the signal taken back.
 */
static void forget_sigxfsz(void)
{
	static const struct timespec at_once = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	/* Not sigtimedwait, a cancellation point. */
	(void)syscall(SYS_rt_sigtimedwait, &set, NULL, &at_once, (long)_NSIG / 8);
}

static void file_run(struct pager *pager, struct pager_request *request)
{
	struct file_pager *file = file_of(pager);
	bool more = file_begin(file, request);

	while (more) {
		file_prepare(file, request);
		more = file_advance(file, request,
				    request->op == PAGER_READ ? io_await(file->io, &request->transfer)
							      : io_perform(&request->transfer));
	}
	if (request->ret_error == EFBIG)
		forget_sigxfsz();
	request->done(request);
}

static void file_stepped(struct io_transfer *transfer);

/* Starts what was prepared. */
static void file_step(struct file_pager *file, struct pager_request *request)
{
	request->transfer.done = file_stepped;
	io_start(file->io, &request->transfer);
}

/*
 * On the I/O layer's thread, which is held up by what is done here: a transfer that the kernel could not do without blocking, nor find
 * a thread to block, and a read through a mapping, which takes no lock and so comes to its end.
 */
static void file_stepped(struct io_transfer *transfer)
{
	struct pager_request *request = request_of(transfer);
	struct file_pager *file = file_of(request->pager);
	ssize_t ret = transfer->ret;

	if (ret == -EAGAIN && !transfer->nowait)
		ret = io_perform(transfer);
	while (file_advance(file, request, ret)) {
		file_prepare(file, request);
		if (!transfer->mapped) {
			file_step(file, request);
			return;
		}
		ret = io_perform(transfer);
	}
	request->done(request);
}

static void file_submit(struct pager *pager, struct pager_request *request)
{
	struct file_pager *file = file_of(pager);

	if (!file_begin(file, request)) {
		request->done(request);
		return;
	}
	file_prepare(file, request);
	/* Not on this thread, which does not wait. Who needs the page reads it by himself. */
	if (request->transfer.mapped) {
		request->ret_error = EAGAIN;
		request->done(request);
		return;
	}
	file_step(file, request);
}

/* ---- the rest of the operations ---- */

static const struct pager_ops file_ops;

static int file_size(struct pager *pager, uint64_t *ret_bytes)
{
	struct file_pager *file = file_of(pager);
	struct stat st = {0};
	uint64_t bytes;

	if (file_fd(file) >= 0 && file_stat(file, &st) < 0)
		return -EBADF;
	if (!S_ISBLK(st.st_mode))
		bytes = (uint64_t)st.st_size;
	else if (ioctl(file_fd(file), BLKGETSIZE64, &bytes) < 0)
		return -errno;
	*ret_bytes = bytes;
	return 0;
}

uint64_t file_looks(const struct stat *st)
{
	const uint64_t prime = 0x100000001b3;
	uint64_t looks = (uint64_t)st->st_size;

	looks = looks * prime ^ (uint64_t)st->st_mtim.tv_sec;
	looks = looks * prime ^ (uint64_t)st->st_mtim.tv_nsec;
	return looks * prime ^ (uint64_t)st->st_ctim.tv_nsec;
}

bool file_pager_looks(struct pager *pager, uint64_t *ret)
{
	struct file_pager *file = file_of(pager);
	struct stat st;

	if (pager->ops != &file_ops || file_stat(file, &st) < 0)
		return false;
	*ret = file_looks(&st);
	return true;
}

int file_pager_writes_to(struct pager *pager)
{
	struct file_pager *file = file_of(pager);

	return pager->ops == &file_ops && file_is_ready(file) && file_is_writable(file) ? file->buffered_fd : -1;
}

int file_pager_descriptor(struct pager *pager)
{
	return pager->ops == &file_ops ? file_fd(file_of(pager)) : -1;
}

static int file_sync(struct pager *pager)
{
	struct file_pager *file = file_of(pager);

	if (fail_now(FAIL_SYNC))
		return -EIO;
	if (!file_is_writable(file) || file_fd(file) < 0)
		return 0; /* wrote nothing */
	if (file_check(file) < 0)
		return -EBADF;
	/* EINTR: nothing was lost by being asked again, unlike after any other failure. */
	while (fdatasync(file_fd(file)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int file_resize(struct pager *pager, uint64_t bytes)
{
	struct file_pager *file = file_of(pager);

	if (!file_is_writable(file) || file_check(file) < 0)
		return -EBADF;
	if (bytes > INT64_MAX)
		return -EFBIG;
	while (ftruncate(file_fd(file), (off_t)bytes) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int file_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	struct file_pager *file = file_of(pager);

	if (file_fd(file) < 0 || len == 0)
		return 0;
	if (!file_is_writable(file) || file_check(file) < 0)
		return -EBADF;
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return -EINVAL;
	while (fallocate(file_fd(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) < 0)
		if (errno != EINTR)
			return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	return 0;
}

static void file_close(struct pager *pager)
{
	struct file_pager *file = file_of(pager);

	if (file_is_ready(file)) {
		identity_close(file->direct_fd, &file->identity);
		identity_close(file->buffered_fd, &file->identity);
	}
	identity_close(file->named_fd, &file->named);
	free(file);
}

static const struct pager_ops file_ops = {
    .name = "file",
    .size = file_size,
    .run = file_run,
    .submit = file_submit,
    .sync = file_sync,
    .resize = file_resize,
    .discard = file_discard,
    .close = file_close,
};

/* ---- making pagers ---- */

static struct file_pager *file_new(struct io *io, bool allow_direct)
{
	struct file_pager *file = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*file));

	if (file == NULL)
		return NULL;
	file->base.ops = &file_ops;
	file->base.watched = io_watches(io);
	file->base.align_bytes = page_size();
	file->io = io;
	file->direct_fd = -1;
	file->buffered_fd = -1;
	file->named_fd = -1;
	file->allow_direct = allow_direct;
	return file;
}

/* A descriptor of the file that is the engine's. Through a description that appends, pwrite appends: another has to be had at once. */
static int take_named(int fd, bool writable, int flags)
{
	return writable && (flags & O_APPEND) ? description_reopen(fd, O_RDWR) : description_duplicate(fd);
}

int file_pager_open(struct io *io, int fd, bool writable, bool nowait, bool allow_direct, struct pager **ret)
{
	struct file_pager *file;
	int flags = description_check_access(fd, writable), r;

	if (flags < 0)
		return flags;
	file = file_new(io, allow_direct);
	if (file == NULL)
		return -ENOMEM;
	file->nowait = nowait;
	atomic_store_explicit(&file->writable, writable, memory_order_relaxed);
	file->named_fd = take_named(fd, writable, flags);
	r = file->named_fd < 0 ? file->named_fd : identity_get(file->named_fd, &file->named);
	if (r < 0) {
		description_close(file->named_fd);
		free(file);
		return r;
	}
	*ret = &file->base;
	return 0;
}

/* The same for the descriptions that are open already. */
static int reopen_writable(struct file_pager *file, int fd)
{
	struct descriptions opened;
	int r = descriptions_open(fd, true, file->allow_direct && file->direct_fd >= 0, &opened);

	if (r < 0)
		return r;
	r = description_replace(opened.buffered_fd, file->buffered_fd);
	if (r == 0 && opened.direct_fd >= 0)
		r = description_replace(opened.direct_fd, file->direct_fd);
	else if (r == 0) /* the old one stays, for reads that are under way on it */
		atomic_store_explicit(&file->base.direct, false, memory_order_relaxed);
	descriptions_close(&opened);
	return r;
}

int file_pager_make_writable(struct pager *pager, int fd)
{
	struct file_pager *file = file_of(pager);
	int again, flags, r;

	if (file_is_writable(file))
		return 0;
	flags = description_check_access(fd, true);
	if (flags < 0)
		return flags;
	again = take_named(fd, true, flags);
	if (again < 0)
		return again;
	lock_acquire(&file->adopt_lock);
	r = file_check(file);
	if (r == 0 && file_is_ready(file))
		r = reopen_writable(file, again);
	if (r == 0)
		r = identity_check(file->named_fd, &file->named);
	if (r == 0)
		r = description_replace(again, file->named_fd);
	if (r == 0)
		atomic_store_explicit(&file->writable, true, memory_order_release);
	lock_release(&file->adopt_lock);
	description_close(again);
	return r;
}

int file_pager_scratch(struct io *io, bool allow_direct, struct pager **ret)
{
	struct file_pager *file = file_new(io, allow_direct);

	if (file == NULL)
		return -ENOMEM;
	file->scratch = true;
	*ret = &file->base;
	return 0;
}

int file_pager_adopt(struct pager *pager, int fd)
{
	struct file_pager *file = file_of(pager);
	struct descriptions opened;
	bool first;
	int r = descriptions_open(fd, true, file->allow_direct, &opened);

	description_close(fd);
	if (r < 0)
		return r;
	lock_acquire(&file->adopt_lock);
	first = !file_is_ready(file);
	if (first)
		file_attach(file, &opened, true);
	lock_release(&file->adopt_lock);
	if (!first)
		descriptions_close(&opened);
	return 0;
}

bool file_pager_is_adopted(struct pager *pager)
{
	return file_is_ready(file_of(pager));
}
