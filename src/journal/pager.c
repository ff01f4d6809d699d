/* SPDX-License-Identifier: MIT */
/*
 * pager.c - the journal as a pager: reads from where the versions are, writes that spill
 *
 * A transfer is made of pieces, each one transfer of the file or the journal, or zeros: a read breaks where the place of the next page
 * does not follow on that of the one before, a spill where no contiguous blocks are free. Submitted, all pieces are under way at once; the
 * last to end ends the transfer. Pieces are of the arena, since this may be the fault path.
 *
 * What is read from the journal is pinned from the moment it was looked up, so that its blocks are not written to meanwhile, and is
 * compared with its checksum before anybody sees it.
 */
#include <errno.h>
#include <string.h>

#include "journal/internal.h"

/* A transfer of the object's. */
struct transfer {
	struct journal *journal;
	struct pager_request *request;
	_Atomic uint32_t pending; /* pieces, and whoever starts them */
	_Atomic int error;        /* errno, the first */
	size_t bytes;             /* what is told to have been transferred */
	bool here;
};

struct spill {
	struct pager_request request;
	struct transfer *transfer;
	struct spill *next, **link; /* those under way [lock] */
	uint64_t page;
	uint32_t block; /* 0: of the file */
	unsigned pages;
	uint64_t failures;
};

static struct journal *journal_of(struct pager *pager)
{
	return (struct journal *)pager;
}

static void transfer_end(struct transfer *transfer)
{
	struct pager_request *request = transfer->request;

	if (atomic_fetch_sub(&transfer->pending, 1) > 1)
		return;
	request->ret_error = atomic_load(&transfer->error);
	request->ret_bytes = request->ret_error ? 0 : transfer->bytes;
	arena_free(transfer->journal->settings.arena, transfer, sizeof(*transfer));
	request->done(request);
}

static void transfer_fail(struct transfer *transfer, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&transfer->error, &none, error);
}

static struct transfer *transfer_begin(struct journal *journal, struct pager_request *request, bool here)
{
	struct transfer *transfer = arena_alloc(journal->settings.arena, sizeof(*transfer));

	if (!transfer) {
		request->ret_error = ENOMEM;
		request->ret_bytes = 0;
		request->done(request);
		return NULL;
	}
	transfer->journal = journal;
	transfer->request = request;
	transfer->here = here;
	transfer->bytes = request->len;
	atomic_store(&transfer->pending, 1);
	return transfer;
}

static struct spill *piece_new(struct transfer *transfer)
{
	struct spill *piece = arena_alloc(transfer->journal->settings.arena, sizeof(*piece));

	if (piece)
		piece->transfer = transfer;
	else
		transfer_fail(transfer, ENOMEM);
	return piece;
}

static void piece_free(struct spill *piece)
{
	arena_free(piece->transfer->journal->settings.arena, piece, sizeof(*piece));
}

static void piece_start(struct spill *piece, struct pager *pager, enum pager_op op, uint64_t offset, char *buf,
			void (*done)(struct pager_request *request))
{
	struct transfer *transfer = piece->transfer;

	piece->request = (struct pager_request){
	    .op = op,
	    .offset = offset,
	    .len = piece->pages * transfer->journal->block_bytes,
	    .buf = buf,
	    .done = done,
	    .owner = piece,
	};
	atomic_fetch_add(&transfer->pending, 1);
	if (transfer->here)
		pager->ops->run(pager, &piece->request);
	else
		pager->ops->submit(pager, &piece->request);
}

/* ---- reading ---- */

static bool is_right(struct journal *journal, const struct spill *piece)
{
	const char *bytes = piece->request.buf;

	for (unsigned i = 0; i < piece->pages; i++)
		if (journal_page_checksum(journal->header.salt, piece->page + i, bytes + i * journal->block_bytes,
					  journal->block_bytes) != journal->versions[piece->block + i].checksum)
			return false;
	return true;
}

static void journal_piece_done(struct pager_request *request)
{
	struct spill *piece = request->owner;
	struct transfer *transfer = piece->transfer;

	if (request->ret_error)
		transfer_fail(transfer, request->ret_error);
	else if (request->ret_bytes != request->len || !is_right(transfer->journal, piece))
		transfer_fail(transfer, EIO);
	version_unpin(transfer->journal, piece->block, piece->pages);
	piece_free(piece);
	transfer_end(transfer);
}

/* The file may end earlier than what is committed does. */
static void file_piece_done(struct pager_request *request)
{
	struct spill *piece = request->owner;
	struct transfer *transfer = piece->transfer;

	if (request->ret_error)
		transfer_fail(transfer, request->ret_error);
	else if (request->ret_bytes < request->len)
		memset((char *)request->buf + request->ret_bytes, 0, request->len - request->ret_bytes);
	piece_free(piece);
	transfer_end(transfer);
}

enum where { IN_FILE, IN_JOURNAL, ZEROS };

/* lock held. */
static enum where look_up(struct journal *journal, uint64_t page, uint64_t limit, uint32_t *ret_block)
{
	uint32_t block = index_find(journal, page, limit);

