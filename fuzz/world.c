/* SPDX-License-Identifier: MIT */
/*
 * world.c - the ground, the calls, and what a call has changed
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <quire/quire.h>

#include "../tests/oracle/guard.h"

enum { FILE_PAGES = 4, FILE_TAIL = 100 };

static size_t bytes_of(int64_t pages)
{
	return (size_t)(pages * page_bytes());
}

static bool complain(const char *what)
{
	fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
	return false;
}

/* ---- the sides ---- */

/* Addresses that nobody else gets, reserved for a moment to see that they are free. */
static unsigned char *find_window(int side)
{
	const size_t room = bytes_of(ROOM_PAGES), all = 4 * room;
	uintptr_t at = 0x200000000000 + (uintptr_t)side * 0x100000000000;
	void *p = mmap((void *)at, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, all);
	return (unsigned char *)at + 2 * room;
}

static int open_file(const char *directory)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s/quire-fuzz.XXXXXX", directory);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static int reopen(int fd, int flags)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, flags | O_CLOEXEC);
}

static int memory_file(int seals)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && (ftruncate(fd, (off_t)bytes_of(2)) || (seals && fcntl(fd, F_ADD_SEALS, seals))))
		return -1;
	return fd;
}

/* The contents, the same on both sides. */
static bool fill(int fd)
{
	static unsigned char bytes[1 << 16];
	size_t n = bytes_of(FILE_PAGES) + FILE_TAIL;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 31 + (i >> 8) + 1);
	return n > sizeof(bytes) || pwrite(fd, bytes, n, 0) == (ssize_t)n;
}

static bool reset_sizes(struct side *s)
{
	s->resized = false;
	for (int i = FD_MEMORY; i < FD_MEMORY_SEALED_SIZE; i++)
		if (ftruncate(s->fd[i], (off_t)bytes_of(2)))
			return false;
	return ftruncate(s->fd[FD_FILE], 0) == 0 && fill(s->fd[FD_FILE]) && ftruncate(s->fd[FD_EMPTY], 0) == 0 &&
	       ftruncate(s->fd[FD_MEMORY], 0) == 0 && ftruncate(s->fd[FD_MEMORY], (off_t)bytes_of(2)) == 0;
}

