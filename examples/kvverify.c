/* SPDX-License-Identifier: MIT */
/*
 * kvverify.c - is a file a whole store: every node used once, every key in its place, as many pairs as the header says
 */
#define _GNU_SOURCE
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct verify {
	const struct store *store;
	unsigned char *used; /* a byte for each node */
	uint64_t nodes, free_nodes, pairs, sum, newest;
};

__attribute__((noreturn, format(printf, 3, 4))) static void damaged(const struct verify *v, uint64_t number, const char *format,
								    ...)
{
	char why[200];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	die("%s: damaged: node %" PRIu64 ": %s", v->store->path, number, why);
}

/* A node may be used, and once only. */
static const struct node *verify_use(struct verify *v, uint64_t number, uint64_t by)
{
	const struct node *node = node_at(v->store, number);

	if (number == 0 || number >= v->store->header->nodes)
		damaged(v, by, "leads to node %" PRIu64 " of %" PRIu64, number, v->store->header->nodes);
	if (v->used[number]++)
		damaged(v, number, "used twice, the second time by node %" PRIu64, by);
	if (node->commit > v->newest)
		v->newest = node->commit;
	if (node->commit > v->store->header->commits)
		damaged(v, number, "of commit %" PRIu64 ", after the last one", node->commit);
	v->nodes++;
	return node;
}

/* The heap is all entries, without gaps, and each slot has one of its own. */
static void verify_heap(const struct verify *v, uint64_t number, const struct node *node)
{
	unsigned char taken[NODE_BYTES] = {0};
	size_t all = 0;

	if (node->count > SLOTS_MAX || node->low > NODE_BYTES || sizeof(*node) + node->count * sizeof(node->slot[0]) > node->low)
		damaged(v, number, "%u slots, and a heap at %u", node->count, node->low);
	for (unsigned at = 0; at < node->count; at++) {
		size_t begin = node->slot[at], size;

		if (begin < node->low || begin + sizeof(struct entry) > NODE_BYTES)
			damaged(v, number, "slot %u leads to %zu", at, begin);
		size = entry_size(entry_of(node, at));
		if (begin + size > NODE_BYTES)
			damaged(v, number, "slot %u leads past the end", at);
		if (taken[begin]++)
			damaged(v, number, "slot %u has the entry of another", at);
		all += size;
	}
	if (all != NODE_BYTES - (size_t)node->low)
		damaged(v, number, "%zu bytes of entries in a heap of %u", all, NODE_BYTES - node->low);
}

/* The keys below a node rise, from `from` on, and end before to (unless at is NULL). */
static void verify_tree(struct verify *v, uint64_t number, uint64_t by, uint64_t levels, struct bytes from, struct bytes to)
{
	const struct node *node = verify_use(v, number, by);
	bool leaf = levels == 1;

	if (node->kind != (leaf ? KIND_LEAF : KIND_INNER))
		damaged(v, number, "of kind %u, %" PRIu64 " levels above the leaves", node->kind, levels - 1);
	verify_heap(v, number, node);
	if (node->count == 0 && v->store->header->levels > 1)
		damaged(v, number, "empty");
	for (unsigned at = 0; at < node->count; at++) {
		struct bytes key = key_of(node, at), next = at + 1u < node->count ? key_of(node, at + 1) : to;

		if ((next.at && compare(key, next) >= 0) || (compare(key, from) < 0 && (leaf || at > 0)))
			damaged(v, number, "key %u out of order", at);
		if ((key.size == 0) != (!leaf && at == 0))
			damaged(v, number, "key %u has %zu bytes", at, key.size);
		if (leaf) {
			v->pairs++;
			v->sum += hash_pair(key, value_of(node, at));
		} else if (value_of(node, at).size != sizeof(uint64_t)) {
			damaged(v, number, "slot %u has no child", at);
		} else {
			verify_tree(v, child_of(node, at), number, levels - 1, at == 0 ? from : key, next);
		}
	}
}

static void verify_header(const struct verify *v)
{
	const struct header *header = v->store->header;
	char last;

	if (header->nodes > header->room || header->levels == 0 || header->levels > LEVELS_MAX)
		damaged(v, 0, "%" PRIu64 " nodes in room for %" PRIu64 ", %" PRIu64 " levels", header->nodes, header->room,
			header->levels);
	if (header->room > CAPACITY / NODE_BYTES || quire_load(&last, v->store->base + header->room * NODE_BYTES - 1, 1, NULL) < 0)
		damaged(v, 0, "room for %" PRIu64 " nodes, in a file that is shorter", header->room);
	if (quire_load(&last, v->store->base + header->room * NODE_BYTES, 1, NULL) == 0)
		damaged(v, 0, "room for %" PRIu64 " nodes, in a file that is longer", header->room);
}

void store_verify(const struct store *store)
{
	const struct header *header = store->header;
	struct verify v = {.store = store};
	struct bytes none = {NULL, 0}, empty = {"", 0};

	verify_header(&v);
	v.used = calloc(header->nodes, 1);
	if (!v.used)
		die("%s", strerror(errno));
	verify_tree(&v, header->root, 0, header->levels, empty, none);
	for (uint64_t number = header->free, by = 0; number != 0; by = number, number = node_at(store, number)->next) {
		if (verify_use(&v, number, by)->kind != KIND_FREE)
			damaged(&v, number, "in the list of free ones, and is none");
		v.free_nodes++;
	}
	if (v.nodes != header->nodes - 1 || v.free_nodes != header->free_nodes)
		damaged(&v, 0, "%" PRIu64 " nodes were found, %" PRIu64 " of them free; the header says %" PRIu64 ", %" PRIu64,
			v.nodes, v.free_nodes, header->nodes - 1, header->free_nodes);
	if (v.pairs != header->pairs || v.sum != header->sum)
		damaged(&v, 0, "%" PRIu64 " pairs with the sum %016" PRIx64 " were found; the header says %" PRIu64 ", %016" PRIx64,
			v.pairs, v.sum, header->pairs, header->sum);
	free(v.used);
	printf("OK: commit %" PRIu64 ", %" PRIu64 " pairs, %" PRIu64 " nodes, %" PRIu64 " free\n", header->commits, v.pairs,
	       v.nodes, v.free_nodes);
}
