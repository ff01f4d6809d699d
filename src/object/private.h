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
 * LENT: the page is another process's, until one of both changes it (lend.h).
 *
 * Words are numbered by virtual page, so splitting and merging areas moves nothing. All calls want the map lock held for
 * reading at least, unless they say otherwise.
 */
#ifndef QUIRE_OBJECT_PRIVATE_H
#define QUIRE_OBJECT_PRIVATE_H

#include "object/slots.h"

struct private_pages;

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

/* cache_ops.unmap for a chunk of private pages: they leave for the swap object. No lock held. */
void private_page_out(struct private_pages *pages, struct chunk *chunk, unsigned from, unsigned to);

/*
 * Moves a run of pages of a chunk, HELD by the caller, to the swap object, through his buffer. 0; -errno: what could not be is RESIDENT
 * again (-EAGAIN: some of it, because slots were taken).
 */
int private_page_out_held(struct private_pages *pages, struct chunk *chunk, unsigned i, unsigned n, struct buffer *buffer);
/* A word of the chunk has become RESIDENT; tells the policy. */
void private_count_in(struct private_pages *pages, struct chunk *chunk);

/* Frames that private pages of a range have. */
uint64_t private_resident(struct private_pages *pages, const char *addr, size_t n);

#endif
