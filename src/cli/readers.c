/* SPDX-License-Identifier: MIT */
/*
 * readers.c - the ways of reading a file that `quire bench` compares
 *
 * Each turn is in a process of its own, and ends when the time is over, or when every page was read once: a page that is read again would
 * be in memory already, and then it is not the reading that is measured. The pages come in an order that looks like chance and needs no
 * memory: a permutation of their numbers that is worked out one by one.
 *
 * The file is opened for reading only, and nothing here can write.
 */
#include "bench.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <quire/quire.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SCAN_DEPTH 8

struct reading {
	const struct bench_job *job;
	const struct bench_line *line;
	struct reader_turn *turn;
	const volatile unsigned char *map; /* NULL: an io_uring */
	uint64_t pages, key;
	unsigned half; /* bits of half a page number, of as many as the pages need */
	double until;
	atomic_uint_fast64_t next, bytes; /* next: in the order */
};

__attribute__((noreturn, format(printf, 2, 3))) static void give_up(const struct reading *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->turn->error, sizeof(r->turn->error), format, args);
	va_end(args);
	_exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* ---- the order of the pages ---- */

static void order_begin(struct reading *r, uint64_t key)
{
	r->pages = (r->job->size + READER_BYTES - 1) / READER_BYTES;
	r->key = mix(key + 1);
	for (r->half = 1; (uint64_t)1 << (2 * r->half) < r->pages; r->half++)
		;
}

/*
 * Page number i of the order: a Feistel network of four rounds is a permutation of the numbers of 2 * half bits, and is applied until the
 * number is one of a page, which keeps it a permutation.
 */
static uint64_t order_page(const struct reading *r, uint64_t i)
{
	uint64_t mask = ((uint64_t)1 << r->half) - 1;

	do {
		uint64_t left = i >> r->half, right = i & mask;

		for (unsigned round = 0; round < 4; round++) {
			uint64_t swap = right;

			right = left ^ (mix(right + r->key + round * 0x9e3779b97f4a7c15) & mask);
			left = swap;
		}
		i = left << r->half | right;
	} while (i >= r->pages);
	return i;
}

/* The next page; pages or more when there is none, or no time. */
static uint64_t take_page(struct reading *r)
{
	uint64_t i = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);

	return i < r->pages ? order_page(r, i) : r->pages;
}

/* ---- random reads of a mapping ---- */

struct thread {
	pthread_t id;
	struct reading *r;
	struct histogram *times;
};

static void *touch_pages(void *arg)
{
	struct thread *t = arg;
	struct reading *r = t->r;
	double last = now_s();
	uint64_t page, count = 0;

	while (last < r->until && (page = take_page(r)) < r->pages) {
		double now;

		(void)r->map[page * READER_BYTES];
		now = now_s();
		histogram_note(t->times, (uint64_t)((now - last) * 1e9));
		last = now;
		count++;
	}
	atomic_fetch_add(&r->bytes, count * READER_BYTES);
	return NULL;
}

static void touch_by_threads(struct reading *r)
{
	struct thread threads[READER_THREADS];

	for (unsigned i = 0; i < r->line->threads; i++) {
		threads[i] = (struct thread){.r = r, .times = &r->turn->times[i]};
		if (pthread_create(&threads[i].id, NULL, touch_pages, &threads[i]) != 0)
			give_up(r, "no thread number %u: %s; use fewer by --threads", i + 1, strerror(errno));
	}
	for (unsigned i = 0; i < r->line->threads; i++)
		pthread_join(threads[i].id, NULL);
}

/* Lists of pages, one after the other: the next is asked for when the pages of this one were touched. */
static void touch_lists(struct reading *r)
{
	int event = eventfd(0, EFD_CLOEXEC);

	while (now_s() < r->until) {
		struct iovec list[READER_LIST];
		uint64_t told, page;
		int n = 0;

		while (n < READER_LIST && (page = take_page(r)) < r->pages)
			list[n++] = (struct iovec){(void *)(r->map + page * READER_BYTES), 1};
		if (n == 0)
			break;
		if (quire_prefetch(list, n, event) != 0)
			give_up(r, "%s", quire_errormsg());
		if (read(event, &told, sizeof(told)) != sizeof(told))
			give_up(r, "an eventfd cannot be read: %s", strerror(errno));
		for (int i = 0; i < n; i++)
			(void)*(volatile unsigned char *)list[i].iov_base;
		atomic_fetch_add(&r->bytes, (uint64_t)n * READER_BYTES);
	}
	close(event);
}

