/* SPDX-License-Identifier: MIT */
/*
 * test-collapse.c - M11: files mapped by entries of 2 MiB
 *
 * What the kernel then maps by itself the engine does not see. Each test here does to such a range what would show that something was
 * missed: stores through what was for reading only, frames that go, files that are cut, processes and threads beside.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "support.h"
#include "util/fail.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define MIB(n) ((size_t)(n) << 20)
#define CHUNK  MIB(2)

/* What the kernel maps by entries of 2 MiB in the range. */
static size_t mapped_huge(const char *addr, size_t len)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long from = 0, end = 0, kib;
	size_t sum = 0;
	char line[512];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &end) == 2)
			continue;
		if (sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1 && from < (uintptr_t)addr + len && end > (uintptr_t)addr)
			sum += (size_t)kib << 10;
	}
	fclose(file);
	return sum;
}

/* A file of n chunks, mapped for reading and collapsed. */
static char *map_collapsed(int fd, size_t n)
{
	char *p;

	assert_ok(quire_set_memory(MIB(32)));
	p = map(NULL, n * CHUNK, PROT_READ, MAP_SHARED, fd, 0);
	if (quire_madvise(p, n * CHUNK, MADV_COLLAPSE) < 0 && errno == EINVAL &&
	    access("/sys/kernel/mm/transparent_hugepage", F_OK) < 0)
		skip_because("the kernel has no transparent huge pages");
	assert_ok(quire_madvise(p, n * CHUNK, MADV_COLLAPSE));
	return p;
}

/* By pressure alone, which takes as long as the writes of what is dirty take. */
static void press_out(char *p, size_t len)
{
	while (resident_pages(p, len / page_size) > 0)
		pressure();
}

static void M11_collapse_maps_a_file_by_entries_of_2_MiB(void **state)
{
	int fd = file_new(3 * CHUNK + PAGES(3));
	char *p = map_collapsed(fd, 3);

	(void)state;
	assert_pattern(p, 3 * CHUNK, 0);
	assert_int_equal(mapped_huge(p, 3 * CHUNK), 3 * CHUNK);
	assert_int_equal(stats().huge_bytes, 3 * CHUNK);
	assert_true(stats().resident_peak_bytes <= MIB(32));
	assert_ok(quire_munmap(p, 3 * CHUNK));
	settle();
	assert_int_equal(stats().huge_bytes, 0);
}

static void M11_what_is_read_as_a_whole_is_collapsed_by_itself(void **state)
{
	int fd = file_new(2 * CHUNK);
	char *p;

	(void)state;
	/* Skips where it cannot be. */
	assert_ok(quire_munmap(map_collapsed(fd, 2), 2 * CHUNK));
	p = map(NULL, 2 * CHUNK, PROT_READ, MAP_SHARED, fd, 0);
	assert_pattern(p, 2 * CHUNK, 0);
	while (stats().huge_bytes < 2 * CHUNK)
		usleep(10000);
	assert_pattern(p, 2 * CHUNK, 0);
	assert_int_equal(mapped_huge(p, 2 * CHUNK), 2 * CHUNK);
	assert_ok(quire_madvise(p, CHUNK, MADV_NOHUGEPAGE));
	assert_int_equal(stats().huge_bytes, CHUNK);
	assert_pattern(p, 2 * CHUNK, 0);
	assert_int_equal(mapped_huge(p, 2 * CHUNK), CHUNK);
	assert_fails(quire_madvise(p, CHUNK, MADV_COLLAPSE), EINVAL);
	assert_ok(quire_madvise(p, CHUNK, MADV_HUGEPAGE));
	assert_ok(quire_madvise(p, CHUNK, MADV_COLLAPSE));
	assert_int_equal(stats().huge_bytes, 2 * CHUNK);
	assert_ok(quire_munmap(p, 2 * CHUNK));
}

