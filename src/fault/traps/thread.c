/* SPDX-License-Identifier: MIT */
/*
 * thread.c - the trap in threads of the engine: messages of the userfaultfds
 *
 * Leader and followers: one thread at a time reads messages, and resolves by itself what needs no waiting. When a fault has to
 * wait for storage, it hands the lead on and waits: no fault is passed from thread to thread, and a slow one keeps no other.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fault/fault.h"
#include "fault/traps/trap.h"
#include "sys/page_size.h"
#include "sys/thread.h"

#define THREADS      8
#define THREADS_MOST 256
#define SPIN_READS   20 /* looks for the next message before sleeping: a wake-up costs more than some of them */

struct thread_trap {
	struct space *space;
	struct lock lead;
	int stop; /* eventfd: readable when the threads are to end */
	_Atomic bool stopping;
	_Atomic unsigned idle; /* threads that wait for the lead, or have it */
	pthread_t threads[THREADS_MOST];
	unsigned started; /* [lead], once they run */
};

static void *thread_main(void *arg);

struct follower {
	struct thread_trap *trap;
	bool leading;
};

static void hand_on(void *arg)
{
	struct follower *follower = arg;
	struct thread_trap *trap = follower->trap;

	/* All others wait for something, perhaps for long: for a pager of the program's own that is stuck, say. */
	if (atomic_fetch_sub(&trap->idle, 1) == 1 && trap->started < THREADS_MOST && !atomic_load(&trap->stopping) &&
	    thread_start(&trap->threads[trap->started], "quire-fault", thread_main, trap) == 0)
		trap->started++;
	follower->leading = false;
	lock_release(&trap->lead);
}

static void handle(struct follower *follower, int uffd, const struct uffd_event *event)
{
	struct thread_trap *trap = follower->trap;
	struct fault fault = {
	    .space = trap->space,
	    .addr = (char *)event->addr,
	    .write = event->write,
	    .blocking = hand_on,
	    .blocking_arg = follower,
	};

	switch (fault_resolve(&fault)) {
	case FAULT_DONE:
	case FAULT_NONE:
		/* None: unmapped meanwhile. The thread finds out by itself. */
		uffd_wake(uffd, (void *)event->addr, page_size());
		break;
	case FAULT_BUS:
		fault_refuse(trap->space, (char *)event->addr);
		/* The mapping may be gone, and with it the way to wake by its area. */
		uffd_wake(uffd, (void *)event->addr, page_size());
		break;
	}
}

/* One message, waited for. False: the trap stops. */
static bool next_event(struct thread_trap *trap, struct uffd_event *ret_event, int *ret_uffd)
{
	struct pmap *pmap = &trap->space->pmap;
	struct pollfd fds[3] = {
	    {.fd = pmap->shared_uffd, .events = POLLIN},
	    {.fd = pmap->private_uffd, .events = POLLIN},
	    {.fd = trap->stop, .events = POLLIN},
	};

	for (unsigned spin = 0; !atomic_load(&trap->stopping); spin++) {
		for (unsigned i = 0; i < 2; i++)
			if (uffd_read(fds[i].fd, ret_event, 1) > 0) {
				*ret_uffd = fds[i].fd;
				return true;
			}
		if (spin >= SPIN_READS)
			poll(fds, 3, -1);
	}
	return false;
}

static void *thread_main(void *arg)
{
	struct follower follower = {.trap = arg};
	struct uffd_event event;
	int uffd;

	for (;;) {
		if (!follower.leading) {
			atomic_fetch_add(&follower.trap->idle, 1);
			lock_acquire(&follower.trap->lead);
			follower.leading = true;
		}
		if (!next_event(follower.trap, &event, &uffd))
			break;
		handle(&follower, uffd, &event);
	}
	lock_release(&follower.trap->lead);
	return NULL;
}

int thread_trap_start(struct space *space, struct thread_trap **ret)
{
	struct thread_trap *trap = calloc(1, sizeof(*trap));
	int r = 0;

	if (!trap)
		return -ENOMEM;
	trap->space = space;
	trap->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (trap->stop < 0)
		r = -errno;
	lock_acquire(&trap->lead);
	while (r == 0 && trap->started < THREADS) {
		r = thread_start(&trap->threads[trap->started], "quire-fault", thread_main, trap);
		if (r == 0)
			trap->started++;
	}
	lock_release(&trap->lead);
	if (r < 0) {
		thread_trap_stop(trap);
		return r;
	}
	*ret = trap;
	return 0;
}

void thread_trap_stop(struct thread_trap *trap)
{
	uint64_t one = 1;

	if (!trap)
		return;
	atomic_store(&trap->stopping, true);
	if (trap->stop >= 0) {
		ssize_t n = write(trap->stop, &one, sizeof(one));

		(void)n;
	}
	for (unsigned i = 0; i < trap->started; i++)
		pthread_join(trap->threads[i], NULL);
	if (trap->stop >= 0)
		close(trap->stop);
	free(trap);
}
