/* SPDX-License-Identifier: MIT */
/*
 * segment.c - the public calls for shared memory under a key, as shmget(2) has it
 *
 * A segment is a use of an object of memory that is swapped. What is attached is remembered by its address; what a program has
 * unmapped by other calls since is found out when somebody asks.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <quire/shm.h>

#include "entry.h"
#include "remote/client.h"
#include "shm.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define SEGMENTS_MOST            4096
#define SEGMENTS_OF_ANOTHER_MOST 1024 /* of a user that is not the server's */
#define MAY_READ                 04
#define MAY_WRITE                02
#define MAY_EXECUTE              01

struct attachment {
	struct attachment *next;
	struct space *space;
	char *addr;
	size_t len;
};

/* All fields: open_lock. */
struct segment {
	struct segment *next;
	int id;
	struct object *object; /* a use */
	bool removed;
	struct shmid_ds ds; /* nattch is counted when it is asked for */
	struct attachment *attachments;
};

/* ---- rights ---- */

static bool is_owner(const struct shmid_ds *ds)
{
	uid_t uid = entry_caller().uid;

	/* Who has the server looks after what others have left. */
	return uid == 0 || uid == ds->shm_perm.uid || uid == ds->shm_perm.cuid || (entry_is_for_another() && uid == geteuid());
}

/* wanted: MAY_… as the bits of others. */
static bool is_allowed(const struct shmid_ds *ds, unsigned wanted)
{
	struct caller caller = entry_caller();
	unsigned mode = ds->shm_perm.mode;

	if (caller.uid == 0)
		return true;
	if (caller.uid == ds->shm_perm.uid || caller.uid == ds->shm_perm.cuid)
		mode >>= 6;
	else if (caller.gid == ds->shm_perm.gid || caller.gid == ds->shm_perm.cgid)
		mode >>= 3;
	return (wanted & ~mode & 07) == 0;
}

/* What the permission bits of shmget ask for, for whoever they are. */
static unsigned wanted_of(int flags)
{
	return (unsigned)((flags >> 6) | (flags >> 3) | flags) & 07;
}

/* ---- finding ---- */

static int unknown(int id)
{
	return message_set(EINVAL, "there is no segment %d in this %s", id, entry_is_for_another() ? "server" : "program");
}

static struct segment *find_locked(struct engine *engine, int id)
{
	struct segment *segment = engine->segments;

	while (segment && segment->id != id)
		segment = segment->next;
	return segment;
}

static struct segment *find_key_locked(struct engine *engine, key_t key)
{
	struct segment *segment = engine->segments;

	while (segment && (segment->removed || segment->ds.shm_perm.__key != key))
		segment = segment->next;
	return segment;
}

/* ---- what is attached ---- */

/* The first part of a range that shows the object; its length. NULL: none. Takes the map lock. */
static char *find_part(struct space *space, const struct object *object, char *addr, char *end, size_t *ret_len)
{
	char *found = NULL;

	rwlock_read_acquire(&space->cache->map_lock);
	for (size_t i = area_set_search(&space->areas, addr);
	     !found && i < space->areas.count && area_addr(space->areas.all[i]) < end; i++) {
		struct area *area = space->areas.all[i];
		char *from = area_addr(area) > addr ? area_addr(area) : addr, *to = area_end(area) < end ? area_end(area) : end;

		if (area->view.object != object)
			continue;
		found = from;
		*ret_len = (size_t)(to - from);
	}
	rwlock_read_release(&space->cache->map_lock);
	return found;
}

/* Who has just ended may not be known to have: the kernel counts him no more when his parent has been told. */
static bool is_attached(const struct segment *segment, const struct attachment *attachment)
{
	size_t len;

	return !pmap_is_gone(&attachment->space->pmap) &&
	       find_part(attachment->space, segment->object, attachment->addr, attachment->addr + attachment->len, &len);
}

static void forget_attachment(struct segment *segment, struct attachment **at)
{
	struct attachment *attachment = *at;

	*at = attachment->next;
	segment->ds.shm_dtime = time(NULL);
	free(attachment);
}

