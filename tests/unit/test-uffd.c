/* SPDX-License-Identifier: MIT */
/*
 * test-uffd.c - what the engine relies on of userfaultfd
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "guarded.h"
#include "sys/frames.h"
#include "sys/identity.h"
#include "sys/page_size.h"
#include "sys/uffd.h"

#define PAGES      8
#define DEADLOCK_S 30

struct fixture {
	size_t page;
	int fd;               /* userfaultfd, faults raise SIGBUS */
	struct frames frames; /* a memfd of PAGES pages, the first two there: full of 'f' */
	char *source;         /* a page full of 's' */
};

static struct fixture fixture;

static int make(void **state)
{
	char *block;

	(void)state;
	fixture.page = page_size();
	fixture.fd = -1;
	fixture.source = aligned_alloc(fixture.page, fixture.page);
	block = aligned_alloc(fixture.page, 2 * fixture.page);
	memset(fixture.source, 's', fixture.page);
	memset(block, 'f', 2 * fixture.page);
	if (frames_create(NULL, PAGES, &fixture.frames) < 0 || frames_write(&fixture.frames, 0, 2, block) < 0)
		return -1;
	free(block);
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	free(fixture.source);
	close(fixture.frames.fd);
	if (fixture.fd >= 0)
		close(fixture.fd);
	return 0;
}

static void open_sigbus(uint64_t features)
{
	enum uffd_source source = source_or_skip(features);

	assert_int_equal(uffd_open(source, true, false, &fixture.fd), 0);
	guard();
}

static char *map_anonymous(int prot)
{
	char *p = mmap(NULL, PAGES * fixture.page, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static char *map_frames(int flags)
{
	char *p = mmap(NULL, PAGES * fixture.page, PROT_READ | PROT_WRITE, flags, fixture.frames.fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static char *registered(char *p, bool minor)
{
	assert_int_equal(uffd_register(fixture.fd, p, PAGES * fixture.page, minor, true), 0);
	return p;
}

static void unmap(char *p)
{
	assert_int_equal(munmap(p, PAGES * fixture.page), 0);
}

/* ---- opening ---- */

static void what_cannot_be_opened_is_reported(void **state)
{
	uint64_t features = 5;
	int fd = -1;

	(void)state;
	assert_int_equal(uffd_probe(UFFD_NONE, &features), -ENOSYS);
	assert_int_equal(features, 5);
	assert_int_equal(uffd_open(UFFD_NONE, true, false, &fd), -ENOSYS);
	assert_int_equal(fd, -1);
}

static void the_source_that_is_found_can_be_opened_and_is_not_inherited(void **state)
{
	(void)state;
	open_sigbus(0);
	assert_true(fcntl(fixture.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fixture.fd, F_GETFL) & O_NONBLOCK);
}

static void without_privilege_the_user_only_source_is_found_or_none(void **state)
{
	enum uffd_source source = uffd_find(true);

	(void)state;
	assert_true(source == UFFD_USER_ONLY || source == UFFD_NONE);
}

/* ---- faults ---- */

static void a_missing_page_raises_sigbus_until_it_is_copied_in(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(store_byte(p, 1), -SIGBUS);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(load_byte(p), 's');
	assert_int_equal(store_byte(p, 1), 0);
	assert_int_equal(load_byte(p + fixture.page), -SIGBUS);
	unmap(p);
}

static void copying_over_a_page_fails_and_leaves_it(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	*p = 'x';
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), -EEXIST);
	assert_int_equal(*p, 'x');
	unmap(p);
}

static void copying_to_what_is_not_registered_fails(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = map_anonymous(PROT_READ | PROT_WRITE);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), -ENOENT);
	unmap(p);
}

static void continuing_maps_the_frames_that_are_there(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = registered(map_frames(MAP_SHARED), true);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(uffd_continue(fixture.fd, p, 2 * fixture.page, false), 0);
	assert_int_equal(load_byte(p), 'f');
	assert_int_equal(store_byte(p + fixture.page, 1), 0);
	unmap(p);
}

static void continuing_what_is_mapped_already_is_fine(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = registered(map_frames(MAP_SHARED), true);
	assert_int_equal(uffd_continue(fixture.fd, p, fixture.page, false), 0);
	assert_int_equal(uffd_continue(fixture.fd, p, 2 * fixture.page, false), 0);
	assert_int_equal(load_byte(p + fixture.page), 'f');
	unmap(p);
}

