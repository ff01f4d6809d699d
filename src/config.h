/* SPDX-License-Identifier: MIT */
/*
 * config.h - settings: struct quire_config over the environment over the defaults
 */
#ifndef QUIRE_CONFIG_H
#define QUIRE_CONFIG_H

#include <stdbool.h>
#include <sys/types.h>

#include <quire/quire.h>

struct config {
	uint64_t memory_bytes;
	enum quire_trap trap;
	char swap_dir[4096];
	unsigned expire_ms;
	uint64_t journal_bytes;
	bool stats_at_exit;
	bool share_files; /* files may be stored to that other processes have in caches of their own, if these allow it, too */
	bool keeper;
	bool polling;
	/* Degraded paths, switched on by QUIRE_DEBUG words. */
	bool no_uring, no_direct, no_tracking, no_huge, no_privilege;
};

/* Fills what was not set. 0 or -EINVAL with a message that names the variable. */
int config_load(const struct quire_config *given, struct config *ret);

/*
 * The socket of the server that this program is to be served by, as QUIRE_SERVER says, which is off by default. ret: of at least 128
 * bytes. ret_may_start: one is started where none listens. 1; 0: none; -EINVAL with a message.
 */
int config_server(char *ret, size_t size, bool *ret_may_start);
/* The user, beside root and this one, whose server is trusted. 1; 0: none; -EINVAL with a message. */
int config_server_user(uid_t *ret);
/* The command that is started as a server: QUIRE_COMMAND, or the one that was installed with the library. 0 or -EINVAL with a message. */
int config_command(char *ret, size_t size);
/* Where a server listens that was told nothing else. 0 or -EINVAL. */
int config_default_socket(char *ret, size_t size);

/* Half of what the cgroups or the machine allow. */
uint64_t config_default_memory(void);

/* "256M" and the like. False: not a size. */
bool config_parse_size(const char *text, uint64_t *ret_bytes);

#endif
