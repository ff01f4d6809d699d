/* SPDX-License-Identifier: MIT */
/*
 * test-decide.c - what journals say to each other of a commit that is theirs together
 *
 * Journals are made by hand, and written into files with the names that they would have.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/decide.h"
#include "journal/place.h"
#include "made-journal.h"
#include "util/message.h"

static char folder[64], journal[96], file[96];
static struct io *io;
static const uint64_t unit[2] = {77, 88}, another[2] = {77, 89};
static const struct journal_party party = {.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

/* The file, marked, and beside it a journal with a commit of the unit of these flags, and after it a group of those. */
static void write_journal(uint32_t flags, uint32_t then, uint64_t complete)
{
	struct journal_party other = {.uuid = {9}};
	void *parties = made_parties(1, &other, &(const char *){"/other-quire"});
	struct made made;
	struct made_log log = {
	    .made = &made, .seq = 1, .block = 1, .unit = {77, 88}, .parties = parties, .file_bytes = page_size()};
	struct journal_place place = {.path = journal};
	int fd;

	made_new(&made, 8, 3);
	made_header(&made, 0, 1, complete, 0);
	made_segment(&made, 0, 1, 0, 0, 0, 0);
	if (flags)
		made_group(&log, flags | GROUP_PARTIES, 1, (struct made_page[]){{0, 0}}, 1);
	log.unit[0] = log.unit[1] = 0;
	if (then)
		made_group(&log, then, 1, NULL, 0);
	fd = open(journal, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, made.bytes, made.len), (ssize_t)made.len);
	close(fd);
	fd = open(file, O_RDWR | O_CREAT, 0600);
	assert_int_equal(journal_place_mark(fd, &place, party.uuid), 0);
	close(fd);
	made_free(&made);
	free(parties);
}

static void expect_resolved(const uint64_t which[2], int error, bool yes)
{
	bool said = !yes;
	int r = decide_resolve(io, &party, journal, which, &said);

	if (r != error)
		print_error("%d: %s\n", r, message_detail());
	assert_int_equal(r, error);
	if (error == 0)
		assert_int_equal(said, yes);
}

static void expect_asks(int error, bool yes)
{
	bool said = !yes;

	assert_int_equal(decide_asks(io, &party, journal, unit, &said), error);
	if (error == 0)
		assert_int_equal(said, yes);
}

static void a_unit_counts_if_the_decider_has_its_commit(void **state)
{
	(void)state;
	write_journal(GROUP_COMMIT, 0, 0);
	expect_resolved(unit, 0, true);
	expect_resolved(another, 0, false);
	write_journal(GROUP_COMMIT, 0, 1);
	expect_resolved(unit, 0, true);
	write_journal(0, 0, 0);
	expect_resolved(unit, 0, false);
}

static void what_the_decider_has_only_prepared_is_no_decision(void **state)
{
	(void)state;
	write_journal(GROUP_PREPARED, 0, 0);
	expect_resolved(unit, 0, false);
	write_journal(GROUP_PREPARED, GROUP_DECIDED, 0);
	expect_resolved(unit, 0, false);
}

static void a_journal_asks_for_what_it_has_prepared_and_not_noted(void **state)
{
	(void)state;
	write_journal(GROUP_PREPARED, 0, 0);
	expect_asks(0, true);
	write_journal(GROUP_PREPARED, GROUP_DECIDED, 0);
	expect_asks(0, false);
	write_journal(GROUP_PREPARED, GROUP_GIVEN_UP, 0);
	expect_asks(0, false);
	write_journal(GROUP_PREPARED, 0, 1);
	expect_asks(0, false);
	write_journal(0, 0, 0);
	expect_asks(0, false);
}

