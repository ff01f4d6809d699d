/* SPDX-License-Identifier: MIT */
/*
 * launch.h - starts a server for a program that found none
 */
#ifndef QUIRE_REMOTE_LAUNCH_H
#define QUIRE_REMOTE_LAUNCH_H

#include <stddef.h>

/*
 * One program at a time may start the server of a socket. A descriptor, whose end gives the turn up; -EAGAIN: another has it; -errno with a
 * message.
 */
int launch_take_turn(const char *path);

/*
 * Starts one that is to listen at path, and waits until it does, or has said why it does not: whether it does is to be seen. It is no
 * child of this process. ret_said: what it has said in its first line; may be "". 0 or -errno with a message.
 */
int launch_server(const char *path, char *ret_said, size_t size);

#endif
