/* SPDX-License-Identifier: MIT */
/*
 * next.h - the C library's functions behind those that the preload puts in front of them
 *
 * Three callers, three ways:
 *
 *   the program   calls read(), which is the preload's, and which calls NEXT(read): the C library's, with its points of cancellation.
 *   the engine    is linked into the preload by --wrap, so that its read() is __wrap_read() of kernel.c: never the preload's.
 *   libraries     call the preload's, as the program does.
 */
#ifndef QUIRE_PRELOAD_NEXT_H
#define QUIRE_PRELOAD_NEXT_H

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

// clang-format off
#define NEXT_FUNCTIONS(X) \
	X(syscall) X(read) X(pread) X(readv) X(preadv) X(preadv2) X(write) X(pwrite) X(writev) X(pwritev) X(pwritev2) \
	X(open) X(openat) X(creat) X(fopen) X(freopen) X(fdopen) X(fflush) X(fflush_unlocked) X(fcloseall) X(fclose) \
	X(dup) X(dup2) X(dup3) X(fcntl) X(close) X(close_range) X(ftruncate) X(truncate) X(fallocate) \
	X(posix_fallocate) X(fsync) X(fdatasync) X(sync) X(syncfs) X(sync_file_range) X(sendfile) X(copy_file_range) \
	X(splice) X(tee) X(vmsplice) X(flock) X(lockf) X(send) X(sendto) X(sendmsg) X(recv) X(recvfrom) X(recvmsg) \
	X(sigaction) X(sigprocmask) X(pthread_sigmask) X(execve) X(execvp) X(execvpe) X(fexecve) X(posix_spawn) \
	X(posix_spawnp) X(system) X(popen) X(pclose) X(vfork) X(wait) X(waitpid) X(waitid) X(wait3) X(wait4) X(shmat) \
	X(shmdt) X(_exit) X(pthread_exit)
// clang-format on

struct next {
#define NEXT_POINTER(name) __typeof__(&name) name##_;
	NEXT_FUNCTIONS(NEXT_POINTER)
#undef NEXT_POINTER
};

extern struct next next;
/* Finds them all. Any number of times, by any thread. */
void next_find(void);

#define NEXT(name) (__builtin_expect(next.name##_ != NULL, 1) ? next.name##_ : (next_find(), next.name##_))

/* In front of what the preload exports. */
#define INTERPOSED __attribute__((visibility("default")))

/* One that reads arguments which the caller need not have passed, as the C library's does: a sanitizer is not to mind. */
#define READS_ALL __attribute__((no_sanitize("address")))

#endif
