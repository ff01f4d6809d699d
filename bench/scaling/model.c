/* SPDX-License-Identifier: MIT */
/*
 * model.c - what faults and the page-out meet on their way, for the simulator
 *
 * The order and the number of visits are those of the code: fault/fault.c, object/load.c, object/evict.c, cache/clock.c; of the kernel's
 * part, those of Linux 6.18. A visit takes the way of the line from the core that was there last, and for locks what is done under them. What
 * a thread does in between was measured by one thread alone, so that alone the sum is what was measured.
 */
#include "model.h"

#include <errno.h>
#include <math.h>

#define SHARDS SIM_CORES
#define LINES  3 /* of points that are several */

/* Assumed, not measured: they cannot be told apart from outside. */
#define SIGNAL_HELD_NS  50  /* each time that the kernel's lock of the signals is held */
#define TREE_HELD_NS    150 /* the tree of the memfd, to put a page in */
#define QUEUE_HELD_NS   30  /* taking a chunk off a queue, or putting it there */
#define BUFFERS_HELD_NS 30  /* taking a buffer, or putting it back */
#define DECIDE_NS       400 /* looking at the 512 words of a chunk */
#define FLUSH_EACH_NS   25  /* of who interrupts others, for each */
#define FREE_LOW        256 /* pages: the page-out begins … */
#define FREE_HIGH       512 /* … and ends; some part of the budget in the engine, here as much as makes no difference */
#define POLL_NS         5000
#define BATCH           16 /* what is done together where something is batched */

const char *const point_names[POINTS] = {
    [POINT_MAP_LOCK] = "map lock",
    [POINT_COUNTERS] = "engine's counters",
    [POINT_AREA] = "area's counters",
    [POINT_OBJECT] = "object's references",
    [POINT_BUDGET] = "budget",
    [POINT_BUFFERS] = "buffers' lock",
    [POINT_QUEUES] = "policy's queues",
    [POINT_OBJECT_LOCK] = "object's lock",
    [POINT_SIGNALS] = "kernel: signals",
    [POINT_UFFD] = "kernel: userfaultfd",
    [POINT_MAPPING] = "kernel: mapping",
    [POINT_STORAGE] = "kernel: file",
    [POINT_FRAMES_TREE] = "kernel: memfd's tree",
    [POINT_FRAMES_INODE] = "kernel: memfd's inode",
    [POINT_DEVICE] = "device",
};

struct model {
	const struct model_setup *setup;
	unsigned sweepers;
	double free; /* pages */
	double touches, faults, reads;
};

/* ---- points ---- */

/* How many of each there are; 0: one for each core. */
static unsigned shards_of(const struct changes *changes, enum point point)
{
	switch (point) {
	case POINT_COUNTERS:
	case POINT_AREA:
	case POINT_OBJECT:
	case POINT_BUDGET:
	case POINT_BUFFERS:
		return changes->own_counters ? 0 : 1;
	case POINT_MAP_LOCK:
		return changes->own_map_lock ? 0 : 1;
	case POINT_OBJECT_LOCK:
	case POINT_FRAMES_INODE:
	case POINT_FRAMES_TREE:
		return changes->parts ? changes->parts : 1;
	case POINT_QUEUES:
		return changes->sweepers ? changes->sweepers : 1;
	case POINT_SIGNALS:
		return changes->no_signals ? 0 : 2;
	case POINT_UFFD:
		return changes->cheap_kernel ? 0 : LINES;
	case POINT_STORAGE:
		return LINES;
	case POINT_MAPPING:
		return changes->cheap_kernel ? 0 : 1;
	default:
		return 1;
	}
}

/* The same object or queue for all of an operation. */
static void meet(const struct model *m, struct sim_thread *thread, enum point point, double ns, uint64_t which)
{
	unsigned n = shards_of(&m->setup->changes, point);
	unsigned shard = n == 0 ? (unsigned)thread->core : (unsigned)(which % n);

	sim_add(thread, (int)(point * SHARDS + shard), ns);
}

/* ---- operations ---- */

