/* SPDX-License-Identifier: MIT */
/*
 * advise.c - the public calls about the pages of a range: madvise, minherit, mincore
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/policy.h"
#include "entry.h"
#include "fault/fault.h"
#include "object/collapse.h"
#include "range.h"
#include "remote/client.h"
#include "space/inherit.h"
#include "space/share.h"
#include "sys/page_size.h"

#ifndef MADV_COLD
#define MADV_COLD    20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* 6.1 */
#endif

/* ---- madvise ---- */

static int will_need(void *arg, const struct part *part)
{
	uint64_t end = part->first + part->pages;

	(void)arg;
	if (!part->object)
		return 0;
	/* More than half of the budget would push out its own beginning. */
	if (end - part->first > atomic_load(&part->object->cache->limit) / 2)
		end = part->first + atomic_load(&part->object->cache->limit) / 2;
	for (uint64_t at = part->first; at < end; at += CHUNK_PAGES) {
		unsigned n = end - at < CHUNK_PAGES ? (unsigned)(end - at) : CHUNK_PAGES;

		if (object_load(part->object, at, n, PAGE_AHEAD, UINT64_MAX, false, NULL) < 0)
			break;
	}
	return 0;
}

/* Shared pages are unmapped and keep their bytes, as on Linux; they are then the first to be paged out. */
static int unmap_part(void *arg, const struct part *part)
{
	struct engine *engine = arg;
	uint64_t end = part->first + part->pages;

	if (!part->object || !part->shared)
		return 0;
	for (struct chunk *chunk = table_next(&part->object->table, part->first); chunk && chunk->first < end;
	     chunk = table_next(&part->object->table, chunk->first + CHUNK_PAGES)) {
		unsigned from = part->first > chunk->first ? (unsigned)(part->first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;

		rwlock_read_acquire(&engine->cache->map_lock);
		object_unmap(part->object, chunk, from, to, false);
		rwlock_read_release(&engine->cache->map_lock);
		for (unsigned i = from; i < to; i++)
			policy_cold(&chunk->page[i]);
	}
	return 0;
}

static int page_out_part(void *arg, const struct part *part)
{
	struct engine *engine = arg;

	if (part->object && part->shared) {
		object_drop(part->object, part->first, part->first + part->pages, true);
	} else {
		struct object *words = entry_space(engine)->private_pages->object;
		uint64_t first = (uintptr_t)part->addr >> page_shift, end = first + part->pages;

		for (struct chunk *chunk = table_next(&words->table, first); chunk && chunk->first < end;
		     chunk = table_next(&words->table, chunk->first + CHUNK_PAGES))
			private_page_out(entry_space(engine)->private_pages, chunk,
					 first > chunk->first ? (unsigned)(first - chunk->first) : 0,
					 end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES);
	}
	return 0;
}

static int may_remove(void *arg, const struct part *part)
{
	(void)arg;
	if (part->locked || !part->object)
		return message_set(EINVAL, "MADV_REMOVE: the mapping at %p is %s", (void *)part->addr,
				   part->locked ? "locked" : "private memory without a file");
	if (!part->shared || !(part->max_prot & PROT_WRITE))
		return message_set(EACCES,
				   "MADV_REMOVE: the mapping at %p is not a shared one of a descriptor that is open for writing",
				   (void *)part->addr);
	if (part->object->journal)
		return message_set(EOPNOTSUPP, "MADV_REMOVE: the mapping at %p is of an atomic file: store zeros, and commit them",
				   (void *)part->addr);
	return 0;
}

static int remove_part(void *arg, const struct part *part)
{
	int r = object_discard(part->object, part->first, part->first + part->pages);

	(void)arg;
	return r < 0
		   ? message_set(-r, "no hole could be made behind the mapping at %p: %s", (void *)part->addr, strerrordesc_np(-r))
		   : 0;
}

static int is_private_anonymous(void *arg, const struct part *part)
{
	(void)arg;
	if (!part->shared && !part->object)
		return 0;
	return message_set(EINVAL, "MADV_FREE: the mapping at %p is not private anonymous memory", (void *)part->addr);
}

static int may_populate(void *arg, const struct part *part)
{
	int need = *(const int *)arg;

	if ((part->prot & need) == need)
		return 0;
	return message_set(EINVAL, "MADV_POPULATE_%s: the protection %#x of the mapping at %p does not allow it",
			   need & PROT_WRITE ? "WRITE" : "READ", part->prot, (void *)part->addr);
}

static int populate(struct range *range, bool write)
{
	int need = write ? PROT_WRITE : PROT_READ;
	int r = space_visit(entry_space(range->engine), range->addr, range->len, may_populate, &need);

	if (r == 0)
		r = fault_populate(entry_space(range->engine), range->addr, range->len, write ? FAULT_WRITE : FAULT_READ);
	if (r < 0 && r != -EINVAL && r != -ENOMEM)
		return message_set(EFAULT, "a page of the range at %p cannot be brought in: %s", (void *)range->addr,
				   r == -EFAULT ? "it lies past the end of the file" : strerrordesc_np(-r));
	return r;
}

/* Whether a piece of advice is served: 0, -EINVAL unknown. */
static int check_advice(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case QUIRE_MADV_ONCE:
	case QUIRE_MADV_REUSE:
		return 0;
	case MADV_COLLAPSE:
		return 0;
	default:
		return message_set(EINVAL, "the advice %d is unknown", advice);
	}
}

