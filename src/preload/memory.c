/* SPDX-License-Identifier: MIT */
/*
 * memory.c - the mmap family, in front of the C library's
 *
 * A new mapping goes where the rules say (rules.c). Every other call goes where what it is about lies. Of what nothing is Quire's, the
 * kernel hears as if nobody stood between.
 */
#include <errno.h>
#include <quire/quire.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "coherent.h"
#include "counts.h"
#include "files.h"
#include "kernel.h"
#include "meeting.h"
#include "memory.h"
#include "next.h"
#include "start.h"

/* ---- mmap ---- */

static void *map_by_quire(void *addr, const struct rules_request *q, off_t offset)
{
	bool of_file = !(q->flags & MAP_ANONYMOUS);
	struct file *file = of_file ? files_add(&q->st) : NULL;
	void *result = quire_mmap(addr, q->len, q->prot, q->flags, q->fd, offset);

	files_settle(file);
	if (result != MAP_FAILED && of_file)
		coherent_begin(&q->st);
	if (result == MAP_FAILED && of_file) {
		int saved_errno = errno;

		files_sweep();
		errno = saved_errno;
	}
	return result;
}

/* What is Quire's in its place goes first, and what Quire has of the same file has to be where the kernel finds it. */
static void *map_by_kernel(void *addr, const struct rules_request *q, off_t offset)
{
	if ((q->flags & MAP_FIXED) && start_manages(addr, q->len)) {
		if (quire_munmap(addr, q->len) < 0)
			return MAP_FAILED;
		files_sweep();
	}
	if (!(q->flags & MAP_ANONYMOUS) && files_any() && files_is_mapped(q->fd))
		(void)coherent_flush(q->fd, 0, 0);
	return kernel_mmap(addr, q->len, q->prot, q->flags, q->fd, offset);
}

void *memory_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct rules_request q = {.len = len, .prot = prot, .flags = flags, .fd = fd};
	bool by_quire = rules_decide(&start.rules, &q, NULL) && start_engine_if_needed();
	void *result;

	if (q.refused) {
		fprintf(stderr,
			"quire: another program that `quire run` has started has this file mapped, and cannot leave it to the "
			"kernel: its children have it, too. --match leaves it out from the beginning\n");
		errno = EBUSY;
		return MAP_FAILED;
	}
	counts_add(COUNT_mmap, by_quire);
	result = by_quire ? map_by_quire(addr, &q, offset) : map_by_kernel(addr, &q, offset);
	if (q.meets)
		meeting_settle(&q.st);
	return result;
}

INTERPOSED void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return memory_mmap(addr, len, prot, flags, fd, offset);
}

INTERPOSED void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return memory_mmap(addr, len, prot, flags, fd, offset);
}

/* ---- the rest of the family ---- */

static bool is_quires(enum counts_call call, const void *addr, size_t len)
{
	bool is = start_manages(addr, len);

	counts_add(call, is);
	return is;
}

INTERPOSED int munmap(void *addr, size_t len)
{
	int r;

	if (!is_quires(COUNT_munmap, addr, len))
		return kernel_munmap(addr, len);
	r = quire_munmap(addr, len);
	if (r == 0)
		files_sweep();
	return r;
}

void *memory_mremap(void *old_addr, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	bool over = (flags & MREMAP_FIXED) && start_manages(new_addr, new_len);
	bool by_quire = start_manages(old_addr, old_len ? old_len : 1) || over;
	void *result;

	counts_add(COUNT_mremap, by_quire);
	if (!by_quire)
		return (void *)kernel_call(SYS_mremap, (long)old_addr, (long)old_len, (long)new_len, flags, (long)new_addr, 0);
	result = quire_mremap(old_addr, old_len, new_len, flags, new_addr);
	if (over && result != MAP_FAILED)
		files_sweep();
	return result;
}

INTERPOSED void *mremap(void *old_addr, size_t old_len, size_t new_len, int flags, ...)
{
	void *new_addr = NULL;
	va_list list;

	va_start(list, flags);
	if (flags & ~MREMAP_MAYMOVE)
		new_addr = va_arg(list, void *);
	va_end(list);
	return memory_mremap(old_addr, old_len, new_len, flags, new_addr);
}

INTERPOSED int mprotect(void *addr, size_t len, int prot)
{
	return is_quires(COUNT_mprotect, addr, len) ? quire_mprotect(addr, len, prot)
						    : (int)kernel_call(SYS_mprotect, (long)addr, (long)len, prot, 0, 0, 0);
}

INTERPOSED int msync(void *addr, size_t len, int flags)
{
	return is_quires(COUNT_msync, addr, len) ? quire_msync(addr, len, flags)
						 : (int)kernel_call(SYS_msync, (long)addr, (long)len, flags, 0, 0, 0);
}

INTERPOSED int madvise(void *addr, size_t len, int advice)
{
	return is_quires(COUNT_madvise, addr, len) ? quire_madvise(addr, len, advice)
						   : (int)kernel_call(SYS_madvise, (long)addr, (long)len, advice, 0, 0, 0);
}

INTERPOSED int posix_madvise(void *addr, size_t len, int advice)
{
	int saved_errno = errno, r;

	if (is_quires(COUNT_madvise, addr, len))
		return quire_posix_madvise(addr, len, advice);
	if (advice == POSIX_MADV_DONTNEED)
		return 0;
	r = kernel_call(SYS_madvise, (long)addr, (long)len, advice, 0, 0, 0) < 0 ? errno : 0;
	errno = saved_errno;
	return r;
}

INTERPOSED int mincore(void *addr, size_t len, unsigned char *vec)
{
	return is_quires(COUNT_mincore, addr, len) ? quire_mincore(addr, len, vec)
						   : (int)kernel_call(SYS_mincore, (long)addr, (long)len, (long)vec, 0, 0, 0);
}

INTERPOSED int mlock(const void *addr, size_t len)
{
	return is_quires(COUNT_mlock, addr, len) ? quire_mlock(addr, len)
						 : (int)kernel_call(SYS_mlock, (long)addr, (long)len, 0, 0, 0, 0);
}

INTERPOSED int mlock2(const void *addr, size_t len, unsigned flags)
{
	return is_quires(COUNT_mlock, addr, len) ? quire_mlock2(addr, len, flags)
						 : (int)kernel_call(SYS_mlock2, (long)addr, (long)len, flags, 0, 0, 0);
}

INTERPOSED int munlock(const void *addr, size_t len)
{
	return is_quires(COUNT_munlock, addr, len) ? quire_munlock(addr, len)
						   : (int)kernel_call(SYS_munlock, (long)addr, (long)len, 0, 0, 0, 0);
}

/*
 * All of both. The kernel would bring in all that it locks, managed pages too, whatever the budget says: so it locks what is there, and what
 * comes as it is touched.
 */
INTERPOSED int mlockall(int flags)
{
	bool both = start_is_running();

	counts_add(COUNT_mlockall, both);
	if (both && quire_mlockall(flags) < 0)
		return -1;
	return (int)kernel_call(SYS_mlockall, both ? flags | MCL_ONFAULT : flags, 0, 0, 0, 0, 0);
}

INTERPOSED int munlockall(void)
{
	bool both = start_is_running();

	counts_add(COUNT_munlockall, both);
	if (both && quire_munlockall() < 0)
		return -1;
	return (int)kernel_call(SYS_munlockall, 0, 0, 0, 0, 0, 0);
}
