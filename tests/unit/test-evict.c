/* SPDX-License-Identifier: MIT */
/*
 * test-evict.c - unmapping pages, learning what was stored to them, and giving frames back
 */
#include "object/private.h"
#include "rig.h"

#define LIMIT  4096
#define PAGES  1000
#define MAPPED 200 /* pages of a view */

static struct pmap pmap;
static bool has_pmap;
static struct view views[2];
static struct private_pages private_pages;
static struct object *private_words;

static int make(void **state)
{
	(void)state;
	has_pmap = false;
	private_words = NULL;
	memset(views, 0, sizeof(views));
	if (rig_make(LIMIT, OBJECT_FILE, (uint64_t)PAGES << page_shift) < 0)
		return -1;
	return load_pages(0, MAPPED) < 0 ? -1 : 0;
}

static int destroy(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		if (views[i].addr) {
			rwlock_write_acquire(&rig.cache->map_lock);
			object_remove_view(rig.object, &views[i]);
			rwlock_write_release(&rig.cache->map_lock);
			munmap(views[i].addr, views[i].pages << page_shift);
		}
	if (private_words)
		private_words->private_pages = NULL;
	object_unuse(private_words);
	if (has_pmap)
		pmap_destroy(&pmap);
	return rig_end();
}

/* A mapping of the object from page first on. Nothing is in it yet. */
static char *view(unsigned i, uint64_t first, bool shared, bool tracking)
{
	char *addr = mmap(NULL, MAPPED * rig.page, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, rig.object->frames.fd,
			  (off_t)(first << page_shift));

	assert_ptr_not_equal(addr, MAP_FAILED);
	if (!has_pmap)
		assert_int_equal(pmap_create(source_or_skip(0), true, tracking, &pmap), 0);
	has_pmap = true;
	guard();
	assert_int_equal(pmap_register(&pmap, addr, MAPPED * rig.page, shared, true), 0);
	views[i] = (struct view){.pmap = &pmap, .addr = addr, .first = first, .pages = MAPPED, .tracked = shared};
	if (!shared) {
		assert_int_equal(object_create(&rig.registry, rig.cache, OBJECT_PRIVATE, NULL, 0, NULL, &private_words), 0);
		private_pages = (struct private_pages){.object = private_words, .pmap = &pmap};
		private_words->private_pages = &private_pages;
		views[i].private_pages = &private_pages;
	}
	rwlock_write_acquire(&rig.cache->map_lock);
	object_add_view(rig.object, &views[i]);
	rwlock_write_release(&rig.cache->map_lock);
	return addr;
}

/* Maps pages of a view, as a fault does. */
static void enter(unsigned i, unsigned from, unsigned n)
{
	assert_int_equal(pmap_enter(&pmap, views[i].addr + (size_t)from * rig.page, n, !views[i].private_pages), 0);
	for (unsigned k = from; k < from + n; k++)
		page_flags(object_page(rig.object, views[i].first + k, NULL), 0, PAGE_MAPPED);
}

static void unmap(unsigned from, unsigned to, bool locked_too)
{
	rwlock_read_acquire(&rig.cache->map_lock);
	object_unmap(rig.object, chunk_of(rig.object, 0), from, to, locked_too);
	rwlock_read_release(&rig.cache->map_lock);
}

static char *at(unsigned i, unsigned page)
{
	return views[i].addr + (size_t)page * rig.page;
}

static unsigned evict_one(unsigned page)
{
	struct chunk_set set = {{0}};

	chunk_set_add(&set, page);
	return object_evict(chunk_of(rig.object, 0), &set);
}

static bool is_tracked(void)
{
	if (!pmap.tracks)
		print_message("stores are not tracked by the kernel here\n");
	return pmap.tracks;
}

/* ---- giving frames back ---- */

