/* SPDX-License-Identifier: MIT */
/*
 * kernel.c - how the engine inside of the preload calls the kernel
 */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "locks.h"
#include "next.h"
#include "sys/bare.h"
#include "vfork.h"

/* ---- the bare system call ---- */

long kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	long r = bare_call(number, a, b, c, d, e, f);

	if (r >= 0 || r < -4095)
		return r;
	errno = (int)-r;
	return -1;
}

#define CALL(number, ...)               CALL_(number, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(n, a, b, c, d, e, f, ...) kernel_call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* ---- the engine's descriptors ---- */

#define MOST_DESCRIPTORS (1 << 20) /* that are known; fs.nr_open is as much, as a rule */
#define WORD_BITS        64

static _Atomic uint64_t own[MOST_DESCRIPTORS / WORD_BITS];

/* This thread has a table of descriptors to itself, as the agent in a child does: nobody else can get at them. */
static __thread bool apart;

static void note(int fd, bool is_own)
{
	uint64_t bit = (uint64_t)1 << (fd % WORD_BITS);

	if (fd < 0 || fd >= MOST_DESCRIPTORS || apart || vfork_is_child())
		return;
	if (is_own)
		atomic_fetch_or_explicit(&own[fd / WORD_BITS], bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&own[fd / WORD_BITS], ~bit, memory_order_relaxed);
}

bool kernel_is_own(int fd)
{
	return fd >= 0 && fd < MOST_DESCRIPTORS &&
	       (atomic_load_explicit(&own[fd / WORD_BITS], memory_order_relaxed) >> (fd % WORD_BITS) & 1);
}

int kernel_next_own(int fd)
{
	for (fd = fd < 0 ? 0 : fd; fd < MOST_DESCRIPTORS; fd++) {
		if (fd % WORD_BITS == 0 && !atomic_load_explicit(&own[fd / WORD_BITS], memory_order_relaxed))
			fd += WORD_BITS - 1;
		else if (kernel_is_own(fd))
			return fd;
	}
	return -1;
}

/* From here on are the engine's: above what select() knows and what programs count up to, where the limit has room. */
static int lowest(void)
{
	struct rlimit limit;
	rlim_t most;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 512;
	most = limit.rlim_cur < MOST_DESCRIPTORS ? limit.rlim_cur : MOST_DESCRIPTORS;
	return (int)(most > 4096 ? most - 2048 : most / 2);
}

/* Moves a new descriptor out of the way. Where there is no room, or closing it here would take locks of the program's, it stays. */
int kernel_keep(int fd)
{
	int saved_errno = errno, high;

	if (fd < 0 || apart || vfork_is_child())
		return fd;
	if (locks_depend_on(fd)) {
		note(fd, true);
		return fd;
	}
	high = (int)CALL(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest());
	if (high >= 0) {
		CALL(SYS_close, fd);
		fd = high;
	}
	note(fd, true);
	errno = saved_errno;
	return fd;
}

/* ---- memory ---- */

void *kernel_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return (void *)CALL(SYS_mmap, addr, len, prot, flags, fd, offset);
}

/*
 * The kernel puts a mapping of which nothing is said into the highest hole that is large enough, which is the one that the program has just made, as a
 * rule; and programs exist that take for granted that nobody else does. So these are placed one after another in a part of the addresses
 * that the kernel leaves alone for as long as there is room elsewhere: far below the libraries, and above what sanitizers have for themselves.
 */
#define APART_FIRST ((uintptr_t)0x110000000000)
#define APART_STEP  ((uintptr_t)1 << 32)
#define APART_STEPS 0x2000 /* of which one is chosen at random */
#define APART_BYTES ((uintptr_t)1 << 40)
#define APART_TRIES 64

static uintptr_t apart_base(void)
{
	const char *bytes = (const char *)getauxval(AT_RANDOM); /* 16 of them */
	uint16_t random = 0;

	if (bytes)
		memcpy(&random, bytes + 6, sizeof(random));
	return APART_FIRST + random % APART_STEPS * APART_STEP;
}

