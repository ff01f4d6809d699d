/* SPDX-License-Identifier: MIT */
/*
 * test-swap.c - the swap pager: a file that is made at the first write
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "pager/swap.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/lock.h"

#define DEPTH   4u
#define WAIT_S  10
#define THREADS 4u
#define EACH    100u

static size_t page;
static struct io *ios[2]; /* with io_uring, with threads */
static char dir[] = "test-swap-XXXXXX";

/* ---- helpers ---- */

enum way { RUN, SUBMIT, WAYS };

struct job {
	struct pager_request request; /* first: a job is found from its request */
	_Atomic uint32_t *count;
	unsigned calls;
};

static void job_done(struct pager_request *request)
{
	struct job *job = (struct job *)request;
	_Atomic uint32_t *count = job->count; /* the job is gone once it is counted */

	job->calls++;
	atomic_fetch_add(count, 1);
	futex_wake_all(count);
}

static bool wait_count(_Atomic uint32_t *count, uint32_t n)
{
	const struct timespec tick = {.tv_nsec = 100000000};
	time_t end = time(NULL) + WAIT_S;
	uint32_t now;

	while ((now = atomic_load(count)) < n && time(NULL) <= end)
		futex_wait(count, now, &tick);
	return now >= n;
}

static void job_start(struct job *job, struct pager *pager, enum way way, enum pager_op op, uint64_t offset, void *buf, size_t len,
		      _Atomic uint32_t *count)
{
	memset(&job->request, 0xa5, sizeof(job->request)); /* the pager's own fields need not be set */
	job->request.op = op;
	job->request.offset = offset;
	job->request.buf = buf;
	job->request.len = len;
	job->request.done = job_done;
	job->count = count;
	job->calls = 0;
	if (way == RUN)
		pager->ops->run(pager, &job->request);
	else
		pager->ops->submit(pager, &job->request);
}

/* One transfer from start to done. Bytes, or -errno. */
static ssize_t transfer(struct pager *pager, enum way way, enum pager_op op, uint64_t offset, void *buf, size_t len)
{
	_Atomic uint32_t count = 0;
	struct job job;

	job_start(&job, pager, way, op, offset, buf, len, &count);
	if (way == RUN)
		assert_int_equal(job.calls, 1);
	assert_true(wait_count(&count, 1));
	assert_int_equal(job.calls, 1);
	return job.request.ret_error != 0 ? -job.request.ret_error : (ssize_t)job.request.ret_bytes;
}

static void *pages(unsigned n)
{
	void *buf = NULL;

	assert_int_equal(posix_memalign(&buf, page, n * page), 0);
	memset(buf, 0, n * page);
	return buf;
}

static void fill(void *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		((char *)buf)[i] = (char)(i * 7 + i / 512 + seed * 131 + 1);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static unsigned names_in(const char *path)
{
	DIR *stream = opendir(path);
	unsigned n = 0;

	assert_non_null(stream);
	while (readdir(stream) != NULL)
		n++;
	closedir(stream);
	return n - 2; /* . and .. */
}

static struct pager *open_pager(unsigned io, const char *where, bool direct)
{
	struct pager *pager = NULL;

	assert_int_equal(swap_pager_open(ios[io], where, direct, &pager), 0);
	return pager;
}

/* Runs check for a disk and for memory, direct and buffered, in each way, with both I/O layers. */
static void for_all(void (*check)(struct pager *pager, enum way way))
{
	for (unsigned i = 0; i < 2 * WAYS * 2 * 2; i++) {
		const char *where = i & 1 ? "/dev/shm" : dir;
		unsigned fds = open_fds();
		struct pager *pager;

		if (access(where, W_OK) < 0)
			continue;
		pager = open_pager(i >> 3 & 1, where, i & 2);
		check(pager, i & 4 ? SUBMIT : RUN);
		pager->ops->close(pager);
		assert_int_equal(open_fds(), fds);
		assert_int_equal(names_in(dir), 0);
	}
}

/* ---- tests ---- */

static void check_round_trip(struct pager *pager, enum way way)
{
	char *out = pages(8), *in = pages(8);

	fill(out, 8 * page, 1);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 8 * page), 8 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 8 * page), 8 * page);
	assert_memory_equal(in, out, 8 * page);
	/* Over what is there, and beyond the first TiB. */
	fill(out, 8 * page, 2);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 3 * page, out, page), page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 3 * page, in, page), page);
	assert_memory_equal(in, out, page);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, UINT64_C(1) << 40, out, 8 * page), 8 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, UINT64_C(1) << 40, in, 8 * page), 8 * page);
	assert_memory_equal(in, out, 8 * page);
	free(in);
	free(out);
}

