/* SPDX-License-Identifier: MIT */
/*
 * test-fork.c - what a child has, and what it and its parent then do to each other: row M18
 */
#include "children.h"
#include "served.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <quire/guard.h>
#include <quire/pager.h>
#include <sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifdef KERNEL_ORACLE
#define quire_shm_open   shm_open
#define quire_shm_unlink shm_unlink
#define quire_shmget     shmget
#define quire_shmat      shmat
#define quire_shmdt      shmdt
#define quire_shmctl     shmctl
#else
#include <quire/shm.h>
#endif

static char *shared_anonymous(size_t n)
{
	return map(NULL, PAGES(n), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);
}

/* Each page begins with its own byte. */
static void mark(char *p, size_t n, int base)
{
	for (size_t i = 0; i < n; i++)
		p[PAGES(i)] = (char)(base + (int)(i % 50));
}

#define assert_marked(p, n, base) check_marked(p, n, base, __FILE__, __LINE__)
static void check_marked(const char *p, size_t n, int base, const char *file, int line)
{
	for (size_t i = 0; i < n; i++) {
		int got = load(p + PAGES(i)), want = base + (int)(i % 50);

		if (got == want)
			continue;
		print_error("page %zu of %zu at %p begins with %d, not %d\n", i, n, (const void *)p, got, want);
		_fail(file, line);
	}
}

/* What the engine notices by itself, and not at once. */
#define assert_comes_true(condition)                                                                                               \
	do {                                                                                                                       \
		for (int waited_ms_ = 0; waited_ms_ < 20000 && !(condition); waited_ms_++)                                         \
			usleep(1000);                                                                                              \
		assert_true(condition);                                                                                            \
	} while (0)

/* ---- shared memory ---- */

static void check_sharing(char *p)
{
	struct child child;

	p[0] = 'a';
	CHILD(&child)
	{
		assert_loads(p, 'a');
		assert_stores(p + 1, 'b');
		assert_stores(p + PAGES(1), 'c');
		pause_here();
		assert_loads(p + 2, 'd');
		assert_loads(p + PAGES(2), 'e');
		assert_loads(p + PAGES(1), 'f');
		assert_stores(p + PAGES(1), 'g');
	}
	until_it_pauses(&child);
	assert_loads(p + 1, 'b');
	assert_loads(p + PAGES(1), 'c');
	assert_stores(p + 2, 'd');
	assert_stores(p + PAGES(2), 'e');
	assert_stores(p + PAGES(1), 'f');
	go_on(&child);
	ends_well(&child);
	assert_loads(p + PAGES(1), 'g');
	assert_loads(p, 'a');
}

static void M18_shared_file_is_shared_with_a_child(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	check_sharing(p);
	assert_pattern(p + PAGES(3), PAGES(1), PAGES(3));
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'g');
	assert_int_equal(file_byte(fd, 1), 'b');
	unmap(p, 4);
}

static void M18_shared_anonymous_memory_is_shared_with_a_child(void **state)
{
	char *p = shared_anonymous(4);

	(void)state;
	check_sharing(p);
	assert_zeros(p + PAGES(3), PAGES(1));
	unmap(p, 4);
}

static void M18_parent_stores_first(void **state)
{
	char *p = shared_anonymous(3);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		pause_here();
		assert_loads(p, 'a');
		assert_loads(p + PAGES(1), 'b');
		assert_stores(p + PAGES(2), 'c');
	}
	until_it_pauses(&child);
	p[0] = 'a';
	p[PAGES(1)] = 'b';
	go_on(&child);
	ends_well(&child);
	assert_loads(p + PAGES(2), 'c');
	unmap(p, 3);
}

static void M18_grandchildren_share_too(void **state)
{
	int fd = file_new(PAGES(2));
	char *anonymous = shared_anonymous(2), *file = map_shared(fd, 2);
	struct child child, grandchild;

	(void)state;
	CHILD(&child)
	{
		anonymous[0] = 'c';
		CHILD(&grandchild)
		{
			assert_loads(anonymous, 'c');
			file[0] = 'g';
			anonymous[PAGES(1)] = 'g';
			pause_here();
			assert_loads(anonymous + 1, 'C');
			assert_loads(file + 1, 'p');
		}
		until_it_pauses(&grandchild);
		assert_loads(file, 'g');
		assert_loads(anonymous + PAGES(1), 'g');
		anonymous[1] = 'C';
		pause_here();
		go_on(&grandchild);
		ends_well(&grandchild);
	}
	until_it_pauses(&child);
	assert_loads(anonymous, 'c');
	assert_loads(anonymous + 1, 'C');
	assert_loads(anonymous + PAGES(1), 'g');
	assert_loads(file, 'g');
	file[1] = 'p';
	go_on(&child);
	ends_well(&child);
	unmap(anonymous, 2);
	unmap(file, 2);
}

static void M18_a_childs_stores_reach_the_file(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_shared(fd, 3);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		p[0] = 's';
		assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
		assert_int_equal(file_byte(fd, 0), 's');
		p[PAGES(1)] = 't';
	}
	ends_well(&child);
	/* What it left behind is the file's. */
	assert_loads(p + PAGES(1), 't');
	unmap(p, 3);
	assert_int_equal(file_byte(fd, 0), 's');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 't');
}

static void M18_stores_of_the_last_to_have_a_file_reach_it(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		p[0] = 's';
		pause_here();
		p[PAGES(1)] = 't';
		pause_here();
		unmap(p, 2);
		assert_int_equal(file_byte(fd, 0), 's');
		assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 't');
	}
	until_it_pauses(&child);
	unmap(p, 2);
	step(&child);
	go_on(&child);
	ends_well(&child);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 't');
}

static void M18_shared_memory_outlives_its_parents_mapping(void **state)
{
	char *p = shared_anonymous(2);
	struct child child;

	(void)state;
	p[0] = 'a';
	CHILD(&child)
	{
		pause_here();
		assert_loads(p, 'a');
		assert_loads(p + PAGES(1), 0);
		p[PAGES(1)] = 'b';
		pressure();
		assert_loads(p, 'a');
		assert_loads(p + PAGES(1), 'b');
	}
	until_it_pauses(&child);
	unmap(p, 2);
	go_on(&child);
	ends_well(&child);
}

/* ---- private memory ---- */

#define N 8

/* What one side may do to its pages while the other has them too. */
enum deed { READ, WRITE, UNMAP, MOVE, DONTNEED, REPLACE, PROTECT, PAGE_OUT, LOCK, DEEDS };

