/* SPDX-License-Identifier: MIT */
/*
 * worker.c - a process of the stress test
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <quire/guard.h>
#include <quire/quire.h>

#include "stress.h"

#define RW (PROT_READ | PROT_WRITE)

/* The calls that are tried; the kernel's prove that the test asks for what it does. */
static struct {
	void *(*map)(void *, size_t, int, int, int, off_t);
	int (*unmap)(void *, size_t);
	int (*sync)(void *, size_t, int);
	int (*advise)(void *, size_t, int);
	int (*truncate)(int, off_t);
} calls = {quire_mmap, quire_munmap, quire_msync, quire_madvise, quire_ftruncate};

static struct {
	unsigned id;
	uint64_t rng;
	char *all;           /* the head and the slots */
	const char *readers; /* the slots by the descriptor that is for reading; or NULL */
	char *tail;          /* at its longest, however long it is; or NULL */
	unsigned left;       /* operations until it ends by itself */
	unsigned depth;      /* of forks */
} self;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list args;
	char text[300];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "stress: process %u: %s\n", self.id, text);
	atomic_store(&model->failed, true);
	_exit(1);
}

static void doing(const char *what, int at)
{
	atomic_store(&model->process[self.id].doing, what);
	atomic_store(&model->process[self.id].at, at);
}

static bool is_fault(const char *name)
{
	return options.fault && strcmp(options.fault, name) == 0 && draw(&self.rng) % 200 == 0;
}

/* ---- locks ---- */

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

/* Whether it was taken over from a process that has died. */
static bool lock(_Atomic uint32_t *word)
{
	static const struct timespec moment = {.tv_nsec = 5000000};

	for (unsigned tries = 0;; tries++) {
		uint32_t owner = 0;

		if (atomic_compare_exchange_strong(word, &owner, self.id + 1))
			return false;
		if (owner - 1 >= NUMBERS)
			fail("a lock has the value %#x, which nobody has stored", owner);
		if (owner == self.id + 1)
			fail("a lock is this process's already, which it has not taken");
		if (tries > 2 && is_dead(owner - 1) && atomic_compare_exchange_strong(word, &owner, self.id + 1)) {
			atomic_fetch_add(&model->taken_over, 1);
			return true;
		}
		(void)futex(word, FUTEX_WAIT, owner, &moment);
	}
}

static void unlock(_Atomic uint32_t *word)
{
	if (atomic_exchange(word, 0) != self.id + 1)
		fail("a lock was another's when it was given up");
	(void)futex(word, FUTEX_WAKE, 1, NULL);
}

/* ---- slots ---- */

static uint64_t word_of(unsigned slot, uint32_t number, unsigned i)
{
	uint64_t state = ((uint64_t)slot << 40) ^ ((uint64_t)number << 8) ^ i;

	return number == 0 ? 0 : draw(&state);
}

/* What it has to be when nobody stores to it. found: what there is. */
static void compare_slot(unsigned at, const struct slot *found, const char *by)
{
	struct slot_model *m = &model->slot[at];
	uint32_t done = atomic_load(&m->done), number = atomic_load(&found->number);

	if (number != done)
		fail("slot %u by %s: number %u, %u was stored", at, by, number, done);
	for (unsigned i = 0; i < WORDS; i++)
		if (atomic_load(&found->word[i]) != word_of(at, done, i))
			fail("slot %u by %s: word %u of number %u is %#llx, %#llx was stored", at, by, i, done,
			     (unsigned long long)atomic_load(&found->word[i]), (unsigned long long)word_of(at, done, i));
}

/* Who had it has died: all that he had stored is there, one more perhaps, and nothing else. Completes what he had begun. */
static void mend_slot(unsigned at, struct slot *slot)
{
	struct slot_model *m = &model->slot[at];
	uint32_t begun = atomic_load(&m->begun), done = atomic_load(&m->done), stored = atomic_load(&m->stored);

	for (unsigned i = 0; i < WORDS && begun != done; i++) {
		uint64_t found = atomic_load(&slot->word[i]), old = word_of(at, done, i), new = word_of(at, begun, i);
		bool good = i < stored ? found == new : i == stored ? found == new || found == old : found == old;

		if (!good)
			fail("slot %u after a death, with %u words of number %u stored: word %u is %#llx, neither %#llx nor %#llx",
			     at, stored, begun, i, (unsigned long long)found, (unsigned long long)old, (unsigned long long)new);
		atomic_store(&slot->word[i], new);
		if (i >= stored)
			atomic_store(&m->stored, i + 1);
	}
	if (begun != done && stored < WORDS && atomic_load(&slot->number) != done)
		fail("slot %u after a death: number %u before its words were stored", at, atomic_load(&slot->number));
	atomic_store(&slot->number, begun);
	atomic_store(&m->done, begun);
}

