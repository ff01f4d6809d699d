/* SPDX-License-Identifier: MIT */
/*
 * find.c - the object of a file: the one there is, or one that is made
 *
 *   wanted     the file is mapped              its journal is open here       else
 *   ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
 *   any        that object, atomic or not      an object over the journal     a plain one, when what its journal has is in it
 *   atomic     that object; not atomic: EBUSY  an object over the journal     the journal is opened, and an object over it
 *   snapshot   not atomic: EBUSY               one of the last commit         likewise, and one of the last commit
 */
#include "find.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "entry.h"
#include "journal/place.h"
#include "pager/file.h"
#include "rights.h"
#include "sys/claim.h"
#include "util/message.h"

struct search {
	struct engine *engine;
	int fd;
	bool writable; /* the descriptor */
	const struct stat *st;
	enum find_kind kind;
};

struct atomic_settings find_atomic_settings(const struct engine *engine)
{
	return (struct atomic_settings){
	    .cache = engine->cache,
	    .io = engine->io,
	    .journal_bytes = engine->config.journal_bytes,
	    .nowait = engine->trap == QUIRE_TRAP_THREAD,
	    .allow_direct = !engine->config.no_direct,
	};
}

/* An object that takes the pager over. journal NULL: a plain file. */
static int make_object(const struct search *s, struct pager *pager, struct object_file *file, struct object **ret)
{
	uint64_t bytes;
	int r = pager->ops->size(pager, &bytes);

	if (r < 0) {
		pager->ops->close(pager);
		return r;
	}
	return object_create(&s->engine->registry, s->engine->cache, OBJECT_FILE, pager, bytes, file, ret);
}

/* A journal is looked for by paths, which another user could lead elsewhere. */
static int refuse_journal(int fd)
{
	if (!journal_place_has_mark(fd))
		return 0;
	return message_set(
	    EPERM,
	    "the file of descriptor %d has a journal, and the server of another user does not read it: `quire recover` does, "
	    "by the file's owner",
	    fd);
}

static int make_plain(const struct search *s, struct object **ret)
{
	struct atomic_settings settings = find_atomic_settings(s->engine);
	struct pager *pager;
	int r = entry_is_for_another_user() ? refuse_journal(s->fd)
					    : atomic_recover(&s->engine->atomics, &settings, s->fd, s->st, s->writable);

	if (r < 0)
		return r;
	r = file_pager_open(s->engine->io, s->fd, s->writable, settings.nowait, settings.allow_direct, &pager);
	if (r < 0)
		return message_set(-r, "descriptor %d could not be opened again for the engine: %s", s->fd, strerrordesc_np(-r));
	/* Its size is asked anew: it may have been set since the caller looked, by one who found no object to tell. */
	return make_object(s, pager, &(struct object_file){.dev = s->st->st_dev, .ino = s->st->st_ino, .writable = s->writable},
			   ret);
}

/* A file whose object is made without the lock: it may be one that does not answer, for which nobody else is to wait. */
struct opening {
	struct opening *next;
	dev_t dev;
	ino_t ino;
};

/* open_lock held. */
static bool is_opening(const struct engine *engine, const struct stat *st)
{
	const struct opening *opening = engine->openings;

	while (opening && (opening->dev != st->st_dev || opening->ino != st->st_ino))
		opening = opening->next;
	return opening;
}

/* open_lock held, but not meanwhile. */
static int make_plain_apart(const struct search *s, struct object **ret)
{
	struct engine *engine = s->engine;
	struct opening opening = {engine->openings, s->st->st_dev, s->st->st_ino}, **at;
	int r;

	engine->openings = &opening;
	lock_release(&engine->open_lock);
	r = make_plain(s, ret);
	lock_acquire(&engine->open_lock);
	for (at = &engine->openings; *at != &opening; at = &(*at)->next)
		;
	*at = opening.next;
	return r;
}

/* The file's use is given up before an object is made: should that fail, it closes the pager, which waits for those who use the file. */
static int make_atomic(const struct search *s, struct atomic_file *file, struct object **ret)
{
	struct object_file of = {.dev = s->st->st_dev, .ino = s->st->st_ino, .writable = true, .journal = file->journal};
	struct pager *pager;
	int r = atomic_pager(file, &pager);

	atomic_release(file);
	return r == 0 ? make_object(s, pager, &of, ret) : r;
}

/* No file's object is found by it: it has no device and no number. */
static int make_snapshot(const struct search *s, struct atomic_file *file, struct object **ret)
{
	struct pager *pager;
	uint64_t commit;
	int r = 0;

	*ret = atomic_find_snapshot(file);
	if (!*ret)
		r = atomic_snapshot(file, &pager, &commit);
	atomic_release(file);
	if (r < 0 || *ret)
		return r;
	r = make_object(s, pager, &(struct object_file){0}, ret);
	/* Which is there as long as the pager is. */
	if (r == 0)
		atomic_share_snapshot(file, *ret, commit);
	return r;
}

