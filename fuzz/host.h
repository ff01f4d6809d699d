/* SPDX-License-Identifier: MIT */
/*
 * host.h - a process that lends what a client of a server hands over: sockets that are not the server's own, and a userfaultfd of its memory
 */
#ifndef QUIRE_FUZZ_HOST_H
#define QUIRE_FUZZ_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "remote/wire.h"

#define HOST_ARENA (64u << 20)

struct host {
	pid_t pid;
	int socket;
};

struct lent {
	int agent, engine_agent, uffd, line_fd;
	struct agent_line *line;
	char *arena; /* in the host: nothing is there but pages of zeros */
	bool attached;
};

bool host_start(struct host *host);
void host_stop(struct host *host);
bool host_lend(struct host *host, struct lent *ret);
void host_take_back(struct host *host, struct lent *lent);

/* Of so many pages, without a name. */
int host_file(size_t pages);
int host_reader(int fd);

#endif
