/* SPDX-License-Identifier: MIT */
/*
 * test-hostile.c - clients that speak by themselves: whatever they say, the server lives, serves others, and keeps nothing of theirs
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <quire/quire.h>

#include "support.h"

static unsigned descriptors;

/* With what the server has open when nobody is connected. */
static int begin(void **state)
{
	if (begin_server(state) < 0)
		return -1;
	server_is_well();
	descriptors = descriptors_of_server();
	return 0;
}

static int finish(void **state)
{
	until_descriptors_are(descriptors);
	server_is_well();
	return end_server(state);
}

static uint64_t random_of(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

/* Whether the server has ended the connection, saying no or nothing. */
static bool is_refused(int fd)
{
	struct hello_reply reply = {.result = 0};
	struct channel_message in = {.head = &reply, .head_len = sizeof(reply)};
	int r = channel_receive(fd, &in);

	if (r == 0 && reply.result >= 0)
		return false;
	return r < 0 || channel_receive(fd, &in) < 0;
}

static void hello_that_is_none_ends_the_connection(void **state)
{
	struct hello good = hello_ours((uint32_t)page);
	char bytes[400] = "GET / HTTP/1.1\r\n\r\n";
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(good); i++) {
		struct hello bad = good;

		((char *)&bad)[i] ^= 1;
		fd = raw_connect();
		assert_int_equal(send(fd, &bad, sizeof(bad), MSG_NOSIGNAL), sizeof(bad));
		assert_true(is_refused(fd));
		close(fd);
	}
	for (size_t len = 1; len < sizeof(good); len += 7) {
		fd = raw_connect();
		assert_int_equal(send(fd, &good, len, MSG_NOSIGNAL), len);
		assert_true(is_refused(fd));
		close(fd);
	}
	fd = raw_connect();
	assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	assert_true(is_refused(fd));
	close(fd);
}

static void connections_that_say_nothing_keep_nobody(void **state)
{
	int fds[200];

	(void)state;
	for (int i = 0; i < 200; i++)
		fds[i] = raw_connect();
	server_is_well();
	for (int i = 0; i < 200; i++)
		close(fds[i]);
}

static void connections_that_say_nothing_are_not_let_in_without_end(void **state)
{
	static int fds[1300];
	struct rlimit many = {4096, 4096};

	(void)state;
	setrlimit(RLIMIT_NOFILE, &many);
	for (int i = 0; i < 1300; i++)
		fds[i] = raw_connect();
	assert_in_range(descriptors_of_server(), 1000, 1000 + 200 + descriptors);
	for (int i = 0; i < 1300; i++)
		close(fds[i]);
}

static void call_before_the_hello_or_the_attaching_harms_nobody(void **state)
{
	struct call_request request = {.name = CALL_MMAP, .arg = {0, 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}};
	struct call_reply reply;
	int fd = raw_connect();

	(void)state;
	assert_false(raw_call(fd, &request, NULL, 0, NULL, 0, &reply));
	close(fd);
	fd = raw_begin();
	if (raw_call(fd, &request, NULL, 0, NULL, 0, &reply))
		assert_true(reply.result < 0);
	close(fd);
}

/* ---- requests that lie ---- */

static int64_t result_of(int calls, struct call_request request, const void *in, size_t len, const int *fds, unsigned n)
{
	struct call_reply reply = {.result = 1};

	assert_true(raw_call(calls, &request, in, len, fds, n, &reply));
	return reply.result;
}

