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

/*
 * The linker takes what is called by these names, elsewhere than where it is defined, for calls of the engine's (kernel.c): this is what the program
 * would have called.
 */
#define OURS(name) __real_##name
__typeof__(munmap) OURS(munmap);
__typeof__(mprotect) OURS(mprotect);
__typeof__(msync) OURS(msync);
__typeof__(madvise) OURS(madvise);
__typeof__(mincore) OURS(mincore);
__typeof__(mlock) OURS(mlock);
__typeof__(mlock2) OURS(mlock2);
__typeof__(munlock) OURS(munlock);
__typeof__(mlockall) OURS(mlockall);
__typeof__(munlockall) OURS(munlockall);
__typeof__(read) OURS(read);
__typeof__(write) OURS(write);
__typeof__(fsync) OURS(fsync);
__typeof__(fdatasync) OURS(fdatasync);
__typeof__(close) OURS(close);
__typeof__(dup) OURS(dup);
__typeof__(dup3) OURS(dup3);

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
#define CASE_OURS(name, ...)                                                                                                       \
	case SYS_##name:                                                                                                           \
		*ret = OURS(name)(__VA_ARGS__);                                                                                    \
		return true
		CASE_OURS(munmap, POINTER(0), (size_t)arg[1]);
		CASE_OURS(mprotect, POINTER(0), (size_t)arg[1], INT(2));
		CASE_OURS(msync, POINTER(0), (size_t)arg[1], INT(2));
		CASE_OURS(madvise, POINTER(0), (size_t)arg[1], INT(2));
		CASE_OURS(mincore, POINTER(0), (size_t)arg[1], POINTER(2));
		CASE_OURS(mlock, POINTER(0), (size_t)arg[1]);
		CASE_OURS(mlock2, POINTER(0), (size_t)arg[1], (unsigned)arg[2]);
		CASE_OURS(munlock, POINTER(0), (size_t)arg[1]);
		CASE_OURS(mlockall, INT(0));
		CASE_OURS(munlockall);
		CASE_OURS(read, INT(0), POINTER(1), (size_t)arg[2]);
		CASE_OURS(write, INT(0), POINTER(1), (size_t)arg[2]);
		CASE(readv, INT(0), POINTER(1), INT(2));
		CASE(writev, INT(0), POINTER(1), INT(2));
		CASE(preadv, INT(0), POINTER(1), INT(2), arg[3]);
		CASE(pwritev, INT(0), POINTER(1), INT(2), arg[3]);
		CASE(preadv2, INT(0), POINTER(1), INT(2), arg[3], INT(5));
		CASE(pwritev2, INT(0), POINTER(1), INT(2), arg[3], INT(5));
		CASE(sendfile, INT(0), INT(1), POINTER(2), (size_t)arg[3]);
		CASE(splice, INT(0), POINTER(1), INT(2), POINTER(3), (size_t)arg[4], (unsigned)arg[5]);
		CASE(vmsplice, INT(0), POINTER(1), (size_t)arg[2], (unsigned)arg[3]);
		CASE(ftruncate, INT(0), arg[1]);
		CASE(truncate, POINTER(0), arg[1]);
		CASE(fallocate, INT(0), INT(1), arg[2], arg[3]);
		CASE_OURS(fsync, INT(0));
		CASE_OURS(fdatasync, INT(0));
		CASE(copy_file_range, INT(0), POINTER(1), INT(2), POINTER(3), (size_t)arg[4], (unsigned)arg[5]);
		CASE_OURS(close, INT(0));
		CASE(close_range, (unsigned)arg[0], (unsigned)arg[1], INT(2));
		CASE_OURS(dup, INT(0));
		CASE_OURS(dup3, INT(0), INT(1), INT(2));
#ifdef SYS_open
		CASE(open, POINTER(0), INT(1), (mode_t)arg[2]);
		CASE(creat, POINTER(0), (mode_t)arg[1]);
		CASE(dup2, INT(0), INT(1));
#endif
		CASE(openat, INT(0), POINTER(1), INT(2), (mode_t)arg[3]);
		CASE(fcntl, INT(0), INT(1), arg[2]);
		CASE(flock, INT(0), INT(1));
		CASE(sync_file_range, INT(0), arg[1], arg[2], (unsigned)arg[3]);
		CASE(syncfs, INT(0));
		CASE(execve, POINTER(0), POINTER(1), POINTER(2));
#undef CASE
#undef CASE_OURS
	case SYS_sync:
		sync();
		*ret = 0;
		return true;
	case SYS_exit:
		/* Of the last thread of the program: those of the engine would keep the process. */
		if (!keeper_is_alone())
			return false;
		_exit(INT(0));
	case SYS_exit_group:
		_exit(INT(0));
	case SYS_shmat:
		*ret = (long)shmat(INT(0), POINTER(1), INT(2));
		return true;
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
	return number == SYS_openat2 || number == SYS_open_by_handle_at || number == SYS_pidfd_getfd;
}

/* The rest of syscall(), for what is looked at here. */
long raw_serve(long number, ...);
READS_ALL long raw_serve(long number, ...)
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
	    SYS_mmap,      SYS_mremap,  SYS_munmap,     SYS_mprotect,        SYS_msync,     SYS_madvise,
	    SYS_mincore,   SYS_mlock,   SYS_mlock2,     SYS_munlock,         SYS_mlockall,  SYS_munlockall,
	    SYS_read,      SYS_write,   SYS_readv,      SYS_writev,          SYS_ftruncate, SYS_truncate,
	    SYS_fallocate, SYS_fsync,   SYS_fdatasync,  SYS_copy_file_range, SYS_close,     SYS_close_range,
	    SYS_dup,       SYS_dup3,    SYS_pread64,    SYS_pwrite64,        SYS_shmat,     SYS_preadv,
	    SYS_pwritev,   SYS_preadv2, SYS_pwritev2,   SYS_sendfile,        SYS_splice,    SYS_vmsplice,
	    SYS_openat,    SYS_fcntl,   SYS_flock,      SYS_sync_file_range, SYS_sync,      SYS_syncfs,
	    SYS_execve,    SYS_exit,    SYS_exit_group,
#ifdef SYS_open
	    SYS_open,      SYS_creat,   SYS_dup2,
#endif

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
INTERPOSED READS_ALL long syscall(long number, ...)
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
