/* SPDX-License-Identifier: MIT */
/*
 * call.c - wild arguments
 *
 * Every value is one that is likely to be right, one at the edge of being right, or any. What a call could reach if it succeeded lies
 * in the window and the free addresses around it; ranges that leave them are so long that they must be refused.
 */
#include "call.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include <quire/quire.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_UNINITIALIZED
#define MAP_UNINITIALIZED 0x4000000
#endif

#define ADDRESSES_END ((uint64_t)1 << 47) /* of the program; the same on all machines that Quire runs on, or lower */
#define OUR_FLAGS                                                                                                                  \
	(QUIRE_MAP_ATOMIC | QUIRE_MAP_SNAPSHOT | QUIRE_MAP_EXTEND | QUIRE_MAP_NOCORE | QUIRE_MAP_NOSYNC | QUIRE_MAP_HASSEMAPHORE)

const char *const fd_names[FD_KINDS] = {
    [FD_FILE] = "file",
    [FD_FILE_READ_ONLY] = "file-read-only",
    [FD_FILE_WRITE_ONLY] = "file-write-only",
    [FD_FILE_APPEND] = "file-append",
    [FD_FILE_PATH] = "file-path",
    [FD_EMPTY] = "empty-file",
    [FD_MEMORY] = "memfd",
    [FD_MEMORY_SEALED_WRITE] = "memfd-sealed-write",
    [FD_MEMORY_SEALED_FUTURE_WRITE] = "memfd-sealed-future-write",
    [FD_MEMORY_SEALED_SIZE] = "memfd-sealed-size",
    [FD_ZERO] = "/dev/zero",
    [FD_ZERO_READ_ONLY] = "/dev/zero-read-only",
    [FD_NULL] = "/dev/null",
    [FD_FULL] = "/dev/full",
    [FD_RANDOM] = "/dev/urandom",
    [FD_DIRECTORY] = "directory",
    [FD_PIPE_READ] = "pipe-read",
    [FD_PIPE_WRITE] = "pipe-write",
    [FD_SOCKET] = "socket",
    [FD_EVENTFD] = "eventfd",
    [FD_EPOLL] = "epoll",
    [FD_PROC_MAPS] = "/proc/self/maps",
    [FD_PROC_MEM] = "/proc/self/mem",
    [FD_CLOSED] = "closed",
    [FD_MINUS_ONE] = "-1",
    [FD_MOST] = "INT_MAX",
    [FD_LEAST] = "INT_MIN",
};

/* ---- values ---- */

#define PICK(r, values) values[rng_below(r, sizeof(values) / sizeof(values[0]))]

static uint64_t page(void)
{
	return (uint64_t)page_bytes();
}

static int any_bits(struct rng *r)
{
	return (int)(uint32_t)rng_next(r);
}

/* A few of the flags, or'ed. */
static int some_of(struct rng *r, const int *flags, size_t n, int percent)
{
	int all = 0;

	for (size_t i = 0; i < n; i++)
		all |= rng_percent(r, percent) ? flags[i] : 0;
	return all;
}

static int wild_prot(struct rng *r)
{
	if (rng_percent(r, 5))
		return any_bits(r);
	if (rng_percent(r, 5))
		return (int)rng_below(r, 16) | (rng_percent(r, 50) ? PROT_GROWSDOWN : PROT_GROWSUP);
	return rng_percent(r, 40) ? PROT_READ | PROT_WRITE : (int)rng_below(r, 16);
}

static int wild_map_flags(struct rng *r)
{
	static const int common[] = {MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_ANONYMOUS};
	static const int rare[] = {MAP_LOCKED,         MAP_POPULATE,
				   MAP_NORESERVE,      MAP_NONBLOCK,
				   MAP_SYNC,           MAP_EXECUTABLE,
				   MAP_UNINITIALIZED,  QUIRE_MAP_EXTEND,
				   QUIRE_MAP_NOCORE,   QUIRE_MAP_NOSYNC,
				   QUIRE_MAP_ATOMIC,   QUIRE_MAP_HASSEMAPHORE,
				   QUIRE_MAP_SNAPSHOT, 0x80};
	static const int refused[] = {MAP_GROWSDOWN, MAP_HUGETLB, MAP_DENYWRITE, MAP_STACK, 0x40};
	int type = rng_percent(r, 85) ? 1 + (int)rng_below(r, 3) : (int)rng_below(r, 16);

	if (rng_percent(r, 5))
		return any_bits(r);
	return type | some_of(r, common, sizeof(common) / sizeof(common[0]), 35) |
	       some_of(r, rare, sizeof(rare) / sizeof(rare[0]), 6) |
	       (rng_percent(r, 5) ? some_of(r, refused, sizeof(refused) / sizeof(refused[0]), 25) : 0);
}

