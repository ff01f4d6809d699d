/* SPDX-License-Identifier: MIT */
/*
 * locks.c - the program's record locks
 */
#include "locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "critical.h"
#include "kernel.h"
#include "util/lock.h"

#define MOST_FILES  64
#define MOST_PARKED 2048

_Atomic unsigned locks_files;

static struct lock lock; /* signals are blocked */
static struct identity {
	dev_t dev;
	ino_t ino; /* 0: none */
} locked[MOST_FILES];
static struct {
	struct identity file;
	int fd;
} parked[MOST_PARKED];
static unsigned n_parked;

static bool is_same(const struct identity *a, const struct identity *b)
{
	return a->ino == b->ino && a->dev == b->dev;
}

static struct identity *find(const struct identity *file)
{
	for (unsigned i = 0; i < MOST_FILES; i++)
		if (is_same(&locked[i], file))
			return &locked[i];
	return NULL;
}

static bool identify(int fd, struct identity *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	*ret = (struct identity){st.st_dev, st.st_ino};
	return true;
}

void locks_note(int fd)
{
	static const struct identity none;
	int saved_errno = errno;
	struct identity file, *place;
	sigset_t before;

	if (!vfork_is_child() && identify(fd, &file)) {
		critical_begin(&lock, &before);
		place = find(&file) ? NULL : find(&none);
		if (place) {
			*place = file;
			atomic_fetch_add(&locks_files, 1);
		}
		critical_end(&lock, &before);
	}
	errno = saved_errno;
}

static void close_parked(const struct identity *file)
{
	for (unsigned i = 0; i < n_parked;) {
		if (is_same(&parked[i].file, file)) {
			kernel_close(parked[i].fd);
			parked[i] = parked[--n_parked];
		} else {
			i++;
		}
	}
}

void locks_lost(int fd)
{
	int saved_errno = errno;
	struct identity file, *place;
	sigset_t before;

	if (identify(fd, &file)) {
		critical_begin(&lock, &before);
		place = find(&file);
		if (place) {
			*place = (struct identity){0};
			atomic_fetch_sub(&locks_files, 1);
			close_parked(&file);
		}
		critical_end(&lock, &before);
	}
	errno = saved_errno;
}

bool locks_depend_on(int fd)
{
	struct identity file;
	sigset_t before;
	bool depend;

	if (!atomic_load_explicit(&locks_files, memory_order_relaxed) || !identify(fd, &file))
		return false;
	critical_begin(&lock, &before);
	depend = find(&file) != NULL;
	critical_end(&lock, &before);
	return depend;
}

/* Where there is no room the lock is lost, as it would be without. */
static bool park(int fd)
{
	struct identity file;
	sigset_t before;
	bool parks;

	if (!identify(fd, &file))
		return false;
	critical_begin(&lock, &before);
	parks = find(&file) && n_parked < MOST_PARKED;
	if (parks) {
		parked[n_parked].file = file;
		parked[n_parked++].fd = fd;
	}
	critical_end(&lock, &before);
	return parks;
}

int locks_close(int fd)
{
	if (atomic_load_explicit(&locks_files, memory_order_relaxed) && !vfork_is_child() && park(fd))
		return 0;
	return kernel_close(fd);
}

/* A child has no record locks. What was parked is its to close. */
static void begin_child(void)
{
	vfork_begin_child();
	lock = (struct lock){0};
	memset(locked, 0, sizeof(locked));
	atomic_store(&locks_files, 0);
	while (n_parked > 0)
		kernel_close(parked[--n_parked].fd);
}

__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, begin_child);
}
