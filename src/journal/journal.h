/* SPDX-License-Identifier: MIT */
/*
 * journal.h - atomic commits of a file's pages
 *
 * A journal stands between an object and its file. What the object gives it to be written without a commit is spilled: it is found
 * again when it is read, and never reaches the file. What is committed is appended to the log, with one sync, and copied into the
 * file later, by checkpoints. A page is read from where its newest version is; a snapshot reads the newest that is not newer than it.
 *
 *      version of a page      where                                 until
 *      ─────────────────────────────────────────────────────────────────────────────────────────────────
 *      uncommitted            spilled, in the journal               it is committed, written again, or forgotten
 *      committed              journal                               a checkpoint has copied it, or a later commit has the page,
 *                                                                   and no snapshot needs it
 *      complete               the file
 *
 * The journal's two pagers are plain ones: bytes at offsets. Nothing else of the system is touched, so that a disk that fails, tears and
 * forgets can be put in their place.
 *
 * Threads: any, at once. Reads and spills may come from a fault (async-signal-safe; they take the journal's lock for moments, and wait
 * for no storage that another holds up). Everything else may wait for storage, with no lock held that a fault takes.
 * Functions return 0 or -errno, and set the thread's message where a caller would want more than the errno.
 */
#ifndef QUIRE_JOURNAL_JOURNAL_H
#define QUIRE_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/format.h"
#include "pager/pager.h"
#include "util/arena.h"

struct journal;

#define JOURNAL_SEGMENT_BYTES  (4u << 20)
#define JOURNAL_LEAST_SEGMENTS 4

/*
 * Whether the journal that party names, or whoever opens it next, may still ask for what a commit of this one has decided for it.
 * As with journal_resolve, what is read has to be synced first. What it asks for is kept, and with it all of the log from there on: it may be made to ask now, by being opened and closed.
 * 0 and *ret; -errno: that cannot be known now.
 */
typedef int journal_asks(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret);

struct journal_settings {
	const char *name;        /* path of the journal's file, for other journals. NULL: it commits alone */
	uint64_t max_bytes;      /* the journal's file gets no longer; at least what four segments need */
	uint32_t segment_blocks; /* 0: as many as make 4 MiB. Of a journal that is there already its own counts */
	unsigned group_pages;    /* pages that one write brings along; 0: as many as a descriptor names */
	unsigned groups;         /* writes of a commit under way at once, each with memory for its group; at least 2 */
	unsigned copy_pages;     /* that a checkpoint has in memory at once, half of them read, half written; 0: 1024; at least 2 */
	unsigned note_pages; /* when so many have become durable at once the header says so; 0: as many as a segment has blocks */
	struct journal_identity file;
	int64_t owner;       /* for the header */
	struct arena *arena; /* for what spills and reads need */
	/* Asked about journals that are not open here, when a decision is in the way. NULL: they may. */
	journal_asks *asks;
	void *asks_arg;
};

/* Pages of memory that settings ask for, for the budget. */
uint64_t journal_memory_pages(const struct journal_settings *settings);

/*
 * What has become of a commit that another journal decides: asked for the one that party names, if that is not open here. *ret: whether
 * it counts. No journal there: it does not. What is read there has to be synced first, or it might be gone after the next crash.
 * => 0; -errno with a message: it cannot be asked now, and the journal is not opened.
 */
typedef int journal_resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret);

/* What was found in a journal. */
struct journal_report {
	bool fresh;               /* there was no journal: the file was empty, or shorter than a header that never counted */
	uint64_t complete;        /* the last commit that is in the file */
	uint64_t last;            /* the last that counts */
	uint64_t pages;           /* that commits after complete have */
	uint64_t file_bytes;      /* as of last */
	uint64_t given_up_groups; /* valid ones after the last commit: of a transaction that was under way */
	uint64_t torn_blocks;     /* after those, in the segment that was written last: what a crash left half done */
	unsigned in_doubt;        /* commits that another journal decided */
	int64_t owner;
	char problem[256]; /* why it is not to be trusted; empty: it is */
};

/*
 * Opens a journal, or makes one where log is empty, and finds the commits that are not in the file yet: reads give them from here on.
 * file and log stay the caller's, who closes them after journal_close.
 * => resolve NULL: a commit in doubt is -EBUSY. report may be NULL.
 * => -EUCLEAN: it is damaged, and what was said to be committed is not all there; -ESTALE: it is another file's; -EPROTO: of
 *    another version. Nothing is written then. Else the -errno of a transfer; -ENOMEM; -ENOSPC.
 */
int journal_open(struct pager *file, struct pager *log, const struct journal_settings *settings, journal_resolve *resolve,
		 void *arg, struct journal_report *report, struct journal **ret);

/*
 * Looks, and writes nothing: 0 and report, whose problem tells what is wrong; -errno: the storage cannot be read. identity NULL: not
 * compared.
 */
