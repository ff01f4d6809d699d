/* SPDX-License-Identifier: MIT */
/*
 * test-atomic.c - commits: row B01
 */
#include "children.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define ATOMIC(fd, n)   map(NULL, PAGES(n), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0)
#define SNAPSHOT(fd, n) map(NULL, PAGES(n), PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, fd, 0)

/* More than the budget of these tests, three times. */
#define MANY 3072

static struct iovec range(void *addr, size_t n)
{
	return (struct iovec){addr, PAGES(n)};
}

static int commit(void *addr, size_t n)
{
	struct iovec one = range(addr, n);

	return quire_commit(&one, 1, 0);
}

/* Whether the journal's file is there, when nothing is left of mappings that were removed. */
static bool has_journal(const char *path)
{
	char name[4 * FILE_PATH_MAX];

	settle();
	snprintf(name, sizeof(name), "%s-quire", path);
	return access(name, F_OK) == 0;
}

/* ---- commits ---- */

static void B01_committed_stores_are_there_when_it_is_mapped_again(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	p[5] = p[PAGES(3) + 7] = p[PAGES(7)] = 'c';
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	assert_loads(p + PAGES(3) + 7, 'c');
	unmap(p, 8);
	p = ATOMIC(fd, 8);
	assert_loads(p + 5, 'c');
	assert_loads(p + PAGES(3) + 7, 'c');
	assert_loads(p + PAGES(7), 'c');
	assert_pattern(p + PAGES(4), PAGES(1), PAGES(4));
	unmap(p, 8);
	/* As a file, too, of which nothing is left over. */
	assert_int_equal(file_byte(fd, 5), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(3) + 7), 'c');
	assert_false(has_journal(path));
}

static void B01_what_is_not_committed_is_forgotten_with_the_last_mapping(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8), *q = map_shared(fd, 8);

	(void)state;
	p[PAGES(1)] = 'c';
	assert_ok(commit(p, 8));
	p[PAGES(1)] = p[PAGES(2)] = 'x';
	unmap(p, 8);
	assert_loads(q + PAGES(2), 'x');
	unmap(q, 8);
	p = ATOMIC(fd, 8);
	assert_loads(p + PAGES(1), 'c');
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	unmap(p, 8);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), pattern((off_t)PAGES(2)));
}

static void B01_commits_reach_the_file_by_a_checkpoint_only(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	p[PAGES(2)] = 'c';
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	p[PAGES(4)] = 'x';
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), pattern((off_t)PAGES(2)));
	assert_ok(quire_checkpoint(fd));
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(4)), pattern((off_t)PAGES(4)));
	unmap(p, 8);
}

static void B01_commit_is_of_its_range(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(1100), path);
	char *p = ATOMIC(fd, 1100);
	struct iovec ranges[3];

	(void)state;
	for (size_t i = 0; i < 1100; i++)
		p[PAGES(i)] = 'c';
	ranges[0] = range(p + PAGES(700), 10);
	ranges[1] = range(p + PAGES(500), 24);
	/* Overlaps, and begins inside of a page. */
	ranges[2] = (struct iovec){p + PAGES(520) + 5, PAGES(9)};
	assert_ok(quire_commit(ranges, 3, 0));
	unmap(p, 1100);
	p = ATOMIC(fd, 1100);
	for (size_t i = 0; i < 1100; i++) {
		bool in = (i >= 700 && i < 710) || (i >= 500 && i < 530);

		assert_loads(p + PAGES(i), in ? 'c' : pattern((off_t)PAGES(i)));
	}
	unmap(p, 1100);
}

static void B01_commit_of_nothing_is_success(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path);
	char *p = ATOMIC(fd, 2);
	struct quire_stats before = stats();

	(void)state;
	assert_ok(quire_commit(NULL, 0, 0));
	assert_ok(quire_commit(&(struct iovec){p, 0}, 1, 0));
	assert_ok(commit(p, 2));
	assert_int_equal(grown(before, commits), 0);
	p[0] = 'c';
	assert_ok(commit(p, 2));
	assert_ok(commit(p, 2));
	assert_int_equal(grown(before, commits), 1);
	assert_int_equal(grown(before, committed_bytes), PAGES(1));
	unmap(p, 2);
}

/* ---- memory ---- */

static void B01_nothing_uncommitted_reaches_the_file_under_pressure(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(MANY), path);
	char *p = ATOMIC(fd, MANY);

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		p[PAGES(i) + 1] = 'x';
	pressure();
	assert_true(stats().evicted_pages > 0);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 1), pattern((off_t)PAGES(i) + 1));
	assert_int_equal(quire_dirty(p, PAGES(MANY), NULL, 0), 1);
	/* It was not lost either, and is committed from where it went. */
	for (size_t i = 0; i < MANY; i += 7)
		assert_loads(p + PAGES(i) + 1, 'x');
	assert_ok(commit(p, MANY));
	assert_int_equal(quire_dirty(p, PAGES(MANY), NULL, 0), 0);
	for (size_t i = 0; i < MANY; i++)
		assert_loads(p + PAGES(i) + 1, 'x');
	unmap(p, MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 1), 'x');
}

