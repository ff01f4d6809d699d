/* SPDX-License-Identifier: MIT */
/*
 * user.c - the pager of the program's own: its operations run on threads that are made for it
 *
 * What the engine wants of the program is a task: a transfer, or one of the other operations. Tasks wait in a queue of the pager;
 * its threads take them from there and call the operations, with no lock held. Nothing is allocated on the way, since a task may come
 * from a fault: a transfer lies in one of a fixed number of slots, any other task on the stack of the thread that waits for it.
 *
 *      submit, run ──▶ slot ──▶ queue ──▶ thread ──▶ read, write ─ ─ ─▶ complete ──▶ done
 *                                                └▶ fault, page by page ───────────▶ done
 *      size, sync, resize … ──▶ queue ──▶ thread ──▶ the operation ──▶ wakes who waits
 *
 * The program holds no pointer to a slot but a number, which says the pager, how often the slot was used, and the slot. So what is
 * ended twice, or after its pager was closed, is found out.
 *
 * The last of the threads calls `close`.
 */
#include "pager/user.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sys/page_size.h"
#include "sys/thread.h"
#include "util/assert.h"
#include "util/fail.h"
#include "util/message.h"

#define THREADS_MOST  64
#define DEPTH_DEFAULT 4
#define DEPTH_MOST    64
#define SIZE_DEFAULT  65536u
#define SIZE_MOST     524288u
#define ERRNO_MOST    4095

/* The number of a request: pager, use, slot. */
#define SLOT_BITS 8
#define USE_BITS  24

enum task_kind { TASK_TRANSFER, TASK_SIZE, TASK_SYNC, TASK_RESIZE, TASK_DISCARD, TASK_POPULATE };

struct task {
	struct task *next;
	enum task_kind kind;
	uint64_t offset, bytes; /* arguments */
	void *memory;
	int ret_error; /* 0 or -errno */
	uint64_t ret_bytes;
	_Atomic uint32_t ended; /* futex */
};

/* Guarded by the pager's lock, except what is shown, which the program reads while the slot is handed out. */
struct slot {
	struct task task;
	struct slot *next; /* free */
	struct pager_request *request;
	struct quire_pager_request shown;
	_Atomic uint32_t *ended; /* of who waits; NULL: nobody */
	uint32_t use;
	bool handed; /* to the program, or to the thread that fills it */
};

struct user_pager {
	struct pager base;
	struct user_pager *next; /* [all->lock] */
	struct user_pagers *all;
	struct quire_pager_ops ops;
	void *arg;
	struct pager *below; /* populate: where the pages are */
	uint32_t number;
	_Atomic uint64_t bytes; /* the size that is known */

	struct lock lock;
	struct task *head, *tail; /* [lock] */
	struct slot *free;        /* [lock] */
	unsigned under_way;       /* [lock] transfers that the program has */
	unsigned alive;           /* [lock] threads */
	bool closing, opened;     /* [lock] */
	_Atomic uint32_t word;    /* futex: changes when there is something to do */
	unsigned transfers;
	struct slot slots[];
};

/* The pager whose operation this thread is in. */
static __thread struct user_pager *serving;

static struct user_pager *user_of(struct pager *pager)
{
	return (struct user_pager *)pager;
}

/* What the program says an error is: 0 or -errno. */
static int error_of(int answer)
{
	if (answer == 0)
		return 0;
	if (answer < -ERRNO_MOST || answer > ERRNO_MOST)
		return -EIO;
	return answer < 0 ? answer : -answer;
}

/* ---- tasks ---- */

static void wake_threads(struct user_pager *user)
{
	atomic_fetch_add(&user->word, 1);
	futex_wake_all(&user->word);
}

static void push_locked(struct user_pager *user, struct task *task)
{
	task->next = NULL;
	if (user->tail)
		user->tail->next = task;
	else
		user->head = task;
	user->tail = task;
}

/* The first that may be begun now; NULL: none. Transfers wait while the program has as many as it takes. */
static struct task *pop_locked(struct user_pager *user)
{
	struct task *before = NULL, *task;

	for (task = user->head; task; before = task, task = task->next)
		if (task->kind != TASK_TRANSFER || user->under_way < user->ops.depth)
			break;
	if (!task)
		return NULL;
	*(before ? &before->next : &user->head) = task->next;
	if (user->tail == task)
		user->tail = before;
	return task;
}

