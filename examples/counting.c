/* SPDX-License-Identifier: MIT */
/*
 * counting.c - a parent and its child count together: counting N prints the numbers below 2N, each by one of the two
 *
 * The counter and its semaphore are in shared memory without a file, which a child of fork() has as its parent has it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <semaphore.h>
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

struct shared {
	sem_t free; /* 1: nobody has the counter */
	long count;
};

static int complain(const char *what, const char *reason)
{
	fprintf(stderr, "counting: %s: %s\n", what, reason);
	return 1;
}

static int count(struct shared *shared, const char *who, long n)
{
	/*
	 * A semaphore sleeps and wakes by system calls, and under the signal trap these do not bring a page in: it has to be there.
	 * Locks are not inherited, so parent and child each have one.
	 */
	if (mlock(shared, sizeof(*shared)) < 0)
		return complain("mlock", map_error());
	for (long i = 0; i < n; i++) {
		if (sem_wait(&shared->free) < 0)
			return complain("sem_wait", strerror(errno));
		printf("%s: %ld\n", who, shared->count++);
		sem_post(&shared->free);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct shared *shared;
	int status, result;
	pid_t child;
	long n;

	if (argc != 2 || (n = atol(argv[1])) <= 0) {
		fprintf(stderr, "usage: counting N\n");
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return complain("mmap", map_error());
	if (sem_init(&shared->free, 1, 1) < 0)
		return complain("sem_init", strerror(errno));
	/* Two processes write to it, line by line. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	child = fork();
	if (child < 0)
		return complain("fork", strerror(errno));
	if (child == 0)
		return count(shared, "child", n);
	result = count(shared, "parent", n);
	if (waitpid(child, &status, 0) < 0 || status != 0)
		return complain("the child", "it has failed");
	return result;
}
