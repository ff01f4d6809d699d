/* SPDX-License-Identifier: MIT */
/*
 * start.c - the preload in a process
 *
 * The engine starts with the first mapping that is its own: a program that maps nothing pays for the loading of the library alone. The
 * settings are read before main, since a program may change its environment.
 */
#include "start.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counts.h"
#include "ends.h"
#include "entry.h"
#include "files.h"
#include "last.h"
#include "next.h"
#include "processes.h"
#include "remote/client.h"
#include "util/lock.h"

struct start start;

static struct lock start_lock;
static bool refused; /* [start_lock] */
static char match[4096];

static void read_settings(void)
{
	const char *pattern = getenv(START_MATCH_VARIABLE), *anonymous = getenv(START_ANONYMOUS_VARIABLE);

	if (pattern && *pattern && strlen(pattern) < sizeof(match))
		start.rules.match = strcpy(match, pattern);
	start.rules.anonymous = anonymous && *anonymous;
}

__attribute__((constructor)) static void begin(void)
{
	next_find();
	processes_start();
	read_settings();
	counts_start();
}

/* A program that uses Quire by itself has an engine already, whose SIGBUS another would take. */
static bool has_its_own(void)
{
	return dlsym(RTLD_DEFAULT, "quire_mmap") != NULL;
}

static bool start_locked(void)
{
	struct entry entry;
	struct engine *engine;
	int r;

	if (refused)
		return false;
	refused = has_its_own();
	if (refused)
		return false;
	entry_begin(&entry, "quire run");
	r = client_is() ? 0 : entry_engine(&engine);
	if (r == 0 && !client_is())
		r = files_start();
	start.copies = r == 0 && !client_is() && (engine->trap == QUIRE_TRAP_SIGNAL || engine->source == UFFD_USER_ONLY);
	entry_end(&entry, r);
	if (r < 0) {
		fprintf(stderr, "%s. Mappings are left to the kernel\n", quire_errormsg());
		refused = true;
		return false;
	}
	if (!client_is()) {
		start.pid = getpid();
		atomic_fetch_add(&counts->processes, 1);
		ends_start();
	}
	start.running = true;
	last_watch();
	return true;
}

bool start_engine_if_needed(void)
{
	sigset_t all, before;
	bool started;

	if (start_is_running())
		return true;
	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, &before);
	lock_acquire(&start_lock);
	started = start.running || start_locked();
	lock_release(&start_lock);
	NEXT(pthread_sigmask)(SIG_SETMASK, &before, NULL);
	return started;
}

bool start_manages(const void *addr, size_t len)
{
	sigset_t all, before;
	bool managed;

	if (!start_is_running() || len == 0)
		return false;
	if (!client_is())
		return entry_is_ours(addr, len);
	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, &before);
	managed = client_manages(addr, len);
	NEXT(pthread_sigmask)(SIG_SETMASK, &before, NULL);
	return managed;
}

size_t start_extent(const void *addr, size_t len, bool *ret_managed)
{
	struct engine *engine = client_is() ? NULL : entry_engine_if_started();
	sigset_t all, before;
	size_t extent = len;

	*ret_managed = false;
	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, &before);
	if (client_is())
		extent = client_extent(addr, len, ret_managed);
	else if (engine)
		extent = space_extent(engine->space, addr, len, ret_managed);
	NEXT(pthread_sigmask)(SIG_SETMASK, &before, NULL);
	return extent;
}