/* In order from a place of this turn's own, round to where it began. */
static void touch_in_order(struct reading *r)
{
	uint64_t start = order_page(r, 0), i;

	for (i = 0; i < r->pages && ((i & 255) != 0 || now_s() < r->until); i++)
		(void)r->map[(start + i) % r->pages * READER_BYTES];
	atomic_fetch_add(&r->bytes, i * READER_BYTES);
}

/* ---- an io_uring ---- */

struct ring {
	struct io_uring uring;
	unsigned char *bufs;
	double *began; /* of the read into each buffer */
	unsigned depth;
	uint64_t len;
};

static void ring_begin(const struct reading *r, struct ring *ring)
{
	void *bufs;
	int err;

	ring->depth = r->line->scan ? SCAN_DEPTH : r->line->depth;
	ring->len = r->line->scan ? READER_SCAN : READER_BYTES;
	ring->began = calloc(ring->depth, sizeof(*ring->began));
	if (!ring->began || posix_memalign(&bufs, 4096, ring->depth * ring->len) != 0)
		give_up(r, "no memory for %u buffers", ring->depth);
	ring->bufs = bufs;
	memset(bufs, 0, ring->depth * ring->len);
	err = io_uring_queue_init(ring->depth, &ring->uring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (err == -EINVAL) /* an older kernel */
		err = io_uring_queue_init(ring->depth, &ring->uring, 0);
	if (err < 0)
		give_up(r, "io_uring: %s", strerror(-err));
}

static void ring_end(struct ring *ring)
{
	io_uring_queue_exit(&ring->uring);
	free(ring->bufs);
	free(ring->began);
}

/* The offset of the next read. => the file's size or more: there is none */
static uint64_t next_offset(struct reading *r, const struct ring *ring)
{
	uint64_t chunks, i;

	if (!r->line->scan)
		return take_page(r) * READER_BYTES;
	chunks = (r->job->size + ring->len - 1) / ring->len;
	i = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
	return i < chunks ? (order_page(r, 0) * READER_BYTES / ring->len + i) % chunks * ring->len : r->job->size;
}

static bool ring_queue(struct reading *r, struct ring *ring, unsigned buf)
{
	uint64_t offset = next_offset(r, ring);
	struct io_uring_sqe *sqe;

	if (offset >= r->job->size || now_s() >= r->until)
		return false;
	sqe = io_uring_get_sqe(&ring->uring);
	io_uring_prep_read(sqe, r->job->direct_fd, ring->bufs + buf * ring->len, (unsigned)ring->len, offset);
	io_uring_sqe_set_data64(sqe, buf);
	ring->began[buf] = now_s();
	return true;
}

/* A read has ended: its first words are looked at, as those of a mapping are. */
static void ring_take(struct reading *r, struct ring *ring, unsigned buf, int result)
{
	if (result <= 0)
		give_up(r, "io_uring: a read failed: %s", result < 0 ? strerror(-result) : "the file became shorter");
	for (int at = 0; at < result; at += READER_BYTES)
		(void)*(volatile unsigned char *)(ring->bufs + buf * ring->len + at);
	atomic_fetch_add_explicit(&r->bytes, (uint64_t)result, memory_order_relaxed);
	if (!r->line->scan)
		histogram_note(&r->turn->times[0], (uint64_t)((now_s() - ring->began[buf]) * 1e9));
}

/* As many reads in flight as the ring is deep: each that ends is followed by the next. */
static void read_by_ring(struct reading *r)
{
	struct ring ring;
	unsigned inflight = 0;

	ring_begin(r, &ring);
	for (unsigned buf = 0; buf < ring.depth && ring_queue(r, &ring, buf); buf++)
		inflight++;
	while (inflight > 0) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;
		int err = io_uring_submit_and_wait(&ring.uring, 1);

		if (err < 0 && err != -EINTR)
			give_up(r, "io_uring: reads cannot be submitted: %s", strerror(-err));
		io_uring_for_each_cqe(&ring.uring, head, cqe)
		{
			unsigned buf = (unsigned)io_uring_cqe_get_data64(cqe);

			ring_take(r, &ring, buf, cqe->res);
			inflight -= !ring_queue(r, &ring, buf);
			n++;
		}
		io_uring_cq_advance(&ring.uring, n);
	}
	ring_end(&ring);
}