	*ret_block = block;
	if (index_is_cut(journal, page, block ? journal->versions[block].commit : 0, limit))
		return ZEROS;
	return block ? IN_JOURNAL : IN_FILE;
}

/* lock held. How many pages, of at most so many, are in one place; what is in the journal is pinned. */
static unsigned find_run(struct journal *journal, uint64_t page, unsigned most, uint64_t limit, enum where *ret_where,
			 uint32_t *ret_block)
{
	unsigned n = 1;

	*ret_where = look_up(journal, page, limit, ret_block);
	for (; n < most; n++) {
		uint32_t block;

		if (look_up(journal, page + n, limit, &block) != *ret_where)
			break;
		if (*ret_where == IN_JOURNAL &&
		    (block != *ret_block + n || segment_of(journal, block) != segment_of(journal, *ret_block)))
			break;
	}
	if (*ret_where == IN_JOURNAL)
		version_pin(journal, *ret_block, n);
	return n;
}

/* Returns the pages that it is about. */
static unsigned read_piece(struct transfer *transfer, uint64_t page, unsigned most, char *buf, uint64_t limit)
{
	struct journal *journal = transfer->journal;
	struct spill *piece = piece_new(transfer);
	enum where where;
	uint32_t block;
	unsigned n;

	if (!piece)
		return most;
	lock_acquire(&journal->lock);
	n = find_run(journal, page, most, limit, &where, &block);
	lock_release(&journal->lock);
	piece->page = page;
	piece->pages = n;
	if (where == ZEROS) {
		memset(buf, 0, n * journal->block_bytes);
		piece_free(piece);
	} else if (where == IN_FILE) {
		piece_start(piece, journal->file, PAGER_READ, page << page_shift, buf, file_piece_done);
	} else {
		piece->block = block;
		piece_start(piece, journal->log, PAGER_READ, block * (uint64_t)journal->block_bytes, buf, journal_piece_done);
	}
	return n;
}

void pager_read(struct journal *journal, struct pager_request *request, bool here, uint64_t limit, uint64_t bytes)
{
	struct transfer *transfer = transfer_begin(journal, request, here);
	uint64_t page = request->offset >> page_shift, left = request->offset < bytes ? bytes - request->offset : 0;
	unsigned pages = (unsigned)(request->len >> page_shift);

	if (!transfer)
		return;
	if (transfer->bytes > left)
		transfer->bytes = (size_t)left;
	/* Past the end there is nothing to be looked for. */
	if (pages > pages_of(left)) {
		unsigned whole = (unsigned)pages_of(left);

		memset((char *)request->buf + whole * journal->block_bytes, 0, (pages - whole) * journal->block_bytes);
		pages = whole;
	}
	for (unsigned i = 0; i < pages;)
		i += read_piece(transfer, page + i, pages - i, (char *)request->buf + i * journal->block_bytes, limit);
	transfer_end(transfer);
}

/* ---- spilling ---- */

/* lock held. What was written counts as the newest version of its page, or, after a failure, as nothing. */
static void enter_spilled(struct journal *journal, const struct spill *piece, unsigned i, bool failed)
{
	uint32_t block = piece->block + i, older;
	struct version *version = &journal->versions[block];

	if (failed || version->forgotten) {
		version_free(journal, block, 0);
		return;
	}
	older = spilled_next(journal, version->page);
	if (older && journal->versions[older].page == version->page)
		spilled_drop(journal, older);
	version->state = VERSION_SPILLED;
	version->commit = COMMIT_NONE | piece->failures;
	index_insert(journal, block);
	spilled_enter(journal, block);
	journal->stats.spilled_pages++;
}

static void spill_done(struct pager_request *request)
{
	struct spill *piece = request->owner;
	struct transfer *transfer = piece->transfer;
	struct journal *journal = transfer->journal;

	if (request->ret_error)
		transfer_fail(transfer, request->ret_error);
	lock_acquire(&journal->lock);
	*piece->link = piece->next;
	if (piece->next)
		piece->next->link = piece->link;
	for (unsigned i = 0; i < piece->pages; i++)
		enter_spilled(journal, piece, i, request->ret_error != 0);
	lock_release(&journal->lock);
	piece_free(piece);
	transfer_end(transfer);
}

/* The pages that it is about; all that are left where there is no room. */
static unsigned spill_piece(struct transfer *transfer, uint64_t page, unsigned most, char *buf)
{
	struct journal *journal = transfer->journal;
	struct spill *piece = piece_new(transfer);
	int n;

	if (!piece)
		return most;
	lock_acquire(&journal->lock);
	n = space_spill(journal, page, most, &piece->block);
	if (n > 0) {
		piece->page = page;
		piece->pages = (unsigned)n;
		piece->failures = journal->failures;
		piece->next = journal->spills;
		piece->link = &journal->spills;
		if (piece->next)
			piece->next->link = &piece->next;
		journal->spills = piece;
	}
	lock_release(&journal->lock);
	if (n < 0) {
		transfer_fail(transfer, -n);
		piece_free(piece);
		return most;
	}
	for (int i = 0; i < n; i++)
		journal->versions[piece->block + (unsigned)i].checksum = journal_page_checksum(
		    journal->header.salt, page + (unsigned)i, buf + (unsigned)i * journal->block_bytes, journal->block_bytes);
	piece_start(piece, journal->log, PAGER_WRITE, piece->block * (uint64_t)journal->block_bytes, buf, spill_done);
	return (unsigned)n;
}

