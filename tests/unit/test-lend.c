/* SPDX-License-Identifier: MIT */
/*
 * test-lend.c - private pages of several processes: lent at a fork, and shared in the swap object
 *
 * The children are real processes, which do what they are told over a channel; their faults and the lender's are resolved by the test.
 * There are no daemons: nothing moves but what the test moves.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fault/fault.h"
#include "object/lend.h"
#include "rig.h"
#include "space/inherit.h"
#include "sys/channel.h"
#include "sys/memory.h"

#define LIMIT      4096
#define PAGES      24 /* of the mapping, which spans two chunks of words */
#define FIRST      12 /* of them in the first chunk */
#define PROCESSES  5
#define TRIES      50
#define READ_MOST  8 /* pages in one message */
#define SWAP_BYTES (1ull << 30)

/* ---- processes ---- */

enum order { ORDER_OP, ORDER_READ, ORDER_LOAD, ORDER_STORE, ORDER_UFFD };

struct command {
	enum order order;
	struct memory_op op; /* OP */
	char *addr;
	size_t len;
	int value; /* STORE: the byte; UFFD: the source */
};

struct process {
	struct far far; /* first */
	struct space *space;
	pid_t pid; /* 0: this one */
	int channel;
};

static struct process processes[PROCESSES];
static struct process *const own = &processes[0];
static enum uffd_source source;
static char *base;
static char *swap_bytes, *rig_bytes;

static void answer(int channel, const struct command *command)
{
	static char bytes[READ_MOST << 16];
	long result = 0;
	struct channel_message reply = {.head = &result, .head_len = sizeof(result)};

	switch (command->order) {
	case ORDER_OP:
		result = memory_do(&command->op);
		break;
	case ORDER_READ:
		result = memory_read(command->addr, command->len, bytes);
		reply.body = bytes;
		reply.body_len = command->len;
		break;
	case ORDER_LOAD:
		result = load_byte(command->addr);
		break;
	case ORDER_STORE:
		result = store_byte(command->addr, command->value);
		break;
	case ORDER_UFFD:
		result = uffd_open((enum uffd_source)command->value, true, false, &reply.fds[0]);
		reply.n_fds = result == 0;
		break;
	}
	if (channel_send(channel, &reply) < 0)
		_exit(1);
}

static _Noreturn void serve(int channel)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	guard();
	for (;;) {
		struct command command;
		struct channel_message message = {.head = &command, .head_len = sizeof(command)};

		if (channel_receive(channel, &message) < 0)
			_exit(0);
		answer(channel, &command);
	}
}

/* One at a time: several threads may have something to be done by one child. */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;

static long ask_fd(struct process *p, struct command command, void *ret, int *ret_fd)
{
	long result = 0;
	struct channel_message message = {.head = &command, .head_len = sizeof(command)};
	struct channel_message reply = {.head = &result, .head_len = sizeof(result), .body = ret, .body_len = command.len};
	int r;

	pthread_mutex_lock(&asking);
	r = channel_send(p->channel, &message);
	if (r == 0)
		r = channel_receive(p->channel, &reply);
	pthread_mutex_unlock(&asking);
	if (r < 0)
		return -ESRCH;
	if (ret_fd)
		*ret_fd = reply.n_fds ? reply.fds[0] : -1;
	return result;
}

static long ask(struct process *p, struct command command)
{
	return ask_fd(p, command, NULL, NULL);
}

static long far_op(struct far *far, const struct memory_op *op)
{
	return ask((struct process *)far, (struct command){.order = ORDER_OP, .op = *op});
}

static int far_ops(struct far *far, const struct memory_op *ops, size_t n)
{
	long r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		r = far_op(far, &ops[i]);
	return r < 0 ? (int)r : 0;
}

static int far_read(struct far *far, const void *addr, size_t len, void *ret)
{
	int r = 0;

	for (size_t done = 0; done < len && r == 0;) {
		size_t n = len - done < READ_MOST * rig.page ? len - done : READ_MOST * rig.page;

		r = (int)ask_fd((struct process *)far,
				(struct command){.order = ORDER_READ, .addr = (char *)(uintptr_t)addr + done, .len = n},
				(char *)ret + done, NULL);
		done += n;
	}
	return r;
}

/* A touch by the process itself. -SIGBUS: a fault. */
static int touch_raw(struct process *p, char *addr, int value)
{
	if (p->pid)
		return (int)ask(p, (struct command){.order = value < 0 ? ORDER_LOAD : ORDER_STORE, .addr = addr, .value = value});
	return value < 0 ? load_byte(addr) : store_byte(addr, value);
}

/* … whose faults are resolved. value < 0: loads. The byte, or 0; -errno of the fault. */
static int touch(struct process *p, char *addr, int value)
{
	for (unsigned i = 0; i < TRIES; i++) {
		int r = touch_raw(p, addr, value);
		struct fault fault = {.space = p->space, .addr = addr, .write = value >= 0};

		if (r != -SIGBUS)
			return r;
		if (fault_resolve(&fault) != FAULT_DONE)
			return fault.ret_error ? -fault.ret_error : -EFAULT;
	}
	return -ELOOP;
}