/* *p moves along. */
static void do_to(char **p, enum deed deed, int base)
{
	switch (deed) {
	case READ:
		assert_marked(*p, N, base);
		break;
	case WRITE:
		mark(*p, N, 150);
		assert_marked(*p, N, 150);
		break;
	case UNMAP:
		unmap(*p, N);
		assert_unmapped(*p);
		break;
	case MOVE:
		*p = quire_mremap(*p, PAGES(N), PAGES(2 * N), MREMAP_MAYMOVE);
		assert_ptr_not_equal(*p, MAP_FAILED);
		assert_marked(*p, N, base);
		mark(*p, N, 150);
		break;
	case DONTNEED:
		assert_ok(quire_madvise(*p, PAGES(N), MADV_DONTNEED));
		/* The second half of a file is as it was. */
		for (size_t i = 0; i < N / 2; i++)
			assert_true(load(*p + PAGES(i)) != base + (int)i);
		break;
	case REPLACE:
		map(*p, PAGES(N), RW, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
		assert_zeros(*p, PAGES(N));
		mark(*p, N, 150);
		break;
	case PROTECT:
		assert_ok(quire_mprotect(*p, PAGES(N), PROT_NONE));
		assert_load_raises(*p, SIGSEGV, SEGV_ACCERR);
		assert_ok(quire_mprotect(*p, PAGES(N), PROT_READ));
		assert_marked(*p, N, base);
		assert_store_raises(*p, SIGSEGV, SEGV_ACCERR);
		assert_ok(quire_mprotect(*p, PAGES(N), RW));
		mark(*p, N, 150);
		break;
	case PAGE_OUT:
		assert_ok(quire_madvise(*p, PAGES(N), MADV_PAGEOUT));
		assert_marked(*p, N, base);
		assert_ok(quire_madvise(*p, PAGES(N), MADV_PAGEOUT));
		break;
	case LOCK:
		assert_ok(quire_mlock(*p, PAGES(N)));
		mark(*p, N, 150);
		assert_ok(quire_munlock(*p, PAGES(N)));
		break;
	default:
		break;
	}
}

static bool stores(enum deed deed)
{
	return deed == WRITE || deed == MOVE || deed == REPLACE || deed == PROTECT || deed == LOCK;
}

/* The other side has all its bytes after each deed, resident or not, and may store to them. */
static void check_isolation(char *(*make)(void), enum deed deed, bool childs, bool touched)
{
	char *p = make();
	struct child child;
	char *old = p;

	CHILD(&child)
	{
		if (touched)
			assert_marked(p, N, 'A');
		pause_here();
		if (childs) {
			do_to(&p, deed, 'A');
			pause_here();
			if (stores(deed))
				assert_marked(p, N, 150);
		} else {
			assert_marked(p, N, 'A');
			mark(p, N, 200);
			assert_marked(p, N, 200);
		}
	}
	until_it_pauses(&child);
	if (childs) {
		step(&child);
		assert_marked(p, N, 'A');
		mark(p, N, 200);
		assert_marked(p, N, 200);
	} else {
		do_to(&p, deed, 'A');
	}
	go_on(&child);
	ends_well(&child);
	if (!childs && stores(deed))
		assert_marked(p, N, 150);
	/* Not twice: the hole may be another's by now. */
	if (childs || deed != UNMAP)
		assert_ok(quire_munmap(p, PAGES(p == old ? N : 2 * N)));
}

static char *make_anonymous(void)
{
	char *p = map_anonymous(N);

	mark(p, N, 'A');
	return p;
}

static char *make_swapped(void)
{
	char *p = make_anonymous();

	evict(p, N);
	return p;
}

static char *make_mixed(void)
{
	char *p = map_anonymous(N);

	mark(p, N / 2, 'A');
	evict(p, N / 2);
	for (size_t i = N / 2; i < N; i++)
		p[PAGES(i)] = (char)('A' + i);
	return p;
}

static char *make_locked(void)
{
	char *p = make_anonymous();

	assert_ok(quire_mlock(p, PAGES(N)));
	return p;
}

static char *make_private_file(void)
{
	int fd = file_new(0);
	char *p;

	/* Half of them are copies, which a drop takes back. */
	for (size_t i = 0; i < N; i++) {
		char byte = (char)(i < N / 2 ? 'x' : 'A' + i);

		assert_int_equal(pwrite(fd, &byte, 1, (off_t)PAGES(i)), 1);
	}
	p = map_private(fd, N);
	mark(p, N / 2, 'A');
	file_close(fd);
	return p;
}

static void check_all_deeds(char *(*make)(void))
{
	for (int deed = 0; deed < DEEDS; deed++)
		for (int childs = 0; childs < 2; childs++)
			for (int touched = 0; touched < 2; touched++)
				check_isolation(make, (enum deed)deed, childs, touched);
}

static void M18_private_memory_is_each_sides_own(void **state)
{
	(void)state;
	check_all_deeds(make_anonymous);
}

static void M18_private_memory_in_the_swap_is_each_sides_own(void **state)
{
	(void)state;
	check_all_deeds(make_swapped);
}

static void M18_private_memory_half_in_the_swap_is_each_sides_own(void **state)
{
	(void)state;
	check_all_deeds(make_mixed);
}

static void M18_private_file_is_each_sides_own(void **state)
{
	(void)state;
	check_all_deeds(make_private_file);
}

static void M18_locked_memory_is_each_sides_own_and_the_childs_is_not_locked(void **state)
{
	char *p;
	struct child child;

	(void)state;
	for (int deed = 0; deed < DEEDS; deed++)
		for (int childs = 0; childs < 2; childs++) {
			/* Locked pages are neither dropped nor paged out. */
			if (!childs && (deed == DONTNEED || deed == PAGE_OUT))
				continue;
			check_isolation(make_locked, (enum deed)deed, childs, false);
		}
	p = make_locked();
	CHILD(&child)
	/* It may be dropped, so it is not locked. */
	do_to(&p, DONTNEED, 'A');
	assert_fails(quire_madvise(p, PAGES(N), MADV_DONTNEED), EINVAL);
	ends_well(&child);
	assert_marked(p, N, 'A');
	unmap(p, N);
}

/* ---- pressure ---- */

static void check_under_pressure(bool before, bool in_parent, bool in_child)
{
	int fd = file_new(PAGES(N));
	char *private = map_anonymous(N), *file = map_private(fd, N), *shared = shared_anonymous(N), *stored = map_shared(fd, N);
	char *all[] = {private, file, shared, stored};
	struct child child;

	for (size_t i = 0; i < 4; i++)
		mark(all[i], N, 'A');
	if (before)
		pressure();
	CHILD(&child)
	{
		if (in_child)
			pressure();
		pause_here();
		for (size_t i = 0; i < 2; i++) {
			assert_marked(all[i], N, 'A');
			mark(all[i], N, 200);
		}
		for (size_t i = 2; i < 4; i++) {
			assert_marked(all[i], N, 150);
			mark(all[i], N / 2, 170);
		}
		if (in_child)
			pressure();
		pause_here();
		for (size_t i = 0; i < 2; i++)
			assert_marked(all[i], N, 200);
	}
	until_it_pauses(&child);
	for (size_t i = 0; i < 4; i++) {
		assert_marked(all[i], N, 'A');
		mark(all[i], N, 150);
	}
	if (in_parent)
		pressure();
	step(&child);
	if (in_parent)
		pressure();
	for (size_t i = 0; i < 2; i++)
		assert_marked(all[i], N, 150);
	for (size_t i = 2; i < 4; i++)
		assert_marked(all[i], N / 2, 170);
	go_on(&child);
	ends_well(&child);
	for (size_t i = 0; i < 4; i++)
		unmap(all[i], N);
}

static void M18_memory_is_right_under_pressure_on_either_side(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++)
		check_under_pressure(i & 1, i & 2, i & 4);
}

static void M18_pages_put_out_by_advice_on_either_side_are_right(void **state)
{
	char *p = make_anonymous();
	struct child child;

	(void)state;
	assert_ok(quire_madvise(p, PAGES(N / 2), MADV_PAGEOUT));
	CHILD(&child)
	{
		assert_ok(quire_madvise(p, PAGES(N), MADV_PAGEOUT));
		assert_marked(p, N, 'A');
		mark(p, N / 4, 200);
		assert_ok(quire_madvise(p, PAGES(N), MADV_PAGEOUT));
		pause_here();
		assert_marked(p, N / 4, 200);
		for (size_t i = N / 4; i < N; i++)
			assert_loads(p + PAGES(i), (int)('A' + i));
	}
	until_it_pauses(&child);
	assert_ok(quire_madvise(p, PAGES(N), MADV_PAGEOUT));
	mark(p, N, 150);
	assert_ok(quire_madvise(p, PAGES(N), MADV_PAGEOUT));
	go_on(&child);
	ends_well(&child);
	assert_marked(p, N, 150);
	unmap(p, N);
}

/* ---- families ---- */

static void M18_siblings_are_isolated(void **state)
{
	enum { CHILDREN = 20 };
	char *p = make_mixed(), *q = shared_anonymous(CHILDREN);
	struct child children[CHILDREN];

	(void)state;
	for (int i = 0; i < CHILDREN; i++) {
		CHILD(&children[i])
		{
			pause_here();
			assert_marked(p, N, i < CHILDREN / 2 ? 'A' : 'a');
			mark(p, N, 100 + i);
			assert_stores(q + PAGES(i), 'A' + i);
			pause_here();
			assert_marked(p, N, 100 + i);
			for (int k = 0; k < CHILDREN; k++)
				assert_loads(q + PAGES(k), 'A' + k);
		}
		until_it_pauses(&children[i]);
		if (i == CHILDREN / 2 - 1)
			mark(p, N, 'a');
	}
	for (int i = 0; i < CHILDREN; i++)
		step(&children[i]);
	pressure();
	assert_marked(p, N, 'a');
	for (int i = 0; i < CHILDREN; i++)
		go_on(&children[i]);
	for (int i = 0; i < CHILDREN; i++)
		ends_well(&children[i]);
	assert_marked(p, N, 'a');
	unmap(p, N);
	unmap(q, CHILDREN);
}

static void M18_each_generation_has_its_own(void **state)
{
	char *p = make_anonymous();
	struct child child, grandchild, great;

	(void)state;
	CHILD(&child)
	{
		mark(p, N / 2, 'a');
		CHILD(&grandchild)
		{
			assert_marked(p, N / 2, 'a');
			assert_loads(p + PAGES(N - 1), 'A' + N - 1);
			mark(p, N / 4, 150);
			CHILD(&great)
			{
				assert_marked(p, N / 4, 150);
				assert_loads(p + PAGES(N / 4), 'a' + N / 4);
				assert_loads(p + PAGES(N - 1), 'A' + N - 1);
				mark(p, N, 200);
				assert_marked(p, N, 200);
			}
			ends_well(&great);
			pause_here();
			assert_marked(p, N / 4, 150);
			assert_loads(p + PAGES(N - 1), 'A' + N - 1);
		}
		until_it_pauses(&grandchild);
		pause_here();
		assert_marked(p, N / 2, 'a');
		mark(p, N, 100);
		pressure();
		go_on(&grandchild);
		ends_well(&grandchild);
		assert_marked(p, N, 100);
	}
	until_it_pauses(&child);
	assert_marked(p, N, 'A');
	mark(p, N, 170);
	go_on(&child);
	ends_well(&child);
	assert_marked(p, N, 170);
	unmap(p, N);
}

static void M18_grandchild_outlives_the_child(void **state)
{
	char *p = make_anonymous(), *q = shared_anonymous(1);
	int pair[2];
	struct child child, grandchild;
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	CHILD(&child)
	{
		mark(p, N, 'a');
		CHILD(&grandchild)
		{
			close(pair[0]);
			/* Until the child is gone, and its parent says so. */
			assert_true(take_turn(pair[1]));
			assert_marked(p, N, 'a');
			mark(p, N, 200);
			pressure();
			assert_marked(p, N, 200);
			assert_stores(q, 'g');
			send_turn(pair[1]);
		}
	}
	ends_well(&child);
	close(pair[1]);
	send_turn(pair[0]);
	assert_int_equal(recv(pair[0], &byte, 1, 0), 1);
	close(pair[0]);
	assert_loads(q, 'g');
	assert_marked(p, N, 'A');
	unmap(p, N);
	unmap(q, 1);
}

/* ---- files that change ---- */

static void check_cut(int flags, bool by_child)
{
	int fd = file_new(PAGES(4));
	char *p = map(NULL, PAGES(4), RW, flags, fd, 0);
	struct child child;

	assert_pattern(p, PAGES(4), 0);
	CHILD(&child)
	{
		assert_pattern(p, PAGES(4), 0);
		pause_here();
		if (by_child)
			assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
		assert_past_the_end(p + PAGES(1));
		assert_past_the_end(p + PAGES(3));
		assert_pattern(p, PAGES(1), 0);
		pause_here();
		assert_loads(p + PAGES(1), 0);
		assert_past_the_end(p + PAGES(3));
	}
	until_it_pauses(&child);
	if (!by_child)
		assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
	step(&child);
	assert_past_the_end(p + PAGES(1));
	assert_past_the_end(p + PAGES(3));
	assert_pattern(p, PAGES(1), 0);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(3)));
	assert_loads(p + PAGES(1), 0);
	go_on(&child);
	ends_well(&child);
	unmap(p, 4);
}

static void M18_cut_of_a_file_is_a_cut_on_both_sides(void **state)
{
	(void)state;
	for (int by_child = 0; by_child < 2; by_child++) {
		check_cut(MAP_SHARED, by_child);
		check_cut(MAP_PRIVATE, by_child);
	}
}

static void M18_cut_takes_both_sides_copies(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_private(fd, 2);
	struct child child;

	(void)state;
	mark(p, 2, 'A');
	CHILD(&child)
	{
		pause_here();
		assert_loads(p, 'A');
		assert_past_the_end(p + PAGES(1));
		pause_here();
		assert_loads(p + PAGES(1), 0);
	}
	until_it_pauses(&child);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
	assert_past_the_end(p + PAGES(1));
	step(&child);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
	go_on(&child);
	ends_well(&child);
	unmap(p, 2);
}

