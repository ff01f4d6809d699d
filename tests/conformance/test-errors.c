/* SPDX-License-Identifier: MIT */
/*
 * test-errors.c - errors are values: row B03
 *
 * Storage that fails, or is gone, is played by src/util/fail.h; a full disk is a small tmpfs; a file is cut by another process.
 */
#include "children.h"
#include "support.h"

#include <pthread.h>
#include <quire/guard.h>
#include <sys/wait.h>

#include "util/fail.h"

#define PAGES_OF_FILE 8

/* ---- what goes wrong ---- */

/* Every transfer of a kind fails from now on; 0: none. */
static void storage_fails(enum fail_kind kind, int error)
{
	fail_errno = error;
	fail_arm(kind, error ? 1 : 0, true);
}

static void cut_by_another_process(int fd, size_t bytes)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(ftruncate(fd, (off_t)bytes) == 0 ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Twice as many pages as the budget has, over a disk without space: the store that finds no room left to answer for. */
static char *map_on_full_disk(size_t *ret_pages, int *ret_fd, int *ret_filler)
{
	size_t n = 2 * stats().budget_bytes / page_size;

	*ret_fd = file_on_full_disk(n, ret_filler);
	*ret_pages = n;
	return map_shared(*ret_fd, n);
}

/* ---- guarded access ---- */

/* The byte at addr, or -errno. */
static int guarded_load(const char *addr, struct quire_guard *guard)
{
	QUIRE_GUARD(guard) {
		return *(const volatile unsigned char *)addr;
	}
	QUIRE_ERROR(guard) {
		return -guard->error;
	}
	return -1;
}

static int guarded_store(char *addr, int value, struct quire_guard *guard)
{
	QUIRE_GUARD(guard) {
		*(volatile unsigned char *)addr = (unsigned char)value;
	}
	return -guard->error;
}

static void B03_guard_of_a_page_that_is_there_catches_nothing(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);
	struct quire_guard guard = {.error = EIO};

	(void)state;
	assert_int_equal(guarded_load(p + 17, &guard), pattern(17));
	assert_int_equal(guard.error, 0);
	assert_int_equal(guarded_store(p + PAGES(1), 's', &guard), 0);
	assert_loads(p + PAGES(1), 's');
	unmap(p, 2);
}

static void B03_guard_tells_a_page_cut_off_by_another_process(void **state)
{
	int fd = file_new(PAGES(PAGES_OF_FILE));
	char *p = map(NULL, PAGES(4), RW, MAP_SHARED, fd, (off_t)PAGES(2));
	struct quire_guard guard;

	(void)state;
	cut_by_another_process(fd, PAGES(3));
	assert_int_equal(guarded_load(p, &guard), pattern((off_t)PAGES(2)));
	assert_int_equal(guarded_load(p + PAGES(1) + 100, &guard), -ENODATA);
	assert_ptr_equal(guard.addr, p + PAGES(1) + 100);
	assert_int_equal(guard.offset, PAGES(3) + 100);
	assert_int_equal(guarded_store(p + PAGES(2), 1, &guard), -ENODATA);
	assert_past_the_end(p + PAGES(1));
	assert_int_equal(ftruncate(fd, (off_t)PAGES(4)), 0);
	assert_int_equal(guarded_load(p + PAGES(1) + 100, &guard), 0);
	unmap(p, 4);
}

static void check_guarded_reads(int error)
{
	int fd = file_new(PAGES(PAGES_OF_FILE));
	char *shared = map_shared(fd, PAGES_OF_FILE);
	char *private = map_private(fd, PAGES_OF_FILE);
	struct quire_guard guard;

	storage_fails(FAIL_READ, error);
	assert_int_equal(guarded_load(shared + PAGES(1) + 3, &guard), -error);
	assert_ptr_equal(guard.addr, shared + PAGES(1) + 3);
	assert_int_equal(guard.offset, PAGES(1) + 3);
	assert_int_equal(guarded_store(shared + PAGES(2), 1, &guard), -error);
	assert_int_equal(guarded_load(private + PAGES(3), &guard), -error);
	assert_int_equal(guarded_store(private + PAGES(4), 1, &guard), -error);
	assert_load_raises(shared + PAGES(1), SIGBUS, BUS_ADRERR);
	assert_store_raises(private + PAGES(4), SIGBUS, BUS_ADRERR);
	storage_fails(FAIL_READ, 0);
	assert_int_equal(guarded_load(shared + PAGES(1) + 3, &guard), pattern((off_t)PAGES(1) + 3));
	assert_int_equal(guarded_store(private + PAGES(4), 1, &guard), 0);
	assert_pattern(shared, PAGES(PAGES_OF_FILE), 0);
	unmap(shared, PAGES_OF_FILE);
	unmap(private, PAGES_OF_FILE);
}

static void B03_guard_tells_EIO_and_the_page_works_when_the_disk_does(void **state)
{
	(void)state;
	check_guarded_reads(EIO);
}

static void B03_guard_tells_a_device_that_is_gone(void **state)
{
	(void)state;
	check_guarded_reads(ENXIO);
}

/* Stores until the first that cannot be had; the pages before it. */
static size_t store_until_error(char *p, size_t n, struct quire_guard *guard)
{
	volatile size_t i;

	for (i = 0; i < n && guarded_store(p + PAGES(i), 's', guard) == 0; i++)
		;
	return i;
}

static void B03_guard_tells_a_full_disk_where_nothing_can_be_paged_out(void **state)
{
	struct quire_guard guard;
	int fd, filler;
	size_t n, stored;
	char *p = map_on_full_disk(&n, &fd, &filler);

	(void)state;
	stored = store_until_error(p, n, &guard);
	assert_true(stored > 0 && stored < n);
	assert_int_equal(guard.error, ENOSPC);
	assert_int_equal(guard.offset, PAGES(stored));
	assert_store_raises(p + PAGES(stored), SIGBUS, BUS_ADRERR);
	/* Nothing that was stored is lost, and with room the rest can be. */
	assert_int_equal(ftruncate(filler, 0), 0);
	for (size_t i = stored; i < n; i++)
		assert_stores(p + PAGES(i), 's');
	unmap(p, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i)), 's');
}

