/* SPDX-License-Identifier: MIT */
/*
 * lend.h - private pages that a child of a fork has not touched yet: they are lent to it
 *
 * Whoever holds the words of lender and borrower took the lender's first; nobody waits for a lender's word with a borrower's held.
 */
#ifndef QUIRE_OBJECT_LEND_H
#define QUIRE_OBJECT_LEND_H

#include "object/private.h"

/* ---- fork; map lock held for writing ---- */

/* to will repeat pages of from, and borrows from whom from borrows, or from it. 0 or -errno. */
int lend_begin(struct private_pages *to, struct private_pages *from);
/* Nothing is borrowed any more. The last to end lets the lender's pages be stored to again. */
void lend_end(struct private_pages *pages);

/* Repeats the private pages of a range, all of one area, in to. -errno: some were, which private_discard forgets. */
int lend_fork(struct private_pages *from, struct private_pages *to, char *addr, size_t n);

/*
 * Before pages of a range are discarded: nobody borrows one any more. borrowed: before it is moved, none is borrowed either. Waits for
 * no frame and no buffer. Map lock held for reading or writing. 0 or -errno: some are still lent.
 */
int lend_call_in(struct private_pages *pages, char *addr, size_t n, bool borrowed);

/* Whether what each LENT word says is so; how many there are. For assertions and tests. */
bool lend_holds(const struct private_pages *pages);
uint64_t lend_borrowed(const struct private_pages *pages);

/* ---- pages that are lent, at a fault; map lock held for reading ---- */

/* Whether the page's word is LENT. Makes nothing. */
bool lend_is_lent(struct private_pages *pages, const void *addr);

/*
 * Copies a LENT page into the own mapping. buffer: of one page. A frame was promised, and is used up on success.
 * => 0; -EAGAIN: look again, after *ret_wait (not NULL) has changed from *ret_seen; -errno.
 */
int lend_copy(struct private_pages *pages, char *addr, struct buffer *buffer, page_word **ret_wait, uint32_t *ret_seen);

/*
 * The page at addr, HELD by the caller and with LENDS: gives the borrowers their copy, so that it can be stored to. buffer NULL: only
 * where none is needed. Otherwise a frame was promised; *ret_used: it is used up.
 * => 0: it does not lend any more; -EAGAIN: a frame and a buffer are needed; -errno.
 */
int lend_stop(struct private_pages *pages, char *addr, struct buffer *buffer, bool *ret_used);

/* ---- for private.c; map lock held for reading ---- */

/*
 * Whether a borrower's word is LENT. No word comes to be so meanwhile: that takes a fork. Waits for those that are HELD, by who waits
 * for nothing; no borrower's word is held by the caller.
 */
bool lend_is_needed(const struct private_pages *lender, uint64_t page);
/*
 * The lender's page is held by the caller, and its bytes are in the slot, to which a word of his refers: the borrowers' words refer to
 * it as well from now on. The slot's chunk has its shares.
 */
void lend_hand_over(struct private_pages *lender, uint64_t page, uint64_t slot);

#endif
