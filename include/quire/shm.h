/* SPDX-License-Identifier: MIT */
/*
 * shm.h - shared memory under a key: the calls of <sys/shm.h>, for the processes of one family
 *
 * The calls keep the signatures, return values and errno of those whose names they carry, with the prefix quire_. The segments are
 * memory of the engine: counted in its budget and swapped by it. They are known to the program that made them alone, and end with it;
 * ipcs(1) does not show them. Shared memory under a name: quire_shm_open() in <quire/quire.h>.
 *
 * <quire/mman.h> does not map the plain names to these, since programs use them between processes that have no family ties.
 */
#ifndef QUIRE_QUIRE_SHM_H
#define QUIRE_QUIRE_SHM_H

#include <sys/ipc.h>
#include <sys/shm.h>

#include <quire/quire.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/*
 * The identifier of the segment of a key, or of a new one, of size bytes rounded up to pages, all zeros.
 * => flags: IPC_CREAT, IPC_EXCL, SHM_NORESERVE, and permission bits. key IPC_PRIVATE: always a new one.
 * => EACCES the segment's permissions do not allow those that are asked for; EEXIST IPC_CREAT and IPC_EXCL, and there is one; EINVAL
 *    size 0 or too large for a new one, or more than the size of the one there is; ENOENT none, and no IPC_CREAT; ENOMEM; ENOSPC
 *    4096 segments; EOPNOTSUPP SHM_HUGETLB.
 */
int quire_shmget(key_t key, size_t size, int flags);

/*
 * Maps a segment: at addr, or where there is room (NULL).
 * => flags: SHM_RDONLY, SHM_EXEC, SHM_RND (addr is rounded down to a page), SHM_REMAP (what is at addr is replaced).
 * => (void *)-1 and EACCES the permissions do not allow it; EINVAL no such segment, addr not aligned, or in use without SHM_REMAP;
 *    ENOMEM.
 */
void *quire_shmat(int id, const void *addr, int flags);

/* Takes a segment out again, as far as it still is where it was put. => EINVAL none was attached at addr. */
int quire_shmdt(const void *addr);

/*
 * cmd IPC_STAT: what there is to know of it, into buf; IPC_SET: uid, gid and mode from buf; IPC_RMID: it goes when it is attached
 * nowhere, and its key is free at once.
 * => EACCES IPC_STAT without the right to read; EINVAL no such segment, or another command; EPERM IPC_SET or IPC_RMID by who is
 *    neither its owner nor its maker. buf is written and read by instructions: a bad pointer is SIGSEGV.
 */
int quire_shmctl(int id, int cmd, struct shmid_ds *buf);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
