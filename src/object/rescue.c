/* SPDX-License-Identifier: MIT */
/*
 * rescue.c - what was stored and is not in its file
 *
 * A page differs from its file if
 *
 *      its word says DIRTY, or WRITING: the write may have come to nothing, and is made once more;
 *      the kernel's entry in some view says that it was stored to since the last harvest;
 *      a harvest or an unmapping that did not come to its end has learnt so: struct taking, struct leaving.
 *
 * The last two are put into the words first. Then every page that has a frame and is DIRTY or WRITING is written. A page on its way in has no
 * frame that could be relied on, unless it is mapped: then it was made and mapped in one step. A page that is HELD may be just giving its
 * frame back, with its bytes gone from storage, too (object_discard): it is written if the frame is there.
 *
 * Written is up to the least of these: the size of the object, that of the file, which may have been cut before the object was, and the size
 * before it grows, up to which frames are right until what was stored past the end is gone.
 */
#include "object/rescue.h"

#include <errno.h>
#include <unistd.h>

#include "pager/file.h"
#include "sys/bare.h"
#include "sys/page_size.h"

static void note(struct object *object, uint64_t page, bool mapped)
{
	struct chunk *chunk = table_find(&object->table, page);
	page_word *at = chunk ? &chunk->page[page % CHUNK_PAGES] : NULL;
	uint32_t word = at ? page_load(at) : 0;

	if (mapped && page_state(word) == PAGE_LOADING)
		atomic_store(at, (word & ~PAGE_STATE) | PAGE_RESIDENT | PAGE_DIRTY);
	else if (page_has_frame(word))
		page_flags(at, 0, PAGE_DIRTY);
}

static void note_run(struct view *view, const char *addr, size_t pages)
{
	uint64_t first = view->first + ((uint64_t)(addr - view->addr) >> page_shift);

	for (size_t i = 0; i < pages; i++)
		note(view->object, first + i, true);
}

/* Entries of a chunk with a huge frame carry no mark where nothing can be stored: collapse.c. They say nothing. */
static void found_written(void *arg, void *addr, size_t pages)
{
	struct view *view = arg;

	for (size_t i = 0; i < pages; i++) {
		char *at = (char *)addr + (i << page_shift);
		struct chunk *chunk = table_find(&view->object->table, view->first + ((uint64_t)(at - view->addr) >> page_shift));

		if (view->tracked || !chunk || !chunk_is_huge(chunk))
			note_run(view, at, 1);
	}
}

static void note_taking(const struct taking *taking)
{
	for (unsigned i = 0; i < PAGEMAP_RUNS; i++) {
		const struct pagemap_run *run = &taking->taken.runs[i];

		if (run->start)
			note_run(taking->view, (const char *)(uintptr_t)run->start, (size_t)(run->end - run->start) >> page_shift);
	}
}

/* Of what was present and is not any more, what carries no mark was stored to; with the mark, something is still there. */
static void note_leaving(struct object *object, const struct leaving *leaving)
{
	uint64_t there[PAGEMAP_WORDS] = {0};

	for (unsigned i = chunk_set_next(leaving->dirty, 0); i < CHUNK_PAGES; i = chunk_set_next(leaving->dirty, i + 1))
		note(object, leaving->chunk->first + i, false);
	if (!atomic_load(&leaving->unmaps))
		return;
	(void)pagemap_there(leaving->pagemap, leaving->addr, leaving->end - leaving->from, there);
	for (unsigned i = leaving->from, bit = 0; i < leaving->end; i++, bit++)
		if (((leaving->present[bit / 64] & ~there[bit / 64]) >> (bit % 64) & 1) && chunk_set_has(leaving->mapped, i))
			note(object, leaving->chunk->first + i, false);
}

/* Also of views that are not tracked, as far as is known: one that is made writable becomes so a moment later. */
static void note_stores(struct object *object)
{
	const struct taking *taking = atomic_load(&object->taking);
	const struct leaving *leaving = atomic_load(&object->leaving);

	if (taking)
		note_taking(taking);
	if (leaving)
		note_leaving(object, leaving);
	for (struct view *view = object->views; view; view = view->next)
		if (!view->private_pages && view_tracks(view))
			(void)pagemap_find_written(view->pmap->pagemap, view->addr, view->pages, found_written, view);
}

