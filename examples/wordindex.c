/* SPDX-License-Identifier: MIT */
/*
 * wordindex.c - counts the words of a file into a hash table that lives in a second file, both of them mapped
 *
 *	wordindex [--slots N] [--quiet] [--json] [--commit-every MIB] [--resume] CORPUS INDEX
 *	wordindex --top N INDEX
 *	wordindex --get WORD… INDEX
 *
 * The corpus is read from one end to the other, and each of its words is a store at a random place of the index: the two ways
 * of using a mapped file, and both files may be far larger than memory. This source builds twice: with <quire/mman.h>, where the
 * plain names are served by Quire, and with WITH_KERNEL_MMAP, where they are the kernel's.
 *
 * With --commit-every the index is an atomic file: it holds at any time what was counted up to its last commit, and the place in the
 * corpus where that was. A run that is killed is taken up there by --resume, and ends with the same index, byte by byte.
 *
 * A word is a longest run of ASCII letters, in lower case. Of a longer word the first WORD_MAX letters count.
 *
 * The index, in the byte order of the machine, made anew by each run:
 *
 *	0         struct header, zeroes up to HEADER_BYTES
 *	4096      struct slot, 64 bytes each, so that no slot lies on two pages
 *
 * A word is in the first slot from its hash on, around the end, that holds it; a slot with count 0 is free and ends the search.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_KERNEL_MMAP
#include <sys/mman.h>
#define BUILD       "kernel"
#define map_error() strerror(errno)
#else
#include <quire/mman.h>
#define BUILD       "quire"
#define map_error() quire_errormsg()
#endif

#define MAGIC        "wordindx"
#define HEADER_BYTES 4096
#define WORD_MAX     55
#define SLOTS_MIN    ((uint64_t)1 << 22) /* by default: 256 MiB of slots */
#define TOP_MAX      10000
#define MIB          (1024.0 * 1024.0)
/* How much of the corpus is counted between two looks at the clock. */
#define STEP_BYTES ((size_t)1 << 20)
/* Steps between two commits of a run that is resumed, unless it is said. */
#define COMMIT_STEPS 64

struct header {
	char magic[8];
	uint64_t slots;
	uint64_t words;     /* in the corpus */
	uint64_t different; /* slots in use */
	uint64_t corpus_bytes;
	uint64_t counted_bytes; /* of them; the words that begin there are in the slots */
};

struct slot {
	uint64_t count;
	uint8_t length;
	char word[WORD_MAX]; /* not terminated, zeroes behind it */
};

_Static_assert(sizeof(struct slot) == 64, "a slot divides a page");
_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header has its page");

/* A mapped file. */
struct file {
	const char *path;
	unsigned char *data; /* NULL when it is empty */
	size_t size;
};

struct index {
	struct file file;
	struct header *header;
	struct slot *slots;
	uint64_t count;
};

/* What a run is asked to do. */
struct order {
	const char *corpus, *index;
	uint64_t slots;        /* 0: by the size of the corpus */
	uint64_t commit_steps; /* a commit after each so many; 0: the index is a plain file */
	bool resume, quiet, json;
};

