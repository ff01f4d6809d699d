/* SPDX-License-Identifier: MIT */
/*
 * judge.c - whether what a crash has left is recovered as it must be
 */
#include "judge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mend.h"
#include "sys/page_size.h"
#include "util/assert.h"

__attribute__((format(printf, 2, 3))) static bool wrong(struct judge *judge, const char *format, ...)
{
	size_t n = strlen(judge->why);
	va_list args;

	va_start(args, format);
	vsnprintf(judge->why + n, WHY_MAX - n, format, args);
	va_end(args);
	return false;
}

/* ---- bytes of a file ---- */

unsigned char *file_buffer(void)
{
	/* One page more than a file can have, to see a size that is too large. */
	unsigned char *bytes = aligned_alloc(page_size(), (PAGES_MAX + 1) * page_size());

	ASSERT(bytes != NULL);
	return bytes;
}

static void nothing(struct pager_request *request)
{
	*(bool *)request->owner = true;
}

int transfer(struct pager *pager, enum pager_op op, uint64_t offset, void *buf, size_t len, size_t *ret_bytes)
{
	bool done = false;
	struct pager_request request = {.op = op, .offset = offset, .len = len, .buf = buf, .done = nothing, .owner = &done};

	if (offset / page_size() % 2)
		pager->ops->submit(pager, &request);
	else
		pager->ops->run(pager, &request);
	/* The disks finish everything at once, so that all over them has to. */
	ASSERT(done);
	if (request.ret_error != 0)
		return -request.ret_error;
	if (ret_bytes != NULL)
		*ret_bytes = request.ret_bytes;
	return 0;
}

int read_file(struct pager *pager, struct rng *rng, unsigned char *bytes, uint64_t *ret_bytes, char *why)
{
	uint64_t size, end;
	int r = pager->ops->size(pager, &size);

	if (r < 0)
		return r;
	*ret_bytes = size;
	end = pages_of(size);
	if (end > PAGES_MAX) {
		snprintf(why, WHY_MAX, "the size is %" PRIu64, size);
		return 1;
	}
	for (uint64_t at = 0, n; at < end; at += n) {
		uint64_t left, got;

		n = 1 + (uint64_t)rng_below(rng, rng_percent(rng, 50) ? 4 : PAGES_MAX);
		n = n < end - at ? n : end - at;
		left = size - at * page_size();
		r = transfer(pager, PAGER_READ, at * page_size(), bytes + at * page_size(), n * page_size(), &got);
		if (r < 0)
			return r;
		if (got < n * page_size() && got < left) {
			snprintf(why, WHY_MAX,
				 "a read of %" PRIu64 " pages at page %" PRIu64 " of %" PRIu64 " bytes ends after %" PRIu64, n, at,
				 size, got);
			return 1;
		}
	}
	return 0;
}

bool is_content(const struct content *content, const unsigned char *bytes, uint64_t size, char *why)
{
	if (content->bytes != size) {
		if (why != NULL)
			snprintf(why, WHY_MAX, "%" PRIu64 " bytes instead of %" PRIu64, size, content->bytes);
		return false;
	}
	for (uint64_t i = 0; i < pages_of(size); i++) {
		uint64_t left = size - i * page_size();
		const unsigned char *page = bytes + i * page_size();
		int64_t at = leaf_check(content->pages[i], page, left < page_size() ? left : page_size());

		if (at < 0)
			continue;
		if (why != NULL)
			snprintf(why, WHY_MAX,
				 "page %" PRIu64 " from byte %" PRId64 " on: it begins with %" PRIx64 " instead of %" PRIx64 ":%u",
				 i, at, leaf_tag(page), content->pages[i].tag, content->pages[i].valid);
		return false;
	}
	return true;
}

bool narrow(struct allowed *allowed, unsigned file, const unsigned char *bytes, uint64_t size, char *why)
{
	char one[WHY_MAX];
	size_t told = 0;
	unsigned n = 0;

	why[0] = '\0';
	for (unsigned i = 0; i < allowed->n; i++) {
		if (is_content(&allowed->list[i].files[file], bytes, size, one))
			n++;
		else if (told < WHY_MAX)
			told += (size_t)snprintf(why + told, WHY_MAX - told, "\n    not %u: %s", i, one);
	}
	if (n == 0)
		return false;
	n = 0;
	for (unsigned i = 0; i < allowed->n; i++) {
		if (is_content(&allowed->list[i].files[file], bytes, size, NULL))
			allowed->list[n++] = allowed->list[i];
	}
	allowed->n = n;
	return true;
}

