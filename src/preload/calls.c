/* SPDX-License-Identifier: MIT */
/*
 * calls.c - read, write and their like, in front of the C library's
 *
 * Of a descriptor whose file is not mapped, one comparison is all that is done (files.h).
 */
#include <errno.h>

#include "coherent.h"
#include "counts.h"
#include "next.h"
#include "transfer.h"

#define ONE(buf, n) (&(struct iovec){(void *)(uintptr_t)(buf), n}), 1

/* An offset that is -1 would be taken for the descriptor's own. */
#define REFUSE_NEGATIVE(offset)                                                                                                    \
	do {                                                                                                                       \
		if ((offset) < 0) {                                                                                                \
			errno = EINVAL;                                                                                            \
			return -1;                                                                                                 \
		}                                                                                                                  \
	} while (0)

INTERPOSED ssize_t read(int fd, void *buf, size_t n)
{
	return transfer_is_special(fd) ? transfer_read(fd, ONE(buf, n), TRANSFER_HERE, 0) : NEXT(read)(fd, buf, n);
}

INTERPOSED ssize_t write(int fd, const void *buf, size_t n)
{
	return transfer_is_special(fd) ? transfer_write(fd, ONE(buf, n), TRANSFER_HERE, 0) : NEXT(write)(fd, buf, n);
}

INTERPOSED ssize_t pread(int fd, void *buf, size_t n, off_t offset)
{
	if (!transfer_is_special(fd))
		return NEXT(pread)(fd, buf, n, offset);
	REFUSE_NEGATIVE(offset);
	return transfer_read(fd, ONE(buf, n), offset, 0);
}

INTERPOSED ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	if (!transfer_is_special(fd))
		return NEXT(pwrite)(fd, buf, n, offset);
	REFUSE_NEGATIVE(offset);
	return transfer_write(fd, ONE(buf, n), offset, 0);
}

INTERPOSED ssize_t readv(int fd, const struct iovec *iov, int count)
{
	return transfer_is_special(fd) ? transfer_read(fd, iov, count, TRANSFER_HERE, 0) : NEXT(readv)(fd, iov, count);
}

INTERPOSED ssize_t writev(int fd, const struct iovec *iov, int count)
{
	return transfer_is_special(fd) ? transfer_write(fd, iov, count, TRANSFER_HERE, 0) : NEXT(writev)(fd, iov, count);
}

INTERPOSED ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (!transfer_is_special(fd))
		return NEXT(preadv)(fd, iov, count, offset);
	REFUSE_NEGATIVE(offset);
	return transfer_read(fd, iov, count, offset, 0);
}

INTERPOSED ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (!transfer_is_special(fd))
		return NEXT(pwritev)(fd, iov, count, offset);
	REFUSE_NEGATIVE(offset);
	return transfer_write(fd, iov, count, offset, 0);
}

INTERPOSED ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return transfer_is_special(fd) ? transfer_read(fd, iov, count, offset, flags)
				       : NEXT(preadv2)(fd, iov, count, offset, flags);
}

INTERPOSED ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return transfer_is_special(fd) ? transfer_write(fd, iov, count, offset, flags)
				       : NEXT(pwritev2)(fd, iov, count, offset, flags);
}

/* What _FORTIFY_SOURCE makes of them. */
_Noreturn void __chk_fail(void);
INTERPOSED ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
INTERPOSED ssize_t __pread_chk(int fd, void *buf, size_t n, off_t offset, size_t room);
INTERPOSED ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t offset, size_t room);

INTERPOSED ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (n > room)
		__chk_fail();
	return read(fd, buf, n);
}

INTERPOSED ssize_t __pread_chk(int fd, void *buf, size_t n, off_t offset, size_t room)
{
	if (n > room)
		__chk_fail();
	return pread(fd, buf, n, offset);
}

INTERPOSED ssize_t __pread64_chk(int fd, void *buf, size_t n, off_t offset, size_t room)
{
	if (n > room)
		__chk_fail();
	return pread(fd, buf, n, offset);
}

INTERPOSED ssize_t pread64(int fd, void *buf, size_t n, off_t offset) __attribute__((alias("pread")));
INTERPOSED ssize_t pwrite64(int fd, const void *buf, size_t n, off_t offset) __attribute__((alias("pwrite")));
INTERPOSED ssize_t preadv64(int fd, const struct iovec *iov, int count, off_t offset) __attribute__((alias("preadv")));
INTERPOSED ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t offset) __attribute__((alias("pwritev")));
INTERPOSED ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
    __attribute__((alias("preadv2")));
INTERPOSED ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
    __attribute__((alias("pwritev2")));

/* ---- from descriptor to descriptor ---- */

/* Where only what is read is mapped, the file is brought up to date, and the kernel does it. */
static void flush_source(int in, const off_t *offset, size_t n)
{
	off_t at = offset ? *offset : lseek(in, 0, SEEK_CUR);

	if (at >= 0 && n > 0)
		(void)coherent_flush(in, at, n < ((size_t)1 << 40) ? (off_t)n : 0);
	counts_add(COUNT_transfer, true);
}

