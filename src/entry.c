/* SPDX-License-Identifier: MIT */
/*
 * entry.c - what every public call begins and ends with, and the one engine of a process
 */
#include "entry.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/guard.h"
#include "keep.h"
#include "remote/client.h"
#include "report.h"
#include "sys/page_size.h"

static struct engine *_Atomic the_engine;
static struct lock start_lock;
/* On a page that the kernel wipes in the child of a fork: 1 in the process that started the engine. No system call tells it. */
static char *own_process;
static _Atomic bool chosen; /* between an engine of this process's own and a server */
static struct config given_config;
static bool config_given;

static void choose_server(void);

void entry_begin(struct entry *entry, const char *call)
{
	sigset_t block;

	entry->call = call;
	entry->guard = guard_suspend();
	message_clear();
	sigfillset(&block);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGFPE);
	sigdelset(&block, SIGILL);
	sigdelset(&block, SIGTRAP);
	sigdelset(&block, SIGABRT);
	pthread_sigmask(SIG_BLOCK, &block, &entry->mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &entry->cancel_state);
	if (!atomic_load_explicit(&chosen, memory_order_relaxed))
		choose_server();
}

int entry_end(struct entry *entry, int r)
{
	int saved_errno = errno;

	pthread_setcancelstate(entry->cancel_state, NULL);
	pthread_sigmask(SIG_SETMASK, &entry->mask, NULL);
	guard_resume(entry->guard);
	errno = saved_errno;
	if (r >= 0)
		return r;
	message_finish(entry->call, -r);
	errno = -r;
	return -1;
}

struct engine *entry_engine_if_started(void)
{
	struct engine *engine = atomic_load_explicit(&the_engine, memory_order_acquire);

	return engine && *own_process ? engine : NULL;
}

/* What was committed reaches the files, too, and what nobody waited for comes to its end. */
static int checkpoint_all(struct engine *engine)
{
	int result = 0;

	committer_drain(&engine->committer);
	for (struct atomic_file *file = atomic_next(&engine->atomics, NULL); file; file = atomic_next(&engine->atomics, file)) {
		int r = journal_checkpoint(file->journal);

		result = result < 0 ? result : r;
	}
	return result;
}

int entry_write_back(struct engine *engine)
{
	struct entry entry;
	int r, checkpointed;

	entry_begin(&entry, "exit");
	/* What a child stores from here on would be lost with the process: it waits in its fault, and that is SIGBUS when the engine is gone. */
	thread_trap_deafen(engine->thread_trap);
	r = writeback_all(&engine->registry);
	checkpointed = checkpoint_all(engine);
	entry_end(&entry, 0);
	return r < 0 ? r : checkpointed;
}

void entry_finish(struct engine *engine)
{
	int r = entry_write_back(engine);

	if (r < 0)
		fprintf(stderr, "quire: at exit, dirty pages could not be written: %s\n", strerrordesc_np(-r));
	keep_end(engine, r < 0);
	if (engine->config.stats_at_exit)
		report_stats(stderr, engine);
}

static bool finishes_later;

void entry_finish_later(void)
{
	finishes_later = true;
}

bool entry_finishes_later(void)
{
	return finishes_later;
}

/* At the end of a program that ends in order: what was stored reaches the files. A child of a fork is not the engine's process. */
__attribute__((destructor(101))) static void finish(void)
{
	struct engine *engine = entry_engine_if_started();

	if (engine && !finishes_later)
		entry_finish(engine);
}

void entry_hand_over(void)
{
	*own_process = 0;
}

void entry_take_over(void)
{
	*own_process = 1;
}

static int mark_process(void)
{
	char *page;
	int r = 0;

	/* It may be there from a start that failed, and is wiped if that was in the parent of this process. */
	if (own_process) {
		*own_process = 1;
		return 0;
	}
	page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, page_size(), MADV_WIPEONFORK) < 0) {
		r = -errno;
		munmap(page, page_size());
		return r;
	}
	*page = 1;
	own_process = page;
	return 0;
}

static int prepare_for_forks(void);

/*
 * Where QUIRE_SERVER says so, this process becomes a client, and never has an engine. A server that cannot be had is no reason to go on
 * without: two caches of one file would know nothing of one another. Start lock held. 0 or -errno with a message.
 */
static int connect_to_server(void)
{
	char path[128];
	bool may_start;
	int r;

	if (atomic_load(&chosen))
		return 0;
	r = config_server(path, sizeof(path), &may_start);
	if (r > 0) {
		r = prepare_for_forks();
		if (r == 0)
			r = client_connect(path, may_start);
	}
	if (r == 0)
		atomic_store(&chosen, true);
	return r;
}

