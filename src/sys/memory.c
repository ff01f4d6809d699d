/* SPDX-License-Identifier: MIT */
/*
 * memory.c - what only a process itself can do with its mappings
 */
#include "sys/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/bare.h"
#include "sys/place.h"

#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD (-10000) /* 6.14 */
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* 5.18 */
#endif

static int drop(char *addr, size_t len)
{
	int advice = MADV_DONTNEED;

	while (madvise(addr, len, advice) < 0) {
		if (errno == EINVAL && advice == MADV_DONTNEED)
			advice = MADV_DONTNEED_LOCKED;
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

/* Kernels that cannot do it to oneself, or have no such descriptor, say so, and then it is done one by one. */
int memory_drop(const struct iovec *pieces, unsigned n)
{
	long r = n > 1 ? BARE(SYS_process_madvise, PIDFD_SELF_THREAD, pieces, n, MADV_DONTNEED, 0) : 0;
	size_t done = r > 0 ? (size_t)r : 0;

	for (unsigned i = 0; i < n; i++) {
		size_t part = done < pieces[i].iov_len ? done : pieces[i].iov_len;
		int err = part < pieces[i].iov_len ? drop((char *)pieces[i].iov_base + part, pieces[i].iov_len - part) : 0;

		if (err < 0)
			return err;
		done -= part;
	}
	return 0;
}

static long map(const struct memory_op *op)
{
	void *addr = place_map(op->addr, op->len, op->arg, op->flags, op->fd, op->offset);
	int r = addr == MAP_FAILED ? -errno : 0;

	if (r < 0)
		return r;
	if (op->ours && (madvise(addr, op->len, MADV_DONTFORK) < 0 || munlock(addr, op->len) < 0))
		r = -errno;
	if (r == 0 && op->nodump && madvise(addr, op->len, MADV_DONTDUMP) < 0)
		r = -errno;
	if (r == 0)
		return (long)(intptr_t)addr;
	munmap(addr, op->len);
	return r;
}

long memory_do(const struct memory_op *op)
{
	void *addr;

	switch (op->kind) {
	case MEMORY_MAP:
		return map(op);
	case MEMORY_UNMAP:
		return munmap(op->addr, op->len) < 0 ? -errno : 0;
	case MEMORY_PROTECT:
		return mprotect(op->addr, op->len, op->arg) < 0 ? -errno : 0;
	case MEMORY_MOVE:
		addr = mremap(op->addr, op->len, op->to_len, op->flags, op->to);
		return addr == MAP_FAILED ? -errno : (long)(intptr_t)addr;
	case MEMORY_ADVISE:
		return madvise(op->addr, op->len, op->arg) < 0 ? -errno : 0;
	case MEMORY_DROP:
		return drop(op->addr, op->len);
	}
	return -EINVAL;
}

/* Through the process's memory as a file, which reads pages of any protection. Opened for each call: rare, and nothing to inherit or close. */
static int read_by_file(const void *addr, size_t len, char *ret)
{
	int fd = open("/proc/thread-self/mem", O_RDONLY | O_CLOEXEC);
	size_t done = 0;
	int r = 0;

	if (fd < 0)
		return -errno;
	while (done < len && r == 0) {
		ssize_t n = pread(fd, ret + done, len - done, (off_t)((uintptr_t)addr + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			r = n == 0 ? -EIO : -errno;
	}
	close(fd);
	return r;
}

int memory_read(const void *addr, size_t len, void *ret)
{
	struct iovec local = {ret, len}, remote = {(void *)(uintptr_t)addr, len};

	/* By this thread's number: the process's is its first thread's, which has no memory any more when it has left. */
	if (process_vm_readv((pid_t)syscall(SYS_gettid), &local, 1, &remote, 1, 0) == (ssize_t)len)
		return 0;
	return read_by_file(addr, len, ret);
}
