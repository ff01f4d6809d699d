/* SPDX-License-Identifier: MIT */
/*
 * buffer.c - the engine's buffers, and waiting for transfers
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cache/buffer.h"
#include "sys/page_size.h"
#include "util/assert.h"

/*
 * All run buffers take at most an eighth of the budget. Small budgets have fewer of them, since what counts for the disk is
 * their length.
 */
#define SINGLES       16
#define SINGLES_MOST  352 /* of which a list of 256 pages may have three quarters: more than any storage makes use of */
#define SINGLES_SHARE 128
#define RUNS          16
#define RUN_BYTES     (512u << 10)
#define BUDGET_SHARE  8
#define SMALL         (32u << 20)
#define SMALL_RUNS    4
#define TINY          (1u << 20)
#define HUGE_BYTES    ((size_t)2 << 20)

uint64_t buffers_pages(uint64_t budget_pages, unsigned *ret_run_pages, unsigned *ret_runs, unsigned *ret_singles)
{
	uint64_t share = budget_pages / SINGLES_SHARE;
	unsigned singles = budget_pages < TINY >> page_shift ? SINGLES / 2
			   : share < SINGLES                 ? SINGLES
			   : share > SINGLES_MOST            ? SINGLES_MOST
							     : (unsigned)share;
	unsigned runs = budget_pages < SMALL >> page_shift ? SMALL_RUNS : RUNS;
	uint64_t run = RUN_BYTES >> page_shift;

	while (run > 1 && run * runs > budget_pages / BUDGET_SHARE)
		run /= 2;
	*ret_run_pages = (unsigned)run;
	*ret_runs = runs;
	*ret_singles = singles;
	return singles + runs * run;
}

int buffers_create(struct buffers *buffers, uint64_t budget_pages)
{
	unsigned run_pages, runs, singles;

	(void)buffers_pages(budget_pages, &run_pages, &runs, &singles);
	return buffers_create_some(buffers, run_pages, runs, singles);
}

/*
 * Memory that is contiguous as far as it goes, since storage takes a transfer piece by piece: a virtual disk that reads 1 GB/s into
 * scattered pages was measured at 2.4 into huge ones. NULL: there is none.
 */
