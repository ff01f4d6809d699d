/* SPDX-License-Identifier: MIT */
/*
 * meeting.c - files of which programs tell one another, by loads and stores in a lock file, that they have changed: LMDB's
 *
 * LMDB's reader looks into a table in its lock file, which the kernel serves, and then at pages of the data file, which the writer has written before it
 * has stored to the table. There is no system call in between at which two caches could be brought together. So Quire serves such a
 * file as long as one program has it. When a second comes, both leave it to the kernel, and the second waits for the first:
 *
 *      first     claims SERVED ──────── looks for others' LEFT ─ leaves (space/leave.c) ─ claims LEFT, gives SERVED up
 *      second               claims LEFT, since others have a claim ─ waits while others have SERVED ─ maps by the kernel
 *
 * Claims are record locks, as in sys/claim.c: two bytes for each file, in a file of the user's that is never closed; they go with the process.
 * Of two that come at once both have claimed SERVED when they look, and both leave. A program that another's engine serves, the child of a
 * fork, is always a second. Programs of other users, and those that do not run under Quire, are not found.
 */
#include "meeting.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "coherent.h"
#include "critical.h"
#include "files.h"
#include "kernel.h"
#include "locks.h"
#include "next.h"
#include "remote/client.h"
#include "sys/claim.h"
#include "sys/thread.h"
#include "util/lock.h"

#define MOST_NAMES 16
#define MOST_FILES 16
#define NAME_BYTES 1024
#define LOOK_MS    50
#define WAIT_MS    10000

enum { SERVED, LEFT };
enum state { UNKNOWN, OURS, LEAVING, KERNELS };

static struct lock lock;                   /* signals are blocked */
static char names[MOST_NAMES][NAME_BYTES]; /* [lock] of data files whose lock files are mapped */
static unsigned n_names;                   /* [lock] */
static struct met {
	dev_t dev;
	ino_t ino;
	enum state state;
	unsigned pending; /* calls that are about to map it by Quire */
	int fd;
	bool writable;   /* fd */
} files[MOST_FILES];     /* [lock] */
static unsigned n_files; /* [lock] */
static int claims = -1;  /* [lock] */
static bool watches;     /* [lock] */

static void pause_ms(long ms)
{
	struct timespec moment = {.tv_nsec = ms * 1000000};

	nanosleep(&moment, NULL);
}

/* ---- names ---- */

static bool ends_with(const char *name, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && memcmp(name + len - n, end, n) == 0;
}

void meeting_note(const char *lock_file)
{
	static const char in_folder[] = "/lock.mdb", data[] = "/data.mdb", beside[] = "-lock";
	size_t len = strlen(lock_file);
	sigset_t before;
	char name[NAME_BYTES];

	if (len >= sizeof(name))
		return;
	memcpy(name, lock_file, len + 1);
	if (ends_with(name, len, in_folder))
		memcpy(name + len - strlen(in_folder), data, sizeof(data));
	else if (ends_with(name, len, beside))
		name[len - strlen(beside)] = '\0';
	else
		return;
	critical_begin(&lock, &before);
	for (unsigned i = 0; i < n_names && i < MOST_NAMES; i++)
		if (strcmp(names[i], name) == 0)
			*name = '\0';
	/* The oldest gives way. */
	if (*name)
		strcpy(names[n_names++ % MOST_NAMES], name);
	critical_end(&lock, &before);
}

static bool has_lock_file_locked(const char *name)
{
	for (unsigned i = 0; i < n_names && i < MOST_NAMES; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* ---- claims ---- */

static bool open_claims(void)
{
	struct stat st;
	char name[64];
	int fd;

	if (claims >= 0)
		return true;
	snprintf(name, sizeof(name), "/dev/shm/quire-meetings.%u", (unsigned)geteuid());
	fd = (int)kernel_call(SYS_openat, AT_FDCWD, (long)name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600, 0, 0);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())) {
		kernel_close(fd);
		fd = -1;
	}
	claims = fd < 0 ? -1 : kernel_keep(fd);
	return claims >= 0;
}

static struct flock claim_of(const struct met *file, int first, int n, short type)
{
	off_t byte = claim_byte(file->dev, file->ino);

	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte + first, .l_len = n};
}

static void claim(const struct met *file, int which, bool has)
{
	struct flock request = claim_of(file, which, 1, has ? F_RDLCK : F_UNLCK);

	(void)kernel_call(SYS_fcntl, claims, F_SETLK, (long)&request, 0, 0, 0);
}

static bool others_have(const struct met *file, int first, int n)
{
	struct flock request = claim_of(file, first, n, F_WRLCK);

	return kernel_call(SYS_fcntl, claims, F_GETLK, (long)&request, 0, 0, 0) == 0 && request.l_type != F_UNLCK;
}

