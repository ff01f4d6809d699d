/* SPDX-License-Identifier: MIT */
/*
 * window.c - the blocks of a journal that are looked at, with reads of those that come next under way
 *
 *      plan    ├─ range ─┤   ├──── range ────┤      ├─ range ─┤
 *      reads        [head ][     ][     ]
 *                     ▲ looked at          ▲ next
 *
 * As long as blocks are asked for in the order of the plan, a read that was looked through makes room for one further on, so that storage is
 * always busy while checksums are made. Whatever else is asked for is read when it is asked for, with what the caller wants next.
 */
#include "journal/window.h"

#include <errno.h>
#include <stdlib.h>

#include "util/fail.h"
#include "util/lock.h"

/* Of all reads together. The disk is at its full speed with less; more would only cost memory. */
#define WINDOW_BYTES ((size_t)8 << 20)

int window_open(struct window *window, struct pager *pager, size_t block_bytes, uint64_t blocks)
{
	uint64_t most = WINDOW_BYTES / WINDOW_READS / block_bytes;

	*window = (struct window){.pager = pager, .block_bytes = block_bytes, .blocks = blocks};
	window->read_blocks = blocks + 1 < most ? blocks + 1 : most;
	window->room =
	    blocks / window->read_blocks + 1 < WINDOW_READS ? (unsigned)(blocks / window->read_blocks + 1) : WINDOW_READS;
	window->memory = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(block_bytes, window->room * window->read_blocks * block_bytes);
	if (!window->memory)
		return -ENOMEM;
	for (unsigned i = 0; i < window->room; i++)
		window->reads[i].memory = window->memory + i * window->read_blocks * block_bytes;
	return 0;
}

/* ---- reads ---- */

static void read_done(struct pager_request *request)
{
	struct window_read *read = request->owner;

	atomic_store(&read->pending, 0);
	futex_wake_all(&read->pending);
}

static void read_start(struct window *window, uint64_t first, uint64_t blocks)
{
	struct window_read *read = &window->reads[(window->head + window->n++) % window->room];

	read->first = first;
	read->request = (struct pager_request){
	    .op = PAGER_READ,
	    .offset = first * window->block_bytes,
	    .len = blocks * window->block_bytes,
	    .buf = read->memory,
	    .done = read_done,
	    .owner = read,
	};
	atomic_store(&read->pending, 1);
	window->pager->ops->submit(window->pager, &read->request);
}

static void read_wait(struct window_read *read)
{
	while (atomic_load(&read->pending))
		futex_wait(&read->pending, 1, NULL);
}

static void drop_head(struct window *window)
{
	read_wait(&window->reads[window->head]);
	window->head = (window->head + 1) % window->room;
	window->n--;
}

static void drop_all(struct window *window)
{
	while (window->n > 0)
		drop_head(window);
}

void window_done(struct window *window)
{
	drop_all(window);
	free(window->memory);
}

/* ---- what comes next ---- */

void window_plan(struct window *window, const struct window_range *plan, size_t n)
{
	drop_all(window);
	window->plan = plan;
	window->n_plan = n;
	window->at = n;
	window->next = window->end = 0;
}

static void read_ahead(struct window *window)
{
	while (window->n < window->room) {
		uint64_t n;

		while (window->next == window->end) {
			if (window->at >= window->n_plan || ++window->at == window->n_plan)
				return;
			window->next = window->plan[window->at].first;
			window->end = window->plan[window->at].end < window->blocks ? window->plan[window->at].end : window->blocks;
			window->next = window->next < window->end ? window->next : window->end;
		}
		n = window->end - window->next < window->read_blocks ? window->end - window->next : window->read_blocks;
		read_start(window, window->next, n);
		window->next += n;
	}
}

/* Reads from a block on that no read is under way of. */
static void go_to(struct window *window, uint64_t block, uint64_t want)
{
	drop_all(window);
	window->next = block;
	for (window->at = 0; window->at < window->n_plan; window->at++)
		if (block >= window->plan[window->at].first && block < window->plan[window->at].end)
			break;
	if (window->at < window->n_plan)
		want = window->plan[window->at].end - block;
	window->end = want < window->blocks - block ? block + want : window->blocks;
	read_ahead(window);
}

static bool is_of(const struct window *window, const struct window_read *read, uint64_t block)
{
	return block >= read->first && block - read->first < read->request.len / window->block_bytes;
}

/* ---- blocks ---- */

uint64_t window_ready(const struct window *window, uint64_t block)
{
	const struct window_read *read = &window->reads[window->head];

	return read->request.ret_bytes / window->block_bytes - (block - read->first);
}

int window_block(struct window *window, uint64_t block, uint64_t want, const void **ret)
{
	struct window_read *read;

	*ret = NULL;
	if (block >= window->blocks)
		return 0;
	while (window->n > 0 && !is_of(window, &window->reads[window->head], block))
		drop_head(window);
	if (window->n == 0)
		go_to(window, block, want > 0 ? want : 1);
	else
		read_ahead(window);
	read = &window->reads[window->head];
	read_wait(read);
	if (read->request.ret_error || read->request.ret_bytes > read->request.len)
		return read->request.ret_error ? -read->request.ret_error : -EIO;
	/* As short as it may be, it has what there was. */
	if ((block - read->first + 1) * window->block_bytes <= read->request.ret_bytes)
		*ret = read->memory + (block - read->first) * window->block_bytes;
	return 0;
}
