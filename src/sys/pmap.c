/* SPDX-License-Identifier: MIT */
/*
 * pmap.c - the kernel's page tables of one process, as far as we steer them
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys/page_size.h"
#include "sys/pmap.h"
#include "util/assert.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* 6.1 */
#endif

int pmap_create(enum uffd_source source, bool sigbus, bool allow_tracking, struct pmap *ret)
{
	struct pmap pmap = {.source = source, .sigbus = sigbus, .pagemap = -1};
	uint64_t features;
	int r;

	r = uffd_probe(source, &features);
	if (r < 0)
		return r;
	if (allow_tracking && (features & QUIRE_UFFD_WP_ASYNC) && pagemap_open(&pmap.pagemap) == 0)
		pmap.tracks = true;
	r = uffd_open(source, sigbus, false, &pmap.catching_uffd);
	if (r < 0)
		goto no_private;
	pmap.tracking_uffd = pmap.catching_uffd;
	if (pmap.tracks) {
		r = uffd_open(source, sigbus, true, &pmap.tracking_uffd);
		if (r < 0)
			goto no_shared;
	}
	(void)identity_get(pmap.catching_uffd, &pmap.catching);
	(void)identity_get(pmap.tracking_uffd, &pmap.tracking);
	(void)identity_get(pmap.pagemap, &pmap.pagemap_identity);
	*ret = pmap;
	return 0;

no_shared:
	close(pmap.catching_uffd);
no_private:
	if (pmap.pagemap >= 0)
		close(pmap.pagemap);
	return r;
}

void pmap_create_far(struct far *far, struct pmap *ret)
{
	*ret = (struct pmap){.catching_uffd = -1, .tracking_uffd = -1, .pagemap = -1, .far = far};
}

void pmap_attach(struct pmap *pmap, int uffd)
{
	pmap->tracking_uffd = uffd;
	pmap->catching_uffd = uffd;
	(void)identity_get(uffd, &pmap->catching);
	pmap->tracking = pmap->catching;
}

bool pmap_is_gone(const struct pmap *pmap)
{
	return pmap->far && pmap->far->gone && pmap->far->gone(pmap->far);
}

void pmap_must(const struct pmap *pmap, int r)
{
	if (r < 0 && pmap_is_strange(pmap))
		pmap->far->lose(pmap->far);
	else
		ASSERT(r == 0);
}

void pmap_destroy(struct pmap *pmap)
{
	if (pmap->tracking_uffd != pmap->catching_uffd)
		identity_close(pmap->tracking_uffd, &pmap->tracking);
	identity_close(pmap->catching_uffd, &pmap->catching);
	identity_close(pmap->pagemap, &pmap->pagemap_identity);
}

/* ---- mappings ---- */

static long perform(struct pmap *pmap, const struct memory_op *op)
{
	return pmap->far ? pmap->far->op(pmap->far, op) : memory_do(op);
}

/* What takes away: of a process that has ended, it has been. */
static int removal(struct pmap *pmap, const struct memory_op *op)
{
	int r = (int)perform(pmap, op);

	return pmap->far && r == -ESRCH ? 0 : r;
}

static int placement(long r, char **ret_addr)
{
	if (r < 0)
		return (int)r;
	*ret_addr = (char *)(intptr_t)r;
	return 0;
}

int pmap_ops(struct pmap *pmap, const struct memory_op *ops, size_t n)
{
	int r = 0;

	for (size_t done = 0; done < n && r == 0; done += FAR_OPS)
		r = pmap->far->ops(pmap->far, ops + done, n - done < FAR_OPS ? n - done : FAR_OPS);
	return r;
}

int pmap_map(struct pmap *pmap, const struct memory_op *map, char **ret_addr)
{
	return placement(perform(pmap, map), ret_addr);
}

int pmap_unmap(struct pmap *pmap, void *addr, size_t len)
{
	return removal(pmap, &(struct memory_op){.kind = MEMORY_UNMAP, .addr = addr, .len = len});
}

int pmap_allow(struct pmap *pmap, void *addr, size_t len, int prot)
{
	return removal(pmap, &(struct memory_op){.kind = MEMORY_PROTECT, .addr = addr, .len = len, .arg = prot});
}

int pmap_move(struct pmap *pmap, void *addr, size_t len, size_t new_len, int flags, void *to, char **ret_addr)
{
	struct memory_op op = {.kind = MEMORY_MOVE, .addr = addr, .len = len, .to = to, .to_len = new_len, .flags = flags};

	return placement(perform(pmap, &op), ret_addr);
}

