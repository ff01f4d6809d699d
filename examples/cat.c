/* SPDX-License-Identifier: MIT */
/*
 * cat.c - prints files through mappings of them: cat FILE…
 *
 * The textbooks end this example with write(1, data, size). Here the bytes are copied to a buffer first, for this reason: a page of
 * a managed mapping comes in when the program touches it. Under the signal trap the kernel is not the program: a system call that
 * is given a page which is not in memory fails with EFAULT. What to do instead is one of
 *
 *	copy, as here: it is right with every trap, and on the kernel's mmap too;
 *	mlock() the range, write() it, munlock() it: no copy, as long as the range fits the budget (and RLIMIT_MEMLOCK);
 *	QUIRE_TRAP=thread, where system calls work on any page.
 *
 * fwrite() is no way around it: of a large piece it hands the pointer to write().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef WITH_KERNEL_MMAP
#include <sys/mman.h>
#define map_error() strerror(errno)
#else
#include <quire/mman.h>
#define map_error() quire_errormsg()
#endif

static char buffer[65536];

static int complain(const char *name, const char *reason)
{
	fprintf(stderr, "cat: %s: %s\n", name, reason);
	return -1;
}

static int write_all(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, data, size);

		if (n < 0 && errno != EINTR)
			return complain("standard output", strerror(errno));
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

static int print(const char *name)
{
	const char *data;
	struct stat st;
	size_t size;
	int result = 0, fd = open(name, O_RDONLY);

	if (fd < 0)
		return complain(name, strerror(errno));
	if (fstat(fd, &st) < 0) {
		result = complain(name, strerror(errno));
		close(fd);
		return result;
	}
	size = (size_t)st.st_size;
	if (S_ISREG(st.st_mode) && size == 0) { /* nothing to map, nothing to print */
		close(fd);
		return 0;
	}
	data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd); /* the mapping stays */
	if (data == MAP_FAILED)
		return complain(name, map_error());
	madvise((void *)data, size, MADV_SEQUENTIAL);
	for (size_t at = 0; at < size && result == 0;) {
		size_t n = size - at < sizeof(buffer) ? size - at : sizeof(buffer);

		memcpy(buffer, data + at, n);
		result = write_all(buffer, n);
		at += n;
	}
	munmap((void *)data, size);
	return result;
}

int main(int argc, char **argv)
{
	int status = 0;

	for (int i = 1; i < argc; i++) {
		if (print(argv[i]) < 0)
			status = 1;
	}
	return status;
}
