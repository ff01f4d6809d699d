/* SPDX-License-Identifier: MIT */
/*
 * epoch.h - in which epoch a page was stored to last
 *
 * Epochs are counted in the cache, from the first time that anybody asks: before that nothing is kept. A page's stamp tells the epoch
 * in which the engine learned of its last store. It learns of a store after the store, so that nothing is ever taken for older than it
 * is: what is stored after epoch_begin has returned has a stamp that is greater than its answer.
 */
#ifndef QUIRE_OBJECT_EPOCH_H
#define QUIRE_OBJECT_EPOCH_H

#include "object/object.h"

/* Ends the epoch that is, and begins the next. The number of the one that ended, from 1 on. */
uint64_t epoch_begin(struct cache *cache);

/* Notes that n pages of a chunk from i on have been stored to. Called after that was learned. Async-signal-safe. */
void epoch_stamp(struct chunk *chunk, unsigned i, unsigned n);

/* Likewise any pages of an object, at once: where that would take much memory, all of the object. Async-signal-safe. */
void epoch_stamp_range(struct object *object, uint64_t first, uint64_t end);

/* The pages of a chunk that were stored to after the epoch, of which more is known than epoch_is_lost. */
void epoch_written(struct chunk *chunk, uint64_t since, struct chunk_set *ret);

/* Whether nothing is known of the object so far back, so that all of it counts as stored to. */
bool epoch_is_lost(const struct object *object, uint64_t since);

#endif