static void M11_what_is_not_for_reading_only_is_not_collapsed(void **state)
{
	int fd = file_new(CHUNK);
	char *p = map_collapsed(fd, 1), *q;

	(void)state;
	assert_ok(quire_munmap(p, CHUNK));
	p = map(NULL, CHUNK, RW, MAP_SHARED, fd, 0);
	assert_fails(quire_madvise(p, CHUNK, MADV_COLLAPSE), EINVAL);
	assert_message("quire_madvise", "MADV_COLLAPSE");
	/* Another mapping would lose what only its entries know. */
	q = map(NULL, CHUNK, PROT_READ, MAP_SHARED, fd, 0);
	assert_fails(quire_madvise(q, CHUNK, MADV_COLLAPSE), EINVAL);
	assert_ok(quire_munmap(p, CHUNK));
	assert_ok(quire_mlock(q, PAGES(1)));
	assert_fails(quire_madvise(q, CHUNK, MADV_COLLAPSE), EINVAL);
	assert_ok(quire_munlock(q, PAGES(1)));
	assert_ok(quire_madvise(q, CHUNK, MADV_COLLAPSE));
	assert_ok(quire_mlock(q, PAGES(1)));
	assert_int_equal(stats().huge_bytes, 0);
	assert_pattern(q, CHUNK, 0);
	assert_ok(quire_munmap(q, CHUNK));
	p = map(NULL, CHUNK, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_fails(quire_madvise(p, CHUNK, MADV_COLLAPSE), EINVAL);
	assert_ok(quire_munmap(p, CHUNK));
}

/* Entries that were made for reading carry no mark; none must be left when stores are let through. */
static void M11_store_after_collapse_reaches_the_file(void **state)
{
	int fd = file_new(2 * CHUNK);
	char *p = map_collapsed(fd, 2);

	(void)state;
	assert_pattern(p, 2 * CHUNK, 0);
	assert_ok(quire_mprotect(p, 2 * CHUNK, RW));
	assert_int_equal(stats().huge_bytes, 0);
	for (size_t i = 0; i < 2 * CHUNK; i += PAGES(7))
		assert_stores(p + i, 's');
	assert_ok(quire_msync(p, 2 * CHUNK, MS_SYNC));
	for (size_t i = 0; i < 2 * CHUNK; i += PAGES(7))
		assert_int_equal(file_byte(fd, (off_t)i), 's');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), pattern((off_t)PAGES(1)));
	assert_ok(quire_munmap(p, 2 * CHUNK));
}

static void M11_stores_to_what_was_collapsed_survive_the_page_out_of_neighbours(void **state)
{
	int fd = file_new(CHUNK);
	char *p = map_collapsed(fd, 1);

	(void)state;
	assert_ok(quire_mprotect(p, CHUNK, RW));
	assert_stores_survive_page_out(p, fd, 0);
	assert_ok(quire_munmap(p, CHUNK));
}

/* Taken apart by pressure, or by a page-out of a part, the frame is one still, or some. */
static void M11_stores_survive_also_where_a_part_was_paged_out_before(void **state)
{
	int fd = file_new(2 * CHUNK);
	char *p = map_collapsed(fd, 2), *q;

	(void)state;
	assert_ok(quire_madvise(p + PAGES(3), PAGES(1), MADV_PAGEOUT));
	assert_pattern(p, CHUNK, 0);
	assert_int_equal(stats().huge_bytes, CHUNK);
	q = map(NULL, CHUNK, RW, MAP_SHARED, fd, 0);
	assert_stores_survive_page_out(q, fd, 0);
	assert_int_equal(stats().huge_bytes, CHUNK);
	/* What is mapped for stores may grow into what is collapsed. */
	q = quire_mremap(q, CHUNK, 2 * CHUNK, MREMAP_MAYMOVE);
	assert_true(q != MAP_FAILED);
	assert_int_equal(stats().huge_bytes, 0);
	assert_pattern(q + CHUNK, CHUNK, (off_t)CHUNK);
	for (size_t i = 0; i < CHUNK; i += PAGES(2))
		assert_stores(q + CHUNK + i, 't');
	assert_ok(quire_madvise(p + CHUNK + PAGES(1), PAGES(1), MADV_PAGEOUT));
	assert_ok(quire_msync(q, 2 * CHUNK, MS_SYNC));
	for (size_t i = 0; i < CHUNK; i += PAGES(2))
		assert_int_equal(file_byte(fd, (off_t)(CHUNK + i)), 't');
	assert_ok(quire_munmap(q, 2 * CHUNK));
	assert_ok(quire_munmap(p, 2 * CHUNK));
}

static void M11_part_of_what_is_collapsed_is_made_writable(void **state)
{
	int fd = file_new(2 * CHUNK);
	char *p = map_collapsed(fd, 2);

	(void)state;
	assert_ok(quire_mprotect(p + PAGES(100), PAGES(3), RW));
	assert_int_equal(stats().huge_bytes, CHUNK);
	assert_pattern(p, 2 * CHUNK, 0);
	assert_stores(p + PAGES(101), 's');
	assert_store_raises(p + PAGES(99), SIGSEGV, SEGV_ACCERR);
	assert_store_raises(p + PAGES(103), SIGSEGV, SEGV_ACCERR);
	assert_store_raises(p + CHUNK, SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_munmap(p, 2 * CHUNK));
	assert_int_equal(file_byte(fd, (off_t)PAGES(101)), 's');
}

