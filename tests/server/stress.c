/* SPDX-License-Identifier: MIT */
/*
 * stress.c - fifty processes that map, store under locks, fork, truncate and are killed, against a model of the file
 *
 * The file has slots, and a tail whose length changes. A slot has a lock, a number and words that follow from the number; a process that
 * has the lock stores the words of the next number, one by one. The model lies in memory of the kernel's own, and is told of each
 * store before and after it: so it is known, when a process was killed, of all stores but one whether they were made, and the next one to
 * take the lock compares. What was stored may not be lost, and what was not may not appear, whatever is paged out, written, mapped
 * anew, forked or killed meanwhile; the server's memory is less than the file.
 *
 * A lock is a word of the file: 0, or who has it. That he is dead is known from the process that reaps all. What a process that was killed
 * has asked the server for may be done after its death, which the kernel's own calls are not: so none is killed in the middle of a truncation.
 *
 * What a process does follows from the seed and its number; which one gets a lock first does not.
 */
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct model *model;
struct options options = {.operations = 60000, .seed = 1, .processes = 50};

static unsigned oldest; /* number of those that may still live */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool is_over(void)
{
	if (options.seconds > 0)
		return now() >= model->end;
	return atomic_load(&model->operations) >= options.operations;
}

/* ---- who lives ---- */

/* A number that no other process has, nor had. -1: there are no more, or as many live as may. */
int take_number(void)
{
	unsigned id;

	if (atomic_fetch_add(&model->live, 1) >= options.processes + EXTRA) {
		atomic_fetch_sub(&model->live, 1);
		return -1;
	}
	id = atomic_fetch_add(&model->numbers, 1);
	if (id < NUMBERS)
		return (int)id;
	atomic_fetch_sub(&model->live, 1);
	return -1;
}

