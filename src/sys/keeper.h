/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - a process that shares memory and descriptors with this one, and is there when this one has died
 */
#ifndef QUIRE_SYS_KEEPER_H
#define QUIRE_SYS_KEEPER_H

#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/lock.h"

struct keeper {
	/*
	 * What it does when all threads of the process have gone, by SIGKILL, say, or by exec: the memory is as they have left it. It shares the
	 * thread-local data of a thread that is dead, allocates nothing, and takes no lock.
	 */
	void (*work)(struct keeper *keeper);
	void *arg;

	struct lock lock;       /* one at a time starts it or ends it */
	_Atomic bool there;     /* [lock] */
	pid_t process;          /* [lock] whose it is */
	pthread_t thread;       /* [lock] its parent */
	char *memory;           /* [lock] its stack, and its buffer above it */
	_Atomic uint32_t state; /* futex: enum of keeper.c */
	_Atomic pid_t pid;
	_Atomic bool leaves; /* with alive marked: it is to go, and leave its work undone */
	int error;
	/* The kernel's last words on the thread. */
	struct robust_list_head list;
	struct robust_list entry;
	_Atomic uint32_t alive;
	int sign;         /* [lock] a socket by which others find it, by the program's number; -1: none */
	ino_t sign_inode; /* [lock] of it: the program may have closed it, and opened something else */
	uint64_t nonce;   /* another process has another, if any, at its address */
};

#define KEEPER_BUFFER ((size_t)256 << 10)

/* work and arg are set. 0 also where it is there already; or -errno. Signals are blocked. */
int keeper_start(struct keeper *keeper);
/* Ends it; its work is not done. False: there is none, or it is another process's. Signals are blocked. */
bool keeper_stop(struct keeper *keeper);

/* For its work: page aligned, KEEPER_BUFFER bytes. */
static inline void *keeper_buffer(const struct keeper *keeper)
{
	return keeper->memory;
}

/* Whether no thread of the program is there but this one. Async-signal-safe. */
bool keeper_is_alone(void);

/* For its work: closes pipes, sockets and terminals, but except: what others wait for the end of. */
void keeper_close_streams(const struct keeper *keeper, int except);

/* For its work: a descriptor of a file by which it can be written at offsets, whosever it is; or -1. */
int keeper_find_file(dev_t dev, ino_t ino);

/* A process that this one may wait for has ended: waits for its keeper, if it has one that is at work still. Async-signal-safe. */
void keeper_wait_for(pid_t program);
/* Likewise for those of all programs of this user's that have ended: for who does not know which it was. */
void keeper_wait_for_all(void);

#endif
