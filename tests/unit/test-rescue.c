/* SPDX-License-Identifier: MIT */
/*
 * test-rescue.c - what was stored and is not in its file, at each instant at which the threads of a process may have died
 *
 * The frames have the bytes of the rig's storage, and the file, which takes its place, has zeros: so each page that is written shows.
 */
#include <fcntl.h>

#include "object/rescue.h"
#include "pager/file.h"
#include "rig.h"

#define LIMIT  4096
#define PAGES  200
#define MAPPED 16

static struct pmap pmap;
static struct view view;
static struct pager *file_pager;
static char path[64];
static int fd;
static unsigned losses;
static int last_loss;
static char rescue_buffer[8 * 65536] __attribute__((aligned(65536)));

static void read_done(struct pager_request *request)
{
	(void)request;
}

/* A transfer opens its descriptions. */
static int open_file(void)
{
	struct pager_request request = {.op = PAGER_READ, .len = rig.page, .buf = rescue_buffer, .done = read_done};

	strcpy(path, "/var/tmp/quire-rescue-XXXXXX");
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, (off_t)(PAGES * rig.page)) < 0 ||
	    file_pager_open(NULL, fd, true, false, false, &file_pager) < 0)
		return -1;
	file_pager->ops->run(file_pager, &request);
	return request.ret_error ? -1 : 0;
}

static int make(void **state)
{
	(void)state;
	losses = 0;
	if (rig_make(LIMIT, OBJECT_FILE, (uint64_t)PAGES << page_shift) < 0 || load_pages(0, MAPPED) < 0 || open_file() < 0)
		return -1;
	rig.object->pager = file_pager;
	rig.object->writable = true;
	view = (struct view){0};
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	if (view.addr) {
		rwlock_write_acquire(&rig.cache->map_lock);
		object_remove_view(rig.object, &view);
		rwlock_write_release(&rig.cache->map_lock);
		munmap(view.addr, view.pages << page_shift);
		pmap_destroy(&pmap);
	}
	rig.object->pager = &storage.pager;
	file_pager->ops->close(file_pager);
	close(fd);
	unlink(path);
	return rig_end();
}

/* The first pages, mapped and entered. Skips where the kernel does not track. */
static void map_pages(void)
{
	char *addr = mmap(NULL, MAPPED * rig.page, PROT_READ | PROT_WRITE, MAP_SHARED, rig.object->frames.fd, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	assert_int_equal(pmap_create(source_or_skip(0), true, true, &pmap), 0);
	guard();
	assert_int_equal(pmap_register(&pmap, addr, MAPPED * rig.page, true, true), 0);
	view = (struct view){.pmap = &pmap, .addr = addr, .pages = MAPPED, .tracked = true};
	rwlock_write_acquire(&rig.cache->map_lock);
	object_add_view(rig.object, &view);
	rwlock_write_release(&rig.cache->map_lock);
	if (!pmap.tracks)
		skip();
	assert_int_equal(pmap_enter(&pmap, addr, MAPPED, true), 0);
	for (unsigned i = 0; i < MAPPED; i++)
		page_flags(object_page(rig.object, i, NULL), 0, PAGE_MAPPED);
}

static void lost(const struct rescue *rescue, const struct object *object, int of, int error)
{
	(void)rescue;
	(void)object;
	(void)of;
	losses++;
	last_loss = error;
}

static void rescue(void)
{
	struct rescue r = {.buffer = rescue_buffer, .pages = 8, .lost = lost, .pagemap = -1};

	rescue_all(&r, &rig.registry);
}

static page_word *word(unsigned page)
{
	return object_page(rig.object, page, NULL);
}

/* Whether the page in the file is the frame's, or zeros still; anything else is a mistake. */
static bool is_written(unsigned page)
{
	unsigned char byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)(page * rig.page + 100)), 1);
	assert_true(byte == 0 || byte == storage_byte(page));
	return byte != 0;
}

static void only_written(unsigned a, unsigned b)
{
	for (unsigned i = 0; i < MAPPED; i++)
		assert_int_equal(is_written(i), i == a || i == b);
	assert_int_equal(losses, 0);
}

