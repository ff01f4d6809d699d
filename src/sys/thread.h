/* SPDX-License-Identifier: MIT */
/*
 * thread.h - the engine's own threads
 */
#ifndef QUIRE_SYS_THREAD_H
#define QUIRE_SYS_THREAD_H

#include <pthread.h>

/* Starts a thread with all signals blocked, a small stack and a name that ps shows (at most 15 characters). 0 or -errno. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*main)(void *), void *arg);

/* Likewise with a stack of the usual size, for code of the program's. */
int thread_start_roomy(pthread_t *ret_thread, const char *name, void *(*main)(void *), void *arg);

#endif
