/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the benchmarks share: files, clocks, samples and the rows of the table
 *
 * Each benchmark runs in a process of its own, forked from a driver that never calls the library, so that it starts with no
 * engine, no areas and a known resident size. It fills in rows; the driver prints them (report.c).
 *
 * Every page of a benchmark's file is made of words that follow from their position (bench_word), so that any side can check
 * what it read without a second copy, and the contents cannot be compressed by a disk.
 */
#ifndef QUIRE_BENCH_H
#define QUIRE_BENCH_H

#include <quire/quire.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "random.h"

#define BENCH_RUNS_MAX   32
#define BENCH_ROWS_MAX   8
#define BENCH_OTHERS_MAX 4
#define BENCH_TRENDS_MAX 32
#define BENCH_PAGE       4096 /* of the kernel's mapping and of a raw read: the goals are stated for pages of 4 KiB */
#define BENCH_WORDS      (BENCH_PAGE / sizeof(uint64_t))
#define BENCH_CHUNK      (1U << 20)
#define BENCH_HUGE       ((size_t)2 << 20)
#define KIB              ((uint64_t)1 << 10)
#define MIB              ((uint64_t)1 << 20)
#define GIB              ((uint64_t)1 << 30)
#define TIB              ((uint64_t)1 << 40)
#define BENCH_EXIT_SKIP  77 /* this machine does not allow what the benchmark needs */

/* One number a run. Sample i of each column of a row was taken in the same run i, so that ratios are made of pairs. */
struct bench_samples {
	unsigned count;
	double value[BENCH_RUNS_MAX];
};

enum bench_goal {
	BENCH_INFORM,   /* no goal: shown to be compared */
	BENCH_AT_MOST,  /* cost of Quire / cost of the other, at most goal_value */
	BENCH_AT_LEAST, /* speed of Quire / speed of the other, at least goal_value */
};

struct bench_trend; /* trend.h */

/* A line of the table. */
struct bench_row {
	char what[72];
	char unit[16];
	bool rate; /* the unit is one of speed: more is better */
	struct bench_samples quire;
	struct bench_samples kernel; /* empty: the kernel has no counterpart */
	struct bench_samples limit;  /* what the device allows, or the figure of the goal; may be empty */
	struct bench_other {
		char name[24];
		struct bench_samples samples;
	} other[BENCH_OTHERS_MAX]; /* sides without a column, named in a line below; the first without a name ends them */
	enum bench_goal goal;
	bool against_limit; /* the ratio is to the limit, not to the kernel */
	double goal_value;
	struct bench_trend *trend; /* what it is made of; may be NULL */
	char note[480];
};

/* What a benchmark hands to the driver, in memory that both share. */
struct bench_result {
	unsigned count;
	struct bench_row row[BENCH_ROWS_MAX];
	uint64_t cached_pages; /* pages that should have been dropped from the kernel's page cache and were not */
	bool buffered;         /* O_DIRECT was refused: the limit columns went through the page cache */
	char error[480];       /* why it stopped; empty: it did not */
};

struct bench {
	bool quick;           /* a smoke test: small sizes, few repetitions, figures that mean nothing */
	unsigned runs;        /* repetitions: samples in a column */
	uint64_t size_bytes;  /* of the file a benchmark works over; 0: its own choice */
	double seconds;       /* each side is measured for, where that is long */
	unsigned threads;     /* at most, where there are several; 0: the benchmark's own choice */
	enum quire_trap trap; /* for the benchmarks that do not choose one themselves */
	const char *dir;      /* where the files are made */
	struct bench_result *result;
	struct bench_trend *trends; /* BENCH_TRENDS_MAX, for all benchmarks together */
};

/* A benchmark. Returns when its rows are full; ends the process (bench_stop) when something fails. */
typedef void bench_function(const struct bench *b);

bench_function bench_load_uniform, bench_load_zipf, bench_load_scan, bench_areas;
bench_function bench_hot, bench_cold, bench_pressure, bench_scan, bench_store, bench_resident, bench_metadata, bench_sparse,
    bench_prefetch, bench_mapping, bench_fault_signal, bench_fault_thread, bench_anon, bench_fork, bench_msync, bench_policy,
    bench_commit, bench_committers, bench_recovery, bench_talk, bench_served;

/* ---- stopping ---- */

