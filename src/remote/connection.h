/* SPDX-License-Identifier: MIT */
/*
 * connection.h - a socket to a server that has said hello
 */
#ifndef QUIRE_REMOTE_CONNECTION_H
#define QUIRE_REMOTE_CONNECTION_H

#include <stdbool.h>

/* may_start: where no server listens at path, one is started. 0 or -errno with a message. */
int connection_open(const char *path, bool may_start, int *ret);

#endif