static struct slot *slot_at(const char *slots, unsigned at)
{
	return (struct slot *)(uintptr_t)(slots + at * SLOT_BYTES);
}

static void die(void)
{
	raise(SIGKILL);
}

static void store_slot(unsigned at, struct slot *slot)
{
	struct slot_model *m = &model->slot[at];
	uint32_t next = atomic_load(&m->done) + 1;
	unsigned last = draw(&self.rng) % 150 == 0 && options.kill_every ? (unsigned)(draw(&self.rng) % WORDS) : WORDS;

	atomic_store(&m->stored, 0);
	atomic_store(&m->begun, next);
	for (unsigned i = 0; i < WORDS; i++) {
		if (i == last)
			die();
		if (!is_fault("lost"))
			atomic_store(&slot->word[i], word_of(at, next, i));
		atomic_store(&m->stored, i + 1);
	}
	if (is_fault("torn"))
		atomic_fetch_xor(&slot->word[next % WORDS], 1);
	atomic_store(&slot->number, next);
	atomic_store(&m->done, next);
}

static void use_slot(bool store)
{
	unsigned at = (unsigned)(draw(&self.rng) % (draw(&self.rng) % 2 ? HOT : SLOTS));
	struct slot *slot = slot_at(self.all + PAGE, at);

	doing("waits for a slot", (int)at);
	if (lock(&slot->lock))
		mend_slot(at, slot);
	doing(store ? "stores to a slot" : "looks at a slot", (int)at);
	compare_slot(at, slot, "the writer's mapping");
	if (self.readers)
		compare_slot(at, slot_at(self.readers, at), "the reader's mapping");
	if (store)
		store_slot(at, slot);
	unlock(&slot->lock);
}

/* ---- the tail ---- */

static _Atomic uint64_t *mark_at(unsigned i)
{
	return (_Atomic uint64_t *)(void *)(self.tail + (size_t)i * PAGE + 8 * (i % 512));
}

static void look_past_the_end(void)
{
	struct quire_guard guard;
	volatile bool there = false;

	if (options.kernel || model->tail_pages == TAIL_PAGES)
		return;
	QUIRE_GUARD(&guard) {
		(void)*(volatile char *)(self.tail + (size_t)model->tail_pages * PAGE);
		there = true;
	}
	QUIRE_ERROR(&guard) {
	}
	if (there)
		fail("page %u of the tail is there, of %u", model->tail_pages, model->tail_pages);
}

/* All pages that there are: what was stored since they were cut off last, or nothing. */
static void compare_tail(bool mend)
{
	for (unsigned i = 0; i < model->tail_pages; i++) {
		uint64_t found = atomic_load(mark_at(i)), mark = atomic_load(&model->mark[i]),
			 next = atomic_load(&model->next_mark[i]);

		if (found != mark && !(mend && found == next))
			fail("page %u of the tail has %#llx, %#llx was stored (%#llx was begun)", i, (unsigned long long)found,
			     (unsigned long long)mark, (unsigned long long)next);
		atomic_store(&model->mark[i], found);
		atomic_store(&model->next_mark[i], found);
	}
}

/* Not to be killed in it; see above. */
static void cut_tail(void)
{
	struct process *process = &model->process[self.id];
	unsigned pages = (unsigned)(draw(&self.rng) % (TAIL_PAGES + 1)), wrong = is_fault("size") ? 1 : 0;

	atomic_store(&process->truncating, true);
	while (atomic_load(&process->killing))
		sched_yield();
	doing("truncates", (int)pages);
	if (calls.truncate(options.writer, (off_t)(TAIL_AT + (pages - (pages ? wrong : 0)) * (off_t)PAGE)) < 0)
		fail("ftruncate to %u pages of the tail: %s", pages, quire_errormsg());
	for (unsigned i = pages; i < TAIL_PAGES; i++) {
		atomic_store(&model->mark[i], 0);
		atomic_store(&model->next_mark[i], 0);
	}
	model->tail_pages = pages;
	atomic_store(&process->truncating, false);
	atomic_fetch_add(&model->truncations, 1);
}

