/* SPDX-License-Identifier: MIT */
/*
 * pmap.h - the kernel's page tables of one process, this one or another, as far as we steer them
 *
 * The physical map of the BSDs: what is entered, removed and protected in the program's own mappings. Ranges are whole pages.
 * All but pmap_create and pmap_destroy are async-signal-safe; 0 or -errno. Nothing but pmap_wake wakes a thread that sleeps on a
 * page.
 */
#ifndef QUIRE_SYS_PMAP_H
#define QUIRE_SYS_PMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/identity.h"
#include "sys/memory.h"
#include "sys/pagemap.h"
#include "sys/uffd.h"

/* What each stranger may have at most; 0: as much as it gets. */
struct far_limits {
	size_t areas;
	uint64_t locked_pages;
	unsigned objects; /* files, and pieces of shared memory: each costs descriptors */
};

/*
 * The way to another process, which does there what only it can do. op: as memory_do; -ESRCH: it has ended, or has called exec,
 * and nothing of ours is mapped there. read: as memory_read.
 */
struct far {
	long (*op)(struct far *far, const struct memory_op *op);
	int (*read)(struct far *far, const void *addr, size_t len, void *ret);
	/* Several that give no address, in order, in one exchange where it can be: 0, or the first -errno. n is at most FAR_OPS. */
	int (*ops)(struct far *far, const struct memory_op *ops, size_t n);
	/* Whether it has ended, or has called exec, which the others find out later. May be NULL: never. */
	bool (*gone)(struct far *far);
	/* What it says cannot be: it is served no longer. */
	void (*lose)(struct far *far);
	bool strange;                    /* another program's: what it says is checked, and it is given no more than it may have */
	const struct far_limits *limits; /* of a stranger */
	unsigned objects;                /* [map_lock] of a stranger: how many it has mapped */
};

#define FAR_OPS 64

/*
 * Two userfaultfds, since whether write protection is asynchronous is a property of the descriptor: stores to shared pages are
 * remembered by the kernel (0.8 µs) where it can; stores to private ones must be caught (their copy has to be accounted for), and those
 * to atomic files are (a commit looks for what was stored to, and is not to look at all that is mapped). Without asynchronous
 * protection both are the same descriptor. `tracked` says below which of them a mapping is registered with.
 */
struct pmap {
	enum uffd_source source;
	bool sigbus; /* faults raise SIGBUS on the faulting thread */
	bool tracks; /* stores to what is registered so are tracked by the kernel: pagemap tells them */
	int tracking_uffd;
	int catching_uffd;
	int pagemap;                                          /* -1 when !tracks */
	struct identity tracking, catching, pagemap_identity; /* of these descriptors */
	struct far *far;                                      /* NULL: this process's */
};

int pmap_create(enum uffd_source source, bool sigbus, bool allow_tracking, struct pmap *ret);
/* Of another process, where nothing is mapped until pmap_attach. */
void pmap_create_far(struct far *far, struct pmap *ret);
/* uffd: the other process's, whose faults are messages; it goes over. */
void pmap_attach(struct pmap *pmap, int uffd);
void pmap_destroy(struct pmap *pmap);
/* Whether there is no such process any more. */
bool pmap_is_gone(const struct pmap *pmap);

static inline bool pmap_is_strange(const struct pmap *pmap)
{
	return pmap->far && pmap->far->strange;
}

/* What cannot fail, but in the hands of a stranger, who is lost by it. */
void pmap_must(const struct pmap *pmap, int r);

/* Operations at fixed places, in another process. 0 or -errno: some were done. */
int pmap_ops(struct pmap *pmap, const struct memory_op *ops, size_t n);

/* The kernel's calls on the mappings themselves. Where the other process has ended, nothing is left to be unmapped, and that is done. */
int pmap_map(struct pmap *pmap, const struct memory_op *map, char **ret_addr);
int pmap_unmap(struct pmap *pmap, void *addr, size_t len);
int pmap_allow(struct pmap *pmap, void *addr, size_t len, int prot);
int pmap_move(struct pmap *pmap, void *addr, size_t len, size_t new_len, int flags, void *to, char **ret_addr);
int pmap_advise(struct pmap *pmap, void *addr, size_t len, int advice);

/* Starts catching faults on a fresh mapping. file: a mapping of a memfd. Where the other process has ended there are none. */
int pmap_register(struct pmap *pmap, void *addr, size_t len, bool tracked, bool file);

/*
 * Makes one frame of what is behind a mapping of a memfd, of which no page is missing, and maps it by one entry; from here on a touch of what
 * is there and not mapped is not caught, and stores are not. This process's mappings only.
 * => 0; else stores are caught again, but not those through entries that are there.
 */
int pmap_collapse(struct pmap *pmap, void *addr, size_t len, bool tracked);

/* Maps frames that are in the memfd, write-protected: the next store is noticed. */
int pmap_enter(struct pmap *pmap, void *addr, size_t pages, bool tracked);
/* Likewise, up to the first that has an entry already. */
int pmap_enter_some(struct pmap *pmap, void *addr, size_t pages, bool tracked);
/* Installs one private page. */
int pmap_enter_private(struct pmap *pmap, void *addr, const void *source, size_t pages);
/* Likewise, write-protected. */
int pmap_enter_protected(struct pmap *pmap, void *addr, const void *source, size_t pages);

/* Makes the frame of a shared page, with the bytes at source, and maps it, write-protected, in one step. */
int pmap_enter_fresh(struct pmap *pmap, void *addr, const void *source, bool tracked);

/* Takes pages out of the program's mapping. Frames of a memfd stay; private pages are gone. */
int pmap_remove(struct pmap *pmap, void *addr, size_t pages);
/* Likewise, several pieces at once. This process's mappings only. -errno: some were taken out. */
int pmap_remove_pieces(struct pmap *pmap, const struct iovec *pieces, unsigned n);

/* Catches stores, or has them tracked anew. */
int pmap_protect(struct pmap *pmap, void *addr, size_t pages, bool tracked);
int pmap_unprotect(struct pmap *pmap, void *addr, size_t pages, bool tracked);

/* Copies private pages out, whatever their protection. */
int pmap_copy_out(struct pmap *pmap, const void *addr, size_t pages, void *ret);

/* The next touch of a page that is not mapped, and that nobody maps meanwhile, raises SIGBUS. Entering the page undoes it. */
int pmap_refuse(struct pmap *pmap, void *addr, bool tracked);

/* Lets threads that wait on a page look again. */
void pmap_wake(struct pmap *pmap, void *addr, size_t pages, bool tracked);

#endif
