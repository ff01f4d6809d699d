/* SPDX-License-Identifier: MIT */
/*
 * test-file.c - the file pager: direct and buffered, run and submitted, with io_uring and with threads
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pager/file.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/lock.h"

#define DEPTH   4u
#define WAIT_S  10
#define THREADS 2u
#define EACH    500u

static size_t page;
static struct io *ios[2]; /* with io_uring, with threads */

/* ---- helpers ---- */

/* The two ways of making a transfer. */
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
	assert_true(job.request.ret_error >= 0);
	return job.request.ret_error != 0 ? -job.request.ret_error : (ssize_t)job.request.ret_bytes;
}

static int temp_file(void)
{
	char name[] = "test-file-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(unlink(name), 0);
	return fd;
}

/* A file in memory, -1: there is no such filesystem. */
static int memory_file(void)
{
	return open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
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

static void no_matter(struct pager_request *request)
{
	(void)request;
}

/* The first transfer opens them: one of nothing at all. */
static void open_descriptions(struct pager *pager)
{
	struct pager_request request = {.op = PAGER_READ, .done = no_matter};

	pager->ops->run(pager, &request);
}

static struct pager *open_pager(unsigned io, int fd, bool writable, bool nowait, bool direct)
{
	struct pager *pager = NULL;

	assert_int_equal(file_pager_open(ios[io], fd, writable, nowait, direct, &pager), 0);
	open_descriptions(pager);
	assert_true(pager->align_bytes >= 1 && pager->align_bytes <= page);
	return pager;
}

/* Does the filesystem of the working directory have direct I/O? */
static bool have_direct(void)
{
	int fd = temp_file();
	struct pager *pager = open_pager(0, fd, true, false, true);
	bool direct = pager->direct;

	pager->ops->close(pager);
	close(fd);
	return direct;
}

/* Runs check once for every kind of file, pager, way and I/O layer that there is. */
static void for_all(void (*check)(int fd, struct pager *pager, enum way way))
{
	for (unsigned i = 0; i < 2 * WAYS * 2 * 2 * 2; i++) {
		bool memory = i & 1, direct = i & 2, nowait = i & 4, is_direct;
		enum way way = i & 8 ? SUBMIT : RUN;
		unsigned fds = open_fds();
		int fd = memory ? memory_file() : temp_file();
		struct pager *pager;

		if (fd < 0)
			continue;
		pager = open_pager(i >> 4 & 1, fd, true, nowait, direct);
		is_direct = pager->direct;
		check(fd, pager, way);
		assert_int_equal(pager->direct, is_direct); /* no transfer was refused */
		pager->ops->close(pager);
		close(fd);
		assert_int_equal(open_fds(), fds);
	}
}

/* ---- transfers ---- */

static void check_round_trip(int fd, struct pager *pager, enum way way)
{
	char *out = pages(16), *in = pages(16), *plain = pages(16);

	fill(out, 16 * page, 1);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 2 * page, out, 16 * page), 16 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 2 * page, in, 16 * page), 16 * page);
	assert_memory_equal(in, out, 16 * page);
	assert_int_equal(pread(fd, plain, 16 * page, (off_t)(2 * page)), 16 * page);
	assert_memory_equal(plain, out, 16 * page);
	/* What was skipped is a hole, and is part of the file. */
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, page), page);
	memset(plain, 0, page);
	assert_memory_equal(in, plain, page);
	free(plain);
	free(in);
	free(out);
}

static void what_was_written_is_read_back(void **state)
{
	(void)state;
	for_all(check_round_trip);
}

static void check_tail(int fd, struct pager *pager, enum way way)
{
	char *out = pages(3), *in = pages(3);
	struct stat st;
	size_t len = page + 905;
	ssize_t n;

	fill(out, 3 * page, 2);
	/* Twice: the second finds the tail of the first in the kernel's cache. */
	for (unsigned i = 0; i < 2; i++) {
		out[0]++;
		out[len - 1]++;
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, len), len);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, len);
		memset(in, 0xee, 3 * page);
		n = transfer(pager, way, PAGER_READ, 0, in, 3 * page);
		assert_int_equal(n, len);
		assert_memory_equal(in, out, len);
	}
	/* A write of the tail alone, of less than any block. */
	out[page]++;
	assert_int_equal(transfer(pager, way, PAGER_WRITE, page, out + page, 3), 3);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 2 * page), len);
	assert_memory_equal(in, out, len);
	assert_int_equal(transfer(pager, way, PAGER_READ, page, in, page), 905);
	assert_memory_equal(in, out + page, 905);
	free(in);
	free(out);
}

