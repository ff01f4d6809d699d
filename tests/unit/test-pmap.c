/* SPDX-License-Identifier: MIT */
/*
 * test-pmap.c - the kernel's page tables of one process, as far as the engine steers them
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "guarded.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "sys/pmap.h"

#define PAGES 8

static struct {
	size_t page;
	struct pmap pmap;
	bool open;
	struct frames frames; /* PAGES pages, all there: page i is full of 'a' + i */
	char *source;         /* a page full of 's' */
	char *scratch;        /* PAGES pages */
	char *map;
} fixture;

static int make(void **state)
{
	(void)state;
	fixture.page = page_size();
	fixture.open = false;
	fixture.map = NULL;
	fixture.source = aligned_alloc(fixture.page, fixture.page);
	fixture.scratch = aligned_alloc(fixture.page, PAGES * fixture.page);
	if (!fixture.source || !fixture.scratch || frames_create(NULL, PAGES, &fixture.frames) < 0)
		return -1;
	memset(fixture.source, 's', fixture.page);
	for (unsigned i = 0; i < PAGES; i++)
		memset(fixture.scratch + i * fixture.page, 'a' + (int)i, fixture.page);
	return frames_write(&fixture.frames, 0, PAGES, fixture.scratch);
}

static int destroy(void **state)
{
	(void)state;
	if (fixture.map)
		munmap(fixture.map, PAGES * fixture.page);
	if (fixture.open)
		pmap_destroy(&fixture.pmap);
	close(fixture.frames.fd);
	free(fixture.scratch);
	free(fixture.source);
	return 0;
}

static void open_pmap(bool tracking)
{
	assert_int_equal(pmap_create(source_or_skip(0), true, tracking, &fixture.pmap), 0);
	fixture.open = true;
	guard();
}

/* A mapping of the frames, or of none. */
static char *map(int prot, bool shared, bool file)
{
	int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | (file ? 0 : MAP_ANONYMOUS);

	fixture.map = mmap(NULL, PAGES * fixture.page, prot, flags, file ? fixture.frames.fd : -1, 0);
	assert_ptr_not_equal(fixture.map, MAP_FAILED);
	assert_int_equal(pmap_register(&fixture.pmap, fixture.map, PAGES * fixture.page, shared, file), 0);
	return fixture.map;
}

#define RW (PROT_READ | PROT_WRITE)

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* ---- making ---- */

static void all_descriptors_are_closed_again(void **state)
{
	const bool ways[] = {true, false};
	unsigned fds;

	(void)state;
	source_or_skip(0);
	fds = open_fds();
	for (unsigned i = 0; i < 2; i++) {
		open_pmap(ways[i]);
		assert_true(open_fds() > fds);
		pmap_destroy(&fixture.pmap);
		fixture.open = false;
		assert_int_equal(open_fds(), fds);
	}
}

static void a_source_that_is_not_there_is_reported_and_leaves_nothing_open(void **state)
{
	unsigned fds = open_fds();

	(void)state;
	assert_int_equal(pmap_create(UFFD_NONE, true, true, &fixture.pmap), -ENOSYS);
	assert_int_equal(open_fds(), fds);
}

static void tracking_is_done_without_when_it_is_not_allowed(void **state)
{
	(void)state;
	open_pmap(false);
	assert_false(fixture.pmap.tracks);
	assert_int_equal(fixture.pmap.pagemap, -1);
	assert_int_equal(fixture.pmap.tracking_uffd, fixture.pmap.catching_uffd);
}

/* ---- shared pages ---- */

static void an_entered_page_is_loaded_without_a_fault_and_others_are_not(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, true, true);
	assert_int_equal(pmap_enter(&fixture.pmap, p + fixture.page, 2, true), 0);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(load_byte(p + fixture.page), 'b');
	assert_int_equal(load_byte(p + 2 * fixture.page), 'c');
	assert_int_equal(load_byte(p + 3 * fixture.page), -SIGBUS);
}

