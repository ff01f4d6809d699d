/* SPDX-License-Identifier: MIT */
/*
 * test-errno.c - row M19: each errno of each call, and that a call which fails changes nothing
 *
 * Every test lays out the same ground, a mapping of each kind beside the other, makes calls that have to fail on it, and compares
 * afterwards: what is mapped, how, where and locked, all bytes, the size of the file. The kernel does part of the work of some
 * calls before it fails (docs/compatibility.md, difference 9): there only the errno is compared (assert_refused_midway).
 *
 * What is documented and cannot be raised here: ENFILE of the kernel's own mmap (the limit is the machine's; Quire's is raised by a
 * filter of system calls); EAGAIN of madvise and mincore, EINTR and ETXTBSY of ftruncate (a program that runs cannot be opened for
 * writing), EPERM of munlockall, EIO of a disk under the kernel's calls.
 */
#include "support.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#ifndef KERNEL_ORACLE
#include "util/fail.h"
#endif

/* ---- the ground ---- */

/* Pages: a shared mapping of a file, a private one, a hole, anonymous memory, a shared mapping that may only be read. */
enum { SHARED = 0, PRIVATE = 4, HOLE = 6, ANONYMOUS = 8, READABLE = 10, GROUND = 12 };

static struct {
	int fd, reader;
	char *at;
} ground;

#define PLACE(page) (ground.at + PAGES(page))

static void lay_ground(void)
{
	ground.fd = file_new(PAGES(4));
	ground.reader = file_reopen(ground.fd, O_RDONLY);
	ground.at = quiet();
	map(PLACE(SHARED), PAGES(4), RW, MAP_SHARED | MAP_FIXED, ground.fd, 0);
	map(PLACE(PRIVATE), PAGES(2), RW, MAP_PRIVATE | MAP_FIXED, ground.fd, 0);
	map(PLACE(ANONYMOUS), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	map(PLACE(READABLE), PAGES(2), PROT_READ, MAP_SHARED | MAP_FIXED, ground.reader, 0);
	PLACE(SHARED + 1)[7] = 's';
	PLACE(PRIVATE)[7] = 'p';
	PLACE(ANONYMOUS + 1)[7] = 'a';
}

static void clear_ground(void)
{
	unmap(ground.at, GROUND);
	file_close(ground.reader);
	file_close(ground.fd);
}

/* What must be the same after a call that failed. */
struct state {
	struct {
		char how[5]; /* rwxs; empty: a hole */
		bool locked;
		long long offset;
		int answer; /* of a load */
	} page[GROUND];
	unsigned char *bytes;
	off_t size;
	uint64_t areas, locked_bytes;
};

static struct state before, after;

/* A line of /proc/self/maps or of quire_maps(). */
static void note_line(struct state *s, const char *line)
{
	uintptr_t start, end;
	long long offset;
	char how[5];

	if (sscanf(line, "%lx-%lx %4s %llx", &start, &end, how, &offset) != 4)
		return;
	for (size_t i = 0; i < GROUND; i++) {
		uintptr_t at = (uintptr_t)PLACE(i);

		if (at < start || at >= end)
			continue;
		memcpy(s->page[i].how, how, sizeof(how));
		s->page[i].offset = offset + (long long)(at - start);
		s->page[i].locked = strstr(line, " locked") != NULL;
	}
}

#ifdef KERNEL_ORACLE
static FILE *open_maps(void)
{
	return fopen("/proc/self/maps", "re");
}

static void note_counts(struct state *s)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		sscanf(line, "VmLck: %lu", &s->locked_bytes);
	fclose(status);
}
#else
static FILE *open_maps(void)
{
	FILE *maps = tmpfile();

	assert_non_null(maps);
	assert_ok(quire_maps(maps));
	rewind(maps);
	return maps;
}

static void note_counts(struct state *s)
{
	s->areas = stats().areas;
	s->locked_bytes = stats().locked_bytes;
}
#endif

static void note(struct state *s)
{
	unsigned char *bytes = s->bytes ? s->bytes : malloc(PAGES(GROUND));
	FILE *maps = open_maps();
	char line[512];

	assert_non_null(maps);
	assert_non_null(bytes);
	memset(s, 0, sizeof(*s));
	s->bytes = memset(bytes, 0, PAGES(GROUND));
	while (fgets(line, sizeof(line), maps))
		note_line(s, line);
	fclose(maps);
	note_counts(s);
	s->size = file_size(ground.fd);
	for (size_t i = 0; i < GROUND; i++) {
		s->page[i].answer = load(PLACE(i));
		if (s->page[i].answer >= 0)
			memcpy(bytes + PAGES(i), PLACE(i), page_size);
	}
}

static void check_unchanged(const char *call, const char *file, int line)
{
	bool same = true;

	note(&after);
	for (size_t i = 0; i < GROUND; i++) {
		if (!memcmp(&before.page[i], &after.page[i], sizeof(before.page[i])) &&
		    !memcmp(before.bytes + PAGES(i), after.bytes + PAGES(i), page_size))
			continue;
		print_error("%s: page %zu was %s%s offset %llx and loads %d, is %s%s offset %llx and loads %d%s\n", call, i,
			    before.page[i].how, before.page[i].locked ? " locked" : "", before.page[i].offset,
			    before.page[i].answer, after.page[i].how, after.page[i].locked ? " locked" : "", after.page[i].offset,
			    after.page[i].answer,
			    memcmp(before.bytes + PAGES(i), after.bytes + PAGES(i), page_size) ? ", other bytes" : "");
		same = false;
	}
	if (before.size != after.size || before.areas != after.areas || before.locked_bytes != after.locked_bytes) {
		print_error("%s: file of %lld bytes, %llu areas, %llu locked; were %lld, %llu, %llu\n", call, (long long)after.size,
			    (unsigned long long)after.areas, (unsigned long long)after.locked_bytes, (long long)before.size,
			    (unsigned long long)before.areas, (unsigned long long)before.locked_bytes);
		same = false;
	}
	if (!same)
		_fail(file, line);
}