static void B01_what_was_paged_out_is_forgotten_too(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(MANY), path);
	char *p = ATOMIC(fd, MANY);

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		p[PAGES(i)] = 'x';
	unmap(p, MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), pattern((off_t)PAGES(i)));
	p = ATOMIC(fd, MANY);
	for (size_t i = 0; i < MANY; i += 5)
		assert_loads(p + PAGES(i), pattern((off_t)PAGES(i)));
	unmap(p, MANY);
}

static void B01_atomic_pages_are_not_written_by_their_age(void **state)
{
	char path[FILE_PATH_MAX], plain_path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path), plain = file_named(PAGES(2), plain_path);
	char *p = ATOMIC(fd, 2), *q = map_shared(plain, 2);

	(void)state;
	p[0] = 'x';
	q[0] = 'x';
	/* The plain one, which is as old, tells that the flusher has come by. */
	assert_comes_true(file_byte(plain, 0) == 'x');
	assert_int_equal(file_byte(fd, 0), pattern(0));
	assert_int_equal(quire_dirty(p, PAGES(2), NULL, 0), 1);
	unmap(p, 2);
	unmap(q, 2);
}

/* ---- rollback ---- */

static void B01_rollback_takes_back_what_is_not_committed(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8), *q = map(NULL, PAGES(8), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	p[0] = p[PAGES(1)] = 'c';
	assert_ok(commit(p, 8));
	p[0] = p[PAGES(2)] = p[PAGES(5)] = 'x';
	assert_loads(q, 'x');
	assert_ok(quire_rollback(p, PAGES(4)));
	assert_loads(p, 'c');
	assert_loads(q, 'c');
	assert_loads(p + PAGES(1), 'c');
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	/* Outside of the range nothing was. */
	assert_loads(p + PAGES(5), 'x');
	assert_int_equal(quire_dirty(p, PAGES(8), NULL, 0), 1);
	p[PAGES(2)] = 'y';
	assert_ok(commit(p, 8));
	unmap(q, 8);
	unmap(p, 8);
	assert_int_equal(file_byte(fd, 0), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 'y');
	assert_int_equal(file_byte(fd, (off_t)PAGES(5)), 'x');
}

static void B01_rollback_of_more_than_memory_holds(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(MANY), path);
	char *p = ATOMIC(fd, MANY);

	(void)state;
	for (size_t i = 0; i < MANY; i += 2)
		p[PAGES(i)] = 'c';
	assert_ok(commit(p, MANY));
	for (size_t i = 0; i < MANY; i++)
		p[PAGES(i)] = 'x';
	assert_ok(quire_rollback(p, PAGES(MANY)));
	for (size_t i = 0; i < MANY; i++)
		assert_loads(p + PAGES(i), i % 2 ? pattern((off_t)PAGES(i)) : 'c');
	unmap(p, MANY);
}

static void B01_rollback_of_locked_pages_leaves_them_locked(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path);
	char *p = ATOMIC(fd, 4);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(4)));
	p[PAGES(1)] = 'x';
	assert_ok(quire_rollback(p, PAGES(4)));
	assert_int_equal(resident_pages(p, 4), 4);
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	unmap(p, 4);
}

/* ---- size ---- */

static void B01_size_is_part_of_the_commit(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path);
	char *p = ATOMIC(fd, 6);

	(void)state;
	assert_past_the_end(p + PAGES(2));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(4) + 100));
	assert_zeros(p + PAGES(2), PAGES(2) + 100);
	p[PAGES(4) + 50] = 'c';
	assert_int_equal(file_size(fd), PAGES(2));
	assert_ok(commit(p + PAGES(4), 1));
	assert_ok(quire_checkpoint(fd));
	assert_int_equal(file_size(fd), PAGES(4) + 100);
	assert_int_equal(file_byte(fd, (off_t)PAGES(4) + 50), 'c');
	unmap(p, 6);
	assert_int_equal(file_size(fd), PAGES(4) + 100);
}

static void B01_size_that_is_not_committed_is_forgotten(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4) + 100, path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(7)));
	p[PAGES(6)] = 'x';
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(4) + 100);
	p = ATOMIC(fd, 8);
	assert_past_the_end(p + PAGES(5));
	assert_ok(quire_ftruncate(fd, 10));
	assert_past_the_end(p + PAGES(1));
	assert_loads(p + 11, 0);
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(4) + 100);
	assert_int_equal(file_byte(fd, 11), pattern(11));
}

static void B01_what_was_cut_off_comes_back_as_zeros(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	p[PAGES(3) + 200] = 'c';
	assert_ok(commit(p, 8));
	/* One page is resident, the others are not. */
	assert_ok(quire_madvise(p, PAGES(8), MADV_PAGEOUT));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(3) + 100));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(8)));
	assert_pattern(p + PAGES(3), 100, PAGES(3));
	assert_zeros(p + PAGES(3) + 100, PAGES(5) - 100);
	/* Of a range that has nothing to do with it, and yet with the size, and so with what was cut. */
	p[0] = 'd';
	assert_ok(commit(p, 1));
	unmap(p, 8);
	p = ATOMIC(fd, 8);
	assert_loads(p, 'd');
	assert_pattern(p + PAGES(3), 100, PAGES(3));
	assert_zeros(p + PAGES(3) + 100, PAGES(5) - 100);
	unmap(p, 8);
	assert_int_equal(file_byte(fd, (off_t)PAGES(3) + 99), pattern((off_t)PAGES(3) + 99));
	assert_int_equal(file_byte(fd, (off_t)PAGES(3) + 200), 0);
	assert_int_equal(file_byte(fd, (off_t)PAGES(7)), 0);
}

