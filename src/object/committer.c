/* SPDX-License-Identifier: MIT */
/*
 * committer.c - the thread that ends commits nobody waits for, and looks after the journals
 *
 * Commits end in the order of their tickets, so one number tells which have ended, and only failures have to be remembered. Between them,
 * and now and then, it makes checkpoints that are due, and room ahead of need.
 */
#include "object/committer.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sys/thread.h"

#define TICK_MS 500

/* ---- the end of commits ---- */

static struct commit *take(struct committer *committer)
{
	struct commit *commit;

	lock_acquire(&committer->lock);
	commit = committer->head;
	if (commit)
		committer->head = commit->next;
	lock_release(&committer->lock);
	return commit;
}

static void note_end(struct committer *committer, uint64_t ticket, int r)
{
	lock_acquire(&committer->lock);
	committer->done = ticket;
	if (r < 0)
		committer->failed[committer->failures++ % FAILURES_KEPT] = (struct failure){ticket, -r};
	lock_release(&committer->lock);
	atomic_fetch_add(&committer->ended, 1);
	futex_wake_all(&committer->ended);
}

static void end(struct committer *committer, struct commit *commit)
{
	uint64_t ticket = commit->ticket;
	int event_fd = commit->event_fd;
	struct identity event = commit->event;
	struct pollfd counter = {.fd = event_fd, .events = POLLOUT};

	note_end(committer, ticket, commit_end(commit));
	if (event_fd < 0 || identity_check(event_fd, &event) < 0)
		return;
	/* A counter that is full, which another process may see to, has been told enough. */
	if (poll(&counter, 1, 0) == 1 && (counter.revents & POLLOUT))
		(void)eventfd_write(event_fd, 1);
	/* Who was told may have closed it since, with all others. */
	identity_close(event_fd, &event);
}

/* ---- journals ---- */

static bool has_more(struct committer *committer)
{
	bool more;

	lock_acquire(&committer->lock);
	more = committer->head;
	lock_release(&committer->lock);
	return more || atomic_load(&committer->stopping);
}

/* What fails is tried again at the next time; a commit that finds no room for it tells why. */
static void tend(struct committer *committer)
{
	for (struct atomic_file *file = atomic_next(committer->atomics, NULL); file; file = atomic_next(committer->atomics, file)) {
		if (has_more(committer)) {
			atomic_release(file);
			return;
		}
		if (journal_wants_checkpoint(file->journal))
			(void)journal_checkpoint(file->journal);
		(void)journal_prepare(file->journal);
	}
}

static void *committer_main(void *arg)
{
	static const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
	struct committer *committer = arg;

	for (;;) {
		uint32_t seen = atomic_load(&committer->word);
		struct commit *commit = take(committer);

		if (commit) {
			end(committer, commit);
			continue;
		}
		if (atomic_load(&committer->stopping))
			return NULL;
		tend(committer);
		futex_wait(&committer->word, seen, &tick);
	}
}

/* ---- calls ---- */

int committer_start(struct committer *committer, struct atomics *atomics)
{
	int r = 0;

	lock_acquire(&committer->lock);
	if (!committer->started) {
		committer->atomics = atomics;
		atomic_store(&committer->stopping, false);
		r = thread_start(&committer->thread, "quire-journal", committer_main, committer);
		committer->started = r == 0;
	}
	lock_release(&committer->lock);
	return r;
}

void committer_stop(struct committer *committer)
{
	if (!committer->started)
		return;
	atomic_store(&committer->stopping, true);
	committer_poke(committer);
	pthread_join(committer->thread, NULL);
	committer->started = false;
}

uint64_t committer_add(struct committer *committer, struct commit *commit, int event_fd)
{
	uint64_t ticket;

	commit->event_fd = event_fd;
	if (event_fd >= 0)
		(void)identity_get(event_fd, &commit->event);
	commit->next = NULL;
	lock_acquire(&committer->lock);
	ASSERT(committer->started);
	ticket = commit->ticket = ++committer->last;
	if (committer->head)
		committer->tail->next = commit;
	else
		committer->head = commit;
	committer->tail = commit;
	lock_release(&committer->lock);
	committer_poke(committer);
	return ticket;
}

/* How a ticket's commit has ended. 1: it has not. */
static int outcome(struct committer *committer, uint64_t ticket)
{
	uint64_t oldest = committer->failures > FAILURES_KEPT ? committer->failures - FAILURES_KEPT : 0;

	if (ticket == 0 || ticket > committer->last)
		return -EINVAL;
	if (ticket > committer->done)
		return 1;
	for (uint64_t i = committer->failures; i-- > oldest;)
		if (committer->failed[i % FAILURES_KEPT].ticket == ticket)
			return -committer->failed[i % FAILURES_KEPT].error;
	/* Of those before the oldest failure that is known, another may have failed. */
	return oldest > 0 && ticket < committer->failed[oldest % FAILURES_KEPT].ticket ? -ESTALE : 0;
}

int committer_wait(struct committer *committer, uint64_t ticket)
{
	for (;;) {
		uint32_t seen = atomic_load(&committer->ended);
		int r;

		lock_acquire(&committer->lock);
		r = outcome(committer, ticket);
		lock_release(&committer->lock);
		if (r <= 0)
			return r;
		futex_wait(&committer->ended, seen, NULL);
	}
}

void committer_drain(struct committer *committer)
{
	uint64_t last;

	lock_acquire(&committer->lock);
	last = committer->last;
	lock_release(&committer->lock);
	if (last > 0)
		(void)committer_wait(committer, last);
}

void committer_poke(struct committer *committer)
{
	atomic_fetch_add(&committer->word, 1);
	futex_wake_all(&committer->word);
}
