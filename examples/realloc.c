/* SPDX-License-Identifier: MIT */
/*
 * realloc.c - a buffer that grows by mremap, and no byte of it is copied: realloc < TEXT prints its lines in reverse order
 *
 * realloc(3) of a large block does the same below. The pages stay as they are, in memory or out; only their address changes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef WITH_KERNEL_MMAP
#include <sys/mman.h>
#define map_error() strerror(errno)
#else
#include <quire/mman.h>
#define map_error() quire_errormsg()
#endif

/* Changes the size of a block; as realloc(3), with the old size given, and NULL for none yet. => NULL and nothing changed */
static void *block_resize(void *block, size_t old_size, size_t size)
{
	void *moved;

	if (!block)
		moved = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else
		moved = mremap(block, old_size, size, MREMAP_MAYMOVE);
	return moved == MAP_FAILED ? NULL : moved;
}

static int complain(const char *what, const char *reason)
{
	fprintf(stderr, "realloc: %s: %s\n", what, reason);
	return 1;
}

static void print_reversed(const char *text, size_t length)
{
	size_t end = length;

	while (end > 0) {
		size_t start = end - 1; /* the last byte is the end of the line, or its only character */

		while (start > 0 && text[start - 1] != '\n')
			start--;
		/* a character at a time, since the pointer may not reach a system call; see cat.c */
		for (size_t i = start; i < end; i++)
			putchar(text[i]);
		if (text[end - 1] != '\n')
			putchar('\n');
		end = start;
	}
}

int main(void)
{
	static char piece[65536];
	size_t length = 0, size = 0, resized = 0;
	char *text = NULL;
	ssize_t n;

	/* read() into the block itself would be a system call on pages that are not there yet */
	while ((n = read(STDIN_FILENO, piece, sizeof(piece))) > 0) {
		while (size - length < (size_t)n) {
			size_t larger = size ? 2 * size : (size_t)sysconf(_SC_PAGESIZE);
			char *block = larger > size ? block_resize(text, size, larger) : NULL;

			if (!block)
				return complain("growing the buffer", map_error());
			text = block;
			size = larger;
			resized++;
		}
		memcpy(text + length, piece, (size_t)n);
		length += (size_t)n;
	}
	if (n < 0)
		return complain("standard input", strerror(errno));
	print_reversed(text, length);
	fprintf(stderr, "realloc: %zu bytes, in a block that was resized %zu times\n", length, resized);
	if (text && munmap(text, size) < 0)
		return complain("giving the buffer back", map_error());
	return fflush(stdout) == 0 ? 0 : complain("standard output", strerror(errno));
}
