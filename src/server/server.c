/* SPDX-License-Identifier: MIT */
/*
 * server.c - an engine that serves processes which connect to its socket
 *
 * One thread takes connections and waits for the signal to stop. All else is as for the children of a fork: remote/remote.c.
 *
 * The socket's file outlives a server that is killed. That it is nobody's is known by a lock on a file beside it, which the kernel gives
 * up with its owner: so two servers that start at once do not take each other's socket for an old one.
 */
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "entry.h"
#include "remote/remote.h"
#include "util/message.h"

#define BACKLOG      128
#define HANDED_OVER  3 /* SD_LISTEN_FDS_START */
#define IDLE_LOOK_MS 100

/* ---- the service manager ---- */

static bool is_listening(int fd)
{
	int type = 0, domain = 0, listening = 0;
	socklen_t len = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* The socket that was handed over. -1: none was; -errno with a message. */
static int take_handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	bool ours = pid && count && strtol(pid, NULL, 10) == (long)getpid();
	long n = ours ? strtol(count, NULL, 10) : 0;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (n == 0)
		return -1;
	if (n != 1 || !is_listening(HANDED_OVER))
		return message_set(
		    EINVAL, "%ld descriptors were handed over, and not one Unix socket that listens for sequential packets", n);
	(void)fcntl(HANDED_OVER, F_SETFD, FD_CLOEXEC);
	return HANDED_OVER;
}

void server_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len == 0 || len >= sizeof(address.sun_path) || (*path != '/' && *path != '@'))
		return;
	memcpy(address.sun_path, path, len);
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

/* ---- a socket of our own ---- */

/* Who has the lock, as he has written it there. */
static int say_taken(const char *path, int lock)
{
	char owner[32] = "";
	ssize_t n = pread(lock, owner, sizeof(owner) - 1, 0);

	owner[n > 0 ? n : 0] = '\0';
	owner[strcspn(owner, "\n")] = '\0';
	return message_set(EADDRINUSE, "a server listens at %s already: process %s; stop it, or choose another name by --socket",
			   path, owner[0] ? owner : "unknown");
}

/* 0 or -errno with a message. */
static int take_lock(struct server *server)
{
	char name[sizeof(server->path) + 8];
	int r = 0;

	snprintf(name, sizeof(name), "%s.lock", server->path);
	server->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (server->lock < 0)
		return message_set(errno, "%s cannot be made: %s", name, strerrordesc_np(errno));
	if (flock(server->lock, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK ? say_taken(server->path, server->lock)
					 : message_set(errno, "%s cannot be locked: %s", name, strerrordesc_np(errno));
	if (r == 0 && (ftruncate(server->lock, 0) < 0 || dprintf(server->lock, "%ld\n", (long)getpid()) < 0))
		r = message_set(errno, "%s cannot be written: %s", name, strerrordesc_np(errno));
	return r;
}

/* What was left by one that has died; nothing but a socket is removed. */
static int remove_old(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : message_set(errno, "%s: %s", path, strerrordesc_np(errno));
	if (!S_ISSOCK(st.st_mode))
		return message_set(EEXIST, "%s is there, and is no socket", path);
	return unlink(path) < 0 ? message_set(errno, "%s cannot be removed: %s", path, strerrordesc_np(errno)) : 0;
}

static int listen_at(struct server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t mask;
	int r;

	memcpy(address.sun_path, server->path, strlen(server->path) + 1);
	server->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->socket < 0)
		return message_set(errno, "no socket can be had: %s", strerrordesc_np(errno));
	/* Nobody else's from its first moment on. */
	mask = umask(0177);
	r = bind(server->socket, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && server->for_group && (lchown(server->path, (uid_t)-1, server->group) < 0 || chmod(server->path, 0660) < 0))
		r = -errno;
	if (r == 0 && (listen(server->socket, BACKLOG) < 0 || lstat(server->path, &st) < 0))
		r = -errno;
	if (r < 0)
		return message_set(-r, "cannot listen at %s: %s", server->path, strerrordesc_np(-r));
	server->dev = st.st_dev;
	server->ino = st.st_ino;
	return 0;
}

static int open_own(struct server *server, const char *path)
{
	int r;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return message_set(EINVAL, "the name of the socket, «%s», is longer than %zu bytes", path,
				   sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	memcpy(server->path, path, strlen(path) + 1);
	r = take_lock(server);
	if (r == 0)
		r = remove_old(path);
	return r == 0 ? listen_at(server) : r;
}

/* ---- nothing of who has started it ---- */

/* A stream of lines into the journal: what it is told first is who they are from, and that a line has the priority 6 of its own. -1: none. */
static int open_journal(void)
{
	static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/stdout"};
	static const char head[] = "quire-serve\n\n6\n0\n0\n0\n0\n";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(head) - 1)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

void server_detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open_journal();

	fflush(stderr);
	(void)!chdir("/");
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
	}
	/* Whoever waits for this one to be ready waits for the end of this stream. */
	if (log >= 0 || null >= 0)
		(void)dup2(log >= 0 ? log : null, STDERR_FILENO);
	if (log >= 0)
		close(log);
	if (null >= 0)
		close(null);
	/* A journal that is started anew must not end this process. */
	signal(SIGPIPE, SIG_IGN);
}

