/* SPDX-License-Identifier: MIT */
/*
 * format.h - the journal on storage, byte by byte; docs/journal-format.md is the same in words
 *
 * A journal is a file of blocks, each as long as a page of the machine that made it:
 *
 *      block 0, 1      the header, twice: written in turn, the one of the higher generation counts
 *      then segments   of segment_blocks each, used in any order
 *
 * A segment is, for as long as it holds anything, one of two kinds:
 *
 *      log      its first block is a segment header; groups follow, each a descriptor and the pages that it brings along
 *      spill    pages and nothing else; they count only where a descriptor in the log names them
 *
 * All numbers are little-endian. Bytes that no field covers are zero. A checksum is XXH3, 64 bits, seeded with the journal's salt.
 */
#ifndef QUIRE_JOURNAL_FORMAT_H
#define QUIRE_JOURNAL_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the journal is little-endian, and nothing here swaps bytes"
#endif

#define JOURNAL_MAGIC   0x314c4e4a45525551 /* "QUREJNL1" */
#define SEGMENT_MAGIC   0x3147455345525551 /* "QURESEG1" */
#define GROUP_MAGIC     0x3150524745525551 /* "QUREGRP1" */
#define JOURNAL_VERSION 1

#define HEADER_BLOCKS 2

/* Which file a journal is of. What a filesystem does not tell is zero. */
struct journal_identity {
	uint64_t ino;
	int64_t born_sec; /* the file's birth, as statx tells it */
	uint32_t born_nsec;
	uint32_t is_device; /* then ino is the device's number */
};

struct journal_header {
	uint64_t magic;
	uint32_t version;
	uint32_t block_bytes;
	uint32_t segment_blocks;
	uint32_t max_segments;
	unsigned char uuid[16];
	uint64_t salt;
	uint64_t generation; /* of this header */
	struct journal_identity file;
	uint64_t complete;       /* all commits up to this one are in the file */
	uint64_t complete_bytes; /* the size of the file with them */
	int64_t owner;           /* process that has it open, for messages; 0: none */
	uint64_t checksum;       /* of the block, this field as zero */
	uint64_t durable_seq;    /* everything in the log before this place was on stable storage when this was written, */
	uint32_t durable_block;  /* … as in a group; both 0: nothing was */
	uint32_t zero;
};

/*
 * The log goes on here. What counts of the segment before it ends at block previous_end of that: what may follow there was given up when
 * this was written.
 *
 * last tells who reads whether anything before this segment is needed: not if the file has commit `last`. A segment that is not needed
 * may be half overwritten, with its header still right. durable tells what must be there: less is damage, not a crash.
 */
struct segment_header {
	uint64_t magic;
	uint64_t salt;
	uint64_t seq;          /* counts log segments, from 1 on */
	uint64_t previous;     /* seq of the one before; 0: this is the first that counts */
	uint32_t previous_end; /* block inside of it */
	uint32_t zero;
	uint64_t last;     /* the highest number of a commit of which anything lies in the log before this segment; 0: none */
	uint64_t durable;  /* all commits up to this one were on stable storage when this was written; 0: none */
	uint64_t checksum; /* of the block, this field as zero */
};

enum group_flags {
	GROUP_COMMIT = 1,   /* the transaction ends here, and counts */
	GROUP_PREPARED = 2, /* … and counts if another journal says so: parties has that one */
	GROUP_DECIDED = 4,  /* of the prepared commit of this number it is known by now that it counts */
	GROUP_GIVEN_UP = 8, /* … or that it does not */
	GROUP_PARTIES = 16, /* the first entry is not of a page: its block is a struct journal_parties */
};

/*
 * The pages of a transaction, or some of them: those of a commit are in groups that follow each other, of which the last has one of the
 * first two flags.
 */
struct group_header {
	uint64_t magic;
	uint64_t salt;
	uint64_t seq;        /* of the segment that it lies in */
	uint32_t block;      /* where in it */
	uint32_t flags;      /* enum group_flags */
	uint64_t commit;     /* number: of this journal, from 1 on, each one more */
	uint64_t file_bytes; /* the size of the file, as of this commit */
	uint64_t
	    least_bytes;  /* the least that it was since the commit before: pages from there on are zeros if they are not here */
	uint64_t unit[2]; /* what several journals commit together has the same; else zero */
	uint64_t durable_seq;   /* everything before this place in the log was on stable storage when this was written: */
	uint32_t durable_block; /* … at least 1, a segment's header being part of it; both 0: nothing was */
	uint32_t entries;
	uint64_t checksum; /* of the descriptor block, this field as zero */
};

struct group_entry {
	uint64_t page;     /* of the file; PARTIES_PAGE: see GROUP_PARTIES */
	uint64_t place;    /* block of the journal where the page was spilled; 0: the next one after the descriptor */
	uint64_t checksum; /* of the page's bytes, the seed being salt ^ page */
};

#define PARTIES_PAGE UINT64_MAX

/* In the log of the one that decides: the others. In theirs: that one, alone. */
struct journal_parties {
	uint32_t count;
	uint32_t zero;
	/* Follows count times: struct journal_party, and its name, length bytes without a zero. Not aligned. */
};

struct journal_party {
	unsigned char uuid[16];
	uint64_t commit; /* the number that the commit has there; 0: not known yet */
	uint32_t length; /* of the path of that journal's file */
	uint32_t zero;
};

_Static_assert(sizeof(struct journal_identity) == 24, "journal-format.md");
_Static_assert(sizeof(struct journal_header) == 128, "journal-format.md");
_Static_assert(offsetof(struct journal_header, salt) == 40, "journal-format.md");
_Static_assert(offsetof(struct journal_header, complete) == 80, "journal-format.md");
_Static_assert(offsetof(struct journal_header, durable_seq) == 112, "journal-format.md");
_Static_assert(sizeof(struct segment_header) == 64, "journal-format.md");
_Static_assert(sizeof(struct group_header) == 96, "journal-format.md");
_Static_assert(offsetof(struct group_header, durable_seq) == 72, "journal-format.md");
_Static_assert(sizeof(struct group_entry) == 24, "journal-format.md");
_Static_assert(sizeof(struct journal_parties) == 8, "journal-format.md");
_Static_assert(sizeof(struct journal_party) == 32, "journal-format.md");

/* How many pages a group can bring along. */
static inline unsigned group_most(uint32_t block_bytes)
{
	return (block_bytes - (uint32_t)sizeof(struct group_header)) / (uint32_t)sizeof(struct group_entry);
}

#endif