static void use_tail(void)
{
	_Atomic uint32_t *tail_lock = (_Atomic uint32_t *)(void *)self.all;

	doing("waits for the tail", -1);
	if (!self.tail)
		self.tail = calls.map(NULL, TAIL_PAGES * PAGE, RW, MAP_SHARED, options.writer, TAIL_AT);
	if (self.tail == MAP_FAILED)
		fail("mmap of the tail: %s", quire_errormsg());
	compare_tail(lock(tail_lock));
	doing("has the tail", -1);
	for (unsigned n = 0; n < 4 && model->tail_pages > 0; n++) {
		unsigned i = (unsigned)(draw(&self.rng) % model->tail_pages);
		uint64_t mark = draw(&self.rng);

		atomic_store(&model->next_mark[i], mark);
		atomic_store(mark_at(i), mark);
		atomic_store(&model->mark[i], mark);
	}
	if (draw(&self.rng) % 3 == 0) {
		cut_tail();
		look_past_the_end();
		compare_tail(false);
	}
	unlock(tail_lock);
}

/* ---- all the rest ---- */

static void map_slots(void)
{
	doing("maps", -1);
	self.all = calls.map(NULL, TAIL_AT, RW, MAP_SHARED, options.writer, 0);
	if (self.all == MAP_FAILED)
		fail("mmap: %s", quire_errormsg());
}

static void map_anew(void)
{
	doing("maps anew", -1);
	switch (draw(&self.rng) % 3) {
	case 0:
		if (calls.unmap(self.all, TAIL_AT) < 0)
			fail("munmap: %s", quire_errormsg());
		map_slots();
		break;
	case 1:
		if (self.tail && calls.unmap(self.tail, TAIL_PAGES * PAGE) < 0)
			fail("munmap of the tail: %s", quire_errormsg());
		self.tail = NULL;
		break;
	default:
		if (self.readers && calls.unmap((void *)(uintptr_t)self.readers, SLOTS * SLOT_BYTES) < 0)
			fail("munmap of the reader's: %s", quire_errormsg());
		else if (self.readers)
			self.readers = NULL;
		else
			self.readers = calls.map(NULL, SLOTS * SLOT_BYTES, PROT_READ, MAP_SHARED, options.reader, PAGE);
		if (self.readers == MAP_FAILED)
			fail("mmap of the reader's: %s", quire_errormsg());
	}
}

/* What is stored to a private mapping stays, and is nobody else's. */
static void use_private(void)
{
	size_t first = draw(&self.rng) % (SLOTS * SLOT_BYTES / PAGE - 16);
	uint64_t value = draw(&self.rng);
	volatile uint64_t *p;

	doing("has private pages", (int)first);
	p = calls.map(NULL, 16 * PAGE, RW, MAP_PRIVATE, options.writer, (off_t)(PAGE + first * PAGE));
	if (p == MAP_FAILED)
		fail("private mmap: %s", quire_errormsg());
	for (size_t i = 0; i < 16; i++)
		p[i * PAGE / 8 + i] = value + i;
	for (size_t i = 0; i < 16; i++)
		if (p[i * PAGE / 8 + i] != value + i)
			fail("a private page lost what was stored to it");
	if (calls.unmap((void *)(uintptr_t)p, 16 * PAGE) < 0)
		fail("munmap of private pages: %s", quire_errormsg());
}

static void work(void) __attribute__((noreturn));

static void have_child(void)
{
	int id = self.depth < 3 && !is_over() ? take_number() : -1;
	pid_t pid;

	if (id < 0)
		return;
	doing("forks", id);
	pid = fork();
	if (pid > 0)
		atomic_store(&model->process[id].pid, pid);
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid > 0)
		return;
	atomic_store(&model->process[id].pid, getpid());
	atomic_fetch_add(&model->forks, 1);
	self.id = (unsigned)id;
	self.rng = options.seed * 1000003 + self.id;
	self.left = 1 + (unsigned)(draw(&self.rng) % 60);
	self.depth++;
	work();
}

static void advise(void)
{
	size_t first = draw(&self.rng) % (SLOTS * SLOT_BYTES / PAGE);
	size_t pages = 1 + draw(&self.rng) % 64;

	if (pages > SLOTS * SLOT_BYTES / PAGE - first)
		pages = SLOTS * SLOT_BYTES / PAGE - first;
	if (draw(&self.rng) % 2) {
		doing("syncs", (int)first);
		if (calls.sync(self.all + PAGE + first * PAGE, pages * PAGE, draw(&self.rng) % 4 ? MS_ASYNC : MS_SYNC) < 0)
			fail("msync: %s", quire_errormsg());
	} else {
		doing("drops", (int)first);
		if (calls.advise(self.all + PAGE + first * PAGE, pages * PAGE, MADV_DONTNEED) < 0)
			fail("madvise: %s", quire_errormsg());
	}
}

