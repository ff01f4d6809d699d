/* SPDX-License-Identifier: MIT */
/*
 * log.h - a log as it lies on storage: its header, segments and groups, without a word on which commits count
 *
 * Internal to the scan: log.c finds the header and the segments, walk.c the groups, scan.c makes commits of them.
 */
#ifndef QUIRE_JOURNAL_LOG_H
#define QUIRE_JOURNAL_LOG_H

#include "journal/scan.h"
#include "journal/window.h"

/* A place in the log: before a block of a log segment. Compared as numbers are. */
struct log_place {
	uint64_t seq;
	uint32_t block;
};

static inline bool place_after(struct log_place a, struct log_place b)
{
	return a.seq > b.seq || (a.seq == b.seq && a.block > b.block);
}

struct log_segment {
	struct segment_header header;
	uint64_t index; /* in the file */
	uint32_t end;   /* block before which it ends */
	bool needed;    /* something in it is not in the file, or follows on something that is not */
	bool headless;  /* its header is not valid, but its first group is: only that one's seq is known */
};

struct log_group {
	struct group_header header;
	struct log_place place;
	uint32_t end;                    /* block behind it */
	uint64_t first_entry;            /* in log.entries; none of the parties, nor of a commit that is complete */
	uint32_t entries;                /* likewise */
	uint64_t segment;                /* index in the file */
	struct journal_parties *parties; /* malloc'ed; NULL: none */
	bool skimmed;                    /* of a segment that is not needed: what lay around it may be gone */
	bool given_up;                   /* what it has spilled may be gone, too */
};

struct log {
	struct pager *pager;
	struct journal_report *report;
	size_t block_bytes;
	uint64_t blocks; /* whole ones that the file has */

	struct journal_header header;
	unsigned header_block;
	bool fresh;
	uint64_t file_segments;

	struct log_segment *found; /* all with a valid header, by seq; then those without head */
	uint64_t n_found, n_headless;
	uint64_t *chain; /* indices of found: the log, from the oldest to the newest */
	uint64_t n_chain;
	uint64_t *dropped; /* … and those newer than the newest of the chain, which hang in the air */
	uint64_t n_dropped;

	bool *in_log; /* by index of the segment in the file: something in it is of the log, and needed */

	struct log_group *groups;
	uint64_t n_groups, room_groups;
	struct scan_page *entries;
	uint64_t n_entries, room_entries;
	struct log_place end;     /* of the log: of its last valid group */
	struct log_place claimed; /* the furthest that anything says was on stable storage */
	uint64_t durable;         /* the last commit that a segment header says was */
	uint32_t torn_end;        /* of what a crash left behind the end, in that segment; 0: nothing that can be known */

	struct window window;
	struct window_range *plan; /* what the window reads ahead */
	char *descriptor;          /* a block, for a copy of the group's that is looked at */
};

/* Says in the report what is wrong. Returns -error. */
__attribute__((format(printf, 3, 4))) int log_wrong(struct log *log, int error, const char *format, ...);

/* Finds the header and the segments. => 0, also with log->fresh; -EUCLEAN, -ESTALE, -EPROTO; -errno of a transfer. */
int log_open(struct log *log, struct pager *pager, const struct journal_identity *identity, struct journal_report *report);

/*
 * Finds the groups, and looks for damage behind their end. with_complete: also in segments that are not needed, as far as they are whole.
 * => as log_open.
 */
int log_walk(struct log *log, bool with_complete);

/*
 * A block of the journal, in memory until the next call. want: how many from there on will be asked for next, for one read.
 * => NULL and 0: the file ends before it. -errno of the transfer.
 */
int log_block(struct log *log, uint64_t block, uint64_t want, const void **ret);
uint64_t log_block_of(const struct log *log, uint64_t index, uint32_t block);

/* Whether a block is a descriptor that was written for this place. */
bool log_is_group(const struct log *log, const void *block, struct log_place place);

/* What will be asked for, in this order: n ranges of log->plan, which has room for as many as there are segments. */
void log_plan(struct log *log, uint64_t n);

/* Makes room for one more in an array that doubles. => The array, or NULL: as it was. */
void *log_grow(void *array, uint64_t *room, uint64_t used, size_t size);

void log_done(struct log *log);

#endif
