/* SPDX-License-Identifier: MIT */
/*
 * files.h - which descriptors are of a file that is mapped by Quire
 *
 * The family of a process, what fork has made of it, shares one list of files, in memory of the kernel's. No lock guards it, since who
 * holds one may be killed. It has a number that changes
 * whenever a file joins, and is 0 while there is none. Each process remembers for each descriptor under which number it was found to be
 * of no such file: as long as they are equal, which is one load and a branch, the call is the C library's.
 */
#ifndef QUIRE_PRELOAD_FILES_H
#define QUIRE_PRELOAD_FILES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "vfork.h"

#define FILES_DESCRIPTORS 65536 /* that are remembered; of others it is found out each time */

struct file;
struct files_list;
extern struct files_list *files_list;
extern _Atomic uint32_t *files_number; /* of the list */
extern _Atomic uint32_t files_seen[FILES_DESCRIPTORS];

/*
 * Of a file, or of several: held while a descriptor's own offset is looked at and moved, by whichever process of the family. Who dies with it leaves
 * it to the next.
 */
struct files_position;
struct files_position *files_lock_position(int fd);
void files_unlock_position(struct files_position *position);

/* Before the first mapping of a process that has an engine of its own: the list is the engine's. 0 or -errno. */
int files_start(void);

/* A file is about to be mapped. Until files_settle it stays in the list. */
struct file *files_add(const struct stat *st);
/* It is mapped, or could not be. NULL is fine. */
void files_settle(struct file *file);
/* Mappings were removed: takes out files that the engine has no more. */
void files_sweep(void);

/* Whether a file is in the list. */
bool files_has(const struct stat *st);
/* Whether any is. */
static inline bool files_any(void)
{
	return atomic_load_explicit(files_number, memory_order_relaxed) != 0;
}

/* Whether the file of a descriptor is in the list: by asking the kernel. */
bool files_find(int fd);

static inline bool files_is_mapped(int fd)
{
	if ((unsigned)fd < FILES_DESCRIPTORS &&
	    __builtin_expect(atomic_load_explicit(&files_seen[fd], memory_order_relaxed) ==
				 atomic_load_explicit(files_number, memory_order_relaxed),
			     1) &&
	    !vfork_is_child())
		return false;
	return files_find(fd);
}

/* A descriptor is another's from now on. */
static inline void files_forget(int fd)
{
	if ((unsigned)fd < FILES_DESCRIPTORS)
		atomic_store_explicit(&files_seen[fd], 0, memory_order_relaxed);
}

/* Nobody waits for the engine's process any more: who is served by it is to see to it that what he has stored is in the files at his end. */
void files_orphan(void);
bool files_are_orphaned(void);

/* Any descriptor may be another's. */
void files_forget_all(void);

#endif
