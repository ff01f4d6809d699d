/* SPDX-License-Identifier: MIT */
/*
 * test-advise.c - what madvise promises: rows A01 and A02
 */
#include "support.h"

/* ---- A01 ---- */

static void A01_every_advice_keeps_a_shared_mapping_right(void **state)
{
	const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED};
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);

	(void)state;
	p[PAGES(3)] = 'a';
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		assert_ok(quire_madvise(p, PAGES(8), advice[i]));
		assert_pattern(p, PAGES(3), 0);
		assert_loads(p + PAGES(3), 'a');
		assert_pattern(p + PAGES(4), PAGES(4), PAGES(4));
	}
	unmap(p, 8);
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), 'a');
}

static void A01_dontneed_keeps_what_was_stored_in_a_shared_mapping(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	char *q = map(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	p[PAGES(1)] = 'd';
	q[0] = 'e';
	assert_ok(quire_madvise(p, PAGES(2), MADV_DONTNEED));
	assert_ok(quire_madvise(q, PAGES(1), MADV_DONTNEED));
	assert_loads(p + PAGES(1), 'd');
	assert_loads(q, 'e');
	unmap(p, 2);
	unmap(q, 1);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'd');
}

static void A01_dontneed_takes_a_private_mapping_back_to_its_file(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_private(fd, 4);

	(void)state;
	memset(p, 'd', PAGES(4));
	assert_ok(quire_madvise(p + PAGES(1), PAGES(2), MADV_DONTNEED));
	assert_filled(p, PAGES(1), 'd');
	assert_pattern(p + PAGES(1), PAGES(2), PAGES(1));
	assert_filled(p + PAGES(3), PAGES(1), 'd');
	unmap(p, 4);
}

static void A01_dontneed_forgets_what_was_swapped_out(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	memset(p, 'd', PAGES(4));
	evict(p, 4);
	assert_ok(quire_madvise(p, PAGES(2), MADV_DONTNEED));
	assert_zeros(p, PAGES(2));
	assert_filled(p + PAGES(2), PAGES(2), 'd');
	unmap(p, 4);
}

static void A01_dontneed_takes_anonymous_memory_back_to_zeros(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	memset(p, 'd', PAGES(2));
	assert_ok(quire_madvise(p, PAGES(1), MADV_DONTNEED));
	assert_zeros(p, PAGES(1));
	assert_filled(p + PAGES(1), PAGES(1), 'd');
	p[0] = 'n';
	assert_loads(p, 'n');
	unmap(p, 2);
}

static void A01_dontneed_of_locked_memory_is_EINVAL(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	p[0] = 'l';
	assert_ok(quire_mlock(p, PAGES(1)));
	assert_fails(quire_madvise(p, PAGES(1), MADV_DONTNEED), EINVAL);
	assert_loads(p, 'l');
	unmap(p, 1);
}

static void A01_posix_madvise_loses_nothing(void **state)
{
	const int advice[] = {POSIX_MADV_NORMAL, POSIX_MADV_RANDOM, POSIX_MADV_SEQUENTIAL, POSIX_MADV_WILLNEED,
			      POSIX_MADV_DONTNEED};
	int fd = file_new(PAGES(2));
	char *p = map_private(fd, 2);

	(void)state;
	p[0] = 'p';
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		assert_int_equal(quire_posix_madvise(p, PAGES(2), advice[i]), 0);
		assert_loads(p, 'p');
		assert_pattern(p + PAGES(1), PAGES(1), PAGES(1));
	}
	unmap(p, 2);
}

static void A01_posix_madvise_answers_the_error(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_int_equal(quire_posix_madvise(p, PAGES(1), 0x55), EINVAL);
	assert_int_equal(quire_posix_madvise(p + 1, PAGES(1), POSIX_MADV_RANDOM), EINVAL);
	unmap(p, 1);
	assert_int_equal(quire_posix_madvise(quiet(), PAGES(1), POSIX_MADV_RANDOM), ENOMEM);
}

/* ---- A02 ---- */