/* Whether the process has ended, though perhaps nobody has reaped it yet. */
bool is_dead(unsigned id)
{
	pid_t pid = atomic_load(&model->process[id].pid);
	char name[64], text[512], *state;
	ssize_t n;
	int fd;

	if (atomic_load(&model->process[id].dead))
		return true;
	if (pid == 0)
		return false;
	snprintf(name, sizeof(name), "/proc/%ld/stat", (long)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	state = strrchr(text, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

static unsigned numbers(void)
{
	unsigned n = atomic_load(&model->numbers);

	return n < NUMBERS ? n : NUMBERS;
}

/* The number of a process that is about to be reaped. -1: it was killed before it could say which one it had. */
static int number_of(pid_t pid)
{
	for (unsigned id = numbers(); id-- > oldest;)
		if (atomic_load(&model->process[id].pid) == pid && !atomic_load(&model->process[id].dead))
			return (int)id;
	return -1;
}

/*
 * How many live, counted anew: one that is killed may have taken a number for a child and not made it. It is what is about right; nothing
 * but how many are started hangs on it.
 */
static void count_living(void)
{
	unsigned n = numbers(), live = 0;

	while (oldest < n && (atomic_load(&model->process[oldest].dead) || (!model->process[oldest].pid && oldest + 1000 < n)))
		oldest++;
	for (unsigned id = oldest; id < n; id++)
		live += atomic_load(&model->process[id].pid) && !atomic_load(&model->process[id].dead);
	atomic_store(&model->live, live);
}

/* Reaps one that has ended. Its children are this process's then. */
static bool reap(void)
{
	siginfo_t info = {.si_pid = 0};
	int status, id;

	/* Its number is known to be free before another process can have its pid. */
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
		return false;
	id = number_of(info.si_pid);
	if (id >= 0)
		atomic_store(&model->process[id].dead, true);
	if (waitpid(info.si_pid, &status, 0) != info.si_pid)
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		atomic_fetch_add(&model->killed, 1);
	} else if (status != 0) {
		fprintf(stderr, "stress: process %d ended with %s %d\n", id, WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		atomic_store(&model->failed, true);
	}
	return true;
}

/* ---- the one that starts and kills ---- */

static void start_one(void)
{
	int id = take_number();
	pid_t pid;

	if (id < 0)
		return;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		atomic_store(&model->process[id].pid, getpid());
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work_from_start((unsigned)id);
	}
	if (pid < 0) {
		fprintf(stderr, "stress: no process: %s\n", strerror(errno));
		atomic_store(&model->failed, true);
	} else {
		atomic_store(&model->process[id].pid, pid);
	}
}

static void kill_one(uint64_t *rng)
{
	unsigned count = numbers() - oldest, id = oldest + (unsigned)(draw(rng) % (count ? count : 1));
	struct process *process;

	while (id < numbers() && (atomic_load(&model->process[id].dead) || !atomic_load(&model->process[id].pid)))
		id++;
	if (id == numbers())
		return;
	process = &model->process[id];
	atomic_store(&process->killing, true);
	if (!atomic_load(&process->truncating))
		(void)kill(process->pid, SIGKILL);
	else
		atomic_store(&process->killing, false);
}

static void tell_state(void)
{
	for (unsigned id = oldest; id < numbers(); id++) {
		struct process *process = &model->process[id];

		if (atomic_load(&process->pid) && !atomic_load(&process->dead))
			fprintf(stderr, "stress: process %u, pid %ld, %s, at slot %d, %s\n", id, (long)process->pid,
				is_dead(id) ? "dead" : "alive", (int)process->at, process->doing ? process->doing : "-");
	}
}

/* Whether the counter still moves; the time is not in it, since all of this may be stopped from outside. */
static bool is_stuck(unsigned *seen, double *since)
{
	unsigned at = atomic_load(&model->operations);

	if (at != *seen) {
		*seen = at;
		*since = now();
	}
	return now() - *since > STUCK_S;
}

/* They see that it is over; those that do not are killed. */
static void end_all(void)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	double since = now();
	bool killed = false;

	atomic_store(&model->ending, true);
	while (waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD) {
		if (reap())
			continue;
		nanosleep(&moment, NULL);
		if (killed || (!atomic_load(&model->failed) && now() - since < STUCK_S))
			continue;
		killed = true;
		if (!atomic_load(&model->failed))
			fprintf(stderr, "stress: not all end\n");
		tell_state();
		atomic_store(&model->failed, true);
		for (unsigned id = oldest; id < numbers(); id++)
			if (atomic_load(&model->process[id].pid) && !atomic_load(&model->process[id].dead))
				kill(model->process[id].pid, SIGKILL);
	}
}

static void drive(void)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t rng = options.seed;
	unsigned seen = 0, next_kill = options.kill_every;
	double since = now();

	while (!is_over() && !atomic_load(&model->failed)) {
		while (reap())
			;
		count_living();
		for (unsigned n = 0; n < options.processes && atomic_load(&model->live) < options.processes; n++)
			start_one();
		if (options.kill_every && atomic_load(&model->operations) >= next_kill) {
			kill_one(&rng);
			next_kill += options.kill_every;
		}
		if (is_stuck(&seen, &since) || numbers() == NUMBERS) {
			fprintf(stderr, "stress: nothing goes on any more\n");
			tell_state();
			atomic_store(&model->failed, true);
		}
		nanosleep(&moment, NULL);
	}
	end_all();
}

/* ---- the server's descriptors ---- */

static pid_t find_server(void)
{
	const char *path = getenv("QUIRE_SERVER");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (path && strlen(path) < sizeof(address.sun_path))
		memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	close(fd);
	return peer.pid;
}

