/* SPDX-License-Identifier: MIT */
/*
 * rig.h - an object over a pager that is memory, in a cache without daemons: what tests of object/ stand on
 *
 * Transfers are done at once, on the thread that starts them; submitted ones can be held until the test lets them go, and
 * transfers can be made to fail.
 */
#ifndef QUIRE_UNIT_RIG_H
#define QUIRE_UNIT_RIG_H

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guarded.h"
#include "object/object.h"
#include "object/writeback.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define STORAGE_PAGES 4096
#define HELD_MOST     64

/* The storage, of which a page that was never written is full of its number. */
static struct storage {
	struct pager pager;
	char *bytes;
	uint64_t size;
	int read_error, write_error, sync_error; /* errno of every one from now on; 0 */
	uint64_t bad_page;                       /* reads that touch it fail with EIO; UINT64_MAX: none */
	_Atomic unsigned reads, writes, syncs;
	uint64_t last_offset;
	size_t last_len;
	bool hold; /* submitted transfers wait for storage_release */
	struct pager_request *held[HELD_MOST];
	unsigned n_held;
} storage;

static inline unsigned char storage_byte(uint64_t page)
{
	return (unsigned char)(page % 250 + 1);
}

static int storage_size(struct pager *pager, uint64_t *ret_bytes)
{
	(void)pager;
	*ret_bytes = storage.size;
	return 0;
}

static void storage_run(struct pager *pager, struct pager_request *request)
{
	uint64_t left = request->offset < storage.size ? storage.size - request->offset : 0;
	size_t len = request->len < left ? request->len : (size_t)left;

	(void)pager;
	storage.last_offset = request->offset;
	storage.last_len = request->len;
	request->ret_bytes = 0;
	if (request->op == PAGER_READ) {
		uint64_t bad = storage.bad_page << page_shift;

		atomic_fetch_add(&storage.reads, 1);
		request->ret_error = storage.read_error;
		if (storage.bad_page != UINT64_MAX && bad >= request->offset && bad < request->offset + request->len)
			request->ret_error = EIO;
		if (request->ret_error == 0) {
			memcpy(request->buf, storage.bytes + request->offset, len);
			request->ret_bytes = len;
		}
	} else {
		atomic_fetch_add(&storage.writes, 1);
		request->ret_error = storage.write_error;
		if (request->ret_error == 0) {
			memcpy(storage.bytes + request->offset, request->buf, request->len);
			request->ret_bytes = request->len;
		}
	}
	request->done(request);
}

static void storage_submit(struct pager *pager, struct pager_request *request)
{
	if (storage.hold && storage.n_held < HELD_MOST)
		storage.held[storage.n_held++] = request;
	else
		storage_run(pager, request);
}

/* Does what was held. */
static inline void storage_release(void)
{
	unsigned n = storage.n_held;

	storage.hold = false;
	storage.n_held = 0;
	for (unsigned i = 0; i < n; i++)
		storage_run(&storage.pager, storage.held[i]);
}

static int storage_sync(struct pager *pager)
{
	(void)pager;
	atomic_fetch_add(&storage.syncs, 1);
	return -storage.sync_error;
}

static int storage_resize(struct pager *pager, uint64_t bytes)
{
	(void)pager;
	storage.size = bytes;
	return 0;
}

static int storage_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	(void)pager;
	memset(storage.bytes + offset, 0, len);
	return 0;
}

static void storage_close(struct pager *pager)
{
	(void)pager;
}

static const struct pager_ops storage_ops = {
    .name = "memory",
    .size = storage_size,
    .run = storage_run,
    .submit = storage_submit,
    .sync = storage_sync,
    .resize = storage_resize,
    .discard = storage_discard,
    .close = storage_close,
};

static struct rig {
	size_t page;
	struct registry registry;
	struct cache *cache;
	struct object *object; /* with a use; NULL: given away */
	char *buf;             /* a page */
} rig;

