/* SPDX-License-Identifier: MIT */
/*
 * journal-rig.h - a journal over two disks that are memory: they fail at the nth operation, and lose in a crash what was not synced
 *
 * Pages are filled with one number each, so that a page that is torn, or of another page or time, is seen.
 */
#ifndef QUIRE_UNIT_JOURNAL_RIG_H
#define QUIRE_UNIT_JOURNAL_RIG_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guarded.h"
#include "journal/journal.h"
#include "sys/page_size.h"
#include "util/arena.h"

#define DISK_BYTES ((size_t)1 << 20)

/* Counts down over all disks to the operation that fails. 0: none does. */
static _Atomic int64_t disk_fail_left;
static _Atomic int64_t disk_fails_for; /* so many from there on */
static _Atomic uint64_t disk_failures;

struct disk {
	struct pager pager;
	struct lock lock;
	char *bytes, *stable; /* what is read; what a crash leaves for certain */
	uint64_t size, stable_size;
	uint64_t written; /* bytes, by all writes */
};

static inline struct disk *disk_of(struct pager *pager)
{
	return (struct disk *)pager;
}

static inline int disk_fails(void)
{
	int64_t left = atomic_load(&disk_fail_left);

	if (left == 0)
		return 0;
	left = atomic_fetch_sub(&disk_fail_left, 1) - 1;
	if (left > 0)
		return 0;
	if (-left + 1 >= atomic_load(&disk_fails_for))
		atomic_store(&disk_fail_left, 0);
	else if (left == 0)
		atomic_store(&disk_fail_left, -1);
	atomic_fetch_add(&disk_failures, 1);
	return EIO;
}

static void disk_run(struct pager *pager, struct pager_request *request)
{
	struct disk *disk = disk_of(pager);
	size_t len = request->len;

	request->ret_bytes = 0;
	request->ret_error = disk_fails();
	lock_acquire(&disk->lock);
	if (request->ret_error == 0 && request->op == PAGER_READ) {
		uint64_t left = request->offset < disk->size ? disk->size - request->offset : 0;

		len = len < left ? len : (size_t)left;
		memcpy(request->buf, disk->bytes + request->offset, len);
		request->ret_bytes = len;
	} else if (request->ret_error == 0) {
		if (request->offset + len > DISK_BYTES)
			abort();
		memcpy(disk->bytes + request->offset, request->buf, len);
		disk->written += len;
		if (disk->size < request->offset + len)
			disk->size = request->offset + len;
		request->ret_bytes = len;
	} else if (request->op == PAGER_WRITE && len > page_size()) {
		/* Half of it. */
		memcpy(disk->bytes + request->offset, request->buf, len / 2 & ~(page_size() - 1));
		if (disk->size < request->offset + (len / 2 & ~(page_size() - 1)))
			disk->size = request->offset + (len / 2 & ~(page_size() - 1));
	}
	lock_release(&disk->lock);
	request->done(request);
}

static int disk_size(struct pager *pager, uint64_t *ret_bytes)
{
	struct disk *disk = disk_of(pager);

	lock_acquire(&disk->lock);
	*ret_bytes = disk->size;
	lock_release(&disk->lock);
	return 0;
}

static int disk_sync(struct pager *pager)
{
	struct disk *disk = disk_of(pager);

	if (disk_fails())
		return -EIO;
	lock_acquire(&disk->lock);
	memcpy(disk->stable, disk->bytes, disk->size > disk->stable_size ? disk->size : disk->stable_size);
	disk->stable_size = disk->size;
	lock_release(&disk->lock);
	return 0;
}

static int disk_resize(struct pager *pager, uint64_t bytes)
{
	struct disk *disk = disk_of(pager);

	if (disk_fails())
		return -EIO;
	if (bytes > DISK_BYTES)
		abort();
	lock_acquire(&disk->lock);
	if (bytes < disk->size)
		memset(disk->bytes + bytes, 0, disk->size - bytes);
	disk->size = bytes;
	lock_release(&disk->lock);
	return 0;
}

static int disk_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	(void)pager;
	(void)offset;
	(void)len;
	return -EOPNOTSUPP;
}

static void disk_close(struct pager *pager)
{
	(void)pager;
}

static const struct pager_ops disk_ops = {
    .name = "disk",
    .size = disk_size,
    .run = disk_run,
    .submit = disk_run,
    .sync = disk_sync,
    .resize = disk_resize,
    .discard = disk_discard,
    .close = disk_close,
};

static inline void disk_init(struct disk *disk)
{
	*disk = (struct disk){.pager = {.ops = &disk_ops, .align_bytes = page_size()}};
	disk->bytes = calloc(1, DISK_BYTES);
	disk->stable = calloc(1, DISK_BYTES);
}

static inline void disk_done(struct disk *disk)
{
	free(disk->bytes);
	free(disk->stable);
}

static inline uint32_t rig_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Of what was not synced each page is there or not; all of them, or none, in some crashes. */
static inline void disk_crash(struct disk *disk, uint64_t *seed)
{
	unsigned kind = rig_random(seed) % 4;

	for (size_t at = 0; at < DISK_BYTES; at += page_size())
		if (kind == 0 || (kind > 1 && rig_random(seed) % 2))
			memcpy(disk->bytes + at, disk->stable + at, page_size());
	if (kind == 0 || (kind > 1 && rig_random(seed) % 2))
		disk->size = disk->stable_size;
	memset(disk->bytes + disk->size, 0, DISK_BYTES - disk->size);
	memcpy(disk->stable, disk->bytes, DISK_BYTES);
	disk->stable_size = disk->size;
}

