/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of the journal share
 *
 *      journal.c      opening, closing, the header
 *      renew.c        what an open has found gets to stable storage
 *      index.c        which block has which version of a page; sizes of the past
 *      space.c        segments: what is free, what may be used again, what has to be kept free
 *      append.c       the log: groups, the durable mark, syncs, going on after a failure
 *      commit.c       a commit from begin to wait
 *      unit.c         commits of several journals that count together
 *      pager.c        reads and spills
 *      checkpoint.c   into the file
 *      copy.c         … page by page, many under way
 *      snapshot.c     pagers that read the past
 *
 * Locks, in their order. Those above the line are held while storage is waited for, and never taken by a read or a spill:
 *
 *      building        there is one commit that is put together. From begin to hand_over or give_up; of a unit until it is decided
 *      unit.driving    one at a time takes a unit further
 *      checkpointing   one checkpoint at a time
 *      header          the header is written by one at a time
 *      syncing         one sync of the journal's file at a time, and all that follows from its result: what was written before is
 *                      durable, or all that is not durable has failed
 *      ────────────────
 *      journals_lock   (journal.c) which journals are open here. Not held while storage is waited for: who was found is counted
 *      lock            everything in memory: index, segments, the state of the log, lists. A leaf, held for moments
 *
 * A unit takes these of several journals, but `lock`, syncing and checkpointing never of two at once; building of all of them, in the
 * order in which the caller begins.
 *
 * A commit passes through these states:
 *
 *      BUILDING ──▶ HANDED ──▶ DONE            its groups are written and synced: it counts
 *          │           ├─────▶ PREPARED ──▶ DONE │ FAILED      synced, and another journal decides
 *          │           └─────▶ FAILED          a write or a sync before it was durable failed
 *          └─────▶ (given up)
 *
 * Failure. Nobody knows what storage has of what was written after the last good sync. So all commits that are not durable fail, and
 * the log is cut: it goes on in a new segment, whose header says where what counts of the old one ended. `failures` counts such events:
 * what was spilled before the last of them is suspect. The segments behind the cut are used again only when no write to them is
 * under way any more.
 */
#ifndef QUIRE_JOURNAL_INTERNAL_H
#define QUIRE_JOURNAL_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/journal.h"
#include "journal/scan.h"
#include "sys/page_size.h"
#include "util/assert.h"
#include "util/lock.h"

/* ---- the index ---- */

enum version_state {
	VERSION_FREE,      /* nothing, or nothing any more: commit is the last that named the block */
	VERSION_WRITING,   /* being spilled */
	VERSION_SPILLED,   /* uncommitted */
	VERSION_NAMED,     /* spilled, and in a commit that does not count yet */
	VERSION_OVER,      /* spilled, and a commit that does not count yet has a newer one */
	VERSION_PENDING,   /* in the log, by a commit that does not count yet. Not found by reads: the page is in memory */
	VERSION_COMMITTED, /* of a commit that counts */
};

/* Uncommitted versions are newer than any commit. The lower bits: the value of failures when the write of it began. */
#define COMMIT_NONE ((uint64_t)1 << 63)
#define SUSPECT     (COMMIT_NONE | 0) /* of no time that there was: failures begin with 1 */

/*
 * What a block of the journal has, by the block's number. What belongs to free blocks stays as long as there are readers. [lock]
 * left and right: of SPILLED, in the tree by page; of NAMED, OVER and PENDING left is the next of the same commit.
 */
struct version {
	uint64_t page;
	uint64_t commit;
	uint64_t checksum;
	uint32_t next; /* with the same hash: block; 0: none */
	uint32_t left, right;
	uint16_t readers;   /* transfers from it that are under way */
	uint8_t state;      /* enum version_state */
	bool forgotten : 1; /* by a rollback, while it was WRITING, NAMED or OVER */
	bool named : 1;     /* by a commit that was given up, and that a crash may yet show */
};

/* A commit that has cut the file: pages from least_bytes on that are older than it are zeros. */
struct cut {
	uint64_t commit;
	uint64_t least_bytes;
	struct cut *next; /* older */
};

/* ---- segments ---- */

enum segment_kind { SEGMENT_FREE, SEGMENT_LOG, SEGMENT_SPILL, SEGMENT_MAKING };

