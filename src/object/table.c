/* SPDX-License-Identifier: MIT */
/*
 * table.c - finds the chunk of a page: a radix tree of chunks
 *
 * A tree of height h covers the chunks 0 … TABLE_FAN^h - 1; of height 0 it is chunk 0 itself. To reach further, a new root is
 * put on top, whose first child is the old one: a reader that still holds the old root sees a right, smaller tree.
 *
 * A node has a bit for each child below which a chunk is marked. Marks are set from the chunk upwards and taken away likewise; who takes
 * one away above a node that has none left looks at the node again afterwards. So whenever table_mark has returned, the way down to the
 * chunk is marked.
 */
#include <stdbool.h>
#include <stddef.h>

#include "object/table.h"
#include "util/assert.h"

struct node {
	_Atomic uint64_t marks;
	_Atomic uintptr_t child[TABLE_FAN]; /* of the same form as the root; 0: none */
};

#define HEIGHT_MASK ((uintptr_t)15) /* blocks of the arena are aligned to 64 */

static unsigned height_of(uintptr_t tagged)
{
	return (unsigned)(tagged & HEIGHT_MASK);
}

static void *pointer_of(uintptr_t tagged)
{
	return (void *)(tagged & ~HEIGHT_MASK);
}

/* Whether a tree of this height has room for the chunk. */
static bool covers(unsigned height, uint64_t chunk)
{
	return height * TABLE_SHIFT >= 64 || chunk >> (height * TABLE_SHIFT) == 0;
}

static unsigned child_index(unsigned height, uint64_t chunk)
{
	return (unsigned)(chunk >> ((height - 1) * TABLE_SHIFT)) & (TABLE_FAN - 1);
}

struct chunk *table_find(const struct table *table, uint64_t page)
{
	uint64_t chunk = page >> CHUNK_SHIFT;
	uintptr_t at = atomic_load_explicit(&table->root, memory_order_acquire);

	if (!covers(height_of(at), chunk))
		return NULL;
	while (at && height_of(at) > 0) {
		struct node *node = pointer_of(at);

		at = atomic_load_explicit(&node->child[child_index(height_of(at), chunk)], memory_order_acquire);
	}
	return pointer_of(at);
}

static struct chunk *chunk_new(struct arena *arena, struct object *object, uint64_t chunk)
{
	struct chunk *new = arena_alloc(arena, sizeof(*new));

	if (new) {
		new->object = object;
		new->first = chunk << CHUNK_SHIFT;
	}
	return new;
}

/* Makes what belongs into an empty slot: a chunk at height 0, a node above. The slot's value after, whoever won; 0: no memory. */
static uintptr_t fill(_Atomic uintptr_t *slot, unsigned height, struct arena *arena, struct object *object, uint64_t chunk)
{
	void *block = height == 0 ? (void *)chunk_new(arena, object, chunk) : arena_alloc(arena, sizeof(struct node));
	uintptr_t seen = 0, tagged = (uintptr_t)block | height;

	if (!block)
		return 0;
	if (atomic_compare_exchange_strong_explicit(slot, &seen, tagged, memory_order_acq_rel, memory_order_acquire))
		return tagged;
	arena_free(arena, block, height == 0 ? sizeof(struct chunk) : sizeof(struct node));
	return seen;
}

/* Puts roots on top until the chunk is covered. The root; 0: no memory. */
static uintptr_t grow(struct table *table, struct arena *arena, uint64_t chunk)
{
	uintptr_t root = atomic_load_explicit(&table->root, memory_order_acquire);

	while (root == 0 || !covers(height_of(root), chunk)) {
		struct node *node;
		unsigned height = root ? height_of(root) + 1 : 0;

		/* The very first chunk is not at 0, as a rule: start as high as it needs. */
		while (root == 0 && !covers(height, chunk))
			height++;
		ASSERT(height > 0);
		node = arena_alloc(arena, sizeof(*node));
		if (!node)
			return 0;
		atomic_init(&node->child[0], root);
		atomic_init(&node->marks, root != 0); /* what is marked below is looked up when it is looked for */
		if (atomic_compare_exchange_strong_explicit(&table->root, &root, (uintptr_t)node | height, memory_order_acq_rel,
							    memory_order_acquire))
			root = (uintptr_t)node | height;
		else
			arena_free(arena, node, sizeof(*node));
	}
	return root;
}

struct chunk *table_get(struct table *table, struct arena *arena, struct object *object, uint64_t page)
{
	uint64_t chunk = page >> CHUNK_SHIFT;
	struct chunk *found = table_find(table, page);
	uintptr_t at;

