/* SPDX-License-Identifier: MIT */
/*
 * rules.c - the documented differences between Quire and Linux; numbered in rules.h
 */
#include "rules.h"

#include <sys/mman.h>

/* Rule 6: far below the smallest budget and the usual RLIMIT_MEMLOCK. */
enum { LOCKED_PAGES_MAX = 8 };

/* What a range of the window holds. */
struct span {
	int64_t first, last;
	bool ours, foreign; /* mappings of the side's, and of the kernel's own */
	bool holes, locked, one_mapping, all_shared_writable, anonymous, private_file_locked;
	bool all_private, all_shared;
	bool wipeable, not_wipeable, zero_device; /* what MADV_WIPEONFORK takes, and refuses */
};

static bool follows(const struct model_page *a, const struct model_page *b)
{
	return a->fragment == b->fragment && a->offset + page_bytes() == b->offset;
}

static struct span span_of(struct model *m, int64_t addr, int64_t len)
{
	struct span s = {.one_mapping = true, .all_shared_writable = true, .all_private = true, .all_shared = true};

	model_range(addr, len, &s.first, &s.last);
	for (int64_t i = s.first; i < s.last; i++) {
		const struct model_page *p = &m->pages[i];

		s.holes |= page_is_hole(p);
		s.foreign |= p->foreign;
		s.ours |= !page_is_hole(p) && !p->foreign;
		s.locked |= p->locked;
		s.all_shared_writable &= !page_is_hole(p) && p->shared && p->may_write;
		s.anonymous |= !page_is_hole(p) && !page_is_file(p);
		s.all_private &= !page_is_hole(p) && !p->shared;
		s.all_shared &= !page_is_hole(p) && p->shared;
		s.wipeable |= !page_is_hole(p) && !page_is_file(p) && !p->shared;
		s.not_wipeable |= page_is_file(p) || p->shared;
		s.zero_device |= p->zero_device;
		s.private_file_locked |= page_is_file(p) && !p->shared && p->locked;
		if (page_is_hole(p) || (i > s.first && !follows(p - 1, p)))
			s.one_mapping = false;
	}
	if (s.first >= s.last)
		s.one_mapping = false;
	return s;
}

/* Lengths that no address space holds: every call refuses them before it does anything. */
static bool is_absurd(int64_t len)
{
	return len < 0;
}

static bool inside(int64_t addr, int64_t len)
{
	int64_t end;

	if (addr < 0 || len < 0 || __builtin_add_overflow(addr % page_bytes() + len, addr - addr % page_bytes(), &end))
		return false;
	return addr < WINDOW_PAGES * page_bytes() && end <= WINDOW_PAGES * page_bytes();
}

static bool is_aligned(int64_t addr)
{
	return addr % page_bytes() == 0;
}

/* ---- which operations run ---- */

static bool allow_mmap(struct model *m, const struct op *op)
{
	bool absurd = is_absurd(op->len);

	if (op->fd < 0 || op->fd >= FD_KINDS || pages_of(op->len) > WINDOW_PAGES ||
	    (op->fd == FD_ZERO && op->offset % page_bytes() == 0 && op->offset != 0))
		return false;
	if (op->addr == NOWHERE ? (op->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0 : !inside(op->addr, absurd ? 0 : op->len))
		return false;
	return !(op->flags & MAP_LOCKED) || model_locked(m) + pages_of(op->len) <= LOCKED_PAGES_MAX;
}

static bool allow_mprotect(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->len);

	if (op->addr < 0 || (!is_absurd(op->len) && !inside(op->addr, op->len)))
		return false;
	/* Before it fails, Linux copies the locked private pages that become writable: that cannot be undone (1, 7). */
	return !(s.private_file_locked && (op->prot & PROT_WRITE));
}

static bool clearly_apart(const struct model_page *a, const struct model_page *b)
{
	if (page_is_hole(a) || page_is_hole(b) || a->shared != b->shared || a->prot != b->prot)
		return true;
	return a->object != b->object && (page_is_file(a) || page_is_file(b) || a->shared);
}

/* EFAULT in every version of Linux: a growth in place, or by moving where the kernel likes, of what is not one mapping. */
static bool allow_mremap_apart(struct model *m, const struct op *op, const struct span *s)
{
	if (pages_of(op->new_len) <= pages_of(op->len) || (op->flags & ~(int64_t)MREMAP_MAYMOVE))
		return false;
	if (page_is_hole(&m->pages[s->first]))
		return true;
	for (int64_t i = s->first + 1; i < s->last; i++) {
		if (clearly_apart(&m->pages[i - 1], &m->pages[i]))
			return true;
	}
	return false;
}

