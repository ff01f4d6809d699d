/* SPDX-License-Identifier: MIT */
/*
 * load.c - threads that read and write a file four times as large as the memory, for long: what is sustained, and what is not
 *
 * The three sides take turns, each turn in a process of its own that begins with nothing in memory: the page cache is dropped, the
 * memory is filled in order, then the load itself runs unmeasured for a while, and then it is measured, second by second. The least second
 * is what the mean of a mapping hides. All sides are asked for the same pages in the same order.
 *
 * The kernel's mapping is held to as much memory as Quire takes in all, by a memory cgroup: a run of Quire that is not measured says how much
 * that is at first, tables and buffers and its share of the kernel's tables included, and where a turn of Quire takes more, the kernel
 * has that from then on. Where no cgroup can be made, the kernel has all the memory there is, and the row says so.
 *
 * The limit is what the device gives to as many threads that have no memory at all: a pread with O_DIRECT for each access, and a
 * pwrite for each store. Where popular pages stay in memory a mapping is faster than that.
 *
 * Every load is of a word that follows from its place. A store adds one to the next word, and counts the page: afterwards pages are read
 * from storage and held against what was counted, over all turns.
 */
#include "bench.h"
#include "cli/cgroup.h"
#include "cli/histogram.h"
#include "trace.h"
#include "trend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX   256
#define COUNTS_MAX    5
#define SHARE         4 /* of the file, in memory */
#define STORE_ONE_IN  10
#define SCAN_PER_S    (100 * 1000 * 1000) /* bytes, of the scan that disturbs */
#define CHECKED_PAGES 500

/* ---- a turn: what one process does, and what it brought; in memory that both share ---- */

struct loader {
	_Alignas(64) atomic_uint_fast64_t accesses;
	struct histogram times;
};

struct turn {
	enum trend_side side;
	unsigned threads;
	bool stores, charged; /* charged: the process was in a group of its own, so peak_bytes is known */
	unsigned run;
	double warm_s, seconds, interval_s;
	/* what it brought */
	unsigned points;
	double rate[TREND_POINTS_MAX], mean;
	uint64_t scanned, peak_bytes;
	double scan_s;
	struct loader loader[THREADS_MAX];
};

/* What a benchmark runs over. */
struct setup {
	const struct bench *b;
	const char *group;
	bool scan;
	bool grouped; /* there are memory cgroups to be used */
	uint64_t size, budget, kernel_limit;
	struct trace keys; /* no pages: uniform */
	int data, scratch;
	_Atomic unsigned char *stored; /* stores to each page of scratch, modulo 256; shared */
	struct turn *turn;             /* shared */
	uint64_t quire_peak;           /* of all its turns */
	double scan_mb_s[TREND_SIDES];
};

static const char *const side_names[TREND_SIDES] = {"Quire", "kernel", "raw"};

/* ---- in the process of a turn ---- */

struct field {
	const struct setup *s;
	struct turn *turn;
	int fd, direct;
	volatile uint64_t *p; /* NULL: raw */
	const volatile uint64_t *scan;
	atomic_bool measured, stop;
};

struct worker {
	pthread_t thread;
	struct field *field;
	struct loader *loader;
	uint64_t seed, key; /* key: where in the keys */
};

static uint64_t next_page(struct worker *w)
{
	const struct setup *s = w->field->s;

	if (!s->keys.page)
		return bench_random_below(&w->seed, s->size / BENCH_PAGE);
	w->key = w->key + 1 < s->keys.length ? w->key + 1 : 0;
	return s->keys.page[w->key];
}

static void access_raw(const struct field *f, uint64_t *buf, uint64_t page, bool store)
{
	if (pread(f->direct, buf, BENCH_PAGE, (off_t)(page * BENCH_PAGE)) != BENCH_PAGE)
		bench_stop(f->s->b, "raw pread of page %" PRIu64 ": %s", page, strerror(errno));
	/* What was read: another thread may be at the same page, and no count is kept here. */
	if (store && pwrite(f->direct, buf, BENCH_PAGE, (off_t)(page * BENCH_PAGE)) != BENCH_PAGE)
		bench_stop(f->s->b, "raw pwrite of page %" PRIu64 ": %s", page, strerror(errno));
}

