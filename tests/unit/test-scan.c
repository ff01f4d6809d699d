/* SPDX-License-Identifier: MIT */
/*
 * test-scan.c - what a scan says of journals that are right, torn, damaged, or nonsense
 *
 * What the commits of a journal make of the file is kept as a number for each page: whose bytes it has, 0 being what was there before all
 * of them. A scan's answer is put together in the same way, out of the bytes that it names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "made-journal.h"
#include "util/fail.h"

#define PAGES   32
#define COMMITS 16

/* ---- what a scan is asked, and what it has said ---- */

struct state {
	uint64_t whose[PAGES];
	uint64_t bytes;
};

struct answer {
	struct made *made;
	int error;
	struct journal_report report;
	struct scan_result result;
	struct state state;
	uint64_t commits[COMMITS], n_commits;
	struct scan_commit last;
	unsigned wrong; /* pages whose bytes are nobody's */
	uint64_t stop_at;
};

static void state_cut(struct state *state, uint64_t least)
{
	for (uint64_t page = 0; page < PAGES; page++)
		if (least <= page * page_size())
			state->whose[page] = UINT64_MAX; /* zeros */
}

static int on_commit(void *arg, const struct scan_commit *commit)
{
	struct answer *answer = arg;

	if (answer->stop_at == commit->number)
		return -ECANCELED;
	if (answer->n_commits < COMMITS)
		answer->commits[answer->n_commits++] = commit->number;
	answer->last = *commit;
	if (commit->complete)
		return 0;
	state_cut(&answer->state, commit->least_bytes);
	answer->state.bytes = commit->file_bytes;
	return 0;
}

static int on_page(void *arg, const struct scan_page *page)
{
	struct answer *answer = arg;
	const void *block = made_block(answer->made, page->block);
	uint64_t whose = made_whose(block, page->page);

	answer->wrong += whose != answer->last.number || page->page >= PAGES;
	answer->wrong += page->checksum != journal_page_checksum(answer->made->salt, page->page, block, page_size());
	if (page->page < PAGES)
		answer->state.whose[page->page] = whose;
	return 0;
}

/* The file has had commits up to complete before: state is what they have made of it. */
static void scan_from(struct made *made, const struct state *state, struct answer *answer)
{
	struct scan_visitor visitor = {.arg = answer, .commit = on_commit, .page = on_page};

	*answer = (struct answer){.made = made, .state = *state, .stop_at = answer->stop_at};
	answer->error = journal_scan(&made->pager, &made->file, NULL, NULL, &visitor, &answer->report, &answer->result);
	if (answer->error == 0 && answer->n_commits == 0)
		answer->state.bytes = answer->report.file_bytes;
	if (answer->error == 0)
		free(answer->result.segments);
	assert_int_equal(answer->wrong, 0);
	assert_int_equal(made->written, 0);
}

static void scan(struct made *made, struct answer *answer)
{
	struct state nothing = {0};

	scan_from(made, &nothing, answer);
}

static void expect_refused(struct made *made, int error, const char *text)
{
	struct answer answer = {0};

	scan(made, &answer);
	if (answer.error != -error || !strstr(answer.report.problem, text))
		print_error("answer %d, not %d: «%s» does not have «%s»\n", answer.error, -error, answer.report.problem, text);
	assert_int_equal(answer.error, -error);
	assert_non_null(strstr(answer.report.problem, text));
	assert_int_equal(answer.n_commits, 0);
}

static void expect_last(struct made *made, uint64_t last)
{
	struct answer answer = {0};

	scan(made, &answer);
	if (answer.error != 0)
		print_error("answer %d: %s\n", answer.error, answer.report.problem);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.report.last, last);
	assert_int_equal(answer.result.last, last);
	assert_string_equal(answer.report.problem, "");
}

/* ---- a journal with one of everything ---- */

/*
 *      segment 0    log 1: commits 4, 5, which are complete; 6 in two groups, and the beginning of 7
 *      segment 1    spilled pages of 6 and 7
 *      segment 2    log 2: the rest of 7, 8 without pages, cutting the file; 9
 *      segment 3    free, with what an earlier life has left
 *
 * Up to 8 all is proven to have been on stable storage.
 */
enum { FULL_SEGMENT = 24, FULL_COMPLETE = 5, FULL_PROVEN = 8, FULL_LAST = 9 };

struct full {
	struct made made;
	struct made_log log;
	struct state states[FULL_LAST + 1]; /* after each commit */
	struct group_header *groups[FULL_LAST + 1], *six_begin, *seven_begin;
	unsigned char of[4 * FULL_SEGMENT + HEADER_BLOCKS]; /* by block: which commit has it; 0: nobody */
};

static void full_mark(struct full *full, uint64_t commit, uint64_t index, uint32_t from, uint32_t to)
{
	for (uint32_t block = from; block < to; block++)
		full->of[made_segment_block(&full->made, index, block)] = (unsigned char)commit;
}

static struct group_header *full_group(struct full *full, uint32_t flags, uint64_t commit, const struct made_page *pages,
				       uint32_t n)
{
	struct made_log *log = &full->log;
	uint32_t from = log->block;
	struct group_header *header = made_group(log, flags, commit, pages, n);
	struct state *state = &full->states[commit];

	full_mark(full, commit, log->index, from, log->block);
	if (state->bytes == 0) {
		*state = full->states[commit - 1];
		state_cut(state, log->least_bytes);
	}
	for (uint32_t i = 0; i < n; i++) {
		state->whose[pages[i].page] = commit;
		if (pages[i].place)
			full->of[pages[i].place] = (unsigned char)commit;
	}
	state->bytes = log->file_bytes;
	full->groups[commit] = header;
	return header;
}

static void full_size(struct full *full, uint64_t least, uint64_t bytes)
{
	full->log.least_bytes = least;
	full->log.file_bytes = bytes;
}

