/* SPDX-License-Identifier: MIT */
/*
 * test-inherit.c - what decides how a fork repeats a mapping, as far as it shows without one: row M18
 *
 * Memory that a fork repeats in one way is one mapping, and memory that it repeats in two ways is two, which mremap tells apart: it
 * grows one mapping only. The same is true of the kernel.
 */
#include "support.h"

/* n pages that a fork repeats as a whole; they are somewhere else afterwards, or where they were. */
#define assert_one_mapping(p, n)                                                                                                   \
	do {                                                                                                                       \
		char *grown_ = quire_mremap(p, PAGES(n), PAGES((n) + 1), MREMAP_MAYMOVE);                                          \
                                                                                                                                   \
		assert_ptr_not_equal(grown_, MAP_FAILED);                                                                          \
		assert_ok(quire_munmap(grown_ + PAGES(n), PAGES(1)));                                                              \
		(p) = grown_;                                                                                                      \
	} while (0)
#define assert_several_mappings(p, n) assert_fails(quire_mremap(p, PAGES(n), PAGES((n) + 1), MREMAP_MAYMOVE), EFAULT)

static const int all_advice[] = {MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK};

/* ---- Linux: advice ---- */

static void M18_advice_about_forks_changes_nothing_here(void **state)
{
	int fd = file_new(PAGES(2));
	char *shared = map_shared(fd, 2), *private = map_private(fd, 2), *anonymous = map_anonymous(2);
	char *shared_anonymous = map(NULL, PAGES(2), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	shared[0] = private[0] = anonymous[0] = shared_anonymous[0] = 'k';
	for (size_t i = 0; i < 4; i++) {
		if (all_advice[i] != MADV_WIPEONFORK) {
			assert_ok(quire_madvise(shared, PAGES(2), all_advice[i]));
			assert_ok(quire_madvise(private, PAGES(2), all_advice[i]));
			assert_ok(quire_madvise(shared_anonymous, PAGES(2), all_advice[i]));
		}
		assert_ok(quire_madvise(anonymous, PAGES(2), all_advice[i]));
		assert_loads(shared, 'k');
		assert_loads(private, 'k');
		assert_loads(anonymous, 'k');
		assert_loads(shared_anonymous, 'k');
		assert_stores(anonymous + PAGES(1), 's');
	}
	unmap(shared, 2);
	unmap(private, 2);
	unmap(anonymous, 2);
	unmap(shared_anonymous, 2);
}

static void M18_wipeonfork_of_what_is_not_private_anonymous_is_EINVAL(void **state)
{
	int fd = file_new(PAGES(2));
	char *shared = map_shared(fd, 2), *private = map_private(fd, 2);
	char *shared_anonymous = map(NULL, PAGES(2), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_fails(quire_madvise(shared, PAGES(2), MADV_WIPEONFORK), EINVAL);
	assert_fails(quire_madvise(private, PAGES(2), MADV_WIPEONFORK), EINVAL);
	assert_fails(quire_madvise(shared_anonymous, PAGES(2), MADV_WIPEONFORK), EINVAL);
	unmap(shared, 2);
	unmap(private, 2);
	unmap(shared_anonymous, 2);
}

static void M18_wipeonfork_does_not_ask_for_the_protection(void **state)
{
	char *p = map(NULL, PAGES(2), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	assert_ok(quire_madvise(p, PAGES(1), MADV_WIPEONFORK));
	assert_several_mappings(p, 2);
	unmap(p, 2);
}

static void M18_wipeonfork_that_meets_a_file_is_EINVAL_whatever_else_is_wrong(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_anonymous(6);

	(void)state;
	map(p + PAGES(4), PAGES(2), RW, MAP_FIXED | MAP_PRIVATE, fd, 0);
	assert_fails(quire_madvise(p, PAGES(6), MADV_WIPEONFORK), EINVAL);
	unmap(p + PAGES(2), 1);
	assert_fails(quire_madvise(p, PAGES(6), MADV_WIPEONFORK), EINVAL);
	unmap(p, 6);
}

static void M18_advice_about_forks_over_a_hole_is_ENOMEM_and_is_taken_around_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		char *p = map_anonymous(9);
		const int undone[] = {MADV_DOFORK, MADV_DONTFORK, MADV_KEEPONFORK, MADV_WIPEONFORK};

		assert_ok(quire_madvise(p, PAGES(9), undone[i]));
		unmap(p + PAGES(4), 1);
		assert_fails(quire_madvise(p + PAGES(1), PAGES(7), all_advice[i]), ENOMEM);
		assert_several_mappings(p, 4);
		assert_several_mappings(p + PAGES(5), 4);
		assert_ok(quire_madvise(p, PAGES(4), all_advice[i]));
		assert_fails(quire_madvise(p + PAGES(4), PAGES(1), all_advice[i]), ENOMEM);
		assert_one_mapping(p, 4);
		assert_ok(quire_munmap(p, PAGES(4)));
	}
}

static void M18_bad_ranges_of_advice_about_forks(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_fails(quire_madvise(p + 1, PAGES(1), all_advice[i]), EINVAL);
		assert_ok(quire_madvise(p, 0, all_advice[i]));
		assert_fails(quire_madvise(quiet(), PAGES(1), all_advice[i]), ENOMEM);
	}
	unmap(p, 2);
}

