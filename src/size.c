/* SPDX-License-Identifier: MIT */
/*
 * size.c - the public call that sets the size of a file
 */
#include "size.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commit.h"
#include "entry.h"
#include "find.h"
#include "object/commit.h"
#include "remote/client.h"
#include "sys/page_size.h"

/* ---- atomic files ---- */

struct resizing {
	struct object *object;
	uint64_t bytes;
};

static int resize_journal(void *arg)
{
	const struct resizing *resizing = arg;
	struct pager *pager = resizing->object->pager;

	return pager->ops->resize(pager, resizing->bytes);
}

int size_of_atomic(struct object *object, uint64_t bytes, bool extend)
{
	struct resizing resizing = {object, bytes};

	return extend ? object_extend(object, bytes, resize_journal, &resizing)
		      : object_truncate(object, bytes, resize_journal, &resizing);
}

/* Of a file that nobody maps. */
static int commit_size(struct engine *engine, struct object *object, uint64_t bytes)
{
	struct commit_range none = {.object = object};
	struct commit_list list = {.all = &none, .count = 1, .capacity = 1};
	int r = size_of_atomic(object, bytes, false);

	return r == 0 ? commit_now(engine, &list) : r;
}

/* ---- files ---- */

struct truncation {
	int fd;
	off_t size;
};

/*
 * Whether the kernel would refuse at once to cut the file through this descriptor, or to make it so long: then nothing of the
 * mappings is to be held up for it.
 */
static bool is_hopeless(int fd, off_t now, off_t size)
{
	int flags = fcntl(fd, F_GETFL), seals = fcntl(fd, F_GET_SEALS);

	return flags < 0 || (flags & O_ACCMODE) == O_RDONLY || (seals > 0 && (seals & (size < now ? F_SEAL_SHRINK : F_SEAL_GROW)));
}

static int truncate_file(void *arg)
{
	struct truncation *truncation = arg;

	return ftruncate(truncation->fd, truncation->size) < 0 ? -errno : 0;
}

int size_check_limit(int fd, off_t size)
{
	struct rlimit limit;
	struct stat st;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || size < 0 || (rlim_t)size <= limit.rlim_cur ||
	    fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || size <= st.st_size)
		return 0;
	raise(SIGXFSZ);
	return message_set(EFBIG, "the file of descriptor %d would be %lld bytes long, and RLIMIT_FSIZE allows %llu", fd,
			   (long long)size, (unsigned long long)limit.rlim_cur);
}

int quire_ftruncate(int fd, off_t size)
{
	struct truncation truncation = {fd, size};
	struct engine *engine = entry_engine_if_started();
	struct source *source = NULL;
	struct object *object = NULL;
	struct entry entry;
	struct stat st;
	bool unmapped = false;
	int r = 0;

	entry_begin(&entry, "quire_ftruncate");
	if (client_is() && fcntl(fd, F_GETFD) >= 0) {
		r = size_check_limit(fd, size);
		if (r == 0)
			(void)client_serves(&r, &(struct client_call){.name = CALL_FTRUNCATE, .arg = {size}, .fd = fd});
		return entry_end(&entry, r);
	}
	if (engine && size >= 0 && fstat(fd, &st) == 0)
		source = source_find(engine, &st);
	if (!source && engine && size >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !is_hopeless(fd, st.st_size, size)) {
		r = find_known_object(engine, &st, &object, &unmapped);
	}
	if (r < 0)
		object = NULL;
	else if ((object || source) && pages_of((uint64_t)size) > (uint64_t)INT64_MAX / page_size())
		r = -EFBIG; /* the frames could not follow */
	else if (source)
		r = source_may_write(fcntl(fd, F_GETFL)) ? source_resize(engine, source, (uint64_t)size, false) : -EINVAL;
	else
		r = !object           ? truncate_file(&truncation)
		    : unmapped        ? commit_size(engine, object, (uint64_t)size)
		    : object->journal ? size_of_atomic(object, (uint64_t)size, false)
				      : object_truncate(object, (uint64_t)size, truncate_file, &truncation);
	if (r < 0)
		message_set(-r, "descriptor %d could not be set to %lld bytes: %s", fd, (long long)size, strerrordesc_np(-r));
	object_unuse(object);
	if (source)
		source_release(engine, source);
	if (engine)
		registry_bury(&engine->registry);
	return entry_end(&entry, r);
}
