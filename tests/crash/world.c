/* SPDX-License-Identifier: MIT */
/*
 * world.c - a program is done: on a store over disks, beside the model, and every read is compared
 */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sys/page_size.h"
#include "util/assert.h"

bool world_wrong(struct world *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w->why, sizeof(w->why), format, args);
	va_end(args);
	return false;
}

uint64_t world_fired(const struct world *w)
{
	uint64_t fired = 0;

	for (unsigned i = 0; i < w->history.n_disks; i++)
		fired += w->disks[i].fired;
	return fired;
}

bool world_may_fail(struct world *w, int r, uint64_t fired, bool room, const char *what)
{
	if (r >= 0)
		return true;
	if (w->options->verbose)
		fprintf(stderr, "        %s: %s\n", what, strerror(-r));
	if (r == -EUCLEAN || r == -ESTALE || r == -EPROTO)
		return world_wrong(w, "%s: %s: %s", what, strerror(-r), w->store.message);
	if (world_fired(w) != fired)
		return true;
	if (room && r == -ENOSPC) {
		w->full++;
		return true;
	}
	return world_wrong(w, "%s fails, and no disk has: %s %s", what, strerror(-r), w->store.message);
}

bool world_may_be_gone(struct world *w, unsigned file, int r, uint64_t fired, const char *what)
{
	return (r == -EIO && w->store.logs[file]->dropped) || world_may_fail(w, r, fired, true, what);
}

void world_loosen(struct world *w)
{
	timeline_mark(&w->timeline, w->history.count + 1, model_allowed(&w->model));
}

void world_tighten(struct world *w)
{
	timeline_mark(&w->timeline, w->history.count, model_allowed(&w->model));
}

/* ---- what a page is ---- */

/* The newest that was handed over, or what counts. added: it was handed over from memory, so that the object would not ask the journal. */
static struct leaf handed_over(const struct world *w, unsigned file, unsigned page, bool *ret_added)
{
	const struct model *model = &w->model;

	*ret_added = false;
	for (unsigned i = model->n_records; i-- > 0;) {
		const struct change *change = &model->records[i].of[file];

		if (model->records[i].state == FAILED || !change->there)
			continue;
		if (change->has >> page & 1) {
			*ret_added = !(change->by_reference >> page & 1);
			return change->pages[page];
		}
		if (change->with_size && page >= pages_of(change->least))
			return (struct leaf){0};
	}
	return model->now.files[file].pages[page];
}

static struct leaf leaf_below(const struct world *w, unsigned file, unsigned page, bool *ret_added)
{
	const struct actor *actor = &w->actors[file];

	*ret_added = false;
	if (actor->pages[page].spilled)
		return actor->pages[page].out;
	if (page >= pages_of(actor->least))
		return (struct leaf){0};
	return handed_over(w, file, page, ret_added);
}

struct leaf world_leaf(const struct world *w, unsigned file, unsigned page)
{
	const struct sheet *sheet = &w->actors[file].pages[page];
	bool added;

	return sheet->dirty ? sheet->memory : leaf_below(w, file, page, &added);
}

bool world_reads(const struct world *w, unsigned file, unsigned page, struct leaf *ret)
{
	bool added;

	*ret = leaf_below(w, file, page, &added);
	return !added && !w->actors[file].pages[page].dirty;
}

/* ---- steps ---- */

static unsigned pages_now(const struct world *w, unsigned file)
{
	return (unsigned)pages_of(w->actors[file].bytes);
}

/* The pages that a step names, as far as there are some. */
static bool pages_of_step(const struct world *w, const struct step *step, unsigned *ret_first, unsigned *ret_end)
{
	unsigned pages = pages_now(w, step->a % w->program->n_files), count = 1 + step->c % 6;

	if (pages == 0)
		return false;
	*ret_first = step->b % pages;
	*ret_end = *ret_first + count < pages ? *ret_first + count : pages;
	return true;
}