/* The file's journal is open in this process, or is opened. Takes the use of the file over; NULL: it is not open. */
static int make_over_journal(const struct search *s, struct atomic_file *file, struct object **ret)
{
	struct atomic_settings settings = find_atomic_settings(s->engine);
	int r = 0;

	if (!file)
		r = rights_to_journal();
	if (!file && r == 0) {
		r = committer_start(&s->engine->committer, &s->engine->atomics);
		/* Not -EAGAIN, which is no reason to try again here. */
		if (r < 0)
			r = message_set(ENOMEM, "the thread that looks after journals cannot be started: %s", strerrordesc_np(-r));
		if (r == 0)
			r = atomic_open(&s->engine->atomics, &settings, s->fd, s->st, &file);
	}
	if (r < 0)
		return r;
	return s->kind == FIND_SNAPSHOT ? make_snapshot(s, file, ret) : make_atomic(s, file, ret);
}

static int refuse_mapped(const struct search *s)
{
	return message_set(
	    EBUSY,
	    "the file of descriptor %d is mapped already, and not with QUIRE_MAP_ATOMIC: remove those mappings first, "
	    "or make the first one with QUIRE_MAP_ATOMIC",
	    s->fd);
}

/* A use of what is mapped already. */
static int take_mapped(const struct search *s, struct object *object)
{
	int r = 0;

	if (s->kind != FIND_ANY && !object->journal)
		return refuse_mapped(s);
	if (s->writable && !object->writable) {
		object_admit_writer(object);
		r = file_pager_make_writable(object->pager, s->fd);
		if (r == 0)
			object->writable = true;
	}
	return r;
}

/*
 * open_lock held, if not all the time. ret_old: its size may have been set since it was asked for. -EAGAIN: one that is being given up, or is just being
 * made, is in the way.
 */
static int find_or_make(const struct search *s, struct object **ret, bool *ret_old)
{
	struct object *object;
	int r;

	*ret_old = false;
	if (is_opening(s->engine, s->st))
		return -EAGAIN;
	object = object_find(&s->engine->registry, s->st->st_dev, s->st->st_ino);
	r = object ? take_mapped(s, object) : 0;
	*ret_old = r == 0 && object && s->kind != FIND_SNAPSHOT;
	if (*ret_old) {
		*ret = object;
		return 0;
	}
	if (r == 0) {
		struct atomic_file *file = atomic_find(&s->engine->atomics, s->st->st_dev, s->st->st_ino);

		*ret_old = !file && s->kind == FIND_ANY;
		r = *ret_old ? make_plain_apart(s, ret) : make_over_journal(s, file, ret);
	}
	object_unuse(object);
	return r;
}

static bool is_atomic(struct engine *engine, const struct stat *st)
{
	struct atomic_file *file = atomic_find(&engine->atomics, st->st_dev, st->st_ino);

	atomic_release(file);
	return file;
}

static void name_of(pid_t pid, char *ret, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
	file = pid > 0 ? fopen(path, "re") : NULL;
	if (!file || !fgets(ret, (int)size, file))
		snprintf(ret, size, "?");
	ret[strcspn(ret, "\n")] = '\0';
	if (file)
		fclose(file);
}

int find_claim(const struct engine *engine, struct object *object)
{
	char name[64];
	pid_t owner = 0;

	if (object->kind != OBJECT_FILE || (object->dev == 0 && object->ino == 0) || atomic_load(&object->claimed))
		return 0;
	if (claim_take(object->dev, object->ino, engine->config.share_files, &owner) == 0) {
		if (atomic_exchange(&object->claimed, true))
			claim_drop(object->dev, object->ino);
		return 0;
	}
	name_of(owner, name, sizeof(name));
	return message_set(
	    EBUSY,
	    "process %ld (%s) has the file mapped for shared writing in a cache of its own, and two caches of a file know "
	    "nothing of one another: have one server serve both (QUIRE_SERVER=auto, see quire-serve(1)), or, if they agree "
	    "by msync and MS_INVALIDATE, set QUIRE_SHARE_FILES=1 for both",
	    (long)owner, name);
}

int find_known_object(struct engine *engine, const struct stat *st, struct object **ret, bool *ret_made)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	struct search search = {.engine = engine, .fd = -1, .writable = true, .st = st, .kind = FIND_ANY};
	int r;

	for (;;) {
		struct atomic_file *file;

		lock_acquire(&engine->open_lock);
		*ret = object_find(&engine->registry, st->st_dev, st->st_ino);
		file = *ret ? NULL : atomic_find(&engine->atomics, st->st_dev, st->st_ino);
		*ret_made = file;
		r = file ? make_atomic(&search, file, ret) : 0;
		if (!file && !*ret && atomic_is_closing(&engine->atomics, st->st_dev, st->st_ino))
			r = -EAGAIN;
		lock_release(&engine->open_lock);
		if (r != -EAGAIN)
			return r;
		registry_bury(&engine->registry);
		nanosleep(&moment, NULL);
	}
}

int find_file_object(struct engine *engine, int fd, int mode, const struct stat *st, enum find_kind kind, struct object **ret)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	struct search search = {engine, fd, (mode & O_ACCMODE) == O_RDWR, st, kind};
	bool old;
	int r;

	if (kind != FIND_ANY || is_atomic(engine, st))
		remotes_wait_for_ends(&engine->remotes);
	for (;;) {
		lock_acquire(&engine->open_lock);
		r = find_or_make(&search, ret, &old);
		lock_release(&engine->open_lock);
		if (r != -EAGAIN)
			break;
		registry_bury(&engine->registry);
		nanosleep(&moment, NULL);
	}
	return r == 0 && old ? object_refresh_size(*ret) : r;
}
