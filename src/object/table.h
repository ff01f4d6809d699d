/* SPDX-License-Identifier: MIT */
/*
 * table.h - finds the chunk of a page: a radix tree of chunks, grown at the first touch, read without a lock
 *
 * Nodes and chunks are made while faults are resolved, so they come from the arena; none is freed before table_done. Nothing is
 * stored for a page whose chunk was never touched.
 */
#ifndef QUIRE_OBJECT_TABLE_H
#define QUIRE_OBJECT_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "cache/chunk.h"
#include "util/arena.h"

#define TABLE_SHIFT 6 /* 64 children a node: half a kilobyte for a first touch far from all others */
#define TABLE_FAN   (1u << TABLE_SHIFT)

struct table {
	/* A node or chunk with the height of the tree (0: a chunk) in its low bits, which alignment leaves free. Only grows. */
	_Atomic uintptr_t root;
};

/* The chunk of a page, or NULL when no page of it was touched. Any context. */
struct chunk *table_find(const struct table *table, uint64_t page);

/* As table_find, but makes it. NULL: no memory. */
struct chunk *table_get(struct table *table, struct arena *arena, struct object *object, uint64_t page);

/*
 * The first chunk whose pages end after page, in order of pages; NULL: none. Chunks made meanwhile may be missed.
 */
struct chunk *table_next(const struct table *table, uint64_t page);

/*
 * Marks the chunk of a page, which is there; takes the mark away; the first marked one, or perhaps one that is not.
 * => One thread at a time takes marks away. Who does so because of something that may come back looks again afterwards.
 */
void table_mark(struct table *table, uint64_t page);
void table_unmark(struct table *table, uint64_t page);
struct chunk *table_next_marked(const struct table *table, uint64_t page);

/* Frees nodes and chunks, and what is kept beside each, of so many bytes. Nobody uses the table any more. */
void table_done(struct table *table, struct arena *arena, size_t beside);

#endif
