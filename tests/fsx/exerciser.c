/* SPDX-License-Identifier: MIT */
/*
 * exerciser.c - one thread that reaches the same files in every way there is
 *
 * Which operation comes next, and where, follows from the seed and from what is mapped, never from what was read: a program is the
 * same each time. What the engine does in between is not.
 */
#include "exerciser.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BUFFER_PAGES = 4, MAP_PAGES_MAX = 96, LOCKED_PAGES_MAX = 12, FD_PLAIN = 0, FD_OTHER = 1, FD_DIRECT = 2, FD_READ = 3 };

/* ---- failing and noting ---- */

__attribute__((format(printf, 4, 5))) static bool fail(struct fsx *x, int file, int64_t page, const char *format, ...)
{
	va_list args;

	if (x->failure[0] != '\0')
		return false;
	va_start(args, format);
	vsnprintf(x->failure, sizeof(x->failure), format, args);
	va_end(args);
	x->failed_file = file;
	x->failed_page = page;
	return false;
}

static bool call_failed(struct fsx *x, int file, int64_t page, const char *call)
{
	return fail(x, file, page, "%s: %s (%s)", call, strerror(errno), x->calls->errormsg());
}

__attribute__((format(printf, 5, 6))) static void note(struct fsx *x, int file, int64_t first, int64_t last, const char *format,
						       ...)
{
	struct fsx_note *n = &x->log[x->noted++ % FSX_LOG];
	va_list args;

	*n = (struct fsx_note){.at = x->at, .file = file, .first = first, .last = last};
	va_start(args, format);
	vsnprintf(n->text, sizeof(n->text), format, args);
	va_end(args);
	if (x->verbose)
		printf("%6" PRId64 " file %d pages %" PRId64 "-%" PRId64 " %s\n", n->at, file, first, last, n->text);
}

void fsx_print_log(const struct fsx *x, FILE *out)
{
	int64_t from = x->noted > FSX_LOG ? x->noted - FSX_LOG : 0;

	fprintf(out, "what was done to file %d page %" PRId64 ", the last of %" PRId64 " operations:\n", x->failed_file,
		x->failed_page, x->at + 1);
	for (int64_t i = from; i < x->noted; i++) {
		const struct fsx_note *n = &x->log[i % FSX_LOG];

		if (n->file >= 0 && (n->file != x->failed_file || x->failed_page < n->first || x->failed_page > n->last))
			continue;
		fprintf(out, "%6" PRId64 "  %s\n", n->at, n->text);
	}
}

/* ---- choosing ---- */

static int64_t below(struct fsx *x, int64_t n)
{
	return rng_below(&x->rng, n);
}

static bool percent(struct fsx *x, int n)
{
	return rng_percent(&x->rng, n);
}

/* Neighbours and the end meet most: half of all go to a few pages, and some to the last one. */
static int64_t pick_page(struct fsx *x, int64_t pages, int64_t end_page)
{
	int64_t n = below(x, 100);

	if (n < 50)
		return below(x, pages < 6 ? pages : 6);
	if (n < 65 && end_page < pages)
		return end_page;
	return below(x, pages);
}

static int pick_file(struct fsx *x)
{
	return percent(x, 75) ? 0 : 1;
}

static int process_of(const struct fsx *x, const struct fsx_map *m)
{
	return (int)(m - x->maps) / FSX_MAPS;
}

/* What comes next is done where the mapping is. */
static struct fsx_map *enter(const struct fsx *x, struct fsx_map *m)
{
	far_in(process_of(x, m));
	return m;
}

/* In any process, which is where the next calls are made. */
static struct fsx_map *pick_map(struct fsx *x)
{
	int all = x->forks ? FSX_MAPS_ALL : FSX_MAPS, from = (int)below(x, all);

	for (int i = 0; i < all; i++) {
		struct fsx_map *m = &x->maps[(from + i) % all];

		if (m->addr != NULL)
			return enter(x, m);
	}
	return NULL;
}

static struct fsx_map *free_map(struct fsx *x, int process)
{
	for (int i = process * FSX_MAPS; i < (process + 1) * FSX_MAPS; i++) {
		if (x->maps[i].addr == NULL)
			return &x->maps[i];
	}
	return NULL;
}

static int pick_process(struct fsx *x)
{
	int process = x->forks ? (int)below(x, FAR_PROCESSES) : 0;

	return far_lives(process) ? process : 0;
}

static int64_t pick_size(struct fsx *x)
{
	int64_t pages = below(x, percent(x, 40) ? 12 : MODEL_PAGES - 2), n = below(x, 4);

	return pages * x->page_bytes + (n == 0 ? 0 : n == 1 ? 1 : below(x, x->page_bytes));
}

/* Bytes of which no two stores have the same: a number, then the place. */
static void make_bytes(struct fsx *x, unsigned char *bytes, int64_t n)
{
	uint64_t word = rng_next(&x->rng);

	for (int64_t i = 0; i < n; i++) {
		if (i % 8 == 0)
			word = word * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (unsigned char)(word >> (8 + i % 8 * 7)) | 1;
	}
}

/* ---- files ---- */

static int64_t end_page(const struct fsx *x, int file)
{
	return x->files[file].bytes / x->page_bytes;
}

/* From here on the engine knows the size, as it does when the file is mapped once more. */
static bool settle(struct fsx *x, int file)
{
	struct model_file *f = &x->files[file];
	void *p;

	if (f->size == SIZE_KNOWN)
		return true;
	p = x->calls->mmap(NULL, (size_t)x->page_bytes, PROT_READ, MAP_SHARED, x->fds[file][FD_PLAIN], 0);
	if (p == MAP_FAILED || x->calls->munmap(p, (size_t)x->page_bytes) != 0)
		return call_failed(x, file, 0, "a mapping to make the size known");
	note(x, file, 0, MODEL_PAGES, "the size is known: %" PRId64, f->bytes);
	model_settle(f);
	return true;
}

