/* SPDX-License-Identifier: MIT */
/*
 * bench.c - what the benchmarks share: files, clocks, samples and the rows of the table
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- stopping ---- */

static void stop_message(const struct bench *b, const char *format, va_list args)
{
	vsnprintf(b->result->error, sizeof(b->result->error), format, args);
}

void bench_stop(const struct bench *b, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	stop_message(b, format, args);
	va_end(args);
	_exit(EXIT_FAILURE);
}

void bench_stop_refused(const struct bench *b, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	stop_message(b, format, args);
	va_end(args);
	_exit(BENCH_EXIT_SKIP);
}

void bench_expect(const struct bench *b, const char *side, uint64_t got, uint64_t expected)
{
	if (got != expected)
		bench_stop(b, "WRONG BYTES: %s read %016" PRIx64 " where %016" PRIx64 " is", side, got, expected);
}

/* ---- clocks and numbers ---- */

double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void *bench_alloc(const struct bench *b, size_t count, size_t size)
{
	void *p = calloc(count, size);

	if (!p)
		bench_stop(b, "no memory for %zu times %zu bytes", count, size);
	return p;
}

void *bench_buffer(const struct bench *b, size_t size)
{
	void *p;

	bool huge = size >= BENCH_HUGE;

	if (posix_memalign(&p, huge ? BENCH_HUGE : BENCH_PAGE, size) != 0)
		bench_stop(b, "no memory for a buffer of %zu bytes", size);
	/* Contiguous memory is what storage reads into fastest. */
	if (huge)
		(void)madvise(p, size, MADV_HUGEPAGE);
	memset(p, 0, size);
	return p;
}

uint32_t *bench_permutation(const struct bench *b, uint32_t count, uint64_t seed)
{
	uint32_t *v = bench_alloc(b, count, sizeof(*v));

	for (uint32_t i = 0; i < count; i++) {
		uint32_t j = (uint32_t)bench_random_below(&seed, (uint64_t)i + 1);

		v[i] = v[j];
		v[j] = i;
	}
	return v;
}

/* ---- rows ---- */

struct bench_row *bench_row(const struct bench *b, const char *what, const char *unit, bool rate)
{
	struct bench_row *row;

	if (b->result->count == BENCH_ROWS_MAX)
		bench_stop(b, "more than %d rows", BENCH_ROWS_MAX);
	row = &b->result->row[b->result->count++];
	snprintf(row->what, sizeof(row->what), "%s", what);
	snprintf(row->unit, sizeof(row->unit), "%s", unit);
	row->rate = rate;
	return row;
}

void bench_goal(struct bench_row *row, enum bench_goal goal, double value, bool against_limit)
{
	row->goal = goal;
	row->goal_value = value;
	row->against_limit = against_limit;
}

void bench_sample(struct bench_samples *samples, double value)
{
	if (samples->count < BENCH_RUNS_MAX)
		samples->value[samples->count++] = value;
}

struct bench_samples *bench_other(const struct bench *b, struct bench_row *row, const char *name)
{
	for (unsigned i = 0; i < BENCH_OTHERS_MAX; i++) {
		struct bench_other *other = &row->other[i];

		if (other->name[0] == '\0')
			snprintf(other->name, sizeof(other->name), "%s", name);
		if (strcmp(other->name, name) == 0)
			return &other->samples;
	}
	bench_stop(b, "%s: more than %d other sides", row->what, BENCH_OTHERS_MAX);
}

