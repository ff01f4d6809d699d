/* SPDX-License-Identifier: MIT */
/*
 * commit.c - the public calls about commits of atomic files
 */
#include "commit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "entry.h"
#include "eventfd.h"
#include "fault/fault.h"
#include "range.h"
#include "remote/client.h"
#include "sys/page_size.h"
#include "util/fail.h"

/* ---- what is to be committed ---- */

void commit_list_done(struct commit_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		object_unref(list->all[i].object);
	free(list->all);
	*list = (struct commit_list){0};
}

int commit_list_add(struct commit_list *list, const struct part *part)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 8;
		struct commit_range *all = fail_now(FAIL_ALLOC) ? NULL : realloc(list->all, capacity * sizeof(*all));

		if (!all)
			return message_set(ENOMEM, "no memory for the list of mappings");
		list->all = all;
		list->capacity = capacity;
	}
	object_ref(part->object);
	list->all[list->count++] = (struct commit_range){part->object, part->first, part->first + part->pages};
	return 0;
}

static int failed(int r)
{
	return *message_detail()
		   ? r
		   : message_set(-r, "the commit failed: %s. What it was of is as before, and not committed", strerrordesc_np(-r));
}

/* What a commit that nobody waited for has met since the last call. */
static int missed(const struct commit_list *list)
{
	int error = 0;

	for (size_t i = 0; i < list->count; i++) {
		int one = atomic_exchange(&list->all[i].object->write_error, 0);

		error = error ? error : one;
	}
	if (!error)
		return 0;
	return message_set(error, "a commit before this one, which nobody waited for, failed: %s. This one is complete",
			   strerrordesc_np(error));
}

int commit_now(struct engine *engine, struct commit_list *list)
{
	struct commit *commit;
	bool fills;
	int r = commit_begin(list->all, list->count, &commit);

	if (r < 0)
		return failed(r);
	fills = commit_fills(commit);
	r = commit_end(commit);
	if (fills)
		committer_poke(&engine->committer);
	return r < 0 ? failed(r) : missed(list);
}

int64_t commit_later(struct engine *engine, struct commit_list *list, int event_fd, bool tells)
{
	struct commit *commit;
	int r = commit_begin(list->all, list->count, &commit);

	if (r < 0)
		return failed(r);
	commit->tells = tells;
	return (int64_t)committer_add(&engine->committer, commit, event_fd);
}

/* ---- arguments ---- */

static int add_part(void *arg, const struct part *part)
{
	if (!part->object || !part->shared || !part->object->journal)
		return message_set(EINVAL, "the mapping at %p is not a shared one of an atomic file: QUIRE_MAP_ATOMIC",
				   (void *)part->addr);
	return commit_list_add(arg, part);
}

/* The pages that hold the range. */
static int add_range(struct engine *engine, struct iovec range, struct commit_list *list)
{
	size_t before = (uintptr_t)range.iov_base & (page_size() - 1), len;
	char *addr = (char *)range.iov_base - before;
	int r;

	if (range.iov_len > SIZE_MAX - before || !entry_round(addr, range.iov_len + before, &len))
		return message_set(EINVAL, "the range at %p of %zu bytes lies outside of the address space", range.iov_base,
				   range.iov_len);
	if (range.iov_len == 0)
		return 0;
	r = space_check(entry_space(engine), addr, len);
	return r == 0 ? space_visit(entry_space(engine), addr, len, add_part, list) : r;
}

static int gather(struct engine *engine, const struct iovec *ranges, int n, struct commit_list *ret)
{
	int r = 0;

	for (int i = 0; i < n && r == 0; i++)
		r = add_range(engine, ranges[i], ret);
	if (r < 0)
		commit_list_done(ret);
	return r;
}

static int check_list(const struct iovec *ranges, int n)
{
	if (n < 0 || (n > 0 && !ranges))
		return message_set(EINVAL, "a list of %d ranges at %p", n, (const void *)ranges);
	return 0;
}

static int begin_call(const struct iovec *ranges, int n, struct engine **ret_engine, struct commit_list *ret)
{
	int r = entry_engine(ret_engine);

	return r == 0 ? gather(*ret_engine, ranges, n, ret) : r;
}

/* ---- calls ---- */

/* In a process that is served the journal is the engine's that serves it, and so is the commit. */
static struct client_call call_of(enum call_name name, const struct iovec *ranges, int n)
{
	return (struct client_call){.name = name, .in = ranges, .in_len = (size_t)n * sizeof(*ranges), .fd = -1};
}

int quire_commit(const struct iovec *ranges, int n, int flags)
{
	struct commit_list list = {0};
	struct client_call call;
	struct engine *engine;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_commit");
	r = flags ? message_set(EINVAL, "flags %#x hold an unknown one", flags) : check_list(ranges, n);
	call = call_of(CALL_COMMIT, ranges, n);
	if (r == 0 && client_serves(&r, &call))
		return entry_end(&entry, r);
	if (r == 0)
		r = begin_call(ranges, n, &engine, &list);
	if (r == 0 && list.count > 0)
		r = commit_now(engine, &list);
	commit_list_done(&list);
	return entry_end(&entry, r);
}

