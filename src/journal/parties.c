/* SPDX-License-Identifier: MIT */
/*
 * parties.c - the block that says which journals commit as one
 */
#include "journal/parties.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/fail.h"

int parties_check(const struct journal_parties *parties, size_t block_bytes)
{
	const char *bytes = (const char *)parties;
	size_t at = sizeof(*parties);

	if (parties->count == 0)
		return -EUCLEAN;
	for (uint32_t i = 0; i < parties->count; i++) {
		struct journal_party party;

		if (block_bytes - at < sizeof(party))
			return -EUCLEAN;
		memcpy(&party, bytes + at, sizeof(party));
		at += sizeof(party);
		if (party.length == 0 || party.length > block_bytes - at || memchr(bytes + at, '\0', party.length))
			return -EUCLEAN;
		at += party.length;
	}
	return 0;
}

int parties_get(const struct journal_parties *parties, uint32_t index, struct journal_party *ret, char **ret_name)
{
	const char *at = (const char *)(parties + 1);
	struct journal_party party;

	memcpy(&party, at, sizeof(party));
	for (uint32_t i = 0; i < index; i++) {
		at += sizeof(party) + party.length;
		memcpy(&party, at, sizeof(party));
	}
	*ret_name = fail_now(FAIL_ALLOC) ? NULL : strndup(at + sizeof(party), party.length);
	if (!*ret_name)
		return -ENOMEM;
	*ret = party;
	return 0;
}
