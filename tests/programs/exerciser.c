/* SPDX-License-Identifier: MIT */
/*
 * exerciser.c - a program that knows nothing of Quire, and relies on what the kernel gives: a file is the same bytes, however one comes to it
 *
 *      exerciser DIR [OPERATIONS [SEED]]
 *
 * Two files, and a model of each in memory. An operation made from the seed stores or loads through one of several mappings, or makes one of the
 * calls that read, write, cut, grow, empty or copy a file; in this process or in a child. Whatever is seen has to be what the model has. At the
 * end the models are written beside the files, for a comparison from outside. Run as it is it proves that it asks for what the kernel does.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES     2
#define MAPS      3
#define MOST      ((size_t)2 << 20)
#define PIECE     40000
#define PAGE      4096
#define CHILD_OPS 20

struct file {
	char path[512];
	int fd, append, other;
	char *model; /* shared with children */
	size_t *size;
	char *map[MAPS]; /* of MOST bytes each; NULL: none */
};

static struct file files[FILES];
static uint64_t state;
static unsigned long number;
static const char *doing = "";
static bool in_child;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static size_t below(size_t n)
{
	return n ? (size_t)(next_random() % n) : 0;
}

static _Noreturn void fail(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	fprintf(stderr, "operation %lu, %s%s: ", number, doing, in_child ? " (child)" : "");
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
	fflush(stderr);
	_exit(1);
}

static void fill(char *at, size_t n)
{
	unsigned char first = (unsigned char)next_random();

	for (size_t i = 0; i < n; i++)
		at[i] = (char)(first + i * 7 + (i >> 8));
}

static void compare(const struct file *file, const char *got, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (got[i] != file->model[at + i])
			fail("%s: byte %zu is %02x, not %02x; %zu bytes from %zu on", file->path, at + i, (unsigned char)got[i],
			     (unsigned char)file->model[at + i], n, at);
}

/* A part of the file; as a rule small, and often at the edge of a page. False: there is none. */
static bool choose(const struct file *file, size_t *ret_at, size_t *ret_n)
{
	if (*file->size == 0)
		return false;
	*ret_at = below(*file->size);
	if (below(3) == 0)
		*ret_at -= *ret_at % PAGE;
	*ret_n = 1 + below(below(4) ? 300 : PIECE);
	if (*ret_n > *file->size - *ret_at)
		*ret_n = *file->size - *ret_at;
	return *ret_n > 0;
}

static void choose_to_write(const struct file *file, size_t *ret_at, size_t *ret_n)
{
	*ret_at = below(*file->size + 2 * PAGE);
	*ret_n = 1 + below(below(4) ? 300 : PIECE);
	if (*ret_at + *ret_n > MOST)
		*ret_at = MOST - *ret_n;
}

/* The model takes what was written. */
static void put(struct file *file, size_t at, const char *from, size_t n)
{
	if (at > *file->size)
		memset(file->model + *file->size, 0, at - *file->size);
	memcpy(file->model + at, from, n);
	if (at + n > *file->size)
		*file->size = at + n;
}

static void cut(struct file *file, size_t size)
{
	if (size > *file->size)
		memset(file->model + *file->size, 0, size - *file->size);
	*file->size = size;
}

static void check(ssize_t r, size_t n)
{
	if (r < 0)
		fail("%s", strerror(errno));
	if ((size_t)r != n)
		fail("%zd, not %zu", r, n);
}

static char *any_map(struct file *file)
{
	unsigned start = (unsigned)below(MAPS);

	for (unsigned i = 0; i < MAPS; i++)
		if (file->map[(start + i) % MAPS])
			return file->map[(start + i) % MAPS];
	return NULL;
}

/* ---- through mappings ---- */

static void op_load(struct file *file)
{
	char *map = any_map(file);
	size_t at, n;

	if (map && choose(file, &at, &n))
		compare(file, map + at, at, n);
}

static void op_store(struct file *file)
{
	char *map = any_map(file);
	size_t at, n;

	if (!map || !choose(file, &at, &n))
		return;
	fill(map + at, n);
	memcpy(file->model + at, map + at, n);
}

static void op_map(struct file *file)
{
	unsigned i = (unsigned)below(MAPS);

	if (file->map[i] && munmap(file->map[i], MOST) < 0)
		fail("munmap: %s", strerror(errno));
	file->map[i] = NULL;
	if (below(4) == 0)
		return;
	file->map[i] = below(2) ? mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0)
				: (void *)syscall(SYS_mmap, NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (file->map[i] == MAP_FAILED)
		fail("%s", strerror(errno));
}

static void op_sync(struct file *file)
{
	char *map = any_map(file);

	if (map && below(2) && msync(map, MOST, below(2) ? MS_SYNC : MS_ASYNC) < 0)
		fail("msync: %s", strerror(errno));
	if (fdatasync(file->fd) < 0)
		fail("%s", strerror(errno));
}

/* ---- reads ---- */