/* All that was stored is in the file, and nothing is on its way. */
static bool sync_file(struct fsx *x, int file)
{
	size_t bytes = MODEL_PAGES * (size_t)x->page_bytes;
	void *p = x->calls->mmap(NULL, bytes, PROT_READ, MAP_SHARED, x->fds[file][FD_PLAIN], 0);
	bool synced = p != MAP_FAILED && x->calls->msync(p, bytes, MS_SYNC) == 0;

	if (p == MAP_FAILED || x->calls->munmap(p, bytes) != 0 || !synced)
		return call_failed(x, file, 0, "msync of the whole file");
	note(x, file, 0, MODEL_PAGES, "sync all");
	model_settle(&x->files[file]);
	for (int64_t i = 0; i < MODEL_PAGES; i++)
		model_sync(&x->files[file], i);
	return true;
}

/* ---- mappings and the model ---- */

static bool accessible(int prot)
{
	return (prot & (PROT_READ | PROT_WRITE)) != 0;
}

static void note_size_gone(struct fsx *x, int file)
{
	int64_t pages = model_file_pages(&x->files[file]);

	/* Private copies behind the end are gone. */
	for (int k = 0; k < FSX_MAPS_ALL; k++) {
		struct fsx_map *m = &x->maps[k];

		for (int64_t i = 0; m->addr != NULL && m->file == file && i < m->pages; i++) {
			if (m->first + i >= pages && m->copies[i] != NULL) {
				free(m->copies[i]);
				m->copies[i] = NULL;
			}
		}
	}
}

static bool settle_sizes(struct fsx *x, int file)
{
	bool cut = x->files[file].size == SIZE_CUT;

	if (!settle(x, file))
		return false;
	if (cut)
		note_size_gone(x, file);
	return true;
}

/* Fewer worlds, by looking at the file; and where that does not help, by writing all of it. */
static bool look(struct fsx *x, int file, int64_t page)
{
	struct model_file *f = &x->files[file];
	int64_t n = f->bytes - page * x->page_bytes, at;

	if (!model_is_vague(f, page))
		return true;
	n = n < 0 ? 0 : n < x->page_bytes ? n : x->page_bytes;
	if (pread(x->fds[file][FD_PLAIN], x->before, (size_t)n, page * x->page_bytes) != n)
		return call_failed(x, file, page, "pread, to look");
	note(x, file, page, page, "look");
	if (!model_read(f, page, 0, n, x->before, &at))
		return fail(x, file, page, "a look at the file: byte %" PRId64 " is %#x, which nothing allows", at, x->before[at]);
	return !model_is_vague(f, page) || (settle_sizes(x, file) && sync_file(x, file));
}

static void lock_pages(struct fsx *x, struct fsx_map *m, bool locked)
{
	if (m->locked == locked)
		return;
	m->locked = locked;
	for (int64_t i = 0; i < m->pages; i++)
		model_lock(&x->files[m->file], m->first + i, locked);
}

static int64_t locked_pages(const struct fsx *x)
{
	int64_t n = 0;

	for (int k = 0; k < FSX_MAPS_ALL; k++)
		n += x->maps[k].addr != NULL && x->maps[k].locked ? x->maps[k].pages : 0;
	return n;
}

/* Pages from … end of the mapping are no longer there. */
static void forget_pages(struct fsx *x, struct fsx_map *m, int64_t from, int64_t end)
{
	for (int64_t i = from; i < end; i++) {
		free(m->copies[i]);
		m->copies[i] = NULL;
		if (m->locked)
			model_lock(&x->files[m->file], m->first + i, false);
	}
}

static void forget_map(struct fsx *x, struct fsx_map *m)
{
	struct model_file *f = &x->files[m->file];

	forget_pages(x, m, 0, m->pages);
	free(m->prot);
	free(m->copies);
	m->addr = NULL;
	if (--f->mappings == 0) {
		model_unmapped(f);
		note(x, m->file, 0, MODEL_PAGES, "that was the last mapping of the file");
	}
}

static void make_room(struct fsx_map *m, int64_t old_pages, int64_t pages, int prot)
{
	m->prot = realloc(m->prot, (size_t)(pages + 1) * sizeof(*m->prot));
	m->copies = realloc(m->copies, (size_t)(pages + 1) * sizeof(*m->copies));
	if (m->prot == NULL || m->copies == NULL)
		abort();
	for (int64_t i = old_pages; i < pages; i++) {
		m->prot[i] = prot;
		m->copies[i] = NULL;
	}
	m->pages = pages;
}

/* ---- loads and stores ---- */

struct access {
	struct fsx_map *map;
	int64_t page, from, n; /* of the mapping; in the page */
	bool store;
};

static struct access pick_access(struct fsx *x, struct fsx_map *m, bool store)
{
	struct access a = {.map = m, .store = store};
	int64_t n = below(x, 100);

	a.page = pick_page(x, m->pages, end_page(x, m->file) - m->first >= 0 ? end_page(x, m->file) - m->first : m->pages);
	if (n < 15) {
		a.n = x->page_bytes;
		return a;
	}
	a.n = n < 50 ? 8 : n < 70 ? 1 : 1 + below(x, x->page_bytes / 4);
	a.from = n < 50 ? below(x, x->page_bytes / 8) * 8 : below(x, x->page_bytes - a.n + 1);
	return a;
}

/* => whether the signal, or that there is none, is right; *ret_go: the bytes were had */
static bool check_trap(struct fsx *x, const struct access *a, bool done, const struct trap *trap, bool *ret_go)
{
	struct fsx_map *m = a->map;
	int64_t page = m->first + a->page;
	int prot = m->prot[a->page];
	bool denied = a->store ? !(prot & PROT_WRITE) : !accessible(prot);
	const char *what = a->store ? "store" : "load";

	*ret_go = done;
	if (denied) {
		x->denied++;
		if (!done && trap->sig == SIGSEGV && trap->code == SEGV_ACCERR)
			return true;
		return fail(x, m->file, page, "%s with protection %d: signal %d code %d instead of SIGSEGV", what, prot,
			    done ? 0 : trap->sig, done ? 0 : trap->code);
	}
	if (done)
		return !model_must_bus(&x->files[m->file], page) ||
		       fail(x, m->file, page, "%s behind the end of the file: no SIGBUS", what);
	x->bus++;
	if (trap->sig == SIGBUS && trap->code == BUS_ADRERR && model_may_bus(&x->files[m->file], page))
		return true;
	return fail(x, m->file, page, "%s: signal %d code %d", what, trap->sig, trap->code);
}

