/* SPDX-License-Identifier: MIT */
/*
 * log.c - finds a journal's header, and the segments that its log runs through
 *
 * Nothing on storage is believed before its checksum was right, and then still nothing that cannot be. The header tells the geometry; each
 * segment is asked for its first two blocks: a header, and the first group behind it, which a segment has, too, that lost its header.
 *
 * The log is what `previous` leads through, back from the newest segment:
 *
 *      found, by seq     3   4   5   7   8   9
 *      previous              3       4   7   8       5 was given up: nothing leads to it
 *      chain             3 ─ 4 ───── 7 ─ 8 ─ 9
 *      not needed        3   4                       7 says that all before it has a number that is complete
 *
 * A segment that is missing from the chain and needed is damage where anything says that it was on stable storage. Else a crash came
 * between it and what came after it, which is dropped then, and only asked what it says of the rest.
 */
#include "journal/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

/* Segments that are shorter are read through when they are looked for; of longer ones the first two blocks are read. */
#define SHORT_SEGMENT_BLOCKS 32

int log_wrong(struct log *log, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(log->report->problem, sizeof(log->report->problem), format, args);
	va_end(args);
	return message_set(error, "%s", log->report->problem);
}

void *log_grow(void *array, uint64_t *room, uint64_t used, size_t size)
{
	uint64_t more = *room ? *room * 2 : 64;
	void *grown;

	if (used < *room)
		return array;
	if (more > SIZE_MAX / size || fail_now(FAIL_ALLOC))
		return NULL;
	grown = realloc(array, (size_t)more * size);
	if (grown)
		*room = more;
	return grown;
}

/* ---- blocks ---- */

uint64_t log_block_of(const struct log *log, uint64_t index, uint32_t block)
{
	return HEADER_BLOCKS + index * log->header.segment_blocks + block;
}

int log_block(struct log *log, uint64_t block, uint64_t want, const void **ret)
{
	int r = window_block(&log->window, block, want, ret);

	return r < 0 ? message_set(-r, "the journal cannot be read at byte %llu: %s",
				   (unsigned long long)(block * log->block_bytes), strerror(-r))
		     : 0;
}

void log_plan(struct log *log, uint64_t n)
{
	window_plan(&log->window, log->plan, n);
}

