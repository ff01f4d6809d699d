/* SPDX-License-Identifier: MIT */
/*
 * remote.c - the processes that an engine serves beside its own: their sockets, and how they are asked
 *
 * A stranger may have kept its end of a descriptor that it handed over, and read from it what was for us: nothing is read by waiting.
 * What it says to have done is believed only where a lie harms nobody else.
 */
#include "remote/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "entry.h"
#include "shm.h"
#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

#define PATIENCE_MS             1000 /* a process may be stopped, and others wait for it meanwhile */
#define REMOTES_MOST            1000
#define REMOTES_OF_ANOTHER_MOST 250 /* of one user that is not the server's */
#define SILENT_MOST             100 /* more are let in, so that they can be told why they are not served */
#define ENDS_MS                 10000
#define SLICE_MS                100 /* … in which it is waited for: of the time that this process is stopped itself, with the other, one is lost */

struct remote {
	struct far far;
	struct engine *engine;
	struct space *space;
	struct remote *next, **link; /* [remotes.lock] */
	_Atomic unsigned refs;       /* the list's, and one for each call that is being made */
	struct lock attach_lock;
	_Atomic bool attached; /* set with attach_lock */
	bool gone;             /* [attach_lock] */
	struct trap_source calls, agent, faults;
	struct lock asking; /* the agent is asked one thing at a time */
	uint32_t number;    /* [asking] */
	bool silent;        /* [asking] what it was asked for last was taken back: it is stopped, as far as is known */
	_Atomic bool lost;  /* nobody is there to be asked any more */
	struct agent_line *line;
	struct caller caller; /* of a stranger */
	bool greeted;         /* it has said hello, or need not */
	bool ending;          /* counted as such */
	_Atomic int end;      /* the socket whose other end goes with the process; -1: there is none yet */
};

static struct remote *remote_of(struct far *far)
{
	return (struct remote *)far;
}

struct space *remote_space(struct remote *remote)
{
	return remote->space;
}

struct engine *remote_engine(struct remote *remote)
{
	return remote->engine;
}

const struct caller *remote_stranger(struct remote *remote)
{
	return remote->far.strange ? &remote->caller : NULL;
}

/* ---- asking the agent ---- */

/*
 * Ends the connection: the agent lays SIGBUS over all that was managed, and nothing that it was asked for is done after that. What a
 * process does that is not seen any more must not matter.
 */
static long lose(struct remote *remote)
{
	atomic_store(&remote->lost, true);
	if (remote->agent.fd >= 0)
		shutdown(remote->agent.fd, SHUT_RDWR);
	return -ESRCH;
}

static int wait_for_reply(const struct remote *remote)
{
	int r = -ETIMEDOUT;

	for (unsigned waited = 0; r == -ETIMEDOUT && waited < PATIENCE_MS; waited += SLICE_MS)
		r = channel_wait(remote->agent.fd, -1, SLICE_MS);
	return r;
}

/*
 * One that is stopped is not waited for again, but for what has to be done, until its agent has looked at what it was asked for last: each
 * page that cannot be taken from it would cost all others so much time again. Nor is it sent more than lies there already, since one whose
 * socket is full would be waited for without end.
 */
static bool is_silent(struct remote *remote)
{
	if (remote->silent && atomic_load(&remote->line->seen) == remote->number)
		remote->silent = false;
	return remote->silent;
}

/* The reply to the request that was sent. 0; -EAGAIN: it was not done and will not be; -ESRCH. */
static long receive(struct remote *remote, struct channel_message *message, const struct agent_reply *reply)
{
	uint32_t asked = agent_word(remote->number, AGENT_ASKED);
	int r = wait_for_reply(remote);

	remote->silent = r == -ETIMEDOUT;
	if (r == -ETIMEDOUT) {
		remote->silent =
		    atomic_compare_exchange_strong(&remote->line->word, &asked, agent_word(remote->number, AGENT_TAKEN_BACK));
		if (remote->silent)
			return -EAGAIN;
		r = wait_for_reply(remote);
	}
	if (r == 0)
		r = channel_try_receive(remote->agent.fd, message);
	return r == 0 && reply->number == remote->number ? 0 : lose(remote);
}