#define NEEDED_ALWAYS UINT64_MAX

struct segment {
	enum segment_kind kind;
	uint32_t live;        /* blocks that are not VERSION_FREE */
	uint32_t readers;     /* transfers, counted by block */
	uint32_t next;        /* spill: blocks from here on have not been used since it was free */
	uint64_t last_commit; /* spill: the highest that names a block in it */
	uint64_t seq;         /* log */
	uint64_t
	    needed_till; /* log: it is needed until this commit is complete. NEEDED_ALWAYS: nothing comes after it in the log yet */
	bool cut_off;    /* log: what is in it was given up */
	uint32_t next_free; /* index, plus 1 */
	bool barren;        /* spill: no hole was found in it, and nothing has changed since */
};

/* A place in the log: behind a group. seq 0: before all of it. */
struct place {
	uint64_t seq;
	uint64_t commit; /* the highest that lies before it */
	uint32_t segment;
	uint32_t block;
};

/* ---- the log ---- */

enum group_state { GROUP_FREE, GROUP_FILLING, GROUP_WRITING, GROUP_READY };

/* Memory for a write: a block for a segment's header, one for the descriptor, and the pages. */
struct group {
	struct pager_request request;
	struct journal *journal;
	char *memory;
	enum group_state state; /* [lock] */
	uint64_t ticket;        /* [lock] groups are counted as they are submitted */
	bool dead;              /* there is no place for it: nothing is written */
	bool first;             /* of its segment, whose header goes before it */
	struct place at;        /* where its descriptor is to be */
	struct place previous;  /* first: where the log was before */
	unsigned capacity;      /* pages that there is place for */
	unsigned pages, entries;
};

enum commit_state { COMMIT_BUILDING, COMMIT_HANDED, COMMIT_PREPARED, COMMIT_DONE, COMMIT_FAILED };

struct journal_commit {
	struct journal *journal;
	struct journal_commit *next; /* handed over later [lock] */
	enum commit_state state;     /* [lock] */
	int error;                   /* -errno, why it failed, or will */
	uint64_t number;
	uint64_t failures; /* when it began */
	uint64_t ticket;   /* of its last group */
	struct place start, end;
	struct group *group; /* that is being filled; NULL: none */
	uint64_t file_bytes, least_bytes;
	uint64_t end_page; /* of the pages in it */
	uint64_t pages;
	uint32_t versions; /* list of blocks */
	bool with_size;
	bool wrote;        /* groups were submitted */
	bool follows;      /* has nothing of its own: ends as the commit of this number ends */
	bool prepared;     /* another journal decides */
	struct cut *cut;   /* made ahead; NULL: it is in the list */
	bool is_cut;       /* it is in the list */
	struct unit *unit; /* NULL: it commits alone */
};

/* A commit of this journal that has decided for others, who have not noted it on stable storage yet. */
struct decision {
	struct decision *next;
	uint64_t unit[2];
	uint64_t seq; /* of the segment that has it: that one and the later ones stay */
	unsigned n, left;
	struct {
		struct journal_party party;
		char *name;
		bool noted;
	} others[];
};

/* What the log has to say, when next something is written: that a prepared commit counts. */
struct note {
	uint64_t commit; /* 0: nothing */
	uint64_t unit[2];
	unsigned char decider[16];
	uint64_t ticket;  /* of the group that says so; 0: none yet */
	struct place end; /* behind it */
};

struct snapshot {
	struct pager base;
	struct journal *journal;
	struct snapshot *next; /* [lock] */
	uint64_t commit, bytes;
};

struct journal {
	struct pager pager; /* the facade */
	struct pager *file, *log;
	struct journal_settings settings; /* with what defaults are */
	char *name;
	size_t block_bytes;
	uint64_t n_blocks;
	struct journal *next; /* all that are open [journals_lock] */

	struct lock building, checkpointing, header_lock, syncing, lock;
	_Atomic uint32_t changed; /* futex: a group was written, a commit has ended, or a reader has left */

	/* The header. [header_lock] */
	struct journal_header header; /* as it was written last. Who and what it is does not change */
	void *header_memory;          /* a block */
	unsigned header_good;         /* block of the one that is on stable storage; the other is written next */
	bool header_unsure;           /* that other one may say that more is complete than the good one does */