/* What a run has cost. */
struct figures {
	double seconds, sync_seconds;
	uint64_t major_faults, minor_faults;
	uint64_t read_bytes, write_bytes;
	uint64_t resident_bytes, peak_bytes;
	uint64_t budget_bytes;  /* 0: none that is known */
	uint64_t resumed_bytes; /* of the corpus: counted by a run before */
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("wordindex: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what it costs ---- */

#ifdef WITH_KERNEL_MMAP

static const char figures_note[] = "faults: getrusage; bytes: /proc/self/io, where written means made dirty; "
				   "peak: ru_maxrss, the whole process";

/* The number behind the name in a file of /proc, 0 if there is none. */
static uint64_t proc_number(const char *path, const char *name)
{
	char line[128];
	uint64_t number = 0;
	size_t length = strlen(name);
	FILE *in = fopen(path, "re");

	if (!in)
		return 0;
	while (fgets(line, sizeof(line), in)) {
		if (strncmp(line, name, length) == 0 && line[length] == ':') {
			number = strtoull(line + length + 1, NULL, 10);
			break;
		}
	}
	fclose(in);
	return number;
}

static void figures_get(struct figures *ret)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	ret->major_faults = (uint64_t)usage.ru_majflt;
	ret->minor_faults = (uint64_t)usage.ru_minflt;
	ret->peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
	ret->read_bytes = proc_number("/proc/self/io", "read_bytes");
	ret->write_bytes = proc_number("/proc/self/io", "write_bytes");
	ret->resident_bytes = proc_number("/proc/self/status", "RssFile") * 1024;
	ret->budget_bytes = 0;
}

#else

static const char figures_note[] = "faults, bytes and peak: as the engine counts them (quire_stats_get)";

static void figures_get(struct figures *ret)
{
	struct quire_stats stats;

	if (quire_stats_get(&stats, sizeof(stats)) < 0)
		die("%s", quire_errormsg());
	ret->major_faults = stats.major_faults;
	ret->minor_faults = stats.minor_faults;
	ret->peak_bytes = stats.resident_peak_bytes;
	ret->read_bytes = stats.read_bytes;
	ret->write_bytes = stats.write_bytes;
	ret->resident_bytes = stats.resident_bytes;
	ret->budget_bytes = stats.budget_bytes;
}

#endif

/* ---- files ---- */

static size_t file_size(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		die("%s: not a regular file", path);
	return (size_t)st.st_size;
}

static struct file file_map(int fd, const char *path, size_t size, int prot, int flags, int advice)
{
	struct file file = {.path = path, .size = size};
	void *data;

	if (file.size == 0)
		return file;
	data = mmap(NULL, file.size, prot, MAP_SHARED | flags, fd, 0);
	if (data == MAP_FAILED)
		die("%s: %s", path, map_error());
	if (madvise(data, file.size, advice) < 0)
		die("%s: %s", path, map_error());
	file.data = data;
	return file;
}

static struct file file_open(const char *path, int advice)
{
	struct file file;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	file = file_map(fd, path, file_size(fd, path), PROT_READ, 0, advice);
	close(fd); /* the mapping does not need it */
	return file;
}

static void file_close(struct file *file)
{
	if (file->data && munmap(file->data, file->size) < 0)
		die("%s: %s", file->path, map_error());
}

/* ---- the index ---- */

static void index_attach(struct index *index)
{
	index->header = (struct header *)index->file.data;
	index->slots = (struct slot *)(index->file.data + HEADER_BYTES);
}

/* Bytes of an index with so many slots. */
static uint64_t index_bytes(uint64_t slots)
{
	uint64_t bytes;

	if (slots == 0 || __builtin_mul_overflow(slots, sizeof(struct slot), &bytes) ||
	    __builtin_add_overflow(bytes, HEADER_BYTES, &bytes) || bytes > INT64_MAX)
		die("%" PRIu64 " slots: not a size that a file can have", slots);
	return bytes;
}

static void index_resize(int fd, const char *path, uint64_t bytes)
{
	if (ftruncate(fd, (off_t)bytes) < 0)
		die("%s: setting its size to %" PRIu64 " bytes: %s", path, bytes, strerror(errno));
}

#ifdef WITH_KERNEL_MMAP

#define MAP_COMMITS 0

/* The kernel's mmap has no commits, so there is nothing to resume. */
static bool index_take_up(const struct index *index, uint64_t slots, uint64_t corpus_bytes)
{
	(void)index, (void)slots, (void)corpus_bytes;
	return false;
}

#else

#define MAP_COMMITS QUIRE_MAP_ATOMIC

/* => false: there is none. How long the file is as of its last commit is known to the mapping: not all of it need be in the file. */
static bool index_take_up(const struct index *index, uint64_t slots, uint64_t corpus_bytes)
{
	struct header header;

	if (quire_load(&header, index->file.data, sizeof(header), NULL) < 0)
		return false;
	if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0 || header.slots != slots ||
	    header.corpus_bytes != corpus_bytes || header.counted_bytes > corpus_bytes)
		die("%s: not an index of %" PRIu64 " slots for %" PRIu64
		    " bytes, so it cannot be resumed; without --resume it is made anew",
		    index->file.path, slots, corpus_bytes);
	return true;
}