static void continuing_over_a_hole_fails_and_makes_no_frame(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = registered(map_frames(MAP_SHARED), true);
	assert_int_equal(uffd_continue(fixture.fd, p + 2 * fixture.page, fixture.page, true), -EFAULT);
	assert_int_equal(uffd_continue(fixture.fd, p + fixture.page, 2 * fixture.page, true), -EFAULT);
	assert_int_equal(load_byte(p + 2 * fixture.page), -SIGBUS);
	unmap(p);
}

static void continuing_what_is_not_registered_fails(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = map_frames(MAP_SHARED);
	assert_int_equal(uffd_continue(fixture.fd, p, fixture.page, true), -ENOENT);
	unmap(p);
}

static void a_private_mapping_of_a_frame_shows_it_and_a_store_copies_it(void **state)
{
	char *p, *shared;

	(void)state;
	open_sigbus(0);
	p = registered(map_frames(MAP_PRIVATE), true);
	shared = map_frames(MAP_SHARED);
	assert_int_equal(uffd_continue(fixture.fd, p, fixture.page, true), 0);
	assert_int_equal(load_byte(p), 'f');
	assert_int_equal(store_byte(p, 'x'), -SIGBUS);
	assert_int_equal(uffd_unprotect(fixture.fd, p, fixture.page), 0);
	assert_int_equal(store_byte(p, 'x'), 0);
	assert_int_equal(*shared, 'f');
	unmap(shared);
	unmap(p);
}

static void a_page_copied_into_a_private_mapping_of_a_frame_is_private(void **state)
{
	char *p, *shared;

	(void)state;
	open_sigbus(0);
	p = registered(map_frames(MAP_PRIVATE), true);
	shared = map_frames(MAP_SHARED);
	/* Over a frame that is there, and over a hole, which stays one. */
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(uffd_copy(fixture.fd, p + 3 * fixture.page, fixture.source, fixture.page, false), 0);
	assert_int_equal(load_byte(p), 's');
	assert_int_equal(store_byte(p, 'x'), 0);
	assert_int_equal(*shared, 'f');
	assert_int_equal(lseek(fixture.frames.fd, 0, SEEK_HOLE), 2 * fixture.page);
	unmap(shared);
	unmap(p);
}

static void a_page_copied_into_a_shared_mapping_becomes_the_frame_and_is_protected(void **state)
{
	char *p, *other;

	(void)state;
	open_sigbus(0);
	p = registered(map_frames(MAP_SHARED), true);
	other = map_frames(MAP_SHARED);
	assert_int_equal(uffd_copy(fixture.fd, p + 3 * fixture.page, fixture.source, fixture.page, true), 0);
	assert_int_equal(load_byte(p + 3 * fixture.page), 's');
	assert_int_equal(other[3 * fixture.page], 's');
	assert_int_equal(store_byte(p + 3 * fixture.page, 'x'), -SIGBUS);
	/* Where there is a frame already, it stays. */
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, true), -EEXIST);
	assert_int_equal(other[0], 'f');
	unmap(other);
	unmap(p);
}

static void protection_catches_stores_and_not_loads_until_it_is_lifted(void **state)
{
	char *p;

	(void)state;
	open_sigbus(0);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(uffd_protect(fixture.fd, p, fixture.page), 0);
	assert_int_equal(load_byte(p), 's');
	assert_int_equal(store_byte(p, 1), -SIGBUS);
	assert_int_equal(load_byte(p), 's');
	assert_int_equal(uffd_unprotect(fixture.fd, p, fixture.page), 0);
	assert_int_equal(store_byte(p, 1), 0);
	unmap(p);
}

static void a_poisoned_page_raises_sigbus_and_can_be_filled_after_it_was_dropped(void **state)
{
	char *p;

	(void)state;
	open_sigbus(QUIRE_UFFD_POISON);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(uffd_poison(fixture.fd, p, fixture.page), 0);
	assert_int_equal(load_byte(p), -SIGBUS);
	assert_int_equal(madvise(p, fixture.page, MADV_DONTNEED), 0);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(load_byte(p), 's');
	unmap(p);
}

static void poison_leaves_a_page_that_is_there(void **state)
{
	char *p;

	(void)state;
	open_sigbus(QUIRE_UFFD_POISON);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(uffd_poison(fixture.fd, p, fixture.page), 0);
	assert_int_equal(load_byte(p), 's');
	unmap(p);
}

