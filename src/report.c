/* SPDX-License-Identifier: MIT */
/*
 * report.c - the public calls that tell: statistics, areas, what the kernel allows
 */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "entry.h"
#include "object/collapse.h"
#include "remote/client.h"
#include "sys/huge.h"
#include "sys/io.h"
#include "sys/page_size.h"

static uint64_t bytes_of(uint64_t pages)
{
	return pages << page_shift;
}

static void gather_counters(const struct counters *c, struct quire_stats *ret)
{
	ret->major_faults = c->major_faults;
	ret->minor_faults = c->minor_faults;
	ret->write_faults = c->write_faults;
	ret->copy_faults = c->copy_faults;
	ret->zero_faults = c->zero_faults;
	ret->error_faults = c->error_faults;
	ret->read_calls = c->read_calls;
	ret->read_bytes = c->read_bytes;
	ret->write_calls = c->write_calls;
	ret->write_bytes = c->write_bytes;
	ret->copied_bytes = c->copied_bytes;
	ret->readahead_pages = c->readahead_pages;
	ret->readahead_hits = c->readahead_hits;
	ret->evicted_pages = c->evicted_pages;
	ret->refaulted_pages = c->refaulted_pages;
	ret->swap_in_pages = c->swap_in_pages;
	ret->swap_out_pages = c->swap_out_pages;
	ret->writeback_errors = c->writeback_errors;
	ret->filled_pages = c->filled_pages;
}

static void gather_journals(struct engine *engine, struct quire_stats *ret)
{
	struct journal_stats journals;

	atomics_stats(&engine->atomics, &journals);
	ret->commits = journals.commits;
	ret->committed_bytes = bytes_of(journals.committed_pages);
	ret->journal_bytes = journals.log_bytes;
	ret->checkpoints = journals.checkpoints;
	ret->snapshots = journals.snapshots;
}

static void gather(struct engine *engine, struct quire_stats *ret)
{
	struct cache *cache = engine->cache;

	memset(ret, 0, sizeof(*ret));
	gather_counters(&cache->counters, ret);
	ret->budget_bytes = bytes_of(cache->limit);
	ret->resident_bytes = bytes_of(cache->used);
	ret->resident_peak_bytes = bytes_of(cache->used_peak);
	ret->buffer_bytes = bytes_of(cache->buffers.total_pages + atomic_load(&cache->own_buffer_pages));
	ret->dirty_bytes = bytes_of(cache->dirty_pages);
	ret->swapped_bytes = bytes_of(entry_space(engine)->private_pages->out);
	ret->locked_bytes = bytes_of(cache->locked);
	ret->metadata_bytes = cache->arena.used_bytes;
	rwlock_read_acquire(&cache->map_lock);
	ret->areas = entry_space(engine)->areas.count;
	rwlock_read_release(&cache->map_lock);
	lock_acquire(&engine->registry.lock);
	/* Not the two of the engine itself. */
	ret->objects = engine->registry.count - 2;
	lock_release(&engine->registry.lock);
	ret->trap = engine->trap;
	gather_journals(engine, ret);
	ret->polled_reads = io_watched(engine->io);
	ret->huge_bytes = bytes_of((uint64_t)atomic_load(&cache->huge_chunks) * CHUNK_PAGES);
}

int quire_stats_get(struct quire_stats *ret, size_t size)
{
	struct quire_stats stats;
	struct engine *engine;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_stats_get");
	if (size > 0 &&
	    client_serves(&r, &(struct client_call){.name = CALL_STATS, .out = &stats, .out_len = sizeof(stats), .fd = -1}))
		engine = NULL;
	else
		r = size == 0 ? message_set(EINVAL, "the size is 0; it has to be sizeof(struct quire_stats)")
			      : entry_engine(&engine);
	if (r == 0 && engine) {
		registry_bury(&engine->registry);
		gather(engine, &stats);
	}
	r = entry_end(&entry, r);
	if (r == 0) {
		memset(ret, 0, size);
		memcpy(ret, &stats, size < sizeof(stats) ? size : sizeof(stats));
	}
	return r;
}

static const char *trap_name(enum quire_trap trap)
{
	return trap == QUIRE_TRAP_SIGNAL ? "signal" : trap == QUIRE_TRAP_THREAD ? "thread" : "auto";
}

