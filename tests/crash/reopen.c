/* SPDX-License-Identifier: MIT */
/*
 * reopen.c - what a program does between one life of its process, or of its machine, and the next
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sys/page_size.h"
#include "world.h"

/* ---- opening ---- */

static bool open_file(struct world *w, unsigned file, struct allowed *allowed)
{
	uint64_t size, fired = world_fired(w);
	char why[WHY_MAX] = "";
	int r;

	w->store.logs[file]->dropped = false;
	r = w->store.ops->open(&w->store, file);
	if (r < 0) {
		if (!world_may_fail(w, r, fired, false, "an open"))
			return false;
		/* The storage has failed: once it works again it is opened. */
		for (unsigned i = 0; i < w->history.n_disks; i++)
			disk_disarm(&w->disks[i]);
		r = w->store.ops->open(&w->store, file);
	}
	if (r < 0)
		return world_wrong(w, "file %u is not opened: %s: %s", file, strerror(-r), w->store.message);
	for (unsigned i = 0; i < w->history.n_disks; i++)
		disk_disarm(&w->disks[i]);
	r = read_file(w->store.ops->pager(&w->store, file), &w->rng, w->bytes, &size, why);
	if (r != 0)
		return world_wrong(w, "file %u cannot be read: %s", file, r < 0 ? strerror(-r) : why);
	if (!narrow(allowed, file, w->bytes, size, why))
		return world_wrong(w, "file %u is nothing that was committed:%s", file, why);
	timeline_mark(&w->timeline, w->history.count, allowed_copy(allowed));
	return true;
}

bool world_open(struct world *w, unsigned first)
{
	struct allowed allowed = model_allowed(&w->model);
	bool right = true;

	for (unsigned i = 0; right && i < w->program->n_files; i++)
		right = open_file(w, (first + i) % w->program->n_files, &allowed);
	if (right) {
		model_recovered(&w->model, &allowed.list[0]);
		for (unsigned i = 0; i < w->program->n_files; i++)
			w->actors[i] =
			    (struct actor){.bytes = allowed.list[0].files[i].bytes, .least = allowed.list[0].files[i].bytes};
		world_tighten(w);
	}
	free(allowed.list);
	return right;
}

/* ---- closing ---- */

static bool wait_for_all(struct world *w)
{
	while (w->n_pending > 0) {
		if (!world_wait(w, 0))
			return false;
	}
	return true;
}

static void drop_snapshots(struct world *w)
{
	while (w->n_snapshots > 0) {
		struct pager *pager = w->snapshots[--w->n_snapshots].pager;

		pager->ops->close(pager);
	}
}

/* What is closed with everything complete is in the file. */
static bool is_complete(struct world *w, unsigned file)
{
	const struct disk *disk = &w->disks[2 * file];
	char why[WHY_MAX];

	return is_content(&w->model.now.files[file], disk->bytes, disk->size, why) ||
	       world_wrong(w, "file %u itself, when its journal was closed: %s", file, why);
}

/* What has failed of several files in this step, or before, may be unsure still; and once another one is closed nobody can make it sure. */
static bool is_unsure(const struct world *w, unsigned file)
{
	for (unsigned i = 0; i < w->model.n_records; i++) {
		const struct record *record = &w->model.records[i];

		for (unsigned f = 0; f < w->model.n_files; f++) {
			if (f != file && record->of[f].there && record->of[file].there)
				return true;
		}
	}
	return false;
}

static bool close_file(struct world *w, unsigned file, bool complete, bool remove)
{
	struct pager *log = &w->store.logs[file]->pager;
	uint64_t fired = world_fired(w);
	bool empty = false;
	int r = w->store.ops->close(&w->store, file, complete, &empty);

	if ((!(r == -EIO && is_unsure(w, file)) && !world_may_fail(w, r, fired, false, "a close")) ||
	    (r == 0 && complete && !is_complete(w, file)))
		return false;
	if (r == 0 && empty && remove) {
		disk_disarm(w->store.logs[file]);
		log->ops->resize(log, 0);
		log->ops->sync(log);
	}
	return true;
}

