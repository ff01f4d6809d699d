/* SPDX-License-Identifier: MIT */
/*
 * kvtree.c - the store and its tree
 *
 * There is no log in here, no page cache, no checksum and no recovery: the tree is changed in place, through pointers, and
 * quire_msync() makes all that was changed since the last one durable at once, the size of the file with it. A program that is killed
 * halfway through a split leaves the tree of its last commit.
 */
#define _GNU_SOURCE
#include "kv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

int compare(struct bytes a, struct bytes b)
{
	int order = memcmp(a.at, b.at, a.size < b.size ? a.size : b.size);

	return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* FNV-1a over the key's length, the key and the value, then mixed, since they are added up. */
uint64_t hash_pair(struct bytes key, struct bytes value)
{
	uint64_t hash = (0xcbf29ce484222325 ^ key.size) * 0x100000001b3;

	for (size_t i = 0; i < key.size; i++)
		hash = (hash ^ ((const unsigned char *)key.at)[i]) * 0x100000001b3;
	for (size_t i = 0; i < value.size; i++)
		hash = (hash ^ ((const unsigned char *)value.at)[i]) * 0x100000001b3;
	hash = (hash ^ hash >> 32) * 0x9fb21c651e98df25;
	return hash ^ hash >> 28;
}

/* ---- nodes ---- */

static size_t node_room(const struct node *node)
{
	return node->low - sizeof(*node) - node->count * sizeof(node->slot[0]);
}

static bool node_fits(const struct node *node, struct bytes key, struct bytes value)
{
	return node_room(node) >= sizeof(node->slot[0]) + sizeof(struct entry) + key.size + value.size;
}

/* The first slot whose key is not less than key; count where there is none. */
static unsigned node_search(const struct node *node, struct bytes key, bool *ret_found)
{
	unsigned from = 0, to = node->count;

	*ret_found = false;
	while (from < to) {
		unsigned middle = (from + to) / 2;
		int order = compare(key_of(node, middle), key);

		if (order < 0) {
			from = middle + 1;
		} else {
			to = middle;
			*ret_found |= order == 0;
		}
	}
	return from;
}

/* The slot of the child that key is below. */
static unsigned node_child(const struct node *node, struct bytes key)
{
	bool found;
	unsigned at = node_search(node, key, &found);

	return found || at == 0 ? at : at - 1;
}

static void node_add(struct node *node, struct bytes key, struct bytes value)
{
	bool found;
	unsigned at = node_search(node, key, &found);
	struct entry *entry;

	memmove(&node->slot[at + 1], &node->slot[at], (node->count - at) * sizeof(node->slot[0]));
	node->count++;
	node->low -= (uint16_t)(sizeof(*entry) + key.size + value.size);
	node->slot[at] = node->low;
	entry = entry_of(node, at);
	entry->key_bytes = (uint8_t)key.size;
	entry->value_bytes = (uint16_t)value.size;
	memcpy(entry->bytes, key.at, key.size);
	memcpy(entry->bytes + key.size, value.at, value.size);
}

/* The heap stays without gaps: what lies before the entry moves up. */
static void node_remove(struct node *node, unsigned at)
{
	uint16_t hole = node->slot[at], size = (uint16_t)entry_size(entry_of(node, at));

	memmove((char *)node + node->low + size, (char *)node + node->low, (size_t)(hole - node->low));
	node->low += size;
	node->count--;
	memmove(&node->slot[at], &node->slot[at + 1], (node->count - at) * sizeof(node->slot[0]));
	for (unsigned i = 0; i < node->count; i++) {
		if (node->slot[i] < hole)
			node->slot[i] += size;
	}
}

/* The first entry of an inner node has the empty key. */
static void node_clear_first_key(struct node *node)
{
	uint64_t child = child_of(node, 0);

	node_remove(node, 0);
	node_add(node, (struct bytes){"", 0}, (struct bytes){&child, sizeof(child)});
}

/* ---- the file ---- */

/* For a change. */
static struct node *node_touch(const struct store *store, uint64_t number)
{
	struct node *node = node_at(store, number);

	node->commit = store->header->commits + 1;
	return node;
}

/* The new size counts from the next commit on, as all else does. */
static void store_grow(struct store *store)
{
	uint64_t room = store->header->room, more = room / 8 > GROW_NODES ? room / 8 : GROW_NODES;

	if ((room + more) * NODE_BYTES > CAPACITY)
		die("%s: %" PRIu64 " MiB: no file of this program may be longer", store->path, (room + more) * NODE_BYTES >> 20);
	if (quire_ftruncate(store->fd, (off_t)((room + more) * NODE_BYTES)) < 0)
		die("%s: %s", store->path, quire_errormsg());
	store->header->room = room + more;
}

static uint64_t node_make(struct store *store, enum kind kind)
{
	struct header *header = store->header;
	uint64_t number = header->free;
	struct node *node;

	if (number != 0) {
		header->free = node_at(store, number)->next;
		header->free_nodes--;
	} else {
		if (header->nodes == header->room)
			store_grow(store);
		number = header->nodes++;
	}
	node = node_touch(store, number);
	node->kind = kind;
	node->count = 0;
	node->low = NODE_BYTES;
	node->next = 0;
	return number;
}

static void node_free(struct store *store, uint64_t number)
{
	struct node *node = node_touch(store, number);

	node->kind = KIND_FREE;
	node->next = store->header->free;
	store->header->free = number;
	store->header->free_nodes++;
}

/* An empty file, or one that is not there yet, becomes a store with its first commit. */
static void store_make(struct store *store)
{
	if (quire_ftruncate(store->fd, GROW_NODES * NODE_BYTES) < 0)
		die("%s: %s", store->path, quire_errormsg());
	*store->header = (struct header){.room = GROW_NODES, .nodes = 1, .levels = 1};
	memcpy(store->header->magic, MAGIC, sizeof(store->header->magic));
	store->header->root = node_make(store, KIND_LEAF);
}

/* How long the file is as of its last commit is known to the mapping: what lies past the end cannot be loaded. */
void store_open(struct store *store, const char *path, bool make)
{
	struct header header;
	void *base;

	*store = (struct store){.path = path, .fd = open(path, O_RDWR | (make ? O_CREAT : 0) | O_CLOEXEC, 0666)};
	if (store->fd < 0)
		die("%s: %s%s", path, strerror(errno), errno == ENOENT && !make ? "; kv FILE load makes one" : "");
	base = quire_mmap(NULL, CAPACITY, PROT_READ | PROT_WRITE, MAP_SHARED | QUIRE_MAP_ATOMIC, store->fd, 0);
	if (base == MAP_FAILED)
		die("%s: %s", path, quire_errormsg());
	store->base = base;
	store->header = base;
	if (quire_load(&header, base, sizeof(header), NULL) < 0) {
		if (errno != ENODATA)
			die("%s: %s", path, quire_errormsg());
		if (!make)
			die("%s: it is empty; kv FILE load makes a store of it", path);
		store_make(store);
	} else if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0) {
		die("%s: not a store: it does not begin with «%s»; give another name", path, MAGIC);
	}
}

