/* SPDX-License-Identifier: MIT */
/*
 * test-written.c - what was stored to: not yet written, and since an epoch: row B06
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#define RANGES 8192

static struct iovec told[RANGES];

static char *range_end(const struct iovec *range)
{
	return (char *)range->iov_base + range->iov_len;
}

/* Asks, and sees that the answer is one: ranges of whole pages inside of the range, in order, none adjacent to the next. */
static int checked(int count, const char *p, size_t n)
{
	assert_true(count >= 0 && count <= RANGES);
	for (int i = 0; i < count; i++) {
		assert_true((char *)told[i].iov_base >= (i > 0 ? range_end(&told[i - 1]) + page_size : p));
		assert_true(told[i].iov_len > 0 && told[i].iov_len % page_size == 0);
		assert_true(range_end(&told[i]) <= p + PAGES(n));
	}
	return count;
}

static int dirty(const char *p, size_t n)
{
	return checked(quire_dirty(p, PAGES(n), told, RANGES), p, n);
}

static int written(const char *p, size_t n, uint64_t since)
{
	return checked(quire_written(p, PAGES(n), since, told, RANGES), p, n);
}

static uint64_t epoch(const void *p, size_t n)
{
	uint64_t number = 0;

	assert_ok(quire_epoch(p, PAGES(n), &number));
	assert_true(number > 0);
	return number;
}

#define assert_told(i, addr, n)                                                                                                    \
	do {                                                                                                                       \
		assert_ptr_equal(told[i].iov_base, addr);                                                                          \
		assert_int_equal(told[i].iov_len, PAGES(n));                                                                       \
	} while (0)

static bool is_told(int count, const char *addr)
{
	for (int i = 0; i < count; i++)
		if (addr >= (char *)told[i].iov_base && addr < range_end(&told[i]))
			return true;
	return false;
}

/* ---- dirty ---- */

static void B06_dirty_tells_what_is_not_written_yet(void **state)
{
	int fd = file_new(PAGES(1200));
	char *p = map_shared(fd, 1200);

	(void)state;
	assert_int_equal(dirty(p, 1200), 0);
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	assert_int_equal(dirty(p, 1200), 0);
	p[PAGES(3)] = p[PAGES(4) + 9] = p[PAGES(10)] = 'd';
	p[PAGES(511)] = p[PAGES(512)] = 'd';
	p[PAGES(1199)] = 'd';
	assert_int_equal(dirty(p, 1200), 4);
	assert_told(0, p + PAGES(3), 2);
	assert_told(1, p + PAGES(10), 1);
	assert_told(2, p + PAGES(511), 2);
	assert_told(3, p + PAGES(1199), 1);
	assert_ok(quire_msync(p + PAGES(10), PAGES(600), MS_SYNC));
	assert_int_equal(dirty(p, 1200), 2);
	assert_ok(quire_msync(p, PAGES(1200), MS_SYNC));
	assert_int_equal(dirty(p, 1200), 0);
	unmap(p, 1200);
}

static void B06_dirty_counts_as_snprintf_does(void **state)
{
	int fd = file_new(PAGES(16));
	char *p = map_shared(fd, 16);

	(void)state;
	for (size_t i = 0; i < 16; i += 4)
		p[PAGES(i)] = 'd';
	memset(told, 0x55, sizeof(told));
	assert_int_equal(quire_dirty(p, PAGES(16), NULL, 0), 4);
	assert_int_equal(quire_dirty(p, PAGES(16), told, 2), 4);
	assert_told(0, p, 1);
	assert_told(1, p + PAGES(4), 1);
	assert_int_equal(told[2].iov_len, 0x5555555555555555);
	/* The pages that the range touches, and nothing of others. */
	assert_int_equal(quire_dirty(p + PAGES(4) + 100, PAGES(4), told, 8), 2);
	assert_told(0, p + PAGES(4), 1);
	assert_told(1, p + PAGES(8), 1);
	assert_int_equal(quire_dirty(p, 0, told, 8), 0);
	unmap(p, 16);
}

static void B06_dirty_tells_a_store_through_any_mapping(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8), *q = map(NULL, PAGES(8), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	p[PAGES(5)] = 'd';
	assert_int_equal(dirty(q, 8), 1);
	assert_told(0, q + PAGES(5), 1);
	unmap(p, 8);
	unmap(q, 8);
}

