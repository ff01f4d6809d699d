/* SPDX-License-Identifier: MIT */
/*
 * test-frames.c - the frames of an object
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/frames.h"
#include "sys/page_size.h"
#include "util/fail.h"

#define PAGES 16

struct fixture {
	struct frames frames;
	size_t page;
	unsigned char *buf; /* PAGES pages */
};

static int make(void **state)
{
	static struct fixture fixture;

	fixture.page = page_size();
	fixture.buf = calloc(PAGES, fixture.page);
	*state = &fixture;
	return fixture.buf ? frames_create(NULL, PAGES, &fixture.frames) : -1;
}

static int destroy(void **state)
{
	struct fixture *fixture = *state;

	fail_arm(FAIL_FRAME, 0, false);
	fail_arm(FAIL_ALLOC, 0, false);
	free(fixture->buf);
	return close(fixture->frames.fd);
}

static struct stat look(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st;
}

static void fill(struct fixture *fixture, unsigned pages, unsigned char value)
{
	memset(fixture->buf, value, pages * fixture->page);
}

static void a_new_memfd_has_the_size_and_no_frames(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(look(fixture->frames.fd).st_size, PAGES * fixture->page);
	assert_int_equal(look(fixture->frames.fd).st_blocks, 0);
	assert_true(fcntl(fixture->frames.fd, F_GETFD) & FD_CLOEXEC);
}

static void what_was_written_is_read_and_seen_in_a_mapping(void **state)
{
	struct fixture *fixture = *state;
	size_t page = fixture->page;
	unsigned char *map = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fixture->frames.fd, 0);

	fill(fixture, 3, 7);
	assert_int_equal(frames_write(&fixture->frames, 5, 3, fixture->buf), 0);
	fill(fixture, PAGES, 1);
	assert_int_equal(frames_read(&fixture->frames, 4, 5, fixture->buf), 0);
	assert_int_equal(fixture->buf[page - 1], 0);
	assert_int_equal(fixture->buf[page], 7);
	assert_int_equal(fixture->buf[4 * page - 1], 7);
	assert_int_equal(fixture->buf[4 * page], 0);
	assert_int_equal(map[5 * page - 1], 0);
	assert_int_equal(map[5 * page], 7);
	assert_int_equal(map[8 * page - 1], 7);
	munmap(map, PAGES * page);
}

static void only_what_was_written_has_a_frame(void **state)
{
	struct fixture *fixture = *state;

	fill(fixture, 1, 7);
	assert_int_equal(frames_write(&fixture->frames, PAGES - 1, 1, fixture->buf), 0);
	assert_int_equal(look(fixture->frames.fd).st_blocks * 512, fixture->page);
}

static void freed_frames_are_gone_also_from_mappings_and_the_size_stays(void **state)
{
	struct fixture *fixture = *state;
	size_t page = fixture->page;
	unsigned char *map = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fixture->frames.fd, 0);

	fill(fixture, 4, 7);
	assert_int_equal(frames_write(&fixture->frames, 0, 4, fixture->buf), 0);
	assert_int_equal(map[page], 7);
	assert_int_equal(frames_free(&fixture->frames, 1, 2), 0);
	assert_int_equal(look(fixture->frames.fd).st_blocks * 512, 2 * page);
	assert_int_equal(look(fixture->frames.fd).st_size, PAGES * page);
	assert_int_equal(map[page], 0);
	assert_int_equal(map[0], 7);
	assert_int_equal(map[3 * page], 7);
	munmap(map, PAGES * page);
}

static void frames_past_the_size_are_gone_when_it_shrinks(void **state)
{
	struct fixture *fixture = *state;

	fill(fixture, PAGES, 7);
	assert_int_equal(frames_write(&fixture->frames, 0, PAGES, fixture->buf), 0);
	assert_int_equal(frames_resize(&fixture->frames, 3), 0);
	assert_int_equal(frames_resize(&fixture->frames, 5), 0);
	assert_int_equal(look(fixture->frames.fd).st_blocks * 512, 3 * fixture->page);
	assert_int_equal(frames_read(&fixture->frames, 3, 2, fixture->buf), 0);
	assert_int_equal(fixture->buf[0], 0);
}

static void reading_past_the_size_is_an_error(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(frames_read(&fixture->frames, PAGES - 1, 2, fixture->buf), -EIO);
}

