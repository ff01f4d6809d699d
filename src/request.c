/* SPDX-License-Identifier: MIT */
/*
 * request.c - what a call of mmap asks for, and whether Linux would do it
 *
 * Whether a file can be mapped in a certain way is asked of the kernel, by mapping it for a moment: nobody knows better what this kernel
 * and this filesystem say.
 */
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "entry.h"
#include "range.h"
#include "size.h"
#include "sys/huge.h"
#include "sys/page_size.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif

#define LOW_ADDRESSES (1u << 20) /* vm.mmap_min_addr is less */

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
	return range_is_aligned(q->addr) ? 0 : range_refuse_unaligned(q->addr);
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

int request_no_huge_pages(const struct request *q)
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
		return q->huge_bytes ? request_no_huge_pages(q)
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

int request_check_file(struct request *q, struct stat *ret_st)
{
	struct engine *engine = entry_engine_if_started();
	struct statfs fs;
	int r;

	if (fstat(q->fd, ret_st) < 0)
		return message_set(EBADF, "descriptor %d is not open", q->fd);
	if (fstatfs(q->fd, &fs) == 0) {
		q->huge_bytes = huge_bytes_of_file(&fs);
		q->no_exec = fs.f_flags & ST_NOEXEC;
	}
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

int request_check_anonymous(struct request *q)
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

int request_check_extend(const struct request *q)
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

int request_check_own_rights(const struct request *q)
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