static uint64_t access_mapped(const struct field *f, uint64_t page, bool store)
{
	uint64_t word = f->p[page * BENCH_WORDS];

	if (store) {
		__atomic_fetch_add((uint64_t *)&f->p[page * BENCH_WORDS + 1], 1, __ATOMIC_RELAXED);
		atomic_fetch_add_explicit(&f->s->stored[page], 1, memory_order_relaxed);
	}
	return word;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct field *f = w->field;
	uint64_t *buf = bench_buffer(f->s->b, BENCH_PAGE);
	double last = bench_now();

	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		uint64_t page = next_page(w), word;
		bool store = f->turn->stores && bench_random(&w->seed) % STORE_ONE_IN == 0;
		double now;

		if (f->p)
			word = access_mapped(f, page, store);
		else
			access_raw(f, buf, page, store), word = buf[0];
		bench_expect(f->s->b, side_names[f->turn->side], word, bench_word(page, 0));
		now = bench_now();
		if (atomic_load_explicit(&f->measured, memory_order_relaxed)) {
			histogram_note(&w->loader->times, (uint64_t)((now - last) * 1e9));
			/* Nobody else writes it: no locked instruction. */
			atomic_store_explicit(&w->loader->accesses,
					      atomic_load_explicit(&w->loader->accesses, memory_order_relaxed) + 1,
					      memory_order_relaxed);
		}
		last = now;
	}
	free(buf);
	return NULL;
}

static void sleep_until(double when)
{
	struct timespec t = {.tv_sec = (time_t)when, .tv_nsec = (long)((when - (double)(time_t)when) * 1e9)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* Reads the file in order at a given speed, or as fast as it goes where that is less, round and round. */
static void *scan(void *arg)
{
	struct field *f = arg;
	const struct bench *b = f->s->b;
	uint64_t *buf = bench_buffer(b, BENCH_CHUNK), chunks = f->s->size / BENCH_CHUNK,
		 chunk = bench_random_below(&(uint64_t){f->turn->run}, chunks);
	double due = bench_now(), start = due;

	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		uint64_t sum;

		if (f->scan) {
			sum = bench_touch((const char *)f->scan + chunk * BENCH_CHUNK, BENCH_CHUNK);
		} else {
			if (pread(f->direct, buf, BENCH_CHUNK, (off_t)(chunk * BENCH_CHUNK)) != BENCH_CHUNK)
				bench_stop(b, "raw pread of 1 MiB: %s", strerror(errno));
			sum = bench_touch(buf, BENCH_CHUNK);
		}
		bench_expect(b, "the scan", sum, bench_touch_sum(chunk * BENCH_CHUNK / BENCH_PAGE, BENCH_CHUNK / BENCH_PAGE));
		f->turn->scanned += BENCH_CHUNK;
		chunk = (chunk + 1) % chunks;
		due += (double)BENCH_CHUNK / SCAN_PER_S;
		if (due > bench_now())
			sleep_until(due);
		else
			due = bench_now();
	}
	f->turn->scan_s = bench_now() - start;
	free(buf);
	return NULL;
}

static uint64_t accesses(const struct turn *t)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->threads; i++)
		sum += atomic_load_explicit(&t->loader[i].accesses, memory_order_relaxed);
	return sum;
}

/* A point each interval, of its own length, until the turn is over. */
static void sample(struct turn *t)
{
	double start = bench_now(), last = start;
	uint64_t before = 0;

	for (t->points = 0; t->points < TREND_POINTS_MAX && (t->points + 0.5) * t->interval_s < t->seconds;) {
		double now;
		uint64_t sum;

		sleep_until(start + (t->points + 1) * t->interval_s);
		now = bench_now();
		sum = accesses(t);
		t->rate[t->points++] = (double)(sum - before) / (now - last) / 1e3;
		last = now;
		before = sum;
	}
	t->mean = (double)before / (last - start) / 1e3;
}

static void open_field(struct field *f)
{
	const struct bench *b = f->s->b;
	const struct bench_side *side = f->turn->side == TREND_QUIRE ? &bench_quire : &bench_kernel;
	int prot = f->turn->stores ? PROT_READ | PROT_WRITE : PROT_READ;
	uint64_t fill = f->s->budget < f->s->size ? f->s->budget : f->s->size;

	f->fd = f->turn->stores ? f->s->scratch : f->s->data;
	if (f->turn->side == TREND_LIMIT) {
		f->direct = bench_direct(b, f->fd, f->turn->stores ? O_RDWR : O_RDONLY);
		return;
	}
	if (side == &bench_quire)
		bench_engine(b, f->s->budget);
	f->p = bench_map(b, side, f->s->size, prot, MAP_SHARED, f->fd);
	if (side == &bench_quire && bench_resident_pages(b, side, (void *)f->p, f->s->size) != 0)
		bench_stop(b, "Quire: pages are resident before the first touch");
	bench_expect(b, side->name, bench_touch((const void *)f->p, fill), bench_touch_sum(0, fill / BENCH_PAGE));
	bench_advise(b, side, (void *)f->p, f->s->size, MADV_RANDOM);
	if (f->s->scan) {
		f->scan = bench_map(b, side, f->s->size, PROT_READ, MAP_SHARED, f->fd);
		bench_advise(b, side, (void *)f->scan, f->s->size, MADV_SEQUENTIAL);
	}
}

