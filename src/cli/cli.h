/* SPDX-License-Identifier: MIT */
/*
 * cli.h - a verb of the quire command, and what verbs share
 */
#ifndef QUIRE_CLI_H
#define QUIRE_CLI_H

/* Exit statuses. */
enum {
	CLI_OK = 0,
	CLI_FAILED = 1, /* some of the work could not be done; a sentence on standard error said what */
	CLI_USAGE = 2,  /* the command line was not understood */
};

struct verb {
	const char *name;
	const char *arguments; /* as the usage line shows them */
	const char *summary;   /* one line of `quire help` */
	const char *text;      /* the rest of `quire VERB --help` */
	/* => args: what stands after the verb, no options among them; n: how many. Returns an exit status. */
	int (*run)(int n, char **args);
};

extern const struct verb cat_verb, probe_verb, version_verb;

/* Says on standard error that the line was wrong, and where to read how it is right. Returns CLI_USAGE. */
int cli_usage(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says «quire VERB: …» on standard error. Returns CLI_FAILED. */
int cli_error(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
