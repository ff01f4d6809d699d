/* SPDX-License-Identifier: MIT */
/*
 * coherent.c - file calls that agree with the mappings of the file
 *
 *   read    A page that is resident is read from its frame, and any other from the file: its bytes are nowhere else. Which of both is
 *           decided page by page before it is read. A page that comes in meanwhile and is stored to changes beside the read, not before it.
 *   write   The kernel has written to the file already. A page that is absent is read from the file when it is touched next: nothing
 *           is to be done. A page on its way in may bring what was there before, so it is waited for. The bytes are put into the frame of
 *           one that is resident, which is dirty from then on: an older copy of it may have been on its way to the file, and have
 *           gone over what was written. It may have come in, been stored to, been written and gone out again between the kernel's write
 *           and the look at it: so if anything was written back meanwhile, a page that is absent is brought in, too.
 *
 * Frames are read and written through the memfd, so that no mapping is needed, with their page HELD and the map lock held for reading,
 * as locking.md has it.
 */
#include "coherent.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "entry.h"
#include "object/epoch.h"
#include "object/writeback.h"
#include "pager/file.h"
#include "remote/client.h"
#include "sys/frames.h"
#include "sys/page_size.h"

#define MOST_AT_ONCE (256u << 10) /* of what another process is asked for */

/* ---- pages ---- */

static page_word *find_word(struct object *object, uint64_t page, struct chunk **ret_chunk)
{
	*ret_chunk = table_find(&object->table, page);
	return *ret_chunk ? &(*ret_chunk)->page[page % CHUNK_PAGES] : NULL;
}

/* Whether the bytes of a page are in the file, and nowhere else. Zeros that stand for it are seen by their mapping only. */
static bool is_in_file(struct object *object, uint64_t page)
{
	struct chunk *chunk;
	page_word *word = find_word(object, page, &chunk);
	uint32_t value = word ? page_load(word) : 0;

	return page_state(value) == PAGE_ABSENT || page_state(value) == PAGE_BARRED || (value & (PAGE_FILLED | PAGE_BEYOND));
}

/*
 * Holds a page that has a frame, having waited for one that comes in. False: its bytes are in the file. On success the map lock is held for
 * reading.
 */
static bool hold(struct object *object, uint64_t page, struct chunk **ret_chunk, page_word **ret_word)
{
	struct rwlock *map_lock = &object->cache->map_lock;

	*ret_word = find_word(object, page, ret_chunk);
	if (!*ret_word)
		return false;
	for (;;) {
		uint32_t value;

		rwlock_read_acquire(map_lock);
		value = page_load(*ret_word);
		if (page_state(value) == PAGE_RESIDENT && !(value & (PAGE_FILLED | PAGE_BEYOND)) &&
		    page_swap(*ret_word, &value, (value & ~PAGE_STATE) | PAGE_HELD))
			return true;
		rwlock_read_release(map_lock);
		if (page_state(value) == PAGE_ABSENT || page_state(value) == PAGE_BARRED || (value & (PAGE_FILLED | PAGE_BEYOND)))
			return false;
		if (page_is_busy(value))
			page_wait(*ret_word, value);
	}
}

static void let_go(struct object *object, page_word *word)
{
	page_settle(word, PAGE_RESIDENT, 0, 0);
	rwlock_read_release(&object->cache->map_lock);
}

/* ---- read ---- */

