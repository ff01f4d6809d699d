/* SPDX-License-Identifier: MIT */
/*
 * mlock.c - the public calls that lock pages in memory: mlock of a range, mlockall
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"
#include "fault/fault.h"
#include "range.h"
#include "remote/client.h"
#include "rights.h"
#include "sys/page_size.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

/* The parts of a range that were not locked, so that a call that fails can unlock just them. */
struct spans {
	struct part *all;
	size_t count, capacity;
};

static int note_unlocked(void *arg, const struct part *part)
{
	struct spans *spans = arg;

	if (part->locked)
		return 0;
	if (spans->count == spans->capacity) {
		size_t capacity = spans->capacity ? 2 * spans->capacity : 8;
		struct part *all = realloc(spans->all, capacity * sizeof(struct part));

		if (!all)
			return message_set(ENOMEM, "no memory for the list of mappings");
		spans->all = all;
		spans->capacity = capacity;
	}
	spans->all[spans->count++] = *part;
	return 0;
}

static void unlock_spans(struct space *space, const struct spans *spans)
{
	for (size_t i = 0; i < spans->count; i++)
		(void)space_set_locked(space, spans->all[i].addr, spans->all[i].pages << page_shift, false, false);
}

static int bring_in(struct space *space, char *addr, size_t len)
{
	int r = fault_populate(space, addr, len, FAULT_AS_LOCKED);

	if (r == 0)
		return 0;
	return message_set(r == -ENOMEM ? EAGAIN : ENOMEM, "a page of the range at %p cannot be brought in: %s", (void *)addr,
			   r == -EFAULT ? "it is past the end of the file, or its protection is PROT_NONE" : strerrordesc_np(-r));
}

static int lock_range(struct engine *engine, char *addr, size_t len, bool on_fault)
{
	struct space *space = entry_space(engine);
	struct spans spans = {0};
	int r = space_check(space, addr, len);

	if (r == 0)
		r = rights_to_lock(engine, space_unlocked_pages(space, addr, len), ENOMEM);
	if (r == 0)
		r = space_visit(space, addr, len, note_unlocked, &spans);
	if (r == 0)
		r = space_set_locked(space, addr, len, true, on_fault);
	if (r == 0 && !on_fault) {
		r = bring_in(space, addr, len);
		if (r < 0)
			unlock_spans(space, &spans);
	}
	free(spans.all);
	return r;
}

static int unlock_range(struct engine *engine, char *addr, size_t len)
{
	return space_set_locked(entry_space(engine), addr, len, false, false);
}

