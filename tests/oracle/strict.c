/* SPDX-License-Identifier: MIT */
/*
 * strict.c - a kernel whose failed calls change nothing
 *
 * Run against the kernel as it is, it proves rule 1 of rules.h: what the harness undoes on the kernel's side is all that there
 * is to undo. It looks the mappings up in /proc/self/smaps before each call, and so is slow.
 */
#include "subjects.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct snapshot {
	struct {
		uintptr_t start, end;
		int prot;
		bool locked;
	} maps[2 * WINDOW_PAGES];
	size_t count;
	bool holes, locked;
};

/* The mappings in start … end. */
static void snapshot_take(struct snapshot *s, const void *addr, size_t len)
{
	FILE *in = fopen("/proc/self/smaps", "re");
	uintptr_t start = (uintptr_t)addr, end, next, from, to;
	char line[512], prot[8];
	bool inside = false;

	*s = (struct snapshot){0};
	start -= start % (uintptr_t)page_bytes();
	next = start;
	end = (uintptr_t)addr + len;
	while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, prot) == 3) {
			inside = from < end && to > start && s->count < 2 * WINDOW_PAGES;
			if (!inside)
				continue;
			s->maps[s->count].start = from > start ? from : start;
			s->maps[s->count].end = to < end ? to : end;
			s->maps[s->count].prot =
			    (prot[0] == 'r' ? PROT_READ : 0) | (prot[1] == 'w' ? PROT_WRITE : 0) | (prot[2] == 'x' ? PROT_EXEC : 0);
			s->holes |= from > next;
			next = to;
			s->count++;
		} else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
			s->maps[s->count - 1].locked = strstr(line, " lo") != NULL;
			s->locked |= s->maps[s->count - 1].locked;
		}
	}
	s->holes |= next < end;
	if (in != NULL)
		fclose(in);
}

static int strict_mprotect(void *addr, size_t len, int prot)
{
	struct snapshot s;
	int rc, error;

	snapshot_take(&s, addr, len);
	rc = mprotect(addr, len, prot);
	error = errno;
	for (size_t i = 0; rc != 0 && i < s.count; i++)
		mprotect((void *)s.maps[i].start, s.maps[i].end - s.maps[i].start, s.maps[i].prot);
	errno = error;
	return rc;
}

/* What is there of it is locked already; the rest is not to be brought in by this. */
static int lock_again(const void *addr, size_t len)
{
	return calls_kernel.mlock2(addr, len, MLOCK_ONFAULT);
}

static int plain_mlock(const void *addr, size_t len, unsigned flags)
{
	(void)flags;
	return calls_kernel.mlock(addr, len);
}

static int plain_munlock(const void *addr, size_t len, unsigned flags)
{
	(void)flags;
	return calls_kernel.munlock(addr, len);
}

static int locking(int (*call)(const void *, size_t, unsigned), const void *addr, size_t len, unsigned flags)
{
	struct snapshot s;
	int rc, error;

	snapshot_take(&s, addr, len);
	rc = call(addr, len, flags);
	error = errno;
	for (size_t i = 0; rc != 0 && i < s.count; i++)
		(s.maps[i].locked ? lock_again : calls_kernel.munlock)((void *)s.maps[i].start, s.maps[i].end - s.maps[i].start);
	errno = error;
	return rc;
}

static int strict_mlock(const void *addr, size_t len)
{
	return locking(plain_mlock, addr, len, 0);
}

static int strict_mlock2(const void *addr, size_t len, unsigned flags)
{
	return locking(calls_kernel.mlock2, addr, len, flags);
}

static int strict_munlock(const void *addr, size_t len)
{
	return locking(plain_munlock, addr, len, 0);
}

static int strict_madvise(void *addr, size_t len, int advice)
{
	struct snapshot s;

	if (advice != MADV_DONTNEED || (uintptr_t)addr % (uintptr_t)page_bytes() != 0)
		return madvise(addr, len, advice);
	snapshot_take(&s, addr, len);
	if (!s.locked && !s.holes)
		return madvise(addr, len, advice);
	errno = s.locked ? EINVAL : ENOMEM;
	return len == 0 ? 0 : -1;
}

void strict_make(struct calls *ret)
{
	*ret = calls_kernel;
	ret->name = "strict kernel";
	ret->partial = false;
	ret->mprotect = strict_mprotect;
	ret->mlock = strict_mlock;
	ret->mlock2 = strict_mlock2;
	ret->munlock = strict_munlock;
	ret->madvise = strict_madvise;
}
