/* SPDX-License-Identifier: MIT */
/*
 * journal.c - opening and closing, the header, segments made ahead
 */
#include "journal/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "journal/copy.h"
#include "journal/internal.h"
#include "journal/parties.h"
#include "util/fail.h"
#include "util/message.h"

#define LEAST_SEGMENT_BLOCKS 4
#define MADE_AHEAD           2
#define COPY_PAGES           1024
#define ZEROS                sizeof(page_of_zeros)

/* All that are open, so that those that commit together find each other. */
static struct lock journals_lock;
static struct journal *journals;

/* ---- settings ---- */

static unsigned group_pages_of(const struct journal_settings *settings)
{
	unsigned most = group_most((uint32_t)page_size());
	unsigned pages = settings->group_pages && settings->group_pages < most ? settings->group_pages : most;

	if (settings->segment_blocks && pages > settings->segment_blocks - 2)
		pages = settings->segment_blocks - 2;
	return pages;
}

static unsigned copy_pages_of(const struct journal_settings *settings)
{
	return settings->copy_pages == 0 ? COPY_PAGES : settings->copy_pages > 2 ? settings->copy_pages : 2;
}

uint64_t journal_memory_pages(const struct journal_settings *settings)
{
	unsigned groups = settings->groups > 2 ? settings->groups : 2;

	return (uint64_t)groups * (2 + group_pages_of(settings)) + copy_pages_of(settings) + 1;
}

/* For a new journal: 0 or -errno. */
static int settings_settle(struct journal_settings *settings)
{
	uint64_t segments;

	if (settings->segment_blocks == 0)
		settings->segment_blocks = (uint32_t)(JOURNAL_SEGMENT_BYTES / page_size());
	if (settings->segment_blocks < LEAST_SEGMENT_BLOCKS)
		return message_set(EINVAL, "a segment of the journal needs %d blocks at least", LEAST_SEGMENT_BLOCKS);
	segments = (settings->max_bytes / page_size() - HEADER_BLOCKS) / settings->segment_blocks;
	if (settings->max_bytes / page_size() < HEADER_BLOCKS || segments < JOURNAL_LEAST_SEGMENTS)
		return message_set(EINVAL, "a journal needs room for %d segments of %llu bytes", JOURNAL_LEAST_SEGMENTS,
				   (unsigned long long)settings->segment_blocks * page_size());
	if (segments > (UINT32_MAX - HEADER_BLOCKS) / settings->segment_blocks)
		return message_set(EINVAL, "a journal of %llu bytes is too long", (unsigned long long)settings->max_bytes);
	return 0;
}

/* ---- the header ---- */

/* header_lock held. Written, and not synced. 0 or -errno. */
static int header_put(struct journal *journal)
{
	struct journal_header *header = &journal->header;
	unsigned block = 1 - journal->header_good;

	lock_acquire(&journal->lock);
	header->durable_seq = journal->durable.seq;
	header->durable_block = journal->durable.block;
	lock_release(&journal->lock);
	header->generation++;
	header->checksum = 0;
	memset(journal->header_memory, 0, journal->block_bytes);
	memcpy(journal->header_memory, header, sizeof(*header));
	header->checksum = journal_block_checksum(header->salt, journal->header_memory, journal->block_bytes,
						  offsetof(struct journal_header, checksum));
	memcpy(journal->header_memory, header, sizeof(*header));
	return journal_write(journal->log, block * (uint64_t)journal->block_bytes, journal->header_memory, journal->block_bytes);
}

int header_write(struct journal *journal, uint64_t complete, uint64_t complete_bytes, int64_t owner, bool sync)
{
	struct journal_header *header = &journal->header, before;
	int r;

	lock_acquire(&journal->header_lock);
	before = *header;
	header->complete = complete;
	header->complete_bytes = complete_bytes;
	header->owner = owner;
	r = header_put(journal);
	if (r == 0 && sync) {
		lock_acquire(&journal->syncing);
		r = append_sync(journal);
		lock_release(&journal->syncing);
		if (r == 0)
			journal->header_good = 1 - journal->header_good;
	}
	/* Nobody knows now what a crash would find. */
	if (r < 0) {
		journal->header_unsure |= complete != before.complete;
		header->complete = before.complete;
		header->complete_bytes = before.complete_bytes;
	} else if (sync) {
		journal->header_unsure = false;
	}
	lock_release(&journal->header_lock);
	return r;
}

