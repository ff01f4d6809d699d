/* SPDX-License-Identifier: MIT */
/*
 * metadata.c - what the library keeps in memory about pages, apart from the pages
 *
 * Dense: every page of a range touched, once each, within a budget smaller than the range. Sparse: tens of tebibytes mapped, of
 * which a thousand pages far from each other are touched. Each is asked of the library and of the kernel, since a counter only
 * knows what it was told.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t growth(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

void bench_metadata(const struct bench *b)
{
	uint64_t size = bench_size(b, GIB, 64 * MIB), pages = size / BENCH_PAGE;
	struct bench_row *row = bench_row(b, "metadata per page ever touched (limit: the goal)", "bytes", false);
	int fd = bench_data(b, size, O_RDONLY);
	struct quire_stats before, stats;
	struct bench_memory idle, memory;
	void *p;

	/* One page of another mapping first: what the engine itself costs is not a cost of the pages. */
	bench_engine(b, b->quick ? 16 * MIB : 256 * MIB);
	p = bench_map(b, &bench_quire, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	*(volatile char *)p = 1;
	before = bench_stats(b);
	idle = bench_memory(b);

	p = bench_map(b, &bench_quire, size, PROT_READ, MAP_SHARED, fd);
	bench_expect(b, "Quire", bench_touch(p, size), bench_touch_sum(0, pages));
	stats = bench_stats(b);
	memory = bench_memory(b);
	bench_sample(&row->quire, (double)growth(stats.metadata_bytes, before.metadata_bytes) / (double)pages);
	bench_sample(&row->limit, 8);
	bench_goal(row, BENCH_AT_MOST, 1.0, true);
	bench_note(row,
		   "%" PRIu64
		   " pages; anonymous memory of the process without engine buffers grew by %.2f bytes a page, page tables by %.2f",
		   pages, (double)growth(memory.anon, idle.anon + growth(stats.buffer_bytes, before.buffer_bytes)) / (double)pages,
		   (double)growth(memory.tables, idle.tables) / (double)pages);
	bench_unmap(b, &bench_quire, p, size);
	close(fd);
}

/* ---- sparse ---- */

#define SPARSE_FILES 8
#define SPARSE_PAGES 1000

/* Eight files of 8 TiB: ext4 ends below 16 TiB. */
struct sparse {
	int fd;
	uint64_t len;
	volatile uint64_t *p;
};

static void make_sparse(const struct bench *b, struct sparse *s, unsigned number)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/sparse-%u.bin", b->dir, number);
	s->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (s->fd < 0)
		bench_stop(b, "%s: %s", path, strerror(errno));
	unlink(path);
	/* A filesystem with smaller files gives what it has. */
	for (s->len = 8 * TIB; ftruncate(s->fd, (off_t)s->len) != 0; s->len /= 2)
		if (s->len <= GIB)
			bench_stop(b, "%s: no sparse file: %s", path, strerror(errno));
}

/* Maps as many of the files as the side takes. Returns the bytes mapped. */
static uint64_t map_sparse(const struct bench *b, const struct bench_side *side, struct sparse *files, struct bench_row *row)
{
	uint64_t mapped = 0;

	for (unsigned i = 0; i < SPARSE_FILES; i++) {
		void *p = side->map(NULL, files[i].len, PROT_READ, MAP_SHARED | MAP_NORESERVE, files[i].fd, 0);

		if (p == MAP_FAILED && i == 0 && errno == EPERM && side == &bench_quire)
			bench_stop_refused(b, "%s", quire_errormsg());
		files[i].p = p == MAP_FAILED ? NULL : p;
		if (p == MAP_FAILED)
			bench_note(row, "%s refused mapping %u: %s", side->name, i + 1,
				   side == &bench_quire ? quire_errormsg() : strerror(errno));
		else
			mapped += files[i].len;
	}
	return mapped;
}

static void touch_sparse(const struct bench *b, const struct bench_side *side, const struct sparse *files)
{
	uint64_t state = 11;

	for (unsigned i = 0; i < SPARSE_PAGES; i++) {
		const struct sparse *s = &files[i % SPARSE_FILES];

		if (s->p)
			bench_expect(b, side->name, s->p[bench_random_below(&state, s->len / BENCH_PAGE) * BENCH_WORDS], 0);
	}
}

static void measure_sparse(const struct bench *b, const struct bench_side *side, struct sparse *files, struct bench_row *mapped_row,
			   struct bench_row *touched_row)
{
	struct bench_memory before = bench_memory(b), mapped, touched;
	uint64_t bytes = map_sparse(b, side, files, mapped_row);
	bool quire = side == &bench_quire;

	mapped = bench_memory(b);
	for (unsigned i = 0; i < SPARSE_FILES; i++)
		if (files[i].p)
			bench_advise(b, side, (void *)files[i].p, files[i].len, MADV_RANDOM);
	touch_sparse(b, side, files);
	touched = bench_memory(b);
	bench_sample(quire ? &mapped_row->quire : &mapped_row->kernel,
		     (double)growth(mapped.anon + mapped.shmem + mapped.file, before.anon + before.shmem + before.file) / KIB);
	bench_sample(quire ? &touched_row->quire : &touched_row->kernel, (double)growth(touched.anon, mapped.anon) / KIB);
	bench_note(mapped_row, "%s mapped %.1f TiB", side->name, (double)bytes / TIB);
	bench_note(touched_row, "%s: file and shared pages grew by %" PRIu64 " KiB, page tables by %" PRIu64 " KiB", side->name,
		   growth(touched.shmem + touched.file, mapped.shmem + mapped.file) / KIB,
		   growth(touched.tables, mapped.tables) / KIB);
	if (quire)
		bench_note(touched_row, "metadata %" PRIu64 " KiB, buffers %" PRIu64 " KiB by its own count",
			   bench_stats(b).metadata_bytes / KIB, bench_stats(b).buffer_bytes / KIB);
	for (unsigned i = 0; i < SPARSE_FILES; i++)
		if (files[i].p)
			bench_unmap(b, side, (void *)files[i].p, files[i].len);
}

void bench_sparse(const struct bench *b)
{
	struct bench_row *mapped = bench_row(b, "64 TiB sparse mapped: growth of RSS (limit: 1 MiB)", "KiB", false);
	struct bench_row *touched = bench_row(b, "... 1000 scattered pages touched: growth without the pages", "KiB", false);
	struct sparse files[SPARSE_FILES];
	volatile char *p;

	for (unsigned i = 0; i < SPARSE_FILES; i++)
		make_sparse(b, &files[i], i);
	bench_engine(b, 64 * MIB);
	/* The engine and its buffers are there before the first sample. */
	p = bench_map(b, &bench_quire, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	*p = 1;
	measure_sparse(b, &bench_kernel, files, mapped, touched);
	measure_sparse(b, &bench_quire, files, mapped, touched);
	/* Nothing for a page that is not touched: a sixteen-thousandth of a byte for each is what areas and objects may cost. */
	bench_sample(&mapped->limit, 1024);
	bench_goal(mapped, BENCH_AT_MOST, 1.0, true);
	for (unsigned i = 0; i < SPARSE_FILES; i++)
		close(files[i].fd);
}
