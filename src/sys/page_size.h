/* SPDX-License-Identifier: MIT */
/*
 * page_size.h - the size of a page, asked once
 */
#ifndef QUIRE_SYS_PAGE_SIZE_H
#define QUIRE_SYS_PAGE_SIZE_H

#include <stddef.h>
#include <stdint.h>

extern size_t page_bytes; /* read-only after start */
extern unsigned page_shift;

/* As many zeros as the largest page there is has bytes. */
extern const char page_of_zeros[65536];

static inline size_t page_size(void)
{
	return page_bytes;
}

/* Bytes rounded up to whole pages, as a number of pages. No overflow for any argument. */
static inline uint64_t pages_of(uint64_t bytes)
{
	return (bytes >> page_shift) + ((bytes & (page_bytes - 1)) != 0);
}

#endif
