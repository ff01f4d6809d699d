/* SPDX-License-Identifier: MIT */
/*
 * test-named.c - shared memory under names and keys (K07)
 */
#include "children.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/shm.h>
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

static pid_t program; /* and not one of its children */

static void __attribute__((constructor)) note_program(void)
{
	program = getpid();
}

/* A name that no other run of this test has. */
static const char *name_of(int n)
{
	static char names[4][64];

	snprintf(names[n], sizeof(names[n]), "/quire-test-%d-%d", (int)program, n);
	return names[n];
}

static int shm(int n, int oflags)
{
	int fd = quire_shm_open(name_of(n), oflags, 0600);

	check_call(fd, 0, "quire_shm_open", __FILE__, __LINE__);
	return fd;
}

/* A new object of so many bytes. */
static int shm_new(size_t bytes)
{
	int fd = shm(0, O_RDWR | O_CREAT | O_EXCL);

	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static void shm_end(int fd)
{
	assert_ok(quire_shm_unlink(name_of(0)));
	assert_int_equal(close(fd), 0);
}

/* ---- names ---- */

static void K07_object_is_found_by_its_name(void **state)
{
	int fd = shm_new(PAGES(4)), again = shm(0, O_RDWR);
	char *p = map_shared(fd, 4), *q = map_shared(again, 4);

	(void)state;
	assert_zeros(p, PAGES(4));
	p[PAGES(2)] = 7;
	assert_int_equal(q[PAGES(2)], 7);
	assert_int_equal(file_size(again), PAGES(4));
	unmap(p, 4);
	unmap(q, 4);
	close(again);
	shm_end(fd);
}

static void K07_contents_live_while_there_is_a_name(void **state)
{
	int fd = shm_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	p[0] = 1;
	p[PAGES(1)] = 2;
	unmap(p, 2);
	assert_int_equal(close(fd), 0);
	pressure();
	fd = shm(0, O_RDONLY);
	p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);
	assert_int_equal(p[0] + p[PAGES(1)], 3);
	unmap(p, 2);
	shm_end(fd);
}

static void K07_contents_outlive_the_name_while_open_or_mapped(void **state)
{
	int fd = shm_new(PAGES(2)), other;
	char *p = map_shared(fd, 2), *q;

	(void)state;
	p[0] = 1;
	assert_ok(quire_shm_unlink(name_of(0)));
	assert_fails(quire_shm_open(name_of(0), O_RDWR, 0), ENOENT);
	other = shm_new(PAGES(1));
	q = map_shared(other, 1);
	assert_int_equal(q[0], 0);
	unmap(q, 1);
	shm_end(other);
	q = map_shared(fd, 2);
	assert_int_equal(q[0], 1);
	assert_int_equal(close(fd), 0);
	unmap(q, 2);
	assert_int_equal(p[0], 1);
	unmap(p, 2);
}

static void K07_errors_of_names(void **state)
{
	char longest[300];
	int fd = shm_new(1);

	(void)state;
	assert_fails(quire_shm_open(name_of(0), O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	assert_fails(quire_shm_open(name_of(1), O_RDWR, 0), ENOENT);
	assert_fails(quire_shm_unlink(name_of(1)), ENOENT);
	assert_fails(quire_shm_open("/", O_RDWR | O_CREAT, 0600), EINVAL);
	assert_fails(quire_shm_open("/a/b", O_RDWR | O_CREAT, 0600), EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
#ifndef KERNEL_ORACLE /* the C library says EINVAL, and its manual what POSIX does */
	assert_fails(quire_shm_open(longest, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
#endif
	shm_end(fd);
	assert_fails(quire_shm_unlink(name_of(0)), ENOENT);
}

static void K07_descriptor_is_closed_by_exec(void **state)
{
	int fd = shm_new(1);

	(void)state;
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	shm_end(fd);
}

static void K07_open_mode_limits_the_protection(void **state)
{
	int fd = shm_new(PAGES(1)), reader = shm(0, O_RDONLY);
	char *p;

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, reader, 0), EACCES);
	p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, reader, 0);
	assert_fails(quire_mprotect(p, PAGES(1), RW), EACCES);
	assert_fails(quire_ftruncate(reader, 1), EINVAL);
	unmap(p, 1);
	p = map_private(reader, 1);
	p[0] = 1;
	unmap(p, 1);
	p = map_shared(fd, 1);
	assert_int_equal(p[0], 0);
	unmap(p, 1);
	close(reader);
	shm_end(fd);
}

static void K07_permissions_and_the_mask_are_those_of_a_file(void **state)
{
	mode_t mask = umask(027);
	struct stat st;
	int fd = quire_shm_open(name_of(0), O_RDWR | O_CREAT | O_EXCL, 0666);

	(void)state;
	umask(mask);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(fchmod(fd, 0400), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	errno = 0;
	assert_int_equal(quire_shm_open(name_of(0), O_RDWR, 0), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(seteuid(getuid()), 0);
	shm_end(fd);
}

/* ---- size ---- */

static void K07_new_object_is_empty_and_grows_by_ftruncate(void **state)
{
	int fd = shm(0, O_RDWR | O_CREAT | O_EXCL);
	char *p = map_shared(fd, 4);

	(void)state;
	assert_int_equal(file_size(fd), 0);
	assert_past_the_end(p);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(2)), 0);
	assert_stores(p + PAGES(1), 1);
	assert_past_the_end(p + PAGES(2));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(3)));
	assert_int_equal(file_size(fd), PAGES(3));
	assert_loads(p + PAGES(2), 0);
	assert_loads(p + PAGES(1), 1);
	assert_past_the_end(p + PAGES(3));
	unmap(p, 4);
	shm_end(fd);
}

