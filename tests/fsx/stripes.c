/* SPDX-License-Identifier: MIT */
/*
 * stripes.c - threads that each own some of the bytes of one file, so that every page belongs to all of them
 *
 * The file is cut into stripes of STRIPE_CELLS cells of 8 bytes, which are dealt out to the threads in turn; no stripe ends where a
 * page does. A thread loads, stores, reads and writes the cells of its own stripes, and makes calls over everybody's pages through
 * mappings of its own. What may be in a cell follows the rules of model.h, but for one thing: the page may be dirty at any time, since
 * others store to it, and so may be written back, and not be dropped, at any time. A cell's worlds are:
 *
 *      DIRTY (m, f)   stored to and not written back     → LOOSE (m, f), m on its way
 *      LOOSE (m, f)   the page may be dirty or clean     → the same, m on its way; or LOOSE (f, f): dropped
 *      either (m, f), g on its way                       → the same (m, g), with g on its way or not any more
 *
 * So m may be on its way where f is m as well: somebody else's store is written back, and a write(2) of ours is undone by that.
 */
#include "stripes.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../oracle/rng.h"

enum { STRIPE_CELLS = 27, CELL_WORLDS = 24, CELL_WORLDS_MANY = 4, CLOSED_WORLDS = 128, STRIPES_READ = 4, CELL_EVENTS = 8 };

struct cell_world {
	uint64_t memory, file, flight; /* flight: 0 where nothing is on its way */
	bool dirty, flies;
};

/* What was done to a cell or seen of it, for who has to find out why it is wrong. */
struct event {
	const char *what;
	uint64_t value, at_ns;
};

struct cell {
	struct cell_world worlds[CELL_WORLDS]; /* what they may become is left out */
	unsigned count;
	struct event events[CELL_EVENTS];
	uint64_t events_count;
};

struct crew {
	const struct stripes *how;
	size_t cells, pages, page_bytes;
	int fd;
	atomic_bool stop, failed;
	atomic_ullong operations;
	uint64_t each; /* operations of one thread; 0: until stop */
};

struct owner {
	struct crew *crew;
	size_t number;
	pthread_t thread;
	struct rng rng;
	unsigned char *memory; /* a mapping of the whole file */
	struct cell *cells;    /* ours, one after the other */
	uint64_t loads, stores, reads, writes, calls;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct crew *c, const char *format, ...)
{
	va_list args;

	if (atomic_exchange(&c->failed, true))
		return false;
	va_start(args, format);
	fprintf(stderr, "fsx: seed %" PRIu64 ": ", c->how->seed);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	atomic_store(&c->stop, true);
	return false;
}

static bool call_failed(struct crew *c, const char *call)
{
	return fail(c, "%s: %s (%s)", call, strerror(errno), c->how->calls->errormsg());
}

/* ---- worlds of one cell ---- */

struct closed {
	struct cell_world worlds[CLOSED_WORLDS];
	unsigned count;
};

static bool same(const struct cell_world *a, const struct cell_world *b)
{
	return a->memory == b->memory && a->file == b->file && a->flight == b->flight && a->dirty == b->dirty &&
	       a->flies == b->flies;
}

static void add(struct closed *set, struct cell_world w)
{
	if (!w.flies)
		w.flight = 0;
	for (unsigned i = 0; i < set->count; i++) {
		if (same(&set->worlds[i], &w))
			return;
	}
	if (set->count == CLOSED_WORLDS)
		abort();
	set->worlds[set->count++] = w;
}

/* Adds what the worlds of the set may become by themselves. */
static void close_set(struct closed *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		struct cell_world w = set->worlds[i], next = w;

		if (w.flies) {
			next.file = w.flight;
			add(set, next);
			next.flies = false;
			add(set, next);
			continue;
		}
		if (!w.dirty) {
			next.memory = w.file;
			add(set, next);
		}
		add(set, (struct cell_world){w.memory, w.file, w.memory, false, true});
	}
}

static void close_cell(const struct cell *cell, struct closed *ret)
{
	ret->count = cell->count;
	memcpy(ret->worlds, cell->worlds, cell->count * sizeof(*cell->worlds));
	close_set(ret);
}

/* Keeps what nothing else of the set may become. */
static void keep(struct cell *cell, const struct closed *set)
{
	bool gone[CLOSED_WORLDS] = {false};

	cell->count = 0;
	for (unsigned i = 0; i < set->count; i++) {
		struct closed from = {.worlds = {set->worlds[i]}, .count = 1};

		close_set(&from);
		for (unsigned k = 0; k < set->count && !gone[i]; k++) {
			for (unsigned n = 0; n < from.count && k != i; n++)
				gone[k] |= same(&set->worlds[k], &from.worlds[n]);
		}
	}
	for (unsigned i = 0; i < set->count; i++) {
		if (gone[i])
			continue;
		if (cell->count == CELL_WORLDS)
			abort();
		cell->worlds[cell->count++] = set->worlds[i];
	}
}

