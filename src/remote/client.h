/* SPDX-License-Identifier: MIT */
/*
 * client.h - a process that is served by the engine of another: what it knows, and how it asks
 *
 * The child of a fork is one, and a program that has connected to a server, with its children. There is one state in a process, as there
 * is one engine.
 */
#ifndef QUIRE_REMOTE_CLIENT_H
#define QUIRE_REMOTE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "remote/ranges.h"
#include "remote/wire.h"

/* Whether this process is one. */
bool client_is(void);

/* Whether it has connected to a server, or a process that it comes from by fork has. */
bool client_has_connected(void);

/*
 * Connects to the server that listens at path, or starts one if it may: this process is a client from then on. It has no engine and is
 * none. 0, or -errno with a message, and nothing has changed.
 */
int client_connect(const char *path, bool may_start);

/* A public call, made by the engine. Signals are blocked. */
struct client_call {
	enum call_name name;
	int64_t arg[CALL_ARGS];
	const void *in;
	size_t in_len;
	void *out;
	size_t out_len;
	int fd; /* goes along; -1: none. 0 is one: set it */
	bool gives_fd;
	struct quire_error *ret_error; /* may be NULL */
};

/*
 * What the engine says: the result, or -errno with a message. *ret_not_ours: it says that the range is the kernel's; may be NULL.
 * Async-signal-safe, but for the message. -EOWNERDEAD: the engine has ended.
 */
int64_t client_ask(const struct client_call *call, bool *ret_not_ours);

/*
 * For the public calls: makes the call if this process is a client, and the range is the engine's. False: it is to be made here, and
 * *ret is as it was.
 */
bool client_serves(int *ret, const struct client_call *call);

/* Whether anything of a range, or of the page at its address, is managed in this process. Signals are blocked. */
bool client_manages(const void *addr, size_t len);

/* From addr on, which is a page's, up to where it may change: how much of len is managed, or is not. Likewise. */
size_t client_extent(const void *addr, size_t len, bool *ret_managed);

/* ---- faults ---- */

enum client_fault {
	CLIENT_AGAIN, /* the access can be tried again */
	CLIENT_ERROR, /* there is no page: ret_error says why */
	CLIENT_NONE,  /* not ours */
};

/* SIGBUS at addr. Async-signal-safe. */
enum client_fault client_fault(void *addr, bool write, struct quire_error *ret_error);

/* SIGSEGV at addr: attaches, or asks whether the mapping allows the access. The count of edits tells whether anything has changed. */
bool client_allows(void *addr, int need, uint64_t *ret_edits);

/* ---- fork ---- */

struct engine;

/*
 * Around fork, one after another: the first before it, and then the one or the other after it. engine: this process's own; NULL where
 * it is served itself.
 */
void client_before_fork(struct engine *engine);
void client_after_fork_in_parent(struct engine *engine);
/* Allocates nothing, as a rule: the program's malloc may still be locked. */
void client_after_fork_in_child(struct engine *engine);
/* Later in the child: what may allocate. */
void client_begin(void);

#endif
