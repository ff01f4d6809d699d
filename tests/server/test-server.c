/* SPDX-License-Identifier: MIT */
/*
 * test-server.c - programs that share a server: what they see of one another, and what is left when one of them dies
 *
 * The test itself is no client: each client is a process that it starts, and knows nothing of the others but the file.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <quire/guard.h>
#include <quire/quire.h>
#include <quire/shm.h>

#include "support.h"

#define MANY 2048 /* pages of a file: twice the server's memory */

/* What the test and its clients share by the kernel: how far each is. */
struct progress {
	_Atomic unsigned turn, stored, stop;
};

static struct progress *share_progress(void)
{
	struct progress *p = mmap(NULL, page, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

struct job {
	int fd, reader;
	unsigned seed;
	struct progress *progress;
};

/* ---- what clients see of one another ---- */

static void await(_Atomic unsigned *word, unsigned least)
{
	while (atomic_load(word) < least)
		usleep(100);
}

/* By turns with the reader: each round another byte in every page. */
static int write_rounds(void *arg)
{
	struct job *job = arg;
	unsigned char *p = quire_mmap(NULL, PAGES(MANY), RW, MAP_SHARED, job->fd, 0);

	EXPECT(p != MAP_FAILED);
	for (unsigned round = 1; round <= 3; round++) {
		for (size_t i = 0; i < MANY; i++)
			p[PAGES(i) + round] = (unsigned char)(round + i);
		atomic_store(&job->progress->turn, 2 * round - 1);
		await(&job->progress->turn, 2 * round);
	}
	return 0;
}

/* By a descriptor that is for reading only. */
static int read_rounds(void *arg)
{
	struct job *job = arg;
	unsigned char *p = quire_mmap(NULL, PAGES(MANY), PROT_READ, MAP_SHARED, job->reader, 0);

	EXPECT(p != MAP_FAILED);
	for (unsigned round = 1; round <= 3; round++) {
		await(&job->progress->turn, 2 * round - 1);
		for (size_t i = 0; i < MANY; i++)
			EXPECT(p[PAGES(i)] == byte_of(i) && p[PAGES(i) + round] == (unsigned char)(round + i));
		atomic_store(&job->progress->turn, 2 * round);
	}
	return 0;
}

static int reader_of(int fd)
{
	char name[64];
	int reader;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	reader = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(reader >= 0);
	return reader;
}

static void K08_what_one_process_stores_another_sees(void **state)
{
	int fd = make_file(MANY);
	struct job job = {.fd = fd, .reader = reader_of(fd), .progress = share_progress()};
	pid_t writer = run_client(write_rounds, &job), reader = run_client(read_rounds, &job);

	(void)state;
	assert_int_equal(end_of(writer), 0);
	assert_int_equal(end_of(reader), 0);
	close(job.reader);
	close(fd);
}

static int lock_with_others(void *arg)
{
	struct job *job = arg;
	_Atomic unsigned *p = quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, job->fd, 0);

	EXPECT(p != MAP_FAILED);
	for (unsigned i = 0; i < 20000; i++) {
		while (atomic_exchange(&p[16], 1))
			;
		p[17]++;
		atomic_store(&p[16], 0);
	}
	return 0;
}

static void K08_atomic_operations_are_atomic_between_processes(void **state)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct job job = {.fd = fd};
	unsigned count, descriptors;
	pid_t clients[3];

	(void)state;
	server_is_well();
	descriptors = descriptors_of_server();
	assert_int_equal(ftruncate(fd, (off_t)page), 0);
	for (int i = 0; i < 3; i++)
		clients[i] = run_client(lock_with_others, &job);
	for (int i = 0; i < 3; i++)
		assert_int_equal(end_of(clients[i]), 0);
	/* A client that has ended has written what it stored. */
	until_descriptors_are(descriptors);
	assert_int_equal(pread(fd, &count, sizeof(count), 17 * sizeof(count)), sizeof(count));
	assert_int_equal(count, 60000);
	close(fd);
}

static int make_name(void *arg)
{
	char *p;
	int fd = quire_shm_open(arg, O_RDWR | O_CREAT | O_EXCL, 0600);

	EXPECT(fd >= 0 && quire_ftruncate(fd, (off_t)PAGES(4)) == 0);
	p = quire_mmap(NULL, PAGES(4), RW, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED);
	strcpy(p + PAGES(3), "by name");
	return 0;
}

