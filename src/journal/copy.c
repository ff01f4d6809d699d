/* SPDX-License-Identifier: MIT */
/*
 * copy.c - versions of pages go from the journal into the file, many transfers under way
 *
 *      log ── read, in the order of the log ──▶ in ── checked, sorted ──▶ out ── written, in the order of the file ──▶ file
 *
 * Batch by batch, in the order of the file: while one is written, the next is read. What lies together in the log is one read, what lies
 * together in the file one write. The bytes are copied once in between, for the two orders: a commit of scattered pages has them in the order of
 * the file, so that what a batch takes of it lies together, though no two of its pages do in the file.
 */
#include "journal/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/internal.h"
#include "util/fail.h"
#include "util/message.h"

#define RUN_MOST   256 /* pages of one transfer */
#define RUNS_LEAST 4   /* that a batch is made of, if it is all in one piece: so many can be under way */

/* One direction: the pages of a batch, and what is under way. */
struct side {
	struct pager *pager;
	enum pager_op op;
	char *memory;
	struct pager_request *requests;
	_Atomic uint32_t pending; /* futex: transfers, and whoever starts them */
	_Atomic int error;        /* errno, of the first that failed */
};

/* Where the bytes of a page of the batch come from, and which of it it is. */
struct source {
	uint32_t block;
	uint32_t index;
};

struct copier {
	struct journal *journal;
	unsigned room; /* pages of a batch */
	unsigned run;  /* most pages of a transfer */
	struct side in, out;
	struct source *sources; /* of the batch that is read, in the order of the log: as it lies in in.memory */
};

/* ---- making one ---- */

static bool side_make(struct side *side, struct pager *pager, enum pager_op op, unsigned room, size_t block_bytes)
{
	side->pager = pager;
	side->op = op;
	side->memory = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(block_bytes, room * block_bytes);
	side->requests = fail_now(FAIL_ALLOC) ? NULL : malloc(room * sizeof(*side->requests));
	return side->memory && side->requests;
}

struct copier *copier_new(struct journal *journal)
{
	struct copier *copier = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*copier));
	bool made;

	if (!copier)
		return NULL;
	copier->journal = journal;
	copier->room = journal->settings.copy_pages / 2;
	copier->run = copier->room / RUNS_LEAST < RUN_MOST ? copier->room / RUNS_LEAST : RUN_MOST;
	copier->run = copier->run > 0 ? copier->run : 1;
	made = side_make(&copier->in, journal->log, PAGER_READ, copier->room, journal->block_bytes);
	made &= side_make(&copier->out, journal->file, PAGER_WRITE, copier->room, journal->block_bytes);
	copier->sources = fail_now(FAIL_ALLOC) ? NULL : malloc(copier->room * sizeof(*copier->sources));
	if (made && copier->sources)
		return copier;
	copier_free(copier);
	return NULL;
}

void copier_free(struct copier *copier)
{
	if (!copier)
		return;
	free(copier->in.memory);
	free(copier->in.requests);
	free(copier->out.memory);
	free(copier->out.requests);
	free(copier->sources);
	free(copier);
}

/* ---- transfers ---- */

/* After the last, who waits may free all of it. */
static void side_end(struct side *side)
{
	if (atomic_fetch_sub(&side->pending, 1) == 1)
		futex_wake_all(&side->pending);
}

static void side_done(struct pager_request *request)
{
	struct side *side = request->owner;
	int none = 0;

	if (request->ret_error || request->ret_bytes != request->len)
		atomic_compare_exchange_strong(&side->error, &none, request->ret_error ? request->ret_error : EIO);
	side_end(side);
}

static void side_begin(struct side *side)
{
	atomic_store(&side->pending, 1);
}

/* The n-th of a batch. at: page of the memory. */
static void side_start(struct side *side, unsigned n, uint64_t offset, unsigned at, size_t len, size_t block_bytes)
{
	struct pager_request *request = &side->requests[n];

	*request = (struct pager_request){
	    .op = side->op,
	    .offset = offset,
	    .len = len,
	    .buf = side->memory + at * block_bytes,
	    .done = side_done,
	    .owner = side,
	};
	atomic_fetch_add(&side->pending, 1);
	side->pager->ops->submit(side->pager, request);
}