static void M18_advice_splits_and_taken_back_joins(void **state)
{
	char *p = map_anonymous(6);

	(void)state;
	for (size_t i = 0; i < 4; i += 2) {
		assert_ok(quire_madvise(p + PAGES(2), PAGES(2), all_advice[i]));
		assert_several_mappings(p, 6);
		assert_ok(quire_madvise(p, PAGES(6), all_advice[i]));
		assert_one_mapping(p, 6);
		assert_ok(quire_madvise(p + PAGES(3), PAGES(1), all_advice[i + 1]));
		assert_several_mappings(p, 6);
		assert_ok(quire_madvise(p, PAGES(6), all_advice[i + 1]));
		assert_one_mapping(p, 6);
	}
	unmap(p, 6);
}

static void M18_the_two_pairs_of_advice_do_not_undo_each_other(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	/* Wiped all of it, and half of it hidden. */
	assert_ok(quire_madvise(p, PAGES(4), MADV_WIPEONFORK));
	assert_ok(quire_madvise(p, PAGES(2), MADV_DONTFORK));
	assert_several_mappings(p, 4);
	assert_ok(quire_madvise(p, PAGES(2), MADV_DOFORK));
	assert_one_mapping(p, 4);
	/* Hidden all of it, and half of it not wiped any more. */
	assert_ok(quire_madvise(p, PAGES(4), MADV_DONTFORK));
	assert_ok(quire_madvise(p, PAGES(2), MADV_KEEPONFORK));
	assert_several_mappings(p, 4);
	assert_ok(quire_madvise(p + PAGES(2), PAGES(2), MADV_KEEPONFORK));
	assert_one_mapping(p, 4);
	assert_ok(quire_madvise(p, PAGES(2), MADV_DOFORK));
	assert_several_mappings(p, 4);
	/* Hidden and then wiped is the same as wiped and then hidden. */
	assert_ok(quire_madvise(p + PAGES(2), PAGES(2), MADV_WIPEONFORK));
	assert_ok(quire_madvise(p, PAGES(2), MADV_WIPEONFORK));
	assert_ok(quire_madvise(p, PAGES(2), MADV_DONTFORK));
	assert_one_mapping(p, 4);
	unmap(p, 4);
}

static void M18_mapping_that_replaces_another_is_inherited_as_new(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i += 2) {
		char *p = map_anonymous(4);

		assert_ok(quire_madvise(p, PAGES(4), all_advice[i]));
		map(p + PAGES(2), PAGES(2), RW, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
		assert_several_mappings(p, 4);
		assert_ok(quire_madvise(p, PAGES(2), all_advice[i + 1]));
		assert_one_mapping(p, 4);
		unmap(p, 4);
	}
}

/* Four pages of each, the right ones moved there. */
static char *beside_each_other(int left_advice, int moved_advice)
{
	char *p = map_anonymous(9), *q = map_anonymous(4);

	assert_ok(quire_madvise(p, PAGES(4), left_advice));
	assert_ok(quire_madvise(q, PAGES(4), moved_advice));
	assert_ptr_equal(quire_mremap(q, PAGES(4), PAGES(4), MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGES(4)), p + PAGES(4));
	return p;
}

