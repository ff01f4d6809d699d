/* SPDX-License-Identifier: MIT */
/*
 * test-journal-model.c - programs of calls made from a seed, on a small journal whose disks fail and crash, beside a model
 *
 * The model knows what the last commit that was acknowledged left, what was spilled since, and which commits have failed since: a crash
 * shows one of these states, whole. A test's seeds are fixed; JOURNAL_SEED and JOURNAL_PROGRAMS run others.
 */
#include "journal-rig.h"

#define PAGES     40
#define SNAPSHOTS 3
#define MAYBES    64

struct state {
	uint64_t value[PAGES];
	unsigned pages; /* size */
};

static struct rig rig;
static struct {
	uint64_t random, next_value, seed;
	unsigned step;
	struct state base;          /* committed */
	uint64_t spilled[PAGES];    /* value; 0: not */
	unsigned pages, least;      /* size now, and the least since the commit */
	struct state maybe[MAYBES]; /* failed since, and may be seen after a crash */
	unsigned n_maybe;
	struct {
		struct pager *pager;
		struct state state;
	} snapshots[SNAPSHOTS];
	bool failing;
	uint64_t counts[16];
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

static uint64_t now_value(unsigned page)
{
	if (page >= model.pages)
		return 0;
	if (model.spilled[page])
		return model.spilled[page];
	return page >= model.least ? 0 : model.base.value[page];
}

/* ---- checks ---- */

/* Some pages in one read. */
static void check_run(struct pager *pager, unsigned first, unsigned n, const uint64_t *values, unsigned size)
{
	int r = rig_transfer(pager, PAGER_READ, first, n);

	CHECK(r == 0 || (r == -EIO && model.failing));
	for (unsigned i = 0; r == 0 && i < n; i++) {
		uint64_t want = first + i < size ? values[first + i] : 0, got = rig_value(rig_buf + i * page_size(), first + i);

		if (got != want)
			print_message("page %u: %lld, not %lld\n", first + i, (long long)got, (long long)want);
		CHECK(got == want);
	}
}

static void check_all(struct pager *pager, const uint64_t *values, unsigned size)
{
	for (unsigned page = 0; page < PAGES;) {
		unsigned n = 1 + draw(PAGES);

		n = n < PAGES - page ? n : PAGES - page;
		check_run(pager, page, n, values, size);
		page += n;
	}
}

static void check(void)
{
	uint64_t values[PAGES], bytes, first, end;

	for (unsigned i = 0; i < PAGES; i++)
		values[i] = now_value(i);
	check_all(journal_pager(rig.journal), values, model.pages);
	CHECK(journal_pager(rig.journal)->ops->size(journal_pager(rig.journal), &bytes) == 0 && bytes == model.pages * page_size());
	CHECK(journal_committed_bytes(rig.journal) == model.base.pages * page_size());
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		if (model.snapshots[i].pager)
			check_all(model.snapshots[i].pager, model.snapshots[i].state.value, model.snapshots[i].state.pages);
	for (unsigned page = 0; page < PAGES; page = (unsigned)end) {
		while (page < PAGES && !model.spilled[page])
			page++;
		CHECK(journal_next_spilled(rig.journal, page, PAGES, &first, &end) == (page < PAGES));
		if (page >= PAGES)
			break;
		CHECK(first == page);
		for (; page < end; page++)
			CHECK(model.spilled[page]);
	}
}

/* ---- operations ---- */

static void do_spill(void)
{
	unsigned first, n;
	uint64_t value = ++model.next_value;
	int r;

	if (model.pages == 0)
		return;
	first = draw(model.pages);
	n = 1 + draw(draw(4) ? 3 : 12);
	n = n < model.pages - first ? n : model.pages - first;
	r = rig_spill(&rig, first, n, value);
	CHECK(r == 0 || r == -ENOSPC || (r == -EIO && model.failing));
	model.counts[r == 0 ? 0 : 1]++;
	for (unsigned i = first; i < first + n; i++) {
		uint64_t first_spilled, end;

		if (r == 0) {
			model.spilled[i] = value;
			continue;
		}
		/* Which of its pieces have come through is found out. */
		if (rig_transfer(journal_pager(rig.journal), PAGER_READ, i, 1) < 0) {
			disk_fail_left = 0;
			CHECK(rig_transfer(journal_pager(rig.journal), PAGER_READ, i, 1) == 0);
		}
		if (rig_value(rig_buf, i) == value && journal_next_spilled(rig.journal, i, i + 1, &first_spilled, &end))
			model.spilled[i] = value;
	}
}

static void do_resize(void)
{
	unsigned pages = draw(PAGES + 1);

	rig_resize(&rig, pages);
	model.pages = pages;
	if (pages < model.least)
		model.least = pages;
	for (unsigned i = pages; i < PAGES; i++)
		model.spilled[i] = 0;
}

static void do_forget(void)
{
	unsigned first = draw(2) ? 0 : draw(PAGES), end = first ? first + draw(PAGES) : PAGES;

	journal_forget(rig.journal, first, end);
	for (unsigned i = first; i < end && i < PAGES; i++)
		model.spilled[i] = 0;
	if (first == 0) {
		journal_forget_size(rig.journal);
		model.pages = model.least = model.base.pages;
	}
}

/* The state that a commit of these pages and what was spilled of a range would leave. */
static struct state after_commit(unsigned first, unsigned end, uint64_t value, unsigned from, unsigned to, bool *sized)
{
	struct state state = model.base;
	unsigned cut = model.least < state.pages ? model.least : state.pages;