void store_close(struct store *store)
{
	if (quire_munmap(store->base, CAPACITY) < 0)
		die("%s: %s", store->path, quire_errormsg());
	close(store->fd);
}

/* All or nothing of what was done since the last one. */
void store_commit(struct store *store)
{
	store->header->commits++;
	if (quire_msync(store->base, store->header->room * NODE_BYTES, MS_SYNC) < 0)
		die("%s: commit %" PRIu64 ": %s", store->path, store->header->commits, quire_errormsg());
}

/* ---- the tree ---- */

/* The nodes from the root to a leaf, and in each the slot that leads on. */
struct path {
	struct step {
		uint64_t node;
		unsigned at;
	} step[LEVELS_MAX];
	unsigned leaf; /* the last step */
	bool found;    /* it is at the key that was looked for */
};

static void tree_find(const struct store *store, struct bytes key, struct path *ret)
{
	uint64_t number = store->header->root;

	if (store->header->levels == 0 || store->header->levels > LEVELS_MAX)
		die("%s: damaged: %" PRIu64 " levels", store->path, store->header->levels);
	ret->leaf = (unsigned)store->header->levels - 1;
	for (unsigned level = 0; level < ret->leaf; level++) {
		const struct node *node = node_at(store, number);
		unsigned at = node_child(node, key);

		ret->step[level] = (struct step){number, at};
		number = child_of(node, at);
	}
	ret->step[ret->leaf] = (struct step){number, node_search(node_at(store, number), key, &ret->found)};
}

/* Where both halves are as equal in bytes as they can be. */
static unsigned split_place(const struct node *node)
{
	size_t all = NODE_BYTES - node->low + node->count * sizeof(node->slot[0]), left = 0;

	for (unsigned at = 0;; at++) {
		size_t size = entry_size(entry_of(node, at)) + sizeof(node->slot[0]);

		if (at > 0 && (at + 1u == node->count || 2 * left + size >= all))
			return at;
		left += size;
	}
}

/* Moves the upper half to a new node. => its number, and in ret_key the least key that belongs there, which an inner node does not keep. */
static uint64_t node_split(struct store *store, uint64_t number, char ret_key[KEY_MAX], size_t *ret_key_bytes)
{
	struct node *node = node_touch(store, number);
	uint64_t upper = node_make(store, node->kind);
	struct node *to = node_at(store, upper);
	unsigned at = split_place(node);
	struct bytes least = key_of(node, at);

	memcpy(ret_key, least.at, least.size);
	*ret_key_bytes = least.size;
	while (node->count > at) {
		node_add(to, key_of(node, at), value_of(node, at));
		node_remove(node, at);
	}
	if (to->kind == KIND_INNER)
		node_clear_first_key(to);
	return upper;
}

