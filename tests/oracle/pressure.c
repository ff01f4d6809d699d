/* SPDX-License-Identifier: MIT */
/*
 * pressure.c - memory beside the window that makes the engine page out
 *
 * Half of it is private and anonymous, half a file. Each page has one cell with the number that was last stored there. The children
 * of a fork have copies of the one half, and share the other, and so it is with what they know of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rng.h"
#include "side.h"

struct pressure {
	const struct calls *calls;
	unsigned char *anonymous, *file;
	size_t half_bytes;
	uint64_t *cells, *shared_cells; /* what each page's cell holds: anonymous ones, those of the file */
	int fd;
};

struct pressure *pressure_new(const struct calls *calls, const char *directory, size_t bytes)
{
	struct pressure *p = calloc(1, sizeof(*p));
	size_t page = (size_t)page_bytes();

	if (p == NULL)
		abort();
	p->calls = calls;
	p->half_bytes = (bytes / 2 / page + 1) * page;
	p->cells = calloc(p->half_bytes / page, sizeof(uint64_t));
	p->shared_cells =
	    mmap(NULL, p->half_bytes / page * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p->fd = open_unlinked(directory);
	if (p->cells == NULL || p->shared_cells == MAP_FAILED || p->fd < 0 || ftruncate(p->fd, (off_t)p->half_bytes) != 0)
		return NULL;
	p->anonymous = calls->mmap(NULL, p->half_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p->file = calls->mmap(NULL, p->half_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->anonymous == MAP_FAILED || p->file == MAP_FAILED) {
		fprintf(stderr, "oracle: %s cannot map the pressure: %s %s\n", calls->name, strerror(errno), calls->errormsg());
		return NULL;
	}
	return p;
}

void pressure_free(struct pressure *p)
{
	if (p == NULL)
		return;
	p->calls->munmap(p->anonymous, p->half_bytes);
	p->calls->munmap(p->file, p->half_bytes);
	close(p->fd);
	free(p->cells);
	munmap(p->shared_cells, p->half_bytes / (size_t)page_bytes() * sizeof(uint64_t));
	free(p);
}

/* What the cell of page n holds. */
static uint64_t *known_of(struct pressure *p, size_t n)
{
	size_t half = p->half_bytes / (size_t)page_bytes();

	return n < half ? &p->cells[n] : &p->shared_cells[n - half];
}

/* Where page n has its cell: anywhere, but always the same place. */
static unsigned char *cell_of(struct pressure *p, size_t n)
{
	size_t page = (size_t)page_bytes(), half = p->half_bytes / page;
	unsigned char *start = n < half ? p->anonymous + n * page : p->file + (n - half) * page;

	return start + n * 72 % (page - 8) / 8 * 8;
}

bool pressure_touch(struct pressure *p, uint64_t seed, int64_t touches, char *message, size_t size)
{
	struct rng rng = {seed};
	size_t pages = 2 * p->half_bytes / (size_t)page_bytes();
	struct trap trap;

	for (int64_t i = 0; i < touches; i++) {
		size_t n = (size_t)rng_below(&rng, (int64_t)pages);
		uint64_t value = rng_next(&rng), found;
		unsigned char *cell = cell_of(p, n);

		if (!guard_load(&found, cell, 8, &trap)) {
			snprintf(message, size, "a load raised signal %d code %d in page %zu", trap.sig, trap.code, n);
			return false;
		}
		if (found != *known_of(p, n)) {
			snprintf(message, size, "page %zu of %zu: %#lx was stored, %#lx is there", n, pages,
				 (unsigned long)*known_of(p, n), (unsigned long)found);
			return false;
		}
		if (value % 2 == 0)
			continue;
		if (!guard_store(cell, &value, 8, &trap)) {
			snprintf(message, size, "a store raised signal %d code %d in page %zu", trap.sig, trap.code, n);
			return false;
		}
		*known_of(p, n) = value;
	}
	return true;
}
