/* SPDX-License-Identifier: MIT */
/*
 * exchange.c - a call, sent to the engine that serves this process, and its reply
 */
#include "remote/exchange.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "remote/wire.h"
#include "sys/channel.h"
#include "util/lock.h"
#include "util/message.h"

#define PASSING_MOST 512 /* descriptors that calls have at a time: a call has three */

/* ---- descriptors of calls ---- */

/*
 * Those that calls have for as long as they last. A fork does not wait for calls of other threads, which may last, and takes copies: the child closes
 * them. Made and closed with the lock, which a fork holds: none is there that is not in the list.
 */
static struct {
	struct lock lock;
	int fds[PASSING_MOST];
	unsigned count; /* more are not known, and are left to the child */
} passing;

/* Lock held. */
static int pass_locked(int fd)
{
	if (fd >= 0 && passing.count < PASSING_MOST)
		passing.fds[passing.count++] = fd;
	return fd;
}

static int pass_pair(int ret[2])
{
	int r;

	lock_acquire(&passing.lock);
	r = channel_pair(ret);
	if (r == 0) {
		pass_locked(ret[0]);
		pass_locked(ret[1]);
	}
	lock_release(&passing.lock);
	return r;
}

static int pass_file(const char *name)
{
	int fd;

	lock_acquire(&passing.lock);
	fd = pass_locked(memfd_create(name, MFD_CLOEXEC));
	lock_release(&passing.lock);
	return fd;
}

static void close_passing(int fd)
{
	lock_acquire(&passing.lock);
	for (unsigned i = 0; i < passing.count; i++)
		if (passing.fds[i] == fd) {
			passing.fds[i] = passing.fds[--passing.count];
			break;
		}
	close(fd);
	lock_release(&passing.lock);
}

void exchange_before_fork(void)
{
	lock_acquire(&passing.lock);
}

void exchange_after_fork_in_parent(void)
{
	lock_release(&passing.lock);
}

void exchange_after_fork_in_child(void)
{
	while (passing.count > 0)
		close(passing.fds[--passing.count]);
	passing.lock = (struct lock){0};
}

/* ---- calls ---- */

const char exchange_ended[] = "the process whose engine serves this one has ended, and the mappings that came from it with it";

int exchange_over(void)
{
	return message_set(EOWNERDEAD, "%s", exchange_ended);
}

/* What is too long for a message goes in a file. -errno, or the descriptor. */
static int put_apart(const struct client_call *call)
{
	int fd = pass_file("quire-call");
	size_t len = call->in_len > call->out_len ? call->in_len : call->out_len;
	int r = fd < 0 || ftruncate(fd, (off_t)len) < 0 ? -errno : 0;

	for (size_t done = 0; r == 0 && done < call->in_len;) {
		ssize_t n = pwrite(fd, (const char *)call->in + done, call->in_len - done, (off_t)done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			r = n == 0 ? -EIO : -errno;
	}
	if (r < 0 && fd >= 0)
		close_passing(fd);
	return r < 0 ? r : fd;
}

static int take_apart(const struct client_call *call, int fd)
{
	for (size_t done = 0; done < call->out_len;) {
		ssize_t n = pread(fd, (char *)call->out + done, call->out_len - done, (off_t)done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return n == 0 ? -EIO : -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int exchange_messages(int calls, struct channel_message *out, struct channel_message *in)
{
	int pair[2];
	int r = pass_pair(pair);

	if (r < 0)
		return r;
	out->fds[0] = pair[1];
	r = channel_send(calls, out);
	close_passing(pair[1]);
	if (r == 0)
		r = channel_wait(pair[0], calls, -1);
	if (r == 0)
		r = channel_receive(pair[0], in);
	close_passing(pair[0]);
	return r == -EPIPE ? -EOWNERDEAD : r;
}

int64_t exchange_call(int calls, const struct client_call *call, bool *ret_not_ours)
{
	struct call_request request = {.name = call->name, .in_len = call->in_len, .out_len = call->out_len};
	struct call_reply reply;
	bool apart = call->in_len > CALL_INLINE || call->out_len > CALL_INLINE;
	struct channel_message out = {.head = &request, .head_len = sizeof(request), .n_fds = 1};
	struct channel_message in = {.head = &reply, .head_len = sizeof(reply)};
	int file = -1, r;

	memcpy(request.arg, call->arg, sizeof(request.arg));
	if (call->fd >= 0) {
		request.arg[4] = call->fd;
		out.fds[out.n_fds++] = call->fd;
	}
	if (apart) {
		file = put_apart(call);
		if (file < 0)
			return message_set(-file, "no memory for the arguments of a call: %s", strerrordesc_np(-file));
		request.apart = 1;
		out.fds[out.n_fds++] = file;
	} else {
		out.body = (void *)(uintptr_t)call->in;
		out.body_len = call->in_len;
		in.body = call->out;
		in.body_len = call->out_len;
	}
	r = exchange_messages(calls, &out, &in);
	if (r == 0 && apart && reply.result >= 0)
		r = take_apart(call, file);
	if (file >= 0)
		close_passing(file);
	if (r < 0)
		return r == -EOWNERDEAD ? exchange_over() : message_set(-r, "the engine cannot be asked: %s", strerrordesc_np(-r));
	if (ret_not_ours)
		*ret_not_ours = reply.not_ours;
	if (call->ret_error)
		*call->ret_error = reply.error;
	if (reply.result < 0 && reply.detail[0])
		message_set((int)-reply.result, "%.*s", CALL_DETAIL, reply.detail);
	if (call->gives_fd && in.n_fds > 0)
		reply.result = in.fds[0];
	return reply.result;
}