#endif

/*
 * The file is made anew by cutting it to nothing when it is mapped, and not before: mapping it first completes the commits of a run that
 * was killed. Of an atomic file the cut, too, counts from the next commit on.
 */
static void index_create(struct index *index, const struct order *order, uint64_t slots, uint64_t corpus_bytes)
{
	uint64_t bytes = index_bytes(slots);
	int fd = open(order->index, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0)
		die("%s: %s", order->index, strerror(errno));
	index->file = file_map(fd, order->index, bytes, PROT_READ | PROT_WRITE, order->commit_steps ? MAP_COMMITS : 0, MADV_RANDOM);
	index->count = slots;
	index_attach(index);
	if (!order->resume || !index_take_up(index, slots, corpus_bytes)) {
		index_resize(fd, order->index, 0);
		index_resize(fd, order->index, bytes);
		memcpy(index->header->magic, MAGIC, sizeof(index->header->magic));
		index->header->slots = slots;
	}
	close(fd);
}

static void index_open(struct index *index, const char *path, int advice)
{
	struct file *file = &index->file;

	*file = file_open(path, advice);
	if (file->size < HEADER_BYTES + sizeof(struct slot))
		die("%s: not an index: %zu bytes are too few", path, file->size);
	index_attach(index);
	if (memcmp(index->header->magic, MAGIC, sizeof(index->header->magic)) != 0)
		die("%s: not an index: it does not begin with «%s»", path, MAGIC);
	index->count = index->header->slots;
	if ((file->size - HEADER_BYTES) % sizeof(struct slot) != 0 ||
	    (file->size - HEADER_BYTES) / sizeof(struct slot) != index->count)
		die("%s: damaged: %" PRIu64 " slots in %zu bytes", path, index->count, file->size);
}

/* FNV-1a, then mixed, since the place in the table is taken from the high bits. */
static uint64_t hash_word(const char *word, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3;
	hash ^= hash >> 32;
	hash *= 0x9fb21c651e98df25;
	return hash ^ hash >> 28;
}

/* => the slot of the word, or the free one where it belongs; NULL when every slot is another word's. */
static struct slot *index_find(const struct index *index, const char *word, size_t length)
{
	uint64_t at = (uint64_t)((unsigned __int128)hash_word(word, length) * index->count >> 64);

	for (uint64_t tried = 0; tried < index->count; tried++) {
		struct slot *slot = &index->slots[at];

		if (slot->count == 0 || (slot->length == length && memcmp(slot->word, word, length) == 0))
			return slot;
		at = at + 1 == index->count ? 0 : at + 1;
	}
	return NULL;
}

/* Keeps one slot in eight free, so that a search stays short. */
static void index_add(struct index *index, struct header *totals, const char *word, size_t length)
{
	struct slot *slot = index_find(index, word, length);

	if (!slot || (slot->count == 0 && totals->different >= index->count - index->count / 8))
		die("%s: %" PRIu64 " slots are too few for the words of this corpus; give a larger number with --slots",
		    index->file.path, index->count);
	if (slot->count == 0) {
		slot->length = (uint8_t)length;
		memcpy(slot->word, word, length);
		totals->different++;
	}
	slot->count++;
	totals->words++;
}

/* ---- counting ---- */

