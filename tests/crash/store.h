/* SPDX-License-Identifier: MIT */
/*
 * store.h - what is tried: something that commits the pages of files, on disks of its caller's
 *
 * The calls are those of journal/journal.h, of file number so-and-so. There is the journal (journal.c), and a store so simple that one sees
 * that it is right (simple.c), by which the test itself is tested; and both with a fault put in.
 */
#ifndef CRASH_STORE_H
#define CRASH_STORE_H

#include "disk.h"
#include "model.h"

struct store_settings {
	uint32_t segment_blocks, segments;
	unsigned group_pages, groups;
};

struct store {
	const struct store_ops *ops;
	unsigned n_files;
	struct disk *files[FILES_MAX], *logs[FILES_MAX];
	struct store_settings settings;
	const char *broken; /* a fault of the store's, or NULL */
	char message[512];  /* why the last open failed */
	void *own;
};

struct store_ops {
	/* A store that is not open; its disks and settings are there. */
	void (*make)(struct store *store);
	void (*done)(struct store *store);

	int (*open)(struct store *store, unsigned file);
	bool (*is_open)(struct store *store, unsigned file);
	int (*close)(struct store *store, unsigned file, bool complete, bool *ret_empty);
	struct pager *(*pager)(struct store *store, unsigned file);
	uint64_t (*committed_bytes)(struct store *store, unsigned file);
	/* NULL: cannot tell. */
	bool (*next_spilled)(struct store *store, unsigned file, uint64_t first, uint64_t end, uint64_t *ret_first,
			     uint64_t *ret_end);
	void (*forget)(struct store *store, unsigned file, uint64_t first, uint64_t end);
	void (*forget_size)(struct store *store, unsigned file);

	int (*begin)(struct store *store, unsigned file, uint64_t most_pages, void **ret);
	void *(*room)(void *commit, unsigned *pages);
	void (*add)(void *commit, uint64_t first, unsigned pages);
	int (*spilled)(void *commit, uint64_t first, uint64_t end);
	void (*hand_over)(void **commits, unsigned n, bool with_size);
	int (*wait)(void **commits, unsigned n);
	void (*give_up)(void *commit);

	int (*checkpoint)(struct store *store, unsigned file);
	bool (*wants_checkpoint)(struct store *store, unsigned file);
	int (*prepare)(struct store *store, unsigned file);
	int (*snapshot)(struct store *store, unsigned file, struct pager **ret);
};

extern const struct store_ops simple_store, journal_store;

/* One transfer, done at once. 0 or -errno. */
int transfer(struct pager *pager, enum pager_op op, uint64_t offset, void *buf, size_t len, size_t *ret_bytes);

#endif
