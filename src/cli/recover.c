/* SPDX-License-Identifier: MIT */
/*
 * recover.c - quire recover: makes a file complete after a crash; or throws its journal away
 *
 * To throw away takes no more than the mark, where the journal is not there or another file's: that one is not touched. Nor is a file
 * removed that only has the name of a journal.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "complete.h"
#include "journal.h"
#include "journal/scan.h"
#include "util/message.h"

enum { JOURNAL, DISCARD };

static struct verb_option options[] = {
    [JOURNAL] = {.name = "--journal", .takes_value = true},
    [DISCARD] = {.name = "--discard"},
    {0},
};

/* Says what is lost with a journal. 0; -errno: it is not to be thrown away, and why. */
static int tell_loss(const char *name, const struct cli_journal *journal)
{
	unsigned char uuid[16];
	struct journal_report report;
	int r = journal_place_uuid(journal->place.fd, uuid);

	if (r == 0)
		r = journal_scan(journal->log, &journal->place.file, NULL, NULL, NULL, &report, NULL);
	else if (r == -EUCLEAN)
		return message_set(EUCLEAN,
				   "%s is not recognised as a journal, and is not removed: if it is one, remove it by hand",
				   journal->place.path);
	if (r == -ESTALE)
		return message_set(ESTALE, "%s is the journal of another file, and is not removed: move it away",
				   journal->place.path);
	if (r == -EUCLEAN || r == -EPROTO)
		printf("%s: lost: whatever is in the journal %s, which cannot be read: %s\n", name, journal->place.path,
		       report.problem);
	else if (r < 0)
		return r;
	else if (report.last > report.complete)
		printf("%s: lost: commits %" PRIu64 " to %" PRIu64 ", with %" PRIu64 " page%s, in the journal %s\n", name,
		       report.complete + 1, report.last, report.pages, report.pages == 1 ? "" : "s", journal->place.path);
	else
		printf("%s: nothing is lost: all commits are in the file\n", name);
	if (r == 0 && report.in_doubt > 0)
		printf("%s: lost: %u more, if the journal that decides says that they count\n", name, report.in_doubt);
	return 0;
}

/* What the file says that it has is not there, or not that. */
static int discard_mark(const char *name, int error)
{
	struct journal_place place = {.fd = -1};
	int fd, r;

	if (error != -ENOENT && error != -ESTALE && error != -EUCLEAN)
		return cli_error(&recover_verb, "%s: %s", name, cli_reason(error));
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return cli_error(&recover_verb, "%s: %s", name, strerror(errno));
	printf("%s: lost: whatever is in its journal: %s\n", name, cli_reason(error));
	r = journal_place_remove(fd, &place);
	close(fd);
	return r < 0 ? cli_error(&recover_verb, "%s: %s", name, cli_reason(r)) : CLI_OK;
}

static int discard(const char *name)
{
	struct cli_journal journal;
	int r = cli_journal_open(name, options[JOURNAL].value, PLACE_FIND, &journal);

	if (r < 0)
		return discard_mark(name, r);
	if (journal.place.fd < 0)
		printf("%s: no journal: it is complete\n", name);
	else
		r = tell_loss(name, &journal);
	if (r == 0)
		r = journal_place_remove(journal.fd, &journal.place);
	cli_journal_close(&journal);
	return r < 0 ? cli_error(&recover_verb, "%s: %s", name, cli_reason(r)) : CLI_OK;
}

static int recover_run(int n, char **args)
{
	int status = CLI_OK;

	if (n == 0)
		return cli_usage(&recover_verb, "needs a file");
	if (n > 1 && options[JOURNAL].value)
		return cli_usage(&recover_verb, "takes one file with --journal, %d were given", n);
	for (int i = 0; i < n; i++)
		if ((options[DISCARD].value ? discard(args[i]) : complete_file(&recover_verb, args[i], options[JOURNAL].value)) !=
		    CLI_OK)
			status = CLI_FAILED;
	return status;
}

const struct verb recover_verb = {
    .name = "recover",
    .arguments = "FILE...",
    .summary = "make files complete after a crash",
    .text = "Makes each FILE complete out of its journal, syncs it, and removes the journal. What a crash left half done does not "
	    "count.\n"
	    "A program that opens the file for atomic commits does as much by itself; others need it.\n"
	    "\n"
	    "  --journal PATH  the journal is there: it was moved\n"
	    "  --discard       throws the journal away instead, and says what is lost: the file stays as it is, with all commits "
	    "up to some\n"
	    "                  number and perhaps parts of others\n",
    .options = options,
    .run = recover_run,
};
