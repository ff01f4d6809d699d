/* SPDX-License-Identifier: MIT */
/*
 * quire.h - memory-mapped I/O in user space: the mmap family, on an engine of its own
 *
 * The calls keep the signatures, the return values and the errno of the system calls whose names they carry, with the prefix
 * quire_. What differs from the kernel, and why, is listed in docs/compatibility.md. <quire/mman.h> maps the plain names to
 * these, for programs that want to change nothing.
 *
 * Pages are quire_pagesize() bytes. Every address range given to a call is rounded up to whole pages, as the kernel does.
 *
 * Errors: -1 (or MAP_FAILED) with errno, and a sentence that names the value and the remedy in quire_errormsg(). A call that
 * fails changes nothing.
 *
 * Threads and signals: every call may be made by any thread at any time. None may be made from a signal handler, except
 * quire_pagesize() and quire_errormsg(). Managed memory may be read and written in a signal handler.
 *
 * The engine owns SIGBUS and SIGSEGV: it passes on what is not its own to the handlers that were installed before the first mapping;
 * a handler installed later must do the same for it. Under QUIRE_TRAP_SIGNAL no thread that touches managed memory may block SIGBUS,
 * and a *system call* given a pointer to a page that is not resident fails with EFAULT, unless the range was locked or populated
 * first. Under QUIRE_TRAP_THREAD system calls work on any page. Managed memory must not be the stack of a thread that calls Quire
 * (calls that change mappings fail there with EDEADLK), nor what malloc hands out.
 */
#ifndef QUIRE_QUIRE_H
#define QUIRE_QUIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

#define QUIRE_VERSION_MAJOR 0
#define QUIRE_VERSION_MINOR 1
#define QUIRE_VERSION_PATCH 0

/* Flags of ours for quire_mmap(), in bits that Linux gives no meaning (it uses 0…8, 10…20 and 26…31). */
/*
 * A shared mapping of a regular file or block device whose descriptor is O_RDWR, of which nothing is ever seen in the file but whole
 * commits: quire_msync() and quire_commit() make what was stored durable, all of it or none, whatever crashes at whatever instant. What
 * is not committed is never written to the file, and is forgotten by quire_rollback(), when the last mapping of the file is removed, and
 * at the end of the program. All mappings of the file in this program, with the flag or without, share its pages and its commits; the
 * first of them has to have the flag.
 * => Commits are kept in a journal beside the file, FILE-quire, until they are copied into the file: now and then, by quire_checkpoint(),
 *    when the last mapping is removed, and by the next one who maps the file after a crash. Until then read(2) and other programs
 *    see an earlier commit, or a part of what is being copied.
 * => One process at a time, with its children, or the clients of one server. quire_ftruncate() and QUIRE_MAP_EXTEND set the size that the next commit has; who changes the file by other
 *    means meanwhile destroys it.
 */
#define QUIRE_MAP_ATOMIC 0x00400000
/*
 * A shared mapping, for reading only, of the file as of its last commit, which stays that, whatever is committed later. The journal
 * cannot drop what it needs. A file that is not mapped with QUIRE_MAP_ATOMIC is opened as by that; then its descriptor has to be O_RDWR.
 */
#define QUIRE_MAP_SNAPSHOT 0x00000200
/*
 * A shared mapping that may be written and reaches past the end of its file makes the file longer first, by zeros up to offset + len,
 * as on Windows. Not for other kinds: EINVAL. A file that could be made longer and then not be mapped stays longer.
 */
#define QUIRE_MAP_EXTEND 0x00800000
/* Left out of core files; as MADV_DONTDUMP, and FreeBSD's MAP_NOCORE. */
#define QUIRE_MAP_NOCORE 0x01000000
/*
 * Dirty pages are written when they must be (page-out, msync, the last unmapping, the end of the program), not by their age; FreeBSD's
 * MAP_NOSYNC. A page that another mapping without it shows as well is written by its age all the same.
 */
#define QUIRE_MAP_NOSYNC 0x02000000
/*
 * Flags of the BSDs that are accepted and mean nothing, so that one bit serves both. Semaphores, mutexes and futexes in shared
 * mappings work without: see quire_mmap(3).
 */