static void an_unaligned_tail_is_written_and_the_file_ends_with_it(void **state)
{
	(void)state;
	for_all(check_tail);
}

/* How many writes this thread has made, of any kind; -1: the kernel does not count them. */
static long writes_made(void)
{
	FILE *file = fopen("/proc/thread-self/io", "re");
	char line[64];
	long n = -1;

	while (file != NULL && n < 0 && fgets(line, sizeof(line), file) != NULL)
		(void)sscanf(line, "syscw: %ld", &n);
	if (file != NULL)
		fclose(file);
	return n;
}

/* In two, a write(2) of the program's could come between: a part of the page would be older than it, and a part younger. */
static void the_page_that_holds_the_end_is_written_at_once(void **state)
{
	char *out = pages(4), *in = pages(4);

	(void)state;
	if (!have_direct() || writes_made() < 0)
		skip();
	for (size_t whole = 0; whole < 4; whole++) {
		for (size_t tail = 1; tail < page; tail += 511) {
			int fd = temp_file();
			struct pager *pager = open_pager(0, fd, true, false, true);
			size_t len = whole * page + tail;
			bool blocks = tail % pager->align_bytes == 0;
			long before = writes_made();

			fill(out, 4 * page, (unsigned)tail);
			assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, out, len), len);
			assert_int_equal(writes_made() - before, whole == 0 || blocks ? 1 : 2);
			assert_int_equal(pread(fd, in, 4 * page, 0), len);
			assert_memory_equal(in, out, len);
			pager->ops->close(pager);
			close(fd);
		}
	}
	free(in);
	free(out);
}

static void check_end(int fd, struct pager *pager, enum way way)
{
	char *out = pages(4), *in = pages(4);

	fill(out, 4 * page, 3);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, page), 0);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 4 * page), 4 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 4 * page, in, page), 0);
	assert_int_equal(transfer(pager, way, PAGER_READ, 1000 * page, in, 4 * page), 0);
	assert_int_equal(transfer(pager, way, PAGER_READ, 3 * page, in, 4 * page), page);
	assert_memory_equal(in, out + 3 * page, page);
	/* The file shrinks under the pager. */
	assert_int_equal(ftruncate(fd, (off_t)page + 1), 0);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 4 * page), page + 1);
	assert_memory_equal(in, out, page + 1);
	assert_int_equal(transfer(pager, way, PAGER_READ, 2 * page, in, page), 0);
	/* Nothing to do is nothing wrong. */
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 0), 0);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 0), 0);
	free(in);
	free(out);
}

static void a_read_ends_where_the_file_ends(void **state)
{
	(void)state;
	for_all(check_end);
}

static void check_absurd(int fd, struct pager *pager, enum way way)
{
	char *buf = pages(1);
	struct stat st;

	assert_int_equal(transfer(pager, way, PAGER_READ, UINT64_MAX - page + 1, buf, page), -EINVAL);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, (uint64_t)INT64_MAX - page + 1, buf, page), -EINVAL);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, buf, SIZE_MAX - page + 1), -EINVAL);
	assert_int_equal(pager->ops->resize(pager, UINT64_MAX), -EFBIG);
	assert_int_equal(pager->ops->discard(pager, page, UINT64_MAX), -EINVAL);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	free(buf);
}

static void offsets_that_no_file_has_are_refused(void **state)
{
	(void)state;
	for_all(check_absurd);
}

struct burst {
	struct pager *pager;
	enum pager_op op;
	unsigned base;
	char *buf;
	struct job *jobs;
	_Atomic uint32_t *count;
};

static void *start_burst(void *arg)
{
	struct burst *burst = arg;

	for (unsigned i = burst->base; i < burst->base + EACH; i++)
		job_start(&burst->jobs[i], burst->pager, SUBMIT, burst->op, i * page, burst->buf + i * page, page, burst->count);
	return NULL;
}