/*
 * What was mapped under protection and dropped keeps the mark, and the kernel puts no poison over it: the next touch would be told
 * of and told of again.
 */
static void a_dropped_page_that_has_the_mark_can_be_poisoned_once_it_is_unprotected(void **state)
{
	char *p;

	(void)state;
	assert_int_equal(uffd_open(source_or_skip(QUIRE_UFFD_POISON), false, false, &fixture.fd), 0);
	guard();
	p = registered(map_frames(MAP_SHARED), true);
	assert_int_equal(uffd_continue(fixture.fd, p, fixture.page, true), 0);
	assert_int_equal(madvise(p, fixture.page, MADV_DONTNEED), 0);
	assert_int_equal(uffd_unprotect(fixture.fd, p, fixture.page), 0);
	assert_int_equal(uffd_poison(fixture.fd, p, fixture.page), 0);
	/* Without poison this would sleep. */
	alarm(DEADLOCK_S);
	assert_int_equal(load_byte(p), -SIGBUS);
	alarm(0);
	unmap(p);
}

/* ---- messages ---- */

static char *volatile touched;

static void *touch_main(void *arg)
{
	(void)arg;
	return (void *)(uintptr_t)(unsigned char)*touched;
}

/* The next message, waited for. */
static struct uffd_event next_event(int fd)
{
	struct identity identity;
	struct uffd_event event;
	int n = 0;

	assert_int_equal(identity_get(fd, &identity), 0);
	for (unsigned i = 0; i < 5000 && n == 0; i++) {
		n = uffd_read(fd, &identity, &event, 1);
		if (n == 0)
			usleep(1000);
	}
	assert_int_equal(n, 1);
	return event;
}

static void a_thread_that_waits_for_a_page_is_told_of_and_goes_on_when_it_is_woken(void **state)
{
	struct identity identity;
	struct uffd_event event;
	pthread_t thread;
	void *result;
	char *p;

	(void)state;
	assert_int_equal(uffd_open(source_or_skip(0), false, false, &fixture.fd), 0);
	assert_int_equal(identity_get(fixture.fd, &identity), 0);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(uffd_read(fixture.fd, &identity, &event, 1), 0);
	touched = p + fixture.page + 5;
	assert_int_equal(pthread_create(&thread, NULL, touch_main, NULL), 0);
	event = next_event(fixture.fd);
	assert_int_equal(event.addr, (uintptr_t)p + fixture.page);
	assert_false(event.write);
	assert_int_equal(uffd_copy(fixture.fd, p + fixture.page, fixture.source, fixture.page, false), 0);
	/* The page alone does not: what the engine knows of it comes first. */
	usleep(20000);
	assert_int_equal(pthread_tryjoin_np(thread, &result), EBUSY);
	assert_int_equal(uffd_wake(fixture.fd, p + fixture.page, fixture.page), 0);
	pthread_join(thread, &result);
	assert_int_equal((uintptr_t)result, 's');
	unmap(p);
}

static void a_thread_that_is_woken_without_a_page_asks_again(void **state)
{
	pthread_t thread;
	void *result;
	char *p;

	(void)state;
	assert_int_equal(uffd_open(source_or_skip(0), false, false, &fixture.fd), 0);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	touched = p;
	assert_int_equal(pthread_create(&thread, NULL, touch_main, NULL), 0);
	next_event(fixture.fd);
	assert_int_equal(uffd_wake(fixture.fd, p, fixture.page), 0);
	next_event(fixture.fd);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(uffd_wake(fixture.fd, p, fixture.page), 0);
	pthread_join(thread, &result);
	assert_int_equal((uintptr_t)result, 's');
	unmap(p);
}

/* ---- moving ---- */

static bool is_registered(char *p)
{
	return uffd_unprotect(fixture.fd, p, fixture.page) == 0;
}

