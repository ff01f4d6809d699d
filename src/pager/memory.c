/* SPDX-License-Identifier: MIT */
/*
 * memory.c - the pager of memory that has a size of its own
 */
#include "pager/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pager/filter.h"
#include "sys/identity.h"

struct memory_pager {
	struct filter filter; /* over the swap */
	int fd;
	struct identity identity; /* of it */
};

static int fd_of(struct pager *pager)
{
	return ((struct memory_pager *)pager)->fd;
}

/* Whether that still is the memfd. */
static bool is_there(struct pager *pager)
{
	return identity_check(fd_of(pager), &((struct memory_pager *)pager)->identity) == 0;
}

static void memory_run(struct pager *pager, struct pager_request *request)
{
	below_of(pager)->ops->run(below_of(pager), request);
}

static void memory_submit(struct pager *pager, struct pager_request *request)
{
	below_of(pager)->ops->submit(below_of(pager), request);
}

static int memory_size(struct pager *pager, uint64_t *ret_bytes)
{
	struct stat st;

	if (!is_there(pager))
		return -EBADF;
	if (fstat(fd_of(pager), &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int memory_resize(struct pager *pager, uint64_t bytes)
{
	if (bytes > INT64_MAX)
		return -EFBIG;
	if (!is_there(pager))
		return -EBADF;
	return ftruncate(fd_of(pager), (off_t)bytes) < 0 ? -errno : 0;
}

static void memory_close(struct pager *pager)
{
	identity_close(fd_of(pager), &((struct memory_pager *)pager)->identity);
	filter_close(pager);
}

static const struct pager_ops memory_ops = {
    .name = "memory",
    .size = memory_size,
    .run = memory_run,
    .submit = memory_submit,
    .sync = filter_sync,
    .resize = memory_resize,
    .discard = filter_discard,
    .close = memory_close,
};

int memory_pager_open(struct pager *swap, int size_fd, struct pager **ret)
{
	struct memory_pager *memory = filter_new(sizeof(*memory), &memory_ops, swap);
	int r = memory ? 0 : -ENOMEM;

	if (r == 0) {
		memory->filter.base.steady = false;
		memory->fd = fcntl(size_fd, F_DUPFD_CLOEXEC, 0);
		r = memory->fd < 0 ? -errno : identity_get(memory->fd, &memory->identity);
	}
	if (r == 0)
		*ret = &memory->filter.base;
	else if (memory)
		filter_close(&memory->filter.base);
	else
		swap->ops->close(swap);
	return r;
}
