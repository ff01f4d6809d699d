/* SPDX-License-Identifier: MIT */
/*
 * fault.c - a fault on a page that is resident but not mapped
 *
 * MADV_DONTNEED takes the entries away and leaves the pages; what a touch costs then is the way of the fault alone. One page in
 * every 64 KiB is touched, in random order, because the kernel maps that much around a fault.
 *
 * The limit is what is left of the signal trap when nothing is decided: a handler of SIGBUS that asks the kernel to map the page
 * (UFFDIO_CONTINUE), and does nothing else.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STRIDE 16 /* pages */

/* What every page of a mapping, or one in STRIDE, is touched by. */
struct work {
	const volatile uint64_t *p;
	uint64_t size, stride, expected;
	const uint32_t *order; /* NULL: in order */
	uint32_t count;
	unsigned threads;
};

struct worker {
	const struct work *work;
	unsigned number;
	uint64_t sum;
	pthread_t thread;
};

static void *touch(void *arg)
{
	struct worker *worker = arg;
	const struct work *w = worker->work;
	uint64_t from = (uint64_t)w->count * worker->number / w->threads,
		 end = (uint64_t)w->count * (worker->number + 1) / w->threads;

	for (uint64_t i = from; i < end; i++)
		worker->sum += w->p[(w->order ? w->order[i] : i) * w->stride * BENCH_WORDS];
	return NULL;
}

/* Microseconds of a thread for each touch. */
static double measure(const struct bench *b, const char *side, const struct work *w)
{
	struct worker worker[8] = {{0}};
	uint64_t sum = 0;
	double start = bench_now(), seconds;

	for (unsigned i = 0; i < w->threads; i++) {
		worker[i] = (struct worker){.work = w, .number = i};
		if (w->threads > 1 && pthread_create(&worker[i].thread, NULL, touch, &worker[i]) != 0)
			bench_stop(b, "no thread could be started");
	}
	if (w->threads == 1)
		touch(&worker[0]);
	for (unsigned i = 0; i < w->threads; i++) {
		if (w->threads > 1)
			pthread_join(worker[i].thread, NULL);
		sum += worker[i].sum;
	}
	seconds = bench_now() - start;
	bench_expect(b, side, sum, w->expected);
	return seconds * 1e6 * w->threads / w->count;
}

/* ---- the limit ---- */

static int bare_uffd = -1;

static void bare_trap(int signo, siginfo_t *info, void *context)
{
	struct uffdio_continue arg = {.range = {(uintptr_t)info->si_addr & ~(uintptr_t)(BENCH_PAGE - 1), BENCH_PAGE}};

	(void)signo;
	(void)context;
	if (ioctl(bare_uffd, UFFDIO_CONTINUE, &arg) < 0 && errno != EEXIST)
		abort();
}

/* A mapping of a memfd with the bytes of the file. NULL: there is no userfaultfd to be had. */
static void *bare_map(const struct bench *b, int file, uint64_t size)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_SIGBUS};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR};
	int fd = memfd_create("bare", MFD_CLOEXEC);
	void *buffer = bench_buffer(b, MIB), *p = MAP_FAILED;

	bare_uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	for (uint64_t at = 0; at < size; at += MIB)
		if (pread(file, buffer, MIB, (off_t)at) != (ssize_t)MIB || pwrite(fd, buffer, MIB, (off_t)at) != (ssize_t)MIB)
			bench_stop(b, "filling a memfd: %s", strerror(errno));
	free(buffer);
	if (bare_uffd >= 0 && ioctl(bare_uffd, UFFDIO_API, &api) == 0)
		p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	reg.range = (struct uffdio_range){(uintptr_t)p, size};
	return p != MAP_FAILED && ioctl(bare_uffd, UFFDIO_REGISTER, &reg) == 0 ? p : NULL;
}

static double measure_bare(const struct bench *b, const struct work *w)
{
	struct sigaction action = {.sa_sigaction = bare_trap, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART},
			 before;
	double us;

	sigaction(SIGBUS, &action, &before);
	madvise((void *)w->p, w->size, MADV_DONTNEED);
	us = measure(b, "limit", w);
	sigaction(SIGBUS, &before, NULL);
	return us;
}

/* ---- rows ---- */

static struct work work_of(const struct bench *b, uint64_t size, uint64_t stride, const uint32_t *order, unsigned threads)
{
	struct work w = {
	    .size = size, .stride = stride, .order = order, .threads = threads, .count = (uint32_t)(size / BENCH_PAGE / stride)};

