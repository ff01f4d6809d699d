/* SPDX-License-Identifier: MIT */
/*
 * main.c - the quire command: finds the verb, answers --help, and sees that standard output took everything
 */
#include "cli.h"

#include <errno.h>
#include <quire/quire.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int help_run(int n, char **args);

static const struct verb help_verb = {
    .name = "help",
    .arguments = "[VERB]",
    .summary = "say how the command, or one verb of it, is used",
    .text = "Without VERB, lists the verbs.\n",
    .run = help_run,
};

static const struct verb *const verbs[] = {&bench_verb, &cat_verb,   &check_verb, &checkpoint_verb, &probe_verb, &recover_verb,
					   &run_verb,   &serve_verb, &shm_verb,   &version_verb,    &help_verb};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

/* Starts a line on standard error: "quire: " or "quire VERB: ". */
static void print_prefix(const struct verb *verb)
{
	fflush(stdout);
	if (verb)
		fprintf(stderr, "quire %s: ", verb->name);
	else
		fputs("quire: ", stderr);
}

int cli_usage(const struct verb *verb, const char *format, ...)
{
	va_list list;

	print_prefix(verb);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, "; see `quire %s%s`\n", verb ? verb->name : "help", verb ? " --help" : "");
	return CLI_USAGE;
}

int cli_error(const struct verb *verb, const char *format, ...)
{
	va_list list;

	print_prefix(verb);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	return CLI_FAILED;
}

static void print_verb_help(const struct verb *verb)
{
	printf("Usage: quire %s%s%s\n\n%s", verb->name, *verb->arguments ? " " : "", verb->arguments, verb->text);
}

static void print_help(FILE *out)
{
	fputs("Usage: quire VERB [ARGUMENT...]\n\nMemory-mapped I/O in user space. The verbs:\n\n", out);
	for (size_t i = 0; i < VERBS; i++)
		fprintf(out, "  %-11s%-18s%s\n", verbs[i]->name, verbs[i]->arguments, verbs[i]->summary);
	fputs("\n`quire VERB --help` tells more. The settings are environment variables: see quire_configure(3).\n", out);
}

static int help_run(int n, char **args)
{
	const struct verb *verb;

	if (n == 0) {
		print_help(stdout);
		return CLI_OK;
	}
	if (n > 1)
		return cli_usage(&help_verb, "takes one verb, %d were given", n);
	verb = verb_find(args[0]);
	if (!verb)
		return cli_usage(&help_verb, "there is no verb '%s'", args[0]);
	print_verb_help(verb);
	return CLI_OK;
}

static struct verb_option *option_find(const struct verb *verb, const char *name, size_t len)
{
	for (struct verb_option *option = verb->options; option && option->name; option++)
		if (strlen(option->name) == len && memcmp(option->name, name, len) == 0)
			return option;
	return NULL;
}

/* Takes the option that args begins with, and its value: --name VALUE or --name=VALUE. => How many words; 0: that was wrong, and said. */
static int option_take(const struct verb *verb, int n, char **args)
{
	size_t len = strcspn(args[0], "=");
	struct verb_option *option = option_find(verb, args[0], len);
	bool joined = args[0][len] == '=';

	if (!option) {
		cli_usage(verb, "unknown option '%s'", args[0]);
		return 0;
	}
	if (option->takes_value ? !joined && n < 2 : joined) {
		cli_usage(verb, "option '%s' %s", option->name, option->takes_value ? "needs a value" : "takes no value");
		return 0;
	}
	option->value = !option->takes_value ? "" : joined ? args[0] + len + 1 : args[1];
	return option->takes_value && !joined ? 2 : 1;
}

/* Runs a verb on what stands after it. */
static int verb_run(const struct verb *verb, int n, char **args)
{
	bool options = true;
	int given = 0;

	for (int i = 0; i < n;) {
		int taken = 1;

		if (options && (strcmp(args[i], "--help") == 0 || strcmp(args[i], "-h") == 0)) {
			print_verb_help(verb);
			return CLI_OK;
		}
		if (options && strcmp(args[i], "--") == 0)
			options = false;
		else if (options && args[i][0] == '-' && args[i][1])
			taken = option_take(verb, n - i, args + i);
		else {
			options &= !verb->first_ends;
			args[given++] = args[i];
		}
		if (taken == 0)
			return CLI_USAGE;
		i += taken;
	}
	return verb->run(given, args);
}

int main(int argc, char **argv)
{
	const struct verb *verb;
	int status;

	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		verb = &help_verb;
	else if (strcmp(argv[1], "--version") == 0)
		verb = &version_verb;
	else
		verb = verb_find(argv[1]);
	if (!verb)
		return cli_usage(NULL, "there is no verb '%s'", argv[1]);

	status = verb_run(verb, argc - 2, argv + 2);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "quire: standard output: %s\n", strerror(errno));
		if (status == CLI_OK)
			status = CLI_FAILED;
	}
	return status;
}
