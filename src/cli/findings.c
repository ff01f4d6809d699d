/* SPDX-License-Identifier: MIT */
/*
 * findings.c - what `quire bench` found: a table, a summary in words, JSON
 */
#include "bench.h"

#include <string.h>

static const double shares[] = {0.5, 0.9, 0.99, 0.999, 0.9999, 1};
static const char *const share_names[] = {"p50", "p90", "p99", "p99.9", "p99.99", "max"};
#define SHARES (sizeof(shares) / sizeof(shares[0]))

/* ---- numbers ---- */

struct spread {
	double median, least, most;
};

static struct spread spread_of(const struct bench_line *line)
{
	double v[BENCH_TURNS];
	unsigned n = line->turns;

	if (n == 0)
		return (struct spread){0, 0, 0};
	/* Into order, as they come. */
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		for (; at > 0 && v[at - 1] > line->bytes_per_s[i]; at--)
			v[at] = v[at - 1];
		v[at] = line->bytes_per_s[i];
	}
	return (struct spread){(v[(n - 1) / 2] + v[n / 2]) / 2, v[0], v[n - 1]};
}

static bool measured(const struct bench_line *line)
{
	return !line->error[0] && line->turns > 0;
}

static double mib(double bytes)
{
	return bytes / (1 << 20);
}

/* The fastest line of a side; NULL: none was measured. */
static const struct bench_line *best(const struct bench_job *job, enum reader_side side, bool scan)
{
	const struct bench_line *found = NULL;

	for (unsigned i = 0; i < job->lines; i++) {
		const struct bench_line *line = &job->line[i];

		if (line->side == side && line->scan == scan && measured(line) &&
		    (!found || spread_of(line).median > spread_of(found).median))
			found = line;
	}
	return found;
}

/* ---- the table ---- */

/* A time as a person would say it. */
static void print_time(double ns)
{
	char text[32];

	if (ns < 1e6)
		snprintf(text, sizeof(text), "%.*f us", ns < 1e4 ? 1 : 0, ns / 1e3);
	else
		snprintf(text, sizeof(text), "%.*f ms", ns < 1e7 ? 1 : 0, ns / 1e6);
	printf("%12s", text);
}

static void print_random(const struct bench_line *line)
{
	struct spread s = spread_of(line);
	char range[48];

	snprintf(range, sizeof(range), "%.0f..%.0f", s.least / READER_BYTES, s.most / READER_BYTES);
	printf("  %-40s%10.0f%18s%9.1f", line->what, s.median / READER_BYTES, range, mib(s.median));
	if (histogram_count(&line->times, 0) > 0)
		for (unsigned i = 0; i < SHARES; i += i == 0 ? 2 : 1) {
			if (i == 4)
				continue;
			print_time(histogram_percentile(&line->times, 0, shares[i]));
		}
	printf("\n");
}

static void print_scan(const struct bench_line *line)
{
	struct spread s = spread_of(line);
	char range[48];

	snprintf(range, sizeof(range), "%.0f..%.0f", mib(s.least), mib(s.most));
	printf("  %-40s%10.0f%18s\n", line->what, mib(s.median), range);
}

static void print_lines(const struct bench_job *job, bool scan)
{
	for (unsigned i = 0; i < job->lines; i++) {
		const struct bench_line *line = &job->line[i];

		if (line->scan != scan)
			continue;
		if (!measured(line))
			printf("  %-40s%10s\n", line->what, "-");
		else if (scan)
			print_scan(line);
		else
			print_random(line);
	}
}

/* «… is 0.83 of …», for a reader who looks at nothing else. */
static void print_ratio(const struct bench_line *line, const struct bench_line *to)
{
	if (line && to && spread_of(to).median > 0)
		printf("  %s: %.2f times as fast as %s\n", line->what, spread_of(line).median / spread_of(to).median, to->what);
}

static void print_summary(const struct bench_job *job)
{
	const struct bench_line *uring = best(job, READER_URING, false), *quire = best(job, READER_QUIRE, false);

	printf("\nIn short, at random, against the best asynchronous I/O and against the kernel's mapping at its best:\n");
	print_ratio(quire, uring);
	print_ratio(best(job, READER_PREFETCH, false), uring);
	print_ratio(best(job, READER_KERNEL, false), uring);
	print_ratio(quire, best(job, READER_KERNEL, false));
	printf("In order:\n");
	print_ratio(best(job, READER_QUIRE, true), best(job, READER_URING, true));
	print_ratio(best(job, READER_QUIRE, true), best(job, READER_KERNEL, true));
}