static void lengths_that_lie_are_refused(void **state)
{
	int64_t much = 1ll << 40;
	int fd = raw_begin();
	char name[16] = "/aaaaaaaaaaaaa";
	int file = memfd_create("payload", MFD_CLOEXEC), pipes[2];

	(void)state;
	name[15] = 'a';
	name[14] = 'a';
	/* More of what comes back than fits, or than was promised. */
	assert_true(result_of(fd, (struct call_request){.name = CALL_MINCORE, .arg = {0, much}, .out_len = 1}, NULL, 0, NULL, 0) <
		    0);
	assert_true(result_of(fd, (struct call_request){.name = CALL_MINCORE, .arg = {0, much}, .out_len = 1ull << 50}, NULL, 0,
			      NULL, 0) < 0);
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_EPOCH, .out_len = 1}, NULL, 0, NULL, 0), -EPROTO);
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_AREA_STATS, .out_len = 1}, NULL, 0, NULL, 0), -EPROTO);
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_SHMCTL, .arg = {0, IPC_STAT}}, NULL, 0, NULL, 0),
			 -EPROTO);
	/* A name without an end, and none. */
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_SHM_OPEN, .in_len = 16}, name, 16, NULL, 0), -EPROTO);
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_SHM_UNLINK}, NULL, 0, NULL, 0), -EPROTO);
	/* More than came. */
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_SHM_OPEN, .in_len = 1000}, name, 16, NULL, 0), -EPROTO);
	assert_true(
	    result_of(fd, (struct call_request){.name = CALL_SHM_OPEN, .in_len = 1ull << 60, .apart = 1}, NULL, 0, &file, 1) < 0);
	assert_true(result_of(fd, (struct call_request){.name = CALL_SHM_OPEN, .in_len = 100, .apart = 1}, NULL, 0, &file, 1) < 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_true(result_of(fd, (struct call_request){.name = CALL_SHM_OPEN, .in_len = 100, .apart = 1}, NULL, 0, pipes, 1) < 0);
	/* What is told is told in a file. */
	assert_true(result_of(fd, (struct call_request){.name = CALL_MAPS}, NULL, 0, &pipes[1], 1) < 0);
	assert_true(result_of(fd, (struct call_request){.name = CALL_FORK}, NULL, 0, &pipes[1], 1) <= 0);
	assert_int_equal(result_of(fd, (struct call_request){.name = (enum call_name)9999}, NULL, 0, NULL, 0), -EPROTO);
	assert_int_equal(result_of(fd, (struct call_request){.name = CALL_SET_MEMORY, .arg = {1 << 20}}, NULL, 0, NULL, 0), -EPERM);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	close(fd);
}

static void room_for_results_is_not_filled_with_what_are_none(void **state)
{
	int fd = raw_begin(), file = memfd_create("room", 0);
	struct stat st;

	(void)state;
	assert_int_equal(ftruncate(file, (off_t)CALL_APART), 0);
	assert_int_equal(
	    result_of(fd, (struct call_request){.name = CALL_STATS, .out_len = CALL_APART, .apart = 1}, NULL, 0, &file, 1), 0);
	assert_int_equal(fstat(file, &st), 0);
	assert_in_range(st.st_blocks * 512, 1, 1 << 20);
	assert_true(result_of(fd, (struct call_request){.name = CALL_COMMIT, .in_len = CALL_APART, .apart = 1}, NULL, 0, &file, 1) <
		    0);
	assert_int_equal(fstat(file, &st), 0);
	assert_in_range(st.st_blocks * 512, 1, 1 << 20);
	close(file);
	close(fd);
	server_is_well();
}

/* The number of a descriptor is not the descriptor: the server's own are not to be had by it. */
static void numbers_of_descriptors_are_nothing(void **state)
{
	struct raw raw;

	(void)state;
	raw_attach(&raw);
	for (int fd = 0; fd < 64; fd++)
		assert_int_equal(
		    result_of(raw.calls,
			      (struct call_request){.name = CALL_MMAP, .arg = {0, (int64_t)page, PROT_READ, MAP_SHARED, fd, 0}},
			      NULL, 0, NULL, 0),
		    -EBADF);
	raw_end(&raw);
}

static void odd_descriptors_are_not_mapped(void **state)
{
	int pipes[2], odd[5], fd = raw_begin();

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	odd[0] = pipes[0];
	odd[1] = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	odd[2] = fd;
	odd[3] = open("/var/tmp", O_PATH | O_CLOEXEC);
	odd[4] = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 5; i++)
		assert_true(
		    result_of(fd, (struct call_request){.name = CALL_MMAP, .arg = {0, (int64_t)page, PROT_READ, MAP_SHARED, -1, 0}},
			      NULL, 0, &odd[i], 1) < 0);
	for (int i = 0; i < 5; i++)
		if (i != 2)
			close(odd[i]);
	close(pipes[1]);
	close(fd);
}

