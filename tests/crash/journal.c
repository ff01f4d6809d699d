/* SPDX-License-Identifier: MIT */
/*
 * journal.c - the journal as what is tried; with a fault, where one is asked for that no disk can have
 */
#include "journal/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/scan.h"
#include "store.h"
#include "sys/page_size.h"
#include "util/arena.h"
#include "util/assert.h"
#include "util/message.h"

struct tried_file {
	struct store *store;
	unsigned number;
	struct journal *journal; /* NULL: not open */
	char name[16];
	struct pager leaky;
};

struct tried {
	struct tried_file files[FILES_MAX];
	uint64_t arena_bytes; /* before */
};

/* What was begun: the journal's own, and what a fault of the store needs. */
struct tried_commit {
	struct journal_commit *commit;
	struct tried_file *file;
	void *room;
	int result; /* of one that was waited for early */
	bool waited;
};

/* One for all, since a map of the kernel takes longer than many a recovery. */
static struct arena arena;

static struct tried_file *file_of(struct store *store, unsigned file)
{
	return &((struct tried *)store->own)->files[file];
}

static struct journal *journal_of(struct store *store, unsigned file)
{
	return file_of(store, file)->journal;
}

static bool broken(const struct store *store, const char *how)
{
	return store->broken != NULL && strcmp(store->broken, how) == 0;
}

/* ---- other journals of the same store: as journal/decide.c asks those that are files ---- */

struct inquiry {
	const uint64_t *unit;
	bool committed, in_doubt;
};

static int on_commit(void *arg, const struct scan_commit *commit)
{
	struct inquiry *inquiry = arg;

	if (memcmp(commit->unit, inquiry->unit, sizeof(commit->unit)) == 0 && !commit->prepared)
		inquiry->committed = true;
	return 0;
}

static int on_doubt(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct inquiry *inquiry = arg;

	(void)party;
	(void)name;
	inquiry->in_doubt |= memcmp(unit, inquiry->unit, 2 * sizeof(*unit)) == 0;
	*ret = false;
	return 0;
}

/*
 * What is read of another's log has to stay. A sync is what decide.c makes. Here it is written again before, since the disks remember for
 * ever what a failed sync has not written: a process that dies after one, in the middle of a unit, is more than decide.c is made for.
 */
static int make_stay(struct disk *log)
{
	unsigned char *block = aligned_alloc(page_size(), page_size());
	int r = 0;

	ASSERT(block != NULL);
	for (uint64_t at = 0; r == 0 && at + page_size() <= log->size; at += page_size()) {
		r = transfer(&log->pager, PAGER_READ, at, block, page_size(), NULL);
		if (r == 0)
			r = transfer(&log->pager, PAGER_WRITE, at, block, page_size(), NULL);
	}
	free(block);
	return r < 0 ? r : log->pager.ops->sync(&log->pager);
}

/* A journal of another uuid has followed one that was removed in order: it has nothing of the unit. */
static int inquire(struct store *store, const struct journal_party *party, const char *name, struct inquiry *inquiry)
{
	struct scan_visitor visitor = {.arg = inquiry, .commit = on_commit, .with_complete = true};
	struct scan_result result = {0};
	int r = -ENOENT;

	for (unsigned i = 0; i < store->n_files; i++) {
		if (strcmp(name, file_of(store, i)->name) != 0)
			continue;
		r = make_stay(store->logs[i]);
		if (r == 0)
			r = journal_scan(&store->logs[i]->pager, NULL, on_doubt, inquiry, &visitor, NULL, &result);
	}
	free(result.segments);
	if (r == 0 && (result.fresh || memcmp(result.header.uuid, party->uuid, sizeof(party->uuid)) != 0))
		inquiry->committed = inquiry->in_doubt = false;
	return r;
}

static int resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct inquiry inquiry = {.unit = unit};
	int r = inquire(arg, party, name, &inquiry);

	*ret = inquiry.committed;
	return r;
}

static int asks(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct inquiry inquiry = {.unit = unit};
	int r = inquire(arg, party, name, &inquiry);

	*ret = inquiry.in_doubt;
	return r;
}

