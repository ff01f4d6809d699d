/* SPDX-License-Identifier: MIT */
/*
 * index.c - which block of the journal has which version of a page
 *
 * One record a block, in an array that is as long as the journal may get, and takes memory only where it was used. Versions with the
 * same hash of their page are a list through the records, in no order: the one with the highest commit not above the limit is looked
 * for, which with few versions a page costs no more than an order would. What is spilled and uncommitted is in a treap by page as well,
 * through the same records, since rollback and commit ask for ranges. So nothing here is ever allocated.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "journal/internal.h"
#include "util/fail.h"

static struct version *version_of(struct journal *journal, uint32_t block)
{
	return &journal->versions[block];
}

static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint32_t *head_of(struct journal *journal, uint64_t page)
{
	return &journal->heads[page * 0x9e3779b97f4a7c15 >> journal->heads_shift];
}

static void *map_zeros(size_t bytes)
{
	void *map = fail_now(FAIL_MAP)
			? MAP_FAILED
			: mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

int index_create(struct journal *journal, uint64_t n_blocks)
{
	unsigned bits = 4;

	while ((uint64_t)1 << (bits + 1) < n_blocks)
		bits++;
	journal->n_blocks = n_blocks;
	journal->heads_shift = 64 - bits;
	journal->heads = map_zeros(sizeof(*journal->heads) << bits);
	journal->versions = map_zeros(n_blocks * sizeof(*journal->versions));
	return journal->heads && journal->versions ? 0 : -ENOMEM;
}

int index_resize(struct journal *journal, uint64_t n_blocks)
{
	void *map = fail_now(FAIL_MAP) ? MAP_FAILED
				       : mremap(journal->versions, journal->n_blocks * sizeof(*journal->versions),
						n_blocks * sizeof(*journal->versions), MREMAP_MAYMOVE);

	if (map == MAP_FAILED)
		return -ENOMEM;
	journal->versions = map;
	journal->n_blocks = n_blocks;
	return 0;
}

void index_destroy(struct journal *journal)
{
	if (journal->heads)
		munmap(journal->heads, sizeof(*journal->heads) << (64 - journal->heads_shift));
	if (journal->versions)
		munmap(journal->versions, journal->n_blocks * sizeof(*journal->versions));
	cuts_free(journal->cuts);
}

/* ---- finding ---- */

uint32_t index_find(struct journal *journal, uint64_t page, uint64_t limit)
{
	uint32_t found = 0;

	INVARIANT(lock_is_held(&journal->lock));
	for (uint32_t block = *head_of(journal, page); block; block = version_of(journal, block)->next) {
		struct version *version = version_of(journal, block);

		if (version->page == page && version->commit > journal->complete && version->commit <= limit &&
		    (!found || version->commit > version_of(journal, found)->commit))
			found = block;
	}
	return found;
}

bool index_is_cut(struct journal *journal, uint64_t page, uint64_t commit, uint64_t limit)
{
	uint64_t offset = page << page_shift;

	if (commit < journal->complete)
		commit = journal->complete;
	/* What the commit that is being put together has was spilled after the size was set. */
	if (limit >= COMMIT_NONE && commit <= journal->handed && offset >= journal->least_bytes)
		return true;
	for (struct cut *cut = journal->cuts; cut && cut->commit > commit; cut = cut->next)
		if (cut->commit <= limit && offset >= cut->least_bytes)
			return true;
	return false;
}

void index_insert(struct journal *journal, uint32_t block)
{
	uint32_t *head = head_of(journal, version_of(journal, block)->page);

	version_of(journal, block)->next = *head;
	*head = block;
}

void index_remove(struct journal *journal, uint32_t block)
{
	uint32_t *link = head_of(journal, version_of(journal, block)->page);

	while (*link != block) {
		ASSERT(*link != 0);
		link = &version_of(journal, *link)->next;
	}
	*link = version_of(journal, block)->next;
}

/* ---- blocks ---- */

void version_take(struct journal *journal, uint32_t block, uint64_t page, enum version_state state)
{
	struct version *version = version_of(journal, block);
	struct segment *segment = segment_of(journal, block);

	ASSERT(version->state == VERSION_FREE && version->readers == 0);
	*version = (struct version){.page = page, .state = (uint8_t)state};
	segment->live++;
	journal->spill_live += segment->kind == SEGMENT_SPILL;
}

