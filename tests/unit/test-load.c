/* SPDX-License-Identifier: MIT */
/*
 * test-load.c - page-in
 */
#include <pthread.h>
#include <sched.h>

#include "cache/policy.h"
#include "rig.h"

#define LIMIT 4096
#define PAGES 1000
#define TAIL  100 /* bytes of the last page */

static int make(void **state)
{
	(void)state;
	return rig_make(LIMIT, OBJECT_FILE, ((uint64_t)(PAGES - 1) << page_shift) + TAIL);
}

static int make_anonymous(void **state)
{
	(void)state;
	return rig_make(LIMIT, OBJECT_ANON, (uint64_t)PAGES << page_shift);
}

static int make_small(void **state)
{
	(void)state;
	return rig_make(256, OBJECT_FILE, (uint64_t)PAGES << page_shift);
}

static int destroy(void **state)
{
	(void)state;
	return rig_end();
}

/* ---- what is loaded ---- */

static void a_loaded_page_has_the_bytes_of_the_storage_and_one_frame(void **state)
{
	(void)state;
	assert_int_equal(load_pages(5, 1), 0);
	assert_int_equal(page_state(word_of(rig.object, 5)), PAGE_RESIDENT);
	check_frame(5, storage_byte(5));
	assert_int_equal(rig_frames(), 1);
	assert_int_equal(rig_blocks(rig.object), 1);
	assert_int_equal(chunk_of(rig.object, 5)->resident, 1);
	assert_int_equal(rig.cache->queued, 1);
	assert_int_equal(rig.cache->counters.read_bytes, rig.page);
}

static void pages_that_come_along_come_in_one_read(void **state)
{
	(void)state;
	assert_int_equal(load_pages(8, 8), 0);
	assert_int_equal(storage.reads, 1);
	for (unsigned i = 8; i < 16; i++)
		check_frame(i, storage_byte(i));
	assert_int_equal(rig_frames(), 8);
}

static void a_page_that_is_there_is_not_read_again(void **state)
{
	(void)state;
	assert_int_equal(load_pages(5, 1), 0);
	store_page(5, 'x');
	load_pages(4, 4);
	check_frame(5, 'x');
	for (unsigned i = 4; i < 8; i++)
		assert_int_equal(page_state(word_of(rig.object, i)), PAGE_RESIDENT);
	assert_int_equal(rig_frames(), 4);
	writeback_note_clean(chunk_of(rig.object, 5), object_page(rig.object, 5, NULL));
}

static void what_lies_behind_the_end_in_the_last_page_is_zeros(void **state)
{
	(void)state;
	assert_int_equal(load_pages(PAGES - 2, 8), 0);
	check_frame(PAGES - 2, storage_byte(PAGES - 2));
	assert_int_equal(frames_read(&rig.object->frames, PAGES - 1, 1, rig.buf), 0);
	for (size_t i = 0; i < rig.page; i++)
		assert_int_equal((unsigned char)rig.buf[i], i < TAIL ? storage_byte(PAGES - 1) : 0);
	assert_int_equal(rig_frames(), 2);
}

static void a_run_crosses_from_chunk_to_chunk(void **state)
{
	(void)state;
	assert_int_equal(load_pages(CHUNK_PAGES - 4, 8), 0);
	for (unsigned i = CHUNK_PAGES - 4; i < CHUNK_PAGES + 4; i++)
		check_frame(i, storage_byte(i));
	assert_int_equal(chunk_of(rig.object, 0)->resident, 4);
	assert_int_equal(chunk_of(rig.object, CHUNK_PAGES)->resident, 4);
}

static void the_flags_that_were_asked_for_are_in_the_words_and_the_mark_in_one(void **state)
{
	(void)state;
	assert_int_equal(object_load(rig.object, 10, 8, PAGE_AHEAD, 14, true, NULL), 0);
	for (unsigned i = 10; i < 18; i++)
		assert_int_equal(word_of(rig.object, i) & (PAGE_AHEAD | PAGE_MARK), PAGE_AHEAD | (i == 14 ? PAGE_MARK : 0));
	assert_int_equal(rig.cache->counters.readahead_pages, 7);
}

static void a_mark_splits_no_read_that_nobody_waits_for(void **state)
{
	(void)state;
	assert_int_equal(object_load(rig.object, 10, 8, PAGE_AHEAD, 14, false, NULL), 0);
	assert_int_equal(storage.reads, 1);
	for (unsigned i = 10; i < 18; i++)
		assert_int_equal(word_of(rig.object, i) & (PAGE_AHEAD | PAGE_MARK), PAGE_AHEAD | (i == 14 ? PAGE_MARK : 0));
	assert_int_equal(rig.cache->counters.readahead_pages, 8);
}