/* optional: it can be asked for again later. */
static long ask(struct remote *remote, struct agent_request *request, struct channel_message *out, void *body, size_t body_len,
		bool optional)
{
	struct agent_reply reply;
	struct channel_message in = {.head = &reply, .head_len = sizeof(reply), .body = body, .body_len = body_len};
	long r;

	if (atomic_load(&remote->lost) || remote->agent.fd < 0)
		return -ESRCH;
	if (optional && is_silent(remote))
		return -EAGAIN;
	request->number = ++remote->number;
	out->head = request;
	out->head_len = sizeof(*request);
	atomic_store(&remote->line->word, agent_word(request->number, AGENT_ASKED));
	r = channel_try_send(remote->agent.fd, out);
	if (r == 0)
		r = receive(remote, &in, &reply);
	if (r == -EAGAIN && !optional)
		r = lose(remote);
	if (r < 0)
		return r == -EAGAIN ? r : lose(remote);
	return reply.result >= 0 && in.body_len != body_len ? lose(remote) : reply.result;
}

static void far_lose(struct far *far)
{
	(void)lose(remote_of(far));
}

/* Whether nothing of the space is there. Map lock held. */
static bool is_free(const struct space *space, const char *addr, size_t len)
{
	size_t i = area_set_search(&space->areas, addr);

	return i == space->areas.count || area_addr(space->areas.all[i]) >= addr + len;
}

/*
 * Whether what the kernel would say to it has been said. That something was done cannot be known; but no two areas are where only one
 * can be. Of what gives an address the map lock is held for writing.
 */
static bool is_plausible(const struct space *space, const struct memory_op *op, long r)
{
	size_t len = op->kind == MEMORY_MOVE ? op->to_len : op->len;
	char *placed = (char *)r;

	if (r < 0)
		return r >= -4095;
	if (op->kind != MEMORY_MAP && op->kind != MEMORY_MOVE)
		return r == 0;
	if (((uintptr_t)r & (page_size() - 1)) || len > ADDRESSES_END || (uintptr_t)r > ADDRESSES_END - len)
		return false;
	if (op->kind == MEMORY_MAP)
		return op->flags & MAP_FIXED ? placed == op->addr : is_free(space, placed, len);
	if (op->flags & MREMAP_FIXED)
		return placed == op->to;
	if (placed == op->addr)
		return len <= op->len || is_free(space, placed + op->len, len - op->len);
	return (op->flags & MREMAP_MAYMOVE) && is_free(space, placed, len);
}

/* A stranger gets a private mapping of frames by a descriptor that is not for writing. It, or the one there is, or -errno. */
static int descriptor_for(const struct remote *remote, const struct memory_op *op)
{
	if (!remote->far.strange || (op->flags & MAP_HUGETLB) || (op->flags & MAP_TYPE) != MAP_PRIVATE)
		return op->fd;
	return frames_open_reader(op->fd);
}

/*
 * An operation. One that changes mappings has to be done: a process that does not answer for so long is given up, since its kernel
 * and we would disagree. Whatever else it is asked for can be asked again.
 */
static long far_op(struct far *far, const struct memory_op *op)
{
	struct remote *remote = remote_of(far);
	struct agent_request request = {.n = 1};
	struct memory_op copy = *op;
	struct channel_message out = {.body = &copy, .body_len = sizeof(copy)};
	int fd = op->kind == MEMORY_MAP && op->fd >= 0 ? descriptor_for(remote, op) : -1;
	long r;

	if (fd < -1)
		return fd;
	copy.fd = fd >= 0 ? 0 : -1;
	if (fd >= 0)
		out.fds[out.n_fds++] = fd;
	lock_acquire(&remote->asking);
	r = ask(remote, &request, &out, NULL, 0, op->kind == MEMORY_DROP || op->kind == MEMORY_ADVISE);
	lock_release(&remote->asking);
	if (fd >= 0 && fd != op->fd)
		close(fd);
	return remote->far.strange && !is_plausible(remote->space, op, r) ? lose(remote) : r;
}