static void A02_free_leaves_old_contents_or_zeros(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	memset(p, 'f', PAGES(2));
	assert_ok(quire_madvise(p, PAGES(2), MADV_FREE));
	for (size_t i = 0; i < 2; i++) {
		int byte = load(p + PAGES(i) + 9);

		assert_true(byte == 0 || byte == 'f');
	}
	unmap(p, 2);
}

static void A02_what_is_stored_after_free_is_kept(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	memset(p, 'f', PAGES(1));
	assert_ok(quire_madvise(p, PAGES(1), MADV_FREE));
	p[0] = 'k';
	evict(p, 1);
	assert_loads(p, 'k');
	unmap(p, 1);
}

static void A02_free_of_what_is_not_private_anonymous_is_EINVAL(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	char *q = map_private(fd, 1);
	char *r = map(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_fails(quire_madvise(p, PAGES(1), MADV_FREE), EINVAL);
	assert_fails(quire_madvise(q, PAGES(1), MADV_FREE), EINVAL);
	assert_fails(quire_madvise(r, PAGES(1), MADV_FREE), EINVAL);
	unmap(p, 1);
	unmap(q, 1);
	unmap(r, 1);
}

static void A02_remove_punches_a_hole_into_the_file(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	char *q = map_shared(fd, 4);

	(void)state;
	p[PAGES(1)] = 'd';
	assert_ok(quire_madvise(p + PAGES(1), PAGES(2), MADV_REMOVE));
	assert_pattern(p, PAGES(1), 0);
	assert_zeros(p + PAGES(1), PAGES(2));
	assert_zeros(q + PAGES(1), PAGES(2));
	assert_pattern(p + PAGES(3), PAGES(1), PAGES(3));
	unmap(p, 4);
	unmap(q, 4);
	assert_int_equal(file_size(fd), PAGES(4));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 0);
	assert_int_equal(file_byte(fd, (off_t)PAGES(3) - 1), 0);
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), pattern((off_t)PAGES(3)));
}

static void A02_remove_of_shared_anonymous_memory_gives_zeros(void **state)
{
	char *p = map(NULL, PAGES(3), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	memset(p, 'r', PAGES(3));
	assert_ok(quire_madvise(p + PAGES(1), PAGES(1), MADV_REMOVE));
	assert_filled(p, PAGES(1), 'r');
	assert_zeros(p + PAGES(1), PAGES(1));
	assert_filled(p + PAGES(2), PAGES(1), 'r');
	unmap(p, 3);
}

static void A02_remove_needs_a_shared_mapping_that_may_be_written(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_private(fd, 1);
	char *q = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, file_reopen(fd, O_RDONLY), 0);
	char *r = map_anonymous(1);

	(void)state;
	assert_fails(quire_madvise(p, PAGES(1), MADV_REMOVE), EACCES);
	assert_fails(quire_madvise(q, PAGES(1), MADV_REMOVE), EACCES);
	assert_fails(quire_madvise(r, PAGES(1), MADV_REMOVE), EINVAL);
	assert_pattern(q, PAGES(1), 0);
	unmap(p, 1);
	unmap(q, 1);
	unmap(r, 1);
}

static void check_kept(int advice)
{
	int fd = file_new(PAGES(2));
	char *shared = map_shared(fd, 2);
	char *private = map_private(fd, 2);
	char *anonymous = map_anonymous(2);

	shared[0] = private[0] = anonymous[0] = 'k';
	assert_ok(quire_madvise(shared, PAGES(2), advice));
	assert_ok(quire_madvise(private, PAGES(2), advice));
	assert_ok(quire_madvise(anonymous, PAGES(2), advice));
	assert_loads(shared, 'k');
	assert_loads(private, 'k');
	assert_loads(anonymous, 'k');
	assert_pattern(shared + PAGES(1), PAGES(1), PAGES(1));
	assert_pattern(private + PAGES(1), PAGES(1), PAGES(1));
	assert_zeros(anonymous + PAGES(1), PAGES(1));
	unmap(shared, 2);
	unmap(private, 2);
	unmap(anonymous, 2);
	assert_int_equal(file_byte(fd, 0), 'k');
}

