/* SPDX-License-Identifier: MIT */
/*
 * server.h - an engine that serves processes which connect to its socket
 */
#ifndef QUIRE_SERVER_SERVER_H
#define QUIRE_SERVER_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct engine;

struct server {
	int socket;
	int lock;       /* a file beside the socket, locked as long as the server lives; -1: the socket was handed over */
	char path[128]; /* of the socket; empty: it was handed over */
	dev_t dev;      /* of it, so that none but ours is removed */
	ino_t ino;
	bool for_group;
	gid_t group;
	int signals;      /* by which it is told to stop */
	unsigned idle_ms; /* it ends when nobody was connected for so long; 0: never */
};

/*
 * Listens: on the socket that the service manager has handed over, or else at path, where what a server that has died has left is
 * removed. 0 or -errno with a message: -EADDRINUSE, one that lives is there.
 * group: members of it may connect, too; NULL: nobody else.
 * => SIGTERM and SIGINT are blocked from then on, and are what ends server_run.
 */
int server_open(struct server *server, const char *path, const gid_t *group);

/* Serves until it is told to stop or is idle. */
void server_run(struct server *server, struct engine *engine);

/* Takes no more clients. What they have stored is to be written after this. */
void server_close(struct server *server);

/* Keeps nothing of who has started it: no folder, no stream. What is said goes to the journal from then on, where there is one. */
void server_detach(void);

/* Tells the service manager, if there is one. */
void server_notify(const char *state);

#endif
