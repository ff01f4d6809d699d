/* SPDX-License-Identifier: MIT */
#include <sched.h>
/*
 * test-writeback.c - dirty pages, how they are written, and the daemon that does it in time
 */
#include <pthread.h>

#include "object/flusher.h"
#include "rig.h"

#define LIMIT      4096
#define PAGES      1000
#define TAIL       100 /* bytes of the last page */
#define DEADLOCK_S 30

static int make(void **state)
{
	(void)state;
	alarm(DEADLOCK_S);
	if (rig_make(LIMIT, OBJECT_FILE, ((uint64_t)(PAGES - 1) << page_shift) + TAIL) < 0)
		return -1;
	for (unsigned i = 0; i < PAGES; i += 8)
		if (load_pages(i, 8) < 0)
			return -1;
	atomic_store(&storage.reads, 0);
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	alarm(0);
	return rig_end();
}

static int flush(void)
{
	return object_flush(rig.object, 0, UINT64_MAX);
}

static int sync_all(void)
{
	return object_sync(rig.object, 0, UINT64_MAX);
}

static bool is_dirty(uint64_t page)
{
	return word_of(rig.object, page) & PAGE_DIRTY;
}

/* ---- counting ---- */

static void a_page_counts_as_dirty_once_and_as_clean_once(void **state)
{
	struct chunk *chunk = chunk_of(rig.object, 5);

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		writeback_note_dirty(chunk, &chunk->page[5]);
	assert_int_equal(chunk_dirty(chunk), 1);
	assert_int_equal(rig.cache->dirty_pages, 1);
	assert_int_not_equal(chunk->dirty_since, 0);
	for (unsigned i = 0; i < 2; i++)
		writeback_note_clean(chunk, &chunk->page[5]);
	assert_int_equal(chunk_dirty(chunk), 0);
	assert_int_equal(rig.cache->dirty_pages, 0);
	assert_int_equal(chunk->dirty_since, 0);
}

/* ---- writing ---- */

static void a_flush_writes_what_is_dirty_and_leaves_it_clean(void **state)
{
	(void)state;
	store_page(5, 'x');
	assert_int_equal(flush(), 0);
	check_storage(5, 'x');
	check_storage(6, storage_byte(6));
	assert_false(is_dirty(5));
	assert_true(word_of(rig.object, 5) & PAGE_STORED);
	assert_int_equal(word_of(rig.object, 5) & PAGE_WRITING, 0);
	assert_int_equal(rig.cache->dirty_pages, 0);
	assert_int_equal(storage.writes, 1);
	check_frame(5, 'x');
}

static void nothing_is_written_where_nothing_is_dirty(void **state)
{
	(void)state;
	assert_int_equal(flush(), 0);
	assert_int_equal(storage.writes, 0);
}

static void neighbours_are_written_together_and_others_apart(void **state)
{
	(void)state;
	for (unsigned i = 10; i < 14; i++)
		store_page(i, (unsigned char)i);
	store_page(20, 20);
	assert_int_equal(flush(), 0);
	assert_int_equal(storage.writes, 2);
	for (unsigned i = 10; i < 14; i++)
		check_storage(i, (unsigned char)i);
	check_storage(20, 20);
	check_storage(14, storage_byte(14));
}

static void a_flush_of_a_range_leaves_the_rest_dirty(void **state)
{
	(void)state;
	for (unsigned i = 10; i < 14; i++)
		store_page(i, 'x');
	assert_int_equal(object_flush(rig.object, 11, 13), 0);
	assert_true(is_dirty(10));
	assert_false(is_dirty(11));
	assert_false(is_dirty(12));
	assert_true(is_dirty(13));
	assert_int_equal(flush(), 0);
}

static void everything_dirty_is_written_whatever_chunk_it_is_in(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PAGES - 1; i += 3)
		store_page(i, 'y');
	assert_int_equal(flush(), 0);
	for (unsigned i = 0; i < PAGES - 1; i++)
		check_storage(i, i % 3 == 0 ? 'y' : storage_byte(i));
	assert_int_equal(rig.cache->dirty_pages, 0);
}