#define assert_refused(call, error) (note(&before), assert_fails(call, error), check_unchanged(#call, __FILE__, __LINE__))
#define assert_refused_with_answer(call, error)                                                                                    \
	do {                                                                                                                       \
		note(&before);                                                                                                     \
		assert_int_equal(call, error);                                                                                     \
		check_unchanged(#call, __FILE__, __LINE__);                                                                        \
	} while (0)
#ifdef KERNEL_ORACLE
#define assert_refused_midway(call, error) assert_fails(call, error)
#else
#define assert_refused_midway(call, error) assert_refused(call, error)
#endif

/* Of memory that lies in the way, and is still to be there. */
#define FIXED_ANON (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)

/* ---- surroundings in which calls fail; in a process of the test's own ---- */

static void drop_capability(int cap)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	assert_int_equal(syscall(SYS_capget, &header, caps), 0);
	caps[CAP_TO_INDEX(cap)].effective &= ~CAP_TO_MASK(cap);
	assert_int_equal(syscall(SYS_capset, &header, caps), 0);
}

static void limit_resource(int resource, rlim_t limit)
{
	struct rlimit rlimit;

	assert_int_equal(getrlimit(resource, &rlimit), 0);
	rlimit.rlim_cur = limit;
	assert_int_equal(setrlimit(resource, &rlimit), 0);
}

/* What a line of /proc/self/status says, in bytes. */
static size_t status_bytes(const char *format)
{
	FILE *status = fopen("/proc/self/status", "re");
	size_t kib = 0;
	char line[256];

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		sscanf(line, format, &kib);
	fclose(status);
	assert_true(kib > 0);
	return kib << 10;
}

#ifndef KERNEL_ORACLE
/* The system call fails from now on, in every thread. */
/* Where its third argument has one of the flags. */
static void refuse_system_call_with(int number, unsigned flags, int error)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
	    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flags, 0, flags ? 1 : 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
		skip_because("system calls cannot be filtered here");
}

static void refuse_system_call(int number, int error)
{
	refuse_system_call_with(number, 0, error);
}
#endif

/* A file that can only be appended to. */
static int file_append_only(void)
{
	int fd = file_new(PAGES(1)), flags, again;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
		skip_because("this file system has no files that can only be appended to");
	again = file_reopen(fd, O_RDWR | O_APPEND);
	flags |= FS_APPEND_FL;
	if (ioctl(fd, FS_IOC_SETFLAGS, &flags))
		skip_because("making a file append-only is not allowed here");
	return again;
}

static int memory_file(size_t n)
{
	int fd = memfd_create("conformance", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(n)), 0);
	return fd;
}

/* ---- mmap ---- */

static void M19_mmap_EACCES_descriptor_not_open_for_reading(void **state)
{
	int writer;

	(void)state;
	lay_ground();
	writer = file_reopen(ground.fd, O_WRONLY);
	assert_refused(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_PRIVATE, writer, 0), EACCES);
	assert_refused(quire_mmap(NULL, PAGES(1), PROT_NONE, MAP_SHARED, writer, 0), EACCES);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(4), PROT_WRITE, MAP_SHARED | MAP_FIXED, writer, 0), EACCES);
	clear_ground();
}

static void M19_mmap_EACCES_shared_stores_without_the_right_to_write(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, ground.reader, 0), EACCES);
	assert_refused(quire_mmap(NULL, PAGES(1), PROT_WRITE, MAP_SHARED_VALIDATE, ground.reader, 0), EACCES);
	assert_refused(quire_mmap(PLACE(PRIVATE), PAGES(6), RW, MAP_SHARED | MAP_FIXED, ground.reader, 0), EACCES);
	clear_ground();
}

static void M19_mmap_EACCES_shared_stores_into_an_append_only_file(void **state)
{
	int fd = file_append_only();

	(void)state;
	lay_ground();
	assert_refused(quire_mmap(PLACE(ANONYMOUS), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0), EACCES);
	assert_int_equal(file_size(fd), PAGES(1));
	clear_ground();
}

static void M19_mmap_EAGAIN_locked_over_the_limit(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(PAGES(16));
	assert_refused(quire_mmap(NULL, PAGES(17), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), EAGAIN);
	assert_refused(quire_mmap(NULL, PAGES(17), PROT_READ, MAP_SHARED | MAP_LOCKED, ground.fd, 0), EAGAIN);
	assert_refused(quire_mmap(ground.at, PAGES(17), RW, FIXED_ANON | MAP_LOCKED, ANON, 0), EAGAIN);
	clear_ground();
}

static void M19_mmap_EAGAIN_future_locks_over_the_limit(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(PAGES(64));
	note(&before);
	assert_ok(quire_mlockall(MCL_FUTURE));
	assert_fails(quire_mmap(ground.at, PAGES(65), RW, FIXED_ANON, ANON, 0), EAGAIN);
	assert_ok(quire_munlockall());
	check_unchanged("quire_mmap", __FILE__, __LINE__);
	clear_ground();
}

static void M19_mmap_EBADF_descriptor_that_is_not_open(void **state)
{
	int fd;

	(void)state;
	lay_ground();
	fd = dup(ground.fd);
	close(fd);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), EBADF);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), PROT_READ, MAP_SHARED | MAP_FIXED, -1, 0), EBADF);
	assert_refused(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, INT32_MAX, 0), EBADF);
	clear_ground();
}

static void M19_mmap_EBADF_descriptor_of_a_path_only(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), PROT_READ, MAP_PRIVATE | MAP_FIXED, file_reopen(ground.fd, O_PATH), 0),
		       EBADF);
	clear_ground();
}

static void M19_mmap_EEXIST_noreplace_over_a_mapping(void **state)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

	(void)state;
	lay_ground();
	assert_refused(quire_mmap(PLACE(HOLE), PAGES(3), RW, flags, ANON, 0), EEXIST);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, flags | MAP_FIXED, ANON, 0), EEXIST);
	assert_refused(quire_mmap(PLACE(READABLE + 1), PAGES(9), RW, MAP_SHARED | MAP_FIXED_NOREPLACE, ground.fd, 0), EEXIST);
	clear_ground();
}

static void M19_mmap_EINVAL_bad_arguments(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mmap(PLACE(SHARED), 0, RW, MAP_SHARED | MAP_FIXED, ground.fd, 0), EINVAL);
	assert_refused(quire_mmap(PLACE(SHARED) + 1, PAGES(1), RW, MAP_SHARED | MAP_FIXED, ground.fd, 0), EINVAL);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_SHARED | MAP_FIXED, ground.fd, 1), EINVAL);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_FIXED, ground.fd, 0), EINVAL);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_FIXED | MAP_ANONYMOUS, ANON, 0), EINVAL);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_FIXED | MAP_ANONYMOUS | MAP_SHARED_VALIDATE, ANON, 0), EINVAL);
	clear_ground();
}