/* One file alone, while the others stay open: where nothing has failed, so that it is what it was. */
static bool reopen_one(struct world *w, unsigned file, const struct step *step)
{
	struct allowed allowed = model_allowed(&w->model);
	struct content *now = &w->model.now.files[file];
	bool right = close_file(w, file, step->a & 1, step->a & 2) && open_file(w, file, &allowed);

	free(allowed.list);
	w->actors[file] = (struct actor){.bytes = now->bytes, .least = now->bytes};
	return right;
}

bool world_reopen(struct world *w, const struct step *step)
{
	if (!wait_for_all(w))
		return false;
	drop_snapshots(w);
	if (step->c % 2 && w->model.n_records == 0)
		return reopen_one(w, step->b % w->program->n_files, step);
	for (unsigned i = 0; i < w->program->n_files; i++) {
		if (!close_file(w, i, step->a & 1, step->a & 2))
			return false;
	}
	return world_open(w, step->b);
}

/* ---- death ---- */

static void die(struct world *w)
{
	bool empty;

	for (unsigned i = 0; i < w->history.n_disks; i++)
		w->disks[i].dead = true;
	/* To free what they have: nothing that they do is heard of. */
	while (w->n_pending > 0) {
		struct pending *pending = &w->pending[--w->n_pending];

		w->store.ops->wait(pending->commits, pending->n);
	}
	drop_snapshots(w);
	for (unsigned i = 0; i < w->program->n_files; i++)
		w->store.ops->close(&w->store, i, false, &empty);
	for (unsigned i = 0; i < w->history.n_disks; i++)
		w->disks[i].dead = false;
}

bool world_kill(struct world *w, unsigned first)
{
	die(w);
	return world_open(w, first);
}

static bool judge_all(struct world *w)
{
	const struct judge_only *only = w->options->only;

	if (only != NULL && only->history != w->crashes)
		return true;
	if (judge_history(&w->judge, &w->history, &w->timeline, w->program->seed + w->crashes, only))
		return true;
	w->judged_wrong = true;
	return world_wrong(w, "%s", w->judge.why);
}

bool world_crash(struct world *w, const struct step *step)
{
	struct image images[DISKS_MAX] = {0};
	struct allowed allowed;
	struct imager imager;

	die(w);
	if (!judge_all(w))
		return false;
	imager_make(&imager, &w->history);
	imager_move(&imager, w->history.count);
	imager_make_image(&imager, w->program->seed, step->c % 8 < 4 ? step->c % 8 : step->c, images);
	imager_done(&imager);
	allowed = allowed_copy(timeline_at(&w->timeline, w->history.count));
	history_restart(&w->history);
	timeline_clear(&w->timeline);
	timeline_mark(&w->timeline, 0, allowed);
	for (unsigned i = 0; i < w->history.n_disks; i++) {
		disk_set(&w->disks[i], images[i].bytes, images[i].size);
		free(images[i].bytes);
	}
	w->crashes++;
	return world_open(w, step->b);
}

/* ---- the end of a program ---- */

/* With nothing in its way, a commit succeeds, whatever has failed before. */
static bool commit_at_last(struct world *w, unsigned file)
{
	struct actor *actor = &w->actors[file];
	uint64_t full = w->full;

	w->store.ops->forget(&w->store, file, 0, UINT64_MAX);
	w->store.ops->forget_size(&w->store, file);
	*actor = (struct actor){.bytes = w->model.now.files[file].bytes, .least = w->model.now.files[file].bytes};
	if (actor->bytes == 0)
		return true;
	actor->pages[0].dirty = true;
	actor->pages[0].memory = leaf_cut((struct leaf){~(uint64_t)file, (uint32_t)page_size()}, 0, actor->bytes);
	if (!world_commit(w, &file, 1, 0, 0, true))
		return false;
	return w->full == full || world_wrong(w, "a commit of one page finds no room, where nothing is in its way");
}

bool world_end(struct world *w)
{
	if (!wait_for_all(w))
		return false;
	drop_snapshots(w);
	for (unsigned i = 0; i < w->program->n_files; i++) {
		if (!commit_at_last(w, i))
			return false;
	}
	for (unsigned i = 0; i < w->program->n_files; i++) {
		if (!close_file(w, i, true, true))
			return false;
	}
	return judge_all(w);
}
