/* SPDX-License-Identifier: MIT */
/*
 * unit.c - commits of several journals that count together
 *
 *      prepare    all but the first write their commit with PREPARED, and sync
 *      decide     the first writes its own with COMMIT, and syncs: now all count
 *      note       the others write DECIDED. Until that is on stable storage, the first keeps the segments that have its decision
 *
 * Whoever waits, or wants one of the journals, takes the unit through all of this; nobody else is needed for it.
 *
 * If it fails before the decision was written, all go back: each log is cut before the commit, so that nothing of it is left to be
 * asked for. If the writing or the sync of the decision fails, a crash may yet show it. Then the first one's log is cut, durably, before
 * the others give up; if even that fails, the unit is *uncertain*: the others append nothing, since what they have prepared has to stay
 * as it is for as long as a crash may make it count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "journal/internal.h"
#include "journal/parties.h"
#include "util/fail.h"
#include "util/message.h"

struct member {
	struct journal *journal;
	struct journal_commit *commit; /* gone when the unit is decided */
	struct place start;
};

struct unit {
	_Atomic uint32_t refs;
	struct lock driving;
	uint64_t id[2];
	bool decided;              /* [driving] */
	bool uncertain;            /* [driving] */
	uint64_t stale_seq;        /* … until the log of the first is durable in this segment or a later one */
	int result;                /* [driving] */
	void *parties;             /* a block */
	struct decision *decision; /* NULL: the decider has it, or there is none */
	unsigned n;
	struct member members[]; /* the first decides; its journal is NULL when that is closed */
};

void unit_ref(struct unit *unit)
{
	atomic_fetch_add(&unit->refs, 1);
}

static void decision_free(struct decision *decision)
{
	if (!decision)
		return;
	for (unsigned i = 0; i < decision->n; i++)
		free(decision->others[i].name);
	free(decision);
}

void unit_unref(struct unit *unit)
{
	if (!unit || atomic_fetch_sub(&unit->refs, 1) > 1)
		return;
	decision_free(unit->decision);
	free(unit->parties);
	free(unit);
}

/* ---- the block of the parties ---- */

static size_t put_party(char *at, const struct journal *journal, uint64_t commit)
{
	struct journal_party party = {.commit = commit, .length = (uint32_t)strlen(journal->name)};

	memcpy(party.uuid, journal->header.uuid, sizeof(party.uuid));
	memcpy(at, &party, sizeof(party));
	memcpy(at + sizeof(party), journal->name, party.length);
	return sizeof(party) + party.length;
}

/* Members from first to before end. */
static void put_parties(struct unit *unit, unsigned first, unsigned end)
{
	struct journal_parties head = {.count = end - first};
	char *at = unit->parties;

	memset(at, 0, unit->members[0].journal->block_bytes);
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	for (unsigned i = first; i < end; i++)
		at += put_party(at, unit->members[i].journal, unit->members[i].commit->number);
}

/* Whether the block has room for all but the first, and for the first alone. */
static bool parties_fit(const struct unit *unit)
{
	size_t most = unit->members[0].journal->block_bytes, others = sizeof(struct journal_parties);
	size_t first = others + sizeof(struct journal_party) + strlen(unit->members[0].journal->name);

	for (unsigned i = 1; i < unit->n; i++)
		others += sizeof(struct journal_party) + strlen(unit->members[i].journal->name);
	return first <= most && others <= most;
}

/* ---- making one ---- */

static struct decision *decision_new(const struct unit *unit)
{
	struct decision *decision =
	    fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*decision) + (unit->n - 1) * sizeof(decision->others[0]));

	if (!decision)
		return NULL;
	decision->unit[0] = unit->id[0];
	decision->unit[1] = unit->id[1];
	for (unsigned i = 1; i < unit->n; i++) {
		const struct journal *journal = unit->members[i].journal;

		decision->others[i - 1].name = fail_now(FAIL_ALLOC) ? NULL : strdup(journal->name);
		decision->others[i - 1].party.commit = unit->members[i].commit->number;
		memcpy(decision->others[i - 1].party.uuid, journal->header.uuid, sizeof(journal->header.uuid));
		decision->n = decision->left = i;
		if (!decision->others[i - 1].name) {
			decision_free(decision);
			return NULL;
		}
	}
	return decision;
}

