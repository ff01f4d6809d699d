/* SPDX-License-Identifier: MIT */
/*
 * share.h - private memory that is made shared where it is, for the children of forks to come
 */
#ifndef QUIRE_SPACE_SHARE_H
#define QUIRE_SPACE_SHARE_H

#include "space/space.h"

/*
 * Makes private memory from *at to end shared memory of the object, whose page 0 is at start and which nobody else has: the same
 * bytes, and from here on the same for this process and its children. What is shared already stays as it is, and so do the pages of a
 * file's mapping that lie past its end, and huge pages.
 * => 0. -EAGAIN: the page at *at has to be a private one, and in memory, which a store would make it; then it goes on from there.
 *    Else -errno with a message. Where it fails, all before *at is shared already. No lock held.
 */
int space_share(struct space *space, struct object *object, char *start, char **at, char *end);

#endif
