/* SPDX-License-Identifier: MIT */
/*
 * channel.c - messages with descriptors between two processes
 */
#include "sys/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int) * CHANNEL_FDS)];
};

int channel_pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

static int send_message(int fd, const struct channel_message *message, int flags)
{
	struct iovec parts[2] = {{message->head, message->head_len}, {message->body, message->body_len}};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = message->body_len ? 2 : 1};
	union control control;

	if (message->n_fds > 0) {
		memset(&control, 0, sizeof(control));
		header.msg_control = control.room;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * message->n_fds);
		control.header = (struct cmsghdr){
		    .cmsg_len = CMSG_LEN(sizeof(int) * message->n_fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), message->fds, sizeof(int) * message->n_fds);
	}
	while (sendmsg(fd, &header, MSG_NOSIGNAL | flags) < 0)
		if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

int channel_send(int fd, const struct channel_message *message)
{
	return send_message(fd, message, 0);
}

int channel_try_send(int fd, const struct channel_message *message)
{
	return send_message(fd, message, MSG_DONTWAIT);
}

static void take_descriptors(struct msghdr *header, struct channel_message *message)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (message->n_fds < CHANNEL_FDS)
				message->fds[message->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

static int receive_message(int fd, struct channel_message *message, int flags)
{
	struct iovec parts[2] = {{message->head, message->head_len}, {message->body, message->body_len}};
	union control control;
	struct msghdr header = {.msg_iov = parts,
				.msg_iovlen = message->body_len ? 2 : 1,
				.msg_control = control.room,
				.msg_controllen = sizeof(control.room)};
	ssize_t n;

	message->n_fds = 0;
	while ((n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | flags)) < 0)
		if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	if (n == 0)
		return -EPIPE;
	take_descriptors(&header, message);
	if ((size_t)n >= message->head_len && !(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		message->body_len = (size_t)n - message->head_len;
		return 0;
	}
	while (message->n_fds > 0)
		close(message->fds[--message->n_fds]);
	return -EPROTO;
}

int channel_receive(int fd, struct channel_message *message)
{
	return receive_message(fd, message, 0);
}

int channel_try_receive(int fd, struct channel_message *message)
{
	return receive_message(fd, message, MSG_DONTWAIT);
}

int channel_wait(int fd, int other, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = other}};
	int n;

	while ((n = poll(fds, 2, timeout_ms)) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	if (fds[0].revents)
		return 0;
	return n == 0 ? -ETIMEDOUT : -EPIPE;
}

bool channel_is_over(int fd)
{
	struct pollfd end = {.fd = fd};

	return poll(&end, 1, 0) == 1 && (end.revents & (POLLHUP | POLLERR));
}
