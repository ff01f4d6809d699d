/* SPDX-License-Identifier: MIT */
/*
 * forks.h - threads that fork while others store, move and map
 */
#ifndef ORACLE_FORKS_H
#define ORACLE_FORKS_H

#include "side.h"

struct forks;

/* => NULL: said on standard error */
struct forks *forks_start(const struct calls *calls, const char *directory, uint64_t seed);

/* => false: right until now; else what is wrong is in message */
bool forks_failed(const struct forks *f, char *message, size_t size);

/* Ends the threads, and looks at everything once more. => false: message tells what is wrong. *ret_forks: how many there were */
bool forks_end(struct forks *f, uint64_t *ret_forks, char *message, size_t size);

#endif