static void one_that_was_removed_in_order_has_decided_nothing(void **state)
{
	struct journal_place place;
	int fd;

	(void)state;
	write_journal(GROUP_COMMIT, 0, 0);
	fd = open(file, O_RDWR);
	assert_int_equal(journal_place_find(fd, PLACE_FIND, &place), 0);
	assert_int_equal(journal_place_remove(fd, &place), 0);
	journal_place_done(&place);
	expect_resolved(unit, 0, false);
	expect_asks(0, false);
	/* … also when there is a new one by now. */
	assert_int_equal(journal_place_find(fd, PLACE_CREATE, &place), 0);
	journal_place_done(&place);
	expect_resolved(unit, -EUCLEAN, false);
	write_journal(GROUP_COMMIT, 0, 0);
	struct made made;

	made_new(&made, 8, 1);
	made_header(&made, 0, 1, 0, 0)->uuid[0] = 99;
	made_sum_header(&made, 0);
	int new = open(journal, O_RDWR | O_TRUNC);

	assert_int_equal(write(new, made.bytes, made.len), (ssize_t)made.len);
	/* Of the mark that is left, the old one is still needed. */
	expect_resolved(unit, -ESTALE, false);
	place = (struct journal_place){.path = journal};
	assert_int_equal(
	    journal_place_mark(fd, &place, (const unsigned char[16]){99, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}), 0);
	expect_resolved(unit, 0, false);
	made_free(&made);
	close(new);
	close(fd);
}

static void one_that_is_missing_is_no_answer(void **state)
{
	(void)state;
	write_journal(GROUP_COMMIT, 0, 0);
	unlink(journal);
	expect_resolved(unit, -ENOENT, false);
	expect_asks(-ENOENT, false);
	unlink(file);
	expect_resolved(unit, -ENOENT, false);
	assert_non_null(strstr(message_detail(), "nor is its file"));
}

static void one_that_was_moved_with_its_file_is_found_by_the_mark(void **state)
{
	struct journal_place place = {0};
	char moved[128];
	int fd;

	(void)state;
	write_journal(GROUP_COMMIT, 0, 0);
	snprintf(moved, sizeof(moved), "%s/moved", folder);
	assert_int_equal(rename(journal, moved), 0);
	fd = open(file, O_RDWR);
	place.path = moved;
	assert_int_equal(journal_place_mark(fd, &place, party.uuid), 0);
	close(fd);
	expect_resolved(unit, 0, true);
	unlink(moved);
}

static void one_that_is_damaged_is_no_answer(void **state)
{
	int fd;

	(void)state;
	write_journal(GROUP_COMMIT, GROUP_DECIDED, 0);
	expect_resolved(unit, -EUCLEAN, false);
	write_journal(GROUP_COMMIT, 0, 0);
	fd = open(journal, O_RDWR);
	assert_int_equal(pwrite(fd, "wrong", 5, 0), 5);
	close(fd);
	expect_resolved(unit, -EUCLEAN, false);
}

static void one_that_is_in_use_answers_only_what_is_certain(void **state)
{
	struct journal_place place;
	int fd;

	(void)state;
	write_journal(GROUP_COMMIT, 0, 0);
	fd = open(file, O_RDWR);
	assert_int_equal(journal_place_find(fd, PLACE_FIND, &place), 0);
	expect_resolved(unit, 0, true);
	expect_resolved(another, -EBUSY, false);
	expect_asks(0, true);
	journal_place_done(&place);
	expect_resolved(another, 0, false);
	close(fd);
}

static int set_up(void **state)
{
	const char *parent = getenv("TMPDIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/quire-test.XXXXXX", parent && strlen(parent) < 40 ? parent : "/var/tmp");
	if (!mkdtemp(folder))
		return -1;
	snprintf(file, sizeof(file), "%s/file", folder);
	snprintf(journal, sizeof(journal), "%s/file-quire", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(file);
	unlink(journal);
	return rmdir(folder);
}

static int start(void **state)
{
	(void)state;
	return io_create(8, false, &io);
}

static int end(void **state)
{
	(void)state;
	io_destroy(io);
	return 0;
}

#define DECIDE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    DECIDE(a_unit_counts_if_the_decider_has_its_commit),
	    DECIDE(what_the_decider_has_only_prepared_is_no_decision),
	    DECIDE(a_journal_asks_for_what_it_has_prepared_and_not_noted),
	    DECIDE(one_that_was_removed_in_order_has_decided_nothing),
	    DECIDE(one_that_is_missing_is_no_answer),
	    DECIDE(one_that_was_moved_with_its_file_is_found_by_the_mark),
	    DECIDE(one_that_is_damaged_is_no_answer),
	    DECIDE(one_that_is_in_use_answers_only_what_is_certain),
	};

	return cmocka_run_group_tests(tests, start, end);
}
