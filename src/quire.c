/* SPDX-License-Identifier: MIT */
/*
 * quire.c - the public calls that make, change and remove mappings
 *
 * Arguments are checked here, those of mmap in request.c, against what Linux does; below, only what is right arrives.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "fault/fault.h"
#include "find.h"
#include "keep.h"
#include "range.h"
#include "remote/client.h"
#include "request.h"
#include "rights.h"
#include "size.h"
#include "sys/huge.h"
#include "sys/page_size.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define PROT_SEMAPHORE 0x8 /* PROT_SEM of <asm/mman.h>: accepted, without effect, as the kernel does */

/* ---- mmap ---- */

static int find_file(struct engine *engine, struct request *q, const struct stat *st)
{
	enum find_kind kind = q->flags & QUIRE_MAP_SNAPSHOT ? FIND_SNAPSHOT : q->flags & QUIRE_MAP_ATOMIC ? FIND_ATOMIC : FIND_ANY;
	bool shared = (q->flags & MAP_TYPE) != MAP_PRIVATE;
	int seals;

	q->max_prot = PROT_ALL;
	seals = fcntl(q->fd, F_GET_SEALS);
	if (shared && ((q->mode & O_ACCMODE) != O_RDWR || (seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))))
		q->max_prot &= ~PROT_WRITE;
	if (kind == FIND_SNAPSHOT)
		q->max_prot &= ~PROT_WRITE;
	if (q->no_exec)
		q->max_prot &= ~PROT_EXEC;
	return find_file_object(engine, q->fd, q->mode, st, kind, &q->object);
}

static int find_source_object(struct engine *engine, struct request *q)
{
	int r = source_prepare(engine, q->source);

	if ((q->flags & MAP_TYPE) != MAP_PRIVATE && !source_may_write(q->mode))
		q->max_prot &= ~PROT_WRITE;
	if (r < 0)
		return r;
	q->object = q->source->object;
	object_use(q->object);
	return 0;
}

/* Finds or makes what is to be mapped. The file was found good by the kernel. */
static int find_object(struct engine *engine, struct request *q, const struct stat *st)
{
	bool shared = (q->flags & MAP_TYPE) != MAP_PRIVATE;

	q->max_prot = PROT_ALL;
	if (q->huge_bytes && !q->anonymous && shared && (q->mode & O_ACCMODE) != O_RDWR)
		q->max_prot &= ~PROT_WRITE;
	if (q->huge_bytes)
		return 0;
	if (q->source)
		return find_source_object(engine, q);
	if (!q->anonymous)
		return find_file(engine, q, st);
	q->offset = 0;
	/* Of /dev/zero, shared: what the descriptor allows. */
	if (shared && !(q->flags & MAP_ANONYMOUS) && (q->mode & O_ACCMODE) != O_RDWR)
		q->max_prot &= ~PROT_WRITE;
	return shared ? engine_make_memory(engine, q->len, &q->object) : 0;
}