static void a_tail_is_zeroed_to_the_end_of_its_page_and_no_further(void **state)
{
	struct fixture *fixture = *state;
	size_t page = fixture->page;

	fill(fixture, 2, 7);
	assert_int_equal(frames_write(&fixture->frames, 0, 2, fixture->buf), 0);
	assert_int_equal(frames_zero_tail(&fixture->frames, 100), 0);
	assert_int_equal(frames_read(&fixture->frames, 0, 2, fixture->buf), 0);
	assert_int_equal(fixture->buf[99], 7);
	for (size_t i = 100; i < page; i++)
		assert_int_equal(fixture->buf[i], 0);
	assert_int_equal(fixture->buf[page], 7);
}

static void a_tail_of_nothing_zeroes_nothing(void **state)
{
	struct fixture *fixture = *state;

	fill(fixture, 2, 7);
	assert_int_equal(frames_write(&fixture->frames, 0, 2, fixture->buf), 0);
	assert_int_equal(frames_zero_tail(&fixture->frames, fixture->page), 0);
	assert_int_equal(frames_read(&fixture->frames, 1, 1, fixture->buf), 0);
	assert_int_equal(fixture->buf[0], 7);
}

static void a_size_beyond_all_files_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct frames none = {.fd = -1};

	assert_int_equal(frames_resize(&fixture->frames, UINT64_MAX), -EFBIG);
	assert_int_equal(frames_create(NULL, UINT64_MAX / 2, &none), -EFBIG);
	assert_int_equal(none.fd, -1);
	assert_int_equal(look(fixture->frames.fd).st_size, PAGES * fixture->page);
}

static void failures_are_injected_where_memory_is_needed(void **state)
{
	struct fixture *fixture = *state;
	struct frames none = {.fd = -1};

	fail_arm(FAIL_FRAME, 1, false);
	assert_int_equal(frames_write(&fixture->frames, 0, 1, fixture->buf), -ENOMEM);
	assert_int_equal(look(fixture->frames.fd).st_blocks, 0);
	fail_arm(FAIL_ALLOC, 1, false);
	assert_int_equal(frames_create(NULL, 1, &none), -ENOMEM);
	assert_int_equal(none.fd, -1);
}

/* Out of a process of its own, whose kernel knows no fsopen any more. 77: system calls cannot be filtered. */
static int create_without_fsopen(const struct frames_source *source)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsopen, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
	struct frames frames;
	char byte = 1;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return 77;
	if (frames_create(source, 1, &frames) != 0 || frames.large)
		return 1;
	return frames_patch(&frames, 5, 1, &byte) == 0 ? 0 : 2;
}

/* All descriptors closed, and privileges given away: what a daemon does. */
static void a_source_whose_mount_is_gone_makes_memfds(void **state)
{
	struct frames_source source;
	struct frames frames;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(frames_source_open(true, true, &source), 0);
	if (source.mount < 0)
		skip();
	close(source.mount);
	assert_int_equal(frames_create(&source, 1, &frames), 0);
	assert_true(frames.large);
	frames_close(&frames);
	pid = fork();
	if (pid == 0)
		_exit(create_without_fsopen(&source));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_source_without_privilege_makes_memfds(void **state)
{
	struct frames_source source;
	struct frames frames;

	(void)state;
	assert_int_equal(frames_source_open(false, true, &source), 0);
	assert_int_equal(source.mount, -1);
	assert_int_equal(frames_create(&source, 1, &frames), 0);
	assert_false(frames.large);
	frames_close(&frames);
	frames_source_close(&source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_new_memfd_has_the_size_and_no_frames),
	    TEST(what_was_written_is_read_and_seen_in_a_mapping),
	    TEST(only_what_was_written_has_a_frame),
	    TEST(freed_frames_are_gone_also_from_mappings_and_the_size_stays),
	    TEST(frames_past_the_size_are_gone_when_it_shrinks),
	    TEST(reading_past_the_size_is_an_error),
	    TEST(a_tail_is_zeroed_to_the_end_of_its_page_and_no_further),
	    TEST(a_tail_of_nothing_zeroes_nothing),
	    TEST(a_size_beyond_all_files_is_refused),
	    TEST(failures_are_injected_where_memory_is_needed),
	    TEST(a_source_whose_mount_is_gone_makes_memfds),
	    TEST(a_source_without_privilege_makes_memfds),
	};

	return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
