/* SPDX-License-Identifier: MIT */
/*
 * thread.c - the trap in threads of the engine: messages of the userfaultfds
 *
 * Leader and followers: one thread at a time reads messages, and resolves by itself what needs no waiting. When a fault has to
 * sleep, it hands the lead on and sleeps: no fault is passed from thread to thread, and a slow one keeps no other. As long as it only watches
 * for the end of its read, and nothing else is to be done, it goes on leading (util/duty.h). What
 * other processes say that the engine serves is read by the same threads.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "fault/fault.h"
#include "fault/traps/trap.h"
#include "sys/page_size.h"
#include "sys/thread.h"
#include "util/duty.h"

#define THREADS            8
#define THREADS_FOR_OTHERS 2 /* at first, where only other processes are served */
#define THREADS_MOST       256
#define DEAFEN_MS          1000
#define LOST_MS            100 /* between two looks, when the program has closed the descriptors */
#define SPIN_READS         20  /* looks for the next message before sleeping: a wake-up costs more than some of them */

struct thread_trap {
	struct space *space; /* whose faults are caught here; NULL: none's of this process */
	struct lock lead;
	int stop;    /* eventfd: readable when the threads are to end */
	int sources; /* epoll */
	_Atomic unsigned watched;
	_Atomic bool stopping, deaf;
	_Atomic unsigned serving; /* threads that look at a source, or serve one */
	_Atomic unsigned idle;    /* threads that wait for the lead, or have it */
	pthread_t threads[THREADS_MOST];
	unsigned started; /* [lead], once they run */
};

static void *thread_main(void *arg);

/* What a thread of the trap does just now. */
struct trap_turn {
	struct duty duty; /* to lead */
	struct thread_trap *trap;
	bool leading;
	bool looks; /* … and looks for the next message before it sleeps */
};

void trap_hand_on(struct trap_turn *turn)
{
	struct thread_trap *trap = turn->trap;

	if (!turn->leading)
		return;
	/* All others wait for something, perhaps for long: for a pager of the program's own that is stuck, say. */
	if (atomic_fetch_sub(&trap->idle, 1) == 1 && trap->started < THREADS_MOST && !atomic_load(&trap->stopping) &&
	    thread_start(&trap->threads[trap->started], "quire-fault", thread_main, trap) == 0)
		trap->started++;
	turn->leading = false;
	lock_release(&trap->lead);
}

static void leave_duty(struct duty *duty)
{
	trap_hand_on((struct trap_turn *)duty);
}

/* Whoever leads looks for, or sleeps until there are, messages. */
static int poll_messages(struct thread_trap *trap, int timeout_ms)
{
	struct pollfd fds[4] = {
	    {.fd = trap->space ? trap->space->pmap.tracking_uffd : -1, .events = POLLIN},
	    {.fd = trap->space ? trap->space->pmap.catching_uffd : -1, .events = POLLIN},
	    {.fd = trap->stop, .events = POLLIN},
	    {.fd = trap->sources, .events = POLLIN},
	};

	return poll(fds, atomic_load(&trap->deaf) ? 3 : 4, timeout_ms);
}

/* Another message is there while this thread watches for the end of a read. */
static bool has_work(struct duty *duty)
{
	return poll_messages(((struct trap_turn *)duty)->trap, 0) != 0;
}

void trap_resolve(struct trap_turn *turn, struct space *space, int uffd, const struct uffd_event *event)
{
	struct fault fault = {
	    .space = space,
	    .addr = (char *)event->addr,
	    .write = event->write,
	};
	enum fault_result result;

	duty_now = turn->leading ? &turn->duty : NULL;
	result = fault_resolve(&fault);
	duty_now = NULL;
	turn->looks = true;
	switch (result) {
	case FAULT_DONE:
	case FAULT_NONE:
		/* None: unmapped meanwhile. The thread finds out by itself. */
		uffd_wake(uffd, (void *)event->addr, page_size());
		break;
	case FAULT_BUS:
		fault_refuse(space, (char *)event->addr);
		/* The mapping may be gone, and with it the way to wake by its area. */
		uffd_wake(uffd, (void *)event->addr, page_size());
		break;
	}
}

int thread_trap_watch(struct thread_trap *trap, struct trap_source *source, bool only_end)
{
	struct epoll_event event = {.events = only_end ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP, .data.ptr = source};

	if (epoll_ctl(trap->sources, EPOLL_CTL_ADD, source->fd, &event) < 0)
		return -errno;
	atomic_fetch_add(&trap->watched, 1);
	return 0;
}

void thread_trap_unwatch(struct thread_trap *trap, struct trap_source *source)
{
	if (epoll_ctl(trap->sources, EPOLL_CTL_DEL, source->fd, NULL) == 0)
		atomic_fetch_sub(&trap->watched, 1);
}