/* Nothing but the cut: no page is stored to, and the size is as it was. */
static void B01_cut_between_two_pages_is_committed(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(3)));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(8)));
	assert_zeros(p + PAGES(3), PAGES(5));
	assert_ok(commit(p, 8));
	assert_zeros(p + PAGES(3), PAGES(5));
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(8));
	assert_int_equal(file_byte(fd, (off_t)PAGES(3) - 1), pattern((off_t)PAGES(3) - 1));
	for (size_t i = 3; i < 8; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 0);
}

static void B01_cut_between_two_pages_is_taken_back(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(3)));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(8)));
	assert_zeros(p + PAGES(3), PAGES(5));
	assert_ok(quire_rollback(p, PAGES(8)));
	assert_pattern(p, PAGES(8), 0);
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(8));
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), pattern((off_t)PAGES(i)));
}

static void B01_rollback_takes_back_the_size(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(6) + 100, path);
	char *p = ATOMIC(fd, 8);

	(void)state;
	assert_loads(p + PAGES(5), pattern((off_t)PAGES(5)));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2) + 10));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(8)));
	assert_loads(p + PAGES(5), 0);
	p[PAGES(7)] = p[PAGES(5) + 1] = 'x';
	/* Not from the cut on: the size stays, and so does what was cut. */
	assert_ok(quire_rollback(p + PAGES(3), PAGES(5)));
	assert_loads(p + PAGES(5) + 1, 0);
	assert_loads(p + PAGES(7), 0);
	assert_ok(quire_rollback(p + PAGES(2), PAGES(6)));
	assert_pattern(p, PAGES(6) + 100, 0);
	assert_zeros(p + PAGES(6) + 100, PAGES(1) - 100);
	assert_past_the_end(p + PAGES(7));
	assert_int_equal(quire_dirty(p, PAGES(8), NULL, 0), 0);
	unmap(p, 8);
	assert_int_equal(file_size(fd), PAGES(6) + 100);
	assert_int_equal(file_byte(fd, (off_t)PAGES(5)), pattern((off_t)PAGES(5)));
}

static void B01_extend_makes_the_next_commit_longer(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(10, path);
	char *p = map(NULL, PAGES(4), RW, MAP_SHARED | QUIRE_MAP_ATOMIC | QUIRE_MAP_EXTEND, fd, 0);

	(void)state;
	p[PAGES(4) - 1] = 'c';
	assert_int_equal(file_size(fd), 10);
	assert_ok(commit(p, 4));
	unmap(p, 4);
	assert_int_equal(file_size(fd), PAGES(4));
	assert_int_equal(file_byte(fd, (off_t)PAGES(4) - 1), 'c');
	assert_int_equal(file_byte(fd, 9), pattern(9));
	assert_int_equal(file_byte(fd, 10), 0);
}

static void B01_stores_past_the_end_are_in_no_commit(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(1) + 10, path);
	char *p = ATOMIC(fd, 2);

	(void)state;
	p[PAGES(1) + 5] = 'c';
	p[PAGES(1) + 20] = 'x';
	assert_ok(commit(p, 2));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
	assert_ok(commit(p, 2));
	unmap(p, 2);
	assert_int_equal(file_size(fd), PAGES(2));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1) + 5), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1) + 20), 0);
}

/* ---- several files, and who else maps them ---- */

static void B01_several_files_commit_as_one(void **state)
{
	char path[3][FILE_PATH_MAX];
	int fd[3];
	char *p[3];
	struct iovec ranges[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		fd[i] = file_named(PAGES(4), path[i]);
		p[i] = ATOMIC(fd[i], 4);
		p[i][PAGES(i)] = 'c';
		p[i][PAGES(3)] = 'x';
		ranges[i] = range(p[i], 3);
	}
	assert_ok(quire_commit(ranges, 3, 0));
	for (int i = 0; i < 3; i++) {
		unmap(p[i], 4);
		assert_int_equal(file_byte(fd[i], (off_t)PAGES(i)), 'c');
		assert_int_equal(file_byte(fd[i], (off_t)PAGES(3)), pattern((off_t)PAGES(3)));
		assert_false(has_journal(path[i]));
	}
}

static void B01_msync_of_a_range_with_both_kinds_of_files(void **state)
{
	char path[FILE_PATH_MAX], plain_path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path), plain = file_named(PAGES(2), plain_path);
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED | QUIRE_MAP_ATOMIC, fd, 0);

	(void)state;
	map(p + PAGES(2), PAGES(2), RW, MAP_SHARED | MAP_FIXED, plain, 0);
	p[0] = p[PAGES(2)] = 'c';
	assert_fails(commit(p, 4), EINVAL);
	assert_message("quire_commit", "QUIRE_MAP_ATOMIC");
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(file_byte(plain, 0), 'c');
	assert_int_equal(file_byte(fd, 0), pattern(0));
	assert_ok(quire_checkpoint(fd));
	assert_int_equal(file_byte(fd, 0), 'c');
	unmap(p, 4);
}

