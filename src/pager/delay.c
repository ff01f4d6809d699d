/* SPDX-License-Identifier: MIT */
/*
 * delay.c - a filter that lets operations begin later
 *
 * What is run sleeps on its own thread. What is submitted must not wait there: it goes into a queue with the time at which it is due,
 * and a thread of the filter submits it below at that time. All wait equally long, so the queue is in order of time.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "pager/filter.h"
#include "sys/thread.h"
#include "util/arena.h"
#include "util/clock.h"
#include "util/lock.h"

struct delayed {
	struct delayed *next;
	struct pager_request *request;
	uint64_t due_ns;
};

struct delay_pager {
	struct filter filter;
	struct delay_settings settings;
	struct lock lock;
	struct delayed *head, *tail; /* [lock] */
	struct arena arena;
	pthread_t thread;
	_Atomic uint32_t word; /* futex: changes when something was put into the queue */
	_Atomic bool stopping;
};

static struct delay_pager *delay_of(struct pager *pager)
{
	return (struct delay_pager *)pager;
}

/* A raw call, which is no cancellation point. */
static void sleep_until(uint64_t due_ns)
{
	struct timespec due = {.tv_sec = (time_t)(due_ns / NS_PER_S), .tv_nsec = (long)(due_ns % NS_PER_S)};

	while (clock_ns() < due_ns)
		(void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static void wait_here(struct delay_pager *delay, enum filter_op op)
{
	if (delay->settings.ops & op)
		sleep_until(clock_ns() + delay->settings.us * 1000);
}

static void delay_run(struct pager *pager, struct pager_request *request)
{
	wait_here(delay_of(pager), filter_op_of(request));
	below_of(pager)->ops->run(below_of(pager), request);
}

static void delay_submit(struct pager *pager, struct pager_request *request)
{
	struct delay_pager *delay = delay_of(pager);
	struct delayed *delayed = delay->settings.ops & filter_op_of(request) ? arena_alloc(&delay->arena, sizeof(*delayed)) : NULL;

	/* Without memory, at once. */
	if (!delayed) {
		below_of(pager)->ops->submit(below_of(pager), request);
		return;
	}
	delayed->request = request;
	lock_acquire(&delay->lock);
	delayed->due_ns = clock_ns() + delay->settings.us * 1000;
	*(delay->tail ? &delay->tail->next : &delay->head) = delayed;
	delay->tail = delayed;
	lock_release(&delay->lock);
	atomic_fetch_add(&delay->word, 1);
	futex_wake(&delay->word, 1);
}

static struct delayed *take_first(struct delay_pager *delay)
{
	struct delayed *first;

	lock_acquire(&delay->lock);
	first = delay->head;
	if (first)
		delay->head = first->next;
	if (!delay->head)
		delay->tail = NULL;
	lock_release(&delay->lock);
	return first;
}

static void *delay_main(void *arg)
{
	struct delay_pager *delay = arg;

	while (!atomic_load(&delay->stopping)) {
		uint32_t seen = atomic_load(&delay->word);
		struct delayed *first = take_first(delay);
		struct pager_request *request;

		if (!first) {
			if (!atomic_load(&delay->stopping))
				futex_wait(&delay->word, seen, NULL);
			continue;
		}
		sleep_until(first->due_ns);
		request = first->request;
		arena_free(&delay->arena, first, sizeof(*first));
		delay->filter.below->ops->submit(delay->filter.below, request);
	}
	return NULL;
}

static int delay_sync(struct pager *pager)
{
	wait_here(delay_of(pager), FILTER_SYNC);
	return filter_sync(pager);
}

static void delay_close(struct pager *pager)
{
	struct delay_pager *delay = delay_of(pager);

	atomic_store(&delay->stopping, true);
	atomic_fetch_add(&delay->word, 1);
	futex_wake_all(&delay->word);
	pthread_join(delay->thread, NULL);
	arena_done(&delay->arena);
	filter_close(pager);
}

static const struct pager_ops delay_ops = {
    .name = "delay",
    .size = filter_size,
    .run = delay_run,
    .submit = delay_submit,
    .sync = delay_sync,
    .resize = filter_resize,
    .discard = filter_discard,
    .close = delay_close,
};

int delay_pager_open(const struct delay_settings *settings, struct pager *below, struct pager **ret)
{
	struct delay_pager *delay = filter_new(sizeof(*delay), &delay_ops, below);
	int r;

	if (!delay) {
		below->ops->close(below);
		return -ENOMEM;
	}
	delay->settings = *settings;
	r = thread_start(&delay->thread, "quire-delay", delay_main, delay);
	if (r < 0)
		filter_close(&delay->filter.base);
	else
		*ret = &delay->filter.base;
	return r;
}