/* Folds a note at spaces. */
static void print_note(const char *note)
{
	const size_t width = 118;

	while (*note) {
		size_t n = strlen(note);

		if (n > width)
			for (n = width; n > 1 && note[n] != ' '; n--)
				;
		printf("  %.*s\n", (int)n, note);
		note += n;
		note += strspn(note, " ");
	}
}

void findings_print(const struct bench_job *job)
{
	printf("%s: %.1f MiB, of which a mapping may keep %.1f MiB in memory; %.4g s a line, in %d turns\n", job->name,
	       mib((double)job->size), mib((double)job->memory), job->seconds, BENCH_TURNS);
	if (job->kernel_limit > 0)
		printf("  The kernel's mapping is held to %.0f MiB by a memory cgroup: what Quire may keep, and what it takes "
		       "beside that.\n",
		       mib((double)job->kernel_limit));
	for (unsigned i = 0; i < job->notes; i++)
		print_note(job->note[i]);
	printf("\n%-42s%10s%18s%9s%12s%12s%12s%12s\n", "random reads of 4 KiB, no page twice", "reads/s", "least..most", "MiB/s",
	       "half within", "99 % within", "99.9 %", "longest");
	print_lines(job, false);
	printf("\n%-42s%10s%18s\n", "the file in order", "MiB/s", "least..most");
	print_lines(job, true);
	print_summary(job);
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

static void json_line(FILE *f, const struct bench_line *line)
{
	static const char *const sides[] = {"quire", "quire_prefetch", "kernel", "io_uring"};
	struct spread s = spread_of(line);

	fprintf(f, "    {\"what\": ");
	json_string(f, line->what);
	fprintf(f, ", \"side\": \"%s\", \"pattern\": \"%s\", \"threads\": %u, \"depth\": %u", sides[line->side],
		line->scan ? "in order" : "random", line->threads, line->depth);
	if (!measured(line)) {
		fprintf(f, ", \"bytes_per_s\": null, \"error\": ");
		json_string(f, line->error);
		fprintf(f, "}");
		return;
	}
	fprintf(f, ", \"bytes_per_s\": {\"median\": %.6g, \"min\": %.6g, \"max\": %.6g, \"samples\": [", s.median, s.least, s.most);
	for (unsigned i = 0; i < line->turns; i++)
		fprintf(f, "%s%.6g", i ? ", " : "", line->bytes_per_s[i]);
	fprintf(f, "]}, \"reads\": %llu, \"us\": ", (unsigned long long)histogram_count(&line->times, 0));
	if (histogram_count(&line->times, 0) == 0) {
		fprintf(f, "null}");
		return;
	}
	for (unsigned i = 0; i < SHARES; i++)
		fprintf(f, "%s\"%s\": %.6g", i ? ", " : "{", share_names[i],
			histogram_percentile(&line->times, 0, shares[i]) / 1e3);
	fprintf(f, "}}");
}

void findings_json(const struct bench_job *job, FILE *f)
{
	fprintf(f, "{\n  \"file\": ");
	json_string(f, job->name);
	fprintf(f, ", \"size_bytes\": %llu, \"memory_bytes\": %llu, \"kernel_limit_bytes\": ", (unsigned long long)job->size,
		(unsigned long long)job->memory);
	if (job->kernel_limit > 0)
		fprintf(f, "%llu", (unsigned long long)job->kernel_limit);
	else
		fprintf(f, "null");
	fprintf(f, ",\n  \"seconds\": %.6g, \"threads\": %u, \"o_direct\": %s, \"io_uring\": %s,\n  \"notes\": [", job->seconds,
		job->threads, job->direct ? "true" : "false", job->uring ? "true" : "false");
	for (unsigned i = 0; i < job->notes; i++) {
		fprintf(f, "%s", i ? ", " : "");
		json_string(f, job->note[i]);
	}
	fprintf(f, "],\n  \"lines\": [");
	for (unsigned i = 0; i < job->lines; i++) {
		fprintf(f, "%s\n", i ? "," : "");
		json_line(f, &job->line[i]);
	}
	fprintf(f, "\n  ]\n}\n");
}
