/* SPDX-License-Identifier: MIT */
/*
 * swap.c - the pager of memory that has no file: an unlinked file in the swap directory, made at the first page-out
 *
 * All transfers are the file pager's. What is added is the making of the file, by whichever thread first pages out: that may be
 * a thread that resolves a fault, so nothing is allocated and no lock is held while the file is made. Two threads that come at
 * once make one each, and the file pager keeps one of them.
 */
#include "pager/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pager/file.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define NAME_TRIES 100

struct swap_pager {
	struct pager base;  /* direct: that of the file, once there is one */
	struct pager *file; /* a scratch pager */
	const char *dir;
};

static struct swap_pager *swap_of(struct pager *pager)
{
	return (struct swap_pager *)pager;
}

/* ---- the file ---- */

/* Raw system calls: the wrappers are cancellation points, and this may run while a fault is resolved. fd or -errno. */
static int raw_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
	long fd = syscall(SYS_openat, dir_fd, path, flags | O_CLOEXEC, mode);

	return fd < 0 ? -errno : (int)fd;
}

/* Writes n in decimal at `at`, most significant digit first; returns the end. No printf: it is not async-signal-safe. */
static char *put_number(char *at, unsigned n)
{
	if (n >= 10)
		at = put_number(at, n / 10);
	*at++ = (char)('0' + n % 10);
	return at;
}

/*
 * Makes a file under a name and removes the name at once. fd or -errno.
 * => The name has the thread's id, so that threads do not collide; what did not get to the removal is stepped over.
 */
static int make_named(const char *dir)
{
	static const char prefix[] = ".quire-swap-";
	char name[sizeof(prefix) + 2 * 11];
	int dir_fd = raw_openat(AT_FDCWD, dir, O_PATH | O_DIRECTORY, 0);
	int fd = -EEXIST;

	if (dir_fd < 0)
		return dir_fd;
	for (unsigned i = 0; i < NAME_TRIES && fd == -EEXIST; i++) {
		char *at = name;

		for (const char *p = prefix; *p != '\0'; p++)
			*at++ = *p;
		at = put_number(at, (unsigned)syscall(SYS_gettid));
		*at++ = '-';
		at = put_number(at, i);
		*at = '\0';
		fd = raw_openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	}
	if (fd >= 0)
		(void)syscall(SYS_unlinkat, dir_fd, name, 0);
	(void)syscall(SYS_close, dir_fd);
	return fd;
}

static int make_file(const char *dir)
{
	int fd = raw_openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR | O_EXCL, 0600);

	/* EISDIR is what a filesystem without unnamed files said before it had an errno of its own. */
	return fd == -EOPNOTSUPP || fd == -EISDIR ? make_named(dir) : fd;
}

/* Sees to it that there is a file for a write to go to. 0 or -errno. */
static int swap_prepare(struct swap_pager *swap, const struct pager_request *request)
{
	int fd, r;

	if (request->op == PAGER_READ || file_pager_is_adopted(swap->file))
		return 0;
	fd = make_file(swap->dir);
	if (fd < 0)
		return fd;
	r = file_pager_adopt(swap->file, fd);
	atomic_store_explicit(&swap->base.direct, atomic_load_explicit(&swap->file->direct, memory_order_relaxed),
			      memory_order_relaxed);
	return r;
}

/* ---- operations ---- */

static void swap_fail(struct pager_request *request, int r)
{
	request->ret_error = -r;
	request->ret_bytes = 0;
	request->done(request);
}

static void swap_run(struct pager *pager, struct pager_request *request)
{
	struct swap_pager *swap = swap_of(pager);
	int r = swap_prepare(swap, request);

	if (r < 0)
		swap_fail(request, r);
	else
		swap->file->ops->run(swap->file, request);
}

static void swap_submit(struct pager *pager, struct pager_request *request)
{
	struct swap_pager *swap = swap_of(pager);
	int r = swap_prepare(swap, request);

	if (r < 0)
		swap_fail(request, r);
	else
		swap->file->ops->submit(swap->file, request);
}

static int swap_size(struct pager *pager, uint64_t *ret_bytes)
{
	(void)pager;
	*ret_bytes = UINT64_MAX & ~(uint64_t)(page_size() - 1);
	return 0;
}

static int swap_sync(struct pager *pager)
{
	(void)pager;
	return 0;
}

/* It has no size to set. */
static int swap_resize(struct pager *pager, uint64_t bytes)
{
	(void)pager;
	(void)bytes;
	return -EOPNOTSUPP;
}

static int swap_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	struct swap_pager *swap = swap_of(pager);

	return swap->file->ops->discard(swap->file, offset, len);
}

static void swap_close(struct pager *pager)
{
	struct swap_pager *swap = swap_of(pager);

	swap->file->ops->close(swap->file);
	free(swap);
}

static const struct pager_ops swap_ops = {
    .name = "swap",
    .size = swap_size,
    .run = swap_run,
    .submit = swap_submit,
    .sync = swap_sync,
    .resize = swap_resize,
    .discard = swap_discard,
    .close = swap_close,
};

int swap_pager_open(struct io *io, const char *dir, bool allow_direct, struct pager **ret)
{
	struct swap_pager *swap = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*swap));
	int r;

	if (swap == NULL)
		return -ENOMEM;
	r = file_pager_scratch(io, allow_direct, &swap->file);
	if (r < 0) {
		free(swap);
		return r;
	}
	swap->base.ops = &swap_ops;
	swap->base.steady = true;
	swap->base.align_bytes = page_size(); /* enough for every file */
	swap->dir = dir;
	*ret = &swap->base;
	return 0;
}
