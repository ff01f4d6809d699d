/* SPDX-License-Identifier: MIT */
/*
 * test-journal-unit.c - commits of several journals count in all of them or in none, whatever fails and whenever a crash comes
 */
#include <stdio.h>

#include "journal-rig.h"
#include "journal/scan.h"

#define JOURNALS 3
#define PAGES    12
#define MAYBES   64

static struct rig rigs[JOURNALS];
static const char *const names[JOURNALS] = {"/a", "/b", "/c"};

/* ---- asking ---- */

static struct rig *rig_of(const char *name)
{
	for (unsigned i = 0; i < JOURNALS; i++)
		if (strcmp(name, names[i]) == 0)
			return &rigs[i];
	fail();
	return NULL;
}

struct search {
	const uint64_t *unit;
	bool found;
};

static int found_commit(void *arg, const struct scan_commit *commit)
{
	struct search *search = arg;

	search->found |= !commit->prepared && memcmp(commit->unit, search->unit, sizeof(commit->unit)) == 0;
	return 0;
}

static int resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct search search = {.unit = unit};
	struct scan_visitor visitor = {.arg = &search, .commit = found_commit, .with_complete = true};
	struct scan_result result;
	struct journal_report report;
	int r = disk_sync(&rig_of(name)->log.pager);

	(void)arg;
	if (r == 0)
		r = journal_scan(&rig_of(name)->log.pager, NULL, NULL, NULL, &visitor, &report, &result);
	if (r < 0)
		return r;
	assert_memory_equal(result.header.uuid, party->uuid, sizeof(party->uuid));
	free(result.segments);
	*ret = search.found;
	return 0;
}

static int asks(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct journal_report report;
	int r = disk_sync(&rig_of(name)->log.pager);

	if (r == 0)
		r = journal_scan(&rig_of(name)->log.pager, NULL, NULL, NULL, NULL, &report, NULL);
	(void)arg;
	(void)party;
	(void)unit;
	*ret = report.in_doubt > 0;
	return r;
}

static int set_up(void **state)
{
	(void)state;
	disk_fail_left = 0;
	disk_fails_for = 1;
	for (unsigned i = 0; i < JOURNALS; i++) {
		rig_create(&rigs[i], names[i], 6, PAGES);
		rigs[i].settings.asks = asks;
		rig_open(&rigs[i]);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	disk_fail_left = 0;
	/* Each may ask about the others while it is closed. */
	for (unsigned i = 0; i < JOURNALS; i++)
		if (rigs[i].journal)
			rig_close(&rigs[i], false);
	for (unsigned i = 0; i < JOURNALS; i++)
		rig_destroy(&rigs[i]);
	return 0;
}

static void open_by_asking(unsigned i)
{
	int r = rig_try_open(&rigs[i], resolve, NULL);

	if (r < 0)
		print_message("journal_open %s: %d %s\n", names[i], r, rigs[i].report.problem);
	assert_int_equal(r, 0);
}

/* As if the process ended: nothing is written any more. */
static void crash_all(uint64_t *seed)
{
	struct rig saved[JOURNALS];
	bool empty;

	disk_fail_left = 0;
	for (unsigned i = 0; i < JOURNALS; i++) {
		saved[i] = rigs[i];
		disk_init(&rigs[i].file);
		disk_init(&rigs[i].log);
	}
	for (unsigned i = 0; i < JOURNALS; i++)
		(void)journal_close(rigs[i].journal, false, &empty);
	for (unsigned i = 0; i < JOURNALS; i++) {
		disk_done(&rigs[i].file);
		disk_done(&rigs[i].log);
		rigs[i].file = saved[i].file;
		rigs[i].log = saved[i].log;
		if (seed) {
			disk_crash(&rigs[i].file, seed);
			disk_crash(&rigs[i].log, seed);
		}
	}
}

/* ---- by hand ---- */

/* Commits a page in some of the journals as one. */
static int commit_unit(const unsigned *which, unsigned n, uint64_t page, uint64_t value)
{
	struct journal_commit *commits[JOURNALS];

	for (unsigned i = 0; i < n; i++) {
		int r = journal_commit_begin(rigs[which[i]].journal, 1, &commits[i]);

		if (r < 0) {
			while (i-- > 0)
				journal_commit_give_up(commits[i]);
			return r;
		}
		rig_add(commits[i], page, page + 1, value);
		r = journal_commit_spilled(commits[i], 0, UINT64_MAX);
		if (r < 0) {
			do
				journal_commit_give_up(commits[i]);
			while (i-- > 0);
			return r;
		}
	}
	journal_commit_hand_over(commits, n, true);
	return journal_commit_wait(commits, n);
}

static const unsigned ab[] = {0, 1}, ba[] = {1, 0}, abc[] = {0, 1, 2};

static void two_journals_commit_as_one(void **state)
{
	(void)state;
	assert_int_equal(rig_spill(&rigs[1], 5, 2, 9), 0);
	assert_int_equal(commit_unit(ab, 2, 3, 1), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_read(&rigs[i], 3), 1);
	assert_int_equal(rig_commit(&rigs[1], 4, 5, 2), 0);
	crash_all(NULL);
	for (unsigned i = 0; i < JOURNALS; i++)
		open_by_asking(i);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_read(&rigs[i], 3), 1);
	assert_int_equal(rig_read(&rigs[1], 5), 9);
	assert_int_equal(rig_read(&rigs[1], 4), 2);
}