static char *map_contiguous(size_t bytes)
{
	size_t huge = bytes & ~(HUGE_BYTES - 1), slack;
	char *map = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *data;

	if (map == MAP_FAILED)
		return NULL;
	data = (char *)(((uintptr_t)map + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
	slack = (size_t)(data - map);
	if (slack > 0)
		munmap(map, slack);
	munmap(data + bytes, HUGE_BYTES - slack);
	if (huge > 0)
		(void)madvise(data, huge, MADV_HUGEPAGE);
	/* Before they are needed, in a fault say. */
	for (size_t at = 0; at < bytes; at += page_size())
		*(volatile char *)(data + at) = 0;
	return data;
}

int buffers_create_some(struct buffers *buffers, unsigned run_pages, unsigned runs, unsigned singles)
{
	char *data;

	buffers->total_pages = singles + (uint64_t)runs * run_pages;
	buffers->run_pages = run_pages;
	buffers->runs = buffers->free_runs = runs;
	buffers->singles = buffers->free_singles = singles;
	buffers->map_bytes = buffers->total_pages << page_shift;
	buffers->all = calloc(runs + singles, sizeof(struct buffer));
	if (!buffers->all)
		return -ENOMEM;
	data = map_contiguous(buffers->map_bytes);
	if (!data) {
		free(buffers->all);
		buffers->all = NULL;
		return -ENOMEM;
	}
	buffers->map = data;
	for (unsigned i = 0; i < runs + singles; i++) {
		struct buffer *buffer = &buffers->all[i];
		struct buffer **list = i < runs ? &buffers->run : &buffers->single;

		buffer->pages = i < runs ? run_pages : 1;
		buffer->is_run = i < runs;
		buffer->data = data;
		data += (size_t)buffer->pages << page_shift;
		buffer->next = *list;
		*list = buffer;
	}
	return 0;
}

void buffers_done(struct buffers *buffers)
{
	if (buffers->map)
		munmap(buffers->map, buffers->map_bytes);
	free(buffers->all);
	buffers->all = NULL;
	buffers->map = NULL;
}

enum purpose { READ_ONE, READ_RUN, WRITE_RUN, SPARE_ONE, SPARE_RUN };

/* Of so many. */
static unsigned left_to_faults(unsigned all)
{
	return all / 4 + (all < 4);
}

static struct buffer **list_for_locked(struct buffers *buffers, enum purpose purpose)
{
	switch (purpose) {
	case READ_ONE:
		if (buffers->single)
			return &buffers->single;
		break;
	case SPARE_ONE:
		return buffers->free_singles > left_to_faults(buffers->singles) ? &buffers->single : NULL;
	case SPARE_RUN:
		return buffers->free_runs > left_to_faults(buffers->runs) ? &buffers->run : NULL;
	case WRITE_RUN:
		return buffers->run && buffers->writing + 1 < buffers->runs ? &buffers->run : NULL;
	case READ_RUN:
		break;
	}
	return buffers->run ? &buffers->run : NULL;
}

static struct buffer *take(struct buffers *buffers, enum purpose purpose)
{
	struct buffer *buffer = NULL;
	struct buffer **list;

	lock_acquire(&buffers->lock);
	list = list_for_locked(buffers, purpose);
	if (list) {
		buffer = *list;
		*list = buffer->next;
		*(buffer->is_run ? &buffers->free_runs : &buffers->free_singles) -= 1;
		buffer->writes = purpose == WRITE_RUN;
		buffers->writing += buffer->writes;
		atomic_fetch_add_explicit(&buffers->taken, 1, memory_order_relaxed);
	}
	lock_release(&buffers->lock);
	if (buffer) {
		buffer->batch = NULL;
		buffer->placement = NULL;
		buffer->object = NULL;
		buffer->flags = 0;
	}
	return buffer;
}

void buffer_wait(struct buffers *buffers, uint32_t seen)
{
	atomic_fetch_add(&buffers->waiters, 1);
	futex_wait(&buffers->freed, seen, NULL);
	atomic_fetch_sub(&buffers->waiters, 1);
}

static struct buffer *wait_for(struct buffers *buffers, enum purpose purpose)
{
	struct buffer *buffer;

	for (;;) {
		uint32_t seen = atomic_load(&buffers->freed);

		buffer = take(buffers, purpose);
		if (buffer)
			return buffer;
		buffer_wait(buffers, seen);
	}
}

struct buffer *buffer_try(struct buffers *buffers, unsigned pages)
{
	ASSERT(pages > 0 && pages <= buffers->run_pages);
	return take(buffers, pages == 1 ? READ_ONE : READ_RUN);
}

struct buffer *buffer_get(struct buffers *buffers, unsigned pages)
{
	ASSERT(pages > 0 && pages <= buffers->run_pages);
	return wait_for(buffers, pages == 1 ? READ_ONE : READ_RUN);
}

struct buffer *buffer_try_spare(struct buffers *buffers, unsigned pages)
{
	ASSERT(pages > 0 && pages <= buffers->run_pages);
	return take(buffers, pages == 1 ? SPARE_ONE : SPARE_RUN);
}

struct buffer *buffer_get_spare(struct buffers *buffers, unsigned pages)
{
	struct buffer *buffer;

	for (;;) {
		uint32_t seen = atomic_load(&buffers->spared);

		buffer = buffer_try_spare(buffers, pages);
		if (buffer)
			return buffer;
		atomic_fetch_add(&buffers->patient, 1);
		futex_wait(&buffers->spared, seen, NULL);
		atomic_fetch_sub(&buffers->patient, 1);
	}
}

struct buffer *buffer_try_run(struct buffers *buffers)
{
	return take(buffers, WRITE_RUN);
}

struct buffer *buffer_get_run(struct buffers *buffers)
{
	return wait_for(buffers, WRITE_RUN);
}

void buffer_put(struct buffers *buffers, struct buffer *buffer)
{
	struct buffer **list = buffer->is_run ? &buffers->run : &buffers->single;
	unsigned all = buffer->is_run ? buffers->runs : buffers->singles, left;

	lock_acquire(&buffers->lock);
	buffers->writing -= buffer->writes;
	buffer->writes = false;
	buffer->next = *list;
	*list = buffer;
	left = *(buffer->is_run ? &buffers->free_runs : &buffers->free_singles) += 1;
	lock_release(&buffers->lock);
	atomic_fetch_sub_explicit(&buffers->taken, 1, memory_order_relaxed);
	atomic_fetch_add(&buffers->freed, 1);
	if (atomic_load(&buffers->waiters))
		futex_wake_all(&buffers->freed);
	/* When all are free again, at the latest. */
	if (left > left_to_faults(all) + all / 8) {
		atomic_fetch_add(&buffers->spared, 1);
		if (atomic_load(&buffers->patient))
			futex_wake_all(&buffers->spared);
	}
}

#define BATCH_SLEEPS 0x80000000u /* beside the number: the waiter sleeps */

void batch_add(struct batch *batch)
{
	atomic_fetch_add_explicit(&batch->pending, 1, memory_order_relaxed);
}

void batch_done(struct batch *batch, int error)
{
	void (*finished)(struct batch *) = batch->finished;
	int none = 0;

	if (error)
		atomic_compare_exchange_strong(&batch->error, &none, error);
	/* The waiter may free the batch as soon as it sees zero: nothing of it is touched but the address. */
	switch (atomic_fetch_sub_explicit(&batch->pending, 1, memory_order_acq_rel)) {
	case BATCH_SLEEPS | 1:
		futex_wake_all(&batch->pending);
		break;
	case 1:
		if (finished)
			finished(batch);
		break;
	default:
		break;
	}
}

int batch_wait(struct batch *batch)
{
	uint32_t pending;

	/* Most transfers that are waited for ran on this thread, and are done. */
	while ((pending = atomic_load_explicit(&batch->pending, memory_order_acquire)) & ~BATCH_SLEEPS) {
		pending = atomic_fetch_or_explicit(&batch->pending, BATCH_SLEEPS, memory_order_acquire) | BATCH_SLEEPS;
		if (pending != BATCH_SLEEPS)
			futex_wait(&batch->pending, pending, NULL);
	}
	return -atomic_load(&batch->error);
}