/* => the letter in lower case, 0 if it is none */
static char letter(unsigned char c)
{
	c |= 0x20;
	return c >= 'a' && c <= 'z' ? (char)c : 0;
}

/* Counts the words that begin in [at, end). => where the last of them ends, end at the least. */
static size_t count_words(struct index *index, struct header *totals, const struct file *corpus, size_t at, size_t end)
{
	const unsigned char *data = corpus->data;
	char word[WORD_MAX];

	while (at < end) {
		size_t length = 0;
		char c;

		for (; at < corpus->size && (c = letter(data[at])) != 0; at++) {
			if (length < WORD_MAX)
				word[length++] = c;
		}
		if (length > 0)
			index_add(index, totals, word, length);
		while (at < end && letter(data[at]) == 0)
			at++;
	}
	return at;
}

static void draw_progress(size_t at, size_t size, size_t counted, double seconds)
{
	static const char full[] = "##############################";
	struct figures figures;
	int done = (int)((double)at / (double)size * 30);

	figures_get(&figures);
	fprintf(stderr, "\r[%-30.*s] %3d%%  %6.1f MB/s  resident %.1f", done, full, (int)((double)at / (double)size * 100),
		seconds > 0 ? (double)counted / seconds / 1e6 : 0, (double)figures.resident_bytes / MIB);
	if (figures.budget_bytes)
		fprintf(stderr, " of %.1f", (double)figures.budget_bytes / MIB);
	fputs(" MiB ", stderr);
}

/*
 * Whose corpus it is of is said with the first commit: what a plain file has before that cannot be taken up. After this the index is
 * on stable storage, and only after this may anybody be told so.
 */
static void commit(struct index *index, const struct header *totals, const struct file *corpus, size_t at)
{
	index->header->words = totals->words;
	index->header->different = totals->different;
	index->header->corpus_bytes = corpus->size;
	index->header->counted_bytes = at;
	if (msync(index->file.data, index->file.size, MS_SYNC) < 0)
		die("%s: %s", index->file.path, map_error());
}

/* => seconds of it that were commits */
static double count_corpus(struct index *index, struct header *totals, const struct file *corpus, uint64_t commit_steps,
			   bool progress)
{
	double begin = now(), drawn = 0, committing = 0;
	size_t first = totals->counted_bytes;
	uint64_t step = 0;

	for (size_t at = first; at < corpus->size;) {
		size_t left = corpus->size - at;
		double t;

		at = count_words(index, totals, corpus, at, at + (left < STEP_BYTES ? left : STEP_BYTES));
		if (progress && ((t = now()) - drawn > 0.1 || at == corpus->size)) {
			draw_progress(at, corpus->size, at - first, t - begin);
			drawn = t;
		}
		if (commit_steps != 0 && ++step % commit_steps == 0 && at < corpus->size) {
			t = now();
			commit(index, totals, corpus, at);
			committing += now() - t;
		}
	}
	if (progress)
		fputc('\n', stderr);
	return committing;
}

static void print_text(const struct file *corpus, const struct index *index, const struct header *totals, const struct figures *f)
{
	printf("corpus    %s: %.1f MiB, %" PRIu64 " words, %" PRIu64 " different\n", corpus->path, (double)corpus->size / MIB,
	       totals->words, totals->different);
	printf("index     %s: %.1f MiB, %" PRIu64 " slots\n", index->file.path, (double)index->file.size / MIB, index->count);
	printf("time      %.2f s, %.1f MB/s of corpus, %.2f s of it msync\n", f->seconds,
	       f->seconds > 0 ? (double)(corpus->size - f->resumed_bytes) / f->seconds / 1e6 : 0, f->sync_seconds);
	if (f->resumed_bytes)
		printf("resumed   at %.1f MiB\n", (double)f->resumed_bytes / MIB);
	printf("faults    %" PRIu64 " major, %" PRIu64 " minor\n", f->major_faults, f->minor_faults);
	printf("bytes     %.1f MiB read, %.1f MiB written\n", (double)f->read_bytes / MIB, (double)f->write_bytes / MIB);
	printf("resident  %.1f MiB at the peak", (double)f->peak_bytes / MIB);
	if (f->budget_bytes)
		printf(", budget %.1f MiB", (double)f->budget_bytes / MIB);
	printf("\n(%s)\n", figures_note);
}

