/* SPDX-License-Identifier: MIT */
/*
 * image.h - what a crash may leave on the disks of a history
 *
 * A crash point is a number of events: those have happened, and nothing after. What was stable then is on the disks. Of what was not
 * (the open events) any part may be: each write was made, or not, or some of its sectors; of the changes of a disk's size the first few,
 * as a filesystem keeps them in order. Writes to one place keep their order.
 *
 * The images of a crash point are numbered. The first ones are what is most telling:
 *
 *      nothing open is there; everything is; all sizes and no write; all writes and no size
 *      everything but one     (a later write is there, one before it is not)
 *      one alone
 *      the first few
 *      the first few, and the next one torn
 *      everything, and one torn
 *
 * Then come as many as one likes in which each is there, gone or torn by lot.
 */
#ifndef CRASH_IMAGE_H
#define CRASH_IMAGE_H

#include "disk.h"

struct image {
	unsigned char *bytes;
	size_t size, room;
};

/* Makes images of one history, at crash points that rise. */
struct imager {
	const struct history *history;
	uint32_t point;
	struct image floor[DISKS_MAX]; /* with all events of the disk before floor_end, none of which is open */
	uint32_t floor_end[DISKS_MAX];
	uint32_t *open; /* events that are open at point, of all disks, in their order */
	unsigned n_open, room;
	unsigned char *keep; /* for each of them: enum keep */
	unsigned n_sizes[DISKS_MAX], size_cut[DISKS_MAX];
};

void imager_make(struct imager *imager, const struct history *history);
void imager_done(struct imager *imager);
/* point: not less than the one before; at most history->count. */
void imager_move(struct imager *imager, uint32_t point);

/* How many images of the point are not made by lot. */
uint64_t imager_systematic(const struct imager *imager);
/* Image number n, from 0 on, into one for each disk. The same seed and number make the same one. */
void imager_make_image(struct imager *imager, uint64_t seed, uint64_t number, struct image images[]);
/* What number n is, in words. */
void imager_describe(struct imager *imager, uint64_t seed, uint64_t number, char *text, size_t room);

/* The bytes of a disk by what is settled at the end of a history: open events count as made. Returns the size. */
size_t image_of_settled(const struct history *history, unsigned disk, unsigned char **bytes, size_t *room);

#endif
