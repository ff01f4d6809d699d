/* SPDX-License-Identifier: MIT */
/*
 * shm.c - quire shm: the shared memory that a server has for programs, by names and by keys
 */
#include "cli.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <quire/quire.h>
#include <quire/shm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "entry.h"
#include "remote/client.h"
#include "util/message.h"

enum { SOCKET, REMOVE };

static struct verb_option shm_options[] = {{"--socket", true, NULL}, {"--remove", false, NULL}, {NULL, false, NULL}};

/* To the server that is named, that QUIRE_SERVER names, or that listens at the default socket. 0, or the exit status. */
static int connect_to(const char *given)
{
	char path[128];
	bool may_start;
	int r;

	message_clear();
	r = given ? (size_t)snprintf(path, sizeof(path), "%s", given) < sizeof(path)
			? 1
			: message_set(EINVAL, "the name of the socket is longer than %zu bytes", sizeof(path) - 1)
		  : config_server(path, sizeof(path), &may_start);
	if (r == 0)
		r = config_default_socket(path, sizeof(path));
	if (r >= 0)
		r = client_connect(path, false);
	/* It is connected: calls are not to look for another. */
	unsetenv("QUIRE_SERVER");
	return r < 0 ? cli_error(&shm_verb, "%s", message_detail()) : 0;
}

static void print_owner(const char *uid, const char *gid)
{
	struct passwd *user = getpwuid((uid_t)strtoul(uid, NULL, 10));
	struct group *group = getgrgid((gid_t)strtoul(gid, NULL, 10));

	printf("%-12s%-12s", user ? user->pw_name : uid, group ? group->gr_name : gid);
}

/* As shm_tell and segments_tell have it: a name has five fields, a segment seven. */
static void print_line(char *line)
{
	char *field[7], *rest = line;
	unsigned n = 0;

	while (n < 7 && rest)
		field[n++] = strsep(&rest, "\t");
	if (n == 5) {
		printf("%-26s%-12s", field[0], "-");
		print_owner(field[1], field[2]);
		printf("%4s%14s%10s\n", field[3], field[4], "-");
	} else if (n == 7) {
		printf("%-26s%-12s", field[0], field[1]);
		print_owner(field[2], field[3]);
		printf("%4s%14s%10s\n", field[4], field[5], field[6]);
	}
}

static int list(void)
{
	struct client_call call = {.name = CALL_SHM_LIST, .fd = memfd_create("quire-shm", MFD_CLOEXEC)};
	struct entry entry;
	char *line = NULL;
	size_t size = 0;
	FILE *in = NULL;
	int r;

	entry_begin(&entry, "quire shm");
	r = call.fd < 0 ? -errno : (int)client_ask(&call, NULL);
	if (entry_end(&entry, r) == 0)
		in = fdopen(call.fd, "r");
	if (!in) {
		if (call.fd >= 0)
			close(call.fd);
		return cli_error(&shm_verb, "%s", r < 0 ? message_detail() : strerror(errno));
	}
	rewind(in);
	printf("%-26s%-12s%-12s%-12s%4s%14s%10s\n", "name or id", "key", "owner", "group", "mode", "bytes", "attached");
	while (getline(&line, &size, in) > 0) {
		line[strcspn(line, "\n")] = '\0';
		print_line(line);
	}
	free(line);
	fclose(in);
	return CLI_OK;
}

static int remove_one(const char *what)
{
	char *end;
	long id;

	if (*what == '/')
		return quire_shm_unlink(what) == 0 ? CLI_OK : cli_error(&shm_verb, "%s: %s", what, message_detail());
	errno = 0;
	id = strtol(what, &end, 10);
	if (*what < '0' || *what > '9' || *end || errno || id != (int)id)
		return cli_error(&shm_verb, "%s is neither a name, which begins with a slash, nor the number of a segment", what);
	return quire_shmctl((int)id, IPC_RMID, NULL) == 0 ? CLI_OK : cli_error(&shm_verb, "%s: %s", what, message_detail());
}

static int shm_run(int n, char **args)
{
	int status;

	if (n > 0 && !shm_options[REMOVE].value)
		return cli_usage(&shm_verb, "takes no arguments without --remove");
	if (n == 0 && shm_options[REMOVE].value)
		return cli_usage(&shm_verb, "--remove needs a name or the number of a segment");
	status = connect_to(shm_options[SOCKET].value);
	if (status)
		return status;
	if (n == 0)
		return list();
	for (int i = 0; i < n; i++)
		if (remove_one(args[i]) != CLI_OK)
			status = CLI_FAILED;
	return status;
}

const struct verb shm_verb = {
    .name = "shm",
    .arguments = "[--remove NAME...]",
    .summary = "list, or remove, the shared memory that a server has",
    .text =
	"Lists what programs have made in a server by quire_shm_open, under a name, and by quire_shmget, under a key, with owner, "
	"group and\n"
	"mode. Nothing else removes it when its programs have ended, and a server does not end by --idle-exit while there is any.\n"
	"\n"
	"  --socket PATH   the server; else the one of QUIRE_SERVER, or at the default socket\n"
	"  --remove        remove what is named: /NAME, or the number of a segment. Memory that is still mapped stays until it is "
	"not\n"
	"\n"
	"Only its owner, root and the server's user may remove it.\n",
    .options = shm_options,
    .run = shm_run,
};