#define QUIRE_MAP_HASSEMAPHORE 0x00200000
#define QUIRE_MAP_INHERIT      0x00200000

/*
 * Maps len bytes of fd from offset on, or anonymous memory with MAP_ANONYMOUS (fd -1) or a descriptor of /dev/zero.
 * => prot: PROT_NONE or any of PROT_READ, PROT_WRITE, PROT_EXEC. flags: one of MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, and
 *    any of MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_ANONYMOUS, MAP_LOCKED, MAP_POPULATE, MAP_NORESERVE, QUIRE_MAP_ATOMIC,
 *    QUIRE_MAP_SNAPSHOT, QUIRE_MAP_EXTEND, QUIRE_MAP_NOCORE, QUIRE_MAP_NOSYNC, QUIRE_MAP_HASSEMAPHORE, QUIRE_MAP_INHERIT;
 *    MAP_GROWSDOWN: a stack of len bytes, private and readable and writable, with a guard below it;
 *    MAP_HUGETLB: the kernel's huge pages, which count as locked; its size in MAP_HUGE_2MB and the like;
 *    MAP_DENYWRITE: the file is not open for writing; who opens it so later is held off, as far as file leases can.
 * => Nothing is read before a page is touched. fd may be closed, and the file unlinked or renamed, while the mapping lives.
 * => EACCES the descriptor does not allow it; EAGAIN MAP_LOCKED over the limit or the budget; EBADF; EEXIST
 *    MAP_FIXED_NOREPLACE; EINVAL; ENFILE, EMFILE; ENODEV the object cannot be mapped; ENOMEM; EOPNOTSUPP a flag that this
 *    version does not serve; EOVERFLOW; EPERM PROT_EXEC on a noexec mount, or userfaultfd is refused (see `quire probe`);
 *    ETXTBSY MAP_DENYWRITE of a file that is open for writing. With QUIRE_MAP_ATOMIC and QUIRE_MAP_SNAPSHOT: EBUSY the file is mapped
 *    without it already, or another process has its journal, which the message names; EUCLEAN, ESTALE, EPROTO the journal is damaged,
 *    of another file, of another version; EOPNOTSUPP a descriptor of quire_open() and its kin; ENOSPC and the like of the journal's file.
 *    Without them: EUCLEAN, EBUSY a journal has commits that are not in the file, and the descriptor cannot write: see `quire recover`.
 */
void *quire_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

/*
 * Removes every mapping in the range, also those that are not Quire's; what straddles its ends is split. Dirty pages of a file that no
 * mapping holds any more are written to the file before the call returns (not synced: that is quire_msync).
 * => EINVAL unaligned addr, len 0; ENOMEM too many mappings after a split; EIO, ENOSPC, EDQUOT … the write failed: the
 *    mapping is still there and nothing was lost.
 */
int quire_munmap(void *addr, size_t len);

/*
 * Grows, shrinks or moves a mapping; as mremap(2). Contents, protection and dirtiness move along; no data is copied.
 * => flags: MREMAP_MAYMOVE; MREMAP_FIXED or MREMAP_DONTUNMAP with it: then new_addr has to follow. old_len 0 duplicates a
 *    shared mapping.
 * => EAGAIN locked memory over its limit; EFAULT the old range is not one mapping; EINVAL; ENOMEM.
 */
void *quire_mremap(void *old_addr, size_t old_len, size_t new_len, int flags, ... /* void *new_addr */);

/* Changes the protection of a range. => EACCES beyond the descriptor's open mode; EINVAL; ENOMEM a hole in the range. */
int quire_mprotect(void *addr, size_t len, int prot);

/*
 * MS_SYNC: on return everything stored in the range is on stable storage. MS_ASYNC: write-back is started. MS_INVALIDATE:
 * clean pages of the range are dropped, so that the next touch sees the storage.
 * => Of atomic mappings: MS_SYNC commits what was stored in the range, as quire_commit() does. MS_ASYNC captures it, and completes later.
 * => EBUSY MS_INVALIDATE over locked pages; EINVAL; ENOMEM a hole in the range: then nothing is committed; EIO, ENOSPC … write-back
 *    failed, now or since the last msync: the pages are still dirty and will be tried again. Of atomic mappings, a commit of MS_ASYNC
 *    that has failed is told by the next call that commits a range of its file.
 */