/* Ends the process with this sentence as the result's error. _refused: the machine does not allow it, which is a skip. */
void bench_stop(const struct bench *b, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void bench_stop_refused(const struct bench *b, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Stops unless the words read are the words that are there. side names the reader. */
void bench_expect(const struct bench *b, const char *side, uint64_t got, uint64_t expected);

/* ---- clocks and numbers ---- */

/* Seconds of the monotonic clock. */
double bench_now(void);

/* The numbers 0..count-1 in a shuffled order that follows from the seed. To be freed. */
uint32_t *bench_permutation(const struct bench *b, uint32_t count, uint64_t seed);

/* malloc and its kin, stopping when there is none; bench_buffer is aligned for O_DIRECT. To be freed. */
void *bench_alloc(const struct bench *b, size_t count, size_t size);
void *bench_buffer(const struct bench *b, size_t size);

/* ---- rows ---- */

struct bench_row *bench_row(const struct bench *b, const char *what, const char *unit, bool rate);
void bench_goal(struct bench_row *row, enum bench_goal goal, double value, bool against_limit);
void bench_sample(struct bench_samples *samples, double value);
/* The samples of another side, which is added to the row at the first call. */
struct bench_samples *bench_other(const struct bench *b, struct bench_row *row, const char *name);
void bench_note(struct bench_row *row, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Of the samples; 0 when there are none. */
double bench_median(const struct bench_samples *samples);
double bench_min(const struct bench_samples *samples);
double bench_max(const struct bench_samples *samples);

/* Quire's sample over the other's, run by run: as cost or as speed, as the goal asks (without one: as the unit counts). */
struct bench_samples bench_ratio(const struct bench_row *row);

/* ---- files ---- */

/* Word `word` of page `page` of every file. */
uint64_t bench_word(uint64_t page, uint64_t word);

/* This size, or the one the caller asked for on the command line; a multiple of 1 MiB. */
uint64_t bench_size(const struct bench *b, uint64_t usual, uint64_t quick);

/* The file that is only read, at least size bytes long; made, or made longer, when it is not there. flags: of open(2). */
int bench_data(const struct bench *b, uint64_t size, int flags);

/* A file of size bytes to write to, O_RDWR, with the same contents, all its blocks allocated. Its name is already gone. */
int bench_scratch(const struct bench *b, uint64_t size);

/* The same under a name of its own, which stays until bench_remove, for who needs one. A file of that name is replaced. */
int bench_named(const struct bench *b, const char *name, uint64_t size);
/* Its path; to be freed. */
char *bench_path(const struct bench *b, const char *name);
/* Takes the file away, if it is there, and what is kept beside it: its journal, SQLite's and LMDB's own files. */
void bench_remove(const struct bench *b, const char *name);

/* The same file opened with O_DIRECT, or without where that is refused (the result then says so). */
int bench_direct(const struct bench *b, int fd, int flags);

/* Drops the file from the kernel's page cache; what stays is counted in the result. */
void bench_drop(const struct bench *b, int fd, uint64_t size);

/* Reads the file with small folios only, as a mapping under MADV_RANDOM would have left it in the page cache. */
void bench_cache(const struct bench *b, int fd, uint64_t size);

/* Stops unless page `page` of the file on storage begins with this word, read past the page cache. */
void bench_expect_stored(const struct bench *b, const char *side, int direct_fd, uint64_t page, uint64_t expected);

/* GB/s of reading size bytes of a file in order past the page cache, 8 reads of 1 MiB in flight; the sum of the first words of the pages. */
double bench_read_speed(const struct bench *b, int direct_fd, uint64_t size, uint64_t *ret_sum, bool *ret_uring);

/* ---- the two sides ---- */

/*
 * The calls that both sides have. bench_kernel is the kernel's; bench_quire the library's. A benchmark that is written against
 * this does the same on both sides by construction.
 */
struct bench_side {
	const char *name;
	void *(*map)(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
	int (*unmap)(void *addr, size_t len);
	int (*sync)(void *addr, size_t len, int flags);
	int (*advise)(void *addr, size_t len, int advice);
	int (*core)(void *addr, size_t len, unsigned char *vec);
	int (*protect)(void *addr, size_t len, int prot);
	void *(*remap)(void *addr, size_t old_len, size_t new_len, int flags, ...);
};

extern const struct bench_side bench_kernel, bench_quire;

/* Sets the library up. Stops when it refuses. */
void bench_engine(const struct bench *b, uint64_t budget_bytes);

/* Each call of a side, stopping on failure. bench_map refuses politely (a skip) on EPERM: no userfaultfd. */
void *bench_map(const struct bench *b, const struct bench_side *side, uint64_t len, int prot, int flags, int fd);
void bench_unmap(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len);
void bench_sync(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len);
void bench_advise(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len, int advice);

/* Pages of the range that the side says are resident. */
uint64_t bench_resident_pages(const struct bench *b, const struct bench_side *side, void *addr, uint64_t len);

/* Loads the first word of every page, in order. Returns their sum. */
uint64_t bench_touch(const void *addr, uint64_t len);

/* The sum bench_touch returns for pages first..first+count-1 of a file. */
uint64_t bench_touch_sum(uint64_t first, uint64_t count);

struct quire_stats bench_stats(const struct bench *b);
const char *bench_trap_name(enum quire_trap trap);

/* ---- the process as the kernel sees it ---- */

/* Bytes, from /proc/self/status. */
struct bench_memory {
	uint64_t anon, shmem, file, tables;
};

struct bench_memory bench_memory(const struct bench *b);

/* Bytes allocated to the memfds this process holds: the frames, whether or not they are mapped anywhere. */
uint64_t bench_memfd_bytes(const struct bench *b);

/* Bytes of the mappings in the range that 2 MiB entries map (smaps: FilePmdMapped + ShmemPmdMapped). */
uint64_t bench_huge_bytes(const struct bench *b, const void *addr, uint64_t size);

/* ---- report.c ---- */

/* Prints the head of the table. */
void bench_report_head(const struct bench *b);

/* Prints a benchmark's rows, or why it has none. */
void bench_report_result(const struct bench *b, const char *name, const struct bench_result *result, int exit_status);

struct bench_entry {
	const char *name;
	bench_function *run;
	const char *summary;
	struct bench_result *result;
	int exit_status;
	bool chosen;
};

/* Writes everything to a file as JSON. 0 or -errno. */
int bench_report_json(const struct bench *b, const struct bench_entry *entries, unsigned count, const char *path);

#endif