static int find_name(void *arg)
{
	char *p;
	int fd = quire_shm_open(arg, O_RDONLY, 0);

	EXPECT(fd >= 0);
	p = quire_mmap(NULL, PAGES(4), PROT_READ, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED && strcmp(p + PAGES(3), "by name") == 0 && p[0] == 0);
	EXPECT(quire_shm_unlink(arg) == 0 && quire_shm_open(arg, O_RDONLY, 0) < 0 && errno == ENOENT);
	return 0;
}

static void K07_name_outlives_who_made_it(void **state)
{
	char name[] = "/quire-server-test";

	(void)state;
	assert_int_equal(end_of(run_client(make_name, name)), 0);
	assert_int_equal(end_of(run_client(find_name, name)), 0);
}

static int make_odd_names(void *arg)
{
	EXPECT(quire_shm_open("/a\033[2J\tb", O_RDWR | O_CREAT, 0640) >= 0);
	EXPECT(quire_shmget(0x1234, PAGES(3), IPC_CREAT | 0600) == 0);
	return arg ? 1 : 0;
}

/* What the command prints of the server, and ends with. */
static int run_shm(const char *arguments, char *ret, size_t size)
{
	char line[4400];
	FILE *out;
	size_t n;

	snprintf(line, sizeof(line), "'%s' shm --socket '%s' %s 2>&1", getenv("QUIRE_COMMAND"), socket_path, arguments);
	out = popen(line, "r");
	assert_non_null(out);
	n = fread(ret, 1, size - 1, out);
	ret[n] = '\0';
	return WEXITSTATUS(pclose(out));
}

static void K07_command_lists_and_removes_names_and_segments(void **state)
{
	char text[4096];

	(void)state;
	assert_int_equal(end_of(run_client(make_odd_names, NULL)), 0);
	assert_int_equal(run_shm("", text, sizeof(text)), 0);
	/* A name that would do something to the terminal is not printed so. */
	assert_non_null(strstr(text, "/a\\x1b[2J\\x09b "));
	assert_null(strchr(text, '\033'));
	assert_non_null(strstr(text, "0x1234 "));
	assert_non_null(strstr(text, " 12288 "));
	assert_non_null(strstr(text, " 640 "));
	assert_int_equal(run_shm("--remove 0 /nonesuch", text, sizeof(text)), 1);
	assert_non_null(strstr(text, "there is no /nonesuch in this server"));
	assert_int_equal(run_shm("--remove \"$(printf '/a\\033[2J\\tb')\"", text, sizeof(text)), 0);
	assert_int_equal(run_shm("", text, sizeof(text)), 0);
	assert_null(strstr(text, "0x1234"));
	assert_null(strstr(text, "/a"));
	assert_int_equal(run_shm("--remove 0", text, sizeof(text)), 1);
	assert_int_equal(run_shm("--remove", text, sizeof(text)), 2);
	assert_int_equal(run_shm("/a", text, sizeof(text)), 2);
}

/* More private memory than the server's budget, and its own; a child of the client has it, too. */
static int have_private(void *arg)
{
	struct job *job = arg;
	unsigned char *p = quire_mmap(NULL, PAGES(MANY), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *q = quire_mmap(NULL, PAGES(64), RW, MAP_PRIVATE, job->fd, 0);
	int status;
	pid_t child;

	EXPECT(p != MAP_FAILED && q != MAP_FAILED);
	for (size_t i = 0; i < MANY; i++)
		p[PAGES(i)] = (unsigned char)(i + job->seed);
	q[PAGES(3)] = (unsigned char)job->seed;
	child = fork();
	EXPECT(child >= 0);
	for (size_t i = 0; i < MANY; i++)
		EXPECT(p[PAGES(i)] == (unsigned char)(i + job->seed));
	EXPECT(q[PAGES(3)] == job->seed && q[PAGES(4)] == byte_of(4));
	if (child == 0)
		_exit(0);
	EXPECT(waitpid(child, &status, 0) == child && status == 0);
	return 0;
}

static void M18_private_memory_is_each_clients_own_and_its_childs(void **state)
{
	int fd = make_file(64);
	struct job jobs[2] = {{.fd = fd, .seed = 3}, {.fd = fd, .seed = 100}};
	pid_t first = run_client(have_private, &jobs[0]), second = run_client(have_private, &jobs[1]);
	unsigned char byte;

	(void)state;
	assert_int_equal(end_of(first), 0);
	assert_int_equal(end_of(second), 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)PAGES(3)), 1);
	assert_int_equal(byte, byte_of(3));
	close(fd);
}