static char *at(unsigned page)
{
	return base + page * rig.page;
}

static int get(struct process *p, unsigned page)
{
	return touch(p, at(page) + rig.page - 1, -1);
}

static int put(struct process *p, unsigned page, int value)
{
	return touch(p, at(page) + rig.page - 1, value);
}

static unsigned char byte_of(unsigned page)
{
	return (unsigned char)(page + 101);
}

static enum page_state state(struct process *p, unsigned page)
{
	page_word *word = private_word(p->space->private_pages, at(page), NULL);

	assert_non_null(word);
	return page_state(page_load(word));
}

static uint32_t slot(struct process *p, unsigned page)
{
	assert_int_equal(state(p, page), PAGE_OUT);
	return page_load(private_word(p->space->private_pages, at(page), NULL)) >> PAGE_OUT_BIT;
}

static void check_loans(void)
{
	rwlock_write_acquire(&rig.cache->map_lock);
	for (unsigned i = 0; i < PROCESSES; i++)
		if (processes[i].space)
			assert_true(lend_holds(processes[i].space->private_pages));
	rwlock_write_release(&rig.cache->map_lock);
}

/* ---- fork, and the end ---- */

static void start_process(struct process *p)
{
	int ends[2];

	assert_int_equal(channel_pair(ends), 0);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		close(ends[0]);
		serve(ends[1]);
	}
	close(ends[1]);
	p->channel = ends[0];
	p->far = (struct far){.op = far_op, .read = far_read, .ops = far_ops};
}

static void end_process(struct process *p)
{
	if (p->pid) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		close(p->channel);
	}
	p->pid = 0;
}

static void attach(struct process *p)
{
	int uffd = -1;

	assert_int_equal(ask_fd(p, (struct command){.order = ORDER_UFFD, .value = (int)source}, NULL, &uffd), 0);
	assert_true(uffd >= 0);
	pmap_attach(&p->space->pmap, uffd);
	assert_int_equal(space_attach(p->space), 0);
}

/* The next process, a child of p's. */
static struct process *child_of(struct process *p)
{
	struct process *child = own + 1;

	while (child->pid)
		child++;
	assert_true(child < processes + PROCESSES);
	start_process(child);
	assert_int_equal(space_fork(p->space, &child->far, &child->space), 0);
	attach(child);
	check_loans();
	return child;
}

static void end(struct process *p)
{
	end_process(p);
	if (p->space)
		space_vanish(p->space);
	p->space = NULL;
	check_loans();
}

/* ---- fixture ---- */

/* Writes the swap object and gives its frames up. */
static void evict_swap(void)
{
	for (struct chunk *chunk = table_next(&rig.object->table, 0); chunk;
	     chunk = table_next(&rig.object->table, chunk->first + CHUNK_PAGES)) {
		struct chunk_set set;

		memset(&set, 0xff, sizeof(set));
		while (chunk_dirty(chunk) > 0)
			object_write(rig.object, chunk->first, chunk->first + CHUNK_PAGES, true, NULL);
		object_evict(chunk, &set);
	}
}

/* What is still said to refer to the swap object. */
static uint64_t references(void)
{
	uint64_t found = 0;

	for (struct chunk *chunk = table_next(&rig.object->table, 0); chunk;
	     chunk = table_next(&rig.object->table, chunk->first + CHUNK_PAGES)) {
		struct shares *shares = atomic_load(&chunk->shares);

		found += atomic_load(&chunk->extent);
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			found += ((page_load(&chunk->page[i]) & PAGE_SLOT) != 0) + (shares ? atomic_load(&shares->more[i]) : 0u);
	}
	return found;
}

static int make(void **state)
{
	(void)state;
	base = NULL;
	memset(processes, 0, sizeof(processes));
	if (rig_make(LIMIT, OBJECT_SWAP, SWAP_BYTES) < 0)
		return -1;
	/* More than the rig has: each chunk of each space may have an extent of its own, and some that are abandoned. */
	swap_bytes = mmap(NULL, SWAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (swap_bytes == MAP_FAILED)
		return -1;
	memcpy(swap_bytes, storage.bytes, PAGES << page_shift);
	rig_bytes = storage.bytes;
	storage.bytes = swap_bytes;
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < FAIL_KINDS; kind++)
		fail_arm(kind, 0, false);
	for (struct process *p = own + 1; p < processes + PROCESSES; p++) {
		end_process(p);
		if (p->space)
			space_vanish(p->space);
	}
	space_destroy(own->space);
	registry_bury(&rig.registry);
	if (references() != 0) {
		print_error("%llu references to the swap object are left\n", (unsigned long long)references());
		return -1;
	}
	/* Beside what was read along from the swap, though nobody refers to it, there is nothing. */
	evict_swap();
	if (rig_frames() != 0)
		print_error("%llu frames are left\n", (unsigned long long)rig_frames());
	munmap(swap_bytes, SWAP_BYTES);
	storage.bytes = rig_bytes;
	return rig_frames() == 0 ? rig_end() : -1;
}

