/* SPDX-License-Identifier: MIT */
/*
 * frames.h - the frames of an object: a file of memory, called its memfd, each frame at its page's own offset
 *
 * The engine reads and writes frames with read and write on the memfd and has no lasting mapping of them itself: a second mapping's
 * page table entries would have to be flushed at every eviction, and a write of whole pages into a memfd becomes visible page by
 * page, each complete. docs/architecture.md has the measurements.
 *
 * Pages and numbers of pages; 0 or -errno; async-signal-safe.
 */
#ifndef QUIRE_SYS_FRAMES_H
#define QUIRE_SYS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/identity.h"

/*
 * Where memfds come from: memfd_create, or a mount of tmpfs that nobody else sees, which takes a privilege. On the mount the engine decides how
 * large a frame is, not the administrator's setting for memory of all kinds.
 */
struct frames_source {
	int mount; /* -1: memfd_create */
	struct identity identity;
	bool large; /* frames of 2 MiB can be made, by an aperture (cache/aperture.h) */
};

/* Each of the calls finds out whether the descriptor still is the memfd's: -EBADF. */
struct frames {
	int fd; /* -1: none */
	bool large;
	struct identity identity;
};

/*
 * privileged: a mount is tried. large: frames of 2 MiB are wanted.
 * => 0; -EOPNOTSUPP: this kernel makes larger frames than of a page unasked, for which there is no room in the budget, and of whose pages it does
 *    not tell where one was stored to when it takes them apart.
 */
int frames_source_open(bool privileged, bool large, struct frames_source *ret);
void frames_source_close(struct frames_source *source);

/* source: NULL: memfd_create. */
int frames_create(const struct frames_source *source, uint64_t pages, struct frames *ret);
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