static void a_mark_is_not_set_on_a_page_that_was_there(void **state)
{
	(void)state;
	assert_int_equal(load_pages(14, 1), 0);
	assert_int_equal(object_load(rig.object, 10, 8, PAGE_AHEAD, 14, false, NULL), 0);
	object_load_apart(rig.object, 2, 5, 3, PAGE_AHEAD, 14);
	assert_int_equal(word_of(rig.object, 14) & (PAGE_AHEAD | PAGE_MARK), 0);
}

/* ---- pages that lie apart ---- */

/* Pages first, first + step, … are resident, and no others. */
static void check_apart(uint64_t first, unsigned pages, unsigned step, uint64_t mark)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		bool in = i >= first && (i - first) % step == 0 && (i - first) / step < pages;

		assert_int_equal(page_state(word_of(rig.object, i)), in ? PAGE_RESIDENT : PAGE_ABSENT);
		if (in)
			assert_int_equal(word_of(rig.object, i) & (PAGE_AHEAD | PAGE_MARK),
					 PAGE_AHEAD | (i == mark ? PAGE_MARK : 0));
	}
	assert_int_equal(rig.cache->counters.readahead_pages, pages);
	assert_int_equal(storage.reads, pages);
}

static void pages_that_lie_apart_come_alone(void **state)
{
	(void)state;
	object_load_apart(rig.object, CHUNK_PAGES - 17, 5, 7, PAGE_AHEAD, CHUNK_PAGES - 3);
	check_apart(CHUNK_PAGES - 17, 5, 7, CHUNK_PAGES - 3);
	check_frame(CHUNK_PAGES - 10, storage_byte(CHUNK_PAGES - 10));
}

static void pages_that_lie_apart_come_backward(void **state)
{
	(void)state;
	object_load_apart(rig.object, 40, 5, -10, PAGE_AHEAD, 0);
	check_apart(0, 5, 10, 0);
}

static void of_pages_that_lie_apart_those_past_the_end_are_left_out(void **state)
{
	(void)state;
	object_load_apart(rig.object, PAGES + 6, 5, -4, PAGE_AHEAD, UINT64_MAX);
	check_apart(PAGES - 10, 3, 4, UINT64_MAX);
}

static void pages_that_lie_apart_leave_buffers_to_others(void **state)
{
	struct buffer *taken[64];
	unsigned n = 0;

	(void)state;
	while (n < 64 && (taken[n] = buffer_try_spare(rig.object->buffers, 1)) != NULL)
		n++;
	assert_in_range(n, 1, 63);
	object_load_apart(rig.object, 0, 5, 2, PAGE_AHEAD, UINT64_MAX);
	assert_int_equal(storage.reads, 0);
	assert_int_equal(rig_frames(), 0);
	/* Who waits for his page has one. */
	assert_int_equal(load_pages(0, 1), 0);
	while (n > 0)
		buffer_put(rig.object->buffers, taken[--n]);
}

static void a_page_that_comes_back_soon_has_proved_useful(void **state)
{
	struct chunk_set set = {{0}};

	(void)state;
	assert_int_equal(load_pages(5, 1), 0);
	assert_int_equal(word_of(rig.object, 5) & PAGE_REF, 0);
	chunk_set_add(&set, 5);
	assert_int_equal(object_evict(chunk_of(rig.object, 5), &set), 1);
	assert_int_equal(load_pages(5, 1), 0);
	assert_true(word_of(rig.object, 5) & PAGE_REF);
	assert_int_equal(word_of(rig.object, 5) & PAGE_STAMP, PAGE_PASS);
	assert_int_equal(rig.cache->counters.refaulted_pages, 1);
}

/* ---- the end ---- */

static void past_the_end_there_is_nothing_to_load(void **state)
{
	(void)state;
	assert_int_equal(load_pages(PAGES, 1), -ENODATA);
	assert_int_equal(load_pages(UINT64_MAX - 1, 1), -ENODATA);
	assert_int_equal(storage.reads, 0);
}

