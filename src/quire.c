/* SPDX-License-Identifier: MIT */
/*
 * quire.c - the public calls that make, change and remove mappings
 *
 * Arguments are checked here, against what Linux does; below, only what is right arrives. Whether a file can be mapped in a
 * certain way is asked of the kernel, by mapping it for a moment: nobody knows better what this kernel and this filesystem say.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "fault/fault.h"
#include "find.h"
#include "keep.h"
#include "remote/client.h"
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
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif

#define PROT_ALL       (PROT_READ | PROT_WRITE | PROT_EXEC)
#define LOW_ADDRESSES  (1u << 20) /* vm.mmap_min_addr is less */
#define PROT_SEMAPHORE 0x8        /* PROT_SEM of <asm/mman.h>: accepted, without effect, as the kernel does */

static bool is_aligned(const void *addr)
{
	return ((uintptr_t)addr & (page_size() - 1)) == 0;
}

static int unaligned(const void *addr)
{
	return message_set(EINVAL, "the address %p is not a multiple of the page size, %zu", addr, page_size());
}

/* ---- mmap ---- */

struct request {
	char *addr;
	size_t len, asked_len;
	int prot, flags, fd;
	int mode; /* of the descriptor: F_GETFL */
	off_t offset;
	bool anonymous; /* no file, or /dev/zero */
	int max_prot;
	struct object *object; /* a use; NULL: private memory without a file */
	bool denies;           /* a denial of it is ours */
	size_t huge_bytes;     /* the size of huge pages; 0: none */
	struct source *source; /* kept; NULL: a file, or memory without one */
};

/* Of which the kernel knows nothing. */
#define OUR_FLAGS                                                                                                                  \
	(QUIRE_MAP_ATOMIC | QUIRE_MAP_SNAPSHOT | QUIRE_MAP_EXTEND | QUIRE_MAP_NOCORE | QUIRE_MAP_NOSYNC | QUIRE_MAP_HASSEMAPHORE | \
	 QUIRE_MAP_INHERIT)

static const struct {
	int flag;
	const char *name;
} refused_flags[] = {
#ifdef MAP_32BIT
    {MAP_32BIT, "MAP_32BIT"},
#endif
};

