/* SPDX-License-Identifier: MIT */
/*
 * writer.c - a writer of journals that keeps to the format's rules
 */
#include "writer.h"

static uint64_t below(struct writer *writer, int64_t n)
{
	return (uint64_t)rng_below(&writer->rng, n);
}

static bool percent(struct writer *writer, int n)
{
	return rng_percent(&writer->rng, n);
}

static uint64_t pages_in(uint64_t bytes)
{
	return (bytes + page_size() - 1) / page_size();
}

uint64_t writer_counting(const struct writer *writer, uint64_t number)
{
	while (number > 0 && writer->history.given_up[number])
		number--;
	return number;
}

/* ---- segments ---- */

static bool segment_is_free(const struct writer *writer, uint64_t i)
{
	if (writer->segments[i].kind == WRITER_FREE)
		return true;
	if (writer->segments[i].needed_till > writer->complete)
		return false;
	if (writer->segments[i].kind == WRITER_SPILL)
		return writer->spill_segment != i + 1;
	/* While nothing newer is on stable storage, this one may be the newest that a crash leaves. */
	return writer->segments[i].seq < writer->log.durable_seq && writer->segments[i].seq != writer->log.seq;
}

static bool segment_take(struct writer *writer, uint64_t *ret)
{
	uint64_t first = below(writer, writer->made.max_segments);

	for (uint64_t i = 0; i < writer->made.max_segments; i++) {
		*ret = (first + i) % writer->made.max_segments;
		if (segment_is_free(writer, *ret))
			return true;
	}
	writer->full = true;
	return false;
}

static void prove(struct writer *writer, uint64_t block)
{
	writer->proof[block] = writer->acked;
}

static bool log_go_on(struct writer *writer)
{
	uint64_t index;

	if (!segment_take(writer, &index))
		return false;
	if (writer->log.seq == 0)
		made_segment(&writer->made, index, writer->next_seq, 0, 0, 0, 0);
	else
		made_segment(&writer->made, index, writer->next_seq, writer->log.seq, writer->log.block, writer->highest,
			     writer->acked);
	prove(writer, made_segment_block(&writer->made, index, 0));
	writer->log.index = index;
	writer->log.seq = writer->next_seq++;
	writer->log.block = 1;
	writer->segments[index].kind = WRITER_LOG;
	writer->segments[index].seq = writer->log.seq;
	writer->segments[index].needed_till = 0;
	writer->go_on = false;
	return true;
}

/* A block for a page that is spilled, or 0. */
static uint64_t spill_take(struct writer *writer, uint64_t commit)
{
	uint64_t index;

	if (!writer->spill_segment || writer->spill_next == writer->made.segment_blocks) {
		writer->spill_segment = 0;
		if (!segment_take(writer, &index)) {
			writer->full = false;
			return 0;
		}
		writer->segments[index].kind = WRITER_SPILL;
		writer->segments[index].needed_till = 0;
		writer->spill_segment = index + 1;
		writer->spill_next = 0;
	}
	index = writer->spill_segment - 1;
	if (writer->segments[index].needed_till < commit)
		writer->segments[index].needed_till = commit;
	return made_segment_block(&writer->made, index, writer->spill_next++);
}

/* ---- groups ---- */

static bool group_put(struct writer *writer, uint32_t flags, uint64_t commit, const struct made_page *pages, uint32_t n)
{
	uint32_t blocks = 1 + !!(flags & GROUP_PARTIES);
	uint64_t at;

	for (uint32_t i = 0; i < n; i++)
		blocks += pages[i].place == 0;
	if (blocks + 1 > writer->made.segment_blocks)
		return false;
	if ((writer->go_on || writer->log.block + blocks > writer->made.segment_blocks) && !log_go_on(writer))
		return false;
	at = made_segment_block(&writer->made, writer->log.index, writer->log.block);
	for (uint32_t i = 0; i < blocks; i++)
		writer->proof[at + i] = 0;
	made_group(&writer->log, flags, commit, pages, n);
	prove(writer, at);
	if (writer->highest < commit)
		writer->highest = commit;
	if (writer->segments[writer->log.index].needed_till < commit)
		writer->segments[writer->log.index].needed_till = commit;
	return true;
}

