/* SPDX-License-Identifier: MIT */
/*
 * scan.h - reading a log: which commits count, and what they say; writes nothing
 *
 * Steps 1 to 3 of docs/journal-format.md, "What counts", and the search for damage behind the end.
 */
#ifndef QUIRE_JOURNAL_SCAN_H
#define QUIRE_JOURNAL_SCAN_H

#include "journal/journal.h"

/* A commit that counts, before its pages are told. */
struct scan_commit {
	uint64_t number;
	uint64_t file_bytes, least_bytes;
	uint64_t unit[2];
	uint64_t pages;
	/* GROUP_PARTIES: the block in memory, until the call returns; else NULL. */
	const struct journal_parties *parties;
	bool prepared;    /* another journal decided it … */
	bool decided;     /* … and this one has noted that already */
	bool complete;    /* it is in the file: see with_complete */
	uint64_t segment; /* index of the segment that has its last group: it stays while a decision is needed */
};

/* A version of a page, in a block of the journal. */
struct scan_page {
	uint64_t page;
	uint64_t block; /* of the journal */
	uint64_t checksum;
};

struct scan_visitor {
	void *arg;
	/* In the order of their numbers, only those after header.complete. Not 0: ends the scan with it. */
	int (*commit)(void *arg, const struct scan_commit *commit);
	/* The pages of the commit told last. NULL: they are not wanted. */
	int (*page)(void *arg, const struct scan_page *page);
	/* Before the others also the commits up to header.complete that have PARTIES, as far as the log still has them; without their pages. */
	bool with_complete;
};

/* A log segment that the log runs through, from the oldest that is needed to the newest. */
struct scan_segment {
	uint64_t seq;
	uint64_t index; /* of the segment in the file */
	uint32_t end;   /* block inside of it before which it ends */
};

struct scan_result {
	struct journal_header header;
	unsigned header_block;         /* 0 or 1 */
	struct scan_segment *segments; /* malloc'ed, by seq; the caller's */
	uint64_t n_segments;
	uint64_t file_segments; /* that the journal's file has room for; the last may be cut off */
	uint64_t last;          /* the number after which commits go on: report->last, or greater where numbers were given up */
	/* Everything in the log before this place was on stable storage, for certain, and so were the commits up to this one. */
	uint64_t durable_seq, durable_commit;
	uint32_t durable_block;
	bool fresh; /* there is no journal: all else is zero */
	/*
	 * The log goes on in a new segment with this seq, which nothing on storage has (it is higher than all, and in part random): behind
	 * the end there may be groups that a crash left, and one that is written before them must not make them count. Its previous is segments[n_segments - 1].
	 */
	uint64_t next_seq;
	/*
	 * Behind those in `segments`: the newer ones, of which nothing counts. Their headers end the log where it ends. Until that of the new one
	 * is on stable storage they have to stay, or what they have cut off would count again, or seem to have been lost.
	 */
	uint64_t n_cut;
};

/*
 * resolve, visitor, report and ret may be NULL: a commit in doubt then counts as not there, and report->in_doubt tells of it (with resolve:
 * -errno). The visitor is called when all was found to be right. identity NULL: not compared. report->problem says what is wrong with -EUCLEAN, -ESTALE and -EPROTO.
 * => 0; -EUCLEAN, -ESTALE, -EPROTO as journal_open; else of a transfer, or what a visitor returned.
 */
int journal_scan(struct pager *log, const struct journal_identity *identity, journal_resolve *resolve, void *resolve_arg,
		 const struct scan_visitor *visitor, struct journal_report *report, struct scan_result *ret);

/* ---- checksums, for who writes and who reads ---- */

uint64_t journal_page_checksum(uint64_t salt, uint64_t page, const void *bytes, size_t block_bytes);
/* Of a header, segment header or descriptor, at the start of its block; field: offset of its checksum, which counts as zero. */
uint64_t journal_block_checksum(uint64_t salt, const void *block, size_t block_bytes, size_t field);

/* ---- one transfer, waited for: bytes or -errno ---- */

int64_t journal_read(struct pager *pager, uint64_t offset, void *buf, size_t len);
int journal_write(struct pager *pager, uint64_t offset, const void *buf, size_t len);

#endif
