/* SPDX-License-Identifier: MIT */
/*
 * sim.c - a discrete event simulator of threads on cores that meet at stations
 *
 * There is one event a thread: the end of its step. A heap tells which is next.
 */
#include "sim.h"

#include <stdlib.h>

#include "../random.h"
#include "util/assert.h"

struct event {
	double ns;
	struct sim_thread *thread;
};

struct sim {
	struct sim_setup setup;
	double now, counted_from;
	struct sim_station *stations;
	struct sim_thread *threads;
	struct event *heap;
	unsigned n_events;
	bool core_taken[SIM_CORES];
	double debt_ns[SIM_CORES]; /* interrupts that a core has still to pay */
	struct sim_thread *ready, *ready_tail;
	uint64_t random;
};

/* ---- events ---- */

static void push(struct sim *sim, double ns, struct sim_thread *thread)
{
	unsigned i = sim->n_events++;

	for (; i > 0 && sim->heap[(i - 1) / 2].ns > ns; i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = (struct event){ns, thread};
}

static struct event pop(struct sim *sim)
{
	struct event first = sim->heap[0], last = sim->heap[--sim->n_events];
	unsigned i = 0;

	for (unsigned child; (child = 2 * i + 1) < sim->n_events; i = child) {
		if (child + 1 < sim->n_events && sim->heap[child + 1].ns < sim->heap[child].ns)
			child++;
		if (last.ns <= sim->heap[child].ns)
			break;
		sim->heap[i] = sim->heap[child];
	}
	sim->heap[i] = last;
	return first;
}

/* ---- cores ---- */

static int find_core(struct sim *sim)
{
	for (unsigned i = 0; i < sim->setup.cores; i++)
		if (!sim->core_taken[i])
			return (int)i;
	return -1;
}

static void start_step(struct sim *sim, struct sim_thread *thread);

static void give_core(struct sim *sim, struct sim_thread *thread, int core)
{
	sim->core_taken[core] = true;
	thread->core = core;
	start_step(sim, thread);
}

static void want_core(struct sim *sim, struct sim_thread *thread)
{
	int core = find_core(sim);

	if (core >= 0) {
		give_core(sim, thread, core);
		return;
	}
	thread->next = NULL;
	if (sim->ready_tail)
		sim->ready_tail->next = thread;
	else
		sim->ready = thread;
	sim->ready_tail = thread;
}

static void leave_core(struct sim *sim, struct sim_thread *thread)
{
	struct sim_thread *next = sim->ready;
	int core = thread->core;

	thread->core = -1;
	sim->core_taken[core] = false;
	if (!next)
		return;
	sim->ready = next->next;
	if (!sim->ready)
		sim->ready_tail = NULL;
	give_core(sim, next, core);
}

/* ---- stations ---- */

static double way(const struct sim *sim, const struct sim_station *station, int core)
{
	const struct sim_ways *ways = &sim->setup.ways;

	if (station->lines == 0 || station->last_core == core || station->last_core < 0 || core < 0)
		return 0;
	return station->lines *
	       ((unsigned)station->last_core / ways->domain == (unsigned)core / ways->domain ? ways->near_ns : ways->far_ns);
}

/* A server is free, and the thread's. */
static void serve(struct sim *sim, struct sim_station *station, struct sim_thread *thread)
{
	double ns = way(sim, station, thread->core) + thread->step[thread->next_step].ns;

	station->busy++;
	station->busy_ns += ns;
	station->last_core = thread->core;
	thread->at = (int)(station - sim->stations);
	push(sim, sim->now + ns, thread);
}

static void visit(struct sim *sim, struct sim_station *station, struct sim_thread *thread)
{
	if (station->off_core)
		leave_core(sim, thread);
	if (station->busy < station->servers) {
		serve(sim, station, thread);
		return;
	}
	thread->next = NULL;
	if (station->tail)
		station->tail->next = thread;
	else
		station->head = thread;
	station->tail = thread;
}

static void leave(struct sim *sim, struct sim_station *station)
{
	struct sim_thread *next = station->head;

	station->busy--;
	if (!next)
		return;
	station->head = next->next;
	if (!station->head)
		station->tail = NULL;
	serve(sim, station, next);
}

/* ---- threads ---- */

static void start_step(struct sim *sim, struct sim_thread *thread)
{
	const struct sim_step *step;
	double debt;

	if (thread->next_step == thread->n_steps) {
		thread->n_steps = thread->next_step = 0;
		sim->setup.begin(sim->setup.model, sim, thread);
		ASSERT(thread->n_steps > 0);
	}
	step = &thread->step[thread->next_step];
	if (step->at >= 0) {
		visit(sim, &sim->stations[step->at], thread);
		return;
	}
	if (step->at == SIM_SLEEP) {
		leave_core(sim, thread);
		push(sim, sim->now + step->ns, thread);
		return;
	}
	debt = sim->debt_ns[thread->core];
	sim->debt_ns[thread->core] = 0;
	push(sim, sim->now + step->ns + debt, thread);
}

static void end_step(struct sim *sim, struct sim_thread *thread)
{
	const struct sim_step *step = &thread->step[thread->next_step];

	if (step->interrupt_ns > 0)
		for (unsigned i = 0; i < sim->setup.cores; i++)
			if ((int)i != thread->core && sim->core_taken[i])
				sim->debt_ns[i] += step->interrupt_ns;
	if (thread->at >= 0)
		leave(sim, &sim->stations[thread->at]);
	thread->at = -1;
	thread->next_step++;
	if (thread->core < 0)
		want_core(sim, thread);
	else
		start_step(sim, thread);
}

/* ---- outside ---- */

struct sim *sim_create(const struct sim_setup *setup)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	ASSERT(setup->cores >= 1 && setup->cores <= SIM_CORES);
	if (!sim)
		return NULL;
	sim->setup = *setup;
	sim->random = 1;
	sim->stations = calloc(setup->stations, sizeof(*sim->stations));
	sim->threads = calloc(setup->threads, sizeof(*sim->threads));
	sim->heap = calloc(setup->threads, sizeof(*sim->heap));
	if (!sim->stations || !sim->threads || !sim->heap) {
		sim_destroy(sim);
		return NULL;
	}
	for (unsigned i = 0; i < setup->stations; i++)
		sim->stations[i] = (struct sim_station){.servers = 1, .last_core = -1, .lines = 1};
	return sim;
}

