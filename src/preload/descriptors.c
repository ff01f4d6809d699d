/* SPDX-License-Identifier: MIT */
/*
 * descriptors.c - what makes, copies and closes descriptors, in front of the C library's
 *
 * A number that another file may have from now on is forgotten (files.h). The engine's descriptors are not there, for the program: closing
 * one is EBADF, and ranges are closed around them. A file that is mapped and to be cut when it is opened is cut by Quire.
 *
 * Locks between processes are where their stores meet: what was stored is in the file before a lock is given up, and what others have
 * written is looked for when one is got.
 */
#include <errno.h>
#include <limits.h>
#include <quire/quire.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "coherent.h"
#include "files.h"
#include "kernel.h"
#include "locks.h"
#include "next.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* of what headers declare as macros, or not at all */

static int opened(int fd)
{
	files_forget(fd);
	return fd;
}

/* ---- open ---- */

static bool is_cut(int dir, const char *path, int flags)
{
	int saved_errno = errno;
	struct stat st;
	bool cut = (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY && files_any() && fstatat(dir, path, &st, 0) == 0 &&
		   files_has(&st);

	errno = saved_errno;
	return cut;
}

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
	bool cut = is_cut(dir, path, flags);
	int fd = opened(NEXT(openat)(dir, path, cut ? flags & ~O_TRUNC : flags, mode));

	if (!cut || fd < 0 || quire_ftruncate(fd, 0) == 0)
		return fd;
	locks_close(fd);
	return -1;
}

#define MODE_OF(flags, mode)                                                                                                       \
	mode_t mode = 0;                                                                                                           \
	va_list list;                                                                                                              \
                                                                                                                                   \
	va_start(list, flags);                                                                                                     \
	if ((flags) & (O_CREAT | __O_TMPFILE))                                                                                     \
		mode = va_arg(list, mode_t);                                                                                       \
	va_end(list)

INTERPOSED int open(const char *path, int flags, ...)
{
	MODE_OF(flags, mode);
	return open_any(AT_FDCWD, path, flags, mode);
}

INTERPOSED int open64(const char *path, int flags, ...)
{
	MODE_OF(flags, mode);
	return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

INTERPOSED int openat(int dir, const char *path, int flags, ...)
{
	MODE_OF(flags, mode);
	return open_any(dir, path, flags, mode);
}

INTERPOSED int openat64(int dir, const char *path, int flags, ...)
{
	MODE_OF(flags, mode);
	return open_any(dir, path, flags | O_LARGEFILE, mode);
}

INTERPOSED int creat(const char *path, mode_t mode)
{
	return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

INTERPOSED int creat64(const char *path, mode_t mode)
{
	return creat(path, mode);
}

/* Of _FORTIFY_SOURCE. */
INTERPOSED int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

INTERPOSED int __open64_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags | O_LARGEFILE, 0);
}

INTERPOSED int __openat_2(int dir, const char *path, int flags)
{
	return open_any(dir, path, flags, 0);
}

INTERPOSED int __openat64_2(int dir, const char *path, int flags)
{
	return open_any(dir, path, flags | O_LARGEFILE, 0);
}

/* stdio reads and writes past this library: what it opens finds what was stored up to then, or is cut here. */
static void prepare_stream(const char *path, const char *mode)
{
	int saved_errno = errno, fd;
	struct stat st;

	if (!files_any() || !path || stat(path, &st) < 0 || !files_has(&st))
		return;
	fd = kernel_open(path, *mode == 'w' ? O_WRONLY | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0 && *mode == 'w')
		(void)quire_ftruncate(fd, 0);
	else if (fd >= 0)
		(void)coherent_flush(fd, 0, 0);
	if (fd >= 0)
		locks_close(fd);
	errno = saved_errno;
}

static FILE *streamed(FILE *file)
{
	if (file)
		files_forget(fileno(file));
	return file;
}

INTERPOSED FILE *fopen(const char *path, const char *mode)
{
	prepare_stream(path, mode);
	return streamed(NEXT(fopen)(path, mode));
}

INTERPOSED FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

INTERPOSED FILE *fdopen(int fd, const char *mode)
{
	if (files_is_mapped(fd))
		(void)coherent_flush(fd, 0, 0);
	return NEXT(fdopen)(fd, mode);
}

/* What a stream has written is in the file after fflush and fclose: pages that were in memory before give way to it. */
static int with_pages(FILE *file, int (*call)(FILE *), int fd)
{
	int r, saved_errno, copy;

	(void)coherent_flush(fd, 0, 0);
	copy = NEXT(fcntl)(fd, F_DUPFD_CLOEXEC, 0);
	r = call(file);
	saved_errno = errno;
	if (copy >= 0) {
		(void)coherent_changed(copy, 0, 0);
		locks_close(copy);
	}
	errno = saved_errno;
	return r;
}

static bool is_written(FILE *file)
{
	return files_any() && file && (NEXT(fcntl)(fileno(file), F_GETFL) & O_ACCMODE) != O_RDONLY && files_is_mapped(fileno(file));
}

/* Of all streams: which files they are of is not known. */
static int with_all_pages(int (*call)(void))
{
	int r, saved_errno;

	if (!files_any())
		return call();
	(void)coherent_flush_all();
	r = call();
	saved_errno = errno;
	(void)coherent_changed_all();
	errno = saved_errno;
	return r;
}

static int flush_all(void)
{
	return NEXT(fflush)(NULL);
}

INTERPOSED int fflush(FILE *file)
{
	if (!file)
		return with_all_pages(flush_all);
	return is_written(file) ? with_pages(file, NEXT(fflush), fileno(file)) : NEXT(fflush)(file);
}