static int full_new(void **state)
{
	struct full *full = calloc(1, sizeof(*full));
	uint64_t spill = HEADER_BLOCKS + FULL_SEGMENT, page = page_size();

	made_new(&full->made, FULL_SEGMENT, 4);
	full->log = (struct made_log){.made = &full->made, .index = 0, .seq = 1, .block = 1};
	made_segment(&full->made, 0, 1, 0, 0, 0, 0);
	made_segment(&full->made, 3, 99, 0, 0, 0, 0)->salt++;
	full_size(full, 10 * page, 10 * page);
	full_group(full, GROUP_COMMIT, 4, (struct made_page[]){{1, 0}, {2, 0}}, 2);
	full_group(full, GROUP_COMMIT, 5, (struct made_page[]){{2, 0}}, 1);
	made_synced(&full->log);
	full->six_begin = full_group(full, 0, 6, (struct made_page[]){{3, spill + 2}, {1, 0}}, 2);
	full_size(full, 10 * page, 12 * page);
	full_group(full, GROUP_COMMIT, 6, (struct made_page[]){{2, 0}, {11, spill}}, 2);
	made_synced(&full->log);
	full_size(full, 12 * page, 12 * page);
	full->seven_begin = full_group(full, 0, 7, (struct made_page[]){{0, 0}, {4, spill + 1}, {9, 0}}, 3);
	made_go_on(&full->log, 2, 2, 7, 6);
	full_group(full, GROUP_COMMIT, 7, (struct made_page[]){{10, 0}}, 1);
	full_size(full, 3 * page + 1, 8 * page);
	full_group(full, GROUP_COMMIT, 8, NULL, 0);
	made_synced(&full->log);
	full_size(full, 8 * page, 8 * page);
	full_group(full, GROUP_COMMIT, 9, (struct made_page[]){{5, 0}, {7, spill + 5}}, 2);
	made_header(&full->made, 0, 7, 4, 10 * page);
	made_header(&full->made, 1, 8, FULL_COMPLETE, 10 * page);
	*state = full;
	return 0;
}

static int full_free(void **state)
{
	struct full *full = *state;

	made_free(&full->made);
	free(full);
	return 0;
}

static void expect_state(const struct full *full, const struct answer *answer, uint64_t last)
{
	assert_int_equal(answer->report.last, last);
	assert_int_equal(answer->state.bytes, full->states[last].bytes);
	assert_memory_equal(answer->state.whose, full->states[last].whose, sizeof(answer->state.whose));
}

static void scan_full(struct full *full, struct answer *answer)
{
	scan_from(&full->made, &full->states[FULL_COMPLETE], answer);
}

/* ---- journals that are right ---- */

static void each_commit_is_told_with_its_pages(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};
	const uint64_t numbers[] = {6, 7, 8, 9};

	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.n_commits, 4);
	assert_memory_equal(answer.commits, numbers, sizeof(numbers));
	expect_state(full, &answer, FULL_LAST);
	assert_int_equal(answer.report.complete, FULL_COMPLETE);
	assert_int_equal(answer.report.pages, 4 + 4 + 2);
	assert_int_equal(answer.report.given_up_groups, 0);
	assert_int_equal(answer.report.torn_blocks, 0);
	assert_int_equal(answer.report.owner, 77);
	assert_false(answer.report.fresh);
}

static void the_result_says_where_the_log_goes_on(void **state)
{
	struct full *full = *state;
	struct scan_result result;

	assert_int_equal(journal_scan(&full->made.pager, NULL, NULL, NULL, NULL, NULL, &result), 0);
	assert_int_equal(result.header_block, 1);
	assert_int_equal(result.header.generation, 8);
	assert_int_equal(result.n_segments, 2);
	assert_int_equal(result.segments[0].seq, 1);
	assert_int_equal(result.segments[0].index, 0);
	assert_int_equal(result.segments[0].end, full->seven_begin->block + 3);
	assert_int_equal(result.segments[1].seq, 2);
	assert_int_equal(result.segments[1].index, 2);
	assert_int_equal(result.segments[1].end, full->log.block);
	assert_int_equal(result.file_segments, 4);
	assert_true(result.next_seq > 2 + full->made.max_segments);
	free(result.segments);
}

static void what_a_visitor_returns_ends_the_scan(void **state)
{
	struct answer answer = {.stop_at = 7};

	scan_full(*state, &answer);
	assert_int_equal(answer.error, -ECANCELED);
	assert_int_equal(answer.n_commits, 1);
}

static void a_journal_is_read_in_large_reads(void **state)
{
	struct made made;
	struct made_log log;
	uint64_t last = 0;

	(void)state;
	made_new(&made, 1024, 8);
	made_header(&made, 0, 1, 0, 0);
	for (uint64_t i = 0; i < 8; i++) {
		if (i == 0) {
			made_segment(&made, 0, 1, 0, 0, 0, 0);
			log = (struct made_log){.made = &made, .seq = 1, .block = 1, .file_bytes = PAGES * page_size()};
			log.least_bytes = log.file_bytes;
		} else {
			made_go_on(&log, i, i + 1, last, 0);
		}
		while (log.block + PAGES + 1 <= made.segment_blocks) {
			struct made_page pages[PAGES];

			for (uint64_t page = 0; page < PAGES; page++)
				pages[page] = (struct made_page){page, 0};
			made_group(&log, GROUP_COMMIT, ++last, pages, PAGES);
		}
	}
	assert_int_equal(journal_scan(&made.pager, NULL, NULL, NULL, NULL, NULL, NULL), 0);
	/* Two blocks of each segment, all of it by a MiB each, and some behind the end. */
	assert_true(made.reads <= 1 + 8 + 4 * 8 + 2);
	made_free(&made);
}

static void an_empty_file_is_no_journal_yet(void **state)
{
	struct made made;
	struct answer answer = {0};

	(void)state;
	made_new(&made, 8, 2);
	scan(&made, &answer);
	assert_int_equal(answer.error, 0);
	assert_true(answer.report.fresh && answer.result.fresh);
	for (uint64_t len = 0; len <= page_size() + 1; len += page_size() / 2) {
		made.len = len;
		scan(&made, &answer);
		assert_true(answer.error == 0 && answer.report.fresh);
	}
	made_free(&made);
}

static void a_header_that_was_never_written_as_a_whole_is_no_journal_yet(void **state)
{
	struct made made;
	struct answer answer = {0};
	char *header;

	(void)state;
	made_new(&made, 8, 1);
	header = malloc(page_size());
	memcpy(header, made_header(&made, 0, 1, 0, 0), page_size());
	/* What follows the checksum is zero in the first one. */
	for (size_t there = 0; there < offsetof(struct journal_header, durable_seq); there++) {
		memset(made.bytes, 0, page_size());
		memcpy(made.bytes, header, there);
		scan(&made, &answer);
		assert_true(answer.error == 0 && answer.report.fresh);
	}
	free(header);
	made_free(&made);
}

