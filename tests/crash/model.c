/* SPDX-License-Identifier: MIT */
/*
 * model.c - what the files of a journal must be: after each commit, and after a crash at any moment
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "sys/page_size.h"
#include "util/assert.h"

/* ---- pages ---- */

/* A word of the page: no sector of one tag is like that of another, nor like another sector. */
static uint64_t word(uint64_t tag, size_t i)
{
	return tag ^ ((uint64_t)i * 0x9e3779b97f4a7c15u);
}

void leaf_fill(struct leaf leaf, unsigned char *page)
{
	uint64_t *words = (uint64_t *)page;
	size_t n = page_size() / sizeof(uint64_t);

	if (leaf.tag == 0 || leaf.valid == 0) {
		memset(page, 0, page_size());
		return;
	}
	for (size_t i = 0; i < n; i++)
		words[i] = word(leaf.tag, i);
	memset(page + leaf.valid, 0, page_size() - leaf.valid);
}

static int64_t first_wrong(struct leaf leaf, const unsigned char *page, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t right = leaf.tag && i < leaf.valid ? word(leaf.tag, i / 8) : 0;

		if (page[i] != (unsigned char)(right >> (i % 8 * 8)))
			return (int64_t)i;
	}
	return -1;
}

int64_t leaf_check(struct leaf leaf, const unsigned char *page, size_t len)
{
	const uint64_t *words = (const uint64_t *)page;
	size_t n = page_size() / sizeof(uint64_t);
	uint64_t wrong = 0;

	if (len < page_size() || (leaf.tag && leaf.valid < page_size()))
		return first_wrong(leaf, page, len);
	if (leaf.tag == 0) {
		for (size_t i = 0; i < n; i++)
			wrong |= words[i];
	} else {
		for (size_t i = 0; i < n; i++)
			wrong |= words[i] ^ word(leaf.tag, i);
	}
	return wrong ? first_wrong(leaf, page, len) : -1;
}

uint64_t leaf_tag(const unsigned char *page)
{
	return *(const uint64_t *)page;
}

struct leaf leaf_cut(struct leaf leaf, uint64_t page, uint64_t bytes)
{
	uint64_t at = page * page_size(), left = bytes > at ? bytes - at : 0;

	if (left < leaf.valid)
		leaf.valid = (uint32_t)left;
	return leaf.valid ? leaf : (struct leaf){0};
}

bool content_equal(const struct content *a, const struct content *b)
{
	if (a->bytes != b->bytes)
		return false;
	for (unsigned i = 0; i < pages_of(a->bytes); i++) {
		if (!leaf_equal(a->pages[i], b->pages[i]))
			return false;
	}
	return true;
}

static void apply(struct content *content, const struct change *change)
{
	if (change->with_size) {
		for (uint64_t i = pages_of(change->least); i < PAGES_MAX; i++)
			content->pages[i] = (struct leaf){0};
		content->bytes = change->bytes;
	}
	for (unsigned i = 0; i < PAGES_MAX; i++) {
		if (change->has >> i & 1)
			content->pages[i] = change->pages[i];
	}
}

/* ---- records ---- */

static void apply_record(const struct model *model, struct contents *contents, const struct record *record)
{
	for (unsigned i = 0; i < model->n_files; i++) {
		if (record->of[i].there)
			apply(&contents->files[i], &record->of[i]);
	}
}

static bool share_a_file(const struct model *model, const struct record *a, const struct record *b)
{
	for (unsigned i = 0; i < model->n_files; i++) {
		if (a->of[i].there && b->of[i].there)
			return true;
	}
	return false;
}

struct record *model_begin(struct model *model)
{
	struct record *record;

	if (model->n_records == RECORDS_MAX)
		return NULL;
	record = &model->records[model->n_records++];
	*record = (struct record){.state = IN_FLIGHT, .begun = ++model->clock};
	return record;
}

void model_drop(struct model *model, struct record *record)
{
	unsigned i = (unsigned)(record - model->records);

	memmove(record, record + 1, (model->n_records - i - 1) * sizeof(*record));
	model->n_records--;
}