static void a_file_that_has_become_shorter_has_no_page_there(void **state)
{
	(void)state;
	storage.size = 3 << page_shift;
	assert_int_equal(load_pages(5, 1), -ENODATA);
	assert_int_equal(page_state(word_of(rig.object, 5)), PAGE_ABSENT);
	assert_int_equal(rig_frames(), 0);
	/* Of a run, what is still there comes. */
	assert_int_equal(load_pages(1, 4), 0);
	assert_int_equal(page_state(word_of(rig.object, 2)), PAGE_RESIDENT);
	assert_int_equal(page_state(word_of(rig.object, 3)), PAGE_ABSENT);
	assert_int_equal(rig_frames(), 2);
}

/* ---- failures ---- */

static void check_nothing_came(uint64_t page)
{
	assert_int_equal(page_state(word_of(rig.object, page)), PAGE_ABSENT);
	assert_int_equal(rig_frames(), 0);
	assert_int_equal(rig_blocks(rig.object), 0);
	assert_int_equal(chunk_of(rig.object, page)->resident, 0);
}

static void a_read_that_fails_leaves_the_page_absent_and_can_be_tried_again(void **state)
{
	(void)state;
	storage.read_error = EIO;
	assert_int_equal(load_pages(5, 4), -EIO);
	check_nothing_came(5);
	storage.read_error = 0;
	assert_int_equal(load_pages(5, 4), 0);
	check_frame(5, storage_byte(5));
}

static void a_neighbour_that_cannot_be_read_does_not_fail_the_page_that_was_asked_for(void **state)
{
	(void)state;
	storage.bad_page = 7;
	assert_int_equal(load_pages(5, 4), 0);
	check_frame(5, storage_byte(5));
	assert_int_equal(page_state(word_of(rig.object, 7)), PAGE_ABSENT);
	assert_int_equal(load_pages(7, 1), -EIO);
}

static void frames_that_cannot_be_made_leave_the_page_absent(void **state)
{
	(void)state;
	fail_arm(FAIL_FRAME, 1, true);
	assert_int_equal(load_pages(5, 4), -ENOMEM);
	check_nothing_came(5);
	fail_arm(FAIL_FRAME, 0, false);
	assert_int_equal(load_pages(5, 4), 0);
}

static void words_that_cannot_be_made_are_reported(void **state)
{
	(void)state;
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(load_pages(5, 1), -ENOMEM);
	assert_int_equal(rig_frames(), 0);
	assert_int_equal(load_pages(5, 1), 0);
}

/* ---- others ---- */

static void a_page_that_another_is_loading_is_left_to_him(void **state)
{
	page_word *word = object_page(rig.object, 5, NULL);

	(void)state;
	assert_true(page_take(word, PAGE_ABSENT, PAGE_LOADING));
	assert_int_equal(load_pages(5, 4), -EAGAIN);
	assert_int_equal(rig_frames(), 0);
	page_settle(word, PAGE_ABSENT, 0, 0);
}

static void a_load_that_is_not_waited_for_goes_on_by_itself(void **state)
{
	(void)state;
	storage.hold = true;
	assert_int_equal(object_load(rig.object, 5, 4, PAGE_AHEAD, UINT64_MAX, false, NULL), 0);
	assert_int_equal(page_state(word_of(rig.object, 5)), PAGE_LOADING);
	assert_int_equal(rig.object->refs, 2);
	storage_release();
	assert_int_equal(page_state(word_of(rig.object, 5)), PAGE_RESIDENT);
	assert_int_equal(rig.object->refs, 1);
	check_frame(8, storage_byte(8));
}

static void a_load_that_is_not_waited_for_takes_only_what_room_there_is(void **state)
{
	uint64_t rest = LIMIT - rig.cache->used;

	(void)state;
	assert_true(budget_try(rig.cache, rest));
	object_load(rig.object, 5, 4, 0, UINT64_MAX, false, NULL);
	assert_int_equal(page_state(word_of(rig.object, 5)), PAGE_ABSENT);
	budget_release(rig.cache, rest);
	assert_int_equal(rig_frames(), 0);
}

static void *load_main(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < PAGES - 1; i++) {
		page_word *word = object_page(rig.object, i, NULL);

		while (page_state(page_load(word)) != PAGE_RESIDENT) {
			uint32_t seen = page_load(word);

			if (page_is_busy(seen))
				page_wait(word, seen);
			else
				load_pages(i, 1 + i % 8);
		}
	}
	return NULL;
}

static void threads_that_load_the_same_pages_read_each_once(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_main, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < PAGES - 1; i++)
		check_frame(i, storage_byte(i));
	assert_true(rig_frames() == PAGES || rig_frames() == PAGES - 1);
	assert_int_equal(rig.cache->counters.read_bytes + (rig_frames() == PAGES ? rig.page - TAIL : 0), rig_frames()
													     << page_shift);
}