static int64_t wild_offset(struct rng *r)
{
	const int64_t p = page_bytes(), last = INT64_MAX - p + 1;
	const int64_t edges[] = {last, last - p, -p, INT64_MIN, INT64_MAX, -1, (int64_t)1 << 62, (int64_t)1 << 44, p / 2, 1};

	if (rng_percent(r, 60))
		return rng_below(r, 6) * p;
	if (rng_percent(r, 60))
		return PICK(r, edges);
	return (int64_t)rng_next(r) & (rng_percent(r, 50) ? ~(p - 1) : -1);
}

/* A length with which a range from any address of the window on leaves what can be addressed. */
static uint64_t absurd_length(struct rng *r)
{
	const uint64_t p = page(), edges[] = {UINT64_MAX,          UINT64_MAX - p + 1, UINT64_MAX - p,         (uint64_t)1 << 63,
					      (uint64_t)INT64_MAX, (uint64_t)1 << 62,  ((uint64_t)1 << 63) - p};

	return rng_percent(r, 70) ? PICK(r, edges) : rng_next(r) | (uint64_t)1 << 62;
}

static uint64_t wild_length(struct rng *r)
{
	const uint64_t p = page(), edges[] = {0, 1, p - 1, p, p + 1, 2 * p};

	if (rng_percent(r, 55))
		return (uint64_t)(1 + rng_below(r, 8)) * p;
	if (rng_percent(r, 50))
		return PICK(r, edges);
	if (rng_percent(r, 70))
		return (uint64_t)rng_below(r, WINDOW_PAGES * page_bytes());
	return absurd_length(r);
}

static struct place in_window(struct rng *r)
{
	struct place place = {.relative = true, .at = (uint64_t)rng_below(r, WINDOW_PAGES) * page()};

	if (rng_percent(r, 8))
		place.at += (uint64_t)rng_below(r, page_bytes());
	if (rng_percent(r, 4))
		place.at = (uint64_t)((rng_below(r, ROOM_PAGES) - ROOM_PAGES / 2) * page_bytes());
	return place;
}

/* Where no program can have anything. */
static struct place nowhere(struct rng *r)
{
	const uint64_t p = page(), edges[] = {UINT64_MAX - p + 1,     UINT64_MAX,
					      (uint64_t)1 << 63,      (uint64_t)1 << 56,
					      UINT64_MAX - 2 * p + 1, (uint64_t)0xffff800000000000};

	return (struct place){.at = rng_percent(r, 60) ? PICK(r, edges) : rng_next(r) | (uint64_t)1 << 57};
}

static struct place wild_place(struct rng *r)
{
	return rng_percent(r, 92) ? in_window(r) : nowhere(r);
}

static struct place wild_hint(struct rng *r)
{
	const uint64_t p = page(), edges[] = {0, 1, p, ADDRESSES_END, ADDRESSES_END - p, ADDRESSES_END - 2 * p, 65536};

	if (rng_percent(r, 40))
		return (struct place){.at = 0};
	if (rng_percent(r, 60))
		return in_window(r);
	return (struct place){.at = rng_percent(r, 50) ? PICK(r, edges) : rng_next(r) >> rng_below(r, 64)};
}

/* ---- what is harmless ---- */

/*
 * Whether the range lies in the window and around it, or must be refused: it is longer than all addresses, wraps, or starts behind
 * the last one.
 */
static bool is_harmless(struct place place, uint64_t len)
{
	int64_t first = (int64_t)place.at, room = ROOM_PAGES * page_bytes();

	if (!place.relative)
		return place.at >= (uint64_t)1 << 56;
	if (len >= (uint64_t)1 << 62)
		return true;
	return first >= -room && len <= (uint64_t)(2 * room) &&
	       first + (int64_t)len <= WINDOW_PAGES * page_bytes() + room - page_bytes();
}

/* madvise and msync go on behind holes, up to wherever the range ends; only one that wraps is refused. */
static bool is_harmless_behind_holes(struct place place, uint64_t len)
{
	if (place.relative && len >= (uint64_t)1 << 62)
		return len >= UINT64_MAX - ((uint64_t)1 << 32);
	return is_harmless(place, len);
}

/* ---- calls ---- */

