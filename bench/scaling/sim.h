/* SPDX-License-Identifier: MIT */
/*
 * sim.h - a discrete event simulator of threads on cores that meet at stations
 *
 * A thread does one operation after another; an operation is a list of steps. A step is computing, or a visit to a station: a cache
 * line, a lock, a device. One that is taken makes the thread wait in line. On the way to a station that another core has used last, the
 * line that it lives on has to come over, which takes time in which nobody else has it: that is what a shared counter costs.
 *
 * Not modelled: preemption; that an atomic operation which is tried in a loop is the slower the more try it; that a lock may sleep.
 */
#ifndef BENCH_SCALING_SIM_H
#define BENCH_SCALING_SIM_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_STEPS 256
#define SIM_CORES 64

#define SIM_COMPUTE (-1)
#define SIM_SLEEP   (-2) /* without a core */

struct sim;
struct sim_thread;

struct sim_step {
	int at;              /* a station, or one of the above */
	double ns;           /* how long it takes there, beside the way of the line */
	double interrupt_ns; /* what it takes from every other core, when it is over */
};

struct sim_station {
	/* Set by the model. */
	unsigned servers; /* visits at once */
	bool off_core;    /* the thread gives its core up meanwhile */
	double lines;     /* how many cache lines' ways a visit takes from another core */
	/* The simulator's. */
	unsigned busy;
	int last_core;
	struct sim_thread *head, *tail; /* that wait */
	double busy_ns;
};

struct sim_thread {
	unsigned number;
	int core; /* -1: none */
	struct sim_step step[SIM_STEPS];
	unsigned n_steps, next_step;
	int at; /* the station that it is in; -1: none */
	struct sim_thread *next;
};

struct sim_ways {
	double near_ns;  /* a line's way between cores that share a cache … */
	double far_ns;   /* … and that do not */
	unsigned domain; /* cores that share one */
};

struct sim_setup {
	unsigned cores, threads, stations;
	struct sim_ways ways;
	/* Fills the steps of the thread's next operation; 0 steps are not allowed. */
	void (*begin)(void *model, struct sim *sim, struct sim_thread *thread);
	void *model;
};

/* NULL: no memory. */
struct sim *sim_create(const struct sim_setup *setup);
void sim_destroy(struct sim *sim);
struct sim_station *sim_station(struct sim *sim, unsigned i);
void sim_add(struct sim_thread *thread, int at, double ns);
/* Gives the threads their first operations. */
void sim_start(struct sim *sim);
/* Goes on for so long. */
void sim_run(struct sim *sim, double ns);
/* Forgets what stations have counted. */
void sim_count(struct sim *sim);
/* The share of the time counted in which a station's servers were busy. */
double sim_utilization(struct sim *sim, unsigned station);
uint64_t sim_random(struct sim *sim);
/* From 0 to 1. */
double sim_chance(struct sim *sim);

#endif