static void A02_cold_and_pageout_lose_nothing(void **state)
{
	(void)state;
	check_kept(MADV_COLD);
	check_kept(MADV_PAGEOUT);
}

static void A02_hints_for_huge_pages_and_merging_are_accepted(void **state)
{
	(void)state;
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		skip_because("the kernel was built without huge pages");
	check_kept(MADV_HUGEPAGE);
	check_kept(MADV_NOHUGEPAGE);
	if (access("/sys/kernel/mm/ksm", F_OK))
		skip_because("the kernel was built without merging of pages");
	check_kept(MADV_MERGEABLE);
	check_kept(MADV_UNMERGEABLE);
}

static void A02_advice_about_the_kernels_memory_is_the_kernels_affair(void **state)
{
	char *p = mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_ok(quire_madvise(p, PAGES(1), MADV_DONTDUMP));
	assert_ok(quire_madvise(p, PAGES(1), MADV_DODUMP));
	assert_ok(quire_madvise(p, PAGES(1), MADV_WIPEONFORK));
	assert_fails(quire_madvise(p, PAGES(1), 5555), EINVAL);
	assert_int_equal(munmap(p, PAGES(1)), 0);
}

static void A02_populate_read_makes_resident(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map(NULL, PAGES(8), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(8), MADV_POPULATE_READ));
	assert_int_equal(resident_pages(p, 8), 8);
	assert_pattern(p, PAGES(8), 0);
	unmap(p, 8);
}

static void A02_populate_write_makes_resident_and_changes_nothing(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	char *q = map_private(fd, 4);
	char *r = map_anonymous(4);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(4), MADV_POPULATE_WRITE));
	assert_ok(quire_madvise(q, PAGES(4), MADV_POPULATE_WRITE));
	assert_ok(quire_madvise(r, PAGES(4), MADV_POPULATE_WRITE));
	assert_int_equal(resident_pages(p, 4), 4);
	assert_int_equal(resident_pages(q, 4), 4);
	assert_int_equal(resident_pages(r, 4), 4);
	assert_pattern(p, PAGES(4), 0);
	assert_pattern(q, PAGES(4), 0);
	assert_zeros(r, PAGES(4));
	/* Private memory has copies of its own now. */
	p[0] = 'p';
	assert_loads(q, pattern(0));
	unmap(p, 4);
	unmap(q, 4);
	unmap(r, 4);
	assert_int_equal(file_byte(fd, 0), 'p');
}

static void A02_populate_needs_the_protection(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0);
	char *q = map(NULL, PAGES(1), PROT_NONE, MAP_SHARED, fd, 0);

	(void)state;
	assert_fails(quire_madvise(p, PAGES(1), MADV_POPULATE_WRITE), EINVAL);
	assert_fails(quire_madvise(q, PAGES(1), MADV_POPULATE_READ), EINVAL);
	unmap(p, 1);
	unmap(q, 1);
}

static void A02_populate_past_the_end_of_the_file_is_EFAULT(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);

	(void)state;
	assert_fails(quire_madvise(p, PAGES(2), MADV_POPULATE_READ), EFAULT);
	assert_fails(quire_madvise(p, PAGES(2), MADV_POPULATE_WRITE), EFAULT);
	assert_pattern(p, PAGES(1), 0);
	unmap(p, 2);
}

static void A02_bad_arguments_are_EINVAL(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	p[0] = 'k';
	assert_fails(quire_madvise(p, PAGES(1), 0x5555), EINVAL);
	assert_fails(quire_madvise(p, PAGES(1), -1), EINVAL);
	assert_fails(quire_madvise(p + 1, PAGES(1), MADV_DONTNEED), EINVAL);
	assert_fails(quire_madvise(p, SIZE_MAX - PAGES(1), MADV_DONTNEED), EINVAL);
	assert_fails(quire_madvise(p, 0, 0x5555), EINVAL);
	assert_ok(quire_madvise(p, 0, MADV_DONTNEED));
	assert_loads(p, 'k');
	unmap(p, 1);
}