static bool check_bytes(struct fsx *x, const struct fsx_map *m, int64_t page, int64_t from, int64_t n)
{
	int64_t at = 0;

	if (!m->shared && m->copies[page] != NULL) {
		while (at < n && x->buffer[at] == m->copies[page][from + at])
			at++;
		return at == n ||
		       fail(x, m->file, m->first + page,
			    "private copy: byte %" PRId64 " is %#x, and %#x was stored (loaded from byte %" PRId64 " on)",
			    from + at, x->buffer[at], m->copies[page][from + at], from);
	}
	return model_load(&x->files[m->file], m->first + page, from, n, x->buffer, &at) ||
	       fail(x, m->file, m->first + page,
		    "load: byte %" PRId64 " is %#x, which nothing allows (loaded from byte %" PRId64 " on)", from + at,
		    x->buffer[at], from);
}

/* A touch behind the old end makes a new size known, where the page itself lies within it. */
static void size_is_learnt(struct fsx *x, const struct fsx_map *m, int64_t page)
{
	struct model_file *f = &x->files[m->file];

	if (f->size == SIZE_GREW && page >= (f->old_bytes + x->page_bytes - 1) / x->page_bytes)
		model_settle(f);
}

static bool load(struct fsx *x, struct access a)
{
	struct fsx_map *m = a.map;
	struct trap trap;
	bool go;
	bool done = far_load(x->buffer, enter(x, m)->addr + a.page * x->page_bytes + a.from, (size_t)a.n, &trap);

	x->loads++;
	note(x, m->file, m->first + a.page, m->first + a.page, "load by mapping %d, bytes %" PRId64 "+%" PRId64 "%s: %02x %02x",
	     (int)(m - x->maps), a.from, a.n, done ? "" : " refused", x->buffer[0], x->buffer[1]);
	if (!check_trap(x, &a, done, &trap, &go))
		return false;
	if (!go)
		return true;
	size_is_learnt(x, m, m->first + a.page);
	return check_bytes(x, m, a.page, a.from, a.n);
}

static bool stored_privately(struct fsx *x, const struct access *a)
{
	struct fsx_map *m = a->map;
	unsigned char *addr = m->addr + a->page * x->page_bytes;
	int64_t page = m->first + a->page, at;
	struct trap trap;

	if (m->copies[a->page] != NULL) {
		memcpy(m->copies[a->page] + a->from, x->buffer, (size_t)a->n);
		return true;
	}
	/* Every store is followed by a load of the whole, which tells what was copied. */
	m->copies[a->page] = malloc((size_t)x->page_bytes);
	if (m->copies[a->page] == NULL)
		abort();
	if (!far_load(m->copies[a->page], addr, (size_t)x->page_bytes, &trap))
		return fail(x, m->file, page, "load of a private copy: signal %d", trap.sig);
	return model_copied(&x->files[m->file], page, a->from, a->n, x->buffer, m->copies[a->page], &at) ||
	       fail(x, m->file, page, "private copy: byte %" PRId64 " is %#x, which nothing allows", at, m->copies[a->page][at]);
}

static bool store(struct fsx *x, struct access a)
{
	struct fsx_map *m = a.map;
	struct model_file *f = &x->files[m->file];
	int64_t page = m->first + a.page, within = f->bytes - page * x->page_bytes;
	struct trap trap;
	bool go, done;

	make_bytes(x, x->buffer, a.n);
	if (!x->stores_past_end && within > 0 && a.from + a.n > within) {
		if (a.from >= within)
			return true;
		a.n = within - a.from;
	}
	if (!look(x, m->file, page))
		return false;
	done = far_store(enter(x, m)->addr + a.page * x->page_bytes + a.from, x->buffer, (size_t)a.n, &trap);
	x->stores++;
	note(x, m->file, page, page, "store by mapping %d%s, bytes %" PRId64 "+%" PRId64 "%s: %02x %02x", (int)(m - x->maps),
	     m->shared ? "" : " (private)", a.from, a.n, done ? "" : " refused", x->buffer[0], x->buffer[1]);
	if (!check_trap(x, &a, done, &trap, &go))
		return false;
	if (!go)
		return true;
	size_is_learnt(x, m, page);
	if (!m->shared)
		return stored_privately(x, &a);
	model_store(f, page, a.from, a.n, x->buffer);
	return true;
}

static bool do_load(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);

	return m == NULL || load(x, pick_access(x, m, false));
}

static bool do_store(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);

	return m == NULL || store(x, pick_access(x, m, true));
}

/* From end to end, which makes the engine read ahead and page out. */
static bool do_scan(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);
	bool stores;

	if (m == NULL)
		return true;
	stores = percent(x, 30);
	for (int64_t i = 0; i < m->pages; i++) {
		struct access a = {.map = m, .page = i, .from = below(x, x->page_bytes / 8) * 8, .n = 8, .store = stores};

		if (!(stores ? store(x, a) : load(x, a)))
			return false;
	}
	return true;
}

/* ---- read(2) and write(2) ---- */

/* A range of the file in whole bytes, across a few pages. */
static void pick_bytes(struct fsx *x, int file, int64_t most, int64_t *ret_from, int64_t *ret_n)
{
	int64_t page = pick_page(x, MODEL_PAGES - BUFFER_PAGES, end_page(x, file)), k = below(x, 100);

	*ret_from = page * x->page_bytes + (k < 40 ? 0 : below(x, x->page_bytes));
	*ret_n = k % 3 == 0 ? 1 + below(x, 64) : k % 3 == 1 ? x->page_bytes : 1 + below(x, most);
}

static ssize_t read_bytes(struct fsx *x, int file, int way, int64_t from, int64_t n)
{
	struct iovec parts[2] = {{x->buffer, (size_t)(n / 2)}, {x->buffer + n / 2, (size_t)(n - n / 2)}};

	switch (way) {
	case 0:
		return lseek(x->fds[file][FD_OTHER], from, SEEK_SET) < 0 ? -1 : read(x->fds[file][FD_OTHER], x->buffer, (size_t)n);
	case 1:
		return preadv(x->fds[file][FD_READ], parts, 2, from);
	case 2:
		return pread(x->fds[file][FD_DIRECT], x->buffer, (size_t)n, from);
	default:
		return pread(x->fds[file][FD_PLAIN], x->buffer, (size_t)n, from);
	}
}