/* At the first call, whatever it is; one that needs an engine says what was wrong. */
static void choose_server(void)
{
	lock_acquire(&start_lock);
	(void)connect_to_server();
	lock_release(&start_lock);
	message_clear();
}

static int start_engine(void)
{
	struct config config;
	struct engine *engine;
	int r = connect_to_server();

	if (r < 0 || client_is())
		return r;
	if (config_given)
		config = given_config;
	else
		r = config_load(NULL, &config);
	if (r == 0)
		r = mark_process();
	if (r == 0)
		r = prepare_for_forks();
	if (r == 0)
		r = engine_create(&config, &engine);
	if (r < 0)
		return r;
	engine->space->own_process = own_process;
	atomic_store_explicit(&the_engine, engine, memory_order_release);
	return 0;
}

/* ---- fork ---- */

/*
 * Two sets of handlers. What allocates memory is registered when the engine starts, and so runs before the handlers of the program's
 * malloc lock it, and in the child after they have unlocked it. What must come before anything else in the child, and allocates nothing, is
 * registered when the library is loaded.
 */
static struct lock fork_lock;  /* held from the first handler to the last */
static sigset_t mask_outside;  /* [fork_lock] */
static sigset_t mask_inside;   /* [start_lock] */
static bool prepared;          /* [fork_lock] for this fork */
static struct engine *forking; /* [fork_lock] whose list of journals is held over it, so that the child finds it whole */

/* What takes part in a fork: the engine, or, in a process that is served, nothing but its own state. False: neither is there. */
static bool forks(struct engine **ret_engine)
{
	*ret_engine = entry_engine_if_started();
	return *ret_engine || client_is();
}

/* Nothing of this process touches managed memory with these locks held. */
static void hold(struct lock *lock, sigset_t *mask)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	lock_acquire(lock);
	*mask = before;
}

