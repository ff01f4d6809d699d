/* SPDX-License-Identifier: MIT */
/*
 * simple.c - a store so simple that one sees that it is right: two whole copies, written in turn
 *
 * All files are in two slots on the disk of the first one's log: a block that says which is newer and has a checksum of everything, then
 * the bytes. A commit writes the older slot anew and syncs. All else is in memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "store.h"
#include "sys/page_size.h"
#include "util/assert.h"

#define SLOT_MAGIC 0x544f4c53
#define FILE_BYTES (PAGES_MAX * page_size())

struct slot {
	uint64_t magic, generation, bytes[FILES_MAX];
	uint64_t checksum; /* of the bytes, and of this block with it as zero */
};

struct simple_file {
	struct pager pager;
	bool open;
	unsigned char *committed, *newest; /* FILE_BYTES each; newest has what is spilled, too */
	uint64_t bytes, newest_bytes;
	bool spilled[PAGES_MAX];
};

struct simple {
	struct simple_file files[FILES_MAX];
	unsigned char *slot; /* as on the disk */
	uint64_t generation;
	bool loaded;
};

struct simple_commit {
	struct store *store;
	unsigned file;
	int result;
	uint64_t has, by_reference;
	unsigned char *pages; /* FILE_BYTES */
	unsigned next;
	bool sized;
};

struct simple_snapshot {
	struct pager pager;
	unsigned char *bytes;
	uint64_t size;
};

static struct simple *own(struct store *store)
{
	return store->own;
}

static bool broken(const struct store *store, const char *how)
{
	return store->broken != NULL && strcmp(store->broken, how) == 0;
}

/* ---- the pager ---- */

static void read_bytes(struct pager_request *request, const unsigned char *bytes, uint64_t size)
{
	uint64_t left = request->offset < size ? size - request->offset : 0;

	request->ret_bytes = left < request->len ? left : request->len;
	memcpy(request->buf, bytes + request->offset, request->ret_bytes);
}

static void simple_run(struct pager *pager, struct pager_request *request)
{
	struct simple_file *file = (struct simple_file *)pager;

	request->ret_error = 0;
	if (request->op == PAGER_READ) {
		read_bytes(request, file->newest, file->newest_bytes);
	} else {
		/* What a write leaves of a page is zeros. */
		memset(file->newest + request->offset, 0, pages_of(request->len) * page_size());
		memcpy(file->newest + request->offset, request->buf, request->len);
		for (uint64_t i = 0; i < pages_of(request->len); i++)
			file->spilled[request->offset / page_size() + i] = true;
		request->ret_bytes = request->len;
	}
	request->done(request);
}

static int simple_size(struct pager *pager, uint64_t *ret_bytes)
{
	*ret_bytes = ((struct simple_file *)pager)->newest_bytes;
	return 0;
}

static int simple_resize(struct pager *pager, uint64_t bytes)
{
	struct simple_file *file = (struct simple_file *)pager;

	for (uint64_t i = pages_of(bytes); i < PAGES_MAX; i++) {
		memset(file->newest + i * page_size(), 0, page_size());
		file->spilled[i] = false;
	}
	file->newest_bytes = bytes;
	return 0;
}

static const struct pager_ops simple_pager_ops = {
    .name = "simple", .size = simple_size, .run = simple_run, .submit = simple_run, .resize = simple_resize};

/* ---- the slots ---- */

static size_t slot_bytes(const struct store *store)
{
	return page_size() + store->n_files * FILE_BYTES;
}

static uint64_t slot_checksum(struct store *store, unsigned char *bytes)
{
	struct slot *slot = (struct slot *)bytes;
	uint64_t there = slot->checksum, checksum;

	slot->checksum = 0;
	checksum = XXH3_64bits(bytes, slot_bytes(store));
	slot->checksum = there;
	return checksum;
}

static bool slot_valid(struct store *store, unsigned char *bytes)
{
	struct slot *slot = (struct slot *)bytes;

	return slot->magic == SLOT_MAGIC && (broken(store, "no-checksum") || slot->checksum == slot_checksum(store, bytes));
}

