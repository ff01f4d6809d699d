/* SPDX-License-Identifier: MIT */
/*
 * costs.c - what the parts of a fault cost on this machine, alone and beside another processor
 *
 * Each part is done over and over in processes of their own, by one thread, by two of one process, by one of each of two processes. Time
 * is cut into slots of a millisecond that all threads have in common. A slot counts where every thread had its processor for nearly all
 * of it, so that the figures stand on a machine that others use, too; the cost is the median over such slots. What it takes to
 * begin again (pages to be mapped anew) is not counted.
 */
#include "costs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "cache/chunk.h"
#include "quire/quire.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "sys/pagemap.h"
#include "sys/uffd.h"
#include "util/lock.h"

#define WORKERS       2
#define WORKER_CHUNKS 8
#define WORKER_PAGES  (WORKER_CHUNKS * CHUNK_PAGES)
#define SLOTS         1500
#define SLOT_NS       1000000.0
#define SLOTS_WORTH   12 /* fewer good ones are not better than all */

/* What a process has for the part that it measures. Both: of both workers, one after the other. */
struct place {
	_Atomic uint64_t counter __attribute__((aligned(64)));
	struct rwlock map_lock __attribute__((aligned(64)));
	_Atomic bool ended __attribute__((aligned(64))); /* one of the workers has */
	struct frames frames;
	int uffd, pagemap;
	char *map;   /* of the memfd, both */
	char *quire; /* of the file, both */
	const char *dir;
};

struct worker {
	struct place *place;
	unsigned number;
	uint64_t at; /* next page of its own */
	char *bytes; /* of one page */
};

/* Does some operations, and says how many; reset: makes the pages as they were, of which the time is not counted. */
struct part {
	int (*set_up)(struct place *place);
	unsigned (*perform)(struct worker *worker);
	void (*reset)(struct worker *worker);
	unsigned pages; /* that are mapped in a chunk */
};

static uint64_t first_page(const struct worker *worker)
{
	return (uint64_t)worker->number * WORKER_PAGES;
}

static size_t bytes_of(uint64_t pages)
{
	return (size_t)pages << page_shift;
}

/* ---- lines of the processor's cache ---- */

static int nothing_to_set_up(struct place *place)
{
	(void)place;
	return 0;
}

static unsigned add(struct worker *worker)
{
	for (unsigned i = 0; i < 1000; i++)
		atomic_fetch_add_explicit(&worker->place->counter, 1, memory_order_relaxed);
	return 1000;
}

static unsigned read_lock(struct worker *worker)
{
	for (unsigned i = 0; i < 500; i++) {
		rwlock_read_acquire(&worker->place->map_lock);
		rwlock_read_release(&worker->place->map_lock);
	}
	return 500;
}

/* To and fro; who has ended ends the other's waiting, too. */
static unsigned hand_over(struct worker *worker)
{
	struct place *place = worker->place;

	for (unsigned i = 0; i < 200; i++) {
		while (atomic_load_explicit(&place->counter, memory_order_acquire) % WORKERS != worker->number)
			if (atomic_load_explicit(&place->ended, memory_order_relaxed))
				return 400;
		atomic_fetch_add_explicit(&place->counter, 1, memory_order_release);
	}
	return 400;
}

/* ---- signals ---- */

/* A load of a byte that may not be read, which the handler steps over. */
#if defined(__x86_64__)
#define LOAD(p)      __asm__ volatile("movb (%0), %%al" : : "a"(p) : "memory") /* two bytes */
#define STEP_OVER(c) ((c)->uc_mcontext.gregs[REG_RIP] += 2)
#elif defined(__aarch64__)
#define LOAD(p)      __asm__ volatile("ldrb wzr, [%0]" : : "r"(p) : "memory")
#define STEP_OVER(c) ((c)->uc_mcontext.pc += 4)
#endif

#ifdef LOAD
static void step_over(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	STEP_OVER((ucontext_t *)context);
}
#endif