void *kernel_own_mmap(size_t len, int prot, int flags, int fd, off_t offset)
{
	static _Atomic uintptr_t placed;
	size_t whole = (len + 65535) & ~(size_t)65535;
	int saved_errno = errno;

	for (unsigned i = 0; i < APART_TRIES && whole <= APART_BYTES / 2; i++) {
		uintptr_t at = apart_base() + atomic_fetch_add(&placed, whole) % (APART_BYTES / 2);
		void *addr = kernel_mmap((void *)at, len, prot, flags | MAP_FIXED_NOREPLACE, fd, offset);

		if (addr == (void *)at) {
			errno = saved_errno;
			return addr;
		}
		/* A kernel that does not know the flag. */
		if (addr != MAP_FAILED)
			kernel_munmap(addr, len);
		else if (errno != EEXIST)
			break;
	}
	return kernel_mmap(NULL, len, prot, flags, fd, offset);
}

int kernel_munmap(void *addr, size_t len)
{
	return (int)CALL(SYS_munmap, addr, len);
}

int kernel_open(const char *path, int flags, mode_t mode)
{
	return (int)CALL(SYS_openat, AT_FDCWD, path, flags, mode);
}

int kernel_close(int fd)
{
	note(fd, false);
	return (int)CALL(SYS_close, fd);
}

/* Named by the linker. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return addr ? kernel_mmap(addr, len, prot, flags, fd, offset) : kernel_own_mmap(len, prot, flags, fd, offset);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return __wrap_mmap(addr, len, prot, flags, fd, offset);
}

void *__wrap_place_map(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return kernel_mmap(addr, len, prot, flags, fd, offset);
}

/* Stacks of the engine's threads, too. They are few, and stay until the process ends. */
int __wrap_pthread_attr_setstacksize(pthread_attr_t *attr, size_t bytes)
{
	const size_t guard = 4096;
	char *stack =
	    kernel_own_mmap(guard + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	int r;

	if (stack == MAP_FAILED)
		return errno;
	(void)CALL(SYS_mprotect, stack, guard, PROT_NONE);
	r = pthread_attr_setstack(attr, stack + guard, bytes);
	if (r != 0)
		kernel_munmap(stack, guard + bytes);
	return r;
}

int __wrap_munmap(void *addr, size_t len)
{
	return kernel_munmap(addr, len);
}

void *__wrap_mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	void *to = NULL;
	va_list list;

	va_start(list, flags);
	if (flags & ~MREMAP_MAYMOVE)
		to = va_arg(list, void *);
	va_end(list);
	return (void *)CALL(SYS_mremap, addr, old_len, new_len, flags, to);
}

int __wrap_mprotect(void *addr, size_t len, int prot)
{
	return (int)CALL(SYS_mprotect, addr, len, prot);
}

int __wrap_msync(void *addr, size_t len, int flags)
{
	return (int)CALL(SYS_msync, addr, len, flags);
}

int __wrap_madvise(void *addr, size_t len, int advice)
{
	return (int)CALL(SYS_madvise, addr, len, advice);
}

/* The C library's returns the error. */
int __wrap_posix_madvise(void *addr, size_t len, int advice)
{
	if (advice == POSIX_MADV_DONTNEED)
		return 0;
	return CALL(SYS_madvise, addr, len, advice) < 0 ? errno : 0;
}

int __wrap_mincore(void *addr, size_t len, unsigned char *vec)
{
	return (int)CALL(SYS_mincore, addr, len, vec);
}

int __wrap_mlock(const void *addr, size_t len)
{
	return (int)CALL(SYS_mlock, addr, len);
}

int __wrap_mlock2(const void *addr, size_t len, unsigned flags)
{
	return (int)CALL(SYS_mlock2, addr, len, flags);
}

int __wrap_munlock(const void *addr, size_t len)
{
	return (int)CALL(SYS_munlock, addr, len);
}

int __wrap_mlockall(int flags)
{
	return (int)CALL(SYS_mlockall, flags);
}

int __wrap_munlockall(void)
{
	return (int)CALL(SYS_munlockall, 0);
}

