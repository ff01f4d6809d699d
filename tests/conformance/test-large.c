/* SPDX-License-Identifier: MIT */
/*
 * test-large.c - M11: chunks that storage writes into frames of 2 MiB
 *
 * The kernel takes such a frame apart where a page of it is given back, and takes all its pages out of their mappings then. Here is done to them
 * what would lose a store by that, or show what is not in the file yet.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "support.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define CHUNK  ((size_t)2 << 20)
#define CHUNKS 16

/* Of what has been read since, that many bytes at least went through no buffer. */
static void skip_unless_large(const struct quire_stats *since, size_t bytes)
{
	struct quire_stats now = stats();

	if (now.read_bytes - since->read_bytes < now.copied_bytes - since->copied_bytes + bytes)
		skip_because("no frames of 2 MiB are to be had: they take a tmpfs of the engine's own");
}

static char *map_read_in_order(int fd, size_t bytes)
{
	struct quire_stats before = stats();
	char *p = map(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

	assert_pattern(p, bytes, 0);
	skip_unless_large(&before, bytes / 2);
	return p;
}

static void M11_file_that_is_read_in_order_comes_in_by_frames_of_2_MiB(void **state)
{
	int fd = file_new(CHUNKS * CHUNK + PAGES(3) + 5);
	char *p = map_read_in_order(fd, CHUNKS * CHUNK + PAGES(3) + 5);

	(void)state;
	assert_int_equal(resident_pages(p, CHUNKS * CHUNK / page_size), CHUNKS * CHUNK / page_size);
	/* Of one frame too much was not promised, nor of one too few. */
	assert_true(stats().resident_peak_bytes <= stats().budget_bytes);
	/* Single pages, some, and all but one. */
	for (size_t chunk = 2; chunk < CHUNKS; chunk++) {
		assert_ok(quire_madvise(p + chunk * CHUNK + PAGES(chunk), PAGES(1), MADV_PAGEOUT));
		assert_ok(quire_madvise(p + chunk * CHUNK + PAGES(7 * chunk), PAGES(11), MADV_PAGEOUT));
	}
	assert_ok(quire_madvise(p + 3 * CHUNK, PAGES(511), MADV_PAGEOUT));
	assert_pattern(p, CHUNKS * CHUNK + PAGES(3) + 5, 0);
	assert_ok(quire_munmap(p, CHUNKS * CHUNK + PAGES(3) + 5));
}

static void M11_range_that_is_asked_for_comes_in_by_frames_of_2_MiB(void **state)
{
	struct quire_stats before = stats();
	int fd = file_new(CHUNKS * CHUNK);
	char *p = map(NULL, CHUNKS * CHUNK, PROT_READ, MAP_SHARED, fd, 0);
	/* Beginning and ending within a chunk. */
	struct iovec range = {p + PAGES(5), CHUNKS * CHUNK - PAGES(9)};
	int told = eventfd(0, EFD_CLOEXEC);
	uint64_t times;

	(void)state;
	assert_ok(quire_prefetch(&range, 1, told));
	assert_int_equal(read(told, &times, sizeof(times)), sizeof(times));
	close(told);
	assert_int_equal(resident_pages(range.iov_base, range.iov_len / page_size), range.iov_len / page_size);
	assert_pattern(p, CHUNKS * CHUNK, 0);
	assert_ok(quire_munmap(p, CHUNKS * CHUNK));
	skip_unless_large(&before, 4 * CHUNK);
}

static void M11_stores_to_what_came_in_by_frames_of_2_MiB_survive_the_page_out_of_neighbours(void **state)
{
	int fd = file_new(CHUNKS * CHUNK);
	char *p = map_read_in_order(fd, CHUNKS * CHUNK), *q;

	(void)state;
	for (size_t chunk = 0; chunk < CHUNKS; chunk += 2) {
		q = map(NULL, CHUNK, RW, MAP_SHARED, fd, (off_t)(chunk * CHUNK));
		assert_stores_survive_page_out(q, fd, (off_t)(chunk * CHUNK));
		assert_ok(quire_munmap(q, CHUNK));
		assert_ok(quire_mprotect(p + (chunk + 1) * CHUNK, CHUNK, RW));
		assert_stores_survive_page_out(p + (chunk + 1) * CHUNK, fd, (off_t)((chunk + 1) * CHUNK));
	}
	assert_ok(quire_munmap(p, CHUNKS * CHUNK));
}

static void M11_file_that_is_cut_within_a_frame_of_2_MiB(void **state)
{
	size_t bytes = CHUNKS * CHUNK, cut = 5 * CHUNK + PAGES(100) + 7;
	int fd = file_new(bytes);
	char *p = map_read_in_order(fd, bytes);

	(void)state;
	assert_ok(quire_ftruncate(fd, (off_t)cut));
	assert_pattern(p, cut, 0);
	assert_load_raises(p + PAGES(101) + 5 * CHUNK, SIGBUS, BUS_ADRERR);
	assert_ok(quire_ftruncate(fd, (off_t)bytes));
	assert_pattern(p, cut, 0);
	for (size_t i = cut; i < bytes; i += 511)
		assert_loads(p + i, 0);
	assert_ok(quire_munmap(p, bytes));
}

/* ---- readers in order, beside one who maps parts for stores, cuts and pages out ---- */

#define PAGES_OF(chunks) ((chunks)*CHUNK / page_size)
#define READERS          2
#define ROUNDS           300

/* What is in each page, as far as somebody looks. */
struct content {
	uint64_t number, version;
};

struct shaking {
	int fd;
	uint64_t version[CHUNKS * 512];
	atomic_bool over;
	atomic_int wrong;
};

static void *read_in_order(void *arg)
{
	struct shaking *s = arg;

	while (!atomic_load(&s->over)) {
		char *p = quire_mmap(NULL, CHUNKS * CHUNK, PROT_READ, MAP_SHARED, s->fd, 0);

		if (p == MAP_FAILED || quire_madvise(p, CHUNKS * CHUNK, MADV_SEQUENTIAL) < 0) {
			atomic_fetch_add(&s->wrong, 1);
			return NULL;
		}
		for (uint64_t i = 0; i < PAGES_OF(CHUNKS) && !atomic_load(&s->over); i++)
			if (*(volatile uint64_t *)(p + PAGES(i)) != i)
				atomic_fetch_add(&s->wrong, 1);
		quire_munmap(p, CHUNKS * CHUNK);
	}
	return NULL;
}

static uint64_t draw(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* Some pages of one or two chunks are stored to, and some of their neighbours go meanwhile. */
static void store_some(struct shaking *s, uint64_t *random)
{
	size_t chunks = 1 + draw(random) % 2, chunk = draw(random) % (CHUNKS - 1), first = chunk * 512;
	char *q = map(NULL, chunks * CHUNK, RW, MAP_SHARED, s->fd, (off_t)(chunk * CHUNK));

	for (unsigned n = 0; n < 60; n++) {
		size_t page = draw(random) % (chunks * 512);
		struct content *content = (struct content *)(q + PAGES(page));

		switch (draw(random) % 8) {
		case 0:
			assert_ok(quire_madvise(q + PAGES(page), PAGES(1), MADV_PAGEOUT));
			break;
		case 1:
			assert_ok(quire_msync(q, chunks * CHUNK, MS_ASYNC));
			break;
		default:
			if (content->number != first + page || content->version != s->version[first + page])
				atomic_fetch_add(&s->wrong, 1);
			content->version = ++s->version[first + page];
			break;
		}
	}
	if (draw(random) % 3 == 0)
		assert_ok(quire_msync(q, chunks * CHUNK, MS_SYNC));
	assert_ok(quire_munmap(q, chunks * CHUNK));
}

/* Behind what the readers read: read in order, cut within a frame, and made longer again. */
static void cut_some(struct shaking *s, uint64_t *random)
{
	off_t end = (off_t)(2 * CHUNKS * CHUNK), cut = (off_t)(CHUNKS * CHUNK + draw(random) % (CHUNKS * CHUNK));
	char *p = map(NULL, CHUNKS * CHUNK, PROT_READ, MAP_SHARED, s->fd, (off_t)(CHUNKS * CHUNK));

	assert_ok(quire_madvise(p, CHUNKS * CHUNK, MADV_SEQUENTIAL));
	for (uint64_t i = 0; i < PAGES_OF(CHUNKS); i++)
		assert_loads(p + PAGES(i), 0);
	assert_ok(quire_ftruncate(s->fd, cut));
	assert_ok(quire_ftruncate(s->fd, end));
	assert_ok(quire_munmap(p, CHUNKS * CHUNK));
}

static void M11_frames_of_2_MiB_come_and_go_beside_mappings_for_stores(void **state)
{
	struct shaking s = {.fd = file_new(0)};
	uint64_t random = 88172645463325252ull;
	struct quire_stats before = stats();
	pthread_t reader[READERS];

	(void)state;
	for (uint64_t i = 0; i < PAGES_OF(CHUNKS); i++)
		assert_int_equal(pwrite(s.fd, &(struct content){i, 0}, sizeof(struct content), (off_t)PAGES(i)),
				 sizeof(struct content));
	assert_ok(ftruncate(s.fd, (off_t)(2 * CHUNKS * CHUNK)));
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, read_in_order, &s), 0);
	for (unsigned round = 0; round < ROUNDS && s.wrong == 0; round++) {
		store_some(&s, &random);
		if (round % 50 == 49)
			cut_some(&s, &random);
	}
	atomic_store(&s.over, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	assert_int_equal(s.wrong, 0);
	assert_true(stats().resident_peak_bytes <= stats().budget_bytes);
	settle();
	for (uint64_t i = 0; i < PAGES_OF(CHUNKS); i++) {
		struct content content;

		assert_int_equal(pread(s.fd, &content, sizeof(content), (off_t)PAGES(i)), sizeof(content));
		assert_int_equal(content.number, i);
		assert_int_equal(content.version, s.version[i]);
	}
	skip_unless_large(&before, 50 * CHUNK);
}

static const struct conformance_test tests[] = {
    TEST(M11_file_that_is_read_in_order_comes_in_by_frames_of_2_MiB),
    TEST(M11_range_that_is_asked_for_comes_in_by_frames_of_2_MiB),
    TEST(M11_stores_to_what_came_in_by_frames_of_2_MiB_survive_the_page_out_of_neighbours),
    TEST(M11_file_that_is_cut_within_a_frame_of_2_MiB),
    TEST(M11_frames_of_2_MiB_come_and_go_beside_mappings_for_stores),
};

CONFORMANCE_MAIN(tests)