void header_note(struct journal *journal)
{
	/* Who is writing it says so, too. */
	if (!lock_try(&journal->header_lock))
		return;
	(void)header_put(journal);
	lock_release(&journal->header_lock);
}

int header_settle(struct journal *journal)
{
	uint64_t complete, complete_bytes;
	bool unsure;

	lock_acquire(&journal->header_lock);
	unsure = journal->header_unsure;
	complete = journal->header.complete;
	complete_bytes = journal->header.complete_bytes;
	lock_release(&journal->header_lock);
	return unsure ? header_write(journal, complete, complete_bytes, journal->settings.owner, true) : 0;
}

/* ---- opening: what the scan tells ---- */

struct opening {
	struct journal *journal;
	uint64_t commit; /* whose pages are being told */
	uint64_t bytes;  /* with the one before */
	bool sized;
	uint64_t complete_bytes;
};

static int note_cut(struct opening *opening, const struct scan_commit *commit)
{
	struct journal *journal = opening->journal;
	struct cut *cut;

	/* That of the first is not compared with the size before, which is not known yet. */
	if (opening->sized && commit->least_bytes >= opening->bytes)
		return 0;
	cut = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*cut));
	if (!cut)
		return -ENOMEM;
	*cut = (struct cut){commit->number, commit->least_bytes, journal->cuts};
	journal->cuts = cut;
	return 0;
}

static int note_decider(struct journal *journal, const struct scan_commit *commit)
{
	struct journal_party party;
	char *name;
	int r = parties_get(commit->parties, 0, &party, &name);

	if (r < 0)
		return r;
	free(name);
	journal->note = (struct note){.commit = commit->number, .unit = {commit->unit[0], commit->unit[1]}};
	memcpy(journal->note.decider, party.uuid, sizeof(party.uuid));
	return 0;
}

static int found_commit(void *arg, const struct scan_commit *commit)
{
	struct opening *opening = arg;
	int r = 0;

	/* Which segment has it is not worth knowing: all stay until it was noted. */
	if (commit->parties && !commit->prepared)
		r = unit_remember(opening->journal, commit, 0);
	if (r < 0 || commit->complete)
		return r;
	if (commit->prepared && !commit->decided)
		r = note_decider(opening->journal, commit);
	if (r == 0)
		r = note_cut(opening, commit);
	opening->commit = commit->number;
	opening->bytes = commit->file_bytes;
	opening->sized = true;
	return r;
}

/* Segments are known only afterwards. */
static int found_page(void *arg, const struct scan_page *page)
{
	struct opening *opening = arg;
	struct journal *journal = opening->journal;

	if (page->block >= journal->n_blocks || journal->versions[page->block].state != VERSION_FREE)
		return message_set(EUCLEAN, "the journal is damaged: two pages lie in one block");
	journal->versions[page->block] = (struct version){
	    .page = page->page,
	    .commit = opening->commit,
	    .checksum = page->checksum,
	    .state = VERSION_COMMITTED,
	};
	index_insert(journal, (uint32_t)page->block);
	return 0;
}

/* ---- opening: segments ---- */

static void take_log_segments(struct journal *journal, const struct scan_result *scan)
{
	for (uint64_t i = 0; i < scan->n_segments; i++) {
		const struct scan_segment *found = &scan->segments[i];
		bool newest = i + 1 == scan->n_segments;

		journal->segments[found->index] = (struct segment){
		    .kind = SEGMENT_LOG,
		    .seq = found->seq,
		    .needed_till = newest ? NEEDED_ALWAYS : scan->last,
		};
		if (newest)
			journal->end = (struct place){found->seq, scan->last, (uint32_t)found->index, found->end};
	}
	/* They are newer than the end of the log, and so stay until something still newer is durable. */
	for (uint64_t i = scan->n_segments; i < scan->n_segments + scan->n_cut; i++)
		journal->segments[scan->segments[i].index] =
		    (struct segment){.kind = SEGMENT_LOG, .seq = scan->segments[i].seq, .needed_till = 1};
	journal->durable = journal->end;
	journal->is_cut = true;
	if (scan->n_cut > 0 || journal->wiped)
		journal->stale_seq = scan->next_seq;
}

static uint32_t count_live(struct journal *journal, uint32_t segment)
{
	uint32_t live = 0;

	for (uint32_t i = 0; i < journal->settings.segment_blocks; i++)
		live += journal->versions[segment_first(journal, segment) + i].state != VERSION_FREE;
	return live;
}

