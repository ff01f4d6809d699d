/* SPDX-License-Identifier: MIT */
/*
 * complete.c - makes a file complete out of its journal, and takes the journal away
 *
 *      journal_open          what counts, also by asking other journals
 *      journal_checkpoint    into the file, synced
 *      journal_close         nothing of it is needed any more?
 *      journal_place_remove  then the mark goes, and the journal
 *
 * A crash at any point leaves a file with its journal, of which some is in the file already: the same again ends it. What takes long is done
 * by a thread, so that there is somebody to tell how far it is.
 */
#include "complete.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "journal/decide.h"
#include "journal/journal.h"
#include "util/message.h"

#define TELL_SECONDS 2

struct completion {
	const struct verb *verb;
	const char *name;
	struct cli_journal files;
	struct arena arena;
	struct journal *journal;
	struct journal_report report;
};

/* ---- what takes long ---- */

struct work {
	int (*run)(struct completion *completion);
	void (*tell)(struct completion *completion, unsigned times);
	struct completion *completion;
	int result;
	char reason[400];
};

/* What it says is said in the thread's own message. */
static void *work_run(void *arg)
{
	struct work *work = arg;

	message_clear();
	work->result = work->run(work->completion);
	snprintf(work->reason, sizeof(work->reason), "%s", message_detail());
	return NULL;
}

static int work_do(struct work *work)
{
	pthread_t thread;
	unsigned times = 0;
	int r = pthread_create(&thread, NULL, work_run, work);

	if (r != 0)
		return -r;
	for (;;) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += TELL_SECONDS;
		if (pthread_timedjoin_np(thread, NULL, &until) == 0)
			break;
		work->tell(work->completion, times++);
	}
	message_clear();
	return work->result < 0 && *work->reason ? message_set(-work->result, "%s", work->reason) : work->result;
}

/* ---- opening ---- */

static int run_open(struct completion *completion)
{
	struct cli_journal *files = &completion->files;
	struct journal_settings settings = {
	    .name = files->place.path,
	    .groups = 2,
	    .file = files->place.file,
	    .owner = getpid(),
	    .arena = &completion->arena,
	    .asks = decide_asks,
	    .asks_arg = files->io,
	};
	uint64_t least = JOURNAL_LEAST_SEGMENTS * (uint64_t)JOURNAL_SEGMENT_BYTES + (1 << 20);
	int r = files->log->ops->size(files->log, &settings.max_bytes);

	if (settings.max_bytes < least)
		settings.max_bytes = least;
	return r < 0 ? r
		     : journal_open(files->file, files->log, &settings, decide_resolve, files->io, &completion->report,
				    &completion->journal);
}

static void tell_open(struct completion *completion, unsigned times)
{
	uint64_t bytes;

	if (times == 0 && completion->files.log->ops->size(completion->files.log, &bytes) == 0)
		cli_error(completion->verb, "%s: reading a journal of %" PRIu64 " MiB", completion->name, bytes >> 20);
}

/* ---- copying ---- */

static int run_checkpoint(struct completion *completion)
{
	return journal_checkpoint(completion->journal);
}

static void tell_checkpoint(struct completion *completion, unsigned times)
{
	struct journal_stats stats;

	(void)times;
	journal_stats_get(completion->journal, &stats);
	cli_error(completion->verb, "%s: %" PRIu64 " of %" PRIu64 " pages are in the file", completion->name,
		  stats.checkpointed_pages, completion->report.pages);
}

/* ---- all of it ---- */

static void print_done(const struct completion *completion)
{
	const struct journal_report *report = &completion->report;
	uint64_t commits = report->last - report->complete;

	if (commits == 0)
		printf("%s: complete, with nothing to be copied; it has %" PRIu64 " bytes\n", completion->name, report->file_bytes);
	else
		printf("%s: complete: %" PRIu64 " commit%s with %" PRIu64 " page%s copied; it has %" PRIu64 " bytes\n",
		       completion->name, commits, commits == 1 ? "" : "s", report->pages, report->pages == 1 ? "" : "s",
		       report->file_bytes);
}

static int finish(struct completion *completion)
{
	struct work checkpoint = {.run = run_checkpoint, .tell = tell_checkpoint, .completion = completion};
	int copied = work_do(&checkpoint);
	char reason[400];
	bool empty = false;
	int r;

	snprintf(reason, sizeof(reason), "%s", cli_reason(copied));
	message_clear();
	r = journal_close(completion->journal, copied == 0, &empty);
	if (copied < 0)
		return cli_error(completion->verb, "%s: it is not complete, and needs its journal still: %s", completion->name,
				 reason);
	if (r < 0)
		return cli_error(completion->verb, "%s: it is complete, and its journal could not be closed: %s", completion->name,
				 cli_reason(r));
	print_done(completion);
	if (!empty) {
		printf("  its journal %s stays: another file, which was committed together with this one, may still ask for it\n",
		       completion->files.place.path);
		return CLI_OK;
	}
	r = journal_place_remove(completion->files.fd, &completion->files.place);
	if (r < 0)
		return cli_error(completion->verb, "%s: %s", completion->name, cli_reason(r));
	return CLI_OK;
}

static int complete_opened(struct completion *completion)
{
	struct work opening = {.run = run_open, .tell = tell_open, .completion = completion};
	int r = work_do(&opening);

	if (r < 0)
		return cli_error(completion->verb, "%s: %s: %s", completion->name, completion->files.place.path, cli_reason(r));
	return finish(completion);
}

int complete_file(const struct verb *verb, const char *name, const char *journal)
{
	struct completion completion = {.verb = verb, .name = name};
	int r = cli_journal_open(name, journal, PLACE_FIND, &completion.files);
	int status = CLI_OK;

	if (r < 0)
		return cli_error(verb, "%s: %s", name, cli_reason(r));
	if (completion.files.place.fd < 0)
		printf("%s: no journal: it is complete\n", name);
	else
		status = complete_opened(&completion);
	cli_journal_close(&completion.files);
	arena_done(&completion.arena);
	return status;
}