static void M11_store_through_another_mapping_is_seen_and_written(void **state)
{
	int fd = file_new(CHUNK);
	char *p = map_collapsed(fd, 1), *q = map(NULL, CHUNK, RW, MAP_SHARED, fd, 0);

	(void)state;
	for (size_t i = 0; i < CHUNK; i += PAGES(5)) {
		assert_stores(q + i, 'q');
		assert_loads(p + i, 'q');
	}
	press_out(q, CHUNK);
	for (size_t i = 0; i < CHUNK; i += PAGES(5)) {
		assert_int_equal(file_byte(fd, (off_t)i), 'q');
		assert_loads(p + i, 'q');
	}
	assert_ok(quire_munmap(p, CHUNK));
	assert_ok(quire_munmap(q, CHUNK));
}

static void M11_collapsed_pages_are_paged_out_and_come_back(void **state)
{
	int fd = file_new(4 * CHUNK);
	char *p = map_collapsed(fd, 4);

	(void)state;
	/* One page, some pages, all. */
	assert_ok(quire_madvise(p + PAGES(3), PAGES(1), MADV_PAGEOUT));
	assert_int_equal(resident_pages(p, CHUNK / page_size), CHUNK / page_size - 1);
	assert_ok(quire_madvise(p + CHUNK, PAGES(300), MADV_PAGEOUT));
	assert_ok(quire_madvise(p + 2 * CHUNK, CHUNK, MADV_PAGEOUT));
	assert_int_equal(resident_pages(p, 4 * CHUNK / page_size), 4 * CHUNK / page_size - 1 - 300 - CHUNK / page_size);
	assert_int_equal(stats().huge_bytes, CHUNK);
	assert_pattern(p, 4 * CHUNK, 0);
	assert_ok(quire_madvise(p, 4 * CHUNK, MADV_COLLAPSE));
	press_out(p, 4 * CHUNK);
	assert_int_equal(stats().huge_bytes, 0);
	assert_true(stats().resident_peak_bytes <= MIB(32));
	assert_pattern(p, 4 * CHUNK, 0);
	assert_ok(quire_munmap(p, 4 * CHUNK));
}

static void M11_storage_is_seen_after_invalidation_of_what_is_collapsed(void **state)
{
	int fd = file_new(CHUNK);
	char *p = map_collapsed(fd, 1);

	(void)state;
	assert_int_equal(pwrite(fd, "x", 1, (off_t)PAGES(9)), 1);
	assert_loads(p + PAGES(9), pattern((off_t)PAGES(9)));
	assert_ok(quire_msync(p + PAGES(9), PAGES(1), MS_INVALIDATE));
	assert_loads(p + PAGES(9), 'x');
	assert_loads(p + PAGES(8), pattern((off_t)PAGES(8)));
	assert_ok(quire_munmap(p, CHUNK));
}

static void M11_file_that_is_cut_and_grows_again_under_what_is_collapsed(void **state)
{
	int fd = file_new(2 * CHUNK);
	char *p = map_collapsed(fd, 2);

	(void)state;
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(10) + 5));
	assert_int_equal(stats().huge_bytes, 0);
	assert_pattern(p, PAGES(10) + 5, 0);
	assert_past_the_end(p + PAGES(11));
	assert_past_the_end(p + CHUNK);
	assert_ok(quire_ftruncate(fd, (off_t)(2 * CHUNK)));
	assert_pattern(p, PAGES(10) + 5, 0);
	assert_zeros(p + PAGES(10) + 5, 2 * CHUNK - PAGES(10) - 5);
	assert_ok(quire_madvise(p, 2 * CHUNK, MADV_COLLAPSE));
	assert_pattern(p, PAGES(10) + 5, 0);
	assert_zeros(p + PAGES(10) + 5, 2 * CHUNK - PAGES(10) - 5);
	assert_ok(quire_munmap(p, 2 * CHUNK));
}

