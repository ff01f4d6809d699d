/* SPDX-License-Identifier: MIT */
/*
 * test-pagemap.c - what the engine relies on to learn which pages were stored to
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "guarded.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "sys/pagemap.h"

#define PAGES 200

static struct {
	size_t page;
	struct frames frames;
	int uffd, pagemap;
	char *map;
} fixture;

static int make(void **state)
{
	(void)state;
	memset(&fixture, 0xff, sizeof(fixture));
	fixture.page = page_size();
	fixture.map = NULL;
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	if (fixture.map)
		munmap(fixture.map, PAGES * fixture.page);
	for (unsigned i = 0; i < 3; i++) {
		const int fds[] = {fixture.uffd, fixture.frames.fd, fixture.pagemap};

		if (fds[i] >= 0)
			close(fds[i]);
	}
	return 0;
}

/* Maps frames that are all there, tracked by the kernel; mapped: of which so many are mapped, protected. */
static void open_tracked(int flags, unsigned mapped)
{
	enum uffd_source source = source_or_skip(QUIRE_UFFD_WP_ASYNC);
	char *block = calloc(PAGES, fixture.page);
	size_t len = PAGES * fixture.page;

	if (pagemap_open(&fixture.pagemap) < 0) {
		free(block);
		print_message("PAGEMAP_SCAN is not to be had here\n");
		skip();
	}
	assert_int_equal(uffd_open(source, true, true, &fixture.uffd), 0);
	assert_int_equal(frames_create(NULL, PAGES, &fixture.frames), 0);
	assert_int_equal(frames_write(&fixture.frames, 0, PAGES, block), 0);
	free(block);
	fixture.map = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fixture.frames.fd, 0);
	assert_ptr_not_equal(fixture.map, MAP_FAILED);
	assert_int_equal(uffd_register(fixture.uffd, fixture.map, len, true, true), 0);
	if (mapped)
		assert_int_equal(uffd_continue(fixture.uffd, fixture.map, mapped * fixture.page, true), 0);
	guard();
}

static char *at(unsigned page)
{
	return fixture.map + page * fixture.page;
}

/* ---- bitmaps ---- */

struct pages {
	uint64_t bits[PAGEMAP_WORDS];
	unsigned calls, last;
	bool disordered;
};

static bool has(const struct pages *pages, unsigned i)
{
	return pages->bits[i / 64] >> (i % 64) & 1;
}

static unsigned members(const struct pages *pages)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PAGEMAP_WORDS; i++)
		n += (unsigned)__builtin_popcountll(pages->bits[i]);
	return n;
}

static void add(void *arg, void *addr, size_t n)
{
	struct pages *pages = arg;
	unsigned first = (unsigned)(((char *)addr - fixture.map) / fixture.page);

	if (pages->calls++ && first <= pages->last)
		pages->disordered = true;
	for (unsigned i = first; i < first + n; i++) {
		pages->bits[i / 64] |= 1ull << (i % 64);
		pages->last = i;
	}
}

static struct pages take_written(void)
{
	struct pagemap_taken taken = {0};
	struct pages pages = {0};

	assert_int_equal(pagemap_take_written(fixture.pagemap, fixture.map, PAGES, &taken, add, &pages), 0);
	assert_false(pages.disordered);
	return pages;
}

static struct pages ask(int (*question)(int, void *, size_t, uint64_t *))
{
	struct pages pages;

	memset(&pages, 0xff, sizeof(pages));
	assert_int_equal(question(fixture.pagemap, fixture.map, PAGES, pages.bits), 0);
	return pages;
}

/* ---- what was written ---- */

static void a_store_is_found_once_and_a_load_is_not(void **state)
{
	struct pages written;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	assert_int_equal(store_byte(at(3), 1), 0);
	assert_int_equal(load_byte(at(4)), 0);
	written = take_written();
	assert_int_equal(members(&written), 1);
	assert_true(has(&written, 3));
	written = take_written();
	assert_int_equal(members(&written), 0);
}

static void taking_protects_again_so_that_the_next_store_is_found(void **state)
{
	struct pages written;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(store_byte(at(round), 1), 0);
		assert_int_equal(store_byte(at(7), (int)round), 0);
		written = take_written();
		assert_int_equal(members(&written), 2);
		assert_true(has(&written, round) && has(&written, 7));
	}
}

static void pages_that_are_not_mapped_are_not_called_written(void **state)
{
	struct pages written;

	(void)state;
	open_tracked(MAP_SHARED, 2);
	assert_int_equal(store_byte(at(1), 1), 0);
	written = take_written();
	assert_int_equal(members(&written), 1);
	assert_true(has(&written, 1));
	assert_int_equal(madvise(at(1), fixture.page, MADV_DONTNEED), 0);
	written = take_written();
	assert_int_equal(members(&written), 0);
}