static void M19_mmap_ENODEV_object_that_cannot_be_mapped(void **state)
{
	int ends[2], sockets[2];
	int fds[] = {open(".", O_RDONLY | O_DIRECTORY), open("/dev/null", O_RDWR), eventfd(0, 0), epoll_create1(0), 0, 0};
	const size_t n = sizeof(fds) / sizeof(fds[0]);

	(void)state;
	lay_ground();
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	fds[n - 2] = ends[0];
	fds[n - 1] = sockets[0];
	for (size_t i = 0; i < n; i++) {
		assert_true(fds[i] >= 0);
		assert_refused(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_PRIVATE, fds[i], 0), ENODEV);
		assert_refused_midway(quire_mmap(PLACE(ANONYMOUS), PAGES(1), PROT_READ, MAP_SHARED | MAP_FIXED, fds[i], 0), ENODEV);
		close(fds[i]);
	}
	close(ends[1]);
	close(sockets[1]);
	clear_ground();
}

static void M19_mmap_ENOMEM_more_than_the_address_space(void **state)
{
	const size_t huge = (size_t)1 << 62;

	(void)state;
	lay_ground();
	assert_refused(quire_mmap(NULL, SIZE_MAX, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), ENOMEM);
	assert_refused(quire_mmap(NULL, huge, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, ANON, 0), ENOMEM);
	assert_refused(quire_mmap(PLACE(SHARED), huge, PROT_READ, MAP_SHARED | MAP_FIXED, ground.fd, 0), ENOMEM);
	assert_refused(quire_mmap(NULL, huge, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), ENOMEM);
	assert_refused(quire_mmap(PLACE(SHARED) + 1, huge, RW, FIXED_ANON, ANON, 0), ENOMEM);
	assert_refused(quire_mmap((void *)(UINTPTR_MAX - PAGES(1) + 1), PAGES(1), RW, FIXED_ANON, ANON, 0), ENOMEM);
	clear_ground();
}

static void M19_mmap_ENOMEM_over_the_limit_of_address_space(void **state)
{
	const size_t len = (size_t)1 << 30;

	(void)state;
	lay_ground();
	note(&before);
	limit_resource(RLIMIT_AS, status_bytes("VmSize: %zu") + len / 2);
	assert_fails(quire_mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), ENOMEM);
	assert_fails(quire_mmap(NULL, len, PROT_READ, MAP_SHARED, ground.fd, 0), ENOMEM);
	assert_fails(quire_mmap(ground.at, len, RW, FIXED_ANON, ANON, 0), ENOMEM);
	limit_resource(RLIMIT_AS, RLIM_INFINITY);
	check_unchanged("quire_mmap", __FILE__, __LINE__);
	clear_ground();
}

static void M19_mmap_ENOMEM_over_the_limit_of_data(void **state)
{
	const size_t len = (size_t)1 << 30;

	(void)state;
	lay_ground();
	note(&before);
	limit_resource(RLIMIT_DATA, status_bytes("VmData: %zu") + len / 2);
	assert_fails(quire_mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), ENOMEM);
	assert_fails(quire_mmap(NULL, len, RW, MAP_PRIVATE, ground.fd, 0), ENOMEM);
	limit_resource(RLIMIT_DATA, RLIM_INFINITY);
	check_unchanged("quire_mmap", __FILE__, __LINE__);
	clear_ground();
}

static void M19_mmap_EOPNOTSUPP_unknown_flag_with_validate(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_SHARED_VALIDATE | MAP_FIXED | 0x400, ground.fd, 0), EOPNOTSUPP);
	clear_ground();
}

static void M19_mmap_EOVERFLOW_offset_and_length(void **state)
{
	const off_t last = (off_t)(INT64_MAX - (int64_t)page_size + 1);

	(void)state;
	lay_ground();
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(2), RW, MAP_SHARED | MAP_FIXED, ground.fd, last), EOVERFLOW);
	assert_refused(quire_mmap(NULL, PAGES(2), RW, MAP_PRIVATE, ground.fd, -(off_t)PAGES(1)), EOVERFLOW);
	clear_ground();
}

static void M19_mmap_EPERM_execution_from_a_noexec_mount(void **state)
{
	char dir[FILE_PATH_MAX], path[FILE_PATH_MAX + 8];
	int fd;

	(void)state;
	mount_or_skip("noexec,size=1048576", dir);
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(1)), 0);
	lay_ground();
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0), EPERM);
	clear_ground();
	close(fd);
}

static void M19_mmap_EPERM_shared_stores_against_a_seal(void **state)
{
	int fd = memory_file(1);

	(void)state;
	lay_ground();
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_refused(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0), EPERM);
	assert_refused(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, fd, 0), EPERM);
	clear_ground();
	close(fd);
}

static void M19_mmap_EPERM_at_page_zero(void **state)
{
	FILE *least = fopen("/proc/sys/vm/mmap_min_addr", "re");
	unsigned long bytes = 0;

	(void)state;
	if (!least || fscanf(least, "%lu", &bytes) != 1 || bytes == 0)
		skip_because("anybody may map page 0 here");
	fclose(least);
	drop_capability(CAP_SYS_RAWIO);
	lay_ground();
	assert_refused(quire_mmap(NULL, PAGES(1), RW, FIXED_ANON, ANON, 0), EPERM);
	assert_refused(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED | MAP_FIXED, ground.fd, 0), EPERM);
	assert_unmapped((char *)16);
	clear_ground();
}

/* ---- as many mappings as the kernel grants ---- */

static struct {
	char *at;
	size_t len;
} crowd;

