/* SPDX-License-Identifier: MIT */
/*
 * client.c - a process that is served by the engine of another
 *
 * When a server has ended, SIGBUS lies over what it had mapped, and stays there until it is unmapped. What is mapped afterwards is
 * another server's: the next call that needs one connects again. Of a fork's child, whose engine was its parent's, nothing is left.
 */
#include "remote/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "fault/fault.h"
#include "fault/traps/trap.h"
#include "remote/agent.h"
#include "remote/connection.h"
#include "remote/exchange.h"
#include "remote/remote.h"
#include "sys/channel.h"
#include "sys/page_size.h"
#include "sys/uffd.h"
#include "util/message.h"

/* A signal handler has no argument of ours, and a process is served by one engine at most. */
static struct {
	bool is;
	bool connected;          /* to a server: another program's */
	bool may_start;          /* … if there is none */
	char path[128];          /* … which listens there */
	int calls;               /* the socket; -1: the fork could not give this process its mappings */
	ino_t inode;             /* of it: the program may have closed it, and opened something else */
	struct lock attach_lock; /* one at a time */
	_Atomic bool attached;
	struct lock lock;
	struct ranges ranges;  /* [lock] what is managed */
	struct ranges lost;    /* [lock] what servers had mapped that have ended: SIGBUS lies over it */
	struct ranges taken;   /* … and what was to be, but something else lies there: told when it attaches */
	char *mark;            /* 1: on a page that the kernel wipes in what another call than fork makes of this process */
	_Atomic uint32_t over; /* 1: SIGBUS lies over the ranges: the engine has ended, or this process could not attach */
	int failed;            /* [over] -errno, where that was it */
	uint64_t forks;        /* between the engine's process and this one: each attaches anew */
	struct ranges stale;   /* the ranges of this process's parent: to be freed */
	bool eager;            /* attaches at once */
	bool no_privilege;     /* as the engine was configured */
	struct agent agent;
} client;

bool client_is(void)
{
	return client.is && (!client.mark || *client.mark);
}

/* ---- calls ---- */

/* Whether the descriptor still is what it was. */
static bool has_socket(void)
{
	struct stat st;

	return client.calls >= 0 && fstat(client.calls, &st) == 0 && st.st_ino == client.inode && S_ISSOCK(st.st_mode);
}

static void note_socket(int calls)
{
	struct stat st;

	client.calls = calls;
	client.inode = calls >= 0 && fstat(calls, &st) == 0 ? st.st_ino : 0;
}

bool client_has_connected(void)
{
	return client.is && client.connected;
}

static int check_socket(void)
{
	bool there;

	if (client.calls < 0)
		return message_set(ENOMEM, "the fork that made this process could not give it its mappings");
	if (atomic_load(&client.over) && !client.failed)
		return exchange_over();
	if (atomic_load(&client.over) && client.failed != -EBADF)
		return message_set(-client.failed, "the mappings of the process that made this one could not be made here: %s",
				   strerrordesc_np(-client.failed));
	/* Another may be put in its place. */
	lock_acquire(&client.lock);
	there = has_socket();
	lock_release(&client.lock);
	if (!client.failed && there)
		return 0;
	return message_set(EBADF, "the program has closed descriptor %d, by which it asks the engine that serves it", client.calls);
}

/* ---- attaching ---- */

static int open_uffd(void)
{
	enum uffd_source source = uffd_find(client.no_privilege);

	return source == UFFD_NONE ? engine_refused() : uffd_open(source, false, false, &client.agent.uffd);
}

/* One that has been started and will serve nothing: its end is not to be taken for that of an engine, nor to come later. */
static void end_agent(int agent_socket)
{
	shutdown(agent_socket, SHUT_RDWR);
	while (!atomic_load(&client.over))
		futex_wait(&client.over, 0, NULL);
	atomic_store(&client.over, 0);
}