/* Why the engine registers again what it has moved: a touch before that would make silent zeros. */
static void what_the_kernel_moves_can_be_registered_again_and_is_caught_then(void **state)
{
	char *p, *moved;

	(void)state;
	open_sigbus(0);
	p = registered(map_anonymous(PROT_READ | PROT_WRITE), false);
	assert_int_equal(uffd_copy(fixture.fd, p, fixture.source, fixture.page, false), 0);
	assert_int_equal(mprotect(p, PAGES * fixture.page, PROT_NONE), 0);
	moved = map_anonymous(PROT_NONE);
	assert_ptr_equal(mremap(p, PAGES * fixture.page, PAGES * fixture.page, MREMAP_MAYMOVE | MREMAP_FIXED, moved), moved);
	if (is_registered(moved))
		print_message("this kernel keeps the registration of what is moved\n");
	registered(moved, false);
	assert_int_equal(mprotect(moved, PAGES * fixture.page, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(load_byte(moved), 's');
	assert_int_equal(load_byte(moved + fixture.page), -SIGBUS);
	unmap(moved);
}

/*
 * The kernel joins a moved inaccessible mapping with an inaccessible neighbour first and takes the registration from the whole
 * then. Registering both again is right whether it does or not.
 */
static void inaccessible_neighbours_of_what_is_moved_can_be_registered_again(void **state)
{
	size_t len = PAGES * fixture.page;
	char *neighbour, *p, *moved;

	(void)state;
	open_sigbus(0);
	p = registered(map_anonymous(PROT_NONE), false);
	neighbour = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(neighbour, MAP_FAILED);
	assert_int_equal(munmap(neighbour + len, len), 0);
	registered(neighbour, false);
	moved = neighbour + len;
	assert_ptr_equal(mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, moved), moved);
	if (is_registered(neighbour))
		print_message("this kernel leaves the neighbour of what is moved registered\n");
	registered(moved, false);
	registered(neighbour, false);
	assert_int_equal(mprotect(neighbour, 2 * len, PROT_READ | PROT_WRITE), 0);
	for (char *at = neighbour; at < moved + len; at += fixture.page)
		assert_int_equal(load_byte(at), -SIGBUS);
	assert_int_equal(munmap(neighbour, 2 * len), 0);
}

static void accessible_neighbours_of_what_is_moved_keep_their_registration(void **state)
{
	size_t len = PAGES * fixture.page;
	char *neighbour, *p, *moved;

	(void)state;
	open_sigbus(0);
	p = registered(map_anonymous(PROT_NONE), false);
	neighbour = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(neighbour, MAP_FAILED);
	assert_int_equal(munmap(neighbour + len, len), 0);
	registered(neighbour, false);
	moved = neighbour + len;
	assert_ptr_equal(mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, moved), moved);
	assert_true(is_registered(neighbour));
	assert_int_equal(load_byte(neighbour), -SIGBUS);
	assert_int_equal(munmap(neighbour, 2 * len), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_cannot_be_opened_is_reported),
	    TEST(the_source_that_is_found_can_be_opened_and_is_not_inherited),
	    TEST(without_privilege_the_user_only_source_is_found_or_none),
	    TEST(a_missing_page_raises_sigbus_until_it_is_copied_in),
	    TEST(copying_over_a_page_fails_and_leaves_it),
	    TEST(copying_to_what_is_not_registered_fails),
	    TEST(continuing_maps_the_frames_that_are_there),
	    TEST(continuing_what_is_mapped_already_is_fine),
	    TEST(continuing_over_a_hole_fails_and_makes_no_frame),
	    TEST(continuing_what_is_not_registered_fails),
	    TEST(a_private_mapping_of_a_frame_shows_it_and_a_store_copies_it),
	    TEST(a_page_copied_into_a_private_mapping_of_a_frame_is_private),
	    TEST(a_page_copied_into_a_shared_mapping_becomes_the_frame_and_is_protected),
	    TEST(protection_catches_stores_and_not_loads_until_it_is_lifted),
	    TEST(a_poisoned_page_raises_sigbus_and_can_be_filled_after_it_was_dropped),
	    TEST(poison_leaves_a_page_that_is_there),
	    TEST(a_dropped_page_that_has_the_mark_can_be_poisoned_once_it_is_unprotected),
	    TEST(a_thread_that_waits_for_a_page_is_told_of_and_goes_on_when_it_is_woken),
	    TEST(a_thread_that_is_woken_without_a_page_asks_again),
	    TEST(what_the_kernel_moves_can_be_registered_again_and_is_caught_then),
	    TEST(inaccessible_neighbours_of_what_is_moved_can_be_registered_again),
	    TEST(accessible_neighbours_of_what_is_moved_keep_their_registration),
	};

	return cmocka_run_group_tests_name("uffd", tests, NULL, NULL);
}