/* Mappings of the kernel's own, until it grants no more but a few. */
static void crowd_addresses(void)
{
	FILE *limit = fopen("/proc/sys/vm/max_map_count", "re");
	size_t i = 1;
	int max;

	assert_non_null(limit);
	assert_int_equal(fscanf(limit, "%d", &max), 1);
	fclose(limit);
	if (max > 1000000)
		skip_because("vm.max_map_count is too high to be reached here");
	crowd.len = PAGES((size_t)max + 16);
	crowd.at = mmap(NULL, crowd.len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(crowd.at, MAP_FAILED);
	while (PAGES(i) < crowd.len && !mprotect(crowd.at + PAGES(i), page_size, PROT_READ))
		i += 2;
	assert_true(PAGES(i) < crowd.len);
	assert_int_equal(munmap(crowd.at, PAGES(64)), 0);
}

static void disperse_crowd(void)
{
	assert_int_equal(munmap(crowd.at, crowd.len), 0);
}

/* n pages that are split until the kernel grants no more; what follows *ret_next is one mapping, and longer than a few pages. */
static char *split_until_refused(size_t n, size_t *ret_next)
{
	char *p = map_anonymous(n);
	size_t i = 1;

	p[0] = 1;
	p[PAGES(n - 1)] = 2;
	while (i + 16 < n && !quire_mprotect(p + PAGES(i), PAGES(1), PROT_READ))
		i += 2;
	assert_int_equal(errno, ENOMEM);
	assert_in_range(i / 2, 1, n / 2 - 8);
	*ret_next = i + 2;
	return p;
}

static void assert_still_all_there(char *p, size_t n, size_t next)
{
	assert_loads(p, 1);
	assert_loads(p + PAGES(n - 1), 2);
	for (size_t i = next; i < next + 4; i++)
		assert_stores(p + PAGES(i), 3);
}

static void M19_mprotect_ENOMEM_too_many_mappings(void **state)
{
	const size_t n = 256;
	size_t next;
	char *p;

	(void)state;
	crowd_addresses();
	p = split_until_refused(n, &next);
	assert_fails(quire_mprotect(p + PAGES(next + 1), PAGES(1), PROT_READ), ENOMEM);
	assert_still_all_there(p, n, next);
	unmap(p, n);
	disperse_crowd();
	unmap(map_anonymous(1), 1);
}

static void M19_mmap_and_munmap_ENOMEM_too_many_mappings(void **state)
{
	const size_t n = 256;
	size_t next;
	char *p;
	int calls = 0;

	(void)state;
	crowd_addresses();
	p = split_until_refused(n, &next);
	/* One more may still be granted, where mprotect needed two. */
	while (calls < 4 && quire_munmap(p + PAGES(n - 8 + (size_t)calls * 2), PAGES(1)) == 0)
		calls++;
	assert_int_equal(errno, ENOMEM);
	assert_in_range(calls, 0, 3);
	assert_still_all_there(p, n, next);
	assert_fails(quire_munmap(p + PAGES(next + 1), PAGES(1)), ENOMEM);
	assert_fails(quire_mmap(p + PAGES(next + 1), PAGES(1), PROT_READ, FIXED_ANON, ANON, 0), ENOMEM);
	assert_still_all_there(p, n, next);
	unmap(p, n);
	disperse_crowd();
	unmap(map_anonymous(1), 1);
}

/* ---- munmap ---- */

static void M19_munmap_EINVAL_bad_ranges(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_munmap(PLACE(SHARED) + 1, PAGES(1)), EINVAL);
	assert_refused(quire_munmap(PLACE(SHARED), 0), EINVAL);
	assert_refused(quire_munmap(PLACE(SHARED), SIZE_MAX), EINVAL);
	assert_refused(quire_munmap(PLACE(SHARED), SIZE_MAX - PAGES(1)), EINVAL);
	assert_refused(quire_munmap((void *)(UINTPTR_MAX - PAGES(1) + 1), PAGES(1)), EINVAL);
	clear_ground();
}

/* ---- mprotect ---- */

static void M19_mprotect_EACCES_beyond_the_open_mode(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mprotect(PLACE(READABLE), PAGES(2), RW), EACCES);
	assert_refused_midway(quire_mprotect(PLACE(ANONYMOUS), PAGES(4), PROT_WRITE), EACCES);
	clear_ground();
}

static void M19_mprotect_EINVAL_bad_arguments(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mprotect(PLACE(SHARED) + 1, PAGES(1), PROT_READ), EINVAL);
	assert_refused(quire_mprotect(PLACE(SHARED), PAGES(4), 0x800), EINVAL);
	assert_refused(quire_mprotect(PLACE(SHARED), PAGES(4), PROT_READ | PROT_GROWSUP | PROT_GROWSDOWN), EINVAL);
	clear_ground();
}

static void M19_mprotect_ENOMEM_hole(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mprotect(PLACE(HOLE), PAGES(3), PROT_READ), ENOMEM);
	assert_refused(quire_mprotect(PLACE(SHARED), SIZE_MAX - PAGES(1), PROT_READ), ENOMEM);
	assert_refused_midway(quire_mprotect(PLACE(SHARED), PAGES(8), PROT_NONE), ENOMEM);
	clear_ground();
}

static void M19_mprotect_ENOMEM_over_the_limit_of_data(void **state)
{
	const size_t len = (size_t)1 << 30;
	char *p;

	(void)state;
	lay_ground();
	p = map(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
	note(&before);
	limit_resource(RLIMIT_DATA, status_bytes("VmData: %zu") + len / 2);
	assert_fails(quire_mprotect(p, len, RW), ENOMEM);
	limit_resource(RLIMIT_DATA, RLIM_INFINITY);
	check_unchanged("quire_mprotect", __FILE__, __LINE__);
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_munmap(p, len));
	clear_ground();
}

/* ---- mremap ---- */

static void M19_mremap_EAGAIN_locked_over_the_limit(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(PAGES(16));
	assert_ok(quire_mlock(PLACE(ANONYMOUS), PAGES(2)));
	assert_refused(quire_mremap(PLACE(ANONYMOUS), PAGES(2), PAGES(17), MREMAP_MAYMOVE), EAGAIN);
	clear_ground();
}

static void M19_mremap_EFAULT_not_one_mapping(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mremap(PLACE(HOLE), PAGES(1), PAGES(2), MREMAP_MAYMOVE), EFAULT);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(6), PAGES(7), MREMAP_MAYMOVE), EFAULT);
	assert_refused(quire_mremap(PLACE(PRIVATE), PAGES(3), PAGES(4), MREMAP_MAYMOVE), EFAULT);
	clear_ground();
}

static void M19_mremap_EINVAL_bad_arguments(void **state)
{
	char *to, *no_place = (char *)(UINTPTR_MAX - PAGES(1) + 1);

	(void)state;
	lay_ground();
	to = PLACE(GROUND);
	assert_refused(quire_mremap(PLACE(SHARED) + 1, PAGES(1), PAGES(2), MREMAP_MAYMOVE), EINVAL);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(1), 0, MREMAP_MAYMOVE), EINVAL);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(1), PAGES(1), 0x1000), EINVAL);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(1), PAGES(1), MREMAP_FIXED, to), EINVAL);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(1), PAGES(1), MREMAP_DONTUNMAP, to), EINVAL);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(1), PAGES(1), MREMAP_MAYMOVE | MREMAP_FIXED, to + 1), EINVAL);
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(2), PAGES(2), MREMAP_MAYMOVE | MREMAP_FIXED, PLACE(SHARED + 1)), EINVAL);
	assert_refused(quire_mremap(PLACE(ANONYMOUS), PAGES(1), PAGES(2), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), EINVAL);
	assert_refused(quire_mremap(PLACE(ANONYMOUS), 0, PAGES(1), MREMAP_MAYMOVE), EINVAL);
	assert_refused(quire_mremap(PLACE(ANONYMOUS), PAGES(1), PAGES(1), MREMAP_MAYMOVE | MREMAP_FIXED, no_place), EINVAL);
	/* It could be cut at its new length, and moved, and then not be cut at its end. */
	assert_refused_midway(quire_mremap(PLACE(ANONYMOUS), (size_t)1 << 62, PAGES(1), MREMAP_MAYMOVE | MREMAP_FIXED, to), EINVAL);
	clear_ground();
}

