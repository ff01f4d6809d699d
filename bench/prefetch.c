/* SPDX-License-Identifier: MIT */
/*
 * prefetch.c - lists of random pages that nobody has in memory, asked for together
 *
 * Each side takes lists of 256 pages of its own, in turns, until every page of a list was loaded from. The limit is io_uring with
 * O_DIRECT at the depth that gives most, found anew in each run; the kernel's mapping is told of each page by MADV_WILLNEED.
 */
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LIST      256
#define DEPTHS    5
#define DEPTH_MAX 256

static const unsigned depths[DEPTHS] = {16, 32, 64, 128, 256};

struct lists {
	const struct bench *b;
	const volatile uint64_t *quire, *kernel;
	int direct, event;
	struct io_uring ring;
	char *bufs;
	double call_seconds; /* of quire_prefetch, by itself */
	uint64_t calls;
};

static uint64_t touch(const volatile uint64_t *p, const uint32_t *pages)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < LIST; i++)
		sum += p[pages[i] * BENCH_WORDS];
	return sum;
}

static uint64_t ask_quire(struct lists *l, const uint32_t *pages)
{
	struct iovec ranges[LIST];
	uint64_t told;
	double start;

	for (unsigned i = 0; i < LIST; i++)
		ranges[i] = (struct iovec){(void *)(l->quire + pages[i] * BENCH_WORDS), BENCH_PAGE};
	start = bench_now();
	if (quire_prefetch(ranges, LIST, l->event) != 0)
		bench_stop(l->b, "%s", quire_errormsg());
	l->call_seconds += bench_now() - start;
	l->calls++;
	if (read(l->event, &told, sizeof(told)) != sizeof(told))
		bench_stop(l->b, "the eventfd cannot be read");
	return touch(l->quire, pages);
}

static uint64_t fault_quire(struct lists *l, const uint32_t *pages)
{
	return touch(l->quire, pages);
}

static uint64_t ask_kernel(struct lists *l, const uint32_t *pages)
{
	for (unsigned i = 0; i < LIST; i++)
		bench_advise(l->b, &bench_kernel, (void *)(l->kernel + pages[i] * BENCH_WORDS), BENCH_PAGE, MADV_WILLNEED);
	return touch(l->kernel, pages);
}

static uint64_t read_raw(struct lists *l, const uint32_t *pages, unsigned depth)
{
	unsigned queued = 0, ended = 0, inflight = 0;
	uint64_t sum = 0;

	while (ended < LIST) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;

		for (; queued < LIST && inflight < depth; queued++, inflight++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

			io_uring_prep_read(sqe, l->direct, l->bufs + (size_t)queued * BENCH_PAGE, BENCH_PAGE,
					   (uint64_t)pages[queued] * BENCH_PAGE);
			io_uring_sqe_set_data64(sqe, queued);
		}
		if (io_uring_submit_and_wait(&l->ring, 1) < 0)
			bench_stop(l->b, "io_uring: reads cannot be submitted");
		io_uring_for_each_cqe(&l->ring, head, cqe)
		{
			if (cqe->res != BENCH_PAGE)
				bench_stop(l->b, "io_uring: a read failed");
			sum += *(uint64_t *)(l->bufs + io_uring_cqe_get_data64(cqe) * BENCH_PAGE);
			n++;
		}
		io_uring_cq_advance(&l->ring, n);
		ended += n;
		inflight -= n;
	}
	return sum;
}

enum side { SIDE_RAW, SIDE_QUIRE = DEPTHS, SIDE_FAULT, SIDE_KERNEL, SIDES };

static double take_list(struct lists *l, unsigned side, const uint32_t *pages)
{
	uint64_t expected = 0, sum;
	double start, seconds;

	start = bench_now();
	switch (side) {
	case SIDE_QUIRE:
		sum = ask_quire(l, pages);
		break;
	case SIDE_FAULT:
		sum = fault_quire(l, pages);
		break;
	case SIDE_KERNEL:
		sum = ask_kernel(l, pages);
		break;
	default:
		sum = read_raw(l, pages, depths[side]);
		break;
	}
	seconds = bench_now() - start;
	for (unsigned i = 0; i < LIST; i++)
		expected += bench_word(pages[i], 0);
	bench_expect(l->b, side == SIDE_KERNEL ? "kernel" : side < DEPTHS ? "io_uring" : "Quire", sum, expected);
	return seconds;
}

static void measure(struct lists *l, uint64_t size, struct bench_row *asked, struct bench_row *faulted)
{
	const struct bench *b = l->b;
	unsigned rounds = b->quick ? 1 : 12, best = 0;
	uint32_t *pages = bench_permutation(b, (uint32_t)(size / BENCH_PAGE), 77);
	uint64_t next = 0;

	for (unsigned run = 0; run < b->runs; run++) {
		double seconds[SIDES] = {0}, rate[SIDES];

		for (unsigned round = 0; round < rounds; round++)
			for (unsigned side = 0; side < SIDES; side++, next = (next + LIST) % (size / BENCH_PAGE - LIST))
				seconds[(side + round) % SIDES] += take_list(l, (side + round) % SIDES, pages + next);
		best = 0;
		for (unsigned side = 0; side < SIDES; side++) {
			rate[side] = rounds * LIST / seconds[side] / 1e3;
			if (side < DEPTHS && rate[side] > rate[best])
				best = side;
		}
		bench_sample(&asked->limit, rate[best]);
		bench_sample(&asked->quire, rate[SIDE_QUIRE]);
		bench_sample(&asked->kernel, rate[SIDE_KERNEL]);
		bench_sample(&faulted->limit, rate[best]);
		bench_sample(&faulted->quire, rate[SIDE_FAULT]);
	}
	bench_note(asked, "best depth %u (last run); a call takes %.0f us", depths[best], l->call_seconds * 1e6 / (double)l->calls);
	free(pages);
}

void bench_prefetch(const struct bench *b)
{
	uint64_t size = bench_size(b, 4 * GIB, 64 * MIB);
	struct bench_row *asked = bench_row(b, "256 random pages, quire_prefetch (limit: io_uring)", "kpages/s", true);
	struct bench_row *faulted = bench_row(b, "256 random pages, a fault each (limit: io_uring)", "kpages/s", true);
	struct lists l = {.b = b, .event = eventfd(0, 0)};
	int fd = bench_data(b, size, O_RDONLY);

	bench_engine(b, 256 * MIB);
	bench_drop(b, fd, size);
	if (io_uring_queue_init(DEPTH_MAX, &l.ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) != 0)
		bench_stop_refused(b, "no io_uring to hold it against");
	l.direct = bench_direct(b, fd, O_RDONLY);
	l.bufs = bench_buffer(b, LIST * BENCH_PAGE);
	l.quire = bench_map(b, &bench_quire, size, PROT_READ, MAP_SHARED, fd);
	l.kernel = bench_map(b, &bench_kernel, size, PROT_READ, MAP_SHARED, fd);
	bench_advise(b, &bench_quire, (void *)l.quire, size, MADV_RANDOM);
	bench_advise(b, &bench_kernel, (void *)l.kernel, size, MADV_RANDOM);
	measure(&l, size, asked, faulted);
	bench_goal(asked, BENCH_AT_LEAST, 0.85, true);
	faulted->against_limit = true;
	bench_unmap(b, &bench_quire, (void *)l.quire, size);
	bench_unmap(b, &bench_kernel, (void *)l.kernel, size);
	bench_drop(b, fd, size);
	io_uring_queue_exit(&l.ring);
	free(l.bufs);
	close(l.event);
	close(l.direct);
	close(fd);
}
