/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - what the kernel knows of the pages of our mappings
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sys/page_size.h"
#include "sys/pagemap.h"

/* <linux/fs.h> of Debian 12 has none of this. */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN             _IOWR('f', 16, struct scan_arg)
#define SCAN_WP_MATCHING (1u << 0)
#define IS_WRITTEN       (1u << 1)
#define IS_FILE          (1u << 2)
#define IS_PRESENT       (1u << 3)
#define IS_SWAPPED       (1u << 4)

int pagemap_open(int *ret_fd)
{
	struct scan_arg arg = {.size = sizeof(arg)};
	int fd = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SCAN, &arg) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* A run is wiped out of the regions when found has returned: what is in them is told, and not known to anybody yet. */
static int scan_into(struct pagemap_run regions[PAGEMAP_RUNS], int fd, struct scan_arg *arg, char *addr, char *end,
		     void (*found)(void *, void *, size_t), void *context)
{
	arg->size = sizeof(*arg);
	arg->vec = (uintptr_t)regions;
	arg->vec_len = PAGEMAP_RUNS;
	arg->end = (uintptr_t)end;
	while (addr < end) {
		int n;

		arg->start = (uintptr_t)addr;
		n = ioctl(fd, SCAN, arg);
		if (n < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			/* The program has closed it, and the number is another file's. */
			return errno == ENOTTY ? -EBADF : -errno;
		}
		for (int i = 0; i < n; i++) {
			found(context, (void *)(uintptr_t)regions[i].start, (regions[i].end - regions[i].start) >> page_shift);
			regions[i] = (struct pagemap_run){0};
		}
		if ((char *)(uintptr_t)arg->walk_end <= addr)
			return -EIO;
		addr = (char *)(uintptr_t)arg->walk_end;
	}
	return 0;
}

static int scan(int fd, struct scan_arg *arg, char *addr, char *end, void (*found)(void *, void *, size_t), void *context)
{
	struct pagemap_run regions[PAGEMAP_RUNS];

	return scan_into(regions, fd, arg, addr, end, found, context);
}

int pagemap_take_written(int fd, void *addr, size_t pages, struct pagemap_taken *taken,
			 void (*found)(void *arg, void *addr, size_t pages), void *context)
{
	struct scan_arg arg = {
	    .flags = SCAN_WP_MATCHING,
	    .category_mask = IS_WRITTEN,
	    .category_anyof_mask = IS_PRESENT | IS_SWAPPED,
	    .return_mask = IS_WRITTEN,
	};

	return scan_into(taken->runs, fd, &arg, addr, (char *)addr + pages * page_size(), found, context);
}

int pagemap_find_written(int fd, void *addr, size_t pages, void (*found)(void *arg, void *addr, size_t pages), void *context)
{
	struct scan_arg arg = {.category_mask = IS_WRITTEN | IS_PRESENT, .return_mask = IS_WRITTEN};

	return scan(fd, &arg, addr, (char *)addr + pages * page_size(), found, context);
}

struct bitmap_fill {
	char *base;
	uint64_t *bitmap;
};

static void bitmap_add(void *context, void *addr, size_t pages)
{
	struct bitmap_fill *fill = context;
	size_t first = (size_t)((char *)addr - fill->base) >> page_shift;

	for (size_t i = first; i < first + pages; i++)
		fill->bitmap[i / 64] |= 1ull << (i % 64);
}

static int scan_bitmap(int fd, struct scan_arg *arg, void *addr, size_t pages, uint64_t *ret_bitmap)
{
	struct bitmap_fill fill = {addr, ret_bitmap};

	memset(ret_bitmap, 0, PAGEMAP_WORDS * sizeof(*ret_bitmap));
	return scan(fd, arg, addr, (char *)addr + pages * page_size(), bitmap_add, &fill);
}

int pagemap_there(int fd, void *addr, size_t pages, uint64_t *ret_bitmap)
{
	struct scan_arg arg = {.category_anyof_mask = IS_PRESENT | IS_SWAPPED, .return_mask = IS_PRESENT | IS_SWAPPED};

	return scan_bitmap(fd, &arg, addr, pages, ret_bitmap);
}

int pagemap_marked(int fd, void *addr, size_t pages, uint64_t *ret_bitmap)
{
	struct scan_arg arg = {
	    .category_mask = IS_SWAPPED | IS_WRITTEN,
	    .category_inverted = IS_WRITTEN,
	    .return_mask = IS_SWAPPED,
	};

	return scan_bitmap(fd, &arg, addr, pages, ret_bitmap);
}

int pagemap_private(int fd, void *addr, size_t pages, uint64_t *ret_bitmap)
{
	struct scan_arg arg = {
	    .category_mask = IS_PRESENT | IS_FILE,
	    .category_inverted = IS_FILE,
	    .return_mask = IS_PRESENT,
	};

	return scan_bitmap(fd, &arg, addr, pages, ret_bitmap);
}