static void close_field(struct field *f)
{
	const struct bench *b = f->s->b;
	const struct bench_side *side = f->turn->side == TREND_QUIRE ? &bench_quire : &bench_kernel;

	if (!f->p) {
		close(f->direct);
		return;
	}
	if (f->turn->stores)
		bench_sync(b, side, (void *)f->p, f->s->size);
	bench_unmap(b, side, (void *)f->p, f->s->size);
	if (f->scan)
		bench_unmap(b, side, (void *)f->scan, f->s->size);
}

static void run_turn(const struct setup *s, struct turn *t)
{
	static struct worker workers[THREADS_MAX];
	struct field f = {.s = s, .turn = t};
	pthread_t scanner;

	open_field(&f);
	for (unsigned i = 0; i < t->threads; i++) {
		uint64_t seed = (uint64_t)t->run * THREADS_MAX + i;

		workers[i] = (struct worker){.field = &f, .loader = &t->loader[i], .seed = seed};
		if (s->keys.page)
			workers[i].key = bench_random_below(&seed, s->keys.length);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			bench_stop(s->b, "no thread to load with");
	}
	if (s->scan && pthread_create(&scanner, NULL, scan, &f) != 0)
		bench_stop(s->b, "no thread to scan with");
	sleep_until(bench_now() + t->warm_s);
	atomic_store(&f.measured, true);
	sample(t);
	atomic_store(&f.stop, true);
	for (unsigned i = 0; i < t->threads; i++)
		pthread_join(workers[i].thread, NULL);
	if (s->scan)
		pthread_join(scanner, NULL);
	close_field(&f);
}

/* ---- turns, one process each ---- */

static void enter_group(const struct setup *s, const struct cgroup *group)
{
	int r = cgroup_enter(group);

	if (r < 0)
		bench_stop(s->b, "%s: a process cannot be moved into it: %s", group->dir, strerror(-r));
}

/* => the status of a process that has ended by itself; stops when something ended it */
static int wait_turn(const struct setup *s, pid_t child, struct cgroup *group)
{
	int status;

	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			bench_stop(s->b, "no process for a turn: %s", strerror(errno));
	if (s->turn->charged)
		s->turn->peak_bytes = cgroup_peak(group);
	cgroup_remove(group);
	if (WIFSIGNALED(status))
		bench_stop(s->b, "the turn of %s was ended by signal %d (%s)", side_names[s->turn->side], WTERMSIG(status),
			   strsignal(WTERMSIG(status)));
	return WEXITSTATUS(status);
}

/* Reads pages that were stored to from storage: nothing that was stored is lost, and nothing is there that was not. */
static void check_stored(const struct setup *s)
{
	int direct = bench_direct(s->b, s->scratch, O_RDONLY);
	uint64_t *buf = bench_buffer(s->b, BENCH_PAGE), seed = s->turn->run, pages = s->size / BENCH_PAGE;

	for (unsigned i = 0; i < CHECKED_PAGES; i++) {
		uint64_t page = s->keys.page ? s->keys.page[bench_random_below(&seed, s->keys.length)]
					     : bench_random_below(&seed, pages),
			 added;

		if (pread(direct, buf, BENCH_PAGE, (off_t)(page * BENCH_PAGE)) != BENCH_PAGE)
			bench_stop(s->b, "reading page %" PRIu64 " back: %s", page, strerror(errno));
		added = buf[1] - bench_word(page, 1);
		bench_expect(s->b, "storage, first word:", buf[0], bench_word(page, 0));
		if (added >> 40 != 0 || (unsigned char)added != s->stored[page])
			bench_stop(s->b,
				   "WRONG BYTES: page %" PRIu64 " has %" PRIu64
				   " stores after the turn of %s, counted were %u (modulo 256)",
				   page, added, side_names[s->turn->side], s->stored[page]);
	}
	free(buf);
	close(direct);
}

/* The group for a turn, where it has one. */
static struct cgroup make_group(const struct setup *s)
{
	struct turn *t = s->turn;
	struct cgroup group = {0};
	int r;

