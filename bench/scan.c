/* SPDX-License-Identifier: MIT */
/*
 * scan.c - a whole file that nobody has in memory, from its first page to its last, and in other orders
 *
 * One load a page, as mmapbench does it: the loads cost nothing, the pages do. The limit is what the device gives to an
 * io_uring with eight reads of 1 MiB in flight. The other orders go over a part of the file.
 */
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 8

static void queue_read(const struct bench *b, struct io_uring *ring, int fd, uint64_t *const bufs[DEPTH], uint64_t chunk)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		bench_stop(b, "io_uring: no free entry");
	io_uring_prep_read(sqe, fd, bufs[chunk % DEPTH], BENCH_CHUNK, chunk * BENCH_CHUNK);
	io_uring_sqe_set_data(sqe, bufs[chunk % DEPTH]);
}

/* Reads the file through a ring. A buffer is used again only when the read before the last DEPTH has ended, in order. */
static uint64_t read_uring(const struct bench *b, struct io_uring *ring, int fd, uint64_t *const bufs[DEPTH], uint64_t size)
{
	uint64_t chunks = size / BENCH_CHUNK, queued = 0, sum = 0;
	bool ended[DEPTH] = {false};

	for (; queued < chunks && queued < DEPTH; queued++)
		queue_read(b, ring, fd, bufs, queued);
	for (uint64_t chunk = 0; chunk < chunks; chunk++) {
		while (!ended[chunk % DEPTH]) {
			struct io_uring_cqe *cqe;

			io_uring_submit(ring);
			if (io_uring_wait_cqe(ring, &cqe) != 0 || cqe->res != BENCH_CHUNK)
				bench_stop(b, "io_uring: a read of 1 MiB failed");
			for (unsigned i = 0; i < DEPTH; i++)
				if (io_uring_cqe_get_data(cqe) == bufs[i])
					ended[i] = true;
			io_uring_cqe_seen(ring, cqe);
		}
		sum += bench_touch(bufs[chunk % DEPTH], BENCH_CHUNK);
		ended[chunk % DEPTH] = false;
		if (queued < chunks)
			queue_read(b, ring, fd, bufs, queued++);
	}
	return sum;
}

static uint64_t read_chunks(const struct bench *b, int fd, uint64_t *buf, uint64_t size)
{
	uint64_t sum = 0;

	for (uint64_t offset = 0; offset < size; offset += BENCH_CHUNK) {
		if (pread(fd, buf, BENCH_CHUNK, (off_t)offset) != BENCH_CHUNK)
			bench_stop(b, "raw pread failed at %" PRIu64, offset);
		sum += bench_touch(buf, BENCH_CHUNK);
	}
	return sum;
}

double bench_read_speed(const struct bench *b, int fd, uint64_t size, uint64_t *ret_sum, bool *ret_uring)
{
	struct io_uring ring;
	uint64_t *all = bench_buffer(b, (size_t)DEPTH * BENCH_CHUNK), *bufs[DEPTH];
	double start, seconds;

	for (int i = 0; i < DEPTH; i++)
		bufs[i] = all + (size_t)i * (BENCH_CHUNK / sizeof(*all));
	*ret_uring = io_uring_queue_init(DEPTH, &ring, 0) == 0;
	start = bench_now();
	*ret_sum = *ret_uring ? read_uring(b, &ring, fd, bufs, size) : read_chunks(b, fd, bufs[0], size);
	seconds = bench_now() - start;
	if (*ret_uring)
		io_uring_queue_exit(&ring);
	free(all);
	return (double)size / seconds / 1e9;
}

/* The page-out daemon may hold an object a moment longer than its last mapping; one found again would have its pages still. */
static void wait_forgotten(const struct bench *b)
{
	for (int i = 0; i < 2000 && bench_stats(b).objects > 0; i++)
		usleep(1000);
}

/* GB/s through a mapping that is made for this scan, so that it begins with nothing. */
static double scan_mapping(const struct bench *b, const struct bench_side *side, int fd, uint64_t size, int advice)
{
	uint64_t sum;
	double start, seconds;
	void *p = bench_map(b, side, size, PROT_READ, MAP_SHARED, fd);

	if (advice != MADV_NORMAL)
		bench_advise(b, side, p, size, advice);
	if (side == &bench_quire && bench_resident_pages(b, side, p, size) != 0)
		bench_stop(b, "Quire: pages are resident before the first touch");
	start = bench_now();
	sum = bench_touch(p, size);
	seconds = bench_now() - start;
	bench_expect(b, side->name, sum, bench_touch_sum(0, size / BENCH_PAGE));
	bench_unmap(b, side, p, size);
	if (side == &bench_quire)
		wait_forgotten(b);
	return (double)size / seconds / 1e9;
}

enum scan { SCAN_RAW, SCAN_QUIRE, SCAN_QUIRE_ADVISED, SCAN_KERNEL, SCAN_KERNEL_ADVISED, SCANS };

struct files {
	int fd, direct;
	uint64_t size;
	bool uring;
};

static double take_scan(const struct bench *b, struct files *f, enum scan scan)
{
	uint64_t sum;
	double rate;

	bench_drop(b, f->fd, f->size);
	switch (scan) {
	case SCAN_QUIRE:
		return scan_mapping(b, &bench_quire, f->fd, f->size, MADV_NORMAL);
	case SCAN_QUIRE_ADVISED:
		return scan_mapping(b, &bench_quire, f->fd, f->size, MADV_SEQUENTIAL);
	case SCAN_KERNEL:
		return scan_mapping(b, &bench_kernel, f->fd, f->size, MADV_NORMAL);
	case SCAN_KERNEL_ADVISED:
		return scan_mapping(b, &bench_kernel, f->fd, f->size, MADV_SEQUENTIAL);
	case SCAN_RAW:
	case SCANS:
		break;
	}
	rate = bench_read_speed(b, f->direct, f->size, &sum, &f->uring);
	bench_expect(b, "raw read", sum, bench_touch_sum(0, f->size / BENCH_PAGE));
	return rate;
}

