/* SPDX-License-Identifier: MIT */
/*
 * side.c - running operations on one side
 */
#include "side.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *no_message(void)
{
	return "";
}

/* Sanitizers turn the C library's own into functions that do nothing. */
static int raw_mlock(const void *addr, size_t len)
{
	return (int)syscall(SYS_mlock, addr, len);
}

static int raw_mlock2(const void *addr, size_t len, unsigned flags)
{
	return (int)syscall(SYS_mlock2, addr, len, flags);
}

static int raw_munlock(const void *addr, size_t len)
{
	return (int)syscall(SYS_munlock, addr, len);
}

/* What its advice says in other words. Rule 16: the range is one for which there are such. */
static int minherit_by_advice(void *addr, size_t len, int inherit)
{
	size_t before = (uintptr_t)addr % (size_t)page_bytes();
	char *start = (char *)addr - before;

	len += before;
	if (inherit == WORD_NONE)
		return madvise(start, len, MADV_DONTFORK);
	if (madvise(start, len, MADV_DOFORK) != 0)
		return -1;
	return madvise(start, len, inherit == WORD_ZERO ? MADV_WIPEONFORK : MADV_KEEPONFORK);
}

const struct calls calls_kernel = {
    .name = "kernel",
    .partial = true,
    .mmap = mmap,
    .munmap = munmap,
    .mremap = mremap,
    .mprotect = mprotect,
    .msync = msync,
    .madvise = madvise,
    .posix_madvise = posix_madvise,
    .mincore = mincore,
    .mlock = raw_mlock,
    .mlock2 = raw_mlock2,
    .munlock = raw_munlock,
    .minherit = minherit_by_advice,
    .ftruncate = ftruncate,
    .errormsg = no_message,
};

/* ---- the universe ---- */

/*
 * A window where nobody else maps: far below where the kernel puts what asks for no place, with room around. It is reserved once
 * to see that it is free, and then left a hole.
 */
static unsigned char *find_window(void)
{
	static const uintptr_t places[] = {0x200000000000, 0x100000000000, 0x2000000000, 0x1000000000};
	static uintptr_t used;
	size_t bytes = WINDOW_PAGES * (size_t)page_bytes(), room = 16 * bytes;

	for (int i = 0; i < 4; i++) {
		uintptr_t at = places[i] + used;
		void *p =
		    mmap((void *)at, 2 * room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

		if (p == MAP_FAILED)
			continue;
		munmap(p, 2 * room);
		if ((uintptr_t)p != at)
			continue;
		used += 64 * room;
		return (unsigned char *)p + room;
	}
	fprintf(stderr, "oracle: no free window of address space\n");
	return NULL;
}

int open_unlinked(const char *directory)
{
	char name[4096];
	int fd;

	if (snprintf(name, sizeof(name), "%s/quire-oracle.XXXXXX", directory) >= (int)sizeof(name)) {
		fprintf(stderr, "oracle: %s: the name is too long\n", directory);
		return -1;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		fprintf(stderr, "oracle: %s: %s\n", name, strerror(errno));
	else
		unlink(name);
	return fd;
}

/* Opens the file of a descriptor anew. The file has no name any more. */
static int open_again(int fd, enum fd_mode mode)
{
	static const int modes[FD_MODES] = {O_RDWR, O_RDONLY, O_WRONLY};
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, modes[mode] | O_CLOEXEC);
}

static bool open_odd(struct side *s)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	close(ends[1]);
	s->fd[FD_NONE] = -1;
	s->fd[FD_CLOSED] = 1000000;
	s->fd[FD_PIPE] = ends[0];
	s->fd[FD_DIR] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->fd[FD_ZERO] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	return s->fd[FD_DIR] >= 0 && s->fd[FD_ZERO] >= 0;
}

bool side_open(struct side *s, const struct calls *calls, const char *directory)
{
	*s = (struct side){.calls = calls, .window = find_window()};
	s->page = aligned_alloc(64, (size_t)page_bytes());
	if (s->window == NULL || s->page == NULL)
		return false;
	for (int i = 0; i < FILES; i++) {
		s->file[i] = open_unlinked(directory);
		if (s->file[i] < 0)
			return false;
		for (int mode = 0; mode < FD_MODES; mode++) {
			s->fd[i * FD_MODES + mode] = open_again(s->file[i], mode);
			if (s->fd[i * FD_MODES + mode] < 0) {
				fprintf(stderr, "oracle: cannot open a file anew: %s\n", strerror(errno));
				return false;
			}
		}
	}
	return open_odd(s);
}

