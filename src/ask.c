/* SPDX-License-Identifier: MIT */
/*
 * ask.c - the public calls that ask the engine ahead of a touch: prefetch
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "entry.h"
#include "eventfd.h"
#include "object/epoch.h"
#include "remote/client.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* Whole pages that hold the range. 0 or -error with a message. */
static int whole_pages(const void *addr, size_t len, int error, struct iovec *ret)
{
	uintptr_t inside = (uintptr_t)addr & (page_size() - 1);
	char *start = (char *)((uintptr_t)addr - inside);
	size_t rounded;

	if (len > SIZE_MAX - inside || !entry_round(start, inside + len, &rounded))
		return message_set(error, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	*ret = (struct iovec){start, len ? rounded : 0};
	return 0;
}

/* ---- prefetch ---- */

/* The list in whole pages, in memory of ours: the caller's may be managed itself, and may change. To be freed. */
static int copy_ranges(const struct iovec *ranges, int n, struct iovec **ret)
{
	struct iovec *copy = fail_now(FAIL_ALLOC) ? NULL : calloc((size_t)n + 1, sizeof(*copy));
	int r = copy ? 0 : message_set(ENOMEM, "no memory for a list of %d ranges", n);

	for (int i = 0; i < n && r == 0; i++) {
		struct iovec range = ranges[i];

		r = whole_pages(range.iov_base, range.iov_len, EINVAL, &copy[i]);
	}
	if (r < 0)
		free(copy);
	else
		*ret = copy;
	return r;
}

int quire_prefetch(const struct iovec *ranges, int n, int eventfd)
{
	struct iovec *copy = NULL;
	struct engine *engine;
	struct entry entry;
	int kept = -1, r;

	entry_begin(&entry, "quire_prefetch");
	if (n < 0 || (n > 0 && !ranges))
		r = message_set(EINVAL, "a list of %d ranges at %p", n, (const void *)ranges);
	else if (client_serves(&r, &(struct client_call){
				       .name = CALL_PREFETCH, .in = ranges, .in_len = (size_t)n * sizeof(*ranges), .fd = eventfd}))
		return entry_end(&entry, r);
	else
		r = entry_engine(&engine);
	if (r == 0)
		r = eventfd_keep(eventfd, &kept);
	if (r == 0)
		r = copy_ranges(ranges, n, &copy);
	if (r == 0)
		r = prefetch_start(&engine->prefetcher, entry_space(engine), copy, (size_t)n, kept);
	if (r < 0 && kept >= 0)
		close(kept);
	free(copy);
	return entry_end(&entry, r);
}

/* ---- what was stored ---- */

/* Ranges in order of addresses, of which the first n are told. */
struct answer {
	struct space *space;
	struct iovec *ranges;
	int n, count;
	char *end;  /* of the last */
	bool dirty; /* what is not written yet; else what was stored to after the epoch since */
	uint64_t since;
};

static void add_range(struct answer *answer, char *addr, uint64_t pages)
{
	size_t len = (size_t)pages << page_shift;

	if (pages == 0)
		return;
	if (answer->count > 0 && answer->end == addr) {
		if (answer->count <= answer->n)
			answer->ranges[answer->count - 1].iov_len += len;
	} else {
		if (answer->count < answer->n)
			answer->ranges[answer->count] = (struct iovec){addr, len};
		answer->count += answer->count < INT_MAX;
	}
	answer->end = addr + len;
}

static bool is_unwritten(const struct object *object, uint32_t word)
{
	/* Memory without a file is never done with: what is in the swap was stored to as well. */
	uint32_t flags = PAGE_DIRTY | PAGE_WRITING | (object->kind == OBJECT_FILE ? 0 : PAGE_STORED);

	return (word & flags) && (page_state(word) != PAGE_ABSENT || object->kind != OBJECT_FILE);
}

/* What page-out has put into the journal is no more in the file than what is dirty. */
static void select_spilled(struct chunk *chunk, struct chunk_set *ret)
{
	uint64_t at = chunk->first, first, end;

	while (journal_next_spilled(chunk->object->journal, at, chunk->first + CHUNK_PAGES, &first, &end)) {
		for (at = first; at < end; at++)
			chunk_set_add(ret, (unsigned)(at - chunk->first));
	}
}

static void select_pages(const struct answer *answer, struct chunk *chunk, bool private, struct chunk_set *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!private && !answer->dirty) {
		epoch_written(chunk, answer->since, ret);
		return;
	}
	for (unsigned i = 0; i < CHUNK_PAGES; i++) {
		uint32_t word = page_load(&chunk->page[i]);

		if (private ? page_state(word) != PAGE_ABSENT : is_unwritten(chunk->object, word))
			chunk_set_add(ret, i);
	}
	if (!private && chunk->object->journal)
		select_spilled(chunk, ret);
}

/* Pages first … end of a table, the first of which is at addr. */
static void answer_pages(struct answer *answer, const struct table *table, uint64_t first, uint64_t end, char *addr, bool private)
{
	for (struct chunk *chunk = table_next(table, first); chunk && chunk->first < end;
	     chunk = table_next(table, chunk->first + CHUNK_PAGES)) {
		unsigned from = first > chunk->first ? (unsigned)(first - chunk->first) : 0;
		unsigned to = end < chunk->first + CHUNK_PAGES ? (unsigned)(end - chunk->first) : CHUNK_PAGES;
		struct chunk_set set;

		select_pages(answer, chunk, private, &set);
		for (unsigned i = chunk_set_next(&set, from), run; i < to; i = chunk_set_next(&set, run)) {
			run = chunk_set_run(&set, i);
			if (run > to)
				run = to;
			add_range(answer, addr + ((chunk->first + i - first) << page_shift), run - i);
			if (run == CHUNK_PAGES)
				break;
		}
	}
}

