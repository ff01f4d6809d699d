/* SPDX-License-Identifier: MIT */
/*
 * atomic.c - files that are atomic in this process
 *
 *      object ── pager ──┐                       ┌── file
 *                        ├── atomic_file ── journal
 *      snapshots ─ pager ┘                       └── log, beside the file
 *
 * The file stays open, and its journal locked, until the last pager is closed. While that is under way it stays in the list, so that who
 * wants it again waits, instead of meeting his own process's lock.
 */
#include "object/atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal/decide.h"
#include "pager/file.h"
#include "pager/filter.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

#define SEGMENTS_WANTED 16  /* in a journal that is too small for segments of the usual size */
#define GROUP_SHARE     128 /* the part of the budget that a group may be of */
#define GROUP_LEAST     8
#define GROUPS          2
#define COPY_SHARE      64 /* … that a checkpoint has in its hands */
#define COPY_LEAST      16
#define COPY_MOST       2048

/* ---- the list ---- */

static struct atomic_file *search(struct atomics *all, dev_t dev, ino_t ino)
{
	struct atomic_file *file = all->head;

	while (file && (file->dev != dev || file->ino != ino))
		file = file->next;
	return file;
}

struct atomic_file *atomic_find(struct atomics *all, dev_t dev, ino_t ino)
{
	struct atomic_file *file;

	lock_acquire(&all->lock);
	file = search(all, dev, ino);
	if (file && file->closing)
		file = NULL;
	if (file)
		file->users++;
	lock_release(&all->lock);
	return file;
}

struct atomic_file *atomic_next(struct atomics *all, struct atomic_file *file)
{
	struct atomic_file *next;

	lock_acquire(&all->lock);
	next = file ? file->next : all->head;
	while (next && next->closing)
		next = next->next;
	if (next)
		next->users++;
	lock_release(&all->lock);
	atomic_release(file);
	return next;
}

bool atomic_is_closing(struct atomics *all, dev_t dev, ino_t ino)
{
	struct atomic_file *file;
	bool closing;

	lock_acquire(&all->lock);
	file = search(all, dev, ino);
	closing = file && file->closing;
	lock_release(&all->lock);
	return closing;
}

/* ---- closing ---- */

static void add_stats(struct journal_stats *sum, const struct journal_stats *one)
{
	sum->commits += one->commits;
	sum->committed_pages += one->committed_pages;
	sum->spilled_pages += one->spilled_pages;
	sum->checkpoints += one->checkpoints;
	sum->checkpointed_pages += one->checkpointed_pages;
	sum->syncs += one->syncs;
}

static void free_file(struct atomic_file *file)
{
	if (file->log)
		file->log->ops->close(file->log);
	if (file->file)
		file->file->ops->close(file->file);
	journal_place_done(&file->place);
	if (file->memory_pages)
		budget_release(file->cache, file->memory_pages);
	identity_close(file->fd, &file->identity);
	free(file);
}

/* Ends the journal. 0; -errno: it has to be kept, since not all is in the file. */
static int close_journal(struct atomic_file *file)
{
	struct journal_stats stats;
	bool empty = false;
	int r;

	journal_stats_get(file->journal, &stats);
	r = journal_close(file->journal, true, &empty);
	/* One that stays says so by itself, and the next who opens it goes on from there. */
	if (empty && identity_check(file->fd, &file->identity) == 0)
		(void)journal_place_remove(file->fd, &file->place);
	lock_acquire(&file->all->lock);
	add_stats(&file->all->past, &stats);
	lock_release(&file->all->lock);
	return r;
}

/* Nobody finds it any more, and nobody uses it. */
static void close_file(struct atomic_file *file)
{
	struct atomic_file **at;

	(void)close_journal(file);
	/* Before it leaves the list: then nothing of it is locked any more. */
	journal_place_done(&file->place);
	lock_acquire(&file->all->lock);
	for (at = &file->all->head; *at != file; at = &(*at)->next)
		;
	*at = file->next;
	lock_release(&file->all->lock);
	free_file(file);
}

void atomic_release(struct atomic_file *file)
{
	struct atomics *all = file ? file->all : NULL;
	bool last;

	if (!file)
		return;
	lock_acquire(&all->lock);
	last = --file->users == 0 && file->pagers == 0 && !file->closing;
	if (last)
		file->closing = true;
	/* Under the lock: who waits for it may free it as soon as he has the lock. */
	futex_wake_all(&file->users);
	lock_release(&all->lock);
	if (last)
		close_file(file);
}