void side_close(struct side *s)
{
	for (int i = 0; i < FILES; i++)
		close(s->file[i]);
	for (int i = 0; i < FD_KINDS; i++) {
		if (i != FD_NONE && i != FD_CLOSED)
			close(s->fd[i]);
	}
	free(s->page);
}

/* What the files hold at first: no zeros, different everywhere, the same on both sides. */
static const unsigned char *first_bytes(int file)
{
	static uint64_t *bytes[FILES];
	size_t n = FILE_PAGES_MAX * (size_t)page_bytes();

	if (bytes[file] != NULL)
		return (unsigned char *)bytes[file];
	bytes[file] = malloc(n);
	if (bytes[file] == NULL)
		abort();
	for (size_t i = 0; i < n / 8; i++)
		bytes[file][i] = (i + 1) * 0x0101010101010101u + ((uint64_t)(file + 1) << 56) + ((uint64_t)i << 20);
	return (unsigned char *)bytes[file];
}

bool side_reset(struct side *s, const struct program *p)
{
	for (int i = 0; i < FILES; i++) {
		size_t n = (size_t)p->file_bytes[i];

		if (ftruncate(s->file[i], 0) != 0 || pwrite(s->file[i], first_bytes(i), n, 0) != (ssize_t)n) {
			fprintf(stderr, "oracle: cannot fill a file: %s\n", strerror(errno));
			return false;
		}
	}
	return true;
}

/* ---- operations ---- */

static void returned(struct result *ret, int64_t value)
{
	ret->err = value == -1 ? errno : 0;
	ret->ret = value;
}

static void returned_address(struct side *s, struct result *ret, void *p)
{
	int64_t offset = (int64_t)((uintptr_t)p - (uintptr_t)s->window);

	if (p == MAP_FAILED) {
		returned(ret, -1);
		return;
	}
	s->elsewhere = p;
	ret->ret = offset >= 0 && offset < WINDOW_PAGES * page_bytes() ? offset : ELSEWHERE;
}

static void relative_trap(struct side *s, struct result *ret)
{
	if (ret->trap.sig != 0)
		ret->trap.addr -= (uintptr_t)s->window;
}

bool side_load(struct side *s, const unsigned char *at, size_t n, struct result *ret)
{
	if (!guard_load(s->page, at, n, &ret->trap)) {
		relative_trap(s, ret);
		return false;
	}
	ret->loaded = n == 1 ? *(unsigned char *)s->page : s->page[0];
	return true;
}

static void run_store(struct side *s, const struct op *op, struct result *ret)
{
	size_t n = (size_t)op->size;

	/* A page gets different words, so that a shifted page does not pass. */
	for (size_t i = 0; i < (n + 7) / 8; i++)
		s->page[i] = (uint64_t)op->value + i * 0x100000001u;
	guard_store(s->window + op->addr, s->page, n, &ret->trap);
	relative_trap(s, ret);
}

static void run_write(struct side *s, const struct op *op, struct result *ret)
{
	size_t n = (size_t)op->len;
	unsigned char *bytes = malloc(n);

	if (bytes == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)((uint64_t)op->value >> (i % 8 * 8)) ^ (unsigned char)(i >> 3);
	returned(ret, pwrite(s->file[op->file], bytes, n, op->offset));
	free(bytes);
}

static void run_reopen(struct side *s, const struct op *op, struct result *ret)
{
	int file = (int)(op->fd / FD_MODES), fd;

	close(s->fd[op->fd]);
	fd = open_again(s->file[file], op->fd % FD_MODES);
	s->fd[op->fd] = fd;
	returned(ret, fd < 0 ? -1 : 0);
}

/* posix_madvise returns its error. */
static void run_posix_madvise(struct side *s, const struct op *op, struct result *ret)
{
	int rc = s->calls->posix_madvise(side_address(s, op->addr), (size_t)op->len, (int)op->advice);

	ret->ret = rc == 0 ? 0 : -1;
	ret->err = rc;
}

