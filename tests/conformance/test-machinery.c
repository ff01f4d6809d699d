/* SPDX-License-Identifier: MIT */
/*
 * test-machinery.c - the machinery that the literature describes: rows K01-K06, B02 and B04
 *
 * Under the kernel as oracle what is left of these is that the contents are right.
 */
#include "support.h"

/* A number that belongs to page i alone. */
static uint64_t number(size_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15u;
}

static void fill_page(char *page, uint64_t value)
{
	uint64_t *words = (uint64_t *)page;

	for (size_t i = 0; i < page_size / sizeof(*words); i++)
		words[i] = value;
}

static void check_page(const char *page, uint64_t value)
{
	const uint64_t *words = (const uint64_t *)page;

	for (size_t i = 0; i < page_size / sizeof(*words); i++)
		assert_true(words[i] == value);
}

/* Every page from 0 to n - 1 once, in an order without neighbours; n is a power of two. */
static size_t shuffled(size_t i, size_t n)
{
	return (i * 2654435761u + 7) & (n - 1);
}

static size_t budget_pages(void)
{
#ifdef KERNEL_ORACLE
	return 1024;
#else
	return stats().budget_bytes / page_size;
#endif
}

/* A power of two, at least four times the budget. */
static size_t many_pages(void)
{
	size_t n = 1;

	while (n < 4 * budget_pages())
		n *= 2;
	if (PAGES(n) > (size_t)1 << 28)
		skip_because("the budget is too large for this test: set QUIRE_MEMORY=4M");
	return n;
}

static void check_budget(void)
{
#ifndef KERNEL_ORACLE
	struct quire_stats now = stats();

	assert_true(now.resident_bytes <= now.budget_bytes);
	assert_true(now.resident_peak_bytes <= now.budget_bytes);
#endif
}

/* ---- K05: write-back ---- */

static void K05_more_dirty_pages_than_the_budget_reach_the_file(void **state)
{
	size_t n = many_pages();
	int fd = file_new(0);
	char *p;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)PAGES(n)), 0);
	p = map_shared(fd, n);
	for (size_t i = 0; i < n; i++) {
		size_t at = shuffled(i, n);

		fill_page(p + PAGES(at), number(at));
		check_budget();
	}
	for (size_t i = 0; i < n; i++)
		check_page(p + PAGES(i), number(i));
	unmap(p, n);
	for (size_t i = 0; i < n; i++) {
		uint64_t word;

		assert_int_equal(pread(fd, &word, sizeof(word), (off_t)(PAGES(i + 1) - sizeof(word))), sizeof(word));
		assert_true(word == number(i));
	}
	check_budget();
}

/* ---- K06: swap ---- */

static void check_swapped(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t at = shuffled(i, n);

		fill_page(p + PAGES(at), number(at));
	}
	check_budget();
	for (size_t i = 0; i < n; i++)
		check_page(p + PAGES(i), number(i));
	/* What comes back from swap can be stored to again. */
	for (size_t i = 0; i < n; i += 5)
		fill_page(p + PAGES(i), number(i + n));
	for (size_t i = 0; i < n; i++)
		check_page(p + PAGES(i), number(i % 5 ? i : i + n));
	check_budget();
}

static void K06_more_anonymous_memory_than_the_budget(void **state)
{
	size_t n = many_pages();
	char *p = map_anonymous(n);

	(void)state;
	check_swapped(p, n);
	unmap(p, n);
}

static void K06_more_shared_anonymous_memory_than_the_budget(void **state)
{
	size_t n = many_pages();
	char *p = map(NULL, PAGES(n), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	check_swapped(p, n);
	unmap(p, n);
}

static void K06_more_private_copies_than_the_budget(void **state)
{
	size_t n = many_pages();
	int fd = file_new(PAGES(n));
	char *p = map_private(fd, n);

	(void)state;
	for (size_t i = 0; i < n; i += 2)
		p[PAGES(i)] = 0;
	for (size_t i = 0; i < n; i++) {
		assert_loads(p + PAGES(i), i % 2 ? pattern((off_t)PAGES(i)) : 0);
		assert_loads(p + PAGES(i) + 1, pattern((off_t)PAGES(i) + 1));
	}
	check_budget();
	unmap(p, n);
	for (size_t i = 0; i < n; i += 64)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), pattern((off_t)PAGES(i)));
}

