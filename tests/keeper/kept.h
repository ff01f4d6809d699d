/* SPDX-License-Identifier: MIT */
/*
 * kept.h - what the worker tells of its stores, in memory that outlives it
 */
#ifndef QUIRE_TESTS_KEPT_H
#define QUIRE_TESTS_KEPT_H

#include <stdatomic.h>
#include <stdint.h>

#define PAGE       4096
#define FILES      3
#define PAGES      2048 /* of each */
#define WRITERS    6    /* of which each has a slot of its own in every page */
#define SLOT(w)    (64 + (w)*8)
#define CUT_PAGES  512
#define SLOT_LOW   8 /* of the file that is cut: two slots a page, and cuts between them */
#define SLOT_HIGH  4000
#define CUT_INSIDE 2048

/* A slot: intent is set before the store, done after it. */
struct slot {
	_Atomic uint32_t intent, done;
};

enum cutting { CUT_STORE, CUT_SIZE };

/* One thread works on the file that is cut, one step after another. */
struct cut_log {
	_Atomic uint64_t size;                /* when no step is under way */
	_Atomic uint64_t next_size;           /* another: a change of it is under way */
	_Atomic uint32_t value[CUT_PAGES][2]; /* what is in the file; past the size: what comes when it grows, zeros */
	_Atomic uint32_t page, high, store;   /* under way: a store of this value; 0: none */
};

struct log {
	_Atomic uint32_t ready;    /* all threads are at work */
	_Atomic uint32_t children; /* stores that children have made */
	_Atomic uint32_t end;      /* how the worker ends by itself: a signal; 0: it is killed; 255: _exit */
	_Atomic uint64_t end_at_us;
	struct slot slot[FILES][PAGES][WRITERS];
	struct cut_log cut;
};

static inline unsigned char pattern(unsigned file, unsigned page, unsigned i)
{
	return (unsigned char)(file * 31 + page * 7 + i);
}

int worker_main(int log_fd, const char *dir, uint64_t seed);

#endif
