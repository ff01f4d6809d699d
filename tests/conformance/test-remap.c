/* SPDX-License-Identifier: MIT */
/*
 * test-remap.c - what mremap promises: rows R01 and R02
 */
#include "support.h"

#define remap(old, n, m, ...) ((char *)remap_or_fail(quire_mremap(old, PAGES(n), PAGES(m), __VA_ARGS__), __FILE__, __LINE__))

static void *remap_or_fail(void *p, const char *file, int line)
{
	check_call((intptr_t)p, 0, "quire_mremap", file, line);
	return p;
}

/* Mapped where nothing is around it. */
static char *map_quietly(size_t n, int flags, int fd)
{
	return map(quiet(), PAGES(n), RW, flags | MAP_FIXED, fd, 0);
}

static char *anonymous_quietly(size_t n)
{
	return map_quietly(n, MAP_PRIVATE | MAP_ANONYMOUS, ANON);
}

static void R01_grows_in_place_where_there_is_room(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_quietly(2, MAP_SHARED, fd);

	(void)state;
	p[0] = 'g';
	assert_ptr_equal(remap(p, 2, 4, 0), p);
	assert_loads(p, 'g');
	assert_pattern(p + PAGES(1), PAGES(3), PAGES(1));
	p[PAGES(3)] = 'h';
	unmap(p, 4);
	assert_int_equal(file_byte(fd, 0), 'g');
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), 'h');
}

static void R01_grown_anonymous_memory_is_zero_filled(void **state)
{
	char *p = anonymous_quietly(1);

	(void)state;
	memset(p, 'a', PAGES(1));
	assert_ptr_equal(remap(p, 1, 3, 0), p);
	assert_filled(p, PAGES(1), 'a');
	assert_zeros(p + PAGES(1), PAGES(2));
	unmap(p, 3);
}

static void R01_shrinks_in_place(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_quietly(3, MAP_SHARED, fd);

	(void)state;
	p[PAGES(2)] = 'l';
	assert_ptr_equal(remap(p, 3, 1, 0), p);
	assert_pattern(p, PAGES(1), 0);
	assert_unmapped(p + PAGES(1));
	assert_unmapped(p + PAGES(2));
	unmap(p, 1);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 'l');
}

static void R01_no_room_and_not_allowed_to_move_is_ENOMEM(void **state)
{
	char *p = anonymous_quietly(2);

	(void)state;
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(1), PROT_READ));
	p[0] = 'k';
	assert_fails(quire_mremap(p, PAGES(1), PAGES(2), 0), ENOMEM);
	assert_loads(p, 'k');
	assert_store_raises(p + PAGES(1), SIGSEGV, SEGV_ACCERR);
	unmap(p, 2);
}