#ifndef KERNEL_ORACLE
/* ---- K01: the address space ---- */

static void K01_neighbours_that_can_merge_do(void **state)
{
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	size_t areas = stats().areas;

	(void)state;
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(1), PROT_READ));
	assert_int_equal(stats().areas, areas + 2);
	assert_int_equal(area_stats(p).len, PAGES(1));
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(1), RW));
	assert_int_equal(stats().areas, areas);
	assert_int_equal(area_stats(p + PAGES(2)).len, PAGES(3));
	assert_ptr_equal(area_stats(p + PAGES(2)).addr, p);
	unmap(p, 3);
	assert_int_equal(stats().areas, areas - 1);
}

static void K01_parts_of_one_file_merge(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	map(p + PAGES(2), PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, (off_t)PAGES(2));
	assert_int_equal(area_stats(p).len, PAGES(4));
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
}

static void K01_what_does_not_follow_does_not_merge(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map(quiet(), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)state;
	map(p + PAGES(1), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, (off_t)PAGES(3));
	assert_int_equal(area_stats(p).len, PAGES(1));
	assert_int_equal(area_stats(p + PAGES(1)).offset, PAGES(3));
	assert_pattern(p + PAGES(1), PAGES(1), PAGES(3));
	unmap(p, 2);
}

static void K01_area_tells_what_was_asked_for(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, (off_t)PAGES(1));
	char *q = map_anonymous(1);
	struct quire_area_stats area = area_stats(p + PAGES(1) + 7);

	(void)state;
	assert_ptr_equal(area.addr, p);
	assert_int_equal(area.len, PAGES(2));
	assert_int_equal(area.prot, PROT_READ);
	assert_int_equal(area.flags, MAP_SHARED);
	assert_int_equal(area.offset, PAGES(1));
	assert_int_equal(area_stats(q).flags, MAP_PRIVATE | MAP_ANONYMOUS);
	unmap(p, 2);
	unmap(q, 1);
	assert_fails(quire_area_stats_get(quiet(), &area), ENOMEM);
}

static void K01_maps_prints_every_area_in_order(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	char *text = NULL, *line, *rest = NULL;
	size_t len = 0, lines = 0;
	uintptr_t last = 0;
	bool found = false;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(1), PROT_READ));
	assert_ok(quire_maps(out));
	fclose(out);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), lines++) {
		unsigned long start, end, offset;
		char prot[5];

		assert_int_equal(sscanf(line, "%lx-%lx %4s %lx", &start, &end, prot, &offset), 4);
		assert_true(start >= last && end > start);
		last = end;
		if (start != (uintptr_t)p + PAGES(1))
			continue;
		found = true;
		assert_int_equal(end - start, PAGES(1));
		assert_string_equal(prot, "r--s");
		assert_int_equal(offset, PAGES(1));
	}
	free(text);
	assert_true(found);
	assert_int_equal(lines, stats().areas);
	unmap(p, 4);
}

/* ---- K02: one page cache for each object ---- */

static void check_reads_nothing(char *p, size_t n)
{
	struct quire_stats before = stats();

	assert_pattern(p, PAGES(n), 0);
	assert_int_equal(grown(before, read_bytes), 0);
	assert_int_equal(grown(before, major_faults), 0);
	unmap(p, n);
}