static void submit_burst(struct pager *pager, enum pager_op op, char *buf)
{
	struct job *jobs = calloc(THREADS * EACH, sizeof(*jobs));
	struct burst bursts[THREADS];
	pthread_t threads[THREADS];
	_Atomic uint32_t count = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		bursts[i] = (struct burst){pager, op, i * EACH, buf, jobs, &count};
		assert_int_equal(pthread_create(&threads[i], NULL, start_burst, &bursts[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(wait_count(&count, THREADS * EACH));
	for (unsigned i = 0; i < THREADS * EACH; i++) {
		assert_int_equal(jobs[i].calls, 1);
		assert_int_equal(jobs[i].request.ret_error, 0);
		assert_int_equal(jobs[i].request.ret_bytes, page);
	}
	free(jobs);
}

static void more_requests_than_the_depth_from_two_threads(void **state)
{
	const unsigned n = THREADS * EACH;
	char *out = pages(n), *in = pages(n);

	(void)state;
	fill(out, n * page, 4);
	for (unsigned io = 0; io < 2; io++) {
		int fd = temp_file();
		struct pager *pager = open_pager(io, fd, true, false, true);

		submit_burst(pager, PAGER_WRITE, out);
		memset(in, 0, n * page);
		submit_burst(pager, PAGER_READ, in);
		assert_memory_equal(in, out, n * page);
		pager->ops->close(pager);
		close(fd);
	}
	free(in);
	free(out);
}

/* ---- direct and buffered ---- */

static void a_file_in_memory_is_never_direct(void **state)
{
	int fd = memory_file();
	struct pager *pager;

	(void)state;
	if (fd < 0)
		skip();
	pager = open_pager(0, fd, true, false, true);
	assert_false(pager->direct);
	pager->ops->close(pager);
	close(fd);
}

static void direct_is_not_used_where_it_is_not_allowed(void **state)
{
	int fd = temp_file();
	struct pager *pager = open_pager(0, fd, true, false, false);

	(void)state;
	assert_false(pager->direct);
	pager->ops->close(pager);
	close(fd);
}

/* Bytes of the file that lie in the kernel's page cache. */
static size_t cached_bytes(int fd, size_t len)
{
	unsigned char vec[64];
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	size_t n = 0;

	assert_true(map != MAP_FAILED && len / page <= sizeof(vec));
	assert_int_equal(mincore(map, len, vec), 0);
	for (size_t i = 0; i < len / page; i++)
		n += vec[i] & 1;
	munmap(map, len);
	return n * page;
}

static void a_direct_pager_leaves_the_kernels_cache_empty(void **state)
{
	char *buf = pages(16);
	int fd = temp_file();
	struct pager *pager = open_pager(0, fd, true, false, true);

	(void)state;
	if (!pager->direct)
		skip();
	for (enum way way = 0; way < WAYS; way++) {
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, buf, 16 * page), 16 * page);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, buf, 16 * page), 16 * page);
		assert_int_equal(cached_bytes(fd, 16 * page), 0);
	}
	pager->ops->close(pager);
	close(fd);
	free(buf);
}

static void a_direct_transfer_that_is_refused_switches_to_buffered_for_good(void **state)
{
	char *out = pages(2), *in = pages(2);

	(void)state;
	if (!have_direct())
		skip();
	fill(out, 2 * page, 5);
	for (unsigned i = 0; i < 2 * WAYS; i++) {
		int fd = temp_file();
		struct pager *pager = open_pager(i & 1, fd, true, false, true);
		enum way way = i & 2 ? SUBMIT : RUN;

		assert_true(pager->direct);
		pager->align_bytes = 1; /* believed, so that the write below is tried directly */
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page + 333), page + 333);
		assert_false(pager->direct);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 2 * page), page + 333);
		assert_memory_equal(in, out, page + 333);
		pager->ops->close(pager);
		close(fd);
	}
	free(in);
	free(out);
}

static void the_pager_keeps_its_own_description(void **state)
{
	char name[] = "test-file-XXXXXX";
	char *out = pages(2), *in = pages(2);
	int fd = mkostemp(name, O_CLOEXEC | O_APPEND);
	struct pager *pager = open_pager(0, fd, true, false, true);

	(void)state;
	assert_int_equal(unlink(name), 0);
	fill(out, 2 * page, 6);
	assert_int_equal(write(fd, out, page), page);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), page);
	/* The program's description appends, the pager's does not; nor does it move the program's position. */
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, out + page, page), page);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), page);
	close(fd);
	assert_int_equal(transfer(pager, RUN, PAGER_READ, 0, in, 2 * page), page);
	assert_memory_equal(in, out + page, page);
	pager->ops->close(pager);
	free(in);
	free(out);
}

