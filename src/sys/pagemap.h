/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - what the kernel knows of the pages of our mappings: present, written, marked
 *
 * Needs PAGEMAP_SCAN (Linux 6.7). Every function returns 0 or -errno and is async-signal-safe. A bitmap covers at most
 * PAGEMAP_PAGES pages from addr on, bit i of word i / 64 for page i.
 */
#ifndef QUIRE_SYS_PAGEMAP_H
#define QUIRE_SYS_PAGEMAP_H

#include <stddef.h>
#include <stdint.h>

#define PAGEMAP_PAGES 512
#define PAGEMAP_WORDS (PAGEMAP_PAGES / 64)

/* A descriptor for the calls below, close-on-exec; or -errno (ENOTTY, EINVAL: the kernel has no PAGEMAP_SCAN). */
int pagemap_open(int *ret_fd);

#define PAGEMAP_RUNS 32

/* As the kernel has it: addresses. start 0: none. */
struct pagemap_run {
	uint64_t start, end, categories;
};

/* What the kernel has told, and has forgotten by telling: it is in here until found has been called with it. All zeros at first. */
struct pagemap_taken {
	struct pagemap_run runs[PAGEMAP_RUNS];
};

/*
 * Finds the pages that were written since they were last write-protected, and write-protects them again, in one step that no
 * store can slip through. found is called for each run, in order, as often as needed.
 */
int pagemap_take_written(int fd, void *addr, size_t pages, struct pagemap_taken *taken,
			 void (*found)(void *arg, void *addr, size_t pages), void *arg);

/* The same of pages that are present, and changes nothing. */
int pagemap_find_written(int fd, void *addr, size_t pages, void (*found)(void *arg, void *addr, size_t pages), void *arg);

/*
 * Pages whose entry holds something: they are mapped, or on their way from one frame of the kernel's to another, or carry a mark.
 */
int pagemap_there(int fd, void *addr, size_t pages, uint64_t *ret_bitmap);

/*
 * After an unmapping: pages whose entry still carries the mark of write protection, so that nothing was stored between the last
 * protection and the unmapping.
 */
int pagemap_marked(int fd, void *addr, size_t pages, uint64_t *ret_bitmap);

/* Pages that are private copies. */
int pagemap_private(int fd, void *addr, size_t pages, uint64_t *ret_bitmap);

#endif