static void the_last_page_is_written_up_to_the_end_of_the_file_and_no_further(void **state)
{
	char *last = storage.bytes + ((uint64_t)(PAGES - 1) << page_shift);

	(void)state;
	store_page(PAGES - 1, 'z');
	assert_int_equal(flush(), 0);
	assert_int_equal(storage.last_len, TAIL);
	assert_int_equal(last[TAIL - 1], 'z');
	assert_int_equal((unsigned char)last[TAIL], storage_byte(PAGES - 1));
}

static void pages_past_the_end_of_a_file_that_was_cut_are_not_written(void **state)
{
	(void)state;
	store_page(5, 'x');
	store_page(50, 'x');
	storage.size = 10 << page_shift;
	assert_int_equal(flush(), 0);
	check_storage(5, 'x');
	check_storage(50, storage_byte(50));
	assert_int_equal(rig.object->pages, 10);
}

static void idle_only_leaves_what_is_mapped(void **state)
{
	(void)state;
	store_page(5, 'x');
	store_page(6, 'x');
	page_flags(object_page(rig.object, 5, NULL), 0, PAGE_MAPPED);
	assert_int_equal(object_write(rig.object, 0, UINT64_MAX, true, NULL), 1);
	assert_false(object_wait_written(rig.object, 6, 7));
	assert_true(is_dirty(5));
	page_flags(object_page(rig.object, 5, NULL), PAGE_MAPPED, 0);
	assert_int_equal(flush(), 0);
	check_storage(5, 'x');
}

/* ---- while a write is under way ---- */

static void a_page_that_is_being_written_keeps_its_frame_and_is_not_written_twice(void **state)
{
	struct chunk_set set = {{0}};

	(void)state;
	chunk_set_add(&set, 5);
	storage.hold = true;
	store_page(5, 'x');
	assert_int_equal(object_write(rig.object, 0, UINT64_MAX, false, NULL), 1);
	assert_true(word_of(rig.object, 5) & PAGE_WRITING);
	assert_int_equal(object_write(rig.object, 0, UINT64_MAX, false, NULL), 0);
	assert_int_equal(object_evict(chunk_of(rig.object, 5), &set), 0);
	storage_release();
	assert_int_equal(storage.writes, 1);
	assert_int_equal(word_of(rig.object, 5) & PAGE_WRITING, 0);
	assert_int_equal(object_evict(chunk_of(rig.object, 5), &set), 1);
}

static void a_store_during_the_write_is_not_taken_for_written(void **state)
{
	(void)state;
	storage.hold = true;
	store_page(5, 'x');
	object_write(rig.object, 0, UINT64_MAX, false, NULL);
	store_page(5, 'y');
	storage_release();
	check_storage(5, 'x');
	assert_true(is_dirty(5));
	assert_int_equal(flush(), 0);
	check_storage(5, 'y');
}

static void *release_main(void *arg)
{
	(void)arg;
	usleep(20000);
	storage_release();
	return NULL;
}

static void a_flush_waits_for_writes_that_others_have_begun(void **state)
{
	pthread_t thread;

	(void)state;
	storage.hold = true;
	store_page(5, 'x');
	object_write(rig.object, 0, UINT64_MAX, false, NULL);
	assert_int_equal(pthread_create(&thread, NULL, release_main, NULL), 0);
	assert_int_equal(flush(), 0);
	check_storage(5, 'x');
	assert_int_equal(word_of(rig.object, 5) & (PAGE_WRITING | PAGE_DIRTY), 0);
	pthread_join(thread, NULL);
}

static void a_flush_tries_again_what_another_could_not_write(void **state)
{
	pthread_t thread;

	(void)state;
	storage.hold = true;
	storage.write_error = EIO;
	store_page(5, 'x');
	object_write(rig.object, 0, UINT64_MAX, false, NULL);
	assert_int_equal(pthread_create(&thread, NULL, release_main, NULL), 0);
	assert_int_equal(flush(), -EIO);
	pthread_join(thread, NULL);
	assert_true(is_dirty(5));
	storage.write_error = 0;
	assert_int_equal(flush(), 0);
}

/* ---- failures ---- */

static void a_write_that_fails_leaves_the_pages_dirty_and_the_next_one_succeeds(void **state)
{
	(void)state;
	storage.write_error = ENOSPC;
	store_page(5, 'x');
	store_page(6, 'y');
	assert_int_equal(flush(), -ENOSPC);
	assert_true(is_dirty(5) && is_dirty(6));
	assert_int_equal(rig.cache->dirty_pages, 2);
	assert_int_equal(word_of(rig.object, 5) & (PAGE_STORED | PAGE_WRITING), 0);
	assert_int_equal(rig.cache->counters.writeback_errors, 1);
	storage.write_error = 0;
	assert_int_equal(flush(), 0);
	check_storage(5, 'x');
	check_storage(6, 'y');
}

