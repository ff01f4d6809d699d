/* SPDX-License-Identifier: MIT */
/*
 * description.c - the open file descriptions of a pager: how its file is opened again, and what can be done by it then
 */
#include "pager/description.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "sys/page_size.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define LINK_PREFIX "/proc/thread-self/fd/"
#define LINK_BYTES  (sizeof(LINK_PREFIX) + 12) /* an int's digits */

/* Raw system calls: open and close are cancellation points in glibc, and a scratch file may be adopted while resolving a fault. */
static int raw_open(const char *path, int flags)
{
	long fd = syscall(SYS_openat, AT_FDCWD, path, flags, 0);

	return fd < 0 ? -errno : (int)fd;
}

void description_close(int fd)
{
	if (fd >= 0)
		(void)syscall(SYS_close, fd);
}

/*
 * The link that is the descriptor. thread-self, not self: the latter names the first thread's descriptors, which are gone when main has
 * left by pthread_exit. No printf: it is not async-signal-safe.
 */
static void link_of(int fd, char ret[LINK_BYTES])
{
	char digits[12];
	size_t n = 0, at = sizeof(LINK_PREFIX) - 1;

	memcpy(ret, LINK_PREFIX, at);
	do
		digits[n++] = (char)('0' + fd % 10);
	while ((fd /= 10) > 0);
	while (n > 0)
		ret[at++] = digits[--n];
	ret[at] = '\0';
}

int description_reopen(int fd, int flags)
{
	char link[LINK_BYTES];

	link_of(fd, link);
	return raw_open(link, flags | O_CLOEXEC | O_NOCTTY);
}

size_t description_path(int fd, char *ret, size_t size)
{
	char link[LINK_BYTES];
	ssize_t n;

	link_of(fd, link);
	n = readlink(link, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* Running out of descriptors or memory is to be reported, not to be answered by a slower way of working. */
static bool is_shortage(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

int description_check_access(int fd, bool writable)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (flags & O_PATH)
		return -EBADF;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -ENODEV;
	if ((flags & O_ACCMODE) == O_WRONLY || (writable && (flags & O_ACCMODE) != O_RDWR))
		return -EACCES;
	return flags;
}

/*
 * The alignment that direct transfers of this file need, 0: there are none.
 * => Asked by statx's STATX_DIOALIGN (6.1). Nothing is known of a filesystem that does not answer: a page is assumed, and a
 *    transfer that is refused later switches the pager over (file.c, file_advance).
 * => The answer is read by offset: libc's headers may be older than the field.
 */
static size_t direct_align(int fd)
{
	enum { MASK = 0x00 / 4, MEMORY = 0x98 / 4, OFFSET = 0x9c / 4, WORDS = 0x100 / 4, DIOALIGN = 0x2000 };
	uint32_t answer[WORDS] = {0};
	struct statfs fs;
	size_t align;

	/* There is no storage to go directly to; newer kernels take the flag all the same. */
	if (fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
		return 0;
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, DIOALIGN, answer) < 0 || !(answer[MASK] & DIOALIGN))
		return page_size();
	align = answer[MEMORY] > answer[OFFSET] ? answer[MEMORY] : answer[OFFSET];
	return align <= page_size() ? align : 0;
}

static enum lockless lockless_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return LOCKLESS_NOWAIT;
	switch ((uint32_t)fs.f_type) {
	case BTRFS_SUPER_MAGIC:
		return LOCKLESS_BUFFERED;
	case XFS_SUPER_MAGIC:
	case NFS_SUPER_MAGIC:
		return LOCKLESS_MAPPED;
	default:
		return LOCKLESS_NOWAIT;
	}
}

int description_duplicate(int fd)
{
	int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (again >= 0)
		return again;
	/* What the kernel says when not even 0 is below RLIMIT_NOFILE. */
	return errno == EINVAL ? -EMFILE : -errno;
}

/* The buffered description; fd itself, duplicated, where it cannot be opened again (no /proc, no permission any more). */
static int open_buffered(int fd, bool writable)
{
	int again = description_reopen(fd, writable ? O_RDWR : O_RDONLY);
	int flags;

	if (again >= 0) {
		/* The engine reads ahead itself. */
		(void)posix_fadvise(again, 0, 0, POSIX_FADV_RANDOM);
		return again;
	}
	if (is_shortage(again))
		return again;
	/* Through a description that appends, pwrite appends. */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (writable && (flags & O_APPEND)))
		return again;
	return description_duplicate(fd);
}

int descriptions_open(int fd, bool writable, bool allow_direct, struct descriptions *ret)
{
	struct descriptions opened = {.direct_fd = -1, .buffered_fd = open_buffered(fd, writable), .align_bytes = 0};
	int r;

	if (opened.buffered_fd < 0)
		return opened.buffered_fd;
	r = identity_get(opened.buffered_fd, &opened.identity);
	if (r < 0) {
		description_close(opened.buffered_fd);
		return r;
	}
	opened.lockless = lockless_of(opened.buffered_fd);
	if (allow_direct)
		opened.align_bytes = direct_align(opened.buffered_fd);
	if (opened.align_bytes > 0) {
		opened.direct_fd = description_reopen(fd, (writable ? O_RDWR : O_RDONLY) | O_DIRECT);
		if (is_shortage(opened.direct_fd)) {
			description_close(opened.buffered_fd);
			return opened.direct_fd;
		}
	}
	*ret = opened;
	return 0;
}

void descriptions_close(const struct descriptions *opened)
{
	description_close(opened->direct_fd);
	description_close(opened->buffered_fd);
}

int description_replace(int from, int to)
{
	while (dup3(from, to, O_CLOEXEC) < 0)
		if (errno != EINTR && errno != EBUSY)
			return -errno;
	return 0;
}
