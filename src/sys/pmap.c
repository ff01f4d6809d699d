/* SPDX-License-Identifier: MIT */
/*
 * pmap.c - the kernel's page tables of one process, as far as we steer them
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sys/page_size.h"
#include "sys/pmap.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* 5.18 */
#endif

int pmap_create(enum uffd_source source, bool sigbus, bool allow_tracking, struct pmap *ret)
{
	struct pmap pmap = {.source = source, .sigbus = sigbus, .pagemap = -1};
	uint64_t features;
	int r;

	r = uffd_probe(source, &features);
	if (r < 0)
		return r;
	if (allow_tracking && (features & QUIRE_UFFD_WP_ASYNC) && pagemap_open(&pmap.pagemap) == 0)
		pmap.tracks = true;
	r = uffd_open(source, sigbus, false, &pmap.private_uffd);
	if (r < 0)
		goto no_private;
	pmap.shared_uffd = pmap.private_uffd;
	if (pmap.tracks) {
		r = uffd_open(source, sigbus, true, &pmap.shared_uffd);
		if (r < 0)
			goto no_shared;
	}
	*ret = pmap;
	return 0;

no_shared:
	close(pmap.private_uffd);
no_private:
	if (pmap.pagemap >= 0)
		close(pmap.pagemap);
	return r;
}

void pmap_destroy(struct pmap *pmap)
{
	if (pmap->shared_uffd != pmap->private_uffd)
		close(pmap->shared_uffd);
	close(pmap->private_uffd);
	if (pmap->pagemap >= 0)
		close(pmap->pagemap);
}

static int uffd_of(struct pmap *pmap, bool shared)
{
	return shared ? pmap->shared_uffd : pmap->private_uffd;
}

int pmap_register(struct pmap *pmap, void *addr, size_t len, bool shared, bool file)
{
	return uffd_register(uffd_of(pmap, shared), addr, len, file, true);
}

int pmap_enter(struct pmap *pmap, void *addr, size_t pages, bool shared)
{
	return uffd_continue(uffd_of(pmap, shared), addr, pages << page_shift, true);
}

int pmap_enter_private(struct pmap *pmap, void *addr, const void *source, size_t pages)
{
	return uffd_copy(pmap->private_uffd, addr, source, pages << page_shift, false);
}

int pmap_enter_fresh(struct pmap *pmap, void *addr, const void *source)
{
	return uffd_copy(pmap->shared_uffd, addr, source, page_size(), true);
}

int pmap_remove(void *addr, size_t pages)
{
	int advice = MADV_DONTNEED;

	while (madvise(addr, pages << page_shift, advice) < 0) {
		if (errno == EINVAL && advice == MADV_DONTNEED)
			advice = MADV_DONTNEED_LOCKED; /* the program has called the kernel's own mlockall */
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

int pmap_protect(struct pmap *pmap, void *addr, size_t pages, bool shared)
{
	return uffd_protect(uffd_of(pmap, shared), addr, pages << page_shift);
}

int pmap_unprotect(struct pmap *pmap, void *addr, size_t pages, bool shared)
{
	return uffd_unprotect(uffd_of(pmap, shared), addr, pages << page_shift);
}

/* Through the process's memory as a file, which reads pages of any protection. Opened for each call: rare, and nothing to inherit or close. */
static int copy_out_by_file(const void *addr, size_t len, char *ret)
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

int pmap_copy_out(const void *addr, size_t pages, void *ret)
{
	size_t len = pages << page_shift;
	struct iovec local = {ret, len}, remote = {(void *)(uintptr_t)addr, len};

	/* By this thread's number: the process's is its first thread's, which has no memory any more when it has left. */
	if (process_vm_readv((pid_t)syscall(SYS_gettid), &local, 1, &remote, 1, 0) == (ssize_t)len)
		return 0;
	return copy_out_by_file(addr, len, ret);
}

int pmap_refuse(struct pmap *pmap, void *addr, bool shared)
{
	/* A page that was dropped may have left its mark of protection, over which nothing else is laid. */
	int r = uffd_unprotect(uffd_of(pmap, shared), addr, page_size());

	return r < 0 ? r : uffd_poison(uffd_of(pmap, shared), addr, page_size());
}

void pmap_wake(struct pmap *pmap, void *addr, size_t pages, bool shared)
{
	if (!pmap->sigbus)
		uffd_wake(uffd_of(pmap, shared), addr, pages << page_shift);
}