static void B01_all_mappings_of_the_file_are_atomic(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path);
	char *p = ATOMIC(fd, 4), *q = map_shared(fd, 4), *r = map_private(fd, 4);

	(void)state;
	q[PAGES(1)] = 'c';
	assert_loads(p + PAGES(1), 'c');
	assert_loads(r + PAGES(1), 'c');
	r[PAGES(2)] = 'p';
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	unmap(p, 4);
	assert_ok(quire_msync(q, PAGES(4), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), pattern((off_t)PAGES(1)));
	unmap(q, 4);
	assert_loads(r + PAGES(2), 'p');
	unmap(r, 4);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), pattern((off_t)PAGES(2)));
}

static void B01_commit_through_any_mapping(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8), *q = map(NULL, PAGES(4), PROT_READ, MAP_SHARED, fd, (off_t)PAGES(2));

	(void)state;
	p[PAGES(3)] = p[PAGES(7)] = 'c';
	assert_ok(quire_mprotect(p, PAGES(8), PROT_READ));
	assert_ok(commit(q, 4));
	assert_ok(quire_checkpoint(fd));
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(7)), pattern((off_t)PAGES(7)));
	unmap(p, 8);
	unmap(q, 4);
}

/* ---- later ---- */

static void B01_async_commit_is_of_what_was_stored_before(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path);
	char *p = ATOMIC(fd, 4);

	(void)state;
	p[0] = p[PAGES(1)] = 'c';
	assert_ok(quire_msync(p, PAGES(4), MS_ASYNC));
	p[0] = p[PAGES(2)] = 'x';
	unmap(p, 4);
	p = ATOMIC(fd, 4);
	assert_loads(p, 'c');
	assert_loads(p + PAGES(1), 'c');
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	unmap(p, 4);
}

static void B01_commit_that_was_begun_is_told_when_it_is_complete(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path), event = eventfd(0, EFD_CLOEXEC);
	char *p = ATOMIC(fd, 4);
	struct iovec all = range(p, 4);
	int64_t ticket, second;
	eventfd_t told = 0;

	(void)state;
	p[0] = 'c';
	ticket = quire_commit_begin(&all, 1, event);
	assert_true(ticket > 0);
	p[0] = 'd';
	second = quire_commit_begin(&all, 1, -1);
	assert_true(second > ticket);
	assert_ok(quire_commit_wait(second));
	assert_ok(quire_commit_wait(ticket));
	assert_ok(quire_commit_wait(ticket));
	assert_int_equal(eventfd_read(event, &told), 0);
	assert_int_equal(told, 1);
	/* Also of nothing. */
	ticket = quire_commit_begin(NULL, 0, event);
	assert_true(ticket > second);
	assert_int_equal(eventfd_read(event, &told), 0);
	assert_ok(quire_commit_wait(ticket));
	assert_fails(quire_commit_wait(ticket + 1), EINVAL);
	assert_fails(quire_commit_wait(0), EINVAL);
	assert_fails(quire_commit_begin(&all, 1, fd), EINVAL);
	close(event);
	assert_fails(quire_commit_begin(&all, 1, event), EBADF);
	unmap(p, 4);
	assert_int_equal(file_byte(fd, 0), 'd');
}

/* ---- threads ---- */

#define WRITERS 4
#define ROUNDS  60

struct writer {
	char *p;
	size_t first, pages; /* its own */
	pthread_t thread;
};

static void *store_and_commit(void *arg)
{
	struct writer *writer = arg;

	for (int round = 1; round <= ROUNDS; round++) {
		for (size_t i = 0; i < writer->pages; i++)
			memset(writer->p + PAGES(writer->first + i), round, 64);
		assert_ok(commit(writer->p + PAGES(writer->first), writer->pages));
	}
	return NULL;
}

static void B01_threads_commit_together(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(64), path);
	char *p = ATOMIC(fd, 64);
	struct writer writers[WRITERS];

	(void)state;
	for (size_t i = 0; i < WRITERS; i++) {
		/* Each shares a page with the next, so that they also wait for each other. */
		writers[i] = (struct writer){.p = p, .first = 8 * i, .pages = 9};
		assert_int_equal(pthread_create(&writers[i].thread, NULL, store_and_commit, &writers[i]), 0);
	}
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	unmap(p, 64);
	for (size_t i = 0; i < 8 * WRITERS + 1; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 5), ROUNDS);
}

static _Atomic bool stop;

struct counter {
	char *p;
	size_t pages;
	_Atomic uint64_t rounds;
	pthread_t thread;
};

/* Counts up, in every page, the lower before the higher. */
static void *count_up(void *arg)
{
	struct counter *counter = arg;

	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		for (size_t i = 0; i < counter->pages; i++)
			atomic_store((_Atomic uint64_t *)(void *)(counter->p + PAGES(i)), n);
		atomic_store(&counter->rounds, n);
	}
	return NULL;
}

static uint64_t count_in_file(int fd, size_t page)
{
	uint64_t n = 0;

	assert_int_equal(pread(fd, &n, sizeof(n), (off_t)PAGES(page)), sizeof(n));
	return n;
}