int quire_msync(void *addr, size_t len, int flags);

/* ---- commits: mappings with QUIRE_MAP_ATOMIC ---- */

/*
 * Makes everything that was stored in n ranges before the call durable, as one: after any crash all of it is there, or nothing. The ranges
 * may be of several files.
 * => A commit is of the pages that hold the ranges, and of the sizes of their files. A store that another thread makes meanwhile is in
 *    this commit or in the next one, by itself.
 * => flags: 0. A range of length 0, and n 0: nothing.
 * => What another thread has committed, and waits for, is waited for as well, where it is of the same pages.
 * => EINVAL flags, n is negative, or a range holds what is not a shared mapping of an atomic file; ENOMEM a hole, or no memory; ENOSPC the
 *    journal has no room, since what is not committed or what snapshots need fills it (QUIRE_JOURNAL), or its disk has none; EIO and the
 *    like. Nothing is committed then. An error of an earlier MS_ASYNC is told, too: then this commit is complete all the same.
 */
int quire_commit(const struct iovec *ranges, int n, int flags);

/*
 * Captures, as of now, what quire_commit would commit, and returns while that is still on its way. Commits complete in the order in which
 * they were begun.
 * => A ticket, above 0, for quire_commit_wait(), which need not be called. event_fd: 1 is added to this eventfd(2) when it is complete
 *    or has failed; it may be closed at once. -1: nobody is told.
 * => -1: EBADF event_fd is not open; EINVAL it is something else; the rest as quire_commit.
 */
int64_t quire_commit_begin(const struct iovec *ranges, int n, int event_fd);

/*
 * Waits until the commit of a ticket is complete. Any number of times, by any thread.
 * => The errno of the commit, which then has not happened; EINVAL no such ticket was given; ESTALE more than a thousand commits have failed
 *    since.
 */
int quire_commit_wait(int64_t ticket);

/*
 * Takes back what was stored in a range since its last commit: its pages are as they were committed. A size that was set since is taken
 * back where the range reaches from the least of those to the end of the file.
 * => Stores of other threads that go on meanwhile are taken back, or come after it. Commits that are on their way are waited for.
 * => EINVAL unaligned, or a part is not a shared mapping of an atomic file; ENOMEM a hole; EIO and the like: a part was taken back.
 */
int quire_rollback(void *addr, size_t len);

/*
 * Copies what is committed into the file that fd is open on, and syncs it, so that read(2) and other programs see it. Not what is newer
 * than a snapshot that is mapped.
 * => EBADF; EINVAL the file is not atomic in this process; EIO, ENOSPC … of the file: nothing is lost.
 */
int quire_checkpoint(int fd);

/*
 * Advice of ours for quire_madvise(), in numbers that Linux gives no meaning.
 * => ONCE: a page that comes in through the range is used once. It is dropped soon after: when 128 reads of other pages have followed,
 *    or a sixteenth of the budget of pages; in whichever order they are read. So a reader of far more than the budget displaces
 *    nothing that is used through other mappings. What was resident before he came, or is used by others meanwhile, stays with them;
 *    what is stored to is written first, and dropped when room is needed. Readahead goes on, with windows half as long.
 * => REUSE takes that back. Both leave MADV_NORMAL, MADV_RANDOM and MADV_SEQUENTIAL as they are. They do nothing to anonymous memory.
 */
#define QUIRE_MADV_ONCE  0x515501
#define QUIRE_MADV_REUSE 0x515502

/*
 * As madvise(2). => EINVAL unknown advice, unaligned, locked pages; ENOMEM a hole; EFAULT MADV_POPULATE_* of a page that cannot
 * be had; EACCES MADV_REMOVE without the right to write.
 * => MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK (private memory without a file, else EINVAL), MADV_KEEPONFORK: see quire_minherit().
 *    Over a hole they are ENOMEM, and what is around it has been changed, as on Linux.
 * quire_posix_madvise returns the error number, as posix_madvise(3) does, and leaves errno alone.
 */
int quire_madvise(void *addr, size_t len, int advice);
int quire_posix_madvise(void *addr, size_t len, int advice);