/* Which descriptor of the message is fd; it is added if there is room. -1: there is none. */
static int descriptor_in(struct channel_message *message, int fd)
{
	for (unsigned i = 0; i < message->n_fds; i++)
		if (message->fds[i] == fd)
			return (int)i;
	if (message->n_fds == CHANNEL_FDS)
		return -1;
	message->fds[message->n_fds] = fd;
	return (int)message->n_fds++;
}

static int far_ops(struct far *far, const struct memory_op *ops, size_t n)
{
	struct remote *remote = remote_of(far);
	struct memory_op copies[FAR_OPS];
	long r = 0;

	if (far->strange) {
		for (size_t i = 0; i < n && r >= 0; i++)
			r = far_op(far, &ops[i]);
		return r < 0 ? (int)r : 0;
	}
	lock_acquire(&remote->asking);
	for (size_t done = 0; done < n && r >= 0;) {
		struct agent_request request = {.n = 0};
		struct channel_message out = {.body = copies};

		for (; done < n && request.n < FAR_OPS; done++) {
			copies[request.n] = ops[done];
			if (ops[done].fd >= 0 && (copies[request.n].fd = descriptor_in(&out, ops[done].fd)) < 0)
				break;
			request.n++;
		}
		out.body_len = request.n * sizeof(copies[0]);
		r = ask(remote, &request, &out, NULL, 0, false);
	}
	lock_release(&remote->asking);
	return r < 0 ? (int)r : 0;
}

static int far_read(struct far *far, const void *addr, size_t len, void *ret)
{
	struct remote *remote = remote_of(far);
	long r = 0;

	lock_acquire(&remote->asking);
	for (size_t done = 0; done < len && r >= 0; done += AGENT_READ_BYTES) {
		size_t n = len - done < AGENT_READ_BYTES ? len - done : AGENT_READ_BYTES;
		struct agent_request request = {.read = 1, .n = 1};
		struct memory_op op = {.addr = (char *)(uintptr_t)addr + done, .len = n, .fd = -1};
		struct channel_message out = {.body = &op, .body_len = sizeof(op)};

		r = ask(remote, &request, &out, (char *)ret + done, n, true);
	}
	lock_release(&remote->asking);
	return (int)r;
}

static bool far_gone(struct far *far)
{
	struct remote *remote = remote_of(far);
	int socket = atomic_load(&remote->end);

	return socket >= 0 && channel_is_over(socket);
}

/* ---- life ---- */

static void destroy(struct remote *remote)
{
	segments_forget(remote->engine, remote->space);
	space_vanish(remote->space);
	if (remote->line)
		munmap(remote->line, page_size());
	if (remote->agent.fd >= 0)
		close(remote->agent.fd);
	if (remote->calls.fd >= 0)
		close(remote->calls.fd);
	registry_bury(&remote->engine->registry);
	free(remote);
}

/* Nobody refers to one that was served. It may take time. */
static void give_up(struct remote *remote)
{
	struct remotes *remotes = &remote->engine->remotes;
	bool ending = remote->ending;

	destroy(remote);
	if (atomic_fetch_sub(&remotes->count, 1) == 1)
		futex_wake_all(&remotes->count);
	if (ending)
		atomic_fetch_sub(&remotes->ending, 1);
}

static void unref(struct remote *remote)
{
	if (atomic_fetch_sub(&remote->refs, 1) == 1)
		give_up(remote);
}

static void take_off_list(struct remotes *remotes, struct remote *remote)
{
	lock_acquire(&remotes->lock);
	*remote->link = remote->next;
	if (remote->next)
		remote->next->link = remote->link;
	lock_release(&remotes->lock);
}

