/* SPDX-License-Identifier: MIT */
/*
 * served.c - what a client of a server of Quire waits for: faults, alone and beside idle clients, and its beginning
 *
 * The client, a process with an engine of its own under the thread trap, and plain reads take turns in small blocks, each on pages of its
 * own of one file. After its block each side drops its mapping and touches the pages again, which are in memory then: the way of a
 * fault without its I/O.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "server.h"

#define IDLE 100

enum { COLD, WARM };

struct file {
	uint64_t size;
	const uint32_t *pages; /* in the order in which they are used */
	int fd;
};

/* Task: which pages, and whether they are to be read or are in memory. Result: microseconds for each. */
static void touch(const struct bench *b, int tasks, int results, void *arg)
{
	const struct file *file = arg;
	const volatile uint64_t *p;
	struct bench_task task;

	if (strcmp(getenv("QUIRE_SERVER"), "off") == 0)
		bench_engine(b, 256 * MIB);
	p = bench_map(b, &bench_quire, file->size, PROT_READ, MAP_SHARED, file->fd);
	bench_advise(b, &bench_quire, (void *)p, file->size, MADV_RANDOM);
	while (bench_worker_next(tasks, &task)) {
		uint64_t sum = 0, expected = 0;
		double start;

		if (task.what == WARM)
			bench_advise(b, &bench_quire, (void *)p, file->size, MADV_DONTNEED);
		start = bench_now();
		for (uint64_t i = task.first; i < task.first + task.count; i++)
			sum += p[file->pages[i] * BENCH_WORDS];
		bench_worker_say(b, results, (bench_now() - start) * 1e6 / (double)task.count);
		for (uint64_t i = task.first; i < task.first + task.count; i++)
			expected += bench_word(file->pages[i], 0);
		bench_expect(b, "Quire", sum, expected);
	}
	bench_unmap(b, &bench_quire, (void *)p, file->size);
}

static double read_raw(const struct bench *b, const struct file *file, int direct, uint64_t first, uint64_t count)
{
	uint64_t *buf = bench_buffer(b, BENCH_PAGE), sum = 0, expected = 0;
	double start = bench_now(), seconds;

	for (uint64_t i = first; i < first + count; i++) {
		if (pread(direct, buf, BENCH_PAGE, (off_t)file->pages[i] * BENCH_PAGE) != BENCH_PAGE)
			bench_stop(b, "raw pread: %s", strerror(errno));
		sum += buf[0];
	}
	seconds = bench_now() - start;
	for (uint64_t i = first; i < first + count; i++)
		expected += bench_word(file->pages[i], 0);
	bench_expect(b, "raw pread", sum, expected);
	free(buf);
	return seconds * 1e6 / (double)count;
}

struct plan {
	uint64_t blocks, pages, next;
};

/* ---- faults, beside an engine of one's own ---- */

static void measure_faults(const struct bench *b, const struct file *file, struct plan *plan, struct bench_worker *served,
			   struct bench_worker *embedded)
{
	struct bench_row *cold = bench_row(b, "cold fault, served (limit: embedded, thread trap)", "us", false);
	struct bench_row *warm = bench_row(b, "... of a page that is in memory", "us", false);
	struct bench_worker *workers[2] = {served, embedded};
	int direct = bench_direct(b, file->fd, O_RDONLY);

	for (unsigned run = 0; run < b->runs; run++) {
		struct bench_samples colds[2] = {{0}, {0}}, warms[2] = {{0}, {0}}, raw = {0};

		for (unsigned block = 0; block < plan->blocks; block++) {
			for (unsigned k = 0; k < 2; k++) {
				unsigned side = (k + block) % 2;
				struct bench_task task = {COLD, plan->next, plan->pages};

				bench_sample(&colds[side], bench_worker_do(b, workers[side], &task));
				task.what = WARM;
				bench_sample(&warms[side], bench_worker_do(b, workers[side], &task));
				plan->next += plan->pages;
			}
			bench_sample(&raw, read_raw(b, file, direct, plan->next, plan->pages));
			plan->next += plan->pages;
		}
		bench_sample(&cold->quire, bench_median(&colds[0]));
		bench_sample(&cold->limit, bench_median(&colds[1]));
		bench_sample(bench_other(b, cold, "O_DIRECT pread"), bench_median(&raw));
		bench_sample(&warm->quire, bench_median(&warms[0]));
		bench_sample(&warm->limit, bench_median(&warms[1]));
	}
	bench_goal(cold, BENCH_AT_MOST, 1.25, true);
	bench_goal(warm, BENCH_INFORM, 0, true);
	close(direct);
}

/* ---- idle clients ---- */

/* Has a page of the file, and does nothing. */
static void idle(const struct bench *b, int tasks, int results, void *arg)
{
	const struct file *file = arg;
	const volatile uint64_t *p = bench_map(b, &bench_quire, file->size, PROT_READ, MAP_SHARED, file->fd);
	struct bench_task task;

	bench_expect(b, "an idle client", p[0], bench_word(0, 0));
	bench_worker_say(b, results, 0);
	(void)bench_worker_next(tasks, &task);
}

/* Processor time of the server in which nobody asks it for anything: microseconds in each second. */
static double idle_time(const struct bench *b, const struct bench_server *server)
{
	struct timespec while_idle = {.tv_nsec = b->quick ? 50000000 : 900000000};
	double start = bench_now(), used = bench_server_time(b, server);

	nanosleep(&while_idle, NULL);
	used = bench_server_time(b, server) - used;
	return used * 1e6 / (bench_now() - start);
}