void bench_note(struct bench_row *row, const char *format, ...)
{
	size_t used = strlen(row->note);
	va_list args;

	if (used > 0 && used + 2 < sizeof(row->note)) {
		memcpy(row->note + used, "; ", 3);
		used += 2;
	}
	va_start(args, format);
	vsnprintf(row->note + used, sizeof(row->note) - used, format, args);
	va_end(args);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(const struct bench_samples *samples)
{
	double v[BENCH_RUNS_MAX];
	unsigned n = samples->count;

	if (n == 0)
		return 0;
	memcpy(v, samples->value, n * sizeof(*v));
	qsort(v, n, sizeof(*v), compare_doubles);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double bench_min(const struct bench_samples *samples)
{
	double least = samples->count ? samples->value[0] : 0;

	for (unsigned i = 1; i < samples->count; i++)
		if (samples->value[i] < least)
			least = samples->value[i];
	return least;
}

double bench_max(const struct bench_samples *samples)
{
	double most = samples->count ? samples->value[0] : 0;

	for (unsigned i = 1; i < samples->count; i++)
		if (samples->value[i] > most)
			most = samples->value[i];
	return most;
}

struct bench_samples bench_ratio(const struct bench_row *row)
{
	const struct bench_samples *other = row->against_limit ? &row->limit : &row->kernel;
	struct bench_samples ratio = {0};
	bool invert = row->goal == BENCH_AT_LEAST ? !row->rate : row->goal == BENCH_AT_MOST && row->rate;

	if (other->count == 0)
		return ratio;
	for (unsigned i = 0; i < row->quire.count; i++) {
		/* A figure that is the same in every run is given once. */
		double x = row->quire.value[i], y = other->value[other->count > i ? i : other->count - 1];

		if (invert ? x != 0 : y != 0)
			bench_sample(&ratio, invert ? y / x : x / y);
	}
	return ratio;
}

/* ---- files ---- */

uint64_t bench_word(uint64_t page, uint64_t word)
{
	uint64_t state = page * BENCH_WORDS + word;

	return bench_random(&state);
}

uint64_t bench_size(const struct bench *b, uint64_t usual, uint64_t quick)
{
	uint64_t size = b->size_bytes ? b->size_bytes : b->quick ? quick : usual;

	return size < MIB ? MIB : size / MIB * MIB;
}

static void fill_chunk(uint64_t *chunk, uint64_t offset)
{
	uint64_t first = offset / sizeof(uint64_t);

	for (uint64_t i = 0; i < BENCH_CHUNK / sizeof(uint64_t); i++) {
		uint64_t state = first + i;

		chunk[i] = bench_random(&state);
	}
}

/* Writes the contents from offset to size, in order, so that what there is of a file is right whenever this stops. */
static void write_contents(const struct bench *b, int fd, uint64_t offset, uint64_t size)
{
	uint64_t *chunk = bench_buffer(b, BENCH_CHUNK);
	int direct = bench_direct(b, fd, O_WRONLY);

	for (; offset < size; offset += BENCH_CHUNK) {
		fill_chunk(chunk, offset);
		for (size_t done = 0; done < BENCH_CHUNK;) {
			ssize_t n = pwrite(direct, (char *)chunk + done, BENCH_CHUNK - done, (off_t)(offset + done));

			if (n < 0 && errno != EINTR)
				bench_stop(b, "writing a file of %" PRIu64 " MiB in %s: %s", size / MIB, b->dir, strerror(errno));
			if (n > 0)
				done += (size_t)n;
		}
	}
	if (fsync(direct) != 0)
		bench_stop(b, "fsync in %s: %s", b->dir, strerror(errno));
	close(direct);
	free(chunk);
}

static int open_file(const struct bench *b, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", b->dir, name) >= sizeof(path))
		bench_stop(b, "%s: the name is too long", b->dir);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		bench_stop(b, "%s: %s", path, strerror(errno));
	return fd;
}

int bench_data(const struct bench *b, uint64_t size, int flags)
{
	int fd = open_file(b, "data.bin", O_RDWR | O_CREAT);
	struct stat st;

	if (fstat(fd, &st) != 0)
		bench_stop(b, "data.bin: %s", strerror(errno));
	if ((uint64_t)st.st_size < size) {
		fprintf(stderr, "making %s/data.bin, %" PRIu64 " MiB\n", b->dir, size / MIB);
		write_contents(b, fd, (uint64_t)st.st_size / BENCH_CHUNK * BENCH_CHUNK, size);
	}
	close(fd);
	return open_file(b, "data.bin", flags);
}

int bench_scratch(const struct bench *b, uint64_t size)
{
	int fd = open_file(b, "scratch.bin", O_RDWR | O_CREAT | O_TRUNC);
	char path[PATH_MAX];

	write_contents(b, fd, 0, size);
	snprintf(path, sizeof(path), "%s/scratch.bin", b->dir);
	unlink(path);
	return fd;
}

int bench_named(const struct bench *b, const char *name, uint64_t size)
{
	int fd;

	bench_remove(b, name);
	fd = open_file(b, name, O_RDWR | O_CREAT | O_EXCL);
	write_contents(b, fd, 0, size);
	return fd;
}

char *bench_path(const struct bench *b, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", b->dir, name) < 0)
		bench_stop(b, "no memory for a path");
	return path;
}

void bench_remove(const struct bench *b, const char *name)
{
	static const char *const suffixes[] = {"", "-quire", "-wal", "-shm", "-lock"};

	for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char beside[256], *path;

		snprintf(beside, sizeof(beside), "%s%s", name, suffixes[i]);
		path = bench_path(b, beside);
		if (unlink(path) != 0 && errno != ENOENT)
			bench_stop(b, "removing %s: %s", path, strerror(errno));
		free(path);
	}
}

int bench_direct(const struct bench *b, int fd, int flags)
{
	char path[64];
	int direct;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, flags | O_DIRECT | O_CLOEXEC);
	if (direct < 0 && errno == EINVAL) {
		b->result->buffered = true;
		direct = open(path, flags | O_CLOEXEC);
	}
	if (direct < 0)
		bench_stop(b, "opening a file of %s again: %s", b->dir, strerror(errno));
	return direct;
}