/* What a source has to say, if one has. */
static bool serve_source(struct trap_turn *turn)
{
	struct thread_trap *trap = turn->trap;
	struct epoll_event ready;
	bool found;

	if (atomic_load(&trap->watched) == 0)
		return false;
	atomic_fetch_add(&trap->serving, 1);
	found = !atomic_load(&trap->deaf) && epoll_wait(trap->sources, &ready, 1, 0) > 0;
	if (found) {
		struct trap_source *source = ready.data.ptr;

		source->serve(source, turn);
	}
	atomic_fetch_sub(&trap->serving, 1);
	return found;
}

/* A fault of this process's, or another's message that is there. False: neither is, just now. */
static bool serve_one(struct trap_turn *turn)
{
	struct thread_trap *trap = turn->trap;
	struct pmap *pmap = trap->space ? &trap->space->pmap : NULL;
	int uffds[2] = {pmap ? pmap->tracking_uffd : -1, pmap ? pmap->catching_uffd : -1};
	struct uffd_event event;
	int n = 0;

	for (unsigned i = 0; i < 2 && pmap && n >= 0; i++) {
		/* Who closes one closes both. */
		n = uffd_read(uffds[i], i == 0 ? &pmap->tracking : NULL, &event, 1);
		if (n > 0) {
			trap_resolve(turn, trap->space, uffds[i], &event);
			return true;
		}
	}
	/* The program has closed it. What has its number is always ready, and nothing is to be had. */
	if (n < 0)
		nanosleep(&(struct timespec){.tv_nsec = LOST_MS * 1000000}, NULL);
	return serve_source(turn);
}

/* Whether something was served; otherwise the trap stops. */
static bool next(struct trap_turn *turn)
{
	struct thread_trap *trap = turn->trap;
	unsigned looks = turn->looks ? SPIN_READS : 0;

	for (unsigned spin = 0; !atomic_load(&trap->stopping); spin++) {
		if (serve_one(turn))
			return true;
		if (spin >= looks)
			poll_messages(trap, -1);
	}
	return false;
}

static void *thread_main(void *arg)
{
	struct trap_turn turn = {.duty = {has_work, leave_duty}, .trap = arg};

	do {
		if (!turn.leading) {
			atomic_fetch_add(&turn.trap->idle, 1);
			lock_acquire(&turn.trap->lead);
			turn.leading = true;
			turn.looks = false; /* it would be in the way of the one who watches his read */
		}
	} while (next(&turn));
	lock_release(&turn.trap->lead);
	return NULL;
}

void thread_trap_deafen(struct thread_trap *trap)
{
	static const struct timespec moment = {.tv_nsec = 1000000};

	if (!trap)
		return;
	atomic_store(&trap->deaf, true);
	for (unsigned waited_ms = 0; atomic_load(&trap->serving) > 0 && waited_ms < DEAFEN_MS; waited_ms++)
		nanosleep(&moment, NULL);
}

static int start_threads(struct thread_trap *trap)
{
	int r = 0;

	lock_acquire(&trap->lead);
	while (r == 0 && trap->started < (trap->space ? THREADS : THREADS_FOR_OTHERS)) {
		r = thread_start(&trap->threads[trap->started], "quire-fault", thread_main, trap);
		if (r == 0)
			trap->started++;
	}
	lock_release(&trap->lead);
	return r;
}

int thread_trap_start(struct space *space, struct thread_trap **ret)
{
	struct thread_trap *trap = calloc(1, sizeof(*trap));
	int r = 0;

	if (!trap)
		return -ENOMEM;
	trap->space = space;
	trap->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	trap->sources = epoll_create1(EPOLL_CLOEXEC);
	if (trap->stop < 0 || trap->sources < 0)
		r = -errno;
	if (r == 0)
		r = start_threads(trap);
	if (r < 0) {
		thread_trap_stop(trap);
		return r;
	}
	*ret = trap;
	return 0;
}

void thread_trap_suspend(struct thread_trap *trap)
{
	uint64_t one = 1;

	atomic_store(&trap->stopping, true);
	if (trap->stop >= 0) {
		ssize_t n = write(trap->stop, &one, sizeof(one));

		(void)n;
	}
	for (unsigned i = 0; i < trap->started; i++)
		pthread_join(trap->threads[i], NULL);
	trap->started = 0;
}

int thread_trap_resume(struct thread_trap *trap)
{
	uint64_t told;
	ssize_t n = read(trap->stop, &told, sizeof(told));

	(void)n;
	trap->space = NULL;
	atomic_store(&trap->idle, 0);
	atomic_store(&trap->stopping, false);
	return start_threads(trap);
}

void thread_trap_stop(struct thread_trap *trap)
{
	if (!trap)
		return;
	thread_trap_suspend(trap);
	if (trap->sources >= 0)
		close(trap->sources);
	if (trap->stop >= 0)
		close(trap->stop);
	free(trap);
}
