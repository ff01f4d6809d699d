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

int frames_create(uint64_t pages, int *ret_fd);
/* A descriptor of the same memfd that is for reading only. It or -errno. */
int frames_open_reader(int fd);
int frames_resize(int fd, uint64_t pages);
/* Makes room for so many pages, where there is less. Not by two at once. */
int frames_reach(int fd, uint64_t pages);
/* Allocates the frames that are not there and fills them. -ENOMEM: the machine has no memory. */
int frames_write(int fd, uint64_t first, size_t pages, const void *source);
int frames_read(int fd, uint64_t first, size_t pages, void *ret);
/* Zeroes bytes from offset to the end of its page. The frame must be there. */
int frames_zero_tail(int fd, uint64_t offset_bytes);
/* Overwrites bytes inside of one frame that is there. */
int frames_patch(int fd, uint64_t offset_bytes, size_t len, const void *source);
/* Gives frames back to the kernel, and takes them out of every mapping. */
int frames_free(int fd, uint64_t first, uint64_t pages);

#endif