static void a_decision_stays_until_it_was_noted(void **state)
{
	bool empty;

	(void)state;
	assert_int_equal(commit_unit(abc, 3, 3, 1), 0);
	/* All that has DECIDED is lost. */
	memcpy(rigs[1].log.bytes, rigs[1].log.stable, DISK_BYTES);
	memcpy(rigs[2].log.bytes, rigs[2].log.stable, DISK_BYTES);
	crash_all(NULL);
	open_by_asking(0);
	assert_int_equal(journal_checkpoint(rigs[0].journal), 0);
	for (unsigned i = 2; i < 9; i++) {
		assert_int_equal(rig_commit(&rigs[0], 0, 1, i), 0);
		assert_int_equal(journal_checkpoint(rigs[0].journal), 0);
	}
	/* The others can still ask. */
	assert_int_equal(journal_close(rigs[0].journal, true, &empty), 0);
	assert_false(empty);
	open_by_asking(1);
	assert_int_equal(rigs[1].report.in_doubt, 1);
	assert_int_equal(rig_read(&rigs[1], 3), 1);
	open_by_asking(0);
	open_by_asking(2);
	assert_int_equal(rig_read(&rigs[2], 3), 1);
	/* Now both note it, and nothing is left. */
	assert_true(rig_close(&rigs[0], true));
	open_by_asking(0);
}

static void what_waits_for_a_decision_is_not_opened_without_asking(void **state)
{
	bool empty;

	(void)state;
	assert_int_equal(commit_unit(ab, 2, 3, 1), 0);
	memcpy(rigs[1].log.bytes, rigs[1].log.stable, DISK_BYTES);
	crash_all(NULL);
	assert_int_equal(rig_try_open(&rigs[1], NULL, NULL), -EBUSY);
	open_by_asking(1);
	assert_int_equal(rig_read(&rigs[1], 3), 1);
	assert_int_equal(journal_close(rigs[1].journal, false, &empty), 0);
	/* It has noted that when it was closed. */
	assert_int_equal(rig_try_open(&rigs[1], NULL, NULL), 0);
	open_by_asking(0);
	open_by_asking(2);
}

static void a_journal_of_a_unit_is_free_for_who_comes_before_its_owner_waits(void **state)
{
	struct journal_commit *commits[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(journal_commit_begin(rigs[i].journal, 1, &commits[i]), 0);
		rig_add(commits[i], 3, 4, 1);
	}
	journal_commit_hand_over(commits, 2, true);
	assert_int_equal(rig_commit(&rigs[1], 4, 5, 2), 0);
	assert_int_equal(rig_read(&rigs[0], 3), 1);
	assert_int_equal(journal_commit_wait(commits, 2), 0);
}

static void of_a_unit_only_one_of_which_has_anything_one_commits(void **state)
{
	struct journal_commit *commits[2];
	struct journal_stats stats;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(journal_commit_begin(rigs[i].journal, 1, &commits[i]), 0);
	rig_add(commits[1], 3, 4, 1);
	journal_commit_hand_over(commits, 2, true);
	assert_int_equal(journal_commit_wait(commits, 2), 0);
	journal_stats_get(rigs[0].journal, &stats);
	assert_int_equal(stats.last, 0);
	journal_stats_get(rigs[1].journal, &stats);
	assert_int_equal(stats.last, 1);
}

static void names_that_are_too_long_are_refused(void **state)
{
	char *name = malloc(page_size() + 1);

	(void)state;
	memset(name, 'x', page_size());
	name[page_size()] = '\0';
	rig_close(&rigs[0], false);
	rigs[0].settings.name = name;
	open_by_asking(0);
	assert_int_equal(commit_unit(ab, 2, 3, 1), -ENAMETOOLONG);
	assert_int_equal(commit_unit(ba, 2, 3, 1), -ENAMETOOLONG);
	assert_int_equal(rig_commit(&rigs[0], 3, 4, 2), 0);
	assert_int_equal(rig_commit(&rigs[1], 3, 4, 2), 0);
	free(name);
}