static void an_evicted_page_is_absent_without_a_frame_and_leaves_a_ghost(void **state)
{
	(void)state;
	assert_int_equal(evict_one(5), 1);
	assert_int_equal(page_state(word_of(rig.object, 5)), PAGE_ABSENT);
	assert_int_not_equal(word_of(rig.object, 5) & PAGE_STAMP, 0);
	assert_int_equal(rig_frames(), MAPPED - 1);
	assert_int_equal(rig_blocks(rig.object), MAPPED - 1);
	assert_int_equal(rig.cache->counters.evicted_pages, 1);
}

static void an_evicted_page_keeps_that_it_was_stored(void **state)
{
	(void)state;
	page_flags(object_page(rig.object, 5, NULL), 0, PAGE_STORED | PAGE_PASSES | PAGE_AHEAD | PAGE_MARK);
	assert_int_equal(evict_one(5), 1);
	assert_int_equal(word_of(rig.object, 5) & ~PAGE_STAMP, PAGE_ABSENT | PAGE_STORED);
}

static void an_evicted_page_keeps_how_often_it_was_useful_unless_it_was_to_be_used_once(void **state)
{
	(void)state;
	page_flags(object_page(rig.object, 5, NULL), 0, 3 * PAGE_REF_ONE | 2 * PAGE_PASS);
	assert_int_equal(evict_one(5), 1);
	assert_int_equal(word_of(rig.object, 5) & PAGE_REF, 3 * PAGE_REF_ONE);
	page_flags(object_page(rig.object, 6, NULL), 0, 3 * PAGE_REF_ONE | 2 * PAGE_PASS | PAGE_ONCE);
	assert_int_equal(evict_one(6), 1);
	assert_int_equal(word_of(rig.object, 6), PAGE_ABSENT);
}

static void what_is_dirty_mapped_or_being_written_is_not_evicted(void **state)
{
	static const uint32_t flags[] = {PAGE_DIRTY, PAGE_MAPPED, PAGE_WRITING};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		page_flags(object_page(rig.object, 5, NULL), 0, flags[i]);
		assert_int_equal(evict_one(5), 0);
		page_flags(object_page(rig.object, 5, NULL), flags[i], 0);
	}
	check_frame(5, storage_byte(5));
}

static void what_somebody_holds_is_not_evicted(void **state)
{
	page_word *word = object_page(rig.object, 5, NULL);

	(void)state;
	assert_true(page_take(word, PAGE_RESIDENT, PAGE_HELD));
	assert_int_equal(evict_one(5), 0);
	page_settle(word, PAGE_RESIDENT, 0, 0);
	assert_int_equal(evict_one(5), 1);
}

static void of_a_set_everything_that_can_go_goes(void **state)
{
	struct chunk_set set = {{0}};

	(void)state;
	page_flags(object_page(rig.object, 7, NULL), 0, PAGE_MAPPED);
	for (unsigned i = 3; i < 12; i++)
		chunk_set_add(&set, i);
	assert_int_equal(object_evict(chunk_of(rig.object, 0), &set), 8);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(page_state(word_of(rig.object, i)), i < 3 || i == 7 || i >= 12 ? PAGE_RESIDENT : PAGE_ABSENT);
	page_flags(object_page(rig.object, 7, NULL), PAGE_MAPPED, 0);
}

/* ---- unmapping ---- */

static void an_unmapped_page_faults_again_and_keeps_its_frame(void **state)
{
	(void)state;
	view(0, 0, true, true);
	enter(0, 0, 10);
	assert_int_equal(load_byte(at(0, 5)), storage_byte(5));
	unmap(0, 10, false);
	assert_int_equal(load_byte(at(0, 5)), -SIGBUS);
	assert_int_equal(word_of(rig.object, 5) & (PAGE_STATE | PAGE_MAPPED | PAGE_DIRTY), PAGE_RESIDENT);
	check_frame(5, storage_byte(5));
}

