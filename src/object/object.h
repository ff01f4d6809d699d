/* SPDX-License-Identifier: MIT */
/*
 * object.h - a memory object: the pages of one file, or of memory that has none, whoever maps them
 *
 *   FILE     a file or block device; pages live in a memfd, the pager is the file.
 *   ANON     shared memory without a file; pages live in a memfd, the pager is a swap file.
 *   SWAP     where private pages go; likewise.
 *   PRIVATE  the private pages of one space, numbered by virtual address; each lives in the program's own mapping. Its
 *            pages are paged out to the swap object.
 */
#ifndef QUIRE_OBJECT_OBJECT_H
#define QUIRE_OBJECT_OBJECT_H

#include <quire/quire.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache/cache.h"
#include "object/table.h"
#include "pager/pager.h"
#include "sys/frames.h"
#include "sys/pmap.h"

struct journal;
struct leaving;
struct object;
struct private_pages;
struct taking;

enum object_kind { OBJECT_FILE, OBJECT_ANON, OBJECT_SWAP, OBJECT_PRIVATE };

/* What the program wants to answer itself; call NULL: nothing. */
struct error_callback {
	enum quire_error_answer (*call)(void *arg, const struct quire_error *error);
	void *arg;
};

/*
 * One mapping of an object's pages, part of an area. All fields are guarded by the cache's map_lock: changed only by who has it
 * for writing.
 */
struct view {
	struct view *next; /* in the object's list */
	struct object *object;
	struct pmap *pmap;
	struct private_pages *private_pages; /* a private mapping: pages that were copied are not the object's. NULL: shared */
	char *addr;
	uint64_t first; /* page of the object at addr */
	uint64_t pages;
	bool locked;  /* pages are not taken out */
	bool tracked; /* stores are possible now or were before: it has to be asked what was written */
	bool small;   /* its pages are mapped by entries of a page each: collapse.c */
	bool nosync;  /* what is stored through it is not written by its age */
	bool denies;  /* the file is not to be opened for writing */
	struct error_callback on_error;
};

/*
 * Locks: (m) the cache's map_lock. (l) lock. (r) the registry's lock. (d) deny_lock. (a) atomic. (p) constant once published.
 */
struct object {
	enum object_kind kind;   /* (p) */
	struct cache *cache;     /* (p) */
	struct pager *pager;     /* (p) NULL: PRIVATE */
	struct journal *journal; /* (p) an atomic file: what is stored to is committed to it; the pager is over it. NULL: else */
	struct buffers *buffers; /* (p) what its transfers go through: the cache's, or its own */
	struct frames frames;    /* (p) the memfd; fd -1: PRIVATE */
	dev_t dev;               /* (p) FILE: identity */
	ino_t ino;
	bool writable;                 /* (r) the pager can write */
	_Atomic bool claimed;          /* (a) FILE: claim_take was asked for it, since it is stored to */
	_Atomic uint32_t refs;         /* (a) uses, transfers and sweepers under way; 0: being destroyed */
	uint32_t uses;                 /* (r) views, and calls that are about to make or have just removed one */
	_Atomic uint64_t bytes;        /* (a) changed with map_lock for writing: the size */
	_Atomic uint64_t pages;        /* (a) likewise: nobody begins to load a page from here on. The size in whole pages, rounded
					 *     up; while the file is being cut, the size that it will have */
	_Atomic uint64_t writable_end; /* (a) likewise: nobody begins to write a page from here on. While the file is being cut, the
					 *     page that will hold the end is not written either */
	_Atomic uint64_t
	    growing_from; /* (a) likewise: while it grows, the size up to which the frames are right; UINT64_MAX: it does not */
	struct table table;
	struct lock size_lock;   /* one at a time asks for the size or sets it */
	_Atomic bool truncating; /* (a) it is held, or about to be, across a system call that sets the size */
	_Atomic uint32_t cuts;   /* (a) how often a cut has begun, and how often one has ended: odd while there is one */
	struct lock lock;        /* taking what was written, against unmapping: a page's DIRTY is right whenever it is free */
	struct taking
	    *_Atomic taking; /* (a) set with lock: what a harvest has taken from the kernel, and is not in the words yet */
	struct leaving *_Atomic leaving; /* (a) likewise: an unmapping that is under way */
	struct view *views;              /* (m) */
	_Atomic int write_error;         /* (a) the last errno of a write-back that no msync has reported; 0 */
	_Atomic uint64_t cut_bytes;      /* (a) atomic file: the least size since its last commit that is less; UINT64_MAX: none */
	_Atomic uint32_t commits;        /* (a) futex: atomic file: commits that are handed over and not known to count yet */
	_Atomic uint64_t epoch_lost;     /* (a) up to this epoch nothing is known of what was stored to: epoch.c */
	struct quire_page_hooks *_Atomic hooks; /* (a) set once, with map_lock for writing; NULL: none */
	_Atomic bool beyond;       /* (a) the memfd is longer than the object: there are pages of zeros past the end, or were */
	_Atomic uint64_t seen;     /* (a) FILE: what its file looked like when others' changes were last asked for: coherent.c */
	_Atomic uint32_t large;    /* (a) LARGE chunks: collapse.c */
	uint64_t sweep_from;       /* the flusher's: where it goes on to look for what can be collapsed */
	_Atomic bool adopted;      /* (a) the flusher has a reference, until all is written */
	struct object *next;       /* (r) all objects of the engine */
	struct registry *registry; /* (p) */
	struct private_pages *private_pages; /* (p) PRIVATE: the rest of it */
	struct lock deny_lock;
	uint32_t denials;            /* (d) views that deny, and calls that are about to make one */
	int lease;                   /* (d) the descriptor by which writers are held off; -1: there was no need yet */
	struct trace *_Atomic trace; /* (a) set once: how the keeper finds its file again; NULL: not at all */
};