/* PAGES of private memory, of the object from its start on if there is one, across a border of chunks. */
static void map_at_border(struct object *object)
{
	size_t chunk = CHUNK_PAGES * rig.page;
	char *room = mmap(NULL, 3 * chunk, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *border = (char *)(((uintptr_t)room + 2 * chunk - 1) & ~(uintptr_t)(chunk - 1));
	struct mapping m = {.addr = border - FIRST * rig.page,
			    .len = PAGES * rig.page,
			    .prot = PROT_READ | PROT_WRITE,
			    .max_prot = PROT_READ | PROT_WRITE,
			    .fixed = true,
			    .object = object,
			    .anonymous = !object,
			    .huge_fd = -1};

	assert_ptr_not_equal(room, MAP_FAILED);
	munmap(room, 3 * chunk);
	assert_int_equal(space_map(own->space, &m, &base), 0);
}

static void start_space(void)
{
	source = source_or_skip(0);
	object_use(rig.object);
	assert_int_equal(space_create(&rig.registry, rig.cache, source, true, true, rig.object, &own->space), 0);
	guard();
}

/* Pages 0 … n of private memory have their bytes. */
static void start(unsigned n)
{
	start_space();
	map_at_border(NULL);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(put(own, i, byte_of(i)), 0);
	assert_int_equal(rig_frames(), n);
}

/* All of a space's private pages that may, as the policy would have it. */
static void page_out(struct process *p)
{
	struct object *words = p->space->private_pages->object;

	/* Often enough for those that proved useful. */
	for (unsigned i = 0; i < 4; i++)
		for (struct chunk *chunk = table_next(&words->table, 0); chunk;
		     chunk = table_next(&words->table, chunk->first + CHUNK_PAGES))
			private_page_out(p->space->private_pages, chunk, 0, CHUNK_PAGES);
}

static void check_bytes(struct process *p, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		assert_int_equal(get(p, i), byte_of(i));
}

static uint64_t faults(void)
{
	return atomic_load(&rig.cache->counters.write_faults);
}

/* ---- lending ---- */

static void a_fork_makes_no_frame_and_what_is_lent_is_copied_when_it_is_read(void **unused)
{
	struct process *child;

	(void)unused;
	start(20);
	child = child_of(own);
	assert_int_equal(rig_frames(), 20);
	assert_int_equal(lend_borrowed(child->space->private_pages), 20);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(state(own, i), PAGE_RESIDENT);
		assert_int_equal(state(child, i), PAGE_LENT);
	}
	assert_int_equal(state(child, 20), PAGE_ABSENT);
	check_bytes(child, 0, 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(state(child, i), PAGE_RESIDENT);
	assert_int_equal(rig_frames(), 40);
	assert_int_equal(get(child, 20), 0);
	check_bytes(own, 0, 20);
	check_loans();
	assert_int_equal(rig_frames(), 41);
}

static void those_behind_a_page_that_is_touched_come_along_while_there_is_room(void **unused)
{
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	assert_int_equal(space_discard_private(child->space, at(6), rig.page), 0);
	assert_int_equal(get(child, 2), byte_of(2));
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(state(child, i), i == 6 ? PAGE_ABSENT : i >= 2 && i < 6 ? PAGE_RESIDENT : PAGE_LENT);
	assert_int_equal(rig_frames(), PAGES + 4);
	/* All that is left is promised to others, but for one. */
	while (budget_try(rig.cache, 1))
		;
	budget_release(rig.cache, 1);
	assert_int_equal(get(child, 7), byte_of(7));
	assert_int_equal(state(child, 8), PAGE_LENT);
	assert_true(atomic_load(&rig.cache->used) <= LIMIT);
	budget_release(rig.cache, rig_frames() - PAGES - 5);
	check_bytes(child, 7, PAGES);
	check_bytes(own, 0, PAGES);
	check_loans();
}

static void a_store_of_the_child_is_its_own(void **unused)
{
	struct process *child;

	(void)unused;
	start(4);
	child = child_of(own);
	assert_int_equal(put(child, 3, 'c'), 0);
	assert_int_equal(rig_frames(), 5);
	assert_int_equal(get(child, 3), 'c');
	assert_int_equal(touch(child, at(3), -1), 0);
	check_bytes(own, 0, 4);
	/* Nobody borrows it any more: no copy is made. */
	assert_int_equal(put(own, 3, 'o'), 0);
	assert_int_equal(rig_frames(), 5);
	assert_int_equal(get(child, 3), 'c');
	assert_int_equal(get(own, 3), 'o');
	/* And it is not looked at again. */
	assert_int_equal(touch_raw(own, at(3), 'p'), 0);
}

static void a_store_of_the_lender_leaves_the_old_bytes_in_one_slot(void **unused)
{
	struct process *one, *two;

	(void)unused;
	start(4);
	one = child_of(own);
	two = child_of(own);
	assert_int_equal(touch_raw(own, at(2), 'x'), -SIGBUS);
	assert_int_equal(put(own, 2, 'o'), 0);
	assert_int_equal(rig_frames(), 5);
	assert_int_equal(slot(one, 2), slot(two, 2));
	assert_int_equal(state(own, 2), PAGE_RESIDENT);
	assert_int_equal(state(one, 1), PAGE_LENT);
	assert_int_equal(touch_raw(own, at(2), 'p'), 0);
	/* The first copies from the slot, the last moves. */
	assert_int_equal(get(one, 2), byte_of(2));
	assert_int_equal(rig_frames(), 6);
	assert_int_equal(get(two, 2), byte_of(2));
	assert_int_equal(rig_frames(), 6);
	assert_int_equal(get(own, 2), 'o');
	check_bytes(one, 0, 4);
	check_loans();
}

static void a_borrower_that_has_discarded_it_gets_no_copy(void **unused)
{
	struct process *child;

	(void)unused;
	start(4);
	child = child_of(own);
	assert_int_equal(space_discard_private(child->space, at(0), 2 * rig.page), 0);
	assert_int_equal(rig_frames(), 4);
	assert_int_equal(state(child, 0), PAGE_ABSENT);
	assert_int_equal(put(own, 0, 'o'), 0);
	assert_int_equal(rig_frames(), 4);
	assert_int_equal(get(child, 0), 0);
	check_bytes(child, 2, 4);
	check_bytes(own, 1, 4);
}

static void what_is_out_is_shared_and_freed_by_the_last_in_either_order(void **unused)
{
	(void)unused;
	for (unsigned order = 0; order < 2; order++) {
		struct process *child;

		if (order == 0)
			start(PAGES);
		else
			for (unsigned i = 0; i < PAGES; i++)
				assert_int_equal(put(own, i, byte_of(i)), 0);
		page_out(own);
		child = child_of(own);
		assert_int_equal(rig_frames(), PAGES);
		for (unsigned i = 0; i < PAGES; i++)
			assert_int_equal(slot(own, i), slot(child, i));
		assert_int_equal(space_discard_private(order ? child->space : own->space, at(0), PAGES * rig.page), 0);
		assert_int_equal(rig_frames(), PAGES);
		if (order == 0)
			evict_swap();
		check_bytes(order ? own : child, 0, PAGES / 2);
		assert_int_equal(space_discard_private(order ? own->space : child->space, at(0), PAGES * rig.page), 0);
		assert_int_equal(rig_frames(), 0);
		assert_int_equal(own->space->private_pages->out + child->space->private_pages->out, 0);
		end(child);
	}
}

static void two_bring_in_from_one_slot(void **unused)
{
	struct process *one, *two;

	(void)unused;
	start(PAGES);
	page_out(own);
	one = child_of(own);
	two = child_of(one);
	assert_int_equal(rig_frames(), PAGES);
	evict_swap();
	assert_int_equal(rig_frames(), 0);
	check_bytes(one, 0, PAGES);
	assert_int_equal(rig_frames(), 2 * PAGES);
	check_bytes(own, 0, PAGES);
	assert_int_equal(rig_frames(), 3 * PAGES);
	check_bytes(two, 0, PAGES);
	assert_int_equal(rig_frames(), 3 * PAGES);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(put(one, i, 'x'), 0);
	check_bytes(own, 0, PAGES);
	check_bytes(two, 0, PAGES);
}

static void page_out_of_what_is_lent_gives_all_the_same_slot(void **unused)
{
	struct process *one, *two;

	(void)unused;
	start(PAGES);
	one = child_of(own);
	two = child_of(own);
	assert_int_equal(get(two, PAGES - 1), byte_of(PAGES - 1));
	page_out(own);
	assert_int_equal(rig_frames(), PAGES + 1);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(slot(own, i), slot(one, i));
		if (i != PAGES - 1)
			assert_int_equal(slot(own, i), slot(two, i));
	}
	check_loans();
	assert_int_equal(state(two, PAGES - 1), PAGE_RESIDENT);
	evict_swap();
	check_bytes(two, 0, PAGES);
	check_bytes(own, 0, PAGES);
	check_bytes(one, 0, PAGES);
	assert_int_equal(rig_frames(), 3 * PAGES);
}

