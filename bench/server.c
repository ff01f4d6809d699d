/* SPDX-License-Identifier: MIT */
/*
 * server.c - a server of Quire, and processes that do a part of a benchmark when they are told to
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "server/server.h"
#include "util/message.h"

/* ---- the server ---- */

/* As quire serve does it. */
__attribute__((noreturn)) static void serve(const struct bench *b, const struct bench_server *s, uint64_t budget_bytes, int ready)
{
	struct bench thread = *b;
	struct server server;
	struct engine *engine;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	thread.trap = QUIRE_TRAP_THREAD;
	if (server_open(&server, s->socket, NULL) < 0)
		bench_stop(b, "the server: %s", message_detail());
	bench_engine(&thread, budget_bytes);
	if (entry_engine(&engine) < 0)
		bench_stop(b, "the server: %s", quire_errormsg());
	close(ready);
	server_run(&server, engine);
	server_close(&server);
	_exit(entry_write_back(engine) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void expect_end(const struct bench *b, pid_t pid, const char *name)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		bench_stop(b, "%s cannot be waited for: %s", name, strerror(errno));
	/* What it has said of itself is in the result already. */
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		_exit(WEXITSTATUS(status));
	if (status != 0)
		bench_stop(b, "%s ended with status %#x", name, status);
}

void bench_server_start(const struct bench *b, struct bench_server *server, uint64_t budget_bytes)
{
	const char *top = getenv("TMPDIR");
	int pair[2];
	char byte;

	snprintf(server->folder, sizeof(server->folder), "%s/quire-bench.XXXXXX", top && strlen(top) < 40 ? top : "/var/tmp");
	if (!mkdtemp(server->folder) || pipe2(pair, O_CLOEXEC) < 0)
		bench_stop(b, "%s: %s", server->folder, strerror(errno));
	snprintf(server->socket, sizeof(server->socket), "%s/socket", server->folder);
	server->pid = fork();
	if (server->pid < 0)
		bench_stop(b, "no process for the server: %s", strerror(errno));
	if (server->pid == 0) {
		close(pair[0]);
		serve(b, server, budget_bytes, pair[1]);
	}
	close(pair[1]);
	while (read(pair[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(pair[0]);
	if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
		_exit(EXIT_FAILURE);
}

void bench_server_stop(const struct bench *b, struct bench_server *server)
{
	char lock[128];

	kill(server->pid, SIGTERM);
	expect_end(b, server->pid, "the server");
	snprintf(lock, sizeof(lock), "%s.lock", server->socket);
	unlink(lock);
	rmdir(server->folder);
}

double bench_server_time(const struct bench *b, const struct bench_server *server)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(server->pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
		bench_stop(b, "the server's processor time cannot be read");
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- workers ---- */

/* False: the other end is closed. */
static bool read_all(int fd, void *ret, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)ret + done, len - done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

bool bench_worker_next(int tasks, struct bench_task *ret)
{
	return read_all(tasks, ret, sizeof(*ret)) && ret->what != BENCH_TASK_END;
}

void bench_worker_say(const struct bench *b, int results, double value)
{
	if (write(results, &value, sizeof(value)) != sizeof(value))
		bench_stop(b, "a result cannot be told: %s", strerror(errno));
}

void bench_worker_start(const struct bench *b, const struct bench_server *server, const char *name, bench_worker_function *run,
			void *arg, struct bench_worker *ret)
{
	int tasks[2], results[2];

	if (pipe2(tasks, O_CLOEXEC) < 0 || pipe2(results, O_CLOEXEC) < 0)
		bench_stop(b, "no pipes: %s", strerror(errno));
	*ret = (struct bench_worker){name, fork(), tasks[1], results[0]};
	if (ret->pid < 0)
		bench_stop(b, "no process for %s: %s", name, strerror(errno));
	if (ret->pid > 0) {
		close(tasks[0]);
		close(results[1]);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(tasks[1]);
	close(results[0]);
	setenv("QUIRE_SERVER", server ? server->socket : "off", 1);
	run(b, tasks[0], results[1], arg);
	_exit(EXIT_SUCCESS);
}

void bench_worker_tell(const struct bench *b, const struct bench_worker *worker, const struct bench_task *task)
{
	if (write(worker->to, task, sizeof(*task)) != sizeof(*task))
		expect_end(b, worker->pid, worker->name);
}

double bench_worker_result(const struct bench *b, const struct bench_worker *worker)
{
	double value;

	if (!read_all(worker->from, &value, sizeof(value))) {
		expect_end(b, worker->pid, worker->name);
		bench_stop(b, "%s has ended before its time", worker->name);
	}
	return value;
}

double bench_worker_do(const struct bench *b, const struct bench_worker *worker, const struct bench_task *task)
{
	bench_worker_tell(b, worker, task);
	return bench_worker_result(b, worker);
}

void bench_worker_end(const struct bench *b, struct bench_worker *worker)
{
	/* A worker that was started later has the other end of the pipe, too: closing it says nothing. */
	bench_worker_tell(b, worker, &(struct bench_task){.what = BENCH_TASK_END});
	close(worker->to);
	close(worker->from);
	expect_end(b, worker->pid, worker->name);
}
