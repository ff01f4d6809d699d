/* SPDX-License-Identifier: MIT */
/*
 * window.h - mappings of the engine's own, through which storage writes a whole chunk into a frame of 2 MiB
 *
 * A window is a buffer that is not copied from: its memory is the frame, which comes to be as one because the mapping asks for it. It is there
 * for as long as the transfer, so that nothing else ever meets its page table entries. A few are enough: storage is busy with one, and each is
 * a reader's of his own.
 */
#ifndef QUIRE_CACHE_WINDOW_H
#define QUIRE_CACHE_WINDOW_H

#include "cache/buffer.h"
#include "sys/frames.h"

#define WINDOWS 8

struct windows {
	struct lock lock;
	struct buffer all[WINDOWS];
	struct buffer *free; /* [lock] */
	char *map;           /* NULL: none */
	size_t map_bytes;
};

/* Reserves addresses. 0 or -errno. */
int windows_create(struct windows *windows);
void windows_done(struct windows *windows);

/*
 * A window onto the chunk that begins at page first, whose pages have no frames. NULL: none is free, or it cannot be mapped. Touching it makes
 * the frames. Any thread; async-signal-safe.
 */
struct buffer *window_try(struct windows *windows, const struct frames *frames, uint64_t first);
/* Ends the mapping, and gives the window back. */
void window_put(struct windows *windows, struct buffer *window);

#endif