/* Of those before record, none can be heard of any more that shares a file with it: either they are in what counts, or never will be. */
static bool fold(struct model *model, struct record *record)
{
	unsigned i = (unsigned)(record - model->records);

	for (unsigned j = 0; j < i; j++) {
		if (model->records[j].state != FAILED && share_a_file(model, &model->records[j], record))
			return false;
	}
	apply_record(model, &model->now, record);
	for (unsigned j = i; j-- > 0;) {
		if (share_a_file(model, &model->records[j], &model->records[i])) {
			model_drop(model, &model->records[j]);
			i--;
		}
	}
	model_drop(model, &model->records[i]);
	return true;
}

void model_returned(struct model *model, struct record *record, bool counts)
{
	record->state = counts ? COUNTS : FAILED;
	record->returned = ++model->clock;
	for (unsigned i = 0; i < model->n_records;) {
		if (model->records[i].state == COUNTS && fold(model, &model->records[i]))
			i = 0;
		else
			i++;
	}
}

void model_risk(struct model *model)
{
	for (unsigned i = 0; i < model->n_records; i++)
		model->records[i].risky |= model->records[i].state == IN_FLIGHT;
}

bool model_in_flight(const struct model *model, unsigned file)
{
	for (unsigned i = 0; i < model->n_records; i++) {
		if (model->records[i].state != FAILED && model->records[i].of[file].there)
			return true;
	}
	return false;
}

void model_recovered(struct model *model, const struct contents *contents)
{
	model->now = *contents;
	model->n_records = 0;
}

/* ---- what is allowed ---- */

/* later is there, and earlier of the same file was begun before it: may, or must, that be there? */
static bool fits(const struct record *earlier, bool there, const struct record *later)
{
	bool beside = earlier->returned == 0 || later->begun < earlier->returned;

	if (earlier->state == COUNTS)
		return there;
	/* Who goes on after a failure goes on without what failed. */
	if (there)
		return beside && !(earlier->state == FAILED && later->state == COUNTS);
	return earlier->state == FAILED || earlier->risky;
}

static bool could_be(const struct model *model, unsigned set)
{
	for (unsigned i = 0; i < model->n_records; i++) {
		if (!(set >> i & 1)) {
			if (model->records[i].state == COUNTS)
				return false;
			continue;
		}
		for (unsigned j = 0; j < i; j++) {
			if (share_a_file(model, &model->records[i], &model->records[j]) &&
			    !fits(&model->records[j], set >> j & 1, &model->records[i]))
				return false;
		}
	}
	return true;
}

struct allowed model_allowed(const struct model *model)
{
	struct allowed allowed = {0};
	unsigned room = 0;

	for (unsigned set = 0; set < 1u << model->n_records; set++) {
		if (!could_be(model, set))
			continue;
		if (allowed.n == room) {
			room = room ? room * 2 : 2;
			allowed.list = realloc(allowed.list, room * sizeof(*allowed.list));
			ASSERT(allowed.list != NULL);
		}
		allowed.list[allowed.n] = model->now;
		for (unsigned i = 0; i < model->n_records; i++) {
			if (set >> i & 1)
				apply_record(model, &allowed.list[allowed.n], &model->records[i]);
		}
		allowed.n++;
	}
	ASSERT(allowed.n > 0);
	return allowed;
}

/* ---- what was allowed when ---- */

void timeline_mark(struct timeline *timeline, uint32_t from, struct allowed allowed)
{
	while (timeline->n > 0 && timeline->marks[timeline->n - 1].from >= from)
		free(timeline->marks[--timeline->n].allowed.list);
	if (timeline->n == timeline->room) {
		timeline->room = timeline->room ? timeline->room * 2 : 64;
		timeline->marks = realloc(timeline->marks, timeline->room * sizeof(*timeline->marks));
		ASSERT(timeline->marks != NULL);
	}
	timeline->marks[timeline->n++] = (struct mark){from, allowed};
}

const struct allowed *timeline_at(const struct timeline *timeline, uint32_t point)
{
	unsigned i = timeline->n;

	while (i > 0 && timeline->marks[i - 1].from > point)
		i--;
	ASSERT(i > 0);
	return &timeline->marks[i - 1].allowed;
}

void timeline_clear(struct timeline *timeline)
{
	for (unsigned i = 0; i < timeline->n; i++)
		free(timeline->marks[i].allowed.list);
	free(timeline->marks);
	*timeline = (struct timeline){0};
}