	/* Sizes. [lock] */
	uint64_t bytes;        /* as of last */
	uint64_t handed_bytes; /* as of the commit that was handed over last */
	uint64_t size_bytes;   /* as of now */
	uint64_t least_bytes;  /* since then */
	struct cut *cuts;      /* of commits that are not complete, the newest first */

	/* Index. [lock] */
	struct version *versions;
	uint32_t *heads;
	unsigned heads_shift; /* hash >> it */
	uint32_t spilled;     /* root of the tree by page */
	uint64_t n_spilled, n_suspect;
	uint64_t kept; /* versions that were superseded, and are there for snapshots */

	/* Segments. [lock] */
	struct segment *segments;
	uint32_t n_segments;  /* that there can be */
	uint32_t wiped;       /* index plus 1, of one that the opening has made free; 0: none */
	uint32_t made;        /* that the file has; those behind are made when they are used first */
	uint32_t free_list;   /* index plus 1, of made ones */
	uint32_t n_free;      /* made or not */
	uint32_t n_free_made; /* in the list */
	uint32_t reserved;    /* of these, for the commit that is put together */
	uint32_t spill_now;   /* index plus 1: of the spill segment that is filled */
	uint32_t spill_hand;  /* where holes are looked for */
	uint64_t spill_segments, spill_live;
	bool hungry; /* something found no room */

	/* The log. [lock] */
	struct place end;     /* of the log; where the next group is to be unless in a new segment */
	bool is_cut;          /* the next group is to be in a new segment */
	struct place durable; /* everything before was on stable storage */
	uint64_t next_seq;
	uint64_t stale_seq; /* what was given up may count after a crash, until the log is durable in this segment or a later one */
	bool owes;          /* other journals wait for that [building] */
	uint64_t last_ticket;
	int error; /* -errno: something was not written, or not synced. Until the next commit begins */
	uint64_t failures;
	struct group *groups; /* settings.groups */
	char *group_memory;
	struct journal_commit *pending, *pending_tail; /* handed over, in their order */
	struct journal_commit *builder;                /* the one that is put together */
	uint64_t last;                                 /* counts */
	uint64_t handed;                               /* number of the last that was handed over */
	uint64_t complete;                             /* in the file, and the header says so on stable storage */
	struct note note;

	/* Several journals. [lock] */
	struct unit *unit;      /* that the commit of this journal is in, until it is decided */
	struct unit *uncertain; /* that was given up, and a crash may yet decide otherwise: nothing is appended meanwhile */
	struct decision *decisions;

	/* Checkpoint and snapshots. */
	struct copier *copier;      /* [checkpointing]; NULL: not needed yet */
	uint64_t checkpoint;        /* commit that one under way goes to; UINT64_MAX: none [lock] */
	struct snapshot *snapshots; /* [lock] */

	_Atomic uint32_t users; /* futex: others that use it, though it may be closed [raised with journals_lock] */
	struct spill *spills;   /* under way [lock] */

	struct journal_stats stats; /* [lock] */
};

static inline struct segment *segment_of(struct journal *journal, uint32_t block)
{
	return &journal->segments[(block - HEADER_BLOCKS) / journal->settings.segment_blocks];
}

static inline uint32_t segment_first(const struct journal *journal, uint32_t segment)
{
	return HEADER_BLOCKS + segment * journal->settings.segment_blocks;
}

static inline void journal_wake(struct journal *journal)
{
	atomic_fetch_add(&journal->changed, 1);
	futex_wake_all(&journal->changed);
}

/* ---- index.c ---- */

int index_create(struct journal *journal, uint64_t n_blocks);
int index_resize(struct journal *journal, uint64_t n_blocks);
void index_destroy(struct journal *journal);

/* The functions below are called with journal->lock held. */

/*
 * What is complete is in the file, cuts and all: from the moment on at which `complete` is raised neither its versions nor its cuts are seen
 * by these two, though they go one by one, after that.
 */
/* The newest version of a page that is not newer than limit and may be read. Block; 0: none. */
uint32_t index_find(struct journal *journal, uint64_t page, uint64_t limit);
/* Whether a page of which the newest version up to limit is of commit (0: there is none) was cut off since. */
bool index_is_cut(struct journal *journal, uint64_t page, uint64_t commit, uint64_t limit);