	if (found)
		return found;
	if (chunk == 0 && atomic_load(&table->root) == 0)
		at = fill(&table->root, 0, arena, object, 0);
	else
		at = grow(table, arena, chunk);
	while (at && height_of(at) > 0) {
		_Atomic uintptr_t *slot = &((struct node *)pointer_of(at))->child[child_index(height_of(at), chunk)];
		unsigned below = height_of(at) - 1;

		at = atomic_load_explicit(slot, memory_order_acquire);
		if (!at)
			at = fill(slot, below, arena, object, chunk);
	}
	found = pointer_of(at);
	INVARIANT(!found || found->first == chunk << CHUNK_SHIFT);
	return found;
}

/* The first chunk at or after number chunk below a slot that covers numbers from base on; marked: among those that are. */
static struct chunk *next_below(uintptr_t at, uint64_t base, uint64_t chunk, bool marked)
{
	unsigned height = height_of(at);
	struct node *node = pointer_of(at);
	unsigned i = 0;

	if (!at)
		return NULL;
	if (height == 0)
		return base >= chunk ? pointer_of(at) : NULL;
	if (chunk > base)
		i = covers(height, chunk - base) ? child_index(height, chunk - base) : TABLE_FAN;
	for (; i < TABLE_FAN; i++) {
		uint64_t first = base + ((uint64_t)i << ((height - 1) * TABLE_SHIFT));
		uintptr_t below;
		struct chunk *found;

		if (marked && !(atomic_load(&node->marks) >> i))
			return NULL;
		if (marked && !(atomic_load(&node->marks) >> i & 1))
			continue;
		below = atomic_load_explicit(&node->child[i], memory_order_acquire);
		found = below ? next_below(below, first, chunk, marked) : NULL;
		if (found)
			return found;
	}
	return NULL;
}

struct chunk *table_next(const struct table *table, uint64_t page)
{
	return next_below(atomic_load_explicit(&table->root, memory_order_acquire), 0, page >> CHUNK_SHIFT, false);
}

/* ---- marks ---- */

/* The way from a root to a chunk, and the bit of each node on it. */
struct path {
	struct {
		struct node *node;
		uint64_t bit;
	} step[64 / TABLE_SHIFT + 1];
	unsigned n;
};

static void path_find(uintptr_t at, uint64_t chunk, struct path *ret)
{
	ret->n = 0;
	while (height_of(at) > 0) {
		struct node *node = pointer_of(at);
		unsigned i = child_index(height_of(at), chunk);

		ret->step[ret->n].node = node;
		ret->step[ret->n++].bit = 1ull << i;
		at = atomic_load_explicit(&node->child[i], memory_order_acquire);
	}
}

void table_mark(struct table *table, uint64_t page)
{
	struct path path;
	uintptr_t root;

	do {
		root = atomic_load(&table->root);
		path_find(root, page >> CHUNK_SHIFT, &path);
		for (unsigned i = path.n; i-- > 0;)
			if (!(atomic_load(&path.step[i].node->marks) & path.step[i].bit))
				atomic_fetch_or(&path.step[i].node->marks, path.step[i].bit);
	} while (atomic_load(&table->root) != root);
}

void table_unmark(struct table *table, uint64_t page)
{
	struct path path;

	path_find(atomic_load(&table->root), page >> CHUNK_SHIFT, &path);
	for (unsigned i = path.n; i-- > 0;) {
		atomic_fetch_and(&path.step[i].node->marks, ~path.step[i].bit);
		if (i + 1 < path.n && atomic_load(&path.step[i + 1].node->marks) != 0)
			atomic_fetch_or(&path.step[i].node->marks, path.step[i].bit);
		if (atomic_load(&path.step[i].node->marks) != 0)
			return;
	}
}

struct chunk *table_next_marked(const struct table *table, uint64_t page)
{
	return next_below(atomic_load(&table->root), 0, page >> CHUNK_SHIFT, true);
}

static void free_below(uintptr_t at, struct arena *arena, size_t beside)
{
	struct node *node = pointer_of(at);

	if (!at)
		return;
	if (height_of(at) == 0) {
		arena_free(arena, atomic_load(&((struct chunk *)pointer_of(at))->stamps), beside);
		arena_free(arena, node, sizeof(struct chunk));
		return;
	}
	for (unsigned i = 0; i < TABLE_FAN; i++)
		free_below(atomic_load(&node->child[i]), arena, beside);
	arena_free(arena, node, sizeof(*node));
}

void table_done(struct table *table, struct arena *arena, size_t beside)
{
	free_below(atomic_load(&table->root), arena, beside);
	atomic_store(&table->root, 0);
}
