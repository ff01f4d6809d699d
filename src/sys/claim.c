/* SPDX-License-Identifier: MIT */
/*
 * claim.c - which process has a file in its cache for writing, so that another with a cache of its own learns of it
 *
 * A claim is a record lock (fcntl) on one byte of a file that is kept for nothing else, one for each user. Which byte, the device and the
 * inode say: of 2^62 there are, so that two files meet in one as good as never. Nothing is written to it, and nothing is there to be
 * cleaned up. Such a lock
 *
 *   - is seen by nobody who does not look at this file, neither the program nor others that have the mapped file locked or leased;
 *   - belongs to the process: the child of a fork has none, exec and every kind of death give it up;
 *   - tells who has it.
 *
 * Rejected: a lock on the mapped file itself, which programs see and use; an open file description lock, which a child of a fork keeps
 * and which tells nobody's number; an abstract socket, which any user can take first, and which is not the same in every network
 * namespace; a file for each file that is mapped, which somebody has to remove.
 *
 * Only one user's processes find one another so: a file that all may lock is a file by which any may keep all from their files.
 */
#include "sys/claim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/fail.h"
#include "util/lock.h"

#define BUCKETS 256
#define PATH    "/dev/shm/quire-claims."
#define KEPT_MS 10000 /* that a keeper of a program that has ended is waited for */

struct claim {
	struct claim *next;
	off_t byte;
	unsigned count;
	short type; /* of the lock */
};

static struct {
	struct lock lock;
	int fd; /* [lock] -1: not opened yet */
	dev_t dev;
	ino_t ino;
	struct claim *buckets[BUCKETS]; /* [lock] */
} claims = {.fd = -1};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

off_t claim_byte(dev_t dev, ino_t ino)
{
	return (off_t)(mix(mix(dev) + ino) >> 1 & ~1ull);
}

/* The file of claims is there. Lock held. */
static bool is_open(void)
{
	struct stat st;
	char name[64];

	/* The number may be another file's by now, which must not be locked. */
	if (claims.fd >= 0 && fstat(claims.fd, &st) == 0 && st.st_dev == claims.dev && st.st_ino == claims.ino)
		return true;
	snprintf(name, sizeof(name), PATH "%u", (unsigned)geteuid());
	claims.fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (claims.fd < 0)
		return false;
	/* What another user has put there is not asked. */
	if (fstat(claims.fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
		close(claims.fd);
		claims.fd = -1;
		return false;
	}
	claims.dev = st.st_dev;
	claims.ino = st.st_ino;
	return true;
}

/* Lock held. 0, -EBUSY, or another error. */
static int set_lock(off_t byte, short type, pid_t *ret_owner)
{
	for (int tries = 0; tries < 10; tries++) {
		struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

		if (fcntl(claims.fd, F_SETLK, &lock) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		/* Who had it a moment ago may have given it up. */
		if (fcntl(claims.fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
			*ret_owner = lock.l_pid;
			/* A thread of ours that has a table of descriptors of its own has it in another name. */
			return lock.l_pid == getpid() ? 0 : -EBUSY;
		}
	}
	return -EAGAIN;
}

/* Lock held. */
static struct claim **find(off_t byte)
{
	struct claim **at = &claims.buckets[(byte >> 1) % BUCKETS];

	while (*at && (*at)->byte != byte)
		at = &(*at)->next;
	return at;
}

/*
 * Whether the owner of a lock has ended, or become another program, and only its keeper has its descriptors still (sys/keeper.c): then the file
 * of claims is not among its own.
 */
static bool is_kept(pid_t owner)
{
	char name[64], target[64];
	struct dirent *entry;
	bool has = false;
	DIR *fds;

	snprintf(name, sizeof(name), "/proc/%d/fd", (int)owner);
	fds = owner > 0 ? opendir(name) : NULL;
	if (!fds)
		return owner > 0 && errno == ENOENT;
	while (!has && (entry = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		has = strncmp(target, PATH, sizeof(PATH) - 1) == 0;
	}
	closedir(fds);
	return !has;
}

static int take(off_t byte, bool shares, pid_t *ret_owner)
{
	struct claim **at, *claim;
	int r = 0;

	lock_acquire(&claims.lock);
	at = find(byte);
	claim = *at;
	if (!claim && !fail_now(FAIL_ALLOC) && (claim = calloc(1, sizeof(*claim))) != NULL) {
		claim->byte = byte;
		claim->type = shares ? F_RDLCK : F_WRLCK;
		r = is_open() ? set_lock(byte, claim->type, ret_owner) : 0;
		if (r == -EBUSY)
			free(claim);
		else
			*at = claim;
	}
	if (claim && r != -EBUSY)
		claim->count++;
	lock_release(&claims.lock);
	return r == -EBUSY ? r : 0;
}

int claim_take(dev_t dev, ino_t ino, bool shares, pid_t *ret_owner)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	off_t byte = claim_byte(dev, ino);
	int r = take(byte, shares, ret_owner);

	for (unsigned waited_ms = 0; r == -EBUSY && is_kept(*ret_owner) && waited_ms < KEPT_MS; waited_ms++) {
		nanosleep(&moment, NULL);
		r = take(byte, shares, ret_owner);
	}
	return r;
}

void claims_repeat(void)
{
	pid_t owner;

	lock_acquire(&claims.lock);
	for (unsigned i = 0; i < BUCKETS; i++)
		for (const struct claim *claim = claims.buckets[i]; claim; claim = claim->next)
			if (is_open())
				(void)set_lock(claim->byte, claim->type, &owner);
	lock_release(&claims.lock);
}

void claim_drop(dev_t dev, ino_t ino)
{
	off_t byte = claim_byte(dev, ino);
	struct claim **at, *claim;
	pid_t owner;

	lock_acquire(&claims.lock);
	at = find(byte);
	claim = *at;
	if (claim && --claim->count == 0) {
		*at = claim->next;
		free(claim);
		if (is_open())
			(void)set_lock(byte, F_UNLCK, &owner);
	}
	lock_release(&claims.lock);
}