static struct leaf new_leaf(struct world *w, unsigned file, unsigned page)
{
	uint64_t tag = ++w->tags << 16 | (uint64_t)file << 8 | page;

	return leaf_cut((struct leaf){tag, (uint32_t)page_size()}, page, w->actors[file].bytes);
}

static void do_store(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files, first, end;

	if (!pages_of_step(w, step, &first, &end))
		return;
	for (unsigned i = first; i < end; i++) {
		w->actors[file].pages[i].dirty = true;
		w->actors[file].pages[i].memory = new_leaf(w, file, i);
	}
}

/* One write of pages that are all in memory. What the write leaves when it fails is unsure. */
static bool spill_run(struct world *w, unsigned file, unsigned first, unsigned end)
{
	struct actor *actor = &w->actors[file];
	uint64_t at = first * page_size(), last = end * page_size(), fired = world_fired(w);
	int r;

	for (unsigned i = first; i < end; i++)
		leaf_fill(actor->pages[i].memory, w->bytes + (i - first) * page_size());
	last = last < actor->bytes ? last : actor->bytes;
	r = transfer(w->store.ops->pager(&w->store, file), PAGER_WRITE, at, w->bytes, last - at, NULL);
	for (unsigned i = first; i < end; i++) {
		struct sheet *sheet = &actor->pages[i];

		sheet->dirty = r < 0;
		sheet->unsure = r < 0;
		sheet->spilled = r == 0;
		sheet->out = sheet->memory;
	}
	return world_may_fail(w, r, fired, true, "a spill");
}

static bool do_spill(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files, first, end;
	const struct sheet *pages = w->actors[file].pages;

	if (!pages_of_step(w, step, &first, &end))
		return true;
	for (unsigned i = first; i < end; i++) {
		unsigned j = i;

		while (j < end && pages[j].dirty)
			j++;
		if (j > i && !spill_run(w, file, i, j))
			return false;
		i = j;
	}
	return true;
}

static bool do_resize(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files;
	struct actor *actor = &w->actors[file];
	uint64_t bytes = step->b % (PAGES_MAX * page_size()), page = bytes / page_size();
	struct pager *pager = w->store.ops->pager(&w->store, file);
	struct leaf whole, cut;
	int r;

	if (bytes < actor->bytes && bytes % page_size()) {
		/* As an object does: the end of the page that is cut is stored to. */
		whole = world_leaf(w, file, (unsigned)page);
		cut = leaf_cut(whole, page, bytes);
		if (!leaf_equal(whole, cut)) {
			actor->pages[page].dirty = true;
			actor->pages[page].memory = cut;
		}
	}
	r = pager->ops->resize(pager, bytes);
	if (r < 0)
		return world_wrong(w, "a resize fails: %s", strerror(-r));
	for (uint64_t i = pages_of(bytes); i < PAGES_MAX; i++)
		actor->pages[i] = (struct sheet){0};
	actor->bytes = bytes;
	actor->least = bytes < actor->least ? bytes : actor->least;
	actor->sized = true;
	for (unsigned i = 0; i < w->model.n_records; i++) {
		struct change *change = &w->model.records[i].of[file];

		change->cut = bytes < change->cut ? bytes : change->cut;
	}
	return true;
}

static void do_rollback(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files, first, end;
	struct actor *actor = &w->actors[file];

	/* Of what is in flight it is not said what forgetting means. */
	if (model_in_flight(&w->model, file))
		return;
	if (step->c != 0 && !actor->sized && pages_of_step(w, step, &first, &end)) {
		w->store.ops->forget(&w->store, file, first, end);
		memset(&actor->pages[first], 0, (end - first) * sizeof(actor->pages[0]));
		return;
	}
	w->store.ops->forget(&w->store, file, 0, step->b % 2 ? UINT64_MAX : PAGES_MAX);
	w->store.ops->forget_size(&w->store, file);
	*actor = (struct actor){.bytes = w->model.now.files[file].bytes, .least = w->model.now.files[file].bytes};
}

