/* SPDX-License-Identifier: MIT */
/*
 * family.h - the processes of a program: made by fork, and one of them runs at a time
 *
 * Process 0 leads: it alone says whose turn it is, and waits until that one has done its work, or has died of it. What all of them know
 * lies in memory that the kernel shares among them; all else is each one's own from the fork on.
 */
#ifndef ORACLE_FAMILY_H
#define ORACLE_FAMILY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "program.h"

/* In shared memory. */
struct family {
	_Atomic uint32_t turn; /* a futex: the process that works */
	int command;
	enum exit_way way; /* of a process that is to end */
	bool answer;
	pid_t pids[PROCESSES]; /* 0: not there */
	int pidfds[PROCESSES]; /* process 0's */
};

enum family_answer { FAMILY_NO, FAMILY_YES, FAMILY_DIED };

/* Does what a command says. => the answer */
typedef bool family_work(void *arg, int command);

/* The number of this process. */
int family_self(void);

/* In process 0, before the first fork. */
void family_begin(struct family *f);

/* Forks. The child works from now on when it is told to, and does not return. => false: errno */
bool family_fork(struct family *f, int child, family_work *work, void *arg);

/* ---- process 0's ---- */

/* A child that another process has made. => false: it has died already */
bool family_meet(struct family *f, int process);

/* Lets a process work, itself included. */
enum family_answer family_ask(struct family *f, int process, int command, family_work *work, void *arg);

/* Ends a process, and waits for that. */
void family_end(struct family *f, int process, enum exit_way how);

/* The signal that a process has died of, 0 when that is not known. It is gone on return. */
int family_bury(struct family *f, int process);

/* Kills all but process 0. May be called in a signal handler. */
void family_kill(struct family *f);

#endif
