/* SPDX-License-Identifier: MIT */
/*
 * walk.c - goes through the groups of a log, and looks behind its end
 *
 * Three kinds of wrong:
 *
 *      not valid     a checksum is wrong: the log ends here. A crash does this to what was not on stable storage yet
 *      damaged       not valid, in a place of which something further on says that it was on stable storage
 *      nonsense      the checksum is right, and what it covers cannot be: no crash does this, and nothing is believed any more
 *
 * The pages of a group follow its descriptor and are checked with it, as they are read: one run through the segment. Spilled pages lie
 * elsewhere, in the order in which memory ran out: they are checked afterwards, in the order of the file, so that they are few large
 * reads, too. One that is wrong ends the log before its group.
 */
#include "journal/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/fail.h"

/* Blocks between two spilled pages that are read along rather than skipped. */
#define GAP_BLOCKS 32

/* ---- one group ---- */

static const char *flags_nonsense(const struct group_header *header)
{
	uint32_t kind = header->flags & (uint32_t)~GROUP_PARTIES;

	if (kind != 0 && kind != GROUP_COMMIT && kind != GROUP_PREPARED && kind != GROUP_DECIDED && kind != GROUP_GIVEN_UP)
		return "unknown flags";
	if ((kind == GROUP_DECIDED || kind == GROUP_GIVEN_UP) && (header->entries != 0 || header->flags != kind))
		return "a decision with pages";
	if (kind == GROUP_PREPARED && !(header->flags & GROUP_PARTIES))
		return "a commit that nobody decides";
	if ((header->flags & GROUP_PARTIES) && header->entries == 0)
		return "parties without a block";
	return NULL;
}

static const char *header_nonsense(const struct log *log, const struct group_header *header, struct log_place place)
{
	struct log_place durable = {header->durable_seq, header->durable_block};

	if (header->entries > group_most((uint32_t)log->block_bytes))
		return "more pages than it has room for";
	if (header->commit == 0 || header->commit > UINT64_MAX / 2)
		return "a commit of no number";
	if (header->file_bytes > INT64_MAX || header->least_bytes > header->file_bytes)
		return "a size that cannot be";
	if ((durable.seq == 0) != (durable.block == 0) || place_after(durable, place))
		return "a durable place that cannot be";
	return flags_nonsense(header);
}

/* Whether a group can name a block as a spilled page: not in its own segment, nor where no segment can be. */
static bool can_be_spilled(const struct log *log, const struct log_group *group, uint64_t block)
{
	uint64_t index = (block - HEADER_BLOCKS) / log->header.segment_blocks;

	return block >= HEADER_BLOCKS && index < log->header.max_segments && index != group->segment;
}

static const char *entry_nonsense(const struct log *log, const struct log_group *group, unsigned i, const struct group_entry *entry)
{
	const struct group_header *header = &group->header;
	bool parties = i == 0 && (header->flags & GROUP_PARTIES);

	if (parties)
		return entry->page != PARTIES_PAGE || entry->place != 0 ? "parties in another place" : NULL;
	if (entry->page >= (header->file_bytes + log->block_bytes - 1) / log->block_bytes)
		return "a page behind the end of the file";
	if (header->commit > log->header.complete && entry->place != 0 && !can_be_spilled(log, group, entry->place))
		return "a page in a place that cannot be";
	return NULL;
}

static void entry_at(const char *descriptor, unsigned i, struct group_entry *ret)
{
	memcpy(ret, descriptor + sizeof(struct group_header) + i * sizeof(*ret), sizeof(*ret));
}

/* What a group says that cannot be; NULL: nothing. end: the block before which its segment ends. Sets ret->end. */
static const char *group_nonsense(const struct log *log, struct log_group *ret, uint32_t end)
{
	const char *nonsense = header_nonsense(log, &ret->header, ret->place);
	uint32_t behind = ret->place.block + 1;

	for (unsigned i = 0; !nonsense && i < ret->header.entries; i++) {
		struct group_entry entry;

		entry_at(log->descriptor, i, &entry);
		nonsense = entry_nonsense(log, ret, i, &entry);
		behind += entry.place == 0;
	}
	ret->end = behind;
	return nonsense ? nonsense : behind > end ? "a page outside of its segment" : NULL;
}

/* Takes a copy of the parties' block. */
static int parties_keep(struct log *log, struct log_group *group, const void *block)
{
	group->parties = fail_now(FAIL_ALLOC) ? NULL : malloc(log->block_bytes);
	if (!group->parties)
		return -ENOMEM;
	memcpy(group->parties, block, log->block_bytes);
	return 0;
}