/* ---- attaching with what is not what it should be ---- */

static int64_t attach_with(int agent, int uffd, int line)
{
	int fd = raw_begin();
	int64_t r = result_of(fd, (struct call_request){.name = CALL_ATTACH}, NULL, 0, (int[]){agent, uffd, line}, 3);

	close(fd);
	return r;
}

static void attaching_with_odd_descriptors_is_refused(void **state)
{
	struct raw good;
	int pipes[2], open_line = memfd_create("line", MFD_CLOEXEC), streams[2], calls = raw_begin();
	int short_line = memfd_create("line", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	raw_attach(&good);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, streams), 0);
	assert_int_equal(ftruncate(open_line, (off_t)page), 0);
	assert_int_equal(fcntl(short_line, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_true(attach_with(pipes[0], good.uffd, good.line) < 0);
	assert_true(attach_with(streams[0], good.uffd, good.line) < 0);
	assert_true(attach_with(open_line, good.uffd, good.line) < 0);
	assert_true(attach_with(good.agent, pipes[0], good.line) < 0);
	assert_true(attach_with(good.agent, good.agent, good.line) < 0);
	assert_true(attach_with(good.agent, good.uffd, open_line) < 0);
	assert_true(attach_with(good.agent, good.uffd, short_line) < 0);
	assert_true(attach_with(good.agent, good.uffd, pipes[0]) < 0);
	/* A connection to the server itself, for its agent: what it asks would come back to it, and it would hold both ends. */
	assert_true(attach_with(calls, good.uffd, good.line) < 0);
	/* What lies apart would be written to the line's number, when that is another descriptor's already. */
	assert_int_equal(result_of(calls, (struct call_request){.name = CALL_ATTACH, .out_len = 16, .apart = 1}, NULL, 0,
				   (int[]){good.engine_agent, good.uffd, good.line}, 3),
			 -EPROTO);
	assert_true(result_of(good.calls, (struct call_request){.name = CALL_ATTACH}, NULL, 0,
			      (int[]){good.agent, good.uffd, good.line}, 3) < 0);
	close(pipes[0]);
	close(pipes[1]);
	close(streams[0]);
	close(streams[1]);
	close(open_line);
	close(short_line);
	close(calls);
	raw_end(&good);
}

/* ---- agents that lie ---- */

static const struct call_request map_some = {.name = CALL_MMAP, .arg = {0, 16 * 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}};

static void agent_that_says_what_cannot_be_is_lost(void **state)
{
	static const long lies[] = {1, -5000, 4096 * 7 + 5, 1l << 60, -(1l << 60), 0x7fffffffffff000};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]) + 2; i++) {
		struct memory_op ops[FAR_OPS];
		struct agent_request request;
		struct channel_message message;
		struct raw raw;
		int reply;

		raw_attach(&raw);
		reply = raw_send(raw.calls, &map_some, NULL, 0);
		assert_true(raw_asked(&raw, &request, ops, &message));
		if (i < sizeof(lies) / sizeof(lies[0])) {
			raw_answer(&raw, request.number, lies[i]);
		} else if (i == sizeof(lies) / sizeof(lies[0])) {
			raw_answer(&raw, request.number + 1, 0);
		} else {
			/* The same place twice: that nothing is mapped there the server finds out by itself. */
			void *at = mmap(NULL, 16 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			raw_answer(&raw, request.number, (long)(intptr_t)at);
			for (int more = 0; raw_asked(&raw, &request, ops, &message) && more < 4; more++) {
				if (ops[0].kind == MEMORY_PROTECT && more == 0) {
					raw_answer(&raw, request.number, 0);
					close(reply);
					reply = raw_send(raw.calls, &map_some, NULL, 0);
				} else {
					raw_answer(&raw, request.number, (long)(intptr_t)at);
				}
			}
			munmap(at, 16 * page);
		}
		close(reply);
		raw_end(&raw);
	}
}