/* One read after the other, where there is no io_uring. */
static void read_plainly(struct reading *r)
{
	struct ring ring = {.depth = 1, .len = r->line->scan ? READER_SCAN : READER_BYTES};
	void *buf;
	uint64_t offset;

	if (posix_memalign(&buf, 4096, ring.len) != 0)
		give_up(r, "no memory for a buffer");
	while (now_s() < r->until && (offset = next_offset(r, &ring)) < r->job->size) {
		double start = now_s();
		ssize_t n = pread(r->job->direct_fd, buf, ring.len, (off_t)offset);

		if (n <= 0)
			give_up(r, "pread at byte %llu: %s", (unsigned long long)offset,
				n < 0 ? strerror(errno) : "the file became shorter");
		atomic_fetch_add_explicit(&r->bytes, (uint64_t)n, memory_order_relaxed);
		if (!r->line->scan)
			histogram_note(&r->turn->times[0], (uint64_t)((now_s() - start) * 1e9));
	}
	free(buf);
}

/* ---- a turn ---- */

static void map_file(struct reading *r)
{
	bool quire = r->line->side != READER_KERNEL;
	int advice = r->line->scan ? MADV_SEQUENTIAL : MADV_RANDOM;
	struct quire_config config = {.size = sizeof(config), .memory_bytes = r->job->memory};
	void *p;

	if (quire && quire_configure(&config) != 0)
		give_up(r, "%s", quire_errormsg());
	p = quire ? quire_mmap(NULL, r->job->size, PROT_READ, MAP_SHARED, r->job->fd, 0)
		  : mmap(NULL, r->job->size, PROT_READ, MAP_SHARED, r->job->fd, 0);
	if (p == MAP_FAILED)
		give_up(r, "%s", quire ? quire_errormsg() : strerror(errno));
	if ((quire ? quire_madvise(p, r->job->size, advice) : madvise(p, r->job->size, advice)) != 0)
		give_up(r, "%s", quire ? quire_errormsg() : strerror(errno));
	r->map = p;
}

/* The bytes of pages that are the same in every turn, as one number. */
static uint64_t look_at_samples(struct reading *r)
{
	static unsigned char page[READER_BYTES] __attribute__((aligned(READER_BYTES)));
	uint64_t sum = 0;

	order_begin(r, 0);
	for (uint64_t i = 0; i < READER_SAMPLES && i < r->pages; i++) {
		uint64_t offset = order_page(r, i) * READER_BYTES, left = r->job->size - offset;
		size_t len = left < READER_BYTES ? (size_t)left : READER_BYTES;

		if (r->map)
			memcpy(page, (const unsigned char *)r->map + offset, len);
		else if (pread(r->job->direct_fd, page, READER_BYTES, (off_t)offset) < (ssize_t)len)
			give_up(r, "pread at byte %llu: %s", (unsigned long long)offset,
				errno ? strerror(errno) : "the file became shorter");
		for (size_t at = 0; at < len; at++)
			sum = mix(sum + page[at] + 1);
	}
	return sum;
}

void reader_run(const struct bench_job *job, const struct bench_line *line, unsigned number, double seconds,
		struct reader_turn *ret)
{
	struct reading r = {.job = job, .line = line, .turn = ret};
	double start;

	order_begin(&r, number + 1);
	if (line->side != READER_URING)
		map_file(&r);
	start = now_s();
	r.until = start + seconds;
	if (line->side == READER_PREFETCH)
		touch_lists(&r);
	else if (line->side == READER_URING)
		(job->uring ? read_by_ring : read_plainly)(&r);
	else
		(line->scan ? touch_in_order : touch_by_threads)(&r);
	ret->seconds = now_s() - start;
	ret->bytes = atomic_load(&r.bytes);
	ret->contents = look_at_samples(&r);
	ret->done = true;
}
