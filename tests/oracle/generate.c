/* SPDX-License-Identifier: MIT */
/*
 * generate.c - random programs
 *
 * The generator keeps a guess of what is mapped, so that most operations meet memory; the guess need not be right. About one
 * call in sixteen gets one wrong argument. Numbers are small and skewed: interesting cases are neighbours.
 */
#include "program.h"

#include <string.h>
#include <sys/mman.h>

#include "rng.h"

struct generator {
	struct rng rng;
	struct program *program;
	bool *mapped; /* in the process that does the next operation */
	bool windows[PROCESSES][WINDOW_PAGES], lives[PROCESSES], lived[PROCESSES];
	int64_t process;
	bool forks;
	bool pressure;
};

/* 1 … most, mostly small. */
static int64_t few(struct generator *g, int64_t most)
{
	int64_t n = 1 + rng_below(&g->rng, rng_percent(&g->rng, 70) ? 5 : 20);

	return n < most ? n : most;
}

static int64_t pick_page(struct generator *g)
{
	int64_t page = rng_below(&g->rng, WINDOW_PAGES);

	if (rng_percent(&g->rng, 6))
		return page;
	for (int i = 0; i < WINDOW_PAGES; i++) {
		int64_t p = (page + i) % WINDOW_PAGES;

		if (g->mapped[p])
			return p;
	}
	return page;
}

/* A length of so many pages, often not a multiple of the page. */
static int64_t odd_bytes(struct generator *g, int64_t pages)
{
	return pages * page_bytes() - (rng_percent(&g->rng, 30) ? rng_below(&g->rng, page_bytes()) : 0);
}

static void pick_range(struct generator *g, struct op *op)
{
	int64_t page = pick_page(g), pages = few(g, WINDOW_PAGES - page);

	/* Mostly within what is mapped, so that calls succeed. */
	if (!rng_percent(&g->rng, 12)) {
		int64_t n = 1;

		while (n < pages && g->mapped[page + n])
			n++;
		pages = n;
	}
	op->addr = page * page_bytes();
	op->len = odd_bytes(g, pages);
}

static void guess(struct generator *g, int64_t addr, int64_t len, bool mapped)
{
	for (int64_t p = addr / page_bytes(); addr >= 0 && p < WINDOW_PAGES && p < addr / page_bytes() + pages_of(len); p++)
		g->mapped[p] = mapped;
}

static int64_t pick_prot(struct generator *g)
{
	static const int prots[] = {
	    PROT_NONE, PROT_WRITE, PROT_EXEC, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC};
	int64_t n = rng_below(&g->rng, 100);

	if (n < 60)
		return PROT_READ | PROT_WRITE;
	if (n < 80)
		return PROT_READ;
	if (n < 88)
		return PROT_NONE;
	return prots[rng_below(&g->rng, 6)];
}

/* Usually inside a page or at its edges, where mistakes live. */
static int64_t pick_file_size(struct generator *g)
{
	int64_t pages = rng_below(&g->rng, rng_percent(&g->rng, 60) ? 7 : 21), rest = 0;

	switch (rng_below(&g->rng, 4)) {
	case 0:
		break;
	case 1:
		rest = 904;
		break;
	case 2:
		rest = 1;
		break;
	default:
		rest = rng_below(&g->rng, page_bytes());
	}
	return pages * page_bytes() + rest;
}

/* ---- one wrong argument ---- */

static void spoil_range(struct generator *g, struct op *op)
{
	switch (rng_below(&g->rng, 3)) {
	case 0:
		op->addr += 1 + rng_below(&g->rng, page_bytes() - 1);
		break;
	case 1:
		op->len = 0;
		break;
	default:
		/* Only where an absurd length cannot reach beyond the window: see rules_safe(). */
		if (op->kind == OP_MUNMAP || op->kind == OP_MPROTECT || op->kind == OP_MMAP)
			op->len = rng_percent(&g->rng, 50) ? -1 : -WINDOW_PAGES * page_bytes();
		else
			op->addr += 8;
	}
}