static void generate_mmap(struct call *c, struct rng *r)
{
	const int64_t large[] = {(int64_t)1 << 30, (int64_t)1 << 40, (int64_t)1 << 46};

	c->prot = wild_prot(r);
	c->flags = wild_map_flags(r);
	c->fd = (int)(rng_percent(r, 50) ? rng_below(r, FD_FILE_PATH) : rng_below(r, FD_KINDS));
	c->offset = wild_offset(r);
	c->len = wild_length(r);
	if (c->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		c->addr = wild_place(r);
		if (!is_harmless(c->addr, c->len))
			c->addr = in_window(r), c->len = page();
		return;
	}
	c->addr = wild_hint(r);
	/* Of a file, since how much memory may be promised is the kernel's affair; and nothing of it brought in. */
	if (rng_percent(r, 4)) {
		c->len = (uint64_t)PICK(r, large);
		c->flags = (c->flags & ~(MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE | MAP_TYPE)) | MAP_SHARED;
	}
}

static void generate_mremap(struct call *c, struct rng *r)
{
	static const int known[] = {MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP};

	c->flags = rng_percent(r, 5) ? any_bits(r) : some_of(r, known, 3, 45);
	c->new_len = wild_length(r);
	c->to = rng_percent(r, 90) ? wild_place(r) : wild_hint(r);
	if (!is_harmless(c->to, c->new_len))
		c->to = in_window(r), c->new_len = page();
}

static void generate_advice(struct call *c, struct rng *r)
{
	static const int odd[] = {8, 9, 100, 101, 102, 103, -1, INT32_MIN, INT32_MAX, QUIRE_MADV_ONCE, QUIRE_MADV_REUSE};

	c->advice = rng_percent(r, 85) ? (int)rng_below(r, 27) : rng_percent(r, 60) ? PICK(r, odd) : any_bits(r);
	if (!is_harmless_behind_holes(c->addr, c->len))
		c->addr = in_window(r), c->len = page();
}

static void generate_size(struct call *c, struct rng *r)
{
	const int64_t p = page_bytes(), edges[] = {0, 1, -1, p, p - 1, INT64_MIN, INT64_MAX, (int64_t)1 << 62, (int64_t)1 << 40};

	c->fd = (int)rng_below(r, FD_KINDS);
	c->offset = rng_percent(r, 50) ? rng_below(r, 8 * p) : rng_percent(r, 70) ? PICK(r, edges) : (int64_t)rng_next(r);
}

static int wild_flags(struct rng *r, int bits)
{
	return rng_percent(r, 75) ? (int)rng_below(r, bits) : any_bits(r);
}

static enum call_kind wild_kind(struct rng *r)
{
	if (rng_percent(r, 35))
		return CALL_MMAP;
	if (rng_percent(r, 20))
		return CALL_MREMAP;
	return rng_percent(r, 92) ? (enum call_kind)rng_below(r, CALL_RESIDENT)
				  : (enum call_kind)(CALL_RESIDENT + rng_below(r, CALL_KINDS - CALL_RESIDENT));
}

void call_generate(struct call *ret, struct rng *r)
{
	struct call *c = ret;

	*c = (struct call){.kind = (int)wild_kind(r), .addr = wild_place(r), .len = wild_length(r)};
	/* To where a program ends, the machine's stack and libraries are in the way. */
	if (!is_harmless(c->addr, c->len))
		c->addr = in_window(r), c->len = page();
	switch ((enum call_kind)c->kind) {
	case CALL_MMAP:
		generate_mmap(c, r);
		break;
	case CALL_MREMAP:
		generate_mremap(c, r);
		break;
	case CALL_MPROTECT:
		c->prot = wild_prot(r);
		break;
	case CALL_MSYNC:
		if (!is_harmless_behind_holes(c->addr, c->len))
			c->addr = in_window(r), c->len = page();
		c->flags = wild_flags(r, 8);
		break;
	case CALL_MLOCKALL:
		c->flags = wild_flags(r, 8);
		break;
	case CALL_MLOCK2:
		c->flags = wild_flags(r, 2);
		break;
	case CALL_MADVISE:
		generate_advice(c, r);
		break;
	case CALL_POSIX_MADVISE:
		generate_advice(c, r);
		c->advice = rng_percent(r, 85) ? (int)rng_below(r, 7) : any_bits(r);
		break;
	case CALL_FTRUNCATE:
		generate_size(c, r);
		break;
	case CALL_DIRTY:
	case CALL_WRITTEN:
		c->flags = (int)rng_below(r, 18) - 1;
		c->new_len = rng_percent(r, 70) ? (uint64_t)rng_below(r, 8) : rng_next(r);
		break;
	case CALL_PREFETCH:
		c->flags = (int)rng_below(r, 5) - 1;
		c->fd = (int)rng_below(r, FD_KINDS);
		break;
	case CALL_MINHERIT:
		c->flags = (int)rng_below(r, 6) - 1;
		break;
	case CALL_SET_MEMORY:
		c->len = rng_percent(r, 50) ? absurd_length(r) : (uint64_t)rng_below(r, 64 << 20);
		break;
	default:
		break;
	}
}