static void dirty_pages_and_those_on_their_way_are_written_and_no_others(void **state)
{
	(void)state;
	page_flags(word(3), 0, PAGE_DIRTY);
	page_flags(word(9), 0, PAGE_WRITING);
	rescue();
	page_flags(word(3), PAGE_DIRTY, 0);
	page_flags(word(9), PAGE_WRITING, 0);
	only_written(3, 9);
}

static void a_store_that_only_the_kernel_knows_of_is_written(void **state)
{
	(void)state;
	map_pages();
	*(volatile char *)(view.addr + 5 * rig.page) = 1;
	rescue();
	page_flags(word(5), PAGE_DIRTY, 0);
	only_written(5, 5);
}

static void a_store_that_a_harvest_has_taken_and_not_told_is_written(void **state)
{
	struct taking taking = {.view = &view};

	(void)state;
	map_pages();
	taking.taken.runs[2] =
	    (struct pagemap_run){.start = (uintptr_t)view.addr + 7 * rig.page, .end = (uintptr_t)view.addr + 9 * rig.page};
	atomic_store(&rig.object->taking, &taking);
	rescue();
	atomic_store(&rig.object->taking, NULL);
	page_flags(word(7), PAGE_DIRTY, 0);
	page_flags(word(8), PAGE_DIRTY, 0);
	only_written(7, 8);
}

static struct pagemap_taken *seen_taken;
static unsigned seen_runs;

/* What the kernel has told is there for others until it has been handled. */
static void note_seen(void *arg, void *addr, size_t pages)
{
	(void)arg;
	(void)pages;
	for (unsigned i = 0; i < PAGEMAP_RUNS; i++)
		seen_runs += seen_taken->runs[i].start == (uintptr_t)addr;
}

static void what_a_harvest_takes_is_in_its_record_until_it_is_told(void **state)
{
	struct pagemap_taken taken = {0};

	(void)state;
	map_pages();
	*(volatile char *)(view.addr + 2 * rig.page) = 1;
	*(volatile char *)(view.addr + 6 * rig.page) = 1;
	seen_taken = &taken;
	seen_runs = 0;
	assert_int_equal(pagemap_take_written(pmap.pagemap, view.addr, MAPPED, &taken, note_seen, NULL), 0);
	assert_int_equal(seen_runs, 2);
	for (unsigned i = 0; i < PAGEMAP_RUNS; i++)
		assert_int_equal(taken.runs[i].start, 0);
}

/* Between the unmapping and the settling of the words: page 4 was stored to, and 5 was not. */
static void a_store_that_an_unmapping_has_not_told_is_written(void **state)
{
	struct chunk *chunk;
	struct chunk_set mapped = {{0}}, dirty = {{0}};
	struct leaving leaving = {.mapped = &mapped, .dirty = &dirty, .from = 4, .end = 6};

	(void)state;
	map_pages();
	(void)object_page(rig.object, 0, &chunk);
	leaving.chunk = chunk;
	leaving.pagemap = pmap.pagemap;
	leaving.addr = view.addr + 4 * rig.page;
	*(volatile char *)(view.addr + 4 * rig.page) = 1;
	for (unsigned i = 4; i < 6; i++) {
		assert_true(page_take(word(i), PAGE_RESIDENT, PAGE_HELD));
		chunk_set_add(&mapped, i);
	}
	assert_int_equal(pagemap_there(pmap.pagemap, leaving.addr, 2, leaving.present), 0);
	atomic_store(&leaving.unmaps, true);
	assert_int_equal(pmap_remove(&pmap, leaving.addr, 2), 0);
	chunk_set_add(&dirty, 11);
	atomic_store(&rig.object->leaving, &leaving);
	rescue();
	atomic_store(&rig.object->leaving, NULL);
	for (unsigned i = 4; i < 6; i++)
		page_settle(word(i), PAGE_RESIDENT, PAGE_DIRTY | PAGE_MAPPED, 0);
	page_flags(word(11), PAGE_DIRTY, 0);
	only_written(4, 11);
}

/* It was mapped with the making of its frame, stored to and harvested before its word was settled. */
static void a_store_that_a_harvest_has_told_of_a_page_on_its_way_in_is_written(void **state)
{
	(void)state;
	map_pages();
	assert_true(page_take(word(5), PAGE_RESIDENT, PAGE_LOADING));
	*(volatile char *)(view.addr + 5 * rig.page) = 1;
	assert_int_equal(object_harvest(rig.object, 0, MAPPED), 0);
	rescue();
	page_settle(word(5), PAGE_RESIDENT, PAGE_DIRTY, 0);
	only_written(5, 5);
}