static void what_was_written_is_read_back(void **state)
{
	(void)state;
	for_all(check_round_trip);
}

static void check_nothing_before_the_first_write(struct pager *pager, enum way way)
{
	char *in = pages(4), *zeros = pages(4);
	unsigned fds = open_fds();

	memset(in, 0xee, 4 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 5 * page, in, 4 * page), 4 * page);
	assert_memory_equal(in, zeros, 4 * page);
	assert_int_equal(pager->ops->discard(pager, 0, 4 * page), 0);
	assert_int_equal(pager->ops->sync(pager), 0);
	assert_int_equal(open_fds(), fds);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, in, page), page);
	assert_true(open_fds() > fds);
	free(zeros);
	free(in);
}

static void there_is_no_file_before_the_first_write(void **state)
{
	(void)state;
	for_all(check_nothing_before_the_first_write);
}

static void check_holes(struct pager *pager, enum way way)
{
	char *out = pages(1), *in = pages(8), *zeros = pages(8);

	fill(out, page, 3);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 3 * page, out, page), page);
	memset(in, 0xee, 8 * page);
	/* A hole, the page, the end of the file and beyond. */
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 8 * page), 8 * page);
	assert_memory_equal(in, zeros, 3 * page);
	assert_memory_equal(in + 3 * page, out, page);
	assert_memory_equal(in + 4 * page, zeros, 4 * page);
	memset(in, 0xee, 8 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 100 * page, in, 8 * page), 8 * page);
	assert_memory_equal(in, zeros, 8 * page);
	free(zeros);
	free(in);
	free(out);
}

static void what_was_never_written_reads_as_zeros(void **state)
{
	(void)state;
	for_all(check_holes);
}

static void check_discard(struct pager *pager, enum way way)
{
	char *out = pages(4), *in = pages(4);
	int r;

	fill(out, 4 * page, 4);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 4 * page), 4 * page);
	r = pager->ops->discard(pager, page, 2 * page);
	if (r != -EOPNOTSUPP) { /* the filesystem's word, not ours */
		assert_int_equal(r, 0);
		memset(out + page, 0, 2 * page);
	}
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 4 * page), 4 * page);
	assert_memory_equal(in, out, 4 * page);
	free(in);
	free(out);
}

static void what_was_discarded_reads_as_zeros(void **state)
{
	(void)state;
	for_all(check_discard);
}

static void check_no_size(struct pager *pager, enum way way)
{
	uint64_t size = 0;

	(void)way;
	assert_int_equal(pager->ops->size(pager, &size), 0);
	assert_true(size == UINT64_MAX - page + 1);
	assert_int_equal(pager->ops->resize(pager, page), -EOPNOTSUPP);
	assert_string_equal(pager->ops->name, "swap");
}

static void it_has_no_size(void **state)
{
	(void)state;
	for_all(check_no_size);
}

static void a_file_in_memory_is_not_direct(void **state)
{
	char *out = pages(1);
	struct pager *pager;

	(void)state;
	if (access("/dev/shm", W_OK) < 0)
		skip();
	pager = open_pager(0, "/dev/shm", true);
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, out, page), page);
	assert_false(pager->direct);
	pager->ops->close(pager);
	free(out);
}

struct burst {
	struct pager *pager;
	enum way way;
	unsigned base;
	char *buf;
	struct job *jobs;
	_Atomic uint32_t *count;
	pthread_barrier_t *barrier;
};

static void *start_burst(void *arg)
{
	struct burst *burst = arg;

	pthread_barrier_wait(burst->barrier);
	for (unsigned i = burst->base; i < burst->base + EACH; i++)
		job_start(&burst->jobs[i], burst->pager, burst->way, PAGER_WRITE, i * page, burst->buf + i * page, page,
			  burst->count);
	return NULL;
}