static void a_childs_own_pages_are_paged_out_too(void **unused)
{
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	for (unsigned i = PAGES / 2; i < PAGES; i++)
		assert_int_equal(put(child, i, 'c'), 0);
	page_out(child);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(state(child, i), i < PAGES / 2 ? PAGE_LENT : PAGE_OUT);
	assert_int_equal(rig_frames(), PAGES + PAGES / 2);
	evict_swap();
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(get(child, i), i < PAGES / 2 ? byte_of(i) : 'c');
	check_bytes(own, 0, PAGES);
}

static void what_the_lender_discards_the_borrowers_keep(void **unused)
{
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	assert_int_equal(space_discard_private(own->space, at(4), 16 * rig.page), 0);
	assert_int_equal(rig_frames(), PAGES);
	check_loans();
	assert_int_equal(get(own, 10), 0);
	check_bytes(own, 0, 4);
	check_bytes(own, 20, PAGES);
	check_bytes(child, 0, PAGES);
}

static void what_the_lender_unmaps_the_borrowers_keep(void **unused)
{
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	assert_int_equal(space_unmap(own->space, at(4), 16 * rig.page), 0);
	assert_int_equal(rig_frames(), PAGES);
	check_loans();
	assert_int_equal(touch(own, at(10), -1), -SIGSEGV);
	check_bytes(child, 0, PAGES);
}

