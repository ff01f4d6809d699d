/* SPDX-License-Identifier: MIT */
/*
 * calls.c - calls of another process, made here by a thread of the engine
 *
 * A public call is made as if this thread were the other process's: entry_serve says which space it is about. What the call would
 * leave to the kernel is answered with not_ours, and done where it has to be done.
 */
#include <errno.h>
#include <quire/quire.h>
#include <quire/shm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coherent.h"
#include "engine.h"
#include "entry.h"
#include "fault/fault.h"
#include "remote/remote.h"
#include "shm.h"
#include "sys/page_size.h"

/* A request with all that came along, and room for what goes back. */
struct job {
	struct remote *remote;
	const struct call_request *request;
	int fd;    /* that the call is about; -1: none */
	void *in;  /* request->in_len bytes */
	void *out; /* request->out_len bytes */
	struct call_reply reply;
	int ret_fd;
	size_t out_len; /* of out, what is sent */
};

static void *pointer(int64_t arg)
{
	return (void *)(intptr_t)arg;
}

/* ---- what is not a public call ---- */

static int64_t fault(struct job *job)
{
	struct fault fault = {
	    .space = remote_space(job->remote), .addr = pointer(job->request->arg[0]), .write = job->request->arg[1] != 0};
	enum fault_result result = fault_resolve(&fault);
	struct error_callback callback;

	if (result == FAULT_BUS)
		fault_describe(&fault, pointer(job->request->arg[0]), 0, &job->reply.error, &callback);
	return result;
}

static int64_t may_access(struct job *job)
{
	struct space *space = remote_space(job->remote);
	struct area *area;
	int64_t r;

	rwlock_read_acquire(&space->cache->map_lock);
	area = space_find(space, pointer(job->request->arg[0]));
	r = (int64_t)(atomic_load_explicit(&space->edits, memory_order_relaxed) << 1) |
	    (area && (area->prot & (int)job->request->arg[1]) ? 1 : 0);
	rwlock_read_release(&space->cache->map_lock);
	return r;
}

static bool is_out(struct space *space, const char *addr)
{
	page_word *word;
	bool out;

	rwlock_read_acquire(&space->cache->map_lock);
	word = private_is_absent(space->private_pages, addr) ? NULL : private_word(space->private_pages, addr, NULL);
	out = word && page_state(page_load(word)) == PAGE_OUT;
	rwlock_read_release(&space->cache->map_lock);
	return out;
}

/* Only the engine's own process lends: a fork of another one pages out what it has, also what is locked, which has to be there. */
static int bring_back(void *arg, const struct part *part)
{
	struct space *space = arg;

	if (!part->locked || part->shared || part->prot == PROT_NONE)
		return 0;
	for (char *at = part->addr; at < part->addr + (part->pages << page_shift); at += page_size())
		if (is_out(space, at))
			(void)fault_populate(space, at, page_size(), FAULT_AS_LOCKED);
	return 0;
}

static int64_t fork_space(struct job *job)
{
	struct ranges ranges = {0};
	int r = remote_create(remote_engine(job->remote), remote_space(job->remote), &ranges, &job->ret_fd);
	size_t len = ranges.count * sizeof(*ranges.all);

	for (size_t done = 0; r == 0 && done < len;) {
		ssize_t n = pwrite(job->fd, (char *)ranges.all + done, len - done, (off_t)done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			r = message_set(n == 0 ? EIO : errno, "the child of a fork cannot be told of its mappings");
	}
	ranges_free(&ranges);
	(void)space_visit(remote_space(job->remote), NULL, ADDRESSES_END, bring_back, remote_space(job->remote));
	return r;
}

/* ---- public calls ---- */

static int64_t tell_maps(struct job *job)
{
	FILE *out;
	int r, fd = dup(job->fd);

	out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out && fd >= 0)
		close(fd);
	if (!out)
		return -1;
	r = quire_maps(out);
	return fclose(out) == 0 ? r : -1;
}

/* The file is written with no lock held: it may be one that does not answer. */
static int64_t tell_shm(struct job *job)
{
	char *text = NULL;
	size_t len = 0, done = 0;
	FILE *out = open_memstream(&text, &len);
	ssize_t n = 0;

	if (!out)
		return -1;
	shm_tell(remote_engine(job->remote), out);
	segments_tell(remote_engine(job->remote), out);
	if (fclose(out) != 0)
		n = -1;
	for (; n >= 0 && done<len; done += n> 0 ? (size_t)n : 0) {
		n = pwrite(job->fd, text + done, len - done, (off_t)done);
		n = n < 0 && errno == EINTR ? 0 : n;
	}
	free(text);
	return n < 0 ? -1 : 0;
}