static void first_writes_of_many_threads_make_one_file(void **state)
{
	const unsigned n = THREADS * EACH;
	char *out = pages(n), *in = pages(n);
	struct job *jobs = calloc(n, sizeof(*jobs));

	(void)state;
	fill(out, n * page, 5);
	for (unsigned i = 0; i < 2 * WAYS; i++) {
		enum way way = i & 1 ? SUBMIT : RUN;
		unsigned fds = open_fds();
		struct pager *pager = open_pager(i >> 1 & 1, dir, true);
		struct burst bursts[THREADS];
		pthread_t threads[THREADS];
		pthread_barrier_t barrier;
		_Atomic uint32_t count = 0;

		pthread_barrier_init(&barrier, NULL, THREADS);
		for (unsigned t = 0; t < THREADS; t++) {
			bursts[t] = (struct burst){pager, way, t * EACH, out, jobs, &count, &barrier};
			assert_int_equal(pthread_create(&threads[t], NULL, start_burst, &bursts[t]), 0);
		}
		for (unsigned t = 0; t < THREADS; t++)
			pthread_join(threads[t], NULL);
		pthread_barrier_destroy(&barrier);
		assert_true(wait_count(&count, n));
		for (unsigned k = 0; k < n; k++)
			assert_int_equal(jobs[k].request.ret_error, 0);
		memset(in, 0, n * page);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, n * page), n * page);
		assert_memory_equal(in, out, n * page);
		pager->ops->close(pager);
		assert_int_equal(open_fds(), fds);
	}
	free(jobs);
	free(in);
	free(out);
}

static void a_missing_directory_is_named_by_its_error_and_can_appear_later(void **state)
{
	char path[sizeof(dir) + 8];
	char *buf = pages(1);

	(void)state;
	snprintf(path, sizeof(path), "%s/later", dir);
	for (enum way way = 0; way < WAYS; way++) {
		struct pager *pager = open_pager(0, path, true);

		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, buf, page), -ENOENT);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, buf, page), page);
		assert_int_equal(mkdir(path, 0700), 0);
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, buf, page), page);
		assert_int_equal(rmdir(path), 0);
		pager->ops->close(pager);
	}
	free(buf);
}

static void something_else_than_a_directory_is_named_by_its_error(void **state)
{
	char path[sizeof(dir) + 8];
	char *buf = pages(1);
	struct pager *pager;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	pager = open_pager(0, path, true);
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, buf, page), -ENOTDIR);
	pager->ops->close(pager);
	assert_int_equal(unlink(path), 0);
	free(buf);
}

static void no_descriptors_left_is_reported_and_can_pass(void **state)
{
	struct rlimit old, limit;
	char *buf = pages(1);
	struct pager *pager = open_pager(0, dir, true);
	unsigned fds = open_fds();
	ssize_t result = -EMFILE;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	for (limit.rlim_cur = 0; result == -EMFILE; limit.rlim_cur++) {
		assert_true(limit.rlim_cur < 64);
		assert_int_equal(open_fds(), fds);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		result = transfer(pager, RUN, PAGER_WRITE, 0, buf, page);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	}
	assert_int_equal(result, page);
	pager->ops->close(pager);
	free(buf);
}

/* In a child process with mounts of its own: a disk of eight pages. */
static int work_on_a_full_disk(enum way way)
{
	char *out = pages(8), *in = pages(8);
	struct pager *pager;
	char options[32];
	struct io *io;

	snprintf(options, sizeof(options), "size=%zu", 8 * page);
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return 77;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("swap", dir, "tmpfs", 0, options) < 0)
		return 77;
	if (io_create(DEPTH, false, &io) < 0 || swap_pager_open(io, dir, true, &pager) < 0)
		return 1;
	fill(out, 8 * page, 9);
	if (transfer(pager, way, PAGER_WRITE, 0, out, 6 * page) != (ssize_t)(6 * page))
		return 2;
	if (transfer(pager, way, PAGER_WRITE, 6 * page, out, 8 * page) != -ENOSPC)
		return 3;
	if (transfer(pager, way, PAGER_READ, 0, in, 6 * page) != (ssize_t)(6 * page) || memcmp(in, out, 6 * page) != 0)
		return 4;
	/* Room is made, and the same write succeeds. */
	if (pager->ops->discard(pager, 0, 8 * page) != 0)
		return 5;
	if (transfer(pager, way, PAGER_WRITE, 6 * page, out, 8 * page) != (ssize_t)(8 * page))
		return 6;
	pager->ops->close(pager);
	io_destroy(io);
	return 0;
}

static void a_full_disk_is_reported_and_what_was_written_is_kept(void **state)
{
	(void)state;
	for (enum way way = 0; way < WAYS; way++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(work_on_a_full_disk(way));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void a_write_past_the_size_limit_is_reported_and_the_rest_is_kept(void **state)
{
	struct rlimit old, limit;
	sigset_t xfsz, before;
	char *out = pages(2), *in = pages(2);
	struct pager *pager = open_pager(0, dir, true);

	(void)state;
	fill(out, 2 * page, 6);
	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &xfsz, &before), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 4 * page;
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, out, 2 * page), 2 * page);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 4 * page, out, page), -EFBIG);
	assert_int_equal(transfer(pager, SUBMIT, PAGER_WRITE, 4 * page, out, page), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(transfer(pager, RUN, PAGER_READ, 0, in, 2 * page), 2 * page);
	assert_memory_equal(in, out, 2 * page);
	pager->ops->close(pager);
	free(in);
	free(out);
}

