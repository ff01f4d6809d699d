/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - reads and writes of a program that need a second look
 *
 *   file      memory      read                                      write
 *   ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
 *   mapped    any         from pages where there are, else file     the kernel's, then into the pages (coherent.h)
 *   another   managed     signal trap: into other memory, copied    signal trap: copied, from other memory
 *
 * Of a mapped file, managed memory is copied under both traps: a write that meets a missing page of the same file holds the file's lock
 * while it waits for the page. The copies are made by the program's thread with nothing held, so that its faults are faults as any.
 */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coherent.h"
#include "counts.h"
#include "kernel.h"
#include "locks.h"
#include "next.h"

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20 /* Linux 6.9 */
#endif

#define MOST_COPIED ((size_t)16 << 20) /* at once; more is a short transfer */
#define COPY_BYTES  ((size_t)256 << 10)

void *transfer_memory(size_t n)
{
	void *memory = kernel_own_mmap(n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void transfer_free(void *memory, size_t n)
{
	int saved_errno = errno;

	if (memory)
		kernel_munmap(memory, n);
	errno = saved_errno;
}

static ssize_t total(const struct iovec *iov, int count)
{
	size_t sum = 0;

	if (count < 0 || count > IOV_MAX) {
		errno = EINVAL;
		return -1;
	}
	for (int i = 0; i < count; i++) {
		sum += iov[i].iov_len;
		if (sum > SSIZE_MAX || iov[i].iov_len > SSIZE_MAX) {
			errno = EINVAL;
			return -1;
		}
	}
	return (ssize_t)sum;
}

static bool is_managed(const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		if (start_manages(iov[i].iov_base, iov[i].iov_len))
			return true;
	return false;
}

static void gather(char *to, const struct iovec *iov, size_t n)
{
	for (size_t part; n > 0; iov++, to += part, n -= part) {
		part = iov->iov_len < n ? iov->iov_len : n;
		memcpy(to, iov->iov_base, part);
	}
}

static void scatter(const struct iovec *iov, const char *from, size_t n)
{
	for (size_t part; n > 0; iov++, from += part, n -= part) {
		part = iov->iov_len < n ? iov->iov_len : n;
		memcpy(iov->iov_base, from, part);
	}
}

/* ---- the offset of a descriptor ---- */

/*
 * The kernel moves it on with the transfer, as one; here it takes several calls, one thread at a time, also of the other processes that have come
 * by a fork and have it in common.
 */
struct position {
	struct files_position *locked;
	sigset_t before;
};

static void position_begin(struct position *position, int fd)
{
	sigset_t all;

	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, &position->before);
	position->locked = files_lock_position(fd);
}

static void position_end(struct position *position)
{
	int saved_errno = errno;

	files_unlock_position(position->locked);
	NEXT(pthread_sigmask)(SIG_SETMASK, &position->before, NULL);
	errno = saved_errno;
}

/* ---- read ---- */

/* Into memory that is not managed. */
static ssize_t read_mapped(int fd, const struct iovec *iov, int count, off_t offset)
{
	ssize_t done = 0;

	for (int i = 0; i < count; i++) {
		ssize_t r = coherent_read(fd, iov[i].iov_base, iov[i].iov_len, offset + done);

		if (r < 0 && done == 0) {
			errno = (int)-r;
			return -1;
		}
		done += r > 0 ? r : 0;
		if (r < (ssize_t)iov[i].iov_len)
			break;
	}
	return done;
}

static ssize_t read_mapped_here(int fd, const struct iovec *iov, int count)
{
	struct position position;
	off_t at;
	ssize_t r;

	position_begin(&position, fd);
	at = lseek(fd, 0, SEEK_CUR);
	r = at < 0 ? -1 : read_mapped(fd, iov, count, at);
	if (r > 0)
		lseek(fd, at + r, SEEK_SET);
	position_end(&position);
	return r;
}

/* What is not open for reading is not to be read from frames either. */
static bool may_read(int fd)
{
	int mode = NEXT(fcntl)(fd, F_GETFL);

	if (mode >= 0 && (mode & O_ACCMODE) != O_WRONLY && !(mode & O_PATH))
		return true;
	errno = EBADF;
	return false;
}

static ssize_t read_into(int fd, bool mapped, const struct iovec *iov, int count, off_t offset, int flags)
{
	if (!mapped)
		return NEXT(preadv2)(fd, iov, count, offset, flags);
	if (!may_read(fd))
		return -1;
	if (offset < TRANSFER_HERE) {
		errno = EINVAL;
		return -1;
	}
	counts_add(COUNT_read, true);
	return offset == TRANSFER_HERE ? read_mapped_here(fd, iov, count) : read_mapped(fd, iov, count, offset);
}

ssize_t transfer_read(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	bool mapped = files_is_mapped(fd);
	ssize_t n = total(iov, count), r;
	struct iovec copy;

	if (n <= 0 || !is_managed(iov, count))
		return n < 0 ? -1 : read_into(fd, mapped, iov, count, offset, flags);
	copy.iov_len = (size_t)n < MOST_COPIED ? (size_t)n : MOST_COPIED;
	copy.iov_base = transfer_memory(copy.iov_len);
	if (!copy.iov_base)
		return -1;
	r = read_into(fd, mapped, &copy, 1, offset, flags);
	if (r > 0)
		scatter(iov, copy.iov_base, (size_t)r);
	transfer_free(copy.iov_base, copy.iov_len);
	return r;
}

/* ---- write ---- */

/* Tells the pages what was written at an offset, and since when. */
static void tell(int fd, const struct iovec *iov, size_t n, off_t offset, uint64_t since)
{
	int saved_errno = errno;

	for (size_t part; n > 0; iov++, offset += (off_t)part, n -= part) {
		part = iov->iov_len < n ? iov->iov_len : n;
		(void)coherent_wrote(fd, iov->iov_base, part, offset, since);
	}
	errno = saved_errno;
}

static off_t end_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_size : -1;
}