bool call_is_the_kernels(const struct call *c)
{
	switch ((enum call_kind)c->kind) {
	case CALL_MMAP:
		/* GROWSDOWN, HUGETLB, DENYWRITE, STACK, 32BIT: the rows M11, M12 and M16. */
		return !(c->flags & (MAP_GROWSDOWN | MAP_HUGETLB | MAP_DENYWRITE | MAP_STACK | 0x40 | QUIRE_MAP_ATOMIC |
				     QUIRE_MAP_SNAPSHOT | QUIRE_MAP_EXTEND));
	case CALL_MLOCKALL:
		return (c->flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || !(c->flags & (MCL_CURRENT | MCL_FUTURE));
	case CALL_MADVISE:
		/* They would take the machine's memory out of use. */
		return c->advice != MADV_HWPOISON && c->advice != 101 && c->advice != QUIRE_MADV_ONCE &&
		       c->advice != QUIRE_MADV_REUSE;
	default:
		return c->kind < CALL_RESIDENT;
	}
}

/* ---- the log ---- */

static const char *const call_names[CALL_KINDS] = {
    "mmap",    "munmap",         "mremap",    "mprotect",   "msync",     "madvise",  "posix_madvise", "mincore", "mlock",
    "mlock2",  "munlock",        "mlockall",  "munlockall", "ftruncate", "resident", "prefetch",      "dirty",   "epoch",
    "written", "area_stats_get", "stats_get", "set_memory", "configure", "maps",     "minherit",
};

static void print_place(struct place place, FILE *out)
{
	if (place.relative && (int64_t)place.at >= 0)
		fprintf(out, "window+%#" PRIx64, place.at);
	else if (place.relative)
		fprintf(out, "window-%#" PRIx64, -place.at);
	else
		fprintf(out, "%#" PRIx64, place.at);
}

void call_print(const struct call *c, FILE *out)
{
	fprintf(out, "%s(", call_names[c->kind]);
	switch ((enum call_kind)c->kind) {
	case CALL_FTRUNCATE:
		fprintf(out, "%s, %" PRId64 ")", fd_names[c->fd], c->offset);
		return;
	case CALL_MLOCKALL:
		fprintf(out, "%#x)", (unsigned)c->flags);
		return;
	case CALL_SET_MEMORY:
		fprintf(out, "%#" PRIx64 ")", c->len);
		return;
	case CALL_MUNLOCKALL:
	case CALL_STATS:
	case CALL_CONFIGURE:
	case CALL_MAPS:
		fputs(")", out);
		return;
	default:
		break;
	}
	print_place(c->addr, out);
	fprintf(out, ", %#" PRIx64, c->len);
	if (c->kind == CALL_MMAP)
		fprintf(out, ", prot %#x, flags %#x, %s, %#" PRIx64, (unsigned)c->prot, (unsigned)c->flags, fd_names[c->fd],
			(uint64_t)c->offset);
	else if (c->kind == CALL_MREMAP)
		fprintf(out, ", %#" PRIx64 ", flags %#x, ", c->new_len, (unsigned)c->flags), print_place(c->to, out);
	else if (c->kind == CALL_MPROTECT)
		fprintf(out, ", prot %#x", (unsigned)c->prot);
	else if (c->kind == CALL_MADVISE || c->kind == CALL_POSIX_MADVISE)
		fprintf(out, ", advice %d", c->advice);
	else if (c->kind == CALL_MSYNC || c->kind == CALL_MLOCK2 || c->kind == CALL_MINHERIT)
		fprintf(out, ", flags %#x", (unsigned)c->flags);
	else if (c->kind == CALL_DIRTY || c->kind == CALL_WRITTEN)
		fprintf(out, ", since %#" PRIx64 ", room for %d", c->new_len, c->flags);
	else if (c->kind == CALL_PREFETCH)
		fprintf(out, ", %d ranges, %s", c->flags, fd_names[c->fd]);
	fputs(")", out);
}