static ssize_t read_file(int fd, void *buf, size_t n, off_t offset)
{
	ssize_t got;

	do
		got = pread(fd, buf, n, offset);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* Bytes inside of one page. 1: they were read; 0: they are in the file; or -errno. */
static int read_frame(struct object *object, char *buf, size_t n, off_t offset)
{
	struct chunk *chunk;
	page_word *word;
	ssize_t got;

	if (!hold(object, (uint64_t)offset >> page_shift, &chunk, &word))
		return 0;
	got = frames_check(&object->frames) < 0 ? -EBADF : read_file(object->frames.fd, buf, n, offset);
	let_go(object, word);
	return got == (ssize_t)n ? 1 : got < 0 ? (int)got : -EIO;
}

/* How many of n bytes are in pages that are all in the file; 0: the first page is not. */
static size_t run_in_file(struct object *object, size_t n, off_t offset)
{
	uint64_t page = (uint64_t)offset >> page_shift, last = (uint64_t)(offset + (off_t)n - 1) >> page_shift, at = page;
	off_t end;

	while (at <= last && is_in_file(object, at))
		at++;
	end = (off_t)(at << page_shift);
	return at == page ? 0 : end < offset + (off_t)n ? (size_t)(end - offset) : n;
}

static ssize_t read_object(struct object *object, int fd, char *buf, size_t n, off_t offset)
{
	size_t done = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (offset >= st.st_size)
		return 0;
	n = (off_t)n > st.st_size - offset ? (size_t)(st.st_size - offset) : n;
	while (done < n) {
		off_t at = offset + (off_t)done;
		size_t run = run_in_file(object, n - done, at);
		size_t left = page_size() - ((size_t)at & (page_size() - 1));
		ssize_t r;

		if (run == 0) {
			run = left < n - done ? left : n - done;
			r = read_frame(object, buf + done, run, at);
			/* It went out meanwhile: to the file. */
			r = r == 0 ? read_file(fd, buf + done, run, at) : r < 0 ? r : (ssize_t)run;
		} else {
			r = read_file(fd, buf + done, run, at);
		}
		if (r < 0)
			return done ? (ssize_t)done : r;
		done += (size_t)r;
		if (r < (ssize_t)run)
			break;
	}
	return (ssize_t)done;
}

/* ---- write ---- */

/* Asked when a page was found absent: whether it may have been written since, and have gone. */
static bool is_overtaken(const struct object *object, uint64_t since)
{
	return since == 0 || since != atomic_load(&object->cache->written_back);
}

/* As hold. An older copy may be in the file of a page that is absent: it comes in. */
static bool hold_written(struct object *object, uint64_t page, uint64_t since, struct chunk **ret_chunk, page_word **ret_word)
{
	while (!hold(object, page, ret_chunk, ret_word)) {
		/* Without a word it never had a frame, and there is no copy of it. */
		int r =
		    *ret_word && is_overtaken(object, since) ? object_load(object, page, 1, 0, UINT64_MAX, true, NULL) : -ENODATA;

		if (r < 0 && r != -EAGAIN)
			return false;
		/* Zeros in its place are no page; nor is one that is kept absent for the moment, but that passes. */
		if (page_load(*ret_word) & (PAGE_FILLED | PAGE_BEYOND))
			return false;
	}
	return true;
}

static int write_object(struct object *object, const char *buf, size_t n, off_t offset, uint64_t since)
{
	int result = 0;

	if ((uint64_t)offset + n > atomic_load(&object->bytes))
		result = object_refresh_size(object);
	for (size_t done = 0, part; done < n; done += part) {
		off_t at = offset + (off_t)done;
		uint64_t page = (uint64_t)at >> page_shift;
		size_t left = page_size() - ((size_t)at & (page_size() - 1));
		struct chunk *chunk;
		page_word *word;
		int r;

		part = left < n - done ? left : n - done;
		if (!hold_written(object, page, since, &chunk, &word))
			continue;
		r = frames_patch(&object->frames, (uint64_t)at, part, buf + done);
		/* Where the frame has the old bytes still, they are not to go over those that are in the file. */
		if (r == 0) {
			writeback_note_dirty(chunk, word);
			epoch_stamp(chunk, (unsigned)(page % CHUNK_PAGES), 1);
		}
		let_go(object, word);
		result = result < 0 ? result : r;
	}
	return result;
}

/* Bytes inside of one page are zeros from now on, as they are in the file. */
static int zero_frame(struct object *object, struct chunk *chunk, unsigned i, off_t at, size_t n, uint64_t since)
{
	static const char zeros[4096];
	uint64_t page = chunk->first + i;
	page_word *word;
	int r = 0;

	if (!hold_written(object, page, since, &chunk, &word))
		return 0;
	for (size_t done = 0, part; done < n && r == 0; done += part) {
		char old[sizeof(zeros)];
		ssize_t got;

		part = n - done < sizeof(zeros) ? n - done : sizeof(zeros);
		got = frames_check(&object->frames) == 0 ? read_file(object->frames.fd, old, part, at + (off_t)done) : -1;
		/* What has just come in from the file has them, and is not to fill the hole by being written. */
		if (got == (ssize_t)part && memcmp(old, zeros, part) == 0)
			continue;
		r = frames_patch(&object->frames, (uint64_t)at + done, part, zeros);
		if (r == 0) {
			writeback_note_dirty(chunk, word);
			epoch_stamp(chunk, i, 1);
		}
	}
	let_go(object, word);
	return r;
}

static int zero_object(struct object *object, off_t offset, off_t n, uint64_t since)
{
	uint64_t first = (uint64_t)offset >> page_shift, last = (uint64_t)(offset + n - 1) >> page_shift;
	int result = 0;

	for (struct chunk *chunk = table_next(&object->table, first); chunk && chunk->first <= last;
	     chunk = table_next(&object->table, chunk->first + CHUNK_PAGES))
		for (unsigned i = 0; i < CHUNK_PAGES; i++) {
			off_t from = (off_t)((chunk->first + i) << page_shift), to = from + (off_t)page_size();
			int r;

			from = from < offset ? offset : from;
			to = to > offset + n ? offset + n : to;
			r = from < to ? zero_frame(object, chunk, i, from, (size_t)(to - from), since) : 0;
			result = result < 0 ? result : r;
		}
	return result;
}

/* ---- the file of a descriptor ---- */

/* A use of it; NULL: it is not mapped, or the engine's journal decides what the file has. */
static struct object *find(struct engine *engine, const struct stat *st)
{
	struct object *object =
	    S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) ? object_find(&engine->registry, st->st_dev, st->st_ino) : NULL;

	if (!object || !object->journal)
		return object;
	object_unuse(object);
	return NULL;
}