int pmap_advise(struct pmap *pmap, void *addr, size_t len, int advice)
{
	return (int)perform(pmap, &(struct memory_op){.kind = MEMORY_ADVISE, .addr = addr, .len = len, .arg = advice});
}

/* ---- pages ---- */

static int uffd_of(struct pmap *pmap, bool tracked)
{
	return tracked ? pmap->tracking_uffd : pmap->catching_uffd;
}

int pmap_enter(struct pmap *pmap, void *addr, size_t pages, bool tracked)
{
	return uffd_continue(uffd_of(pmap, tracked), addr, pages << page_shift, true);
}

int pmap_enter_some(struct pmap *pmap, void *addr, size_t pages, bool tracked)
{
	return uffd_continue_some(uffd_of(pmap, tracked), addr, pages << page_shift, true);
}

int pmap_enter_private(struct pmap *pmap, void *addr, const void *source, size_t pages)
{
	return uffd_copy(pmap->catching_uffd, addr, source, pages << page_shift, false);
}

int pmap_enter_protected(struct pmap *pmap, void *addr, const void *source, size_t pages)
{
	return uffd_copy(pmap->catching_uffd, addr, source, pages << page_shift, true);
}

int pmap_enter_fresh(struct pmap *pmap, void *addr, const void *source, bool tracked)
{
	return uffd_copy(uffd_of(pmap, tracked), addr, source, page_size(), true);
}

int pmap_remove(struct pmap *pmap, void *addr, size_t pages)
{
	return removal(pmap, &(struct memory_op){.kind = MEMORY_DROP, .addr = addr, .len = pages << page_shift});
}

int pmap_remove_pieces(struct pmap *pmap, const struct iovec *pieces, unsigned n)
{
	INVARIANT(!pmap->far);
	(void)pmap;
	return memory_drop(pieces, n);
}

/* Nothing is mapped in a process that has not attached, and in one that has ended. */
static int unless_gone(const struct pmap *pmap, int r)
{
	return pmap->far && (r == -ESRCH || pmap->catching_uffd < 0) ? 0 : r;
}

/* Of a process that has ended the kernel says that there is no memory, where it is asked to register; and here, that there is none. */
int pmap_register(struct pmap *pmap, void *addr, size_t len, bool tracked, bool file)
{
	int r = uffd_register(uffd_of(pmap, tracked), addr, len, file, true);

	return r < 0 && pmap->far && uffd_unprotect(uffd_of(pmap, tracked), addr, page_size()) == -ESRCH ? 0 : r;
}

/*
 * A range that asks for minor faults is mapped page by page, and the kernel does not take write protection away but with the whole
 * registration. While there is none nothing may be missing, and nothing may be stored to.
 */
int pmap_collapse(struct pmap *pmap, void *addr, size_t len, bool tracked)
{
	int uffd = uffd_of(pmap, tracked);
	int collapsed, r = uffd_unregister(uffd, addr, len);

	if (r < 0)
		return r;
	collapsed = madvise(addr, len, MADV_COLLAPSE) < 0 ? -errno : 0;
	r = uffd_register(uffd, addr, len, collapsed < 0, true);
	/* What is not registered reads as zeros once it is missing. */
	ASSERT(r == 0);
	return collapsed;
}

int pmap_protect(struct pmap *pmap, void *addr, size_t pages, bool tracked)
{
	return unless_gone(pmap, uffd_protect(uffd_of(pmap, tracked), addr, pages << page_shift));
}

int pmap_unprotect(struct pmap *pmap, void *addr, size_t pages, bool tracked)
{
	return unless_gone(pmap, uffd_unprotect(uffd_of(pmap, tracked), addr, pages << page_shift));
}

int pmap_copy_out(struct pmap *pmap, const void *addr, size_t pages, void *ret)
{
	size_t len = pages << page_shift;

	return pmap->far ? pmap->far->read(pmap->far, addr, len, ret) : memory_read(addr, len, ret);
}

int pmap_refuse(struct pmap *pmap, void *addr, bool tracked)
{
	/* A page that was dropped may have left its mark of protection, over which nothing else is laid. */
	int r = uffd_unprotect(uffd_of(pmap, tracked), addr, page_size());

	return r < 0 ? r : uffd_poison(uffd_of(pmap, tracked), addr, page_size());
}

void pmap_wake(struct pmap *pmap, void *addr, size_t pages, bool tracked)
{
	if (!pmap->sigbus)
		uffd_wake(uffd_of(pmap, tracked), addr, pages << page_shift);
}