/* What the only thread would wait for is what it is in the middle of. */
static bool would_wait_for_itself(const struct user_pager *user)
{
	return serving == user && user->ops.threads == 1;
}

static void wait_for(_Atomic uint32_t *ended)
{
	while (atomic_load_explicit(ended, memory_order_acquire) == 0)
		futex_wait(ended, 0, NULL);
}

static void end(_Atomic uint32_t *ended)
{
	/* Who waits may be gone as soon as he sees it: nothing is touched but the address. */
	atomic_store_explicit(ended, 1, memory_order_release);
	futex_wake_all(ended);
}

/* 0 or -errno. */
static int do_task(struct user_pager *user, struct task *task)
{
	if (would_wait_for_itself(user))
		return -EDEADLK;
	lock_acquire(&user->lock);
	push_locked(user, task);
	lock_release(&user->lock);
	wake_threads(user);
	wait_for(&task->ended);
	return task->ret_error;
}

/* ---- transfers ---- */

static void fail(struct pager_request *request, int error)
{
	request->ret_error = error;
	request->ret_bytes = 0;
	request->done(request);
}

static void begin(struct user_pager *user, struct pager_request *request, _Atomic uint32_t *ended)
{
	struct slot *slot;

	lock_acquire(&user->lock);
	slot = user->free;
	ASSERT(slot);
	user->free = slot->next;
	slot->request = request;
	slot->ended = ended;
	slot->handed = false;
	slot->task.kind = TASK_TRANSFER;
	push_locked(user, &slot->task);
	lock_release(&user->lock);
	wake_threads(user);
}

static bool is_refused(const struct pager_request *request)
{
	return fail_now(request->op == PAGER_WRITE ? FAIL_WRITE : FAIL_READ);
}

static void user_submit(struct pager *pager, struct pager_request *request)
{
	struct user_pager *user = user_of(pager);

	if (is_refused(request))
		fail(request, EIO);
	else if (user->below)
		user->below->ops->submit(user->below, request);
	else if (request->op == PAGER_WRITE && !user->ops.write)
		fail(request, EBADF);
	else
		begin(user, request, NULL);
}

static void user_run(struct pager *pager, struct pager_request *request)
{
	struct user_pager *user = user_of(pager);
	_Atomic uint32_t ended = 0;

	if (is_refused(request)) {
		fail(request, EIO);
	} else if (user->below) {
		user->below->ops->run(user->below, request);
	} else if (request->op == PAGER_WRITE && !user->ops.write) {
		fail(request, EBADF);
	} else if (would_wait_for_itself(user)) {
		fail(request, EDEADLK);
	} else {
		begin(user, request, &ended);
		wait_for(&ended);
	}
}

/* How much of a read has to be there: up to the end of the object. */
static size_t due(struct user_pager *user, const struct pager_request *request)
{
	uint64_t size = atomic_load(&user->bytes);

	if (request->op == PAGER_WRITE || request->offset + request->len <= size)
		return request->len;
	return request->offset < size ? (size_t)(size - request->offset) : 0;
}

/* Lock held; takes it out of the program's hands. */
static struct pager_request *take_back_locked(struct user_pager *user, struct slot *slot, _Atomic uint32_t **ret_ended)
{
	struct pager_request *request = slot->request;

	*ret_ended = slot->ended;
	user->under_way -= slot->handed;
	slot->handed = false;
	slot->request = NULL;
	slot->use++;
	slot->next = user->free;
	user->free = slot;
	return request;
}

/* The slot was given back, and the pager may be gone when this returns. */
static void finish(struct pager_request *request, _Atomic uint32_t *ended, int error, size_t bytes)
{
	request->ret_error = -error;
	request->ret_bytes = error ? 0 : bytes;
	request->done(request);
	if (ended)
		end(ended);
}

/* On the pager's thread: page by page. */
static void fill_pages(struct user_pager *user, struct slot *slot)
{
	struct pager_request *request = slot->request;
	_Atomic uint32_t *ended;
	size_t bytes = due(user, request);
	int r = 0;

	for (size_t at = 0; at < bytes && r == 0; at += page_size())
		r = error_of(user->ops.fault(user->arg, request->offset + at, (char *)request->buf + at));
	lock_acquire(&user->lock);
	request = take_back_locked(user, slot, &ended);
	lock_release(&user->lock);
	wake_threads(user);
	finish(request, ended, r, bytes);
}