static void A02_hole_is_ENOMEM(void **state)
{
	const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ};
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);

	(void)state;
	unmap(p + PAGES(1), 1);
	p[0] = 'h';
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
		assert_fails(quire_madvise(p, PAGES(3), advice[i]), ENOMEM);
#ifndef KERNEL_ORACLE
	/* The kernel has dropped what lies before the hole. */
	assert_loads(p, 'h');
#endif
	unmap(p, 3);
}

#ifndef KERNEL_ORACLE
/* ---- seen through the counters ---- */

/* Touches n pages in order, under advice; what that did. */
static struct quire_stats touch_in_order(int advice, size_t n)
{
	int fd = file_new(PAGES(n));
	char *p = map(NULL, PAGES(n), PROT_READ, MAP_SHARED, fd, 0);
	struct quire_stats before, after;

	assert_ok(quire_madvise(p, PAGES(n), advice));
	before = stats();
	for (size_t i = 0; i < n; i++)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	after = stats();
	after.major_faults -= before.major_faults;
	after.read_bytes -= before.read_bytes;
	after.read_calls -= before.read_calls;
	after.readahead_pages -= before.readahead_pages;
	unmap(p, n);
	file_close(fd);
	return after;
}

static void A01_random_waits_for_each_page(void **state)
{
	struct quire_stats did = touch_in_order(MADV_RANDOM, 128);

	(void)state;
	assert_int_equal(did.major_faults, 128);
	assert_int_equal(did.read_bytes, PAGES(128));
	assert_int_equal(did.readahead_pages, 0);
}

static void A01_random_reads_the_touched_pages_only(void **state)
{
	int fd = file_new(PAGES(256));
	char *p = map_shared(fd, 256);
	struct quire_stats before;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(256), MADV_RANDOM));
	before = stats();
	for (size_t i = 0; i < 256; i += 8)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	assert_int_equal(grown(before, read_bytes), PAGES(32));
	assert_int_equal(resident_pages(p, 256), 32);
	unmap(p, 256);
}

static void A01_sequential_waits_seldom(void **state)
{
	struct quire_stats did = touch_in_order(MADV_SEQUENTIAL, 256);

	(void)state;
	assert_true(did.major_faults <= 256 / 8);
	assert_true(did.read_calls <= 256 / 4);
	assert_true(did.readahead_pages >= 256 / 2);
	assert_int_equal(did.read_bytes, PAGES(256));
}

static void A01_normal_finds_out_that_access_is_sequential(void **state)
{
	struct quire_stats did = touch_in_order(MADV_NORMAL, 256);

	(void)state;
	assert_true(did.major_faults <= 256 / 2);
	assert_true(did.readahead_pages > 0);
}

static void A01_normal_does_not_read_all_around_random_touches(void **state)
{
	int fd = file_new(PAGES(2048));
	char *p = map_shared(fd, 2048);
	struct quire_stats before = stats();

	(void)state;
	/* No two of these pages are less than 40 apart. */
	for (size_t i = 0; i < 32; i++) {
		size_t at = (i * 443 + 77) % 2048;

		assert_loads(p + PAGES(at), pattern((off_t)PAGES(at)));
	}
	assert_true(grown(before, read_bytes) <= PAGES(256));
	unmap(p, 2048);
}

static void A01_willneed_reads_ahead_of_the_touch(void **state)
{
	int fd = file_new(PAGES(32));
	char *p = map_shared(fd, 32);
	struct quire_stats before;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(32), MADV_WILLNEED));
	for (int waited_ms = 0; resident_pages(p, 32) < 32 && waited_ms < 10000; waited_ms++)
		usleep(1000);
	assert_int_equal(resident_pages(p, 32), 32);
	before = stats();
	assert_pattern(p, PAGES(32), 0);
	assert_int_equal(grown(before, major_faults), 0);
	assert_int_equal(grown(before, read_bytes), 0);
	unmap(p, 32);
}

