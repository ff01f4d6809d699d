/* SPDX-License-Identifier: MIT */
/*
 * renew.c - what was found in a log is written again before anything is built upon it
 *
 * Who died may have written the end of the log and not synced it: a reader sees it in the kernel's cache, and a power failure would take back
 * what was told. A sync alone is not enough. Where one has failed before, the cache says that its pages are clean, they are not on
 * storage, and no sync will ever write them. Written again they are. So this is done with everything that nothing says was on stable
 * storage: the header that was found, in its own place; the log from there on; and what was spilled and is named there. The bytes are the
 * same, so that a crash meanwhile takes nothing away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/internal.h"
#include "util/fail.h"

#define RENEW_BLOCKS 256

static int renew_run(struct journal *journal, uint64_t block, uint64_t n, char *memory)
{
	while (n > 0) {
		uint64_t some = n < RENEW_BLOCKS ? n : RENEW_BLOCKS;
		size_t len = some * journal->block_bytes;
		int64_t got = journal_read(journal->log, block * journal->block_bytes, memory, len);
		int r = got < 0 ? (int)got : (size_t)got < len ? -EIO : 0;

		if (r == 0)
			r = journal_write(journal->log, block * journal->block_bytes, memory, len);
		if (r < 0)
			return r;
		block += some;
		n -= some;
	}
	return 0;
}

static int renew_log(struct journal *journal, const struct scan_result *scan, char *memory)
{
	int r = 0;

	for (uint64_t i = 0; i < scan->n_segments && r == 0; i++) {
		const struct scan_segment *segment = &scan->segments[i];
		uint32_t from = segment->seq == scan->durable_seq ? scan->durable_block : 0;

		if (segment->seq >= scan->durable_seq && from < segment->end)
			r = renew_run(journal, segment_first(journal, (uint32_t)segment->index) + from, segment->end - from,
				      memory);
	}
	/* The headers that end it. */
	for (uint64_t i = scan->n_segments; i < scan->n_segments + scan->n_cut && r == 0; i++)
		r = renew_run(journal, segment_first(journal, (uint32_t)scan->segments[i].index), 1, memory);
	return r;
}

static bool is_in_log(const struct journal *journal, const struct scan_result *scan, uint32_t block)
{
	uint32_t index = (block - HEADER_BLOCKS) / journal->settings.segment_blocks;

	for (uint64_t i = 0; i < scan->n_segments; i++)
		if (scan->segments[i].index == index)
			return true;
	return false;
}

static int renew_spilled(struct journal *journal, const struct scan_result *scan, char *memory)
{
	int r = 0;

	for (uint32_t block = HEADER_BLOCKS; block < journal->n_blocks && r == 0; block++) {
		const struct version *version = &journal->versions[block];

		if (version->state == VERSION_COMMITTED && version->commit > scan->durable_commit &&
		    !is_in_log(journal, scan, block))
			r = renew_run(journal, block, 1, memory);
	}
	return r;
}

/* ---- room to go on ---- */

static bool is_used(const struct journal *journal, const struct scan_result *scan, uint32_t segment)
{
	for (uint64_t i = 0; i < scan->n_segments + scan->n_cut; i++)
		if (scan->segments[i].index == segment)
			return true;
	for (uint32_t i = 0; i < journal->settings.segment_blocks; i++)
		if (journal->versions[segment_first(journal, segment) + i].state != VERSION_FREE)
			return true;
	return false;
}

/*
 * What a crash has left behind the end of the log stays until the log has gone on, for which a segment has to be free. If all are in use, or
 * kept for decisions, the newest is wiped: what is left is what a crash might have left as well, a moment before.
 */
static int renew_room(struct journal *journal, struct scan_result *scan, char *memory)
{
	const struct scan_segment *newest;
	int r;

	if (scan->n_cut == 0)
		return 0;
	newest = &scan->segments[scan->n_segments + scan->n_cut - 1];
	for (uint32_t i = 0; i < journal->n_segments; i++)
		if (i >= scan->file_segments || (!journal->decisions && !is_used(journal, scan, i)))
			return 0;
	/* Its header, and its first group, which would tell of it without. */
	memset(memory, 0, 2 * journal->block_bytes);
	r = journal_write(journal->log, segment_first(journal, (uint32_t)newest->index) * (uint64_t)journal->block_bytes, memory,
			  2 * journal->block_bytes);
	if (r == 0)
		r = journal->log->ops->sync(journal->log);
	journal->wiped = (uint32_t)newest->index + 1;
	scan->n_cut--;
	return r;
}

int renew(struct journal *journal, struct scan_result *scan)
{
	char *memory = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(journal->block_bytes, RENEW_BLOCKS * journal->block_bytes);
	int r = memory ? renew_run(journal, scan->header_block, 1, memory) : -ENOMEM;

	if (r == 0)
		r = renew_log(journal, scan, memory);
	if (r == 0)
		r = renew_spilled(journal, scan, memory);
	if (r == 0)
		r = journal->log->ops->sync(journal->log);
	if (r == 0)
		r = renew_room(journal, scan, memory);
	free(memory);
	return r;
}