/*
 * What a child made by fork(2) has in the place of a range, in FreeBSD's words and numbers. <quire/mman.h> gives them their plain names.
 * => SHARE: the same pages, which both see each other store to; the default of shared mappings. A private one becomes shared memory
 *    by it, with the bytes that it has, and is the file's no more. COPY: a private view, copied on write; the default of private
 *    mappings. A shared one stays as it is in this process, and what is stored there shows in the child until
 *    the child stores to the page. NONE: nothing. ZERO: fresh anonymous memory.
 * => The same is said by quire_madvise(): MADV_DONTFORK hides what else is set, and MADV_DOFORK shows it again; MADV_WIPEONFORK is
 *    ZERO, and MADV_KEEPONFORK takes it back.
 */
#define QUIRE_INHERIT_SHARE 0
#define QUIRE_INHERIT_COPY  1
#define QUIRE_INHERIT_NONE  2
#define QUIRE_INHERIT_ZERO  3

/*
 * As minherit(2) of FreeBSD, for the pages that hold the range. len 0 does nothing.
 * => EINVAL inherit, a range outside of the address space, COPY of shared huge pages, SHARE of private ones; ENOMEM a hole, or memory that
 *    is not Quire's; with SHARE of a private mapping also ENOMEM and the errno of a page that cannot be brought in: what was made shared
 *    until then reads as before, and is inherited by COPY.
 */
int quire_minherit(void *addr, size_t len, int inherit);

/* vec[i] bit 0: page i of the range is resident in the engine. => EINVAL unaligned; ENOMEM a hole. */
int quire_mincore(void *addr, size_t len, unsigned char *vec);

/*
 * Makes a range resident and keeps it so. => ENOMEM a hole, over RLIMIT_MEMLOCK, or over what the budget can hold; EAGAIN some
 * page could not be brought in; EPERM RLIMIT_MEMLOCK is 0; EINVAL.
 */
int quire_mlock(const void *addr, size_t len);
int quire_mlock2(const void *addr, size_t len, unsigned flags);
int quire_munlock(const void *addr, size_t len);
/* MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT over every mapping of the engine. */
int quire_mlockall(int flags);
int quire_munlockall(void);

/*
 * Opens a file, or filters over one, for quire_mmap().
 * => uri: a path or file:PATH, of which a plain descriptor is made, as by open(2); or filters, each before what it stands over:
 *
 *        error:rate=0.01,errno=EIO,op=read,seed=7:file:PATH   operations fail by chance, the same ones for each seed; after=N
 *                                                             succeed first, count=N fail at most
 *        delay:us=500,op=write:URI                            operations begin later
 *        trace:file=TRACE:URI                                 each leaves a line: time, operation, offset, length, bytes, error, µs
 *
 *    op is read, write, sync, resize, discard or all, and all by default. A path with a colon before its first slash: file:PATH.
 * => oflags, mode: as for open(2); with filters O_RDONLY or O_RDWR.
 * => A descriptor with filters is for quire_mmap(), quire_ftruncate(), fstat() (st_size), dup() and close(); read(2), write(2) and
 *    mmap(2) on it fail. What is mapped through it has pages of its own, apart from those of other mappings of the file.
 * => EINVAL a part of the name is wrong: the message says which; ENODEV filters over what is neither a regular file nor a block
 *    device; ENOMEM; and what open(2) says.
 */
int quire_open(const char *uri, int oflags, mode_t mode);

/*
 * Opens shared memory by its name, or makes it, as shm_open(3): memory of size 0, whose size ftruncate() or quire_ftruncate() sets. It is
 * counted in the budget and swapped. The name is known to this process and its children by fork, and ends with the first of them.
 * => name: a slash, and up to 255 bytes without one. oflags: O_RDONLY or O_RDWR, O_CREAT, O_EXCL, O_TRUNC. The descriptor is for
 *    quire_mmap(), quire_ftruncate(), ftruncate(), fstat(), fchmod(), dup() and close(), and has FD_CLOEXEC; read(2), write(2) and
 *    mmap(2) on it fail.
 * => EACCES its permissions; EEXIST O_CREAT and O_EXCL; EINVAL the name or the flags; EMFILE, ENFILE; ENAMETOOLONG; ENOENT; ENOMEM.
 */
