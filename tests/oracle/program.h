/* SPDX-License-Identifier: MIT */
/*
 * program.h - a program of the model test: a list of memory operations over a small universe
 *
 * The universe has, on each side, a window of WINDOW_PAGES pages of address space, FILES files and descriptors of them. Every
 * address in a program is relative to the start of the window, so that a program means the same on both sides.
 *
 * A program may fork. Process 0 is the one that the program starts in; the others are made by FORK, each number once, by any process
 * that lives, and each has both windows. Each operation is done in one of them, one operation at a time.
 */
#ifndef ORACLE_PROGRAM_H
#define ORACLE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

enum {
	WINDOW_PAGES = 64,
	FILES = 3,
	FILE_PAGES_MAX = 24, /* no operation makes a file longer */
	PROGRAM_OPS_MAX = 512,
	PROCESSES = 6,
	LIVING_MAX = 4, /* processes at one time */
};

enum op_kind {
	OP_MMAP,
	OP_MUNMAP,
	OP_MPROTECT,
	OP_MREMAP,
	OP_LOAD,
	OP_STORE,
	OP_MSYNC,
	OP_MADVISE,
	OP_POSIX_MADVISE,
	OP_MLOCK,
	OP_MUNLOCK,
	OP_MINCORE,
	OP_TRUNCATE, /* the side's own ftruncate, mapped or not */
	OP_REOPEN,   /* close a descriptor and open it anew */
	OP_WRITE,    /* write(2) to a file that nobody maps */
	OP_CUT,      /* ftruncate(2) of a file that nobody maps */
	OP_FOREIGN,  /* a mapping of the kernel's own, on both sides, over whatever is there */
	OP_UNLOCK_ALL,
	OP_PRESSURE, /* touch memory outside the window, so that pages of the window are paged out */
	OP_FORK,
	OP_EXIT, /* the process ends */
	OP_MINHERIT,
	OP_KINDS,
};

/* Descriptors: 3 * file + mode, then the odd ones. */
enum fd_mode { FD_RW, FD_RO, FD_WO, FD_MODES };
enum fd_odd { FD_NONE = FILES * FD_MODES, FD_CLOSED, FD_DIR, FD_PIPE, FD_ZERO, FD_KINDS };

/* The words of FreeBSD's minherit, with its numbers. */
enum inherit_word { WORD_SHARE, WORD_COPY, WORD_NONE, WORD_ZERO, WORDS_OF_INHERIT };

/* How a process ends: that way, or as another program. */
enum exit_way { EXIT_EXIT, EXIT_KILL, EXIT_EXEC, EXIT_WAYS };

/* The NULL of a relative address. */
#define NOWHERE INT64_MIN

/* One size of integer for all, so that printing and parsing go by table. Which fields mean something depends on the kind. */
struct op {
	int64_t kind;
	int64_t in;          /* the process that does it */
	int64_t addr, len;   /* bytes, relative to the window */
	int64_t to, new_len; /* mremap */
	int64_t prot, flags;
	int64_t fd, offset; /* mmap; fd also of truncate and reopen */
	int64_t advice;
	int64_t file;  /* write, cut */
	int64_t value; /* what is stored; the seed of pressure; exit: whether the engine is waited for */
	int64_t size;  /* load, store: bytes; truncate, cut: the new size; pressure: touches */
	int64_t child; /* fork: the number of the new process */
	int64_t how;   /* exit: enum exit_way; minherit: enum inherit_word */
};

struct program {
	uint64_t seed;
	int64_t number;
	int64_t file_bytes[FILES];
	size_t op_count;
	struct op ops[PROGRAM_OPS_MAX];
};

static inline int64_t page_bytes(void)
{
	static int64_t bytes;

	if (bytes == 0)
		bytes = sysconf(_SC_PAGESIZE);
	return bytes;
}

/* Whole pages that hold the bytes; a negative (absurdly large) length stays negative. */
static inline int64_t pages_of(int64_t bytes)
{
	return bytes < 0 ? -1 : bytes / page_bytes() + (bytes % page_bytes() != 0);
}

/* Makes program number of this seed, of at most ops_max operations; one that forks, if so asked. */
void program_generate(struct program *p, uint64_t seed, int64_t number, size_t ops_max, bool forks);

/* The text form, one operation a line. */
void op_print(const struct op *op, FILE *out);
void program_print(const struct program *p, FILE *out);

/*
 * Reads the next program of a file.
 * => 1 read, 0 no more, -1 not understood: said on standard error with the line's number.
 */
int program_parse(struct program *ret, FILE *in, int *line);

#endif