static void B01_stores_beside_commits_are_whole_and_not_lost(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(32), path);
	char *p = ATOMIC(fd, 32);
	struct counter counter = {.p = p, .pages = 32};
	uint64_t least;

	(void)state;
	memset(p, 0, PAGES(32));
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&counter.thread, NULL, count_up, &counter), 0);
	for (int i = 0; i < 50; i++) {
		/* What was stored before the call is in. */
		least = atomic_load((_Atomic uint64_t *)(void *)(p + PAGES(31)));
		assert_ok(commit(p, 32));
		assert_ok(quire_checkpoint(fd));
		for (size_t page = 0; page < 32; page++)
			assert_true(count_in_file(fd, page) >= least);
	}
	atomic_store(&stop, true);
	pthread_join(counter.thread, NULL);
	least = atomic_load((_Atomic uint64_t *)(void *)p);
	assert_ok(commit(p, 32));
	unmap(p, 32);
	for (size_t page = 0; page < 32; page++)
		assert_int_equal(count_in_file(fd, page), least);
}

static void B01_stores_beside_rollbacks_are_taken_back_or_stay(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(16), path);
	char *p = ATOMIC(fd, 16);
	struct counter counter = {.p = p, .pages = 16};
	uint64_t last;

	(void)state;
	memset(p, 0, PAGES(16));
	assert_ok(commit(p, 16));
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&counter.thread, NULL, count_up, &counter), 0);
	while (atomic_load(&counter.rounds) == 0)
		sched_yield();
	for (int i = 0; i < 50; i++)
		assert_ok(quire_rollback(p, PAGES(16)));
	atomic_store(&stop, true);
	pthread_join(counter.thread, NULL);
	/* What was stored last, or nothing; and never what was stored before that. */
	for (size_t i = 0; i < 16; i++) {
		last = atomic_load((_Atomic uint64_t *)(void *)(p + PAGES(i)));
		assert_true(last == 0 || last == atomic_load(&counter.rounds));
	}
	assert_ok(quire_rollback(p, PAGES(16)));
	assert_zeros(p, PAGES(16));
	unmap(p, 16);
	assert_int_equal(count_in_file(fd, 3), 0);
}

/* ---- hooks ---- */

static int stamp(void *arg, off_t offset, void *bytes, size_t len)
{
	(void)arg;
	(void)offset;
	((char *)bytes)[len - 1] = 's';
	return 0;
}

static int refuse(void *arg, off_t offset, void *bytes, size_t len)
{
	(void)offset;
	(void)bytes;
	(void)len;
	return atomic_load((_Atomic bool *)arg) ? EILSEQ : 0;
}

static void B01_hooks_see_what_is_committed(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2) + 100, path);
	char *p = ATOMIC(fd, 3);
	struct quire_page_hooks hooks = {.size = sizeof(hooks), .page_out = stamp};

	(void)state;
	assert_ok(quire_set_page_hooks(p, &hooks));
	p[0] = p[PAGES(2)] = 'c';
	assert_ok(commit(p, 3));
	assert_loads(p + PAGES(1) - 1, pattern((off_t)PAGES(1) - 1));
	unmap(p, 3);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1) - 1), 's');
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) + 99), 's');
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) - 1), pattern((off_t)PAGES(2) - 1));
}

static void B01_commit_that_a_hook_refuses_has_not_happened(void **state)
{
	static _Atomic bool refuses;
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path);
	char *p = ATOMIC(fd, 4);
	struct quire_page_hooks hooks = {.size = sizeof(hooks), .page_out = refuse, .arg = &refuses};

	(void)state;
	assert_ok(quire_set_page_hooks(p, &hooks));
	p[0] = p[PAGES(2)] = 'c';
	refuses = true;
	assert_fails(commit(p, 4), EILSEQ);
	assert_message("quire_commit", "commit");
	assert_int_equal(quire_dirty(p, PAGES(4), NULL, 0), 2);
	refuses = false;
	assert_ok(commit(p, 4));
	unmap(p, 4);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 'c');
}

/* ---- snapshots ---- */

static void B01_snapshot_stays_as_it_was_beside_a_writer(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(64), path);
	char *p = ATOMIC(fd, 64), *first, *second, *third;

	(void)state;
	memset(p, '1', PAGES(64));
	assert_ok(commit(p, 64));
	memset(p, 'x', PAGES(32));
	first = SNAPSHOT(fd, 64);
	assert_filled(first, PAGES(16), '1');
	assert_int_equal(stats().snapshots, 1);
	/* Of the same commit. */
	second = SNAPSHOT(fd, 64);
	assert_int_equal(stats().snapshots, 1);
	memset(p, '2', PAGES(64));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(32)));
	assert_ok(commit(p, 64));
	assert_ok(quire_checkpoint(fd));
	third = SNAPSHOT(fd, 64);
	assert_int_equal(stats().snapshots, 2);
	assert_filled(first, PAGES(64), '1');
	assert_filled(second, PAGES(64), '1');
	assert_filled(third, PAGES(32), '2');
	assert_past_the_end(third + PAGES(32));
	/* It outlives the mapping that is written. */
	unmap(p, 64);
	evict(first, 64);
	assert_filled(first, PAGES(64), '1');
	unmap(first, 64);
	unmap(second, 64);
	assert_filled(third, PAGES(32), '2');
	unmap(third, 64);
	assert_false(has_journal(path));
	assert_int_equal(file_size(fd), PAGES(32));
	assert_int_equal(file_byte(fd, 0), '2');
}