/* Forgets what is attached no more; how often it still is. */
static shmatt_t count_locked(struct segment *segment)
{
	struct attachment **at = &segment->attachments;
	shmatt_t n = 0;

	while (*at) {
		if (is_attached(segment, *at)) {
			n++;
			at = &(*at)->next;
		} else {
			forget_attachment(segment, at);
		}
	}
	return n;
}

/* After a fork the child is attached to what the parent is. Half of it may be done when there is no memory. */
int segments_repeat(struct engine *engine, struct space *from, struct space *to)
{
	int r = 0;

	lock_acquire(&engine->open_lock);
	for (struct segment *segment = engine->segments; segment && r == 0; segment = segment->next)
		for (struct attachment *old = segment->attachments; old && r == 0; old = old->next) {
			struct attachment *attachment;

			if (old->space != from)
				continue;
			attachment = fail_now(FAIL_ALLOC) ? NULL : malloc(sizeof(*attachment));
			if (attachment) {
				*attachment = *old;
				attachment->space = to;
				attachment->next = segment->attachments;
				segment->attachments = attachment;
				segment->ds.shm_atime = time(NULL);
			}
			r = attachment ? 0 : -ENOMEM;
		}
	lock_release(&engine->open_lock);
	return r;
}

void segments_forget(struct engine *engine, struct space *space)
{
	lock_acquire(&engine->open_lock);
	for (struct segment *segment = engine->segments; segment; segment = segment->next)
		for (struct attachment **at = &segment->attachments; *at;) {
			if ((*at)->space == space)
				forget_attachment(segment, at);
			else
				at = &(*at)->next;
		}
	lock_release(&engine->open_lock);
	segments_sweep(engine);
}

static void free_segment(struct segment *segment)
{
	struct attachment *attachment, *next;

	for (attachment = segment->attachments; attachment; attachment = next) {
		next = attachment->next;
		free(attachment);
	}
	object_unuse(segment->object);
	free(segment);
}

void segments_sweep(struct engine *engine)
{
	struct segment **at, *segment;

	lock_acquire(&engine->open_lock);
	for (at = &engine->segments; (segment = *at) != NULL;) {
		if (!segment->removed || count_locked(segment) > 0) {
			at = &segment->next;
			continue;
		}
		*at = segment->next;
		free_segment(segment);
	}
	lock_release(&engine->open_lock);
}

void segments_close(struct engine *engine)
{
	struct segment *segment, *next;

	for (segment = engine->segments; segment; segment = next) {
		next = segment->next;
		free_segment(segment);
	}
	engine->segments = NULL;
}

/* ---- shmget ---- */

/* There are far fewer than numbers. */
static int next_id_locked(struct engine *engine)
{
	int id;

	do {
		id = engine->next_segment;
		engine->next_segment = id < INT_MAX ? id + 1 : 0;
	} while (find_locked(engine, id));
	return id;
}

static int create_locked(struct engine *engine, key_t key, size_t size, int flags)
{
	struct caller caller = entry_caller();
	struct segment *segment;
	unsigned count = 0, own = 0;
	int r;

	for (segment = engine->segments; segment; segment = segment->next, count++)
		own += segment->ds.shm_perm.cuid == caller.uid;
	if (size == 0 || pages_of(size) > (uint64_t)INT64_MAX >> page_shift)
		return message_set(EINVAL, "a segment cannot have %zu bytes", size);
	if (count >= SEGMENTS_MOST || (own >= SEGMENTS_OF_ANOTHER_MOST && entry_is_for_another_user()))
		return message_set(ENOSPC, "there are %u segments already, %u of them this user's", count, own);
	segment = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*segment));
	r = segment ? engine_make_memory(engine, pages_of(size) << page_shift, &segment->object) : -ENOMEM;
	if (r < 0) {
		free(segment);
		return r;
	}
	segment->id = next_id_locked(engine);
	segment->ds.shm_segsz = size;
	segment->ds.shm_cpid = caller.pid;
	segment->ds.shm_ctime = time(NULL);
	segment->ds.shm_perm.__key = key;
	segment->ds.shm_perm.uid = segment->ds.shm_perm.cuid = caller.uid;
	segment->ds.shm_perm.gid = segment->ds.shm_perm.cgid = caller.gid;
	segment->ds.shm_perm.mode = flags & 0777;
	segment->next = engine->segments;
	engine->segments = segment;
	return segment->id;
}