static void note(struct cell *cell, const char *what, uint64_t value)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	cell->events[cell->events_count++ % CELL_EVENTS] =
	    (struct event){what, value, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec};
}

/* Keeps the worlds in which it was possible to see this in memory, or in the file. => false: none */
static bool seen(struct cell *cell, uint64_t value, bool in_file)
{
	struct closed set, left = {.count = 0};

	note(cell, in_file ? "read" : "loaded", value);
	close_cell(cell, &set);
	for (unsigned i = 0; i < set.count; i++) {
		if ((in_file ? set.worlds[i].file : set.worlds[i].memory) == value)
			add(&left, set.worlds[i]);
	}
	if (left.count == 0)
		return false;
	keep(cell, &left);
	return true;
}

static void put_in_memory(struct cell *cell, uint64_t value)
{
	struct closed set, put = {.count = 0};

	note(cell, "stored", value);
	close_cell(cell, &set);
	for (unsigned i = 0; i < set.count; i++) {
		set.worlds[i].memory = value;
		set.worlds[i].dirty = true;
		add(&put, set.worlds[i]);
	}
	keep(cell, &put);
}

static void put_in_file(struct cell *cell, uint64_t value)
{
	struct closed set, put = {.count = 0};

	note(cell, "written", value);
	close_cell(cell, &set);
	for (unsigned i = 0; i < set.count; i++) {
		set.worlds[i].file = value;
		add(&put, set.worlds[i]);
	}
	keep(cell, &put);
}

/* MS_SYNC has returned: nothing that was dirty is, and nothing that was on its way is. */
static void synced(struct cell *cell)
{
	struct closed set, left = {.count = 0};

	note(cell, "synced", 0);
	close_cell(cell, &set);
	for (unsigned i = 0; i < set.count; i++) {
		if (!set.worlds[i].dirty && !set.worlds[i].flies)
			add(&left, set.worlds[i]);
	}
	keep(cell, &left);
}

/* ---- whose is what ---- */

static bool is_ours(const struct owner *o, size_t cell)
{
	return cell / STRIPE_CELLS % o->crew->how->threads == o->number;
}

static struct cell *cell_of(struct owner *o, size_t cell)
{
	return &o->cells[cell / STRIPE_CELLS / o->crew->how->threads * STRIPE_CELLS + cell % STRIPE_CELLS];
}

/* A stripe of ours: its first cell. Half of the time one of a few. */
static size_t pick_stripe(struct owner *o)
{
	size_t rounds = o->crew->cells / STRIPE_CELLS / o->crew->how->threads;
	size_t round = (size_t)rng_below(&o->rng, (int64_t)(rng_percent(&o->rng, 50) && rounds > 40 ? 40 : rounds));

	return (round * o->crew->how->threads + o->number) * STRIPE_CELLS;
}

static uint64_t first_value(size_t cell)
{
	return (cell + 1) * 0x9e3779b97f4a7c15u | 1;
}

/* ---- what a thread does ---- */

static uint64_t *place_of(const struct owner *o, size_t cell)
{
	return (uint64_t *)(void *)o->memory + cell;
}

static void print_events(const struct cell *cell)
{
	uint64_t i = cell->events_count < CELL_EVENTS ? 0 : cell->events_count - CELL_EVENTS;

	for (; i < cell->events_count; i++) {
		const struct event *e = &cell->events[i % CELL_EVENTS];

		fprintf(stderr, "fsx: %.6f s: %s %#" PRIx64 "\n", (double)e->at_ns / 1e9, e->what, e->value);
	}
}

static bool check(struct owner *o, size_t cell, uint64_t value, bool in_file, const char *what)
{
	struct cell before = *cell_of(o, cell);
	const struct cell_world *w = before.worlds;

	if (seen(cell_of(o, cell), value, in_file))
		return true;
	print_events(cell_of(o, cell));
	return fail(o->crew,
		    "%s of thread %zu: cell %zu (page %zu, byte %zu) is %#" PRIx64 ", which nothing allows: %u worlds, the first "
		    "%#" PRIx64 " in memory, %#" PRIx64 " in the file, %s",
		    what, o->number, cell, cell * 8 / o->crew->page_bytes, cell * 8 % o->crew->page_bytes, value, before.count,
		    w->memory, w->file, w->dirty ? "dirty" : "not dirty by us");
}

