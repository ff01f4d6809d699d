/* SPDX-License-Identifier: MIT */
/*
 * disk.h - disks in memory that forget, tear and fail, and the history of what was done to them
 *
 * A disk is a pager. What is written is in its cache, where reads find it, and is on stable storage only when a sync has said so. A change
 * of the size is volatile as well. Everything that changes a disk, or makes it stable, is an event of a history, which several disks share:
 * what a crash may leave of them is made from that (image.h).
 *
 *      PENDING ── sync ──────▶ STABLE      a crash keeps it
 *         └────── sync fails ▶ LIMBO       a crash keeps it or not, for ever: no later sync is of it, though reads still see it
 *                            ▶ STABLE, LOST, where the cache was dropped as well, so that reads tell which
 *
 * A size is metadata: a sync that fails leaves its changes pending, as a filesystem does that can go on at all.
 *
 * All transfers are done on the caller's thread, before run or submit return.
 */
#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stdio.h>

#include "../oracle/rng.h"
#include "pager/pager.h"

enum { SECTOR = 512, DISKS_MAX = 6 };

enum event_kind { EVENT_WRITE, EVENT_RESIZE, EVENT_SYNC, EVENT_SYNC_FAILED };
enum fate { FATE_STABLE, FATE_LIMBO, FATE_LOST };

#define NEVER UINT32_MAX

struct event {
	enum event_kind kind;
	unsigned disk;
	uint64_t offset; /* of a write */
	size_t len;
	unsigned char *bytes;
	uint64_t size_before, size_after;
	uint32_t settled; /* the event that made it what fate says; until then it is pending */
	enum fate fate;
	uint32_t sized; /* the event that made the change of its size stable */
	unsigned step;  /* of the program, for messages */
};

struct disk;

struct history {
	struct event *events;
	uint32_t count, room;
	bool recording; /* else only the disks are changed */
	struct disk *disks[DISKS_MAX];
	unsigned n_disks;
	unsigned step; /* that is under way */
};

/* One line for each event up to point, and what has become of it by then. */
void history_print(const struct history *history, uint32_t point, FILE *out);
/* Drops the events. The disks' bytes as they are now are what the next history begins with, as if all were stable. */
void history_restart(struct history *history);
void history_done(struct history *history);
/* Changes the size or the bytes of the disk: other than reads and syncs. */
static inline bool event_changes(const struct event *event)
{
	return event->kind == EVENT_WRITE || event->kind == EVENT_RESIZE;
}

/* ---- failures ---- */

enum fault_kind { FAULT_READ, FAULT_WRITE, FAULT_SYNC, FAULT_RESIZE, FAULT_KINDS };

struct fault {
	int64_t nth; /* counts down to the operation that fails; 0: none does */
	bool every;  /* … and all that follow */
	int error;   /* positive */
};

/* ---- lies, for the proof that they are found ---- */

enum disk_lie {
	LIE_NONE,
	LIE_NO_SYNC,      /* a sync does nothing, and says that it was done */
	LIE_LATE_SYNC,    /* … is done when the disk is written or synced the next time */
	LIE_LATER_SYNC,   /* … when another disk has been synced */
	LIE_SWALLOW,      /* each seventh sync does nothing */
	LIE_DEAF,         /* a sync that fails says that it was done */
	LIE_LOST_WRITE,   /* each seventh write is not made */
	LIE_KEEPS_LENGTH, /* a size that is set is not stable when a sync says so */
};

struct disk {
	struct pager pager;
	struct history *history;
	unsigned index;
	unsigned char *bytes; /* what reads see */
	size_t size, room;
	unsigned char *base; /* as of the beginning of the history */
	size_t base_size;
	uint32_t first_pending; /* no event before this is a pending one of this disk */
	struct fault faults[FAULT_KINDS];
	uint64_t fired;  /* operations that were made to fail */
	bool dropped;    /* with a sync that failed the cache was dropped: what was not stable may not be there any more */
	bool dead;       /* nothing works any more, and nothing is noted: the process has died */
	struct rng *rng; /* for what a failure leaves behind; NULL: nothing of it */
	enum disk_lie lie;
	bool owes_sync;
	uint64_t syncs, writes, reads;
};

/* Empty, and the last one in its history. */
void disk_make(struct disk *disk, struct history *history, struct rng *rng);
void disk_done(struct disk *disk);
/* These are the bytes, and nothing has happened yet. */
void disk_set(struct disk *disk, const unsigned char *bytes, size_t size);

void disk_arm(struct disk *disk, enum fault_kind kind, int64_t nth, bool every, int error);
void disk_disarm(struct disk *disk);

#endif
