/* SPDX-License-Identifier: MIT */
/*
 * space.c - segments: which are free, which may be used again, and how many have to stay free
 *
 *      FREE ──▶ LOG     until nothing in it can be asked for: the commits before the segment that follows are complete, no version in
 *       ▲  │            it is in the index, none is being read, and no decision in it or before it is still to be noted
 *       │  └──▶ SPILL   until no version in it is in the index or being written or read, and no commit that is not complete names a
 *       └────────┘      block of it
 *
 * In a spill segment blocks are used again one by one as well, under the same conditions: where the same pages are spilled again and
 * again, no segment would ever be empty. It comes to that when less than half of all spill segments is in use, or nothing else is left.
 *
 * A spill leaves enough segments free for a commit that names everything that is spilled: otherwise a journal full of uncommitted pages
 * could neither take a commit nor, since only commits are copied into the file, be emptied.
 */
#include <errno.h>

#include "journal/internal.h"

static uint32_t least(uint32_t a, uint64_t b)
{
	return a < b ? a : (uint32_t)b;
}

uint32_t space_left(const struct journal *journal)
{
	return journal->is_cut || journal->end.seq == 0 ? 0 : journal->settings.segment_blocks - journal->end.block;
}

/* A group of so many pages, or as many as there is place for. Returns the pages. */
static uint32_t lay_group(const struct journal *journal, uint64_t pages, uint32_t *left, uint32_t *need)
{
	uint32_t taken;

	if (*left < 2) {
		*left = journal->settings.segment_blocks - 1;
		++*need;
	}
	taken = least(least(*left - 1, journal->settings.group_pages), pages);
	*left -= 1 + taken;
	return taken;
}

uint32_t space_need(const struct journal *journal, uint64_t pages, uint64_t names, uint32_t left)
{
	unsigned most = group_most((uint32_t)journal->block_bytes);
	uint64_t descriptors;
	uint32_t need = 0;

	if (pages > journal->n_blocks || names > journal->n_blocks)
		return UINT32_MAX / 2;
	/* Groups of names alone; and those that a mixture of both closes before they have all the pages they could. */
	descriptors = names / most + 1 + pages / most;
	while (pages > 0)
		pages -= lay_group(journal, pages, &left, &need);
	for (; descriptors > 0; descriptors--)
		lay_group(journal, 0, &left, &need);
	/* The parties of a unit, and what the log may have to say about another. */
	for (uint64_t parties = 1; parties > 0;)
		parties -= lay_group(journal, parties, &left, &need);
	lay_group(journal, 0, &left, &need);
	return need;
}

int64_t space_take(struct journal *journal, enum segment_kind kind)
{
	struct segment *segment;
	uint32_t index;

	INVARIANT(lock_is_held(&journal->lock));
	if (journal->free_list) {
		index = journal->free_list - 1;
		journal->free_list = journal->segments[index].next_free;
		journal->n_free_made--;
	} else if (journal->made < journal->n_segments) {
		index = journal->made++;
	} else {
		journal->hungry = true;
		return -ENOSPC;
	}
	journal->n_free--;
	segment = &journal->segments[index];
	ASSERT(segment->kind == SEGMENT_FREE && segment->live == 0 && segment->readers == 0);
	*segment = (struct segment){.kind = kind, .needed_till = NEEDED_ALWAYS};
	journal->spill_segments += kind == SEGMENT_SPILL;
	return index;
}

/* A decision that others may ask for, or what leads to it in the log. */
static bool has_decision(const struct journal *journal, const struct segment *segment)
{
	for (const struct decision *decision = journal->decisions; decision; decision = decision->next)
		if (decision->seq <= segment->seq)
			return true;
	return false;
}

static bool is_needed(const struct journal *journal, const struct segment *segment)
{
	if (segment->live > 0 || segment->readers > 0)
		return true;
	if (segment->kind == SEGMENT_SPILL)
		return segment->last_commit > journal->complete;
	if (segment->cut_off)
		return false;
	/* While nothing newer is durable, a crash may leave this one as the newest, and then it is read. */
	return segment->needed_till > journal->complete || segment->seq >= journal->durable.seq || has_decision(journal, segment);
}

