/* SPDX-License-Identifier: MIT */
/*
 * test-commits.c - atomic files of clients: the journal is the server's, the stores are everybody's
 *
 * Who commits says so in memory that the test shares with it, after the call has returned. So after any death each part of the file is to
 * hold what was told last, or the commit that was under way; and all pages of a part are of the same commit.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <quire/guard.h>
#include <quire/quire.h>

#include "support.h"

enum { PARTS = 2, PART_PAGES = 24, FILE_PAGES = PARTS * PART_PAGES, ROUNDS_SERVER = 24, ROUNDS_CLIENT = 80, SPARE = 100 };

/* What is in both halves of each page of a part that a commit has. */
struct mark {
	uint64_t part, round;
};

struct shared {
	_Atomic uint64_t told[PARTS];
	_Atomic uint32_t turn;
};

struct writer {
	int fd;
	unsigned part, parts; /* the first, and how many are its own */
	struct shared *shared;
};

static char path[96];
static unsigned seed;

static unsigned random_below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static struct shared *share(void)
{
	struct shared *shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(shared, MAP_FAILED);
	return shared;
}

/* With a name, which a journal needs. */
static int make_named(void)
{
	int fd;

	strcpy(path, "/var/tmp/quire-commits.XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(FILE_PAGES)), 0);
	return fd;
}

static bool has_journal(void)
{
	char name[sizeof(path) + 8];

	snprintf(name, sizeof(name), "%s-quire", path);
	return access(name, F_OK) == 0;
}

static void done_with(int fd)
{
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_false(has_journal());
}

static char *map_atomic(int fd)
{
	return quire_mmap(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED | QUIRE_MAP_ATOMIC, fd, 0);
}

static void until(_Atomic uint64_t *word, uint64_t least)
{
	while (atomic_load(word) < least)
		usleep(200);
}

static void take_turn(struct shared *shared, uint32_t turn)
{
	while (atomic_load(&shared->turn) < turn)
		usleep(200);
}

/* ---- writers ---- */

static void put_mark(char *p, struct mark mark)
{
	memcpy(p, &mark, sizeof(mark));
	memcpy(p + page / 2, &mark, sizeof(mark));
}

static bool commit(char *p, size_t len, uint64_t round)
{
	struct iovec range = {p, len};
	int64_t ticket;

	if (round % 3 == 0)
		return quire_msync(p, len, MS_SYNC) == 0;
	if (round % 3 == 1)
		return quire_commit(&range, 1, 0) == 0;
	ticket = quire_commit_begin(&range, 1, -1);
	return ticket > 0 && quire_commit_wait(ticket) == 0;
}

/* For ever, or until there is no server any more. */
static int write_rounds(void *arg)
{
	struct writer *w = arg;
	char *p = map_atomic(w->fd);
	struct mark first;

	EXPECT(p != MAP_FAILED);
	p += PAGES(w->part * PART_PAGES);
	memcpy(&first, p, sizeof(first));
	for (uint64_t round = first.round + 1;; round++) {
		for (unsigned i = 0; i < w->parts * PART_PAGES; i++)
			put_mark(p + PAGES(i), (struct mark){w->part + i / PART_PAGES, round});
		if (!commit(p, PAGES(w->parts * PART_PAGES), round))
			break;
		for (unsigned i = 0; i < w->parts; i++)
			atomic_store(&w->shared->told[w->part + i], round);
	}
	EXPECT(errno == EOWNERDEAD);
	return 0;
}

/* Whether it was the end of the server, and nothing else, that a writer has met. */
static void ended_with_server(pid_t writer)
{
	int end = end_of(writer);

	assert_true(end == 0 || end == -SIGBUS);
}

/* ---- what is left ---- */

/* Whether a part is of one commit, and of which. */
static bool is_whole(const char *part, unsigned number, uint64_t *ret_round)
{
	struct mark first, mark;

	memcpy(&first, part, sizeof(first));
	*ret_round = first.round;
	if (first.round > 0 && first.part != number)
		return false;
	for (unsigned half = 0; half < 2 * PART_PAGES; half++) {
		memcpy(&mark, part + half * (page / 2), sizeof(mark));
		if (memcmp(&mark, &first, sizeof(mark)) != 0)
			return false;
	}
	return true;
}

static bool is_right(const char *file, struct shared *shared)
{
	for (unsigned i = 0; i < PARTS; i++) {
		uint64_t told = atomic_load(&shared->told[i]), round;

		if (!is_whole(file + PAGES(i * PART_PAGES), i, &round) || (round != told && round != told + 1)) {
			fprintf(stderr, "# part %u: told %llu, found %llu\n", i, (unsigned long long)told,
				(unsigned long long)round);
			return false;
		}
		atomic_store(&shared->told[i], round);
	}
	return true;
}

static int see_atomic(void *arg)
{
	struct writer *w = arg;
	char *p = map_atomic(w->fd);

	EXPECT(p != MAP_FAILED);
	EXPECT(is_right(p, w->shared));
	EXPECT(quire_munmap(p, PAGES(FILE_PAGES)) == 0);
	return 0;
}

static int see_plain(void *arg)
{
	struct writer *w = arg;
	char *p = quire_mmap(NULL, PAGES(FILE_PAGES), RW, MAP_SHARED, w->fd, 0);

	EXPECT(p != MAP_FAILED);
	EXPECT(is_right(p, w->shared));
	return 0;
}

static int see_by_own_engine(void *arg)
{
	setenv("QUIRE_SERVER", "off", 1);
	setenv("QUIRE_MEMORY", "4M", 1);
	return see_plain(arg);
}

static bool file_is_right(int fd, struct shared *shared)
{
	char *bytes = malloc(PAGES(FILE_PAGES));
	bool right = bytes && pread(fd, bytes, PAGES(FILE_PAGES), 0) == (ssize_t)PAGES(FILE_PAGES) && is_right(bytes, shared);

	free(bytes);
	return right;
}

static void recover(void)
{
	pid_t child = fork();

	if (child == 0) {
		(void)!freopen("/dev/null", "w", stdout);
		execl(getenv("QUIRE_COMMAND"), "quire", "recover", path, NULL);
		_exit(127);
	}
	assert_int_equal(end_of(child), 0);
}

/* ---- deaths ---- */

static void next_server(void)
{
	void *name = (void *)(uintptr_t) "the next of many servers";

	assert_int_equal(end_server(&name), 0);
	assert_int_equal(begin_server(&name), 0);
}

/* Two programs, each with a part and its commits, when the server dies. */
static void kill_server_beside_writers(int fd, struct shared *shared)
{
	struct writer writers[PARTS];
	pid_t pids[PARTS];

	for (unsigned i = 0; i < PARTS; i++) {
		writers[i] = (struct writer){fd, i, 1, shared};
		pids[i] = run_client(write_rounds, &writers[i]);
	}
	for (unsigned i = 0; i < PARTS; i++)
		until(&shared->told[i], atomic_load(&shared->told[i]) + 1 + random_below(6));
	usleep(random_below(4000));
	kill_server();
	for (unsigned i = 0; i < PARTS; i++)
		ended_with_server(pids[i]);
}

static void B01_server_that_is_killed_leaves_the_last_commits(void **state)
{
	struct shared *shared = share();
	struct writer all = {.fd = make_named(), .shared = shared};

	(void)state;
	for (unsigned round = 0; round < ROUNDS_SERVER; round++) {
		kill_server_beside_writers(all.fd, shared);
		assert_true(has_journal());
		if (round % 4 == 0)
			recover();
		next_server();
		if (round % 4 == 1)
			assert_int_equal(end_of(run_client(see_atomic, &all)), 0);
		else if (round % 4 == 2)
			assert_int_equal(end_of(run_client(see_plain, &all)), 0);
		else
			assert_int_equal(end_of(run_client(see_by_own_engine, &all)), 0);
		while (has_journal())
			usleep(1000);
		assert_true(file_is_right(all.fd, shared));
	}
	done_with(all.fd);
}

/* Is served already when its turn comes, so that one message is all it takes. */
static int wait_and_see(void *arg)
{
	struct writer *w = arg;
	char *p = quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED);
	atomic_fetch_add(&w->shared->turn, 1);
	while (atomic_load(&w->shared->turn) % 3 != 2)
		;
	atomic_fetch_add(&w->shared->turn, 1);
	return see_atomic(arg);
}