static void an_error_that_nobody_waited_for_is_told_by_the_next_sync_once(void **state)
{
	(void)state;
	storage.write_error = EIO;
	store_page(5, 'x');
	object_write(rig.object, 0, UINT64_MAX, false, NULL);
	storage.write_error = 0;
	assert_int_equal(sync_all(), -EIO);
	check_storage(5, 'x');
	assert_int_equal(sync_all(), 0);
}

/* The kernel tells the failure once and counts what it could not keep as written. */
static void lose_page_5(void)
{
	memset(storage.bytes + (5 << page_shift), 0, rig.page);
}

static void after_a_sync_that_fails_everything_is_dirty_again_and_the_next_one_writes_it(void **state)
{
	(void)state;
	store_page(5, 'x');
	storage.sync_error = EIO;
	assert_int_equal(sync_all(), -EIO);
	assert_true(is_dirty(5));
	lose_page_5();
	storage.sync_error = 0;
	assert_int_equal(sync_all(), 0);
	check_storage(5, 'x');
}

static void a_sync_that_runs_out_of_space_leaves_everything_dirty_too(void **state)
{
	(void)state;
	store_page(5, 'x');
	storage.sync_error = ENOSPC;
	assert_int_equal(sync_all(), -ENOSPC);
	assert_true(is_dirty(5));
	lose_page_5();
	storage.sync_error = 0;
	assert_int_equal(sync_all(), 0);
	check_storage(5, 'x');
}

static void a_sync_after_a_full_disk_succeeds_when_there_is_room(void **state)
{
	(void)state;
	storage.write_error = ENOSPC;
	store_page(5, 'x');
	assert_int_equal(sync_all(), -ENOSPC);
	storage.write_error = 0;
	assert_int_equal(sync_all(), 0);
	assert_int_equal(sync_all(), 0);
	check_storage(5, 'x');
}

static void after_a_sync_of_a_range_that_fails_what_was_written_elsewhere_is_dirty_too(void **state)
{
	(void)state;
	store_page(5, 'x');
	store_page(700, 'y');
	assert_int_equal(flush(), 0);
	assert_false(is_dirty(5) || is_dirty(700));
	storage.sync_error = ENOSPC;
	assert_int_equal(object_sync(rig.object, 5, 6), -ENOSPC);
	assert_true(is_dirty(5) && is_dirty(700));
	assert_false(is_dirty(6));
	assert_int_equal(rig.cache->dirty_pages, 2);
	lose_page_5();
	memset(storage.bytes + (700 << page_shift), 0, rig.page);
	storage.sync_error = 0;
	assert_int_equal(sync_all(), 0);
	check_storage(5, 'x');
	check_storage(700, 'y');
}

static void evict_page(uint64_t page)
{
	struct chunk_set set = {{0}};

	chunk_set_add(&set, (unsigned)(page % CHUNK_PAGES));
	assert_int_equal(object_evict(chunk_of(rig.object, page), &set), 1);
}

static void a_mark_of_a_page_without_a_frame_is_dropped(void **state)
{
	struct chunk *chunk = chunk_of(rig.object, 5);

	(void)state;
	evict_page(5);
	writeback_note_dirty(chunk, &chunk->page[5]);
	store_page(6, 'x');
	assert_int_equal(flush(), 0);
	assert_false(is_dirty(5));
	assert_int_equal(chunk_dirty(chunk), 0);
	assert_int_equal(rig.cache->dirty_pages, 0);
	check_storage(5, storage_byte(5));
	check_storage(6, 'x');
}

/* ---- cutting ---- */

/* The storage's part of a cut to 5 pages and some bytes; it fails. */
static int refuse_to_cut(void *arg)
{
	unsigned *begun = arg;

	assert_int_equal(load_pages(5, 1), 0);
	check_frame(5, storage_byte(5));
	store_page(5, 'e');
	*begun = object_write(rig.object, 5, UINT64_MAX, false, NULL);
	return -EIO;
}