/* Calls a function for each chunk that lies whole in a part, with the map lock held for reading. */
static void for_chunks(const struct part *part, void (*call)(void *arg, struct object *object, uint64_t first), void *arg)
{
	uint64_t end = part->first + part->pages;

	if (!part->object || !part->shared)
		return;
	for (uint64_t first = (part->first + CHUNK_PAGES - 1) / CHUNK_PAGES * CHUNK_PAGES; first + CHUNK_PAGES <= end;
	     first += CHUNK_PAGES) {
		rwlock_read_acquire(&part->object->cache->map_lock);
		call(arg, part->object, first);
		rwlock_read_release(&part->object->cache->map_lock);
	}
}

static void count_allowed(void *arg, struct object *object, uint64_t first)
{
	*(uint64_t *)arg += collapse_is_allowed(object, first);
}

static int count_chunks(void *arg, const struct part *part)
{
	for_chunks(part, count_allowed, arg);
	return 0;
}

/* arg: what the last that could not be collapsed failed with. */
static void collapse_one(void *arg, struct object *object, uint64_t first)
{
	struct chunk *chunk = collapse_is_allowed(object, first) ? table_find(&object->table, first) : NULL;
	int r = chunk ? collapse_chunk(object, chunk) : 0;

	if (r < 0)
		*(int *)arg = r;
}

static int collapse_part(void *arg, const struct part *part)
{
	for_chunks(part, collapse_one, arg);
	return 0;
}

static int collapse(struct range *range)
{
	struct space *space = entry_space(range->engine);
	uint64_t chunks = 0;
	int failed = 0;
	int r = space_visit(space, range->addr, range->len, count_chunks, &chunks);

	if (r < 0)
		return r;
	if (chunks == 0)
		return message_set(EINVAL,
				   "MADV_COLLAPSE: in the range at %p lies no whole stretch of %u pages of a shared mapping of a "
				   "file, for reading "
				   "only, not locked, and at an address that is as far from a multiple of its length as the offset",
				   (void *)range->addr, CHUNK_PAGES);
	r = populate(range, false);
	if (r == 0)
		r = space_visit(space, range->addr, range->len, collapse_part, &failed);
	if (r < 0 || failed == 0)
		return r;
	return message_set(-failed, "not all pages of the range at %p could be made into huge ones: %s", (void *)range->addr,
			   strerrordesc_np(-failed));
}

struct sorts {
	bool huge, other;
};

static int note_sort(void *arg, const struct part *part)
{
	struct sorts *sorts = arg;

	*(part->huge ? &sorts->huge : &sorts->other) = true;
	return 0;
}