struct unit *unit_new(struct journal_commit **commits, unsigned n, int *ret_error)
{
	struct unit *unit = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*unit) + n * sizeof(unit->members[0]));

	*ret_error = -ENOMEM;
	if (!unit)
		return NULL;
	unit->refs = 1;
	unit->n = n;
	for (unsigned i = 0; i < n; i++)
		unit->members[i] = (struct member){commits[i]->journal, commits[i], commits[i]->start};
	if (getrandom(unit->id, sizeof(unit->id), 0) != sizeof(unit->id))
		*ret_error = -errno;
	else if (!parties_fit(unit))
		*ret_error = message_set(ENAMETOOLONG, "the names of %u journals that commit together are too long", n);
	else if ((unit->parties = fail_now(FAIL_ALLOC) ? NULL : malloc(commits[0]->journal->block_bytes)) &&
		 (unit->decision = decision_new(unit)))
		return unit;
	unit_unref(unit);
	return NULL;
}

/* Each commit, and each journal until it is decided, has a reference. */
void unit_hand_over(struct unit *unit)
{
	put_parties(unit, 0, 1);
	for (unsigned i = 0; i < unit->n; i++) {
		struct journal *journal = unit->members[i].journal;
		struct journal_commit *commit = unit->members[i].commit;

		unit_ref(unit);
		unit_ref(unit);
		commit->unit = unit;
		if (i > 0)
			(void)commit_send(commit, GROUP_PREPARED | GROUP_PARTIES, unit->parties, unit->id);
		lock_acquire(&journal->lock);
		journal->unit = unit;
		lock_release(&journal->lock);
	}
	unit_unref(unit);
}

/* ---- driving ---- */

/* 0 or -errno: all the others are on stable storage. */
static int prepare(struct unit *unit)
{
	int result = 0;

	for (unsigned i = 1; i < unit->n; i++) {
		struct journal_commit *commit = unit->members[i].commit;

		append_settle(unit->members[i].journal, commit);
		if (commit->state != COMMIT_PREPARED && result == 0)
			result = commit->error ? commit->error : -EIO;
	}
	return result;
}

/* lock held. */
static struct decision *decision_take(struct journal *journal, const uint64_t unit[2])
{
	for (struct decision **link = &journal->decisions; *link; link = &(*link)->next)
		if (memcmp((*link)->unit, unit, sizeof((*link)->unit)) == 0) {
			struct decision *taken = *link;

			*link = taken->next;
			return taken;
		}
	return NULL;
}

/* 0 or -errno. *ret_written: something of it may be on storage. */
static int decide(struct unit *unit, bool *ret_written)
{
	struct journal *journal = unit->members[0].journal;
	struct journal_commit *commit = unit->members[0].commit;
	int r;

	put_parties(unit, 1, unit->n);
	/* The decision has to be kept from the moment on at which it counts. */
	lock_acquire(&journal->lock);
	unit->decision->seq = journal->end.seq;
	unit->decision->next = journal->decisions;
	journal->decisions = unit->decision;
	lock_release(&journal->lock);
	r = commit_send(commit, GROUP_COMMIT | GROUP_PARTIES, unit->parties, unit->id);
	*ret_written = r == 0;
	if (r == 0) {
		append_settle(journal, commit);
		r = commit->state == COMMIT_DONE ? 0 : commit->error;
	}
	lock_acquire(&journal->lock);
	if (r < 0)
		(void)decision_take(journal, unit->id);
	lock_release(&journal->lock);
	if (r == 0)
		unit->decision = NULL;
	return r;
}

/* The others count. */
static void note_all(struct unit *unit)
{
	for (unsigned i = 1; i < unit->n; i++) {
		struct journal *journal = unit->members[i].journal;

		lock_acquire(&journal->syncing);
		lock_acquire(&journal->lock);
		journal->note = (struct note){.commit = unit->members[i].commit->number, .unit = {unit->id[0], unit->id[1]}};
		memcpy(journal->note.decider, unit->members[0].journal->header.uuid, sizeof(journal->note.decider));
		lock_release(&journal->lock);
		commit_publish(unit->members[i].commit);
		lock_release(&journal->syncing);
		append_note(journal);
	}
}

/* A commit that was prepared does not count. */
static void unprepare(struct unit *unit, unsigned i)
{
	struct journal *journal = unit->members[i].journal;
	struct journal_commit *commit = unit->members[i].commit;

	lock_acquire(&journal->lock);
	ASSERT(journal->pending == commit && !commit->next);
	journal->pending = journal->pending_tail = NULL;
	commit_revert(commit, unit->uncertain);
	journal->handed = journal->last;
	journal->handed_bytes = journal->bytes;
	if (unit->uncertain) {
		unit_ref(unit);
		journal->uncertain = unit;
	} else {
		append_cut(journal, commit->start);
	}
	lock_release(&journal->lock);
}

