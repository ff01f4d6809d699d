/* SPDX-License-Identifier: MIT */
/*
 * test-fork.c - what a child has, and what it and its parent then do to each other: row M18
 *
 * A child runs the block after CHILD. It and its parent take turns: the child stops at each pause_here(), until go_on(); the
 * parent waits for that with until_it_pauses(). What fails in a child ends it, and fails the test in ends_well(). Nothing is timed.
 */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <quire/guard.h>
#include <sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define CHILD_SECONDS 100 /* no child outlives the test's program by more */

struct child {
	pid_t pid;
	int socket;
};

static int parents_socket = -1; /* in a child: its parent's */

/* ---- children ---- */

static void become_child(int socket)
{
	parents_socket = socket;
	/* A failure is told by the child itself, and ends it. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	alarm(CHILD_SECONDS);
}

static bool begins(struct child *child)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	child->pid = fork();
	assert_true(child->pid >= 0);
	close(pair[child->pid == 0 ? 0 : 1]);
	child->socket = pair[0];
	if (child->pid == 0)
		become_child(pair[1]);
	return child->pid == 0;
}

#define CHILD(child)          CHILD_AT(child, __LINE__)
#define CHILD_AT(child, line) CHILD_ON(child, line)
#define CHILD_ON(child, line) CHILD_IN(child, is_child_##line)
#define CHILD_IN(child, is)   for (bool is = begins(child); is; _exit(0))

static void send_turn(int socket)
{
	assert_int_equal(send(socket, "t", 1, MSG_NOSIGNAL), 1);
}

static bool take_turn(int socket)
{
	char byte;
	ssize_t n;

	do
		n = recv(socket, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* In the child. */
static void pause_here(void)
{
	send_turn(parents_socket);
	if (!take_turn(parents_socket))
		_exit(1);
}

static void until_it_pauses(struct child *child)
{
	assert_true(take_turn(child->socket));
}

static void go_on(struct child *child)
{
	send_turn(child->socket);
}

static int status_of(struct child *child)
{
	int status;

	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	close(child->socket);
	return status;
}

static void ends_well(struct child *child)
{
	int status = status_of(child);

	if (WIFSIGNALED(status))
		fail_msg("the child died of signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#ifndef KERNEL_ORACLE
static void is_killed(struct child *child)
{
	int status;

	assert_int_equal(kill(child->pid, SIGKILL), 0);
	status = status_of(child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
#endif

/* Of a child that has paused: it goes on, does the next thing, and pauses again. */
static void step(struct child *child)
{
	go_on(child);
	until_it_pauses(child);
}

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

#ifndef KERNEL_ORACLE
/* ---- the end of a child ---- */

/* What the engine notices by itself, and not at once. */
#define assert_comes_true(condition)                                                                                               \
	do {                                                                                                                       \
		for (int waited_ms_ = 0; waited_ms_ < 20000 && !(condition); waited_ms_++)                                         \
			usleep(1000);                                                                                              \
		assert_true(condition);                                                                                            \
	} while (0)

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
#ifndef KERNEL_ORACLE
    TEST(M18_child_that_is_killed_gives_back_what_it_had),
#endif
};

CONFORMANCE_MAIN(tests)