static void M18_advice_moves_along(void **state)
{
	char *p;

	(void)state;
	p = beside_each_other(MADV_WIPEONFORK, MADV_WIPEONFORK);
	assert_one_mapping(p, 8);
	unmap(p, 8);
#ifndef KERNEL_ORACLE
	/* Moved memory of this kind is not joined by the kernel. */
	p = beside_each_other(MADV_DONTFORK, MADV_DONTFORK);
	assert_one_mapping(p, 8);
	unmap(p, 8);
#endif
	for (size_t i = 0; i < 4; i += 2) {
		p = beside_each_other(all_advice[i + 1], all_advice[i]);
		assert_several_mappings(p, 8);
		unmap(p, 9);
	}
}

static void M18_advice_of_a_file_moves_along(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 9), *q = map(NULL, PAGES(4), RW, MAP_SHARED, fd, (off_t)PAGES(4));

	(void)state;
	assert_ok(quire_madvise(p, PAGES(4), MADV_DONTFORK));
	assert_ok(quire_madvise(q, PAGES(4), MADV_DONTFORK));
	q = quire_mremap(q, PAGES(4), PAGES(4), MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGES(4));
	assert_ptr_equal(q, p + PAGES(4));
	unmap(p + PAGES(8), 1);
	assert_one_mapping(p, 8);
	assert_pattern(p, PAGES(8), 0);
	unmap(p, 8);
}

static void M18_grown_mapping_is_inherited_as_its_beginning(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i += 2) {
		char *p = map_anonymous(2);

		assert_ok(quire_madvise(p, PAGES(2), all_advice[i]));
		p = quire_mremap(p, PAGES(2), PAGES(4), MREMAP_MAYMOVE);
		assert_ptr_not_equal(p, MAP_FAILED);
		assert_ok(quire_madvise(p, PAGES(2), all_advice[i]));
		assert_one_mapping(p, 4);
		assert_ok(quire_madvise(p, PAGES(2), all_advice[i + 1]));
		assert_several_mappings(p, 4);
		unmap(p, 4);
	}
}

#ifndef KERNEL_ORACLE
/* ---- FreeBSD: minherit ---- */

static const int all_inheritance[] = {QUIRE_INHERIT_SHARE, QUIRE_INHERIT_COPY, QUIRE_INHERIT_NONE, QUIRE_INHERIT_ZERO};

static void M18_minherit_has_the_numbers_of_FreeBSD(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(all_inheritance[i], i);
}

