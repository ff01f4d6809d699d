/* SPDX-License-Identifier: MIT */
/*
 * ask.c - the public calls that ask the engine ahead of a touch: prefetch
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "entry.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* Whole pages that hold the range. 0 or -error with a message. */
static int whole_pages(const void *addr, size_t len, int error, struct iovec *ret)
{
	uintptr_t inside = (uintptr_t)addr & (page_size() - 1);
	char *start = (char *)((uintptr_t)addr - inside);
	size_t rounded;

	if (len > SIZE_MAX - inside || !entry_round(start, inside + len, &rounded))
		return message_set(error, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	*ret = (struct iovec){start, len ? rounded : 0};
	return 0;
}

/* ---- prefetch ---- */

/* Where /proc tells what a descriptor is. */
static bool is_known_not_to_be_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[64], target[sizeof(name) + 1];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n >= 0 && ((size_t)n != sizeof(name) - 1 || memcmp(target, name, sizeof(name) - 1) != 0);
}

/* A descriptor of our own, so that the caller may close his. -1: none is wanted. */
static int keep_eventfd(int fd, int *ret)
{
	*ret = -1;
	if (fd == -1)
		return 0;
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (*ret < 0)
		return message_set(errno, errno == EBADF ? "the eventfd, %d, is not open" : "the eventfd, %d, cannot be duplicated",
				   fd);
	if (!is_known_not_to_be_eventfd(*ret))
		return 0;
	close(*ret);
	return message_set(EINVAL, "descriptor %d is not an eventfd", fd);
}

/* The list in whole pages, in memory of ours: the caller's may be managed itself, and may change. To be freed. */
static int copy_ranges(struct space *space, const struct iovec *ranges, int n, struct iovec **ret)
{
	struct iovec *copy = fail_now(FAIL_ALLOC) ? NULL : calloc((size_t)n + 1, sizeof(*copy));
	int r = copy ? 0 : message_set(ENOMEM, "no memory for a list of %d ranges", n);

	for (int i = 0; i < n && r == 0; i++) {
		struct iovec range = ranges[i];

		r = whole_pages(range.iov_base, range.iov_len, EINVAL, &copy[i]);
		if (r == 0 && copy[i].iov_len > 0)
			r = space_check(space, copy[i].iov_base, copy[i].iov_len);
	}
	if (r < 0)
		free(copy);
	else
		*ret = copy;
	return r;
}

int quire_prefetch(const struct iovec *ranges, int n, int eventfd)
{
	struct iovec *copy = NULL;
	struct engine *engine;
	struct entry entry;
	int kept = -1, r;

	entry_begin(&entry, "quire_prefetch");
	if (n < 0 || (n > 0 && !ranges))
		r = message_set(EINVAL, "a list of %d ranges at %p", n, (const void *)ranges);
	else
		r = entry_engine(&engine);
	if (r == 0)
		r = keep_eventfd(eventfd, &kept);
	if (r == 0)
		r = copy_ranges(engine->space, ranges, n, &copy);
	if (r == 0)
		r = prefetch_start(&engine->prefetcher, engine->space, copy, (size_t)n, kept);
	if (r < 0 && kept >= 0)
		close(kept);
	free(copy);
	return entry_end(&entry, r);
}