	for (unsigned i = 0; i < PAGES; i++)
		*sized |= i >= cut && ((i >= first && i < end) || (model.spilled[i] && i >= from && i < to));
	if (*sized) {
		for (unsigned i = cut; i < PAGES; i++)
			state.value[i] = 0;
		state.pages = model.pages;
	}
	for (unsigned i = 0; i < PAGES; i++)
		if (i >= first && i < end)
			state.value[i] = value;
		else if (model.spilled[i] && i >= from && i < to)
			state.value[i] = model.spilled[i];
	return state;
}

static void committed(const struct state *state, unsigned first, unsigned end, unsigned from, unsigned to, bool sized)
{
	model.base = *state;
	for (unsigned i = 0; i < PAGES; i++)
		if ((i >= first && i < end) || (i >= from && i < to))
			model.spilled[i] = 0;
	if (sized)
		model.least = model.pages;
}

static void crash(struct journal_commit *commit, bool handed_over);

static void do_commit(void)
{
	unsigned first = model.pages ? draw(model.pages) : 0, end = first + draw(draw(3) ? 4 : 14);
	unsigned from = draw(3) ? 0 : draw(PAGES), to = from ? from + draw(PAGES) : PAGES;
	uint64_t value = ++model.next_value, committed_before = journal_last(rig.journal);
	bool sized = draw(4) != 0;
	struct journal_commit *commit;
	struct state state;
	int r;

	end = end < model.pages ? end : model.pages;
	first = first < end ? first : end;
	to = to < PAGES ? to : PAGES;
	r = journal_commit_begin(rig.journal, end - first, &commit);
	CHECK(r == 0 || r == -ENOSPC || (r == -EIO && model.failing));
	if (r < 0) {
		model.counts[2]++;
		return;
	}
	rig_add(commit, first, end, value);
	r = journal_commit_spilled(commit, from, to);
	CHECK(r == 0 || r == -ENOSPC || (r == -EIO && model.failing));
	if (r == 0 && draw(10) == 0) {
		/* Into what is free by now, in the middle of it. */
		do_spill();
		crash(commit, false);
		return;
	}
	if (r < 0 || draw(8) == 0) {
		journal_commit_give_up(commit);
		model.counts[3]++;
		return;
	}
	state = after_commit(first, end, value, from, to, &sized);
	journal_commit_hand_over(&commit, 1, sized);
	if (draw(16) == 0) {
		CHECK(model.n_maybe < MAYBES);
		model.maybe[model.n_maybe++] = state;
		crash(commit, true);
		return;
	}
	r = journal_commit_wait(&commit, 1);
	CHECK(r == 0 || (r == -EIO && model.failing));
	if (r == 0) {
		committed(&state, first, end, from, to, sized);
		/* One that has nothing of its own writes nothing, and so hides nothing. */
		if (journal_last(rig.journal) > committed_before)
			model.n_maybe = 0;
	} else {
		CHECK(model.n_maybe < MAYBES);
		model.maybe[model.n_maybe++] = state;
		CHECK(journal_last(rig.journal) == committed_before);
	}
	model.counts[r == 0 ? 4 : 5]++;
}

static void do_checkpoint(void)
{
	int r = journal_checkpoint(rig.journal);

	CHECK(r == 0 || (r == -EIO && model.failing));
	model.counts[r == 0 ? 6 : 7]++;
}

static void do_snapshot(void)
{
	unsigned i = draw(SNAPSHOTS);

	if (model.snapshots[i].pager) {
		model.snapshots[i].pager->ops->close(model.snapshots[i].pager);
		model.snapshots[i].pager = NULL;
		return;
	}
	CHECK(journal_snapshot(rig.journal, &model.snapshots[i].pager) == 0);
	model.snapshots[i].state = model.base;
}

static void close_snapshots(void)
{
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		if (model.snapshots[i].pager) {
			model.snapshots[i].pager->ops->close(model.snapshots[i].pager);
			model.snapshots[i].pager = NULL;
		}
}

static bool is_seen(const struct state *state)
{
	if (journal_committed_bytes(rig.journal) != state->pages * page_size())
		return false;
	for (unsigned i = 0; i < state->pages; i++)
		if (rig_read(&rig, i) != state->value[i])
			return false;
	return true;
}

/* One of the states that there may be is there. */
static void open_anew(void)
{
	bool seen;

	disk_fail_left = 0;
	model.failing = false;
	rig_open(&rig);
	seen = is_seen(&model.base);
	for (unsigned i = 0; i < model.n_maybe && !seen; i++)
		if (is_seen(&model.maybe[i])) {
			model.base = model.maybe[i];
			seen = true;
		}
	if (!seen)
		for (unsigned i = 0; i < PAGES; i++)
			print_message("page %u: %lld, not %lld\n", i, (long long)rig_read(&rig, i), (long long)model.base.value[i]);
	CHECK(seen);
	model.n_maybe = 0;
	memset(model.spilled, 0, sizeof(model.spilled));
	model.pages = model.least = model.base.pages;
	model.counts[8]++;
}

static void do_reopen(void)
{
	bool complete = draw(2), empty;
	int r;

	close_snapshots();
	r = journal_close(rig.journal, complete, &empty);
	CHECK(r == 0 || (r == -EIO && model.failing));
	if (complete && r == 0 && !model.failing) {
		CHECK(empty);
		CHECK(rig.file.size == model.base.pages * page_size());
		for (unsigned i = 0; i < model.base.pages; i++)
			CHECK(rig_file_value(&rig, i) == model.base.value[i]);
	}
	if (r == 0 && !model.failing)
		model.n_maybe = 0;
	open_anew();
}

/* In the middle of a commit, or of none. */
static void crash(struct journal_commit *commit, bool handed_over)
{
	struct journal *journal = rig.journal;
	struct disk file = rig.file, log = rig.log;
	bool empty;

	/* What the disks have is put aside while the process's memory is given back in order. */
	close_snapshots();
	disk_init(&rig.file);
	disk_init(&rig.log);
	disk_fail_left = 0;
	if (handed_over)
		(void)journal_commit_wait(&commit, 1);
	else if (commit)
		journal_commit_give_up(commit);
	(void)journal_close(journal, false, &empty);
	disk_done(&rig.file);
	disk_done(&rig.log);
	rig.file = file;
	rig.log = log;
	disk_crash(&rig.file, &model.random);
	disk_crash(&rig.log, &model.random);
	open_anew();
}

static void do_fail(void)
{
	model.failing = true;
	disk_fails_for = draw(4) ? 1 : 1 + draw(6);
	disk_fail_left = 1 + draw(12);
}

static void step(void)
{
	unsigned n = draw(100);

	if (n < 30)
		do_spill();
	else if (n < 60)
		do_commit();
	else if (n < 68)
		do_checkpoint();
	else if (n < 74)
		do_resize();
	else if (n < 78)
		do_forget();
	else if (n < 86)
		do_snapshot();
	else if (n < 88)
		CHECK(journal_prepare(rig.journal) == 0 || model.failing);
	else if (n < 91)
		do_reopen();
	else if (n < 95)
		crash(NULL, false);
	else
		do_fail();
	/* A failure is over some steps later; checks are without. */
	if (model.failing && draw(3) == 0) {
		disk_fail_left = 0;
		model.failing = false;
	}
	if (!model.failing)
		check();
}

static void run_program(uint64_t seed, unsigned steps)
{
	memset(&model, 0, sizeof(model));
	model.seed = seed;
	model.random = seed * 7919 + 1;
	disk_fail_left = 0;
	rig_create(&rig, "a", 4 + draw(9), 16);
	rig.settings.group_pages = draw(2) ? 0 : 1 + draw(5);
	rig.settings.copy_pages = draw(2) ? 0 : 1 + draw(9);
	rig.settings.note_pages = draw(2) ? 0 : 1 + draw(5);
	model.base.pages = model.pages = model.least = 16;
	rig_open(&rig);
	for (model.step = 0; model.step < steps; model.step++)
		step();
	close_snapshots();
	disk_fail_left = 0;
	rig_destroy(&rig);
}

static void programs_leave_what_the_model_says(void **state)
{
	const char *seed = getenv("JOURNAL_SEED"), *programs = getenv("JOURNAL_PROGRAMS");
	uint64_t first = seed ? strtoull(seed, NULL, 0) : 1, n = programs ? strtoull(programs, NULL, 0) : 300, counts[16] = {0};

	(void)state;
	for (uint64_t i = 0; i < n; i++) {
		run_program(first + i, 150);
		for (unsigned j = 0; j < 16; j++)
			counts[j] += model.counts[j];
	}
	/* That what has to happen did happen. */
	for (unsigned j = 0; n >= 100 && j < 9; j++)
		assert_true(counts[j] > 0);
	if (getenv("JOURNAL_COUNTS"))
		for (unsigned j = 0; j < 9; j++)
			print_message("%u: %llu\n", j, (unsigned long long)counts[j]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(programs_leave_what_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
