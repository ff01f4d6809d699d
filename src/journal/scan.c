/* SPDX-License-Identifier: MIT */
/*
 * scan.c - which commits of a log count, and what they say
 *
 *      log_open     header, segments                        log.c
 *      log_walk     groups, and damage behind their end     walk.c
 *      gather       groups ──▶ commits, numbered one by one
 *      decide       of commits that another journal decides: from the log, or by asking
 *      tell         the visitor is told
 *
 * Nothing is told before all of it was found to be right. Memory goes with the length of the log: an entry of 24 bytes for a page.
 */
#include "journal/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "journal/log.h"
#include "journal/parties.h"
#include "util/message.h"

/* 2⁶³ are enough for as many openings as 27 bits count. */
#define SEQ_JUMP ((1ull << 36) - 1)

enum decision {
	ALONE,    /* it has COMMIT */
	IN_DOUBT, /* it has PREPARED, and nothing in this log says more */
	DECIDED,
	GIVEN_UP,
};

struct commit {
	uint64_t number;
	uint64_t first_group, groups; /* in log.groups */
	uint64_t pages;
	enum decision decision;
	bool noted; /* the decision is in this log */
};

struct scan {
	struct log log;
	struct commit *commits; /* that have ended */
	uint64_t n_commits, room_commits;
	uint64_t last;  /* number of the last that has ended; 0: none was found */
	uint64_t ended; /* groups up to here belong to commits that have ended, or are decisions */
};

static const struct group_header *header_of(const struct scan *scan, uint64_t group)
{
	return &scan->log.groups[group].header;
}

static const struct log_group *last_group(const struct scan *scan, const struct commit *commit)
{
	return &scan->log.groups[commit->first_group + commit->groups - 1];
}

