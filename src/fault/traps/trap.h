/* SPDX-License-Identifier: MIT */
/*
 * trap.h - ways of catching a fault
 *
 *   signal   The kernel raises SIGBUS on the faulting thread, whose handler resolves the fault. Nothing is woken, nothing is
 *            switched: 2.5 µs. A system call that meets a missing page fails with EFAULT, without a signal.
 *   thread   The kernel sends a message to threads of the engine and lets the faulting thread sleep: 4–70 µs, but a system call
 *            that meets a missing page sleeps like everybody else.
 *
 * Under both, SIGBUS is caught: a page past the end of the file raises it without any userfault, and the file may have grown.
 */
#ifndef QUIRE_FAULT_TRAP_H
#define QUIRE_FAULT_TRAP_H

#include <signal.h>

#include "space/space.h"

/* Installs the SIGBUS handler for a space; there is one space per process, and none (NULL) in one that a server serves. What was installed before gets what is not ours. 0 or -errno. */
int signal_trap_start(struct space *space);
void signal_trap_stop(void);
/*
 * For a program that knows nothing of the engine: as sigaction(2) for SIGBUS and SIGSEGV, of the handlers that get what is not ours. False:
 * another signal, or nothing is trapped yet.
 */
bool signal_trap_chain(int number, const struct sigaction *action, struct sigaction *ret_old);

struct thread_trap;
/* space: NULL where only sources are served. */
int thread_trap_start(struct space *space, struct thread_trap **ret);
/* NULL is fine. */
void thread_trap_stop(struct thread_trap *trap);

/*
 * Ends the threads, when what they have in hand is done. What sources have to say waits until the trap is resumed, by this process or, in its
 * place, by the child of a fork: of sources only. 0 or -errno.
 */
void thread_trap_suspend(struct thread_trap *trap);
int thread_trap_resume(struct thread_trap *trap);

/*
 * Something else that has messages for the engine. serve is called by the thread that leads, which keeps all others from being
 * served until it hands on.
 */
struct trap_turn;
struct trap_source {
	int fd;
	void (*serve)(struct trap_source *source, struct trap_turn *turn);
};

/* only_end: of a socket, that its other end is gone. 0 or -errno. */
int thread_trap_watch(struct thread_trap *trap, struct trap_source *source, bool only_end);
/* By the thread that leads, after which serve is not called any more; or before any serve. One that is not watched: fine. */
void thread_trap_unwatch(struct thread_trap *trap, struct trap_source *source);

/* No source is served any more, for good, and those that are just being served are waited for, though not for long. NULL is fine. */
void thread_trap_deafen(struct thread_trap *trap);

/* Lets another thread lead; before anything that takes time. */
void trap_hand_on(struct trap_turn *turn);
/* Resolves a fault of a space that came from its userfaultfd. */
void trap_resolve(struct trap_turn *turn, struct space *space, int uffd, const struct uffd_event *event);

#endif
