/* SPDX-License-Identifier: MIT */
/*
 * place.h - where the journal of a file is, and who has it
 *
 * Beside the file, under its name and «-quire»; while there is something in it the file has the extended attribute user.quire.journal,
 * which names it and has its uuid.
 */
#ifndef QUIRE_JOURNAL_PLACE_H
#define QUIRE_JOURNAL_PLACE_H

#include "journal/journal.h"
#include "sys/identity.h"

struct journal_place {
	char *path;               /* absolute, of the journal; malloc'ed */
	int fd;                   /* open for reading and writing, and locked; -1: there is none */
	struct identity identity; /* of that descriptor */
	struct journal_identity file;
};

enum place_mode {
	PLACE_FIND,   /* what is there, or nothing: fd -1 */
	PLACE_CREATE, /* makes an empty one where there is none */
	PLACE_LOOK,   /* as FIND, for reading only, and not locked */
};

/* Whether it is certain that a file needs no journal: it has no mark, and the filesystem has attributes. One system call. */
bool journal_place_is_clean(int file_fd);
/* Whether the file says that it has a journal. Looks nowhere else. */
bool journal_place_has_mark(int file_fd);

/*
 * file_fd: open on a regular file or block device. Finds the journal by the attribute, else by the file's name.
 * => 0, and the path where it is or would be (NULL: nowhere, since the file has no name); -EBUSY: another process has it (its number is in the message, as the header says it); -ENOENT: the file says that there
 *    is a journal, and it is not where it says, nor beside the file; -ESTALE: that one has another uuid; -EUCLEAN: the one that the file says it has is
 *    damaged or overwritten, down to its header; -EACCES, -EROFS, … of the
 *    directory. All with a message that names the paths and the remedy.
 */
int journal_place_find(int file_fd, enum place_mode mode, struct journal_place *ret);

/* The same of a journal that was moved: it is at path. -ENOENT: it is not. */
int journal_place_at(int file_fd, const char *path, enum place_mode mode, struct journal_place *ret);

/* The file says from here on, on stable storage, that it has this journal. 0 (also where the filesystem has no attributes); -errno. */
int journal_place_mark(int file_fd, const struct journal_place *place, const unsigned char uuid[16]);

/* Nothing is in the journal any more: takes the mark and the journal's file away; of a place without a descriptor only the mark. 0 or -errno. */
int journal_place_remove(int file_fd, struct journal_place *place);

/* Which journal a descriptor is of. 0; -EUCLEAN: it has no valid header; -errno. */
int journal_place_uuid(int fd, unsigned char ret[16]);

/* Closes and frees. */
void journal_place_done(struct journal_place *place);

#endif