/* ---- gather ---- */

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Whether a range of entries names a page twice. Most are in rising order, which is seen at once. */
static int names_twice(const struct scan_page *pages, uint64_t n, bool *ret)
{
	uint64_t i = 1, *sorted;

	*ret = false;
	while (i < n && pages[i].page > pages[i - 1].page)
		i++;
	if (i >= n)
		return 0;
	sorted = malloc((size_t)n * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		sorted[i] = pages[i].page;
	qsort(sorted, n, sizeof(*sorted), compare_numbers);
	for (i = 1; i < n && !*ret; i++)
		*ret = sorted[i] == sorted[i - 1];
	free(sorted);
	return 0;
}

/* What a commit that has ended says that its groups alone could not be asked. */
static int commit_check(struct scan *scan, const struct commit *commit)
{
	const struct log_group *last = last_group(scan, commit);
	uint64_t end = (last->header.file_bytes + scan->log.block_bytes - 1) / scan->log.block_bytes;
	const struct scan_page *pages = commit->pages ? scan->log.entries + scan->log.groups[commit->first_group].first_entry : NULL;
	bool twice;
	int r = names_twice(pages, commit->pages, &twice);

	if (r < 0)
		return r;
	if (twice)
		return log_wrong(&scan->log, EUCLEAN, "the journal is damaged: commit %llu names a page twice",
				 (unsigned long long)commit->number);
	for (uint64_t i = 0; i < commit->pages; i++)
		if (pages[i].page >= end)
			return log_wrong(&scan->log, EUCLEAN,
					 "the journal is damaged: commit %llu has a page behind the end of the file",
					 (unsigned long long)commit->number);
	if (last->parties && parties_check(last->parties, scan->log.block_bytes) < 0)
		return log_wrong(&scan->log, EUCLEAN,
				 "the journal is damaged: commit %llu names its parties in a way that cannot be",
				 (unsigned long long)commit->number);
	return 0;
}

static int commit_keep(struct scan *scan, const struct commit *commit)
{
	struct commit *grown = log_grow(scan->commits, &scan->room_commits, scan->n_commits, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	scan->commits = grown;
	scan->commits[scan->n_commits++] = *commit;
	return commit_check(scan, commit);
}

/* Whether a commit of this number may begin here. */
static bool may_begin(const struct scan *scan, uint64_t number)
{
	const struct commit *before = scan->n_commits > 0 ? &scan->commits[scan->n_commits - 1] : NULL;

	if (scan->last == 0)
		return number <= scan->log.header.complete + 1;
	return number == scan->last + 1 || (number == scan->last && before && before->decision == GIVEN_UP);
}

static int hole(struct scan *scan, uint64_t number)
{
	uint64_t last = scan->last > scan->log.header.complete ? scan->last : scan->log.header.complete;

	return log_wrong(&scan->log, EUCLEAN, "the journal is damaged: commit %llu follows commit %llu", (unsigned long long)number,
			 (unsigned long long)last);
}

/* A group that says what became of a prepared commit. */
static int decision_take(struct scan *scan, const struct group_header *header)
{
	bool decided = header->flags & GROUP_DECIDED;
	uint64_t i = scan->n_commits;

	while (i > 0 && scan->commits[i - 1].number > header->commit)
		i--;
	if (i > 0 && scan->commits[i - 1].number == header->commit) {
		struct commit *commit = &scan->commits[i - 1];

		if (commit->decision == IN_DOUBT || commit->decision == (decided ? DECIDED : GIVEN_UP)) {
			commit->decision = decided ? DECIDED : GIVEN_UP;
			commit->noted = true;
			return 0;
		}
	} else if (header->commit <= scan->log.header.complete) {
		return 0;
	}
	return log_wrong(&scan->log, EUCLEAN, "the journal is damaged: it has a decision on commit %llu that nobody asked for",
			 (unsigned long long)header->commit);
}

/* What ends a commit that is complete, in a segment that is not needed: its decision is all that anybody can want to know. */
static int skimmed_take(struct scan *scan, uint64_t g)
{
	const struct group_header *header = header_of(scan, g);
	struct commit commit = {.number = header->commit, .first_group = g, .groups = 1};

	scan->ended = g + 1;
	if (!(header->flags & (GROUP_COMMIT | GROUP_PREPARED)))
		return 0;
	commit.decision = header->flags & GROUP_PREPARED ? IN_DOUBT : ALONE;
	return commit_keep(scan, &commit);
}

/* One more group of the commit that is being put together. */
static int group_take(struct scan *scan, struct commit *commit, uint64_t g)
{
	const struct group_header *header = header_of(scan, g);
	int r;

	if (commit->groups > 0 ? header->commit != commit->number : !may_begin(scan, header->commit))
		return hole(scan, header->commit);
	if (commit->groups++ == 0) {
		commit->number = header->commit;
		commit->first_group = g;
	}
	commit->pages += scan->log.groups[g].entries;
	if (!(header->flags & (GROUP_COMMIT | GROUP_PREPARED)))
		return 0;
	commit->decision = header->flags & GROUP_PREPARED ? IN_DOUBT : ALONE;
	r = commit_keep(scan, commit);
	scan->last = commit->number;
	*commit = (struct commit){0};
	return r;
}

/* Commits, of the groups in their order. One of which the log has not the beginning is complete, or there is a hole. */
static int gather(struct scan *scan)
{
	struct commit commit = {0};

	for (uint64_t g = 0; g < scan->log.n_groups; g++) {
		const struct group_header *header = header_of(scan, g);
		int r;

		if (scan->log.groups[g].skimmed)
			r = skimmed_take(scan, g);
		else if (!(header->flags & (GROUP_DECIDED | GROUP_GIVEN_UP)))
			r = group_take(scan, &commit, g);
		else
			r = commit.groups > 0 ? hole(scan, header->commit) : decision_take(scan, header);
		if (r < 0)
			return r;
		if (commit.groups == 0)
			scan->ended = g + 1;
	}
	return 0;
}

/* Commits that something says were on stable storage, and that are not there. */
static int missing_check(struct scan *scan)
{
	uint64_t last = scan->last > scan->log.header.complete ? scan->last : scan->log.header.complete;

	if (scan->log.durable <= last)
		return 0;
	return log_wrong(&scan->log, EUCLEAN,
			 "the journal is damaged: commits %llu to %llu were on stable storage and are not there",
			 (unsigned long long)last + 1, (unsigned long long)scan->log.durable);
}

/* ---- decide ---- */

static bool is_complete(const struct scan *scan, const struct commit *commit)
{
	return commit->number <= scan->log.header.complete;
}

static bool counts(const struct commit *commit)
{
	return commit->decision == ALONE || commit->decision == DECIDED;
}

static int ask(struct scan *scan, struct commit *commit, journal_resolve *resolve, void *arg)
{
	const struct log_group *group = last_group(scan, commit);
	struct journal_party party;
	char *name;
	bool yes = false;
	int r = parties_get(group->parties, 0, &party, &name);

	if (r < 0)
		return r;
	message_clear();
	r = resolve(arg, &party, name, group->header.unit, &yes);
	free(name);
	if (r == 0)
		commit->decision = yes ? DECIDED : GIVEN_UP;
	return r;
}

static int decide(struct scan *scan, journal_resolve *resolve, void *arg)
{
	for (uint64_t i = 0; i < scan->n_commits; i++) {
		struct commit *commit = &scan->commits[i];
		int r;

		if (commit->decision != IN_DOUBT || is_complete(scan, commit))
			continue;
		scan->log.report->in_doubt++;
		r = resolve ? ask(scan, commit, resolve, arg) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Forgets a commit that was prepared last and has turned out not to count, so that who goes on with the log has not to explain it. */
static void forget_last(struct scan *scan)
{
	struct commit *last = scan->n_commits > 0 ? &scan->commits[scan->n_commits - 1] : NULL;

	if (!last || last->decision != GIVEN_UP || last->noted || last->first_group + last->groups != scan->ended)
		return;
	scan->ended = last->first_group;
	scan->last = last->number - 1;
	scan->n_commits--;
	/* One that was given up before may have had the same number, and is still there. */
	if (scan->n_commits > 0 && last[-1].number > scan->last)
		scan->last = last[-1].number;
}

/* The log ends behind what counts: not behind the groups of a transaction that was under way. */
static void end_find(struct scan *scan)
{
	struct log *log = &scan->log;
	const struct log_group *last = scan->ended > 0 ? &log->groups[scan->ended - 1] : NULL;
	uint64_t i = 0;

	log->report->given_up_groups = log->n_groups - scan->ended;
	if (log->torn_end > log->end.block)
		log->report->torn_blocks = log->torn_end - log->end.block;
	if (scan->ended == log->n_groups)
		return;
	while (!log->found[log->chain[i]].needed)
		i++;
	if (last && !last->skimmed)
		log->end = (struct log_place){last->place.seq, last->end};
	else
		log->end = (struct log_place){log->found[log->chain[i]].header.seq, 1};
}

/* ---- tell ---- */

static int tell_commit(struct scan *scan, const struct commit *commit, const struct scan_visitor *visitor)
{
	const struct log_group *group = last_group(scan, commit);
	struct scan_commit told = {
	    .number = commit->number,
	    .file_bytes = group->header.file_bytes,
	    .least_bytes = group->header.least_bytes,
	    .unit = {group->header.unit[0], group->header.unit[1]},
	    .pages = commit->pages,
	    .parties = group->parties,
	    .prepared = commit->decision != ALONE,
	    .decided = commit->noted,
	    .complete = is_complete(scan, commit),
	    .segment = group->segment,
	};
	const struct scan_page *pages = scan->log.entries + scan->log.groups[commit->first_group].first_entry;
	int r = visitor->commit ? visitor->commit(visitor->arg, &told) : 0;

	for (uint64_t i = 0; r == 0 && visitor->page && i < commit->pages; i++)
		r = visitor->page(visitor->arg, &pages[i]);
	return r;
}

static int tell(struct scan *scan, const struct scan_visitor *visitor)
{
	for (uint64_t i = 0; i < scan->n_commits; i++) {
		const struct commit *commit = &scan->commits[i];
		bool wanted = counts(commit);
		int r;

		if (is_complete(scan, commit))
			wanted = visitor->with_complete && commit->decision != GIVEN_UP && last_group(scan, commit)->parties;
		r = wanted ? tell_commit(scan, commit, visitor) : 0;
		if (r != 0)
			return r;
	}
	return 0;
}

static void report_fill(struct scan *scan)
{
	struct journal_report *report = scan->log.report;

	report->last = scan->log.header.complete;
	report->file_bytes = scan->log.header.complete_bytes;
	for (uint64_t i = 0; i < scan->n_commits; i++) {
		const struct commit *commit = &scan->commits[i];

		if (is_complete(scan, commit) || !counts(commit))
			continue;
		report->last = commit->number;
		report->file_bytes = last_group(scan, commit)->header.file_bytes;
		report->pages += commit->pages;
	}
}

/* ---- result ---- */

static uint64_t highest_seq(const struct log *log)
{
	uint64_t highest = 0;

	for (uint64_t i = 0; i < log->n_found + log->n_headless; i++)
		if (log->found[i].header.seq > highest)
			highest = log->found[i].header.seq;
	return highest;
}

/* The last of which all groups lie before what something says was on stable storage. */
static uint64_t durable_commit(const struct scan *scan)
{
	uint64_t durable = scan->log.header.complete;

	for (uint64_t i = 0; i < scan->n_commits; i++) {
		const struct log_group *last = last_group(scan, &scan->commits[i]);

		if (!place_after((struct log_place){last->place.seq, last->end}, scan->log.claimed) &&
		    scan->commits[i].number > durable)
			durable = scan->commits[i].number;
	}
	return durable;
}

/*
 * A seq that nothing on storage has. What is found cannot tell: of a segment that was begun before a crash any block may be there, and the
 * others not, and once more after the next crash, so that the same number would be chosen again. So a part of it is random.
 */
static int next_seq(const struct log *log, uint64_t *ret)
{
	uint64_t jump;

	if (getrandom(&jump, sizeof(jump), 0) != sizeof(jump))
		return -errno;
	*ret = highest_seq(log) + log->header.max_segments + 1 + (jump & SEQ_JUMP);
	return 0;
}

static int result_fill(struct scan *scan, struct scan_result *ret)
{
	struct log *log = &scan->log;
	struct scan_segment *segments;
	uint64_t n = 0, cut = 0, seq = 0;
	int r = next_seq(log, &seq);

	if (r < 0)
		return r;
	segments = calloc(log->n_chain + 1, sizeof(*segments));
	if (!segments)
		return -ENOMEM;
	for (uint64_t i = 0; i < log->n_chain; i++) {
		const struct log_segment *segment = &log->found[log->chain[i]];

		if (!segment->needed)
			continue;
		segments[n + cut] = (struct scan_segment){segment->header.seq, segment->index, segment->end};
		if (segment->header.seq <= log->end.seq)
			n++;
		else
			cut++;
	}
	if (n > 0)
		segments[n - 1].end = log->end.block;
	*ret = (struct scan_result){
	    .durable_seq = log->claimed.seq,
	    .durable_block = log->claimed.block,
	    .durable_commit = durable_commit(scan),
	    .header = log->header,
	    .header_block = log->header_block,
	    .segments = segments,
	    .n_segments = n,
	    .file_segments = log->file_segments,
	    .last = scan->last > log->header.complete ? scan->last : log->header.complete,
	    .next_seq = seq,
	    .n_cut = cut,
	};
	return 0;
}

static int scan_log(struct scan *scan, journal_resolve *resolve, void *resolve_arg, const struct scan_visitor *visitor,
		    struct scan_result *ret)
{
	int r = log_walk(&scan->log, visitor && visitor->with_complete);

	if (r == 0)
		r = gather(scan);
	if (r == 0)
		r = missing_check(scan);
	if (r == 0)
		r = decide(scan, resolve, resolve_arg);
	if (r < 0)
		return r;
	forget_last(scan);
	end_find(scan);
	report_fill(scan);
	r = visitor ? tell(scan, visitor) : 0;
	return r == 0 && ret ? result_fill(scan, ret) : r;
}

int journal_scan(struct pager *log, const struct journal_identity *identity, journal_resolve *resolve, void *resolve_arg,
		 const struct scan_visitor *visitor, struct journal_report *report, struct scan_result *ret)
{
	struct journal_report unwanted;
	struct scan scan = {0};
	int r;

	if (!report)
		report = &unwanted;
	*report = (struct journal_report){0};
	r = log_open(&scan.log, log, identity, report);
	if (r == 0 && scan.log.fresh) {
		report->fresh = true;
		if (ret)
			*ret = (struct scan_result){.fresh = true};
	} else if (r == 0) {
		r = scan_log(&scan, resolve, resolve_arg, visitor, ret);
	}
	free(scan.commits);
	log_done(&scan.log);
	return r;
}

/* ---- check ---- */

int journal_check(struct pager *file, struct pager *log, const struct journal_identity *identity, struct journal_report *report)
{
	uint64_t bytes;
	int r = journal_scan(log, identity, NULL, NULL, NULL, report, NULL);

	if (r == -EUCLEAN || r == -ESTALE || r == -EPROTO)
		return 0;
	if (r == 0 && file)
		r = file->ops->size(file, &bytes);
	/* While commits wait to be copied the file may have any size; afterwards it has this one, unless somebody cut it. */
	if (r == 0 && file && !report->fresh && report->last == report->complete && bytes < report->file_bytes)
		snprintf(report->problem, sizeof(report->problem), "the file has %llu bytes, and the journal says that it had %llu",
			 (unsigned long long)bytes, (unsigned long long)report->file_bytes);
	return r;
}
