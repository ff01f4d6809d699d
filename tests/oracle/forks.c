/* SPDX-License-Identifier: MIT */
/*
 * forks.c - threads that fork while others store, move and map
 *
 * Each child looks at four kinds of memory, and knows of each what a fork must have made of it:
 *
 *   own      private, anonymous and of a file, of the thread that forks, which stores to it before the fork and at once after it:
 *            what the child sees is what was there before.
 *   private  tickers write the round they are in to one cell of each page, page after page. The child sees one moment of that: rounds that
 *            do not grow from page to page and differ by one at most, not older than the fork, not younger than its return, and always
 *            the same. So it is with the kernel: who meets a page that was repeated already waits until the fork is over.
 *   shared   the same in shared memory: the rounds go on, and never back; and what the child stores there is seen by its parent.
 *   moving   a mover has it at one of two places: the child finds it at one of them, whole, and nothing at the other.
 *
 * Then it stores to all that is private, maps something of its own, and ends in one of several ways.
 */
#include "forks.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rng.h"

enum { FORKERS = 2, TICKERS = 2, OWN_PAGES = 20, TICK_PAGES = 12, MOVING_PAGES = 6, LOOKS = 3 };

/* What a child tells, in memory that the kernel shares. */
struct report {
	char message[200];
	uint64_t shared[TICKERS][TICK_PAGES]; /* the last rounds it saw */
};

struct forker {
	struct forks *forks;
	size_t number;
	pthread_t thread;
	unsigned char *anonymous, *file; /* OWN_PAGES each */
	int fd;
	uint64_t version;
	/* Of the rounds before the fork, and after it. */
	uint64_t private_before[TICKERS][TICK_PAGES], shared_before[TICKERS][TICK_PAGES];
	struct report *report;
};

struct ticker {
	struct forks *forks;
	size_t number;
	pthread_t thread;
};

struct forks {
	struct calls calls;
	struct forker forkers[FORKERS];
	struct ticker tickers[TICKERS];
	pthread_t mover;
	/* Of each page a cell of each ticker, and, of the shared one, behind them a cell of each forker's children. */
	unsigned char *private_ticks, *shared_ticks;
	unsigned char *places[2]; /* of what moves */
	uint64_t seed;
	atomic_bool stop, failed;
	atomic_ullong forked;
	char message[256];
};

static size_t page(void)
{
	return (size_t)page_bytes();
}

__attribute__((format(printf, 2, 3))) static void wrong(struct forks *f, const char *format, ...)
{
	va_list args;

	if (atomic_exchange(&f->failed, true))
		return;
	va_start(args, format);
	vsnprintf(f->message, sizeof(f->message), format, args);
	va_end(args);
	atomic_store(&f->stop, true);
}

/* ---- tickers, and the mover ---- */

static volatile uint64_t *cell(unsigned char *memory, size_t p, size_t column)
{
	return (volatile uint64_t *)(memory + p * page() + (column * 24 + p * 40) / 8 * 8);
}

static void *tick(void *argument)
{
	struct ticker *t = argument;
	struct forks *f = t->forks;

	for (uint64_t round = 1; !atomic_load_explicit(&f->stop, memory_order_relaxed); round++) {
		for (size_t p = 0; p < TICK_PAGES; p++)
			*cell(f->private_ticks, p, t->number) = round;
		for (size_t p = 0; p < TICK_PAGES; p++)
			*cell(f->shared_ticks, p, t->number) = round;
		/* Others are to have the processors as well. */
		usleep(100);
	}
	return NULL;
}

static unsigned char moving_byte(size_t at)
{
	return (unsigned char)(at / 8 + 3 * (at / page()) + 1);
}

static void *move(void *argument)
{
	struct forks *f = argument;
	size_t len = MOVING_PAGES * page();

	for (int at = 0; !atomic_load_explicit(&f->stop, memory_order_relaxed); at = !at) {
		if (f->calls.mremap(f->places[at], len, len, MREMAP_MAYMOVE | MREMAP_FIXED, f->places[!at]) == MAP_FAILED)
			wrong(f, "mremap: %s %s", strerror(errno), f->calls.errormsg());
		usleep(300);
	}
	return NULL;
}

/* ---- a child ---- */

/* No function that may wait for a thread that is not there: no malloc, no stdio. */
__attribute__((noreturn, format(printf, 2, 3))) static void child_fails(struct forker *k, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(k->report->message, sizeof(k->report->message), format, args);
	va_end(args);
	_exit(1);
}