/* Locking takes any address: the pages that hold the range. */
static int lock_any(const char *call, const void *addr, size_t len, unsigned flags, bool lock)
{
	char *start = (char *)((uintptr_t)addr & ~(uintptr_t)(page_size() - 1));
	struct entry entry;
	struct range range = {0};
	int r;

	entry_begin(&entry, call);
	if (flags & ~(unsigned)MLOCK_ONFAULT)
		r = message_set(EINVAL, "flags %#x hold an unknown one", flags);
	else if (len > SIZE_MAX - page_size())
		r = message_set(EINVAL, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	else
		r = range_begin(start, len + (size_t)((const char *)addr - start), EINVAL, &range);
	if (r > 0 && client_serves(&r, &(struct client_call){.name = lock ? CALL_MLOCK : CALL_MUNLOCK,
							     .arg = {(int64_t)(intptr_t)addr, (int64_t)len, flags},
							     .fd = -1}))
		return entry_end(&entry, r);
	if (r > 0 && !range.engine)
		r = entry_leave_to_kernel() && syscall(lock ? flags ? SYS_mlock2 : SYS_mlock : SYS_munlock, addr, len, flags) < 0
			? -errno
			: 0;
	else if (r > 0)
		r = lock ? lock_range(range.engine, range.addr, range.len, flags & MLOCK_ONFAULT)
			 : unlock_range(range.engine, range.addr, range.len);
	return entry_end(&entry, r);
}

int quire_mlock(const void *addr, size_t len)
{
	return lock_any("quire_mlock", addr, len, 0, true);
}

int quire_mlock2(const void *addr, size_t len, unsigned flags)
{
	return lock_any("quire_mlock2", addr, len, flags, true);
}

int quire_munlock(const void *addr, size_t len)
{
	return lock_any("quire_munlock", addr, len, 0, false);
}

/* The area after addr. False: no more. */
static bool next_area(struct space *space, char **addr, char **ret_start, size_t *ret_len)
{
	bool found;
	size_t i;

	rwlock_read_acquire(&space->cache->map_lock);
	i = area_set_search(&space->areas, *addr);
	found = i < space->areas.count;
	if (found) {
		*ret_start = area_addr(space->areas.all[i]);
		*ret_len = space->areas.all[i]->view.pages << page_shift;
		*addr = area_end(space->areas.all[i]);
	}
	rwlock_read_release(&space->cache->map_lock);
	return found;
}

/* Brings in what can be brought in of all that is mapped, and lets it count as locked, though another thread may unmap it meanwhile. */
static void bring_in_all(struct engine *engine)
{
	char *at = NULL, *start;
	size_t len;

	while (next_area(entry_space(engine), &at, &start, &len)) {
		/* What cannot be, behind the end of a file or without protection, is locked all the same, as on Linux. */
		(void)fault_populate(entry_space(engine), start, len, FAULT_AS_LOCKED);
		(void)space_set_locked(entry_space(engine), start, len, true, false);
	}
}

static int lock_all(struct engine *engine, bool on_fault)
{
	struct space *space = entry_space(engine);
	struct spans spans = {0};
	char *at = NULL, *start;
	uint64_t pages = 0;
	size_t len;
	int r = 0;

	while (r == 0 && next_area(space, &at, &start, &len))
		r = space_visit(space, start, len, note_unlocked, &spans);
	for (size_t i = 0; i < spans.count; i++)
		pages += spans.all[i].pages;
	if (r == 0)
		r = rights_to_lock(engine, pages, ENOMEM);
	for (size_t i = 0; r == 0 && i < spans.count; i++) {
		len = spans.all[i].pages << page_shift;
		/* Another thread may have unmapped it since. */
		if (space_check(space, spans.all[i].addr, len) == 0)
			r = space_set_locked(space, spans.all[i].addr, len, true, true);
	}
	if (r < 0)
		unlock_spans(space, &spans);
	free(spans.all);
	if (r == 0 && !on_fault)
		bring_in_all(engine);
	return r;
}

static int unlock_all(struct engine *engine)
{
	char *at = NULL, *start;
	size_t len;
	int r = 0;

	while (r == 0 && next_area(entry_space(engine), &at, &start, &len)) {
		/* Another thread may have unmapped it since. */
		if (space_check(entry_space(engine), start, len) == 0)
			r = space_set_locked(entry_space(engine), start, len, false, false);
	}
	return r;
}

/* What is locked from now on when it is mapped; what was before. */
static int exchange_lock_future(struct engine *engine, int flags)
{
	int before;

	rwlock_write_acquire(&engine->cache->map_lock);
	before = entry_space(engine)->lock_future;
	entry_space(engine)->lock_future = flags;
	rwlock_write_release(&engine->cache->map_lock);
	return before;
}

int quire_mlockall(int flags)
{
	struct engine *engine;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_mlockall");
	if (client_serves(&r, &(struct client_call){.name = CALL_MLOCKALL, .arg = {flags}, .fd = -1}))
		return entry_end(&entry, r);
	if (!(flags & (MCL_CURRENT | MCL_FUTURE)) || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)))
		r = message_set(EINVAL, "flags %#x have to hold MCL_CURRENT or MCL_FUTURE, and nothing else but MCL_ONFAULT",
				flags);
	else
		r = entry_engine(&engine);
	if (r == 0)
		r = rights_to_lock(engine, 0, ENOMEM);
	if (r == 0) {
		int before = exchange_lock_future(engine, flags & (MCL_FUTURE | MCL_ONFAULT));

		if (flags & MCL_CURRENT)
			r = lock_all(engine, flags & MCL_ONFAULT);
		if (r < 0)
			(void)exchange_lock_future(engine, before);
	}
	return entry_end(&entry, r);
}

int quire_munlockall(void)
{
	struct engine *engine = entry_engine_if_started();
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "quire_munlockall");
	if (client_serves(&r, &(struct client_call){.name = CALL_MUNLOCKALL, .fd = -1}))
		return entry_end(&entry, r);
	if (engine) {
		(void)exchange_lock_future(engine, 0);
		r = unlock_all(engine);
	}
	return entry_end(&entry, r);
}