/* ---- advice ---- */

static void M18_dontfork_leaves_a_hole(void **state)
{
	char *p = map_anonymous(4), *q = shared_anonymous(2);
	struct child child;

	(void)state;
	mark(p, 4, 'A');
	mark(q, 2, 'A');
	assert_ok(quire_madvise(p + PAGES(1), PAGES(2), MADV_DONTFORK));
	assert_ok(quire_madvise(p + PAGES(2), PAGES(1), MADV_DOFORK));
	assert_ok(quire_madvise(q, PAGES(1), MADV_DONTFORK));
	CHILD(&child)
	{
		assert_unmapped(p + PAGES(1));
		assert_loads(p, 'A');
		assert_unmapped(p + PAGES(1));
		assert_loads(p + PAGES(2), 'C');
		assert_loads(p + PAGES(3), 'D');
		assert_loads(q + PAGES(1), 'B');
		assert_unmapped(q);
		/* It can be filled. */
		assert_ok(quire_mmap(p + PAGES(1), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0));
		assert_loads(p + PAGES(1), 0);
	}
	ends_well(&child);
	assert_marked(p, 4, 'A');
	assert_marked(q, 2, 'A');
	unmap(p, 4);
	unmap(q, 2);
}

static void M18_wipeonfork_gives_zeros(void **state)
{
	char *p = map_anonymous(4);
	struct child child, grandchild;

	(void)state;
	mark(p, 4, 'A');
	assert_ok(quire_madvise(p, PAGES(3), MADV_WIPEONFORK));
	assert_ok(quire_madvise(p, PAGES(1), MADV_KEEPONFORK));
	CHILD(&child)
	{
		assert_loads(p, 'A');
		assert_zeros(p + PAGES(1), PAGES(2));
		assert_loads(p + PAGES(3), 'D');
		mark(p, 4, 'a');
		CHILD(&grandchild)
		{
			assert_loads(p, 'a');
			assert_zeros(p + PAGES(1), PAGES(2));
			assert_loads(p + PAGES(3), 'd');
		}
		ends_well(&grandchild);
		assert_marked(p, 4, 'a');
	}
	ends_well(&child);
	assert_marked(p, 4, 'A');
	unmap(p, 4);
}

/* ---- signals ---- */

static void M18_faults_of_a_child_have_their_signals(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2), *q = map_anonymous(3),
	     *none = map(NULL, PAGES(1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
	char *hole = quiet();
	struct child child;

	(void)state;
	assert_ok(quire_mprotect(q + PAGES(1), PAGES(1), PROT_READ));
	q[0] = 'a';
	CHILD(&child)
	{
		assert_load_raises(none, SIGSEGV, SEGV_ACCERR);
		assert_past_the_end(p + PAGES(1) + 5);
		assert_store_raises(q + PAGES(1) + 7, SIGSEGV, SEGV_ACCERR);
		assert_store_raises(q + PAGES(1) + 7, SIGSEGV, SEGV_ACCERR);
		assert_loads(q + PAGES(1), 0);
		assert_store_raises(q + PAGES(1), SIGSEGV, SEGV_ACCERR);
		assert_loads(q, 'a');
		assert_stores(q + PAGES(2), 'b');
		assert_unmapped(hole);
		assert_load_raises(none, SIGSEGV, SEGV_ACCERR);
		unmap(q, 1);
		assert_unmapped(q + 9);
		assert_ok(quire_mprotect(none, PAGES(1), RW));
		assert_stores(none, 'n');
		assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
		assert_loads(p + PAGES(1), 0);
	}
	ends_well(&child);
	assert_load_raises(none, SIGSEGV, SEGV_ACCERR);
	assert_loads(q, 'a');
	unmap(p, 2);
	unmap(q, 3);
	unmap(none, 1);
}

static void M18_first_touch_of_a_child_may_be_a_signal(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2), *r = map(NULL, PAGES(1), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		assert_past_the_end(p + PAGES(1));
		assert_pattern(p, PAGES(1), 0);
	}
	ends_well(&child);
	CHILD(&child)
	{
		assert_store_raises(r, SIGSEGV, SEGV_ACCERR);
		assert_loads(r, 0);
	}
	ends_well(&child);
	unmap(p, 2);
	unmap(r, 1);
}

static void M18_stack_has_its_guard_in_a_child(void **state)
{
	char *p = map(NULL, PAGES(4), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, ANON, 0);
	struct child child;

	(void)state;
	p[PAGES(4) - 1] = 's';
	CHILD(&child)
	{
		assert_loads(p + PAGES(4) - 1, 's');
		assert_stores(p, 1);
	}
	ends_well(&child);
	unmap(p, 4);
}

/* ---- calls of a child ---- */

static void M18_child_maps_and_unmaps(void **state)
{
	int fd = file_new(PAGES(4));
	char *before = map_shared(fd, 1), *kernels = mmap(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct child child;

	(void)state;
	assert_ptr_not_equal(kernels, MAP_FAILED);
	memset(kernels, 'k', PAGES(8));
	CHILD(&child)
	{
		int own = file_new(PAGES(4));
		char *p = map_shared(own, 4), *q, *r;

		assert_pattern(p, PAGES(4), 0);
		p[0] = 'o';
		assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
		assert_int_equal(file_byte(own, 0), 'o');
		file_close(own);
		q = map_private(fd, 4);
		q[PAGES(1)] = 'q';
		r = map_anonymous(4);
		mark(r, 4, 'A');
		pressure();
		assert_loads(q + PAGES(1), 'q');
		assert_marked(r, 4, 'A');
		r = quire_mremap(r, PAGES(4), PAGES(8), MREMAP_MAYMOVE);
		assert_ptr_not_equal(r, MAP_FAILED);
		assert_marked(r, 4, 'A');
		assert_loads(r + PAGES(7), 0);
		assert_ptr_equal(quire_mremap(r, PAGES(8), PAGES(8), MREMAP_MAYMOVE | MREMAP_FIXED, kernels), kernels);
		assert_marked(kernels, 4, 'A');
		assert_unmapped(r);
		unmap(q, 4);
		assert_unmapped(q);
		/* Over what was inherited. */
		assert_ptr_equal(map(before, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), before);
		assert_loads(before, 0);
		assert_fails(quire_mmap(before, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), EEXIST);
		assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, 999, 0), EBADF);
		assert_fails(quire_mmap(NULL, 0, RW, MAP_SHARED, fd, 0), EINVAL);
		assert_fails(quire_munmap(before + 1, 1), EINVAL);
		unmap(p, 4);
	}
	ends_well(&child);
	assert_filled(kernels, PAGES(8), 'k');
	assert_pattern(before, PAGES(1), 0);
	unmap(before, 1);
	assert_int_equal(munmap(kernels, PAGES(8)), 0);
}

static void M18_child_advises_locks_and_asks(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_anonymous(4), *q = map_shared(fd, 4);
	unsigned char vec[4];
	struct child child;

	(void)state;
	mark(p, 4, 'A');
	CHILD(&child)
	{
		assert_ok(quire_madvise(p, PAGES(1), MADV_DONTNEED));
		assert_loads(p, 0);
		assert_ok(quire_madvise(p, PAGES(4), MADV_WILLNEED));
		assert_ok(quire_madvise(p, PAGES(4), MADV_NORMAL));
		assert_ok(quire_madvise(p, PAGES(4), MADV_RANDOM));
		assert_ok(quire_madvise(p, PAGES(4), MADV_SEQUENTIAL));
		assert_ok(quire_madvise(p, PAGES(4), MADV_COLD));
		assert_ok(quire_madvise(p, PAGES(4), MADV_POPULATE_READ));
		assert_ok(quire_madvise(p, PAGES(4), MADV_POPULATE_WRITE));
		assert_fails(quire_madvise(p, PAGES(4), 12345), EINVAL);
		assert_fails(quire_madvise(p + 1, PAGES(1), MADV_DONTNEED), EINVAL);
		assert_int_equal(quire_posix_madvise(q, PAGES(4), POSIX_MADV_WILLNEED), 0);
		assert_ok(quire_madvise(q, PAGES(1), MADV_REMOVE));
		assert_loads(q, 0);
		assert_loads(q + PAGES(1), pattern((off_t)PAGES(1)));
		assert_ok(quire_mlock(p, PAGES(4)));
		assert_fails(quire_madvise(p, PAGES(4), MADV_DONTNEED), EINVAL);
		assert_ok(quire_mincore(p, PAGES(4), vec));
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(vec[i] & 1, 1);
		assert_ok(quire_munlock(p, PAGES(4)));
		assert_loads(p + PAGES(3), 'D');
		assert_ok(quire_mlockall(MCL_CURRENT));
		assert_ok(quire_munlockall());
		unmap(p + PAGES(1), 1);
		assert_fails(quire_mincore(p, PAGES(4), vec), ENOMEM);
		assert_fails(quire_mprotect(p, PAGES(4), PROT_READ), ENOMEM);
		assert_fails(quire_mlock(p, PAGES(4)), ENOMEM);
		assert_fails(quire_msync(p, PAGES(4), MS_SYNC), ENOMEM);
	}
	ends_well(&child);
	assert_marked(p, 4, 'A');
	assert_loads(q, 0);
	unmap(p, 4);
	unmap(q, 4);
}

