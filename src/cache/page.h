/* SPDX-License-Identifier: MIT */
/*
 * page.h - a page is one word
 *
 *                    claim                 bytes are right
 *        ABSENT ──────────────▶ LOADING ───────────────────▶ RESIDENT ◀──────┐
 *         │ ▲ ▲                    │                          │   ▲          │ done
 *     bar │ │ │ freed              │ the read failed      hold│   │release   │
 *         ▼ │ └────────────────────┼──────────────────────┐   ▼   │          │
 *       BARRED                     ▼                      └── HELD ──────────┘
 *                               ABSENT
 *
 *   ABSENT    no frame. The bytes are with the pager (or are zeros, where the pager never had the page).
 *   LOADING   a frame is being filled; its owner is the transfer.
 *   RESIDENT  the frame has the right bytes.
 *   HELD      the frame has the right bytes, and one thread is changing its mappings or giving it back.
 *   BARRED    no frame, and one thread keeps it so for the moment, because it unmaps a range that spans it.
 *   OUT       private pages only: the bytes are in the swap object; the rest of the word is the page's number there.
 *   LENT      private pages of a child only: the bytes are in the page at the same address of the engine's own process.
 *
 * LOADING, HELD and BARRED are busy: whoever moved the word there owns it until he moves it on; others wait, having set
 * WAITED, with no lock held. HELD and BARRED last no longer than the map lock is held for reading, so whoever holds it for
 * writing meets neither. Flags beside the state:
 *
 *   DIRTY     the frame differs from the storage, as far as is known (stores that are tracked asynchronously are learnt of by a harvest).
 *   WRITING   a copy of the frame is on its way to the storage. The frame stays (I3) and no second write is begun.
 *   MAPPED    some mapping may have an entry for it: it may be read and written with no fault. Clear: no mapping has one.
 *   STORED    the pager has been given this page. Where there is no file, a page without it is zeros.
 *   AHEAD     came by readahead and was not touched yet.
 *   MARK      touching it starts the next readahead.
 *   ONCE      came in through a mapping whose pages are used once, and no other has mapped it since.
 *   SLOT      swap object only: an OUT word refers to this page.
 *   LENDS     private pages only, the same bit: a child's word may be LENT, and this page is protected against stores.
 *   FILLED    zeros, in the place of bytes that cannot be had: a callback has answered so (object/fill.c). Never with DIRTY.
 *   BEYOND    zeros past the end of the object, likewise. Never DIRTY: there is nowhere to write them.
 *   REF       0…4, how often it proved useful; the policy's, and an ABSENT word keeps it.
 *   PASSES    for how many passes of the policy's hands it stays yet, in the place of STAMP, in a word that is not ABSENT.
 *   STAMP     the time of eviction, the policy's, in an ABSENT word.
 *
 *     31 22 21 17    16     15    14   13  12…10  9    8     7      6       5      4      3    2…0
 *    ┌───────────┬──────┬──────┬────┬────┬─────┬────┬─────┬──────┬──────┬──────┬───────┬─────┬─────┐
 *    │   STAMP   │BEYOND│FILLED│ONCE│SLOT│ REF │MARK│AHEAD│STORED│WAITED│MAPPED│WRITING│DIRTY│state│
 *    ├─────┬─────┼──────┴──────┴────┴────┴─────┴────┴─────┴──────┴──────┴──────┴───────┴─────┴─────┤
 *    │     │PASS.│                                                              RESIDENT and the rest │
 *    ├─────┴─────┴───────────────────────────────────────────────────────────────────────────┬─────┤
 *    │                    page number in the swap object                                     │ OUT │
 *    └───────────────────────────────────────────────────────────────────────────────────────┴─────┘
 */
#ifndef QUIRE_CACHE_PAGE_H
#define QUIRE_CACHE_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/assert.h"
#include "util/lock.h"

typedef _Atomic uint32_t page_word;