/* A pager is closed. What its object's mapping leaves behind is in the file when this returns. */
static void release_pager(struct atomic_file *file)
{
	struct atomics *all = file->all;
	uint32_t users;

	lock_acquire(&all->lock);
	file->closing = --file->pagers == 0;
	while (file->closing && (users = file->users) > 0) {
		lock_release(&all->lock);
		futex_wait(&file->users, users, NULL);
		lock_acquire(&all->lock);
	}
	if (!file->closing)
		file = NULL;
	lock_release(&all->lock);
	if (file)
		close_file(file);
}

/* ---- opening ---- */

/* The log by a description of its own: that of the place is locked, and a duplicate of it in a child would keep it so. */
static int open_log(struct atomic_file *file, const struct atomic_settings *settings, bool writable)
{
	char name[64];
	int fd, r;

	snprintf(name, sizeof(name), "/proc/thread-self/fd/%d", file->place.fd);
	fd = open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return message_set(errno, "the journal %s cannot be opened: %s", file->place.path, strerrordesc_np(errno));
	r = file_pager_open(settings->io, fd, writable, false, settings->allow_direct, &file->log);
	close(fd);
	return r;
}

static struct journal_settings journal_settings(const struct atomic_file *file, const struct atomic_settings *settings)
{
	uint64_t blocks = settings->journal_bytes >> page_shift, most = JOURNAL_SEGMENT_BYTES >> page_shift;
	uint64_t group = atomic_load(&settings->cache->limit) / GROUP_SHARE;
	uint64_t copy = atomic_load(&settings->cache->limit) / COPY_SHARE;
	uint64_t segment = blocks / SEGMENTS_WANTED < most ? blocks / SEGMENTS_WANTED : most;

	copy = copy < COPY_LEAST ? COPY_LEAST : copy < COPY_MOST ? copy : COPY_MOST;
	group = group > GROUP_LEAST ? group : GROUP_LEAST;
	if (group > group_most((uint32_t)page_size()))
		group = group_most((uint32_t)page_size());
	return (struct journal_settings){
	    .max_bytes = settings->journal_bytes,
	    .segment_blocks = (uint32_t)segment,
	    .group_pages = (unsigned)group,
	    .groups = GROUPS,
	    .copy_pages = (unsigned)copy,
	    .name = file->place.path,
	    .file = file->place.file,
	    .owner = getpid(),
	    .arena = &settings->cache->arena,
	    .asks = decide_asks,
	    .asks_arg = settings->io,
	};
}

static int describe(int r, const struct atomic_file *file, const struct journal_report *report)
{
	switch (-r) {
	case EUCLEAN:
	case ESTALE:
	case EPROTO:
		return message_set(-r, "the journal %s is not to be used: %s. `quire recover` tells what can be done",
				   file->place.path, report->problem);
	default:
		return *message_detail()
			   ? r
			   : message_set(-r, "the journal %s cannot be opened: %s", file->place.path, strerrordesc_np(-r));
	}
}

static int open_journal(struct atomic_file *file, const struct atomic_settings *settings)
{
	struct journal_settings wanted = journal_settings(file, settings);
	struct journal_report report = {0};
	unsigned char uuid[16];
	uint64_t pages = journal_memory_pages(&wanted);
	int r = budget_reserve(settings->cache, pages);

	if (r < 0)
		return message_set(ENOMEM,
				   "%llu bytes for a journal's buffers are more than the memory budget has left; raise it with "
				   "QUIRE_MEMORY or quire_set_memory",
				   (unsigned long long)(pages << page_shift));
	file->memory_pages = pages;
	r = journal_open(file->file, file->log, &wanted, decide_resolve, settings->io, &report, &file->journal);
	if (r < 0) {
		r = describe(r, file, &report);
		if (report.fresh)
			(void)journal_place_remove(file->fd, &file->place);
		return r;
	}
	r = journal_place_uuid(file->place.fd, uuid);
	if (r == 0)
		r = journal_place_mark(file->fd, &file->place, uuid);
	if (r < 0) {
		if (!*message_detail())
			message_set(-r, "the file cannot be marked as one that has the journal %s: %s", file->place.path,
				    strerrordesc_np(-r));
		(void)close_journal(file);
	}
	return r;
}

static struct atomic_file *new_file(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st)
{
	struct atomic_file *file = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->all = all;
	file->dev = st->st_dev;
	file->ino = st->st_ino;
	file->users = 1;
	file->snapshot_commit = UINT64_MAX;
	file->cache = settings->cache;
	file->place.fd = -1;
	file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	(void)identity_get(file->fd, &file->identity);
	return file;
}

