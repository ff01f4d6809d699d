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
#include "sys/page_size.h"

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

/* ---- calls over a range, piece by piece where it is of both ---- */

/*
 * The kernel goes from mapping to mapping. Where it meets a hole, it stops, or goes on and fails with ENOMEM at the end; at any other error it stops; what it
 * has done stays done. Here a piece is what is Quire's without a gap, or what lies between, where the kernel finds the holes.
 */
struct over {
	enum counts_call call;
	int (*quire)(void *addr, size_t len, const struct over *over);
	long number; /* the kernel's call */
	long arg;    /* behind the range */
	bool passes_holes;
	unsigned char *vec; /* mincore's, which comes in place of arg */
	char *start;
};

static long over_piece(const struct over *over, char *addr, size_t len, bool quires)
{
	long arg = over->vec ? (long)(over->vec + ((size_t)(addr - over->start) >> page_shift)) : over->arg;

	return quires ? over->quire(addr, len, over) : kernel_call(over->number, (long)addr, (long)len, arg, 0, 0, 0);
}

static int over_pieces(const struct over *over, char *addr, size_t len)
{
	bool hole = false, quires;
	long r = 0;

	for (size_t done = 0, piece; done < len; done += piece) {
		piece = start_extent(addr + done, len - done, &quires);
		r = over_piece(over, addr + done, piece, quires);
		if (r < 0 && !(errno == ENOMEM && over->passes_holes))
			return -1;
		hole |= r < 0;
	}
	if (hole)
		errno = ENOMEM;
	return hole ? -1 : 0;
}

/* As a whole where it is of one, and where the arguments are wrong. */
static int over_range(struct over over, const void *addr, size_t len)
{
	size_t rounded = (len + page_size() - 1) & ~(page_size() - 1);
	bool quires = is_quires(over.call, addr, len), first;

	over.start = (char *)(uintptr_t)addr;
	if (quires && ((uintptr_t)addr & (page_size() - 1)) == 0 && rounded >= len && (uintptr_t)addr <= UINTPTR_MAX - rounded &&
	    start_extent(addr, rounded, &first) < rounded)
		return over_pieces(&over, over.start, rounded);
	return (int)over_piece(&over, over.start, len, quires);
}

static int protect(void *addr, size_t len, const struct over *over)
{
	return quire_mprotect(addr, len, (int)over->arg);
}

INTERPOSED int mprotect(void *addr, size_t len, int prot)
{
	return over_range((struct over){.call = COUNT_mprotect, .quire = protect, .number = SYS_mprotect, .arg = prot}, addr, len);
}

static int sync_range(void *addr, size_t len, const struct over *over)
{
	return quire_msync(addr, len, (int)over->arg);
}

INTERPOSED int msync(void *addr, size_t len, int flags)
{
	return over_range(
	    (struct over){
		.call = COUNT_msync, .quire = sync_range, .number = SYS_msync, .arg = flags, .passes_holes = flags != MS_ASYNC},
	    addr, len);
}

static int advise(void *addr, size_t len, const struct over *over)
{
	return quire_madvise(addr, len, (int)over->arg);
}

INTERPOSED int madvise(void *addr, size_t len, int advice)
{
	return over_range(
	    (struct over){.call = COUNT_madvise, .quire = advise, .number = SYS_madvise, .arg = advice, .passes_holes = true}, addr,
	    len);
}

static int advise_by_posix(void *addr, size_t len, const struct over *over)
{
	int r = quire_posix_madvise(addr, len, (int)over->arg);

	errno = r;
	return r == 0 ? 0 : -1;
}

INTERPOSED int posix_madvise(void *addr, size_t len, int advice)
{
	int saved_errno = errno, r;
	struct over over = {
	    .call = COUNT_madvise, .quire = advise_by_posix, .number = SYS_madvise, .arg = advice, .passes_holes = true};

	/* The kernel's would throw private pages away, so the C library has nothing done, whatever the range. */
	if (advice == POSIX_MADV_DONTNEED) {
		if (is_quires(COUNT_madvise, addr, len))
			(void)quire_posix_madvise(addr, len, advice);
		return 0;
	}
	r = over_range(over, addr, len) < 0 ? errno : 0;
	errno = saved_errno;
	return r;
}

static int tell_resident(void *addr, size_t len, const struct over *over)
{
	return quire_mincore(addr, len, over->vec + ((size_t)((char *)addr - over->start) >> page_shift));
}

INTERPOSED int mincore(void *addr, size_t len, unsigned char *vec)
{
	return over_range((struct over){.call = COUNT_mincore, .quire = tell_resident, .number = SYS_mincore, .vec = vec}, addr,
			  len);
}

static int lock_range(void *addr, size_t len, const struct over *over)
{
	return over->number == SYS_mlock ? quire_mlock(addr, len) : quire_mlock2(addr, len, (unsigned)over->arg);
}

/* These take any address: the pages that hold the range. */
static int over_pages(struct over over, const void *addr, size_t len)
{
	size_t before = (uintptr_t)addr & (page_size() - 1);

	if (len == 0 || len > SIZE_MAX - before)
		return over_range(over, addr, len);
	return over_range(over, (const char *)addr - before, len + before);
}

INTERPOSED int mlock(const void *addr, size_t len)
{
	return over_pages((struct over){.call = COUNT_mlock, .quire = lock_range, .number = SYS_mlock}, addr, len);
}

INTERPOSED int mlock2(const void *addr, size_t len, unsigned flags)
{
	return over_pages((struct over){.call = COUNT_mlock, .quire = lock_range, .number = SYS_mlock2, .arg = flags}, addr, len);
}

static int unlock_range(void *addr, size_t len, const struct over *over)
{
	(void)over;
	return quire_munlock(addr, len);
}

INTERPOSED int munlock(const void *addr, size_t len)
{
	return over_pages((struct over){.call = COUNT_munlock, .quire = unlock_range, .number = SYS_munlock}, addr, len);
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

/* ---- System V segments, which are the kernel's ---- */

/* In the place of what Quire has, which goes first: but only where the kernel will attach it, which it has shown by attaching it elsewhere. */
static void *attach_over(int id, char *addr, int flags)
{
	char *place = (flags & SHM_RND) ? (char *)((uintptr_t)addr & ~((uintptr_t)page_size() - 1)) : addr;
	void *elsewhere = NEXT(shmat)(id, NULL, flags & ~(SHM_REMAP | SHM_RND)), *result = (void *)-1;
	struct shmid_ds ds;
	int saved_errno;

	if (elsewhere == (void *)-1)
		return elsewhere;
	if ((uintptr_t)place % page_size() != 0)
		errno = EINVAL;
	else if (shmctl(id, IPC_STAT, &ds) == 0 && (!start_manages(place, ds.shm_segsz) || quire_munmap(place, ds.shm_segsz) == 0))
		result = NEXT(shmat)(id, addr, flags);
	saved_errno = errno;
	files_sweep();
	NEXT(shmdt)(elsewhere);
	errno = saved_errno;
	return result;
}

INTERPOSED void *shmat(int id, const void *addr, int flags)
{
	return (flags & SHM_REMAP) && addr && start_is_running() ? attach_over(id, (char *)(uintptr_t)addr, flags)
								 : NEXT(shmat)(id, addr, flags);
}