static enum quire_error_answer let_fail(void *arg, const struct quire_error *error)
{
	(void)arg;
	(void)error;
	return QUIRE_ANSWER_FAIL;
}

/* What it may not have is refused, and says so. */
static int ask_for_too_much(void *arg)
{
	struct job *job = arg;
	char *p = quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, job->fd, 0);

	EXPECT(quire_set_memory(64 << 20) < 0 && errno == EPERM);
	EXPECT(p != MAP_FAILED);
	EXPECT(quire_on_error(p, PAGES(1), let_fail, NULL) < 0 && errno == EOPNOTSUPP && strstr(quire_errormsg(), "quire serve"));
	EXPECT(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, job->reader, 0) == MAP_FAILED && errno == EACCES);
	EXPECT(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, 999, 0) == MAP_FAILED && errno == EBADF);
	return 0;
}

static void client_is_refused_what_it_cannot_have(void **state)
{
	int fd = make_file(1);
	struct job job = {.fd = fd, .reader = reader_of(fd)};

	(void)state;
	assert_int_equal(end_of(run_client(ask_for_too_much, &job)), 0);
	close(job.reader);
	close(fd);
}

static int map_by_itself(void *arg)
{
	struct job *job = arg;
	char number[32];

	setenv("QUIRE_SERVER", "off", 1);
	snprintf(number, sizeof(number), "process %d (quire)", (int)server);
	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, job->fd, 0) == MAP_FAILED && errno == EBUSY);
	EXPECT(strstr(quire_errormsg(), number));
	EXPECT(quire_mmap(NULL, page, PROT_READ, MAP_SHARED, job->fd, 0) != MAP_FAILED);
	atomic_store(&job->progress->turn, 2);
	return 0;
}

static int have_it(void *arg)
{
	struct job *job = arg;

	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, job->fd, 0) != MAP_FAILED);
	atomic_store(&job->progress->turn, 1);
	await(&job->progress->turn, 2);
	return 0;
}

static int have_it_by_itself(void *arg)
{
	setenv("QUIRE_SERVER", "off", 1);
	return have_it(arg);
}

static int cannot_have_it(void *arg)
{
	struct job *job = arg;

	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, job->fd, 0) == MAP_FAILED && errno == EBUSY);
	EXPECT(strstr(quire_errormsg(), "(test-server)"));
	atomic_store(&job->progress->turn, 2);
	return 0;
}

/* Whoever comes second, the server's client or one with an engine of its own. */
static void program_that_would_store_past_the_server_is_refused(void **state)
{
	struct job job = {.fd = make_file(1), .progress = share_progress()};
	pid_t owner = run_client(have_it, &job);

	(void)state;
	await(&job.progress->turn, 1);
	assert_int_equal(end_of(run_client(map_by_itself, &job)), 0);
	assert_int_equal(end_of(owner), 0);
	close(job.fd);
	job.fd = make_file(1);
	atomic_store(&job.progress->turn, 0);
	owner = run_client(have_it_by_itself, &job);
	await(&job.progress->turn, 1);
	assert_int_equal(end_of(run_client(cannot_have_it, &job)), 0);
	assert_int_equal(end_of(owner), 0);
	close(job.fd);
}

/* ---- a reader cannot write ---- */

/* By the kernel's own calls, past the library. */
static int scribble(void *arg)
{
	struct job *job = arg;
	volatile unsigned char *p = quire_mmap(NULL, PAGES(4), PROT_READ, MAP_SHARED, job->reader, 0);
	int mem = open("/proc/self/mem", O_RDWR);

	EXPECT(p != MAP_FAILED && p[PAGES(1)] == byte_of(1) && p[PAGES(2)] == byte_of(2));
	(void)!pwrite(mem, "scribble", 8, (off_t)(uintptr_t)(p + PAGES(1)));
	if (mprotect((void *)(uintptr_t)p, PAGES(4), RW) == 0)
		p[PAGES(2)] = 255;
	atomic_store(&job->progress->turn, 1);
	await(&job->progress->stop, 1);
	return 0;
}