static bool load_cell(struct owner *o, size_t cell)
{
	o->loads++;
	return check(o, cell, __atomic_load_n(place_of(o, cell), __ATOMIC_RELAXED), false, "load");
}

static bool read_cells(struct owner *o, size_t first, size_t n)
{
	uint64_t values[STRIPE_CELLS * STRIPES_READ * STRIPES_THREADS_MAX];

	if (first + n > o->crew->cells)
		n = o->crew->cells - first;
	o->reads++;
	if (pread(o->crew->fd, values, n * 8, (off_t)(first * 8)) != (ssize_t)(n * 8))
		return call_failed(o->crew, "pread");
	for (size_t i = 0; i < n; i++) {
		if (is_ours(o, first + i) && !check(o, first + i, values[i], true, "read"))
			return false;
	}
	return true;
}

/* Fewer worlds, by looking at both sides; and where that does not help, by writing. */
static bool look(struct owner *o, size_t cell)
{
	struct cell *c = cell_of(o, cell);
	size_t page = cell * 8 / o->crew->page_bytes * o->crew->page_bytes;

	if (c->count < CELL_WORLDS_MANY)
		return true;
	if (!load_cell(o, cell) || !read_cells(o, cell, 1))
		return false;
	if (c->count < CELL_WORLDS_MANY)
		return true;
	if (o->crew->how->calls->msync(o->memory + page, o->crew->page_bytes, MS_SYNC) != 0)
		return call_failed(o->crew, "msync, to look");
	synced(c);
	return true;
}

static bool do_load(struct owner *o)
{
	size_t first = pick_stripe(o), n = 1 + (size_t)rng_below(&o->rng, rng_percent(&o->rng, 30) ? STRIPE_CELLS : 3);

	for (size_t i = STRIPE_CELLS - n; i < STRIPE_CELLS; i++) {
		if (!load_cell(o, first + i))
			return false;
	}
	return true;
}

static bool do_store(struct owner *o)
{
	size_t first = pick_stripe(o), n = 1 + (size_t)rng_below(&o->rng, rng_percent(&o->rng, 30) ? STRIPE_CELLS : 3);

	for (size_t i = STRIPE_CELLS - n; i < STRIPE_CELLS; i++) {
		uint64_t value = rng_next(&o->rng);

		if (!look(o, first + i))
			return false;
		__atomic_store_n(place_of(o, first + i), value, __ATOMIC_RELAXED);
		put_in_memory(cell_of(o, first + i), value);
		o->stores++;
	}
	return true;
}

static bool do_read(struct owner *o)
{
	size_t stripes = 1 + (size_t)rng_below(&o->rng, STRIPES_READ);

	return read_cells(o, pick_stripe(o), ((stripes - 1) * o->crew->how->threads + 1) * STRIPE_CELLS);
}

static bool do_write(struct owner *o)
{
	uint64_t values[STRIPE_CELLS];
	size_t first = pick_stripe(o), n = 1 + (size_t)rng_below(&o->rng, STRIPE_CELLS);

	first += STRIPE_CELLS - n;
	for (size_t i = 0; i < n; i++) {
		values[i] = rng_next(&o->rng);
		if (!look(o, first + i))
			return false;
	}
	if (pwrite(o->crew->fd, values, n * 8, (off_t)(first * 8)) != (ssize_t)(n * 8))
		return call_failed(o->crew, "pwrite");
	o->writes++;
	for (size_t i = 0; i < n; i++)
		put_in_file(cell_of(o, first + i), values[i]);
	return true;
}

static void pick_pages(struct owner *o, size_t most, unsigned char **ret_at, size_t *ret_len)
{
	size_t page = (size_t)rng_below(&o->rng, (int64_t)o->crew->pages), left = o->crew->pages - page;
	size_t n = 1 + (size_t)rng_below(&o->rng, (int64_t)(most < left ? most : left));

	*ret_at = o->memory + page * o->crew->page_bytes;
	*ret_len = n * o->crew->page_bytes;
}

static bool do_msync(struct owner *o)
{
	static const int all[] = {MS_SYNC, MS_ASYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE, MS_ASYNC, MS_INVALIDATE};
	int flags = all[rng_below(&o->rng, 6)];
	unsigned char *at;
	size_t len, first, end;

	pick_pages(o, 32, &at, &len);
	/* Only a lock of the range itself is refused, and none is locked by this mapping. */
	if (o->crew->how->calls->msync(at, len, flags) != 0)
		return call_failed(o->crew, "msync");
	first = (size_t)(at - o->memory) / 8;
	end = first + len / 8 < o->crew->cells ? first + len / 8 : o->crew->cells;
	for (size_t i = first; i < end && (flags & MS_SYNC); i++) {
		if (is_ours(o, i))
			synced(cell_of(o, i));
	}
	return true;
}