static void fail_all(struct unit *unit, bool written)
{
	struct journal *decider = unit->members[0].journal;

	unit->uncertain = written && append_cut_durably(decider) < 0;
	lock_acquire(&decider->lock);
	unit->stale_seq = decider->stale_seq;
	decider->owes |= unit->uncertain;
	lock_release(&decider->lock);
	for (unsigned i = 0; i < unit->n; i++) {
		struct journal_commit *commit = unit->members[i].commit;

		if (commit->state == COMMIT_BUILDING)
			commit_abandon(commit);
		else if (commit->state == COMMIT_PREPARED)
			unprepare(unit, i);
		ASSERT(commit->state == COMMIT_FAILED);
	}
}

static void leave_all(struct unit *unit)
{
	for (unsigned i = 0; i < unit->n; i++) {
		struct journal *journal = unit->members[i].journal;

		lock_acquire(&journal->lock);
		journal->unit = NULL;
		lock_release(&journal->lock);
		commit_leave(unit->members[i].commit);
		unit->members[i].commit = NULL;
		unit_unref(unit);
	}
}

int unit_drive(struct unit *unit)
{
	bool written = false;
	int r;

	lock_acquire(&unit->driving);
	if (!unit->decided) {
		unit->decided = true;
		r = prepare(unit);
		if (r == 0)
			r = decide(unit, &written);
		unit->result = r;
		if (r == 0)
			note_all(unit);
		else
			fail_all(unit, written);
		leave_all(unit);
	}
	r = unit->result;
	lock_release(&unit->driving);
	return r;
}

/* ---- uncertainty ---- */

/* Whether the decider's log was cut durably, since. */
static bool was_cut(struct unit *unit)
{
	struct journal *decider = unit->members[0].journal;
	bool was;

	lock_acquire(&decider->lock);
	was = !decider->error && decider->durable.seq >= unit->stale_seq;
	lock_release(&decider->lock);
	return was;
}

/* Whether it is certain now that the decision does not count. driving held. */
static int make_certain(struct unit *unit)
{
	struct journal *decider = unit->members[0].journal;
	int r = -EIO;

	if (!unit->uncertain)
		return 0;
	if (decider && was_cut(unit)) {
		r = 0;
	} else if (decider && lock_try(&decider->building)) {
		/* Who has it may in turn be waiting for the journal that asks. */
		r = append_cut_durably(decider);
		lock_release(&decider->building);
	}
	if (r == 0)
		unit->uncertain = false;
	return r;
}

int unit_settle_uncertain(struct journal *journal)
{
	struct unit *unit = journal->uncertain;
	struct place start = {0};
	int r;

	if (!unit)
		return 0;
	lock_acquire(&unit->driving);
	r = make_certain(unit);
	lock_release(&unit->driving);
	if (r < 0)
		return message_set(EIO,
				   "a commit of several files has failed, and whether it counts can be known only by opening the "
				   "journals anew");
	for (unsigned i = 1; i < unit->n; i++)
		if (unit->members[i].journal == journal)
			start = unit->members[i].start;
	lock_acquire(&journal->lock);
	append_cut(journal, start);
	journal->uncertain = NULL;
	lock_release(&journal->lock);
	unit_unref(unit);
	return 0;
}

void unit_decider_ends(struct journal *decider, struct journal *other)
{
	struct unit *unit;

	lock_acquire(&other->lock);
	unit = other->uncertain;
	if (unit)
		unit_ref(unit);
	lock_release(&other->lock);
	if (!unit)
		return;
	lock_acquire(&unit->driving);
	if (unit->members[0].journal == decider) {
		unit->uncertain &= !was_cut(unit);
		unit->members[0].journal = NULL;
	}
	lock_release(&unit->driving);
	unit_unref(unit);
}

/* ---- decisions ---- */

static void mark_noted(struct journal *decider, const uint64_t unit[2], const unsigned char other[16])
{
	struct decision *done = NULL;

	lock_acquire(&decider->lock);
	for (struct decision *decision = decider->decisions; decision; decision = decision->next) {
		if (memcmp(decision->unit, unit, sizeof(decision->unit)) != 0)
			continue;
		for (unsigned i = 0; i < decision->n; i++)
			if (!decision->others[i].noted && memcmp(decision->others[i].party.uuid, other, 16) == 0) {
				decision->others[i].noted = true;
				decision->left--;
			}
		if (decision->left == 0)
			done = decision_take(decider, unit);
		break;
	}
	if (done)
		space_try_free_all(decider);
	lock_release(&decider->lock);
	decision_free(done);
}