struct allowed allowed_copy(const struct allowed *allowed)
{
	struct allowed copy = {malloc(allowed->n * sizeof(*copy.list)), allowed->n};

	ASSERT(copy.list != NULL);
	memcpy(copy.list, allowed->list, allowed->n * sizeof(*copy.list));
	return copy;
}

/* ---- one recovery ---- */

struct trial {
	struct judge *judge;
	struct store store;
	struct allowed allowed;
	struct rng rng;
};

static void pin(struct trial *t)
{
	struct judge *judge = t->judge;

	if (judge->history.recording)
		timeline_mark(&judge->timeline, judge->history.count, allowed_copy(&t->allowed));
}

static bool open_one(struct trial *t, unsigned file)
{
	struct judge *judge = t->judge;
	char why[WHY_MAX] = "";
	uint64_t size;
	int r = t->store.ops->open(&t->store, file);

	if (r < 0)
		return wrong(judge, "file %u is not opened: %s: %s", file, strerror(-r), t->store.message);
	r = read_file(t->store.ops->pager(&t->store, file), &t->rng, judge->bytes[file], &size, why);
	if (r < 0)
		return wrong(judge, "file %u cannot be read: %s", file, strerror(-r));
	if (r > 0)
		return wrong(judge, "file %u: %s", file, why);
	if (!narrow(&t->allowed, file, judge->bytes[file], size, why))
		return wrong(judge, "file %u is nothing that was committed:%s", file, why);
	pin(t);
	return true;
}

static bool close_one(struct trial *t, unsigned file, bool complete)
{
	struct judge *judge = t->judge;
	struct disk *disk = &judge->disks[2 * file], *log = &judge->disks[2 * file + 1];
	char why[WHY_MAX] = "";
	bool empty = false;
	int r = t->store.ops->close(&t->store, file, complete, &empty);

	if (r < 0)
		return wrong(judge, "file %u is not closed: %s", file, strerror(-r));
	if (complete && !narrow(&t->allowed, file, disk->bytes, disk->size, why))
		return wrong(judge, "file %u itself, when its journal was closed:%s", file, why);
	if (empty && rng_percent(&t->rng, 50)) {
		log->pager.ops->resize(&log->pager, 0);
		log->pager.ops->sync(&log->pager);
	}
	return true;
}

/* A store that was recovered takes a commit. */
static bool commit_one(struct trial *t, unsigned file)
{
	struct judge *judge = t->judge;
	const struct store_ops *ops = t->store.ops;
	struct content *now = &t->allowed.list[0].files[file];
	uint64_t pages = pages_of(now->bytes), page = (uint64_t)rng_below(&t->rng, (int64_t)pages);
	struct leaf leaf = leaf_cut((struct leaf){rng_next(&t->rng) | 1, (uint32_t)page_size()}, page, now->bytes);
	struct allowed both;
	unsigned one = 1;
	void *commit;
	int r;

	if (pages == 0)
		return true;
	r = ops->begin(&t->store, file, 1, &commit);
	if (r < 0)
		return wrong(judge, "no commit of file %u begins after recovery: %s", file, strerror(-r));
	leaf_fill(leaf, ops->room(commit, &one));
	ops->add(commit, page, 1);
	t->allowed.n = 1;
	both = (struct allowed){malloc(2 * sizeof(struct contents)), 2};
	ASSERT(both.list != NULL);
	both.list[0] = both.list[1] = t->allowed.list[0];
	both.list[1].files[file].pages[page] = leaf;
	t->allowed.list[0] = both.list[1];
	if (judge->history.recording)
		timeline_mark(&judge->timeline, judge->history.count + 1, both);
	else
		free(both.list);
	ops->hand_over(&commit, 1, false);
	r = ops->wait(&commit, 1);
	if (r < 0)
		return wrong(judge, "no commit of file %u succeeds after recovery: %s", file, strerror(-r));
	pin(t);
	return true;
}