static void spoil_mmap(struct generator *g, struct op *op)
{
	switch (rng_below(&g->rng, 8)) {
	case 0:
		op->fd = FD_NONE;
		op->flags &= ~(int64_t)MAP_ANONYMOUS;
		break;
	case 1:
		op->fd = FD_CLOSED;
		break;
	case 2:
		op->fd = FD_DIR;
		break;
	case 3:
		op->fd = FD_PIPE;
		break;
	case 4:
		op->offset += 1 + rng_below(&g->rng, page_bytes() - 1);
		break;
	case 5:
		op->flags &= ~(int64_t)MAP_TYPE;
		break;
	case 6:
		op->offset = -page_bytes() * (1 + rng_below(&g->rng, 3));
		break;
	default:
		spoil_range(g, op);
	}
}

static bool spoiled(struct generator *g)
{
	return rng_percent(&g->rng, 6);
}

/* ---- one maker for each kind ---- */

static void pick_object(struct generator *g, struct op *op)
{
	int64_t n = rng_below(&g->rng, 100);

	if (n < 40) {
		op->flags |= n < 29 ? MAP_PRIVATE : MAP_SHARED;
		op->flags |= MAP_ANONYMOUS;
		op->fd = FD_NONE;
		return;
	}
	if (n < 43) {
		op->flags |= n < 42 ? MAP_PRIVATE : MAP_SHARED;
		op->fd = FD_ZERO;
		return;
	}
	op->flags |= n < 63 ? MAP_PRIVATE : n < 97 ? MAP_SHARED : 3 /* MAP_SHARED_VALIDATE */;
	op->fd = rng_below(&g->rng, FILES) * FD_MODES;
	n = rng_below(&g->rng, 100);
	op->fd += n < 82 ? FD_RW : n < 95 ? FD_RO : FD_WO;
	op->offset = rng_below(&g->rng, rng_percent(&g->rng, 70) ? 4 : 20) * page_bytes();
}

static void make_mmap(struct generator *g, struct op *op)
{
	int64_t page = rng_below(&g->rng, WINDOW_PAGES), pages = few(g, WINDOW_PAGES - page), n = rng_below(&g->rng, 100);

	op->addr = page * page_bytes();
	op->len = odd_bytes(g, pages);
	op->prot = pick_prot(g);
	if (n < 80)
		op->flags = MAP_FIXED;
	else if (n < 85)
		op->flags = MAP_FIXED_NOREPLACE;
	else if (n >= 97)
		op->addr = NOWHERE;
	else if (n >= 94)
		op->addr += rng_below(&g->rng, page_bytes()); /* a hint need not be aligned */
	pick_object(g, op);
	n = rng_below(&g->rng, 100);
	op->flags |= n < 7 ? MAP_POPULATE : n < 11 ? MAP_LOCKED : n < 15 ? MAP_NORESERVE : 0;
	if (spoiled(g))
		spoil_mmap(g, op);
	else if (op->addr != NOWHERE)
		guess(g, op->addr, op->len, true);
}

static void make_munmap(struct generator *g, struct op *op)
{
	pick_range(g, op);
	if (spoiled(g))
		spoil_range(g, op);
	else
		guess(g, op->addr, op->len, false);
}

static void make_mprotect(struct generator *g, struct op *op)
{
	pick_range(g, op);
	op->prot = pick_prot(g);
	if (spoiled(g))
		spoil_range(g, op);
	else if (rng_percent(&g->rng, 1))
		op->prot |= 0x100;
}

