/* SPDX-License-Identifier: MIT */
/*
 * serve.c - quire serve: one cache for many processes
 */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"
#include "config.h"
#include "entry.h"
#include "server/server.h"
#include "util/message.h"

enum { SOCKET, MEMORY, IDLE_EXIT, DETACH, GROUP, CLIENT_AREAS, CLIENT_LOCKED, CLIENT_FILES };

/* What each client may have, where nothing else is said: as many mappings as the kernel gives a process; half of the memory. */
#define CLIENT_AREAS_DEFAULT 65530
#define CLIENT_FILES_DEFAULT 4096

static struct verb_option serve_options[] = {
    {"--socket", true, NULL},        {"--memory", true, NULL},       {"--idle-exit", true, NULL},
    {"--detach", false, NULL},       {"--group", true, NULL},        {"--client-areas", true, NULL},
    {"--client-locked", true, NULL}, {"--client-files", true, NULL}, {NULL, false, NULL},
};

/* Seconds, or with a unit. */
static bool parse_time(const char *text, unsigned *ret_ms)
{
	static const struct {
		const char *unit;
		unsigned long ms;
	} units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"min", 60000}, {"h", 3600000}};
	unsigned long number;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0) {
			if (errno || number == 0 || number > 1000000000ul / units[i].ms)
				return false;
			*ret_ms = (unsigned)(number * units[i].ms);
			return true;
		}
	return false;
}

/* A number from 1 on. */
static bool parse_count(const char *text, unsigned *ret)
{
	unsigned long number;
	char *end;

	if (!text)
		return true;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *end || number == 0 || number > INT_MAX)
		return false;
	*ret = (unsigned)number;
	return true;
}

/* 0, or the exit status, when that was said. locked_bytes 0: half of the memory. */
static int read_limits(struct far_limits *ret, uint64_t *ret_locked_bytes)
{
	const char *areas = serve_options[CLIENT_AREAS].value, *files = serve_options[CLIENT_FILES].value;
	const char *locked = serve_options[CLIENT_LOCKED].value;
	unsigned most_areas = CLIENT_AREAS_DEFAULT, most_files = CLIENT_FILES_DEFAULT;

	*ret_locked_bytes = 0;
	if (!parse_count(areas, &most_areas))
		return cli_usage(&serve_verb, "--client-areas: '%s' is no number from 1 on", areas);
	if (!parse_count(files, &most_files))
		return cli_usage(&serve_verb, "--client-files: '%s' is no number from 1 on", files);
	if (locked && (!config_parse_size(locked, ret_locked_bytes) || *ret_locked_bytes == 0))
		return cli_usage(&serve_verb, "--client-locked: '%s' is no number of bytes, with K, M, G or T", locked);
	*ret = (struct far_limits){.areas = most_areas, .objects = most_files};
	return 0;
}

/* Each client and each file that is mapped is a few descriptors. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int start(uint64_t memory_bytes, struct engine **ret)
{
	/* Of its own it maps nothing; that a client's write(2) holds a lock of the file that is read for it has to be reckoned with. */
	struct quire_config config = {.size = sizeof(config), .memory_bytes = memory_bytes, .trap = QUIRE_TRAP_THREAD};

	if (quire_configure(&config) < 0)
		return -1;
	message_clear();
	return entry_engine(ret);
}

static int stop(struct server *server, struct engine *engine)
{
	int r;

	server_notify("STOPPING=1");
	server_close(server);
	r = entry_write_back(engine);
	if (r < 0)
		return cli_error(&serve_verb, "not all that was stored could be written: %s", strerrordesc_np(-r));
	fprintf(stderr, "quire serve: everything is written back\n");
	return CLI_OK;
}

/* By its name, or its number. */
static bool find_group(const char *name, gid_t *ret)
{
	struct group *group = getgrnam(name);
	unsigned number;

	if (!group && !(parse_count(name, &number)))
		return false;
	*ret = group ? group->gr_gid : (gid_t)number;
	return true;
}