static bool allow_mremap(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->len == 0 ? 1 : op->len);
	int64_t to = op->flags & MREMAP_FIXED ? op->to : op->addr, grown = pages_of(op->new_len) - pages_of(op->len);

	if (!inside(op->addr, op->len == 0 ? 1 : op->len) || to == NOWHERE)
		return false;
	if (!is_absurd(op->new_len) && !inside(to, op->new_len))
		return false;
	/* A duplicate laid over its own original: Linux unmaps that first, and then finds nothing to duplicate (1). */
	if (op->len == 0 && (op->flags & MREMAP_FIXED) && op->to <= op->addr && op->addr - op->to < op->new_len + page_bytes())
		return false;
	if (s.locked && model_locked(m) + (grown > 0 ? grown : 0) > LOCKED_PAGES_MAX)
		return false;
	if (!s.one_mapping)
		return is_aligned(op->addr) && op->new_len > 0 && allow_mremap_apart(m, op, &s);
	if (op->flags & MREMAP_DONTUNMAP)
		return op->len != 0 && s.anonymous && !m->pages[s.first].shared && !s.locked;
	return true;
}

static bool allow_madvise(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->len);

	if (!inside(op->addr, op->len))
		return false;
	switch (op->advice) {
	case MADV_REMOVE:
		/* A failure half-way could not be undone (1). */
		return !s.holes && !s.locked && s.all_shared_writable;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return !s.holes;
	case MADV_WIPEONFORK:
		/* Linux refuses half-way (1), and what is of a device (10). */
		return !(s.wipeable && s.not_wipeable) && !s.zero_device;
	case MADV_FREE:
		return false;
	default:
		return true;
	}
}

static bool allow_posix_madvise(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->len);

	if (!inside(op->addr, op->len))
		return false;
	return op->advice != POSIX_MADV_DONTNEED || (is_aligned(op->addr) && op->len > 0 && !s.holes);
}

/* Rule 16. */
static bool allow_minherit(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->len);

	if (!inside(op->addr, op->len) || op->len == 0 || s.holes || s.foreign)
		return false;
	switch (op->how) {
	case WORD_NONE:
		return true;
	case WORD_ZERO:
		return !s.not_wipeable && !s.zero_device;
	case WORD_COPY:
		return s.all_private;
	case WORD_SHARE:
		return s.all_shared;
	default:
		return false;
	}
}

static bool allow_mlock(struct model *m, const struct op *op)
{
	return inside(op->addr, op->len) && model_locked(m) + pages_of(op->len) + 1 <= LOCKED_PAGES_MAX;
}

static bool allow_access(const struct op *op)
{
	int64_t in_page = op->addr % page_bytes();

	return (op->size == 1 || op->size == 8 || op->size == page_bytes()) && inside(op->addr, op->size) &&
	       in_page + op->size <= page_bytes();
}

/* Rule 11. A call that fails half-way is undone on one side only, so that a range of the kernel's has no holes. */
static bool allow_foreign(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->kind == OP_MREMAP && op->len == 0 ? 1 : op->len);

	if (!s.foreign || op->addr < 0)
		return true;
	if (s.ours || s.holes || op->kind == OP_MLOCK || op->kind == OP_MUNLOCK)
		return false;
	if (op->kind != OP_MREMAP || !(op->flags & MREMAP_FIXED))
		return true;
	s = span_of(m, op->to, op->new_len);
	return !s.ours;
}

static bool is_about_pages(const struct op *op)
{
	return op->kind == OP_MPROTECT || op->kind == OP_MREMAP || op->kind == OP_MSYNC || op->kind == OP_MADVISE ||
	       op->kind == OP_POSIX_MADVISE || op->kind == OP_MLOCK || op->kind == OP_MUNLOCK || op->kind == OP_MINCORE;
}

bool rules_allow(struct model *m, const struct op *op)
{
	if (op->in < 0 || op->in >= PROCESSES || !m->lives[op->in])
		return false;
	if (is_about_pages(op) && !allow_foreign(m, op))
		return false;
	switch ((enum op_kind)op->kind) {
	case OP_MMAP:
		return allow_mmap(m, op);
	case OP_MUNMAP:
		return op->addr >= 0 && (is_absurd(op->len) || inside(op->addr, op->len));
	case OP_MPROTECT:
		return allow_mprotect(m, op);
	case OP_MREMAP:
		return allow_mremap(m, op);
	case OP_LOAD:
	case OP_STORE:
		return allow_access(op);
	case OP_MSYNC:
	case OP_MUNLOCK:
	case OP_MINCORE:
		return inside(op->addr, op->len);
	case OP_MADVISE:
		return allow_madvise(m, op);
	case OP_POSIX_MADVISE:
		return allow_posix_madvise(m, op);
	case OP_MLOCK:
		return allow_mlock(m, op);
	case OP_TRUNCATE:
		return op->fd >= 0 && op->fd < FD_KINDS && op->size <= FILE_PAGES_MAX * page_bytes();
	case OP_REOPEN:
		return op->fd >= 0 && op->fd < FILES * FD_MODES;
	case OP_WRITE:
		return op->offset >= 0 && op->len > 0 && op->offset + op->len <= FILE_PAGES_MAX * page_bytes() &&
		       !model_file_mapped(m, op->file);
	case OP_CUT:
		return op->size >= 0 && op->size <= FILE_PAGES_MAX * page_bytes() && !model_file_mapped(m, op->file);
	case OP_FOREIGN:
		return is_aligned(op->addr) && op->len > 0 && inside(op->addr, op->len);
	case OP_UNLOCK_ALL:
	case OP_PRESSURE:
		return true;
	case OP_FORK:
		return op->child > 0 && op->child < PROCESSES && !m->lived[op->child] && model_living(m) < LIVING_MAX;
	case OP_MINHERIT:
		return allow_minherit(m, op);
	case OP_EXIT:
		return op->in != 0 && op->how >= 0 && op->how < EXIT_WAYS;
	case OP_KINDS:
		break;
	}
	return false;
}