/* The kernel on the way to a mapping of pages, or of a new one, and back. */
static void enter_page(const struct model *m, struct sim_thread *thread, double ns, bool fresh, uint64_t which)
{
	/* The descriptor, the process's memory, the descriptor's lock. */
	for (unsigned i = 0; i < LINES; i++)
		meet(m, thread, POINT_UFFD, 0, i);
	meet(m, thread, POINT_MAPPING, 0, which);
	if (fresh)
		meet(m, thread, POINT_FRAMES_TREE, TREE_HELD_NS, which);
	sim_add(thread, SIM_COMPUTE, fmax(ns - (fresh ? TREE_HELD_NS : 0), 0));
	meet(m, thread, POINT_MAPPING, 0, which);
	for (unsigned i = 0; i < LINES; i++)
		meet(m, thread, POINT_UFFD, 0, i);
}

/* The page fault, the signal, its frame; and back. */
static void deliver(const struct model *m, struct sim_thread *thread, uint64_t which)
{
	meet(m, thread, POINT_MAPPING, 0, which);
	meet(m, thread, POINT_MAPPING, 0, which);
	/* Raised and counted; taken and not counted any more; the mask set. */
	meet(m, thread, POINT_SIGNALS, 0, 1);
	meet(m, thread, POINT_SIGNALS, SIGNAL_HELD_NS, 0);
	meet(m, thread, POINT_SIGNALS, SIGNAL_HELD_NS, 0);
	meet(m, thread, POINT_SIGNALS, 0, 1);
	meet(m, thread, POINT_SIGNALS, SIGNAL_HELD_NS, 0);
}

/* The mask set back. */
static void come_back(const struct model *m, struct sim_thread *thread)
{
	meet(m, thread, POINT_SIGNALS, SIGNAL_HELD_NS, 0);
}

/* What one thread alone computes, without what it does under locks. */
static double own_ns(double ns)
{
	return fmax(ns - 4 * SIGNAL_HELD_NS, 0);
}

static void minor_fault(const struct model *m, struct sim_thread *thread, uint64_t which)
{
	const struct costs *costs = m->setup->costs;
	double enter = costs->cost[COST_ENTER].ns[COST_ALONE], rest = own_ns(costs->cost[COST_FAULT].ns[COST_ALONE] - enter);
	bool lean = m->setup->changes.own_counters;

	sim_add(thread, SIM_COMPUTE, 0.5 * rest);
	deliver(m, thread, which);
	meet(m, thread, POINT_COUNTERS, 0, which); /* evictions, to know a page that has failed: read only */
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	sim_add(thread, SIM_COMPUTE, 0.1 * rest);
	enter_page(m, thread, enter, false, which);
	if (!lean)
		meet(m, thread, POINT_COUNTERS, 0, which); /* readahead_hits, by 0 */
	meet(m, thread, POINT_AREA, 0, which);
	meet(m, thread, POINT_COUNTERS, 0, which);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	sim_add(thread, SIM_COMPUTE, 0.4 * rest);
	come_back(m, thread);
}

static void begin_load(const struct model *m, struct sim_thread *thread, double ns, uint64_t which)
{
	deliver(m, thread, which);
	meet(m, thread, POINT_COUNTERS, 0, which);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	meet(m, thread, POINT_AREA, 0, which); /* the misses seen last */
	meet(m, thread, POINT_AREA, 0, which);
	meet(m, thread, POINT_OBJECT, 0, which);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	sim_add(thread, SIM_COMPUTE, ns);
	meet(m, thread, POINT_BUDGET, 0, which);
	meet(m, thread, POINT_BUFFERS, BUFFERS_HELD_NS, which);
	if (!m->setup->changes.own_counters)
		meet(m, thread, POINT_BUDGET, 0, which); /* gives 0 back */
	meet(m, thread, POINT_OBJECT, 0, which);
	for (unsigned i = 0; i < LINES; i++)
		meet(m, thread, POINT_STORAGE, 0, i);
}