static void sync_now(struct writer *writer)
{
	memcpy(writer->stable, writer->made.bytes, writer->made.len);
	writer->acked = writer->history.last;
	writer->header_good = writer->header_pending;
	if (!writer->go_on) {
		made_synced(&writer->log);
		writer->durable_highest = writer->highest;
		writer->cuts = 0;
	}
	writer->complete = writer->pending_complete;
}

/* Everything that is not on stable storage has failed: the log goes on behind what is. */
static void cut(struct writer *writer)
{
	if (writer->cuts == WRITER_CUTS)
		return;
	writer->cut[writer->cuts++] = writer->history;
	writer->buried[writer->n_buried++ % WRITER_BURIED] = writer->history;
	writer->history.last = writer->acked;
	for (uint64_t i = 0; i < writer->made.max_segments; i++)
		if (writer->segments[i].kind != WRITER_FREE && writer->segments[i].needed_till > writer->durable_highest)
			writer->segments[i].needed_till = writer->durable_highest;
	writer->go_on = true;
	writer->highest = writer->durable_highest;
	writer->log.seq = writer->log.durable_seq;
	writer->log.block = writer->log.durable_block;
	for (uint64_t i = 0; i < writer->made.max_segments; i++)
		if (writer->segments[i].kind == WRITER_LOG && writer->segments[i].seq == writer->log.seq)
			writer->log.index = i;
}

/* ---- a commit ---- */

static void choose_size(struct writer *writer, const struct file_state *before)
{
	uint64_t bytes = before->bytes, least = bytes;

	if (percent(writer, 25)) {
		bytes = page_size() + below(writer, (WRITER_PAGES - 1) * (int64_t)page_size());
		least = bytes < least ? bytes : least;
		if (percent(writer, 50))
			least = below(writer, (int64_t)least + 1);
	}
	writer->log.file_bytes = bytes;
	writer->log.least_bytes = least;
}

static uint32_t choose_pages(struct writer *writer, uint64_t commit, struct made_page *pages)
{
	uint32_t n = (uint32_t)below(writer, 7), kept = 0;
	uint64_t all = pages_in(writer->log.file_bytes);
	bool chosen[WRITER_PAGES] = {false};

	for (uint32_t i = 0; i < n; i++) {
		uint64_t page = below(writer, (int64_t)all);

		if (chosen[page])
			continue;
		chosen[page] = true;
		pages[kept] = (struct made_page){.page = page};
		if (percent(writer, 25)) {
			pages[kept].place = spill_take(writer, commit);
			if (pages[kept].place)
				writer->proof[pages[kept].place] = 0;
		}
		kept++;
	}
	return kept;
}

static void apply(struct writer *writer, struct file_state *state, const struct made_page *pages, uint32_t n)
{
	for (uint64_t page = 0; page < WRITER_PAGES; page++)
		if (page * page_size() >= writer->log.least_bytes)
			state->whose[page] = UINT64_MAX;
	for (uint32_t i = 0; i < n; i++)
		state->whose[pages[i].page] = writer->log.whose;
	state->bytes = writer->log.file_bytes;
}

/* In one to three groups. leave: the last of them is not written. */
static bool commit_put(struct writer *writer, uint64_t commit, uint32_t flags, const struct made_page *pages, uint32_t n,
		       bool leave)
{
	uint32_t groups = 1 + (uint32_t)below(writer, 3), done = 0;

	for (uint32_t i = 0; i < groups; i++) {
		uint32_t part = i + 1 < groups ? (uint32_t)below(writer, (int64_t)(n - done) + 1) : n - done;
		uint64_t unit = writer->log.unit[0];

		if (i + 1 == groups && leave)
			return true;
		writer->log.unit[0] = i + 1 == groups ? unit : 0;
		if (!group_put(writer, i + 1 < groups ? 0 : flags, commit, pages + done, part))
			return false;
		writer->log.unit[0] = unit;
		done += part;
	}
	return true;
}