static bool do_read(struct fsx *x)
{
	int file = pick_file(x), way = (int)below(x, 8);
	struct model_file *f = &x->files[file];
	int64_t from, n, left, at;
	ssize_t got;

	pick_bytes(x, file, 3 * x->page_bytes, &from, &n);
	if (way == 2) {
		from -= from % x->page_bytes;
		n = (n + x->page_bytes - 1) / x->page_bytes * x->page_bytes;
	}
	left = f->bytes - from < 0 ? 0 : f->bytes - from < n ? f->bytes - from : n;
	got = read_bytes(x, file, way, from, n);
	x->reads++;
	note(x, file, from / x->page_bytes, (from + n - 1) / x->page_bytes,
	     "read by way %d, bytes %" PRId64 "+%" PRId64 ": %zd, %02x %02x", way, from, n, got, x->buffer[0], x->buffer[1]);
	if (got != left)
		return fail(x, file, from / x->page_bytes,
			    "read of %" PRId64 " at %" PRId64 ": %zd bytes (%s), %" PRId64 " are right", n, from, got,
			    got < 0 ? strerror(errno) : "", left);
	for (int64_t done = 0, part; done < left; done += part) {
		int64_t page = (from + done) / x->page_bytes, in_page = (from + done) % x->page_bytes;

		part = x->page_bytes - in_page < left - done ? x->page_bytes - in_page : left - done;
		if (!model_read(f, page, in_page, part, x->buffer + done, &at))
			return fail(x, file, page,
				    "read: byte %" PRId64 " of the page is %#x, which nothing allows (read from byte %" PRId64
				    " on)",
				    in_page + at, x->buffer[done + at], in_page);
	}
	return true;
}

static ssize_t write_bytes(struct fsx *x, int file, int way, int64_t from, int64_t n)
{
	struct iovec parts[2] = {{x->buffer, (size_t)(n / 2)}, {x->buffer + n / 2, (size_t)(n - n / 2)}};

	switch (way) {
	case 0:
		return lseek(x->fds[file][FD_OTHER], from, SEEK_SET) < 0 ? -1 : write(x->fds[file][FD_OTHER], x->buffer, (size_t)n);
	case 1:
		return pwritev(x->fds[file][FD_PLAIN], parts, 2, from);
	case 2:
		return pwrite(x->fds[file][FD_DIRECT], x->buffer, (size_t)n, from);
	default:
		return pwrite(x->fds[file][FD_PLAIN], x->buffer, (size_t)n, from);
	}
}

/* The model follows what the file has got, page by page. */
static void wrote(struct fsx *x, int file, int64_t from, int64_t n)
{
	for (int64_t done = 0, part; done < n; done += part) {
		int64_t page = (from + done) / x->page_bytes, in_page = (from + done) % x->page_bytes;

		part = x->page_bytes - in_page < n - done ? x->page_bytes - in_page : n - done;
		model_write(&x->files[file], page, in_page, part, x->buffer + done);
	}
}

static bool look_at_pages(struct fsx *x, int file, int64_t from, int64_t n)
{
	for (int64_t page = from / x->page_bytes; page <= (from + n - 1) / x->page_bytes; page++) {
		if (!look(x, file, page))
			return false;
	}
	return true;
}

static bool do_write(struct fsx *x)
{
	int file = pick_file(x), way = (int)below(x, 8);
	struct model_file *f = &x->files[file];
	int64_t from, n;
	ssize_t put;

	pick_bytes(x, file, 3 * x->page_bytes, &from, &n);
	if (way == 2) {
		from -= from % x->page_bytes;
		n = (n + x->page_bytes - 1) / x->page_bytes * x->page_bytes;
	}
	/* Mostly within the file: what makes it longer is rare enough not to undo the cuts. */
	if (from + n > f->bytes && percent(x, 60)) {
		from = f->bytes - n;
		if (from < 0 || way == 2)
			return true;
	}
	if (!settle_sizes(x, file) || !look_at_pages(x, file, from, n))
		return false;
	make_bytes(x, x->buffer, n);
	put = write_bytes(x, file, way, from, n);
	x->writes++;
	note(x, file, from / x->page_bytes, (from + n - 1) / x->page_bytes,
	     "write by way %d, bytes %" PRId64 "+%" PRId64 "%s: %02x %02x", way, from, n, from + n > f->bytes ? ", longer" : "",
	     x->buffer[0], x->buffer[1]);
	if (put != n)
		return fail(x, file, from / x->page_bytes, "write of %" PRId64 " at %" PRId64 ": %zd (%s)", n, from, put,
			    put < 0 ? strerror(errno) : "short");
	if (from + n > f->bytes)
		model_resize_behind(f, from + n);
	wrote(x, file, from, n);
	return true;
}