static void B03_guards_nest_and_the_innermost_catches(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 4);
	struct quire_guard outer, inner;
	volatile int inner_errors = 0, after_inner = 0, outer_errors = 0;

	(void)state;
	QUIRE_GUARD(&outer) {
		QUIRE_GUARD(&inner) {
			load(p);
			(void)*(volatile char *)(p + PAGES(1));
			fail();
		}
		QUIRE_ERROR(&inner) {
			inner_errors++;
			assert_int_equal(inner.offset, PAGES(1));
		}
		assert_int_equal(guarded_load(p + PAGES(2), &inner), -ENODATA);
		after_inner++;
		(void)*(volatile char *)(p + PAGES(3));
		fail();
	}
	QUIRE_ERROR(&outer) {
		outer_errors++;
		assert_int_equal(outer.offset, PAGES(3));
	}
	assert_int_equal(inner_errors, 1);
	assert_int_equal(after_inner, 1);
	assert_int_equal(outer_errors, 1);
	/* Both are left. */
	assert_past_the_end(p + PAGES(1));
	unmap(p, 4);
}

static int leave_by_return(char *p, struct quire_guard *guard)
{
	QUIRE_GUARD(guard) {
		return *p;
	}
	return 0;
}

static void B03_guard_is_left_by_break_continue_return_and_goto(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);
	struct quire_guard guard;

	(void)state;
	QUIRE_GUARD(&guard) {
		break;
	}
	assert_past_the_end(p + PAGES(1));
	QUIRE_GUARD(&guard) {
		if (*p)
			continue;
		fail();
	}
	assert_past_the_end(p + PAGES(1));
	leave_by_return(p, &guard);
	assert_past_the_end(p + PAGES(1));
	QUIRE_GUARD(&guard) {
		goto out;
	}
out:
	assert_past_the_end(p + PAGES(1));
	unmap(p, 2);
}

static void B03_guard_catches_nothing_that_is_not_managed(void **state)
{
	int fd = file_new(PAGES(1));
	char *foreign = mmap(NULL, PAGES(2), RW, MAP_SHARED, fd, 0);
	char *p = map(NULL, PAGES(1), PROT_NONE, MAP_SHARED, fd, 0);
	struct quire_guard guard;

	(void)state;
	assert_ptr_not_equal(foreign, MAP_FAILED);
	QUIRE_GUARD(&guard) {
		assert_past_the_end(foreign + PAGES(1));
		assert_load_raises(p, SIGSEGV, SEGV_ACCERR);
		assert_unmapped(quiet());
	}
	QUIRE_ERROR(&guard) {
		fail();
	}
	munmap(foreign, PAGES(2));
	unmap(p, 1);
}

static bool is_blocked(int signo)
{
	sigset_t mask;

	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
	return sigismember(&mask, signo);
}

static void B03_guard_lets_a_thread_that_blocks_everything_touch_a_mapping(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);
	struct quire_guard guard;
	sigset_t all, before;
	size_t done;
	char bytes[16];

	(void)state;
	sigfillset(&all);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
	assert_int_equal(guarded_load(p + 3, &guard), pattern(3));
	assert_true(is_blocked(SIGBUS));
	assert_int_equal(guarded_load(p + PAGES(1), &guard), -ENODATA);
	assert_true(is_blocked(SIGBUS) && is_blocked(SIGUSR1) && is_blocked(SIGTERM));
	assert_fails(quire_load(bytes, p + PAGES(1) - 5, 16, &done), ENODATA);
	assert_int_equal(done, 5);
	assert_true(is_blocked(SIGBUS));
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
	unmap(p, 2);
}

static void B03_error_in_a_guard_restores_the_signal_mask(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);
	struct quire_guard guard;
	sigset_t user, before;

	(void)state;
	sigemptyset(&user);
	sigaddset(&user, SIGUSR1);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &user, &before), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(guarded_load(p + PAGES(1), &guard), -ENODATA);
		assert_true(is_blocked(SIGUSR1));
		assert_false(is_blocked(SIGUSR2) || is_blocked(SIGBUS) || is_blocked(SIGTERM));
	}
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
	unmap(p, 2);
}

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static void check_alternate_stack(char *p, unsigned flags)
{
	static char memory[1 << 17];
	stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory), .ss_flags = (int)flags}, before, now;
	struct quire_guard guard;

	assert_int_equal(sigaltstack(&stack, &before), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(guarded_load(p + PAGES(1), &guard), -ENODATA);
		assert_int_equal(sigaltstack(NULL, &now), 0);
		assert_ptr_equal(now.ss_sp, memory);
		assert_int_equal(now.ss_flags & (SS_ONSTACK | SS_DISABLE), 0);
	}
	assert_int_equal(sigaltstack(&before, NULL), 0);
}

static void B03_guard_works_on_the_alternate_signal_stack(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);

	(void)state;
	check_alternate_stack(p, 0);
	check_alternate_stack(p, SS_AUTODISARM);
	unmap(p, 2);
}

static char *touched_by_handler;
static volatile sig_atomic_t handler_error;

static void touch_guarded(int signo)
{
	struct quire_guard guard;

	(void)signo;
	handler_error = guarded_load(touched_by_handler, &guard);
}

static void B03_guard_in_a_signal_handler_catches_its_own(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 2);
	struct sigaction action = {.sa_handler = touch_guarded}, before;
	struct quire_guard guard;
	volatile int after = 0;

	(void)state;
	touched_by_handler = p + PAGES(1);
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	QUIRE_GUARD(&guard) {
		raise(SIGUSR1);
		after++;
	}
	QUIRE_ERROR(&guard) {
		fail();
	}
	assert_int_equal(handler_error, -ENODATA);
	assert_int_equal(after, 1);
	assert_false(is_blocked(SIGUSR1));
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	unmap(p, 2);
}

static void end_well(int signo)
{
	_exit(signo == SIGBUS ? 0 : 1);
}

/* It would leave the call's locks and signal mask behind. So the signal goes where it went before there were guards. */
static void B03_guard_is_not_in_force_inside_a_call(void **state)
{
	struct sigaction action = {.sa_handler = end_well};
	int fd = file_new(PAGES(1));
	struct quire_guard guard;
	char *p;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
	p = map_shared(fd, 2);
	assert_int_equal(guarded_load(p + PAGES(1), &guard), -ENODATA);
	QUIRE_GUARD(&guard) {
		quire_mincore(p, PAGES(1), (unsigned char *)p + PAGES(1));
		fail_msg("the call has come back");
	}
	fail_msg("the guard has caught it");
}

/* ---- copies ---- */