void sim_destroy(struct sim *sim)
{
	if (!sim)
		return;
	free(sim->stations);
	free(sim->threads);
	free(sim->heap);
	free(sim);
}

struct sim_station *sim_station(struct sim *sim, unsigned i)
{
	return &sim->stations[i];
}

void sim_add(struct sim_thread *thread, int at, double ns)
{
	ASSERT(thread->n_steps < SIM_STEPS);
	thread->step[thread->n_steps++] = (struct sim_step){.at = at, .ns = ns};
}

void sim_start(struct sim *sim)
{
	for (unsigned i = 0; i < sim->setup.threads; i++) {
		sim->threads[i].number = i;
		sim->threads[i].core = sim->threads[i].at = -1;
	}
	for (unsigned i = 0; i < sim->setup.threads; i++)
		want_core(sim, &sim->threads[i]);
}

void sim_run(struct sim *sim, double ns)
{
	double end = sim->now + ns;

	while (sim->n_events > 0 && sim->heap[0].ns < end) {
		struct event event = pop(sim);

		sim->now = event.ns;
		end_step(sim, event.thread);
	}
	sim->now = end;
}

void sim_count(struct sim *sim)
{
	for (unsigned i = 0; i < sim->setup.stations; i++)
		sim->stations[i].busy_ns = 0;
	sim->counted_from = sim->now;
}

double sim_utilization(struct sim *sim, unsigned station)
{
	return sim->stations[station].busy_ns / (sim->now - sim->counted_from) / sim->stations[station].servers;
}

uint64_t sim_random(struct sim *sim)
{
	return bench_random(&sim->random);
}

double sim_chance(struct sim *sim)
{
	return (double)(sim_random(sim) >> 11) * 0x1p-53;
}