static int see_it_unharmed(void *arg)
{
	struct job *job = arg;
	unsigned char *p = quire_mmap(NULL, PAGES(4), RW, MAP_SHARED, job->fd, 0);

	EXPECT(p != MAP_FAILED);
	for (size_t i = 0; i < 4; i++)
		EXPECT(p[PAGES(i)] == byte_of(i));
	p[PAGES(3)] = 77;
	EXPECT(quire_msync(p, PAGES(4), MS_SYNC) == 0);
	return 0;
}

static void P01_reader_that_changes_the_protection_by_itself_changes_nothing_shared(void **state)
{
	int fd = make_file(4);
	struct job job = {.fd = fd, .reader = reader_of(fd), .progress = share_progress()};
	pid_t reader = run_client(scribble, &job);
	unsigned char bytes[4];

	(void)state;
	await(&job.progress->turn, 1);
	assert_int_equal(end_of(run_client(see_it_unharmed, &job)), 0);
	atomic_store(&job.progress->stop, 1);
	assert_int_equal(end_of(reader), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pread(fd, &bytes[i], 1, (off_t)PAGES(i)), 1);
	assert_memory_equal(bytes, ((unsigned char[]){byte_of(0), byte_of(1), byte_of(2), 77}), 4);
	close(job.reader);
	close(fd);
}

/* ---- death ---- */

/* Stores to pages at random, and tells after each store, so that the test knows how many have been made at least. */
static int store_until_killed(void *arg)
{
	struct job *job = arg;
	unsigned *p = quire_mmap(NULL, PAGES(MANY), RW, MAP_SHARED, job->fd, 0);
	unsigned rng = job->seed;

	EXPECT(p != MAP_FAILED);
	for (unsigned n = 1;; n++) {
		rng = rng * 1103515245u + 12345u;
		p[(rng >> 8) % MANY * (page / sizeof(*p))] = n;
		atomic_store(&job->progress->stored, n);
	}
}

static void check_model(int fd, unsigned seed, unsigned stored)
{
	unsigned *model = calloc(MANY, sizeof(*model)), *next = calloc(MANY, sizeof(*next));
	unsigned rng = seed, last = 0;

	for (unsigned n = 1; n <= stored + 1; n++) {
		rng = rng * 1103515245u + 12345u;
		last = (rng >> 8) % MANY;
		if (n <= stored)
			model[last] = n;
		else
			*next = n;
	}
	for (size_t i = 0; i < MANY; i++) {
		unsigned have;

		assert_int_equal(pread(fd, &have, sizeof(have), (off_t)PAGES(i)), sizeof(have));
		/* The one after the last that it told of may have been made. */
		if (model[i] && !(i == last && have == *next))
			assert_int_equal(have, model[i]);
	}
	free(model);
	free(next);
}

static void U01_client_that_is_killed_loses_nothing_that_it_stored(void **state)
{
	unsigned descriptors;

	(void)state;
	server_is_well();
	descriptors = descriptors_of_server();
	for (unsigned seed = 1; seed <= 12; seed++) {
		int fd = make_file(MANY);
		struct job job = {.fd = fd, .seed = seed * 7919, .progress = share_progress()};
		pid_t client = run_client(store_until_killed, &job);

		await(&job.progress->stored, 1);
		usleep(seed * 3331 % 40000);
		kill(client, SIGKILL);
		assert_int_equal(end_of(client), -SIGKILL);
		until_descriptors_are(descriptors);
		check_model(fd, job.seed, atomic_load(&job.progress->stored));
		munmap(job.progress, page);
		close(fd);
	}
	server_is_well();
}

static void U01_server_that_is_told_to_stop_writes_everything(void **state)
{
	int fd = make_file(MANY);
	struct job job = {.fd = fd, .seed = 5, .progress = share_progress()};
	pid_t client = run_client(store_until_killed, &job);

	(void)state;
	await(&job.progress->stored, 2000);
	kill(server, SIGTERM);
	assert_int_equal(end_of(server), 0);
	server = 0;
	/* Its next store to a page that was written has nobody to allow it. */
	assert_int_equal(end_of(client), -SIGBUS);
	check_model(fd, job.seed, atomic_load(&job.progress->stored));
	close(fd);
}

