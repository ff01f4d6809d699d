/* SPDX-License-Identifier: MIT */
/*
 * children.c - children of a test, and the turns that they and their parent take
 */
#include "children.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int parents_socket = -1; /* in a child: its parent's */

void become_child(int socket)
{
	parents_socket = socket;
	/* A failure is told by the child itself, and ends it. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	alarm(CHILD_SECONDS);
}

/*
 * The sanitizer's malloc stays locked in a child for good, if another thread had it locked at the fork. So the engine's threads, which
 * start and work now and then, are waited for until they sleep.
 */
static bool others_sleep(void)
{
	DIR *d = opendir("/proc/self/task");
	bool sleep = true;
	struct dirent *entry;

	assert_non_null(d);
	while ((entry = readdir(d)) != NULL) {
		char path[320], stat[512] = "", *state;
		FILE *f;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)syscall(SYS_gettid))
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/stat", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		state = fgets(stat, sizeof(stat), f) ? strrchr(stat, ')') : NULL;
		sleep &= state && state[1] == ' ' && state[2] == 'S';
		fclose(f);
	}
	closedir(d);
	return sleep;
}

#ifdef SANITIZED
static void await_sleep(void)
{
	for (int looks = 0; looks < 10; usleep(1000))
		looks = others_sleep() ? looks + 1 : 0;
}
#endif

pid_t fork_here(void)
{
#ifdef SANITIZED
	pid_t pid;

	/* The first fork starts threads, so there is one that does nothing else. */
	await_sleep();
	pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	await_sleep();
#else
	(void)others_sleep;
#endif
	return fork();
}

bool child_begins(struct child *child)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	child->pid = fork_here();
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
