/* SPDX-License-Identifier: MIT */
/*
 * support.h - a server of its own for each test, programs that are its clients, and clients that are none of ours
 */
#ifndef QUIRE_TESTS_SERVER_SUPPORT_H
#define QUIRE_TESTS_SERVER_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "remote/wire.h"
#include "sys/channel.h"

#define RW       (PROT_READ | PROT_WRITE)
#define PAGES(n) ((size_t)(n)*page)

extern size_t page;
extern pid_t server;
extern char socket_path[];

/* `quire serve` in a folder of its own; it is ready on return. *state: the name of the case, which is told if it does not end. */
int begin_server(void **state);
/* options: of the command, with NULL behind them. */
int begin_server_with(void **state, const char *const *options);
pid_t start_server(const char *path, const char *option, const char *value);
/* Whether somebody listens there. */
bool listens(const char *path);
/* Ends it in order, which it does with status 0. */
int end_server(void **state);
void kill_server(void);

/* A file of so many pages, each full of 1 + its number % 200. The caller's. */
int make_file(size_t pages);
unsigned char byte_of(size_t number);

/* A program of its own, served by the server: it runs the function, whose result is its exit status. */
pid_t run_client(int (*run)(void *arg), void *arg);
/* Its exit status; what it was killed by, as -signal. */
int end_of(pid_t child);

#define EXPECT(what)                                                                                                               \
	do {                                                                                                                       \
		if (!(what)) {                                                                                                     \
			fprintf(stderr, "# %s:%d: %s (%s)\n", __func__, __LINE__, #what, quire_errormsg());                        \
			_exit(__LINE__ % 250 + 1);                                                                                 \
		}                                                                                                                  \
	} while (0)

/* Whether a client that comes now is served as it should be. */
void server_is_well(void);
/* Open descriptors of the server's, when there have been so many for a while. */
unsigned descriptors_of_server(void);
/* Until nobody but who is counted in it is connected any more. */
void until_descriptors_are(unsigned n);

/* ---- a client that speaks by itself ---- */

struct raw {
	int calls, agent, engine_agent, uffd, line;
	struct agent_line *words;
};

int raw_connect(void);
/* Connects and says hello as it should. */
int raw_begin(void);
/* Sends a request with descriptors, and waits for the reply. False: the connection has ended. */
bool raw_call(int calls, const struct call_request *request, const void *in, size_t len, const int *fds, unsigned n,
	      struct call_reply *ret);
/* The same, for a result that is a descriptor: the caller's; -1: none came. */
bool raw_call_with(int calls, const struct call_request *request, const int *fds, unsigned n, struct call_reply *ret, int *ret_fd);
/* Likewise, with an agent that is this thread. */
void raw_attach(struct raw *raw);
void raw_end(struct raw *raw);
/* Sends a request and does not wait. The socket that the reply comes to. */
int raw_send(int calls, const struct call_request *request, const int *fds, unsigned n);
/* The next thing that the agent is asked for; its descriptors are the caller's. False: the connection has ended. */
bool raw_asked(struct raw *raw, struct agent_request *ret, struct memory_op ops[FAR_OPS], struct channel_message *ret_message);
void raw_answer(struct raw *raw, uint32_t number, long result);

#endif
