/* SPDX-License-Identifier: MIT */
/*
 * contest.c - a range that one thread maps over, moves, protects and unmaps while others use it
 *
 * The range is always in one state as a whole: a hole, or a mapping with one protection and known bytes. The changer numbers the
 * states, and says before a call that the next one may be there already, and after it that the last one is gone. A user looks at the
 * number before and after an access: what the access gave has to fit one of the states in between, of which there is mostly one or
 * two. No access may see a state that never was: a hole where one mapping takes another's place, zeros where bytes are moved, or a
 * signal of another kind.
 *
 * Mappings that may be stored to are private, so that a page is as it was mapped but for what the users store: each in a byte of his
 * own, which he remembers together with the contents' number.
 */
#include "contest.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "rng.h"

enum { RANGE_PAGES = 12, USERS = 2, STATES = 64, SOURCES = 3 };

/* Where nobody else maps: see find_window() in side.c. */
#define RANGE_PLACE 0x300000000000
#define AWAY_PLACE  0x310000000000

struct state {
	bool mapped, shared;
	int prot;
	int source;        /* 0: anonymous, else a file */
	uint64_t contents; /* changes when the bytes do */
};

struct user {
	struct contest *contest;
	size_t number;
	pthread_t thread;
	struct rng rng;
	/* What was stored in the own byte of each page, and into which contents. uncertain: or not. */
	struct {
		uint64_t contents;
		unsigned char value;
		bool uncertain;
	} own[RANGE_PAGES];
	uint64_t accesses;
};

struct contest {
	const struct calls *calls;
	unsigned char *range, *away;
	size_t bytes;
	int fds[SOURCES];
	struct state states[STATES];
	atomic_ullong number; /* 2n: state n is there; 2n+1: n, or n+1 already */
	uint64_t contents, changes;
	struct rng rng;
	pthread_t changer;
	struct user users[USERS];
	atomic_bool stop, failed;
	char message[256];
};

__attribute__((format(printf, 2, 3))) static bool fail(struct contest *c, const char *format, ...)
{
	va_list args;

	if (atomic_load(&c->failed))
		return false;
	va_start(args, format);
	vsnprintf(c->message, sizeof(c->message), format, args);
	va_end(args);
	atomic_store(&c->failed, true);
	atomic_store(&c->stop, true);
	return false;
}

static bool call_failed(struct contest *c, const char *call)
{
	return fail(c, "contest: %s: %s (%s)", call, strerror(errno), c->calls->errormsg());
}

/* What a byte of a page is when it is mapped. */
static unsigned char first_byte(int source, size_t page)
{
	return source == 0 ? 0 : (unsigned char)(source * 64 + (int)page);
}

/* ---- the changer ---- */

static const struct state *now(struct contest *c)
{
	return &c->states[atomic_load(&c->number) / 2 % STATES];
}

static void announce(struct contest *c, struct state next)
{
	c->states[(atomic_load(&c->number) / 2 + 1) % STATES] = next;
	atomic_fetch_add(&c->number, 1);
}

static bool arrived(struct contest *c)
{
	atomic_fetch_add(&c->number, 1);
	c->changes++;
	return true;
}

static int any_prot(struct contest *c, bool shared)
{
	int64_t n = rng_below(&c->rng, 10);

	return n < 2 ? PROT_NONE : n < 5 || shared ? PROT_READ : PROT_READ | PROT_WRITE;
}

static bool change_by_mmap(struct contest *c)
{
	int source = (int)rng_below(&c->rng, SOURCES);
	bool shared = source != 0 && rng_percent(&c->rng, 30);
	struct state next = {.mapped = true, .shared = shared, .source = source, .contents = ++c->contents};
	void *p;

	next.prot = any_prot(c, shared);
	announce(c, next);
	p = c->calls->mmap(c->range, c->bytes, next.prot,
			   MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE) | (source == 0 ? MAP_ANONYMOUS : 0),
			   source == 0 ? -1 : c->fds[source], 0);
	return p == c->range ? arrived(c) : call_failed(c, "mmap over the range");
}

static bool change_by_munmap(struct contest *c)
{
	announce(c, (struct state){.mapped = false});
	return c->calls->munmap(c->range, c->bytes) == 0 ? arrived(c) : call_failed(c, "munmap");
}

static bool change_by_mprotect(struct contest *c)
{
	struct state next = *now(c);

	next.prot = any_prot(c, next.shared);
	announce(c, next);
	return c->calls->mprotect(c->range, c->bytes, next.prot) == 0 ? arrived(c) : call_failed(c, "mprotect");
}

