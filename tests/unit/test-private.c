/* SPDX-License-Identifier: MIT */
/*
 * test-private.c - the private pages of a space, and their way to swap and back
 */
#include "object/private.h"
#include "rig.h"

#define LIMIT 4096
#define PAGES 600 /* of the mapping: more than a chunk */

/* The rig's object is the swap object here, whose storage is memory. */
static struct pmap pmap;
static bool has_pmap;
static struct private_pages *pages;
static char *base;
static const void *locked_page;
static bool mapping_gone;

static bool is_locked(void *space, const void *addr)
{
	(void)space;
	return addr == locked_page;
}

static bool still_private(void *space, const void *addr)
{
	(void)space;
	(void)addr;
	return !mapping_gone;
}

static int make(void **state)
{
	(void)state;
	has_pmap = mapping_gone = false;
	pages = NULL;
	base = NULL;
	locked_page = NULL;
	return rig_make(LIMIT, OBJECT_SWAP, (uint64_t)STORAGE_PAGES << page_shift);
}

static void forget_all(void)
{
	rwlock_write_acquire(&rig.cache->map_lock);
	private_discard(pages, base, PAGES, true);
	rwlock_write_release(&rig.cache->map_lock);
}

static int destroy(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < FAIL_KINDS; kind++)
		fail_arm(kind, 0, false);
	if (pages) {
		forget_all();
		private_destroy(pages);
	}
	if (base)
		munmap(base, PAGES * rig.page);
	if (has_pmap)
		pmap_destroy(&pmap);
	return rig_end();
}

