/* SPDX-License-Identifier: MIT */
/*
 * frames.c - the frames of an object: a memfd, each frame at its page's own offset
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#ifndef MFD_EXEC
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3, as the next */
#define MFD_EXEC        0x0010U
#endif

int frames_check(const struct frames *frames)
{
	return identity_check(frames->fd, &frames->identity);
}

int frames_create(uint64_t pages, struct frames *ret)
{
	struct frames frames;
	int fd, r;

	if (fail_now(FAIL_ALLOC))
		return -ENOMEM;
	fd = memfd_create("quire", MFD_CLOEXEC | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("quire", MFD_CLOEXEC);
	/* Where vm.memfd_noexec is 2 none may be executable; mapping it so is another matter. */
	if (fd < 0 && errno == EACCES)
		fd = memfd_create("quire", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0)
		return -errno;
	/* Who has a descriptor for reading is not to open another for writing, through /proc. */
	frames.fd = fd;
	r = fchmod(fd, 0600) < 0 ? -errno : identity_get(fd, &frames.identity);
	if (r == 0)
		r = frames_resize(&frames, pages);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret = frames;
	return 0;
}

void frames_close(struct frames *frames)
{
	/* Children have the descriptor too. */
	(void)frames_resize(frames, 0);
	identity_close(frames->fd, &frames->identity);
	frames->fd = -1;
}

int frames_open_reader(int fd)
{
	char path[64];
	int reader;

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	return reader < 0 ? -errno : reader;
}

int frames_resize(const struct frames *frames, uint64_t pages)
{
	if (pages > (uint64_t)INT64_MAX / page_size())
		return -EFBIG;
	if (frames_check(frames) < 0)
		return -EBADF;
	return ftruncate(frames->fd, (off_t)(pages * page_size())) < 0 ? -errno : 0;
}

int frames_reach(const struct frames *frames, uint64_t pages)
{
	struct stat st;

	if (fstat(frames->fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size >> page_shift >= pages ? 0 : frames_resize(frames, pages);
}

int frames_write(const struct frames *frames, uint64_t first, size_t pages, const void *source)
{
	size_t len = pages * page_size(), done = 0;

	if (fail_now(FAIL_FRAME))
		return -ENOMEM;
	if (frames_check(frames) < 0)
		return -EBADF;
	while (done < len) {
		ssize_t n = pwrite(frames->fd, (const char *)source + done, len - done, (off_t)(first * page_size() + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return -ENOMEM;
		else if (errno != EINTR)
			return errno == ENOSPC ? -ENOMEM : -errno;
	}
	return 0;
}

int frames_read(const struct frames *frames, uint64_t first, size_t pages, void *ret)
{
	size_t len = pages * page_size(), done = 0;

	if (frames_check(frames) < 0)
		return -EBADF;
	while (done < len) {
		ssize_t n = pread(frames->fd, (char *)ret + done, len - done, (off_t)(first * page_size() + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return -EIO;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int frames_zero_tail(const struct frames *frames, uint64_t offset_bytes)
{
	static const char zeros[1024];
	uint64_t end = (offset_bytes + page_size() - 1) & ~(uint64_t)(page_size() - 1);

	if (offset_bytes < end && frames_check(frames) < 0)
		return -EBADF;
	while (offset_bytes < end) {
		size_t n = end - offset_bytes < sizeof(zeros) ? (size_t)(end - offset_bytes) : sizeof(zeros);
		ssize_t done = pwrite(frames->fd, zeros, n, (off_t)offset_bytes);

		if (done > 0)
			offset_bytes += (uint64_t)done;
		else if (done == 0 || errno != EINTR)
			return done == 0 ? -EIO : -errno;
	}
	return 0;
}

int frames_patch(const struct frames *frames, uint64_t offset_bytes, size_t len, const void *source)
{
	size_t done = 0;

	if (frames_check(frames) < 0)
		return -EBADF;
	while (done < len) {
		ssize_t n = pwrite(frames->fd, (const char *)source + done, len - done, (off_t)(offset_bytes + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return n == 0 ? -EIO : -errno;
	}
	return 0;
}

int frames_free(const struct frames *frames, uint64_t first, uint64_t pages)
{
	if (frames_check(frames) < 0)
		return -EBADF;
	while (fallocate(frames->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * page_size()),
			 (off_t)(pages * page_size())) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}