static void A01_sequential_scan_drops_behind(void **state)
{
	size_t hot_pages = 64, n = 2 * stats().budget_bytes / page_size;
	int hot_fd = file_new(PAGES(hot_pages));
	char *hot = map_shared(hot_fd, hot_pages);
	int fd = file_new(PAGES(n));
	char *p = map(NULL, PAGES(n), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	assert_pattern(hot, PAGES(hot_pages), 0);
	assert_ok(quire_madvise(p, PAGES(n), MADV_SEQUENTIAL));
	for (size_t i = 0; i < n; i++)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	assert_true(resident_pages(hot, hot_pages) >= hot_pages / 2);
	unmap(hot, hot_pages);
	unmap(p, n);
}

/* ---- streams that are recognised ---- */

/* Touches pages in an order of his own, in a fresh mapping of so many. */
struct reader {
	size_t pages, touches;
	size_t (*page)(const struct reader *reader, size_t i);
	int advice;
};

/*
 * Until all that was begun is in: then what the next touch waits for follows from the order alone, and not from who is faster. Each
 * miss reads one page, and what comes with it is readahead. Where a reader has been faster all the same, and has waited without a miss,
 * the numbers never meet again, and it is enough that nothing comes any more.
 */
static void wait_until_read(struct quire_stats before)
{
	uint64_t bytes = 0;

	for (int still_ms = 0; still_ms < 200; still_ms++, usleep(1000)) {
		struct quire_stats now = stats();

		if (now.copied_bytes - before.copied_bytes ==
		    PAGES(now.major_faults - before.major_faults + now.readahead_pages - before.readahead_pages))
			return;
		if (now.copied_bytes != bytes)
			still_ms = 0;
		bytes = now.copied_bytes;
	}
}

static struct quire_stats touch_as(const struct reader *reader)
{
	int fd = file_new(PAGES(reader->pages));
	char *p = map(NULL, PAGES(reader->pages), PROT_READ, MAP_SHARED, fd, 0);
	struct quire_stats before, did;

	assert_ok(quire_madvise(p, PAGES(reader->pages), reader->advice));
	before = stats();
	for (size_t i = 0; i < reader->touches; i++) {
		size_t page = reader->page(reader, i);

		assert_loads(p + PAGES(page), pattern((off_t)PAGES(page)));
		wait_until_read(before);
	}
	did = stats();
	did.major_faults -= before.major_faults;
	did.minor_faults -= before.minor_faults;
	did.read_bytes -= before.read_bytes;
	did.readahead_hits -= before.readahead_hits;
	unmap(p, reader->pages);
	file_close(fd);
	return did;
}

static size_t backward(const struct reader *reader, size_t i)
{
	return reader->pages - 1 - i;
}

/* Two forward, and one backward from the end on; none from page 0 on, which is believed at once. */
static size_t in_three_places(const struct reader *reader, size_t i)
{
	return i % 3 == 0 ? 1 + i / 3 : i % 3 == 1 ? 250 + i / 3 : reader->pages - 1 - i / 3;
}

static size_t each_seventh(const struct reader *reader, size_t i)
{
	(void)reader;
	return 3 + 7 * i;
}

static size_t each_seventh_backward(const struct reader *reader, size_t i)
{
	return reader->pages - 1 - 7 * i;
}

static void A01_backward_scan_waits_seldom(void **state)
{
	const struct reader reader = {512, 512, backward, MADV_NORMAL};
	struct quire_stats did = touch_as(&reader);

	(void)state;
	assert_true(did.major_faults <= 512 / 32);
	/* What is read ahead is mapped together. */
	assert_true(did.minor_faults <= 512 / 8);
	assert_int_equal(did.read_bytes, PAGES(512));
	assert_true(did.readahead_hits >= 512 - 512 / 32);
}

static void A01_sequential_scan_may_go_backward(void **state)
{
	const struct reader reader = {512, 512, backward, MADV_SEQUENTIAL};
	struct quire_stats did = touch_as(&reader);

	(void)state;
	assert_true(did.major_faults <= 512 / 32);
	assert_int_equal(did.read_bytes, PAGES(512));
}

static void A01_interleaved_scans_wait_seldom(void **state)
{
	const struct reader reader = {800, 600, in_three_places, MADV_NORMAL};
	struct quire_stats did = touch_as(&reader);

	(void)state;
	assert_true(did.major_faults <= 600 / 20);
	/* A window more, at most, for each. */
	assert_true(did.read_bytes <= PAGES(600 + 3 * 64));
}

static void A01_strided_scan_waits_seldom(void **state)
{
	const struct reader reader = {2048, 250, each_seventh, MADV_NORMAL};
	struct quire_stats did = touch_as(&reader);

	(void)state;
	assert_true(did.major_faults <= 250 / 20);
	assert_true(did.read_bytes <= PAGES(250 + 64));
}

static void A01_strided_scan_backward_waits_seldom(void **state)
{
	const struct reader reader = {2048, 250, each_seventh_backward, MADV_NORMAL};
	struct quire_stats did = touch_as(&reader);

	(void)state;
	assert_true(did.major_faults <= 250 / 20);
	assert_true(did.read_bytes <= PAGES(250 + 64));
}

static void A01_scans_wait_seldom_in_parts_that_are_split_and_joined(void **state)
{
	int fd = file_new(PAGES(1000));
	char *p = map_shared(fd, 1000);
	struct quire_stats before = stats();

	(void)state;
	for (size_t i = 0; i < 400; i++) {
		/* Somewhere between the two. */
		if (i % 40 == 0)
			assert_ok(quire_mprotect(p + PAGES(450), PAGES(10), i % 80 == 0 ? PROT_READ : RW));
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
		wait_until_read(before);
		assert_loads(p + PAGES(999 - i), pattern((off_t)PAGES(999 - i)));
		wait_until_read(before);
	}
	assert_true(grown(before, major_faults) <= 800 / 40);
	unmap(p, 1000);
}

static void A01_backward_scan_of_a_private_mapping_sees_what_was_stored(void **state)
{
	int fd = file_new(PAGES(300));
	char *p = map_private(fd, 300);

	(void)state;
	for (size_t i = 0; i < 300; i += 3)
		p[PAGES(i)] = 's';
	for (size_t i = 300; i-- > 0;)
		assert_loads(p + PAGES(i), i % 3 == 0 ? 's' : pattern((off_t)PAGES(i)));
	unmap(p, 300);
}

static void A01_sequential_scan_backward_drops_behind(void **state)
{
	size_t hot_pages = 64, n = 2 * stats().budget_bytes / page_size;
	char *hot = map_shared(file_new(PAGES(hot_pages)), hot_pages);
	char *p = map(NULL, PAGES(n), PROT_READ, MAP_SHARED, file_new(PAGES(n)), 0);

	(void)state;
	assert_pattern(hot, PAGES(hot_pages), 0);
	assert_ok(quire_madvise(p, PAGES(n), MADV_SEQUENTIAL));
	for (size_t i = n; i-- > 0;)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	assert_true(resident_pages(hot, hot_pages) >= hot_pages / 2);
	unmap(hot, hot_pages);
	unmap(p, n);
}

static void A02_pageout_makes_room_at_once(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);
	char *q = map_anonymous(8);

	(void)state;
	p[0] = 'p';
	assert_pattern(p + PAGES(1), PAGES(7), PAGES(1));
	memset(q, 'q', PAGES(8));
	assert_ok(quire_madvise(p, PAGES(8), MADV_PAGEOUT));
	assert_ok(quire_madvise(q, PAGES(8), MADV_PAGEOUT));
	assert_int_equal(resident_pages(p, 8), 0);
	assert_int_equal(resident_pages(q, 8), 0);
	assert_int_equal(file_byte(fd, 0), 'p');
	assert_loads(p, 'p');
	assert_filled(q, PAGES(8), 'q');
	unmap(p, 8);
	unmap(q, 8);
}

