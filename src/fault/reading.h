/* SPDX-License-Identifier: MIT */
/*
 * reading.h - what is read for a fault, and what goes for it
 */
#ifndef QUIRE_FAULT_READING_H
#define QUIRE_FAULT_READING_H

#include "space/area.h"

/* What is to be read through an area, as it was when that was planned. */
struct reading {
	struct readahead_plan plan;
	enum readahead_advice advice;
	uint64_t page;        /* that was touched */
	uint32_t flags;       /* for the words of pages that come in */
	struct once_out used; /* what is to be dropped for them */
};

/* A page was missed, or one with a mark was touched. Map lock. resident_before: the page before is resident. */
void reading_begins(struct area *area, uint64_t page, bool resident_before, struct reading *ret);
void reading_goes_on(struct area *area, uint64_t page, struct reading *ret);

/* Reads what was planned for a missed page, and waits for that: results and placement as object_load. No lock held. */
int reading_wait(const struct reading *reading, struct object *object, struct placement *placement);

/* Begins to read what was planned at a mark. Nothing where there is no plan. No lock held. */
void reading_ahead(const struct reading *reading, struct object *object);

#endif