static void M18_memory_of_the_kernels_in_a_child_is_the_kernels(void **state)
{
	char *p = map_anonymous(1), *k = mmap(NULL, PAGES(4), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char vec[2];
	struct child child;

	(void)state;
	assert_ptr_not_equal(k, MAP_FAILED);
	p[0] = 'p';
	mark(k, 4, 'A');
	/* Without a touch of anything before, and after one. */
	for (int touched = 0; touched < 2; touched++) {
		CHILD(&child)
		{
			if (touched)
				assert_loads(p, 'p');
			assert_ok(quire_mprotect(k, PAGES(1), PROT_READ));
			assert_store_raises(k, SIGSEGV, SEGV_ACCERR);
			assert_loads(k, 'A');
			assert_ok(quire_madvise(k + PAGES(1), PAGES(1), MADV_DONTNEED));
			assert_loads(k + PAGES(1), 0);
			assert_ok(quire_mincore(k + PAGES(2), PAGES(2), vec));
			assert_int_equal(vec[0] & 1, 1);
			assert_ok(quire_mlock(k + PAGES(2), PAGES(1)));
			assert_ok(quire_munlock(k + PAGES(2), PAGES(1)));
			assert_ok(quire_msync(k + PAGES(2), PAGES(1), MS_ASYNC));
			unmap(k + PAGES(3), 1);
			assert_unmapped(k + PAGES(3));
			k = quire_mremap(k + PAGES(2), PAGES(1), PAGES(9), MREMAP_MAYMOVE);
			assert_ptr_not_equal(k, MAP_FAILED);
			assert_loads(k, 'C');
			assert_loads(p, 'p');
		}
		ends_well(&child);
		assert_marked(k, 4, 'A');
	}
	unmap(p, 1);
	assert_int_equal(munmap(k, PAGES(4)), 0);
}

/* What ends where a mapping begins is not the mapping's, and least of all the parent's. */
static void M18_memory_of_the_kernels_before_a_mapping_in_a_child_is_the_kernels(void **state)
{
	char *k = mmap(quiet(), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	char *p = map(k + PAGES(2), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	struct child child;

	(void)state;
	mark(k, 4, 'A');
	CHILD(&child)
	{
		assert_ok(quire_munlock(k, PAGES(2)));
		assert_ok(quire_mprotect(k, PAGES(2), PROT_READ));
		assert_store_raises(k + PAGES(1), SIGSEGV, SEGV_ACCERR);
		assert_ok(quire_mprotect(k, PAGES(2), RW));
		assert_ok(quire_madvise(k, PAGES(2), MADV_DONTNEED));
		assert_zeros(k, PAGES(2));
		assert_ptr_equal(quire_mremap(k, PAGES(2), PAGES(1), 0), k);
		assert_unmapped(k + PAGES(1));
		unmap(k, 1);
		assert_unmapped(k);
		assert_marked(p, 2, 'C');
	}
	ends_well(&child);
	assert_marked(k, 4, 'A');
	assert_stores(k, 's');
	assert_stores(k + PAGES(1), 's');
	unmap(k, 4);
}

static void M18_holes_of_a_child_are_ENOMEM(void **state)
{
	char *p = map(quiet(), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), *hole = p + PAGES(4);
	unsigned char vec[1];
	struct child child;

	(void)state;
	p[0] = 'p';
	CHILD(&child)
	{
		assert_fails(quire_madvise(hole, PAGES(1), MADV_PAGEOUT), ENOMEM);
		assert_fails(quire_msync(hole, PAGES(1), MS_SYNC), ENOMEM);
		assert_fails(quire_mincore(hole, PAGES(1), vec), ENOMEM);
		assert_fails(quire_mlock(hole, PAGES(1)), ENOMEM);
		assert_fails(quire_munlock(hole, PAGES(1)), ENOMEM);
		assert_fails(quire_mprotect(hole, PAGES(1), PROT_READ), ENOMEM);
		assert_fails(quire_mremap(hole, PAGES(1), PAGES(1), MREMAP_MAYMOVE), EFAULT);
		assert_loads(p, 'p');
	}
	ends_well(&child);
	unmap(p, 2);
}

static void M18_what_a_child_hides_from_its_own_leaves_a_hole(void **state)
{
	char *p = map_anonymous(2);
	struct child child, grandchild;

	(void)state;
	mark(p, 2, 'A');
	CHILD(&child)
	{
		assert_ok(quire_madvise(p, PAGES(1), MADV_DONTFORK));
		CHILD(&grandchild)
		{
			assert_ptr_equal(mmap(p, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), p);
			assert_loads(p, 0);
			assert_loads(p + PAGES(1), 'B');
		}
		ends_well(&grandchild);
		assert_marked(p, 2, 'A');
	}
	ends_well(&child);
	unmap(p, 2);
}

static void M18_locked_memory_of_a_child_is_resident_when_it_has_forked(void **state)
{
	char *p = map_anonymous(3);
	struct child child, grandchild;
	unsigned char vec[2];

	(void)state;
	mark(p, 3, 'A');
	CHILD(&child)
	{
		assert_ok(quire_mlock(p, PAGES(2)));
		CHILD(&grandchild)
		{
			assert_marked(p, 3, 'A');
		}
		assert_ok(quire_mincore(p, PAGES(2), vec));
		assert_int_equal(vec[0] & vec[1] & 1, 1);
		ends_well(&grandchild);
		assert_marked(p, 3, 'A');
	}
	ends_well(&child);
	unmap(p, 3);
}

static void M18_validate_in_a_child_refuses_what_it_does_not_know(void **state)
{
	int fd = file_new(PAGES(1));
	char *at = quiet();
	struct child child;

	(void)state;
	CHILD(&child)
	{
		assert_fails(quire_mmap(at, PAGES(1), RW, MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE, fd, 0), EOPNOTSUPP);
		assert_unmapped(at);
	}
	ends_well(&child);
}

static void M18_child_removes_and_replaces_what_is_partly_the_kernels(void **state)
{
	char *at = quiet();
	char *p = map(at, PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	char *k = mmap(at + PAGES(2), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	struct child child;

	(void)state;
	assert_ptr_equal(k, at + PAGES(2));
	mark(at, 4, 'A');
	for (int touched = 0; touched < 2; touched++) {
		CHILD(&child)
		{
			if (touched)
				assert_marked(p, 4, 'A');
			map(p + PAGES(1), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
			assert_loads(p, 'A');
			assert_loads(p + PAGES(1), 0);
			assert_loads(k, 0);
			assert_loads(k + PAGES(1), 'D');
			unmap(p, 4);
			assert_unmapped(p);
			assert_unmapped(k);
			assert_unmapped(k + PAGES(1));
		}
		ends_well(&child);
		assert_marked(at, 4, 'A');
	}
	unmap(at, 4);
}

static void M18_what_the_kernel_places_in_a_child_is_not_where_mappings_are(void **state)
{
	char *p = map_anonymous(256), *low = p - PAGES(256);
	struct child child;

	(void)state;
	mark(p, 256, 'A');
	CHILD(&child)
	{
		/* Wishes for the place, and mappings that take any hole. */
		for (size_t i = 0; i < 256; i++) {
			char *k = mmap(p + PAGES(i), PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			assert_ptr_not_equal(k, MAP_FAILED);
			assert_true(k < p || k >= p + PAGES(256));
			k[0] = 'k';
		}
		for (size_t i = 0; i < 64; i++) {
			char *k = mmap(low, PAGES(256), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			assert_ptr_not_equal(k, MAP_FAILED);
			assert_true(k + PAGES(256) <= p || k >= p + PAGES(256));
		}
		assert_marked(p, 256, 'A');
	}
	ends_well(&child);
	unmap(p, 256);
}

/* ---- other ways to begin and to end ---- */

extern char **environ;

static int run_and_wait(const char *script)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};
	int status;
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void M18_program_that_is_run_has_nothing_left(void **state)
{
	static const char script[] =
	    "for f in /proc/self/fd/*; do readlink $f; done | grep -E 'quire|userfaultfd|io_uring' && exit 1;"
	    "grep -E 'quire|userfaultfd' /proc/self/maps && exit 2; exit 7";
	char *p = make_anonymous();
	struct child child;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(run_and_wait(script), 7);
	for (int touched = 0; touched < 2; touched++) {
		CHILD(&child)
		{
			if (touched)
				mark(p, N, 'a');
			execl("/bin/sh", "sh", "-c", script, NULL);
		}
		status = status_of(&child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 7);
	}
	pid = vfork();
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_marked(p, N, 'A');
	mark(p, N, 150);
	assert_marked(p, N, 150);
	unmap(p, N);
}

static void M18_forks_in_a_loop(void **state)
{
	char *p = make_mixed(), *q = shared_anonymous(1);
	int status;

	(void)state;
	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			if (i % 4 == 0)
				_exit(load(p + PAGES(i % N)) == 'A' + i % N && store(p, i) == 0 && store(q, i) == 0 ? 3 : 1);
			if (i % 4 == 1)
				execl("/bin/sh", "sh", "-c", "exit 3", NULL);
			_exit(3);
		}
		if (i % 4 == 3)
			mark(p, N, 'A');
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 3);
	}
	assert_marked(p, N, 'A');
	assert_loads(q, 196);
	unmap(p, N);
	unmap(q, 1);
}

/* ---- named memory ---- */

static const char *name_of(int n)
{
	static char names[2][64];

	snprintf(names[n], sizeof(names[n]), "/quire-fork-test-%d-%d", (int)getpid(), n);
	return names[n];
}

static void M18_names_are_of_the_whole_family(void **state)
{
	char *p = map_anonymous(1), *q;
	const char *of_parent = name_of(0), *of_child = name_of(1);
	int fd = quire_shm_open(of_parent, O_RDWR | O_CREAT | O_EXCL, 0600);
	struct child child;

	(void)state;
	assert_true(fd >= 0);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
	q = map_shared(fd, 2);
	q[0] = 'p';
	CHILD(&child)
	{
		int own = quire_shm_open(of_child, O_RDWR | O_CREAT | O_EXCL, 0600), parents = quire_shm_open(of_parent, O_RDWR, 0);
		char *r, *again;

		assert_true(own >= 0);
		assert_true(parents >= 0);
		assert_int_equal(fcntl(own, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		assert_fails(quire_shm_open(of_child, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
		assert_fails(quire_shm_open("/quire-there-is-no-such", O_RDWR, 0600), ENOENT);
		assert_ok(quire_ftruncate(own, (off_t)PAGES(1)));
		r = map_shared(own, 1);
		r[0] = 'c';
		again = map_shared(parents, 2);
		assert_loads(again, 'p');
		again[1] = 'c';
		assert_loads(q + 1, 'c');
		assert_ok(quire_shm_unlink(of_parent));
		assert_fails(quire_shm_unlink(of_parent), ENOENT);
		pause_here();
		assert_loads(r + 1, 'p');
	}
	until_it_pauses(&child);
	assert_fails(quire_shm_open(of_parent, O_RDWR, 0600), ENOENT);
	assert_loads(q + 1, 'c');
	close(fd);
	fd = quire_shm_open(of_child, O_RDWR, 0);
	assert_true(fd >= 0);
	unmap(q, 2);
	q = map_shared(fd, 1);
	close(fd);
	assert_loads(q, 'c');
	q[1] = 'p';
	go_on(&child);
	ends_well(&child);
	assert_loads(q, 'c');
	assert_ok(quire_shm_unlink(of_child));
	unmap(q, 1);
	unmap(p, 1);
}

static unsigned long attached(int id)
{
	struct shmid_ds ds;

	assert_ok(quire_shmctl(id, IPC_STAT, &ds));
	return ds.shm_nattch;
}

static void M18_attachments_are_inherited_and_counted(void **state)
{
	int id = quire_shmget(IPC_PRIVATE, PAGES(2), IPC_CREAT | 0600);
	char *p = quire_shmat(id, NULL, 0);
	struct child child;

	(void)state;
	assert_true(id >= 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	p[0] = 'p';
	CHILD(&child)
	{
		int own = quire_shmget(IPC_PRIVATE, PAGES(1), IPC_CREAT | 0600);
		char *q = quire_shmat(own, NULL, 0), *again = quire_shmat(id, NULL, SHM_RDONLY);

		assert_int_equal(attached(id), 3);
		assert_loads(p, 'p');
		assert_loads(again, 'p');
		assert_store_raises(again, SIGSEGV, SEGV_ACCERR);
		assert_stores(p + 1, 'c');
		assert_loads(again + 1, 'c');
		assert_loads(q, 0);
		assert_ok(quire_shmdt(again));
		assert_unmapped(again);
		assert_fails(quire_shmdt(again), EINVAL);
		assert_int_equal(attached(id), 2);
		assert_int_equal(attached(own), 1);
		assert_ok(quire_shmdt(q));
		assert_ok(quire_shmctl(own, IPC_RMID, NULL));
		assert_fails(quire_shmat(own, NULL, 0), EINVAL);
		pause_here();
	}
	until_it_pauses(&child);
	assert_loads(p + 1, 'c');
	assert_int_equal(attached(id), 2);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	go_on(&child);
	ends_well(&child);
	assert_loads(p + 1, 'c');
	assert_ok(quire_shmdt(p));
}

static void M18_attachments_end_with_the_child(void **state)
{
	int id = quire_shmget(IPC_PRIVATE, PAGES(1), IPC_CREAT | 0600);
	char *p = quire_shmat(id, NULL, 0);
	struct child child;

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	CHILD(&child)
	assert_stores(p, 'c');
	ends_well(&child);
	assert_comes_true(attached(id) == 1);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_loads(p, 'c');
	assert_ok(quire_shmdt(p));
}

/* ---- threads ---- */

static _Atomic bool threads_stop, threads_failed;

/* Stores the same number to one page and then to the next, over all pages. */
static void *store_numbers(void *arg)
{
	volatile uint64_t *words = arg;
	size_t step = page_size / sizeof(uint64_t);

	for (uint64_t number = 1; !threads_stop; number++)
		for (size_t i = 0; i < N; i++)
			words[i * step] = number;
	return NULL;
}

static void *map_and_unmap(void *arg)
{
	(void)arg;
	while (!threads_stop) {
		char *p = quire_mmap(NULL, PAGES(16), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED) {
			threads_failed = true;
			break;
		}
		for (size_t i = 0; i < 16; i++)
			p[PAGES(i)] = (char)(i + 1);
		for (size_t i = 0; i < 16; i++)
			if (p[PAGES(i)] != (char)(i + 1))
				threads_failed = true;
		if (quire_munmap(p, PAGES(16)) < 0)
			threads_failed = true;
	}
	return NULL;
}

struct work {
	char *p;
	size_t n;
};

/* Loads what does not change, so many pages of it that they come and go. */
static void *load_pattern(void *arg)
{
	const struct work *work = arg;

	for (size_t i = 0; !threads_stop; i = (i + 7) % work->n)
		if ((unsigned char)work->p[PAGES(i)] != pattern((off_t)PAGES(i)))
			threads_failed = true;
	return NULL;
}

/* In one order, as one thread has stored them: the same number everywhere, or, from some page on, the one before. */
static void check_numbers(const char *p)
{
	uint64_t first, last, word;

	memcpy(&first, p, sizeof(first));
	last = first;
	for (size_t i = 1; i < N; i++) {
		memcpy(&word, p + PAGES(i), sizeof(word));
		assert_true(word == last || (word + 1 == first && last == first));
		last = word;
	}
}

static void fork_under_load(int forks)
{
	int fd = file_new(PAGES(1024));
	char *numbers = map_anonymous(N), *shared = map_shared(fd, 1024), *still = make_mixed();
	struct work work = {shared, 1024};
	pthread_t threads[4];

	threads_stop = false;
	assert_int_equal(pthread_create(&threads[0], NULL, store_numbers, numbers), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, map_and_unmap, NULL), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, load_pattern, &work), 0);
	assert_int_equal(pthread_create(&threads[3], NULL, map_and_unmap, NULL), 0);
	for (int i = 0; i < forks; i++) {
		struct child child;

		CHILD(&child)
		{
			char before[N * sizeof(uint64_t)], after[sizeof(before)];
			char *own = map_anonymous(N);

			for (size_t k = 0; k < N; k++)
				memcpy(before + 8 * k, numbers + PAGES(k), 8);
			check_numbers(numbers);
			assert_marked(still, N, 'A');
			mark(still, N, 150);
			mark(own, N, 'a');
			for (size_t k = 0; k < 1024; k += 11)
				assert_loads(shared + PAGES(k), pattern((off_t)PAGES(k)));
			assert_marked(still, N, 150);
			assert_marked(own, N, 'a');
			/* Nobody stores to them here. */
			for (size_t k = 0; k < N; k++)
				memcpy(after + 8 * k, numbers + PAGES(k), 8);
			assert_memory_equal(before, after, sizeof(before));
			unmap(numbers, N);
		}
		ends_well(&child);
		assert_marked(still, N, 'A');
	}
	threads_stop = true;
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_false(threads_failed);
	check_numbers(numbers);
	unmap(numbers, N);
	unmap(shared, 1024);
	unmap(still, N);
}

static void M18_fork_while_other_threads_work(void **state)
{
	(void)state;
	fork_under_load(40);
}

static void M18_fork_of_a_child_while_its_other_threads_work(void **state)
{
	struct child child;
	char *p = make_mixed();

	(void)state;
	CHILD(&child)
	{
		assert_marked(p, N, 'A');
		fork_under_load(10);
	}
	ends_well(&child);
	assert_marked(p, N, 'A');
	unmap(p, N);
}

/* Each forks by itself, at the same time as the others. */
static void *fork_alone(void *arg)
{
	char *p = arg;

	for (int i = 0; i < 10; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			alarm(CHILD_SECONDS);
			for (size_t k = 0; k < N; k++)
				if (p[PAGES(k)] != (char)('A' + k))
					_exit(1);
			p[0] = 'x';
			_exit(p[0] == 'x' ? 0 : 1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			threads_failed = true;
	}
	return NULL;
}

static void M18_threads_fork_at_once(void **state)
{
	char *p = make_mixed();
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fork_alone, p), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_false(threads_failed);
	assert_marked(p, N, 'A');
	unmap(p, N);
}

#ifndef KERNEL_ORACLE
/* ---- pages that are on their way, and that cannot be had ---- */

static void *read_all(void *p)
{
	for (size_t i = 0; i < N; i++)
		if (load((char *)p + PAGES(i)) != (int)pattern((off_t)PAGES(i)))
			return p;
	return NULL;
}

static char *map_filtered(const char *filter, const char *path, int flags)
{
	char uri[FILE_PATH_MAX + 64], *p;
	int fd;

	snprintf(uri, sizeof(uri), "%s:file:%s", filter, path);
	fd = quire_open(uri, O_RDWR, 0);
	assert_true(fd >= 0);
	p = map(NULL, PAGES(N), RW, flags, fd, 0);
	close(fd);
	return p;
}

static void M18_pages_that_are_on_their_way_at_a_fork_are_right(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(N), path);
	char *slow = map_filtered("delay:us=10000", path, MAP_SHARED), *own = map_filtered("delay:us=10000", path, MAP_PRIVATE);
	struct child children[4];
	pthread_t reader;
	void *wrong;

	(void)state;
	assert_ok(quire_madvise(slow, PAGES(N), MADV_RANDOM));
	assert_int_equal(pthread_create(&reader, NULL, read_all, slow), 0);
	/* By each fork another page is being read. */
	for (int i = 0; i < 4; i++) {
		CHILD(&children[i])
		{
			assert_null(read_all(slow));
			assert_null(read_all(own));
			assert_stores(slow + PAGES(i) + 1, 'a' + i);
			assert_stores(own + PAGES(i) + 1, 'z');
		}
	}
	for (int i = 0; i < 4; i++)
		ends_well(&children[i]);
	assert_int_equal(pthread_join(reader, &wrong), 0);
	assert_null(wrong);
	assert_ok(quire_msync(slow, PAGES(N), MS_SYNC));
	for (int i = 0; i < 4; i++) {
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 1), 'a' + i);
		assert_loads(slow + PAGES(i) + 1, 'a' + i);
		assert_loads(own + PAGES(i), (int)pattern((off_t)PAGES(i)));
	}
	unmap(slow, N);
	unmap(own, N);
	file_close(fd);
}

static void M18_page_that_cannot_be_had_is_an_error_in_a_child(void **state)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(PAGES(N), path);
	char *bad = map_filtered("error:rate=1,op=read,errno=EIO", path, MAP_SHARED);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		struct quire_guard guard;

		QUIRE_GUARD(&guard) {
			(void)*(volatile char *)(bad + PAGES(2) + 7);
		}
		assert_int_equal(guard.error, EIO);
		assert_ptr_equal(guard.addr, bad + PAGES(2) + 7);
		assert_int_equal(guard.offset, PAGES(2) + 7);
		assert_load_raises(bad, SIGBUS, BUS_ADRERR);
	}
	ends_well(&child);
	assert_load_raises(bad, SIGBUS, BUS_ADRERR);
	unmap(bad, N);
	file_close(fd);
}

#endif

/* ---- a fork that fails ---- */

/* From now on this process can start threads, and no process. */
static void forbid_forks(void)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
	    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void M18_fork_that_fails_leaves_all_as_it_was(void **state)
{
	char *p = make_mixed(), *q = shared_anonymous(1);

	(void)state;
	q[0] = 'q';
	forbid_forks();
#ifndef KERNEL_ORACLE
	struct quire_stats before = stats();
#endif
	for (int i = 0; i < 50; i++) {
		assert_int_equal(fork(), -1);
		assert_int_equal(errno, EAGAIN);
		assert_marked(p, N, 'A');
		if (i % 2)
			mark(p, N, 'A');
	}
	assert_loads(q, 'q');
#ifndef KERNEL_ORACLE
	assert_comes_true(stats().objects == before.objects && stats().resident_bytes <= before.resident_bytes + PAGES(N));
#endif
	pressure();
	assert_marked(p, N, 'A');
	unmap(p, N);
	unmap(q, 1);
}

/* ---- children that are stopped ---- */

static void stop(struct child *child)
{
	int status;

	assert_int_equal(kill(child->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(child->pid, &status, WUNTRACED), child->pid);
	assert_true(WIFSTOPPED(status));
}

static void M18_child_that_is_stopped_holds_nobody_up(void **state)
{
	enum { MANY = 200 };

	(void)state;
	for (int touched = 0; touched < 2; touched++) {
		int fd = file_new(PAGES(MANY));
		char *p = map_anonymous(MANY), *q = map_shared(fd, MANY);
		struct child child;

		mark(p, MANY, 'A');
		mark(q, MANY, 'A');
		CHILD(&child)
		{
			if (touched) {
				assert_marked(p, MANY, 'A');
				mark(p, MANY / 2, 150);
				mark(q, MANY / 2, 150);
			}
			pause_here();
			assert_marked(p, MANY / 2, touched ? 150 : 'A');
			assert_loads(p + PAGES(MANY - 1), 'A' + (MANY - 1) % 50);
			assert_marked(q, MANY, 200);
			mark(p, MANY, 170);
			mark(q, MANY, 170);
		}
		until_it_pauses(&child);
		stop(&child);
		pressure();
		mark(p, MANY, 200);
		mark(q, MANY, 200);
		assert_marked(p, MANY, 200);
		assert_int_equal(kill(child.pid, SIGCONT), 0);
		go_on(&child);
		ends_well(&child);
		assert_marked(p, MANY, 200);
		assert_marked(q, MANY, 170);
		unmap(p, MANY);
		unmap(q, MANY);
		file_close(fd);
	}
}

/* What cannot be taken from it in time it may still see; or else it is told. It never has what is not the file's. */
static void M18_file_that_is_cut_while_a_child_is_stopped(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		assert_pattern(p, PAGES(4), 0);
		pause_here();
		assert_past_the_end(p + PAGES(2));
		assert_past_the_end(p + PAGES(3));
	}
	until_it_pauses(&child);
	stop(&child);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
	assert_past_the_end(p + PAGES(2));
	assert_int_equal(kill(child.pid, SIGCONT), 0);
	go_on(&child);
	ends_well(&child);
	assert_pattern(p, PAGES(1), 0);
	unmap(p, 4);
}

/* ---- children that close what they have ---- */

static void M18_child_that_closes_its_descriptors_goes_on(void **state)
{
	int fd = file_new(PAGES(N));
	char *p = make_mixed(), *q = map_shared(fd, N);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		assert_loads(p, 'A');
		assert_int_equal(syscall(SYS_close_range, 3, ~0u, 0), 0);
		assert_marked(p, N, 'A');
		mark(p, N, 150);
		assert_marked(p, N, 150);
		assert_pattern(q, PAGES(N), 0);
		assert_stores(q + PAGES(1), 'c');
	}
	ends_well(&child);
	assert_marked(p, N, 'A');
	assert_loads(q + PAGES(1), 'c');
	unmap(p, N);
	unmap(q, N);
}

#ifndef KERNEL_ORACLE
/* ---- what only the engine has ---- */

static void M18_child_that_closed_its_descriptors_before_is_told(void **state)
{
	char *p = make_mixed(), *q = shared_anonymous(1);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		struct quire_guard guard;
		volatile char value = 0;

		assert_int_equal(syscall(SYS_close_range, 3, ~0u, 0), 0);
		/* Served from the start, or never; not with zeros. */
		QUIRE_GUARD(&guard) {
			value = p[0];
		}
		if (!guard.error) {
			assert_int_equal(value, 'A');
			assert_marked(p, N, 'A');
			assert_stores(q, 'c');
		} else {
			assert_int_equal(guard.error, EBADF);
			assert_ptr_equal(guard.addr, p);
			for (size_t i = 0; i < N; i++)
				assert_past_the_end(p + PAGES(i));
			assert_past_the_end(q);
			assert_fails(quire_msync(q, PAGES(1), MS_SYNC), EBADF);
			assert_message("quire_msync", "closed");
		}
	}
	ends_well(&child);
	assert_marked(p, N, 'A');
	mark(p, N, 150);
	unmap(p, N);
	unmap(q, 1);
}