static void B03_load_and_store_copy(void **state)
{
	int fd = file_new(PAGES(3));
	char *p = map_shared(fd, 3);
	char *bytes = malloc(PAGES(3));
	size_t done = 1;

	(void)state;
	assert_non_null(bytes);
	assert_ok(quire_load(bytes, p + 1, PAGES(3) - 1, &done));
	assert_int_equal(done, PAGES(3) - 1);
	assert_pattern(bytes, PAGES(3) - 1, 1);
	memset(bytes, 'n', PAGES(2));
	assert_ok(quire_store(p + 7, bytes, PAGES(2), NULL));
	assert_filled(p + 7, PAGES(2), 'n');
	assert_pattern(p + PAGES(2) + 7, PAGES(1) - 7, PAGES(2) + 7);
	assert_ok(quire_load(bytes, p, 0, &done));
	assert_int_equal(done, 0);
	free(bytes);
	unmap(p, 3);
}

static void B03_load_and_store_tell_how_far_they_came(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 4);
	char *bytes = malloc(PAGES(4));
	size_t done;

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 'b', PAGES(4));
	assert_fails(quire_load(bytes + 3, p + 5, PAGES(3), &done), ENODATA);
	assert_message("quire_load", "past the end");
	assert_int_equal(done, PAGES(2) - 5);
	assert_pattern(bytes + 3, done, 5);
	assert_int_equal(bytes[3 + done], 'b');
	assert_fails(quire_store(p + PAGES(1) + 9, bytes, PAGES(2), &done), ENODATA);
	assert_message("quire_store", "past the end");
	assert_int_equal(done, PAGES(1) - 9);
	assert_memory_equal(p + PAGES(1) + 9, bytes, done);
	storage_fails(FAIL_READ, EIO);
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	assert_fails(quire_load(bytes, p + PAGES(1), 10, &done), EIO);
	assert_int_equal(done, 0);
	/* From mapping to mapping. */
	assert_fails(quire_store(p, p + PAGES(1), 10, NULL), EIO);
	storage_fails(FAIL_READ, 0);
	free(bytes);
	unmap(p, 4);
}

/* ---- callbacks ---- */

/* What a callback was asked last, and what it is to answer. */
static struct asked {
	_Atomic unsigned times;
	struct quire_error error;
	enum quire_error_answer answer;
	unsigned mended_after; /* tries; then what is to be mended is */
	int fd;                /* to be given its size back; -1: the storage fails */
	size_t bytes;
	int filler; /* to be emptied */
} asked;

static enum quire_error_answer answer(void *arg, const struct quire_error *error)
{
	struct asked *a = arg;

	a->error = *error;
	a->times++;
	if (a->answer == QUIRE_ANSWER_RETRY && error->tries == a->mended_after) {
		if (a->fd >= 0 && ftruncate(a->fd, (off_t)a->bytes) < 0)
			return QUIRE_ANSWER_FAIL;
		if (a->filler >= 0 && ftruncate(a->filler, 0) < 0)
			return QUIRE_ANSWER_FAIL;
		if (a->fd < 0 && a->filler < 0)
			fail_arm(FAIL_READ, 0, false);
	}
	return a->answer;
}

static void ask_of(char *addr, size_t n, enum quire_error_answer what)
{
	asked = (struct asked){.answer = what, .fd = -1, .filler = -1};
	assert_ok(quire_on_error(addr, PAGES(n), answer, &asked));
}

static void B03_callback_is_told_what_has_failed_and_may_let_it_fail(void **state)
{
	int fd = file_new(PAGES(PAGES_OF_FILE));
	char *p = map(NULL, PAGES(4), RW, MAP_SHARED, fd, (off_t)PAGES(1));
	struct quire_guard guard;

	(void)state;
	ask_of(p, 4, QUIRE_ANSWER_FAIL);
	assert_loads(p, pattern((off_t)PAGES(1)));
	assert_int_equal(asked.times, 0);
	assert_ok(quire_madvise(p, PAGES(4), 21 /* MADV_PAGEOUT */));
	storage_fails(FAIL_READ, ENXIO);
	assert_load_raises(p + PAGES(2) + 5, SIGBUS, BUS_ADRERR);
	assert_int_equal(asked.times, 1);
	assert_int_equal(asked.error.error, ENXIO);
	assert_int_equal(asked.error.during, QUIRE_DURING_LOAD);
	assert_ptr_equal(asked.error.addr, p + PAGES(2) + 5);
	assert_int_equal(asked.error.offset, PAGES(3) + 5);
	assert_int_equal(asked.error.tries, 0);
	assert_int_equal(guarded_store(p + PAGES(3), 1, &guard), -ENXIO);
	assert_int_equal(asked.times, 2);
	assert_int_equal(asked.error.during, QUIRE_DURING_STORE);
	storage_fails(FAIL_READ, 0);
	cut_by_another_process(fd, PAGES(3));
	assert_past_the_end(p + PAGES(3));
	assert_int_equal(asked.error.error, ENODATA);
	assert_int_equal(asked.times, 3);
	assert_ok(quire_on_error(p, PAGES(4), NULL, NULL));
	assert_past_the_end(p + PAGES(3));
	assert_int_equal(asked.times, 3);
	unmap(p, 4);
}

static void B03_callback_retries_until_the_storage_works(void **state)
{
	int fd = file_new(PAGES(PAGES_OF_FILE));
	char *p = map_shared(fd, PAGES_OF_FILE), *q = map_private(fd, PAGES_OF_FILE);

	(void)state;
	for (int i = 0; i < 2; i++) {
		char *addr = i ? q : p;

		ask_of(addr, PAGES_OF_FILE, QUIRE_ANSWER_RETRY);
		asked.mended_after = 3;
		storage_fails(FAIL_READ, EIO);
		assert_loads(addr + PAGES(5) + 1, pattern((off_t)PAGES(5) + 1));
		assert_int_equal(asked.times, 4);
		assert_int_equal(asked.error.tries, 3);
		assert_ok(quire_madvise(p, PAGES(PAGES_OF_FILE), 21 /* MADV_PAGEOUT */));
	}
	unmap(p, PAGES_OF_FILE);
	unmap(q, PAGES_OF_FILE);
}

static void B03_callback_makes_a_file_longer_that_was_cut(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	ask_of(p, 4, QUIRE_ANSWER_RETRY);
	asked.fd = fd;
	asked.bytes = PAGES(4);
	cut_by_another_process(fd, PAGES(1));
	assert_loads(p + PAGES(2), 0);
	assert_int_equal(asked.times, 1);
	assert_loads(p, pattern(0));
	assert_stores(p + PAGES(3), 's');
	unmap(p, 4);
	assert_int_equal(file_byte(fd, (off_t)PAGES(3)), 's');
}