static void spoil_mremap(struct generator *g, struct op *op)
{
	switch (rng_below(&g->rng, 7)) {
	case 0:
		op->addr += 16;
		break;
	case 1:
		op->new_len = 0;
		break;
	case 2:
		op->flags = MREMAP_FIXED;
		break;
	case 3:
		op->flags |= 8;
		break;
	case 4:
		op->new_len = -page_bytes();
		break;
	case 5:
		op->flags |= MREMAP_MAYMOVE | MREMAP_FIXED;
		op->to = op->addr;
		break;
	default:
		op->flags |= MREMAP_MAYMOVE | MREMAP_FIXED;
		op->to += 1;
	}
}

static void make_mremap(struct generator *g, struct op *op)
{
	int64_t pages, n = rng_below(&g->rng, 100), to = rng_below(&g->rng, WINDOW_PAGES);

	pick_range(g, op);
	pages = pages_of(op->len);
	if (n < 35)
		pages += few(g, WINDOW_PAGES);
	else if (n < 60)
		pages = few(g, pages);
	if (pages > WINDOW_PAGES - op->addr / page_bytes())
		pages = WINDOW_PAGES - op->addr / page_bytes();
	op->new_len = odd_bytes(g, pages);
	op->flags = rng_percent(&g->rng, 75) ? MREMAP_MAYMOVE : 0;
	op->to = (to + pages > WINDOW_PAGES ? WINDOW_PAGES - pages : to) * page_bytes();
	if (rng_percent(&g->rng, 50))
		op->flags |= MREMAP_MAYMOVE | MREMAP_FIXED;
	if (rng_percent(&g->rng, 12)) {
		op->flags |= MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
		op->new_len = op->len;
	} else if (rng_percent(&g->rng, 8)) {
		op->len = 0;
	}
	if (spoiled(g)) {
		spoil_mremap(g, op);
		return;
	}
	if (!(op->flags & MREMAP_DONTUNMAP) && op->len != 0)
		guess(g, op->addr, op->len, false);
	guess(g, op->flags & MREMAP_FIXED ? op->to : op->addr, op->new_len, true);
}

static void make_access(struct generator *g, struct op *op)
{
	int64_t page = pick_page(g) * page_bytes(), n = rng_below(&g->rng, 100);

	op->size = n < 40 ? 1 : n < 85 ? 8 : page_bytes();
	op->addr = page;
	if (op->size == 1)
		op->addr += rng_percent(&g->rng, 20) ? page_bytes() - 1 : rng_below(&g->rng, page_bytes());
	if (op->size == 8)
		op->addr += rng_below(&g->rng, page_bytes() / 8) * 8;
	if (op->kind == OP_STORE)
		op->value = (int64_t)rng_next(&g->rng);
}

static void make_msync(struct generator *g, struct op *op)
{
	static const int flags[] = {MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE, MS_ASYNC | MS_INVALIDATE, MS_INVALIDATE, 0};

	pick_range(g, op);
	op->flags = flags[rng_below(&g->rng, 6)];
	if (!spoiled(g))
		return;
	if (rng_percent(&g->rng, 50))
		op->flags = rng_percent(&g->rng, 50) ? MS_SYNC | MS_ASYNC : 0x10;
	else
		spoil_range(g, op);
}

static void make_madvise(struct generator *g, struct op *op)
{
	static const int advice[] = {MADV_NORMAL,     MADV_RANDOM,     MADV_SEQUENTIAL, MADV_WILLNEED,      MADV_DONTNEED,
				     MADV_DONTNEED,   MADV_COLD,       MADV_PAGEOUT,    MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				     MADV_REMOVE,     MADV_PAGEOUT,    MADV_DONTDUMP,   MADV_DODUMP,        MADV_DONTFORK,
				     MADV_HUGEPAGE,   MADV_NOHUGEPAGE, MADV_MERGEABLE,  MADV_UNMERGEABLE,   MADV_DOFORK,
				     MADV_KEEPONFORK, MADV_WIPEONFORK};

	pick_range(g, op);
	op->advice = advice[rng_below(&g->rng, sizeof(advice) / sizeof(advice[0]))];
	if (!spoiled(g))
		return;
	if (rng_percent(&g->rng, 50))
		op->advice = rng_percent(&g->rng, 50) ? 5 : 7777;
	else
		spoil_range(g, op);
}

