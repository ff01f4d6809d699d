/* SPDX-License-Identifier: MIT */
/*
 * coherent.h - file calls that agree with the mappings of the file
 *
 * For programs that read and write files which they also map, as the kernel lets them. The bytes of a file are in its resident pages where
 * there are some, and else in the file. All of this may be called in a process that is served by another's engine, too; for a descriptor
 * whose file is not mapped, the kernel's call is made.
 *
 * Memory that is given is not Quire's. -errno where a call fails.
 */
#ifndef QUIRE_COHERENT_H
#define QUIRE_COHERENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Whether the file is mapped here; in a process that is served, whether it may be: the engine finds out when it is asked. */
bool coherent_is_mapped(const struct stat *st);

/* As pread(2). What was stored through a mapping is seen. */
ssize_t coherent_read(int fd, void *buf, size_t n, off_t offset);

/* To be asked before a change of the kernel's; 0: it cannot be told. */
uint64_t coherent_now(void);
/*
 * After a write of the kernel's that has put n bytes at offset: mappings see them from now on, also where a page is dirty. Nothing that
 * was stored beside them is lost. fd may be of any open mode. since: coherent_now before.
 */
int coherent_wrote(int fd, const void *buf, size_t n, off_t offset, uint64_t since);

/* What was stored through mappings in n bytes from offset on is in the file when it returns, and not synced. n 0: to the end. */
int coherent_flush(int fd, off_t offset, off_t n);

/* After the kernel has changed the file from offset on by other means than a write: mappings see that. n 0: to the end. The size is asked
 * for, too. To be flushed before: what is dirty stays. */
int coherent_changed(int fd, off_t offset, off_t n);
/* Likewise of all files. */
int coherent_changed_all(void);

/*
 * After the kernel has made zeros of n bytes, more than 0: mappings see them, also where a page is dirty, as after a write. What was clean was dropped
 * before, by coherent_changed.
 */
int coherent_zeroed(int fd, off_t offset, off_t n, uint64_t since);

/* The file has just been mapped, and looked so before: no page of it is older, if it was not mapped already. */
void coherent_begin(const struct stat *st);

/*
 * Before and after the kernel moves the bytes of a file: nobody stores to it meanwhile, and what was stored is in it. NULL: they could not be held
 * off (children have it mapped), or need not be.
 */
struct object;
struct object *coherent_still(int fd);
void coherent_go_on(struct object *object);

/*
 * Another program is about to have the file: what is mapped of it here is the kernel's when it returns. fd: of it, open for as much as the mappings
 * are for. -EBUSY: children have it mapped, or there are private mappings. Only where the engine is this process's own.
 */
int coherent_leave(const struct stat *st, int fd);

/*
 * For a program that has just been told that another may have changed files: it has got a lock, or a child of its has ended. What the
 * kernel says has changed since the last time is read again by the next touch; also, without need, what only this program has written.
 */
void coherent_look(void);

/* Every file: what was stored is in it. */
int coherent_flush_all(void);

#endif