static size_t count_entries(const char *dir)
{
	size_t n = 0;
	DIR *d = opendir(dir);

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void M18_child_that_touches_nothing_costs_nothing(void **state)
{
	const char *trap = getenv("QUIRE_TRAP");
	char *p = make_anonymous();
	struct child child;
	size_t descriptors;

	(void)state;
	CHILD(&child);
	ends_well(&child);
	descriptors = count_entries("/proc/self/fd");
	CHILD(&child)
	{
		bool eager = is_served() || (trap && !strcmp(trap, "thread"));

		/* The test's socket, and the one that faults are served by. */
		assert_true(count_entries("/proc/self/fd") <= descriptors + 2);
		/* Under the thread trap, and as a client, system calls work at once, so that a thread is there. The entries . and .. come on top. */
		assert_int_equal(count_entries("/proc/self/task"), 2 + (eager ? 2 : 1));
		assert_loads(p, 'A');
		assert_true(count_entries("/proc/self/fd") <= descriptors + 2);
		assert_int_equal(count_entries("/proc/self/task"), 2 + 2);
	}
	ends_well(&child);
	unmap(p, N);
}

static void M18_guard_in_a_child(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 3);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		struct quire_guard guard;
		volatile bool caught = false;
		char bytes[8];
		size_t done;

		QUIRE_GUARD(&guard) {
			bytes[0] = *(volatile char *)(p + PAGES(1) + 5);
			assert_true(false);
		}
		QUIRE_ERROR(&guard) {
			caught = true;
		}
		assert_true(caught);
		assert_int_equal(guard.error, ENODATA);
		assert_ptr_equal(guard.addr, p + PAGES(1) + 5);
		assert_int_equal(guard.offset, PAGES(1) + 5);
		assert_fails(quire_load(bytes, p + PAGES(1) - 3, sizeof(bytes), &done), ENODATA);
		assert_int_equal(done, 3);
		assert_fails(quire_store(p + PAGES(2), bytes, sizeof(bytes), &done), ENODATA);
		assert_int_equal(done, 0);
		assert_ok(quire_load(bytes, p, sizeof(bytes), NULL));
		assert_int_equal((unsigned char)bytes[7], pattern(7));
	}
	ends_well(&child);
	unmap(p, 3);
}

