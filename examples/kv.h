/* SPDX-License-Identifier: MIT */
/*
 * kv.h - a persistent key-value store: a B+tree in an atomic mapping
 *
 * The file, in the byte order of the machine, in nodes of 4096 bytes, of which the first is the header:
 *
 *	header ─▶ root ─▶ … ─▶ leaves        the tree; all leaves at the same depth
 *	       └▶ free node ─▶ free node …   were in use, and will be again before the file grows
 *
 *	 node   count, low, slots ───▶ │   room   │ ◀─── heap: an entry for each slot
 *	        │ 24 bytes │ 2 each    │          │ low                              │ 4096
 *
 * An entry is a key with its value in a leaf; in an inner node it is the least key that may be below, with the child's number. The first
 * entry of an inner node has the empty key: whatever is less than the second one's is below it. A node that has become empty is freed;
 * others are not merged.
 */
#ifndef KV_H
#define KV_H

#include <quire/quire.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MAGIC      "quire-kv"
#define NODE_BYTES 4096
#define KEY_MAX    255
#define VALUE_MAX  1000
#define LEVELS_MAX 24
/* The addresses that the file may grow into. They cost nothing, and so no pointer ever moves. */
#define CAPACITY   ((size_t)1 << 40)
#define GROW_NODES 64 /* at the least */

struct header {
	char magic[8];
	uint64_t commits;
	uint64_t room;  /* nodes that the file is long */
	uint64_t nodes; /* that are or were in use, the header included */
	uint64_t root;
	uint64_t levels; /* 1: the root is a leaf */
	uint64_t free;   /* the first free node; 0: none */
	uint64_t free_nodes;
	uint64_t pairs;
	uint64_t sum; /* of the hashes of all pairs */
};

enum kind { KIND_FREE = 1, KIND_LEAF, KIND_INNER };

struct node {
	uint32_t kind;
	uint16_t count;  /* of slots */
	uint16_t low;    /* where the heap begins */
	uint64_t next;   /* of a free node: the next one; 0: none */
	uint64_t commit; /* the one that has changed it last */
	uint16_t slot[]; /* where the entries are, in the order of their keys */
};

struct entry {
	uint8_t key_bytes;
	uint16_t value_bytes;
	char bytes[]; /* key, value */
} __attribute__((packed));

#define BODY_BYTES (NODE_BYTES - sizeof(struct node))
#define ENTRY_MAX  (sizeof(uint16_t) + sizeof(struct entry) + KEY_MAX + VALUE_MAX)
#define SLOTS_MAX  (BODY_BYTES / (sizeof(uint16_t) + sizeof(struct entry)))

_Static_assert(sizeof(struct header) <= NODE_BYTES, "the header has a node of its own");
_Static_assert((BODY_BYTES + ENTRY_MAX) / 2 + ENTRY_MAX <= BODY_BYTES, "both halves of a node have room for another entry");

struct bytes {
	const void *at;
	size_t size;
};

struct store {
	const char *path;
	int fd;
	char *base;
	struct header *header; /* at base */
};

/* Ends the program with this sentence. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* ---- kvtree.c ---- */

/* Opens a store; make: makes one where there is no file, or an empty one, which is a store from its first commit on. */
void store_open(struct store *store, const char *path, bool make);
/* Forgets what is not committed. */
void store_close(struct store *store);

/* Durable when it returns, all of it or nothing: what was done since the last one. */
void store_commit(struct store *store);

/* => false: there is none. *ret_value points into the mapping, until the next change */
bool tree_get(const struct store *store, struct bytes key, struct bytes *ret_value);
void tree_put(struct store *store, struct bytes key, struct bytes value);
/* => false: there is none */
bool tree_del(struct store *store, struct bytes key);
/* Visits the pairs from `from` on and before to (to the end, where its at is NULL), in the order of their keys. */
void tree_scan(const struct store *store, struct bytes from, struct bytes to, void (*visit)(struct bytes key, struct bytes value));

/* The first is less, equal, greater: as memcmp. */
int compare(struct bytes a, struct bytes b);
uint64_t hash_pair(struct bytes key, struct bytes value);

/* ---- kvverify.c ---- */

/* Looks at every node, and dies of what is wrong. */
void store_verify(const struct store *store);

/* ---- nodes ---- */

static inline struct node *node_at(const struct store *store, uint64_t number)
{
	return (struct node *)(store->base + number * NODE_BYTES);
}

static inline struct entry *entry_of(const struct node *node, unsigned at)
{
	return (struct entry *)((char *)node + node->slot[at]);
}

static inline size_t entry_size(const struct entry *entry)
{
	return sizeof(*entry) + entry->key_bytes + entry->value_bytes;
}

static inline struct bytes key_of(const struct node *node, unsigned at)
{
	const struct entry *entry = entry_of(node, at);

	return (struct bytes){entry->bytes, entry->key_bytes};
}

static inline struct bytes value_of(const struct node *node, unsigned at)
{
	const struct entry *entry = entry_of(node, at);

	return (struct bytes){entry->bytes + entry->key_bytes, entry->value_bytes};
}

static inline uint64_t child_of(const struct node *node, unsigned at)
{
	uint64_t number;

	memcpy(&number, value_of(node, at).at, sizeof(number));
	return number;
}

#endif