static void a_page_on_its_way_in_is_not_written(void **state)
{
	(void)state;
	assert_true(page_take(word(MAPPED), PAGE_ABSENT, PAGE_LOADING));
	page_flags(word(MAPPED), 0, PAGE_DIRTY);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)(MAPPED * rig.page)), 1);
	rescue();
	page_settle(word(MAPPED), PAGE_ABSENT, PAGE_DIRTY, 0);
	assert_int_equal(pread(fd, rescue_buffer, 1, (off_t)(MAPPED * rig.page)), 1);
	assert_int_equal(rescue_buffer[0], 'x');
	only_written(UINT32_MAX, UINT32_MAX);
}

static void a_held_page_whose_frame_is_gone_is_not_written(void **state)
{
	(void)state;
	page_flags(word(2), 0, PAGE_DIRTY);
	assert_true(page_take(word(2), PAGE_RESIDENT, PAGE_HELD));
	assert_int_equal(frames_free(&rig.object->frames, 2, 1), 0);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)(2 * rig.page)), 1);
	rescue();
	assert_int_equal(frames_write(&rig.object->frames, 2, 1, rescue_buffer), 0);
	page_settle(word(2), PAGE_RESIDENT, PAGE_DIRTY, 0);
	assert_int_equal(pread(fd, rescue_buffer, 1, (off_t)(2 * rig.page)), 1);
	assert_int_equal(rescue_buffer[0], 'x');
}

static void nothing_is_written_past_the_end_of_the_file(void **state)
{
	struct stat st;

	(void)state;
	page_flags(word(3), 0, PAGE_DIRTY);
	page_flags(word(5), 0, PAGE_DIRTY);
	assert_int_equal(ftruncate(fd, (off_t)(3 * rig.page + 200)), 0);
	rescue();
	page_flags(word(3), PAGE_DIRTY, 0);
	page_flags(word(5), PAGE_DIRTY, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 3 * rig.page + 200);
	assert_true(is_written(3));
}

static void nothing_is_written_past_the_end_from_which_the_object_is_growing(void **state)
{
	unsigned char byte;

	(void)state;
	page_flags(word(3), 0, PAGE_DIRTY);
	page_flags(word(4), 0, PAGE_DIRTY);
	atomic_store(&rig.object->growing_from, 3 * rig.page + 200);
	rescue();
	atomic_store(&rig.object->growing_from, UINT64_MAX);
	page_flags(word(3), PAGE_DIRTY, 0);
	page_flags(word(4), PAGE_DIRTY, 0);
	only_written(3, 3);
	assert_int_equal(pread(fd, &byte, 1, (off_t)(3 * rig.page + 200)), 1);
	assert_int_equal(byte, 0);
}

static void what_only_the_program_can_write_is_told(void **state)
{
	(void)state;
	page_flags(word(3), 0, PAGE_DIRTY);
	rig.object->pager = &storage.pager;
	rescue();
	rig.object->pager = file_pager;
	page_flags(word(3), PAGE_DIRTY, 0);
	assert_int_equal(losses, 1);
	assert_int_equal(last_loss, EOPNOTSUPP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(dirty_pages_and_those_on_their_way_are_written_and_no_others),
	    TEST(a_store_that_only_the_kernel_knows_of_is_written),
	    TEST(a_store_that_a_harvest_has_taken_and_not_told_is_written),
	    TEST(what_a_harvest_takes_is_in_its_record_until_it_is_told),
	    TEST(a_store_that_an_unmapping_has_not_told_is_written),
	    TEST(a_store_that_a_harvest_has_told_of_a_page_on_its_way_in_is_written),
	    TEST(a_page_on_its_way_in_is_not_written),
	    TEST(a_held_page_whose_frame_is_gone_is_not_written),
	    TEST(nothing_is_written_past_the_end_of_the_file),
	    TEST(nothing_is_written_past_the_end_from_which_the_object_is_growing),
	    TEST(what_only_the_program_can_write_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
