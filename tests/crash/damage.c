/* SPDX-License-Identifier: MIT */
/*
 * damage.c - a journal that was damaged, cut off, or is not the file's: it is refused with the errno that is documented, and nothing is
 * written then; or what it gives is what some commit has made the file
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "image.h"
#include "journal/journal.h"
#include "judge.h"
#include "sys/page_size.h"

enum { COMMITS = 6, FILE_PAGES = 8, SEGMENT_BLOCKS = 8, SEGMENTS = 12 };

/* A file and its journal as a program has left them, and what the file was after each commit. */
static struct image file_image, log_image;
static struct content states[COMMITS + 1];
static const struct journal_identity identity = {.ino = 7, .born_sec = 11};

static struct history history;
static struct disk file, the_log;
static struct arena arena;

static struct journal_settings settings(void)
{
	return (struct journal_settings){.max_bytes = (HEADER_BLOCKS + SEGMENTS * SEGMENT_BLOCKS) * page_size(),
					 .segment_blocks = SEGMENT_BLOCKS,
					 .group_pages = 3,
					 .groups = 2,
					 .file = identity,
					 .owner = 1,
					 .arena = &arena};
}

static int open_journal(struct journal_report *report, struct journal **ret)
{
	struct journal_settings s = settings();

	return journal_open(&file.pager, &the_log.pager, &s, NULL, NULL, report, ret);
}

/* ---- making one ---- */

static void commit(struct journal *journal, unsigned number)
{
	struct journal_commit *c;
	unsigned first = number % 3, end = first + 5;

	states[number] = states[number - 1];
	/* One page is spilled, the others come along. */
	for (unsigned p = first; p < end; p++)
		states[number].pages[p] = (struct leaf){number << 8 | p, (uint32_t)page_size()};
	for (unsigned p = end - 1; p < end; p++) {
		unsigned char *bytes = file_buffer();

		leaf_fill(states[number].pages[p], bytes);
		assert_int_equal(transfer(journal_pager(journal), PAGER_WRITE, p * page_size(), bytes, page_size(), NULL), 0);
		free(bytes);
	}
	assert_int_equal(journal_commit_begin(journal, end - first, &c), 0);
	for (unsigned p = first; p < end - 1; p++) {
		unsigned one = 1;

		leaf_fill(states[number].pages[p], journal_commit_room(c, &one));
		journal_commit_add(c, p, 1);
	}
	assert_int_equal(journal_commit_spilled(c, 0, FILE_PAGES), 0);
	journal_commit_hand_over(&c, 1, false);
	assert_int_equal(journal_commit_wait(&c, 1), 0);
}

static void keep(struct image *image, const struct disk *disk)
{
	image->bytes = malloc(disk->size);
	image->size = disk->size;
	memcpy(image->bytes, disk->bytes, disk->size);
}

/* Six commits, of which the first two are in the file; nobody has closed it. */
static int make(void **state)
{
	struct journal *journal;
	bool empty;

	(void)state;
	disk_make(&file, &history, NULL);
	disk_make(&the_log, &history, NULL);
	states[0].bytes = FILE_PAGES * page_size();
	assert_int_equal(file.pager.ops->resize(&file.pager, states[0].bytes), 0);
	assert_int_equal(open_journal(NULL, &journal), 0);
	for (unsigned i = 1; i <= COMMITS; i++) {
		commit(journal, i);
		if (i == 2)
			assert_int_equal(journal_checkpoint(journal), 0);
	}
	keep(&file_image, &file);
	keep(&log_image, &the_log);
	file.dead = the_log.dead = true;
	journal_close(journal, false, &empty);
	file.dead = the_log.dead = false;
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	assert_int_equal(arena.used_bytes, 0);
	arena_done(&arena);
	disk_done(&file);
	disk_done(&the_log);
	free(file_image.bytes);
	free(log_image.bytes);
	return 0;
}

/* ---- asking ---- */

static int restore(void **state)
{
	(void)state;
	disk_set(&file, file_image.bytes, file_image.size);
	disk_set(&the_log, log_image.bytes, log_image.size);
	return 0;
}