/* ---- the budget ---- */

static void more_than_fits_is_loaded_by_giving_up_what_came_before(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PAGES; i++) {
		if (page_state(word_of(rig.object, i)) == PAGE_ABSENT)
			assert_int_equal(load_pages(i, 4), 0);
		check_frame(i, storage_byte(i));
		assert_true(atomic_load(&rig.cache->used) <= rig.cache->limit);
	}
	assert_true(rig.cache->used_peak <= rig.cache->limit);
	assert_int_equal(rig_blocks(rig.object), rig_frames());
}

/* ---- memory without a file ---- */

static void a_page_that_never_was_stored_is_born_as_zeros_without_a_read(void **state)
{
	(void)state;
	assert_int_equal(load_pages(5, 4), 0);
	check_frame(5, 0);
	check_frame(8, 0);
	assert_int_equal(storage.reads, 0);
	assert_int_equal(rig.cache->counters.zero_faults, 4);
}

static void a_page_that_was_stored_is_read(void **state)
{
	(void)state;
	page_flags(object_page(rig.object, 6, NULL), 0, PAGE_STORED);
	assert_int_equal(load_pages(5, 4), 0);
	check_frame(5, 0);
	check_frame(6, storage_byte(6));
	check_frame(7, 0);
	assert_int_equal(storage.reads, 1);
}

/* ---- placing ---- */

struct trial {
	struct placement placement;
	bool can;
	unsigned calls;
	unsigned char byte;
};

static bool try_to_place(struct placement *placement, struct object *object, uint64_t page, const void *bytes)
{
	struct trial *trial = (struct trial *)placement;

	trial->calls++;
	trial->byte = *(const unsigned char *)bytes;
	assert_int_equal(page_state(word_of(object, page)), PAGE_LOADING);
	return trial->can && frames_write(&object->frames, page, 1, bytes) == 0;
}

static int load_placed(uint64_t page, unsigned n, struct trial *trial)
{
	trial->placement.place = try_to_place;
	return object_load(rig.object, page, n, 0, UINT64_MAX, true, &trial->placement);
}

static void a_page_that_comes_alone_is_placed_with_its_bytes(void **state)
{
	struct trial trial = {.can = true};

	(void)state;
	assert_int_equal(load_placed(5, 1, &trial), 0);
	assert_int_equal(trial.calls, 1);
	assert_int_equal(trial.byte, storage_byte(5));
	assert_true(word_of(rig.object, 5) & PAGE_MAPPED);
	/* No mapping has it in truth. */
	page_flags(object_page(rig.object, 5, NULL), PAGE_MAPPED, 0);
}

static void a_page_that_cannot_be_placed_or_does_not_come_alone_gets_a_frame(void **state)
{
	struct trial trial = {.can = false};

	(void)state;
	assert_int_equal(load_placed(5, 1, &trial), 0);
	assert_int_equal(trial.calls, 1);
	assert_int_equal(load_placed(8, 4, &trial), 0);
	assert_int_equal(trial.calls, 1);
	check_frame(5, storage_byte(5));
	check_frame(8, storage_byte(8));
	assert_int_equal(word_of(rig.object, 5) & PAGE_MAPPED, 0);
}

static void a_read_that_fails_places_nothing(void **state)
{
	struct trial trial = {.can = true};

	(void)state;
	storage.read_error = EIO;
	assert_int_equal(load_placed(5, 1, &trial), -EIO);
	assert_int_equal(trial.calls, 0);
	assert_int_equal(word_of(rig.object, 5) & PAGE_MAPPED, 0);
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, make, destroy)
#define ANONYMOUS(name) cmocka_unit_test_setup_teardown(name, make_anonymous, destroy)
#define SMALL(name)     cmocka_unit_test_setup_teardown(name, make_small, destroy)

/* ---- buffers of an object's own ---- */

static void buffers_of_its_own_are_taken_from_the_budget_and_given_back(void **state)
{
	uint64_t before = atomic_load(&rig.cache->used);

	(void)state;
	rig_own_buffers(16, 4);
	assert_int_equal(atomic_load(&rig.cache->used), before + 4 * 16 + 4);
	assert_int_equal(atomic_load(&rig.cache->own_buffer_pages), 4 * 16 + 4);
	assert_int_equal(load_pages(0, 8), 0);
	check_frame(7, storage_byte(7));
	assert_int_equal(atomic_load(&rig.cache->buffers.taken), 0);
	object_unuse(rig.object);
	registry_bury(&rig.registry);
	rig.object = NULL;
	assert_int_equal(atomic_load(&rig.cache->used), before);
	assert_int_equal(atomic_load(&rig.cache->own_buffer_pages), 0);
}