static void take_slot(struct store *store, const unsigned char *bytes)
{
	const struct slot *slot = (const struct slot *)bytes;

	own(store)->generation = slot->generation;
	for (unsigned i = 0; i < store->n_files; i++) {
		struct simple_file *file = &own(store)->files[i];

		file->bytes = slot->bytes[i];
		memcpy(file->committed, bytes + page_size() + i * FILE_BYTES, FILE_BYTES);
	}
}

/* The slot that is in memory becomes the newer one. */
static int save(struct store *store)
{
	struct simple *simple = own(store);
	struct pager *log = &store->logs[0]->pager;
	uint64_t which = broken(store, "one-slot") ? 0 : (simple->generation + 1) % 2;
	int r;

	((struct slot *)simple->slot)->checksum = slot_checksum(store, simple->slot);
	r = transfer(log, PAGER_WRITE, which * slot_bytes(store), simple->slot, slot_bytes(store), NULL);
	if (r == 0 && !broken(store, "no-sync"))
		r = log->ops->sync(log);
	return r;
}

static void fill_slot(struct store *store, struct simple_commit **commits, unsigned n, bool with_size)
{
	struct simple *simple = own(store);
	struct slot *slot = (struct slot *)simple->slot;

	memset(simple->slot, 0, page_size());
	slot->magic = SLOT_MAGIC;
	slot->generation = simple->generation + 1;
	for (unsigned i = 0; i < store->n_files; i++) {
		slot->bytes[i] = simple->files[i].bytes;
		memcpy(simple->slot + page_size() + i * FILE_BYTES, simple->files[i].committed, FILE_BYTES);
	}
	for (unsigned i = 0; i < n; i++) {
		struct simple_commit *commit = commits[i];
		struct simple_file *file = &simple->files[commit->file];
		unsigned char *bytes = simple->slot + page_size() + commit->file * FILE_BYTES;

		if (with_size && file->newest_bytes != slot->bytes[commit->file] && !broken(store, "lost-size"))
			slot->bytes[commit->file] = file->newest_bytes;
		for (unsigned p = 0; p < PAGES_MAX; p++) {
			if (commit->has >> p & 1)
				memcpy(bytes + p * page_size(), commit->pages + p * page_size(), page_size());
			else if (commit->sized)
				memcpy(bytes + p * page_size(), file->newest + p * page_size(), file->spilled[p] ? 0 : page_size());
		}
	}
}

static int load(struct store *store)
{
	struct simple *simple = own(store);
	size_t got;
	int r;

	for (unsigned i = 0; i < store->n_files; i++) {
		r = transfer(&store->files[i]->pager, PAGER_READ, 0, simple->files[i].committed, FILE_BYTES, &got);
		if (r < 0)
			return r;
		memset(simple->files[i].committed + got, 0, FILE_BYTES - got);
		simple->files[i].bytes = got;
	}
	simple->generation = 0;
	for (unsigned i = 0; i < 2; i++) {
		memset(simple->slot, 0, page_size());
		r = transfer(&store->logs[0]->pager, PAGER_READ, i * slot_bytes(store), simple->slot, slot_bytes(store), &got);
		if (r < 0)
			return r;
		if (got == slot_bytes(store) && slot_valid(store, simple->slot) &&
		    ((struct slot *)simple->slot)->generation > simple->generation)
			take_slot(store, simple->slot);
	}
	/*
	 * What was found may have been written by somebody who died before it was synced; or whose sync failed, and then a sync alone would
	 * say that it is stable, and it never will be. Written again it is.
	 */
	fill_slot(store, NULL, 0, false);
	r = save(store);
	simple->loaded = r == 0;
	if (r == 0)
		simple->generation++;
	return r;
}

/* ---- commits ---- */

static int simple_begin(struct store *store, unsigned file, uint64_t most_pages, void **ret)
{
	struct simple_commit *commit = calloc(1, sizeof(*commit));

	(void)most_pages;
	ASSERT(commit != NULL);
	commit->store = store;
	commit->file = file;
	commit->pages = aligned_alloc(page_size(), FILE_BYTES + page_size());
	ASSERT(commit->pages != NULL);
	*ret = commit;
	return 0;
}

/* Behind the pages, until it is known which it is. */
static void *simple_room(void *commit, unsigned *pages)
{
	*pages = 1;
	return ((struct simple_commit *)commit)->pages + FILE_BYTES;
}

