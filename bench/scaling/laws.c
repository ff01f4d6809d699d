/* SPDX-License-Identifier: MIT */
/*
 * laws.c - what the simulator has to find, since it is known without
 *
 * Threads compute, visit the one station, and begin again. Alone, an operation takes the sum; and many can be no faster than the
 * station, which they keep busy.
 */
#include "laws.h"

#include <math.h>
#include <stddef.h>

#include "sim.h"

#define COMPUTE_NS 900.0
#define SERVE_NS   100.0
#define WAY_NS     50.0
#define RUN_NS     1e7

struct loop {
	double operations;
};

static void begin(void *model, struct sim *sim, struct sim_thread *thread)
{
	struct loop *loop = model;

	(void)sim;
	loop->operations++;
	sim_add(thread, SIM_COMPUTE, COMPUTE_NS);
	sim_add(thread, 0, SERVE_NS);
}

/* ns from one operation's end to the next one's; -1: no memory. */
static double spacing(unsigned cores, unsigned threads, unsigned servers, bool off_core, double way_ns, double *ret_utilization)
{
	struct loop loop = {0};
	struct sim_setup setup = {
	    .cores = cores, .threads = threads, .stations = 1, .ways = {way_ns, way_ns, SIM_CORES}, .begin = begin, .model = &loop};
	struct sim *sim = sim_create(&setup);
	struct sim_station *station;

	if (!sim)
		return -1;
	station = sim_station(sim, 0);
	station->servers = servers;
	station->off_core = off_core;
	sim_start(sim);
	sim_run(sim, RUN_NS);
	loop.operations = 0;
	sim_count(sim);
	sim_run(sim, RUN_NS);
	*ret_utilization = sim_utilization(sim, 0);
	sim_destroy(sim);
	return RUN_NS / loop.operations;
}

static bool is_about(double x, double y)
{
	return fabs(x - y) < 0.005 * y;
}

const char *laws_broken(void)
{
	double utilization;

	if (!is_about(spacing(1, 1, 1, false, WAY_NS, &utilization), COMPUTE_NS + SERVE_NS) || !is_about(utilization, 0.1))
		return "one thread takes the sum of its steps, and no line has a way to go";
	if (!is_about(spacing(64, 64, 1, false, 0, &utilization), SERVE_NS) || !is_about(utilization, 1))
		return "many are as fast as the station";
	if (!is_about(spacing(64, 64, 1, false, WAY_NS, &utilization), SERVE_NS + WAY_NS))
		return "and the way of its line";
	if (!is_about(spacing(1, 64, 64, true, 0, &utilization), COMPUTE_NS))
		return "one core computes all the time while others' transfers are under way";
	if (!is_about(spacing(2, 8, 1, true, 0, &utilization), COMPUTE_NS / 2))
		return "two cores compute twice as fast";
	return NULL;
}