	(void)b;
	for (uint32_t i = 0; i < w.count; i++)
		w.expected += bench_word((uint64_t)i * stride, 0);
	return w;
}

struct sides {
	void *kernel, *quire, *bare; /* bare may be NULL */
};

static void measure_faults(const struct bench *b, const struct sides *sides, struct work w, const char *what)
{
	struct bench_row *row = bench_row(b, what, "us", false);
	struct quire_stats before = bench_stats(b), after;

	for (unsigned run = 0; run < b->runs; run++) {
		bench_advise(b, &bench_kernel, sides->kernel, w.size, MADV_DONTNEED);
		w.p = sides->kernel;
		bench_sample(&row->kernel, measure(b, "kernel", &w));
		bench_advise(b, &bench_quire, sides->quire, w.size, MADV_DONTNEED);
		w.p = sides->quire;
		bench_sample(&row->quire, measure(b, "Quire", &w));
		w.p = sides->bare;
		if (sides->bare)
			bench_sample(&row->limit, measure_bare(b, &w));
	}
	after = bench_stats(b);
	bench_note(row,
		   "%.0f faults a second%s; for %" PRIu64 " touches %" PRIu64 " minor and %" PRIu64 " major faults were counted",
		   1e6 * w.threads / bench_median(&row->quire), w.threads > 1 ? " by all threads" : "", (uint64_t)w.count * b->runs,
		   after.minor_faults - before.minor_faults, after.major_faults - before.major_faults);
}

/* A second mapping of what one shows: its pages are touched in order, each once. */
static void measure_second(const struct bench *b, int fd, uint64_t size)
{
	struct bench_row *row = bench_row(b, "touch of each page by a second mapping", "us", false);
	struct work w = work_of(b, size, 1, NULL, 1);

	for (unsigned run = 0; run < b->runs; run++) {
		void *p = bench_map(b, &bench_kernel, size, PROT_READ, MAP_SHARED, fd);

		w.p = p;
		bench_sample(&row->kernel, measure(b, "kernel", &w));
		bench_unmap(b, &bench_kernel, p, size);
		w.p = p = bench_map(b, &bench_quire, size, PROT_READ, MAP_SHARED, fd);
		bench_sample(&row->quire, measure(b, "Quire", &w));
		bench_unmap(b, &bench_quire, p, size);
	}
}

static void measure_trap(const struct bench *b, enum quire_trap trap, const char *one, const char *two)
{
	struct bench with_trap = *b;
	uint64_t size = bench_size(b, 512 * MIB, 16 * MIB);
	int fd = bench_data(b, size, O_RDONLY);
	uint32_t *order = bench_permutation(b, (uint32_t)(size / BENCH_PAGE / STRIDE), 3);
	struct sides sides = {0};

	with_trap.trap = trap;
	bench_engine(&with_trap, size + size / 4 + 64 * MIB);
	bench_cache(b, fd, size);
	sides.kernel = bench_map(b, &bench_kernel, size, PROT_READ, MAP_SHARED, fd);
	sides.quire = bench_map(b, &bench_quire, size, PROT_READ, MAP_SHARED, fd);
	if (bench_stats(b).trap != trap)
		bench_stop_refused(b, "the %s trap is not to be had here: %s was chosen", bench_trap_name(trap),
				   bench_trap_name(bench_stats(b).trap));
	/* By entries of a page on both sides. */
	bench_advise(b, &bench_quire, sides.quire, size, MADV_NOHUGEPAGE);
	bench_touch(sides.kernel, size);
	bench_touch(sides.quire, size);
	measure_second(b, fd, size);
	if (trap == QUIRE_TRAP_SIGNAL)
		sides.bare = bare_map(b, fd, size);
	measure_faults(b, &sides, work_of(b, size, STRIDE, order, 1), one);
	measure_faults(b, &sides, work_of(b, size, STRIDE, order, 2), two);
	bench_unmap(b, &bench_kernel, sides.kernel, size);
	bench_unmap(b, &bench_quire, sides.quire, size);
	if (sides.bare)
		munmap(sides.bare, size);
	bench_drop(b, fd, size);
	free(order);
	close(fd);
}

void bench_fault_signal(const struct bench *b)
{
	measure_trap(b, QUIRE_TRAP_SIGNAL, "fault without I/O, signal trap", "fault without I/O, signal trap, 2 threads");
}

void bench_fault_thread(const struct bench *b)
{
	measure_trap(b, QUIRE_TRAP_THREAD, "fault without I/O, thread trap", "fault without I/O, thread trap, 2 threads");
}
