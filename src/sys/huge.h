/* SPDX-License-Identifier: MIT */
/*
 * huge.h - memory of hugetlb: pages of a size of their own, from a pool that the administrator has set aside
 */
#ifndef QUIRE_SYS_HUGE_H
#define QUIRE_SYS_HUGE_H

#include <stddef.h>
#include <sys/vfs.h>

#define HUGE_SHIFT_BIT  26 /* MAP_HUGE_SHIFT: where the flags of mmap hold the logarithm of the size; 0 there: the default size */
#define HUGE_SHIFT_MASK (63u << HUGE_SHIFT_BIT)

/* The size of the pages that MAP_HUGETLB with these flags of mmap asks for. 0: this kernel has none of that size. */
size_t huge_bytes_of_flags(unsigned flags);
/* The same of flags that hold it. */
static inline size_t huge_bytes(unsigned flags)
{
	return (size_t)1 << (flags >> HUGE_SHIFT_BIT & 63);
}

/* The size of the pages of a file on hugetlbfs, by what fstatfs says of it. 0: it is none. */
size_t huge_bytes_of_file(const struct statfs *fs);

#endif
