/* SPDX-License-Identifier: MIT */
/*
 * channel.h - messages with descriptors between two processes
 *
 * A pair of sockets that keep the bounds of messages. Functions return 0 or -errno and are async-signal-safe. -EPIPE: nobody has the
 * other end any more.
 */
#ifndef QUIRE_SYS_CHANNEL_H
#define QUIRE_SYS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CHANNEL_FDS 8

/* A message in two parts, so that none has to be put together; body_len 0: one. fds: sent along, or received and the caller's. */
struct channel_message {
	void *head, *body;
	size_t head_len, body_len;
	int fds[CHANNEL_FDS];
	unsigned n_fds;
};

/* Both ends close on exec. */
int channel_pair(int ret[2]);

/* Never raises SIGPIPE. */
int channel_send(int fd, const struct channel_message *message);
/* Likewise, but -EAGAIN where the other end has too much to read already. */
int channel_try_send(int fd, const struct channel_message *message);

/* Waits for a message. A head that is shorter than head_len is refused (-EPROTO); body_len becomes what came. */
int channel_receive(int fd, struct channel_message *message);
/* Likewise, but -EAGAIN where there is none: another process, which has the same end, may have been faster. */
int channel_try_receive(int fd, struct channel_message *message);

/* Waits for fd to have something, or other (-1: none) to have lost its other end, at most timeout_ms (-1: for ever). -ETIMEDOUT; -EPIPE: other. */
int channel_wait(int fd, int other, int timeout_ms);

/* Whether nobody has the other end any more. Does not wait. */
bool channel_is_over(int fd);

#endif
