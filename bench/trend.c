/* SPDX-License-Identifier: MIT */
/*
 * trend.c - what a row of the table is made of, as JSON and as columns for plots
 *
 * The columns are in blocks, one a row, apart by two empty lines; the first line of a block is its title in quotation marks. That is how
 * gnuplot takes several plots from one file.
 */
#include "trend.h"

#include "cli/histogram.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double shares[TREND_PERCENTILES] = {0.5, 0.9, 0.99, 0.999, 0.9999, 1};
static const char *const share_names[TREND_PERCENTILES] = {"p50", "p90", "p99", "p99.9", "p99.99", "max"};
static const char *const side_names[TREND_SIDES] = {"quire", "kernel", "limit"};

struct bench_trend *trend_make(const struct bench *b, struct bench_row *row)
{
	for (unsigned i = 0; i < BENCH_TRENDS_MAX; i++) {
		struct bench_trend *trend = &b->trends[i];

		if (trend->threads == 0) {
			trend->threads = 1;
			row->trend = trend;
			return trend;
		}
	}
	bench_stop(b, "more than %d trends", BENCH_TRENDS_MAX);
}

void trend_point(struct trend_column *column, double rate)
{
	if (column->points < TREND_POINTS_MAX)
		column->rate[column->points++] = (float)rate;
}

void trend_times(struct trend_column *column, const struct histogram *times)
{
	uint64_t all = histogram_count(times, 0);

	for (unsigned i = 0; i < TREND_PERCENTILES; i++) {
		column->fault_us[i] = histogram_percentile(times, TREND_FAULT_NS, shares[i]) / 1e3;
		column->access_us[i] = histogram_percentile(times, 0, shares[i]) / 1e3;
	}
	if (all > 0)
		column->fault_share = (double)histogram_count(times, TREND_FAULT_NS) / (double)all;
}

void trend_note(struct bench_row *row)
{
	static const char *const names[TREND_SIDES] = {"Quire", "kernel", "limit"};

	for (unsigned i = 0; i < TREND_SIDES; i++) {
		const struct trend_column *c = &row->trend->side[i];

		bench_note(row, "%s%s %.0f/%.0f/%.0f/%.0f (%.0f %% of accesses)",
			   i ? "" : "faults, p50/p99/p99.9/p99.99 us: ", names[i], c->fault_us[0], c->fault_us[2], c->fault_us[3],
			   c->fault_us[4], 100 * c->fault_share);
	}
}

/* ---- JSON ---- */

static void json_percentiles(FILE *f, const char *name, const double *us)
{
	fprintf(f, ", \"%s\": {", name);
	for (unsigned i = 0; i < TREND_PERCENTILES; i++)
		fprintf(f, "%s\"%s\": %.6g", i ? ", " : "", share_names[i], us[i]);
	fprintf(f, "}");
}

void trend_json(FILE *f, const struct bench_trend *trend)
{
	fprintf(f, "{\"group\": \"%s\", \"threads\": %u, \"stores\": %s, \"interval_s\": %.6g", trend->group, trend->threads,
		trend->stores ? "true" : "false", trend->interval_s);
	for (unsigned i = 0; i < TREND_SIDES; i++) {
		const struct trend_column *c = &trend->side[i];

		fprintf(f, ", \"%s\": {\"fault_share\": %.6g", side_names[i], c->fault_share);
		json_percentiles(f, "fault_us", c->fault_us);
		json_percentiles(f, "access_us", c->access_us);
		fprintf(f, ", \"series\": [");
		for (unsigned k = 0; k < c->points; k++)
			fprintf(f, "%s%.6g", k ? ", " : "", (double)c->rate[k]);
		fprintf(f, "]}");
	}
	fprintf(f, "}");
}

/* ---- columns ---- */

/* A title, and under it the points of one row, or of all rows of a group. */
typedef void block_function(FILE *f, const struct bench_row *rows, unsigned count, unsigned first);

static void write_title(FILE *f, const struct bench_trend *trend, const char *more)
{
	fprintf(f, "\"%s%s%s\"\n", trend->group, trend->stores ? ", 10 % stores" : "", more);
}

