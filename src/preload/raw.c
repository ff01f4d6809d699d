/* SPDX-License-Identifier: MIT */
/*
 * raw.c - syscall(), in front of the C library's: by it some programs make calls that are interposed under their names
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "files.h"
#include "memory.h"
#include "next.h"

#define POINTER(i) ((void *)arg[i])
#define INT(i)     ((int)arg[i])

/* False: not one of them. */
static bool known(long number, const long *arg, long *ret)
{
	switch (number) {
	case SYS_mmap:
		*ret = (long)memory_mmap(POINTER(0), (size_t)arg[1], INT(2), INT(3), INT(4), arg[5]);
		return true;
	case SYS_mremap:
		*ret = (long)memory_mremap(POINTER(0), (size_t)arg[1], (size_t)arg[2], INT(3), POINTER(4));
		return true;
#define CASE(name, ...)                                                                                                            \
	case SYS_##name:                                                                                                           \
		*ret = name(__VA_ARGS__);                                                                                          \
		return true
		CASE(munmap, POINTER(0), (size_t)arg[1]);
		CASE(mprotect, POINTER(0), (size_t)arg[1], INT(2));
		CASE(msync, POINTER(0), (size_t)arg[1], INT(2));
		CASE(madvise, POINTER(0), (size_t)arg[1], INT(2));
		CASE(mincore, POINTER(0), (size_t)arg[1], POINTER(2));
		CASE(mlock, POINTER(0), (size_t)arg[1]);
		CASE(mlock2, POINTER(0), (size_t)arg[1], (unsigned)arg[2]);
		CASE(munlock, POINTER(0), (size_t)arg[1]);
		CASE(mlockall, INT(0));
		CASE(munlockall);
		CASE(read, INT(0), POINTER(1), (size_t)arg[2]);
		CASE(write, INT(0), POINTER(1), (size_t)arg[2]);
		CASE(readv, INT(0), POINTER(1), INT(2));
		CASE(writev, INT(0), POINTER(1), INT(2));
		CASE(ftruncate, INT(0), arg[1]);
		CASE(truncate, POINTER(0), arg[1]);
		CASE(fallocate, INT(0), INT(1), arg[2], arg[3]);
		CASE(fsync, INT(0));
		CASE(fdatasync, INT(0));
		CASE(copy_file_range, INT(0), POINTER(1), INT(2), POINTER(3), (size_t)arg[4], (unsigned)arg[5]);
		CASE(close, INT(0));
		CASE(close_range, (unsigned)arg[0], (unsigned)arg[1], INT(2));
		CASE(dup, INT(0));
		CASE(dup3, INT(0), INT(1), INT(2));
#undef CASE
	case SYS_pread64:
		*ret = pread(INT(0), POINTER(1), (size_t)arg[2], arg[3]);
		return true;
	case SYS_pwrite64:
		*ret = pwrite(INT(0), POINTER(1), (size_t)arg[2], arg[3]);
		return true;
	default:
		return false;
	}
}

INTERPOSED long syscall(long number, ...)
{
	long arg[6], r;
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	if (known(number, arg, &r))
		return r;
	r = NEXT(syscall)(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	/* It may be a descriptor. */
	if (r >= 0 && r < FILES_DESCRIPTORS && files_any())
		files_forget((int)r);
	return r;
}
