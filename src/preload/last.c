/* SPDX-License-Identifier: MIT */
/*
 * last.c - the end of a program's last thread ends the program
 *
 * So the C library and the kernel have it; but here the engine has threads, too. The program can end in this way only when its first thread has
 * left the others by pthread_exit(): from then on one more thread looks whether any of them is left.
 */
#include "last.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "next.h"
#include "start.h"
#include "sys/keeper.h"
#include "sys/thread.h"

#define LOOK_MS 20

static _Atomic pid_t left;    /* the process whose first thread has left */
static _Atomic pid_t watched; /* the process in which that is looked at */

static void *watch(void *none)
{
	static const struct timespec moment = {.tv_nsec = LOOK_MS * 1000000L};

	(void)none;
	while (!keeper_is_alone())
		nanosleep(&moment, NULL);
	exit(0);
}

void last_watch(void)
{
	pid_t pid = getpid();
	pthread_t thread;

	if (atomic_load(&left) == pid && atomic_exchange(&watched, pid) != pid &&
	    thread_start(&thread, "quire-last", watch, NULL) == 0)
		pthread_detach(thread);
}

INTERPOSED _Noreturn void pthread_exit(void *value)
{
	if (syscall(SYS_gettid) == getpid()) {
		atomic_store(&left, getpid());
		if (start_is_running())
			last_watch();
	}
	NEXT(pthread_exit)(value);
	__builtin_unreachable();
}