static void what_was_stored_to_is_dirty_when_it_is_unmapped_and_the_rest_is_not(void **state)
{
	(void)state;
	view(0, 0, true, true);
	if (!is_tracked())
		skip();
	enter(0, 0, 40);
	for (unsigned i = 0; i < 40; i += 3)
		assert_int_equal(store_byte(at(0, i), 'x'), 0);
	unmap(0, CHUNK_PAGES, false);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(!(word_of(rig.object, i) & PAGE_DIRTY), i % 3 != 0);
	assert_int_equal(rig.cache->dirty_pages, 14);
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
	assert_int_equal(storage.bytes[3 << page_shift], 'x');
}

static void a_store_through_any_of_two_mappings_makes_the_page_dirty(void **state)
{
	(void)state;
	view(0, 0, true, true);
	view(1, 4, true, true);
	if (!is_tracked())
		skip();
	enter(0, 0, 20);
	enter(1, 0, 16);
	assert_int_equal(store_byte(at(0, 6), 'x'), 0);
	assert_int_equal(store_byte(at(1, 6), 'y'), 0);
	unmap(0, CHUNK_PAGES, false);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(!(word_of(rig.object, i) & PAGE_DIRTY), i != 6 && i != 10);
	assert_int_equal(load_byte(at(0, 10)), -SIGBUS);
	assert_int_equal(load_byte(at(1, 2)), -SIGBUS);
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
	assert_int_equal(storage.bytes[6 << page_shift], 'x');
	assert_int_equal(storage.bytes[10 << page_shift], 'y');
}

static void a_page_that_was_harvested_and_written_is_clean_when_it_is_unmapped(void **state)
{
	(void)state;
	view(0, 0, true, true);
	if (!is_tracked())
		skip();
	enter(0, 0, 4);
	assert_int_equal(store_byte(at(0, 1), 'x'), 0);
	assert_int_equal(store_byte(at(0, 2), 'x'), 0);
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
	assert_int_equal(store_byte(at(0, 2), 'y'), 0);
	unmap(0, CHUNK_PAGES, false);
	assert_int_equal(word_of(rig.object, 1) & PAGE_DIRTY, 0);
	assert_true(word_of(rig.object, 2) & PAGE_DIRTY);
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
	assert_int_equal(storage.bytes[2 << page_shift], 'y');
}

static void where_stores_are_caught_a_written_page_is_protected_again(void **state)
{
	(void)state;
	view(0, 0, true, false);
	enter(0, 0, 4);
	assert_int_equal(store_byte(at(0, 1), 'x'), -SIGBUS);
	/* As the fault does it. */
	writeback_note_dirty(chunk_of(rig.object, 1), object_page(rig.object, 1, NULL));
	assert_int_equal(pmap_unprotect(&pmap, at(0, 1), 1, true), 0);
	assert_int_equal(store_byte(at(0, 1), 'x'), 0);
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
	assert_int_equal(storage.bytes[1 << page_shift], 'x');
	assert_int_equal(store_byte(at(0, 1), 'y'), -SIGBUS);
	assert_int_equal(load_byte(at(0, 1)), 'x');
	unmap(0, CHUNK_PAGES, false);
	assert_int_equal(word_of(rig.object, 1) & PAGE_DIRTY, 0);
}

static void pages_between_that_have_no_frame_stay_as_they_were(void **state)
{
	uint32_t ghost;

	(void)state;
	view(0, 0, true, true);
	assert_int_equal(evict_one(5), 1);
	ghost = word_of(rig.object, 5);
	enter(0, 4, 1);
	enter(0, 6, 1);
	unmap(0, CHUNK_PAGES, false);
	assert_int_equal(word_of(rig.object, 5), ghost);
	assert_int_equal(word_of(rig.object, 4) & PAGE_MAPPED, 0);
	assert_int_equal(word_of(rig.object, 6) & PAGE_MAPPED, 0);
}