/* ---- rule 1 ---- */

struct op rules_for_partial(struct model *m, const struct op *op)
{
	struct op instead = *op;
	struct span s = span_of(m, op->addr, op->len);

	if (op->kind != OP_MADVISE || op->advice != MADV_DONTNEED || !is_aligned(op->addr) || op->len <= 0)
		return instead;
	if (s.locked) {
		int64_t i = s.first;

		/* Linux refuses when it comes to the first locked page. */
		while (!m->pages[i].locked)
			i++;
		instead.addr = i * page_bytes();
		instead.len = page_bytes();
	} else if (s.holes) {
		instead.advice = MADV_NORMAL;
	}
	return instead;
}

static void restore_protection(struct model *m, struct side *s, int64_t first, int64_t last)
{
	for (int64_t i = first; i < last; i++) {
		if (!page_is_hole(&m->pages[i]))
			mprotect(s->window + i * page_bytes(), (size_t)page_bytes(), m->pages[i].prot);
	}
}

static void restore_locks(struct model *m, struct side *s, int64_t first, int64_t last)
{
	for (int64_t i = first; i < last; i++) {
		unsigned char *at = s->window + i * page_bytes();

		if (page_is_hole(&m->pages[i]))
			continue;
		/* Brought in it is already, if it was. */
		if (m->pages[i].locked)
			calls_kernel.mlock2(at, (size_t)page_bytes(), MLOCK_ONFAULT);
		else
			calls_kernel.munlock(at, (size_t)page_bytes());
	}
}

void rules_restore(struct model *m, struct side *s, const struct op *op)
{
	int64_t first, last;

	model_range(op->addr, op->len, &first, &last);
	if (op->kind == OP_MPROTECT)
		restore_protection(m, s, first, last);
	else if (op->kind == OP_MLOCK || op->kind == OP_MUNLOCK)
		restore_locks(m, s, first, last);
}

/* ---- what is compared ---- */

static enum rules_compare compare_madvise(struct model *m, const struct op *op)
{
	struct span s = span_of(m, op->addr, op->len);

	if (op->advice == MADV_WILLNEED && s.anonymous)
		return COMPARE_NOTHING;
	if (op->advice == MADV_HUGEPAGE || op->advice == MADV_NOHUGEPAGE || op->advice == MADV_MERGEABLE ||
	    op->advice == MADV_UNMERGEABLE)
		return s.holes ? COMPARE_SUCCESS : COMPARE_NOTHING;
	if (op->advice == MADV_POPULATE_READ || op->advice == MADV_POPULATE_WRITE || (s.holes && s.locked))
		return COMPARE_SUCCESS;
	return COMPARE_ALL;
}

enum rules_compare rules_compare(struct model *m, const struct op *op)
{
	struct span s;

	switch (op->kind) {
	case OP_MMAP:
		/* What lies in the way in a child is found last (8). */
		return op->in != 0 && (op->flags & MAP_FIXED_NOREPLACE) ? COMPARE_SUCCESS : COMPARE_ALL;
	case OP_MADVISE:
		return compare_madvise(m, op);
	case OP_POSIX_MADVISE:
		s = span_of(m, op->addr, op->len);
		return op->advice == POSIX_MADV_WILLNEED && s.anonymous ? COMPARE_NOTHING : COMPARE_ALL;
	case OP_MSYNC:
		s = span_of(m, op->addr, op->len);
		return s.holes && s.locked ? COMPARE_SUCCESS : COMPARE_ALL;
	case OP_MLOCK:
	case OP_MUNLOCK:
		return COMPARE_SUCCESS;
	case OP_MREMAP:
		/* A length that cannot be, or a duplicate that may not move: several errors apply (8). */
		return is_absurd(op->new_len) || op->len == 0 ? COMPARE_SUCCESS : COMPARE_ALL;
	default:
		return COMPARE_ALL;
	}
}

bool rules_settle(const struct model_page *p, const struct op *op)
{
	if (!page_is_file(p) || p->shared || !(p->prot & PROT_WRITE))
		return false;
	switch (op->kind) {
	case OP_MMAP:
		return (op->flags & (MAP_POPULATE | MAP_LOCKED)) != 0;
	case OP_MLOCK:
		return true;
	case OP_MADVISE:
		return op->advice == MADV_POPULATE_WRITE;
	case OP_MREMAP:
		return p->locked;
	default:
		return false;
	}
}
