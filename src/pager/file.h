/* SPDX-License-Identifier: MIT */
/*
 * file.h - the pager of a regular file or a block device
 */
#ifndef QUIRE_PAGER_FILE_H
#define QUIRE_PAGER_FILE_H

#include "pager/pager.h"

/*
 * Makes a pager over the file that fd is open on. fd stays the caller's: the pager opens the file again through /proc/self/fd
 * (its own description, with O_DIRECT where the filesystem takes it), or duplicates fd where that fails.
 * => writable: transfers in both directions; fd must be open for reading and writing. Otherwise reads only.
 * => nowait: reads must never wait for the inode's lock (the thread trap: a thread inside write(2) may hold it while it waits
 *    for this very read): RWF_NOWAIT first, then the buffered path, which takes no lock.
 * => 0 or -errno (EACCES fd is not open for that; ENODEV neither a regular file nor a block device; EBADF EMFILE ENFILE ENOMEM).
 */
int file_pager_open(struct io *io, int fd, bool writable, bool nowait, bool allow_direct, struct pager **ret);

/*
 * Makes a read-only pager writable, from a descriptor of the same file that is open for both. Transfers may be under way.
 * => 0 or -errno; after a failure the pager reads as before.
 */
int file_pager_make_writable(struct pager *pager, int fd);

/*
 * Makes a pager over a scratch file of our own that is not there yet. Reads of what was never written (no file, past its end,
 * in a hole) give zeros; writes need file_pager_adopt first.
 * => Allocates all that adopting the file and its transfers need. 0 or -errno.
 */
int file_pager_scratch(struct io *io, bool allow_direct, struct pager **ret);

/*
 * Gives a scratch pager its file. fd, open for reading and writing, is the pager's from here on, whatever the result: when
 * another thread was first it is closed, and that is success.
 * => Async-signal-safe, allocates nothing, holds no lock while it opens. 0 or -errno.
 */
int file_pager_adopt(struct pager *pager, int fd);
bool file_pager_is_adopted(struct pager *pager);

/* What the pager writes to, through the kernel's cache; -1: it is no such pager, or nothing was transferred yet. Takes no lock. */
int file_pager_writes_to(struct pager *pager);
/* Any descriptor of the file, or -1. */
int file_pager_descriptor(struct pager *pager);

struct stat;
uint64_t file_looks(const struct stat *st);
/* A number that is another one when the file has been written to or cut, by anyone. False: it is no such pager, or cannot be asked. */
bool file_pager_looks(struct pager *pager, uint64_t *ret);

#endif
