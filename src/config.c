/* SPDX-License-Identifier: MIT */
/*
 * config.c - settings: struct quire_config over the environment over the defaults
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cache/cache.h"
#include "installed.h"
#include "sys/page_size.h"
#include "util/message.h"

#define DEFAULT_JOURNAL (256ull << 20)
#define LEAST_JOURNAL   (256 * (uint64_t)page_size())

bool config_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	unsigned shift = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		const char *unit = strchr(units, toupper((unsigned char)*end));

		if (!unit)
			return false;
		shift = (unsigned)(unit - units + 1) * 10;
		end++;
		if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0)
			end += strlen(end);
	}
	if (*end || number > UINT64_MAX >> shift)
		return false;
	*ret_bytes = (uint64_t)number << shift;
	return true;
}

/* The number in a file of a cgroup; UINT64_MAX: none, or "max". */
static uint64_t read_limit(const char *path)
{
	unsigned long long value = UINT64_MAX;
	FILE *file = fopen(path, "re");

	if (!file)
		return UINT64_MAX;
	if (fscanf(file, "%llu", &value) != 1)
		value = UINT64_MAX;
	fclose(file);
	return value;
}

/* The least limit of a cgroup and its ancestors. path is cut shorter and shorter. */
static uint64_t least_limit(const char *root, char *path, const char *name)
{
	uint64_t least = UINT64_MAX;
	char file[8300];

	for (;;) {
		uint64_t limit;
		char *slash;

		snprintf(file, sizeof(file), "%s%s/%s", root, path, name);
		limit = read_limit(file);
		least = limit < least ? limit : least;
		slash = strrchr(path, '/');
		if (!slash)
			return least;
		*slash = '\0';
	}
}

static uint64_t cgroup_limit(void)
{
	uint64_t least = UINT64_MAX;
	char line[4200];
	FILE *file = fopen("/proc/self/cgroup", "re");

	while (file && fgets(line, sizeof(line), file)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;
		uint64_t limit = UINT64_MAX;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (controllers[1] == '\0') {
			char copy[4200];

			snprintf(copy, sizeof(copy), "%s", path);
			limit = least_limit("/sys/fs/cgroup", copy, "memory.high");
			least = limit < least ? limit : least;
			limit = least_limit("/sys/fs/cgroup", path, "memory.max");
		} else if (strstr(controllers, "memory")) {
			limit = least_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
		}
		least = limit < least ? limit : least;
	}
	if (file)
		fclose(file);
	return least;
}

uint64_t config_default_memory(void)
{
	struct sysinfo info;
	uint64_t machine = UINT64_MAX, limit = cgroup_limit();

	if (sysinfo(&info) == 0)
		machine = (uint64_t)info.totalram * info.mem_unit;
	return (machine < limit ? machine : limit) / 2;
}

static int load_trap(enum quire_trap given, enum quire_trap *ret)
{
	const char *text = getenv("QUIRE_TRAP");

	*ret = given;
	if (given != QUIRE_TRAP_AUTO || !text || strcmp(text, "auto") == 0 || !*text)
		return 0;
	if (strcmp(text, "signal") == 0)
		*ret = QUIRE_TRAP_SIGNAL;
	else if (strcmp(text, "thread") == 0)
		*ret = QUIRE_TRAP_THREAD;
	else
		return message_set(EINVAL, "QUIRE_TRAP is «%s»; it can be auto, signal or thread", text);
	return 0;
}

static int load_memory(size_t given, uint64_t *ret)
{
	const char *text = getenv("QUIRE_MEMORY");
	uint64_t least = budget_minimum() << page_shift;

	*ret = given ? given : config_default_memory();
	if (!given && text && *text && !config_parse_size(text, ret))
		return message_set(EINVAL, "QUIRE_MEMORY is «%s»; it is a number of bytes, with K, M, G or T", text);
	if (*ret < least)
		return message_set(EINVAL, "a memory budget of %llu bytes (from %s) is too small; the least that works is %llu",
				   (unsigned long long)*ret,
				   given           ? "quire_configure"
				   : text && *text ? "QUIRE_MEMORY"
						   : "the machine's memory",
				   (unsigned long long)least);
	return 0;
}