static char *move(struct process *p, unsigned from, unsigned n)
{
	char *moved;
	bool locked;

	assert_int_equal(space_remap(p->space, at(from), n * rig.page, 2 * n * rig.page, SPACE_MAYMOVE, NULL, &moved, &locked), 0);
	assert_ptr_not_equal(moved, at(from));
	return moved;
}

static void what_the_lender_moves_the_borrowers_keep(void **unused)
{
	struct process *child;
	char *moved;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	moved = move(own, 4, 16);
	check_loans();
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(touch(own, moved + i * rig.page + rig.page - 1, -1), byte_of(4 + i));
		assert_int_equal(touch(own, moved + i * rig.page + rig.page - 1, 'm'), 0);
	}
	check_bytes(child, 0, PAGES);
	check_bytes(own, 0, 4);
}

static void what_a_borrower_moves_goes_along_and_the_others_keep_it(void **unused)
{
	struct process *one, *two;
	char *moved;

	(void)unused;
	start(PAGES);
	one = child_of(own);
	two = child_of(own);
	moved = move(one, 4, 16);
	check_loans();
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(touch(one, moved + i * rig.page + rig.page - 1, -1), byte_of(4 + i));
	check_bytes(one, 0, 4);
	check_bytes(two, 0, PAGES);
	check_bytes(own, 0, PAGES);
}

static void what_a_borrower_unmaps_is_not_copied_for_it(void **unused)
{
	struct process *child;
	uint64_t out;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	out = atomic_load(&rig.cache->counters.swap_out_pages);
	assert_int_equal(space_unmap(child->space, at(4), 16 * rig.page), 0);
	assert_int_equal(atomic_load(&rig.cache->counters.swap_out_pages), out);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(state(own, i), PAGE_RESIDENT);
	check_bytes(child, 0, 4);
	check_bytes(own, 0, PAGES);
	assert_int_equal(touch(child, at(10), -1), -SIGSEGV);
}

static void when_the_last_borrower_has_ended_stores_are_free_again(void **unused)
{
	struct process *one, *two;
	uint64_t before;

	(void)unused;
	start(PAGES);
	one = child_of(own);
	two = child_of(one);
	end(one);
	assert_int_equal(touch_raw(own, at(0), 'x'), -SIGBUS);
	end(two);
	before = faults();
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(touch_raw(own, at(i), 'x'), 0);
	assert_int_equal(faults(), before);
	assert_int_equal(rig_frames(), PAGES);
}

static void a_child_that_has_ended_unseen_is_given_up(void **unused)
{
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	for (unsigned i = PAGES / 2; i < PAGES; i++)
		assert_int_equal(put(child, i, 'c'), 0);
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	/* What it had is beyond reach; what it borrows is handed over all the same. */
	page_out(child);
	assert_int_equal(state(child, 1), PAGE_LENT);
	assert_int_equal(put(own, 1, 'o'), 0);
	assert_int_equal(state(child, 1), PAGE_OUT);
	close(child->channel);
	child->pid = 0;
	end(child);
	assert_int_equal(rig_frames(), PAGES);
	assert_int_equal(get(own, 1), 'o');
	assert_int_equal(get(own, 0), byte_of(0));
}

/* As the policy does it, which holds nothing but the object. What is freed too early is for the address sanitizer to find. */
static void pages_of_a_process_that_has_ended_may_be_looked_at(void **unused)
{
	struct process *child;
	struct object *words;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	check_bytes(child, 0, PAGES);
	words = child->space->private_pages->object;
	object_ref(words);
	end(child);
	registry_bury(&rig.registry);
	for (struct chunk *chunk = table_next(&words->table, 0); chunk;
	     chunk = table_next(&words->table, chunk->first + CHUNK_PAGES))
		object_cache_ops.unmap(chunk, &(struct chunk_set){{0}});
	object_unref(words);
	assert_int_equal(rig_frames(), PAGES);
}

static void a_child_that_never_came_costs_nothing(void **unused)
{
	struct process *child = &processes[1];

	(void)unused;
	start(PAGES);
	start_process(child);
	assert_int_equal(space_fork(own->space, &child->far, &child->space), 0);
	assert_int_equal(put(own, 1, 'o'), 0);
	assert_int_equal(rig_frames(), PAGES + 1);
	end(child);
	assert_int_equal(rig_frames(), PAGES);
	assert_int_equal(touch_raw(own, at(2), 'x'), 0);
}