/* After each: both or none, before and after a crash that loses nothing, and one that loses all. */
static void a_unit_fails_at_every_operation(void **state)
{
	for (unsigned crash = 0; crash < 3; crash++) {
		uint64_t failures, nth = 0, value = 100;

		do {
			uint64_t want[2], seed = 4 + crash;
			int r;

			failures = disk_failures;
			nth++;
			value += 2;
			disk_fails_for = 1;
			assert_int_equal(rig_commit(&rigs[0], 3, 4, value), 0);
			assert_int_equal(rig_commit(&rigs[1], 3, 4, value), 0);
			/* Each opening takes a segment. */
			assert_int_equal(journal_checkpoint(rigs[1].journal), 0);
			assert_int_equal(rig_spill(&rigs[1], 5, 2, value), 0);
			disk_fail_left = (int64_t)nth;
			r = commit_unit(nth % 2 ? ab : ba, 2, 3, value + 1);
			assert_true(r == 0 || r == -EIO);
			disk_fail_left = 0;
			for (unsigned i = 0; i < 2; i++)
				assert_int_equal(rig_read(&rigs[i], 3), value + (r == 0));
			assert_int_equal(rig_read(&rigs[1], 5), value);
			crash_all(crash == 1 ? NULL : &seed);
			open_by_asking(nth / 2 % 2);
			open_by_asking(1 - nth / 2 % 2);
			open_by_asking(2);
			for (unsigned i = 0; i < 2; i++)
				want[i] = rig_read(&rigs[i], 3);
			assert_int_equal(want[0], want[1]);
			assert_true(want[0] == value + 1 || (r < 0 && want[0] == value));
		} while (disk_failures > failures);
		assert_true(nth > 5);
		tear_down(state);
		set_up(state);
	}
}

/* ---- from a seed ---- */

struct joint {
	uint64_t value[JOURNALS][PAGES];
};

static struct {
	uint64_t random, next_value, seed;
	unsigned step;
	struct joint base;
	struct {
		unsigned members; /* as bits */
		uint64_t value[JOURNALS][PAGES];
	} maybe[MAYBES];
	unsigned n_maybe;
	uint64_t spilled[JOURNALS][PAGES];
	bool failing;
	uint64_t units, failed_units, crashes, doubts;
} model;