static bool is_zero(const char *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* ---- header ---- */

static bool header_sum_is_right(const struct journal_header *header, const void *block, size_t block_bytes)
{
	return header->magic == JOURNAL_MAGIC &&
	       header->checksum ==
		   journal_block_checksum(header->salt, block, block_bytes, offsetof(struct journal_header, checksum));
}

/* What a right checksum does not make possible. */
static const char *header_nonsense(const struct journal_header *header)
{
	if (header->segment_blocks < 2 || header->max_segments == 0)
		return "segments without room";
	if ((uint64_t)header->segment_blocks * header->max_segments > (INT64_MAX >> 16) - HEADER_BLOCKS)
		return "more room than a file can have";
	if (header->file.is_device > 1 || header->complete_bytes > INT64_MAX)
		return "a file that cannot be";
	if (header->generation == 0)
		return "no generation";
	if ((header->durable_seq == 0) != (header->durable_block == 0))
		return "a durable place that cannot be";
	return NULL;
}

/*
 * Whether the header in a block counts. -EPROTO: it is right, and this machine or this version cannot work with it. A version to come is
 * expected to leave magic, version, salt and checksum where they are.
 */
static int header_judge(struct log *log, const void *block, struct journal_header *ret, bool *ret_valid)
{
	const char *nonsense;

	memcpy(ret, block, sizeof(*ret));
	*ret_valid = false;
	if (!header_sum_is_right(ret, block, log->block_bytes))
		return 0;
	if (ret->version != JOURNAL_VERSION)
		return log_wrong(log, EPROTO, "the journal is of version %u, and this program knows version %u", ret->version,
				 JOURNAL_VERSION);
	if (ret->block_bytes != log->block_bytes)
		return log_wrong(log, EPROTO, "the journal has blocks of %u bytes, and a page of this machine has %zu",
				 ret->block_bytes, log->block_bytes);
	nonsense = header_nonsense(ret);
	if (nonsense)
		return log_wrong(log, EUCLEAN, "the journal's header is damaged: it tells of %s", nonsense);
	*ret_valid = true;
	return 0;
}

/* A journal that a machine with other pages made has its checksum over a block of that length. */
static int header_judge_foreign(struct log *log)
{
	struct journal_header header;
	size_t bytes;
	const void *block;
	int r = log_block(log, 0, log->blocks, &block);

	if (r < 0 || !block)
		return r;
	memcpy(&header, block, sizeof(header));
	bytes = header.block_bytes;
	if (bytes < sizeof(header) || bytes > window_ready(&log->window, 0) * log->block_bytes || (bytes & (bytes - 1)) != 0 ||
	    !header_sum_is_right(&header, block, bytes))
		return 0;
	return log_wrong(log, EPROTO, "the journal has blocks of %zu bytes, and a page of this machine has %zu", bytes,
			 log->block_bytes);
}

/*
 * There is no valid header: is this a journal that was never synced, so that nothing can have relied on it? Its header may be there in
 * part, and nothing else. => 0 and log->fresh, or -EUCLEAN.
 */
static int header_missing(struct log *log, uint64_t file_bytes)
{
	const char *block;
	uint64_t magic;
	int64_t n;

	if (log->blocks == 0 && file_bytes > 0) {
		n = journal_read(log->pager, 0, log->descriptor, log->block_bytes);
		if (n < 0)
			return (int)n;
		memset(log->descriptor + n, 0, log->block_bytes - (size_t)n);
		memcpy(&magic, log->descriptor, sizeof(magic));
		if (magic != JOURNAL_MAGIC && !is_zero(log->descriptor, log->block_bytes))
			return log_wrong(log, EUCLEAN, "it is not a journal");
	}
	for (uint64_t i = 0; i < log->blocks; i++) {
		int r = log_block(log, i, UINT64_MAX, (const void **)&block);
		size_t skip = i < HEADER_BLOCKS ? sizeof(struct journal_header) : 0;

		if (r < 0)
			return r;
		if (!block)
			break;
		if (!is_zero(block + skip, log->block_bytes - skip))
			return log_wrong(log, EUCLEAN, "it is not a journal, or both copies of its header are damaged");
	}
	log->fresh = true;
	return 0;
}

static int identity_compare(struct log *log, const struct journal_identity *file)
{
	const struct journal_identity *header = &log->header.file;
	bool born = (file->born_sec || file->born_nsec) && (header->born_sec || header->born_nsec);

	if (file->ino == header->ino && file->is_device == header->is_device &&
	    (!born || (file->born_sec == header->born_sec && file->born_nsec == header->born_nsec)))
		return 0;
	return log_wrong(log, ESTALE, "it is the journal of another file: inode %llu, and this one is %llu%s",
			 (unsigned long long)header->ino, (unsigned long long)file->ino,
			 file->ino == header->ino ? ", born at another time" : "");
}

static int header_find(struct log *log, uint64_t file_bytes)
{
	struct journal_header headers[HEADER_BLOCKS];
	bool valid[HEADER_BLOCKS] = {false};
	int r;

	for (unsigned i = 0; i < HEADER_BLOCKS; i++) {
		const void *block;

		r = log_block(log, i, HEADER_BLOCKS, &block);
		if (r == 0 && block)
			r = header_judge(log, block, &headers[i], &valid[i]);
		if (r < 0)
			return r;
	}
	if (!valid[0] && !valid[1]) {
		r = header_judge_foreign(log);
		return r < 0 ? r : header_missing(log, file_bytes);
	}
	if (valid[0] && valid[1] && headers[0].generation == headers[1].generation &&
	    memcmp(&headers[0], &headers[1], sizeof(headers[0])) != 0)
		return log_wrong(log, EUCLEAN, "the journal's header is damaged: its two copies differ, and none is the newer one");
	log->header_block = !valid[0] || (valid[1] && headers[1].generation > headers[0].generation);
	log->header = headers[log->header_block];
	if (valid[0] && valid[1] && memcmp(headers[0].uuid, headers[1].uuid, sizeof(headers[0].uuid)) != 0)
		return log_wrong(log, EUCLEAN, "the journal's header is damaged: its two copies are of two journals");
	return 0;
}

/* ---- segments ---- */

bool log_is_group(const struct log *log, const void *block, struct log_place place)
{
	struct group_header header;

	memcpy(&header, block, sizeof(header));
	return header.magic == GROUP_MAGIC && header.salt == log->header.salt && header.block == place.block &&
	       (place.seq == 0 || header.seq == place.seq) &&
	       header.checksum ==
		   journal_block_checksum(log->header.salt, block, log->block_bytes, offsetof(struct group_header, checksum));
}

static bool is_segment(const struct log *log, const void *block, struct segment_header *ret)
{
	memcpy(ret, block, sizeof(*ret));
	return ret->magic == SEGMENT_MAGIC && ret->salt == log->header.salt &&
	       ret->checksum ==
		   journal_block_checksum(log->header.salt, block, log->block_bytes, offsetof(struct segment_header, checksum));
}

static bool segment_is_nonsense(const struct log *log, const struct segment_header *header)
{
	return header->seq == 0 || header->previous >= header->seq || header->seq > UINT64_MAX / 2 ||
	       (header->previous != 0 && (header->previous_end == 0 || header->previous_end > log->header.segment_blocks));
}

static int segment_enter(struct log *log, const struct log_segment *segment, uint64_t *room)
{
	struct log_segment *grown = log_grow(log->found, room, log->n_found, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	log->found = grown;
	log->found[log->n_found++] = *segment;
	return 0;
}

/*
 * Looks at the beginning of a segment, and enters what is of the log: its header; and what its first group is of, if that is another one,
 * whose header is not there, or not any more.
 */
static int segment_look(struct log *log, uint64_t index, uint64_t *room)
{
	struct log_segment segment = {.index = index}, headless = {.index = index, .headless = true};
	struct group_header group;
	const void *block;
	int r = log_block(log, log_block_of(log, index, 0), 1, &block);

	if (r < 0 || !block)
		return r;
	if (is_segment(log, block, &segment.header)) {
		if (segment_is_nonsense(log, &segment.header))
			return log_wrong(log, EUCLEAN, "the journal is damaged: the header of segment %llu says what cannot be",
					 (unsigned long long)index);
		r = segment_enter(log, &segment, room);
	} else {
		segment.header.seq = 0;
	}
	if (r == 0)
		r = log_block(log, log_block_of(log, index, 1), 1, &block);
	if (r < 0 || !block || !log_is_group(log, block, (struct log_place){.block = 1}))
		return r;
	memcpy(&group, block, sizeof(group));
	headless.header.seq = group.seq;
	if (group.seq == segment.header.seq)
		return 0;
	if (group.seq == 0 || group.seq > UINT64_MAX / 2)
		return log_wrong(log, EUCLEAN, "the journal is damaged: a group in segment %llu says what cannot be",
				 (unsigned long long)index);
	return segment_enter(log, &headless, room);
}

static int compare_segments(const void *a, const void *b)
{
	const struct log_segment *x = a, *y = b;

	if (x->headless != y->headless)
		return x->headless ? 1 : -1;
	return x->header.seq < y->header.seq ? -1 : x->header.seq > y->header.seq;
}

static int segments_find(struct log *log)
{
	uint64_t blocks = log->blocks > HEADER_BLOCKS ? log->blocks - HEADER_BLOCKS : 0;
	uint64_t room = 0;
	uint32_t looked_at = log->header.segment_blocks > SHORT_SEGMENT_BLOCKS ? 2 : log->header.segment_blocks;

	log->file_segments = blocks / log->header.segment_blocks + (blocks % log->header.segment_blocks != 0);
	if (log->file_segments > log->header.max_segments)
		log->file_segments = log->header.max_segments;
	log->plan = fail_now(FAIL_ALLOC) ? NULL : calloc(log->file_segments + 1, sizeof(*log->plan));
	if (!log->plan)
		return -ENOMEM;
	for (uint64_t i = 0; i < log->file_segments; i++)
		log->plan[i] = (struct window_range){log_block_of(log, i, 0), log_block_of(log, i, looked_at)};
	log_plan(log, log->file_segments);
	for (uint64_t i = 0; i < log->file_segments; i++) {
		int r = segment_look(log, i, &room);

		if (r < 0)
			return r;
	}
	if (log->n_found > 0)
		qsort(log->found, log->n_found, sizeof(*log->found), compare_segments);
	while (log->n_found > 0 && log->found[log->n_found - 1].headless) {
		log->n_found--;
		log->n_headless++;
	}
	for (uint64_t i = 1; i < log->n_found; i++)
		if (log->found[i].header.seq == log->found[i - 1].header.seq)
			return log_wrong(log, EUCLEAN, "the journal is damaged: segments %llu and %llu have the same number",
					 (unsigned long long)log->found[i - 1].index, (unsigned long long)log->found[i].index);
	return 0;
}

/* Index in found, among the first n; n: it is not there. */
static uint64_t segment_by_seq(const struct log *log, uint64_t n, uint64_t seq)
{
	uint64_t low = 0, high = n;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (log->found[middle].header.seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && log->found[low].header.seq == seq ? low : n;
}

/* Whether something that lies before a segment is not in the file. */
static bool wants_previous(const struct log *log, const struct segment_header *header)
{
	return header->previous != 0 && header->last > log->header.complete;
}

/* The chain back from found[newest], the newest first. Seq falls with each step, so that there is an end. */
static void chain_follow(struct log *log, uint64_t newest)
{
	uint64_t at = newest, before;

	log->n_chain = 0;
	log->chain[log->n_chain++] = at;
	while (log->found[at].header.previous != 0) {
		before = segment_by_seq(log, at, log->found[at].header.previous);
		if (before == at)
			return;
		log->found[before].end = log->found[at].header.previous_end;
		log->chain[log->n_chain++] = at = before;
	}
}

/* Which of the chain are needed: back to the first before which all is complete. False: it is not there. */
static bool chain_is_whole(struct log *log)
{
	bool needed = true;

	for (uint64_t i = 0; i < log->n_chain; i++) {
		struct log_segment *segment = &log->found[log->chain[i]];

		segment->needed = needed;
		needed = needed && wants_previous(log, &segment->header);
	}
	return !needed;
}

static void chain_turn(struct log *log)
{
	for (uint64_t i = 0; i < log->n_chain / 2; i++) {
		uint64_t other = log->chain[log->n_chain - 1 - i];

		log->chain[log->n_chain - 1 - i] = log->chain[i];
		log->chain[i] = other;
	}
}

static int chain_find(struct log *log)
{
	uint64_t newest = log->n_found;

	log->chain = calloc(log->n_found + 1, sizeof(*log->chain));
	log->dropped = calloc(log->n_found + log->n_headless + 1, sizeof(*log->dropped));
	if (!log->chain || !log->dropped)
		return -ENOMEM;
	while (newest > 0) {
		uint64_t oldest;

		log->found[newest - 1].end = log->header.segment_blocks;
		chain_follow(log, newest - 1);
		oldest = log->chain[log->n_chain - 1];
		if (chain_is_whole(log))
			break;
		for (uint64_t i = oldest; i < newest; i++)
			log->dropped[log->n_dropped++] = i;
		newest = oldest;
		log->n_chain = 0;
	}
	/* The groups of a segment without a header are of the log if they are newer than all that has one. */
	for (uint64_t i = log->n_found; i < log->n_found + log->n_headless; i++)
		if (log->n_found == 0 || log->found[i].header.seq > log->found[log->n_found - 1].header.seq)
			log->dropped[log->n_dropped++] = i;
	chain_turn(log);
	return 0;
}

/* ---- all of it ---- */

int log_open(struct log *log, struct pager *pager, const struct journal_identity *identity, struct journal_report *report)
{
	uint64_t bytes;
	int r = pager->ops->size(pager, &bytes);

	*log = (struct log){.pager = pager, .report = report, .block_bytes = page_size()};
	if (r < 0)
		return r;
	log->blocks = bytes / log->block_bytes;
	log->descriptor = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(log->block_bytes, log->block_bytes);
	r = log->descriptor ? window_open(&log->window, pager, log->block_bytes, log->blocks) : -ENOMEM;
	if (r == 0)
		r = header_find(log, bytes);
	if (r < 0 || log->fresh)
		return r;
	report->owner = log->header.owner;
	report->complete = log->header.complete;
	r = identity ? identity_compare(log, identity) : 0;
	if (r == 0)
		r = segments_find(log);
	return r == 0 ? chain_find(log) : r;
}

void log_done(struct log *log)
{
	for (uint64_t i = 0; i < log->n_groups; i++)
		free(log->groups[i].parties);
	free(log->groups);
	free(log->entries);
	free(log->found);
	free(log->chain);
	free(log->dropped);
	free(log->in_log);
	window_done(&log->window);
	free(log->plan);
	free(log->descriptor);
}