static void what_is_no_journal_is_not_taken_for_a_new_one(void **state)
{
	static const char poem[] =
	    "Tyger Tyger, burning bright, In the forests of the night; What immortal hand or eye, Could frame thy "
	    "fearful symmetry? In what distant deeps or skies. Burnt the fire of thine eyes?";
	struct made made;

	(void)state;
	made_new(&made, 8, 1);
	memcpy(made.bytes, poem, sizeof(poem));
	expect_refused(&made, EUCLEAN, "not a journal");
	made.len = 20;
	expect_refused(&made, EUCLEAN, "not a journal");
	made_free(&made);
}

static void a_file_that_ends_within_a_segment_is_read_to_its_end(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};

	full->made.len = made_segment_block(&full->made, 2, full->log.block) * page_size() + 5;
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	expect_state(full, &answer, FULL_LAST);
	assert_int_equal(answer.result.file_segments, 3);
}

static void the_storages_error_is_passed_on(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};

	for (uint64_t block = 0; block < full->made.len / page_size(); block++) {
		full->made.read_from = block * page_size() + 1;
		scan_full(full, &answer);
		assert_int_equal(answer.error, -EIO);
	}
}

static void memory_that_is_refused_is_an_error(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};
	int failed = 0;

	for (int64_t nth = 1;; nth++) {
		fail_arm(FAIL_ALLOC, nth, false);
		scan_full(full, &answer);
		if (atomic_load(&fail_count[FAIL_ALLOC]) == 0)
			break;
		assert_int_equal(answer.error, -ENOMEM);
		failed++;
	}
	fail_arm(FAIL_ALLOC, 0, false);
	assert_true(failed >= 4);
	assert_int_equal(answer.error, 0);
}

/* ---- which header, which file ---- */

static void the_header_of_the_higher_generation_counts(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};

	made_header(&full->made, 0, 9, 7, full->states[7].bytes);
	scan_from(&full->made, &full->states[7], &answer);
	assert_int_equal(answer.report.complete, 7);
	expect_state(full, &answer, FULL_LAST);
	full->made.bytes[20]++; /* torn: the other counts, and says less */
	scan_full(full, &answer);
	assert_int_equal(answer.report.complete, FULL_COMPLETE);
	expect_state(full, &answer, FULL_LAST);
}

static void headers_that_contradict_each_other_are_refused(void **state)
{
	struct full *full = *state;

	made_header(&full->made, 0, 8, 7, 0);
	expect_refused(&full->made, EUCLEAN, "none is the newer one");
	made_header(&full->made, 0, 9, 7, 0)->uuid[0]++;
	made_sum_header(&full->made, 0);
	expect_refused(&full->made, EUCLEAN, "two journals");
}

static void without_a_header_a_journal_is_damaged(void **state)
{
	struct full *full = *state;

	memset(full->made.bytes, 0, HEADER_BLOCKS * page_size());
	expect_refused(&full->made, EUCLEAN, "header");
}

static void the_journal_of_another_file_is_refused(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};

	full->made.file.ino++;
	expect_refused(&full->made, ESTALE, "another file");
	full->made.file.ino--;
	full->made.file.born_nsec++;
	expect_refused(&full->made, ESTALE, "born at another time");
	full->made.file.born_nsec = 0;
	full->made.file.born_sec = 0;
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	full->made.file.is_device = 1;
	expect_refused(&full->made, ESTALE, "another file");
}

static void another_version_or_page_is_refused(void **state)
{
	struct full *full = *state;
	struct journal_header *header = (struct journal_header *)full->made.bytes;

	header->version = 2;
	made_sum_header(&full->made, 0);
	expect_refused(&full->made, EPROTO, "version 2");
	made_header(&full->made, 0, 9, 5, 0)->block_bytes *= 2;
	made_sum_header(&full->made, 0);
	expect_refused(&full->made, EPROTO, "blocks of");
	memset(made_block(&full->made, 1), 0, page_size());
	header->checksum =
	    journal_block_checksum(header->salt, header, header->block_bytes, offsetof(struct journal_header, checksum));
	expect_refused(&full->made, EPROTO, "blocks of");
}

/* ---- nonsense: every field wrong in turn, with its checksum right ---- */

static void a_header_that_cannot_be_is_refused(void **state)
{
	struct full *full = *state;
	struct journal_header *header = (struct journal_header *)made_block(&full->made, 1);
	struct journal_header right = *header;

#define WRONG(field, value)                                                                                                        \
	do {                                                                                                                       \
		*header = right;                                                                                                   \
		header->field = (value);                                                                                           \
		made_sum_header(&full->made, 1);                                                                                   \
		expect_refused(&full->made, EUCLEAN, "header");                                                                    \
	} while (0)

	WRONG(segment_blocks, 0);
	WRONG(segment_blocks, 1);
	WRONG(max_segments, 0);
	WRONG(file.is_device, 2);
	WRONG(durable_seq, 1);
	WRONG(durable_block, 1);
	WRONG(complete_bytes, UINT64_MAX);
	WRONG(generation, 0);
#undef WRONG
	*header = right;
	header->max_segments = header->segment_blocks = UINT32_MAX;
	made_sum_header(&full->made, 1);
	expect_refused(&full->made, EUCLEAN, "more room");
}

static void a_segment_that_cannot_be_is_refused(void **state)
{
	struct full *full = *state;
	struct segment_header *header = (struct segment_header *)made_block(&full->made, made_segment_block(&full->made, 2, 0));
	struct segment_header right = *header;

#define WRONG(field, value, text)                                                                                                  \
	do {                                                                                                                       \
		*header = right;                                                                                                   \
		header->field = (value);                                                                                           \
		made_sum_segment(&full->made, 2);                                                                                  \
		expect_refused(&full->made, EUCLEAN, text);                                                                        \
	} while (0)

	WRONG(seq, 0, "cannot be");
	WRONG(seq, 1, "cannot be");
	WRONG(seq, UINT64_MAX, "cannot be");
	WRONG(previous, 2, "cannot be");
	WRONG(previous, 3, "cannot be");
	WRONG(previous_end, 0, "cannot be");
	WRONG(previous_end, FULL_SEGMENT + 1, "cannot be");
	WRONG(durable, FULL_LAST + 1, "were on stable storage");
	*header = right;
	header->previous = 0;
	header->seq = 1;
	made_sum_segment(&full->made, 2);
	expect_refused(&full->made, EUCLEAN, "same number");
#undef WRONG
}