static void K02_page_is_read_once_for_all_mappings(void **state)
{
	int fd = file_new(PAGES(8));
	int again = file_reopen(fd, O_RDONLY);
	char *p = map_shared(fd, 8);

	(void)state;
	assert_pattern(p, PAGES(8), 0);
	check_reads_nothing(map_shared(fd, 8), 8);
	check_reads_nothing(map_private(fd, 8), 8);
	check_reads_nothing(map(NULL, PAGES(8), PROT_READ, MAP_SHARED, again, 0), 8);
	unmap(p, 8);
}

static void K02_all_mappings_of_a_file_are_of_one_object(void **state)
{
	int fd = file_new(PAGES(2));
	int again = file_reopen(fd, O_RDWR);
	size_t objects = stats().objects;
	char *p = map_shared(fd, 2);
	char *q = map_shared(again, 2);
	char *r = map(NULL, PAGES(1), RW, MAP_SHARED, fd, (off_t)PAGES(1));

	(void)state;
	assert_int_equal(stats().objects, objects + 1);
	unmap(p, 2);
	unmap(q, 2);
	unmap(r, 1);
}

/* ---- K03: demand paging ---- */

static void K03_mapping_reads_nothing(void **state)
{
	int fd = file_new(PAGES(64));
	struct quire_stats before = stats();
	char *p = map_shared(fd, 64);

	(void)state;
	assert_int_equal(grown(before, read_calls), 0);
	assert_int_equal(grown(before, read_bytes), 0);
	assert_int_equal(area_stats(p).resident_bytes, 0);
	unmap(p, 64);
}

static void K03_first_touch_is_a_major_fault(void **state)
{
	int fd = file_new(PAGES(16));
	char *p = map_shared(fd, 16);
	struct quire_stats before;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(16), MADV_RANDOM));
	before = stats();
	for (size_t i = 0; i < 16; i += 2)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	assert_int_equal(grown(before, major_faults), 8);
	assert_int_equal(area_stats(p).major_faults, 8);
	assert_int_equal(area_stats(p).resident_bytes, PAGES(8));
	unmap(p, 16);
}

static void K03_second_touch_is_no_fault(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	struct quire_stats before;

	(void)state;
	assert_loads(p, pattern(0));
	before = stats();
	for (int i = 0; i < 100; i++)
		assert_loads(p + i, pattern(i));
	assert_int_equal(grown(before, major_faults), 0);
	assert_int_equal(grown(before, minor_faults), 0);
	unmap(p, 1);
}

static void K03_touch_of_what_another_mapping_read_is_minor(void **state)
{
	int fd = file_new(PAGES(16));
	char *p = map_shared(fd, 16);
	char *q = map_shared(fd, 16);

	(void)state;
	assert_pattern(p, PAGES(16), 0);
	assert_pattern(q, PAGES(16), 0);
	assert_int_equal(area_stats(q).major_faults, 0);
	assert_in_range(area_stats(q).minor_faults, 1, 16);
	unmap(p, 16);
	unmap(q, 16);
}

static void K03_pages_that_another_mapping_shows_come_along(void **state)
{
	int fd = file_new(PAGES(256));
	char *p = map_shared(fd, 256), *q = map_shared(fd, 256);

	(void)state;
	assert_pattern(p, PAGES(256), 0);
	assert_pattern(q, PAGES(256), 0);
	/* Sixteen at a time; a page may be in other hands. */
	assert_in_range(area_stats(q).minor_faults, 16, 64);
	/* A store to one that came along is noticed as any. */
	assert_stores(q + PAGES(3), 'q');
	assert_loads(p + PAGES(3), 'q');
	assert_ok(quire_msync(p, PAGES(256), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), 'q');
	unmap(p, 256);
	unmap(q, 256);
}

static void K03_untouched_pages_cost_nothing(void **state)
{
	const off_t size = (off_t)1 << 40;
	struct quire_stats before = stats();
	int fd = file_new(0);
	char *p;

	(void)state;
	assert_int_equal(ftruncate(fd, size), 0);
	p = map(NULL, (size_t)size, RW, MAP_SHARED, fd, 0);
	assert_loads(p, 0);
	assert_stores(p + size / 2, 1);
	assert_loads(p + size - 1, 0);
	assert_true(stats().metadata_bytes <= before.metadata_bytes + (1 << 20));
	assert_ok(quire_munmap(p, (size_t)size));
	assert_int_equal(file_byte(fd, size / 2), 1);
}