static void take_segment(struct journal *journal, uint32_t index)
{
	struct segment *segment = &journal->segments[index];

	segment->live = count_live(journal, index);
	if (segment->kind == SEGMENT_LOG)
		return;
	if (segment->live > 0) {
		segment->kind = SEGMENT_SPILL;
		segment->next = journal->settings.segment_blocks;
		journal->spill_segments++;
		journal->spill_live += segment->live;
	} else if (journal->decisions && index + 1 != journal->wiped) {
		/* It may have one of them, or what leads to it. */
		*segment = (struct segment){.kind = SEGMENT_LOG, .seq = 0, .needed_till = 1};
	} else {
		segment->next_free = journal->free_list;
		journal->free_list = index + 1;
		journal->n_free_made++;
	}
}

static int segments_create(struct journal *journal, const struct scan_result *scan)
{
	uint64_t n_blocks = HEADER_BLOCKS + (uint64_t)journal->n_segments * journal->settings.segment_blocks;

	if (n_blocks > UINT32_MAX)
		return message_set(EFBIG, "the journal is too long");
	journal->segments = fail_now(FAIL_ALLOC) ? NULL : calloc(journal->n_segments, sizeof(*journal->segments));
	if (!journal->segments)
		return -ENOMEM;
	if (journal->n_blocks < n_blocks && index_resize(journal, n_blocks) < 0)
		return -ENOMEM;
	journal->made = (uint32_t)scan->file_segments;
	take_log_segments(journal, scan);
	for (uint32_t i = journal->made; i-- > 0;)
		take_segment(journal, i);
	journal->n_free = journal->n_free_made + journal->n_segments - journal->made;
	/* Of a page that several commits have, the newest is enough. */
	journal->kept = 1;
	index_sweep(journal);
	return 0;
}

/* ---- opening ---- */

static int open_fresh(struct journal *journal, uint64_t file_bytes)
{
	struct journal_header *header = &journal->header;
	int r = settings_settle(&journal->settings);

	if (r < 0)
		return r;
	journal->n_segments =
	    (uint32_t)((journal->settings.max_bytes / page_size() - HEADER_BLOCKS) / journal->settings.segment_blocks);
	*header = (struct journal_header){
	    .magic = JOURNAL_MAGIC,
	    .version = JOURNAL_VERSION,
	    .block_bytes = (uint32_t)page_size(),
	    .segment_blocks = journal->settings.segment_blocks,
	    .max_segments = journal->n_segments,
	    .file = journal->settings.file,
	};
	if (getrandom(header->uuid, sizeof(header->uuid), 0) != sizeof(header->uuid) ||
	    getrandom(&header->salt, sizeof(header->salt), 0) != sizeof(header->salt))
		return -errno;
	journal->header_good = 1;
	journal->next_seq = 1;
	journal->bytes = file_bytes;
	return segments_create(journal, &(struct scan_result){0});
}

static int open_found(struct journal *journal, struct scan_result *scan, const struct opening *opening, uint64_t file_bytes)
{
	int r;

	journal->header = scan->header;
	journal->header_good = scan->header_block;
	journal->settings.segment_blocks = scan->header.segment_blocks;
	if (scan->header.segment_blocks < LEAST_SEGMENT_BLOCKS)
		return message_set(EPROTO, "the journal has segments of %u blocks", scan->header.segment_blocks);
	journal->n_segments = scan->header.max_segments;
	journal->next_seq = scan->next_seq;
	journal->last = scan->last;
	journal->complete = scan->header.complete;
	/* With nothing to be copied the file is what it is. */
	journal->bytes = opening->sized ? opening->bytes : file_bytes;
	/* Before the index forgets what is only an older version. */
	r = renew(journal, scan);
	return r == 0 ? segments_create(journal, scan) : r;
}

static int set_up(struct journal *journal)
{
	int r;

	journal->settings.group_pages = group_pages_of(&journal->settings);
	journal->settings.copy_pages = copy_pages_of(&journal->settings);
	if (journal->settings.note_pages == 0)
		journal->settings.note_pages = journal->settings.segment_blocks;
	if (journal->settings.groups < 2)
		journal->settings.groups = 2;
	journal->handed = journal->last;
	journal->handed_bytes = journal->size_bytes = journal->least_bytes = journal->bytes;
	journal->checkpoint = UINT64_MAX;
	journal->failures = 1;
	journal->header_memory = fail_now(FAIL_ALLOC) ? NULL : aligned_alloc(journal->block_bytes, journal->block_bytes);
	r = journal->header_memory ? append_create(journal) : -ENOMEM;
	pager_init(journal);
	return r;
}