/* ---- other orders ---- */

enum order { BACKWARD, INTERLEAVED, STRIDED, ORDERS };

/* Pages between two touches, as in a column of a matrix with rows of 128 KiB. */
#define STRIDE 32

static uint64_t touches(enum order order, uint64_t pages)
{
	return order == STRIDED ? pages / STRIDE : pages;
}

/* The i-th page that is touched. Interleaved: a reader of each half, by turns. */
static uint64_t page_at(enum order order, uint64_t i, uint64_t pages)
{
	switch (order) {
	case BACKWARD:
		return pages - 1 - i;
	case INTERLEAVED:
		return i / 2 + (i % 2) * (pages / 2);
	default:
		return i * STRIDE;
	}
}

/* Pages a second through a fresh mapping. ret_did: what that was for the library. */
static double scan_in_order(const struct bench *b, const struct bench_side *side, const struct files *f, enum order order,
			    struct quire_stats *ret_did)
{
	uint64_t pages = f->size / BENCH_PAGE, n = touches(order, pages), sum = 0, expected = 0;
	struct quire_stats before = {0}, after = {0};
	double start, seconds;
	char *p;

	bench_drop(b, f->fd, f->size);
	p = bench_map(b, side, f->size, PROT_READ, MAP_SHARED, f->fd);
	if (side == &bench_quire)
		before = bench_stats(b);
	start = bench_now();
	for (uint64_t i = 0; i < n; i++)
		sum += *(volatile uint64_t *)(p + page_at(order, i, pages) * BENCH_PAGE);
	seconds = bench_now() - start;
	for (uint64_t i = 0; i < n; i++)
		expected += bench_word(page_at(order, i, pages), 0);
	bench_expect(b, side->name, sum, expected);
	if (side == &bench_quire)
		after = bench_stats(b);
	bench_unmap(b, side, p, f->size);
	if (side == &bench_quire)
		wait_forgotten(b);
	ret_did->major_faults = after.major_faults - before.major_faults;
	ret_did->read_calls = after.read_calls - before.read_calls;
	ret_did->readahead_pages = after.readahead_pages - before.readahead_pages;
	ret_did->readahead_hits = after.readahead_hits - before.readahead_hits;
	return (double)n / seconds;
}

static void bench_orders(const struct bench *b, struct files *f)
{
	static const char *const what[ORDERS] = {"cold backward scan", "two cold scans, a page of each by turns",
						 "cold scan, every 32nd page"};
	struct bench_row *row[ORDERS];
	struct quire_stats did[ORDERS], none;

	f->size /= 4;
	for (enum order order = 0; order < ORDERS; order++)
		row[order] = bench_row(b, what[order], "k pages/s", true);
	for (unsigned run = 0; run < b->runs; run++) {
		for (unsigned i = 0; i < ORDERS; i++) {
			enum order order = (run + i) % ORDERS;

			bench_sample(&row[order]->quire, scan_in_order(b, &bench_quire, f, order, &did[order]) / 1e3);
			bench_sample(&row[order]->kernel, scan_in_order(b, &bench_kernel, f, order, &none) / 1e3);
		}
	}
	for (enum order order = 0; order < ORDERS; order++)
		bench_note(row[order],
			   "%" PRIu64 " pages touched: %" PRIu64 " faults waited, %" PRIu64 " reads; %" PRIu64
			   " pages were read ahead, of which %" PRIu64 " were mapped",
			   touches(order, f->size / BENCH_PAGE), did[order].major_faults, did[order].read_calls,
			   did[order].readahead_pages, did[order].readahead_hits);
}

void bench_scan(const struct bench *b)
{
	struct files f = {.size = bench_size(b, 2 * GIB, 64 * MIB)};
	uint64_t budget = b->quick ? 16 * MIB : 256 * MIB;
	struct bench_row *normal = bench_row(b, "cold sequential scan (limit: io_uring O_DIRECT)", "GB/s", true);
	struct bench_row *advised = bench_row(b, "cold sequential scan, MADV_SEQUENTIAL", "GB/s", true);
	struct bench_samples *samples[SCANS] = {&normal->limit, &normal->quire, &advised->quire, &normal->kernel, &advised->kernel};

	f.fd = bench_data(b, f.size, O_RDONLY);
	f.direct = bench_direct(b, f.fd, O_RDONLY);
	bench_engine(b, budget);
	/* Each run begins with another scan, so that what a disk or a host remembers of the one before favours none. */
	for (unsigned run = 0; run < b->runs; run++)
		for (unsigned i = 0; i < SCANS; i++)
			bench_sample(samples[(run + i) % SCANS], take_scan(b, &f, (run + i) % SCANS));
	advised->limit = normal->limit;
	bench_drop(b, f.fd, f.size);
	bench_goal(normal, BENCH_AT_LEAST, 1.0, false);
	bench_goal(advised, BENCH_AT_LEAST, 0.9, true);
	bench_note(normal,
		   "%" PRIu64 " MiB file; Quire within a budget of %" PRIu64 " MiB, the kernel with all the memory there is%s",
		   f.size / MIB, budget / MIB, f.uring ? "" : "; io_uring refused: the limit is plain pread");
	bench_orders(b, &f);
	bench_drop(b, f.fd, f.size);
	close(f.direct);
	close(f.fd);
}