static uint64_t own_value(uint64_t version, size_t forker, size_t at)
{
	return version * 0x9e3779b97f4a7c15u + forker * 77 + at;
}

/* => NULL, or where it is wrong */
static const volatile uint64_t *find_wrong(const unsigned char *memory, uint64_t version, size_t forker)
{
	for (size_t at = 0; at < OWN_PAGES * page(); at += 64) {
		const volatile uint64_t *word = (const volatile uint64_t *)(memory + at);

		if (*word != own_value(version, forker, at))
			return word;
	}
	return NULL;
}

static void store_own(unsigned char *memory, uint64_t version, size_t forker)
{
	for (size_t at = 0; at < OWN_PAGES * page(); at += 64)
		*(volatile uint64_t *)(memory + at) = own_value(version, forker, at);
}

static void child_checks_own(struct forker *k, uint64_t version, const char *when)
{
	const unsigned char *all[] = {k->anonymous, k->file};

	for (int i = 0; i < 2; i++) {
		const volatile uint64_t *at = find_wrong(all[i], version, k->number);

		if (at != NULL)
			child_fails(k, "%s memory of the forking thread, %s: byte %zu of page %zu is %#lx",
				    i == 0 ? "anonymous" : "a file's", when, (size_t)((unsigned char *)at - all[i]) % page(),
				    (size_t)((unsigned char *)at - all[i]) / page(), (unsigned long)*at);
	}
}

static void child_checks_private_ticks(struct forker *k)
{
	uint64_t first[TICKERS][TICK_PAGES];

	for (int look = 0; look < LOOKS; look++) {
		for (size_t t = 0; t < TICKERS; t++) {
			for (size_t p = 0; p < TICK_PAGES; p++) {
				uint64_t round = *cell(k->forks->private_ticks, p, t);

				if (look == 0)
					first[t][p] = round;
				if (round != first[t][p])
					child_fails(k, "private memory changes: ticker %zu page %zu was %lu, and is %lu", t, p,
						    first[t][p], round);
				if (round < k->private_before[t][p])
					child_fails(k,
						    "private memory is older than the fork: ticker %zu page %zu %lu, before it %lu",
						    t, p, round, k->private_before[t][p]);
				if (p > 0 && (round > first[t][p - 1] || round + 1 < first[t][0]))
					child_fails(
					    k, "private memory is of two moments: ticker %zu page %zu %lu, page 0 %lu, before %lu",
					    t, p, round, first[t][0], first[t][p - 1]);
			}
		}
	}
}

static void child_checks_shared_ticks(struct forker *k)
{
	for (int look = 0; look < LOOKS; look++) {
		for (size_t t = 0; t < TICKERS; t++) {
			for (size_t p = 0; p < TICK_PAGES; p++) {
				uint64_t round = *cell(k->forks->shared_ticks, p, t);

				if (round < k->shared_before[t][p] || round < k->report->shared[t][p])
					child_fails(
					    k, "shared memory goes back: ticker %zu page %zu %lu, before the fork %lu, then %lu", t,
					    p, round, k->shared_before[t][p], k->report->shared[t][p]);
				k->report->shared[t][p] = round;
			}
		}
	}
}

/* => how many of its pages are there; those are right */
static size_t child_checks_place(struct forker *k, int place)
{
	size_t found = 0;

	for (size_t p = 0; p < MOVING_PAGES; p++) {
		unsigned char bytes[64];
		struct trap trap;

		if (!guard_load(bytes, k->forks->places[place] + p * page() + 640, sizeof(bytes), &trap)) {
			if (trap.sig != SIGSEGV || trap.code != SEGV_MAPERR)
				child_fails(k, "what moves, place %d page %zu: signal %d code %d", place, p, trap.sig, trap.code);
			continue;
		}
		found++;
		for (size_t i = 0; i < sizeof(bytes); i++) {
			if (bytes[i] != moving_byte(p * page() + 640 + i))
				child_fails(k, "what moves, place %d page %zu byte %zu is %#x", place, p, 640 + i, bytes[i]);
		}
	}
	return found;
}

static void child_checks_moving(struct forker *k)
{
	size_t a = child_checks_place(k, 0), b = child_checks_place(k, 1);

	if (a + b != MOVING_PAGES || (a != 0 && b != 0))
		child_fails(k, "what moves is at one place with %zu pages, at the other with %zu", a, b);
}

