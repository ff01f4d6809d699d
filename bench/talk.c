/* SPDX-License-Identifier: MIT */
/*
 * talk.c - a producer and a consumer, two processes, by messages in a shared mapping
 *
 * The same two processes do it by the mapping that a server of Quire has made in them, and by the kernel's, of another part of the
 * same file, in turns. A message is a line of the processor's cache; the ring is larger than what its first cache holds. Messages go
 * one by one, each answered before the next, and as a stream, whose counters move by many at a time: with one at a time who is the
 * faster by chance decides whether the line with the counter is fought for, and the time is one or four.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "server.h"

#define TURNS 15
#define WORDS 8
#define SLOTS 4096u

struct message {
	uint64_t word[WORDS];
};

struct ring {
	_Alignas(BENCH_PAGE) _Atomic uint64_t sent;
	_Alignas(128) _Atomic uint64_t taken;
	_Alignas(BENCH_PAGE) struct message slots[SLOTS];
};

#define RING_BYTES MIB

_Static_assert(sizeof(struct ring) <= RING_BYTES, "a ring has its part of the file");

enum { STREAM = 64, ANSWERED = 1 };

struct talker {
	int fd, cpu;
	bool produces;
};

/* batch: how many messages are told of at a time; of one, the answer is waited for. */
static void produce(struct ring *ring, uint64_t count, uint64_t batch)
{
	uint64_t at = atomic_load_explicit(&ring->sent, memory_order_relaxed);
	uint64_t lead = batch == ANSWERED ? 0 : SLOTS - batch;

	for (uint64_t end = at + count; at < end; at += batch) {
		while (at > atomic_load_explicit(&ring->taken, memory_order_acquire) + lead)
			;
		for (uint64_t k = at; k < at + batch; k++)
			for (uint64_t i = 0; i < WORDS; i++)
				ring->slots[k % SLOTS].word[i] = k + i;
		atomic_store_explicit(&ring->sent, at + batch, memory_order_release);
	}
}

/* The sum of all that was said. */
static uint64_t consume(struct ring *ring, uint64_t count, uint64_t batch)
{
	uint64_t at = atomic_load_explicit(&ring->taken, memory_order_relaxed), sum = 0;

	for (uint64_t end = at + count; at < end; at += batch) {
		while (at == atomic_load_explicit(&ring->sent, memory_order_acquire))
			;
		for (uint64_t k = at; k < at + batch; k++)
			for (uint64_t i = 0; i < WORDS; i++)
				sum += ring->slots[k % SLOTS].word[i];
		atomic_store_explicit(&ring->taken, at + batch, memory_order_release);
	}
	return sum;
}

static uint64_t expected_sum(uint64_t first, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t at = first; at < first + count; at++)
		sum += WORDS * at + WORDS * (WORDS - 1) / 2;
	return sum;
}

/* Task: what: the side, and messages at a time; count: of messages. Result: nanoseconds for each. */
static void talk(const struct bench *b, int tasks, int results, void *arg)
{
	const struct talker *talker = arg;
	struct ring *ring[2];
	struct bench_task task;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((size_t)talker->cpu, &cpus);
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
	ring[0] = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, talker->fd, RING_BYTES);
	ring[1] = bench_map(b, &bench_quire, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, talker->fd);
	if (ring[0] == MAP_FAILED)
		bench_stop(b, "kernel: mmap: %s", strerror(errno));
	while (bench_worker_next(tasks, &task)) {
		unsigned side = task.what % 2;
		uint64_t batch = task.what / 2, sum;
		double start = bench_now();

		if (talker->produces) {
			produce(ring[side], task.count, batch);
		} else {
			sum = consume(ring[side], task.count, batch);
			bench_expect(b, side ? "Quire" : "kernel", sum, expected_sum(task.first, task.count));
		}
		bench_worker_say(b, results, (bench_now() - start) * 1e9 / (double)task.count);
	}
	bench_unmap(b, &bench_quire, ring[1], RING_BYTES);
}

/* Two processors that this process may use. */
static bool find_processors(int ret[2])
{
	cpu_set_t cpus;
	unsigned n = 0;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return false;
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET((size_t)i, &cpus))
			ret[n++] = i;
	return n == 2;
}

struct pair {
	struct bench_worker producer, consumer;
	uint64_t said[2]; /* by each side */
};

static void measure(const struct bench *b, struct pair *pair, struct bench_row *row, uint64_t batch, uint64_t count)
{
	struct bench_samples turns[2] = {{0}, {0}};

	for (unsigned turn = 0; turn < 2 * TURNS; turn++) {
		unsigned side = (turn + turn / 2) % 2;
		struct bench_task task = {2 * batch + side, pair->said[side], count};

		bench_worker_tell(b, &pair->consumer, &task);
		(void)bench_worker_do(b, &pair->producer, &task);
		bench_sample(&turns[side], bench_worker_result(b, &pair->consumer));
		pair->said[side] += count;
	}
	/* The median of the turns: one that was disturbed from outside does not count. */
	bench_sample(&row->kernel, bench_median(&turns[0]));
	bench_sample(&row->quire, bench_median(&turns[1]));
}

void bench_talk(const struct bench *b)
{
	struct bench_row *stream = bench_row(b, "a stream of messages of 64 bytes to another process", "ns", false);
	struct bench_row *answered = bench_row(b, "... and one by one, each answered", "ns", false);
	uint64_t count = b->quick ? 64 * STREAM : 8192 * STREAM;
	struct bench_server server;
	struct pair pair = {.said = {0, 0}};
	int fd = bench_scratch(b, 2 * RING_BYTES), cpus[2];

	if (!find_processors(cpus))
		bench_stop_refused(b, "a producer and a consumer need two processors");
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, 2 * RING_BYTES) < 0)
		bench_stop(b, "the file of the messages: %s", strerror(errno));
	bench_server_start(b, &server, 64 * MIB);
	bench_worker_start(b, &server, "the producer", talk, &(struct talker){fd, cpus[0], true}, &pair.producer);
	bench_worker_start(b, &server, "the consumer", talk, &(struct talker){fd, cpus[1], false}, &pair.consumer);
	for (unsigned run = 0; run < b->runs; run++) {
		measure(b, &pair, stream, STREAM, count);
		measure(b, &pair, answered, ANSWERED, count / 16);
	}
	bench_goal(stream, BENCH_AT_MOST, 1.02, false);
	bench_goal(answered, BENCH_AT_MOST, 1.02, false);
	bench_note(stream, "%.1f million messages a second", 1e3 / bench_median(&stream->quire));
	bench_worker_end(b, &pair.producer);
	bench_worker_end(b, &pair.consumer);
	bench_server_stop(b, &server);
	close(fd);
}