static int catch_loads(struct place *place)
{
#ifdef LOAD
	struct sigaction action = {.sa_sigaction = step_over, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};

	place->map = mmap(NULL, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigfillset(&action.sa_mask);
	return place->map == MAP_FAILED || sigaction(SIGSEGV, &action, NULL) < 0 ? -errno : 0;
#else
	(void)place;
	return -EOPNOTSUPP;
#endif
}

static unsigned load_refused(struct worker *worker)
{
	(void)worker;
#ifdef LOAD
	for (unsigned i = 0; i < 16; i++)
		LOAD(worker->place->map);
#endif
	return 16;
}

/* ---- the kernel's part, on a mapping of a memfd ---- */

static int map_frames(struct place *place)
{
	enum uffd_source source = uffd_find(false);
	int r = source == UFFD_NONE ? -EPERM : frames_create(NULL, WORKERS * WORKER_PAGES, &place->frames);

	if (r == 0)
		r = pagemap_open(&place->pagemap); /* 6.7, as asynchronous write protection */
	if (r == 0)
		r = uffd_open(source, true, true, &place->uffd);
	if (r < 0)
		return r;
	place->map = mmap(NULL, bytes_of(WORKERS * WORKER_PAGES), PROT_READ | PROT_WRITE, MAP_SHARED, place->frames.fd, 0);
	if (place->map == MAP_FAILED)
		return -errno;
	return uffd_register(place->uffd, place->map, bytes_of(WORKERS * WORKER_PAGES), true, true);
}

static char *address_of(const struct worker *worker, uint64_t page)
{
	return worker->place->map + bytes_of(first_page(worker) + page);
}

static void refill(struct worker *worker)
{
	for (uint64_t i = 0; i < WORKER_PAGES; i++)
		if (frames_write(&worker->place->frames, first_page(worker) + i, 1, worker->bytes) < 0)
			abort();
}

static void take_out(struct worker *worker)
{
	if (worker->at == 0)
		refill(worker);
	if (madvise(address_of(worker, 0), bytes_of(WORKER_PAGES), MADV_DONTNEED) < 0)
		abort();
}

static unsigned enter(struct worker *worker)
{
	for (unsigned i = 0; i < 32; i++)
		if (uffd_continue(worker->place->uffd, address_of(worker, worker->at++ % WORKER_PAGES), page_size(), true) < 0)
			abort();
	return 32;
}

static void empty(struct worker *worker)
{
	if (frames_free(&worker->place->frames, first_page(worker), WORKER_PAGES) < 0)
		abort();
}

static unsigned place(struct worker *worker)
{
	for (unsigned i = 0; i < 32; i++)
		if (uffd_copy(worker->place->uffd, address_of(worker, worker->at++ % WORKER_PAGES), worker->bytes, page_size(),
			      true) < 0)
			abort();
	return 32;
}

static unsigned punch(struct worker *worker)
{
	for (unsigned i = 0; i < 32; i++)
		if (frames_free(&worker->place->frames, first_page(worker) + worker->at++ % WORKER_PAGES, 1) < 0)
			abort();
	return 32;
}

/* So many of each chunk, evenly apart. */
static void enter_some(struct worker *worker, unsigned in_chunk)
{
	take_out(worker);
	for (unsigned c = 0; c < WORKER_CHUNKS; c++)
		for (unsigned i = 0; i < in_chunk; i++)
			if (uffd_continue(worker->place->uffd,
					  address_of(worker, (uint64_t)c * CHUNK_PAGES + i * (CHUNK_PAGES / in_chunk)), page_size(),
					  true) < 0)
				abort();
}

static void enter_3(struct worker *worker)
{
	enter_some(worker, 3);
}

static void enter_512(struct worker *worker)
{
	enter_some(worker, 512);
}

/* From the first that is mapped to the last. */
static unsigned sweep_kernel(struct worker *worker)
{
	int pagemap = worker->place->pagemap;

	for (unsigned c = 0; c < WORKER_CHUNKS; c++) {
		char *addr = address_of(worker, (uint64_t)c * CHUNK_PAGES);
		uint64_t found[PAGEMAP_WORDS];
		unsigned span = 2 * (CHUNK_PAGES / 3) + 1;

		if (pagemap_there(pagemap, addr, span, found) < 0 || madvise(addr, bytes_of(span), MADV_DONTNEED) < 0 ||
		    pagemap_marked(pagemap, addr, span, found) < 0)
			abort();
	}
	worker->at += WORKER_PAGES;
	return WORKER_CHUNKS;
}

static void found_none(void *arg, void *addr, size_t pages)
{
	(void)arg;
	(void)addr;
	(void)pages;
}

static unsigned harvest(struct worker *worker)
{
	struct pagemap_taken taken = {0};

	if (pagemap_take_written(worker->place->pagemap, address_of(worker, 0), WORKER_PAGES, &taken, found_none, NULL) < 0)
		abort();
	worker->at++; /* nothing is different afterwards */
	return WORKER_CHUNKS;
}

/* ---- storage ---- */

static int make_file(struct place *place)
{
	char path[4096];
	char *bytes = aligned_alloc(4096, bytes_of(CHUNK_PAGES));

	snprintf(path, sizeof(path), "%s/costs-%d.bin", place->dir, (int)getpid());
	place->frames.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0600);
	if (place->frames.fd < 0 || !bytes)
		return place->frames.fd < 0 ? -errno : -ENOMEM;
	unlink(path);
	memset(bytes, 1, bytes_of(CHUNK_PAGES));
	for (unsigned i = 0; i < WORKERS * WORKER_CHUNKS; i++)
		if (pwrite(place->frames.fd, bytes, bytes_of(CHUNK_PAGES), (off_t)(i * bytes_of(CHUNK_PAGES))) < 0)
			return -errno;
	free(bytes);
	return 0;
}

