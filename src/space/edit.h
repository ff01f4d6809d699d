/* SPDX-License-Identifier: MIT */
/*
 * edit.h - changing the set of areas, inside space/
 *
 * An edit begins by allocating all that it may need, so that what follows cannot fail. The map lock is held for writing from
 * edit_begin to edit_end.
 */
#ifndef QUIRE_SPACE_EDIT_H
#define QUIRE_SPACE_EDIT_H

#include "space/space.h"

/* What any space begins with; its pmap is made. slots: used too. 0 or -errno. */
int space_init(struct space *space, struct registry *registry, struct cache *cache, struct slots *slots);

struct edit {
	struct space *space;
	struct area *spares;
};

/* areas: how many may be made. 0 or -ENOMEM. */
/*
 * Whether a stranger may have this object mapped, and so much more locked. Map lock held. 0; -error with a message, and -EMFILE for one
 * object too many.
 */
int space_check_limits(const struct space *space, const struct object *object, uint64_t locked_pages, int error);

int edit_begin(struct edit *edit, struct space *space, unsigned areas);
void edit_end(struct edit *edit);

struct area *edit_spare(struct edit *edit);
/* Puts an area into the set and its view into the object. */
void edit_add(struct edit *edit, struct area *area);
/* Takes an area out of both and frees it. */
void edit_remove(struct edit *edit, size_t index);
/* Splits the area that holds addr so that one begins there. */
void edit_split(struct edit *edit, char *addr);
/* Joins neighbours from addr to end, both edges included. */
void edit_join(struct edit *edit, const char *addr, const char *end);

/* What a new mapping that continues or repeats an area looks like; first is the page of the object, if there is one. */
struct mapping mapping_like(const struct area *area, char *addr, size_t len, uint64_t first);

/* Makes an area what the mapping at addr is. */
void edit_fill(struct area *area, const struct mapping *m, struct space *space, char *addr);
/*
 * Maps areas in a process that has attached, over whatever is there. n: at most FAR_OPS. 0 or -errno: some are. Map lock held for
 * writing.
 */
int edit_map_again(struct space *space, struct area *const *areas, size_t n);

/* ---- the kernel's side; map lock held for writing ---- */

/* Protection, as it can be made to fail. 0 or -errno. */
int edit_protect(struct space *space, void *addr, size_t len, int prot);
/* Gives the parts of a range that areas cover their protection back, after kernel calls that did not come to an end. */
void edit_restore_protection(struct space *space, char *addr, char *end);
/*
 * Prepares mappings that are about to go: no store can come any more, and what was stored is known in the words.
 * => On failure the protection is as before.
 */
int edit_quiesce(struct space *space, char *addr, char *end);
/* The kernel has something else there now. Two areas may be made. */
void edit_forget(struct edit *edit, char *addr, char *end);
/*
 * A chunk of which the frames must be of a page each: gives the map lock up, which is held for writing, and dissolves it (object/collapse.h).
 * The caller looks again. 0 or -errno with a message.
 */
int edit_dissolve(struct space *space, struct chunk *chunk);
/* The first such of what a range shows; NULL: none. shared: by shared mappings. */
struct chunk *edit_find_large(struct space *space, const char *addr, size_t len, bool shared);
/* Makes the mapping, inaccessible. 0 or -errno, and what was there is still. */
int edit_place(struct space *space, const struct mapping *m, char **ret_addr);
/* Registers a fresh mapping and opens it. 0 or -errno: it is gone. */
int edit_open(struct space *space, const struct mapping *m, char *addr);

/* ---- map.c, for remap.c; map lock held for writing ---- */

/* Whether a range begins or ends inside of a huge page: 0, or -EINVAL with a message. */
int space_check_cuts(struct space *space, const char *addr, size_t len);
/* space_map and space_unmap, without what comes before and after. */
int space_map_locked(struct space *space, const struct mapping *m, char **ret_addr);
int space_unmap_locked(struct space *space, char *addr, size_t len);

/* ---- removal.c: brackets what removes mappings; no lock held ---- */

/* Uses of what a range maps. */
struct removal {
	struct object **all;
	size_t count, capacity;
};

/*
 * Writes the objects that have no view outside of the range: a failure then changes nothing, and nobody could report it later. 0 or
 * -errno with a message, and nothing has begun.
 */
int removal_begin(struct space *space, char *addr, size_t len, struct removal *ret);
/* What was stored between the flush and the unmapping is written; where that fails, the object stays and the flusher tries on. */
void removal_end(struct space *space, struct removal *removal);

/* ---- */

/* As space_check, map lock held. */
int space_check_locked(struct space *space, const char *addr, size_t len);

#endif