static void K07_what_is_cut_off_comes_back_as_zeros(void **state)
{
	int fd = shm_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	memset(p, 1, PAGES(4));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1) + 10));
	assert_past_the_end(p + PAGES(2));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(4)));
	assert_filled(p, PAGES(1) + 10, 1);
	assert_zeros(p + PAGES(1) + 10, PAGES(3) - 10);
	unmap(p, 4);
	shm_end(fd);
}

static void K07_what_is_cut_off_in_the_swap_comes_back_as_zeros(void **state)
{
	int fd = shm_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	memset(p, 1, PAGES(4));
	evict(p, 4);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1) + 10));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(4)));
	evict(p, 4);
	assert_filled(p, PAGES(1) + 10, 1);
	assert_zeros(p + PAGES(1) + 10, PAGES(3) - 10);
	unmap(p, 4);
	shm_end(fd);
}

static void K07_ftruncate_of_the_kernel_is_followed(void **state)
{
	int fd = shm_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	memset(p, 1, PAGES(4));
	assert_int_equal(ftruncate(fd, (off_t)PAGES(2)), 0);
	while (load(p + PAGES(2)) >= 0)
		sched_yield();
	assert_past_the_end(p + PAGES(3));
	assert_filled(p, PAGES(2), 1);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(3)), 0);
	assert_zeros(p + PAGES(2), PAGES(1));
	unmap(p, 4);
	shm_end(fd);
}

static void K07_O_TRUNC_empties(void **state)
{
	int fd = shm_new(PAGES(2)), again;
	char *p = map_shared(fd, 2);

	(void)state;
	p[0] = 1;
	again = shm(0, O_RDWR | O_TRUNC);
	assert_int_equal(file_size(fd), 0);
	assert_past_the_end(p);
	assert_ok(quire_ftruncate(again, (off_t)PAGES(1)));
	assert_loads(p, 0);
	unmap(p, 2);
	close(again);
	shm_end(fd);
}

