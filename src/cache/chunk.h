/* SPDX-License-Identifier: MIT */
/*
 * chunk.h - the words of 512 adjacent pages, and what is kept once for all of them
 *
 * The unit in which pages are found (a leaf of the object's table), swept by the policy, unmapped and harvested: one system call
 * and one flush of the processors' translations then serve many pages. On most machines it spans 2 MiB, as a huge page does.
 */
#ifndef QUIRE_CACHE_CHUNK_H
#define QUIRE_CACHE_CHUNK_H

#include "cache/page.h"

#define CHUNK_PAGES 512
#define CHUNK_SHIFT 9

struct object;

/* In which epoch each page was stored to last; see object/epoch.c. */
struct stamps {
	struct lock lock;
	uint64_t base;             /* [lock] */
	uint8_t page[CHUNK_PAGES]; /* [lock] epochs above base; 0: none */
};

/* How many OUT words refer to each page of the swap object beside the first. */
struct shares {
	_Atomic uint16_t more[CHUNK_PAGES];
};

/* Where the policy has a chunk. */
enum chunk_queue {
	CHUNK_NOWHERE,
	CHUNK_ACTIVE,
	CHUNK_IDLE,
	CHUNK_TAKEN, /* in a sweeper's hands */
};

/* What its frames are, beside of a page each; see object/collapse.c. */
enum chunk_frames {
	CHUNK_CANDIDATE = 1, /* all of them were there and mapped when they were last looked at */
	CHUNK_LARGE = 2,     /* some may be parts of one that is larger than a page */
	CHUNK_HUGE =
	    4, /* one of the size of the chunk, and there may be entries of that size, or that are not protected. LARGE, too */
};

/*
 * (q) the queue lock of the cache. (p) set before the chunk is published, then constant. (a) atomic.
 */
struct chunk {
	struct object *object;         /* (p) */
	uint64_t first;                /* (p) index of page[0] in the object */
	struct chunk *next, *previous; /* (q) */
	uint8_t queue;                 /* (q) enum chunk_queue */
	_Atomic uint8_t frames;        /* (a) of enum chunk_frames; to and from HUGE, and to LARGE, by who has all words busy */
	uint16_t idle_count;           /* (q) what it adds to the cache's idle_pages */
	_Atomic uint32_t resident;     /* (a) pages with a frame */
	_Atomic uint32_t unsaved;      /* (a) pages with DIRTY, plus CHUNK_WRITING for each with WRITING: never less */
	_Atomic uint32_t dirty_since;  /* (a) the engine's clock in ms when the first of them became so; 0: none */
	_Atomic uint32_t extent;       /* (a) private pages: their extent of the swap object, plus one; 0: none.
					 *     Swap object: twice the OUT words that refer here, plus one while a chunk has it */
	union {
		struct stamps *_Atomic stamps; /* (a) NULL: nobody has asked what was stored to, or nothing was. Published once */
		struct shares *_Atomic shares; /* (a) swap object: NULL: no page has more than one. Published once */
	};
	page_word page[CHUNK_PAGES];
};

_Static_assert(sizeof(struct chunk) <= CHUNK_PAGES * 4 + 64, "at most 8 bytes of metadata a page, of which the words are 4");

#define CHUNK_WRITING 0x10000u

static inline bool chunk_is_huge(const struct chunk *chunk)
{
	return atomic_load(&chunk->frames) & CHUNK_HUGE;
}

static inline bool chunk_is_large(const struct chunk *chunk)
{
	return atomic_load(&chunk->frames) & CHUNK_LARGE;
}

/* Pages with DIRTY, about; not fewer. */
static inline unsigned chunk_dirty(struct chunk *chunk)
{
	return atomic_load(&chunk->unsaved) % CHUNK_WRITING;
}

/* A set of the pages of one chunk. */
struct chunk_set {
	uint64_t bits[CHUNK_PAGES / 64];
};

static inline void chunk_set_add(struct chunk_set *set, unsigned i)
{
	set->bits[i / 64] |= 1ull << (i % 64);
}

static inline void chunk_set_remove(struct chunk_set *set, unsigned i)
{
	set->bits[i / 64] &= ~(1ull << (i % 64));
}

static inline bool chunk_set_has(const struct chunk_set *set, unsigned i)
{
	return set->bits[i / 64] >> (i % 64) & 1;
}

/* The first member at or after i, CHUNK_PAGES when there is none. */
static inline unsigned chunk_set_next(const struct chunk_set *set, unsigned i)
{
	for (unsigned w = i / 64; w < CHUNK_PAGES / 64; w++) {
		uint64_t bits = set->bits[w];

		if (w == i / 64)
			bits &= ~0ull << (i % 64);
		if (bits)
			return w * 64 + (unsigned)__builtin_ctzll(bits);
	}
	return CHUNK_PAGES;
}

/* The end of the run of members that begins at i. */
static inline unsigned chunk_set_run(const struct chunk_set *set, unsigned i)
{
	while (i < CHUNK_PAGES && chunk_set_has(set, i))
		i++;
	return i;
}

#endif