/* By the thread that leads. It does not lead any more on return. */
static void end(struct remote *remote, struct trap_turn *turn)
{
	bool first;

	lock_acquire(&remote->attach_lock);
	first = !remote->gone;
	remote->gone = true;
	lock_release(&remote->attach_lock);
	if (!first)
		return;
	atomic_store(&remote->lost, true);
	/* Also where attaching has failed half way. */
	thread_trap_unwatch(remote->engine->thread_trap, &remote->calls);
	thread_trap_unwatch(remote->engine->thread_trap, &remote->agent);
	thread_trap_unwatch(remote->engine->thread_trap, &remote->faults);
	/* A fork holds the lock, and waits for locks of the C library that threads may hold whose faults wait to be served. */
	trap_hand_on(turn);
	remote->ending = true;
	atomic_fetch_add(&remote->engine->remotes.ending, 1);
	take_off_list(&remote->engine->remotes, remote);
	unref(remote);
}

/* Whether it is about to be given up: not one that could not attach, and lives on. */
static bool has_ended(struct remote *remote)
{
	return far_gone(&remote->far) && (atomic_load(&remote->attached) || channel_is_over(remote->calls.fd));
}

/* Who is about to be taken off the list is counted before: it is found in one of the two. */
static bool is_any_ending(struct remotes *remotes)
{
	bool any = false;

	lock_acquire(&remotes->lock);
	for (struct remote *remote = remotes->head; remote && !any; remote = remote->next)
		any = has_ended(remote);
	lock_release(&remotes->lock);
	return any || atomic_load(&remotes->ending) > 0;
}

void remotes_wait_for_ends(struct remotes *remotes)
{
	static const struct timespec moment = {.tv_nsec = 1000000};

	for (unsigned waited = 0; waited < ENDS_MS && is_any_ending(remotes); waited++)
		nanosleep(&moment, NULL);
}

bool remotes_any(struct remotes *remotes)
{
	bool any = false;

	lock_acquire(&remotes->lock);
	for (struct remote *remote = remotes->head; remote && !any; remote = remote->next)
		any = !has_ended(remote);
	lock_release(&remotes->lock);
	return any;
}

void remotes_wait_for_all(struct remotes *remotes)
{
	uint32_t count;

	while ((count = atomic_load(&remotes->count)) > 0)
		futex_wait(&remotes->count, count, NULL);
}

static void serve_agent(struct trap_source *source, struct trap_turn *turn)
{
	end((struct remote *)((char *)source - offsetof(struct remote, agent)), turn);
}

static void serve_faults(struct trap_source *source, struct trap_turn *turn)
{
	struct remote *remote = (struct remote *)((char *)source - offsetof(struct remote, faults));
	struct uffd_event event;

	int n = uffd_read(source->fd, &remote->space->pmap.catching, &event, 1);

	if (n == -EBADF)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	if (n <= 0)
		return;
	atomic_fetch_add(&remote->refs, 1);
	trap_resolve(turn, remote->space, source->fd, &event);
	if (atomic_fetch_sub(&remote->refs, 1) > 1)
		return;
	trap_hand_on(turn);
	give_up(remote);
}

static unsigned count_of(struct remotes *remotes, uid_t uid)
{
	unsigned n = 0;

	lock_acquire(&remotes->lock);
	for (const struct remote *remote = remotes->head; remote; remote = remote->next)
		n += remote->far.strange && remote->caller.uid == uid;
	lock_release(&remotes->lock);
	return n;
}

/* Whether there are as many processes as are served: in all, or of this user. */
static bool is_full(struct remotes *remotes, const struct caller *caller, unsigned more)
{
	return atomic_load(&remotes->count) > REMOTES_MOST + more ||
	       (caller->uid != geteuid() && caller->uid != 0 && count_of(remotes, caller->uid) > REMOTES_OF_ANOTHER_MOST + more);
}