/* ---- files ---- */

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
	return CALL(SYS_read, fd, buf, n);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	return CALL(SYS_write, fd, buf, n);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset)
{
	return CALL(SYS_pread64, fd, buf, n, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t offset)
{
	return CALL(SYS_pwrite64, fd, buf, n, offset);
}

static ssize_t vectored(long number, int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return CALL(number, fd, iov, count, offset, 0, flags);
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return vectored(SYS_preadv2, fd, iov, count, offset, flags);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return vectored(SYS_pwritev2, fd, iov, count, offset, flags);
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int count, off_t offset)
{
	return vectored(SYS_preadv, fd, iov, count, offset, 0);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
	return vectored(SYS_pwritev, fd, iov, count, offset, 0);
}

int __wrap_fsync(int fd)
{
	return (int)CALL(SYS_fsync, fd);
}

int __wrap_fdatasync(int fd)
{
	return (int)CALL(SYS_fdatasync, fd);
}

int __wrap_ftruncate64(int fd, off_t len)
{
	return (int)CALL(SYS_ftruncate, fd, len);
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
	return (int)CALL(SYS_fallocate, fd, mode, offset, len);
}

int __wrap_close(int fd)
{
	return apart ? kernel_close(fd) : locks_close(fd);
}

int __wrap_unshare(int flags)
{
	int r = (int)CALL(SYS_unshare, flags);

	apart |= r == 0 && (flags & CLONE_FILES);
	return r;
}

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list list;

	va_start(list, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(list, mode_t);
	va_end(list);
	return kernel_keep(kernel_open(path, flags, mode));
}

/* At once where it is to be, with nothing to close. */
static int duplicate(int fd, int command)
{
	int copy = (int)CALL(SYS_fcntl, fd, command, lowest());

	if (copy < 0 && errno == EINVAL)
		copy = (int)CALL(SYS_fcntl, fd, command, 0);
	note(copy, true);
	return copy;
}

int kernel_duplicate(int fd)
{
	return duplicate(fd, F_DUPFD_CLOEXEC);
}

int __wrap_dup(int fd)
{
	return duplicate(fd, F_DUPFD);
}

int __wrap_dup3(int from, int to, int flags)
{
	return (int)CALL(SYS_dup3, from, to, flags);
}

READS_ALL int __wrap_fcntl64(int fd, int command, ...)
{
	va_list list;
	long arg;

	va_start(list, command);
	arg = va_arg(list, long);
	va_end(list);
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicate(fd, command) : (int)CALL(SYS_fcntl, fd, command, arg);
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
	return kernel_keep((int)CALL(SYS_memfd_create, name, flags));
}

int __wrap_eventfd(unsigned count, int flags)
{
	return kernel_keep((int)CALL(SYS_eventfd2, count, flags));
}

int __wrap_epoll_create1(int flags)
{
	return kernel_keep((int)CALL(SYS_epoll_create1, flags));
}

int __wrap_socket(int domain, int type, int protocol)
{
	return kernel_keep((int)CALL(SYS_socket, domain, type, protocol));
}

int __wrap_socketpair(int domain, int type, int protocol, int pair[2])
{
	int r = (int)CALL(SYS_socketpair, domain, type, protocol, pair);

	for (unsigned i = 0; i < 2 && r == 0; i++)
		pair[i] = kernel_keep(pair[i]);
	return r;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return CALL(SYS_sendmsg, fd, message, flags);
}

/* Descriptors that come along are the engine's as well. */
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t r = CALL(SYS_recvmsg, fd, message, flags);

	for (struct cmsghdr *part = r < 0 ? NULL : CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		int *fds = (int *)(void *)CMSG_DATA(part);
		size_t n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++)
			fds[i] = kernel_keep(fds[i]);
	}
	return r;
}

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	int r = __real_io_uring_queue_init(entries, ring, flags);

	if (r == 0) {
		ring->ring_fd = kernel_keep(ring->ring_fd);
		ring->enter_ring_fd = ring->ring_fd;
	}
	return r;
}

void __real_io_uring_queue_exit(struct io_uring *ring);

void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	note(ring->ring_fd, false);
	__real_io_uring_queue_exit(ring);
}

static bool gives_descriptor(long number)
{
	return number == SYS_userfaultfd || number == SYS_openat || number == SYS_fsopen || number == SYS_fsmount;
}

READS_ALL long __wrap_syscall(long number, ...)
{
	long arg[6];
	va_list list;
	long r;

	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_close)
		return __wrap_close((int)arg[0]);
	r = kernel_call(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	return gives_descriptor(number) ? kernel_keep((int)r) : r;
}

READS_ALL int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const unsigned long new_userfaultfd = 0xaa00; /* of /dev/userfaultfd: USERFAULTFD_IOC_NEW */
	va_list list;
	long arg, r;

	va_start(list, request);
	arg = va_arg(list, long);
	va_end(list);
	r = CALL(SYS_ioctl, fd, request, arg);
	return request == new_userfaultfd ? kernel_keep((int)r) : (int)r;
}

/* ---- signals: the C library's, since the kernel wants a way back from it ---- */

int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	return NEXT(sigaction)(number, action, ret_old);
}

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return NEXT(pthread_sigmask)(how, set, ret_old);
}
