/* SPDX-License-Identifier: MIT */
/*
 * description.h - the open file descriptions of a pager: its own, and not the program's
 */
#ifndef QUIRE_PAGER_DESCRIPTION_H
#define QUIRE_PAGER_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>

#include "sys/identity.h"

/* Opens the file behind fd again. fd or -errno. */
int description_reopen(int fd, int flags);
/* Another descriptor of the same description. Its number or -errno. */
int description_duplicate(int fd);
/* The name of the file, cut to size, and its length; none: 0. Async-signal-safe. */
size_t description_path(int fd, char *ret, size_t size);
/* Puts the description behind `from` in the place of `to`: what is under way on the old one goes on, what comes uses the new. */
int description_replace(int from, int to);
/* One that was just opened; where a number was kept, identity_close. -1 is fine. */
void description_close(int fd);

/* May fd be used in this way, whatever the file's mode bits would grant? Its flags, as of F_GETFL, or -errno. */
int description_check_access(int fd, bool writable);

/* What reads a file without waiting for its inode's lock. */
enum lockless {
	LOCKLESS_NOWAIT,   /* a direct read with RWF_NOWAIT, else a buffered one */
	LOCKLESS_BUFFERED, /* buffered reads only */
	LOCKLESS_MAPPED,   /* a direct read with RWF_NOWAIT, else a mapping */
};

/* The two of one file (file.c). -1: none. */
struct descriptions {
	int direct_fd;
	int buffered_fd;
	struct identity identity;
	size_t align_bytes;
	enum lockless lockless;
};

/* Opens both, from a descriptor that is not used up. 0 or -errno: none is open. Async-signal-safe. */
int descriptions_open(int fd, bool writable, bool allow_direct, struct descriptions *ret);
void descriptions_close(const struct descriptions *opened);

#endif