static void a_cut_that_fails_has_shown_lost_and_written_nothing(void **state)
{
	unsigned begun = 1;

	(void)state;
	store_page(4, 'd');
	store_page(6, 'f');
	store_page(700, 'g');
	evict_page(5);
	assert_int_equal(object_truncate(rig.object, (5 << page_shift) + 50, refuse_to_cut, &begun), -EIO);
	assert_int_equal(begun, 0);
	assert_int_equal(storage.writes, 0);
	assert_true(is_dirty(4) && is_dirty(5) && is_dirty(6) && is_dirty(700));
	assert_int_equal(rig.object->bytes, storage.size);
	assert_int_equal(rig.object->pages, PAGES);
	assert_int_equal(flush(), 0);
	check_storage(4, 'd');
	check_storage(5, 'e');
	check_storage(6, 'f');
	check_storage(700, 'g');
	check_storage(7, storage_byte(7));
	assert_int_equal(rig.cache->dirty_pages, 0);
}

/* ---- all objects, and the daemon ---- */

static void writing_all_flushes_every_file_and_tells_the_first_error(void **state)
{
	(void)state;
	store_page(5, 'x');
	storage.write_error = EIO;
	assert_int_equal(writeback_all(&rig.registry), -EIO);
	storage.write_error = 0;
	assert_int_equal(writeback_all(&rig.registry), 0);
	check_storage(5, 'x');
	assert_int_equal(rig.object->refs, 1);
}

static void wait_for(unsigned writes)
{
	for (unsigned i = 0; i < 5000 && atomic_load(&storage.writes) < writes; i++)
		usleep(1000);
	assert_true(atomic_load(&storage.writes) >= writes);
}

static void the_daemon_writes_pages_of_some_age(void **state)
{
	struct flusher flusher = {0};

	(void)state;
	store_page(5, 'x');
	assert_int_equal(flusher_start(&flusher, &rig.registry, rig.cache, 20), 0);
	wait_for(1);
	flusher_stop(&flusher);
	flusher_stop(&flusher);
	assert_false(object_wait_written(rig.object, 0, UINT64_MAX));
	check_storage(5, 'x');
}

static void the_daemon_leaves_young_pages(void **state)
{
	struct flusher flusher = {0};

	(void)state;
	store_page(5, 'x');
	assert_int_equal(flusher_start(&flusher, &rig.registry, rig.cache, 3600000), 0);
	usleep(700000);
	flusher_stop(&flusher);
	assert_int_equal(storage.writes, 0);
	assert_true(is_dirty(5));
	assert_int_equal(flush(), 0);
}

static void the_daemon_writes_dirty_pages_that_have_lost_their_time(void **state)
{
	struct flusher flusher = {0};

	(void)state;
	store_page(5, 'x');
	atomic_store(&chunk_of(rig.object, 5)->dirty_since, 0);
	assert_int_equal(flusher_start(&flusher, &rig.registry, rig.cache, 20), 0);
	wait_for(1);
	flusher_stop(&flusher);
	assert_false(object_wait_written(rig.object, 0, UINT64_MAX));
	check_storage(5, 'x');
}

static void an_object_that_nobody_maps_is_tried_until_it_is_written_and_then_gone(void **state)
{
	struct flusher flusher = {0};
	bool gone = false;

	(void)state;
	storage.write_error = EIO;
	store_page(5, 'x');
	writeback_adopt(rig.object);
	rig.object = NULL;
	assert_int_equal(flusher_start(&flusher, &rig.registry, rig.cache, 20), 0);
	wait_for(2);
	assert_int_equal(rig.registry.count, 1);
	storage.write_error = 0;
	for (unsigned i = 0; i < 5000 && !gone; i++) {
		usleep(1000);
		lock_acquire(&rig.registry.lock);
		gone = rig.registry.count == 0;
		lock_release(&rig.registry.lock);
	}
	assert_true(gone);
	flusher_stop(&flusher);
	check_storage(5, 'x');
}

