/* SPDX-License-Identifier: MIT */
/*
 * disk.c - disks in memory that forget, tear and fail, and the history of what was done to them
 */
#include "disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "sys/page_size.h"
#include "util/assert.h"

/* Longer than anything that a test does: a size beyond it is one that went wrong. */
#define DISK_MAX ((uint64_t)1 << 30)

static struct disk *disk_of(struct pager *pager)
{
	return (struct disk *)pager;
}

/* ---- the history ---- */

static struct event *note(struct disk *disk, enum event_kind kind)
{
	struct history *history = disk->history;
	struct event *event;

	if (!history->recording)
		return NULL;
	if (history->count == history->room) {
		history->room = history->room ? history->room * 2 : 256;
		history->events = realloc(history->events, history->room * sizeof(struct event));
		ASSERT(history->events != NULL);
	}
	event = &history->events[history->count++];
	*event = (struct event){
	    .kind = kind,
	    .disk = disk->index,
	    .size_before = disk->size,
	    .size_after = disk->size,
	    .settled = NEVER,
	    .sized = NEVER,
	    .step = history->step,
	};
	return event;
}

static void drop_events(struct history *history)
{
	for (uint32_t i = 0; i < history->count; i++)
		free(history->events[i].bytes);
	history->count = 0;
}

void history_print(const struct history *history, uint32_t point, FILE *out)
{
	static const char *const kinds[] = {"write", "resize", "sync", "sync fails"}, *const fates[] = {"stable", "in limbo",
													"lost"};

	for (uint32_t i = 0; i < point && i < history->count; i++) {
		const struct event *event = &history->events[i];

		fprintf(out, "  event %4" PRIu32 "  step %3u  %s %u  %s", i, event->step, event->disk % 2 ? "log " : "file",
			event->disk / 2, kinds[event->kind]);
		if (event->kind == EVENT_WRITE)
			fprintf(out, " at %" PRIu64 " blocks +%" PRIu64 ", %zu bytes", event->offset / page_size(),
				event->offset % page_size(), event->len);
		if (event->size_after != event->size_before)
			fprintf(out, ", size %" PRIu64 " -> %" PRIu64, event->size_before, event->size_after);
		if (event_changes(event))
			fprintf(out, ": %s%s", event->settled < point ? fates[event->fate] : "open",
				event->kind == EVENT_WRITE && event->size_after != event->size_before && event->sized >= point
				    ? ", size open"
				    : "");
		fputc('\n', out);
	}
}

void history_restart(struct history *history)
{
	drop_events(history);
	for (unsigned i = 0; i < history->n_disks; i++)
		disk_set(history->disks[i], NULL, history->disks[i]->size);
}

void history_done(struct history *history)
{
	drop_events(history);
	free(history->events);
	*history = (struct history){0};
}

/* ---- the bytes ---- */

static void set_size(struct disk *disk, uint64_t size)
{
	ASSERT(size <= DISK_MAX);
	if (size > disk->room) {
		disk->room = size * 2;
		disk->bytes = realloc(disk->bytes, disk->room);
		ASSERT(disk->bytes != NULL);
	}
	if (size > disk->size)
		memset(disk->bytes + disk->size, 0, size - disk->size);
	disk->size = size;
}

void disk_set(struct disk *disk, const unsigned char *bytes, size_t size)
{
	set_size(disk, size);
	if (bytes != NULL && size)
		memcpy(disk->bytes, bytes, size);
	if (disk->history->recording) {
		free(disk->base);
		disk->base = malloc(size + 1);
		ASSERT(disk->base != NULL);
		if (size)
			memcpy(disk->base, disk->bytes, size);
		disk->base_size = size;
	}
	disk->first_pending = 0;
	disk->owes_sync = false;
}