/* No lock is held: the ranges may be told into managed memory. */
static int answer_part(void *arg, const struct part *part)
{
	struct answer *answer = arg;
	struct object *object = part->object;
	uint64_t first = part->first, end = first + part->pages, most;

	if (!part->shared) {
		first = (uintptr_t)part->addr >> page_shift;
		answer_pages(answer, &answer->space->private_pages->object->table, first, first + part->pages, part->addr, true);
		return 0;
	}
	most = atomic_load(&object->pages);
	if (end > most)
		end = most;
	if (first >= end)
		return 0;
	if (!answer->dirty && (answer->since == 0 || epoch_is_lost(object, answer->since)))
		add_range(answer, part->addr, end - first);
	else
		answer_pages(answer, &object->table, first, end, part->addr, false);
	return 0;
}

/* Learns of every store that has been made. */
static int harvest_part(void *arg, const struct part *part)
{
	struct space *space = arg;
	int r;

	if (!part->shared)
		return 0;
	rwlock_read_acquire(&space->cache->map_lock);
	r = object_harvest(part->object, part->first, part->first + part->pages);
	rwlock_read_release(&space->cache->map_lock);
	return r < 0 ? message_set(-r, "the kernel does not tell what was stored to in the mapping at %p: %s", (void *)part->addr,
				   strerrordesc_np(-r))
		     : 0;
}

static int watch_part(void *arg, const struct part *part)
{
	int r = part->shared ? object_watch(part->object, part->first, part->first + part->pages) : 0;

	(void)arg;
	return r < 0 ? message_set(-r, "stores to the mapping at %p cannot be caught anew: %s", (void *)part->addr,
				   strerrordesc_np(-r))
		     : 0;
}

/* A range that is all mapped, with what was stored in it known. 0 or -errno. */
static int look_at_stores(const void *addr, size_t len, struct engine **ret_engine, struct iovec *ret_range)
{
	int r = whole_pages(addr, len, ENOMEM, ret_range);

	if (r == 0)
		r = entry_engine(ret_engine);
	if (r == 0)
		r = space_check(entry_space(*ret_engine), ret_range->iov_base, ret_range->iov_len);
	if (r == 0)
		r = space_visit(entry_space(*ret_engine), ret_range->iov_base, ret_range->iov_len, harvest_part,
				entry_space(*ret_engine));
	return r;
}

static int ask(const char *call, const void *addr, size_t len, bool dirty, uint64_t since, struct iovec *ret_ranges, int n)
{
	struct answer answer = {.ranges = ret_ranges, .n = n, .dirty = dirty, .since = since};
	struct engine *engine;
	struct iovec range;
	struct entry entry;
	int r;

	entry_begin(&entry, call);
	if (n < 0 || (n > 0 && !ret_ranges))
		r = message_set(EINVAL, "room for %d ranges at %p", n, (void *)ret_ranges);
	else if (client_serves(&r, &(struct client_call){.name = dirty ? CALL_DIRTY : CALL_WRITTEN,
							 .arg = {(int64_t)(intptr_t)addr, (int64_t)len, (int64_t)since},
							 .out = ret_ranges,
							 .out_len = (size_t)n * sizeof(*ret_ranges),
							 .fd = -1}))
		return entry_end(&entry, r);
	else
		r = look_at_stores(addr, len, &engine, &range);
	if (r == 0 && since > 0 && since >= atomic_load(&engine->cache->epoch))
		r = message_set(EINVAL, "no call of quire_epoch has given the epoch %llu", (unsigned long long)since);
	if (r == 0) {
		answer.space = entry_space(engine);
		(void)space_visit(entry_space(engine), range.iov_base, range.iov_len, answer_part, &answer);
		r = answer.count;
	}
	return entry_end(&entry, r);
}

int quire_dirty(const void *addr, size_t len, struct iovec *ret_ranges, int n)
{
	return ask("quire_dirty", addr, len, true, 0, ret_ranges, n);
}

int quire_written(const void *addr, size_t len, uint64_t since, struct iovec *ret_ranges, int n)
{
	return ask("quire_written", addr, len, false, since, ret_ranges, n);
}

int quire_epoch(const void *addr, size_t len, uint64_t *ret_epoch)
{
	struct engine *engine;
	struct entry entry;
	struct iovec range;
	uint64_t epoch = 0;
	int r;

	entry_begin(&entry, "quire_epoch");
	if (client_serves(&r, &(struct client_call){.name = CALL_EPOCH,
						    .arg = {(int64_t)(intptr_t)addr, (int64_t)len},
						    .out = &epoch,
						    .out_len = sizeof(epoch),
						    .fd = -1})) {
		r = entry_end(&entry, r);
		if (r == 0)
			*ret_epoch = epoch;
		return r;
	}
	r = look_at_stores(addr, len, &engine, &range);
	if (r == 0) {
		epoch = epoch_begin(engine->cache);
		r = space_visit(entry_space(engine), range.iov_base, range.iov_len, watch_part, NULL);
	}
	r = entry_end(&entry, r);
	if (r == 0)
		*ret_epoch = epoch;
	return r;
}
