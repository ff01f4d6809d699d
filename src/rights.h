/* SPDX-License-Identifier: MIT */
/*
 * rights.h - what the process whose call is made may do: this one, or one that is served
 *
 * The kernel judges what the engine does by the engine's process. What it would have judged by the caller's is asked here.
 */
#ifndef QUIRE_RIGHTS_H
#define QUIRE_RIGHTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct engine;

/* Locked memory of a process without CAP_IPC_LOCK ends at its RLIMIT_MEMLOCK. 0 or -error with a message. */
int rights_to_lock(struct engine *engine, uint64_t more_pages, int error);

/* Whether the kernel would give it a lease on a file: it is the user's own, or the process has CAP_LEASE. */
bool rights_to_lease(const struct stat *st);

/* A journal is made, found and removed by its name: by this process's rights, which have to be the caller's. 0 or -errno with a message. */
int rights_to_journal(void);

#endif
