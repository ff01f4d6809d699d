/* SPDX-License-Identifier: MIT */
/*
 * test-filters.c - filters over a pager that is memory, and their names
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guarded.h"
#include "pager/filter.h"
#include "sys/page_size.h"
#include "uri.h"
#include "util/message.h"

#define SIZE 65536

static struct {
	struct pager pager;
	_Alignas(65536) char bytes[SIZE];
	_Atomic unsigned runs, submits, syncs, resizes, discards, closes;
	uint64_t submitted[8]; /* offsets, in their order */
	int sync_error;
} memory;

static void transfer(struct pager_request *request)
{
	char *at = memory.bytes + request->offset;

	memcpy(request->op == PAGER_READ ? request->buf : at, request->op == PAGER_READ ? at : request->buf, request->len);
	request->ret_error = 0;
	request->ret_bytes = request->len;
	request->done(request);
}

static void memory_run(struct pager *pager, struct pager_request *request)
{
	(void)pager;
	memory.runs++;
	transfer(request);
}

static void memory_submit(struct pager *pager, struct pager_request *request)
{
	(void)pager;
	memory.submitted[memory.submits++ % 8] = request->offset;
	transfer(request);
}

static int memory_size(struct pager *pager, uint64_t *ret_bytes)
{
	(void)pager;
	*ret_bytes = SIZE;
	return 0;
}

static int memory_sync(struct pager *pager)
{
	(void)pager;
	memory.syncs++;
	return memory.sync_error;
}

static int memory_resize(struct pager *pager, uint64_t bytes)
{
	(void)pager;
	(void)bytes;
	memory.resizes++;
	return 0;
}

static int memory_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	(void)pager;
	(void)offset;
	(void)len;
	memory.discards++;
	return 0;
}

static void memory_close(struct pager *pager)
{
	(void)pager;
	memory.closes++;
}

static const struct pager_ops memory_ops = {
    .name = "memory",
    .size = memory_size,
    .run = memory_run,
    .submit = memory_submit,
    .sync = memory_sync,
    .resize = memory_resize,
    .discard = memory_discard,
    .close = memory_close,
};

static _Alignas(65536) char buffer[SIZE];
static sem_t done;

static int set_up(void **state)
{
	(void)state;
	memset(&memory, 0, sizeof(memory));
	memory.pager.ops = &memory_ops;
	memory.pager.align_bytes = page_size();
	for (size_t i = 0; i < SIZE; i++)
		memory.bytes[i] = (char)(i * 7 + 1);
	sem_init(&done, 0, 0);
	return 0;
}

static void request_done(struct pager_request *request)
{
	(void)request;
	sem_post(&done);
}

static struct pager_request request_of(enum pager_op op, uint64_t offset, size_t len)
{
	return (struct pager_request){.op = op, .offset = offset, .len = len, .buf = buffer + offset, .done = request_done};
}

/* errno. */
static int run(struct pager *pager, enum pager_op op, uint64_t offset, size_t len)
{
	struct pager_request request = request_of(op, offset, len);

	pager->ops->run(pager, &request);
	assert_int_equal(sem_trywait(&done), 0);
	if (!request.ret_error)
		assert_int_equal(request.ret_bytes, len);
	return request.ret_error;
}

static void close_all(struct pager *pager)
{
	pager->ops->close(pager);
	assert_int_equal(memory.closes, 1);
}

/* The filters of a name, over memory. */
static struct pager *stack(const char *name)
{
	struct pager *pager;
	struct uri uri;

	assert_int_equal(uri_parse(name, &uri), 0);
	assert_int_equal(uri_stack(&uri, &memory.pager, &pager), 0);
	return pager;
}

/* ---- error ---- */

static void an_error_comes_instead_of_the_operation(void **state)
{
	struct pager *pager = stack("error:op=write,errno=ENOSPC:x");

	(void)state;
	assert_int_equal(run(pager, PAGER_WRITE, 0, 4096), ENOSPC);
	assert_int_equal(memory.runs, 0);
	assert_int_equal(run(pager, PAGER_READ, 0, 4096), 0);
	assert_memory_equal(buffer, memory.bytes, 4096);
	assert_int_equal(pager->ops->sync(pager), 0);
	close_all(pager);
}

static void each_operation_can_fail(void **state)
{
	struct pager *pager = stack("error:x");
	struct pager_request request = request_of(PAGER_READ, 0, 4096);
	uint64_t bytes;

	(void)state;
	assert_int_equal(run(pager, PAGER_READ, 0, 4096), EIO);
	assert_int_equal(run(pager, PAGER_WRITE, 0, 4096), EIO);
	pager->ops->submit(pager, &request);
	assert_int_equal(sem_trywait(&done), 0);
	assert_int_equal(request.ret_error, EIO);
	assert_int_equal(pager->ops->sync(pager), -EIO);
	assert_int_equal(pager->ops->resize(pager, 1), -EIO);
	assert_int_equal(pager->ops->discard(pager, 0, 4096), -EIO);
	assert_int_equal(pager->ops->size(pager, &bytes), 0);
	assert_int_equal(bytes, SIZE);
	assert_int_equal(memory.runs + memory.submits + memory.syncs + memory.resizes + memory.discards, 0);
	close_all(pager);
}