static bool recover(struct trial *t)
{
	unsigned n = t->judge->n_files, first = (unsigned)rng_below(&t->rng, n);
	bool early = rng_percent(&t->rng, 25), twice = rng_percent(&t->rng, 10), more = rng_percent(&t->rng, 15);

	for (unsigned i = 0; i < n; i++) {
		if (!open_one(t, (first + i) % n))
			return false;
		/* It may be done with before the others are asked. */
		if (early && i == 0 && n > 1 && !close_one(t, first, true))
			return false;
		if (early && i == 0 && n > 1 && twice && !open_one(t, first))
			return false;
	}
	for (unsigned i = 0; i < n; i++) {
		if (!t->store.ops->is_open(&t->store, i))
			continue;
		if (twice && (!close_one(t, i, false) || !open_one(t, i)))
			return false;
		if (more && !commit_one(t, i))
			return false;
	}
	for (unsigned i = 0; i < n; i++) {
		if (t->store.ops->is_open(&t->store, i) && !close_one(t, i, true))
			return false;
	}
	return true;
}

/* After a failure what is open is still to be freed. */
static void close_all(struct trial *t)
{
	bool empty;

	for (unsigned i = 0; i < t->judge->n_files; i++)
		t->judge->disks[2 * i].dead = t->judge->disks[2 * i + 1].dead = true;
	for (unsigned i = 0; i < t->judge->n_files; i++) {
		if (t->store.ops->is_open(&t->store, i))
			t->store.ops->close(&t->store, i, false, &empty);
	}
}

static bool judge_images(struct judge *judge, const struct image images[], const struct allowed *allowed, uint64_t seed)
{
	struct trial t = {.judge = judge, .allowed = allowed_copy(allowed), .rng = {seed}};
	bool again = judge->next != NULL && rng_percent(&t.rng, (int)judge->limits.again), right;

	history_restart(&judge->history);
	timeline_clear(&judge->timeline);
	judge->history.recording = again;
	for (unsigned i = 0; i < judge->history.n_disks; i++) {
		judge->disks[i].dead = false;
		disk_set(&judge->disks[i], images[i].bytes, images[i].size);
	}
	t.store =
	    (struct store){.ops = judge->ops, .n_files = judge->n_files, .settings = judge->settings, .broken = judge->broken};
	for (unsigned i = 0; i < judge->n_files; i++) {
		t.store.files[i] = &judge->disks[2 * i];
		t.store.logs[i] = &judge->disks[2 * i + 1];
	}
	judge->why[0] = '\0';
	pin(&t);
	t.store.ops->make(&t.store);
	right = recover(&t);
	close_all(&t);
	t.store.ops->done(&t.store);
	free(t.allowed.list);
	judge->in_recovery = false;
	if (right && again && !judge_history(judge->next, &judge->history, &judge->timeline, seed, NULL)) {
		judge->in_recovery = true;
		right = wrong(judge, "recovery crashed at its event %" PRIu32 " (image %" PRIu64 "): %s", judge->next->point,
			      judge->next->number, judge->next->why);
	}
	return right;
}

/* ---- all crash points ---- */

/* Each image once for each set of contents: it makes no difference when it was left. */
static bool is_new(struct judge *judge, const struct image images[], const void *allowed)
{
	uint64_t hash = (uint64_t)(uintptr_t)allowed;
	size_t at;

	for (unsigned i = 0; i < judge->history.n_disks; i++) {
		hash = XXH3_64bits_withSeed(&images[i].size, sizeof(images[i].size), hash);
		if (images[i].size)
			hash = XXH3_64bits_withSeed(images[i].bytes, images[i].size, hash);
	}
	hash |= 1;
	if (2 * judge->n_seen >= judge->seen_room) {
		uint64_t *old = judge->seen;
		size_t room = judge->seen_room;

		judge->seen_room = room ? room * 2 : 1024;
		judge->seen = calloc(judge->seen_room, sizeof(uint64_t));
		ASSERT(judge->seen != NULL);
		for (size_t i = 0; i < room; i++) {
			for (at = old[i] % judge->seen_room; old[i] && judge->seen[at]; at = (at + 1) % judge->seen_room)
				;
			if (old[i])
				judge->seen[at] = old[i];
		}
		free(old);
	}
	for (at = hash % judge->seen_room; judge->seen[at]; at = (at + 1) % judge->seen_room) {
		if (judge->seen[at] == hash)
			return false;
	}
	judge->seen[at] = hash;
	judge->n_seen++;
	return true;
}

