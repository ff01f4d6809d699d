/* SPDX-License-Identifier: MIT */
/*
 * test-io.c - asynchronous transfers, with io_uring and without
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/io.h"
#include "util/fail.h"
#include "util/lock.h"

#define BLOCK   4096u
#define DEPTH   4u
#define WAIT_S  10
#define THREADS 2u
#define EACH    500u

/* ---- helpers ---- */

struct job {
	struct io_transfer transfer; /* first: a job is found from its transfer */
	_Atomic uint32_t *count;     /* raised by done */
	struct io *io;
	_Atomic uint32_t *hold; /* done waits until this is not 0 */
	char *check;            /* a write is followed by a read into this */
	unsigned calls;
};

static void raise_count(_Atomic uint32_t *count)
{
	atomic_fetch_add(count, 1);
	futex_wake_all(count);
}

/* Waits until *count is at least n. False after WAIT_S seconds. */
static bool wait_count(_Atomic uint32_t *count, uint32_t n)
{
	const struct timespec tick = {.tv_nsec = 100000000};
	time_t end = time(NULL) + WAIT_S;
	uint32_t now;

	while ((now = atomic_load(count)) < n && time(NULL) <= end)
		futex_wait(count, now, &tick);
	return now >= n;
}

static void job_done(struct io_transfer *transfer)
{
	struct job *job = (struct job *)transfer;

	job->calls++;
	raise_count(job->count);
}

static void job_set(struct job *job, enum io_op op, int fd, void *buf, size_t len, uint64_t offset, _Atomic uint32_t *count)
{
	memset(job, 0, sizeof(*job));
	job->transfer = (struct io_transfer){.op = op, .fd = fd, .buf = buf, .len = len, .offset = offset, .done = job_done};
	job->count = count;
}

static int temp_file(void)
{
	char name[] = "test-io-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	return fd;
}

static void fill(char *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(i * 7 + i / BLOCK + seed * 131);
}