/* From here on it is the program's, under a number of its own. */
static void hand_locked(struct user_pager *user, struct slot *slot)
{
	const struct pager_request *request = slot->request;
	size_t len = request->len, align = user->ops.align;

	user->under_way++;
	slot->handed = true;
	slot->shown = (struct quire_pager_request){
	    .id = (uint64_t)user->number << (USE_BITS + SLOT_BITS) | (uint64_t)(slot->use & ((1u << USE_BITS) - 1)) << SLOT_BITS |
		  (uint64_t)(slot - user->slots),
	    .op = request->op == PAGER_READ ? QUIRE_PAGER_READ : QUIRE_PAGER_WRITE,
	    .offset = request->offset,
	    .len = request->op == PAGER_READ ? len : (len + align - 1) / align * align,
	    .buf = request->buf,
	};
}

static void hand_over(struct user_pager *user, struct slot *slot)
{
	const struct pager_request *request = slot->request;
	size_t len = request->len;

	/* The buffer has whole pages. */
	if (request->op == PAGER_WRITE)
		memset((char *)request->buf + len, 0, slot->shown.len - len);
	if (request->op == PAGER_READ)
		user->ops.read(user->arg, &slot->shown);
	else
		user->ops.write(user->arg, &slot->shown);
}

static int check_answer(const struct slot *slot, size_t due_bytes, size_t bytes)
{
	const struct quire_pager_request *shown = &slot->shown;
	const char *op = shown->op == QUIRE_PAGER_READ ? "read" : "write";

	if (bytes > shown->len)
		return message_set(EINVAL,
				   "the %s of %zu bytes at %llu was completed with %zu, which is more; it has failed with EIO", op,
				   shown->len, (unsigned long long)shown->offset, bytes);
	if (bytes < due_bytes)
		return message_set(EINVAL,
				   "the %s of %zu bytes at %llu was completed with %zu, and %zu are due; it has failed with EIO",
				   op, shown->len, (unsigned long long)shown->offset, bytes, due_bytes);
	return 0;
}

static struct user_pager *find_locked(struct user_pagers *all, uint32_t number)
{
	struct user_pager *user = all->head;

	while (user && user->number != number)
		user = user->next;
	return user;
}

int user_pager_complete(struct user_pagers *all, uint64_t id, int error, size_t bytes)
{
	unsigned index = (unsigned)(id & ((1u << SLOT_BITS) - 1));
	struct pager_request *request = NULL;
	_Atomic uint32_t *ended = NULL;
	struct user_pager *user;
	size_t due_bytes = 0;
	int r = 0;

	error = error_of(error);
	lock_acquire(&all->lock);
	user = find_locked(all, (uint32_t)(id >> (USE_BITS + SLOT_BITS)));
	if (user && index < user->transfers) {
		struct slot *slot = &user->slots[index];

		lock_acquire(&user->lock);
		if (slot->handed && slot->shown.id == id && !user->ops.fault) {
			due_bytes = due(user, slot->request);
			r = error ? 0 : check_answer(slot, due_bytes, bytes);
			request = take_back_locked(user, slot, &ended);
		}
		lock_release(&user->lock);
		if (request)
			wake_threads(user);
	}
	lock_release(&all->lock);
	if (!request)
		return message_set(ESTALE, "no transfer %#llx is under way: it was completed before, or its pager is closed",
				   (unsigned long long)id);
	finish(request, ended, r < 0 ? -EIO : error, due_bytes);
	return r;
}

/* ---- the threads ---- */

static int call(struct user_pager *user, struct task *task)
{
	const struct quire_pager_ops *ops = &user->ops;

	switch (task->kind) {
	case TASK_SIZE:
		return ops->size(user->arg, &task->ret_bytes);
	case TASK_SYNC:
		return ops->sync(user->arg);
	case TASK_RESIZE:
		return ops->resize(user->arg, task->bytes);
	case TASK_DISCARD:
		return ops->discard(user->arg, task->offset, task->bytes);
	case TASK_POPULATE:
		return ops->populate(user->arg, task->memory, (size_t)task->bytes);
	default:
		return EIO;
	}
}