static uint64_t count_core(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len)
{
	uint64_t pages = len / BENCH_PAGE, count = 0;
	unsigned char *vec = bench_alloc(b, pages, 1);

	if (side->core(addr, len, vec) != 0)
		bench_stop(b, "%s: mincore: %s", side->name, strerror(errno));
	for (uint64_t i = 0; i < pages; i++)
		count += vec[i] & 1;
	free(vec);
	return count;
}

/* Pages of the file in the kernel's page cache. */
static uint64_t cached_pages(const struct bench *b, int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t count;

	if (p == MAP_FAILED)
		bench_stop(b, "kernel mmap of %" PRIu64 " MiB: %s", size / MIB, strerror(errno));
	count = count_core(b, &bench_kernel, p, size);
	munmap(p, size);
	return count;
}

void bench_drop(const struct bench *b, int fd, uint64_t size)
{
	fdatasync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	b->result->cached_pages += cached_pages(b, fd, size);
}

void bench_cache(const struct bench *b, int fd, uint64_t size)
{
	void *chunk = bench_buffer(b, BENCH_CHUNK);

	bench_drop(b, fd, size);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (uint64_t offset = 0; offset < size; offset += BENCH_CHUNK)
		if (pread(fd, chunk, BENCH_CHUNK, (off_t)offset) < 0)
			bench_stop(b, "reading a file in %s: %s", b->dir, strerror(errno));
	posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
	free(chunk);
}

void bench_expect_stored(const struct bench *b, const char *side, int direct_fd, uint64_t page, uint64_t expected)
{
	uint64_t *buf = bench_buffer(b, BENCH_PAGE);

	if (pread(direct_fd, buf, BENCH_PAGE, (off_t)(page * BENCH_PAGE)) != BENCH_PAGE)
		bench_stop(b, "reading page %" PRIu64 " of a file in %s: %s", page, b->dir, strerror(errno));
	if (buf[0] != expected)
		bench_stop(b, "WRONG BYTES: %s stored %016" PRIx64 " in page %" PRIu64 ", the file has %016" PRIx64, side, expected,
			   page, buf[0]);
	free(buf);
}

/* ---- the two sides ---- */

const struct bench_side bench_kernel = {"kernel", mmap, munmap, msync, madvise, mincore, mprotect, mremap};
const struct bench_side bench_quire = {"Quire",       quire_mmap,    quire_munmap,   quire_msync,
				       quire_madvise, quire_mincore, quire_mprotect, quire_mremap};

static const char *side_error(const struct bench_side *side, int error)
{
	return side == &bench_quire ? quire_errormsg() : strerror(error);
}

void bench_engine(const struct bench *b, uint64_t budget_bytes)
{
	struct quire_config config = {.size = sizeof(config), .memory_bytes = budget_bytes, .trap = b->trap, .swap_dir = b->dir};

	if (quire_configure(&config) != 0)
		bench_stop(b, "quire_configure: %s", quire_errormsg());
}