static void a_store_to_an_entered_page_is_noticed_by_the_one_way_or_the_other(void **state)
{
	const bool ways[] = {true, false};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t present[PAGEMAP_WORDS] = {0}, marked[PAGEMAP_WORDS] = {0};
		char *p;

		open_pmap(ways[i]);
		p = map(RW, true, true);
		assert_int_equal(pmap_enter(&fixture.pmap, p, 2, true), 0);
		if (fixture.pmap.tracks) {
			assert_int_equal(store_byte(p, 'x'), 0);
			assert_int_equal(pagemap_there(fixture.pmap.pagemap, p, 2, present), 0);
			assert_int_equal(pmap_remove(&fixture.pmap, p, 2), 0);
			assert_int_equal(pagemap_marked(fixture.pmap.pagemap, p, 2, marked), 0);
			assert_int_equal(present[0], 3);
			assert_int_equal(marked[0], 2);
		} else {
			assert_int_equal(store_byte(p, 'x'), -SIGBUS);
			assert_int_equal(pmap_unprotect(&fixture.pmap, p, 1, true), 0);
			assert_int_equal(store_byte(p, 'x'), 0);
			assert_int_equal(store_byte(p + fixture.page, 'x'), -SIGBUS);
		}
		munmap(p, PAGES * fixture.page);
		fixture.map = NULL;
		pmap_destroy(&fixture.pmap);
		fixture.open = false;
	}
}

static void a_removed_page_faults_again_and_its_frame_stays(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, true, true);
	assert_int_equal(pmap_enter(&fixture.pmap, p, 1, true), 0);
	assert_int_equal(pmap_unprotect(&fixture.pmap, p, 1, true), 0);
	assert_int_equal(store_byte(p, 'x'), 0);
	assert_int_equal(pmap_remove(&fixture.pmap, p, 1), 0);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(frames_read(&fixture.frames, 0, 1, fixture.scratch), 0);
	assert_int_equal(fixture.scratch[0], 'x');
}

static void a_fresh_page_is_a_frame_and_an_entry_in_one(void **state)
{
	uint64_t marked[PAGEMAP_WORDS];
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, true, true);
	assert_int_equal(frames_free(&fixture.frames, 2, 1), 0);
	assert_int_equal(pmap_enter_fresh(&fixture.pmap, p + 2 * fixture.page, fixture.source, true), 0);
	assert_int_equal(load_byte(p + 2 * fixture.page), 's');
	assert_int_equal(frames_read(&fixture.frames, 2, 1, fixture.scratch), 0);
	assert_memory_equal(fixture.scratch, fixture.source, fixture.page);
	if (!fixture.pmap.tracks)
		return;
	/* Nothing was stored to it yet. */
	assert_int_equal(pmap_remove(&fixture.pmap, p + 2 * fixture.page, 1), 0);
	assert_int_equal(pagemap_marked(fixture.pmap.pagemap, p + 2 * fixture.page, 1, marked), 0);
	assert_int_equal(marked[0], 1);
}

static void a_fresh_page_over_a_frame_that_is_there_is_refused(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, true, true);
	assert_int_equal(pmap_enter_fresh(&fixture.pmap, p, fixture.source, true), -EEXIST);
	assert_int_equal(frames_read(&fixture.frames, 0, 1, fixture.scratch), 0);
	assert_int_equal(fixture.scratch[0], 'a');
}

/* ---- private pages ---- */

static void a_private_page_is_seen_here_only_and_gone_when_it_is_removed(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, false, true);
	assert_int_equal(pmap_enter_private(&fixture.pmap, p, fixture.source, 1), 0);
	assert_int_equal(load_byte(p), 's');
	assert_int_equal(store_byte(p, 'x'), 0);
	assert_int_equal(frames_read(&fixture.frames, 0, 1, fixture.scratch), 0);
	assert_int_equal(fixture.scratch[0], 'a');
	assert_int_equal(pmap_remove(&fixture.pmap, p, 1), 0);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(pmap_enter(&fixture.pmap, p, 1, false), 0);
	assert_int_equal(load_byte(p), 'a');
}

