/* SPDX-License-Identifier: MIT */
/*
 * duty.h - what a thread does for others beside its own work, and has to leave to another before it sleeps
 */
#ifndef QUIRE_DUTY_H
#define QUIRE_DUTY_H

#include <stdbool.h>

struct duty {
	/* Whether there is work for whoever has the duty. Must not sleep. */
	bool (*has_work)(struct duty *duty);
	/* Leaves the duty to another. Called once. */
	void (*leave)(struct duty *duty);
};

/* What this thread has on it. NULL: nothing. */
extern __thread struct duty *duty_now;

/* Before this thread sleeps, or does what may take long. Async-signal-safe. */
void duty_leave(void);

/* While it waits awake: leaves the duty when there is work for another. False: it has none, or no more. */
bool duty_look(void);

#endif
