/* SPDX-License-Identifier: MIT */
/*
 * pressure.c - memory beside the window that makes the engine page out
 *
 * Half of it is anonymous, half a file. Each page has one cell with the number that was last stored there.
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
	uint64_t *cells; /* what each page's cell holds, anonymous ones first */
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
	p->cells = calloc(2 * p->half_bytes / page, sizeof(uint64_t));
	p->fd = open_unlinked(directory);
	if (p->cells == NULL || p->fd < 0 || ftruncate(p->fd, (off_t)p->half_bytes) != 0)
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
	free(p);
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
		if (found != p->cells[n]) {
			snprintf(message, size, "page %zu of %zu: %#lx was stored, %#lx is there", n, pages,
				 (unsigned long)p->cells[n], (unsigned long)found);
			return false;
		}
		if (value % 2 == 0)
			continue;
		if (!guard_store(cell, &value, 8, &trap)) {
			snprintf(message, size, "a store raised signal %d code %d in page %zu", trap.sig, trap.code, n);
			return false;
		}
		p->cells[n] = value;
	}
	return true;
}
