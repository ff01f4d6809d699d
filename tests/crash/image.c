/* SPDX-License-Identifier: MIT */
/*
 * image.c - what a crash may leave on the disks of a history
 */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/assert.h"

enum keep { KEEP_NOT, KEEP_ALL, KEEP_FIRST_SECTORS, KEEP_LAST_SECTORS, KEEP_SOME_SECTORS, KEEP_ALL_BUT_ONE_SECTOR, KEEPS };

static bool resizes(const struct event *event)
{
	return event->size_after != event->size_before;
}

static bool bytes_are_open(const struct event *event, uint32_t point)
{
	return event->kind == EVENT_WRITE && (event->settled >= point || event->fate == FATE_LIMBO);
}

static bool size_is_open(const struct event *event, uint32_t point)
{
	return resizes(event) && event->sized >= point;
}

static bool is_open(const struct event *event, uint32_t point)
{
	return bytes_are_open(event, point) || size_is_open(event, point);
}

/* ---- bytes ---- */

static void image_room(struct image *image, size_t size)
{
	if (size <= image->room)
		return;
	image->room = size + size / 2;
	image->bytes = realloc(image->bytes, image->room);
	ASSERT(image->bytes != NULL);
}

static void image_resize(struct image *image, size_t size)
{
	image_room(image, size);
	if (size > image->size)
		memset(image->bytes + image->size, 0, size - image->size);
	image->size = size;
}

static void image_copy(struct image *to, const struct image *from)
{
	image_room(to, from->size);
	if (from->size)
		memcpy(to->bytes, from->bytes, from->size);
	to->size = from->size;
}

static void image_put(struct image *image, uint64_t offset, const unsigned char *bytes, size_t len)
{
	if (offset + len > image->size)
		image_resize(image, offset + len);
	memcpy(image->bytes + offset, bytes, len);
}

static void apply(struct image *image, const struct event *event)
{
	if (event->kind == EVENT_WRITE)
		image_put(image, event->offset, event->bytes, event->len);
	else
		image_resize(image, event->size_after);
}

/* Which sectors of a torn write are there. */
static void apply_torn(struct image *image, const struct event *event, enum keep keep, struct rng rng)
{
	size_t sectors = (event->len + SECTOR - 1) / SECTOR;
	size_t cut = (size_t)rng_below(&rng, (int64_t)sectors);

	for (size_t i = 0; i < sectors; i++) {
		size_t at = i * SECTOR, len = event->len - at < SECTOR ? event->len - at : SECTOR;
		bool there = keep == KEEP_FIRST_SECTORS  ? i < cut
			     : keep == KEEP_LAST_SECTORS ? i > cut
			     : keep == KEEP_SOME_SECTORS ? rng_percent(&rng, 50)
							 : i != cut;

		if (there)
			image_put(image, event->offset + at, event->bytes + at, len);
	}
}

/* ---- the imager ---- */

void imager_make(struct imager *imager, const struct history *history)
{
	*imager = (struct imager){.history = history};
	for (unsigned i = 0; i < history->n_disks; i++) {
		const struct disk *disk = history->disks[i];

		image_resize(&imager->floor[i], disk->base_size);
		if (disk->base_size)
			memcpy(imager->floor[i].bytes, disk->base, disk->base_size);
	}
}

void imager_done(struct imager *imager)
{
	for (unsigned i = 0; i < imager->history->n_disks; i++)
		free(imager->floor[i].bytes);
	free(imager->open);
	free(imager->keep);
}

static void raise_floor(struct imager *imager, unsigned disk)
{
	uint32_t i;

	for (i = imager->floor_end[disk]; i < imager->point; i++) {
		const struct event *event = &imager->history->events[i];

		if (event->disk != disk || !event_changes(event))
			continue;
		if (is_open(event, imager->point))
			break;
		if (event->kind == EVENT_RESIZE || event->fate == FATE_STABLE)
			apply(&imager->floor[disk], event);
		else if (resizes(event))
			image_resize(&imager->floor[disk], event->size_after);
	}
	imager->floor_end[disk] = i;
}

static void find_open(struct imager *imager)
{
	imager->n_open = 0;
	memset(imager->n_sizes, 0, sizeof(imager->n_sizes));
	for (uint32_t i = 0; i < imager->point; i++) {
		const struct event *event = &imager->history->events[i];

		if (i < imager->floor_end[event->disk] || !event_changes(event) || !is_open(event, imager->point))
			continue;
		if (imager->n_open == imager->room) {
			imager->room = imager->room ? imager->room * 2 : 64;
			imager->open = realloc(imager->open, imager->room * sizeof(*imager->open));
			imager->keep = realloc(imager->keep, imager->room);
			ASSERT(imager->open != NULL && imager->keep != NULL);
		}
		imager->open[imager->n_open++] = i;
		if (size_is_open(event, imager->point))
			imager->n_sizes[event->disk]++;
	}
}

void imager_move(struct imager *imager, uint32_t point)
{
	ASSERT(point >= imager->point && point <= imager->history->count);
	imager->point = point;
	for (unsigned i = 0; i < imager->history->n_disks; i++)
		raise_floor(imager, i);
	find_open(imager);
}

uint64_t imager_systematic(const struct imager *imager)
{
	return imager->n_open == 0 ? 1 : 4 + 5 * (uint64_t)imager->n_open;
}

static void keep_sizes(struct imager *imager, bool all)
{
	for (unsigned i = 0; i < imager->history->n_disks; i++)
		imager->size_cut[i] = all ? imager->n_sizes[i] : 0;
}

static enum keep some_tear(struct rng *rng)
{
	return KEEP_FIRST_SECTORS + (enum keep)rng_below(rng, KEEPS - KEEP_FIRST_SECTORS);
}