/* ---- nowait ---- */

/* A page of memory whose first access hangs until it is let go. */
struct trap_page {
	int uffd;
	void *addr;
};

static bool trap_page_make(struct trap_page *trap)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	trap->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (trap->uffd < 0)
		return false;
	trap->addr = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(trap->addr != MAP_FAILED);
	reg.range.start = (uintptr_t)trap->addr;
	reg.range.len = page;
	return ioctl(trap->uffd, UFFDIO_API, &api) == 0 && ioctl(trap->uffd, UFFDIO_REGISTER, &reg) == 0;
}

static bool trap_page_was_touched(struct trap_page *trap)
{
	struct pollfd poll_fd = {.fd = trap->uffd, .events = POLLIN};

	return poll(&poll_fd, 1, WAIT_S * 1000) == 1;
}

static void trap_page_let_go(struct trap_page *trap)
{
	struct uffdio_zeropage zero = {.range = {.start = (uintptr_t)trap->addr, .len = page}};

	assert_int_equal(ioctl(trap->uffd, UFFDIO_ZEROPAGE, &zero), 0);
}

static void trap_page_free(struct trap_page *trap)
{
	munmap(trap->addr, page);
	close(trap->uffd);
}

struct hung_write {
	int fd;
	const void *addr;
	ssize_t ret;
};

static void *hung_write_main(void *arg)
{
	struct hung_write *write_ = arg;

	write_->ret = syscall(SYS_pwrite64, write_->fd, write_->addr, page, (off_t)(20 * page));
	return NULL;
}

/* Does a direct read of this file have to wait now? */
static bool direct_read_waits(int fd, void *buf)
{
	struct iovec iov = {.iov_base = buf, .iov_len = page};
	char path[64];
	bool waits;
	int direct;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	waits = direct >= 0 && preadv2(direct, &iov, 1, 0, RWF_NOWAIT) < 0 && errno == EAGAIN;
	close(direct);
	return waits;
}

/* A thread is inside write(2), with the inode's lock, and waits for a page; the pager reads from that file meanwhile. */
static void check_read_while_a_write_hangs(unsigned io, struct trap_page *trap)
{
	static struct job jobs[8 * DEPTH];
	char *out = pages(16), *in = pages(16);
	_Atomic uint32_t written = 0;
	int fd = temp_file();
	struct pager *pager = open_pager(io, fd, true, true, true);
	struct hung_write hung = {.fd = fd, .addr = trap->addr};
	pthread_t thread;

	fill(out, 16 * page, 7);
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, out, 16 * page), 16 * page);
	assert_int_equal(pthread_create(&thread, NULL, hung_write_main, &hung), 0);
	assert_true(trap_page_was_touched(trap));
	if (!direct_read_waits(fd, in))
		print_message("this filesystem does not lock: the test shows nothing\n");

	assert_int_equal(transfer(pager, RUN, PAGER_READ, 0, in, 16 * page), 16 * page);
	assert_memory_equal(in, out, 16 * page);
	/* Write-back waits for the lock: more of it than there are threads or room in the queue must not hold up a read. */
	for (unsigned i = 0; i < 8 * DEPTH; i++)
		job_start(&jobs[i], pager, SUBMIT, PAGER_WRITE, (i % 16) * page, out + (i % 16) * page, page, &written);
	memset(in, 0, 16 * page);
	assert_int_equal(transfer(pager, SUBMIT, PAGER_READ, 0, in, 16 * page), 16 * page);
	assert_memory_equal(in, out, 16 * page);
	assert_true(pager->direct);

	trap_page_let_go(trap);
	pthread_join(thread, NULL);
	assert_int_equal(hung.ret, page);
	assert_true(wait_count(&written, 8 * DEPTH));
	for (unsigned i = 0; i < 8 * DEPTH; i++)
		assert_int_equal(jobs[i].request.ret_error, 0);
	pager->ops->close(pager);
	close(fd);
	free(in);
	free(out);
}

static void a_nowait_read_does_not_wait_for_the_inodes_lock(void **state)
{
	(void)state;
	for (unsigned io = 0; io < 2; io++) {
		struct trap_page trap = {.addr = MAP_FAILED};

		if (!have_direct() || !trap_page_make(&trap))
			skip();
		check_read_while_a_write_hangs(io, &trap);
		trap_page_free(&trap);
	}
}