/* The number of the commit that the file is, by its journal. -1: none. */
static int which_state(struct pager *pager)
{
	unsigned char *bytes = file_buffer();
	struct rng rng = {1};
	char why[WHY_MAX];
	uint64_t size;
	int found = -1;

	if (read_file(pager, &rng, bytes, &size, why) == 0) {
		for (int i = 0; i <= COMMITS; i++) {
			if (is_content(&states[i], bytes, size, NULL))
				found = i;
		}
	}
	free(bytes);
	return found;
}

/* => the commit that is found, or -errno. Nothing is written where it is refused, and journal_check says the same. */
static int ask(void)
{
	uint64_t writes = the_log.writes + file.writes, syncs = the_log.syncs + file.syncs;
	struct journal_report report, checked;
	struct journal *journal;
	bool empty;
	int r, found;

	assert_int_equal(journal_check(&file.pager, &the_log.pager, &identity, &checked), 0);
	assert_true(the_log.writes + file.writes == writes && the_log.syncs + file.syncs == syncs);
	r = open_journal(&report, &journal);
	assert_int_equal(r < 0, checked.problem[0] != '\0');
	if (r < 0) {
		assert_true(report.problem[0] != '\0');
		assert_true(the_log.writes + file.writes == writes && the_log.syncs + file.syncs == syncs);
		return r;
	}
	found = which_state(journal_pager(journal));
	assert_int_equal(journal_close(journal, true, &empty), 0);
	/* What was found is what the file is in the end. */
	if (found >= 0)
		assert_int_equal(which_state(&file.pager), found);
	return found >= 0 ? found : -ENOTRECOVERABLE;
}

static struct journal_header *header_of(unsigned block)
{
	return (struct journal_header *)(the_log.bytes + block * page_size());
}

/* By the format alone. */
static void sign(struct journal_header *header)
{
	header->checksum = 0;
	header->checksum = XXH3_64bits_withSeed(header, page_size(), header->salt);
}

static bool header_is_valid(unsigned block)
{
	struct journal_header *header = header_of(block), copy = *header;

	sign(header);
	header->checksum = header->checksum == copy.checksum ? copy.checksum : ~header->checksum;
	return header->checksum == copy.checksum && header->magic == JOURNAL_MAGIC;
}

static unsigned newest_header(void)
{
	return header_of(1)->magic == JOURNAL_MAGIC && header_of(1)->generation > header_of(0)->generation;
}

/* The first block of the log with a group of that number. */
static size_t find_group(uint64_t number)
{
	for (size_t at = HEADER_BLOCKS * page_size(); at < the_log.size; at += page_size()) {
		const struct group_header *group = (const struct group_header *)(the_log.bytes + at);

		if (group->magic == GROUP_MAGIC && group->commit == number)
			return at;
	}
	fail_msg("no group of commit %d", (int)number);
	return 0;
}

/* ---- the cases ---- */

static void an_undamaged_journal_gives_the_last_commit(void **state)
{
	(void)state;
	assert_int_equal(ask(), COMMITS);
}

static void one_header_that_is_torn_is_not_missed(void **state)
{
	(void)state;
	assert_true(header_is_valid(0) || header_is_valid(1));
	memset(the_log.bytes + (1 - newest_header()) * page_size(), 0x5a, page_size());
	assert_int_equal(ask(), COMMITS);
}

static void two_headers_that_are_torn_are_EUCLEAN(void **state)
{
	(void)state;
	the_log.bytes[8] ^= 1;
	the_log.bytes[page_size() + 8] ^= 1;
	assert_int_equal(ask(), -EUCLEAN);
}

static void the_journal_of_another_file_is_ESTALE(void **state)
{
	(void)state;
	header_of(newest_header())->file.ino++;
	sign(header_of(newest_header()));
	assert_int_equal(ask(), -ESTALE);
}

static void a_file_that_was_born_at_another_time_is_ESTALE(void **state)
{
	(void)state;
	header_of(newest_header())->file.born_nsec++;
	sign(header_of(newest_header()));
	assert_int_equal(ask(), -ESTALE);
}

static void another_version_is_EPROTO(void **state)
{
	(void)state;
	header_of(newest_header())->version = JOURNAL_VERSION + 1;
	sign(header_of(newest_header()));
	assert_int_equal(ask(), -EPROTO);
}

static void another_length_of_blocks_is_EPROTO(void **state)
{
	(void)state;
	header_of(newest_header())->block_bytes *= 2;
	sign(header_of(newest_header()));
	assert_int_equal(ask(), -EPROTO);
}