static void agent_that_never_answers_keeps_nobody_for_ever(void **state)
{
	struct raw raw;
	int reply;

	(void)state;
	raw_attach(&raw);
	reply = raw_send(raw.calls, &map_some, NULL, 0);
	server_is_well();
	close(reply);
	raw_end(&raw);
}

/* It has kept the end that it gave away, and reads from it what was for the server. */
static void agent_that_reads_its_own_answer_keeps_nobody(void **state)
{
	struct memory_op ops[FAR_OPS];
	struct agent_request request;
	struct channel_message message;
	struct raw raw;
	char byte[64];
	int reply;

	(void)state;
	for (int i = 0; i < 20; i++) {
		raw_attach(&raw);
		reply = raw_send(raw.calls, &map_some, NULL, 0);
		assert_true(raw_asked(&raw, &request, ops, &message));
		raw_answer(&raw, request.number, -ENOMEM);
		(void)!recv(raw.engine_agent, byte, sizeof(byte), MSG_DONTWAIT);
		close(reply);
		raw_end(&raw);
	}
}

/* ---- what a reader gets ---- */

/* Another user, with the descriptor in hand. */
static int try_all(void *arg)
{
	int fd = *(int *)arg, mem;
	char path[64];
	char *p;

	EXPECT((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	EXPECT(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EXPECT(open(path, O_RDWR) < 0 && errno == EACCES);
	EXPECT(open(path, O_WRONLY) < 0 && errno == EACCES);
	EXPECT(fchmod(fd, 0666) < 0 && errno == EPERM);
	EXPECT(ftruncate(fd, 0) < 0 && pwrite(fd, "x", 1, 0) < 0);
	EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page) < 0);
	EXPECT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
	EXPECT(mmap(NULL, page, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
	p = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED && mprotect(p, page, RW) < 0 && errno == EACCES);
	EXPECT(madvise(p, page, MADV_REMOVE) < 0);
	mem = open("/proc/self/mem", O_RDWR);
	EXPECT(mem >= 0 && pwrite(mem, "x", 1, (off_t)(uintptr_t)p) < 0);
	return 0;
}

static void P01_descriptor_of_frames_that_a_reader_gets_cannot_be_turned_into_writing(void **state)
{
	int fd = make_file(2), reader;
	char path[64];
	struct memory_op ops[FAR_OPS];
	struct agent_request request;
	struct channel_message message;
	struct stat st;
	struct raw raw;
	int reply;

	(void)state;
	if (geteuid() != 0) {
		print_message("# another user cannot be tried without root\n");
		skip();
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	raw_attach(&raw);
	reply = raw_send(raw.calls,
			 &(struct call_request){.name = CALL_MMAP, .arg = {0, 2 * (int64_t)page, PROT_READ, MAP_SHARED, -1, 0}},
			 &reader, 1);
	assert_true(raw_asked(&raw, &request, ops, &message));
	assert_int_equal(ops[0].kind, MEMORY_MAP);
	assert_int_equal(ops[0].flags & MAP_TYPE, MAP_PRIVATE);
	assert_int_equal(message.n_fds, 1);
	assert_int_equal(fstat(message.fds[0], &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(end_of(run_client(try_all, &message.fds[0])), 0);
	raw_answer(&raw, request.number, -ENOMEM);
	close(message.fds[0]);
	close(reply);
	close(reader);
	close(fd);
	raw_end(&raw);
}

/* ---- floods ---- */

/* Messages of any bytes and lengths, with any descriptors; half of them begin as a request does. */
static void random_messages_harm_nobody(void **state)
{
	uint64_t rng = 88172645463325252ull;
	struct raw raw = {.calls = -1};

	(void)state;
	for (int i = 0; i < 4000; i++) {
		union {
			struct call_request request;
			char bytes[600];
		} m;
		int pair[2], fds[4], n = (int)(random_of(&rng) % 4);
		size_t len = sizeof(m.request) + random_of(&rng) % 300;
		struct channel_message out = {.head = &m, .head_len = len};

		if (i % 500 == 0) {
			if (raw.calls >= 0)
				raw_end(&raw);
			raw_attach(&raw);
		}
		for (size_t k = 0; k < sizeof(m.bytes); k++)
			m.bytes[k] = (char)random_of(&rng);
		if (random_of(&rng) % 2)
			m.request = (struct call_request){
			    .name = (enum call_name)(CALL_FORK + random_of(&rng) % (CALL_MAPS - CALL_FORK + 1)),
			    .arg = {(int64_t)(random_of(&rng) & ~4095ull), (int64_t)(random_of(&rng) % 100000),
				    (int64_t)(random_of(&rng) % 16), (int64_t)(random_of(&rng) % 256)},
			    .in_len = random_of(&rng) % 400,
			    .out_len = random_of(&rng) % 20000,
			    .apart = random_of(&rng) % 2};
		else
			out.head_len = 1 + random_of(&rng) % sizeof(m.bytes);
		assert_int_equal(channel_pair(pair), 0);
		fds[0] = pair[1];
		fds[1] = raw.line;
		fds[2] = raw.calls;
		fds[3] = raw.uffd;
		memcpy(out.fds, fds, sizeof(fds));
		out.n_fds = (unsigned)n;
		if (channel_try_send(raw.calls, &out) == -EPIPE)
			i |= 499;
		close(pair[0]);
		close(pair[1]);
	}
	raw_end(&raw);
}

static void message_with_more_descriptors_than_are_taken_keeps_none(void **state)
{
	struct call_request request = {.name = CALL_STATS};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * 100)];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int) * 100), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {&request, sizeof(request)};
	struct msghdr header = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
	int fd = raw_begin(), fds[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		fds[i] = 0;
	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	for (int i = 0; i < 50; i++)
		assert_int_equal(sendmsg(fd, &header, MSG_NOSIGNAL), sizeof(request));
	close(fd);
}

/* ---- more than each may have ---- */

static int begin_limited(void **state)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	return begin_server_with(state, (const char *const[]){"--memory", "4M", "--client-areas", "40", "--client-locked", "64K",
							      "--client-files", "10", NULL});
}

/* Kept apart, so that no two are one. */
static unsigned map_apart(unsigned most, int (*file)(void), const char *option)
{
	for (unsigned n = 0; n < most; n++) {
		int fd = file ? file() : -1, error;
		void *p = quire_mmap(NULL, page, n % 2 ? RW : PROT_READ, fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);

		error = errno;
		if (fd >= 0)
			close(fd);
		if (p == MAP_FAILED) {
			EXPECT(error == (file ? EMFILE : ENOMEM) && strstr(quire_errormsg(), option));
			return n;
		}
	}
	return most;
}

static int one_page(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	EXPECT(fd >= 0 && ftruncate(fd, (off_t)page) == 0);
	return fd;
}

static int take_many_areas(void *arg)
{
	unsigned n;

	(void)arg;
	n = map_apart(200, NULL, "--client-areas");
	EXPECT(n >= 30 && n <= 40);
	return 0;
}

static int take_many_files(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(8), RW, MAP_SHARED, *(int *)arg, 0);

	EXPECT(p != MAP_FAILED);
	EXPECT(map_apart(200, one_page, "--client-files") == 9);
	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EMFILE);
	/* One that it has already is not one more, and one that is unmapped is one less. */
	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, *(int *)arg, (off_t)PAGES(3)) != MAP_FAILED);
	EXPECT(quire_munmap(p, PAGES(8)) == 0 && map_apart(200, one_page, "--client-files") == 0);
	return 0;
}

