/* SPDX-License-Identifier: MIT */
/*
 * entry.h - what every public call begins and ends with
 */
#ifndef QUIRE_ENTRY_H
#define QUIRE_ENTRY_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine.h"
#include "util/message.h"

/*
 * Signals are blocked while a call is inside the engine: a handler that touched managed memory there would wait for locks that
 * its own thread holds. Cancellation is held off for the same reason.
 */
struct entry {
	const char *call;
	struct quire_guard *guard; /* out of force meanwhile: an error must not jump out of a call */
	sigset_t mask;
	int cancel_state;
};

void entry_begin(struct entry *entry, const char *call);
/* Sets errno and the message from r and returns it as the public calls do: 0 and more as they are, else -1. */
int entry_end(struct entry *entry, int r);

/* The engine, started at the first call that needs it. 0 or -errno, with a message. */
int entry_engine(struct engine **ret);
/* The engine if it was started in this process, else NULL. */
struct engine *entry_engine_if_started(void);

/*
 * Serves no other process any more, and writes what was stored: what one stores from here on waits in its fault until this process has
 * ended. 0 or -errno.
 */
int entry_write_back(struct engine *engine);

/* The end of the process: writes back, says what could not be written, sends the keeper away. */
void entry_finish(struct engine *engine);
/* That is not to be done when the destructors are called, but by who has asked. */
void entry_finish_later(void);
bool entry_finishes_later(void);

/* Another process has the engine now, which this one has no more; and, in that one, a fork's child: it is this one's. */
void entry_hand_over(void);
void entry_take_over(void);

/*
 * The space that the public calls of this thread are about: this process's, unless the thread makes a call for another process.
 */
struct space *entry_space(struct engine *engine);
/* Whose rights and whose number a call is judged by. */
struct caller {
	pid_t pid;
	uid_t uid; /* effective, as the group is */
	gid_t gid;
};

/* From now on, that one, of that process. NULL: this process's again. */
void entry_serve(struct space *space, const struct caller *caller);
bool entry_is_for_another(void);
/* Whether that is another user's: what this process may, and that one may not, must not be done for it. */
bool entry_is_for_another_user(void);
struct caller entry_caller(void);
/*
 * Before a range is left to the kernel, of which nothing is ours. False: the call is for another process, and that makes it by itself, which
 * entry_was_left tells; here is nothing to be done.
 */
bool entry_leave_to_kernel(void);
bool entry_was_left(void);

/* Whether a range holds anything of ours; a call over a range that does not is the kernel's. Begins nothing. */
bool entry_is_ours(const void *addr, size_t len);

/* No program has addresses from here on, on any machine; where they end on this one, the kernel says. */
#define ADDRESSES_END ((uintptr_t)1 << 56)

/* len rounded up to pages, and ADDRESSES_END if it is more. False: overflow, or the end lies outside of the address space. */
bool entry_round(const void *addr, size_t len, size_t *ret_len);

#endif
