/* SPDX-License-Identifier: MIT */
/*
 * lease.h - a read lease: who opens the file for writing, or truncates it, is held off
 *
 * He waits until the lease is dropped, or for /proc/sys/fs/lease-break-time, after which the kernel takes the lease away; with
 * O_NONBLOCK he gets EWOULDBLOCK, and that time begins. A lease is that of an open file description, so it has one of its own.
 */
#ifndef QUIRE_SYS_LEASE_H
#define QUIRE_SYS_LEASE_H

/* Opens the file behind fd once more, for reading. May block. 0 or -errno. */
int lease_open(int fd, int *ret_lease);

/*
 * Takes the lease, or looks after it: one that the kernel has taken away is taken anew.
 * => 0; -EAGAIN the file is open for writing; else the kernel gives none: -EACCES the file is another user's and CAP_LEASE is missing,
 *    -EINVAL no regular file, a filesystem without leases, or fs.leases-enable is 0.
 */
int lease_take(int lease);
void lease_drop(int lease);

#endif