enum page_state {
	PAGE_ABSENT = 0,
	PAGE_LOADING = 1,
	PAGE_RESIDENT = 2,
	PAGE_HELD = 3,
	PAGE_BARRED = 4,
	PAGE_OUT = 5,
	PAGE_LENT = 6,
};

#define PAGE_STATE     0x0007u
#define PAGE_DIRTY     0x0008u
#define PAGE_WRITING   0x0010u
#define PAGE_MAPPED    0x0020u
#define PAGE_WAITED    0x0040u
#define PAGE_STORED    0x0080u
#define PAGE_AHEAD     0x0100u
#define PAGE_MARK      0x0200u
#define PAGE_REF       0x1c00u
#define PAGE_REF_ONE   0x0400u
#define PAGE_SLOT      0x2000u
#define PAGE_LENDS     0x2000u
#define PAGE_ONCE      0x4000u
#define PAGE_FILLED    0x8000u
#define PAGE_BEYOND    0x10000u
#define PAGE_PASSES    0x3e0000u
#define PAGE_PASS      0x20000u
#define PAGE_STAMP     0xfffe0000u
#define PAGE_STAMP_BIT 17
#define PAGE_OUT_BIT   3

/* What the policy keeps in the word of a resident page. */
#define PAGE_USE (PAGE_REF | PAGE_PASSES)

static inline enum page_state page_state(uint32_t word)
{
	return (enum page_state)(word & PAGE_STATE);
}

static inline bool page_has_frame(uint32_t word)
{
	return page_state(word) == PAGE_RESIDENT || page_state(word) == PAGE_HELD;
}

static inline bool page_is_busy(uint32_t word)
{
	return page_state(word) == PAGE_LOADING || page_state(word) == PAGE_HELD || page_state(word) == PAGE_BARRED;
}

static inline uint32_t page_load(page_word *page)
{
	return atomic_load_explicit(page, memory_order_acquire);
}

/* from is updated when it fails. Acquire pairs with the release of whoever moved the word to what is seen here. */
static inline bool page_swap(page_word *page, uint32_t *from, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(page, from, to, memory_order_acq_rel, memory_order_acquire);
}

/* Moves a word whose state is from to state to, flags as they are. False: the state was another. */
static inline bool page_take(page_word *page, enum page_state from, enum page_state to)
{
	uint32_t word = page_load(page);

	while (page_state(word) == from)
		if (page_swap(page, &word, (word & ~PAGE_STATE) | (uint32_t)to))
			return true;
	return false;
}

/*
 * Ends a busy state: the state becomes to, clear and then set are applied to the flags, and whoever waits is woken.
 * => The caller owns the busy word.
 */
static inline void page_settle(page_word *page, enum page_state to, uint32_t clear, uint32_t set)
{
	uint32_t word = page_load(page);

	INVARIANT(page_is_busy(word));
	while (!page_swap(page, &word, (((word & ~(PAGE_STATE | PAGE_WAITED | clear)) | set) & ~PAGE_STATE) | (uint32_t)to))
		;
	if (word & PAGE_WAITED)
		futex_wake_all(page);
}

/* Sleeps until a busy word (or one with the flag also, e.g. PAGE_WRITING) has changed; at most so many ms, 0: for ever. No lock is held. */
static inline void page_wait_ms(page_word *page, uint32_t word, unsigned ms)
{
	struct timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	if (!(word & PAGE_WAITED) && !page_swap(page, &word, word | PAGE_WAITED))
		return;
	futex_wait(page, word | PAGE_WAITED, ms ? &timeout : NULL);
}

static inline void page_wait(page_word *page, uint32_t word)
{
	page_wait_ms(page, word, 0);
}

/* Clears and sets flags of a word in any state; the word before. */
static inline uint32_t page_flags(page_word *page, uint32_t clear, uint32_t set)
{
	uint32_t word = page_load(page);

	while (!page_swap(page, &word, (word & ~clear) | set))
		;
	return word;
}

#endif