static void what_a_nowait_read_left_in_the_kernels_cache_is_dropped(void **state)
{
	char *buf = pages(16);
	int fd = temp_file();
	struct pager *pager = open_pager(0, fd, true, true, true);

	(void)state;
	if (!pager->direct)
		skip();
	assert_int_equal(transfer(pager, RUN, PAGER_WRITE, 0, buf, 16 * page), 16 * page);
	for (enum way way = 0; way < WAYS; way++) {
		struct trap_page trap = {.addr = MAP_FAILED};
		struct hung_write hung = {.fd = fd};
		pthread_t thread;

		if (!trap_page_make(&trap))
			skip();
		hung.addr = trap.addr;
		assert_int_equal(pthread_create(&thread, NULL, hung_write_main, &hung), 0);
		assert_true(trap_page_was_touched(&trap));
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, buf, 16 * page), 16 * page);
		assert_int_equal(cached_bytes(fd, 16 * page), 0);
		trap_page_let_go(&trap);
		pthread_join(thread, NULL);
		trap_page_free(&trap);
	}
	pager->ops->close(pager);
	close(fd);
	free(buf);
}

/* ---- failures ---- */

static void check_injected(int fd, struct pager *pager, enum way way)
{
	char *out = pages(2), *in = pages(2);

	(void)fd;
	fill(out, 2 * page, 8);
	fail_arm(FAIL_WRITE, 2, true);
	/* A request with a tail is two transfers, but one request. */
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page + 7), page + 7);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, in, 2 * page), -EIO);
	assert_int_equal(atomic_load(&fail_count[FAIL_WRITE]), 1);
	fail_arm(FAIL_WRITE, 0, false);
	fail_arm(FAIL_READ, 1, false);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 2 * page), -EIO);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 2 * page), page + 7);
	assert_memory_equal(in, out, page + 7);
	fail_arm(FAIL_SYNC, 1, false);
	assert_int_equal(pager->ops->sync(pager), -EIO);
	assert_int_equal(pager->ops->sync(pager), 0);
	free(in);
	free(out);
}

static void injected_failures_are_reported_once_each(void **state)
{
	(void)state;
	for_all(check_injected);
}

static void check_size_limit(int fd, struct pager *pager, enum way way)
{
	struct rlimit old, limit;
	sigset_t xfsz, before, pending;
	char *out = pages(4), *in = pages(4);
	struct stat st;

	fill(out, 4 * page, 9);
	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &xfsz, &before), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 2 * page;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 2 * page, out, page), -EFBIG);
	/* Half of it fits: a short write goes on, and finds the limit. */
	assert_int_equal(transfer(pager, way, PAGER_WRITE, page, out, 2 * page), -EFBIG);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 2 * page), 2 * page);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGXFSZ));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 2 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 4 * page), 2 * page);
	assert_memory_equal(in, out, 2 * page);
	free(in);
	free(out);
}

static void a_write_past_the_size_limit_is_an_error_and_no_signal(void **state)
{
	(void)state;
	for_all(check_size_limit);
}