static void a_store_to_a_page_of_the_file_in_a_private_mapping_is_caught(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, false, true);
	assert_int_equal(pmap_enter(&fixture.pmap, p, 1, false), 0);
	assert_int_equal(load_byte(p), 'a');
	assert_int_equal(store_byte(p, 'x'), -SIGBUS);
}

static void private_pages_without_a_file_can_be_protected_and_released(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, false, false);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(pmap_enter_private(&fixture.pmap, p, fixture.source, 1), 0);
	assert_int_equal(pmap_protect(&fixture.pmap, p, 1, false), 0);
	assert_int_equal(load_byte(p), 's');
	assert_int_equal(store_byte(p, 'x'), -SIGBUS);
	assert_int_equal(pmap_unprotect(&fixture.pmap, p, 1, false), 0);
	assert_int_equal(store_byte(p, 'x'), 0);
}

static void private_pages_are_copied_out_whatever_their_protection(void **state)
{
	static const int prots[] = {RW, PROT_READ, PROT_NONE};
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, false, false);
	for (unsigned i = 0; i < PAGES; i++) {
		memset(fixture.source, 'p' + (int)i, fixture.page);
		assert_int_equal(pmap_enter_private(&fixture.pmap, p + i * fixture.page, fixture.source, 1), 0);
	}
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(mprotect(p, PAGES * fixture.page, prots[k]), 0);
		assert_int_equal(pmap_protect(&fixture.pmap, p, PAGES, false), 0);
		memset(fixture.scratch, 0, PAGES * fixture.page);
		assert_int_equal(pmap_copy_out(&fixture.pmap, p, PAGES, fixture.scratch), 0);
		for (unsigned i = 0; i < PAGES; i++)
			assert_int_equal(fixture.scratch[(i + 1) * fixture.page - 1], 'p' + i);
	}
}

static void copying_out_what_is_not_mapped_is_an_error(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, false, false);
	munmap(p, PAGES * fixture.page);
	fixture.map = NULL;
	assert_true(pmap_copy_out(&fixture.pmap, p, 1, fixture.scratch) < 0);
}

static void removing_what_is_not_mapped_is_an_error(void **state)
{
	char *p;

	(void)state;
	open_pmap(true);
	p = map(RW, false, false);
	munmap(p, PAGES * fixture.page);
	fixture.map = NULL;
	assert_int_equal(pmap_remove(&fixture.pmap, p, 1), -ENOMEM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(all_descriptors_are_closed_again),
	    TEST(a_source_that_is_not_there_is_reported_and_leaves_nothing_open),
	    TEST(tracking_is_done_without_when_it_is_not_allowed),
	    TEST(an_entered_page_is_loaded_without_a_fault_and_others_are_not),
	    TEST(a_store_to_an_entered_page_is_noticed_by_the_one_way_or_the_other),
	    TEST(a_removed_page_faults_again_and_its_frame_stays),
	    TEST(a_fresh_page_is_a_frame_and_an_entry_in_one),
	    TEST(a_fresh_page_over_a_frame_that_is_there_is_refused),
	    TEST(a_private_page_is_seen_here_only_and_gone_when_it_is_removed),
	    TEST(a_store_to_a_page_of_the_file_in_a_private_mapping_is_caught),
	    TEST(private_pages_without_a_file_can_be_protected_and_released),
	    TEST(private_pages_are_copied_out_whatever_their_protection),
	    TEST(copying_out_what_is_not_mapped_is_an_error),
	    TEST(removing_what_is_not_mapped_is_an_error),
	};

	return cmocka_run_group_tests_name("pmap", tests, NULL, NULL);
}