static int get_locked(struct engine *engine, key_t key, size_t size, int flags)
{
	struct segment *found = key == IPC_PRIVATE ? NULL : find_key_locked(engine, key);

	if (!found && key != IPC_PRIVATE && !(flags & IPC_CREAT))
		return message_set(ENOENT, "there is no segment of key %#x in this program; IPC_CREAT makes it", (unsigned)key);
	if (!found)
		return create_locked(engine, key, size, flags);
	if ((flags & IPC_CREAT) && (flags & IPC_EXCL))
		return message_set(EEXIST, "there is a segment of key %#x", (unsigned)key);
	if (!is_allowed(&found->ds, wanted_of(flags)))
		return message_set(EACCES, "the permissions of segment %d, %#o, do not allow %#o", found->id,
				   found->ds.shm_perm.mode, flags & 0777);
	if (size > found->ds.shm_segsz)
		return message_set(EINVAL, "the segment of key %#x has %zu bytes, and not %zu", (unsigned)key, found->ds.shm_segsz,
				   size);
	return found->id;
}

int quire_shmget(key_t key, size_t size, int flags)
{
	struct engine *engine;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_shmget");
	if (flags & SHM_HUGETLB)
		r = message_set(EOPNOTSUPP, "the flag SHM_HUGETLB is not served by this version");
	else if (client_serves(&r, &(struct client_call){.name = CALL_SHMGET, .arg = {key, (int64_t)size, flags}, .fd = -1}))
		return entry_end(&entry, r);
	else
		r = entry_engine(&engine);
	if (r == 0) {
		segments_sweep(engine);
		lock_acquire(&engine->open_lock);
		r = get_locked(engine, key, size, flags);
		lock_release(&engine->open_lock);
		registry_bury(&engine->registry);
	}
	return entry_end(&entry, r);
}

/* ---- shmat, shmdt ---- */

struct attaching {
	struct mapping mapping;
	struct object *object; /* a use */
};

static int check_address(const char *addr, int flags, char **ret)
{
	uintptr_t inside = (uintptr_t)addr & (page_size() - 1);

	if (!addr && (flags & SHM_REMAP))
		return message_set(EINVAL, "SHM_REMAP needs an address");
	if (inside && !(flags & SHM_RND))
		return message_set(EINVAL, "the address %p is not a multiple of the page size, and SHM_RND is not set",
				   (void *)addr);
	*ret = (char *)((uintptr_t)addr - inside);
	return 0;
}

/* Looks the segment up and uses its object. */
static int begin_attach(struct engine *engine, int id, int flags, struct mapping *m)
{
	unsigned wanted = MAY_READ | (flags & SHM_RDONLY ? 0 : MAY_WRITE) | (flags & SHM_EXEC ? MAY_EXECUTE : 0);
	struct segment *segment;
	int r = 0;

	lock_acquire(&engine->open_lock);
	segment = find_locked(engine, id);
	if (!segment)
		r = unknown(id);
	else if (!is_allowed(&segment->ds, wanted))
		r = message_set(EACCES, "the permissions of segment %d, %#o, do not allow it to be attached so", id,
				segment->ds.shm_perm.mode);
	if (r == 0) {
		m->object = segment->object;
		m->len = (size_t)(atomic_load(&segment->object->pages) << page_shift);
		object_use(segment->object);
	}
	lock_release(&engine->open_lock);
	return r;
}

/* What was attached in the same place, and has been attached over. */
static void forget_covered(struct segment *segment, const struct attachment *by)
{
	for (struct attachment **at = &segment->attachments; *at;) {
		if ((*at)->space == by->space && (*at)->addr >= by->addr && (*at)->addr + (*at)->len <= by->addr + by->len)
			forget_attachment(segment, at);
		else
			at = &(*at)->next;
	}
}