#define CHECK(cond)                                                                                                                \
	do {                                                                                                                       \
		if (!(cond)) {                                                                                                     \
			print_message("seed %llu step %u: %s\n", (unsigned long long)model.seed, model.step, #cond);               \
			fail();                                                                                                    \
		}                                                                                                                  \
	} while (0)

static unsigned draw(unsigned n)
{
	return rig_random(&model.random) % n;
}

static void check(void)
{
	for (unsigned i = 0; i < JOURNALS; i++)
		for (unsigned page = 0; page < PAGES; page++)
			CHECK(rig_read(&rigs[i], page) ==
			      (model.spilled[i][page] ? model.spilled[i][page] : model.base.value[i][page]));
}

static void forget_maybes(unsigned members)
{
	unsigned n = 0;

	for (unsigned i = 0; i < model.n_maybe; i++)
		if (!(model.maybe[i].members & members))
			model.maybe[n++] = model.maybe[i];
	model.n_maybe = n;
}

static void do_commit(void)
{
	unsigned which[JOURNALS] = {0, 1, 2}, n = 1 + draw(JOURNALS), members = 0;
	uint64_t page = draw(PAGES), value = ++model.next_value;
	struct joint after = model.base;
	int r;

	for (unsigned i = 0; i < JOURNALS; i++) {
		unsigned j = draw(JOURNALS), swap = which[i];

		which[i] = which[j];
		which[j] = swap;
	}
	for (unsigned i = 0; i < n; i++) {
		members |= 1u << which[i];
		for (unsigned k = 0; k < PAGES; k++)
			if (model.spilled[which[i]][k])
				after.value[which[i]][k] = model.spilled[which[i]][k];
		after.value[which[i]][page] = value;
	}
	r = commit_unit(which, n, page, value);
	CHECK(r == 0 || (model.failing && r == -EIO) || r == -ENOSPC);
	if (r == 0) {
		model.base = after;
		for (unsigned i = 0; i < n; i++)
			memset(model.spilled[which[i]], 0, sizeof(model.spilled[0]));
		forget_maybes(members);
	} else if (r == -EIO) {
		CHECK(model.n_maybe < MAYBES);
		model.maybe[model.n_maybe].members = members;
		memcpy(model.maybe[model.n_maybe++].value, after.value, sizeof(after.value));
	}
	model.units += n > 1 && r == 0;
	model.failed_units += n > 1 && r == -EIO;
}

static bool is_as(unsigned i, const uint64_t *value)
{
	for (unsigned page = 0; page < PAGES; page++)
		if (rig_read(&rigs[i], page) != value[page])
			return false;
	return true;
}

static void check_opened(unsigned opened)
{
	for (unsigned k = 0; k < model.n_maybe; k++) {
		bool shows = true;

		if ((model.maybe[k].members & opened) != model.maybe[k].members)
			continue;
		for (unsigned i = 0; i < JOURNALS; i++)
			shows &= !(model.maybe[k].members >> i & 1) || is_as(i, model.maybe[k].value[i]);
		for (unsigned i = 0; i < JOURNALS && shows; i++)
			if (model.maybe[k].members >> i & 1)
				memcpy(model.base.value[i], model.maybe[k].value[i], sizeof(model.base.value[i]));
	}
	for (unsigned i = 0; i < JOURNALS; i++)
		CHECK(!(opened >> i & 1) || is_as(i, model.base.value[i]));
}

static void open_all(void)
{
	unsigned first = draw(JOURNALS), step = 1 + draw(JOURNALS - 1);

	model.failing = false;
	memset(model.spilled, 0, sizeof(model.spilled));
	for (unsigned i = 0; i < JOURNALS; i++) {
		open_by_asking((first + i * step) % JOURNALS);
		model.doubts += rigs[(first + i * step) % JOURNALS].report.in_doubt;
	}
	check_opened((1u << JOURNALS) - 1);
	model.n_maybe = 0;
}

static void do_crash(void)
{
	crash_all(draw(4) ? &model.random : NULL);
	open_all();
	model.crashes++;
}

/*
 * One ends in order and is opened again, beside the others. Where it could not end in order, what has failed is known only when all are
 * opened anew.
 */
static void do_reopen(void)
{
	unsigned i = draw(JOURNALS);
	bool empty;
	int r = journal_close(rigs[i].journal, draw(2), &empty);

	CHECK(r == 0 || model.failing || model.n_maybe > 0);
	disk_fail_left = 0;
	model.failing = false;
	open_by_asking(i);
	if (r < 0) {
		crash_all(NULL);
		open_all();
		return;
	}
	forget_maybes(1u << i);
	memset(model.spilled[i], 0, sizeof(model.spilled[i]));
	CHECK(is_as(i, model.base.value[i]));
}

static void do_spill(void)
{
	unsigned i = draw(JOURNALS), page = draw(PAGES);
	uint64_t value = ++model.next_value;
	int r = rig_spill(&rigs[i], page, 1, value);

	CHECK(r == 0 || r == -ENOSPC || (r == -EIO && model.failing));
	if (r == 0)
		model.spilled[i][page] = value;
}

static void step(void)
{
	unsigned n = draw(100);

	if (n < 55)
		do_commit();
	else if (n < 70)
		do_spill();
	else if (n < 78)
		CHECK(journal_checkpoint(rigs[draw(JOURNALS)].journal) == 0 || model.failing);
	else if (n < 83)
		do_reopen();
	else if (n < 91)
		do_crash();
	else {
		model.failing = true;
		disk_fails_for = draw(2) ? 1 : 1 + draw(8);
		disk_fail_left = 1 + draw(12);
	}
	if (model.failing && draw(3) == 0) {
		disk_fail_left = 0;
		model.failing = false;
	}
	if (!model.failing)
		check();
}

static void programs_leave_all_or_nothing(void **state)
{
	const char *seed = getenv("JOURNAL_SEED"), *programs = getenv("JOURNAL_PROGRAMS");
	uint64_t first = seed ? strtoull(seed, NULL, 0) : 1, n = programs ? strtoull(programs, NULL, 0) : 150;
	uint64_t units = 0, failed = 0, crashes = 0, doubts = 0;

	for (uint64_t i = 0; i < n; i++) {
		memset(&model, 0, sizeof(model));
		model.seed = first + i;
		model.random = model.seed * 104729 + 3;
		for (model.step = 0; model.step < 120; model.step++)
			step();
		units += model.units;
		failed += model.failed_units;
		crashes += model.crashes;
		doubts += model.doubts;
		tear_down(state);
		set_up(state);
	}
	if (n >= 100)
		assert_true(units > 0 && failed > 0 && crashes > 0 && doubts > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(two_journals_commit_as_one),
	    TEST(a_decision_stays_until_it_was_noted),
	    TEST(what_waits_for_a_decision_is_not_opened_without_asking),
	    TEST(a_journal_of_a_unit_is_free_for_who_comes_before_its_owner_waits),
	    TEST(of_a_unit_only_one_of_which_has_anything_one_commits),
	    TEST(names_that_are_too_long_are_refused),
	    TEST(a_unit_fails_at_every_operation),
	    TEST(programs_leave_all_or_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
