/* SPDX-License-Identifier: MIT */
/*
 * lease.c - a read lease: who opens the file for writing, or truncates it, is held off
 */
#include "sys/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

int lease_open(int fd, int *ret_lease)
{
	char path[64];
	int lease;

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	lease = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (lease < 0)
		return -errno;
	*ret_lease = lease;
	return 0;
}

/*
 * The kernel would tell a break by SIGIO, which ends a program that does not expect it. Taking a lease makes this process the one to be
 * told, so nobody can be named beforehand; for the moment until nobody is, it is a signal that is ignored unless it is waited for.
 */
int lease_take(int lease)
{
	int r;

	if (fcntl(lease, F_SETSIG, SIGURG) < 0)
		return -errno;
	r = fcntl(lease, F_SETLEASE, F_RDLCK) < 0 ? -errno : 0;
	(void)fcntl(lease, F_SETOWN, 0);
	return r;
}

void lease_drop(int lease)
{
	(void)fcntl(lease, F_SETLEASE, F_UNLCK);
}
