/* SPDX-License-Identifier: MIT */
/*
 * support.h - what the conformance tests share: temporary files, guarded access, pressure, counters
 *
 * Each test proves one behaviour and is named after the row of the specification that promises it. The kernel is the oracle:
 * compiled with -DKERNEL_ORACLE the calls become the kernel's, and every test must pass against it too. Left out there are the
 * tests of what only the engine has (counters, budget, swap, messages) and those of the differences that
 * docs/compatibility.md lists.
 */
#ifndef QUIRE_CONFORMANCE_SUPPORT_H
#define QUIRE_CONFORMANCE_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include <quire/quire.h>

#ifdef KERNEL_ORACLE
#define quire_mmap          mmap
#define quire_munmap        munmap
#define quire_mremap        mremap
#define quire_mprotect      mprotect
#define quire_msync         msync
#define quire_madvise       madvise
#define quire_posix_madvise posix_madvise
#define quire_mincore       mincore
#define quire_ftruncate     ftruncate
#define quire_pagesize()    ((size_t)sysconf(_SC_PAGESIZE))
/* Not by way of a sanitizer, which makes these do nothing. */
#define quire_mlock(addr, len)         (int)syscall(SYS_mlock, addr, len)
#define quire_mlock2(addr, len, flags) (int)syscall(SYS_mlock2, addr, len, flags)
#define quire_munlock(addr, len)       (int)syscall(SYS_munlock, addr, len)
#define quire_mlockall(flags)          (int)syscall(SYS_mlockall, flags)
#define quire_munlockall()             (int)syscall(SYS_munlockall)
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

/* Known to kernels that are newer than the headers of Debian 12. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define RW       (PROT_READ | PROT_WRITE)
#define ANON     (-1)
#define PAGES(n) ((size_t)(n)*page_size)

extern size_t page_size;

/* ---- the program ---- */

struct conformance_test {
	const char *name;
	void (*function)(void **state);
	const char *own_process; /* not NULL: run in a process of its own, with this NAME=VALUE in its environment ("": nothing) */
	bool before_start;       /* nothing was mapped yet */
};

/* clang-format off */
#define TEST(f)                      {#f, f, NULL, false}
#define TEST_IN_OWN_PROCESS(f, with) {#f, f, with, false}
#define TEST_BEFORE_START(f, with)   {#f, f, with, true}
/* clang-format on */

/*
 * Waits until nothing is left of what was unmapped, which daemons and readahead that nobody waited for may have in hand: so that it
 * does not show in the counters of what comes next. Called before each test.
 */
void settle(void);

/* Runs the tests, or the one that the first argument names; what main() returns. */
int conformance_main(int argc, char **argv, const struct conformance_test *tests, size_t n);
#define CONFORMANCE_MAIN(tests)                                                                                                    \
	int main(int argc, char **argv)                                                                                            \
	{                                                                                                                          \
		return conformance_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));                                      \
	}

/* Leaves the test, and says why on standard error. */
_Noreturn void skip_because(const char *why);

/* ---- guarded access ---- */

struct fault {
	int signo;
	int code;
	void *addr;
};

/* The last SIGSEGV or SIGBUS of a guarded access, which answers -signo. Any other one fails the test. */
extern struct fault last_fault;

int load(const void *addr);
int store(void *addr, int value);
/* Jumps there. What is there returns at once, or is not executed. */
int execute(const void *addr);
/* Loads eight bytes by one instruction, wherever they lie. */
int load_word(const void *addr);

#define assert_loads(addr, value)            assert_int_equal(load(addr), value)
#define assert_stores(addr, value)           assert_int_equal(store(addr, value), 0)
#define assert_load_raises(addr, sig, code)  check_raised(load(addr), addr, sig, code, __FILE__, __LINE__)
#define assert_store_raises(addr, sig, code) check_raised(store(addr, 1), addr, sig, code, __FILE__, __LINE__)
#define assert_unmapped(addr)                assert_load_raises(addr, SIGSEGV, SEGV_MAPERR)
#define assert_past_the_end(addr)            assert_load_raises(addr, SIGBUS, BUS_ADRERR)
#define assert_filled(addr, len, value)      check_bytes(addr, len, -1, value, __FILE__, __LINE__)
#define assert_zeros(addr, len)              check_bytes(addr, len, -1, 0, __FILE__, __LINE__)
#define assert_pattern(addr, len, pos)       check_bytes(addr, len, (off_t)(pos), 0, __FILE__, __LINE__)
void check_raised(int answer, const void *addr, int sig, int code, const char *file, int line);
void check_bytes(const void *addr, size_t len, off_t pos, int value, const char *file, int line);