static void serve(struct user_pager *user, struct task *task)
{
	struct slot *slot = (struct slot *)task;

	if (task->kind != TASK_TRANSFER) {
		task->ret_error = error_of(call(user, task));
		end(&task->ended);
	} else if (user->ops.fault) {
		fill_pages(user, slot);
	} else {
		hand_over(user, slot);
	}
}

static void user_free(struct user_pager *user)
{
	struct user_pager **at;

	lock_acquire(&user->all->lock);
	for (at = &user->all->head; *at != user; at = &(*at)->next)
		;
	*at = user->next;
	lock_release(&user->all->lock);
	if (user->below)
		user->below->ops->close(user->below);
	free(user);
}

/* Signals that an instruction raises: an operation may touch managed memory. */
static void unblock_faults(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGBUS);
	sigaddset(&set, SIGFPE);
	sigaddset(&set, SIGILL);
	sigaddset(&set, SIGTRAP);
	sigaddset(&set, SIGABRT);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void *user_main(void *arg)
{
	struct user_pager *user = arg;
	bool last;

	unblock_faults();
	serving = user;
	lock_acquire(&user->lock);
	for (;;) {
		uint32_t seen = atomic_load(&user->word);
		struct task *task = pop_locked(user);

		if (task && task->kind == TASK_TRANSFER)
			hand_locked(user, (struct slot *)task);
		if (!task && user->closing)
			break;
		lock_release(&user->lock);
		if (task)
			serve(user, task);
		else
			futex_wait(&user->word, seen, NULL);
		lock_acquire(&user->lock);
	}
	last = --user->alive == 0;
	lock_release(&user->lock);
	if (!last)
		return NULL;
	if (user->opened && user->ops.close)
		user->ops.close(user->arg);
	user_free(user);
	return NULL;
}

/* ---- the rest of the operations ---- */

static int user_size(struct pager *pager, uint64_t *ret_bytes)
{
	*ret_bytes = atomic_load(&user_of(pager)->bytes);
	return 0;
}

static int user_sync(struct pager *pager)
{
	struct user_pager *user = user_of(pager);
	struct task task = {.kind = TASK_SYNC};

	if (fail_now(FAIL_SYNC))
		return -EIO;
	return user->ops.sync ? do_task(user, &task) : 0;
}

static int user_resize(struct pager *pager, uint64_t bytes)
{
	struct user_pager *user = user_of(pager);
	struct task task = {.kind = TASK_RESIZE, .bytes = bytes};
	int r = user->ops.resize ? do_task(user, &task) : -EPERM;

	if (r == 0)
		atomic_store(&user->bytes, bytes);
	return r;
}

static int user_discard(struct pager *pager, uint64_t offset, uint64_t len)
{
	struct user_pager *user = user_of(pager);
	struct task task = {.kind = TASK_DISCARD, .offset = offset, .bytes = len};

	if (user->below)
		return user->below->ops->discard(user->below, offset, len);
	return user->ops.discard ? do_task(user, &task) : -EOPNOTSUPP;
}

static void user_close(struct pager *pager)
{
	struct user_pager *user = user_of(pager);

	lock_acquire(&user->lock);
	user->closing = true;
	/* Under the lock: the last thread frees it. */
	wake_threads(user);
	lock_release(&user->lock);
}

static const struct pager_ops user_ops = {
    .name = "user",
    .size = user_size,
    .run = user_run,
    .submit = user_submit,
    .sync = user_sync,
    .resize = user_resize,
    .discard = user_discard,
    .close = user_close,
};

int user_pager_ask_size(struct pager *pager, uint64_t *ret_bytes)
{
	struct user_pager *user = user_of(pager);
	struct task task = {.kind = TASK_SIZE};
	int r = do_task(user, &task);

	if (r < 0)
		return r;
	if (pages_of(task.ret_bytes) > (uint64_t)INT64_MAX >> page_shift)
		return -EFBIG;
	*ret_bytes = task.ret_bytes;
	atomic_store(&user->bytes, task.ret_bytes);
	return 0;
}

int user_pager_populate(struct pager *pager, void *memory, size_t len)
{
	struct task task = {.kind = TASK_POPULATE, .memory = memory, .bytes = len};

	return do_task(user_of(pager), &task);
}

/* ---- making one ---- */

