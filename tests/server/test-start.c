/* SPDX-License-Identifier: MIT */
/*
 * test-start.c - QUIRE_SERVER=auto: programs that find no server at the default socket start one
 *
 * What they start is a script that notes that it was, and becomes the server. It ends soon after its last client.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <quire/quire.h>

#include "support.h"

static char folder[64], script[96], started[96], socket_name[96];

static void write_script(const char *last)
{
	FILE *file = fopen(script, "w");

	assert_non_null(file);
	fprintf(file, "#!/bin/sh\necho $$ >>'%s'\n%s\n", started, last);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(script, 0700), 0);
}

static int begin(void **state)
{
	char last[4200];

	(void)state;
	page = (size_t)sysconf(_SC_PAGESIZE);
	strcpy(folder, "/var/tmp/quire-start.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(script, sizeof(script), "%s/start", folder);
	snprintf(started, sizeof(started), "%s/started", folder);
	snprintf(socket_name, sizeof(socket_name), "%s/quire.sock", folder);
	snprintf(last, sizeof(last), "exec '%s' \"$@\" --memory 4M --idle-exit 200ms", getenv("QUIRE_COMMAND"));
	write_script(last);
	return 0;
}

/* Servers that were started end by themselves, and take the socket with them. */
static int finish(void **state)
{
	char name[128];

	(void)state;
	while (access(socket_name, F_OK) == 0)
		usleep(2000);
	snprintf(name, sizeof(name), "%s.lock", socket_name);
	unlink(name);
	unlink(script);
	unlink(started);
	return rmdir(folder);
}

static pid_t run_program(int (*run)(void *arg), void *arg)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child > 0)
		return child;
	signal(SIGABRT, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	setenv("QUIRE_COMMAND", script, 1);
	setenv("QUIRE_SERVER", "auto", 1);
	_exit(run(arg));
}

/* How many servers were started, and which was the last. */
static unsigned count_started(pid_t *ret_last)
{
	FILE *file = fopen(started, "r");
	unsigned n = 0;
	long pid;

	while (file && fscanf(file, "%ld", &pid) == 1) {
		n++;
		*ret_last = (pid_t)pid;
	}
	if (file)
		fclose(file);
	return n;
}

static int map_some(void *arg)
{
	char *p = quire_mmap(NULL, page, RW, MAP_SHARED, *(int *)arg, 0);

	EXPECT(p != MAP_FAILED);
	p[1] = 99;
	EXPECT(quire_munmap(p, page) == 0);
	return 0;
}

static bool leads_to(pid_t pid, const char *what, const char *prefix)
{
	char name[64], target[128];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/%ld/%s", (long)pid, what);
	n = readlink(name, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	return strncmp(target, prefix, strlen(prefix)) == 0;
}

static pid_t parent_of(pid_t pid)
{
	char name[64], line[256];
	long parent = -1;
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%ld/status", (long)pid);
	file = fopen(name, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "PPid: %ld", &parent) == 1)
			break;
	if (file)
		fclose(file);
	return (pid_t)parent;
}

/* From inside of the program, while it is connected. */
static int look_at_server(void *arg)
{
	pid_t last = 0;

	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, *(int *)arg, 0) != MAP_FAILED);
	EXPECT(count_started(&last) == 1);
	EXPECT(getsid(last) != getsid(0) && getsid(last) != last && parent_of(last) != getpid());
	EXPECT(leads_to(last, "cwd", "/") && !leads_to(last, "cwd", "/v") && !leads_to(last, "cwd", "/t"));
	EXPECT(leads_to(last, "fd/0", "/dev/null") && leads_to(last, "fd/1", "/dev/null"));
	EXPECT(leads_to(last, "fd/2", "/dev/null") || leads_to(last, "fd/2", "socket:"));
	return 0;
}

static void program_starts_the_server_that_it_does_not_find(void **state)
{
	int fd = make_file(1);
	pid_t last = 0;

	(void)state;
	assert_int_equal(end_of(run_program(look_at_server, &fd)), 0);
	/* A second finds it, or another one when that has ended since. */
	assert_int_equal(end_of(run_program(map_some, &fd)), 0);
	assert_in_range(count_started(&last), 1, 2);
	while (kill(last, 0) == 0)
		usleep(2000);
	assert_true(access(socket_name, F_OK) < 0);
	close(fd);
}

/* What a shell may set for one program. */
static const struct {
	int limit;
	rlim_t low;
} limits[] = {
    {RLIMIT_FSIZE, 1 << 20}, {RLIMIT_AS, (rlim_t)1 << 40}, {RLIMIT_DATA, (rlim_t)1 << 40}, {RLIMIT_CPU, 1000}, {RLIMIT_NOFILE, 100},
};

