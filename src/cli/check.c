/* SPDX-License-Identifier: MIT */
/*
 * check.c - quire check: what the journal of a file holds, and whether it is right
 *
 * Writes nothing, and takes no lock: where somebody commits at the same time, what is read may be half of one state and half of another, and
 * that is said.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "journal.h"
#include "util/message.h"

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* Who has it open: the owner in the header is still there after a crash, the lock is not. */
static bool is_in_use(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void print_commits(const struct journal_report *report)
{
	uint64_t waiting = report->last - report->complete;

	if (report->last == 0)
		printf("  no commits yet\n");
	else if (waiting == 0)
		printf("  all commits, up to number %" PRIu64 ", are in the file\n", report->last);
	else
		printf("  commits up to number %" PRIu64 "; %" PRIu64 " of them, with %" PRIu64 " page%s, %s not in the file yet\n",
		       report->last, waiting, report->pages, plural(report->pages), waiting == 1 ? "is" : "are");
	printf("  the file's size as of the last commit: %" PRIu64 " bytes\n", report->file_bytes);
	if (report->in_doubt > 0)
		printf("  %u commit%s that another journal decides: it is asked when the file is opened\n", report->in_doubt,
		       plural(report->in_doubt));
	if (report->given_up_groups + report->torn_blocks > 0)
		printf("  behind the last commit what a crash left of one that was under way, which does not count\n");
}

/* Returns an exit status. */
static int check_journal(const char *name, const struct cli_journal *journal)
{
	struct journal_report report;
	bool in_use = is_in_use(journal->place.fd);
	int r = journal_check(journal->file, journal->log, &journal->place.file, &report);

	if (r < 0)
		return cli_error(&check_verb, "%s: %s: %s", name, journal->place.path, cli_reason(r));
	printf("%s: journal %s\n", name, journal->place.path);
	if (report.fresh) {
		printf("  empty: nothing was committed\n");
		return CLI_OK;
	}
	if (in_use && report.owner > 0)
		printf("  in use by process %" PRId64 "\n", report.owner);
	else if (in_use)
		printf("  in use\n");
	if (report.problem[0]) {
		printf("  wrong: %s\n", report.problem);
		if (in_use)
			printf("  which may be because it is being written\n");
		return CLI_FAILED;
	}
	print_commits(&report);
	return CLI_OK;
}

static int check_file(const char *name)
{
	struct cli_journal journal;
	int r = cli_journal_open(name, NULL, PLACE_LOOK, &journal);
	int status;

	if (r < 0)
		return cli_error(&check_verb, "%s: %s", name, cli_reason(r));
	if (journal.place.fd < 0) {
		printf("%s: no journal: the file is complete\n", name);
		status = CLI_OK;
	} else {
		status = check_journal(name, &journal);
	}
	cli_journal_close(&journal);
	return status;
}

static int check_run(int n, char **args)
{
	int status = CLI_OK;

	if (n == 0)
		return cli_usage(&check_verb, "needs a file");
	for (int i = 0; i < n; i++)
		if (check_file(args[i]) != CLI_OK)
			status = CLI_FAILED;
	return status;
}

const struct verb check_verb = {
    .name = "check",
    .arguments = "FILE...",
    .summary = "say what the journal of a file holds, and whether it is right",
    .text = "Finds the journal of each FILE, reads all of it that counts, and says which commits it has. Writes nothing. The exit "
	    "status is 1\n"
	    "if a journal is damaged, missing, or of another file.\n",
    .run = check_run,
};
