/* SPDX-License-Identifier: MIT */
/*
 * frames.h - the frames of an object: a memfd, each frame at its page's own offset
 *
 * The engine reads and writes frames with read and write on the memfd and has no mapping of them itself: a second mapping's
 * page table entries would have to be flushed at every eviction, and a write of whole pages into a memfd becomes visible page by
 * page, each complete. docs/architecture.md has the measurements.
 *
 * Pages and numbers of pages; 0 or -errno; async-signal-safe.
 */
#ifndef QUIRE_SYS_FRAMES_H
#define QUIRE_SYS_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "sys/identity.h"

/* Each of the calls finds out whether the descriptor still is the memfd's: -EBADF. */
struct frames {
	int fd; /* -1: none */
	struct identity identity;
};

int frames_create(uint64_t pages, struct frames *ret);
/* With all frames given up, whoever else has the memfd. */
void frames_close(struct frames *frames);
/* Whether the descriptor still is the memfd's, before it is mapped: 0 or -EBADF. */
int frames_check(const struct frames *frames);
/* A descriptor of the same memfd that is for reading only. It or -errno. */
int frames_open_reader(int fd);
int frames_resize(const struct frames *frames, uint64_t pages);
/* Makes room for so many pages, where there is less. Not by two at once. */
int frames_reach(const struct frames *frames, uint64_t pages);
/* Allocates the frames that are not there and fills them. -ENOMEM: the machine has no memory. */
int frames_write(const struct frames *frames, uint64_t first, size_t pages, const void *source);
int frames_read(const struct frames *frames, uint64_t first, size_t pages, void *ret);
/* Zeroes bytes from offset to the end of its page. The frame must be there. */
int frames_zero_tail(const struct frames *frames, uint64_t offset_bytes);
/* Overwrites bytes inside of one frame that is there. */
int frames_patch(const struct frames *frames, uint64_t offset_bytes, size_t len, const void *source);
/* Gives frames back to the kernel, and takes them out of every mapping. */
int frames_free(const struct frames *frames, uint64_t first, uint64_t pages);

#endif