static void write_seconds(FILE *f, const struct bench_row *rows, unsigned count, unsigned first)
{
	const struct bench_trend *trend = rows[first].trend;
	char threads[32];

	(void)count;
	if (!trend->drawn)
		return;
	snprintf(threads, sizeof(threads), ", %u thread%s", trend->threads, trend->threads == 1 ? "" : "s");
	write_title(f, trend, threads);
	for (unsigned k = 0; k < trend->side[TREND_QUIRE].points; k++) {
		fprintf(f, "%.6g", (k + 1) * trend->interval_s);
		for (unsigned i = 0; i < TREND_SIDES; i++)
			fprintf(f, "\t%.6g", (double)trend->side[i].rate[k]);
		fprintf(f, "\n");
	}
	fprintf(f, "\n\n");
}

static void write_faults(FILE *f, const struct bench_row *rows, unsigned count, unsigned first)
{
	const struct bench_trend *trend = rows[first].trend;
	char threads[32];

	(void)count;
	if (!trend->drawn)
		return;
	snprintf(threads, sizeof(threads), ", %u thread%s", trend->threads, trend->threads == 1 ? "" : "s");
	write_title(f, trend, threads);
	for (unsigned k = 0; k < TREND_PERCENTILES; k++) {
		fprintf(f, "%s", share_names[k]);
		for (unsigned i = 0; i < TREND_SIDES; i++)
			fprintf(f, "\t%.6g", trend->side[i].fault_us[k]);
		fprintf(f, "\n");
	}
	fprintf(f, "\n\n");
}

static void write_samples(FILE *f, const struct bench_samples *s)
{
	fprintf(f, "\t%.6g\t%.6g\t%.6g", bench_median(s), bench_min(s), bench_max(s));
}

/* Once a group: its rows without stores are the points. */
static void write_scaling(FILE *f, const struct bench_row *rows, unsigned count, unsigned first)
{
	const char *group = rows[first].trend->group;

	if (rows[first].trend->stores)
		return;
	for (unsigned r = 0; r < first; r++)
		if (rows[r].trend && strcmp(rows[r].trend->group, group) == 0)
			return;
	write_title(f, rows[first].trend, "");
	for (unsigned r = first; r < count; r++) {
		if (!rows[r].trend || rows[r].trend->stores || strcmp(rows[r].trend->group, group) != 0)
			continue;
		fprintf(f, "%u", rows[r].trend->threads);
		write_samples(f, &rows[r].quire);
		write_samples(f, &rows[r].kernel);
		write_samples(f, &rows[r].limit);
		fprintf(f, "\n");
	}
	fprintf(f, "\n\n");
}

static int write_file(const struct bench *b, const char *name, block_function *block, const struct bench_entry *entries,
		      unsigned count)
{
	char path[PATH_MAX];
	FILE *f = NULL;
	int err = 0;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", b->dir, name) >= sizeof(path))
		return -ENAMETOOLONG;
	if (unlink(path) != 0 && errno != ENOENT)
		return -errno;
	for (unsigned i = 0; i < count; i++) {
		const struct bench_result *result = entries[i].result;

		if (!entries[i].chosen || entries[i].exit_status != 0)
			continue;
		for (unsigned r = 0; r < result->count; r++) {
			if (!result->row[r].trend)
				continue;
			if (!f && !(f = fopen(path, "we")))
				return -errno;
			block(f, result->row, result->count, r);
		}
	}
	if (f) {
		err = ferror(f) ? -EIO : 0;
		if (fclose(f) != 0)
			err = -errno;
	}
	return err;
}

int trend_columns(const struct bench *b, const struct bench_entry *entries, unsigned count)
{
	int err = write_file(b, "seconds.dat", write_seconds, entries, count);

	if (err == 0)
		err = write_file(b, "faults.dat", write_faults, entries, count);
	return err == 0 ? write_file(b, "scaling.dat", write_scaling, entries, count) : err;
}
