/* SPDX-License-Identifier: MIT */
/*
 * writeback.h - dirty pages: the count of them, and what a write begins and ends with
 */
#ifndef QUIRE_OBJECT_WRITEBACK_H
#define QUIRE_OBJECT_WRITEBACK_H

#include "object/object.h"

/* Sets or clears DIRTY and keeps the counts. Any state; for clearing, the caller has made sure that nothing is lost. */
void writeback_note_dirty(struct chunk *chunk, page_word *page);
void writeback_note_clean(struct chunk *chunk, page_word *page);
/* For who has cleared DIRTY by himself. */
void writeback_count_clean(struct chunk *chunk);

/* ---- what a write of pages begins and ends with, for who sends them elsewhere (capture.c) ---- */

enum claim {
	CLAIM_CLEAN, /* nothing to write */
	CLAIM_HELD,  /* it is dirty, and HELD by us */
	CLAIM_BUSY,  /* dirty, but in other hands */
};

/*
 * A claim, with the map lock held for reading: pages that are dirty are held, one by one (idle_only: if they are not mapped), and then
 * become WRITING, and clean, all together, which protects those near each other at once.
 */
enum claim writeback_hold(struct object *object, struct chunk *chunk, unsigned i, bool idle_only);
void writeback_take(struct object *object, struct chunk *chunk, const struct chunk_set *held);
/* WRITING ends; dirty: the write failed. */
void writeback_end(struct chunk *chunk, page_word *page, bool dirty);

#endif