void version_free(struct journal *journal, uint32_t block, uint64_t commit)
{
	struct version *version = version_of(journal, block);
	struct segment *segment = segment_of(journal, block);

	ASSERT(version->state != VERSION_FREE && segment->live > 0);
	version->state = VERSION_FREE;
	version->commit = commit;
	segment->live--;
	segment->barren = false;
	journal->spill_live -= segment->kind == SEGMENT_SPILL;
	if (segment->last_commit < commit)
		segment->last_commit = commit;
	space_try_free(journal, (uint32_t)(segment - journal->segments));
}

void version_pin(struct journal *journal, uint32_t block, unsigned n)
{
	segment_of(journal, block)->readers += n;
	for (unsigned i = 0; i < n; i++) {
		ASSERT(version_of(journal, block + i)->readers < UINT16_MAX);
		version_of(journal, block + i)->readers++;
	}
}

void version_unpin(struct journal *journal, uint32_t block, unsigned n)
{
	struct segment *segment = segment_of(journal, block);
	bool last;

	lock_acquire(&journal->lock);
	for (unsigned i = 0; i < n; i++)
		version_of(journal, block + i)->readers--;
	segment->readers -= n;
	segment->barren = false;
	last = segment->readers == 0;
	if (last)
		space_try_free(journal, (uint32_t)(segment - journal->segments));
	lock_release(&journal->lock);
	if (last)
		journal_wake(journal);
}

/* ---- the tree of what is spilled ---- */

static uint64_t rank_of(struct journal *journal, uint32_t block)
{
	return scramble(version_of(journal, block)->page + 0x9e3779b97f4a7c15);
}

bool version_is_suspect(const struct journal *journal, const struct version *version)
{
	return version->commit != (COMMIT_NONE | journal->failures);
}

void spilled_enter(struct journal *journal, uint32_t block)
{
	struct version *version = version_of(journal, block);
	uint32_t *link = &journal->spilled, *left = &version->left, *right = &version->right, rest;

	ASSERT(version->state == VERSION_SPILLED && version->commit >= COMMIT_NONE);
	while (*link && rank_of(journal, *link) >= rank_of(journal, block)) {
		ASSERT(version_of(journal, *link)->page != version->page);
		link = version->page < version_of(journal, *link)->page ? &version_of(journal, *link)->left
									: &version_of(journal, *link)->right;
	}
	rest = *link;
	*link = block;
	/* What was there is split by the page: the smaller ones hang from the left, the others from the right. */
	while (rest) {
		uint32_t **side = version_of(journal, rest)->page < version->page ? &left : &right;

		**side = rest;
		*side = side == &left ? &version_of(journal, rest)->right : &version_of(journal, rest)->left;
		rest = **side;
	}
	*left = *right = 0;
	journal->n_spilled++;
	journal->n_suspect += version_is_suspect(journal, version);
}

void spilled_leave(struct journal *journal, uint32_t block)
{
	uint32_t *link = &journal->spilled, left, right;
	struct version *version = version_of(journal, block);

	while (*link != block) {
		ASSERT(*link != 0);
		link = version->page < version_of(journal, *link)->page ? &version_of(journal, *link)->left
									: &version_of(journal, *link)->right;
	}
	left = version->left;
	right = version->right;
	while (left && right) {
		if (rank_of(journal, left) >= rank_of(journal, right)) {
			*link = left;
			link = &version_of(journal, left)->right;
			left = *link;
		} else {
			*link = right;
			link = &version_of(journal, right)->left;
			right = *link;
		}
	}
	*link = left ? left : right;
	version->left = version->right = 0;
	journal->n_spilled--;
	journal->n_suspect -= version_is_suspect(journal, version);
}

uint32_t spilled_next(struct journal *journal, uint64_t page)
{
	uint32_t found = 0;

	for (uint32_t at = journal->spilled; at;) {
		if (version_of(journal, at)->page >= page) {
			found = at;
			at = version_of(journal, at)->left;
		} else {
			at = version_of(journal, at)->right;
		}
	}
	return found;
}

void spilled_drop(struct journal *journal, uint32_t block)
{
	spilled_leave(journal, block);
	index_remove(journal, block);
	version_free(journal, block, version_of(journal, block)->named ? journal->last + 1 : 0);
}