static void B03_zeros_are_never_written_unless_stored_to(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);
	struct quire_stats before = stats();

	(void)state;
	ask_of(p, 4, QUIRE_ANSWER_ZERO);
	storage_fails(FAIL_READ, EIO);
	for (size_t i = 0; i < 4; i++)
		assert_zeros(p + PAGES(i), page_size);
	assert_int_equal(asked.times, 4);
	assert_int_equal(grown(before, filled_pages), 4);
	assert_stores(p + PAGES(2) + 7, 's');
	assert_loads(p + PAGES(2) + 7, 's');
	storage_fails(FAIL_READ, 0);
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	unmap(p, 4);
	for (off_t i = 0; i < 4; i++)
		assert_int_equal(file_byte(fd, (off_t)PAGES(i) + 9), i == 2 ? 0 : pattern((off_t)PAGES(i) + 9));
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) + 7), 's');
	assert_int_equal(stats().dirty_bytes, before.dirty_bytes);
}

/* The other mapping has no callback: it must see the error, and then the bytes, but never the zeros. */
static void B03_zeros_are_seen_by_no_mapping_that_has_not_asked_for_them(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4), *other = map_shared(fd, 4), *copy = map_private(fd, 4);

	(void)state;
	ask_of(p, 4, QUIRE_ANSWER_ZERO);
	storage_fails(FAIL_READ, EIO);
	assert_loads(p + 3, 0);
	assert_load_raises(other + 3, SIGBUS, BUS_ADRERR);
	assert_loads(p + 3, 0);
	assert_load_raises(copy + 3, SIGBUS, BUS_ADRERR);
	assert_loads(p + 3, 0);
	storage_fails(FAIL_READ, 0);
	assert_loads(other + 3, pattern(3));
	assert_loads(p + 3, pattern(3));
	assert_loads(copy + 3, pattern(3));
	/* What was stored to is data, for all. */
	assert_ok(quire_madvise(p, PAGES(4), 21 /* MADV_PAGEOUT */));
	storage_fails(FAIL_READ, EIO);
	assert_stores(p + PAGES(1) + 8, 's');
	assert_loads(other + PAGES(1) + 8, 's');
	assert_loads(other + PAGES(1) + 9, 0);
	storage_fails(FAIL_READ, 0);
	unmap(p, 4);
	unmap(other, 4);
	unmap(copy, 4);
	assert_int_equal(file_byte(fd, 3), pattern(3));
	assert_int_equal(file_byte(fd, (off_t)PAGES(1) + 8), 's');
}

static void B03_zeros_end_when_the_page_was_out(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	ask_of(p, 4, QUIRE_ANSWER_ZERO);
	storage_fails(FAIL_READ, EIO);
	assert_loads(p + 3, 0);
	storage_fails(FAIL_READ, 0);
	assert_loads(p + 3, 0);
	evict(p, 4);
	assert_loads(p + 3, pattern(3));
	unmap(p, 4);
}

/* … nor when a page before them is mapped, with what others have mapped behind it. */
static void B03_zeros_past_the_end_are_mapped_along_with_nothing(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 6), *other = map_shared(fd, 6);

	(void)state;
	ask_of(p, 6, QUIRE_ANSWER_ZERO);
	for (size_t i = 0; i < 6; i++)
		assert_loads(p + PAGES(i), i < 2 ? pattern((off_t)PAGES(i)) : 0);
	assert_int_equal(asked.times, 4);
	assert_loads(other, pattern(0));
	for (size_t i = 2; i < 6; i++)
		assert_past_the_end(other + PAGES(i));
	unmap(p, 6);
	unmap(other, 6);
}

/* After a failed sync all that was written is written again: not what is only zeros in its place. */
static void B03_zeros_are_not_written_again_after_a_sync_that_failed(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map_shared(fd, 2);

	(void)state;
	memset(p, 'w', PAGES(2));
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	ask_of(p, 2, QUIRE_ANSWER_ZERO);
	storage_fails(FAIL_READ, EIO);
	assert_loads(p, 0);
	fail_arm(FAIL_SYNC, 1, true);
	assert_fails(quire_msync(p, PAGES(2), MS_SYNC), EIO);
	fail_arm(FAIL_SYNC, 0, false);
	assert_ok(quire_msync(p, PAGES(2), MS_SYNC));
	storage_fails(FAIL_READ, 0);
	unmap(p, 2);
	assert_int_equal(file_byte(fd, 0), 'w');
	assert_int_equal(file_byte(fd, (off_t)PAGES(1)), 'w');
}

static void B03_zeros_past_the_end_are_never_part_of_the_file(void **state)
{
	int fd = file_new(PAGES(8));
	char *p = map_shared(fd, 8), *other = map_shared(fd, 8);
	struct quire_stats before = stats();

	(void)state;
	ask_of(p, 8, QUIRE_ANSWER_ZERO);
	cut_by_another_process(fd, PAGES(2) + 100);
	for (size_t i = 3; i < 8; i++) {
		assert_loads(p + PAGES(i) + 1, 0);
		assert_stores(p + PAGES(i) + 1, 's');
		assert_loads(p + PAGES(i) + 1, 's');
		assert_past_the_end(other + PAGES(i) + 1);
	}
	assert_true(grown(before, filled_pages) >= 5);
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	assert_ok(quire_madvise(p, PAGES(8), 21 /* MADV_PAGEOUT */));
	assert_int_equal(resident_pages(p, 8), 0);
	assert_int_equal(file_size(fd), PAGES(2) + 100);
	assert_pattern(p, PAGES(2) + 100, 0);
	/* With the file grown, its bytes are there again. */
	assert_int_equal(pwrite(fd, "grown", 5, (off_t)PAGES(5) + 1), 5);
	assert_loads(other + PAGES(5) + 1, 'g');
	assert_loads(p + PAGES(5) + 1, 'g');
	assert_loads(p + PAGES(4) + 1, 0);
	assert_loads(p + PAGES(7) + 1, 0);
	assert_past_the_end(other + PAGES(7) + 1);
	unmap(p, 8);
	unmap(other, 8);
	assert_int_equal(file_size(fd), PAGES(5) + 6);
	settle();
	assert_int_equal(stats().resident_bytes, before.resident_bytes);
	assert_int_equal(stats().dirty_bytes, before.dirty_bytes);
}

