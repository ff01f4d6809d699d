/* SPDX-License-Identifier: MIT */
/*
 * flusher.c - the daemon that writes dirty pages in time, and what writes all there are
 */
#include "object/flusher.h"

#include <errno.h>
#include <time.h>

#include "object/collapse.h"
#include "object/writeback.h"
#include "sys/thread.h"

#define TICK_MS       500
#define SWEEP_MS      50
#define COLLAPSE_MS   100                          /* the most of a tick that goes to collapsing the chunks of an object */
#define DIRTY_DIVISOR 4                            /* more than this part of the budget dirty: write all */
#define HARVEST_PAGES ((uint64_t)64 * CHUNK_PAGES) /* that the flusher asks for at once: 0.1 ms, where all of them are mapped */
#define STUCK_MS      10000                        /* at the end of the program, for a pager of its own that takes nothing */

/* The object after the given one, referenced, the given one unreferenced. NULL starts and ends. */
static struct object *next_object(struct registry *registry, struct object *object)
{
	struct object *next;

	lock_acquire(&registry->lock);
	for (next = object ? object->next : registry->head; next; next = next->next)
		if (next->kind != OBJECT_PRIVATE && object_try_ref(next))
			break;
	lock_release(&registry->lock);
	object_unref(object);
	return next;
}

/* Whether nothing of it is dirty, or on its way. */
static bool is_written(struct object *object)
{
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			if (page_load(&chunk->page[i]) & (PAGE_DIRTY | PAGE_WRITING))
				return false;
	return true;
}

/* As object_flush, for an object whose pager may be stuck: waits no longer than it takes for one more write to end. */
static int flush_patiently(struct object *object)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	uint32_t since = cache_clock_ms(), freed = atomic_load(&object->buffers->freed);

	rwlock_read_acquire(&object->cache->map_lock);
	(void)object_harvest(object, 0, UINT64_MAX);
	rwlock_read_release(&object->cache->map_lock);
	atomic_store(&object->write_error, 0);
	for (;;) {
		object_write(object, 0, UINT64_MAX, false, NULL);
		if (is_written(object))
			return 0;
		if (atomic_load(&object->write_error))
			return -atomic_load(&object->write_error);
		if (freed != atomic_load(&object->buffers->freed))
			since = cache_clock_ms();
		freed = atomic_load(&object->buffers->freed);
		if (cache_clock_ms() - since > STUCK_MS)
			return -ETIMEDOUT;
		nanosleep(&moment, NULL);
	}
}

/* Those first whose storage answers. */
int writeback_all(struct registry *registry)
{
	int result = 0;

	for (int own = 0; own < 2; own++)
		for (struct object *object = next_object(registry, NULL); object; object = next_object(registry, object)) {
			int r = 0;

			/* What is not committed is not to be kept. */
			if (object->kind == OBJECT_FILE && !object->journal && object_has_own_buffers(object) == own)
				r = own ? flush_patiently(object) : object_flush(object, 0, UINT64_MAX);
			if (r < 0 && result == 0)
				result = r;
		}
	return result;
}

bool writeback_is_done(struct registry *registry)
{
	bool done = true;

	for (struct object *object = next_object(registry, NULL); object; object = next_object(registry, object)) {
		if (object->kind != OBJECT_FILE || object->journal)
			continue;
		rwlock_read_acquire(&object->cache->map_lock);
		done &= object_harvest(object, 0, UINT64_MAX) == 0;
		rwlock_read_release(&object->cache->map_lock);
		done &= is_written(object);
	}
	return done;
}

void writeback_adopt(struct object *object)
{
	/* It may have been adopted before, and mapped and unmapped again since. */
	if (atomic_exchange(&object->adopted, true))
		object_unuse(object);
}

/* A program that maps it meanwhile, and cannot write it either, hands over a use of its own: so adopted is cleared first. */
static void retry_adopted(struct object *object)
{
	if (!atomic_exchange(&object->adopted, false))
		return;
	/* Without waiting, where the pager may be stuck. */
	if (object_has_own_buffers(object))
		object_write(object, 0, UINT64_MAX, false, NULL);
	if (object_has_own_buffers(object) ? is_written(object) : object_flush(object, 0, UINT64_MAX) == 0)
		object_unuse(object);
	else
		writeback_adopt(object);
}