struct figures {
	double cold, warm, time;
};

static struct figures take_figures(const struct bench *b, const struct bench_server *server, struct plan *plan,
				   const struct bench_worker *served)
{
	struct bench_samples cold = {0}, warm = {0};

	for (unsigned block = 0; block < plan->blocks; block++) {
		struct bench_task task = {COLD, plan->next, plan->pages};

		bench_sample(&cold, bench_worker_do(b, served, &task));
		task.what = WARM;
		bench_sample(&warm, bench_worker_do(b, served, &task));
		plan->next += plan->pages;
	}
	return (struct figures){bench_median(&cold), bench_median(&warm), idle_time(b, server)};
}

/* Beside none, beside idle ones, beside none again. */
static void measure_idle(const struct bench *b, const struct bench_server *server, struct file *file, struct plan *plan,
			 struct bench_worker *served)
{
	struct bench_row *cold = bench_row(b, "cold fault beside 100 idle clients (limit: beside none)", "us", false);
	struct bench_row *warm = bench_row(b, "... of a page that is in memory", "us", false);
	struct bench_row *time = bench_row(b, "processor time of the server, 100 idle clients", "us/s", false);
	unsigned count = b->quick ? 10 : IDLE;
	struct bench_worker workers[IDLE];

	for (unsigned run = 0; run < b->runs; run++) {
		struct figures before = take_figures(b, server, plan, served), beside, after;

		for (unsigned i = 0; i < count; i++)
			bench_worker_start(b, server, "an idle client", idle, file, &workers[i]);
		for (unsigned i = 0; i < count; i++)
			(void)bench_worker_result(b, &workers[i]);
		beside = take_figures(b, server, plan, served);
		for (unsigned i = 0; i < count; i++)
			bench_worker_end(b, &workers[i]);
		after = take_figures(b, server, plan, served);
		bench_sample(&cold->quire, beside.cold);
		bench_sample(&cold->limit, (before.cold + after.cold) / 2);
		bench_sample(&warm->quire, beside.warm);
		bench_sample(&warm->limit, (before.warm + after.warm) / 2);
		bench_sample(&time->quire, beside.time);
		bench_sample(&time->limit, (before.time + after.time) / 2);
	}
	bench_goal(cold, BENCH_AT_MOST, 1.05, true);
	bench_goal(warm, BENCH_AT_MOST, 1.05, true);
	bench_goal(time, BENCH_INFORM, 0, true);
}

/* ---- the beginning ---- */

/* Result: from nothing until the first mapping is there. */
static void begin(const struct bench *b, int tasks, int results, void *arg)
{
	const struct file *file = arg;
	struct bench_task task;
	double start = bench_now();
	void *p = bench_map(b, &bench_quire, file->size, PROT_READ, MAP_SHARED, file->fd);

	bench_worker_say(b, results, (bench_now() - start) * 1e3);
	bench_expect(b, "a new client", *(volatile uint64_t *)p, bench_word(0, 0));
	(void)bench_worker_next(tasks, &task);
}

static void measure_beginning(const struct bench *b, const struct bench_server *server, struct file *file)
{
	struct bench_row *row = bench_row(b, "connecting, attaching and the first mapping", "ms", false);

	for (unsigned run = 0; run < b->runs; run++) {
		struct bench_samples times = {0};

		for (unsigned i = 0; i < 25; i++) {
			struct bench_worker worker;

			bench_worker_start(b, server, "a client", begin, file, &worker);
			bench_sample(&times, bench_worker_result(b, &worker));
			bench_worker_end(b, &worker);
		}
		bench_sample(&row->quire, bench_median(&times));
	}
	bench_sample(&row->limit, 1);
	bench_goal(row, BENCH_AT_MOST, 1, true);
}

void bench_served(const struct bench *b)
{
	struct bench thread = *b;
	struct plan plan = {b->quick ? 2 : 20, b->quick ? 20 : 100, 0};
	uint64_t size = bench_size(b, 4 * GIB, 64 * MIB), needed = plan.blocks * plan.pages * b->runs * 6;
	struct file file = {size, bench_permutation(b, (uint32_t)(size / BENCH_PAGE), 42), bench_data(b, size, O_RDONLY)};
	struct bench_worker served, embedded;
	struct bench_server server;

	if (needed > size / BENCH_PAGE)
		bench_stop(b, "%u runs need %" PRIu64 " different pages, the file has %" PRIu64, b->runs, needed,
			   size / BENCH_PAGE);
	thread.trap = QUIRE_TRAP_THREAD;
	bench_drop(b, file.fd, size);
	bench_server_start(b, &server, 256 * MIB);
	bench_worker_start(b, &server, "the client", touch, &file, &served);
	bench_worker_start(&thread, NULL, "the program with an engine of its own", touch, &file, &embedded);
	measure_faults(b, &file, &plan, &served, &embedded);
	bench_worker_end(b, &embedded);
	measure_idle(b, &server, &file, &plan, &served);
	measure_beginning(b, &server, &file);
	bench_worker_end(b, &served);
	bench_server_stop(b, &server);
	bench_drop(b, file.fd, size);
	free((void *)file.pages);
	close(file.fd);
}
