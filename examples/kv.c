/* SPDX-License-Identifier: MIT */
/*
 * kv.c - a persistent key-value store: a B+tree in an atomic mapping
 *
 *	kv FILE load [--commit-every N] [--tell]    lines of KEY TAB VALUE from standard input; a line without a TAB removes its key
 *	kv FILE get KEY
 *	kv FILE put KEY VALUE
 *	kv FILE del KEY
 *	kv FILE scan [FROM [TO]]                    in the order of the keys, from FROM on and before TO
 *	kv FILE verify
 *	kv FILE stats
 *
 * --tell prints a line when a commit is durable, and not before. The tree is in kvtree.c, the file's layout in kv.h.
 */
#define _GNU_SOURCE
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("kv: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* What is printed is a copy: the system call behind it might not be allowed to wait for a page of the mapping. */
static void print_bytes(struct bytes bytes, char end)
{
	char copy[VALUE_MAX + 1];

	memcpy(copy, bytes.at, bytes.size);
	copy[bytes.size] = end;
	fwrite(copy, 1, bytes.size + 1, stdout);
}

static void print_pair(struct bytes key, struct bytes value)
{
	print_bytes(key, '\t');
	print_bytes(value, '\n');
}

static struct bytes argument_key(const char *text)
{
	size_t size = strlen(text);

	if (size == 0 || size > KEY_MAX)
		die("%.20s…: a key of %zu bytes; it has 1 to %d", text, size, KEY_MAX);
	return (struct bytes){text, size};
}

static struct bytes argument_value(const char *text)
{
	size_t size = strlen(text);

	if (size > VALUE_MAX)
		die("%.20s…: a value of %zu bytes; it has at most %d", text, size, VALUE_MAX);
	return (struct bytes){text, size};
}

static void load_line(struct store *store, char *line, ssize_t bytes, uint64_t lines)
{
	char *value;

	if (line[bytes - 1] == '\n')
		line[--bytes] = '\0';
	if (memchr(line, '\0', (size_t)bytes))
		die("line %" PRIu64 ": it has a byte of zero; take it out", lines);
	value = strchr(line, '\t');
	if (value)
		*value++ = '\0';
	if (value)
		tree_put(store, argument_key(line), argument_value(value));
	else
		tree_del(store, argument_key(line));
}

static void commit(struct store *store, uint64_t lines, bool tell)
{
	store_commit(store);
	if (tell) {
		printf("commit %" PRIu64 ": %" PRIu64 " lines\n", store->header->commits, lines);
		fflush(stdout);
	}
}

static void load(struct store *store, uint64_t commit_every, bool tell)
{
	uint64_t lines = 0, committed = 0;
	char *line = NULL;
	size_t room = 0;
	ssize_t bytes;

	while ((bytes = getline(&line, &room, stdin)) > 0) {
		load_line(store, line, bytes, ++lines);
		if (lines - committed == commit_every) {
			commit(store, lines, tell);
			committed = lines;
		}
	}
	if (ferror(stdin))
		die("standard input: %s", strerror(errno));
	if (lines > committed || store->header->commits == 0)
		commit(store, lines, tell);
	free(line);
}

__attribute__((noreturn)) static void usage(FILE *out, int status)
{
	fputs("usage: kv FILE load [--commit-every N] [--tell]   lines of KEY TAB VALUE; KEY alone removes\n"
	      "       kv FILE get KEY\n"
	      "       kv FILE put KEY VALUE\n"
	      "       kv FILE del KEY\n"
	      "       kv FILE scan [FROM [TO]]\n"
	      "       kv FILE verify\n"
	      "       kv FILE stats\n",
	      out);
	exit(status);
}

static uint64_t number(const char *name, const char *text)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || n == 0)
		die("%s %s: not a number from 1 on", name, text);
	return n;
}

static void run_load(const char *path, char **arg, int n)
{
	uint64_t commit_every = 1000;
	struct store store;
	bool tell = false;

	for (int i = 0; i < n; i++) {
		if (strcmp(arg[i], "--tell") == 0)
			tell = true;
		else if (strcmp(arg[i], "--commit-every") == 0 && i + 1 < n)
			commit_every = number("--commit-every", arg[++i]);
		else
			usage(stderr, 2);
	}
	store_open(&store, path, true);
	load(&store, commit_every, tell);
	store_close(&store);
}

static void run_get(const char *path, char **arg, int n)
{
	struct bytes key = argument_key(arg[0]), value;
	struct store store;

	(void)n;
	store_open(&store, path, false);
	if (!tree_get(&store, key, &value))
		die("%s: there is no such key in %s", arg[0], path);
	print_bytes(value, '\n');
	store_close(&store);
}

static void run_put(const char *path, char **arg, int n)
{
	struct bytes key = argument_key(arg[0]), value = argument_value(arg[1]);
	struct store store;

	(void)n;
	store_open(&store, path, true);
	tree_put(&store, key, value);
	store_commit(&store);
	store_close(&store);
}

static void run_del(const char *path, char **arg, int n)
{
	struct bytes key = argument_key(arg[0]);
	struct store store;

	(void)n;
	store_open(&store, path, false);
	if (!tree_del(&store, key))
		die("%s: there is no such key in %s", arg[0], path);
	store_commit(&store);
	store_close(&store);
}

static void run_scan(const char *path, char **arg, int n)
{
	struct bytes from = {n > 0 ? arg[0] : "", n > 0 ? strlen(arg[0]) : 0},
		     to = {n > 1 ? arg[1] : NULL, n > 1 ? strlen(arg[1]) : 0};
	struct store store;

	store_open(&store, path, false);
	tree_scan(&store, from, to, print_pair);
	store_close(&store);
}

static void run_verify(const char *path, char **arg, int n)
{
	struct store store;

	(void)arg, (void)n;
	store_open(&store, path, false);
	store_verify(&store);
	store_close(&store);
}

static void run_stats(const char *path, char **arg, int n)
{
	const struct header *header;
	struct quire_stats stats;
	struct store store;

	(void)arg, (void)n;
	store_open(&store, path, false);
	header = store.header;
	if (quire_stats_get(&stats, sizeof(stats)) < 0)
		die("%s", quire_errormsg());
	printf("commits   %" PRIu64 "\npairs     %" PRIu64 "\nlevels    %" PRIu64 "\n", header->commits, header->pairs,
	       header->levels);
	printf("nodes     %" PRIu64 " of %d bytes, %" PRIu64 " of them free, in room for %" PRIu64 "\n", header->nodes, NODE_BYTES,
	       header->free_nodes, header->room);
	printf("memory    %" PRIu64 " bytes of a budget of %" PRIu64 "\n", stats.resident_bytes, stats.budget_bytes);
	store_close(&store);
}

static const struct command {
	const char *name;
	int least, most; /* arguments */
	void (*run)(const char *path, char **arg, int n);
} commands[] = {
    {"load", 0, 3, run_load}, {"get", 1, 1, run_get},       {"put", 2, 2, run_put},     {"del", 1, 1, run_del},
    {"scan", 0, 2, run_scan}, {"verify", 0, 0, run_verify}, {"stats", 0, 0, run_stats},
};

int main(int argc, char **argv)
{
	const struct command *command = NULL;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		usage(stdout, 0);
	for (size_t i = 0; argc >= 3 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[2], commands[i].name) == 0)
			command = &commands[i];
	}
	if (!command || argc - 3 < command->least || argc - 3 > command->most)
		usage(stderr, 2);
	command->run(argv[1], argv + 3, argc - 3);
	if (fflush(stdout) != 0 || ferror(stdout))
		die("standard output: %s", strerror(errno));
	return 0;
}
