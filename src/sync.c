/* SPDX-License-Identifier: MIT */
/*
 * sync.c - the public call msync: write-back of files, commits of atomic ones
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "commit.h"
#include "entry.h"
#include "range.h"
#include "remote/client.h"

struct syncing {
	struct engine *engine;
	int flags;
	struct commit_list commits; /* parts of atomic files, which are committed as one */
};

static bool is_atomic(const struct part *part)
{
	return part->object && part->shared && part->object->journal;
}

static int sync_part(void *arg, const struct part *part)
{
	struct syncing *syncing = arg;
	uint64_t end = part->first + part->pages;
	int r = 0;

	if (is_atomic(part))
		return syncing->flags & (MS_SYNC | MS_ASYNC) ? commit_list_add(&syncing->commits, part) : 0;
	if (!part->object || !part->shared || part->object->kind != OBJECT_FILE)
		return 0;
	if (syncing->flags & MS_SYNC) {
		r = object_sync(part->object, part->first, end);
	} else if (syncing->flags & MS_ASYNC) {
		rwlock_read_acquire(&syncing->engine->cache->map_lock);
		r = object_harvest(part->object, part->first, end);
		rwlock_read_release(&syncing->engine->cache->map_lock);
		object_write(part->object, part->first, end, false, NULL);
	}
	if (r < 0)
		return message_set(-r, "write-back of the mapping at %p failed: %s. Its pages are still dirty", (void *)part->addr,
				   strerrordesc_np(-r));
	return 0;
}

static int invalidate_part(void *arg, const struct part *part)
{
	(void)arg;
	if (part->object && part->shared && part->object->kind == OBJECT_FILE)
		object_invalidate(part->object, part->first, part->first + part->pages);
	return 0;
}

static int commit_parts(struct syncing *syncing)
{
	int64_t r = 0;

	if (syncing->commits.count > 0 && (syncing->flags & MS_SYNC))
		r = commit_now(syncing->engine, &syncing->commits);
	else if (syncing->commits.count > 0)
		r = commit_later(syncing->engine, &syncing->commits, -1, true);
	return r < 0 ? (int)r : 0;
}

static int sync_range(struct range *range, int flags)
{
	struct syncing syncing = {.engine = range->engine, .flags = flags};
	struct space *space = entry_space(range->engine);
	int r = space_check(space, range->addr, range->len);

	if (r == 0 && (flags & MS_INVALIDATE))
		r = space_visit(space, range->addr, range->len, range_refuse_locked, (void *)"MS_INVALIDATE");
	if (r == 0)
		r = space_visit(space, range->addr, range->len, sync_part, &syncing);
	if (r == 0)
		r = commit_parts(&syncing);
	commit_list_done(&syncing.commits);
	if (r == 0 && (flags & MS_INVALIDATE))
		r = space_visit(space, range->addr, range->len, invalidate_part, NULL);
	return r;
}

int quire_msync(void *addr, size_t len, int flags)
{
	struct entry entry;
	struct range range;
	int r;

	entry_begin(&entry, "quire_msync");
	if ((flags & ~(MS_ASYNC | MS_SYNC | MS_INVALIDATE)) || ((flags & MS_ASYNC) && (flags & MS_SYNC)))
		r = message_set(EINVAL, "flags %#x hold an unknown one, or both MS_SYNC and MS_ASYNC", flags);
	else
		r = range_begin(addr, len, ENOMEM, &range);
	if (r > 0 && !client_serves(&r, &(struct client_call){
					    .name = CALL_MSYNC, .arg = {(int64_t)(intptr_t)addr, (int64_t)len, flags}, .fd = -1}))
		r = range.engine ? sync_range(&range, flags) : entry_leave_to_kernel() && msync(addr, len, flags) < 0 ? -errno : 0;
	return entry_end(&entry, r);
}
