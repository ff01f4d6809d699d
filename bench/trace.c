/* SPDX-License-Identifier: MIT */
/*
 * trace.c - sequences of page numbers to try replacement policies on
 */
#include "trace.h"

#include "random.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define ZIPF_EXPONENT 0.99

/* Popularity by rank, as running sums that end at 1, and which page holds which rank. */
struct zipf {
	double *sum;
	uint32_t *page;
	uint32_t count;
};

static int zipf_make(uint32_t count, uint64_t *state, struct zipf *ret)
{
	struct zipf z = {malloc(count * sizeof(*z.sum)), malloc(count * sizeof(*z.page)), count};
	double total = 0;

	if (!z.sum || !z.page) {
		free(z.sum);
		free(z.page);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++)
		z.sum[i] = total += pow(i + 1, -ZIPF_EXPONENT);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t j = (uint32_t)bench_random_below(state, (uint64_t)i + 1);

		z.sum[i] /= total;
		z.page[i] = z.page[j];
		z.page[j] = i;
	}
	*ret = z;
	return 0;
}

static void zipf_free(struct zipf *z)
{
	free(z->sum);
	free(z->page);
}

static uint32_t zipf_next(const struct zipf *z, uint64_t *state)
{
	double x = (double)(bench_random(state) >> 11) * 0x1p-53;
	uint32_t low = 0, high = z->count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (z->sum[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return z->page[low];
}

/* Two ranks change places: one of the popular hundredth with any other. */
static void zipf_drift(struct zipf *z, uint64_t *state)
{
	uint32_t a = (uint32_t)bench_random_below(state, z->count / 100 + 1), b = (uint32_t)bench_random_below(state, z->count);
	uint32_t page = z->page[a];

	z->page[a] = z->page[b];
	z->page[b] = page;
}

/*
 * The cold pages of the scans lie behind the popular ones: a scan takes half as many of them as there are popular pages, the next
 * scan goes on from there, and three quarters of the time there is none.
 */
static void make_scan(struct trace *t, const struct zipf *z, uint64_t *state)
{
	uint32_t cold = t->pages - z->count, left = 0, pause = z->count, at = 0;

	for (uint32_t i = 0; i < t->length; i++) {
		if (left > 0 && i % 2 == 1) {
			t->page[i] = z->count + at;
			at = (at + 1) % cold;
			if (--left == 0)
				pause = z->count * 3;
			continue;
		}
		t->page[i] = zipf_next(z, state);
		if (left == 0 && --pause == 0)
			left = z->count / 2;
	}
}

static int make_zipf(struct trace *t, enum trace_kind kind, uint32_t count, uint64_t *state)
{
	struct zipf z;
	int err = zipf_make(count, state, &z);

	if (err < 0)
		return err;
	if (kind == TRACE_ZIPF_SCAN) {
		make_scan(t, &z, state);
	} else {
		for (uint32_t i = 0; i < t->length; i++) {
			t->page[i] = zipf_next(&z, state);
			if (kind == TRACE_ZIPF_DRIFT && i % 100 == 0)
				zipf_drift(&z, state);
		}
	}
	zipf_free(&z);
	return 0;
}

int trace_make(enum trace_kind kind, uint32_t pages, uint32_t length, uint64_t seed, struct trace *ret)
{
	static const char *const names[TRACE_KINDS] = {"zipf(0.99)", "zipf and scans", "zipf, drifting", "loop, cache + 10 %",
						       "uniform"};
	struct trace t = {.name = names[kind], .length = length, .warm = length / 4, .pages = pages, .capacity = pages / 10};
	int err = 0;

	t.page = malloc(length * sizeof(*t.page));
	if (!t.page)
		return -ENOMEM;
	switch (kind) {
	case TRACE_ZIPF:
	case TRACE_ZIPF_DRIFT:
		err = make_zipf(&t, kind, pages, &seed);
		break;
	case TRACE_ZIPF_SCAN:
		t.pages = pages * 3;
		err = make_zipf(&t, kind, pages, &seed);
		break;
	case TRACE_LOOP:
		for (uint32_t i = 0; i < length; i++)
			t.page[i] = i % (t.capacity + t.capacity / 10);
		break;
	case TRACE_UNIFORM:
	case TRACE_KINDS:
		for (uint32_t i = 0; i < length; i++)
			t.page[i] = (uint32_t)bench_random_below(&seed, pages);
		break;
	}
	if (err < 0) {
		free(t.page);
		return err;
	}
	*ret = t;
	return 0;
}

void trace_free(struct trace *trace)
{
	free(trace->page);
	trace->page = NULL;
}
