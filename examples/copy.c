/* SPDX-License-Identifier: MIT */
/*
 * copy.c - copies a file by memcpy from one mapping to another: copy FROM TO
 *
 * The destination gets its size first, since a mapping cannot make a file longer. It goes by windows, so that the address space
 * need not hold a whole file twice; memory would not mind, the pages come and go within the budget.
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

/* A multiple of every page size, as the offset of a mapping has to be. */
#define WINDOW ((off_t)1 << 26)

static int complain(const char *name, const char *reason)
{
	fprintf(stderr, "copy: %s: %s\n", name, reason);
	return 1;
}

static int copy_window(const char *from, int in, const char *to, int out, off_t at, size_t size)
{
	void *source, *target;
	int status = 0;

	source = mmap(NULL, size, PROT_READ, MAP_SHARED, in, at);
	if (source == MAP_FAILED)
		return complain(from, map_error());
	target = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, out, at);
	if (target == MAP_FAILED) {
		status = complain(to, map_error());
		munmap(source, size);
		return status;
	}
	madvise(source, size, MADV_SEQUENTIAL);
	memcpy(target, source, size);
	/* A full disk is found out here at the latest; without the msync the copy would be good, but not yet safe. */
	if (msync(target, size, MS_SYNC) < 0)
		status = complain(to, map_error());
	if (munmap(target, size) < 0 && status == 0)
		status = complain(to, map_error());
	munmap(source, size);
	return status;
}

int main(int argc, char **argv)
{
	struct stat st, old;
	int in, out;

	if (argc != 3) {
		fprintf(stderr, "usage: copy FROM TO\n");
		return 2;
	}
	in = open(argv[1], O_RDONLY);
	if (in < 0 || fstat(in, &st) < 0)
		return complain(argv[1], strerror(errno));
	if (!S_ISREG(st.st_mode))
		return complain(argv[1], "not a regular file");
	if (stat(argv[2], &old) == 0 && old.st_dev == st.st_dev && old.st_ino == st.st_ino)
		return complain(argv[2], "is the file to copy");
	out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, st.st_mode & 0777);
	if (out < 0 || ftruncate(out, st.st_size) < 0)
		return complain(argv[2], strerror(errno));
	for (off_t at = 0; at < st.st_size; at += WINDOW) {
		off_t size = st.st_size - at < WINDOW ? st.st_size - at : WINDOW;

		if (copy_window(argv[1], in, argv[2], out, at, (size_t)size) != 0)
			return 1;
	}
	close(out);
	close(in);
	return 0;
}
