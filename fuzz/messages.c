/* SPDX-License-Identifier: MIT */
/*
 * messages.c - what clients of a server may say, and what becomes of the server
 *
 * A server in this process serves connections (remote_accept) whose other ends this process has, too. A program is one connection: a hello,
 * then calls, most of them with the shape that they should have, some cut off, with other lengths, with descriptors of any kind, in
 * floods, before it has attached, after, or twice. What the agent is asked for this process answers, mostly with what can be. A helper (host.c)
 * lends the addresses: the userfaultfds are of its memory, where they harm nobody.
 *
 * After each program nothing of it may be left: no process that is served, no descriptor; and a process that is a client as it should be, from the
 * beginning on, finds the bytes that it stored, and is served. Exit: 0 nothing found, 1 something, 2 wrong usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <quire/quire.h>
#include <quire/shm.h>

#include "entry.h"
#include "host.h"
#include "remote/remote.h"
#include "server/server.h"
#include "util/message.h"
#include "witness.h"

#define PAGE          4096
#define STEPS         40
#define LIMIT_SECONDS 100 /* for a program; it may be stopped meanwhile */
#define REPLIES       64

static struct {
	uint64_t seed;
	int64_t first, programs;
	int seconds;
	const char *broken;
	bool verbose;
} options = {.seed = 1, .programs = 300};

static volatile int64_t running = -1;
static uint64_t messages, answers, successes, asked;

static struct engine *engine;
static struct server server;
static struct host host;
static struct witness witness;

/* ---- a program ---- */

enum odd { ODD_PIPE, ODD_FOLDER, ODD_MEMFD, ODD_PATH, ODD_NULL, ODD_EVENTFD, ODD_EPOLL, ODD_FILE, ODD_READER, ODD_SOCKET, ODDS };

static int odd[ODDS], odd_other; /* once for all programs */

static struct client {
	uint64_t rng;
	int calls;
	struct lent lent; /* the agent's socket, a userfaultfd and a line; and the addresses */
	int replies[REPLIES];
	unsigned n_replies;
	uint64_t place; /* an address that the server gave last */
	bool over;
} client;

