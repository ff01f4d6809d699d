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
 * frame that could be relied on, unless it is mapped: then it was made and mapped in one step. So it was as well if it is DIRTY, which only a
 * harvest can have found that came before the word was settled. A page that is HELD may be just giving its
 * frame back, with its bytes gone from storage, too (object_discard): it is written if the frame is there.
 *
 * Written is up to the least of these: the size of the object, that of the file, which may have been cut before the object was, and the size
 * before it grows, up to which frames are right until what was stored past the end is gone.
 *
 * The program may have closed descriptors of the engine's, and have files of its own under their numbers. So each is compared with what it was
 * before anything is read from it or written to it. Of the file there may be another, and it may be opened again; frames that are mapped
 * can be read where they are mapped; a record of stores of this memory can be had at any time.
 */
#include "object/rescue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pager/description.h"
#include "pager/file.h"
#include "sys/bare.h"
#include "sys/page_size.h"

/* ---- descriptors ---- */

static bool is(int fd, dev_t dev, ino_t ino)
{
	struct stat st;

	return fd >= 0 && BARE(SYS_fstat, fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static bool has_frames(const struct object *object)
{
	const struct frames *frames = &object->frames;

	return is(frames->fd, frames->identity.dev, frames->identity.ino);
}

static size_t trace_bytes(const char *path)
{
	return sizeof(struct trace) + strlen(path) + 1;
}

/* What cannot be had is done without. */
void rescue_note(struct object *object)
{
	struct arena *arena = &object->cache->arena;
	int fd = object->kind == OBJECT_FILE && !object->journal ? file_pager_descriptor(object->pager) : -1;
	struct trace *trace, *none = NULL;
	char *path;

	if (atomic_load_explicit(&object->trace, memory_order_relaxed) || fd < 0)
		return;
	path = arena_alloc(arena, PATH_MAX);
	if (!path)
		return;
	(void)description_path(fd, path, PATH_MAX);
	trace = arena_alloc(arena, trace_bytes(path));
	if (trace) {
		*trace = (struct trace){.dev = object->dev, .ino = object->ino};
		strcpy(trace->path, path);
		if (!atomic_compare_exchange_strong(&object->trace, &none, trace))
			arena_free(arena, trace, trace_bytes(path));
	}
	arena_free(arena, path, PATH_MAX);
}

void rescue_forget(struct object *object)
{
	struct trace *trace = atomic_load(&object->trace);

	if (trace)
		arena_free(&object->cache->arena, trace, trace_bytes(trace->path));
}

static int find_file(const struct rescue *rescue, const struct object *object)
{
	const struct trace *trace = atomic_load(&object->trace);
	int fd = file_pager_writes_to(object->pager);
	uint64_t size;

	if (!trace)
		return fd >= 0 && object->pager->ops->size(object->pager, &size) == -EBADF ? -1 : fd;
	if (is(fd, trace->dev, trace->ino))
		return fd;
	return rescue->find ? rescue->find(rescue, trace) : -1;
}

static int size_of(int fd, uint64_t *ret)
{
	struct stat st;
	long r = BARE(SYS_fstat, fd, &st);

	*ret = (uint64_t)st.st_size;
	if (r == 0 && S_ISBLK(st.st_mode))
		r = BARE(SYS_ioctl, fd, BLKGETSIZE64, ret);
	return (int)r;
}

/* ---- what was stored ---- */

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
static void note_leaving(const struct rescue *rescue, struct object *object, const struct leaving *leaving)
{
	uint64_t there[PAGEMAP_WORDS] = {0};

	for (unsigned i = chunk_set_next(leaving->dirty, 0); i < CHUNK_PAGES; i = chunk_set_next(leaving->dirty, i + 1))
		note(object, leaving->chunk->first + i, false);
	if (!atomic_load(&leaving->unmaps))
		return;
	if (pagemap_there(leaving->pagemap, leaving->addr, leaving->end - leaving->from, there) < 0)
		(void)pagemap_there(rescue->pagemap, leaving->addr, leaving->end - leaving->from, there);
	for (unsigned i = leaving->from, bit = 0; i < leaving->end; i++, bit++)
		if (((leaving->present[bit / 64] & ~there[bit / 64]) >> (bit % 64) & 1) && chunk_set_has(leaving->mapped, i))
			note(object, leaving->chunk->first + i, false);
}

/* Also of views that are not tracked, as far as is known: one that is made writable becomes so a moment later. */
static void note_stores(const struct rescue *rescue, struct object *object)
{
	const struct taking *taking = atomic_load(&object->taking);
	const struct leaving *leaving = atomic_load(&object->leaving);

	if (taking)
		note_taking(taking);
	if (leaving)
		note_leaving(rescue, object, leaving);
	for (struct view *view = object->views; view; view = view->next)
		if (!view->private_pages && view_tracks(view) &&
		    pagemap_find_written(view->pmap->pagemap, view->addr, view->pages, found_written, view) < 0)
			(void)pagemap_find_written(rescue->pagemap, view->addr, view->pages, found_written, view);
}

static bool is_unsaved(const struct object *object, const struct chunk *chunk, unsigned i)
{
	uint32_t word = page_load((page_word *)&chunk->page[i]);
	off_t at = (off_t)((chunk->first + i) << page_shift);

	if (!(word & (PAGE_DIRTY | PAGE_WRITING)) || (word & PAGE_BEYOND) ||
	    (!page_has_frame(word) && page_state(word) != PAGE_LOADING))
		return false;
	return page_state(word) == PAGE_RESIDENT || (has_frames(object) && BARE(SYS_lseek, object->frames.fd, at, SEEK_DATA) == at);
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

/* A page where it is mapped, and there; it could not be brought in. 0 or -EBADF. */
static int read_mapped(const struct rescue *rescue, const struct object *object, uint64_t page)
{
	for (const struct view *view = object->views; view; view = view->next) {
		uint64_t there[PAGEMAP_WORDS] = {0};
		struct iovec from, to = {rescue->buffer, page_size()};

		if (view->private_pages || view->pmap->far || page < view->first || page - view->first >= view->pages)
			continue;
		from = (struct iovec){view->addr + ((page - view->first) << page_shift), page_size()};
		if (pagemap_there(rescue->pagemap, from.iov_base, 1, there) == 0 && (there[0] & 1) &&
		    BARE(SYS_process_vm_readv, BARE(SYS_getpid, 0), &to, 1, &from, 1, 0) == (long)page_size())
			return 0;
	}
	return -EBADF;
}

/* The unsaved pages of a chunk, in runs, as far as end, in bytes. The last error. */
static int write_chunk(const struct rescue *rescue, const struct object *object, const struct chunk *chunk, int fd, uint64_t end)
{
	unsigned from = 0, to, most = has_frames(object) ? rescue->pages : 1;
	int result = 0;

	while (from < CHUNK_PAGES && (chunk->first + from) << page_shift < end) {
		uint64_t offset = (chunk->first + from) << page_shift;
		size_t len;
		int r = 0;

		for (to = from; to < CHUNK_PAGES && to - from < most && is_unsaved(object, chunk, to); to++)
			;
		len = (size_t)(to - from) << page_shift;
		if (len > end - offset)
			len = (size_t)(end - offset);
		if (len > 0 && has_frames(object))
			r = transfer(SYS_pread64, object->frames.fd, rescue->buffer, len, offset);
		else if (len > 0)
			r = read_mapped(rescue, object, chunk->first + from);
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

/* What others do to the size meanwhile is looked at before each chunk: nothing makes the file longer. What can be written is. */
static void rescue_object(const struct rescue *rescue, struct object *object)
{
	int fd, result = 0, r;
	uint64_t end = end_of(object), now;

	note_stores(rescue, object);
	if (needs_the_program(object)) {
		if (has_unsaved(object, end))
			rescue->lost(rescue, object, -1, EOPNOTSUPP);
		return;
	}
	fd = find_file(rescue, object);
	if (fd < 0) {
		if (has_unsaved(object, end))
			rescue->lost(rescue, object, -1, EBADF);
		return;
	}
	for (struct chunk *chunk = table_next(&object->table, 0); chunk;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES)) {
		r = size_of(fd, &now);
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