/* Who comes next maps the file at once: before the server, which is stopped for a while, has seen the end of the one before. */
static void B01_client_that_is_killed_leaves_its_last_commit(void **state)
{
	struct shared *shared = share();
	struct writer all = {make_named(), 0, PARTS, shared};

	(void)state;
	for (unsigned round = 0; round < ROUNDS_CLIENT; round++) {
		pid_t writer = run_client(write_rounds, &all), reader = run_client(wait_and_see, &all);

		take_turn(shared, 3 * round + 1);
		until(&shared->told[0], atomic_load(&shared->told[0]) + 1 + random_below(6));
		usleep(random_below(4000));
		if (round % 2)
			kill(server, SIGSTOP);
		kill(writer, SIGKILL);
		assert_int_equal(end_of(writer), -SIGKILL);
		atomic_fetch_add(&shared->turn, 1);
		take_turn(shared, 3 * round + 3);
		if (round % 2) {
			usleep(1000);
			kill(server, SIGCONT);
		}
		assert_int_equal(end_of(reader), 0);
	}
	while (has_journal())
		usleep(1000);
	assert_true(file_is_right(all.fd, shared));
	done_with(all.fd);
}

/* ---- together ---- */

/* Stores, and commits nothing. */
static int store_first(void *arg)
{
	struct writer *w = arg;
	char *p = map_atomic(w->fd);

	EXPECT(p != MAP_FAILED);
	p[0] = p[PAGES(1)] = 'a';
	atomic_store(&w->shared->turn, 1);
	take_turn(w->shared, 2);
	EXPECT(p[0] == 'a' && p[PAGES(1)] == 'a');
	/* The pages are caught anew. */
	p[0] = p[PAGES(1)] = 'x';
	atomic_store(&w->shared->turn, 3);
	take_turn(w->shared, 4);
	EXPECT(p[0] == 'a' && p[PAGES(1)] == 'x');
	atomic_store(&w->shared->turn, 5);
	take_turn(w->shared, SPARE);
	return 0;
}