/* One name a line, so that a shell script can read it too. */
static void print_json(const struct file *corpus, const struct index *index, const struct header *totals, const struct figures *f)
{
	printf("{\n\"build\": \"%s\",\n\"corpus_bytes\": %zu,\n\"index_bytes\": %zu,\n", BUILD, corpus->size, index->file.size);
	printf("\"resumed_bytes\": %" PRIu64 ",\n", f->resumed_bytes);
	printf("\"words\": %" PRIu64 ",\n\"different_words\": %" PRIu64 ",\n", totals->words, totals->different);
	printf("\"seconds\": %.3f,\n\"sync_seconds\": %.3f,\n", f->seconds, f->sync_seconds);
	printf("\"major_faults\": %" PRIu64 ",\n\"minor_faults\": %" PRIu64 ",\n", f->major_faults, f->minor_faults);
	printf("\"read_bytes\": %" PRIu64 ",\n\"write_bytes\": %" PRIu64 ",\n", f->read_bytes, f->write_bytes);
	printf("\"peak_resident_bytes\": %" PRIu64 ",\n\"budget_bytes\": %" PRIu64 ",\n", f->peak_bytes, f->budget_bytes);
	printf("\"note\": \"%s\"\n}\n", figures_note);
}

static int run_count(const struct order *order)
{
	uint64_t slots = order->slots, resumed;
	struct header totals;
	struct figures figures;
	struct index index;
	struct file corpus;
	struct stat a, b;
	double begin, committing, counted;

	if (stat(order->corpus, &a) == 0 && stat(order->index, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		die("%s: the index would be written over the corpus", order->index);
	corpus = file_open(order->corpus, MADV_SEQUENTIAL);
	/* The default grows with the corpus: a slot for each 128 bytes has always been plenty for text. */
	if (slots == 0)
		slots = corpus.size / 128 > SLOTS_MIN ? corpus.size / 128 : SLOTS_MIN;
	begin = now();
	index_create(&index, order, slots, corpus.size);
	totals = *index.header;
	resumed = totals.counted_bytes;
	committing = count_corpus(&index, &totals, &corpus, order->commit_steps, !order->quiet && isatty(STDERR_FILENO));
	counted = now();
	commit(&index, &totals, &corpus, corpus.size);
	figures_get(&figures);
	figures.resumed_bytes = resumed;
	figures.seconds = now() - begin;
	figures.sync_seconds = committing + now() - counted;
	if (order->json)
		print_json(&corpus, &index, &totals, &figures);
	else if (!order->quiet)
		print_text(&corpus, &index, &totals, &figures);
	file_close(&index.file);
	file_close(&corpus);
	return 0;
}

/* ---- asking an index ---- */

static void print_slot(const struct slot *slot)
{
	printf("%9" PRIu64 " %.*s\n", slot->count, slot->length <= WORD_MAX ? slot->length : WORD_MAX, slot->word);
}

/* More often first, then by the alphabet; a word is padded with zeroes, so all of it can be compared. */
static bool slot_before(const struct slot *a, const struct slot *b)
{
	return a->count != b->count ? a->count > b->count : memcmp(a->word, b->word, WORD_MAX) < 0;
}

static int run_top(const char *path, uint64_t n)
{
	struct index index;
	struct slot *top = calloc(n, sizeof(*top));
	uint64_t used = 0;

	if (!top)
		die("%s", strerror(errno));
	index_open(&index, path, MADV_SEQUENTIAL);
	for (uint64_t i = 0; i < index.count; i++) {
		const struct slot *slot = &index.slots[i];
		uint64_t at;

		if (slot->count == 0 || (used == n && !slot_before(slot, &top[n - 1])))
			continue;
		at = used < n ? used++ : n - 1;
		for (; at > 0 && slot_before(slot, &top[at - 1]); at--)
			top[at] = top[at - 1];
		top[at] = *slot;
	}
	for (uint64_t i = 0; i < used; i++)
		print_slot(&top[i]);
	free(top);
	file_close(&index.file);
	return 0;
}

static int run_get(const char *path, char **words, int n)
{
	struct index index;

	index_open(&index, path, MADV_RANDOM);
	for (int i = 0; i < n; i++) {
		char word[WORD_MAX];
		size_t length = 0;
		const struct slot *slot;

		for (const char *c = words[i]; *c; c++) {
			if (letter((unsigned char)*c) == 0)
				die("%s: a word has only the letters A to Z", words[i]);
			if (length < WORD_MAX)
				word[length++] = letter((unsigned char)*c);
		}
		if (length == 0)
			die("a word has at least one letter");
		slot = index_find(&index, word, length);
		printf("%9" PRIu64 " %.*s\n", slot ? slot->count : 0, (int)length, word);
	}
	file_close(&index.file);
	return 0;
}

/* ---- the command line ---- */

__attribute__((noreturn)) static void usage(FILE *out, int status)
{
	fputs("usage: wordindex [--slots N] [--quiet] [--json] [--commit-every MIB] [--resume] CORPUS INDEX\n"
	      "       wordindex --top N INDEX\n"
	      "       wordindex --get WORD... INDEX\n"
	      "Counts the words of CORPUS into the hash table INDEX, or prints from one. This build maps with: " BUILD ".\n",
	      out);
	exit(status);
}

static uint64_t number(const char *name, const char *text, uint64_t max)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || n == 0 || n > max)
		die("%s %s: not a number from 1 to %" PRIu64, name, text, max);
	return n;
}