static void journal_free(struct journal *journal)
{
	unit_forget_decisions(journal);
	append_destroy(journal);
	index_destroy(journal);
	free(journal->segments);
	free(journal->header_memory);
	copier_free(journal->copier);
	free(journal->name);
	free(journal);
}

static struct journal *journal_new(struct pager *file, struct pager *log, const struct journal_settings *settings)
{
	struct journal *journal = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*journal));

	if (!journal)
		return NULL;
	journal->file = file;
	journal->log = log;
	journal->settings = *settings;
	journal->block_bytes = page_size();
	journal->checkpoint = UINT64_MAX;
	journal->name = fail_now(FAIL_ALLOC) ? NULL : strdup(settings->name ? settings->name : "-");
	if (!journal->name) {
		free(journal);
		return NULL;
	}
	return journal;
}

struct asking {
	journal_resolve *resolve;
	void *arg;
};

/* A journal that is open here knows more than its storage. */
static int ask_decider(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct asking *asking = arg;
	struct journal *decider = journal_use(party->uuid);
	int r;

	if (decider) {
		r = unit_was_decided(decider, unit, ret);
		journal_unuse(decider);
	} else {
		r = asking->resolve ? asking->resolve(asking->arg, party, name, unit, ret) : -EBUSY;
	}
	return r == -EBUSY ? message_set(EBUSY, "a commit waits for what was decided in %s", name) : r;
}

/* Scans, and makes of what was found what there is in memory. */
static int find(struct journal *journal, journal_resolve *resolve, void *arg, struct journal_report *report)
{
	struct opening opening = {.journal = journal};
	struct asking asking = {resolve, arg};
	struct scan_visitor visitor = {.arg = &opening, .commit = found_commit, .page = found_page, .with_complete = true};
	struct scan_result scan = {0};
	uint64_t file_bytes, log_bytes, most = journal->settings.max_bytes;
	int r = journal->file->ops->size(journal->file, &file_bytes);

	if (r == 0)
		r = journal->log->ops->size(journal->log, &log_bytes);
	if (r == 0)
		r = index_create(journal, (log_bytes > most ? log_bytes : most) / page_size() + HEADER_BLOCKS);
	if (r == 0)
		r = journal_scan(journal->log, &journal->settings.file, ask_decider, &asking, &visitor, report, &scan);
	if (r == 0)
		r = scan.fresh ? open_fresh(journal, file_bytes) : open_found(journal, &scan, &opening, file_bytes);
	free(scan.segments);
	return r;
}

/*
 * Segments that a crash has left behind the end of the log do not count because of what lies before them, and that is not needed any more
 * once it is complete. So the log goes on at once in a new one, which ends all that.
 */
static int go_on(struct journal *journal)
{
	int r;

	if (journal->stale_seq == 0)
		return 0;
	lock_acquire(&journal->building);
	r = append_cut_durably(journal);
	lock_release(&journal->building);
	return r;
}

int journal_open(struct pager *file, struct pager *log, const struct journal_settings *settings, journal_resolve *resolve,
		 void *arg, struct journal_report *report, struct journal **ret)
{
	struct journal *journal = journal_new(file, log, settings);
	struct journal_report unwanted;
	int r;

	if (!journal)
		return -ENOMEM;
	report = report ? report : &unwanted;
	r = find(journal, resolve, arg, report);
	if (r == 0)
		r = set_up(journal);
	/*
	 * With a sync: what was found is relied upon from here on, and may have been written by a process that ended before it could sync. And
	 * nothing is written before the header of a new one is on stable storage, or it would look like one that was damaged.
	 */
	if (r == 0)
		r = header_write(journal, journal->complete,
				 journal->last > journal->complete ? journal->header.complete_bytes : journal->bytes,
				 settings->owner, true);
	if (r == 0)
		r = go_on(journal);
	/* A log that makes its file longer is slower. */
	if (r == 0 && journal->made == 0)
		r = journal_prepare(journal);
	if (r < 0) {
		journal_free(journal);
		return r;
	}
	lock_acquire(&journals_lock);
	journal->next = journals;
	journals = journal;
	lock_release(&journals_lock);
	*ret = journal;
	return 0;
}

struct journal *journal_use(const unsigned char uuid[16])
{
	struct journal *journal;

	lock_acquire(&journals_lock);
	for (journal = journals; journal; journal = journal->next)
		if (memcmp(journal->header.uuid, uuid, sizeof(journal->header.uuid)) == 0) {
			atomic_fetch_add(&journal->users, 1);
			break;
		}
	lock_release(&journals_lock);
	return journal;
}