/* A program may close what it does not know, and open something else under the number: rescue.c. */
struct trace {
	dev_t dev;
	ino_t ino;
	char path[];
};

/* Whether the kernel is to track stores through such a mapping; else they are caught by faults. pmap.h says why. */
static inline bool object_tracks(const struct object *object, bool shared)
{
	return shared && !(object && object->journal);
}

static inline bool view_asks_to_track(const struct view *view)
{
	return object_tracks(view->object, !view->private_pages);
}

/* Whether it does. */
static inline bool view_tracks(const struct view *view)
{
	return view->pmap->tracks && view_asks_to_track(view);
}

/* Whether the frames that it shows have to be of a page each: collapse.c. */
static inline bool view_wants_small(const struct view *view)
{
	return view->locked || (view->tracked && !view->private_pages);
}

/*
 * All objects of an engine, so that a file has one only. The last reference to an object may be dropped while a fault is resolved,
 * where free may not be called: what is left of the object then waits among the dead for registry_bury.
 */
struct registry {
	struct lock lock;
	struct object *head, *dead;
	uint64_t count;
};

extern const struct cache_ops object_cache_ops;

/* ---- life ---- */

/* Which file an object of kind FILE is of, and whether its pager can write. */
struct object_file {
	dev_t dev;
	ino_t ino;
	bool writable;
	struct journal *journal; /* NULL: it is not atomic */
	struct buffers
	    *buffers; /* of its own, from object_buffers, so that a pager that is stuck keeps nobody else's; NULL: none */
};

/*
 * Buffers for an object of its own, taken from the budget: about as many as are asked for, and less where the budget is small.
 * => ret_most: how many transfers they allow at once. 0 or -errno.
 */
int object_buffers(struct cache *cache, unsigned run_pages, unsigned depth, struct buffers **ret, unsigned *ret_most);
void object_buffers_free(struct cache *cache, struct buffers *buffers);

/* Whether what it waits for is no business of any other object's: then nobody who serves all may wait for it. */
static inline bool object_has_own_buffers(const struct object *object)
{
	return object->buffers != &object->cache->buffers;
}

/*
 * 0 or -errno. The caller has the one use. pager and buffers are the object's from now on, also when this fails. file: NULL for most
 * other kinds.
 */
int object_create(struct registry *registry, struct cache *cache, enum object_kind kind, struct pager *pager, uint64_t bytes,
		  const struct object_file *file, struct object **ret);

/*
 * An object of the file, with a use; NULL: none. While an object is in use the file has no other. One that is not may live on for a
 * moment, for whoever works on it, but is never found again: anybody may change the file while it is not mapped.
 */
struct object *object_find(struct registry *registry, dev_t dev, ino_t ino);
/* A use holds a reference too. */
void object_use(struct object *object);
/* For who has a reference only. False: it is in use no more, and its last user has seen to its dirty pages. */
bool object_try_use(struct object *object);
/* NULL is fine. */
void object_unuse(struct object *object);

