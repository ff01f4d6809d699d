/* SPDX-License-Identifier: MIT */
/*
 * sizes.c - what changes a file other than by a write, and what asks for it to be on stable storage, in front of the C library's
 */
#include <errno.h>
#include <quire/quire.h>
#include <sys/stat.h>

#include "coherent.h"
#include "counts.h"
#include "files.h"
#include "kernel.h"
#include "locks.h"
#include "next.h"

/* ---- size ---- */

INTERPOSED int ftruncate(int fd, off_t size)
{
	if (!files_is_mapped(fd))
		return NEXT(ftruncate)(fd, size);
	counts_add(COUNT_truncate, true);
	return quire_ftruncate(fd, size);
}

INTERPOSED int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

INTERPOSED int truncate(const char *path, off_t size)
{
	struct stat st;
	int fd, r;

	if (!files_any() || stat(path, &st) < 0 || !files_has(&st))
		return NEXT(truncate)(path, size);
	fd = kernel_open(path, O_WRONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	counts_add(COUNT_truncate, true);
	r = quire_ftruncate(fd, size);
	locks_close(fd);
	return r;
}

INTERPOSED int truncate64(const char *path, off_t size) __attribute__((alias("truncate")));

/*
 * What is stored goes to the file first, and what is in memory then gives way to what the kernel has made of the file. What is stored meanwhile, to pages
 * that zeros are made of, is in a page with the old bytes around it: zeros are made of these there. While bytes are moved, stores are held off.
 */
static int reshape(int fd, int mode, off_t offset, off_t len)
{
	struct object *held;
	uint64_t since;
	bool moves = mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	bool empties = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	int r = 0, saved_errno;

	if ((moves || empties) && offset >= 0 && len > 0)
		r = coherent_flush(fd, offset, moves ? 0 : len);
	if (r < 0) {
		errno = -r;
		return -1;
	}
	held = moves ? coherent_still(fd) : NULL;
	since = coherent_now();
	r = NEXT(fallocate)(fd, mode, offset, len);
	saved_errno = errno;
	/* A range of no page: only the size is asked for. */
	(void)coherent_changed(fd, offset > 0 ? offset : 0, moves ? 0 : empties && len > 0 ? len : 1);
	if (r == 0 && empties)
		(void)coherent_zeroed(fd, offset, len, since);
	coherent_go_on(held);
	errno = saved_errno;
	return r;
}

INTERPOSED int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (!files_is_mapped(fd))
		return NEXT(fallocate)(fd, mode, offset, len);
	counts_add(COUNT_fallocate, true);
	return reshape(fd, mode, offset, len);
}

INTERPOSED int fallocate64(int fd, int mode, off_t offset, off_t len) __attribute__((alias("fallocate")));

INTERPOSED int posix_fallocate(int fd, off_t offset, off_t len)
{
	int r = NEXT(posix_fallocate)(fd, offset, len);

	if (files_is_mapped(fd)) {
		counts_add(COUNT_fallocate, true);
		(void)coherent_changed(fd, offset > 0 ? offset : 0, 1);
	}
	return r;
}

INTERPOSED int posix_fallocate64(int fd, off_t offset, off_t len) __attribute__((alias("posix_fallocate")));

/* ---- stable storage ---- */

/* False and errno: some of it is still in memory only. */
static bool flush(int fd)
{
	int r;

	if (!files_is_mapped(fd))
		return true;
	counts_add(COUNT_sync, true);
	r = coherent_flush(fd, 0, 0);
	if (r < 0)
		errno = -r;
	return r >= 0;
}

INTERPOSED int fsync(int fd)
{
	return flush(fd) ? NEXT(fsync)(fd) : -1;
}

INTERPOSED int fdatasync(int fd)
{
	return flush(fd) ? NEXT(fdatasync)(fd) : -1;
}

INTERPOSED int sync_file_range(int fd, off_t offset, off_t n, unsigned flags)
{
	return flush(fd) ? NEXT(sync_file_range)(fd, offset, n, flags) : -1;
}

INTERPOSED int syncfs(int fd)
{
	(void)coherent_flush_all();
	return NEXT(syncfs)(fd);
}

INTERPOSED void sync(void)
{
	(void)coherent_flush_all();
	NEXT(sync)();
}