int quire_shm_open(const char *name, int oflags, mode_t mode);

/* Takes a name away. The memory lives on while it is open or mapped. => EINVAL, ENAMETOOLONG the name; ENOENT. */
int quire_shm_unlink(const char *name);

/* Sets the size of a file, mapped or not, and of its mappings at once. The rest as ftruncate(2). */
int quire_ftruncate(int fd, off_t size);

/* The size of a page in bytes, as sysconf(_SC_PAGESIZE) says it. Any context. */
size_t quire_pagesize(void);

/*
 * 1 when every page of the range is resident and mapped or can be without I/O, else 0. Makes no system call, but where another thread
 * is changing mappings at that moment, for which it waits; in the child of a fork it asks the engine's process.
 */
int quire_resident(const void *addr, size_t len);

/*
 * Begins to bring in every page of n ranges and returns, without waiting for storage. When all of it is resident or has failed, 1 is
 * added to eventfd, an eventfd(2); -1: nobody is told. It may be closed at once.
 * => Ranges may lie anywhere, begin and end inside of pages, overlap, and span mappings of several files. len 0: none.
 * => A page that comes alone is mapped: its first touch is no fault. Pages that come together with neighbours are mapped by the first
 *    fault on one of them, without I/O. Private pages that are in the swap are brought in; private memory that was never stored to
 *    has nothing to fetch, and stays as it is.
 * => A list brings in at most half of the budget, from its beginning; what is resident does not count. The rest is left to its
 *    faults, as is what storage failed to give, and what lies past the end of a file. Pages that are brought in may push out others,
 *    and be pushed out before they are touched, as all pages may.
 * => EAGAIN 65536 ranges of earlier lists are waiting to be begun, or the thread that does so cannot be started; EBADF eventfd is not
 *    open; EINVAL n is negative, a range leaves the address space, or eventfd is something else; EMFILE, ENFILE no descriptor is left
 *    for a duplicate of it; ENOMEM nothing of Quire's is mapped in a part of a range, or no memory.
 */
int quire_prefetch(const struct iovec *ranges, int n, int eventfd);

/*
 * The ranges of pages that were stored to and are not yet written to their file: how many there are, as snprintf counts, of which the
 * first n are put into ret_ranges, in the order of their addresses. n 0: they are only counted.
 * => addr and len may lie inside of pages. A range that is told consists of whole pages; it may hold bytes that were not stored to, and
 *    a page is told for a moment longer than it is dirty. Nothing that was stored before the call is left out, unless it is written.
 *    Written is not synced: quire_msync(MS_SYNC) is what makes stores durable.
 * => Of private mappings: the pages that they have copies of, which never are written to a file. Of shared memory without a file:
 *    all that was ever stored to. Of atomic mappings: what is not committed.
 * => Costs a look at the kernel's page tables, about half a millisecond for each GiB that is resident.
 * => EINVAL n is negative; ENOMEM nothing of Quire's is mapped in a part of the range; what PAGEMAP_SCAN fails with.
 */
int quire_dirty(const void *addr, size_t len, struct iovec *ret_ranges, int n);

/*
 * Epochs: what was stored to since, for incremental copies. quire_epoch ends one and begins the next, and gives the number of the one
 * that ended. quire_written tells the ranges of pages that were stored to after it, counted and put into ret_ranges as by quire_dirty,
 * whether they have been written to the file, paged out and read again since, or not. A copy that is kept up to date:
 *
 *         quire_epoch(p, len, &next);
 *         count = quire_written(p, len, last, ranges, n);   first time: last is 0, and everything is told
 *         copy the ranges; last = next;
 *
 * => Any number of clients ask at once: each keeps his own numbers, and none takes anything from another. Numbers grow from 1.
 * => Every store that is made after quire_epoch has returned is told. Some that were made before may be told as well; so are pages whose
 *    epoch lies more than 127 epochs back, and the whole range where its file was not mapped when the epoch ended.
 * => Through whichever shared mapping of this program the page was stored to. What MADV_REMOVE emptied and what a cut of the file took
 *    counts as stored to. Not told: what others write to the file.
 * => since must come from a call of quire_epoch whose range held this one; 0: all that is mapped.
 * => Of private mappings: all pages that they have copies of, whatever the epoch.
 * => Costs nothing before the first call of quire_epoch; from then on, a byte for each page of a run of 512 of which one is stored to.
 *    A call costs what quire_dirty does; where the kernel does not track stores (before 6.7), quire_epoch protects dirty pages anew,
 *    and the next store to each is a fault.
 * => EINVAL n is negative, or no call has given since; ENOMEM nothing of Quire's is mapped in a part of the range; what PAGEMAP_SCAN
 *    fails with.
 */
