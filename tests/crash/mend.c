/* SPDX-License-Identifier: MIT */
/*
 * mend.c - makes the checksums of a torn log fit, as if nobody had compared them
 *
 * By docs/journal-format.md alone, and none of the journal's own functions.
 */
#include "mend.h"

#include <stddef.h>
#include <string.h>
#include <xxhash.h>

#include "journal/format.h"
#include "sys/page_size.h"

static void mend_group(struct image *log, size_t at)
{
	struct group_header *group = (struct group_header *)(log->bytes + at);
	struct group_entry *entries = (struct group_entry *)(group + 1);
	size_t block = page_size(), next = at + block;

	if (group->entries > group_most((uint32_t)block))
		return;
	for (unsigned i = 0; i < group->entries; i++) {
		size_t place = entries[i].place ? entries[i].place * block : next;

		if (entries[i].place == 0)
			next += block;
		if (place + block <= log->size)
			entries[i].checksum = XXH3_64bits_withSeed(log->bytes + place, block, group->salt ^ entries[i].page);
	}
	group->checksum = 0;
	group->checksum = XXH3_64bits_withSeed(group, block, group->salt);
}

void mend_checksums(struct image images[], unsigned n_files)
{
	for (unsigned i = 0; i < n_files; i++) {
		struct image *log = &images[2 * i + 1];

		for (size_t at = HEADER_BLOCKS * page_size(); at + page_size() <= log->size; at += page_size()) {
			uint64_t magic;

			memcpy(&magic, log->bytes + at, sizeof(magic));
			if (magic == GROUP_MAGIC)
				mend_group(log, at);
		}
	}
}