	t->charged = s->grouped && t->side != TREND_LIMIT;
	r = t->charged ? cgroup_make(&group) : 0;
	if (r < 0)
		bench_stop(s->b, "a memory cgroup can be made no more: %s", strerror(-r));
	if (t->charged && t->side == TREND_KERNEL && s->kernel_limit > 0 && cgroup_limit(&group, s->kernel_limit) < 0) {
		cgroup_remove(&group);
		bench_stop(s->b, "a memory cgroup cannot be limited to %" PRIu64 " bytes", s->kernel_limit);
	}
	return group;
}

static void take_turn(const struct setup *s)
{
	struct turn *t = s->turn;
	struct cgroup group;
	pid_t child;
	int status;

	memset(t->loader, 0, t->threads * sizeof(*t->loader));
	t->scanned = t->peak_bytes = 0;
	bench_drop(s->b, t->stores ? s->scratch : s->data, s->size);
	group = make_group(s);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (t->charged)
			enter_group(s, &group);
		run_turn(s, t);
		_exit(0);
	}
	status = wait_turn(s, child, &group);
	if (status != 0)
		_exit(status); /* it has said why */
	bench_drop(s->b, t->stores ? s->scratch : s->data, s->size);
	if (t->stores)
		check_stored(s);
}

/* ---- rows ---- */

static void add_turn(struct setup *s, struct bench_row *mean, struct bench_row *worst, struct histogram *times)
{
	const struct turn *t = s->turn;
	struct bench_samples *means[TREND_SIDES] = {&mean->quire, &mean->kernel, &mean->limit};
	double least = t->points ? t->rate[0] : 0;

	bench_sample(means[t->side], t->mean);
	for (unsigned i = 0; i < t->points; i++) {
		trend_point(&mean->trend->side[t->side], t->rate[i]);
		least = t->rate[i] < least ? t->rate[i] : least;
	}
	if (worst)
		bench_sample(t->side == TREND_QUIRE    ? &worst->quire
			     : t->side == TREND_KERNEL ? &worst->kernel
						       : &worst->limit,
			     least);
	for (unsigned i = 0; i < t->threads; i++)
		histogram_add(&times[t->side], &t->loader[i].times);
	/* Quire's turn is the first of every row, so the kernel never has less than what Quire took until then. */
	if (t->side == TREND_QUIRE && t->peak_bytes > s->quire_peak)
		s->quire_peak = t->peak_bytes;
	if (s->grouped && s->quire_peak > s->kernel_limit)
		s->kernel_limit = s->quire_peak;
	if (s->scan)
		s->scan_mb_s[t->side] = (double)t->scanned / t->scan_s / 1e6;
}

static struct bench_row *make_row(const struct setup *s, const char *of, unsigned threads)
{
	char what[sizeof(((struct bench_row *)0)->what)];

	snprintf(what, sizeof(what), "%s, %s, %u thread%s", s->group, of, threads, threads == 1 ? "" : "s");
	return bench_row(s->b, what, "k/s", true);
}

/* One row of means; with one of the worst second, and seconds of measuring for each side. */
static void measure(struct setup *s, unsigned threads, bool stores, bool most, double seconds)
{
	const struct bench *b = s->b;
	struct bench_row *mean = make_row(s, stores ? "10 % stores" : "loads", threads);
	struct bench_row *worst = most ? make_row(s, stores ? "10 % stores, worst second" : "loads, worst second", threads) : NULL;
	struct bench_trend *trend = trend_make(b, mean);
	struct histogram *times = bench_alloc(b, TREND_SIDES, sizeof(*times));
	struct turn *t = s->turn;

	t->threads = threads;
	t->stores = stores;
	t->seconds = seconds / b->runs;
	t->interval_s = t->seconds >= 3 ? 1 : t->seconds / 3;
	t->warm_s = b->quick ? t->seconds / 4 : t->seconds < 8 ? 2 : t->seconds / 4;
	snprintf(trend->group, sizeof(trend->group), "%s", s->group);
	trend->threads = threads;
	trend->stores = stores;
	trend->drawn = most;
	trend->interval_s = t->interval_s;
	for (unsigned run = 0; run < b->runs; run++) {
		for (unsigned i = 0; i < TREND_SIDES; i++) {
			t->run = run;
			t->side = (run + i) % TREND_SIDES;
			take_turn(s);
			add_turn(s, mean, worst, times);
		}
	}
	for (unsigned i = 0; i < TREND_SIDES; i++)
		trend_times(&trend->side[i], &times[i]);
	trend_note(mean);
	if (s->scan)
		bench_note(mean, "the scan beside it, MB/s: Quire %.0f, kernel %.0f, raw %.0f", s->scan_mb_s[TREND_QUIRE],
			   s->scan_mb_s[TREND_KERNEL], s->scan_mb_s[TREND_LIMIT]);
	if (worst && t->interval_s != 1)
		bench_note(worst, "its seconds are of %.2f s", t->interval_s);
	free(times);
}