/* Memory that was private, of n pages: each page begins with its own byte. */
static void check_shared_at_last(char *p, size_t n)
{
	struct child child, grandchild;

	CHILD(&child)
	{
		assert_marked(p, n, 'A');
		mark(p, n, 'a');
		pause_here();
		assert_marked(p, n, '1');
		CHILD(&grandchild)
		{
			assert_marked(p, n, '1');
			mark(p, n, 'A');
		}
		ends_well(&grandchild);
		assert_marked(p, n, 'A');
		assert_stores(p + 1, 'c');
	}
	until_it_pauses(&child);
	assert_marked(p, n, 'a');
	mark(p, n, '1');
	go_on(&child);
	ends_well(&child);
	assert_marked(p, n, 'A');
	assert_loads(p + 1, 'c');
}

static void M18_minherit_share_of_private_memory(void **state)
{
	size_t n = 40;
	int fd = file_new(PAGES(n));
	char *p = map_anonymous(n), *q = map_private(fd, n);

	(void)state;
	mark(p, n, 'A');
	mark(q, n, 'A');
	evict(p + PAGES(3), 1);
	assert_ok(quire_minherit(p, PAGES(n), QUIRE_INHERIT_SHARE));
	assert_ok(quire_minherit(q, PAGES(n), QUIRE_INHERIT_SHARE));
	check_shared_at_last(p, n);
	check_shared_at_last(q, n);
	assert_int_equal(file_byte(fd, 0), pattern(0));
	/* From here on a child has a copy again. */
	assert_ok(quire_minherit(p, PAGES(n), QUIRE_INHERIT_COPY));
	{
		struct child child;

		CHILD(&child)
		{
			mark(p, n, '2');
			pause_here();
			assert_marked(p, n, '2');
		}
		until_it_pauses(&child);
		assert_marked(p, n, 'A');
		mark(p, n, '3');
		go_on(&child);
		ends_well(&child);
		assert_marked(p, n, '3');
	}
	unmap(p, n);
	unmap(q, n);
}

static void M18_minherit_share_of_memory_that_was_never_touched(void **state)
{
	char *p = map_anonymous(64);
	struct child child;

	(void)state;
	assert_ok(quire_minherit(p, PAGES(64), QUIRE_INHERIT_SHARE));
	CHILD(&child)
	{
		assert_zeros(p, PAGES(64));
		mark(p, 64, 'A');
	}
	ends_well(&child);
	check_shared_at_last(p, 64);
	unmap(p, 64);
}

/* A child that has a copy keeps it, and one that has borrowed pages of it gets them. */
static void M18_minherit_share_leaves_the_copies_of_children_alone(void **state)
{
	char *p = map_anonymous(24);
	struct child child;

	(void)state;
	mark(p, 24, 'A');
	CHILD(&child)
	{
		mark(p, 8, 'a');
		pause_here();
		assert_marked(p, 8, 'a');
		for (size_t i = 8; i < 24; i++)
			assert_loads(p + PAGES(i), 'A' + (int)i);
		mark(p, 24, '1');
	}
	until_it_pauses(&child);
	assert_ok(quire_minherit(p, PAGES(24), QUIRE_INHERIT_SHARE));
	assert_marked(p, 24, 'A');
	mark(p, 24, 'a');
	go_on(&child);
	ends_well(&child);
	assert_marked(p, 24, 'a');
	mark(p, 24, 'A');
	check_shared_at_last(p, 24);
	unmap(p, 24);
}

