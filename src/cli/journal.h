/* SPDX-License-Identifier: MIT */
/*
 * journal.h - a file and its journal, without an engine: what the verbs about journals share
 */
#ifndef QUIRE_CLI_JOURNAL_H
#define QUIRE_CLI_JOURNAL_H

#include "journal/place.h"
#include "pager/pager.h"

struct cli_journal {
	int fd; /* of the file */
	struct io *io;
	struct pager *file;
	struct journal_place place; /* fd -1: there is no journal, nor pagers */
	struct pager *log;
};

/*
 * Opens a file, finds its journal, and makes pagers of both: for reading only with PLACE_LOOK. path: where the journal is; NULL: it is
 * looked for. => 0, also if there is none; -errno: cli_reason() tells more.
 */
int cli_journal_open(const char *name, const char *path, enum place_mode mode, struct cli_journal *ret);
void cli_journal_close(struct cli_journal *journal);

/* The sentence for an error of the library's inner functions: what they have said, or the errno's. */
const char *cli_reason(int error);

#endif
