/* SPDX-License-Identifier: MIT */
/*
 * exchange.h - a call, sent to the engine that serves this process, and its reply
 */
#ifndef QUIRE_REMOTE_EXCHANGE_H
#define QUIRE_REMOTE_EXCHANGE_H

#include "remote/client.h"
#include "sys/channel.h"

/* Sends a request by a socket, and waits for its reply. 0; -EOWNERDEAD: the engine has ended; -errno. */
int exchange_messages(int calls, struct channel_message *out, struct channel_message *in);
/* The same for a call of the program's: as client_ask. */
int64_t exchange_call(int calls, const struct client_call *call, bool *ret_not_ours);

/* What is said when the engine has ended; and says it. -EOWNERDEAD. */
extern const char exchange_ended[];
int exchange_over(void);

/* Around fork, one after another: the child closes the copies that it has of descriptors of calls. */
void exchange_before_fork(void);
void exchange_after_fork_in_parent(void);
void exchange_after_fork_in_child(void);

#endif