static void M18_minherit_share_in_a_child(void **state)
{
	char *p = map_anonymous(24);
	struct child child;

	(void)state;
	mark(p, 24, 'A');
	CHILD(&child)
	{
		/* Some are its own by now, some are borrowed. */
		mark(p, 4, 'A');
		assert_ok(quire_minherit(p, PAGES(24), QUIRE_INHERIT_SHARE));
		check_shared_at_last(p, 24);
		mark(p, 24, 'z');
	}
	ends_well(&child);
	assert_marked(p, 24, 'A');
	unmap(p, 24);
}

struct sharing_by_others {
	char *p;
	size_t n;
	_Atomic bool stop, wrong;
};

/* Counts in a word of each page, by loads and stores alone. */
static void *count_in_pages(void *arg)
{
	struct sharing_by_others *s = arg;

	for (uint64_t number = 1; !s->stop && !s->wrong; number++)
		for (size_t i = 0; i < s->n; i++) {
			volatile uint64_t *word = (volatile uint64_t *)(s->p + PAGES(i)) + 1;

			s->wrong |= *word != number - 1;
			*word = number;
		}
	return NULL;
}

static void M18_minherit_share_while_another_thread_works(void **state)
{
	struct sharing_by_others s = {.n = 100};
	pthread_t thread;

	(void)state;
	for (int round = 0; round < 10; round++) {
		s.p = map_anonymous(s.n);
		s.stop = false;
		assert_int_equal(pthread_create(&thread, NULL, count_in_pages, &s), 0);
		usleep(2000);
		for (size_t i = 0; i < s.n; i += 10)
			assert_ok(quire_minherit(s.p + PAGES(i), PAGES(10), QUIRE_INHERIT_SHARE));
		usleep(2000);
		s.stop = true;
		pthread_join(thread, NULL);
		assert_false(s.wrong);
		mark(s.p, s.n, 'A');
		check_shared_at_last(s.p, s.n);
		unmap(s.p, s.n);
	}
}

static void M18_minherit_decides_what_a_child_has(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4), *q = map_anonymous(4);
	struct child child, grandchild;

	(void)state;
	mark(p, 4, 'A');
	mark(q, 4, 'A');
	assert_ok(quire_minherit(p, PAGES(1), QUIRE_INHERIT_COPY));
	assert_ok(quire_minherit(p + PAGES(1), PAGES(1), QUIRE_INHERIT_NONE));
	assert_ok(quire_minherit(p + PAGES(2), PAGES(1), QUIRE_INHERIT_ZERO));
	assert_ok(quire_minherit(p + PAGES(3), PAGES(1), QUIRE_INHERIT_SHARE));
	assert_ok(quire_minherit(q, PAGES(1), QUIRE_INHERIT_ZERO));
	assert_ok(quire_minherit(q + PAGES(1), PAGES(1), QUIRE_INHERIT_NONE));
	assert_ok(quire_minherit(q + PAGES(2), PAGES(2), QUIRE_INHERIT_COPY));
	CHILD(&child)
	{
		assert_loads(p, 'A');
		assert_stores(p, 'c');
		assert_unmapped(p + PAGES(1));
		assert_zeros(p + PAGES(2), PAGES(1));
		assert_stores(p + PAGES(2), 'c');
		assert_loads(p + PAGES(3), 'D');
		assert_stores(p + PAGES(3), 'c');
		assert_zeros(q, PAGES(1));
		assert_stores(q, 'c');
		assert_unmapped(q + PAGES(1));
		assert_marked(q + PAGES(2), 2, 'C');
		assert_stores(q + PAGES(2), 'c');
		/* What was copied is private, and what is set for a child of its own counts there. */
		assert_ok(quire_minherit(q + PAGES(3), PAGES(1), QUIRE_INHERIT_NONE));
		CHILD(&grandchild)
		{
			assert_loads(p, 'c');
			assert_loads(p + PAGES(2), 0);
			assert_zeros(q, PAGES(1));
			assert_loads(q + PAGES(2), 'c');
			assert_unmapped(q + PAGES(3));
		}
		ends_well(&grandchild);
		assert_loads(q + PAGES(3), 'D');
	}
	ends_well(&child);
	assert_marked(p, 3, 'A');
	assert_loads(p + PAGES(3), 'c');
	assert_marked(q, 4, 'A');
	unmap(p, 4);
	unmap(q, 4);
}

static void M18_child_asks_what_the_engine_knows(void **state)
{
	int fd = file_new(PAGES(8)), event = eventfd(0, EFD_CLOEXEC);
	char *p = map_shared(fd, 8), *q = make_swapped();
	struct child child;

	(void)state;
	assert_true(event >= 0);
	CHILD(&child)
	{
		struct iovec all[] = {{p, PAGES(8)}, {q, PAGES(N)}}, ranges[4];
		struct quire_stats now;
		struct quire_area_stats area;
		uint64_t value, epoch;
		char line[256], *text = NULL;
		size_t len = 0;
		bool found = false;
		FILE *out;

		assert_ok(quire_prefetch(all, 2, event));
		assert_int_equal(read(event, &value, sizeof(value)), sizeof(value));
		assert_int_equal(value, 1);
		assert_int_equal(resident_pages(p, 8), 8);
		assert_marked(q, N, 'A');
		assert_int_equal(quire_resident(p, PAGES(1)), 1);
		assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
		assert_int_equal(quire_dirty(p, PAGES(8), ranges, 4), 0);
		assert_stores(p + PAGES(3), 's');
		assert_int_equal(quire_dirty(p, PAGES(8), ranges, 4), 1);
		assert_ptr_equal(ranges[0].iov_base, p + PAGES(3));
		assert_int_equal(ranges[0].iov_len, PAGES(1));
		assert_ok(quire_epoch(p, PAGES(8), &epoch));
		assert_int_equal(quire_written(p, PAGES(8), epoch, ranges, 4), 0);
		assert_stores(p + PAGES(5), 's');
		assert_int_equal(quire_written(p, PAGES(8), epoch, ranges, 4), 1);
		assert_ptr_equal(ranges[0].iov_base, p + PAGES(5));
		assert_int_equal(quire_written(p, PAGES(8), 0, NULL, 0), 1);
		assert_ok(quire_stats_get(&now, sizeof(now)));
		assert_int_equal(now.budget_bytes, 4 << 20);
		assert_true(now.areas >= 2);
		assert_ok(quire_area_stats_get(p, &area));
		assert_fails(quire_area_stats_get(quiet(), &area), ENOMEM);
		out = open_memstream(&text, &len);
		assert_non_null(out);
		assert_ok(quire_maps(out));
		assert_int_equal(fclose(out), 0);
		snprintf(line, sizeof(line), "%lx-", (unsigned long)(uintptr_t)p);
		found = strstr(text, line) != NULL;
		assert_true(found);
		free(text);
	}
	ends_well(&child);
	assert_loads(p + PAGES(3), 's');
	close(event);
	unmap(p, 8);
	unmap(q, N);
}

static void M18_child_sets_the_budget(void **state)
{
	struct child child;

	(void)state;
	CHILD(&child)
	{
		assert_ok(quire_set_memory(4 << 20));
		assert_fails(quire_set_memory(1), EINVAL);
		assert_message("quire_set_memory", "budget");
	}
	ends_well(&child);
}

static enum quire_error_answer no_answer(void *arg, const struct quire_error *error)
{
	(void)arg;
	(void)error;
	return QUIRE_ANSWER_FAIL;
}

static void no_transfer(void *arg, const struct quire_pager_request *request)
{
	(void)arg;
	quire_pager_complete(request->id, EIO, 0);
}

static int no_size(void *arg, uint64_t *ret_bytes)
{
	(void)arg;
	*ret_bytes = page_size;
	return 0;
}

static void M18_calls_with_functions_are_refused_in_a_child(void **state)
{
	static const struct quire_pager_ops ops = {.ops_size = sizeof(ops), .size = no_size, .read = no_transfer};
	static const struct quire_page_hooks hooks = {.size = sizeof(hooks)};
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	struct child child;

	(void)state;
	for (int touched = 0; touched < 2; touched++) {
		CHILD(&child)
		{
			struct quire_config config = {.size = sizeof(config)};

			if (touched)
				assert_pattern(p, PAGES(1), 0);
			assert_fails(quire_on_error(p, PAGES(1), no_answer, NULL), EOPNOTSUPP);
			assert_message("quire_on_error", "child of a fork");
			assert_fails(quire_open_pager(&ops, NULL, O_RDONLY), EOPNOTSUPP);
			assert_message("quire_open_pager", "child of a fork");
			assert_fails(quire_set_page_hooks(p, &hooks), EOPNOTSUPP);
			assert_message("quire_set_page_hooks", "child of a fork");
			assert_fails(quire_configure(&config), EBUSY);
			assert_pattern(p, PAGES(1), 0);
		}
		ends_well(&child);
	}
	unmap(p, 2);
}

static _Atomic int answers;

static enum quire_error_answer count_answers(void *arg, const struct quire_error *error)
{
	(void)arg;
	(void)error;
	answers++;
	return QUIRE_ANSWER_ZERO;
}

/* The function is the parent's alone. */
static void M18_callback_is_not_inherited(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);
	struct child child;

	(void)state;
	assert_ok(quire_on_error(p, PAGES(2), count_answers, NULL));
	CHILD(&child)
	assert_past_the_end(p + PAGES(1));
	ends_well(&child);
	assert_int_equal(answers, 0);
	assert_loads(p + PAGES(1), 0);
	assert_int_equal(answers, 1);
	unmap(p, 2);
}

/* ---- the end of a parent ---- */

/* The process that the engine is in begins with this, and its child, which is to outlive it, with the other. */
static int orphans_sockets[2];

static void prepare_orphan(struct child *orphan)
{
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orphans_sockets), 0);
	*orphan = (struct child){.pid = -1, .socket = orphans_sockets[0]};
}

static void become_orphan(void)
{
	close(orphans_sockets[0]);
	become_child(orphans_sockets[1]);
}

