/* SPDX-License-Identifier: MIT */
/*
 * identity.h - whether the number of a descriptor still is what it was
 *
 * A program may close descriptors that it does not know, all from 3 on for example, and its next files get their numbers. What the engine
 * would do to its own file it would do to one of those then. So a number is compared, by fstat, before anything is done to what is behind
 * it. That costs 0.2 to 0.3 µs; in between a program that closes at this very instant is as fast.
 */
#ifndef QUIRE_SYS_IDENTITY_H
#define QUIRE_SYS_IDENTITY_H

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

struct identity {
	dev_t dev;
	ino_t ino;
};

/* 0 or -errno. */
static inline int identity_get(int fd, struct identity *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct identity){st.st_dev, st.st_ino};
	return 0;
}

/* fstat of what it is. 0; -EBADF: the number is of nothing, or of another file. */
static inline int identity_stat(int fd, const struct identity *identity, struct stat *ret)
{
	return fd >= 0 && fstat(fd, ret) == 0 && ret->st_ino == identity->ino && ret->st_dev == identity->dev ? 0 : -EBADF;
}

/* The same, for who wants to know no more. */
static inline int identity_check(int fd, const struct identity *identity)
{
	struct stat st;

	return identity_stat(fd, identity, &st);
}

/* Closes what is ours; a raw system call, since close is a cancellation point. */
static inline void identity_close(int fd, const struct identity *identity)
{
	if (identity_check(fd, identity) == 0)
		(void)syscall(SYS_close, fd);
}

#endif