static int commit_what_others_store(void *arg)
{
	struct writer *w = arg;
	char *p = map_atomic(w->fd);
	struct iovec both[2] = {{p, page}, {p + PAGES(2), page}};

	EXPECT(p != MAP_FAILED);
	take_turn(w->shared, 1);
	p[PAGES(2)] = 'b';
	EXPECT(quire_commit(both, 2, 0) == 0);
	atomic_store(&w->shared->turn, 2);
	take_turn(w->shared, 3);
	EXPECT(quire_rollback(p, page) == 0);
	EXPECT(p[0] == 'a' && p[PAGES(1)] == 'x');
	atomic_store(&w->shared->turn, 4);
	take_turn(w->shared, SPARE);
	return 0;
}

static void B01_commit_has_the_stores_of_other_clients(void **state)
{
	struct shared *shared = share();
	struct writer w = {.fd = make_named(), .shared = shared};
	pid_t one, two;
	char bytes[3];

	(void)state;
	one = run_client(store_first, &w);
	two = run_client(commit_what_others_store, &w);
	take_turn(shared, 5);
	kill_server();
	atomic_store(&shared->turn, SPARE);
	assert_int_equal(end_of(one), 0);
	assert_int_equal(end_of(two), 0);
	recover();
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pread(w.fd, &bytes[i], 1, (off_t)PAGES(i)), 1);
	/* What was not in the range is of no commit, nor is what came later. */
	assert_int_equal(bytes[0], 'a');
	assert_int_equal(bytes[1], 0);
	assert_int_equal(bytes[2], 'b');
	done_with(w.fd);
}

static int commit_and_store_more(void *arg)
{
	struct writer *w = arg;
	char *p = map_atomic(w->fd);

	EXPECT(p != MAP_FAILED);
	p[0] = 'a';
	EXPECT(quire_msync(p, page, MS_SYNC) == 0);
	p[0] = 'x';
	atomic_store(&w->shared->turn, 1);
	take_turn(w->shared, SPARE);
	return 0;
}

