/* SPDX-License-Identifier: MIT */
/*
 * host.c - a process that lends what a client of a server hands over
 */
#include "host.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/channel.h"
#include "sys/uffd.h"

enum { PAGE = 4096 };

/* The ends of a pair that is this process's, a userfaultfd, and where the arena is. */
__attribute__((noreturn)) static void lend(int socket)
{
	char *arena = mmap(NULL, HOST_ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct channel_message out = {.head = &arena, .head_len = sizeof(arena), .n_fds = 3};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (arena == MAP_FAILED || channel_pair(out.fds) < 0 || uffd_open(uffd_find(false), false, false, &out.fds[2]) < 0)
		_exit(1);
	(void)channel_send(socket, &out);
	for (unsigned i = 0; i < 3; i++)
		close(out.fds[i]);
	for (;;)
		pause();
}

/* A process for each request, since its memory may be done anything with, as an agent's answers can have it; it ends with the next. */
__attribute__((noreturn)) static void serve(int socket)
{
	pid_t pid = 0;
	char byte;
	struct channel_message in = {.head = &byte, .head_len = 1};

	while (channel_receive(socket, &in) == 0) {
		if (pid > 0)
			kill(pid, SIGKILL);
		if (pid > 0)
			(void)waitpid(pid, NULL, 0);
		pid = fork();
		if (pid == 0)
			lend(socket);
	}
	_exit(0);
}

bool host_start(struct host *host)
{
	int pair[2];

	if (channel_pair(pair) < 0)
		return false;
	host->pid = fork();
	if (host->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		serve(pair[1]);
	}
	close(pair[1]);
	host->socket = pair[0];
	return host->pid > 0;
}

void host_stop(struct host *host)
{
	close(host->socket);
	(void)waitpid(host->pid, NULL, 0);
}

bool host_lend(struct host *host, struct lent *ret)
{
	char byte = 0;
	struct channel_message out = {.head = &byte, .head_len = 1};
	struct channel_message in = {.head = &ret->arena, .head_len = sizeof(ret->arena)};

	if (channel_send(host->socket, &out) < 0 || channel_receive(host->socket, &in) < 0 || in.n_fds != 3)
		return false;
	ret->agent = in.fds[0];
	ret->engine_agent = in.fds[1];
	ret->uffd = in.fds[2];
	ret->attached = false;
	ret->line_fd = memfd_create("line", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(ret->line_fd, PAGE) < 0 || fcntl(ret->line_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return false;
	ret->line = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ret->line_fd, 0);
	return ret->line != MAP_FAILED;
}

void host_take_back(struct host *host, struct lent *lent)
{
	(void)host;
	close(lent->agent);
	close(lent->engine_agent);
	close(lent->uffd);
	close(lent->line_fd);
	munmap(lent->line, PAGE);
}

int host_file(size_t pages)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0 ? fd : -1;
}

int host_reader(int fd)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, O_RDONLY | O_CLOEXEC);
}
