/* SPDX-License-Identifier: MIT */
/*
 * side.h - one of the two that run a program in step: a table of calls, a window, files of its own
 */
#ifndef ORACLE_SIDE_H
#define ORACLE_SIDE_H

#include <sys/types.h>

#include "guard.h"
#include "program.h"

struct calls {
	const char *name;
	/* A call that fails may have done part of its work, as Linux documents it: rule 1 repairs. */
	bool partial;
	void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*munmap)(void *addr, size_t len);
	void *(*mremap)(void *addr, size_t old_len, size_t new_len, int flags, ...);
	int (*mprotect)(void *addr, size_t len, int prot);
	int (*msync)(void *addr, size_t len, int flags);
	int (*madvise)(void *addr, size_t len, int advice);
	int (*posix_madvise)(void *addr, size_t len, int advice);
	int (*mincore)(void *addr, size_t len, unsigned char *vec);
	int (*mlock)(const void *addr, size_t len);
	int (*mlock2)(const void *addr, size_t len, unsigned flags);
	int (*munlock)(const void *addr, size_t len);
	int (*minherit)(void *addr, size_t len, int inherit);
	int (*munlockall)(void); /* NULL: page by page. The kernel's is for the whole process. */
	int (*ftruncate)(int fd, off_t size);
	const char *(*errormsg)(void);
	/* Waits until the side serves no more than so many children of this process. NULL: it serves none. */
	void (*settle)(int children);
	/* Asked after each program whether the side's own promises hold. NULL: none. => false: said in message */
	bool (*check)(char *message, size_t size);
};

extern const struct calls calls_kernel;

/* Results that are addresses are relative to the window. Outside of it they are all the same. */
#define ELSEWHERE INT64_MAX

struct result {
	bool skipped;
	int64_t ret;
	int err;
	struct trap trap; /* of loads and stores; addr is relative */
	uint64_t loaded;  /* the first bytes of a load, for the log; of mincore, a bit for each page */
};

struct side {
	const struct calls *calls;
	unsigned char *window;
	int file[FILES]; /* the harness's own descriptors */
	int fd[FD_KINDS];
	void *elsewhere; /* the last address outside the window */
	uint64_t *page;  /* the last load */
	struct pressure *pressure;
};

/*
 * Makes the window and the files, unlinked, in the directory.
 * => false: said on standard error
 */
bool side_open(struct side *s, const struct calls *calls, const char *directory);
void side_close(struct side *s);

/* Fresh files of these sizes; nothing may be mapped. */
bool side_reset(struct side *s, const struct program *p);

/* Runs one operation. op has passed rules_safe(). */
void side_run(struct side *s, const struct op *op, struct result *ret);

/* Loads n bytes at a place into s->page. */
bool side_load(struct side *s, const unsigned char *at, size_t n, struct result *ret);

static inline unsigned char *side_address(const struct side *s, int64_t addr)
{
	return addr == NOWHERE ? NULL : s->window + addr;
}

/*
 * Pressure: memory outside the window, larger than the budget, of which random pages are touched. It holds numbers of its own,
 * which are verified.
 */
struct pressure *pressure_new(const struct calls *calls, const char *directory, size_t bytes);
void pressure_free(struct pressure *p);

/* => false: a number is not what was stored; said in message */
bool pressure_touch(struct pressure *p, uint64_t seed, int64_t touches, char *message, size_t size);

/* Opens an unlinked file in the directory; -1 said on standard error. */
int open_unlinked(const char *directory);

#endif