static int64_t begin_by_engine(struct entry *entry, const struct iovec *ranges, int n, int event_fd)
{
	struct client_call call = call_of(CALL_COMMIT_BEGIN, ranges, n);
	int64_t ticket;

	call.fd = event_fd;
	/* Before a socket for the reply gets the number. */
	if (event_fd != -1 && fcntl(event_fd, F_GETFD) < 0)
		ticket = message_set(EBADF, "the eventfd, %d, is not open", event_fd);
	else
		ticket = client_ask(&call, NULL);
	return entry_end(entry, ticket < 0 ? (int)ticket : 0) < 0 ? -1 : ticket;
}

int64_t quire_commit_begin(const struct iovec *ranges, int n, int event_fd)
{
	struct commit_list list = {0};
	struct engine *engine;
	struct entry entry;
	int64_t ticket = 0;
	int kept = -1, r;

	entry_begin(&entry, "quire_commit_begin");
	r = check_list(ranges, n);
	if (r == 0 && client_is())
		return begin_by_engine(&entry, ranges, n, event_fd);
	if (r == 0)
		r = begin_call(ranges, n, &engine, &list);
	/* Also where there is nothing to commit, there is a ticket to wait for. */
	if (r == 0)
		r = committer_start(&engine->committer, &engine->atomics);
	if (r == 0)
		r = eventfd_keep(event_fd, &kept);
	if (r == 0) {
		ticket = commit_later(engine, &list, kept, false);
		r = ticket < 0 ? (int)ticket : 0;
		if (r < 0 && kept >= 0)
			close(kept);
	}
	commit_list_done(&list);
	return entry_end(&entry, r) < 0 ? -1 : ticket;
}

int quire_commit_wait(int64_t ticket)
{
	struct engine *engine;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_commit_wait");
	if (client_serves(&r, &(struct client_call){.name = CALL_COMMIT_WAIT, .arg = {ticket}, .fd = -1}))
		return entry_end(&entry, r);
	r = entry_engine(&engine);
	if (r == 0) {
		r = ticket > 0 ? committer_wait(&engine->committer, (uint64_t)ticket) : -EINVAL;
		if (r == -EINVAL)
			message_set(EINVAL, "no ticket %lld was given", (long long)ticket);
		else if (r == -ESTALE)
			message_set(ESTALE, "the commit of ticket %lld has ended so long ago that it is not known how",
				    (long long)ticket);
		else if (r < 0)
			r = failed(r);
	}
	return entry_end(&entry, r);
}

/* ---- rollback ---- */

struct rollback {
	struct space *space;
	bool only_check;
};

static int roll_back_part(void *arg, const struct part *part)
{
	const struct rollback *rollback = arg;
	size_t len = part->pages << page_shift;
	int r;

	if (!part->object || !part->shared || !part->object->journal)
		return message_set(EINVAL, "the mapping at %p is not a shared one of an atomic file: QUIRE_MAP_ATOMIC",
				   (void *)part->addr);
	if (rollback->only_check)
		return 0;
	r = object_roll_back(part->object, part->first, part->first + part->pages);
	if (r < 0)
		return message_set(-r, "what was stored to the mapping at %p could not all be taken back: %s", (void *)part->addr,
				   strerrordesc_np(-r));
	/* What cannot be had, behind the end, is left to its touch, as for mlock of a part. */
	if (part->locked && part->prot)
		(void)fault_populate(rollback->space, part->addr, len, FAULT_AS_LOCKED);
	return 0;
}

int quire_rollback(void *addr, size_t len)
{
	struct rollback rollback = {.only_check = true};
	struct range range = {0};
	struct engine *engine;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_rollback");
	if (client_serves(&r,
			  &(struct client_call){.name = CALL_ROLLBACK, .arg = {(int64_t)(intptr_t)addr, (int64_t)len}, .fd = -1}))
		return entry_end(&entry, r);
	r = entry_engine(&engine);
	if (r == 0)
		r = range_begin(addr, len, ENOMEM, &range);
	if (r > 0) {
		rollback.space = entry_space(engine);
		r = space_check(rollback.space, range.addr, range.len);
		if (r == 0)
			r = space_visit(rollback.space, range.addr, range.len, roll_back_part, &rollback);
		rollback.only_check = false;
		if (r == 0)
			r = space_visit(rollback.space, range.addr, range.len, roll_back_part, &rollback);
	}
	return entry_end(&entry, r);
}

/* ---- checkpoint ---- */

int quire_checkpoint(int fd)
{
	struct atomic_file *file = NULL;
	struct engine *engine;
	struct entry entry;
	struct stat st;
	int r;

	entry_begin(&entry, "quire_checkpoint");
	r = fstat(fd, &st) < 0 ? message_set(EBADF, "descriptor %d is not open", fd) : 0;
	if (r == 0 && client_serves(&r, &(struct client_call){.name = CALL_CHECKPOINT, .fd = fd}))
		return entry_end(&entry, r);
	if (r == 0)
		r = entry_engine(&engine);
	if (r == 0) {
		file = atomic_find(&engine->atomics, st.st_dev, st.st_ino);
		r = file ? journal_checkpoint(file->journal)
			 : message_set(EINVAL, "the file of descriptor %d is not mapped with QUIRE_MAP_ATOMIC in this process", fd);
		if (file && r < 0 && !*message_detail())
			message_set(-r, "what is committed could not be copied into the file of descriptor %d: %s", fd,
				    strerrordesc_np(-r));
	}
	atomic_release(file);
	return entry_end(&entry, r);
}