INTERPOSED int fflush_unlocked(FILE *file)
{
	if (!file)
		return with_all_pages(flush_all);
	return is_written(file) ? with_pages(file, NEXT(fflush_unlocked), fileno(file)) : NEXT(fflush_unlocked)(file);
}

INTERPOSED int fcloseall(void)
{
	return with_all_pages(NEXT(fcloseall));
}

/* What the stream has written before is seen, and what it is to be about is prepared: without a path, the same file. */
INTERPOSED FILE *freopen(const char *path, const char *mode, FILE *file)
{
	char same[64];

	if (files_any() && file) {
		if (is_written(file))
			(void)fflush(file);
		locks_lose(fileno(file));
		snprintf(same, sizeof(same), "/proc/self/fd/%d", fileno(file));
		prepare_stream(path ? path : same, mode);
	}
	return streamed(NEXT(freopen)(path, mode, file));
}

INTERPOSED FILE *freopen64(const char *path, const char *mode, FILE *file) __attribute__((alias("freopen")));

INTERPOSED int fclose(FILE *file)
{
	bool written = is_written(file);

	if (file && locks_files)
		locks_lose(fileno(file));
	return written ? with_pages(file, NEXT(fclose), fileno(file)) : NEXT(fclose)(file);
}

/* ---- copies ---- */

static bool refuse_own(int fd)
{
	if (!kernel_is_own(fd))
		return false;
	errno = EBADF;
	return true;
}

INTERPOSED int dup(int fd)
{
	return refuse_own(fd) ? -1 : opened(NEXT(dup)(fd));
}

INTERPOSED int dup2(int from, int to)
{
	if (refuse_own(from) || refuse_own(to))
		return -1;
	if (from != to)
		locks_lose(to);
	return opened(NEXT(dup2)(from, to));
}

INTERPOSED int dup3(int from, int to, int flags)
{
	if (refuse_own(from) || refuse_own(to))
		return -1;
	locks_lose(to);
	return opened(NEXT(dup3)(from, to, flags));
}

/* ---- closing ---- */

INTERPOSED int close(int fd)
{
	if (refuse_own(fd))
		return -1;
	locks_lose(fd);
	files_forget(fd);
	return NEXT(close)(fd);
}

INTERPOSED int close_range(unsigned first, unsigned last, int flags)
{
	int own;

	for (; first <= last && first <= INT_MAX && (own = kernel_next_own((int)first)) >= 0 && (unsigned)own <= last;
	     first = (unsigned)own + 1)
		if ((unsigned)own > first && NEXT(close_range)(first, (unsigned)own - 1, flags) < 0)
			return -1;
	files_forget_all();
	return first <= last ? NEXT(close_range)(first, last, flags) : 0;
}

INTERPOSED void closefrom(int lowest)
{
	close_range(lowest > 0 ? (unsigned)lowest : 0, UINT_MAX, 0);
}

/* ---- locks between processes ---- */

/* Of the process, which any close takes. */
static bool is_record_lock(int command)
{
	return command == F_SETLK || command == F_SETLKW;
}

static bool is_lock(int command)
{
	return is_record_lock(command) || command == F_OFD_SETLK || command == F_OFD_SETLKW;
}

static bool is_of_all(const struct flock *lock)
{
	return lock->l_whence == SEEK_SET && lock->l_start == 0 && lock->l_len == 0;
}

static void before_unlock(int fd)
{
	int saved_errno = errno;

	if (files_is_mapped(fd))
		(void)coherent_flush(fd, 0, 0);
	errno = saved_errno;
}

static void after_lock(void)
{
	int saved_errno = errno;

	coherent_look();
	errno = saved_errno;
}

static int control(int fd, int command, long arg)
{
	const struct flock *lock = (const struct flock *)arg;
	bool locks = is_lock(command) && files_any();
	int r;

	if (refuse_own(fd))
		return -1;
	if (locks && lock->l_type != F_WRLCK)
		before_unlock(fd);
	r = NEXT(fcntl)(fd, command, arg);
	if (r >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
		return opened(r);
	if (r == 0 && is_record_lock(command) && lock->l_type != F_UNLCK)
		locks_note(fd);
	if (r == 0 && is_record_lock(command) && lock->l_type == F_UNLCK && is_of_all(lock))
		locks_lose(fd);
	if (locks && r == 0 && lock->l_type != F_UNLCK)
		after_lock();
	return r;
}

INTERPOSED READS_ALL int fcntl(int fd, int command, ...)
{
	va_list list;
	long arg;

	va_start(list, command);
	arg = va_arg(list, long);
	va_end(list);
	return control(fd, command, arg);
}

INTERPOSED int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

INTERPOSED int flock(int fd, int operation)
{
	int r;

	if (files_any() && (operation & LOCK_UN))
		before_unlock(fd);
	r = NEXT(flock)(fd, operation);
	if (files_any() && r == 0 && !(operation & LOCK_UN))
		after_lock();
	return r;
}

INTERPOSED int lockf(int fd, int command, off_t len)
{
	int r;

	if (files_any() && command == F_ULOCK)
		before_unlock(fd);
	r = NEXT(lockf)(fd, command, len);
	if (r == 0 && (command == F_LOCK || command == F_TLOCK))
		locks_note(fd);
	if (files_any() && r == 0 && (command == F_LOCK || command == F_TLOCK))
		after_lock();
	return r;
}

INTERPOSED int lockf64(int fd, int command, off_t len) __attribute__((alias("lockf")));