static void end_load(const struct model *m, struct sim_thread *thread, uint64_t which)
{
	bool lean = m->setup->changes.own_counters;

	for (unsigned i = 0; i < LINES; i++)
		meet(m, thread, POINT_STORAGE, 0, i);
	meet(m, thread, POINT_COUNTERS, 0, which); /* calls and bytes */
	meet(m, thread, POINT_COUNTERS, 0, which);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	enter_page(m, thread, m->setup->costs->cost[COST_PLACE].ns[COST_ALONE], true, which);
	meet(m, thread, POINT_AREA, 0, which);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	meet(m, thread, POINT_COUNTERS, 0, which);
	if (!lean)
		meet(m, thread, POINT_BUDGET, 0, which); /* gives 0 back */
	meet(m, thread, POINT_BUFFERS, BUFFERS_HELD_NS, which);
	meet(m, thread, POINT_BUFFERS, 0, which); /* tells who waits for one */
	meet(m, thread, POINT_OBJECT, 0, which);
	meet(m, thread, POINT_OBJECT, 0, which);
	meet(m, thread, POINT_COUNTERS, 0, which);
}

/* As many at once as make the rate, if each takes as long as it should. */
static unsigned transfers_of(const struct model_setup *setup)
{
	return (unsigned)fmax(1, setup->transfers_per_second * setup->transfer_ns * 1e-9 + 0.5);
}

static void major_fault(const struct model *m, struct sim *sim, struct sim_thread *thread, uint64_t which)
{
	double place = m->setup->costs->cost[COST_PLACE].ns[COST_ALONE], rest = own_ns(m->setup->major_ns - place);

	sim_add(thread, SIM_COMPUTE, 0.4 * rest);
	begin_load(m, thread, 0.3 * rest, which);
	sim_add(thread, (int)(POINT_DEVICE * SHARDS),
		transfers_of(m->setup) * 1e9 / m->setup->transfers_per_second * (0.8 + 0.4 * sim_chance(sim)));
	sim_add(thread, SIM_COMPUTE, 0.1 * rest);
	end_load(m, thread, which);
	sim_add(thread, SIM_COMPUTE, 0.2 * rest);
	come_back(m, thread);
}

/* ---- the page-out ---- */

double model_unmap_ns(const struct costs *costs, double mapped)
{
	static const double at[] = {3, 26, 105, 512};
	const struct cost *cost = &costs->cost[COST_SWEEP_3];
	unsigned i = 0;
	double from, slope;

	while (i < 2 && mapped > at[i + 1])
		i++;
	from = cost[i].ns[COST_ALONE];
	slope = (cost[i + 1].ns[COST_ALONE] - from) / (at[i + 1] - at[i]);
	return fmax(from + slope * (mapped - at[i]), 0.5 * cost[0].ns[COST_ALONE]);
}

static void unmap(const struct model *m, struct sim_thread *thread, uint64_t which)
{
	const struct model_setup *setup = m->setup;
	unsigned others = setup->cores - 1, together = setup->changes.sparse_unmap ? BATCH : 1;
	double ns = model_unmap_ns(setup->costs, setup->pages.mapped);
	double flush = others ? setup->flush_ns + FLUSH_EACH_NS * others : 0;

	/* What is ours where few are mapped goes; the kernel's part is left, and what grows with the pages. */
	if (setup->changes.sparse_unmap)
		ns = fmax(ns - setup->costs->cost[COST_SWEEP_3].ns[COST_ALONE], 0) +
		     setup->costs->cost[COST_SWEEP_KERNEL].ns[COST_ALONE];
	meet(m, thread, POINT_QUEUES, QUEUE_HELD_NS, which);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	meet(m, thread, POINT_OBJECT_LOCK, ns + flush / together, which);
	thread->step[thread->n_steps - 1].interrupt_ns = setup->interrupted_ns / together;
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	meet(m, thread, POINT_QUEUES, QUEUE_HELD_NS, which);
}

static double whole(struct sim *sim, double x)
{
	return floor(x) + (sim_chance(sim) < x - floor(x));
}