static bool has_spilled(const struct world *w, unsigned file, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++) {
		const struct sheet *sheet = &w->actors[file].pages[i];

		if (sheet->spilled || sheet->unsure)
			return true;
	}
	return false;
}

static bool do_read(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files, first, end;
	uint64_t fired = world_fired(w);
	size_t got;
	int r;

	if (!pages_of_step(w, step, &first, &end))
		return true;
	r = transfer(w->store.ops->pager(&w->store, file), PAGER_READ, first * page_size(), w->bytes, (end - first) * page_size(),
		     &got);
	if (r < 0)
		return has_spilled(w, file, first, end) ? world_may_be_gone(w, file, r, fired, "a read of spilled pages")
							: world_may_fail(w, r, fired, false, "a read");
	for (unsigned i = first; i < end; i++) {
		uint64_t left = w->actors[file].bytes - i * page_size();
		size_t valid = left < page_size() ? left : page_size();
		struct leaf leaf;
		int64_t at;

		if (got < (i - first) * page_size() + valid)
			return world_wrong(w, "a read of file %u at page %u of pages %u to %u ends after %zu bytes", file, i, first,
					   end, got);
		if (!world_reads(w, file, i, &leaf))
			continue;
		at = leaf_check(leaf, w->bytes + (i - first) * page_size(), valid);
		if (at >= 0)
			return world_wrong(
			    w, "page %u of file %u is wrong from byte %" PRId64 " on: %" PRIx64 " instead of %" PRIx64 ":%u", i,
			    file, at, leaf_tag(w->bytes + (i - first) * page_size()), leaf.tag, leaf.valid);
	}
	return true;
}

static bool do_snapshot(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files;
	struct snapshot *snapshot = &w->snapshots[w->n_snapshots];
	int r;

	if (w->n_snapshots == SNAPSHOTS_MAX || model_in_flight(&w->model, file))
		return true;
	r = w->store.ops->snapshot(&w->store, file, &snapshot->pager);
	if (r < 0)
		return world_wrong(w, "no snapshot: %s", strerror(-r));
	snapshot->file = file;
	snapshot->content = w->model.now.files[file];
	w->n_snapshots++;
	return true;
}

static bool do_look(struct world *w, const struct step *step)
{
	const struct snapshot *snapshot;
	uint64_t size, fired = world_fired(w);
	char why[WHY_MAX];
	int r;

	if (w->n_snapshots == 0)
		return true;
	snapshot = &w->snapshots[step->a % w->n_snapshots];
	r = read_file(snapshot->pager, &w->rng, w->bytes, &size, why);
	if (r < 0)
		return world_may_fail(w, r, fired, false, "a read of a snapshot");
	if (r > 0 || !is_content(&snapshot->content, w->bytes, size, why))
		return world_wrong(w, "a snapshot of file %u: %s", snapshot->file, why);
	return true;
}

static void do_drop(struct world *w, const struct step *step)
{
	struct snapshot *snapshot;

	if (w->n_snapshots == 0)
		return;
	snapshot = &w->snapshots[step->a % w->n_snapshots];
	snapshot->pager->ops->close(snapshot->pager);
	*snapshot = w->snapshots[--w->n_snapshots];
}

static bool do_checkpoint(struct world *w, const struct step *step)
{
	unsigned file = step->a % w->program->n_files;
	uint64_t fired = world_fired(w);

	return world_may_fail(w, w->store.ops->checkpoint(&w->store, file), fired, false, "a checkpoint");
}

static bool do_prepare(struct world *w, const struct step *step)
{
	uint64_t fired = world_fired(w);

	return world_may_fail(w, w->store.ops->prepare(&w->store, step->a % w->program->n_files), fired, true, "prepare");
}