int quire_epoch(const void *addr, size_t len, uint64_t *ret_epoch);
int quire_written(const void *addr, size_t len, uint64_t since, struct iovec *ret_ranges, int n);

/*
 * Copies len bytes from a mapping, or into one, as memcpy does, page by page: where a page cannot be had, the call fails instead of the
 * program. Scopes of any code that do the same: <quire/guard.h>.
 * => ret_done, which may be NULL: how many bytes were copied, also where the call fails: up to the page that cannot be had.
 * => Any memory may be given, also for both sides. Memory that is not Quire's raises its signals as ever.
 * => Threads that block SIGBUS may call it.
 * => EIO, or what else the storage said; ENODATA the page lies past the end of the file; ENOMEM no frame can be had; ENOSPC … likewise,
 *    since what is dirty cannot be written; what a page hook has answered.
 */
int quire_load(void *to, const void *addr, size_t len, size_t *ret_done);
int quire_store(void *addr, const void *from, size_t len, size_t *ret_done);

/* What was being done when an error came. */
enum quire_error_during {
	QUIRE_DURING_LOAD = 1,      /* a load from the mapping */
	QUIRE_DURING_STORE = 2,     /* a store into it */
	QUIRE_DURING_WRITEBACK = 3, /* dirty pages on their way to the storage */
};

struct quire_error {
	int error; /* errno, as quire_load() names it; of write-back what the storage has said */
	enum quire_error_during during;
	unsigned tries; /* how often this one has been tried again already */
	void *addr;     /* what was touched; of write-back, the first of the pages in the mapping */
	off_t offset;   /* where in the object that is, in bytes; -1: it has none */
	size_t len;     /* of write-back: bytes in the mapping that were not written; else 1 */
};

enum quire_error_answer {
	QUIRE_ANSWER_FAIL = 0,  /* as without a callback: a guard's error or SIGBUS; of write-back, the page stays dirty */
	QUIRE_ANSWER_RETRY = 1, /* it is tried again, at once */
	QUIRE_ANSWER_ZERO = 2,  /* a page of zeros is put there. Of write-back: as FAIL */
};

/*
 * Has the program asked what to do where a page of the range cannot be had, before SIGBUS is raised or a guard ends, and where its dirty
 * pages cannot be written. callback NULL: as it was. The range may span several mappings; what is split off, moved or duplicated keeps
 * its callback.
 * => A touch: called on the thread that touched the page, in the engine's handler of SIGBUS, with signals blocked but SIGSEGV; under both
 *    traps. Write-back: called on whichever thread writes: one of the engine's, one that is inside a call of Quire, or a handler as
 *    above; calls that change mappings wait for it to end, this one and quire_munmap() too.
 * => The callback must be async-signal-safe, must not touch managed memory, and must call nothing of Quire but quire_pagesize(). It may
 *    make room, write to the file, sleep.
 * => Not asked: where a system call or quire_mlock() and its like meet the page. They fail.
 * => ZERO. The page is zeros for the mapping whose callback has said so, and counted (filled_pages). It is not dirty, so it is never
 *    written, unless the program stores to it: then it is the program's data, zeros and all. Another mapping's touch of it, and one's own
 *    once it was unmapped by page-out, ask the storage again. Past the end of the file, what is stored is never written and lasts as
 *    long as the page is resident. In a private mapping the page is a private copy of zeros from then on. There are no zeros for a page
 *    that is in the swap file, nor where no frame can be had: FAIL.
 * => RETRY of write-back ends after 16 tries: then the pages stay dirty.
 * => EINVAL unaligned; ENOMEM a hole in the range.
 */
