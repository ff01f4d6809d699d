/* SPDX-License-Identifier: MIT */
/*
 * report.c - the rows on a terminal and as JSON
 */
#include "bench.h"
#include "trend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum reached { REACHED_NO, REACHED_YES, REACHED_UNKNOWN };

/* In a quick run nothing is: the figures mean nothing. */
static enum reached goal_reached(const struct bench *b, const struct bench_row *row)
{
	struct bench_samples ratio = bench_ratio(row);

	if (b->quick || row->goal == BENCH_INFORM || ratio.count == 0)
		return REACHED_UNKNOWN;
	if (row->goal == BENCH_AT_MOST)
		return bench_median(&ratio) <= row->goal_value ? REACHED_YES : REACHED_NO;
	return bench_median(&ratio) >= row->goal_value ? REACHED_YES : REACHED_NO;
}

/* ---- the table ---- */

#define COLUMN 14

/* Three figures that count. */
static int format_value(char *text, size_t size, double v)
{
	return snprintf(text, size, "%.*f", v == 0 || v >= 100 ? 0 : v >= 10 ? 1 : v >= 1 ? 2 : 3, v);
}

static void print_median(const struct bench_samples *s)
{
	char text[32] = "-";

	if (s->count > 0)
		format_value(text, sizeof(text), bench_median(s));
	printf("%*s", COLUMN, text);
}

static void print_spread(const struct bench_samples *s)
{
	char text[80] = "";
	int n;

	if (s->count > 1) {
		n = format_value(text, sizeof(text), bench_min(s));
		n += snprintf(text + n, sizeof(text) - (size_t)n, "..");
		format_value(text + n, sizeof(text) - (size_t)n, bench_max(s));
	}
	printf("%*s", COLUMN, text);
}

static void print_goal(const struct bench_row *row)
{
	char text[48] = "";
	const char *other = row->against_limit ? "limit" : "kernel";

	if (row->goal == BENCH_AT_MOST)
		snprintf(text, sizeof(text), "<= %.2f x %s", row->goal_value, other);
	else if (row->goal == BENCH_AT_LEAST)
		snprintf(text, sizeof(text), ">= %.2f x %s speed", row->goal_value, other);
	printf("  %-23s", text);
}

/* Folds a note at spaces, indented. */
static void print_note(const char *note)
{
	const size_t width = 130;

	while (*note) {
		size_t n = strlen(note);

		if (n > width) {
			for (n = width; n > 0 && note[n] != ' '; n--)
				;
			n = n > 0 ? n : width;
		}
		printf("      %.*s\n", (int)n, note);
		note += n;
		while (*note == ' ')
			note++;
	}
}

/* The sides that have no column, each with its median and spread. */
static void print_others(const struct bench_row *row)
{
	for (unsigned i = 0; i < BENCH_OTHERS_MAX && row->other[i].name[0] != '\0'; i++) {
		const struct bench_samples *s = &row->other[i].samples;
		char median[32], least[32], most[32];

		format_value(median, sizeof(median), bench_median(s));
		format_value(least, sizeof(least), bench_min(s));
		format_value(most, sizeof(most), bench_max(s));
		printf("%s%s %s (%s..%s)", i ? "; " : "      beside: ", row->other[i].name, median, least, most);
	}
	if (row->other[0].name[0] != '\0')
		printf("\n");
}

static void print_row(const struct bench *b, const struct bench_row *row)
{
	static const char *const words[] = {[REACHED_NO] = "NO", [REACHED_YES] = "yes", [REACHED_UNKNOWN] = "-"};
	struct bench_samples ratio = bench_ratio(row);

	printf("%-58s %-6s", row->what, row->unit);
	print_median(&row->quire);
	print_median(&row->kernel);
	print_median(&row->limit);
	print_median(&ratio);
	print_goal(row);
	printf("%s\n", words[goal_reached(b, row)]);
	if (row->quire.count > 1 || row->kernel.count > 1) {
		printf("%-58s %-6s", "", "");
		print_spread(&row->quire);
		print_spread(&row->kernel);
		print_spread(&row->limit);
		print_spread(&ratio);
		printf("\n");
	}
	print_others(row);
	print_note(row->note);
}

/* Of the last minute; what else runs on a machine is the first thing to know of its figures. */
static double load_average(void)
{
	double load;

	return getloadavg(&load, 1) == 1 ? load : -1;
}

void bench_report_head(const struct bench *b)
{
	double load = load_average();

	if (b->quick)
		printf("quick: a smoke test on small files; these figures mean nothing\n");
	if (load > 0.5)
		printf("BUSY: the load average was %.1f before the first benchmark; the figures are those of a shared machine\n",
		       load);
	printf("%u runs: median, and below it least..most; ratio is Quire to the other side that the goal names, run by run\n\n",
	       b->runs);
	printf("%-58s %-6s%*s%*s%*s%*s  %-23s%s\n", "what", "unit", COLUMN, "Quire", COLUMN, "kernel", COLUMN, "limit", COLUMN,
	       "ratio", "goal", "reached");
	fflush(stdout);
}

void bench_report_result(const struct bench *b, const char *name, const struct bench_result *result, int exit_status)
{
	if (exit_status == BENCH_EXIT_SKIP)
		printf("%s: not run: %s\n", name, result->error);
	else if (exit_status != 0)
		printf("%s: FAILED: %s\n", name, result->error);
	for (unsigned i = 0; exit_status == 0 && i < result->count; i++)
		print_row(b, &result->row[i]);
	if (result->cached_pages > 0)
		printf("      CACHES KEPT: %" PRIu64 " pages stayed in the kernel's page cache though they were to be dropped\n",
		       result->cached_pages);
	if (result->buffered)
		printf("      NOT DIRECT: O_DIRECT is refused in %s; what is called raw went through the page cache\n", b->dir);
	fflush(stdout);
}

