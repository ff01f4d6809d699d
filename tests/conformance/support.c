/* SPDX-License-Identifier: MIT */
/*
 * support.c - what the conformance tests share
 *
 * cmocka puts handlers of its own on SIGSEGV and SIGBUS around every test, with signal(), which loses SA_SIGINFO. So the handlers
 * that are there once the engine has started are remembered, and put back at the start of each test.
 */
#include "support.h"
#include "served.h"

#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define EXIT_SKIPPED 77
#define FILES_MAX    80
#define PATHS_MAX    80

extern char **environ;

size_t page_size;
struct fault last_fault;

static sigjmp_buf *volatile landing; /* where a fault of the test's thread goes */
static pthread_t test_thread;
static struct sigaction segv_action, bus_action;
static bool alone;   /* this is a test's own process */
static bool skipped; /* its test was */
static int files[FILES_MAX];
static size_t nfiles;
static char paths[PATHS_MAX][FILE_PATH_MAX];
static size_t npaths;
static char mounts[PATHS_MAX][FILE_PATH_MAX];
static size_t nmounts;
static bool lock_limited;
static struct rlimit lock_limit;
static struct __user_cap_data_struct lock_caps[2];

/* ---- guarded access ---- */

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	if (!landing || !pthread_equal(pthread_self(), test_thread)) {
		signal(signo, SIG_DFL);
		return;
	}
	last_fault = (struct fault){.signo = signo, .code = info->si_code, .addr = info->si_addr};
	siglongjmp(*landing, 1);
}

/* What an access does, between a way back for its signal. */
static int guarded(void (*access)(void *addr, int *value), void *addr, int value)
{
	sigjmp_buf *volatile outer = landing;
	sigjmp_buf here;

	if (sigsetjmp(here, 1)) {
		landing = outer;
		return -last_fault.signo;
	}
	landing = &here;
	access(addr, &value);
	landing = outer;
	return value;
}

static void load_byte(void *addr, int *value)
{
	*value = *(const volatile unsigned char *)addr;
}

static void store_byte(void *addr, int *value)
{
	*(volatile unsigned char *)addr = (unsigned char)*value;
	*value = 0;
}

static void jump(void *addr, int *value)
{
	*value = 0;
	((void (*)(void))addr)();
}

static void load_eight(void *addr, int *value)
{
	const volatile struct {
		uint64_t word;
	} __attribute__((packed)) *at = addr;

	*value = (int)(at->word & 0xff);
}

int load(const void *addr)
{
	return guarded(load_byte, (void *)addr, 0);
}

int store(void *addr, int value)
{
	return guarded(store_byte, addr, value);
}

int execute(const void *addr)
{
	return guarded(jump, (void *)addr, 0);
}

int load_word(const void *addr)
{
	return guarded(load_eight, (void *)addr, 0);
}

void check_raised(int answer, const void *addr, int sig, int code, const char *file, int line)
{
	if (answer == -sig && last_fault.code == code && last_fault.addr == addr)
		return;
	if (answer >= 0)
		print_error("%p was accessible\n", addr);
	else
		print_error("%p raised signal %d code %d address %p, not signal %d code %d\n", addr, last_fault.signo,
			    last_fault.code, last_fault.addr, sig, code);
	_fail(file, line);
}

void check_bytes(const void *addr, size_t len, off_t pos, int value, const char *file, int line)
{
	const unsigned char *bytes = addr;

	for (size_t i = 0; i < len; i++) {
		int want = pos < 0 ? value : pattern(pos + (off_t)i);

		if (bytes[i] == want)
			continue;
		print_error("byte %zu of %zu at %p is 0x%02x, not 0x%02x\n", i, len, addr, bytes[i], want);
		_fail(file, line);
	}
}

/* ---- calls ---- */

static const char *message(void)
{
#ifdef KERNEL_ORACLE
	return "";
#else
	return quire_errormsg();
#endif
}

void check_call(intptr_t answer, int error, const char *call, const char *file, int line)
{
	int got = answer == -1 ? errno : 0;

	if (got == error)
		return;
	print_error("%s: %s, not %s\n%s\n", call, got ? strerrorname_np(got) : "succeeded",
		    error ? strerrorname_np(error) : "success", got ? message() : "");
	_fail(file, line);
}

