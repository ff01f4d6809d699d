/* SPDX-License-Identifier: MIT */
/*
 * cgroup.h - a memory cgroup of our own, to hold a process to an amount of memory, page cache included
 */
#ifndef QUIRE_CLI_CGROUP_H
#define QUIRE_CLI_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

struct cgroup {
	char *dir; /* NULL: there is none */
	bool v2;
};

/*
 * Whether a group can be made, limited, and a process moved into it: a user may be allowed one and not the other. Tries it with a
 * process that ends at once.
 */
bool cgroup_usable(void);

/* Makes a group inside the one this process is in. => 0; -errno it cannot be made here, and *ret has no group */
int cgroup_make(struct cgroup *ret);

/* Sets the most it may hold. => 0 or -errno */
int cgroup_limit(const struct cgroup *group, uint64_t bytes);

/* Moves this process into it: what it touches from now on is charged there. => 0 or -errno */
int cgroup_enter(const struct cgroup *group);

/* The most bytes that were ever charged to it. => 0 this kernel does not say */
uint64_t cgroup_peak(const struct cgroup *group);

/* Removes it; its processes have ended. Does nothing without a group. */
void cgroup_remove(struct cgroup *group);

#endif
