/* SPDX-License-Identifier: MIT */
/*
 * version.c - quire version: which version this is
 */
#include "cli.h"

#include <quire/quire.h>
#include <stdio.h>

static int version_run(int n, char **args)
{
	if (n > 0)
		return cli_usage(&version_verb, "takes no argument, got '%s'", args[0]);
	printf("quire %s\n", quire_version());
	return CLI_OK;
}

const struct verb version_verb = {
    .name = "version",
    .arguments = "",
    .summary = "print the version",
    .text = "Prints the version of the library that the command runs with.\n",
    .run = version_run,
};