static void B03_zeros_of_a_private_mapping_are_its_own(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_private(fd, 6), *other = map_shared(fd, 4);

	(void)state;
	ask_of(p, 6, QUIRE_ANSWER_ZERO);
	storage_fails(FAIL_READ, EIO);
	assert_loads(p + 3, 0);
	assert_stores(p + PAGES(1), 's');
	storage_fails(FAIL_READ, 0);
	assert_loads(p + PAGES(5), 0);
	assert_pattern(other, PAGES(4), 0);
	pressure();
	assert_loads(p + 3, 0);
	assert_loads(p + PAGES(1), 's');
	assert_loads(p + PAGES(1) + 1, 0);
	assert_loads(p + PAGES(2), pattern((off_t)PAGES(2)));
	/* Where the file grows, it shows. */
	assert_int_equal(pwrite(fd, "grown", 5, (off_t)PAGES(5)), 5);
	assert_loads(p + PAGES(4), 0);
	assert_loads(p + PAGES(5), 'g');
	unmap(p, 6);
	unmap(other, 4);
}

static void B03_callback_makes_room_on_a_full_disk(void **state)
{
	int filler, fd = file_on_full_disk(16, &filler);
	char *p = map_shared(fd, 16);

	(void)state;
	memset(p, 'w', PAGES(16));
	ask_of(p, 16, QUIRE_ANSWER_FAIL);
	assert_fails(quire_msync(p, PAGES(16), MS_SYNC), ENOSPC);
	assert_true(asked.times > 0);
	assert_int_equal(asked.error.error, ENOSPC);
	assert_int_equal(asked.error.during, QUIRE_DURING_WRITEBACK);
	assert_true((char *)asked.error.addr >= p && (char *)asked.error.addr < p + PAGES(16));
	assert_int_equal(asked.error.offset, (char *)asked.error.addr - p);
	assert_true(asked.error.len > 0 && asked.error.len % page_size == 0);
	ask_of(p, 16, QUIRE_ANSWER_RETRY);
	asked.filler = filler;
	assert_ok(quire_msync(p, PAGES(16), MS_SYNC));
	assert_true(asked.times > 0);
	unmap(p, 16);
	assert_int_equal(file_byte(fd, (off_t)PAGES(15)), 'w');
}

/* A callback that never gives up keeps nobody for ever. */
static void B03_writeback_is_not_retried_for_ever(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	assert_stores(p, 's');
	ask_of(p, 4, QUIRE_ANSWER_RETRY);
	asked.mended_after = ~0u;
	storage_fails(FAIL_WRITE, EIO);
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), EIO);
	assert_true(asked.times > 1 && asked.error.tries == 16);
	storage_fails(FAIL_WRITE, 0);
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	unmap(p, 4);
	assert_int_equal(file_byte(fd, 0), 's');
}

static enum quire_error_answer other_answer(void *arg, const struct quire_error *error)
{
	(void)error;
	++*(unsigned *)arg;
	return QUIRE_ANSWER_FAIL;
}

static void B03_callbacks_belong_to_their_range_and_move_along(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(quiet(), PAGES(8), RW, MAP_SHARED | MAP_FIXED, fd, 0), *moved;
	uint64_t areas = stats().areas;
	unsigned times = 0;

	(void)state;
	assert_ok(quire_on_error(p + PAGES(4), PAGES(2), other_answer, &times));
	assert_int_equal(stats().areas, areas + 2);
	assert_past_the_end(p + PAGES(3));
	assert_past_the_end(p + PAGES(6));
	assert_int_equal(times, 0);
	assert_past_the_end(p + PAGES(4));
	assert_past_the_end(p + PAGES(5));
	assert_int_equal(times, 2);
	moved = quire_mremap(p + PAGES(4), PAGES(2), PAGES(2), MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGES(100));
	assert_ptr_equal(moved, p + PAGES(100));
	assert_past_the_end(moved + PAGES(1));
	assert_int_equal(times, 3);
	assert_ok(quire_mprotect(moved, PAGES(1), PROT_READ));
	assert_past_the_end(moved);
	assert_int_equal(times, 4);
	assert_ok(quire_mprotect(moved, PAGES(1), RW));
	moved = quire_mremap(moved, PAGES(2), PAGES(3), 0);
	assert_past_the_end(moved + PAGES(2));
	assert_int_equal(times, 5);
	assert_ok(quire_on_error(p, PAGES(4), other_answer, &times));
	assert_ok(quire_on_error(p, PAGES(4), NULL, NULL));
	assert_past_the_end(p + PAGES(1));
	assert_int_equal(times, 5);
	unmap(p, 8);
	unmap(moved, 3);
}

static void B03_on_error_of_the_wrong_range_changes_nothing(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, 0);
	unsigned times = 0;

	(void)state;
	assert_fails(quire_on_error(p + 1, PAGES(1), other_answer, &times), EINVAL);
	assert_message_number("quire_on_error", p + 1);
	assert_fails(quire_on_error(p, PAGES(3), other_answer, &times), ENOMEM);
	assert_message_number("quire_on_error", p + PAGES(2));
	assert_ok(quire_on_error(p, 0, other_answer, &times));
	assert_past_the_end(p + PAGES(1));
	assert_int_equal(times, 0);
	unmap(p, 2);
}

/* ---- hooks ---- */

#define SUM_BYTES sizeof(uint64_t)

/* A program with checksums of its own, in the last bytes of each page. */
static struct checker {
	_Atomic unsigned in, out, released;
	_Atomic uint64_t seen; /* pages that came in, a bit each */
	int out_error;
	bool clears; /* the sum, as a page comes in */
} checker;

static uint64_t sum_of(const unsigned char *bytes, off_t offset)
{
	uint64_t sum = 14695981039346656037u ^ (uint64_t)offset;

	for (size_t i = 0; i < page_size - SUM_BYTES; i++)
		sum = (sum ^ bytes[i]) * 1099511628211u;
	return sum;
}

static int verify(void *arg, off_t offset, void *bytes, size_t len)
{
	struct checker *c = arg;
	uint64_t sum = sum_of(bytes, offset);
	bool right = len == page_size && memcmp((char *)bytes + page_size - SUM_BYTES, &sum, SUM_BYTES) == 0;

	c->in++;
	c->seen |= 1ull << (offset / (off_t)page_size % 64);
	if (c->clears)
		memset((char *)bytes + page_size - SUM_BYTES, 0, SUM_BYTES);
	return right ? 0 : EBADMSG;
}