/* Each of a group's fields, of a group in the middle. */
static void a_group_that_cannot_be_is_refused(void **state)
{
	struct full *full = *state;
	struct group_header *header = full->groups[6];
	struct group_entry *entry = (struct group_entry *)(header + 1);
	struct group_header right = *header;
	struct group_entry first = entry[0], second = entry[1];

#define WRONG(field, value, text)                                                                                                  \
	do {                                                                                                                       \
		*header = right;                                                                                                   \
		entry[0] = first;                                                                                                  \
		entry[1] = second;                                                                                                 \
		header->field = (value);                                                                                           \
		made_sum_group(&full->made, header);                                                                               \
		expect_refused(&full->made, EUCLEAN, text);                                                                        \
	} while (0)
#define WRONG_ENTRY(i, field, value, text)                                                                                         \
	do {                                                                                                                       \
		*header = right;                                                                                                   \
		entry[0] = first;                                                                                                  \
		entry[1] = second;                                                                                                 \
		entry[i].field = (value);                                                                                          \
		made_sum_group(&full->made, header);                                                                               \
		expect_refused(&full->made, EUCLEAN, text);                                                                        \
	} while (0)

	WRONG(magic, 0, "not valid");
	WRONG(salt, 1, "not valid");
	WRONG(seq, 2, "not valid");
	WRONG(block, right.block + 1, "not valid");
	WRONG(flags, 0, "follows");
	WRONG(flags, 32 | GROUP_COMMIT, "unknown flags");
	WRONG(flags, GROUP_COMMIT | GROUP_PREPARED, "unknown flags");
	WRONG(flags, GROUP_PREPARED, "nobody decides");
	WRONG(flags, GROUP_DECIDED, "a decision with pages");
	WRONG(flags, GROUP_GIVEN_UP | GROUP_COMMIT, "unknown flags");
	WRONG(flags, GROUP_COMMIT | GROUP_PARTIES, "parties in another place");
	WRONG(commit, 0, "no number");
	WRONG(commit, 5, "follows");
	WRONG(commit, 7, "follows");
	WRONG(commit, UINT64_MAX, "no number");
	WRONG(file_bytes, UINT64_MAX, "size");
	WRONG(file_bytes, 11 * page_size(), "behind the end of the file");
	WRONG(least_bytes, right.file_bytes + 1, "size");
	WRONG(durable_seq, 2, "durable place");
	WRONG(durable_seq, 0, "durable place");
	WRONG(durable_block, right.block + 1, "durable place");
	WRONG(durable_block, 0, "durable place");
	WRONG(entries, UINT32_MAX, "more pages");
	WRONG(entries, group_most((uint32_t)page_size()) + 1, "more pages");
	WRONG(entries, 100, "outside of its segment");
	WRONG(entries, 0, "not valid"); /* then the next begins in its page */
	WRONG_ENTRY(0, page, UINT64_MAX, "behind the end of the file");
	WRONG_ENTRY(0, page, UINT64_MAX / page_size() + 1, "behind the end of the file");
	WRONG_ENTRY(0, page, 12, "behind the end of the file");
	WRONG_ENTRY(0, page, 11, "not valid"); /* the checksum is that of another page */
	WRONG_ENTRY(0, checksum, 0, "not valid");
	WRONG_ENTRY(1, place, 1, "cannot be");
	WRONG_ENTRY(1, place, made_segment_block(&full->made, 0, 2), "cannot be");
	WRONG_ENTRY(1, place, made_segment_block(&full->made, 2, 0), "cannot be");
	WRONG_ENTRY(1, place, made_segment_block(&full->made, 4, 0), "cannot be");
	WRONG_ENTRY(1, place, UINT64_MAX, "cannot be");
	WRONG_ENTRY(1, place, made_segment_block(&full->made, 1, 1), "not valid");
#undef WRONG
#undef WRONG_ENTRY
}

static void a_page_that_a_commit_names_twice_is_refused(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;

	made_group(&log, 0, 10, (struct made_page[]){{4, 0}, {5, 0}}, 2);
	made_group(&log, GROUP_COMMIT, 10, (struct made_page[]){{1, 0}, {5, 0}}, 2);
	expect_refused(&full->made, EUCLEAN, "twice");
}

static void a_page_behind_the_end_that_the_commit_leaves_is_refused(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;

	made_group(&log, 0, 10, (struct made_page[]){{7, 0}}, 1);
	log.file_bytes = log.least_bytes = 7 * page_size();
	made_group(&log, GROUP_COMMIT, 10, NULL, 0);
	expect_refused(&full->made, EUCLEAN, "behind the end of the file");
}

/* ---- torn, and damaged ---- */

static void what_a_crash_left_of_the_last_group_does_not_count(void **state)
{
	struct full *full = *state;
	uint32_t begin = full->groups[9]->block, end = full->log.block;
	struct answer answer = {0};

	for (uint32_t block = begin; block < end; block++)
		for (int how = 0; how < 3; how++) {
			char *at = made_block(&full->made, made_segment_block(&full->made, 2, block));
			char *kept = malloc(page_size());

			memcpy(kept, at, page_size());
			if (how == 0)
				memset(at, 0, page_size());
			else if (how == 1)
				memset(at + 512, 0xa5, page_size() - 512);
			else
				memset(at, 0xa5, 512);
			scan_full(full, &answer);
			assert_int_equal(answer.error, 0);
			expect_state(full, &answer, 8);
			memcpy(at, kept, page_size());
			free(kept);
		}
	scan_full(full, &answer);
	expect_state(full, &answer, 9);
}

static void a_commit_without_its_last_group_does_not_count(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;
	struct answer answer = {0};

	made_synced(&log);
	made_group(&log, 0, 10, (struct made_page[]){{4, 0}, {5, 0}}, 2);
	made_group(&log, 0, 10, (struct made_page[]){{1, 0}}, 1);
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	expect_state(full, &answer, 9);
	assert_int_equal(answer.report.given_up_groups, 2);
}