/* It goes on as a process of its own. */
static void child_lives(struct forker *k)
{
	const struct calls *c = &k->forks->calls;
	size_t len = OWN_PAGES * page();
	unsigned char *p;

	store_own(k->anonymous, 0, k->number);
	store_own(k->file, 0, k->number);
	child_checks_own(k, 0, "stored by the child");
	for (size_t i = 0; i < TICK_PAGES; i++) {
		*cell(k->forks->private_ticks, i, 0) = 0;
		*cell(k->forks->shared_ticks, i, TICKERS + k->number) = k->version;
	}
	p = c->mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		child_fails(k, "mmap in a child: %s %s", strerror(errno), c->errormsg());
	store_own(p, k->version, k->number);
	if (find_wrong(p, k->version, k->number) != NULL)
		child_fails(k, "memory that the child has mapped is wrong");
	if (k->version % 2 == 0 && c->munmap(p, len) != 0)
		child_fails(k, "munmap in a child: %s %s", strerror(errno), c->errormsg());
}

__attribute__((noreturn)) static void be_child(struct forker *k)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (k->version % 7 == 0)
		_exit(0); /* at once: it never attaches */
	child_checks_own(k, k->version, "as of the fork");
	child_checks_moving(k);
	child_checks_private_ticks(k);
	child_checks_shared_ticks(k);
	child_checks_own(k, k->version, "looked at again");
	child_lives(k);
	if (k->version % 3 == 0)
		kill(getpid(), SIGKILL);
	if (k->version % 3 == 1)
		execl("/bin/true", "true", (char *)NULL);
	_exit(0);
}

/* ---- forkers ---- */

static void look_at(unsigned char *memory, uint64_t ret[TICKERS][TICK_PAGES])
{
	for (size_t t = 0; t < TICKERS; t++)
		for (size_t p = 0; p < TICK_PAGES; p++)
			ret[t][p] = *cell(memory, p, t);
}

static void check_child(struct forker *k, pid_t child)
{
	struct forks *f = k->forks;
	uint64_t after[TICKERS][TICK_PAGES];
	bool ran = k->version % 7 != 0;
	int status;

	if (waitpid(child, &status, 0) != child) {
		wrong(f, "waitpid: %s", strerror(errno));
		return;
	}
	if (k->report->message[0] != '\0')
		wrong(f, "child of version %lu: %s", k->version, k->report->message);
	else if (WIFSIGNALED(status) ? !ran || k->version % 3 != 0 || WTERMSIG(status) != SIGKILL : WEXITSTATUS(status) != 0)
		wrong(f, "child of version %lu has ended with status %#x", k->version, status);
	look_at(f->shared_ticks, after);
	for (size_t p = 0; p < TICK_PAGES && ran; p++) {
		uint64_t stored = *cell(f->shared_ticks, p, TICKERS + k->number);

		for (size_t t = 0; t < TICKERS; t++)
			if (after[t][p] < k->report->shared[t][p])
				wrong(f, "shared memory: ticker %zu page %zu is %lu, and a child has seen %lu", t, p, after[t][p],
				      k->report->shared[t][p]);
		if (stored != k->version)
			wrong(f, "shared memory: a child has stored %lu in page %zu, and %lu is there", k->version, p, stored);
	}
}

static void check_own(struct forker *k, const char *when)
{
	if (find_wrong(k->anonymous, k->version, k->number) != NULL || find_wrong(k->file, k->version, k->number) != NULL)
		wrong(k->forks, "private memory of the forking thread is wrong, %s", when);
}

static void *fork_often(void *argument)
{
	struct forker *k = argument;
	struct forks *f = k->forks;

	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		pid_t child;

		k->version++;
		store_own(k->anonymous, k->version, k->number);
		store_own(k->file, k->version, k->number);
		memset(k->report, 0, sizeof(*k->report));
		look_at(f->private_ticks, k->private_before);
		look_at(f->shared_ticks, k->shared_before);
		child = fork();
		if (child == 0)
			be_child(k);
		if (child < 0) {
			wrong(f, "fork: %s", strerror(errno));
			break;
		}
		atomic_fetch_add(&f->forked, 1);
		/* Under the child's eyes. */
		k->version += 1000000;
		store_own(k->anonymous, k->version, k->number);
		store_own(k->file, k->version, k->number);
		check_own(k, "beside the child");
		k->version -= 1000000;
		check_child(k, child);
		k->version += 1000000;
		check_own(k, "after the child");
		k->version -= 1000000;
	}
	return NULL;
}