static void B01_server_that_is_told_to_stop_leaves_the_last_commit(void **state)
{
	struct shared *shared = share();
	struct writer w = {.fd = make_named(), .shared = shared};
	pid_t client = run_client(commit_and_store_more, &w);
	char byte = 0;

	(void)state;
	take_turn(shared, 1);
	kill(server, SIGTERM);
	assert_int_equal(end_of(server), 0);
	server = 0;
	assert_int_equal(pread(w.fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 'a');
	atomic_store(&shared->turn, SPARE);
	assert_int_equal(end_of(client), 0);
	/* The journal is left, with nothing in it that is not in the file: for whoever maps it next. */
	recover();
	assert_int_equal(pread(w.fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 'a');
	done_with(w.fd);
}

/* ---- what a client may not ---- */

static int map_as_another_user(void *arg)
{
	struct writer *w = arg;
	char *p;

	/* Connected as who the server serves. */
	p = quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(p != MAP_FAILED);
	EXPECT(seteuid(65534) == 0);
	EXPECT(map_atomic(w->fd) == MAP_FAILED && errno == EPERM);
	EXPECT(strstr(quire_errormsg(), "journal"));
	EXPECT(quire_mmap(NULL, page, PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, w->fd, 0) == MAP_FAILED && errno == EPERM);
	EXPECT(seteuid(0) == 0);
	EXPECT(map_atomic(w->fd) != MAP_FAILED);
	/* It is there now, and the descriptor is all it takes. */
	EXPECT(seteuid(65534) == 0);
	p = map_atomic(w->fd);
	EXPECT(p != MAP_FAILED);
	p[0] = 'a';
	EXPECT(quire_msync(p, page, MS_SYNC) == 0);
	return 0;
}

static void P01_journal_is_made_for_the_servers_user_only(void **state)
{
	struct writer w = {.fd = make_named()};

	(void)state;
	if (geteuid() == 0)
		assert_int_equal(end_of(run_client(map_as_another_user, &w)), 0);
	while (has_journal())
		usleep(1000);
	done_with(w.fd);
	if (geteuid() != 0) {
		fprintf(stderr, "# only root can become another user\n");
		skip();
	}
}

/* The counter is full, and whoever waited to add to it would wait for ever. */
static int be_told_by_a_full_counter(void *arg)
{
	struct writer *w = arg;
	char *p = map_atomic(w->fd);
	int event = eventfd(0, EFD_CLOEXEC);
	uint64_t most = UINT64_MAX - 1;
	struct iovec all = {p, PAGES(FILE_PAGES)};
	int64_t ticket;

	EXPECT(p != MAP_FAILED && event >= 0);
	EXPECT(write(event, &most, sizeof(most)) == sizeof(most));
	p[0] = 'a';
	EXPECT(quire_commit_begin(&all, 1, event) > 0);
	p[0] = 'b';
	ticket = quire_commit_begin(&all, 1, -1);
	EXPECT(ticket > 0 && quire_commit_wait(ticket) == 0);
	EXPECT(quire_commit_wait(ticket + 1000) < 0 && errno == EINVAL);
	EXPECT(quire_commit_begin(&all, 1, 12345) < 0 && errno == EBADF);
	EXPECT(quire_commit_begin(&all, 1, w->fd) < 0 && errno == EINVAL);
	return 0;
}

static void B01_counter_that_is_full_holds_nobody_up(void **state)
{
	struct writer w = {.fd = make_named()};

	(void)state;
	assert_int_equal(end_of(run_client(be_told_by_a_full_counter, &w)), 0);
	while (has_journal())
		usleep(1000);
	done_with(w.fd);
}

#define TEST(name) cmocka_unit_test_prestate_setup_teardown(name, begin_server, end_server, (void *)(uintptr_t) #name)

int main(void)
{
	const char *wanted = getenv("QUIRE_SEED");
	const struct CMUnitTest tests[] = {
	    TEST(B01_server_that_is_killed_leaves_the_last_commits), TEST(B01_client_that_is_killed_leaves_its_last_commit),
	    TEST(B01_commit_has_the_stores_of_other_clients),        TEST(B01_server_that_is_told_to_stop_leaves_the_last_commit),
	    TEST(B01_counter_that_is_full_holds_nobody_up),          TEST(P01_journal_is_made_for_the_servers_user_only),
	};

	seed = wanted ? (unsigned)strtoul(wanted, NULL, 10) : (unsigned)time(NULL);
	fprintf(stderr, "# QUIRE_SEED=%u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