static void simple_add(void *commit, uint64_t first, unsigned pages)
{
	struct simple_commit *c = commit;

	ASSERT(pages == 1);
	memcpy(c->pages + first * page_size(), c->pages + FILE_BYTES, page_size());
	c->has |= (uint64_t)1 << first;
}

static int simple_spilled(void *commit, uint64_t first, uint64_t end)
{
	struct simple_commit *c = commit;
	struct simple_file *file = &own(c->store)->files[c->file];

	for (uint64_t p = first; p < end && p < PAGES_MAX; p++) {
		if (!file->spilled[p] || (c->has >> p & 1))
			continue;
		memcpy(c->pages + p * page_size(), file->newest + p * page_size(), page_size());
		c->has |= (uint64_t)1 << p;
		c->by_reference |= (uint64_t)1 << p;
	}
	return 0;
}

static void simple_counts(struct simple_commit *commit)
{
	struct simple *simple = own(commit->store);
	struct simple_file *file = &simple->files[commit->file];

	for (unsigned p = 0; p < PAGES_MAX; p++) {
		if (!(commit->has >> p & 1))
			continue;
		file->spilled[p] = false;
		memcpy(file->newest + p * page_size(), commit->pages + p * page_size(), page_size());
	}
}

static void simple_hand_over(void **commits, unsigned n, bool with_size)
{
	struct simple_commit **c = (struct simple_commit **)commits;
	struct store *store = c[0]->store;
	int r;

	if (broken(store, "one-by-one") && n > 1) {
		for (unsigned i = 0; i < n; i++)
			simple_hand_over(commits + i, 1, with_size);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		c[i]->sized = with_size;
	fill_slot(store, c, n, with_size);
	r = save(store);
	if (r == 0)
		take_slot(store, own(store)->slot);
	for (unsigned i = 0; i < n; i++) {
		c[i]->result = r;
		if (r == 0)
			simple_counts(c[i]);
	}
}

static void simple_give_up(void *commit)
{
	struct simple_commit *c = commit;

	free(c->pages);
	free(c);
}

static int simple_wait(void **commits, unsigned n)
{
	int r = 0;

	for (unsigned i = 0; i < n; i++) {
		struct simple_commit *c = commits[i];

		r = r ? r : c->result;
		simple_give_up(c);
	}
	return r;
}

/* ---- the rest ---- */

static void simple_forget(struct store *store, unsigned file, uint64_t first, uint64_t end)
{
	struct simple_file *f = &own(store)->files[file];

	for (uint64_t p = first; p < end && p < PAGES_MAX; p++) {
		if (f->spilled[p])
			memcpy(f->newest + p * page_size(), f->committed + p * page_size(), page_size());
		f->spilled[p] = false;
	}
}

static void simple_forget_size(struct store *store, unsigned file)
{
	struct simple_file *f = &own(store)->files[file];

	f->newest_bytes = f->bytes;
	for (uint64_t p = 0; p < PAGES_MAX; p++) {
		if (!f->spilled[p])
			memcpy(f->newest + p * page_size(), f->committed + p * page_size(), page_size());
	}
}

static int simple_checkpoint(struct store *store, unsigned file)
{
	struct simple_file *f = &own(store)->files[file];
	struct pager *pager = &store->files[file]->pager;
	int r = pager->ops->resize(pager, f->bytes);

	if (r == 0 && f->bytes)
		r = transfer(pager, PAGER_WRITE, 0, f->committed, f->bytes, NULL);
	return r == 0 ? pager->ops->sync(pager) : r;
}

static int simple_open(struct store *store, unsigned file)
{
	struct simple_file *f = &own(store)->files[file];
	int r = own(store)->loaded ? 0 : load(store);

	store->message[0] = '\0';
	if (r < 0)
		return r;
	f->pager.ops = &simple_pager_ops;
	f->open = true;
	f->newest_bytes = f->bytes;
	memcpy(f->newest, f->committed, FILE_BYTES);
	memset(f->spilled, 0, sizeof(f->spilled));
	return 0;
}

static bool simple_is_open(struct store *store, unsigned file)
{
	return own(store)->files[file].open;
}

static int simple_close(struct store *store, unsigned file, bool complete, bool *ret_empty)
{
	int r = complete ? simple_checkpoint(store, file) : 0;

	own(store)->files[file].open = false;
	own(store)->loaded = false;
	for (unsigned i = 0; i < store->n_files; i++)
		own(store)->loaded |= own(store)->files[i].open;
	*ret_empty = false;
	return r;
}

static struct pager *simple_pager(struct store *store, unsigned file)
{
	return &own(store)->files[file].pager;
}

static uint64_t simple_committed_bytes(struct store *store, unsigned file)
{
	return own(store)->files[file].bytes;
}

static bool simple_next_spilled(struct store *store, unsigned file, uint64_t first, uint64_t end, uint64_t *ret_first,
				uint64_t *ret_end)
{
	const bool *spilled = own(store)->files[file].spilled;

	while (first < end && first < PAGES_MAX && !spilled[first])
		first++;
	*ret_first = *ret_end = first;
	while (*ret_end < end && *ret_end < PAGES_MAX && spilled[*ret_end])
		(*ret_end)++;
	return *ret_first < *ret_end;
}

static bool simple_wants_checkpoint(struct store *store, unsigned file)
{
	(void)store;
	(void)file;
	return false;
}

static int simple_prepare(struct store *store, unsigned file)
{
	(void)store;
	(void)file;
	return 0;
}

/* ---- snapshots ---- */

static void snapshot_run(struct pager *pager, struct pager_request *request)
{
	struct simple_snapshot *snapshot = (struct simple_snapshot *)pager;

	request->ret_error = 0;
	read_bytes(request, snapshot->bytes, snapshot->size);
	request->done(request);
}

static int snapshot_size(struct pager *pager, uint64_t *ret_bytes)
{
	*ret_bytes = ((struct simple_snapshot *)pager)->size;
	return 0;
}

static void snapshot_close(struct pager *pager)
{
	free(((struct simple_snapshot *)pager)->bytes);
	free(pager);
}

static const struct pager_ops snapshot_ops = {
    .name = "snapshot", .size = snapshot_size, .run = snapshot_run, .submit = snapshot_run, .close = snapshot_close};

static int simple_snapshot(struct store *store, unsigned file, struct pager **ret)
{
	struct simple_snapshot *snapshot = calloc(1, sizeof(*snapshot));

	ASSERT(snapshot != NULL);
	snapshot->pager.ops = &snapshot_ops;
	snapshot->size = own(store)->files[file].bytes;
	snapshot->bytes = malloc(FILE_BYTES);
	ASSERT(snapshot->bytes != NULL);
	memcpy(snapshot->bytes, own(store)->files[file].committed, FILE_BYTES);
	*ret = &snapshot->pager;
	return 0;
}

/* ---- making ---- */

static void simple_make(struct store *store)
{
	struct simple *simple = calloc(1, sizeof(*simple));

	ASSERT(simple != NULL);
	store->own = simple;
	simple->slot = aligned_alloc(page_size(), slot_bytes(store));
	ASSERT(simple->slot != NULL);
	for (unsigned i = 0; i < store->n_files; i++) {
		simple->files[i].committed = aligned_alloc(page_size(), FILE_BYTES);
		simple->files[i].newest = aligned_alloc(page_size(), FILE_BYTES);
		ASSERT(simple->files[i].committed != NULL && simple->files[i].newest != NULL);
	}
}

static void simple_done(struct store *store)
{
	for (unsigned i = 0; i < store->n_files; i++) {
		free(own(store)->files[i].committed);
		free(own(store)->files[i].newest);
	}
	free(own(store)->slot);
	free(store->own);
}

const struct store_ops simple_store = {
    .make = simple_make,
    .done = simple_done,
    .open = simple_open,
    .is_open = simple_is_open,
    .close = simple_close,
    .pager = simple_pager,
    .committed_bytes = simple_committed_bytes,
    .next_spilled = simple_next_spilled,
    .forget = simple_forget,
    .forget_size = simple_forget_size,
    .begin = simple_begin,
    .room = simple_room,
    .add = simple_add,
    .spilled = simple_spilled,
    .hand_over = simple_hand_over,
    .wait = simple_wait,
    .give_up = simple_give_up,
    .checkpoint = simple_checkpoint,
    .wants_checkpoint = simple_wants_checkpoint,
    .prepare = simple_prepare,
    .snapshot = simple_snapshot,
};