static void only_pages_of_the_range_are_unmapped(void **state)
{
	(void)state;
	view(0, 0, true, true);
	enter(0, 0, 20);
	unmap(5, 10, false);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(load_byte(at(0, i)), i >= 5 && i < 10 ? -SIGBUS : storage_byte(i));
	unmap(0, CHUNK_PAGES, false);
}

static void pages_of_a_locked_view_stay_unless_they_are_meant_too(void **state)
{
	(void)state;
	view(0, 0, true, true);
	view(1, 4, true, true);
	views[1].locked = true;
	enter(0, 0, 20);
	unmap(0, CHUNK_PAGES, false);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(load_byte(at(0, i)), i < 4 ? -SIGBUS : storage_byte(i));
	unmap(0, CHUNK_PAGES, true);
	assert_int_equal(load_byte(at(0, 10)), -SIGBUS);
}

/* Every third page is spared: more pieces than are taken out at once. */
static void unmap_all_but_every_third(void)
{
	struct chunk_set spared = {{0}};

	for (unsigned i = 0; i < CHUNK_PAGES; i += 3)
		chunk_set_add(&spared, i);
	object_cache_ops.unmap(chunk_of(rig.object, 0), &spared);
}

static void pages_that_are_spared_stay_mapped(void **state)
{
	(void)state;
	view(0, 0, true, true);
	enter(0, 0, MAPPED);
	unmap_all_but_every_third();
	for (unsigned i = 0; i < MAPPED; i++) {
		assert_int_equal(load_byte(at(0, i)), i % 3 == 0 ? storage_byte(i) : -SIGBUS);
		assert_int_equal(page_state(word_of(rig.object, i)), PAGE_RESIDENT);
		assert_int_equal(!(word_of(rig.object, i) & PAGE_MAPPED), i % 3 != 0);
	}
	unmap(0, CHUNK_PAGES, false);
}

static void stores_to_what_is_spared_and_to_what_is_not_are_all_learnt_of(void **state)
{
	(void)state;
	view(0, 0, true, true);
	if (!is_tracked())
		skip();
	enter(0, 0, MAPPED);
	for (unsigned i = 0; i < MAPPED; i += 2)
		assert_int_equal(store_byte(at(0, i), 'x'), 0);
	unmap_all_but_every_third();
	for (unsigned i = 0; i < MAPPED; i++)
		assert_int_equal(!(word_of(rig.object, i) & PAGE_DIRTY), i % 3 == 0 || i % 2 != 0);
	unmap(0, CHUNK_PAGES, false);
	for (unsigned i = 0; i < MAPPED; i++)
		assert_int_equal(!(word_of(rig.object, i) & PAGE_DIRTY), i % 2 != 0);
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
	assert_int_equal(storage.bytes[6 << page_shift], 'x');
}

static void pages_between_spared_ones_are_taken_out_also_where_the_program_has_locked_its_memory(void **state)
{
	char *addr = view(0, 0, true, true);

	(void)state;
	if (mlock2(addr, MAPPED * rig.page, MLOCK_ONFAULT) < 0)
		skip();
	enter(0, 0, MAPPED);
	unmap_all_but_every_third();
	for (unsigned i = 0; i < MAPPED; i++)
		assert_int_equal(load_byte(at(0, i)), i % 3 == 0 ? storage_byte(i) : -SIGBUS);
	unmap(0, CHUNK_PAGES, false);
}

static void a_busy_page_is_left_alone(void **state)
{
	page_word *word = object_page(rig.object, 5, NULL);

	(void)state;
	view(0, 0, true, true);
	enter(0, 4, 3);
	assert_true(page_take(word, PAGE_RESIDENT, PAGE_HELD));
	unmap(0, CHUNK_PAGES, false);
	assert_true(page_load(word) & PAGE_MAPPED);
	assert_int_equal(load_byte(at(0, 5)), storage_byte(5));
	assert_int_equal(load_byte(at(0, 4)), -SIGBUS);
	page_settle(word, PAGE_RESIDENT, 0, 0);
	unmap(0, CHUNK_PAGES, false);
}