/* An object of the same file that nobody maps any more may still have its descriptors open: that is waited for. */
static int try_denial(struct engine *engine, const struct request *q, const struct stat *st)
{
	int r = object_deny_writes(q->object, q->fd);

	for (int waited_ms = 0; r == -EAGAIN && waited_ms < 1000; waited_ms++) {
		bool dying = registry_has_dying(&engine->registry, st->st_dev, st->st_ino);

		registry_bury(&engine->registry);
		r = object_deny_writes(q->object, q->fd);
		if (!dying)
			break;
		if (r == -EAGAIN)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return r;
}

/*
 * MAP_DENYWRITE. Where the kernel gives no lease it means nothing, as on Linux, and as the programs that set it expect; only
 * MAP_SHARED_VALIDATE wants to be told.
 */
static int deny_writes(struct engine *engine, struct request *q, const struct stat *st)
{
	bool writable;
	int r;

	/* The engine's own descriptors count as well, also where the kernel does not count them. */
	lock_acquire(&engine->open_lock);
	writable = q->object->writable;
	lock_release(&engine->open_lock);
	/* The lease would be this process's, whose rights may be more than the caller's. */
	if (entry_is_for_another() && !rights_to_lease(st))
		r = -EACCES;
	else
		r = writable ? -EAGAIN : try_denial(engine, q, st);
	q->denies = r == 0;
	switch (-r) {
	case 0:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return r;
	case EAGAIN:
		return message_set(ETXTBSY, "MAP_DENYWRITE: %s %d is open for writing, or mapped by a descriptor that was",
				   (q->mode & O_ACCMODE) == O_RDONLY ? "the file of descriptor" : "descriptor", q->fd);
	default:
		if ((q->flags & MAP_TYPE) != MAP_SHARED_VALIDATE)
			return 0;
		return message_set(
		    EOPNOTSUPP,
		    "MAP_DENYWRITE: the kernel gives no lease on the file of descriptor %d (%s): it has to be a regular "
		    "file of this user, on a filesystem that has leases, or the process have CAP_LEASE",
		    q->fd, strerrordesc_np(-r));
	}
}

/* Makes the file reach to the end of the mapping, and never shorter, whoever else may be writing to it. */
static int lengthen_file(void *arg)
{
	const struct request *q = arg;
	off_t end = q->offset + (off_t)q->asked_len;
	struct stat st;

	if (fallocate(q->fd, 0, end - 1, 1) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	/* Where the filesystem has no such call, one that makes it longer has the last word. */
	return fstat(q->fd, &st) == 0 && (st.st_size >= end || ftruncate(q->fd, end) == 0) ? 0 : -errno;
}

static int extend_file(struct engine *engine, struct request *q, const struct stat *st)
{
	uint64_t end = (uint64_t)q->offset + q->asked_len;
	bool atomic = q->object->journal;
	int r;

	if (!S_ISREG(st->st_mode) || (!atomic && (uint64_t)st->st_size >= end))
		return 0;
	if (atomic)
		r = size_of_atomic(q->object, end, true);
	else if (q->source)
		r = source_resize(engine, q->source, end, true);
	else
		r = object_extend(q->object, end, lengthen_file, q);
	if (r < 0)
		return message_set(-r, "the file of descriptor %d could not be made %llu bytes long: %s", q->fd,
				   (unsigned long long)end, strerrordesc_np(-r));
	return 0;
}

static int map_request(struct engine *engine, struct request *q, char **ret_addr)
{
	struct mapping m = {
	    .addr = q->addr,
	    .len = q->len,
	    .prot = q->prot & PROT_ALL,
	    .max_prot = q->max_prot,
	    .shared = (q->flags & MAP_TYPE) != MAP_PRIVATE,
	    .fixed = (q->flags & MAP_FIXED) && !(q->flags & MAP_FIXED_NOREPLACE),
	    .noreplace = q->flags & MAP_FIXED_NOREPLACE,
	    .noreserve = q->flags & MAP_NORESERVE,
	    .locked = (q->flags & MAP_LOCKED) || (entry_space(engine)->lock_future & MCL_FUTURE),
	    .nodump = q->flags & QUIRE_MAP_NOCORE,
	    .nosync = q->flags & QUIRE_MAP_NOSYNC,
	    .stack = q->flags & MAP_GROWSDOWN,
	    .denies = q->denies,
	    .lock_on_fault = !(q->flags & MAP_LOCKED) && (entry_space(engine)->lock_future & MCL_ONFAULT),
	    .object = q->object,
	    .anonymous = q->anonymous,
	    .first = (uint64_t)q->offset >> page_shift,
	};
	int r = 0;

	if (m.shared && (m.prot & PROT_WRITE))
		keep_begin(engine, m.object);
	if (m.locked) {
		r = rights_to_lock(engine, q->len >> page_shift, EAGAIN);
		if (r == 0 && budget_lock(engine->cache, q->len >> page_shift) < 0)
			r = message_set(EAGAIN,
					"%zu bytes cannot be locked: the memory budget of %llu bytes must keep a part that can be "
					"paged out; raise "
					"it with QUIRE_MEMORY or quire_set_memory",
					q->asked_len, (unsigned long long)(atomic_load(&engine->cache->limit) << page_shift));
		if (r < 0)
			return r;
	}
	r = space_map(entry_space(engine), &m, ret_addr);
	if (r < 0 && m.locked)
		budget_unlock(engine->cache, q->len >> page_shift);
	if (r == -EEXIST)
		message_set(EEXIST, "something is mapped in the range %p…%p", (void *)q->addr, (void *)(q->addr + q->len));
	return r;
}

/* The kernel's huge pages: it serves them, and the engine counts them as locked. */
static int map_huge(struct engine *engine, const struct request *q, char **ret_addr)
{
	uint64_t pages = q->len >> page_shift;
	struct mapping m = {
	    .addr = q->addr,
	    .len = q->len,
	    .prot = q->prot & PROT_ALL,
	    .max_prot = q->max_prot,
	    .fixed = (q->flags & MAP_FIXED) && !(q->flags & MAP_FIXED_NOREPLACE),
	    .noreplace = q->flags & MAP_FIXED_NOREPLACE,
	    .nodump = q->flags & QUIRE_MAP_NOCORE,
	    .locked = true,
	    .huge = MAP_HUGETLB | ((unsigned)__builtin_ctzll(q->huge_bytes) << HUGE_SHIFT_BIT) |
		    ((q->flags & MAP_TYPE) == MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED),
	    .huge_fd = q->anonymous ? -1 : q->fd,
	    .anonymous = q->anonymous,
	    .first = q->anonymous ? 0 : (uint64_t)q->offset >> page_shift,
	};
	int r = budget_lock(engine->cache, pages);

	if (r == 0 && (r = budget_reserve(engine->cache, pages)) < 0)
		budget_unlock(engine->cache, pages);
	if (r < 0)
		return message_set(ENOMEM,
				   "%zu bytes of huge pages are more than the memory budget of %llu bytes can hold; raise it with "
				   "QUIRE_MEMORY or quire_set_memory",
				   q->len, (unsigned long long)(atomic_load(&engine->cache->limit) << page_shift));
	r = space_map(entry_space(engine), &m, ret_addr);
	if (r < 0) {
		budget_release(engine->cache, pages);
		budget_unlock(engine->cache, pages);
	}
	if (r == -ENOMEM)
		return request_no_huge_pages(q);
	if (r == -EEXIST)
		message_set(EEXIST, "something is mapped in the range %p…%p", (void *)q->addr, (void *)(q->addr + q->len));
	return r;
}

/* Residency from the start. What cannot be had is left to the first touch, as the kernel does it. */
static void populate(struct engine *engine, const struct request *q, char *addr)
{
	bool locked = (q->flags & MAP_LOCKED) ||
		      ((entry_space(engine)->lock_future & MCL_FUTURE) && !(entry_space(engine)->lock_future & MCL_ONFAULT));

	if (q->huge_bytes && (q->flags & (MAP_LOCKED | MAP_POPULATE)))
		(void)pmap_advise(&entry_space(engine)->pmap, addr, q->len,
				  q->prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	else if (q->prot != PROT_NONE && (locked || (q->flags & MAP_POPULATE)))
		(void)fault_populate(entry_space(engine), addr, q->len, FAULT_AS_LOCKED);
}

static void *map_by_engine(struct entry *entry, const struct request *q)
{
	struct client_call call = {
	    .name = CALL_MMAP,
	    .arg = {(int64_t)(intptr_t)q->addr, (int64_t)q->asked_len, q->prot, q->flags, q->fd, q->offset},
	    .fd = q->flags & MAP_ANONYMOUS ? -1 : q->fd,
	};
	int64_t r;

	/* Before a socket for the reply gets the number. */
	if (call.fd != -1 && fcntl(call.fd, F_GETFD) < 0)
		r = message_set(EBADF, "descriptor %d is not open", call.fd);
	else
		r = request_check_own_rights(q);
	if (r == 0)
		r = client_ask(&call, NULL);
	return entry_end(entry, r < 0 ? (int)r : 0) < 0 ? MAP_FAILED : (void *)(intptr_t)r;
}

void *quire_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct request q = {.addr = addr, .asked_len = len, .prot = prot, .flags = flags, .fd = fd, .offset = offset};
	struct engine *engine;
	struct entry entry;
	struct stat st;
	char *result;
	int r;

	entry_begin(&entry, "quire_mmap");
	if (client_is())
		return map_by_engine(&entry, &q);
	if ((uint64_t)offset & (page_size() - 1))
		r = message_set(EINVAL, "the offset %lld is not a multiple of the page size, %zu", (long long)offset, page_size());
	else if ((flags & MAP_ANONYMOUS) || ((flags & MAP_GROWSDOWN) && fd == -1))
		r = request_check_anonymous(&q);
	else
		r = request_check_file(&q, &st);
	if (r == 0 && (flags & QUIRE_MAP_EXTEND))
		r = request_check_extend(&q);
	if (r == 0)
		r = entry_engine(&engine);
	if (r == 0)
		r = find_object(engine, &q, &st);
	if (r == 0 && (flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE) && q.object)
		r = find_claim(engine, q.object);
	if (r == 0 && (flags & MAP_DENYWRITE) && q.object && !q.anonymous && !q.source)
		r = deny_writes(engine, &q, &st);
	if (r == 0 && (flags & QUIRE_MAP_EXTEND))
		r = extend_file(engine, &q, &st);
	if (r == 0)
		r = q.huge_bytes ? map_huge(engine, &q, &result) : map_request(engine, &q, &result);
	if (q.denies)
		object_allow_writes(q.object);
	object_unuse(q.object);
	if (q.source)
		source_release(entry_engine_if_started(), q.source);
	if (r == 0)
		populate(engine, &q, result);
	if (entry_engine_if_started())
		registry_bury(&entry_engine_if_started()->registry);
	return entry_end(&entry, r) < 0 ? MAP_FAILED : result;
}

/* ---- munmap, mprotect, mremap ---- */

int quire_munmap(void *addr, size_t len)
{
	struct entry entry;
	struct engine *engine;
	size_t rounded;
	int r = 0;

	entry_begin(&entry, "quire_munmap");
	if (!range_is_aligned(addr))
		r = range_refuse_unaligned(addr);
	else if (len == 0)
		r = message_set(EINVAL, "the length is 0");
	else if (!entry_round(addr, len, &rounded))
		r = message_set(EINVAL, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	else if (client_serves(
		     &r, &(struct client_call){.name = CALL_MUNMAP, .arg = {(int64_t)(intptr_t)addr, (int64_t)len}, .fd = -1}))
		;
	else if (!entry_is_ours(addr, rounded))
		r = entry_leave_to_kernel() && munmap(addr, len) < 0 ? -errno : 0;
	else if ((r = entry_engine(&engine)) == 0) {
		r = space_unmap(entry_space(engine), addr, rounded);
		registry_bury(&engine->registry);
	}
	return entry_end(&entry, r);
}

static int claim_part(void *arg, const struct part *part)
{
	return part->shared && part->object && (part->max_prot & PROT_WRITE) ? find_claim(arg, part->object) : 0;
}

int quire_mprotect(void *addr, size_t len, int prot)
{
	struct entry entry;
	struct engine *engine;
	size_t rounded;
	int r = 0;

	entry_begin(&entry, "quire_mprotect");
	if (!range_is_aligned(addr))
		r = range_refuse_unaligned(addr);
	else if (!entry_round(addr, len, &rounded))
		r = message_set(ENOMEM, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	else if (client_serves(&r, &(struct client_call){
				       .name = CALL_MPROTECT, .arg = {(int64_t)(intptr_t)addr, (int64_t)len, prot}, .fd = -1}))
		;
	else if (len > 0 && (prot & ~(PROT_ALL | PROT_SEMAPHORE)) && entry_is_ours(addr, rounded))
		r = message_set(EINVAL, "the protection %#x has bits that are not served", prot);
	else if (!entry_is_ours(addr, rounded))
		r = entry_leave_to_kernel() && mprotect(addr, len, prot) < 0 ? -errno : 0;
	else if ((r = entry_engine(&engine)) == 0) {
		if (prot & PROT_WRITE)
			r = space_visit(entry_space(engine), addr, rounded, claim_part, engine);
		if (r == 0 && (prot & PROT_WRITE))
			keep_begin_at(engine, addr, rounded);
		if (r == 0)
			r = space_protect(entry_space(engine), addr, rounded, prot & PROT_ALL);
	}
	return entry_end(&entry, r);
}

static int check_remap(char *addr, size_t old_len, size_t new_len, int flags, char *new_addr)
{
	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
		return message_set(EINVAL, "flags %#x hold an unknown one", flags);
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return message_set(EINVAL, "flags %#x: MREMAP_FIXED and MREMAP_DONTUNMAP need MREMAP_MAYMOVE", flags);
	if ((flags & MREMAP_DONTUNMAP) && old_len != new_len)
		return message_set(EINVAL, "MREMAP_DONTUNMAP needs equal lengths, not %zu and %zu", old_len, new_len);
	if (!range_is_aligned(addr))
		return range_refuse_unaligned(addr);
	if (new_len == 0)
		return message_set(EINVAL, "the new length is 0");
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return 0;
	if (!range_is_aligned(new_addr))
		return range_refuse_unaligned(new_addr);
	if ((uintptr_t)new_addr > ADDRESSES_END - new_len)
		return message_set(EINVAL, "the new range at %p lies outside of the address space", (void *)new_addr);
	if (new_addr < addr + old_len && addr < new_addr + new_len)
		return message_set(EINVAL, "the new range at %p overlaps the old one at %p", (void *)new_addr, (void *)addr);
	return 0;
}

static bool remap_by_engine(int *ret, char *addr, size_t old_len, size_t new_len, int flags, char *new_addr, char **ret_addr)
{
	struct client_call call = {
	    .name = CALL_MREMAP,
	    .arg = {(int64_t)(intptr_t)addr, (int64_t)old_len, (int64_t)new_len, flags, (int64_t)(intptr_t)new_addr},
	    .fd = -1,
	};
	bool not_ours = false;
	int64_t r;

	if (!client_is() || (!client_manages(addr, old_len) && !((flags & MREMAP_FIXED) && client_manages(new_addr, new_len))))
		return false;
	r = client_ask(&call, &not_ours);
	*ret = r < 0 ? (int)r : 0;
	*ret_addr = (char *)(intptr_t)r;
	return !not_ours;
}

void *quire_mremap(void *old_addr, size_t old_len, size_t new_len, int flags, ...)
{
	char *new_addr = NULL, *result = NULL;
	size_t old_rounded = 0, new_rounded = 0;
	struct engine *engine = NULL;
	struct entry entry;
	bool locked = false;
	int r;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_list args;

		va_start(args, flags);
		new_addr = va_arg(args, void *);
		va_end(args);
	}
	entry_begin(&entry, "quire_mremap");
	if (!entry_round(old_addr, old_len, &old_rounded) || !entry_round(new_addr, new_len, &new_rounded) ||
	    old_rounded >= ADDRESSES_END || new_rounded >= ADDRESSES_END)
		r = message_set(EINVAL, "lengths %zu and %zu lie outside of the address space", old_len, new_len);
	else
		r = check_remap(old_addr, old_rounded, new_rounded, flags, new_addr);
	if (r == 0 && remap_by_engine(&r, old_addr, old_len, new_len, flags, new_addr, &result)) {
		/* That was it. */
	} else if (r == 0 && !entry_is_ours(old_addr, old_rounded) &&
		   !((flags & MREMAP_FIXED) && entry_is_ours(new_addr, new_rounded))) {
		if (entry_leave_to_kernel()) {
			result = mremap(old_addr, old_len, new_len, flags, new_addr);
			r = result == MAP_FAILED ? -errno : 0;
		}
	} else if (r == 0) {
		r = entry_engine(&engine);
		if (r == 0 && new_rounded > old_rounded && space_is_locked(entry_space(engine), old_addr))
			r = rights_to_lock(engine, (new_rounded - old_rounded) >> page_shift, EAGAIN);
		if (r == 0)
			r = space_remap(entry_space(engine), old_addr, old_rounded, new_rounded,
					(flags & MREMAP_MAYMOVE ? SPACE_MAYMOVE : 0) | (flags & MREMAP_FIXED ? SPACE_FIXED : 0) |
					    (flags & MREMAP_DONTUNMAP ? SPACE_DONTUNMAP : 0),
					new_addr, &result, &locked);
		if (r == 0 && locked)
			(void)fault_populate(entry_space(engine), result, new_rounded, FAULT_AS_LOCKED);
		if (engine)
			registry_bury(&engine->registry);
	}
	return entry_end(&entry, r) < 0 ? MAP_FAILED : result;
}
