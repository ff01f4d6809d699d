/* SPDX-License-Identifier: MIT */
/*
 * model.h - what may be in the pages and in the file: the rules of coherence, as sets of possible worlds
 *
 * The engine's page of a file and the file's own bytes are two things (docs/compatibility.md, differences 1 to 6). The exerciser
 * sees both, and cannot see what the engine does in between: write a dirty page back, drop a clean one, read one in. So a page of
 * the model is a set of worlds, each of which is a state that the page may be in:
 *
 *      DIRTY (memory, file)    stored to, and to be written back
 *      CLEAN (memory, file)    resident; the two differ where write(2) has changed the file since
 *                              CLEAN (file, file) is also a page that is not resident
 *
 * and to both may belong a copy of the page that is on its way to the file. By itself, at any time, a world may become another:
 *
 *      DIRTY (m, f)             → CLEAN (m, f), m on its way
 *      any (m, f), g on its way → the same (m, g), g on its way
 *      any (m, g), g on its way → the same (m, g)
 *      CLEAN (m, f)             → CLEAN (f, f)      dropped; not where the page is locked, or a copy is on its way
 *
 * So that a read(2) which shows a store does not tell that its write-back is over, and cannot undo a write(2) any more; MS_SYNC does.
 *
 * A copy comes to the file at once: of a page that holds the end of the file, too, it is one transfer (src/pager/file.c), so that a
 * write(2) is before all of it or behind. It may come twice, where the kernel's cache may have something of the page.
 *
 * A store, a write(2), a call change every world of the set; a load, a read keep those that could have given these bytes. A set that
 * becomes empty is a byte lost or invented. Three things go on beside the exerciser byte by byte, and so may be seen half done: a
 * write-back while it stores or reads (a read then gives bytes of memory, file and copy), a drop while it loads (the first bytes
 * are the old page's, the rest the file's), and a read ahead while it writes to the file. The kernel reads with no lock what it writes
 * with one, and the engine need not be the kernel's equal there: the page that comes in may have a part of the write. Each byte of it
 * is then open, the file's from before or from after; which, decides what is first seen of it, be it in memory, on its way or in the
 * file. A page that is read for so long that several writes fall into it has more to choose from, up to MODEL_MIXED.
 *
 * Bytes from `loose` on are those about which the size leaves more than one possibility:
 *
 *      KNOWN  behind the end of the file, in its last page: 0, or what was stored there last
 *      GREW   made longer by ftruncate(2) or write(2), which the engine need not know yet: behind the old end, in what was the last
 *             page, also 0 or what was stored there; what is stored may be dropped
 *      CUT    by ftruncate(2), which the engine need not know yet: behind the new end what was there, or 0, or SIGBUS
 */
#ifndef FSX_MODEL_H
#define FSX_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MODEL_PAGES = 200,     /* no file grows longer */
	MODEL_WORLDS = 2048,   /* more than one page may have */
	MODEL_WORLDS_MANY = 8, /* from here on the exerciser looks, to have fewer; those with open bytes do not count */
	MODEL_MIXED = 3,
};

enum model_size { SIZE_KNOWN, SIZE_GREW, SIZE_CUT };

enum world_side { SIDE_MEMORY, SIDE_FILE, SIDE_FLIGHT, SIDES };

struct world {
	bool dirty, flies;
	bool arrives; /* open bytes in memory, and it may be being read in still */
	bool untidy;  /* an open byte has been decided */
	int mixed;    /* how many bytes each open one is one of; 0: none is open */
	/*
	 * A page of each side, where nothing flies zeros. Then, only with open bytes, a page of each side that has 1 for those, which are
	 * 0 themselves; and `mixed` pages of what they may be.
	 */
	unsigned char bytes[];
};

struct model_page {
	struct world *worlds[MODEL_WORLDS];
	int count;
	int locks;  /* locked mappings that show it */
	bool there; /* it was touched since it is locked */
};

struct model_file {
	int64_t bytes, page_bytes;
	enum model_size size;
	int64_t old_bytes; /* GREW, CUT: what the engine may still take for the size */
	int mappings;      /* of the file */
	bool coherent;     /* the kernel's mmap: locking decides nothing */
	struct model_page *pages;
	/* What was stored behind the end, in the page stored_page. */
	int64_t stored_page;
	unsigned char *stored, *is_stored;
	uint64_t torn_reads, torn_loads; /* seen half done */
};

void model_file_init(struct model_file *f, int64_t page_bytes, bool coherent);
void model_file_free(struct model_file *f);

/* Not mapped, of this size, every page as the function says. */
void model_file_reset(struct model_file *f, int64_t bytes, void (*fill)(void *arg, int64_t page, unsigned char *bytes), void *arg);

/* Pages with at least one byte of the file. */
int64_t model_file_pages(const struct model_file *f);

/* Whether a touch of the page may, and whether it must, raise SIGBUS. */
bool model_may_bus(const struct model_file *f, int64_t page);
bool model_must_bus(const struct model_file *f, int64_t page);

/*
 * A page was loaded from, through a shared mapping or a private one without a copy. from + n lies within the page.
 * => false: nothing allows these bytes. *ret_at: the first byte that even the best world does not have.
 */
bool model_load(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *seen, int64_t *ret_at);

/* It was stored to. */
void model_store(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *bytes);

/* It may count as stored to, although nobody did. */
void model_may_be_dirty(struct model_file *f, int64_t page);

/*
 * A store through a private mapping made a copy, which reads as seen, a whole page.
 * => false: no world's page, with the store, is that.
 */
bool model_copied(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *stored,
		  const unsigned char *seen, int64_t *ret_at);

/* read(2) and write(2) of a part of a page, within the size. */
bool model_read(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *seen, int64_t *ret_at);
void model_write(struct model_file *f, int64_t page, int64_t from, int64_t n, const unsigned char *bytes);

/* msync: MS_SYNC, MS_INVALIDATE of a page; MADV_REMOVE of one. */
void model_sync(struct model_file *f, int64_t page);
void model_invalidate(struct model_file *f, int64_t page);
void model_remove(struct model_file *f, int64_t page);

void model_lock(struct model_file *f, int64_t page, bool locked);

/* The last mapping is gone. */
void model_unmapped(struct model_file *f);

/* A new size that the engine knows, one that it need not know, and the moment from which it does. */
void model_resize(struct model_file *f, int64_t bytes);
void model_resize_behind(struct model_file *f, int64_t bytes);
void model_settle(struct model_file *f);

/* The page has many worlds: looking at it leaves fewer. */
bool model_is_vague(const struct model_file *f, int64_t page);

#endif
