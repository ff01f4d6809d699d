/* SPDX-License-Identifier: MIT */
/*
 * error.c - a filter that lets operations fail, by chance
 *
 * Whether the nth operation fails is a function of the seed and n, so that a run can be repeated as far as the order of the operations
 * can. What is to fail does not reach the pager below.
 */
#include <errno.h>

#include "pager/filter.h"

struct error_pager {
	struct filter filter;
	struct error_settings settings;
	uint64_t threshold;     /* a random number below it is a failure; UINT64_MAX: each is */
	_Atomic uint64_t calls; /* operations that it acts upon */
	_Atomic uint64_t failures;
};

static struct error_pager *error_of(struct pager *pager)
{
	return (struct error_pager *)pager;
}

/* Splitmix64. */
static uint64_t scramble(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* Counted only as far as the limit. */
static bool may_fail(struct error_pager *error)
{
	uint64_t failures = atomic_load(&error->failures);

	do {
		if (error->settings.most && failures >= error->settings.most)
			return false;
	} while (!atomic_compare_exchange_weak(&error->failures, &failures, failures + 1));
	return true;
}

/* The errno that the next operation of this kind ends with; 0: none. */
static int draw(struct error_pager *error, enum filter_op op)
{
	uint64_t n;

	if (!(error->settings.ops & op))
		return 0;
	n = atomic_fetch_add(&error->calls, 1);
	if (n < error->settings.after)
		return 0;
	if (error->threshold != UINT64_MAX && scramble(scramble(error->settings.seed) + n) >= error->threshold)
		return 0;
	return may_fail(error) ? error->settings.error : 0;
}

/* Whether the request was ended here. */
static bool failed(struct pager *pager, struct pager_request *request)
{
	request->ret_error = draw(error_of(pager), filter_op_of(request));
	if (request->ret_error == 0)
		return false;
	request->ret_bytes = 0;
	request->done(request);
	return true;
}

static void error_run(struct pager *pager, struct pager_request *request)
{
	if (!failed(pager, request))
		below_of(pager)->ops->run(below_of(pager), request);
}

static void error_submit(struct pager *pager, struct pager_request *request)
{
	if (!failed(pager, request))
		below_of(pager)->ops->submit(below_of(pager), request);
}

static int error_sync(struct pager *pager)
{
	int error = draw(error_of(pager), FILTER_SYNC);

	return error ? -error : filter_sync(pager);
}

static int error_resize(struct pager *pager, uint64_t bytes)
{
	int error = draw(error_of(pager), FILTER_RESIZE);

	return error ? -error : filter_resize(pager, bytes);
}

static int error_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	int error = draw(error_of(pager), FILTER_DISCARD);

	return error ? -error : filter_discard(pager, offset, len);
}

static const struct pager_ops error_ops = {
    .name = "error",
    .size = filter_size,
    .run = error_run,
    .submit = error_submit,
    .sync = error_sync,
    .resize = error_resize,
    .discard = error_discard,
    .close = filter_close,
};

int error_pager_open(const struct error_settings *settings, struct pager *below, struct pager **ret)
{
	struct error_pager *error = filter_new(sizeof(*error), &error_ops, below);

	if (!error) {
		below->ops->close(below);
		return -ENOMEM;
	}
	error->settings = *settings;
	error->threshold = settings->rate >= 1 ? UINT64_MAX : (uint64_t)(settings->rate * 0x1p64);
	*ret = &error->filter.base;
	return 0;
}
