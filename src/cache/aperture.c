/* SPDX-License-Identifier: MIT */
/*
 * aperture.c - mappings of the engine's own, through which storage writes a whole chunk into a frame of 2 MiB
 */
#include "cache/aperture.h"

#include <errno.h>
#include <sys/mman.h>

#include "cache/chunk.h"
#include "sys/memory.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define APERTURE_BYTES ((size_t)CHUNK_PAGES << page_shift)

/* In the place of what is there; fd -1: nothing, that can be touched. 0 or -errno: the addresses may be free for anybody. */
static int place(char *addr, int fd, off_t offset)
{
	struct memory_op op = {
	    .kind = MEMORY_MAP,
	    .addr = addr,
	    .len = APERTURE_BYTES,
	    .arg = fd < 0 ? PROT_NONE : PROT_READ | PROT_WRITE,
	    .flags = MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
	    .fd = fd,
	    .offset = offset,
	    .ours = fd >= 0,
	    .nodump = fd >= 0,
	};
	long r = fail_now(FAIL_MAP) ? -ENOMEM : memory_do(&op);

	return r < 0 && r > -4096 ? (int)r : 0;
}

static void put(struct apertures *apertures, struct buffer *aperture)
{
	lock_acquire(&apertures->lock);
	aperture->next = apertures->free;
	apertures->free = aperture;
	lock_release(&apertures->lock);
}

int apertures_create(struct apertures *apertures)
{
	size_t bytes = APERTURES * APERTURE_BYTES, before;
	char *map = mmap(NULL, bytes + APERTURE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -errno;
	before = -(uintptr_t)map & (APERTURE_BYTES - 1);
	if (before > 0)
		munmap(map, before);
	munmap(map + before + bytes, APERTURE_BYTES - before);
	for (unsigned i = 0; i < APERTURES; i++) {
		apertures->all[i] =
		    (struct buffer){.data = map + before + i * APERTURE_BYTES, .pages = CHUNK_PAGES, .is_aperture = true};
		put(apertures, &apertures->all[i]);
	}
	return 0;
}

/* Those that were given up are not: their addresses may have been somebody else's since. */
void apertures_done(struct apertures *apertures)
{
	for (; apertures->free; apertures->free = apertures->free->next)
		munmap(apertures->free->data, APERTURE_BYTES);
}

struct buffer *aperture_try(struct apertures *apertures)
{
	struct buffer *aperture;

	lock_acquire(&apertures->lock);
	aperture = apertures->free;
	if (aperture)
		apertures->free = aperture->next;
	lock_release(&apertures->lock);
	return aperture;
}

int aperture_open(struct apertures *apertures, struct buffer *aperture, const struct frames *frames, uint64_t first)
{
	int r = frames_check(frames);

	if (r < 0) {
		put(apertures, aperture);
		return r;
	}
	r = place(aperture->data, frames->fd, (off_t)(first << page_shift));
	/* Where it cannot be had the frames are of a page each. */
	aperture->is_open = r == 0;
	if (r == 0)
		(void)madvise(aperture->data, APERTURE_BYTES, MADV_HUGEPAGE);
	return r;
}

void aperture_put(struct apertures *apertures, struct buffer *aperture)
{
	if (aperture->is_open && place(aperture->data, -1, 0) < 0)
		return;
	aperture->is_open = false;
	put(apertures, aperture);
}
