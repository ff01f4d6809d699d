/* SPDX-License-Identifier: MIT */
/*
 * thread.c - the engine's own threads
 */
#include <errno.h>
#include <signal.h>

#include "sys/thread.h"
#include "util/fail.h"

#define STACK_BYTES (256u << 10)

/* stack_bytes 0: as the program's own. */
static int start(pthread_t *ret_thread, const char *name, size_t stack_bytes, void *(*main)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (fail_now(FAIL_ALLOC))
		return -EAGAIN;
	pthread_attr_init(&attr);
	if (stack_bytes)
		pthread_attr_setstacksize(&attr, stack_bytes);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret_thread, &attr, main, arg);
	/* The program's thread-local data lies on the stack, too. */
	if (r == EINVAL) {
		pthread_attr_destroy(&attr);
		pthread_attr_init(&attr);
		r = pthread_create(ret_thread, &attr, main, arg);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r == 0)
		pthread_setname_np(*ret_thread, name);
	return -r;
}

int thread_start(pthread_t *ret_thread, const char *name, void *(*main)(void *), void *arg)
{
	return start(ret_thread, name, STACK_BYTES, main, arg);
}

int thread_start_roomy(pthread_t *ret_thread, const char *name, void *(*main)(void *), void *arg)
{
	return start(ret_thread, name, 0, main, arg);
}