/* Huge pages are the kernel's, as what is to be done with them. 1: there are none in the range, or it is for us to do. */
static int advise_huge(struct range *range, int advice)
{
	struct sorts sorts = {false, false};
	int r;

	space_visit(entry_space(range->engine), range->addr, range->len, note_sort, &sorts);
	if (!sorts.huge)
		return 1;
	switch (advice) {
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		break;
	default:
		return 1;
	}
	if (sorts.other)
		return message_set(EINVAL, "the range at %p holds huge pages and others: advise them one by one",
				   (void *)range->addr);
	r = pmap_advise(&entry_space(range->engine)->pmap, range->addr, range->len, advice);
	if (r == 0)
		return 0;
	return message_set(-r, "the kernel refuses the advice %d for the huge pages at %p: %s", advice, (void *)range->addr,
			   strerrordesc_np(-r));
}

static int advise(struct range *range, int advice)
{
	struct engine *engine = range->engine;
	struct space *space = entry_space(engine);
	int r;

	if (advice == MADV_DONTFORK || advice == MADV_DOFORK || advice == MADV_WIPEONFORK || advice == MADV_KEEPONFORK)
		return inherit_advise(space, range->addr, range->len, advice);
	r = space_check(space, range->addr, range->len);
	if (r == 0) {
		r = advise_huge(range, advice);
		if (r <= 0)
			return r;
		r = 0;
	}
	if (r == 0 && (advice == MADV_DONTNEED || advice == MADV_FREE))
		r = space_visit(space, range->addr, range->len, range_refuse_locked,
				(void *)(advice == MADV_FREE ? "MADV_FREE" : "MADV_DONTNEED"));
	if (r == 0 && (advice == MADV_COLD || advice == MADV_PAGEOUT))
		r = space_visit(space, range->addr, range->len, range_refuse_locked,
				(void *)(advice == MADV_COLD ? "MADV_COLD" : "MADV_PAGEOUT"));
	if (r < 0)
		return r;
	switch (advice) {
	case MADV_NORMAL:
		return space_set_advice(space, range->addr, range->len, READAHEAD_NORMAL);
	case MADV_RANDOM:
		return space_set_advice(space, range->addr, range->len, READAHEAD_RANDOM);
	case MADV_SEQUENTIAL:
		return space_set_advice(space, range->addr, range->len, READAHEAD_SEQUENTIAL);
	case MADV_WILLNEED:
		return space_visit(space, range->addr, range->len, will_need, NULL);
	case MADV_FREE:
		r = space_visit(space, range->addr, range->len, is_private_anonymous, NULL);
		return r == 0 ? space_discard_private(space, range->addr, range->len) : r;
	case MADV_DONTNEED:
		r = space_discard_private(space, range->addr, range->len);
		return r == 0 ? space_visit(space, range->addr, range->len, unmap_part, engine) : r;
	case MADV_COLD:
		return space_visit(space, range->addr, range->len, unmap_part, engine);
	case MADV_PAGEOUT:
		return space_visit(space, range->addr, range->len, page_out_part, engine);
	case MADV_REMOVE:
		r = space_visit(space, range->addr, range->len, may_remove, NULL);
		return r == 0 ? space_visit(space, range->addr, range->len, remove_part, NULL) : r;
	case MADV_DONTDUMP:
	case MADV_DODUMP:
		return space_set_nodump(space, range->addr, range->len, advice == MADV_DONTDUMP);
	case QUIRE_MADV_ONCE:
	case QUIRE_MADV_REUSE:
		return space_set_once(space, range->addr, range->len, advice == QUIRE_MADV_ONCE);
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return populate(range, advice == MADV_POPULATE_WRITE);
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
		return space_set_small(space, range->addr, range->len, advice == MADV_NOHUGEPAGE);
	case MADV_COLLAPSE:
		return collapse(range);
	default:
		return 0;
	}
}