void space_try_free(struct journal *journal, uint32_t index)
{
	struct segment *segment = &journal->segments[index];

	INVARIANT(lock_is_held(&journal->lock));
	if (segment->kind == SEGMENT_FREE || segment->kind == SEGMENT_MAKING || is_needed(journal, segment))
		return;
	if (journal->spill_now == index + 1)
		journal->spill_now = 0;
	journal->spill_segments -= segment->kind == SEGMENT_SPILL;
	*segment = (struct segment){.kind = SEGMENT_FREE, .next_free = journal->free_list};
	journal->free_list = index + 1;
	journal->n_free++;
	journal->n_free_made++;
}

void space_try_free_all(struct journal *journal)
{
	for (uint32_t i = 0; i < journal->made; i++) {
		journal->segments[i].barren = false;
		space_try_free(journal, i);
	}
}

/* ---- places to spill to ---- */

static bool is_hole(const struct journal *journal, uint32_t block)
{
	const struct version *version = &journal->versions[block];

	return version->state == VERSION_FREE && version->commit <= journal->complete && version->readers == 0;
}

/* The first run of holes in a segment: its length, at most n, or 0. */
static uint32_t hole_in(struct journal *journal, uint32_t index, uint32_t n, uint32_t *ret)
{
	uint32_t block = segment_first(journal, index), end = block + journal->settings.segment_blocks, run = 0;

	while (block < end && !is_hole(journal, block))
		block++;
	while (block + run < end && run < n && is_hole(journal, block + run))
		run++;
	*ret = block;
	return run;
}

static uint32_t find_hole(struct journal *journal, uint32_t n, uint32_t *ret)
{
	for (uint32_t i = 0; i < journal->made; i++) {
		uint32_t index = (journal->spill_hand + i) % journal->made, run;
		struct segment *segment = &journal->segments[index];

		if (segment->kind != SEGMENT_SPILL || segment->barren || segment->live == journal->settings.segment_blocks ||
		    segment->next < journal->settings.segment_blocks)
			continue;
		run = hole_in(journal, index, n, ret);
		journal->spill_hand = index;
		if (run > 0)
			return run;
		segment->barren = true;
	}
	return 0;
}

/* The next blocks of the segment that is filled. */
static uint32_t spill_on(struct journal *journal, uint32_t n, uint32_t *ret)
{
	struct segment *segment;
	uint32_t run;

	if (!journal->spill_now)
		return 0;
	segment = &journal->segments[journal->spill_now - 1];
	run = least(n, journal->settings.segment_blocks - segment->next);
	*ret = segment_first(journal, journal->spill_now - 1) + segment->next;
	segment->next += run;
	return run;
}

static uint32_t spill_in_new(struct journal *journal, uint32_t n, uint32_t *ret)
{
	uint32_t before = journal->spill_now;
	int64_t index;

	if (journal->n_free < 1 + journal->reserved + space_need(journal, 0, journal->n_spilled + n, 0))
		return 0;
	index = space_take(journal, SEGMENT_SPILL);
	if (index < 0)
		return 0;
	journal->spill_now = (uint32_t)index + 1;
	if (before)
		space_try_free(journal, before - 1);
	return spill_on(journal, n, ret);
}

int space_spill(struct journal *journal, uint64_t page, unsigned n, uint32_t *ret)
{
	bool dense = journal->spill_live * 2 >= journal->spill_segments * journal->settings.segment_blocks;
	uint32_t run = spill_on(journal, n, ret);

	if (run == 0 && dense)
		run = spill_in_new(journal, n, ret);
	if (run == 0)
		run = find_hole(journal, n, ret);
	if (run == 0 && !dense)
		run = spill_in_new(journal, n, ret);
	if (run == 0) {
		journal->hungry = true;
		return -ENOSPC;
	}
	for (uint32_t i = 0; i < run; i++)
		version_take(journal, *ret + i, page + i, VERSION_WRITING);
	return (int)run;
}