static unsigned read_page(struct worker *worker)
{
	uint64_t page = first_page(worker) + worker->at++ * 1021 % WORKER_PAGES;

	if (pread(worker->place->frames.fd, worker->bytes, page_size(), (off_t)bytes_of(page)) < 0)
		abort();
	return 1;
}

/* ---- the engine ---- */

static int map_quire(struct place *place)
{
	struct quire_config config = {
	    .size = sizeof(config),
	    .memory_bytes = bytes_of(WORKERS * WORKER_PAGES) + (64u << 20),
	    .trap = QUIRE_TRAP_SIGNAL,
	};
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/costs-%d.bin", place->dir, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (ftruncate(fd, (off_t)bytes_of(WORKERS * WORKER_PAGES)) < 0 || quire_configure(&config) < 0)
		return -errno;
	place->quire = quire_mmap(NULL, bytes_of(WORKERS * WORKER_PAGES), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return place->quire == MAP_FAILED ? -errno : 0;
}

static char *quire_address(const struct worker *worker, uint64_t page)
{
	return worker->place->quire + bytes_of(first_page(worker) + page);
}

static void cool(struct worker *worker)
{
	if (worker->at == 0)
		for (uint64_t i = 0; i < WORKER_PAGES; i++)
			*(volatile char *)quire_address(worker, i);
	if (quire_madvise(quire_address(worker, 0), bytes_of(WORKER_PAGES), MADV_COLD) < 0)
		abort();
}

static unsigned fault(struct worker *worker)
{
	for (unsigned i = 0; i < 16; i++)
		*(volatile char *)quire_address(worker, worker->at++ % WORKER_PAGES);
	return 16;
}

static void touch_some(struct worker *worker, unsigned in_chunk)
{
	cool(worker);
	for (unsigned c = 0; c < WORKER_CHUNKS; c++)
		for (unsigned i = 0; i < in_chunk; i++)
			*(volatile char *)quire_address(worker, (uint64_t)c * CHUNK_PAGES + i * (CHUNK_PAGES / in_chunk));
}

static void touch_3(struct worker *worker)
{
	touch_some(worker, 3);
}

static void touch_26(struct worker *worker)
{
	touch_some(worker, 26);
}

static void touch_105(struct worker *worker)
{
	touch_some(worker, 105);
}

static void touch_512(struct worker *worker)
{
	touch_some(worker, 512);
}

static unsigned sweep(struct worker *worker)
{
	for (unsigned c = 0; c < WORKER_CHUNKS; c++)
		if (quire_madvise(quire_address(worker, (uint64_t)c * CHUNK_PAGES), bytes_of(CHUNK_PAGES), MADV_COLD) < 0)
			abort();
	worker->at += WORKER_PAGES;
	return WORKER_CHUNKS;
}

/* ---- measuring ---- */

const char *const cost_names[COST_KINDS] = {
    [COST_ATOMIC] = "atomic addition to one counter",
    [COST_MAP_LOCK] = "map lock for reading, taken and given up",
    [COST_LINE] = "handing a cache line over to another core",
    [COST_SIGNAL] = "load that is refused, SIGSEGV, empty handler",
    [COST_ENTER] = "UFFDIO_CONTINUE of a page",
    [COST_PLACE] = "UFFDIO_COPY of a page without a frame",
    [COST_FREE] = "punching the frame of a page out",
    [COST_READ] = "direct read of a page, processor time",
    [COST_FAULT] = "fault without I/O, signal trap, all of it",
    [COST_SWEEP_3] = "unmapping a chunk, 3 pages mapped",
    [COST_SWEEP_26] = "unmapping a chunk, 26 pages mapped",
    [COST_SWEEP_105] = "unmapping a chunk, 105 pages mapped",
    [COST_SWEEP_512] = "unmapping a chunk, all pages mapped",
    [COST_SWEEP_KERNEL] = "the system calls of it, 3 pages mapped",
    [COST_HARVEST_3] = "harvesting a chunk, 3 pages mapped",
    [COST_HARVEST_512] = "harvesting a chunk, all pages mapped",
};

static const struct part parts[COST_KINDS] = {
    [COST_ATOMIC] = {nothing_to_set_up, add, NULL, 0},
    [COST_MAP_LOCK] = {nothing_to_set_up, read_lock, NULL, 0},
    [COST_LINE] = {nothing_to_set_up, hand_over, NULL, 0},
    [COST_SIGNAL] = {catch_loads, load_refused, NULL, 0},
    [COST_ENTER] = {map_frames, enter, take_out, WORKER_PAGES},
    [COST_PLACE] = {map_frames, place, empty, WORKER_PAGES},
    [COST_FREE] = {map_frames, punch, refill, WORKER_PAGES},
    [COST_READ] = {make_file, read_page, NULL, 0},
    [COST_FAULT] = {map_quire, fault, cool, WORKER_PAGES},
    [COST_SWEEP_3] = {map_quire, sweep, touch_3, WORKER_PAGES},
    [COST_SWEEP_26] = {map_quire, sweep, touch_26, WORKER_PAGES},
    [COST_SWEEP_105] = {map_quire, sweep, touch_105, WORKER_PAGES},
    [COST_SWEEP_512] = {map_quire, sweep, touch_512, WORKER_PAGES},
    [COST_SWEEP_KERNEL] = {map_frames, sweep_kernel, enter_3, WORKER_PAGES},
    [COST_HARVEST_3] = {map_frames, harvest, enter_3, 0},
    [COST_HARVEST_512] = {map_frames, harvest, enter_512, 0},
};

/* Of one worker in one slot. busy: of all that it did, of which `measured` is what counts. */
struct slot {
	double measured_ns, busy_ns, processor_ns;
	uint64_t operations;
};

/* Shared by the processes that measure. */
struct measurement {
	_Atomic int error;
	_Atomic unsigned ready;
	_Atomic uint64_t start_ns; /* 0: not all are ready */
	struct slot slot[WORKERS][SLOTS];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool begin_again(const struct part *part, struct worker *worker)
{
	return part->reset && (worker->at == 0 || (part->pages && worker->at % part->pages == 0));
}

static void work(const struct part *part, struct worker *worker, struct measurement *m, unsigned slots)
{
	uint64_t now, processor, end;

	if (begin_again(part, worker))
		part->reset(worker);
	worker->at += part->pages; /* it was reset just now: only not the first time any more */
	atomic_fetch_add(&m->ready, 1);
	while (atomic_load(&m->start_ns) == 0)
		usleep(200);
	end = atomic_load(&m->start_ns) + slots * (uint64_t)SLOT_NS;
	now = clock_ns(CLOCK_MONOTONIC);
	processor = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (bool fresh = true; now < end; fresh = false) {
		uint64_t begun = now, before = processor, measured = now;
		struct slot *slot;
		unsigned n;

		if (!fresh && begin_again(part, worker)) {
			part->reset(worker);
			measured = clock_ns(CLOCK_MONOTONIC);
		}
		n = part->perform(worker);
		now = clock_ns(CLOCK_MONOTONIC);
		processor = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		if (now >= end || begun < atomic_load(&m->start_ns))
			continue;
		slot = &m->slot[worker->number][(now - atomic_load(&m->start_ns)) / (uint64_t)SLOT_NS];
		slot->operations += n;
		slot->measured_ns += (double)(now - measured);
		slot->busy_ns += (double)(now - begun);
		slot->processor_ns += (double)(processor - before);
	}
}

struct job {
	pthread_t thread;
	const struct part *part;
	struct worker worker;
	struct measurement *m;
	unsigned slots;
};

/* Each worker has a processor of its own to be on, if there are enough: two that wait for each other on one would never meet. */
static void stay(unsigned number)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && number-- == 0)
			CPU_SET(i, &one);
	if (CPU_COUNT(&one) > 0)
		sched_setaffinity(0, sizeof(one), &one);
}

