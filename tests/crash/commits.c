/* SPDX-License-Identifier: MIT */
/*
 * commits.c - commits of a program: put together as an object does, handed over, waited for, and what is left when they fail
 */
#include <inttypes.h>
#include <string.h>

#include "sys/page_size.h"
#include "util/assert.h"
#include "world.h"

/* Pages of one file that a commit takes. */
struct part {
	unsigned file, first, end;
	void *commit;
};

/* ---- may it begin ---- */

/* The next may begin while one is in flight: not beside one of several files; nor, here, beside one of the size, which may come back. */
static bool may_begin(const struct world *w, unsigned file)
{
	unsigned in_flight = 0;

	for (unsigned i = 0; i < w->model.n_records; i++) {
		const struct record *record = &w->model.records[i];
		unsigned files = 0;

		if (record->state == FAILED || !record->of[file].there)
			continue;
		for (unsigned f = 0; f < w->model.n_files; f++)
			files += record->of[f].there;
		if (files > 1 || record->of[file].with_size)
			return false;
		/* If it has failed already, the next one takes what was spilled of it, and only the journal knows. */
		if (record->risky && record->of[file].by_reference)
			return false;
		in_flight++;
	}
	return in_flight < 2;
}

/*
 * A size that was set takes everything along: what is cut of a page belongs to it, and what lies behind the least size would be wiped by
 * it. Pages before all that may go alone.
 */
static void choose_pages(struct world *w, struct part *part, unsigned first, unsigned count, bool *size)
{
	const struct actor *actor = &w->actors[part->file];
	uint64_t committed = w->store.ops->committed_bytes(&w->store, part->file), least;
	unsigned whole;

	part->first = 0;
	part->end = PAGES_MAX;
	if (count == 0) {
		*size |= actor->sized;
		return;
	}
	part->first = first % PAGES_MAX;
	part->end = part->first + count;
	if (!actor->sized)
		return;
	least = actor->least < committed ? actor->least : committed;
	whole = (unsigned)(least / page_size());
	part->end = part->end < whole ? part->end : whole;
	part->first = part->first < part->end ? part->first : part->end;
}

static bool any_sized(const struct world *w, const unsigned files[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (w->actors[files[i]].sized)
			return true;
	}
	return false;
}

static unsigned dirty_pages(const struct world *w, const struct part *part)
{
	unsigned n = 0;

	for (unsigned i = part->first; i < part->end && i < PAGES_MAX; i++)
		n += w->actors[part->file].pages[i].dirty;
	return n;
}

static void give_up_all(struct world *w, struct part parts[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		w->store.ops->give_up(parts[i].commit);
}

/* => 1: all have begun; 0: one has not, rightly; -1: wrongly */
static int begin_all(struct world *w, struct part parts[], unsigned n)
{
	uint64_t fired = world_fired(w);

	for (unsigned i = 0; i < n; i++) {
		int r = w->store.ops->begin(&w->store, parts[i].file, dirty_pages(w, &parts[i]), &parts[i].commit);

		if (r == 0)
			continue;
		give_up_all(w, parts, i);
		return world_may_fail(w, r, fired, true, "the begin of a commit") ? 0 : -1;
	}
	return 1;
}

/* ---- its pages ---- */

static bool add_run(struct world *w, const struct part *part, unsigned first, unsigned end)
{
	const struct sheet *pages = w->actors[part->file].pages;

	while (first < end) {
		unsigned n = end - first, asked = n;
		unsigned char *room = w->store.ops->room(part->commit, &n);

		if (room == NULL || n == 0 || n > asked || (uintptr_t)room % page_size())
			return world_wrong(w, "a commit gives room %p for %u pages of %u", (void *)room, n, asked);
		for (unsigned i = 0; i < n; i++)
			leaf_fill(pages[first + i].memory, room + i * page_size());
		w->store.ops->add(part->commit, first, n);
		first += n;
	}
	return true;
}

/* => 1, 0, -1 as begin_all */
static int add_pages(struct world *w, const struct part *part)
{
	const struct sheet *pages = w->actors[part->file].pages;
	uint64_t fired = world_fired(w);
	int r;

	for (unsigned i = part->first; i < part->end && i < PAGES_MAX; i++) {
		unsigned j = i;

		while (j < part->end && j < PAGES_MAX && pages[j].dirty)
			j++;
		if (j > i && !add_run(w, part, i, j))
			return -1;
		i = j;
	}
	r = w->store.ops->spilled(part->commit, part->first, part->end);
	if (r < 0)
		return world_may_be_gone(w, part->file, r, fired, "spilled pages of a commit") ? 0 : -1;
	return 1;
}

/* A file of which there is nothing to commit has no part in a unit: it need not even be written to. */
static bool has_part(const struct world *w, const struct part *part, bool with_size)
{
	const struct actor *actor = &w->actors[part->file];
	bool part_of_it = with_size && actor->sized;

	for (unsigned i = part->first; i < part->end && i < PAGES_MAX; i++)
		part_of_it |= actor->pages[i].dirty || actor->pages[i].spilled;
	return part_of_it;
}

/* What the parts have becomes the record's, and is no longer the object's. */
static void take_over(struct world *w, struct record *record, const struct part *part, bool with_size)
{
	struct actor *actor = &w->actors[part->file];
	struct change *change = &record->of[part->file];

	*change =
	    (struct change){.there = true, .with_size = with_size, .bytes = actor->bytes, .least = actor->least, .cut = UINT64_MAX};
	for (unsigned i = part->first; i < part->end && i < PAGES_MAX; i++) {
		struct sheet *sheet = &actor->pages[i];
		uint64_t bit = (uint64_t)1 << i;

		if (!sheet->dirty && !sheet->spilled)
			continue;
		change->has |= bit;
		change->by_reference |= sheet->dirty ? 0 : bit;
		change->pages[i] = sheet->dirty ? sheet->memory : sheet->out;
		/* An older version, spilled before it was stored to again: who knows, until it counts. */
		sheet->unsure = sheet->dirty && (sheet->spilled || sheet->unsure);
		sheet->dirty = sheet->spilled = false;
	}
	if (with_size) {
		actor->least = actor->bytes;
		actor->sized = false;
	}
}

/* ---- the end of it ---- */

/* Nothing counts: it is the object's again, but for what was stored since, or cut off. */
static void take_back(struct world *w, const struct record *record, unsigned file)
{
	const struct change *change = &record->of[file];
	struct actor *actor = &w->actors[file];

	for (unsigned i = 0; i < PAGES_MAX; i++) {
		struct sheet *sheet = &actor->pages[i];
		bool by_reference = change->by_reference >> i & 1;

		if (!(change->has >> i & 1) || i >= pages_of(change->cut) || sheet->spilled)
			continue;
		if (by_reference) {
			sheet->spilled = true;
			sheet->out = change->pages[i];
		} else if (!sheet->dirty) {
			sheet->dirty = true;
			sheet->memory = change->pages[i];
		}
	}
	if (change->with_size) {
		actor->least = change->least < actor->least ? change->least : actor->least;
		actor->sized = true;
	}
}

/* It counts: no older version lies below any more. */
static void settle(struct world *w, const struct record *record, unsigned file)
{
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		if (record->of[file].has >> i & 1)
			w->actors[file].pages[i].unsure = false;
	}
}