static int stamp(void *arg, off_t offset, void *bytes, size_t len)
{
	struct checker *c = arg;
	uint64_t sum = sum_of(bytes, offset);

	c->out++;
	if (len != page_size)
		return EIO;
	memcpy((char *)bytes + page_size - SUM_BYTES, &sum, SUM_BYTES);
	return c->out_error;
}

static void released(void *arg)
{
	((struct checker *)arg)->released++;
}

static const struct quire_page_hooks checks = {sizeof(checks), verify, stamp, released, &checker};

static void stamp_file(int fd, size_t n)
{
	unsigned char *page = malloc(page_size);

	assert_non_null(page);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(pread(fd, page, page_size, (off_t)PAGES(i)), page_size);
		assert_int_equal(stamp(&checker, (off_t)PAGES(i), page, page_size), 0);
		assert_int_equal(pwrite(fd, page, page_size, (off_t)PAGES(i)), page_size);
	}
	free(page);
}

/* Every page in the file has the sum of what it has. */
static void check_file(int fd, size_t n)
{
	unsigned char *page = malloc(page_size);

	assert_non_null(page);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(pread(fd, page, page_size, (off_t)PAGES(i)), page_size);
		assert_int_equal(verify(&checker, (off_t)PAGES(i), page, page_size), 0);
	}
	free(page);
}

static char *map_checked(size_t n, int *ret_fd)
{
	char *p;

	*ret_fd = file_new(PAGES(n));
	checker = (struct checker){0};
	stamp_file(*ret_fd, n);
	checker = (struct checker){0};
	p = map_shared(*ret_fd, n);
	assert_ok(quire_set_page_hooks(p, &checks));
	return p;
}

static void B03_page_in_sees_every_page_that_comes_in(void **state)
{
	int fd;
	char *p = map_checked(64, &fd);

	(void)state;
	/* By readahead, for the most part. */
	assert_ok(quire_madvise(p, PAGES(64), MADV_SEQUENTIAL));
	for (size_t i = 0; i < 64; i++)
		assert_loads(p + PAGES(i) + 3, pattern((off_t)PAGES(i) + 3));
	assert_int_equal(checker.seen, ~0ull);
	assert_int_equal(checker.out, 0);
	checker.seen = 0;
	assert_ok(quire_madvise(p, PAGES(64), MADV_NORMAL));
	assert_ok(quire_madvise(p, PAGES(64), 21 /* MADV_PAGEOUT */));
	assert_ok(quire_madvise(p, PAGES(64), MADV_POPULATE_READ));
	assert_int_equal(checker.seen, ~0ull);
	unmap(p, 64);
}

static void B03_page_that_page_in_refuses_is_never_seen(void **state)
{
	int fd;
	char *p = map_checked(32, &fd), *private = map_private(fd, 32);
	struct quire_guard guard;

	(void)state;
	assert_int_equal(pwrite(fd, "x", 1, (off_t)PAGES(9) + 77), 1);
	/* Not even by those who read ahead over it. */
	assert_ok(quire_madvise(p, PAGES(32), MADV_SEQUENTIAL));
	for (size_t i = 0; i < 32; i++) {
		if (i == 9) {
			assert_int_equal(guarded_load(p + PAGES(i) + 77, &guard), -EBADMSG);
			assert_int_equal(guard.offset, PAGES(9) + 77);
		} else {
			assert_loads(p + PAGES(i) + 77, pattern((off_t)PAGES(i) + 77));
		}
	}
	assert_load_raises(p + PAGES(9), SIGBUS, BUS_ADRERR);
	assert_load_raises(private + PAGES(9), SIGBUS, BUS_ADRERR);
	assert_store_raises(private + PAGES(9), SIGBUS, BUS_ADRERR);
	assert_fails(quire_mlock(p + PAGES(9), page_size), ENOMEM);
	ask_of(p, 32, QUIRE_ANSWER_ZERO);
	assert_loads(p + PAGES(9) + 77, 0);
	assert_int_equal(asked.error.error, EBADMSG);
	assert_ok(quire_on_error(p, PAGES(32), NULL, NULL));
	/* Mended, it comes. */
	assert_int_equal(pwrite(fd, &(char){(char)pattern((off_t)PAGES(9) + 77)}, 1, (off_t)PAGES(9) + 77), 1);
	assert_loads(private + PAGES(9) + 77, pattern((off_t)PAGES(9) + 77));
	unmap(p, 32);
	unmap(private, 32);
}

static void B03_page_out_stamps_what_msync_writes(void **state)
{
	int fd;
	char *p = map_checked(32, &fd);

	(void)state;
	for (size_t i = 0; i < 32; i += 3)
		assert_stores(p + PAGES(i) + 5, (int)i);
	assert_ok(quire_msync(p, PAGES(32), MS_SYNC));
	assert_true(checker.out >= 11);
	check_file(fd, 32);
	assert_int_equal(file_byte(fd, (off_t)PAGES(30) + 5), 30);
	unmap(p, 32);
}

static void B03_page_out_stamps_what_is_evicted_and_unmapped(void **state)
{
	size_t n = 2 * stats().budget_bytes / page_size;
	int fd;
	char *p = map_checked(n, &fd);
	struct quire_stats before = stats();

	(void)state;
	for (size_t i = 0; i < n; i++)
		assert_stores(p + PAGES(i) + 5, 's');
	assert_true(grown(before, evicted_pages) > 0);
	for (size_t i = 0; i < n; i += 7)
		assert_loads(p + PAGES(i) + 5, 's');
	unmap(p, n);
	assert_true(checker.out >= n);
	check_file(fd, n);
	assert_int_equal(file_byte(fd, (off_t)PAGES(n - 1) + 5), 's');
}

/* What is stored once more while the copy is stamped and written makes a new stamp. */
static void B03_stamp_is_not_seen_in_memory_before_the_page_comes_in_again(void **state)
{
	int fd;
	char *p = map_checked(2, &fd);
	char *sum = p + PAGES(1) - SUM_BYTES;

	(void)state;
	memset(sum, 'm', SUM_BYTES);
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_filled(sum, SUM_BYTES, 'm');
	check_file(fd, 2);
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	assert_int_equal((unsigned char)*sum, file_byte(fd, (off_t)(PAGES(1) - SUM_BYTES)));
	/* What page_in makes of a page is what is seen. */
	checker.clears = true;
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	assert_zeros(sum, SUM_BYTES);
	assert_loads(p, pattern(0));
	unmap(p, 2);
	check_file(fd, 2);
}