static void B06_dirty_goes_over_several_mappings(void **state)
{
	int first = file_new(PAGES(4)), second = file_new(PAGES(4));
	char *p = map(quiet(), PAGES(4), RW, MAP_SHARED | MAP_FIXED, first, 0);

	(void)state;
	map(p + PAGES(4), PAGES(4), RW, MAP_SHARED | MAP_FIXED, second, 0);
	p[PAGES(3)] = p[PAGES(4)] = 'd';
	p[PAGES(6)] = 'd';
	assert_int_equal(dirty(p, 8), 2);
	assert_told(0, p + PAGES(3), 2);
	assert_told(1, p + PAGES(6), 1);
	unmap(p, 8);
}

static void B06_dirty_of_private_memory_are_its_copies(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_private(fd, 8), *q = map_anonymous(8), *r = map(NULL, PAGES(8), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	p[PAGES(2)] = q[PAGES(3)] = r[PAGES(4)] = 'd';
	assert_int_equal(dirty(p, 8), 1);
	assert_told(0, p + PAGES(2), 1);
	assert_int_equal(dirty(q, 8), 1);
	assert_told(0, q + PAGES(3), 1);
	assert_int_equal(dirty(r, 8), 1);
	assert_told(0, r + PAGES(4), 1);
	evict(p, 8);
	evict(q, 8);
	evict(r, 8);
	assert_int_equal(dirty(p, 8), 1);
	assert_int_equal(dirty(q, 8), 1);
	assert_int_equal(dirty(r, 8), 1);
	unmap(p, 8);
	unmap(q, 8);
	unmap(r, 8);
}

static void B06_ranges_may_be_told_into_managed_memory(void **state)
{
	int fd = file_new(PAGES(64));
	char *p = map_shared(fd, 64);
	struct iovec *ranges = (struct iovec *)map_shared(file_new(PAGES(1)), 1);

	(void)state;
	for (size_t i = 0; i < 64; i += 2)
		p[PAGES(i)] = 'd';
	assert_int_equal(quire_dirty(p, PAGES(64), ranges, 32), 32);
	for (size_t i = 0; i < 32; i++)
		assert_ptr_equal(ranges[i].iov_base, p + PAGES(2 * i));
	unmap(ranges, 1);
	unmap(p, 64);
}

static void B06_bad_arguments_are_refused(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map(quiet(), PAGES(4), RW, MAP_SHARED | MAP_FIXED, fd, 0);
	uint64_t number = 7, last = epoch(p, 4);

	(void)state;
	assert_fails(quire_dirty(p, PAGES(4), told, -1), EINVAL);
	assert_fails(quire_dirty(p, PAGES(4), NULL, 1), EINVAL);
	assert_fails(quire_written(p, PAGES(4), last + 1, told, 1), EINVAL);
	assert_message_number("quire_written", last + 1);
	assert_fails(quire_written(p, PAGES(4), last, told, -1), EINVAL);
	unmap(p + PAGES(2), 1);
	assert_fails(quire_dirty(p, PAGES(4), told, 1), ENOMEM);
	assert_message("quire_dirty", "nothing is mapped");
	assert_fails(quire_written(p, PAGES(4), last, told, 1), ENOMEM);
	assert_fails(quire_epoch(p, PAGES(4), &number), ENOMEM);
	assert_fails(quire_epoch(p, SIZE_MAX, &number), ENOMEM);
	assert_int_equal(number, 7);
	assert_int_equal(epoch(p, 1), last + 1);
	unmap(p, 4);
}

/* ---- epochs ---- */

static void B06_written_tells_what_was_stored_to_since(void **state)
{
	int fd = file_new(PAGES(600));
	char *p = map_shared(fd, 600);
	uint64_t first, second;

	(void)state;
	p[PAGES(5)] = p[PAGES(8)] = 'a';
	first = epoch(p, 600);
	assert_int_equal(written(p, 600, first), 0);
	p[PAGES(7)] = p[PAGES(8)] = 'b';
	assert_int_equal(written(p, 600, first), 1);
	assert_told(0, p + PAGES(7), 2);
	/* Also when it has been written to the file in between, and stored to again. */
	assert_ok(quire_msync(p, PAGES(600), MS_SYNC));
	p[PAGES(550)] = 'c';
	assert_int_equal(written(p, 600, first), 2);
	assert_told(0, p + PAGES(7), 2);
	assert_told(1, p + PAGES(550), 1);
	second = epoch(p, 600);
	assert_true(second > first);
	assert_int_equal(written(p, 600, second), 0);
	assert_int_equal(written(p, 600, first), 2);
	/* One that is dirty since before the epoch. */
	p[PAGES(550) + 1] = 'd';
	assert_int_equal(written(p, 600, second), 1);
	assert_told(0, p + PAGES(550), 1);
	unmap(p, 600);
}

static void B06_written_since_0_is_everything(void **state)
{
	int fd = file_new(PAGES(5) + 1);
	char *p = map_shared(fd, 9);

	(void)state;
	assert_int_equal(written(p, 9, 0), 1);
	/* But not what would raise SIGBUS. */
	assert_told(0, p, 6);
	unmap(p, 9);
}

static void B06_written_is_told_after_eviction(void **state)
{
	int fd = file_new(PAGES(40));
	char *p = map_shared(fd, 40);
	uint64_t since = epoch(p, 40);

	(void)state;
	p[PAGES(11)] = 'e';
	evict(p, 40);
	assert_loads(p + PAGES(12), pattern((off_t)PAGES(12)));
	assert_int_equal(dirty(p, 40), 0);
	assert_int_equal(written(p, 40, since), 1);
	assert_told(0, p + PAGES(11), 1);
	unmap(p, 40);
}

static void B06_written_outlives_the_mapping_that_stored(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8), *q = map_shared(fd, 8);
	uint64_t since = epoch(p, 8);

	(void)state;
	q[PAGES(1)] = 'q';
	unmap(q, 8);
	assert_int_equal(written(p, 8, since), 1);
	assert_told(0, p + PAGES(1), 1);
	unmap(p, 8);
}