static void op_read(struct file *file)
{
	static char buf[PIECE];
	struct iovec iov[2];
	size_t at, n, half;
	int fd = below(2) ? file->fd : file->other;

	if (!choose(file, &at, &n))
		return;
	half = below(n);
	iov[0] = (struct iovec){buf, half};
	iov[1] = (struct iovec){buf + half, n - half};
	switch (below(6)) {
	case 0:
		check(pread(fd, buf, n, (off_t)at), n);
		break;
	case 1:
		check(preadv(fd, iov, 2, (off_t)at), n);
		break;
	case 2:
		check(preadv2(fd, iov, 2, (off_t)at, 0), n);
		break;
	case 3:
		check(syscall(SYS_pread64, fd, buf, n, at), n);
		break;
	case 4:
		check(lseek(fd, (off_t)at, SEEK_SET), at);
		check(readv(fd, iov, 2), n);
		check(lseek(fd, 0, SEEK_CUR), at + n);
		break;
	default:
		check(lseek(fd, (off_t)at, SEEK_SET), at);
		check(read(fd, buf, half), half);
		check(read(fd, buf + half, n - half), n - half);
	}
	compare(file, buf, at, n);
	check(pread(fd, buf, 10, (off_t)*file->size), 0);
}

/* Into a mapping, of whichever file. */
static void op_read_into_map(struct file *file)
{
	struct file *to = &files[below(FILES)];
	char *map = any_map(to);
	size_t at, n, there, room;

	if (!map || !choose(file, &at, &n) || !choose(to, &there, &room))
		return;
	n = n < room ? n : room;
	/* What overlaps is anybody's guess. */
	if (to == file && at < there + n && there < at + n)
		return;
	check(pread(file->fd, map + there, n, (off_t)at), n);
	compare(file, map + there, at, n);
	memcpy(to->model + there, file->model + at, n);
}

/* ---- writes ---- */

static void bypass(const struct file *file, char *buf, size_t n, size_t at)
{
	struct aiocb request = {.aio_fildes = file->fd, .aio_buf = buf, .aio_nbytes = n, .aio_offset = (off_t)at};
	const struct aiocb *list[] = {&request};

	if (aio_write(&request) < 0)
		fail("aio_write: %s", strerror(errno));
	while (aio_error(&request) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	check(aio_return(&request), n);
}

static void op_write(struct file *file)
{
	static char buf[PIECE];
	struct iovec iov[2];
	size_t at, n, half;
	int fd = below(2) ? file->fd : file->other;

	choose_to_write(file, &at, &n);
	fill(buf, n);
	half = below(n);
	iov[0] = (struct iovec){buf, half};
	iov[1] = (struct iovec){buf + half, n - half};
	switch (below(6)) {
	case 0:
		if (!in_child && getenv("EXERCISER_BYPASS"))
			bypass(file, buf, n, at);
		else
			check(pwrite(fd, buf, n, (off_t)at), n);
		break;
	case 1:
		check(pwritev(fd, iov, 2, (off_t)at), n);
		break;
	case 2:
		check(pwritev2(fd, iov, 2, (off_t)at, 0), n);
		break;
	case 3:
		check(lseek(fd, (off_t)at, SEEK_SET), at);
		check(writev(fd, iov, 2), n);
		break;
	case 4:
		at = *file->size;
		if (at + n > MOST)
			return;
		check(write(file->append, buf, n), n);
		break;
	default:
		check(lseek(fd, (off_t)at, SEEK_SET), at);
		check(write(fd, buf, half), half);
		check(write(fd, buf + half, n - half), n - half);
	}
	put(file, at, buf, n);
}

/* From a mapping, also of the same file: the kernel holds its lock meanwhile. */
static void op_write_from_map(struct file *file)
{
	struct file *from = &files[below(FILES)];
	char *map = any_map(from);
	size_t at, n, there, most;

	if (!map || !choose(from, &there, &n))
		return;
	choose_to_write(file, &at, &most);
	n = n < most ? n : most;
	if (from == file && at < there + n && there < at + n)
		return;
	check(pwrite(file->fd, map + there, n, (off_t)at), n);
	put(file, at, from->model + there, n);
}

static void op_send(struct file *file)
{
	static char buf[PIECE];
	char *map = any_map(file);
	size_t at, n;
	int pair[2];

	if (!map || !choose(file, &at, &n))
		return;
	n = n < 16384 ? n : 16384;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		fail("%s", strerror(errno));
	check(send(pair[0], map + at, n, 0), n);
	check(recv(pair[1], buf, n, MSG_WAITALL), n);
	compare(file, buf, at, n);
	check(sendfile(pair[0], file->fd, &(off_t){(off_t)at}, n), n);
	check(recv(pair[1], buf, n, MSG_WAITALL), n);
	compare(file, buf, at, n);
	close(pair[0]);
	close(pair[1]);
}

static void op_copy(struct file *file)
{
	struct file *to = &files[below(FILES)];
	size_t at, n, there, most;
	off_t from_offset, to_offset;

	if (!choose(file, &at, &n))
		return;
	choose_to_write(to, &there, &most);
	n = n < most ? n : most;
	if (to == file && at < there + n && there < at + n)
		return;
	from_offset = (off_t)at;
	to_offset = (off_t)there;
	if (below(2)) {
		check(copy_file_range(file->fd, &from_offset, to->fd, &to_offset, n, 0), n);
		check(to_offset, there + n);
	} else {
		check(lseek(to->fd, to_offset, SEEK_SET), there);
		check(sendfile(to->fd, file->fd, &from_offset, n), n);
	}
	check(from_offset, at + n);
	put(to, there, file->model + at, n);
}

/* ---- shape ---- */

static void op_truncate(struct file *file)
{
	size_t size = below(3) ? below(MOST) : below(*file->size + 1);
	int r = below(2) ? ftruncate(file->fd, (off_t)size) : truncate(file->path, (off_t)size);

	if (r < 0)
		fail("%s", strerror(errno));
	cut(file, size);
	if (below(8))
		return;
	close(file->other);
	file->other = open(file->path, O_RDWR | O_TRUNC);
	if (file->other < 0)
		fail("open: %s", strerror(errno));
	cut(file, 0);
}

static void op_fallocate(struct file *file)
{
	size_t at, n;
	int mode = below(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	if (below(3) == 0) {
		choose_to_write(file, &at, &n);
		if (fallocate(file->fd, 0, (off_t)at, (off_t)n) < 0)
			fail("%s", strerror(errno));
		if (at + n > *file->size)
			cut(file, at + n);
		return;
	}
	if (!choose(file, &at, &n))
		return;
	if (fallocate(file->fd, mode, (off_t)at, (off_t)n) == 0)
		memset(file->model + at, 0, n);
	else if (errno != EOPNOTSUPP)
		fail("%s", strerror(errno));
}

static void op_stat(struct file *file)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0 || st.st_size != (off_t)*file->size)
		fail("the size is %lld, not %zu", (long long)st.st_size, *file->size);
}