static void M18_minherit_changes_nothing_here(void **state)
{
	int fd = file_new(PAGES(2));
	char *shared = map_shared(fd, 2), *private = map_private(fd, 2), *anonymous = map_anonymous(2);

	(void)state;
	shared[0] = private[0] = anonymous[0] = 'k';
	for (size_t i = 0; i < 4; i++) {
		assert_ok(quire_minherit(shared, PAGES(2), all_inheritance[i]));
		assert_ok(quire_minherit(private, PAGES(2), all_inheritance[i]));
		assert_ok(quire_minherit(anonymous, PAGES(2), all_inheritance[i]));
		assert_loads(shared, 'k');
		assert_loads(private, 'k');
		assert_loads(anonymous, 'k');
	}
	assert_ok(quire_msync(shared, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 'k');
	unmap(shared, 2);
	unmap(private, 2);
	unmap(anonymous, 2);
}

static void M18_minherit_EINVAL_bad_arguments(void **state)
{
	char *p = map_anonymous(2);

	(void)state;
	assert_fails(quire_minherit(p, PAGES(1), -1), EINVAL);
	assert_fails(quire_minherit(p, PAGES(1), 4), EINVAL);
	assert_message_number("quire_minherit", 4);
	assert_fails(quire_minherit(p, 0, 4), EINVAL);
	assert_fails(quire_minherit(p, SIZE_MAX, QUIRE_INHERIT_NONE), EINVAL);
	assert_fails(quire_minherit(p + 1, SIZE_MAX - 1, QUIRE_INHERIT_NONE), EINVAL);
	assert_one_mapping(p, 2);
	unmap(p, 2);
}

static void M18_minherit_ENOMEM_hole(void **state)
{
	char *p = map_anonymous(9), *kernels;

	(void)state;
	unmap(p + PAGES(4), 1);
	for (size_t i = 1; i < 4; i++)
		assert_fails(quire_minherit(p + PAGES(1), PAGES(6), all_inheritance[i]), ENOMEM);
	/* A failed call has changed nothing. */
	assert_one_mapping(p, 4);
	assert_fails(quire_minherit(quiet(), PAGES(1), QUIRE_INHERIT_NONE), ENOMEM);
	kernels = mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(kernels, MAP_FAILED);
	assert_fails(quire_minherit(kernels, PAGES(1), QUIRE_INHERIT_NONE), ENOMEM);
	assert_message("quire_minherit", "Quire's");
	assert_int_equal(munmap(kernels, PAGES(1)), 0);
	unmap(p, 4);
}

/* What is shared with children to come has the bytes that it had, in the file and here. */
static void M18_private_memory_that_is_made_shared_keeps_its_bytes(void **state)
{
	int fd = file_new(PAGES(6) - 100);
	char *p = map_private(fd, 8), *q = map_anonymous(8), *elsewhere = map_shared(fd, 6);

	(void)state;
	p[0] = p[PAGES(4)] = q[0] = q[PAGES(4)] = 'k';
	assert_loads(p + PAGES(1), pattern((off_t)PAGES(1)));
	elsewhere[PAGES(2)] = 's';
	assert_ok(quire_mprotect(p + PAGES(4), PAGES(1), PROT_READ));
	assert_ok(quire_mprotect(q + PAGES(5), PAGES(1), PROT_NONE));
	evict(p + PAGES(4), 1);
	assert_ok(quire_minherit(p, PAGES(8), QUIRE_INHERIT_SHARE));
	assert_ok(quire_minherit(q, PAGES(8), QUIRE_INHERIT_SHARE));
	assert_loads(p, 'k');
	assert_loads(p + PAGES(2), 's');
	assert_loads(p + PAGES(4), 'k');
	assert_pattern(p + PAGES(1), PAGES(1), PAGES(1));
	assert_pattern(p + PAGES(3), PAGES(1), PAGES(3));
	assert_pattern(p + PAGES(5), PAGES(1) - 100, PAGES(5));
	assert_zeros(p + PAGES(6) - 100, 100);
	/* What lies past the end of the file has no bytes that could be shared. */
	assert_past_the_end(p + PAGES(6));
	assert_loads(q, 'k');
	assert_loads(q + PAGES(4), 'k');
	assert_zeros(q + PAGES(1), PAGES(3));
	assert_zeros(q + PAGES(6), PAGES(2));
	/* The protection is what it was, and may be changed to what it might have been. */
	assert_store_raises(p + PAGES(4), SIGSEGV, SEGV_ACCERR);
	assert_load_raises(q + PAGES(5), SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_mprotect(p + PAGES(4), PAGES(1), RW));
	assert_stores(p + PAGES(4), 't');
	assert_stores(p + PAGES(3), 't');
	assert_ok(quire_msync(p, PAGES(6), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), pattern((off_t)PAGES(3)));
	assert_int_equal(file_byte(fd, 0), pattern(0));
	unmap(elsewhere, 6);
	unmap(p, 8);
	unmap(q, 8);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 's');
}

static void M18_private_memory_of_more_than_the_budget_is_made_shared(void **state)
{
	size_t n = 2 * stats().budget_bytes / page_size;
	char *p = map_anonymous(n);

	(void)state;
	for (size_t i = 0; i < n; i += 1 + i % 3)
		memcpy(p + PAGES(i) + 8, &i, sizeof(i));
	assert_ok(quire_minherit(p, PAGES(n), QUIRE_INHERIT_SHARE));
	for (size_t i = 0, next = 0; i < n; i++) {
		size_t word;

		memcpy(&word, p + PAGES(i) + 8, sizeof(word));
		assert_int_equal(word, i == next ? i : 0);
		next += i == next ? 1 + i % 3 : 0;
	}
	assert_one_mapping(p, n);
	unmap(p, n);
}

static void M18_locked_memory_that_is_made_shared_stays_locked(void **state)
{
	char *p = map_anonymous(4);
	uint64_t before = stats().locked_bytes;

	(void)state;
	p[0] = p[PAGES(1)] = 'k';
	assert_ok(quire_mlock(p, PAGES(4)));
	assert_ok(quire_minherit(p + PAGES(1), PAGES(2), QUIRE_INHERIT_SHARE));
	assert_int_equal(stats().locked_bytes, before + PAGES(4));
	pressure();
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(quire_resident(p + PAGES(i), 1), 1);
	assert_ok(quire_munlock(p, PAGES(4)));
	assert_int_equal(stats().locked_bytes, before);
	unmap(p, 4);
}

