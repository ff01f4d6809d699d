/* SPDX-License-Identifier: MIT */
/*
 * copy.h - versions of pages go from the journal into the file, many transfers under way
 */
#ifndef QUIRE_JOURNAL_COPY_H
#define QUIRE_JOURNAL_COPY_H

#include <stddef.h>
#include <stdint.h>

struct copier;
struct journal;

/* A page, and the block of the journal that has it. */
struct copy {
	uint64_t page;
	uint32_t block;
};

/* Memory for settings.copy_pages pages. NULL: there is none. */
struct copier *copier_new(struct journal *journal);
/* NULL is fine. */
void copier_free(struct copier *copier);

/*
 * Copies n versions, in rising order of their pages, which stay where they are meanwhile. Nothing behind file_bytes is written.
 * => 0; -errno: not all is written, or not what it should be. Nothing is under way any more in either case.
 */
int copier_run(struct copier *copier, const struct copy *copies, size_t n, uint64_t file_bytes);

#endif