static int entry_keep(struct log *log, struct log_group *group, const struct scan_page *page)
{
	struct scan_page *grown = log_grow(log->entries, &log->room_entries, log->n_entries, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	log->entries = grown;
	log->entries[log->n_entries++] = *page;
	group->entries++;
	return 0;
}

/* Checks the pages that follow a descriptor, and notes all that it names. *ret_valid: they are right. */
static int group_pages(struct log *log, struct log_group *group, uint32_t end, bool *ret_valid)
{
	uint64_t first = log_block_of(log, group->segment, 0);
	uint32_t next = group->place.block + 1;

	*ret_valid = false;
	group->first_entry = log->n_entries;
	for (unsigned i = 0; i < group->header.entries; i++) {
		struct group_entry entry;
		const void *block;
		int r = 0;

		entry_at(log->descriptor, i, &entry);
		if (entry.place == 0) {
			r = log_block(log, first + next, end - next, &block);
			if (r < 0 || !block)
				return r;
			if (journal_page_checksum(log->header.salt, entry.page, block, log->block_bytes) != entry.checksum)
				return 0;
		}
		if (entry.page == PARTIES_PAGE)
			r = parties_keep(log, group, block);
		else if (group->header.commit > log->header.complete)
			r = entry_keep(log, group,
				       &(struct scan_page){entry.page, entry.place ? entry.place : first + next, entry.checksum});
		if (r < 0)
			return r;
		next += entry.place == 0;
	}
	*ret_valid = true;
	return 0;
}

/*
 * The group at a place of a segment. *ret_valid: it is there, but for what it has spilled. nonsense: set if it says what cannot be.
 * => 0, or -errno of a transfer, or -ENOMEM.
 */
static int group_read(struct log *log, const struct log_segment *segment, uint32_t at, struct log_group *ret, bool *ret_valid,
		      const char **ret_nonsense)
{
	const void *block;
	int r = log_block(log, log_block_of(log, segment->index, at), segment->end - at, &block);

	*ret = (struct log_group){.place = {segment->header.seq, at}, .segment = segment->index};
	*ret_valid = false;
	*ret_nonsense = NULL;
	if (r < 0 || !block || !log_is_group(log, block, ret->place))
		return r;
	memcpy(log->descriptor, block, log->block_bytes);
	memcpy(&ret->header, block, sizeof(ret->header));
	*ret_nonsense = group_nonsense(log, ret, segment->end);
	if (*ret_nonsense)
		return 0;
	r = group_pages(log, ret, segment->end, ret_valid);
	if (r == 0 && *ret_valid)
		return 0;
	log->n_entries = ret->first_entry;
	free(ret->parties);
	ret->parties = NULL;
	return r;
}

static int group_keep(struct log *log, struct log_group *group)
{
	struct log_group *grown = log_grow(log->groups, &log->room_groups, log->n_groups, sizeof(*grown));

	if (!grown) {
		free(group->parties);
		return -ENOMEM;
	}
	log->groups = grown;
	log->groups[log->n_groups++] = *group;
	return 0;
}

static void groups_cut(struct log *log, uint64_t n)
{
	while (log->n_groups > n) {
		struct log_group *group = &log->groups[--log->n_groups];

		log->n_entries = group->first_entry;
		free(group->parties);
	}
}

/* ---- the segments ---- */

static int group_wrong(struct log *log, const struct log_group *group, const char *what)
{
	return log_wrong(log, EUCLEAN, "the journal is damaged: the group at block %llu tells of %s",
			 (unsigned long long)log_block_of(log, group->segment, group->place.block), what);
}

/*
 * The groups of a segment that is needed. *ret_whole: they reach to its end. log->end is behind the last valid one.
 * => 0, -EUCLEAN, -errno.
 */
static int segment_walk(struct log *log, const struct log_segment *segment, bool *ret_whole)
{
	uint32_t at = 1;

	*ret_whole = false;
	log->end = (struct log_place){segment->header.seq, at};
	while (at < segment->end) {
		struct log_group group;
		const char *nonsense;
		bool valid;
		int r = group_read(log, segment, at, &group, &valid, &nonsense);

		if (r == 0 && nonsense)
			r = group_wrong(log, &group, nonsense);
		if (r == 0 && !valid)
			return 0;
		if (r == 0)
			r = group_keep(log, &group);
		if (r < 0)
			return r;
		at = group.end;
		log->end.block = at;
	}
	*ret_whole = true;
	return 0;
}

/* The same of a segment that is not needed: nothing that is wrong there means anything. Only decisions are kept. */
static int segment_skim(struct log *log, const struct log_segment *segment)
{
	uint32_t at = 1;

	while (at < segment->end) {
		struct log_group group;
		const char *nonsense;
		bool valid;
		int r = group_read(log, segment, at, &group, &valid, &nonsense);

		if (r < 0 || !valid)
			return r;
		at = group.end;
		if (group.header.commit > log->header.complete) {
			log->n_entries = group.first_entry;
			free(group.parties);
			return 0;
		}
		group.skimmed = true;
		r = group_keep(log, &group);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- spilled pages ---- */

struct spilled {
	uint64_t block;
	uint64_t entry, group;
};

static int compare_spilled(const void *a, const void *b)
{
	uint64_t x = ((const struct spilled *)a)->block, y = ((const struct spilled *)b)->block;

	return x < y ? -1 : x > y;
}

static bool is_spilled(const struct log *log, const struct log_group *group, const struct scan_page *page)
{
	return (page->block - HEADER_BLOCKS) / log->header.segment_blocks != group->segment;
}

/* Whether a block lies in a segment that has something of the log that is needed. */
static bool is_in_log(const struct log *log, uint64_t block)
{
	uint64_t index = (block - HEADER_BLOCKS) / log->header.segment_blocks;

	return index < log->file_segments && log->in_log[index];
}

/* Of a prepared commit that did not count nobody keeps what it had spilled. note: the group that says so, behind it. */
static void mark_given_up(struct log *log, uint64_t note)
{
	uint64_t number = log->groups[note].header.commit;
	bool met = false;

	for (uint64_t g = note; g-- > 0;) {
		struct log_group *group = &log->groups[g];

		/* Other decisions may lie in between. */
		if (!met && (group->header.flags & (GROUP_DECIDED | GROUP_GIVEN_UP)))
			continue;
		if (group->header.commit < number || (met && group->header.commit != number))
			return;
		met = group->header.commit == number;
		group->given_up |= met;
	}
}

/* All that groups name outside of the log, in the order of the file. *ret: malloc'ed. */
static int spilled_gather(struct log *log, struct spilled **ret, uint64_t *ret_n)
{
	struct spilled *list = NULL;
	uint64_t n = 0, room = 0;

	for (uint64_t g = 0; g < log->n_groups; g++)
		if (log->groups[g].header.flags & GROUP_GIVEN_UP)
			mark_given_up(log, g);
	for (uint64_t g = 0; g < log->n_groups; g++) {
		const struct log_group *group = &log->groups[g];

		for (uint64_t e = group->first_entry; !group->given_up && e < group->first_entry + group->entries; e++) {
			struct spilled *grown;

			if (!is_spilled(log, group, &log->entries[e]))
				continue;
			if (is_in_log(log, log->entries[e].block)) {
				free(list);
				return group_wrong(log, group, "a page in a place that cannot be");
			}
			grown = log_grow(list, &room, n, sizeof(*list));
			if (!grown) {
				free(list);
				return -ENOMEM;
			}
			list = grown;
			list[n++] = (struct spilled){log->entries[e].block, e, g};
		}
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), compare_spilled);
	*ret = list;
	*ret_n = n;
	return 0;
}

/* How many blocks from that of list[i] on are worth one read. */
static uint64_t spilled_run(const struct spilled *list, uint64_t n, uint64_t i, uint64_t most)
{
	uint64_t j = i;

	while (j + 1 < n && list[j + 1].block - list[j].block <= GAP_BLOCKS && list[j + 1].block - list[i].block < most)
		j++;
	return list[j].block - list[i].block + 1;
}

/* *ret_wrong: the first group of which a spilled page is not as it should be; n_groups: none. */
static int spilled_check(struct log *log, uint64_t *ret_wrong)
{
	struct spilled *list = NULL;
	uint64_t n = 0;
	int r = spilled_gather(log, &list, &n);

	*ret_wrong = log->n_groups;
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		const struct scan_page *page = &log->entries[list[i].entry];
		const void *block;

		r = log_block(log, list[i].block, spilled_run(list, n, i, log->window.read_blocks), &block);
		if (r == 0 && list[i].group < *ret_wrong &&
		    (!block || journal_page_checksum(log->header.salt, page->page, block, log->block_bytes) != page->checksum))
			*ret_wrong = list[i].group;
	}
	free(list);
	return r;
}

/* ---- behind the end ---- */

static bool is_in_chain(const struct log *log, uint64_t seq)
{
	for (uint64_t i = 0; i < log->n_chain; i++)
		if (log->found[log->chain[i]].header.seq == seq)
			return true;
	return false;
}

/*
 * A group says that everything before a place was on stable storage. Of a segment that is not there this means something only if what was in
 * it is needed: it may have been used again since.
 */
static void claim_note(struct log *log, const struct group_header *header)
{
	struct log_place claim = {header->durable_seq, header->durable_block};

	if (place_after(claim, log->claimed) &&
	    (claim.seq == header->seq || header->commit > log->header.complete + 1 || is_in_chain(log, claim.seq)))
		log->claimed = claim;
}

/*
 * Looks at every block of a segment from one on for what says how far the log was on stable storage. That a group has the number of a commit
 * which is complete says nothing: after a failure numbers are used again.
 */
static int claims_search(struct log *log, const struct log_segment *segment, uint32_t from)
{
	for (uint32_t at = from; at < log->header.segment_blocks; at++) {
		struct log_place place = {segment->header.seq, at};
		struct group_header header;
		const void *block;
		int r = log_block(log, log_block_of(log, segment->index, at), log->header.segment_blocks - at, &block);

		if (r < 0 || !block)
			return r;
		if (!log_is_group(log, block, place))
			continue;
		memcpy(&header, block, sizeof(header));
		claim_note(log, &header);
		if (segment->header.seq == log->end.seq && header.entries <= group_most((uint32_t)log->block_bytes))
			log->torn_end = at + 1 + header.entries;
	}
	return 0;
}

/* Cuts the log before the first group of which a spilled page is wrong. What such groups say still counts. */
static int spilled_cut(struct log *log)
{
	uint64_t wrong;
	int r = spilled_check(log, &wrong);

	if (r < 0 || wrong == log->n_groups)
		return r;
	for (uint64_t g = wrong; g < log->n_groups; g++)
		claim_note(log, &log->groups[g].header);
	log->end = log->groups[wrong].place;
	groups_cut(log, wrong);
	return 0;
}

/* from: index in chain of the segment in which the walk ended, at block at. */
static int claims_gather(struct log *log, uint64_t from, uint32_t at)
{
	int r = 0;

	for (uint64_t i = from; r == 0 && i < log->n_chain; i++)
		r = claims_search(log, &log->found[log->chain[i]], i == from ? at : 1);
	for (uint64_t i = 0; r == 0 && i < log->n_dropped; i++)
		r = claims_search(log, &log->found[log->dropped[i]], 1);
	for (uint64_t i = 0; i < log->n_chain; i++)
		if (log->found[log->chain[i]].header.durable > log->durable)
			log->durable = log->found[log->chain[i]].header.durable;
	for (uint64_t i = 0; i < log->n_dropped; i++)
		if (log->found[log->dropped[i]].header.durable > log->durable)
			log->durable = log->found[log->dropped[i]].header.durable;
	return r;
}

/* ---- all of it ---- */

/* Which segments of the file have something of the log that is needed: a spilled page cannot be there. */
static int mark_log(struct log *log)
{
	log->in_log = calloc(log->file_segments + 1, sizeof(*log->in_log));
	if (!log->in_log)
		return -ENOMEM;
	for (uint64_t i = 0; i < log->n_chain; i++)
		if (log->found[log->chain[i]].needed)
			log->in_log[log->found[log->chain[i]].index] = true;
	return 0;
}

/* The needed segments are read one behind the other, and the others as they are skimmed. */
static void plan_walk(struct log *log)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < log->n_chain; i++) {
		const struct log_segment *segment = &log->found[log->chain[i]];

		if (segment->needed)
			log->plan[n++] = (struct window_range){log_block_of(log, segment->index, 1),
							       log_block_of(log, segment->index, segment->end)};
	}
	log_plan(log, n);
}

