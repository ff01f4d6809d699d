/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - userfaultfd: what the kernel is asked to catch, and how pages are put in place
 *
 * Every function returns 0 or -errno and is async-signal-safe. Ranges are whole pages. Sizes are in bytes. Whoever sleeps on a
 * page sleeps on until uffd_wake: the caller's own account of the page comes first.
 */
#ifndef QUIRE_SYS_UFFD_H
#define QUIRE_SYS_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What Debian 12's headers do not know yet, each with the kernel that has it. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define QUIRE_UFFD_WP_SHMEM (1ull << 12) /* 5.19: write protection of shmem */
#define QUIRE_UFFD_WP_UNPOPULATED                                                                                                  \
	(1ull << 13)                     /* 6.4, as UFFDIO_CONTINUE with write protection, which cannot be asked for by itself */
#define QUIRE_UFFD_POISON   (1ull << 14) /* 6.6: UFFDIO_POISON */
#define QUIRE_UFFD_WP_ASYNC (1ull << 15) /* 6.7: the kernel lifts write protection itself and remembers */

/* How the descriptor was come by decides whether faults inside system calls can be served. */
enum uffd_source {
	UFFD_NONE,
	UFFD_SYSCALL,   /* userfaultfd(2), all faults */
	UFFD_DEVICE,    /* /dev/userfaultfd, all faults */
	UFFD_USER_ONLY, /* userfaultfd(2) with UFFD_USER_MODE_ONLY: faults inside system calls fail with EFAULT */
};

struct identity;

struct uffd_event {
	uintptr_t addr; /* start of the page */
	bool write;
};

/* What the kernel offers for one source, asked of a throw-away descriptor. */
int uffd_probe(enum uffd_source source, uint64_t *ret_features);

/* What no trap can do without. */
#define QUIRE_UFFD_NEEDED (UFFD_FEATURE_MINOR_SHMEM | QUIRE_UFFD_WP_SHMEM | QUIRE_UFFD_WP_UNPOPULATED | UFFD_FEATURE_SIGBUS)

/* The first source that is granted. user_only: do not try the privileged ones. */
enum uffd_source uffd_find(bool user_only);

/* sigbus: faults raise SIGBUS on the faulting thread instead of a message. Non-blocking, close-on-exec. */
int uffd_open(enum uffd_source source, bool sigbus, bool wp_async, int *ret_fd);

/* track: write protection; minor: frames that are there but not mapped (shmem only). Missing pages are always caught. */
int uffd_register(int fd, void *addr, size_t len, bool minor, bool track);

/* Nothing is caught there any more, and no page is write-protected. */
int uffd_unregister(int fd, void *addr, size_t len);

/*
 * Maps pages whose frames are in the memfd behind the range. protect: write-protected. Pages already mapped are fine.
 * => -ENOENT the range is not registered any more; -EFAULT there is a hole in the memfd.
 */
int uffd_continue(int fd, void *addr, size_t len, bool protect);

/* Likewise, up to the first that is mapped, or to where the kernel is interrupted. */
int uffd_continue_some(int fd, void *addr, size_t len, bool protect);

/*
 * Installs pages with the bytes at source: private ones, or fresh frames of the memfd behind a shared mapping.
 * => protect: write-protected.
 * => -EEXIST there is a page; -ENOENT not registered.
 */
int uffd_copy(int fd, void *addr, const void *source, size_t len, bool protect);

int uffd_protect(int fd, void *addr, size_t len);
int uffd_unprotect(int fd, void *addr, size_t len);
int uffd_wake(int fd, void *addr, size_t len);
/* The next touch raises SIGBUS. A page that is there stays. */
int uffd_poison(int fd, void *addr, size_t len);

/* Whether it is one at all, as /proc has it. */
bool uffd_is(int fd);

/*
 * Up to max events; number read, 0: none now, or -errno. -EBADF: the descriptor is closed, and nothing was read from what has its number.
 * identity NULL: that has just been looked at, of it or of another that goes with it.
 */
int uffd_read(int fd, const struct identity *identity, struct uffd_event *ret, int max);

#endif