static bool do_commit(struct world *w, const struct step *step, bool unit, bool wait)
{
	unsigned n_files = w->program->n_files, n = unit && n_files > 1 ? 2 + step->b % (n_files - 1) : 1, files[FILES_MAX];

	for (unsigned i = 0; i < n; i++)
		files[i] = (step->a + i) % n_files;
	return world_commit(w, files, n, unit ? 0 : step->b, unit && step->c % 3 ? 0 : step->c, wait);
}

static bool do_step(struct world *w, const struct step *step)
{
	switch (step->kind) {
	case STEP_STORE:
		do_store(w, step);
		return true;
	case STEP_SPILL:
		return do_spill(w, step);
	case STEP_COMMIT:
	case STEP_HAND:
		return do_commit(w, step, false, step->kind == STEP_COMMIT);
	case STEP_UNIT:
	case STEP_HAND_UNIT:
		return do_commit(w, step, true, step->kind == STEP_UNIT);
	case STEP_WAIT:
		return w->n_pending == 0 || world_wait(w, step->a % w->n_pending);
	case STEP_GIVE_UP:
		return world_give_up(w, step->a % w->program->n_files, step->b, step->c);
	case STEP_ROLLBACK:
		do_rollback(w, step);
		return true;
	case STEP_RESIZE:
		return do_resize(w, step);
	case STEP_CHECKPOINT:
		return do_checkpoint(w, step);
	case STEP_PREPARE:
		return do_prepare(w, step);
	case STEP_SNAPSHOT:
		return do_snapshot(w, step);
	case STEP_LOOK:
		return do_look(w, step);
	case STEP_DROP:
		do_drop(w, step);
		return true;
	case STEP_READ:
		return do_read(w, step);
	case STEP_REOPEN:
		return world_reopen(w, step);
	case STEP_KILL:
		return world_kill(w, step->b);
	case STEP_CRASH:
		return world_crash(w, step);
	default:
		return true;
	}
}

/* What is in flight may be said to be spilled still. */
static uint64_t in_flight_pages(const struct world *w, unsigned file)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < w->model.n_records; i++) {
		const struct record *record = &w->model.records[i];

		if (record->state != FAILED && record->of[file].there)
			pages |= record->of[file].has;
	}
	return pages;
}

/* What the journal says that is spilled is what was. */
static bool check_spilled(struct world *w, unsigned file)
{
	uint64_t at = 0, first, end, spilled = 0, in_flight = in_flight_pages(w, file);

	if (!w->store.ops->is_open(&w->store, file))
		return true;
	while (w->store.ops->next_spilled(&w->store, file, at, PAGES_MAX, &first, &end)) {
		if (first < at || end <= first || end > PAGES_MAX)
			return world_wrong(w, "spilled pages from %" PRIu64 " on are said to be %" PRIu64 " to %" PRIu64, at, first,
					   end);
		for (at = first; at < end; at++)
			spilled |= (uint64_t)1 << at;
	}
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		const struct sheet *sheet = &w->actors[file].pages[i];

		if (!sheet->unsure && !(in_flight >> i & 1) && sheet->spilled != (spilled >> i & 1))
			return world_wrong(w, "page %u of file %u is said to be %sspilled", i, file, sheet->spilled ? "not " : "");
	}
	return true;
}

static void arm(struct world *w, const struct step *step)
{
	for (unsigned i = 0; i < w->history.n_disks; i++)
		disk_disarm(&w->disks[i]);
	w->faulty = false;
	if (!step->faulty)
		return;
	disk_arm(&w->disks[step->disk % w->history.n_disks], step->fault, step->nth, step->every, step->error);
	w->faulty = true;
	model_risk(&w->model);
	world_loosen(w);
}