static int read_until_sigbus(void *arg)
{
	struct job *job = arg;
	unsigned char *p = quire_mmap(NULL, PAGES(MANY), PROT_READ, MAP_SHARED, job->fd, 0);
	unsigned char *own = quire_mmap(NULL, PAGES(MANY), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct quire_guard guard;
	volatile unsigned rng = job->seed;

	EXPECT(p != MAP_FAILED && own != MAP_FAILED);
	for (size_t i = 0; i < MANY; i++)
		own[PAGES(i)] = byte_of(i);
	atomic_store(&job->progress->turn, 1);
	QUIRE_GUARD(&guard) {
		for (;;) {
			size_t at;

			rng = rng * 1103515245u + 12345u;
			at = (rng >> 8) % MANY;
			EXPECT(p[PAGES(at)] == byte_of(at) && own[PAGES(at)] == byte_of(at));
		}
	}
	QUIRE_ERROR(&guard) {
		EXPECT(guard.error == EOWNERDEAD);
	}
	/* Nothing of it is there any more, and nothing is served. */
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EOWNERDEAD);
	return 0;
}

static void M20_server_that_is_killed_is_SIGBUS_and_never_zeros(void **state)
{
	int fd = make_file(MANY);
	pid_t clients[3];
	struct job jobs[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		jobs[i] = (struct job){.fd = fd, .seed = i, .progress = share_progress()};
		clients[i] = run_client(read_until_sigbus, &jobs[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		await(&jobs[i].progress->turn, 1);
	usleep(20000);
	kill_server();
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(end_of(clients[i]), 0);
	/* A new one takes the place of what the dead one has left. */
	server = start_server(socket_path, "--memory", "4M");
	while (access(socket_path, F_OK) < 0 || kill(server, 0) < 0)
		usleep(1000);
	for (int tries = 0;; tries++) {
		struct job job = {.fd = fd};

		if (end_of(run_client(see_it_unharmed, &job)) == 0)
			break;
		assert_true(tries < 500);
		usleep(10000);
	}
	close(fd);
}

/* ---- another server ---- */

static bool is_lost(const unsigned char *p)
{
	struct quire_guard guard;
	volatile bool lost = false;

	QUIRE_GUARD(&guard) {
		(void)*(volatile const unsigned char *)p;
	}
	QUIRE_ERROR(&guard) {
		lost = guard.error == EOWNERDEAD;
	}
	return lost;
}

static bool is_as_made(const unsigned char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		if (p[PAGES(i)] != byte_of(i))
			return false;
	return true;
}

/* In a child: what of its parent's is there, and what it maps by itself. */
static int child_sees(const unsigned char *old, const unsigned char *new, int fd)
{
	pid_t child = fork();
	unsigned char *p;

	EXPECT(child >= 0);
	if (child > 0)
		return end_of(child);
	EXPECT(is_lost(old) && (!new || is_as_made(new, 4)));
	p = quire_mmap(NULL, PAGES(4), RW, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED && is_as_made(p, 4) && is_lost(old));
	_exit(0);
}

static int map_again(void *arg)
{
	struct job *job = arg;
	unsigned char *p = quire_mmap(NULL, PAGES(8), RW, MAP_SHARED, job->fd, 0), *q, *r, vec[8];

	EXPECT(p != MAP_FAILED && is_as_made(p, 8));
	p[PAGES(7) + 5] = 55;
	EXPECT(quire_msync(p, PAGES(8), MS_SYNC) == 0);
	atomic_store(&job->progress->turn, 1);
	await(&job->progress->turn, 2);
	/* It asks the new one at once, though nobody has told it that the old one is dead. */
	EXPECT(child_sees(p, NULL, job->fd) == 0);
	q = quire_mmap(NULL, PAGES(8), RW, MAP_SHARED, job->fd, 0);
	EXPECT(q != MAP_FAILED && is_as_made(q, 8) && q[PAGES(7) + 5] == 55);
	EXPECT(is_lost(p) && is_lost(p + PAGES(7)));
	EXPECT(quire_msync(p, PAGES(8), MS_SYNC) < 0 && errno == EOWNERDEAD);
	EXPECT(quire_mprotect(p, PAGES(1), PROT_READ) < 0 && errno == EOWNERDEAD);
	EXPECT(quire_mremap(p, PAGES(8), PAGES(16), MREMAP_MAYMOVE) == MAP_FAILED && errno == EOWNERDEAD);
	EXPECT(child_sees(p, q, job->fd) == 0);
	/* Something new may lie where something lost is, and what is unmapped is there no more. */
	r = quire_mmap(p + PAGES(2), PAGES(1), RW, MAP_SHARED | MAP_FIXED, job->fd, (off_t)PAGES(2));
	EXPECT(r == p + PAGES(2) && *r == byte_of(2) && is_lost(p + PAGES(1)) && is_lost(p + PAGES(3)));
	EXPECT(quire_msync(r, PAGES(1), MS_SYNC) == 0);
	EXPECT(quire_munmap(p, PAGES(8)) == 0);
	EXPECT(mincore(p, PAGES(1), vec) < 0 && errno == ENOMEM && mincore(p + PAGES(7), PAGES(1), vec) < 0);
	EXPECT(is_as_made(q, 8));
	atomic_store(&job->progress->turn, 3);
	return 0;
}

static void start_another(void)
{
	server = start_server(socket_path, "--memory", "4M");
	while (!listens(socket_path))
		usleep(1000);
}

static void U01_client_of_a_dead_server_is_served_by_the_next(void **state)
{
	int fd = make_file(8);
	struct job job = {.fd = fd, .progress = share_progress()};
	pid_t client = run_client(map_again, &job);

	(void)state;
	await(&job.progress->turn, 1);
	kill_server();
	start_another();
	atomic_store(&job.progress->turn, 2);
	assert_int_equal(end_of(client), 0);
	close(fd);
}

#define MAPPERS 4

/* Every page reads as it was made, or is lost; every call is served, or says that the server has ended. */
static void *map_and_unmap(void *arg)
{
	struct job *job = arg;

	while (!atomic_load(&job->progress->stop)) {
		unsigned char *p = quire_mmap(NULL, PAGES(8), PROT_READ, MAP_SHARED, job->fd, 0);
		struct quire_guard guard;

		if (p == MAP_FAILED) {
			EXPECT(errno == EOWNERDEAD);
			continue;
		}
		QUIRE_GUARD(&guard) {
			EXPECT(is_as_made(p, 8));
			atomic_fetch_add(&job->progress->stored, 1);
		}
		QUIRE_ERROR(&guard) {
			EXPECT(guard.error == EOWNERDEAD);
		}
		while (quire_munmap(p, PAGES(8)) < 0)
			EXPECT(errno == EOWNERDEAD);
	}
	return arg;
}

static int map_by_threads(void *arg)
{
	pthread_t threads[MAPPERS];

	for (int i = 0; i < MAPPERS; i++)
		EXPECT(pthread_create(&threads[i], NULL, map_and_unmap, arg) == 0);
	for (int i = 0; i < MAPPERS; i++)
		EXPECT(pthread_join(threads[i], NULL) == 0);
	return 0;
}

static void U01_threads_go_on_from_one_server_to_the_next(void **state)
{
	int fd = make_file(8);
	struct job job = {.fd = fd, .progress = share_progress()};
	pid_t client = run_client(map_by_threads, &job);

	(void)state;
	for (int i = 0; i < 8; i++) {
		await(&job.progress->stored, atomic_load(&job.progress->stored) + 50);
		kill_server();
		start_another();
	}
	await(&job.progress->stored, atomic_load(&job.progress->stored) + 50);
	atomic_store(&job.progress->stop, 1);
	assert_int_equal(end_of(client), 0);
	close(fd);
}

/* ---- a file that does not answer ---- */

#define FILE_NODE 2

struct fuse {
	char dir[64];
	int device, stalled[2], go[2];
};

static void reply(const struct fuse *fuse, const struct fuse_in_header *to, int error, const void *body, size_t len)
{
	struct fuse_out_header head = {.len = (uint32_t)(sizeof(head) + len), .error = error, .unique = to->unique};
	struct iovec parts[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)body, len}};

	(void)!writev(fuse->device, parts, len ? 2 : 1);
}

static struct fuse_attr attr_of(uint64_t node)
{
	return (struct fuse_attr){
	    .ino = node, .mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700, .nlink = 1, .size = PAGES(4)};
}

/* What the engine asks of a file before it is mapped, its attribute for one, waits until the test says go. */
static void answer(const struct fuse *fuse, const struct fuse_in_header *head)
{
	struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
	struct fuse_entry_out entry = {.nodeid = FILE_NODE, .attr = attr_of(FILE_NODE)};
	struct fuse_attr_out attr = {.attr = attr_of(head->nodeid)};
	struct fuse_open_out open = {0};
	char byte;

	switch (head->opcode) {
	case FUSE_INIT:
		reply(fuse, head, 0, &init, sizeof(init));
		return;
	case FUSE_LOOKUP:
		if (strcmp((const char *)(head + 1), "file") == 0)
			reply(fuse, head, 0, &entry, sizeof(entry));
		else
			reply(fuse, head, -ENOENT, NULL, 0);
		return;
	case FUSE_GETATTR:
		reply(fuse, head, 0, &attr, sizeof(attr));
		return;
	case FUSE_OPEN:
		reply(fuse, head, 0, &open, sizeof(open));
		return;
	case FUSE_GETXATTR:
		(void)!write(fuse->stalled[1], "", 1);
		(void)!read(fuse->go[0], &byte, 1);
		reply(fuse, head, -ENODATA, NULL, 0);
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		reply(fuse, head, -ENOSYS, NULL, 0);
	}
}

static _Noreturn void serve_fuse(const struct fuse *fuse)
{
	static _Alignas(struct fuse_in_header) char request[FUSE_MIN_READ_BUFFER + 4096];

	close(fuse->go[1]);
	while (read(fuse->device, request, sizeof(request)) > 0)
		answer(fuse, (const struct fuse_in_header *)request);
	_exit(0);
}

/* Skips where there is no FUSE, or no right to it. */
static pid_t start_fuse(struct fuse *fuse)
{
	char options[100];
	pid_t daemon;

	fuse->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	strcpy(fuse->dir, "/var/tmp/quire-fuse.XXXXXX");
	assert_non_null(mkdtemp(fuse->dir));
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fuse->device, geteuid(), getegid());
	if (fuse->device < 0 || mount("quire-test", fuse->dir, "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
		print_message("# FUSE cannot be had: %s\n", strerror(errno));
		rmdir(fuse->dir);
		skip();
	}
	assert_true(pipe(fuse->stalled) == 0 && pipe(fuse->go) == 0);
	daemon = fork();
	if (daemon == 0)
		serve_fuse(fuse);
	return daemon;
}

static int map_slow_file(void *arg)
{
	const struct fuse *fuse = arg;
	char name[100];
	int fd;

	close(fuse->go[1]);
	snprintf(name, sizeof(name), "%s/file", fuse->dir);
	fd = open(name, O_RDONLY);
	EXPECT(fd >= 0 && quire_mmap(NULL, PAGES(4), PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	return 0;
}

static void file_that_does_not_answer_keeps_nobody_waiting(void **state)
{
	struct fuse fuse;
	pid_t daemon = start_fuse(&fuse), slow = run_client(map_slow_file, &fuse);
	int fd = make_file(4);
	char byte;

	(void)state;
	assert_int_equal(read(fuse.stalled[0], &byte, 1), 1);
	/* Until then the one that is slow is not answered. */
	assert_int_equal(end_of(run_client(see_it_unharmed, &(struct job){.fd = fd})), 0);
	close(fuse.go[0]);
	close(fuse.go[1]);
	assert_int_equal(end_of(slow), 0);
	umount2(fuse.dir, MNT_DETACH);
	close(fuse.device);
	kill(daemon, SIGKILL);
	(void)end_of(daemon);
	rmdir(fuse.dir);
	close(fd);
}

/* ---- forks beside calls ---- */

#define ASKERS    3
#define ASKED     20000 /* pages: what is told of so many goes in a file of its own */
#define FORKS     300
#define CHILD_FDS 100

static unsigned char *asked_of;

static void *ask_for_residence(void *arg)
{
	struct job *job = arg;
	static _Thread_local unsigned char vec[ASKED];

	while (!atomic_load(&job->progress->stop)) {
		EXPECT(quire_mincore(asked_of, PAGES(ASKED), vec) == 0);
		atomic_fetch_add(&job->progress->stored, 1);
	}
	return arg;
}

/* How many descriptors a child has. */
static int count_in_child(void)
{
	pid_t child = fork();

	if (child == 0) {
		DIR *list = opendir("/proc/self/fd");
		int n = 0;

		while (list && readdir(list))
			n++;
		_exit(list && n < CHILD_FDS ? n : CHILD_FDS);
	}
	return end_of(child);
}

static int fork_beside_calls(void *arg)
{
	struct job *job = arg;
	pthread_t threads[ASKERS];
	int n;

	asked_of = quire_mmap(NULL, PAGES(ASKED), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(asked_of != MAP_FAILED);
	n = count_in_child();
	for (int i = 0; i < ASKERS; i++)
		EXPECT(pthread_create(&threads[i], NULL, ask_for_residence, arg) == 0);
	await(&job->progress->stored, 10);
	for (int i = 0; i < FORKS; i++)
		EXPECT(count_in_child() == n);
	atomic_store(&job->progress->stop, 1);
	for (int i = 0; i < ASKERS; i++)
		EXPECT(pthread_join(threads[i], NULL) == 0);
	return 0;
}

static void M18_child_has_no_descriptor_of_a_call_that_another_thread_makes(void **state)
{
	struct job job = {.progress = share_progress()};

	(void)state;
	assert_int_equal(end_of(run_client(fork_beside_calls, &job)), 0);
}

/* ---- the server's own life ---- */

static void second_server_on_a_socket_is_refused(void **state)
{
	(void)state;
	assert_int_equal(end_of(start_server(socket_path, "--memory", "4M")), 1);
	server_is_well();
}

static void socket_is_its_owners_only(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(socket_path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
}

static void server_ends_when_it_is_idle(void **state)
{
	char path[128];
	pid_t idle;

	(void)state;
	snprintf(path, sizeof(path), "%s.idle", socket_path);
	idle = start_server(path, "--idle-exit", "200ms");
	assert_int_equal(end_of(idle), 0);
	assert_true(access(path, F_OK) < 0);
	snprintf(path, sizeof(path), "%s.idle.lock", socket_path);
	unlink(path);
}

static int map_without_server(void *arg)
{
	(void)arg;
	setenv("QUIRE_SERVER", "/var/tmp/quire-no-such-socket", 1);
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOENT);
	EXPECT(strstr(quire_errormsg(), "QUIRE_SERVER"));
	/* It may come later. */
	setenv("QUIRE_SERVER", socket_path, 1);
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	return 0;
}

static void program_does_not_go_on_without_the_server_it_was_told_of(void **state)
{
	(void)state;
	assert_int_equal(end_of(run_client(map_without_server, NULL)), 0);
}

#define TEST(name) cmocka_unit_test_prestate_setup_teardown(name, begin_server, end_server, (void *)(uintptr_t) #name)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(K08_what_one_process_stores_another_sees),
	    TEST(K08_atomic_operations_are_atomic_between_processes),
	    TEST(K07_name_outlives_who_made_it),
	    TEST(K07_command_lists_and_removes_names_and_segments),
	    TEST(M18_private_memory_is_each_clients_own_and_its_childs),
	    TEST(client_is_refused_what_it_cannot_have),
	    TEST(program_that_would_store_past_the_server_is_refused),
	    TEST(P01_reader_that_changes_the_protection_by_itself_changes_nothing_shared),
	    TEST(U01_client_that_is_killed_loses_nothing_that_it_stored),
	    TEST(U01_server_that_is_told_to_stop_writes_everything),
	    TEST(M20_server_that_is_killed_is_SIGBUS_and_never_zeros),
	    TEST(U01_client_of_a_dead_server_is_served_by_the_next),
	    TEST(U01_threads_go_on_from_one_server_to_the_next),
	    TEST(file_that_does_not_answer_keeps_nobody_waiting),
	    TEST(M18_child_has_no_descriptor_of_a_call_that_another_thread_makes),
	    TEST(second_server_on_a_socket_is_refused),
	    TEST(socket_is_its_owners_only),
	    TEST(server_ends_when_it_is_idle),
	    TEST(program_does_not_go_on_without_the_server_it_was_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
