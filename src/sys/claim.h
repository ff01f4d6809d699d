/* SPDX-License-Identifier: MIT */
/*
 * claim.h - which process has a file in its cache for writing, so that another with a cache of its own learns of it
 */
#ifndef QUIRE_SYS_CLAIM_H
#define QUIRE_SYS_CLAIM_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Claims a file for this process, once more if it has it already. shares: with all others that share it. The claim ends with the process, and
 * with exec, when its keeper has written what it has left, for which this waits. 0, also where no claims can be made; -EBUSY: *ret_owner has it, 0 if its number is not to be had.
 */
int claim_take(dev_t dev, ino_t ino, bool shares, pid_t *ret_owner);
/* In the child of a fork that goes on in its parent's place: claims what that has. */
void claims_repeat(void);
/* Gives up what claim_take has claimed. */
void claim_drop(dev_t dev, ino_t ino);

/* Which byte stands for a file in a file of claims (claim.c). The one behind it is no other's. */
off_t claim_byte(dev_t dev, ino_t ino);

#endif