static void the_daemon_waits_for_no_pager_that_may_be_stuck(void **state)
{
	struct flusher flusher = {0};
	bool gone = false;

	(void)state;
	rig_own_buffers(4, 4);
	assert_int_equal(load_pages(0, 100), 0);
	for (unsigned i = 0; i < 100; i += 10)
		store_page(i, 'x');
	storage.hold = true;
	writeback_adopt(rig.object);
	rig.object = NULL;
	assert_int_equal(flusher_start(&flusher, &rig.registry, rig.cache, 20), 0);
	while (*(volatile unsigned *)&storage.n_held == 0)
		sched_yield();
	/* It can be stopped, so it is not waiting. */
	flusher_stop(&flusher);
	assert_int_equal(rig.registry.count, 1);
	storage_release();
	flusher = (struct flusher){0};
	assert_int_equal(flusher_start(&flusher, &rig.registry, rig.cache, 20), 0);
	while (!gone) {
		sched_yield();
		lock_acquire(&rig.registry.lock);
		gone = rig.registry.count == 0;
		lock_release(&rig.registry.lock);
	}
	flusher_stop(&flusher);
	for (unsigned i = 0; i < 100; i += 10)
		check_storage(i, 'x');
}

static void at_the_end_a_pager_of_its_own_is_flushed_as_others_are(void **state)
{
	(void)state;
	rig_own_buffers(4, 4);
	assert_int_equal(load_pages(0, 100), 0);
	for (unsigned i = 0; i < 100; i += 10)
		store_page(i, 'x');
	assert_int_equal(writeback_all(&rig.registry), 0);
	for (unsigned i = 0; i < 100; i += 10)
		check_storage(i, 'x');
	store_page(0, 'y');
	storage.write_error = ENOSPC;
	assert_int_equal(writeback_all(&rig.registry), -ENOSPC);
	storage.write_error = 0;
	assert_int_equal(writeback_all(&rig.registry), 0);
	check_storage(0, 'y');
}

/* ---- frames that do not go ---- */

/* The memfd's number is another file's. */
static void lose_frames(void)
{
	rig.object->frames.identity.ino ^= 1;
}

static void a_hole_that_leaves_pages_as_they_are_is_an_error(void **state)
{
	(void)state;
	store_page(5, 'x');
	lose_frames();
	assert_int_equal(object_discard(rig.object, 4, 8), -EBADF);
	lose_frames();
	check_frame(5, 'x');
	assert_true(is_dirty(5));
	assert_int_equal(object_discard(rig.object, 4, 8), 0);
	for (unsigned i = 4; i < 8; i++) {
		assert_int_equal(page_state(word_of(rig.object, i)), PAGE_ABSENT);
		check_storage(i, 0);
	}
	assert_int_equal(rig_frames(), PAGES - 4);
}

static int cut_storage(void *arg)
{
	storage.size = *(uint64_t *)arg;
	return 0;
}

static void a_cut_that_leaves_frames_as_they_are_has_not_happened(void **state)
{
	uint64_t before = storage.size, bytes = (10u << page_shift) + TAIL;

	(void)state;
	store_page(11, 'x');
	lose_frames();
	assert_int_equal(object_truncate(rig.object, bytes, cut_storage, &bytes), -EBADF);
	lose_frames();
	assert_int_equal(storage.size, before);
	assert_int_equal(rig.object->bytes, before);
	check_frame(11, 'x');
	assert_true(is_dirty(11));
	assert_int_equal(object_truncate(rig.object, bytes, cut_storage, &bytes), 0);
	assert_int_equal(rig_frames(), 11);
}

/* ---- memory with a size of its own ---- */

static int make_memory(void **state)
{
	(void)state;
	alarm(DEADLOCK_S);
	return rig_make(1024, OBJECT_ANON, (uint64_t)PAGES << page_shift);
}

/*
 * It was cut inside of a page that is out, which has to come in first, so that it can be cut. There is room when others are out, which have
 * to be written: by who has the size of this very object in his hands.
 */
static void room_for_the_page_that_a_cut_goes_through_is_made_by_writing_others(void **state)
{
	uint64_t page = 11;

	(void)state;
	assert_int_equal(load_pages(10, 1), 0);
	store_page(10, 'x');
	object_drop(rig.object, 10, 11, true);
	assert_int_equal(page_state(word_of(rig.object, 10)), PAGE_ABSENT);
	while (budget_try(rig.cache, 1)) {
		budget_release(rig.cache, 1);
		assert_true(page < PAGES);
		assert_int_equal(load_pages(page, 1), 0);
		store_page(page++, 'y');
	}
	storage.size = (10u << page_shift) + TAIL;
	assert_int_equal(object_refresh_size(rig.object), 0);
	assert_int_equal(rig.object->bytes, storage.size);
	assert_int_equal(frames_read(&rig.object->frames, 10, 1, rig.buf), 0);
	for (size_t i = 0; i < rig.page; i++)
		assert_int_equal(rig.buf[i], i < TAIL ? 'x' : 0);
	assert_int_equal(rig_frames(), 1);
}

