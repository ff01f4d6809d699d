/* SPDX-License-Identifier: MIT */
/*
 * source.c - what is mapped and is no file, and its descriptors
 *
 * A source has a use of its object for as long as it has descriptors or is kept, and views have uses of their own: the object, and its
 * pager with it, go with the last of all these.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "entry.h"
#include "pager/user.h"
#include "sys/identity.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

/* Since Linux 6.3; libc's headers may be older. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8u
#define MFD_EXEC        0x10u
#endif

#define OWNER_OPENS 0600

/* ---- the memfd ---- */

int source_memfd(const char *name, uint64_t bytes)
{
	char label[64];
	int fd, r;

	if (bytes > INT64_MAX)
		return -EFBIG;
	snprintf(label, sizeof(label), "quire:%s", name);
	if (fail_now(FAIL_FRAME))
		return -ENOMEM;
	fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	/* Where the system allows only those that can never be executed. */
	if (fd < 0 && errno == EACCES)
		fd = memfd_create(label, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* 0; -EBADF: the program has closed it, and the number is another file's. */
static int source_check(const struct source *source)
{
	return identity_check(source->fd, &(struct identity){source->dev, source->ino});
}

static bool has_descriptors(const struct source *source)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	/* Nobody knows, then. */
	if (source_check(source) < 0)
		return true;
	return fcntl(source->fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

/* A description of the memfd, whatever its permission bits are. fd or -errno. */
static int reopen(const struct source *source, int oflags)
{
	char path[64];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", source->fd);
	if (source_check(source) < 0)
		return -EBADF;
	if (fstat(source->fd, &st) < 0 || fchmod(source->fd, OWNER_OPENS) < 0)
		return -errno;
	fd = open(path, oflags);
	fd = fd < 0 ? -errno : fd;
	(void)fchmod(source->fd, st.st_mode & 07777);
	return fd;
}

int source_open(struct engine *engine, struct source *source, int oflags)
{
	/* One for writing can set the size. Another user who may only read gets one that reads zeros instead. */
	bool only_reads =
	    (oflags & O_ACCMODE) == O_RDONLY && entry_is_for_another_user() && entry_caller().uid != source_owner(source);
	struct flock lock = {.l_type = only_reads ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int fd, r = 0;

	lock_acquire(&engine->sources.lock);
	fd = reopen(source,
		    (oflags & O_CLOEXEC) | (only_reads ? O_RDONLY : O_WRONLY) | ((oflags & O_ACCMODE) == O_RDWR ? O_DSYNC : 0));
	lock.l_start = source->opens;
	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		r = -errno;
		close(fd);
	}
	source->opens += fd >= 0 && r == 0;
	lock_release(&engine->sources.lock);
	return r < 0 ? r : fd;
}

uid_t source_owner(const struct source *source)
{
	struct stat st;

	return source->owned ? source->uid : fstat(source->fd, &st) == 0 ? st.st_uid : 0;
}

/* As the kernel would judge it, but for groups that the process has beside its effective one. */
static int access_for(const struct source *source, const struct caller *caller, int oflags)
{
	unsigned wanted = (oflags & O_ACCMODE) == O_RDWR ? 06 : 04, mode;
	struct stat st;

	if (source_check(source) < 0 || fstat(source->fd, &st) < 0)
		return -EBADF;
	mode = source->owned ? source->mode : st.st_mode;
	if (caller->uid == 0)
		return 0;
	if (caller->uid == (source->owned ? source->uid : st.st_uid))
		mode >>= 6;
	else if (caller->gid == (source->owned ? source->gid : st.st_gid))
		mode >>= 3;
	return (wanted & ~mode & 07) == 0 ? 0 : -EACCES;
}

/* Asked of the kernel, where it is about this process. */
int source_access(const struct source *source, int oflags)
{
	struct caller caller = entry_caller();
	char path[64];
	int fd;

	if (source->owned || caller.uid != geteuid() || caller.gid != getegid())
		return access_for(source, &caller, oflags);
	if (source_check(source) < 0)
		return -EBADF;
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", source->fd);
	fd = open(path, (oflags & O_ACCMODE) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

bool source_may_write(int flags)
{
	return flags & O_DSYNC;
}

/* ---- life ---- */

/* Without the right to execute, where that is sealed. */
static int set_mode(int fd, mode_t mode)
{
	return fchmod(fd, mode) == 0 || fchmod(fd, mode & 0666) == 0 ? 0 : -1;
}

static int source_new(struct object *object, const struct source_kind *kind, struct source **ret)
{
	size_t len = strlen(kind->name) + 1;
	struct source *source = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*source) + len);
	struct stat st;

	if (!source)
		return -ENOMEM;
	source->name = memcpy(source + 1, kind->name, len);
	source->shown = atomic_load(&object->bytes);
	source->fd = kind->fd >= 0 ? kind->fd : source_memfd(kind->name, source->shown);
	if (source->fd < 0 || fstat(source->fd, &st) < 0 || set_mode(source->fd, kind->mode & 0777) < 0 ||
	    fcntl(source->fd, F_ADD_SEALS, F_SEAL_SEAL | (kind->fixed ? F_SEAL_GROW | F_SEAL_SHRINK : 0)) < 0) {
		int r = source->fd < 0 ? source->fd : -errno;

		if (source->fd >= 0 && kind->fd < 0)
			close(source->fd);
		free(source);
		return r;
	}
	source->dev = st.st_dev;
	source->ino = st.st_ino;
	source->object = object;
	source->fixed = kind->fixed;
	source->asks = kind->asks;
	source->own_size = kind->own_size;
	source->filled = kind->unfilled ? FILLED_NOT : FILLED;
	source->keeps = 1;
	*ret = source;
	return 0;
}

int source_create(struct engine *engine, struct object *object, const struct source_kind *kind, struct source **ret)
{
	struct source *source = NULL;
	int r = source_new(object, kind, &source);

	if (r < 0) {
		object_unuse(object);
		if (kind->fd >= 0)
			close(kind->fd);
		return r;
	}
	lock_acquire(&engine->sources.lock);
	source->next = engine->sources.head;
	engine->sources.head = source;
	lock_release(&engine->sources.lock);
	/* The flusher sweeps more often from now on. */
	futex_wake_all(&engine->flusher.word);
	*ret = source;
	return 0;
}

struct source *source_find(struct engine *engine, const struct stat *st)
{
	struct source *source;

	if (!S_ISREG(st->st_mode))
		return NULL;
	lock_acquire(&engine->sources.lock);
	for (source = engine->sources.head; source; source = source->next)
		if (source->ino == st->st_ino && source->dev == st->st_dev)
			break;
	if (source)
		source->keeps++;
	lock_release(&engine->sources.lock);
	return source;
}

void source_keep(struct engine *engine, struct source *source)
{
	lock_acquire(&engine->sources.lock);
	source->keeps++;
	lock_release(&engine->sources.lock);
}

void source_release(struct engine *engine, struct source *source)
{
	if (!source)
		return;
	lock_acquire(&engine->sources.lock);
	ASSERT(source->keeps > 0);
	source->keeps--;
	lock_release(&engine->sources.lock);
}

/* The first that has come to its end, taken off the list. */
static struct source *take_closed(struct sources *sources)
{
	struct source **at, *source = NULL;

	lock_acquire(&sources->lock);
	for (at = &sources->head; *at; at = &(*at)->next)
		if ((*at)->keeps == 0 && !has_descriptors(*at)) {
			source = *at;
			*at = source->next;
			break;
		}
	lock_release(&sources->lock);
	return source;
}

/* What nobody maps any more, and could not be written, is the flusher's now. */
static void give_up(struct source *source)
{
	identity_close(source->fd, &(struct identity){source->dev, source->ino});
	object_unuse(source->object);
	free(source);
}

void sources_close(struct sources *sources)
{
	struct source *source, *next;

	for (source = sources->head; source; source = next) {
		next = source->next;
		give_up(source);
	}
	sources->head = NULL;
}

static struct source *next_kept(struct sources *sources, struct source *source)
{
	struct source *next;

	lock_acquire(&sources->lock);
	next = source ? source->next : sources->head;
	if (next)
		next->keeps++;
	if (source)
		source->keeps--;
	lock_release(&sources->lock);
	return next;
}

/* ---- size ---- */

/* Lets fstat tell the size of the object. */
static void show_size(struct engine *engine, struct source *source)
{
	uint64_t bytes = atomic_load(&source->object->bytes);
	struct stat st;

	lock_acquire(&engine->sources.lock);
	if (source_check(source) == 0 && fstat(source->fd, &st) == 0 && (uint64_t)st.st_size != bytes &&
	    ftruncate(source->fd, (off_t)bytes) == 0)
		source->shown = bytes;
	lock_release(&engine->sources.lock);
}

static int follow_size(struct engine *engine, struct source *source)
{
	int r = source->fixed ? 0 : object_refresh_size(source->object);

	if (!source->fixed && !source->own_size)
		show_size(engine, source);
	return r;
}

bool sources_sweep(void *arg)
{
	struct engine *engine = arg;
	struct source *source;
	bool any = false;

	segments_sweep(engine);
	while ((source = take_closed(&engine->sources)) != NULL)
		give_up(source);
	for (source = next_kept(&engine->sources, NULL); source; source = next_kept(&engine->sources, source)) {
		(void)follow_size(engine, source);
		any = true;
	}
	return any;
}

struct resizing {
	struct source *source;
	uint64_t bytes;
};

static int resize_pager(void *arg)
{
	const struct resizing *resizing = arg;
	struct pager *pager = resizing->source->object->pager;

	return pager->ops->resize(pager, resizing->bytes);
}

int source_resize(struct engine *engine, struct source *source, uint64_t bytes, bool extend)
{
	struct resizing resizing = {source, bytes};
	int r;

	if (source->fixed)
		return -EPERM;
	r = extend ? object_extend(source->object, bytes, resize_pager, &resizing)
		   : object_truncate(source->object, bytes, resize_pager, &resizing);
	if (!source->own_size)
		show_size(engine, source);
	return r;
}

/* A size that the program has told anew. */
static int accept_size(void *arg)
{
	(void)arg;
	return 0;
}

static int ask_size(struct engine *engine, struct source *source)
{
	uint64_t known = atomic_load(&source->object->bytes), bytes;
	int r = user_pager_ask_size(source->object->pager, &bytes);

	if (r == 0 && bytes != known)
		r = object_truncate(source->object, bytes, accept_size, NULL);
	show_size(engine, source);
	return r < 0 ? message_set(-r, "the pager %s does not tell its size: %s", source->name, strerrordesc_np(-r)) : 0;
}

/* ---- filling ---- */

static int fill(struct engine *engine, struct source *source)
{
	uint64_t pages = atomic_load(&source->object->pages);
	struct mapping m = {
	    .len = (size_t)(pages << page_shift),
	    .prot = PROT_READ | PROT_WRITE,
	    .max_prot = PROT_READ | PROT_WRITE,
	    .shared = true,
	    .object = source->object,
	};
	char *memory;
	int r;

	if (pages == 0)
		return 0;
	r = space_map(engine->space, &m, &memory);
	if (r < 0)
		return r;
	r = user_pager_populate(source->object->pager, memory, (size_t)atomic_load(&source->object->bytes));
	(void)space_unmap(engine->space, memory, m.len);
	return r;
}

static int fill_once(struct engine *engine, struct source *source)
{
	uint32_t filled = FILLED_NOT;
	int r;

	while (!atomic_compare_exchange_strong(&source->filled, &filled, FILLED_NOW)) {
		if (filled == FILLED)
			return 0;
		if (filled == FILLED_NOW)
			futex_wait(&source->filled, FILLED_NOW, NULL);
		filled = FILLED_NOT;
	}
	r = fill(engine, source);
	atomic_store(&source->filled, r < 0 ? FILLED_NOT : FILLED);
	futex_wake_all(&source->filled);
	return r < 0 ? message_set(-r, "the pager %s was not filled: %s", source->name, strerrordesc_np(-r)) : 0;
}

int source_prepare(struct engine *engine, struct source *source)
{
	if (atomic_load(&source->filled) != FILLED)
		return fill_once(engine, source);
	if (source->asks && !source->fixed)
		return ask_size(engine, source);
	return follow_size(engine, source);
}
