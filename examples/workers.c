/* SPDX-License-Identifier: MIT */
/*
 * workers.c - four processes do jobs from one list, and one of them dies with the list locked: workers JOBS [VICTIM]
 *
 * The list is in shared memory, under a robust mutex of processes. Who takes job VICTIM is killed while he holds the mutex; the next
 * to lock it is told so, puts the job back, and all of them are done in the end. Prints how often each job was begun and done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef WITH_KERNEL_MMAP
#include <sys/mman.h>
#define map_error() strerror(errno)
#else
#include <quire/mman.h>
#define map_error() quire_errormsg()
#endif

#define WORKERS 4

struct job {
	int begun, done;
};

struct list {
	pthread_mutex_t mutex;
	int next, jobs;
	int taken; /* by who has the mutex; -1: none, and the list is as it should be */
	struct job job[];
};

static int complain(const char *what, const char *reason)
{
	fprintf(stderr, "workers: %s: %s\n", what, reason);
	return 1;
}

static bool lock(struct list *list)
{
	int error = pthread_mutex_lock(&list->mutex);

	if (error == EOWNERDEAD) {
		/* He has left the list in the middle of a change: it is undone, and then the mutex is good again. */
		if (list->taken >= 0)
			list->next = list->taken;
		list->taken = -1;
		error = pthread_mutex_consistent(&list->mutex);
	}
	return error == 0;
}

/* The job's number, or -1: there are no more. */
static int take(struct list *list, int victim)
{
	int number = -1;

	if (!lock(list))
		return -1;
	if (list->next < list->jobs) {
		number = list->next++;
		list->taken = number;
		if (list->job[number].begun++ == 0 && number == victim)
			raise(SIGKILL);
		list->taken = -1;
	}
	pthread_mutex_unlock(&list->mutex);
	return number;
}

static int work(struct list *list, size_t size, int victim)
{
	int number;

	/*
	 * A mutex that has to wait does so by a system call, and that of one who dies is marked by the kernel: neither brings a page in,
	 * so it has to stay there.
	 */
	if (mlock(list, size) < 0)
		return complain("mlock", map_error());
	while ((number = take(list, victim)) >= 0)
		list->job[number].done++; /* nobody else has this one */
	return 0;
}

static struct list *make_list(int jobs, size_t size)
{
	struct list *list = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t kind;

	if (list == MAP_FAILED)
		return NULL;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&list->mutex, &kind);
	pthread_mutexattr_destroy(&kind);
	list->jobs = jobs;
	list->taken = -1;
	return list;
}

int main(int argc, char **argv)
{
	int jobs = argc >= 2 ? atoi(argv[1]) : 0, victim = argc == 3 ? atoi(argv[2]) : -1, killed = 0, failed = 0, status;
	size_t size = sizeof(struct list) + (size_t)jobs * sizeof(struct job);
	struct list *list;

	if (jobs <= 0 || jobs > 100000 || argc > 3) {
		fprintf(stderr, "usage: workers JOBS [VICTIM]\n");
		return 2;
	}
	list = make_list(jobs, size);
	if (!list)
		return complain("mmap", map_error());
	for (int i = 0; i < WORKERS; i++) {
		pid_t worker = fork();

		if (worker < 0)
			return complain("fork", strerror(errno));
		if (worker == 0)
			return work(list, size, victim);
	}
	for (int i = 0; i < WORKERS && wait(&status) > 0; i++) {
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		failed += WIFEXITED(status) && WEXITSTATUS(status) != 0;
	}
	for (int i = 0; i < jobs; i++)
		printf("job %d: begun %d, done %d\n", i, list->job[i].begun, list->job[i].done);
	printf("workers killed: %d\n", killed);
	return failed > 0;
}