static uint64_t draw(void)
{
	uint64_t z = client.rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool one_in(unsigned n)
{
	return draw() % n == 0;
}

static int64_t wild_number(void)
{
	static const int64_t numbers[] = {0,         1,       -1,        2,         3,         7,         PAGE - 1,  PAGE, PAGE + 1,
					  16 * PAGE, 1 << 21, 1ll << 31, 1ll << 32, 1ll << 47, INT64_MAX, INT64_MIN, -PAGE};

	switch (draw() % 4) {
	case 0:
		return (int64_t)(client.place + draw() % 64 * PAGE);
	case 1:
		return (int64_t)(draw() % 128);
	case 2:
		return (int64_t)(draw() >> (draw() % 64));
	default:
		return numbers[draw() % (sizeof(numbers) / sizeof(numbers[0]))];
	}
}

static int any_descriptor(void)
{
	switch (draw() % 12) {
	case 0:
		return client.calls;
	case 1:
		return client.lent.agent;
	case 2:
		return client.lent.uffd;
	case 3:
	case 4:
	case 5:
	case 6:
		return odd[ODD_FILE];
	default:
		return odd[draw() % ODDS];
	}
}

/* ---- the agent ---- */

static long plausible(const struct memory_op *op)
{
	switch (op->kind) {
	case MEMORY_MAP:
		if (op->flags & MAP_FIXED)
			return (long)(intptr_t)op->addr;
		client.place = (uint64_t)(uintptr_t)client.lent.arena + draw() % (HOST_ARENA / PAGE / 2) * PAGE;
		return (long)client.place;
	case MEMORY_MOVE:
		return (op->flags & MREMAP_FIXED) ? (long)(intptr_t)op->to : (long)(intptr_t)op->addr;
	default:
		return 0;
	}
}

/* Answers what the agent is asked for, most often as one does that has done it. */
static void answer_agent(void)
{
	static char bytes[AGENT_READ_BYTES];
	struct agent_request request = {.n = 0};
	struct memory_op ops[FAR_OPS];
	struct channel_message in = {.head = &request, .head_len = sizeof(request), .body = ops, .body_len = sizeof(ops)};
	struct agent_reply reply = {.result = 0};
	struct channel_message out = {.head = &reply, .head_len = sizeof(reply)};

	if (channel_try_receive(client.lent.agent, &in) < 0)
		return;
	while (in.n_fds > 0)
		close(in.fds[--in.n_fds]);
	asked++;
	reply.number = request.number;
	atomic_store(&client.lent.line->word, agent_word(request.number, AGENT_DOES));
	atomic_store(&client.lent.line->seen, request.number);
	if (request.read) {
		out.body = bytes;
		out.body_len = ops[0].len < sizeof(bytes) ? ops[0].len : sizeof(bytes);
	} else {
		reply.result = plausible(&ops[0]);
	}
	if (one_in(20))
		reply.result = one_in(2) ? -ENOMEM : (long)wild_number();
	if (one_in(200))
		reply.number = (uint32_t)draw();
	if (one_in(200))
		out.head_len = draw() % sizeof(reply);
	if (one_in(200))
		out.body_len = draw() % sizeof(bytes), out.body = bytes;
	/* Rarely, since it costs others a second. */
	if (!one_in(3000))
		(void)channel_try_send(client.lent.agent, &out);
}

static void take_reply(unsigned i)
{
	static char room[1 << 15];
	struct call_reply reply = {.result = -1};
	struct channel_message in = {.head = &reply, .head_len = sizeof(reply), .body = room, .body_len = sizeof(room)};

	if (channel_try_receive(client.replies[i], &in) == 0) {
		answers++;
		successes += reply.result >= 0;
		if (reply.result > PAGE && (uint64_t)reply.result < ADDRESSES_END)
			client.place = (uint64_t)reply.result & ~(uint64_t)(PAGE - 1);
		while (in.n_fds > 0)
			close(in.fds[--in.n_fds]);
	}
	close(client.replies[i]);
	client.replies[i] = client.replies[--client.n_replies];
}

/* Until nothing has been said for so long. */
static void listen_for(int quiet_ms)
{
	for (unsigned n = 0; n < 2000; n++) {
		struct pollfd fds[REPLIES + 1] = {{.fd = client.lent.attached ? client.lent.agent : -1, .events = POLLIN}};

		for (unsigned i = 0; i < client.n_replies; i++)
			fds[i + 1] = (struct pollfd){.fd = client.replies[i], .events = POLLIN};
		if (poll(fds, client.n_replies + 1, quiet_ms) <= 0)
			return;
		if (fds[0].revents & (POLLHUP | POLLERR))
			client.lent.attached = false;
		else if (fds[0].revents)
			answer_agent();
		for (unsigned i = client.n_replies; i-- > 0;)
			if (fds[i + 1].revents)
				take_reply(i);
	}
}

/* ---- what is said ---- */

/* A call that means something, to begin with. */
static void make_sense(struct call_request *q, int *ret_fd)
{
	int64_t len = (int64_t)((1 + draw() % 32) * PAGE);

	*ret_fd = -1;
	q->arg[0] = (int64_t)client.place;
	q->arg[1] = len;
	switch (q->name) {
	case CALL_MMAP:
		q->arg[0] = 0;
		q->arg[2] = (int64_t)(draw() % 4);
		q->arg[3] = one_in(2) ? MAP_PRIVATE | MAP_ANONYMOUS : one_in(2) ? MAP_SHARED : MAP_PRIVATE;
		q->arg[4] = -1;
		q->arg[5] = 0;
		if (!(q->arg[3] & MAP_ANONYMOUS))
			*ret_fd = odd[one_in(3) ? ODD_READER : ODD_FILE];
		break;
	case CALL_MREMAP:
		q->arg[2] = (int64_t)((1 + draw() % 32) * PAGE);
		q->arg[3] = MREMAP_MAYMOVE;
		break;
	case CALL_FAULT:
	case CALL_ACCESS:
		q->arg[1] = (int64_t)(draw() % 2);
		break;
	case CALL_MINCORE:
		q->out_len = (uint64_t)(len / PAGE);
		break;
	case CALL_SHM_OPEN:
	case CALL_SHM_UNLINK:
		q->in_len = 16;
		q->arg[0] = O_RDWR | O_CREAT;
		q->arg[1] = 0600;
		break;
	case CALL_SHMCTL:
		q->out_len = 200;
		q->arg[1] = (int64_t)(draw() % 4);
		break;
	case CALL_FTRUNCATE:
		*ret_fd = odd[ODD_FILE];
		q->arg[0] = (int64_t)(draw() % 64 * PAGE);
		break;
	case CALL_PREFETCH:
		q->in_len = sizeof(struct iovec) * (1 + draw() % 4);
		*ret_fd = odd[ODD_EVENTFD];
		break;
	case CALL_FORK:
	case CALL_MAPS:
		*ret_fd = odd[ODD_MEMFD];
		break;
	case CALL_DIRTY:
	case CALL_WRITTEN:
		q->out_len = 16 * (1 + draw() % 8);
		break;
	case CALL_STATS:
	case CALL_EPOCH:
	case CALL_AREA_STATS:
		q->out_len = 512;
		break;
	default:
		q->arg[2] = (int64_t)(draw() % 8);
		break;
	}
}

#define NAMES 6
static const char *const shared_names[NAMES] = {"/quire-a", "/fuzz-b", "///", "/", "", "/a/../b"};

static uint64_t wild_length(uint64_t had)
{
	static const uint64_t lengths[] = {
	    0, 1, 16, 4096, CALL_INLINE, CALL_INLINE + 1, CALL_APART, CALL_APART + 1, UINT64_MAX, 1ull << 50};

	return one_in(2) ? had + draw() % 3 - 1 : lengths[draw() % (sizeof(lengths) / sizeof(lengths[0]))];
}

static void fill_body(const struct call_request *q, char *body, size_t len)
{
	for (size_t i = 0; i < len; i++)
		body[i] = (char)draw();
	if (q->name == CALL_SHM_OPEN || q->name == CALL_SHM_UNLINK) {
		/* Names that are made are known, so that they can be taken away; others have no end. */
		bool known = !one_in(5);

		for (size_t i = 0; i < len; i++)
			body[i] |= 1;
		if (known && len > 0)
			strncpy(body, shared_names[draw() % NAMES], len);
	}
	for (size_t at = 0; q->name == CALL_PREFETCH && at + sizeof(struct iovec) <= len; at += sizeof(struct iovec)) {
		struct iovec range = {(void *)(uintptr_t)client.place, (size_t)wild_number()};

		memcpy(body + at, &range, sizeof(range));
	}
}

/* Sends a request that was made; its reply, if it has one, is waited for later. */
static void say(struct call_request *q, char *body, size_t len, const int *fds, unsigned n_fds)
{
	struct channel_message out = {.head = q, .head_len = sizeof(*q), .body = body, .body_len = len};
	int pair[2];

	if (channel_pair(pair) < 0)
		return;
	if (!one_in(50))
		out.fds[out.n_fds++] = one_in(100) ? any_descriptor() : pair[1];
	for (unsigned i = 0; i < n_fds && out.n_fds < CHANNEL_FDS; i++)
		out.fds[out.n_fds++] = fds[i];
	if (one_in(30)) {
		/* Half a message. */
		out.head_len = draw() % (sizeof(*q) + 1);
		out.body_len = 0;
	}
	messages++;
	client.over |= out.head_len > 0 && channel_try_send(client.calls, &out) == -EPIPE;
	close(pair[1]);
	if (client.n_replies == REPLIES) {
		close(client.replies[0]);
		client.replies[0] = client.replies[--client.n_replies];
	}
	client.replies[client.n_replies++] = pair[0];
}

static void call_anything(void)
{
	static char body[CALL_INLINE + 4096];
	struct call_request q = {.name = (enum call_name)(CALL_FORK + draw() % (CALL_FILE_ZEROED - CALL_FORK + 2))};
	int fds[8], fd;
	unsigned n = 0;
	size_t len;

	if (one_in(4))
		q.name = CALL_MMAP;
	if (one_in(100))
		q.name = (enum call_name)draw();
	make_sense(&q, &fd);
	len = q.in_len;
	for (unsigned i = 0; i < CALL_ARGS; i++)
		if (one_in(12))
			q.arg[i] = wild_number();
	if (one_in(15))
		q.in_len = wild_length(q.in_len);
	if (one_in(15))
		q.out_len = wild_length(q.out_len);
	if (one_in(15))
		len = draw() % sizeof(body);
	if (fd >= 0)
		fds[n++] = one_in(10) ? any_descriptor() : fd;
	/* A name that lies apart would be whatever was told in that file before, and nobody would know to take it away. */
	if (q.name != CALL_SHM_OPEN && one_in(15)) {
		q.apart = 1 + (int)(draw() % 2);
		fds[n++] = one_in(2) ? odd[ODD_MEMFD] : any_descriptor();
	}
	while (one_in(10) && n < 7)
		fds[n++] = any_descriptor();
	fill_body(&q, body, len);
	say(&q, body, len, fds, n);
}

static void attach(void)
{
	struct call_request q = {.name = CALL_ATTACH};
	int fds[4] = {client.lent.engine_agent, client.lent.uffd, client.lent.line_fd, odd[ODD_PIPE]};
	struct address_range taken[2] = {{client.lent.arena, client.lent.arena + PAGE},
					 {(char *)wild_number(), (char *)wild_number()}};
	unsigned n = one_in(30) ? (unsigned)(draw() % 5) : 3;
	size_t len = one_in(4) ? sizeof(taken[0]) * (1 + draw() % 2) : 0;
	char body[sizeof(taken)];

	if (one_in(6))
		fds[draw() % 3] = any_descriptor();
	memcpy(body, taken, sizeof(taken));
	q.in_len = one_in(20) ? wild_length(len) : len;
	client.lent.attached = true;
	say(&q, body, len, fds, n);
	listen_for(20);
}

/* False: the connection is to end by it. */
static bool say_hello(void)
{
	struct hello hello = hello_ours(PAGE);
	struct hello_reply reply = {.result = -1};
	struct channel_message out = {.head = &hello, .head_len = sizeof(hello)}, in = {.head = &reply, .head_len = sizeof(reply)};
	struct pollfd fd = {.fd = client.calls, .events = POLLIN};

	if (one_in(40))
		((char *)&hello)[draw() % sizeof(hello)] ^= (char)(1 + draw() % 255);
	if (one_in(40))
		out.head_len = 1 + draw() % sizeof(hello);
	if (one_in(40))
		out.fds[out.n_fds++] = any_descriptor();
	if (one_in(40) || channel_try_send(client.calls, &out) < 0)
		return !one_in(2);
	if (poll(&fd, 1, LIMIT_SECONDS * 1000) != 1 || channel_try_receive(client.calls, &in) < 0)
		return false;
	return reply.result == 0;
}

static bool connect_to_engine(int *ret)
{
	struct caller caller = {getpid(), geteuid(), getegid()};
	int pair[2];

	if (channel_pair(pair) < 0)
		return false;
	*ret = pair[0];
	return remote_accept(engine, pair[1], &caller) == 0;
}

static void finish_program(void)
{
	listen_for(one_in(2) ? 5 : 0);
	while (client.n_replies > 0)
		close(client.replies[--client.n_replies]);
	close(client.calls);
	host_take_back(&host, &client.lent);
}

static void run_client(void)
{
	if (!connect_to_engine(&client.calls)) {
		fprintf(stderr, "messages: no connection: %s\n", message_detail());
		exit(2);
	}
	if (!host_lend(&host, &client.lent)) {
		fprintf(stderr, "messages: the host lends nothing\n");
		exit(2);
	}
	client.over = !say_hello();
	if (one_in(10))
		call_anything();
	if (!client.over && !one_in(20))
		attach();
	for (unsigned step = 0; step < STEPS && !client.over; step++) {
		unsigned flood = one_in(30) ? 100 : 1;

		for (unsigned i = 0; i < flood && !client.over; i++)
			call_anything();
		if (one_in(60))
			attach();
		listen_for(one_in(8) ? 0 : 2);
		if (one_in(80))
			shutdown(client.lent.agent, SHUT_RDWR);
		if (one_in(80))
			break;
	}
	finish_program();
}

/* ---- what has to be so afterwards ---- */

static unsigned count_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* What has a name or a number outlives who made it, and is taken away here. */
static void remove_named(void)
{
	static int first;
	int end;

	for (unsigned i = 0; i < NAMES; i++)
		(void)quire_shm_unlink(shared_names[i]);
	lock_acquire(&engine->open_lock);
	end = engine->next_segment;
	lock_release(&engine->open_lock);
	for (; first < end; first++)
		(void)quire_shmctl(first, IPC_RMID, NULL);
}

/* The server learns of an end a little later; that it never does is a hang. */
static void until_settled(unsigned descriptors)
{
	static const struct timespec moment = {.tv_nsec = 500000};

	while (atomic_load(&engine->remotes.count) > 1)
		nanosleep(&moment, NULL);
	remove_named();
	while (count_descriptors() > descriptors)
		nanosleep(&moment, NULL);
}

static bool check(unsigned descriptors)
{
	bool harm = options.broken && strcmp(options.broken, "bytes") == 0 && running % 7 == 3;

	if (!witness_is_well(&witness, harm)) {
		printf("seed %" PRIu64 ", program %" PRId64 ": another client has lost bytes, or is not served\n", options.seed,
		       running);
		return false;
	}
	until_settled(descriptors);
	return true;
}

static void crashed(int signal_number)
{
	char text[160];
	int n = snprintf(text, sizeof(text), "seed %" PRIu64 ", program %" PRId64 ": %s\n", options.seed, running,
			 signal_number == SIGALRM ? "hangs, or leaves something behind" : "crashes");

	(void)!write(1, text, (size_t)n);
	_exit(1);
}

static bool run_program(int64_t number)
{
	unsigned descriptors = count_descriptors();

	running = number;
	client = (struct client){.rng = options.seed * 1000003 + (uint64_t)number, .calls = -1};
	alarm(LIMIT_SECONDS);
	run_client();
	if (options.broken && strcmp(options.broken, "descriptor") == 0 && number % 7 == 3)
		alarm(2), (void)!dup(0);
	return check(descriptors);
}

/* ---- the whole ---- */

static void make_odd(void)
{
	int pipes[2];

	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		exit(2);
	odd[ODD_PIPE] = pipes[0];
	odd_other = pipes[1];
	odd[ODD_FOLDER] = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	odd[ODD_MEMFD] = memfd_create("fuzz", MFD_CLOEXEC);
	odd[ODD_PATH] = open("/var/tmp", O_PATH | O_CLOEXEC);
	odd[ODD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	odd[ODD_EVENTFD] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	odd[ODD_EPOLL] = epoll_create1(EPOLL_CLOEXEC);
	odd[ODD_FILE] = host_file(64);
	odd[ODD_READER] = host_reader(odd[ODD_FILE]);
	odd[ODD_SOCKET] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	for (unsigned i = 0; i < ODDS; i++)
		if (odd[i] < 0) {
			perror("messages: a descriptor");
			exit(2);
		}
}

static void *serve(void *arg)
{
	server_run(&server, arg);
	return NULL;
}

/* As quire serve does it. It maps nothing of its own: what it had, its clients would get. */
static void start_server(void)
{
	struct quire_config config = {.size = sizeof(config), .memory_bytes = 4 << 20, .trap = QUIRE_TRAP_THREAD};
	pthread_t thread;

	if (server_open(&server, witness.path, NULL) < 0 || quire_configure(&config) < 0 || entry_engine(&engine) < 0) {
		fprintf(stderr, "messages: %s\n", message_detail());
		exit(errno == EPERM ? 77 : 2);
	}
	if (pthread_create(&thread, NULL, serve, engine) != 0)
		exit(2);
}

static void usage(FILE *f)
{
	fprintf(f, "usage: messages [--programs N | --seconds S] [--seed N] [--first N] [--break bytes|descriptor]\n"
		   "Says anything to an engine that serves other processes.\n");
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {
	    {"programs", required_argument, NULL, 'p'},
	    {"seconds", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 's'},
	    {"first", required_argument, NULL, 'f'},
	    {"break", required_argument, NULL, 'b'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		switch (c) {
		case 'p':
			options.programs = strtoll(optarg, NULL, 0);
			break;
		case 't':
			options.seconds = atoi(optarg);
			options.programs = INT64_MAX / 2;
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			options.first = strtoll(optarg, NULL, 0);
			break;
		case 'b':
			options.broken = optarg;
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
}

int main(int argc, char **argv)
{
	bool good = true;
	time_t end;
	int64_t i;

	take_options(argc, argv);
	signal(SIGALRM, crashed);
	signal(SIGABRT, crashed);
	signal(SIGPIPE, SIG_IGN);
	/* Before this process has an engine, whose mappings they are not to have. */
	if (!host_start(&host) || !witness_start(&witness)) {
		perror("messages: a helper");
		return 2;
	}
	start_server();
	make_odd();
	/* What is opened with the first clients stays. */
	client.rng = 1;
	if (!witness_is_well(&witness, false)) {
		fprintf(stderr, "messages: a client is not served\n");
		return 2;
	}
	run_client();
	until_settled(UINT_MAX);
	end = time(NULL) + options.seconds;
	for (i = 0; i < options.programs && good; i++) {
		if (options.seconds && time(NULL) >= end)
			break;
		good = run_program(options.first + i);
	}
	alarm(0);
	printf("%" PRId64 " programs, %" PRIu64 " messages, %" PRIu64 " answered, %" PRIu64 " done, %" PRIu64
	       " questions to agents\n",
	       i, messages, answers, successes, asked);
	/* The witness has a copy of what the host listens to. */
	witness_stop(&witness);
	host_stop(&host);
	server_close(&server);
	return good ? 0 : 1;
}