static int load_journal(uint64_t given, uint64_t *ret)
{
	const char *text = getenv("QUIRE_JOURNAL");

	*ret = given ? given : DEFAULT_JOURNAL;
	if (!given && text && *text && !config_parse_size(text, ret))
		return message_set(EINVAL, "QUIRE_JOURNAL is «%s»; it is a number of bytes, with K, M, G or T", text);
	if (*ret < LEAST_JOURNAL)
		return message_set(EINVAL, "a journal of %llu bytes (from %s) is too small; the least that works is %llu",
				   (unsigned long long)*ret, given ? "quire_configure" : "QUIRE_JOURNAL",
				   (unsigned long long)LEAST_JOURNAL);
	return 0;
}

static int load_swap(const char *given, char *ret, size_t size)
{
	const char *dir = given ? given : getenv("QUIRE_SWAP");
	char here[PATH_MAX];

	if (!dir || !*dir)
		dir = getenv("TMPDIR");
	if (!dir || !*dir)
		dir = "/var/tmp";
	/* It is opened when the first page goes out, and the program may have gone elsewhere by then. */
	if (*dir != '/' && !getcwd(here, sizeof(here)))
		return message_set(errno, "the swap directory «%s» is relative, and the current one has no name", dir);
	if ((size_t)snprintf(ret, size, "%s%s%s", *dir == '/' ? "" : here, *dir == '/' ? "" : "/", dir) >= size)
		return message_set(EINVAL, "the name of the swap directory is longer than %zu bytes", size);
	return 0;
}

static int load_debug(const char *given, struct config *ret)
{
	const struct {
		const char *word;
		bool *flag;
	} known[] = {
	    {"no-uring", &ret->no_uring}, {"no-direct", &ret->no_direct},       {"no-tracking", &ret->no_tracking},
	    {"no-huge", &ret->no_huge},   {"no-privilege", &ret->no_privilege},
	};
	const char *word = given ? given : getenv("QUIRE_DEBUG");
	size_t len, i;

	for (; word && *word; word += len + (word[len] == ',')) {
		len = strcspn(word, ",");
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (strlen(known[i].word) == len && strncmp(word, known[i].word, len) == 0)
				break;
		if (i < sizeof(known) / sizeof(known[0]))
			*known[i].flag = true;
		else if (len > 0)
			return message_set(
			    EINVAL,
			    "QUIRE_DEBUG has the word «%.*s»; it knows no-uring, no-direct, no-tracking, no-huge and no-privilege",
			    (int)(len < 64 ? len : 64), word);
	}
	return 0;
}

static int load_keeper(enum quire_keeper given, bool *ret)
{
	const char *text = getenv("QUIRE_KEEPER");

	*ret = given != QUIRE_KEEPER_OFF;
	if (given != QUIRE_KEEPER_AUTO || !text || !*text || strcmp(text, "on") == 0)
		return 0;
	*ret = false;
	return strcmp(text, "off") == 0 ? 0 : message_set(EINVAL, "QUIRE_KEEPER is «%s»; it can be on or off", text);
}

static int load_polling(enum quire_polling given, bool *ret)
{
	const char *text = getenv("QUIRE_POLLING");

	*ret = given != QUIRE_POLLING_OFF;
	if (given != QUIRE_POLLING_AUTO || !text || !*text || strcmp(text, "on") == 0)
		return 0;
	*ret = false;
	return strcmp(text, "off") == 0 ? 0 : message_set(EINVAL, "QUIRE_POLLING is «%s»; it can be on or off", text);
}