void journal_unuse(struct journal *journal)
{
	if (atomic_fetch_sub(&journal->users, 1) == 1)
		futex_wake_all(&journal->users);
}

/* ---- closing ---- */

/* Nobody finds it any more, and who has found it has gone. */
static void leave_list(struct journal *journal)
{
	uint32_t users;

	lock_acquire(&journals_lock);
	for (struct journal **link = &journals; *link; link = &(*link)->next)
		if (*link == journal) {
			*link = journal->next;
			break;
		}
	for (struct journal *other = journals; other; other = other->next)
		unit_decider_ends(journal, other);
	lock_release(&journals_lock);
	while ((users = atomic_load(&journal->users)) != 0)
		futex_wait(&journal->users, users, NULL);
}

/* What was handed over ends, and what was given up is made sure not to count after all. */
static int settle(struct journal *journal)
{
	commit_enter(journal);
	append_settle(journal, NULL);
	append_restart(journal);
	(void)unit_settle_uncertain(journal);
	append_note(journal);
	append_settle(journal, NULL);
	unit_ask_noted(journal);
	return journal->uncertain ? -EIO : append_cut_durably(journal);
}

int journal_close(struct journal *journal, bool complete, bool *ret_empty)
{
	int settled = settle(journal);
	int r = complete ? journal_checkpoint(journal) : 0;
	bool empty = settled == 0 && journal->last == journal->complete && !journal->decisions;

	if (r == 0)
		r = settled;
	if (r == 0)
		r = header_write(journal, journal->complete,
				 journal->last > journal->complete ? journal->header.complete_bytes : journal->bytes, 0, false);
	leave_list(journal);
	unit_unref(journal->uncertain);
	ASSERT(!journal->snapshots && !journal->spills && !journal->pending);
	journal_free(journal);
	*ret_empty = empty;
	return r;
}

/* ---- segments made ahead ---- */

static int make_segment(struct journal *journal, uint32_t index)
{
	uint64_t offset = segment_first(journal, index) * (uint64_t)journal->block_bytes;
	uint64_t end = offset + journal->settings.segment_blocks * (uint64_t)journal->block_bytes;
	int r = 0;

	for (; offset < end && r == 0; offset += ZEROS)
		r = journal_write(journal->log, offset, page_of_zeros, end - offset < ZEROS ? (size_t)(end - offset) : ZEROS);
	if (r == 0) {
		lock_acquire(&journal->syncing);
		r = append_sync(journal);
		lock_release(&journal->syncing);
	}
	return r;
}

int journal_prepare(struct journal *journal)
{
	uint32_t index;
	bool wanted;
	int r;

	lock_acquire(&journal->lock);
	wanted = journal->n_free_made < MADE_AHEAD && journal->made < journal->n_segments &&
		 journal->n_free > journal->reserved + space_need(journal, 0, journal->n_spilled, 0);
	index = journal->made;
	if (wanted) {
		journal->segments[index].kind = SEGMENT_MAKING;
		journal->made++;
		journal->n_free--;
	}
	lock_release(&journal->lock);
	if (!wanted)
		return 0;
	r = make_segment(journal, index);
	lock_acquire(&journal->lock);
	journal->segments[index] = (struct segment){.kind = SEGMENT_FREE, .next_free = journal->free_list};
	journal->free_list = index + 1;
	journal->n_free++;
	journal->n_free_made++;
	lock_release(&journal->lock);
	journal_wake(journal);
	return r;
}

/* ---- what there is to be told ---- */

uint64_t journal_committed_bytes(struct journal *journal)
{
	uint64_t bytes;

	lock_acquire(&journal->lock);
	bytes = journal->bytes;
	lock_release(&journal->lock);
	return bytes;
}

uint64_t journal_last(struct journal *journal)
{
	uint64_t last;

	lock_acquire(&journal->lock);
	last = journal->last;
	lock_release(&journal->lock);
	return last;
}

void journal_stats_get(struct journal *journal, struct journal_stats *ret)
{
	uint64_t blocks = journal->settings.segment_blocks;

	lock_acquire(&journal->lock);
	*ret = journal->stats;
	ret->log_bytes = (HEADER_BLOCKS + journal->made * blocks) * journal->block_bytes;
	ret->free_blocks = journal->n_free * blocks;
	ret->used_blocks = journal->n_segments * blocks - ret->free_blocks;
	ret->last = journal->last;
	ret->complete = journal->complete;
	lock_release(&journal->lock);
}