/* Of the orphan: it has sent its number. */
static void orphan_ends_well(struct child *orphan)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);

	assert_true(pid > 0);
	if (WIFSIGNALED(status))
		fail_msg("the orphan died of signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(orphan->socket);
}

/* Until SIGBUS says so, what was there is there. */
static bool is_lost(const char *p, int value)
{
	int got = load(p);

	assert_true(got == value || got == -SIGBUS);
	if (got == -SIGBUS)
		assert_ptr_equal(last_fault.addr, p);
	return got == -SIGBUS;
}

static void check_lost(char *p, size_t n, int base)
{
	for (size_t i = 0; i < n; i++)
		assert_comes_true(is_lost(p + PAGES(i), base + (int)(i % 50)));
}

static void check_orphan(bool touched, bool killed)
{
	struct child engine, orphan;

	prepare_orphan(&orphan);
	CHILD(&engine)
	{
		char *p = make_mixed(), *q = shared_anonymous(N);
		struct child child;

		mark(q, N, 'A');
		CHILD(&child)
		{
			struct quire_guard guard;
			volatile bool caught = false;
			char *k;

			become_orphan();
			if (touched) {
				assert_marked(p, N / 2, 'A');
				assert_stores(p, 'A');
			}
			pause_here();
			check_lost(p, N, 'A');
			check_lost(q, N, 'A');
			QUIRE_GUARD(&guard) {
				*(volatile char *)(p + 3) = 'x';
				assert_true(false);
			}
			QUIRE_ERROR(&guard) {
				caught = true;
			}
			assert_true(caught);
			assert_int_equal(guard.error, EOWNERDEAD);
			assert_ptr_equal(guard.addr, p + 3);
			assert_non_null(strstr(quire_errormsg(), "has ended"));
			assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EOWNERDEAD);
			assert_message("quire_mmap", "has ended");
			assert_fails(quire_msync(q, PAGES(1), MS_SYNC), EOWNERDEAD);
			check_lost(p, N, 'A');
			/* What is the kernel's is so still. */
			k = mmap(NULL, PAGES(2), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			assert_ptr_not_equal(k, MAP_FAILED);
			assert_ok(quire_mprotect(k, PAGES(2), RW));
			assert_stores(k, 'k');
			assert_ok(quire_madvise(k, PAGES(1), MADV_DONTNEED));
			assert_loads(k, 0);
			assert_ptr_equal(quire_mremap(k, PAGES(2), PAGES(1), 0), k);
			assert_ok(quire_munmap(k, PAGES(1)));
			assert_load_raises(k, SIGSEGV, SEGV_MAPERR);
		}
		close(orphans_sockets[1]);
		close(orphans_sockets[0]);
		pause_here();
		if (!killed)
			exit(0);
	}
	close(orphans_sockets[1]);
	until_it_pauses(&orphan);
	until_it_pauses(&engine);
	if (killed) {
		is_killed(&engine);
	} else {
		int status;

		go_on(&engine);
		status = status_of(&engine);
		assert_true(WIFEXITED(status));
	}
	go_on(&orphan);
	orphan_ends_well(&orphan);
}

static void M18_child_outlives_the_engine_that_is_killed(void **state)
{
	(void)state;
	check_orphan(true, true);
	check_orphan(false, true);
}

static void M18_child_outlives_the_engine_that_exits(void **state)
{
	(void)state;
	check_orphan(true, false);
	check_orphan(false, false);
}

static void M18_child_of_a_process_that_has_mapped_nothing_has_an_engine_of_its_own(void **state)
{
	struct child child, grandchild;
	char *p;

	(void)state;
	CHILD(&child)
	{
		p = make_mixed();
		CHILD(&grandchild)
		{
			assert_marked(p, N, 'A');
			mark(p, N, 150);
		}
		ends_well(&grandchild);
		assert_marked(p, N, 'A');
	}
	ends_well(&child);
	p = make_mixed();
	CHILD(&child)
	assert_marked(p, N, 'A');
	ends_well(&child);
	unmap(p, N);
}

/* ---- the end of a child ---- */

static void M18_child_that_is_killed_gives_back_what_it_had(void **state)
{
	char *p = map_anonymous(64), *q = shared_anonymous(4);
	struct quire_stats before;
	struct child child;

	(void)state;
	mark(p, 64, 'A');
	mark(q, 4, 'A');
	before = stats();
	CHILD(&child)
	{
		assert_marked(p, 32, 'A');
		mark(p, 16, 'a');
		mark(q, 2, 'a');
		pause_here();
	}
	until_it_pauses(&child);
	assert_true(stats().resident_bytes > before.resident_bytes);
	is_killed(&child);
	assert_comes_true(stats().objects == before.objects && stats().resident_bytes <= before.resident_bytes);
	assert_marked(p, 64, 'A');
	mark(p, 64, 150);
	assert_marked(p, 64, 150);
	assert_marked(q, 2, 'a');
	assert_int_equal(stats().resident_bytes, before.resident_bytes);
	unmap(p, 64);
	unmap(q, 4);
}
static void M18_child_that_execs_gives_back_what_it_had(void **state)
{
	char *p = map_anonymous(64);
	struct quire_stats before;
	struct child child;
	int status;

	(void)state;
	mark(p, 64, 'A');
	before = stats();
	CHILD(&child)
	{
		mark(p, 32, 'a');
		execl("/bin/sleep", "sleep", "100", NULL);
	}
	/* It has what it has until it is another program, which lives on. */
	assert_comes_true(stats().objects == before.objects && stats().resident_bytes <= before.resident_bytes);
	mark(p, 64, 150);
	assert_marked(p, 64, 150);
	assert_int_equal(waitpid(child.pid, &status, WNOHANG), 0);
	is_killed(&child);
	unmap(p, 64);
}

#endif

static const struct conformance_test tests[] = {
    TEST(M18_shared_file_is_shared_with_a_child),
    TEST(M18_shared_anonymous_memory_is_shared_with_a_child),
    TEST(M18_parent_stores_first),
    TEST(M18_grandchildren_share_too),
    TEST(M18_a_childs_stores_reach_the_file),
    TEST(M18_stores_of_the_last_to_have_a_file_reach_it),
    TEST(M18_shared_memory_outlives_its_parents_mapping),
    TEST(M18_private_memory_is_each_sides_own),
    TEST(M18_private_memory_in_the_swap_is_each_sides_own),
    TEST(M18_private_memory_half_in_the_swap_is_each_sides_own),
    TEST(M18_private_file_is_each_sides_own),
    TEST(M18_locked_memory_is_each_sides_own_and_the_childs_is_not_locked),
    TEST(M18_memory_is_right_under_pressure_on_either_side),
    TEST(M18_pages_put_out_by_advice_on_either_side_are_right),
    TEST(M18_siblings_are_isolated),
    TEST(M18_each_generation_has_its_own),
    TEST(M18_grandchild_outlives_the_child),
    TEST(M18_cut_of_a_file_is_a_cut_on_both_sides),
    TEST(M18_cut_takes_both_sides_copies),
    TEST(M18_dontfork_leaves_a_hole),
    TEST(M18_wipeonfork_gives_zeros),
    TEST(M18_faults_of_a_child_have_their_signals),
    TEST(M18_first_touch_of_a_child_may_be_a_signal),
    TEST(M18_stack_has_its_guard_in_a_child),
    TEST(M18_child_maps_and_unmaps),
    TEST(M18_child_advises_locks_and_asks),
    TEST(M18_memory_of_the_kernels_in_a_child_is_the_kernels),
    TEST(M18_memory_of_the_kernels_before_a_mapping_in_a_child_is_the_kernels),
    TEST(M18_holes_of_a_child_are_ENOMEM),
    TEST(M18_what_a_child_hides_from_its_own_leaves_a_hole),
    TEST(M18_locked_memory_of_a_child_is_resident_when_it_has_forked),
    TEST(M18_validate_in_a_child_refuses_what_it_does_not_know),
    TEST(M18_child_removes_and_replaces_what_is_partly_the_kernels),
    TEST(M18_what_the_kernel_places_in_a_child_is_not_where_mappings_are),
    TEST(M18_program_that_is_run_has_nothing_left),
    TEST(M18_forks_in_a_loop),
    TEST(M18_names_are_of_the_whole_family),
    TEST(M18_attachments_are_inherited_and_counted),
    TEST(M18_attachments_end_with_the_child),
    TEST(M18_fork_while_other_threads_work),
    TEST(M18_fork_of_a_child_while_its_other_threads_work),
    TEST(M18_threads_fork_at_once),
    TEST_IN_OWN_PROCESS(M18_fork_that_fails_leaves_all_as_it_was, "LSAN_OPTIONS=detect_leaks=0"),
    TEST(M18_child_that_is_stopped_holds_nobody_up),
    TEST(M18_file_that_is_cut_while_a_child_is_stopped),
    TEST(M18_child_that_closes_its_descriptors_goes_on),
#ifndef KERNEL_ORACLE
    TEST(M18_child_that_closed_its_descriptors_before_is_told),
    TEST(M18_child_that_touches_nothing_costs_nothing),
    TEST(M18_guard_in_a_child),
    TEST(M18_minherit_decides_what_a_child_has),
    TEST(M18_minherit_share_of_private_memory),
    TEST(M18_minherit_share_of_memory_that_was_never_touched),
    TEST(M18_minherit_share_leaves_the_copies_of_children_alone),
    TEST(M18_minherit_share_in_a_child),
    TEST(M18_minherit_share_while_another_thread_works),
    TEST(M18_child_asks_what_the_engine_knows),
    TEST(M18_child_sets_the_budget),
    TEST(M18_calls_with_functions_are_refused_in_a_child),
    TEST(M18_callback_is_not_inherited),
    TEST(M18_pages_that_are_on_their_way_at_a_fork_are_right),
    TEST(M18_page_that_cannot_be_had_is_an_error_in_a_child),
    TEST_BEFORE_START(M18_child_outlives_the_engine_that_is_killed, ""),
    TEST_BEFORE_START(M18_child_outlives_the_engine_that_exits, ""),
    TEST_BEFORE_START(M18_child_of_a_process_that_has_mapped_nothing_has_an_engine_of_its_own, ""),
    TEST(M18_child_that_is_killed_gives_back_what_it_had),
    TEST(M18_child_that_execs_gives_back_what_it_had),
#endif
};

CONFORMANCE_MAIN(tests)