static void M19_mremap_ENOMEM_no_room_and_not_allowed_to_move(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mremap(PLACE(SHARED), PAGES(4), PAGES(5), 0), ENOMEM);
	assert_refused(quire_mremap(PLACE(PRIVATE), PAGES(2), PAGES(5), 0), ENOMEM);
	assert_refused(quire_mremap(PLACE(ANONYMOUS), PAGES(2), PAGES(3), 0), ENOMEM);
	clear_ground();
}

static void M19_mremap_ENOMEM_over_the_limit_of_address_space(void **state)
{
	const size_t len = (size_t)1 << 30;

	(void)state;
	lay_ground();
	note(&before);
	limit_resource(RLIMIT_AS, status_bytes("VmSize: %zu") + len / 2);
	assert_fails(quire_mremap(PLACE(ANONYMOUS), PAGES(2), len, MREMAP_MAYMOVE), ENOMEM);
	assert_fails(quire_mremap(PLACE(SHARED), PAGES(4), len, MREMAP_MAYMOVE), ENOMEM);
	assert_fails(quire_mremap(PLACE(PRIVATE), PAGES(2), len, MREMAP_MAYMOVE), ENOMEM);
	limit_resource(RLIMIT_AS, RLIM_INFINITY);
	check_unchanged("quire_mremap", __FILE__, __LINE__);
	clear_ground();
}

/* ---- msync ---- */

static void M19_msync_EBUSY_invalidate_over_locked_pages(void **state)
{
	(void)state;
	lay_ground();
	assert_ok(quire_mlock(PLACE(SHARED + 3), PAGES(1)));
	assert_refused(quire_msync(PLACE(SHARED), PAGES(4), MS_INVALIDATE), EBUSY);
	assert_refused(quire_msync(PLACE(SHARED), PAGES(4), MS_ASYNC | MS_INVALIDATE), EBUSY);
	clear_ground();
}

static void M19_msync_EINVAL_bad_arguments(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_msync(PLACE(SHARED) + 1, PAGES(1), MS_SYNC), EINVAL);
	assert_refused(quire_msync(PLACE(SHARED), PAGES(1), MS_SYNC | MS_ASYNC), EINVAL);
	assert_refused(quire_msync(PLACE(SHARED), PAGES(1), MS_SYNC | 0x100), EINVAL);
	clear_ground();
}

static void M19_msync_ENOMEM_hole(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_msync(PLACE(PRIVATE), PAGES(5), MS_SYNC), ENOMEM);
	assert_refused(quire_msync(PLACE(HOLE), PAGES(2), MS_ASYNC), ENOMEM);
	assert_refused(quire_msync(PLACE(SHARED), SIZE_MAX - PAGES(1), MS_SYNC), ENOMEM);
	clear_ground();
}

/* ---- madvise, posix_madvise ---- */

static void M19_madvise_EACCES_remove_without_the_right_to_write(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_madvise(PLACE(PRIVATE), PAGES(2), MADV_REMOVE), EACCES);
	assert_refused(quire_madvise(PLACE(READABLE), PAGES(2), MADV_REMOVE), EACCES);
	assert_refused_midway(quire_madvise(PLACE(SHARED), PAGES(6), MADV_REMOVE), EACCES);
	clear_ground();
}

static void M19_madvise_EFAULT_populate_past_the_end_of_the_file(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);

	(void)state;
	lay_ground();
	assert_refused(quire_madvise(p, PAGES(2), MADV_POPULATE_READ), EFAULT);
	assert_refused(quire_madvise(p, PAGES(2), MADV_POPULATE_WRITE), EFAULT);
	assert_pattern(p, PAGES(1), 0);
	clear_ground();
	unmap(p, 2);
}

static void M19_madvise_EINVAL_bad_arguments(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_madvise(PLACE(ANONYMOUS), PAGES(1), 0x5555), EINVAL);
	assert_refused(quire_madvise(PLACE(ANONYMOUS), PAGES(1), -1), EINVAL);
	assert_refused(quire_madvise(PLACE(ANONYMOUS) + 1, PAGES(1), MADV_DONTNEED), EINVAL);
	assert_refused(quire_madvise(PLACE(ANONYMOUS), SIZE_MAX - PAGES(1), MADV_DONTNEED), EINVAL);
	assert_refused(quire_madvise(PLACE(ANONYMOUS), PAGES(2), MADV_REMOVE), EINVAL);
	assert_refused(quire_madvise(PLACE(SHARED), PAGES(4), MADV_FREE), EINVAL);
	assert_refused(quire_madvise(PLACE(READABLE), PAGES(1), MADV_POPULATE_WRITE), EINVAL);
	clear_ground();
}

static void M19_madvise_EINVAL_locked_pages(void **state)
{
	const int advice[] = {MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT};

	(void)state;
	lay_ground();
	assert_ok(quire_mlock(PLACE(ANONYMOUS), PAGES(2)));
	assert_ok(quire_mlock(PLACE(SHARED), PAGES(4)));
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
		assert_refused(quire_madvise(advice[i] == MADV_FREE ? PLACE(ANONYMOUS) : PLACE(SHARED), PAGES(2), advice[i]),
			       EINVAL);
	assert_refused(quire_madvise(PLACE(ANONYMOUS), PAGES(2), MADV_DONTNEED), EINVAL);
	clear_ground();
}

static void M19_madvise_ENOMEM_hole(void **state)
{
	const int advice[] = {MADV_NORMAL, MADV_SEQUENTIAL, MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ};

	(void)state;
	lay_ground();
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		assert_refused(quire_madvise(PLACE(HOLE), PAGES(2), advice[i]), ENOMEM);
		assert_refused_midway(quire_madvise(PLACE(PRIVATE), PAGES(5), advice[i]), ENOMEM);
	}
	clear_ground();
}