static void evict(const struct model *m, struct sim *sim, struct sim_thread *thread, uint64_t which)
{
	const struct pages_result *pages = &m->setup->pages;
	double runs = whole(sim, pages->runs / pages->decisions), call = m->setup->costs->cost[COST_FREE].ns[COST_ALONE];

	meet(m, thread, POINT_QUEUES, QUEUE_HELD_NS, which);
	sim_add(thread, SIM_COMPUTE, DECIDE_NS);
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	for (unsigned i = 0; i < runs && i < SIM_STEPS / 2 - 8; i++) {
		meet(m, thread, POINT_FRAMES_INODE, m->setup->changes.batched_free ? call / 3 : call, which);
		if (i == 0 || !m->setup->changes.own_counters)
			meet(m, thread, POINT_BUDGET, 0, which);
	}
	meet(m, thread, POINT_MAP_LOCK, 0, which);
	meet(m, thread, POINT_COUNTERS, 0, which);
	meet(m, thread, POINT_QUEUES, QUEUE_HELD_NS, which);
}

/* A step of the policy: unmaps a chunk or evicts from one, as often as the policy was seen to do the one or the other. */
static void sweep(struct model *m, struct sim *sim, struct sim_thread *thread, uint64_t which)
{
	const struct pages_result *pages = &m->setup->pages;

	if (sim_chance(sim) * (pages->unmaps + pages->decisions) < pages->unmaps) {
		unmap(m, thread, which);
		return;
	}
	evict(m, sim, thread, which);
	m->free += 1 / pages->decisions;
}

/* ---- what the simulator asks for ---- */

static void begin(void *arg, struct sim *sim, struct sim_thread *thread)
{
	struct model *m = arg;
	const struct model_setup *setup = m->setup;
	double fault = setup->miss + setup->minor, hits;
	uint64_t which = sim_random(sim) >> 8;

	if (thread->number < m->sweepers) {
		if (m->free < FREE_HIGH)
			sweep(m, sim, thread, setup->changes.sweepers ? thread->number + (which & ~(uint64_t)63) : which);
		else
			sim_add(thread, SIM_SLEEP, POLL_NS);
		return;
	}
	/* Who finds nothing free pages out himself. */
	if (setup->miss > 0 && m->free < 1) {
		sweep(m, sim, thread, which);
		return;
	}
	hits = floor(log(1 - sim_chance(sim)) / log(1 - fmin(fault, 0.999999)));
	m->touches += 1 + hits;
	sim_add(thread, SIM_COMPUTE, setup->touch_ns * (1 + hits));
	m->faults++;
	if (sim_chance(sim) * fault < setup->minor) {
		minor_fault(m, thread, which);
		return;
	}
	m->free--;
	m->reads++;
	major_fault(m, sim, thread, which);
}

static void shape(struct sim *sim, const struct model_setup *setup)
{
	unsigned transfers = transfers_of(setup);
	struct sim_station *device = sim_station(sim, POINT_DEVICE * SHARDS);

	device->servers = transfers < setup->buffers ? transfers : setup->buffers;
	device->off_core = true;
	device->lines = 0;
}

int model_run(const struct model_setup *setup, struct model_result *ret)
{
	struct model m = {.setup = setup, .free = FREE_LOW};
	struct sim_setup sim_setup = {
	    .cores = setup->cores,
	    .stations = POINTS * SHARDS,
	    .ways = setup->ways,
	    .begin = begin,
	    .model = &m,
	};
	struct sim *sim;
	double warm = setup->run_ns / 4, seconds;

	m.sweepers = setup->miss == 0 ? 0 : setup->changes.sweepers ? setup->changes.sweepers : 1;
	sim_setup.threads = setup->threads + m.sweepers;
	sim = sim_create(&sim_setup);
	if (!sim)
		return -ENOMEM;
	shape(sim, setup);
	sim_start(sim);
	sim_run(sim, warm);
	m.touches = m.faults = m.reads = 0;
	sim_count(sim);
	sim_run(sim, setup->run_ns);
	seconds = setup->run_ns * 1e-9;
	*ret = (struct model_result){m.touches / seconds, m.faults / seconds, m.reads / seconds, {0}};
	for (unsigned i = 0; i < POINTS; i++)
		for (unsigned s = 0; s < SHARDS; s++)
			ret->utilization[i] = fmax(ret->utilization[i], sim_utilization(sim, i * SHARDS + s));
	sim_destroy(sim);
	return 0;
}
