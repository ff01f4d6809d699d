/* SPDX-License-Identifier: MIT */
/*
 * stripe.c - one object over several files: stripe write|read FILE...
 *
 * The bytes of the object go round the files in pieces of 64 KiB, as those of a striped disk do. A pager knows which piece is where;
 * what is copied is one mapping. write takes standard input, and makes the object as long as that; read prints the object.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <quire/pager.h>

#define PIECE 65536

struct stripe {
	int count;
	int *fds;
	uint64_t size;
};

static int stripe_size(void *arg, uint64_t *ret_bytes)
{
	*ret_bytes = ((struct stripe *)arg)->size;
	return 0;
}

/* Does what lies in one piece. How many bytes; -1: errno. */
static ssize_t move_piece(const struct stripe *stripe, const struct quire_pager_request *r, size_t done)
{
	uint64_t at = r->offset + done, piece = at / PIECE, inside = at % PIECE;
	size_t len = r->len - done < PIECE - inside ? r->len - done : (size_t)(PIECE - inside);
	int fd = stripe->fds[piece % (uint64_t)stripe->count];
	off_t pos = (off_t)(piece / (uint64_t)stripe->count * PIECE + inside);

	return r->op == QUIRE_PAGER_READ ? pread(fd, (char *)r->buf + done, len, pos) : pwrite(fd, (char *)r->buf + done, len, pos);
}

static void stripe_transfer(void *arg, const struct quire_pager_request *r)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < r->len && n > 0) {
		n = move_piece(arg, r, done);
		done += n > 0 ? (size_t)n : 0;
	}
	quire_pager_complete(r->id, n < 0 ? errno : 0, done);
}

static int stripe_sync(void *arg)
{
	const struct stripe *stripe = arg;

	for (int i = 0; i < stripe->count; i++)
		if (fdatasync(stripe->fds[i]) < 0)
			return errno;
	return 0;
}

/* Each file as long as its pieces. */
static int stripe_resize(void *arg, uint64_t bytes)
{
	struct stripe *stripe = arg;
	uint64_t whole = bytes / PIECE, count = (uint64_t)stripe->count;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t pieces = whole / count + (i < whole % count);
		off_t size = (off_t)(pieces * PIECE + (i == whole % count ? bytes % PIECE : 0));

		if (ftruncate(stripe->fds[i], size) < 0)
			return errno;
	}
	stripe->size = bytes;
	return 0;
}

static const struct quire_pager_ops stripe_ops = {
    .ops_size = sizeof(stripe_ops),
    .name = "stripe",
    .threads = 4,
    .best_size = 4 * PIECE,
    .size = stripe_size,
    .read = stripe_transfer,
    .write = stripe_transfer,
    .sync = stripe_sync,
    .resize = stripe_resize,
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "stripe: %s: %s\n", what, why);
	return 1;
}

/* Standard input, piece by piece: the object grows in front of it. */
static int copy_in(int fd)
{
	const size_t step = 4u << 20;
	uint64_t size = 0;
	size_t n;

	do {
		char *map = MAP_FAILED;

		if (quire_ftruncate(fd, (off_t)(size + step)) == 0)
			map = quire_mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)size);
		if (map == MAP_FAILED)
			return fail("growing", quire_errormsg());
		for (n = 0; n < step; n++) {
			int byte = getchar();

			if (byte == EOF)
				break;
			map[n] = (char)byte;
		}
		if (quire_msync(map, step, MS_SYNC) < 0 || quire_munmap(map, step) < 0)
			return fail("writing", quire_errormsg());
		size += n;
	} while (n == step);
	return quire_ftruncate(fd, (off_t)size) < 0 ? fail("cutting", quire_errormsg()) : 0;
}

static int copy_out(int fd, uint64_t size)
{
	char *map;

	if (size == 0)
		return 0;
	map = quire_mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail("reading", quire_errormsg());
	for (uint64_t at = 0; at < size; at++)
		putchar(map[at]);
	return fflush(stdout) == EOF ? fail("standard output", strerror(errno)) : 0;
}

/* Opens the files; the object is as long as all of them together. */
static int open_files(struct stripe *stripe, char **names, bool writable)
{
	stripe->fds = calloc((size_t)stripe->count, sizeof(int));
	if (!stripe->fds)
		return fail("files", strerror(errno));
	for (int i = 0; i < stripe->count; i++) {
		struct stat st;

		stripe->fds[i] = open(names[i], writable ? O_RDWR | O_CREAT : O_RDONLY, 0666);
		if (stripe->fds[i] < 0 || fstat(stripe->fds[i], &st) < 0)
			return fail(names[i], strerror(errno));
		stripe->size += (uint64_t)st.st_size;
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool writable = argc > 2 && strcmp(argv[1], "write") == 0;
	struct stripe stripe = {.count = argc - 2};
	int fd;

	if (argc < 3 || (!writable && strcmp(argv[1], "read") != 0)) {
		fprintf(stderr, "usage: stripe write|read FILE...\n");
		return 2;
	}
	if (open_files(&stripe, argv + 2, writable) != 0)
		return 1;
	fd = quire_open_pager(&stripe_ops, &stripe, writable ? O_RDWR : O_RDONLY);
	if (fd < 0)
		return fail("opening", quire_errormsg());
	return writable ? copy_in(fd) : copy_out(fd, stripe.size);
}