static int look_at_limits(void *arg)
{
	struct rlimit before[sizeof(limits) / sizeof(limits[0])], servers;
	pid_t last = 0;

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		EXPECT(getrlimit((__rlimit_resource_t)limits[i].limit, &before[i]) == 0);
		EXPECT(setrlimit((__rlimit_resource_t)limits[i].limit, &(struct rlimit){limits[i].low, before[i].rlim_max}) == 0);
	}
	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, *(int *)arg, 0) != MAP_FAILED);
	EXPECT(count_started(&last) == 1);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		EXPECT(prlimit(last, (__rlimit_resource_t)limits[i].limit, NULL, &servers) == 0);
		EXPECT(servers.rlim_cur == servers.rlim_max && servers.rlim_max >= before[i].rlim_max);
		EXPECT(getrlimit((__rlimit_resource_t)limits[i].limit, &servers) == 0 && servers.rlim_cur == limits[i].low);
	}
	return 0;
}

static void server_has_no_limits_of_the_program_that_starts_it(void **state)
{
	int fd = make_file(1);

	(void)state;
	assert_int_equal(end_of(run_program(look_at_limits, &fd)), 0);
	close(fd);
}

static void server_that_runs_is_used(void **state)
{
	int fd = make_file(1);
	pid_t last = 0;

	(void)state;
	server = start_server(socket_name, "--memory", "4M");
	while (!listens(socket_name))
		usleep(1000);
	assert_int_equal(end_of(run_program(map_some, &fd)), 0);
	assert_int_equal(count_started(&last), 0);
	kill(server, SIGTERM);
	assert_int_equal(end_of(server), 0);
	close(fd);
}

struct together {
	int fd;
	_Atomic unsigned ready, done;
	unsigned n;
};

/* None ends before all are served, so that there is one server for all or none was shared. */
static int map_together(void *arg)
{
	struct together *t = arg;

	atomic_fetch_add(&t->ready, 1);
	while (atomic_load(&t->ready) < t->n)
		;
	EXPECT(map_some(&t->fd) == 0);
	atomic_fetch_add(&t->done, 1);
	while (atomic_load(&t->done) < t->n)
		usleep(1000);
	return 0;
}

static void programs_that_start_at_once_get_one_server(void **state)
{
	struct together *t = mmap(NULL, page, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t programs[8], last;

	(void)state;
	t->fd = make_file(1);
	t->n = 8;
	for (unsigned i = 0; i < t->n; i++)
		programs[i] = run_program(map_together, t);
	for (unsigned i = 0; i < t->n; i++)
		assert_int_equal(end_of(programs[i]), 0);
	assert_int_equal(count_started(&last), 1);
	close(t->fd);
	munmap(t, page);
}

static _Atomic unsigned signals, children, stop;

static void count_signal(int number)
{
	(void)number;
	atomic_fetch_add(&signals, 1);
}

static void *wait_for_children(void *arg)
{
	while (!atomic_load(&stop))
		if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)
			atomic_fetch_add(&children, 1);
	return arg;
}

static int map_while_waiting(void *arg)
{
	pthread_t thread;

	signal(SIGCHLD, count_signal);
	EXPECT(pthread_create(&thread, NULL, wait_for_children, NULL) == 0);
	EXPECT(map_some(arg) == 0);
	atomic_store(&stop, 1);
	EXPECT(pthread_join(thread, NULL) == 0);
	EXPECT(atomic_load(&children) == 0 && atomic_load(&signals) == 0);
	return 0;
}

static void program_that_waits_for_any_child_does_not_see_the_server(void **state)
{
	int fd = make_file(1);

	(void)state;
	assert_int_equal(end_of(run_program(map_while_waiting, &fd)), 0);
	close(fd);
}

/* With none of the standard descriptors, which the server's then would come to lie at. */
static int map_without_streams(void *arg)
{
	pid_t last = 0;

	close(0);
	close(1);
	close(2);
	if (map_some(arg) != 0 || count_started(&last) != 1)
		return 1;
	return fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0 ? 0 : 2;
}

static void program_without_standard_streams_is_served(void **state)
{
	int fd = make_file(1);

	(void)state;
	assert_int_equal(end_of(run_program(map_without_streams, &fd)), 0);
	close(fd);
}

static int map_in_vain(void *arg)
{
	const char *expected = arg;

	if (*expected == '/')
		setenv("QUIRE_COMMAND", expected, 1);
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	EXPECT(errno == (*expected == '/' ? ENOENT : ECONNREFUSED));
	EXPECT(strstr(quire_errormsg(), expected) && strstr(quire_errormsg(), socket_name));
	return 0;
}

static void server_that_cannot_be_started_is_an_error_that_says_why(void **state)
{
	(void)state;
	assert_int_equal(end_of(run_program(map_in_vain, (char[]){"/var/tmp/quire-no-such-command"})), 0);
	write_script("echo the moon is in the way >&2; exit 1");
	assert_int_equal(end_of(run_program(map_in_vain, (char[]){"the moon is in the way"})), 0);
	write_script("exit 0");
	assert_int_equal(end_of(run_program(map_in_vain, (char[]){"without a word"})), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(program_starts_the_server_that_it_does_not_find),
	    TEST(server_has_no_limits_of_the_program_that_starts_it),
	    TEST(server_that_runs_is_used),
	    TEST(programs_that_start_at_once_get_one_server),
	    TEST(program_that_waits_for_any_child_does_not_see_the_server),
	    TEST(program_without_standard_streams_is_served),
	    TEST(server_that_cannot_be_started_is_an_error_that_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