/* In the order in which Linux looks, so that the errno is the same where several things are wrong. */
static int check_range(struct request *q)
{
	uint64_t pages = pages_of(q->asked_len);

	if (q->asked_len == 0)
		return message_set(EINVAL, "the length is 0");
	if (pages > ADDRESSES_END >> page_shift)
		return message_set(ENOMEM, "a length of %zu bytes is more than the address space", q->asked_len);
	q->len = (size_t)pages << page_shift;
	if (q->huge_bytes)
		q->len = (q->len + q->huge_bytes - 1) & ~(q->huge_bytes - 1);
	if (!(q->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
		return 0;
	if ((uintptr_t)q->addr > ADDRESSES_END - q->len)
		return message_set(ENOMEM, "the range at %p of %zu bytes lies outside of the address space", (void *)q->addr,
				   q->asked_len);
	if (q->huge_bytes && ((uintptr_t)q->addr & (q->huge_bytes - 1)))
		return message_set(EINVAL, "the address %p is not a multiple of the size of the huge pages, %zu", (void *)q->addr,
				   q->huge_bytes);
	return is_aligned(q->addr) ? 0 : unaligned(q->addr);
}

/* Maps it and takes it away again. MAP_FIXED_NOREPLACE harms nobody, and its answer comes before others. 0 or -errno. */
static int try_mapping(const struct request *q, size_t len, int prot)
{
	int flags = q->flags & ~(MAP_FIXED | MAP_POPULATE | MAP_LOCKED | OUR_FLAGS);
	void *probe;

	/* What lies there in another process is found when it is mapped. */
	if (entry_is_for_another() && (flags & MAP_FIXED_NOREPLACE)) {
		if ((flags & MAP_TYPE) == MAP_SHARED_VALIDATE)
			return -EOPNOTSUPP;
		flags &= ~MAP_FIXED_NOREPLACE;
	}
	probe = mmap(flags & MAP_FIXED_NOREPLACE ? q->addr : NULL, len, prot, flags, q->fd, q->offset);

	if (probe == MAP_FAILED)
		return -errno;
	munmap(probe, q->huge_bytes && len < q->huge_bytes ? q->huge_bytes : len);
	return 0;
}

static int no_huge_pages(const struct request *q)
{
	return message_set(
	    ENOMEM,
	    "%zu bytes of huge pages of %zu KiB are not to be had: raise vm.nr_hugepages, or the nr_hugepages of that "
	    "size in /sys/kernel/mm/hugepages",
	    q->len, q->huge_bytes >> 10);
}

/*
 * What the kernel says to such a mapping of the file, wherever it may be. Its length is asked for without access, its access at one
 * page: after mlockall the kernel brings in what is accessible.
 */
static int ask_kernel(const struct request *q)
{
	/* Of huge pages each try takes what it asks for from the pool: one is enough. */
	int r = q->len > page_size() && !q->huge_bytes ? try_mapping(q, q->len, PROT_NONE) : 0;

	/* That it cannot be mapped at all is said last. */
	if (r == 0 || r == -ENODEV)
		r = try_mapping(q, page_size(), q->prot);
	switch (-r) {
	case 0:
		return 0;
	case EACCES:
		return message_set(
		    EACCES,
		    "protection %#x of a %s mapping is more than descriptor %d allows: mapping needs it open for reading, and "
		    "shared writing open for both",
		    q->prot, (q->flags & MAP_TYPE) == MAP_PRIVATE ? "private" : "shared", q->fd);
	case ENODEV:
		return message_set(ENODEV, "descriptor %d cannot be mapped by its filesystem", q->fd);
	case EOVERFLOW:
		return message_set(EOVERFLOW, "offset %lld and length %zu are more than the file can have", (long long)q->offset,
				   q->asked_len);
	case ENOMEM:
		return q->huge_bytes ? no_huge_pages(q)
				     : message_set(ENOMEM, "the kernel has no room for a mapping of %zu bytes", q->asked_len);
	case EEXIST:
		return message_set(EEXIST, "something is mapped in the range %p…%p", (void *)q->addr, (void *)(q->addr + q->len));
	case EPERM:
		return message_set(
		    EPERM, "the kernel refuses protection %#x for descriptor %d: PROT_EXEC of a file on a noexec mount, as a rule",
		    q->prot, q->fd);
	case EOPNOTSUPP:
		return message_set(EOPNOTSUPP, "flags %#x hold one that MAP_SHARED_VALIDATE does not know for this file",
				   q->flags & ~MAP_TYPE);
	default:
		return message_set(-r, "the kernel refuses to map descriptor %d: %s", q->fd, strerrordesc_np(-r));
	}
}

/* FreeBSD's rules for a stack; Linux, too, refuses files and sharing, and leaves the protection open. */
static int check_stack(const struct request *q)
{
	if ((q->flags & MAP_TYPE) != MAP_PRIVATE)
		return message_set(EINVAL, "MAP_GROWSDOWN is for private memory, and flags %#x have MAP_SHARED", q->flags);
	if (!(q->flags & MAP_ANONYMOUS) && q->fd != -1)
		return message_set(EINVAL, "MAP_GROWSDOWN is for memory without a file: descriptor -1, not %d", q->fd);
	if (q->huge_bytes)
		return message_set(EINVAL, "MAP_GROWSDOWN and MAP_HUGETLB exclude each other");
	if ((q->prot & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE))
		return message_set(EINVAL, "MAP_GROWSDOWN needs PROT_READ and PROT_WRITE, and the protection is %#x", q->prot);
	return 0;
}

/* What has commits is a file that is shared. */
static int check_commits(const struct request *q)
{
	const char *name = q->flags & QUIRE_MAP_SNAPSHOT ? "QUIRE_MAP_SNAPSHOT" : "QUIRE_MAP_ATOMIC";

	if ((q->flags & QUIRE_MAP_ATOMIC) && (q->flags & QUIRE_MAP_SNAPSHOT))
		return message_set(EINVAL, "QUIRE_MAP_ATOMIC and QUIRE_MAP_SNAPSHOT exclude each other");
	if (q->source)
		return message_set(EOPNOTSUPP,
				   "%s: descriptor %d is one of quire_open, quire_open_pager or quire_shm_open, and not of a file",
				   name, q->fd);
	if ((q->flags & MAP_ANONYMOUS) || q->anonymous)
		return message_set(EINVAL, "%s is for files, and flags %#x are for memory without one", name, q->flags);
	if (q->huge_bytes)
		return message_set(EINVAL, "%s is not for huge pages, which are the kernel's", name);
	if ((q->flags & MAP_TYPE) == MAP_PRIVATE)
		return message_set(EINVAL, "%s is for shared mappings, and flags %#x have MAP_PRIVATE", name, q->flags);
	if ((q->flags & QUIRE_MAP_SNAPSHOT) && (q->prot & PROT_WRITE))
		return message_set(EACCES, "QUIRE_MAP_SNAPSHOT: a snapshot is not to be written, and protection %#x has PROT_WRITE",
				   q->prot);
	return 0;
}

static int check_flags(const struct request *q)
{
	int type = q->flags & MAP_TYPE;

	for (size_t i = 0; i < sizeof(refused_flags) / sizeof(refused_flags[0]); i++)
		if (q->flags & refused_flags[i].flag)
			return message_set(EOPNOTSUPP, "the flag %s is not served by this version", refused_flags[i].name);
	if (q->flags & (QUIRE_MAP_ATOMIC | QUIRE_MAP_SNAPSHOT)) {
		int r = check_commits(q);

		if (r < 0)
			return r;
	}
	if (type == MAP_SHARED || type == MAP_PRIVATE || (type == MAP_SHARED_VALIDATE && !(q->flags & MAP_ANONYMOUS)))
		return q->flags & MAP_GROWSDOWN ? check_stack(q) : 0;
	/* What lies in the way is said first. */
	if ((q->flags & MAP_FIXED_NOREPLACE) && ask_kernel(q) == -EEXIST)
		return -EEXIST;
	return message_set(EINVAL, "flags %#x have to hold exactly one of MAP_SHARED, MAP_PRIVATE%s", q->flags,
			   q->flags & MAP_ANONYMOUS ? " for anonymous memory" : " and MAP_SHARED_VALIDATE");
}

static const char *kind_of(mode_t mode)
{
	return S_ISDIR(mode)    ? "a directory"
	       : S_ISFIFO(mode) ? "a pipe"
	       : S_ISSOCK(mode) ? "a socket"
	       : S_ISCHR(mode)  ? "a character device"
				: "not a file";
}

static int find_file(struct engine *engine, struct request *q, const struct stat *st)
{
	enum find_kind kind = q->flags & QUIRE_MAP_SNAPSHOT ? FIND_SNAPSHOT : q->flags & QUIRE_MAP_ATOMIC ? FIND_ATOMIC : FIND_ANY;
	bool shared = (q->flags & MAP_TYPE) != MAP_PRIVATE;
	struct statvfs fs;
	int seals;

	q->max_prot = PROT_ALL;
	seals = fcntl(q->fd, F_GET_SEALS);
	if (shared && ((q->mode & O_ACCMODE) != O_RDWR || (seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))))
		q->max_prot &= ~PROT_WRITE;
	if (kind == FIND_SNAPSHOT)
		q->max_prot &= ~PROT_WRITE;
	if (fstatvfs(q->fd, &fs) == 0 && (fs.f_flag & ST_NOEXEC))
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

/* What MAP_SHARED_VALIDATE lets pass. */
#define KNOWN_FLAGS                                                                                                                \
	(MAP_TYPE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK |       \
	 MAP_EXECUTABLE | OUR_FLAGS)

/* The kernel knows nothing of what is behind such a descriptor: what it would say of a file is said here. */
static int check_source(const struct request *q)
{
	if ((q->flags & MAP_TYPE) == MAP_SHARED_VALIDATE && (q->flags & ~KNOWN_FLAGS))
		return message_set(EOPNOTSUPP, "flags %#x hold one that MAP_SHARED_VALIDATE does not know", q->flags & ~MAP_TYPE);
	if ((q->flags & MAP_TYPE) != MAP_PRIVATE && (q->prot & PROT_WRITE) && !source_may_write(q->mode))
		return message_set(EACCES,
				   "protection %#x of a shared mapping is more than descriptor %d allows: it was opened O_RDONLY",
				   q->prot, q->fd);
	if ((uint64_t)q->offset > (uint64_t)INT64_MAX - q->len)
		return message_set(EOVERFLOW, "offset %lld and length %zu are more than an object can have", (long long)q->offset,
				   q->asked_len);
	return 0;
}

static int check_file(struct request *q, struct stat *ret_st)
{
	struct engine *engine = entry_engine_if_started();
	int r;

	if (fstat(q->fd, ret_st) < 0)
		return message_set(EBADF, "descriptor %d is not open", q->fd);
	q->huge_bytes = huge_bytes_of_file(q->fd);
	if ((q->flags & MAP_HUGETLB) && !q->huge_bytes)
		return message_set(
		    EINVAL,
		    "MAP_HUGETLB is for memory without a file, and for files of hugetlbfs, which that of descriptor %d is not",
		    q->fd);
	q->source = engine ? source_find(engine, ret_st) : NULL;
	r = check_range(q);
	if (r == 0)
		r = check_flags(q);
	if (r < 0)
		return r;
	q->mode = fcntl(q->fd, F_GETFL);
	if (q->mode & O_PATH)
		return message_set(EBADF, "descriptor %d was opened with O_PATH", q->fd);
	if (q->source)
		return check_source(q);
	q->anonymous = S_ISCHR(ret_st->st_mode) && ret_st->st_rdev == makedev(1, 5);
	if (!q->anonymous && !S_ISREG(ret_st->st_mode) && !S_ISBLK(ret_st->st_mode)) {
		/* A directory or a pipe that was opened the wrong way gives EACCES, as the kernel has it. */
		r = ask_kernel(q);
		if (r < 0 && r != -ENODEV)
			return r;
		return message_set(ENODEV, "descriptor %d is %s; regular files, block devices and /dev/zero can be mapped", q->fd,
				   kind_of(ret_st->st_mode));
	}
	r = ask_kernel(q);
	if (r == 0 && (q->flags & QUIRE_MAP_ATOMIC) && (q->mode & O_ACCMODE) != O_RDWR)
		r = message_set(EACCES, "QUIRE_MAP_ATOMIC: descriptor %d is not open for reading and writing", q->fd);
	return r;
}

static int check_anonymous(struct request *q)
{
	int r;

	q->anonymous = true;
	if (q->flags & MAP_HUGETLB) {
		q->huge_bytes = huge_bytes_of_flags((unsigned)q->flags);
		if (!q->huge_bytes)
			return message_set(EINVAL, "MAP_HUGETLB: this kernel has no huge pages of 2 to the power of %u bytes",
					   (unsigned)q->flags >> HUGE_SHIFT_BIT);
	}
	r = check_range(q);
	return r == 0 ? check_flags(q) : r;
}

static int check_extend(const struct request *q)
{
	if (q->anonymous || q->huge_bytes || (q->flags & MAP_TYPE) == MAP_PRIVATE || !(q->prot & PROT_WRITE))
		return message_set(EINVAL, "QUIRE_MAP_EXTEND is for shared mappings of files that may be written; this one is %s",
				   q->anonymous                           ? "of anonymous memory"
				   : q->huge_bytes                        ? "of huge pages"
				   : (q->flags & MAP_TYPE) == MAP_PRIVATE ? "private"
									  : "not to be written");
	if (q->offset > INT64_MAX - (off_t)q->asked_len)
		return message_set(EFBIG, "offset %lld and length %zu are more than a file can have", (long long)q->offset,
				   q->asked_len);
	return 0;
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
		return no_huge_pages(q);
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

/*
 * What is judged by who calls, and not by the thread that maps for the engine: low addresses, which want CAP_SYS_RAWIO, and how long a
 * file may be. 0 or -errno with a message.
 */
static int check_own_rights(const struct request *q)
{
	void *probe;

	if ((q->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && (uintptr_t)q->addr < LOW_ADDRESSES) {
		probe = mmap(q->addr, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (probe == MAP_FAILED && errno == EPERM)
			return message_set(EPERM, "the kernel lets this process map nothing at %p: vm.mmap_min_addr",
					   (void *)q->addr);
		if (probe != MAP_FAILED)
			munmap(probe, page_size());
	}
	if ((q->flags & QUIRE_MAP_EXTEND) && !(q->flags & MAP_ANONYMOUS) && q->asked_len <= (size_t)(INT64_MAX - q->offset))
		return size_check_limit(q->fd, q->offset + (off_t)q->asked_len);
	return 0;
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
		r = check_own_rights(q);
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
		r = check_anonymous(&q);
	else
		r = check_file(&q, &st);
	if (r == 0 && (flags & QUIRE_MAP_EXTEND))
		r = check_extend(&q);
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
	if (!is_aligned(addr))
		r = unaligned(addr);
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
	if (!is_aligned(addr))
		r = unaligned(addr);
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
	if (!is_aligned(addr))
		return unaligned(addr);
	if (new_len == 0)
		return message_set(EINVAL, "the new length is 0");
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return 0;
	if (!is_aligned(new_addr))
		return unaligned(new_addr);
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
