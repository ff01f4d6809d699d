/* SPDX-License-Identifier: MIT */
/*
 * probe.c - quire probe: what this kernel and these privileges allow
 */
#include "cli.h"

#include <errno.h>
#include <quire/quire.h>
#include <stdio.h>
#include <string.h>

static int probe_run(int n, char **args)
{
	if (n > 0)
		return cli_usage(&probe_verb, "takes no argument, got '%s'", args[0]);
	if (quire_probe(stdout) != 0)
		return cli_error(&probe_verb, "standard output: %s", strerror(errno));
	return CLI_OK;
}

const struct verb probe_verb = {
    .name = "probe",
    .arguments = "",
    .summary = "say what this kernel and these privileges allow",
    .text = "Tries what the engine needs of the kernel, prints a line for each: whether it is there, what is used in its place,\n"
	    "and what to change to get it. Changes nothing.\n",
    .run = probe_run,
};