/* One transfer from start to done. */
static ssize_t transfer_once(struct io *io, enum io_op op, int fd, void *buf, size_t len, uint64_t offset)
{
	_Atomic uint32_t count = 0;
	struct job job;

	job_set(&job, op, fd, buf, len, offset, &count);
	io_start(io, &job.transfer);
	assert_true(wait_count(&count, 1));
	assert_int_equal(job.calls, 1);
	return job.transfer.ret;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* ---- the same tests for both ways of working ---- */

static bool with_uring = true, with_threads = false;

/* *state comes in as the wanted way, and goes on as the io. */
static int open_io(void **state)
{
	const bool *uring = *state;
	struct io *io;

	if (io_create(DEPTH, *uring, &io) < 0)
		return -1;
	*state = io;
	if (*uring && !io_is_uring(io))
		print_message("io_uring is refused here: this ran on threads\n");
	return 0;
}

static int close_io(void **state)
{
	io_destroy(*state);
	return 0;
}

static void what_was_written_is_read_back(void **state)
{
	static char out[16 * BLOCK], in[16 * BLOCK];
	int fd = temp_file();

	fill(out, sizeof(out), 1);
	assert_int_equal(transfer_once(*state, IO_WRITE, fd, out, sizeof(out), BLOCK), sizeof(out));
	assert_int_equal(transfer_once(*state, IO_READ, fd, in, sizeof(in), BLOCK), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	close(fd);
}

static void a_read_at_the_end_is_short_and_past_it_is_nothing(void **state)
{
	char buf[BLOCK];
	int fd = temp_file();

	assert_int_equal(ftruncate(fd, 1000), 0);
	assert_int_equal(transfer_once(*state, IO_READ, fd, buf, BLOCK, 0), 1000);
	assert_int_equal(transfer_once(*state, IO_READ, fd, buf, BLOCK, BLOCK), 0);
	close(fd);
}

static void an_error_comes_back_as_minus_errno(void **state)
{
	char buf[BLOCK] = "";
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(transfer_once(*state, IO_READ, -1, buf, BLOCK, 0), -EBADF);
	assert_int_equal(transfer_once(*state, IO_WRITE, fd, buf, BLOCK, 0), -EBADF);
	close(fd);
}

/* A write that was done goes on as the read of the same block. */
static void write_done(struct io_transfer *transfer)
{
	struct job *job = (struct job *)transfer;

	assert_int_equal(transfer->ret, BLOCK);
	transfer->op = IO_READ;
	transfer->buf = job->check;
	transfer->done = job_done;
	io_start(job->io, transfer);
}

struct burst {
	struct io *io;
	int fd;
	unsigned base;
	char *out, *in;
	struct job *jobs;
	_Atomic uint32_t *count;
};

static void *start_burst(void *arg)
{
	struct burst *burst = arg;

	for (unsigned i = 0; i < EACH; i++) {
		size_t at = (burst->base + i) * (size_t)BLOCK;
		struct job *job = &burst->jobs[burst->base + i];

		job_set(job, IO_WRITE, burst->fd, burst->out + at, BLOCK, at, burst->count);
		job->transfer.done = write_done;
		job->io = burst->io;
		job->check = burst->in + at;
		io_start(burst->io, &job->transfer);
	}
	return NULL;
}

static void more_transfers_than_the_depth_from_two_threads_are_each_done_once(void **state)
{
	size_t bytes = (size_t)THREADS * EACH * BLOCK;
	char *out = malloc(bytes), *in = calloc(1, bytes);
	struct job *jobs = calloc(THREADS * EACH, sizeof(*jobs));
	struct burst bursts[THREADS];
	pthread_t threads[THREADS];
	_Atomic uint32_t count = 0;
	int fd = temp_file();

	fill(out, bytes, 2);
	for (unsigned i = 0; i < THREADS; i++) {
		bursts[i] = (struct burst){*state, fd, i * EACH, out, in, jobs, &count};
		assert_int_equal(pthread_create(&threads[i], NULL, start_burst, &bursts[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(wait_count(&count, THREADS * EACH));
	assert_memory_equal(in, out, bytes);
	for (unsigned i = 0; i < THREADS * EACH; i++)
		assert_int_equal(jobs[i].calls, 1);
	free(jobs);
	free(in);
	free(out);
	close(fd);
}

static void hold_done(struct io_transfer *transfer)
{
	struct job *job = (struct job *)transfer;

	if (wait_count(job->hold, 1))
		job->calls++;
	raise_count(job->count);
}

static void a_read_never_waits_for_writes(void **state)
{
	_Atomic uint32_t written = 0, go = 0;
	struct job jobs[3 * DEPTH];
	char out[BLOCK] = "w", in[BLOCK];
	int fd = temp_file();

	/* Every thread that serves writes is held in done, and more writes than the depth are behind it. */
	for (unsigned i = 0; i < 3 * DEPTH; i++) {
		job_set(&jobs[i], IO_WRITE, fd, out, BLOCK, 0, &written);
		jobs[i].transfer.done = hold_done;
		jobs[i].hold = &go;
		io_start(*state, &jobs[i].transfer);
	}
	assert_int_equal(transfer_once(*state, IO_READ, fd, in, BLOCK, BLOCK), 0);
	raise_count(&go);
	assert_true(wait_count(&written, 3 * DEPTH));
	for (unsigned i = 0; i < 3 * DEPTH; i++)
		assert_int_equal(jobs[i].calls, 1);
	close(fd);
}

static sigset_t seen_mask;
static char seen_name[16];

static void look_around_done(struct io_transfer *transfer)
{
	pthread_sigmask(SIG_BLOCK, NULL, &seen_mask);
	pthread_getname_np(pthread_self(), seen_name, sizeof(seen_name));
	job_done(transfer);
}

static void done_runs_on_a_named_thread_with_all_signals_blocked(void **state)
{
	_Atomic uint32_t count = 0;
	char buf[BLOCK];
	struct job job;

	job_set(&job, IO_READ, -1, buf, BLOCK, 0, &count);
	job.transfer.done = look_around_done;
	/* The name is given to a thread that may be running already; this one has done something. */
	transfer_once(*state, IO_READ, -1, buf, BLOCK, 0);
	io_start(*state, &job.transfer);
	assert_true(wait_count(&count, 1));
	assert_string_equal(seen_name, "quire-io");
	for (int sig = 1; sig < 32; sig++) /* above: the C library's own */
		if (sig != SIGKILL && sig != SIGSTOP)
			assert_true(sigismember(&seen_mask, sig));
}

static struct io *handler_io;
static struct job handler_job;

static void on_signal(int sig)
{
	(void)sig;
	io_start(handler_io, &handler_job.transfer);
}

static void a_transfer_can_be_started_in_a_signal_handler(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, old;
	_Atomic uint32_t count = 0;
	char buf[BLOCK] = "s";
	int fd = temp_file();

	sigfillset(&action.sa_mask);
	assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
	handler_io = *state;
	job_set(&handler_job, IO_WRITE, fd, buf, BLOCK, 0, &count);
	raise(SIGUSR1);
	assert_true(wait_count(&count, 1));
	assert_int_equal(handler_job.transfer.ret, BLOCK);
	sigaction(SIGUSR1, &old, NULL);
	close(fd);
}

struct cancelled {
	struct io *io;
	struct job job;
	int fd;
	char buf[BLOCK];
	ssize_t ret;
	_Atomic uint32_t count;
};

static void *cancelled_main(void *arg)
{
	struct cancelled *cancelled = arg;
	struct io_transfer plain = {.op = IO_WRITE, .fd = cancelled->fd, .buf = cancelled->buf, .len = BLOCK, .offset = BLOCK};

	pthread_cancel(pthread_self());
	cancelled->ret = io_perform(&plain);
	plain.op = IO_READ;
	cancelled->ret += io_perform(&plain);
	io_start(cancelled->io, &cancelled->job.transfer);
	raise_count(&cancelled->count);
	pthread_testcancel();
	return NULL;
}

static void a_thread_is_not_cancelled_inside(void **state)
{
	static struct cancelled cancelled;
	pthread_t thread;
	void *result;

	memset(&cancelled, 0, sizeof(cancelled));
	cancelled.io = *state;
	cancelled.fd = temp_file();
	job_set(&cancelled.job, IO_WRITE, cancelled.fd, cancelled.buf, BLOCK, 0, &cancelled.count);
	assert_int_equal(pthread_create(&thread, NULL, cancelled_main, &cancelled), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(cancelled.ret, 2 * BLOCK);
	/* Nor does its end cancel what it started. */
	assert_true(wait_count(&cancelled.count, 2));
	assert_int_equal(cancelled.job.transfer.ret, BLOCK);
	close(cancelled.fd);
}

/* With io_uring this fails if the caller submits: completions would be waiting for him to come back from the kernel. */
static void a_completion_does_not_wait_for_the_thread_that_started_it(void **state)
{
	_Atomic uint32_t *count = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const size_t bytes = 4u << 20;
	char *buf = aligned_alloc(BLOCK, bytes);
	const struct timespec tick = {.tv_nsec = 2000000};
	int fd = temp_file(), status, direct;
	char path[64];
	struct job job;
	pid_t child;

	fill(buf, bytes, 3);
	assert_int_equal(pwrite(fd, buf, bytes, 0), bytes);
	assert_int_equal(fsync(fd), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	job_set(&job, IO_READ, direct >= 0 ? direct : fd, buf, bytes, 0, count);
	io_start(*state, &job.transfer);
	child = vfork();
	if (child == 0) {
		/* The parent sleeps in the kernel, out of reach of signals, until this process ends. */
		for (int i = 0; i < WAIT_S * 100 && atomic_load(count) == 0; i++)
			syscall(SYS_nanosleep, &tick, NULL);
		_exit(atomic_load(count) == 1 ? 0 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(wait_count(count, 1));
	assert_int_equal(job.transfer.ret, bytes);
	if (direct >= 0)
		close(direct);
	close(fd);
	free(buf);
	munmap((void *)count, BLOCK);
}

static void a_completion_does_not_interrupt_the_thread_that_started_it(void **state)
{
	const size_t bytes = 4u << 20;
	char *buf = aligned_alloc(BLOCK, bytes);
	int fd = temp_file(), epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;
	_Atomic uint32_t count = 0;
	struct job job;

	fill(buf, bytes, 4);
	assert_int_equal(pwrite(fd, buf, bytes, 0), bytes);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	job_set(&job, IO_READ, fd, buf, bytes, 0, &count);
	io_start(*state, &job.transfer);
	assert_int_equal(epoll_wait(epoll, &event, 1, 50), 0);
	assert_true(wait_count(&count, 1));
	close(epoll);
	close(fd);
	free(buf);
}

/* ---- tests that make their own ---- */

static void destroy_waits_for_all_and_for_what_they_start(void **state)
{
	const bool modes[] = {true, false};

	(void)state;
	for (unsigned mode = 0; mode < 2; mode++) {
		static char out[64 * BLOCK], in[64 * BLOCK];
		static struct job jobs[64];
		_Atomic uint32_t count = 0;
		unsigned fds = open_fds();
		int fd = temp_file();
		struct io *io;

		assert_int_equal(io_create(DEPTH, modes[mode], &io), 0);
		fill(out, sizeof(out), 5);
		memset(in, 0, sizeof(in));
		for (unsigned i = 0; i < 64; i++) {
			job_set(&jobs[i], IO_WRITE, fd, out + i * BLOCK, BLOCK, i * BLOCK, &count);
			jobs[i].transfer.done = write_done;
			jobs[i].io = io;
			jobs[i].check = in + i * BLOCK;
			io_start(io, &jobs[i].transfer);
		}
		io_destroy(io);
		assert_int_equal(atomic_load(&count), 64);
		assert_memory_equal(in, out, sizeof(in));
		close(fd);
		assert_int_equal(open_fds(), fds);
	}
	io_destroy(NULL);
}

static void threads_are_used_when_they_are_asked_for(void **state)
{
	struct io *io;

	(void)state;
	assert_int_equal(io_create(DEPTH, false, &io), 0);
	assert_false(io_is_uring(io));
	io_destroy(io);
}

static void threads_take_over_when_there_are_no_descriptors_for_a_ring(void **state)
{
	struct rlimit old, none;
	char buf[BLOCK] = "t";
	int fd = temp_file();
	struct io *io;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(io_create(DEPTH, true, &io), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(io_is_uring(io));
	assert_int_equal(transfer_once(io, IO_WRITE, fd, buf, BLOCK, 0), BLOCK);
	io_destroy(io);
	close(fd);
}

/* In a child process: makes io_uring_setup or io_uring_enter fail with EPERM, as the profiles of containers do. */
static int work_under_seccomp(long refused)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	_Atomic uint32_t count = 0;
	char buf[BLOCK] = "p";
	struct job job;
	struct io *io;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		return 77;
	if (io_create(DEPTH, true, &io) < 0 || io_is_uring(io))
		return 1;
	job_set(&job, IO_WRITE, temp_file(), buf, BLOCK, 0, &count);
	io_start(io, &job.transfer);
	io_destroy(io);
	return job.calls == 1 && job.transfer.ret == BLOCK ? 0 : 2;
}

static void threads_take_over_when_io_uring_is_refused(void **state)
{
	const long refused[] = {SYS_io_uring_setup, SYS_io_uring_enter};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(work_under_seccomp(refused[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void a_failure_while_it_is_made_leaves_nothing_behind(void **state)
{
	const bool modes[] = {true, false};

	(void)state;
	for (unsigned mode = 0; mode < 2; mode++) {
		unsigned fds = open_fds();
		struct io *io;
		bool failed = true;

		for (int nth = 1; failed; nth++) {
			int r;

			assert_true(nth < 20);
			fail_arm(FAIL_ALLOC, nth, false);
			r = io_create(DEPTH, modes[mode], &io);
			failed = atomic_load(&fail_count[FAIL_ALLOC]) > 0;
			fail_arm(FAIL_ALLOC, 0, false);
			if (r == 0)
				io_destroy(io);
			else
				assert_int_equal(r, nth == 1 ? -ENOMEM : -EAGAIN);
			assert_true(failed || r == 0);
			assert_int_equal(open_fds(), fds);
		}
	}
}

static void what_is_kept_back_is_started_together(void **state)
{
	struct io *io = *state;
	char *bufs = aligned_alloc(BLOCK, 100 * BLOCK);
	_Atomic uint32_t count = 0, written = 0;
	static struct job jobs[100], write;
	struct io_plug plug;
	int fd = temp_file();

	fill(bufs, 100 * BLOCK, 5);
	assert_int_equal(pwrite(fd, bufs, 100 * BLOCK, 0), 100 * BLOCK);
	memset(bufs, 0, 100 * BLOCK);
	for (unsigned i = 0; i < 100; i++)
		job_set(&jobs[i], IO_READ, fd, bufs + i * BLOCK, BLOCK, i * BLOCK, &count);
	io_plug_begin(io, &plug);
	for (unsigned i = 0; i < 3; i++)
		io_start(io, &jobs[i].transfer);
	/* Writes are not kept back, and when one is done, so would the reads be. */
	job_set(&write, IO_WRITE, fd, bufs + 99 * BLOCK, 1, 100 * BLOCK, &written);
	io_start(io, &write.transfer);
	assert_true(wait_count(&written, 1));
	assert_int_equal(atomic_load(&count), 0);
	io_plug_flush();
	assert_true(wait_count(&count, 3));
	/* More than are kept back start by themselves. */
	for (unsigned i = 3; i < 99; i++)
		io_start(io, &jobs[i].transfer);
	assert_true(wait_count(&count, 3 + 32));
	io_plug_end();
	assert_true(wait_count(&count, 99));
	io_start(io, &jobs[99].transfer);
	assert_true(wait_count(&count, 100));
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(jobs[i].calls, 1);
		assert_int_equal(jobs[i].transfer.ret, BLOCK);
	}
	for (size_t i = 0; i < 100 * BLOCK; i++)
		assert_int_equal(bufs[i], (char)(i * 7 + i / BLOCK + 5 * 131));
	close(fd);
	free(bufs);
}

#define BOTH(name)                                                                                                                 \
	{#name "(io_uring)", name, open_io, close_io, &with_uring},                                                                \
	{                                                                                                                          \
#name "(threads)", name, open_io, close_io, &with_threads                                                          \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BOTH(what_was_written_is_read_back),
	    BOTH(a_read_at_the_end_is_short_and_past_it_is_nothing),
	    BOTH(an_error_comes_back_as_minus_errno),
	    BOTH(more_transfers_than_the_depth_from_two_threads_are_each_done_once),
	    BOTH(a_read_never_waits_for_writes),
	    BOTH(done_runs_on_a_named_thread_with_all_signals_blocked),
	    BOTH(a_transfer_can_be_started_in_a_signal_handler),
	    BOTH(a_thread_is_not_cancelled_inside),
	    BOTH(a_completion_does_not_wait_for_the_thread_that_started_it),
	    BOTH(a_completion_does_not_interrupt_the_thread_that_started_it),
	    BOTH(what_is_kept_back_is_started_together),
	    cmocka_unit_test(destroy_waits_for_all_and_for_what_they_start),
	    cmocka_unit_test(threads_are_used_when_they_are_asked_for),
	    cmocka_unit_test(threads_take_over_when_there_are_no_descriptors_for_a_ring),
	    cmocka_unit_test(threads_take_over_when_io_uring_is_refused),
	    cmocka_unit_test(a_failure_while_it_is_made_leaves_nothing_behind),
	};

	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