static void let_go(struct lock *lock, const sigset_t *mask)
{
	sigset_t before = *mask;

	lock_release(lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void before_fork(void)
{
	struct engine *engine;

	hold(&fork_lock, &mask_outside);
	prepared = forks(&engine);
	if (prepared)
		client_before_fork(engine);
	forking = engine;
	if (forking)
		lock_acquire(&forking->atomics.lock);
}

static void after_fork_in_parent(void)
{
	struct engine *engine;

	if (forks(&engine))
		client_after_fork_in_parent(engine);
	if (forking)
		lock_release(&forking->atomics.lock);
	prepared = false;
	let_go(&fork_lock, &mask_outside);
}

static void after_fork_in_child(void)
{
	if (prepared)
		client_begin();
	prepared = false;
	let_go(&fork_lock, &mask_outside);
}

static void before_fork_at_last(void)
{
	hold(&start_lock, &mask_inside);
}

static void after_fork_at_first(void)
{
	let_go(&start_lock, &mask_inside);
}

static void after_fork_in_child_at_first(void)
{
	/* A process that is served itself has nothing to give: what it inherited it has closed. */
	if (prepared && forking)
		atomics_close_inherited(&forking->atomics);
	if (prepared)
		client_after_fork_in_child(forking);
	let_go(&start_lock, &mask_inside);
}

__attribute__((constructor(101))) static void watch_forks(void)
{
	pthread_atfork(before_fork_at_last, after_fork_at_first, after_fork_in_child_at_first);
}

/* Start lock held. 0 or -errno. */
static int prepare_for_forks(void)
{
	static bool done;
	int r = done ? 0 : -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

	done |= r == 0;
	return r;
}

int entry_engine(struct engine **ret)
{
	int r = 0;

	*ret = entry_engine_if_started();
	if (!*ret && client_has_connected())
		return message_set(
		    EOPNOTSUPP, client_is() ? "this process is served by `quire serve`, and this call is not served: use "
					      "QUIRE_SERVER=off for this program"
					    : "this process is a child, by another way than fork(3), of one that is served: it has "
					      "none of the mappings");
	if (!*ret && client_is())
		return message_set(EOPNOTSUPP,
				   "this process is the child of a fork, where this call is not served: make it before the fork");
	if (!*ret && atomic_load(&the_engine))
		return message_set(
		    EOPNOTSUPP,
		    "this process is the child of a fork that was not made by fork(3), so that it has none of the mappings");
	if (*ret && space_touches((*ret)->space, __builtin_frame_address(0), 1))
		return message_set(
		    EDEADLK,
		    "the stack of this thread, at %p, is memory that Quire manages: a fault on it inside of this call could not be "
		    "served. Give the thread a stack of the kernel's",
		    __builtin_frame_address(0));
	if (*ret)
		return 0;
	lock_acquire(&start_lock);
	if (!entry_engine_if_started())
		r = start_engine();
	lock_release(&start_lock);
	*ret = entry_engine_if_started();
	/* It has just been connected: the next call is made by the server. */
	return r == 0 && !*ret ? message_set(EAGAIN, "the server was not there a moment ago; it is now: try again") : r;
}

static _Thread_local struct space *served;
static _Thread_local const struct caller *caller; /* with it */
static _Thread_local bool left;

struct space *entry_space(struct engine *engine)
{
	return served ? served : engine->space;
}

bool entry_is_for_another(void)
{
	return served != NULL;
}

bool entry_is_for_another_user(void)
{
	return served && caller->uid != geteuid() && caller->uid != 0;
}

struct caller entry_caller(void)
{
	return served ? *caller : (struct caller){getpid(), geteuid(), getegid()};
}

void entry_serve(struct space *space, const struct caller *of)
{
	served = space;
	caller = of;
	left = false;
}

bool entry_leave_to_kernel(void)
{
	left = served != NULL;
	return !left;
}

bool entry_was_left(void)
{
	return left;
}

bool entry_is_ours(const void *addr, size_t len)
{
	struct engine *engine = entry_engine_if_started();

	return engine && space_touches(entry_space(engine), addr, len ? len : 1);
}

bool entry_round(const void *addr, size_t len, size_t *ret_len)
{
	uint64_t pages = pages_of(len);
	size_t rounded = (size_t)pages << page_shift;

	*ret_len = rounded < ADDRESSES_END ? rounded : ADDRESSES_END;
	return pages <= SIZE_MAX >> page_shift && (uintptr_t)addr <= UINTPTR_MAX - rounded;
}

int quire_configure(const struct quire_config *config)
{
	struct entry entry;
	struct quire_config copy = {0};
	struct config loaded;
	int r = 0;

	entry_begin(&entry, "quire_configure");
	lock_acquire(&start_lock);
	if (entry_engine_if_started() || client_is())
		r = message_set(
		    EBUSY,
		    "the first mapping was made already; settings can be changed before it only (the budget: quire_set_memory)");
	else if (!config || config->size < sizeof(size_t) || config->size > 4096)
		r = message_set(EINVAL, "the field size is %zu; it has to be sizeof(struct quire_config)",
				config ? config->size : 0);
	if (r == 0) {
		__builtin_memcpy(&copy, config, config->size < sizeof(copy) ? config->size : sizeof(copy));
		if (copy.trap > QUIRE_TRAP_THREAD)
			r = message_set(EINVAL, "the trap %d is not one of enum quire_trap", (int)copy.trap);
		else if (copy.keeper > QUIRE_KEEPER_OFF)
			r = message_set(EINVAL, "the keeper %d is not one of enum quire_keeper", (int)copy.keeper);
	}
	if (r == 0)
		r = config_load(&copy, &loaded);
	if (r == 0) {
		given_config = loaded;
		config_given = true;
	}
	lock_release(&start_lock);
	return entry_end(&entry, r);
}

int quire_set_memory(size_t bytes)
{
	struct entry entry;
	struct engine *engine;
	uint64_t least = budget_minimum() << page_shift;
	int r;

	entry_begin(&entry, "quire_set_memory");
	if (client_serves(&r, &(struct client_call){.name = CALL_SET_MEMORY, .arg = {(int64_t)bytes}, .fd = -1}))
		return entry_end(&entry, r);
	r = entry_engine(&engine);
	if (r == 0) {
		uint64_t buffers = engine->cache->buffers.total_pages << page_shift;

		if (buffers + (least / 2) > least)
			least = buffers + least / 2;
		if (bytes < least)
			r = message_set(EINVAL, "a memory budget of %zu bytes is too small; the least that works here is %llu",
					bytes, (unsigned long long)least);
	}
	if (r == 0 && !budget_bears(engine->cache, bytes >> page_shift))
		r = message_set(ENOMEM, "%llu bytes are locked, which a budget of %zu does not hold",
				(unsigned long long)(atomic_load(&engine->cache->locked) << page_shift), bytes);
	if (r == 0) {
		r = budget_set(engine->cache, bytes >> page_shift);
		if (r < 0)
			message_set(ENOMEM, "not enough pages could be paged out for a budget of %zu bytes", bytes);
	}
	return entry_end(&entry, r);
}

const char *quire_errormsg(void)
{
	return message_get();
}

size_t quire_pagesize(void)
{
	return page_size();
}