static bool is_of_group(const struct remote *remote, gid_t group)
{
	gid_t groups[1024];
	socklen_t len = sizeof(groups);

	if (remote->caller.gid == group)
		return true;
	if (getsockopt(remote->calls.fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

/* The mode of the socket says the same, where it is the server's own. */
static bool is_served(const struct remote *remote)
{
	const struct remotes *remotes = &remote->engine->remotes;

	if (remote->caller.uid == geteuid())
		return true;
	return remotes->serves_group && (remote->caller.uid == 0 || is_of_group(remote, remotes->group));
}

static int check_hello(struct remote *remote, const struct hello *theirs, struct hello_reply *reply)
{
	const char *what = NULL;

	if (memcmp(theirs->magic, reply->hello.magic, sizeof(theirs->magic)) != 0)
		what = "this is a server of Quire, and was not addressed as one";
	else if (theirs->version != reply->hello.version)
		what = "the server has another version of the protocol: use the same version of Quire for both";
	else if (memcmp(theirs, &reply->hello, sizeof(*theirs)) != 0)
		what = "the server was built otherwise, for other page or message sizes: use the same build of Quire for both";
	else if (!is_served(remote))
		what = remote->engine->remotes.serves_group
			   ? "the server is another user's, and serves that user's processes and those of a group"
			   : "the server is another user's, and serves that user's processes only";
	else if (is_full(&remote->engine->remotes, &remote->caller, 0))
		what = "the server has as many clients as it serves";
	if (!what)
		return 0;
	snprintf(reply->detail, sizeof(reply->detail), "%s", what);
	return reply->result = -EPROTO;
}

/* The first message of a stranger. */
static void greet(struct remote *remote, struct trap_turn *turn)
{
	struct hello theirs;
	struct hello_reply reply = {.hello = hello_ours((uint32_t)page_size())};
	struct channel_message message = {.head = &theirs, .head_len = sizeof(theirs)};
	struct channel_message answer = {.head = &reply, .head_len = sizeof(reply)};
	int r = channel_try_receive(remote->calls.fd, &message);

	if (r == -EAGAIN)
		return;
	while (r == 0 && message.n_fds > 0)
		close(message.fds[--message.n_fds]);
	reply.result = r;
	if (r == 0)
		r = check_hello(remote, &theirs, &reply);
	if (r != -EPIPE && channel_try_send(remote->calls.fd, &answer) < 0)
		r = -EPIPE;
	remote->greeted = r == 0;
	if (r < 0)
		end(remote, turn);
}

static void serve_call(struct trap_source *source, struct trap_turn *turn)
{
	struct remote *remote = (struct remote *)((char *)source - offsetof(struct remote, calls));
	struct call_request request;
	_Alignas(max_align_t) char body[CALL_INLINE];
	struct channel_message message = {.head = &request, .head_len = sizeof(request), .body = body, .body_len = sizeof(body)};
	int r;

	if (!remote->greeted) {
		greet(remote, turn);
		return;
	}
	r = channel_try_receive(source->fd, &message);
	if (r == -EPIPE) {
		bool attached;

		lock_acquire(&remote->attach_lock);
		attached = remote->attached;
		lock_release(&remote->attach_lock);
		/* A process that has closed this socket only is still to be served; where it is has to be known by the other. */
		if (attached)
			thread_trap_unwatch(remote->engine->thread_trap, source);
		else
			end(remote, turn);
	}
	if (r < 0)
		return;
	atomic_fetch_add(&remote->refs, 1);
	trap_hand_on(turn);
	remote_answer(remote, &request, &message);
	unref(remote);
}

/* Whether it is one end of a pair that is not ours: of a connection to us we would hold both ends, and never see it end. */
static bool is_agent(int fd)
{
	struct sockaddr_un name;
	struct ucred peer;
	int type = 0;
	socklen_t len = sizeof(type), peer_len = sizeof(peer), name_len = sizeof(name);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) < 0 || peer.pid == getpid())
		return false;
	return getpeername(fd, (struct sockaddr *)&name, &name_len) == 0 && name.sun_family == AF_UNIX &&
	       name_len == sizeof(sa_family_t);
}

/* Whether a stranger has handed over what the names say, so that nothing that is done with it harms others. */
static int check_handed_over(int agent, int uffd, int line, const struct address_range *taken, size_t n)
{
	int seals = fcntl(line, F_GET_SEALS);
	struct stat st;

	if (!is_agent(agent))
		return message_set(EPROTO, "the agent's descriptor is no socket of the kind that is needed");
	if (!uffd_is(uffd))
		return message_set(EPROTO, "the descriptor for faults is no userfaultfd");
	/* It could be cut while it is read here. */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(line, &st) < 0 || (size_t)st.st_size < page_size() ||
	    (size_t)st.st_blksize != page_size())
		return message_set(EPROTO, "the line is no memfd of a page, sealed against being cut");
	for (size_t i = 0; i < n; i++)
		if ((((uintptr_t)taken[i].addr | (uintptr_t)taken[i].end) & (page_size() - 1)) || taken[i].addr >= taken[i].end ||
		    (uintptr_t)taken[i].end > ADDRESSES_END)
			return message_set(EPROTO, "a range that is taken is none");
	return 0;
}