static void descriptors_that_do_not_allow_it_are_refused(void **state)
{
	char name[] = "test-file-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC), fds[2];
	int read_only = open(name, O_RDONLY | O_CLOEXEC), write_only = open(name, O_WRONLY | O_CLOEXEC);
	int path_only = open(name, O_PATH | O_CLOEXEC), dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct pager *pager = NULL;

	(void)state;
	assert_int_equal(unlink(name), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(file_pager_open(ios[0], read_only, true, false, true, &pager), -EACCES);
	assert_int_equal(file_pager_open(ios[0], write_only, false, false, true, &pager), -EACCES);
	assert_int_equal(file_pager_open(ios[0], write_only, true, false, true, &pager), -EACCES);
	assert_int_equal(file_pager_open(ios[0], path_only, false, false, true, &pager), -EBADF);
	assert_int_equal(file_pager_open(ios[0], dir, false, false, true, &pager), -ENODEV);
	assert_int_equal(file_pager_open(ios[0], fds[0], false, false, true, &pager), -ENODEV);
	assert_int_equal(file_pager_open(ios[0], -1, false, false, true, &pager), -EBADF);
	assert_null(pager);
	close(fds[0]);
	close(fds[1]);
	close(dir);
	close(path_only);
	close(write_only);
	close(read_only);
	close(fd);
}

static void a_read_only_pager_refuses_to_write_until_it_is_made_writable(void **state)
{
	char *out = pages(2), *in = pages(2);

	(void)state;
	fill(out, 2 * page, 10);
	for (unsigned i = 0; i < 2 * WAYS; i++) {
		char name[] = "test-file-XXXXXX";
		int fd = mkostemp(name, O_CLOEXEC), read_only = open(name, O_RDONLY | O_CLOEXEC);
		struct pager *pager = open_pager(0, read_only, false, false, i & 1);
		enum way way = i & 2 ? SUBMIT : RUN;
		unsigned fds = open_fds();
		uint64_t size;

		assert_int_equal(unlink(name), 0);
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page), -EBADF);
		assert_int_equal(pager->ops->resize(pager, page), -EBADF);
		assert_int_equal(pager->ops->discard(pager, 0, page), -EBADF);
		assert_int_equal(pager->ops->sync(pager), 0);
		assert_int_equal(file_pager_make_writable(pager, read_only), -EACCES);
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page), -EBADF);
		assert_int_equal(pager->ops->size(pager, &size), 0);
		assert_int_equal(size, 0);

		assert_int_equal(file_pager_make_writable(pager, fd), 0);
		assert_int_equal(file_pager_make_writable(pager, fd), 0);
		assert_int_equal(open_fds(), fds);
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page + 9), page + 9);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 2 * page), page + 9);
		assert_memory_equal(in, out, page + 9);
		assert_int_equal(pager->ops->resize(pager, page), 0);
		pager->ops->close(pager);
		close(read_only);
		close(fd);
	}
	free(in);
	free(out);
}

static void reads_go_on_while_a_pager_is_made_writable(void **state)
{
	const unsigned n = 16;
	char *out = pages(n), *in = pages(n);
	struct job *jobs = calloc(400, sizeof(*jobs));
	_Atomic uint32_t count = 0;
	char name[] = "test-file-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC), read_only = open(name, O_RDONLY | O_CLOEXEC);
	struct pager *pager;

	(void)state;
	assert_int_equal(unlink(name), 0);
	fill(out, n * page, 11);
	assert_int_equal(write(fd, out, n * page), n * page);
	pager = open_pager(0, read_only, false, false, true);
	for (unsigned i = 0; i < 400; i++) {
		job_start(&jobs[i], pager, SUBMIT, PAGER_READ, (i % n) * page, in + (i % n) * page, page, &count);
		if (i == 200)
			assert_int_equal(file_pager_make_writable(pager, fd), 0);
	}
	assert_true(wait_count(&count, 400));
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(jobs[i].request.ret_error, 0);
	assert_memory_equal(in, out, n * page);
	pager->ops->close(pager);
	close(read_only);
	close(fd);
	free(jobs);
	free(in);
	free(out);
}

static void no_descriptors_left_is_reported_and_leaves_nothing_behind(void **state)
{
	struct rlimit old, limit;
	int fd = temp_file(), result = -EMFILE;
	unsigned fds = open_fds();

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	/* From none at all to enough: each step of the way fails once. */
	for (limit.rlim_cur = 0; result == -EMFILE; limit.rlim_cur++) {
		struct pager *pager = NULL;

		assert_true(limit.rlim_cur < 64);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		result = file_pager_open(ios[0], fd, true, false, true, &pager);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (result == 0)
			pager->ops->close(pager);
		else
			assert_null(pager);
		assert_int_equal(open_fds(), fds);
	}
	assert_int_equal(result, 0);
	close(fd);
}

static void no_memory_is_reported(void **state)
{
	struct pager *pager = NULL;
	int fd = temp_file();
	unsigned fds = open_fds();

	(void)state;
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(file_pager_open(ios[0], fd, true, false, true, &pager), -ENOMEM);
	assert_null(pager);
	assert_int_equal(open_fds(), fds);
	close(fd);
}