static void tree_grow(struct store *store, struct bytes key, uint64_t upper)
{
	uint64_t lower = store->header->root, number = node_make(store, KIND_INNER);
	struct node *root = node_at(store, number);

	if (store->header->levels == LEVELS_MAX)
		die("%s: more than %d levels", store->path, LEVELS_MAX);
	node_add(root, (struct bytes){"", 0}, (struct bytes){&lower, sizeof(lower)});
	node_add(root, key, (struct bytes){&upper, sizeof(upper)});
	store->header->root = number;
	store->header->levels++;
}

/* A node without room is split, and then its upper half has to be put into the node above, and so on. */
static void tree_add(struct store *store, struct path *path, struct bytes key, struct bytes value)
{
	char keys[2][KEY_MAX]; /* the one that is put, and the one of the split that it leads to */
	uint64_t upper = 0;

	for (unsigned level = path->leaf + 1; level-- > 0;) {
		struct node *node = node_touch(store, path->step[level].node);
		struct bytes least = {keys[level % 2], 0};
		uint64_t half;

		if (node_fits(node, key, value)) {
			node_add(node, key, value);
			return;
		}
		half = node_split(store, path->step[level].node, keys[level % 2], &least.size);
		node_add(compare(key, least) < 0 ? node : node_at(store, half), key, value);
		upper = half;
		key = least;
		value = (struct bytes){&upper, sizeof(upper)};
	}
	tree_grow(store, key, upper);
}

/* Takes the pair of the leaf's slot away, and the nodes that are empty by it. */
static void tree_cut(struct store *store, struct path *path)
{
	struct header *header = store->header;
	unsigned level = path->leaf;
	struct node *node = node_touch(store, path->step[level].node);

	node_remove(node, path->step[level].at);
	for (; node->count == 0 && level > 0; level--) {
		unsigned at = path->step[level - 1].at;

		node_free(store, path->step[level].node);
		node = node_touch(store, path->step[level - 1].node);
		node_remove(node, at);
		if (at == 0 && node->count > 0)
			node_clear_first_key(node);
	}
	if (level == 0 && node->count == 0) {
		node->kind = KIND_LEAF;
		header->levels = 1;
	}
	while (header->levels > 1 && node_at(store, header->root)->count == 1) {
		uint64_t child = child_of(node_at(store, header->root), 0);

		node_free(store, header->root);
		header->root = child;
		header->levels--;
	}
}

static void forget_pair(struct store *store, const struct path *path)
{
	const struct node *leaf = node_at(store, path->step[path->leaf].node);
	unsigned at = path->step[path->leaf].at;

	store->header->pairs--;
	store->header->sum -= hash_pair(key_of(leaf, at), value_of(leaf, at));
}

void tree_put(struct store *store, struct bytes key, struct bytes value)
{
	struct path path;

	tree_find(store, key, &path);
	if (path.found) {
		forget_pair(store, &path);
		node_remove(node_touch(store, path.step[path.leaf].node), path.step[path.leaf].at);
	}
	tree_add(store, &path, key, value);
	store->header->pairs++;
	store->header->sum += hash_pair(key, value);
}

bool tree_del(struct store *store, struct bytes key)
{
	struct path path;

	tree_find(store, key, &path);
	if (!path.found)
		return false;
	forget_pair(store, &path);
	tree_cut(store, &path);
	return true;
}

bool tree_get(const struct store *store, struct bytes key, struct bytes *ret_value)
{
	struct path path;

	tree_find(store, key, &path);
	if (path.found)
		*ret_value = value_of(node_at(store, path.step[path.leaf].node), path.step[path.leaf].at);
	return path.found;
}

/* What a scan is told. */
struct scan {
	const struct store *store;
	struct bytes from, to;
	void (*visit)(struct bytes key, struct bytes value);
};

/* => false: its end was reached */
static bool scan_below(const struct scan *scan, uint64_t number, uint64_t levels)
{
	const struct node *node = node_at(scan->store, number);
	bool found;

	for (unsigned at = levels > 1 ? node_child(node, scan->from) : node_search(node, scan->from, &found); at < node->count;
	     at++) {
		if (scan->to.at && compare(key_of(node, at), scan->to) >= 0)
			return false;
		if (levels == 1)
			scan->visit(key_of(node, at), value_of(node, at));
		else if (!scan_below(scan, child_of(node, at), levels - 1))
			return false;
	}
	return true;
}

void tree_scan(const struct store *store, struct bytes from, struct bytes to, void (*visit)(struct bytes key, struct bytes value))
{
	struct scan scan = {store, from, to, visit};

	scan_below(&scan, store->header->root, store->header->levels);
}