static void check_injected(struct pager *pager, enum way way)
{
	char *out = pages(1), *in = pages(1);

	fill(out, page, 7);
	fail_arm(FAIL_WRITE, 1, false);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page), -EIO);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page), page);
	fail_arm(FAIL_READ, 1, false);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, page), -EIO);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, page), page);
	assert_memory_equal(in, out, page);
	free(in);
	free(out);
}

static void injected_failures_are_reported(void **state)
{
	(void)state;
	for_all(check_injected);
}

static void no_memory_is_reported(void **state)
{
	struct pager *pager = NULL;

	(void)state;
	for (int nth = 1; nth <= 2; nth++) {
		fail_arm(FAIL_ALLOC, nth, false);
		assert_int_equal(swap_pager_open(ios[0], dir, true, &pager), -ENOMEM);
		assert_null(pager);
	}
	fail_arm(FAIL_ALLOC, 0, false);
}

/* In a child process: makes the kernel say that there are no unnamed files here. */
static int work_with_named_files(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
	    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	char *out = pages(2), *in = pages(2);
	char left[sizeof(dir) + 64];
	struct pager *pager;
	struct io *io;

	/* What another process with this thread's id left behind is stepped over. */
	snprintf(left, sizeof(left), "%s/.quire-swap-%d-0", dir, (int)syscall(SYS_gettid));
	close(open(left, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		return 77;
	if (io_create(DEPTH, false, &io) < 0 || swap_pager_open(io, dir, true, &pager) < 0)
		return 1;
	fill(out, 2 * page, 8);
	if (transfer(pager, RUN, PAGER_WRITE, page, out, 2 * page) != (ssize_t)(2 * page))
		return 2;
	if (names_in(dir) != 1 || unlink(left) < 0)
		return 3;
	if (transfer(pager, SUBMIT, PAGER_READ, page, in, 2 * page) != (ssize_t)(2 * page) || memcmp(in, out, 2 * page) != 0)
		return 4;
	pager->ops->close(pager);
	io_destroy(io);
	return 0;
}

static void a_named_file_serves_where_there_are_no_unnamed_ones(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0)
		_exit(work_with_named_files());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(names_in(dir), 0);
}

/* ---- */

static int start_io(void **state)
{
	(void)state;
	return io_create(DEPTH, true, &ios[0]) < 0 || io_create(DEPTH, false, &ios[1]) < 0;
}

static int stop_io(void **state)
{
	(void)state;
	io_destroy(ios[0]);
	io_destroy(ios[1]);
	return 0;
}

static int start(void **state)
{
	page = page_size();
	if (mkdtemp(dir) == NULL)
		return -1;
	return start_io(state);
}

static int end(void **state)
{
	stop_io(state);
	return rmdir(dir);
}

/* A test that forks does so without threads: a copy of them would be of no use, and the sanitizers forbid it. */
#define FORKING(name) cmocka_unit_test_setup_teardown(name, stop_io, start_io)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_written_is_read_back),
	    cmocka_unit_test(there_is_no_file_before_the_first_write),
	    cmocka_unit_test(what_was_never_written_reads_as_zeros),
	    cmocka_unit_test(what_was_discarded_reads_as_zeros),
	    cmocka_unit_test(it_has_no_size),
	    cmocka_unit_test(a_file_in_memory_is_not_direct),
	    cmocka_unit_test(first_writes_of_many_threads_make_one_file),
	    cmocka_unit_test(a_missing_directory_is_named_by_its_error_and_can_appear_later),
	    cmocka_unit_test(something_else_than_a_directory_is_named_by_its_error),
	    cmocka_unit_test(no_descriptors_left_is_reported_and_can_pass),
	    FORKING(a_full_disk_is_reported_and_what_was_written_is_kept),
	    cmocka_unit_test(a_write_past_the_size_limit_is_reported_and_the_rest_is_kept),
	    cmocka_unit_test(injected_failures_are_reported),
	    cmocka_unit_test(no_memory_is_reported),
	    FORKING(a_named_file_serves_where_there_are_no_unnamed_ones),
	};

	return cmocka_run_group_tests_name("swap", tests, start, end);
}
