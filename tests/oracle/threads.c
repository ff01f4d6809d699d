/* SPDX-License-Identifier: MIT */
/*
 * threads.c - stress: threads load and store in one shared mapping, larger than the budget, while others disturb it
 *
 * Every 8-byte cell of the file belongs to one thread, and each page has cells of all of them. A thread knows what it last stored
 * in each of its cells, and verifies that whenever it comes by. It also has anonymous memory of its own, with the same rules.
 * Disturbers drop, write back, lock and map the same memory, and protect and move memory of their own; beside them there is a range
 * that is mapped over and moved while it is used (contest.c), and, if that is asked for, threads that fork (forks.c). At the end every byte
 * of the mapping, and then of the file, must be what was last stored there. No byte may be lost or invented.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "contest.h"
#include "forks.h"
#include "rng.h"
#include "subjects.h"

enum { DISTURBER_PAGES = 24, VIEW_PAGES = 16 };

/* A row of cells in memory and what they must hold. */
struct cells {
	unsigned char *memory;
	size_t pages, bytes;      /* bytes: where the last cell ends */
	size_t owner, owners;     /* the cells that are ours */
	size_t per_page;          /* ours in a page, at most */
	uint64_t salt, *expected; /* pages * per_page */
};

struct stress {
	struct calls calls;
	unsigned char *memory; /* the shared mapping */
	size_t pages, file_bytes, memory_bytes;
	int fd;
	size_t threads;
	uint64_t seed;
	int seconds;
	bool forks;
	uint64_t forked;
	atomic_bool stop, failed;
	atomic_ullong loads, stores, disturbances;
};

struct worker {
	struct stress *stress;
	size_t number;
	pthread_t thread;
	struct cells file, anonymous;
};

static size_t page_size(void)
{
	return (size_t)page_bytes();
}