static void every_run_is_told_in_order_however_many_there_are(void **state)
{
	struct pages written;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	for (unsigned i = 0; i < PAGES; i += 2)
		assert_int_equal(store_byte(at(i), 1), 0);
	written = take_written();
	assert_int_equal(written.calls, PAGES / 2);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(has(&written, i), i % 2 == 0);
	written = take_written();
	assert_int_equal(members(&written), 0);
}

static void an_inaccessible_mapping_still_tells_what_was_written(void **state)
{
	struct pages written;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	assert_int_equal(store_byte(at(9), 1), 0);
	assert_int_equal(mprotect(fixture.map, PAGES * fixture.page, PROT_NONE), 0);
	written = take_written();
	assert_int_equal(members(&written), 1);
	assert_true(has(&written, 9));
}

/* ---- unmapping ---- */

static void after_unmapping_the_mark_is_left_where_nothing_was_stored_and_nowhere_else(void **state)
{
	struct pages present, marked;

	(void)state;
	open_tracked(MAP_SHARED, 100);
	for (unsigned i = 0; i < 100; i += 3)
		assert_int_equal(store_byte(at(i), 1), 0);
	present = ask(pagemap_there);
	assert_int_equal(madvise(fixture.map, PAGES * fixture.page, MADV_DONTNEED), 0);
	marked = ask(pagemap_marked);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(has(&present, i), i < 100);
		if (i < 100)
			assert_int_equal(has(&marked, i), i % 3 != 0);
	}
	/* What is left are the marks. */
	present = ask(pagemap_there);
	assert_int_equal(members(&present), members(&marked));
}

static void a_page_that_was_taken_and_not_stored_to_again_has_the_mark(void **state)
{
	struct pages marked;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	assert_int_equal(store_byte(at(1), 1), 0);
	assert_int_equal(store_byte(at(2), 1), 0);
	take_written();
	assert_int_equal(store_byte(at(2), 2), 0);
	assert_int_equal(madvise(fixture.map, 3 * fixture.page, MADV_DONTNEED), 0);
	marked = ask(pagemap_marked);
	assert_true(has(&marked, 1));
	assert_false(has(&marked, 2));
}

static void nothing_that_is_mapped_has_the_mark(void **state)
{
	struct pages marked;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	assert_int_equal(store_byte(at(1), 1), 0);
	marked = ask(pagemap_marked);
	assert_int_equal(members(&marked), 0);
}

static void a_page_that_is_mapped_again_starts_unwritten(void **state)
{
	struct pages written;

	(void)state;
	open_tracked(MAP_SHARED, PAGES);
	assert_int_equal(store_byte(at(1), 1), 0);
	assert_int_equal(madvise(fixture.map, PAGES * fixture.page, MADV_DONTNEED), 0);
	assert_int_equal(uffd_continue(fixture.uffd, at(0), 3 * fixture.page, true), 0);
	assert_int_equal(load_byte(at(1)), 1);
	written = take_written();
	assert_int_equal(members(&written), 0);
	assert_int_equal(store_byte(at(1), 2), 0);
	written = take_written();
	assert_int_equal(members(&written), 1);
}

/* ---- private copies ---- */

static void private_copies_are_told_from_pages_of_the_file(void **state)
{
	struct pages private;

	(void)state;
	open_tracked(MAP_PRIVATE, 10);
	assert_int_equal(uffd_unprotect(fixture.uffd, at(4), fixture.page), 0);
	assert_int_equal(store_byte(at(4), 1), 0);
	private = ask(pagemap_private);
	assert_int_equal(members(&private), 1);
	assert_true(has(&private, 4));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_store_is_found_once_and_a_load_is_not),
	    TEST(taking_protects_again_so_that_the_next_store_is_found),
	    TEST(pages_that_are_not_mapped_are_not_called_written),
	    TEST(every_run_is_told_in_order_however_many_there_are),
	    TEST(an_inaccessible_mapping_still_tells_what_was_written),
	    TEST(after_unmapping_the_mark_is_left_where_nothing_was_stored_and_nowhere_else),
	    TEST(a_page_that_was_taken_and_not_stored_to_again_has_the_mark),
	    TEST(nothing_that_is_mapped_has_the_mark),
	    TEST(a_page_that_is_mapped_again_starts_unwritten),
	    TEST(private_copies_are_told_from_pages_of_the_file),
	};

	return cmocka_run_group_tests_name("pagemap", tests, NULL, NULL);
}
