/* SPDX-License-Identifier: MIT */
/*
 * source.h - what is mapped and is no file: a pager of the program's own, filters over a file, named memory; and its descriptors
 *
 * A source has a memfd of no content. Its descriptors are open on it for writing only, and it is sealed against being written: they can
 * be neither read nor written nor mapped by the kernel, fstat tells the size, and the device and inode numbers say whose they are.
 * Whether a descriptor may be mapped for writing is told by O_DSYNC among its flags, which nobody can change.
 *
 * Each description holds a lock (F_OFD_SETLK) on a byte of its own. The kernel removes it when the last duplicate is closed, in
 * whichever process: so a source knows whether there are descriptors, by asking for locks.
 */
#ifndef QUIRE_SOURCE_H
#define QUIRE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "object/object.h"
#include "util/lock.h"

struct engine;

/* What a source is a mapping of all at once, made when it is mapped first. */
enum filled { FILLED = 0, FILLED_NOT, FILLED_NOW };

/* (s) the lock of sources. (p) constant once published. */
struct source {
	struct source *next;     /* (s) */
	const char *name;        /* (p) for messages */
	int fd;                  /* (p) */
	dev_t dev;               /* (p) */
	ino_t ino;               /* (p) */
	struct object *object;   /* (p) a use */
	bool fixed;              /* (p) the size is that for ever */
	bool asks;               /* (p) a pager of the program's own, whose size is asked for when it is mapped */
	bool own_size;           /* (p) the memfd's size is the object's, whoever sets it; else the other way round */
	_Atomic uint32_t filled; /* futex: enum filled */
	uint64_t shown;          /* (s) the size that the memfd was given */
	unsigned opens;          /* (s) */
	unsigned keeps;          /* (s) calls that use it, names, segments */
	bool owned;              /* (p) by whom the following say: the memfd is the server's own, who may not give it away */
	uid_t uid;               /* (p) */
	gid_t gid;               /* (p) */
	mode_t mode;             /* (p) */
};

struct sources {
	struct lock lock;
	struct source *head; /* (s) */
};

/* How a source differs from the plainest. */
struct source_kind {
	const char *name;
	mode_t mode; /* permission bits; only for who looks at them */
	bool fixed, asks, own_size, unfilled;
	int fd; /* own_size: the memfd, which the object's pager has as well; else -1 */
};

/* A memfd for a source, of so many bytes. fd or -errno. */
int source_memfd(const char *name, uint64_t bytes);

/* Takes the caller's use of object over, also when it fails. The source is kept once, for the caller. 0 or -errno. */
int source_create(struct engine *engine, struct object *object, const struct source_kind *kind, struct source **ret);

/* A descriptor. oflags: O_RDONLY or O_RDWR, O_CLOEXEC. fd or -errno. */
int source_open(struct engine *engine, struct source *source, int oflags);

/* Whose it is. */
uid_t source_owner(const struct source *source);

/* Whether the kernel would open a file of its owner and permissions so, for who makes the call. 0 or -errno. */
int source_access(const struct source *source, int oflags);

/* The source that a descriptor is of, kept; NULL: it is none of ours. */
struct source *source_find(struct engine *engine, const struct stat *st);
void source_keep(struct engine *engine, struct source *source);
/* NULL is fine. */
void source_release(struct engine *engine, struct source *source);

/* Whether a descriptor's open mode, its F_GETFL, lets it be mapped for writing. */
bool source_may_write(int flags);

/* Asks for the size where it may have changed, and fills what is to be filled before it is mapped. 0 or -errno, with a message. */
int source_prepare(struct engine *engine, struct source *source);

/* Sets the size; extend: never makes it less. 0 or -errno. */
int source_resize(struct engine *engine, struct source *source, uint64_t bytes, bool extend);

/* All of them, open or not; nothing is mapped any more. */
void sources_close(struct sources *sources);

/*
 * Closes sources that nobody has open, maps or keeps; follows and shows sizes. Does not wait for any pager. Whether there are any left.
 * arg: the engine.
 */
bool sources_sweep(void *arg);

#endif