/* In a child process that may not open the file again: it gave its privileges up after the descriptor was opened. */
static int work_without_permission(int fd, int append_fd)
{
	char *out = pages(2), *in = pages(2);
	struct pager *pager;
	struct io *io;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 77;
	if (io_create(DEPTH, false, &io) < 0)
		return 1;
	if (file_pager_open(io, append_fd, true, false, true, &pager) != -EACCES)
		return 2;
	if (file_pager_open(io, fd, true, false, true, &pager) != 0 || pager->direct)
		return 3;
	fill(out, 2 * page, 12);
	if (transfer(pager, RUN, PAGER_WRITE, 0, out, page + 5) != (ssize_t)page + 5 ||
	    transfer(pager, SUBMIT, PAGER_READ, 0, in, 2 * page) != (ssize_t)page + 5)
		return 4;
	if (memcmp(in, out, page + 5) != 0)
		return 5;
	pager->ops->close(pager);
	io_destroy(io);
	return 0;
}

static void a_file_that_cannot_be_opened_again_is_used_through_a_duplicate(void **state)
{
	char name[] = "test-file-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC), append_fd = open(name, O_RDWR | O_APPEND | O_CLOEXEC), status;
	pid_t child;

	(void)state;
	assert_int_equal(unlink(name), 0);
	if (geteuid() != 0)
		skip();
	child = fork();
	if (child == 0)
		_exit(work_without_permission(fd, append_fd));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	close(append_fd);
	close(fd);
}

/* ---- the rest of the operations ---- */

static void check_size(int fd, struct pager *pager, enum way way)
{
	uint64_t size = 0;

	(void)way;
	assert_int_equal(pager->ops->size(pager, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(ftruncate(fd, 12345), 0);
	assert_int_equal(pager->ops->size(pager, &size), 0);
	assert_int_equal(size, 12345);
	assert_int_equal(pager->ops->resize(pager, 777), 0);
	assert_int_equal(pager->ops->size(pager, &size), 0);
	assert_int_equal(size, 777);
	assert_int_equal(pager->ops->sync(pager), 0);
}

static void the_size_is_asked_of_the_file_and_can_be_set(void **state)
{
	(void)state;
	for_all(check_size);
}

static void check_discard(int fd, struct pager *pager, enum way way)
{
	char *out = pages(8), *in = pages(8);
	struct stat before, after;
	int r;

	fill(out, 8 * page, 13);
	assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 8 * page), 8 * page);
	assert_int_equal(pager->ops->sync(pager), 0);
	assert_int_equal(fstat(fd, &before), 0);
	r = pager->ops->discard(pager, 2 * page, 4 * page);
	if (r == -EOPNOTSUPP) /* the filesystem's word, not ours */
		goto out;
	assert_int_equal(r, 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_true(after.st_blocks < before.st_blocks);
	memset(out + 2 * page, 0, 4 * page);
	assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 8 * page), 8 * page);
	assert_memory_equal(in, out, 8 * page);
out:
	free(in);
	free(out);
}

static void what_was_discarded_reads_as_zeros(void **state)
{
	(void)state;
	for_all(check_discard);
}

/* A loop device over fd that goes away with its last user. -1: not here. */
static int loop_device(int fd)
{
	struct loop_config config = {.fd = (uint32_t)fd, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, loop = -1;
	char path[32];

	if (control < 0)
		return -1;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(path, sizeof(path), "/dev/loop%d", number);
	if (number >= 0)
		loop = open(path, O_RDWR | O_CLOEXEC);
	if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) < 0) {
		close(loop);
		loop = -1;
	}
	return loop;
}

static void a_block_device_has_its_size_and_its_bytes(void **state)
{
	char *out = pages(16), *in = pages(16);
	int fd = temp_file(), loop;

	(void)state;
	fill(out, 16 * page, 14);
	assert_int_equal(ftruncate(fd, (off_t)(16 * page)), 0);
	loop = loop_device(fd);
	if (loop < 0) {
		close(fd);
		skip();
	}
	for (unsigned i = 0; i < 2 * WAYS * 2; i++) {
		enum way way = i & 1 ? SUBMIT : RUN;
		struct pager *pager = open_pager(i >> 1 & 1, loop, true, false, i & 4);
		uint64_t size;

		out[0]++;
		assert_int_equal(pager->ops->size(pager, &size), 0);
		assert_int_equal(size, 16 * page);
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, 16 * page), 16 * page);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 16 * page), 16 * page);
		assert_memory_equal(in, out, 16 * page);
		assert_int_equal(transfer(pager, way, PAGER_READ, 15 * page, in, 4 * page), page);
		assert_int_equal(pager->ops->sync(pager), 0);
		pager->ops->close(pager);
	}
	close(loop);
	close(fd);
	free(in);
	free(out);
}

