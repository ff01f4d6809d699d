/* SPDX-License-Identifier: MIT */
/*
 * start.h - the preload in a process: its settings, and whether it serves at all
 */
#ifndef QUIRE_PRELOAD_START_H
#define QUIRE_PRELOAD_START_H

#include <stdbool.h>
#include <stddef.h>

#include "rules.h"

#define START_MATCH_VARIABLE     "QUIRE_RUN_MATCH"
#define START_ANONYMOUS_VARIABLE "QUIRE_RUN_ANONYMOUS"

struct start {
	struct rules_settings rules;
	_Atomic bool running; /* an engine serves this process, its own or that of the process that it was forked from */
	pid_t pid;            /* of the process whose engine it is */
	bool copies;          /* system calls are not to be handed managed memory: faults in them are not served */
};

extern struct start start;

/* Before the first mapping that is to be Quire's. False: it cannot be; that was said on standard error, once. */
bool start_engine_if_needed(void);

static inline bool start_is_running(void)
{
	return __builtin_expect(start.running, 0);
}

/* Whether anything of a range is managed by the engine. */
bool start_manages(const void *addr, size_t len);
/* From addr on, which is a page's, up to where it may change: how much of len is managed, or is not. The engine is running. */
size_t start_extent(const void *addr, size_t len, bool *ret_managed);

#endif