static bool run_steps(struct world *w)
{
	static const struct step none;

	for (w->step = 0; w->step < w->program->n_steps; w->step++) {
		const struct step *step = &w->program->steps[w->step];
		bool right;

		w->history.step = w->step;
		if (w->options->verbose) {
			fprintf(stderr, "%4u (event %" PRIu32 ") ", w->step, w->history.count);
			step_print(step, stderr);
		}
		arm(w, step);
		right = do_step(w, step);
		arm(w, &none);
		for (unsigned i = 0; right && i < w->program->n_files; i++)
			right = check_spilled(w, i);
		if (!right)
			return false;
	}
	return world_end(w);
}

/* ---- making ---- */

static void make(struct world *w, struct judge_counts *counts)
{
	const struct program *program = w->program;

	w->rng = (struct rng){program->seed};
	w->model.n_files = program->n_files;
	w->bytes = file_buffer();
	w->history.recording = true;
	w->store = (struct store){.ops = w->options->ops, .n_files = program->n_files, .settings = program->settings};
	w->store.broken = w->options->broken;
	for (unsigned i = 0; i < 2 * program->n_files; i++) {
		disk_make(&w->disks[i], &w->history, &w->rng);
		w->disks[i].lie = i % 2 ? w->options->log_lie : w->options->file_lie;
	}
	for (unsigned i = 0; i < program->n_files; i++) {
		struct content *content = &w->model.now.files[i];

		w->store.files[i] = &w->disks[2 * i];
		w->store.logs[i] = &w->disks[2 * i + 1];
		content->bytes = w->actors[i].bytes = program->bytes[i];
		for (unsigned p = 0; p < pages_of(content->bytes); p++) {
			content->pages[p] = new_leaf(w, i, p);
			leaf_fill(content->pages[p], w->bytes + p * page_size());
		}
		disk_set(&w->disks[2 * i], w->bytes, content->bytes);
	}
	w->store.ops->make(&w->store);
	judge_make(&w->judge, &w->store, &w->options->limits, counts, true);
	world_tighten(w);
}

static void unmake(struct world *w)
{
	bool empty;

	for (unsigned i = 0; i < w->history.n_disks; i++)
		w->disks[i].dead = true;
	for (unsigned i = 0; i < w->n_pending; i++)
		w->store.ops->wait(w->pending[i].commits, w->pending[i].n);
	while (w->n_snapshots > 0)
		do_drop(w, &(struct step){0});
	for (unsigned i = 0; i < w->program->n_files; i++) {
		if (w->store.ops->is_open(&w->store, i))
			w->store.ops->close(&w->store, i, false, &empty);
	}
	w->store.ops->done(&w->store);
	judge_done(&w->judge);
	for (unsigned i = 0; i < w->history.n_disks; i++)
		disk_done(&w->disks[i]);
	history_done(&w->history);
	timeline_clear(&w->timeline);
	free(w->bytes);
}

static void tell(const struct world *w, FILE *out)
{
	fprintf(out, "Step %u", w->step);
	if (w->judged_wrong)
		fprintf(out, ", history %u, crashed at event %" PRIu32 ", image %" PRIu64, w->crashes, w->judge.point,
			w->judge.number);
	fprintf(out, ": %s\n\nAll that was done to the disks before:\n", w->why);
	history_print(&w->history, w->judged_wrong ? w->judge.point : w->history.count, out);
	if (w->judged_wrong && w->judge.in_recovery) {
		fprintf(out, "\nAnd by the recovery:\n");
		history_print(&w->judge.history, w->judge.next->point, out);
	}
	fputc('\n', out);
}

bool world_run(const struct program *program, const struct world_options *options, struct judge_counts *counts, FILE *out)
{
	struct world *w = calloc(1, sizeof(*w));
	bool right;

	ASSERT(w != NULL);
	w->options = options;
	w->program = program;
	make(w, counts);
	right = world_open(w, 0) && run_steps(w);
	if (!right && out != NULL)
		tell(w, out);
	unmake(w);
	free(w);
	return right;
}