/*
 * Whether all that may be stored to in the chunk is not to be written by its age. What nobody maps any more is. Pages of an atomic file
 * are written when they are committed, or when their memory is needed.
 */
static bool is_left_alone(struct object *object, const struct chunk *chunk)
{
	bool found = object->journal != NULL, others = false;

	if (found)
		return true;

	rwlock_read_acquire(&object->cache->map_lock);
	for (struct view *view = object->views; view; view = view->next) {
		if (!view->tracked || view->private_pages || view->first >= chunk->first + CHUNK_PAGES ||
		    view->first + view->pages <= chunk->first)
			continue;
		found |= view->nosync;
		others |= !view->nosync;
	}
	rwlock_read_release(&object->cache->map_lock);
	return found && !others;
}

/* A piece at a time: page-out and changes of mappings wait for one. What cannot be learnt now is at the next time. */
static void harvest_all(struct object *object)
{
	uint64_t end;

	for (struct chunk *chunk = table_next(&object->table, 0); chunk; chunk = table_next(&object->table, end)) {
		end = chunk->first + HARVEST_PAGES;
		rwlock_read_acquire(&object->cache->map_lock);
		(void)object_harvest(object, chunk->first, end);
		rwlock_read_release(&object->cache->map_lock);
	}
}

static void flush_aged(struct flusher *flusher, struct object *object)
{
	uint32_t now;
	/* Then what nobody is using is written early, to be ready for eviction. */
	bool many = atomic_load(&flusher->cache->dirty_pages) > atomic_load(&flusher->cache->limit) / DIRTY_DIVISOR;

	harvest_all(object);
	now = cache_clock_ms();
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		uint32_t since = atomic_load(&chunk->dirty_since);
		bool aged = since && (int32_t)(now - since) >= (int32_t)flusher->expire_ms;

		if (!since && chunk_dirty(chunk) > 0)
			atomic_compare_exchange_strong(&chunk->dirty_since, &since, now);
		aged = aged && !is_left_alone(object, chunk);
		if (since && (many || aged))
			object_write(object, chunk->first, chunk->first + CHUNK_PAGES, !aged, NULL);
	}
}

/* Sleeps for so long, but sweeps from time to time. */
static void rest(struct flusher *flusher, unsigned ms)
{
	uint32_t start = cache_clock_ms(), passed = 0;

	for (; passed < ms && !atomic_load(&flusher->stopping); passed = cache_clock_ms() - start) {
		bool soon = flusher->sweep && flusher->sweep(flusher->sweep_arg);
		unsigned next = soon && ms - passed > SWEEP_MS ? SWEEP_MS : ms - passed;
		struct timespec timeout = {.tv_sec = next / 1000, .tv_nsec = (long)(next % 1000) * 1000000};

		registry_bury(flusher->registry);
		futex_wait(&flusher->word, 0, &timeout);
	}
}

static void *flusher_main(void *arg)
{
	struct flusher *flusher = arg;
	unsigned tick = flusher->expire_ms / 2 < TICK_MS ? flusher->expire_ms / 2 + 1 : TICK_MS;

	while (!atomic_load(&flusher->stopping)) {
		rest(flusher, tick);
		for (struct object *object = next_object(flusher->registry, NULL); object;
		     object = next_object(flusher->registry, object)) {
			if (object->kind != OBJECT_FILE || atomic_load(&flusher->stopping))
				continue;
			object_refresh_size(object);
			flush_aged(flusher, object);
			retry_adopted(object);
			collapse_sweep(object, cache_clock_ms() + COLLAPSE_MS);
		}
		registry_bury(flusher->registry);
	}
	return NULL;
}

int flusher_start(struct flusher *flusher, struct registry *registry, struct cache *cache, unsigned expire_ms)
{
	int r;

	flusher->registry = registry;
	flusher->cache = cache;
	flusher->expire_ms = expire_ms;
	atomic_store(&flusher->stopping, false);
	atomic_store(&flusher->word, 0);
	r = thread_start(&flusher->thread, "quire-flush", flusher_main, flusher);
	flusher->started = r == 0;
	return r;
}

void flusher_stop(struct flusher *flusher)
{
	if (!flusher->started)
		return;
	atomic_store(&flusher->stopping, true);
	atomic_store(&flusher->word, 1);
	futex_wake_all(&flusher->word);
	pthread_join(flusher->thread, NULL);
	flusher->started = false;
}
