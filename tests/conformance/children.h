/* SPDX-License-Identifier: MIT */
/*
 * children.h - children of a test, and the turns that they and their parent take
 *
 * A child runs the block after CHILD. It and its parent take turns: the child stops at each pause_here(), until go_on(); the
 * parent waits for that with until_it_pauses(). What fails in a child ends it, and fails the test in ends_well(). Nothing is timed.
 */
#ifndef QUIRE_CONFORMANCE_CHILDREN_H
#define QUIRE_CONFORMANCE_CHILDREN_H

#include "support.h"

struct child {
	pid_t pid;
	int socket;
};

#define CHILD_SECONDS 100 /* no child outlives the test's program by more */

bool child_begins(struct child *child);
/* What one does that is a child in another way; socket: its end of a pair. */
void become_child(int socket);

#define CHILD(child)          CHILD_AT(child, __LINE__)
#define CHILD_AT(child, line) CHILD_ON(child, line)
#define CHILD_ON(child, line) CHILD_IN(child, is_child_##line)
#define CHILD_IN(child, is)   for (bool is = child_begins(child); is; _exit(0), is = false)

/* In the child. */
void pause_here(void);

/* In the parent. */
void until_it_pauses(struct child *child);
void go_on(struct child *child);
/* Of a child that has paused: it goes on, does the next thing, and pauses again. */
void step(struct child *child);

/* What a turn is, over any pair of sockets. False: nobody has the other end. */
void send_turn(int socket);
bool take_turn(int socket);

/* It has ended when these return. */
int status_of(struct child *child);
void ends_well(struct child *child);
void is_killed(struct child *child);

/* What is noticed by itself, and not at once. */
#define assert_comes_true(condition)                                                                                               \
	do {                                                                                                                       \
		for (int waited_ms_ = 0; waited_ms_ < 20000 && !(condition); waited_ms_++)                                         \
			usleep(1000);                                                                                              \
		assert_true(condition);                                                                                            \
	} while (0)

#endif