/* ---- set-up and the end ---- */

static unsigned char *map(struct forks *f, size_t pages, int flags, int fd)
{
	unsigned char *p = f->calls.mmap(NULL, pages * page(), PROT_READ | PROT_WRITE, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool make_forker(struct forks *f, struct forker *k, const char *directory)
{
	k->forks = f;
	k->fd = open_unlinked(directory);
	if (k->fd < 0 || ftruncate(k->fd, (off_t)(OWN_PAGES * page())) != 0)
		return false;
	k->anonymous = map(f, OWN_PAGES, MAP_PRIVATE, -1);
	k->file = map(f, OWN_PAGES, MAP_PRIVATE, k->fd);
	k->report = mmap(NULL, sizeof(*k->report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return k->anonymous != NULL && k->file != NULL && k->report != MAP_FAILED;
}

static bool make_moving(struct forks *f)
{
	/* Two places where nobody else maps, far below where the kernel puts what asks for no place. */
	unsigned char *room = (unsigned char *)0x320000000000;

	f->places[0] = room + 8 * MOVING_PAGES * page();
	f->places[1] = room + 32 * MOVING_PAGES * page();
	if (f->calls.mmap(f->places[0], MOVING_PAGES * page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			  0) == MAP_FAILED)
		return false;
	for (size_t at = 0; at < MOVING_PAGES * page(); at++)
		((volatile unsigned char *)f->places[0])[at] = moving_byte(at);
	return true;
}

struct forks *forks_start(const struct calls *calls, const char *directory, uint64_t seed)
{
	struct forks *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->calls = *calls;
	f->seed = seed;
	f->private_ticks = map(f, TICK_PAGES, MAP_PRIVATE, -1);
	f->shared_ticks = map(f, TICK_PAGES, MAP_SHARED, -1);
	for (size_t i = 0; i < FORKERS; i++) {
		f->forkers[i].number = i;
		f->forkers[i].version = seed % 1000 * 1000;
		if (!make_forker(f, &f->forkers[i], directory)) {
			fprintf(stderr, "threads: cannot map: %s %s\n", strerror(errno), calls->errormsg());
			return NULL;
		}
	}
	if (f->private_ticks == NULL || f->shared_ticks == NULL || !make_moving(f)) {
		fprintf(stderr, "threads: cannot map: %s %s\n", strerror(errno), calls->errormsg());
		return NULL;
	}
	for (size_t i = 0; i < TICKERS; i++) {
		f->tickers[i] = (struct ticker){.forks = f, .number = i};
		pthread_create(&f->tickers[i].thread, NULL, tick, &f->tickers[i]);
	}
	pthread_create(&f->mover, NULL, move, f);
	for (size_t i = 0; i < FORKERS; i++)
		pthread_create(&f->forkers[i].thread, NULL, fork_often, &f->forkers[i]);
	return f;
}

bool forks_failed(const struct forks *f, char *message, size_t size)
{
	if (!atomic_load(&f->failed))
		return false;
	snprintf(message, size, "forks: %s", f->message);
	return true;
}

bool forks_end(struct forks *f, uint64_t *ret_forks, char *message, size_t size)
{
	bool right;

	atomic_store(&f->stop, true);
	for (size_t i = 0; i < FORKERS; i++)
		pthread_join(f->forkers[i].thread, NULL);
	for (size_t i = 0; i < TICKERS; i++)
		pthread_join(f->tickers[i].thread, NULL);
	pthread_join(f->mover, NULL);
	right = !forks_failed(f, message, size);
	*ret_forks = atomic_load(&f->forked);
	f->calls.munmap(f->private_ticks, TICK_PAGES * page());
	f->calls.munmap(f->shared_ticks, TICK_PAGES * page());
	for (int i = 0; i < 2; i++)
		f->calls.munmap(f->places[i], MOVING_PAGES * page());
	for (size_t i = 0; i < FORKERS; i++) {
		f->calls.munmap(f->forkers[i].anonymous, OWN_PAGES * page());
		f->calls.munmap(f->forkers[i].file, OWN_PAGES * page());
		munmap(f->forkers[i].report, sizeof(struct report));
		close(f->forkers[i].fd);
	}
	if (f->calls.settle != NULL)
		f->calls.settle(0);
	free(f);
	return right;
}
