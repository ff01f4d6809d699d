/* SPDX-License-Identifier: MIT */
/*
 * next.c - the C library's functions
 */
#include "next.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>

struct next next;

void next_find(void)
{
	int saved_errno = errno;

#define NEXT_FIND(name) next.name##_ = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name);
	NEXT_FUNCTIONS(NEXT_FIND)
#undef NEXT_FIND
	errno = saved_errno;
}