/* The kernel has no memory to cut a mapping, by which faults would be caught again. */
static void M11_file_that_is_cut_under_what_cannot_be_taken_apart(void **state)
{
	int fd = file_new(3 * CHUNK);
	char *p = map_collapsed(fd, 3);

	(void)state;
	fail_arm(FAIL_MAP, 1, true);
	assert_ok(quire_ftruncate(fd, (off_t)(CHUNK + PAGES(7) + 10)));
	fail_arm(FAIL_MAP, 0, false);
	assert_pattern(p, CHUNK + PAGES(7) + 10, 0);
	assert_zeros(p + CHUNK + PAGES(7) + 10, PAGES(1) - 10);
	assert_past_the_end(p + CHUNK + PAGES(8));
	assert_past_the_end(p + 3 * CHUNK - 1);
	assert_ok(quire_ftruncate(fd, (off_t)(3 * CHUNK)));
	assert_zeros(p + CHUNK + PAGES(7) + 10, 2 * CHUNK - PAGES(7) - 10);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(3)));
	assert_pattern(p, PAGES(3), 0);
	assert_past_the_end(p + PAGES(3));
	press_out(p, 3 * CHUNK);
	assert_pattern(p, PAGES(3), 0);
	assert_ok(quire_munmap(p, 3 * CHUNK));
	settle();
	assert_int_equal(stats().huge_bytes, 0);
}