/* ---- taking out what is not needed ---- */

/* Whether somebody reads the file as of a commit from `from` to before `to`. */
static bool is_read_between(const struct journal *journal, uint64_t from, uint64_t to)
{
	if (journal->checkpoint >= from && journal->checkpoint < to)
		return true;
	for (const struct snapshot *snapshot = journal->snapshots; snapshot; snapshot = snapshot->next)
		if (snapshot->commit >= from && snapshot->commit < to)
			return true;
	return false;
}

/*
 * The commit that has the next version of a page after one; 0: there is none that counts. One that is being entered does not yet: a
 * snapshot that is made now does not read it.
 */
static uint64_t commit_after(struct journal *journal, uint64_t page, uint64_t commit)
{
	uint64_t after = 0;

	for (uint32_t block = *head_of(journal, page); block; block = version_of(journal, block)->next) {
		const struct version *version = version_of(journal, block);

		if (version->page == page && version->state == VERSION_COMMITTED && version->commit > commit &&
		    version->commit <= journal->last && (after == 0 || version->commit < after))
			after = version->commit;
	}
	return after;
}

void index_prune(struct journal *journal, uint64_t page)
{
	uint32_t next;

	for (uint32_t block = *head_of(journal, page); block; block = next) {
		struct version *version = version_of(journal, block);
		uint64_t after;

		next = version->next;
		if (version->page != page || version->state != VERSION_COMMITTED)
			continue;
		after = commit_after(journal, page, version->commit);
		if (after == 0)
			continue;
		if (is_read_between(journal, version->commit, after)) {
			journal->kept++;
			continue;
		}
		index_remove(journal, block);
		version_free(journal, block, version->commit);
	}
}

/* Calls something for all committed versions, with the lock held for a segment at a time. */
static void for_each_committed(struct journal *journal, void (*call)(struct journal *journal, uint32_t block, uint64_t arg),
			       uint64_t arg)
{
	for (uint32_t i = 0; i < journal->n_segments; i++) {
		lock_acquire(&journal->lock);
		for (uint32_t j = 0; j < journal->settings.segment_blocks && journal->segments[i].live > 0; j++)
			if (version_of(journal, segment_first(journal, i) + j)->state == VERSION_COMMITTED)
				call(journal, segment_first(journal, i) + j, arg);
		lock_release(&journal->lock);
	}
}

/* All of a page at once: its list is in hand. */
static void complete_one(struct journal *journal, uint32_t block, uint64_t commit)
{
	uint64_t page = version_of(journal, block)->page;
	uint32_t next;

	for (block = *head_of(journal, page); block; block = next) {
		struct version *version = version_of(journal, block);

		next = version->next;
		if (version->page != page || version->state != VERSION_COMMITTED || version->commit > commit)
			continue;
		index_remove(journal, block);
		version_free(journal, block, version->commit);
	}
}

void index_complete(struct journal *journal, uint64_t commit)
{
	for_each_committed(journal, complete_one, commit);
}

static void sweep_one(struct journal *journal, uint32_t block, uint64_t arg)
{
	(void)arg;
	index_prune(journal, version_of(journal, block)->page);
}

void index_sweep(struct journal *journal)
{
	bool any;

	lock_acquire(&journal->lock);
	any = journal->kept > 0;
	journal->kept = 0;
	lock_release(&journal->lock);
	if (any)
		for_each_committed(journal, sweep_one, 0);
}

/* ---- sizes ---- */

struct cut *cuts_take(struct journal *journal, uint64_t commit)
{
	struct cut **link = &journal->cuts, *taken;

	while (*link && (*link)->commit > commit)
		link = &(*link)->next;
	taken = *link;
	*link = NULL;
	return taken;
}

struct cut *cut_take(struct journal *journal, uint64_t commit)
{
	struct cut **link = &journal->cuts, *taken;

	while (*link && (*link)->commit > commit)
		link = &(*link)->next;
	taken = *link;
	ASSERT(taken && taken->commit == commit);
	*link = taken->next;
	return taken;
}

void cuts_free(struct cut *cut)
{
	while (cut) {
		struct cut *next = cut->next;

		free(cut);
		cut = next;
	}
}
