/* SPDX-License-Identifier: MIT */
/*
 * flusher.h - the daemon that writes dirty pages in time
 */
#ifndef QUIRE_OBJECT_FLUSHER_H
#define QUIRE_OBJECT_FLUSHER_H

#include <pthread.h>

#include "object/object.h"

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
