/* SPDX-License-Identifier: MIT */
/*
 * eventfd.h - descriptors that a program wants to be told by
 */
#ifndef QUIRE_EVENTFD_H
#define QUIRE_EVENTFD_H

/* A descriptor of our own, so that the caller may close his. -1: none is wanted. 0 or -errno, with a message. */
int eventfd_keep(int fd, int *ret);

#endif