/* ---- calls ---- */

#define assert_ok(call)           check_call((intptr_t)(call), 0, #call, __FILE__, __LINE__)
#define assert_fails(call, error) (errno = 0, check_call((intptr_t)(call), error, #call, __FILE__, __LINE__))
void check_call(intptr_t answer, int error, const char *call, const char *file, int line);

/* quire_mmap() that must succeed. */
#define map(addr, len, prot, flags, fd, offset) map_or_fail(addr, len, prot, flags, fd, offset, __FILE__, __LINE__)
#define map_shared(fd, n)                       map(NULL, PAGES(n), RW, MAP_SHARED, fd, 0)
#define map_private(fd, n)                      map(NULL, PAGES(n), RW, MAP_PRIVATE, fd, 0)
#define map_anonymous(n)                        map(NULL, PAGES(n), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0)
#define unmap(addr, n)                          assert_ok(quire_munmap(addr, PAGES(n)))
char *map_or_fail(void *addr, size_t len, int prot, int flags, int fd, off_t offset, const char *file, int line);

/* An address with nothing mapped for gigabytes around it, and where nothing is put that does not ask for it. */
char *quiet(void);

/* How many pages of the range quire_mincore() calls resident. */
size_t resident_pages(void *addr, size_t n);

/* ---- files ---- */

/* The byte that a new file has at pos. Never 0. */
unsigned char pattern(off_t pos);

/* A file of size bytes of the pattern, without a name, open for reading and writing; closed after the test if it still is. */
int file_new(size_t size);
/* The same with a name, which is put into ret_path; removed after the test. */
#define FILE_PATH_MAX 256
int file_named(size_t size, char ret_path[FILE_PATH_MAX]);
/* Another descriptor of the same file. */
int file_reopen(int fd, int oflags);
/* Closes it now. */
void file_close(int fd);
off_t file_size(int fd);
/* The byte at pos as read(2) sees it, -1 past the end. */
int file_byte(int fd, off_t pos);
/*
 * Stores to every other one of 512 pages, which may be parts of one frame, pages single ones between them out, and looks for the stores in memory and, when
 * they have been written, in the file, where the pages begin at offset.
 */
void assert_stores_survive_page_out(char *p, int fd, off_t offset);

/* Mounts an empty tmpfs, seen by this process only, with these options; leaves the test as skipped where that is not allowed. */
void mount_or_skip(const char *options, char ret_dir[FILE_PATH_MAX]);
/* A file of n unwritten pages on a disk without any space left; ftruncate(*ret_filler, 0) frees enough of it. */
int file_on_full_disk(size_t n, int *ret_filler);

/* Until the test ends this process may lock so many bytes, whatever its privileges are. */
void limit_locked_memory(size_t bytes);

/* ---- the engine ---- */

/* Touches more memory than the budget until none of the n pages at addr is resident. The kernel: nothing. */
void evict(void *addr, size_t n);
/* Touches more memory than the budget, a few times. */
void pressure(void);

#ifndef KERNEL_ORACLE
struct quire_stats stats(void);
struct quire_area_stats area_stats(const void *addr);
/* What field of the statistics has grown by since. */
#define grown(since, field) (stats().field - (since).field)

/* The sentence starts with the call's name and contains the word; or it contains the number, in decimal or in hexadecimal. */
#define assert_message(call, word)         check_message(call, word, __FILE__, __LINE__)
#define assert_message_number(call, value) check_message_number(call, (uint64_t)(value), __FILE__, __LINE__)
void check_message(const char *call, const char *word, const char *file, int line);
void check_message_number(const char *call, uint64_t value, const char *file, int line);
#endif

#endif
