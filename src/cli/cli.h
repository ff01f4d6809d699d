/* SPDX-License-Identifier: MIT */
/*
 * cli.h - a verb of the quire command, and what verbs share
 */
#ifndef QUIRE_CLI_H
#define QUIRE_CLI_H

#include <stdbool.h>

/* Exit statuses. */
enum {
	CLI_OK = 0,
	CLI_FAILED = 1, /* some of the work could not be done; a sentence on standard error said what */
	CLI_USAGE = 2,  /* the command line was not understood */
};

/* An option of a verb. The value that was given is left in it: "" for one that takes none. NULL: it was not given. */
struct verb_option {
	const char *name; /* --name */
	bool takes_value;
	const char *value;
};

struct verb {
	const char *name;
	const char *arguments;       /* as the usage line shows them */
	const char *summary;         /* one line of `quire help` */
	const char *text;            /* the rest of `quire VERB --help` */
	bool first_ends;             /* what stands behind the first argument is no option */
	struct verb_option *options; /* ends with one without a name; NULL: none but --help */
	/* => args: what stands after the verb, no options among them; n: how many. Returns an exit status. */
	int (*run)(int n, char **args);
};

extern const struct verb bench_verb, cat_verb, check_verb, checkpoint_verb, probe_verb, recover_verb, run_verb, serve_verb,
    shm_verb, version_verb;

/* Says on standard error that the line was wrong, and where to read how it is right. Returns CLI_USAGE. */
int cli_usage(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says «quire VERB: …» on standard error. Returns CLI_FAILED. */
int cli_error(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
