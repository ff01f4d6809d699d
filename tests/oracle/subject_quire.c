/* SPDX-License-Identifier: MIT */
/*
 * subject_quire.c - the library as the side that is compared with the kernel
 *
 * ORACLE_KERNEL_ONLY leaves the library out, to work on the harness alone.
 */
#include "subjects.h"

#ifndef ORACLE_KERNEL_ONLY

#include <errno.h>
#include <inttypes.h>
#include <quire/quire.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "entry.h"

_Static_assert(WORD_SHARE == QUIRE_INHERIT_SHARE && WORD_COPY == QUIRE_INHERIT_COPY && WORD_NONE == QUIRE_INHERIT_NONE &&
		   WORD_ZERO == QUIRE_INHERIT_ZERO,
	       "programs have the numbers of minherit");

/* The budget is kept, at every moment: the peak is what the engine itself saw. */
static bool budget_is_kept(char *message, size_t size)
{
	struct quire_stats stats;

	if (quire_stats_get(&stats, sizeof(stats)) != 0) {
		snprintf(message, size, "quire_stats_get: %s", quire_errormsg());
		return false;
	}
	if (stats.resident_peak_bytes <= stats.budget_bytes)
		return true;
	snprintf(message, size, "%" PRIu64 " bytes were resident, %" PRIu64 " are allowed", stats.resident_peak_bytes,
		 stats.budget_bytes);
	return false;
}

static void settle(int children)
{
	const struct engine *engine = entry_engine_if_started();
	struct timespec pause = {0, 100000};

	while (engine != NULL && (int)atomic_load(&engine->remotes.count) > children)
		nanosleep(&pause, NULL);
}

static int configure(size_t memory_bytes, const char *trap)
{
	struct quire_config config = {.size = sizeof(config), .memory_bytes = memory_bytes};

	if (trap == NULL)
		return quire_configure(&config);
	if (strcmp(trap, "signal") == 0)
		config.trap = QUIRE_TRAP_SIGNAL;
	else if (strcmp(trap, "thread") == 0)
		config.trap = QUIRE_TRAP_THREAD;
	else if (strcmp(trap, "auto") == 0)
		config.trap = QUIRE_TRAP_AUTO;
	else
		return -1;
	return quire_configure(&config);
}

int quire_make(struct calls *ret, size_t memory_bytes, const char *trap)
{
	struct quire_stats stats;
	void *p;

	*ret = (struct calls){
	    .name = "quire",
	    .mmap = quire_mmap,
	    .munmap = quire_munmap,
	    .mremap = quire_mremap,
	    .mprotect = quire_mprotect,
	    .msync = quire_msync,
	    .madvise = quire_madvise,
	    .posix_madvise = quire_posix_madvise,
	    .mincore = quire_mincore,
	    .mlock = quire_mlock,
	    .mlock2 = quire_mlock2,
	    .munlock = quire_munlock,
	    .munlockall = quire_munlockall,
	    .minherit = quire_minherit,
	    .ftruncate = quire_ftruncate,
	    .errormsg = quire_errormsg,
	    .check = budget_is_kept,
	    .settle = settle,
	};
	if (configure(memory_bytes, trap) != 0) {
		fprintf(stderr, "oracle: trap %s, memory %zu: %s\n", trap != NULL ? trap : "not given", memory_bytes,
			quire_errormsg());
		return 2;
	}
	p = quire_mmap(NULL, quire_pagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		int error = errno;

		fprintf(stderr, "oracle: %s\n", quire_errormsg());
		return error == EPERM || error == ENOSYS ? 77 : 2;
	}
	quire_munmap(p, quire_pagesize());
	if (quire_stats_get(&stats, sizeof(stats)) == 0)
		ret->name = stats.trap == QUIRE_TRAP_SIGNAL ? "quire (signal trap)" : "quire (thread trap)";
	return 0;
}

#else

int quire_make(struct calls *ret, size_t memory_bytes, const char *trap)
{
	(void)ret;
	(void)memory_bytes;
	(void)trap;
	fprintf(stderr, "oracle: built without the library: --self, --strict and --break only\n");
	return 77;
}

#endif
