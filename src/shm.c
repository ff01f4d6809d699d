/* SPDX-License-Identifier: MIT */
/*
 * shm.c - the public calls for shared memory under a name, as shm_open(3) has it
 *
 * A name is a source (source.h) whose object is memory that is swapped. The size is that of the source's memfd, so that the kernel's
 * ftruncate sets it as well, and the permissions are the memfd's: the kernel judges whether it may be opened.
 */
#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"
#include "pager/memory.h"
#include "pager/swap.h"
#include "remote/client.h"
#include "util/fail.h"

#define NAMES_MOST            4096
#define NAMES_OF_ANOTHER_MOST 1024 /* of a user that is not the server's */

struct shm_name {
	struct shm_name *next;
	struct source *source; /* kept */
	char name[];
};

/* The name without its leading slashes. 0, or -error with a message. */
static int check_name(const char *name, const char **ret)
{
	if (!name)
		return message_set(EINVAL, "the name is NULL");
	*ret = name + strspn(name, "/");
	if (**ret == '\0' || strchr(*ret, '/') || strcmp(*ret, ".") == 0 || strcmp(*ret, "..") == 0)
		return message_set(EINVAL, "the name «%s» is not a slash and then anything without one", name);
	if (strlen(*ret) > NAME_MAX)
		return message_set(ENAMETOOLONG, "the name has %zu bytes, and %d are allowed", strlen(*ret), NAME_MAX);
	return 0;
}

/* Open lock held. */
static struct shm_name **find_locked(struct engine *engine, const char *name)
{
	struct shm_name **at = &engine->names;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

/*
 * Of this process. Asked of /proc: umask(2) could only be asked by setting it, for every thread. Where it is not told, nobody but the
 * owner.
 */
static mode_t current_umask(void)
{
	FILE *status = fopen("/proc/thread-self/status", "re");
	unsigned mask = 077;
	char line[256];

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "Umask: %o", &mask) == 1)
			break;
	if (status)
		fclose(status);
	return mask;
}

/*
 * The engine's process may have other rights than the one that it makes it for. False: it may not give it away. Then the memfd is its own,
 * for nobody else to open, and it remembers whose it would be.
 */
static bool give_to_caller(int fd)
{
	struct caller caller = entry_caller();

	return !entry_is_for_another() || fchown(fd, caller.uid, caller.gid) == 0;
}

static int make_source(struct engine *engine, const char *name, mode_t mode, struct source **ret)
{
	struct pager *swap, *pager;
	struct object *object;
	struct caller caller = entry_caller();
	char label[64];
	bool given;
	int fd, r;

	snprintf(label, sizeof(label), "/%.*s", (int)sizeof(label) - 2, name);
	fd = source_memfd(label, 0);
	if (fd < 0)
		return fd;
	given = give_to_caller(fd);
	r = swap_pager_open(engine->io, engine->config.swap_dir, !engine->config.no_direct, &swap);
	if (r == 0)
		r = memory_pager_open(swap, fd, &pager);
	if (r == 0)
		r = object_create(&engine->registry, engine->cache, OBJECT_ANON, pager, 0, NULL, &object);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = source_create(engine, object,
			  &(struct source_kind){.name = label, .mode = given ? mode : 0600, .own_size = true, .fd = fd}, ret);
	if (r == 0 && !given) {
		(*ret)->owned = true;
		(*ret)->uid = caller.uid;
		(*ret)->gid = caller.gid;
		(*ret)->mode = mode & 0777;
	}
	return r;
}

/* Each costs descriptors, and stays. Open lock held. */
static int check_count_locked(struct engine *engine)
{
	unsigned all = 0, own = 0;

	for (const struct shm_name *name = engine->names; name; name = name->next, all++)
		own += source_owner(name->source) == entry_caller().uid;
	if (all < NAMES_MOST && (own < NAMES_OF_ANOTHER_MOST || !entry_is_for_another_user()))
		return 0;
	return message_set(
	    ENOSPC, "there are %u names already, %u of them this user's: quire_shm_unlink, or `quire shm`, removes some", all, own);
}

/* Open lock held. The source is kept twice: for the name and for the caller. */
static int create_locked(struct engine *engine, const char *name, mode_t mode, struct source **ret)
{
	size_t len = strlen(name) + 1;
	struct shm_name *new;
	int r = check_count_locked(engine);

	if (r < 0)
		return r;
	new = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*new) + len);
	r = new ? make_source(engine, name, mode, &new->source) : -ENOMEM;
	if (r < 0) {
		free(new);
		return r;
	}
	memcpy(new->name, name, len);
	new->next = engine->names;
	engine->names = new;
	source_keep(engine, new->source);
	*ret = new->source;
	return 0;
}

/* Finds or makes it. *ret_made: the permissions of what was made do not hold for its maker. */
static int get_source(struct engine *engine, const char *name, int oflags, mode_t mode, struct source **ret, bool *ret_made)
{
	struct shm_name *found;
	int r = 0;

	*ret_made = false;
	lock_acquire(&engine->open_lock);
	found = *find_locked(engine, name);
	if (found && (oflags & O_CREAT) && (oflags & O_EXCL)) {
		r = message_set(EEXIST, "/%s exists", name);
	} else if (found) {
		source_keep(engine, found->source);
		*ret = found->source;
	} else if (!(oflags & O_CREAT)) {
		r = message_set(ENOENT, "there is no /%s in this program; O_CREAT makes it", name);
	} else {
		r = create_locked(engine, name, mode, ret);
		*ret_made = r == 0;
	}
	lock_release(&engine->open_lock);
	return r;
}