/* Nobody maps the file to be written, but its journal is open, with a commit that is not in the file yet. */
static void B01_ftruncate_of_a_file_with_a_snapshot_only_is_a_commit(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(8), path);
	char *p = ATOMIC(fd, 8), *first = SNAPSHOT(fd, 8), *second;

	(void)state;
	memset(p + PAGES(4), 'c', PAGES(4));
	assert_ok(commit(p, 8));
	unmap(p, 8);
	second = SNAPSHOT(fd, 8);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(5) + 10));
	/* What a snapshot shows stays. */
	assert_pattern(first, PAGES(8), 0);
	assert_pattern(second, PAGES(4), 0);
	assert_filled(second + PAGES(4), PAGES(4), 'c');
	unmap(second, 8);
	second = SNAPSHOT(fd, 8);
	assert_filled(second + PAGES(5), 10, 'c');
	assert_zeros(second + PAGES(5) + 10, PAGES(1) - 10);
	assert_past_the_end(second + PAGES(6));
	unmap(first, 8);
	unmap(second, 8);
	assert_false(has_journal(path));
	assert_int_equal(file_size(fd), PAGES(5) + 10);
	assert_int_equal(file_byte(fd, 0), pattern(0));
	assert_int_equal(file_byte(fd, (off_t)PAGES(4)), 'c');
}

static void B01_snapshot_is_not_to_be_written(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path);
	char *p = SNAPSHOT(fd, 2);

	(void)state;
	assert_pattern(p, PAGES(2), 0);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED | QUIRE_MAP_SNAPSHOT, fd, 0), EACCES);
	assert_message("quire_mmap", "QUIRE_MAP_SNAPSHOT");
	assert_fails(quire_mprotect(p, PAGES(2), RW), EACCES);
	assert_fails(commit(p, 2), EINVAL);
	unmap(p, 2);
	assert_false(has_journal(path));
}

/* ---- crashes ---- */

/* A process that commits for ever: in each round all pages, and says which round that was. */
static int run_writer(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	size_t size = PAGES(24);
	char *p;

	page_size = (size_t)sysconf(_SC_PAGESIZE);
	size = PAGES(24);
	p = fd < 0 ? MAP_FAILED : quire_mmap(NULL, size, RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);
	if (p == MAP_FAILED)
		return EXIT_FAILURE;
	for (uint64_t round = *(uint64_t *)(void *)p + 1;; round++) {
		for (size_t i = 0; i < size; i += page_size)
			memcpy(p + i, &round, sizeof(round));
		if (quire_msync(p, size, MS_SYNC) < 0 || write(STDOUT_FILENO, &round, sizeof(round)) != sizeof(round))
			return EXIT_FAILURE;
	}
}

/* Lets a writer go on for some rounds, and kills it. The last round that it has told. */
static uint64_t kill_writer(const char *path, int rounds)
{
	uint64_t round = 0, told;
	int pipes[2], status;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		execl("/proc/self/exe", "writer", "--writer", path, NULL);
		_exit(EXIT_FAILURE);
	}
	assert_true(pid > 0);
	close(pipes[1]);
	for (int i = 0; i < rounds; i++)
		assert_int_equal(read(pipes[0], &round, sizeof(round)), sizeof(round));
	assert_int_equal(kill(pid, SIGKILL), 0);
	while (read(pipes[0], &told, sizeof(told)) == sizeof(told))
		round = told;
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return round;
}

static void B01_program_that_is_killed_leaves_its_last_commit(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(0, path);

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)PAGES(24)), 0);
	for (int rounds = 1; rounds < 80; rounds += 13) {
		uint64_t told = kill_writer(path, rounds), found;
		char *p;

		assert_true(has_journal(path));
		p = ATOMIC(fd, 24);
		memcpy(&found, p, sizeof(found));
		/* The one that it was about to tell may count, too. */
		assert_true(found == told || found == told + 1);
		for (size_t i = 0; i < 24; i++)
			assert_memory_equal(p + PAGES(i), &found, sizeof(found));
		unmap(p, 24);
		assert_int_equal(count_in_file(fd, 17), found);
		assert_false(has_journal(path));
	}
}

static void B01_plain_mapping_after_a_crash_shows_the_last_commit(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(0, path), reader;
	uint64_t told, found;
	char *p;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)PAGES(24)), 0);
	told = kill_writer(path, 5);
	reader = file_reopen(fd, O_RDONLY);
	/* Who cannot write cannot copy either, and is not given what is no commit. */
	assert_fails(quire_mmap(NULL, PAGES(24), PROT_READ, MAP_SHARED, reader, 0), EUCLEAN);
	assert_message("quire_mmap", "quire recover");
	assert_fails(quire_mmap(NULL, PAGES(24), PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, reader, 0), EACCES);
	p = map_shared(fd, 24);
	memcpy(&found, p, sizeof(found));
	assert_true(found == told || found == told + 1);
	assert_false(has_journal(path));
	unmap(p, 24);
	p = map(NULL, PAGES(24), PROT_READ, MAP_SHARED, reader, 0);
	assert_memory_equal(p + PAGES(3), &found, sizeof(found));
	unmap(p, 24);
}

