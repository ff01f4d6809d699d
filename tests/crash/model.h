/* SPDX-License-Identifier: MIT */
/*
 * model.h - what the files of a journal must be: after each commit, and after a crash at any moment
 *
 * The bytes of a page are made from a tag, which no two stores share. A commit that was begun is a record: what it changes of one file
 * or several, and what has become of it.
 *
 *      IN_FLIGHT ── returned 0 ──────▶ COUNTS      it is there after every crash
 *          └─────── returned errno ──▶ FAILED      a crash may show it, until a later commit of its files counts
 *
 * What a crash may leave is what follows from what counts, and each combination of the others that could be: in their order, a later one
 * only with those before it, where none had been returned when it was begun.
 */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGES_MAX = 48, FILES_MAX = 3, RECORDS_MAX = 10 };

/* The bytes of a page: so many that are made from the tag, then zeros. tag 0: all zeros. */
struct leaf {
	uint64_t tag;
	uint32_t valid;
};

void leaf_fill(struct leaf leaf, unsigned char *page);
/* The first byte of len that is wrong, or -1. */
int64_t leaf_check(struct leaf leaf, const unsigned char *page, size_t len);
/* What page says that it is, for messages. */
uint64_t leaf_tag(const unsigned char *page);
static inline bool leaf_equal(struct leaf a, struct leaf b)
{
	return a.tag == b.tag && (a.tag == 0 || a.valid == b.valid);
}
/* Cut at a size of the file, of which this is page. */
struct leaf leaf_cut(struct leaf leaf, uint64_t page, uint64_t bytes);

struct content {
	uint64_t bytes;
	struct leaf pages[PAGES_MAX];
};

/* Of all files, together. */
struct contents {
	struct content files[FILES_MAX];
};

bool content_equal(const struct content *a, const struct content *b);

/* What a commit changes of one file. */
struct change {
	bool there, with_size;
	uint64_t bytes, least;      /* of with_size: pages from least on are zeros, if they are not here */
	uint64_t cut;               /* the least size that was set since it was handed over */
	uint64_t has, by_reference; /* bits of pages; the latter had been spilled */
	struct leaf pages[PAGES_MAX];
};

enum record_state { IN_FLIGHT, COUNTS, FAILED };

struct record {
	struct change of[FILES_MAX];
	enum record_state state;
	bool risky;               /* something failed while it was in flight */
	uint32_t begun, returned; /* by the model's clock; returned 0: not yet */
};

struct model {
	unsigned n_files;
	struct contents now; /* what counts, and all before it */
	struct record records[RECORDS_MAX];
	unsigned n_records;
	uint32_t clock;
};

/* A record to be filled in; NULL: there are too many. */
struct record *model_begin(struct model *model);
/* It was never handed over. */
void model_drop(struct model *model, struct record *record);
/* The others' places may change by it. */
void model_returned(struct model *model, struct record *record, bool counts);
/* An operation was made to fail: what is in flight may fail for it. */
void model_risk(struct model *model);
/* A commit of the file has not been returned, or counts and one before it has not. */
bool model_in_flight(const struct model *model, unsigned file);
/* This is what a crash has left. */
void model_recovered(struct model *model, const struct contents *contents);

/* What a crash may leave. */
struct allowed {
	struct contents *list;
	unsigned n;
};

struct allowed model_allowed(const struct model *model);

/* ---- what was allowed when ---- */

struct mark {
	uint32_t from; /* crash points from here on */
	struct allowed allowed;
};

struct timeline {
	struct mark *marks;
	unsigned n, room;
};

/* Takes allowed over. */
void timeline_mark(struct timeline *timeline, uint32_t from, struct allowed allowed);
const struct allowed *timeline_at(const struct timeline *timeline, uint32_t point);
void timeline_clear(struct timeline *timeline);

#endif