/* Every combination of blocks of what came after the last sync may have been lost. */
static void any_part_of_what_was_not_synced_may_be_lost(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;
	uint32_t begin = log.block;
	struct answer answer = {0};
	uint32_t blocks;
	char *kept;

	made_synced(&log);
	log.made = &full->made;
	made_group(&log, GROUP_COMMIT, 10, (struct made_page[]){{1, 0}, {2, 0}}, 2);
	made_group(&log, 0, 11, (struct made_page[]){{1, 0}}, 1);
	made_group(&log, GROUP_COMMIT, 11, (struct made_page[]){{2, 0}}, 1);
	made_group(&log, GROUP_COMMIT, 12, (struct made_page[]){{0, 0}}, 1);
	blocks = log.block - begin;
	kept = malloc(blocks * page_size());
	memcpy(kept, made_block(&full->made, made_segment_block(&full->made, 2, begin)), blocks * page_size());
	for (uint32_t lost = 0; lost < 1u << blocks; lost++) {
		uint64_t last = (lost & 7) ? 9 : (lost & 0x78) ? 10 : (lost & 0x180) ? 11 : 12;

		for (uint32_t i = 0; i < blocks; i++) {
			char *at = made_block(&full->made, made_segment_block(&full->made, 2, begin + i));

			memcpy(at, kept + i * page_size(), page_size());
			if (lost >> i & 1)
				memset(at, 0, page_size());
		}
		scan_full(full, &answer);
		assert_int_equal(answer.error, 0);
		assert_int_equal(answer.report.last, last);
	}
	assert_int_equal(blocks, 9);
	free(kept);
}

static void what_was_on_stable_storage_and_is_not_valid_is_damage(void **state)
{
	struct full *full = *state;

	for (uint64_t block = 0; block < sizeof(full->of); block++) {
		char *at = made_block(&full->made, block);
		struct answer answer = {0};

		if (full->of[block] == 0)
			continue;
		at[4000]++;
		scan_full(full, &answer);
		at[4000]--;
		if (full->of[block] == FULL_LAST) {
			assert_int_equal(answer.error, 0);
			expect_state(full, &answer, FULL_LAST - 1);
		} else {
			assert_int_equal(answer.error, -EUCLEAN);
			assert_non_null(strstr(answer.report.problem, "damaged"));
		}
	}
}

static void what_the_header_says_was_on_stable_storage_is_believed_as_far_as_it_is_there(void **state)
{
	struct full *full = *state;
	struct journal_header *header = (struct journal_header *)made_block(&full->made, 1);
	struct answer answer = {0};
	uint64_t block = 0;

	header->durable_seq = full->log.seq;
	header->durable_block = full->log.block;
	made_sum_header(&full->made, 1);
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	expect_state(full, &answer, FULL_LAST);
	assert_int_equal(answer.result.durable_seq, full->log.seq);
	assert_int_equal(answer.result.durable_block, full->log.block);
	assert_int_equal(answer.result.durable_commit, FULL_LAST);
	/* It may have been given up since, and be half overwritten. */
	while (full->of[block] != FULL_LAST)
		block++;
	made_block(&full->made, block)[4000]++;
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	expect_state(full, &answer, FULL_LAST - 1);
	assert_true(answer.result.durable_commit < FULL_LAST);
}

static void a_segment_that_lost_its_header_is_damage(void **state)
{
	struct full *full = *state;

	made_block(&full->made, made_segment_block(&full->made, 2, 0))[100]++;
	expect_refused(&full->made, EUCLEAN, "stable storage");
	made_block(&full->made, made_segment_block(&full->made, 2, 0))[100]--;
	made_block(&full->made, made_segment_block(&full->made, 0, 0))[100]++;
	expect_refused(&full->made, EUCLEAN, "stable storage");
}

static void commits_that_do_not_follow_complete_are_a_hole(void **state)
{
	struct full *full = *state;

	made_header(&full->made, 1, 8, 2, 0);
	expect_refused(&full->made, EUCLEAN, "commit 4 follows commit 2");
}

static void a_hole_in_the_numbers_is_damage(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;

	made_group(&log, GROUP_COMMIT, 11, NULL, 0);
	expect_refused(&full->made, EUCLEAN, "commit 11 follows commit 9");
}

/* ---- segments ---- */

static void a_segment_that_is_not_needed_may_be_overwritten(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};

	made_header(&full->made, 0, 9, 7, full->states[7].bytes);
	for (uint32_t block = 1; block < FULL_SEGMENT; block++) {
		memset(made_block(&full->made, made_segment_block(&full->made, 0, block)), 0xee, page_size());
		scan_from(&full->made, &full->states[7], &answer);
		assert_int_equal(answer.error, 0);
		expect_state(full, &answer, FULL_LAST);
		assert_int_equal(answer.result.n_segments, 1);
	}
	memset(made_block(&full->made, made_segment_block(&full->made, 0, 0)), 0xee, page_size());
	scan_from(&full->made, &full->states[7], &answer);
	assert_int_equal(answer.error, 0);
	expect_state(full, &answer, FULL_LAST);
}

/* Two segments were begun between two syncs: any of their blocks may be missing. */
static void any_of_several_new_segments_may_be_lost(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;
	struct answer answer = {0};
	char *kept;

	full->made.len += 2 * FULL_SEGMENT * page_size();
	full->made.bytes = realloc(full->made.bytes, full->made.len);
	full->made.max_segments = 6;
	memset(made_block(&full->made, made_segment_block(&full->made, 3, 0)), 0, 3 * FULL_SEGMENT * page_size());
	made_header(&full->made, 0, 9, FULL_COMPLETE, 10 * page_size());
	made_synced(&log);
	made_group(&log, 0, 10, (struct made_page[]){{0, 0}}, 1);
	made_go_on(&log, 3, 3, 10, 9);
	made_group(&log, 0, 10, (struct made_page[]){{1, 0}}, 1);
	made_go_on(&log, 4, 4, 10, 9);
	made_group(&log, 0, 10, (struct made_page[]){{2, 0}}, 1);
	made_go_on(&log, 5, 5, 10, 9);
	made_group(&log, GROUP_COMMIT, 10, (struct made_page[]){{3, 0}}, 1);
	kept = malloc(full->made.len);
	memcpy(kept, full->made.bytes, full->made.len);
	for (unsigned lost = 0; lost < 1u << 9; lost++) {
		memcpy(full->made.bytes, kept, full->made.len);
		for (unsigned i = 0; i < 9; i++)
			if (lost >> i & 1)
				memset(made_block(&full->made, made_segment_block(&full->made, 3 + i / 3, i % 3)), 0, page_size());
		scan_full(full, &answer);
		assert_int_equal(answer.error, 0);
		assert_int_equal(answer.report.last, lost == 0 ? 10 : 9);
		if (lost)
			expect_state(full, &answer, 9);
		assert_true(answer.result.next_seq > 5);
	}
	/* One that is synced proves the others. */
	memcpy(full->made.bytes, kept, full->made.len);
	made_synced(&log);
	made_group(&log, GROUP_COMMIT, 11, NULL, 0);
	for (unsigned i = 0; i < 9; i++) {
		char *at = made_block(&full->made, made_segment_block(&full->made, 3 + i / 3, i % 3));

		at[77]++;
		scan_full(full, &answer);
		at[77]--;
		assert_int_equal(answer.error, -EUCLEAN);
	}
	free(kept);
}