static unsigned count_descriptors(pid_t pid)
{
	unsigned n = 0;
	char name[64];

	for (int fd = 0; fd < 4096; fd++) {
		snprintf(name, sizeof(name), "/proc/%ld/fd/%d", (long)pid, fd);
		n += faccessat(AT_FDCWD, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	return n;
}

/* When there have been so many for a while. */
static unsigned settled_descriptors(pid_t pid)
{
	static const struct timespec moment = {.tv_nsec = 20000000};
	unsigned n = 0;

	for (unsigned same = 0; same < 10; same++) {
		unsigned found = count_descriptors(pid);

		same = found == n ? same : 0;
		n = found;
		nanosleep(&moment, NULL);
	}
	return n;
}

/* Of clients that have gone the server keeps nothing; it learns of an end a little later. */
static void check_descriptors(pid_t server, unsigned before)
{
	static const struct timespec moment = {.tv_nsec = 100000000};
	unsigned n = 0;

	for (unsigned tries = 0; tries < 300; tries++) {
		n = count_descriptors(server);
		/* The file may stay known for a while. */
		if (n <= before)
			return;
		nanosleep(&moment, NULL);
	}
	fprintf(stderr, "stress: the server has %u descriptors, and had %u before\n", n, before);
	atomic_store(&model->failed, true);
}

/* ---- the whole ---- */

static int make_file(void)
{
	const char *top = getenv("TMPDIR");
	char name[PATH_MAX];
	int fd;

	snprintf(name, sizeof(name), "%s/quire-stress.XXXXXX", top ? top : "/var/tmp");
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)(TAIL_AT + TAIL_PAGES * (off_t)PAGE)) < 0) {
		fprintf(stderr, "stress: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	options.reader = open(name, O_RDONLY | O_CLOEXEC);
	unlink(name);
	return fd;
}

/* Whether a process of its own does it well. */
static bool run_alone(void (*run)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		run();
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static void run_all(pid_t server)
{
	bool good = run_alone(use_swap);
	unsigned descriptors = 0;

	if (good && server)
		descriptors = settled_descriptors(server);
	if (good)
		drive();
	/* All of the file by a mapping, and made durable; then by the kernel's calls. */
	good = good && !atomic_load(&model->failed) && run_alone(check_all_and_sync);
	if (good)
		check_file();
	if (good && server)
		check_descriptors(server, descriptors);
	if (!good)
		atomic_store(&model->failed, true);
}

static void usage(void)
{
	fprintf(stderr,
		"usage: stress [--operations N | --seconds S] [--processes N] [--seed N] [--kernel] [--break lost|torn|size]\n"
		"Processes that share a file, by the server that QUIRE_SERVER names, or by the kernel's mmap.\n");
	exit(2);
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--kernel") == 0) {
			options.kernel = true;
			continue;
		}
		if (strcmp(argv[i], "--operations") == 0)
			options.operations = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			options.seconds = strtod(value, NULL);
		else if (strcmp(argv[i], "--processes") == 0)
			options.processes = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0)
			options.seed = strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--break") == 0)
			options.fault = value;
		else
			usage();
		i++;
	}
	if (options.processes == 0 || options.processes > 200 || options.operations == 0)
		usage();
	options.kill_every = 100;
}

int main(int argc, char **argv)
{
	pid_t server;

	parse(argc, argv);
	server = options.kernel ? 0 : find_server();
	if (!options.kernel && server == 0) {
		fprintf(stderr, "stress: no server listens at QUIRE_SERVER\n");
		return 2;
	}
	model = mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (model == MAP_FAILED) {
		perror("stress");
		return 1;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	options.writer = make_file();
	model->tail_pages = TAIL_PAGES;
	model->end = now() + options.seconds;
	run_all(server);
	printf("stress: seed %lu: %u operations by %u processes, %u killed, %u locks taken over, %u truncations, %u forks: %s\n",
	       options.seed, atomic_load(&model->operations), atomic_load(&model->numbers), atomic_load(&model->killed),
	       atomic_load(&model->taken_over), atomic_load(&model->truncations), atomic_load(&model->forks),
	       atomic_load(&model->failed) ? "FAILED" : "good");
	return atomic_load(&model->failed);
}