static int open_source(struct engine *engine, struct source *source, const char *name, int oflags, bool made)
{
	int r = made ? 0 : source_access(source, oflags);

	if (r < 0)
		return message_set(-r, "/%s does not allow it by its permissions", name);
	if (!made && (oflags & O_TRUNC) && (oflags & O_ACCMODE) == O_RDWR)
		r = source_resize(engine, source, 0, false);
	return r < 0 ? r : source_open(engine, source, oflags | O_CLOEXEC);
}

/* What was made is not left behind when it could not be opened. */
static void forget(struct engine *engine, const char *name)
{
	struct shm_name **at, *found;

	lock_acquire(&engine->open_lock);
	at = find_locked(engine, name);
	found = *at;
	if (found) {
		*at = found->next;
		source_release(engine, found->source);
		free(found);
	}
	lock_release(&engine->open_lock);
}

int quire_shm_open(const char *name, int oflags, mode_t mode)
{
	struct source *source = NULL;
	struct engine *engine = NULL;
	struct entry entry;
	bool made = false;
	int r;

	entry_begin(&entry, "quire_shm_open");
	r = check_name(name, &name);
	if (r == 0 && (oflags & O_ACCMODE) != O_RDONLY && (oflags & O_ACCMODE) != O_RDWR)
		r = message_set(EINVAL, "the flags %#x have neither O_RDONLY nor O_RDWR", oflags);
	/* The mask is that of the process that asks, and known there. */
	if (r == 0 && (oflags & O_CREAT) && !entry_is_for_another())
		mode &= ~current_umask();
	if (r == 0 && client_serves(&r, &(struct client_call){.name = CALL_SHM_OPEN,
							      .arg = {oflags, mode},
							      .in = name,
							      .in_len = strlen(name) + 1,
							      .fd = -1,
							      .gives_fd = true}))
		return entry_end(&entry, r);
	if (r == 0)
		r = entry_engine(&engine);
	if (r == 0)
		r = get_source(engine, name, oflags, mode, &source, &made);
	if (r == 0) {
		r = open_source(engine, source, name, oflags, made);
		source_release(engine, source);
		if (r < 0 && made)
			forget(engine, name);
	}
	if (engine)
		registry_bury(&engine->registry);
	return entry_end(&entry, r);
}

/* As in a folder that is sticky, and this process's. */
static int may_remove(const struct shm_name *name)
{
	if (!entry_is_for_another_user() || entry_caller().uid == source_owner(name->source))
		return 0;
	return message_set(EACCES, "/%s belongs to user %u", name->name, (unsigned)source_owner(name->source));
}

int quire_shm_unlink(const char *name)
{
	struct shm_name *found = NULL;
	struct engine *engine = NULL;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_shm_unlink");
	r = check_name(name, &name);
	if (r == 0 &&
	    client_serves(&r, &(struct client_call){.name = CALL_SHM_UNLINK, .in = name, .in_len = strlen(name) + 1, .fd = -1}))
		return entry_end(&entry, r);
	if (r == 0)
		r = entry_engine(&engine);
	if (r == 0) {
		struct shm_name **at;

		lock_acquire(&engine->open_lock);
		at = find_locked(engine, name);
		found = *at;
		r = found ? may_remove(found)
			  : message_set(ENOENT, "there is no /%s in this %s", name, entry_is_for_another() ? "server" : "program");
		if (r < 0)
			found = NULL;
		if (found)
			*at = found->next;
		lock_release(&engine->open_lock);
	}
	if (found)
		source_release(engine, found->source);
	free(found);
	if (engine) {
		(void)sources_sweep(engine);
		registry_bury(&engine->registry);
	}
	return entry_end(&entry, r);
}

void shm_tell(struct engine *engine, FILE *out)
{
	lock_acquire(&engine->open_lock);
	for (struct shm_name *name = engine->names; name; name = name->next) {
		const struct source *source = name->source;
		struct stat st;

		if (fstat(source->fd, &st) < 0)
			continue;
		fputc('/', out);
		for (const char *c = name->name; *c; c++)
			fprintf(out, *c > ' ' && *c < 127 && *c != '\\' ? "%c" : "\\x%02x", (unsigned char)*c);
		fprintf(out, "\t%u\t%u\t%o\t%lld\n", source->owned ? source->uid : st.st_uid,
			source->owned ? source->gid : st.st_gid, (source->owned ? source->mode : st.st_mode) & 0777,
			(long long)st.st_size);
	}
	lock_release(&engine->open_lock);
}

void shm_close(struct engine *engine)
{
	struct shm_name *name, *next;

	for (name = engine->names; name; name = next) {
		next = name->next;
		source_release(engine, name->source);
		free(name);
	}
	engine->names = NULL;
}