/* only_check: the range has to be right, and nothing is done. */
static int advise_any(const char *call, void *addr, size_t len, int advice, bool only_check)
{
	struct entry entry;
	struct range range;
	int r;

	entry_begin(&entry, call);
	r = range_begin(addr, len, EINVAL, &range);
	if (r > 0 && client_serves(&r, &(struct client_call){.name = only_check ? CALL_POSIX_MADVISE : CALL_MADVISE,
							     .arg = {(int64_t)(intptr_t)addr, (int64_t)len, advice},
							     .fd = -1})) {
		/* That was it. */
	} else if (r > 0 && only_check) {
		r = range.engine ? space_check(entry_space(range.engine), range.addr, range.len) : 0;
	} else if (r > 0 && !range.engine) {
		r = entry_leave_to_kernel() && madvise(addr, len, advice) < 0
			? message_set(errno, "the kernel, whose memory the range at %p is, refuses the advice %d: %s", addr, advice,
				      strerrordesc_np(errno))
			: 0;
	} else if (r >= 0) {
		int checked = check_advice(advice);

		r = checked < 0 ? checked : r > 0 ? advise(&range, advice) : 0;
	}
	return entry_end(&entry, r);
}

int quire_madvise(void *addr, size_t len, int advice)
{
	return advise_any("quire_madvise", addr, len, advice, false);
}

int quire_posix_madvise(void *addr, size_t len, int advice)
{
	int saved_errno = errno, r;

	if (advice < POSIX_MADV_NORMAL || advice > POSIX_MADV_DONTNEED) {
		message_clear();
		message_set(EINVAL, "the advice %d is unknown", advice);
		message_finish("quire_posix_madvise", EINVAL);
		return EINVAL;
	}
	/* POSIX wants no contents lost: DONTNEED may do nothing but forget, so it asks for nothing but the range to be right. */
	r = advise_any("quire_posix_madvise", addr, len, advice, advice == POSIX_MADV_DONTNEED) < 0 ? errno : 0;
	errno = saved_errno;
	return r;
}

/* ---- minherit ---- */

static int note_private(void *arg, const struct part *part)
{
	*(bool *)arg |= !part->shared && !part->huge; /* huge pages are the kernel's */
	return 0;
}

/* What is private in a range is made shared first, page by page where it has been used. */
static int share_private(struct engine *engine, char *addr, size_t len)
{
	struct space *space = entry_space(engine);
	struct object *object;
	char *at = addr;
	bool any = false;
	int r = space_visit(space, addr, len, note_private, &any), populated;

	if (r < 0 || !any)
		return r;
	r = engine_make_memory(engine, len, &object);
	if (r < 0)
		return r;
	do {
		r = space_share(space, object, addr, &at, addr + len);
		if (r == -EAGAIN) {
			populated = fault_populate(space, at, page_size(), FAULT_WRITE);
			if (populated < 0)
				r = message_set(-populated, "the page at %p cannot be brought in", (void *)at);
		}
	} while (r == -EAGAIN);
	object_unuse(object);
	/* What has come to be shared would have been copied, and is. */
	if (r < 0 && at > addr)
		(void)inherit_set(space, addr, (size_t)(at - addr), QUIRE_INHERIT_COPY);
	return r;
}

static int set_inheritance(struct engine *engine, char *addr, size_t len, int inherit)
{
	struct space *space = entry_space(engine);
	int r = inherit_check(space, addr, len, inherit);

	if (r == 0 && inherit == QUIRE_INHERIT_SHARE)
		r = share_private(engine, addr, len);
	return r == 0 ? inherit_set(space, addr, len, inherit) : r;
}