static void R01_moves_where_it_may_and_must(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_quietly(2, MAP_SHARED, fd);
	char *q;

	(void)state;
	map(p + PAGES(2), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	p[1] = 'm';
	q = remap(p, 2, 8, MREMAP_MAYMOVE);
	assert_ptr_not_equal(q, p);
	assert_loads(q, pattern(0));
	assert_loads(q + 1, 'm');
	assert_pattern(q + 2, PAGES(8) - 2, 2);
	assert_unmapped(p);
	assert_unmapped(p + PAGES(1));
	assert_loads(p + PAGES(2), 0);
	unmap(q, 8);
	unmap(p + PAGES(2), 1);
	assert_int_equal(file_byte(fd, 1), 'm');
}

static void R01_grows_far_beyond_its_neighbourhood(void **state)
{
	const size_t n = ((size_t)1 << 42) / page_size;
	int fd = file_new(PAGES(2));
	char *p = map_quietly(1, MAP_SHARED, fd);
	char *q;

	(void)state;
	p[0] = 'm';
	q = remap(p, 1, n, MREMAP_MAYMOVE);
	assert_ptr_not_equal(q, p);
	assert_loads(q, 'm');
	assert_pattern(q + PAGES(1), PAGES(1), PAGES(1));
	assert_past_the_end(q + PAGES(2));
	assert_past_the_end(q + PAGES(n - 1));
	assert_unmapped(p);
	unmap(q, n);
	assert_int_equal(file_byte(fd, 0), 'm');
}

static void R01_what_shrinks_may_be_several_mappings(void **state)
{
	char *p = anonymous_quietly(5);

	(void)state;
	p[0] = 'k';
	p[PAGES(1)] = 'l';
	assert_ok(quire_mprotect(p + PAGES(2), PAGES(1), PROT_READ));
	assert_ok(quire_mprotect(p + PAGES(3), PAGES(1), PROT_NONE));
	assert_ptr_equal(remap(p, 4, 1, 0), p);
	assert_loads(p, 'k');
	for (size_t i = 1; i < 4; i++)
		assert_unmapped(p + PAGES(i));
	assert_loads(p + PAGES(4), 0);
	unmap(p, 5);
}

static void R01_what_stays_as_it_is_may_be_several_mappings(void **state)
{
	char *p = anonymous_quietly(5);

	(void)state;
	p[0] = 'k';
	assert_ok(quire_mprotect(p + PAGES(1), PAGES(1), PROT_READ));
	unmap(p + PAGES(2), 1);
	assert_ptr_equal(remap(p, 4, 4, 0), p);
	assert_ptr_equal(remap(p, 4, 4, MREMAP_MAYMOVE), p);
	assert_loads(p, 'k');
	assert_unmapped(p + PAGES(2));
	assert_loads(p + PAGES(3), 0);
	unmap(p, 5);
}

static void R01_fixed_moves_to_its_address_and_replaces(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	char *target = map_anonymous(4);

	(void)state;
	memset(target, 't', PAGES(4));
	p[0] = 'f';
	assert_ptr_equal(remap(p, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGES(1)), target + PAGES(1));
	assert_unmapped(p);
	assert_filled(target, PAGES(1), 't');
	assert_loads(target + PAGES(1), 'f');
	assert_pattern(target + PAGES(2), PAGES(1), PAGES(1));
	assert_filled(target + PAGES(3), PAGES(1), 't');
	unmap(target, 4);
	assert_int_equal(file_byte(fd, 0), 'f');
}

static void R01_part_of_a_mapping_moves(void **state)
{
	char *p = anonymous_quietly(3);
	char *to = p + PAGES(8);

	(void)state;
	for (size_t i = 0; i < 3; i++)
		p[PAGES(i)] = (char)('a' + i);
	assert_ptr_equal(remap(p + PAGES(1), 1, 1, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_loads(p, 'a');
	assert_unmapped(p + PAGES(1));
	assert_loads(p + PAGES(2), 'c');
	assert_loads(to, 'b');
	unmap(p, 9);
}

static void R01_private_copies_move_along(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_quietly(4, MAP_PRIVATE, fd);
	char *to = p + PAGES(8);

	(void)state;
	p[0] = 'x';
	p[PAGES(2)] = 'y';
	evict(p, 4);
	p[PAGES(3)] = 'z';
	assert_ptr_equal(remap(p, 4, 4, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_loads(to, 'x');
	assert_pattern(to + 1, PAGES(2) - 1, 1);
	assert_loads(to + PAGES(2), 'y');
	assert_loads(to + PAGES(3), 'z');
	unmap(to, 4);
	assert_int_equal(file_byte(fd, 0), pattern(0));
}

static void R01_protection_moves_along(void **state)
{
	char *p = map(quiet(), PAGES(1), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	char *to = p + PAGES(4);

	(void)state;
	assert_ptr_equal(remap(p, 1, 2, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_loads(to + PAGES(1), 0);
	assert_store_raises(to, SIGSEGV, SEGV_ACCERR);
	assert_store_raises(to + PAGES(1), SIGSEGV, SEGV_ACCERR);
	unmap(to, 2);
}

static void R01_a_store_after_the_move_reaches_the_file(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_quietly(2, MAP_SHARED, fd);
	char *to = p + PAGES(4);

	(void)state;
	assert_loads(p, pattern(0));
	remap(p, 2, 2, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	to[0] = 'a';
	to[PAGES(1)] = 'b';
	assert_ok(quire_msync(to, PAGES(2), MS_SYNC));
	assert_int_equal(file_byte(fd, 0), 'a');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'b');
	unmap(to, 2);
}

static void R01_dontunmap_leaves_anonymous_zeros_behind(void **state)
{
	char *p = map_anonymous(2);
	char *q;

	(void)state;
	memset(p, 'd', PAGES(2));
	q = remap(p, 2, 2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	assert_ptr_not_equal(q, p);
	assert_filled(q, PAGES(2), 'd');
	assert_zeros(p, PAGES(2));
	p[0] = 1;
	assert_loads(q, 'd');
	unmap(p, 2);
	unmap(q, 2);
}

static void R01_dontunmap_leaves_the_shared_object_behind(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);
	char *q;

	(void)state;
	p[0] = 'd';
	q = remap(p, 1, 1, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	assert_loads(p, 'd');
	assert_loads(q, 'd');
	p[1] = 'e';
	assert_loads(q + 1, 'e');
	unmap(p, 1);
	unmap(q, 1);
}

static void R01_dontunmap_takes_an_address_too(void **state)
{
	char *p = anonymous_quietly(1);
	char *to = p + PAGES(4);

	(void)state;
	p[0] = 'd';
	assert_ptr_equal(remap(p, 1, 1, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, to), to);
	assert_loads(to, 'd');
	assert_loads(p, 0);
	unmap(p, 5);
}

static void R01_dontunmap_takes_a_hint(void **state)
{
	char *p = anonymous_quietly(2), *free_place = p + PAGES(8);

	(void)state;
	p[0] = 'd';
	assert_ptr_equal(remap(p, 1, 1, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, free_place), free_place);
	assert_loads(free_place, 'd');
	assert_ptr_not_equal(remap(free_place, 1, 1, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, p + PAGES(1)), p + PAGES(1));
	assert_loads(free_place, 0);
	unmap(p, 9);
}

static void R01_old_size_zero_duplicates_a_shared_mapping(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	char *q = remap(p, 0, 2, MREMAP_MAYMOVE);

	(void)state;
	assert_ptr_not_equal(q, p);
	assert_pattern(q, PAGES(2), 0);
	p[0] = 'x';
	assert_loads(q, 'x');
	unmap(p, 2);
	assert_loads(q, 'x');
	unmap(q, 2);
}

static void R01_old_size_zero_duplicates_shared_anonymous_memory(void **state)
{
	char *p = map(NULL, PAGES(2), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
	char *q;

	(void)state;
	p[PAGES(1)] = 'x';
	q = remap(p, 0, 2, MREMAP_MAYMOVE);
	assert_loads(q + PAGES(1), 'x');
	q[0] = 'y';
	assert_loads(p, 'y');
	unmap(p, 2);
	unmap(q, 2);
}

static void R01_old_size_zero_of_private_memory_is_EINVAL(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_fails(quire_mremap(p, 0, PAGES(1), MREMAP_MAYMOVE), EINVAL);
	unmap(p, 1);
}

static void R01_grown_past_the_end_of_the_file_is_SIGBUS(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_quietly(1, MAP_SHARED, fd);

	(void)state;
	assert_ptr_equal(remap(p, 1, 2, 0), p);
	assert_past_the_end(p + PAGES(1));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
	assert_loads(p + PAGES(1), 0);
	unmap(p, 2);
}

static void R01_nothing_there_is_EFAULT(void **state)
{
	char *p = anonymous_quietly(2);

	(void)state;
	assert_fails(quire_mremap(p + PAGES(4), PAGES(1), PAGES(2), MREMAP_MAYMOVE), EFAULT);
	/* The old range reaches past its mapping. */
	assert_fails(quire_mremap(p, PAGES(3), PAGES(4), MREMAP_MAYMOVE), EFAULT);
	assert_loads(p + PAGES(1), 0);
	unmap(p, 2);
}

static void R01_growing_two_mappings_at_once_is_EFAULT(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = anonymous_quietly(1);

	(void)state;
	map(p + PAGES(1), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, 0);
	assert_fails(quire_mremap(p, PAGES(2), PAGES(3), MREMAP_MAYMOVE), EFAULT);
	assert_loads(p, 0);
	assert_loads(p + PAGES(1), pattern(0));
	unmap(p, 2);
}

static void R01_bad_arguments_are_EINVAL(void **state)
{
	char *p = anonymous_quietly(2);
	char *to = p + PAGES(8);

	(void)state;
	p[0] = 'k';
	assert_fails(quire_mremap(p + 1, PAGES(1), PAGES(2), MREMAP_MAYMOVE), EINVAL);
	assert_fails(quire_mremap(p, PAGES(1), 0, MREMAP_MAYMOVE), EINVAL);
	assert_fails(quire_mremap(p, PAGES(1), PAGES(2), 0x1000), EINVAL);
	assert_fails(quire_mremap(p, PAGES(1), PAGES(1), MREMAP_FIXED, to), EINVAL);
	assert_fails(quire_mremap(p, PAGES(1), PAGES(1), MREMAP_MAYMOVE | MREMAP_FIXED, to + 1), EINVAL);
	assert_fails(quire_mremap(p, PAGES(2), PAGES(2), MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGES(1)), EINVAL);
	assert_fails(quire_mremap(p, PAGES(1), PAGES(1), MREMAP_DONTUNMAP, NULL), EINVAL);
	assert_fails(quire_mremap(p, PAGES(1), PAGES(2), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), EINVAL);
	assert_loads(p, 'k');
	assert_loads(p + PAGES(1), 0);
	unmap(p, 2);
}

static void R01_locked_memory_over_its_limit_is_EAGAIN(void **state)
{
	char *p;

	(void)state;
	limit_locked_memory(PAGES(16));
	p = map(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0);
	p[0] = 'k';
	assert_fails(quire_mremap(p, PAGES(8), PAGES(32), MREMAP_MAYMOVE), EAGAIN);
	assert_loads(p, 'k');
	unmap(p, 8);
}

static void R01_grown_locked_memory_is_resident(void **state)
{
	char *p = map(NULL, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0);

	(void)state;
	p = remap(p, 2, 6, MREMAP_MAYMOVE);
	assert_int_equal(resident_pages(p, 6), 6);
	unmap(p, 6);
}

/* ---- R02: the realloc of the literature ---- */

struct vector {
	int *numbers;
	size_t used, bytes;
};

static void append(struct vector *vector, int number)
{
	if (vector->used * sizeof(int) == vector->bytes) {
		void *grown_to = quire_mremap(vector->numbers, vector->bytes, 2 * vector->bytes, MREMAP_MAYMOVE);

		assert_ptr_not_equal(grown_to, MAP_FAILED);
		vector->numbers = grown_to;
		vector->bytes *= 2;
	}
	vector->numbers[vector->used++] = number;
}

static void R02_realloc_on_mremap(void **state)
{
	struct vector a = {.numbers = (int *)map_anonymous(1), .bytes = PAGES(1)};
	struct vector b = {.numbers = (int *)map_anonymous(1), .bytes = PAGES(1)};
	const int n = (int)(PAGES(64) / sizeof(int));

	(void)state;
	for (int i = 0; i < n; i++) {
		append(&a, i);
		append(&b, -i);
	}
	for (int i = 0; i < n; i++) {
		assert_int_equal(a.numbers[i], i);
		assert_int_equal(b.numbers[i], -i);
	}
	assert_ok(quire_munmap(a.numbers, a.bytes));
	assert_ok(quire_munmap(b.numbers, b.bytes));
}

#ifndef KERNEL_ORACLE
/* More than fits twice, so that it is not promised at the new place beside the old one. */
static size_t two_thirds_of_what_may_be_locked(void)
{
	struct quire_stats now = stats();

	return (now.budget_bytes * 7 / 8 - now.buffer_bytes - now.locked_bytes) / page_size * 2 / 3;
}

static void move_locked(char *p, size_t n)
{
	char *to = p + PAGES(2 * n);
	size_t locked = stats().locked_bytes;

	assert_ok(quire_mlock(p, PAGES(n)));
	assert_ptr_equal(remap(p, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_int_equal(stats().locked_bytes, locked + PAGES(n));
	assert_int_equal(resident_pages(to, n), n);
	unmap(to, n);
	assert_int_equal(stats().locked_bytes, locked);
}

static void R01_much_locked_memory_moves(void **state)
{
	size_t n = two_thirds_of_what_may_be_locked();

	(void)state;
	move_locked(anonymous_quietly(n), n);
	move_locked(map_quietly(n, MAP_SHARED, file_new(PAGES(n))), n);
}

static void R01_moving_what_was_hardly_touched_costs_little(void **state)
{
	const size_t n = ((size_t)64 << 30) / page_size;
	char *p = map(NULL, PAGES(n), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, ANON, 0);
	char *to = mmap(NULL, PAGES(n), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct quire_stats before;

	(void)state;
	assert_ptr_not_equal(to, MAP_FAILED);
	p[PAGES(n / 2)] = 't';
	before = stats();
	assert_ptr_equal(remap(p, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	assert_true(stats().metadata_bytes < before.metadata_bytes + ((size_t)1 << 20));
	assert_loads(to + PAGES(n / 2), 't');
	assert_loads(to, 0);
	unmap(to, n);
}

static void R01_moving_copies_and_reads_nothing(void **state)
{
	int fd = file_new(PAGES(16));
	char *p = map_quietly(16, MAP_SHARED, fd);
	char *to = p + PAGES(32);
	struct quire_stats before;

	(void)state;
	for (size_t i = 0; i < 16; i++)
		p[PAGES(i)] = 1;
	before = stats();
	remap(p, 16, 16, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	for (size_t i = 0; i < 16; i++)
		assert_loads(to + PAGES(i), 1);
	assert_int_equal(grown(before, copied_bytes), 0);
	assert_int_equal(grown(before, read_bytes), 0);
	assert_int_equal(grown(before, write_bytes), 0);
	unmap(to, 16);
}
#endif

static const struct conformance_test tests[] = {
    TEST(R01_grows_in_place_where_there_is_room),
    TEST(R01_grown_anonymous_memory_is_zero_filled),
    TEST(R01_shrinks_in_place),
    TEST(R01_no_room_and_not_allowed_to_move_is_ENOMEM),
    TEST(R01_moves_where_it_may_and_must),
    TEST(R01_grows_far_beyond_its_neighbourhood),
    TEST(R01_what_shrinks_may_be_several_mappings),
    TEST(R01_what_stays_as_it_is_may_be_several_mappings),
    TEST(R01_fixed_moves_to_its_address_and_replaces),
    TEST(R01_part_of_a_mapping_moves),
    TEST(R01_private_copies_move_along),
    TEST(R01_protection_moves_along),
    TEST(R01_a_store_after_the_move_reaches_the_file),
    TEST(R01_dontunmap_leaves_anonymous_zeros_behind),
    TEST(R01_dontunmap_leaves_the_shared_object_behind),
    TEST(R01_dontunmap_takes_an_address_too),
    TEST(R01_dontunmap_takes_a_hint),
    TEST(R01_old_size_zero_duplicates_a_shared_mapping),
    TEST(R01_old_size_zero_duplicates_shared_anonymous_memory),
    TEST(R01_old_size_zero_of_private_memory_is_EINVAL),
    TEST(R01_grown_past_the_end_of_the_file_is_SIGBUS),
    TEST(R01_nothing_there_is_EFAULT),
    TEST(R01_growing_two_mappings_at_once_is_EFAULT),
    TEST(R01_bad_arguments_are_EINVAL),
    TEST(R01_locked_memory_over_its_limit_is_EAGAIN),
    TEST(R01_grown_locked_memory_is_resident),
    TEST(R02_realloc_on_mremap),
#ifndef KERNEL_ORACLE
    TEST(R01_much_locked_memory_moves),
    TEST(R01_moving_what_was_hardly_touched_costs_little),
    TEST(R01_moving_copies_and_reads_nothing),
#endif
};

CONFORMANCE_MAIN(tests)
