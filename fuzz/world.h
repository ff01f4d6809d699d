/* SPDX-License-Identifier: MIT */
/*
 * world.h - two sides with the same ground: the kernel's calls on one, Quire's on the other
 */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <sys/types.h>

#include "call.h"

enum { KERNEL, QUIRE, SIDES };

struct answer {
	int64_t value; /* -1 with err; addresses are relative to the window, or ELSEWHERE */
	int err;
};
#define ELSEWHERE INT64_MAX

/* What a page of the window is, as far as both sides can tell. */
struct page_state {
	char how[5]; /* «rw-s»; empty: nothing is mapped */
	bool file;
	uint64_t offset; /* of a file */
};

struct state {
	struct page_state page[WINDOW_PAGES];
	off_t size[FD_KINDS];
	/* Of Quire's side only. */
	int locked[WINDOW_PAGES], mapping[WINDOW_PAGES]; /* the number of the mapping */
	int answer[WINDOW_PAGES];                        /* 0, or the signal of a load */
	uint64_t sum[WINDOW_PAGES];                      /* of the bytes */
	uint64_t areas, locked_bytes, budget_bytes;
};

struct side {
	unsigned char *window;
	int fd[FD_KINDS];
	bool resized; /* a file may not be as it was made */
	void *elsewhere;
	size_t elsewhere_len;
};

struct world {
	struct side sides[SIDES];
	struct state before, after, kernel_before, kernel_after;
};

/* => false: said on standard error */
bool world_open(struct world *w, const char *directory, size_t memory_bytes);

/* Lays a ground of mappings of all kinds, the same on both sides. => false: said */
bool world_lay(struct world *w, struct rng *r);
/* Removes what is left of it. => false: said */
bool world_clear(struct world *w);

/* Makes the call on a side. */
void world_call(struct world *w, int side, const struct call *call, struct answer *ret);

/* Unmaps what the last call has put outside of the window. */
void world_forget_elsewhere(struct world *w, int side);

void world_note(struct world *w, struct state *ret);        /* Quire's side */
void world_note_kernel(struct world *w, struct state *ret); /* what there is of it in /proc/self/maps */

/* What differs between two states of Quire's, as a sentence; false: nothing. */
bool world_differs(const struct state *a, const struct state *b, char *ret, size_t size);
/* The same of what both sides can tell. */
bool world_sides_differ(const struct state *kernel, const struct state *quire, char *ret, size_t size);

#endif