int quire_on_error(void *addr, size_t len, enum quire_error_answer (*callback)(void *arg, const struct quire_error *error),
		   void *arg);

/*
 * What a program does to the bytes of each page on their way between the storage and memory: verify and stamp its own checksums, or
 * encode what is stored.
 */
struct quire_page_hooks {
	size_t size; /* sizeof(struct quire_page_hooks), for versions to come */
	/*
	 * A page was read, len bytes of it (a page, less in the last of the file), and nobody has seen it yet. May change the bytes.
	 * => 0, or an errno (EBADMSG, EILSEQ …), which the touch then fails with: the page stays out of memory. NULL: nothing to do.
	 */
	int (*page_in)(void *arg, off_t offset, void *bytes, size_t len);
	/*
	 * A page is about to be written. bytes is a copy, which no store changes any more; what is changed in it is written, and not
	 * seen in memory, until the page comes in again.
	 * => 0, or an errno: then it is not written, stays dirty, and msync tells. NULL: nothing to do.
	 */
	int (*page_out)(void *arg, off_t offset, void *bytes, size_t len);
	/* No hook is running nor will be called with this arg. May be NULL. */
	void (*release)(void *arg);
	void *arg;
};

/*
 * Gives the file that is mapped at addr hooks, for all of it, through all its mappings in this program, until the last one is removed.
 * To be called before the first touch: a page that is in memory has not passed page_in.
 * => Every page that comes in passes page_in, every page that is written passes page_out: by a touch, readahead, page-out, msync,
 *    munmap, or at the end of the program. A page that is read more than once passes more than once.
 * => A hook runs on whichever thread reads or writes: that of the touch, in a signal handler under the signal trap; one of the engine's;
 *    one inside of a call of Quire. It must be async-signal-safe, may run on several threads at once for different pages, must not touch
 *    managed memory, and must call nothing of Quire but quire_pagesize(). Others may wait for it. release runs on a thread of the
 *    engine's or inside of a call, not in a signal handler, and must not call Quire either.
 * => A hole of the file comes in as zeros, and quire_ftruncate cuts a page without page_out. EAGAIN, ENODATA and ENOMEM of a hook are
 *    taken for EIO.
 * => EBUSY a page of the file is in memory (quire_madvise MADV_PAGEOUT puts it out), or it has hooks already; EINVAL size; ENODEV the
 *    memory at addr has no file; ENOMEM nothing is mapped at addr, or no memory.
 */
int quire_set_page_hooks(const void *addr, const struct quire_page_hooks *hooks);

/* The last failed call of this thread, as a sentence: «quire_mmap: …». Valid until its next failed call. Never NULL. */
const char *quire_errormsg(void);

/* ---- settings ---- */

enum quire_trap {
	QUIRE_TRAP_AUTO = 0,   /* thread where the kernel lets us serve faults inside system calls, else signal */
	QUIRE_TRAP_SIGNAL = 1, /* resolved on the faulting thread, in a SIGBUS handler: fastest */
	QUIRE_TRAP_THREAD = 2, /* resolved by threads of the engine: also serves faults inside system calls */
};

/* Whether a process stands by that writes what was stored to files when this one is killed. */
enum quire_keeper {
	QUIRE_KEEPER_AUTO = 0, /* on */
	QUIRE_KEEPER_ON = 1,
	QUIRE_KEEPER_OFF = 2, /* such stores are lost with the program, up to expire_ms of them */
};

/* Whether a thread that waits for a read looks for its end, awake, instead of sleeping. */
enum quire_polling {
	QUIRE_POLLING_AUTO = 0, /* on */
	QUIRE_POLLING_ON = 1,   /* for a quarter of a millisecond at most, giving way to any thread that wants the processor */
	QUIRE_POLLING_OFF = 2,  /* a fault takes longer, and no processor's time while it waits */
};