/*
 * What the log itself says, and its header: how much need not be doubted. Of damage the header's claim tells nothing: what was prepared and
 * given up may be half overwritten already.
 */
static void claims_of_log(struct log *log)
{
	struct log_place claim = {log->header.durable_seq, log->header.durable_block};

	for (uint64_t g = 0; g < log->n_groups; g++)
		if (!log->groups[g].skimmed)
			claim_note(log, &log->groups[g].header);
	if (place_after(claim, log->claimed) && !place_after(claim, log->end) && is_in_chain(log, claim.seq))
		log->claimed = claim;
}

int log_walk(struct log *log, bool with_complete)
{
	bool whole = true;
	uint32_t at = 0;
	uint64_t i;
	int r = mark_log(log);

	plan_walk(log);
	for (i = 0; r == 0 && whole && i < log->n_chain; i++) {
		const struct log_segment *segment = &log->found[log->chain[i]];

		if (segment->needed) {
			r = segment_walk(log, segment, &whole);
			at = log->end.block;
		} else if (with_complete) {
			r = segment_skim(log, segment);
		}
	}
	if (r == 0)
		r = spilled_cut(log);
	if (r == 0)
		r = claims_gather(log, whole ? i : i - 1, at);
	if (r == 0 && place_after(log->claimed, log->end))
		return log_wrong(log, EUCLEAN,
				 "the journal is damaged: what is in segment %llu of the log from block %u on is not valid, and "
				 "was on stable storage up to block %u of segment %llu",
				 (unsigned long long)log->end.seq, log->end.block, log->claimed.block,
				 (unsigned long long)log->claimed.seq);
	claims_of_log(log);
	return r;
}
