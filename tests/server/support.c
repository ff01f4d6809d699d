/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <quire/quire.h>

#include "sys/uffd.h"

size_t page;
pid_t server;
char socket_path[108];
static char folder[64];

#define CASE_S 200 /* it may be stopped from outside meanwhile */

static void rest(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static pid_t start_server_with(const char *path, const char *const *options)
{
	const char *arguments[32] = {"quire", "serve", "--socket", path};
	pid_t child = fork();

	assert_true(child >= 0);
	if (child > 0)
		return child;
	for (unsigned n = 4; *options && n < 31; n++)
		arguments[n] = *options++;
	/* None outlives a test that has failed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (freopen("/dev/null", "w", stderr))
		execv(getenv("QUIRE_COMMAND"), (char *const *)(uintptr_t)arguments);
	_exit(127);
}

pid_t start_server(const char *path, const char *option, const char *value)
{
	return start_server_with(path, (const char *const[]){option, value, NULL});
}

bool listens(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool ready;

	memcpy(address.sun_path, path, strlen(path) + 1);
	ready = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return ready;
}

static const char *case_name;

/* A case that waits for ever ends all, and says which it was. */
static void out_of_time(int number)
{
	static const char text[] = ": does not end\n";

	(void)number;
	(void)!write(STDERR_FILENO, "# ", 2);
	(void)!write(STDERR_FILENO, case_name, strlen(case_name));
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	if (server > 0)
		kill(server, SIGKILL);
	_exit(1);
}

int begin_server(void **state)
{
	return begin_server_with(state, (const char *const[]){"--memory", "4M", NULL});
}

int begin_server_with(void **state, const char *const *options)
{
	case_name = *state;
	signal(SIGALRM, out_of_time);
	alarm(CASE_S);
	page = (size_t)sysconf(_SC_PAGESIZE);
	strcpy(folder, "/var/tmp/quire-server.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	server = start_server_with(socket_path, options);
	while (!listens(socket_path)) {
		if (waitpid(server, NULL, WNOHANG) == server)
			return -1;
		rest();
	}
	return 0;
}

void kill_server(void)
{
	kill(server, SIGKILL);
	assert_int_equal(end_of(server), -SIGKILL);
	/* Its keeper has the socket for a moment: who asks for the next server by it would be deceived. */
	while (listens(socket_path))
		usleep(1000);
	server = 0;
}

int end_server(void **state)
{
	char name[128];
	int status = 0;

	(void)state;
	if (server > 0) {
		kill(server, SIGTERM);
		status = end_of(server);
	}
	unlink(socket_path);
	snprintf(name, sizeof(name), "%s.lock", socket_path);
	unlink(name);
	rmdir(folder);
	alarm(0);
	return status;
}

unsigned char byte_of(size_t number)
{
	return (unsigned char)(1 + number % 200);
}

int make_file(size_t pages)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	unsigned char *bytes = malloc(page);

	assert_true(fd >= 0);
	for (size_t i = 0; i < pages; i++) {
		memset(bytes, byte_of(i), page);
		assert_int_equal(pwrite(fd, bytes, page, (off_t)PAGES(i)), page);
	}
	free(bytes);
	return fd;
}

pid_t run_client(int (*run)(void *arg), void *arg)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Those of the framework are not to be asked. */
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	setenv("QUIRE_SERVER", socket_path, 1);
	_exit(run(arg));
}

int end_of(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int use_it(void *arg)
{
	int fd = *(int *)arg;
	unsigned char *p = quire_mmap(NULL, PAGES(8), RW, MAP_SHARED, fd, 0);
	unsigned char *q = quire_mmap(NULL, PAGES(8), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED && q != MAP_FAILED);
	for (size_t i = 0; i < 8; i++) {
		EXPECT(p[PAGES(i)] == byte_of(i) && q[PAGES(i)] == 0);
		p[PAGES(i) + 1] = 250;
		q[PAGES(i)] = 1;
	}
	EXPECT(quire_msync(p, PAGES(8), MS_SYNC) == 0);
	EXPECT(quire_munmap(p, PAGES(8)) == 0 && quire_munmap(q, PAGES(8)) == 0);
	return 0;
}

void server_is_well(void)
{
	int fd = make_file(8);
	unsigned char byte = 0;

	assert_int_equal(end_of(run_client(use_it, &fd)), 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)PAGES(7) + 1), 1);
	assert_int_equal(byte, 250);
	close(fd);
	assert_int_equal(waitpid(server, NULL, WNOHANG), 0);
}