/* Zero in a field means: not set, take the environment's or the default. */
struct quire_config {
	size_t size; /* sizeof(struct quire_config), for versions to come */
	size_t
	    memory_bytes; /* budget of resident bytes. QUIRE_MEMORY=256M. Default: half of what the cgroup or the machine allows */
	enum quire_trap trap;     /* QUIRE_TRAP=auto|signal|thread */
	const char *swap_dir;     /* QUIRE_SWAP=DIR, for an unlinked file. Default: TMPDIR, else /var/tmp. Copied. */
	const char *debug;        /* QUIRE_DEBUG=word,word…: switches parts off to test the degraded paths; see docs/testing.md */
	unsigned expire_ms;       /* age at which a dirty page is written back. Default 5000. QUIRE_EXPIRE_MS */
	uint64_t journal_bytes;   /* the most that the journal of an atomic file may take. QUIRE_JOURNAL=64M. Default: 256M */
	enum quire_keeper keeper; /* QUIRE_KEEPER=on|off */
	enum quire_polling polling; /* QUIRE_POLLING=on|off */
};

/* Before the first mapping. => EBUSY after it; EINVAL a value out of range. */
int quire_configure(const struct quire_config *config);

/* Changes the budget while running; pages are paged out until it is kept. => EINVAL too small; ENOMEM too much is locked. */
int quire_set_memory(size_t bytes);

/* ---- seen from outside ---- */

struct quire_stats {
	uint64_t budget_bytes;        /* what may be resident */
	uint64_t resident_bytes;      /* pages, private copies and engine buffers, now */
	uint64_t resident_peak_bytes; /* the most there ever was */
	uint64_t buffer_bytes;        /* engine buffers, part of resident_bytes */
	uint64_t dirty_bytes;         /* known to differ from the storage */
	uint64_t swapped_bytes;       /* private pages that are out */
	uint64_t locked_bytes;
	uint64_t metadata_bytes; /* page words, tables */
	uint64_t areas, objects;
	uint64_t major_faults;             /* waited for storage */
	uint64_t minor_faults;             /* the page was resident */
	uint64_t write_faults;             /* first stores that were caught (not those tracked asynchronously) */
	uint64_t copy_faults;              /* private copies made */
	uint64_t zero_faults;              /* anonymous pages born */
	uint64_t error_faults;             /* the page could not be had */
	uint64_t read_calls, read_bytes;   /* from storage, swap included */
	uint64_t write_calls, write_bytes; /* to storage, swap included */
	uint64_t
	    copied_bytes; /* from a buffer into frames: the one copy of what was read, rounded to pages. Frames of 2 MiB need none */
	uint64_t readahead_pages, readahead_hits;
	uint64_t evicted_pages;   /* frames given back */
	uint64_t refaulted_pages; /* came back soon after they were evicted */
	uint64_t swap_in_pages, swap_out_pages;
	uint64_t writeback_errors;
	enum quire_trap trap;              /* the one in use */
	uint64_t filled_pages;             /* zeros in the place of pages that could not be had: QUIRE_ANSWER_ZERO */
	uint64_t commits, committed_bytes; /* of atomic files */
	uint64_t journal_bytes;            /* length of the journals, now */
	uint64_t checkpoints;
	uint64_t snapshots;    /* that are mapped */
	uint64_t huge_bytes;   /* of files: mapped by entries of 2 MiB, or so until lately */
	uint64_t polled_reads; /* part of read_calls: the thread that waited for it looked for its end, awake */
};

/* Fills what ret has room for. size is sizeof(struct quire_stats). => EINVAL size 0. */
int quire_stats_get(struct quire_stats *ret, size_t size);

struct quire_area_stats {
	void *addr;
	size_t len;
	int prot,
	    flags; /* PROT_*, MAP_SHARED or MAP_PRIVATE, MAP_ANONYMOUS, MAP_LOCKED, MAP_HUGETLB; MAP_GROWSDOWN: the guard below a stack */
	off_t offset;
	uint64_t major_faults, minor_faults;
	uint64_t resident_bytes;
};

/* The area that holds addr. => ENOMEM none. */
int quire_area_stats_get(const void *addr, struct quire_area_stats *ret);

/* Prints every area, a line each, like /proc/self/maps. => errno of the write. */
int quire_maps(FILE *out);

/* One line each: what this kernel and these privileges allow, what is used, and how to get better. => errno of the write. */
int quire_probe(FILE *out);

/* "0.1.0" */
const char *quire_version(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