static unsigned failures_of(const char *name, unsigned n, uint64_t *ret_which)
{
	struct pager *pager = stack(name);
	unsigned failures = 0;

	*ret_which = 0;
	for (unsigned i = 0; i < n; i++) {
		bool failed = run(pager, PAGER_READ, 0, 4096) != 0;

		failures += failed;
		*ret_which |= (uint64_t)failed << i % 64;
	}
	pager->ops->close(pager);
	return failures;
}

static void the_rate_is_kept_and_the_seed_decides(void **state)
{
	uint64_t first, again, other;
	unsigned n = failures_of("error:rate=0.25,seed=7:x", 4000, &first);

	(void)state;
	assert_in_range(n, 850, 1150);
	assert_int_equal(failures_of("error:rate=0.25,seed=7:x", 4000, &again), n);
	failures_of("error:rate=0.25,seed=7:x", 64, &first);
	failures_of("error:rate=0.25,seed=7:x", 64, &again);
	failures_of("error:rate=0.25,seed=8:x", 64, &other);
	assert_true(first == again);
	assert_true(first != other);
	assert_int_equal(failures_of("error:rate=0:x", 1000, &first), 0);
}

static void errors_begin_after_and_end_with_the_count(void **state)
{
	uint64_t which;

	(void)state;
	assert_int_equal(failures_of("error:after=3,count=2:x", 10, &which), 2);
	assert_int_equal(which, 0x18);
}

/* ---- delay ---- */

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void a_delay_is_never_shorter(void **state)
{
	struct pager *pager = stack("delay:us=20000:x");
	struct pager_request requests[8];
	uint64_t start = now_us();

	(void)state;
	assert_int_equal(run(pager, PAGER_READ, 0, 4096), 0);
	assert_true(now_us() - start >= 20000);
	start = now_us();
	for (unsigned i = 0; i < 8; i++) {
		requests[i] = request_of(PAGER_READ, i * 4096, 4096);
		pager->ops->submit(pager, &requests[i]);
	}
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(sem_wait(&done), 0);
	assert_true(now_us() - start >= 20000);
	assert_memory_equal(buffer, memory.bytes, 8 * 4096);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(memory.submitted[i], i * 4096);
	start = now_us();
	assert_int_equal(pager->ops->sync(pager), 0);
	assert_true(now_us() - start >= 20000);
	close_all(pager);
}

static void a_delay_of_one_operation_leaves_the_others(void **state)
{
	struct pager *pager = stack("delay:us=60000000,op=write:x");
	struct pager_request request = request_of(PAGER_READ, 0, 4096);

	(void)state;
	assert_int_equal(run(pager, PAGER_READ, 0, 4096), 0);
	pager->ops->submit(pager, &request);
	assert_int_equal(sem_trywait(&done), 0);
	assert_int_equal(pager->ops->sync(pager), 0);
	close_all(pager);
}

/* ---- trace ---- */

static void a_trace_has_a_line_for_each_operation(void **state)
{
	char path[] = "/tmp/quire-trace-XXXXXX", name[128], op[16], error[16];
	int fd = mkstemp(path);
	struct pager_request request = request_of(PAGER_WRITE, 8192, 100);
	unsigned long long offset, len, bytes, us;
	struct pager *pager;
	double at;
	FILE *file;

	(void)state;
	assert_true(fd >= 0);
	snprintf(name, sizeof(name), "trace:file=%s:error:op=sync,errno=EDQUOT:x", path);
	pager = stack(name);
	assert_int_equal(run(pager, PAGER_READ, 4096, 8192), 0);
	assert_memory_equal(buffer + 4096, memory.bytes + 4096, 8192);
	pager->ops->submit(pager, &request);
	assert_int_equal(sem_trywait(&done), 0);
	assert_int_equal(pager->ops->sync(pager), -EDQUOT);
	assert_int_equal(pager->ops->resize(pager, 77), 0);
	assert_int_equal(pager->ops->discard(pager, 4096, 4096), 0);
	close_all(pager);

	file = fdopen(fd, "r");
	assert_non_null(file);
	unlink(path);
#define LINE(want_op, want_offset, want_len, want_bytes, want_error)                                                               \
	do {                                                                                                                       \
		assert_int_equal(fscanf(file, "%lf %15s %llu %llu %llu %15s %llu", &at, op, &offset, &len, &bytes, error, &us),    \
				 7);                                                                                               \
		assert_string_equal(op, want_op);                                                                                  \
		assert_int_equal(offset, want_offset);                                                                             \
		assert_int_equal(len, want_len);                                                                                   \
		assert_int_equal(bytes, want_bytes);                                                                               \
		assert_string_equal(error, want_error);                                                                            \
		assert_true(at > 1e9);                                                                                             \
	} while (0)
	LINE("read", 4096, 8192, 8192, "0");
	LINE("write", 8192, 100, 100, "0");
	LINE("sync", 0, 0, 0, "EDQUOT");
	LINE("resize", 77, 0, 0, "0");
	LINE("discard", 4096, 4096, 0, "0");
	assert_int_equal(fscanf(file, "%lf", &at), EOF);
	fclose(file);
}