static unsigned count_descriptors(void)
{
	char name[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(name, sizeof(name), "/proc/%ld/fd", (long)server);
	dir = opendir(name);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

unsigned descriptors_of_server(void)
{
	unsigned n = count_descriptors();

	for (unsigned same = 0; same < 50; same++) {
		unsigned now = count_descriptors();

		if (now != n)
			same = 0;
		n = now;
		rest();
	}
	return n;
}

void until_descriptors_are(unsigned n)
{
	while (count_descriptors() > n)
		rest();
}

/* ---- a client that speaks by itself ---- */

int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

int raw_begin(void)
{
	struct hello hello = hello_ours((uint32_t)page);
	struct hello_reply reply;
	struct channel_message out = {.head = &hello, .head_len = sizeof(hello)}, in = {.head = &reply, .head_len = sizeof(reply)};
	int fd = raw_connect();

	assert_int_equal(channel_send(fd, &out), 0);
	assert_int_equal(channel_receive(fd, &in), 0);
	assert_int_equal(reply.result, 0);
	return fd;
}

static int send_request(int calls, const struct call_request *request, const void *in, size_t len, const int *fds, unsigned n)
{
	struct channel_message out = {.head = (void *)(uintptr_t)request,
				      .head_len = sizeof(*request),
				      .body = (void *)(uintptr_t)in,
				      .body_len = len,
				      .n_fds = 1 + n};
	int pair[2];

	assert_int_equal(channel_pair(pair), 0);
	out.fds[0] = pair[1];
	for (unsigned i = 0; i < n; i++)
		out.fds[1 + i] = fds[i];
	(void)channel_send(calls, &out);
	close(pair[1]);
	return pair[0];
}

int raw_send(int calls, const struct call_request *request, const int *fds, unsigned n)
{
	return send_request(calls, request, NULL, 0, fds, n);
}

static bool receive_reply(int reply, struct call_reply *ret, int *ret_fd)
{
	static char room[1 << 16];
	struct channel_message back = {.head = ret, .head_len = sizeof(*ret), .body = room, .body_len = sizeof(room)};
	int r = channel_receive(reply, &back);

	close(reply);
	if (r == 0 && ret_fd)
		*ret_fd = back.n_fds > 0 ? back.fds[--back.n_fds] : -1;
	while (r == 0 && back.n_fds > 0)
		close(back.fds[--back.n_fds]);
	return r == 0;
}

bool raw_call(int calls, const struct call_request *request, const void *in, size_t len, const int *fds, unsigned n,
	      struct call_reply *ret)
{
	return receive_reply(send_request(calls, request, in, len, fds, n), ret, NULL);
}

bool raw_call_with(int calls, const struct call_request *request, const int *fds, unsigned n, struct call_reply *ret, int *ret_fd)
{
	return receive_reply(send_request(calls, request, NULL, 0, fds, n), ret, ret_fd);
}

void raw_attach(struct raw *raw)
{
	struct call_request request = {.name = CALL_ATTACH};
	struct call_reply reply;
	int pair[2];

	raw->calls = raw_begin();
	assert_int_equal(channel_pair(pair), 0);
	raw->agent = pair[0];
	raw->line = memfd_create("line", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(raw->line, (off_t)page), 0);
	assert_int_equal(fcntl(raw->line, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	raw->words = mmap(NULL, page, RW, MAP_SHARED, raw->line, 0);
	assert_int_equal(uffd_open(uffd_find(false), false, false, &raw->uffd), 0);
	assert_true(raw_call(raw->calls, &request, NULL, 0, (int[]){pair[1], raw->uffd, raw->line}, 3, &reply));
	assert_int_equal(reply.result, 0);
	raw->engine_agent = pair[1];
}

void raw_end(struct raw *raw)
{
	close(raw->calls);
	close(raw->agent);
	close(raw->engine_agent);
	close(raw->uffd);
	close(raw->line);
	munmap(raw->words, page);
}

bool raw_asked(struct raw *raw, struct agent_request *ret, struct memory_op ops[FAR_OPS], struct channel_message *ret_message)
{
	*ret_message =
	    (struct channel_message){.head = ret, .head_len = sizeof(*ret), .body = ops, .body_len = FAR_OPS * sizeof(ops[0])};
	if (channel_wait(raw->agent, -1, 5000) < 0 || channel_receive(raw->agent, ret_message) < 0)
		return false;
	atomic_store(&raw->words->word, agent_word(ret->number, AGENT_DOES));
	atomic_store(&raw->words->seen, ret->number);
	return true;
}

void raw_answer(struct raw *raw, uint32_t number, long result)
{
	struct agent_reply reply = {.number = number, .result = result};
	struct channel_message out = {.head = &reply, .head_len = sizeof(reply)};

	(void)channel_send(raw->agent, &out);
}