/* ---- K04: one copy ---- */

static void K04_every_page_is_copied_once(void **state)
{
	int fd = file_new(PAGES(64));
	char *p = map_shared(fd, 64);
	struct quire_stats before;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(64), MADV_RANDOM));
	before = stats();
	for (size_t i = 0; i < 64; i += 4)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	assert_int_equal(grown(before, read_bytes), PAGES(16));
	assert_int_equal(grown(before, copied_bytes), PAGES(16));
	unmap(p, 64);
}

static void K04_what_is_read_ahead_is_copied_once(void **state)
{
	int fd = file_new(PAGES(128));
	struct quire_stats before = stats();
	char *p = map_shared(fd, 128);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(128), MADV_SEQUENTIAL));
	assert_pattern(p, PAGES(128), 0);
	assert_int_equal(grown(before, copied_bytes), PAGES(128));
	unmap(p, 128);
}

/* ---- K05: write-back in the background, in a process where pages expire after 50 ms ---- */

static void wait_for_byte(int fd, off_t pos, int value)
{
	for (int waited_ms = 0; file_byte(fd, pos) != value && waited_ms < 20000; waited_ms++)
		usleep(1000);
	assert_int_equal(file_byte(fd, pos), value);
}

static void K05_dirty_page_is_written_by_itself(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	p[PAGES(1)] = 'b';
	wait_for_byte(fd, (off_t)PAGES(1), 'b');
	assert_loads(p + PAGES(1), 'b');
	unmap(p, 2);
}

static void K05_page_stored_to_again_is_written_again(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	for (int i = 1; i < 5; i++) {
		p[0] = (char)i;
		wait_for_byte(fd, 0, i);
	}
	unmap(p, 1);
}

static void K05_neighbours_are_merged_into_large_writes(void **state)
{
	int fd = file_new(PAGES(256));
	char *p = map_shared(fd, 256);
	struct quire_stats before;

	(void)state;
	/* In memory before, so that storing is done before the first of them is old. */
	assert_int_equal(quire_madvise(p, PAGES(256), MADV_POPULATE_READ), 0);
	before = stats();
	for (size_t i = 0; i < 256; i++)
		p[PAGES(shuffled(i, 256))] = 0;
	for (size_t i = 0; i < 256; i++)
		wait_for_byte(fd, (off_t)PAGES(i), 0);
	assert_in_range(grown(before, write_calls), 1, 256 / 8);
	unmap(p, 256);
}

static void K05_written_pages_are_clean(void **state)
{
	int fd = file_new(PAGES(16));
	char *p = map_shared(fd, 16);
	int waited_ms = 0;

	(void)state;
	memset(p, 'c', PAGES(16));
	while ((stats().dirty_bytes || file_byte(fd, (off_t)PAGES(15)) != 'c') && waited_ms++ < 20000)
		usleep(1000);
	assert_int_equal(stats().dirty_bytes, 0);
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 'c');
	unmap(p, 16);
}

/* ---- K06: swap, seen through the counters ---- */

static void K06_swap_is_used_and_given_back(void **state)
{
	size_t n = many_pages();
	struct quire_stats before = stats();
	char *p = map_anonymous(n);

	(void)state;
	for (size_t i = 0; i < n; i++)
		p[PAGES(i)] = 1;
	assert_true(grown(before, swap_out_pages) >= n - budget_pages());
	assert_true(stats().swapped_bytes >= PAGES(n - budget_pages()));
	for (size_t i = 0; i < n; i++)
		assert_loads(p + PAGES(i), 1);
	assert_true(grown(before, swap_in_pages) >= 1);
	unmap(p, n);
	assert_int_equal(stats().swapped_bytes, before.swapped_bytes);
}