static void put(struct disk *disk, uint64_t offset, const void *buf, size_t len)
{
	struct event *event = note(disk, EVENT_WRITE);

	if (offset + len > disk->size)
		set_size(disk, offset + len);
	memcpy(disk->bytes + offset, buf, len);
	if (event == NULL)
		return;
	event->offset = offset;
	event->len = len;
	event->size_after = disk->size;
	event->bytes = malloc(len + 1);
	ASSERT(event->bytes != NULL);
	memcpy(event->bytes, buf, len);
}

/* ---- failures ---- */

void disk_arm(struct disk *disk, enum fault_kind kind, int64_t nth, bool every, int error)
{
	disk->faults[kind] = (struct fault){nth, every, error};
}

void disk_disarm(struct disk *disk)
{
	memset(disk->faults, 0, sizeof(disk->faults));
}

/* => 0, or what this operation fails with */
static int fails(struct disk *disk, enum fault_kind kind)
{
	struct fault *fault = &disk->faults[kind];

	if (disk->dead)
		return EIO;
	if (fault->nth == 0 || --fault->nth > 0)
		return 0;
	if (fault->every)
		fault->nth = 1;
	disk->fired++;
	return fault->error;
}

/* ---- syncs ---- */

static void settle_sizes(struct disk *disk, uint32_t at)
{
	for (uint32_t i = disk->first_pending; i < at; i++) {
		struct event *event = &disk->history->events[i];

		if (event->disk == disk->index && event->sized == NEVER && disk->lie != LIE_KEEPS_LENGTH)
			event->sized = at;
	}
	disk->first_pending = at;
}

static void settle(struct disk *disk, uint32_t at, enum fate fate)
{
	struct history *history = disk->history;

	for (uint32_t i = disk->first_pending; i < at; i++) {
		struct event *event = &history->events[i];

		if (event->disk != disk->index || !event_changes(event) || event->settled != NEVER)
			continue;
		if (fate != FATE_STABLE && event->kind == EVENT_RESIZE)
			continue;
		event->settled = at;
		event->fate = fate;
	}
	if (fate == FATE_STABLE)
		settle_sizes(disk, at);
}

static void sync_now(struct disk *disk)
{
	struct event *event = note(disk, EVENT_SYNC);

	disk->owes_sync = false;
	if (event != NULL)
		settle(disk, (uint32_t)(event - disk->history->events), FATE_STABLE);
}

/* What was pending is on the disk or is not, by lot, and reads tell which from here on. */
static void drop_cache(struct disk *disk, uint32_t at)
{
	struct history *history = disk->history;
	size_t size;

	settle_sizes(disk, at);
	for (uint32_t i = 0; i < at; i++) {
		struct event *event = &history->events[i];

		if (event->disk == disk->index && event->kind == EVENT_WRITE &&
		    (event->settled == at || event->fate == FATE_LIMBO)) {
			event->fate = rng_percent(disk->rng, 50) ? FATE_STABLE : FATE_LOST;
		}
	}
	disk->dropped = true;
	size = image_of_settled(history, disk->index, &disk->bytes, &disk->room);
	disk->size = size;
}

static void sync_failed(struct disk *disk)
{
	struct event *event = note(disk, EVENT_SYNC_FAILED);
	uint32_t at;

	if (event == NULL)
		return;
	at = (uint32_t)(event - disk->history->events);
	settle(disk, at, FATE_LIMBO);
	if (disk->rng != NULL && rng_percent(disk->rng, 30))
		drop_cache(disk, at);
	event->size_after = disk->size;
}

static void pay_debts(struct disk *disk, enum disk_lie lie)
{
	struct history *history = disk->history;

	for (unsigned i = 0; i < history->n_disks; i++) {
		struct disk *other = history->disks[i];
		bool its = lie == LIE_LATE_SYNC ? other == disk : other != disk;

		if (its && other->lie == lie && other->owes_sync)
			sync_now(other);
	}
}