/* As on FreeBSD the range is that of the pages that hold it. */
int quire_minherit(void *addr, size_t len, int inherit)
{
	char *start = (char *)((uintptr_t)addr & ~(uintptr_t)(page_size() - 1));
	size_t before = (size_t)((char *)addr - start);
	struct entry entry;
	struct range range;
	int r;

	entry_begin(&entry, "quire_minherit");
	if (inherit < QUIRE_INHERIT_SHARE || inherit > QUIRE_INHERIT_ZERO)
		r = message_set(EINVAL, "the inheritance %d is not one of QUIRE_INHERIT_SHARE, _COPY, _NONE and _ZERO", inherit);
	else if (len > SIZE_MAX - before)
		r = message_set(EINVAL, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	else
		r = len ? range_begin(start, before + len, EINVAL, &range) : 0;
	if (r > 0 &&
	    client_serves(&r, &(struct client_call){
				  .name = CALL_MINHERIT, .arg = {(int64_t)(intptr_t)addr, (int64_t)len, inherit}, .fd = -1}))
		return entry_end(&entry, r);
	if (r > 0 && !range.engine)
		r = message_set(ENOMEM, "nothing of Quire's is mapped in the range at %p of %zu bytes", addr, len);
	else if (r > 0)
		r = set_inheritance(range.engine, range.addr, range.len, inherit);
	return entry_end(&entry, r);
}

/* ---- mincore ---- */

static bool is_resident(struct space *space, struct area *area, const char *addr)
{
	uint64_t page = (uintptr_t)addr >> page_shift;
	struct object *object = area->view.object;
	struct chunk *chunk;

	if (area->huge)
		return true;
	if (!area->shared) {
		chunk = table_find(&space->private_pages->object->table, page);
		if (chunk && page_has_frame(page_load(&chunk->page[page % CHUNK_PAGES])))
			return true;
		if (chunk && page_state(page_load(&chunk->page[page % CHUNK_PAGES])) == PAGE_LENT)
			return true;
		if (!object || !private_is_absent(space->private_pages, addr))
			return false;
	}
	page = area_page(area, addr);
	chunk = table_find(&object->table, page);
	return chunk && page_has_frame(page_load(&chunk->page[page % CHUNK_PAGES]));
}

/* Answers for up to n pages from addr on; the map lock is held once for them. */
static int residency(struct space *space, const char *addr, size_t n, unsigned char *ret)
{
	int r = 0;

	rwlock_read_acquire(&space->cache->map_lock);
	for (size_t i = 0; i < n && r == 0; i++, addr += page_size()) {
		struct area *area = space_find(space, addr);

		if (area)
			ret[i] = is_resident(space, area, addr);
		else
			r = message_set(ENOMEM, "nothing is mapped at %p", (const void *)addr);
	}
	rwlock_read_release(&space->cache->map_lock);
	return r;
}

int quire_mincore(void *addr, size_t len, unsigned char *vec)
{
	struct entry entry;
	struct range range;
	int r;

	entry_begin(&entry, "quire_mincore");
	r = range_begin(addr, len, ENOMEM, &range);
	if (r > 0 && client_serves(&r, &(struct client_call){.name = CALL_MINCORE,
							     .arg = {(int64_t)(intptr_t)addr, (int64_t)len},
							     .out = vec,
							     .out_len = range.len >> page_shift,
							     .fd = -1})) {
		/* That was it. */
	} else if (r > 0 && !range.engine) {
		r = entry_leave_to_kernel() && mincore(addr, len, vec) < 0 ? -errno : 0;
	} else if (r > 0) {
		r = space_check(entry_space(range.engine), range.addr, range.len);
		/* Through a buffer: vec may be managed memory itself, which is not touched with a lock held. */
		for (size_t done = 0; r == 0 && done < range.len >> page_shift;) {
			unsigned char some[512];
			size_t n =
			    (range.len >> page_shift) - done < sizeof(some) ? (range.len >> page_shift) - done : sizeof(some);

			r = residency(entry_space(range.engine), range.addr + (done << page_shift), n, some);
			if (r == 0)
				memcpy(vec + done, some, n);
			done += n;
		}
	}
	return entry_end(&entry, r);
}

int quire_resident(const void *addr, size_t len)
{
	struct engine *engine = entry_engine_if_started();
	const char *at = (const char *)((uintptr_t)addr & ~(uintptr_t)(page_size() - 1)), *end;
	bool resident = true;

	if (client_is())
		return client_ask(
			   &(struct client_call){.name = CALL_RESIDENT, .arg = {(int64_t)(intptr_t)addr, (int64_t)len}, .fd = -1},
			   NULL) > 0;
	if (!engine || len > ADDRESSES_END || (uintptr_t)addr > ADDRESSES_END)
		return 0;
	end = (const char *)addr + len;
	rwlock_read_acquire(&engine->cache->map_lock);
	for (; at < end && resident; at += page_size()) {
		struct area *area = space_find(entry_space(engine), at);

		resident = area && is_resident(entry_space(engine), area, at);
	}
	rwlock_read_release(&engine->cache->map_lock);
	return resident;
}
