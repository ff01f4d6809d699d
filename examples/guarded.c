/* SPDX-License-Identifier: MIT */
/*
 * guarded.c - reads a file through a mapping while another program changes it: guarded FILE COMMAND…
 *
 * COMMAND runs beside the reader, and may cut the file, or pull the disk. A reader of a mapping dies of SIGBUS then; this one says at
 * which byte it had to stop, and why, and goes on. It reads the file over and over until COMMAND has ended, and once more after that.
 */
#include <errno.h>
#include <fcntl.h>
#include <quire/guard.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct reading {
	size_t bytes; /* that were read */
	unsigned long sum;
	int error;    /* what ended it; 0: the end of the mapping */
	off_t offset; /* … and where */
};

static int complain(const char *name, const char *reason)
{
	fprintf(stderr, "guarded: %s: %s\n", name, reason);
	return 1;
}

/*
 * What was counted is in *ret, which the caller has: after an error, local variables that were changed inside the scope would hold
 * anything, unless they were volatile.
 */
static void read_all(const unsigned char *data, size_t size, struct reading *ret)
{
	struct quire_guard guard;

	*ret = (struct reading){0};
	QUIRE_GUARD(&guard) {
		for (; ret->bytes < size; ret->bytes++)
			ret->sum = ret->sum * 31 + data[ret->bytes];
	}
	QUIRE_ERROR(&guard) {
		ret->error = guard.error;
		ret->offset = guard.offset;
	}
}

static const char *reason_of(int error)
{
	return error == ENODATA ? "the file ends before that" : strerror(error);
}

static void report(const char *name, const struct reading *reading)
{
	if (reading->error)
		printf("%s: stopped at byte %lld: %s\n", name, (long long)reading->offset, reason_of(reading->error));
	else
		printf("%s: all %zu bytes, sum %lx\n", name, reading->bytes, reading->sum);
}

/* Reads until the other has ended, and tells whenever it comes to another end. Whether the last time was to the end. */
static int read_beside(const char *name, unsigned char *data, size_t size, pid_t other)
{
	struct reading now, before = {.error = -1};
	int ended = 0;

	while (!ended) {
		ended = waitpid(other, NULL, WNOHANG) != 0;
		/* What is in memory already would be readable for a while. */
		if (quire_msync(data, size, MS_INVALIDATE) != 0)
			return complain(name, quire_errormsg());
		read_all(data, size, &now);
		if (now.error != before.error || now.offset != before.offset || now.sum != before.sum)
			report(name, &now);
		before = now;
	}
	return now.error != 0;
}

int main(int argc, char **argv)
{
	struct stat st;
	unsigned char *data;
	pid_t other;
	int fd, error;

	if (argc < 3)
		return complain("usage", "guarded FILE COMMAND...");
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return complain(argv[1], strerror(errno));
	data = quire_mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return complain(argv[1], quire_errormsg());
	error = posix_spawnp(&other, argv[2], NULL, NULL, argv + 2, environ);
	if (error)
		return complain(argv[2], strerror(error));
	return read_beside(argv[1], data, (size_t)st.st_size, other);
}