/* Away, and back again: to the hole that it left, or over another mapping that took its place. */
static bool change_by_mremap(struct contest *c)
{
	struct state before = *now(c);

	announce(c, (struct state){.mapped = false});
	if (c->calls->mremap(c->range, c->bytes, c->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, c->away) != c->away)
		return call_failed(c, "mremap away");
	arrived(c);
	if (rng_percent(&c->rng, 50) && !change_by_mmap(c))
		return false;
	announce(c, before);
	if (c->calls->mremap(c->away, c->bytes, c->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, c->range) != c->range)
		return call_failed(c, "mremap back");
	return arrived(c);
}

static bool change_by_madvise(struct contest *c)
{
	struct state next = *now(c);

	if (next.shared || rng_percent(&c->rng, 60))
		return c->calls->madvise(c->range, c->bytes, MADV_PAGEOUT) == 0 || call_failed(c, "MADV_PAGEOUT");
	next.contents = ++c->contents;
	announce(c, next);
	return c->calls->madvise(c->range, c->bytes, MADV_DONTNEED) == 0 ? arrived(c) : call_failed(c, "MADV_DONTNEED");
}

static void *change(void *argument)
{
	struct contest *c = argument;
	struct timespec pause = {0};
	bool right = true;

	while (right && !atomic_load(&c->stop)) {
		int64_t n = rng_below(&c->rng, 100);

		if (!now(c)->mapped || n < 30)
			right = change_by_mmap(c);
		else if (n < 40)
			right = change_by_munmap(c);
		else if (n < 65)
			right = change_by_mprotect(c);
		else if (n < 85)
			right = change_by_mremap(c);
		else
			right = change_by_madvise(c);
		/* The users are to see states that stay for a while, too, and other calls are to have their turn. */
		pause.tv_nsec = rng_below(&c->rng, 300) * 1000;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* ---- the users ---- */

struct access {
	size_t page, at; /* in the page */
	bool store, own;
	unsigned char value;
	bool done;
	struct trap trap;
};

static bool signal_fits(const struct access *a, int code)
{
	return !a->done && a->trap.sig == SIGSEGV && a->trap.code == code;
}

static bool fits(const struct user *u, const struct state *s, const struct access *a)
{
	if (!s->mapped)
		return signal_fits(a, SEGV_MAPERR);
	if (s->prot == PROT_NONE || (a->store && !(s->prot & PROT_WRITE)))
		return signal_fits(a, SEGV_ACCERR);
	if (!a->done)
		return false;
	if (a->store)
		return true;
	if (a->own && u->own[a->page].contents == s->contents) {
		if (a->value == u->own[a->page].value)
			return true;
		return u->own[a->page].uncertain && a->value == first_byte(s->source, a->page);
	}
	return a->value == first_byte(s->source, a->page);
}

static void describe(const struct state *s, char *text, size_t size)
{
	if (!s->mapped)
		snprintf(text, size, "a hole");
	else
		snprintf(text, size, "%s source %d protection %d", s->shared ? "shared" : "private", s->source, s->prot);
}

static bool check(struct user *u, const struct access *a, uint64_t before, uint64_t after)
{
	struct contest *c = u->contest;
	struct state states[STATES / 4];
	char first[64], last[64], seen[32];
	uint64_t from = before / 2, to = (after + 1) / 2;
	unsigned count = 0;

	/* Too many went by, and the oldest may have been overwritten. */
	if (to - from >= STATES / 4)
		return true;
	for (uint64_t n = from; n <= to; n++)
		states[count++] = c->states[n % STATES];
	if (atomic_load(&c->number) / 2 + 1 - from >= STATES)
		return true;
	for (unsigned i = 0; i < count; i++) {
		if (fits(u, &states[i], a))
			return true;
	}
	describe(&states[0], first, sizeof(first));
	describe(&states[count - 1], last, sizeof(last));
	if (a->done)
		snprintf(seen, sizeof(seen), "value %d", a->value);
	else
		snprintf(seen, sizeof(seen), "%s code %d", a->trap.sig == SIGBUS ? "SIGBUS" : "SIGSEGV", a->trap.code);
	return fail(c, "contest: %s page %zu byte %zu: %s, which fits none of %u states, from %s to %s",
		    a->store ? "store" : "load", a->page, a->at, seen, count, first, last);
}

/* Which contents the store went to, where that is known. */
static void remember(struct user *u, const struct access *a, uint64_t before, uint64_t after)
{
	struct contest *c = u->contest;
	bool one = before == after && before % 2 == 0;

	if (!a->store || !a->done)
		return;
	u->own[a->page].value = a->value;
	u->own[a->page].uncertain = false;
	u->own[a->page].contents = c->states[before / 2 % STATES].contents;
	/* Not sure: what may be there is all that it ever was. Nothing is known of the byte until it is stored to again. */
	if (!one)
		u->own[a->page].contents = UINT64_MAX;
}

static bool use_once(struct user *u)
{
	struct contest *c = u->contest;
	size_t page_size = (size_t)page_bytes();
	struct access a = {.page = (size_t)rng_below(&u->rng, RANGE_PAGES), .store = rng_percent(&u->rng, 40)};
	uint64_t before, after;
	unsigned char *at;

	a.own = a.store || rng_percent(&u->rng, 50);
	a.at = a.own ? 8 * (1 + u->number) : 1024 + (size_t)rng_below(&u->rng, (int64_t)page_size - 1024);
	a.value = (unsigned char)(1 + rng_below(&u->rng, 255));
	at = c->range + a.page * page_size + a.at;
	before = atomic_load(&c->number);
	a.done = a.store ? guard_store(at, &a.value, 1, &a.trap) : guard_load(&a.value, at, 1, &a.trap);
	after = atomic_load(&c->number);
	u->accesses++;
	/* Of the own byte after a store that nobody can place, nothing is known but that the signals are right. */
	if (a.own && !a.store && a.done && u->own[a.page].contents == UINT64_MAX)
		return true;
	if (!check(u, &a, before, after))
		return false;
	remember(u, &a, before, after);
	return true;
}

static void *use(void *argument)
{
	struct user *u = argument;

	static const struct timespec pause = {.tv_nsec = 100000};

	/* The processors are for those who load and store in the shared mapping, too. */
	while (!atomic_load_explicit(&u->contest->stop, memory_order_relaxed) && use_once(u)) {
		if (u->accesses % 32 == 0)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

/* ---- begin and end ---- */

static bool make_source(struct contest *c, int source, const char *directory)
{
	size_t page_size = (size_t)page_bytes();
	unsigned char *bytes = malloc(c->bytes);
	bool written;

	c->fds[source] = open_unlinked(directory);
	if (bytes == NULL || c->fds[source] < 0)
		return false;
	for (size_t page = 0; page < RANGE_PAGES; page++)
		memset(bytes + page * page_size, first_byte(source, page), page_size);
	written = pwrite(c->fds[source], bytes, c->bytes, 0) == (ssize_t)c->bytes;
	free(bytes);
	return written;
}

struct contest *contest_start(const struct calls *calls, const char *directory, uint64_t seed)
{
	struct contest *c = calloc(1, sizeof(*c));
	bool begun;

	if (c == NULL)
		return NULL;
	c->calls = calls;
	c->bytes = RANGE_PAGES * (size_t)page_bytes();
	c->range = (unsigned char *)RANGE_PLACE;
	c->away = (unsigned char *)AWAY_PLACE;
	c->rng = rng_stream(seed, 2000000);
	begun = make_source(c, 1, directory) && make_source(c, 2, directory) && change_by_mmap(c);
	for (size_t i = 0; begun && i < USERS; i++) {
		c->users[i] = (struct user){.contest = c, .number = i, .rng = rng_stream(seed, 3000000 + i)};
		for (size_t page = 0; page < RANGE_PAGES; page++)
			c->users[i].own[page].contents = 0;
		begun = pthread_create(&c->users[i].thread, NULL, use, &c->users[i]) == 0;
	}
	begun = begun && pthread_create(&c->changer, NULL, change, c) == 0;
	if (begun)
		return c;
	fprintf(stderr, "threads: the contest cannot start: %s (%s)\n", strerror(errno), calls->errormsg());
	return NULL;
}

bool contest_failed(struct contest *c, char *message, size_t size)
{
	if (!atomic_load(&c->failed))
		return false;
	snprintf(message, size, "%s", c->message);
	return true;
}

bool contest_end(struct contest *c, char *message, size_t size)
{
	uint64_t accesses = 0;
	bool right;

	atomic_store(&c->stop, true);
	pthread_join(c->changer, NULL);
	for (size_t i = 0; i < USERS; i++) {
		pthread_join(c->users[i].thread, NULL);
		accesses += c->users[i].accesses;
	}
	right = !contest_failed(c, message, size);
	printf("contest: %" PRIu64 " changes, %" PRIu64 " accesses\n", c->changes, accesses);
	c->calls->munmap(c->range, c->bytes);
	close(c->fds[1]);
	close(c->fds[2]);
	free(c);
	return right;
}