static void B06_file_that_was_not_mapped_at_the_epoch_is_told_entirely(void **state)
{
	int fd = file_new(PAGES(8));
	char *other = map_anonymous(1), *p = map_shared(fd, 8);
	uint64_t since = epoch(p, 8);

	(void)state;
	unmap(p, 8);
	settle();
	epoch(other, 1);
	p = map_shared(fd, 8);
	assert_int_equal(written(p, 8, since), 1);
	assert_told(0, p, 8);
	since = epoch(p, 8);
	assert_int_equal(written(p, 8, since), 0);
	unmap(p, 8);
	unmap(other, 1);
}

static void B06_clients_do_not_take_from_each_other(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);
	uint64_t one = epoch(p, 8), two;

	(void)state;
	p[PAGES(1)] = 'a';
	two = epoch(p, 8);
	p[PAGES(5)] = 'b';
	for (int again = 0; again < 2; again++) {
		assert_int_equal(written(p, 8, one), 2);
		assert_int_equal(written(p, 8, two), 1);
		assert_told(0, p + PAGES(5), 1);
	}
	unmap(p, 8);
}

static void B06_old_epochs_are_told_too_much_and_never_too_little(void **state)
{
	enum { N = 600 };
	static uint64_t before[N];
	int fd = file_new(PAGES(N));
	char *p = map_shared(fd, N);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(N), MADV_RANDOM));
	for (size_t i = 0; i < N; i++) {
		before[i] = epoch(p, N);
		p[PAGES(i)] = 'o';
	}
	for (size_t i = 0; i < N; i++) {
		int count = written(p, N, before[i]);

		for (size_t k = i; k < N; k++)
			assert_true(is_told(count, p + PAGES(k)));
		if (i >= N - 120) {
			assert_int_equal(count, 1);
			assert_told(0, p + PAGES(i), N - i);
		}
	}
	unmap(p, N);
}

static void B06_removed_and_cut_pages_count_as_stored_to(void **state)
{
	int fd = file_new(PAGES(700));
	char *p = map_shared(fd, 700);
	uint64_t since = epoch(p, 700);

	(void)state;
	if (quire_madvise(p + PAGES(3), PAGES(2), MADV_REMOVE) != 0 && errno == EOPNOTSUPP)
		skip_because("this filesystem makes no holes");
	assert_int_equal(written(p, 700, since), 1);
	assert_told(0, p + PAGES(3), 2);
	since = epoch(p, 700);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(600) - 5));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(700)));
	assert_int_equal(written(p, 700, since), 1);
	assert_told(0, p + PAGES(599), 101);
	unmap(p, 700);
}

static void B06_costs_nothing_before_anybody_asks(void **state)
{
	int fd = file_new(PAGES(512));
	char *p = map_shared(fd, 512);
	uint64_t bytes;

	(void)state;
	memset(p, 'n', PAGES(512));
	bytes = stats().metadata_bytes;
	assert_int_equal(dirty(p, 512), 1);
	assert_int_equal(stats().metadata_bytes, bytes);
	epoch(p, 512);
	memset(p, 'm', PAGES(512));
	assert_int_equal(dirty(p, 512), 1);
	assert_true(stats().metadata_bytes > bytes);
	assert_true(stats().metadata_bytes <= bytes + 640);
	unmap(p, 512);
}

/* ---- stores while it is asked ---- */

enum { STORERS = 3, STORES = 3000, STORED_PAGES = 3000 };

struct storer {
	pthread_t thread;
	char *p;
	uint64_t random;
	atomic_int *running;
};