int journal_check(struct pager *file, struct pager *log, const struct journal_identity *identity, struct journal_report *report);

/*
 * Forgets what is not committed, and ends. complete: makes the file complete first, as journal_checkpoint does.
 * => 0; -errno: not all is in the file, and the journal's file has to be kept. Closed in any case. *ret_empty: nothing of it is needed
 *    any more: the caller may remove its file.
 */
int journal_close(struct journal *journal, bool complete, bool *ret_empty);

/* ---- as a pager ---- */

/*
 * What the object over it has: reads give the newest version, committed or not; writes spill. size and resize are about the size as
 * it would be committed, sync does nothing, discard is -EOPNOTSUPP. close does nothing: see journal_close.
 * => A write that ends inside a page has a buffer up to the end of that page, which is filled with zeros.
 * => Not while a commit is put together: a smaller size. What was added before it could not be told from what comes after.
 * => A write that finds no room is -ENOSPC: what it has to go to is full of what is neither committed nor in the file.
 */
struct pager *journal_pager(struct journal *journal);

/* The size of the file as of the last commit, in bytes. */
uint64_t journal_committed_bytes(struct journal *journal);

/* Pages of a range that have an uncommitted version, spilled: the first run at or after first. False: none. */
bool journal_next_spilled(struct journal *journal, uint64_t first, uint64_t end, uint64_t *ret_first, uint64_t *ret_end);

/* Rollback: forgets the uncommitted versions of a range. */
void journal_forget(struct journal *journal, uint64_t first, uint64_t end);
/* … and the size that is not committed. */
void journal_forget_size(struct journal *journal);

/* ---- commit ---- */

/*
 * A commit that is being put together. One at a time in a journal: others wait in begin until the pages are handed over, and share
 * the sync.
 */
struct journal_commit;

/*
 * most_pages: that commit_add will bring at most. Waits until there is room, and makes some by a checkpoint.
 * => -ENOSPC: there cannot be: uncommitted pages and what a snapshot needs fill the journal, or it is more than a journal holds.
 */
int journal_commit_begin(struct journal *journal, uint64_t most_pages, struct journal_commit **ret);

/* Memory for the bytes of up to *pages pages, which it may lower, that follow each other there; aligned to a page. May wait for a write. */
void *journal_commit_room(struct journal_commit *commit, unsigned *pages);
/* That memory, as much of it as pages say, has the bytes of the pages from first on. Pages come once each, in rising order. */
void journal_commit_add(struct journal_commit *commit, uint64_t first, unsigned pages);
/* The uncommitted versions of a range that were spilled, and not added, are part of it too. */
int journal_commit_spilled(struct journal_commit *commit, uint64_t first, uint64_t end);

/*
 * Hands one or several, of as many journals, over as one unit: all or none count. From here on the next may begin, but for several,
 * whose journals wait until it is decided. What was added may change in memory. Frees nothing: journal_commit_wait has to follow.
 * with_size: the size that was set is committed, too; as it is, in any case, where a page of the commit would lie behind the end, or in
 * what was cut off, without it. A page behind the end then: -EINVAL by journal_commit_wait.
 */
void journal_commit_hand_over(struct journal_commit **commits, unsigned n, bool with_size);

/*
 * Waits until they count, and frees them. 0; -errno: none counts as far as is known (as with any failed sync, a crash may yet show
 * it), and what was spilled of them is uncommitted still.
 */
int journal_commit_wait(struct journal_commit **commits, unsigned n);

/* Instead of handing it over: nothing has happened. */
void journal_commit_give_up(struct journal_commit *commit);

/* Commits that count. */
uint64_t journal_last(struct journal *journal);

/* ---- checkpoint ---- */

/*
 * Copies what is committed into the file, in order, syncs it and says so in the header: the place in the journal is free again. Not
 * what snapshots stand before. 0 or -errno: then what was not copied is still here.
 */
int journal_checkpoint(struct journal *journal);
/* Whether it is time for one. */
bool journal_wants_checkpoint(struct journal *journal);
/* Makes room on storage ahead of need, so that no commit waits for it. 0 or -errno. */
int journal_prepare(struct journal *journal);

/* ---- snapshots ---- */

/* A pager that reads the file as of the last commit, for as long as it is open. Its close ends the snapshot. */
int journal_snapshot(struct journal *journal, struct pager **ret);

/* ---- for reports ---- */

struct journal_stats {
	uint64_t commits, committed_pages, spilled_pages;
	uint64_t log_bytes; /* the length of the journal's file */
	uint64_t used_blocks, free_blocks;
	uint64_t snapshots;
	uint64_t checkpoints, checkpointed_pages;
	uint64_t syncs;
	uint64_t last, complete;
};
void journal_stats_get(struct journal *journal, struct journal_stats *ret);

#endif