/* ---- B02: is it resident? ---- */

static void B02_resident_is_answered(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(4), MADV_RANDOM));
	assert_int_equal(quire_resident(p, PAGES(4)), 0);
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	assert_int_equal(quire_resident(p + PAGES(1), PAGES(2)), 1);
	assert_int_equal(quire_resident(p + PAGES(1) + 9, 1), 1);
	assert_int_equal(quire_resident(p, PAGES(4)), 0);
	assert_int_equal(quire_resident(p + PAGES(2), PAGES(1) + 1), 0);
	evict(p, 4);
	assert_int_equal(quire_resident(p + PAGES(1), PAGES(1)), 0);
	unmap(p, 4);
	assert_int_equal(quire_resident(p, PAGES(1)), 0);
}

static void B02_resident_through_another_mapping(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	char *q = map_shared(fd, 1);

	(void)state;
	assert_loads(p, pattern(0));
	assert_int_equal(quire_resident(q, PAGES(1)), 1);
	unmap(p, 1);
	unmap(q, 1);
}

static void B02_private_copies_are_resident_until_they_are_swapped(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_int_equal(quire_resident(p, PAGES(1)), 0);
	p[0] = 1;
	assert_int_equal(quire_resident(p, PAGES(1)), 1);
	evict(p, 1);
	assert_int_equal(quire_resident(p, PAGES(1)), 0);
	assert_loads(p, 1);
	assert_int_equal(quire_resident(p, PAGES(1)), 1);
	unmap(p, 1);
}

static void B02_a_range_around_the_address_space_is_not_resident(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	p[0] = 1;
	assert_int_equal(quire_resident(p, PAGES(1)), 1);
	assert_int_equal(quire_resident(p, SIZE_MAX), 0);
	assert_int_equal(quire_resident(p, -(uintptr_t)p + 1), 0);
	unmap(p, 1);
}

/* ---- B04: the budget ---- */

static void B04_budget_is_kept_all_the_time(void **state)
{
	size_t n = many_pages();
	int fd = file_new(PAGES(n));
	char *p = map_shared(fd, n);
	char *q = map_private(fd, n);
	char *r = map_anonymous(n);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		size_t at = shuffled(i, n);

		assert_loads(p + PAGES(at), pattern((off_t)PAGES(at)));
		p[PAGES(at) + 1] = 1;
		q[PAGES(i)] = 2;
		r[PAGES(at)] = 3;
		check_budget();
	}
	unmap(p, n);
	unmap(q, n);
	unmap(r, n);
	check_budget();
}

static void B04_what_is_resident_is_counted(void **state)
{
	int fd = file_new(PAGES(16));
	char *p = map_shared(fd, 16);

	(void)state;
	assert_pattern(p, PAGES(16), 0);
	assert_true(stats().resident_bytes >= PAGES(16));
	assert_true(stats().resident_bytes >= stats().buffer_bytes);
	unmap(p, 16);
}

static void B04_a_smaller_budget_is_kept_at_once(void **state)
{
	size_t n = budget_pages(), half = stats().budget_bytes / 2;
	char *p = map_anonymous(n);

	(void)state;
	for (size_t i = 0; i < n; i++)
		fill_page(p + PAGES(i), number(i));
	assert_ok(quire_set_memory(half));
	assert_int_equal(stats().budget_bytes, half);
	assert_true(stats().resident_bytes <= half);
	for (size_t i = 0; i < n; i++)
		check_page(p + PAGES(i), number(i));
	assert_true(stats().resident_bytes <= half);
	unmap(p, n);
}

static void B04_a_larger_budget_is_used(void **state)
{
	size_t n = budget_pages(), twice = 2 * stats().budget_bytes;
	char *p;

	(void)state;
	assert_ok(quire_set_memory(twice));
	p = map_anonymous(n);
	for (size_t i = 0; i < n; i++)
		p[PAGES(i)] = 1;
	assert_int_equal(resident_pages(p, n), n);
	assert_true(stats().resident_bytes <= twice);
	unmap(p, n);
}