/* The segment may have been removed, and be gone, since it was looked up: then the mapping lives without it. */
static void note_attached(struct engine *engine, int id, struct attachment *attachment)
{
	struct segment *segment;

	lock_acquire(&engine->open_lock);
	segment = find_locked(engine, id);
	if (segment) {
		/* Unmapped or replaced: by its address it would be taken for this one. */
		forget_covered(segment, attachment);
		segment->ds.shm_atime = time(NULL);
		segment->ds.shm_lpid = entry_caller().pid;
		attachment->next = segment->attachments;
		segment->attachments = attachment;
	}
	lock_release(&engine->open_lock);
	if (!segment)
		free(attachment);
}

static int attach(struct engine *engine, int id, int flags, struct mapping *m, char **ret)
{
	struct attachment *attachment = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*attachment));
	int r = attachment ? begin_attach(engine, id, flags, m) : -ENOMEM;

	if (r == 0) {
		r = space_map(entry_space(engine), m, ret);
		object_unuse(m->object);
	}
	if (r == -EEXIST)
		r = message_set(EINVAL, "something is mapped in the %zu bytes at %p, and SHM_REMAP is not set", m->len,
				(void *)m->addr);
	if (r < 0) {
		free(attachment);
		return r;
	}
	attachment->space = entry_space(engine);
	attachment->addr = *ret;
	attachment->len = m->len;
	note_attached(engine, id, attachment);
	return 0;
}

void *quire_shmat(int id, const void *addr, int flags)
{
	struct mapping m = {
	    .prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0),
	    .shared = true,
	    .anonymous = true,
	    .fixed = addr && (flags & SHM_REMAP),
	    .noreplace = addr && !(flags & SHM_REMAP),
	};
	struct engine *engine;
	struct entry entry;
	char *result = NULL;
	int r;

	entry_begin(&entry, "quire_shmat");
	m.max_prot = m.prot | PROT_READ;
	if (client_is()) {
		int64_t at = client_ask(
		    &(struct client_call){.name = CALL_SHMAT, .arg = {id, (int64_t)(intptr_t)addr, flags}, .fd = -1}, NULL);

		return entry_end(&entry, at < 0 ? (int)at : 0) < 0 ? (void *)-1 : (void *)(intptr_t)at;
	}
	r = check_address(addr, flags, &m.addr);
	if (r == 0)
		r = entry_engine(&engine);
	if (r == 0) {
		segments_sweep(engine);
		r = attach(engine, id, flags, &m, &result);
		registry_bury(&engine->registry);
	}
	return entry_end(&entry, r) < 0 ? (void *)-1 : result;
}

/* Takes the attachment off its segment. NULL: there is none at addr. *ret_object: a use. */
static struct attachment *take_attachment(struct engine *engine, const char *addr, struct object **ret_object)
{
	struct attachment *found = NULL;

	lock_acquire(&engine->open_lock);
	for (struct segment *segment = engine->segments; segment && !found; segment = segment->next) {
		struct attachment **at = &segment->attachments;

		(void)count_locked(segment);
		while (*at && ((*at)->addr != addr || (*at)->space != entry_space(engine)))
			at = &(*at)->next;
		found = *at;
		if (!found)
			continue;
		*at = found->next;
		segment->ds.shm_dtime = time(NULL);
		segment->ds.shm_lpid = entry_caller().pid;
		object_use(segment->object);
		*ret_object = segment->object;
	}
	lock_release(&engine->open_lock);
	return found;
}

static int detach(struct engine *engine, struct attachment *attachment, struct object *object)
{
	char *at = attachment->addr, *end = attachment->addr + attachment->len;
	size_t len;
	int r = 0;

	while (r == 0 && (at = find_part(entry_space(engine), object, at, end, &len)) != NULL) {
		r = space_unmap(entry_space(engine), at, len);
		at += len;
	}
	return r;
}

int quire_shmdt(const void *addr)
{
	struct engine *engine = entry_engine_if_started();
	struct attachment *attachment = NULL;
	struct object *object = NULL;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_shmdt");
	if (client_serves(&r, &(struct client_call){.name = CALL_SHMDT, .arg = {(int64_t)(intptr_t)addr}, .fd = -1}))
		return entry_end(&entry, r);
	r = engine ? entry_engine(&engine) : 0;
	if (r == 0 && engine)
		attachment = take_attachment(engine, addr, &object);
	if (attachment)
		r = detach(engine, attachment, object);
	else if (r == 0)
		r = message_set(EINVAL, "no segment is attached at %p", addr);
	object_unuse(object);
	free(attachment);
	if (engine) {
		segments_sweep(engine);
		registry_bury(&engine->registry);
	}
	return entry_end(&entry, r);
}