static bool step_commit(struct writer *writer, uint32_t flags, bool leave)
{
	struct history *history = &writer->history;
	uint64_t commit = history->last + 1;
	struct made_page pages[8];
	uint32_t n;

	if (commit >= WRITER_COMMITS)
		return false;
	choose_size(writer, &history->after[commit - 1]);
	n = choose_pages(writer, commit, pages);
	writer->log.whose = ++writer->next_whose;
	if (!commit_put(writer, commit, flags, pages, n, leave))
		return false;
	if (leave)
		return true;
	history->after[commit] = history->after[commit - 1];
	apply(writer, &history->after[commit], pages, n);
	history->given_up[commit] = false;
	history->last = commit;
	return true;
}

/* One that is given up when some of it was written: nothing may follow it in its segment. */
static bool step_abandon(struct writer *writer)
{
	sync_now(writer);
	if (writer->go_on)
		return true;
	if (!step_commit(writer, GROUP_COMMIT, true))
		return false;
	cut(writer);
	return true;
}

/* One that another journal decides, and, mostly, what that one has decided. */
static bool step_prepared(struct writer *writer)
{
	struct journal_party party = {.uuid = {3}};
	uint64_t unit = writer->next_whose + 1, commit = writer->history.last + 1;
	void *parties;
	bool done;

	if (unit >= sizeof(writer->decided))
		return true;
	parties = made_parties(1, &party, &(const char *){"/decides"});
	writer->log.unit[0] = unit;
	writer->log.parties = parties;
	done = step_commit(writer, GROUP_PREPARED | GROUP_PARTIES, false);
	writer->log.unit[0] = 0;
	free(parties);
	if (!done)
		return false;
	/* As long as it is not on stable storage it cannot be decided: and while it is not decided, it does not count. */
	writer->history.last = commit - 1;
	if (percent(writer, 10)) {
		writer->full = true;
		return false;
	}
	memcpy(writer->stable, writer->made.bytes, writer->made.len);
	writer->decided[unit] = percent(writer, 60);
	if (writer->decided[unit])
		writer->history.last = commit;
	sync_now(writer);
	if (!group_put(writer, writer->decided[unit] ? GROUP_DECIDED : GROUP_GIVEN_UP, commit, NULL, 0))
		return false;
	/* Its number may come again only where the log says so, and that is not to be cut off. */
	if (!writer->decided[unit])
		sync_now(writer);
	if (!writer->decided[unit] && percent(writer, 50)) {
		writer->history.after[commit] = writer->history.after[commit - 1];
		writer->history.given_up[commit] = true;
		writer->history.last = commit;
	}
	return true;
}

/* ---- the header ---- */

static void header_put(struct writer *writer, uint64_t complete)
{
	writer->header_pending = 1 - writer->header_good;
	made_header(&writer->made, writer->header_pending, ++writer->generation, complete, writer->history.after[complete].bytes);
}

static void step_checkpoint(struct writer *writer)
{
	sync_now(writer);
	if (writer->go_on)
		return;
	writer->pending_complete = writer->history.last;
	writer->file = writer->history.after[writer->history.last];
	writer->file_last = writer_counting(writer, writer->history.last);
	header_put(writer, writer->history.last);
	if (percent(writer, 80))
		sync_now(writer);
}

bool writer_step(struct writer *writer)
{
	uint64_t what = below(writer, 100);

	if (what < 55)
		return step_commit(writer, GROUP_COMMIT, false);
	if (what < 65)
		return step_prepared(writer);
	if (what < 70)
		return step_abandon(writer);
	if (what < 76 && writer->log.durable_seq != 0)
		cut(writer);
	else if (what < 90)
		sync_now(writer);
	else
		step_checkpoint(writer);
	return true;
}

/* ---- from life to life ---- */