static void A02_populated_for_writing_is_stored_to_without_a_fault(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);
	char *q = map_private(fd, 8);
	struct quire_stats before;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(8), MADV_POPULATE_WRITE));
	assert_ok(quire_madvise(q, PAGES(8), MADV_POPULATE_WRITE));
	before = stats();
	for (size_t i = 0; i < 8; i++)
		p[PAGES(i)] = q[PAGES(i)] = 'w';
	assert_int_equal(grown(before, major_faults), 0);
	assert_int_equal(grown(before, minor_faults), 0);
	assert_int_equal(grown(before, write_faults), 0);
	assert_int_equal(grown(before, copy_faults), 0);
	unmap(p, 8);
	unmap(q, 8);
}

static void A02_populated_for_reading_is_not_dirty(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8);
	struct quire_stats before = stats();

	(void)state;
	assert_ok(quire_madvise(p, PAGES(8), MADV_POPULATE_READ));
	unmap(p, 8);
	assert_int_equal(grown(before, write_bytes), 0);
}
#endif

static const struct conformance_test tests[] = {
    TEST(A01_every_advice_keeps_a_shared_mapping_right),
    TEST(A01_dontneed_keeps_what_was_stored_in_a_shared_mapping),
    TEST(A01_dontneed_takes_a_private_mapping_back_to_its_file),
    TEST(A01_dontneed_forgets_what_was_swapped_out),
    TEST(A01_dontneed_takes_anonymous_memory_back_to_zeros),
    TEST(A01_dontneed_of_locked_memory_is_EINVAL),
    TEST(A01_posix_madvise_loses_nothing),
    TEST(A01_posix_madvise_answers_the_error),
    TEST(A02_free_leaves_old_contents_or_zeros),
    TEST(A02_what_is_stored_after_free_is_kept),
    TEST(A02_free_of_what_is_not_private_anonymous_is_EINVAL),
    TEST(A02_remove_punches_a_hole_into_the_file),
    TEST(A02_remove_of_shared_anonymous_memory_gives_zeros),
    TEST(A02_remove_needs_a_shared_mapping_that_may_be_written),
    TEST(A02_cold_and_pageout_lose_nothing),
    TEST(A02_hints_for_huge_pages_and_merging_are_accepted),
    TEST(A02_advice_about_the_kernels_memory_is_the_kernels_affair),
    TEST(A02_populate_read_makes_resident),
    TEST(A02_populate_write_makes_resident_and_changes_nothing),
    TEST(A02_populate_needs_the_protection),
    TEST(A02_populate_past_the_end_of_the_file_is_EFAULT),
    TEST(A02_bad_arguments_are_EINVAL),
    TEST(A02_hole_is_ENOMEM),
#ifndef KERNEL_ORACLE
    TEST(A01_random_waits_for_each_page),
    TEST(A01_random_reads_the_touched_pages_only),
    TEST(A01_sequential_waits_seldom),
    TEST(A01_normal_finds_out_that_access_is_sequential),
    TEST(A01_normal_does_not_read_all_around_random_touches),
    TEST(A01_willneed_reads_ahead_of_the_touch),
    TEST(A01_sequential_scan_drops_behind),
    TEST(A01_backward_scan_waits_seldom),
    TEST(A01_sequential_scan_may_go_backward),
    TEST(A01_interleaved_scans_wait_seldom),
    TEST(A01_strided_scan_waits_seldom),
    TEST(A01_strided_scan_backward_waits_seldom),
    TEST(A01_scans_wait_seldom_in_parts_that_are_split_and_joined),
    TEST(A01_backward_scan_of_a_private_mapping_sees_what_was_stored),
    TEST(A01_sequential_scan_backward_drops_behind),
    TEST(A02_pageout_makes_room_at_once),
    TEST(A02_populated_for_writing_is_stored_to_without_a_fault),
    TEST(A02_populated_for_reading_is_not_dirty),
#endif
};

CONFORMANCE_MAIN(tests)