static struct record *find_record(struct world *w, uint32_t begun)
{
	for (unsigned i = 0; i < w->model.n_records; i++) {
		if (w->model.records[i].begun == begun)
			return &w->model.records[i];
	}
	ASSERT(!"a commit that is not in the model");
	return NULL;
}

bool world_wait(struct world *w, unsigned which)
{
	struct pending pending = w->pending[which];
	struct record *record = find_record(w, pending.begun), copy = *record;
	int r;

	w->pending[which] = w->pending[--w->n_pending];
	r = w->store.ops->wait(pending.commits, pending.n);
	model_returned(&w->model, record, r == 0);
	for (unsigned i = 0; i < pending.n; i++) {
		if (r == 0)
			settle(w, &copy, pending.files[i]);
		else
			take_back(w, &copy, pending.files[i]);
	}
	world_tighten(w);
	return world_may_fail(w, r, pending.fired, false, "a commit");
}

/* ---- all of it ---- */

bool world_commit(struct world *w, const unsigned files[], unsigned n, unsigned first, unsigned count, bool wait)
{
	struct pending *pending = &w->pending[w->n_pending];
	struct part parts[FILES_MAX];
	struct record *record;
	bool with_size = false;
	int r;

	for (unsigned i = 0; i < n; i++) {
		if (!may_begin(w, files[i]))
			return true;
	}
	if (w->n_pending == PENDING_MAX || w->model.n_records == RECORDS_MAX)
		return true;
	for (unsigned i = 0; i < n; i++) {
		parts[i] = (struct part){.file = files[i]};
		choose_pages(w, &parts[i], first, count, &with_size);
	}
	with_size |= !any_sized(w, files, n) && rng_percent(&w->rng, 30);
	*pending = (struct pending){.n = n, .fired = world_fired(w)};
	r = begin_all(w, parts, n);
	if (r <= 0)
		return r == 0;
	for (unsigned i = 0; i < n; i++) {
		r = add_pages(w, &parts[i]);
		if (r <= 0) {
			give_up_all(w, parts, n);
			return r == 0;
		}
	}
	record = model_begin(&w->model);
	record->risky = w->faulty;
	for (unsigned i = 0; i < n; i++) {
		if (n == 1 || has_part(w, &parts[i], with_size))
			take_over(w, record, &parts[i], with_size);
		pending->commits[i] = parts[i].commit;
		pending->files[i] = parts[i].file;
	}
	pending->begun = record->begun;
	w->n_pending++;
	world_loosen(w);
	w->store.ops->hand_over(pending->commits, n, with_size);
	return !wait || world_wait(w, w->n_pending - 1);
}

bool world_give_up(struct world *w, unsigned file, unsigned first, unsigned count)
{
	struct part part = {.file = file};
	bool with_size = false;
	int r;

	if (!may_begin(w, file))
		return true;
	choose_pages(w, &part, first, count, &with_size);
	r = begin_all(w, &part, 1);
	if (r <= 0)
		return r == 0;
	r = add_pages(w, &part);
	w->store.ops->give_up(part.commit);
	return r >= 0;
}