static void work(void)
{
	while (!is_over() && !atomic_load(&model->ending) && self.left-- > 0) {
		unsigned what = (unsigned)(draw(&self.rng) % 100);

		if (what < 55)
			use_slot(true);
		else if (what < 80)
			use_slot(false);
		else if (what < 87)
			use_tail();
		else if (what < 90)
			map_anew();
		else if (what < 93)
			use_private();
		else if (what < 97)
			advise();
		else
			have_child();
		atomic_fetch_add(&model->operations, 1);
	}
	doing("ends", -1);
	_exit(0);
}

static void choose_calls(void)
{
	if (!options.kernel)
		return;
	calls.map = mmap;
	calls.unmap = munmap;
	calls.sync = msync;
	calls.advise = madvise;
	calls.truncate = ftruncate;
}

void work_from_start(unsigned id)
{
	choose_calls();
	self.id = id;
	self.rng = options.seed * 1000003 + id;
	self.left = 200 + (unsigned)(draw(&self.rng) % 2000);
	map_slots();
	work();
}

/* ---- before, and at the end ---- */

void use_swap(void)
{
	size_t bytes = 2 * SLOTS * SLOT_BYTES;
	volatile char *p;

	choose_calls();
	p = calls.map(NULL, bytes, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		fail("anonymous mmap: %s", quire_errormsg());
	for (size_t at = 0; at < bytes; at += PAGE)
		p[at] = 1;
	/* And a file for shared writing, which is claimed. */
	map_slots();
	_exit(0);
}

/* The stores of one that was killed are completed here, with the others alive no more. */
void check_all_and_sync(void)
{
	choose_calls();
	self.id = NUMBERS - 1;
	map_slots();
	for (unsigned at = 0; at < SLOTS; at++) {
		struct slot *slot = slot_at(self.all + PAGE, at);

		if (atomic_load(&slot->lock) != 0)
			mend_slot(at, slot);
		compare_slot(at, slot, "the last mapping");
		atomic_store(&slot->lock, 0);
	}
	self.tail = calls.map(NULL, TAIL_PAGES * PAGE, RW, MAP_SHARED, options.writer, TAIL_AT);
	if (self.tail == MAP_FAILED)
		fail("mmap of the tail: %s", quire_errormsg());
	compare_tail(true);
	if (calls.sync(self.all, TAIL_AT, MS_SYNC) < 0 ||
	    (model->tail_pages > 0 && calls.sync(self.tail, (size_t)model->tail_pages * PAGE, MS_SYNC) < 0))
		fail("msync of all: %s", quire_errormsg());
	_exit(0);
}

void check_file(void)
{
	struct stat st;

	if (fstat(options.writer, &st) < 0 || st.st_size != (off_t)(TAIL_AT + model->tail_pages * (off_t)PAGE)) {
		fprintf(stderr, "stress: the file has %lld bytes, with %u pages of the tail\n", (long long)st.st_size,
			model->tail_pages);
		atomic_store(&model->failed, true);
	}
	for (unsigned at = 0; at < SLOTS; at++) {
		struct slot slot;
		bool good = pread(options.writer, &slot, sizeof(slot), (off_t)(PAGE + at * (off_t)SLOT_BYTES)) == sizeof(slot);

		for (unsigned i = 0; good && i < WORDS; i++)
			good = slot.word[i] == word_of(at, atomic_load(&model->slot[at].done), i);
		if (!good || slot.number != atomic_load(&model->slot[at].done)) {
			fprintf(stderr, "stress: slot %u is not in the file as it was stored\n", at);
			atomic_store(&model->failed, true);
		}
	}
	for (unsigned i = 0; i < model->tail_pages; i++) {
		uint64_t mark = 0;

		if (pread(options.writer, &mark, 8, (off_t)(TAIL_AT + i * (off_t)PAGE + 8 * (i % 512))) != 8 ||
		    mark != atomic_load(&model->mark[i])) {
			fprintf(stderr, "stress: page %u of the tail is not in the file as it was stored\n", i);
			atomic_store(&model->failed, true);
		}
	}
}