/* All of a file and one page of it apart. */
static int give_files_back(void *arg)
{
	char *p[2];

	for (int i = 0; i < 30; i++) {
		int fd = one_page();

		p[0] = quire_mmap(NULL, page, RW, MAP_SHARED, fd, 0);
		p[1] = quire_mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		EXPECT(p[0] != MAP_FAILED && p[1] != MAP_FAILED);
		EXPECT(quire_munmap(p[i % 2], page) == 0 && quire_munmap(p[1 - i % 2], page) == 0);
	}
	return take_many_files(arg);
}

static int lock_much(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(64), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t most = 65536 / page;

	(void)arg;
	EXPECT(p != MAP_FAILED && quire_mlock(p, PAGES(most)) == 0);
	/* What is locked already is not locked once more. */
	EXPECT(quire_mlock(p, PAGES(most)) == 0);
	EXPECT(quire_mlock(p, PAGES(most + 1)) < 0 && errno == ENOMEM && strstr(quire_errormsg(), "--client-locked"));
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0) == MAP_FAILED && errno == EAGAIN);
	EXPECT(quire_mlockall(MCL_CURRENT) < 0 && errno == ENOMEM);
	EXPECT(quire_mremap(p, PAGES(most), PAGES(most + 1), MREMAP_MAYMOVE) == MAP_FAILED && errno == EAGAIN);
	EXPECT(quire_munlock(p, page) == 0 && quire_mlock(p + PAGES(most), page) == 0);
	return 0;
}

