/* SPDX-License-Identifier: MIT */
/*
 * made-journal.h - journals made by hand, byte by byte, out of the structures of format.h, in a pager that is memory
 *
 * A page of a commit is full of a pattern that has the commit and the page in it, so that a scan's answer can be checked down to the
 * bytes. What is written is the test's to say: nothing here keeps to the rules by itself.
 */
#ifndef QUIRE_UNIT_MADE_JOURNAL_H
#define QUIRE_UNIT_MADE_JOURNAL_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/scan.h"
#include "sys/page_size.h"

struct made {
	struct pager pager;
	char *bytes;
	uint64_t len; /* bytes */
	uint64_t salt;
	uint32_t segment_blocks, max_segments;
	struct journal_identity file;
	uint64_t read_from; /* reads that reach this byte fail with EIO; 0: none */
	uint64_t reads, written;
};

static struct made *made_of(struct pager *pager)
{
	return (struct made *)pager;
}

static int made_size(struct pager *pager, uint64_t *ret_bytes)
{
	*ret_bytes = made_of(pager)->len;
	return 0;
}

static void made_run(struct pager *pager, struct pager_request *request)
{
	struct made *made = made_of(pager);
	uint64_t left = request->offset < made->len ? made->len - request->offset : 0;

	made->reads++;
	request->ret_error = 0;
	request->ret_bytes = request->len < left ? request->len : (size_t)left;
	if (request->op == PAGER_WRITE || (uintptr_t)request->buf % page_size() || request->offset % page_size() ||
	    request->len % page_size())
		request->ret_error = EINVAL;
	else if (made->read_from && request->offset + request->len > made->read_from)
		request->ret_error = EIO;
	else
		memcpy(request->buf, made->bytes + request->offset, request->ret_bytes);
	request->done(request);
}

static int made_sync(struct pager *pager)
{
	made_of(pager)->written++;
	return 0;
}

static const struct pager_ops made_ops = {
    .name = "made", .size = made_size, .run = made_run, .submit = made_run, .sync = made_sync};

static inline char *made_block(struct made *made, uint64_t block)
{
	return made->bytes + block * page_size();
}

static inline uint64_t made_segment_block(const struct made *made, uint64_t index, uint32_t block)
{
	return HEADER_BLOCKS + index * made->segment_blocks + block;
}

/* An empty journal of so many segments, all zeros. */
static inline void made_new(struct made *made, uint32_t segment_blocks, uint32_t segments)
{
	*made = (struct made){
	    .pager = {.ops = &made_ops, .align_bytes = 1},
	    .len = (HEADER_BLOCKS + (uint64_t)segments * segment_blocks) * page_size(),
	    .salt = 0x5eed5a17c0ffee11,
	    .segment_blocks = segment_blocks,
	    .max_segments = segments,
	    .file = {.ino = 4711, .born_sec = 1700000000, .born_nsec = 5},
	};
	made->bytes = calloc(1, made->len);
}

static inline void made_free(struct made *made)
{
	free(made->bytes);
}

/* ---- checksums: over what is there now ---- */

static inline void made_sum_header(struct made *made, unsigned block)
{
	struct journal_header *header = (struct journal_header *)made_block(made, block);

	header->checksum = journal_block_checksum(header->salt, header, page_size(), offsetof(struct journal_header, checksum));
}

static inline void made_sum_segment(struct made *made, uint64_t index)
{
	struct segment_header *header = (struct segment_header *)made_block(made, made_segment_block(made, index, 0));

	header->checksum = journal_block_checksum(made->salt, header, page_size(), offsetof(struct segment_header, checksum));
}

static inline void made_sum_group(struct made *made, struct group_header *header)
{
	header->checksum = journal_block_checksum(made->salt, header, page_size(), offsetof(struct group_header, checksum));
}

/* ---- what is written ---- */

static inline struct journal_header *made_header(struct made *made, unsigned block, uint64_t generation, uint64_t complete,
						 uint64_t complete_bytes)
{
	struct journal_header *header = (struct journal_header *)made_block(made, block);

	memset(header, 0, page_size());
	*header = (struct journal_header){
	    .magic = JOURNAL_MAGIC,
	    .version = JOURNAL_VERSION,
	    .block_bytes = (uint32_t)page_size(),
	    .segment_blocks = made->segment_blocks,
	    .max_segments = made->max_segments,
	    .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	    .salt = made->salt,
	    .generation = generation,
	    .file = made->file,
	    .complete = complete,
	    .complete_bytes = complete_bytes,
	    .owner = 77,
	};
	made_sum_header(made, block);
	return header;
}