/* ---- opening ---- */

static void tried_make(struct store *store)
{
	struct tried *tried = calloc(1, sizeof(*tried));

	ASSERT(tried != NULL);
	store->own = tried;
	tried->arena_bytes = arena.used_bytes;
	for (unsigned i = 0; i < store->n_files; i++) {
		tried->files[i].store = store;
		tried->files[i].number = i;
		snprintf(tried->files[i].name, sizeof(tried->files[i].name), "log-%u", i);
	}
}

static void tried_done(struct store *store)
{
	struct tried *tried = store->own;

	/* Whatever was done, nothing that was taken from it is left. */
	ASSERT(arena.used_bytes == tried->arena_bytes);
	free(tried);
}

static int tried_open(struct store *store, unsigned file)
{
	struct tried_file *f = file_of(store, file);
	uint64_t blocks = HEADER_BLOCKS + (uint64_t)store->settings.segments * store->settings.segment_blocks;
	struct journal_settings settings = {
	    .name = f->name,
	    .max_bytes = blocks * page_size(),
	    .segment_blocks = store->settings.segment_blocks,
	    .group_pages = store->settings.group_pages,
	    .groups = store->settings.groups,
	    /* Also one page at a time. */
	    .copy_pages = 2 * store->settings.group_pages,
	    /* What becomes durable is said at once, or later, by the next group. */
	    .note_pages = store->settings.group_pages,
	    .file = {.ino = 1 + file, .born_sec = 1000 + file},
	    .owner = 1,
	    .arena = &arena,
	    .asks = asks,
	    .asks_arg = store,
	};
	struct journal_report report = {0};
	int r;

	ASSERT(f->journal == NULL);
	r = journal_open(&store->files[file]->pager, &store->logs[file]->pager, &settings, resolve, store, &report, &f->journal);
	if (r < 0)
		f->journal = NULL;
	snprintf(store->message, sizeof(store->message), "%s", report.problem);
	return r;
}

static bool tried_is_open(struct store *store, unsigned file)
{
	return journal_of(store, file) != NULL;
}

static int tried_close(struct store *store, unsigned file, bool complete, bool *ret_empty)
{
	struct journal *journal = journal_of(store, file);

	file_of(store, file)->journal = NULL;
	return journal_close(journal, complete, ret_empty);
}

/* ---- the pager ---- */

/* A fault: what is spilled is written to the file as well. */
static void leaky_run(struct pager *pager, struct pager_request *request)
{
	struct tried_file *file = (struct tried_file *)((char *)pager - offsetof(struct tried_file, leaky));
	struct pager *below = journal_pager(file->journal);

	if (request->op == PAGER_WRITE)
		transfer(&file->store->files[file->number]->pager, PAGER_WRITE, request->offset, request->buf, request->len, NULL);
	below->ops->run(below, request);
}

static int leaky_size(struct pager *pager, uint64_t *ret_bytes)
{
	struct tried_file *file = (struct tried_file *)((char *)pager - offsetof(struct tried_file, leaky));
	struct pager *below = journal_pager(file->journal);

	return below->ops->size(below, ret_bytes);
}

static int leaky_resize(struct pager *pager, uint64_t bytes)
{
	struct tried_file *file = (struct tried_file *)((char *)pager - offsetof(struct tried_file, leaky));
	struct pager *below = journal_pager(file->journal);

	return below->ops->resize(below, bytes);
}

static const struct pager_ops leaky_ops = {
    .name = "leaky", .size = leaky_size, .run = leaky_run, .submit = leaky_run, .resize = leaky_resize};

static struct pager *tried_pager(struct store *store, unsigned file)
{
	struct tried_file *f = file_of(store, file);

	f->leaky.ops = &leaky_ops;
	return broken(store, "leak") ? &f->leaky : journal_pager(f->journal);
}

static uint64_t tried_committed_bytes(struct store *store, unsigned file)
{
	return journal_committed_bytes(journal_of(store, file));
}

static bool tried_next_spilled(struct store *store, unsigned file, uint64_t first, uint64_t end, uint64_t *ret_first,
			       uint64_t *ret_end)
{
	return journal_next_spilled(journal_of(store, file), first, end, ret_first, ret_end);
}