/* A range is checked before anything of it is changed. */
static void M18_minherit_that_is_refused_makes_nothing_shared(void **state)
{
	char *p = map_anonymous(4), *hole = p + PAGES(2);

	(void)state;
	p[0] = 'k';
	unmap(hole, 1);
	assert_fails(quire_minherit(p, PAGES(4), QUIRE_INHERIT_SHARE), ENOMEM);
	assert_true(area_stats(p).flags & MAP_PRIVATE);
	assert_ok(quire_minherit(p, PAGES(2), QUIRE_INHERIT_SHARE));
	assert_true(area_stats(p).flags & MAP_SHARED);
	unmap(p, 4);
}

static void M18_minherit_takes_the_pages_that_hold_the_range(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	assert_ok(quire_minherit(p + PAGES(1) - 1, 0, QUIRE_INHERIT_NONE));
	assert_ok(quire_minherit(quiet(), 0, QUIRE_INHERIT_NONE));
	assert_one_mapping(p, 4);
	assert_ok(quire_minherit(p + PAGES(1) - 1, 2, QUIRE_INHERIT_NONE));
	assert_ok(quire_madvise(p + PAGES(2), PAGES(2), MADV_DONTFORK));
	assert_one_mapping(p, 4);
	unmap(p, 4);
}

/* Half of the pages are told by one word and half by the other, which is the same. */
static void check_same(char **p, int (*one)(char *), int (*other)(char *))
{
	assert_ok(one(*p));
	assert_ok(other(*p + PAGES(2)));
	assert_one_mapping(*p, 4);
}

#define INHERIT(name, what)                                                                                                        \
	static int name(char *p)                                                                                                   \
	{                                                                                                                          \
		return quire_minherit(p, PAGES(2), what);                                                                          \
	}
#define ADVISE(name, what)                                                                                                         \
	static int name(char *p)                                                                                                   \
	{                                                                                                                          \
		return quire_madvise(p, PAGES(2), what);                                                                           \
	}
INHERIT(inherit_share, QUIRE_INHERIT_SHARE)
INHERIT(inherit_copy, QUIRE_INHERIT_COPY)
INHERIT(inherit_none, QUIRE_INHERIT_NONE)
INHERIT(inherit_zero, QUIRE_INHERIT_ZERO)
ADVISE(dont_fork, MADV_DONTFORK)
ADVISE(do_fork, MADV_DOFORK)
ADVISE(wipe_on_fork, MADV_WIPEONFORK)
ADVISE(keep_on_fork, MADV_KEEPONFORK)

static void M18_both_families_say_the_same_of_private_memory(void **state)
{
	char *p = map_anonymous(4);

	(void)state;
	check_same(&p, inherit_zero, wipe_on_fork);
	check_same(&p, inherit_copy, keep_on_fork);
	check_same(&p, inherit_none, dont_fork);
	check_same(&p, inherit_copy, do_fork);
	/* What minherit says hides nothing. */
	check_same(&p, dont_fork, dont_fork);
	check_same(&p, inherit_zero, inherit_zero);
	check_same(&p, do_fork, wipe_on_fork);
	/* What is hidden comes back. */
	check_same(&p, inherit_none, dont_fork);
	check_same(&p, do_fork, do_fork);
	assert_ok(inherit_copy(p));
	assert_several_mappings(p, 4);
	check_same(&p, wipe_on_fork, do_fork);
	unmap(p, 4);
}

static void M18_both_families_say_the_same_of_shared_memory(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 4);

	(void)state;
	check_same(&p, inherit_none, dont_fork);
	check_same(&p, inherit_share, do_fork);
	assert_ok(inherit_copy(p));
	assert_several_mappings(p, 4);
	assert_ok(keep_on_fork(p));
	assert_several_mappings(p, 4);
	assert_ok(inherit_copy(p + PAGES(2)));
	assert_one_mapping(p, 4);
	/* It is not shared memory any more for nobody but a child. */
	p[0] = 's';
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 's');
	check_same(&p, inherit_zero, inherit_zero);
	check_same(&p, keep_on_fork, inherit_share);
	unmap(p, 4);
}

