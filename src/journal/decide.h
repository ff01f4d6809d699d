/* SPDX-License-Identifier: MIT */
/*
 * decide.h - what journals that committed as one have to ask each other, when the other one is not open here
 *
 * Both have the type that journal.h wants for it. arg: a struct io, for reading. Journals that are open in this process have to be asked
 * before: here they are in use by somebody.
 */
#ifndef QUIRE_JOURNAL_DECIDE_H
#define QUIRE_JOURNAL_DECIDE_H

#include "journal/journal.h"

/*
 * Whether the journal that decides has a COMMIT of the unit (journal_resolve).
 * => No if it has not: it would be kept otherwise. No, too, if that journal was removed in order: its file is there and says that it has none.
 * => -EBUSY: it is in use, and does not have it by now; -ENOENT: it is not there, and nothing tells what became of it; -errno.
 */
int decide_resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret);

/* Whether a journal still has a prepared commit of the unit and no decision, so that it, or who opens it next, will ask for it. 0 or -errno. */
int decide_asks(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret);

#endif