static void B03_page_that_page_out_refuses_stays_dirty(void **state)
{
	int fd;
	char *p = map_checked(4, &fd);

	(void)state;
	assert_stores(p + PAGES(2), 's');
	checker.out_error = EILSEQ;
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), EILSEQ);
	assert_fails(quire_munmap(p, PAGES(4)), EILSEQ);
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), pattern((off_t)PAGES(2)));
	assert_loads(p + PAGES(2), 's');
	checker.out_error = 0;
	/* The munmap's attempt is told of, too. */
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), EILSEQ);
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(file_byte(fd, (off_t)PAGES(2)), 's');
	unmap(p, 4);
}

static void B03_bytes_that_a_file_has_grown_by_pass_page_in(void **state)
{
	int fd;
	char *p = map_checked(3, &fd);
	unsigned char *page = malloc(page_size);
	struct quire_guard guard;

	(void)state;
	assert_non_null(page);
	assert_loads(p, pattern(0));
	/* The last page becomes shorter, which no sum survives, and is right again as it grows. */
	assert_int_equal(pread(fd, page, page_size, (off_t)PAGES(2)), page_size);
	assert_ok(quire_madvise(p, PAGES(3), 21 /* MADV_PAGEOUT */));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2) + 100));
	assert_int_equal(guarded_load(p + PAGES(2), &guard), -EBADMSG);
	assert_int_equal(pwrite(fd, page, page_size, (off_t)PAGES(2)), page_size);
	checker.seen = 0;
	assert_int_equal(guarded_load(p + PAGES(2) + 200, &guard), pattern((off_t)PAGES(2) + 200));
	assert_true(checker.seen & 4);
	free(page);
	unmap(p, 3);
}

static void B03_hooks_are_released_when_the_file_is_mapped_no_more(void **state)
{
	int fd;
	char *p = map_checked(8, &fd), *other = map_shared(fd, 8);

	(void)state;
	assert_loads(p, pattern(0));
	unmap(p, 8);
	assert_int_equal(checker.released, 0);
	checker.in = 0;
	assert_ok(quire_madvise(other, PAGES(8), 21 /* MADV_PAGEOUT */));
	assert_loads(other + PAGES(5), pattern((off_t)PAGES(5)));
	assert_true(checker.in > 0);
	unmap(other, 8);
	settle();
	assert_int_equal(checker.released, 1);
	/* Mapped again, it has none. */
	checker.in = 0;
	p = map_shared(fd, 8);
	assert_loads(p, pattern(0));
	assert_int_equal(checker.in, 0);
	unmap(p, 8);
}

static void B03_hooks_that_cannot_be_set_change_nothing(void **state)
{
	int fd = file_new(PAGES(2));
	char *p = map(quiet(), PAGES(2), RW, MAP_SHARED | MAP_FIXED, fd, 0), *q = map_anonymous(1);
	struct quire_page_hooks wrong = checks;

	(void)state;
	checker = (struct checker){0};
	wrong.size = 1;
	assert_fails(quire_set_page_hooks(p, &wrong), EINVAL);
	assert_message_number("quire_set_page_hooks", 1);
	assert_fails(quire_set_page_hooks(p, NULL), EINVAL);
	assert_fails(quire_set_page_hooks(p + PAGES(2), &checks), ENOMEM);
	assert_message_number("quire_set_page_hooks", p + PAGES(2));
	assert_fails(quire_set_page_hooks(q, &checks), ENODEV);
	assert_loads(p, pattern(0));
	assert_fails(quire_set_page_hooks(p, &checks), EBUSY);
	assert_message("quire_set_page_hooks", "MADV_PAGEOUT");
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	assert_loads(p, pattern(0));
	assert_int_equal(checker.in, 0);
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	fail_arm(FAIL_ALLOC, 1, false);
	assert_fails(quire_set_page_hooks(p, &checks), ENOMEM);
	assert_loads(p, pattern(0));
	assert_int_equal(checker.in, 0);
	assert_ok(quire_madvise(p, PAGES(2), 21 /* MADV_PAGEOUT */));
	assert_ok(quire_set_page_hooks(p + 5, &checks));
	assert_fails(quire_set_page_hooks(p, &checks), EBUSY);
	unmap(p, 2);
	unmap(q, 1);
	settle();
	assert_int_equal(checker.released, 1);
}

