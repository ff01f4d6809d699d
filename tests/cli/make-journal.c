/* SPDX-License-Identifier: MIT */
/*
 * make-journal.c - make-journal FILE KIND [OTHER]: gives a file a journal as a program leaves it that was killed
 *
 * The file is made, 8 pages of «f», if it is not there. The journal, FILE-quire, has three commits; a page of a commit is full of the
 * number's digit.
 *
 *      commit 1    pages 0 and 1
 *      commit 2    page 1, and 2, which was spilled
 *      commit 3    page 3, and the file has 6 pages and a half
 *
 *      KIND        committed   all three count
 *                  complete    all three are in the file
 *                  torn        a fourth was under way
 *                  damaged     the second is not whole, and the third says that it was
 *                  doubt       the third is prepared, and the journal of OTHER decides
 *                  decider     the third decided for that of OTHER, too
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/made-journal.h"
#include "journal/place.h"
#include "util/message.h"

#define FILE_PAGES 8

static void set_page(struct made *made, uint64_t block, char digit)
{
	memset(made_block(made, block), digit, page_size());
}

/* Writes a group, and then other bytes into its pages than the patterns of made-journal.h. */
static void put_group(struct made_log *log, uint32_t flags, uint64_t commit, const struct made_page *pages, uint32_t n)
{
	struct made *made = log->made;
	struct group_header *header = made_group(log, flags, commit, pages, n);
	struct group_entry *entry = (struct group_entry *)(header + 1) + !!(flags & GROUP_PARTIES);
	uint64_t next = made_segment_block(made, log->index, log->block - n);

	for (uint32_t i = 0; i < n; i++)
		next += pages[i].place != 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t place = pages[i].place ? pages[i].place : next++;

		set_page(made, place, (char)('0' + commit));
		entry[i].checksum = journal_page_checksum(made->salt, pages[i].page, made_block(made, place), page_size());
	}
	made_sum_group(made, header);
}

static void build(struct made *made, const char *kind, const char *other)
{
	uint64_t bytes = FILE_PAGES * page_size(), less = 6 * page_size() + page_size() / 2;
	struct journal_party party = {.uuid = {7}, .commit = 3};
	struct made_log log = {.made = made, .seq = 1, .block = 1, .file_bytes = bytes, .least_bytes = bytes};
	uint32_t flags = GROUP_COMMIT;
	char name[4096];

	snprintf(name, sizeof(name), "%s-quire", other ? other : "");
	if (strcmp(kind, "doubt") == 0)
		flags = GROUP_PREPARED | GROUP_PARTIES;
	if (strcmp(kind, "decider") == 0)
		flags = GROUP_COMMIT | GROUP_PARTIES, party.uuid[0] = 8;
	made_header(made, 0, 1, strcmp(kind, "complete") == 0 ? 3 : 0, strcmp(kind, "complete") == 0 ? less : bytes);
	made_segment(made, 0, 1, 0, 0, 0, 0);
	put_group(&log, GROUP_COMMIT, 1, (struct made_page[]){{0, 0}, {1, 0}}, 2);
	made_synced(&log);
	put_group(&log, GROUP_COMMIT, 2, (struct made_page[]){{1, 0}, {2, made_segment_block(made, 1, 3)}}, 2);
	made_synced(&log);
	log.file_bytes = log.least_bytes = less;
	log.unit[0] = flags & GROUP_PARTIES ? 4711 : 0;
	log.parties = made_parties(1, &party, &(const char *){name});
	put_group(&log, flags, 3, (struct made_page[]){{3, 0}}, 1);
	log.unit[0] = 0;
	if (strcmp(kind, "torn") == 0) {
		put_group(&log, 0, 4, (struct made_page[]){{0, 0}}, 1);
		put_group(&log, GROUP_COMMIT, 4, (struct made_page[]){{1, 0}}, 1);
		made_block(made, made_segment_block(made, 0, log.block - 1))[5]++;
	}
	if (strcmp(kind, "damaged") == 0)
		made_block(made, made_segment_block(made, 1, 3))[5]++;
}

/* Which uuid: that of a decider is 7, that of one in doubt 8, that of others their inode's number. */
static void set_identity(struct made *made, const struct journal_place *place, const char *kind)
{
	struct journal_header *header = (struct journal_header *)made->bytes;

	header->file = place->file;
	header->owner = 99999999;
	memset(header->uuid, 0, sizeof(header->uuid));
	if (strcmp(kind, "decider") == 0)
		header->uuid[0] = 7;
	else if (strcmp(kind, "doubt") == 0)
		header->uuid[0] = 8;
	else
		memcpy(header->uuid, &place->file.ino, sizeof(place->file.ino));
	made_sum_header(made, 0);
}

int main(int argc, char **argv)
{
	struct journal_place place;
	struct made made;
	struct stat st;
	int fd;

	if (argc < 3)
		errx(2, "usage: make-journal FILE KIND [OTHER]");
	fd = open(argv[1], O_RDWR | O_CREAT, 0644);
	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", argv[1]);
	for (unsigned i = 0; st.st_size == 0 && i < FILE_PAGES * page_size(); i++)
		if (pwrite(fd, "f", 1, i) != 1)
			err(1, "%s", argv[1]);
	made_new(&made, 32, 3);
	build(&made, argv[2], argc > 3 ? argv[3] : NULL);
	if (journal_place_find(fd, PLACE_CREATE, &place) < 0)
		errx(1, "%s", message_detail());
	set_identity(&made, &place, argv[2]);
	if (pwrite(place.fd, made.bytes, made.len, 0) != (ssize_t)made.len || fsync(place.fd) != 0)
		err(1, "%s", place.path);
	if (journal_place_mark(fd, &place, ((struct journal_header *)made.bytes)->uuid) < 0)
		errx(1, "%s", message_detail());
	journal_place_done(&place);
	made_free(&made);
	return 0;
}