static void a_log_that_was_cut_goes_on_behind_the_cut(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log, cut = log;
	struct answer answer = {0};

	/* 10 was written and its sync failed; the log goes on in segment 3, and 10 is another one there. */
	made_group(&log, GROUP_COMMIT, 10, (struct made_page[]){{0, 0}, {1, 0}}, 2);
	made_go_on(&cut, 3, 9, 9, 9);
	made_group(&cut, GROUP_COMMIT, 10, (struct made_page[]){{2, 0}}, 1);
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.report.last, 10);
	assert_int_equal(answer.report.pages, 4 + 4 + 2 + 1);
	assert_int_equal(answer.state.whose[0], full->states[9].whose[0]);
	assert_int_equal(answer.state.whose[2], 10);
}

/* Segments of which nothing counts, behind the end: the headers that end the log. */
static void those_that_end_the_log_are_told(void **state)
{
	struct full *full = *state;
	struct made_log log = full->log;
	struct scan_result result;

	made_group(&log, 0, 10, (struct made_page[]){{0, 0}}, 1);
	made_go_on(&log, 3, 9, 10, 9);
	made_group(&log, 0, 10, (struct made_page[]){{1, 0}}, 1);
	assert_int_equal(journal_scan(&full->made.pager, NULL, NULL, NULL, NULL, NULL, &result), 0);
	assert_int_equal(result.n_segments, 2);
	assert_int_equal(result.segments[1].end, full->log.block);
	assert_int_equal(result.n_cut, 1);
	assert_int_equal(result.segments[2].seq, 9);
	assert_int_equal(result.segments[2].index, 3);
	assert_true(result.next_seq > 9);
	free(result.segments);
}

/* Its header was on stable storage before the file's header could say so. */
static void a_segment_without_header_is_none_whatever_is_complete(void **state)
{
	struct full *full = *state;

	made_synced(&full->log);
	made_go_on(&full->log, 3, 9, 9, 9);
	made_group(&full->log, GROUP_COMMIT, 10, NULL, 0);
	made_block(&full->made, made_segment_block(&full->made, 3, 0))[3]++;
	expect_last(&full->made, 9);
	made_header(&full->made, 0, 9, 10, 8 * page_size());
	/* After a failure a number is used again: that of a commit which is complete may be in a group that never was on storage. */
	expect_last(&full->made, 10);
	/* A decision is about an older commit, and may have come to storage without the header of its segment. */
	full->log.block = 1;
	made_group(&full->log, GROUP_DECIDED, 10, NULL, 0);
	expect_last(&full->made, 10);
}

static void an_empty_segment_proves_the_commits_before_it(void **state)
{
	struct full *full = *state;

	made_go_on(&full->log, 3, 9, 9, 9);
	expect_last(&full->made, 9);
	made_block(&full->made, made_segment_block(&full->made, 2, 3))[1]++;
	expect_refused(&full->made, EUCLEAN, "damaged");
	made_block(&full->made, made_segment_block(&full->made, 2, 3))[1]--;
	made_block(&full->made, made_segment_block(&full->made, 2, 0))[1]++;
	expect_refused(&full->made, EUCLEAN, "were on stable storage and are not there");
}

/* ---- several journals ---- */

struct question {
	unsigned asked;
	int error;
	bool answer;
	uint64_t unit[2], number;
	char name[32];
};

static int on_question(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct question *question = arg;

	question->asked++;
	memcpy(question->unit, unit, sizeof(question->unit));
	question->number = party->commit;
	snprintf(question->name, sizeof(question->name), "%s", name);
	*ret = question->answer;
	return question->error;
}

/* Commit 10 of the journal is prepared, and /decider decides. */
static void prepare(struct full *full, struct made_log *log)
{
	struct journal_party party = {.uuid = {9}, .commit = 33};
	void *parties = made_parties(1, &party, &(const char *){"/decider"});

	*log = full->log;
	log->unit[0] = 123;
	log->unit[1] = 456;
	log->parties = parties;
	made_group(log, GROUP_PREPARED | GROUP_PARTIES, 10, (struct made_page[]){{0, 0}}, 1);
	log->unit[0] = log->unit[1] = 0;
	log->parties = NULL;
	free(parties);
}

static int scan_asking(struct full *full, struct question *question, struct answer *answer, struct scan_result *ret)
{
	struct scan_visitor visitor = {.arg = answer, .commit = on_commit, .page = on_page};

	*answer = (struct answer){.made = &full->made};
	question->asked = 0;
	return journal_scan(&full->made.pager, NULL, on_question, question, &visitor, &answer->report, ret);
}

static void one_in_doubt_is_asked_for(void **state)
{
	struct full *full = *state;
	struct made_log log;
	struct question question = {.answer = true};
	struct answer answer;
	struct scan_result result;

	prepare(full, &log);
	assert_int_equal(scan_asking(full, &question, &answer, &result), 0);
	assert_int_equal(question.asked, 1);
	assert_int_equal(question.unit[0], 123);
	assert_int_equal(question.unit[1], 456);
	assert_int_equal(question.number, 33);
	assert_string_equal(question.name, "/decider");
	assert_int_equal(answer.report.in_doubt, 1);
	assert_int_equal(answer.report.last, 10);
	assert_int_equal(answer.last.number, 10);
	assert_int_equal(answer.last.pages, 1);
	assert_true(answer.last.prepared && !answer.last.decided);
	assert_int_equal(result.segments[1].end, log.block);
	free(result.segments);

	question.answer = false;
	assert_int_equal(scan_asking(full, &question, &answer, &result), 0);
	assert_int_equal(answer.report.last, 9);
	assert_int_equal(result.last, 9);
	assert_int_equal(result.segments[1].end, full->log.block);
	free(result.segments);

	question.error = -ENOENT;
	assert_int_equal(scan_asking(full, &question, &answer, &result), -ENOENT);
}