static int load_expire(unsigned given, unsigned *ret)
{
	const char *text = getenv("QUIRE_EXPIRE_MS");
	unsigned long ms;
	char *end;

	*ret = given ? given : 5000;
	if (given || !text || !*text)
		return 0;
	errno = 0;
	ms = strtoul(text, &end, 10);
	*ret = (unsigned)ms;
	if (errno || *end || ms == 0 || ms > 3600000)
		return message_set(EINVAL, "QUIRE_EXPIRE_MS is «%s»; it is a number of milliseconds from 1 to 3600000", text);
	return 0;
}

int config_load(const struct quire_config *given, struct config *ret)
{
	static const struct quire_config none;
	const char *stats = getenv("QUIRE_STATS"), *share = getenv("QUIRE_SHARE_FILES");
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!given)
		given = &none;
	r = load_trap(given->trap, &ret->trap);
	if (r == 0)
		r = load_memory(given->memory_bytes, &ret->memory_bytes);
	if (r == 0)
		r = load_swap(given->swap_dir, ret->swap_dir, sizeof(ret->swap_dir));
	if (r == 0)
		r = load_journal(given->journal_bytes, &ret->journal_bytes);
	if (r == 0)
		r = load_debug(given->debug, ret);
	if (r == 0)
		r = load_expire(given->expire_ms, &ret->expire_ms);
	if (r == 0)
		r = load_keeper(given->keeper, &ret->keeper);
	if (r == 0)
		r = load_polling(given->polling, &ret->polling);
	ret->stats_at_exit = stats && *stats && strcmp(stats, "0") != 0;
	ret->share_files = share && *share && strcmp(share, "0") != 0;
	return r;
}

int config_default_socket(char *ret, size_t size)
{
	const char *dir = secure_getenv("XDG_RUNTIME_DIR");

	if (!dir || *dir != '/')
		dir = "/run";
	if ((size_t)snprintf(ret, size, "%s/quire.sock", dir) >= size)
		return message_set(EINVAL, "the name of the socket in %s is longer than %zu bytes", dir, size - 1);
	return 0;
}

int config_server_user(uid_t *ret)
{
	const char *text = secure_getenv("QUIRE_SERVER_USER");
	struct passwd *user;
	unsigned long number;
	char *end;

	if (!text || !*text)
		return 0;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (isdigit((unsigned char)text[0]) && !*end && errno == 0 && number < UINT32_MAX) {
		*ret = (uid_t)number;
		return 1;
	}
	user = getpwnam(text);
	if (!user)
		return message_set(EINVAL, "QUIRE_SERVER_USER is «%s», and there is no such user", text);
	*ret = user->pw_uid;
	return 1;
}

int config_command(char *ret, size_t size)
{
	const char *command = secure_getenv("QUIRE_COMMAND");

	if (!command || !*command)
		command = INSTALLED_COMMAND;
	if ((size_t)snprintf(ret, size, "%s", command) >= size)
		return message_set(EINVAL, "QUIRE_COMMAND: the name is longer than %zu bytes", size - 1);
	return 0;
}

/* Not of a program that has more rights than who has started it: the server is trusted. */
int config_server(char *ret, size_t size, bool *ret_may_start)
{
	const char *text = secure_getenv("QUIRE_SERVER");
	int r;

	*ret_may_start = false;
	if (!text || !*text || strcmp(text, "off") == 0)
		return 0;
	if (strcmp(text, "auto") == 0) {
		*ret_may_start = true;
		r = config_default_socket(ret, size);
		return r < 0 ? r : 1;
	}
	if (*text != '/')
		return message_set(EINVAL, "QUIRE_SERVER is «%s»; it can be off, auto, or the whole name of a socket", text);
	if ((size_t)snprintf(ret, size, "%s", text) >= size)
		return message_set(EINVAL, "QUIRE_SERVER: the name is longer than %zu bytes", size - 1);
	return 1;
}