void *bench_map(const struct bench *b, const struct bench_side *side, uint64_t len, int prot, int flags, int fd)
{
	void *p = side->map(NULL, len, prot, flags, fd, 0);

	if (p == MAP_FAILED && side == &bench_quire && errno == EPERM)
		bench_stop_refused(b, "%s", quire_errormsg());
	if (p == MAP_FAILED)
		bench_stop(b, "%s: mmap of %" PRIu64 " MiB: %s", side->name, len / MIB, side_error(side, errno));
	return p;
}

void bench_unmap(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len)
{
	if (side->unmap(addr, len) != 0)
		bench_stop(b, "%s: munmap: %s", side->name, side_error(side, errno));
}

void bench_sync(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len)
{
	if (side->sync(addr, len, MS_SYNC) != 0)
		bench_stop(b, "%s: msync: %s", side->name, side_error(side, errno));
}

void bench_advise(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len, int advice)
{
	if (side->advise(addr, len, advice) != 0)
		bench_stop(b, "%s: madvise(%d): %s", side->name, advice, side_error(side, errno));
}

uint64_t bench_resident_pages(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len)
{
	return count_core(b, side, addr, len);
}

uint64_t bench_touch(const void *addr, uint64_t len)
{
	const volatile uint64_t *p = addr;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < len / sizeof(*p); i += BENCH_WORDS)
		sum += p[i];
	return sum;
}

uint64_t bench_touch_sum(uint64_t first, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++)
		sum += bench_word(first + i, 0);
	return sum;
}

struct quire_stats bench_stats(const struct bench *b)
{
	struct quire_stats stats;

	if (quire_stats_get(&stats, sizeof(stats)) != 0)
		bench_stop(b, "quire_stats_get: %s", quire_errormsg());
	return stats;
}

const char *bench_trap_name(enum quire_trap trap)
{
	switch (trap) {
	case QUIRE_TRAP_SIGNAL:
		return "signal";
	case QUIRE_TRAP_THREAD:
		return "thread";
	case QUIRE_TRAP_AUTO:
		break;
	}
	return "auto";
}

/* ---- the process as the kernel sees it ---- */

struct bench_memory bench_memory(const struct bench *b)
{
	struct bench_memory memory = {0};
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	uint64_t kib;

	if (!f)
		bench_stop(b, "/proc/self/status: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1)
			memory.anon = kib * KIB;
		else if (sscanf(line, "RssShmem: %" SCNu64, &kib) == 1)
			memory.shmem = kib * KIB;
		else if (sscanf(line, "RssFile: %" SCNu64, &kib) == 1)
			memory.file = kib * KIB;
		else if (sscanf(line, "VmPTE: %" SCNu64, &kib) == 1)
			memory.tables = kib * KIB;
	}
	fclose(f);
	return memory;
}

uint64_t bench_memfd_bytes(const struct bench *b)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	uint64_t bytes = 0;
	ino_t seen[256];
	unsigned count = 0;

	if (!dir)
		bench_stop(b, "/proc/self/fd: %s", strerror(errno));
	while ((entry = readdir(dir))) {
		char target[64] = "";
		struct stat st;
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		bool counted = false;

		/* Either a memfd, or a file without a name on a tmpfs of the engine's own. */
		if (n < 3 || (strncmp(target, "/memfd:", 7) != 0 && strncmp(target, "/#", 2) != 0) ||
		    fstat(atoi(entry->d_name), &st) != 0)
			continue;
		for (unsigned i = 0; i < count && !counted; i++)
			counted = seen[i] == st.st_ino;
		if (counted || count == sizeof(seen) / sizeof(seen[0]))
			continue;
		seen[count++] = st.st_ino;
		bytes += (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return bytes;
}

uint64_t bench_huge_bytes(const struct bench *b, const void *addr, uint64_t size)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool inside = false;
	uint64_t bytes = 0;
	char line[4096];

	if (!f)
		bench_stop(b, "/proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		uint64_t start, end, kib;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			inside = (uintptr_t)addr < end && (uintptr_t)addr + size > start;
		else if (inside && (sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1 ||
				    sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1))
			bytes += kib * KIB;
	}
	fclose(f);
	return bytes;
}