/* A registered anonymous mapping at the start of a chunk of words. */
static char *map_region(void)
{
	size_t chunk = CHUNK_PAGES * rig.page;
	char *room = mmap(NULL, 3 * chunk, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start = (char *)(((uintptr_t)room + chunk - 1) & ~(uintptr_t)(chunk - 1));

	assert_ptr_not_equal(room, MAP_FAILED);
	munmap(room, 3 * chunk);
	start = mmap(start, PAGES * rig.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	assert_ptr_not_equal(start, MAP_FAILED);
	assert_int_equal(pmap_register(&pmap, start, PAGES * rig.page, false, false), 0);
	return start;
}

static void start(void)
{
	struct slots *slots;

	assert_int_equal(pmap_create(source_or_skip(0), true, true, &pmap), 0);
	has_pmap = true;
	guard();
	base = map_region();
	object_use(rig.object);
	assert_int_equal(slots_create(rig.object, &slots), 0);
	assert_int_equal(private_create(&rig.registry, rig.cache, &pmap, slots, &pages), 0);
	slots_unuse(slots);
	pages->is_locked = is_locked;
	pages->still_private = still_private;
}

static char *at(unsigned page)
{
	return base + (size_t)page * rig.page;
}

static unsigned char byte_of(unsigned page)
{
	return (unsigned char)(page % 200 + 11);
}

static void enter(unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++) {
		memset(rig.buf, byte_of(i), rig.page);
		assert_true(budget_try(rig.cache, 1));
		rwlock_read_acquire(&rig.cache->map_lock);
		assert_int_equal(private_enter(pages, at(i), rig.buf), 0);
		rwlock_read_release(&rig.cache->map_lock);
	}
}

static uint32_t word_at(unsigned page)
{
	return page_load(private_word(pages, at(page), NULL));
}

static void page_out(unsigned from, unsigned to)
{
	struct chunk *chunk;

	private_word(pages, at(from), &chunk);
	private_page_out(pages, chunk, from % CHUNK_PAGES, from % CHUNK_PAGES + (to - from));
}

static void check_here(unsigned page)
{
	assert_int_equal(page_state(word_at(page)), PAGE_RESIDENT);
	assert_int_equal(load_byte(at(page)), byte_of(page));
	assert_int_equal(load_byte(at(page) + rig.page - 1), byte_of(page));
}

static void check_out(unsigned page)
{
	assert_int_equal(page_state(word_at(page)), PAGE_OUT);
	assert_int_equal(load_byte(at(page)), -SIGBUS);
}

static int bring_in(unsigned page)
{
	bool waited = false;

	return private_bring_in(pages, at(page), &waited);
}

static void bring_in_and_check(unsigned page)
{
	while (page_state(word_at(page)) == PAGE_OUT)
		assert_int_equal(bring_in(page), 0);
	check_here(page);
}

/* Writes the swap object's pages and gives their frames back. */
static void evict_swap(void)
{
	object_drop(rig.object, 0, UINT64_MAX, true);
}

/* ---- pages that are here ---- */

static void a_page_that_is_entered_has_its_bytes_and_counts(void **state)
{
	(void)state;
	start();
	assert_true(private_is_absent(pages, at(5)));
	enter(5, 1);
	check_here(5);
	assert_true(word_at(5) & PAGE_MAPPED);
	assert_false(private_is_absent(pages, at(5)));
	assert_int_equal(load_byte(at(6)), -SIGBUS);
	assert_int_equal(private_resident(pages, base, PAGES), 1);
	assert_int_equal(rig_frames(), 1);
	assert_int_equal(rig.cache->queued, 1);
}

static void a_page_that_is_there_is_not_entered_again(void **state)
{
	(void)state;
	start();
	enter(5, 1);
	memset(rig.buf, 'z', rig.page);
	assert_int_equal(private_enter(pages, at(5), rig.buf), -EAGAIN);
	check_here(5);
}

static void a_page_whose_words_cannot_be_made_is_not_entered(void **state)
{
	(void)state;
	start();
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(private_enter(pages, at(5), rig.buf), -ENOMEM);
	assert_true(private_is_absent(pages, at(5)));
	enter(5, 1);
	check_here(5);
}

/* ---- out and in again ---- */

static void a_page_that_leaves_is_unmapped_and_its_bytes_are_in_the_swap_object(void **state)
{
	(void)state;
	start();
	enter(0, 20);
	page_out(0, 20);
	for (unsigned i = 0; i < 20; i++)
		check_out(i);
	assert_int_equal(pages->out, 20);
	assert_int_equal(private_resident(pages, base, PAGES), 0);
	/* One frame for one frame. */
	assert_int_equal(rig_frames(), 20);
	assert_int_equal(rig_blocks(rig.object), 20);
	assert_int_equal(rig.cache->dirty_pages, 20);
	assert_int_equal(rig.cache->counters.swap_out_pages, 20);
}

static void a_page_comes_back_from_the_swap_object_without_storage(void **state)
{
	(void)state;
	start();
	enter(0, 20);
	page_out(0, 20);
	bring_in_and_check(7);
	check_out(6);
	assert_int_equal(storage.reads, 0);
	assert_int_equal(storage.writes, 0);
	assert_int_equal(pages->out, 19);
	assert_int_equal(rig_frames(), 20);
	assert_int_equal(rig_blocks(rig.object), 19);
	assert_int_equal(store_byte(at(7), 'w'), 0);
}

static void a_page_comes_back_from_storage_with_its_neighbours_ready(void **state)
{
	(void)state;
	start();
	enter(0, 20);
	page_out(0, 20);
	evict_swap();
	assert_int_equal(rig_frames(), 0);
	for (unsigned i = 0; i < 20; i++)
		bring_in_and_check(i);
	assert_true(storage.reads >= 1 && storage.reads <= 5);
	assert_int_equal(pages->out, 0);
	/* Behind the last one a few may have come along that are not out. */
	assert_true(rig_frames() < 20 + 8);
}

static void pages_go_out_and_in_many_times_and_keep_their_bytes(void **state)
{
	(void)state;
	start();
	enter(0, PAGES);
	for (unsigned round = 0; round < 5; round++) {
		page_out(round * 10, 300 + round * 10);
		page_out(CHUNK_PAGES, PAGES);
		if (round % 2)
			evict_swap();
		for (unsigned i = 0; i < PAGES; i += 1 + round)
			bring_in_and_check(i);
	}
	for (unsigned i = 0; i < PAGES; i++)
		bring_in_and_check(i);
	assert_int_equal(pages->out, 0);
}

static void a_page_that_comes_back_has_what_was_stored_last(void **state)
{
	(void)state;
	start();
	enter(3, 1);
	page_out(3, 4);
	evict_swap();
	bring_in_and_check(3);
	assert_int_equal(store_byte(at(3), 99), 0);
	page_out(3, 4);
	evict_swap();
	while (page_state(word_at(3)) == PAGE_OUT)
		assert_int_equal(bring_in(3), 0);
	assert_int_equal(load_byte(at(3)), 99);
}

static void neighbours_in_memory_are_neighbours_in_swap(void **state)
{
	(void)state;
	start();
	enter(0, 20);
	page_out(10, 20);
	page_out(0, 10);
	for (unsigned i = 1; i < 20; i++)
		assert_int_equal(word_at(i) >> PAGE_OUT_BIT, (word_at(i - 1) >> PAGE_OUT_BIT) + 1);
}

static void a_locked_page_does_not_leave(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	locked_page = at(5);
	page_out(0, 10);
	check_here(5);
	check_out(4);
	check_out(6);
}

static void a_page_that_was_useful_leaves_at_a_later_pass(void **state)
{
	(void)state;
	start();
	enter(5, 1);
	page_flags(private_word(pages, at(5), NULL), 0, 2 * PAGE_PASS);
	page_out(5, 6);
	check_here(5);
	page_out(5, 6);
	check_here(5);
	page_out(5, 6);
	check_out(5);
}

static void what_is_no_private_mapping_any_more_is_not_brought_in(void **state)
{
	(void)state;
	start();
	enter(5, 1);
	page_out(5, 6);
	mapping_gone = true;
	assert_int_equal(bring_in(5), 0);
	check_out(5);
	mapping_gone = false;
	bring_in_and_check(5);
}

static void a_page_that_is_here_or_never_was_is_not_brought_in(void **state)
{
	(void)state;
	start();
	enter(5, 1);
	assert_int_equal(bring_in(5), 0);
	assert_int_equal(bring_in(6), 0);
	check_here(5);
	assert_true(private_is_absent(pages, at(6)));
}

/* ---- failures ---- */

static void when_swap_has_no_frames_the_pages_stay_where_they_are(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	fail_arm(FAIL_FRAME, 1, true);
	page_out(0, 10);
	for (unsigned i = 0; i < 10; i++) {
		check_here(i);
		assert_int_equal(store_byte(at(i), byte_of(i)), 0);
	}
	assert_int_equal(pages->out, 0);
	assert_int_equal(rig_frames(), 10);
	fail_arm(FAIL_FRAME, 0, false);
	page_out(0, 10);
	check_out(5);
}

/* What is one range to us is two mappings to the kernel. */
static void when_swap_has_no_frames_pages_of_two_protections_stay_too(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	assert_int_equal(mprotect(at(5), 5 * rig.page, PROT_READ), 0);
	fail_arm(FAIL_FRAME, 1, true);
	page_out(0, 10);
	for (unsigned i = 0; i < 10; i++)
		check_here(i);
	assert_int_equal(pages->out, 0);
	assert_int_equal(rig_frames(), 10);
	assert_int_equal(store_byte(at(4), 'w'), 0);
	assert_int_equal(store_byte(at(5), 'w'), -SIGSEGV);
	fail_arm(FAIL_FRAME, 0, false);
	page_out(0, 10);
	check_out(5);
}

static void when_swap_has_no_words_the_pages_stay_where_they_are(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	fail_arm(FAIL_ALLOC, 1, true);
	page_out(0, 10);
	for (unsigned i = 0; i < 10; i++)
		check_here(i);
	fail_arm(FAIL_ALLOC, 0, false);
	page_out(0, 10);
	check_out(5);
}

static void a_page_that_cannot_be_read_back_stays_out_and_comes_later(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	page_out(0, 10);
	evict_swap();
	storage.read_error = EIO;
	assert_int_equal(bring_in(5), -EIO);
	check_out(5);
	assert_int_equal(rig_frames(), 0);
	storage.read_error = 0;
	bring_in_and_check(5);
}

static void what_cannot_be_written_to_swap_storage_is_not_lost(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	page_out(0, 10);
	storage.write_error = ENOSPC;
	evict_swap();
	assert_int_equal(rig_frames(), 10);
	for (unsigned i = 0; i < 10; i++)
		bring_in_and_check(i);
}

/* ---- ranges ---- */

static void forgotten_pages_give_back_frames_and_swap(void **state)
{
	(void)state;
	start();
	enter(0, 40);
	page_out(0, 20);
	rwlock_read_acquire(&rig.cache->map_lock);
	private_discard(pages, at(10), 20, true);
	rwlock_read_release(&rig.cache->map_lock);
	for (unsigned i = 0; i < 40; i++) {
		bool gone = i >= 10 && i < 30;

		assert_int_equal(private_is_absent(pages, at(i)), gone);
		if (gone)
			assert_int_equal(load_byte(at(i)), -SIGBUS);
	}
	assert_int_equal(pages->out, 10);
	assert_int_equal(rig_frames(), 20);
	bring_in_and_check(9);
	check_here(30);
}

static void forgotten_pages_can_be_entered_again(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	page_out(0, 5);
	rwlock_read_acquire(&rig.cache->map_lock);
	private_discard(pages, base, 10, true);
	rwlock_read_release(&rig.cache->map_lock);
	enter(0, 10);
	page_out(0, 10);
	for (unsigned i = 0; i < 10; i++)
		bring_in_and_check(i);
}

/* Nor at the end of an extent, where the next one begins. */
static void what_nobody_paged_out_is_not_read_along(void **state)
{
	static const unsigned page[] = {3, CHUNK_PAGES - 1};

	(void)state;
	start();
	for (unsigned k = 0; k < 2; k++) {
		enter(page[k], 1);
		page_out(page[k], page[k] + 1);
		evict_swap();
		assert_int_equal(rig_frames(), k);
		bring_in_and_check(page[k]);
		assert_int_equal(rig_frames(), k + 1);
	}
}

static void what_was_all_forgotten_gives_its_extent_to_the_next(void **state)
{
	(void)state;
	start();
	for (unsigned round = 0; round < 5; round++) {
		enter(0, PAGES);
		page_out(0, CHUNK_PAGES);
		page_out(CHUNK_PAGES, PAGES);
		forget_all();
		assert_int_equal(pages->out, 0);
		assert_int_equal(rig_frames(), 0);
	}
	assert_int_equal(pages->slots->next_extent, 2);
}

static void an_extent_that_is_not_empty_is_not_given_to_another(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	page_out(0, 10);
	evict_swap();
	enter(CHUNK_PAGES, 10);
	page_out(CHUNK_PAGES, CHUNK_PAGES + 10);
	for (unsigned i = 0; i < 10; i++) {
		bring_in_and_check(i);
		bring_in_and_check(CHUNK_PAGES + i);
	}
}

/* The kernel's part of a move is not needed for pages that are out. */
static void words_that_are_moved_take_their_pages_along(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	page_out(0, 10);
	rwlock_write_acquire(&rig.cache->map_lock);
	assert_int_equal(private_prepare(pages, base, at(550), 10), 0);
	private_move(pages, base, at(550), 10);
	rwlock_write_release(&rig.cache->map_lock);
	for (unsigned i = 0; i < 10; i++) {
		assert_true(private_is_absent(pages, at(i)));
		assert_int_equal(page_state(word_at(550 + i)), PAGE_OUT);
		while (page_state(word_at(550 + i)) == PAGE_OUT)
			assert_int_equal(bring_in(550 + i), 0);
		assert_int_equal(load_byte(at(550 + i)), byte_of(i));
	}
	/* The old place pages out again, to slots of its own. */
	enter(0, 10);
	page_out(0, 10);
	page_out(550, 560);
	evict_swap();
	for (unsigned i = 0; i < 10; i++) {
		bring_in_and_check(i);
		while (page_state(word_at(550 + i)) == PAGE_OUT)
			assert_int_equal(bring_in(550 + i), 0);
		assert_int_equal(load_byte(at(550 + i)), byte_of(i));
	}
}

static void words_for_a_move_that_cannot_be_made_are_reported(void **state)
{
	(void)state;
	start();
	enter(0, 10);
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(private_prepare(pages, base, base + ((size_t)CHUNK_PAGES << page_shift), PAGES), -ENOMEM);
	assert_int_equal(private_prepare(pages, base, base + ((size_t)CHUNK_PAGES << page_shift), PAGES), 0);
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(private_prepare(pages, base, base + ((size_t)CHUNK_PAGES << page_shift), PAGES), 0);
}

/* A move costs memory for what was touched, not for what is mapped. */
static void no_words_are_made_for_what_was_never_touched(void **state)
{
	uint64_t before;

	(void)state;
	start();
	enter(0, 1);
	before = atomic_load(&rig.cache->arena.used_bytes);
	assert_int_equal(private_prepare(pages, base, base + ((size_t)1 << 40), (size_t)1 << 24), 0);
	assert_true(atomic_load(&rig.cache->arena.used_bytes) - before <= 16 * sizeof(struct chunk));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_page_that_is_entered_has_its_bytes_and_counts),
	    TEST(a_page_that_is_there_is_not_entered_again),
	    TEST(a_page_whose_words_cannot_be_made_is_not_entered),
	    TEST(a_page_that_leaves_is_unmapped_and_its_bytes_are_in_the_swap_object),
	    TEST(a_page_comes_back_from_the_swap_object_without_storage),
	    TEST(a_page_comes_back_from_storage_with_its_neighbours_ready),
	    TEST(pages_go_out_and_in_many_times_and_keep_their_bytes),
	    TEST(a_page_that_comes_back_has_what_was_stored_last),
	    TEST(neighbours_in_memory_are_neighbours_in_swap),
	    TEST(a_locked_page_does_not_leave),
	    TEST(a_page_that_was_useful_leaves_at_a_later_pass),
	    TEST(what_is_no_private_mapping_any_more_is_not_brought_in),
	    TEST(a_page_that_is_here_or_never_was_is_not_brought_in),
	    TEST(when_swap_has_no_frames_the_pages_stay_where_they_are),
	    TEST(when_swap_has_no_frames_pages_of_two_protections_stay_too),
	    TEST(when_swap_has_no_words_the_pages_stay_where_they_are),
	    TEST(a_page_that_cannot_be_read_back_stays_out_and_comes_later),
	    TEST(what_cannot_be_written_to_swap_storage_is_not_lost),
	    TEST(forgotten_pages_give_back_frames_and_swap),
	    TEST(forgotten_pages_can_be_entered_again),
	    TEST(what_nobody_paged_out_is_not_read_along),
	    TEST(what_was_all_forgotten_gives_its_extent_to_the_next),
	    TEST(an_extent_that_is_not_empty_is_not_given_to_another),
	    TEST(words_that_are_moved_take_their_pages_along),
	    TEST(words_for_a_move_that_cannot_be_made_are_reported),
	    TEST(no_words_are_made_for_what_was_never_touched),
	};

	return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