/* With the journal that there is, or one that is made. *ret NULL: there is none. */
static int open_file(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st,
		     enum place_mode mode, struct atomic_file **ret)
{
	struct atomic_file *file = new_file(all, settings, fd, st);
	int r = file ? file->fd < 0 ? -errno : 0 : -ENOMEM;

	*ret = NULL;
	if (!file || r < 0) {
		free(file);
		return message_set(-r, "descriptor %d cannot be kept for a journal: %s", fd, strerrordesc_np(-r));
	}
	r = journal_place_find(fd, mode, &file->place);
	if (r < 0)
		file->place = (struct journal_place){.fd = -1};
	if (r < 0 || file->place.fd < 0) {
		free_file(file);
		return r;
	}
	r = file_pager_open(settings->io, fd, true, settings->nowait, settings->allow_direct, &file->file);
	if (r == 0)
		r = open_log(file, settings, true);
	if (r < 0 && !*message_detail())
		message_set(-r, "descriptor %d could not be opened again for the engine: %s", fd, strerrordesc_np(-r));
	if (r == 0)
		r = open_journal(file, settings);
	if (r < 0)
		free_file(file);
	else
		*ret = file;
	return r;
}

int atomic_open(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st,
		struct atomic_file **ret)
{
	struct atomic_file *file = atomic_find(all, st->st_dev, st->st_ino);
	int r;

	if (file) {
		*ret = file;
		return 0;
	}
	if (atomic_is_closing(all, st->st_dev, st->st_ino))
		return -EAGAIN;
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return message_set(
		    EACCES, "descriptor %d is not open for reading and writing, which a file needs whose journal is to be opened",
		    fd);
	r = open_file(all, settings, fd, st, PLACE_CREATE, &file);
	if (r < 0)
		return r == -EAGAIN ? -EIO : r;
	lock_acquire(&all->lock);
	file->next = all->head;
	all->head = file;
	lock_release(&all->lock);
	*ret = file;
	return 0;
}

/* ---- files that are mapped as any other ---- */