static int64_t failed(ssize_t r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

/* The least room that the results of a call need. */
static size_t room_needed(const struct call_request *q)
{
	size_t rounded;

	switch (q->name) {
	case CALL_MINCORE:
		return entry_round(pointer(q->arg[0]), (size_t)q->arg[1], &rounded) ? rounded >> page_shift : 0;
	case CALL_SHMCTL:
		return q->arg[1] == IPC_RMID ? 0 : sizeof(struct shmid_ds);
	case CALL_EPOCH:
		return sizeof(uint64_t);
	case CALL_AREA_STATS:
		return sizeof(struct quire_area_stats);
	default:
		return 0;
	}
}

/* Whether the room that comes with a call is enough for it, and a name has its end. */
static int check_form(const struct job *job)
{
	const struct call_request *q = job->request;
	bool named = q->name == CALL_SHM_OPEN || q->name == CALL_SHM_UNLINK;

	if (q->out_len >= room_needed(q) && (!named || (q->in_len > 0 && memchr(job->in, 0, q->in_len))))
		return 0;
	return message_set(EPROTO, "the call is malformed");
}

/* What a stranger may not: change what others have, have something opened for it, or have this thread wait for its own reader. */
static int check_stranger(const struct job *job)
{
	const struct call_request *q = job->request;
	struct stat st;

	switch (q->name) {
	case CALL_SET_MEMORY:
		return message_set(EPERM, "the memory budget is the server's: quire serve --memory sets it");
	case CALL_FILE_READ:
	case CALL_FILE_WROTE:
	case CALL_FILE_FLUSH:
	case CALL_FILE_CHANGED:
	case CALL_FILE_ZEROED:
		return message_set(EOPNOTSUPP, "a program under quire run has an engine of its own");
	case CALL_MAPS:
	case CALL_SHM_LIST:
		if (fstat(job->fd, &st) == 0 && S_ISREG(st.st_mode))
			return 0;
		return message_set(EPROTO, "what is mapped is told in a file only");
	default:
		return 0;
	}
}

/* The result as the call gives it: what is below 0 is -1, and errno is set. */
static int64_t make(struct job *job)
{
	const struct call_request *q = job->request;
	const int64_t *arg = q->arg;
	int n = (int)(q->out_len / sizeof(struct iovec)), n_in = (int)(q->in_len / sizeof(struct iovec)), r;

	switch (q->name) {
	case CALL_MMAP:
		return (int64_t)(intptr_t)quire_mmap(pointer(arg[0]), (size_t)arg[1], (int)arg[2], (int)arg[3], job->fd,
						     (off_t)arg[5]);
	case CALL_MUNMAP:
		return quire_munmap(pointer(arg[0]), (size_t)arg[1]);
	case CALL_MREMAP:
		return (int64_t)(intptr_t)quire_mremap(pointer(arg[0]), (size_t)arg[1], (size_t)arg[2], (int)arg[3],
						       pointer(arg[4]));
	case CALL_MPROTECT:
		return quire_mprotect(pointer(arg[0]), (size_t)arg[1], (int)arg[2]);
	case CALL_MSYNC:
		return quire_msync(pointer(arg[0]), (size_t)arg[1], (int)arg[2]);
	case CALL_MADVISE:
		return quire_madvise(pointer(arg[0]), (size_t)arg[1], (int)arg[2]);
	case CALL_POSIX_MADVISE:
		errno = quire_posix_madvise(pointer(arg[0]), (size_t)arg[1], (int)arg[2]);
		return errno ? -1 : 0;
	case CALL_MINHERIT:
		return quire_minherit(pointer(arg[0]), (size_t)arg[1], (int)arg[2]);
	case CALL_MINCORE:
		return quire_mincore(pointer(arg[0]), (size_t)arg[1], job->out);
	case CALL_MLOCK:
		return quire_mlock2(pointer(arg[0]), (size_t)arg[1], (unsigned)arg[2]);
	case CALL_MUNLOCK:
		return quire_munlock(pointer(arg[0]), (size_t)arg[1]);
	case CALL_MLOCKALL:
		return quire_mlockall((int)arg[0]);
	case CALL_MUNLOCKALL:
		return quire_munlockall();
	case CALL_FTRUNCATE:
		return quire_ftruncate(job->fd, (off_t)arg[0]);
	case CALL_SHM_OPEN:
		return job->ret_fd = quire_shm_open(job->in, (int)arg[0], (mode_t)arg[1]);
	case CALL_SHM_UNLINK:
		return quire_shm_unlink(job->in);
	case CALL_SHMGET:
		return quire_shmget((key_t)arg[0], (size_t)arg[1], (int)arg[2]);
	case CALL_SHMAT:
		return (int64_t)(intptr_t)quire_shmat((int)arg[0], pointer(arg[1]), (int)arg[2]);
	case CALL_SHMDT:
		return quire_shmdt(pointer(arg[0]));
	case CALL_SHMCTL:
		memcpy(job->out, job->in, q->in_len < q->out_len ? q->in_len : q->out_len);
		return quire_shmctl((int)arg[0], (int)arg[1], q->out_len ? job->out : NULL);
	case CALL_RESIDENT:
		return quire_resident(pointer(arg[0]), (size_t)arg[1]);
	case CALL_PREFETCH:
		return quire_prefetch(job->in, n_in, job->fd);
	case CALL_DIRTY:
		return quire_dirty(pointer(arg[0]), (size_t)arg[1], job->out, n);
	case CALL_WRITTEN:
		return quire_written(pointer(arg[0]), (size_t)arg[1], (uint64_t)arg[2], job->out, n);
	case CALL_EPOCH:
		return quire_epoch(pointer(arg[0]), (size_t)arg[1], job->out);
	case CALL_SET_MEMORY:
		return quire_set_memory((size_t)arg[0]);
	case CALL_STATS:
		return quire_stats_get(job->out, q->out_len);
	case CALL_AREA_STATS:
		return quire_area_stats_get(pointer(arg[0]), job->out);
	case CALL_MAPS:
		return tell_maps(job);
	case CALL_SHM_LIST:
		return tell_shm(job);
	case CALL_FILE_READ:
		return failed(coherent_read(job->fd, job->out, q->out_len, (off_t)arg[0]));
	case CALL_FILE_WROTE:
		r = coherent_wrote(job->fd, job->in, q->in_len, (off_t)arg[0], 0);
		return failed(r < 0 ? r : (ssize_t)q->in_len);
	case CALL_FILE_FLUSH:
		return failed(job->fd < 0 ? coherent_flush_all() : coherent_flush(job->fd, (off_t)arg[0], (off_t)arg[1]));
	case CALL_FILE_CHANGED:
		if (job->fd < 0 && arg[0])
			(void)coherent_changed_all();
		else if (job->fd < 0)
			coherent_look();
		if (job->fd < 0)
			return 0;
		return failed(coherent_changed(job->fd, (off_t)arg[0], (off_t)arg[1]));
	case CALL_FILE_ZEROED:
		return failed(arg[1] > 0 ? coherent_zeroed(job->fd, (off_t)arg[0], (off_t)arg[1], 0) : -EINVAL);
	case CALL_COMMIT:
		return quire_commit(job->in, n_in, (int)arg[0]);
	case CALL_COMMIT_BEGIN:
		return quire_commit_begin(job->in, n_in, job->fd);
	case CALL_COMMIT_WAIT:
		return quire_commit_wait(arg[0]);
	case CALL_ROLLBACK:
		return quire_rollback(pointer(arg[0]), (size_t)arg[1]);
	case CALL_CHECKPOINT:
		return quire_checkpoint(job->fd);
	default:
		errno = EPROTO;
		return -1;
	}
}

/* The kernel tells who has made the socket for the reply, which was done for this call. */
static struct caller who_asks(int reply)
{
	struct ucred peer = {.uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t len = sizeof(peer);

	(void)getsockopt(reply, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	return (struct caller){peer.pid, peer.uid, peer.gid};
}

/* What has failed, and why. A descriptor is named by the number that it has in the caller, not by that which it got here. */
static void tell_failure(struct job *job)
{
	const char *detail = message_detail(), *found = NULL;
	char ours[32];
	int len = snprintf(ours, sizeof(ours), "descriptor %d", job->fd);

	if (job->fd >= 0)
		found = strstr(detail, ours);
	if (found && found[len] >= '0' && found[len] <= '9')
		found = NULL;
	if (found)
		snprintf(job->reply.detail, sizeof(job->reply.detail), "%.*sdescriptor %d%s", (int)(found - detail), detail,
			 (int)job->request->arg[4], found + len);
	else
		snprintf(job->reply.detail, sizeof(job->reply.detail), "%s", detail);
}

static void make_public(struct job *job, int reply)
{
	const struct caller *stranger = remote_stranger(job->remote);
	struct caller caller = who_asks(reply);
	int r;

	message_clear();
	/* It may send the socket of another. Who it is was seen when it connected; and what root has become since has fewer rights. */
	if (stranger && stranger->uid != 0) {
		caller.uid = stranger->uid;
		caller.gid = stranger->gid;
	}
	entry_serve(remote_space(job->remote), &caller);
	r = check_form(job);
	if (r == 0 && stranger)
		r = check_stranger(job);
	errno = -r;
	job->reply.result = r < 0 ? -1 : make(job);
	job->reply.not_ours = entry_was_left();
	entry_serve(NULL, NULL);
	if (job->reply.result == -1) {
		job->reply.result = errno ? -errno : -EIO;
		tell_failure(job);
	}
}

static void run(struct job *job, struct channel_message *message)
{
	bool whole;

	switch (job->request->name) {
	case CALL_ATTACH:
		/* All that comes along is used up: nothing may lie apart in what would be one of the three. */
		whole = message->n_fds == 4 && !job->request->apart;
		job->reply.result = whole ? remote_attach(job->remote, message->fds[1], message->fds[2], message->fds[3], job->in,
							  job->request->in_len / sizeof(struct address_range))
					  : -EPROTO;
		if (whole)
			message->n_fds = 1;
		break;
	case CALL_FORK:
		job->reply.result = fork_space(job);
		break;
	case CALL_FAULT:
		job->reply.result = fault(job);
		break;
	case CALL_ACCESS:
		job->reply.result = may_access(job);
		break;
	default:
		make_public(job, message->fds[0]);
		return;
	}
	if (job->reply.result < 0)
		snprintf(job->reply.detail, sizeof(job->reply.detail), "%s", message_detail());
}

/* ---- the payload ---- */

/* A file that came along, in memory. 0 or -errno. */
static int open_payload(struct job *job, int file)
{
	bool much = job->request->in_len > CALL_APART_IN || job->request->out_len > CALL_APART;
	void *copy = much ? NULL : calloc(1, job->request->in_len + 1), *out = much ? NULL : calloc(1, job->request->out_len + 1);
	size_t done = 0;

	job->in = copy;
	job->out = out;
	if (!copy || !out)
		return -ENOMEM;
	while (done < job->request->in_len) {
		ssize_t n = pread(file, (char *)copy + done, job->request->in_len - done, (off_t)done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return n == 0 ? -EPROTO : -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Of the room that the caller has for results, what they take. */
static size_t used_room(const struct job *job)
{
	const struct call_request *q = job->request;
	size_t used;

	switch (q->name) {
	case CALL_DIRTY:
	case CALL_WRITTEN:
		used = (size_t)job->reply.result * sizeof(struct iovec);
		break;
	case CALL_FILE_READ:
		used = (size_t)job->reply.result;
		break;
	case CALL_STATS:
		used = sizeof(struct quire_stats);
		break;
	default:
		used = room_needed(q);
	}
	return used < q->out_len ? used : (size_t)q->out_len;
}

/* The rest of the file is what it was: nobody is to fill it from here with as much as he can say. */
static int return_payload(const struct job *job, int file)
{
	size_t used = used_room(job);

	for (size_t done = 0; done < used;) {
		ssize_t n = pwrite(file, (const char *)job->out + done, used - done, (off_t)done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return n == 0 ? -EIO : -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

void remote_answer(struct remote *remote, const struct call_request *request, struct channel_message *message)
{
	_Alignas(max_align_t) char room[CALL_INLINE];
	struct job job = {.remote = remote, .request = request, .fd = -1, .in = message->body, .out = room, .ret_fd = -1};
	struct channel_message reply = {.head = &job.reply, .head_len = sizeof(job.reply)};
	int file = request->apart && message->n_fds > 1 ? message->fds[message->n_fds - 1] : -1;
	int r = 0;

	if (message->n_fds > 1 + (unsigned)(file >= 0))
		job.fd = message->fds[1];
	if (message->n_fds == 0)
		return;
	if (file >= 0)
		r = open_payload(&job, file);
	else if (request->in_len > message->body_len || request->out_len > sizeof(room))
		r = -EPROTO;
	else
		memset(room, 0, request->out_len);
	if (r == 0)
		run(&job, message);
	else
		job.reply.result = r;
	if (file >= 0 && r == 0 && job.reply.result >= 0 && (r = return_payload(&job, file)) < 0)
		job.reply.result = r;
	if (file < 0 && job.reply.result >= 0) {
		reply.body = room;
		reply.body_len = request->out_len;
	}
	if (job.ret_fd >= 0)
		reply.fds[reply.n_fds++] = job.ret_fd;
	/* It has asked for nothing else by it, so that there is room. */
	(void)channel_try_send(message->fds[0], &reply);
	if (job.ret_fd >= 0)
		close(job.ret_fd);
	if (file >= 0) {
		free(job.in);
		free(job.out);
	}
	while (message->n_fds > 0)
		close(message->fds[--message->n_fds]);
}
