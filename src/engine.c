/* SPDX-License-Identifier: MIT */
/*
 * engine.c - one engine: put together, and taken apart
 */
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "object/collapse.h"
#include "pager/swap.h"
#include "sys/io.h"
#include "sys/page_size.h"
#include "util/message.h"

#define IO_DEPTH     128
#define POLLERS_MOST 16
#define SWAP_PAGES   (1ull << 29) /* what the word of a page that is out can name */

enum quire_trap engine_choose_trap(const struct config *config, enum uffd_source source, const char **ret_why)
{
	uint64_t features = 0;
	bool refuses;

	uffd_probe(source, &features);
	refuses = features & QUIRE_UFFD_POISON;
	if (config->trap != QUIRE_TRAP_AUTO) {
		*ret_why = "it was asked for";
		return config->trap;
	}
	if (source == UFFD_USER_ONLY) {
		*ret_why =
		    "faults inside system calls cannot be served with these privileges, so nothing is gained by the slower trap";
		return QUIRE_TRAP_SIGNAL;
	}
	if (!refuses) {
		*ret_why = "this kernel has no UFFDIO_POISON (6.6), without which the thread trap cannot raise SIGBUS";
		return QUIRE_TRAP_SIGNAL;
	}
	*ret_why = "it serves faults inside system calls, so that no call fails that would not fail on the kernel's own mappings";
	return QUIRE_TRAP_THREAD;
}

int engine_refused(void)
{
	return message_set(EPERM,
			   "userfaultfd is refused to this process; `quire probe` tells what to change: as a rule a container's "
			   "seccomp profile");
}

static int start_space(struct engine *engine)
{
	struct pager *pager;
	struct object *swap;
	uint64_t features = 0;
	const char *why;
	int r;

	engine->source = uffd_find(engine->config.no_privilege);
	if (engine->source == UFFD_NONE)
		return engine_refused();
	engine->trap = engine_choose_trap(&engine->config, engine->source, &why);
	uffd_probe(engine->source, &features);
	if ((features & QUIRE_UFFD_NEEDED) != QUIRE_UFFD_NEEDED)
		return message_set(
		    EOPNOTSUPP,
		    "this kernel is too old: Linux 6.4 is needed (userfaultfd has the features %#llx, and not all of %#llx)",
		    (unsigned long long)features, (unsigned long long)QUIRE_UFFD_NEEDED);
	if (engine->trap == QUIRE_TRAP_THREAD && !(features & QUIRE_UFFD_POISON))
		return message_set(EOPNOTSUPP, "the trap «thread» needs Linux 6.6 (UFFDIO_POISON); use QUIRE_TRAP=signal");
	r = swap_pager_open(engine->io, engine->config.swap_dir, !engine->config.no_direct, &pager);
	if (r == 0)
		r = object_create(&engine->registry, engine->cache, OBJECT_SWAP, pager, SWAP_PAGES << page_shift, NULL, &swap);
	if (r == 0)
		r = space_create(&engine->registry, engine->cache, engine->source, engine->trap == QUIRE_TRAP_SIGNAL,
				 !engine->config.no_tracking, swap, &engine->space);
	if (r == 0)
		io_hold(engine->io, (int[]){engine->space->pmap.tracking_uffd, engine->space->pmap.catching_uffd}, 2);
	return r == -EPERM || r == -ENOSYS ? engine_refused() : r;
}

int engine_make_memory(struct engine *engine, uint64_t bytes, struct object **ret)
{
	struct pager *pager;
	int r = swap_pager_open(engine->io, engine->config.swap_dir, !engine->config.no_direct, &pager);

	return r < 0 ? r : object_create(&engine->registry, engine->cache, OBJECT_ANON, pager, bytes, NULL, ret);
}

static int start_threads(struct engine *engine)
{
	int r = pageout_start(engine->cache);

	engine->cache->collapses = !engine->config.no_huge && collapse_is_possible();
	engine->flusher.sweep = sources_sweep;
	engine->flusher.sweep_arg = engine;
	if (r == 0)
		r = flusher_start(&engine->flusher, &engine->registry, engine->cache, engine->config.expire_ms);
	if (r == 0 && engine->trap == QUIRE_TRAP_THREAD)
		r = thread_trap_start(engine->space, &engine->thread_trap);
	if (r == 0)
		r = signal_trap_start(engine->space);
	engine->signal_started = r == 0;
	return r;
}