/* fallocate: a hole, or zeros. */
static bool do_zero(struct fsx *x)
{
	int file = pick_file(x);
	struct model_file *f = &x->files[file];
	int mode = (percent(x, 50) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
	int64_t from, n;

	pick_bytes(x, file, 3 * x->page_bytes, &from, &n);
	n = n < BUFFER_PAGES * x->page_bytes ? n : BUFFER_PAGES * x->page_bytes;
	if (from >= f->bytes)
		return true;
	if (!settle_sizes(x, file) || !look_at_pages(x, file, from, n))
		return false;
	if (fallocate(x->fds[file][FD_PLAIN], mode, from, n) != 0)
		return errno == EOPNOTSUPP || call_failed(x, file, from / x->page_bytes, "fallocate");
	x->writes++;
	note(x, file, from / x->page_bytes, (from + n - 1) / x->page_bytes, "fallocate %d, bytes %" PRId64 "+%" PRId64, mode, from,
	     n);
	memset(x->buffer, 0, (size_t)n);
	wrote(x, file, from, f->bytes - from < n ? f->bytes - from : n);
	return true;
}

/* ---- sizes ---- */

static bool do_truncate(struct fsx *x)
{
	int file = pick_file(x);
	int64_t bytes = pick_size(x);

	if (x->calls->ftruncate(x->fds[file][FD_PLAIN], bytes) != 0)
		return call_failed(x, file, 0, "the side's ftruncate");
	x->calls_made++;
	note(x, file, 0, MODEL_PAGES, "ftruncate from %" PRId64 " to %" PRId64, x->files[file].bytes, bytes);
	/* A cut that was made behind the engine's back comes first. */
	note_size_gone(x, file);
	model_resize(&x->files[file], bytes);
	note_size_gone(x, file);
	return true;
}

/* Behind the engine's back. What is on its way when a file is cut may make it longer again: so nothing is. */
static bool do_truncate_behind(struct fsx *x)
{
	int file = pick_file(x);
	struct model_file *f = &x->files[file];
	int64_t bytes = pick_size(x);

	if (!settle_sizes(x, file) || (bytes < f->bytes && f->mappings > 0 && !sync_file(x, file)))
		return false;
	if (ftruncate(x->fds[file][FD_OTHER], bytes) != 0)
		return call_failed(x, file, 0, "ftruncate");
	x->writes++;
	note(x, file, 0, MODEL_PAGES, "ftruncate(2) from %" PRId64 " to %" PRId64, f->bytes, bytes);
	model_resize_behind(f, bytes);
	if (f->size == SIZE_KNOWN)
		note_size_gone(x, file);
	return true;
}

static bool do_settle(struct fsx *x)
{
	return settle_sizes(x, pick_file(x));
}

static bool do_stat(struct fsx *x)
{
	int file = pick_file(x);
	struct stat st;

	if (fstat(x->fds[file][FD_READ], &st) != 0)
		return call_failed(x, file, 0, "fstat");
	return st.st_size == x->files[file].bytes ||
	       fail(x, file, end_page(x, file), "the file has %" PRId64 " bytes instead of %" PRId64, (int64_t)st.st_size,
		    x->files[file].bytes);
}

/* ---- making and removing mappings ---- */

static int pick_prot(struct fsx *x)
{
	int64_t n = below(x, 20);

	return n < 15 ? PROT_READ | PROT_WRITE : n < 18 ? PROT_READ : n < 19 ? PROT_WRITE : PROT_NONE;
}

/* Where stores are caught by faults, what is made resident for a mapping that may be stored to counts as stored to. */
static void note_as_locked(struct fsx *x, const struct fsx_map *m, int64_t i)
{
	/* Those of children are always caught. */
	if ((x->first_touch || process_of(x, m) != 0) && (m->prot[i] & PROT_WRITE))
		model_may_be_dirty(&x->files[m->file], m->first + i);
}

/* In a place of its own, or over another of ours, which goes. */
static bool do_mmap(struct fsx *x)
{
	int process = pick_process(x);
	struct fsx_map *m = free_map(x, process), *over = percent(x, 15) ? pick_map(x) : NULL;
	int file = pick_file(x), prot = pick_prot(x);
	int64_t first = pick_page(x, MODEL_PAGES - 8, end_page(x, file)), pages = 1 + below(x, percent(x, 50) ? 16 : MAP_PAGES_MAX);
	bool shared = percent(x, 65);
	int flags = shared ? MAP_SHARED : MAP_PRIVATE;
	bool populate = percent(x, 8);
	unsigned char *p;

	pages = first + pages > MODEL_PAGES ? MODEL_PAGES - first : pages;
	if (over != NULL) {
		pages = over->pages;
		pages = first + pages > MODEL_PAGES ? MODEL_PAGES - first : pages;
	} else if (m == NULL) {
		return true;
	}
	/* One that only takes the place of a part leaves the rest, which nobody here follows. */
	if (over != NULL && pages != over->pages)
		return true;
	if (over == NULL)
		far_in(process);
	p = x->calls->mmap(over != NULL ? over->addr : NULL, (size_t)(pages * x->page_bytes), prot,
			   flags | (over != NULL ? MAP_FIXED : 0) | (populate && shared ? MAP_POPULATE : 0),
			   x->fds[file][percent(x, 50) ? FD_PLAIN
					: shared       ? FD_OTHER
						       : FD_READ],
			   first * x->page_bytes);
	x->calls_made++;
	if (p == MAP_FAILED)
		return call_failed(x, file, first, "mmap");
	if (over != NULL) {
		note(x, over->file, over->first, over->first + over->pages - 1, "mapping %d is replaced", (int)(over - x->maps));
		/* The new one is a mapping too, and was looked up before the old one went. */
		x->files[file].mappings++;
		forget_map(x, over);
		x->files[file].mappings--;
		m = over;
	}
	if (x->files[file].size == SIZE_CUT) {
		model_settle(&x->files[file]);
		note_size_gone(x, file);
	}
	model_settle(&x->files[file]);
	*m = (struct fsx_map){.addr = p, .file = file, .first = first, .shared = shared};
	x->files[file].mappings++;
	make_room(m, 0, pages, prot);
	note(x, file, first, first + pages - 1, "mapping %d: %s, protection %d%s", (int)(m - x->maps),
	     shared ? "shared" : "private", prot, populate && shared ? ", populated" : "");
	for (int64_t i = 0; populate && shared && i < pages; i++)
		note_as_locked(x, m, i);
	return true;
}

static bool unmap(struct fsx *x, struct fsx_map *m)
{
	if (x->calls->munmap(enter(x, m)->addr, (size_t)(m->pages * x->page_bytes)) != 0)
		return call_failed(x, m->file, m->first, "munmap");
	x->calls_made++;
	note(x, m->file, m->first, m->first + m->pages - 1, "munmap of mapping %d", (int)(m - x->maps));
	forget_map(x, m);
	return true;
}

static bool do_munmap(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);

	return m == NULL || unmap(x, m);
}

/* Every mapping of a file goes: what comes next reads it anew. */
static bool do_munmap_all(struct fsx *x)
{
	int file = pick_file(x);

	for (int k = 0; k < FSX_MAPS_ALL; k++) {
		if (x->maps[k].addr != NULL && x->maps[k].file == file && !unmap(x, &x->maps[k]))
			return false;
	}
	return true;
}

/* A part at one of the ends. */
static bool do_trim(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);
	int64_t n;

	if (m == NULL || m->pages < 2)
		return true;
	n = 1 + below(x, m->pages - 1);
	if (x->calls->munmap(m->addr + (m->pages - n) * x->page_bytes, (size_t)(n * x->page_bytes)) != 0)
		return call_failed(x, m->file, m->first, "munmap of an end");
	x->calls_made++;
	note(x, m->file, m->first, m->first + m->pages - 1, "munmap of the last %" PRId64 " pages of mapping %d", n,
	     (int)(m - x->maps));
	forget_pages(x, m, m->pages - n, m->pages);
	m->pages -= n;
	return true;
}

