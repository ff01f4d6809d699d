/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - files that are atomic in this process: each with its journal, open as long as anything of it is mapped
 *
 * The object of an atomic file has the journal as its pager; a snapshot is an object of its own. Each has a pager that is made here,
 * whose close gives the file up: the last one ends the journal, with all that is committed copied into the file.
 */
#ifndef QUIRE_OBJECT_ATOMIC_H
#define QUIRE_OBJECT_ATOMIC_H

#include <sys/stat.h>

#include "journal/place.h"
#include "object/object.h"

/* All of an engine. Zero bytes are an empty list. */
struct atomics {
	struct lock lock;
	struct atomic_file *head;  /* [lock] */
	struct journal_stats past; /* [lock] of journals that are closed by now */
};

/* (l) the list's lock. (p) constant once published. */
struct atomic_file {
	struct atomics *all;        /* (p) */
	struct atomic_file *next;   /* (l) */
	dev_t dev;                  /* (p) */
	ino_t ino;                  /* (p) */
	unsigned pagers;            /* (l) that are open over it; who closes the last one closes it */
	_Atomic uint32_t users;     /* (l) futex: calls and threads that work on it, for whom that one waits */
	bool closing;               /* (l) it is found no more */
	bool taken;                 /* (l) an object has it as its pager, which may be dying */
	struct object *snapshot;    /* (l) the newest, that may be dying; NULL: none */
	uint64_t snapshot_commit;   /* (l) of which commit it is; UINT64_MAX: not known */
	struct journal *journal;    /* (p) */
	struct journal_place place; /* (p) */
	struct pager *file, *log;   /* (p) below the journal */
	int fd;                     /* (p) of the file, by which it is marked */
	struct identity identity;   /* (p) of that descriptor */
	struct cache *cache;        /* (p) */
	uint64_t memory_pages;      /* (p) of the journal, taken from the budget */
};

struct atomic_settings {
	struct cache *cache;
	struct io *io;
	uint64_t journal_bytes;    /* a journal gets no longer */
	bool nowait, allow_direct; /* file_pager_open */
};

/*
 * The file that fd is open on, with a use of it: one that is open in this process already, or, if fd is open for both, opened, with its
 * journal, which is made where there is none. What another process left in it counts, as far as it was committed.
 * => 0; -EAGAIN: the one before is being closed in this process: bury the dead, and try again; -EACCES: it has to be opened, and fd does
 *    not allow it; else -errno. All but -EAGAIN with a message. Makes system calls on files, and may read the journal.
 */
int atomic_open(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st,
		struct atomic_file **ret);

/* One that is open in this process, with a use; NULL: none. */
struct atomic_file *atomic_find(struct atomics *all, dev_t dev, ino_t ino);
/* Whether what it has committed is just being copied into the file, for the last time. */
bool atomic_is_closing(struct atomics *all, dev_t dev, ino_t ino);
/* The one after the given one, with a use, the given one released. NULL starts and ends. */
struct atomic_file *atomic_next(struct atomics *all, struct atomic_file *file);
/* Of a file over which there is no pager the last one closes it. No pager of it is to be closed by who uses it. NULL is fine. */
void atomic_release(struct atomic_file *file);

/*
 * A pager for the one object that the file is mapped by. -EAGAIN: the object before is being given up: bury the dead, and try again;
 * -ENOMEM. Its close forgets what is not committed; the last pager's close copies what is into the file, and removes what is not needed
 * any more. Not async-signal-safe.
 */
int atomic_pager(struct atomic_file *file, struct pager **ret);

/*
 * A pager that reads the file as of the last commit, and of which commit that is, or UINT64_MAX. 0 or -errno.
 */
int atomic_snapshot(struct atomic_file *file, struct pager **ret, uint64_t *ret_commit);
/* The object of such a one, which others find from now on; its pager forgets it in time. */
void atomic_share_snapshot(struct atomic_file *file, struct object *object, uint64_t commit);
/* An object that shows the last commit, with a use; NULL: there is none. */
struct object *atomic_find_snapshot(struct atomic_file *file);

/*
 * Before a file is mapped that is not atomic in this process: what is committed in its journal is to be in it.
 * => 0: so it is, now; -EAGAIN as atomic_open; else -errno, with a message that names the remedy.
 */
int atomic_recover(struct atomics *all, const struct atomic_settings *settings, int fd, const struct stat *st, bool writable);

/* In a child of a fork: it must not keep the journals locked. */
void atomics_close_inherited(struct atomics *all);

/* All journals that are open and were: for reports. */
void atomics_stats(struct atomics *all, struct journal_stats *ret);

#endif