static void private_copies_over_an_unmapped_page_stay(void **state)
{
	char *addr = view(0, 0, false, true);

	(void)state;
	enter(0, 0, 10);
	assert_int_equal(pmap_remove(private_pages.pmap, addr + 5 * rig.page, 1), 0);
	assert_true(budget_try(rig.cache, 1));
	memset(rig.buf, 'p', rig.page);
	assert_int_equal(private_enter(&private_pages, addr + 5 * rig.page, rig.buf), 0);
	unmap(0, CHUNK_PAGES, false);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(load_byte(at(0, i)), i == 5 ? 'p' : -SIGBUS);
	assert_int_equal(word_of(rig.object, 5) & PAGE_MAPPED, 0);
	check_frame(5, storage_byte(5));
}

/* ---- dropping ---- */

static void dropping_gives_back_what_is_clean_and_keeps_what_is_dirty(void **state)
{
	(void)state;
	store_page(5, 'x');
	object_drop(rig.object, 0, 10, false);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(page_state(word_of(rig.object, i)), i == 5 || i >= 10 ? PAGE_RESIDENT : PAGE_ABSENT);
	check_frame(5, 'x');
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
}

static void dropping_with_writing_gives_back_everything_and_loses_nothing(void **state)
{
	(void)state;
	store_page(5, 'x');
	object_drop(rig.object, 0, UINT64_MAX, true);
	assert_int_equal(rig_frames(), 0);
	check_storage(5, 'x');
	assert_int_equal(load_pages(5, 1), 0);
	check_frame(5, 'x');
}

static void dropping_what_cannot_be_written_keeps_it(void **state)
{
	(void)state;
	store_page(5, 'x');
	storage.write_error = EIO;
	object_drop(rig.object, 0, UINT64_MAX, true);
	assert_int_equal(rig_frames(), 1);
	check_frame(5, 'x');
	storage.write_error = 0;
	assert_int_equal(object_flush(rig.object, 0, UINT64_MAX), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_evicted_page_is_absent_without_a_frame_and_leaves_a_ghost),
	    TEST(an_evicted_page_keeps_that_it_was_stored),
	    TEST(an_evicted_page_keeps_how_often_it_was_useful_unless_it_was_to_be_used_once),
	    TEST(what_is_dirty_mapped_or_being_written_is_not_evicted),
	    TEST(what_somebody_holds_is_not_evicted),
	    TEST(of_a_set_everything_that_can_go_goes),
	    TEST(an_unmapped_page_faults_again_and_keeps_its_frame),
	    TEST(what_was_stored_to_is_dirty_when_it_is_unmapped_and_the_rest_is_not),
	    TEST(a_store_through_any_of_two_mappings_makes_the_page_dirty),
	    TEST(a_page_that_was_harvested_and_written_is_clean_when_it_is_unmapped),
	    TEST(where_stores_are_caught_a_written_page_is_protected_again),
	    TEST(pages_between_that_have_no_frame_stay_as_they_were),
	    TEST(only_pages_of_the_range_are_unmapped),
	    TEST(pages_of_a_locked_view_stay_unless_they_are_meant_too),
	    TEST(pages_that_are_spared_stay_mapped),
	    TEST(stores_to_what_is_spared_and_to_what_is_not_are_all_learnt_of),
	    TEST(pages_between_spared_ones_are_taken_out_also_where_the_program_has_locked_its_memory),
	    TEST(a_busy_page_is_left_alone),
	    TEST(private_copies_over_an_unmapped_page_stay),
	    TEST(dropping_gives_back_what_is_clean_and_keeps_what_is_dirty),
	    TEST(dropping_with_writing_gives_back_everything_and_loses_nothing),
	    TEST(dropping_what_cannot_be_written_keeps_it),
	};

	return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}
