/* SPDX-License-Identifier: MIT */
/*
 * raw.c - syscall(), in front of the C library's: by it some programs make calls that are interposed under their names
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "files.h"
#include "memory.h"
#include "next.h"
#include "sys/keeper.h"

#define POINTER(i) ((void *)arg[i])
#define INT(i)     ((int)arg[i])

/* False: not one of them. */
static bool serve(long number, const long *arg, long *ret)
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
	case SYS_exit:
		/* Of the last thread of the program: those of the engine would keep the process. */
		if (!keeper_is_alone())
			return false;
		_exit(INT(0));
	case SYS_exit_group:
		_exit(INT(0));
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

/* Makes a descriptor that may be of a mapped file. */
static bool gives_descriptor(long number)
{
	switch (number) {
#ifdef SYS_open
	case SYS_open:
	case SYS_creat:
	case SYS_dup2:
#endif
	case SYS_openat:
	case SYS_openat2:
	case SYS_open_by_handle_at:
	case SYS_fcntl:
	case SYS_pidfd_getfd:
		return true;
	default:
		return false;
	}
}

/* The rest of syscall(), for what is looked at here. */
long raw_serve(long number, ...);
long raw_serve(long number, ...)
{
	long arg[6], r;
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	if (serve(number, arg, &r))
		return r;
	r = NEXT(syscall)(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	if (r >= 0 && r < FILES_DESCRIPTORS && gives_descriptor(number))
		files_forget((int)r);
	return r;
}

/* Whether a call is looked at here; the C library's is found, for it if it is not. */
bool raw_is_ours(long number);
long (*raw_next)(long number, ...);
bool raw_is_ours(long number)
{
	static const long numbers[] = {
	    SYS_mmap,      SYS_mremap, SYS_munmap,    SYS_mprotect,        SYS_msync,     SYS_madvise,
	    SYS_mincore,   SYS_mlock,  SYS_mlock2,    SYS_munlock,         SYS_mlockall,  SYS_munlockall,
	    SYS_read,      SYS_write,  SYS_readv,     SYS_writev,          SYS_ftruncate, SYS_truncate,
	    SYS_fallocate, SYS_fsync,  SYS_fdatasync, SYS_copy_file_range, SYS_close,     SYS_close_range,
	    SYS_dup,       SYS_dup3,   SYS_pread64,   SYS_pwrite64,        SYS_exit,      SYS_exit_group,
	};

	raw_next = NEXT(syscall);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i] == number)
			return true;
	return gives_descriptor(number);
}

/*
 * What is not looked at goes on as if it had been called directly: a call may return twice (clone), or on another stack, and there must be no
 * frame of ours then.
 */
#if defined(__x86_64__)
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	endbr64\n"
	"	pushq %rdi\n"
	"	pushq %rsi\n"
	"	pushq %rdx\n"
	"	pushq %rcx\n"
	"	pushq %r8\n"
	"	pushq %r9\n"
	"	subq $8, %rsp\n"
	"	call raw_is_ours\n"
	"	addq $8, %rsp\n"
	"	popq %r9\n"
	"	popq %r8\n"
	"	popq %rcx\n"
	"	popq %rdx\n"
	"	popq %rsi\n"
	"	popq %rdi\n"
	"	testb %al, %al\n"
	"	movl $0, %eax\n"
	"	jnz raw_serve\n"
	"	jmpq *raw_next(%rip)\n"
	".size syscall, . - syscall\n");
#else
INTERPOSED long syscall(long number, ...)
{
	long arg[6];
	va_list list;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	return raw_is_ours(number) ? raw_serve(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5])
				   : raw_next(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
#endif
