/* SPDX-License-Identifier: MIT */
/*
 * frames.c - the frames of an object: a memfd, each frame at its page's own offset
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#ifndef MFD_EXEC
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3, as the next */
#define MFD_EXEC        0x0010U
#endif

#define PAGEMAP_PRESENT (1ull << 63)
#define CHECK_BYTES     ((size_t)4 << 20) /* has room for whatever size of a frame there may be */
#define CUT_PAGES       16

int frames_check(const struct frames *frames)
{
	return identity_check(frames->fd, &frames->identity);
}

/* ---- where they come from ---- */

static int set_option(int fs, const char *name, const char *value)
{
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, name, value, 0) < 0 ? -errno : 0;
}

/* A descriptor of the root of a tmpfs that is mounted nowhere, or -errno. It makes large frames where a mapping asks for them. */
static int mount_tmpfs(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mount = fs < 0 ? -errno : set_option(fs, "huge", "advise");

	/* Without limits of its own. */
	if (mount == 0)
		mount = set_option(fs, "size", "0");
	if (mount == 0)
		mount = set_option(fs, "nr_inodes", "0");
	if (mount == 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		mount = -errno;
	if (mount == 0)
		mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mount == -1)
		mount = -errno;
	if (fs >= 0)
		close(fs);
	return mount;
}

/* Whether there are as many frames as pages were written, and one goes without its neighbours' leaving their mappings. 0 or -errno. */
static int try_cut(const struct frames *frames, char *map, const char *bytes)
{
	uint64_t entry = 0;
	struct stat st;
	int fd, r = frames_write(frames, 0, CUT_PAGES, bytes);

	for (size_t i = 0; i < CUT_PAGES && r == 0; i++)
		*(volatile char *)(map + i * page_size());
	if (r == 0)
		r = frames_free(frames, 1, 1);
	if (r == 0 && fstat(frames->fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return r;
	if ((uint64_t)st.st_blocks * 512 > (CUT_PAGES - 1) * page_size())
		return -EOPNOTSUPP;
	fd = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
	/* Who cannot ask has no stores tracked either (pagemap.h). */
	if (fd >= 0 && pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)map / page_size() * sizeof(entry))) == sizeof(entry) &&
	    !(entry & PAGEMAP_PRESENT))
		r = -EOPNOTSUPP;
	if (fd >= 0)
		close(fd);
	return r;
}

/* Asked of the kernel and not of its settings, whose meaning differs between versions. 0 or -errno. */
static int try_frames(const struct frames_source *source)
{
	size_t cut = CUT_PAGES * page_size();
	struct frames frames;
	char *map, *bytes;
	int r = frames_create(source, CHECK_BYTES >> page_shift, &frames);

	if (r < 0)
		return r;
	map = mmap(NULL, cut, PROT_READ | PROT_WRITE, MAP_SHARED, frames.fd, 0);
	bytes = mmap(NULL, cut, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r = map == MAP_FAILED || bytes == MAP_FAILED ? -ENOMEM : try_cut(&frames, map, bytes);
	if (map != MAP_FAILED)
		munmap(map, cut);
	if (bytes != MAP_FAILED)
		munmap(bytes, cut);
	frames_close(&frames);
	return r;
}

int frames_source_open(bool privileged, bool large, struct frames_source *ret)
{
	struct frames_source source = {.mount = privileged ? mount_tmpfs() : -1, .large = large};
	int r;

	if (source.mount < 0 || identity_get(source.mount, &source.identity) < 0) {
		frames_source_close(&source);
		source = (struct frames_source){.mount = -1};
	}
	r = try_frames(&source);
	if (r < 0)
		frames_source_close(&source);
	else
		*ret = source;
	return r;
}

void frames_source_close(struct frames_source *source)
{
	if (source->mount >= 0)
		identity_close(source->mount, &source->identity);
	source->mount = -1;
}

static int new_memfd(void)
{
	int fd = memfd_create("quire", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("quire", MFD_CLOEXEC);
	/* Where vm.memfd_noexec is 2 none may be executable; mapping it so is another matter. */
	if (fd < 0 && errno == EACCES)
		fd = memfd_create("quire", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	return fd < 0 ? -errno : fd;
}

static int new_file(int mount)
{
	int fd = (int)syscall(SYS_openat, mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

/*
 * The program may have closed the mount, with all that it does not know: then of another; and where it has given the privilege away since, a memfd,
 * if these are as they should be.
 */
static int new_file_without(bool *ret_large)
{
	static const struct frames_source plain = {.mount = -1};
	int mount = mount_tmpfs(), r;

	if (mount >= 0) {
		r = new_file(mount);
		close(mount);
		return r;
	}
	*ret_large = false;
	r = try_frames(&plain);
	return r < 0 ? r : new_memfd();
}

static int resize(int fd, uint64_t pages)
{
	if (pages > (uint64_t)INT64_MAX / page_size())
		return -EFBIG;
	return ftruncate(fd, (off_t)(pages * page_size())) < 0 ? -errno : 0;
}

int frames_create(const struct frames_source *source, uint64_t pages, struct frames *ret)
{
	bool mounted = source && source->mount >= 0;
	struct frames frames = {.large = mounted && source->large};
	struct stat st = {0};
	int fd, r = 0;

	if (fail_now(FAIL_ALLOC))
		return -ENOMEM;
	if (!mounted)
		fd = new_memfd();
	else if (identity_check(source->mount, &source->identity) == 0)
		fd = new_file(source->mount);
	else
		fd = new_file_without(&frames.large);
	if (fd < 0)
		return fd;
	/* Who has a descriptor for reading is not to open another for writing, through /proc. */
	if (fstat(fd, &st) < 0 || ((st.st_mode & 07777) != 0600 && fchmod(fd, 0600) < 0))
		r = -errno;
	frames.fd = fd;
	frames.identity = (struct identity){st.st_dev, st.st_ino};
	if (r == 0)
		r = resize(fd, pages);
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
	if (frames_check(frames) == 0) {
		(void)resize(frames->fd, 0);
		(void)syscall(SYS_close, frames->fd);
	}
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
	return frames_check(frames) < 0 ? -EBADF : resize(frames->fd, pages);
}

int frames_reach(const struct frames *frames, uint64_t pages)
{
	struct stat st;

	if (identity_stat(frames->fd, &frames->identity, &st) < 0)
		return -EBADF;
	return (uint64_t)st.st_size >> page_shift >= pages ? 0 : resize(frames->fd, pages);
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