/* ---- names ---- */

static void names_are_taken_apart(void **state)
{
	struct uri uri;

	(void)state;
	assert_int_equal(uri_parse("dir/a:b", &uri), 0);
	assert_int_equal(uri.n_filters, 0);
	assert_string_equal(uri.path, "dir/a:b");
	assert_int_equal(uri_parse("file:a:b", &uri), 0);
	assert_string_equal(uri.path, "a:b");
	assert_int_equal(uri_parse("error:rate=0.5,op=read:delay:us=5:file:/x=y:z", &uri), 0);
	assert_int_equal(uri.n_filters, 2);
	assert_int_equal(uri.filters[0].error.ops, FILTER_READ);
	assert_true(uri.filters[0].error.rate == 0.5);
	assert_int_equal(uri.filters[1].delay.us, 5);
	assert_string_equal(uri.path, "/x=y:z");
	/* Settings are what has an equals sign before any slash. */
	assert_int_equal(uri_parse("trace:/a=b", &uri), 0);
	assert_string_equal(uri.path, "/a=b");
}

/* As the end of a call would have it. */
static const char *said(void)
{
	message_finish("quire_open", EINVAL);
	return message_get();
}

static void what_is_wrong_with_a_name_is_said(void **state)
{
	static const char *const wrong[][2] = {
	    {"", "no path"},
	    {"file:", "no path"},
	    {"nbd:x", "«nbd:»"},
	    {"error:delay:us=1:nbd:x", "«nbd:»"},
	    {"error:", "no path"},
	    {"error:rate=2:x", "rate=2"},
	    {"error:rate=:x", "rate="},
	    {"error:rate=0.1.1:x", "rate=0.1.1"},
	    {"error:rate=.:x", "rate=."},
	    {"error:errno=EFOO:x", "errno=EFOO"},
	    {"error:op=fly:x", "op=fly"},
	    {"error:colour=red:x", "colour"},
	    {"error:seed=1", "no «:»"},
	    {"error:seed=99999999999999999999:x", "seed=99999999999999999999"},
	    {"error:=1:x", "=1"},
	    {"error:rate=1,,op=read:x", "key=value"},
	    {"error:rate=1,op:x", "«op»"},
	    {"delay:x", "us=MICROSECONDS"},
	    {"delay:us=1x:x", "us=1x"},
	    {"delay:us=60000001:x", "60000000"},
	    {"delay:us=1,op=resize:x", "op=resize"},
	    {"trace:file=:x", "file="},
	    {"trace:trace:trace:trace:trace:trace:trace:trace:trace:x", "more than 8"},
	};
	struct uri uri;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *message;

		message_clear();
		assert_int_equal(uri_parse(wrong[i][0], &uri), -EINVAL);
		message = said();
		if (!strstr(message, wrong[i][1]))
			fail_msg("%s: %s", wrong[i][0], message);
	}
	assert_int_equal(uri_parse(NULL, &uri), -EINVAL);
}

static void a_filter_that_cannot_be_opened_closes_what_is_below(void **state)
{
	struct pager *pager;
	struct uri uri;

	(void)state;
	assert_int_equal(uri_parse("trace:file=/nonexistent/trace:x", &uri), 0);
	assert_int_equal(uri_stack(&uri, &memory.pager, &pager), -ENOENT);
	assert_non_null(strstr(said(), "/nonexistent/trace"));
	assert_int_equal(memory.closes, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(an_error_comes_instead_of_the_operation, set_up),
	    cmocka_unit_test_setup(each_operation_can_fail, set_up),
	    cmocka_unit_test_setup(the_rate_is_kept_and_the_seed_decides, set_up),
	    cmocka_unit_test_setup(errors_begin_after_and_end_with_the_count, set_up),
	    cmocka_unit_test_setup(a_delay_is_never_shorter, set_up),
	    cmocka_unit_test_setup(a_delay_of_one_operation_leaves_the_others, set_up),
	    cmocka_unit_test_setup(a_trace_has_a_line_for_each_operation, set_up),
	    cmocka_unit_test_setup(names_are_taken_apart, set_up),
	    cmocka_unit_test_setup(what_is_wrong_with_a_name_is_said, set_up),
	    cmocka_unit_test_setup(a_filter_that_cannot_be_opened_closes_what_is_below, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
