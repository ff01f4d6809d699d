/* SPDX-License-Identifier: MIT */
/*
 * aperture.h - mappings of the engine's own, through which storage writes a whole chunk into a frame of 2 MiB
 *
 * An aperture is a buffer that is not copied from: its memory is the frame, which comes to be as one because the mapping asks for it. It is there
 * for as long as the transfer, so that nothing else ever meets its page table entries. A few are enough: storage is busy with one, and each is
 * a reader's of his own.
 */
#ifndef QUIRE_CACHE_APERTURE_H
#define QUIRE_CACHE_APERTURE_H

#include "cache/buffer.h"
#include "sys/frames.h"

#define APERTURES 8

struct apertures {
	struct lock lock;
	struct buffer all[APERTURES];
	struct buffer *free; /* [lock] */
};

/* Reserves addresses. 0 or -errno. */
int apertures_create(struct apertures *apertures);
void apertures_done(struct apertures *apertures);

/* An aperture that shows nothing yet. NULL: none is free. Any thread; async-signal-safe, as the others. */
struct buffer *aperture_try(struct apertures *apertures);
/*
 * Opens it onto the chunk that begins at page first, all of whose words are the caller's: touching it makes the frames, and the kernel may do so
 * by itself, where the program has called its mlockall.
 * => 0; -errno: it is of no use any more, and the caller forgets it. What is at its addresses then may be somebody else's.
 */
int aperture_open(struct apertures *apertures, struct buffer *aperture, const struct frames *frames, uint64_t first);
/* Ends the mapping, if there is one, and gives the aperture back. The frames stay. */
void aperture_put(struct apertures *apertures, struct buffer *aperture);

#endif
