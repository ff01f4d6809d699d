/* SPDX-License-Identifier: MIT */
/*
 * known.c - the differences from the kernel that are documented
 *
 * Where several things are wrong with a call, each side may say another (19): so what is wrong is found out here again, and an errno
 * passes when it is the answer to one of these things. Where one side succeeds, the difference has to be in the list.
 */
#include "known.h"

#include <errno.h>
#include <sys/mman.h>

#include <quire/quire.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { ADVICE_GUARD_INSTALL = 102, ADVICE_GUARD_REMOVE = 103, TYPE_DROPPABLE = 8 };

#define KNOWN_PROT (PROT_READ | PROT_WRITE | PROT_EXEC | 0x8)

/* What a range of the window holds. */
struct span {
	bool holes, locked, read_only, shared, private_memory, file, no_access, past_the_end, outside;
	int mappings;
};

static bool is_private_memory(const struct page_state *p)
{
	return p->how[3] == 'p' && !p->file;
}

static struct span span_of(const struct state *s, struct place place, uint64_t len)
{
	const uint64_t page = (uint64_t)page_bytes();
	struct span span = {.outside = !place.relative || place.at >= WINDOW_PAGES * page};
	uint64_t first = place.at / page, last, end;

	if (span.outside) {
		span.holes = true;
		return span;
	}
	if (__builtin_add_overflow(place.at, len, &end))
		end = UINT64_MAX;
	last = end / page + (end % page != 0);
	if (last > WINDOW_PAGES) {
		span.outside = span.holes = true;
		last = WINDOW_PAGES;
	}
	for (uint64_t i = first; i < last; i++) {
		const struct page_state *p = &s->page[i];

		if (!p->how[0]) {
			span.holes = true;
			continue;
		}
		span.locked |= s->locked[i] != 0;
		span.shared |= p->how[3] == 's';
		span.read_only |= p->how[3] == 's' && p->how[1] != 'w';
		span.private_memory |= is_private_memory(p);
		span.file |= p->file;
		span.no_access |= p->how[0] != 'r' || p->how[1] != 'w';
		span.past_the_end |= s->answer[i] != 0;
		span.mappings += i == first || s->mapping[i] != s->mapping[i - 1];
	}
	return span;
}

static bool is_absurd(uint64_t len)
{
	return len >= (uint64_t)1 << 46;
}

/* To the kernel's mlock, munlock, msync and mremap it is a length of 0: it is rounded up first. */
static bool rounds_to_zero(const struct call *c)
{
	return c->len > 0 &&
	       (c->addr.at % (uint64_t)page_bytes()) + c->len + (uint64_t)page_bytes() - 1 < (uint64_t)page_bytes() * 3 &&
	       c->len > UINT64_MAX / 2;
}

static bool is_unaligned(uint64_t at)
{
	return at % (uint64_t)page_bytes() != 0;
}

/* ---- what is wrong with a call ---- */

static bool mmap_may(const struct call *c, const struct state *before, int error)
{
	const bool fixed = c->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE), anonymous = c->flags & MAP_ANONYMOUS;
	const int type = c->flags & MAP_TYPE;
	int64_t end;

	switch (error) {
	case EINVAL:
		return is_unaligned((uint64_t)c->offset) || c->len == 0 || (fixed && is_unaligned(c->addr.at)) || type == 0 ||
		       type > 3 || (type == 3 && anonymous);
	case ENOMEM:
	case EPERM:
		return is_absurd(c->len) || (fixed && !c->addr.relative) ||
		       (error == EPERM && !anonymous && c->fd >= FD_MEMORY && c->fd <= FD_MEMORY_SEALED_SIZE);
	case EEXIST:
		return (c->flags & MAP_FIXED_NOREPLACE) && span_of(before, c->addr, c->len).mappings > 0;
	case EBADF:
		return !anonymous && (c->fd >= FD_CLOSED || c->fd == FD_FILE_PATH);
	case EACCES:
		return !anonymous && c->fd != FD_FILE;
	case ENODEV:
		return !anonymous && c->fd >= FD_NULL;
	case EOVERFLOW:
		return !anonymous && (c->offset < 0 || c->len > INT64_MAX ||
				      __builtin_add_overflow(c->offset, (int64_t)c->len + 2 * page_bytes(), &end));
	case EOPNOTSUPP:
		/* MAP_SYNC is asked of the file system by a mapping without access. */
		return (type == 3 || (c->flags & 0x80000)) && !anonymous;
	default:
		return false;
	}
}