/* ---- a scratch file ---- */

static void a_scratch_pager_reads_zeros_and_takes_one_file(void **state)
{
	char *out = pages(4), *in = pages(4), *zeros = pages(4);

	(void)state;
	fill(out, 4 * page, 15);
	for (enum way way = 0; way < WAYS; way++) {
		unsigned fds = open_fds();
		struct pager *pager;
		uint64_t size;

		assert_int_equal(file_pager_scratch(ios[0], true, &pager), 0);
		memset(in, 0xee, 4 * page);
		assert_int_equal(transfer(pager, way, PAGER_READ, 7 * page, in, 4 * page), 4 * page);
		assert_memory_equal(in, zeros, 4 * page);
		assert_int_equal(transfer(pager, way, PAGER_WRITE, 0, out, page), -EBADF);
		assert_int_equal(pager->ops->size(pager, &size), 0);
		assert_int_equal(size, 0);
		assert_int_equal(pager->ops->discard(pager, 0, page), 0);
		assert_false(file_pager_is_adopted(pager));

		assert_int_equal(file_pager_adopt(pager, temp_file()), 0);
		assert_true(file_pager_is_adopted(pager));
		assert_int_equal(transfer(pager, way, PAGER_WRITE, page, out, page), page);
		/* A second file is not taken: the first keeps its bytes. */
		assert_int_equal(file_pager_adopt(pager, temp_file()), 0);
		memset(in, 0xee, 4 * page);
		assert_int_equal(transfer(pager, way, PAGER_READ, 0, in, 4 * page), 4 * page);
		assert_memory_equal(in, zeros, page);
		assert_memory_equal(in + page, out, page);
		assert_memory_equal(in + 2 * page, zeros, 2 * page);
		pager->ops->close(pager);
		assert_int_equal(open_fds(), fds);
	}
	free(zeros);
	free(in);
	free(out);
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
	return start_io(state);
}

/* A test that forks does so without threads: a copy of them would be of no use, and the sanitizers forbid it. */
#define FORKING(name) cmocka_unit_test_setup_teardown(name, stop_io, start_io)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_written_is_read_back),
	    cmocka_unit_test(an_unaligned_tail_is_written_and_the_file_ends_with_it),
	    cmocka_unit_test(the_page_that_holds_the_end_is_written_at_once),
	    cmocka_unit_test(a_read_ends_where_the_file_ends),
	    cmocka_unit_test(offsets_that_no_file_has_are_refused),
	    cmocka_unit_test(more_requests_than_the_depth_from_two_threads),
	    cmocka_unit_test(a_file_in_memory_is_never_direct),
	    cmocka_unit_test(direct_is_not_used_where_it_is_not_allowed),
	    cmocka_unit_test(a_direct_pager_leaves_the_kernels_cache_empty),
	    cmocka_unit_test(a_direct_transfer_that_is_refused_switches_to_buffered_for_good),
	    cmocka_unit_test(the_pager_keeps_its_own_description),
	    cmocka_unit_test(a_nowait_read_does_not_wait_for_the_inodes_lock),
	    cmocka_unit_test(what_a_nowait_read_left_in_the_kernels_cache_is_dropped),
	    cmocka_unit_test(injected_failures_are_reported_once_each),
	    cmocka_unit_test(a_write_past_the_size_limit_is_an_error_and_no_signal),
	    cmocka_unit_test(descriptors_that_do_not_allow_it_are_refused),
	    cmocka_unit_test(a_read_only_pager_refuses_to_write_until_it_is_made_writable),
	    cmocka_unit_test(reads_go_on_while_a_pager_is_made_writable),
	    cmocka_unit_test(no_descriptors_left_is_reported_and_leaves_nothing_behind),
	    cmocka_unit_test(no_memory_is_reported),
	    FORKING(a_file_that_cannot_be_opened_again_is_used_through_a_duplicate),
	    cmocka_unit_test(the_size_is_asked_of_the_file_and_can_be_set),
	    cmocka_unit_test(what_was_discarded_reads_as_zeros),
	    cmocka_unit_test(a_block_device_has_its_size_and_its_bytes),
	    cmocka_unit_test(a_scratch_pager_reads_zeros_and_takes_one_file),
	};

	return cmocka_run_group_tests_name("file", tests, start, stop_io);
}
