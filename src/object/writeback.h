/* SPDX-License-Identifier: MIT */
/*
 * writeback.h - dirty pages and the daemon that writes them
 */
#ifndef QUIRE_OBJECT_WRITEBACK_H
#define QUIRE_OBJECT_WRITEBACK_H

#include <pthread.h>

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

/* Writes pages older than expire_ms, and all when too many are dirty. */
struct flusher {
	struct registry *registry;
	struct cache *cache;
	unsigned expire_ms;
	/* Called now and then, with no lock held; must not wait. True: again soon. NULL: none. Set before the start. */
	bool (*sweep)(void *arg);
	void *sweep_arg;
	pthread_t thread;
	_Atomic uint32_t word; /* futex */
	_Atomic bool stopping;
	bool started;
};

int flusher_start(struct flusher *flusher, struct registry *registry, struct cache *cache, unsigned expire_ms);
void flusher_stop(struct flusher *flusher);

/*
 * Hands the caller's use of an object that nobody maps any more, and whose dirty pages could not be written, to the
 * flusher, which tries on.
 */
void writeback_adopt(struct object *object);

/* Flushes every object. The first -errno, 0. */
int writeback_all(struct registry *registry);
/* Whether nothing has been stored since to a file that can be written. */
bool writeback_is_done(struct registry *registry);

#endif