void object_ref(struct object *object);
bool object_try_ref(struct object *object);
/* The last one frees all frames. Dirty pages must have been written before, or are given up. NULL is fine. Async-signal-safe. */
void object_unref(struct object *object);
/* Closes and frees what died. Not async-signal-safe. */
void registry_bury(struct registry *registry);

/* Map lock held for writing. */
/* Whether it is mapped there. Map lock held. */
bool object_is_seen(const struct object *object, const struct pmap *pmap);
void object_add_view(struct object *object, struct view *view);
void object_remove_view(struct object *object, struct view *view);

/*
 * Holds off who would open the file for writing, until object_allow_writes was called as often and no view denies. fd: open on the
 * file.
 * => 0; -EAGAIN it is open for writing; -EMFILE, -ENFILE, -ENOMEM; else no lease is granted: see lease_take. No lock held.
 */
int object_deny_writes(struct object *object, int fd);
/* One more, where there is one. */
void object_repeat_denial(struct object *object);
void object_allow_writes(struct object *object);
/* Before the engine itself opens it for writing, which must not wait for its own lease. Of some files the kernel does not count writers. */
void object_admit_writer(struct object *object);
/* Whether an object of the file is in use no more, and has not closed it yet. */
bool registry_has_dying(struct registry *registry, dev_t dev, ino_t ino);

/* ---- pages ---- */

/* False: no page of it ever had a frame, so nothing of it is mapped or dirty. */
static inline bool object_was_touched(const struct object *object)
{
	return atomic_load_explicit(&object->table.root, memory_order_acquire) != 0;
}

/* The word of a page; NULL: no memory. chunk may be NULL. Async-signal-safe. */
page_word *object_page(struct object *object, uint64_t page, struct chunk **ret_chunk);

/*
 * Makes a page's frame and maps it in one step, where whoever waits for the page can: cheaper than the frame first and the
 * mapping at a second look. Called with the page LOADING. False: it cannot be done; the frame is made without a mapping.
 */
struct placement {
	bool (*place)(struct placement *placement, struct object *object, uint64_t page, const void *bytes);
};

/*
 * Brings up to pages pages from first on in, of which the first is wanted; the others come along if they are absent.
 * => wait: on return the first page is no longer LOADING through us. Otherwise the transfers are only begun.
 * => flags: for the words of the pages when they are resident (PAGE_AHEAD …); mark: that page gets PAGE_MARK; UINT64_MAX: none.
 * => placement: how to map the first page if it comes alone, with wait; may be NULL.
 * => 0 also when another thread was faster; -EAGAIN: another thread has the page, wait for it; -ENOMEM: no frame can be had;
 *    else the -errno of the read. No lock held. Async-signal-safe.
 */
int object_load(struct object *object, uint64_t first, unsigned pages, uint32_t flags, uint64_t mark, bool wait,
		struct placement *placement);

/*
 * Begins to load pages that lie step apart, backward where it is negative, those that are absent, the nearest first; flags and mark as
 * above. Ends where there is no room for one more, of which some is left to others. No lock held. Async-signal-safe.
 */
void object_load_apart(struct object *object, uint64_t nearest, unsigned pages, int step, uint32_t flags, uint64_t mark);

/*
 * Begins to load a run of absent pages from first on, of at most pages, and does not wait for its end.
 * => wait: for frames and a buffer; otherwise -ENOMEM where some are not to be had at once. placement: as above, and called on whatever thread the transfer ends on.
 * => batch: told of the end of what was begun.
 * => 0, or the -errno of zeros that could not be made; -EAGAIN: the first page is not absent, and nothing was begun; -ENODATA: it
 *    lies past the end; -ENOMEM: no frame can be had. No lock held.
 */
int object_load_begin(struct object *object, uint64_t first, unsigned pages, uint32_t flags, bool wait, struct placement *placement,
		      struct batch *batch, unsigned *ret_done);

/* Makes the words of pages that object_adopt is going to be told of. 0 or -ENOMEM. */
int object_prepare(struct object *object, uint64_t first, unsigned pages);
/*
 * The frames of ABSENT pages, to which nobody else comes, have been written by the caller, who was promised them: they are RESIDENT and
 * dirty from here on. Prepared. mapped: somewhere, already.
 */
void object_adopt(struct object *object, uint64_t first, unsigned pages, bool mapped);

/*
 * Takes pages out of every mapping and learns which were stored to.
 * => locked_too: otherwise pages of locked views stay.
 * => Map lock held for reading. Pages in a busy state are left out.
 */
void object_unmap(struct object *object, struct chunk *chunk, unsigned from, unsigned to, bool locked_too);