static bool mremap_may(const struct call *c, const struct state *before, int error)
{
	const struct span span = span_of(before, c->addr, c->len ? c->len : 1);
	const int known = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
	const bool fixed = c->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);

	switch (error) {
	case EINVAL:
		return !c->addr.relative || (c->flags & ~known) || (fixed && !(c->flags & MREMAP_MAYMOVE)) ||
		       is_unaligned(c->addr.at) || c->new_len == 0 || is_absurd(c->new_len) || is_absurd(c->len) ||
		       (fixed && is_unaligned(c->to.at)) || (fixed && c->to.relative) || !c->to.relative ||
		       (c->flags & MREMAP_DONTUNMAP) || (c->len == 0 && !span.shared);
	case EFAULT:
		return span.holes || span.mappings != 1 || c->len > (uint64_t)page_bytes(); /* 18 */
	case ENOMEM:
		return is_absurd(c->new_len) || !(c->flags & MREMAP_MAYMOVE);
	default:
		return false;
	}
}

static bool madvise_may(const struct call *c, const struct state *before, int error)
{
	const struct span span = span_of(before, c->addr, c->len);

	switch (error) {
	case EINVAL:
		return is_unaligned(c->addr.at) || is_absurd(c->len) || span.outside || c->advice < 0 || c->advice > 23 ||
		       (c->advice >= 5 && c->advice <= 7) || span.locked ||
		       (c->advice == MADV_FREE && (span.shared || span.file)) ||
		       (c->advice == MADV_WIPEONFORK && (span.shared || span.file)) ||
		       (c->advice == MADV_REMOVE && span.private_memory) ||
		       ((c->advice == MADV_POPULATE_READ || c->advice == MADV_POPULATE_WRITE) && span.no_access);
	case ENOMEM:
		return span.holes;
	case EFAULT:
		return (c->advice == MADV_POPULATE_READ || c->advice == MADV_POPULATE_WRITE) && span.past_the_end;
	case EACCES:
		return c->advice == MADV_REMOVE && (span.read_only || span.file || span.private_memory);
	case EBADF: /* MADV_WILLNEED of memory without a file: in some configurations of the kernel */
		return c->advice == MADV_WILLNEED;
	default:
		return false;
	}
}

static bool may(const struct call *c, const struct state *before, int error)
{
	const struct span span = span_of(before, c->addr, c->len);

	switch ((enum call_kind)c->kind) {
	case CALL_MMAP:
		return mmap_may(c, before, error);
	case CALL_MREMAP:
		return mremap_may(c, before, error);
	case CALL_MADVISE:
	case CALL_POSIX_MADVISE:
		return madvise_may(c, before, error);
	case CALL_MPROTECT:
		return (error == EINVAL && (is_unaligned(c->addr.at) || (c->prot & ~KNOWN_PROT))) ||
		       (error == ENOMEM && (span.holes || is_absurd(c->len))) ||
		       (error == EACCES && (c->prot & PROT_WRITE) && (span.read_only || is_absurd(c->len)));
	case CALL_MSYNC:
		return (error == EINVAL && (is_unaligned(c->addr.at) || (c->flags & ~7) || (c->flags & 5) == 5)) ||
		       (error == ENOMEM && (span.holes || is_absurd(c->len))) ||
		       (error == EBUSY && (c->flags & MS_INVALIDATE) && (span.locked || is_absurd(c->len)));
	case CALL_MINCORE:
	case CALL_MLOCK:
	case CALL_MLOCK2:
	case CALL_MUNLOCK:
		return (error == EINVAL && (is_unaligned(c->addr.at) || is_absurd(c->len) || c->flags || span.outside)) ||
		       (error == ENOMEM && (span.holes || span.past_the_end || span.no_access || is_absurd(c->len)));
	default:
		return false;
	}
}

