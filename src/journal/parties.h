/* SPDX-License-Identifier: MIT */
/*
 * parties.h - the block that says which journals commit as one
 */
#ifndef QUIRE_JOURNAL_PARTIES_H
#define QUIRE_JOURNAL_PARTIES_H

#include "journal/format.h"

/* Whether a block has what it says: at least one party, names that are inside and have no zero. 0 or -EUCLEAN. */
int parties_check(const struct journal_parties *parties, size_t block_bytes);

/* One of them, of a block that was checked. name: malloc'ed. 0 or -ENOMEM. */
int parties_get(const struct journal_parties *parties, uint32_t index, struct journal_party *ret, char **ret_name);

#endif
