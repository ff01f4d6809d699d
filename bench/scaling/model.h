/* SPDX-License-Identifier: MIT */
/*
 * model.h - what faults and the page-out meet on their way, for the simulator
 */
#ifndef BENCH_SCALING_MODEL_H
#define BENCH_SCALING_MODEL_H

#include "costs.h"
#include "pages.h"
#include "sim.h"

/* Where threads meet. Each is one cache line or lock of the process, or several when something is changed. */
enum point {
	POINT_MAP_LOCK,    /* the word of the map lock, per engine */
	POINT_COUNTERS,    /* counters that only grow, per engine */
	POINT_AREA,        /* an area's counters and its recent misses */
	POINT_OBJECT,      /* an object's references */
	POINT_BUDGET,      /* used, per engine */
	POINT_BUFFERS,     /* buffers.lock and what it guards, per engine */
	POINT_QUEUES,      /* queue_lock and the queues of the policy, per engine */
	POINT_OBJECT_LOCK, /* object.lock, held while a chunk is unmapped */
	POINT_SIGNALS, /* the kernel's lock of a process's signal handlers, and the user's count of queued signals: a line each */
	POINT_UFFD,    /* the kernel's: references of the userfaultfd's file and of the process's memory, its lock: a line each */
	POINT_MAPPING, /* the kernel's: references of the mapping that is touched */
	POINT_STORAGE, /* the kernel's: references of the file, lock of its inode, count of its transfers: a line each */
	POINT_FRAMES_TREE,  /* the kernel's: lock of the memfd's tree of pages, and of its count */
	POINT_FRAMES_INODE, /* the kernel's: lock of the memfd's inode, held while a frame is given back */
	POINT_DEVICE,       /* transfers under way */
	POINTS,
};

extern const char *const point_names[POINTS];

/* What is not as it is in the code. */
struct changes {
	bool own_counters; /* per processor, and no additions of 0; budget and buffers in lots per processor */
	bool own_map_lock; /* a word for each processor, all of which a writer takes */
	unsigned parts;    /* an object is cut in so many, with locks and a memfd each; 0: one */
	unsigned sweepers; /* threads that page out, with queues of their own; 0: one */
	bool sparse_unmap; /* only what is mapped is held while a chunk is unmapped, and several chunks are flushed together */
	bool batched_free; /* frames of several runs are given back by one call */
	bool no_signals;   /* the kernel calls a handler without its lock of signals */
	bool cheap_kernel; /* nor does it count references of descriptor and mapping for each page */
};

struct model_setup {
	unsigned cores, threads;
	struct sim_ways ways;
	const struct costs *costs;
	struct changes changes;
	double touch_ns;                          /* a touch that faults not, and what a program does between two */
	double miss, minor;                       /* shares of the touches */
	double major_ns;                          /* the processor's part of a fault that reads, without meeting anybody */
	struct pages_result pages;                /* the page-out's work */
	double transfers_per_second, transfer_ns; /* of the device */
	unsigned buffers;                         /* transfers of single pages that there are buffers for */
	double flush_ns, interrupted_ns;          /* what a flush of translations costs who asks for it, and each of the others */
	double run_ns;
};

struct model_result {
	double touches_per_second, faults_per_second, reads_per_second;
	double utilization[POINTS]; /* of the busiest of each */
};

/* 0 or -ENOMEM. */
int model_run(const struct model_setup *setup, struct model_result *ret);

/* ns of the processor to unmap a chunk with so many pages mapped. */
double model_unmap_ns(const struct costs *costs, double mapped);

#endif
