/* SPDX-License-Identifier: MIT */
/*
 * durable.c - records in a mapped file, by Quire and by the kernel, and the pages alone, as a disk would have them
 */
#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a mapping of a file ---- */

struct mapped {
	const struct bench *b;
	const struct bench_side *side;
	const char *file;
	int fd, direct;
	uint64_t size;
	volatile uint64_t *p;
};

static void *mapped_open(const struct bench *b, const struct bench_side *side, const char *file, uint64_t records, int flags,
			 int advice)
{
	struct mapped *m = bench_alloc(b, 1, sizeof(*m));

	*m = (struct mapped){.b = b, .side = side, .file = file, .size = records * BENCH_PAGE};
	m->fd = bench_named(b, file, m->size);
	m->direct = bench_direct(b, m->fd, 0);
	bench_drop(b, m->fd, m->size);
	m->p = bench_map(b, side, m->size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, m->fd);
	bench_advise(b, side, (void *)m->p, m->size, advice);
	return m;
}

static void *quire_open_records(const struct bench *b, uint64_t records, unsigned most, bool settled)
{
	(void)most, (void)settled;
	return mapped_open(b, &bench_quire, "commit-quire.bin", records, QUIRE_MAP_ATOMIC, MADV_RANDOM);
}

static void *kernel_open(const struct bench *b, uint64_t records, unsigned most, bool settled)
{
	(void)most, (void)settled;
	return mapped_open(b, &bench_kernel, "commit-random.bin", records, 0, MADV_RANDOM);
}

static void *kernel_default_open(const struct bench *b, uint64_t records, unsigned most, bool settled)
{
	(void)most, (void)settled;
	return mapped_open(b, &bench_kernel, "commit-kernel.bin", records, 0, MADV_NORMAL);
}

static void mapped_change(void *state, uint64_t record, uint64_t word)
{
	struct mapped *m = state;

	m->p[record * BENCH_WORDS] = word;
}

static void mapped_commit(void *state)
{
	struct mapped *m = state;

	bench_sync(m->b, m->side, (void *)m->p, m->size);
}

static uint64_t mapped_stored(void *state, uint64_t record)
{
	struct mapped *m = state;
	uint64_t *page = bench_buffer(m->b, BENCH_PAGE), word;

	if (pread(m->direct, page, BENCH_PAGE, (off_t)(record * BENCH_PAGE)) != BENCH_PAGE)
		bench_stop(m->b, "%s: reading page %" PRIu64 ": %s", m->file, record, strerror(errno));
	word = *page;
	free(page);
	return word;
}

static void mapped_close(void *state)
{
	struct mapped *m = state;

	bench_unmap(m->b, m->side, (void *)m->p, m->size);
	close(m->direct);
	close(m->fd);
	bench_remove(m->b, m->file);
	free(m);
}

/* Commits are in the journal; the file, which is what is compared, has them when they have been copied there. */
static void quire_settle(void *state)
{
	struct mapped *m = state;

	if (quire_checkpoint(m->fd) != 0)
		bench_stop(m->b, "%s", quire_errormsg());
}

const struct durable durable_quire = {"Quire",      quire_open_records, mapped_change, mapped_commit,
				      quire_settle, mapped_stored,      mapped_close};
const struct durable durable_kernel = {"kernel, MADV_RANDOM", kernel_open, mapped_change, mapped_commit, NULL,
				       mapped_stored,         mapped_close};
const struct durable durable_kernel_default = {"kernel, default", kernel_default_open, mapped_change, mapped_commit, NULL,
					       mapped_stored,     mapped_close};

/* ---- the pages alone ---- */

struct raw {
	const struct bench *b;
	int direct;
	uint64_t *buffer;
	uint64_t *record; /* of each page in it */
	unsigned count;   /* since the last commit */
	unsigned done;    /* of that one */
	unsigned most;
};

static void *raw_open(const struct bench *b, uint64_t records, unsigned most, bool settled)
{
	struct raw *raw = bench_alloc(b, 1, sizeof(*raw));
	uint64_t size = ((uint64_t)most * BENCH_PAGE + MIB - 1) / MIB * MIB;
	int fd = bench_named(b, "commit-raw.bin", size);

	(void)records, (void)settled;
	*raw = (struct raw){.b = b, .direct = bench_direct(b, fd, O_RDWR), .most = most};
	close(fd);
	raw->buffer = bench_buffer(b, (size_t)most * BENCH_PAGE);
	raw->record = bench_alloc(b, most, sizeof(*raw->record));
	return raw;
}

static void raw_change(void *state, uint64_t record, uint64_t word)
{
	struct raw *raw = state;

	if (raw->count == raw->most)
		bench_stop(raw->b, "raw: more than %u pages", raw->most);
	raw->record[raw->count] = record;
	raw->buffer[raw->count++ * BENCH_WORDS] = word;
}

static void raw_commit(void *state)
{
	struct raw *raw = state;
	ssize_t bytes = (ssize_t)raw->count * BENCH_PAGE;

	if (pwrite(raw->direct, raw->buffer, (size_t)bytes, 0) != bytes || fdatasync(raw->direct) != 0)
		bench_stop(raw->b, "raw: writing %zd bytes: %s", bytes, strerror(errno));
	raw->done = raw->count;
	raw->count = 0;
}

static uint64_t raw_stored(void *state, uint64_t record)
{
	struct raw *raw = state;
	uint64_t *page = bench_buffer(raw->b, BENCH_PAGE), word;
	unsigned at = 0;

	while (at < raw->done && raw->record[at] != record)
		at++;
	if (pread(raw->direct, page, BENCH_PAGE, (off_t)at * BENCH_PAGE) != BENCH_PAGE)
		bench_stop(raw->b, "raw: reading page %u: %s", at, strerror(errno));
	word = *page;
	free(page);
	return word;
}

static void raw_close(void *state)
{
	struct raw *raw = state;

	close(raw->direct);
	bench_remove(raw->b, "commit-raw.bin");
	free(raw->buffer);
	free(raw->record);
	free(raw);
}

const struct durable durable_raw = {"raw", raw_open, raw_change, raw_commit, NULL, raw_stored, raw_close};