static void B01_another_process_is_kept_out(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(24), path), pipes[2], status;
	uint64_t round;
	char number[32];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipes[1], STDOUT_FILENO);
		execl("/proc/self/exe", "writer", "--writer", path, NULL);
		_exit(EXIT_FAILURE);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &round, sizeof(round)), sizeof(round));
	snprintf(number, sizeof(number), "%d", pid);
	assert_fails(quire_mmap(NULL, PAGES(24), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0), EBUSY);
	assert_message("quire_mmap", number);
	assert_fails(quire_mmap(NULL, PAGES(24), RW, MAP_SHARED, fd, 0), EBUSY);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pipes[0]);
	unmap(ATOMIC(fd, 24), 24);
}

/* ---- children ---- */

static void B01_child_stores_and_commits(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path);
	char *p = ATOMIC(fd, 4);
	struct child child;

	(void)state;
	p[0] = 'c';
	CHILD(&child)
	{
		int event = eventfd(0, EFD_CLOEXEC);
		int64_t ticket;
		uint64_t count;
		char *q;

		p[PAGES(1)] = 'c';
		assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
		p[PAGES(1)] = 'd';
		assert_ok(commit(p, 4));
		assert_ok(quire_checkpoint(fd));
		assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'd');
		p[PAGES(1)] = 'x';
		assert_ok(quire_rollback(p, PAGES(4)));
		assert_loads(p + PAGES(1), 'd');
		p[PAGES(1)] = 'c';
		ticket = quire_commit_begin(&(struct iovec){p, PAGES(4)}, 1, event);
		assert_true(ticket > 0);
		assert_ok(quire_commit_wait(ticket));
		assert_int_equal(read(event, &count, sizeof(count)), sizeof(count));
		assert_int_equal(count, 1);
		q = SNAPSHOT(fd, 4);
		p[PAGES(2)] = 'x';
		assert_loads(q + PAGES(1), 'c');
		assert_loads(q + PAGES(2), pattern((off_t)PAGES(2)));
	}
	ends_well(&child);
	assert_loads(p + PAGES(2), 'x');
	assert_ok(quire_rollback(p, PAGES(4)));
	assert_loads(p + PAGES(1), 'c');
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	unmap(p, 4);
	/* The last mapping is the child's, which goes when the engine has seen that the child has ended. */
	assert_comes_true(!has_journal(path));
	assert_int_equal(file_byte(fd, 0), 'c');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'c');
}

/* ---- refusals ---- */

static void B01_what_cannot_be_atomic_is_refused(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(2), path), reader = file_reopen(fd, O_RDONLY);
	char *p;

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_PRIVATE | QUIRE_MAP_ATOMIC, fd, 0), EINVAL);
	assert_message("quire_mmap", "MAP_PRIVATE");
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED | MAP_ANONYMOUS | QUIRE_MAP_ATOMIC, ANON, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED | QUIRE_MAP_ATOMIC, reader, 0), EACCES);
	assert_message("quire_mmap", "reading and writing");
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED | QUIRE_MAP_ATOMIC | QUIRE_MAP_SNAPSHOT, fd, 0), EINVAL);
	p = map_shared(fd, 2);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0), EBUSY);
	assert_message("quire_mmap", "QUIRE_MAP_ATOMIC");
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, fd, 0), EBUSY);
	assert_fails(commit(p, 2), EINVAL);
	assert_fails(quire_rollback(p, PAGES(2)), EINVAL);
	assert_fails(quire_checkpoint(fd), EINVAL);
	unmap(p, 2);
	assert_false(has_journal(path));
	unmap(ATOMIC(fd, 2), 2);
}

static void B01_what_is_behind_a_filter_cannot_be_atomic(void **state)
{
	char path[FILE_PATH_MAX], uri[FILE_PATH_MAX + 32];
	int fd = file_named(PAGES(2), path), source;

	(void)state;
	snprintf(uri, sizeof(uri), "delay:us=1:file:%s", path);
	source = quire_open(uri, O_RDWR, 0);
	assert_true(source >= 0);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, source, 0), EOPNOTSUPP);
	assert_message("quire_mmap", "quire_open");
	close(source);
	unmap(ATOMIC(fd, 2), 2);
}

static void B01_calls_over_holes_change_nothing(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(4), path);
	char *p = map(quiet(), PAGES(4), RW, MAP_SHARED | MAP_FIXED | QUIRE_MAP_ATOMIC, fd, 0);
	struct quire_stats before = stats();

	(void)state;
	p[0] = p[PAGES(3)] = 'c';
	assert_fails(quire_msync(p, PAGES(6), MS_SYNC), ENOMEM);
	assert_fails(quire_msync(p, PAGES(6), MS_ASYNC), ENOMEM);
	assert_fails(commit(p, 6), ENOMEM);
	assert_fails(quire_commit_begin(&(struct iovec){p, PAGES(6)}, 1, -1), ENOMEM);
	assert_fails(quire_rollback(p, PAGES(6)), ENOMEM);
	assert_fails(quire_rollback(p + 1, PAGES(1)), EINVAL);
	assert_fails(quire_commit(&(struct iovec){p, PAGES(1)}, 1, 1), EINVAL);
	assert_fails(quire_commit(NULL, -1, 0), EINVAL);
	assert_fails(quire_commit(NULL, 1, 0), EINVAL);
	assert_fails(quire_checkpoint(-1), EBADF);
	assert_fails(quire_madvise(p, PAGES(4), MADV_REMOVE), EOPNOTSUPP);
	assert_message("quire_madvise", "atomic");
	assert_int_equal(grown(before, commits), 0);
	assert_int_equal(quire_dirty(p, PAGES(4), NULL, 0), 2);
	assert_loads(p, 'c');
	unmap(p, 4);
	assert_int_equal(file_byte(fd, 0), pattern(0));
}