/* A version that has its page and its commit is found from here on, or no more. */
void index_insert(struct journal *journal, uint32_t block);
void index_remove(struct journal *journal, uint32_t block);
/* A block is FREE from here on. commit: the last that names it on storage, or 0. */
void version_free(struct journal *journal, uint32_t block, uint64_t commit);
/* A free block gets a state. */
void version_take(struct journal *journal, uint32_t block, uint64_t page, enum version_state state);

/* The tree of what is SPILLED. */
void spilled_enter(struct journal *journal, uint32_t block);
void spilled_leave(struct journal *journal, uint32_t block);
/* The first page at or after page. Block; 0: none. */
uint32_t spilled_next(struct journal *journal, uint64_t page);
bool version_is_suspect(const struct journal *journal, const struct version *version);
/* Forgets a SPILLED version. */
void spilled_drop(struct journal *journal, uint32_t block);

/* Takes the committed versions of a page out that nobody needs. */
void index_prune(struct journal *journal, uint64_t page);
/* Takes all out that are of commits up to this one. Not with the lock held. */
void index_complete(struct journal *journal, uint64_t commit);
/* Takes all out that nobody needs any more, after the end of a snapshot. Not with the lock held. */
void index_sweep(struct journal *journal);
/* Takes out the cuts up to a commit; that of a commit. To be freed without the lock. */
struct cut *cuts_take(struct journal *journal, uint64_t commit);
struct cut *cut_take(struct journal *journal, uint64_t commit);
void cuts_free(struct cut *cut);

void version_pin(struct journal *journal, uint32_t block, unsigned n);
/* Not with the lock held. */
void version_unpin(struct journal *journal, uint32_t block, unsigned n);

/* ---- space.c: with journal->lock held ---- */

/* How many segments a commit needs of which so much is still to come, with so many blocks left in the one that the log is in. */
uint32_t space_need(const struct journal *journal, uint64_t pages, uint64_t names, uint32_t left);
/* Index, or -ENOSPC. */
int64_t space_take(struct journal *journal, enum segment_kind kind);
/* Frees the segment if nothing in it is needed. */
void space_try_free(struct journal *journal, uint32_t segment);
void space_try_free_all(struct journal *journal);
/* Contiguous blocks for at most n pages to be spilled to, WRITING from here on. *ret: the first. Their number, or -ENOSPC. */
int space_spill(struct journal *journal, uint64_t page, unsigned n, uint32_t *ret);
/* Blocks that the log has in the segment it is in. */
uint32_t space_left(const struct journal *journal);

/* ---- renew.c ---- */

/*
 * Makes sure that what a scan has found is on stable storage, and that there is a segment for the log to go on. The index is that of all
 * commits that were found. 0 or -errno.
 */
int renew(struct journal *journal, struct scan_result *scan);

/* ---- append.c ---- */

int append_create(struct journal *journal);
void append_destroy(struct journal *journal);
/* A group with memory, and place if there is any, for a commit that is being built. Waits for writes. */
struct group *append_open(struct journal *journal, struct journal_commit *commit);
/* Adds an entry; place: 0, or the block that has the page. */
void group_add(struct group *group, uint64_t page, uint64_t place, uint64_t checksum);
static inline char *group_page(const struct group *group, unsigned i)
{
	return group->memory + (2 + (size_t)i) * group->journal->block_bytes;
}
/* The block where the next page of the group comes to lie. */
static inline uint32_t group_block(const struct group *group)
{
	return segment_first(group->journal, group->at.segment) + group->at.block + 1 + group->pages;
}
/* What a group says besides its pages. */
struct group_says {
	uint32_t flags;
	uint64_t commit, file_bytes, least_bytes;
	uint64_t unit[2];
};
/* Writes it. The log ends behind it from here on. */
void append_submit(struct group *group, const struct group_says *says);
/* Likewise, but it is written by whoever waits for it first: somebody has to. */
void append_ready(struct group *group, const struct group_says *says);
/* Puts it back unused. */
void append_drop(struct group *group);
/* Writes what is ready, and waits until no group up to ticket is being written any more. */
void append_wait(struct journal *journal, uint64_t ticket);
/* One sync of the journal's file; a failure is one of all that is not durable. syncing held. 0 or -errno. */
int append_sync(struct journal *journal);
/* Makes durable what was handed over, up to commit at least; NULL: all. When it returns, they are no longer HANDED. */
void append_settle(struct journal *journal, struct journal_commit *commit);
/* Something was not written: all that is not durable fails. lock held. */
void append_fail(struct journal *journal, int error);
/* The log goes on behind place, in a new segment. Nothing behind it is being written. lock held. */
void append_cut(struct journal *journal, struct place place);
/* After a failure: fails what is to fail and cuts the log. building held. */
void append_restart(struct journal *journal);
/* Makes the cut durable, by a segment without groups. building held. 0 or -errno. */
int append_cut_durably(struct journal *journal);
/* Writes what the log has to say, if there is room. building held, no commit under way. */
void append_note(struct journal *journal);