static void B04_a_budget_below_what_is_locked_is_ENOMEM(void **state)
{
	size_t n = budget_pages() / 2;
	size_t budget = stats().budget_bytes;
	char *p = map_anonymous(n);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(n)));
	assert_fails(quire_set_memory(PAGES(n) - PAGES(1)), ENOMEM);
	assert_int_equal(stats().budget_bytes, budget);
	assert_int_equal(resident_pages(p, n), n);
	unmap(p, n);
}

static void B04_a_small_budget_is_slow_but_right(void **state)
{
	int fd = file_new(PAGES(1024));
	char *p = map_shared(fd, 1024);

	(void)state;
	assert_int_equal(stats().budget_bytes, 1 << 20);
	assert_ok(quire_madvise(p, PAGES(1024), MADV_SEQUENTIAL));
	for (size_t i = 0; i < 1024; i++) {
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
		p[PAGES(i)] = 0;
		check_budget();
	}
	unmap(p, 1024);
	for (size_t i = 0; i < 1024; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 0);
}
#endif

#define EXPIRE_SOON "QUIRE_EXPIRE_MS=50"

static const struct conformance_test tests[] = {
    TEST(K05_more_dirty_pages_than_the_budget_reach_the_file),
    TEST(K06_more_anonymous_memory_than_the_budget),
    TEST(K06_more_shared_anonymous_memory_than_the_budget),
    TEST(K06_more_private_copies_than_the_budget),
#ifndef KERNEL_ORACLE
    TEST(K01_neighbours_that_can_merge_do),
    TEST(K01_parts_of_one_file_merge),
    TEST(K01_what_does_not_follow_does_not_merge),
    TEST(K01_area_tells_what_was_asked_for),
    TEST(K01_maps_prints_every_area_in_order),
    TEST(K02_page_is_read_once_for_all_mappings),
    TEST(K02_all_mappings_of_a_file_are_of_one_object),
    TEST(K03_mapping_reads_nothing),
    TEST(K03_first_touch_is_a_major_fault),
    TEST(K03_second_touch_is_no_fault),
    TEST(K03_touch_of_what_another_mapping_read_is_minor),
    TEST(K03_pages_that_another_mapping_shows_come_along),
    TEST(K03_untouched_pages_cost_nothing),
    TEST(K04_every_page_is_copied_once),
    TEST(K04_what_is_read_ahead_is_copied_once),
    TEST_IN_OWN_PROCESS(K05_dirty_page_is_written_by_itself, EXPIRE_SOON),
    TEST_IN_OWN_PROCESS(K05_page_stored_to_again_is_written_again, EXPIRE_SOON),
    TEST_IN_OWN_PROCESS(K05_neighbours_are_merged_into_large_writes, EXPIRE_SOON),
    TEST_IN_OWN_PROCESS(K05_written_pages_are_clean, EXPIRE_SOON),
    TEST(K06_swap_is_used_and_given_back),
    TEST(B02_resident_is_answered),
    TEST(B02_resident_through_another_mapping),
    TEST(B02_private_copies_are_resident_until_they_are_swapped),
    TEST(B02_a_range_around_the_address_space_is_not_resident),
    TEST(B04_budget_is_kept_all_the_time),
    TEST(B04_what_is_resident_is_counted),
    TEST_IN_OWN_PROCESS(B04_a_smaller_budget_is_kept_at_once, ""),
    TEST_IN_OWN_PROCESS(B04_a_larger_budget_is_used, ""),
    TEST_IN_OWN_PROCESS(B04_a_budget_below_what_is_locked_is_ENOMEM, ""),
    TEST_IN_OWN_PROCESS(B04_a_small_budget_is_slow_but_right, "QUIRE_MEMORY=1M"),
#endif
};

CONFORMANCE_MAIN(tests)