/* What matters to those that come after. */
static void make_fork_advice(struct generator *g, struct op *op)
{
	static const int advice[] = {MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_WIPEONFORK, MADV_KEEPONFORK};

	pick_range(g, op);
	if (rng_percent(&g->rng, 40)) {
		op->kind = OP_MINHERIT;
		op->how = rng_below(&g->rng, WORDS_OF_INHERIT);
		return;
	}
	op->kind = OP_MADVISE;
	op->advice = advice[rng_below(&g->rng, 5)];
	if (spoiled(g))
		spoil_range(g, op);
}

static void make_posix_madvise(struct generator *g, struct op *op)
{
	pick_range(g, op);
	op->advice = rng_below(&g->rng, 5);
	if (!spoiled(g))
		return;
	if (rng_percent(&g->rng, 50))
		op->advice = 77;
	else
		spoil_range(g, op);
}

static void make_lock(struct generator *g, struct op *op)
{
	pick_range(g, op);
	if (pages_of(op->len) > 3)
		op->len = odd_bytes(g, 3);
	if (op->kind == OP_MLOCK && rng_percent(&g->rng, 30))
		op->flags = rng_percent(&g->rng, 90) ? MLOCK_ONFAULT : 6;
	if (spoiled(g))
		spoil_range(g, op);
}

static void make_mincore(struct generator *g, struct op *op)
{
	pick_range(g, op);
	if (spoiled(g))
		spoil_range(g, op);
}

static void make_truncate(struct generator *g, struct op *op)
{
	op->fd = rng_below(&g->rng, FILES) * FD_MODES + (rng_percent(&g->rng, 90) ? FD_RW : FD_WO);
	op->size = pick_file_size(g);
	if (!spoiled(g))
		return;
	if (rng_percent(&g->rng, 50))
		op->size = -op->size - 1;
	else
		op->fd = rng_below(&g->rng, FD_KINDS);
}

static void make_reopen(struct generator *g, struct op *op)
{
	op->fd = rng_below(&g->rng, FILES * FD_MODES);
}

static void make_write(struct generator *g, struct op *op)
{
	op->file = rng_below(&g->rng, FILES);
	op->offset = pick_file_size(g);
	op->len = 1 + rng_below(&g->rng, 2 * page_bytes());
	op->value = (int64_t)rng_next(&g->rng);
}

static void make_cut(struct generator *g, struct op *op)
{
	op->file = rng_below(&g->rng, FILES);
	op->size = pick_file_size(g);
}

static void make_foreign(struct generator *g, struct op *op)
{
	int64_t page = rng_percent(&g->rng, 70) ? pick_page(g) : rng_below(&g->rng, WINDOW_PAGES);

	op->addr = page * page_bytes();
	op->len = few(g, WINDOW_PAGES - page) * page_bytes();
	op->prot = pick_prot(g);
	guess(g, op->addr, op->len, true);
}

static void make_unlock_all(struct generator *g, struct op *op)
{
	(void)g;
	(void)op;
}

static int64_t living(const struct generator *g)
{
	int64_t n = 0;

	for (int i = 0; i < PROCESSES; i++)
		n += g->lives[i];
	return n;
}

static void make_fork(struct generator *g, struct op *op)
{
	int64_t child = 1;

	while (child < PROCESSES && g->lived[child])
		child++;
	if (child == PROCESSES || living(g) == LIVING_MAX) {
		make_fork_advice(g, op);
		return;
	}
	op->child = child;
	g->lives[child] = g->lived[child] = true;
	memcpy(g->windows[child], g->mapped, sizeof(g->windows[child]));
}