static int open_frames(struct engine *engine)
{
	struct cache *cache = engine->cache;
	int r = frames_source_open(!engine->config.no_privilege, !engine->config.no_huge && collapse_is_possible(), &cache->frames);

	if (r == -EOPNOTSUPP)
		return message_set(EOPNOTSUPP,
				   "this kernel takes 2 MiB of memory where a page is asked for: write «never» or «advise» to "
				   "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	return r == 0 && cache->frames.large && cache->frames.mount >= 0 ? apertures_create(&cache->apertures) : r;
}

/* By half of the processors, which leaves the others to those who compute. Where it cannot be had, threads sleep. */
static void watch_reads(struct io *io)
{
	cpu_set_t set;
	unsigned processors = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 2;
	unsigned n = processors / 2;

	if (n > 0)
		(void)io_watch_reads(io, n < POLLERS_MOST ? n : POLLERS_MOST);
}

int engine_create(const struct config *config, struct engine **ret)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	int r = engine ? 0 : -ENOMEM;

	if (r == 0) {
		engine->config = *config;
		r = io_create(IO_DEPTH, !config->no_uring, &engine->io);
	}
	if (r == 0 && config->polling && !config->no_uring)
		watch_reads(engine->io);
	if (r == 0)
		r = cache_create(config->memory_bytes >> page_shift, &object_cache_ops, engine->io, &engine->cache);
	if (r == 0)
		r = open_frames(engine);
	if (r == 0)
		r = start_space(engine);
	if (r == 0)
		r = start_threads(engine);
	if (r < 0) {
		engine_destroy(engine);
		return r;
	}
	*ret = engine;
	return 0;
}

static int unmap_all(struct space *space)
{
	int r = 0;

	while (r == 0 && space->areas.count > 0) {
		struct area *area = space->areas.all[0];

		r = space_unmap(space, area_addr(area), area->view.pages << page_shift);
	}
	return r;
}

int engine_suspend(struct engine *engine)
{
	int r = unmap_all(engine->space);

	if (r < 0)
		return r;
	keeper_stop(&engine->keeper);
	prefetch_stop(&engine->prefetcher);
	flusher_stop(&engine->flusher);
	committer_stop(&engine->committer);
	if (engine->thread_trap)
		thread_trap_suspend(engine->thread_trap);
	pageout_stop(engine->cache);
	registry_bury(&engine->registry);
	(void)io_suspend(engine->io);
	return 0;
}

int engine_resume(struct engine *engine)
{
	int r = io_resume(engine->io);

	if (r == 0)
		r = pageout_start(engine->cache);
	if (r == 0)
		r = flusher_start(&engine->flusher, &engine->registry, engine->cache, engine->config.expire_ms);
	if (r == 0 && engine->thread_trap)
		r = thread_trap_resume(engine->thread_trap);
	return r;
}

void engine_destroy(struct engine *engine)
{
	if (!engine)
		return;
	keeper_stop(&engine->keeper);
	prefetch_stop(&engine->prefetcher);
	if (engine->flusher.started)
		flusher_stop(&engine->flusher);
	committer_stop(&engine->committer);
	/* Faults stay caught until nothing is mapped: closing a userfaultfd lets sleepers go on with pages of zeros. */
	if (engine->space && unmap_all(engine->space) < 0)
		return;
	shm_close(engine);
	segments_close(engine);
	sources_close(&engine->sources);
	if (engine->signal_started)
		signal_trap_stop();
	thread_trap_stop(engine->thread_trap);
	remotes_close(engine);
	if (engine->cache)
		pageout_stop(engine->cache);
	space_destroy(engine->space);
	io_destroy(engine->io);
	registry_bury(&engine->registry);
	cache_destroy(engine->cache);
	free(engine);
}
