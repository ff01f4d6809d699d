/* SPDX-License-Identifier: MIT */
/*
 * huge.c - memory of hugetlb: pages of a size of their own, from a pool that the administrator has set aside
 */
#include "sys/huge.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3 */
#endif

size_t huge_bytes_of_file(const struct statfs *fs)
{
	return fs->f_type == HUGETLBFS_MAGIC ? (size_t)fs->f_bsize : 0;
}

/* Asked of an empty file, which takes nothing from the pool. */
size_t huge_bytes_of_flags(unsigned flags)
{
	unsigned memfd_flags = MFD_CLOEXEC | MFD_HUGETLB | (flags & HUGE_SHIFT_MASK);
	int fd = memfd_create("quire-huge", memfd_flags | MFD_NOEXEC_SEAL);
	struct statfs fs;
	size_t bytes;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("quire-huge", memfd_flags);
	if (fd < 0)
		return 0;
	bytes = fstatfs(fd, &fs) == 0 ? huge_bytes_of_file(&fs) : 0;
	close(fd);
	return bytes;
}