/* ---- a journal ---- */

#define RIG_SEGMENT_BLOCKS 8
#define RIG_PAGES_MOST     64

struct rig {
	struct disk file, log;
	struct arena arena;
	struct journal_settings settings;
	struct journal *journal;
	struct journal_report report;
};

static _Alignas(65536) _Thread_local char rig_buf[1 << 19];

static inline void rig_create(struct rig *rig, const char *name, unsigned segments, unsigned file_pages)
{
	*rig = (struct rig){0};
	disk_init(&rig->file);
	disk_init(&rig->log);
	rig->file.size = rig->file.stable_size = file_pages * page_size();
	rig->settings = (struct journal_settings){
	    .name = name,
	    .max_bytes = (2 + (uint64_t)segments * RIG_SEGMENT_BLOCKS) * page_size(),
	    .segment_blocks = RIG_SEGMENT_BLOCKS,
	    .groups = 3,
	    .file = {.ino = 7, .born_sec = 5},
	    .owner = 42,
	    .arena = &rig->arena,
	};
}

static inline int rig_try_open(struct rig *rig, journal_resolve *resolve, void *arg)
{
	return journal_open(&rig->file.pager, &rig->log.pager, &rig->settings, resolve, arg, &rig->report, &rig->journal);
}

static inline void rig_open(struct rig *rig)
{
	int r = rig_try_open(rig, NULL, NULL);

	if (r < 0)
		print_message("journal_open: %d %s\n", r, rig->report.problem);
	assert_int_equal(r, 0);
}

static inline bool rig_close(struct rig *rig, bool complete)
{
	bool empty;

	assert_int_equal(journal_close(rig->journal, complete, &empty), 0);
	rig->journal = NULL;
	return empty;
}

static inline void rig_destroy(struct rig *rig)
{
	if (rig->journal)
		rig_close(rig, false);
	assert_int_equal(rig->arena.used_bytes, 0);
	arena_done(&rig->arena);
	disk_done(&rig->file);
	disk_done(&rig->log);
}

static inline void rig_fill(char *to, uint64_t page, uint64_t value)
{
	uint64_t *words = (uint64_t *)to;

	for (size_t i = 0; i < page_size() / 8; i++)
		words[i] = value ? value << 32 | page << 16 | i : 0;
}

/* The value that a page has. UINT64_MAX: no one value. */
static inline uint64_t rig_value(const char *at, uint64_t page)
{
	const uint64_t *words = (const uint64_t *)at;
	uint64_t value = words[0] >> 32;

	for (size_t i = 0; i < page_size() / 8; i++)
		if (words[i] != (value ? value << 32 | page << 16 | i : 0))
			return UINT64_MAX;
	return value;
}

static void rig_done(struct pager_request *request)
{
	_Atomic uint32_t *done = request->owner;

	atomic_store(done, 1);
	futex_wake_all(done);
}

/* -errno. The bytes are in rig_buf. */
static inline int rig_transfer(struct pager *pager, enum pager_op op, uint64_t page, unsigned pages)
{
	_Atomic uint32_t done = 0;
	struct pager_request request = {.op = op,
					.offset = page * page_size(),
					.len = pages * page_size(),
					.buf = rig_buf,
					.done = rig_done,
					.owner = (void *)&done};

	pager->ops->submit(pager, &request);
	while (!atomic_load(&done))
		futex_wait(&done, 0, NULL);
	return -request.ret_error;
}

static inline uint64_t rig_read_by(struct pager *pager, uint64_t page)
{
	memset(rig_buf, 0xee, page_size());
	assert_int_equal(rig_transfer(pager, PAGER_READ, page, 1), 0);
	return rig_value(rig_buf, page);
}

static inline uint64_t rig_read(struct rig *rig, uint64_t page)
{
	return rig_read_by(journal_pager(rig->journal), page);
}

static inline int rig_spill(struct rig *rig, uint64_t page, unsigned pages, uint64_t value)
{
	for (unsigned i = 0; i < pages; i++)
		rig_fill(rig_buf + i * page_size(), page + i, value);
	return rig_transfer(journal_pager(rig->journal), PAGER_WRITE, page, pages);
}

static inline void rig_resize(struct rig *rig, unsigned pages)
{
	assert_int_equal(journal_pager(rig->journal)->ops->resize(journal_pager(rig->journal), pages * page_size()), 0);
}

/* Pages first to end, all with a value. */
static inline void rig_add(struct journal_commit *commit, uint64_t first, uint64_t end, uint64_t value)
{
	while (first < end) {
		unsigned room = (unsigned)(end - first);
		char *to = journal_commit_room(commit, &room);

		for (unsigned i = 0; i < room; i++)
			rig_fill(to + i * page_size(), first + i, value);
		journal_commit_add(commit, first, room);
		first += room;
	}
}

/* A commit of pages that are in memory, with all that was spilled besides. */
static inline int rig_commit(struct rig *rig, uint64_t first, uint64_t end, uint64_t value)
{
	struct journal_commit *commit;
	int r = journal_commit_begin(rig->journal, end - first, &commit);

	if (r < 0)
		return r;
	rig_add(commit, first, end, value);
	r = journal_commit_spilled(commit, 0, UINT64_MAX);
	if (r < 0) {
		journal_commit_give_up(commit);
		return r;
	}
	journal_commit_hand_over(&commit, 1, true);
	return journal_commit_wait(&commit, 1);
}

/* What the file itself has. */
static inline uint64_t rig_file_value(struct rig *rig, uint64_t page)
{
	return rig_value(rig->file.bytes + page * page_size(), page);
}

#endif