static struct object *find_by_descriptor(int fd)
{
	struct engine *engine = entry_engine_if_started();
	struct stat st;

	return engine && fstat(fd, &st) == 0 ? find(engine, &st) : NULL;
}

static void done_with(struct object *object)
{
	struct engine *engine = entry_engine_if_started();

	object_unuse(object);
	if (engine)
		registry_bury(&engine->registry);
}

bool coherent_is_mapped(const struct stat *st)
{
	struct engine *engine = entry_engine_if_started();
	struct object *object = NULL;
	struct entry entry;

	if (client_is())
		return true;
	if (!engine)
		return false;
	entry_begin(&entry, "coherent_is_mapped");
	object = find(engine, st);
	if (object)
		done_with(object);
	entry_end(&entry, 0);
	return object != NULL;
}

static uint64_t page_after(off_t offset, off_t n)
{
	return n ? ((uint64_t)offset + (uint64_t)n + page_size() - 1) >> page_shift : UINT64_MAX >> page_shift;
}

/* ---- the calls ---- */

/* Asks the engine that serves this process, piece by piece. */
static ssize_t transfer_by_engine(enum call_name name, int fd, char *buf, size_t n, off_t offset)
{
	size_t done = 0;

	while (done < n) {
		size_t part = n - done < MOST_AT_ONCE ? n - done : MOST_AT_ONCE;
		struct client_call call = {.name = name, .arg = {offset + (off_t)done, (int64_t)part}, .fd = fd};
		int64_t r;

		if (name == CALL_FILE_READ) {
			call.out = buf + done;
			call.out_len = part;
		} else {
			call.in = buf + done;
			call.in_len = part;
		}
		r = client_ask(&call, NULL);
		if (r < 0)
			return done ? (ssize_t)done : r;
		done += (size_t)r;
		if ((size_t)r < part)
			break;
	}
	return (ssize_t)done;
}

static int range_by_engine(enum call_name name, int fd, off_t offset, off_t n)
{
	struct client_call call = {.name = name, .arg = {offset, n}, .fd = fd};

	return (int)client_ask(&call, NULL);
}

ssize_t coherent_read(int fd, void *buf, size_t n, off_t offset)
{
	struct object *object = NULL;
	struct entry entry;
	ssize_t r;

	entry_begin(&entry, "coherent_read");
	if (client_is()) {
		r = transfer_by_engine(CALL_FILE_READ, fd, buf, n, offset);
		/* The engine has ended, and what was stored with it: the file is what there is. */
		if (r == -EOWNERDEAD || r == -EBADF)
			r = read_file(fd, buf, n, offset);
	} else {
		object = find_by_descriptor(fd);
		r = object ? read_object(object, fd, buf, n, offset) : read_file(fd, buf, n, offset);
		if (object)
			done_with(object);
	}
	entry_end(&entry, 0);
	return r;
}

uint64_t coherent_now(void)
{
	struct engine *engine = entry_engine_if_started();

	return engine ? atomic_load(&engine->cache->written_back) : 0;
}

int coherent_wrote(int fd, const void *buf, size_t n, off_t offset, uint64_t since)
{
	struct object *object;
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "coherent_wrote");
	if (client_is()) {
		ssize_t done = transfer_by_engine(CALL_FILE_WROTE, fd, (char *)(uintptr_t)buf, n, offset);

		r = done < 0 ? (int)done : 0;
	} else {
		object = find_by_descriptor(fd);
		if (object) {
			r = write_object(object, buf, n, offset, since);
			done_with(object);
		}
	}
	entry_end(&entry, 0);
	return r;
}

int coherent_flush(int fd, off_t offset, off_t n)
{
	struct object *object;
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "coherent_flush");
	if (client_is()) {
		r = range_by_engine(CALL_FILE_FLUSH, fd, offset, n);
	} else {
		object = find_by_descriptor(fd);
		if (object) {
			r = object_flush(object, (uint64_t)offset >> page_shift, page_after(offset, n));
			done_with(object);
		}
	}
	entry_end(&entry, 0);
	return r;
}