static bool do_mprotect(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);
	int prot = pick_prot(x);
	int64_t from, n;

	if (m == NULL)
		return true;
	from = percent(x, 60) ? 0 : below(x, m->pages);
	n = from == 0 && percent(x, 80) ? m->pages : 1 + below(x, m->pages - from);
	if (x->calls->mprotect(m->addr + from * x->page_bytes, (size_t)(n * x->page_bytes), prot) != 0)
		return call_failed(x, m->file, m->first + from, "mprotect");
	x->calls_made++;
	note(x, m->file, m->first + from, m->first + from + n - 1, "mprotect %d of mapping %d", prot, (int)(m - x->maps));
	for (int64_t i = from; i < from + n; i++)
		m->prot[i] = prot;
	m->split |= n < m->pages;
	return true;
}

static bool do_mremap(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);
	int64_t pages, k = below(x, 100);
	bool moves = percent(x, 70), away = percent(x, 40);
	unsigned char *p, *to = NULL;
	int flags = moves ? MREMAP_MAYMOVE : 0;

	if (m == NULL)
		return true;
	pages = k < 40 ? m->pages : k < 70 ? m->pages + 1 + below(x, 8) : 1 + below(x, m->pages);
	pages = m->first + pages > MODEL_PAGES ? MODEL_PAGES - m->first : pages;
	if (m->locked && pages > m->pages)
		pages = m->pages;
	if (moves && away) {
		to = far_kernel_mmap((size_t)(pages * x->page_bytes));
		if (to == MAP_FAILED)
			return call_failed(x, m->file, m->first, "a place to move to");
		flags |= MREMAP_FIXED;
	}
	p = x->calls->mremap(m->addr, (size_t)(m->pages * x->page_bytes), (size_t)(pages * x->page_bytes), flags, (void *)to);
	x->calls_made++;
	note(x, m->file, m->first, m->first + MODEL_PAGES,
	     "mremap of mapping %d from %" PRId64 " to %" PRId64 " pages, flags %d: %s", (int)(m - x->maps), m->pages, pages, flags,
	     p == MAP_FAILED ? strerror(errno)
	     : p == m->addr  ? "in place"
			     : "moved");
	if (p == MAP_FAILED) {
		int error = errno;

		if (to != NULL)
			far_kernel_munmap(to, (size_t)(pages * x->page_bytes));
		errno = error;
		return (error == EFAULT && m->split) || (error == ENOMEM && !moves) || call_failed(x, m->file, m->first, "mremap");
	}
	m->addr = p;
	if (pages < m->pages) {
		forget_pages(x, m, pages, m->pages);
		m->pages = pages;
	} else {
		make_room(m, m->pages, pages, m->prot[m->pages - 1]);
	}
	for (int64_t i = 0; m->locked && i < m->pages; i++)
		note_as_locked(x, m, i);
	return true;
}

/* ---- calls about pages ---- */

static void pick_part(struct fsx *x, const struct fsx_map *m, int64_t *ret_from, int64_t *ret_n)
{
	*ret_from = percent(x, 40) ? 0 : pick_page(x, m->pages, m->pages);
	*ret_n = percent(x, 40) ? m->pages - *ret_from : 1 + below(x, m->pages - *ret_from);
}

static bool do_msync(struct fsx *x)
{
	static const int all[] = {MS_SYNC, MS_ASYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE, MS_ASYNC | MS_INVALIDATE};
	struct fsx_map *m = pick_map(x);
	struct model_file *f;
	int64_t from, n;
	int flags = all[below(x, 5)], rc;

	if (m == NULL)
		return true;
	f = &x->files[m->file];
	pick_part(x, m, &from, &n);
	rc = x->calls->msync(m->addr + from * x->page_bytes, (size_t)(n * x->page_bytes), flags);
	x->calls_made++;
	note(x, m->file, m->first + from, m->first + from + n - 1, "msync %d by mapping %d: %s", flags, (int)(m - x->maps),
	     rc == 0 ? "done" : strerror(errno));
	if (m->locked && (flags & MS_INVALIDATE))
		return (rc != 0 && errno == EBUSY) ||
		       fail(x, m->file, m->first + from, "MS_INVALIDATE of a locked mapping: %d", rc);
	if (rc != 0)
		return call_failed(x, m->file, m->first + from, "msync");
	for (int64_t i = m->first + from; m->shared && i < m->first + from + n; i++) {
		if (flags & MS_SYNC)
			model_sync(f, i);
		if (flags & MS_INVALIDATE)
			model_invalidate(f, i);
	}
	return true;
}

static bool do_madvise(struct fsx *x)
{
	static const int all[] = {MADV_NORMAL,   MADV_RANDOM,        MADV_SEQUENTIAL,    MADV_WILLNEED, MADV_WILLNEED,
				  MADV_DONTNEED, MADV_DONTNEED,      MADV_PAGEOUT,       MADV_PAGEOUT,  MADV_COLD,
				  MADV_REMOVE,   MADV_POPULATE_READ, MADV_POPULATE_WRITE};
	struct fsx_map *m = pick_map(x);
	int advice = all[below(x, sizeof(all) / sizeof(*all))], rc;
	int64_t from, n;

	if (m == NULL)
		return true;
	pick_part(x, m, &from, &n);
	/* What populating does to a private page of a file is left open (difference 15); a hole is for what may be written. */
	if ((advice == MADV_POPULATE_WRITE && !m->shared) || (advice == MADV_REMOVE && (!m->shared || n > 4)))
		return true;
	if (advice == MADV_REMOVE && !settle_sizes(x, m->file))
		return false;
	m->split |= n < m->pages;
	rc = x->calls->madvise(m->addr + from * x->page_bytes, (size_t)(n * x->page_bytes), advice);
	x->calls_made++;
	note(x, m->file, m->first + from, m->first + from + n - 1, "madvise %d by mapping %d: %s", advice, (int)(m - x->maps),
	     rc == 0 ? "done" : strerror(errno));
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) {
		/* Up to a page that cannot be had. */
		for (int64_t i = from; i < from + n && advice == MADV_POPULATE_WRITE; i++)
			model_may_be_dirty(&x->files[m->file], m->first + i);
		return rc == 0 || errno == EFAULT || errno == EINVAL || errno == ENOMEM ||
		       call_failed(x, m->file, m->first, "MADV_POPULATE");
	}
	if (rc != 0 && m->locked && errno == EINVAL && advice != MADV_WILLNEED && advice != MADV_NORMAL && advice != MADV_RANDOM &&
	    advice != MADV_SEQUENTIAL)
		return true;
	if (rc != 0 && advice == MADV_REMOVE && errno == EOPNOTSUPP)
		return true;
	if (rc != 0)
		return call_failed(x, m->file, m->first + from, "madvise");
	for (int64_t i = from; i < from + n; i++) {
		if (advice == MADV_REMOVE)
			model_remove(&x->files[m->file], m->first + i);
		if (advice == MADV_DONTNEED && !m->shared) {
			free(m->copies[i]);
			m->copies[i] = NULL;
		}
	}
	return true;
}

