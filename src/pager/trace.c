/* SPDX-License-Identifier: MIT */
/*
 * trace.c - a filter that writes a line for each operation
 *
 * A transfer is passed on as another request, which tells of its end. That of a transfer that is run lies on the stack, that of
 * one that is submitted in an arena; without memory the transfer goes its way untold. A line is one write to a descriptor that
 * appends, so that lines of several threads do not mix. Nothing is formatted by the C library, since a fault may be what is told of.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pager/filter.h"
#include "sys/identity.h"
#include "util/arena.h"

#define US_PER_S 1000000u

struct trace_pager {
	struct filter filter;
	int fd;
	struct identity identity; /* of it */
	struct arena arena;
};

/* One transfer on its way. */
struct traced {
	struct pager_request request; /* the one below */
	struct pager_request *above;
	struct trace_pager *trace;
	uint64_t start_us; /* of the clock on the wall */
	bool ran;          /* on the stack */
};

static struct trace_pager *trace_of(struct pager *pager)
{
	return (struct trace_pager *)pager;
}

static uint64_t wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * US_PER_S + (uint64_t)now.tv_nsec / 1000;
}

/* ---- a line ---- */

/* n in decimal at `at`, with zeros in front up to digits; the end of it. */
static char *put_number(char *at, uint64_t n, unsigned digits)
{
	if (n >= 10 || digits > 1)
		at = put_number(at, n / 10, digits ? digits - 1 : 0);
	*at++ = (char)('0' + n % 10);
	return at;
}

static char *put_text(char *at, const char *text)
{
	size_t len = strlen(text);

	memcpy(at, text, len);
	return at + len;
}

static char *put_field(char *at, uint64_t n)
{
	*at++ = ' ';
	return put_number(at, n, 1);
}

static void tell(struct trace_pager *trace, const char *op, uint64_t start_us, uint64_t offset, uint64_t len, uint64_t bytes,
		 int error)
{
	uint64_t now = wall_us();
	const char *name = error ? strerrorname_np(error) : "0";
	char line[256], *at = line;

	at = put_number(at, start_us / US_PER_S, 1);
	*at++ = '.';
	at = put_number(at, start_us % US_PER_S, 6);
	*at++ = ' ';
	at = put_text(at, op);
	at = put_field(at, offset);
	at = put_field(at, len);
	at = put_field(at, bytes);
	*at++ = ' ';
	at = name ? put_text(at, name) : put_number(at, (uint64_t)error, 1);
	at = put_field(at, now > start_us ? now - start_us : 0);
	*at++ = '\n';
	/* Not write(2), a cancellation point. What cannot be told is not. */
	if (identity_check(trace->fd, &trace->identity) == 0)
		(void)syscall(SYS_write, trace->fd, line, (size_t)(at - line));
}

/* ---- transfers ---- */

static void traced_done(struct pager_request *request)
{
	struct traced *traced = request->owner;
	struct pager_request *above = traced->above;
	struct trace_pager *trace = traced->trace;

	above->ret_error = request->ret_error;
	above->ret_bytes = request->ret_bytes;
	tell(trace, request->op == PAGER_READ ? "read" : "write", traced->start_us, request->offset, request->len,
	     request->ret_bytes, request->ret_error);
	if (!traced->ran)
		arena_free(&trace->arena, traced, sizeof(*traced));
	above->done(above);
}

static void prepare(struct traced *traced, struct trace_pager *trace, struct pager_request *request, bool ran)
{
	*traced = (struct traced){
	    .request = {.op = request->op,
			.offset = request->offset,
			.len = request->len,
			.buf = request->buf,
			.done = traced_done,
			.owner = traced},
	    .above = request,
	    .trace = trace,
	    .start_us = wall_us(),
	    .ran = ran,
	};
}

static void trace_run(struct pager *pager, struct pager_request *request)
{
	struct traced traced;

	prepare(&traced, trace_of(pager), request, true);
	below_of(pager)->ops->run(below_of(pager), &traced.request);
}

static void trace_submit(struct pager *pager, struct pager_request *request)
{
	struct trace_pager *trace = trace_of(pager);
	struct traced *traced = arena_alloc(&trace->arena, sizeof(*traced));

	if (traced)
		prepare(traced, trace, request, false);
	below_of(pager)->ops->submit(below_of(pager), traced ? &traced->request : request);
}

/* ---- the rest of the operations ---- */

static int trace_sync(struct pager *pager)
{
	uint64_t start = wall_us();
	int r = filter_sync(pager);

	tell(trace_of(pager), "sync", start, 0, 0, 0, -r);
	return r;
}

static int trace_resize(struct pager *pager, uint64_t bytes)
{
	uint64_t start = wall_us();
	int r = filter_resize(pager, bytes);

	tell(trace_of(pager), "resize", start, bytes, 0, 0, -r);
	return r;
}

static int trace_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	uint64_t start = wall_us();
	int r = filter_discard(pager, offset, len);

	tell(trace_of(pager), "discard", start, offset, len, 0, -r);
	return r;
}

static void trace_close(struct pager *pager)
{
	struct trace_pager *trace = trace_of(pager);

	identity_close(trace->fd, &trace->identity);
	arena_done(&trace->arena);
	filter_close(pager);
}

static const struct pager_ops trace_ops = {
    .name = "trace",
    .size = filter_size,
    .run = trace_run,
    .submit = trace_submit,
    .sync = trace_sync,
    .resize = trace_resize,
    .discard = trace_discard,
    .close = trace_close,
};

int trace_pager_open(int fd, struct pager *below, struct pager **ret)
{
	struct trace_pager *trace = filter_new(sizeof(*trace), &trace_ops, below);

	if (!trace) {
		close(fd);
		below->ops->close(below);
		return -ENOMEM;
	}
	trace->fd = fd;
	(void)identity_get(fd, &trace->identity);
	*ret = &trace->filter.base;
	return 0;
}
