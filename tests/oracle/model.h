/* SPDX-License-Identifier: MIT */
/*
 * model.h - what the harness knows about the window: which object lies where, with which protection
 *
 * The model predicts nothing: the kernel does that. It follows calls that succeeded, and serves the rules (rules.h).
 */
#ifndef ORACLE_MODEL_H
#define ORACLE_MODEL_H

#include "program.h"

/* One page of the window. fragment 0: a hole. */
struct model_page {
	/*
	 * Pages with one fragment number certainly belong to one mapping on both sides. Different numbers mean nothing: whether
	 * neighbours merge is each side's own affair.
	 */
	uint32_t fragment;
	uint32_t object; /* 0 … FILES-1 a file, above: anonymous, one number for each mmap */
	int64_t offset;  /* in the object, bytes, whole pages */
	int prot;
	bool shared, locked;
	bool present;        /* it was brought in by locking, and nothing has taken it away since */
	bool foreign;        /* a mapping of the kernel's own, on both sides */
	bool may_write;      /* the descriptor allows PROT_WRITE */
	bool no_fork, wiped; /* advice about forks */
	bool zero_device;    /* private memory of /dev/zero */
};

/* Marks of a byte of a file; see rule 3. */
enum { BYTE_UNSPECIFIED = 1, BYTE_WAS_UNSPECIFIED = 2 };

struct model_file {
	int64_t bytes;
	unsigned char *marks; /* FILE_PAGES_MAX pages of them */
	bool marked;          /* any mark at all */
};

struct model {
	struct model_page *pages; /* the window of the process whose turn it is */
	struct model_page windows[PROCESSES][WINDOW_PAGES];
	bool lives[PROCESSES], lived[PROCESSES];
	struct model_file files[FILES];
	uint32_t next_fragment, next_object;
	bool growth_zeroes; /* the kernel's file system zeroes behind the old end when a file grows; asked once */
};

void model_init(struct model *m);
void model_free(struct model *m);

/* Back to one process with an empty window and files of these sizes. */
void model_reset(struct model *m, const int64_t file_bytes[FILES]);

/* From now on, this process is meant. */
void model_turn(struct model *m, int64_t process);

/* How many processes live. */
int model_living(const struct model *m);

/* The page that holds a relative address, NULL outside the window. */
struct model_page *model_at(struct model *m, int64_t addr);

static inline bool page_is_hole(const struct model_page *p)
{
	return p->fragment == 0;
}

static inline bool page_is_file(const struct model_page *p)
{
	return p->fragment != 0 && p->object < FILES;
}

/* Whether a process that lives has mapped any page of the file. */
bool model_file_mapped(const struct model *m, int64_t file);

/* How many pages are locked, in all processes. */
int64_t model_locked(const struct model *m);

/* The page that an mmap makes at its first address; the following ones differ by their offset. */
struct model_page model_mmap_page(struct model *m, const struct op *op);

/* Pages of a range of the window, cut at its end: runs over them as first … last-1. */
void model_range(int64_t addr, int64_t len, int64_t *ret_first, int64_t *ret_last);

/* Calls that succeeded. at: where the mapping came to lie, relative; NOWHERE outside the window. */
void model_mmap(struct model *m, const struct op *op, int64_t at);
void model_munmap(struct model *m, const struct op *op);
void model_mprotect(struct model *m, const struct op *op);
void model_mremap(struct model *m, const struct op *op, int64_t at);
void model_lock(struct model *m, const struct op *op, bool locked);
void model_unlock_all(struct model *m);
void model_foreign(struct model *m, const struct op *op);
void model_advise(struct model *m, const struct op *op);
void model_minherit(struct model *m, const struct op *op);

/* The process whose turn it is has made another; a process has ended. */
void model_fork(struct model *m, int64_t child);
void model_exit(struct model *m, int64_t process);

/* Pages of the file may have been taken away. */
void model_forget_present(struct model *m, int64_t file);

/* The range may have been split at its ends. */
void model_split(struct model *m, int64_t addr, int64_t len);

/* A store of n bytes to a shared page of a file, a new size, a write(2). */
void model_store(struct model *m, const struct model_page *page, int64_t in_page, int64_t n);
void model_truncate(struct model *m, int64_t file, int64_t bytes);
void model_write(struct model *m, int64_t file, int64_t offset, int64_t n);

/* Whether byte at of the file, seen through a shared or a private mapping or by read(2), has a value that rule 3 specifies. */
bool model_byte_specified(const struct model *m, int64_t file, int64_t at, bool private);

#endif