/* In two roles: the parent's, and with a path the child's, which stores and ends. */
static void B03_page_out_stamps_what_is_written_at_exit(void **state)
{
	char path[FILE_PATH_MAX], self[FILE_PATH_MAX];
	const char *given = getenv("B03_FILE");
	int fd, status;
	pid_t pid;
	char *p;

	(void)state;
	if (given) {
		fd = open(given, O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
		p = map_shared(fd, 4);
		assert_ok(quire_set_page_hooks(p, &checks));
		assert_stores(p + PAGES(1) + 5, 's');
		return;
	}
	fd = file_named(PAGES(4), path);
	stamp_file(fd, 4);
	assert_true(readlink("/proc/self/exe", self, sizeof(self)) < (ssize_t)sizeof(self));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("B03_FILE", path, 1);
		execl("/proc/self/exe", self, __func__, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	check_file(fd, 4);
	assert_int_equal(file_byte(fd, (off_t)PAGES(1) + 5), 's');
}

/* ---- many at once ---- */

#define THREADS 6
#define ROUNDS  400

static struct {
	char *addr;
	char *zeros; /* the same file, with a callback that answers so */
	_Atomic bool stop;
	_Atomic unsigned errors, wrong;
} crowd;

/* Either a byte that the file has had there, or that it has none. */
static void note(int got, size_t page)
{
	crowd.errors += got == -ENODATA;
	crowd.wrong += got != -ENODATA && got != 0 && got != pattern((off_t)PAGES(page));
}

static void *crowd_main(void *arg)
{
	volatile unsigned random = (unsigned)(uintptr_t)arg;
	sigset_t all;

	sigfillset(&all);
	/* Of the mapping that is touched without a guard; the guards see to it for theirs. */
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!crowd.stop) {
		struct quire_guard outer, inner;
		size_t a;
		volatile size_t b;

		random = random * 1664525 + 1013904223;
		a = random >> 8 & 15;
		b = random >> 16 & 15;
		QUIRE_GUARD(&outer) {
			note(guarded_load(crowd.addr + PAGES(a), &inner), a);
			note(*(volatile unsigned char *)(crowd.addr + PAGES(b)), b);
		}
		QUIRE_ERROR(&outer) {
			note(-outer.error, b);
		}
		/* Nothing fails here, whatever is done to the file. */
		note(*(volatile unsigned char *)(crowd.zeros + PAGES(a)), a);
		crowd.zeros[PAGES(b) + 1] = 's';
	}
	crowd.wrong += is_blocked(SIGBUS) || !is_blocked(SIGUSR1);
	return NULL;
}

static void B03_guards_of_many_threads_while_the_file_is_cut_and_grown(void **state)
{
	int fd = file_new(PAGES(16));
	pthread_t threads[THREADS];
	struct quire_stats before;

	(void)state;
	crowd.stop = false;
	crowd.errors = crowd.wrong = 0;
	before = stats();
	crowd.addr = map_shared(fd, 16);
	crowd.zeros = map_shared(fd, 16);
	ask_of(crowd.zeros, 16, QUIRE_ANSWER_ZERO);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, (void *)(i + 1)), 0);
	for (int round = 0; round < ROUNDS || crowd.errors < 100; round++) {
		size_t bytes = PAGES(round % 16);

		assert_ok(round % 2 ? quire_ftruncate(fd, (off_t)bytes) : ftruncate(fd, (off_t)bytes));
		if (round % 3 == 0)
			assert_ok(quire_madvise(crowd.addr, PAGES(16), MADV_DONTNEED));
		assert_ok(quire_ftruncate(fd, (off_t)PAGES(16)));
	}
	crowd.stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(crowd.wrong, 0);
	assert_true(asked.times > 0);
	unmap(crowd.addr, 16);
	unmap(crowd.zeros, 16);
	settle();
	assert_int_equal(stats().resident_bytes, before.resident_bytes);
	assert_int_equal(stats().locked_bytes, before.locked_bytes);
	assert_int_equal(stats().dirty_bytes, before.dirty_bytes);
}

static void B03_errors_leave_nothing_behind(void **state)
{
	int fd = file_new(PAGES(PAGES_OF_FILE));
	struct quire_stats before = stats();
	char *p = map_shared(fd, PAGES_OF_FILE), *q = map_private(fd, PAGES_OF_FILE);
	struct quire_guard guard;

	(void)state;
	storage_fails(FAIL_READ, EIO);
	for (int round = 0; round < 2000; round++) {
		assert_int_equal(guarded_store(p + PAGES(round % PAGES_OF_FILE), 1, &guard), -EIO);
		assert_int_equal(guarded_store(q + PAGES(round % PAGES_OF_FILE), 1, &guard), -EIO);
	}
	storage_fails(FAIL_READ, 0);
	assert_int_equal(stats().resident_bytes, before.resident_bytes);
	assert_true(grown(before, error_faults) >= 4000);
	unmap(p, PAGES_OF_FILE);
	unmap(q, PAGES_OF_FILE);
	settle();
	assert_int_equal(stats().resident_bytes, before.resident_bytes);
	assert_int_equal(stats().areas, before.areas);
}

static const struct conformance_test tests[] = {
    TEST(B03_guard_of_a_page_that_is_there_catches_nothing),
    TEST(B03_guard_tells_a_page_cut_off_by_another_process),
    TEST(B03_guard_tells_EIO_and_the_page_works_when_the_disk_does),
    TEST(B03_guard_tells_a_device_that_is_gone),
    TEST_IN_OWN_PROCESS(B03_guard_tells_a_full_disk_where_nothing_can_be_paged_out, ""),
    TEST(B03_guards_nest_and_the_innermost_catches),
    TEST(B03_guard_is_left_by_break_continue_return_and_goto),
    TEST(B03_guard_catches_nothing_that_is_not_managed),
    TEST(B03_guard_lets_a_thread_that_blocks_everything_touch_a_mapping),
    TEST(B03_error_in_a_guard_restores_the_signal_mask),
    TEST(B03_guard_works_on_the_alternate_signal_stack),
    TEST(B03_guard_in_a_signal_handler_catches_its_own),
    TEST_BEFORE_START(B03_guard_is_not_in_force_inside_a_call, ""),
    TEST(B03_load_and_store_copy),
    TEST(B03_load_and_store_tell_how_far_they_came),
    TEST(B03_callback_is_told_what_has_failed_and_may_let_it_fail),
    TEST(B03_callback_retries_until_the_storage_works),
    TEST(B03_callback_makes_a_file_longer_that_was_cut),
    TEST(B03_zeros_are_never_written_unless_stored_to),
    TEST(B03_zeros_are_seen_by_no_mapping_that_has_not_asked_for_them),
    TEST(B03_zeros_end_when_the_page_was_out),
    TEST(B03_zeros_are_not_written_again_after_a_sync_that_failed),
    TEST(B03_zeros_past_the_end_are_never_part_of_the_file),
    TEST(B03_zeros_past_the_end_are_mapped_along_with_nothing),
    TEST(B03_zeros_of_a_private_mapping_are_its_own),
    TEST(B03_callback_makes_room_on_a_full_disk),
    TEST(B03_writeback_is_not_retried_for_ever),
    TEST(B03_callbacks_belong_to_their_range_and_move_along),
    TEST(B03_on_error_of_the_wrong_range_changes_nothing),
    TEST(B03_page_in_sees_every_page_that_comes_in),
    TEST(B03_page_that_page_in_refuses_is_never_seen),
    TEST(B03_page_out_stamps_what_msync_writes),
    TEST(B03_page_out_stamps_what_is_evicted_and_unmapped),
    TEST(B03_stamp_is_not_seen_in_memory_before_the_page_comes_in_again),
    TEST(B03_page_that_page_out_refuses_stays_dirty),
    TEST(B03_bytes_that_a_file_has_grown_by_pass_page_in),
    TEST(B03_hooks_are_released_when_the_file_is_mapped_no_more),
    TEST(B03_hooks_that_cannot_be_set_change_nothing),
    TEST_IN_OWN_PROCESS(B03_page_out_stamps_what_is_written_at_exit, ""),
    TEST(B03_guards_of_many_threads_while_the_file_is_cut_and_grown),
    TEST(B03_errors_leave_nothing_behind),
};

CONFORMANCE_MAIN(tests)
