/* SPDX-License-Identifier: MIT */
/*
 * window.c - mappings of the engine's own, through which storage writes a whole chunk into a frame of 2 MiB
 */
#include "cache/window.h"

#include <errno.h>
#include <sys/mman.h>

#include "cache/chunk.h"
#include "sys/memory.h"
#include "sys/page_size.h"

#define WINDOW_BYTES ((size_t)CHUNK_PAGES << page_shift)

/* In the place of what is there; fd -1: nothing, that can be touched. 0 or -errno. */
static int place(char *addr, int fd, off_t offset)
{
	struct memory_op op = {
	    .kind = MEMORY_MAP,
	    .addr = addr,
	    .len = WINDOW_BYTES,
	    .arg = fd < 0 ? PROT_NONE : PROT_READ | PROT_WRITE,
	    .flags = MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
	    .fd = fd,
	    .offset = offset,
	    .ours = fd >= 0,
	    .nodump = fd >= 0,
	};
	long r = memory_do(&op);

	return r < 0 && r > -4096 ? (int)r : 0;
}

int windows_create(struct windows *windows)
{
	char *map, *data;

	windows->map_bytes = (WINDOWS + 1) * WINDOW_BYTES;
	map = mmap(NULL, windows->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	data = (char *)(((uintptr_t)map + WINDOW_BYTES - 1) & ~(WINDOW_BYTES - 1));
	windows->map = map;
	for (unsigned i = 0; i < WINDOWS; i++) {
		struct buffer *window = &windows->all[i];

		*window = (struct buffer){.data = data + i * WINDOW_BYTES, .pages = CHUNK_PAGES, .is_window = true};
		window->next = windows->free;
		windows->free = window;
	}
	return 0;
}

void windows_done(struct windows *windows)
{
	if (windows->map)
		munmap(windows->map, windows->map_bytes);
	windows->map = NULL;
}

static void put(struct windows *windows, struct buffer *window)
{
	lock_acquire(&windows->lock);
	window->next = windows->free;
	windows->free = window;
	lock_release(&windows->lock);
}

struct buffer *window_try(struct windows *windows, const struct frames *frames, uint64_t first)
{
	struct buffer *window;

	lock_acquire(&windows->lock);
	window = windows->free;
	if (window)
		windows->free = window->next;
	lock_release(&windows->lock);
	if (!window)
		return NULL;
	if (frames_check(frames) < 0 || place(window->data, frames->fd, (off_t)(first << page_shift)) < 0) {
		put(windows, window);
		return NULL;
	}
	/* Where it cannot be had the frames are of a page each. */
	(void)madvise(window->data, WINDOW_BYTES, MADV_HUGEPAGE);
	return window;
}

void window_put(struct windows *windows, struct buffer *window)
{
	/* The frames stay. Where the kernel has no memory to say so, the mapping stays until the window is used again. */
	(void)place(window->data, -1, 0);
	put(windows, window);
}