static void a_page_that_was_acknowledged_and_is_torn_is_EUCLEAN(void **state)
{
	(void)state;
	memset(the_log.bytes + find_group(3) + page_size() + SECTOR, 0, SECTOR);
	assert_int_equal(ask(), -EUCLEAN);
}

static void a_spilled_page_that_was_acknowledged_and_is_torn_is_EUCLEAN(void **state)
{
	const struct group_header *group;
	const struct group_entry *entries;
	uint64_t place = 0;

	(void)state;
	for (size_t at = find_group(3); place == 0 && at < the_log.size; at += page_size()) {
		group = (const struct group_header *)(the_log.bytes + at);
		entries = (const struct group_entry *)(group + 1);
		for (unsigned i = 0; group->magic == GROUP_MAGIC && group->commit == 3 && i < group->entries; i++)
			place = entries[i].place ? entries[i].place : place;
	}
	assert_int_not_equal(place, 0);
	memset(the_log.bytes + place * page_size(), 0, SECTOR);
	assert_int_equal(ask(), -EUCLEAN);
}

/* Nothing lies behind it that says that it was acknowledged. */
static void the_last_commit_torn_cannot_be_told_from_a_crash(void **state)
{
	(void)state;
	memset(the_log.bytes + find_group(COMMITS) + page_size() + SECTOR, 0, SECTOR);
	assert_int_equal(ask(), COMMITS - 1);
}

static void an_empty_journal_is_none(void **state)
{
	(void)state;
	disk_set(&the_log, NULL, 0);
	assert_int_equal(ask(), 2);
}

/* ---- all places ---- */

/* No damage whatever gives anything but a refusal, or what a commit has made. */
static bool is_right(int answer)
{
	return answer >= 0 || answer == -EUCLEAN || answer == -ESTALE || answer == -EPROTO;
}

static void no_bit_that_flips_makes_another_file(void **state)
{
	unsigned refused = 0, older = 0;

	for (size_t at = 0; at < log_image.size; at += at % page_size() < 128 ? 3 : 61) {
		int answer;

		restore(state);
		the_log.bytes[at] ^= 1u << (at / 3 % 8);
		answer = ask();
		if (!is_right(answer))
			fail_msg("byte %zu of block %zu: answer %d", at % page_size(), at / page_size(), answer);
		refused += answer < 0;
		older += answer >= 0 && answer < COMMITS;
	}
	assert_true(refused > 0 && older > 0);
}

static void no_sector_of_zeros_makes_another_file(void **state)
{
	for (size_t at = 0; at < log_image.size; at += SECTOR) {
		int answer;

		restore(state);
		memset(the_log.bytes + at, 0, SECTOR);
		answer = ask();
		if (!is_right(answer))
			fail_msg("sector %zu: answer %d", at / SECTOR, answer);
	}
}

/* What lay at the end is missed only where something before it says that it was there: a length is not noted. */
static void no_length_makes_another_file(void **state)
{
	for (size_t size = 0; size < log_image.size; size += SECTOR) {
		int answer;

		restore(state);
		disk_set(&the_log, log_image.bytes, size);
		answer = ask();
		if (!is_right(answer))
			fail_msg("%zu bytes: answer %d", size, answer);
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, restore)
	const struct CMUnitTest tests[] = {
	    CASE(an_undamaged_journal_gives_the_last_commit),
	    CASE(one_header_that_is_torn_is_not_missed),
	    CASE(two_headers_that_are_torn_are_EUCLEAN),
	    CASE(the_journal_of_another_file_is_ESTALE),
	    CASE(a_file_that_was_born_at_another_time_is_ESTALE),
	    CASE(another_version_is_EPROTO),
	    CASE(another_length_of_blocks_is_EPROTO),
	    CASE(a_page_that_was_acknowledged_and_is_torn_is_EUCLEAN),
	    CASE(a_spilled_page_that_was_acknowledged_and_is_torn_is_EUCLEAN),
	    CASE(the_last_commit_torn_cannot_be_told_from_a_crash),
	    CASE(an_empty_journal_is_none),
	    CASE(no_bit_that_flips_makes_another_file),
	    CASE(no_sector_of_zeros_makes_another_file),
	    CASE(no_length_makes_another_file),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