static void nobody_asked_means_that_it_does_not_count(void **state)
{
	struct full *full = *state;
	struct made_log log;
	struct answer answer = {0};

	prepare(full, &log);
	scan_full(full, &answer);
	assert_int_equal(answer.error, 0);
	assert_int_equal(answer.report.in_doubt, 1);
	expect_state(full, &answer, 9);
}

static void a_decision_in_the_log_is_not_asked_for(void **state)
{
	struct full *full = *state;
	struct made_log log;
	struct question question = {0};
	struct answer answer;

	prepare(full, &log);
	made_group(&log, GROUP_DECIDED, 10, NULL, 0);
	made_group(&log, GROUP_COMMIT, 11, (struct made_page[]){{0, 0}}, 1);
	assert_int_equal(scan_asking(full, &question, &answer, NULL), 0);
	assert_int_equal(question.asked, 0);
	assert_int_equal(answer.report.last, 11);
	assert_int_equal(answer.report.in_doubt, 0);
	assert_int_equal(answer.commits[answer.n_commits - 2], 10);
}

static void one_that_was_given_up_does_not_count_and_its_number_may_come_again(void **state)
{
	struct full *full = *state;
	struct question question = {0};
	struct made_log log, again;
	struct answer answer;

	prepare(full, &log);
	made_group(&log, GROUP_GIVEN_UP, 10, NULL, 0);
	assert_int_equal(scan_asking(full, &question, &answer, NULL), 0);
	assert_int_equal(answer.report.last, 9);
	again = log;
	made_group(&again, GROUP_COMMIT, 11, (struct made_page[]){{1, 0}}, 1);
	assert_int_equal(scan_asking(full, &question, &answer, NULL), 0);
	assert_int_equal(answer.report.last, 11);
	again = log;
	made_group(&again, GROUP_COMMIT, 10, (struct made_page[]){{1, 0}}, 1);
	assert_int_equal(scan_asking(full, &question, &answer, NULL), 0);
	assert_int_equal(answer.report.last, 10);
	assert_int_equal(answer.n_commits, 5);
	assert_false(answer.last.prepared);
	assert_int_equal(question.asked, 0);
	made_group(&again, GROUP_DECIDED, 10, NULL, 0);
	assert_int_equal(scan_asking(full, &question, &answer, NULL), -EUCLEAN);
}

static void what_it_had_spilled_may_be_gone_then(void **state)
{
	struct full *full = *state;
	uint64_t place = made_segment_block(&full->made, 1, 9);
	struct journal_party party = {.uuid = {9}};
	void *parties = made_parties(1, &party, &(const char *){"/decider"});
	struct question question = {0};
	struct made_log log = full->log;
	struct answer answer;

	log.parties = parties;
	made_group(&log, GROUP_PREPARED | GROUP_PARTIES, 10, (struct made_page[]){{0, place}}, 1);
	made_synced(&log);
	made_group(&log, GROUP_GIVEN_UP, 10, NULL, 0);
	made_block(&full->made, place)[8]++;
	assert_int_equal(scan_asking(full, &question, &answer, NULL), 0);
	assert_int_equal(answer.report.last, 9);
	/* It is the decision that matters. */
	log.block--;
	made_group(&log, GROUP_DECIDED, 10, NULL, 0);
	made_synced(&log);
	made_group(&log, GROUP_COMMIT, 11, NULL, 0);
	assert_int_equal(scan_asking(full, &question, &answer, NULL), -EUCLEAN);
	free(parties);
}

static int count_commit(void *arg, const struct scan_commit *commit)
{
	unsigned *seen = arg;

	if (commit->complete) {
		seen[0]++;
		assert_non_null(commit->parties);
		assert_int_equal(commit->unit[0], 5);
		assert_int_equal(commit->pages, 0);
	} else {
		seen[1]++;
	}
	return 0;
}

static void decisions_that_are_complete_are_told_who_wants_them(void **state)
{
	struct full *full = *state;
	struct journal_party party = {.uuid = {9}, .commit = 33};
	void *parties = made_parties(1, &party, &(const char *){"/other"});
	struct made_log log = full->log;
	unsigned seen[2] = {0};
	struct scan_visitor visitor = {.arg = seen, .commit = count_commit};

	log.unit[0] = 5;
	log.parties = parties;
	made_group(&log, GROUP_COMMIT | GROUP_PARTIES, 10, (struct made_page[]){{0, 0}}, 1);
	log.unit[0] = 0;
	made_go_on(&log, 3, 9, 10, 10);
	made_group(&log, GROUP_COMMIT, 11, (struct made_page[]){{0, 0}}, 1);
	for (uint64_t complete = 10; complete <= 11; complete++) {
		made_header(&full->made, 0, 9 + complete, complete, page_size());
		memset(seen, 0, sizeof(seen));
		visitor.with_complete = true;
		assert_int_equal(journal_scan(&full->made.pager, NULL, NULL, NULL, &visitor, NULL, NULL), 0);
		assert_int_equal(seen[0], 1);
		assert_int_equal(seen[1], 11 - complete);
		visitor.with_complete = false;
		assert_int_equal(journal_scan(&full->made.pager, NULL, NULL, NULL, &visitor, NULL, NULL), 0);
		assert_int_equal(seen[0], 1);
	}
	free(parties);
}

static void parties_that_cannot_be_are_refused(void **state)
{
	struct full *full = *state;
	struct made_log log;
	struct group_header *header =
	    (struct group_header *)made_block(&full->made, made_segment_block(&full->made, 2, full->log.block));
	struct group_entry *entry = (struct group_entry *)(header + 1);
	char *block = (char *)header + page_size();
	struct journal_parties *parties = (struct journal_parties *)block;
	struct journal_party *party = (struct journal_party *)(parties + 1);
	uint32_t wrong[] = {0, 9, UINT32_MAX, (uint32_t)(page_size() - 39)};

	for (unsigned i = 0; i < 9; i++) {
		prepare(full, &log);
		if (i < 4)
			party->length = wrong[i];
		else if (i < 8)
			parties->count = (uint32_t[]){0, 2, UINT32_MAX, 1000}[i - 4];
		else
			((char *)(party + 1))[3] = 0;
		if (i == 1)
			party->length = (uint32_t)page_size();
		entry->checksum = journal_page_checksum(full->made.salt, PARTIES_PAGE, block, page_size());
		made_sum_group(&full->made, header);
		expect_refused(&full->made, EUCLEAN, "parties");
	}
}