/* ---- the first ---- */

/* Lock held, given up meanwhile. */
static void leave_locked(struct met *file)
{
	struct stat st;

	file->state = LEAVING;
	while (file->pending > 0) {
		lock_release(&lock);
		pause_ms(1);
		lock_acquire(&lock);
	}
	lock_release(&lock);
	if (fstat(file->fd, &st) == 0 && coherent_leave(&st, file->fd) == 0) {
		files_sweep();
		lock_acquire(&lock);
		claim(file, LEFT, true);
		claim(file, SERVED, false);
		file->state = KERNELS;
	} else {
		lock_acquire(&lock);
		file->state = OURS;
	}
}

static void *watch(void *none)
{
	for (;;) {
		lock_acquire(&lock);
		for (unsigned i = 0; i < n_files; i++)
			if (files[i].state == OURS && others_have(&files[i], LEFT, 1))
				leave_locked(&files[i]);
		lock_release(&lock);
		pause_ms(LOOK_MS);
	}
	return none;
}

static bool start_to_watch(void)
{
	pthread_t thread;

	if (!watches && thread_start(&thread, "quire-meet", watch, NULL) == 0) {
		pthread_detach(thread);
		watches = true;
	}
	return watches;
}

/* To be mapped anew from, when it is left: as much as any mapping may be for. */
static bool has_descriptor(struct met *file, int fd)
{
	bool writable = (NEXT(fcntl)(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
	int copy;

	if (file->fd >= 0 && (file->writable || !writable))
		return true;
	copy = kernel_duplicate(fd);
	if (copy < 0)
		return false;
	if (file->fd >= 0)
		locks_close(file->fd);
	file->fd = copy;
	file->writable = writable;
	return true;
}

/* ---- the second ---- */

/* Whether nobody is served any more. */
static bool wait_for_others(const struct met *file)
{
	for (unsigned waited = 0; others_have(file, SERVED, 1); waited++) {
		if (waited >= WAIT_MS)
			return false;
		lock_release(&lock);
		pause_ms(1);
		lock_acquire(&lock);
	}
	return true;
}

static struct met *find_locked(const struct stat *st)
{
	for (unsigned i = 0; i < n_files; i++)
		if (files[i].dev == st->st_dev && files[i].ino == st->st_ino)
			return &files[i];
	return NULL;
}

static struct met *find_or_add_locked(const struct stat *st)
{
	struct met *file = find_locked(st);

	if (file || n_files == MOST_FILES)
		return file;
	file = &files[n_files++];
	*file = (struct met){.dev = st->st_dev, .ino = st->st_ino, .fd = -1};
	return file;
}

/* SERVED is claimed before it is looked for others, so that of two one sees the other. */
static bool becomes_ours(struct met *file, int fd)
{
	if (client_is() || !start_to_watch() || !has_descriptor(file, fd))
		return false;
	if (file->state == OURS)
		return true;
	claim(file, SERVED, true);
	if (!others_have(file, SERVED, 2)) {
		file->state = OURS;
		return true;
	}
	claim(file, SERVED, false);
	return false;
}

/* The state is not LEAVING. Lock held. */
static enum meeting meet_locked(struct met *file, int fd)
{
	if (file->state != KERNELS && becomes_ours(file, fd)) {
		file->pending++;
		return MEETING_ALONE;
	}
	if (file->state != KERNELS) {
		claim(file, LEFT, true);
		if (!wait_for_others(file)) {
			claim(file, LEFT, false);
			return MEETING_REFUSED;
		}
		file->state = KERNELS;
	}
	return MEETING_KERNELS;
}

enum meeting meeting_decide(const char *name, const struct stat *st, int fd, bool shared)
{
	enum meeting result = MEETING_NONE;
	struct met *file = NULL;
	sigset_t before;

	critical_begin(&lock, &before);
	/* A private mapping is nobody's meeting place; but what others do is seen in the kernel's. */
	if (has_lock_file_locked(name)) {
		result = MEETING_KERNELS;
		file = shared && open_claims() ? find_or_add_locked(st) : NULL;
	}
	while (file && file->state == LEAVING) {
		lock_release(&lock);
		pause_ms(1);
		lock_acquire(&lock);
	}
	if (file)
		result = meet_locked(file, fd);
	critical_end(&lock, &before);
	return result;
}

void meeting_settle(const struct stat *st)
{
	struct met *file;
	sigset_t before;

	critical_begin(&lock, &before);
	file = find_locked(st);
	if (file && file->pending > 0)
		file->pending--;
	critical_end(&lock, &before);
}

/* A child has no record locks, and no thread that watches. */
static void begin_child(void)
{
	lock = (struct lock){0};
	n_files = 0;
	watches = false;
}

__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, begin_child);
}