/* ---- JSON ---- */

static void json_string(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(f, "\\u%04x", (unsigned)*text);
		else
			fputc(*text, f);
	}
	fputc('"', f);
}

static void json_field(FILE *f, const char *name, const char *text)
{
	fprintf(f, "\"%s\": ", name);
	json_string(f, text);
}

static void json_samples(FILE *f, const char *name, const struct bench_samples *s)
{
	if (s->count == 0) {
		fprintf(f, "\"%s\": null", name);
		return;
	}
	fprintf(f, "\"%s\": {\"median\": %.9g, \"min\": %.9g, \"max\": %.9g, \"samples\": [", name, bench_median(s), bench_min(s),
		bench_max(s));
	for (unsigned i = 0; i < s->count; i++)
		fprintf(f, "%s%.9g", i ? ", " : "", s->value[i]);
	fprintf(f, "]}");
}

static void json_others(FILE *f, const struct bench_row *row)
{
	fprintf(f, "\"others\": {");
	for (unsigned i = 0; i < BENCH_OTHERS_MAX && row->other[i].name[0] != '\0'; i++) {
		fprintf(f, "%s", i ? ", " : "");
		json_samples(f, row->other[i].name, &row->other[i].samples);
	}
	fprintf(f, "}");
}

static void json_goal(FILE *f, const struct bench_row *row)
{
	if (row->goal == BENCH_INFORM) {
		fprintf(f, ", \"goal\": null");
		return;
	}
	fprintf(f, ", \"goal\": {\"of\": \"%s\", \"against\": \"%s\", \"%s\": %.9g}", row->goal == BENCH_AT_MOST ? "cost" : "speed",
		row->against_limit ? "limit" : "kernel", row->goal == BENCH_AT_MOST ? "at_most" : "at_least", row->goal_value);
}

static void json_row(const struct bench *b, FILE *f, const struct bench_row *row)
{
	static const char *const words[] = {[REACHED_NO] = "false", [REACHED_YES] = "true", [REACHED_UNKNOWN] = "null"};
	struct bench_samples ratio = bench_ratio(row);

	fprintf(f, "      {");
	json_field(f, "what", row->what);
	fprintf(f, ", ");
	json_field(f, "unit", row->unit);
	fprintf(f, ", ");
	json_samples(f, "quire", &row->quire);
	fprintf(f, ", ");
	json_samples(f, "kernel", &row->kernel);
	fprintf(f, ", ");
	json_samples(f, "limit", &row->limit);
	fprintf(f, ", ");
	json_others(f, row);
	fprintf(f, ", ");
	json_samples(f, "ratio", &ratio);
	json_goal(f, row);
	fprintf(f, ", \"reached\": %s, ", words[goal_reached(b, row)]);
	if (row->trend) {
		fprintf(f, "\"trend\": ");
		trend_json(f, row->trend);
		fprintf(f, ", ");
	}
	json_field(f, "note", row->note);
	fprintf(f, "}");
}

static void json_entry(const struct bench *b, FILE *f, const struct bench_entry *e)
{
	const char *state = e->exit_status == 0 ? "done" : e->exit_status == BENCH_EXIT_SKIP ? "skipped" : "failed";

	fprintf(f, "    {");
	json_field(f, "benchmark", e->name);
	fprintf(f, ", \"state\": \"%s\", ", state);
	json_field(f, "error", e->result->error);
	fprintf(f, ", \"cached_pages\": %" PRIu64 ", \"buffered\": %s, \"rows\": [", e->result->cached_pages,
		e->result->buffered ? "true" : "false");
	for (unsigned i = 0; e->exit_status == 0 && i < e->result->count; i++) {
		fprintf(f, "%s\n", i ? "," : "");
		json_row(b, f, &e->result->row[i]);
	}
	fprintf(f, "]}");
}

static void json_machine(FILE *f)
{
	struct utsname name;

	if (uname(&name) != 0)
		memset(&name, 0, sizeof(name));
	fprintf(f, "  \"machine\": {");
	json_field(f, "kernel", name.release);
	fprintf(f, ", ");
	json_field(f, "architecture", name.machine);
	fprintf(f, ", \"processors\": %ld, \"memory_bytes\": %.0f},\n", sysconf(_SC_NPROCESSORS_ONLN),
		(double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
}

int bench_report_json(const struct bench *b, const struct bench_entry *entries, unsigned count, const char *path)
{
	FILE *f = fopen(path, "we");
	bool first = true;
	int err;

	if (!f)
		return -errno;
	fprintf(f, "{\n  \"quire\": \"%s\", \"quick\": %s, \"runs\": %u, \"trap\": \"%s\",\n", quire_version(),
		b->quick ? "true" : "false", b->runs, bench_trap_name(b->trap));
	json_machine(f);
	fprintf(f, "  \"load_average_at_end\": %.2f,\n  \"benchmarks\": [\n", load_average());
	for (unsigned i = 0; i < count; i++) {
		if (!entries[i].chosen)
			continue;
		if (!first)
			fprintf(f, ",\n");
		first = false;
		json_entry(b, f, &entries[i]);
	}
	fprintf(f, "\n  ]\n}\n");
	err = ferror(f) ? -EIO : 0;
	if (fclose(f) != 0)
		err = -errno;
	return err;
}
