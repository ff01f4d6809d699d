/* SPDX-License-Identifier: MIT */
/*
 * launch.c - starts a server for a program that found none
 *
 * The program must not notice: it may wait for any child of its own, handle SIGCHLD, count its descriptors. So the process that it makes
 * sends no signal when it ends, and is not waited for by a call that does not ask for such; all that it does is to begin a session, make
 * the server and end, which leaves the server to init. (To the program itself, if that has asked to be given orphans: it expects them.)
 * Both are made as posix_spawn makes them: in this process's memory, while this thread sleeps. No handler of fork runs, and an error comes
 * back as it is.
 *
 * What the server says until it listens comes through a pipe: its end is the sign that it listens, or has ended.
 */
#include "remote/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "util/message.h"

#define STACK_BYTES (64u << 10)
#define START_MS    10000
#define MOST_FILES  (1 << 20) /* fs.nr_open, as a rule */
#define IDLE        "5m"      /* after which it ends, when nobody is connected */

struct launch {
	char command[4096];
	const char *const *arguments;
	char *stacks;  /* two */
	int null, log; /* descriptors above the standard ones */
	int error;     /* -errno */
};

int launch_take_turn(const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char name[160];
	int fd, r;

	snprintf(name, sizeof(name), "%s.lock", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return message_set(errno, "no server listens at %s, and none can be started: %s cannot be made: %s", path, name,
				   strerrordesc_np(errno));
	/* The server's own lock is one of flock(2): the two do not meet. */
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r == -EAGAIN || r == -EACCES ? -EAGAIN : message_set(-r, "%s cannot be locked: %s", name, strerrordesc_np(-r));
}

/* ---- in the processes that are made, which share this one's memory ---- */

/* Handlers of the program's must not run here. */
static void reset_signals(void)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)sigaction(number, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * The server is there for others, too, whatever this program may use for itself: as far as the rights go, it may use what it needs. The stack and core
 * files are no matter of the server's, and the stack's limit changes where memory lies.
 */
static void lift_limits(void)
{
	static const __rlimit_resource_t limits[] = {RLIMIT_FSIZE, RLIMIT_AS,      RLIMIT_DATA,  RLIMIT_CPU,    RLIMIT_RSS,
						     RLIMIT_NPROC, RLIMIT_MEMLOCK, RLIMIT_LOCKS, RLIMIT_RTTIME, RLIMIT_NOFILE};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit limit, most = {MOST_FILES, MOST_FILES};

		if (getrlimit(limits[i], &limit) < 0)
			continue;
		if (limits[i] != RLIMIT_NOFILE || limit.rlim_max > MOST_FILES)
			most = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
		limit.rlim_cur = limit.rlim_max;
		/* Beyond the hard limit it is a privilege. */
		if (setrlimit(limits[i], &most) < 0)
			(void)setrlimit(limits[i], &limit);
	}
}

static int become_server(void *arg)
{
	struct launch *launch = arg;

	reset_signals();
	lift_limits();
	if (dup2(launch->null, 0) >= 0 && dup2(launch->null, 1) >= 0 && dup2(launch->log, 2) >= 0) {
		(void)syscall(SYS_close_range, 3, ~0u, 0);
		execve(launch->command, (char *const *)(uintptr_t)launch->arguments, environ);
	}
	launch->error = -errno;
	_exit(127);
}

static int make_server(void *arg)
{
	struct launch *launch = arg;

	(void)setsid();
	if (clone(become_server, launch->stacks + 2 * STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, launch) < 0)
		launch->error = -errno;
	_exit(0);
}

/* ---- in this one ---- */

static int make_processes(struct launch *launch)
{
	pid_t child;

	launch->stacks = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (launch->stacks == MAP_FAILED)
		return -errno;
	child = clone(make_server, launch->stacks + STACK_BYTES, CLONE_VM | CLONE_VFORK, launch);
	if (child < 0)
		launch->error = -errno;
	else
		while (waitpid(child, NULL, __WCLONE) < 0 && errno == EINTR)
			;
	munmap(launch->stacks, 2 * STACK_BYTES);
	return launch->error;
}

/* A descriptor that is none of the standard ones, instead of fd. */
static int lift(int fd)
{
	int r = fd < 0 ? -errno : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (r < 0 && fd >= 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

/* What the server says, until it says no more. The last of it, in one line. 0 or -ETIMEDOUT. */
static int listen_to(int log, char *ret, size_t size)
{
	struct pollfd end = {.fd = log, .events = POLLIN};
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0) {
		int ready = poll(&end, 1, START_MS);

		if (ready == 0)
			break;
		if (ready < 0 && errno == EINTR)
			continue;
		if (len == size - 1)
			len = 0;
		n = read(log, ret + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	ret[len] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return n > 0 ? -ETIMEDOUT : 0;
}

static int launch_with(struct launch *launch, int read_end, const char *path, char *ret_said, size_t size)
{
	int r = make_processes(launch);

	close(launch->null);
	close(launch->log);
	if (r < 0)
		return message_set(
		    -r,
		    "no server listens at %s, and %s cannot be started: %s; name the command by QUIRE_COMMAND, start `quire "
		    "serve`, or set QUIRE_SERVER=off",
		    path, launch->command, strerrordesc_np(-r));
	if (listen_to(read_end, ret_said, size) < 0)
		return message_set(ETIMEDOUT, "the server that was started for %s is not ready after %d seconds", path,
				   START_MS / 1000);
	return 0;
}

int launch_server(const char *path, char *ret_said, size_t size)
{
	const char *const arguments[] = {"quire", "serve", "--detach", "--socket", path, "--idle-exit", IDLE, NULL};
	struct launch launch = {.arguments = arguments};
	int pipes[2], read_end, r;

	if ((r = config_command(launch.command, sizeof(launch.command))) < 0)
		return r;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return message_set(errno, "no server can be started: %s", strerrordesc_np(errno));
	launch.null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
	launch.log = lift(pipes[1]);
	read_end = lift(pipes[0]);
	if (launch.null >= 0 && launch.log >= 0 && read_end >= 0) {
		r = launch_with(&launch, read_end, path, ret_said, size);
	} else {
		r = message_set(EMFILE, "no server can be started: there are no descriptors for it");
		if (launch.null >= 0)
			close(launch.null);
		if (launch.log >= 0)
			close(launch.log);
	}
	if (read_end >= 0)
		close(read_end);
	return r;
}
