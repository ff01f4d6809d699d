/* SPDX-License-Identifier: MIT */
/*
 * eventfd.c - descriptors that a program wants to be told by
 */
#include "eventfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/message.h"

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

int eventfd_keep(int fd, int *ret)
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
	*ret = -1;
	return message_set(EINVAL, "descriptor %d is not an eventfd", fd);
}