static int serve(const char *path, uint64_t memory_bytes, unsigned idle_ms)
{
	struct server server;
	struct engine *engine;
	const char *group = serve_options[GROUP].value;
	struct far_limits limits;
	uint64_t locked_bytes;
	gid_t gid = 0;
	int r = read_limits(&limits, &locked_bytes);

	if (r)
		return r;
	if (group && !find_group(group, &gid))
		return cli_error(&serve_verb, "--group: there is no group '%s'", group);
	if (server_open(&server, path, group ? &gid : NULL) < 0) {
		(void)cli_error(&serve_verb, "%s", message_detail());
		server_close(&server);
		return CLI_FAILED;
	}
	server.idle_ms = idle_ms;
	if (start(memory_bytes, &engine) < 0) {
		(void)cli_error(&serve_verb, "%s", message_detail()[0] ? message_detail() : quire_errormsg());
		server_close(&server);
		return CLI_FAILED;
	}
	limits.locked_pages = (locked_bytes ? locked_bytes : engine->config.memory_bytes / 2) / quire_pagesize();
	engine->remotes.limits = limits;
	engine->remotes.serves_group = group != NULL;
	engine->remotes.group = gid;
	fprintf(stderr, "quire serve: listening at %s, with %llu MiB of memory\n",
		server.path[0] ? server.path : "a socket that was handed over",
		(unsigned long long)(engine->config.memory_bytes >> 20));
	server_notify("READY=1");
	if (serve_options[DETACH].value)
		server_detach();
	server_run(&server, engine);
	return stop(&server, engine);
}

static int serve_run(int n, char **args)
{
	const char *memory = serve_options[MEMORY].value, *idle = serve_options[IDLE_EXIT].value;
	uint64_t memory_bytes = 0;
	unsigned idle_ms = 0;
	char path[128];

	(void)args;
	if (n > 0)
		return cli_usage(&serve_verb, "takes no arguments");
	if (memory && (!config_parse_size(memory, &memory_bytes) || memory_bytes == 0))
		return cli_usage(&serve_verb, "--memory: '%s' is no number of bytes, with K, M, G or T", memory);
	if (idle && !parse_time(idle, &idle_ms))
		return cli_usage(&serve_verb, "--idle-exit: '%s' is no time: seconds, or with ms, s, m or h", idle);
	message_clear();
	if (!serve_options[SOCKET].value && config_default_socket(path, sizeof(path)) < 0)
		return cli_error(&serve_verb, "%s", message_detail());
	/* It is the one that others are told of. */
	unsetenv("QUIRE_SERVER");
	raise_descriptors();
	/* That manager looks after the program that has started this one. */
	if (serve_options[DETACH].value)
		unsetenv("NOTIFY_SOCKET");
	return serve(serve_options[SOCKET].value ? serve_options[SOCKET].value : path, memory_bytes, idle_ms);
}

const struct verb serve_verb = {
    .name = "serve",
    .arguments = "[--socket PATH] [--memory N] [--idle-exit T] [--group NAME]",
    .summary = "be the one cache of many processes",
    .text = "Runs an engine as a server on a Unix socket, until SIGTERM or SIGINT, and writes everything back before it ends. "
	    "Programs of the\n"
	    "same user that are started with QUIRE_SERVER=PATH, or QUIRE_SERVER=auto for the default socket, have their mappings "
	    "in it:\n"
	    "they share one cache and one memory budget, and see each other's stores at once.\n"
	    "\n"
	    "  --socket PATH   the socket; else quire.sock in $XDG_RUNTIME_DIR, or in /run\n"
	    "  --memory N      the memory budget, as QUIRE_MEMORY\n"
	    "  --idle-exit T   end when nobody was connected for so long: seconds, or with ms, s, m or h\n"
	    "  --group NAME    serve processes of other users, too, if they are of this group; see quire-serve(1) first\n"
	    "  --detach        once it listens, leave folder and standard streams; what is said goes to the journal\n"
	    "\n"
	    "What each client may have, children of forks by themselves:\n"
	    "\n"
	    "  --client-areas N       mappings; else 65530\n"
	    "  --client-locked SIZE   locked bytes; else half of the memory\n"
	    "  --client-files N       files and pieces of shared memory that are mapped; else 4096\n",
    .options = serve_options,
    .run = serve_run,
};
