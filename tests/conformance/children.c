/* SPDX-License-Identifier: MIT */
/*
 * children.c - children of a test, and the turns that they and their parent take
 */
#include "children.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int parents_socket = -1; /* in a child: its parent's */

void become_child(int socket)
{
	parents_socket = socket;
	/* A failure is told by the child itself, and ends it. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	alarm(CHILD_SECONDS);
}

bool child_begins(struct child *child)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	child->pid = fork();
	assert_true(child->pid >= 0);
	close(pair[child->pid == 0 ? 0 : 1]);
	child->socket = pair[0];
	if (child->pid == 0)
		become_child(pair[1]);
	return child->pid == 0;
}

void send_turn(int socket)
{
	assert_int_equal(send(socket, "t", 1, MSG_NOSIGNAL), 1);
}

bool take_turn(int socket)
{
	char byte;
	ssize_t n;

	do
		n = recv(socket, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

void pause_here(void)
{
	send_turn(parents_socket);
	if (!take_turn(parents_socket))
		_exit(1);
}

void until_it_pauses(struct child *child)
{
	assert_true(take_turn(child->socket));
}

void go_on(struct child *child)
{
	send_turn(child->socket);
}

void step(struct child *child)
{
	go_on(child);
	until_it_pauses(child);
}

int status_of(struct child *child)
{
	int status;

	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	close(child->socket);
	return status;
}

void ends_well(struct child *child)
{
	int status = status_of(child);

	if (WIFSIGNALED(status))
		fail_msg("the child died of signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

void is_killed(struct child *child)
{
	int status;

	assert_int_equal(kill(child->pid, SIGKILL), 0);
	status = status_of(child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