static void M19_madvise_EPERM_remove_against_a_seal(void **state)
{
	int fd = memory_file(2);
	char *p = map_shared(fd, 2);

	(void)state;
	lay_ground();
	p[3] = 'r';
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	assert_refused(quire_madvise(p, PAGES(2), MADV_REMOVE), EPERM);
	assert_loads(p + 3, 'r');
	clear_ground();
	unmap(p, 2);
	close(fd);
}

static void M19_posix_madvise_EINVAL_bad_arguments(void **state)
{
	(void)state;
	lay_ground();
	errno = 0;
	assert_refused_with_answer(quire_posix_madvise(PLACE(ANONYMOUS), PAGES(1), 0x55), EINVAL);
	assert_refused_with_answer(quire_posix_madvise(PLACE(ANONYMOUS) + 1, PAGES(1), POSIX_MADV_RANDOM), EINVAL);
	clear_ground();
}

static void M19_posix_madvise_ENOMEM_hole(void **state)
{
	(void)state;
	lay_ground();
	assert_refused_with_answer(quire_posix_madvise(PLACE(HOLE), PAGES(2), POSIX_MADV_NORMAL), ENOMEM);
	assert_refused_with_answer(quire_posix_madvise(PLACE(PRIVATE), PAGES(5), POSIX_MADV_WILLNEED), ENOMEM);
	errno = 0;
	assert_int_equal(quire_posix_madvise(PLACE(HOLE), PAGES(2), POSIX_MADV_RANDOM), ENOMEM);
#ifndef KERNEL_ORACLE
	/* The C library's leaves the kernel's errno behind. */
	assert_int_equal(errno, 0);
#endif
	clear_ground();
}

/* ---- mincore ---- */

static void M19_mincore_EINVAL_unaligned(void **state)
{
	unsigned char vec[2] = {0xee, 0xee};

	(void)state;
	lay_ground();
	assert_refused(quire_mincore(PLACE(SHARED) + 1, PAGES(1), vec), EINVAL);
	assert_int_equal(vec[0], 0xee);
	clear_ground();
}

static void M19_mincore_ENOMEM_hole(void **state)
{
	unsigned char vec[GROUND];

	(void)state;
	lay_ground();
	assert_refused(quire_mincore(PLACE(HOLE), PAGES(1), vec), ENOMEM);
	assert_refused(quire_mincore(PLACE(SHARED), PAGES(8), vec), ENOMEM);
	assert_refused(quire_mincore(PLACE(SHARED), SIZE_MAX - PAGES(1), vec), ENOMEM);
	clear_ground();
}

/* ---- mlock and its kin ---- */

static void M19_mlock_EINVAL_bad_arguments(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mlock2(PLACE(ANONYMOUS), PAGES(1), 0x40), EINVAL);
	assert_refused(quire_mlock(PLACE(ANONYMOUS), SIZE_MAX - PAGES(1)), EINVAL);
	assert_refused(quire_mlock2(PLACE(ANONYMOUS), SIZE_MAX - PAGES(1), MLOCK_ONFAULT), EINVAL);
	assert_refused(quire_munlock(PLACE(ANONYMOUS), SIZE_MAX - PAGES(1)), EINVAL);
	clear_ground();
}

static void M19_mlock_ENOMEM_hole(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mlock(PLACE(HOLE), PAGES(1)), ENOMEM);
	assert_refused_midway(quire_mlock(PLACE(PRIVATE), PAGES(6)), ENOMEM);
	clear_ground();
}

static void M19_mlock2_ENOMEM_hole(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mlock2(PLACE(HOLE), PAGES(1), MLOCK_ONFAULT), ENOMEM);
	assert_refused_midway(quire_mlock2(PLACE(PRIVATE), PAGES(6), MLOCK_ONFAULT), ENOMEM);
	clear_ground();
}

static void M19_munlock_ENOMEM_hole(void **state)
{
	(void)state;
	lay_ground();
	assert_ok(quire_mlock(PLACE(PRIVATE), PAGES(2)));
	assert_refused(quire_munlock(PLACE(HOLE), PAGES(1)), ENOMEM);
	assert_refused_midway(quire_munlock(PLACE(PRIVATE), PAGES(6)), ENOMEM);
	clear_ground();
}

static void M19_mlock_ENOMEM_over_the_limit(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(PAGES(3));
	assert_refused(quire_mlock(PLACE(SHARED), PAGES(4)), ENOMEM);
	assert_refused(quire_mlock2(PLACE(SHARED), PAGES(4), MLOCK_ONFAULT), ENOMEM);
	clear_ground();
}

static void M19_mlock_ENOMEM_page_past_the_end_of_the_file(void **state)
{
	char *p = map_shared(file_new(PAGES(1)), 2);

	(void)state;
	lay_ground();
	assert_refused_midway(quire_mlock(p, PAGES(2)), ENOMEM);
	clear_ground();
	unmap(p, 2);
}

static void M19_mlock_EPERM_no_limit_to_lock_in(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(0);
	assert_refused(quire_mlock(PLACE(SHARED), PAGES(1)), EPERM);
	assert_refused(quire_mlock2(PLACE(ANONYMOUS), PAGES(1), MLOCK_ONFAULT), EPERM);
	clear_ground();
}

static void M19_mlockall_EINVAL_bad_flags(void **state)
{
	(void)state;
	lay_ground();
	assert_refused(quire_mlockall(0), EINVAL);
	assert_refused(quire_mlockall(MCL_ONFAULT), EINVAL);
	assert_refused(quire_mlockall(MCL_CURRENT | 0x100), EINVAL);
	clear_ground();
}

static void M19_mlockall_ENOMEM_over_the_limit(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(PAGES(6));
	assert_refused(quire_mlockall(MCL_CURRENT | MCL_FUTURE), ENOMEM);
	unmap(map_anonymous(1), 1);
	check_unchanged("quire_mlockall", __FILE__, __LINE__);
	clear_ground();
}

static void M19_mlockall_EPERM_no_limit_to_lock_in(void **state)
{
	(void)state;
	lay_ground();
	limit_locked_memory(0);
	assert_refused(quire_mlockall(MCL_CURRENT), EPERM);
	assert_refused(quire_mlockall(MCL_FUTURE), EPERM);
	clear_ground();
}

/* ---- ftruncate ---- */