static void run_pressure(struct side *s, const struct op *op, struct result *ret)
{
	char message[128];

	if (s->pressure == NULL || pressure_touch(s->pressure, (uint64_t)op->value, op->size, message, sizeof(message)))
		return;
	fprintf(stderr, "oracle: pressure: %s\n", message);
	ret->ret = -1;
	ret->err = EIO;
}

/* Locks of whole pages, one by one where there is no other way; a hole is no error. */
static void run_unlock_all(struct side *s, struct result *ret)
{
	if (s->calls->munlockall != NULL) {
		returned(ret, s->calls->munlockall());
		return;
	}
	for (int64_t i = 0; i < WINDOW_PAGES; i++)
		s->calls->munlock(s->window + i * page_bytes(), (size_t)page_bytes());
}

/* The side forgets what was there, and then finds memory that it did not map. */
static void run_foreign(struct side *s, const struct op *op, struct result *ret)
{
	void *at = s->window + op->addr;

	if (s->calls->munmap(at, (size_t)op->len) != 0) {
		returned(ret, -1);
		return;
	}
	returned_address(s, ret, mmap(at, (size_t)op->len, (int)op->prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

static void run_mincore(struct side *s, const struct op *op, struct result *ret)
{
	unsigned char vec[WINDOW_PAGES + 1] = {0};

	returned(ret, s->calls->mincore(side_address(s, op->addr), (size_t)op->len, vec));
	for (int64_t i = 0; ret->ret == 0 && i < pages_of(op->len) && i < WINDOW_PAGES; i++)
		ret->loaded |= (uint64_t)(vec[i] & 1) << i;
}

void side_run(struct side *s, const struct op *op, struct result *ret)
{
	const struct calls *c = s->calls;
	unsigned char *addr = side_address(s, op->addr), *to;
	size_t len = (size_t)op->len;

	*ret = (struct result){0};
	errno = 0;
	switch ((enum op_kind)op->kind) {
	case OP_MMAP:
		returned_address(s, ret, c->mmap(addr, len, (int)op->prot, (int)op->flags, s->fd[op->fd], op->offset));
		break;
	case OP_MUNMAP:
		returned(ret, c->munmap(addr, len));
		break;
	case OP_MPROTECT:
		returned(ret, c->mprotect(addr, len, (int)op->prot));
		break;
	case OP_MREMAP:
		to = op->flags & MREMAP_FIXED ? side_address(s, op->to) : NULL;
		returned_address(s, ret, c->mremap(addr, len, (size_t)op->new_len, (int)op->flags, (void *)to));
		break;
	case OP_LOAD:
		side_load(s, addr, (size_t)op->size, ret);
		break;
	case OP_STORE:
		run_store(s, op, ret);
		break;
	case OP_MSYNC:
		returned(ret, c->msync(addr, len, (int)op->flags));
		break;
	case OP_MADVISE:
		returned(ret, c->madvise(addr, len, (int)op->advice));
		break;
	case OP_POSIX_MADVISE:
		run_posix_madvise(s, op, ret);
		break;
	case OP_MLOCK:
		returned(ret, op->flags != 0 ? c->mlock2(addr, len, (unsigned)op->flags) : c->mlock(addr, len));
		break;
	case OP_MUNLOCK:
		returned(ret, c->munlock(addr, len));
		break;
	case OP_MINCORE:
		run_mincore(s, op, ret);
		break;
	case OP_TRUNCATE:
		returned(ret, c->ftruncate(s->fd[op->fd], op->size));
		break;
	case OP_REOPEN:
		run_reopen(s, op, ret);
		break;
	case OP_WRITE:
		run_write(s, op, ret);
		break;
	case OP_CUT:
		returned(ret, ftruncate(s->file[op->file], op->size));
		break;
	case OP_FOREIGN:
		run_foreign(s, op, ret);
		break;
	case OP_UNLOCK_ALL:
		run_unlock_all(s, ret);
		break;
	case OP_PRESSURE:
		run_pressure(s, op, ret);
		break;
	case OP_MINHERIT:
		returned(ret, c->minherit(addr, len, (int)op->how));
		break;
	case OP_FORK:
	case OP_EXIT:
	case OP_KINDS:
		break;
	}
}