int remote_attach(struct remote *remote, int agent, int uffd, int line, const struct address_range *taken, size_t n)
{
	struct thread_trap *trap = remote->engine->thread_trap;
	int r;

	lock_acquire(&remote->attach_lock);
	r = remote->gone || remote->attached || remote->agent.fd >= 0 ? -EALREADY : 0;
	if (r == 0 && remote->far.strange)
		r = check_handed_over(agent, uffd, line, taken, n);
	/* Nothing is mapped there yet, so nothing is taken away. */
	for (size_t i = 0; i < n && r == 0; i++)
		r = space_unmap(remote->space, taken[i].addr, (size_t)(taken[i].end - taken[i].addr));
	if (r == 0) {
		remote->line = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, line, 0);
		if (remote->line == MAP_FAILED) {
			remote->line = NULL;
			r = -errno;
		}
	}
	if (r == 0) {
		remote->agent.fd = agent;
		atomic_store(&remote->end, agent);
		remote->faults.fd = uffd;
		agent = -1;
		pmap_attach(&remote->space->pmap, uffd);
		r = space_attach(remote->space);
		uffd = -1;
	}
	/* The agent first: when it is gone, end takes from under watch whatever is. */
	if (r == 0)
		r = thread_trap_watch(trap, &remote->agent, true);
	if (r == 0)
		r = thread_trap_watch(trap, &remote->faults, false);
	remote->attached = r == 0;
	if (r < 0 && remote->agent.fd >= 0)
		lose(remote);
	lock_release(&remote->attach_lock);
	if (agent >= 0)
		close(agent);
	if (uffd >= 0)
		close(uffd);
	close(line);
	return r;
}

/* The threads that serve; under the thread trap they are there. */
static int start_serving(struct engine *engine)
{
	int r = 0;

	lock_acquire(&engine->remotes.lock);
	if (!engine->thread_trap)
		r = thread_trap_start(NULL, &engine->thread_trap);
	lock_release(&engine->remotes.lock);
	return r;
}

static int note_area(void *arg, const struct part *part)
{
	int r = ranges_prepare(arg);

	if (r == 0)
		ranges_add(arg, part->addr, part->pages << page_shift);
	return r;
}

/* remotes.lock held. */
static void add_to_list(struct remotes *remotes, struct remote *remote, int calls)
{
	remote->calls.fd = calls;
	atomic_store(&remote->end, calls);
	remote->next = remotes->head;
	if (remote->next)
		remote->next->link = &remote->next;
	remote->link = &remotes->head;
	remotes->head = remote;
}

/* Under the lock that a fork holds: no other child has the engine's end without knowing that it is to close it. */
static int make_calls(struct engine *engine, struct remote *remote, int ret_pair[2])
{
	int r;

	lock_acquire(&engine->remotes.lock);
	r = channel_pair(ret_pair);
	if (r == 0)
		add_to_list(&engine->remotes, remote, ret_pair[0]);
	lock_release(&engine->remotes.lock);
	return r;
}