/* ---- descriptors ---- */

static void op_descriptor(struct file *file)
{
	int fd = below(2) ? dup(file->other) : open(file->path, O_RDWR);

	if (fd < 0)
		fail("%s", strerror(errno));
	if (below(2)) {
		close(file->other);
		file->other = fd;
		return;
	}
	if (dup2(fd, file->other) < 0)
		fail("dup2: %s", strerror(errno));
	close(fd);
}

static const struct op {
	const char *name;
	void (*run)(struct file *file);
	unsigned weight;
} ops[] = {
    {"load", op_load, 20},        {"store", op_store, 20},
    {"map", op_map, 4},           {"sync", op_sync, 1},
    {"read", op_read, 20},        {"read into a mapping", op_read_into_map, 6},
    {"write", op_write, 15},      {"write from a mapping", op_write_from_map, 6},
    {"send", op_send, 4},         {"copy", op_copy, 4},
    {"truncate", op_truncate, 2}, {"fallocate", op_fallocate, 3},
    {"stat", op_stat, 3},         {"descriptor", op_descriptor, 2},
};

static void operate(void)
{
	unsigned all = 0, lot;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		all += ops[i].weight;
	lot = (unsigned)below(all);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (lot < ops[i].weight) {
			doing = ops[i].name;
			ops[i].run(&files[below(FILES)]);
			return;
		}
		lot -= ops[i].weight;
	}
}

/* A child goes on for a while, on the same files and models. */
static void have_child(void)
{
	uint64_t seed = next_random();
	int status;
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		in_child = true;
		state = seed | 1;
		for (unsigned i = 0; i < CHILD_OPS; i++)
			operate();
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		fail("the child has ended with %#x", status);
}

static void *shared(size_t n)
{
	void *memory = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("no memory");
	return memory;
}

static void begin(const char *dir)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct file *file = &files[i];

		snprintf(file->path, sizeof(file->path), "%s/file%u", dir, i);
		unlink(file->path);
		file->fd = open(file->path, O_RDWR | O_CREAT, 0600);
		file->append = open(file->path, O_WRONLY | O_APPEND);
		file->other = open(file->path, O_RDWR);
		if (file->fd < 0 || file->append < 0 || file->other < 0)
			fail("%s: %s", file->path, strerror(errno));
		file->model = shared(MOST);
		file->size = shared(sizeof(size_t));
	}
}

static void end(const char *dir)
{
	char path[512];

	doing = "end";
	for (unsigned i = 0; i < FILES; i++) {
		int fd;

		if (any_map(&files[i]))
			compare(&files[i], any_map(&files[i]), 0, *files[i].size);
		snprintf(path, sizeof(path), "%s/model%u", dir, i);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		check(write(fd, files[i].model, *files[i].size), *files[i].size);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	unsigned long most = argc > 2 ? strtoul(argv[2], NULL, 0) : 2000;
	unsigned long seed = argc > 3 ? strtoul(argv[3], NULL, 0) : 1;

	if (argc < 2) {
		fprintf(stderr, "usage: exerciser DIR [OPERATIONS [SEED]]\n");
		return 2;
	}
	state = seed * 0x9e3779b97f4a7c15 | 1;
	begin(argv[1]);
	for (number = 1; number <= most; number++) {
		if (below(100) == 0)
			have_child();
		else
			operate();
	}
	end(argv[1]);
	printf("%lu operations\n", most);
	return 0;
}