/* Descriptors of the agent's that it has copies of are closed here. */
static int attach_by(int agent_socket, int engine_socket, int line)
{
	int fds[3] = {engine_socket, -1, line};
	size_t taken_len = client.taken.count * sizeof(client.taken.all[0]);
	struct call_request request = {.name = CALL_ATTACH, .in_len = taken_len};
	struct call_reply reply;
	struct channel_message out = {
	    .head = &request, .head_len = sizeof(request), .body = client.taken.all, .body_len = taken_len, .n_fds = 4};
	struct channel_message in = {.head = &reply, .head_len = sizeof(reply)};
	bool runs;
	int r;

	client.agent = (struct agent){.socket = agent_socket,
				      .empty = memfd_create("quire-ended", MFD_CLOEXEC),
				      .uffd = -1,
				      .lock = &client.lock,
				      .ranges = &client.ranges,
				      .lost = &client.lost,
				      .over = &client.over};
	r = client.agent.empty < 0 ? -errno : open_uffd();
	if (r == 0) {
		client.agent.line = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, line, 0);
		r = client.agent.line == MAP_FAILED ? -errno : 0;
	}
	if (r == 0)
		r = agent_start(&client.agent);
	runs = r == 0;
	if (r == 0) {
		fds[1] = client.agent.uffd;
		memcpy(&out.fds[1], fds, sizeof(fds));
		r = exchange_messages(client.calls, &out, &in);
	}
	if (r == 0 && reply.result < 0)
		r = message_set((int)-reply.result, "%.*s", CALL_DETAIL, reply.detail);
	if (r < 0 && runs)
		end_agent(agent_socket);
	if (client.agent.uffd >= 0)
		close(client.agent.uffd);
	if (client.agent.empty >= 0)
		close(client.agent.empty);
	return r;
}