static bool open_side(struct side *s, int number, const char *directory)
{
	int pair[2], ends[2], *fd = s->fd;

	s->window = find_window(number);
	if (!s->window)
		return complain("no free addresses");
	if (pipe2(ends, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return complain("pipe");
	fd[FD_FILE] = open_file(directory);
	if (fd[FD_FILE] < 0)
		return complain(directory);
	fd[FD_FILE_READ_ONLY] = reopen(fd[FD_FILE], O_RDONLY);
	fd[FD_FILE_WRITE_ONLY] = reopen(fd[FD_FILE], O_WRONLY);
	fd[FD_FILE_APPEND] = reopen(fd[FD_FILE], O_RDWR | O_APPEND);
	fd[FD_FILE_PATH] = reopen(fd[FD_FILE], O_PATH);
	fd[FD_EMPTY] = open_file(directory);
	fd[FD_MEMORY] = memory_file(0);
	fd[FD_MEMORY_SEALED_WRITE] = memory_file(F_SEAL_WRITE);
	fd[FD_MEMORY_SEALED_FUTURE_WRITE] = memory_file(F_SEAL_FUTURE_WRITE);
	fd[FD_MEMORY_SEALED_SIZE] = memory_file(F_SEAL_GROW | F_SEAL_SHRINK);
	fd[FD_ZERO] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	fd[FD_ZERO_READ_ONLY] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	fd[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fd[FD_FULL] = open("/dev/full", O_RDWR | O_CLOEXEC);
	fd[FD_RANDOM] = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	fd[FD_DIRECTORY] = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd[FD_PIPE_READ] = ends[0];
	fd[FD_PIPE_WRITE] = ends[1];
	fd[FD_SOCKET] = pair[0];
	fd[FD_EVENTFD] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fd[FD_EPOLL] = epoll_create1(EPOLL_CLOEXEC);
	fd[FD_PROC_MAPS] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	fd[FD_PROC_MEM] = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	fd[FD_CLOSED] = 900;
	fd[FD_MINUS_ONE] = -1;
	fd[FD_MOST] = INT32_MAX;
	fd[FD_LEAST] = INT32_MIN;
	for (int i = 0; i < FD_OPEN_KINDS; i++)
		if (fd[i] < 0)
			return complain(fd_names[i]);
	return reset_sizes(s) || complain("the files");
}

bool world_open(struct world *w, const char *directory, size_t memory_bytes)
{
	struct quire_config config = {.size = sizeof(config), .memory_bytes = memory_bytes};
	void *p;

	memset(w, 0, sizeof(*w));
	for (int i = 0; i < SIDES; i++)
		if (!open_side(&w->sides[i], i, directory))
			return false;
	if (quire_configure(&config) != 0) {
		fprintf(stderr, "calls: %s\n", quire_errormsg());
		return false;
	}
	p = quire_mmap(NULL, quire_pagesize(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		fprintf(stderr, "calls: %s\n", quire_errormsg());
		exit(errno == EPERM || errno == ENOSYS ? 77 : 2);
	}
	return quire_munmap(p, quire_pagesize()) == 0;
}

/* ---- calls ---- */

static unsigned char *address(const struct side *s, struct place place)
{
	return place.relative ? s->window + (int64_t)place.at : (unsigned char *)(uintptr_t)place.at;
}

/* By way of no library, which may check or be a sanitizer's. */
static int64_t call_kernel(struct side *s, const struct call *c, void *addr, void *to)
{
	static unsigned char vec[4 * ROOM_PAGES];
	const int ours = QUIRE_MAP_NOCORE | QUIRE_MAP_NOSYNC | QUIRE_MAP_HASSEMAPHORE;
	int r;

	switch ((enum call_kind)c->kind) {
	case CALL_MMAP:
		return syscall(SYS_mmap, addr, c->len, (long)c->prot, (long)(c->flags & ~ours), (long)s->fd[c->fd], c->offset);
	case CALL_MUNMAP:
		return syscall(SYS_munmap, addr, c->len);
	case CALL_MREMAP:
		return syscall(SYS_mremap, addr, c->len, c->new_len, (long)c->flags, to);
	case CALL_MPROTECT:
		return syscall(SYS_mprotect, addr, c->len, (long)c->prot);
	case CALL_MSYNC:
		return syscall(SYS_msync, addr, c->len, (long)c->flags);
	case CALL_MADVISE:
		return syscall(SYS_madvise, addr, c->len, (long)c->advice);
	case CALL_POSIX_MADVISE:
		r = posix_madvise(addr, c->len, c->advice);
		errno = r;
		return r ? -1 : 0;
	case CALL_MINCORE:
		return syscall(SYS_mincore, addr, c->len, vec);
	case CALL_MLOCK:
		return syscall(SYS_mlock, addr, c->len);
	case CALL_MLOCK2:
		return syscall(SYS_mlock2, addr, c->len, (long)c->flags);
	case CALL_MUNLOCK:
		return syscall(SYS_munlock, addr, c->len);
	case CALL_MLOCKALL:
		return syscall(SYS_mlockall, (long)c->flags);
	case CALL_MUNLOCKALL:
		return syscall(SYS_munlockall);
	case CALL_FTRUNCATE:
		return syscall(SYS_ftruncate, (long)s->fd[c->fd], c->offset);
	default:
		errno = ENOSYS;
		return -1;
	}
}

static int prefetch(const struct side *s, const struct call *c, void *addr)
{
	const struct iovec ranges[3] = {{addr, c->len}, {s->window, bytes_of(8)}, {addr, 1}};

	return quire_prefetch(ranges, c->flags, s->fd[c->fd]);
}

static int print_maps(void)
{
	FILE *out = fopen("/dev/null", "we");
	int r = out ? quire_maps(out) : -1;

	if (out)
		fclose(out);
	return r;
}

static int64_t call_quire(struct side *s, const struct call *c, void *addr, void *to)
{
	static unsigned char vec[4 * ROOM_PAGES];
	struct quire_area_stats area;
	struct quire_stats stats;
	struct quire_config config = {.size = c->len};
	struct iovec ranges[16];
	uint64_t epoch;
	int r;

	switch ((enum call_kind)c->kind) {
	case CALL_MMAP:
		return (intptr_t)quire_mmap(addr, c->len, c->prot, c->flags, s->fd[c->fd], c->offset);
	case CALL_MUNMAP:
		return quire_munmap(addr, c->len);
	case CALL_MREMAP:
		return (intptr_t)quire_mremap(addr, c->len, c->new_len, c->flags, to);
	case CALL_MPROTECT:
		return quire_mprotect(addr, c->len, c->prot);
	case CALL_MSYNC:
		return quire_msync(addr, c->len, c->flags);
	case CALL_MADVISE:
		return quire_madvise(addr, c->len, c->advice);
	case CALL_POSIX_MADVISE:
		r = quire_posix_madvise(addr, c->len, c->advice);
		errno = r;
		return r ? -1 : 0;
	case CALL_MINCORE:
		return quire_mincore(addr, c->len, vec);
	case CALL_MLOCK:
		return quire_mlock(addr, c->len);
	case CALL_MLOCK2:
		return quire_mlock2(addr, c->len, (unsigned)c->flags);
	case CALL_MUNLOCK:
		return quire_munlock(addr, c->len);
	case CALL_MLOCKALL:
		return quire_mlockall(c->flags);
	case CALL_MUNLOCKALL:
		return quire_munlockall();
	case CALL_FTRUNCATE:
		return quire_ftruncate(s->fd[c->fd], c->offset);
	case CALL_RESIDENT:
		return quire_resident(addr, c->len);
	case CALL_PREFETCH:
		return prefetch(s, c, addr);
	case CALL_DIRTY:
		return quire_dirty(addr, c->len, ranges, c->flags);
	case CALL_EPOCH:
		return quire_epoch(addr, c->len, &epoch);
	case CALL_WRITTEN:
		return quire_written(addr, c->len, c->new_len, ranges, c->flags);
	case CALL_MINHERIT:
		return quire_minherit(addr, c->len, c->flags);
	case CALL_AREA_STATS:
		return quire_area_stats_get(addr, &area);
	case CALL_STATS:
		return quire_stats_get(&stats, c->len < sizeof(stats) ? c->len : sizeof(stats));
	case CALL_SET_MEMORY:
		return quire_set_memory(c->len);
	case CALL_CONFIGURE:
		return quire_configure(c->len % 2 ? &config : NULL);
	case CALL_MAPS:
		return print_maps();
	case CALL_KINDS:
		break;
	}
	return -1;
}

void world_call(struct world *w, int side, const struct call *c, struct answer *ret)
{
	struct side *s = &w->sides[side];
	void *addr = address(s, c->addr), *to = address(s, c->to);
	int64_t offset, room = (int64_t)bytes_of(ROOM_PAGES);

	s->resized |= c->kind == CALL_FTRUNCATE || (c->kind == CALL_MMAP && (c->flags & QUIRE_MAP_EXTEND));
	s->elsewhere = NULL;
	errno = 0;
	ret->value = side == KERNEL ? call_kernel(s, c, addr, to) : call_quire(s, c, addr, to);
	ret->err = ret->value == -1 ? errno : 0;
	if (ret->value == -1 || (c->kind != CALL_MMAP && c->kind != CALL_MREMAP))
		return;
	offset = (int64_t)((uintptr_t)ret->value - (uintptr_t)s->window);
	s->elsewhere = (void *)(uintptr_t)ret->value;
	s->elsewhere_len = c->kind == CALL_MMAP ? c->len : c->new_len;
	ret->value = ELSEWHERE;
	if (offset < -room || offset >= room)
		return;
	ret->value = offset;
	/* What reaches out of the room goes at once. */
	if (s->elsewhere_len < (size_t)(room - offset))
		s->elsewhere = NULL;
}

void world_forget_elsewhere(struct world *w, int side)
{
	struct side *s = &w->sides[side];

	if (!s->elsewhere)
		return;
	if ((side == KERNEL ? (int)syscall(SYS_munmap, s->elsewhere, s->elsewhere_len)
			    : quire_munmap(s->elsewhere, s->elsewhere_len)) != 0)
		complain("what was mapped elsewhere");
	s->elsewhere = NULL;
}

/* ---- the ground ---- */

struct mapping {
	int page, pages, prot, flags, fd, offset_pages;
};

static bool lay(struct world *w, const struct mapping *m, uint64_t stores)
{
	for (int side = 0; side < SIDES; side++) {
		struct call call = {.kind = CALL_MMAP,
				    .fd = m->fd,
				    .prot = m->prot,
				    .flags = m->flags | MAP_FIXED,
				    .addr = {true, bytes_of(m->page)},
				    .len = bytes_of(m->pages),
				    .offset = (int64_t)bytes_of(m->offset_pages)};
		struct answer answer;
		struct trap trap;

		world_call(w, side, &call, &answer);
		if (answer.value == -1) {
			errno = answer.err;
			return complain(side == KERNEL ? "laying the ground, the kernel" : quire_errormsg());
		}
		/* A signal where nothing can be stored is as good. */
		for (int i = 0; i < m->pages; i++)
			if (stores >> i & 1)
				guard_store(w->sides[side].window + bytes_of(m->page + i) + 8, &stores, 8, &trap);
	}
	return true;
}

bool world_lay(struct world *w, struct rng *r)
{
	static const struct {
		int prot, flags, fd;
	} kinds[] = {
	    {PROT_READ | PROT_WRITE, MAP_SHARED, FD_FILE},
	    {PROT_READ | PROT_WRITE, MAP_SHARED, FD_MEMORY},
	    {PROT_READ | PROT_WRITE, MAP_PRIVATE, FD_FILE},
	    {PROT_READ | PROT_WRITE, MAP_PRIVATE, FD_FILE_READ_ONLY},
	    {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, FD_MINUS_ONE},
	    {PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, FD_MINUS_ONE},
	    {PROT_READ, MAP_SHARED, FD_FILE_READ_ONLY},
	    {PROT_READ, MAP_SHARED, FD_FILE},
	    {PROT_READ | PROT_EXEC, MAP_PRIVATE, FD_FILE},
	    {PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, FD_MINUS_ONE},
	    {PROT_READ | PROT_WRITE, MAP_PRIVATE, FD_ZERO},
	    {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, FD_MINUS_ONE},
	    {PROT_READ | PROT_WRITE, MAP_SHARED | MAP_LOCKED, FD_FILE},
	    {PROT_READ, MAP_SHARED, FD_EMPTY},
	};
	int page = (int)rng_below(r, 4);

	while (page < WINDOW_PAGES - 6) {
		int64_t kind = rng_below(r, sizeof(kinds) / sizeof(kinds[0]));
		struct mapping m = {.page = page,
				    .pages = 1 + (int)rng_below(r, 6),
				    .prot = kinds[kind].prot,
				    .flags = kinds[kind].flags,
				    .fd = kinds[kind].fd,
				    .offset_pages = kinds[kind].fd < FD_ZERO ? (int)rng_below(r, 3) : 0};

		if (!lay(w, &m, rng_next(r)))
			return false;
		page += m.pages + (rng_percent(r, 50) ? 0 : 1 + (int)rng_below(r, 5));
	}
	return true;
}

bool world_clear(struct world *w)
{
	const size_t room = bytes_of(ROOM_PAGES), all = 2 * room;
	bool done = true;

	(void)quire_munlockall();
	for (int side = 0; side < SIDES; side++) {
		struct side *s = &w->sides[side];
		void *start = s->window - room;

		world_forget_elsewhere(w, side);
		if ((side == KERNEL ? (int)syscall(SYS_munmap, start, all) : quire_munmap(start, all)) != 0)
			done = complain(side == KERNEL ? "clearing the window" : quire_errormsg());
		if (s->resized ? !reset_sizes(s) : !fill(s->fd[FD_FILE]))
			done = complain("the files");
	}
	return done;
}

/* ---- what there is ---- */

/* «from-to rwxs offset …», of /proc/self/maps and of quire_maps. */
static void note_line(const struct side *s, const char *line, bool quire, int number, struct state *ret)
{
	unsigned long long from, to, offset, inode = 0;
	char how[5];

	if (sscanf(line, "%llx-%llx %4s %llx %*s %llu", &from, &to, how, &offset, &inode) < 4)
		return;
	for (int i = 0; i < WINDOW_PAGES; i++) {
		uintptr_t at = (uintptr_t)s->window + bytes_of(i);

		if (at < from || at >= to)
			continue;
		memcpy(ret->page[i].how, how, sizeof(how));
		ret->page[i].file = quire ? strstr(line, " file") != NULL : inode != 0 && !strstr(line, "/dev/zero");
		ret->page[i].offset = ret->page[i].file ? offset + (at - from) : 0;
		ret->locked[i] = quire && strstr(line, " locked");
		ret->mapping[i] = number;
	}
}

static void note_maps(const struct side *s, FILE *maps, bool quire, struct state *ret)
{
	char line[512];

	for (int number = 1; fgets(line, sizeof(line), maps); number++)
		note_line(s, line, quire, number, ret);
}

static void note_sizes(const struct side *s, struct state *ret)
{
	struct stat st;

	for (int i = 0; i < FD_OPEN_KINDS; i++)
		ret->size[i] = fstat(s->fd[i], &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

void world_note_kernel(struct world *w, struct state *ret)
{
	FILE *maps = fopen("/proc/self/maps", "re");

	memset(ret, 0, sizeof(*ret));
	if (maps) {
		note_maps(&w->sides[KERNEL], maps, false, ret);
		fclose(maps);
	}
	note_sizes(&w->sides[KERNEL], ret);
}

void world_note(struct world *w, struct state *ret)
{
	static uint64_t page[1 << 13];
	const struct side *s = &w->sides[QUIRE];
	struct quire_stats stats = {0};
	char *text = NULL;
	size_t len = 0;
	FILE *maps = open_memstream(&text, &len);

	memset(ret, 0, sizeof(*ret));
	if (maps) {
		quire_maps(maps);
		fclose(maps);
		maps = len ? fmemopen(text, len, "r") : NULL;
	}
	if (maps) {
		note_maps(s, maps, true, ret);
		fclose(maps);
	}
	free(text);
	note_sizes(s, ret);
	quire_stats_get(&stats, sizeof(stats));
	ret->areas = stats.areas;
	ret->locked_bytes = stats.locked_bytes;
	ret->budget_bytes = stats.budget_bytes;
	for (int i = 0; i < WINDOW_PAGES; i++) {
		struct trap trap;

		if (!ret->page[i].how[0])
			continue;
		if (!guard_load(page, s->window + bytes_of(i), bytes_of(1), &trap)) {
			ret->answer[i] = trap.sig;
			continue;
		}
		for (size_t k = 0; k < bytes_of(1) / 8; k++)
			ret->sum[i] = (ret->sum[i] ^ page[k]) * 0x100000001b3u;
	}
}

static bool page_differs(const struct page_state *a, const struct page_state *b, int i, const char *names[2], char *ret,
			 size_t size)
{
	if (!strcmp(a->how, b->how) && a->file == b->file && a->offset == b->offset)
		return false;
	snprintf(ret, size, "page %d is %s%s %#" PRIx64 " %s, %s%s %#" PRIx64 " %s", i, a->how[0] ? a->how : "a hole",
		 a->file ? " of a file" : "", a->offset, names[0], b->how[0] ? b->how : "a hole", b->file ? " of a file" : "",
		 b->offset, names[1]);
	return true;
}

bool world_differs(const struct state *a, const struct state *b, char *ret, size_t size)
{
	const char *names[2] = {"before", "after"};

	for (int i = 0; i < WINDOW_PAGES; i++) {
		if (page_differs(&a->page[i], &b->page[i], i, names, ret, size))
			return true;
		if (a->locked[i] == b->locked[i] && a->answer[i] == b->answer[i] && a->sum[i] == b->sum[i])
			continue;
		snprintf(ret, size, "page %d: locked %d, signal %d, sum %" PRIx64 " before, %d, %d, %" PRIx64 " after", i,
			 a->locked[i], a->answer[i], a->sum[i], b->locked[i], b->answer[i], b->sum[i]);
		return true;
	}
	for (int i = 0; i < FD_OPEN_KINDS; i++) {
		if (a->size[i] == b->size[i])
			continue;
		snprintf(ret, size, "%s has %lld bytes before, %lld after", fd_names[i], (long long)a->size[i],
			 (long long)b->size[i]);
		return true;
	}
	if (a->areas == b->areas && a->locked_bytes == b->locked_bytes && a->budget_bytes == b->budget_bytes)
		return false;
	snprintf(ret, size,
		 "%" PRIu64 " areas, %" PRIu64 " locked, budget %" PRIu64 " before, %" PRIu64 ", %" PRIu64 ", %" PRIu64 " after",
		 a->areas, a->locked_bytes, a->budget_bytes, b->areas, b->locked_bytes, b->budget_bytes);
	return true;
}

bool world_sides_differ(const struct state *kernel, const struct state *quire, char *ret, size_t size)
{
	const char *names[2] = {"on the kernel", "on Quire"};

	for (int i = 0; i < WINDOW_PAGES; i++)
		if (page_differs(&kernel->page[i], &quire->page[i], i, names, ret, size))
			return true;
	for (int i = 0; i < FD_OPEN_KINDS; i++) {
		if (kernel->size[i] == quire->size[i])
			continue;
		snprintf(ret, size, "%s has %lld bytes on the kernel, %lld on Quire", fd_names[i], (long long)kernel->size[i],
			 (long long)quire->size[i]);
		return true;
	}
	return false;
}