/* Listens to it. On failure it is off the list. */
static int start_calls(struct engine *engine, struct remote *remote)
{
	int r;

	/* Before anybody can learn that it has ended, and count it no more. */
	atomic_fetch_add(&engine->remotes.count, 1);
	r = thread_trap_watch(engine->thread_trap, &remote->calls, false);
	if (r < 0) {
		atomic_fetch_sub(&engine->remotes.count, 1);
		take_off_list(&engine->remotes, remote);
	}
	return r;
}

/* One that nobody knows yet, with a space like from's. 0 or -errno. */
static int make(struct engine *engine, struct space *from, const struct caller *stranger, struct remote **ret)
{
	struct remote *remote = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*remote));
	uint64_t features = 0;
	int r = remote ? start_serving(engine) : -ENOMEM;

	/* Its faults are messages, whatever catches ours: SIGBUS has to be raised from here. */
	if (r == 0 && (uffd_probe(engine->source, &features) < 0 || !(features & QUIRE_UFFD_POISON)))
		r = -EOPNOTSUPP;
	if (r == 0) {
		remote->far = (struct far){.op = far_op,
					   .read = far_read,
					   .ops = far_ops,
					   .gone = far_gone,
					   .lose = far_lose,
					   .strange = stranger,
					   .limits = &engine->remotes.limits};
		if (stranger)
			remote->caller = *stranger;
		atomic_init(&remote->end, -1);
		remote->engine = engine;
		remote->refs = 1;
		remote->calls = (struct trap_source){-1, serve_call};
		remote->agent = (struct trap_source){-1, serve_agent};
		remote->faults = (struct trap_source){-1, serve_faults};
		r = space_fork(from, &remote->far, &remote->space);
	}
	if (r < 0)
		free(remote);
	else
		*ret = remote;
	return r;
}

int remote_accept(struct engine *engine, int socket, const struct caller *caller)
{
	struct remote *remote;
	int r = is_full(&engine->remotes, caller, SILENT_MOST) ? -EAGAIN : make(engine, engine->space, caller, &remote);

	if (r < 0) {
		close(socket);
		return message_set(-r, "no further process can be served: %s", strerrordesc_np(-r));
	}
	lock_acquire(&engine->remotes.lock);
	add_to_list(&engine->remotes, remote, socket);
	lock_release(&engine->remotes.lock);
	r = start_calls(engine, remote);
	if (r == 0)
		return 0;
	destroy(remote);
	return message_set(-r, "a process cannot be listened to: %s", strerrordesc_np(-r));
}

int remote_create(struct engine *engine, struct space *from, struct ranges *ret_ranges, int *ret_calls)
{
	const struct caller *stranger = from->pmap.far ? remote_stranger(remote_of(from->pmap.far)) : NULL;
	struct remote *remote;
	int pair[2] = {-1, -1};
	int r = stranger && is_full(&engine->remotes, stranger, 0) ? -EAGAIN : make(engine, from, stranger, &remote);

	if (r < 0)
		return message_set(-r, "no further process can be served: %s", strerrordesc_np(-r));
	remote->greeted = true;
	r = segments_repeat(engine, from, remote->space);
	if (r == 0)
		r = space_visit(remote->space, NULL, ADDRESSES_END, note_area, ret_ranges);
	if (r == 0)
		r = make_calls(engine, remote, pair);
	if (r == 0)
		r = start_calls(engine, remote);
	if (r < 0) {
		if (pair[1] >= 0)
			close(pair[1]);
		destroy(remote);
		return message_set(-r, "the child of a fork cannot be given its mappings: %s", strerrordesc_np(-r));
	}
	*ret_calls = pair[1];
	return 0;
}

void remotes_close_inherited(struct remotes *remotes)
{
	for (struct remote *remote = remotes->head; remote; remote = remote->next) {
		close(remote->calls.fd);
		if (remote->agent.fd >= 0)
			close(remote->agent.fd);
		if (remote->faults.fd >= 0)
			close(remote->faults.fd);
	}
}

void remotes_close(struct engine *engine)
{
	struct remote *remote, *next;

	for (remote = engine->remotes.head; remote; remote = next) {
		next = remote->next;
		(void)lose(remote);
		give_up(remote);
	}
	engine->remotes.head = NULL;
}