int coherent_changed(int fd, off_t offset, off_t n)
{
	struct object *object;
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "coherent_changed");
	if (client_is()) {
		r = range_by_engine(CALL_FILE_CHANGED, fd, offset, n);
	} else {
		object = find_by_descriptor(fd);
		if (object) {
			r = object_refresh_size(object);
			object_invalidate(object, (uint64_t)offset >> page_shift, page_after(offset, n));
			done_with(object);
		}
	}
	entry_end(&entry, 0);
	return r;
}

int coherent_zeroed(int fd, off_t offset, off_t n, uint64_t since)
{
	struct object *object;
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "coherent_zeroed");
	if (client_is()) {
		r = range_by_engine(CALL_FILE_ZEROED, fd, offset, n);
	} else {
		object = find_by_descriptor(fd);
		if (object) {
			r = zero_object(object, offset, n, since);
			done_with(object);
		}
	}
	entry_end(&entry, 0);
	return r;
}

/* References are taken one at a time: the list may change meanwhile. */
static struct object *next_file(struct registry *registry, struct object *object)
{
	struct object *next;

	lock_acquire(&registry->lock);
	for (next = object ? object->next : registry->head; next; next = next->next)
		if (next->kind == OBJECT_FILE && !next->journal && object_try_ref(next))
			break;
	lock_release(&registry->lock);
	object_unref(object);
	return next;
}

/* Asked before what is in memory is dropped: a change after that is found the next time. */
static void look_at(struct object *object)
{
	uint64_t looks;

	if (!file_pager_looks(object->pager, &looks) || looks == atomic_load(&object->seen))
		return;
	(void)object_flush(object, 0, UINT64_MAX >> page_shift);
	if (!file_pager_looks(object->pager, &looks))
		return;
	(void)object_refresh_size(object);
	object_invalidate(object, 0, UINT64_MAX >> page_shift);
	atomic_store(&object->seen, looks);
}

int coherent_changed_all(void)
{
	struct engine *engine = entry_engine_if_started();
	struct entry entry;
	int r = 0;

	if (!engine && !client_is())
		return 0;
	entry_begin(&entry, "coherent_changed_all");
	if (client_is())
		r = range_by_engine(CALL_FILE_CHANGED, -1, 1, 0);
	else
		for (struct object *object = next_file(&engine->registry, NULL); object;
		     object = next_file(&engine->registry, object)) {
			(void)object_refresh_size(object);
			object_invalidate(object, 0, UINT64_MAX >> page_shift);
		}
	entry_end(&entry, 0);
	return r;
}

void coherent_begin(const struct stat *st)
{
	struct engine *engine = entry_engine_if_started();
	struct object *object;
	struct entry entry;
	uint64_t never = 0;

	if (!engine)
		return;
	entry_begin(&entry, "coherent_begin");
	object = find(engine, st);
	if (object) {
		atomic_compare_exchange_strong(&object->seen, &never, file_looks(st));
		done_with(object);
	}
	entry_end(&entry, 0);
}

struct object *coherent_still(int fd)
{
	struct object *object = NULL;
	struct entry entry;

	entry_begin(&entry, "coherent_still");
	if (!client_is())
		object = find_by_descriptor(fd);
	if (object && space_still(entry_engine_if_started()->space, object) < 0) {
		done_with(object);
		object = NULL;
	}
	entry_end(&entry, 0);
	return object;
}

void coherent_go_on(struct object *object)
{
	struct entry entry;

	if (!object)
		return;
	entry_begin(&entry, "coherent_go_on");
	space_go_on(entry_engine_if_started()->space, object);
	done_with(object);
	entry_end(&entry, 0);
}

int coherent_leave(const struct stat *st, int fd)
{
	struct engine *engine = entry_engine_if_started();
	struct object *object;
	struct entry entry;
	int r = 0;

	if (!engine)
		return 0;
	entry_begin(&entry, "coherent_leave");
	object = find(engine, st);
	if (object) {
		r = space_leave(engine->space, object, fd);
		done_with(object);
	}
	entry_end(&entry, 0);
	return r;
}

void coherent_look(void)
{
	struct engine *engine = entry_engine_if_started();
	struct entry entry;

	if (!engine && !client_is())
		return;
	entry_begin(&entry, "coherent_look");
	if (client_is())
		(void)range_by_engine(CALL_FILE_CHANGED, -1, 0, 0);
	else
		for (struct object *object = next_file(&engine->registry, NULL); object;
		     object = next_file(&engine->registry, object))
			look_at(object);
	entry_end(&entry, 0);
}

int coherent_flush_all(void)
{
	struct engine *engine = entry_engine_if_started();
	struct entry entry;
	int r = 0;

	if (!engine && !client_is())
		return 0;
	entry_begin(&entry, "coherent_flush_all");
	if (client_is())
		r = range_by_engine(CALL_FILE_FLUSH, -1, 0, 0);
	else
		r = writeback_all(&engine->registry);
	entry_end(&entry, 0);
	return r;
}
