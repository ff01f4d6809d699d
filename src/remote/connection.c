/* SPDX-License-Identifier: MIT */
/*
 * connection.c - a socket to a server that has said hello: one that is found, or is started
 *
 * Programs that start at once are to find one server: who has the turn starts it, and the others wait for it. A server that ends because
 * nobody was connected may do so at the very moment when somebody connects. Then its end is all that is heard, and another is looked for.
 */
#include "remote/connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "remote/launch.h"
#include "remote/wire.h"
#include "sys/channel.h"
#include "sys/page_size.h"
#include "util/message.h"

#define CONNECT_MS 5000 /* a server is waited for: it may be about to start */
#define TURN_MS    30000
#define LOOK_MS    5
#define TRIES      3

static bool is_absent(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED;
}

/*
 * Who serves may do anything with the mappings of this process, so it has to be a process of the same user or of root's, or of one whom
 * QUIRE_SERVER_USER names. 0 or -errno with a message.
 */
static int check_server(int socket, const char *path)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	uid_t trusted;
	int r;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	r = config_server_user(&trusted);
	if (r < 0 || (r > 0 && peer.uid == trusted))
		return r < 0 ? r : 0;
	return message_set(
	    EPERM,
	    "the server at %s is user %u's, who is neither this one nor root, and is not trusted: QUIRE_SERVER_USER=%u "
	    "trusts that user with all that this program maps",
	    path, (unsigned)peer.uid, (unsigned)peer.uid);
}

/* 0 or -errno with a message. */
static int reach(const char *path, int *ret)
{
	static const struct timeval patience = {.tv_sec = CONNECT_MS / 1000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return message_set(EINVAL, "the name of the socket, «%s», is longer than %zu bytes", path,
				   sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return message_set(errno, "no socket can be had: %s", strerrordesc_np(errno));
	/* What is set before holds for connect as well. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = errno == ENOENT || errno == ECONNREFUSED
			? message_set(errno, "no server listens at %s: start `quire serve`, or set QUIRE_SERVER=off", path)
			: message_set(errno, "the server at %s cannot be reached: %s", path, strerrordesc_np(errno));
		close(fd);
		return r;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0}, sizeof(patience));
	*ret = fd;
	return 0;
}

/* Another has the turn to start it. */
static int wait_for_server(const char *path, int *ret)
{
	static const struct timespec moment = {.tv_nsec = LOOK_MS * 1000000};
	int r, turn;

	for (int waited_ms = 0; waited_ms < TURN_MS; waited_ms += LOOK_MS) {
		nanosleep(&moment, NULL);
		r = reach(path, ret);
		if (!is_absent(r))
			return r;
		turn = launch_take_turn(path);
		if (turn != -EAGAIN)
			return turn;
	}
	return message_set(ETIMEDOUT, "no server listens at %s: another program has been starting one for %d seconds", path,
			   TURN_MS / 1000);
}

/* With the turn, when nobody else has started one meanwhile. */
static int start(const char *path, int *ret)
{
	char said[512];
	int r = reach(path, ret);

	if (!is_absent(r))
		return r;
	r = launch_server(path, said, sizeof(said));
	if (r < 0)
		return r;
	r = reach(path, ret);
	if (!is_absent(r))
		return r;
	return message_set(ECONNREFUSED, "no server listens at %s, and the one that was started does not: %s", path,
			   said[0] ? said : "it has ended without a word");
}

static int reach_or_start(const char *path, int *ret)
{
	int r = reach(path, ret), turn;

	if (!is_absent(r))
		return r;
	*ret = -1;
	turn = launch_take_turn(path);
	if (turn == -EAGAIN)
		turn = wait_for_server(path, ret);
	if (turn < 0 || *ret >= 0)
		return turn;
	r = start(path, ret);
	close(turn);
	return r;
}

/* Both say hello. 0 or -errno with a message; -EPIPE: it has ended. */
static int greet(int socket, const char *path)
{
	struct hello ours = hello_ours((uint32_t)page_size());
	struct hello_reply reply;
	struct channel_message out = {.head = &ours, .head_len = sizeof(ours)};
	struct channel_message in = {.head = &reply, .head_len = sizeof(reply)};
	int r = channel_send(socket, &out);

	if (r == 0)
		r = channel_wait(socket, -1, CONNECT_MS);
	if (r == 0)
		r = channel_receive(socket, &in);
	if (r < 0)
		return message_set(-r, "the server at %s does not answer: %s", path, strerrordesc_np(-r));
	while (in.n_fds > 0)
		close(in.fds[--in.n_fds]);
	if (reply.result < 0)
		return message_set(-reply.result, "%.*s (%s)", (int)sizeof(reply.detail) - 1, reply.detail, path);
	if (memcmp(&reply.hello, &ours, sizeof(ours)) != 0)
		return message_set(EPROTO, "what listens at %s is no server of this version of Quire", path);
	return 0;
}

int connection_open(const char *path, bool may_start, int *ret)
{
	int r = -EPIPE;

	for (int tries = 0; r == -EPIPE && tries < (may_start ? TRIES : 1); tries++) {
		int socket = -1;

		r = may_start ? reach_or_start(path, &socket) : reach(path, &socket);
		if (r == 0)
			r = check_server(socket, path);
		if (r == 0)
			r = greet(socket, path);
		if (r == 0)
			*ret = socket;
		else if (socket >= 0)
			close(socket);
	}
	return r;
}