static void M11_collapsed_mapping_is_cut_moved_and_replaced(void **state)
{
	int fd = file_new(4 * CHUNK);
	char *p = map_collapsed(fd, 4), *q = quiet();

	(void)state;
	assert_ok(quire_munmap(p + PAGES(100), PAGES(1)));
	assert_unmapped(p + PAGES(100));
	assert_pattern(p, PAGES(100), 0);
	assert_ptr_equal(quire_mremap(p + CHUNK, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	assert_pattern(q, CHUNK, CHUNK);
	assert_unmapped(p + CHUNK);
	assert_ok(quire_mprotect(q, CHUNK, RW));
	assert_stores(q + PAGES(17), 'm');
	assert_ptr_equal(map(p + 2 * CHUNK + PAGES(1), PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, (off_t)(2 * CHUNK + PAGES(1))),
			 p + 2 * CHUNK + PAGES(1));
	assert_stores(p + 2 * CHUNK + PAGES(1), 'f');
	assert_pattern(p + 2 * CHUNK + PAGES(2), CHUNK - PAGES(2), 2 * CHUNK + PAGES(2));
	assert_ok(quire_madvise(p + 3 * CHUNK, PAGES(1), MADV_DONTNEED));
	assert_pattern(p + 3 * CHUNK, CHUNK, 3 * CHUNK);
	assert_ok(quire_munmap(p, 4 * CHUNK));
	assert_ok(quire_munmap(q, CHUNK));
	assert_int_equal(file_byte(fd, (off_t)(CHUNK + PAGES(17))), 'm');
	assert_int_equal(file_byte(fd, (off_t)(2 * CHUNK + PAGES(1))), 'f');
}

static void M11_child_shares_what_is_collapsed(void **state)
{
	int fd = file_new(CHUNK), status;
	char *p = map_collapsed(fd, 1), *q = map(NULL, CHUNK, PROT_READ, MAP_SHARED, fd, 0);
	pid_t child;

	(void)state;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		bool right = load(p) == pattern(0) && load(q + PAGES(511)) == pattern((off_t)PAGES(511));

		if (quire_mprotect(q, CHUNK, RW) == 0 && store(q + PAGES(5), 'c') == 0 && load(p + PAGES(5)) == 'c')
			_exit(right ? 0 : 1);
		_exit(2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_loads(p + PAGES(5), 'c');
	assert_loads(q + PAGES(5), 'c');
	assert_ok(quire_munmap(p, CHUNK));
	assert_ok(quire_munmap(q, CHUNK));
	assert_int_equal(file_byte(fd, (off_t)PAGES(5)), 'c');
}

/* ---- threads ---- */

#define CHUNKS 6
#define ROUNDS 400

struct shaking {
	char *p;
	int fd;
	_Atomic bool over;
	_Atomic unsigned wrong;
	_Atomic uint32_t counter[CHUNKS]; /* what has been stored into the first page of each chunk, at least */
};

/* Each chunk: a counter in its first word, and elsewhere the pattern. */
static void *read_all(void *arg)
{
	struct shaking *s = arg;
	uint64_t random = (uintptr_t)&random;

	while (!atomic_load(&s->over)) {
		size_t chunk, at;

		random = random * 6364136223846793005u + 1442695040888963407u;
		chunk = (random >> 33) % CHUNKS;
		at = PAGES(1) + (random >> 40) % (CHUNK - PAGES(1));
		if ((unsigned char)*(volatile char *)(s->p + chunk * CHUNK + at) != pattern((off_t)(chunk * CHUNK + at)))
			atomic_fetch_add(&s->wrong, 1);
		else {
			uint32_t least = atomic_load(&s->counter[chunk]);
			uint32_t seen = *(volatile uint32_t *)(s->p + chunk * CHUNK);

			if (seen < least)
				atomic_fetch_add(&s->wrong, 1);
		}
	}
	return NULL;
}

/* Makes a chunk writable, stores, and makes it readable again. */
static void store_counter(struct shaking *s, size_t chunk)
{
	char *at = s->p + chunk * CHUNK;
	uint32_t value = atomic_load(&s->counter[chunk]) + 1;

	assert_ok(quire_mprotect(at, PAGES(1), RW));
	*(volatile uint32_t *)at = value;
	atomic_store(&s->counter[chunk], value);
	/* From here on its area is one of its own, to which stores were possible; a new mapping is as it was. */
	assert_ptr_equal(map(at, CHUNK, PROT_READ, MAP_SHARED | MAP_FIXED, s->fd, (off_t)(chunk * CHUNK)), at);
}

static void M11_chunks_are_collapsed_and_taken_apart_beside_readers(void **state)
{
	struct shaking s = {.fd = file_new(CHUNKS * CHUNK)};
	pthread_t reader[3];
	unsigned long long random = 88172645463325252ull;
	static const uint32_t zero = 0;
	unsigned collapsed = 0;

	(void)state;
	for (size_t i = 0; i < CHUNKS; i++)
		assert_int_equal(pwrite(s.fd, &zero, 4, (off_t)(i * CHUNK)), 4);
	s.p = map_collapsed(s.fd, CHUNKS);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, read_all, &s), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t chunk, page;

		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		chunk = random % CHUNKS;
		page = random >> 20 & 511;
		switch (random >> 40 & 7) {
		case 0:
			store_counter(&s, chunk);
			break;
		case 1:
			assert_ok(quire_madvise(s.p + chunk * CHUNK + PAGES(page), PAGES(1), MADV_DONTNEED));
			break;
		case 2:
			assert_ok(quire_madvise(s.p + chunk * CHUNK + PAGES(page / 2), PAGES(page / 2 + 1), MADV_PAGEOUT));
			break;
		case 3:
			assert_ok(quire_madvise(s.p + chunk * CHUNK, CHUNK, MADV_PAGEOUT));
			break;
		case 4:
			assert_ok(quire_msync(s.p, CHUNKS * CHUNK, MS_SYNC | MS_INVALIDATE));
			break;
		default:
			/* Others may be at its pages. */
			collapsed += quire_madvise(s.p + chunk * CHUNK, CHUNK, MADV_COLLAPSE) == 0;
			break;
		}
	}
	atomic_store(&s.over, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(reader[i], NULL);
	assert_int_equal(s.wrong, 0);
	assert_true(collapsed > 0);
	assert_true(stats().resident_peak_bytes <= MIB(32));
	assert_ok(quire_munmap(s.p, CHUNKS * CHUNK));
	for (size_t i = 0; i < CHUNKS; i++) {
		uint32_t value = 0;

		assert_int_equal(pread(s.fd, &value, 4, (off_t)(i * CHUNK)), 4);
		assert_int_equal(value, s.counter[i]);
	}
}

static const struct conformance_test tests[] = {
    TEST(M11_collapse_maps_a_file_by_entries_of_2_MiB),
    TEST(M11_what_is_read_as_a_whole_is_collapsed_by_itself),
    TEST(M11_what_is_not_for_reading_only_is_not_collapsed),
    TEST(M11_store_after_collapse_reaches_the_file),
    TEST(M11_stores_to_what_was_collapsed_survive_the_page_out_of_neighbours),
    TEST(M11_stores_survive_also_where_a_part_was_paged_out_before),
    TEST(M11_part_of_what_is_collapsed_is_made_writable),
    TEST(M11_store_through_another_mapping_is_seen_and_written),
    TEST(M11_collapsed_pages_are_paged_out_and_come_back),
    TEST(M11_storage_is_seen_after_invalidation_of_what_is_collapsed),
    TEST(M11_file_that_is_cut_and_grows_again_under_what_is_collapsed),
    TEST(M11_file_that_is_cut_under_what_cannot_be_taken_apart),
    TEST(M11_collapsed_mapping_is_cut_moved_and_replaced),
    TEST(M11_child_shares_what_is_collapsed),
    TEST(M11_chunks_are_collapsed_and_taken_apart_beside_readers),
};

CONFORMANCE_MAIN(tests)