void unit_noted(struct journal *journal)
{
	struct journal *decider;
	struct note note;

	lock_acquire(&journal->lock);
	note = journal->note;
	journal->note = (struct note){0};
	lock_release(&journal->lock);
	decider = note.commit ? journal_use(note.decider) : NULL;
	if (!decider)
		return;
	mark_noted(decider, note.unit, journal->header.uuid);
	journal_unuse(decider);
}

/* One that has a journal open here. */
static void ask_open(struct journal *journal, struct journal *other, const uint64_t unit[2])
{
	bool due;

	if (lock_try(&other->building)) {
		append_restart(other);
		append_note(other);
		lock_acquire(&other->lock);
		due = other->note.commit && !other->note.ticket;
		lock_release(&other->lock);
		/* No room: once the commit is in the file, nothing needs to be noted. */
		if (due)
			(void)journal_checkpoint(other);
		lock_release(&other->building);
	}
	append_settle(other, NULL);
	lock_acquire(&other->lock);
	due = memcmp(other->note.unit, unit, sizeof(other->note.unit)) == 0;
	lock_release(&other->lock);
	if (!due)
		mark_noted(journal, unit, other->header.uuid);
}

static void ask_one(struct journal *journal, const uint64_t unit[2], const struct journal_party *party, const char *name)
{
	struct journal *other = journal_use(party->uuid);
	bool asks = true;

	if (other) {
		ask_open(journal, other, unit);
		journal_unuse(other);
	} else if (journal->settings.asks && journal->settings.asks(journal->settings.asks_arg, party, name, unit, &asks) == 0 &&
		   !asks) {
		mark_noted(journal, unit, party->uuid);
	}
}

/* The one of that number among those that have not noted. The name is malloc'ed. */
static bool next_to_ask(struct journal *journal, unsigned number, uint64_t ret_unit[2], struct journal_party *ret_party,
			char **ret_name)
{
	const char *name = NULL;

	*ret_name = malloc(journal->block_bytes);
	if (!*ret_name)
		return false;
	lock_acquire(&journal->lock);
	for (struct decision *decision = journal->decisions; decision && !name; decision = decision->next)
		for (unsigned i = 0; i < decision->n && !name; i++) {
			if (decision->others[i].noted || number-- > 0)
				continue;
			name = decision->others[i].name;
			*ret_party = decision->others[i].party;
			memcpy(ret_unit, decision->unit, sizeof(decision->unit));
			strcpy(*ret_name, name);
		}
	lock_release(&journal->lock);
	return name != NULL;
}

static unsigned count_to_ask(struct journal *journal)
{
	unsigned n = 0;

	lock_acquire(&journal->lock);
	for (struct decision *decision = journal->decisions; decision; decision = decision->next)
		n += decision->left;
	lock_release(&journal->lock);
	return n;
}

void unit_ask_noted(struct journal *journal)
{
	unsigned skipped = 0;

	for (;;) {
		unsigned before = count_to_ask(journal);
		struct journal_party party;
		uint64_t unit[2];
		char *name;
		bool found = before > skipped && next_to_ask(journal, skipped, unit, &party, &name);

		if (before > skipped && !found)
			free(name);
		if (!found)
			return;
		ask_one(journal, unit, &party, name);
		free(name);
		skipped += count_to_ask(journal) >= before;
	}
}

int unit_was_decided(struct journal *decider, const uint64_t unit[2], bool *ret)
{
	int r = -EBUSY;

	/* One that has failed here may yet be in its log. */
	if (lock_try(&decider->building)) {
		r = append_cut_durably(decider);
		lock_release(&decider->building);
	}
	if (r < 0)
		return r;
	*ret = false;
	lock_acquire(&decider->lock);
	for (struct decision *decision = decider->decisions; decision; decision = decision->next)
		*ret |= memcmp(decision->unit, unit, sizeof(decision->unit)) == 0;
	lock_release(&decider->lock);
	return 0;
}

int unit_remember(struct journal *journal, const struct scan_commit *commit, uint64_t seq)
{
	uint32_t n = commit->parties->count;
	struct decision *decision = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*decision) + n * sizeof(decision->others[0]));

	if (!decision)
		return -ENOMEM;
	memcpy(decision->unit, commit->unit, sizeof(decision->unit));
	decision->seq = seq;
	for (uint32_t i = 0; i < n; i++) {
		int r = parties_get(commit->parties, i, &decision->others[i].party, &decision->others[i].name);

		if (r < 0) {
			decision_free(decision);
			return r;
		}
		decision->n = decision->left = i + 1;
	}
	decision->next = journal->decisions;
	journal->decisions = decision;
	return 0;
}

void unit_forget_decisions(struct journal *journal)
{
	while (journal->decisions)
		decision_free(decision_take(journal, journal->decisions->unit));
}