/* ---- where one side succeeds ---- */

static bool advice_is_of_later_versions(int advice)
{
	return advice == MADV_DONTNEED_LOCKED || advice == MADV_COLLAPSE || advice == ADVICE_GUARD_INSTALL ||
	       advice == ADVICE_GUARD_REMOVE;
}

/* Advice that the kernel knows in some configurations only. */
static bool advice_is_optional(int advice)
{
	return advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE || advice == MADV_MERGEABLE || advice == MADV_UNMERGEABLE;
}

bool known_half_done(const struct call *c, const struct answer *quire)
{
	return c->kind == CALL_MADVISE && quire->err == ENOMEM &&
	       (c->advice == MADV_DONTFORK || c->advice == MADV_DOFORK || c->advice == MADV_WIPEONFORK ||
		c->advice == MADV_KEEPONFORK);
}

bool known_difference(const struct call *c, const struct state *before, const struct answer *kernel, const struct answer *quire)
{
	const struct span span = span_of(before, c->addr, c->len);

	switch ((enum call_kind)c->kind) {
	case CALL_MMAP:
		/* MAP_DROPPABLE is not served. */
		if ((c->flags & MAP_TYPE) == TYPE_DROPPABLE && quire->err == EINVAL)
			return true;
		/* Of a file whose last page could not be numbered. */
		if (quire->err == EFBIG && !(c->flags & MAP_ANONYMOUS) && before->size[c->fd] > INT64_MAX - page_bytes())
			return true;
		/* The kernel's search for a place for huge pages overflows. */
		if (kernel->value == ELSEWHERE && quire->value != -1 && c->offset > INT64_MAX - ((int64_t)1 << 22))
			return true;
		break;
	case CALL_MADVISE:
		if (advice_is_of_later_versions(c->advice) && (quire->err == EINVAL || quire->err == EOPNOTSUPP))
			return true;
		if (advice_is_optional(c->advice) && kernel->err == EINVAL)
			return true;
		if (c->advice == MADV_WILLNEED && !span.holes && kernel->err == EBADF) /* 12 */
			return true;
		if (c->advice == MADV_WIPEONFORK && kernel->err == EINVAL && span.private_memory && !span.file) /* 20 */
			return true;
		break;
	case CALL_POSIX_MADVISE:
		if (c->advice == POSIX_MADV_DONTNEED && kernel->value == 0) /* 13 */
			return true;
		if (c->advice == POSIX_MADV_WILLNEED && !span.holes && kernel->err == EBADF) /* 12 */
			return true;
		break;
	case CALL_MPROTECT:
		/* No page to protect, in a way that cannot be. */
		if (c->len == 0 && quire->value == 0)
			return true;
		break;
	case CALL_MREMAP:
		if (rounds_to_zero(c) && quire->err == EINVAL)
			return true;
		/* 18: whether it is one mapping; and Linux 6.17 moves several. */
		if ((kernel->err == EFAULT || quire->err == EFAULT) && c->len > (uint64_t)page_bytes())
			return true;
		break;
	case CALL_MSYNC:
		if (rounds_to_zero(c) && quire->err == ENOMEM)
			return true;
		break;
	case CALL_MLOCK:
	case CALL_MLOCK2:
	case CALL_MUNLOCK:
		if (rounds_to_zero(c) && quire->err == EINVAL)
			return true;
		break;
	case CALL_MINCORE:
		/* Nothing, somewhere that nobody can have anything. */
		if (c->len == 0 && kernel->err == ENOMEM)
			return true;
		break;
	case CALL_FTRUNCATE:
		/* The pages of its last page could not be numbered. */
		if (c->offset > INT64_MAX - page_bytes() && quire->err == EFBIG)
			return true;
		break;
	default:
		break;
	}
	return kernel->value == -1 && quire->value == -1 && may(c, before, kernel->err) && may(c, before, quire->err);
}