static void a_childs_child_borrows_from_the_same_lender(void **unused)
{
	struct process *one, *two;

	(void)unused;
	start(PAGES);
	one = child_of(own);
	for (unsigned i = PAGES / 2; i < PAGES; i++)
		assert_int_equal(put(one, i, 'c'), 0);
	assert_int_equal(rig_frames(), PAGES + PAGES / 2);
	two = child_of(one);
	/* Its own pages were paged out: no frame more. */
	assert_int_equal(rig_frames(), PAGES + PAGES / 2);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(state(one, i), i < PAGES / 2 ? PAGE_LENT : PAGE_OUT);
		assert_int_equal(state(two, i), i < PAGES / 2 ? PAGE_LENT : PAGE_OUT);
		assert_int_equal(state(own, i), PAGE_RESIDENT);
	}
	assert_int_equal(put(own, 1, 'o'), 0);
	assert_int_equal(put(one, PAGES - 2, 'd'), 0);
	end(one);
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(get(two, i), i < PAGES / 2 ? byte_of(i) : 'c');
	assert_int_equal(get(own, 1), 'o');
	check_bytes(own, 2, PAGES);
}

/* What a page-out has left in the place that a page would go to is not in the way of one that has to leave. */
static void slots_that_are_taken_are_not_in_the_way(void **unused)
{
	struct process *children[4];

	(void)unused;
	start(PAGES);
	for (unsigned k = 0; k < 4; k++) {
		children[k] = child_of(own);
		for (unsigned i = 0; i < PAGES; i++)
			assert_int_equal(put(own, i, (int)k), 0);
	}
	assert_int_equal(rig_frames(), 5 * PAGES);
	assert_int_equal(space_discard_private(own->space, base, PAGES * rig.page), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(get(children[0], i), byte_of(i));
		for (unsigned k = 1; k < 4; k++)
			assert_int_equal(get(children[k], i), k - 1);
	}
	assert_int_equal(rig_frames(), 4 * PAGES);
}

/* ---- files ---- */

static int cut(void *arg)
{
	storage.size = *(uint64_t *)arg;
	return 0;
}

static void pages_that_a_cut_takes_are_gone_for_lender_and_borrowers(void **unused)
{
	struct process *child;
	struct object *file;
	uint64_t bytes = 8 * page_size();

	(void)unused;
	start_space();
	assert_int_equal(object_create(&rig.registry, rig.cache, OBJECT_FILE, &storage.pager, PAGES * rig.page, NULL, &file), 0);
	map_at_border(file);
	for (unsigned i = 0; i < PAGES; i += 2)
		assert_int_equal(put(own, i, byte_of(i)), 0);
	child = child_of(own);
	for (unsigned i = 0; i < PAGES; i += 4)
		assert_int_equal(get(child, i), byte_of(i));
	assert_int_equal(get(child, 5), storage_byte(5));
	/* No memory is needed for it. */
	fail_arm(FAIL_ALLOC, 1, true);
	assert_int_equal(object_truncate(file, bytes, cut, &bytes), 0);
	fail_arm(FAIL_ALLOC, 0, false);
	check_loans();
	for (unsigned i = 8; i < PAGES; i++) {
		assert_int_equal(get(own, i), -ENODATA);
		assert_int_equal(get(child, i), -ENODATA);
		assert_int_equal(state(own, i), PAGE_ABSENT);
		assert_int_equal(state(child, i), PAGE_ABSENT);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(get(own, i), i % 2 ? storage_byte(i) : byte_of(i));
		assert_int_equal(get(child, i), i % 2 ? storage_byte(i) : byte_of(i));
	}
	end(child);
	/* Where the file shows, stores are caught as before. */
	assert_int_equal(touch_raw(own, at(1), 'x'), -SIGBUS);
	assert_int_equal(touch_raw(own, at(2), 'x'), 0);
	assert_int_equal(space_unmap(own->space, base, PAGES * rig.page), 0);
	object_unuse(file);
}

/* ---- failures ---- */

static void a_fork_that_fails_changes_nothing(void **unused)
{
	struct process *child = &processes[1];
	int r = -ENOMEM;
	unsigned failed = 0;

	(void)unused;
	start(PAGES);
	page_out(own);
	/* Some are out, some in. */
	check_bytes(own, 0, PAGES / 2);
	start_process(child);
	for (int n = 1; r == -ENOMEM; n++) {
		fail_arm(FAIL_ALLOC, n, false);
		r = space_fork(own->space, &child->far, &child->space);
		fail_arm(FAIL_ALLOC, 0, false);
		if (r < 0) {
			failed++;
			assert_null(child->space);
			assert_int_equal(rig_frames(), PAGES);
			for (unsigned i = 0; i < PAGES / 2; i++)
				assert_int_equal(touch_raw(own, at(i), 'x'), 0);
		}
	}
	assert_int_equal(r, 0);
	assert_true(failed >= 4);
	attach(child);
	check_loans();
	check_bytes(child, PAGES / 2, PAGES);
	check_bytes(own, PAGES / 2, PAGES);
}

