/* SPDX-License-Identifier: MIT */
/*
 * counts.c - how many calls were served by whom
 */
#include "counts.h"

#include <fcntl.h>
#include <quire/quire.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "entry.h"
#include "kernel.h"
#include "start.h"

static struct counts own;
struct counts *counts = &own;

void counts_start(void)
{
	const char *path = getenv(COUNTS_VARIABLE);
	struct counts *shared;
	int fd = path && *path ? kernel_open(path, O_RDWR | O_CLOEXEC, 0) : -1;

	if (fd < 0)
		return;
	shared = kernel_own_mmap(sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	kernel_close(fd);
	if (shared != MAP_FAILED)
		counts = shared;
}

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
	uint64_t now = atomic_load(most);

	while (now < value && !atomic_compare_exchange_weak(most, &now, value))
		;
}

void counts_tell(void)
{
	static _Atomic int told;
	struct quire_stats stats;

	/* The child of a vfork has its parent's memory, and is about to be another program. */
	if (!entry_engine_if_started() || start.pid != getpid() || atomic_exchange(&told, 1) ||
	    quire_stats_get(&stats, sizeof(stats)) < 0)
		return;
	atomic_fetch_add(&counts->major_faults, stats.major_faults);
	atomic_fetch_add(&counts->read_bytes, stats.read_bytes);
	atomic_fetch_add(&counts->write_bytes, stats.write_bytes);
	raise_to(&counts->peak_bytes, stats.resident_peak_bytes);
}
