/* SPDX-License-Identifier: MIT */
/*
 * ends.h - signals that end a program which has no handler for them
 */
#ifndef QUIRE_PRELOAD_ENDS_H
#define QUIRE_PRELOAD_ENDS_H

#include <signal.h>
#include <stdbool.h>

/* With the first mapping: what would end the program writes its stores first. */
void ends_start(void);

/* Whether a signal is one of them. */
bool ends_by(int number);
/* What the kernel is told in place of SIG_DFL, and whether an action is that. */
void ends_set(struct sigaction *action);
bool ends_is_ours(const struct sigaction *action);

#endif