INTERPOSED ssize_t sendfile(int out, int in, off_t *offset, size_t n)
{
	if (files_is_mapped(out))
		return transfer_copy(in, offset, out, NULL, n);
	if (files_is_mapped(in))
		flush_source(in, offset, n);
	return NEXT(sendfile)(out, in, offset, n);
}

INTERPOSED ssize_t sendfile64(int out, int in, off_t *offset, size_t n) __attribute__((alias("sendfile")));

INTERPOSED ssize_t copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t n, unsigned flags)
{
	if (files_is_mapped(out) && flags == 0)
		return transfer_copy(in, in_offset, out, out_offset, n);
	if (files_is_mapped(in))
		flush_source(in, in_offset, n);
	return NEXT(copy_file_range)(in, in_offset, out, out_offset, n, flags);
}

INTERPOSED ssize_t splice(int in, off_t *in_offset, int out, off_t *out_offset, size_t n, unsigned flags)
{
	/* A pipe has no offset: an error, and the kernel's to tell. */
	if (files_is_mapped(out) && !in_offset && n > 0)
		return transfer_splice(in, out, out_offset, n, flags);
	if (files_is_mapped(in))
		flush_source(in, in_offset, n);
	return NEXT(splice)(in, in_offset, out, out_offset, n, flags);
}

INTERPOSED ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
	return start.copies ? transfer_vmsplice(fd, iov, count, flags) : NEXT(vmsplice)(fd, iov, count, flags);
}

/* ---- sockets: under the signal trap, managed memory is not handed to the kernel ---- */

/* A copy of what is to be sent, if it is managed. false and errno: no memory for one. */
static bool copy_out(const void **buf, size_t n, void **ret_copy)
{
	*ret_copy = NULL;
	if (!start.copies || !start_manages(*buf, n))
		return true;
	*ret_copy = transfer_memory(n);
	if (!*ret_copy)
		return false;
	__builtin_memcpy(*ret_copy, *buf, n);
	*buf = *ret_copy;
	return true;
}

INTERPOSED ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *to, socklen_t to_len)
{
	void *copy;
	ssize_t r;

	if (!copy_out(&buf, n, &copy))
		return -1;
	r = NEXT(sendto)(fd, buf, n, flags, to, to_len);
	transfer_free(copy, n);
	return r;
}

INTERPOSED ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	return sendto(fd, buf, n, flags, NULL, 0);
}

INTERPOSED ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *from, socklen_t *from_len)
{
	void *copy = start.copies && start_manages(buf, n) ? transfer_memory(n) : NULL;
	ssize_t r = NEXT(recvfrom)(fd, copy ? copy : buf, n, flags, from, from_len);

	if (copy && r > 0)
		__builtin_memcpy(buf, copy, (size_t)r < n ? (size_t)r : n);
	transfer_free(copy, n);
	return r;
}

INTERPOSED ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	return recvfrom(fd, buf, n, flags, NULL, NULL);
}

static size_t length(const struct msghdr *message)
{
	size_t n = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++)
		n += message->msg_iov[i].iov_len;
	return n;
}

static bool holds_managed(const struct msghdr *message)
{
	for (size_t i = 0; start.copies && i < message->msg_iovlen; i++)
		if (start_manages(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len))
			return true;
	return false;
}

INTERPOSED ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct msghdr other;
	struct iovec whole;
	ssize_t r;

	if (!message || !holds_managed(message))
		return NEXT(sendmsg)(fd, message, flags);
	whole.iov_len = length(message);
	whole.iov_base = transfer_memory(whole.iov_len);
	if (!whole.iov_base)
		return -1;
	for (size_t i = 0, at = 0; i < message->msg_iovlen; at += message->msg_iov[i++].iov_len)
		__builtin_memcpy((char *)whole.iov_base + at, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
	other = *message;
	other.msg_iov = &whole;
	other.msg_iovlen = 1;
	r = NEXT(sendmsg)(fd, &other, flags);
	transfer_free(whole.iov_base, whole.iov_len);
	return r;
}

/* Descriptors that come along may take the numbers of others. */
INTERPOSED ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	struct iovec whole = {0}, *pieces;
	size_t count;
	ssize_t r;

	if (!message || !holds_managed(message)) {
		r = NEXT(recvmsg)(fd, message, flags);
	} else {
		whole.iov_len = length(message);
		whole.iov_base = transfer_memory(whole.iov_len);
		if (!whole.iov_base)
			return -1;
		pieces = message->msg_iov;
		count = message->msg_iovlen;
		message->msg_iov = &whole;
		message->msg_iovlen = 1;
		r = NEXT(recvmsg)(fd, message, flags);
		message->msg_iov = pieces;
		message->msg_iovlen = count;
		for (size_t i = 0, at = 0; r > 0 && i < count && at < (size_t)r && at < whole.iov_len; at += pieces[i++].iov_len) {
			size_t most = (size_t)r < whole.iov_len ? (size_t)r : whole.iov_len;
			size_t part = pieces[i].iov_len < most - at ? pieces[i].iov_len : most - at;

			__builtin_memcpy(pieces[i].iov_base, (char *)whole.iov_base + at, part);
		}
		transfer_free(whole.iov_base, whole.iov_len);
	}
	if (r >= 0 && files_any() && message && message->msg_controllen > 0)
		files_forget_all();
	return r;
}