static int disk_sync(struct pager *pager)
{
	struct disk *disk = disk_of(pager);
	int error = fails(disk, FAULT_SYNC);

	if (disk->dead)
		return -error;
	disk->syncs++;
	pay_debts(disk, LIE_LATE_SYNC);
	if (error != 0) {
		sync_failed(disk);
		return disk->lie == LIE_DEAF ? 0 : -error;
	}
	if (disk->lie == LIE_LATE_SYNC || disk->lie == LIE_LATER_SYNC)
		disk->owes_sync = true;
	else if (disk->lie != LIE_NO_SYNC && (disk->lie != LIE_SWALLOW || disk->syncs % 7 != 0))
		sync_now(disk);
	pay_debts(disk, LIE_LATER_SYNC);
	return 0;
}

/* ---- transfers ---- */

static int read_now(struct disk *disk, struct pager_request *request)
{
	int error = fails(disk, FAULT_READ);
	size_t left = request->offset < disk->size ? disk->size - request->offset : 0;

	if (error != 0)
		return error;
	disk->reads++;
	request->ret_bytes = left < request->len ? left : request->len;
	memcpy(request->buf, disk->bytes + request->offset, request->ret_bytes);
	return 0;
}

static int write_now(struct disk *disk, struct pager_request *request)
{
	int error = fails(disk, FAULT_WRITE);
	size_t done = request->len;

	if (disk->dead)
		return error;
	disk->writes++;
	if (disk->owes_sync && disk->lie == LIE_LATE_SYNC)
		sync_now(disk);
	if (error != 0)
		done = disk->rng != NULL ? (size_t)rng_below(disk->rng, (int64_t)(request->len / SECTOR + 1)) * SECTOR : 0;
	if (done != 0 && (disk->lie != LIE_LOST_WRITE || disk->writes % 7 != 0))
		put(disk, request->offset, request->buf, done);
	request->ret_bytes = error == 0 ? done : 0;
	return error;
}

static void disk_run(struct pager *pager, struct pager_request *request)
{
	struct disk *disk = disk_of(pager);

	/* What pager.h asks of a request. */
	ASSERT(request->offset % page_size() == 0 && (uintptr_t)request->buf % page_size() == 0 && request->len > 0);
	ASSERT(request->op == PAGER_WRITE || request->len % page_size() == 0);
	request->ret_bytes = 0;
	request->ret_error = request->op == PAGER_READ ? read_now(disk, request) : write_now(disk, request);
	request->done(request);
}

static int disk_size(struct pager *pager, uint64_t *ret_bytes)
{
	struct disk *disk = disk_of(pager);
	int error = fails(disk, FAULT_READ);

	if (error == 0)
		*ret_bytes = disk->size;
	return -error;
}

static int disk_resize(struct pager *pager, uint64_t bytes)
{
	struct disk *disk = disk_of(pager);
	int error = fails(disk, FAULT_RESIZE);
	struct event *event;

	if (error != 0)
		return -error;
	if (bytes > DISK_MAX)
		return -EFBIG;
	event = note(disk, EVENT_RESIZE);
	set_size(disk, bytes);
	if (event != NULL)
		event->size_after = disk->size;
	return 0;
}

static int disk_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	(void)pager;
	(void)offset;
	(void)len;
	return -EOPNOTSUPP;
}

static void disk_close(struct pager *pager)
{
	/* The journal leaves its pagers to its caller. */
	(void)pager;
	ASSERT(!"a disk is closed by who made it");
}

static const struct pager_ops disk_ops = {
    .name = "disk",
    .size = disk_size,
    .run = disk_run,
    .submit = disk_run,
    .sync = disk_sync,
    .resize = disk_resize,
    .discard = disk_discard,
    .close = disk_close,
};

void disk_make(struct disk *disk, struct history *history, struct rng *rng)
{
	ASSERT(history->n_disks < DISKS_MAX);
	*disk = (struct disk){.pager = {.ops = &disk_ops}, .history = history, .index = history->n_disks, .rng = rng};
	history->disks[history->n_disks++] = disk;
	disk_set(disk, NULL, 0);
}

void disk_done(struct disk *disk)
{
	free(disk->bytes);
	free(disk->base);
	disk->bytes = disk->base = NULL;
}