/* ---- bits ---- */

/*
 * Whatever a single bit does: the answer is exact, or it is a refusal, or it lacks commits that nothing can prove to have been
 * there, and then the bit was in the first of those.
 */
static void no_bit_that_flips_makes_other_bytes(void **state)
{
	struct full *full = *state;
	struct answer answer = {0};
	unsigned exact = 0, refused = 0, fewer = 0;

	for (uint64_t at = 0; at < full->made.len; at++) {
		uint64_t block = at / page_size(), within = at % page_size();
		unsigned char of = full->of[block];

		/* The middle of pages is all alike. */
		if (within >= 2 * sizeof(struct group_header) && within < page_size() - 8 && at % 61 != 0)
			continue;
		full->made.bytes[at] ^= (char)(1 << at % 8);
		scan_full(full, &answer);
		full->made.bytes[at] ^= (char)(1 << at % 8);
		if (answer.error != 0) {
			assert_true(answer.error == -EUCLEAN || answer.error == -EPROTO || answer.error == -ESTALE);
			assert_true(of != FULL_LAST);
			refused++;
		} else if (answer.report.last == FULL_LAST) {
			assert_true(of == 0);
			expect_state(full, &answer, FULL_LAST);
			exact++;
		} else {
			assert_int_equal(of, FULL_LAST);
			assert_int_equal(answer.report.last, FULL_PROVEN);
			expect_state(full, &answer, FULL_PROVEN);
			fewer++;
		}
	}
	assert_true(exact > 0 && refused > 0 && fewer > 0);
}

/* ---- looking ---- */

static void check_says_what_is_wrong(void **state)
{
	struct full *full = *state;
	struct journal_report report;
	struct made file;

	made_new(&file, 8, 1);
	file.len = 0;
	assert_int_equal(journal_check(&file.pager, &full->made.pager, &full->made.file, &report), 0);
	assert_string_equal(report.problem, "");
	assert_int_equal(report.last, FULL_LAST);
	full->made.file.ino++;
	assert_int_equal(journal_check(&file.pager, &full->made.pager, &full->made.file, &report), 0);
	assert_non_null(strstr(report.problem, "another file"));
	made_block(&full->made, 3)[0]++;
	assert_int_equal(journal_check(&file.pager, &full->made.pager, NULL, &report), 0);
	assert_non_null(strstr(report.problem, "damaged"));
	made_block(&full->made, 3)[0]--;
	made_header(&full->made, 0, 20, FULL_LAST, 8 * page_size());
	assert_int_equal(journal_check(&file.pager, &full->made.pager, NULL, &report), 0);
	assert_non_null(strstr(report.problem, "the file has 0 bytes"));
	full->made.read_from = 1;
	assert_int_equal(journal_check(&file.pager, &full->made.pager, NULL, &report), -EIO);
	made_free(&file);
}

#define FULL(test) cmocka_unit_test_setup_teardown(test, full_new, full_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    FULL(each_commit_is_told_with_its_pages),
	    FULL(the_result_says_where_the_log_goes_on),
	    FULL(what_a_visitor_returns_ends_the_scan),
	    cmocka_unit_test(a_journal_is_read_in_large_reads),
	    cmocka_unit_test(an_empty_file_is_no_journal_yet),
	    cmocka_unit_test(a_header_that_was_never_written_as_a_whole_is_no_journal_yet),
	    cmocka_unit_test(what_is_no_journal_is_not_taken_for_a_new_one),
	    FULL(a_file_that_ends_within_a_segment_is_read_to_its_end),
	    FULL(the_storages_error_is_passed_on),
	    FULL(memory_that_is_refused_is_an_error),
	    FULL(the_header_of_the_higher_generation_counts),
	    FULL(headers_that_contradict_each_other_are_refused),
	    FULL(without_a_header_a_journal_is_damaged),
	    FULL(the_journal_of_another_file_is_refused),
	    FULL(another_version_or_page_is_refused),
	    FULL(a_header_that_cannot_be_is_refused),
	    FULL(a_segment_that_cannot_be_is_refused),
	    FULL(a_group_that_cannot_be_is_refused),
	    FULL(a_page_that_a_commit_names_twice_is_refused),
	    FULL(a_page_behind_the_end_that_the_commit_leaves_is_refused),
	    FULL(what_a_crash_left_of_the_last_group_does_not_count),
	    FULL(a_commit_without_its_last_group_does_not_count),
	    FULL(any_part_of_what_was_not_synced_may_be_lost),
	    FULL(what_was_on_stable_storage_and_is_not_valid_is_damage),
	    FULL(what_the_header_says_was_on_stable_storage_is_believed_as_far_as_it_is_there),
	    FULL(a_segment_that_lost_its_header_is_damage),
	    FULL(commits_that_do_not_follow_complete_are_a_hole),
	    FULL(a_hole_in_the_numbers_is_damage),
	    FULL(a_segment_that_is_not_needed_may_be_overwritten),
	    FULL(any_of_several_new_segments_may_be_lost),
	    FULL(a_log_that_was_cut_goes_on_behind_the_cut),
	    FULL(those_that_end_the_log_are_told),
	    FULL(a_segment_without_header_is_none_whatever_is_complete),
	    FULL(an_empty_segment_proves_the_commits_before_it),
	    FULL(one_in_doubt_is_asked_for),
	    FULL(nobody_asked_means_that_it_does_not_count),
	    FULL(a_decision_in_the_log_is_not_asked_for),
	    FULL(one_that_was_given_up_does_not_count_and_its_number_may_come_again),
	    FULL(what_it_had_spilled_may_be_gone_then),
	    FULL(decisions_that_are_complete_are_told_who_wants_them),
	    FULL(parties_that_cannot_be_are_refused),
	    FULL(no_bit_that_flips_makes_other_bytes),
	    FULL(check_says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