static bool is_unsaved(const struct object *object, const struct chunk *chunk, unsigned i)
{
	uint32_t word = page_load((page_word *)&chunk->page[i]);
	off_t at = (off_t)((chunk->first + i) << page_shift);

	if (!(word & (PAGE_DIRTY | PAGE_WRITING)) || (word & PAGE_BEYOND) || !page_has_frame(word))
		return false;
	return page_state(word) == PAGE_RESIDENT || BARE(SYS_lseek, object->frames.fd, at, SEEK_DATA) == at;
}

/* All of it, or -errno. */
static int transfer(long call, int fd, char *buffer, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		long n = BARE(call, fd, buffer + done, len - done, offset + done);

		if (n > 0)
			done += (size_t)n;
		else if (n != -EINTR)
			return n == 0 ? -EIO : (int)n;
	}
	return 0;
}

/* The unsaved pages of a chunk, in runs, as far as end, in bytes. The last error. */
static int write_chunk(const struct rescue *rescue, const struct object *object, const struct chunk *chunk, int fd, uint64_t end)
{
	unsigned from = 0, to;
	int result = 0;

	while (from < CHUNK_PAGES && (chunk->first + from) << page_shift < end) {
		uint64_t offset = (chunk->first + from) << page_shift;
		size_t len;
		int r = 0;

		for (to = from; to < CHUNK_PAGES && to - from < rescue->pages && is_unsaved(object, chunk, to); to++)
			;
		len = (size_t)(to - from) << page_shift;
		if (len > end - offset)
			len = (size_t)(end - offset);
		if (len > 0)
			r = transfer(SYS_pread64, object->frames.fd, rescue->buffer, len, offset);
		if (len > 0 && r == 0)
			r = transfer(SYS_pwrite64, fd, rescue->buffer, len, offset);
		result = r < 0 ? r : result;
		from = to > from ? to : from + 1;
	}
	return result;
}

static bool has_unsaved(const struct object *object, uint64_t end)
{
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES && (chunk->first + i) << page_shift < end; i++)
			if (is_unsaved(object, chunk, i))
				return true;
	return false;
}

static uint64_t end_of(struct object *object)
{
	uint64_t bytes = atomic_load(&object->bytes), old = atomic_load(&object->growing_from);

	return bytes < old ? bytes : old;
}

/* Without the program's own functions, by which its pages are written, there is no way. */
static bool needs_the_program(struct object *object)
{
	const struct quire_page_hooks *hooks = atomic_load(&object->hooks);

	return (hooks && hooks->page_out) || file_pager_writes_to(object->pager) < 0;
}

/* The program has closed them, and the numbers are other files'. */
static bool has_lost_descriptors(const struct object *object, int fd)
{
	uint64_t now;

	return frames_check(&object->frames) < 0 || (fd >= 0 && object->pager->ops->size(object->pager, &now) == -EBADF);
}

/* What others do to the size meanwhile is looked at before each chunk: nothing makes the file longer. What can be written is. */
static void rescue_object(const struct rescue *rescue, struct object *object)
{
	int fd = file_pager_writes_to(object->pager), result = 0, r;
	uint64_t end = end_of(object), now;

	if (has_lost_descriptors(object, fd)) {
		rescue->lost(rescue, object, -1, EBADF);
		return;
	}
	note_stores(object);
	if (needs_the_program(object)) {
		if (has_unsaved(object, end))
			rescue->lost(rescue, object, -1, EOPNOTSUPP);
		return;
	}
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		r = object->pager->ops->size(object->pager, &now);
		if (r == 0)
			r = write_chunk(rescue, object, chunk, fd, now < end ? now : end);
		result = r < 0 ? r : result;
	}
	if (result < 0)
		rescue->lost(rescue, object, fd, -result);
}

void rescue_all(const struct rescue *rescue, struct registry *registry)
{
	for (struct object *object = registry->head; object; object = object->next)
		if (object->kind == OBJECT_FILE && !object->journal && object->writable && object_was_touched(object))
			rescue_object(rescue, object);
}