static void make_exit(struct generator *g, struct op *op)
{
	if (op->in == 0) {
		make_fork_advice(g, op);
		return;
	}
	op->how = rng_below(&g->rng, EXIT_WAYS);
	op->value = rng_below(&g->rng, 2);
	g->lives[op->in] = false;
}

static void make_pressure(struct generator *g, struct op *op)
{
	op->value = (int64_t)(rng_next(&g->rng) >> 32);
	op->size = 1 + rng_below(&g->rng, rng_percent(&g->rng, 80) ? 16 : 64);
}

static const struct {
	int weight;
	void (*make)(struct generator *g, struct op *op);
} kinds[OP_KINDS] = {
    [OP_MMAP] = {100, make_mmap},
    [OP_MUNMAP] = {35, make_munmap},
    [OP_MPROTECT] = {50, make_mprotect},
    [OP_MREMAP] = {60, make_mremap},
    [OP_LOAD] = {200, make_access},
    [OP_STORE] = {240, make_access},
    [OP_MSYNC] = {30, make_msync},
    [OP_MADVISE] = {80, make_madvise},
    [OP_POSIX_MADVISE] = {10, make_posix_madvise},
    [OP_MLOCK] = {15, make_lock},
    [OP_MUNLOCK] = {10, make_lock},
    [OP_MINCORE] = {20, make_mincore},
    [OP_TRUNCATE] = {50, make_truncate},
    [OP_REOPEN] = {8, make_reopen},
    [OP_WRITE] = {10, make_write},
    [OP_CUT] = {6, make_cut},
    [OP_FOREIGN] = {20, make_foreign},
    [OP_UNLOCK_ALL] = {8, make_unlock_all},
    [OP_PRESSURE] = {60, make_pressure},
    [OP_FORK] = {60, make_fork},
    [OP_EXIT] = {25, make_exit},
    [OP_MINHERIT] = {20, make_fork_advice},
};

static int pick_kind(struct generator *g)
{
	int64_t sum = 0, n;
	int last = g->forks ? OP_KINDS : OP_FORK;

	for (int i = 0; i < last; i++)
		sum += kinds[i].weight;
	n = rng_below(&g->rng, sum);
	for (int i = 0;; i++) {
		n -= kinds[i].weight;
		if (n < 0)
			return i;
	}
}

/* Often the same one as before. */
static void pick_process(struct generator *g)
{
	if (g->forks && !(g->lives[g->process] && rng_percent(&g->rng, 50))) {
		do
			g->process = rng_below(&g->rng, PROCESSES);
		while (!g->lives[g->process]);
	}
	g->mapped = g->windows[g->process];
}

void program_generate(struct program *p, uint64_t seed, int64_t number, size_t ops_max, bool forks)
{
	struct generator g = {.rng = rng_stream(seed, (uint64_t)number), .program = p, .forks = forks};

	if (ops_max > PROGRAM_OPS_MAX)
		ops_max = PROGRAM_OPS_MAX;
	g.lives[0] = g.lived[0] = true;
	*p = (struct program){.seed = seed, .number = number};
	for (int i = 0; i < FILES; i++)
		p->file_bytes[i] = pick_file_size(&g);
	p->file_bytes[0] = rng_percent(&g.rng, 25) ? page_bytes() + 904 : p->file_bytes[0];
	g.pressure = rng_percent(&g.rng, 60);
	p->op_count = ops_max / 4 + (size_t)rng_below(&g.rng, (int64_t)(ops_max - ops_max / 4)) + 1;
	if (p->op_count > PROGRAM_OPS_MAX)
		p->op_count = PROGRAM_OPS_MAX;
	for (size_t i = 0; i < p->op_count; i++) {
		struct op *op = &p->ops[i];
		int kind = i < 3 ? OP_MMAP : pick_kind(&g);

		if (kind == OP_PRESSURE && !g.pressure)
			kind = OP_STORE;
		pick_process(&g);
		*op = (struct op){.kind = kind, .in = g.process};
		kinds[kind].make(&g, op);
	}
}
