/* SPDX-License-Identifier: MIT */
/*
 * complete.h - makes a file complete out of its journal, and takes the journal away
 */
#ifndef QUIRE_CLI_COMPLETE_H
#define QUIRE_CLI_COMPLETE_H

#include "cli.h"

/* journal: where it is; NULL: it is looked for. Says what it did on standard output. Returns an exit status. */
int complete_file(const struct verb *verb, const char *name, const char *journal);

#endif