static bool do_advise(struct owner *o)
{
	static const int all[] = {MADV_DONTNEED, MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLD,
				  MADV_WILLNEED, MADV_RANDOM,  MADV_NORMAL,  MADV_SEQUENTIAL};
	unsigned char *at;
	size_t len;

	pick_pages(o, 48, &at, &len);
	return o->crew->how->calls->madvise(at, len, all[rng_below(&o->rng, 8)]) == 0 || call_failed(o->crew, "madvise");
}

static bool map(struct owner *o)
{
	o->memory = o->crew->how->calls->mmap(NULL, o->crew->pages * o->crew->page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
					      o->crew->fd, 0);
	return o->memory != MAP_FAILED || call_failed(o->crew, "mmap");
}

static bool unmap(struct owner *o)
{
	return o->crew->how->calls->munmap(o->memory, o->crew->pages * o->crew->page_bytes) == 0 || call_failed(o->crew, "munmap");
}

/* Away and back: a mapping of another address, which shows the same. */
static bool do_remap(struct owner *o)
{
	size_t len = o->crew->pages * o->crew->page_bytes;
	unsigned char *p, *to;

	/* The others keep the file mapped. */
	if (rng_percent(&o->rng, 40) && o->crew->how->threads > 1)
		return unmap(o) && map(o);
	if (rng_percent(&o->rng, 50)) {
		p = o->memory;
		return (o->crew->how->calls->mprotect(p, len, PROT_READ) == 0 && load_cell(o, pick_stripe(o)) &&
			o->crew->how->calls->mprotect(p, len, PROT_READ | PROT_WRITE) == 0) ||
		       call_failed(o->crew, "mprotect");
	}
	/* Advice may have left it in several pieces. */
	if (o->crew->how->calls->madvise(o->memory, len, MADV_NORMAL) != 0)
		return call_failed(o->crew, "madvise");
	to = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = o->crew->how->calls->mremap(o->memory, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (to == MAP_FAILED || p != to)
		return call_failed(o->crew, "mremap");
	o->memory = p;
	return true;
}

static const struct {
	int weight;
	bool (*run)(struct owner *o);
} kinds[] = {{300, do_load}, {280, do_store}, {140, do_read}, {70, do_write}, {40, do_msync}, {40, do_advise}, {4, do_remap}};

static bool run_one(struct owner *o)
{
	int64_t sum = 0, n;
	size_t i = 0;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
		sum += kinds[k].weight;
	n = rng_below(&o->rng, sum);
	while ((n -= kinds[i].weight) >= 0)
		i++;
	o->calls += i > 3;
	return kinds[i].run(o);
}

static void *own(void *argument)
{
	struct owner *o = argument;
	uint64_t done = 0;

	while (!atomic_load_explicit(&o->crew->stop, memory_order_relaxed) && (o->crew->each == 0 || done < o->crew->each) &&
	       run_one(o)) {
		done++;
		if (done % 64 == 0)
			atomic_fetch_add_explicit(&o->crew->operations, 64, memory_order_relaxed);
	}
	atomic_fetch_add(&o->crew->operations, done % 64);
	return NULL;
}

/* ---- begin and end ---- */

static bool make_file(struct crew *c)
{
	uint64_t *values = malloc(c->cells * 8);
	bool written;

	c->fd = open_unlinked(c->how->directory);
	if (values == NULL || c->fd < 0)
		return false;
	for (size_t i = 0; i < c->cells; i++)
		values[i] = first_value(i);
	written = pwrite(c->fd, values, c->cells * 8, 0) == (ssize_t)(c->cells * 8);
	free(values);
	return written;
}

static bool owner_init(struct owner *o, struct crew *c, size_t number)
{
	size_t rounds = c->cells / STRIPE_CELLS / c->how->threads + 1;

	*o = (struct owner){.crew = c, .number = number, .rng = rng_stream(c->how->seed, number)};
	o->cells = calloc(rounds * STRIPE_CELLS, sizeof(*o->cells));
	if (o->cells == NULL)
		return false;
	for (size_t i = 0; i < c->cells; i++) {
		if (is_ours(o, i)) {
			cell_of(o, i)->worlds[0] = (struct cell_world){.memory = first_value(i), .file = first_value(i)};
			cell_of(o, i)->count = 1;
		}
	}
	return map(o);
}

static void check_all(struct owner *o)
{
	for (size_t i = 0; i < o->crew->cells && !atomic_load(&o->crew->failed); i++) {
		if (is_ours(o, i))
			load_cell(o, i);
	}
}

/* Nothing is mapped any more. */
static void check_file(struct owner *o)
{
	size_t most = STRIPE_CELLS * STRIPES_READ * STRIPES_THREADS_MAX;

	for (size_t i = 0; i < o->crew->cells; i++) {
		if (is_ours(o, i))
			synced(cell_of(o, i));
	}
	for (size_t i = 0; i < o->crew->cells && !atomic_load(&o->crew->failed); i += most)
		read_cells(o, i, most);
}

static void wait_for_end(struct crew *c)
{
	struct timespec rest = {0, 100000000};
	uint64_t done = 0;

	for (int64_t ticks = 1; !atomic_load(&c->stop); ticks++) {
		uint64_t now;

		nanosleep(&rest, NULL);
		now = atomic_load(&c->operations);
		/* Where nothing is done any more, the alarm goes off. */
		if (now != done)
			alarm(60);
		done = now;
		if (c->each == 0 ? ticks >= 10 * c->how->seconds : done >= c->each * c->how->threads)
			break;
		/* Every minute, so that a long run can be followed. */
		if (ticks % 600 == 0)
			fprintf(stderr, "fsx: %" PRIu64 " operations clean in %" PRId64 " s\n", done, ticks / 10);
	}
	if (c->each == 0)
		atomic_store(&c->stop, true);
}

static void print_counts(const struct crew *c, const struct owner *owners, const struct timespec *start)
{
	uint64_t loads = 0, stores = 0, reads = 0, writes = 0, calls = 0, operations = atomic_load(&c->operations);
	struct timespec now;
	double seconds;

	for (size_t i = 0; i < c->how->threads; i++) {
		loads += owners[i].loads;
		stores += owners[i].stores;
		reads += owners[i].reads;
		writes += owners[i].writes;
		calls += owners[i].calls;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds = (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
	printf("%" PRIu64 " operations by %zu threads (%" PRIu64 " loads, %" PRIu64 " stores, %" PRIu64 " reads, %" PRIu64
	       " writes, %" PRIu64 " calls), %.0f operations/s\n",
	       operations, c->how->threads, loads, stores, reads, writes, calls, (double)operations / seconds);
}

static bool begin(struct crew *c, struct owner *owners)
{
	bool begun = make_file(c);

	for (size_t i = 0; i < c->how->threads && begun; i++)
		begun = owner_init(&owners[i], c, i);
	for (size_t i = 0; i < c->how->threads && begun; i++)
		begun = pthread_create(&owners[i].thread, NULL, own, &owners[i]) == 0;
	if (!begun)
		fprintf(stderr, "fsx: cannot start: %s (%s)\n", strerror(errno), c->how->calls->errormsg());
	return begun;
}

int stripes_run(const struct stripes *s)
{
	struct crew *c = calloc(1, sizeof(*c));
	struct owner *owners = calloc(s->threads, sizeof(*owners));
	struct timespec start;
	char message[256];
	bool failed;

	if (c == NULL || owners == NULL)
		return 2;
	c->how = s;
	c->page_bytes = (size_t)page_bytes();
	c->pages = s->file_bytes / c->page_bytes;
	/* The last page is not whole, and no stripe is cut. */
	c->cells = (c->pages * c->page_bytes - 1000) / 8 / STRIPE_CELLS / s->threads * STRIPE_CELLS * s->threads;
	c->each = s->seconds != 0 ? 0 : s->operations / s->threads;
	clock_gettime(CLOCK_MONOTONIC, &start);
	alarm(60);
	if (!begin(c, owners))
		return 2;
	wait_for_end(c);
	for (size_t i = 0; i < s->threads; i++)
		pthread_join(owners[i].thread, NULL);
	for (size_t i = 0; i < s->threads; i++)
		check_all(&owners[i]);
	for (size_t i = 0; i < s->threads; i++)
		unmap(&owners[i]);
	for (size_t i = 0; i < s->threads; i++)
		check_file(&owners[i]);
	if (s->calls->check != NULL && !s->calls->check(message, sizeof(message)))
		fail(c, "%s", message);
	print_counts(c, owners, &start);
	alarm(0);
	failed = atomic_load(&c->failed);
	for (size_t i = 0; i < s->threads; i++)
		free(owners[i].cells);
	free(owners);
	close(c->fd);
	free(c);
	return failed;
}