/* The descriptor may be for writing only, or for appending. */
static int open_for_reading(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	return kernel_open(path, O_RDONLY | O_CLOEXEC, 0);
}

/* Tells the pages what the file has in a range: who has written it is not known. */
static void tell_again(int fd, off_t from, off_t to, uint64_t since)
{
	struct iovec piece = {transfer_memory(COPY_BYTES), 0};
	int saved_errno = errno, in = open_for_reading(fd);
	ssize_t n = 0;

	for (; piece.iov_base && in >= 0 && from < to; from += n) {
		n = kernel_call(SYS_pread64, in, (long)piece.iov_base, to - from < (off_t)COPY_BYTES ? to - from : (long)COPY_BYTES,
				from, 0, 0);
		if (n <= 0)
			break;
		piece.iov_len = (size_t)n;
		tell(fd, &piece, (size_t)n, from, since);
	}
	/* It cannot be read: pages that nobody has stored to are. */
	if (from < to && n <= 0)
		(void)coherent_changed(fd, from, to - from);
	if (in >= 0)
		locks_close(in);
	transfer_free(piece.iov_base, COPY_BYTES);
	errno = saved_errno;
}

/* Where a write goes that has no offset given, or does not care for one. */
struct landing {
	struct position position;
	uint64_t since;
	bool here, append;
	off_t before;
};

static void landing_begin(struct landing *landing, int fd, bool here, bool append)
{
	landing->here = here;
	landing->append = append;
	position_begin(&landing->position, fd);
	landing->since = coherent_now();
	landing->before = append ? end_of(fd) : lseek(fd, 0, SEEK_CUR);
}

/*
 * Where it has landed is known afterwards: before the descriptor's offset, or before the end of a file that is appended to. If that is not where it
 * was to be expected then others, of whom no lock is known, have written or moved on as well, and what is there is asked of the file.
 */
static void landing_end(struct landing *landing, int fd, const struct iovec *iov, ssize_t r)
{
	off_t before = landing->before, after;

	if (r > 0) {
		after = landing->here ? lseek(fd, 0, SEEK_CUR) : end_of(fd);
		if (after - r == before) {
			tell(fd, iov, (size_t)r, before, landing->since);
		} else if (landing->append) {
			tell_again(fd, before, end_of(fd), landing->since);
		} else {
			off_t from = after - r < before ? after - r : before, to = after > before + r ? after : before + r;

			tell_again(fd, from > 0 ? from : 0, to, landing->since);
		}
	}
	position_end(&landing->position);
}

static bool is_appended(int fd, int flags)
{
	return (flags & RWF_APPEND) || ((NEXT(fcntl)(fd, F_GETFL) & O_APPEND) && !(flags & RWF_NOAPPEND));
}

static ssize_t write_mapped(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	bool append = is_appended(fd, flags);
	struct landing landing;
	uint64_t since;
	ssize_t r;

	counts_add(COUNT_write, true);
	if (offset != TRANSFER_HERE && !append) {
		since = coherent_now();
		r = NEXT(pwritev2)(fd, iov, count, offset, flags);
		if (r > 0)
			tell(fd, iov, (size_t)r, offset, since);
		return r;
	}
	landing_begin(&landing, fd, offset == TRANSFER_HERE, append);
	r = NEXT(pwritev2)(fd, iov, count, offset, flags);
	landing_end(&landing, fd, iov, r);
	return r;
}

static ssize_t write_from(int fd, bool mapped, const struct iovec *iov, int count, off_t offset, int flags)
{
	return mapped ? write_mapped(fd, iov, count, offset, flags) : NEXT(pwritev2)(fd, iov, count, offset, flags);
}

ssize_t transfer_write(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	bool mapped = files_is_mapped(fd);
	ssize_t n = total(iov, count), r;
	struct iovec copy;

	if (n <= 0 || !is_managed(iov, count))
		return n < 0 ? -1 : write_from(fd, mapped, iov, count, offset, flags);
	copy.iov_len = (size_t)n < MOST_COPIED ? (size_t)n : MOST_COPIED;
	copy.iov_base = transfer_memory(copy.iov_len);
	if (!copy.iov_base)
		return -1;
	gather(copy.iov_base, iov, copy.iov_len);
	r = write_from(fd, mapped, &copy, 1, offset, flags);
	transfer_free(copy.iov_base, copy.iov_len);
	return r;
}