static double mebi(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

void report_stats(FILE *out, struct engine *engine)
{
	struct quire_stats s;

	gather(engine, &s);
	fprintf(out,
		"quire: budget %.1f MiB, resident %.1f MiB (peak %.1f), metadata %.2f MiB, trap %s\n"
		"quire: faults: %" PRIu64 " major, %" PRIu64 " minor, %" PRIu64 " first stores, %" PRIu64 " copies, %" PRIu64
		" zero pages, %" PRIu64 " errors\n"
		"quire: read %.1f MiB in %" PRIu64 " calls (%" PRIu64 " pages ahead, %" PRIu64
		" of them used), wrote %.1f MiB in %" PRIu64 " calls, %" PRIu64 " errors\n"
		"quire: evicted %" PRIu64 " pages, %" PRIu64 " came back soon; swap: %" PRIu64 " out, %" PRIu64 " in\n",
		mebi(s.budget_bytes), mebi(s.resident_bytes), mebi(s.resident_peak_bytes), mebi(s.metadata_bytes),
		trap_name(s.trap), s.major_faults, s.minor_faults, s.write_faults, s.copy_faults, s.zero_faults, s.error_faults,
		mebi(s.read_bytes), s.read_calls, s.readahead_pages, s.readahead_hits, mebi(s.write_bytes), s.write_calls,
		s.writeback_errors, s.evicted_pages, s.refaulted_pages, s.swap_out_pages, s.swap_in_pages);
	if (s.commits)
		fprintf(out, "quire: %" PRIu64 " commits of %.1f MiB, %" PRIu64 " checkpoints, journals of %.1f MiB\n", s.commits,
			mebi(s.committed_bytes), s.checkpoints, mebi(s.journal_bytes));
}

/* ---- areas ---- */

static uint64_t resident_bytes(struct space *space, const struct area *area)
{
	uint64_t pages = area->shared ? 0 : private_resident(space->private_pages, area_addr(area), area->view.pages);
	uint64_t first = area->view.first, end = first + area->view.pages;

	if (area->huge)
		return bytes_of(area->view.pages);
	if (area->view.object)
		for (struct chunk *chunk = table_next(&area->view.object->table, first); chunk && chunk->first < end;
		     chunk = table_next(&area->view.object->table, chunk->first + CHUNK_PAGES))
			for (unsigned i = 0; i < CHUNK_PAGES; i++)
				pages += chunk->first + i >= first && chunk->first + i < end &&
					 page_has_frame(page_load(&chunk->page[i]));
	return bytes_of(pages);
}

int quire_area_stats_get(const void *addr, struct quire_area_stats *ret)
{
	struct engine *engine = entry_engine_if_started();
	struct quire_area_stats stats = {0};
	struct entry entry;
	struct area *area = NULL;

	entry_begin(&entry, "quire_area_stats_get");
	if (client_is()) {
		int r = (int)client_ask(
		    &(struct client_call){
			.name = CALL_AREA_STATS, .arg = {(int64_t)(intptr_t)addr}, .out = ret, .out_len = sizeof(*ret), .fd = -1},
		    NULL);

		return entry_end(&entry, r);
	}
	if (engine) {
		rwlock_read_acquire(&engine->cache->map_lock);
		area = space_find(entry_space(engine), addr);
		if (area) {
			stats.addr = area_addr(area);
			stats.len = area->view.pages << page_shift;
			stats.prot = area->prot;
			stats.flags = (area->huge     ? (int)(area->huge & ~HUGE_SHIFT_MASK)
				       : area->shared ? MAP_SHARED
						      : MAP_PRIVATE) |
				      (area->anonymous ? MAP_ANONYMOUS : 0) | (area->view.locked ? MAP_LOCKED : 0) |
				      (area->guard ? MAP_GROWSDOWN : 0);
			stats.offset = (off_t)bytes_of(area->view.first);
			stats.major_faults = area->major_faults;
			stats.minor_faults = area->minor_faults;
			stats.resident_bytes = resident_bytes(entry_space(engine), area);
		}
		rwlock_read_release(&engine->cache->map_lock);
	}
	if (entry_end(&entry, area ? 0 : message_set(ENOMEM, "nothing is mapped at %p", addr)) < 0)
		return -1;
	*ret = stats;
	return 0;
}

static int print_area(FILE *out, const struct quire_area_stats *s)
{
	return fprintf(out,
		       "%012" PRIxPTR "-%012" PRIxPTR " %c%c%c%c %012llx %s%s%s%s resident %" PRIu64 "K major %" PRIu64
		       " minor %" PRIu64 "\n",
		       (uintptr_t)s->addr, (uintptr_t)s->addr + s->len, s->prot & PROT_READ ? 'r' : '-',
		       s->prot & PROT_WRITE ? 'w' : '-', s->prot & PROT_EXEC ? 'x' : '-', s->flags & MAP_SHARED ? 's' : 'p',
		       (unsigned long long)s->offset, s->flags & MAP_ANONYMOUS ? "anonymous" : "file",
		       s->flags & MAP_LOCKED ? " locked" : "", s->flags & MAP_HUGETLB ? " huge" : "",
		       s->flags & MAP_GROWSDOWN ? " guard" : "", s->resident_bytes >> 10, s->major_faults, s->minor_faults) < 0
		   ? -EIO
		   : 0;
}

/* What the engine writes into a file for us. */
static int maps_by_engine(FILE *out)
{
	int fd = memfd_create("quire-maps", MFD_CLOEXEC);
	char some[4096];
	ssize_t n = 0;
	off_t at = 0;
	int r = fd < 0 ? -errno : (int)client_ask(&(struct client_call){.name = CALL_MAPS, .fd = fd}, NULL);

	while (r == 0 && (n = pread(fd, some, sizeof(some), at)) > 0) {
		if (fwrite(some, 1, (size_t)n, out) != (size_t)n)
			r = -EIO;
		at += n;
	}
	if (fd >= 0)
		close(fd);
	return n < 0 ? -EIO : r;
}

int quire_maps(FILE *out)
{
	struct engine *engine = entry_engine_if_started();
	struct quire_area_stats stats;
	const char *at = NULL;
	struct entry entry;
	int r = 0;

	if (client_is()) {
		entry_begin(&entry, "quire_maps");
		return entry_end(&entry, maps_by_engine(out));
	}
	/* One by one, since the stream's buffer may be managed memory. */
	while (engine && r == 0) {
		size_t i;
		bool found;

		rwlock_read_acquire(&engine->cache->map_lock);
		i = area_set_search(&entry_space(engine)->areas, at);
		found = i < entry_space(engine)->areas.count;
		if (found)
			at = area_addr(entry_space(engine)->areas.all[i]) > at ? area_addr(entry_space(engine)->areas.all[i]) : at;
		rwlock_read_release(&engine->cache->map_lock);
		if (!found)
			break;
		if (quire_area_stats_get(at, &stats) < 0)
			continue;
		r = print_area(out, &stats);
		at = (const char *)stats.addr + stats.len;
	}
	entry_begin(&entry, "quire_maps");
	return entry_end(&entry, r < 0 ? message_set(-r, "the stream could not be written") : 0);
}

/* ---- probe ---- */

struct finding {
	FILE *out;
	bool failed;
};

__attribute__((format(printf, 3, 4))) static void say(struct finding *f, const char *what, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (fprintf(f->out, "%-14s ", what) < 0 || vfprintf(f->out, format, args) < 0 || fputc('\n', f->out) == EOF)
		f->failed = true;
	va_end(args);
}

static void say_userfaultfd(struct finding *f, enum uffd_source source, uint64_t features)
{
	switch (source) {
	case UFFD_SYSCALL:
		say(f, "userfaultfd", "granted, for all faults");
		break;
	case UFFD_DEVICE:
		say(f, "userfaultfd", "granted through /dev/userfaultfd, for all faults");
		break;
	case UFFD_USER_ONLY:
		say(f, "userfaultfd",
		    "granted for faults of user code only: a system call on a page that is not resident fails with EFAULT");
		say(f, "",
		    "better: sysctl vm.unprivileged_userfaultfd=1, or read and write permission on /dev/userfaultfd, or "
		    "CAP_SYS_PTRACE");
		break;
	case UFFD_NONE:
		say(f, "userfaultfd", "refused: nothing can be mapped");
		say(f, "",
		    "remedy: a kernel of 6.4 or later with CONFIG_USERFAULTFD; in a container, a seccomp profile that allows "
		    "userfaultfd(2) "
		    "(docker run --security-opt seccomp=PROFILE)");
		return;
	}
	say(f, "shared memory", "%s",
	    (features & QUIRE_UFFD_NEEDED) == QUIRE_UFFD_NEEDED
		? "minor faults and write protection (6.4)"
		: "this kernel lacks minor faults or write protection of shared memory: nothing can be mapped. 6.4 is needed");
	say(f, "errors", "%s",
	    features & QUIRE_UFFD_POISON ? "pages can be made to raise SIGBUS (6.6)"
					 : "no UFFDIO_POISON: the thread trap needs Linux 6.6");
}

static void say_tracking(struct finding *f, uint64_t features, const struct config *config)
{
	int fd;

	if (config->no_tracking) {
		say(f, "first stores", "caught by faults: switched off by QUIRE_DEBUG=no-tracking");
	} else if ((features & QUIRE_UFFD_WP_ASYNC) && pagemap_open(&fd) == 0) {
		close(fd);
		say(f, "first stores", "tracked by the kernel (6.7)");
	} else {
		say(f, "first stores", "caught by faults, 3 µs each; Linux 6.7 or later tracks them by itself, 0.8 µs");
	}
}

static void say_frames(struct finding *f, const struct config *config)
{
	struct frames_source source = {.mount = -1};
	int r = frames_source_open(!config->no_privilege, !config->no_huge && collapse_is_possible(), &source);

	if (r == -EOPNOTSUPP)
		say(f, "frames",
		    "of 2 MiB where a page is asked for: nothing can be mapped; write «never» or «advise» to "
		    "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	else if (r < 0)
		say(f, "frames", "%s", strerrordesc_np(-r));
	else if (source.mount < 0)
		say(f, "frames",
		    "of a page each; with CAP_SYS_ADMIN files that are read in order come in by 2 MiB, without a copy");
	else
		say(f, "frames", "of a page each%s", source.large ? "; of 2 MiB where a file is read in order" : "");
	frames_source_close(&source);
}

static void say_io(struct finding *f, const struct config *config)
{
	struct io *io;

	if (io_create(8, !config->no_uring, &io) < 0) {
		say(f, "I/O", "no threads could be started");
		return;
	}
	if (io_is_uring(io))
		say(f, "I/O", "io_uring, O_DIRECT where the filesystem takes it%s", config->no_direct ? " (switched off)" : "");
	else
		say(f, "I/O", "threads: io_uring is %s",
		    config->no_uring ? "switched off by QUIRE_DEBUG=no-uring"
				     : "refused; sysctl kernel.io_uring_disabled=0, or a seccomp profile that allows it");
	io_destroy(io);
}

int quire_probe(FILE *out)
{
	struct finding f = {.out = out};
	struct entry entry;
	struct config config;
	enum uffd_source source;
	uint64_t features = 0;
	const char *why;
	int r = config_load(NULL, &config);

	if (r == 0) {
		source = uffd_find(config.no_privilege);
		uffd_probe(source, &features);
		say(&f, "quire", "%s, page size %zu", quire_version(), page_size());
		say_userfaultfd(&f, source, features);
		say_tracking(&f, features, &config);
		say_frames(&f, &config);
		if (source != UFFD_NONE && (features & QUIRE_UFFD_NEEDED) == QUIRE_UFFD_NEEDED) {
			enum quire_trap trap = engine_choose_trap(&config, source, &why);

			say(&f, "trap", "%s: %s", trap_name(trap), why);
		}
		say_io(&f, &config);
		say(&f, "memory", "a budget of %" PRIu64 " MiB; QUIRE_MEMORY or quire_set_memory change it",
		    config.memory_bytes >> 20);
		say(&f, "swap", "an unlinked file in %s%s", config.swap_dir,
		    access(config.swap_dir, W_OK | X_OK) == 0 ? "" : ", which cannot be written: set QUIRE_SWAP");
	}
	entry_begin(&entry, "quire_probe");
	if (r == 0 && (f.failed || fflush(out) == EOF))
		r = message_set(EIO, "the stream could not be written");
	else if (r < 0)
		config_load(NULL, &config);
	return entry_end(&entry, r);
}

#define TEXT(x)    #x
#define VERSION(x) TEXT(x)

const char *quire_version(void)
{
	return VERSION(QUIRE_VERSION_MAJOR) "." VERSION(QUIRE_VERSION_MINOR) "." VERSION(QUIRE_VERSION_PATCH);
}