/* ---- commit.c ---- */

/* Takes the building of a journal. What of several that has it is still undecided, and whose owner does not come, is decided first. */
void commit_enter(struct journal *journal);

/* A commit that is durable counts from here on. syncing held. */
void commit_publish(struct journal_commit *commit);
/* It does not: what was spilled of it is uncommitted again. Those handed over later went first. lock held. named: a crash may yet show it. */
void commit_revert(struct journal_commit *commit, bool named);
void commit_free(struct journal_commit *commit);
/* It is not to be, and is not pending: everything goes back. building held. */
void commit_abandon(struct journal_commit *commit);
/* The journal is for the next. */
void commit_leave(struct journal_commit *commit);
/* Spilled pages of a range that commits have in their hands are forgotten if these fail. lock held. */
void commits_forget(struct journal *journal, uint64_t first, uint64_t end);
/* Writes the last group; of a unit: with the block of the parties, block_bytes long. building held. 0; -errno: it has failed. */
int commit_send(struct journal_commit *commit, uint32_t flags, const void *parties, const uint64_t unit[2]);

/* ---- unit.c ---- */

/* NULL: *ret_error says why. */
struct unit *unit_new(struct journal_commit **commits, unsigned n, int *ret_error);
/* Hands the commits over. building of all held. */
void unit_hand_over(struct unit *unit);
/* Until it is decided. 0 or -errno. */
int unit_drive(struct unit *unit);
void unit_ref(struct unit *unit);
void unit_unref(struct unit *unit);
/* Tries to get rid of what makes uncertain. building held. 0 or -errno. */
int unit_settle_uncertain(struct journal *journal);
/* What the log says by a note is on stable storage, or the commit is complete. */
void unit_noted(struct journal *journal);
/* Has others note what this journal has decided. */
void unit_ask_noted(struct journal *journal);

/* A journal that is closed is not asked any more by a unit of the other that is uncertain. */
void unit_decider_ends(struct journal *decider, struct journal *other);
/* What has become of a unit that a journal which is open here decides. 0 and *ret; -errno: that cannot be known now. */
int unit_was_decided(struct journal *decider, const uint64_t unit[2], bool *ret);
/* What the scan has found of a decision. Journal not in use yet. */
int unit_remember(struct journal *journal, const struct scan_commit *commit, uint64_t seq);
void unit_forget_decisions(struct journal *journal);

/* ---- checkpoint.c, snapshot.c, pager.c, journal.c ---- */

/* Commit up to which the file may be brought. lock held. */
uint64_t checkpoint_target(const struct journal *journal);
/* The good header is the one that counts after a crash, from here on. 0 or -errno. */
int header_settle(struct journal *journal);
/* Says in it how much is on stable storage, if it can be written now. Nothing depends on it. */
void header_note(struct journal *journal);
int header_write(struct journal *journal, uint64_t complete, uint64_t complete_bytes, int64_t owner, bool sync);
/* The open one of a uuid, which is not closed before it is given back; NULL: none is open. */
struct journal *journal_use(const unsigned char uuid[16]);
void journal_unuse(struct journal *journal);
void pager_init(struct journal *journal);
/* Reads the file as of limit. */
void pager_read(struct journal *journal, struct pager_request *request, bool here, uint64_t limit, uint64_t bytes);
/* What was spilled and is being written in a range is forgotten, too. lock held. */
void pager_forget(struct journal *journal, uint64_t first, uint64_t end);

#endif