static void M18_inheritance_moves_along_and_ends_with_the_mapping(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 9), *q = map(NULL, PAGES(4), RW, MAP_SHARED, fd, (off_t)PAGES(4));

	(void)state;
	assert_ok(quire_minherit(p, PAGES(4), QUIRE_INHERIT_COPY));
	assert_ok(quire_minherit(q, PAGES(4), QUIRE_INHERIT_COPY));
	assert_ptr_equal(quire_mremap(q, PAGES(4), PAGES(4), MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGES(4)), p + PAGES(4));
	unmap(p + PAGES(8), 1);
	assert_one_mapping(p, 8);
	map(p + PAGES(4), PAGES(4), RW, MAP_FIXED | MAP_SHARED, fd, (off_t)PAGES(4));
	assert_several_mappings(p, 8);
	assert_ok(quire_minherit(p, PAGES(4), QUIRE_INHERIT_SHARE));
	assert_one_mapping(p, 8);
	unmap(p, 8);
}

static void M18_private_memory_of_dev_zero_can_be_wiped(void **state)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	char *p = map(NULL, PAGES(2), RW, MAP_PRIVATE, fd, 0);

	(void)state;
	close(fd);
	assert_ok(quire_madvise(p, PAGES(1), MADV_WIPEONFORK));
	assert_several_mappings(p, 2);
	unmap(p, 2);
}

static void M18_advice_that_is_refused_changes_nothing_and_names_the_mapping(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_anonymous(4);

	(void)state;
	map(p + PAGES(2), PAGES(2), RW, MAP_FIXED | MAP_PRIVATE, fd, 0);
	assert_fails(quire_madvise(p + PAGES(1), PAGES(3), MADV_WIPEONFORK), EINVAL);
	assert_message("quire_madvise", "private memory without a file");
	assert_message_number("quire_madvise", (uintptr_t)p + PAGES(2));
	unmap(p + PAGES(2), 2);
	assert_one_mapping(p, 2);
	unmap(p, 2);
}
#endif

static const struct conformance_test tests[] = {
    TEST(M18_advice_about_forks_changes_nothing_here),
    TEST(M18_wipeonfork_of_what_is_not_private_anonymous_is_EINVAL),
    TEST(M18_wipeonfork_does_not_ask_for_the_protection),
    TEST(M18_wipeonfork_that_meets_a_file_is_EINVAL_whatever_else_is_wrong),
    TEST(M18_advice_about_forks_over_a_hole_is_ENOMEM_and_is_taken_around_it),
    TEST(M18_bad_ranges_of_advice_about_forks),
    TEST(M18_advice_splits_and_taken_back_joins),
    TEST(M18_the_two_pairs_of_advice_do_not_undo_each_other),
    TEST(M18_mapping_that_replaces_another_is_inherited_as_new),
    TEST(M18_advice_moves_along),
    TEST(M18_advice_of_a_file_moves_along),
    TEST(M18_grown_mapping_is_inherited_as_its_beginning),
#ifndef KERNEL_ORACLE
    TEST(M18_minherit_has_the_numbers_of_FreeBSD),
    TEST(M18_minherit_changes_nothing_here),
    TEST(M18_minherit_EINVAL_bad_arguments),
    TEST(M18_minherit_ENOMEM_hole),
    TEST(M18_private_memory_that_is_made_shared_keeps_its_bytes),
    TEST(M18_private_memory_of_more_than_the_budget_is_made_shared),
    TEST(M18_locked_memory_that_is_made_shared_stays_locked),
    TEST(M18_minherit_that_is_refused_makes_nothing_shared),
    TEST(M18_minherit_takes_the_pages_that_hold_the_range),
    TEST(M18_both_families_say_the_same_of_private_memory),
    TEST(M18_both_families_say_the_same_of_shared_memory),
    TEST(M18_inheritance_moves_along_and_ends_with_the_mapping),
    TEST(M18_private_memory_of_dev_zero_can_be_wiped),
    TEST(M18_advice_that_is_refused_changes_nothing_and_names_the_mapping),
#endif
};

CONFORMANCE_MAIN(tests)