static void K07_object_may_be_larger_than_the_budget(void **state)
{
#ifdef KERNEL_ORACLE
	size_t n = 64;
#else
	size_t n = 2 * stats().budget_bytes / page_size;
#endif
	int fd = shm_new(PAGES(n));
	char *p = map_shared(fd, n);

	(void)state;
	for (size_t i = 0; i < n; i++)
		*(size_t *)(p + PAGES(i)) = i + 1;
	unmap(p, n);
	p = map_shared(fd, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(*(size_t *)(p + PAGES(i)), i + 1);
	unmap(p, n);
	shm_end(fd);
}

static void K07_private_mapping_shows_the_object_until_it_is_stored_to(void **state)
{
	int fd = shm_new(PAGES(2));
	char *p = map_shared(fd, 2), *q = map_private(fd, 2);

	(void)state;
	p[0] = 1;
	assert_int_equal(q[0], 1);
	q[PAGES(1)] = 2;
	assert_int_equal(p[PAGES(1)], 0);
	evict(p, 2);
	assert_int_equal(p[0], 1);
	assert_int_equal(q[PAGES(1)], 2);
	unmap(p, 2);
	unmap(q, 2);
	shm_end(fd);
}

#ifndef KERNEL_ORACLE
static void K07_descriptor_is_nothing_to_the_kernel(void **state)
{
	int fd = shm_new(PAGES(1));
	char byte = 1;

	(void)state;
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(pwrite(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_ptr_equal(mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	shm_end(fd);
}

static void K07_memory_is_given_back(void **state)
{
	struct quire_stats before;
	int fd;
	char *p;

	(void)state;
	settle();
	before = stats();
	fd = shm_new(PAGES(64));
	p = map_shared(fd, 64);
	memset(p, 1, PAGES(64));
	assert_true(stats().objects > before.objects);
	unmap(p, 64);
	shm_end(fd);
	settle();
	assert_int_equal(stats().objects, before.objects);
	assert_in_range(stats().resident_bytes, 0, before.resident_bytes);
}
#endif

/* ---- segments ---- */

static key_t key_of(int n)
{
	return (key_t)(0x51000000 + program * 4 + n);
}

static int segment(int n, size_t bytes, int flags)
{
	int id = quire_shmget(key_of(n), bytes, flags | 0600);

	check_call(id, 0, "quire_shmget", __FILE__, __LINE__);
	return id;
}

static char *attach(int id, int flags)
{
	char *p = quire_shmat(id, NULL, flags);

	check_call((intptr_t)p, 0, "quire_shmat", __FILE__, __LINE__);
	return p;
}

static struct shmid_ds status(int id)
{
	struct shmid_ds ds;

	assert_ok(quire_shmctl(id, IPC_STAT, &ds));
	return ds;
}

static void K07_segment_is_found_by_its_key(void **state)
{
	int id = segment(0, PAGES(3), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0), *q = attach(segment(0, PAGES(2), 0), SHM_RDONLY);

	(void)state;
	assert_int_equal(segment(0, 0, IPC_CREAT), id);
	assert_zeros(p, PAGES(3));
	p[PAGES(2)] = 5;
	assert_int_equal(q[PAGES(2)], 5);
	assert_store_raises(q, SIGSEGV, SEGV_ACCERR);
	assert_int_equal(status(id).shm_nattch, 2);
	assert_ok(quire_shmdt(p));
	assert_unmapped(p);
	assert_ok(quire_shmdt(q));
	assert_int_equal(status(id).shm_nattch, 0);
	p = attach(id, 0);
	assert_int_equal(p[PAGES(2)], 5);
	assert_ok(quire_shmdt(p));
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

static void K07_segment_that_was_unmapped_is_attached_no_more(void **state)
{
	int id = segment(0, PAGES(3), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0), *q;

	(void)state;
	assert_ok(quire_munmap(p, PAGES(3)));
	assert_ptr_equal(quire_shmat(id, p, 0), p);
	assert_int_equal(status(id).shm_nattch, 1);
	/* Over itself. */
	assert_ptr_equal(quire_shmat(id, p, SHM_REMAP), p);
	assert_int_equal(status(id).shm_nattch, 1);
	q = attach(id, 0);
	assert_int_equal(status(id).shm_nattch, 2);
	assert_ok(quire_shmdt(p));
	assert_unmapped(p);
	assert_int_equal(status(id).shm_nattch, 1);
	assert_fails(quire_shmdt(p), EINVAL);
	assert_ok(quire_shmdt(q));
	assert_int_equal(status(id).shm_nattch, 0);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

static void K07_private_segments_have_no_key(void **state)
{
	int a = quire_shmget(IPC_PRIVATE, 1, 0600), b = quire_shmget(IPC_PRIVATE, 1, 0600);
	char *p;

	(void)state;
	assert_true(a >= 0 && b >= 0 && a != b);
	p = quire_shmat(a, quiet(), 0);
	/* Whole pages. */
	p[PAGES(1) - 1] = 1;
	assert_unmapped(p + PAGES(1));
	assert_ok(quire_shmdt(p));
	p = attach(a, 0);
	assert_int_equal(p[PAGES(1) - 1], 1);
	assert_ok(quire_shmdt(p));
	assert_ok(quire_shmctl(a, IPC_RMID, NULL));
	assert_ok(quire_shmctl(b, IPC_RMID, NULL));
}

static void K07_removed_segment_lives_while_it_is_attached(void **state)
{
	int id = segment(0, PAGES(2), IPC_CREAT | IPC_EXCL), again;
	char *p = attach(id, 0), *q;

	(void)state;
	p[0] = 1;
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_int_equal(status(id).shm_perm.mode & SHM_DEST, SHM_DEST);
	assert_fails(quire_shmget(key_of(0), 0, 0), ENOENT);
	again = segment(0, PAGES(1), IPC_CREAT | IPC_EXCL);
	assert_int_not_equal(again, id);
	/* By its number it is still to be had, on Linux. */
	q = attach(id, 0);
	assert_int_equal(q[0], 1);
	assert_ok(quire_shmdt(p));
	assert_int_equal(q[0], 1);
	assert_ok(quire_munmap(q, PAGES(2)));
	assert_fails(quire_shmctl(id, IPC_STAT, &(struct shmid_ds){0}), EINVAL);
	assert_fails(quire_shmat(id, NULL, 0), EINVAL);
	assert_ok(quire_shmctl(again, IPC_RMID, NULL));
}

static void K07_errors_of_segments(void **state)
{
	int id = segment(0, PAGES(1), IPC_CREAT | IPC_EXCL);
	char *p = quire_shmat(id, quiet(), 0);

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_fails(quire_shmget(key_of(0), PAGES(1), IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	assert_fails(quire_shmget(key_of(0), PAGES(1) + 1, 0600), EINVAL);
	assert_fails(quire_shmget(key_of(1), PAGES(1), 0600), ENOENT);
	assert_fails(quire_shmget(key_of(1), 0, IPC_CREAT | 0600), EINVAL);
	assert_fails(quire_shmat(-1, NULL, 0), EINVAL);
	assert_fails(quire_shmat(id, p + 1, 0), EINVAL);
	assert_fails(quire_shmat(id, p, 0), EINVAL);
	assert_fails(quire_shmat(id, NULL, SHM_REMAP), EINVAL);
	assert_fails(quire_shmdt(p + PAGES(1)), EINVAL);
	assert_fails(quire_shmdt(p + 1), EINVAL);
	assert_fails(quire_shmctl(-1, IPC_RMID, NULL), EINVAL);
	assert_fails(quire_shmctl(id, 12345, NULL), EINVAL);
	assert_ok(quire_shmdt(p));
	assert_fails(quire_shmdt(p), EINVAL);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_fails(quire_shmctl(id, IPC_RMID, NULL), EINVAL);
}

static void K07_segment_is_attached_where_it_is_wanted(void **state)
{
	int id = segment(0, PAGES(2), IPC_CREAT | IPC_EXCL);
	char *at = quiet(), *p;

	(void)state;
	p = quire_shmat(id, at + 5, SHM_RND);
	assert_ptr_equal(p, at);
	p[PAGES(1)] = 1;
	assert_ptr_equal(quire_shmat(id, at, SHM_REMAP | SHM_RDONLY), at);
	assert_int_equal(p[PAGES(1)], 1);
	assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
	assert_ok(quire_shmdt(at));
	assert_unmapped(at);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

static void K07_status_tells_what_there_is_to_know(void **state)
{
	time_t before = time(NULL);
	int id = segment(0, PAGES(1) + 1, IPC_CREAT | IPC_EXCL);
	struct shmid_ds ds = status(id);
	char *p;

	(void)state;
	assert_int_equal(ds.shm_segsz, PAGES(1) + 1);
	assert_int_equal(ds.shm_perm.__key, key_of(0));
	assert_int_equal(ds.shm_perm.mode & 0777, 0600);
	assert_int_equal(ds.shm_perm.uid, geteuid());
	assert_int_equal(ds.shm_perm.cgid, getegid());
	assert_int_equal(ds.shm_cpid, getpid());
	assert_int_equal(ds.shm_lpid, 0);
	assert_int_equal(ds.shm_atime, 0);
	assert_int_equal(ds.shm_dtime, 0);
	assert_true(ds.shm_ctime >= before - 1 && ds.shm_ctime <= time(NULL));
	p = attach(id, 0);
	assert_int_equal(status(id).shm_lpid, getpid());
	assert_true(status(id).shm_atime >= before - 1);
	assert_ok(quire_shmdt(p));
	assert_true(status(id).shm_dtime >= before - 1);
	ds.shm_perm.mode = 0400;
	assert_ok(quire_shmctl(id, IPC_SET, &ds));
	assert_int_equal(status(id).shm_perm.mode & 0777, 0400);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	errno = 0;
	assert_int_equal((intptr_t)quire_shmat(id, NULL, 0), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(seteuid(getuid()), 0);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

static void K07_segments_are_swapped(void **state)
{
	int id = segment(0, PAGES(64), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0);

	(void)state;
	for (size_t i = 0; i < 64; i++)
		p[PAGES(i)] = (char)i;
	evict(p, 64);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(p[PAGES(i)], i);
	assert_ok(quire_shmdt(p));
	pressure();
	p = attach(id, 0);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(p[PAGES(i)], i);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_ok(quire_shmdt(p));
}

/* ---- names, between processes ---- */

static void K07_name_is_known_to_parent_and_child(void **state)
{
	int fd = shm_new(PAGES(2)), childs;
	char *p = map_shared(fd, 2), *q;
	struct child child;

	(void)state;
	p[0] = 'p';
	CHILD(&child)
	{
		int again = shm(0, O_RDWR), own = shm(1, O_RDWR | O_CREAT | O_EXCL);

		q = map_shared(again, 2);
		assert_ptr_not_equal(q, p);
		assert_loads(q, 'p');
		assert_stores(q + PAGES(1), 'c');
		assert_loads(p + PAGES(1), 'c');
		assert_ok(quire_ftruncate(own, (off_t)PAGES(2)));
		q = map_shared(own, 2);
		assert_stores(q + PAGES(1), 'n');
	}
	ends_well(&child);
	assert_loads(p + PAGES(1), 'c');
	pressure();
	/* What the child has made is there without it. */
	childs = shm(1, O_RDWR);
	assert_int_equal(file_size(childs), PAGES(2));
	q = map_shared(childs, 2);
	assert_loads(q + PAGES(1), 'n');
	unmap(q, 2);
	close(childs);
	assert_ok(quire_shm_unlink(name_of(1)));
	unmap(p, 2);
	shm_end(fd);
}

static void K07_name_is_made_once_by_many_processes(void **state)
{
	enum { CHILDREN = 8 };
	struct child children[CHILDREN];
	_Atomic int *made = (_Atomic int *)map(NULL, PAGES(1), RW, MAP_SHARED | MAP_ANONYMOUS, ANON, 0);

	(void)state;
	for (int i = 0; i < CHILDREN; i++)
		CHILD(&children[i])
		{
			pause_here();
			if (quire_shm_open(name_of(0), O_RDWR | O_CREAT | O_EXCL, 0600) >= 0)
				atomic_fetch_add(made, 1);
			else
				assert_int_equal(errno, EEXIST);
		}
	for (int i = 0; i < CHILDREN; i++)
		until_it_pauses(&children[i]);
	for (int i = 0; i < CHILDREN; i++)
		go_on(&children[i]);
	for (int i = 0; i < CHILDREN; i++)
		ends_well(&children[i]);
	assert_int_equal(atomic_load(made), 1);
	assert_ok(quire_shm_unlink(name_of(0)));
	assert_fails(quire_shm_unlink(name_of(0)), ENOENT);
	assert_ok(quire_munmap((void *)made, PAGES(1)));
}

static void K07_size_that_one_process_sets_is_seen_by_the_other(void **state)
{
	int fd = shm(0, O_RDWR | O_CREAT | O_EXCL);
	char *p = map_shared(fd, 4);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		int again = shm(0, O_RDWR);
		char *q;

		assert_past_the_end(p);
		assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
		assert_stores(p + PAGES(1), 'c');
		pause_here();
		assert_past_the_end(p + PAGES(1));
		assert_loads(p, 'p');
		/* The kernel's call, on a descriptor of its own. */
		assert_int_equal(ftruncate(again, (off_t)PAGES(3)), 0);
		assert_loads(p + PAGES(2), 0);
		pause_here();
		q = map_shared(again, 4);
		assert_int_equal(file_size(again), PAGES(4));
		assert_loads(q + PAGES(3), 'P');
	}
	until_it_pauses(&child);
	assert_int_equal(file_size(fd), PAGES(2));
	assert_loads(p + PAGES(1), 'c');
	assert_past_the_end(p + PAGES(2));
	assert_stores(p, 'p');
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(1)));
	step(&child);
	assert_loads(p + PAGES(2), 0);
	assert_loads(p + PAGES(1), 0);
	assert_past_the_end(p + PAGES(3));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(4)));
	assert_stores(p + PAGES(3), 'P');
	go_on(&child);
	ends_well(&child);
	unmap(p, 4);
	shm_end(fd);
}

static void K07_name_taken_away_by_one_process_disturbs_no_other(void **state)
{
	int fd = shm_new(PAGES(2)), again;
	char *p = map_shared(fd, 2);
	struct child child;

	(void)state;
	p[0] = 'p';
	CHILD(&child)
	{
		assert_ok(quire_shm_unlink(name_of(0)));
		assert_loads(p, 'p');
		assert_stores(p + PAGES(1), 'c');
		pause_here();
		assert_loads(p, 'P');
	}
	until_it_pauses(&child);
	assert_fails(quire_shm_open(name_of(0), O_RDWR, 0), ENOENT);
	assert_loads(p + PAGES(1), 'c');
	/* The name is free for another object. */
	again = shm_new(PAGES(1));
	assert_stores(p, 'P');
	go_on(&child);
	ends_well(&child);
	assert_loads(p, 'P');
	unmap(p, 2);
	close(fd);
	p = map_shared(again, 1);
	assert_loads(p, 0);
	unmap(p, 1);
	shm_end(again);
}

static void K07_descriptor_in_a_child_keeps_what_has_no_name(void **state)
{
	int fd = shm_new(PAGES(2));
	char *p = map_shared(fd, 2);
	struct child child;

	(void)state;
	p[PAGES(1)] = 'p';
	CHILD(&child)
	{
		char *q;

		assert_ok(quire_munmap(p, PAGES(2)));
		pause_here();
		q = map_shared(fd, 2);
		assert_loads(q + PAGES(1), 'p');
		assert_int_equal(close(fd), 0);
		pressure();
		assert_loads(q + PAGES(1), 'p');
	}
	until_it_pauses(&child);
	unmap(p, 2);
	shm_end(fd);
	pressure();
	go_on(&child);
	ends_well(&child);
}

static void K07_open_mode_limits_the_protection_in_a_child(void **state)
{
	int fd = shm_new(PAGES(1)), reader = shm(0, O_RDONLY);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		int own = shm(0, O_RDONLY);
		char *p;

		assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, reader, 0), EACCES);
		assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, own, 0), EACCES);
		assert_fails(quire_ftruncate(own, 1), EINVAL);
		p = map(NULL, PAGES(1), PROT_READ, MAP_SHARED, own, 0);
		assert_store_raises(p, SIGSEGV, SEGV_ACCERR);
		assert_loads(p, 0);
		assert_fails(quire_mprotect(p, PAGES(1), RW), EACCES);
	}
	ends_well(&child);
	close(reader);
	shm_end(fd);
}

static void K07_permissions_are_those_of_the_process_that_asks(void **state)
{
	int fd = shm_new(PAGES(1));
	struct child child;
	struct stat st;

	(void)state;
	CHILD(&child)
	{
		int own;

		if (geteuid() == 0)
			assert_int_equal(seteuid(65534), 0);
		else
			assert_int_equal(fchmod(fd, 0), 0);
		assert_fails(quire_shm_open(name_of(0), O_RDWR, 0), EACCES);
		assert_fails(quire_shm_open(name_of(0), O_RDONLY, 0), EACCES);
		umask(027);
		own = quire_shm_open(name_of(1), O_RDWR | O_CREAT | O_EXCL, 0666);
		assert_true(own >= 0);
		assert_int_equal(fstat(own, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0640);
		assert_int_equal(st.st_uid, geteuid());
		assert_int_equal(close(own), 0);
		own = shm(1, O_RDWR);
		assert_int_equal(fchmod(own, 0400), 0);
		assert_int_equal(close(own), 0);
		assert_fails(quire_shm_open(name_of(1), O_RDWR, 0), EACCES);
		own = shm(1, O_RDONLY);
	}
	ends_well(&child);
	assert_ok(quire_shm_unlink(name_of(1)));
	shm_end(fd);
}

/* ---- segments, between processes ---- */

static void K07_child_is_attached_to_what_its_parent_is(void **state)
{
	int id = segment(0, PAGES(2), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0), *q = attach(id, SHM_RDONLY);
	struct child child, grandchild;

	(void)state;
	assert_int_equal(status(id).shm_nattch, 2);
	p[0] = 'p';
	CHILD(&child)
	{
		assert_int_equal(status(id).shm_nattch, 4);
		assert_loads(p, 'p');
		assert_stores(p + PAGES(1), 'c');
		assert_loads(q + PAGES(1), 'c');
		assert_store_raises(q, SIGSEGV, SEGV_ACCERR);
		assert_ok(quire_shmdt(q));
		assert_unmapped(q);
		assert_int_equal(status(id).shm_nattch, 3);
		assert_int_equal(status(id).shm_lpid, getpid());
		CHILD(&grandchild)
		{
			assert_int_equal(status(id).shm_nattch, 4);
			assert_loads(p + PAGES(1), 'c');
			assert_unmapped(q);
		}
		ends_well(&grandchild);
		assert_int_equal(status(id).shm_nattch, 3);
		pause_here();
	}
	until_it_pauses(&child);
	assert_int_equal(status(id).shm_nattch, 3);
	assert_loads(q + PAGES(1), 'c');
	assert_ok(quire_shmdt(p));
	assert_int_equal(status(id).shm_nattch, 2);
	go_on(&child);
	ends_well(&child);
	assert_int_equal(status(id).shm_nattch, 1);
	assert_ok(quire_shmdt(q));
	assert_int_equal(status(id).shm_nattch, 0);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

static void K07_child_that_has_ended_is_attached_no_more(void **state)
{
	int id = segment(0, PAGES(1), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0);
	struct child child;

	(void)state;
	for (int touches = 0; touches < 2; touches++) {
		CHILD(&child)
		{
			if (touches)
				p[0] = 'c';
			pause_here();
		}
		until_it_pauses(&child);
		assert_int_equal(status(id).shm_nattch, 2);
		is_killed(&child);
		assert_int_equal(status(id).shm_nattch, 1);
	}
	assert_loads(p, 'c');
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_ok(quire_shmdt(p));
}

static void K07_program_that_a_child_executes_is_attached_to_nothing(void **state)
{
	int id = segment(0, PAGES(1), IPC_CREAT | IPC_EXCL), in[2], gone[2];
	char *p = attach(id, 0), byte;
	struct child child;

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe2(gone, O_CLOEXEC), 0);
	CHILD(&child)
	{
		p[0] = 'c';
		close(in[1]);
		dup2(in[0], STDIN_FILENO);
		execlp("cat", "cat", NULL);
		_exit(1);
	}
	close(in[0]);
	close(gone[1]);
	/* The last to have the other end executes. */
	assert_int_equal(read(gone[0], &byte, 1), 0);
	assert_comes_true(status(id).shm_nattch == 1);
	close(in[1]);
	close(gone[0]);
	ends_well(&child);
	assert_loads(p, 'c');
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_ok(quire_shmdt(p));
}

static void K07_removed_segment_lives_while_a_child_is_attached(void **state)
{
	int id = segment(0, PAGES(2), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0), *q;
	struct child child;

	(void)state;
	p[PAGES(1)] = 'p';
	CHILD(&child)
	{
		pause_here();
		assert_loads(p + PAGES(1), 'p');
		assert_loads(p, 'q');
		assert_stores(p, 'c');
		pressure();
		assert_loads(p, 'c');
		assert_fails(quire_shmget(key_of(0), 0, 0), ENOENT);
	}
	until_it_pauses(&child);
	assert_ok(quire_shmdt(p));
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
	assert_int_equal(status(id).shm_perm.mode & SHM_DEST, SHM_DEST);
	assert_int_equal(status(id).shm_nattch, 1);
	q = attach(id, 0);
	assert_loads(q + PAGES(1), 'p');
	assert_stores(q, 'q');
	assert_ok(quire_shmdt(q));
	go_on(&child);
	ends_well(&child);
	assert_fails(quire_shmctl(id, IPC_STAT, &(struct shmid_ds){0}), EINVAL);
	assert_fails(quire_shmat(id, NULL, 0), EINVAL);
}

static void K07_segment_removed_by_a_child_lives_while_its_parent_is_attached(void **state)
{
	int id = segment(0, PAGES(1), IPC_CREAT | IPC_EXCL);
	char *p = attach(id, 0);
	struct child child;

	(void)state;
	CHILD(&child)
	{
		p[0] = 'c';
		assert_ok(quire_shmctl(id, IPC_RMID, NULL));
		assert_ok(quire_shmdt(p));
		assert_int_equal(status(id).shm_nattch, 1);
	}
	ends_well(&child);
	assert_fails(quire_shmget(key_of(0), 0, 0), ENOENT);
	assert_loads(p, 'c');
	assert_ok(quire_shmdt(p));
	assert_fails(quire_shmctl(id, IPC_STAT, &(struct shmid_ds){0}), EINVAL);
}

static void K07_segment_of_a_child_is_found_by_its_parent(void **state)
{
	pid_t parent = getpid();
	char *at = quiet(), *p;
	struct child child;
	struct shmid_ds ds;
	int id;

	(void)state;
	CHILD(&child)
	{
		id = segment(0, PAGES(2), IPC_CREAT | IPC_EXCL);
		assert_ptr_equal(quire_shmat(id, at, 0), at);
		assert_stores(at + PAGES(1), 'c');
		assert_fails(quire_shmat(id, at, 0), EINVAL);
		assert_fails(quire_shmget(key_of(0), PAGES(2), IPC_CREAT | IPC_EXCL | 0600), EEXIST);
		pause_here();
		assert_loads(at, 'p');
		assert_int_equal(status(id).shm_lpid, parent);
	}
	until_it_pauses(&child);
	id = segment(0, 0, 0);
	ds = status(id);
	assert_int_equal(ds.shm_cpid, child.pid);
	assert_int_equal(ds.shm_lpid, child.pid);
	assert_int_equal(ds.shm_nattch, 1);
	assert_int_equal(ds.shm_segsz, PAGES(2));
	assert_unmapped(at);
	p = attach(id, 0);
	assert_loads(p + PAGES(1), 'c');
	assert_stores(p, 'p');
	assert_int_equal(status(id).shm_nattch, 2);
	go_on(&child);
	ends_well(&child);
	assert_int_equal(status(id).shm_nattch, 1);
	assert_loads(p + PAGES(1), 'c');
	assert_ok(quire_shmdt(p));
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

static void K07_permissions_of_a_segment_are_asked_for_the_process_that_asks(void **state)
{
	int id = segment(0, PAGES(1), IPC_CREAT | IPC_EXCL), other;
	struct child child;
	struct shmid_ds ds;

	(void)state;
	if (geteuid() != 0)
		skip_because("only root can be somebody else");
	CHILD(&child)
	{
		assert_int_equal(setegid(65534), 0);
		assert_int_equal(seteuid(65534), 0);
		assert_fails(quire_shmget(key_of(0), 0, 0600), EACCES);
		assert_fails(quire_shmat(id, NULL, 0), EACCES);
		assert_fails(quire_shmat(id, NULL, SHM_RDONLY), EACCES);
		assert_fails(quire_shmctl(id, IPC_STAT, &ds), EACCES);
		assert_fails(quire_shmctl(id, IPC_RMID, NULL), EPERM);
		other = segment(1, PAGES(1), IPC_CREAT | IPC_EXCL);
		ds = status(other);
		assert_int_equal(ds.shm_perm.cuid, 65534);
		assert_int_equal(ds.shm_perm.uid, 65534);
		assert_int_equal(ds.shm_perm.cgid, 65534);
		attach(other, 0);
		assert_ok(quire_shmctl(other, IPC_RMID, NULL));
	}
	ends_well(&child);
	assert_ok(quire_shmctl(id, IPC_RMID, NULL));
}

#ifndef KERNEL_ORACLE
static void K07_memory_of_a_child_that_is_killed_is_given_back(void **state)
{
	struct quire_stats before;
	struct child child;

	(void)state;
	settle();
	before = stats();
	CHILD(&child)
	{
		int fd = shm_new(PAGES(64)), id = quire_shmget(IPC_PRIVATE, PAGES(64), 0600);

		memset(map_shared(fd, 64), 1, PAGES(64));
		memset(attach(id, 0), 1, PAGES(64));
		assert_ok(quire_shm_unlink(name_of(0)));
		assert_ok(quire_shmctl(id, IPC_RMID, NULL));
		pause_here();
	}
	until_it_pauses(&child);
	assert_true(stats().objects >= before.objects + 2);
	is_killed(&child);
	assert_comes_true(stats().objects == before.objects && stats().resident_bytes <= before.resident_bytes);
}
#endif

static const struct conformance_test tests[] = {
    TEST(K07_object_is_found_by_its_name),
    TEST(K07_contents_live_while_there_is_a_name),
    TEST(K07_contents_outlive_the_name_while_open_or_mapped),
    TEST(K07_errors_of_names),
    TEST(K07_descriptor_is_closed_by_exec),
    TEST(K07_open_mode_limits_the_protection),
    TEST(K07_permissions_and_the_mask_are_those_of_a_file),
    TEST(K07_new_object_is_empty_and_grows_by_ftruncate),
    TEST(K07_what_is_cut_off_comes_back_as_zeros),
    TEST(K07_what_is_cut_off_in_the_swap_comes_back_as_zeros),
    TEST(K07_ftruncate_of_the_kernel_is_followed),
    TEST(K07_O_TRUNC_empties),
    TEST(K07_object_may_be_larger_than_the_budget),
    TEST(K07_private_mapping_shows_the_object_until_it_is_stored_to),
#ifndef KERNEL_ORACLE
    TEST(K07_descriptor_is_nothing_to_the_kernel),
    TEST(K07_memory_is_given_back),
#endif
    TEST(K07_segment_is_found_by_its_key),
    TEST(K07_segment_that_was_unmapped_is_attached_no_more),
    TEST(K07_private_segments_have_no_key),
    TEST(K07_removed_segment_lives_while_it_is_attached),
    TEST(K07_errors_of_segments),
    TEST(K07_segment_is_attached_where_it_is_wanted),
    TEST(K07_status_tells_what_there_is_to_know),
    TEST(K07_segments_are_swapped),
    TEST(K07_name_is_known_to_parent_and_child),
    TEST(K07_name_is_made_once_by_many_processes),
    TEST(K07_size_that_one_process_sets_is_seen_by_the_other),
    TEST(K07_name_taken_away_by_one_process_disturbs_no_other),
    TEST(K07_descriptor_in_a_child_keeps_what_has_no_name),
    TEST(K07_open_mode_limits_the_protection_in_a_child),
    TEST(K07_permissions_are_those_of_the_process_that_asks),
    TEST(K07_child_is_attached_to_what_its_parent_is),
    TEST(K07_child_that_has_ended_is_attached_no_more),
    TEST(K07_program_that_a_child_executes_is_attached_to_nothing),
    TEST(K07_removed_segment_lives_while_a_child_is_attached),
    TEST(K07_segment_removed_by_a_child_lives_while_its_parent_is_attached),
    TEST(K07_segment_of_a_child_is_found_by_its_parent),
    TEST(K07_permissions_of_a_segment_are_asked_for_the_process_that_asks),
#ifndef KERNEL_ORACLE
    TEST(K07_memory_of_a_child_that_is_killed_is_given_back),
#endif
};

CONFORMANCE_MAIN(tests)