void writer_crash(struct writer *writer)
{
	size_t block_bytes = page_size();

	for (uint64_t at = 0; at < writer->made.len; at += block_bytes) {
		char *new = writer->made.bytes + at, *old = writer->stable + at;
		size_t sectors = block_bytes / 512;

		if (memcmp(new, old, block_bytes) == 0)
			continue;
		switch (below(writer, 4)) {
		case 0:
			break;
		case 1:
			memcpy(new, old, block_bytes);
			break;
		case 2:
			sectors = 1 + below(writer, (int64_t)sectors);
			memcpy(new + sectors * 512, old + sectors * 512, block_bytes - sectors * 512);
			break;
		default:
			for (size_t i = 0; i < sectors; i++)
				if (percent(writer, 50))
					memcpy(new + i * 512, old + i * 512, 512);
		}
	}
	memcpy(writer->stable, writer->made.bytes, writer->made.len);
}

void writer_reopen(struct writer *writer, const struct scan_result *found, uint64_t last, const bool *spilled)
{
	uint64_t n = found->n_segments;

	for (uint64_t number = last + 1; number <= found->last; number++) {
		writer->history.after[number] = writer->history.after[last];
		writer->history.given_up[number] = true;
	}
	writer->history.last = writer->acked = found->last;
	writer->complete = writer->pending_complete = found->header.complete;
	writer->generation = found->header.generation;
	writer->header_good = writer->header_pending = found->header_block;
	writer->highest = writer->durable_highest = found->last;
	writer->next_seq = found->next_seq;
	writer->cuts = 0;
	writer->full = false;
	writer->go_on = true;
	writer->spill_segment = 0;
	writer->log.unit[0] = 0;
	for (uint64_t i = 0; i < writer->made.max_segments; i++) {
		writer->segments[i].kind = spilled[i] ? WRITER_SPILL : WRITER_FREE;
		writer->segments[i].needed_till = found->last;
	}
	for (uint64_t i = 0; i < n; i++) {
		writer->segments[found->segments[i].index].kind = WRITER_LOG;
		writer->segments[found->segments[i].index].seq = found->segments[i].seq;
	}
	for (uint64_t i = n; i < n + found->n_cut; i++) {
		writer->segments[found->segments[i].index].kind = WRITER_LOG;
		writer->segments[found->segments[i].index].seq = found->segments[i].seq;
		writer->segments[found->segments[i].index].needed_till = 0;
	}
	writer->log.seq = n ? found->segments[n - 1].seq : 0;
	writer->log.index = n ? found->segments[n - 1].index : 0;
	writer->log.block = n ? found->segments[n - 1].end : 1;
	writer->log.durable_seq = writer->log.seq;
	writer->log.durable_block = n ? writer->log.block : 0;
}

int writer_resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct writer *writer = arg;

	(void)party;
	(void)name;
	*ret = unit[0] < sizeof(writer->decided) && writer->decided[unit[0]];
	return 0;
}

void writer_start(struct writer *writer, struct rng rng)
{
	memset(writer, 0, sizeof(*writer));
	writer->rng = rng;
	made_new(&writer->made, 5 + (uint32_t)below(writer, 10), 4 + (uint32_t)below(writer, WRITER_SEGMENTS - 3));
	writer->stable = calloc(1, writer->made.len);
	writer->proof = calloc(writer->made.len / page_size(), sizeof(*writer->proof));
	writer->log = (struct made_log){.made = &writer->made, .block = 1};
	writer->go_on = true;
	writer->next_seq = 1;
	writer->header_good = 1;
	writer->history.after[0].bytes = writer->file.bytes = (1 + below(writer, WRITER_PAGES)) * page_size();
	header_put(writer, 0);
	writer->header_good = writer->header_pending;
	memcpy(writer->stable, writer->made.bytes, writer->made.len);
}

void writer_done(struct writer *writer)
{
	made_free(&writer->made);
	free(writer->stable);
	free(writer->proof);
}