static void a_fork_of_a_child_that_fails_changes_nothing(void **unused)
{
	struct process *one, *two = &processes[2];
	int r = -ENOMEM;

	(void)unused;
	start(PAGES);
	one = child_of(own);
	for (unsigned i = PAGES / 2; i < PAGES; i++)
		assert_int_equal(put(one, i, byte_of(i)), 0);
	start_process(two);
	for (int n = 1; r == -ENOMEM; n++) {
		fail_arm(FAIL_ALLOC, n, false);
		r = space_fork(one->space, &two->far, &two->space);
		fail_arm(FAIL_ALLOC, 0, false);
		assert_int_equal(rig_frames(), PAGES + PAGES / 2);
	}
	assert_int_equal(r, 0);
	attach(two);
	check_loans();
	check_bytes(two, 0, PAGES);
	check_bytes(one, 0, PAGES);
	/* Nor without frames of the swap object. */
	assert_int_equal(put(two, 0, byte_of(0)), 0);
	start_process(&processes[3]);
	fail_arm(FAIL_FRAME, 1, true);
	assert_int_equal(space_fork(two->space, &processes[3].far, &processes[3].space), -ENOMEM);
	fail_arm(FAIL_FRAME, 0, false);
	check_loans();
	check_bytes(two, 0, PAGES);
}

static void a_store_for_which_there_is_no_copy_fails_and_nobody_sees_it(void **unused)
{
	static const enum fail_kind kinds[] = {FAIL_FRAME, FAIL_ALLOC};
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	for (unsigned k = 0; k < 2; k++) {
		fail_arm(kinds[k], 1, true);
		assert_true(put(own, k ? PAGES - 1 : 2, 'x') < 0);
		fail_arm(kinds[k], 0, false);
		assert_int_equal(rig_frames(), PAGES);
		check_loans();
	}
	assert_int_equal(put(own, 2, 'x'), 0);
	check_bytes(child, 0, PAGES);
}

static void a_page_out_without_frames_leaves_what_is_lent_protected(void **unused)
{
	struct process *child;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	fail_arm(FAIL_FRAME, 1, true);
	page_out(own);
	fail_arm(FAIL_FRAME, 0, false);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(state(own, i), PAGE_RESIDENT);
		assert_int_equal(state(child, i), PAGE_LENT);
		assert_int_equal(touch_raw(own, at(i), 'x'), -SIGBUS);
	}
	assert_int_equal(rig_frames(), PAGES);
	check_bytes(child, 0, PAGES);
}

static void what_cannot_be_called_in_is_neither_unmapped_nor_discarded_nor_moved(void **unused)
{
	struct process *child;
	char *moved;
	bool locked;

	(void)unused;
	start(PAGES);
	child = child_of(own);
	fail_arm(FAIL_FRAME, 1, true);
	assert_int_equal(space_discard_private(own->space, base, PAGES * rig.page), -ENOMEM);
	assert_int_equal(space_unmap(own->space, base, PAGES * rig.page), -ENOMEM);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(space_remap((i ? child : own)->space, at(4), 16 * rig.page, 32 * rig.page, SPACE_MAYMOVE, NULL,
					     &moved, &locked),
				 -ENOMEM);
	fail_arm(FAIL_FRAME, 0, false);
	check_loans();
	assert_int_equal(rig_frames(), PAGES);
	check_bytes(own, 0, PAGES);
	check_bytes(child, 0, PAGES);
	assert_int_equal(put(own, 0, 'x'), 0);
}

/* ---- all at once ---- */

#define ROUNDS       40
#define MOST_EXTENTS 64 /* there are eight chunks of words, and each may have pages in several */
#define STEPS        300

static _Thread_local sigjmp_buf *volatile spot;

static void on_touch(int signo)
{
	if (spot)
		siglongjmp(*spot, signo);
	signal(signo, SIG_DFL);
}

/* As store_byte and load_byte, for several threads at once. */
static int touch_here(char *addr, int value)
{
	sigjmp_buf here;
	int r = 0, signo = sigsetjmp(here, 1);

	if (signo) {
		spot = NULL;
		return -signo;
	}
	spot = &here;
	if (value < 0)
		r = *(volatile unsigned char *)addr;
	else
		*(volatile unsigned char *)addr = (unsigned char)value;
	spot = NULL;
	return r;
}

struct walker {
	struct process *p;
	unsigned seed;
	unsigned char expected[PAGES];
	unsigned wrong;
};

static unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 16;
}

static int touch_any(struct process *p, char *addr, int value)
{
	for (;;) {
		struct fault fault = {.space = p->space, .addr = addr, .write = value >= 0};
		int r = p->pid ? touch_raw(p, addr, value) : touch_here(addr, value);

		if (r != -SIGBUS)
			return r;
		if (fault_resolve(&fault) != FAULT_DONE)
			return -EIO;
	}
}