/* ---- life ---- */

int server_open(struct server *server, const char *path, const gid_t *group)
{
	sigset_t stop;
	int r;

	*server = (struct server){.socket = -1, .lock = -1, .signals = -1, .for_group = group};
	server->group = group ? *group : 0;
	r = take_handed_over();
	if (r >= 0)
		server->socket = r;
	r = r == -1 ? open_own(server, path) : r;
	if (r < 0)
		return r;
	/* Before the engine has threads, so that none takes it. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	server->signals = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
	if (server->signals < 0)
		return message_set(errno, "no signals can be waited for: %s", strerrordesc_np(errno));
	(void)fcntl(server->socket, F_SETFL, O_NONBLOCK);
	return 0;
}

static void take_connection(struct server *server, struct engine *engine)
{
	static const struct timespec moment = {.tv_nsec = 100000000};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct caller caller;
	int fd = accept4(server->socket, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		/* Of descriptors there are more when a client has gone. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			fprintf(stderr, "quire serve: a connection cannot be taken: %s\n", strerrordesc_np(errno));
			nanosleep(&moment, NULL);
		}
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		close(fd);
		return;
	}
	caller = (struct caller){peer.pid, peer.uid, peer.gid};
	message_clear();
	if (remote_accept(engine, fd, &caller) < 0)
		fprintf(stderr, "quire serve: process %ld: %s\n", (long)peer.pid, message_detail());
}

/* What has a name would be lost, though nobody has it mapped. */
static bool is_idle(struct engine *engine)
{
	bool kept;

	lock_acquire(&engine->open_lock);
	kept = engine->names || engine->segments;
	lock_release(&engine->open_lock);
	return !kept && atomic_load(&engine->remotes.count) == 0;
}

void server_run(struct server *server, struct engine *engine)
{
	struct pollfd fds[2] = {{.fd = server->signals, .events = POLLIN}, {.fd = server->socket, .events = POLLIN}};
	unsigned idle_ms = 0;

	for (;;) {
		int n = poll(fds, 2, server->idle_ms ? IDLE_LOOK_MS : -1);

		if (fds[0].revents && n > 0)
			return;
		if (n > 0 && fds[1].revents)
			take_connection(server, engine);
		idle_ms = n == 0 && is_idle(engine) ? idle_ms + IDLE_LOOK_MS : 0;
		if (server->idle_ms && idle_ms >= server->idle_ms)
			return;
	}
}

void server_close(struct server *server)
{
	struct stat st;

	if (server->path[0] && server->ino && lstat(server->path, &st) == 0 && st.st_dev == server->dev && st.st_ino == server->ino)
		(void)unlink(server->path);
	if (server->socket >= 0)
		close(server->socket);
	server->socket = -1;
}