static void *store_all_over(void *arg)
{
	struct storer *storer = arg;

	for (int i = 0; i < STORES; i++) {
		size_t page;

		storer->random = storer->random * 6364136223846793005u + 1442695040888963407u;
		/* Half of them into few pages, so that one is stored to again and again. */
		page = (size_t)(storer->random >> 33) % (i % 2 ? 20 : STORED_PAGES);
		storer->p[PAGES(page) + (size_t)(storer->random >> 20) % page_size] = (char)(storer->random >> 50);
	}
	atomic_fetch_sub(storer->running, 1);
	return NULL;
}

/* One round of an incremental copy. */
static uint64_t copy_since(char *copy, const char *p, uint64_t last)
{
	uint64_t next = epoch(p, STORED_PAGES);
	int count = written(p, STORED_PAGES, last);

	for (int i = 0; i < count; i++)
		memcpy(copy + ((char *)told[i].iov_base - p), told[i].iov_base, told[i].iov_len);
	return next;
}

/* Three times the budget, so that all is written, evicted and read again all the time. */
static void B06_incremental_copy_is_complete_under_pressure(void **state)
{
	int fd = file_new(PAGES(STORED_PAGES));
	char *p = map_shared(fd, STORED_PAGES), *copy = calloc(STORED_PAGES, page_size);
	struct storer storers[STORERS];
	atomic_int running = STORERS;
	uint64_t last = 0;

	(void)state;
	assert_non_null(copy);
	assert_ok(quire_madvise(p, PAGES(STORED_PAGES), MADV_RANDOM));
	for (size_t i = 0; i < STORERS; i++) {
		storers[i] = (struct storer){.p = p, .random = i, .running = &running};
		assert_int_equal(pthread_create(&storers[i].thread, NULL, store_all_over, &storers[i]), 0);
	}
	while (atomic_load(&running) > 0)
		last = copy_since(copy, p, last);
	for (size_t i = 0; i < STORERS; i++)
		pthread_join(storers[i].thread, NULL);
	last = copy_since(copy, p, last);
	assert_memory_equal(copy, p, PAGES(STORED_PAGES));
	assert_int_equal(written(p, STORED_PAGES, last), 0);
	free(copy);
	unmap(p, STORED_PAGES);
}

/* Where each first store is a fault. */
static void B06_written_where_the_kernel_tracks_no_stores(void **state)
{
	B06_written_tells_what_was_stored_to_since(state);
	B06_clients_do_not_take_from_each_other(state);
	B06_written_is_told_after_eviction(state);
}

static void B06_incremental_copy_where_the_kernel_tracks_no_stores(void **state)
{
	B06_incremental_copy_is_complete_under_pressure(state);
}

/* Pages must not be written by their age while they are counted. */
#define UNAGED "QUIRE_EXPIRE_MS=3600000"

static const struct conformance_test tests[] = {
    TEST_IN_OWN_PROCESS(B06_dirty_tells_what_is_not_written_yet, UNAGED),
    TEST_IN_OWN_PROCESS(B06_dirty_counts_as_snprintf_does, UNAGED),
    TEST_IN_OWN_PROCESS(B06_dirty_tells_a_store_through_any_mapping, UNAGED),
    TEST_IN_OWN_PROCESS(B06_dirty_goes_over_several_mappings, UNAGED),
    TEST(B06_dirty_of_private_memory_are_its_copies),
    TEST_IN_OWN_PROCESS(B06_ranges_may_be_told_into_managed_memory, UNAGED),
    TEST(B06_bad_arguments_are_refused),
    TEST(B06_written_tells_what_was_stored_to_since),
    TEST(B06_written_since_0_is_everything),
    TEST(B06_written_is_told_after_eviction),
    TEST(B06_written_outlives_the_mapping_that_stored),
    TEST(B06_file_that_was_not_mapped_at_the_epoch_is_told_entirely),
    TEST(B06_clients_do_not_take_from_each_other),
    TEST(B06_old_epochs_are_told_too_much_and_never_too_little),
    TEST(B06_removed_and_cut_pages_count_as_stored_to),
    TEST_IN_OWN_PROCESS(B06_costs_nothing_before_anybody_asks, ""),
    TEST(B06_incremental_copy_is_complete_under_pressure),
    TEST_IN_OWN_PROCESS(B06_written_where_the_kernel_tracks_no_stores, "QUIRE_DEBUG=no-tracking"),
    TEST_IN_OWN_PROCESS(B06_incremental_copy_where_the_kernel_tracks_no_stores, "QUIRE_DEBUG=no-tracking"),
};

CONFORMANCE_MAIN(tests)