static int attach_locked(void)
{
	int pair[2], line = -1;
	int r = check_socket();

	if (r == 0)
		r = channel_pair(pair);
	if (r < 0)
		return r;
	/* Sealed, so that a server need not fear that it is cut. */
	line = memfd_create("quire-line", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	r = line < 0 || ftruncate(line, (off_t)page_size()) < 0 || fcntl(line, F_ADD_SEALS, F_SEAL_SHRINK) < 0
		? -errno
		: attach_by(pair[0], pair[1], line);
	close(pair[0]);
	close(pair[1]);
	if (line >= 0)
		close(line);
	return r;
}

/* There is no agent to do it, and there will be none: what was managed cannot be had. */
static void lay_over(int why)
{
	int empty = memfd_create("quire-ended", MFD_CLOEXEC);

	lock_acquire(&client.lock);
	if (empty >= 0)
		(void)ranges_lay_over(&client.ranges, empty);
	client.failed = why == -EOWNERDEAD ? 0 : why;
	atomic_store(&client.over, 1);
	lock_release(&client.lock);
	if (empty >= 0)
		close(empty);
}

static int attach(void)
{
	int r = 0;

	if (atomic_load_explicit(&client.attached, memory_order_acquire))
		return 0;
	lock_acquire(&client.attach_lock);
	if (!atomic_load(&client.attached)) {
		r = attach_locked();
		if (r == 0)
			atomic_store_explicit(&client.attached, true, memory_order_release);
		else if (!atomic_load(&client.over))
			lay_over(r);
	}
	lock_release(&client.attach_lock);
	return r;
}

/*
 * Whether the thread's stack is managed. A fault on it with a lock held would wait for the agent, which wants the lock. What a signal
 * handler asks is about such a fault, as a rule, and is asked for without one.
 */
static int check_stack(enum call_name name)
{
	const void *frame = __builtin_frame_address(0);

	if (name == CALL_FORK || name == CALL_FAULT || name == CALL_ACCESS || !client_manages(frame, 1))
		return 0;
	return message_set(EDEADLK,
			   "the stack of this thread, at %p, is memory that Quire manages: a fault on it inside of this call could "
			   "not be served. Give the thread a stack of the kernel's",
			   frame);
}

/* ---- another server, when one has ended ---- */

static const char *page_of(const void *addr, size_t len, size_t *ret_len)
{
	uintptr_t first = (uintptr_t)addr & ~(uintptr_t)(page_size() - 1);

	*ret_len = len + ((uintptr_t)addr - first);
	return (const char *)first;
}

/* Whether any of it was a mapping of an engine that has ended. */
static bool is_lost(const void *addr, size_t len)
{
	const char *first = page_of(addr, len, &len);
	bool lost;

	lock_acquire(&client.lock);
	lost = ranges_meet(&client.lost, first, len) || (atomic_load(&client.over) && ranges_meet(&client.ranges, first, len));
	lock_release(&client.lock);
	return lost;
}

/* Nothing is managed any more. Lock held. 0 or -ENOMEM. */
static int lose_ranges(void)
{
	while (client.ranges.count > 0) {
		struct address_range *last = &client.ranges.all[client.ranges.count - 1];
		int r = ranges_prepare(&client.lost);

		if (r < 0)
			return r;
		ranges_add(&client.lost, last->addr, (size_t)(last->end - last->addr));
		client.ranges.count--;
	}
	return 0;
}

/* The old socket's number stays, if it still is that: another thread may be about to send by it. */
static void take_socket(int socket)
{
	if (has_socket() && dup3(socket, client.calls, O_CLOEXEC) >= 0) {
		close(socket);
		socket = client.calls;
	}
	note_socket(socket);
}

/* Attach lock held. -EOWNERDEAD with a message, when there is no server now: there may be one at the next call. */
static int reconnect_locked(void)
{
	char why[512];
	int socket, r = connection_open(client.path, client.may_start, &socket);

	if (r < 0) {
		snprintf(why, sizeof(why), "%s", message_detail());
		return message_set(EOWNERDEAD, "the server that has served this program has ended, and there is no other: %s", why);
	}
	lock_acquire(&client.lock);
	r = lose_ranges();
	if (r == 0) {
		take_socket(socket);
		client.taken.count = 0;
		client.failed = 0;
		atomic_store(&client.attached, false);
		atomic_store(&client.over, 0);
	}
	lock_release(&client.lock);
	if (r < 0) {
		close(socket);
		return r;
	}
	if (client.agent.line && (void *)client.agent.line != MAP_FAILED)
		munmap(client.agent.line, page_size());
	client.agent.line = NULL;
	r = attach_locked();
	if (r == 0)
		atomic_store_explicit(&client.attached, true, memory_order_release);
	else
		atomic_store(&client.over, 1);
	return r;
}

/* For a call of the program's, so that it may wait. What is being stored meanwhile has its SIGBUS. */
static int reconnect_if_over(void)
{
	int r = 0;

	/* The agent is about to find the same. */
	while (atomic_load(&client.attached) && !atomic_load(&client.over) && has_socket() && channel_is_over(client.calls))
		futex_wait(&client.over, 0, NULL);
	if (!atomic_load(&client.over))
		return 0;
	lock_acquire(&client.attach_lock);
	if (atomic_load(&client.over))
		r = reconnect_locked();
	lock_release(&client.attach_lock);
	return r;
}

/* What is said of a mapping that is lost. */
static bool is_about_lost(const struct client_call *call)
{
	switch (call->name) {
	case CALL_MREMAP:
	case CALL_MPROTECT:
	case CALL_MSYNC:
	case CALL_MADVISE:
	case CALL_POSIX_MADVISE:
	case CALL_MINHERIT:
	case CALL_MINCORE:
	case CALL_MLOCK:
	case CALL_MUNLOCK:
		return is_lost((const void *)(intptr_t)call->arg[0], (size_t)call->arg[1]);
	case CALL_SHMDT:
		return is_lost((const void *)(intptr_t)call->arg[0], 1);
	default:
		return false;
	}
}

static bool is_public(enum call_name name)
{
	return name >= CALL_MMAP;
}

/* Unmaps what is lost of a range. 0 or -errno. */
static int forget_lost(char *addr, size_t len, struct ranges *from)
{
	int r = ranges_prepare(from);

	if (r < 0)
		return r;
	for (size_t i = 0; i < from->count; i++) {
		char *start = from->all[i].addr > addr ? from->all[i].addr : addr;
		char *end = from->all[i].end < addr + len ? from->all[i].end : addr + len;

		if (start < end && munmap(start, (size_t)(end - start)) < 0)
			return -errno;
	}
	ranges_remove(from, addr, len);
	return 0;
}

static int unmap_lost(char *addr, size_t len)
{
	size_t whole = (len + page_size() - 1) & ~(page_size() - 1);
	int r;

	lock_acquire(&client.lock);
	r = forget_lost(addr, whole, &client.lost);
	if (r == 0 && atomic_load(&client.over))
		r = forget_lost(addr, whole, &client.ranges);
	lock_release(&client.lock);
	return r;
}

int64_t client_ask(const struct client_call *call, bool *ret_not_ours)
{
	int r;

	if (is_about_lost(call))
		return client.failed ? check_socket() : exchange_over();
	r = check_stack(call->name);
	if (r == 0 && call->name != CALL_FORK) {
		r = attach();
		if (client.connected && is_public(call->name) && (r == 0 || atomic_load(&client.over)))
			r = reconnect_if_over();
	}
	if (r == 0)
		r = check_socket();
	return r < 0 ? r : exchange_call(client.calls, call, ret_not_ours);
}

bool client_manages(const void *addr, size_t len)
{
	const char *first = page_of(addr, len, &len);
	bool managed;

	lock_acquire(&client.lock);
	managed = ranges_meet(&client.ranges, first, len) || ranges_meet(&client.lost, first, len);
	lock_release(&client.lock);
	return managed;
}

size_t client_extent(const void *addr, size_t len, bool *ret_managed)
{
	size_t extent, lost_extent;
	bool managed, lost;

	lock_acquire(&client.lock);
	extent = ranges_extent(&client.ranges, addr, len, &managed);
	lost_extent = ranges_extent(&client.lost, addr, len, &lost);
	lock_release(&client.lock);
	*ret_managed = managed || lost;
	return extent < lost_extent ? extent : lost_extent;
}

/* Whether a call is about a range that is the kernel's: that need not be asked, and can be done also when nobody is there to be asked. */
static bool is_kernels(const struct client_call *call)
{
	switch (call->name) {
	case CALL_MUNMAP:
	case CALL_MPROTECT:
	case CALL_MSYNC:
	case CALL_MADVISE:
	case CALL_POSIX_MADVISE:
	case CALL_MINHERIT:
	case CALL_MINCORE:
	case CALL_MLOCK:
	case CALL_MUNLOCK:
		return !client_manages((const void *)(intptr_t)call->arg[0], (size_t)call->arg[1]);
	default:
		return false;
	}
}

bool client_serves(int *ret, const struct client_call *call)
{
	bool not_ours = false;
	int r;

	if (!client_is())
		return false;
	if (call->name == CALL_MUNMAP && is_lost((const void *)(intptr_t)call->arg[0], (size_t)call->arg[1])) {
		r = unmap_lost((char *)(intptr_t)call->arg[0], (size_t)call->arg[1]);
		if (r < 0) {
			*ret = r;
			return true;
		}
	}
	if (is_kernels(call))
		return false;
	r = (int)client_ask(call, &not_ours);
	if (not_ours)
		return false;
	*ret = r;
	return true;
}

/* ---- faults ---- */

enum client_fault client_fault(void *addr, bool write, struct quire_error *ret_error)
{
	struct client_call call = {.name = CALL_FAULT, .arg = {(int64_t)(intptr_t)addr, write}, .fd = -1, .ret_error = ret_error};
	int64_t r;

	if (!client_manages(addr, 1))
		return CLIENT_NONE;
	/* Another engine knows nothing of it. */
	r = is_lost(addr, 1) && !client.failed ? -EOWNERDEAD : client_ask(&call, NULL);
	if (r == FAULT_DONE)
		return CLIENT_AGAIN;
	if (r == FAULT_NONE)
		return CLIENT_NONE;
	if (r < 0)
		*ret_error = (struct quire_error){.error = (int)-r,
						  .during = write ? QUIRE_DURING_STORE : QUIRE_DURING_LOAD,
						  .addr = addr,
						  .offset = -1,
						  .len = 1};
	if (r < 0)
		message_plain(r == -EOWNERDEAD ? exchange_ended : "the engine that serves this process cannot be asked");
	return CLIENT_ERROR;
}

bool client_allows(void *addr, int need, uint64_t *ret_edits)
{
	struct client_call call = {.name = CALL_ACCESS, .arg = {(int64_t)(intptr_t)addr, need}, .fd = -1};
	int64_t r;

	*ret_edits = 0;
	if (!client_is() || !client_manages(addr, 1))
		return false;
	/* From here on, SIGBUS has the last word. */
	if (!atomic_load(&client.attached)) {
		(void)attach();
		*ret_edits = ~client.forks;
		return true;
	}
	if (is_lost(addr, 1))
		return true;
	r = client_ask(&call, NULL);
	/* The agent is about to find the same: what is refused until then is to end in SIGBUS, too. */
	while (r == -EOWNERDEAD && !atomic_load(&client.over) && channel_is_over(client.calls))
		futex_wait(&client.over, 0, NULL);
	if (r < 0)
		return is_lost(addr, 1);
	*ret_edits = (uint64_t)r >> 1;
	return r & 1;
}

/* ---- fork ---- */

/* What the child is to know. In the parent it lies ready, in memory that the child gets a copy of. */
static struct {
	int calls;
	struct ranges ranges;
} for_child = {.calls = -1};

/* The ranges that the engine has put into a file. 0 or -errno. */
static int read_ranges(int fd, struct ranges *ret)
{
	struct stat st;
	size_t len;

	if (fstat(fd, &st) < 0)
		return -errno;
	len = (size_t)st.st_size;
	/* In the child none is to be had before all is reserved: it might lie in one of the places. */
	if (ranges_reserve(ret, 2 * (len / sizeof(*ret->all)) + 2) < 0)
		return -ENOMEM;
	ret->count = len / sizeof(*ret->all);
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)ret->all + done, len - done, (off_t)done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return n == 0 ? -EIO : -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Has the engine make the space of a child of this process. */
static void ask_for_fork(void)
{
	struct client_call call = {.name = CALL_FORK, .fd = memfd_create("quire-ranges", MFD_CLOEXEC), .gives_fd = true};
	int r = call.fd < 0 ? -errno : (int)client_ask(&call, NULL);

	if (r >= 0 && read_ranges(call.fd, &for_child.ranges) == 0)
		for_child.calls = r;
	else if (r >= 0)
		close(r);
	if (call.fd >= 0)
		close(call.fd);
}

void client_before_fork(struct engine *engine)
{
	for_child.calls = -1;
	for_child.ranges = (struct ranges){0};
	/* In the child, memory for it might come to lie in one of the places. */
	(void)ranges_prepare(&client.taken);
	if (client_is()) {
		ask_for_fork();
		lock_acquire(&client.attach_lock);
		lock_acquire(&client.lock);
		exchange_before_fork();
		return;
	}
	(void)remote_create(engine, engine->space, &for_child.ranges, &for_child.calls);
	(void)ranges_reserve(&for_child.ranges, 2 * for_child.ranges.count + 2);
	lock_acquire(&engine->remotes.lock);
}

void client_after_fork_in_parent(struct engine *engine)
{
	if (for_child.calls >= 0)
		close(for_child.calls);
	if (client_is()) {
		exchange_after_fork_in_parent();
		lock_release(&client.lock);
		lock_release(&client.attach_lock);
	} else {
		lock_release(&engine->remotes.lock);
	}
	ranges_free(&for_child.ranges);
}

static int give_place_up(char *addr, size_t len)
{
	int r = ranges_prepare(&client.taken);

	if (r == 0)
		r = ranges_prepare(&client.ranges);
	if (r < 0)
		return r;
	ranges_add(&client.taken, addr, len);
	ranges_remove(&client.ranges, addr, len);
	return 0;
}

/*
 * As much of a range as is free. What is not was unmapped by another thread of the parent between the making of the space and the fork,
 * and something of the kernel's came to lie there, which is the child's now: the engine must not map over it.
 */
static int reserve_range(char *addr, size_t len)
{
	size_t half = (len >> page_shift) / 2 << page_shift;
	int r;

	if (mmap(addr, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED)
		/* A child of this process's reserves its own. */
		return madvise(addr, len, MADV_DONTFORK) < 0 ? -errno : 0;
	if (errno != EEXIST || half == 0)
		return give_place_up(addr, len);
	r = reserve_range(addr, half);
	return r == 0 ? reserve_range(addr + half, len - half) : r;
}

/* Nothing else may come to lie where the mappings are going to be. From the last on: what is given up moves those behind it. */
static int reserve(void)
{
	int r = 0;

	client.taken.count = 0;
	for (size_t i = client.ranges.count; i-- > 0 && r == 0;)
		r = reserve_range(client.ranges.all[i].addr, (size_t)(client.ranges.all[i].end - client.ranges.all[i].addr));
	return r;
}

static void set_mark(void)
{
	char *mark =
	    client.mark ? client.mark : mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mark == MAP_FAILED)
		return;
	if (!client.mark && madvise(mark, page_size(), MADV_WIPEONFORK) < 0) {
		munmap(mark, page_size());
		return;
	}
	*mark = 1;
	client.mark = mark;
}

void client_after_fork_in_child(struct engine *engine)
{
	bool eager = client.is ? client.eager : engine->trap == QUIRE_TRAP_THREAD;

	if (client.is) {
		exchange_after_fork_in_child();
		if (has_socket())
			close(client.calls);
		if (client.agent.line && (void *)client.agent.line != MAP_FAILED)
			munmap(client.agent.line, page_size());
		client.agent.line = NULL;
	} else {
		remotes_close_inherited(&engine->remotes);
		client.no_privilege = engine->config.no_privilege;
	}
	/* Where the fork has failed, what is out of reach is what the parent has. */
	if (!client.is || for_child.calls >= 0) {
		client.stale = client.ranges;
		client.ranges = for_child.ranges;
	}
	client.is = true;
	client.eager = eager;
	client.attach_lock = (struct lock){0};
	client.lock = (struct lock){0};
	client.attached = false;
	client.forks++;
	note_socket(for_child.calls);
	/* Before anything is mapped anywhere. What lies over the places of an engine that has ended was inherited. */
	if (!client.over && reserve() < 0 && client.calls >= 0) {
		close(client.calls);
		client.calls = -1;
	}
	set_mark();
}

/* ---- connecting to a server ---- */

/* The socket is good. Whatever is caught is caught from the first mapping on. */
static int begin_as_client(int socket)
{
	int r = signal_trap_start(NULL);

	if (r < 0)
		return r;
	/* Before anybody sees that this is one: who forks takes this lock, and then the one that is held here. */
	lock_acquire(&client.attach_lock);
	client.is = true;
	client.connected = true;
	client.eager = true;
	note_socket(socket);
	set_mark();
	r = attach_locked();
	if (r == 0)
		atomic_store_explicit(&client.attached, true, memory_order_release);
	lock_release(&client.attach_lock);
	if (r < 0) {
		signal_trap_stop();
		client.is = false;
		client.calls = -1;
	}
	return r;
}

int client_connect(const char *path, bool may_start)
{
	int socket = -1;
	int r = connection_open(path, may_start, &socket);

	snprintf(client.path, sizeof(client.path), "%s", path);
	client.may_start = may_start;
	if (r == 0 && (r = begin_as_client(socket)) < 0 && !message_detail()[0])
		message_set(-r, "the server at %s cannot be attached to: %s", path, strerrordesc_np(-r));
	if (r < 0 && socket >= 0)
		close(socket);
	return r;
}

void client_begin(void)
{
	ranges_free(&client.stale);
	if (client.eager && client.calls >= 0 && client.ranges.count > 0)
		(void)attach();
}