/* What Quire takes in all, of a run that is not measured: as much is what the kernel is held to. */
static void find_limit(struct setup *s, unsigned threads)
{
	struct turn *t = s->turn;

	s->grouped = cgroup_usable();
	if (!s->grouped)
		return;
	t->side = TREND_QUIRE;
	t->threads = threads;
	t->stores = true;
	t->run = 1000;
	t->seconds = t->interval_s = t->warm_s = s->b->quick ? 0.1 : 1;
	take_turn(s);
	s->kernel_limit = t->peak_bytes > s->budget ? t->peak_bytes : s->budget;
}

static void note_memory(const struct setup *s, struct bench_row *row)
{
	bench_note(row, "%" PRIu64 " MiB file, budget of %" PRIu64 " MiB", s->size / MIB, s->budget / MIB);
	if (!s->grouped)
		bench_note(row, "the kernel NOT limited in its memory: no memory cgroup can be made here (it takes root)");
	else
		bench_note(
		    row,
		    "charged to Quire at most %.1f MiB, tables and buffers included; the kernel's mapping held to %.1f by a cgroup",
		    (double)s->quire_peak / MIB, (double)s->kernel_limit / MIB);
}

/* One, and up to four more: the most, and its halves. Returns how many. */
static unsigned thread_counts(unsigned most, unsigned *counts)
{
	unsigned n = 0, halves = 0;

	counts[n++] = 1;
	while (halves + 1 < COUNTS_MAX - 1 && most >> (halves + 1) > 1)
		halves++;
	for (unsigned i = 0; i <= halves && most > 1; i++)
		counts[n++] = most >> (halves - i);
	return n;
}

static void *share(const struct bench *b, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_stop(b, "no memory to share: %s", strerror(errno));
	memset(p, 0, size); /* charged to this process, not to a turn */
	return p;
}

static void prepare(struct setup *s, bool skewed)
{
	const struct bench *b = s->b;

	s->size = bench_size(b, GIB, 64 * MIB);
	s->budget = s->size / SHARE;
	if (s->budget < 16 * MIB)
		bench_stop(b, "--size: at least %d MiB, of which a quarter is the memory", 16 * SHARE);
	if (skewed && trace_make(TRACE_ZIPF, (uint32_t)(s->size / BENCH_PAGE), b->quick ? 200000 : 4000000, 9, &s->keys) < 0)
		bench_stop(b, "no memory for the keys");
	s->data = bench_data(b, s->size, O_RDONLY);
	s->scratch = bench_scratch(b, s->size);
	s->stored = share(b, s->size / BENCH_PAGE);
	s->turn = share(b, sizeof(*s->turn));
}

static void run(const struct bench *b, const char *group, bool skewed, bool scanned)
{
	struct setup s = {.b = b, .group = group, .scan = scanned};
	unsigned most = b->threads ? b->threads : b->quick ? 4 : 8, counts[COUNTS_MAX], n;

	if (most > THREADS_MAX)
		bench_stop(b, "--threads %u: %d at most", most, THREADS_MAX);
	n = thread_counts(most, counts);
	if (b->quick && n > 2)
		counts[1] = counts[--n], n = 2;
	prepare(&s, skewed);
	find_limit(&s, most);
	for (unsigned i = 0; i < n; i++)
		measure(&s, counts[i], false, i + 1 == n, i + 1 == n ? b->seconds : b->seconds / 3);
	measure(&s, most, true, true, b->seconds);
	note_memory(&s, &b->result->row[0]);
	if (s.keys.page)
		trace_free(&s.keys);
	munmap(s.turn, sizeof(*s.turn));
	munmap((void *)s.stored, s.size / BENCH_PAGE);
	close(s.data);
	close(s.scratch);
}

void bench_load_uniform(const struct bench *b)
{
	run(b, "uniform", false, false);
}

void bench_load_zipf(const struct bench *b)
{
	run(b, "zipf", true, false);
}

void bench_load_scan(const struct bench *b)
{
	run(b, "zipf + scan", true, true);
}
