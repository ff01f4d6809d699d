/* SPDX-License-Identifier: MIT */
/*
 * hooks.c - what the program does to the bytes of each page on their way
 *
 * Hooks belong to the object, since a page is read once for all its mappings, and readahead and write-back know no mapping at all. They
 * see buffers, never frames: what page_in refuses was never visible, and what page_out writes into the page is in the storage only.
 *
 * An object gets its hooks when it has no page. One that another thread is just bringing in may miss them: so what is there right after
 * they were set is dropped, and comes again.
 */
#include "object/hooks.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/page_size.h"
#include "util/duty.h"
#include "util/fail.h"

/* What some errors mean to those who load a page is nothing that a hook can know. */
static int error_of(int answer)
{
	int error = answer < 0 ? -answer : answer;

	return error == EAGAIN || error == ENOMEM || error == ENODATA ? EIO : error;
}

/* Calls one hook for each page. How many pages it has let pass; *ret_error: what it said to the one after. */
static unsigned pass(int (*hook)(void *arg, off_t offset, void *bytes, size_t len), void *arg, uint64_t first, char *bytes,
		     size_t len, int *ret_error)
{
	unsigned n = (unsigned)pages_of(len), i;

	*ret_error = 0;
	if (hook)
		duty_leave(); /* who knows how long it takes */
	for (i = 0; hook && i < n; i++) {
		size_t at = (size_t)i << page_shift, some = len - at < page_size() ? len - at : page_size();

		*ret_error = error_of(hook(arg, (off_t)((first + i) << page_shift), bytes + at, some));
		if (*ret_error)
			return i;
	}
	return n;
}

unsigned hooks_in(struct object *object, uint64_t first, char *bytes, size_t len, int *ret_error)
{
	struct quire_page_hooks *hooks = atomic_load_explicit(&object->hooks, memory_order_acquire);
	unsigned n = (unsigned)pages_of(len);

	if (hooks)
		n = pass(hooks->page_in, hooks->arg, first, bytes, len, ret_error);
	if (!hooks || n > 0)
		*ret_error = 0;
	return n;
}

int hooks_out(struct object *object, uint64_t first, char *bytes, size_t len)
{
	struct quire_page_hooks *hooks = atomic_load_explicit(&object->hooks, memory_order_acquire);
	int error = 0;

	if (hooks)
		(void)pass(hooks->page_out, hooks->arg, first, bytes, len, &error);
	return -error;
}

/* Map lock held for writing. */
static bool has_pages(struct object *object)
{
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			if (page_state(page_load(&chunk->page[i])) != PAGE_ABSENT)
				return true;
	return false;
}

/* Nobody is bringing a page in any more who had begun before. */
static void wait_loaded(struct object *object)
{
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			uint32_t word = page_load(&chunk->page[i]);

			for (; page_state(word) == PAGE_LOADING; word = page_load(&chunk->page[i]))
				page_wait(&chunk->page[i], word);
		}
}

int object_set_hooks(struct object *object, const struct quire_page_hooks *given)
{
	struct quire_page_hooks *hooks = fail_now(FAIL_ALLOC) ? NULL : malloc(sizeof(*hooks));
	int r = hooks ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	*hooks = *given;
	rwlock_write_acquire(&object->cache->map_lock);
	if (object->hooks || has_pages(object))
		r = -EBUSY;
	else
		atomic_store(&object->hooks, hooks);
	/* Pairs with the fence in load.c, claim: he who loads a page from here on sees the hooks, or is seen. */
	atomic_thread_fence(memory_order_seq_cst);
	rwlock_write_release(&object->cache->map_lock);
	if (r < 0) {
		free(hooks);
		return r;
	}
	wait_loaded(object);
	object_drop(object, 0, UINT64_MAX, true);
	return 0;
}

void hooks_release(struct object *object)
{
	struct quire_page_hooks *hooks = atomic_load(&object->hooks);

	if (hooks && hooks->release)
		hooks->release(hooks->arg);
	free(hooks);
}