int main(int argc, char **argv)
{
	struct order order = {.slots = 0};
	int i, status;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--help") == 0)
			usage(stdout, 0);
		else if (strcmp(argv[i], "--quiet") == 0)
			order.quiet = true;
		else if (strcmp(argv[i], "--json") == 0)
			order.json = true;
		else if (strcmp(argv[i], "--resume") == 0)
			order.resume = true;
		else if (strcmp(argv[i], "--commit-every") == 0 && i + 1 < argc)
			order.commit_steps = number("--commit-every", argv[++i], INT64_MAX);
		else if (strcmp(argv[i], "--slots") == 0 && i + 1 < argc)
			order.slots = number("--slots", argv[++i], INT64_MAX / sizeof(struct slot) - HEADER_BYTES);
		else if (strcmp(argv[i], "--top") == 0 && argc == i + 3)
			break;
		else if (strcmp(argv[i], "--get") == 0 && argc >= i + 3)
			break;
		else
			usage(stderr, 2);
	}
#ifdef WITH_KERNEL_MMAP
	if (order.resume || order.commit_steps != 0)
		die("the kernel's mmap has no commits; leave --commit-every and --resume away");
#endif
	if (order.resume && order.commit_steps == 0)
		order.commit_steps = COMMIT_STEPS;
	if (argc == i + 2) {
		order.corpus = argv[i];
		order.index = argv[i + 1];
	}
	if (i < argc && strcmp(argv[i], "--top") == 0)
		status = run_top(argv[i + 2], number("--top", argv[i + 1], TOP_MAX));
	else if (i < argc && strcmp(argv[i], "--get") == 0)
		status = run_get(argv[argc - 1], argv + i + 1, argc - i - 2);
	else if (argc == i + 2)
		status = run_count(&order);
	else
		usage(stderr, 2);
	if (fflush(stdout) != 0 || ferror(stdout))
		die("standard output: %s", strerror(errno));
	return status;
}