/* Touches, discards and calls in, and knows what has to be there. */
static void *walk(void *arg)
{
	struct walker *w = arg;

	for (unsigned step = 0; step < STEPS; step++) {
		unsigned what = next_random(&w->seed) % 16, i = next_random(&w->seed) % PAGES;

		if (what < 8) {
			w->wrong += touch_any(w->p, at(i), -1) != w->expected[i];
		} else if (what < 14) {
			w->expected[i] = (unsigned char)next_random(&w->seed);
			w->wrong += touch_any(w->p, at(i), w->expected[i]) != 0;
		} else if (what == 14) {
			w->expected[i] = 0;
			w->wrong += space_discard_private(w->p->space, at(i), rig.page) != 0;
		} else {
			rwlock_read_acquire(&rig.cache->map_lock);
			w->wrong += lend_call_in(w->p->space->private_pages, at(i), 1, true) != 0;
			rwlock_read_release(&rig.cache->map_lock);
		}
	}
	return NULL;
}

static _Atomic bool over;

/* Pages all out, again and again. */
static void *press(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		for (unsigned i = 0; i < PROCESSES; i++)
			if (processes[i].space)
				page_out(&processes[i]);
		evict_swap();
	}
	return NULL;
}

static void every_process_keeps_its_own_bytes_whatever_the_others_do(void **unused)
{
	struct walker walkers[PROCESSES] = {{0}};
	unsigned seed = 1;

	(void)unused;
	start(0);
	signal(SIGBUS, on_touch);
	signal(SIGSEGV, on_touch);
	walkers[0] = (struct walker){.p = own, .seed = 7};
	for (unsigned round = 0; round < ROUNDS; round++) {
		pthread_t threads[PROCESSES], presser;
		unsigned n = 1;

		for (unsigned k = 1; k < 4; k++) {
			unsigned parent = next_random(&seed) % k;

			walkers[k] = walkers[parent];
			walkers[k].p = child_of(walkers[parent].p);
			/* Some take their neighbours along. */
			walkers[k].seed = seed + k;
			n++;
		}
		atomic_store(&over, false);
		assert_int_equal(pthread_create(&presser, NULL, press, NULL), 0);
		for (unsigned k = 0; k < n; k++)
			assert_int_equal(pthread_create(&threads[k], NULL, walk, &walkers[k]), 0);
		for (unsigned k = 0; k < n; k++)
			pthread_join(threads[k], NULL);
		atomic_store(&over, true);
		pthread_join(presser, NULL);
		check_loans();
		for (unsigned k = 0; k < n; k++) {
			assert_int_equal(walkers[k].wrong, 0);
			for (unsigned i = 0; i < PAGES; i++)
				assert_int_equal(touch_any(walkers[k].p, at(i), -1), walkers[k].expected[i]);
		}
		for (unsigned k = 1; k < n; k++)
			end(walkers[k].p);
	}
	assert_true(own->space->private_pages->slots->next_extent < MOST_EXTENTS);
	assert_true(atomic_load(&rig.cache->counters.swap_out_pages) > 0);
	assert_true(atomic_load(&rig.cache->counters.swap_in_pages) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_fork_makes_no_frame_and_what_is_lent_is_copied_when_it_is_read),
	    TEST(those_behind_a_page_that_is_touched_come_along_while_there_is_room),
	    TEST(a_store_of_the_child_is_its_own),
	    TEST(a_store_of_the_lender_leaves_the_old_bytes_in_one_slot),
	    TEST(a_borrower_that_has_discarded_it_gets_no_copy),
	    TEST(what_is_out_is_shared_and_freed_by_the_last_in_either_order),
	    TEST(two_bring_in_from_one_slot),
	    TEST(page_out_of_what_is_lent_gives_all_the_same_slot),
	    TEST(a_childs_own_pages_are_paged_out_too),
	    TEST(what_the_lender_discards_the_borrowers_keep),
	    TEST(what_the_lender_unmaps_the_borrowers_keep),
	    TEST(what_the_lender_moves_the_borrowers_keep),
	    TEST(what_a_borrower_moves_goes_along_and_the_others_keep_it),
	    TEST(what_a_borrower_unmaps_is_not_copied_for_it),
	    TEST(when_the_last_borrower_has_ended_stores_are_free_again),
	    TEST(a_child_that_has_ended_unseen_is_given_up),
	    TEST(pages_of_a_process_that_has_ended_may_be_looked_at),
	    TEST(a_child_that_never_came_costs_nothing),
	    TEST(a_childs_child_borrows_from_the_same_lender),
	    TEST(slots_that_are_taken_are_not_in_the_way),
	    TEST(pages_that_a_cut_takes_are_gone_for_lender_and_borrowers),
	    TEST(a_fork_that_fails_changes_nothing),
	    TEST(a_fork_of_a_child_that_fails_changes_nothing),
	    TEST(a_store_for_which_there_is_no_copy_fails_and_nobody_sees_it),
	    TEST(a_page_out_without_frames_leaves_what_is_lent_protected),
	    TEST(what_cannot_be_called_in_is_neither_unmapped_nor_discarded_nor_moved),
	    TEST(every_process_keeps_its_own_bytes_whatever_the_others_do),
	};

	return cmocka_run_group_tests_name("lend", tests, NULL, NULL);
}