static void spill(struct journal *journal, struct pager_request *request, bool here)
{
	struct transfer *transfer = transfer_begin(journal, request, here);
	uint64_t page = request->offset >> page_shift;
	unsigned pages = (unsigned)pages_of(request->len);

	if (!transfer)
		return;
	/* Pages are kept whole. */
	memset((char *)request->buf + request->len, 0, pages * journal->block_bytes - request->len);
	for (unsigned i = 0; i < pages && atomic_load(&transfer->error) == 0;)
		i += spill_piece(transfer, page + i, pages - i, (char *)request->buf + i * journal->block_bytes);
	transfer_end(transfer);
}

void pager_forget(struct journal *journal, uint64_t first, uint64_t end)
{
	for (struct spill *piece = journal->spills; piece; piece = piece->next)
		for (unsigned i = 0; i < piece->pages; i++)
			if (piece->page + i >= first && piece->page + i < end)
				journal->versions[piece->block + i].forgotten = true;
}

/* ---- as a pager ---- */

static uint64_t size_now(struct journal *journal)
{
	uint64_t bytes;

	lock_acquire(&journal->lock);
	bytes = journal->size_bytes;
	lock_release(&journal->lock);
	return bytes;
}

static int facade_size(struct pager *pager, uint64_t *ret_bytes)
{
	*ret_bytes = size_now(journal_of(pager));
	return 0;
}

static void facade_transfer(struct pager *pager, struct pager_request *request, bool here)
{
	struct journal *journal = journal_of(pager);

	if (request->op == PAGER_READ)
		pager_read(journal, request, here, UINT64_MAX, size_now(journal));
	else
		spill(journal, request, here);
}

static void facade_run(struct pager *pager, struct pager_request *request)
{
	facade_transfer(pager, request, true);
}

static void facade_submit(struct pager *pager, struct pager_request *request)
{
	facade_transfer(pager, request, false);
}

/* Only a commit makes anything durable. */
static int facade_sync(struct pager *pager)
{
	(void)pager;
	return 0;
}

/* lock held. */
static void drop_spilled(struct journal *journal, uint64_t first, uint64_t end)
{
	uint32_t block = spilled_next(journal, first);

	while (block && journal->versions[block].page < end) {
		spilled_drop(journal, block);
		block = spilled_next(journal, first);
	}
	pager_forget(journal, first, end);
	commits_forget(journal, first, end);
}

static int facade_resize(struct pager *pager, uint64_t bytes)
{
	struct journal *journal = journal_of(pager);

	if (bytes > INT64_MAX)
		return -EFBIG;
	if (journal->settings.file.is_device)
		return -EINVAL;
	lock_acquire(&journal->lock);
	if (bytes < journal->size_bytes)
		drop_spilled(journal, pages_of(bytes), UINT64_MAX);
	journal->size_bytes = bytes;
	if (bytes < journal->least_bytes)
		journal->least_bytes = bytes;
	lock_release(&journal->lock);
	return 0;
}

static int facade_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	(void)pager;
	(void)offset;
	(void)len;
	return -EOPNOTSUPP;
}

/* The journal is the caller's, who ends it by journal_close. */
static void facade_close(struct pager *pager)
{
	(void)pager;
}

static const struct pager_ops facade_ops = {
    .name = "journal",
    .size = facade_size,
    .run = facade_run,
    .submit = facade_submit,
    .sync = facade_sync,
    .resize = facade_resize,
    .discard = facade_discard,
    .close = facade_close,
};

void pager_init(struct journal *journal)
{
	journal->pager.ops = &facade_ops;
	journal->pager.align_bytes = journal->block_bytes;
	journal->pager.steady = true;
	atomic_store(&journal->pager.direct, atomic_load(&journal->file->direct));
}

struct pager *journal_pager(struct journal *journal)
{
	return &journal->pager;
}

/* ---- rollback ---- */

bool journal_next_spilled(struct journal *journal, uint64_t first, uint64_t end, uint64_t *ret_first, uint64_t *ret_end)
{
	uint32_t block;
	uint64_t page = 0, run = 0;

	lock_acquire(&journal->lock);
	block = spilled_next(journal, first);
	if (block)
		page = journal->versions[block].page;
	while (block && page + run < end && journal->versions[block].page == page + run) {
		run++;
		block = spilled_next(journal, page + run);
	}
	lock_release(&journal->lock);
	*ret_first = page;
	*ret_end = page + run;
	return run > 0;
}

void journal_forget(struct journal *journal, uint64_t first, uint64_t end)
{
	lock_acquire(&journal->lock);
	drop_spilled(journal, first, end);
	lock_release(&journal->lock);
}

void journal_forget_size(struct journal *journal)
{
	lock_acquire(&journal->lock);
	journal->size_bytes = journal->least_bytes = journal->handed_bytes;
	lock_release(&journal->lock);
}