char *map_or_fail(void *addr, size_t len, int prot, int flags, int fd, off_t offset, const char *file, int line)
{
	void *p = quire_mmap(addr, len, prot, flags, fd, offset);

	check_call((intptr_t)p, 0, "quire_mmap", file, line);
	return p;
}

char *quiet(void)
{
	const size_t hole_bytes = (size_t)1 << 34;
	char *p = mmap(NULL, hole_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(munmap(p, hole_bytes), 0);
	/* The kernel puts what has no wish at the upper end of a hole. */
	return p + hole_bytes / 2;
}

size_t resident_pages(void *addr, size_t n)
{
	unsigned char *vec = malloc(n);
	size_t count = 0;

	assert_non_null(vec);
	assert_ok(quire_mincore(addr, PAGES(n), vec));
	for (size_t i = 0; i < n; i++)
		count += vec[i] & 1;
	free(vec);
	return count;
}

/* ---- files ---- */

unsigned char pattern(off_t pos)
{
	return (unsigned char)(((uint64_t)pos * 0x9e3779b97f4a7c15u >> 40) % 255 + 1);
}

static const char *temporary(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/tmp";
}

static int keep(int fd)
{
	assert_true(fd >= 0);
	assert_true(nfiles < FILES_MAX);
	files[nfiles++] = fd;
	return fd;
}

static void fill(int fd, size_t size)
{
	unsigned char buffer[65536];

	for (size_t pos = 0; pos < size;) {
		size_t n = size - pos < sizeof(buffer) ? size - pos : sizeof(buffer);

		for (size_t i = 0; i < n; i++)
			buffer[i] = pattern((off_t)(pos + i));
		assert_int_equal(pwrite(fd, buffer, n, (off_t)pos), n);
		pos += n;
	}
}

int file_named(size_t size, char ret_path[FILE_PATH_MAX])
{
	int fd;

	assert_true(npaths < PATHS_MAX);
	snprintf(ret_path, FILE_PATH_MAX, "%s/quire-conformance-XXXXXX", temporary());
	fd = keep(mkostemp(ret_path, O_CLOEXEC));
	memcpy(paths[npaths++], ret_path, FILE_PATH_MAX);
	fill(fd, size);
	return fd;
}

int file_new(size_t size)
{
	char path[FILE_PATH_MAX];
	int fd = file_named(size, path);

	assert_int_equal(unlink(path), 0);
	npaths--;
	return fd;
}

int file_reopen(int fd, int oflags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return keep(open(path, oflags | O_CLOEXEC));
}

void file_close(int fd)
{
	for (size_t i = 0; i < nfiles; i++) {
		if (files[i] != fd)
			continue;
		files[i] = files[--nfiles];
		break;
	}
	assert_int_equal(close(fd), 0);
}

off_t file_size(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

int file_byte(int fd, off_t pos)
{
	unsigned char byte;
	ssize_t n = pread(fd, &byte, 1, pos);

	assert_true(n >= 0);
	return n == 1 ? byte : -1;
}

void assert_stores_survive_page_out(char *p, int fd, off_t offset)
{
	for (size_t i = 0; i < PAGES(512); i += PAGES(2))
		assert_stores(p + i, 's');
	for (size_t i = PAGES(1); i < PAGES(512); i += PAGES(6))
		assert_int_equal(quire_madvise(p + i, PAGES(1), 21 /* MADV_PAGEOUT, 5.4 */), 0);
	for (size_t i = 0; i < PAGES(512); i += PAGES(2))
		assert_loads(p + i, 's');
	assert_int_equal(quire_msync(p, PAGES(512), MS_SYNC), 0);
	for (size_t i = 0; i < PAGES(512); i += PAGES(2))
		assert_int_equal(file_byte(fd, offset + (off_t)i), 's');
}

void mount_or_skip(const char *options, char ret_dir[FILE_PATH_MAX])
{
	assert_true(nmounts < PATHS_MAX);
	/* A view of the mounts that no other process has, so that nothing is left behind. */
	if (!nmounts && (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)))
		skip_because("a mount needs root");
	snprintf(ret_dir, FILE_PATH_MAX, "%s/quire-conformance-XXXXXX", temporary());
	assert_non_null(mkdtemp(ret_dir));
	memcpy(mounts[nmounts++], ret_dir, FILE_PATH_MAX);
	if (mount("none", ret_dir, "tmpfs", strstr(options, "noexec") ? MS_NOEXEC : 0, strstr(options, "size")))
		skip_because("a tmpfs cannot be mounted here");
}

static int file_in(const char *dir, const char *name)
{
	char path[FILE_PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return keep(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

int file_on_full_disk(size_t n, int *ret_filler)
{
	char dir[FILE_PATH_MAX], options[32];
	char block[4096] = "";
	int fd, filler;

	snprintf(options, sizeof(options), "size=%zu", PAGES(2 * n));
	mount_or_skip(options, dir);
	fd = file_in(dir, "file");
	filler = file_in(dir, "filler");
	assert_int_equal(ftruncate(fd, (off_t)PAGES(n)), 0);
	while (write(filler, block, sizeof(block)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	*ret_filler = filler;
	return fd;
}

void limit_locked_memory(size_t bytes)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &lock_limit), 0);
	assert_int_equal(syscall(SYS_capget, &header, lock_caps), 0);
	lock_limited = true;
	limit = lock_limit;
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	memcpy(caps, lock_caps, sizeof(caps));
	caps[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	assert_int_equal(syscall(SYS_capset, &header, caps), 0);
}

static void restore_locked_memory(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	if (!lock_limited)
		return;
	syscall(SYS_capset, &header, lock_caps);
	setrlimit(RLIMIT_MEMLOCK, &lock_limit);
	lock_limited = false;
}

/* ---- the engine ---- */

#ifdef KERNEL_ORACLE

void evict(void *addr, size_t n)
{
	(void)addr;
	(void)n;
}

void pressure(void)
{
}

#else

static void press(void)
{
	size_t n = 2 * stats().budget_bytes / page_size;
	char *area = map_anonymous(n);

	for (size_t i = 0; i < n; i++)
		area[PAGES(i)] = 1;
	unmap(area, n);
}

void pressure(void)
{
	for (int pass = 0; pass < 3; pass++)
		press();
}

void evict(void *addr, size_t n)
{
	for (int pass = 0; pass < 8 && resident_pages(addr, n); pass++)
		press();
	assert_int_equal(resident_pages(addr, n), 0);
}

struct quire_stats stats(void)
{
	struct quire_stats ret;

	assert_ok(quire_stats_get(&ret, sizeof(ret)));
	return ret;
}

struct quire_area_stats area_stats(const void *addr)
{
	struct quire_area_stats ret;

	assert_ok(quire_area_stats_get(addr, &ret));
	return ret;
}

static bool starts_with_call(const char *call)
{
	size_t len = strlen(call);

	return !strncmp(quire_errormsg(), call, len) && !strncmp(quire_errormsg() + len, ": ", 2);
}

void check_message(const char *call, const char *word, const char *file, int line)
{
	if (starts_with_call(call) && strstr(quire_errormsg(), word))
		return;
	print_error("\"%s\" is not «%s: … %s …»\n", quire_errormsg(), call, word);
	_fail(file, line);
}

static bool contains_number(const char *text, uint64_t value)
{
	const char *digits = "0123456789";

	for (const char *at = strpbrk(text, digits); at; at = strpbrk(at, digits)) {
		char *end;
		uint64_t number = strtoull(at, &end, at[0] == '0' && at[1] == 'x' ? 16 : 10);

		if (number == value || (at > text && at[-1] == '-' && -number == value))
			return true;
		at = end;
	}
	return false;
}

void check_message_number(const char *call, uint64_t value, const char *file, int line)
{
	if (starts_with_call(call) && contains_number(quire_errormsg(), value))
		return;
	print_error("\"%s\" is not «%s: … %llu …»\n", quire_errormsg(), call, (unsigned long long)value);
	_fail(file, line);
}

#endif

/* ---- the program ---- */

void skip_because(const char *why)
{
	print_message("%s\n", why);
	skipped = true;
	skip();
	abort();
}

static void show(FILE *output)
{
	char line[512];

	rewind(output);
	while (fgets(line, sizeof(line), output))
		fputs(line, stderr);
}

/* Runs the test in a new process; what that prints is shown when it failed. */
static int run_alone(const struct conformance_test *test)
{
	char *argv[] = {program_invocation_name, (char *)test->name, NULL};
	posix_spawn_file_actions_t actions;
	FILE *output = tmpfile();
	char **env;
	size_t n = 0;
	int status;
	pid_t pid;

	assert_non_null(output);
	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	assert_non_null(env);
	env[0] = (char *)test->own_process; /* getenv() finds the first */
	memcpy(env + 1, environ, n * sizeof(*env));
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	posix_spawn_file_actions_adddup2(&actions, fileno(output), STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fileno(output), STDERR_FILENO);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, *env[0] ? env : env + 1), 0);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		show(output);
	fclose(output);
	return status;
}

#ifndef KERNEL_ORACLE
static uint64_t objects_at_start = UINT64_MAX; /* until then the engine was not started before the test */
#endif

void settle(void)
{
#ifndef KERNEL_ORACLE
	for (int waited_ms = 0; waited_ms < 2000 && objects_at_start != UINT64_MAX && stats().objects > objects_at_start;
	     waited_ms++)
		usleep(1000);
#endif
}

static void run(void **state)
{
	const struct conformance_test *test = *state;
	const char *why = reason_not_served(test->name);
	sigjmp_buf here;

	if (why)
		skip_because(why);

	if (test->own_process && !alone) {
		int status = run_alone(test);

		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
			skip();
		assert_int_equal(status, 0);
		return;
	}
	sigaction(SIGSEGV, &segv_action, NULL);
	sigaction(SIGBUS, &bus_action, NULL);
	test_thread = pthread_self();
	if (sigsetjmp(here, 1)) {
		landing = NULL;
		fail_msg("signal %d code %d at %p", last_fault.signo, last_fault.code, last_fault.addr);
	}
	landing = &here;
	settle();
	test->function(state);
	landing = NULL;
}

static int clean_up(void **state)
{
	(void)state;
	landing = NULL;
	restore_locked_memory();
	while (nfiles)
		close(files[--nfiles]);
	while (npaths)
		unlink(paths[--npaths]);
	while (nmounts) {
		umount2(mounts[--nmounts], MNT_DETACH);
		rmdir(mounts[nmounts]);
	}
	return 0;
}

static void guard(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* Makes the first mapping, which stays, so that the engine's handlers stand in front of ours. */
static void start_engine(void)
{
#ifndef KERNEL_ORACLE
	if (quire_mmap(NULL, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
		fprintf(stderr, "%s\n", quire_errormsg());
		exit(errno == EPERM ? EXIT_SKIPPED : EXIT_FAILURE);
	}
	objects_at_start = stats().objects;
#endif
}

int conformance_main(int argc, char **argv, const struct conformance_test *tests, size_t n)
{
	struct CMUnitTest *units = calloc(n, sizeof(*units));
	size_t nunits = 0;
	bool start = true;
	int failed;

	if (!units)
		return EXIT_FAILURE;
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	if (is_served() && !served_list_is_right(tests, n))
		return EXIT_FAILURE;
	alone = argc > 1;
	for (size_t i = 0; i < n; i++) {
		if (alone && strcmp(argv[1], tests[i].name))
			continue;
		if (alone)
			start = !tests[i].before_start;
		units[nunits++] = (struct CMUnitTest){tests[i].name, run, NULL, clean_up, (void *)&tests[i]};
	}
	guard();
	if (start)
		start_engine();
	sigaction(SIGSEGV, NULL, &segv_action);
	sigaction(SIGBUS, NULL, &bus_action);
	failed = nunits ? _cmocka_run_group_tests(program_invocation_short_name, units, nunits, NULL, NULL) : -1;
	free(units);
	return failed ? EXIT_FAILURE : alone && skipped ? EXIT_SKIPPED : EXIT_SUCCESS;
}
