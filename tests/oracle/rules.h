/* SPDX-License-Identifier: MIT */
/*
 * rules.h - the documented differences between Quire and Linux, all in one place
 *
 * Everything that is not allowed here must be equal: results, errno, signals, bytes, files.
 *
 *  1  A failed call changes nothing. Linux does part of the work of some calls before it fails (mprotect, mlock and munlock up to
 *     a hole, madvise on both sides of a hole). What can be undone is undone on the kernel's side after the call; a madvise
 *     that would destroy is replaced there by one that fails in the same way.
 *  2  What read(2) sees of a file that is mapped is compared only after msync(MS_SYNC), for the pages of that range, and when the
 *     last mapping is gone. write(2) to a mapped file is not made. (quire.h: munmap and msync write back.)
 *  3  Bytes that a shared store puts behind the end of the file, in its last page, may be read back or may be 0 from then on:
 *     both sides drop them when they please. They are compared again once something specifies them: a store within the size, a
 *     cut, and a growth where the kernel's file system zeroes them (ext4 does, tmpfs does not; asked at the start). A private
 *     copy may have been made of them, so that private mappings never compare such a byte again.
 *  4  MADV_FREE is not used: when the bytes disappear is the kernel's choice.
 *  5  Whether neighbouring mappings merge is each side's own affair. mremap is therefore made of ranges that are certainly one
 *     mapping on both sides, or certainly not (and then only where every version of Linux answers EFAULT).
 *  6  Locking: limits and the budget differ, so that few pages are locked, and of mlock and munlock only success or failure is
 *     compared, not errno.
 *  7  A private page that was only populated or locked may be a copy already (Linux) or still show the file (Quire): both are
 *     allowed, and a store decides. The harness makes that store.
 *  8  Where two errors apply at once, either is right: only the failure is compared. In a child that is so for MAP_FIXED_NOREPLACE:
 *     what lies in the way is found there after all else.
 *  9  MADV_WILLNEED on memory without a file: EBADF or success, by the kernel's configuration. MREMAP_DONTUNMAP is made of
 *     private anonymous memory only, since older kernels refuse the rest, and not of locked memory, since Linux then unlocks
 *     neighbours that are not in the range too. posix_madvise(POSIX_MADV_DONTNEED) checks nothing
 *     in glibc: made with good arguments only.
 * 10  /dev/zero is mapped at offset 0 only: Linux takes the offset of a shared mapping of it for one into memory as long as the
 *     mapping, so that its pages raise SIGBUS; Quire ignores it (spec M09). Nor is MADV_WIPEONFORK said of private memory of it, which Linux
 *     takes for a file.
 * 11  A mapping of the kernel's is made and replaced on both sides, alone or together with others. Other calls are made of ranges
 *     that hold nothing else, or nothing of the kernel's: to Quire it is a hole beside a mapping of its own. It is not locked.
 * 12  mincore: where a page is resident is each side's own affair, but for pages that mlock has brought in: those are, on both.
 * 13  Advice that depends on the kernel's configuration (huge pages, merging) is compared only where there are holes.
 * 14  mlockall is not made: the kernel's is for the whole process, the harness and the engine included. munlockall is, page by page
 *     on the kernel's side.
 * 15  What a process that was killed, or has ended by _exit or exec, has stored reaches the file soon, but not by the time that it is
 *     buried: the harness waits until the engine does not serve it any more, before it reads such a file or writes to it.
 * 16  minherit is made where the kernel's advice says the same, of ranges without holes: NONE of anything, ZERO of private memory
 *     without a file, COPY of private memory, SHARE of shared memory.
 */
#ifndef ORACLE_RULES_H
#define ORACLE_RULES_H

#include "model.h"
#include "side.h"

/*
 * Whether the operation may run at all: it stays inside the window (a stray munmap would unmap the harness), and the rules can
 * tell what must come out.
 */
bool rules_allow(struct model *m, const struct op *op);

/* What a side that fails partially runs instead: rule 1. */
struct op rules_for_partial(struct model *m, const struct op *op);

/* Whether only success or failure is compared, or not even that. Asked before the operation. */
enum rules_compare { COMPARE_ALL, COMPARE_SUCCESS, COMPARE_NOTHING };
enum rules_compare rules_compare(struct model *m, const struct op *op);

/* Brings back what a failed call changed on a side that fails partially: rule 1. */
void rules_restore(struct model *m, struct side *s, const struct op *op);

/* Whether a page must be settled by a store after this operation: rule 7. */
bool rules_settle(const struct model_page *p, const struct op *op);

#endif
