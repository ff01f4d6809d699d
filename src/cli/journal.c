/* SPDX-License-Identifier: MIT */
/*
 * journal.c - a file and its journal, without an engine
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pager/file.h"
#include "util/message.h"

#define IO_DEPTH 8

const char *cli_reason(int error)
{
	return *message_detail() ? message_detail() : strerror(-error);
}

static int open_pagers(struct cli_journal *journal, bool writable)
{
	int r = io_create(IO_DEPTH, true, &journal->io);

	if (r == 0)
		r = file_pager_open(journal->io, journal->fd, writable, false, true, &journal->file);
	if (r == 0)
		r = file_pager_open(journal->io, journal->place.fd, writable, false, true, &journal->log);
	return r;
}

int cli_journal_open(const char *name, const char *path, enum place_mode mode, struct cli_journal *ret)
{
	bool writable = mode != PLACE_LOOK;
	/* Without waiting for the other end of a pipe, which has no journal anyhow. */
	int fd = open(name, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r;

	message_clear();
	if (fd < 0)
		return -errno;
	*ret = (struct cli_journal){.fd = fd, .place = {.fd = -1}};
	r = path ? journal_place_at(fd, path, mode, &ret->place) : journal_place_find(fd, mode, &ret->place);
	if (r == 0 && ret->place.fd >= 0)
		r = open_pagers(ret, writable);
	if (r < 0)
		cli_journal_close(ret);
	return r;
}

void cli_journal_close(struct cli_journal *journal)
{
	if (journal->log)
		journal->log->ops->close(journal->log);
	if (journal->file)
		journal->file->ops->close(journal->file);
	io_destroy(journal->io);
	journal_place_done(&journal->place);
	close(journal->fd);
}