/* ---- from one descriptor to another ---- */

ssize_t transfer_copy(int in, off_t *in_offset, int out, off_t *out_offset, size_t n)
{
	struct iovec piece = {transfer_memory(COPY_BYTES), 0};
	ssize_t done = 0, r = 0, written = 0;

	if (!piece.iov_base)
		return -1;
	counts_add(COUNT_transfer, true);
	while ((size_t)done < n) {
		piece.iov_len = n - (size_t)done < COPY_BYTES ? n - (size_t)done : COPY_BYTES;
		r = transfer_read(in, &piece, 1, in_offset ? *in_offset : TRANSFER_HERE, 0);
		if (r <= 0)
			break;
		piece.iov_len = (size_t)r;
		written = transfer_write(out, &piece, 1, out_offset ? *out_offset : TRANSFER_HERE, 0);
		/* What was read and has not gone on is to be read again. */
		if (!in_offset && written < r)
			lseek(in, (written > 0 ? written : 0) - r, SEEK_CUR);
		if (written <= 0)
			break;
		done += written;
		if (in_offset)
			*in_offset += written;
		if (out_offset)
			*out_offset += written;
		if (written < r)
			break;
	}
	transfer_free(piece.iov_base, COPY_BYTES);
	return done > 0 ? done : r < 0 || written < 0 ? -1 : 0;
}

/* ---- from a pipe ---- */

/* What is first in a pipe, as much as there is of n bytes, and stays there: it waits for some as the flags say. As read. */
static ssize_t peek(int pipe, char *buf, size_t n, unsigned flags)
{
	ssize_t r, done = 0;
	int copy[2];

	if (kernel_call(SYS_pipe2, (long)copy, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0) < 0) {
		errno = ENOMEM;
		return -1;
	}
	r = NEXT(tee)(pipe, copy[1], n, flags & SPLICE_F_NONBLOCK);
	while (done < r) {
		ssize_t part = kernel_call(SYS_read, copy[0], (long)(buf + done), r - done, 0, 0, 0);

		if (part <= 0)
			break;
		done += part;
	}
	kernel_close(copy[0]);
	kernel_close(copy[1]);
	return r < 0 ? r : done;
}

/* As much as was seen. */
static ssize_t move(int in, int out, off_t *out_offset, const struct iovec *seen, unsigned flags)
{
	off_t at = out_offset ? *out_offset : 0;
	struct landing landing;
	ssize_t r;

	flags |= SPLICE_F_NONBLOCK;
	if (!out_offset) {
		landing_begin(&landing, out, true, false);
		r = NEXT(splice)(in, NULL, out, NULL, seen->iov_len, flags);
		landing_end(&landing, out, seen, r);
		return r;
	}
	landing.since = coherent_now();
	r = NEXT(splice)(in, NULL, out, &at, seen->iov_len, flags);
	if (r > 0)
		tell(out, seen, (size_t)r, *out_offset, landing.since);
	*out_offset = at;
	return r;
}

/*
 * The kernel moves the bytes, so that what does not find room stays in the pipe. Which they are is looked at before: another reader of the same pipe
 * in the same moment would take them, but no program has two.
 */
ssize_t transfer_splice(int in, int out, off_t *out_offset, size_t n, unsigned flags)
{
	struct iovec seen = {transfer_memory(COPY_BYTES), 0};
	ssize_t r;

	if (!seen.iov_base)
		return -1;
	counts_add(COUNT_transfer, true);
	do {
		r = peek(in, seen.iov_base, n < COPY_BYTES ? n : COPY_BYTES, flags);
		seen.iov_len = r > 0 ? (size_t)r : 0;
		if (r > 0)
			r = move(in, out, out_offset, &seen, flags);
	} while (r < 0 && errno == EAGAIN && seen.iov_len > 0 && !(flags & SPLICE_F_NONBLOCK));
	transfer_free(seen.iov_base, COPY_BYTES);
	return r;
}

ssize_t transfer_vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
	bool reads = (NEXT(fcntl)(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
	ssize_t n = count <= IOV_MAX ? total(iov, (int)count) : 0, r;
	struct iovec copy;

	if (n <= 0 || !is_managed(iov, (int)count))
		return NEXT(vmsplice)(fd, iov, count, flags);
	copy.iov_len = (size_t)n < MOST_COPIED ? (size_t)n : MOST_COPIED;
	copy.iov_base = transfer_memory(copy.iov_len);
	if (!copy.iov_base)
		return -1;
	if (!reads)
		gather(copy.iov_base, iov, copy.iov_len);
	r = NEXT(vmsplice)(fd, &copy, 1, flags);
	if (reads && r > 0)
		scatter(iov, copy.iov_base, (size_t)r);
	transfer_free(copy.iov_base, copy.iov_len);
	return r;
}
