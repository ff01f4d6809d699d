/* SPDX-License-Identifier: MIT */
/*
 * server.h - a server of Quire, and processes that do a part of a benchmark when they are told to
 *
 * None of them may be started by a process that has an engine.
 */
#ifndef QUIRE_BENCH_SERVER_H
#define QUIRE_BENCH_SERVER_H

#include <sys/types.h>

#include "bench.h"

struct bench_server {
	pid_t pid;
	char folder[64], socket[96];
};

/* Takes connections on return. It ends with this process, if not before. */
void bench_server_start(const struct bench *b, struct bench_server *server, uint64_t budget_bytes);
void bench_server_stop(const struct bench *b, struct bench_server *server);
/* Its processor time, in seconds. */
double bench_server_time(const struct bench *b, const struct bench_server *server);

#define BENCH_TASK_END UINT64_MAX

/* What a worker is to do; what that means is between it and who tells it, but for the end. */
struct bench_task {
	uint64_t what, first, count;
};

struct bench_worker {
	const char *name;
	pid_t pid;
	int to, from;
};

/* In the worker: the next task. False: there are no more. */
bool bench_worker_next(int tasks, struct bench_task *ret);
/* ... and what has come out. */
void bench_worker_say(const struct bench *b, int results, double value);

/* A process of its own that runs the function; a client of the server, or with an engine of its own (NULL). */
typedef void bench_worker_function(const struct bench *b, int tasks, int results, void *arg);
void bench_worker_start(const struct bench *b, const struct bench_server *server, const char *name, bench_worker_function *run,
			void *arg, struct bench_worker *ret);
void bench_worker_tell(const struct bench *b, const struct bench_worker *worker, const struct bench_task *task);
/* Waits for the result. */
double bench_worker_result(const struct bench *b, const struct bench_worker *worker);
double bench_worker_do(const struct bench *b, const struct bench_worker *worker, const struct bench_task *task);
/* Lets it end, which it does well. */
void bench_worker_end(const struct bench *b, struct bench_worker *worker);

#endif
