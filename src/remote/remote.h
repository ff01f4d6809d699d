/* SPDX-License-Identifier: MIT */
/*
 * remote.h - the processes that an engine serves beside its own, seen from the engine
 *
 * Each has a space of the engine. It begins when a process is about to fork, or has connected to a server, and ends when nobody holds
 * the other end of its sockets any more: the process has ended, or called exec, or its fork has failed.
 *
 * One that has connected is a stranger, and so are its children: another program, which may say anything.
 */
#ifndef QUIRE_REMOTE_REMOTE_H
#define QUIRE_REMOTE_REMOTE_H

#include "fault/traps/trap.h"
#include "remote/ranges.h"
#include "remote/wire.h"
#include "space/space.h"
#include "sys/channel.h"
#include "util/lock.h"

struct caller;
struct engine;
struct remote;

/* Those of one engine. */
struct remotes {
	struct lock lock;
	struct remote *head;      /* [lock] */
	bool serves_group;        /* likewise: also processes of other users, if they are of this group */
	gid_t group;              /* likewise */
	struct far_limits limits; /* of strangers; constant once there are any */
	_Atomic unsigned count;   /* also of those that are about to be given up */
	_Atomic unsigned ending;  /* have been taken off the list, and may have areas yet */
};

/*
 * A space for a child of the process that from is of. ret_ranges: added to, what is mapped there. ret_calls: the child's
 * end of the socket for its calls; the caller's.
 * => 0 or -errno, with a message. No lock held.
 */
int remote_create(struct engine *engine, struct space *from, struct ranges *ret_ranges, int *ret_calls);

/*
 * A space, with nothing in it, for a process that has connected, and is who the kernel says. The socket goes over, also when this fails.
 * 0 or -errno, with a message.
 */
int remote_accept(struct engine *engine, int socket, const struct caller *caller);

/*
 * Waits until nothing is left of processes that have ended by now, for ten seconds at most: what they have not committed is not to be
 * found by who comes next. No lock held.
 */
void remotes_wait_for_ends(struct remotes *remotes);

/* Whether any of them is alive, and waits until none is left. No lock held. */
bool remotes_any(struct remotes *remotes);
void remotes_wait_for_all(struct remotes *remotes);

/* In the child of a fork: closes the descriptors that only the engine is to have. remotes.lock was held over the fork. */
void remotes_close_inherited(struct remotes *remotes);

/* Gives all up, as if they had ended. Nobody serves them any more. */
void remotes_close(struct engine *engine);

/* ---- for calls.c ---- */

struct space *remote_space(struct remote *remote);
struct engine *remote_engine(struct remote *remote);
/* Who a stranger is; NULL: it is none. */
const struct caller *remote_stranger(struct remote *remote);

/*
 * The process is there to be asked: agent, uffd and line go over, also when this fails. Maps all that its space holds, but for the n ranges
 * that something else has taken. 0 or -errno.
 */
int remote_attach(struct remote *remote, int agent, int uffd, int line, const struct address_range *taken, size_t n);

/* Does what a request asks for and answers it; the descriptors of the message are used up. */
void remote_answer(struct remote *remote, const struct call_request *request, struct channel_message *message);

#endif