static inline struct segment_header *made_segment(struct made *made, uint64_t index, uint64_t seq, uint64_t previous,
						  uint32_t previous_end, uint64_t last, uint64_t durable)
{
	struct segment_header *header = (struct segment_header *)made_block(made, made_segment_block(made, index, 0));

	memset(header, 0, page_size());
	*header = (struct segment_header){
	    .magic = SEGMENT_MAGIC,
	    .salt = made->salt,
	    .seq = seq,
	    .previous = previous,
	    .previous_end = previous_end,
	    .last = last,
	    .durable = durable,
	};
	made_sum_segment(made, index);
	return header;
}

/* What a page has as of a commit, in every byte of it. */
static inline void made_fill(void *block, uint64_t commit, uint64_t page)
{
	uint64_t *words = block;

	for (size_t i = 0; i < page_size() / sizeof(*words); i++)
		words[i] = commit * 0x9e3779b97f4a7c15 ^ page * 0xc2b2ae3d27d4eb4f ^ i;
}

/* Which commit's bytes a block has, as that page; 0: nobody's. */
static inline uint64_t made_whose(const void *block, uint64_t page)
{
	uint64_t commit = *(const uint64_t *)block ^ page * 0xc2b2ae3d27d4eb4f;
	uint64_t inverse = 1;
	char *expected = malloc(page_size());

	for (int i = 0; i < 6; i++)
		inverse *= 2 - 0x9e3779b97f4a7c15 * inverse;
	commit *= inverse;
	made_fill(expected, commit, page);
	if (memcmp(block, expected, page_size()) != 0)
		commit = 0;
	free(expected);
	return commit;
}

/* A page of a group: its number, and where it was spilled (0: it comes with the group). */
struct made_page {
	uint64_t page, place;
};

/* Where the next group goes, and what is known to be on stable storage there. */
struct made_log {
	struct made *made;
	uint64_t index, seq;
	uint32_t block;
	uint64_t durable_seq;
	uint32_t durable_block;
	uint64_t file_bytes, least_bytes;
	uint64_t unit[2];
	const void *parties; /* a block, for GROUP_PARTIES */
	uint64_t whose;      /* what its pages are filled with; 0: the commit's number */
};

/* Writes a group, and moves the log on. Spilled pages are written, too. Returns its descriptor. */
static inline struct group_header *made_group(struct made_log *log, uint32_t flags, uint64_t commit, const struct made_page *pages,
					      uint32_t n)
{
	struct made *made = log->made;
	struct group_header *header = (struct group_header *)made_block(made, made_segment_block(made, log->index, log->block));
	struct group_entry *entry = (struct group_entry *)(header + 1);
	uint32_t next = log->block + 1;

	memset(header, 0, page_size());
	*header = (struct group_header){
	    .magic = GROUP_MAGIC,
	    .salt = made->salt,
	    .seq = log->seq,
	    .block = log->block,
	    .flags = flags,
	    .commit = commit,
	    .file_bytes = log->file_bytes,
	    .least_bytes = log->least_bytes,
	    .unit = {log->unit[0], log->unit[1]},
	    .durable_seq = log->durable_seq,
	    .durable_block = log->durable_block,
	    .entries = n + !!(flags & GROUP_PARTIES),
	};
	if (flags & GROUP_PARTIES) {
		char *to = made_block(made, made_segment_block(made, log->index, next++));

		memcpy(to, log->parties, page_size());
		*entry++ = (struct group_entry){.page = PARTIES_PAGE,
						.checksum = journal_page_checksum(made->salt, PARTIES_PAGE, to, page_size())};
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t place = pages[i].place ? pages[i].place : made_segment_block(made, log->index, next++);

		made_fill(made_block(made, place), log->whose ? log->whose : commit, pages[i].page);
		*entry++ = (struct group_entry){
		    .page = pages[i].page,
		    .place = pages[i].place,
		    .checksum = journal_page_checksum(made->salt, pages[i].page, made_block(made, place), page_size()),
		};
	}
	made_sum_group(made, header);
	log->block = next;
	return header;
}

/* Everything so far is on stable storage. */
static inline void made_synced(struct made_log *log)
{
	log->durable_seq = log->seq;
	log->durable_block = log->block;
}

/* The log goes on in another segment. */
static inline void made_go_on(struct made_log *log, uint64_t index, uint64_t seq, uint64_t last, uint64_t durable)
{
	made_segment(log->made, index, seq, log->seq, log->block, last, durable);
	log->index = index;
	log->seq = seq;
	log->block = 1;
}

/* A block of parties, malloc'ed. */
static inline void *made_parties(uint32_t n, const struct journal_party *parties, const char *const *names)
{
	char *block = calloc(1, page_size());
	char *at = block + sizeof(struct journal_parties);

	((struct journal_parties *)block)->count = n;
	for (uint32_t i = 0; i < n; i++) {
		struct journal_party party = parties[i];

		party.length = (uint32_t)strlen(names[i]);
		memcpy(at, &party, sizeof(party));
		memcpy(at + sizeof(party), names[i], party.length);
		at += sizeof(party) + party.length;
	}
	return block;
}

#endif