__attribute__((format(printf, 2, 3))) static void fail(struct stress *s, const char *format, ...)
{
	va_list args;

	if (atomic_exchange(&s->failed, true))
		return;
	va_start(args, format);
	fputs("threads: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	atomic_store(&s->stop, true);
}

/* ---- cells ---- */

/* What cell n holds before anybody stores there. */
static uint64_t first_value(uint64_t salt, size_t n)
{
	struct rng r = {salt + n};

	return rng_next(&r);
}

/* The j-th cell of ours in a page, as its number in the page. It goes round from page to page. */
static size_t slot_of(const struct cells *c, size_t page, size_t j)
{
	return (c->owner + c->owners - page % c->owners) % c->owners + j * c->owners;
}

static bool slot_exists(const struct cells *c, size_t page, size_t slot)
{
	return slot < page_size() / 8 && page * page_size() + slot * 8 + 8 <= c->bytes;
}

static void cells_init(struct cells *c, unsigned char *memory, size_t pages, size_t bytes, size_t owner, size_t owners,
		       uint64_t salt)
{
	size_t in_page = page_size() / 8;

	*c = (struct cells){memory, pages, bytes, owner, owners, (in_page + owners - 1) / owners, salt, NULL};
	c->expected = calloc(pages * c->per_page, sizeof(uint64_t));
	if (c->expected == NULL)
		abort();
	for (size_t page = 0; page < pages; page++) {
		for (size_t j = 0; j < c->per_page; j++)
			c->expected[page * c->per_page + j] =
			    salt == 0 ? 0 : first_value(salt, page * in_page + slot_of(c, page, j));
	}
}

static uint64_t *cell_at(const struct cells *c, size_t page, size_t slot)
{
	return (uint64_t *)(void *)(c->memory + page * page_size() + slot * 8);
}

static bool cell_verify(struct stress *s, const struct cells *c, size_t page, size_t j, const char *what)
{
	size_t slot = slot_of(c, page, j);
	uint64_t found, again, right = c->expected[page * c->per_page + j];

	if (!slot_exists(c, page, slot))
		return true;
	found = __atomic_load_n(cell_at(c, page, slot), __ATOMIC_RELAXED);
	if (found == right)
		return true;
	again = __atomic_load_n(cell_at(c, page, slot), __ATOMIC_RELAXED);
	fail(s, "%s: page %zu cell %zu of thread %zu: %#" PRIx64 " was stored, %#" PRIx64 " is there (then %#" PRIx64 ")", what,
	     page, slot, c->owner, right, found, again);
	return false;
}

static void cell_store(struct cells *c, size_t page, size_t j, uint64_t value)
{
	size_t slot = slot_of(c, page, j);

	if (!slot_exists(c, page, slot))
		return;
	__atomic_store_n(cell_at(c, page, slot), value, __ATOMIC_RELAXED);
	c->expected[page * c->per_page + j] = value;
}

static bool cells_verify(struct stress *s, const struct cells *c, const char *what)
{
	for (size_t page = 0; page < c->pages; page++) {
		for (size_t j = 0; j < c->per_page; j++) {
			if (!cell_verify(s, c, page, j, what))
				return false;
		}
	}
	return true;
}

/* ---- threads that load and store ---- */

static void work_once(struct worker *w, struct cells *c, struct rng *r, const char *what)
{
	size_t page = (size_t)rng_below(r, (int64_t)c->pages), run = rng_percent(r, 10) ? 8 : 1;

	for (size_t p = page; p < page + run && p < c->pages; p++) {
		size_t j = (size_t)rng_below(r, (int64_t)c->per_page);

		if (!cell_verify(w->stress, c, p, j, what))
			return;
		atomic_fetch_add_explicit(&w->stress->loads, 1, memory_order_relaxed);
		if (rng_percent(r, 50)) {
			cell_store(c, p, j, rng_next(r));
			atomic_fetch_add_explicit(&w->stress->stores, 1, memory_order_relaxed);
		}
	}
}

static void *work(void *argument)
{
	struct worker *w = argument;
	struct rng r = rng_stream(w->stress->seed, w->number);

	while (!atomic_load_explicit(&w->stress->stop, memory_order_relaxed)) {
		if (rng_percent(&r, 25))
			work_once(w, &w->anonymous, &r, "anonymous memory");
		else
			work_once(w, &w->file, &r, "shared mapping");
	}
	return NULL;
}

/* ---- threads that disturb ---- */

struct disturber {
	struct stress *stress;
	size_t number;
	pthread_t thread;
	unsigned char *own; /* DISTURBER_PAGES pages that it protects and moves */
	bool read_only;
	unsigned char byte; /* what the first byte holds; see own_byte() */
};

/* What byte at of the disturber's own memory holds: different in neighbours and in pages. */
static unsigned char own_byte(const struct disturber *d, size_t at)
{
	return (unsigned char)(d->byte + at + 7 * (at / page_size()));
}

static bool own_is_right(struct disturber *d, const char *what)
{
	for (size_t at = 0; at < DISTURBER_PAGES * page_size(); at++) {
		unsigned char found = ((volatile unsigned char *)d->own)[at];

		if (found != own_byte(d, at)) {
			fail(d->stress, "%s: byte %zu of page %zu of the disturber is %#x instead of %#x", what, at % page_size(),
			     at / page_size(), found, own_byte(d, at));
			return false;
		}
	}
	return true;
}

static void own_store(struct disturber *d, unsigned char byte)
{
	d->byte = byte;
	for (size_t at = 0; at < DISTURBER_PAGES * page_size(); at++)
		((volatile unsigned char *)d->own)[at] = own_byte(d, at);
}

static bool must(struct disturber *d, bool right, const char *call)
{
	if (!right)
		fail(d->stress, "%s: %s %s", call, strerror(errno), d->stress->calls.errormsg());
	return right;
}

/* A random range of the shared mapping. */
static unsigned char *pick(struct disturber *d, struct rng *r, size_t most, size_t *ret_len)
{
	size_t page = (size_t)rng_below(r, (int64_t)d->stress->pages), left = d->stress->pages - page;
	size_t pages = 1 + (size_t)rng_below(r, (int64_t)(most < left ? most : left));

	*ret_len = pages * page_size();
	return d->stress->memory + page * page_size();
}

static void disturb_advice(struct disturber *d, struct rng *r)
{
	static const int advice[] = {MADV_DONTNEED, MADV_DONTNEED, MADV_PAGEOUT, MADV_COLD,
				     MADV_WILLNEED, MADV_RANDOM,   MADV_NORMAL,  MADV_SEQUENTIAL};
	int which = advice[rng_below(r, 8)];
	size_t len;
	unsigned char *at = pick(d, r, 64, &len);

	/* A range that another disturber holds locked is refused, and rightly. */
	if (d->stress->calls.madvise(at, len, which) != 0)
		must(d, errno == EINVAL, "madvise");
}

static void disturb_msync(struct disturber *d, struct rng *r)
{
	static const int flags[] = {MS_ASYNC, MS_SYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE, MS_ASYNC};
	size_t len;
	unsigned char *at = pick(d, r, 64, &len);

	if (d->stress->calls.msync(at, len, flags[rng_below(r, 5)]) != 0)
		must(d, errno == EBUSY, "msync");
}

static void disturb_lock(struct disturber *d, struct rng *r)
{
	size_t len;
	unsigned char *at = pick(d, r, 4, &len);

	if (must(d, d->stress->calls.mlock(at, len) == 0, "mlock"))
		must(d, d->stress->calls.munlock(at, len) == 0, "munlock");
}

static void disturb_protection(struct disturber *d, struct rng *r)
{
	d->read_only = !d->read_only;
	if (!must(d,
		  d->stress->calls.mprotect(d->own, DISTURBER_PAGES * page_size(),
					    d->read_only ? PROT_READ : PROT_READ | PROT_WRITE) == 0,
		  "mprotect"))
		return;
	if (own_is_right(d, "after mprotect") && !d->read_only)
		own_store(d, (unsigned char)rng_next(r));
}

/* Grows in place or by moving, and shrinks again; or moves over another mapping. */
static void disturb_move(struct disturber *d, struct rng *r)
{
	const struct calls *c = &d->stress->calls;
	size_t len = DISTURBER_PAGES * page_size();
	unsigned char *to;

	if (rng_percent(r, 50)) {
		to = c->mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!must(d, to != MAP_FAILED, "mmap of a place to move to"))
			return;
		to[page_size()] = 0xee;
		if (!must(d, c->mremap(d->own, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to, "mremap to a place"))
			return;
	} else {
		to = c->mremap(d->own, len, len + page_size(), MREMAP_MAYMOVE);
		if (!must(d, to != MAP_FAILED, "mremap") || !must(d, c->mremap(to, len + page_size(), len, 0) == to, "mremap back"))
			return;
	}
	d->own = to;
	own_is_right(d, "after mremap");
}

/* A second mapping of the same file, for a moment: each cell there is one that some thread stored. */
static void disturb_view(struct disturber *d, struct rng *r)
{
	struct stress *s = d->stress;
	size_t page = (size_t)rng_below(r, (int64_t)(s->pages - VIEW_PAGES)), len = VIEW_PAGES * page_size();
	bool private = rng_percent(r, 30);
	unsigned char *p = s->calls.mmap(NULL, len, PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, s->fd,
					 (off_t)(page * page_size()));

	if (!must(d, p != MAP_FAILED, "mmap of a view"))
		return;
	for (size_t i = 0; i < VIEW_PAGES; i++) {
		volatile unsigned char *byte = p + i * page_size() + (size_t)rng_below(r, (int64_t)page_size());

		if (private)
			*byte = 0xee; /* must reach nobody */
		else
			(void)*byte;
	}
	must(d, s->calls.munmap(p, len) == 0, "munmap of a view");
}

static void *disturb(void *argument)
{
	struct disturber *d = argument;
	struct rng r = rng_stream(d->stress->seed, 1000000 + d->number);

	while (!atomic_load_explicit(&d->stress->stop, memory_order_relaxed)) {
		int64_t n = rng_below(&r, 100);

		if (n < 45)
			disturb_advice(d, &r);
		else if (n < 60)
			disturb_msync(d, &r);
		else if (n < 70)
			disturb_lock(d, &r);
		else if (n < 80)
			disturb_protection(d, &r);
		else if (n < 90)
			disturb_move(d, &r);
		else
			disturb_view(d, &r);
		atomic_fetch_add_explicit(&d->stress->disturbances, 1, memory_order_relaxed);
	}
	return NULL;
}

/* ---- set-up and the end ---- */

static bool make_file(struct stress *s, const char *directory, uint64_t salt)
{
	size_t cells = s->file_bytes / 8;
	uint64_t *bytes = malloc(s->file_bytes);
	bool written;

	s->fd = open_unlinked(directory);
	if (bytes == NULL || s->fd < 0)
		return false;
	for (size_t i = 0; i < cells; i++)
		bytes[i] = first_value(salt, i);
	written = pwrite(s->fd, bytes, s->file_bytes, 0) == (ssize_t)s->file_bytes;
	free(bytes);
	return written;
}

static bool make_mappings(struct stress *s, struct worker *workers, struct disturber *disturbers, size_t disturber_count,
			  uint64_t salt)
{
	size_t anonymous_pages = s->pages / 2 / s->threads + 1;

	s->memory = s->calls.mmap(NULL, s->pages * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (s->memory == MAP_FAILED)
		return false;
	for (size_t i = 0; i < s->threads; i++) {
		unsigned char *p =
		    s->calls.mmap(NULL, anonymous_pages * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return false;
		workers[i].stress = s;
		workers[i].number = i;
		cells_init(&workers[i].file, s->memory, s->pages, s->file_bytes, i, s->threads, salt);
		cells_init(&workers[i].anonymous, p, anonymous_pages, anonymous_pages * page_size(), 0, 1, 0);
	}
	for (size_t i = 0; i < disturber_count; i++) {
		disturbers[i] = (struct disturber){.stress = s, .number = i};
		disturbers[i].own =
		    s->calls.mmap(NULL, DISTURBER_PAGES * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (disturbers[i].own == MAP_FAILED)
			return false;
		own_store(&disturbers[i], 1);
	}
	return true;
}

static void verify_file(struct stress *s, struct worker *workers)
{
	unsigned char *bytes = malloc(s->pages * page_size());
	char message[256];
	ssize_t got;

	if (s->calls.munmap(s->memory, s->pages * page_size()) != 0) {
		fail(s, "munmap: %s %s", strerror(errno), s->calls.errormsg());
		return;
	}
	got = pread(s->fd, bytes, s->pages * page_size(), 0);
	if (got != (ssize_t)s->file_bytes)
		fail(s, "the file has %zd bytes instead of %zu", got, s->file_bytes);
	for (size_t i = 0; i < s->threads && !atomic_load(&s->failed); i++) {
		workers[i].file.memory = bytes;
		cells_verify(s, &workers[i].file, "the file at the end");
	}
	if (s->calls.check != NULL && !s->calls.check(message, sizeof(message)))
		fail(s, "%s", message);
	free(bytes);
}

static void verify_memory(struct stress *s, struct worker *workers, struct disturber *disturbers, size_t disturber_count)
{
	for (size_t i = 0; i < s->threads && !atomic_load(&s->failed); i++) {
		cells_verify(s, &workers[i].file, "the mapping at the end");
		cells_verify(s, &workers[i].anonymous, "anonymous memory at the end");
	}
	for (size_t i = 0; i < disturber_count && !atomic_load(&s->failed); i++)
		own_is_right(&disturbers[i], "at the end");
	for (size_t i = 0; i < s->threads; i++)
		s->calls.munmap(workers[i].anonymous.memory, workers[i].anonymous.pages * page_size());
	for (size_t i = 0; i < disturber_count; i++)
		s->calls.munmap(disturbers[i].own, DISTURBER_PAGES * page_size());
}

static int stress_run(struct stress *s, const char *directory)
{
	size_t disturber_count = 2;
	struct worker *workers = calloc(s->threads, sizeof(*workers));
	struct disturber disturbers[2];
	uint64_t salt = s->seed * 1000003 + 17;
	struct timespec rest = {0, 20000000}, start, now;
	struct contest *contest;
	struct forks *forks = NULL;
	char message[256];

	if (workers == NULL || !make_file(s, directory, salt) || !make_mappings(s, workers, disturbers, disturber_count, salt)) {
		fprintf(stderr, "threads: cannot start: %s %s\n", strerror(errno), s->calls.errormsg());
		return 2;
	}
	contest = contest_start(&s->calls, directory, s->seed);
	if (contest == NULL)
		return 2;
	if (s->forks && (forks = forks_start(&s->calls, directory, s->seed)) == NULL)
		return 2;
	for (size_t i = 0; i < s->threads; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	for (size_t i = 0; i < disturber_count; i++)
		pthread_create(&disturbers[i].thread, NULL, disturb, &disturbers[i]);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		nanosleep(&rest, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (contest_failed(contest, message, sizeof(message)))
			fail(s, "%s", message);
		if (forks != NULL && forks_failed(forks, message, sizeof(message)))
			fail(s, "%s", message);
	} while (now.tv_sec - start.tv_sec < s->seconds && !atomic_load(&s->stop));
	atomic_store(&s->stop, true);
	for (size_t i = 0; i < s->threads; i++)
		pthread_join(workers[i].thread, NULL);
	for (size_t i = 0; i < disturber_count; i++)
		pthread_join(disturbers[i].thread, NULL);
	if (forks != NULL && !forks_end(forks, &s->forked, message, sizeof(message)))
		fail(s, "%s", message);
	if (!contest_end(contest, message, sizeof(message)))
		fail(s, "%s", message);
	verify_memory(s, workers, disturbers, disturber_count);
	verify_file(s, workers);
	for (size_t i = 0; i < s->threads; i++) {
		free(workers[i].file.expected);
		free(workers[i].anonymous.expected);
	}
	free(workers);
	close(s->fd);
	return atomic_load(&s->failed) ? 1 : 0;
}

/* ---- options ---- */

static void crashed(int sig)
{
	static const char crash[] = "threads: crash\n", hang[] = "threads: hang\n";

	if (write(STDERR_FILENO, sig == SIGALRM ? hang : crash, sig == SIGALRM ? sizeof(hang) - 1 : sizeof(crash) - 1) < 0)
		_exit(1);
	signal(SIGABRT, SIG_DFL);
	abort();
}

static void usage(FILE *out)
{
	fputs("usage: threads [options]\n"
	      "Threads load and store in a shared mapping larger than the budget, while others disturb it.\n"
	      "  --seconds T      how long (5)\n"
	      "  --threads N      how many (4)\n"
	      "  --forks          some of them fork\n"
	      "  --seed S         (1)\n"
	      "  --memory BYTES   the budget (1048576); the file is four times as long\n"
	      "  --trap NAME      signal, thread or auto (QUIRE_TRAP, else auto)\n"
	      "  --dir DIRECTORY  for the file (TMPDIR, else /var/tmp)\n"
	      "  --self           on the kernel's mmap, to prove this program\n"
	      "  --break KIND     on the kernel's mmap with one fault:\n",
	      out);
	broken_list(out);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"seconds", required_argument, NULL, 't'},
	    {"threads", required_argument, NULL, 'n'},
	    {"seed", required_argument, NULL, 's'},
	    {"memory", required_argument, NULL, 'm'},
	    {"trap", required_argument, NULL, 'p'},
	    {"dir", required_argument, NULL, 'd'},
	    {"self", no_argument, NULL, 'k'},
	    {"break", required_argument, NULL, 'b'},
	    {"forks", no_argument, NULL, 'f'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	static struct stress s = {.threads = 4, .seconds = 5, .seed = 1, .memory_bytes = 1 << 20};
	const char *trap = NULL, *directory = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
	const char *broken = NULL;
	bool self = false, help = false;
	int option, rc;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == 't')
			s.seconds = atoi(optarg);
		else if (option == 'n')
			s.threads = strtoul(optarg, NULL, 0);
		else if (option == 's')
			s.seed = strtoull(optarg, NULL, 0);
		else if (option == 'm')
			s.memory_bytes = strtoul(optarg, NULL, 0);
		else if (option == 'p')
			trap = optarg;
		else if (option == 'd')
			directory = optarg;
		else if (option == 'f')
			s.forks = true;
		else if (option == 'k')
			self = true;
		else if (option == 'b')
			broken = optarg;
		else if (option == 'h')
			help = true;
		else
			s.threads = 0;
	}
	if (help || s.threads == 0 || s.threads > page_size() / 8) {
		usage(help ? stdout : stderr);
		return help ? 0 : 2;
	}
	guard_install(crashed);
	signal(SIGALRM, crashed);
	s.calls = calls_kernel;
	if (broken != NULL)
		rc = broken_make(&s.calls, broken) ? 0 : 2;
	else
		rc = self ? 0 : quire_make(&s.calls, s.memory_bytes, trap);
	if (rc != 0)
		return rc;
	s.pages = 4 * s.memory_bytes / page_size() + 2 * VIEW_PAGES;
	s.file_bytes = s.pages * page_size() - 1000; /* the last page is not whole */
	alarm((unsigned)s.seconds + 60);
	rc = stress_run(&s, directory);
	printf("%s: %llu loads, %llu stores, %llu disturbances, %" PRIu64 " forks\n", s.calls.name, s.loads, s.stores,
	       s.disturbances, s.forked);
	printf("%d passed, %d failed\n", rc == 0, rc != 0);
	return rc;
}