static bool is_locked(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* For a descriptor that cannot write: there has to be nothing in the journal. */
static int check_only(const struct atomic_settings *settings, int fd, struct atomic_file *file)
{
	struct journal_report report = {0};
	int r = file_pager_open(settings->io, fd, false, settings->nowait, settings->allow_direct, &file->file);

	if (r == 0)
		r = open_log(file, settings, false);
	if (r == 0)
		r = journal_check(file->file, file->log, &file->place.file, &report);
	if (r < 0)
		return describe(r, file, &report);
	if (is_locked(file->place.fd))
		return message_set(
		    EBUSY,
		    "process %lld has the file's journal %s open: what it has committed is not all in the file until it "
		    "has ended, or unmaps the file",
		    (long long)report.owner, file->place.path);
	if (*report.problem)
		return message_set(EUCLEAN, "the journal %s is not to be used: %s. `quire recover` tells what can be done",
				   file->place.path, report.problem);
	if (!report.fresh && (report.last != report.complete || report.in_doubt))
		return message_set(EUCLEAN,
				   "the journal %s has commits that are not in the file yet: run `quire recover` on it, or map it "
				   "from a descriptor that is open for writing",
				   file->place.path);
	return 0;
}

static int look(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st)
{
	struct atomic_file *file = new_file(all, settings, fd, st);
	int r = file ? file->fd < 0 ? -errno : 0 : -ENOMEM;

	if (r == 0)
		r = journal_place_find(fd, PLACE_LOOK, &file->place);
	if (r < 0 && file)
		file->place = (struct journal_place){.fd = -1};
	if (r == 0 && file->place.fd >= 0)
		r = check_only(settings, fd, file);
	if (file)
		free_file(file);
	return r;
}

int atomic_recover(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st, bool writable)
{
	struct atomic_file *file;
	int r;

	if (journal_place_is_clean(fd))
		return 0;
	if (atomic_is_closing(all, st->st_dev, st->st_ino))
		return -EAGAIN;
	if (!writable)
		return look(all, settings, fd, st);
	r = open_file(all, settings, fd, st, PLACE_FIND, &file);
	if (r < 0 || !file)
		return r == -EAGAIN ? -EIO : r;
	r = close_journal(file);
	if (r < 0)
		message_set(-r, "what the journal %s has committed could not be copied into the file: %s", file->place.path,
			    strerrordesc_np(-r));
	free_file(file);
	return r;
}

/* ---- pagers ---- */

struct atomic_pager {
	struct filter filter; /* over the journal's, which is not closed with it, or a snapshot's, which is */
	struct atomic_file *file;
};

static struct atomic_file *file_of(struct pager *pager)
{
	return ((struct atomic_pager *)pager)->file;
}

static void pass_run(struct pager *pager, struct pager_request *request)
{
	below_of(pager)->ops->run(below_of(pager), request);
}

static void pass_submit(struct pager *pager, struct pager_request *request)
{
	below_of(pager)->ops->submit(below_of(pager), request);
}

static void object_close(struct pager *pager)
{
	struct atomic_file *file = file_of(pager);

	journal_forget(file->journal, 0, UINT64_MAX);
	journal_forget_size(file->journal);
	lock_acquire(&file->all->lock);
	file->taken = false;
	lock_release(&file->all->lock);
	free(pager);
	release_pager(file);
}

static void snapshot_close(struct pager *pager)
{
	struct atomic_file *file = file_of(pager);

	lock_acquire(&file->all->lock);
	if (file->snapshot && file->snapshot->pager == pager)
		file->snapshot = NULL;
	lock_release(&file->all->lock);
	filter_close(pager);
	release_pager(file);
}

static const struct pager_ops object_ops = {
    .name = "atomic",
    .size = filter_size,
    .run = pass_run,
    .submit = pass_submit,
    .sync = filter_sync,
    .resize = filter_resize,
    .discard = filter_discard,
    .close = object_close,
};

static const struct pager_ops snapshot_ops = {
    .name = "snapshot",
    .size = filter_size,
    .run = pass_run,
    .submit = pass_submit,
    .sync = filter_sync,
    .resize = filter_resize,
    .discard = filter_discard,
    .close = snapshot_close,
};

/* 0; -EAGAIN: the file is being closed; -ENOMEM. */
static int new_pager(struct atomic_file *file, const struct pager_ops *ops, struct pager *below, struct pager **ret)
{
	struct atomic_pager *pager = filter_new(sizeof(*pager), ops, below);
	bool closing;

	if (!pager)
		return -ENOMEM;
	/* Nobody else sets the size. */
	pager->filter.base.steady = true;
	pager->file = file;
	lock_acquire(&file->all->lock);
	closing = file->closing;
	file->pagers += !closing;
	lock_release(&file->all->lock);
	if (closing)
		free(pager);
	else
		*ret = &pager->filter.base;
	return closing ? -EAGAIN : 0;
}

int atomic_pager(struct atomic_file *file, struct pager **ret)
{
	bool taken;
	int r;

	lock_acquire(&file->all->lock);
	taken = file->taken;
	file->taken = true;
	lock_release(&file->all->lock);
	if (taken)
		return -EAGAIN;
	r = new_pager(file, &object_ops, journal_pager(file->journal), ret);
	if (r < 0) {
		lock_acquire(&file->all->lock);
		file->taken = false;
		lock_release(&file->all->lock);
	}
	return r;
}

/* ---- snapshots ---- */

int atomic_snapshot(struct atomic_file *file, struct pager **ret, uint64_t *ret_commit)
{
	uint64_t before = journal_last(file->journal);
	struct pager *below;
	int r = journal_snapshot(file->journal, &below);

	if (r < 0)
		return r;
	*ret_commit = journal_last(file->journal) == before ? before : UINT64_MAX;
	r = new_pager(file, &snapshot_ops, below, ret);
	if (r < 0)
		below->ops->close(below);
	return r;
}

void atomic_share_snapshot(struct atomic_file *file, struct object *object, uint64_t commit)
{
	lock_acquire(&file->all->lock);
	file->snapshot = object;
	file->snapshot_commit = commit;
	lock_release(&file->all->lock);
}

struct object *atomic_find_snapshot(struct atomic_file *file)
{
	struct object *object = NULL;

	lock_acquire(&file->all->lock);
	if (file->snapshot && file->snapshot_commit == journal_last(file->journal) && object_try_use(file->snapshot))
		object = file->snapshot;
	lock_release(&file->all->lock);
	return object;
}

/* ---- children, reports ---- */

void atomics_close_inherited(struct atomics *all)
{
	for (struct atomic_file *file = all->head; file; file = file->next)
		identity_close(file->place.fd, &file->place.identity);
}

void atomics_stats(struct atomics *all, struct journal_stats *ret)
{
	struct atomic_file *file;

	lock_acquire(&all->lock);
	*ret = all->past;
	lock_release(&all->lock);
	for (file = atomic_next(all, NULL); file; file = atomic_next(all, file)) {
		struct journal_stats one;

		journal_stats_get(file->journal, &one);
		add_stats(ret, &one);
		ret->log_bytes += one.log_bytes;
		ret->snapshots += one.snapshots;
	}
}
