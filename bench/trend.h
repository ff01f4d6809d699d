/* SPDX-License-Identifier: MIT */
/*
 * trend.h - what a row of the table is made of, where one figure is not enough: second by second, and the times of single accesses
 */
#ifndef BENCH_TREND_H
#define BENCH_TREND_H

#include "bench.h"

#include <stdio.h>

#define TREND_POINTS_MAX  1024
#define TREND_FAULT_NS    1024 /* an access that took as long was a fault: a load that hits takes a tenth of it */
#define TREND_PERCENTILES 6    /* p50, p90, p99, p99.9, p99.99, the longest */

enum trend_side { TREND_QUIRE, TREND_KERNEL, TREND_LIMIT, TREND_SIDES };

struct histogram;

struct trend_column {
	unsigned points;
	float rate[TREND_POINTS_MAX]; /* thousands of accesses a second, in each interval */
	double fault_us[TREND_PERCENTILES], access_us[TREND_PERCENTILES];
	double fault_share; /* of the accesses */
};

struct bench_trend {
	char group[16]; /* rows of a group are drawn together */
	unsigned threads;
	bool stores;       /* some of the accesses are */
	bool drawn;        /* second by second, and its faults: the row of the most threads */
	double interval_s; /* of a point */
	struct trend_column side[TREND_SIDES];
};

/* The next unused trend of the result, given to the row. Stops when there is none. */
struct bench_trend *trend_make(const struct bench *b, struct bench_row *row);

void trend_point(struct trend_column *column, double rate);
void trend_times(struct trend_column *column, const struct histogram *times);

/* The percentiles of faults as a note: p50/p99/p99.9/p99.99 of each side. */
void trend_note(struct bench_row *row);

/* Writes a trend as the value of a JSON field. */
void trend_json(FILE *f, const struct bench_trend *trend);

/* Writes the trends of all benchmarks as columns for a plot: DIR/seconds.dat, faults.dat, scaling.dat. 0 or -errno */
int trend_columns(const struct bench *b, const struct bench_entry *entries, unsigned count);

#endif
