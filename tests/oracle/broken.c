/* SPDX-License-Identifier: MIT */
/*
 * broken.c - the kernel with one fault, to prove the harness
 */
#include "subjects.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Overwrites bytes where the program could store, as a lost page would; nothing elsewhere. */
static void lose(unsigned char *at, size_t n)
{
	static uint64_t zeros[8192];
	struct trap trap;

	guard_store(at, zeros, n, &trap);
}

static int lost_store(void *addr, size_t len, int flags)
{
	int rc = msync(addr, len, flags);

	if (rc == 0 && len != 0 && (flags & MS_SYNC))
		lose(addr, 8);
	return rc;
}

static int zeroed_page(void *addr, size_t len, int advice)
{
	int rc = madvise(addr, len, advice);

	if (rc == 0 && len != 0 && advice == MADV_PAGEOUT)
		lose(addr, (size_t)page_bytes());
	return rc;
}

static int wrong_errno(void *addr, size_t len)
{
	int rc = munmap(addr, len);

	if (rc != 0)
		errno = ENOMEM;
	return rc;
}

static int wrong_code(void *addr, size_t len)
{
	if (mprotect(addr, len, PROT_NONE) == 0)
		return 0;
	return munmap(addr, len);
}

static int last_page(void *addr, size_t len, int prot)
{
	return mprotect(addr, len > (size_t)page_bytes() ? len - (size_t)page_bytes() : len, prot);
}

static void *shared_private(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *p = MAP_FAILED;

	if ((flags & MAP_TYPE) == MAP_PRIVATE && !(flags & MAP_ANONYMOUS))
		p = mmap(addr, len, prot, (flags & ~MAP_TYPE) | MAP_SHARED, fd, offset);
	return p != MAP_FAILED ? p : mmap(addr, len, prot, flags, fd, offset);
}

static int no_cut(int fd, off_t size)
{
	off_t now = lseek(fd, 0, SEEK_END);

	return size > 0 && now > size ? 0 : ftruncate(fd, size);
}

static void *lossy_move(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	va_list args;
	void *to, *p;

	va_start(args, flags);
	to = va_arg(args, void *);
	va_end(args);
	p = mremap(addr, old_len, new_len, flags, to);
	if (p != MAP_FAILED && p != addr)
		lose((unsigned char *)p + 64, 8);
	return p;
}

static void *crash(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	(void)addr;
	(void)old_len;
	(void)flags;
	if (new_len > 3 * (size_t)page_bytes())
		raise(SIGSEGV);
	errno = EINVAL;
	return MAP_FAILED;
}

static int hang(const void *addr, size_t len)
{
	while (len > (size_t)page_bytes())
		usleep(1000);
	return calls_kernel.mlock(addr, len);
}

static int unlocked(const void *addr, size_t len)
{
	/* The errors are right. */
	return calls_kernel.mlock(addr, len) == 0 ? calls_kernel.munlock(addr, len) : -1;
}

static int blind(void *addr, size_t len, unsigned char *vec)
{
	int rc = mincore(addr, len, vec);

	for (size_t i = 0; rc == 0 && i < len / (size_t)page_bytes(); i++)
		vec[i] = 0;
	return rc;
}

static int keeps_locks(void)
{
	return 0;
}

/* ---- what only programs that fork can find ---- */

static int inherits_all(void *addr, size_t len, int advice)
{
	return madvise(addr, len, advice == MADV_DONTFORK ? MADV_NORMAL : advice);
}

static int keeps_wiped(void *addr, size_t len, int advice)
{
	int rc = madvise(addr, len, advice);

	if (rc == 0 && advice == MADV_WIPEONFORK)
		madvise(addr, len, MADV_KEEPONFORK);
	return rc;
}

static void *anonymous_as(int from, int to, void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if ((flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == from)
		flags = (flags & ~MAP_TYPE) | to;
	return mmap(addr, len, prot, flags, fd, offset);
}

static void *shares_private(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return anonymous_as(MAP_PRIVATE, MAP_SHARED, addr, len, prot, flags, fd, offset);
}

static void *copies_shared(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return anonymous_as(MAP_SHARED, MAP_PRIVATE, addr, len, prot, flags, fd, offset);
}

/* Goes wrong only late in the life of the process: such a program passes when it is run alone. */
static int late(void *addr, size_t len)
{
	static int calls_made;

	if (++calls_made > 50 && len == (size_t)page_bytes()) {
		errno = EIO;
		return -1;
	}
	return munmap(addr, len);
}

static const struct {
	const char *kind, *what;
	struct calls calls; /* what replaces the kernel's */
} kinds[] = {
    {"lost-store", "msync(MS_SYNC) loses the first bytes of the range", {.msync = lost_store}},
    {"zeroed-page", "a page that is paged out comes back as zeros", {.madvise = zeroed_page}},
    {"wrong-errno", "munmap fails with ENOMEM, always", {.munmap = wrong_errno}},
    {"wrong-code", "unmapped pages raise SEGV_ACCERR", {.munmap = wrong_code}},
    {"last-page", "mprotect forgets the last page", {.mprotect = last_page}},
    {"shared-private", "private stores reach the file", {.mmap = shared_private}},
    {"no-cut", "ftruncate never cuts", {.ftruncate = no_cut}},
    {"lossy-move", "mremap loses bytes", {.mremap = lossy_move}},
    {"half-done", "failed calls change something", {.msync = msync}},
    {"unlocked", "mlock brings in and does not lock", {.mlock = unlocked}},
    {"blind", "mincore sees nothing", {.mincore = blind}},
    {"keeps-locks", "munlockall does nothing", {.munlockall = keeps_locks}},
    {"inherits-all", "MADV_DONTFORK does nothing", {.madvise = inherits_all}},
    {"keeps-wiped", "MADV_WIPEONFORK does nothing", {.madvise = keeps_wiped}},
    {"shares-private", "children share private memory", {.mmap = shares_private}},
    {"copies-shared", "children have copies of shared memory", {.mmap = copies_shared}},
    {"crash", "mremap crashes", {.mremap = crash}},
    {"hang", "mlock hangs", {.mlock = hang}},
    {"late", "munmap fails after the fiftieth call", {.munmap = late}},
};

void broken_list(FILE *out)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		fprintf(out, "  %-16s%s\n", kinds[i].kind, kinds[i].what);
}

#define TAKE(member) ret->member = kinds[i].calls.member != NULL ? kinds[i].calls.member : ret->member

bool broken_make(struct calls *ret, const char *kind)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strcmp(kinds[i].kind, kind) != 0)
			continue;
		*ret = calls_kernel;
		ret->name = "broken kernel";
		ret->partial = strcmp(kind, "half-done") != 0;
		TAKE(mmap);
		TAKE(munmap);
		TAKE(mremap);
		TAKE(mprotect);
		TAKE(msync);
		TAKE(madvise);
		TAKE(mlock);
		TAKE(mincore);
		TAKE(munlockall);
		TAKE(ftruncate);
		return true;
	}
	return false;
}