static void a_cut_through_memory_that_cannot_be_read_has_not_happened(void **state)
{
	uint64_t before = storage.size, bytes = (10u << page_shift) + TAIL;

	(void)state;
	for (unsigned i = 10; i < 12; i++) {
		assert_int_equal(load_pages(i, 1), 0);
		store_page(i, 'x');
	}
	object_drop(rig.object, 10, 11, true);
	storage.bad_page = 10;
	assert_int_equal(object_truncate(rig.object, bytes, cut_storage, &bytes), -EIO);
	assert_int_equal(storage.size, before);
	assert_int_equal(rig.object->bytes, before);
	assert_int_equal(rig.object->pages, PAGES);
	check_frame(11, 'x');
	storage.bad_page = UINT64_MAX;
	assert_int_equal(object_truncate(rig.object, bytes, cut_storage, &bytes), 0);
	assert_int_equal(storage.size, bytes);
	assert_int_equal(rig.object->bytes, bytes);
	assert_int_equal(frames_read(&rig.object->frames, 10, 1, rig.buf), 0);
	for (size_t i = 0; i < rig.page; i++)
		assert_int_equal(rig.buf[i], i < TAIL ? 'x' : 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_page_counts_as_dirty_once_and_as_clean_once),
	    TEST(a_flush_writes_what_is_dirty_and_leaves_it_clean),
	    TEST(nothing_is_written_where_nothing_is_dirty),
	    TEST(neighbours_are_written_together_and_others_apart),
	    TEST(a_flush_of_a_range_leaves_the_rest_dirty),
	    TEST(everything_dirty_is_written_whatever_chunk_it_is_in),
	    TEST(the_last_page_is_written_up_to_the_end_of_the_file_and_no_further),
	    TEST(pages_past_the_end_of_a_file_that_was_cut_are_not_written),
	    TEST(idle_only_leaves_what_is_mapped),
	    TEST(a_page_that_is_being_written_keeps_its_frame_and_is_not_written_twice),
	    TEST(a_store_during_the_write_is_not_taken_for_written),
	    TEST(a_flush_waits_for_writes_that_others_have_begun),
	    TEST(a_flush_tries_again_what_another_could_not_write),
	    TEST(a_write_that_fails_leaves_the_pages_dirty_and_the_next_one_succeeds),
	    TEST(an_error_that_nobody_waited_for_is_told_by_the_next_sync_once),
	    TEST(after_a_sync_that_fails_everything_is_dirty_again_and_the_next_one_writes_it),
	    TEST(a_sync_that_runs_out_of_space_leaves_everything_dirty_too),
	    TEST(a_sync_after_a_full_disk_succeeds_when_there_is_room),
	    TEST(after_a_sync_of_a_range_that_fails_what_was_written_elsewhere_is_dirty_too),
	    TEST(a_mark_of_a_page_without_a_frame_is_dropped),
	    TEST(a_cut_that_fails_has_shown_lost_and_written_nothing),
	    TEST(writing_all_flushes_every_file_and_tells_the_first_error),
	    TEST(the_daemon_writes_pages_of_some_age),
	    TEST(the_daemon_leaves_young_pages),
	    TEST(the_daemon_writes_dirty_pages_that_have_lost_their_time),
	    TEST(the_daemon_waits_for_no_pager_that_may_be_stuck),
	    TEST(at_the_end_a_pager_of_its_own_is_flushed_as_others_are),
	    TEST(an_object_that_nobody_maps_is_tried_until_it_is_written_and_then_gone),
	    TEST(a_hole_that_leaves_pages_as_they_are_is_an_error),
	    TEST(a_cut_that_leaves_frames_as_they_are_has_not_happened),
	    cmocka_unit_test_setup_teardown(a_cut_through_memory_that_cannot_be_read_has_not_happened, make_memory, destroy),
	    cmocka_unit_test_setup_teardown(room_for_the_page_that_a_cut_goes_through_is_made_by_writing_others, make_memory,
					    destroy),
	};

	return cmocka_run_group_tests_name("writeback", tests, NULL, NULL);
}