static void client_gets_no_more_mappings_than_it_may_have(void **state)
{
	int fd = make_file(8);

	(void)state;
	assert_int_equal(end_of(run_client(take_many_areas, NULL)), 0);
	/* Its own count, and nobody else's. */
	assert_int_equal(end_of(run_client(take_many_areas, NULL)), 0);
	assert_int_equal(end_of(run_client(take_many_files, &fd)), 0);
	assert_int_equal(end_of(run_client(give_files_back, &fd)), 0);
	close(fd);
	server_is_well();
}

static void client_locks_no_more_than_it_may(void **state)
{
	(void)state;
	assert_int_equal(end_of(run_client(lock_much, NULL)), 0);
	assert_int_equal(end_of(run_client(lock_much, NULL)), 0);
	server_is_well();
}

/* A space for a child, and none that ever comes for it. */
static void children_that_are_only_asked_for_are_counted(void **state)
{
	struct raw raw;
	int held[1100], file = memfd_create("ranges", MFD_CLOEXEC), n = 0;
	struct rlimit many = {4096, 4096};

	(void)state;
	setrlimit(RLIMIT_NOFILE, &many);
	raw_attach(&raw);
	for (; n < 1100; n++) {
		struct call_reply reply;

		if (!raw_call_with(raw.calls, &(struct call_request){.name = CALL_FORK}, &file, 1, &reply, &held[n]) ||
		    reply.result < 0)
			break;
	}
	assert_in_range(n, 500, 1001);
	while (n > 0)
		close(held[--n]);
	raw_end(&raw);
	close(file);
}

#define TEST(name)    cmocka_unit_test_prestate_setup_teardown(name, begin, finish, (void *)(uintptr_t) #name)
#define LIMITED(name) cmocka_unit_test_prestate_setup_teardown(name, begin_limited, end_server, (void *)(uintptr_t) #name)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(hello_that_is_none_ends_the_connection),
	    TEST(connections_that_say_nothing_keep_nobody),
	    TEST(connections_that_say_nothing_are_not_let_in_without_end),
	    TEST(call_before_the_hello_or_the_attaching_harms_nobody),
	    TEST(lengths_that_lie_are_refused),
	    TEST(room_for_results_is_not_filled_with_what_are_none),
	    TEST(numbers_of_descriptors_are_nothing),
	    TEST(odd_descriptors_are_not_mapped),
	    TEST(attaching_with_odd_descriptors_is_refused),
	    TEST(agent_that_says_what_cannot_be_is_lost),
	    TEST(agent_that_never_answers_keeps_nobody_for_ever),
	    TEST(agent_that_reads_its_own_answer_keeps_nobody),
	    TEST(P01_descriptor_of_frames_that_a_reader_gets_cannot_be_turned_into_writing),
	    TEST(random_messages_harm_nobody),
	    TEST(message_with_more_descriptors_than_are_taken_keeps_none),
	    TEST(children_that_are_only_asked_for_are_counted),
	    LIMITED(client_gets_no_more_mappings_than_it_may_have),
	    LIMITED(client_locks_no_more_than_it_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