static bool judge_one(struct judge *judge, struct imager *imager, const struct allowed *allowed, uint64_t seed, uint64_t number)
{
	imager_make_image(imager, seed, number, judge->images);
	if (judge->limits.unnoticed)
		mend_checksums(judge->images, judge->n_files);
	if (!is_new(judge, judge->images, allowed)) {
		judge->counts->same++;
		return true;
	}
	if (judge->next != NULL)
		judge->counts->crashes++;
	else
		judge->counts->again++;
	judge->point = imager->point;
	judge->number = number;
	return judge_images(judge, judge->images, allowed, seed ^ (number * 31 + imager->point));
}

static bool judge_point(struct judge *judge, struct imager *imager, const struct allowed *allowed, uint64_t seed)
{
	uint64_t systematic = imager_systematic(imager);
	struct rng rng = rng_stream(seed, imager->point);
	unsigned most = judge->next != NULL ? judge->limits.images : judge->limits.recovery;

	judge->counts->points += judge->next != NULL;
	for (uint64_t i = 0; i < most && (systematic > 1 || i == 0); i++) {
		/* Few are tried all, and then some by lot; of many the first two, and some of each sort. */
		uint64_t number =
		    systematic <= most || i < 2 ? i : (uint64_t)rng_below(&rng, (int64_t)(systematic + systematic / 4));

		if (!judge_one(judge, imager, allowed, seed, number))
			return false;
	}
	return true;
}

bool judge_history(struct judge *judge, const struct history *history, const struct timeline *timeline, uint64_t seed,
		   const struct judge_only *only)
{
	struct imager imager;
	bool right = true;

	imager_make(&imager, history);
	judge->n_seen = 0;
	if (judge->seen != NULL)
		memset(judge->seen, 0, judge->seen_room * sizeof(uint64_t));
	for (uint32_t point = only ? only->point : 0; right && point <= history->count; point++) {
		imager_move(&imager, point);
		if (only == NULL) {
			right = judge_point(judge, &imager, timeline_at(timeline, point), seed);
			continue;
		}
		right = judge_one(judge, &imager, timeline_at(timeline, point), seed, only->number);
		break;
	}
	if (!right) {
		char text[WHY_MAX];

		imager_describe(&imager, seed, judge->number, text, sizeof(text));
		wrong(judge, "\n    Of what was not stable:\n%s", text);
	}
	imager_done(&imager);
	return right;
}

/* ---- making ---- */

void judge_make(struct judge *judge, const struct store *like, const struct judge_limits *limits, struct judge_counts *counts,
		bool with_next)
{
	*judge = (struct judge){.limits = *limits,
				.counts = counts,
				.ops = like->ops,
				.n_files = like->n_files,
				.settings = like->settings,
				.broken = like->broken};
	for (unsigned i = 0; i < 2 * like->n_files; i++)
		disk_make(&judge->disks[i], &judge->history, NULL);
	for (unsigned i = 0; i < like->n_files; i++)
		judge->bytes[i] = file_buffer();
	if (with_next) {
		judge->next = malloc(sizeof(*judge));
		ASSERT(judge->next != NULL);
		judge_make(judge->next, like, limits, counts, false);
	}
}

void judge_done(struct judge *judge)
{
	for (unsigned i = 0; i < judge->history.n_disks; i++) {
		disk_done(&judge->disks[i]);
		free(judge->images[i].bytes);
	}
	for (unsigned i = 0; i < judge->n_files; i++)
		free(judge->bytes[i]);
	history_done(&judge->history);
	timeline_clear(&judge->timeline);
	free(judge->seen);
	if (judge->next != NULL)
		judge_done(judge->next);
	free(judge->next);
}