/* Gives back the frames of a set that are neither mapped nor dirty nor busy. How many. No lock held. */
unsigned object_evict(struct chunk *chunk, const struct chunk_set *set);
/* Ends HELD of a page whose frame was given back. What was used once leaves no ghost, and those of others do not age by it. */
void object_settle_evicted(struct cache *cache, page_word *page);

/* Unmaps a range and gives back what is clean. write: writes what is dirty first and waits. Pages of locked views stay. */
void object_drop(struct object *object, uint64_t first, uint64_t end, bool write);

/* Likewise those pages of a range that are ONCE; of what is dirty, the writing is begun and not waited for. Async-signal-safe. */
void object_drop_once(struct object *object, uint64_t first, uint64_t end);

/*
 * The same for who wants to see the storage: pages that are being read or changed hands are waited for first, since a read that was
 * begun before may bring what the storage was. No lock held.
 */
void object_invalidate(struct object *object, uint64_t first, uint64_t end);

/* ---- write-back (writeback.c) ---- */

/*
 * Marks dirty in the words what was stored since the last time. Map lock held for reading.
 * => 0, or -errno: the kernel did not tell all of it; what it did not tell it still remembers.
 */
int object_harvest(struct object *object, uint64_t first, uint64_t end);
/* What was stored through one mapping of it. */
int view_harvest(struct view *view, uint64_t first, uint64_t end);

/*
 * Where stores are caught by faults: sees to it that the next store to any page of a range is, also where one was caught before.
 * => Waits for pages in other hands. No lock held. 0, or -errno: some are not.
 */
int object_watch(struct object *object, uint64_t first, uint64_t end);

/*
 * Starts writing the dirty pages of a range, in order, adjacent ones together.
 * => batch: the caller waits for the transfers; pages that are busy are waited for, none is left out. NULL: nobody waits.
 * => idle_only: leaves out what is mapped, and so may be stored to again at once.
 * => No lock held. How many pages were begun.
 */
unsigned object_write(struct object *object, uint64_t first, uint64_t end, bool idle_only, struct batch *batch);

/* Waits for the writes of a range that are under way, whoever began them. Whether a page is dirty all the same. */
bool object_wait_written(struct object *object, uint64_t first, uint64_t end);

/* Harvests and writes a range, waits for this and for writes already under way, until nothing of it is dirty. 0 or -errno. */
int object_flush(struct object *object, uint64_t first, uint64_t end);

/* object_flush, then everything on stable storage; also an error that no one was told of since the last time. 0 or -errno. */
int object_sync(struct object *object, uint64_t first, uint64_t end);

/* ---- atomic files (rollback.c; commit.h) ---- */

/*
 * Takes back what was stored to a range since the last commit; and what size was set, if the range reaches from the least of those to the end. A
 * store that goes on meanwhile is taken back, or comes after it. Pages of locked views are gone, too: who has them locked brings them in again.
 * => Waits for commits and writes that are under way. No lock held. 0 or -errno: some of it may have been taken back.
 */
int object_roll_back(struct object *object, uint64_t first, uint64_t end);

/* ---- size (size.c) ---- */

/* Forgets the pages from first on, frames and private copies, dirty or not. Map lock held for writing, and none of them is busy. */
void object_forget(struct object *object, uint64_t first);

/* Asks the pager for the size and follows it. Growth shows at once, shrinking drops pages. No lock held. 0 or -errno. */
int object_refresh_size(struct object *object);
/* Likewise, for a touch of a page past the end. Of a pager that has the size to itself, what it makes of a cut is waited for, for a second. */
int object_seek_end(struct object *object, uint64_t page);

/*
 * Sets the size of the file, by calling storage, and of the object with it. While that is under way, pages past the smaller of
 * both sizes are past the end, but zeros in their place cannot be had: storage may refuse. 0 or storage's -errno: then all is as before.
 */
int object_truncate(struct object *object, uint64_t bytes, int (*storage)(void *arg), void *arg);
/* Likewise, but a file that is that long already stays as it is; storage must not cut it. */
int object_extend(struct object *object, uint64_t bytes, int (*storage)(void *arg), void *arg);

/*
 * The size that is committed, of an atomic file: what was set since is forgotten by the journal already. size_lock held. 0 or -errno.
 */
int object_revert_size_locked(struct object *object);

/* discard.c: forgets the pages of a range, dirty or not, frames and storage: it reads as zeros. Map lock not held. 0 or -errno. */
int object_discard(struct object *object, uint64_t first, uint64_t end);

#endif
