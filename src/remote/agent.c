/* SPDX-License-Identifier: MIT */
/*
 * agent.c - the thread of a served process that does what only the process can do
 *
 * It has its own table of descriptors, so that a program that closes all of its own, or counts them, does not meet those of the
 * agent; and it keeps the userfaultfd open, so that nothing that was managed reads as zeros when the engine has ended: the faults wait
 * until SIGBUS is laid over everything.
 */
#include "remote/agent.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/channel.h"
#include "sys/page_size.h"
#include "sys/thread.h"
#include "sys/uffd.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static void close_between(int after, int before)
{
	if (after + 1 < before)
		(void)syscall(SYS_close_range, after + 1, before - 1, 0);
}

/* Of a copy of the program's table, all but three. */
static int take_own_table(struct agent *agent)
{
	int keep[3] = {agent->socket, agent->uffd, agent->empty}, last = -1;

	if (unshare(CLONE_FILES) < 0)
		return -errno;
	for (unsigned i = 0; i < 3; i++) {
		int least = INT_MAX;

		for (unsigned k = 0; k < 3; k++)
			if (keep[k] > last && keep[k] < least)
				least = keep[k];
		close_between(last, least);
		last = least;
	}
	(void)syscall(SYS_close_range, last + 1, ~0u, 0);
	return 0;
}

bool ranges_lay_over(const struct ranges *ranges, int empty)
{
	bool all = true;

	for (size_t i = 0; i < ranges->count; i++)
		all &= mmap(ranges->all[i].addr, (size_t)(ranges->all[i].end - ranges->all[i].addr), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED | MAP_NORESERVE, empty, 0) != MAP_FAILED;
	return all;
}

/* A thread that ends closes what it has: where something could not be laid over, it stays, since that would read as zeros. */
static void end(struct agent *agent)
{
	bool all;

	lock_acquire(agent->lock);
	all = ranges_lay_over(agent->ranges, agent->empty);
	atomic_store(agent->over, 1);
	futex_wake_all(agent->over);
	for (size_t i = 0; i < agent->ranges->count; i++)
		(void)uffd_wake(agent->uffd, agent->ranges->all[i].addr,
				(size_t)(agent->ranges->all[i].end - agent->ranges->all[i].addr));
	lock_release(agent->lock);
	while (!all)
		pause();
}

static void take_place(struct agent *agent, char *addr, size_t len)
{
	ranges_add(agent->ranges, addr, len);
	ranges_remove(agent->lost, addr, len);
}

/* Keeps account of what is managed. Two changes at most. */
static long perform(struct agent *agent, const struct memory_op *op)
{
	long r;

	lock_acquire(agent->lock);
	r = ranges_prepare(agent->ranges);
	if (r == 0)
		r = ranges_prepare(agent->lost);
	if (r == 0)
		r = memory_do(op);
	if (r >= 0 && op->kind == MEMORY_MAP)
		take_place(agent, (char *)r, op->len);
	else if (r == 0 && op->kind == MEMORY_UNMAP)
		ranges_remove(agent->ranges, op->addr, op->len);
	if (r >= 0 && op->kind == MEMORY_MOVE) {
		if (!(op->flags & MREMAP_DONTUNMAP))
			ranges_remove(agent->ranges, op->addr, op->len);
		take_place(agent, (char *)r, op->to_len);
	}
	lock_release(agent->lock);
	return r;
}

static void answer(struct agent *agent, const struct agent_request *request, struct memory_op *ops, char *bytes)
{
	uint32_t asked = agent_word(request->number, AGENT_ASKED);
	struct agent_reply reply = {.number = request->number};
	struct channel_message out = {.head = &reply, .head_len = sizeof(reply), .body = bytes};

	bool does = atomic_compare_exchange_strong(&agent->line->word, &asked, agent_word(request->number, AGENT_DOES));

	atomic_store(&agent->line->seen, request->number);
	if (!does)
		return;
	if (!request->read) {
		for (uint32_t i = 0; i < request->n && reply.result >= 0; i++)
			reply.result = perform(agent, &ops[i]);
	} else if (ops[0].len > AGENT_READ_BYTES) {
		reply.result = -EINVAL;
	} else {
		reply.result = memory_read(ops[0].addr, ops[0].len, bytes);
		out.body_len = reply.result == 0 ? ops[0].len : 0;
	}
	(void)channel_send(agent->socket, &out);
}

static void *agent_main(void *arg)
{
	static char bytes[AGENT_READ_BYTES];
	struct agent *agent = arg;
	struct agent_request request;
	struct memory_op ops[FAR_OPS];
	struct channel_message message = {.head = &request, .head_len = sizeof(request), .body = ops, .body_len = sizeof(ops)};
	int r;

	agent->error = take_own_table(agent);
	atomic_store(&agent->state, 1);
	futex_wake_all(&agent->state);
	if (agent->error < 0)
		return NULL;
	while ((r = channel_receive(agent->socket, &message)) == 0 || r == -EPROTO) {
		if (r == 0 && request.n > 0 && message.body_len == request.n * sizeof(ops[0])) {
			for (uint32_t i = 0; i < request.n; i++)
				ops[i].fd = ops[i].fd >= 0 && (unsigned)ops[i].fd < message.n_fds ? message.fds[ops[i].fd] : -1;
			answer(agent, &request, ops, bytes);
		}
		message.body_len = sizeof(ops);
		while (message.n_fds > 0)
			close(message.fds[--message.n_fds]);
	}
	end(agent);
	return NULL;
}

int agent_start(struct agent *agent)
{
	pthread_t thread;
	int r;

	agent->state = 0;
	r = thread_start(&thread, "quire-agent", agent_main, agent);
	if (r < 0)
		return r;
	pthread_detach(thread);
	while (atomic_load(&agent->state) == 0)
		futex_wait(&agent->state, 0, NULL);
	return agent->error;
}
