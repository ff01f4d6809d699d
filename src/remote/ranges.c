/* SPDX-License-Identifier: MIT */
/*
 * ranges.c - a set of addresses, as ranges in order
 */
#include "remote/ranges.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/page_size.h"
#include "util/assert.h"
#include "util/fail.h"

/*
 * The memory is the kernel's, and not malloc's: that may be managed, or its lock be held by a thread whose fault waits for the agent, which keeps account
 * of a set.
 */
int ranges_reserve(struct ranges *ranges, size_t capacity)
{
	size_t len = (capacity * sizeof(*ranges->all) + page_size() - 1) & ~(page_size() - 1);
	struct address_range *all;

	if (capacity <= ranges->capacity)
		return 0;
	all = fail_now(FAIL_ALLOC) ? MAP_FAILED : mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return -ENOMEM;
	if (ranges->count > 0)
		memcpy(all, ranges->all, ranges->count * sizeof(*all));
	if (ranges->all)
		munmap(ranges->all, ranges->capacity * sizeof(*all));
	ranges->all = all;
	ranges->capacity = len / sizeof(*all);
	return 0;
}

int ranges_prepare(struct ranges *ranges)
{
	return ranges->count + 1 < ranges->capacity ? 0 : ranges_reserve(ranges, 2 * ranges->capacity + 2);
}

void ranges_free(struct ranges *ranges)
{
	if (ranges->all)
		munmap(ranges->all, ranges->capacity * sizeof(*ranges->all));
	*ranges = (struct ranges){0};
}

/* The first range that ends after addr, or at it too. */
static size_t search(const struct ranges *ranges, const char *addr, bool at_too)
{
	size_t low = 0, high = ranges->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (at_too ? ranges->all[middle].end < addr : ranges->all[middle].end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Puts n ranges in the place of those from … to. */
static void replace(struct ranges *ranges, size_t from, size_t to, const struct address_range *by, size_t n)
{
	ASSERT(ranges->count - (to - from) + n <= ranges->capacity);
	if (ranges->count > to)
		memmove(&ranges->all[from + n], &ranges->all[to], (ranges->count - to) * sizeof(*ranges->all));
	for (size_t i = 0; i < n; i++)
		ranges->all[from + i] = by[i];
	ranges->count = ranges->count - (to - from) + n;
}

void ranges_add(struct ranges *ranges, char *addr, size_t len)
{
	struct address_range joined = {addr, addr + len};
	size_t from = search(ranges, addr, true), to = from;

	while (to < ranges->count && ranges->all[to].addr <= joined.end) {
		joined.addr = ranges->all[to].addr < joined.addr ? ranges->all[to].addr : joined.addr;
		joined.end = ranges->all[to].end > joined.end ? ranges->all[to].end : joined.end;
		to++;
	}
	replace(ranges, from, to, &joined, 1);
}

void ranges_remove(struct ranges *ranges, char *addr, size_t len)
{
	size_t from = search(ranges, addr, false), to = from, n = 0;
	char *end = addr + len;
	struct address_range rest[2];

	while (to < ranges->count && ranges->all[to].addr < end)
		to++;
	if (from == to)
		return;
	if (ranges->all[from].addr < addr)
		rest[n++] = (struct address_range){ranges->all[from].addr, addr};
	if (ranges->all[to - 1].end > end)
		rest[n++] = (struct address_range){end, ranges->all[to - 1].end};
	replace(ranges, from, to, rest, n);
}

bool ranges_meet(const struct ranges *ranges, const char *addr, size_t len)
{
	size_t i = search(ranges, addr, false);

	if (i == ranges->count)
		return false;
	return ranges->all[i].addr <= addr || (size_t)(ranges->all[i].addr - addr) < len;
}

size_t ranges_extent(const struct ranges *ranges, const char *addr, size_t len, bool *ret_in)
{
	size_t i = search(ranges, addr, false);
	const char *at;

	*ret_in = i < ranges->count && ranges->all[i].addr <= addr;
	if (i == ranges->count)
		return len;
	at = *ret_in ? ranges->all[i].end : ranges->all[i].addr;
	return (size_t)(at - addr) < len ? (size_t)(at - addr) : len;
}