static void M19_ftruncate_EBADF_descriptor_that_is_not_open(void **state)
{
	int fd;

	(void)state;
	lay_ground();
	fd = dup(ground.fd);
	close(fd);
	assert_refused(quire_ftruncate(fd, 0), EBADF);
	assert_refused(quire_ftruncate(-1, 0), EBADF);
	assert_refused(quire_ftruncate(file_reopen(ground.fd, O_PATH), 0), EBADF);
	clear_ground();
}

static void M19_ftruncate_EINVAL_bad_arguments(void **state)
{
	int ends[2], directory = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	lay_ground();
	assert_refused(quire_ftruncate(ground.fd, -1), EINVAL);
	assert_refused(quire_ftruncate(ground.fd, INT64_MIN), EINVAL);
	assert_refused(quire_ftruncate(ground.reader, 0), EINVAL);
	assert_refused(quire_ftruncate(ends[1], 0), EINVAL);
	assert_refused(quire_ftruncate(directory, 0), EINVAL);
	clear_ground();
	close(ends[0]);
	close(ends[1]);
	close(directory);
}

static void M19_ftruncate_EFBIG_over_the_limit_of_file_sizes(void **state)
{
	(void)state;
	lay_ground();
	note(&before);
	signal(SIGXFSZ, SIG_IGN);
	limit_resource(RLIMIT_FSIZE, PAGES(64));
	assert_fails(quire_ftruncate(ground.fd, (off_t)PAGES(65)), EFBIG);
	limit_resource(RLIMIT_FSIZE, RLIM_INFINITY);
	check_unchanged("quire_ftruncate", __FILE__, __LINE__);
	clear_ground();
}

static void M19_ftruncate_EPERM_against_a_seal(void **state)
{
	int fd = memory_file(2);
	char *p = map_shared(fd, 3);

	(void)state;
	lay_ground();
	p[PAGES(1)] = 't';
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_refused(quire_ftruncate(fd, 0), EPERM);
	assert_refused(quire_ftruncate(fd, (off_t)PAGES(3)), EPERM);
	assert_loads(p + PAGES(1), 't');
	assert_past_the_end(p + PAGES(2));
	assert_int_equal(file_size(fd), PAGES(2));
	clear_ground();
	unmap(p, 3);
	close(fd);
}

static void M19_ftruncate_EPERM_of_an_append_only_file(void **state)
{
	int fd = file_append_only();
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, file_reopen(fd, O_RDONLY), 0);

	(void)state;
	lay_ground();
	assert_refused(quire_ftruncate(fd, 0), EPERM);
	assert_pattern(p, PAGES(1), 0);
	assert_int_equal(file_size(fd), PAGES(1));
	clear_ground();
	unmap(p, 1);
}

/* ---- what only the engine has ---- */

#ifndef KERNEL_ORACLE

static void M19_mmap_EAGAIN_locked_over_the_budget(void **state)
{
	size_t n = stats().budget_bytes / page_size;

	(void)state;
	lay_ground();
	assert_refused(quire_mmap(NULL, PAGES(n), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), EAGAIN);
	clear_ground();
}

static void M19_mmap_EMFILE_out_of_descriptors(void **state)
{
	int fd = file_new(PAGES(1)), lowest;
	struct rlimit old;

	(void)state;
	lay_ground();
	note(&before);
	lowest = dup(fd);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	limit_resource(RLIMIT_NOFILE, (rlim_t)lowest);
	assert_fails(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0), EMFILE);
	limit_resource(RLIMIT_NOFILE, old.rlim_cur);
	check_unchanged("quire_mmap", __FILE__, __LINE__);
	unmap(map_shared(fd, 1), 1);
	clear_ground();
}

static void M19_mmap_ENFILE_out_of_files(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	lay_ground();
	/* Frames come from either. */
	refuse_system_call(SYS_memfd_create, ENFILE);
	refuse_system_call_with(SYS_openat, O_TMPFILE & ~O_DIRECTORY, ENFILE);
	note(&before);
	assert_fails(quire_mmap(PLACE(SHARED), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0), ENFILE);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0), ENFILE);
	check_unchanged("quire_mmap", __FILE__, __LINE__);
	clear_ground();
}

/* The first call that meets a failing disk. */
static void refuse_writes(int error)
{
	lay_ground();
	assert_filled(PLACE(ANONYMOUS), 7, 0);
	note(&before);
	refuse_system_call(SYS_pwrite64, error);
	assert_fails(quire_munmap(ground.at, PAGES(GROUND)), error);
	check_unchanged("quire_munmap", __FILE__, __LINE__);
	assert_fails(quire_mmap(ground.at, PAGES(GROUND), RW, FIXED_ANON, ANON, 0), error);
	check_unchanged("quire_mmap", __FILE__, __LINE__);
	assert_fails(quire_msync(PLACE(SHARED), PAGES(4), MS_SYNC), error);
	check_unchanged("quire_msync", __FILE__, __LINE__);
}

static void M19_munmap_mmap_msync_EDQUOT_over_the_quota(void **state)
{
	(void)state;
	refuse_writes(EDQUOT);
}

static void M19_munmap_mmap_msync_EIO_write_that_fails(void **state)
{
	(void)state;
	refuse_writes(EIO);
}

static void M19_munmap_mmap_msync_ENOSPC_full_disk(void **state)
{
	(void)state;
	refuse_writes(ENOSPC);
}

static void M19_munmap_mmap_msync_EFBIG_over_the_limit_of_file_sizes(void **state)
{
	(void)state;
	refuse_writes(EFBIG);
}

static void M19_msync_EIO_sync_that_fails(void **state)
{
	(void)state;
	lay_ground();
	note(&before);
	fail_arm(FAIL_SYNC, 1, true);
	assert_fails(quire_msync(PLACE(SHARED), PAGES(4), MS_SYNC), EIO);
	fail_arm(FAIL_SYNC, 0, false);
	check_unchanged("quire_msync", __FILE__, __LINE__);
	assert_ok(quire_msync(PLACE(SHARED), PAGES(4), MS_SYNC));
	clear_ground();
}

static void M19_madvise_EFAULT_populate_of_what_cannot_be_read(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	lay_ground();
	note(&before);
	fail_arm(FAIL_READ, 1, true);
	assert_fails(quire_madvise(p, PAGES(2), MADV_POPULATE_READ), EFAULT);
	fail_arm(FAIL_READ, 0, false);
	check_unchanged("quire_madvise", __FILE__, __LINE__);
	assert_pattern(p, PAGES(2), 0);
	unmap(p, 2);
	clear_ground();
}