static void tried_forget(struct store *store, unsigned file, uint64_t first, uint64_t end)
{
	journal_forget(journal_of(store, file), first, end);
}

static void tried_forget_size(struct store *store, unsigned file)
{
	journal_forget_size(journal_of(store, file));
}

/* ---- commits ---- */

static int tried_begin(struct store *store, unsigned file, uint64_t most_pages, void **ret)
{
	struct tried_commit *c = calloc(1, sizeof(*c));
	int r;

	ASSERT(c != NULL);
	c->file = file_of(store, file);
	r = journal_commit_begin(c->file->journal, most_pages, &c->commit);
	if (r < 0)
		free(c);
	else
		*ret = c;
	return r;
}

static void *tried_room(void *commit, unsigned *pages)
{
	struct tried_commit *c = commit;

	return c->room = journal_commit_room(c->commit, pages);
}

static void tried_add(void *commit, uint64_t first, unsigned pages)
{
	struct tried_commit *c = commit;
	struct store *store = c->file->store;

	if (broken(store, "early-copy"))
		transfer(&store->files[c->file->number]->pager, PAGER_WRITE, first * page_size(), c->room, pages * page_size(),
			 NULL);
	journal_commit_add(c->commit, first, pages);
}

static int tried_spilled(void *commit, uint64_t first, uint64_t end)
{
	return journal_commit_spilled(((struct tried_commit *)commit)->commit, first, end);
}

static void tried_hand_over(void **commits, unsigned n, bool with_size)
{
	struct tried_commit *first = commits[0];
	struct journal_commit *list[FILES_MAX];
	bool one_by_one = n > 1 && broken(first->file->store, "one-by-one");

	with_size = with_size && !broken(first->file->store, "lost-size");
	for (unsigned i = 0; i < n; i++) {
		struct tried_commit *c = commits[i];

		list[i] = c->commit;
		if (!one_by_one)
			continue;
		journal_commit_hand_over(&c->commit, 1, with_size);
		c->result = journal_commit_wait(&c->commit, 1);
		c->waited = true;
	}
	if (!one_by_one)
		journal_commit_hand_over(list, n, with_size);
}

static int tried_wait(void **commits, unsigned n)
{
	struct journal_commit *list[FILES_MAX];
	bool waited = false;
	int r = 0;

	for (unsigned i = 0; i < n; i++) {
		struct tried_commit *c = commits[i];

		list[i] = c->commit;
		waited |= c->waited;
		r = r ? r : c->result;
		free(c);
	}
	return waited ? r : journal_commit_wait(list, n);
}

static void tried_give_up(void *commit)
{
	struct tried_commit *c = commit;

	journal_commit_give_up(c->commit);
	free(c);
}

/* ---- the rest ---- */

static int tried_checkpoint(struct store *store, unsigned file)
{
	return journal_checkpoint(journal_of(store, file));
}

static bool tried_wants_checkpoint(struct store *store, unsigned file)
{
	return journal_wants_checkpoint(journal_of(store, file));
}

static int tried_prepare(struct store *store, unsigned file)
{
	return journal_prepare(journal_of(store, file));
}

static int tried_snapshot(struct store *store, unsigned file, struct pager **ret)
{
	return journal_snapshot(journal_of(store, file), ret);
}

const struct store_ops journal_store = {
    .make = tried_make,
    .done = tried_done,
    .open = tried_open,
    .is_open = tried_is_open,
    .close = tried_close,
    .pager = tried_pager,
    .committed_bytes = tried_committed_bytes,
    .next_spilled = tried_next_spilled,
    .forget = tried_forget,
    .forget_size = tried_forget_size,
    .begin = tried_begin,
    .room = tried_room,
    .add = tried_add,
    .spilled = tried_spilled,
    .hand_over = tried_hand_over,
    .wait = tried_wait,
    .give_up = tried_give_up,
    .checkpoint = tried_checkpoint,
    .wants_checkpoint = tried_wants_checkpoint,
    .prepare = tried_prepare,
    .snapshot = tried_snapshot,
};
