/* SPDX-License-Identifier: MIT */
/*
 * uffd.c - userfaultfd: what the kernel is asked to catch, and how pages are put in place
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/identity.h"
#include "sys/page_size.h"
#include "sys/uffd.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00) /* 6.1 */
#endif
#define CONTINUE_MODE_WP (1ull << 1) /* 6.4 */

struct poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#ifndef UFFDIO_POISON
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct poison) /* 6.6 */
#endif

static int open_source(enum uffd_source source)
{
	int flags = O_CLOEXEC | O_NONBLOCK;
	int device, fd;

	switch (source) {
	case UFFD_SYSCALL:
		fd = (int)syscall(SYS_userfaultfd, flags);
		return fd < 0 ? -errno : fd;
	case UFFD_USER_ONLY:
		fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
		return fd < 0 ? -errno : fd;
	case UFFD_DEVICE:
		device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (device < 0)
			return -errno;
		fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
		if (fd < 0)
			fd = -errno;
		close(device);
		return fd;
	case UFFD_NONE:
		break;
	}
	return -ENOSYS;
}

int uffd_probe(enum uffd_source source, uint64_t *ret_features)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = open_source(source);
	int r = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		r = -errno;
	close(fd);
	if (r == 0)
		*ret_features = api.features;
	return r;
}

enum uffd_source uffd_find(bool user_only)
{
	uint64_t features;

	if (!user_only && uffd_probe(UFFD_SYSCALL, &features) == 0)
		return UFFD_SYSCALL;
	if (!user_only && uffd_probe(UFFD_DEVICE, &features) == 0)
		return UFFD_DEVICE;
	if (uffd_probe(UFFD_USER_ONLY, &features) == 0)
		return UFFD_USER_ONLY;
	return UFFD_NONE;
}

int uffd_open(enum uffd_source source, bool sigbus, bool wp_async, int *ret_fd)
{
	struct uffdio_api api = {
	    .api = UFFD_API,
	    .features = UFFD_FEATURE_MINOR_SHMEM | QUIRE_UFFD_WP_SHMEM | (sigbus ? UFFD_FEATURE_SIGBUS : 0) |
			(wp_async ? QUIRE_UFFD_WP_ASYNC : 0),
	};
	int fd = open_source(source);

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int uffd_register(int fd, void *addr, size_t len, bool minor, bool track)
{
	struct uffdio_register reg = {
	    .range = {(uintptr_t)addr, len},
	    .mode = UFFDIO_REGISTER_MODE_MISSING | (minor ? UFFDIO_REGISTER_MODE_MINOR : 0) | (track ? UFFDIO_REGISTER_MODE_WP : 0),
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

int uffd_unregister(int fd, void *addr, size_t len)
{
	struct uffdio_range range = {(uintptr_t)addr, len};

	return ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

static int continue_once(int fd, void *addr, size_t len, bool protect, size_t *ret_done)
{
	struct uffdio_continue arg = {
	    .range = {(uintptr_t)addr, len},
	    .mode = UFFDIO_CONTINUE_MODE_DONTWAKE | (protect ? CONTINUE_MODE_WP : 0),
	};
	int r = ioctl(fd, UFFDIO_CONTINUE, &arg) < 0 ? -errno : 0;

	*ret_done = arg.mapped > 0 ? (size_t)arg.mapped : 0;
	return *ret_done > 0 ? 0 : r;
}

int uffd_continue_some(int fd, void *addr, size_t len, bool protect)
{
	size_t done;
	int r = continue_once(fd, addr, len, protect, &done);

	return r == -EEXIST || r == -EAGAIN || r == -EINTR ? 0 : r;
}

int uffd_continue(int fd, void *addr, size_t len, bool protect)
{
	size_t done = 0;

	while (done < len) {
		size_t now;
		int r = continue_once(fd, (char *)addr + done, len - done, protect, &now);

		if (r == -EEXIST)
			now = page_size();
		else if (r < 0 && r != -EAGAIN && r != -EINTR)
			return r;
		done += now;
	}
	return 0;
}

int uffd_copy(int fd, void *addr, const void *source, size_t len, bool protect)
{
	size_t done = 0;

	while (done < len) {
		struct uffdio_copy arg = {
		    .dst = (uintptr_t)addr + done,
		    .src = (uintptr_t)source + done,
		    .len = len - done,
		    .mode = UFFDIO_COPY_MODE_DONTWAKE | (protect ? UFFDIO_COPY_MODE_WP : 0),
		};

		if (ioctl(fd, UFFDIO_COPY, &arg) == 0)
			return 0;
		if (arg.copy > 0)
			done += (size_t)arg.copy;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

static int set_protection(int fd, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect arg = {.range = {(uintptr_t)addr, len}, .mode = mode};

	while (ioctl(fd, UFFDIO_WRITEPROTECT, &arg) < 0)
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	return 0;
}

int uffd_protect(int fd, void *addr, size_t len)
{
	return set_protection(fd, addr, len, UFFDIO_WRITEPROTECT_MODE_WP);
}

int uffd_unprotect(int fd, void *addr, size_t len)
{
	return set_protection(fd, addr, len, UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
}

int uffd_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range range = {(uintptr_t)addr, len};

	return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

int uffd_poison(int fd, void *addr, size_t len)
{
	struct poison arg = {.range = {(uintptr_t)addr, len}};

	if (ioctl(fd, UFFDIO_POISON, &arg) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/*
 * Without waiting, whatever the description says: of another process's, that may change it, and may have read the message itself. Before
 * 6.10 the description has the last word.
 */
static ssize_t read_now(int fd, void *ret, size_t len)
{
	struct iovec into = {ret, len};
	ssize_t got = preadv2(fd, &into, 1, -1, RWF_NOWAIT);

	return got < 0 && errno == EOPNOTSUPP ? read(fd, ret, len) : got;
}

bool uffd_is(int fd)
{
	static const char name[] = "anon_inode:[userfaultfd]";
	char path[64], target[sizeof(name) + 1];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == (ssize_t)sizeof(name) - 1 && memcmp(target, name, sizeof(name) - 1) == 0;
}

int uffd_read(int fd, const struct identity *identity, struct uffd_event *ret, int max)
{
	struct uffd_msg messages[16];
	ssize_t got;
	int n = 0;

	if (max > 16)
		max = 16;
	if (identity && identity_check(fd, identity) < 0)
		return -EBADF;
	got = read_now(fd, messages, (size_t)max * sizeof(messages[0]));
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < (size_t)got / sizeof(messages[0]); i++) {
		if (messages[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		ret[n].addr = (uintptr_t)messages[i].arg.pagefault.address & ~(page_size() - 1);
		ret[n].write = messages[i].arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
		n++;
	}
	return n;
}