static void M19_mlock_EAGAIN_page_that_cannot_be_brought_in(void **state)
{
	char *p = map_shared(file_new(PAGES(2)), 2);

	(void)state;
	lay_ground();
	note(&before);
	fail_arm(FAIL_FRAME, 1, true);
	assert_fails(quire_mlock(p, PAGES(2)), EAGAIN);
	fail_arm(FAIL_FRAME, 0, false);
	check_unchanged("quire_mlock", __FILE__, __LINE__);
	assert_ok(quire_mlock(p, PAGES(2)));
	unmap(p, 2);
	clear_ground();
}

#endif

static const struct conformance_test tests[] = {
    TEST(M19_mmap_EACCES_descriptor_not_open_for_reading),
    TEST(M19_mmap_EACCES_shared_stores_without_the_right_to_write),
    TEST(M19_mmap_EACCES_shared_stores_into_an_append_only_file),
    TEST(M19_mmap_EAGAIN_locked_over_the_limit),
    TEST_IN_OWN_PROCESS(M19_mmap_EAGAIN_future_locks_over_the_limit, ""),
    TEST(M19_mmap_EBADF_descriptor_that_is_not_open),
    TEST(M19_mmap_EBADF_descriptor_of_a_path_only),
    TEST(M19_mmap_EEXIST_noreplace_over_a_mapping),
    TEST(M19_mmap_EINVAL_bad_arguments),
    TEST(M19_mmap_ENODEV_object_that_cannot_be_mapped),
    TEST(M19_mmap_ENOMEM_more_than_the_address_space),
    TEST_IN_OWN_PROCESS(M19_mmap_ENOMEM_over_the_limit_of_address_space, ""),
    TEST_IN_OWN_PROCESS(M19_mmap_ENOMEM_over_the_limit_of_data, ""),
    TEST(M19_mmap_EOPNOTSUPP_unknown_flag_with_validate),
    TEST(M19_mmap_EOVERFLOW_offset_and_length),
    TEST(M19_mmap_EPERM_execution_from_a_noexec_mount),
    TEST(M19_mmap_EPERM_shared_stores_against_a_seal),
    TEST_IN_OWN_PROCESS(M19_mmap_EPERM_at_page_zero, ""),
    TEST(M19_mprotect_ENOMEM_too_many_mappings),
    TEST(M19_mmap_and_munmap_ENOMEM_too_many_mappings),
    TEST(M19_munmap_EINVAL_bad_ranges),
    TEST(M19_mprotect_EACCES_beyond_the_open_mode),
    TEST(M19_mprotect_EINVAL_bad_arguments),
    TEST(M19_mprotect_ENOMEM_hole),
    TEST_IN_OWN_PROCESS(M19_mprotect_ENOMEM_over_the_limit_of_data, ""),
    TEST(M19_mremap_EAGAIN_locked_over_the_limit),
    TEST(M19_mremap_EFAULT_not_one_mapping),
    TEST(M19_mremap_EINVAL_bad_arguments),
    TEST(M19_mremap_ENOMEM_no_room_and_not_allowed_to_move),
    TEST_IN_OWN_PROCESS(M19_mremap_ENOMEM_over_the_limit_of_address_space, ""),
    TEST(M19_msync_EBUSY_invalidate_over_locked_pages),
    TEST(M19_msync_EINVAL_bad_arguments),
    TEST(M19_msync_ENOMEM_hole),
    TEST(M19_madvise_EACCES_remove_without_the_right_to_write),
    TEST(M19_madvise_EFAULT_populate_past_the_end_of_the_file),
    TEST(M19_madvise_EINVAL_bad_arguments),
    TEST(M19_madvise_EINVAL_locked_pages),
    TEST(M19_madvise_ENOMEM_hole),
    TEST(M19_madvise_EPERM_remove_against_a_seal),
    TEST(M19_posix_madvise_EINVAL_bad_arguments),
    TEST(M19_posix_madvise_ENOMEM_hole),
    TEST(M19_mincore_EINVAL_unaligned),
    TEST(M19_mincore_ENOMEM_hole),
    TEST(M19_mlock_EINVAL_bad_arguments),
    TEST(M19_mlock_ENOMEM_hole),
    TEST(M19_mlock2_ENOMEM_hole),
    TEST(M19_munlock_ENOMEM_hole),
    TEST(M19_mlock_ENOMEM_over_the_limit),
    TEST(M19_mlock_ENOMEM_page_past_the_end_of_the_file),
    TEST(M19_mlock_EPERM_no_limit_to_lock_in),
    TEST(M19_mlockall_EINVAL_bad_flags),
    TEST_IN_OWN_PROCESS(M19_mlockall_ENOMEM_over_the_limit, ""),
    TEST_IN_OWN_PROCESS(M19_mlockall_EPERM_no_limit_to_lock_in, ""),
    TEST(M19_ftruncate_EBADF_descriptor_that_is_not_open),
    TEST(M19_ftruncate_EINVAL_bad_arguments),
    TEST_IN_OWN_PROCESS(M19_ftruncate_EFBIG_over_the_limit_of_file_sizes, ""),
    TEST(M19_ftruncate_EPERM_against_a_seal),
    TEST(M19_ftruncate_EPERM_of_an_append_only_file),
#ifndef KERNEL_ORACLE
    TEST(M19_mmap_EAGAIN_locked_over_the_budget),
    TEST(M19_mmap_EMFILE_out_of_descriptors),
    TEST_IN_OWN_PROCESS(M19_mmap_ENFILE_out_of_files, ""),
    TEST_IN_OWN_PROCESS(M19_munmap_mmap_msync_EDQUOT_over_the_quota, "QUIRE_DEBUG=no-uring"),
    TEST_IN_OWN_PROCESS(M19_munmap_mmap_msync_EIO_write_that_fails, "QUIRE_DEBUG=no-uring"),
    TEST_IN_OWN_PROCESS(M19_munmap_mmap_msync_ENOSPC_full_disk, "QUIRE_DEBUG=no-uring"),
    TEST_IN_OWN_PROCESS(M19_munmap_mmap_msync_EFBIG_over_the_limit_of_file_sizes, "QUIRE_DEBUG=no-uring"),
    TEST(M19_msync_EIO_sync_that_fails),
    TEST(M19_madvise_EFAULT_populate_of_what_cannot_be_read),
    TEST(M19_mlock_EAGAIN_page_that_cannot_be_brought_in),
#endif
};

CONFORMANCE_MAIN(tests)
