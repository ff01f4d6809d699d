/* SPDX-License-Identifier: MIT */
/*
 * page_size.c - the size of a page, asked once
 */
#include <unistd.h>

#include "sys/page_size.h"

size_t page_bytes = 4096;
unsigned page_shift = 12;
const char page_of_zeros[65536] __attribute__((aligned(65536)));

/* Before anything else of the library, and of programs that link it statically. */
__attribute__((constructor(101))) static void page_size_ask(void)
{
	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	page_shift = (unsigned)__builtin_ctzl(page_bytes);
}