/* ---- shmctl ---- */

static int set_locked(struct segment *segment, const struct shmid_ds *from)
{
	segment->ds.shm_perm.uid = from->shm_perm.uid;
	segment->ds.shm_perm.gid = from->shm_perm.gid;
	segment->ds.shm_perm.mode = from->shm_perm.mode & 0777;
	segment->ds.shm_ctime = time(NULL);
	return 0;
}

static int remove_locked(struct segment *segment)
{
	segment->removed = true;
	segment->ds.shm_perm.__key = IPC_PRIVATE;
	segment->ds.shm_ctime = time(NULL);
	return 0;
}

static int stat_locked(struct segment *segment, struct shmid_ds *ret)
{
	*ret = segment->ds;
	ret->shm_nattch = count_locked(segment);
	if (segment->removed)
		ret->shm_perm.mode |= SHM_DEST;
	return 0;
}

void segments_tell(struct engine *engine, FILE *out)
{
	segments_sweep(engine);
	lock_acquire(&engine->open_lock);
	for (struct segment *segment = engine->segments; segment; segment = segment->next)
		fprintf(out, "%d\t%#x\t%u\t%u\t%o\t%zu\t%lu\n", segment->id, (unsigned)segment->ds.shm_perm.__key,
			segment->ds.shm_perm.uid, segment->ds.shm_perm.gid, segment->ds.shm_perm.mode & 0777u,
			segment->ds.shm_segsz, (unsigned long)count_locked(segment));
	lock_release(&engine->open_lock);
}

/* ds is the engine's, not the caller's. */
static int control_locked(struct engine *engine, int id, int cmd, struct shmid_ds *ds)
{
	struct segment *segment = find_locked(engine, id);

	if (!segment)
		return unknown(id);
	if (cmd == IPC_STAT && !is_allowed(&segment->ds, MAY_READ))
		return message_set(EACCES, "the permissions of segment %d, %#o, do not allow it to be read", id,
				   segment->ds.shm_perm.mode);
	if (cmd != IPC_STAT && !is_owner(&segment->ds))
		return message_set(EPERM, "segment %d belongs to user %u", id, segment->ds.shm_perm.uid);
	return cmd == IPC_STAT ? stat_locked(segment, ds) : cmd == IPC_SET ? set_locked(segment, ds) : remove_locked(segment);
}

static int control_by_engine(int id, int cmd, struct shmid_ds *buf)
{
	struct shmid_ds ds = {0};
	struct client_call call = {
	    .name = CALL_SHMCTL, .arg = {id, cmd}, .in = &ds, .in_len = sizeof(ds), .out = &ds, .out_len = sizeof(ds), .fd = -1};
	int r;

	if (cmd == IPC_SET)
		ds = *buf;
	r = (int)client_ask(&call, NULL);
	if (r == 0 && cmd == IPC_STAT)
		*buf = ds;
	return r;
}

int quire_shmctl(int id, int cmd, struct shmid_ds *buf)
{
	struct engine *engine = entry_engine_if_started();
	struct shmid_ds ds = {0};
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "quire_shmctl");
	if (cmd != IPC_STAT && cmd != IPC_SET && cmd != IPC_RMID)
		r = message_set(EINVAL, "the command %d is none of IPC_STAT, IPC_SET and IPC_RMID", cmd);
	else if (client_is())
		return entry_end(&entry, control_by_engine(id, cmd, buf));
	else if (!engine)
		r = unknown(id);
	else
		r = entry_engine(&engine);
	/* The caller's memory may be managed: it is touched with no lock held. */
	if (r == 0 && cmd == IPC_SET)
		ds = *buf;
	if (r == 0) {
		segments_sweep(engine);
		lock_acquire(&engine->open_lock);
		r = control_locked(engine, id, cmd, &ds);
		lock_release(&engine->open_lock);
		segments_sweep(engine);
		registry_bury(&engine->registry);
	}
	if (r == 0 && cmd == IPC_STAT)
		*buf = ds;
	return entry_end(&entry, r);
}