static void choose_by_lot(struct imager *imager, struct rng *rng)
{
	/* Now most are there, now few. */
	int there = (int)rng_below(rng, 101), torn = rng_percent(rng, 50) ? 20 : 0;

	for (unsigned i = 0; i < imager->n_open; i++)
		imager->keep[i] = rng_percent(rng, torn) ? some_tear(rng) : rng_percent(rng, there) ? KEEP_ALL : KEEP_NOT;
	for (unsigned i = 0; i < imager->history->n_disks; i++)
		imager->size_cut[i] = rng_percent(rng, 50) ? imager->n_sizes[i] : (unsigned)rng_below(rng, imager->n_sizes[i] + 1);
}

static void choose_around(struct imager *imager, unsigned way, unsigned one, struct rng *rng)
{
	for (unsigned i = 0; i < imager->n_open; i++) {
		enum keep others = way == 0 || way == 4 ? KEEP_ALL : way == 1 ? KEEP_NOT : i < one ? KEEP_ALL : KEEP_NOT;

		imager->keep[i] = i != one ? others : way == 0 ? KEEP_NOT : way < 3 ? KEEP_ALL : some_tear(rng);
	}
	keep_sizes(imager, true);
}

static void choose(struct imager *imager, uint64_t seed, uint64_t number, struct rng *rng)
{
	*rng = rng_stream(seed ^ imager->point, number);
	if (number >= imager_systematic(imager)) {
		choose_by_lot(imager, rng);
	} else if (number < 4) {
		memset(imager->keep ? imager->keep : (unsigned char[1]){0}, number == 1 || number == 3 ? KEEP_ALL : KEEP_NOT,
		       imager->n_open);
		keep_sizes(imager, number == 1 || number == 2);
	} else {
		choose_around(imager, (unsigned)((number - 4) / imager->n_open), (unsigned)((number - 4) % imager->n_open), rng);
	}
}

/* Whether the change of size that an event is, or brings along, is there. Those that are open count up to size_cut. */
static bool size_is_there(const struct imager *imager, const struct event *event, unsigned *sizes)
{
	return size_is_open(event, imager->point) ? (*sizes)++ < imager->size_cut[event->disk] : resizes(event);
}

static void make_step(const struct event *event, enum keep keep, bool sized, struct rng rng, struct image *image, size_t *size)
{
	if (sized)
		*size = event->kind == EVENT_RESIZE || event->size_after > *size ? event->size_after : *size;
	if (event->kind == EVENT_RESIZE) {
		if (sized)
			image_resize(image, *size);
		return;
	}
	if (keep == KEEP_ALL)
		apply(image, event);
	else if (keep != KEEP_NOT)
		apply_torn(image, event, keep, rng);
}

/* Where a size is not there, bytes beyond it are nowhere in the end. */
static void make_one(struct imager *imager, unsigned disk, struct rng rng, struct image *image)
{
	size_t size = imager->floor[disk].size;
	unsigned open = 0, sizes = 0;

	image_copy(image, &imager->floor[disk]);
	while (open < imager->n_open && imager->open[open] < imager->floor_end[disk])
		open++;
	for (uint32_t i = imager->floor_end[disk]; i < imager->point; i++) {
		const struct event *event = &imager->history->events[i];
		bool listed = open < imager->n_open && imager->open[open] == i;
		enum keep keep = listed ? imager->keep[open] : KEEP_NOT;

		open += listed;
		if (event->disk != disk || !event_changes(event))
			continue;
		if (!bytes_are_open(event, imager->point))
			keep = event->fate == FATE_STABLE ? KEEP_ALL : KEEP_NOT;
		make_step(event, keep, size_is_there(imager, event, &sizes), rng_stream(rng.state, i), image, &size);
	}
	image_resize(image, size);
}

void imager_make_image(struct imager *imager, uint64_t seed, uint64_t number, struct image images[])
{
	struct rng rng;

	choose(imager, seed, number, &rng);
	for (unsigned i = 0; i < imager->history->n_disks; i++)
		make_one(imager, i, rng, &images[i]);
}

void imager_describe(struct imager *imager, uint64_t seed, uint64_t number, char *text, size_t room)
{
	static const char *const words[KEEPS] = {"not there",        "there",        "its first sectors",
						 "its last sectors", "some sectors", "all but one sector"};
	struct rng rng;
	size_t n = 0;

	choose(imager, seed, number, &rng);
	text[0] = '\0';
	for (unsigned i = 0; i < imager->n_open && n < room; i++)
		n += (size_t)snprintf(text + n, room - n, "      event %u: %s\n", imager->open[i], words[imager->keep[i]]);
	for (unsigned i = 0; i < imager->history->n_disks && n < room; i++) {
		if (imager->n_sizes[i])
			n += (size_t)snprintf(text + n, room - n, "      disk %u: %u of %u changes of its size\n", i,
					      imager->size_cut[i], imager->n_sizes[i]);
	}
}

size_t image_of_settled(const struct history *history, unsigned disk, unsigned char **bytes, size_t *room)
{
	const struct disk *from = history->disks[disk];
	struct image image = {*bytes, 0, *room};

	image_resize(&image, from->base_size);
	if (from->base_size)
		memcpy(image.bytes, from->base, from->base_size);
	for (uint32_t i = 0; i < history->count; i++) {
		const struct event *event = &history->events[i];

		if (event->disk != disk || !event_changes(event))
			continue;
		if (event->kind == EVENT_RESIZE || event->settled == NEVER || event->fate != FATE_LOST)
			apply(&image, event);
		else
			image_resize(&image, event->size_after > image.size ? event->size_after : image.size);
	}
	*bytes = image.bytes;
	*room = image.room;
	return image.size;
}