/* What a read ahead that is under way brings is older than the write, and not to be seen any more after MS_INVALIDATE. */
static bool do_overtake(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);
	int64_t page, at = below(x, x->page_bytes - 8);
	struct model_file *f;
	unsigned char *addr;

	if (m == NULL || !m->shared || m->locked)
		return true;
	f = &x->files[m->file];
	page = m->first + below(x, m->pages);
	addr = m->addr + (page - m->first) * x->page_bytes;
	if (!settle_sizes(x, m->file) || (page + 1) * x->page_bytes > f->bytes)
		return x->failure[0] == '\0';
	make_bytes(x, x->buffer, 8);
	if (x->calls->msync(addr, (size_t)x->page_bytes, MS_SYNC | MS_INVALIDATE) != 0 ||
	    x->calls->madvise(addr, (size_t)x->page_bytes, MADV_WILLNEED) != 0)
		return call_failed(x, m->file, page, "MS_INVALIDATE and MADV_WILLNEED");
	model_sync(f, page);
	model_invalidate(f, page);
	if (pwrite(x->fds[m->file][FD_PLAIN], x->buffer, 8, page * x->page_bytes + at) != 8)
		return call_failed(x, m->file, page, "pwrite");
	model_write(f, page, at, 8, x->buffer);
	if (x->calls->msync(addr, (size_t)x->page_bytes, MS_INVALIDATE) != 0)
		return call_failed(x, m->file, page, "MS_INVALIDATE");
	model_invalidate(f, page);
	m->split |= m->pages > 1;
	note(x, m->file, page, page, "willneed, write of bytes %" PRId64 "+8, invalidate by mapping %d: %02x %02x", at,
	     (int)(m - x->maps), x->buffer[0], x->buffer[1]);
	return load(x, (struct access){.map = m, .page = page - m->first, .n = x->page_bytes});
}

/* Of shared mappings, as a whole; what cannot be had of it is locked when it is touched. */
static bool do_mlock(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);
	bool within = true;
	int rc;

	if (m == NULL || !m->shared || m->locked || locked_pages(x) + m->pages > LOCKED_PAGES_MAX || !settle_sizes(x, m->file))
		return m == NULL || x->failure[0] == '\0';
	for (int64_t i = 0; i < m->pages; i++)
		within &= !model_may_bus(&x->files[m->file], m->first + i) && accessible(m->prot[i]);
	if (!within)
		return true;
	rc = x->calls->mlock(m->addr, (size_t)(m->pages * x->page_bytes));
	x->calls_made++;
	note(x, m->file, m->first, m->first + m->pages - 1, "mlock of mapping %d: %s", (int)(m - x->maps),
	     rc == 0 ? "done" : strerror(errno));
	if (rc != 0)
		return call_failed(x, m->file, m->first, "mlock");
	lock_pages(x, m, true);
	for (int64_t i = 0; i < m->pages; i++) {
		x->files[m->file].pages[m->first + i].there = true;
		note_as_locked(x, m, i);
	}
	return true;
}

static bool do_munlock(struct fsx *x)
{
	struct fsx_map *m = pick_map(x);

	if (m == NULL || !m->locked)
		return true;
	if (x->calls->munlock(m->addr, (size_t)(m->pages * x->page_bytes)) != 0)
		return call_failed(x, m->file, m->first, "munlock");
	x->calls_made++;
	note(x, m->file, m->first, m->first + m->pages - 1, "munlock of mapping %d", (int)(m - x->maps));
	lock_pages(x, m, false);
	return true;
}

/* ---- processes ---- */

/* Of the process that is meant. The child has what its parent has, but for locks. */
static void repeat_maps(struct fsx *x, int parent, int child)
{
	for (int k = 0; k < FSX_MAPS; k++) {
		const struct fsx_map *m = &x->maps[parent * FSX_MAPS + k];
		struct fsx_map *c = &x->maps[child * FSX_MAPS + k];

		if (m->addr == NULL)
			continue;
		*c = (struct fsx_map){.addr = m->addr, .file = m->file, .first = m->first, .shared = m->shared, .split = m->split};
		make_room(c, 0, m->pages, PROT_NONE);
		for (int64_t i = 0; i < m->pages; i++) {
			c->prot[i] = m->prot[i];
			if (m->copies[i] == NULL)
				continue;
			c->copies[i] = malloc((size_t)x->page_bytes);
			if (c->copies[i] == NULL)
				abort();
			memcpy(c->copies[i], m->copies[i], (size_t)x->page_bytes);
		}
		x->files[c->file].mappings++;
	}
}

static bool do_fork(struct fsx *x)
{
	int parent = pick_process(x), child = 1;

	while (child < FAR_PROCESSES && far_lives(child))
		child++;
	if (child == FAR_PROCESSES)
		return true;
	far_in(parent);
	if (!far_fork(child))
		return call_failed(x, 0, 0, "fork");
	note(x, -1, 0, MODEL_PAGES, "fork of process %d by process %d", child, parent);
	repeat_maps(x, parent, child);
	return true;
}

static bool end_process(struct fsx *x, int process)
{
	int how = (int)below(x, EXIT_WAYS);

	far_exit(process, (enum exit_way)how);
	note(x, -1, 0, MODEL_PAGES, "process %d has ended in way %d", process, how);
	for (int k = process * FSX_MAPS; k < (process + 1) * FSX_MAPS; k++) {
		if (x->maps[k].addr != NULL)
			forget_map(x, &x->maps[k]);
	}
	return true;
}

static bool do_exit(struct fsx *x)
{
	int process = pick_process(x);

	return process == 0 || end_process(x, process);
}