/* ---- small journals ---- */

static void B01_many_commits_go_through_a_small_journal(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(128), path);
	char *p = ATOMIC(fd, 128);

	(void)state;
	for (int round = 1; round <= 100; round++) {
		for (size_t i = 0; i < 40; i++)
			p[PAGES((i * 7 + (size_t)round) % 128)] = (char)round;
		assert_ok(commit(p, 128));
	}
	assert_true(stats().checkpoints > 0);
	assert_true(stats().journal_bytes <= 1 << 20);
	unmap(p, 128);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES((i * 7 + 100) % 128)), 100);
}

static void B01_commit_that_the_journal_does_not_hold_is_ENOSPC(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(600), path);
	char *p = ATOMIC(fd, 600);

	(void)state;
	memset(p, 'x', PAGES(400));
	assert_fails(commit(p, 600), ENOSPC);
	assert_message("quire_commit", "");
	assert_loads(p + PAGES(399), 'x');
	assert_ok(quire_rollback(p + PAGES(50), PAGES(550)));
	assert_ok(commit(p, 600));
	unmap(p, 600);
	assert_int_equal(file_byte(fd, (off_t)PAGES(49)), 'x');
	assert_int_equal(file_byte(fd, (off_t)PAGES(50)), pattern((off_t)PAGES(50)));
}

static void B01_journal_that_is_too_small_is_refused(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(1), path);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0), EINVAL);
	assert_message("quire_mmap", "QUIRE_JOURNAL");
}

static const struct conformance_test tests[] = {
    TEST(B01_committed_stores_are_there_when_it_is_mapped_again),
    TEST(B01_what_is_not_committed_is_forgotten_with_the_last_mapping),
    TEST(B01_commits_reach_the_file_by_a_checkpoint_only),
    TEST(B01_commit_is_of_its_range),
    TEST(B01_commit_of_nothing_is_success),
    TEST(B01_nothing_uncommitted_reaches_the_file_under_pressure),
    TEST(B01_what_was_paged_out_is_forgotten_too),
    TEST_IN_OWN_PROCESS(B01_atomic_pages_are_not_written_by_their_age, "QUIRE_EXPIRE_MS=50"),
    TEST(B01_rollback_takes_back_what_is_not_committed),
    TEST(B01_rollback_of_more_than_memory_holds),
    TEST(B01_rollback_of_locked_pages_leaves_them_locked),
    TEST(B01_size_is_part_of_the_commit),
    TEST(B01_size_that_is_not_committed_is_forgotten),
    TEST(B01_what_was_cut_off_comes_back_as_zeros),
    TEST(B01_cut_between_two_pages_is_committed),
    TEST(B01_cut_between_two_pages_is_taken_back),
    TEST(B01_rollback_takes_back_the_size),
    TEST(B01_extend_makes_the_next_commit_longer),
    TEST(B01_stores_past_the_end_are_in_no_commit),
    TEST(B01_several_files_commit_as_one),
    TEST(B01_msync_of_a_range_with_both_kinds_of_files),
    TEST(B01_all_mappings_of_the_file_are_atomic),
    TEST(B01_commit_through_any_mapping),
    TEST(B01_async_commit_is_of_what_was_stored_before),
    TEST(B01_commit_that_was_begun_is_told_when_it_is_complete),
    TEST(B01_threads_commit_together),
    TEST(B01_stores_beside_commits_are_whole_and_not_lost),
    TEST(B01_stores_beside_rollbacks_are_taken_back_or_stay),
    TEST(B01_hooks_see_what_is_committed),
    TEST(B01_commit_that_a_hook_refuses_has_not_happened),
    TEST(B01_snapshot_stays_as_it_was_beside_a_writer),
    TEST(B01_ftruncate_of_a_file_with_a_snapshot_only_is_a_commit),
    TEST(B01_snapshot_is_not_to_be_written),
    TEST(B01_program_that_is_killed_leaves_its_last_commit),
    TEST(B01_plain_mapping_after_a_crash_shows_the_last_commit),
    TEST(B01_another_process_is_kept_out),
    TEST(B01_child_stores_and_commits),
    TEST(B01_what_cannot_be_atomic_is_refused),
    TEST(B01_what_is_behind_a_filter_cannot_be_atomic),
    TEST(B01_calls_over_holes_change_nothing),
    TEST_IN_OWN_PROCESS(B01_many_commits_go_through_a_small_journal, "QUIRE_JOURNAL=1M"),
    TEST_IN_OWN_PROCESS(B01_commit_that_the_journal_does_not_hold_is_ENOSPC, "QUIRE_JOURNAL=1M"),
    TEST_BEFORE_START(B01_journal_that_is_too_small_is_refused, "QUIRE_JOURNAL=4K"),
};

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--writer") == 0)
		return run_writer(argv[2]);
	return conformance_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