static void *job_main(void *arg)
{
	struct job *job = arg;

	stay(job->worker.number);
	work(job->part, &job->worker, job->m, job->slots);
	atomic_store(&job->worker.place->ended, true);
	return NULL;
}

/* Workers first … end - 1 of one process. */
static int run_workers(const struct part *part, struct measurement *m, const char *dir, unsigned slots, unsigned first,
		       unsigned end)
{
	struct place *place = aligned_alloc(64, sizeof(*place));
	struct job job[WORKERS];
	int r;

	if (!place)
		return -ENOMEM;
	memset(place, 0, sizeof(*place));
	place->dir = dir;
	r = part->set_up(place);
	if (r < 0)
		return r;
	for (unsigned i = first; i < end; i++) {
		char *bytes = aligned_alloc(4096, page_size()); /* for direct reads, too */

		if (!bytes)
			return -ENOMEM;
		memset(bytes, 1, page_size());
		job[i] = (struct job){.part = part, .worker = {place, i, 0, bytes}, .m = m, .slots = slots};
		if (pthread_create(&job[i].thread, NULL, job_main, &job[i]) != 0)
			return -EAGAIN;
	}
	for (unsigned i = first; i < end; i++)
		pthread_join(job[i].thread, NULL);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Whether worker i had a processor for nearly all of the slot. */
static bool is_good(const struct measurement *m, unsigned i, unsigned s)
{
	const struct slot *slot = &m->slot[i][s];

	return slot->busy_ns > 0.5 * SLOT_NS && slot->processor_ns > 0.9 * slot->busy_ns;
}

static void evaluate(const struct measurement *m, unsigned workers, unsigned slots, enum setting setting, bool fastest,
		     struct cost *cost)
{
	static double all[WORKERS * SLOTS], good[WORKERS * SLOTS];
	unsigned n_all = 0, n_good = 0, n, which;

	for (unsigned s = 0; s < slots; s++) {
		bool together = true;

		for (unsigned i = 0; i < workers; i++)
			together &= is_good(m, i, s);
		for (unsigned i = 0; i < workers; i++) {
			const struct slot *slot = &m->slot[i][s];

			if (!slot->operations)
				continue;
			/* Processor time, so that what was lost to others is left out of the bad ones as well; who spins, spins on it. */
			all[n_all++] = slot->measured_ns / (double)slot->operations * slot->processor_ns / slot->busy_ns;
			if (together)
				good[n_good++] = all[n_all - 1];
		}
	}
	cost->crowded[setting] = n_good < SLOTS_WORTH;
	n = cost->crowded[setting] ? n_all : n_good;
	qsort(cost->crowded[setting] ? all : good, n, sizeof(double), compare);
	which = fastest ? n / 10 : n / 2;
	cost->ns[setting] = n == 0 ? 0 : cost->crowded[setting] ? all[which] : good[which];
	cost->slots[setting] = n;
}

/* Whether a child has ended; it is still to be waited for. */
static bool has_ended(void)
{
	siginfo_t info = {0};

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != 0;
}

/* 0 or -errno. */
static int measure(const struct part *part, enum setting setting, const char *dir, unsigned slots, struct cost *cost)
{
	unsigned workers = setting == COST_ALONE ? 1 : WORKERS, processes = setting == COST_PROCESSES ? WORKERS : 1;
	struct measurement *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	INVARIANT(slots <= SLOTS);
	if (m == MAP_FAILED)
		return -errno;
	fflush(NULL);
	for (unsigned p = 0; p < processes; p++) {
		pid_t child = fork();

		if (child < 0)
			atomic_store(&m->error, -errno);
		if (child == 0) {
			r = run_workers(part, m, dir, slots, processes > 1 ? p : 0, processes > 1 ? p + 1 : workers);
			if (r < 0)
				atomic_store(&m->error, r);
			_exit(0);
		}
	}
	while (atomic_load(&m->ready) < workers && atomic_load(&m->error) == 0 && !has_ended())
		usleep(1000);
	atomic_store(&m->start_ns, clock_ns(CLOCK_MONOTONIC) + 1000000);
	for (unsigned p = 0; p < processes; p++) {
		int status;

		if (wait(&status) > 0 && !WIFEXITED(status))
			atomic_store(&m->error, -EIO);
	}
	r = atomic_load(&m->error);
	if (r == 0 && atomic_load(&m->ready) < workers)
		r = -EIO;
	if (r == 0)
		evaluate(m, workers, slots, setting, part->perform == hand_over, cost);
	munmap(m, sizeof(*m));
	return r;
}

/* One thread alone is gone by: where others leave it no time, it is tried again. */
static int measure_all(enum cost_kind kind, const char *dir, bool quick, struct cost *cost)
{
	for (enum setting s = 0; s < COST_SETTINGS; s++) {
		/* Good slots are rare where others are busy: then it takes longer to have enough. */
		unsigned slots = quick ? 20 : s == COST_ALONE ? 300 : SLOTS;
		int r = 0;

		if (kind == COST_LINE && s != COST_THREADS)
			continue;
		for (unsigned tries = 0; r == 0 && tries < 5 && (tries == 0 || (s == COST_ALONE && cost->ns[s] == 0)); tries++) {
			r = measure(&parts[kind], s, dir, slots, cost);
			slots = SLOTS;
		}
		if (r < 0)
			return r;
		if (s == COST_ALONE && cost->ns[s] == 0)
			return -EBUSY;
	}
	return 0;
}

int costs_measure(const char *dir, bool quick, struct costs *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (enum cost_kind k = 0; k < COST_KINDS; k++) {
		int r = measure_all(k, dir, quick, &ret->cost[k]);

		if (r < 0)
			return r;
	}
	return 0;
}