static void buffers_of_its_own_are_fewer_under_a_small_budget(void **state)
{
	struct buffers *buffers;
	unsigned most;

	(void)state;
	assert_int_equal(object_buffers(rig.cache, 128, 64, &buffers, &most), 0);
	assert_true(buffers->total_pages <= 256 / 16);
	assert_true(buffers->runs >= 2);
	assert_int_equal(most, buffers->runs + buffers->singles);
	object_buffers_free(rig.cache, buffers);
}

static void *load_one_more(void *arg)
{
	(void)arg;
	assert_int_equal(load_pages(900, 1), 0);
	return NULL;
}

static void who_waits_for_a_stuck_pager_holds_nothing_that_others_want(void **state)
{
	pthread_t thread;
	uint64_t used;
	unsigned taken;

	(void)state;
	rig_own_buffers(1, 2);
	storage.hold = true;
	/* As many as there are buffers. */
	for (unsigned i = 0; i < 8; i++)
		(void)object_load(rig.object, 100 * i, 1, 0, UINT64_MAX, false, NULL);
	taken = storage.n_held;
	assert_in_range(taken, 2, 4);
	used = atomic_load(&rig.cache->used);
	assert_int_equal(rig_frames(), taken + rig.object->buffers->total_pages);
	assert_int_equal(atomic_load(&rig.cache->buffers.taken), 0);
	assert_int_equal(pthread_create(&thread, NULL, load_one_more, NULL), 0);
	while (atomic_load(&rig.object->buffers->waiters) == 0)
		sched_yield();
	assert_int_equal(atomic_load(&rig.cache->used), used);
	storage_release();
	assert_int_equal(pthread_join(thread, NULL), 0);
	check_frame(900, storage_byte(900));
	check_frame(0, storage_byte(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_loaded_page_has_the_bytes_of_the_storage_and_one_frame),
	    TEST(pages_that_come_along_come_in_one_read),
	    TEST(a_page_that_is_there_is_not_read_again),
	    TEST(what_lies_behind_the_end_in_the_last_page_is_zeros),
	    TEST(a_run_crosses_from_chunk_to_chunk),
	    TEST(the_flags_that_were_asked_for_are_in_the_words_and_the_mark_in_one),
	    TEST(a_mark_splits_no_read_that_nobody_waits_for),
	    TEST(a_mark_is_not_set_on_a_page_that_was_there),
	    TEST(pages_that_lie_apart_come_alone),
	    TEST(pages_that_lie_apart_come_backward),
	    TEST(of_pages_that_lie_apart_those_past_the_end_are_left_out),
	    TEST(pages_that_lie_apart_leave_buffers_to_others),
	    TEST(a_page_that_comes_back_soon_has_proved_useful),
	    TEST(past_the_end_there_is_nothing_to_load),
	    TEST(a_file_that_has_become_shorter_has_no_page_there),
	    TEST(a_read_that_fails_leaves_the_page_absent_and_can_be_tried_again),
	    TEST(a_neighbour_that_cannot_be_read_does_not_fail_the_page_that_was_asked_for),
	    TEST(frames_that_cannot_be_made_leave_the_page_absent),
	    TEST(words_that_cannot_be_made_are_reported),
	    TEST(a_page_that_another_is_loading_is_left_to_him),
	    TEST(a_load_that_is_not_waited_for_goes_on_by_itself),
	    TEST(a_load_that_is_not_waited_for_takes_only_what_room_there_is),
	    TEST(threads_that_load_the_same_pages_read_each_once),
	    SMALL(more_than_fits_is_loaded_by_giving_up_what_came_before),
	    ANONYMOUS(a_page_that_never_was_stored_is_born_as_zeros_without_a_read),
	    ANONYMOUS(a_page_that_was_stored_is_read),
	    TEST(a_page_that_comes_alone_is_placed_with_its_bytes),
	    TEST(a_page_that_cannot_be_placed_or_does_not_come_alone_gets_a_frame),
	    TEST(a_read_that_fails_places_nothing),
	    TEST(buffers_of_its_own_are_taken_from_the_budget_and_given_back),
	    SMALL(buffers_of_its_own_are_fewer_under_a_small_budget),
	    TEST(who_waits_for_a_stuck_pager_holds_nothing_that_others_want),
	};

	return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