static int check_values(const struct quire_pager_ops *ops)
{
	if (ops->align & (ops->align - 1) || ops->align > page_size())
		return message_set(EINVAL, "the field align is %zu; it has to be a power of two, and at most a page, %zu",
				   ops->align, page_size());
	if (ops->best_size > SIZE_MOST)
		return message_set(EINVAL, "the field best_size is %zu; it may be %u at most", ops->best_size, SIZE_MOST);
	if (ops->depth > DEPTH_MOST || ops->threads > THREADS_MOST)
		return message_set(EINVAL, "the fields depth, %u, and threads, %u, may be %d at most", ops->depth, ops->threads,
				   DEPTH_MOST);
	return 0;
}

int user_pager_check(const struct quire_pager_ops *ops, struct quire_pager_ops *ret)
{
	struct quire_pager_ops copy = {0};
	int ways, r;

	if (!ops || ops->ops_size < offsetof(struct quire_pager_ops, size) || ops->ops_size > 4096)
		return message_set(EINVAL, "the field ops_size is %zu; it has to be sizeof(struct quire_pager_ops)",
				   ops ? ops->ops_size : 0);
	memcpy(&copy, ops, ops->ops_size < sizeof(copy) ? ops->ops_size : sizeof(copy));
	if (!copy.size)
		return message_set(EINVAL, "the pager has no operation `size`");
	ways = (copy.read != NULL) + (copy.fault != NULL) + (copy.populate != NULL);
	if (ways != 1)
		return message_set(EINVAL, "the pager has %s of the operations `read`, `fault` and `populate`; it has to have one",
				   ways == 0 ? "none" : "more than one");
	if (copy.populate && (copy.write || copy.sync || copy.resize || copy.discard))
		return message_set(EINVAL, "a pager with `populate` is memory, and has no `write`, `sync`, `resize` or `discard`");
	r = check_values(&copy);
	if (r < 0)
		return r;
	copy.name = copy.name ? copy.name : "pager";
	copy.align = copy.align ? copy.align : 1;
	copy.best_size = copy.best_size ? copy.best_size : SIZE_DEFAULT;
	copy.threads = copy.threads ? copy.threads : 1;
	copy.depth = copy.depth ? copy.depth : copy.threads > DEPTH_DEFAULT ? copy.threads : DEPTH_DEFAULT;
	*ret = copy;
	return 0;
}

static struct user_pager *user_new(struct user_pagers *all, const struct quire_pager_ops *ops, void *arg, unsigned transfers)
{
	struct user_pager *user = fail_now(FAIL_ALLOC) ? NULL : calloc(1, sizeof(*user) + transfers * sizeof(struct slot));

	if (!user)
		return NULL;
	user->base.ops = &user_ops;
	user->base.align_bytes = page_size();
	user->base.steady = true;
	user->base.on_demand = ops->fault != NULL;
	user->ops = *ops;
	user->arg = arg;
	user->all = all;
	user->transfers = transfers;
	for (unsigned i = transfers; i-- > 0;) {
		user->slots[i].next = user->free;
		user->free = &user->slots[i];
	}
	lock_acquire(&all->lock);
	user->number = ++all->last_number;
	user->next = all->head;
	all->head = user;
	lock_release(&all->lock);
	return user;
}

int user_pager_open(struct user_pagers *all, const struct quire_pager_ops *ops, void *arg, unsigned transfers, struct pager *below,
		    struct pager **ret)
{
	struct user_pager *user = user_new(all, ops, arg, transfers);
	pthread_t thread;
	int r = 0;

	INVARIANT(transfers <= 1u << SLOT_BITS);
	if (!user) {
		if (below)
			below->ops->close(below);
		return -ENOMEM;
	}
	user->below = below;
	for (unsigned i = 0; i < ops->threads && r == 0; i++) {
		lock_acquire(&user->lock);
		user->alive++;
		lock_release(&user->lock);
		r = thread_start_roomy(&thread, "quire-pager", user_main, user);
		if (r == 0)
			pthread_detach(thread);
	}
	if (r < 0) {
		bool none;

		lock_acquire(&user->lock);
		none = --user->alive == 0;
		lock_release(&user->lock);
		if (none)
			user_free(user);
		else
			user_close(&user->base);
		return r;
	}
	*ret = &user->base;
	return 0;
}

void user_pager_opened(struct pager *pager)
{
	struct user_pager *user = user_of(pager);

	lock_acquire(&user->lock);
	user->opened = true;
	lock_release(&user->lock);
}