/* Gives the object buffers of its own, so many pages long and about as many as depth; it must not have been touched. */
static inline void rig_own_buffers(unsigned run_pages, unsigned depth)
{
	struct object_file file = {.writable = true};
	uint64_t bytes = atomic_load(&rig.object->bytes);
	unsigned most;

	object_unuse(rig.object);
	registry_bury(&rig.registry);
	assert_int_equal(object_buffers(rig.cache, run_pages, depth, &file.buffers, &most), 0);
	assert_int_equal(object_create(&rig.registry, rig.cache, OBJECT_FILE, &storage.pager, bytes, &file, &rig.object), 0);
}

/* limit: of the budget, pages; bytes: of the object and its storage. */
static inline int rig_make(uint64_t limit, enum object_kind kind, uint64_t bytes)
{
	memset(&storage, 0, sizeof(storage));
	memset(&rig, 0, sizeof(rig));
	rig.page = page_size();
	storage.pager.ops = &storage_ops;
	storage.size = bytes;
	storage.bad_page = UINT64_MAX;
	storage.bytes = malloc(STORAGE_PAGES << page_shift);
	rig.buf = malloc(rig.page);
	if (!storage.bytes || !rig.buf || cache_create(limit, &object_cache_ops, NULL, &rig.cache) < 0)
		return -1;
	for (uint64_t i = 0; i < STORAGE_PAGES; i++)
		memset(storage.bytes + (i << page_shift), storage_byte(i), rig.page);
	if (object_create(&rig.registry, rig.cache, kind, &storage.pager, bytes, NULL, &rig.object) < 0)
		return -1;
	rig.object->writable = true;
	return 0;
}

/* Asserts, in cache_destroy, that all frames were given back. */
static inline int rig_end(void)
{
	for (unsigned kind = 0; kind < FAIL_KINDS; kind++)
		fail_arm(kind, 0, false);
	object_unuse(rig.object);
	registry_bury(&rig.registry);
	cache_destroy(rig.cache);
	free(storage.bytes);
	free(rig.buf);
	return 0;
}

static inline uint64_t rig_frames(void)
{
	return atomic_load(&rig.cache->used) - rig.cache->buffers.total_pages;
}

/* How many frames the memfd really has. */
static inline uint64_t rig_blocks(const struct object *object)
{
	struct stat st;

	assert_int_equal(fstat(object->frames.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512 >> page_shift;
}

static inline uint32_t word_of(struct object *object, uint64_t page)
{
	page_word *word = object_page(object, page, NULL);

	assert_non_null(word);
	return page_load(word);
}

static inline struct chunk *chunk_of(struct object *object, uint64_t page)
{
	struct chunk *chunk;

	assert_non_null(object_page(object, page, &chunk));
	return chunk;
}

static inline int load_pages(uint64_t first, unsigned n)
{
	return object_load(rig.object, first, n, 0, UINT64_MAX, true, NULL);
}

/* Fills the frame of a resident page, as a store through a mapping would, and notes that it is dirty. */
static inline void store_page(uint64_t page, unsigned char value)
{
	struct chunk *chunk = chunk_of(rig.object, page);

	memset(rig.buf, value, rig.page);
	assert_int_equal(frames_write(&rig.object->frames, page, 1, rig.buf), 0);
	writeback_note_dirty(chunk, &chunk->page[page % CHUNK_PAGES]);
}

/* All bytes of a resident page are this one. */
static inline void check_frame(uint64_t page, unsigned char value)
{
	assert_true(page_has_frame(word_of(rig.object, page)));
	assert_int_equal(frames_read(&rig.object->frames, page, 1, rig.buf), 0);
	for (size_t i = 0; i < rig.page; i++)
		assert_int_equal((unsigned char)rig.buf[i], value);
}

static inline void check_storage(uint64_t page, unsigned char value)
{
	for (size_t i = 0; i < rig.page; i++)
		assert_int_equal((unsigned char)storage.bytes[(page << page_shift) + i], value);
}

#endif