static const struct {
	int weight;
	bool (*run)(struct fsx *x);
} kinds[] = {
    {300, do_load},     {260, do_store},  {8, do_scan},      {160, do_read},
    {70, do_write},     {12, do_zero},    {6, do_truncate},  {6, do_truncate_behind},
    {6, do_settle},     {10, do_stat},    {30, do_mmap},     {14, do_munmap},
    {2, do_munmap_all}, {4, do_trim},     {12, do_mprotect}, {16, do_mremap},
    {30, do_msync},     {36, do_madvise}, {8, do_mlock},     {7, do_munlock},
    {8, do_overtake},   {14, do_fork},    {10, do_exit},
};

/* The last two. */
enum { KINDS_OF_FORKS = 2 };

static bool run_one(struct fsx *x)
{
	int64_t sum = 0, n;
	size_t i = 0, count = sizeof(kinds) / sizeof(*kinds) - (x->forks ? 0 : KINDS_OF_FORKS);

	for (size_t k = 0; k < count; k++)
		sum += kinds[k].weight;
	n = below(x, sum);
	while ((n -= kinds[i].weight) >= 0)
		i++;
	x->operations++;
	return kinds[i].run(x);
}

/* ---- programs ---- */

static void fill(void *arg, int64_t page, unsigned char *bytes)
{
	struct fsx *x = arg;

	for (int64_t i = 0; i < x->page_bytes; i++)
		bytes[i] = (unsigned char)(0x80 | (page * 13 + i / 8 * 3 + i % 8));
}

static bool make_files(struct fsx *x)
{
	for (int file = 0; file < FSX_FILES; file++) {
		struct model_file *f = &x->files[file];
		int64_t bytes = pick_size(x);

		model_file_reset(f, bytes, fill, x);
		if (ftruncate(x->fds[file][FD_PLAIN], 0) != 0)
			return call_failed(x, file, 0, "emptying a file");
		for (int64_t page = 0; page < model_file_pages(f); page++) {
			int64_t n = bytes - page * x->page_bytes;

			fill(x, page, x->buffer);
			n = n < x->page_bytes ? n : x->page_bytes;
			if (pwrite(x->fds[file][FD_PLAIN], x->buffer, (size_t)n, page * x->page_bytes) != n)
				return call_failed(x, file, page, "filling a file");
		}
	}
	return true;
}

/* Everything, once more: by a mapping, and when nothing is mapped. */
static bool check_end(struct fsx *x)
{
	char message[256];

	for (int k = 0; k < FSX_MAPS_ALL; k++) {
		struct fsx_map *m = &x->maps[k];

		for (int64_t i = 0; m->addr != NULL && i < m->pages; i++) {
			if (!load(x, (struct access){.map = m, .page = i, .n = x->page_bytes}))
				return false;
		}
	}
	/* Some end with all that they have mapped. */
	for (int process = 1; process < FAR_PROCESSES; process++) {
		if (far_lives(process) && percent(x, 50) && !end_process(x, process))
			return false;
	}
	for (int k = 0; k < FSX_MAPS_ALL; k++) {
		if (x->maps[k].addr != NULL && !unmap(x, &x->maps[k]))
			return false;
	}
	for (int process = 1; process < FAR_PROCESSES; process++) {
		if (far_lives(process) && !end_process(x, process))
			return false;
	}
	for (int file = 0; file < FSX_FILES; file++) {
		struct model_file *f = &x->files[file];

		for (int64_t page = 0, at; page < model_file_pages(f); page++) {
			int64_t n = f->bytes - page * x->page_bytes;

			n = n < x->page_bytes ? n : x->page_bytes;
			if (pread(x->fds[file][FD_OTHER], x->buffer, (size_t)n, page * x->page_bytes) != n)
				return call_failed(x, file, page, "pread at the end");
			if (!model_read(f, page, 0, n, x->buffer, &at))
				return fail(x, file, page, "the file at the end: byte %" PRId64 " is %#x, which nothing allows", at,
					    x->buffer[at]);
		}
	}
	return x->calls->check == NULL || x->calls->check(message, sizeof(message)) || fail(x, 0, 0, "%s", message);
}

bool fsx_run(struct fsx *x, int64_t number, int64_t operations)
{
	bool right;

	x->number = number;
	x->rng = rng_stream(x->seed, (uint64_t)number);
	x->noted = 0;
	x->failure[0] = '\0';
	right = make_files(x);
	for (x->at = 0; right && x->at < operations; x->at++)
		right = run_one(x);
	return right && check_end(x);
}

/* ---- opening ---- */

static int open_again(int fd, int mode)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, mode | O_CLOEXEC);
}

bool fsx_open(struct fsx *x)
{
	x->page_bytes = page_bytes();
	x->buffer = aligned_alloc((size_t)x->page_bytes, (BUFFER_PAGES + 1) * (size_t)x->page_bytes);
	x->before = aligned_alloc((size_t)x->page_bytes, (BUFFER_PAGES + 1) * (size_t)x->page_bytes);
	if (x->buffer == NULL || x->before == NULL)
		return false;
	for (int file = 0; file < FSX_FILES; file++) {
		int *fds = x->fds[file];

		fds[FD_PLAIN] = open_unlinked(x->directory);
		if (fds[FD_PLAIN] < 0)
			return false;
		fds[FD_OTHER] = open_again(fds[FD_PLAIN], O_RDWR);
		fds[FD_READ] = open_again(fds[FD_PLAIN], O_RDONLY);
		fds[FD_DIRECT] = open_again(fds[FD_PLAIN], O_RDWR | O_DIRECT);
		if (fds[FD_DIRECT] < 0)
			fds[FD_DIRECT] = open_again(fds[FD_PLAIN], O_RDWR);
		if (fds[FD_OTHER] < 0 || fds[FD_READ] < 0 || fds[FD_DIRECT] < 0) {
			fprintf(stderr, "fsx: cannot open a file anew: %s\n", strerror(errno));
			return false;
		}
		model_file_init(&x->files[file], x->page_bytes, x->coherent);
	}
	return true;
}

void fsx_close(struct fsx *x)
{
	for (int file = 0; file < FSX_FILES; file++) {
		for (int i = 0; i < FSX_FDS; i++)
			close(x->fds[file][i]);
		model_file_free(&x->files[file]);
	}
	free(x->buffer);
	free(x->before);
}
