/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - quire checkpoint: copies what was committed into the files, and removes their journals
 */
#include "cli.h"

#include <stddef.h>

#include "complete.h"

static int checkpoint_run(int n, char **args)
{
	int status = CLI_OK;

	if (n == 0)
		return cli_usage(&checkpoint_verb, "needs a file");
	for (int i = 0; i < n; i++)
		if (complete_file(&checkpoint_verb, args[i], NULL) != CLI_OK)
			status = CLI_FAILED;
	return status;
}

const struct verb checkpoint_verb = {
    .name = "checkpoint",
    .arguments = "FILE...",
    .summary = "copy what was committed into files, and remove their journals",
    .text = "Makes each FILE complete, so that it can be copied, moved or read by any program: all commits of its journal are "
	    "copied into it\n"
	    "and synced, and the journal is removed. A file that a program has open for atomic commits is refused.\n",
    .run = checkpoint_run,
};
