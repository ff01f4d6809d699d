/* SPDX-License-Identifier: MIT */
/*
 * private.h - the private pages of a space: anonymous memory, and copies of file pages made on write
 *
 * The private layer lies over the objects: a page of a private mapping is in exactly one of these forms, and its word tells
 * which. ABSENT: never copied, the page of the object behind shows (or zeros, where there is none). RESIDENT: a private page
 * is mapped at its address; nothing else ever is. OUT: the bytes are in the swap object, and nothing is mapped.
 *
 * A word leaves ABSENT only in the hands of one who holds the object's page too, so whoever holds that may unmap it
 * wherever the word says ABSENT, and nowhere else: taking out a private page would lose it.
 *
 * After a fork the child borrows: a page that is RESIDENT in the engine's own process is LENT in the child, and write-protected
 * where it is. A touch by the child copies it; before the lender changes, moves or discards it, or pages it out, a copy in the swap
 * object takes its place for all borrowers. Only the engine's own process lends, since the memory of another may vanish at any time.
 *
 * Whoever holds the words of lender and borrower took the lender's first; nobody waits for a lender's word with a borrower's held.
 *
 * Words are numbered by virtual page, so splitting and merging areas moves nothing. All calls want the map lock held for
 * reading at least, unless they say otherwise.
 */
#ifndef QUIRE_OBJECT_PRIVATE_H
#define QUIRE_OBJECT_PRIVATE_H

#include "object/object.h"

struct extent;
struct private_pages;

/* The swap object and what is free of it; that of all spaces of an engine. */
struct slots {
	struct object *swap;
	struct lock lock;            /* extents */
	struct extent *free_extents; /* [lock] */
	uint32_t next_extent;        /* [lock] */
	/* For who has to page out and may not wait for a buffer. */
	struct lock spare_lock; /* may be taken with the map lock held */
	struct buffer spare;    /* [spare_lock] its data and pages, from the first borrower on */
	_Atomic unsigned users;
};

/* swap: the caller's reference goes over, also when this fails. The caller has the one use. 0 or -errno. */
int slots_create(struct object *swap, struct slots **ret);
/* NULL is fine. */
void slots_unuse(struct slots *slots);

struct private_pages {
	struct object *object; /* kind PRIVATE: the words */
	struct slots *slots;
	struct object *swap; /* kind SWAP: where they go; of slots */
	struct pmap *pmap;
	/* Whether the page may not be paged out. Handed down by the space. */
	bool (*is_locked)(void *space, const void *addr);
	/* Whether a private mapping is at addr. */
	bool (*still_private)(void *space, const void *addr);
	void *space;
	_Atomic uint64_t out;                   /* pages that are OUT */
	struct private_pages *lender;           /* changed with the map lock held for writing. NULL: this process's own */
	struct private_pages *borrowers, *next; /* likewise: those who borrow from this one; the next of them */
};

/* 0 or -errno. slots: used too. */
int private_create(struct registry *registry, struct cache *cache, struct pmap *pmap, struct slots *slots,
		   struct private_pages **ret);
void private_destroy(struct private_pages *pages);

/* The word of the page at addr; NULL: no memory. */
page_word *private_word(struct private_pages *pages, const void *addr, struct chunk **ret_chunk);
/* Whether the page's word is ABSENT. Makes nothing. */
bool private_is_absent(struct private_pages *pages, const void *addr);

/* How many of n pages from addr on are ABSENT, up to the first that is not. Makes nothing. */
size_t private_absent(struct private_pages *pages, const char *addr, size_t n);
/* Likewise those that are RESIDENT, and are lent to nobody. Map lock held for writing. */
size_t private_own(struct private_pages *pages, const char *addr, size_t n);

/*
 * Makes an ABSENT page a private one with the bytes at source. A frame was promised by the caller and is used up on success.
 * => 0; -EAGAIN: the word was not ABSENT; -errno of the kernel.
 */
int private_enter(struct private_pages *pages, char *addr, const void *source);

/*
 * Brings an OUT page back. No lock held.
 * => 0: in place, or something moved meanwhile: look again; -errno: the read failed, or no frame can be had. ret_waited:
 *    storage was waited for.
 */
int private_bring_in(struct private_pages *pages, char *addr, bool *ret_waited);

/* Begins to read the page of the swap object that an OUT page is in, where there is room, and waits for nothing. No lock held. */
void private_begin_in(struct private_pages *pages, const char *addr);

/*
 * Forgets the private pages of a range: frames and swap are given back. remove: takes them out of the mapping too (a mapping
 * that is about to go need not). Map lock held for writing, or remove. Nothing of it is lent: it was called in, or the borrowers'
 * pages were discarded before.
 */
void private_discard(struct private_pages *pages, char *addr, size_t n, bool remove);

/*
 * Takes the words of a range along to another address, whose words are ABSENT and were prepared; the kernel has moved the pages.
 * Map lock held for writing.
 */
void private_move(struct private_pages *pages, char *from, char *to, size_t n);
/* Makes the words at the new place of those that there are, so that private_move cannot fail. Map lock held for writing. -ENOMEM. */
int private_prepare(struct private_pages *pages, char *from, char *to, size_t n);

/* ---- fork; map lock held for writing ---- */

/* to will repeat pages of from, and borrows from whom from borrows, or from it. 0 or -errno. */
int private_begin_borrowing(struct private_pages *to, struct private_pages *from);
/* Nothing is borrowed any more. The last to end lets the lender's pages be stored to again. */
void private_end_borrowing(struct private_pages *pages);

/* Repeats the private pages of a range, all of one area, in to. -errno: some were, which private_discard forgets. */
int private_fork(struct private_pages *from, struct private_pages *to, char *addr, size_t n);

/*
 * Before pages of a range are discarded: nobody borrows one any more. borrowed: before it is moved, none is borrowed either. Waits for
 * no frame and no buffer. Map lock held for reading or writing. 0 or -errno: some are still lent.
 */
int private_call_in(struct private_pages *pages, char *addr, size_t n, bool borrowed);

/* Whether what each LENT word says is so; how many there are. For assertions and tests. */
bool private_loans_hold(const struct private_pages *pages);
uint64_t private_borrowed(const struct private_pages *pages);

/* ---- pages that are lent, at a fault; map lock held for reading ---- */

/* Whether the page's word is LENT. Makes nothing. */
bool private_is_lent(struct private_pages *pages, const void *addr);

/*
 * Copies a LENT page into the own mapping. buffer: of one page. A frame was promised, and is used up on success.
 * => 0; -EAGAIN: look again, after *ret_wait (not NULL) has changed from *ret_seen; -errno.
 */
int private_copy_lent(struct private_pages *pages, char *addr, struct buffer *buffer, page_word **ret_wait, uint32_t *ret_seen);

/*
 * The page at addr, HELD by the caller and with LENDS: gives the borrowers their copy, so that it can be stored to. buffer NULL: only
 * where none is needed. Otherwise a frame was promised; *ret_used: it is used up.
 * => 0: it does not lend any more; -EAGAIN: a frame and a buffer are needed; -errno.
 */
int private_stop_lending(struct private_pages *pages, char *addr, struct buffer *buffer, bool *ret_used);

/* cache_ops.unmap for a chunk of private pages: they leave for the swap object. No lock held. */
void private_page_out(struct private_pages *pages, struct chunk *chunk, unsigned from, unsigned to);

/* Frames that private pages of a range have. */
uint64_t private_resident(struct private_pages *pages, const char *addr, size_t n);

#endif