/* Until nothing is under way. 0; -errno: something failed. */
static int side_wait(struct side *side)
{
	uint32_t left;

	while ((left = atomic_load(&side->pending)) > 0)
		futex_wait(&side->pending, left, NULL);
	return -atomic_load(&side->error);
}

/* ---- one batch ---- */

static int compare_blocks(const void *a, const void *b)
{
	uint32_t x = ((const struct source *)a)->block, y = ((const struct source *)b)->block;

	return x < y ? -1 : x > y;
}

static void read_batch(struct copier *copier, const struct copy *copies, unsigned n)
{
	size_t block_bytes = copier->journal->block_bytes;
	struct source *sources = copier->sources;
	unsigned started = 0;

	for (unsigned i = 0; i < n; i++)
		sources[i] = (struct source){copies[i].block, i};
	if (n > 1)
		qsort(sources, n, sizeof(*sources), compare_blocks);
	side_begin(&copier->in);
	for (unsigned i = 0, run; i < n; i += run) {
		for (run = 1; i + run < n && run < copier->run && sources[i + run].block == sources[i].block + run;)
			run++;
		side_start(&copier->in, started++, sources[i].block * (uint64_t)block_bytes, i, run * block_bytes, block_bytes);
	}
	side_end(&copier->in);
}

/* What was read goes to where it is written from, if it is what was once written there. 0 or -EIO. */
static int turn_batch(struct copier *copier, const struct copy *copies, unsigned n)
{
	struct journal *journal = copier->journal;
	size_t block_bytes = journal->block_bytes;

	for (unsigned i = 0; i < n; i++) {
		const struct source *source = &copier->sources[i];
		const char *bytes = copier->in.memory + i * block_bytes;
		uint64_t page = copies[source->index].page;

		if (journal_page_checksum(journal->header.salt, page, bytes, block_bytes) !=
		    journal->versions[source->block].checksum)
			return message_set(EIO, "page %llu in the journal is not what was written there", (unsigned long long)page);
		memcpy(copier->out.memory + source->index * block_bytes, bytes, block_bytes);
	}
	return 0;
}

static void write_batch(struct copier *copier, const struct copy *copies, unsigned n, uint64_t file_bytes)
{
	size_t block_bytes = copier->journal->block_bytes;
	unsigned started = 0;

	side_begin(&copier->out);
	for (unsigned i = 0, run; i < n; i += run) {
		uint64_t offset = copies[i].page << page_shift;
		size_t len;

		for (run = 1; i + run < n && run < copier->run && copies[i + run].page == copies[i].page + run;)
			run++;
		len = run * block_bytes;
		if (len > file_bytes - offset)
			len = (size_t)(file_bytes - offset);
		side_start(&copier->out, started++, offset, i, len, block_bytes);
	}
	side_end(&copier->out);
}

/* ---- all of it ---- */

static unsigned batch_of(const struct copier *copier, size_t left)
{
	return left < copier->room ? (unsigned)left : copier->room;
}

int copier_run(struct copier *copier, const struct copy *copies, size_t n, uint64_t file_bytes)
{
	unsigned now, next = batch_of(copier, n);
	int r, written;

	atomic_store(&copier->in.error, 0);
	atomic_store(&copier->out.error, 0);
	if (next > 0)
		read_batch(copier, copies, next);
	while ((now = next) > 0) {
		r = side_wait(&copier->in);
		written = side_wait(&copier->out);
		if (r == 0)
			r = written;
		if (r == 0)
			r = turn_batch(copier, copies, now);
		if (r < 0)
			return r;
		n -= now;
		next = batch_of(copier, n);
		if (next > 0)
			read_batch(copier, copies + now, next);
		write_batch(copier, copies, now, file_bytes);
		copies += now;
	}
	return side_wait(&copier->out);
}
